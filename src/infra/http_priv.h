/* The server's insides, shared by http_server.c (listeners, time, the pool's answers), http_conn.c
 * (one connection's life), http_io.c (bytes in and out, TLS), http_req.c (what handlers call),
 * http_sse.c, http_tunnel.c, http_pass.c and http2.c. */
#ifndef SYNOR_INFRA_HTTP_PRIV_H
#define SYNOR_INFRA_HTTP_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include <openssl/types.h>

#include <synor/base/buf.h>
#include <synor/base/loop.h>
#include <synor/infra/http_pass.h>
#include <synor/infra/http_req.h>
#include <synor/infra/http_server.h>

#include "http_parse_priv.h"
#include "http_route_priv.h"

#define HTTP_PACE_BYTES   16384
#define HTTP_READ_BYTES   16384
#define HTTP_BLOCK_BYTES  262144 /* what goes to or comes from a worker at once */
#define HTTP_TUNNEL_BYTES 65536  /* read from one side and not yet taken by the other */
#define HTTP_LINGER_BYTES 1048576
#define HTTP_LINGER_MS    2000

/* What a connection waits for. Each class has one constant duration, so its queue is sorted by
 * itself: arming and moving a deadline is a list operation, and one loop timer serves them all. */
enum http_clock {
    HTTP_CLOCK_NONE,
    HTTP_CLOCK_HANDSHAKE,
    HTTP_CLOCK_HEAD,
    HTTP_CLOCK_IDLE,
    HTTP_CLOCK_PACE,
    HTTP_CLOCK_SSE,
    HTTP_CLOCK_LINGER,
    HTTP_CLOCK_TUNNEL,
    HTTP_CLOCK_COUNT,
};

enum http_state {
    HTTP_HANDSHAKE, /* TLS */
    HTTP_HEAD,      /* between requests, or in the middle of a head */
    HTTP_BODY,      /* receiving a body */
    HTTP_WORK,      /* handler, begin, sink or pull on a worker, or SYN_HTTP_LATER */
    HTTP_REPLY,     /* sending */
    HTTP_STREAM,    /* server-sent events */
    HTTP_TUNNEL,    /* bytes that mean nothing to us */
    HTTP_SESSION,   /* HTTP/2: its streams have the requests */
    HTTP_LINGER,    /* all said: swallow what the client still sends, so that it reads our answer */
    HTTP_CLOSED,    /* socket gone; a worker may still hold the request */
};

enum http_job {
    HTTP_JOB_NONE,
    HTTP_JOB_BEGIN,
    HTTP_JOB_SINK,
    HTTP_JOB_HANDLER,
    HTTP_JOB_PULL,
    HTTP_JOB_HANDSHAKE,
};

enum http_source {
    HTTP_SOURCE_NONE,
    HTTP_SOURCE_MEMORY,
    HTTP_SOURCE_FD,
    HTTP_SOURCE_PULL,
    HTTP_SOURCE_PUSH,
};

/* The answer as the handler left it. */
struct http_reply {
    int status; /* 0: not set */
    const char *type;
    struct syn_buf extra; /* header lines */
    struct syn_buf body;  /* copied bytes */
    enum http_source source;
    const char *memory; /* static bytes, or body.data */
    int fd;
    int64_t offset;
    int64_t len; /* -1: unknown, chunked */
    syn_http_pull_fn pull;
    void *pull_arg;
    void (*pull_drop)(void *);
    bool stored; /* has ETag: may be kept by caches that ask again */
    bool bare;   /* somebody else's: no header of ours but those of the framing */
    bool dated;  /* has a Date */
};

struct syn_http_req {
    struct http_conn *conn;
    struct http_head head;
    struct http_match match;
    char *segments[SYN_HTTP_SEGMENTS_MAX];
    unsigned segment_count;
    struct http_pair query[SYN_HTTP_QUERY_MAX];
    unsigned query_count;
    bool is_head;
    bool continue_due; /* the client waits for "100 Continue" */
    bool keep_alive;
    uint64_t seq;
    char id[SYN_HTTP_REQUEST_ID_SIZE];
    char *rest; /* joined {rest*} */
    int64_t started_ns;

    struct syn_buf body;
    json_t *body_json;
    json_t *query_json;
    struct http_chunked chunked;
    int64_t body_left; /* of Content-Length */
    bool body_done;
    int64_t body_max;
    int64_t received; /* by the sink */
    int64_t counted;  /* of `body`, in the server's sum */
    struct syn_http_upload upload;
    bool upload_open;

    bool under_way; /* its end is to be told of */
    bool replied;   /* the answer was begun */
    void *identity;
    void (*identity_drop)(void *);
    void (*on_gone)(void *); /* NULL: nobody wants to know */
    void *on_gone_arg;
    int error_status; /* 0: the code's own */

    struct http_reply reply;
    char *hint;
    json_t *details;
};

/* A body that is pushed. */
struct http_push {
    void (*drained)(void *arg);
    void *arg;
    int64_t left;  /* of a known length; -1 */
    int64_t total; /* of what was pushed */
    bool full;     /* who pushes waits */
    bool ended;
};

/* What a request that came by HTTP/2 has of its own. */
struct http2_stream {
    int32_t id;                /* 0: this is no stream but a connection */
    struct http_conn *carrier; /* the connection; NULL once the stream is closed */
    bool asked;                /* the request has come whole */
    bool answered;             /* the answer was handed to the session whole */
    bool over;                 /* the session has closed it already */
    bool drained;              /* who pushes is to be told so */
};

/* One client, or one of its streams. Owned by the server's list; a worker or a later finish may
 * hold it past HTTP_CLOSED. */
struct http_conn {
    struct syn_http_server *server;
    struct http_conn *prev, *next; /* all connections; streams have lists of their own */
    struct http_conn *clock_prev, *clock_next; /* queue of its clock */
    enum http_clock clock;
    int64_t deadline_ms;

    enum http_state state;
    int fd;
    SSL *ssl;
    struct syn_watch *watch;
    uint32_t armed; /* events the watch has now */
    struct syn_http_peer peer;

    char *in; /* head of the running request, then what follows it */
    size_t in_len, in_cap;
    size_t head_len; /* of the running request; its texts live there */
    size_t in_used;  /* bytes that are done with: head_len and more of the body */
    size_t scanned;
    bool readable; /* the last read may have left something */

    struct syn_buf out;
    size_t out_sent;
    size_t pace;         /* bytes moved since the deadline was set */
    bool last_block;     /* of a pull */
    int64_t source_left; /* of a body that is not in `out` */

    enum http_job job;      /* running or waiting on the pool */
    enum http_job done_job; /* which one has just come back */
    struct http_conn *done_next;
    int job_rc;
    uint32_t job_events; /* of a handshake: what it waits for */
    struct syn_err job_err;
    atomic_bool gone;
    bool later; /* SYN_HTTP_LATER was returned */
    bool close_after;

    struct syn_http_stream *stream;
    struct syn_http_tunnel *tunnel;
    struct http2_session *session;
    struct http2_stream h2;
    struct http_push push;
    size_t lingered;
    struct syn_http_req req;
};

struct syn_http_stream {
    struct http_conn *conn;
    struct syn_http_stream *dirty_next;
    bool dirty;
    bool closing;
    bool cut;             /* too slow: close without sending the rest */
    bool moved;           /* bytes went out since the last keep-alive */
    struct syn_buf queue; /* what is not in conn->out yet */
    void (*on_close)(void *arg);
    void *arg;
};

struct syn_http_tunnel {
    struct http_conn *conn;
    struct syn_http_tunnel *peer; /* NULL: not joined yet */
    void (*on_close)(void *arg);
    void *arg;
    bool moved;     /* bytes, since the clock was looked at */
    bool deaf;      /* takes nothing any more; its end has not been read yet */
    bool widowed;   /* the peer ended before it began */
    size_t at, len; /* of what is in `data`: [at, len) was read here and is the peer's */
    char data[HTTP_TUNNEL_BYTES];
};

struct http_listener {
    struct syn_http_server *server;
    int fd;
    struct syn_watch *watch;
    SSL_CTX *tls;
    char *unix_path;
};

struct http_clock_queue {
    struct http_conn *first, *last;
    int64_t duration_ms;
};

struct syn_http_server {
    struct syn_http_options options;
    struct syn_http_limits limits;
    struct http_router *router;
    struct http_route_entry all; /* with a route: serves every request */
    syn_http_head_fn all_head;
    syn_http_done_fn tell;
    void *tell_ctx;
    struct http_listener listeners[SYN_HTTP_LISTENERS_MAX];
    unsigned listener_count;

    struct http_conn *conns;
    unsigned conn_count;
    struct http_conn *orphans; /* closed streams that somebody holds */
    unsigned stream_count;     /* with those */
    struct syn_series *conns_gauge;

    struct http_clock_queue clocks[HTTP_CLOCK_COUNT];
    struct syn_watch *timer;
    int64_t timer_at_ms;

    /* Answers from workers. The lock guards done_first and jobs, nothing else. */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct http_conn *done_first;
    unsigned jobs;
    int wake_fd;
    struct syn_watch *wake_watch;

    struct syn_http_stream *dirty;
    struct http_conn *due; /* HTTP/2 connections with something to be sent */
    int64_t body_bytes;    /* of all requests, with a limit */
    uint64_t request_seq;
    char id_prefix[9];
    int64_t date_s;
    char date[40];

    bool stopping;
    struct syn_watch *stop_timer;
    void (*stop_done)(void *arg);
    void *stop_arg;
};

/* --- http_server.c --- */

/** Now, Unix time, as HTTP writes it; remade once a second. */
const char *http_date(struct syn_http_server *server);
/** Start, move or (HTTP_CLOCK_NONE) end the connection's deadline. */
void http_clock_set(struct http_conn *conn, enum http_clock clock);
/** Run `job` of the connection on a worker. UNAVAILABLE when the pool is full. */
SYN_MUST int http_job_start(struct http_conn *conn, enum http_job job, struct syn_err *err);
/** Free a closed connection that nobody holds. */
void http_conn_release(struct http_conn *conn);
/** Have dirty streams flushed at the end of this turn. */
void http_wake(struct syn_http_server *server);

/* --- http_conn.c --- */

/** Take over an accepted socket. Closes it on failure. */
void http_conn_accept_take(struct syn_http_server *server, const struct http_listener *listener,
                           int fd, const struct syn_http_peer *peer);
/** Back on the loop. */
void http_conn_job_done(struct http_conn *conn);
void http_conn_expired(struct http_conn *conn);
/** End the connection now; what a worker holds is released when it returns. */
void http_conn_close(struct http_conn *conn);
/** Go on with whatever its state allows. */
void http_conn_advance(struct http_conn *conn);
/** Begin to send the reply as it was left. False: the connection was closed. */
bool http_reply_begin(struct http_conn *conn);
/** A stream's head, as HTTP/1 has it, is in `in`, and all of it. */
void http_conn_head(struct http_conn *conn);
/** Answer a stream's request with an error, before it has come whole. `status` as in
 * http_reply_error(). */
void http_conn_refuse(struct http_conn *conn, int rc, const struct syn_err *err, int status);
/** A stream's body is complete. */
void http_conn_body_done(struct http_conn *conn);
/** A stream's answer is out: that is its end. */
void http_conn_answered(struct http_conn *conn);
/** Link and unlink in a list of connections. */
void http_conn_link(struct http_conn **first, struct http_conn *conn);
void http_conn_unlink(struct http_conn **first, struct http_conn *conn);

/* --- http_job.c --- */

/** Runs on a worker. */
void http_conn_run_job(struct http_conn *conn);
/** Call the handler. Returns what it returned. */
SYN_MUST int http_run_handler(struct syn_http_req *req, struct syn_err *err);
/** Produce the next block of a pulled body into conn->out, framed as the head announced. */
SYN_MUST int http_run_pull(struct http_conn *conn, struct syn_err *err);

/* --- http_io.c --- */

#define HTTP_IO_AGAIN (-1)
#define HTTP_IO_GONE  (-2)

/** Bytes read, 0 at the end, HTTP_IO_AGAIN (the watch is armed) or HTTP_IO_GONE. */
ptrdiff_t http_io_recv(struct http_conn *conn, void *buf, size_t cap);
/** Bytes written, HTTP_IO_AGAIN or HTTP_IO_GONE. */
ptrdiff_t http_io_send(struct http_conn *conn, const void *data, size_t len, bool more);
/** The same from a file. Plain connections only use sendfile. */
ptrdiff_t http_io_send_file(struct http_conn *conn, int fd, int64_t *offset, size_t len);
/** One step of the handshake, which does not touch the loop. *ret_events: what is to be waited for
 * with HTTP_IO_AGAIN. 0 when done, HTTP_IO_AGAIN or HTTP_IO_GONE. Thread: any. */
int http_io_handshake(struct http_conn *conn, uint32_t *ret_events);
/** Close the socket, if it is open. */
void http_io_close(struct http_conn *conn);
/** Say goodbye: close_notify and a half-closed socket. */
void http_io_shutdown(struct http_conn *conn);
/** Listen for these events. False when the loop refuses. */
bool http_io_arm(struct http_conn *conn, uint32_t events);
SYN_MUST int http_io_tls_new(const struct syn_http_tls *tls, SSL_CTX **ret, struct syn_err *err);
/** Did the handshake come to HTTP/2? */
bool http_io_is_http2(const struct http_conn *conn);
/** Have its clients told what the server speaks (ALPN). */
void http_io_tls_protocols(struct syn_http_server *server, SSL_CTX *tls);
SYN_MUST int http_io_tls_attach(struct http_conn *conn, SSL_CTX *tls, struct syn_err *err);

/* --- http_req.c --- */

/** Count what the body has grown to. UNAVAILABLE: that is too much for all together. */
SYN_MUST int http_req_count_body(struct syn_http_req *req, struct syn_err *err);
/** Make ready for the next request, freeing what the last one left. */
void http_req_reset(struct syn_http_req *req);
void http_reply_clear(struct http_reply *reply);
/** Turn an error into the reply; `status` 0: the code's own. */
void http_reply_error(struct syn_http_req *req, int rc, const struct syn_err *err, int status);
/** Write status line and headers of the reply into conn->out, and the body where it is in memory.
 */
SYN_MUST int http_reply_start(struct syn_http_req *req, struct syn_err *err);
/** Make the text of {rest*}, when the route has one. */
SYN_MUST int http_req_join_rest(struct syn_http_req *req, struct syn_err *err);
/** "1a2b\r\n" */
void http_add_chunk_size(struct syn_buf *out, size_t len);
/** Apply the route's schemas: before the handler, on its thread. */
SYN_MUST int http_req_check(struct syn_http_req *req, struct syn_err *err);

/* --- http_sse.c --- */

void http_sse_keepalive(struct http_conn *conn);
/** Send what is queued; may close the connection. */
void http_sse_flush(struct http_conn *conn);
/** The connection has ended: tell the owner, free the stream. */
void http_sse_ended(struct http_conn *conn);

/* --- http_pass.c --- */

/** Decide about a request of a server that serves all alike. */
SYN_MUST int http_pass_head(struct http_conn *conn, struct syn_err *err);
/** Is nothing to be done for the connection but to hear whether its client goes? */
bool http_pass_waits(const struct http_conn *conn);
void http_pass_hear(struct http_conn *conn, uint32_t events);
/** The client has gone: tell who wanted to know. */
void http_pass_gone(struct http_conn *conn);
/** The request has ended: tell who wanted to know. */
void http_pass_tell(struct syn_http_req *req);
/** All that was pushed is out. Returns false: nothing more is to be done now. */
bool http_pass_drained(struct http_conn *conn);

/* --- http2.c --- */

#define HTTP2_PREFACE      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HTTP2_PREFACE_HEAD 18 /* bytes of it that look like a head */

/** The client speaks HTTP/2, and has begun with what is in `in`. False: the connection was closed.
 */
bool http2_begin(struct http_conn *conn);
/** Read, and send what is to be sent; may close the connection. */
void http2_turn(struct http_conn *conn);
void http2_expired(struct http_conn *conn);
/** The server stops: say goodbye, and let what runs end. */
void http2_stop(struct http_conn *conn);
/** The connection has ended, and every stream with it. */
void http2_ended(struct http_conn *conn);
/** The same for connections that were noted to have something. */
void http2_due(struct syn_http_server *server);
/** What is in conn->out is the head of a stream's answer. False: it cannot be sent. */
bool http2_reply(struct http_conn *conn);
/** "100 Continue" to a stream. */
bool http2_continue(struct http_conn *conn);
/** More of a stream's answer can be sent. */
void http2_more(struct http_conn *conn);
/** A stream is closed: reset it, unless it is over, and leave the connection. */
void http2_stream_closed(struct http_conn *conn);

/* --- http_tunnel.c --- */

/** Move what can be moved; may close the connection and its peer. */
void http_tunnel_turn(struct http_conn *conn);
/** As syn_http_sse_recheck(), for tunnels. */
void http_tunnel_recheck(struct syn_http_server *server,
                         bool (*may)(void *arg, const void *identity), void *arg);
/** Nothing may have moved for a while: then it ends. */
void http_tunnel_expired(struct http_conn *conn);
/** The connection has ended: tell the owner, let the peer go, free the tunnel. */
void http_tunnel_ended(struct http_conn *conn);

#endif
