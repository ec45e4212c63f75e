/* Signed tokens that functions are called with by HTTP, and whose they are:
 *
 *     "function-signer/ACCOUNT"       {kid, key, created_at, sealed}: the account's own key
 *     "function-issuer/ACCOUNT/NAME"  {name, issuer, audience?, keys: [{kid, key}], created_at}
 *
 * The gateway is told public keys with the functions whose routes take tokens, and asks nobody when
 * one comes: a token is not kept here, and ends with its time or with its key. The secret half of
 * an account's key is sealed as secrets are. */
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/infra/crypto.h>
#include <synor/infra/jwt.h>

#include "function_priv.h"

#define SIGNERS       "function-signer"
#define ISSUERS       "function-issuer"
#define OWN_ISSUER    "synor"
#define ISSUERS_MAX   20 /* of one account */
#define ISSUER_MAX    255
#define KEYS_TEXT_MAX 65536
#define SEED_LEN      32
#define TTL_MAX_MS    (INT64_C(90) * 24 * 3600 * 1000)

/* --- the account's own key -------------------------------------------------------------------- */

static void
signer_label(const char *account, const char *kid, char out[SRV_KEY_MAX])
{
    (void)snprintf(out, SRV_KEY_MAX, SIGNERS "/%s/%s", account, kid);
}

/* A fresh one, as its document. */
static int
make_signer(struct syn_server *server, const char *account, json_t **ret, struct syn_err *err)
{
    SYN_SCOPED(syn_key_free_scope) struct syn_key *key = NULL;
    SYN_SCOPED(syn_free_scope) char *sealed = NULL;
    char hex[2 * SEED_LEN + 1], label[SRV_KEY_MAX], at[SYN_FORMAT_MAX];
    char text[SYN_BASE64_SIZE(SYN_SIGN_PUBLIC_LEN)];
    uint8_t seed[SEED_LEN];
    int rc;

    syn_secret_random(seed, sizeof(seed));
    rc = syn_key_from_seed(seed, &key, err);
    if (rc == SYN_OK) {
        syn_hex_encode(seed, sizeof(seed), hex);
        signer_label(account, syn_key_id(key), label);
        rc = srv_seal(server, label, hex, &sealed, err);
        syn_secret_wipe(hex, sizeof(hex));
    }
    syn_secret_wipe(seed, sizeof(seed));
    if (rc < 0)
        return rc;
    syn_base64_encode(SYN_BASE64_URL, syn_key_public(key), SYN_SIGN_PUBLIC_LEN, text);
    return syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s}", "kid", syn_key_id(key), "key", text,
                         "created_at", syn_format_time(syn_wall_ms(server->world), at), "sealed",
                         sealed);
}

struct signing {
    const char *account;
    bool anew; /* though there is one */
    json_t *doc;
};

static int
signer_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct signing *signing = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(before);
    int rc =
        srv_load(server, srv_key(key, SIGNERS, signing->account, NULL), &before, &revision, err);

    (void)srv_again(&signing->doc);
    if (rc < 0)
        return rc;
    if (rc == SYN_OK && !signing->anew) {
        signing->doc = SYN_TAKE(before);
        return 1;
    }
    rc = make_signer(server, signing->account, &signing->doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, before != NULL ? revision : 0, signing->doc, err);
    return rc < 0 ? rc : srv_functions_renew_tokens(server, txn, signing->account, err);
}

/* Owner: signing->doc is the caller's. */
static int
get_signer(struct syn_server *server, struct signing *signing, struct syn_err *err)
{
    int rc = srv_change(server, "the key of tokens", signer_attempt, signing, NULL, err);

    return rc < 0 ? rc : SYN_OK;
}

static int
open_signer(struct syn_server *server, const struct signing *signing, struct syn_key **ret,
            struct syn_err *err)
{
    char label[SRV_KEY_MAX];
    uint8_t seed[SEED_LEN];
    SYN_JSON(hex);
    int rc;

    signer_label(signing->account, syn_json_str(signing->doc, "kid", ""), label);
    rc = srv_unseal(server, label, syn_json_str(signing->doc, "sealed", ""), &hex, err);
    if (rc == SYN_OK)
        rc = syn_hex_decode(json_string_value(hex), seed, sizeof(seed), err);
    if (rc == SYN_OK)
        rc = syn_key_from_seed(seed, ret, err);
    syn_secret_wipe(seed, sizeof(seed));
    return rc;
}

static int
show_signer(const json_t *doc, json_t **ret, struct syn_err *err)
{
    const char *text = syn_json_str(doc, "key", "");
    uint8_t bytes[SYN_SIGN_PUBLIC_LEN] = {0};
    size_t len = 0;
    json_t *key = NULL;
    int rc = syn_base64_decode(SYN_BASE64_URL, text, strlen(text), bytes, sizeof(bytes), &len, err);

    if (rc == SYN_OK)
        rc = syn_jwt_key_show(bytes, &key, err);
    return rc < 0 ? rc
                  : syn_json_pack(ret, err, "{s:[o], s:s}", "keys", key, "created_at",
                                  syn_json_str(doc, "created_at", ""));
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* {iss, aud, sub?, iat, exp, jti} */
static int
make_claims(struct syn_server *server, const json_t *body, const char *account, json_t **ret,
            struct syn_err *err)
{
    const char *function = syn_json_str(body, "function", NULL);
    int64_t now_ms = syn_wall_ms(server->world);
    int64_t until_ms = now_ms + syn_json_i64(body, "ttl_ms", 0);
    char audience[2 * SYN_ID_MAX], id[SYN_ID_MAX];

    (void)snprintf(audience, sizeof(audience), "%s%s%s", account, function != NULL ? "/" : "",
                   function != NULL ? function : "");
    return syn_json_pack(ret, err, "{s:s, s:s, s:s*, s:I, s:I, s:s}", "iss", OWN_ISSUER, "aud",
                         audience, "sub", syn_json_str(body, "subject", NULL), "iat",
                         (json_int_t)(now_ms / 1000), "exp", (json_int_t)(until_ms / 1000), "jti",
                         syn_make_id(server->world, "ft", id));
}

/* A name that no function has is a mistake rather than a plan. */
static int
check_asked(struct syn_server *server, const json_t *body, const char *account, struct syn_err *err)
{
    const char *function = syn_json_str(body, "function", NULL);
    char key[SRV_KEY_MAX];
    SYN_JSON(id);
    int rc = SYN_OK;

    for (const char *at = syn_json_str(body, "subject", "x"); *at != '\0'; at++)
        if ((unsigned char)*at <= ' ' || *at > '~')
            return SYN_FAIL(err, SYN_E_INVALID,
                            "subject: blanks and what is not ASCII are not taken");
    if (syn_json_i64(body, "ttl_ms", 0) % 1000 != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "ttl_ms: whole seconds");
    if (function != NULL)
        rc = srv_load(server, srv_key(key, "function-name", account, function), &id, NULL, err);
    return rc == SRV_ABSENT
               ? SYN_FAIL(err, SYN_E_NOTFOUND, "function: there is no function %.63s", function)
               : rc;
}

static int
create_token(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(syn_key_free_scope) struct syn_key *key = NULL;
    const json_t *body = syn_http_req_json(req);
    struct signing signing = {.account = srv_identity(req)->account};
    char until[SYN_FORMAT_MAX];
    SYN_JSON(claims);
    SYN_JSON(answer);
    SYN_BUF(token);
    int rc = check_asked(ctx, body, signing.account, err);

    if (rc == SYN_OK)
        rc = get_signer(ctx, &signing, err);
    if (rc == SYN_OK)
        rc = open_signer(ctx, &signing, &key, err);
    if (rc == SYN_OK)
        rc = make_claims(ctx, body, signing.account, &claims, err);
    if (rc == SYN_OK)
        rc = syn_jwt_sign(key, claims, &token, err);
    if (rc == SYN_OK)
        rc =
            syn_json_pack(&answer, err, "{s:s, s:s, s:s, s:s?, s:s}", "token", syn_buf_text(&token),
                          "key_id", syn_key_id(key), "audience", syn_json_str(claims, "aud", ""),
                          "subject", syn_json_str(claims, "sub", NULL), "expires_at",
                          syn_format_time(syn_json_i64(claims, "exp", 0) * 1000, until));
    (void)srv_again(&signing.doc);
    return rc < 0 ? rc : syn_http_reply_json(req, 201, answer, err);
}

static int
reply_signer(struct syn_http_req *req, struct syn_server *server, bool anew, struct syn_err *err)
{
    struct signing signing = {.account = srv_identity(req)->account, .anew = anew};
    SYN_JSON(answer);
    int rc = get_signer(server, &signing, err);

    if (rc == SYN_OK)
        rc = show_signer(signing.doc, &answer, err);
    (void)srv_again(&signing.doc);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
rotate_key(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_signer(req, ctx, true, err);
}

/* What others check its tokens with. */
static int
get_keys(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(answer);
    int rc =
        srv_load(ctx, srv_key(key, SIGNERS, srv_identity(req)->account, NULL), &doc, NULL, err);

    if (rc == SRV_ABSENT)
        rc = syn_json_pack(&answer, err, "{s:[]}", "keys");
    else if (rc == SYN_OK)
        rc = show_signer(doc, &answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- issuers ---------------------------------------------------------------------------------- */

/* What may be seen of one: which keys, not their digits. */
static int
issuer_seen(const json_t *doc, json_t **ret, struct syn_err *err)
{
    json_t *ids = json_array();
    const json_t *key;
    size_t i;
    int rc = ids != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for an issuer");

    json_array_foreach (json_object_get(doc, "keys"), i, key)
        if (rc == SYN_OK)
            rc = syn_json_append_take(ids, json_incref(json_object_get(key, "kid")), err);
    if (rc < 0) {
        json_decref(ids);
        return rc;
    }
    return syn_json_pack(ret, err, "{s:s, s:s, s:s?, s:o, s:s}", "name",
                         syn_json_str(doc, "name", ""), "issuer", syn_json_str(doc, "issuer", ""),
                         "audience", syn_json_str(doc, "audience", NULL), "key_ids", ids,
                         "created_at", syn_json_str(doc, "created_at", ""));
}

struct adding {
    const json_t *body;
    const char *account, *name;
    json_t *keys, *doc;
};

static int
add_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct adding *adding = arg;
    char key[SRV_KEY_MAX], at[SYN_FORMAT_MAX];
    int64_t revision = 0;
    SYN_JSON(before);
    int rc = srv_load(server, srv_key(key, ISSUERS, adding->account, adding->name), &before,
                      &revision, err);

    if (rc == SRV_ABSENT)
        rc = srv_need_room(server, ISSUERS, adding->account, ISSUERS_MAX, "issuers of tokens", err);
    if (rc == SYN_OK)
        rc = syn_json_pack(srv_again(&adding->doc), err, "{s:s, s:s, s:s*, s:O, s:s}", "name",
                           adding->name, "issuer", syn_json_str(adding->body, "issuer", ""),
                           "audience", syn_json_str(adding->body, "audience", NULL), "keys",
                           adding->keys, "created_at",
                           syn_format_time(syn_wall_ms(server->world), at));
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, before != NULL ? revision : 0, adding->doc, err);
    return rc < 0 ? rc : srv_functions_renew_tokens(server, txn, adding->account, err);
}

static int
put_issuer(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    struct adding adding = {.body = body, .account = srv_identity(req)->account};
    const char *text = syn_json_str(body, "keys", "");
    SYN_JSON(answer);
    int rc = srv_need_name(req, "issuer", &adding.name, err);

    if (rc == SYN_OK && syn_str_eq(syn_json_str(body, "issuer", ""), OWN_ISSUER))
        rc = SYN_FAIL(err, SYN_E_INVALID, "issuer: " OWN_ISSUER " is the platform's own");
    if (rc < 0)
        return rc;
    rc = syn_jwt_keys_read(text, strlen(text), &adding.keys, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "keys");
    rc = srv_change(ctx, "the issuer", add_attempt, &adding, NULL, err);
    if (rc == SYN_OK)
        rc = issuer_seen(adding.doc, &answer, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 200, answer, err);
    (void)srv_again(&adding.doc);
    json_decref(adding.keys);
    return rc;
}

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    json_t *seen = NULL;
    int rc = issuer_seen(doc, &seen, err);

    (void)arg;
    (void)key;
    return rc < 0 ? rc : syn_json_append_take(items, seen, err);
}

static int
list_issuers(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, ISSUERS, srv_identity(req)->account, ""), false,
                          list_item, NULL, err);
}

static int
remove_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct adding *adding = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(doc);
    int rc = srv_need(server, srv_key(key, ISSUERS, adding->account, adding->name), "issuer", &doc,
                      &revision, err);

    if (rc == SYN_OK)
        rc = srv_txn_check(txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, key, err);
    return rc < 0 ? rc : srv_functions_renew_tokens(server, txn, adding->account, err);
}

static int
delete_issuer(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct adding removing = {.account = srv_identity(req)->account};
    int rc = srv_need_name(req, "issuer", &removing.name, err);

    return rc < 0 ? rc : srv_change(ctx, "the issuer", remove_attempt, &removing, NULL, err);
}

/* --- for the gateway -------------------------------------------------------------------------- */

static int
tell_key(json_t *list, const char *issuer, const char *audience, const json_t *key,
         struct syn_err *err)
{
    json_t *row = NULL;
    int rc =
        syn_json_pack(&row, err, "{s:s, s:s*, s:s, s:s}", "issuer", issuer, "audience", audience,
                      "kid", syn_json_str(key, "kid", ""), "key", syn_json_str(key, "key", ""));

    return rc < 0 ? rc : syn_json_append_take(list, row, err);
}

static int
tell_issuer(void *arg, const char *name, json_t *doc, int64_t revision, struct syn_err *err)
{
    const json_t *key;
    size_t i;
    int rc = SYN_OK;

    (void)name;
    (void)revision;
    json_array_foreach (json_object_get(doc, "keys"), i, key)
        if (rc == SYN_OK)
            rc = tell_key(arg, syn_json_str(doc, "issuer", ""), syn_json_str(doc, "audience", NULL),
                          key, err);
    return rc;
}

int
srv_function_token_keys(struct syn_server *server, const char *account, json_t **ret,
                        struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(list);
    SYN_JSON(signer);
    int rc = srv_load(server, srv_key(key, SIGNERS, account, NULL), &signer, NULL, err);

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for keys of tokens");
    if (rc == SYN_OK)
        rc = tell_key(list, OWN_ISSUER, NULL, signer, err);
    if (rc >= 0)
        rc = srv_each(server, srv_key(key, ISSUERS, account, ""), tell_issuer, list, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field token_fields[] = {
    {.name = "function",
     .kind = SYN_FIELD_NAME,
     .help = "Name of the one that it opens; without it all of the account's"},
    {.name = "subject",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_JWT_SUBJECT_MAX,
     .help = "For whom it is; the function is told, as x-synor-subject"},
    {.name = "ttl_ms",
     .kind = SYN_FIELD_MS,
     .min = 1000,
     .max = TTL_MAX_MS,
     .fallback = "3600000",
     .help = "How long it is valid"},
};
static const struct syn_schema token_schema = SYN_SCHEMA("FunctionTokenCreate", token_fields);

static const struct syn_field issuer_fields[] = {
    {.name = "issuer",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = ISSUER_MAX,
     .required = true,
     .help = "What its tokens have as iss"},
    {.name = "audience",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = ISSUER_MAX,
     .help = "What they have as aud; without it ACCOUNT, or ACCOUNT/FUNCTION"},
    {.name = "keys",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = KEYS_TEXT_MAX,
     .required = true,
     .help = "Public keys of Ed25519: a PEM, a JWK or a JWKS, as text"},
};
static const struct syn_schema issuer_schema = SYN_SCHEMA("FunctionIssuerPut", issuer_fields);

static const struct syn_http_route rows[] = {
    SRV_WRITE("POST", "/v1/function-tokens", create_token, &token_schema, "function-tokens.create",
              "Sign a token that functions are called with"),
    SRV_WRITE("POST", "/v1/function-tokens/rotate", rotate_key, NULL, "function-tokens.rotate",
              "Sign with another key from now on; tokens of the one before open nothing more"),
    SRV_READ("/v1/function-tokens/keys", get_keys, NULL, "function-tokens.keys",
             "The public key of the account's tokens, as a JWKS"),
    SRV_READ("/v1/function-issuers", list_issuers, &srv_list_query, "function-issuers.list",
             "Whose tokens functions take beside the platform's"),
    SRV_WRITE("PUT", "/v1/function-issuers/{name}", put_issuer, &issuer_schema,
              "function-issuers.put", "Take tokens that somebody else signs"),
    {.method = "DELETE",
     .pattern = "/v1/function-issuers/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_issuer,
     .name = "function-issuers.delete",
     .summary = "Take no more tokens of an issuer"},
};

const struct srv_routes srv_function_token_routes = {rows, SYN_LEN(rows)};
