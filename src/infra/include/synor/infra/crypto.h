/* Cryptography, and nothing that decides policy: digests, text codecs, signatures, sealing. OpenSSL
 * does bulk work (SHA-NI, AES-NI), libsodium the signatures: one verifier everywhere. */
#ifndef SYNOR_INFRA_CRYPTO_H
#define SYNOR_INFRA_CRYPTO_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_SHA256_LEN 32

/** A running SHA-256. The caller's memory; copying the struct forks the stream. Cannot fail. */
struct syn_sha256 {
    uint64_t opaque[14];
};

void syn_sha256(const void *data, size_t len, uint8_t ret_digest[SYN_SHA256_LEN]);
void syn_sha256_init(struct syn_sha256 *hash);
void syn_sha256_update(struct syn_sha256 *hash, const void *data, size_t len);
/** The digest of everything added; `hash` must be initialised again before further use. */
void syn_sha256_final(struct syn_sha256 *hash, uint8_t ret_digest[SYN_SHA256_LEN]);

/** HMAC-SHA256 with a key of any length. */
void syn_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                     uint8_t ret_mac[SYN_SHA256_LEN]);

/** Compare in a time that depends on `len` only. */
bool syn_secret_eq(const void *a, const void *b, size_t len);
/** Overwrite in a way that the compiler keeps. */
void syn_secret_wipe(void *data, size_t len);
/** Unpredictable bytes from the kernel. */
void syn_secret_random(void *out, size_t len);

/* Codecs. Encoders write a terminated text; sizes include the zero. Decoders are strict: no blanks,
 * no padding where none belongs, and unused trailing bits must be zero, so that one byte string has
 * exactly one text. They give INVALID, and write at most `cap` bytes. */
#define SYN_BASE32_SIZE(len) (((len)*8 + 4) / 5 + 1)
#define SYN_BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1)

/** RFC 4648 base32, lower case, without padding (multibase "b"). */
void syn_base32_encode(const void *data, size_t len, char *out);
SYN_MUST int syn_base32_decode(const char *text, size_t text_len, void *out, size_t cap,
                               size_t *ret_len, struct syn_err *err);

enum syn_base64 {
    SYN_BASE64_STD, /* + and /, padded */
    SYN_BASE64_URL, /* - and _, without padding */
};
void syn_base64_encode(enum syn_base64 kind, const void *data, size_t len, char *out);
SYN_MUST int syn_base64_decode(enum syn_base64 kind, const char *text, size_t text_len, void *out,
                               size_t cap, size_t *ret_len, struct syn_err *err);

#define SYN_SIGN_PUBLIC_LEN 32
#define SYN_SIGNATURE_LEN   64
/** Base32 of the first ten bytes of SHA-256 over the public key. */
#define SYN_KEY_ID_SIZE SYN_BASE32_SIZE(10)

/** An Ed25519 key pair; its secret half is wiped when freed. Immutable: any thread. */
struct syn_key;

/** Draw a fresh pair. */
SYN_MUST int syn_key_new(struct syn_key **ret_key, struct syn_err *err);
/** The pair that belongs to a 32-byte seed. */
SYN_MUST int syn_key_from_seed(const uint8_t seed[32], struct syn_key **ret_key,
                               struct syn_err *err);
struct syn_key *syn_key_free(struct syn_key *key);
void syn_key_free_scope(struct syn_key **slot);
/** Write the pair to `path`, mode 0600, whole or not at all, durable on return. Blocks: yes.
 *  EXISTS when there is a file already: keys are never overwritten. */
SYN_MUST int syn_key_save(const struct syn_key *key, const char *path, struct syn_err *err);
/** FORBIDDEN when others may read the file; CORRUPT when it is no key. Blocks: yes. */
SYN_MUST int syn_key_load(const char *path, struct syn_key **ret_key, struct syn_err *err);
/** SYN_SIGN_PUBLIC_LEN bytes, borrowed from `key`. */
const uint8_t *syn_key_public(const struct syn_key *key);
/** Text borrowed from `key`. */
const char *syn_key_id(const struct syn_key *key);
void syn_key_sign(const struct syn_key *key, const void *data, size_t len,
                  uint8_t ret_signature[SYN_SIGNATURE_LEN]);
bool syn_verify(const uint8_t public_key[SYN_SIGN_PUBLIC_LEN], const void *data, size_t len,
                const uint8_t signature[SYN_SIGNATURE_LEN]);
void syn_key_id_of(const uint8_t public_key[SYN_SIGN_PUBLIC_LEN], char out[SYN_KEY_ID_SIZE]);

#define SYN_SEAL_KEY_LEN   32
#define SYN_SEAL_NONCE_LEN 12
#define SYN_SEAL_TAG_LEN   16

/** What one AES-256-GCM call works on. A nonce must never serve twice under one key. */
struct syn_seal {
    const uint8_t *key;   /* SYN_SEAL_KEY_LEN */
    const uint8_t *nonce; /* SYN_SEAL_NONCE_LEN */
    const void *aad;      /* authenticated, not encrypted; may be NULL when aad_len is 0 */
    size_t aad_len;
};

/** Encrypt `len` bytes into out[len + SYN_SEAL_TAG_LEN]; `out` may be `plain`. */
SYN_MUST int syn_seal(const struct syn_seal *seal, const void *plain, size_t len, void *out,
                      struct syn_err *err);
/** Decrypt `len` bytes (tag included) into out[len - SYN_SEAL_TAG_LEN]; `out` may be `sealed`.
 *  CORRUPT, with `out` wiped, when key, nonce, aad or content do not belong together. */
SYN_MUST int syn_unseal(const struct syn_seal *seal, const void *sealed, size_t len, void *out,
                        struct syn_err *err);

#endif
