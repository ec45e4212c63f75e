/* The gRPC client against a server that does as told, well and badly. A real server, containerd,
 * is what the driver `container` is tested with. */
#include <synor/infra/grpc.h>
#include <synor/infra/grpc_health.h>

#include <poll.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/world.h>

#include "grpc_priv.h"
#include <synor/infra/grpc_testing.h>

#define LONG_MS 60000

struct world {
    struct grpc_server *server;
    struct syn_grpc *grpc;
};

static int
set_up_at(void **state, const char *dir)
{
    static const struct syn_grpc_header headers[] = {{"x-word", "spoken"}};
    static struct world world;
    struct syn_grpc_options options = {
        .message_bytes_max = 100000, .headers = headers, .headers_count = 1};
    struct syn_err err = {0};

    world.server = grpc_server_start(dir);
    options.address = grpc_server_address(world.server);
    assert_done(syn_grpc_new(&options, &world.grpc, &err), &err);
    *state = &world;
    return 0;
}

static int
set_up(void **state)
{
    return set_up_at(state, syn_test_dir());
}

static int
set_up_tcp(void **state)
{
    return set_up_at(state, NULL);
}

static int
tear_down(void **state)
{
    struct world *world = *state;

    world->grpc = syn_grpc_free(world->grpc);
    grpc_server_stop(world->server);
    return 0;
}

static int
ask(struct world *world, const char *method, const char *text, struct syn_buf *reply,
    struct syn_err *err)
{
    SYN_BUF(request);

    syn_buf_adds(&request, text);
    syn_buf_clear(reply);
    return syn_grpc_ask(world->grpc, method, &request, LONG_MS, reply, err);
}

static void
assert_echo(struct world *world, const char *text)
{
    struct syn_err err = {0};
    SYN_BUF(reply);

    assert_done(ask(world, "/t/Echo", text, &reply, &err), &err);
    assert_int_equal(reply.len, strlen(text));
    assert_string_equal(syn_buf_text(&reply), text);
}

static void
answers_come_back(void **state)
{
    struct world *world = *state;
    struct syn_err err = {0};
    SYN_BUF(big);
    SYN_BUF(reply);

    assert_echo(world, "hello");
    assert_echo(world, "");
    while (big.len < 90000)
        syn_buf_adds(&big, "0123456789");
    assert_echo(world, syn_buf_text(&big));
    assert_done(ask(world, "/t/Word", "", &reply, &err), &err);
    assert_string_equal(syn_buf_text(&reply), "spoken");
    assert_int_equal(grpc_server_connections(world->server), 1);
}

static void
every_misbehaviour_has_its_code(void **state)
{
    static const struct {
        const char *method;
        int code;
        const char *says;
    } rows[] = {
        {"/t/Fail", SYN_E_NOTFOUND, "/t/Fail: no such thing: \xc3\xa4%zz"},
        {"/t/Two", SYN_E_CORRUPT, "two messages"},
        {"/t/None", SYN_E_CORRUPT, "without a message"},
        {"/t/Cut", SYN_E_CORRUPT, "within a message"},
        {"/t/Big", SYN_E_TOOBIG, "a message of 1073741824 bytes"},
        {"/t/Packed", SYN_E_UNSUPPORTED, "compressed"},
        {"/t/Silent", SYN_E_CORRUPT, "without a status"},
        {"/t/Page", SYN_E_CORRUPT, "no gRPC server"},
        {"/t/Missing", SYN_E_UNSUPPORTED, "404"},
        {"/t/Reset", SYN_E_UNAVAILABLE, "INTERNAL_ERROR"},
        {"/t/HangUp", SYN_E_UNAVAILABLE, "closed"},
        {"/t/Garbage", SYN_E_UNAVAILABLE, ""},
    };
    struct world *world = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        SYN_BUF(reply);

        print_message("# %s\n", rows[i].method);
        /* "Page" and "Missing" answer with what is no frame either. */
        assert_code(ask(world, rows[i].method, "xxxx", &reply, &err), rows[i].code, &err);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("%s: \"%s\" is not in \"%s\"", rows[i].method, rows[i].says, err.msg);
        assert_echo(world, "and goes on");
    }
}

static void
time_is_limited(void **state)
{
    static const char *const methods[] = {"/t/Stall", "/t/Half"};
    struct world *world = *state;

    for (size_t i = 0; i < SYN_LEN(methods); i++) {
        struct syn_err err = {0};
        SYN_BUF(request);
        SYN_BUF(reply);

        syn_buf_adds(&request, "some words");
        assert_code(syn_grpc_ask(world->grpc, methods[i], &request, 50, &reply, &err),
                    SYN_E_TIMEOUT, &err);
        assert_int_equal(reply.len, 0);
        assert_echo(world, "and goes on");
    }
    assert_int_equal(grpc_server_connections(world->server), 1);
}

static void
replies_stream(void **state)
{
    struct world *world = *state;
    struct syn_grpc_call *call = NULL;
    struct syn_err err = {0};
    SYN_BUF(request);
    SYN_BUF(reply);

    while (request.len < 10000)
        syn_buf_adds(&request, "0123456789");
    assert_done(syn_grpc_begin(world->grpc, "/t/Many", &request, -1, &call, &err), &err);
    for (int i = 0; i < 100; i++) {
        syn_buf_clear(&reply);
        assert_done(syn_grpc_next(call, LONG_MS, &reply, &err), &err);
        assert_int_equal(reply.len, request.len);
        /* Other calls of the connection go on meanwhile. */
        if (i % 25 == 0)
            assert_echo(world, "between");
    }
    assert_int_equal(syn_grpc_next(call, LONG_MS, &reply, &err), SYN_GRPC_END);
    assert_int_equal(syn_grpc_next(call, LONG_MS, &reply, &err), SYN_GRPC_END);
    call = syn_grpc_end(call);
    assert_int_equal(grpc_server_connections(world->server), 1);
}

/* Who does not read is not sent to without end, and who reads a little gets a little more. */
static void
flood_is_held_back(void **state)
{
    struct world *world = *state;
    struct syn_grpc_call *call = NULL;
    struct syn_err err = {0};
    SYN_BUF(request);
    SYN_BUF(reply);

    while (request.len < 10000)
        syn_buf_adds(&request, "0123456789");
    assert_done(syn_grpc_begin(world->grpc, "/t/Flood", &request, -1, &call, &err), &err);
    for (int i = 0; i < 20; i++)
        assert_echo(world, "meanwhile");
    assert_true(grpc_server_sent(world->server) < 1000000);
    for (int i = 0; i < 200; i++) {
        syn_buf_clear(&reply);
        assert_done(syn_grpc_next(call, LONG_MS, &reply, &err), &err);
    }
    for (int i = 0; i < 20; i++)
        assert_echo(world, "meanwhile");
    assert_true(grpc_server_sent(world->server) < 4000000);
    call = syn_grpc_end(call);
    assert_echo(world, "and goes on");
}

static void
waiting_may_be_cut_short(void **state)
{
    struct world *world = *state;
    struct syn_grpc_call *calls[SYN_GRPC_CALLS_MAX] = {0}, *more = NULL;
    struct syn_err err = {0};
    SYN_BUF(request);
    SYN_BUF(reply);

    for (size_t i = 0; i < SYN_LEN(calls) - 1; i++)
        assert_done(syn_grpc_begin(world->grpc, i == 5 ? "/t/Many" : "/t/Stall", &request, LONG_MS,
                                   &calls[i], &err),
                    &err);
    assert_code(syn_grpc_next(calls[0], 0, &reply, &err), SYN_E_TIMEOUT, &err);
    assert_done(syn_grpc_next(calls[5], LONG_MS, &reply, &err), &err);
    assert_done(syn_grpc_begin(world->grpc, "/t/Stall", &request, LONG_MS,
                               &calls[SYN_LEN(calls) - 1], &err),
                &err);
    assert_code(syn_grpc_begin(world->grpc, "/t/Stall", &request, LONG_MS, &more, &err),
                SYN_E_LIMIT, &err);
    for (size_t i = 0; i < SYN_LEN(calls); i++)
        calls[i] = syn_grpc_end(calls[i]);
    assert_echo(world, "and goes on");
}

static void
broken_connections_are_made_anew(void **state)
{
    struct world *world = *state;
    struct syn_grpc_call *call = NULL;
    struct syn_err err = {0};
    SYN_BUF(request);
    SYN_BUF(reply);

    assert_echo(world, "first");
    grpc_server_drop(world->server);
    assert_echo(world, "second");
    assert_int_equal(grpc_server_connections(world->server), 2);
    /* Told to go away: the call is answered, the next one goes elsewhere. */
    assert_done(ask(world, "/t/Leave", "third", &reply, &err), &err);
    assert_echo(world, "fourth");
    assert_int_equal(grpc_server_connections(world->server), 3);
    /* What the server has surely not seen is sent again. */
    assert_done(ask(world, "/t/RefuseOnce", "fifth", &reply, &err), &err);
    assert_string_equal(syn_buf_text(&reply), "fifth");
    /* What it may have seen is not. */
    assert_done(syn_grpc_begin(world->grpc, "/t/Stall", &request, LONG_MS, &call, &err), &err);
    assert_echo(world, "sixth");
    grpc_server_drop(world->server);
    assert_code(syn_grpc_next(call, -1, &reply, &err), SYN_E_UNAVAILABLE, &err);
    assert_echo(world, "seventh");
    call = syn_grpc_end(call);
}

static void
nobody_there_is_told(void **state)
{
    struct syn_grpc_options options = {.address = "unix:/nonexistent/socket"};
    struct syn_grpc *grpc = NULL;
    struct syn_err err = {0};
    SYN_BUF(request);
    SYN_BUF(reply);

    (void)state;
    assert_done(syn_grpc_new(&options, &grpc, &err), &err);
    assert_code(syn_grpc_ask(grpc, "/t/Echo", &request, LONG_MS, &reply, &err), SYN_E_UNAVAILABLE,
                &err);
    assert_non_null(strstr(err.msg, "unix:/nonexistent/socket"));
    grpc = syn_grpc_free(grpc);
}

static void
options_are_checked(void **state)
{
    static const char *const wrong[] = {NULL,
                                        "",
                                        "/run/x",
                                        "unix:run/x",
                                        "tcp:127.0.0.1",
                                        "tcp:localhost:80",
                                        "tcp:1.2.3.4:0",
                                        "tcp:[::1:80",
                                        "tcp::80",
                                        "tcp:1.2.3.4:70000"};
    static const char *const right[] = {"unix:/run/x", "tcp:127.0.0.1:80", "tcp:[::1]:80"};
    struct syn_grpc *grpc = NULL;
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(wrong); i++) {
        const struct syn_grpc_options options = {.address = wrong[i]};

        assert_code(syn_grpc_new(&options, &grpc, &err), SYN_E_INVALID, &err);
    }
    for (size_t i = 0; i < SYN_LEN(right); i++) {
        const struct syn_grpc_options options = {.address = right[i]};

        assert_done(syn_grpc_new(&options, &grpc, &err), &err);
        grpc = syn_grpc_free(grpc);
    }
}

static void
long_messages_keep_their_end(void **state)
{
    char out[GRPC_MESSAGE_MAX];
    SYN_BUF(text);

    (void)state;
    grpc_message_decode("a%20b%0", 7, out);
    assert_string_equal(out, "a b%0");
    for (int i = 0; i < 100; i++)
        syn_buf_addf(&text, "%d: ", i);
    syn_buf_adds(&text, "the%20cause");
    grpc_message_decode(text.data, text.len, out);
    assert_int_equal(strlen(out), GRPC_MESSAGE_MAX - 1);
    assert_true(syn_str_starts(out, "..."));
    assert_true(syn_str_ends(out, "99: the cause"));
}

/* A whole life: a client, a connection, a call, and its end. */
static int
live(void *arg, struct syn_err *err)
{
    const struct world *world = arg;
    const struct syn_grpc_options options = {.address = grpc_server_address(world->server)};
    struct syn_grpc *grpc = NULL;
    SYN_BUF(request);
    SYN_BUF(reply);
    int rc = syn_grpc_new(&options, &grpc, err);

    syn_buf_adds(&request, "words");
    if (rc == SYN_OK)
        rc = syn_buf_ok(&request, err);
    if (rc == SYN_OK)
        rc = syn_grpc_ask(grpc, "/t/Echo", &request, LONG_MS, &reply, err);
    grpc = syn_grpc_free(grpc);
    return rc;
}

static void
memory_may_run_out(void **state)
{
    assert_true(syn_test_sweep_alloc(live, *state) > 5);
}

static void
health_is_said_in_bytes(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        int rc, health;
    } rows[] = {
        {"", 0, SYN_OK, SYN_GRPC_HEALTH_UNKNOWN},
        {"\x08\x01", 2, SYN_OK, SYN_GRPC_HEALTH_SERVING},
        {"\x08\x02", 2, SYN_OK, SYN_GRPC_HEALTH_NOT_SERVING},
        {"\x08\x03", 2, SYN_OK, SYN_GRPC_HEALTH_SERVICE_UNKNOWN},
        {"\x08\x63", 2, SYN_OK, SYN_GRPC_HEALTH_UNKNOWN},           /* of a later time */
        {"\x12\x02xx\x08\x01", 6, SYN_OK, SYN_GRPC_HEALTH_SERVING}, /* and so is a field */
        {"\x1d"
         "1234\x21"
         "12345678\x08\x01",
         16, SYN_OK, SYN_GRPC_HEALTH_SERVING},
        {"\x08", 1, SYN_E_CORRUPT, 0},
        {"\x12\x7fx", 3, SYN_E_CORRUPT, 0},
        {"\x0b\x0c", 2, SYN_E_CORRUPT, 0},
        {"\x01\x01", 2, SYN_E_CORRUPT, 0},
        {"<html>", 6, SYN_E_CORRUPT, 0},
    };
    SYN_BUF(ask);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        enum syn_grpc_health health = SYN_GRPC_HEALTH_UNKNOWN;

        assert_int_equal(syn_grpc_health_read(rows[i].bytes, rows[i].len, &health, NULL),
                         rows[i].rc);
        assert_int_equal(health, rows[i].health);
    }
    syn_grpc_health_ask("", &ask);
    assert_int_equal(ask.len, 0);
    syn_grpc_health_ask("a.B", &ask);
    assert_int_equal(ask.len, 5);
    assert_memory_equal(ask.data,
                        "\x0a\x03"
                        "a.B",
                        5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_come_back, set_up_tcp, tear_down),
        cmocka_unit_test_setup_teardown(every_misbehaviour_has_its_code, set_up, tear_down),
        cmocka_unit_test_setup_teardown(time_is_limited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replies_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flood_is_held_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_may_be_cut_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broken_connections_are_made_anew, set_up, tear_down),
        cmocka_unit_test(nobody_there_is_told),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(long_messages_keep_their_end),
        cmocka_unit_test(health_is_said_in_bytes),
        cmocka_unit_test_setup_teardown(memory_may_run_out, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
