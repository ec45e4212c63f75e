/* Who is asking, and what they may do. Tokens live in the store under their digest; the loop keeps
 * them in a book that a watch keeps current, so that a request costs one hash and one lookup. */
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "server_priv.h"

#define TOKENS_LOOK_MS 1000

const struct srv_identity *
srv_identity(const struct syn_http_req *req)
{
    return syn_http_req_identity(req);
}

/* The scopes of the route, any of which will do; an operator may do everything. */
static int
allow(const struct srv_identity *who, const struct syn_http_route *route, struct syn_err *err)
{
    uint32_t have = who->scopes.bits;

    if (have & SYN_SCOPE_OPERATOR)
        return SYN_OK;
    if (have & SYN_SCOPE_TENANT)
        have |= SYN_SCOPE_READ;
    if (have & route->scopes)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_FORBIDDEN, "this token may not call %s %s", route->method,
                    route->pattern);
}

int
srv_authenticate(void *ctx, struct syn_http_req *req, const struct syn_http_route *route,
                 struct syn_err *err)
{
    struct syn_server *server = ctx;
    const struct syn_http_peer *peer = syn_http_req_peer(req);
    const char *bearer = syn_http_req_bearer(req);
    const char *acting = syn_http_req_header(req, "x-synor-account");
    struct srv_identity *who = syn_calloc(1, sizeof(*who));
    int rc;

    if (who == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an identity");
    syn_http_req_set_identity(req, who, syn_free);
    if (bearer != NULL) {
        const struct syn_grant *grant;

        rc = syn_token_book_find(server->tokens, bearer, strlen(bearer), syn_wall_ms(server->world),
                                 &grant, err);
        if (rc < 0)
            return rc;
        who->scopes = grant->scopes;
        who->expires_ms = grant->expires_ms;
        syn_hex_encode(grant->digest, sizeof(grant->digest), who->token);
        (void)syn_str_copy(who->account, sizeof(who->account), grant->account);
    } else if (peer->is_unix && peer->uid == geteuid()) {
        who->scopes.bits = SYN_SCOPE_OPERATOR | SYN_SCOPE_TENANT;
        (void)syn_str_copy(who->account, sizeof(who->account), server->operator_id);
    } else {
        syn_http_error_hint(req, "send \"Authorization: Bearer TOKEN\"; an operator makes tokens "
                                 "with `synor account token`");
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "no bearer token was given");
    }
    who->is_operator = (who->scopes.bits & SYN_SCOPE_OPERATOR) != 0;
    if (acting != NULL && acting[0] != '\0' && who->is_operator) {
        rc = srv_account_find(server, who, acting, who->account, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "X-Synor-Account");
    }
    return allow(who, route, err);
}

int
srv_own(const struct srv_identity *who, const json_t *doc, const char *what, const char *id,
        struct syn_err *err)
{
    if (who->is_operator || syn_str_eq(who->account, syn_json_str(doc, "account", "")))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no %s %s", what, id);
}

int
srv_own_node(const struct srv_identity *who, const char *node, struct syn_err *err)
{
    if (who->is_operator ||
        ((who->scopes.bits & SYN_SCOPE_NODE) && syn_str_eq(who->scopes.node, node)))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_FORBIDDEN, "this token does not belong to node %s", node);
}

/* --- the book --------------------------------------------------------------------------------- */

/* "token/HEX" and its document -> grant. */
static int
read_grant(const char *key, const json_t *doc, struct syn_grant *ret_grant, struct syn_err *err)
{
    const char *hex = strrchr(key, '/') + 1;
    int rc;

    memset(ret_grant, 0, sizeof(*ret_grant));
    rc = syn_hex_decode(hex, ret_grant->digest, sizeof(ret_grant->digest), err);
    if (rc == SYN_OK && doc != NULL)
        rc = syn_scopes_parse(syn_json_str(doc, "scopes", ""), &ret_grant->scopes, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "token %.12s", hex);
    if (doc == NULL)
        return SYN_OK;
    (void)syn_str_copy(ret_grant->account, sizeof(ret_grant->account),
                       syn_json_str(doc, "account", ""));
    ret_grant->expires_ms = syn_json_i64(doc, "expires_ms", 0);
    ret_grant->made = json_object_get(doc, "maker") != NULL;
    if (!ret_grant->made)
        return SYN_OK;
    return syn_hex_decode(syn_json_str(doc, "maker", ""), ret_grant->maker,
                          sizeof(ret_grant->maker), err);
}

static int
load_token(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_server *server = arg;
    struct syn_grant grant;
    int rc = read_grant(key, doc, &grant, err);

    (void)revision;
    return rc < 0 ? rc : syn_token_book_put(server->tokens, &grant, err);
}

/* A change on its way from the store's notifier thread to the loop. */
struct token_letter {
    struct syn_server *server;
    struct syn_grant grant;
    unsigned generation;
    bool gone;
};

static void
apply_token(void *arg)
{
    struct token_letter *letter = arg;
    struct syn_server *server = letter->server;
    bool valid = letter->generation == atomic_load(&server->tokens_generation);
    struct syn_err err = {0};

    if (valid && letter->gone)
        (void)syn_token_book_remove(server->tokens, letter->grant.digest);
    else if (valid && syn_token_book_put(server->tokens, &letter->grant, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "token.refused", &err);
    syn_free(letter);
}

static void
on_token_event(void *arg, const struct syn_store_event *event)
{
    struct syn_server *server = arg;
    struct token_letter *letter;
    SYN_JSON(doc);
    struct syn_err err = {0};
    int rc = SYN_OK;

    letter = event->kind == SYN_STORE_EVENT_LOST ? NULL : syn_calloc(1, sizeof(*letter));
    if (letter == NULL) {
        atomic_store(&server->tokens_missed, true);
        return;
    }
    letter->generation = atomic_load(&server->tokens_generation);
    letter->server = server;
    letter->gone = event->kind == SYN_STORE_EVENT_DELETE;
    if (!letter->gone)
        rc = syn_json_parse(event->doc->value, event->doc->len, &doc, &err);
    if (rc == SYN_OK)
        rc = read_grant(event->doc->key, doc, &letter->grant, &err);
    if (rc == SYN_OK)
        rc = syn_loop_post(server->loop, apply_token, letter, syn_free, &err);
    if (rc < 0) {
        syn_log_err(SYN_LOG_ERROR, "token.lost", &err);
        atomic_store(&server->tokens_missed, true);
        syn_free(letter);
    }
}

/* Read all tokens into a new book and follow what changes. */
static int
read_tokens(struct syn_server *server, struct syn_err *err)
{
    struct syn_token_book *old = server->tokens;
    struct syn_token_book *fresh = NULL;
    int64_t revision;
    int rc = syn_token_book_new(&fresh, err);

    if (rc < 0)
        return rc;
    server->token_watch = syn_store_unwatch(server->store, server->token_watch);
    atomic_fetch_add(&server->tokens_generation, 1);
    server->tokens = fresh;
    rc = syn_store_revision(server->store, &revision, err);
    if (rc == SYN_OK)
        rc = srv_each(server, "token/", load_token, server, err);
    if (rc == SYN_OK)
        rc = syn_store_watch(server->store, "token/", revision, on_token_event, server,
                             &server->token_watch, err);
    (void)syn_token_book_free(old);
    return rc;
}

/* May whoever opened a stream go on? */
static bool
may_go_on(void *arg, const void *identity)
{
    const struct syn_server *server = arg;
    const struct srv_identity *who = identity;
    uint8_t digest[SYN_SHA256_LEN];

    return who == NULL || who->token[0] == '\0' ||
           (syn_hex_decode(who->token, digest, sizeof(digest), NULL) == SYN_OK &&
            syn_token_book_valid(server->tokens, digest, syn_wall_ms(server->world)));
}

/* A revocation that was not heard must not leave its token valid, and no stream outlives the token
 * that opened it by more than this timer's step. */
static void
look_at_tokens(void *arg)
{
    struct syn_server *server = arg;
    struct syn_err err = {0};

    if (atomic_exchange(&server->tokens_missed, false) && read_tokens(server, &err) < 0) {
        syn_log_err(SYN_LOG_ERROR, "token.read-failed", &err);
        atomic_store(&server->tokens_missed, true);
    }
    if (server->http != NULL)
        syn_http_sse_recheck(server->http, may_go_on, server);
}

int
srv_tokens_open(struct syn_server *server, struct syn_err *err)
{
    int rc = read_tokens(server, err);

    if (rc == SYN_OK)
        rc = syn_loop_timer(server->loop, TOKENS_LOOK_MS, TOKENS_LOOK_MS, look_at_tokens, server,
                            &server->token_timer, err);
    return rc;
}

void
srv_tokens_close(struct syn_server *server)
{
    server->token_timer = syn_watch_drop(server->token_timer);
    server->token_watch = syn_store_unwatch(server->store, server->token_watch);
    server->tokens = syn_token_book_free(server->tokens);
}

int
srv_token_issue(struct syn_server *server, struct srv_txn *txn, const struct srv_token *token,
                struct srv_new_token *ret, struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    char key[SRV_KEY_MAX];
    struct syn_scopes parsed;
    SYN_JSON(doc);
    int rc = syn_scopes_parse(token->scopes, &parsed, err);

    if (rc < 0)
        return rc;
    syn_token_new(ret->text);
    rc = syn_token_digest(ret->text, strlen(ret->text), digest, err);
    if (rc < 0)
        return rc;
    syn_hex_encode(digest, sizeof(digest), ret->id);
    rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:I, s:I, s:s*, s:I}", "account", token->account,
                       "scopes", token->scopes, "name", token->name, "created_ms",
                       (json_int_t)syn_wall_ms(server->world), "expires_ms",
                       (json_int_t)token->expires_ms, "maker", token->maker, "row",
                       (json_int_t)token->row);
    if (rc == SYN_OK)
        rc = srv_txn_put(txn, srv_key(key, "token", ret->id, NULL), doc, err);
    if (rc == SYN_OK && token->maker != NULL)
        rc = srv_txn_put_text(txn, srv_key(key, "token-made", token->maker, ret->id), ret->id, err);
    return rc < 0 ? rc
                  : srv_txn_put_text(txn, srv_key(key, "token-of", token->account, ret->id),
                                     ret->id, err);
}

int
srv_token_forget(struct srv_txn *txn, const char *id, const json_t *doc, struct syn_err *err)
{
    const char *maker = syn_json_str(doc, "maker", NULL);
    char key[SRV_KEY_MAX];
    int rc = srv_txn_delete(txn, srv_key(key, "token", id, NULL), err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, srv_key(key, "token-of", syn_json_str(doc, "account", "?"), id),
                            err);
    if (rc == SYN_OK && maker != NULL)
        rc = srv_txn_delete(txn, srv_key(key, "token-made", maker, id), err);
    return rc;
}
