/* Quotas of accounts: what an operator allows them to hold at once. Compute is judged where it is
 * given away, by the controller; storage here, where a name or a pin is to keep something.
 *
 * The storage of an account is the size of the distinct contents that its names, pins and images
 * keep. What it uploaded and keeps by none of them is collected; what jobs store beside is theirs,
 * and goes with them.
 */
#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/document.h>

#include "server_priv.h"

int
srv_quota_load(struct syn_server *server, const char *account, struct syn_quota *ret,
               struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_need(server, srv_key(key, "account", account, NULL), "account", &doc, NULL, err);

    return rc < 0 ? rc : syn_quota_read(json_object_get(syn_document_spec(doc), "quota"), ret, err);
}

int
srv_quota_bears(struct syn_server *server, const char *account, const struct syn_holding *ask,
                struct syn_err *err)
{
    static const struct syn_holding nothing = {{0}};
    struct syn_quota quota;
    enum syn_quota_dim over;
    char message[160];
    int rc = srv_quota_load(server, account, &quota, err);

    if (rc < 0)
        return rc;
    over = syn_quota_over(&quota, &nothing, ask);
    if (over == SYN_QUOTA_COUNT)
        return SYN_OK;
    syn_quota_say(&quota, &nothing, ask, over, message, sizeof(message));
    return SYN_FAIL(err, SYN_E_LIMIT, "%s", message);
}

/* --- storage ---------------------------------------------------------------------------------- */

/* What an account keeps, each content once. */
struct keeping {
    struct syn_server *server;
    struct syn_map *seen; /* CID text -> itself */
    const char *except;   /* key of a name that is to keep something else, or NULL */
    int64_t bytes;
};

static int
add_kept(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct keeping *keeping = arg;
    const char *text = syn_json_str(doc, "cid", "");
    struct syn_content_stat stat;
    struct syn_cid cid;
    int rc;

    (void)revision;
    if (keeping->except != NULL && syn_str_eq(key, keeping->except))
        return SYN_OK;
    if (syn_map_find(keeping->seen, text) != NULL)
        return SYN_OK;
    rc = syn_cid_parse(text, strlen(text), &cid, err);
    if (rc == SYN_OK)
        rc = syn_content_stat(keeping->server->content, &cid, &stat, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_OK; /* removed by hand: nothing is kept */
    if (rc == SYN_OK)
        rc = syn_map_put_take(keeping->seen, text, keeping, err);
    if (rc == SYN_OK)
        keeping->bytes += (int64_t)stat.size;
    return rc;
}

static int
count_kept(struct syn_server *server, const char *account, struct keeping *keeping,
           struct syn_err *err)
{
    static const char *const kinds[] = {"name", "pin", "image"};
    char prefix[SRV_KEY_MAX];
    int rc = SYN_OK;

    keeping->server = server;
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(kinds); i++)
        rc = srv_each(server, srv_key(prefix, kinds[i], account, ""), add_kept, keeping, err);
    return rc;
}

int
srv_storage_claim(struct syn_server *server, struct srv_txn *txn, const char *account,
                  const char *key, const struct syn_cid *cid, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *seen = NULL;
    struct keeping keeping = {.except = key};
    struct syn_holding held = {{0}};
    struct syn_holding ask = {{0}};
    struct syn_content_stat stat = {0};
    struct syn_quota quota;
    char text[SYN_CID_TEXT_MAX];
    char mark_key[SRV_KEY_MAX];
    char message[160];
    int64_t revision = 0;
    SYN_JSON(mark);
    int rc = srv_quota_load(server, account, &quota, err);

    if (rc < 0 || quota.limits[SYN_QUOTA_STORAGE] == SYN_QUOTA_NONE)
        return rc;
    /* Whoever else claims room for this account moves the mark: one of two starts over. */
    rc = srv_load(server, srv_key(mark_key, "kept", account, NULL), &mark, &revision, err);
    if (rc >= 0)
        rc = srv_txn_check(txn, mark_key, rc == SRV_ABSENT ? 0 : revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, mark_key, account, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &seen, err);
    keeping.seen = seen;
    if (rc == SYN_OK)
        rc = count_kept(server, account, &keeping, err);
    if (rc == SYN_OK)
        rc = syn_content_stat(server->content, cid, &stat, err);
    if (rc < 0 || syn_map_find(seen, syn_cid_format(cid, text)) != NULL)
        return rc;
    held.amounts[SYN_QUOTA_STORAGE] = keeping.bytes;
    ask.amounts[SYN_QUOTA_STORAGE] = (int64_t)stat.size;
    if (syn_quota_over(&quota, &held, &ask) == SYN_QUOTA_COUNT)
        return SYN_OK;
    syn_quota_say(&quota, &held, &ask, SYN_QUOTA_STORAGE, message, sizeof(message));
    return SYN_FAIL(err, SYN_E_LIMIT, "%s", message);
}

/* --- what an account holds -------------------------------------------------------------------- */

int
srv_account_holding(struct syn_server *server, const char *account, struct syn_holding *ret,
                    struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *seen = NULL;
    struct keeping keeping = {0};
    int rc = srv_cluster_read(server, &cluster, err);

    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &seen, err);
    keeping.seen = seen;
    if (rc == SYN_OK)
        rc = count_kept(server, account, &keeping, err);
    if (rc == SYN_OK)
        rc = syn_cluster_holding(cluster, account, ret, err);
    if (rc == SYN_OK)
        ret->amounts[SYN_QUOTA_STORAGE] = keeping.bytes;
    return rc;
}

/* --- setting ---------------------------------------------------------------------------------- */

struct setting {
    struct syn_http_req *req;
    const char *account;
    json_t *doc;
};

static int
set_quota(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct setting *setting = arg;
    json_t *limits = syn_http_req_json(setting->req);
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    int rc = srv_need(server, srv_key(key, "account", setting->account, NULL), "account",
                      srv_again(&setting->doc), &revision, err);

    if (rc == SYN_OK)
        rc = srv_if_match(setting->req, revision, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(syn_document_spec(setting->doc), "quota", json_incref(limits), err);
    if (rc == SYN_OK)
        rc = syn_document_bump(setting->doc, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, setting->doc, err);
}

static int
put_quota(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char account[SYN_ID_MAX];
    struct setting setting = {req, account, NULL};
    struct syn_quota quota;
    int64_t revision;
    int rc =
        srv_account_find(server, srv_identity(req), syn_http_req_param(req, "id"), account, err);

    if (rc == SYN_OK)
        rc = syn_quota_read(syn_http_req_json(req), &quota, err);
    if (rc == SYN_OK)
        rc = srv_change(server, "the account", set_quota, &setting, &revision, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(setting.doc, "revision", revision, err);
    if (rc == SYN_OK)
        rc = srv_account_complete(server, setting.doc, true, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 200, setting.doc, err);
    (void)srv_again(&setting.doc);
    return rc;
}

static const struct syn_field quota_fields[] = {
    {.name = "jobs",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_C(1) << 40,
     .help = "Jobs that hold something at once"},
    {.name = "cpu_millicores",
     .kind = SYN_FIELD_CPUS,
     .min = 0,
     .max = INT64_C(1) << 52,
     .help = "CPUs held at once"},
    {.name = "memory_bytes",
     .kind = SYN_FIELD_BYTES,
     .min = 0,
     .max = INT64_C(1) << 60,
     .help = "Memory held at once"},
    {.name = "gpus",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_C(1) << 40,
     .help = "GPUs held at once"},
    {.name = "storage_bytes",
     .kind = SYN_FIELD_BYTES,
     .min = 0,
     .max = INT64_C(1) << 60,
     .help = "Size of what names and pins keep"},
};
static const struct syn_schema quota_schema = SYN_SCHEMA("AccountQuota", quota_fields);

static const struct syn_http_route rows[] = {
    {.method = "PUT",
     .pattern = "/v1/accounts/{id}/quota",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = put_quota,
     .body = &quota_schema,
     .name = "accounts.quota",
     .summary = "Limit what an account may hold; what is left out has no limit"},
};

const struct srv_routes srv_quota_routes = {rows, SYN_LEN(rows)};
