/* An HTTP/1.1 server on a syn_loop: Unix sockets, loopback TCP, TLS 1.3. One table says what it
 * serves.
 *
 * The loop's thread parses, routes, authenticates and moves bytes; handlers that block run on a
 * pool. Errors are documents `{code, message, hint, details, request_id}` made from errors.def,
 * whoever found them: parser, router, schema or handler. */
#ifndef SYNOR_INFRA_HTTP_SERVER_H
#define SYNOR_INFRA_HTTP_SERVER_H

#include <sys/types.h>

#include <synor/base/loop.h>
#include <synor/base/pool.h>
#include <synor/base/schema.h>
#include <synor/infra/http_req.h>
#include <synor/infra/metrics.h>
#include <synor/infra/tls_hosts.h>

struct syn_http_server;

#define SYN_HTTP_ROUTES_MAX    512
#define SYN_HTTP_SEGMENTS_MAX  16 /* of a path */
#define SYN_HTTP_PARAMS_MAX    8  /* of a pattern */
#define SYN_HTTP_LISTENERS_MAX 8
#define SYN_HTTP_TARGET_MAX    4096 /* bytes of path and query as sent */

enum syn_http_kind {
    SYN_HTTP_LOOP,   /* handler on the loop: memory only, never blocks */
    SYN_HTTP_POOL,   /* handler on a pool worker: may block */
    SYN_HTTP_UPLOAD, /* begin, sink and handler on a pool worker; the body is never held in memory
                      */
};

enum syn_http_flag {
    SYN_HTTP_PUBLIC = 1 << 0,    /* no `authenticate` */
    SYN_HTTP_ANY_QUERY = 1 << 1, /* accept query parameters that no schema names */
    SYN_HTTP_EVENTS = 1 << 2,    /* for the OpenAPI document: may answer with server-sent events */
};

/** Where an upload's body goes; filled by `begin`. */
struct syn_http_upload {
    int fd; /* written from `offset` on with pwrite, not owned; -1: use `sink` */
    int64_t offset;
    /* Takes the next bytes in order; runs on a worker. */
    int (*sink)(void *arg, const void *data, size_t len, struct syn_err *err);
    int64_t bytes_max; /* TOOBIG behind this; 0: the route's body_max */
    void *arg;
    /* Called once when the request has ended in any way, if `begin` succeeded: `received` bytes are
     * in the file or sink. On a worker; on the loop when the client went away between two blocks.
     */
    void (*drop)(void *arg, int64_t received);
};

typedef int (*syn_http_handler_fn)(struct syn_http_req *req, void *ctx, struct syn_err *err);
/** Decide about an upload before its body is read (and before "100 Continue"). */
typedef int (*syn_http_begin_fn)(struct syn_http_req *req, void *ctx,
                                 struct syn_http_upload *upload, struct syn_err *err);

/** One row. Static data. */
struct syn_http_route {
    const char *method;  /* GET POST PUT PATCH DELETE; GET serves HEAD as well */
    const char *pattern; /* "/v1/training/{id}/logs"; "{rest*}" may come last */
    enum syn_http_kind kind;
    uint32_t flags;                  /* SYN_HTTP_* */
    uint32_t scopes;                 /* for `authenticate`: any of these will do */
    size_t body_max;                 /* bytes; 0: the request must have no body */
    syn_http_handler_fn handler;     /* for uploads: after the last byte */
    syn_http_begin_fn begin;         /* uploads only */
    const struct syn_schema *body;   /* the body is a JSON object of this shape */
    const struct syn_schema *query;  /* scalar fields; NULL: no query parameters */
    const struct syn_schema *answer; /* for the OpenAPI document, may be NULL */
    const char *name;                /* operation id: "training.create" */
    const char *summary;
};

/** Called on the loop after routing and before the body is read, unless the route is public. It
 * sets the identity, or refuses with UNAUTHENTICATED, FORBIDDEN, LIMIT. Must not block. */
typedef int (*syn_http_authenticate_fn)(void *ctx, struct syn_http_req *req,
                                        const struct syn_http_route *route, struct syn_err *err);

/** 0 means the default. */
struct syn_http_limits {
    size_t head_bytes_max;    /* 16 KiB: request line and headers */
    unsigned conns_max;       /* 4096; more are closed at once; of HTTP/2 as many requests, too */
    int64_t handshake_ms;     /* 10 s for a TLS handshake */
    int64_t head_ms;          /* 10 s from the first byte to the end of the head */
    int64_t idle_ms;          /* 60 s between requests */
    int64_t pace_ms;          /* 20 s for each 16 KiB of a body, read or written */
    int64_t sse_keepalive_ms; /* 15 s */
    int64_t tunnel_idle_ms;   /* 1 hour without a byte either way ends a tunnel */
    size_t sse_backlog_max;   /* 1 MiB queued for one stream */
    int64_t bodies_max;       /* bytes of all bodies in memory together; 0: as much as there is */
};

struct syn_http_options {
    struct syn_loop *loop;
    struct syn_pool *pool;                 /* needed only by POOL and UPLOAD routes */
    struct syn_pool *handshakes;           /* TLS handshakes; NULL: on the loop */
    struct syn_metrics *metrics;           /* may be NULL */
    bool http2;                            /* see syn_http_server_catch() */
    syn_http_authenticate_fn authenticate; /* NULL: only public routes are served */
    void *authenticate_ctx;
    struct syn_http_limits limits;
};

/** Loop, pools, metrics and hooks must outlive the server. Has SIGPIPE ignored from then on.
 * Thread: the loop's, for every function here. */
SYN_MUST int syn_http_server_new(const struct syn_http_options *options,
                                 struct syn_http_server **ret_server, struct syn_err *err);
/** Cut every connection, wait for handlers that still run on the pool, free. Blocks for those. */
struct syn_http_server *syn_http_server_free(struct syn_http_server *server);

/** Serve these rows; `ctx` goes to their handlers. Before the first listener.
 *  Returns 0; EXISTS when a method and pattern is there already; INVALID; LIMIT. */
SYN_MUST int syn_http_server_add(struct syn_http_server *server,
                                 const struct syn_http_route *routes, size_t count, void *ctx,
                                 struct syn_err *err);
/** Row number `index` of what is served, or NULL behind the last: for the OpenAPI document and
 * tests. */
const struct syn_http_route *syn_http_routes(const struct syn_http_server *server, size_t index);

/** Listen at `path` with file mode `mode`. A socket left behind by a dead process is replaced.
 *  Returns 0; EXISTS when somebody answers there. */
SYN_MUST int syn_http_listen_unix(struct syn_http_server *server, const char *path, mode_t mode,
                                  struct syn_err *err);

/** PEM files; `key_path` NULL: the key is in the certificate's file. */
struct syn_http_tls {
    const char *cert_path;
    const char *key_path;
    /** In place of both: certificates by name, watched. */
    struct syn_tls_hosts *hosts;
};

/** Listen at "ADDRESS:PORT" or "[V6]:PORT"; port 0 picks one. `tls` NULL: plain, loopback only
 * (INVALID otherwise). *ret_port (may be NULL) is the port. */
SYN_MUST int syn_http_listen_tcp(struct syn_http_server *server, const char *address,
                                 const struct syn_http_tls *tls, uint16_t *ret_port,
                                 struct syn_err *err);

/** Stop gracefully: no new connections, running requests finish, streams and idle connections end;
 * what is left after `limit_ms` is cut. done(arg) is called on the loop when nothing is left. */
SYN_MUST int syn_http_server_stop(struct syn_http_server *server, int64_t limit_ms,
                                  void (*done)(void *arg), void *arg, struct syn_err *err);
/** Connections open now. */
unsigned syn_http_server_conns(const struct syn_http_server *server);

#endif
