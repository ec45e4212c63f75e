/* The server over real sockets: it runs on a thread with its own loop, the tests speak raw bytes.
 */
#include "http_testing.h"

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

char site_big[SITE_BIG_BYTES];

/* --- the server under test ----------------------------------------------------------------------
 */

void
site_note(struct site *site, int *counter)
{
    (void)pthread_mutex_lock(&site->lock);
    (*counter)++;
    (void)pthread_cond_broadcast(&site->changed);
    (void)pthread_mutex_unlock(&site->lock);
}

void
site_wait(struct site *site, const int *counter, int want)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SITE_WAIT_MS / 1000;
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
    syn_http_reply_static(req, 200, "application/octet-stream", site_big, sizeof(site_big));
    return 0;
}

static int
give_file(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct site *site = ctx;
    int fd = open(site->file_path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening the file");
    syn_http_reply_fd_take(req, 200, "application/octet-stream", fd, 0, SITE_FILE_BYTES);
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
    memcpy(buf, site_big + puller->at % SITE_FILE_BYTES, len);
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
    puller->end = strcmp(how, "endless") == 0 ? SIZE_MAX : SITE_FILE_BYTES;
    puller->site = ctx;
    puller->fails = strcmp(how, "broken") == 0;
    syn_http_reply_pull(req, 200, "application/octet-stream",
                        strcmp(how, "known") == 0 ? SITE_FILE_BYTES : -1, pull, puller, pull_drop);
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
    struct site *site = ctx;

    site_note(site, &site->slow_begun);
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

    if (offset > SITE_FILE_BYTES)
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
        rc = syn_http_sse_send(stream, NULL, "flood", site_big, 10000, NULL);
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

static void
tunnel_closed(void *arg)
{
    struct site *site = arg;

    site_note(site, &site->tunnels_closed);
}

/* The first waits for the second, as a person does for a node. */
static int
tunnel(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct site *site = ctx;
    struct syn_http_req *parked = SYN_TAKE(site->parked);
    struct syn_http_tunnel *here = NULL, *there = NULL;
    int rc;

    if (parked == NULL)
        return park(req, ctx, err);
    rc = syn_http_tunnel_open(req, "bytes", tunnel_closed, site, &here, err);
    if (rc == SYN_OK)
        rc = syn_http_tunnel_open(parked, "bytes", tunnel_closed, site, &there, err);
    if (rc == SYN_OK)
        syn_http_tunnel_join(there, here);
    syn_http_finish(parked, rc, err);
    return rc;
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

const struct syn_http_route site_routes[] = {
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
     .pattern = "/tunnel",
     .flags = SYN_HTTP_PUBLIC,
     .handler = tunnel,
     .name = "tunnel"},
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
     .body_max = SITE_BIG_BYTES,
     .handler = upload_end,
     .begin = upload_begin,
     .query = &upload_schema,
     .name = "upload"},
};

const size_t site_route_count = SYN_LEN(site_routes);

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
    const struct syn_http_tls tls = {.cert_path = site->cert_path};
    struct syn_err err;

    assert_done(syn_loop_new(&site->loop, &err), &err);
    assert_done(syn_pool_new(2, 64, &site->pool, &err), &err);
    assert_done(syn_metrics_new(&site->metrics, &err), &err);
    options.loop = site->loop;
    options.pool = site->pool;
    options.metrics = site->metrics;
    assert_done(syn_http_server_new(&options, &site->server, &err), &err);
    assert_done(syn_http_server_add(site->server, site_routes, site_route_count, site, &err), &err);
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

struct site *
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
    for (size_t i = 0; i < sizeof(site_big); i++)
        site_big[i] = (char)('a' + (i * 2654435761U >> 20) % 26);
    fd = open(site->file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, site_big, SITE_FILE_BYTES), SITE_FILE_BYTES);
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

void
site_end(struct site *site)
{
    struct syn_err err;

    assert_done(syn_loop_post(site->loop, stop_loop, site, NULL, &err), &err);
    assert_int_equal(pthread_join(site->thread, NULL), 0);
    free(site);
}

/* --- a client of bytes --------------------------------------------------------------------------
 */

int
site_dial(const struct site *site)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(site->port)};
    const struct timeval limit = {SITE_WAIT_MS / 1000, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void
site_say(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        assert_true(n > 0);
        data += n;
        len -= (size_t)n;
    }
}

void
site_ask(int fd, const char *request)
{
    site_say(fd, request, strlen(request));
}

/* Everything until the server closes; returns the bytes, -1 in *ret_len's place on a reset is fine.
 */
size_t
site_hear_all(int fd, char *buf, size_t cap)
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

void
site_hear_until(int fd, char *buf, size_t cap, const char *mark)
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

void
site_assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in:\n%.600s", part, text);
}
