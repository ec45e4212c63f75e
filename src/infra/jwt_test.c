/* Signed tokens: RFC 8037's own, ours, and those that are refused. */
#include <synor/base/test.h>

#include <synor/base/str.h>
#include <synor/infra/jwt.h>

#define NOW INT64_C(1700000000)

/* Appendix A of RFC 8037: its payload is no JSON, so the claims are ours, the key is its. */
static const char rfc_key[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";

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

static void
public_text(const struct syn_key *key, char out[SYN_JWT_KEY_TEXT + 1])
{
    syn_base64_encode(SYN_BASE64_URL, syn_key_public(key), SYN_SIGN_PUBLIC_LEN, out);
}

/* 0, or what is said of it. */
static const char *
check(const struct syn_key *key, const char *text)
{
    static struct syn_err err;
    char digits[SYN_JWT_KEY_TEXT + 1];
    struct syn_jwt token;
    const struct syn_jwt_rule rule = {.audiences = {"acct-a", "acct-a/hello"}, .now_s = NOW};
    int rc = syn_jwt_parse(text, strlen(text), &token, &err);

    if (rc < 0) {
        assert_int_equal(rc, SYN_E_UNAUTHENTICATED);
        return err.msg;
    }
    public_text(key, digits);
    if (!syn_jwt_signed_by(&token, digits)) {
        syn_jwt_fini(&token);
        return "signature";
    }
    rc = syn_jwt_check(&token, &rule, &err);
    syn_jwt_fini(&token);
    return rc < 0 ? err.msg : NULL;
}

static const char *
check_claims(const struct syn_key *key, const char *json)
{
    SYN_JSON(claims);
    SYN_BUF(token);
    struct syn_err err;

    assert_done(syn_json_parse(json, strlen(json), &claims, &err), &err);
    assert_done(syn_jwt_sign(key, claims, &token, &err), &err);
    return check(key, syn_buf_text(&token));
}

static void
test_claims(void **state)
{
    static const struct {
        const char *claims, *says; /* NULL: it is good */
    } rows[] = {
        {"{\"exp\":1700000001,\"aud\":\"acct-a\"}", NULL},
        {"{\"exp\":1700000001.5,\"aud\":[\"x\",\"acct-a/hello\"],\"sub\":\"Zo\xC3\xAB 7\"}", NULL},
        {"{\"exp\":1700000001,\"aud\":\"acct-a\",\"nbf\":1700000060}", NULL},
        {"{\"exp\":1700000001,\"aud\":\"acct-a\",\"nbf\":1700000061}", "token-early"},
        {"{\"exp\":1700000001,\"aud\":\"acct-a\",\"nbf\":\"now\"}", "token-early"},
        {"{\"exp\":1700000000,\"aud\":\"acct-a\"}", "token-expired"},
        {"{\"exp\":\"1700000001\",\"aud\":\"acct-a\"}", "token-malformed"},
        {"{\"aud\":\"acct-a\"}", "token-malformed"},
        {"{\"exp\":1700000001}", "token-audience"},
        {"{\"exp\":1700000001,\"aud\":\"acct-b\"}", "token-audience"},
        {"{\"exp\":1700000001,\"aud\":[]}", "token-audience"},
        {"{\"exp\":1700000001,\"aud\":\"acct-a\",\"sub\":\"a\\r\\nx-root: 1\"}", "token-malformed"},
        {"{\"exp\":1700000001,\"aud\":\"acct-a\",\"sub\":\"\"}", "token-malformed"},
        {"{\"exp\":1700000001,\"aud\":\"acct-a\",\"sub\":7}", "token-malformed"},
    };
    struct syn_key *key = make_key(1);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const char *said = check_claims(key, rows[i].claims);

        if ((said == NULL) != (rows[i].says == NULL) ||
            (said != NULL && strstr(said, rows[i].says) == NULL))
            fail_msg("%s: %s", rows[i].claims, said);
    }
    (void)syn_key_free(key);
}

/* HEADER.CLAIMS with a signature of the key over just that. */
static void
forge(const struct syn_key *key, const char *header, char *out, size_t cap)
{
    static const char claims[] = "{\"exp\":1700000001,\"aud\":\"acct-a\"}";
    uint8_t signature[SYN_SIGNATURE_LEN];
    char text[3][400];

    syn_base64_encode(SYN_BASE64_URL, header, strlen(header), text[0]);
    syn_base64_encode(SYN_BASE64_URL, claims, strlen(claims), text[1]);
    (void)snprintf(out, cap, "%s.%s", text[0], text[1]);
    syn_key_sign(key, out, strlen(out), signature);
    syn_base64_encode(SYN_BASE64_URL, signature, sizeof(signature), text[2]);
    (void)snprintf(out + strlen(out), cap - strlen(out), ".%s", text[2]);
}

static void
test_forged(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"HS256\"}",
        "{\"alg\":\"ES256\"}",
        "{\"alg\":\"eddsa\"}",
        "{}",
        "{\"alg\":[\"EdDSA\"]}",
        "{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"none\",\"alg\":\"EdDSA\"}",
        "[\"EdDSA\"]",
        "",
    };
    struct syn_key *key = make_key(1), *other = make_key(2);
    char text[1024], long_one[SYN_JWT_MAX + 8];

    (void)state;
    forge(key, "{\"alg\":\"EdDSA\"}", text, sizeof(text));
    assert_null(check(key, text));
    assert_string_equal(check(other, text), "signature");
    for (char *at = text; *at != '\0'; at++) { /* not one character can be another */
        char was = *at;

        *at = was == 'A' ? 'B' : 'A';
        assert_non_null(check(key, text));
        *at = was;
    }
    text[strlen(text) - 1] = '\0';
    assert_non_null(check(key, text));
    for (size_t i = 0; i < SYN_LEN(headers); i++) {
        forge(key, headers[i], text, sizeof(text));
        if (check(key, text) == NULL)
            fail_msg("%s", headers[i]);
    }
    assert_non_null(check(key, ""));
    assert_non_null(check(key, "a.b"));
    assert_non_null(check(key, "a.b.c.d"));
    assert_non_null(check(key, "e30.e30."));
    memset(long_one, '.', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = '\0';
    assert_non_null(check(key, long_one));
    (void)syn_key_free(key);
    (void)syn_key_free(other);
}

static void
assert_keys(const char *text, size_t count, const char *kid)
{
    struct syn_err err;
    SYN_JSON(keys);

    assert_done(syn_jwt_keys_read(text, strlen(text), &keys, &err), &err);
    assert_int_equal(json_array_size(keys), count);
    assert_string_equal(syn_json_str(json_array_get(keys, 0), "kid", "?"), kid);
    assert_string_equal(syn_json_str(json_array_get(keys, 0), "key", ""),
                        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
}

static void
test_keys(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
        "7TyWQHOg7hcvPapiMlrwIaaPcHUR\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
        "7TyWQHOg7hcvPapiMlrwIaaPcHURo\","
        "\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"}",
        "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PRIVATE "
        "KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"
        "\n-----END PRIVATE KEY-----\n",
    };
    char text[600];
    struct syn_err err;
    struct syn_key *key = make_key(1);
    SYN_JSON(shown);
    SYN_JSON(keys);
    SYN_BUF(written);

    (void)state;
    assert_keys(rfc_key, 1, "");
    (void)snprintf(text, sizeof(text),
                   "{\"keys\":[{\"kty\":\"RSA\"},{\"kid\":\"one\",%s,{\"kid\":\"two\",%s]}",
                   rfc_key + 1, rfc_key + 1);
    assert_keys(text, 2, "one");
    assert_keys("-----BEGIN PUBLIC KEY-----\n"
                "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                "-----END PUBLIC KEY-----\n",
                1, "");
    (void)snprintf(text, sizeof(text), "{\"keys\":[%s,%s]}", rfc_key, rfc_key);
    assert_int_equal(syn_jwt_keys_read(text, strlen(text), &keys, &err), SYN_E_INVALID);
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        if (syn_jwt_keys_read(bad[i], strlen(bad[i]), &keys, &err) != SYN_E_INVALID)
            fail_msg("%s", bad[i]);
    /* What is shown is read. */
    assert_done(syn_jwt_key_show(syn_key_public(key), &shown, &err), &err);
    assert_done(syn_json_write(shown, &written, &err), &err);
    assert_done(syn_jwt_keys_read(written.data, written.len, &keys, &err), &err);
    assert_string_equal(syn_json_str(json_array_get(keys, 0), "kid", ""), syn_key_id(key));
    (void)syn_key_free(key);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_keys),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
