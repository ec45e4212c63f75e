/* One block on disk:
 *
 *     0  magic "SYNB"            8  payload and tag length    48  key id (8)
 *     4  version, flags,        12  payload length, unpacked  56  nonce (12)
 *        codec, 0               16  sha2-256 digest (32)      68  check of bytes 0..67
 *    72  payload: the block or its recipe, maybe zstd, maybe AES-256-GCM; then the tag; zeros up to
 *        8 bytes
 *
 * All numbers are little-endian. The digest is of the block itself, so that encryption and
 * compression never change a CID, and it is what a read is checked against; the header's own check
 * only serves to find records again when the index is lost. The header is the cipher's associated
 * data. A nonce is random: 2^32 records a key stay far from the bound, and a key is changed by one
 * option. */
#include "block_priv.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <zstd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "unixfs_priv.h"

#define MAGIC   UINT32_C(0x424e5953) /* "SYNB" */
#define VERSION 1

#define AT_FLAGS  5
#define AT_CODEC  6
#define AT_STORED 8
#define AT_RAW    12
#define AT_DIGEST 16
#define AT_KEY    48
#define AT_NONCE  56
#define AT_CHECK  68

/* Level 1 keeps up with a disk; below 512 bytes the header of a frame eats what is won. */
#define ZSTD_LEVEL   1
#define ZSTD_LEN_MIN 512
#define PROBE_BYTES  ((size_t)8 << 10)
#define PROBE_COUNT  2
#define KEY_FILE_MAX (2 * SYN_KEY_BYTES + 2)
#define KEY_ID_LABEL "synor content key"

struct syn_coder {
    const struct syn_block_keys *keys;
    ZSTD_CCtx *zip;
    ZSTD_DCtx *unzip;
    EVP_CIPHER_CTX *cipher;
    uint8_t *scratch;
    size_t scratch_cap;
};

/* ---- keys ------------------------------------------------------------------------------------ */

static SYN_MUST int
read_key(const char *path, uint8_t out[static SYN_KEY_BYTES], struct syn_err *err)
{
    char text[KEY_FILE_MAX + 1] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, KEY_FILE_MAX);
    int errnum = errno;
    int rc = SYN_OK;

    if (fd >= 0)
        (void)close(fd);
    if (got < 0)
        return SYN_FAIL_SYS(err, errnum, "reading key file %s", path);
    if (got == SYN_KEY_BYTES) {
        memcpy(out, text, SYN_KEY_BYTES);
    } else {
        size_t len = (size_t)got;

        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
            text[--len] = '\0';
        if (syn_hex_decode(text, out, SYN_KEY_BYTES, NULL) < 0)
            rc = SYN_FAIL(err, SYN_E_INVALID,
                          "key file %s must hold 32 bytes or 64 hexadecimal digits", path);
    }
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

int
syn_block_keys_add(struct syn_block_keys *keys, const char *path, bool current, struct syn_err *err)
{
    uint8_t input[sizeof(KEY_ID_LABEL) + SYN_KEY_BYTES] = KEY_ID_LABEL;
    uint8_t digest[SYN_DIGEST_BYTES];
    struct syn_block_key *key = &keys->keys[keys->count];
    int rc;

    assert(!current || keys->count == 0);
    if (keys->count == SYN_KEYS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d keys", SYN_KEYS_MAX);
    rc = read_key(path, key->bytes, err);
    if (rc < 0)
        return rc;
    memcpy(input + sizeof(KEY_ID_LABEL), key->bytes, SYN_KEY_BYTES);
    SHA256(input, sizeof(input), digest);
    OPENSSL_cleanse(input, sizeof(input));
    memcpy(key->id, digest, SYN_KEY_ID_BYTES);
    keys->count++;
    keys->encrypt = keys->encrypt || current;
    return SYN_OK;
}

void
syn_block_keys_fini(struct syn_block_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof(*keys));
}

const struct syn_block_key *
syn_block_keys_find(const struct syn_block_keys *keys, const uint8_t *id)
{
    for (unsigned i = 0; i < keys->count; i++) {
        if (memcmp(keys->keys[i].id, id, SYN_KEY_ID_BYTES) == 0)
            return &keys->keys[i];
    }
    return NULL;
}

/* ---- coder ----------------------------------------------------------------------------------- */

int
syn_coder_new(const struct syn_block_keys *keys, struct syn_coder **ret_coder, struct syn_err *err)
{
    struct syn_coder *coder = syn_calloc(1, sizeof(*coder));

    if (coder == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a coder");
    coder->keys = keys;
    coder->cipher = EVP_CIPHER_CTX_new();
    if (coder->cipher == NULL) {
        syn_coder_free(coder);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a coder");
    }
    *ret_coder = coder;
    return SYN_OK;
}

struct syn_coder *
syn_coder_free(struct syn_coder *coder)
{
    if (coder != NULL) {
        EVP_CIPHER_CTX_free(coder->cipher);
        ZSTD_freeCCtx(coder->zip);
        ZSTD_freeDCtx(coder->unzip);
        syn_free(coder->scratch);
        syn_free(coder);
    }
    return NULL;
}

int
syn_block_room(uint8_t **buffer, size_t *cap, size_t need, struct syn_err *err)
{
    if (*cap < need) {
        syn_free(*buffer);
        *cap = 0;
        *buffer = syn_alloc(need);
        if (*buffer == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a block of %zu bytes", need);
        *cap = need;
    }
    return SYN_OK;
}

static void
put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static uint32_t
get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint32_t
head_check(const uint8_t *head)
{
    return (uint32_t)syn_murmur3_x64_64(head, AT_CHECK);
}

/* Would zstd win a sixteenth? Two samples answer for incompressible blocks at a hundredth of the
 * cost. */
static bool
worth_packing(struct syn_coder *coder, const uint8_t *data, size_t len)
{
    uint8_t out[PROBE_BYTES];

    if (len < ZSTD_LEN_MIN)
        return false;
    if (len <= PROBE_COUNT * PROBE_BYTES)
        return true;
    for (size_t i = 1; i <= PROBE_COUNT; i++) {
        const uint8_t *sample = data + (len - PROBE_BYTES) * i / (PROBE_COUNT + 1);
        size_t size = ZSTD_compressCCtx(coder->zip, out, PROBE_BYTES - PROBE_BYTES / 16, sample,
                                        PROBE_BYTES, ZSTD_LEVEL);

        if (!ZSTD_isError(size))
            return true;
    }
    return false;
}

/* Compress into the scratch buffer when it helps; *ret_len stays 0 when it does not. */
static SYN_MUST int
pack(struct syn_coder *coder, const void *data, size_t len, size_t *ret_len, struct syn_err *err)
{
    size_t size;
    int rc;

    *ret_len = 0;
    if (coder->zip == NULL)
        coder->zip = ZSTD_createCCtx();
    if (coder->zip == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for compression");
    if (!worth_packing(coder, data, len))
        return SYN_OK;
    rc = syn_block_room(&coder->scratch, &coder->scratch_cap, len, err);
    if (rc < 0)
        return rc;
    size = ZSTD_compressCCtx(coder->zip, coder->scratch, len - len / 16, data, len, ZSTD_LEVEL);
    if (!ZSTD_isError(size))
        *ret_len = size;
    return SYN_OK;
}

static SYN_MUST int
seal(struct syn_coder *coder, struct syn_record_out *out, struct syn_err *err)
{
    const struct syn_block_key *key = &coder->keys->keys[0];
    const uint8_t *from = out->payload;
    int used = 0;
    int rc = syn_block_room(&coder->scratch, &coder->scratch_cap, out->payload_len, err);

    if (rc < 0)
        return rc;
    if (EVP_EncryptInit_ex(coder->cipher, EVP_aes_256_gcm(), NULL, key->bytes,
                           out->head + AT_NONCE) != 1 ||
        EVP_EncryptUpdate(coder->cipher, NULL, &used, out->head, SYN_RECORD_HEAD) != 1 ||
        EVP_EncryptUpdate(coder->cipher, coder->scratch, &used, from, (int)out->payload_len) != 1 ||
        EVP_EncryptFinal_ex(coder->cipher, coder->scratch + used, &used) != 1 ||
        EVP_CIPHER_CTX_ctrl(coder->cipher, EVP_CTRL_AEAD_GET_TAG, SYN_RECORD_TAG, out->tail) != 1)
        return SYN_FAIL(err, SYN_E_INTERNAL, "AES-256-GCM failed");
    out->payload = coder->scratch;
    return SYN_OK;
}

size_t
syn_record_size(uint32_t stored_len)
{
    size_t size = SYN_RECORD_HEAD + (size_t)stored_len;

    return (size + SYN_RECORD_ALIGN - 1) / SYN_RECORD_ALIGN * SYN_RECORD_ALIGN;
}

size_t
syn_record_out_size(const struct syn_record_out *out)
{
    return SYN_RECORD_HEAD + out->payload_len + out->tail_len;
}

int
syn_record_encode(struct syn_coder *coder, const struct syn_cid *cid, unsigned kind,
                  const void *data, size_t len, struct syn_record_out *ret_out, struct syn_err *err)
{
    struct syn_record_out *out = ret_out;
    size_t packed = 0;
    uint32_t stored;
    int rc = pack(coder, data, len, &packed, err);

    assert(len <= SYN_BLOCK_BYTES_MAX && (kind == 0 || kind == SYN_RECORD_RECIPE));
    if (rc < 0)
        return rc;
    memset(out, 0, sizeof(*out));
    out->payload = packed > 0 ? coder->scratch : data;
    out->payload_len = packed > 0 ? packed : len;
    out->flags =
        kind | (packed > 0 ? SYN_RECORD_ZSTD : 0U) | (coder->keys->encrypt ? SYN_RECORD_AES : 0U);
    stored = (uint32_t)out->payload_len + (coder->keys->encrypt ? SYN_RECORD_TAG : 0);
    put_u32(out->head, MAGIC);
    out->head[4] = VERSION;
    out->head[AT_FLAGS] = (uint8_t)out->flags;
    out->head[AT_CODEC] = (uint8_t)cid->codec;
    put_u32(out->head + AT_STORED, stored);
    put_u32(out->head + AT_RAW, (uint32_t)len);
    memcpy(out->head + AT_DIGEST, cid->digest, SYN_DIGEST_BYTES);
    if (coder->keys->encrypt) {
        memcpy(out->head + AT_KEY, coder->keys->keys[0].id, SYN_KEY_ID_BYTES);
        if (RAND_bytes(out->head + AT_NONCE, AT_CHECK - AT_NONCE) != 1)
            return SYN_FAIL(err, SYN_E_INTERNAL, "no random bytes for a nonce");
    }
    put_u32(out->head + AT_CHECK, head_check(out->head));
    if (coder->keys->encrypt) {
        rc = seal(coder, out, err);
        if (rc < 0)
            return rc;
    }
    out->tail_len = syn_record_size(stored) - SYN_RECORD_HEAD - out->payload_len;
    return SYN_OK;
}

bool
syn_record_head_decode(const uint8_t head[static SYN_RECORD_HEAD], struct syn_record *ret)
{
    if (get_u32(head) != MAGIC || head[4] != VERSION ||
        get_u32(head + AT_CHECK) != head_check(head))
        return false;
    ret->flags = head[AT_FLAGS];
    ret->stored_len = get_u32(head + AT_STORED);
    ret->raw_len = get_u32(head + AT_RAW);
    if ((ret->flags & ~(unsigned)(SYN_RECORD_ZSTD | SYN_RECORD_AES | SYN_RECORD_RECIPE)) != 0 ||
        (head[AT_CODEC] != SYN_CODEC_RAW &&
         (head[AT_CODEC] != SYN_CODEC_DAG_PB || (ret->flags & SYN_RECORD_RECIPE) != 0)) ||
        ret->raw_len > SYN_BLOCK_BYTES_MAX ||
        ret->stored_len > ret->raw_len + (size_t)SYN_RECORD_TAG ||
        ((ret->flags & SYN_RECORD_AES) != 0 && ret->stored_len < SYN_RECORD_TAG) ||
        ((ret->flags & (SYN_RECORD_ZSTD | SYN_RECORD_AES)) == 0 && ret->stored_len != ret->raw_len))
        return false;
    ret->cid.codec = (enum syn_codec)head[AT_CODEC];
    memcpy(ret->cid.digest, head + AT_DIGEST, SYN_DIGEST_BYTES);
    memcpy(ret->key_id, head + AT_KEY, SYN_KEY_ID_BYTES);
    memcpy(ret->nonce, head + AT_NONCE, sizeof(ret->nonce));
    return true;
}

/* Decrypt the payload where it lies. */
static SYN_MUST int
unseal(struct syn_coder *coder, const struct syn_record *record, struct syn_block *block,
       struct syn_err *err)
{
    const struct syn_block_key *key = syn_block_keys_find(coder->keys, record->key_id);
    uint8_t *payload = block->record + SYN_RECORD_HEAD;
    size_t len = record->stored_len - SYN_RECORD_TAG;
    int used = 0;

    if (key == NULL) {
        char id[2 * SYN_KEY_ID_BYTES + 1];

        syn_hex_encode(record->key_id, SYN_KEY_ID_BYTES, id);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "encrypted with key %s: give its key file", id);
    }
    block->old_key = !coder->keys->encrypt || key != &coder->keys->keys[0];
    if (EVP_DecryptInit_ex(coder->cipher, EVP_aes_256_gcm(), NULL, key->bytes, record->nonce) !=
            1 ||
        EVP_DecryptUpdate(coder->cipher, NULL, &used, block->record, SYN_RECORD_HEAD) != 1 ||
        EVP_DecryptUpdate(coder->cipher, payload, &used, payload, (int)len) != 1 ||
        EVP_CIPHER_CTX_ctrl(coder->cipher, EVP_CTRL_AEAD_SET_TAG, SYN_RECORD_TAG, payload + len) !=
            1)
        return SYN_FAIL(err, SYN_E_INTERNAL, "AES-256-GCM failed");
    if (EVP_DecryptFinal_ex(coder->cipher, payload + used, &used) != 1)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the record does not decrypt");
    return SYN_OK;
}

static SYN_MUST int
unpack(struct syn_coder *coder, size_t payload_len, size_t raw_len, struct syn_block *block,
       struct syn_err *err)
{
    size_t size;
    int rc;

    if (coder->unzip == NULL)
        coder->unzip = ZSTD_createDCtx();
    if (coder->unzip == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for decompression");
    rc = syn_block_room(&block->plain, &block->plain_cap, raw_len, err);
    if (rc < 0)
        return rc;
    size = ZSTD_decompressDCtx(coder->unzip, block->plain, raw_len, block->record + SYN_RECORD_HEAD,
                               payload_len);
    if (ZSTD_isError(size) || size != raw_len)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the record does not decompress");
    block->data = block->plain;
    return SYN_OK;
}

int
syn_record_open(struct syn_coder *coder, const struct syn_cid *cid, size_t record_len,
                struct syn_block *block, struct syn_err *err)
{
    struct syn_record record;
    size_t payload_len;
    int rc;

    if (record_len < SYN_RECORD_HEAD || !syn_record_head_decode(block->record, &record) ||
        syn_record_size(record.stored_len) != record_len ||
        memcmp(record.cid.digest, cid->digest, SYN_DIGEST_BYTES) != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the record's header is damaged");
    payload_len = record.stored_len;
    block->flags = record.flags;
    block->old_key = false;
    if ((record.flags & SYN_RECORD_AES) != 0) {
        rc = unseal(coder, &record, block, err);
        if (rc < 0)
            return rc;
        payload_len -= SYN_RECORD_TAG;
    }
    block->data = block->record + SYN_RECORD_HEAD;
    block->len = record.raw_len;
    if ((record.flags & SYN_RECORD_ZSTD) != 0) {
        rc = unpack(coder, payload_len, record.raw_len, block, err);
        if (rc < 0)
            return rc;
    } else if (payload_len != record.raw_len) {
        return SYN_FAIL(err, SYN_E_CORRUPT, "the record's header is damaged");
    }
    return SYN_OK;
}

int
syn_block_check(const struct syn_cid *cid, const struct syn_block *block, struct syn_err *err)
{
    uint8_t digest[SYN_DIGEST_BYTES];

    SHA256(block->data, block->len, digest);
    if (memcmp(digest, cid->digest, SYN_DIGEST_BYTES) != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "its bytes do not match its hash");
    return SYN_OK;
}

void
syn_block_fini(struct syn_block *block)
{
    syn_free(block->record);
    syn_free(block->plain);
    syn_free(block->whole);
    if (block->base != NULL) {
        assert(block->base->base == NULL);
        syn_block_fini(block->base);
        syn_free(block->base);
    }
    *block = (struct syn_block){0};
}
