/* The gateway with guests of WebAssembly; without Wasmtime, what does not need it. */
#include "gateway_testing.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>

static struct gwt *world;
static bool have_wasm;
/* cmocka has handlers of its own for each case: those of Wasmtime are put back. */
static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction handlers[SYN_LEN(signals)];
static char answer[GWT_ANSWER_SIZE];

static void
use_handlers(void)
{
    for (size_t i = 0; i < SYN_LEN(signals); i++)
        (void)sigaction(signals[i], &handlers[i], NULL);
}

static void
put_guest(const char *name, const char *code, const char *more)
{
    gwt_put(world,
            "{\"id\": \"fn-%s\", \"name\": \"%s\", \"account\": \"acct-a\", \"state\": \"active\","
            "\"routes\": [{\"host\": \"\", \"path\": \"/%s\", \"methods\": [\"GET\", \"POST\"], "
            "\"cors\": null}], \"versions\": [{\"version\": 1, \"weight\": 100, \"state\": "
            "\"ready\", \"runtime\": \"wasm\", \"code\": \"%s\", \"path\": \"\", "
            "\"memory_bytes\": 8388608, \"max_waiting\": 1000, \"env\": {}, \"secrets\": {}, "
            "\"endpoints\": []%s%s}]}",
            name, name, name, code,
            strstr(more, "timeout_ms") != NULL ? "" : ", \"timeout_ms\": 5000", more);
}

#define NEEDS_WASM() \
    if (!have_wasm)  \
        skip();      \
    use_handlers()

static void
test_hello(void **state)
{
    (void)state;
    NEEDS_WASM();
    put_guest("hello", "hello", "");
    gwt_await_status(world, "/hello", 200);
    assert_int_equal(gwt_get(world, "/hello?x=1", answer, sizeof(answer)), 200);
    gwt_assert_holds(answer, "\r\n\r\nhello, world\n");
    gwt_assert_holds(answer, "x-request-id: ");
    assert_int_equal(gwt_ask(world, "HEAD /hello" GWT_END, answer, sizeof(answer)), 200);
    gwt_assert_holds(answer, "content-length: 13\r\n");
    assert_null(strstr(answer, "hello"));
    gwt_await_told(world, "fn-hello", "status", "ok");
    gwt_await_told(world, "fn-hello", "way", "wasm");
    gwt_await(world, &world->byte_ms, 2 * INT64_C(8388608));
    (void)pthread_mutex_lock(&world->lock);
    assert_string_equal(syn_json_str(json_array_get(world->logs, 0), "line", ""), "hello");
    assert_string_equal(syn_json_str(json_array_get(world->versions, 0), "state", ""), "ready");
    (void)pthread_mutex_unlock(&world->lock);
}

static void
test_refusals(void **state)
{
    (void)state;
    gwt_put(world,
            "{\"id\": \"fn-poor\", \"state\": \"suspended\", \"reason\": \"no funds\", "
            "\"routes\": [{\"path\": \"/poor\", \"methods\": [\"GET\"]}], \"versions\": []}");
    gwt_await_status(world, "/poor", 402);
    assert_int_equal(gwt_get(world, "/nothing", answer, sizeof(answer)), 404);
    gwt_assert_holds(answer, "\"code\":\"not-found\"");
    gwt_assert_holds(answer, "x-request-id: ");
    assert_int_equal(gwt_ask(world, "DELETE /poor" GWT_END, answer, sizeof(answer)), 405);
    gwt_assert_holds(answer, "allow: GET, HEAD\r\n");
    gwt_put(world, "{\"id\": \"fn-poor\", \"state\": \"deploying\", \"routes\": [{\"path\": "
                   "\"/poor\", \"methods\": [\"GET\"]}], \"versions\": []}");
    gwt_await_status(world, "/poor", 503);
    gwt_delete(world, "fn-poor");
    gwt_await_status(world, "/poor", 404);
}

static void *
ask_hello(void *arg)
{
    static _Thread_local char mine[4096];
    int *ok = arg;

    for (int i = 0; i < 50; i++)
        *ok += gwt_get(world, "/hello", mine, sizeof(mine)) == 200;
    return NULL;
}

/* Guests that do not stop are stopped, and nobody else notices. */
static void
test_runaway(void **state)
{
    pthread_t thread;
    int ok = 0;
    int fds[6];

    (void)state;
    NEEDS_WASM();
    put_guest("spin", "spin", ", \"timeout_ms\": 300");
    gwt_await_status(world, "/spin", 504);
    for (size_t i = 0; i < SYN_LEN(fds); i++) {
        fds[i] = gwt_dial(world);
        assert_true(send(fds[i], "GET /spin" GWT_END, strlen("GET /spin" GWT_END), 0) > 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, ask_hello, &ok), 0);
    for (size_t i = 0; i < SYN_LEN(fds); i++) {
        ssize_t n = recv(fds[i], answer, sizeof(answer) - 1, 0);

        assert_true(n > 12);
        assert_memory_equal(answer + 9, "504", 3);
        (void)close(fds[i]);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(ok, 50);
    gwt_await_told(world, "fn-spin", "status", "timeout");
    /* A client that goes away ends its guest. */
    fds[0] = gwt_dial(world);
    assert_true(send(fds[0], "GET /spin" GWT_END, strlen("GET /spin" GWT_END), 0) > 0);
    (void)usleep(20000);
    (void)close(fds[0]);
    gwt_await_told(world, "fn-spin", "status", "disconnected");
}

static void
test_hostile(void **state)
{
    (void)state;
    NEEDS_WASM();
    put_guest("bomb", "bomb", "");
    gwt_await_status(world, "/bomb", 500);
    put_guest("flood", "flood", ", \"response_bytes_max\": 100000");
    gwt_await_status(world, "/flood", 502);
    put_guest("broken", "broken", "");
    gwt_await_status(world, "/broken", 503);
    put_guest("absent", "absent", "");
    gwt_await_status(world, "/absent", 503);
    put_guest("frugal", "spin", ", \"fuel\": 100000");
    gwt_await_status(world, "/frugal", 500);
    assert_int_equal(gwt_get(world, "/hello", answer, sizeof(answer)), 200);
}

static void
test_heads(void **state)
{
    static char request[40000];
    size_t len;

    (void)state;
    NEEDS_WASM();
    put_guest("heads", "hello", ", \"request_bytes_max\": 100");
    gwt_await_status(world, "/heads", 200);
    assert_int_equal(gwt_ask(world,
                             "POST /heads HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n",
                             answer, sizeof(answer)),
                     413);
    assert_int_equal(gwt_ask(world,
                             "POST /heads HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                             "chunked\r\n\r\nffff\r\n",
                             answer, sizeof(answer)),
                     413);
    len = (size_t)snprintf(request, sizeof(request), "GET /heads HTTP/1.1\r\nHost: x\r\nA: ");
    memset(request + len, 'a', sizeof(request) - 1 - len);
    assert_int_equal(gwt_ask(world, request, answer, sizeof(answer)), 431);
    for (int i = 0; i < 70; i++)
        len += (size_t)snprintf(request + len, sizeof(request) - len, "\r\nA: %d", i);
    (void)snprintf(request + len, sizeof(request) - len, "\r\n\r\n");
    assert_int_equal(gwt_ask(world, request, answer, sizeof(answer)), 431);
    assert_int_equal(gwt_ask(world, "GET /heads HTTP/1.1\r\n\r\n", answer, sizeof(answer)), 400);
}

/* The stream ends, and what changed meanwhile is known when it is back. */
static void
test_table_again(void **state)
{
    (void)state;
    gwt_put(world, "{\"id\": \"fn-old\", \"state\": \"deploying\", \"routes\": [{\"path\": "
                   "\"/old\", \"methods\": [\"GET\"]}], \"versions\": []}");
    gwt_await_status(world, "/old", 503);
    (void)pthread_mutex_lock(&world->lock);
    (void)json_object_del(world->documents, "fn-old");
    (void)pthread_mutex_unlock(&world->lock);
    gwt_cut_streams(world);
    gwt_await_status(world, "/old", 404);
}

/* A report whose answer is lost comes again, and is counted once. */
static void
test_report_again(void **state)
{
    int64_t before;

    (void)state;
    (void)pthread_mutex_lock(&world->lock);
    world->refuse_reports = 2;
    before = world->repeats;
    (void)pthread_mutex_unlock(&world->lock);
    gwt_put(world,
            "{\"id\": \"fn-none\", \"state\": \"active\", \"routes\": [{\"path\": \"/none\", "
            "\"methods\": [\"GET\"]}], \"versions\": [{\"version\": 1, \"weight\": 100, "
            "\"state\": \"ready\", \"runtime\": \"python3\", \"code\": \"x\", "
            "\"timeout_ms\": 30, \"max_waiting\": 5, \"endpoints\": []}]}");
    gwt_await_status(world, "/none", 504);
    gwt_await(world, &world->repeats, before + 2);
    gwt_await_told(world, "fn-none", "status", "timeout");
    assert_int_equal(gwt_told(world, "fn-none", "status", "timeout"), 1);
}

static int
setup(void **state)
{
    const struct syn_wasm_options options = {.instances_max = 1};
    struct syn_wasm *wasm = NULL;
    struct syn_err err;

    (void)state;
    syn_json_init();
    have_wasm = syn_wasm_open(&options, &wasm, &err) == 0;
    if (!have_wasm)
        print_message("# %s\n", err.msg);
    for (size_t i = 0; i < SYN_LEN(signals); i++)
        (void)sigaction(signals[i], NULL, &handlers[i]);
    if (have_wasm)
        (void)syn_wasm_close(wasm);
    world = gwt_start();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    gwt_end(world);
    return 0;
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_runaway),      cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_heads),        cmocka_unit_test(test_table_again),
        cmocka_unit_test(test_report_again),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
