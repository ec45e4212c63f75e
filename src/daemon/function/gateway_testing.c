#include "gateway_testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>

#define WRITE "(import \"synor\" \"response_write\" (func $write (param i32 i32)))"
#define LOG   "(import \"synor\" \"log\" (func $log (param i32 i32 i32)))"

/* What /v1/content/{cid}/data has. */
static const struct {
    const char *cid, *text;
} contents[] = {
    {"hello",
     "(module " WRITE LOG "(memory (export \"memory\") 1) (data (i32.const 0) \"hello, world\\n\")"
     "(func (export \"synor_handle\") (result i32) (call $log (i32.const 1) (i32.const 0) "
     "(i32.const 5)) (call $write (i32.const 0) (i32.const 13)) (i32.const 0)))"},
    {"spin", "(module (memory (export \"memory\") 1) (func (export \"synor_handle\") (result i32) "
             "(loop $l (br $l)) (i32.const 0)))"},
    {"bomb", "(module (memory (export \"memory\") 1) (func (export \"synor_handle\") (result i32) "
             "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))"
             "(br $l)) (i32.const 0)))"},
    {"flood", "(module " WRITE "(memory (export \"memory\") 1)"
              "(func (export \"synor_handle\") (result i32) (loop $l (call $write (i32.const 0) "
              "(i32.const 65536)) (br $l)) (i32.const 0)))"},
    {"broken", "(module (func (export \"synor_handle\")"},
};

static size_t
number_at(const char *text)
{
    size_t number = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (size_t)(*text - '0');
    return number;
}

/* --- the server ------------------------------------------------------------------------------- */

static int
get_content(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *cid = syn_http_req_param(req, "cid");

    (void)ctx;
    for (size_t i = 0; i < SYN_LEN(contents); i++) {
        if (strcmp(contents[i].cid, cid) == 0) {
            syn_http_reply_static(req, 200, "application/wasm", contents[i].text,
                                  strlen(contents[i].text));
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_NOTFOUND, "no content %s", cid);
}

static int
get_secrets(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    json_t *doc = NULL;
    int rc = syn_json_pack(&doc, err, "{s:{s:s}}", "environment", "KEY", "secret");

    (void)ctx;
    return rc < 0 ? rc : syn_http_reply_json_take(req, 200, doc, err);
}

static void
stream_closed(void *arg)
{
    struct syn_http_stream **slot = arg;

    *slot = NULL;
}

static void
send_doc(struct syn_http_stream *stream, const char *event, const json_t *doc)
{
    SYN_BUF(text);
    struct syn_err err;

    assert_done(syn_json_write(doc, &text, &err), &err);
    (void)!syn_http_sse_send(stream, NULL, event, text.data, text.len, &err);
}

static int
get_table(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct gwt *world = ctx;
    struct syn_http_stream **slot = world->streams;
    const char *key;
    json_t *doc;
    int rc;

    while (slot < world->streams + SYN_LEN(world->streams) && *slot != NULL)
        slot++;
    if (slot == world->streams + SYN_LEN(world->streams))
        return SYN_FAIL(err, SYN_E_LIMIT, "too many streams");
    rc = syn_http_sse_open(req, stream_closed, slot, slot, err);
    if (rc < 0)
        return rc;
    (void)!syn_http_sse_send(*slot, NULL, "snapshot", "{}", 2, err);
    (void)pthread_mutex_lock(&world->lock);
    json_object_foreach (world->documents, key, doc)
        send_doc(*slot, "put", doc);
    (void)pthread_mutex_unlock(&world->lock);
    (void)!syn_http_sse_send(*slot, NULL, "synced", "{}", 2, err);
    return SYN_OK;
}

static void
add_all(json_t *to, const json_t *report, const char *key)
{
    size_t index;
    json_t *item;

    json_array_foreach (json_object_get(report, key), index, item)
        assert_int_equal(json_array_append(to, item), 0);
}

static void
take_report(struct gwt *world, const json_t *report)
{
    size_t index;
    json_t *row;

    json_array_foreach (json_object_get(report, "usage"), index, row) {
        int64_t bytes = 0;

        assert_int_equal(
            syn_parse_i64(syn_json_str(row, "byte_ms", ""), 0, INT64_MAX, "byte_ms", &bytes, NULL),
            0);
        world->count += syn_json_i64(row, "count", 0);
        world->errors += syn_json_i64(row, "errors", 0);
        world->throttled += syn_json_i64(row, "throttled", 0);
        world->byte_ms += bytes;
    }
    add_all(world->invocations, report, "invocations");
    add_all(world->logs, report, "logs");
    add_all(world->versions, report, "versions");
    add_all(world->loads, report, "loads");
    add_all(world->starts, report, "starts");
    add_all(world->left, report, "left");
    world->reports++;
}

static int
post_report(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct gwt *world = ctx;
    SYN_JSON(report);
    size_t len = 0;
    const char *body = syn_http_req_body(req, &len);
    int64_t seq;
    int rc = syn_json_parse_object(body, len, &report, err);

    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&world->lock);
    seq = syn_json_i64(report, "seq", 0);
    if (seq <= world->last_seq)
        world->repeats++;
    else
        take_report(world, report);
    world->last_seq = SYN_MAX(seq, world->last_seq);
    if (world->refuse_reports > 0) { /* counted, and the answer is lost */
        world->refuse_reports--;
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "not now");
    }
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->lock);
    return rc;
}

static const struct syn_http_route server_rows[] = {
    {.method = "GET",
     .pattern = "/v1/function-gateway",
     .flags = SYN_HTTP_PUBLIC,
     .handler = get_table,
     .name = "table"},
    {.method = "GET",
     .pattern = "/v1/function-gateway/functions/{id}/versions/{version}/secrets",
     .flags = SYN_HTTP_PUBLIC,
     .handler = get_secrets,
     .name = "secrets"},
    {.method = "POST",
     .pattern = "/v1/function-gateway/report",
     .flags = SYN_HTTP_PUBLIC,
     .body_max = 4 << 20,
     .handler = post_report,
     .name = "report"},
    {.method = "GET",
     .pattern = "/v1/content/{cid}/data",
     .flags = SYN_HTTP_PUBLIC | SYN_HTTP_ANY_QUERY,
     .handler = get_content,
     .name = "content"},
};

static void *
server_main(void *arg)
{
    struct gwt *world = arg;
    struct syn_http_options options = {.limits = {.sse_keepalive_ms = 1000}};
    struct syn_err err;

    assert_done(syn_loop_new(&world->server_loop, &err), &err);
    options.loop = world->server_loop;
    assert_done(syn_http_server_new(&options, &world->server, &err), &err);
    assert_done(syn_http_server_add(world->server, server_rows, SYN_LEN(server_rows), world, &err),
                &err);
    assert_done(syn_http_listen_unix(world->server, world->server_path, 0600, &err), &err);
    (void)pthread_mutex_lock(&world->lock);
    world->server_ready = true;
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->lock);
    assert_done(syn_loop_run(world->server_loop, &err), &err);
    assert_null(syn_http_server_free(world->server));
    return NULL;
}

struct change {
    struct gwt *world;
    char id[SYN_ID_MAX];
    json_t *doc; /* NULL: it is gone */
    bool cut;
};

static void
apply(void *arg)
{
    struct change *change = arg;
    SYN_JSON(gone);

    gone = json_pack("{s:s}", "id", change->id);
    for (size_t i = 0; i < SYN_LEN(change->world->streams); i++) {
        struct syn_http_stream *stream = change->world->streams[i];

        if (stream != NULL && change->cut)
            syn_http_sse_close(stream);
        else if (stream != NULL)
            send_doc(stream, change->doc != NULL ? "put" : "delete",
                     change->doc != NULL ? change->doc : gone);
    }
    json_decref(change->doc);
    syn_free(change);
}

static void
post(struct gwt *world, const char *id, json_t *doc, bool cut)
{
    struct change *change = syn_calloc(1, sizeof(*change));
    struct syn_err err;

    assert_non_null(change);
    *change = (struct change){.world = world, .doc = doc, .cut = cut};
    (void)syn_str_copy(change->id, sizeof(change->id), id);
    assert_done(syn_loop_post(world->server_loop, apply, change, NULL, &err), &err);
}

void
gwt_put(struct gwt *world, const char *format, ...)
{
    SYN_BUF(text);
    va_list args;
    json_t *doc = NULL;
    struct syn_err err;

    va_start(args, format);
    syn_buf_addv(&text, format, args);
    va_end(args);
    assert_done(syn_json_parse(text.data, text.len, &doc, &err), &err);
    (void)pthread_mutex_lock(&world->lock);
    assert_int_equal(
        json_object_set_new(world->documents, syn_json_str(doc, "id", ""), json_deep_copy(doc)), 0);
    (void)pthread_mutex_unlock(&world->lock);
    post(world, "", doc, false);
}

void
gwt_delete(struct gwt *world, const char *id)
{
    (void)pthread_mutex_lock(&world->lock);
    (void)json_object_del(world->documents, id);
    (void)pthread_mutex_unlock(&world->lock);
    post(world, id, NULL, false);
}

void
gwt_cut_streams(struct gwt *world)
{
    post(world, "", NULL, true);
}

/* --- instances -------------------------------------------------------------------------------- */

struct visit {
    struct gwt_instance *instance;
    int fd;
};

static bool
say(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

static bool
says(int fd, const char *text)
{
    return say(fd, text, strlen(text));
}

/* Until it is let go on. */
static void
hold(struct gwt_instance *instance)
{
    struct gwt *world = instance->world;
    int seen;

    (void)pthread_mutex_lock(&world->lock);
    seen = world->go;
    while (world->go == seen && !atomic_load(&instance->stop))
        (void)pthread_cond_wait(&world->changed, &world->lock);
    (void)pthread_mutex_unlock(&world->lock);
}

static bool
large(int fd)
{
    static char block[1 << 16];
    bool ok = says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n");

    for (int i = 0; ok && i < 32; i++)
        ok = say(fd, block, sizeof(block));
    return ok;
}

static bool
echo(int fd, const char *head, const char *body, size_t len)
{
    SYN_BUF(out);
    size_t size = strlen(head);

    syn_buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nX-Own: 1\r\n\r\n", size + len);
    syn_buf_add(&out, head, size);
    syn_buf_add(&out, body, len);
    return say(fd, out.data, out.len);
}

/* False: the connection ends. */
static bool
answer(struct gwt_instance *instance, int fd, const char *head, const char *body, size_t len)
{
    const char *path = strchr(head, ' ') + 1;
    size_t size = strcspn(path, " ?");

#define IS(text) (size == strlen(text) && memcmp(path, text, size) == 0)
    if (IS("/slow"))
        hold(instance);
    if (IS("/hello") || IS("/slow"))
        return says(fd,
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Synor-Cold: create=7\r\n\r\nhello");
    if (IS("/echo"))
        return echo(fd, head, body, len);
    if (IS("/chunked"))
        return says(fd, "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
                        "chunked\r\nKeep-Alive: 5\r\n\r\n5\r\nhello\r\n") &&
               says(fd, "3\r\n, w\r\n0\r\n\r\n");
    if (IS("/stream")) {
        bool ok = says(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");

        hold(instance);
        return ok && says(fd, "6\r\nsecond\r\n0\r\n\r\n");
    }
    if (IS("/close-delimited")) {
        (void)says(fd, "HTTP/1.1 200 OK\r\n\r\nto its end");
        return false;
    }
    if (IS("/empty"))
        return says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    if (IS("/raise"))
        return says(fd,
                    "HTTP/1.1 500 Oh\r\nX-Synor-Error: ValueError\r\nContent-Length: 2\r\n\r\n{}");
    if (IS("/large"))
        return large(fd);
    if (IS("/half"))
        (void)says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    if (IS("/odd"))
        (void)says(fd, "what?\r\n\r\n");
    if (IS("/break-once") && atomic_fetch_add(&instance->broken, 1) > 0)
        return says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
#undef IS
    return false;
}

/* The next request whole, in `text`; its size, 0: the connection has ended. */
static size_t
hear(int fd, char *text, size_t cap, size_t *ret_head)
{
    size_t len = 0;

    for (;;) {
        const char *end;
        const char *length;
        size_t body = 0;
        ssize_t n;

        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
        length = end != NULL ? strstr(text, "content-length: ") : NULL;
        if (length != NULL && length < end)
            body = number_at(length + 16);
        if (end != NULL && len >= (size_t)(end - text) + 4 + body) {
            *ret_head = (size_t)(end - text) + 2;
            return len;
        }
        n = recv(fd, text + len, cap - 1 - len, 0);
        if (n <= 0)
            return 0;
        len += (size_t)n;
    }
}

static void *
visit_main(void *arg)
{
    struct visit visit = *(struct visit *)arg;
    static const size_t cap = 200000;
    char *text = syn_alloc(cap);
    size_t len;
    size_t head = 0;
    bool more = true;

    syn_free(arg);
    while (more && text != NULL && (len = hear(visit.fd, text, cap, &head)) > 0) {
        text[head] = '\0';
        atomic_fetch_add(&visit.instance->requests, 1);
        more = answer(visit.instance, visit.fd, text, text + head + 2, len - head - 2);
    }
    syn_free(text);
    (void)close(visit.fd);
    atomic_fetch_sub(&visit.instance->open, 1);
    return NULL;
}

static void *
instance_main(void *arg)
{
    struct gwt_instance *instance = arg;
    pthread_attr_t attributes;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, 256 << 10);
    while (!atomic_load(&instance->stop)) {
        struct visit *visit;
        pthread_t thread;
        const int on = 1;
        int fd = accept(instance->listen_fd, NULL, NULL);

        if (fd < 0)
            break;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        visit = syn_alloc(sizeof(*visit));
        assert_non_null(visit);
        *visit = (struct visit){instance, fd};
        atomic_fetch_add(&instance->open, 1);
        assert_int_equal(pthread_create(&thread, &attributes, visit_main, visit), 0);
    }
    (void)pthread_attr_destroy(&attributes);
    return NULL;
}

struct gwt_instance *
gwt_instance(struct gwt *world, unsigned at)
{
    struct gwt_instance *instance = &world->instances[at];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(instance->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    const int on = 1;

    instance->world = world;
    atomic_store(&instance->stop, false);
    instance->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(instance->listen_fd >= 0);
    (void)setsockopt(instance->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(instance->listen_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(instance->listen_fd, 1024), 0);
    assert_int_equal(getsockname(instance->listen_fd, (struct sockaddr *)&address, &len), 0);
    instance->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&instance->thread, NULL, instance_main, instance), 0);
    return instance;
}

void
gwt_kill(struct gwt_instance *instance)
{
    atomic_store(&instance->stop, true);
    (void)shutdown(instance->listen_fd, SHUT_RDWR);
    (void)pthread_join(instance->thread, NULL);
    (void)close(instance->listen_fd);
    gwt_let_go(instance->world);
}

void
gwt_let_go(struct gwt *world)
{
    (void)pthread_mutex_lock(&world->lock);
    world->go++;
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->lock);
}

/* --- the gateway ------------------------------------------------------------------------------ */

static void
is_ready(void *arg)
{
    struct gwt *world = arg;

    (void)pthread_mutex_lock(&world->lock);
    world->ready = true;
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->lock);
}

static void *
gateway_main(void *arg)
{
    struct gwt *world = arg;
    char dir[300];
    const struct syn_function_gateway_options options = {
        .data_dir = dir, .server = world->server_path, .guest_threads = 2};
    struct syn_err err;
    const struct fgw_socket tls = {.fd = -1};
    struct fgw_socket plain = {.fd = -1, .address = "127.0.0.1:0"};

    (void)snprintf(dir, sizeof(dir), "%s/function", world->dir);
    assert_done(syn_loop_new(&world->loop, &err), &err);
    assert_done(syn_http_bind("127.0.0.1:0", &plain.fd, &world->port, &err), &err);
    assert_done(fgw_new(world->loop, &options, &plain, &tls, &world->gateway, &err), &err);
    world->gateway->on_synced = is_ready;
    world->gateway->on_synced_arg = world;
    assert_done(fgw_start(world->gateway, &err), &err);
    assert_done(syn_loop_run(world->loop, &err), &err);
    assert_null(fgw_free(world->gateway));
    (void)syn_loop_free(world->loop);
    return NULL;
}

struct gwt *
gwt_start(void)
{
    struct gwt *world = syn_calloc(1, sizeof(*world));
    static unsigned number;

    assert_non_null(world);
    (void)pthread_mutex_init(&world->lock, NULL);
    (void)pthread_cond_init(&world->changed, NULL);
    (void)snprintf(world->dir, sizeof(world->dir), "%s", syn_test_dir());
    (void)snprintf(world->server_path, sizeof(world->server_path), "%s/s%u", world->dir, number++);
    world->documents = json_object();
    world->invocations = json_array();
    world->logs = json_array();
    world->versions = json_array();
    world->loads = json_array();
    world->left = json_array();
    world->starts = json_array();
    assert_int_equal(pthread_create(&world->server_thread, NULL, server_main, world), 0);
    (void)pthread_mutex_lock(&world->lock);
    while (!world->server_ready)
        (void)pthread_cond_wait(&world->changed, &world->lock);
    (void)pthread_mutex_unlock(&world->lock);
    assert_int_equal(pthread_create(&world->gateway_thread, NULL, gateway_main, world), 0);
    (void)pthread_mutex_lock(&world->lock);
    while (!world->ready)
        (void)pthread_cond_wait(&world->changed, &world->lock);
    (void)pthread_mutex_unlock(&world->lock);
    return world;
}

static void
stop_loop(void *arg)
{
    syn_loop_stop(arg);
}

static void
stop_gateway(void *arg)
{
    struct gwt *world = arg;

    fgw_stop(world->gateway, 5000, stop_loop, world->loop);
}

void
gwt_stop(struct gwt *world)
{
    struct syn_err err;

    if (world->stopped)
        return;
    world->stopped = true;
    assert_done(syn_loop_post(world->loop, stop_gateway, world, NULL, &err), &err);
    assert_int_equal(pthread_join(world->gateway_thread, NULL), 0);
}

void
gwt_end(struct gwt *world)
{
    struct syn_err err;

    gwt_stop(world);
    for (unsigned i = 0; i < GWT_INSTANCES; i++) {
        if (world->instances[i].world != NULL && !atomic_load(&world->instances[i].stop))
            gwt_kill(&world->instances[i]);
        while (atomic_load(&world->instances[i].open) > 0)
            (void)usleep(1000);
    }
    assert_done(syn_loop_post(world->server_loop, stop_loop, world->server_loop, NULL, &err), &err);
    assert_int_equal(pthread_join(world->server_thread, NULL), 0);
    (void)syn_loop_free(world->server_loop);
    json_decref(world->documents);
    json_decref(world->invocations);
    json_decref(world->logs);
    json_decref(world->versions);
    json_decref(world->loads);
    json_decref(world->left);
    json_decref(world->starts);
    (void)pthread_mutex_destroy(&world->lock);
    (void)pthread_cond_destroy(&world->changed);
    syn_free(world);
}

/* --- clients ---------------------------------------------------------------------------------- */

int
gwt_dial(const struct gwt *world)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(world->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = GWT_WAIT_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

int
gwt_ask(const struct gwt *world, const char *request, char *answer_, size_t cap)
{
    int fd = gwt_dial(world);
    size_t len = 0;
    ssize_t n;

    assert_true(says(fd, request));
    while (len + 1 < cap && (n = recv(fd, answer_ + len, cap - 1 - len, 0)) > 0)
        len += (size_t)n;
    answer_[len] = '\0';
    (void)close(fd);
    return len > 12 ? (int)number_at(answer_ + 9) : 0;
}

int
gwt_get(const struct gwt *world, const char *path, char *answer_, size_t cap)
{
    char request[512];

    (void)snprintf(request, sizeof(request), "GET %s" GWT_END, path);
    return gwt_ask(world, request, answer_, cap);
}

void
gwt_await_status(const struct gwt *world, const char *path, int status)
{
    static char answer_[GWT_ANSWER_SIZE];
    const int64_t until = syn_clock_ns() + GWT_WAIT_MS * INT64_C(1000000);
    int got;

    while ((got = gwt_get(world, path, answer_, sizeof(answer_))) != status) {
        if (syn_clock_ns() > until)
            fail_msg("%s: %d and not %d: %s", path, got, status, answer_);
        (void)usleep(2000);
    }
}

static struct timespec
limit(void)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GWT_WAIT_MS / 1000;
    return until;
}

void
gwt_await(struct gwt *world, const int64_t *counter, int64_t want)
{
    const struct timespec until = limit();
    int rc = 0;

    (void)pthread_mutex_lock(&world->lock);
    while (*counter < want && rc == 0)
        rc = pthread_cond_timedwait(&world->changed, &world->lock, &until);
    if (*counter < want)
        fail_msg("%lld and not %lld", (long long)*counter, (long long)want);
    (void)pthread_mutex_unlock(&world->lock);
}

/* Under the lock. */
static int
told(const struct gwt *world, const char *function, const char *key, const char *value)
{
    size_t index;
    json_t *item;
    int count = 0;

    json_array_foreach (world->invocations, index, item)
        count += syn_str_eq(syn_json_str(item, "function", ""), function) &&
                 syn_str_eq(syn_json_str(item, key, ""), value);
    return count;
}

int
gwt_told(struct gwt *world, const char *function, const char *key, const char *value)
{
    int count;

    (void)pthread_mutex_lock(&world->lock);
    count = told(world, function, key, value);
    (void)pthread_mutex_unlock(&world->lock);
    return count;
}

void
gwt_await_told(struct gwt *world, const char *function, const char *key, const char *value)
{
    const struct timespec until = limit();
    int rc = 0;

    (void)pthread_mutex_lock(&world->lock);
    while (told(world, function, key, value) == 0 && rc == 0)
        rc = pthread_cond_timedwait(&world->changed, &world->lock, &until);
    if (told(world, function, key, value) == 0)
        fail_msg("no invocation of %s with %s=%s", function, key, value);
    (void)pthread_mutex_unlock(&world->lock);
}

void
gwt_assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in: %s", part, text);
}
