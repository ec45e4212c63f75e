/* Signed tokens: JSON Web Tokens (RFC 7519) in the compact form, with Ed25519 (`EdDSA`, RFC 8037)
 * and nothing else. The algorithm is the key's, never the token's: a token that names another is
 * refused before its signature is looked at. Pure. */
#ifndef SYNOR_INFRA_JWT_H
#define SYNOR_INFRA_JWT_H

#include <synor/base/buf.h>
#include <synor/base/json.h>
#include <synor/infra/crypto.h>

#define SYN_JWT_MAX         8192 /* bytes of a token */
#define SYN_JWT_KEYS_MAX    16   /* of one issuer */
#define SYN_JWT_KID_MAX     128
#define SYN_JWT_SUBJECT_MAX 255

/** A token whose form is right, and of which nothing else is known. */
struct syn_jwt {
    json_t *header, *claims; /* owned */
    const char *text;        /* borrowed: what is signed, `signed_len` of it */
    size_t signed_len;
    uint8_t signature[SYN_SIGNATURE_LEN];
};

/** Read one. UNAUTHENTICATED: it is none, its `alg` is not EdDSA, or it has a `crit`; NOMEM. */
SYN_MUST int syn_jwt_parse(const char *text, size_t len, struct syn_jwt *ret, struct syn_err *err);
void syn_jwt_fini(struct syn_jwt *token);
/** Its `iss` and `kid`, "" where it has none: whom to ask for the key. Not to be believed. */
const char *syn_jwt_issuer(const struct syn_jwt *token);
const char *syn_jwt_key_id(const struct syn_jwt *token);
/** Is it signed with this key, `public_text` of SYN_JWT_KEY_TEXT digits (base64url)? */
#define SYN_JWT_KEY_TEXT 43
bool syn_jwt_signed_by(const struct syn_jwt *token, const char *public_text);

/** What its claims have to be. */
struct syn_jwt_rule {
    const char *audiences[3]; /* one of them; NULL-ended when fewer */
    int64_t now_s;
};
/** Check the claims of one whose signature was right: `exp` is needed, `nbf` may be a minute ahead,
 * `aud` has to be there; `sub`, where there is one, is text fit for a header. UNAUTHENTICATED. */
SYN_MUST int syn_jwt_check(const struct syn_jwt *token, const struct syn_jwt_rule *rule,
                           struct syn_err *err);

/** Append the token that says `claims`, signed by the key, whose id becomes its `kid`. */
SYN_MUST int syn_jwt_sign(const struct syn_key *key, const json_t *claims, struct syn_buf *out,
                          struct syn_err *err);

/**
 * Public keys as issuers give them: a PEM ("BEGIN PUBLIC KEY"), a JWK, or a JWKS, of whose keys the
 * Ed25519 ones count.
 *
 * Owner: *ret is the caller's, [{kid, key}]. Returns 0; INVALID: no such key, too many, two with
 * one `kid`, or a secret half; NOMEM.
 */
SYN_MUST int syn_jwt_keys_read(const char *text, size_t len, json_t **ret, struct syn_err *err);
/** The key as a JWK. Owner: *ret is the caller's. */
SYN_MUST int syn_jwt_key_show(const uint8_t public_key[SYN_SIGN_PUBLIC_LEN], json_t **ret,
                              struct syn_err *err);

#endif
