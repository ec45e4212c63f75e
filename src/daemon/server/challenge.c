/* Challenges: what a node must sign to join. One is not stored but recognised: its expiry and a
 * nonce under a MAC that also covers whose token asked for it, so asking costs nothing and a flood
 * of questions leaves nothing behind. What is stored is that one was spent, in the transaction that
 * it paid for, until it would have expired. Any server over the same state can check it. */
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#include "server_priv.h"

#define NONCE_LEN 16
#define MAC_LEN   16

/* Forty bytes are exactly 64 digits: one challenge has one text. */
struct raw {
    uint8_t expires[8]; /* Unix ms, big-endian */
    uint8_t nonce[NONCE_LEN];
    uint8_t mac[MAC_LEN];
};
_Static_assert(sizeof(struct raw) == 40 &&
                   SYN_BASE32_SIZE(sizeof(struct raw)) == SRV_CHALLENGE_SIZE,
               "the challenge's length");

static int
mac(const struct syn_server *server, const struct srv_identity *who, const struct raw *raw,
    uint8_t out[MAC_LEN], struct syn_err *err)
{
    uint8_t whole[SYN_SHA256_LEN];
    SYN_BUF(text);
    int rc;

    syn_buf_addf(&text, "synor-challenge-1\n%s\n%s\n", who->account, who->token);
    syn_buf_add(&text, raw->expires, sizeof(raw->expires));
    syn_buf_add(&text, raw->nonce, sizeof(raw->nonce));
    rc = syn_buf_ok(&text, err);
    if (rc < 0)
        return rc;
    syn_hmac_sha256(server->challenge_key, sizeof(server->challenge_key), text.data, text.len,
                    whole);
    memcpy(out, whole, MAC_LEN);
    return SYN_OK;
}

static int64_t
expires_ms(const struct raw *raw)
{
    uint64_t ms = 0;

    for (size_t i = 0; i < sizeof(raw->expires); i++)
        ms = ms << 8 | raw->expires[i];
    return (int64_t)ms;
}

int
srv_challenge_make(struct syn_server *server, const struct srv_identity *who, char *out,
                   int64_t *ret_expires_ms, struct syn_err *err)
{
    struct raw raw;
    int64_t at_ms = syn_wall_ms(server->world) + SRV_CHALLENGE_TTL_MS;
    int rc;

    for (size_t i = 0; i < sizeof(raw.expires); i++)
        raw.expires[i] = (uint8_t)((uint64_t)at_ms >> (56 - 8 * i));
    syn_secret_random(raw.nonce, sizeof(raw.nonce));
    rc = mac(server, who, &raw, raw.mac, err);
    if (rc < 0)
        return rc;
    syn_base32_encode(&raw, sizeof(raw), out);
    *ret_expires_ms = at_ms;
    return SYN_OK;
}

int
srv_challenge_check(struct syn_server *server, const struct srv_identity *who, const char *text,
                    struct syn_err *err)
{
    struct raw raw;
    uint8_t want[MAC_LEN];
    size_t len;
    int rc = syn_base32_decode(text, strlen(text), &raw, sizeof(raw), &len, err);

    if (rc == SYN_OK && len != sizeof(raw))
        rc = SYN_FAIL(err, SYN_E_INVALID, "too short");
    if (rc < 0)
        return syn_err_wrap(err, rc, "challenge");
    rc = mac(server, who, &raw, want, err);
    if (rc < 0)
        return rc;
    if (!syn_secret_eq(want, raw.mac, sizeof(want)))
        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "the challenge was not made here, or not for this token");
    if (expires_ms(&raw) < syn_wall_ms(server->world))
        return SYN_FAIL(err, SYN_E_PRECONDITION, "the challenge has expired: ask for another");
    return SYN_OK;
}

int
srv_challenge_spend(struct syn_server *server, struct srv_txn *txn, const char *text,
                    struct syn_err *err)
{
    int64_t until_ms = syn_wall_ms(server->world) + SRV_CHALLENGE_TTL_MS;
    char key[SRV_KEY_MAX];
    SYN_JSON(spent);
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "challenge", text, NULL), &spent, NULL, err);

    if (rc == SYN_OK)
        return SYN_FAIL(err, SYN_E_PRECONDITION, "the challenge was used: ask for another");
    if (rc < 0)
        return rc;
    rc = syn_json_pack(&doc, err, "{s:I}", "expires_ms", (json_int_t)until_ms);
    return rc < 0 ? rc : srv_txn_replace(txn, key, 0, doc, err);
}
