#include <synor/infra/cid.h>

#include <openssl/sha.h>

#define CID_VERSION    1
#define HASH_SHA2_256  0x12
#define MULTIHASH_SIZE (2 + SYN_DIGEST_BYTES)
#define BASE32_CHARS   58 /* of 36 bytes: 57.6 */
#define BASE58_CHARS   46 /* of a multihash; always, since it starts with 0x12 */

static const char base32_digits[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char base58_digits[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

void
syn_cid_of(enum syn_codec codec, const void *data, size_t len, struct syn_cid *ret_cid)
{
    ret_cid->codec = codec;
    SHA256(data, len, ret_cid->digest);
}

bool
syn_cid_eq(const struct syn_cid *a, const struct syn_cid *b)
{
    return a->codec == b->codec && memcmp(a->digest, b->digest, SYN_DIGEST_BYTES) == 0;
}

void
syn_cid_encode(const struct syn_cid *cid, uint8_t *out)
{
    out[0] = CID_VERSION;
    out[1] = (uint8_t)cid->codec;
    out[2] = HASH_SHA2_256;
    out[3] = SYN_DIGEST_BYTES;
    memcpy(out + 4, cid->digest, SYN_DIGEST_BYTES);
}

int
syn_cid_decode(const void *data, size_t len, struct syn_cid *ret_cid, size_t *ret_used,
               struct syn_err *err)
{
    const uint8_t *bytes = data;
    size_t hash_at = 2;
    enum syn_codec codec = SYN_CODEC_DAG_PB;

    if (len >= 2 && bytes[0] == HASH_SHA2_256 && bytes[1] == SYN_DIGEST_BYTES) {
        hash_at = 0;
    } else if (len < 2 || bytes[0] != CID_VERSION) {
        return SYN_FAIL(err, SYN_E_INVALID, "not a CID of version 0 or 1");
    } else if (bytes[1] == SYN_CODEC_RAW) {
        codec = SYN_CODEC_RAW;
    } else if (bytes[1] != SYN_CODEC_DAG_PB) {
        return SYN_FAIL(err, SYN_E_INVALID,
                        "CID with codec 0x%02x: only raw (0x55) and dag-pb (0x70) are stored",
                        (unsigned)bytes[1]);
    }
    if (len < hash_at + MULTIHASH_SIZE)
        return SYN_FAIL(err, SYN_E_INVALID, "CID cut short: %zu bytes", len);
    if (bytes[hash_at] != HASH_SHA2_256 || bytes[hash_at + 1] != SYN_DIGEST_BYTES)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "CID with hash function 0x%02x: only sha2-256 (0x12) of 32 bytes is stored",
                        (unsigned)bytes[hash_at]);
    ret_cid->codec = codec;
    memcpy(ret_cid->digest, bytes + hash_at + 2, SYN_DIGEST_BYTES);
    *ret_used = hash_at + MULTIHASH_SIZE;
    return SYN_OK;
}

/* Base32 of RFC 4648 in lower case, unpadded; the bits left over in the last digit must be zero. */
static SYN_MUST bool
base32_decode(const char *text, uint8_t *out)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t used = 0;

    for (size_t i = 0; i < BASE32_CHARS; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(base32_digits, text[i]);

        if (digit == NULL)
            return false;
        bits = (bits << 5) | (uint32_t)(digit - base32_digits);
        held += 5;
        if (held >= 8) {
            held -= 8;
            out[used++] = (uint8_t)(bits >> held);
        }
        bits &= (UINT32_C(1) << held) - 1;
    }
    assert(used == SYN_CID_BYTES);
    return bits == 0;
}

static SYN_MUST bool
base58_decode(const char *text, uint8_t *out)
{
    memset(out, 0, MULTIHASH_SIZE);
    for (size_t i = 0; i < BASE58_CHARS; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(base58_digits, text[i]);
        uint32_t carry;

        if (digit == NULL)
            return false;
        carry = (uint32_t)(digit - base58_digits);
        for (size_t j = MULTIHASH_SIZE; j-- > 0;) {
            carry += (uint32_t)out[j] * 58;
            out[j] = (uint8_t)carry;
            carry >>= 8;
        }
        if (carry != 0)
            return false;
    }
    return true;
}

int
syn_cid_parse(const char *text, size_t len, struct syn_cid *ret_cid, struct syn_err *err)
{
    uint8_t bytes[SYN_CID_BYTES];
    struct syn_cid cid;
    size_t used = 0;
    size_t size;
    int rc;

    if (len == 1 + BASE32_CHARS && text[0] == 'b' && base32_decode(text + 1, bytes))
        size = SYN_CID_BYTES;
    else if (len == BASE58_CHARS && text[0] == 'Q' && base58_decode(text, bytes))
        size = MULTIHASH_SIZE;
    else
        return SYN_FAIL(err, SYN_E_INVALID,
                        "not a CID: expected \"b\" and %d base32 digits, or \"Qm...\"",
                        BASE32_CHARS);
    rc = syn_cid_decode(bytes, size, &cid, &used, err);
    if (rc < 0)
        return rc;
    if (used != size)
        return SYN_FAIL(err, SYN_E_INVALID, "not a CID: a version 0 CID is written in base58");
    *ret_cid = cid;
    return SYN_OK;
}

const char *
syn_cid_format(const struct syn_cid *cid, char *out)
{
    uint8_t bytes[SYN_CID_BYTES];
    uint32_t bits = 0;
    unsigned held = 0;
    size_t used = 0;

    syn_cid_encode(cid, bytes);
    out[used++] = 'b';
    for (size_t i = 0; i < SYN_CID_BYTES; i++) {
        bits = (bits << 8) | bytes[i];
        held += 8;
        while (held >= 5) {
            held -= 5;
            out[used++] = base32_digits[(bits >> held) & 31];
        }
        bits &= (UINT32_C(1) << held) - 1;
    }
    out[used++] = base32_digits[(bits << (5 - held)) & 31];
    out[used] = '\0';
    assert(used == 1 + BASE32_CHARS);
    return out;
}
