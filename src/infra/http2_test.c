/* The server's HTTP/2 over real sockets, with a client that nghttp2 reckons for. */
#include "http_house_testing.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>

#define STREAMS_MAX 512
#define SMALL       1000

struct got {
    int status;
    struct syn_buf body;
    char fields[1024];
    uint32_t code;
    bool closed;
};

struct client {
    int fd;
    SSL *ssl; /* NULL: plain */
    nghttp2_session *ng;
    bool ended; /* the server has closed */
    int goaway; /* its code; -1 */
    int32_t last;
    struct got got[STREAMS_MAX]; /* by half of its id */
    const char *body;            /* of the request */
    size_t body_len, body_at;
    bool body_waits; /* more than that comes later */
};

static struct got *
got_of(struct client *client, int32_t id)
{
    assert_true(id >= 0 && id / 2 < STREAMS_MAX);
    return &client->got[id / 2];
}

/* --- nghttp2's side --------------------------------------------------------------------------- */

static int /* nghttp2's signature: NOLINTNEXTLINE(readability-function-size) */
on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
          const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    struct got *got = got_of(arg, frame->hd.stream_id);
    size_t len = strlen(got->fields);

    (void)ng;
    (void)flags;
    (void)name_len;
    (void)value_len;
    if (strcmp((const char *)name, ":status") == 0)
        got->status = (int)strtoll((const char *)value, NULL, 10);
    else
        (void)snprintf(got->fields + len, sizeof(got->fields) - len, "[%s=%s]", (const char *)name,
                       (const char *)value);
    return 0;
}

static int
on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
    struct client *client = arg;

    (void)flags;
    syn_buf_add(&got_of(client, id)->body, data, len);
    return nghttp2_session_consume(ng, id, len);
}

static int
on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct client *client = arg;

    (void)ng;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->goaway = (int)frame->goaway.error_code;
        client->last = frame->goaway.last_stream_id;
    }
    return 0;
}

static int
on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct got *got = got_of(arg, id);

    (void)ng;
    got->closed = true;
    got->code = code;
    return 0;
}

static ssize_t /* nghttp2's signature: NOLINTNEXTLINE(readability-function-size) */
read_request(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
             nghttp2_data_source *source, void *arg)
{
    struct client *client = arg;
    size_t n = SYN_MIN(cap, client->body_len - client->body_at);

    (void)ng;
    (void)id;
    (void)source;
    if (n == 0 && client->body_waits)
        return NGHTTP2_ERR_DEFERRED;
    if (n > 0)
        memcpy(buf, client->body + client->body_at, n);
    client->body_at += n;
    if (client->body_at == client->body_len && !client->body_waits)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* --- the client ------------------------------------------------------------------------------- */

static ssize_t
client_send(struct client *client, const void *data, size_t len)
{
    if (client->ssl != NULL)
        return SSL_write(client->ssl, data, (int)len);
    return send(client->fd, data, len, MSG_NOSIGNAL);
}

static ssize_t
client_recv(struct client *client, void *data, size_t cap)
{
    struct pollfd poller = {.fd = client->fd, .events = POLLIN};

    if (client->ssl == NULL || SSL_pending(client->ssl) == 0)
        assert_int_equal(poll(&poller, 1, SITE_WAIT_MS), 1);
    if (client->ssl != NULL)
        return SSL_read(client->ssl, data, (int)cap);
    return recv(client->fd, data, cap, 0);
}

/* Shake hands, and have `h2` chosen. */
static void
client_secure(struct client *client)
{
    static const unsigned char offered[] = "\x08http/1.1\x02h2";
    const unsigned char *chosen = NULL;
    unsigned len = 0;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    assert_non_null(ctx);
    client->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    assert_non_null(client->ssl);
    assert_int_equal(SSL_set_alpn_protos(client->ssl, offered, sizeof(offered) - 1), 0);
    assert_int_equal(SSL_set_fd(client->ssl, client->fd), 1);
    assert_int_equal(SSL_connect(client->ssl), 1);
    SSL_get0_alpn_selected(client->ssl, &chosen, &len);
    assert_int_equal(len, 2);
    assert_memory_equal(chosen, "h2", 2);
}

static struct client *
client_new(const struct house *house)
{
    struct client *client = syn_calloc(1, sizeof(*client));
    const int on = 1;
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;

    assert_non_null(client);
    client->goaway = -1;
    client->fd = house_dial(house);
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if ((house->how & HOUSE_TLS) != 0)
        client_secure(client);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    assert_int_equal(nghttp2_option_new(&option), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_peer_max_concurrent_streams(option, STREAMS_MAX);
    assert_int_equal(nghttp2_session_client_new2(&client->ng, callbacks, client, option), 0);
    assert_int_equal(nghttp2_submit_settings(client->ng, NGHTTP2_FLAG_NONE, NULL, 0), 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return client;
}

static void
client_free(struct client *client)
{
    nghttp2_session_del(client->ng);
    SSL_free(client->ssl);
    (void)close(client->fd);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        syn_buf_fini(&client->got[i].body);
    syn_free(client);
}

static void
push_out(struct client *client)
{
    const uint8_t *data;
    ssize_t len;

    while (!client->ended && (len = nghttp2_session_mem_send(client->ng, &data)) > 0) {
        for (ssize_t at = 0; at < len && !client->ended;) {
            ssize_t n = client_send(client, data + at, (size_t)(len - at));

            client->ended = n <= 0;
            at += n;
        }
    }
}

/* Send what there is, and read once. */
static void
turn(struct client *client)
{
    static uint8_t block[65536];
    ssize_t n;

    push_out(client);
    n = client_recv(client, block, sizeof(block));
    client->ended = n <= 0;
    if (n > 0)
        assert_int_equal(nghttp2_session_mem_recv(client->ng, block, (size_t)n), n);
}

static void
await_close(struct client *client, int32_t id)
{
    push_out(client); /* its own end may be the last that is needed */
    while (!got_of(client, id)->closed && !client->ended) {
        turn(client);
        push_out(client);
    }
    assert_true(got_of(client, id)->closed);
}

static nghttp2_nv
field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

/* `more`: name, value, ..., NULL */
static int32_t
ask(struct client *client, const char *method, const char *path, const char *const *more)
{
    nghttp2_nv fields[80] = {field(":method", method), field(":scheme", "http"),
                             field(":authority", "shop.example"), field(":path", path)};
    const nghttp2_data_provider body = {.read_callback = read_request};
    size_t count = 4;
    int32_t id;

    for (; more != NULL && more[0] != NULL; more += 2)
        fields[count++] = field(more[0], more[1]);
    client->body_at = 0;
    id = nghttp2_submit_request(client->ng, NULL, fields, count,
                                strcmp(method, "POST") == 0 ? &body : NULL, NULL);
    assert_true(id > 0);
    return id;
}

static int32_t
post(struct client *client, const char *path, const char *data, size_t len)
{
    client->body = data;
    client->body_len = len;
    return ask(client, "POST", path, NULL);
}

/* --- cases ------------------------------------------------------------------------------------ */

static void
it_is_passed_on_as_it_was_sent(void **state)
{
    static const char *const more[] = {"cookie", "a=1", "x-a",      "1", "cookie",
                                       "b=2",    "te",  "trailers", NULL};
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);
    int32_t id = ask(client, "OPTIONS", "/a%2F//b?x=1", more);
    struct got *got = got_of(client, id);

    (void)state;
    await_close(client, id);
    assert_int_equal(got->status, 299);
    assert_string_equal(got->body.data, "OPTIONS /a%2F//b?x=1 8 [host=shop.example][x-a=1]"
                                        "[te=trailers][cookie=a=1; b=2]");
    site_assert_holds(got->fields, "[x-own=1]");
    site_assert_holds(got->fields, "[date=yesterday]");
    site_assert_holds(got->fields, "[x-request-id=");
    assert_null(strstr(got->fields, "[connection"));
    house_wait(house, &house->told, 1);
    assert_string_equal(house->last.protocol, "HTTP/2");
    assert_int_equal(house->last.sent_bytes, (int64_t)got->body.len);
    assert_false(house->last.cut);
    id = post(client, "/c", site_big, 200000); /* more than a window has at first */
    await_close(client, id);
    got = got_of(client, id);
    assert_int_equal(got->status, 299);
    assert_true(got->body.len > 200000);
    assert_memory_equal(got->body.data + got->body.len - 200000, site_big, 200000);
    id = ask(client, "HEAD", "/b", NULL);
    await_close(client, id);
    assert_int_equal(got_of(client, id)->status, 299);
    assert_int_equal(got_of(client, id)->body.len, 0);
    client_free(client);
    house_end(house);
}

static void
streams_do_not_wait_for_each_other(void **state)
{
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);
    int32_t parked = ask(client, "GET", "/park", NULL);
    int32_t quick = ask(client, "GET", "/quick", NULL);

    (void)state;
    await_close(client, quick);
    assert_false(got_of(client, parked)->closed);
    house_unpark(house);
    await_close(client, parked);
    assert_string_equal(got_of(client, parked)->body.data, "late");
    parked = ask(client, "GET", "/park", NULL); /* one that is not wanted any more */
    await_close(client, ask(client, "GET", "/quick", NULL));
    assert_int_equal(nghttp2_submit_rst_stream(client->ng, 0, parked, NGHTTP2_CANCEL), 0);
    push_out(client);
    house_wait(house, &house->gone, 1);
    house_wait(house, &house->told, 4);
    assert_int_equal(house->last.status, 499);
    (void)ask(client, "GET", "/park", NULL); /* one whose connection ends */
    push_out(client);
    await_close(client, ask(client, "GET", "/quick", NULL));
    client_free(client);
    house_wait(house, &house->gone, 2);
    house_end(house);
}

static void
answers_wait_for_the_window(void **state)
{
    static const char *const paths[] = {"/push/little", "/push/little-known", "/push",
                                        "/push/known"};
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);

    (void)state;
    for (int i = 0; i < (int)SYN_LEN(paths); i++) {
        size_t want = i < 2 ? SMALL : HOUSE_PUSH_BYTES;
        int full = house->full; /* it rests */
        int32_t id = ask(client, "GET", paths[i], NULL);
        struct got *got = got_of(client, id);

        push_out(client);
        if (i >= 2) { /* nobody makes the window larger: no more than that is asked for */
            house_wait(house, &house->full, full + 1);
            assert_true(house->pushed < (size_t)300000);
            assert_int_equal(house->ended, i);
        }
        await_close(client, id);
        assert_int_equal(got->status, 200);
        assert_int_equal(got->code, NGHTTP2_NO_ERROR);
        assert_int_equal(got->body.len, want);
        assert_memory_equal(got->body.data, site_big, SMALL);
        assert_true((strstr(got->fields, "content-length") != NULL) == (i % 2 == 1));
        house_wait(house, &house->ended, i + 1);
    }
    /* Who never takes it is not waited for. */
    (void)ask(client, "GET", "/push", NULL);
    push_out(client);
    house_wait(house, &house->gone, 1);
    client_free(client);
    house_end(house);
}

static void
it_is_spoken_by_tls(void **state)
{
    struct house *house = house_start(HOUSE_HTTP2 | HOUSE_TLS);
    struct client *clients[3];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(clients); i++) {
        int fd = house_dial(house); /* one that goes in the middle of its handshake */

        site_say(fd, "\x16\x03\x01\x02", 4);
        (void)close(fd);
        clients[i] = client_new(house);
    }
    for (size_t i = 0; i < SYN_LEN(clients); i++) {
        int32_t big = ask(clients[i], "GET", "/push", NULL);
        int32_t id = post(clients[i], "/c", site_big, 100000);

        await_close(clients[i], id);
        assert_int_equal(got_of(clients[i], id)->status, 299);
        await_close(clients[i], big);
        assert_int_equal(got_of(clients[i], big)->body.len, HOUSE_PUSH_BYTES);
        client_free(clients[i]);
    }
    house_end(house);
}

static void
requests_have_limits(void **state)
{
    static char large[20000];
    const char *const more[] = {"x-large", large, NULL};
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);
    const struct {
        const char *path;
        int status;
        const char *text;
    } refused[] = {
        {"/b", 431, "head has more than"},
        {"b", 400, "must start with /"},
        {"/refused", 502, "refused by its head"},
        {"/a b", 400, "malformed"},
    };
    int32_t id;

    (void)state;
    memset(large, 'a', sizeof(large) - 1);
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        id = ask(client, "GET", refused[i].path, i == 0 ? more : NULL);
        await_close(client, id);
        if (got_of(client, id)->status == 0) { /* nghttp2 has refused it by itself */
            assert_int_equal(got_of(client, id)->code, NGHTTP2_PROTOCOL_ERROR);
            continue;
        }
        assert_int_equal(got_of(client, id)->status, refused[i].status);
        site_assert_holds(got_of(client, id)->body.data, refused[i].text);
    }
    id = post(client, "/small", site_big, 300000); /* answered before it is there */
    await_close(client, id);
    assert_int_equal(got_of(client, id)->status, 413);
    assert_int_equal(client->body_at, 300000);
    id = post(client, "/small", site_big, sizeof(site_big)); /* so much is not waited for */
    await_close(client, id);
    assert_int_equal(got_of(client, id)->status, 413);
    assert_int_equal(got_of(client, id)->code, NGHTTP2_NO_ERROR);
    assert_true(client->body_at < sizeof(site_big));
    client->body_waits = true;
    id = post(client, "/b", "1", 1); /* one that does not come */
    while (got_of(client, id)->status == 0)
        turn(client);
    assert_int_equal(got_of(client, id)->status, 408);
    client->body_waits = false;
    id = ask(client, "GET", "/quick", NULL); /* the connection is as good as before */
    await_close(client, id);
    assert_int_equal(got_of(client, id)->status, 299);
    client_free(client);
    house_end(house);
}

static void
resets_are_counted(void **state)
{
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);

    (void)state;
    for (int i = 0; i < STREAMS_MAX - 1 && !client->ended; i++) {
        int32_t id = ask(client, "POST", "/b", NULL);

        client->body_waits = true;
        push_out(client);
        (void)nghttp2_submit_rst_stream(client->ng, 0, id, NGHTTP2_CANCEL);
        push_out(client);
    }
    while (!client->ended)
        turn(client);
    assert_int_equal(client->goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    client_free(client);
    client = client_new(house);
    await_close(client, ask(client, "GET", "/quick", NULL));
    client_free(client);
    house_end(house);
}

static void
streams_are_limited(void **state)
{
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);
    struct client *second = client_new(house);
    int32_t ids[101];

    (void)state;
    client->body_waits = true;
    for (size_t i = 0; i < SYN_LEN(ids); i++)
        ids[i] = ask(client, "POST", "/b", NULL);
    await_close(client, ids[100]);
    assert_int_equal(got_of(client, ids[100])->code, NGHTTP2_REFUSED_STREAM);
    assert_false(got_of(client, ids[99])->closed);
    second->body_waits = true;
    for (size_t i = 0; i < 51; i++) /* all connections together */
        ids[i] = ask(second, "POST", "/b", NULL);
    await_close(second, ids[50]);
    assert_int_equal(got_of(second, ids[50])->code, NGHTTP2_REFUSED_STREAM);
    assert_false(got_of(second, ids[49])->closed);
    client_free(client);
    client_free(second);
    house_end(house);
}

static void
what_runs_is_answered_at_the_end(void **state)
{
    struct house *house = house_start(HOUSE_HTTP2);
    struct client *client = client_new(house);
    struct client *idle = client_new(house);
    int32_t id = ask(client, "GET", "/park", NULL);

    (void)state;
    await_close(client, ask(client, "GET", "/quick", NULL));
    await_close(idle, ask(idle, "GET", "/quick", NULL));
    house_stop(house);
    while (client->goaway < 0)
        turn(client);
    assert_int_equal(client->goaway, NGHTTP2_NO_ERROR);
    assert_int_equal(client->last, id + 2);
    assert_false(got_of(client, id)->closed);
    house_unpark(house);
    await_close(client, id);
    assert_string_equal(got_of(client, id)->body.data, "late");
    while (!client->ended)
        turn(client);
    while (!idle->ended)
        turn(idle);
    assert_int_equal(idle->goaway, NGHTTP2_NO_ERROR);
    client_free(client);
    client_free(idle);
    house_wait(house, &house->stopped, 1);
    house_end(house);
}

static void
others_go_on_as_they_were(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    struct house *house = house_start(HOUSE_HTTP2);
    int fd = house_dial(house);

    (void)state;
    site_ask(fd, "GET /b HTTP/1.1\r\nHost: x\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "HTTP/1.1 299 ");
    site_assert_holds(answer, "HTTP/1.1 501 ");
    (void)close(fd);
    fd = house_dial(house); /* begins as HTTP/2 does, and is none */
    site_ask(fd, "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_null(memmem(answer, site_hear_all(fd, answer, sizeof(answer)), "HTTP/1.1", 8));
    (void)close(fd);
    house_end(house);
    house = house_start(0);
    fd = house_dial(house); /* where it is not spoken */
    site_ask(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "HTTP/1.1 501 ");
    (void)close(fd);
    house_end(house);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_passed_on_as_it_was_sent),
        cmocka_unit_test(streams_do_not_wait_for_each_other),
        cmocka_unit_test(answers_wait_for_the_window),
        cmocka_unit_test(it_is_spoken_by_tls),
        cmocka_unit_test(requests_have_limits),
        cmocka_unit_test(resets_are_counted),
        cmocka_unit_test(streams_are_limited),
        cmocka_unit_test(what_runs_is_answered_at_the_end),
        cmocka_unit_test(others_go_on_as_they_were),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
