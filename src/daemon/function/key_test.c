/* Keys at the gateway: who is let in, how often, and what the function hears of it. */
#include "gateway_testing.h"

#include <pthread.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#define SECOND INT64_C(1000000000)

static struct gwt *world;
static char answer[GWT_ANSWER_SIZE];

/* --- buckets ---------------------------------------------------------------------------------- */

static void
test_buckets_are_exact(void **state)
{
    const int64_t start = 7 * SECOND;
    struct fgw_bucket bucket;

    (void)state;
    fgw_bucket_fill(&bucket, 2, start);
    assert_true(fgw_bucket_take(&bucket, 3, 2, start));
    assert_true(fgw_bucket_take(&bucket, 3, 2, start));
    assert_false(fgw_bucket_take(&bucket, 3, 2, start));
    /* A third of a second has no whole nanoseconds: one earlier there is no call yet. */
    assert_false(fgw_bucket_take(&bucket, 3, 2, start + SECOND / 3));
    assert_true(fgw_bucket_take(&bucket, 3, 2, start + SECOND / 3 + 1));
    assert_false(fgw_bucket_take(&bucket, 3, 2, start + 2 * SECOND / 3));
    assert_true(fgw_bucket_take(&bucket, 3, 2, start + 2 * SECOND / 3 + 1));
    assert_true(fgw_bucket_take(&bucket, 3, 2, start + SECOND));
    assert_false(fgw_bucket_take(&bucket, 3, 2, start + SECOND));
    /* A clock that stands, or is behind, gives nothing; a long rest gives what fits. */
    assert_false(fgw_bucket_take(&bucket, 3, 2, start));
    for (int i = 0; i < 2; i++)
        assert_true(fgw_bucket_take(&bucket, 3, 2, INT64_MAX));
    assert_false(fgw_bucket_take(&bucket, 3, 2, INT64_MAX));
}

/* Whatever is refused, a second later there is a call: that is what clients are told. */
static void
test_a_second_is_enough(void **state)
{
    static const int64_t rates[] = {1, 2, 999999, 1000000};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rates); i++) {
        struct fgw_bucket bucket;

        fgw_bucket_fill(&bucket, 1, 0);
        assert_true(fgw_bucket_take(&bucket, rates[i], 1, 0));
        assert_false(fgw_bucket_take(&bucket, rates[i], 1, 1));
        assert_true(fgw_bucket_take(&bucket, rates[i], 1, SECOND));
        fgw_bucket_fill(&bucket, 1000000, 0);
        assert_true(fgw_bucket_take(&bucket, rates[i], 1000000, INT64_MAX));
    }
}

/* --- at the gateway --------------------------------------------------------------------------- */

static void
put_key(const char *name, const char *account, const char *text, const char *more)
{
    char digest[2 * SYN_SHA256_LEN + 1];
    uint8_t bytes[SYN_SHA256_LEN];

    syn_sha256(text, strlen(text), bytes);
    syn_hex_encode(bytes, sizeof(bytes), digest);
    gwt_put(world,
            "{\"id\": \"%s/%s\", \"account\": \"%s\", \"name\": \"%s\", \"digest\": \"%s\"%s}",
            account, name, account, name, digest, more);
}

static void
put_function(const char *name, const char *auth)
{
    gwt_put(world,
            "{\"id\": \"fn-%s\", \"name\": \"%s\", \"account\": \"acct-a\", \"state\": \"active\","
            "\"routes\": [{\"host\": \"%s\", \"path\": \"/{rest*}\"%s, \"cors\": {\"origins\": "
            "[\"*\"]}}], \"versions\": [{\"version\": 1, \"weight\": 100, \"state\": \"ready\", "
            "\"runtime\": \"python3\", \"code\": \"x\", \"timeout_ms\": 8000, \"concurrency\": 9, "
            "\"endpoints\": [{\"instance\": \"inst-0\", \"node\": \"node-a\", \"address\": "
            "\"127.0.0.1:%u\"}]}]}",
            name, name, name, auth, (unsigned)world->instances[0].port);
}

/* `headers` are whole lines. */
static int
ask(const char *host, const char *path, const char *headers)
{
    char request[512];

    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", path, host,
                   headers);
    return gwt_ask(world, request, answer, sizeof(answer));
}

static void
await(const char *host, const char *path, const char *headers, int status)
{
    const int64_t until = syn_clock_ns() + GWT_WAIT_MS * INT64_C(1000000);

    while (ask(host, path, headers) != status) {
        if (syn_clock_ns() > until)
            fail_msg("%s: not %d: %.300s", path, status, answer);
        (void)usleep(2000);
    }
}

static void
test_who_is_let_in(void **state)
{
    (void)state;
    put_key("ci", "acct-a", "sk-one", ", \"functions\": [\"other\", \"shut\"]");
    put_key("narrow", "acct-a", "sk-narrow", ", \"functions\": [\"other\"]");
    put_key("theirs", "acct-b", "sk-theirs", "");
    put_key("old", "acct-a", "sk-old", ", \"expires_ms\": 1000");
    put_key("young", "acct-a", "sk-young", ", \"expires_ms\": 99999999999999");
    put_function("shut", ", \"auth\": \"key\"");
    await("shut", "/echo", "X-Api-Key: sk-one\r\n", 200);
    gwt_assert_holds(answer, "x-synor-key: ci\r\n");
    assert_null(strstr(answer, "sk-one"));
    assert_int_equal(ask("shut", "/echo", ""), 401);
    gwt_assert_holds(answer, "www-authenticate: Bearer\r\n");
    gwt_assert_holds(answer, "\"code\":\"unauthenticated\"");
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-two\r\n"), 401);
    assert_int_equal(ask("shut", "/echo", "Authorization: Basic sk-one\r\n"), 401);
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-narrow\r\n"), 403);
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-theirs\r\n"), 403);
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-old\r\n"), 403);
    gwt_assert_holds(answer, "expired");
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-young\r\n"), 200);
    assert_int_equal(ask("shut", "/echo", "Authorization: Bearer sk-one\r\n"), 200);
    assert_null(strstr(answer, "sk-one"));
    /* With a key of its own header, the other is the function's. */
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-one\r\nAuthorization: Bearer own\r\n"),
                     200);
    gwt_assert_holds(answer, "authorization: Bearer own\r\n");
    /* Whose key it is the gateway says, nobody else; browsers ask first, without one. */
    assert_int_equal(ask("shut", "/echo", "X-Api-Key: sk-one\r\nX-Synor-Key: root\r\n"), 200);
    assert_null(strstr(answer, "root"));
    assert_int_equal(gwt_ask(world,
                             "OPTIONS /echo HTTP/1.1\r\nHost: shut\r\nConnection: close\r\n"
                             "Origin: https://a.b\r\nAccess-Control-Request-Method: GET\r\n\r\n",
                             answer, sizeof(answer)),
                     204);
}

/* A route that asks for none passes what looks like one. */
static void
test_open_routes(void **state)
{
    (void)state;
    put_function("open", ", \"auth\": \"none\"");
    await("open", "/echo", "X-Api-Key: mine\r\n", 200);
    gwt_assert_holds(answer, "x-api-key: mine\r\n");
    assert_null(strstr(answer, "x-synor-key"));
    /* What it may be one day is not open to all today. */
    put_function("odd", ", \"auth\": \"signature\"");
    await("odd", "/echo", "", 401);
}

static void
test_rates(void **state)
{
    int status = 200, rounds = 0;

    (void)state;
    put_key("slow", "acct-a", "sk-slow", ", \"rate_per_second\": 1, \"burst\": 2");
    put_function("first", ", \"auth\": \"key\"");
    put_function("second", ", \"auth\": \"key\"");
    await("first", "/echo", "X-Api-Key: sk-slow\r\n", 200);
    while (status == 200 && rounds++ < 100) /* as soon as they come faster than it fills up */
        status = ask("first", "/echo", "X-Api-Key: sk-slow\r\n");
    assert_int_equal(status, 429);
    gwt_assert_holds(answer, "retry-after: 1\r\n");
    /* Another function, another bucket; told again as it was, it is as full as it was. */
    await("second", "/echo", "X-Api-Key: sk-slow\r\n", 200);
    gwt_cut_streams(world);
    for (rounds = 0, status = 200; status == 200 && rounds < 100; rounds++)
        status = ask("first", "/echo", "X-Api-Key: sk-slow\r\n");
    assert_int_equal(status, 429);
    /* With another rate it is another bucket. */
    put_key("slow", "acct-a", "sk-slow", "");
    put_function("third", ", \"auth\": \"key\""); /* known: so is what came before it */
    await("third", "/echo", "X-Api-Key: sk-slow\r\n", 200);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask("first", "/echo", "X-Api-Key: sk-slow\r\n"), 200);
}

static void *
ask_slowly(void *arg)
{
    static const char request[] = "GET /slow HTTP/1.1\r\nHost: shut\r\nConnection: close\r\n"
                                  "X-Api-Key: sk-brief\r\n\r\n";
    static char mine[4096];

    atomic_store((atomic_int *)arg, gwt_ask(world, request, mine, sizeof(mine)));
    return NULL;
}

/* What runs when its key goes is not broken off. */
static void
test_removal(void **state)
{
    int before = atomic_load(&world->instances[0].requests);
    atomic_int status = 0;
    pthread_t thread;

    (void)state;
    put_key("brief", "acct-a", "sk-brief", "");
    await("shut", "/hello", "X-Api-Key: sk-brief\r\n", 200);
    before = atomic_load(&world->instances[0].requests);
    assert_int_equal(pthread_create(&thread, NULL, ask_slowly, &status), 0);
    while (atomic_load(&world->instances[0].requests) == before)
        (void)usleep(1000);
    gwt_delete(world, "acct-a/brief");
    await("shut", "/hello", "X-Api-Key: sk-brief\r\n", 401);
    while (atomic_load(&status) == 0) {
        gwt_let_go(world);
        (void)usleep(1000);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&status), 200);
    /* One that went while the stream was down is gone when it is back. */
    put_key("brief", "acct-a", "sk-brief", "");
    await("shut", "/hello", "X-Api-Key: sk-brief\r\n", 200);
    (void)pthread_mutex_lock(&world->lock);
    (void)json_object_del(world->documents, "acct-a/brief");
    (void)pthread_mutex_unlock(&world->lock);
    gwt_cut_streams(world);
    await("shut", "/hello", "X-Api-Key: sk-brief\r\n", 401);
    assert_int_equal(ask("shut", "/hello", "X-Api-Key: sk-one\r\n"), 200);
    /* Made anew under its name it has another text. */
    put_key("ci", "acct-a", "sk-other", "");
    await("shut", "/hello", "X-Api-Key: sk-other\r\n", 200);
    assert_int_equal(ask("shut", "/hello", "X-Api-Key: sk-one\r\n"), 401);
}

static int
setup(void **state)
{
    (void)state;
    syn_json_init();
    world = gwt_start();
    (void)gwt_instance(world, 0);
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
        cmocka_unit_test(test_buckets_are_exact),
        cmocka_unit_test(test_a_second_is_enough),
        cmocka_unit_test(test_who_is_let_in),
        cmocka_unit_test(test_open_routes),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_removal),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
