/* Signatures of webhooks: HMAC-SHA256 with a secret that both sides have, in the schemes that those
 * who send webhooks use.
 *
 *     body      HEADER: PREFIX HEX (or base64) of HMAC(body)
 *     stripe    HEADER: t=SECONDS,v1=HEX[,v1=HEX] of HMAC(SECONDS.body)
 *     standard  webhook-id, webhook-timestamp, webhook-signature: v1,BASE64[ v1,BASE64]
 *               of HMAC(ID.SECONDS.body), as https://www.standardwebhooks.com has it
 *
 * Nothing keeps one of `body` from being sent again; the others are valid for a while.
 *
 * Pure but for the library that computes. */
#ifndef SYNOR_INFRA_WEBHOOK_H
#define SYNOR_INFRA_WEBHOOK_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/infra/crypto.h>

#define SYN_WEBHOOK_HEADER_MAX 2048 /* bytes of a signature's header */

enum syn_webhook_scheme { SYN_WEBHOOK_BODY, SYN_WEBHOOK_STRIPE, SYN_WEBHOOK_STANDARD };

/** By its name; -1: there is none. */
int syn_webhook_scheme_find(const char *name);

/** What the signature of a request has to be. Borrowed. */
struct syn_webhook_rule {
    enum syn_webhook_scheme scheme;
    const char *prefix;  /* BODY: before the digits, "sha256=" or "" */
    int64_t tolerance_s; /* the others: how far its clock may be from ours */
    const char *secret;  /* STANDARD: "whsec_" and base64 is what that says, all else is itself */
};

/** A request. Headers are NULL where it has none. */
struct syn_webhook_request {
    const char *signature;
    const char *id, *timestamp; /* STANDARD */
    const void *body;
    size_t body_len;
};

/**
 * Is it of who has the secret? Compares in constant time.
 *
 * Returns 0; UNAUTHENTICATED with what is wrong: no signature, one that cannot be read, an old one,
 * another one. The secret is in no message.
 */
SYN_MUST int syn_webhook_verify(const struct syn_webhook_rule *rule,
                                const struct syn_webhook_request *request, int64_t now_s,
                                struct syn_err *err);

#define SYN_WEBHOOK_SIGNATURE_SIZE (sizeof("v1,") + SYN_BASE64_SIZE(SYN_SHA256_LEN))
/** The value of webhook-signature. */
void syn_webhook_sign(const char *secret, const char *id, int64_t at_s, const void *body,
                      size_t body_len, char out[SYN_WEBHOOK_SIGNATURE_SIZE]);

#endif
