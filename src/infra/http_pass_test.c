/* A server that serves all alike, over real sockets: its handler passes on what it is asked to. */
#include "http_testing.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/infra/http_pass.h>

#define PUSH_BYTES  (4 << 20)
#define PIECE_BYTES 50000

struct house {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct syn_loop *loop;
    struct syn_http_server *server;
    uint16_t port;
    bool ready;
    int gone, ended, full; /* under the lock */

    struct syn_http_req *parked; /* the loop's */
    size_t pushed, limit;
};

static void
count(struct house *house, int *counter)
{
    (void)pthread_mutex_lock(&house->lock);
    (*counter)++;
    (void)pthread_cond_broadcast(&house->changed);
    (void)pthread_mutex_unlock(&house->lock);
}

static void
await(struct house *house, const int *counter, int want)
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
    house->limit = strstr(target, "little") != NULL ? 1000 : PUSH_BYTES;
    syn_http_pass(req, 200, strstr(target, "known") != NULL ? (int64_t)house->limit : -1);
    return syn_loop_post(house->loop, push_first, house, NULL, err) < 0 ? SYN_E_LIMIT
                                                                        : SYN_HTTP_LATER;
}

static const struct syn_http_route row = {
    .method = "ANY", .pattern = "*", .body_max = 1 << 20, .handler = serve, .name = "all"};

static void
house_serve(struct house *house, struct syn_err *err)
{
    struct syn_http_options options = {.loop = house->loop,
                                       .limits = {.pace_ms = 400, .bodies_max = 300000}};
    int fd = -1;

    assert_done(syn_http_server_new(&options, &house->server, err), err);
    assert_done(syn_http_server_catch(house->server, &row, look, house, err), err);
    assert_done(syn_http_bind("127.0.0.1:0", &fd, &house->port, err), err);
    assert_done(syn_http_listen_fd_take(house->server, fd, NULL, err), err);
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

static struct house *
house_start(void)
{
    struct house *house = syn_calloc(1, sizeof(*house));

    assert_non_null(house);
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
stop(void *arg)
{
    syn_loop_stop(((struct house *)arg)->loop);
}

static void
house_end(struct house *house)
{
    struct syn_err err;

    assert_done(syn_loop_post(house->loop, stop, house, NULL, &err), &err);
    assert_int_equal(pthread_join(house->thread, NULL), 0);
    (void)syn_loop_free(house->loop);
    (void)pthread_mutex_destroy(&house->lock);
    (void)pthread_cond_destroy(&house->changed);
    syn_free(house);
}

static int
dial(const struct house *house)
{
    struct site site = {.port = house->port};

    return site_dial(&site);
}

static void
test_as_sent(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    struct house *house = house_start();
    int fd = dial(house);

    (void)state;
    site_ask(fd, "OPTIONS /a%2F//b?x=1&x=2 HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\n\r\n");
    site_hear_until(fd, answer, sizeof(answer), "[a=2]");
    site_assert_holds(answer, "HTTP/1.1 299 Status\r\n");
    site_assert_holds(answer, "OPTIONS /a%2F//b?x=1&x=2 8 [host=x][a=1][a=2]");
    site_assert_holds(answer, "x-request-id: ");
    site_assert_holds(answer, "\r\ndate: yesterday\r\n");
    assert_null(strstr(answer, "cache-control"));
    assert_null(strstr(strstr(answer, "date: ") + 1, "\r\ndate: "));
    site_ask(fd, "HEAD /b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c" HEAD "Content-Length: 2\r\n\r\nhi");
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    assert_null(strstr(answer, "HEAD /b"));
    site_assert_holds(answer, "[content-length=2]hi");
    house_end(house);
}

static void
test_by_its_head(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    struct house *house = house_start();
    int fd = dial(house);

    (void)state;
    site_ask(fd, "POST /small" HEAD "Content-Length: 5\r\n\r\n");
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_assert_holds(answer, "HTTP/1.1 413 ");
    site_assert_holds(answer, "5 bytes; 4 are taken");
    fd = dial(house);
    site_ask(fd, "GET /refused" END);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_assert_holds(answer, "HTTP/1.1 502 ");
    site_assert_holds(answer, "refused by its head");
    site_assert_holds(answer, "x-request-id: ");
    house_end(house);
}

/* Bodies of all requests together. */
static void
test_bodies(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    static const char *const heads[] = {"Content-Length: 200000\r\n\r\n",
                                        "Transfer-Encoding: chunked\r\n\r\n30d40\r\n"};
    struct pollfd polls[2] = {{.events = POLLIN}, {.events = POLLIN}};
    struct house *house = house_start();
    int first;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(heads); i++) {
        SYN_BUF(request);
        int fd;

        first = dial(house);
        syn_buf_addf(&request, "POST /b" HEAD "%s", heads[i]);
        site_say(first, request.data, request.len);
        site_say(first, site_big, 190000);
        fd = dial(house);
        site_say(fd, request.data, request.len);
        site_say(fd, site_big, 190000);
        /* Whichever is the second to come so far. */
        polls[0].fd = fd;
        polls[1].fd = first;
        assert_true(poll(polls, 2, SITE_WAIT_MS) > 0);
        (void)site_hear_all(polls[0].revents != 0 ? fd : first, answer, sizeof(answer));
        site_assert_holds(answer, "HTTP/1.1 503 ");
        site_assert_holds(answer, "too many large requests");
        (void)close(fd);
        (void)close(first);
        fd = dial(house); /* what they had is there again */
        site_ask(fd, "POST /b" HEAD "Content-Length: 2\r\n\r\nhi");
        (void)site_hear_all(fd, answer, sizeof(answer));
        site_assert_holds(answer, "[content-length=2]hi");
        (void)close(fd);
    }
    house_end(house);
}

static void
test_push(void **state)
{
    static const char *const requests[] = {"GET /push/little" END, "GET /push/little-known" END,
                                           "GET /push" END, "GET /push/known" END};
    static char answer[PUSH_BYTES + SITE_ANSWER_SIZE];
    struct house *house = house_start();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(requests); i++) {
        bool known = strstr(requests[i], "known") != NULL;
        size_t want = i < 2 ? 1000 : PUSH_BYTES;
        int fd = dial(house);
        size_t len;

        site_ask(fd, requests[i]);
        if (i >= 2) /* nobody reads: it stops by itself */
            await(house, &house->full, (int)i - 1);
        len = site_hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
        site_assert_holds(answer, known ? "content-length: " : "transfer-encoding: chunked");
        assert_true(len > want);
        assert_memory_equal(strstr(answer, "\r\n\r\n") + 4 +
                                (known   ? 0
                                 : i < 2 ? 5
                                         : 6),
                            site_big, 1000);
        if (!known)
            assert_memory_equal(answer + len - 7, "\r\n0\r\n\r\n", 7);
        await(house, &house->ended, (int)i + 1);
    }
    assert_int_equal(house->gone, 0);
    house_end(house);
}

static void
test_gone(void **state)
{
    struct house *house = house_start();
    struct linger hard = {.l_onoff = 1};
    int fd = dial(house);

    (void)state;
    site_ask(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n"); /* an end of its side */
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    await(house, &house->gone, 1);
    (void)close(fd);
    fd = dial(house); /* one that had sent the next request ahead, and resets */
    site_ask(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n");
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    (void)close(fd);
    await(house, &house->gone, 2);
    fd = dial(house); /* in the middle of a body that it does not read */
    site_ask(fd, "GET /push HTTP/1.1\r\nHost: x\r\n\r\n");
    await(house, &house->full, 1);
    await(house, &house->gone, 3); /* too slow, then */
    (void)close(fd);
    house_end(house);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_sent), cmocka_unit_test(test_by_its_head),
        cmocka_unit_test(test_bodies),  cmocka_unit_test(test_push),
        cmocka_unit_test(test_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
