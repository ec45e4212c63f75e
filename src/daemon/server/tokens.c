/* Routes of tokens: making, listing, revoking.
 *
 * A token that is made with a token comes from it: it may do no more, it ends no later, and it is
 * void as soon as that one is gone. Whether it is void is asked when it is used (the token book),
 * so a revocation is one write, however many come from it, and one that is being made meanwhile is
 * void from birth. What is left of them is removed afterwards, here and by the sweeper. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "server_priv.h"

#define TOKENS_MAX 1000 /* of one account */

/* --- making ----------------------------------------------------------------------------------- */

/* The list of scopes as one text, which the token's document keeps. */
static int
join_scopes(const json_t *list, struct syn_buf *out, struct syn_err *err)
{
    size_t i;
    json_t *scope;

    json_array_foreach (list, i, scope)
        syn_buf_addf(out, "%s%s", i == 0 ? "" : ",", json_string_value(scope));
    return syn_buf_ok(out, err);
}

/* A token in the making. */
struct minting {
    struct syn_http_req *req;
    struct srv_token token;
    char account[SYN_ID_MAX];
    char maker[2 * SYN_SHA256_LEN + 1];
    struct srv_new_token made;
};

/* It comes from the caller's token: that has to be there still when it is written. */
static int
derive(struct syn_server *server, struct srv_txn *txn, struct minting *minting, struct syn_err *err)
{
    int64_t expires_ms = srv_identity(minting->req)->expires_ms;
    struct srv_token *token = &minting->token;
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(maker);
    int rc = srv_load(server, srv_key(key, "token", minting->maker, NULL), &maker, &revision, err);

    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "the bearer token was revoked");
    if (rc < 0)
        return rc;
    token->row = syn_json_i64(maker, "row", 0) + 1;
    if (token->row >= SYN_TOKEN_ROW_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT,
                        "this token comes from %d others: make tokens with one of those",
                        SYN_TOKEN_ROW_MAX - 1);
    if (token->expires_ms == 0)
        token->expires_ms = expires_ms;
    if (expires_ms != 0 && token->expires_ms > expires_ms) {
        char until[SYN_FORMAT_MAX];

        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "ttl_ms: a token may not outlive the one it is made with, which ends at %s",
                        syn_format_time(expires_ms, until));
    }
    return srv_txn_check(txn, key, revision, err);
}

static int
mint(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct minting *minting = arg;
    int64_t ttl_ms = syn_json_i64(syn_http_req_json(minting->req), "ttl_ms", 0);
    char prefix[SRV_KEY_MAX];
    int64_t count = 0;
    int rc = syn_store_count(server->store, srv_key(prefix, "token-of", minting->account, ""),
                             &count, err);

    if (rc == SYN_OK && count >= TOKENS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "account %s has %d tokens: delete some", minting->account,
                        TOKENS_MAX);
    minting->token.expires_ms = ttl_ms > 0 ? syn_wall_ms(server->world) + ttl_ms : 0;
    if (rc == SYN_OK && minting->token.maker != NULL)
        rc = derive(server, txn, minting, err);
    return rc < 0 ? rc : srv_token_issue(server, txn, &minting->token, &minting->made, err);
}

/* May the caller hand out these scopes, and let the token stand by itself if that is asked? */
static int
check_asked(const struct srv_identity *who, const char *scopes, bool independent,
            struct syn_err *err)
{
    struct syn_scopes asked;
    int rc = syn_scopes_parse(scopes, &asked, err);

    if (rc < 0)
        return rc;
    if (!syn_scopes_within(&asked, &who->scopes)) {
        char held[SYN_SCOPES_TEXT_SIZE];

        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "a token may do no more than the one it is made "
                        "with, which may do %s: an operator makes others",
                        syn_scopes_format(&who->scopes, held));
    }
    if (independent && !who->is_operator)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "only an operator makes independent tokens");
    return SYN_OK;
}

static int
reply_token(struct syn_http_req *req, const struct minting *minting, struct syn_err *err)
{
    int64_t expires_ms = minting->token.expires_ms;
    char until[SYN_FORMAT_MAX];
    SYN_JSON(answer);
    int rc = syn_json_pack(&answer, err, "{s:s, s:s, s:s, s:s, s:s?}", "token", minting->made.text,
                           "id", minting->made.id, "account", minting->account, "scopes",
                           minting->token.scopes, "expires_at",
                           expires_ms != 0 ? syn_format_time(expires_ms, until) : NULL);

    return rc < 0 ? rc : syn_http_reply_json(req, 201, answer, err);
}

static int
create_token(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const struct srv_identity *who = srv_identity(req);
    const json_t *body = syn_http_req_json(req);
    bool independent = syn_json_bool(body, "independent", false);
    struct minting minting = {.req = req};
    SYN_BUF(scopes);
    int rc = srv_account_find(server, who, syn_http_req_param(req, "id"), minting.account, err);

    if (rc == SYN_OK)
        rc = join_scopes(json_object_get(body, "scopes"), &scopes, err);
    if (rc == SYN_OK)
        rc = check_asked(who, syn_buf_text(&scopes), independent, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(minting.maker, sizeof(minting.maker), who->token);
    minting.token = (struct srv_token){.account = minting.account,
                                       .scopes = syn_buf_text(&scopes),
                                       .name = syn_json_str(body, "name", "")};
    if (who->token[0] != '\0' && !independent)
        minting.token.maker = minting.maker;
    rc = srv_change(server, "the tokens", mint, &minting, NULL, err);
    return rc < 0 ? rc : reply_token(req, &minting, err);
}

/* --- listing ---------------------------------------------------------------------------------- */

/* A token is shown as its digest: enough to name it, useless to use it. */
static int
token_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const char *id = strrchr(key, '/') + 1;
    char token_key[SRV_KEY_MAX];
    char at[SYN_FORMAT_MAX];
    int64_t expires_ms;
    json_t *item;
    SYN_JSON(token);
    int rc = srv_load(arg, srv_key(token_key, "token", id, NULL), &token, NULL, err);

    (void)doc;
    expires_ms = syn_json_i64(token, "expires_ms", 0);
    if (rc == SYN_OK)
        rc = syn_json_pack(&item, err, "{s:s, s:O, s:O, s:I, s:s?, s:s?}", "id", id, "name",
                           json_object_get(token, "name"), "scopes",
                           json_object_get(token, "scopes"), "expires_ms", (json_int_t)expires_ms,
                           "expires_at", expires_ms != 0 ? syn_format_time(expires_ms, at) : NULL,
                           "maker", syn_json_str(token, "maker", NULL));
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    return syn_json_append_take(items, item, err);
}

static int
list_tokens(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char account[SYN_ID_MAX];
    char prefix[SRV_KEY_MAX];
    int rc = srv_account_find(ctx, srv_identity(req), syn_http_req_param(req, "id"), account, err);

    return rc < 0 ? rc
                  : srv_reply_list(ctx, req, srv_key(prefix, "token-of", account, ""), false,
                                   token_item, ctx, err);
}

/* --- revoking --------------------------------------------------------------------------------- */

/* Delete the token, if it is there. */
static int
revoke(struct syn_server *server, const char *id, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = srv_load(server, srv_key(key, "token", id, NULL), &doc, NULL, err);

    if (rc == SYN_OK)
        rc = srv_token_forget(&txn, id, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    return rc < 0 ? rc : SYN_OK;
}

/* The tokens made with one that is gone: void already, and in nobody's way once they are gone as
 * well. The depth is that of the row. */
static int
clear_made(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_server *server = arg;
    const char *id = strrchr(key, '/') + 1;
    char prefix[SRV_KEY_MAX];
    int rc = revoke(server, id, err);

    (void)doc;
    (void)revision;
    return rc < 0
               ? rc
               : srv_each(server, srv_key(prefix, "token-made", id, ""), clear_made, server, err);
}

static int
delete_token(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char account[SYN_ID_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(known);
    const char *id = syn_http_req_param(req, "token");
    int rc =
        srv_account_find(server, srv_identity(req), syn_http_req_param(req, "id"), account, err);

    if (rc == SYN_OK && (strlen(id) != 64 || strspn(id, "0123456789abcdef") != 64))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no token %.64s", id);
    if (rc == SYN_OK)
        rc = srv_need(server, srv_key(key, "token-of", account, id), "token", &known, NULL, err);
    if (rc == SYN_OK)
        rc = revoke(server, id, err);
    if (rc == SYN_OK)
        rc = srv_each(server, srv_key(key, "token-made", id, ""), clear_made, server, err);
    return rc;
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field token_fields[] = {
    {.name = "name",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 63,
     .fallback = "\"\"",
     .help = "What it is for"},
    {.name = "scopes",
     .kind = SYN_FIELD_LIST,
     .min = 1,
     .max = 8,
     .required = true,
     .help = "read, tenant, operator, join"},
    {.name = "ttl_ms",
     .kind = SYN_FIELD_MS,
     .min = 0,
     .max = INT64_C(315360000000),
     .fallback = "0",
     .help = "How long it is valid; 0: as long as the token that makes it"},
    {.name = "independent",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "It outlives the token that makes it; operators only"},
};
static const struct syn_schema token_schema = SYN_SCHEMA("TokenCreate", token_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/accounts/{id}/tokens",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_tokens,
     .query = &srv_list_query,
     .name = "tokens.list",
     .summary = "Tokens of an account"},
    {.method = "POST",
     .pattern = "/v1/accounts/{id}/tokens",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = create_token,
     .body = &token_schema,
     .name = "tokens.create",
     .summary = "Make a token; its text is shown once"},
    {.method = "DELETE",
     .pattern = "/v1/accounts/{id}/tokens/{token}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_token,
     .name = "tokens.delete",
     .summary = "Revoke a token, and all that were made with it, at once"},
};

const struct srv_routes srv_token_routes = {rows, SYN_LEN(rows)};
