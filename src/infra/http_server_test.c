/* The server over real sockets: it runs on a thread with its own loop, the tests speak raw bytes.
 */
#include <synor/base/test.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/infra/http_server.h>
#include <synor/infra/tls_cert.h>

#define BIG_BYTES   (3 << 20)
#define FILE_BYTES  300000
#define WAIT_MS     10000
#define ANSWER_SIZE 65536

static char big[BIG_BYTES];

/* --- the server under test ----------------------------------------------------------------------
 */

struct site {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready;
    struct syn_loop *loop;
    struct syn_pool *pool;
    struct syn_metrics *metrics;
    struct syn_http_server *server;
    struct syn_http_limits limits;
    bool tls;
    uint16_t port;
    char socket_path[108];
    char file_path[256];
    char upload_path[256];
    char cert_path[256];
    /* What the handlers saw; under the lock. */
    int64_t upload_dropped;
    int streams_open, streams_closed;
    int pulls_dropped;
    int send_rc;
    bool stopped;
    struct syn_http_req *parked;
};

static void
site_note(struct site *site, int *counter)
{
    (void)pthread_mutex_lock(&site->lock);
    (*counter)++;
    (void)pthread_cond_broadcast(&site->changed);
    (void)pthread_mutex_unlock(&site->lock);
}

static void
site_wait(struct site *site, const int *counter, int want)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    (void)pthread_mutex_lock(&site->lock);
    while (*counter < want)
        if (pthread_cond_timedwait(&site->changed, &site->lock, &until) != 0)
            break;
    assert_int_equal(*counter, want);
    (void)pthread_mutex_unlock(&site->lock);
}

static int
hello(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    (void)ctx;
    return syn_http_reply_bytes(req, 200, "text/plain", "hello", 5, err);
}

static int
give_big(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    (void)ctx;
    (void)err;
    syn_http_reply_static(req, 200, "application/octet-stream", big, sizeof(big));
    return 0;
}

static int
give_file(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct site *site = ctx;
    int fd = open(site->file_path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening the file");
    syn_http_reply_fd_take(req, 200, "application/octet-stream", fd, 0, FILE_BYTES);
    return 0;
}

struct puller {
    size_t at, end;
    bool fails;
    struct site *site; /* wants to know the end */
};

static void
pull_drop(void *arg)
{
    struct puller *puller = arg;

    if (puller->site != NULL)
        site_note(puller->site, &puller->site->pulls_dropped);
    syn_free(puller);
}

static int
pull(void *arg, char *buf, size_t cap, size_t *ret_len, struct syn_err *err)
{
    struct puller *puller = arg;
    size_t len = SYN_MIN(SYN_MIN(cap, (size_t)50000), puller->end - puller->at);

    if (puller->fails && puller->at > 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the source is damaged");
    memcpy(buf, big + puller->at % FILE_BYTES, len);
    puller->at += len;
    *ret_len = len;
    return 0;
}

/* /pull/known, /pull/unknown, /pull/broken, /pull/endless */
static int
give_pull(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *how = syn_http_req_param(req, "how");
    struct puller *puller = syn_calloc(1, sizeof(*puller));

    if (puller == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no puller");
    puller->end = strcmp(how, "endless") == 0 ? SIZE_MAX : FILE_BYTES;
    puller->site = ctx;
    puller->fails = strcmp(how, "broken") == 0;
    syn_http_reply_pull(req, 200, "application/octet-stream",
                        strcmp(how, "known") == 0 ? FILE_BYTES : -1, pull, puller, pull_drop);
    return 0;
}

static int
echo(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    size_t len = 0;
    const char *body = syn_http_req_body(req, &len);

    (void)ctx;
    return syn_http_reply_bytes(req, 200, "application/octet-stream", body, len, err);
}

static int
item(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc;

    (void)ctx;
    rc = syn_json_pack(&doc, err, "{s:s,s:O,s:O}", "id", syn_http_req_param(req, "id"), "body",
                       syn_http_req_json(req), "query", syn_http_req_query_json(req));
    return rc < 0 ? rc : syn_http_reply_json(req, 201, doc, err);
}

static int
rest(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *text = syn_http_req_param(req, "rest");

    (void)ctx;
    return syn_http_reply_bytes(req, 200, "text/plain", text, strlen(text), err);
}

static int
fail_with(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct syn_err_info *info = syn_err_info_by_wire(syn_http_req_param(req, "code"));

    (void)ctx;
    if (info == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no such code");
    syn_http_error_hint(req, "try \"again\"");
    syn_http_error_details_take(req, json_pack("{s:i}", "received_bytes", 7));
    return SYN_FAIL(err, info->code, "as asked");
}

static int
tagged(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int rc = syn_http_reply_etag(req, "rev-7", err);

    (void)ctx;
    if (rc == SYN_HTTP_NOT_MODIFIED)
        return 0;
    return rc < 0 ? rc : syn_http_reply_bytes(req, 200, "text/plain", "seven", 5, err);
}

static int
whoami(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct syn_http_peer *peer = syn_http_req_peer(req);
    char text[128];

    (void)ctx;
    (void)snprintf(text, sizeof(text), "unix=%d uid=%d pid=%d address=%s secure=%d", peer->is_unix,
                   (int)peer->uid, (int)peer->pid, peer->address, peer->secure);
    return syn_http_reply_bytes(req, 200, "text/plain", text, strlen(text), err);
}

static int
slow(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct timespec pause = {0, 100000000};

    (void)nanosleep(&pause, NULL);
    return hello(req, ctx, err);
}

static int upload_begin(struct syn_http_req *req, void *ctx, struct syn_http_upload *upload,
                        struct syn_err *err);

static int
upload_end(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc;

    (void)ctx;
    rc =
        syn_json_pack(&doc, err, "{s:I}", "received_bytes", (json_int_t)syn_http_req_received(req));
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct uploading {
    struct site *site;
    int fd;
};

static void
upload_drop(void *arg, int64_t received)
{
    struct uploading *uploading = arg;
    struct site *site = uploading->site;

    (void)close(uploading->fd);
    syn_free(uploading);
    (void)pthread_mutex_lock(&site->lock);
    site->upload_dropped = received;
    (void)pthread_cond_broadcast(&site->changed);
    (void)pthread_mutex_unlock(&site->lock);
}

static int
upload_begin(struct syn_http_req *req, void *ctx, struct syn_http_upload *upload,
             struct syn_err *err)
{
    int64_t offset = syn_json_i64(syn_http_req_query_json(req), "offset", 0);
    struct uploading *uploading;

    if (offset > FILE_BYTES)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the file ends before %lld", (long long)offset);
    uploading = syn_calloc(1, sizeof(*uploading));
    if (uploading == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no upload");
    uploading->site = ctx;
    uploading->fd = open(uploading->site->upload_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    upload->fd = uploading->fd;
    upload->offset = offset;
    upload->arg = uploading;
    upload->drop = upload_drop;
    return 0;
}

static void
stream_closed(void *arg)
{
    struct site *site = arg;

    site_note(site, &site->streams_closed);
}

/* ?mode=three: three events and the end; quiet: nothing; flood: until the server gives up. */
static int
events(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *mode = syn_http_req_query(req, "mode");
    const char *last = syn_http_req_header(req, "last-event-id");
    struct site *site = ctx;
    struct syn_http_stream *stream = NULL;
    int rc = syn_http_sse_open(req, stream_closed, site, &stream, err);

    if (rc < 0)
        return rc;
    site_note(site, &site->streams_open);
    if (syn_str_eq(mode, "fail"))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "after all, no");
    if (syn_str_eq(mode, "three")) {
        rc = syn_http_sse_send(stream, "1", "log", "one\ntwo", 7, err);
        if (rc == 0)
            rc = syn_http_sse_send(stream, NULL, NULL, last != NULL ? last : "none",
                                   strlen(last != NULL ? last : "none"), err);
        syn_http_sse_close(stream);
    }
    while (syn_str_eq(mode, "flood") && rc == 0)
        rc = syn_http_sse_send(stream, NULL, "flood", big, 10000, NULL);
    if (syn_str_eq(mode, "flood"))
        site->send_rc = rc;
    return 0;
}

static int
park(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct site *site = ctx;

    (void)err;
    site->parked = req;
    return SYN_HTTP_LATER;
}

static int
unpark(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct site *site = ctx;
    struct syn_http_req *parked = SYN_TAKE(site->parked);
    int rc;

    if (parked == NULL)
        return SYN_FAIL(err, SYN_E_CONFLICT, "nobody waits");
    rc = syn_http_reply_bytes(parked, 200, "text/plain", "late", 4, err);
    syn_http_finish(parked, rc, err);
    return hello(req, ctx, err);
}

static const struct syn_field item_fields[] = {
    {.name = "count", .kind = SYN_FIELD_I64, .required = true, .min = 1, .max = 9},
    {.name = "name", .kind = SYN_FIELD_STR, .fallback = "\"none\""},
};
static const struct syn_schema item_schema = SYN_SCHEMA("Item", item_fields);
static const struct syn_field query_fields[] = {
    {.name = "limit", .kind = SYN_FIELD_I64, .min = 1, .max = 1000, .fallback = "100"},
    {.name = "follow", .kind = SYN_FIELD_BOOL},
};
static const struct syn_schema query_schema = SYN_SCHEMA("Query", query_fields);
static const struct syn_field upload_fields[] = {
    {.name = "offset", .kind = SYN_FIELD_I64, .min = 0, .max = INT64_MAX},
};
static const struct syn_schema upload_schema = SYN_SCHEMA("Upload", upload_fields);

static const struct syn_http_route routes[] = {
    {.method = "GET",
     .pattern = "/hello",
     .flags = SYN_HTTP_PUBLIC,
     .handler = hello,
     .name = "hello"},
    {.method = "GET", .pattern = "/private", .handler = hello, .name = "private"},
    {.method = "GET",
     .pattern = "/big",
     .flags = SYN_HTTP_PUBLIC,
     .handler = give_big,
     .name = "big"},
    {.method = "GET",
     .pattern = "/file",
     .kind = SYN_HTTP_POOL,
     .flags = SYN_HTTP_PUBLIC,
     .handler = give_file,
     .name = "file"},
    {.method = "GET",
     .pattern = "/pull/{how}",
     .flags = SYN_HTTP_PUBLIC,
     .handler = give_pull,
     .name = "pull"},
    {.method = "GET",
     .pattern = "/pool-pull/{how}",
     .kind = SYN_HTTP_POOL,
     .flags = SYN_HTTP_PUBLIC,
     .handler = give_pull,
     .name = "pool-pull"},
    {.method = "POST",
     .pattern = "/echo",
     .kind = SYN_HTTP_POOL,
     .flags = SYN_HTTP_PUBLIC,
     .body_max = 1 << 20,
     .handler = echo,
     .name = "echo"},
    {.method = "POST",
     .pattern = "/items/{id}",
     .flags = SYN_HTTP_PUBLIC,
     .body_max = 4096,
     .handler = item,
     .body = &item_schema,
     .query = &query_schema,
     .name = "item"},
    {.method = "DELETE",
     .pattern = "/items/{id}",
     .flags = SYN_HTTP_PUBLIC,
     .handler = hello,
     .name = "item.delete"},
    {.method = "GET",
     .pattern = "/files/{rest*}",
     .flags = SYN_HTTP_PUBLIC,
     .handler = rest,
     .name = "files"},
    {.method = "GET",
     .pattern = "/fail/{code}",
     .flags = SYN_HTTP_PUBLIC,
     .handler = fail_with,
     .name = "fail"},
    {.method = "GET",
     .pattern = "/tagged",
     .flags = SYN_HTTP_PUBLIC,
     .handler = tagged,
     .name = "tagged"},
    {.method = "GET",
     .pattern = "/whoami",
     .flags = SYN_HTTP_PUBLIC,
     .handler = whoami,
     .name = "whoami"},
    {.method = "GET",
     .pattern = "/slow",
     .kind = SYN_HTTP_POOL,
     .flags = SYN_HTTP_PUBLIC,
     .handler = slow,
     .name = "slow"},
    {.method = "GET",
     .pattern = "/park",
     .flags = SYN_HTTP_PUBLIC,
     .handler = park,
     .name = "park"},
    {.method = "GET",
     .pattern = "/unpark",
     .flags = SYN_HTTP_PUBLIC,
     .handler = unpark,
     .name = "unpark"},
    {.method = "GET",
     .pattern = "/events",
     .flags = SYN_HTTP_PUBLIC | SYN_HTTP_ANY_QUERY | SYN_HTTP_EVENTS,
     .handler = events,
     .name = "events"},
    {.method = "PUT",
     .pattern = "/upload",
     .kind = SYN_HTTP_UPLOAD,
     .flags = SYN_HTTP_PUBLIC,
     .body_max = BIG_BYTES,
     .handler = upload_end,
     .begin = upload_begin,
     .query = &upload_schema,
     .name = "upload"},
};

static int
authenticate(void *ctx, struct syn_http_req *req, const struct syn_http_route *route,
             struct syn_err *err)
{
    const char *token = syn_http_req_bearer(req);

    (void)ctx;
    (void)route;
    if (token == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "no token");
    if (strcmp(token, "sesame") != 0)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "wrong token");
    syn_http_req_set_identity(req, syn_strdup("ali"), syn_free);
    return 0;
}

static void *
site_main(void *arg)
{
    struct site *site = arg;
    struct syn_http_options options = {.authenticate = authenticate, .limits = site->limits};
    const struct syn_http_tls tls = {site->cert_path, NULL};
    struct syn_err err;

    assert_done(syn_loop_new(&site->loop, &err), &err);
    assert_done(syn_pool_new(2, 64, &site->pool, &err), &err);
    assert_done(syn_metrics_new(&site->metrics, &err), &err);
    options.loop = site->loop;
    options.pool = site->pool;
    options.metrics = site->metrics;
    assert_done(syn_http_server_new(&options, &site->server, &err), &err);
    assert_done(syn_http_server_add(site->server, routes, SYN_LEN(routes), site, &err), &err);
    assert_done(syn_http_listen_tcp(site->server, "127.0.0.1:0", site->tls ? &tls : NULL,
                                    &site->port, &err),
                &err);
    assert_done(syn_http_listen_unix(site->server, site->socket_path, 0600, &err), &err);
    (void)pthread_mutex_lock(&site->lock);
    site->ready = true;
    (void)pthread_cond_broadcast(&site->changed);
    (void)pthread_mutex_unlock(&site->lock);
    assert_done(syn_loop_run(site->loop, &err), &err);
    site->server = syn_http_server_free(site->server);
    site->pool = syn_pool_free(site->pool);
    site->loop = syn_loop_free(site->loop);
    site->metrics = syn_metrics_free(site->metrics);
    return NULL;
}

static int sites; /* each has files of its own */

static struct site *
site_start(bool tls, const struct syn_http_limits *limits)
{
    static const char *const names[] = {"localhost", "127.0.0.1"};
    struct site *site = calloc(1, sizeof(*site));
    struct syn_err err;
    int fd;

    assert_non_null(site);
    sites++;
    (void)snprintf(site->socket_path, sizeof(site->socket_path), "%s/%d.sock", syn_test_dir(),
                   sites);
    (void)snprintf(site->file_path, sizeof(site->file_path), "%s/%d.file", syn_test_dir(), sites);
    (void)snprintf(site->upload_path, sizeof(site->upload_path), "%s/%d.up", syn_test_dir(), sites);
    (void)snprintf(site->cert_path, sizeof(site->cert_path), "%s/%d.pem", syn_test_dir(), sites);
    (void)pthread_mutex_init(&site->lock, NULL);
    (void)pthread_cond_init(&site->changed, NULL);
    site->tls = tls;
    site->upload_dropped = -1;
    if (limits != NULL)
        site->limits = *limits;
    if (tls)
        assert_done(syn_tls_cert_create(site->cert_path, names, 2, 10, &err), &err);
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)('a' + (i * 2654435761U >> 20) % 26);
    fd = open(site->file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, big, FILE_BYTES), FILE_BYTES);
    (void)close(fd);
    assert_int_equal(pthread_create(&site->thread, NULL, site_main, site), 0);
    (void)pthread_mutex_lock(&site->lock);
    while (!site->ready)
        (void)pthread_cond_wait(&site->changed, &site->lock);
    (void)pthread_mutex_unlock(&site->lock);
    return site;
}

static void
stop_loop(void *arg)
{
    syn_loop_stop(((struct site *)arg)->loop);
}

static void
site_end(struct site *site)
{
    struct syn_err err;

    assert_done(syn_loop_post(site->loop, stop_loop, site, NULL, &err), &err);
    assert_int_equal(pthread_join(site->thread, NULL), 0);
    free(site);
}

/* --- a client of bytes --------------------------------------------------------------------------
 */

static int
dial(const struct site *site)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(site->port)};
    const struct timeval limit = {WAIT_MS / 1000, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void
say(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        assert_true(n > 0);
        data += n;
        len -= (size_t)n;
    }
}

static void
ask(int fd, const char *request)
{
    say(fd, request, strlen(request));
}

/* Everything until the server closes; returns the bytes, -1 in *ret_len's place on a reset is fine.
 */
static size_t
hear_all(int fd, char *buf, size_t cap)
{
    size_t len = 0;

    while (len < cap - 1) {
        ssize_t n = recv(fd, buf + len, cap - 1 - len, 0);

        if (n < 0 && errno == EAGAIN)
            fail_msg("the server did not answer or close in time; got %zu bytes: %.200s", len, buf);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    buf[len] = '\0';
    return len;
}

static void
hear_until(int fd, char *buf, size_t cap, const char *mark)
{
    size_t len = 0;

    buf[0] = '\0';
    while (strstr(buf, mark) == NULL) {
        ssize_t n = recv(fd, buf + len, cap - 1 - len, 0);

        if (n <= 0)
            fail_msg("no \"%s\" in: %s", mark, buf);
        len += (size_t)n;
        buf[len] = '\0';
    }
}

static void
assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in:\n%.600s", part, text);
}

#define END  " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define HEAD " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

/* --- tests --------------------------------------------------------------------------------------
 */

static const struct {
    const char *request;
    const char *want[3];
} exchanges[] = {
    {"GET /hello" END, {"HTTP/1.1 200 OK\r\n", "content-length: 5\r\n", "\r\n\r\nhello"}},
    {"GET /hello HTTP/1.0\r\n\r\n", {"HTTP/1.1 200 OK", "connection: close", "\r\n\r\nhello"}},
    {"HEAD /hello" END, {"HTTP/1.1 200 OK\r\n", "content-length: 5\r\n"}},
    {"GET /helo" END, {"HTTP/1.1 404", "\"code\":\"not-found\"", "did you mean /hello?"}},
    {"GET /" END, {"HTTP/1.1 404"}},
    {"PUT /hello" HEAD "Content-Length: 0\r\n\r\n",
     {"HTTP/1.1 405", "allow: GET, HEAD\r\n", "method-not-allowed"}},
    {"BREW /hello" END, {"HTTP/1.1 405"}},
    {"GET /items/x" END, {"HTTP/1.1 405", "allow: POST, DELETE\r\n"}},
    {"GET /hello?x=1" END, {"HTTP/1.1 400", "takes no query parameter"}},
    {"GET /hello/" END, {"HTTP/1.1 400", "empty segment"}},
    {"GET //hello" END, {"HTTP/1.1 400"}},
    {"GET /a/../hello" END, {"HTTP/1.1 400", "dot segment"}},
    {"GET /a/%2e%2e/hello" END, {"HTTP/1.1 400", "dot segment"}},
    {"GET /files/a%2fb" END, {"HTTP/1.1 400", "encoded slash"}},
    {"GET /files/a%zz" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a%4" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a%00" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a%ff" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a/b%20c/%C3%A4" END, {"HTTP/1.1 200", "\r\n\r\na/b c/\xC3\xA4"}},
    {"GET http://x/hello" END, {"HTTP/1.1 400"}},
    {"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", {"HTTP/1.1 501", "unsupported"}},
    {"GET /hello HTTP/1.1\r\n\r\n", {"HTTP/1.1 400", "no Host"}},
    {"GET /hello HTTP/1.1\nHost: x\n\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", {"HTTP/1.1 400", "control character"}},
    {"garbage\r\n\r\n", {"HTTP/1.1 400", "\"code\":\"invalid\""}},
    {"POST /echo" HEAD "Content-Length: 3\r\n\r\nabc", {"HTTP/1.1 200", "\r\n\r\nabc"}},
    {"POST /echo" HEAD "Content-Length: +3\r\n\r\nabc", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
     {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", {"HTTP/1.1 501"}},
    {"POST /echo" HEAD "Content-Length: 2000000\r\n\r\n", {"HTTP/1.1 413", "too-large"}},
    {"POST /echo" HEAD "Content-Length: 99999999999999999999\r\n\r\n", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
     {"HTTP/1.1 200", "content-length: 5", "\r\n\r\nabcde"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
     {"HTTP/1.1 400", "chunked"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", {"HTTP/1.1 413", NULL}},
    {"POST /echo" HEAD "\r\n", {"HTTP/1.1 200", "content-length: 0"}},
    {"GET /hello" HEAD "Content-Length: 3\r\n\r\nabc", {"HTTP/1.1 413", "takes no body"}},
    {"POST /items/a?limit=7&follow=true" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 201 Created", "\"body\":{\"count\":3,\"name\":\"none\"}",
      "\"query\":{\"follow\":true,\"limit\":7}"}},
    {"POST /items/a" HEAD "Content-Length: 11\r\n\r\n{\"count\":0}",
     {"HTTP/1.1 400", "body.count"}},
    {"POST /items/a" HEAD "Content-Length: 11\r\n\r\n{\"conut\":3}", {"HTTP/1.1 400", "conut"}},
    {"POST /items/a" HEAD "Content-Length: 3\r\n\r\n{]}", {"HTTP/1.1 400", "body"}},
    {"POST /items/a?limit=0" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 400", "limit"}},
    {"POST /items/a?limit=x" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 400", "limit"}},
    {"POST /items/a?limit=1&limit=2" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 400", "repeated"}},
    {"GET /fail/conflict" END,
     {"HTTP/1.1 409", "\"details\":{\"received_bytes\":7}", "\"hint\":\"try \\\"again\\\"\""}},
    {"GET /fail/unavailable" END,
     {"HTTP/1.1 503", "retry-after: 1\r\n", "\"message\":\"as asked\""}},
    {"GET /private" END,
     {"HTTP/1.1 401", "www-authenticate: Bearer\r\n", "\"code\":\"unauthenticated\""}},
    {"GET /private" HEAD "Authorization: Bearer x\r\n\r\n", {"HTTP/1.1 403"}},
    {"GET /private" HEAD "Authorization: bearer sesame\r\n\r\n", {"HTTP/1.1 200"}},
    {"GET /private" HEAD "Authorization: Bearer sesame\r\nAuthorization: Bearer x\r\n\r\n",
     {"HTTP/1.1 400"}},
    {"GET /tagged" END, {"HTTP/1.1 200", "etag: \"rev-7\"\r\n", "seven"}},
    {"GET /tagged" HEAD "If-None-Match: \"rev-7\"\r\n\r\n", {"HTTP/1.1 304 Not Modified"}},
    {"GET /tagged" HEAD "If-None-Match: \"rev-6\"\r\n\r\n", {"HTTP/1.1 200"}},
    {"GET /file" HEAD "Range: bytes=0-0\r\n\r\n",
     {"HTTP/1.1 206", "content-range: bytes 0-0/300000\r\n", "content-length: 1\r\n"}},
    {"GET /file" HEAD "Range: bytes=-5\r\n\r\n",
     {"HTTP/1.1 206", "content-range: bytes 299995-299999/300000"}},
    {"GET /file" HEAD "Range: bytes=300000-\r\n\r\n",
     {"HTTP/1.1 416", "content-range: bytes */300000"}},
    {"HEAD /file" END, {"HTTP/1.1 200", "content-length: 300000\r\n"}},
    {"HEAD /pull/unknown" END, {"HTTP/1.1 200"}},
    {"PUT /upload" HEAD "\r\n", {"HTTP/1.1 411"}},
    {"PUT /upload?offset=400000" HEAD "Content-Length: 5\r\n\r\nhello", {"HTTP/1.1 409"}},
    {"GET /whoami" END, {"unix=0", "address=127.0.0.1 secure=0"}},
    {"GET /slow" END, {"HTTP/1.1 200", "hello"}},
    {"GET /events?mode=fail" END, {"HTTP/1.1 404"}},
    {"GET /events?mode=three" HEAD "Last-Event-ID: 41\r\n\r\n",
     {"content-type: text/event-stream\r\n", "id: 1\nevent: log\ndata: one\ndata: two\n\n",
      "data: 41\n\n"}},
};

static void
test_exchanges(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(exchanges); i++) {
        int fd = dial(site);

        say(fd, exchanges[i].request, strlen(exchanges[i].request));
        (void)hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
        for (size_t k = 0; k < 3 && exchanges[i].want[k] != NULL; k++) {
            if (strstr(answer, exchanges[i].want[k]) == NULL)
                fail_msg("row %zu: %s\nno \"%s\" in:\n%s", i, exchanges[i].request,
                         exchanges[i].want[k], answer);
        }
        if (strncmp(exchanges[i].request, "HEAD", 4) == 0)
            assert_true(syn_str_ends(answer, "\r\n\r\n"));
    }
    site_end(site);
}

/* The same exchanges a byte at a time: nothing may depend on how packets are cut. */
static void
test_exchanges_by_byte(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(exchanges); i++) {
        int fd = dial(site);
        const int on = 1;

        assert_int_equal(setsockopt(fd, IPPROTO_TCP, 1, &on, sizeof(on)), 0);
        for (const char *at = exchanges[i].request; *at != '\0'; at++) {
            if (send(fd, at, 1, MSG_NOSIGNAL) != 1)
                break; /* refused already */
        }
        (void)hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
        assert_holds(answer, exchanges[i].want[0]);
    }
    site_end(site);
}

static void
test_keep_alive_and_pipeline(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];
    int fd = dial(site);
    const char one[] = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    const char more[] = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
                        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
                        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "5\r\nchunk\r\n0\r\n\r\n"
                        "GET /hello" END;
    const char *at;

    (void)state;
    for (int i = 0; i < 3; i++) {
        say(fd, one, sizeof(one) - 1);
        hear_until(fd, answer, sizeof(answer), "\r\n\r\nhello");
    }
    say(fd, more, sizeof(more) - 1);
    (void)hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    at = strstr(answer, "hello");
    assert_non_null(at);
    at = strstr(at, "\r\n\r\nbody");
    assert_non_null(at);
    at = strstr(at, "\r\n\r\nchunk");
    assert_non_null(at);
    assert_non_null(strstr(at, "\r\n\r\nhello"));
    site_end(site);
}

static void
test_large_answers(void **state)
{
    static const struct {
        const char *target;
        size_t len;
        bool chunked;
    } rows[] = {
        {"/big", BIG_BYTES, false},          {"/file", FILE_BYTES, false},
        {"/pull/known", FILE_BYTES, false},  {"/pool-pull/known", FILE_BYTES, false},
        {"/pull/unknown", FILE_BYTES, true}, {"/pool-pull/unknown", FILE_BYTES, true},
    };
    struct site *site = site_start(false, NULL);
    static char answer[BIG_BYTES + ANSWER_SIZE];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char request[256];
        char *body;
        size_t len;
        int fd = dial(site);

        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.%d\r\nHost: x\r\n\r\n",
                       rows[i].target, 0);
        say(fd, request, strlen(request));
        len = hear_all(fd, answer, sizeof(answer));
        body = strstr(answer, "\r\n\r\n");
        assert_non_null(body);
        assert_int_equal(len - (size_t)(body + 4 - answer), rows[i].len);
        assert_memory_equal(body + 4, big, rows[i].len);
        (void)close(fd);
        if (!rows[i].chunked)
            continue;
        fd = dial(site);
        (void)snprintf(request, sizeof(request), "GET %s" END, rows[i].target);
        say(fd, request, strlen(request));
        len = hear_all(fd, answer, sizeof(answer));
        assert_holds(answer, "transfer-encoding: chunked");
        assert_memory_equal(answer + len - 5, "0\r\n\r\n", 5);
        (void)close(fd);
    }
    /* A source that fails in the middle: no proper end. */
    for (int i = 0; i < 2; i++) {
        const char *request = i == 0 ? "GET /pull/broken" END : "GET /pool-pull/broken" END;
        int fd = dial(site);
        size_t len;

        say(fd, request, strlen(request));
        len = hear_all(fd, answer, sizeof(answer));
        assert_true(len > 1000);
        assert_memory_not_equal(answer + len - 5, "0\r\n\r\n", 5);
        (void)close(fd);
    }
    site_end(site);
}

static void
test_upload(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];
    static char stored[BIG_BYTES];
    char head[256];
    int fd = dial(site);
    int file;

    (void)state;
    (void)snprintf(head, sizeof(head),
                   "PUT /upload" HEAD "Expect: 100-continue\r\nContent-Length: %d\r\n\r\n",
                   BIG_BYTES);
    say(fd, head, strlen(head));
    hear_until(fd, answer, sizeof(answer), "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, big, BIG_BYTES);
    (void)hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    assert_holds(answer, "{\"received_bytes\":3145728}");
    file = open(site->upload_path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(file, stored, BIG_BYTES), BIG_BYTES);
    assert_memory_equal(stored, big, BIG_BYTES);

    /* Chunked, at an offset. */
    fd = dial(site);
    (void)snprintf(head, sizeof(head),
                   "PUT /upload?offset=2" HEAD
                   "Transfer-Encoding: chunked\r\n\r\n3\r\nXYZ\r\n0\r\n\r\n");
    say(fd, head, strlen(head));
    (void)hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    assert_holds(answer, "{\"received_bytes\":3}");
    assert_int_equal(pread(file, stored, 6, 0), 6);
    assert_memory_equal(stored + 2, "XYZ", 3);
    assert_memory_equal(stored, big, 2);

    /* The client goes away in the middle: what was accepted is told to drop(). */
    (void)pthread_mutex_lock(&site->lock);
    site->upload_dropped = -1;
    (void)pthread_mutex_unlock(&site->lock);
    fd = dial(site);
    (void)snprintf(head, sizeof(head), "PUT /upload" HEAD "Content-Length: %d\r\n\r\n", BIG_BYTES);
    say(fd, head, strlen(head));
    say(fd, big, 1000000);
    (void)shutdown(fd, SHUT_WR);
    (void)hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    (void)pthread_mutex_lock(&site->lock);
    while (site->upload_dropped < 0)
        (void)pthread_cond_wait(&site->changed, &site->lock);
    assert_true(site->upload_dropped <= 1000000);
    assert_true(site->upload_dropped >= 700000);
    (void)pthread_mutex_unlock(&site->lock);
    (void)close(file);
    site_end(site);
}

static void
test_huge_heads(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];
    static char request[40000];
    size_t len;
    int fd;

    (void)state;
    len = (size_t)snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    memset(request + len, 'a', 20000);
    fd = dial(site);
    say(fd, request, len + 20000);
    (void)hear_all(fd, answer, sizeof(answer));
    assert_holds(answer, "HTTP/1.1 431");
    (void)close(fd);

    len = (size_t)snprintf(request, sizeof(request), "GET /hello" HEAD);
    for (int i = 0; i < 80; i++)
        len += (size_t)snprintf(request + len, sizeof(request) - len, "h%d: x\r\n", i);
    len += (size_t)snprintf(request + len, sizeof(request) - len, "\r\n");
    fd = dial(site);
    say(fd, request, len);
    (void)hear_all(fd, answer, sizeof(answer));
    assert_holds(answer, "HTTP/1.1 431");
    (void)close(fd);

    len = (size_t)snprintf(request, sizeof(request), "GET /");
    memset(request + len, 'a', 5000);
    len += 5000;
    len += (size_t)snprintf(request + len, sizeof(request) - len, END);
    fd = dial(site);
    say(fd, request, len);
    (void)hear_all(fd, answer, sizeof(answer));
    assert_holds(answer, "HTTP/1.1 414");
    (void)close(fd);
    site_end(site);
}

/* A client that sends a byte now and then must not hold a connection for ever. */
static void
test_slow_loris(void **state)
{
    const struct syn_http_limits limits = {.head_ms = 300, .idle_ms = 300, .pace_ms = 300};
    struct site *site = site_start(false, &limits);
    static char answer[ANSWER_SIZE];
    static const char *const starts[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\nA: ",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"};
    int fd;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(starts); i++) {
        const struct timespec pause = {0, 50000000};
        int sent = 0;

        fd = dial(site);
        say(fd, starts[i], strlen(starts[i]));
        while (sent < 100 && send(fd, "a", 1, MSG_NOSIGNAL) == 1) {
            struct pollfd ready = {fd, POLLIN, 0};

            sent++;
            if (poll(&ready, 1, 0) > 0)
                break;
            (void)nanosleep(&pause, NULL);
        }
        assert_true(sent < 60);
        (void)hear_all(fd, answer, sizeof(answer));
        assert_holds(answer, "HTTP/1.1 408");
        (void)close(fd);
    }
    /* Silence, before and between requests, ends without a word. */
    fd = dial(site);
    assert_int_equal(hear_all(fd, answer, sizeof(answer)), 0);
    (void)close(fd);
    fd = dial(site);
    ask(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)hear_all(fd, answer, sizeof(answer));
    assert_holds(answer, "hello");
    (void)close(fd);
    /* A reader that does not read is cut. */
    fd = dial(site);
    ask(fd, "GET /pull/endless" END);
    site_wait(site, &site->pulls_dropped, 1);
    (void)close(fd);
    site_end(site);
}

static void
test_sse(void **state)
{
    const struct syn_http_limits limits = {.sse_keepalive_ms = 100, .sse_backlog_max = 200000};
    struct site *site = site_start(false, &limits);
    static char answer[ANSWER_SIZE];
    int fd = dial(site);

    (void)state;
    ask(fd, "GET /events?mode=quiet HTTP/1.1\r\nHost: x\r\n\r\n");
    hear_until(fd, answer, sizeof(answer), ": keep-alive\n\n");
    site_wait(site, &site->streams_closed, 0);
    (void)close(fd);
    site_wait(site, &site->streams_closed, 1);

    fd = dial(site);
    ask(fd, "GET /events?mode=flood HTTP/1.1\r\nHost: x\r\n\r\n");
    site_wait(site, &site->streams_closed, 2);
    site_wait(site, &site->send_rc, SYN_E_LIMIT);
    (void)close(fd);
    site_end(site);
}

static void
test_later(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];
    int fd = dial(site);
    int other;

    (void)state;
    ask(fd, "GET /park" END);
    do {
        other = dial(site);
        ask(other, "GET /unpark" END);
        (void)hear_all(other, answer, sizeof(answer));
        (void)close(other);
    } while (strstr(answer, "409") != NULL);
    (void)hear_all(fd, answer, sizeof(answer));
    assert_holds(answer, "\r\n\r\nlate");
    (void)close(fd);

    /* The client is gone before the answer. */
    fd = dial(site);
    ask(fd, "GET /park" END);
    (void)close(fd);
    do {
        other = dial(site);
        ask(other, "GET /unpark" END);
        (void)hear_all(other, answer, sizeof(answer));
        (void)close(other);
    } while (strstr(answer, "409") != NULL);
    site_end(site);
}

static void
test_unix_socket(void **state)
{
    struct site *site = site_start(false, NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static char answer[ANSWER_SIZE];
    char want[64];
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(stat(site->socket_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(syn_str_copy(address.sun_path, sizeof(address.sun_path), site->socket_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ask(fd, "GET /whoami" END);
    (void)hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    (void)snprintf(want, sizeof(want), "unix=1 uid=%d pid=%d", (int)getuid(), (int)getpid());
    assert_holds(answer, want);
    site_end(site);
}

static void
test_listen_refuses(void **state)
{
    struct syn_loop *loop = NULL;
    struct syn_http_server *server = NULL;
    struct syn_http_server *second = NULL;
    struct syn_http_options options = {0};
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    char path[100];
    char address[64];
    uint16_t port = 0;
    struct syn_err err;
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/refuse.sock", syn_test_dir());
    assert_done(syn_loop_new(&loop, &err), &err);
    options.loop = loop;
    assert_done(syn_http_server_new(&options, &server, &err), &err);
    assert_done(syn_http_server_new(&options, &second, &err), &err);
    assert_code(syn_http_listen_tcp(server, "0.0.0.0:0", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_code(syn_http_listen_tcp(server, "127.0.0.1", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_code(syn_http_listen_tcp(server, "127.0.0.1:70000", NULL, NULL, &err), SYN_E_INVALID,
                &err);
    assert_code(syn_http_listen_tcp(server, "localhost:0", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_code(syn_http_listen_tcp(server, "::1:0", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_done(syn_http_listen_tcp(server, "127.0.0.1:0", NULL, &port, &err), &err);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)port);
    assert_code(syn_http_listen_tcp(second, address, NULL, NULL, &err), SYN_E_EXISTS, &err);
    /* A dead socket file is replaced, a live one is not, another file neither. */
    assert_true(syn_str_copy(stale.sun_path, sizeof(stale.sun_path), path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof(stale)), 0);
    (void)close(fd);
    assert_done(syn_http_listen_unix(server, path, 0660, &err), &err);
    assert_code(syn_http_listen_unix(second, path, 0660, &err), SYN_E_EXISTS, &err);
    assert_code(syn_http_listen_unix(second, "/dev/null", 0660, &err), SYN_E_EXISTS, &err);
    assert_code(syn_http_server_add(server, routes, 1, NULL, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_http_server_add(second, routes, 2, NULL, &err), &err);
    assert_code(syn_http_server_add(second, routes, 1, NULL, &err), SYN_E_EXISTS, &err);
    assert_ptr_equal(syn_http_routes(second, 1), &routes[1]);
    assert_null(syn_http_routes(second, 2));
    assert_null(syn_http_server_free(server));
    assert_null(syn_http_server_free(second));
    assert_null(syn_loop_free(loop));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void
stopped(void *arg)
{
    struct site *site = arg;

    site_note(site, &site->send_rc);
}

static void
begin_stop(void *arg)
{
    struct site *site = arg;
    struct syn_err err;

    assert_done(syn_http_server_stop(site->server, 5000, stopped, site, &err), &err);
}

static void
test_graceful_stop(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];
    struct syn_err err;
    int idle = dial(site);
    int busy = dial(site);
    int stream = dial(site);
    const struct timespec pause = {0, 30000000};

    (void)state;
    ask(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    hear_until(idle, answer, sizeof(answer), "hello");
    ask(stream, "GET /events?mode=quiet HTTP/1.1\r\nHost: x\r\n\r\n");
    site_wait(site, &site->streams_open, 1);
    ask(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)nanosleep(&pause, NULL);
    assert_done(syn_loop_post(site->loop, begin_stop, site, NULL, &err), &err);
    assert_int_equal(hear_all(idle, answer, sizeof(answer)), 0);
    (void)hear_all(busy, answer, sizeof(answer));
    assert_holds(answer, "connection: close\r\n");
    assert_holds(answer, "\r\n\r\nhello");
    (void)hear_all(stream, answer, sizeof(answer));
    site_wait(site, &site->send_rc, 1);
    (void)close(idle);
    (void)close(busy);
    (void)close(stream);
    site_end(site);
}

static void
test_thousand_connections(void **state)
{
    const struct syn_http_limits limits = {.conns_max = 1000};
    struct site *site;
    static int fds[1001];
    static char answer[ANSWER_SIZE];
    struct rlimit files;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = SYN_MIN(files.rlim_max, (rlim_t)4096);
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2100) {
        print_message("# needs 2100 file descriptors: ulimit -n\n");
        skip();
    }
    site = site_start(false, &limits);
    for (int i = 0; i < 1000; i++)
        fds[i] = dial(site);
    for (int i = 0; i < 1000; i++)
        say(fds[i], "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 33);
    for (int i = 0; i < 1000; i++)
        hear_until(fds[i], answer, sizeof(answer), "\r\n\r\nhello");
    /* One more is closed at once. */
    fds[1000] = dial(site);
    assert_int_equal(hear_all(fds[1000], answer, sizeof(answer)), 0);
    for (int i = 0; i <= 1000; i++)
        (void)close(fds[i]);
    site_end(site);
}

static SSL *
dial_tls(const struct site *site, int version, int *ret_fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);

    assert_int_equal(SSL_set_max_proto_version(ssl, version), 1);
    *ret_fd = dial(site);
    assert_int_equal(SSL_set_fd(ssl, *ret_fd), 1);
    SSL_CTX_free(ctx);
    return ssl;
}

static void
test_tls(void **state)
{
    static const struct {
        const char *target;
        size_t len;
    } rows[] = {{"/hello", 5},
                {"/big", BIG_BYTES},
                {"/file", FILE_BYTES},
                {"/pool-pull/known", FILE_BYTES}};
    struct site *site = site_start(true, NULL);
    static char answer[BIG_BYTES + ANSWER_SIZE];
    int fd;
    SSL *ssl = dial_tls(site, TLS1_2_VERSION, &fd);

    (void)state;
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    (void)close(fd);
    ssl = dial_tls(site, TLS1_3_VERSION, &fd);
    assert_int_equal(SSL_connect(ssl), 1);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char request[256];
        char *body = NULL;
        size_t len = 0;

        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n",
                       rows[i].target);
        assert_int_equal(SSL_write(ssl, request, (int)strlen(request)), (int)strlen(request));
        while (body == NULL || len - (size_t)(body - answer) < rows[i].len) {
            int n = SSL_read(ssl, answer + len, (int)(sizeof(answer) - 1 - len));

            assert_true(n > 0);
            len += (size_t)n;
            answer[len] = '\0';
            if (body == NULL && (body = strstr(answer, "\r\n\r\n")) != NULL)
                body += 4;
        }
        assert_memory_equal(body, rows[i].len == 5 ? "hello" : big, rows[i].len);
    }
    SSL_free(ssl);
    (void)close(fd);
    /* Plain bytes at a TLS port: no answer, no harm. */
    fd = dial(site);
    ask(fd, "GET /hello" END);
    (void)hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_end(site);
}

static void
write_metrics(void *arg)
{
    struct site *site = arg;
    SYN_BUF(out);
    struct syn_err err;

    assert_done(syn_metrics_write(site->metrics, &out, &err), &err);
    assert_non_null(
        strstr(syn_buf_text(&out),
               "synor_http_requests_total{method=\"GET\",route=\"/hello\",class=\"2xx\"} 3\n"));
    assert_non_null(
        strstr(syn_buf_text(&out),
               "synor_http_request_seconds_count{method=\"GET\",route=\"/hello\"} 3\n"));
    site_note(site, &site->send_rc);
}

static void
test_metrics(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[ANSWER_SIZE];
    struct syn_err err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        int fd = dial(site);

        ask(fd, "GET /hello" END);
        (void)hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
    }
    assert_done(syn_loop_post(site->loop, write_metrics, site, NULL, &err), &err);
    site_wait(site, &site->send_rc, 1);
    site_end(site);
}

/* Ending the server while clients are in every state: nothing leaks, nothing hangs. */
static void
test_abrupt_end(void **state)
{
    static const char *const requests[] = {
        "",
        "GET /he",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
        "GET /slow" END,
        "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /events?mode=quiet HTTP/1.1\r\nHost: x\r\n\r\n",
        "PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\nab"};
    struct site *site = site_start(false, NULL);
    int fds[SYN_LEN(requests)];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(requests); i++) {
        fds[i] = dial(site);
        say(fds[i], requests[i], strlen(requests[i]));
    }
    site_wait(site, &site->streams_open, 1);
    site_end(site);
    for (size_t i = 0; i < SYN_LEN(requests); i++)
        (void)close(fds[i]);
}

static int
sweep_server(void *arg, struct syn_err *err)
{
    struct syn_loop *loop = NULL;
    struct syn_metrics *metrics = NULL;
    struct syn_http_server *server = NULL;
    struct syn_http_options options = {0};
    int rc;

    rc = syn_loop_new(&loop, err);
    if (rc == SYN_OK)
        rc = syn_metrics_new(&metrics, err);
    options.loop = loop;
    options.metrics = metrics;
    if (rc == SYN_OK)
        rc = syn_http_server_new(&options, &server, err);
    if (rc == SYN_OK)
        rc = syn_http_server_add(server, routes, 4, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_tcp(server, "127.0.0.1:0", NULL, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_unix(server, arg, 0600, err);
    (void)syn_http_server_free(server);
    (void)syn_metrics_free(metrics);
    (void)syn_loop_free(loop);
    return rc;
}

static void
test_sweep(void **state)
{
    char path[108];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/sweep.sock", syn_test_dir());
    assert_true(syn_test_sweep_alloc(sweep_server, path) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_exchanges_by_byte),
        cmocka_unit_test(test_keep_alive_and_pipeline),
        cmocka_unit_test(test_large_answers),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_huge_heads),
        cmocka_unit_test(test_slow_loris),
        cmocka_unit_test(test_sse),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_listen_refuses),
        cmocka_unit_test(test_graceful_stop),
        cmocka_unit_test(test_thousand_connections),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_abrupt_end),
        cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests_name("http_server", tests, NULL, NULL);
}
