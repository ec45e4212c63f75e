/* Answers that are passed on. A pushed body is a queue between two sockets: what has come is framed
 * into conn->out and sent; who pushes is told when the client falls behind, and when it has caught
 * up. While nothing waits to be sent, the socket is only listened to for the client's end. */
#include "http_priv.h"

#include <errno.h>
#include <sys/socket.h>

#include <synor/base/clock.h>
#include <synor/infra/http_pass.h>

/* --- asking ----------------------------------------------------------------------------------- */

const char *
syn_http_req_verb(const struct syn_http_req *req)
{
    return req->head.method;
}

const char *
syn_http_req_target(const struct syn_http_req *req, size_t *ret_path)
{
    const char *query =
        req->head.target != NULL ? memchr(req->head.target, '?', req->head.target_len) : NULL;

    *ret_path = query != NULL ? (size_t)(query - req->head.target) : req->head.target_len;
    return req->head.target;
}

bool
syn_http_req_header_at(const struct syn_http_req *req, unsigned index, const char **ret_name,
                       const char **ret_value)
{
    if (index >= req->head.header_count)
        return false;
    *ret_name = req->head.headers[index].name;
    *ret_value = req->head.headers[index].value;
    return true;
}

bool
syn_http_req_is_old(const struct syn_http_req *req)
{
    return req->head.minor_zero;
}

/* --- a client that goes away ------------------------------------------------------------------ */

void
syn_http_on_gone(struct syn_http_req *req, void (*fn)(void *arg), void *arg)
{
    req->on_gone = fn;
    req->on_gone_arg = arg;
}

/* Called by whoever finds out. */
void
http_pass_gone(struct http_conn *conn)
{
    void (*fn)(void *) = SYN_TAKE(conn->req.on_gone);

    atomic_store_explicit(&conn->gone, true, memory_order_relaxed);
    if (fn != NULL)
        fn(conn->req.on_gone_arg);
}

bool
http_pass_waits(const struct http_conn *conn)
{
    if (conn->state == HTTP_WORK)
        return conn->req.on_gone != NULL;
    return conn->state == HTTP_REPLY && conn->req.reply.source == HTTP_SOURCE_PUSH &&
           !conn->push.ended && conn->out_sent == conn->out.len;
}

/* A client that sends its next request ahead is only listened to for its end; one that has ended
 * its side is taken for gone, as other proxies do. */
void
http_pass_hear(struct http_conn *conn, uint32_t events)
{
    char byte;
    ssize_t got;

    if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) == 0) {
        do
            got = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        while (got < 0 && errno == EINTR);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got > 0 && http_io_arm(conn, EPOLLRDHUP))
            return;
    }
    conn->watch = syn_watch_drop(conn->watch);
    http_pass_gone(conn);
}

/* --- answering -------------------------------------------------------------------------------- */

void
syn_http_error_status(struct syn_http_req *req, int status)
{
    req->error_status = status;
}

void
syn_http_pass(struct syn_http_req *req, int status, int64_t len)
{
    syn_http_reply(req, status);
    req->reply.bare = true;
    req->reply.len = len;
}

int
syn_http_pass_body(struct syn_http_req *req, const void *data, size_t len, struct syn_err *err)
{
    struct http_reply *reply = &req->reply;

    syn_buf_add(&reply->body, data, len);
    reply->source = HTTP_SOURCE_MEMORY;
    reply->memory = syn_buf_text(&reply->body);
    reply->len = (int64_t)reply->body.len;
    return syn_buf_ok(&reply->body, err);
}

int
syn_http_push_open(struct syn_http_req *req, void (*drained)(void *arg), void *arg,
                   struct syn_err *err)
{
    struct http_conn *conn = req->conn;
    void (*gone)(void *);

    assert(conn->later && !req->is_head);
    if (conn->state == HTTP_CLOSED || atomic_load_explicit(&conn->gone, memory_order_relaxed))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the client has gone");
    assert(conn->state == HTTP_WORK);
    req->reply.source = HTTP_SOURCE_PUSH;
    conn->push = (struct http_push){.drained = drained, .arg = arg, .left = req->reply.len};
    gone = SYN_TAKE(req->on_gone);
    if (!http_reply_begin(conn))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an answer");
    req->on_gone = gone;
    return SYN_OK;
}

static bool
is_chunked(const struct syn_http_req *req)
{
    return req->reply.len < 0 && !req->head.minor_zero && req->conn->h2.id == 0;
}

int
syn_http_push_add(struct syn_http_req *req, const void *data, size_t len, struct syn_err *err)
{
    struct http_conn *conn = req->conn;
    const bool chunked = is_chunked(req);

    if (len == 0)
        return SYN_OK;
    if (req->reply.len >= 0 && len > (uint64_t)conn->push.left)
        return SYN_FAIL(err, SYN_E_INVALID, "an answer is longer than it said");
    if (req->reply.len >= 0)
        conn->push.left -= (int64_t)len;
    conn->push.total += (int64_t)len;
    if (conn->out_sent == conn->out.len) {
        syn_buf_clear(&conn->out);
        conn->out_sent = 0;
    } else if (conn->out_sent >= HTTP_READ_BYTES) {
        syn_buf_consume(&conn->out, conn->out_sent);
        conn->out_sent = 0;
    }
    if (chunked)
        http_add_chunk_size(&conn->out, len);
    syn_buf_add(&conn->out, data, len);
    if (chunked)
        syn_buf_add(&conn->out, "\r\n", 2);
    return syn_buf_ok(&conn->out, err);
}

int
syn_http_push_flush(struct syn_http_req *req, struct syn_err *err)
{
    struct http_conn *conn = req->conn;
    void (*gone)(void *) = SYN_TAKE(req->on_gone);

    if (conn->state == HTTP_REPLY && !atomic_load_explicit(&conn->gone, memory_order_relaxed)) {
        conn->push.full = false;
        http_conn_advance(conn);
    }
    if (conn->state != HTTP_REPLY || atomic_load_explicit(&conn->gone, memory_order_relaxed))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the client has gone");
    req->on_gone = gone;
    conn->push.full = conn->out.len - conn->out_sent > SYN_HTTP_PUSH_BYTES;
    return conn->push.full ? SYN_HTTP_FULL : SYN_OK;
}

void
syn_http_push_cut(struct syn_http_req *req)
{
    struct http_conn *conn = req->conn;

    assert(conn->later);
    conn->later = false;
    req->on_gone = NULL;
    if (conn->state == HTTP_CLOSED)
        http_conn_release(conn);
    else
        http_conn_close(conn);
}

void
syn_http_push_end(struct syn_http_req *req)
{
    struct http_conn *conn = req->conn;

    if (conn->state != HTTP_REPLY || conn->push.left > 0 ||
        atomic_load_explicit(&conn->gone, memory_order_relaxed)) {
        syn_http_push_cut(req);
        return;
    }
    if (is_chunked(req))
        syn_buf_adds(&conn->out, "0\r\n\r\n");
    if (syn_buf_ok(&conn->out, NULL) < 0) {
        syn_http_push_cut(req);
        return;
    }
    conn->push.ended = true;
    conn->later = false;
    req->on_gone = NULL;
    http_conn_advance(conn);
}

/* All that was pushed so far is out, and it has not ended. */
bool
http_pass_drained(struct http_conn *conn)
{
    bool full = conn->push.full;

    http_clock_set(conn, HTTP_CLOCK_NONE);
    conn->pace = 0;
    if (!http_io_arm(conn, EPOLLIN)) {
        http_conn_close(conn);
        return false;
    }
    conn->push.full = false;
    if (full)
        conn->push.drained(conn->push.arg);
    return false;
}

/* --- the end ---------------------------------------------------------------------------------- */

void
syn_http_server_tell(struct syn_http_server *server, syn_http_done_fn fn, void *ctx)
{
    assert(server->all.route != NULL && server->listener_count == 0);
    server->tell = fn;
    server->tell_ctx = ctx;
}

/* What of the body was handed on. */
static int64_t
sent_bytes(const struct http_conn *conn)
{
    const struct http_reply *reply = &conn->req.reply;
    int64_t waiting = (int64_t)(conn->out.len - conn->out_sent);

    if (reply->source == HTTP_SOURCE_PUSH)
        return SYN_MAX(conn->push.total - waiting, (int64_t)0);
    return reply->source == HTTP_SOURCE_MEMORY ? reply->len - conn->source_left : 0;
}

void
http_pass_tell(struct syn_http_req *req)
{
    const struct http_conn *conn = req->conn;
    struct syn_http_done done = {.status = req->reply.status, .protocol = "HTTP/1.1"};

    req->under_way = false;
    done.duration_us = (syn_clock_ns() - req->started_ns) / 1000;
    if (req->head.minor_zero)
        done.protocol = "HTTP/1.0";
    if (conn->h2.id != 0)
        done.protocol = "HTTP/2";
    if (!req->replied)
        done.status = 499;
    else
        done.sent_bytes = sent_bytes(conn);
    done.cut = req->replied && conn->state == HTTP_CLOSED;
    conn->server->tell(req, &done, conn->server->tell_ctx);
}

/* --- every request ---------------------------------------------------------------------------- */

int
http_pass_head(struct http_conn *conn, struct syn_err *err)
{
    struct syn_http_server *server = conn->server;
    struct syn_http_req *req = &conn->req;
    int rc;

    req->match.entry = &server->all;
    req->body_max = (int64_t)server->all.route->body_max;
    if (server->all_head == NULL)
        return SYN_OK;
    rc = server->all_head(req, server->all.ctx, &req->body_max, err);
    if (rc == SYN_OK && req->body_left > req->body_max)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the body has %lld bytes; %lld are taken here",
                        (long long)req->body_left, (long long)req->body_max);
    return rc;
}
