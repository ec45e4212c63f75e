/* HTTP/2 in front of a server that serves all requests alike: nghttp2 speaks the protocol, each
 * stream is an http_conn without a socket, whose request goes the way that HTTP/1's do.
 *
 *     socket --> nghttp2 --> a head as HTTP/1 has it --> http_conn_head() --> handler
 *     socket <-- nghttp2 <-- what the stream has in `out` or in memory, as its window allows
 *
 * Nothing is sent, and nobody is told that there is room, from inside a handler's call or one of
 * nghttp2's: the connection is noted, and sends for all of its streams at the end of the turn.
 *
 * What a client may make us hold: STREAMS_MAX requests (all clients together: conns_max), a head of
 * head_bytes_max, bodies as the server's limits say, 64 KiB of each answer, and nghttp2's own queue
 * of acknowledgements. Streams that it resets (or has reset) before they are answered are counted:
 * beyond a rate it has to go.
 */
#include "http_priv.h"

#include <sys/socket.h>

#include <nghttp2/nghttp2.h>

#include <synor/base/mem.h>

#define STREAMS_MAX     100
#define STREAM_WINDOW   (256 << 10)
#define WINDOW          (1 << 20)
#define OUT_BYTES       32768 /* gathered for one write */
#define ROUNDS_MAX      16    /* of a turn: others wait */
#define FIELDS_MAX      128   /* of an answer */
#define RESETS_BURST    200
#define RESETS_A_SECOND 50

struct http2_session {
    struct http_conn *conn;
    nghttp2_session *ng;
    struct http_conn *streams; /* that are open */
    bool busy;                 /* in a turn: what is due is seen to at its end */
    bool due;                  /* something is to be sent, or told */
    bool listed;               /* among the server's that are due */
    struct http_conn *due_next;

    struct http_conn *filling; /* the stream whose head is being read; its parts: */
    struct syn_buf method, path, authority, cookie, fields;
    size_t head_bytes;
    bool malformed;

    int64_t resets; /* that are still allowed, thousandths */
    int64_t resets_at_ms;
};

/* --- what is due ------------------------------------------------------------------------------ */

static void
note_due(struct http_conn *conn)
{
    struct http2_session *session = conn->session;
    struct syn_http_server *server = conn->server;

    session->due = true;
    if (session->busy || session->listed)
        return;
    if (server->due == NULL)
        http_wake(server);
    session->listed = true;
    session->due_next = server->due;
    server->due = conn;
}

void
http2_due(struct syn_http_server *server)
{
    struct http_conn *conn = SYN_TAKE(server->due);

    while (conn != NULL) {
        struct http_conn *next = SYN_TAKE(conn->session->due_next);

        conn->session->listed = false;
        http2_turn(conn);
        conn = next;
    }
}

static void
leave_due(struct http_conn *conn)
{
    struct http_conn **at = &conn->server->due;

    while (*at != NULL && *at != conn)
        at = &(*at)->session->due_next;
    if (*at == conn)
        *at = conn->session->due_next;
}

/* --- streams ---------------------------------------------------------------------------------- */

static struct http_conn *
stream_new(struct http2_session *session, int32_t id)
{
    const struct http_conn *carrier = session->conn;
    struct http_conn *conn = syn_calloc(1, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    conn->server = carrier->server;
    conn->peer = carrier->peer;
    conn->fd = -1;
    conn->req.conn = conn;
    conn->req.reply.fd = -1;
    conn->state = HTTP_HEAD;
    conn->h2.id = id;
    conn->h2.carrier = session->conn;
    http_conn_link(&session->streams, conn);
    conn->server->stream_count++;
    return conn;
}

void
http2_stream_closed(struct http_conn *conn)
{
    struct http_conn *carrier = SYN_TAKE(conn->h2.carrier);
    struct http2_session *session = carrier->session;

    http_conn_unlink(&session->streams, conn);
    http_conn_link(&conn->server->orphans, conn);
    if (session->filling == conn)
        session->filling = NULL;
    if (conn->h2.over || carrier->state == HTTP_CLOSED)
        return;
    (void)nghttp2_session_set_stream_user_data(session->ng, conn->h2.id, NULL);
    (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, conn->h2.id,
                                    conn->h2.answered ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
    note_due(carrier);
}

/* One that the client did not let be answered. False: that were too many. */
static bool
count_reset(struct http2_session *session)
{
    const int64_t now_ms = syn_loop_now_ms(session->conn->server->options.loop);

    session->resets += (now_ms - session->resets_at_ms) * RESETS_A_SECOND;
    session->resets = SYN_MIN(session->resets, (int64_t)RESETS_BURST * 1000) - 1000;
    session->resets_at_ms = now_ms;
    return session->resets >= 0;
}

static int
on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct http2_session *session = arg;
    struct http_conn *conn = nghttp2_session_get_stream_user_data(ng, id);

    (void)code;
    if (conn == NULL) /* closed by us */
        return 0;
    conn->h2.over = true;
    if (conn->h2.answered) {
        http_conn_answered(conn);
        return 0;
    }
    http_conn_close(conn);
    if (!count_reset(session))
        (void)nghttp2_session_terminate_session(ng, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

/* --- the request ------------------------------------------------------------------------------ */

static int
on_begin(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct http2_session *session = arg;
    const struct syn_http_server *server = session->conn->server;
    struct http_conn *conn;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    session->filling = NULL;
    if (server->stream_count >= server->limits.conns_max)
        return nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_REFUSED_STREAM);
    conn = stream_new(session, frame->hd.stream_id);
    if (conn == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    session->filling = conn;
    session->malformed = false;
    session->head_bytes = 0;
    syn_buf_clear(&session->method);
    syn_buf_clear(&session->path);
    syn_buf_clear(&session->authority);
    syn_buf_clear(&session->cookie);
    syn_buf_clear(&session->fields);
    return nghttp2_session_set_stream_user_data(ng, conn->h2.id, conn);
}

static bool
is(const struct syn_buf *name, const char *text)
{
    return name->len == strlen(text) && memcmp(name->data, text, name->len) == 0;
}

/* A part of the head that HTTP/1 has elsewhere than among the fields. False: it is none. */
static bool
take_part(struct http2_session *session, const struct syn_buf *name, const struct syn_buf *value)
{
    struct syn_buf *host = &session->authority;

    if (is(name, ":method")) {
        syn_buf_add(&session->method, value->data, value->len);
    } else if (is(name, ":path")) {
        syn_buf_add(&session->path, value->data, value->len);
    } else if (is(name, ":authority") || is(name, "host")) {
        if (host->len > 0 &&
            (host->len != value->len || memcmp(host->data, value->data, value->len) != 0))
            session->malformed = true;
        else if (host->len == 0)
            syn_buf_add(host, value->data, value->len);
    } else if (is(name, "cookie")) { /* each may come by itself (RFC 9113, 8.2.3) */
        if (session->cookie.len > 0)
            syn_buf_adds(&session->cookie, "; ");
        syn_buf_add(&session->cookie, value->data, value->len);
    } else {
        return name->data[0] == ':';
    }
    return true;
}

static int /* nghttp2's signature: NOLINTNEXTLINE(readability-function-size) */
on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name_data,
          size_t name_len, const uint8_t *value_data, size_t value_len, uint8_t flags, void *arg)
{
    struct http2_session *session = arg;
    struct syn_buf *fields = &session->fields;
    const struct syn_buf name = {.data = (char *)(uintptr_t)name_data, .len = name_len};
    const struct syn_buf value = {.data = (char *)(uintptr_t)value_data, .len = value_len};

    (void)ng;
    (void)flags;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || session->filling == NULL)
        return 0; /* trailers mean nothing here */
    session->head_bytes += name_len + value_len + 32;
    if (session->head_bytes > session->conn->server->limits.head_bytes_max)
        return 0;
    /* nghttp2 refuses these; here they would begin another line. */
    for (size_t i = 0; i < value_len; i++)
        session->malformed = session->malformed || value_data[i] == '\r' || value_data[i] == '\n';
    if (name_len == 0 || session->malformed || take_part(session, &name, &value))
        return 0;
    syn_buf_add(fields, name.data, name.len);
    syn_buf_add(fields, ": ", 2);
    syn_buf_add(fields, value.data, value.len);
    syn_buf_add(fields, "\r\n", 2);
    return 0;
}

/* The head as HTTP/1 has it, so that it is read, checked and limited as one of those. */
static int
write_head(const struct http2_session *session, struct http_conn *conn, struct syn_err *err)
{
    SYN_BUF(head);
    int rc;

    syn_buf_add(&head, session->method.data, session->method.len);
    syn_buf_addc(&head, ' ');
    syn_buf_add(&head, session->path.data, session->path.len);
    syn_buf_adds(&head, " HTTP/1.1\r\n");
    if (session->authority.len > 0) {
        syn_buf_adds(&head, "host: ");
        syn_buf_add(&head, session->authority.data, session->authority.len);
        syn_buf_adds(&head, "\r\n");
    }
    syn_buf_add(&head, session->fields.data, session->fields.len);
    if (session->cookie.len > 0) {
        syn_buf_adds(&head, "cookie: ");
        syn_buf_add(&head, session->cookie.data, session->cookie.len);
        syn_buf_adds(&head, "\r\n");
    }
    syn_buf_adds(&head, "\r\n");
    rc = syn_buf_take(&head, &conn->in, &conn->in_len, err);
    conn->in_cap = conn->in_len;
    return rc;
}

static void
head_came(struct http2_session *session, struct http_conn *conn)
{
    const size_t max = conn->server->limits.head_bytes_max;
    struct syn_err err;
    int rc = SYN_OK;
    int status = 0;

    session->filling = NULL;
    if (session->head_bytes > max) {
        rc = SYN_FAIL(&err, SYN_E_TOOBIG, "the request's head has more than %zu bytes", max);
        status = 431;
    } else if (session->malformed || syn_buf_ok(&session->method, NULL) < 0 ||
               syn_buf_ok(&session->path, NULL) < 0 || syn_buf_ok(&session->authority, NULL) < 0 ||
               syn_buf_ok(&session->cookie, NULL) < 0 || syn_buf_ok(&session->fields, NULL) < 0) {
        rc = SYN_FAIL(&err, SYN_E_INVALID, "malformed headers");
    } else {
        rc = write_head(session, conn, &err);
    }
    if (rc < 0)
        http_conn_refuse(conn, rc, &err, status);
    else
        http_conn_head(conn);
}

static int
on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
    struct http_conn *conn = nghttp2_session_get_stream_user_data(ng, id);
    struct syn_http_req *req = conn != NULL ? &conn->req : NULL;
    struct syn_err err;
    int rc;

    (void)flags;
    (void)arg;
    if (conn == NULL)
        return 0;
    if (conn->state != HTTP_BODY) { /* answered already */
        conn->lingered += len;
        if (conn->lingered > HTTP_LINGER_BYTES && conn->clock == HTTP_CLOCK_LINGER)
            http_conn_answered(conn);
        return 0;
    }
    if (len > (uint64_t)req->body_max || (int64_t)(req->body.len + len) > req->body_max) {
        rc = SYN_FAIL(&err, SYN_E_TOOBIG, "the body has more than the %lld bytes taken here",
                      (long long)req->body_max);
    } else {
        syn_buf_add(&req->body, data, len);
        rc = syn_buf_ok(&req->body, &err);
    }
    if (rc == SYN_OK)
        rc = http_req_count_body(req, &err);
    if (rc < 0) {
        http_conn_refuse(conn, rc, &err, 0);
        return 0;
    }
    conn->pace += len;
    if (conn->pace >= HTTP_PACE_BYTES) {
        conn->pace = 0;
        http_clock_set(conn, HTTP_CLOCK_PACE);
    }
    return 0;
}

static int
on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct http_conn *conn = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    struct http2_session *session = arg;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (conn == NULL || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    conn->h2.asked = conn->h2.asked || end;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        head_came(session, conn);
    else if (end && conn->state == HTTP_BODY)
        http_conn_body_done(conn);
    return 0;
}

/* --- the answer ------------------------------------------------------------------------------- */

static ssize_t /* nghttp2's signature: NOLINTNEXTLINE(readability-function-size) */
read_answer(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
            nghttp2_data_source *source, void *arg)
{
    struct http_conn *conn = nghttp2_session_get_stream_user_data(ng, id);
    bool push = conn != NULL && conn->req.reply.source == HTTP_SOURCE_PUSH;
    const char *from;
    size_t left;

    (void)source;
    (void)arg;
    if (conn == NULL || conn->state != HTTP_REPLY) /* a reset is on its way */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    left = push ? conn->out.len - conn->out_sent : (size_t)conn->source_left;
    if (left == 0 && push && !conn->push.ended) {
        http_clock_set(conn, HTTP_CLOCK_NONE);
        conn->h2.drained = SYN_TAKE(conn->push.full);
        return NGHTTP2_ERR_DEFERRED;
    }
    from = push ? conn->out.data + conn->out_sent
                : conn->req.reply.memory + (conn->req.reply.len - conn->source_left);
    cap = SYN_MIN(cap, left);
    if (cap > 0)
        memcpy(buf, from, cap);
    if (push)
        conn->out_sent += cap;
    else
        conn->source_left -= (int64_t)cap;
    conn->pace += cap;
    if (conn->pace >= HTTP_PACE_BYTES) {
        conn->pace = 0;
        http_clock_set(conn, HTTP_CLOCK_PACE);
    }
    if (cap == left && (!push || conn->push.ended)) {
        conn->h2.answered = true;
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)cap;
}

/* Of a connection, not of an answer. */
static bool
is_hop(const char *name)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection",
                                        "transfer-encoding", "upgrade"};

    for (size_t i = 0; i < SYN_LEN(names); i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* The lines behind the first one as fields, which point into `text`. False: more than `max`. */
static bool
read_fields(char *text, nghttp2_nv *fields, size_t max, size_t *count)
{
    char *at = strstr(text, "\r\n") + 2;

    while (at[0] != '\r') {
        char *colon = strstr(at, ": ");
        char *end = strstr(colon, "\r\n");

        *colon = '\0';
        for (char *c = at; c < colon; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
        if (!is_hop(at)) {
            if (*count == max)
                return false;
            fields[(*count)++] = (nghttp2_nv){.name = (uint8_t *)at,
                                              .value = (uint8_t *)(colon + 2),
                                              .namelen = (size_t)(colon - at),
                                              .valuelen = (size_t)(end - colon - 2)};
        }
        at = end + 2;
    }
    return true;
}

bool
http2_reply(struct http_conn *conn)
{
    static char status_name[] = ":status";
    const struct http_reply *reply = &conn->req.reply;
    const nghttp2_data_provider body = {.read_callback = read_answer};
    bool bodyless = reply->status == 204 || reply->status == 304 ||
                    (reply->source == HTTP_SOURCE_PUSH ? false : conn->source_left == 0);
    char status[12];
    nghttp2_nv fields[FIELDS_MAX];
    size_t count = 1;

    assert(reply->source != HTTP_SOURCE_FD && reply->source != HTTP_SOURCE_PULL);
    if (conn->h2.carrier == NULL)
        return false;
    (void)snprintf(status, sizeof(status), "%03d", reply->status);
    fields[0] = (nghttp2_nv){.name = (uint8_t *)status_name,
                             .value = (uint8_t *)status,
                             .namelen = sizeof(status_name) - 1,
                             .valuelen = strlen(status)};
    if (!read_fields(conn->out.data, fields, FIELDS_MAX, &count) ||
        nghttp2_submit_response(conn->h2.carrier->session->ng, conn->h2.id, fields, count,
                                bodyless ? NULL : &body) != 0)
        return false;
    syn_buf_clear(&conn->out);
    conn->h2.answered = bodyless;
    http_clock_set(conn, HTTP_CLOCK_PACE);
    note_due(conn->h2.carrier);
    return true;
}

bool
http2_continue(struct http_conn *conn)
{
    static char name[] = ":status", value[] = "100";
    const nghttp2_nv field = {.name = (uint8_t *)name,
                              .value = (uint8_t *)value,
                              .namelen = sizeof(name) - 1,
                              .valuelen = sizeof(value) - 1};

    if (nghttp2_submit_headers(conn->h2.carrier->session->ng, NGHTTP2_FLAG_NONE, conn->h2.id, NULL,
                               &field, 1, NULL) != 0)
        return false;
    note_due(conn->h2.carrier);
    return true;
}

void
http2_more(struct http_conn *conn)
{
    if (conn->clock != HTTP_CLOCK_PACE)
        http_clock_set(conn, HTTP_CLOCK_PACE);
    /* Refused where it is not waited for. */
    (void)nghttp2_session_resume_data(conn->h2.carrier->session->ng, conn->h2.id);
    note_due(conn->h2.carrier);
}

/* An answer before the end of the request: what is still to come is swallowed for a while, as of
 * HTTP/1, since not every client reads the answer when its stream is reset. */
static int
on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct http_conn *conn;

    (void)arg;
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    conn = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    if (conn != NULL && !conn->h2.asked)
        http_clock_set(conn, HTTP_CLOCK_LINGER);
    return 0;
}

/* An answer's head that is larger than frames may be. */
static int
on_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int why, void *arg)
{
    struct http_conn *conn = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);

    (void)why;
    (void)arg;
    if (frame->hd.type == NGHTTP2_HEADERS && conn != NULL)
        http_conn_close(conn);
    return 0;
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* Read and take what has come. False: the client is gone, or speaks something else. */
static bool
take_in(struct http_conn *conn)
{
    struct http2_session *session = conn->session;
    uint8_t block[HTTP_READ_BYTES];

    for (int round = 0; conn->readable; round++) {
        ptrdiff_t got;

        if (round == ROUNDS_MAX) /* others wait; of the rest, with TLS, nobody would tell us */
            return true;
        got = http_io_recv(conn, block, sizeof(block));
        if (got == HTTP_IO_AGAIN) {
            conn->readable = false;
            return true;
        }
        if (got <= 0 || nghttp2_session_mem_recv(session->ng, block, (size_t)got) < 0)
            return false;
        if (conn->ssl == NULL && (size_t)got < sizeof(block))
            conn->readable = false;
    }
    return true;
}

/* Send until there is nothing, or the socket is full. False: the client is gone. */
static bool
send_out(struct http_conn *conn)
{
    struct http2_session *session = conn->session;
    const uint8_t *data;
    ssize_t len = 0;

    for (;;) {
        while (conn->out.len < OUT_BYTES && conn->out_sent == 0) {
            len = nghttp2_session_mem_send(session->ng, &data);
            if (len <= 0)
                break;
            syn_buf_add(&conn->out, data, (size_t)len);
        }
        if (len < 0 || syn_buf_ok(&conn->out, NULL) < 0)
            return false;
        while (conn->out_sent < conn->out.len) {
            ptrdiff_t n = http_io_send(conn, conn->out.data + conn->out_sent,
                                       conn->out.len - conn->out_sent, false);

            if (n == HTTP_IO_GONE)
                return false;
            if (n == HTTP_IO_AGAIN)
                return true;
            conn->out_sent += (size_t)n;
            conn->pace += (size_t)n;
        }
        if (conn->out.len == 0)
            return true;
        syn_buf_clear(&conn->out);
        conn->out_sent = 0;
    }
}

/* Tell who pushes that there is room. Others may end meanwhile. */
static void
tell_drained(struct http2_session *session)
{
    struct http_conn *conn = session->streams;

    while (conn != NULL) {
        if (!conn->h2.drained) {
            conn = conn->next;
            continue;
        }
        conn->h2.drained = false;
        conn->push.drained(conn->push.arg);
        conn = session->streams;
    }
}

static void
set_clock(struct http_conn *conn)
{
    const struct http2_session *session = conn->session;
    enum http_clock want = HTTP_CLOCK_NONE;
    bool moved = conn->pace >= HTTP_PACE_BYTES;

    if (session->filling != NULL)
        want = HTTP_CLOCK_HEAD;
    else if (conn->out_sent < conn->out.len)
        want = HTTP_CLOCK_PACE;
    else if (session->streams == NULL)
        want = HTTP_CLOCK_IDLE;
    if (conn->clock != want || (want == HTTP_CLOCK_PACE && moved)) {
        conn->pace = 0;
        http_clock_set(conn, want);
    }
}

/* Nothing is left to be said: let the client read the last of it. */
static void
say_goodbye(struct http_conn *conn)
{
    http2_ended(conn);
    http_io_shutdown(conn);
    conn->state = HTTP_LINGER;
    conn->lingered = 0;
    conn->readable = true;
    http_clock_set(conn, HTTP_CLOCK_LINGER);
    http_conn_advance(conn);
}

void
http2_turn(struct http_conn *conn)
{
    struct http2_session *session = conn->session;
    bool ok;

    session->busy = true;
    session->due = false;
    ok = take_in(conn) && send_out(conn);
    for (int round = 0; ok && session->streams != NULL && round < ROUNDS_MAX; round++) {
        tell_drained(session);
        if (!session->due)
            break;
        session->due = false;
        ok = send_out(conn);
    }
    session->busy = false;
    if (!ok) {
        http_conn_close(conn);
        return;
    }
    if (conn->out_sent == conn->out.len && !nghttp2_session_want_read(session->ng) &&
        !nghttp2_session_want_write(session->ng)) {
        say_goodbye(conn);
        return;
    }
    set_clock(conn);
    if (session->due || conn->readable)
        note_due(conn);
    if (!http_io_arm(conn, EPOLLIN | (conn->out_sent < conn->out.len ? EPOLLOUT : 0U)))
        http_conn_close(conn);
}

/* --- life ------------------------------------------------------------------------------------- */

void
http2_expired(struct http_conn *conn)
{
    if (conn->clock == HTTP_CLOCK_PACE) {
        http_conn_close(conn);
        return;
    }
    http_clock_set(conn, HTTP_CLOCK_NONE);
    if (nghttp2_session_terminate_session(conn->session->ng, NGHTTP2_NO_ERROR) != 0)
        http_conn_close(conn);
    else
        http2_turn(conn);
}

void
http2_stop(struct http_conn *conn)
{
    nghttp2_session *ng = conn->session->ng;

    /* Without memory for it, the connection is cut when the others' time is over. */
    (void)nghttp2_submit_goaway(ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(ng),
                                NGHTTP2_NO_ERROR, NULL, 0);
    note_due(conn);
}

void
http2_ended(struct http_conn *conn)
{
    struct http2_session *session = conn->session;

    conn->state = HTTP_CLOSED; /* resets are said to nobody */
    for (struct http_conn *at = session->streams; at != NULL; at = at->next)
        atomic_store_explicit(&at->gone, true, memory_order_relaxed);
    while (session->streams != NULL)
        http_conn_close(session->streams);
    leave_due(conn);
    nghttp2_session_del(session->ng);
    syn_buf_fini(&session->method);
    syn_buf_fini(&session->path);
    syn_buf_fini(&session->authority);
    syn_buf_fini(&session->cookie);
    syn_buf_fini(&session->fields);
    syn_free(session);
    conn->session = NULL;
}

static int
session_open(struct http2_session *session)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
         (uint32_t)session->conn->server->limits.head_bytes_max},
    };
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);

    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        nghttp2_option_set_no_closed_streams(option, 1);
        rc = nghttp2_session_server_new2(&session->ng, callbacks, session, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (rc == 0)
        rc = nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, settings, SYN_LEN(settings));
    if (rc == 0)
        rc = nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE, 0, WINDOW);
    return rc;
}

bool
http2_begin(struct http_conn *conn)
{
    struct http2_session *session = syn_calloc(1, sizeof(*session));

    assert(conn->server->all.route != NULL);
    if (session == NULL) {
        http_conn_close(conn);
        return false;
    }
    conn->session = session;
    session->conn = conn;
    session->resets = (int64_t)RESETS_BURST * 1000;
    session->resets_at_ms = syn_loop_now_ms(conn->server->options.loop);
    session->busy = true;
    if (session_open(session) != 0 ||
        nghttp2_session_mem_recv(session->ng, (const uint8_t *)conn->in, conn->in_len) < 0) {
        http_conn_close(conn);
        return false;
    }
    session->busy = false;
    syn_free(SYN_TAKE(conn->in));
    conn->in_len = conn->in_cap = conn->scanned = 0;
    conn->state = HTTP_SESSION;
    return true;
}
