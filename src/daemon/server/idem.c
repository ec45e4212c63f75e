/* Idempotency keys: the answer of a mutating call is kept in the same transaction as its effect, so
 * a repeated call finds the one exactly when the other happened. */
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#include "server_priv.h"

#define IDEM_KEY_MIN     8
#define IDEM_KEY_LEN_MAX 64

static bool
key_ok(const char *text)
{
    size_t len = strlen(text);

    if (len < IDEM_KEY_MIN || len > IDEM_KEY_LEN_MAX)
        return false;
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

/* What makes two requests the same: route, what it is about, and body. */
static void
digest_request(struct syn_http_req *req, char *out)
{
    const struct syn_http_route *route = syn_http_req_route(req);
    const char *id = strstr(route->pattern, "{id}") != NULL ? syn_http_req_param(req, "id") : "";
    uint8_t digest[SYN_SHA256_LEN];
    struct syn_sha256 hash;
    size_t len;
    const char *body = syn_http_req_body(req, &len);

    syn_sha256_init(&hash);
    syn_sha256_update(&hash, route->name, strlen(route->name) + 1);
    syn_sha256_update(&hash, id, strlen(id) + 1);
    syn_sha256_update(&hash, body, len);
    syn_sha256_final(&hash, digest);
    syn_hex_encode(digest, sizeof(digest), out);
}

int
srv_idem_begin(struct syn_server *server, struct syn_http_req *req, struct srv_idem *ret_idem,
               struct syn_err *err)
{
    const char *given = syn_http_req_header(req, "idempotency-key");
    SYN_JSON(kept);
    int rc;

    *ret_idem = (struct srv_idem){.revision = 0};
    if (given == NULL)
        return SYN_OK;
    if (!key_ok(given))
        return SYN_FAIL(err, SYN_E_INVALID, "Idempotency-Key: expected 8 to 64 of A-Z a-z 0-9 _ -");
    digest_request(req, ret_idem->digest);
    (void)srv_key(ret_idem->key, "idem", srv_identity(req)->account, given);
    rc = srv_load(server, ret_idem->key, &kept, &ret_idem->revision, err);
    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT ||
        syn_json_i64(kept, "at_ms", 0) + SRV_IDEM_TTL_MS < syn_wall_ms(server->world))
        return SYN_OK;
    if (!syn_str_eq(syn_json_str(kept, "digest", ""), ret_idem->digest))
        return SYN_FAIL(err, SYN_E_CONFLICT, "Idempotency-Key %s was used for another request",
                        given);
    /* Written in one transaction, so what it answered with has the revision of this very document.
     */
    if (json_object_get(json_object_get(kept, "answer"), "revision") != NULL)
        rc = syn_json_set_i64(json_object_get(kept, "answer"), "revision", ret_idem->revision, err);
    if (rc < 0)
        return rc;
    rc = syn_http_reply_json(req, (int)syn_json_i64(kept, "status", 200),
                             json_object_get(kept, "answer"), err);
    return rc < 0 ? rc : SRV_REPLAYED;
}

int
srv_idem_keep(struct syn_server *server, const struct srv_idem *idem, struct srv_txn *txn,
              int status, const json_t *answer, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc;

    if (idem->key[0] == '\0')
        return SYN_OK;
    rc = syn_json_pack(&doc, err, "{s:s, s:i, s:O, s:I}", "digest", idem->digest, "status", status,
                       "answer", answer, "at_ms", (json_int_t)syn_wall_ms(server->world));
    /* Checked: of two requests that race with the same key, one starts over and finds the other's
     * answer. */
    return rc < 0 ? rc : srv_txn_replace(txn, idem->key, idem->revision, doc, err);
}
