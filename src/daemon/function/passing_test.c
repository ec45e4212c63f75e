/* The gateway with instances that speak HTTP, well and badly. */
#include "gateway_testing.h"

#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>

static struct gwt *world;
static char answer[4 << 20];

static void
put(const char *name, int version, const char *endpoints, const char *more)
{
    gwt_put(world,
            "{\"id\": \"fn-%s\", \"name\": \"%s\", \"account\": \"acct-a\", \"state\": \"active\","
            "\"routes\": [{\"host\": \"%s\", \"path\": \"/{rest*}\", \"methods\": [\"GET\", "
            "\"POST\", \"PUT\"], \"cors\": {\"origins\": [\"https://a.example\"], \"headers\": "
            "[\"x-a\"], \"max_age_s\": 60}}], \"versions\": [{\"version\": %d, \"weight\": 100, "
            "\"state\": \"ready\", \"runtime\": \"python3\", \"code\": \"x\", \"path\": \"\", "
            "\"memory_bytes\": 1048576, \"concurrency\": 1, \"endpoints\": [%s]%s%s%s}]}",
            name, name, name, version, endpoints,
            strstr(more, "timeout_ms") != NULL ? "" : ", \"timeout_ms\": 8000",
            strstr(more, "max_waiting") != NULL ? "" : ", \"max_waiting\": 2000", more);
}

static const char *
endpoint(unsigned at, const char *separator)
{
    static char text[GWT_INSTANCES][160];

    (void)snprintf(text[at], sizeof(text[at]),
                   "%s{\"instance\": \"inst-%u\", \"node\": \"node-a\", \"address\": "
                   "\"127.0.0.1:%u\"}",
                   separator, at, (unsigned)world->instances[at].port);
    return text[at];
}

static int
ask(const char *host, const char *method, const char *path)
{
    char request[512];

    (void)snprintf(request, sizeof(request),
                   "%s %s HTTP/1.1\r\nHost: %s:80\r\nConnection: close\r\n"
                   "Origin: https://a.example\r\nX-Synor-Trigger: queue\r\nTE: trailers\r\n%s\r\n",
                   method, path, host, method[0] == 'P' ? "Content-Length: 2\r\n\r\nhi" : "");
    return gwt_ask(world, request, answer, sizeof(answer));
}

static void
await_method(const char *host, const char *method, const char *path, int status)
{
    const int64_t until = syn_clock_ns() + GWT_WAIT_MS * INT64_C(1000000);

    while (ask(host, method, path) != status) {
        if (syn_clock_ns() > until)
            fail_msg("%s: not %d: %.300s", path, status, answer);
        (void)usleep(2000);
    }
}

static void
await(const char *host, const char *path, int status)
{
    await_method(host, "GET", path, status);
}

static void
test_passed_on(void **state)
{
    (void)state;
    (void)gwt_instance(world, 0);
    put("a", 1, endpoint(0, ""), "");
    await("a", "/hello", 200);
    gwt_assert_holds(answer, "\r\n\r\nhello");
    assert_null(strstr(answer, "synor-cold"));
    assert_int_equal(ask("a", "POST", "/echo?q=1&q=2"), 200);
    gwt_assert_holds(answer, "POST /echo?q=1&q=2 HTTP/1.1\r\nhost: a:80\r\n");
    gwt_assert_holds(answer, "content-length: 2\r\n");
    gwt_assert_holds(answer, "x-forwarded-for: 127.0.0.1\r\n");
    gwt_assert_holds(answer, "x-synor-trigger: http\r\n");
    gwt_assert_holds(answer, "x-synor-function: fn-a\r\nx-synor-version: 1\r\n");
    gwt_assert_holds(answer, "x-synor-deadline: ");
    gwt_assert_holds(answer, "x-own: 1\r\n");
    assert_null(strstr(answer, "trigger: queue"));
    assert_null(strstr(answer, "\nte: "));
    assert_non_null(strstr(answer, "hi"));
    assert_int_equal(ask("a", "GET", "/chunked"), 200);
    gwt_assert_holds(answer, "transfer-encoding: chunked");
    gwt_assert_holds(answer, "hello");
    assert_null(strstr(answer, "keep-alive:"));
    assert_int_equal(ask("a", "GET", "/close-delimited"), 200);
    gwt_assert_holds(answer, "to its end\r\n0\r\n\r\n");
    assert_int_equal(ask("a", "GET", "/empty"), 204);
    assert_int_equal(ask("a", "HEAD", "/echo"), 200);
    assert_int_equal(ask("a", "GET", "/raise"), 500);
    gwt_assert_holds(answer, "\r\n\r\n{}");
    gwt_await_told(world, "fn-a", "message", "ValueError");
    gwt_await_told(world, "fn-a", "way", "cold");
}

static void
await_starts(size_t want)
{
    const int64_t until = syn_clock_ns() + GWT_WAIT_MS * INT64_C(1000000);
    size_t count = 0;

    while (count < want && syn_clock_ns() < until) {
        (void)usleep(2000);
        (void)pthread_mutex_lock(&world->lock);
        count = json_array_size(world->starts);
        (void)pthread_mutex_unlock(&world->lock);
    }
    assert_int_equal(count, want);
}

/* How an instance came is in the record of its first call, and in the sums of its version. */
static void
test_starts(void **state)
{
    const size_t before = json_array_size(world->starts);
    const json_t *row, *record;
    char text[400];
    size_t i;
    int first = 0;

    (void)state;
    (void)gwt_instance(world, 7);
    (void)snprintf(text, sizeof(text),
                   "{\"instance\": \"inst-7\", \"node\": \"node-a\", \"address\": "
                   "\"127.0.0.1:%u\", \"start\": {\"way\": \"zygote\", \"note\": \"\", "
                   "\"stages_us\": {\"schedule\": 11, \"create\": 22}}}",
                   (unsigned)world->instances[7].port);
    put("z", 1, text, "");
    await("z", "/hello", 200);
    await_starts(before + 1);
    gwt_await_told(world, "fn-z", "way", "zygote");
    await("z", "/raise", 500);
    gwt_await_told(world, "fn-z", "way", "warm");
    assert_int_equal(json_array_size(world->starts), before + 1);
    row = json_array_get(world->starts, before);
    assert_string_equal(syn_json_str(row, "function", ""), "fn-z");
    assert_string_equal(syn_json_str(row, "way", ""), "zygote");
    assert_int_equal(syn_json_i64(row, "count", 0), 1);
    assert_int_equal(syn_json_i64(row, "waited", 1), 0); /* it was there first */
    assert_int_equal(syn_json_i64(syn_json_at(row, "stages.create"), "us", 0), 22);
    assert_int_equal(syn_json_i64(syn_json_at(row, "stages.wait"), "count", 0), 1);
    assert_null(syn_json_at(row, "stages.fetch"));
    json_array_foreach (world->invocations, i, record) {
        if (!syn_str_eq(syn_json_str(record, "function", ""), "fn-z"))
            continue;
        if (syn_str_eq(syn_json_str(record, "way", ""), "zygote")) {
            assert_int_equal(syn_json_i64(json_object_get(record, "stages_us"), "schedule", 0), 11);
            first++;
        } else {
            assert_null(json_object_get(json_object_get(record, "stages_us"), "schedule"));
        }
    }
    assert_int_equal(first, 1);
    gwt_delete(world, "fn-z");
    gwt_kill(&world->instances[7]);
}

static void
test_cors(void **state)
{
    (void)state;
    put("a", 1, endpoint(0, ""), "");
    await("a", "/hello", 200);
    gwt_assert_holds(answer, "access-control-allow-origin: https://a.example\r\nvary: origin");
    assert_int_equal(gwt_ask(world,
                             "OPTIONS /x HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n"
                             "Access-Control-Request-Method: PUT\r\nConnection: close\r\n\r\n",
                             answer, sizeof(answer)),
                     204);
    gwt_assert_holds(answer, "access-control-allow-methods: GET, HEAD, POST, PUT\r\n");
    gwt_assert_holds(answer, "access-control-allow-headers: x-a\r\n");
    gwt_assert_holds(answer, "access-control-max-age: 60\r\n");
    assert_int_equal(gwt_ask(world,
                             "OPTIONS /x HTTP/1.1\r\nHost: a\r\nOrigin: https://b.example\r\n"
                             "Access-Control-Request-Method: PUT\r\nConnection: close\r\n\r\n",
                             answer, sizeof(answer)),
                     204);
    assert_null(strstr(answer, "access-control"));
}

static void
test_broken(void **state)
{
    (void)state;
    put("a", 1, endpoint(0, ""), ", \"response_bytes_max\": 1000000");
    await("a", "/large", 502);
    gwt_assert_holds(answer, "too large");
    assert_int_equal(ask("a", "GET", "/odd"), 502);
    assert_int_equal(ask("a", "GET", "/break"), 502);
    gwt_assert_holds(answer, "before it answered");
    assert_int_equal(ask("a", "POST", "/break-once"), 502);
    atomic_store(&world->instances[0].broken, 0);
    assert_int_equal(ask("a", "GET", "/break-once"), 200);
    gwt_assert_holds(answer, "again");
    assert_int_equal(ask("a", "GET", "/half"), 200);
    assert_null(strstr(answer, "0\r\n\r\n"));
    gwt_await_told(world, "fn-a", "status", "unavailable");
}

static void
test_large(void **state)
{
    int fd;

    (void)state;
    put("a", 1, endpoint(0, ""), ", \"response_bytes_max\": 3000000");
    await("a", "/large", 200);
    assert_true(strlen(strstr(answer, "\r\n\r\n")) >= 4);
    /* One that does not read holds nobody up: its instance is let go when it leaves. */
    fd = gwt_dial(world);
    assert_true(send(fd, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", 33, 0) > 0);
    (void)usleep(20000);
    (void)close(fd);
    await("a", "/hello", 200);
}

static void
test_streamed(void **state)
{
    int fd = gwt_dial(world);
    ssize_t n = 0;

    (void)state;
    assert_true(send(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", 34, 0) > 0);
    answer[0] = '\0';
    while (strstr(answer, "first") == NULL) {
        ssize_t got = recv(fd, answer + n, sizeof(answer) - 1 - (size_t)n, 0);

        assert_true(got > 0);
        n += got;
        answer[n] = '\0';
    }
    assert_null(strstr(answer, "second"));
    while (strstr(answer, "second\r\n0\r\n\r\n") == NULL) {
        ssize_t got;

        gwt_let_go(world);
        got = recv(fd, answer + n, sizeof(answer) - 1 - (size_t)n, MSG_DONTWAIT);
        n += got > 0 ? got : 0;
        answer[n] = '\0';
        assert_true(got != 0);
        (void)usleep(1000);
    }
    (void)close(fd);
}

/* Many more than there are places, all at once: each is served. */
static void
test_burst(void **state)
{
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
    static int fds[1000];
    char text[512];

    (void)state;
    (void)gwt_instance(world, 1);
    put("b", 1, "", ""); /* asleep */
    while (ask("b", "DELETE", "/") != 405)
        (void)usleep(1000);
    for (size_t i = 0; i < SYN_LEN(fds); i++) {
        fds[i] = gwt_dial(world);
        assert_true(send(fds[i], request, sizeof(request) - 1, 0) > 0);
    }
    put("b", 1, endpoint(1, ""), "");
    for (size_t i = 0; i < SYN_LEN(fds); i++) {
        ssize_t n = recv(fds[i], text, sizeof(text) - 1, 0);

        assert_true(n > 12);
        if (memcmp(text + 9, "200", 3) != 0)
            fail_msg("%.*s", (int)n, text);
        (void)close(fds[i]);
    }
    assert_int_equal(atomic_load(&world->instances[1].requests), SYN_LEN(fds));
}

static void
test_full(void **state)
{
    static const char request[] = "GET /slow HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n";
    int fds[2];
    char text[512];

    (void)state;
    (void)gwt_instance(world, 2);
    put("c", 1, endpoint(2, ""), ", \"max_waiting\": 1");
    await("c", "/hello", 200);
    for (size_t i = 0; i < 2; i++) {
        fds[i] = gwt_dial(world);
        assert_true(send(fds[i], request, sizeof(request) - 1, 0) > 0);
    }
    await("c", "/hello", 429);
    gwt_assert_holds(answer, "retry-after: 1\r\n");
    gwt_await(world, &world->throttled, 1);
    for (size_t i = 0; i < 2; i++) {
        ssize_t n = -1;

        while (n < 0) {
            gwt_let_go(world);
            n = recv(fds[i], text, sizeof(text) - 1, MSG_DONTWAIT);
            (void)usleep(1000);
        }
        assert_memory_equal(text + 9, "200", 3);
        (void)close(fds[i]);
    }
    put("hurry", 1, endpoint(2, ""), ", \"timeout_ms\": 50");
    await("hurry", "/slow", 504);
    gwt_let_go(world);
    gwt_await_told(world, "fn-hurry", "status", "timeout");
}

/* Weights come true, exactly, over any hundred requests. */
static void
test_weights(void **state)
{
    int before[2];

    (void)state;
    (void)gwt_instance(world, 7);
    gwt_put(world,
            "{\"id\": \"fn-w\", \"state\": \"active\", \"routes\": [{\"host\": \"w\", \"path\": "
            "\"/hello\", \"methods\": [\"GET\"]}], \"versions\": [{\"version\": 1, \"weight\": 90, "
            "\"state\": \"ready\", \"runtime\": \"custom\", \"endpoints\": [%s]}, {\"version\": 2, "
            "\"weight\": 10, \"state\": \"ready\", \"runtime\": \"custom\", \"endpoints\": [%s]}, "
            "{\"version\": 3, \"weight\": 0, \"state\": \"preparing\", \"runtime\": \"custom\", "
            "\"endpoints\": []}]}",
            endpoint(0, ""), endpoint(7, ""));
    await("w", "/hello", 200);
    before[0] = atomic_load(&world->instances[0].requests);
    before[1] = atomic_load(&world->instances[7].requests);
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask("w", "GET", "/hello"), 200);
    assert_int_equal(atomic_load(&world->instances[0].requests) - before[0], 90);
    assert_int_equal(atomic_load(&world->instances[7].requests) - before[1], 10);
}

#define EARLY(state, version)                                                                \
    "{\"id\": \"fn-y\", \"state\": \"" state "\", \"routes\": [{\"host\": \"y\", \"path\": " \
    "\"/hello\", \"methods\": [\"GET\"]}], \"versions\": [{\"version\": 1, " version         \
    ", \"runtime\": \"custom\", \"timeout_ms\": 30000, \"max_waiting\": 10}]}"

static void *
ask_early(void *arg)
{
    static _Thread_local char text[512];
    int *status = arg;

    *status = gwt_ask(world, "GET /hello HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n", text,
                      sizeof(text));
    return NULL;
}

/* Who calls before the first version is ready waits for it, unless that fails. */
static void
test_early(void **state)
{
    static const int answers[] = {503, 200};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(answers); i++) {
        pthread_t thread;
        int status = 0;

        gwt_put(world,
                EARLY("deploying", "\"weight\": 0, \"state\": \"preparing\", \"endpoints\": []"));
        await_method("y", "DELETE", "/hello", 405); /* it is known */
        assert_int_equal(pthread_create(&thread, NULL, ask_early, &status), 0);
        (void)usleep(100000);
        if (answers[i] == 200)
            gwt_put(world,
                    EARLY("active", "\"weight\": 100, \"state\": \"ready\", \"endpoints\": [%s]"),
                    endpoint(0, ""));
        else
            gwt_put(world,
                    EARLY("failed", "\"weight\": 0, \"state\": \"failed\", \"endpoints\": []"));
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(status, answers[i]);
        gwt_delete(world, "fn-y");
        await_method("y", "DELETE", "/hello", 404); /* and forgotten: the next is another */
    }
}

struct load {
    atomic_bool stop;
    atomic_int ok, bad;
    char first_bad[300];
};

static void *
load_main(void *arg)
{
    struct load *load = arg;
    char text[512];

    while (!atomic_load(&load->stop)) {
        int status = gwt_ask(world, "GET /hello HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
                             text, sizeof(text));

        if (status == 200)
            atomic_fetch_add(&load->ok, 1);
        else if (atomic_fetch_add(&load->bad, 1) == 0)
            (void)syn_str_copy(load->first_bad, sizeof(load->first_bad), text);
    }
    return NULL;
}

/* Versions and instances come and go, one is killed: no request is lost. */
static void
test_changes(void **state)
{
    struct load load = {.first_bad = ""};
    pthread_t threads[4];

    (void)state;
    for (unsigned i = 3; i < 6; i++)
        (void)gwt_instance(world, i);
    put("d", 1, endpoint(3, ""), "");
    await("d", "/hello", 200);
    for (size_t i = 0; i < SYN_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, load_main, &load), 0);
    for (int round = 2; round < 30; round++) {
        int before = atomic_load(&load.ok);

        put("d", round, endpoint(3 + (unsigned)round % 3, ""), "");
        while (atomic_load(&load.ok) < before + 10 && atomic_load(&load.bad) == 0)
            (void)usleep(500);
        if (round == 20) { /* killed while it serves; it is in the table still */
            put("d", round, endpoint(3 + 20 % 3, ""), "");
            gwt_kill(&world->instances[3 + 20 % 3]);
            (void)usleep(5000);
            (void)gwt_instance(world, 3 + 20 % 3);
        }
    }
    atomic_store(&load.stop, true);
    for (size_t i = 0; i < SYN_LEN(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    if (atomic_load(&load.bad) > 0)
        fail_msg("%d lost: %s", atomic_load(&load.bad), load.first_bad);
}

static bool
has_left(const char *instance)
{
    bool found = false;
    size_t index;
    json_t *id;

    (void)pthread_mutex_lock(&world->lock);
    json_array_foreach (world->left, index, id)
        found = found || strcmp(json_string_value(id), instance) == 0;
    (void)pthread_mutex_unlock(&world->lock);
    return found;
}

static void
await_left(const char *instance)
{
    const int64_t until = syn_clock_ns() + GWT_WAIT_MS * INT64_C(1000000);

    while (!has_left(instance)) {
        if (syn_clock_ns() > until)
            fail_msg("%s has not left", instance);
        (void)usleep(1000);
    }
}

/* An instance may be ended when nothing is passed to it any more and what was has been answered. */
static void
test_leaves(void **state)
{
    static const char request[] = "GET /slow HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n";
    const struct gwt_instance *instance = &world->instances[5];
    char text[160];
    int64_t reports;
    int before;
    int fd;

    (void)state;
    (void)snprintf(text, sizeof(text),
                   "{\"instance\": \"inst-leaves\", \"address\": \"127.0.0.1:%u\"}",
                   (unsigned)instance->port);
    put("l", 1, text, "");
    await("l", "/hello", 200);
    before = atomic_load(&instance->requests);
    fd = gwt_dial(world);
    assert_true(send(fd, request, sizeof(request) - 1, 0) > 0);
    while (atomic_load(&instance->requests) == before)
        (void)usleep(1000);
    put("l", 1, endpoint(3, ""), "");
    await("l", "/hello", 200);
    (void)pthread_mutex_lock(&world->lock);
    reports = world->reports;
    (void)pthread_mutex_unlock(&world->lock);
    gwt_await(world, &world->reports, reports + 2);
    assert_false(has_left("inst-leaves"));
    gwt_let_go(world);
    (void)recv(fd, answer, sizeof(answer), 0);
    assert_memory_equal(answer + 9, "200", 3);
    (void)close(fd);
    await_left("inst-leaves");
}

/* What runs when it is told to stop is answered, and told of. Last: there is no gateway after it.
 */
static void
test_stop(void **state)
{
    static const char request[] = "GET /slow HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n";
    pthread_t thread;
    char text[512];
    ssize_t n = -1;
    int before;
    int fd;

    (void)state;
    (void)gwt_instance(world, 6);
    put("e", 1, endpoint(6, ""), "");
    await("e", "/hello", 200);
    before = atomic_load(&world->instances[6].requests);
    fd = gwt_dial(world);
    assert_true(send(fd, request, sizeof(request) - 1, 0) > 0);
    while (atomic_load(&world->instances[6].requests) == before)
        (void)usleep(1000);
    assert_int_equal(pthread_create(&thread, NULL, (void *(*)(void *))(uintptr_t)gwt_stop, world),
                     0);
    while (n < 0) {
        gwt_let_go(world);
        n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
        (void)usleep(1000);
    }
    assert_memory_equal(text + 9, "200", 3);
    (void)close(fd);
    assert_int_equal(pthread_join(thread, NULL), 0);
    gwt_await_told(world, "fn-e", "status", "ok");
}

static int
setup(void **state)
{
    (void)state;
    syn_json_init();
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
        cmocka_unit_test(test_passed_on), cmocka_unit_test(test_starts),
        cmocka_unit_test(test_cors),      cmocka_unit_test(test_broken),
        cmocka_unit_test(test_large),     cmocka_unit_test(test_streamed),
        cmocka_unit_test(test_burst),     cmocka_unit_test(test_full),
        cmocka_unit_test(test_weights),   cmocka_unit_test(test_early),
        cmocka_unit_test(test_changes),   cmocka_unit_test(test_leaves),
        cmocka_unit_test(test_stop),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
