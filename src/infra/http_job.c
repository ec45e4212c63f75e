/* What a request has done by others: its handler, an upload's begin and sink, a body's pull. On a
 * worker, or on the loop for handlers that do not block. */
#include "http_priv.h"

#include <errno.h>
#include <unistd.h>

static int
sink_file(struct syn_http_req *req, const char *data, size_t len, struct syn_err *err)
{
    struct syn_http_upload *upload = &req->upload;

    while (len > 0) {
        ssize_t n = pwrite(upload->fd, data, len, upload->offset + req->received);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SYN_FAIL_SYS(err, errno, "writing an upload");
        req->received += n;
        data += n;
        len -= (size_t)n;
    }
    return SYN_OK;
}

static int
run_sink(struct syn_http_req *req, struct syn_err *err)
{
    int rc;

    if (req->body.len == 0)
        return SYN_OK;
    if (req->upload.fd >= 0) {
        rc = sink_file(req, req->body.data, req->body.len, err);
    } else {
        rc = req->upload.sink(req->upload.arg, req->body.data, req->body.len, err);
        if (rc == SYN_OK)
            req->received += (int64_t)req->body.len;
    }
    syn_buf_clear(&req->body);
    return rc;
}

int
http_run_handler(struct syn_http_req *req, struct syn_err *err)
{
    const struct http_route_entry *entry = req->match.entry;
    int rc = SYN_OK;

    if (req->upload_open)
        rc = run_sink(req, err);
    else if (entry != &req->conn->server->all)
        rc = http_req_check(req, err);
    if (rc == SYN_OK)
        rc = entry->route->handler(req, entry->ctx, err);
    /* Here and not with the request: closing a file may block. */
    if (req->upload_open && rc != SYN_HTTP_LATER && req->upload.drop != NULL)
        req->upload.drop(req->upload.arg, req->received);
    req->upload_open = req->upload_open && rc == SYN_HTTP_LATER;
    return rc;
}

static int
run_begin(struct syn_http_req *req, struct syn_err *err)
{
    const struct http_route_entry *entry = req->match.entry;
    int rc = http_req_check(req, err);

    req->upload = (struct syn_http_upload){.fd = -1};
    if (rc == SYN_OK)
        rc = entry->route->begin(req, entry->ctx, &req->upload, err);
    if (rc == SYN_OK) {
        assert(req->upload.fd >= 0 || req->upload.sink != NULL);
        req->upload_open = true;
        if (req->upload.bytes_max > 0)
            req->body_max = req->upload.bytes_max;
    }
    return rc;
}

/* Produce the next block of a pulled body into conn->out, framed as the head announced. */
int
http_run_pull(struct http_conn *conn, struct syn_err *err)
{
    struct http_reply *reply = &conn->req.reply;
    bool chunked = reply->len < 0 && !conn->req.head.minor_zero;
    const size_t frame = 10; /* "0003fff0\r\n" */
    size_t cap = HTTP_BLOCK_BYTES;
    size_t got = 0;
    char *room;
    int rc;

    if (reply->len >= 0)
        cap = (size_t)SYN_MIN((int64_t)cap, conn->source_left);
    syn_buf_clear(&conn->out);
    conn->out_sent = 0;
    room = syn_buf_reserve(&conn->out, frame + cap + 2);
    if (room == NULL)
        return syn_buf_ok(&conn->out, err);
    rc = reply->pull(reply->pull_arg, room + frame, cap, &got, err);
    if (rc < 0)
        return rc;
    assert(got <= cap);
    if (reply->len >= 0) {
        if (got == 0 && conn->source_left > 0)
            return SYN_FAIL(err, SYN_E_CORRUPT, "a body ended too early");
        conn->source_left -= (int64_t)got;
        conn->last_block = conn->source_left == 0;
    } else {
        conn->last_block = got == 0;
    }
    if (!chunked) {
        conn->out.len = frame + got;
        conn->out_sent = frame;
    } else if (got == 0) {
        syn_buf_adds(&conn->out, "0\r\n\r\n");
    } else {
        for (unsigned i = 0; i < 8; i++)
            room[i] = "0123456789abcdef"[got >> (28 - 4 * i) & 15];
        room[8] = room[frame + got] = '\r';
        room[9] = room[frame + got + 1] = '\n';
        conn->out.len = frame + got + 2;
    }
    return syn_buf_ok(&conn->out, err);
}

void
http_conn_run_job(struct http_conn *conn)
{
    switch (conn->job) {
    case HTTP_JOB_BEGIN:
        conn->job_rc = run_begin(&conn->req, &conn->job_err);
        break;
    case HTTP_JOB_SINK:
        conn->job_rc = run_sink(&conn->req, &conn->job_err);
        break;
    case HTTP_JOB_HANDLER:
        conn->job_rc = http_run_handler(&conn->req, &conn->job_err);
        break;
    case HTTP_JOB_PULL:
        conn->job_rc = http_run_pull(conn, &conn->job_err);
        break;
    case HTTP_JOB_HANDSHAKE:
        conn->job_rc = http_io_handshake(conn, &conn->job_events);
        break;
    case HTTP_JOB_NONE:
        assert(!"a job without work");
    }
}
