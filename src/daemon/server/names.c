/* Routes of names and pins: what keeps content from being collected, and how people find it again.
 */
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "function_calls_priv.h"

#define NAME_MAX_BYTES 200

bool
srv_content_name_ok(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-/";
    size_t len = strlen(name);

    if (len == 0 || len > NAME_MAX_BYTES || strspn(name, allowed) != len)
        return false;
    for (const char *at = name;;) {
        size_t part = strcspn(at, "/");

        if (part == 0 || (part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += part;
        if (*at == '\0')
            return true;
        at++;
    }
}

int
srv_keep(struct syn_server *server, struct syn_content_guard **guard, const char *cid,
         struct syn_err *err)
{
    struct syn_cid parsed;
    int rc;

    if (cid[0] == '\0')
        return SYN_OK;
    rc = syn_cid_parse(cid, strlen(cid), &parsed, err);
    if (rc == SYN_OK && *guard == NULL)
        rc = syn_content_guard_new(server->content, guard, err);
    return rc < 0 ? rc : syn_content_guard_add(*guard, &parsed, err);
}

int
srv_resolve(struct syn_server *server, const char *account, const char *reference, char *ret_cid,
            struct syn_err *err)
{
    const char *text = reference;
    char key[SRV_KEY_MAX];
    struct syn_content_stat stat;
    struct syn_cid cid;
    SYN_JSON(name);
    int rc;

    ret_cid[0] = '\0';
    if (reference[0] == '\0')
        return SYN_OK;
    if (syn_str_starts(text, "synor://"))
        text += strlen("synor://");
    if (syn_cid_parse(text, strlen(text), &cid, NULL) < 0) {
        if (!srv_content_name_ok(text))
            return SYN_FAIL(err, SYN_E_INVALID, "%.100s: neither a CID nor a name", reference);
        rc = srv_need(server, srv_key(key, "name", account, text), "content named", &name, NULL,
                      err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "synor://%s", text);
        text = syn_json_str(name, "cid", "");
        rc = syn_cid_parse(text, strlen(text), &cid, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_content_stat(server->content, &cid, &stat, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", reference);
    (void)syn_cid_format(&cid, ret_cid);
    return SYN_OK;
}

static int
query_name(struct syn_http_req *req, const char **ret_name, struct syn_err *err)
{
    const char *name = syn_json_str(syn_http_req_query_json(req), "name", "");

    if (!srv_content_name_ok(name))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "name: expected parts of a-z 0-9 . _ - joined by \"/\", got \"%.60s\"",
                        name);
    *ret_name = name;
    return SYN_OK;
}

int
srv_name_put(struct syn_server *server, struct srv_txn *txn, const char *account, const char *name,
             const struct syn_cid *cid, json_t **ret_doc, struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    char at[SYN_FORMAT_MAX];
    char key[SRV_KEY_MAX];
    struct syn_content_stat stat;
    SYN_JSON(doc);
    int rc = syn_content_stat(server->content, cid, &stat, err);

    if (rc == SYN_OK)
        rc = srv_storage_claim(server, txn, account, srv_key(key, "name", account, name), cid, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:I, s:s}", "name", name, "cid",
                           syn_cid_format(cid, text), "type", syn_content_type_name(stat.type),
                           "size_bytes", (json_int_t)stat.size, "created_at",
                           syn_format_time(syn_wall_ms(server->world), at));
    if (rc == SYN_OK)
        rc = srv_txn_put(txn, key, doc, err);
    if (rc == SYN_OK)
        rc = srv_name_happened(server, txn, account, name, text, true, err);
    if (rc == SYN_OK && ret_doc != NULL)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

/* Content that a name or a pin is to keep. */
struct keeping {
    const char *account;
    const char *name; /* or NULL */
    struct syn_cid cid;
    json_t *doc; /* as it was written */
};

/* Resolve what is to be kept, keep it, and answer with the document. */
static int
reply_kept(struct syn_http_req *req, struct syn_server *server, const char *reference,
           const char *name, srv_attempt_fn keep, struct syn_err *err)
{
    struct keeping keeping = {.account = srv_identity(req)->account, .name = name};
    char text[SYN_CID_TEXT_MAX];
    SRV_GUARD(guard); /* until a document names it */
    int rc = srv_resolve(server, keeping.account, reference, text, err);

    if (rc == SYN_OK)
        rc = syn_cid_parse(text, strlen(text), &keeping.cid, err);
    if (rc == SYN_OK)
        rc = srv_keep(server, &guard, text, err);
    if (rc == SYN_OK)
        rc = srv_change(server, "what the account keeps", keep, &keeping, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 200, keeping.doc, err);
    (void)srv_again(&keeping.doc);
    return rc;
}

static int
keep_name(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct keeping *keeping = arg;

    return srv_name_put(server, txn, keeping->account, keeping->name, &keeping->cid,
                        srv_again(&keeping->doc), err);
}

static int
put_name(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *name;
    int rc = query_name(req, &name, err);

    return rc < 0 ? rc
                  : reply_kept(req, ctx, syn_json_str(syn_http_req_json(req), "cid", ""), name,
                               keep_name, err);
}

static int
lookup_name(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    const char *name;
    SYN_JSON(doc);
    int rc = query_name(req, &name, err);

    if (rc == SYN_OK)
        rc = srv_load(ctx, srv_key(key, "name", srv_identity(req)->account, name), &doc, NULL, err);
    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is nothing named %s", name);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct forgetting {
    const char *account, *name;
};

static int
forget_name(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct forgetting *forgetting = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "name", forgetting->account, forgetting->name), &doc,
                      &revision, err);

    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is nothing named %s", forgetting->name);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, key, err);
    return rc < 0 ? rc
                  : srv_name_happened(server, txn, forgetting->account, forgetting->name,
                                      syn_json_str(doc, "cid", ""), false, err);
}

static int
delete_name(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct forgetting forgetting = {.account = srv_identity(req)->account};
    int rc = query_name(req, &forgetting.name, err);

    return rc < 0 ? rc : srv_change(ctx, "the name", forget_name, &forgetting, NULL, err);
}

static int
list_names(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *prefix = syn_json_str(syn_http_req_query_json(req), "prefix", "");
    char key[SRV_KEY_MAX];

    if (prefix[0] != '\0' &&
        strspn(prefix, "abcdefghijklmnopqrstuvwxyz0123456789._-/") != strlen(prefix))
        return SYN_FAIL(err, SYN_E_INVALID, "prefix: \"%.60s\" begins no name", prefix);
    return srv_reply_list(ctx, req, srv_key(key, "name", srv_identity(req)->account, prefix), false,
                          NULL, NULL, err);
}

/* --- pins ------------------------------------------------------------------------------------- */

static int
keep_pin(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct keeping *keeping = arg;
    char text[SYN_CID_TEXT_MAX];
    char at[SYN_FORMAT_MAX];
    char key[SRV_KEY_MAX];
    int rc;

    (void)srv_key(key, "pin", keeping->account, syn_cid_format(&keeping->cid, text));
    rc = srv_storage_claim(server, txn, keeping->account, key, &keeping->cid, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(srv_again(&keeping->doc), err, "{s:s, s:s}", "cid", text, "created_at",
                           syn_format_time(syn_wall_ms(server->world), at));
    return rc < 0 ? rc : srv_txn_put(txn, key, keeping->doc, err);
}

static int
put_pin(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_kept(req, ctx, syn_http_req_param(req, "cid"), NULL, keep_pin, err);
}

static int
delete_pin(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char text[SYN_CID_TEXT_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc =
        srv_resolve(server, srv_identity(req)->account, syn_http_req_param(req, "cid"), text, err);

    if (rc == SYN_OK)
        rc = srv_need(server, srv_key(key, "pin", srv_identity(req)->account, text), "pin", &doc,
                      NULL, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    return rc < 0 ? rc : SYN_OK;
}

static int
list_pins(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char key[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(key, "pin", srv_identity(req)->account, ""), false,
                          NULL, NULL, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field name_query_fields[] = {
    {.name = "name",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = NAME_MAX_BYTES,
     .required = true,
     .help = "Such as datasets/fashion-mnist"},
};
static const struct syn_schema name_query = SYN_SCHEMA("NameQuery", name_query_fields);

static const struct syn_field name_fields[] = {
    {.name = "cid",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = NAME_MAX_BYTES + 8,
     .required = true,
     .help = "A CID, or another name"},
};
static const struct syn_schema name_schema = SYN_SCHEMA("NamePut", name_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/names",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_names,
     .query = &srv_list_query,
     .name = "names.list",
     .summary = "List names"},
    {.method = "GET",
     .pattern = "/v1/names/lookup",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = lookup_name,
     .query = &name_query,
     .name = "names.lookup",
     .summary = "What a name stands for"},
    {.method = "PUT",
     .pattern = "/v1/names",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = put_name,
     .query = &name_query,
     .body = &name_schema,
     .name = "names.put",
     .summary = "Let a name stand for a CID"},
    {.method = "DELETE",
     .pattern = "/v1/names",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_name,
     .query = &name_query,
     .name = "names.delete",
     .summary = "Forget a name"},
    {.method = "GET",
     .pattern = "/v1/pins",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_pins,
     .query = &srv_list_query,
     .name = "pins.list",
     .summary = "List pins"},
    {.method = "PUT",
     .pattern = "/v1/pins/{cid}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = put_pin,
     .name = "pins.put",
     .summary = "Keep this content"},
    {.method = "DELETE",
     .pattern = "/v1/pins/{cid}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_pin,
     .name = "pins.delete",
     .summary = "Let this content go"},
};

const struct srv_routes srv_name_routes = {rows, SYN_LEN(rows)};
