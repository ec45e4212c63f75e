/* The client drives nghttp2 by hand: whoever waits for an answer sends what is to be sent, polls
 * the socket and feeds what arrives, for all calls of the connection. No thread, no loop: the
 * callers are a supervisor with one thing to do, and workers that may block.
 *
 *      syn_grpc --- conn ---+-- call (stream 1)     a conn that breaks or is told to go away is let
 *                           `-- call (stream 3)     go of by the client; its calls hold it until
 *                                                   they have ended
 *
 * Flow control is the bound of memory: a stream's window is only opened while its reader waits for
 * a message and none is complete. */
#include "grpc_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#define CONNECT_DEFAULT_MS 5000
#define MESSAGE_DEFAULT    ((size_t)4 << 20)
#define WINDOW             (256 << 10)
#define METHOD_MAX         ((size_t)160)
#define TIMEOUT_MAX_MS     99999999 /* as many digits as the header may have */
#define READ_SIZE          ((size_t)64 << 10)
#define TRIES_MAX          3

struct conn {
    int fd;
    unsigned refs; /* the client, and every call on it */
    nghttp2_session *session;
    const uint8_t *out; /* the session's, until it is asked for more */
    size_t out_len;
    bool broken;  /* nothing more comes or goes */
    bool leaving; /* the server takes no new calls on it */
    bool starved; /* nghttp2 asked for memory in vain, whatever it then makes of that */
    char why[96];
};

struct syn_grpc {
    struct grpc_address address;
    char name[SYN_GRPC_ADDRESS_MAX];
    int64_t connect_ms;
    size_t message_bytes_max;
    struct {
        char name[SYN_GRPC_HEADER_MAX], value[SYN_GRPC_HEADER_MAX];
    } headers[SYN_GRPC_HEADERS_MAX];
    size_t headers_count;
    struct conn *conn; /* NULL: the next call makes one */
    unsigned calls;
};

struct syn_grpc_call {
    struct syn_grpc *grpc;
    struct conn *conn;
    int32_t stream;
    int64_t deadline_ms; /* INT64_MAX: none */
    char method[METHOD_MAX];
    struct syn_buf request; /* framed */
    size_t sent;
    struct syn_buf in;
    size_t unopened; /* bytes received that the stream's window has not been given back */
    int http_status, grpc_status; /* -1: not told */
    bool grpc_content, closed, failed_nomem;
    uint32_t reset; /* HTTP/2's code it was closed with */
    char message[GRPC_MESSAGE_MAX];
};

static int64_t
now_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

/* --- nghttp2's side --------------------------------------------------------------------------- */

static void *
given(struct conn *conn, void *block)
{
    if (block == NULL)
        conn->starved = true;
    return block;
}

static void *
mem_malloc(size_t size, void *arg)
{
    return given(arg, syn_alloc(size));
}

static void
mem_free(void *block, void *arg)
{
    (void)arg;
    syn_free(block);
}

static void *
mem_calloc(size_t count, size_t size, void *arg)
{
    return given(arg, syn_calloc(count, size));
}

static void *
mem_realloc(void *block, size_t size, void *arg)
{
    return given(arg, syn_realloc(block, size));
}

static bool
is(const uint8_t *name, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(name, want, len) == 0;
}

static int /* nghttp2's signature: NOLINTNEXTLINE(readability-function-size) */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t namelen,
          const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
    struct syn_grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    const char *text = (const char *)value;

    (void)flags;
    (void)arg;
    if (call == NULL)
        return 0;
    if (is(name, namelen, ":status")) {
        char status[4] = "";
        uint64_t number = 0;

        if (valuelen == 3)
            memcpy(status, text, 3);
        if (syn_parse_u64(status, 100, 999, "status", &number, NULL) == SYN_OK)
            call->http_status = (int)number;
    } else if (is(name, namelen, "content-type")) {
        call->grpc_content =
            valuelen >= strlen("application/grpc") && syn_str_starts(text, "application/grpc");
    } else if (is(name, namelen, "grpc-status")) {
        call->grpc_status = grpc_status_parse(text, valuelen);
    } else if (is(name, namelen, "grpc-message")) {
        grpc_message_decode(text, valuelen, call->message);
    }
    return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
        void *arg)
{
    struct syn_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

    (void)flags;
    (void)arg;
    (void)nghttp2_session_consume_connection(session, len);
    if (call == NULL)
        return 0;
    syn_buf_add(&call->in, data, len);
    call->unopened += len;
    if (call->in.failed)
        call->failed_nomem = true;
    return 0;
}

static int
on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    struct syn_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

    (void)arg;
    if (call != NULL) {
        call->closed = true;
        call->reset = code;
    }
    return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *conn = arg;

    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        conn->leaving = true;
    return 0;
}

static ssize_t
read_request(nghttp2_session *session, int32_t stream, uint8_t *out, size_t cap, uint32_t *flags,
             nghttp2_data_source *source, void *arg)
{
    struct syn_grpc_call *call = source->ptr;
    size_t len = SYN_MIN(cap, call->request.len - call->sent);

    (void)session;
    (void)stream;
    (void)arg;
    memcpy(out, call->request.data + call->sent, len);
    call->sent += len;
    if (call->sent == call->request.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

/* --- connections ------------------------------------------------------------------------------ */

static void
break_off(struct conn *conn, const char *why, int sys)
{
    if (conn->broken)
        return;
    conn->broken = true;
    if (sys != 0)
        (void)snprintf(conn->why, sizeof(conn->why), "%s: %s", why, strerrordesc_np(sys));
    else
        (void)snprintf(conn->why, sizeof(conn->why), "%s", why);
}

static struct conn *
conn_unref(struct conn *conn)
{
    if (conn == NULL || --conn->refs > 0)
        return NULL;
    nghttp2_session_del(conn->session);
    if (conn->fd >= 0)
        (void)close(conn->fd);
    syn_free(conn);
    return NULL;
}

static void
conn_scope(struct conn **slot)
{
    *slot = conn_unref(*slot);
}

static int
open_session(struct conn *conn, struct syn_err *err)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
    };
    nghttp2_mem mem = {conn, mem_malloc, mem_free, mem_calloc, mem_realloc};
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);

    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_option_set_no_auto_window_update(option, 1);
        rc = nghttp2_session_client_new3(&conn->session, callbacks, conn, option, &mem);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (rc == 0)
        rc = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, SYN_LEN(settings));
    if (rc == 0)
        rc = nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                                   WINDOW * SYN_GRPC_CALLS_MAX);
    return rc == 0 ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "an HTTP/2 session");
}

static int
open_socket(const struct syn_grpc *grpc, int fd, int64_t limit_ms, struct syn_err *err)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    int failed = 0;
    socklen_t len = sizeof(failed);

    if (connect(fd, (const struct sockaddr *)&grpc->address.where, grpc->address.len) == 0)
        return SYN_OK;
    if (errno != EINPROGRESS && errno != EAGAIN)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "connecting to %s: %s", grpc->name,
                        strerrordesc_np(errno));
    if (errno == EAGAIN)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "connecting to %s: its queue is full", grpc->name);
    if (poll(&poller, 1, (int)SYN_MIN(limit_ms, INT32_MAX)) != 1)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "connecting to %s: no answer in %lld ms",
                        grpc->name, (long long)limit_ms);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0 || failed != 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "connecting to %s: %s", grpc->name,
                        strerrordesc_np(failed));
    return SYN_OK;
}

static int
connect_to(struct syn_grpc *grpc, int64_t limit_ms, struct syn_err *err)
{
    SYN_SCOPED(conn_scope) struct conn *conn = syn_calloc(1, sizeof(*conn));
    int rc;

    if (conn == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "a connection");
    conn->refs = 1;
    conn->fd = socket(grpc->address.where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (conn->fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    rc = open_socket(grpc, conn->fd, SYN_MIN(grpc->connect_ms, limit_ms), err);
    if (rc == SYN_OK)
        rc = open_session(conn, err);
    if (rc == SYN_OK)
        grpc->conn = SYN_TAKE(conn);
    return rc;
}

/* Write what there is until the socket is full. */
static void
push(struct conn *conn)
{
    while (!conn->broken) {
        ssize_t n;

        if (conn->out_len == 0) {
            n = nghttp2_session_mem_send(conn->session, &conn->out);
            if (n < 0)
                break_off(conn, nghttp2_strerror((int)n), 0);
            if (n <= 0)
                return;
            conn->out_len = (size_t)n;
        }
        n = send(conn->fd, conn->out, conn->out_len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0 && errno != EINTR)
            break_off(conn, "the connection broke", errno);
        if (n > 0) {
            conn->out += n;
            conn->out_len -= (size_t)n;
        }
    }
}

/* Take what has arrived; false when there was nothing. */
static bool
pull(struct conn *conn)
{
    uint8_t data[READ_SIZE];
    ssize_t n, used;

    if (conn->broken)
        return false;
    n = recv(conn->fd, data, sizeof(data), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        break_off(conn, n == 0 ? "the server closed the connection" : "the connection broke",
                  n == 0 ? 0 : errno);
        return false;
    }
    used = nghttp2_session_mem_recv(conn->session, data, (size_t)n);
    if (used < 0)
        break_off(conn, nghttp2_strerror((int)used), 0);
    return true;
}

/* One round for all calls of the connection. */
static void
turn(struct conn *conn, int64_t until_ms)
{
    struct pollfd poller = {.fd = conn->fd, .events = POLLIN};
    int64_t wait;

    push(conn);
    if (conn->broken)
        return;
    if (conn->out_len > 0)
        poller.events |= POLLOUT;
    wait = SYN_MAX(until_ms - now_ms(), 0);
    if (poll(&poller, 1, until_ms == INT64_MAX ? -1 : (int)SYN_MIN(wait, INT32_MAX)) <= 0)
        return;
    if (poller.revents & ~POLLOUT)
        (void)pull(conn);
    push(conn);
    /* nghttp2 has said goodbye to a server that broke the protocol, or was told goodbye. */
    if (!nghttp2_session_want_read(conn->session) && !nghttp2_session_want_write(conn->session))
        break_off(conn, "the connection was ended", 0);
}

/* A connection that can take a call. One that was left alone may have died meanwhile. */
static int
ready_conn(struct syn_grpc *grpc, int64_t limit_ms, struct syn_err *err)
{
    if (grpc->conn != NULL) {
        while (pull(grpc->conn))
            ;
        if (!grpc->conn->broken && !grpc->conn->leaving && !grpc->conn->starved)
            return SYN_OK;
        grpc->conn = conn_unref(grpc->conn);
    }
    return connect_to(grpc, limit_ms, err);
}

/* --- the client ------------------------------------------------------------------------------- */

static void
grpc_scope(struct syn_grpc **slot)
{
    *slot = syn_grpc_free(*slot);
}

int
syn_grpc_new(const struct syn_grpc_options *options, struct syn_grpc **ret_grpc,
             struct syn_err *err)
{
    SYN_SCOPED(grpc_scope) struct syn_grpc *grpc = syn_calloc(1, sizeof(*grpc));
    int rc;

    if (grpc == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "a gRPC client");
    rc = grpc_address_parse(options->address, &grpc->address, err);
    if (rc < 0)
        return rc;
    if (!syn_str_copy(grpc->name, sizeof(grpc->name), options->address))
        return SYN_FAIL(err, SYN_E_INVALID, "address: over %zu bytes", sizeof(grpc->name) - 1);
    if (options->headers_count > SYN_GRPC_HEADERS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "headers: more than %d", SYN_GRPC_HEADERS_MAX);
    if (options->message_bytes_max > SYN_GRPC_MESSAGE_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "message_bytes_max: at most %zu",
                        SYN_GRPC_MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < options->headers_count; i++) {
        if (!syn_str_copy(grpc->headers[i].name, SYN_GRPC_HEADER_MAX, options->headers[i].name) ||
            !syn_str_copy(grpc->headers[i].value, SYN_GRPC_HEADER_MAX, options->headers[i].value))
            return SYN_FAIL(err, SYN_E_INVALID, "header %s is too long", options->headers[i].name);
    }
    grpc->headers_count = options->headers_count;
    grpc->connect_ms = options->connect_ms > 0 ? options->connect_ms : CONNECT_DEFAULT_MS;
    grpc->message_bytes_max =
        options->message_bytes_max > 0 ? options->message_bytes_max : MESSAGE_DEFAULT;
    *ret_grpc = SYN_TAKE(grpc);
    return SYN_OK;
}

int
syn_grpc_adopt_take(struct syn_grpc *grpc, int fd, struct syn_err *err)
{
    SYN_SCOPED(conn_scope) struct conn *conn = syn_calloc(1, sizeof(*conn));
    int rc;

    assert(grpc->conn == NULL);
    if (conn == NULL) {
        (void)close(fd);
        return SYN_FAIL(err, SYN_E_NOMEM, "a connection");
    }
    conn->refs = 1;
    conn->fd = fd;
    rc = open_session(conn, err);
    if (rc == SYN_OK)
        grpc->conn = SYN_TAKE(conn);
    return rc;
}

struct syn_grpc *
syn_grpc_free(struct syn_grpc *grpc)
{
    if (grpc != NULL) {
        assert(grpc->calls == 0);
        grpc->conn = conn_unref(grpc->conn);
        syn_free(grpc);
    }
    return NULL;
}

/* --- calls ------------------------------------------------------------------------------------ */

static void
call_scope(struct syn_grpc_call **slot)
{
    *slot = syn_grpc_end(*slot);
}

static nghttp2_nv
header(const char *name, const char *value)
{
    union {
        const char *text;
        uint8_t *bytes; /* which nghttp2 does not change, as it copies them */
    } key = {.text = name}, word = {.text = value};

    return (nghttp2_nv){key.bytes, word.bytes, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static int
submit(struct syn_grpc_call *call, int64_t timeout_ms, struct syn_err *err)
{
    const struct syn_grpc *grpc = call->grpc;
    char timeout[16];
    nghttp2_nv headers[9 + SYN_GRPC_HEADERS_MAX] = {
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", call->method),
        header(":authority", "localhost"),
        header("te", "trailers"),
        header("content-type", "application/grpc"),
        header("user-agent", "synor/" SYN_VERSION),
    };
    const nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_request};
    size_t count = 7;

    for (size_t i = 0; i < grpc->headers_count; i++)
        headers[count++] = header(grpc->headers[i].name, grpc->headers[i].value);
    if (timeout_ms >= 0) {
        (void)snprintf(timeout, sizeof(timeout), "%lldm",
                       (long long)SYN_MIN(timeout_ms, TIMEOUT_MAX_MS));
        headers[count++] = header("grpc-timeout", timeout);
    }
    call->stream = nghttp2_submit_request(call->conn->session, NULL, headers, count, &body, call);
    if (call->stream == NGHTTP2_ERR_NOMEM)
        return SYN_FAIL(err, SYN_E_NOMEM, "calling %s", call->method);
    if (call->stream < 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "calling %s: %s", call->method,
                        nghttp2_strerror(call->stream));
    push(call->conn);
    return SYN_OK;
}

int
syn_grpc_begin(struct syn_grpc *grpc, const char *method, const struct syn_buf *request,
               int64_t timeout_ms, struct syn_grpc_call **ret_call, struct syn_err *err)
{
    SYN_SCOPED(call_scope) struct syn_grpc_call *call = NULL;
    uint8_t head[GRPC_FRAME_HEAD];
    int rc;

    if (grpc->calls == SYN_GRPC_CALLS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "calling %s: %d calls are going on", method,
                        SYN_GRPC_CALLS_MAX);
    if (request->len > SYN_GRPC_MESSAGE_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "calling %s: a request of %zu bytes", method,
                        request->len);
    call = syn_calloc(1, sizeof(*call));
    if (call == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "calling %s", method);
    call->grpc = grpc;
    grpc->calls++;
    call->grpc_status = -1;
    call->deadline_ms = timeout_ms < 0 ? INT64_MAX : now_ms() + SYN_MIN(timeout_ms, INT32_MAX);
    grpc_frame_head(request->len, head);
    syn_buf_add(&call->request, head, sizeof(head));
    syn_buf_add(&call->request, syn_buf_text(request), request->len);
    if (!syn_str_copy(call->method, sizeof(call->method), method))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a method's name is too long", method);
    rc = syn_buf_ok(&call->request, err);
    if (rc == SYN_OK)
        rc = ready_conn(grpc, timeout_ms < 0 ? INT32_MAX : timeout_ms, err);
    if (rc < 0)
        return rc;
    call->conn = grpc->conn;
    call->conn->refs++;
    rc = submit(call, timeout_ms, err);
    if (rc == SYN_OK)
        *ret_call = SYN_TAKE(call);
    return rc;
}

struct syn_grpc_call *
syn_grpc_end(struct syn_grpc_call *call)
{
    if (call == NULL)
        return NULL;
    if (call->conn != NULL && call->stream > 0) {
        nghttp2_session *session = call->conn->session;

        if (!call->closed && !call->conn->broken) {
            (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream,
                                            NGHTTP2_CANCEL);
            push(call->conn);
        }
        (void)nghttp2_session_set_stream_user_data(session, call->stream, NULL);
        /* A stream that lives on would read the request from us. */
        if (!call->closed && call->sent < call->request.len)
            break_off(call->conn, "a call was given up half sent", 0);
    }
    (void)conn_unref(call->conn);
    call->grpc->calls--;
    syn_buf_fini(&call->request);
    syn_buf_fini(&call->in);
    syn_free(call);
    return NULL;
}

/* The end of a call as the server told it, or what is known when it did not. */
static int
conclude(const struct syn_grpc_call *call, struct syn_err *err)
{
    const char *method = call->method;

    if (call->closed && call->reset == NGHTTP2_NO_ERROR && call->grpc_status == 0 &&
        call->in.len == 0)
        return SYN_GRPC_END;
    if (call->conn->starved)
        return SYN_FAIL(err, SYN_E_NOMEM, "%s: out of memory", method);
    if (call->grpc_status < 0 && call->http_status != 0 && call->http_status != 200)
        return SYN_FAIL(err, call->http_status == 404 ? SYN_E_UNSUPPORTED : SYN_E_UNAVAILABLE,
                        "%s: HTTP status %d instead of an answer", method, call->http_status);
    if (call->closed && call->reset == NGHTTP2_NO_ERROR) {
        if (call->grpc_status == 0)
            return SYN_FAIL(err, SYN_E_CORRUPT, "%s: the answer ends within a message", method);
        if (call->grpc_status > 0)
            return SYN_FAIL(err, grpc_status_code(call->grpc_status), "%s: %s", method,
                            call->message[0] != '\0' ? call->message
                                                     : grpc_status_name(call->grpc_status));
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s: the answer ends without a status%s", method,
                        call->grpc_content ? "" : ": that is no gRPC server");
    }
    if (call->closed && call->grpc_status > 0)
        return SYN_FAIL(err, grpc_status_code(call->grpc_status), "%s: %s", method, call->message);
    if (call->closed)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: the server gave up: %s", method,
                        nghttp2_http2_strerror(call->reset));
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: %s", method, call->conn->why);
}

/* The message at the front of what came in, if it is whole. */
static int
take(struct syn_grpc_call *call, struct syn_buf *reply, struct syn_err *err)
{
    size_t len = 0;
    int rc;

    if (call->failed_nomem)
        return SYN_FAIL(err, SYN_E_NOMEM, "%s: taking the answer", call->method);
    if (call->in.len > 0 && (call->http_status != 200 || !call->grpc_content))
        return call->http_status != 200
                   ? conclude(call, err)
                   : SYN_FAIL(err, SYN_E_CORRUPT, "%s: that is no gRPC server", call->method);
    rc = grpc_frame_next(call->in.data, call->in.len, call->grpc->message_bytes_max, &len, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", call->method);
    if (rc == GRPC_FRAME_MORE)
        return rc;
    syn_buf_add(reply, call->in.data + GRPC_FRAME_HEAD, len);
    syn_buf_consume(&call->in, GRPC_FRAME_HEAD + len);
    return syn_buf_ok(reply, err);
}

/* Let the server send on. */
static void
open_window(struct syn_grpc_call *call)
{
    if (call->unopened > 0 && !call->closed)
        (void)nghttp2_session_consume_stream(call->conn->session, call->stream, call->unopened);
    call->unopened = 0;
}

int
syn_grpc_next(struct syn_grpc_call *call, int64_t wait_ms, struct syn_buf *reply,
              struct syn_err *err)
{
    int64_t until_ms = call->deadline_ms;
    bool turned = false;

    if (wait_ms >= 0)
        until_ms = SYN_MIN(until_ms, now_ms() + SYN_MIN(wait_ms, INT32_MAX));
    for (;;) {
        int rc = take(call, reply, err);

        if (rc != GRPC_FRAME_MORE)
            return rc;
        if (call->closed || call->conn->broken)
            return conclude(call, err);
        open_window(call);
        if (turned && now_ms() >= until_ms)
            return SYN_FAIL(err, SYN_E_TIMEOUT, "%s: no answer in time", call->method);
        turn(call->conn, until_ms);
        turned = true;
    }
}

/* Has the server surely not seen it? Then it may be sent again. */
static bool
unseen(const struct syn_grpc_call *call)
{
    return call->closed && call->reset == NGHTTP2_REFUSED_STREAM && call->http_status == 0;
}

static int
ask_once(struct syn_grpc *grpc, const char *method, const struct syn_buf *request,
         int64_t timeout_ms, struct syn_buf *reply, bool *ret_again, struct syn_err *err)
{
    SYN_SCOPED(call_scope) struct syn_grpc_call *call = NULL;
    SYN_BUF(more);
    int rc = syn_grpc_begin(grpc, method, request, timeout_ms, &call, err);

    *ret_again = false;
    if (rc < 0)
        return rc;
    assert(call != NULL);
    rc = syn_grpc_next(call, -1, reply, err);
    *ret_again = rc < 0 && unseen(call);
    if (rc == SYN_GRPC_END)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s: an answer without a message", method);
    if (rc < 0)
        return rc;
    rc = syn_grpc_next(call, -1, &more, err);
    if (rc == SYN_OK)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s: an answer of two messages", method);
    return rc == SYN_GRPC_END ? SYN_OK : rc;
}

int
syn_grpc_ask(struct syn_grpc *grpc, const char *method, const struct syn_buf *request,
             int64_t timeout_ms, struct syn_buf *reply, struct syn_err *err)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
    size_t before = reply->len;
    bool again = true;
    int rc = SYN_OK;

    assert(timeout_ms >= 0);
    for (int i = 0; again && i < TRIES_MAX; i++) {
        rc =
            ask_once(grpc, method, request, SYN_MAX(deadline_ms - now_ms(), 0), reply, &again, err);
        if (rc < 0)
            reply->len = SYN_MIN(reply->len, before);
    }
    return rc;
}
