/* The frames of sessions: what is written is read, and nothing else is. */
#include <synor/client/session.h>

#include <synor/base/test.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/client.h>

static void
test_round_trip(void **state)
{
    static const struct {
        enum syn_frame_kind kind;
        const char *text;
    } rows[] = {{SYN_FRAME_IN, "words"}, {SYN_FRAME_IN_END, ""}, {SYN_FRAME_EXIT, "{}"}};
    SYN_BUF(out);
    size_t at = 0;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        syn_frame_write(&out, rows[i].kind, rows[i].text, strlen(rows[i].text));
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        struct syn_frame frame;
        size_t len = 4 + strlen(rows[i].text);

        for (size_t part = 0; part < len; part++)
            assert_int_equal(syn_frame_parse(out.data + at, part, &frame, &err), 0);
        assert_int_equal(syn_frame_parse(out.data + at, out.len - at, &frame, &err), len);
        assert_int_equal(frame.kind, rows[i].kind);
        assert_int_equal(frame.len, strlen(rows[i].text));
        assert_memory_equal(frame.data, rows[i].text, frame.len);
        at += len;
    }
    assert_int_equal(at, out.len);
}

static void
test_largest(void **state)
{
    static char block[SYN_FRAME_MAX];
    struct syn_frame frame;
    struct syn_err err = {0};
    SYN_BUF(out);

    (void)state;
    memset(block, 'x', sizeof(block));
    syn_frame_write(&out, SYN_FRAME_OUT, block, sizeof(block));
    assert_int_equal(syn_frame_parse(out.data, out.len, &frame, &err), out.len);
    assert_int_equal(frame.len, sizeof(block));
}

static void
test_nonsense(void **state)
{
    static const char *const rows[] = {"HTTP/1.1 400", "\x08\0\0\0", "\xff\0\0\1x",
                                       "\0\1\0\1zzzzzzzz", "\0\xff\xff\xff"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        struct syn_frame frame;

        assert_int_equal(syn_frame_parse(rows[i], 4, &frame, &err), SYN_E_CORRUPT);
    }
}

/* --- over a connection ------------------------------------------------------------------------ */

/* A server of sessions: each begins with a frame of its own, in the same packet as the answer's
 * head, and goes on with what it is sent. */
static void
serve(int fd)
{
    static const char hello[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"
                                "\x04\0\0\5early";
    char bytes[4096] = "";
    size_t len = 0;
    ssize_t got = 1;

    while (got > 0 && len + 1 < sizeof(bytes) && strstr(bytes, "\r\n\r\n{}") == NULL) {
        got = read(fd, bytes + len, sizeof(bytes) - 1 - len);
        len += got > 0 ? (size_t)got : 0;
        bytes[len] = '\0';
    }
    if (got > 0 && write(fd, hello, sizeof(hello) - 1) == (ssize_t)sizeof(hello) - 1)
        while ((got = read(fd, bytes, sizeof(bytes))) > 0)
            for (ssize_t at = 0, put = 1; at < got && put > 0; at += put)
                put = write(fd, bytes + at, (size_t)(got - at));
    (void)close(fd);
}

static void *
serve_all(void *arg)
{
    int fd;

    while ((fd = accept(*(int *)arg, NULL, NULL)) >= 0)
        serve(fd);
    return NULL;
}

static void
wait_for(const struct syn_session *session)
{
    struct pollfd ready = {.fd = syn_session_fd(session),
                           .events = syn_session_events(session, true)};

    assert_int_equal(poll(&ready, 1, 60000), 1);
}

/* The next frame must be this one. */
static int
expect(struct syn_session *session, enum syn_frame_kind kind, const char *text, size_t len,
       struct syn_err *err)
{
    struct syn_frame frame;
    int rc;

    for (;;) {
        if (!syn_session_flush(session))
            return SYN_FAIL(err, SYN_E_NOMEM, "nothing more can be sent");
        rc = syn_session_next(session, &frame, err);
        if (rc != 0)
            break;
        wait_for(session);
    }
    if (rc < 0)
        return rc;
    assert_int_equal(rc, SYN_SESSION_FRAME);
    assert_int_equal(frame.kind, kind);
    assert_int_equal(frame.len, len);
    assert_memory_equal(frame.data, text, len);
    return SYN_OK;
}

static int
talk(void *arg, struct syn_err *err)
{
    static const char exit_frame[] = "{\"exit_code\":7,\"message\":\"over\"}";
    static char block[SYN_FRAME_MAX];
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    const struct syn_client_options options = {.target = arg, .answer_ms = 60000};
    struct syn_session *session = NULL;
    struct syn_tunnel *tunnel = NULL;
    SYN_JSON(ask);
    int rc = syn_json_pack(&ask, err, "{}");

    if (rc == SYN_OK)
        rc = syn_client_new(&options, &client, err);
    if (rc == SYN_OK)
        rc = syn_tunnel_open(client, "/v1/instances/inst-a/sessions", ask, &tunnel, err);
    if (rc == SYN_OK)
        rc = syn_session_new_take(tunnel, &session, err);
    if (rc == SYN_OK)
        rc = expect(session, SYN_FRAME_OUT, "early", 5, err);
    if (rc == SYN_OK) {
        memset(block, 'b', sizeof(block));
        assert_true(syn_session_room(session) >= 2 * sizeof(block));
        syn_session_send(session, SYN_FRAME_IN, block, sizeof(block));
        syn_session_send(session, SYN_FRAME_IN_END, "", 0);
        rc = expect(session, SYN_FRAME_IN, block, sizeof(block), err);
    }
    if (rc == SYN_OK)
        rc = expect(session, SYN_FRAME_IN_END, "", 0, err);
    if (rc == SYN_OK) {
        syn_session_send_exit(session, 7, "over");
        if (syn_session_flushed(session)) /* without memory there is no last frame */
            rc = SYN_FAIL(err, SYN_E_NOMEM, "no last frame");
    }
    if (rc == SYN_OK)
        rc = expect(session, SYN_FRAME_EXIT, exit_frame, sizeof(exit_frame) - 1, err);
    session = syn_session_free(session);
    return rc;
}

static void
test_without_memory(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct syn_err err = {0};
    pthread_t thread;

    (void)state;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/sessions", syn_test_dir());
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve_all, &listener), 0);
    assert_done(talk(address.sun_path, &err), &err);
    assert_true(syn_test_sweep_alloc(talk, address.sun_path) > 10);
    (void)shutdown(listener, SHUT_RDWR);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(listener);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
