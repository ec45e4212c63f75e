/* The site that HTTP tests talk to: a server on a thread with its own loop, a handler of every
 * kind, and a client that speaks raw bytes. */
#ifndef SYNOR_INFRA_HTTP_TESTING_H
#define SYNOR_INFRA_HTTP_TESTING_H

#include <synor/base/test.h>

#include <pthread.h>

#include <synor/infra/http_server.h>

#define SITE_BIG_BYTES   (3 << 20)
#define SITE_FILE_BYTES  300000
#define SITE_WAIT_MS     30000
#define SITE_ANSWER_SIZE 65536

/** What /site_big answers; /file and /pull answer the beginning of it. */
extern char site_big[SITE_BIG_BYTES];
extern const struct syn_http_route site_routes[];
extern const size_t site_route_count;

struct site {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready;
    struct syn_loop *loop;
    struct syn_pool *pool;
    struct syn_metrics *metrics;
    struct syn_http_server *server;
    struct syn_http_limits limits;
    bool tls;
    uint16_t port;
    char socket_path[108];
    char file_path[256];
    char upload_path[256];
    char cert_path[256];
    /* What the handlers saw; under the lock. */
    int64_t upload_dropped;
    int streams_open, streams_closed;
    int pulls_dropped;
    int slow_begun;
    int send_rc;
    bool stopped;
    struct syn_http_req *parked;
    int tunnels_closed;
};

/** Start a server on a loopback port and a socket. `limits` may be NULL. */
struct site *site_start(bool tls, const struct syn_http_limits *limits);
/** Stop its loop, free it; assertions of its thread have been checked then. */
void site_end(struct site *site);
/** Count one up and tell whoever waits. Any thread. */
void site_note(struct site *site, int *counter);
/** Wait until *counter is `want`. */
void site_wait(struct site *site, const int *counter, int want);

/** A connection to the site's port. */
int site_dial(const struct site *site);
void site_say(int fd, const char *data, size_t len);
void site_ask(int fd, const char *request);
/** Everything until the server closes; a reset ends it like a close. */
size_t site_hear_all(int fd, char *buf, size_t cap);
void site_hear_until(int fd, char *buf, size_t cap, const char *mark);
void site_assert_holds(const char *text, const char *part);

#define END  " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define HEAD " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

#endif
