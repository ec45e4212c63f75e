/* Content identifiers: CIDv1 with sha2-256 over raw or dag-pb blocks, written in lower-case base32
 * ("bafy..."). A CIDv0 ("Qm...") is read and means the dag-pb CIDv1 of the same hash. */
#ifndef SYNOR_INFRA_CID_H
#define SYNOR_INFRA_CID_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_DIGEST_BYTES 32
/** Binary form: version, codec, hash function, hash length, digest. */
#define SYN_CID_BYTES 36
/** Room for the text and its terminator. */
#define SYN_CID_TEXT_MAX 64

/** What the block's bytes are; the numbers are multicodec's. */
enum syn_codec {
    SYN_CODEC_RAW = 0x55,
    SYN_CODEC_DAG_PB = 0x70,
};

/** A value: copy it, compare it with syn_cid_eq(). */
struct syn_cid {
    enum syn_codec codec;
    uint8_t digest[SYN_DIGEST_BYTES];
};

/** Hash `len` bytes into the CID of the block they make. */
void syn_cid_of(enum syn_codec codec, const void *data, size_t len, struct syn_cid *ret_cid);
bool syn_cid_eq(const struct syn_cid *a, const struct syn_cid *b);

/** Read the whole text as one CID. INVALID for anything but the two canonical spellings. */
SYN_MUST int syn_cid_parse(const char *text, size_t len, struct syn_cid *ret_cid,
                           struct syn_err *err);
/** Write the text into out[SYN_CID_TEXT_MAX]; returns out. */
const char *syn_cid_format(const struct syn_cid *cid, char *out);

/** Read one binary CID (version 1, or a bare sha2-256 multihash, which is version 0) from the start
 * of `data`; `*ret_used` bytes belong to it. INVALID otherwise. */
SYN_MUST int syn_cid_decode(const void *data, size_t len, struct syn_cid *ret_cid, size_t *ret_used,
                            struct syn_err *err);
/** Write the binary form into out[SYN_CID_BYTES]. */
void syn_cid_encode(const struct syn_cid *cid, uint8_t *out);

#endif
