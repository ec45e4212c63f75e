#include "http_house_testing.h"

#include <unistd.h>

#include <synor/infra/tls_cert.h>

#define PIECE_BYTES 50000

static void
count(struct house *house, int *counter)
{
    (void)pthread_mutex_lock(&house->lock);
    (*counter)++;
    (void)pthread_cond_broadcast(&house->changed);
    (void)pthread_mutex_unlock(&house->lock);
}

void
house_wait(struct house *house, const int *counter, int want)
{
    (void)pthread_mutex_lock(&house->lock);
    while (*counter < want)
        (void)pthread_cond_wait(&house->changed, &house->lock);
    (void)pthread_mutex_unlock(&house->lock);
}

static void
was_gone(void *arg)
{
    struct house *house = arg;

    count(house, &house->gone);
    syn_http_push_cut(SYN_TAKE(house->parked));
}

static int
look(struct syn_http_req *req, void *ctx, int64_t *ret_body_max, struct syn_err *err)
{
    size_t path = 0;
    const char *target = syn_http_req_target(req, &path);

    (void)ctx;
    if (path == 6 && memcmp(target, "/small", path) == 0)
        *ret_body_max = 4;
    if (path == 8 && memcmp(target, "/refused", path) == 0) {
        syn_http_error_status(req, 502);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "refused by its head");
    }
    return SYN_OK;
}

/* Push what the client takes; the rest when it has. */
static void
push_on(void *arg)
{
    struct house *house = arg;
    struct syn_err err;
    int rc = 0;

    while (rc == 0 && house->pushed < house->limit) {
        size_t len = SYN_MIN((size_t)PIECE_BYTES, house->limit - house->pushed);

        rc = syn_http_push_add(house->parked, site_big + house->pushed % 1000000, len, &err);
        house->pushed += len;
        if (rc == 0)
            rc = syn_http_push_flush(house->parked, &err);
    }
    if (rc == SYN_HTTP_FULL) {
        count(house, &house->full);
        return;
    }
    if (rc < 0)
        syn_http_push_cut(SYN_TAKE(house->parked));
    else
        syn_http_push_end(SYN_TAKE(house->parked));
    count(house, &house->ended);
}

static void
push_first(void *arg)
{
    struct house *house = arg;
    struct syn_err err;

    if (syn_http_push_open(house->parked, push_on, house, &err) < 0)
        syn_http_push_cut(SYN_TAKE(house->parked));
    else
        push_on(house);
}

static int
echo(struct syn_http_req *req, struct syn_err *err)
{
    SYN_BUF(text);
    const char *name;
    const char *value;
    size_t path = 0;
    size_t len = 0;
    const char *body = syn_http_req_body(req, &len);
    int rc;

    syn_buf_addf(&text, "%s %s ", syn_http_req_verb(req), syn_http_req_target(req, &path));
    syn_buf_addf(&text, "%zu ", path);
    for (unsigned i = 0; syn_http_req_header_at(req, i, &name, &value); i++)
        syn_buf_addf(&text, "[%s=%s]", name, value);
    syn_buf_add(&text, body, len);
    syn_http_pass(req, 299, (int64_t)text.len);
    rc = syn_http_reply_header(req, "x-own", "1", err);
    if (rc == 0)
        rc = syn_http_reply_header(req, "date", "yesterday", err);
    return rc < 0 ? rc : syn_http_pass_body(req, text.data, text.len, err);
}

static int
serve(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct house *house = ctx;
    size_t path = 0;
    const char *target = syn_http_req_target(req, &path);

    if (strncmp(target, "/push", 5) != 0 && strncmp(target, "/park", 5) != 0)
        return echo(req, err);
    assert(house->parked == NULL);
    house->parked = req;
    house->pushed = 0;
    syn_http_on_gone(req, was_gone, house);
    if (strncmp(target, "/park", 5) == 0)
        return SYN_HTTP_LATER;
    house->limit = strstr(target, "little") != NULL ? 1000 : HOUSE_PUSH_BYTES;
    syn_http_pass(req, 200, strstr(target, "known") != NULL ? (int64_t)house->limit : -1);
    return syn_loop_post(house->loop, push_first, house, NULL, err) < 0 ? SYN_E_LIMIT
                                                                        : SYN_HTTP_LATER;
}

static const struct syn_http_route row = {
    .method = "ANY", .pattern = "*", .body_max = 1 << 20, .handler = serve, .name = "all"};

static void
tell(struct syn_http_req *req, const struct syn_http_done *done, void *ctx)
{
    struct house *house = ctx;

    (void)req;
    (void)pthread_mutex_lock(&house->lock);
    house->last = *done;
    (void)pthread_mutex_unlock(&house->lock);
    count(house, &house->told);
}

static void
house_serve(struct house *house, struct syn_err *err)
{
    struct syn_http_options options = {
        .loop = house->loop,
        .http2 = (house->how & HOUSE_HTTP2) != 0,
        .handshakes = house->handshakes,
        .limits = {.conns_max = 150, .pace_ms = 400, .bodies_max = 300000}};
    const struct syn_http_tls tls = {.cert_path = house->cert_path};
    int fd = -1;

    assert_done(syn_http_server_new(&options, &house->server, err), err);
    assert_done(syn_http_server_catch(house->server, &row, look, house, err), err);
    if ((house->how & HOUSE_HTTP2) != 0)
        syn_http_server_tell(house->server, tell, house);
    assert_done(syn_http_bind("127.0.0.1:0", &fd, &house->port, err), err);
    assert_done(
        syn_http_listen_fd_take(house->server, fd, house->handshakes != NULL ? &tls : NULL, err),
        err);
    assert_int_equal(syn_http_server_catch(house->server, &row, look, house, NULL), SYN_E_CONFLICT);
}

static void *
house_main(void *arg)
{
    struct house *house = arg;
    struct syn_err err;

    assert_done(syn_loop_new(&house->loop, &err), &err);
    house_serve(house, &err);
    (void)pthread_mutex_lock(&house->lock);
    house->ready = true;
    (void)pthread_cond_broadcast(&house->changed);
    (void)pthread_mutex_unlock(&house->lock);
    assert_done(syn_loop_run(house->loop, &err), &err);
    assert_null(syn_http_server_free(house->server));
    return NULL;
}

static void
prepare_tls(struct house *house)
{
    static const char *const names[] = {"localhost", "127.0.0.1"};
    static int houses;
    struct syn_err err;

    (void)snprintf(house->cert_path, sizeof(house->cert_path), "%s/house%d.pem", syn_test_dir(),
                   houses++);
    assert_done(syn_tls_cert_create(house->cert_path, names, 2, 10, &err), &err);
    assert_done(syn_pool_new(2, 16, &house->handshakes, &err), &err);
}

struct house *
house_start(unsigned how)
{
    struct house *house = syn_calloc(1, sizeof(*house));

    assert_non_null(house);
    house->how = how;
    if ((how & HOUSE_TLS) != 0)
        prepare_tls(house);
    (void)pthread_mutex_init(&house->lock, NULL);
    (void)pthread_cond_init(&house->changed, NULL);
    assert_int_equal(pthread_create(&house->thread, NULL, house_main, house), 0);
    (void)pthread_mutex_lock(&house->lock);
    while (!house->ready)
        (void)pthread_cond_wait(&house->changed, &house->lock);
    (void)pthread_mutex_unlock(&house->lock);
    return house;
}

static void
unpark(void *arg)
{
    struct house *house = arg;
    struct syn_http_req *req = SYN_TAKE(house->parked);
    struct syn_err err;
    int rc;

    assert(req != NULL);
    syn_http_pass(req, 200, 4);
    rc = syn_http_pass_body(req, "late", 4, &err);
    syn_http_finish(req, rc, &err);
}

void
house_unpark(struct house *house)
{
    struct syn_err err;

    assert_done(syn_loop_post(house->loop, unpark, house, NULL, &err), &err);
}

static void
server_stopped(void *arg)
{
    struct house *house = arg;

    count(house, &house->stopped);
}

static void
stop_server(void *arg)
{
    struct house *house = arg;
    struct syn_err err;

    assert_done(syn_http_server_stop(house->server, SITE_WAIT_MS, server_stopped, house, &err),
                &err);
}

void
house_stop(struct house *house)
{
    struct syn_err err;

    assert_done(syn_loop_post(house->loop, stop_server, house, NULL, &err), &err);
}

static void
stop(void *arg)
{
    syn_loop_stop(((struct house *)arg)->loop);
}

void
house_end(struct house *house)
{
    struct syn_err err;

    assert_done(syn_loop_post(house->loop, stop, house, NULL, &err), &err);
    assert_int_equal(pthread_join(house->thread, NULL), 0);
    (void)syn_loop_free(house->loop);
    if (house->handshakes != NULL) {
        house->handshakes = syn_pool_free(house->handshakes);
        assert_int_equal(unlink(house->cert_path), 0);
    }
    (void)pthread_mutex_destroy(&house->lock);
    (void)pthread_cond_destroy(&house->changed);
    syn_free(house);
}

int
house_dial(const struct house *house)
{
    struct site site = {.port = house->port};

    return site_dial(&site);
}
