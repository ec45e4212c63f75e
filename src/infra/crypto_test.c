#include <synor/base/test.h>

#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/infra/secret_file.h>

static void
test_sha256_vectors(void **state)
{
    static const struct {
        const char *text;
        const char *hex;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        uint8_t digest[SYN_SHA256_LEN];
        char hex[2 * SYN_SHA256_LEN + 1];
        struct syn_sha256 hash;

        syn_sha256(rows[i].text, strlen(rows[i].text), digest);
        syn_hex_encode(digest, sizeof(digest), hex);
        assert_string_equal(hex, rows[i].hex);
        syn_sha256_init(&hash);
        for (const char *at = rows[i].text; *at != '\0'; at++)
            syn_sha256_update(&hash, at, 1);
        syn_sha256_final(&hash, digest);
        syn_hex_encode(digest, sizeof(digest), hex);
        assert_string_equal(hex, rows[i].hex);
    }
}

/* RFC 4231, cases 2 and 6: a short key, and one longer than a block. */
static void
test_hmac_vectors(void **state)
{
    uint8_t long_key[131];
    uint8_t mac[SYN_SHA256_LEN];
    char hex[2 * SYN_SHA256_LEN + 1];
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";

    (void)state;
    syn_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
    syn_hex_encode(mac, sizeof(mac), hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(long_key, 0xaa, sizeof(long_key));
    syn_hmac_sha256(long_key, sizeof(long_key), text, strlen(text), mac);
    syn_hex_encode(mac, sizeof(mac), hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* RFC 4648, section 10. */
static void
test_codec_vectors(void **state)
{
    static const struct {
        const char *plain, *base32, *base64, *url;
    } rows[] = {
        {"", "", "", ""},
        {"f", "my", "Zg==", "Zg"},
        {"fo", "mzxq", "Zm8=", "Zm8"},
        {"foo", "mzxw6", "Zm9v", "Zm9v"},
        {"foob", "mzxw6yq", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "mzxw6ytb", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "mzxw6ytboi", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff", "7p7q", "+/8=", "-_8"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        size_t len = strlen(rows[i].plain);
        char text[32];
        char back[16];
        size_t got = 99;
        struct syn_err err;

        syn_base32_encode(rows[i].plain, len, text);
        assert_string_equal(text, rows[i].base32);
        assert_int_equal(strlen(text) + 1, SYN_BASE32_SIZE(len));
        assert_done(syn_base32_decode(text, strlen(text), back, sizeof(back), &got, &err), &err);
        assert_int_equal(got, len);
        assert_memory_equal(back, rows[i].plain, len);
        syn_base64_encode(SYN_BASE64_STD, rows[i].plain, len, text);
        assert_string_equal(text, rows[i].base64);
        assert_done(
            syn_base64_decode(SYN_BASE64_STD, text, strlen(text), back, sizeof(back), &got, &err),
            &err);
        assert_memory_equal(back, rows[i].plain, len);
        syn_base64_encode(SYN_BASE64_URL, rows[i].plain, len, text);
        assert_string_equal(text, rows[i].url);
        assert_done(
            syn_base64_decode(SYN_BASE64_URL, text, strlen(text), back, sizeof(back), &got, &err),
            &err);
        assert_int_equal(got, len);
    }
}

static void
test_codec_refuses(void **state)
{
    static const char *const bad32[] = {"a", "MY", "my======", "m y", "mz", "mzx", "mzxw6y", "m1"};
    static const char *const bad64[] = {"Z",    "Zg",   "Zg=",      "Zh==", "Zm8",
                                        "====", "Z===", "Zm9=Zm9v", "Zm-_", "Zg==Zg=="};
    static const char *const badurl[] = {"Z", "Zg==", "Zh", "Zm+/"};
    char out[16];
    size_t len;
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad32); i++)
        assert_code(syn_base32_decode(bad32[i], strlen(bad32[i]), out, sizeof(out), &len, &err),
                    SYN_E_INVALID, &err);
    for (size_t i = 0; i < SYN_LEN(bad64); i++)
        assert_code(syn_base64_decode(SYN_BASE64_STD, bad64[i], strlen(bad64[i]), out, sizeof(out),
                                      &len, &err),
                    SYN_E_INVALID, &err);
    for (size_t i = 0; i < SYN_LEN(badurl); i++)
        assert_code(syn_base64_decode(SYN_BASE64_URL, badurl[i], strlen(badurl[i]), out,
                                      sizeof(out), &len, &err),
                    SYN_E_INVALID, &err);
    assert_code(syn_base32_decode("mzxw6ytboi", 10, out, 5, &len, &err), SYN_E_INVALID, &err);
}

static void
test_codec_round_trip(void **state) /* NOLINT(readability-function-size): cmocka's macros nest */
{
    uint64_t seed = 7;
    uint8_t data[67];
    uint8_t back[67];
    char text[SYN_BASE32_SIZE(67)];
    struct syn_err err;

    (void)state;
    for (size_t len = 0; len <= sizeof(data); len++) {
        size_t got = 0;

        for (size_t i = 0; i < len; i++)
            data[i] = (uint8_t)syn_test_random(&seed);
        syn_base32_encode(data, len, text);
        assert_done(syn_base32_decode(text, strlen(text), back, len, &got, &err), &err);
        assert_int_equal(got, len);
        assert_memory_equal(back, data, len);
        for (int kind = SYN_BASE64_STD; kind <= SYN_BASE64_URL; kind++) {
            syn_base64_encode((enum syn_base64)kind, data, len, text);
            assert_done(
                syn_base64_decode((enum syn_base64)kind, text, strlen(text), back, len, &got, &err),
                &err);
            assert_int_equal(got, len);
            assert_memory_equal(back, data, len);
        }
    }
}

/* RFC 8032, test 2. */
static void
test_sign_vector(void **state)
{
    static const char seed_hex[] =
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    static const char public_hex[] =
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    static const char signature_hex[] =
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    uint8_t seed[32];
    uint8_t signature[SYN_SIGNATURE_LEN];
    char hex[2 * SYN_SIGNATURE_LEN + 1];
    struct syn_err err;
    SYN_SCOPED(syn_key_free_scope) struct syn_key *key = NULL;
    char id[SYN_KEY_ID_SIZE];

    (void)state;
    assert_done(syn_hex_decode(seed_hex, seed, sizeof(seed), &err), &err);
    assert_done(syn_key_from_seed(seed, &key, &err), &err);
    syn_hex_encode(syn_key_public(key), SYN_SIGN_PUBLIC_LEN, hex);
    assert_string_equal(hex, public_hex);
    syn_key_sign(key, "\x72", 1, signature);
    syn_hex_encode(signature, sizeof(signature), hex);
    assert_string_equal(hex, signature_hex);
    assert_true(syn_verify(syn_key_public(key), "\x72", 1, signature));
    assert_false(syn_verify(syn_key_public(key), "\x73", 1, signature));
    signature[5] ^= 1;
    assert_false(syn_verify(syn_key_public(key), "\x72", 1, signature));
    syn_key_id_of(syn_key_public(key), id);
    assert_string_equal(id, syn_key_id(key));
    assert_int_equal(strlen(id), 16);
}

static void
test_key_file(void **state)
{
    char path[512];
    struct stat st;
    struct syn_err err;
    SYN_SCOPED(syn_key_free_scope) struct syn_key *key = NULL;
    SYN_SCOPED(syn_key_free_scope) struct syn_key *back = NULL;
    struct syn_key *none = NULL;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/node.key", syn_test_dir());
    assert_code(syn_key_load(path, &none, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_key_new(&key, &err), &err);
    assert_done(syn_key_save(key, path, &err), &err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_done(syn_key_load(path, &back, &err), &err);
    assert_string_equal(syn_key_id(key), syn_key_id(back));
    assert_code(syn_key_save(key, path, &err), SYN_E_EXISTS, &err);
    assert_int_equal(chmod(path, 0640), 0);
    assert_code(syn_key_load(path, &none, &err), SYN_E_FORBIDDEN, &err);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 30), 0);
    assert_code(syn_key_load(path, &none, &err), SYN_E_CORRUPT, &err);
    assert_int_equal(truncate(path, 0), 0);
    assert_code(syn_key_load(path, &none, &err), SYN_E_CORRUPT, &err);
    assert_null(none);
}

static void
test_secret_file_refuses(void **state)
{
    char path[512];
    struct syn_err err;
    SYN_BUF(out);

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/none/secret", syn_test_dir());
    assert_code(syn_secret_file_create(path, "x", 1, &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_secret_file_read(syn_test_dir(), &out, &err), SYN_E_INVALID, &err);
    assert_code(syn_secret_file_create("/dev/full/secret", "x", 1, &err), SYN_E_IO, &err);
}

static void
test_seal(void **state)
{
    uint8_t key[SYN_SEAL_KEY_LEN] = {0};
    uint8_t nonce[SYN_SEAL_NONCE_LEN] = {0};
    uint8_t plain[16] = {0};
    uint8_t sealed[sizeof(plain) + SYN_SEAL_TAG_LEN];
    uint8_t back[sizeof(sealed)];
    char hex[2 * sizeof(sealed) + 1];
    struct syn_seal seal = {key, nonce, NULL, 0};
    struct syn_err err;

    (void)state;
    /* The GCM specification's test case 14. */
    assert_done(syn_seal(&seal, plain, sizeof(plain), sealed, &err), &err);
    syn_hex_encode(sealed, sizeof(sealed), hex);
    assert_string_equal(hex, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    assert_done(syn_unseal(&seal, sealed, sizeof(sealed), back, &err), &err);
    assert_memory_equal(back, plain, sizeof(plain));
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 0x10;
        assert_code(syn_unseal(&seal, sealed, sizeof(sealed), back, &err), SYN_E_CORRUPT, &err);
        sealed[i] ^= 0x10;
    }
    seal.aad = "other";
    seal.aad_len = 5;
    assert_code(syn_unseal(&seal, sealed, sizeof(sealed), back, &err), SYN_E_CORRUPT, &err);
    assert_code(syn_unseal(&seal, sealed, 15, back, &err), SYN_E_CORRUPT, &err);
    /* In place, with associated data, empty content included. */
    for (uint8_t i = 0; i < 16; i++)
        back[i] = (uint8_t) "0123456789abcdef"[i];
    assert_done(syn_seal(&seal, back, 16, back, &err), &err);
    assert_done(syn_unseal(&seal, back, 32, back, &err), &err);
    assert_memory_equal(back, "0123456789abcdef", 16);
    assert_done(syn_seal(&seal, NULL, 0, sealed, &err), &err);
    assert_done(syn_unseal(&seal, sealed, SYN_SEAL_TAG_LEN, back, &err), &err);
}

static void
test_secret_helpers(void **state)
{
    uint8_t a[32];
    uint8_t b[32];

    (void)state;
    syn_secret_random(a, sizeof(a));
    syn_secret_random(b, sizeof(b));
    assert_false(syn_secret_eq(a, b, sizeof(a)));
    assert_true(syn_secret_eq(a, a, sizeof(a)));
    syn_secret_wipe(a, sizeof(a));
    memset(b, 0, sizeof(b));
    assert_memory_equal(a, b, sizeof(a));
}

static int
sweep_key(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_key_free_scope) struct syn_key *key = NULL;
    SYN_SCOPED(syn_key_free_scope) struct syn_key *back = NULL;
    const char *path = arg;
    int rc;

    (void)unlink(path);
    rc = syn_key_new(&key, err);
    if (rc < 0)
        return rc;
    rc = syn_key_save(key, path, err);
    if (rc < 0)
        return rc;
    return syn_key_load(path, &back, err);
}

static void
test_key_sweep(void **state)
{
    char path[512];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/sweep.key", syn_test_dir());
    assert_true(syn_test_sweep_alloc(sweep_key, path) >= 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_vectors),
        cmocka_unit_test(test_hmac_vectors),
        cmocka_unit_test(test_codec_vectors),
        cmocka_unit_test(test_codec_refuses),
        cmocka_unit_test(test_codec_round_trip),
        cmocka_unit_test(test_sign_vector),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_secret_file_refuses),
        cmocka_unit_test(test_seal),
        cmocka_unit_test(test_secret_helpers),
        cmocka_unit_test(test_key_sweep),
    };

    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
