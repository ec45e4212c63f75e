/* What a gateway needs of the HTTP server: every request whatever its method and path, as it was
 * sent, and answers that are somebody else's, passed on as they come. Thread: the loop, for every
 * function here. */
#ifndef SYNOR_INFRA_HTTP_PASS_H
#define SYNOR_INFRA_HTTP_PASS_H

#include <synor/infra/http_server.h>

/** Bytes of a pushed body that wait for a slow client before it is said to be full. */
#define SYN_HTTP_PUSH_BYTES ((size_t)64 << 10)

/** Looks at a request's head before its body is read. *ret_body_max is how much of one is taken (it
 * is the row's body_max before). Returns 0, or an error, which is the answer then. */
typedef int (*syn_http_head_fn)(struct syn_http_req *req, void *ctx, int64_t *ret_body_max,
                                struct syn_err *err);

/** Serve every request with `row` (kind LOOP; its method and pattern are only names) and no other:
 * nothing is routed, decoded or authenticated, and every answer has `x-request-id`. Before the
 * first listener. `head` may be NULL. With the option `http2` clients may speak
 * HTTP/2: by TLS as they ask for it, else to who begins with it (prior knowledge). Returns 0;
 * CONFLICT: there are other rows. */
SYN_MUST int syn_http_server_catch(struct syn_http_server *server, const struct syn_http_route *row,
                                   syn_http_head_fn head, void *ctx, struct syn_err *err);
/** How a request ended. */
struct syn_http_done {
    int status;           /* 499: the client went before there was an answer */
    bool cut;             /* the answer was begun and did not get out whole */
    int64_t sent_bytes;   /* of the answer's body */
    int64_t duration_us;  /* from the end of the request's head */
    const char *protocol; /* "HTTP/1.1", "HTTP/2" */
};
/** Called once for every request when it has ended, before its identity is dropped. The request's
 * verb and target are NULL when its head could not be read. */
typedef void (*syn_http_done_fn)(struct syn_http_req *req, const struct syn_http_done *done,
                                 void *ctx);
/** Tell of each request; of a server that serves all alike, before the first listener. */
void syn_http_server_tell(struct syn_http_server *server, syn_http_done_fn fn, void *ctx);

/** Serve, by TLS unless that is NULL, what connects to the socket `fd`, which is bound. Owns it
 * from the call on. */
SYN_MUST int syn_http_listen_fd_take(struct syn_http_server *server, int fd,
                                     const struct syn_http_tls *tls, struct syn_err *err);
/** Bind a TCP socket to "ADDRESS:PORT" of any interface, to be shared with others that do the same
 * (SO_REUSEPORT). *ret_port may be NULL. */
SYN_MUST int syn_http_bind(const char *address, int *ret_fd, uint16_t *ret_port,
                           struct syn_err *err);

/** As sent: "HEAD", "OPTIONS". Of these two, NULL where syn_http_done_fn says so. */
const char *syn_http_req_verb(const struct syn_http_req *req);
/** As sent: the path of *ret_path bytes and what follows it, a '?' and the query, if there is one.
 */
const char *syn_http_req_target(const struct syn_http_req *req, size_t *ret_path);
/** Header number `index` in the order sent, its name in lower case; false behind the last. */
bool syn_http_req_header_at(const struct syn_http_req *req, unsigned index, const char **ret_name,
                            const char **ret_value);
/** HTTP/1.0: no chunks. */
bool syn_http_req_is_old(const struct syn_http_req *req);

/** Have fn(arg) called once when the client goes away before the answer has been handed over (
 * syn_http_finish() or syn_http_push_end()). Whoever has the request must finish or cut it still.
 * `fn` NULL: no more. Never from inside another call on the request. */
void syn_http_on_gone(struct syn_http_req *req, void (*fn)(void *arg), void *arg);

/** The status of an error answer in place of its code's own. */
void syn_http_error_status(struct syn_http_req *req, int status);
/** Answer so, with what syn_http_reply_header() adds and no other header but `date`, those of the
 * framing and `x-request-id`. `len` (-1: not known) is that of the body that a HEAD does not get;
 * a body is given by syn_http_pass_body(), or pushed. */
void syn_http_pass(struct syn_http_req *req, int status, int64_t len);
/** The whole body. Copied. */
SYN_MUST int syn_http_pass_body(struct syn_http_req *req, const void *data, size_t len,
                                struct syn_err *err);

/** The client does not take it as fast as it comes: wait for `drained`. */
#define SYN_HTTP_FULL 1

/**
 * Begin the answer that syn_http_pass() was told of, to a request whose handler returned
 * SYN_HTTP_LATER: its body (`len` of it, or chunks) is pushed, and syn_http_push_end() or
 * syn_http_push_cut() ends it in place of syn_http_finish(). Nothing is sent before the next flush.
 * drained(arg) is called when a full client has taken all. Not for HEAD.
 *
 * Returns 0; UNAVAILABLE: the client has gone; NOMEM. Then the request is to be cut.
 */
SYN_MUST int syn_http_push_open(struct syn_http_req *req, void (*drained)(void *arg), void *arg,
                                struct syn_err *err);
/** Queue bytes. INVALID: more than `len`. */
SYN_MUST int syn_http_push_add(struct syn_http_req *req, const void *data, size_t len,
                               struct syn_err *err);
/** Send what can be sent. Returns 0; SYN_HTTP_FULL; UNAVAILABLE: the client has gone, which is not
 * told in another way then. */
SYN_MUST int syn_http_push_flush(struct syn_http_req *req, struct syn_err *err);
/** That was all: send it and go on to the next request. A body that is too short is cut. */
void syn_http_push_end(struct syn_http_req *req);
/** Break off: the client sees that the body is incomplete. Also for requests that are LATER and
 * were not opened. */
void syn_http_push_cut(struct syn_http_req *req);

#endif
