/* Routes of accounts: opening, balances, history, the faucet, transfers, tokens. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "server_priv.h"

/* Sum of what stands in open escrows of an account: "escrow-of/ACCOUNT/REF" -> amount text. */
static int
add_held(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    int64_t *held = arg;
    int64_t amount;
    int rc = syn_parse_amount(json_string_value(doc), key, &amount, err);

    (void)revision;
    if (rc == SYN_OK)
        *held += amount;
    return rc;
}

static int
add_usage(struct syn_server *server, json_t *doc, struct syn_err *err)
{
    struct syn_holding holding;
    json_t *usage = NULL;
    int rc = srv_account_holding(server, syn_document_id(doc), &holding, err);

    if (rc == SYN_OK)
        rc = syn_holding_encode(&holding, &usage, err);
    return rc < 0 ? rc : syn_json_set_take(syn_document_status(doc), "usage", usage, err);
}

int
srv_account_complete(struct syn_server *server, json_t *doc, bool usage, struct syn_err *err)
{
    json_t *status = syn_document_status(doc);
    const char *id = syn_document_id(doc);
    char prefix[SRV_KEY_MAX];
    int64_t balance = 0;
    int64_t held = 0;
    int rc = srv_balance(server, id, &balance, err);

    (void)srv_key(prefix, "escrow-of", id, "");
    if (rc == SYN_OK)
        rc = srv_each(server, prefix, add_held, &held, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(status, "balance", balance, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(status, "held", held, err);
    return rc < 0 || !usage ? rc : add_usage(server, doc, err);
}

static int
load_named(struct syn_server *server, struct syn_http_req *req, json_t **ret_doc,
           struct syn_err *err)
{
    char id[SYN_ID_MAX];
    char key[SRV_KEY_MAX];
    int rc = srv_account_find(server, srv_identity(req), syn_http_req_param(req, "id"), id, err);

    return rc < 0
               ? rc
               : srv_need(server, srv_key(key, "account", id, NULL), "account", ret_doc, NULL, err);
}

static int
get_account(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_JSON(doc);
    int rc = load_named(server, req, &doc, err);

    if (rc == SYN_OK)
        rc = srv_account_complete(server, doc, true, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct listing {
    struct syn_server *server;
    const struct srv_identity *who;
};

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    int rc;

    (void)key;
    if (!listing->who->is_operator && !syn_str_eq(syn_document_id(doc), listing->who->account))
        return SYN_OK;
    rc = srv_account_complete(listing->server, doc, false, err);
    return rc < 0 ? rc : syn_json_append_take(items, json_incref(doc), err);
}

static int
list_accounts(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct listing listing = {ctx, srv_identity(req)};
    char own[SRV_KEY_MAX];

    /* Not the whole range for everybody: a cursor would name accounts of others. */
    (void)srv_key(own, "account", listing.who->account, NULL);
    return srv_reply_list(ctx, req, listing.who->is_operator ? "account/" : own, false, list_item,
                          &listing, err);
}

struct opening {
    struct syn_http_req *req;
    json_t *doc;
};

static int
open_account(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct opening *opening = arg;
    const json_t *body = syn_http_req_json(opening->req);
    const char *name = syn_json_str(body, "name", "");
    char id[SYN_ID_MAX];
    char key[SRV_KEY_MAX];
    struct srv_idem idem;
    SYN_JSON(holder);
    int rc = srv_idem_begin(server, opening->req, &idem, err);

    if (rc == SYN_OK)
        rc = srv_load(server, srv_key(key, "account-name", name, NULL), &holder, NULL, err);
    else
        return rc;
    if (rc == SYN_OK)
        return SYN_FAIL(err, SYN_E_EXISTS, "there is an account named %s already", name);
    if (rc == SRV_ABSENT)
        rc = srv_account_make(server, txn, syn_make_id(server->world, "acct", id), name,
                              syn_json_str(body, "kind", "tenant"), srv_again(&opening->doc), err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(syn_document_status(opening->doc), "balance", 0, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(syn_document_status(opening->doc), "held", 0, err);
    return rc < 0 ? rc : srv_idem_keep(server, &idem, txn, 201, opening->doc, err);
}

static int
create_account(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct opening opening = {req, NULL};
    int64_t revision;
    int rc = srv_change(ctx, "the account", open_account, &opening, &revision, err);

    if (rc == SYN_OK)
        rc = syn_json_set_i64(opening.doc, "revision", revision, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 201, opening.doc, err);
    (void)srv_again(&opening.doc);
    return rc == SRV_REPLAYED ? SYN_OK : rc;
}

/* --- the ledger ------------------------------------------------------------------------------- */

static int
history_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    struct syn_server *server = arg;
    const char *seq = strrchr(key, '/') + 1;
    char tx_key[SRV_KEY_MAX];
    json_t *tx;
    int rc;

    (void)doc;
    (void)snprintf(tx_key, sizeof(tx_key), "tx/%s", seq);
    rc = srv_need(server, tx_key, "transaction", &tx, NULL, err);
    return rc < 0 ? rc : syn_json_append_take(items, tx, err);
}

static int
get_history(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char id[SYN_ID_MAX];
    char prefix[SRV_KEY_MAX];
    int rc = srv_account_find(server, srv_identity(req), syn_http_req_param(req, "id"), id, err);

    if (rc < 0)
        return rc;
    return srv_reply_list(server, req, srv_key(prefix, "tx-of", id, ""), true, history_item, server,
                          err);
}

/* Money that moves by itself, and what builds the transaction once its place is known. */
struct movement {
    struct syn_server *server;
    struct syn_http_req *req;
    int (*build)(const struct movement *move, const struct srv_ledger_place *place,
                 struct syn_ledger_tx *ret_tx, struct syn_err *err);
    char from[SYN_ID_MAX];
    char to[SYN_ID_MAX];
    const char *memo;
    int64_t amount;
    json_t *doc; /* the transaction, once written */
};

static int
move_money(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct movement *move = arg;
    struct srv_ledger_place place;
    struct syn_ledger_tx tx;
    struct srv_idem idem;
    int rc = srv_idem_begin(server, move->req, &idem, err);

    if (rc == SYN_OK)
        rc = srv_ledger_next(server, &place, err);
    if (rc != SYN_OK)
        return rc;
    rc = move->build(move, &place, &tx, err);
    if (rc == SYN_OK)
        rc = srv_ledger_add(server, txn, &place, &tx, err);
    if (rc == SYN_OK)
        rc = syn_ledger_tx_encode(&tx, srv_again(&move->doc), err);
    return rc < 0 ? rc : srv_idem_keep(server, &idem, txn, 201, move->doc, err);
}

/* Post one transaction by itself and answer with it. */
static int
reply_moved(struct movement *move, struct syn_err *err)
{
    int rc = srv_change(move->server, "the ledger", move_money, move, NULL, err);

    if (rc == SYN_OK)
        rc = syn_http_reply_json(move->req, 201, move->doc, err);
    (void)srv_again(&move->doc);
    return rc == SRV_REPLAYED ? SYN_OK : rc;
}

static int
build_mint(const struct movement *move, const struct srv_ledger_place *place,
           struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    struct syn_ledger_head head = {place->id, place->seq, syn_wall_ms(move->server->world), NULL,
                                   "faucet of a development network"};

    return syn_ledger_build_mint(&head, move->to, move->amount, ret_tx, err);
}

static int
build_transfer(const struct movement *move, const struct srv_ledger_place *place,
               struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    struct syn_ledger_head head = {place->id, place->seq, syn_wall_ms(move->server->world), NULL,
                                   move->memo};

    return syn_ledger_build_transfer(&head, move->from, move->to, move->amount, ret_tx, err);
}

static int
body_amount(struct syn_http_req *req, int64_t *ret_amount, struct syn_err *err)
{
    int rc = syn_parse_amount(syn_json_str(syn_http_req_json(req), "amount", ""), "amount",
                              ret_amount, err);

    if (rc == SYN_OK && *ret_amount == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "amount: expected more than 0");
    return rc;
}

static int
post_faucet(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct movement move = {.server = server, .req = req, .build = build_mint};
    int rc =
        srv_account_find(server, srv_identity(req), syn_http_req_param(req, "id"), move.to, err);

    if (rc == SYN_OK && !syn_str_eq(server->network, "development"))
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "there is no faucet on the %s network",
                        server->network);
    if (rc == SYN_OK)
        rc = body_amount(req, &move.amount, err);
    return rc < 0 ? rc : reply_moved(&move, err);
}

static int
post_transfer(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const struct srv_identity *who = srv_identity(req);
    const struct srv_identity anyone = {.is_operator = true};
    const json_t *body = syn_http_req_json(req);
    struct movement move = {.server = server,
                            .req = req,
                            .build = build_transfer,
                            .memo = syn_json_str(body, "memo", "")};
    int rc = srv_account_find(server, who, syn_json_str(body, "from", "me"), move.from, err);

    if (rc == SYN_OK)
        rc = srv_account_find(server, &anyone, syn_json_str(body, "to", ""), move.to, err);
    if (rc == SYN_OK)
        rc = body_amount(req, &move.amount, err);
    return rc < 0 ? rc : reply_moved(&move, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field create_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Lower-case name, unique"},
    {.name = "kind",
     .kind = SYN_FIELD_STR,
     .choices = "tenant|provider",
     .fallback = "\"tenant\"",
     .help = "What it is for"},
};
static const struct syn_schema create_schema = SYN_SCHEMA("AccountCreate", create_fields);

static const struct syn_field faucet_fields[] = {
    {.name = "amount", .kind = SYN_FIELD_AMOUNT, .required = true, .help = "SYNOR, decimal text"},
};
static const struct syn_schema faucet_schema = SYN_SCHEMA("Faucet", faucet_fields);

static const struct syn_field transfer_fields[] = {
    {.name = "from",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 63,
     .fallback = "\"me\"",
     .help = "Account"},
    {.name = "to", .kind = SYN_FIELD_STR, .min = 1, .max = 63, .required = true, .help = "Account"},
    {.name = "amount", .kind = SYN_FIELD_AMOUNT, .required = true, .help = "SYNOR, decimal text"},
    {.name = "memo",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = SYN_LEDGER_MEMO_MAX - 1,
     .fallback = "\"\"",
     .help = "A remark kept in the ledger"},
};
static const struct syn_schema transfer_schema = SYN_SCHEMA("Transfer", transfer_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/accounts",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_accounts,
     .query = &srv_list_query,
     .name = "accounts.list",
     .summary = "List accounts"},
    {.method = "POST",
     .pattern = "/v1/accounts",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = create_account,
     .body = &create_schema,
     .name = "accounts.create",
     .summary = "Open an account"},
    {.method = "GET",
     .pattern = "/v1/accounts/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_account,
     .name = "accounts.get",
     .summary = "One account; `me` is the caller's"},
    {.method = "GET",
     .pattern = "/v1/accounts/{id}/history",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_history,
     .query = &srv_list_query,
     .name = "accounts.history",
     .summary = "Transactions that touch it, newest first"},
    {.method = "POST",
     .pattern = "/v1/accounts/{id}/faucet",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = post_faucet,
     .body = &faucet_schema,
     .name = "accounts.faucet",
     .summary = "Grant play money; development networks only"},
    {.method = "POST",
     .pattern = "/v1/transfers",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = post_transfer,
     .body = &transfer_schema,
     .name = "transfers.create",
     .summary = "Send SYNOR from one account to another"},
};

const struct srv_routes srv_account_routes = {rows, SYN_LEN(rows)};
