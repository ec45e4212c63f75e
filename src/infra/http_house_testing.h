/* A server that serves all alike, for tests: its handler echoes what it gets, or pushes, or parks,
 * as the path says. One request at a time is pushed or parked. */
#ifndef SYNOR_INFRA_HTTP_HOUSE_TESTING_H
#define SYNOR_INFRA_HTTP_HOUSE_TESTING_H

#include "http_testing.h"

#include <synor/infra/http_pass.h>

#define HOUSE_PUSH_BYTES (4 << 20) /* what /push answers, of site_big */

struct house {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct syn_loop *loop;
    struct syn_http_server *server;
    uint16_t port;
    bool ready;
    unsigned how;
    struct syn_pool *handshakes;
    char cert_path[256];
    int gone, ended, full, told, stopped; /* under the lock */
    struct syn_http_done last;

    struct syn_http_req *parked; /* the loop's */
    size_t pushed, limit;
};

enum { HOUSE_HTTP2 = 1, HOUSE_TLS = 2 };

/** With HOUSE_HTTP2, that is spoken, too, and the ends of requests are told of; with HOUSE_TLS, all
 * is, and handshakes are reckoned beside the loop. */
struct house *house_start(unsigned how);
void house_end(struct house *house);
/** Wait until *counter is `want`. */
void house_wait(struct house *house, const int *counter, int want);
/** Answer what is parked, on the house's loop. */
void house_unpark(struct house *house);
/** Stop gracefully: `stopped` is counted when nothing is left. */
void house_stop(struct house *house);
int house_dial(const struct house *house);

#endif
