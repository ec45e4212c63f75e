/* What a handler sees of one request, and how it answers.
 *
 * A request belongs to whoever is working on it: the loop, then the handler's thread, then the loop
 * again. Between the start of a handler and its return only that thread may touch it. Texts are
 * borrowed from the request and live until the handler has returned (for SYN_HTTP_LATER: until
 * syn_http_finish()). A reply is remembered, not sent, by the syn_http_reply_* calls; the last one
 * before the handler returns 0 counts, and a handler that sets none answers 204. */
#ifndef SYNOR_INFRA_HTTP_REQ_H
#define SYNOR_INFRA_HTTP_REQ_H

#include <sys/types.h>

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>

struct syn_http_req;
struct syn_http_route;
struct syn_http_stream; /* one client listening to server-sent events */
struct syn_http_tunnel; /* one side of a stream of bytes both ways */

#define SYN_HTTP_HEADERS_MAX     64
#define SYN_HTTP_QUERY_MAX       32 /* query parameters of one request */
#define SYN_HTTP_SSE_EVENT_MAX   64 /* bytes of an event's name or id */
#define SYN_HTTP_REQUEST_ID_SIZE 25

/** Where a request came from. */
struct syn_http_peer {
    bool is_unix;
    pid_t pid; /* Unix sockets: the kernel's word at connect time */
    uid_t uid;
    gid_t gid;
    char address[48]; /* TCP: "127.0.0.1", "::1" */
    bool secure;      /* TLS */
};

/* --- asking -------------------------------------------------------------------------------------
 */

const char *syn_http_req_method(const struct syn_http_req *req); /* "HEAD" is seen as "GET" */
const struct syn_http_route *syn_http_req_route(const struct syn_http_req *req);
const struct syn_http_peer *syn_http_req_peer(const struct syn_http_req *req);
/** Unique per request; also in every error document. */
const char *syn_http_req_id(struct syn_http_req *req);
/** The decoded value of `{name}` in the route's pattern, which must have it. `{rest*}` gives the
 * rest of the path, its segments joined by slashes. */
const char *syn_http_req_param(const struct syn_http_req *req, const char *name);
/** The decoded value of a query parameter, or NULL. Repeated ones were refused before. */
const char *syn_http_req_query(const struct syn_http_req *req, const char *name);
/** The route's `query` schema applied to the parameters: typed, checked, defaults filled. Empty
 *  object for a route without schema. */
const json_t *syn_http_req_query_json(const struct syn_http_req *req);
/** The value of the first header of this lower-case name, or NULL. */
const char *syn_http_req_header(const struct syn_http_req *req, const char *name);
/** The token of "Authorization: Bearer TOKEN", or NULL. */
const char *syn_http_req_bearer(const struct syn_http_req *req);
/** The body's bytes, zero-terminated; "" when there was none. */
const char *syn_http_req_body(const struct syn_http_req *req, size_t *ret_len);
/** The body as a JSON object, the route's `body` schema applied. NULL for routes without schema.
 * The handler may take a reference or change it. */
json_t *syn_http_req_json(const struct syn_http_req *req);
/** Bytes of the body that an upload route's sink has accepted so far. */
int64_t syn_http_req_received(const struct syn_http_req *req);
/** The `arg` that an upload route's `begin` set; NULL for other routes. */
void *syn_http_req_upload_arg(const struct syn_http_req *req);
/** True when the client has gone: an answer would be dropped. Any thread. */
bool syn_http_req_gone(const struct syn_http_req *req);

/** The slot for whoever `authenticate` found; `drop` (may be NULL) is called when the request ends.
 */
void syn_http_req_set_identity(struct syn_http_req *req, void *identity, void (*drop)(void *));
void *syn_http_req_identity(const struct syn_http_req *req);

/* --- answering ----------------------------------------------------------------------------------
 */

/** No body. */
void syn_http_reply(struct syn_http_req *req, int status);
SYN_MUST int syn_http_reply_json(struct syn_http_req *req, int status, const json_t *doc,
                                 struct syn_err *err);
/** Owns `doc` from the call on. */
SYN_MUST int syn_http_reply_json_take(struct syn_http_req *req, int status, json_t *doc,
                                      struct syn_err *err);
/** The bytes are copied; `type` is static. */
SYN_MUST int syn_http_reply_bytes(struct syn_http_req *req, int status, const char *type,
                                  const void *data, size_t len, struct syn_err *err);
/** Bytes that live for ever, sent without a copy. */
void syn_http_reply_static(struct syn_http_req *req, int status, const char *type, const void *data,
                           size_t len);
/** `len` bytes of `fd` from `offset`, by sendfile where possible. Owns `fd`. A status of 200
 * honours "Range: bytes=A-B" with 206 or 416. */
void syn_http_reply_fd_take(struct syn_http_req *req, int status, const char *type, int fd,
                            int64_t offset, int64_t len);
/** Fill `buf` with up to `cap` bytes; *ret_len = 0 ends the body. Runs where the handler ran (loop
 * or pool). A failure cuts the connection: the client sees an incomplete body, never a wrong one.
 */
typedef int (*syn_http_pull_fn)(void *arg, char *buf, size_t cap, size_t *ret_len,
                                struct syn_err *err);
/** A body that `pull` produces; `len` is its length, or -1 when unknown. `drop` (may be NULL) gets
 *  `arg` once, whatever happens, on the loop. */
void syn_http_reply_pull(struct syn_http_req *req, int status, const char *type, int64_t len,
                         syn_http_pull_fn pull, void *arg, void (*drop)(void *arg));
/** Add a header to the answer; the name is lower case. INVALID for control characters in the value.
 */
SYN_MUST int syn_http_reply_header(struct syn_http_req *req, const char *name, const char *value,
                                   struct syn_err *err);

#define SYN_HTTP_NOT_MODIFIED 1
/** Set the ETag, quoted by the server. Returns 0; SYN_HTTP_NOT_MODIFIED when If-None-Match names
 * it: the reply is 304 then and the handler returns 0; NOMEM. */
SYN_MUST int syn_http_reply_etag(struct syn_http_req *req, const char *tag, struct syn_err *err);

/** What the error document says beside code and message. `hint` is copied. */
void syn_http_error_hint(struct syn_http_req *req, const char *hint);
/** Owns `details` (may be NULL) from the call on. */
void syn_http_error_details_take(struct syn_http_req *req, json_t *details);

/** A handler may return this instead of an error: it keeps the request and somebody calls
 *  syn_http_finish() later. */
#define SYN_HTTP_LATER 2
/** Answer a request whose handler returned SYN_HTTP_LATER: `rc` and `err` as if the handler had
 * returned them now. Thread: the loop. */
void syn_http_finish(struct syn_http_req *req, int rc, const struct syn_err *err);

/* --- server-sent events -------------------------------------------------------------------------
 */

/** Turn the request into a stream; the handler returns 0 after it. Only on the loop.
 *  `on_close` gets `arg` once when the stream has ended, for whatever reason (client gone or too
 * slow, server stopping, syn_http_sse_close); never from inside another call on the stream. The
 * stream is invalid from then on. */
SYN_MUST int syn_http_sse_open(struct syn_http_req *req, void (*on_close)(void *arg), void *arg,
                               struct syn_http_stream **ret_stream, struct syn_err *err);
/** Queue an event; `id` and `event` may be NULL; newlines in `data` are fine. Sent at the end of
 * this turn of the loop. Thread: the loop. Returns 0; LIMIT when the client is behind by more than
 * the backlog limit: it is being closed, and resumes by Last-Event-ID; CANCELED when it is closing
 * already; NOMEM; INVALID. */
SYN_MUST int syn_http_sse_send(struct syn_http_stream *stream, const char *id, const char *event,
                               const char *data, size_t len, struct syn_err *err);
/** Bytes queued and not yet taken by the kernel. */
size_t syn_http_sse_backlog(const struct syn_http_stream *stream);
/** Send what is queued, then end. */
void syn_http_sse_close(struct syn_http_stream *stream);
/** End every open stream and tunnel whose caller may not go on: `may` gets what was set as its
 * identity (NULL: nothing was). Thread: the loop. */
struct syn_http_server;
void syn_http_sse_recheck(struct syn_http_server *server,
                          bool (*may)(void *arg, const void *identity), void *arg);

/* --- tunnels ------------------------------------------------------------------------------------
 */

/** Turn the request into a tunnel: it is answered with 101 and `protocol` (static), and what
 * follows either way is not HTTP. Called before the handler returns 0, or before syn_http_finish()
 * with 0. Nothing is read before it is joined. `on_close` as of syn_http_sse_open(). Thread: the
 * loop. Returns 0; UNAVAILABLE: the client has gone, or the server is stopping; NOMEM. */
SYN_MUST int syn_http_tunnel_open(struct syn_http_req *req, const char *protocol,
                                  void (*on_close)(void *arg), void *arg,
                                  struct syn_http_tunnel **ret_tunnel, struct syn_err *err);
/** What comes out of one goes into the other, until one of them ends, which ends both. */
void syn_http_tunnel_join(struct syn_http_tunnel *a, struct syn_http_tunnel *b);
/** End it, and what it is joined to. Calls on_close. */
void syn_http_tunnel_close(struct syn_http_tunnel *tunnel);

#endif
