/* The low-level SHA256_* calls are kept although OpenSSL 3 prefers EVP: they need no allocation, so
 * a digest cannot fail, and a 24-byte token costs a tenth of what fetching an EVP_MD costs. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <synor/infra/crypto.h>

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <sys/random.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

_Static_assert(sizeof(struct syn_sha256) >= sizeof(SHA256_CTX), "room for OpenSSL's state");
_Static_assert(_Alignof(struct syn_sha256) >= _Alignof(SHA256_CTX), "alignment of the state");

struct syn_key {
    uint8_t secret[crypto_sign_SECRETKEYBYTES]; /* seed, then public half */
    uint8_t public_half[SYN_SIGN_PUBLIC_LEN];
    char id[SYN_KEY_ID_SIZE];
};

#define KEY_FILE_MAGIC "synor-ed25519-key-1 "

void
syn_sha256_init(struct syn_sha256 *hash)
{
    SHA256_CTX *ctx = (SHA256_CTX *)(void *)hash;

    (void)SHA256_Init(ctx);
}

void
syn_sha256_update(struct syn_sha256 *hash, const void *data, size_t len)
{
    (void)SHA256_Update((SHA256_CTX *)(void *)hash, data, len);
}

void
syn_sha256_final(struct syn_sha256 *hash, uint8_t ret_digest[SYN_SHA256_LEN])
{
    (void)SHA256_Final(ret_digest, (SHA256_CTX *)(void *)hash);
}

void
syn_sha256(const void *data, size_t len, uint8_t ret_digest[SYN_SHA256_LEN])
{
    struct syn_sha256 hash;

    syn_sha256_init(&hash);
    syn_sha256_update(&hash, data, len);
    syn_sha256_final(&hash, ret_digest);
}

void
syn_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                uint8_t ret_mac[SYN_SHA256_LEN])
{
    crypto_auth_hmacsha256_state state;

    (void)crypto_auth_hmacsha256_init(&state, key, key_len);
    (void)crypto_auth_hmacsha256_update(&state, data, len);
    (void)crypto_auth_hmacsha256_final(&state, ret_mac);
    sodium_memzero(&state, sizeof(state));
}

bool
syn_secret_eq(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

void
syn_secret_wipe(void *data, size_t len)
{
    sodium_memzero(data, len);
}

void
syn_secret_random(void *out, size_t len)
{
    char *at = out;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        assert(got > 0); /* every kernel we run on has getrandom(2) */
        at += got;
        len -= (size_t)got;
    }
}

/* --- codecs -------------------------------------------------------------------------------------
 */

/* One row per alphabet: digits, bits a digit, and what may follow. */
struct codec {
    const char *name;
    const char *digits;
    unsigned bits;
    unsigned group; /* pad to a multiple of this many digits; 0 for none */
};

static const struct codec base32_codec = {"base32", "abcdefghijklmnopqrstuvwxyz234567", 5, 0};
static const struct codec base64_codecs[] = {
    [SYN_BASE64_STD] = {"base64",
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 6, 4},
    [SYN_BASE64_URL] = {"base64url",
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 6, 0},
};

static void
codec_encode(const struct codec *codec, const void *data, size_t len, char *out)
{
    const uint8_t *bytes = data;
    uint32_t acc = 0;
    unsigned held = 0;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        acc = acc << 8 | bytes[i];
        held += 8;
        while (held >= codec->bits) {
            held -= codec->bits;
            out[n++] = codec->digits[acc >> held & ((1U << codec->bits) - 1)];
        }
        acc &= (1U << held) - 1;
    }
    if (held > 0)
        out[n++] = codec->digits[acc << (codec->bits - held) & ((1U << codec->bits) - 1)];
    while (codec->group != 0 && n % codec->group != 0)
        out[n++] = '=';
    out[n] = '\0';
}

/* Digit value by branch-free search would hide timing; tokens are compared as digests, so a plain
 * search is fine here. */
static int
codec_digit(const struct codec *codec, char c)
{
    const char *at = c == '\0' ? NULL : strchr(codec->digits, c);

    return at == NULL ? -1 : (int)(at - codec->digits);
}

static int
codec_decode(const struct codec *codec, const char *text, size_t text_len, uint8_t *out, size_t cap,
             size_t *ret_len, struct syn_err *err)
{
    size_t digits = text_len;
    uint32_t acc = 0;
    unsigned held = 0;
    size_t n = 0;

    if (codec->group != 0) {
        if (text_len % codec->group != 0)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: length %zu is not a multiple of %u",
                            codec->name, text_len, codec->group);
        for (unsigned pad = 0; pad < 2 && digits > 0 && text[digits - 1] == '='; pad++)
            digits--;
    }
    for (size_t i = 0; i < digits; i++) {
        int value = codec_digit(codec, text[i]);

        if (value < 0)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: byte %zu is no digit", codec->name, i + 1);
        acc = acc << codec->bits | (uint32_t)value;
        held += codec->bits;
        if (held < 8)
            continue;
        held -= 8;
        if (n == cap)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: more than %zu bytes", codec->name, cap);
        out[n++] = (uint8_t)(acc >> held);
        acc &= (1U << held) - 1;
    }
    if (held >= codec->bits || acc != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: stray bits at the end", codec->name);
    *ret_len = n;
    return SYN_OK;
}

void
syn_base32_encode(const void *data, size_t len, char *out)
{
    codec_encode(&base32_codec, data, len, out);
}

int
syn_base32_decode(const char *text, size_t text_len, void *out, size_t cap, size_t *ret_len,
                  struct syn_err *err)
{
    return codec_decode(&base32_codec, text, text_len, out, cap, ret_len, err);
}

void
syn_base64_encode(enum syn_base64 kind, const void *data, size_t len, char *out)
{
    codec_encode(&base64_codecs[kind], data, len, out);
}

int
syn_base64_decode(enum syn_base64 kind, const char *text, size_t text_len, void *out, size_t cap,
                  size_t *ret_len, struct syn_err *err)
{
    return codec_decode(&base64_codecs[kind], text, text_len, out, cap, ret_len, err);
}

/* --- signatures ---------------------------------------------------------------------------------
 */

void
syn_key_id_of(const uint8_t public_key[SYN_SIGN_PUBLIC_LEN], char out[SYN_KEY_ID_SIZE])
{
    uint8_t digest[SYN_SHA256_LEN];

    syn_sha256(public_key, SYN_SIGN_PUBLIC_LEN, digest);
    syn_base32_encode(digest, 10, out);
}

int
syn_key_from_seed(const uint8_t seed[32], struct syn_key **ret_key, struct syn_err *err)
{
    struct syn_key *key;

    if (sodium_init() < 0)
        return SYN_FAIL(err, SYN_E_INTERNAL, "libsodium does not start");
    key = syn_calloc(1, sizeof(*key));
    if (key == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a key");
    (void)crypto_sign_seed_keypair(key->public_half, key->secret, seed);
    syn_key_id_of(key->public_half, key->id);
    *ret_key = key;
    return SYN_OK;
}

int
syn_key_new(struct syn_key **ret_key, struct syn_err *err)
{
    uint8_t seed[32];
    int rc;

    syn_secret_random(seed, sizeof(seed));
    rc = syn_key_from_seed(seed, ret_key, err);
    syn_secret_wipe(seed, sizeof(seed));
    return rc;
}

struct syn_key *
syn_key_free(struct syn_key *key)
{
    if (key != NULL)
        syn_secret_wipe(key, sizeof(*key));
    syn_free(key);
    return NULL;
}

void
syn_key_free_scope(struct syn_key **slot)
{
    *slot = syn_key_free(*slot);
}

int
syn_key_save(const struct syn_key *key, const char *path, struct syn_err *err)
{
    char text[sizeof(KEY_FILE_MAGIC) + SYN_BASE64_SIZE(32) + 1];
    char seed[SYN_BASE64_SIZE(32)];
    int len;
    int rc;

    syn_base64_encode(SYN_BASE64_STD, key->secret, 32, seed);
    len = snprintf(text, sizeof(text), "%s%s\n", KEY_FILE_MAGIC, seed);
    rc = syn_secret_file_create(path, text, (size_t)len, err);
    syn_secret_wipe(seed, sizeof(seed));
    syn_secret_wipe(text, sizeof(text));
    return rc;
}

int
syn_key_load(const char *path, struct syn_key **ret_key, struct syn_err *err)
{
    SYN_BUF(file);
    const size_t magic = sizeof(KEY_FILE_MAGIC) - 1;
    uint8_t seed[32];
    size_t len = 0;
    int rc;

    rc = syn_secret_file_read(path, &file, err);
    if (rc < 0)
        return rc;
    if (file.len <= magic + 1 || memcmp(file.data, KEY_FILE_MAGIC, magic) != 0 ||
        file.data[file.len - 1] != '\n' ||
        syn_base64_decode(SYN_BASE64_STD, file.data + magic, file.len - magic - 1, seed,
                          sizeof(seed), &len, NULL) < 0 ||
        len != sizeof(seed))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s is not a key file; restore it from a backup", path);
    else
        rc = syn_key_from_seed(seed, ret_key, err);
    syn_secret_wipe(seed, sizeof(seed));
    if (file.data != NULL)
        syn_secret_wipe(file.data, file.cap);
    return rc;
}

const uint8_t *
syn_key_public(const struct syn_key *key)
{
    return key->public_half;
}

const char *
syn_key_id(const struct syn_key *key)
{
    return key->id;
}

void
syn_key_sign(const struct syn_key *key, const void *data, size_t len,
             uint8_t ret_signature[SYN_SIGNATURE_LEN])
{
    (void)crypto_sign_detached(ret_signature, NULL, data, len, key->secret);
}

bool
syn_verify(const uint8_t public_key[SYN_SIGN_PUBLIC_LEN], const void *data, size_t len,
           const uint8_t signature[SYN_SIGNATURE_LEN])
{
    return crypto_sign_verify_detached(signature, data, len, public_key) == 0;
}

/* --- sealing ------------------------------------------------------------------------------------
 */

static void
cipher_scope(EVP_CIPHER_CTX **slot)
{
    EVP_CIPHER_CTX_free(*slot);
}

static EVP_CIPHER_CTX *
cipher_open(const struct syn_seal *seal, int encrypt)
{
    SYN_SCOPED(cipher_scope) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    if (ctx == NULL || seal->aad_len > INT_MAX ||
        EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, seal->key, seal->nonce, encrypt) != 1)
        return NULL;
    if (seal->aad_len > 0 && EVP_CipherUpdate(ctx, NULL, &n, seal->aad, (int)seal->aad_len) != 1)
        return NULL;
    return SYN_TAKE(ctx);
}

/* OpenSSL counts in int: feed it a gibibyte at a time. */
static bool
cipher_run(EVP_CIPHER_CTX *ctx, const uint8_t *in, size_t len, uint8_t *out)
{
    while (len > 0) {
        int step = (int)SYN_MIN(len, (size_t)1 << 30);
        int n = 0;

        if (EVP_CipherUpdate(ctx, out, &n, in, step) != 1 || n != step)
            return false;
        in += step;
        out += step;
        len -= (size_t)step;
    }
    return true;
}

int
syn_seal(const struct syn_seal *seal, const void *plain, size_t len, void *out, struct syn_err *err)
{
    SYN_SCOPED(cipher_scope) EVP_CIPHER_CTX *ctx = cipher_open(seal, 1);
    uint8_t *tag = (uint8_t *)out + len;
    int n = 0;

    if (ctx == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "AES-256-GCM does not start");
    if (!cipher_run(ctx, plain, len, out) || EVP_CipherFinal_ex(ctx, tag, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, SYN_SEAL_TAG_LEN, tag) != 1)
        return SYN_FAIL(err, SYN_E_INTERNAL, "sealing %zu bytes", len);
    return SYN_OK;
}

int
syn_unseal(const struct syn_seal *seal, const void *sealed, size_t len, void *out,
           struct syn_err *err)
{
    uint8_t tag[SYN_SEAL_TAG_LEN];
    size_t plain_len;
    int n = 0;

    if (len < SYN_SEAL_TAG_LEN)
        return SYN_FAIL(err, SYN_E_CORRUPT, "sealed data of %zu bytes has no room for its tag",
                        len);
    plain_len = len - SYN_SEAL_TAG_LEN;
    memcpy(tag, (const uint8_t *)sealed + plain_len, sizeof(tag));

    SYN_SCOPED(cipher_scope) EVP_CIPHER_CTX *ctx = cipher_open(seal, 0);

    if (ctx == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "AES-256-GCM does not start");
    if (!cipher_run(ctx, sealed, plain_len, out) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, SYN_SEAL_TAG_LEN, tag) != 1 ||
        EVP_CipherFinal_ex(ctx, (uint8_t *)out + plain_len, &n) != 1) {
        syn_secret_wipe(out, plain_len);
        return SYN_FAIL(err, SYN_E_CORRUPT, "sealed data does not match its tag and key");
    }
    return SYN_OK;
}
