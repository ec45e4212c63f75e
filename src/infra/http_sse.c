/* Server-sent events. A stream is a connection whose answer never ends: framed by the end of the
 * connection, queued in memory up to a limit, flushed once a turn of the loop, so that a burst of
 * events is one write. */
#include "http_priv.h"

#include <synor/base/mem.h>

static const char keepalive_line[] = ": keep-alive\n\n";

int
syn_http_sse_open(struct syn_http_req *req, void (*on_close)(void *arg), void *arg,
                  struct syn_http_stream **ret_stream, struct syn_err *err)
{
    struct http_conn *conn = req->conn;
    struct syn_http_stream *stream;

    assert(conn->stream == NULL && conn->job == HTTP_JOB_NONE);
    if (conn->server->stopping || conn->state == HTTP_CLOSED)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the server is stopping");
    stream = syn_calloc(1, sizeof(*stream));
    if (stream == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a stream");
    stream->conn = conn;
    stream->on_close = on_close;
    stream->arg = arg;
    conn->stream = stream;
    http_reply_clear(&req->reply);
    req->reply.status = 200;
    req->reply.type = "text/event-stream";
    *ret_stream = stream;
    return SYN_OK;
}

size_t
syn_http_sse_backlog(const struct syn_http_stream *stream)
{
    size_t sending =
        stream->conn->state == HTTP_STREAM ? stream->conn->out.len - stream->conn->out_sent : 0;

    return stream->queue.len + sending;
}

static void
stream_dirty(struct syn_http_stream *stream)
{
    struct syn_http_server *server = stream->conn->server;

    if (stream->dirty)
        return;
    if (server->dirty == NULL)
        http_wake(server);
    stream->dirty = true;
    stream->dirty_next = server->dirty;
    server->dirty = stream;
}

static bool
field_ok(const char *text)
{
    return text == NULL ||
           (strlen(text) <= SYN_HTTP_SSE_EVENT_MAX && strpbrk(text, "\r\n") == NULL);
}

static void
write_event(struct syn_buf *out, const char *id, const char *event, const char *data, size_t len)
{
    const char *end = data + len;

    if (id != NULL) {
        syn_buf_adds(out, "id: ");
        syn_buf_adds(out, id);
        syn_buf_addc(out, '\n');
    }
    if (event != NULL) {
        syn_buf_adds(out, "event: ");
        syn_buf_adds(out, event);
        syn_buf_addc(out, '\n');
    }
    for (;;) {
        const char *eol = memchr(data, '\n', (size_t)(end - data));
        const char *stop = eol == NULL ? end : eol;

        syn_buf_adds(out, "data: ");
        syn_buf_add(out, data, (size_t)(stop - data));
        syn_buf_addc(out, '\n');
        if (eol == NULL)
            break;
        data = eol + 1;
    }
    syn_buf_addc(out, '\n');
}

int
syn_http_sse_send(struct syn_http_stream *stream, const char *id, const char *event,
                  const char *data, size_t len, struct syn_err *err)
{
    size_t before = stream->queue.len;

    if (stream->closing)
        return SYN_FAIL(err, SYN_E_CANCELED, "the stream is closing");
    if (!field_ok(id) || !field_ok(event) || memchr(data, '\r', len) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "an event's fields must not hold line breaks");
    if (syn_http_sse_backlog(stream) + len > stream->conn->server->limits.sse_backlog_max) {
        /* What is queued is worthless to a client that reads so slowly: it starts again by its last
         * id. */
        stream->cut = true;
        stream->closing = true;
        stream_dirty(stream);
        return SYN_FAIL(err, SYN_E_LIMIT, "the client reads its events too slowly");
    }
    write_event(&stream->queue, id, event, data, len);
    if (syn_buf_ok(&stream->queue, err) < 0) {
        stream->queue.len = before; /* half an event must not go out */
        stream->queue.failed = false;
        return SYN_E_NOMEM;
    }
    stream_dirty(stream);
    return SYN_OK;
}

void
syn_http_sse_close(struct syn_http_stream *stream)
{
    stream->closing = true;
    stream_dirty(stream);
}

void
syn_http_sse_recheck(struct syn_http_server *server, bool (*may)(void *arg, const void *identity),
                     void *arg)
{
    for (const struct http_conn *conn = server->conns; conn != NULL; conn = conn->next) {
        if (conn->stream != NULL && !conn->stream->closing && !may(arg, conn->req.identity))
            syn_http_sse_close(conn->stream);
    }
    http_tunnel_recheck(server, may, arg);
}

void
http_sse_flush(struct http_conn *conn)
{
    struct syn_http_stream *stream = conn->stream;

    if (stream->cut) {
        http_conn_close(conn);
        return;
    }
    if (conn->state != HTTP_STREAM)
        return; /* the head is still going out; its end comes back here */
    for (;;) {
        ptrdiff_t n;

        if (conn->out_sent == conn->out.len) {
            struct syn_buf empty = conn->out;

            if (stream->queue.len == 0)
                break;
            conn->out = stream->queue;
            conn->out_sent = 0;
            stream->queue = empty;
            syn_buf_clear(&stream->queue);
        }
        n = http_io_send(conn, conn->out.data + conn->out_sent, conn->out.len - conn->out_sent,
                         false);
        if (n == HTTP_IO_GONE) {
            http_conn_close(conn);
            return;
        }
        if (n == HTTP_IO_AGAIN)
            return;
        conn->out_sent += (size_t)n;
        stream->moved = true;
    }
    if (stream->closing) {
        http_io_shutdown(conn);
        http_conn_close(conn);
    } else if (!http_io_arm(conn, EPOLLIN)) {
        http_conn_close(conn);
    }
}

/* Every period: a client that took nothing of what waits for it is dead; a quiet one gets a
 * comment, which keeps proxies from ending the connection and finds dead peers. */
void
http_sse_keepalive(struct http_conn *conn)
{
    struct syn_http_stream *stream = conn->stream;
    bool stuck = syn_http_sse_backlog(stream) > 0 && !stream->moved;

    if (stuck || stream->closing) {
        http_conn_close(conn);
        return;
    }
    stream->moved = false;
    http_clock_set(conn, HTTP_CLOCK_SSE);
    if (syn_http_sse_backlog(stream) > 0)
        return;
    syn_buf_add(&stream->queue, keepalive_line, sizeof(keepalive_line) - 1);
    if (syn_buf_ok(&stream->queue, NULL) == SYN_OK)
        stream_dirty(stream);
    else
        syn_buf_clear(&stream->queue);
}

void
http_sse_ended(struct http_conn *conn)
{
    struct syn_http_stream *stream = SYN_TAKE(conn->stream);
    struct syn_http_stream **at = &conn->server->dirty;

    while (stream->dirty && *at != NULL && *at != stream)
        at = &(*at)->dirty_next;
    if (stream->dirty && *at == stream)
        *at = stream->dirty_next;
    stream->on_close(stream->arg);
    syn_buf_fini(&stream->queue);
    syn_free(stream);
}
