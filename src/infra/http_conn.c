/* One connection's life, as a loop of steps: each looks at the state, moves what bytes it can, and
 * says whether another step may follow. A step that returns false has armed the watch, handed the
 * request to a worker, or closed the connection, which may be freed by then: nobody touches it
 * after a false.
 *
 *   HANDSHAKE -> HEAD -> BODY -> WORK -> REPLY -> HEAD ...
 *                  |       |       |        '-> LINGER -> CLOSED
 *                  '-------'-------'--- errors are replies like any other
 *                                  '-> STREAM, TUNNEL -> CLOSED
 *
 * Reading stops while a request is worked on or answered: a client that pipelines more than it
 * reads is slowed down by TCP, not by our memory. */
#include "http_priv.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define IN_FIRST_BYTES 4096
#define IN_KEEP_BYTES  8192
#define OUT_KEEP_BYTES 65536

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* --- reading ------------------------------------------------------------------------------------
 */

/* Room for `need` bytes behind what is there. The head's texts move with the buffer, so it grows
 * only while a head is incomplete; behind a parsed head the room was made before. */
static bool
in_reserve(struct http_conn *conn, size_t need)
{
    size_t cap = conn->in_cap != 0 ? conn->in_cap : IN_FIRST_BYTES;
    char *bigger;

    while (cap - conn->in_len < need)
        cap *= 2;
    if (cap == conn->in_cap)
        return true;
    bigger = syn_realloc(conn->in, cap);
    if (bigger == NULL)
        return false;
    conn->in = bigger;
    conn->in_cap = cap;
    return true;
}

/* Read once into the free part of `in`. True when there is something new. */
static bool
in_fill(struct http_conn *conn)
{
    size_t room = conn->in_cap - conn->in_len;
    ptrdiff_t got;

    if (!conn->readable) {
        if (!http_io_arm(conn, EPOLLIN))
            http_conn_close(conn);
        return false;
    }
    got = http_io_recv(conn, conn->in + conn->in_len, room);
    if (got == HTTP_IO_AGAIN) {
        conn->readable = false;
        return false;
    }
    if (got <= 0) {
        http_conn_close(conn);
        return false;
    }
    conn->in_len += (size_t)got;
    if (conn->ssl == NULL && (size_t)got < room)
        conn->readable = false;
    return true;
}

/* --- replying -----------------------------------------------------------------------------------
 */

bool
http_reply_begin(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    struct syn_err err;

    if (!req->body_done)
        conn->close_after = true; /* what follows is no request */
    if (conn->close_after || conn->server->stopping)
        req->keep_alive = false;
    syn_buf_clear(&conn->out);
    conn->out_sent = 0;
    req->under_way = true;
    req->replied = true;
    if (http_reply_start(req, &err) < 0 || (conn->h2.id != 0 && !http2_reply(conn))) {
        http_conn_close(conn);
        return false;
    }
    conn->state = HTTP_REPLY;
    conn->pace = 0;
    conn->last_block = false;
    return true;
}

static bool
refuse(struct http_conn *conn, int rc, const struct syn_err *err, int status)
{
    if (!conn->req.under_way) /* without a head it has no number yet */
        conn->req.seq = ++conn->server->request_seq;
    http_reply_error(&conn->req, rc, err, status);
    return http_reply_begin(conn);
}

/* A handler (or begin, or sink) has come to an end. */
static bool
handler_ended(struct http_conn *conn, int rc, const struct syn_err *err)
{
    if (atomic_load_explicit(&conn->gone, memory_order_relaxed)) {
        http_conn_close(conn);
        return false;
    }
    if (rc < 0)
        return refuse(conn, rc, err, 0);
    if (conn->req.reply.status == 0)
        syn_http_reply(&conn->req, 204);
    return http_reply_begin(conn);
}

void
syn_http_finish(struct syn_http_req *req, int rc, const struct syn_err *err)
{
    struct http_conn *conn = req->conn;

    assert(conn->later && rc != SYN_HTTP_LATER);
    conn->later = false;
    req->on_gone = NULL;
    if (conn->state == HTTP_CLOSED) {
        http_conn_release(conn);
        return;
    }
    if (handler_ended(conn, rc, err))
        http_conn_advance(conn);
}

/* --- workers ------------------------------------------------------------------------------------
 */

/* Hand the request to a worker; true when that failed and an error is to be sent. */
static bool
work(struct http_conn *conn, enum http_job job)
{
    struct syn_err err;
    int rc;

    http_clock_set(conn, HTTP_CLOCK_NONE);
    conn->state = HTTP_WORK;
    rc = http_job_start(conn, job, &err);
    if (rc == SYN_OK)
        return false;
    if (job == HTTP_JOB_PULL) {
        http_conn_close(conn);
        return false;
    }
    return refuse(conn, rc, &err, 0);
}

static bool body_begin(struct http_conn *conn);
static bool handshake_went(struct http_conn *conn, int rc, uint32_t events);

void
http_conn_job_done(struct http_conn *conn)
{
    enum http_job job = conn->done_job;
    int rc = conn->job_rc;
    bool go_on = true;

    if (conn->state == HTTP_CLOSED) {
        if (rc == SYN_HTTP_LATER && job == HTTP_JOB_HANDLER)
            conn->later = true; /* syn_http_finish() releases it */
        else
            http_conn_release(conn);
        return;
    }
    if (job == HTTP_JOB_HANDSHAKE) {
        if (handshake_went(conn, rc, conn->job_events))
            http_conn_advance(conn);
        return;
    }
    if (rc == SYN_HTTP_LATER && job == HTTP_JOB_HANDLER) {
        conn->later = true;
        return;
    }
    if (rc == SYN_OK && job == HTTP_JOB_BEGIN) {
        go_on = body_begin(conn);
    } else if (rc == SYN_OK && job == HTTP_JOB_SINK) {
        conn->state = HTTP_BODY;
    } else if (rc == SYN_OK && job == HTTP_JOB_PULL) {
        conn->state = HTTP_REPLY;
    } else if (job == HTTP_JOB_PULL) {
        syn_log_err(SYN_LOG_DEBUG, "http.cut", &conn->job_err);
        http_conn_close(conn);
        go_on = false;
    } else {
        go_on = handler_ended(conn, rc, &conn->job_err);
    }
    if (go_on)
        http_conn_advance(conn);
}

/* --- a request's way ----------------------------------------------------------------------------
 */

/* The body is complete, or there is none. */
static bool
dispatch(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    struct syn_err err;
    int rc;

    req->body_done = true;
    if (req->match.entry->route->kind != SYN_HTTP_LOOP)
        return work(conn, HTTP_JOB_HANDLER);
    err.msg[0] = '\0';
    rc = http_run_handler(req, &err);
    if (rc == SYN_HTTP_LATER) {
        http_clock_set(conn, HTTP_CLOCK_NONE);
        conn->later = true;
        conn->state = HTTP_WORK;
        return false;
    }
    return handler_ended(conn, rc, &err);
}

static bool
send_continue(struct http_conn *conn)
{
    const ptrdiff_t len = (ptrdiff_t)sizeof(continue_line) - 1;

    if (conn->h2.id != 0)
        return http2_continue(conn);
    return http_io_send(conn, continue_line, (size_t)len, false) == len;
}

static bool
body_begin(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    struct syn_err err;

    if (!req->head.chunked && req->body_left == 0)
        return dispatch(conn);
    if (req->body_left > req->body_max)
        return refuse(conn,
                      SYN_FAIL(&err, SYN_E_TOOBIG, "the body has %lld bytes; %lld are taken here",
                               (long long)req->body_left, (long long)req->body_max),
                      &err, 0);
    if (req->head.expects_continue && conn->in_len == conn->in_used && !send_continue(conn)) {
        http_conn_close(conn);
        return false;
    }
    conn->state = HTTP_BODY;
    conn->pace = 0;
    http_clock_set(conn, HTTP_CLOCK_PACE);
    return true;
}

static int
route_find(struct http_conn *conn, struct syn_err *err)
{
    struct syn_http_req *req = &conn->req;
    const struct http_router *router = conn->server->router;
    char allow[64];
    int rc =
        http_router_find(router, req->head.method, req->segments, req->segment_count, &req->match);

    if (rc == HTTP_ROUTE_METHOD) {
        http_router_allow(router, req->segments, req->segment_count, allow, sizeof(allow));
        rc = syn_http_reply_header(req, "allow", allow, err);
        return rc < 0 ? rc
                      : SYN_FAIL(err, SYN_E_METHOD, "%s is not served here; %s are",
                                 req->head.method, allow);
    }
    if (rc == SYN_OK)
        return http_req_join_rest(req, err);
    if (rc == HTTP_ROUTE_UNKNOWN) {
        const char *near = http_router_near(router, req->segments, req->segment_count);
        char hint[256];

        if (near != NULL) {
            (void)snprintf(hint, sizeof(hint), "did you mean %s?", near);
            syn_http_error_hint(req, hint);
        }
        return SYN_FAIL(err, SYN_E_NOTFOUND, "nothing is served at this path");
    }
    return rc;
}

static int
authenticate(struct http_conn *conn, struct syn_err *err)
{
    const struct syn_http_options *options = &conn->server->options;
    const struct syn_http_route *route = conn->req.match.entry->route;

    if ((route->flags & SYN_HTTP_PUBLIC) != 0)
        return SYN_OK;
    if (options->authenticate == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "this server knows nobody");
    return options->authenticate(options->authenticate_ctx, &conn->req, route, err);
}

/* Everything that is decided before the body. */
static int
prepare(struct http_conn *conn, int *ret_status, struct syn_err *err)
{
    struct syn_http_req *req = &conn->req;
    const struct syn_http_route *route;
    char *query = memchr(req->head.target, '?', req->head.target_len);
    size_t path_len = query == NULL ? req->head.target_len : (size_t)(query - req->head.target);
    int rc;

    if (conn->server->all.route != NULL)
        return http_pass_head(conn, err);
    if (query != NULL)
        *query++ = '\0';
    rc = http_path_split(req->head.target, path_len, req->segments, &req->segment_count, err);
    if (rc == SYN_OK && query != NULL)
        rc = http_query_parse(query, req->query, &req->query_count, err);
    if (rc == SYN_OK)
        rc = route_find(conn, err);
    if (rc == SYN_OK)
        rc = authenticate(conn, err);
    if (rc < 0)
        return rc;
    route = req->match.entry->route;
    req->body_max = (int64_t)route->body_max;
    if (route->kind == SYN_HTTP_UPLOAD && !req->head.chunked && req->head.content_length < 0) {
        *ret_status = 411;
        return SYN_FAIL(err, SYN_E_INVALID, "an upload needs Content-Length or chunks");
    }
    if (!req->body_done && req->body_max == 0)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%s %s takes no body", route->method, route->pattern);
    if (req->body_left > req->body_max)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the body has %lld bytes; %lld are taken here",
                        (long long)req->body_left, (long long)req->body_max);
    return SYN_OK;
}

/* Parse errors have statuses of their own; behind one nothing on this connection can be trusted. */
static int
head_status(int rc)
{
    switch (rc) {
    case SYN_E_LIMIT:
        return 431;
    case SYN_E_TOOBIG:
        return 414;
    case SYN_E_UNSUPPORTED:
        return 501;
    default:
        return 400;
    }
}

static bool
head_done(struct http_conn *conn, size_t len)
{
    struct syn_http_req *req = &conn->req;
    struct syn_err err;
    int status = 0;
    int rc;

    conn->head_len = len;
    conn->in_used = len;
    req->seq = ++conn->server->request_seq;
    req->started_ns = syn_clock_ns();
    req->under_way = true;
    req->body_done = false;
    rc = http_head_parse(conn->in, len, &req->head, &err);
    if (rc < 0) {
        req->head.method = NULL;
        req->head.target = NULL;
        req->head.header_count = 0;
        req->head.minor_zero = false;
        conn->close_after = true;
        return refuse(conn, rc, &err, head_status(rc));
    }
    if (conn->h2.id != 0 && !conn->h2.asked && req->head.content_length < 0)
        req->head.chunked = true; /* its length is not known */
    req->keep_alive = req->head.keep_alive;
    req->is_head = strcmp(req->head.method, "HEAD") == 0;
    req->body_left = SYN_MAX(req->head.content_length, 0);
    req->body_done = !req->head.chunked && req->body_left == 0;
    req->chunked = (struct http_chunked){HTTP_CHUNK_SIZE, 0, 0};
    rc = prepare(conn, &status, &err);
    if (rc < 0)
        return refuse(conn, rc, &err, status);
    if (req->match.entry->route->kind == SYN_HTTP_UPLOAD)
        return work(conn, HTTP_JOB_BEGIN);
    return body_begin(conn);
}

/* Nothing but the beginning of HTTP/2, by a client that knows that it is spoken here. */
static bool
is_preface(const struct http_conn *conn, size_t len)
{
    return len == HTTP2_PREFACE_HEAD && conn->server->options.http2 && conn->req.seq == 0 &&
           conn->ssl == NULL && memcmp(conn->in, HTTP2_PREFACE, len) == 0;
}

static bool
step_head(struct http_conn *conn)
{
    size_t len = conn->in_len == 0 ? 0 : http_head_end(conn->in, conn->in_len, &conn->scanned);
    size_t max = conn->server->limits.head_bytes_max;
    struct syn_err err;

    if (len > 0 && is_preface(conn, len))
        return http2_begin(conn);
    if (len > 0 && len <= max) {
        /* Texts of the head point into `in` from here on: it does not move before the answer is
         * out. */
        if (in_reserve(conn, IN_FIRST_BYTES / 4))
            return head_done(conn, len);
        http_conn_close(conn);
        return false;
    }
    if (conn->in_len >= max) {
        conn->req.body_done = false;
        conn->req.head.minor_zero = false;
        conn->close_after = true;
        conn->req.started_ns = syn_clock_ns();
        return refuse(
            conn, SYN_FAIL(&err, SYN_E_TOOBIG, "the request's head has more than %zu bytes", max),
            &err, 431);
    }
    if (conn->in_len > 0 && conn->clock != HTTP_CLOCK_HEAD)
        http_clock_set(conn, HTTP_CLOCK_HEAD);
    if (conn->readable && !in_reserve(conn, IN_FIRST_BYTES / 2)) {
        http_conn_close(conn);
        return false;
    }
    return in_fill(conn);
}

/* --- bodies -------------------------------------------------------------------------------------
 */

/* Take what has arrived of the body. */
static int
body_take(struct http_conn *conn, struct syn_err *err)
{
    struct syn_http_req *req = &conn->req;
    const char *data = conn->in + conn->in_used;
    size_t len = conn->in_len - conn->in_used;
    size_t used = 0;
    int rc;

    if (req->upload_open) /* a block at a time: the sink is slower than the wire */
        len = SYN_MIN(len, (size_t)HTTP_BLOCK_BYTES - req->body.len);
    if (req->head.chunked) {
        rc = http_chunked_feed(&req->chunked, data, len, &used, &data, &len, err);
        if (rc < 0)
            return rc;
        req->body_done = req->chunked.state == HTTP_CHUNK_DONE;
    } else {
        len = (size_t)SYN_MIN((int64_t)len, req->body_left);
        used = len;
        req->body_left -= (int64_t)len;
        req->body_done = req->body_left == 0;
    }
    /* What a chunk announces counts at once: nobody waits for bytes that will be refused. */
    if (len > (uint64_t)req->body_max || req->chunked.left > (uint64_t)req->body_max ||
        req->received + (int64_t)(req->body.len + len + req->chunked.left) > req->body_max) {
        req->body_done = false;
        return SYN_FAIL(err, SYN_E_TOOBIG, "the body has more than the %lld bytes taken here",
                        (long long)req->body_max);
    }
    syn_buf_add(&req->body, data, len);
    conn->in_used += used;
    conn->pace += used;
    if (conn->in_used == conn->in_len) {
        conn->in_used = conn->head_len;
        conn->in_len = conn->head_len;
    }
    rc = syn_buf_ok(&req->body, err);
    return rc < 0 ? rc : http_req_count_body(req, err);
}

/* Read a body of known length straight to where it is kept. */
static bool
body_fill(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    size_t want =
        req->upload_open ? (size_t)HTTP_BLOCK_BYTES - req->body.len : (size_t)HTTP_READ_BYTES * 4;
    char *room;
    ptrdiff_t got;

    want = (size_t)SYN_MIN((int64_t)want, req->body_left);
    room = syn_buf_reserve(&req->body, want + 1);
    if (room == NULL) {
        http_conn_close(conn);
        return false;
    }
    got = http_io_recv(conn, room, want);
    if (got == HTTP_IO_AGAIN)
        return false;
    if (got <= 0) {
        http_conn_close(conn);
        return false;
    }
    room[got] = '\0';
    req->body.len += (size_t)got;
    req->body_left -= got;
    req->body_done = req->body_left == 0;
    conn->pace += (size_t)got;
    return true;
}

/* More of the body is needed than has arrived. */
static bool
body_wait(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    struct syn_err err;
    int rc;

    if (conn->clock != HTTP_CLOCK_PACE || conn->pace >= HTTP_PACE_BYTES) {
        conn->pace = 0;
        http_clock_set(conn, HTTP_CLOCK_PACE);
    }
    if (req->head.chunked || !conn->readable)
        return in_fill(conn);
    if (!body_fill(conn))
        return false;
    rc = http_req_count_body(req, &err);
    if (rc < 0)
        return refuse(conn, rc, &err, 0);
    if (req->body_done)
        return dispatch(conn);
    return req->upload_open && req->body.len >= HTTP_BLOCK_BYTES ? work(conn, HTTP_JOB_SINK) : true;
}

static bool
step_body(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    struct syn_err err;

    if (conn->in_len > conn->in_used) {
        int rc = body_take(conn, &err);

        if (rc < 0)
            return refuse(conn, rc, &err, 0);
        if (req->body_done)
            return dispatch(conn);
        if (req->upload_open && req->body.len >= HTTP_BLOCK_BYTES)
            return work(conn, HTTP_JOB_SINK);
        return true;
    }
    return body_wait(conn);
}

/* --- sending ------------------------------------------------------------------------------------
 */

static void
account(struct http_conn *conn)
{
    struct syn_http_req *req = &conn->req;
    const struct http_route_entry *entry = req->match.entry;
    int64_t took = syn_clock_ns() - req->started_ns;
    int class = req->reply.status / 100;

    if (entry != NULL && entry->latency != NULL && class >= 1 && class <= 5) {
        syn_series_add(entry->classes[class - 1], 1);
        syn_series_observe(entry->latency, took);
    }
    syn_log(SYN_LOG_DEBUG, "http.request", "route=%s status=%d us=%lld",
            entry != NULL ? entry->route->name : "-", req->reply.status, (long long)(took / 1000));
}

/* The answer is out: next request, or the end. */
static bool
reply_done(struct http_conn *conn)
{
    bool unread = !conn->req.body_done || conn->in_len > conn->in_used;
    bool keep = conn->req.keep_alive;
    size_t rest = conn->in_len - conn->in_used;

    account(conn);
    http_req_reset(&conn->req);
    if (!keep) {
        http_io_shutdown(conn);
        if (!unread) {
            http_conn_close(conn);
            return false;
        }
        conn->state = HTTP_LINGER;
        conn->lingered = 0;
        conn->readable = true;
        http_clock_set(conn, HTTP_CLOCK_LINGER);
        return true;
    }
    if (rest > 0)
        memmove(conn->in, conn->in + conn->in_used, rest);
    conn->in_len = rest;
    conn->in_used = 0;
    conn->scanned = 0;
    if (rest == 0 && conn->in_cap > IN_KEEP_BYTES) {
        syn_free(conn->in);
        conn->in = NULL;
        conn->in_cap = 0;
    }
    if (conn->out.cap > OUT_KEEP_BYTES)
        syn_buf_fini(&conn->out);
    conn->state = HTTP_HEAD;
    http_clock_set(conn, rest > 0 ? HTTP_CLOCK_HEAD : HTTP_CLOCK_IDLE);
    return true;
}

/* `n` is what a send returned. True when bytes went out. */
static bool
sent(struct http_conn *conn, ptrdiff_t n)
{
    if (n == HTTP_IO_GONE) {
        http_conn_close(conn);
        return false;
    }
    if (n == HTTP_IO_AGAIN) {
        if (conn->clock != HTTP_CLOCK_PACE || conn->pace >= HTTP_PACE_BYTES) {
            conn->pace = 0;
            http_clock_set(conn, HTTP_CLOCK_PACE);
        }
        return false;
    }
    conn->pace += (size_t)n;
    return true;
}

static bool
step_source(struct http_conn *conn)
{
    struct http_reply *reply = &conn->req.reply;
    struct syn_err err;
    ptrdiff_t n;

    if (reply->source == HTTP_SOURCE_PUSH)
        return conn->push.ended ? reply_done(conn) : http_pass_drained(conn);
    if (reply->source == HTTP_SOURCE_PULL) {
        if (conn->last_block)
            return reply_done(conn);
        if (conn->req.match.entry->route->kind != SYN_HTTP_LOOP)
            return work(conn, HTTP_JOB_PULL);
        if (http_run_pull(conn, &err) < 0) {
            http_conn_close(conn);
            return false;
        }
        return true;
    }
    if (conn->source_left == 0)
        return reply_done(conn);
    if (reply->source == HTTP_SOURCE_FD)
        n = http_io_send_file(conn, reply->fd, &reply->offset, (size_t)conn->source_left);
    else
        n = http_io_send(conn, reply->memory + (reply->len - conn->source_left),
                         (size_t)conn->source_left, false);
    if (!sent(conn, n))
        return false;
    conn->source_left -= n;
    return true;
}

static bool
step_reply(struct http_conn *conn)
{
    ptrdiff_t n;

    if (conn->out_sent == conn->out.len)
        return step_source(conn);
    n = http_io_send(conn, conn->out.data + conn->out_sent, conn->out.len - conn->out_sent,
                     conn->source_left > 0);
    if (!sent(conn, n))
        return false;
    conn->out_sent += (size_t)n;
    if (conn->out_sent == conn->out.len && conn->stream != NULL) {
        account(conn);
        conn->state = HTTP_STREAM;
        conn->readable = true;
        syn_buf_clear(&conn->out);
        conn->out_sent = 0;
        http_clock_set(conn, HTTP_CLOCK_SSE);
    } else if (conn->out_sent == conn->out.len && conn->tunnel != NULL) {
        account(conn);
        conn->state = HTTP_TUNNEL;
        http_clock_set(conn, HTTP_CLOCK_TUNNEL);
    }
    return true;
}

/* Nothing that a client says now matters, but its silence does. */
static bool
step_swallow(struct http_conn *conn)
{
    char scratch[4096];
    ptrdiff_t got;

    if (conn->state == HTTP_STREAM &&
        (conn->stream->closing || syn_http_sse_backlog(conn->stream) > 0)) {
        http_sse_flush(conn);
        return false;
    }
    got = http_io_recv(conn, scratch, sizeof(scratch));
    if (got == HTTP_IO_AGAIN)
        return false;
    conn->lingered += got > 0 ? (size_t)got : 0;
    if (got <= 0 || conn->lingered > HTTP_LINGER_BYTES) {
        http_conn_close(conn);
        return false;
    }
    return true;
}

/* `rc` is what a step of the handshake came to. True: go on. */
static bool
handshake_went(struct http_conn *conn, int rc, uint32_t events)
{
    bool gone = atomic_load_explicit(&conn->gone, memory_order_relaxed);

    conn->state = HTTP_HANDSHAKE;
    if (rc == HTTP_IO_AGAIN && !gone && !conn->server->stopping && http_io_arm(conn, events))
        return false;
    if (rc != 0 || gone || conn->server->stopping) {
        http_conn_close(conn);
        return false;
    }
    conn->state = HTTP_HEAD;
    conn->readable = true;
    http_clock_set(conn, HTTP_CLOCK_HEAD);
    return http_io_is_http2(conn) ? http2_begin(conn) : true;
}

/* What a handshake reckons takes as long as several requests do: a worker may do it. */
static bool
step_handshake(struct http_conn *conn)
{
    uint32_t events = EPOLLIN;
    struct syn_err err;

    if (conn->server->options.handshakes == NULL)
        return handshake_went(conn, http_io_handshake(conn, &events), events);
    conn->state = HTTP_WORK;
    if (http_job_start(conn, HTTP_JOB_HANDSHAKE, &err) == SYN_OK)
        return false;
    conn->state = HTTP_HANDSHAKE;
    http_conn_close(conn); /* more than can be served: as too many connections are */
    return false;
}

static bool
step(struct http_conn *conn)
{
    if (conn->h2.id != 0) {
        if (conn->state == HTTP_REPLY)
            http2_more(conn);
        return false;
    }
    switch (conn->state) {
    case HTTP_HANDSHAKE:
        return step_handshake(conn);
    case HTTP_HEAD:
        return step_head(conn);
    case HTTP_BODY:
        return step_body(conn);
    case HTTP_REPLY:
        return step_reply(conn);
    case HTTP_STREAM:
    case HTTP_LINGER:
        return step_swallow(conn);
    case HTTP_TUNNEL:
        http_tunnel_turn(conn);
        break;
    case HTTP_SESSION:
        http2_turn(conn);
        break;
    case HTTP_WORK:
    case HTTP_CLOSED:
        break;
    }
    return false;
}

void
http_conn_advance(struct http_conn *conn)
{
    while (step(conn))
        continue;
}

/* --- streams ------------------------------------------------------------------------------------
 */

void
http_conn_head(struct http_conn *conn)
{
    if (head_done(conn, conn->in_len))
        http_conn_advance(conn);
}

void
http_conn_refuse(struct http_conn *conn, int rc, const struct syn_err *err, int status)
{
    if (conn->req.started_ns == 0)
        conn->req.started_ns = syn_clock_ns();
    conn->req.body_done = false;
    if (refuse(conn, rc, err, status))
        http_conn_advance(conn);
}

void
http_conn_body_done(struct http_conn *conn)
{
    if (dispatch(conn))
        http_conn_advance(conn);
}

void
http_conn_answered(struct http_conn *conn)
{
    account(conn);
    http_req_reset(&conn->req);
    http_conn_close(conn);
}

/* --- events -------------------------------------------------------------------------------------
 */

static void
conn_fired(void *arg, int fd, uint32_t events)
{
    struct http_conn *conn = arg;

    (void)fd;
    conn->readable = true;
    if (http_pass_waits(conn)) {
        http_pass_hear(conn, events);
        return;
    }
    if (conn->state != HTTP_WORK) {
        http_conn_advance(conn);
        return;
    }
    /* A worker has the request. Bytes may wait; a dead client is remembered. Either way this level
     * must not fire again and again. */
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        atomic_store_explicit(&conn->gone, true, memory_order_relaxed);
        conn->watch = syn_watch_drop(conn->watch);
    } else if (!http_io_arm(conn, 0)) {
        conn->watch = syn_watch_drop(conn->watch);
        atomic_store_explicit(&conn->gone, true, memory_order_relaxed);
    }
}

void
http_conn_expired(struct http_conn *conn)
{
    struct syn_err err;
    enum http_clock clock = conn->clock;

    if (clock == HTTP_CLOCK_SSE) {
        http_sse_keepalive(conn);
        return;
    }
    if (clock == HTTP_CLOCK_TUNNEL) {
        http_tunnel_expired(conn);
        return;
    }
    if (conn->state == HTTP_SESSION) {
        http2_expired(conn);
        return;
    }
    http_clock_set(conn, HTTP_CLOCK_NONE);
    if (conn->h2.id != 0 && clock == HTTP_CLOCK_LINGER) {
        http_conn_answered(conn);
        return;
    }
    if ((conn->state == HTTP_HEAD && conn->in_len > 0) || conn->state == HTTP_BODY) {
        conn->close_after = true;
        if (conn->state == HTTP_HEAD) {
            conn->req.started_ns = syn_clock_ns();
            conn->req.body_done = false;
            conn->req.head.minor_zero = false;
        }
        if (refuse(conn, SYN_FAIL(&err, SYN_E_TIMEOUT, "the request did not arrive in time"), &err,
                   408))
            http_conn_advance(conn);
        return;
    }
    http_conn_close(conn);
}

void
http_conn_close(struct http_conn *conn)
{
    assert(conn->state != HTTP_CLOSED);
    conn->state = HTTP_CLOSED;
    atomic_store_explicit(&conn->gone, true, memory_order_relaxed);
    http_clock_set(conn, HTTP_CLOCK_NONE);
    conn->watch = syn_watch_drop(conn->watch);
    if (conn->job != HTTP_JOB_HANDSHAKE) /* else a worker has it: with the last of it */
        http_io_close(conn);
    if (conn->stream != NULL)
        http_sse_ended(conn);
    if (conn->tunnel != NULL)
        http_tunnel_ended(conn);
    if (conn->session != NULL)
        http2_ended(conn);
    if (conn->h2.id != 0)
        http2_stream_closed(conn);
    if (conn->later)
        http_pass_gone(conn); /* released by whoever has it, perhaps just now */
    else if (conn->job == HTTP_JOB_NONE)
        http_conn_release(conn);
}

void
http_conn_link(struct http_conn **first, struct http_conn *conn)
{
    conn->prev = NULL;
    conn->next = *first;
    if (conn->next != NULL)
        conn->next->prev = conn;
    *first = conn;
}

void
http_conn_unlink(struct http_conn **first, struct http_conn *conn)
{
    *(conn->prev != NULL ? &conn->prev->next : first) = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    conn->prev = conn->next = NULL;
}

void
http_conn_accept_take(struct syn_http_server *server, const struct http_listener *listener, int fd,
                      const struct syn_http_peer *peer)
{
    struct http_conn *conn = syn_calloc(1, sizeof(*conn));
    struct syn_err err;
    int rc = SYN_OK;

    if (conn == NULL) {
        (void)close(fd);
        return;
    }
    conn->server = server;
    conn->fd = fd;
    conn->peer = *peer;
    conn->req.conn = conn;
    conn->req.reply.fd = -1;
    conn->armed = EPOLLIN;
    http_conn_link(&server->conns, conn);
    server->conn_count++;
    conn->state = listener->tls != NULL ? HTTP_HANDSHAKE : HTTP_HEAD;
    if (listener->tls != NULL)
        rc = http_io_tls_attach(conn, listener->tls, &err);
    if (rc == SYN_OK)
        rc = syn_loop_fd(server->options.loop, fd, EPOLLIN, conn_fired, conn, &conn->watch, &err);
    if (rc < 0) {
        http_conn_close(conn);
        return;
    }
    http_clock_set(conn, listener->tls != NULL ? HTTP_CLOCK_HANDSHAKE : HTTP_CLOCK_HEAD);
}
