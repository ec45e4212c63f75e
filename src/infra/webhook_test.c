/* Signatures of webhooks, against what those who send them document. */
#include <synor/base/test.h>

#include <synor/base/str.h>
#include <synor/infra/webhook.h>

static int
verify(enum syn_webhook_scheme scheme, const char *secret, const char *signature, const char *body,
       int64_t now_s)
{
    const struct syn_webhook_rule rule = {
        .scheme = scheme, .prefix = "sha256=", .tolerance_s = 300, .secret = secret};
    const struct syn_webhook_request request = {.signature = signature,
                                                .id = "msg_p5jXN8AQM9LWM0D4loKWxJek",
                                                .timestamp = "1614265330",
                                                .body = body,
                                                .body_len = strlen(body)};
    struct syn_err err;
    int rc = syn_webhook_verify(&rule, &request, now_s, &err);

    assert_true(rc == SYN_OK || rc == SYN_E_UNAUTHENTICATED);
    if (rc < 0)
        assert_null(strstr(err.msg, secret));
    return rc;
}

/* As GitHub's documentation of X-Hub-Signature-256 has it. */
static void
test_body(void **state)
{
    static const char secret[] = "It's a Secret to Everybody", body[] = "Hello, World!";
    static const char hex[] =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    uint8_t bytes[SYN_SHA256_LEN];
    char text[64] = "sha256=";

    (void)state;
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, hex, body, 0), SYN_OK);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, hex, "Hello, World?", 0),
                     SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, "another", hex, body, 0), SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, hex + 7, body, 0), SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, "sha256=", body, 0), SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, "", body, 0), SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, NULL, body, 0), SYN_E_UNAUTHENTICATED);
    /* The same bytes as base64, as some write them. */
    assert_int_equal(syn_hex_decode(hex + 7, bytes, sizeof(bytes), NULL), 0);
    syn_base64_encode(SYN_BASE64_STD, bytes, sizeof(bytes), text + 7);
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, text, body, 0), SYN_OK);
    text[8] = text[8] == 'A' ? 'B' : 'A';
    assert_int_equal(verify(SYN_WEBHOOK_BODY, secret, text, body, 0), SYN_E_UNAUTHENTICATED);
}

/* The example of Standard Webhooks' own libraries. */
static void
test_standard(void **state)
{
    static const char secret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    static const char body[] = "{\"test\": 2432232314}";
    static const char sign[] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const int64_t now = 1614265330;
    char made[SYN_WEBHOOK_SIGNATURE_SIZE], text[200];

    (void)state;
    syn_webhook_sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, body, strlen(body), made);
    assert_string_equal(made, sign);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, sign, body, now), SYN_OK);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, sign, body, now + 300), SYN_OK);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, sign, body, now - 300), SYN_OK);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, sign, body, now + 301),
                     SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, sign, body, now - 301),
                     SYN_E_UNAUTHENTICATED);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, sign, "{}", now), SYN_E_UNAUTHENTICATED);
    /* One of several, among kinds that we do not know. */
    (void)snprintf(text, sizeof(text), "v1a,AAAA v1,AAAA  %s v2,x", sign);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, text, body, now), SYN_OK);
    (void)snprintf(text, sizeof(text), "v2,%s", sign + 3);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, secret, text, body, now), SYN_E_UNAUTHENTICATED);
    /* A secret that is no base64 is itself. */
    syn_webhook_sign("plain", "msg_p5jXN8AQM9LWM0D4loKWxJek", now, body, strlen(body), made);
    assert_int_equal(verify(SYN_WEBHOOK_STANDARD, "plain", made, body, now), SYN_OK);
}

static void
test_stripe(void **state)
{
    static const char secret[] = "whsec_not-decoded-here", body[] = "{\"id\":\"evt_1\"}";
    const int64_t now = 1700000000;
    uint8_t mac[SYN_SHA256_LEN];
    char hex[2 * SYN_SHA256_LEN + 1], signed_text[100], text[300];

    (void)state;
    (void)snprintf(signed_text, sizeof(signed_text), "1700000000.%s", body);
    syn_hmac_sha256(secret, strlen(secret), signed_text, strlen(signed_text), mac);
    syn_hex_encode(mac, sizeof(mac), hex);
    (void)snprintf(text, sizeof(text), "t=1700000000,v1=%s", hex);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now), SYN_OK);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now + 301),
                     SYN_E_UNAUTHENTICATED);
    (void)snprintf(text, sizeof(text), "t=1700000000, v0=%s, v1=00, v1=%s", hex, hex);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now), SYN_OK);
    /* Of another time, of none, of one that is no number; of an older kind alone. */
    (void)snprintf(text, sizeof(text), "t=1700000001,v1=%s", hex);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now), SYN_E_UNAUTHENTICATED);
    (void)snprintf(text, sizeof(text), "v1=%s", hex);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now), SYN_E_UNAUTHENTICATED);
    (void)snprintf(text, sizeof(text), "t=-1,v1=%s", hex);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now), SYN_E_UNAUTHENTICATED);
    (void)snprintf(text, sizeof(text), "t=1700000000,v0=%s", hex);
    assert_int_equal(verify(SYN_WEBHOOK_STRIPE, secret, text, body, now), SYN_E_UNAUTHENTICATED);
}

static void
test_names(void **state)
{
    (void)state;
    assert_int_equal(syn_webhook_scheme_find("body"), SYN_WEBHOOK_BODY);
    assert_int_equal(syn_webhook_scheme_find("stripe"), SYN_WEBHOOK_STRIPE);
    assert_int_equal(syn_webhook_scheme_find("standard"), SYN_WEBHOOK_STANDARD);
    assert_int_equal(syn_webhook_scheme_find(""), -1);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_standard),
        cmocka_unit_test(test_stripe),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
