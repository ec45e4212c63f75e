/* A gateway under test: on a thread of its own, beside a server that is pretended (table, content,
 * reports) and instances that say what they are told to. */
#ifndef SYN_DAEMON_FUNCTION_GATEWAY_TESTING_H
#define SYN_DAEMON_FUNCTION_GATEWAY_TESTING_H

#include <synor/base/test.h>

#include "function_priv.h"

#define GWT_WAIT_MS     10000
#define GWT_ANSWER_SIZE 65536
#define GWT_INSTANCES   8

/** A program that speaks HTTP as its path says; one thread a connection.
 *
 *   /hello  /slow (holds until gwt_let_go())  /chunked  /close-delimited  /echo  /empty
 *   /raise  /half (breaks off in its body)  /break (before its answer)  /break-once  /large
 *   /odd (no HTTP)  /stream (pieces, as gwt_let_go() lets them) */
struct gwt_instance {
    struct gwt *world;
    int listen_fd;
    uint16_t port;
    pthread_t thread;
    atomic_int requests, open, broken;
    atomic_bool stop;
};

struct gwt {
    char dir[256];
    char server_path[300];
    uint16_t port;
    struct fgw *gateway;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under `lock`: */
    bool server_ready, ready, stopped;
    int go;            /* how often slow ones were let go */
    json_t *documents; /* of the table, by id */
    int64_t count, errors, throttled, byte_ms, reports, repeats, last_seq;
    json_t *invocations, *logs, *versions, *loads, *starts, *left; /* all that were told */
    int refuse_reports; /* so many are answered with 503 */
    struct syn_loop *server_loop, *loop;
    struct syn_http_server *server;
    struct syn_http_stream *streams[4];
    pthread_t server_thread, gateway_thread;
    struct gwt_instance instances[GWT_INSTANCES];
};

struct gwt *gwt_start(void);
/** Stop the gateway as SIGTERM does, and wait until it has. */
void gwt_stop(struct gwt *world);
void gwt_end(struct gwt *world);

/** A function's document into the table, or out of it. */
void gwt_put(struct gwt *world, const char *format, ...) SYN_PRINTF(2, 3);
void gwt_delete(struct gwt *world, const char *id);
/** End the table's streams: the gateway is to come back for more. */
void gwt_cut_streams(struct gwt *world);

/** Start number `at`. */
struct gwt_instance *gwt_instance(struct gwt *world, unsigned at);
/** End it, and every connection to it. */
void gwt_kill(struct gwt_instance *instance);
/** Let those that are slow go on, once more. */
void gwt_let_go(struct gwt *world);

int gwt_dial(const struct gwt *world);
/** Send, read until the end; the answer's status. */
int gwt_ask(const struct gwt *world, const char *request, char *answer, size_t cap);
/** GET `path`. */
int gwt_get(const struct gwt *world, const char *path, char *answer, size_t cap);
/** Until GET `path` has this status. */
void gwt_await_status(const struct gwt *world, const char *path, int status);
/** Until the counter, which is one of the world's, is `want` at least. */
void gwt_await(struct gwt *world, const int64_t *counter, int64_t want);
/** How many of the invocations that were told have this value. */
int gwt_told(struct gwt *world, const char *function, const char *key, const char *value);
/** Until one has. */
void gwt_await_told(struct gwt *world, const char *function, const char *key, const char *value);
void gwt_assert_holds(const char *text, const char *part);

#define GWT_END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

#endif
