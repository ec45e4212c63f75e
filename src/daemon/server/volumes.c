/* Volumes of an account: what its services keep on a node.
 *
 *     volume/ACCOUNT/NAME   {id, name, size_bytes, node, shared, created_at, unpaid_since}
 *     volume-gone/NODE/ID   what that node has yet to remove
 *
 * A volume gets its node when it is made, or from the first replica that has it, in the transaction
 * that places that (mounts.c). The node's agent makes the file system when a replica wants it, and
 * removes it when the server says so: a node that is away hears of it when it comes back, and what
 * the server does not speak of stays. What it costs is in volume_bills.c. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/runtime/volume.h>

#include "volumes_priv.h"

#define VOLUMES_MAX   256 /* of one account */
#define DEFAULT_BYTES "10737418240"

/* --- what is seen ----------------------------------------------------------------------------- */

static int
uses_volume(const json_t *service, const char *name, bool *ret, struct syn_err *err)
{
    const json_t *mount;
    size_t i;

    (void)err;
    *ret = false;
    json_array_foreach (json_object_get(syn_document_spec(service), "mounts"), i, mount)
        *ret = *ret || (syn_str_eq(syn_json_str(mount, "kind", ""), "volume") &&
                        syn_str_eq(syn_json_str(mount, "source", ""), name));
    return SYN_OK;
}

int
srv_services_with_volume(struct syn_server *server, const char *account, const char *name,
                         json_t **ret, struct syn_err *err)
{
    return srv_services_with(server, account, uses_volume, name, ret, err);
}

static int
users_of(struct syn_server *server, const char *account, const char *name, json_t **ret,
         struct syn_err *err)
{
    SYN_JSON(services);
    SYN_JSON(names);
    json_t *service;
    size_t i;
    int rc = srv_services_with_volume(server, account, name, &services, err);

    names = json_array();
    if (rc == SYN_OK && names == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of services");
    json_array_foreach (services, i, service)
        if (rc == SYN_OK)
            rc = syn_json_append_take(names, json_string(syn_json_str(service, "name", "?")), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(names);
    return rc;
}

/* Has its node not made it as large yet as it is to be? */
static bool
is_smaller(const json_t *row, const json_t *volume)
{
    int64_t wants = syn_volume_disk_bytes(syn_json_i64(volume, "size_bytes", 0));

    return syn_json_i64(row, "file_bytes", wants) < wants;
}

/* What its node said last: how much of it files take, where it is in use. */
static int
add_usage(struct syn_server *server, json_t *volume, struct syn_err *err)
{
    const char *id = syn_json_str(volume, "id", ""), *node = syn_json_str(volume, "node", "");
    char key[SRV_KEY_MAX];
    const json_t *row;
    SYN_JSON(doc);
    size_t i;
    int rc;

    if (node[0] == '\0')
        return SYN_OK;
    rc = srv_load(server, srv_key(key, "node", node, NULL), &doc, NULL, err);
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    rc = syn_json_set_str(volume, "node_name", syn_json_str(doc, "name", node), err);
    json_array_foreach (json_object_get(syn_document_status(doc), "volumes"), i, row)
        if (rc == SYN_OK && syn_str_eq(syn_json_str(row, "id", ""), id)) {
            rc = syn_json_set_i64(volume, "used_bytes", syn_json_i64(row, "used_bytes", 0), err);
            if (rc == SYN_OK && is_smaller(row, volume))
                rc = syn_json_set_bool(volume, "grows", true, err);
        }
    return rc;
}

static int
complete(struct syn_server *server, const char *account, json_t *volume, struct syn_err *err)
{
    json_t *users = NULL;
    int rc = add_usage(server, volume, err);

    if (rc == SYN_OK)
        rc = srv_volume_add_cost(server, account, volume, err);
    if (rc == SYN_OK)
        rc = users_of(server, account, syn_json_str(volume, "name", ""), &users, err);
    return rc < 0 ? rc : syn_json_set_take(volume, "used_by", users, err);
}

static int
need_volume(struct syn_server *server, struct syn_http_req *req, char *key, json_t **ret,
            int64_t *ret_revision, struct syn_err *err)
{
    const char *name = syn_http_req_param(req, "name");

    if (!syn_name_ok(name))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no volume %.60s", name);
    return srv_need(server, srv_key(key, "volume", srv_identity(req)->account, name), "volume", ret,
                    ret_revision, err);
}

static int
get_volume(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = need_volume(ctx, req, key, &doc, NULL, err);

    if (rc == SYN_OK)
        rc = complete(ctx, srv_identity(req)->account, doc, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct listing {
    struct syn_server *server;
    const char *account;
};

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    int rc = complete(listing->server, listing->account, doc, err);

    (void)key;
    return rc < 0 ? rc : syn_json_append_take(items, json_incref(doc), err);
}

static int
list_volumes(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct listing listing = {ctx, srv_identity(req)->account};
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "volume", listing.account, ""), false,
                          list_item, &listing, err);
}

/* --- making ----------------------------------------------------------------------------------- */

struct making {
    struct syn_http_req *req;
    const char *account;
    const char *name;
    char id[SYN_ID_MAX];
    char node[SYN_ID_MAX]; /* "": the first who uses it says */
    int64_t size_bytes;
    bool shared;
    json_t *answer;
};

/* The node that it is to be on, which must be able to have it. */
static int
find_node(struct syn_server *server, const char *text, struct making *making, struct syn_err *err)
{
    char has[SYN_FORMAT_MAX], wants[SYN_FORMAT_MAX];
    int64_t room;
    SYN_JSON(node);
    int rc;

    if (text == NULL)
        return SYN_OK;
    rc = srv_node_find(server, text, &node, NULL, err);
    if (rc < 0)
        return rc;
    room = syn_json_i64(json_object_get(syn_document_status(node), "capacity"), "scratch_bytes", 0);
    if (making->size_bytes > room)
        return SYN_FAIL(err, SYN_E_NOSPACE, "node %s has %s for scratch space and volumes, not %s",
                        text, syn_format_bytes(room, has),
                        syn_format_bytes(making->size_bytes, wants));
    (void)syn_str_copy(making->node, sizeof(making->node), syn_document_id(node));
    return SYN_OK;
}

static int
make_document(struct syn_server *server, const struct making *making, json_t **ret,
              struct syn_err *err)
{
    char at[SYN_FORMAT_MAX];

    return syn_json_pack(ret, err, "{s:s, s:s, s:I, s:s, s:b, s:s, s:I}", "id", making->id, "name",
                         making->name, "size_bytes", (json_int_t)making->size_bytes, "node",
                         making->node, "shared", making->shared ? 1 : 0, "created_at",
                         syn_format_time(syn_wall_ms(server->world), at), "revision",
                         (json_int_t)0);
}

/* What is answered: as complete() will have it once it is written, with `locked` of it. */
static int
make_answer(struct syn_server *server, struct making *making, const json_t *doc, int64_t locked,
            struct syn_err *err)
{
    json_t **answer = srv_again(&making->answer);
    int rc;

    *answer = syn_json_deep_copy(doc);
    if (*answer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a volume");
    rc = complete(server, making->account, *answer, err);
    return rc < 0
               ? rc
               : syn_document_set_amount(json_object_get(*answer, "cost"), "locked", locked, err);
}

static int
make_volume(struct syn_server *server, struct srv_txn *txn, struct making *making,
            struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t locked = 0;
    SYN_JSON(before);
    SYN_JSON(doc);
    int rc =
        srv_load(server, srv_key(key, "volume", making->account, making->name), &before, NULL, err);

    if (rc == SYN_OK)
        return SYN_FAIL(err, SYN_E_EXISTS, "there is a volume %s already", making->name);
    if (rc == SRV_ABSENT)
        rc = srv_need_room(server, "volume", making->account, VOLUMES_MAX, "volumes", err);
    if (rc == SYN_OK)
        rc = make_document(server, making, &doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, 0, doc, err);
    if (rc == SYN_OK && making->node[0] != '\0')
        rc = srv_volume_meter_begin(server, txn, doc, making->node, err);
    if (rc == SYN_OK)
        rc = srv_volume_reserve(server, txn, making->account, doc, &locked, err);
    return rc < 0 ? rc : make_answer(server, making, doc, locked, err);
}

static int
make_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct making *making = arg;
    struct srv_idem idem;
    int rc = srv_idem_begin(server, making->req, &idem, err);

    if (rc == SYN_OK)
        rc = make_volume(server, txn, making, err);
    return rc != SYN_OK ? rc : srv_idem_keep(server, &idem, txn, 201, making->answer, err);
}

/* What it would be and cost, and what making it would be refused for. */
static int
reply_plan(struct syn_server *server, struct making *making, struct syn_err *err)
{
    struct syn_err why = {0};
    json_t *refusal = NULL;
    SYN_JSON(plan);
    SRV_TXN(txn);
    int rc = srv_work_refusal(make_volume(server, &txn, making, &why), &why, &refusal, err);

    if (rc == SYN_OK)
        rc = make_document(server, making, &plan, err);
    if (rc == SYN_OK)
        rc = srv_volume_add_cost(server, making->account, plan, err);
    if (rc == SYN_OK && making->answer != NULL)
        rc = syn_json_set_take(plan, "cost", json_incref(json_object_get(making->answer, "cost")),
                               err);
    for (size_t i = 0; rc == SYN_OK && i < 3; i++)
        (void)json_object_del(plan, (const char *[]){"id", "created_at", "revision"}[i]);
    if (rc < 0) {
        json_decref(refusal);
        return rc;
    }
    rc = syn_json_set_take(plan, "refused", refusal, err);
    return rc < 0 ? rc : syn_http_reply_json(making->req, 200, plan, err);
}

static int
create_volume(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const json_t *body = syn_http_req_json(req);
    struct making making = {.req = req,
                            .account = srv_identity(req)->account,
                            .name = syn_json_str(body, "name", ""),
                            .size_bytes = syn_json_i64(body, "size_bytes", 0),
                            .shared = syn_json_bool(body, "shared", false)};
    int64_t revision = 0;
    int rc = find_node(server, syn_json_str(body, "node", NULL), &making, err);

    (void)syn_make_id(server->world, "vol", making.id);
    if (rc == SYN_OK && syn_json_bool(syn_http_req_query_json(req), "plan", false)) {
        rc = reply_plan(server, &making, err);
    } else if (rc == SYN_OK) {
        rc = srv_change(server, "the volume", make_attempt, &making, &revision, err);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(making.answer, "revision", revision, err);
        if (rc == SYN_OK)
            rc = syn_http_reply_json(req, 201, making.answer, err);
    }
    (void)srv_again(&making.answer);
    return rc < 0 ? rc : SYN_OK;
}

/* --- resizing --------------------------------------------------------------------------------- */

struct resizing {
    struct syn_http_req *req;
    const char *account;
    int64_t size_bytes;
    json_t *volume; /* as it is then */
};

static int
may_resize(struct syn_server *server, const struct resizing *resizing, const json_t *volume,
           struct syn_err *err)
{
    int64_t has = syn_json_i64(volume, "size_bytes", 0), more = resizing->size_bytes - has;
    const char *node = syn_json_str(volume, "node", "");
    char old[SYN_FORMAT_MAX], wants[SYN_FORMAT_MAX];
    struct making making = {.size_bytes = more};

    if (more < 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "body.size_bytes: %s is less than the %s that it holds, and a volume only "
                        "grows: make another one, and copy what is on it",
                        syn_format_bytes(resizing->size_bytes, wants), syn_format_bytes(has, old));
    return node[0] == '\0' || more == 0 ? SYN_OK : find_node(server, node, &making, err);
}

static int
resize_volume(struct syn_server *server, struct srv_txn *txn, struct resizing *resizing,
              struct syn_err *err)
{
    const char *account = resizing->account;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    int rc = need_volume(server, resizing->req, key, srv_again(&resizing->volume), &revision, err);

    if (rc == SYN_OK)
        rc = may_resize(server, resizing, resizing->volume, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(resizing->volume, "size_bytes", resizing->size_bytes, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, revision, resizing->volume, err);
    if (rc == SYN_OK)
        rc = srv_volume_resized(server, txn, account, resizing->volume, err);
    return rc;
}

static int
resize_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    return resize_volume(server, txn, arg, err);
}

/* What it would hold and cost. */
static int
plan_resizing(struct syn_server *server, struct resizing *resizing, struct syn_err *err)
{
    struct syn_err why = {0};
    json_t *refusal = NULL;
    SRV_TXN(txn);
    int rc = resize_volume(server, &txn, resizing, &why);

    if (rc == SYN_E_INVALID) { /* what is wrong with the request is no matter of a plan */
        *err = why;
        return rc;
    }
    rc = srv_work_refusal(rc, &why, &refusal, err);
    if (rc == SYN_OK && resizing->volume == NULL)
        rc = syn_json_pack(&resizing->volume, err, "{}");
    if (rc == SYN_OK)
        return syn_json_set_take(resizing->volume, "refused", refusal, err);
    json_decref(refusal);
    return rc;
}

static int
patch_volume(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct resizing resizing = {.req = req,
                                .account = srv_identity(req)->account,
                                .size_bytes =
                                    syn_json_i64(syn_http_req_json(req), "size_bytes", 0)};
    bool plan = syn_json_bool(syn_http_req_query_json(req), "plan", false);
    SYN_JSON(doc);
    int64_t revision = 0;
    int rc = plan ? plan_resizing(server, &resizing, err)
                  : srv_change(server, "the volume", resize_attempt, &resizing, &revision, err);

    doc = resizing.volume;
    if (rc == SYN_OK && !plan)
        rc = syn_json_set_i64(doc, "revision", revision, err);
    if (rc == SYN_OK && !plan)
        rc = srv_volume_pay(server, resizing.account, syn_json_str(doc, "name", ""),
                            syn_wall_ms(server->world), err);
    if (rc == SYN_OK)
        rc = complete(server, resizing.account, doc, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

/* --- removing --------------------------------------------------------------------------------- */

int
srv_volume_remove(struct syn_server *server, struct srv_txn *txn, const char *account,
                  const json_t *volume, struct syn_err *err)
{
    const char *name = syn_json_str(volume, "name", ""), *node = syn_json_str(volume, "node", "");
    char key[SRV_KEY_MAX];
    int rc = srv_txn_check(txn, srv_key(key, "volume", account, name),
                           syn_json_i64(volume, "revision", 0), err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, key, err);
    if (rc < 0 || node[0] == '\0')
        return rc;
    rc = srv_volume_settle(server, txn, account, volume, err);
    return rc < 0
               ? rc
               : srv_txn_put_text(txn,
                                  srv_key(key, "volume-gone", node, syn_json_str(volume, "id", "")),
                                  name, err);
}

static int
remove_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct syn_http_req *req = arg;
    const char *account = srv_identity(req)->account;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(users);
    int rc = need_volume(server, req, key, &doc, NULL, err);

    if (rc == SYN_OK)
        rc = users_of(server, account, syn_json_str(doc, "name", ""), &users, err);
    if (rc == SYN_OK && json_array_size(users) > 0)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "service %s uses the volume %s: update it without, or delete it, first",
                        json_string_value(json_array_get(users, 0)), syn_json_str(doc, "name", ""));
    return rc < 0 ? rc : srv_volume_remove(server, txn, account, doc, err);
}

static int
delete_volume(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *name = syn_http_req_param(req, "name");
    struct syn_server *server = ctx;
    int rc = SYN_OK;

    /* The last bill takes no more than is locked: what is owed is, first. */
    if (syn_name_ok(name))
        rc = srv_volume_pay(server, srv_identity(req)->account, name, syn_wall_ms(server->world),
                            err);
    return rc < 0 ? rc : srv_change(server, "the volume", remove_attempt, req, NULL, err);
}

/* --- for the node ----------------------------------------------------------------------------- */

static int
own_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    SYN_JSON(node);
    int rc = srv_own_node(srv_identity(req), id, err);

    return rc < 0 ? rc : srv_node_find(ctx, id, &node, NULL, err);
}

static int
add_gone(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)doc;
    (void)revision;
    return syn_json_append_take(arg, json_string(strrchr(key, '/') + 1), err);
}

static int
list_gone(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    json_t *gone = json_array();
    SYN_JSON(answer);
    int rc = syn_json_pack(&answer, err, "{s:o}", "gone", gone);

    if (rc == SYN_OK)
        rc = own_node(req, ctx, err);
    if (rc == SYN_OK)
        rc = srv_each(ctx, srv_key(prefix, "volume-gone", syn_http_req_param(req, "id"), ""),
                      add_gone, gone, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
note_removed(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *volume = syn_http_req_param(req, "volume");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = own_node(req, ctx, err);

    if (rc == SYN_OK && !syn_name_ok(volume))
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "there is no volume %.60s", volume);
    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "volume-gone", syn_http_req_param(req, "id"), volume),
                      "volume", &doc, NULL, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    return rc < 0 ? rc : srv_txn_commit(ctx, &txn, NULL, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field create_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Name of the volume"},
    {.name = "size_bytes",
     .kind = SYN_FIELD_BYTES,
     .min = SYN_VOLUME_BYTES_MIN,
     .max = SYN_VOLUME_BYTES_MAX,
     .fallback = DEFAULT_BYTES,
     .help = "What it holds, no more"},
    {.name = "node",
     .kind = SYN_FIELD_NAME,
     .help = "Id or name of the node that it is on; else where the first replica with it runs"},
    {.name = "shared",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "Several replicas, and services, may write to it at once"},
};
static const struct syn_schema create_schema = SYN_SCHEMA("VolumeCreate", create_fields);

static const struct syn_field resize_fields[] = {
    {.name = "size_bytes",
     .kind = SYN_FIELD_BYTES,
     .min = SYN_VOLUME_BYTES_MIN,
     .max = SYN_VOLUME_BYTES_MAX,
     .required = true,
     .help = "What it is to hold, no less than now"},
};
static const struct syn_schema resize_schema = SYN_SCHEMA("VolumeResize", resize_fields);

static const struct syn_field plan_fields[] = {
    SRV_PLAN_FIELD("Answer with the price; change nothing"),
};
static const struct syn_schema plan_schema = SYN_SCHEMA("VolumePlanQuery", plan_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/volumes", list_volumes, &srv_list_query, "volumes.list",
             "The account's volumes, and who uses them"),
    {.method = "POST",
     .pattern = "/v1/volumes",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = create_volume,
     .body = &create_schema,
     .query = &plan_schema,
     .name = "volumes.create",
     .summary = "Make a volume, or plan one"},
    SRV_READ("/v1/volumes/{name}", get_volume, NULL, "volumes.get", "One volume"),
    {.method = "PATCH",
     .pattern = "/v1/volumes/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = patch_volume,
     .body = &resize_schema,
     .query = &plan_schema,
     .name = "volumes.resize",
     .summary = "Let a volume hold more; it does with the next replica that starts"},
    {.method = "DELETE",
     .pattern = "/v1/volumes/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_volume,
     .name = "volumes.delete",
     .summary = "Remove a volume that no service uses, and all that is on it"},
    {.method = "GET",
     .pattern = "/v1/nodes/{id}/volumes",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .handler = list_gone,
     .name = "nodes.volumes",
     .summary = "Volumes that the node is to remove"},
    {.method = "DELETE",
     .pattern = "/v1/nodes/{id}/volumes/{volume}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .handler = note_removed,
     .name = "nodes.volume-removed",
     .summary = "The node has removed such a volume"},
};

const struct srv_routes srv_volume_routes = {rows, SYN_LEN(rows)};
