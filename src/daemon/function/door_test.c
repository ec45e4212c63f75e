/* Routes that ask for a signature or a token: who is let in, and what the function gets. */
#include "gateway_testing.h"

#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/infra/jwt.h>
#include <synor/infra/webhook.h>

static struct gwt *world;
static char answer[GWT_ANSWER_SIZE];

static void
put_function(const char *name, const char *hmac)
{
    gwt_put(world,
            "{\"id\": \"fn-%s\", \"name\": \"%s\", \"account\": \"acct-a\", \"state\": \"active\","
            "\"routes\": [{\"host\": \"%s\", \"path\": \"/{rest*}\", \"hmac\": {%s}}], "
            "\"versions\": [{\"version\": 1, \"weight\": 100, \"state\": \"ready\", "
            "\"runtime\": \"python3\", \"code\": \"x\", \"timeout_ms\": 8000, \"concurrency\": 9, "
            "\"endpoints\": [{\"instance\": \"inst-0\", \"node\": \"node-a\", \"address\": "
            "\"127.0.0.1:%u\"}]}]}",
            name, name, name, hmac, (unsigned)world->instances[0].port);
}

/* `headers` are whole lines. */
static int
post(const char *host, const char *headers, const char *body)
{
    char request[1024];

    (void)snprintf(request, sizeof(request),
                   "POST /echo HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%sContent-Length: "
                   "%zu\r\n\r\n%s",
                   host, headers, strlen(body), body);
    return gwt_ask(world, request, answer, sizeof(answer));
}

static void
await(const char *host, const char *headers, const char *body, int status)
{
    const int64_t until = syn_clock_ns() + GWT_WAIT_MS * INT64_C(1000000);

    while (post(host, headers, body) != status) {
        if (syn_clock_ns() > until)
            fail_msg("%s: not %d: %.300s", host, status, answer);
        (void)usleep(2000);
    }
}

/* "NAME: sha256=HEX" of the body. */
static const char *
sign(const char *secret, const char *body)
{
    static char line[200];
    char hex[2 * SYN_SHA256_LEN + 1];
    uint8_t mac[SYN_SHA256_LEN];

    syn_hmac_sha256(secret, strlen(secret), body, strlen(body), mac);
    syn_hex_encode(mac, sizeof(mac), hex);
    (void)snprintf(line, sizeof(line), "X-Sign: sha256=%s\r\n", hex);
    return line;
}

static void
test_bodies_are_signed(void **state)
{
    static const char hmac[] = "\"secret\": \"hub\", \"scheme\": \"body\", \"header\": \"x-sign\", "
                               "\"prefix\": \"sha256=\", \"key\": \"%s\"";
    char text[200];
    int before;

    (void)state;
    (void)snprintf(text, sizeof(text), hmac, "one");
    put_function("hub", text);
    await("hub", sign("one", "{\"a\": 1}"), "{\"a\": 1}", 200);
    gwt_assert_holds(answer, "x-sign: sha256="); /* the function may look at it again */
    before = atomic_load(&world->instances[0].requests);
    assert_int_equal(post("hub", "", "{}"), 401);
    gwt_assert_holds(answer, "a signature is needed here, as x-sign");
    assert_int_equal(post("hub", sign("one", "{}"), "{\"a\": 2}"), 401);
    gwt_assert_holds(answer, "is not that of this body");
    assert_int_equal(post("hub", sign("two", "{}"), "{}"), 401);
    assert_int_equal(post("hub", "X-Sign: sha256=00\r\n", "{}"), 401);
    assert_null(strstr(answer, "one"));
    assert_int_equal(post("hub", sign("one", ""), ""), 200); /* an empty body is one */
    assert_int_equal(atomic_load(&world->instances[0].requests), before + 1);
    /* Another secret counts as soon as it is told. */
    (void)snprintf(text, sizeof(text), hmac, "two");
    put_function("hub", text);
    await("hub", sign("two", "{}"), "{}", 200);
    assert_int_equal(post("hub", sign("one", "{}"), "{}"), 401);
}

static void
test_old_signatures_are_none(void **state)
{
    const int64_t now_s = syn_wall_ms(syn_world_system()) / 1000;
    char made[SYN_WEBHOOK_SIGNATURE_SIZE], headers[400];

    (void)state;
    put_function("std", "\"secret\": \"std\", \"scheme\": \"standard\", \"header\": "
                        "\"webhook-signature\", \"tolerance_s\": 300, \"key\": \"whsec_b25l\"");
    for (int age = 0; age <= 900; age += 900) {
        syn_webhook_sign("one", "msg-1", now_s - age, "{}", 2, made);
        (void)snprintf(headers, sizeof(headers),
                       "Webhook-Id: msg-1\r\nWebhook-Timestamp: %lld\r\nWebhook-Signature: %s\r\n",
                       (long long)(now_s - age), made);
        await("std", headers, "{}", age == 0 ? 200 : 401);
    }
    gwt_assert_holds(answer, "300 are allowed");
}

/* What cannot be checked is let in by nobody. */
static void
test_a_secret_that_is_gone(void **state)
{
    (void)state;
    put_function("gone", "\"secret\": \"lost\", \"scheme\": \"body\", \"header\": \"x-sign\", "
                         "\"prefix\": \"\"");
    await("gone", sign("", "{}"), "{}", 503);
    gwt_assert_holds(answer, "secret lost is not there");
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void
put_trusting(const char *name, const char *trust)
{
    gwt_put(world,
            "{\"id\": \"fn-%s\", \"name\": \"%s\", \"account\": \"acct-a\", \"state\": \"active\","
            "\"trust\": [%s], \"routes\": [{\"host\": \"%s\", \"path\": \"/{rest*}\", \"auth\": "
            "\"token\"}], \"versions\": [{\"version\": 1, \"weight\": 100, \"state\": \"ready\", "
            "\"runtime\": \"python3\", \"code\": \"x\", \"timeout_ms\": 8000, \"concurrency\": 9, "
            "\"endpoints\": [{\"instance\": \"inst-0\", \"node\": \"node-a\", \"address\": "
            "\"127.0.0.1:%u\"}]}]}",
            name, name, trust, name, (unsigned)world->instances[0].port);
}

static struct syn_key *
make_key(uint8_t byte)
{
    uint8_t seed[32];
    struct syn_key *key = NULL;
    struct syn_err err;

    memset(seed, byte, sizeof(seed));
    assert_done(syn_key_from_seed(seed, &key, &err), &err);
    return key;
}

/* {issuer, kid, key} and `more`. */
static const char *
trusted(const struct syn_key *key, const char *issuer, const char *kid, const char *more)
{
    static char row[400];
    char text[SYN_JWT_KEY_TEXT + 1];

    syn_base64_encode(SYN_BASE64_URL, syn_key_public(key), SYN_SIGN_PUBLIC_LEN, text);
    (void)snprintf(row, sizeof(row), "{\"issuer\": \"%s\", \"kid\": \"%s\", \"key\": \"%s\"%s}",
                   issuer, kid, text, more);
    return row;
}

/* A header with a token of these claims, and an hour to live. */
static const char *
bearer(const struct syn_key *key, const char *claims)
{
    static char line[1200];
    SYN_JSON(doc);
    SYN_BUF(token);
    struct syn_err err;

    assert_done(syn_json_parse(claims, strlen(claims), &doc, &err), &err);
    assert_done(syn_json_set_i64(doc, "exp", syn_wall_ms(syn_world_system()) / 1000 + 3600, &err),
                &err);
    assert_done(syn_jwt_sign(key, doc, &token, &err), &err);
    (void)snprintf(line, sizeof(line), "Authorization: Bearer %s\r\n", syn_buf_text(&token));
    return line;
}

static void
test_tokens(void **state)
{
    struct syn_key *key = make_key(1), *other = make_key(2);

    (void)state;
    put_trusting("tok", trusted(key, "synor", syn_key_id(key), ""));
    await("tok", bearer(key, "{\"iss\":\"synor\",\"aud\":\"acct-a/tok\",\"sub\":\"ada\"}"), "",
          200);
    gwt_assert_holds(answer, "x-synor-subject: ada\r\n");
    assert_null(strstr(answer, "Bearer")); /* that is not the function's */
    assert_int_equal(post("tok", bearer(key, "{\"iss\":\"synor\",\"aud\":[\"acct-a\"]}"), ""), 200);
    assert_null(strstr(answer, "x-synor-subject"));
    assert_int_equal(post("tok", "", ""), 401);
    gwt_assert_holds(answer, "token-missing");
    assert_int_equal(post("tok", "X-Api-Key: sk-one\r\n", ""), 401);
    assert_int_equal(post("tok", "Authorization: Bearer sk-one\r\n", ""), 401);
    gwt_assert_holds(answer, "token-malformed");
    assert_int_equal(post("tok", bearer(key, "{\"iss\":\"synor\",\"aud\":\"acct-a/other\"}"), ""),
                     401);
    gwt_assert_holds(answer, "token-audience");
    assert_int_equal(post("tok", bearer(key, "{\"iss\":\"evil\",\"aud\":\"acct-a\"}"), ""), 401);
    gwt_assert_holds(answer, "token-issuer");
    assert_int_equal(post("tok", bearer(other, "{\"iss\":\"synor\",\"aud\":\"acct-a\"}"), ""), 401);
    gwt_assert_holds(answer, "token-key"); /* as after a rotation */
    /* Another key counts as soon as it is told. One without a name is tried for each token. */
    put_trusting("tok", trusted(other, "https://id.example", "", ", \"audience\": \"api\""));
    await("tok", bearer(other, "{\"iss\":\"https://id.example\",\"aud\":\"api\"}"), "", 200);
    assert_int_equal(
        post("tok", bearer(other, "{\"iss\":\"https://id.example\",\"aud\":\"acct-a\"}"), ""), 401);
    gwt_assert_holds(answer, "token-audience");
    assert_int_equal(
        post("tok", bearer(key, "{\"iss\":\"https://id.example\",\"aud\":\"api\"}"), ""), 401);
    gwt_assert_holds(answer, "token-signature");
    assert_int_equal(post("tok", bearer(key, "{\"iss\":\"synor\",\"aud\":\"acct-a\"}"), ""), 401);
    (void)syn_key_free(key);
    (void)syn_key_free(other);
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
        cmocka_unit_test(test_bodies_are_signed),
        cmocka_unit_test(test_old_signatures_are_none),
        cmocka_unit_test(test_a_secret_that_is_gone),
        cmocka_unit_test(test_tokens),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
