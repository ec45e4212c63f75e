/* Routes of nodes: joining, heartbeats, draining, and the stream that tells an agent what to run.
 */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/node_view.h>

#include "server_priv.h"

static int
get_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = srv_node_find(ctx, syn_http_req_param(req, "id"), &doc, NULL, err);

    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    (void)arg;
    (void)key;
    return syn_json_append_take(items, json_incref(doc), err);
}

static int
list_nodes(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_reply_list(ctx, req, "node/", false, list_item, NULL, err);
}

int
srv_node_find(struct syn_server *server, const char *text, json_t **ret_doc, int64_t *ret_revision,
              struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(id);
    int rc;

    if (!syn_name_ok(text))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %.60s", text);
    /* The id first: a node that is named like another's id must not stand in for it. */
    rc = srv_load(server, srv_key(key, "node", text, NULL), ret_doc, ret_revision, err);
    if (rc != SRV_ABSENT)
        return rc;
    rc = srv_load(server, srv_key(key, "node-name", text, NULL), &id, NULL, err);
    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %s", text);
    return srv_need(server, srv_key(key, "node", json_string_value(id), NULL), "node", ret_doc,
                    ret_revision, err);
}

/* --- joining ---------------------------------------------------------------------------------- */

/* What an agent reports of itself, copied into the node's status. */
static int
take_report(json_t *status, const json_t *report, int64_t now_ms, struct syn_err *err)
{
    static const char *const keys[] = {"capacity",      "sandboxes", "default_isolation",
                                       "agent_version", "boot_id",   "checks",
                                       "frameworks"};
    int rc = syn_document_set_time(status, "last_seen_at", now_ms, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(keys); i++) {
        json_t *value = json_object_get(report, keys[i]);

        if (value != NULL)
            rc = syn_json_set_take(status, keys[i], json_incref(value), err);
    }
    return rc;
}

static int
set_ready(json_t *node, struct syn_err *err)
{
    return syn_document_set_state(node, "ready", "reporting", "The node's agent reports.", err);
}

/* A new node's document from the join request. */
static int
make_node(struct syn_server *server, const char *provider, const json_t *body, json_t **ret_node,
          struct syn_err *err)
{
    char id[SYN_ID_MAX];
    struct syn_document_new new_doc = {"node", syn_make_id(server->world, "node", id),
                                       syn_json_str(body, "name", id), provider,
                                       syn_wall_ms(server->world)};
    SYN_JSON(node);
    json_t *spec = NULL;
    int rc = syn_json_pack(&spec, err, "{s:s, s:s, s:{}, s:b}", "provider", provider, "region",
                           syn_json_str(body, "region", ""), "labels", "unschedulable", 0);

    if (rc == SYN_OK)
        rc = syn_document_make_take(&new_doc, spec, &node, err);
    if (rc == SYN_OK)
        rc = set_ready(node, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(syn_document_status(node), "key_id",
                               json_incref(json_object_get(body, "key_id")), err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(syn_document_status(node), "public_key",
                               json_incref(json_object_get(body, "public_key")), err);
    if (rc == SYN_OK)
        *ret_node = SYN_TAKE(node);
    return rc;
}

/* A node that joins again gets a new token, so who asks must be its provider and hold its key. */
static int
check_rejoin(const struct srv_identity *who, const json_t *node, const json_t *body,
             struct syn_err *err)
{
    const char *provider = syn_json_str(json_object_get(node, "spec"), "provider", "");
    const char *known = syn_json_str(json_object_get(node, "status"), "public_key", "");

    if (who->is_operator || (syn_str_eq(provider, who->account) &&
                             syn_str_eq(known, syn_json_str(body, "public_key", "?"))))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_FORBIDDEN, "the key %s belongs to another provider's node",
                    syn_json_str(body, "key_id", ""));
}

/* The first node of a name keeps it; the others are called by their ids. */
static int
put_name(struct syn_server *server, struct srv_txn *txn, const json_t *node, struct syn_err *err)
{
    const char *id = json_string_value(json_object_get(node, "id"));
    char key[SRV_KEY_MAX];
    SYN_JSON(holder);
    int rc = srv_load(server, srv_key(key, "node-name", syn_json_str(node, "name", id), NULL),
                      &holder, NULL, err);

    if (rc != SRV_ABSENT)
        return rc;
    rc = srv_txn_check(txn, key, 0, err);
    return rc < 0 ? rc : srv_txn_put_text(txn, key, id, err);
}

/* Nothing is placed on what has no price: its bill could never be written. */
static int
check_prices(const struct syn_server *server, const json_t *report, struct syn_err *err)
{
    size_t i;
    json_t *gpu;

    json_array_foreach (syn_json_at(report, "capacity.gpus"), i, gpu) {
        char item[SYN_ITEM_MAX];
        const struct syn_price *price;
        int rc;

        (void)snprintf(item, sizeof(item), "gpu:%.30s", syn_json_str(gpu, "model", ""));
        rc = syn_pricebook_get(server->prices, item, SYN_MEASURE_GPU_MS, &price, err);
        if (rc < 0)
            return syn_err_wrap(err, SYN_E_INVALID, "capacity.gpus");
    }
    return SYN_OK;
}

/* Write a new node, or the report of one that joins again with the same key. */
static int
join_once(struct syn_server *server, const struct srv_identity *who, const json_t *body,
          char *token, json_t **ret_node, struct syn_err *err)
{
    const char *key_id = syn_json_str(body, "key_id", "");
    char scope[96];
    char key[SRV_KEY_MAX];
    char id_key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(node);
    SYN_JSON(known);
    SRV_TXN(txn);
    int rc = srv_load(server, srv_key(id_key, "node-key", key_id, NULL), &known, NULL, err);

    if (rc == SYN_OK)
        rc = srv_need(server, srv_key(key, "node", json_string_value(known), NULL), "node", &node,
                      &revision, err);
    else if (rc == SRV_ABSENT)
        rc = make_node(server, who->account, body, &node, err);
    if (rc == SYN_OK && revision != 0)
        rc = check_rejoin(who, node, body, err);
    if (rc == SYN_OK)
        rc = check_prices(server, body, err);
    if (rc == SYN_OK)
        rc = take_report(syn_document_status(node), body, syn_wall_ms(server->world), err);
    if (rc == SYN_OK)
        rc = set_ready(node, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(&txn, srv_key(key, "node", syn_document_id(node), NULL), revision,
                             node, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(&txn, id_key, syn_document_id(node), err);
    if (rc == SYN_OK)
        rc = put_name(server, &txn, node, err);
    (void)snprintf(scope, sizeof(scope), "node:%s", node != NULL ? syn_document_id(node) : "");
    if (rc == SYN_OK)
        rc = srv_token_issue(server, &txn, &(struct srv_token){who->account, scope, "agent", 0},
                             token, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    if (rc == SYN_OK)
        *ret_node = SYN_TAKE(node);
    return rc;
}

static int
join_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char token[SYN_TOKEN_LEN + 1];
    SYN_JSON(node);
    SYN_JSON(answer);
    struct syn_node_view view;
    int rc = SYN_STORE_CONFLICT;

    for (int attempt = 0; attempt < SRV_RETRIES_MAX && rc == SYN_STORE_CONFLICT; attempt++)
        rc = join_once(server, srv_identity(req), syn_http_req_json(req), token, &node, err);
    if (rc == SYN_STORE_CONFLICT)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "too many nodes join at once; try again");
    if (rc == SYN_OK)
        rc = syn_node_view_read(node, &view, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:s}", "node", node, "token", token);
    return rc < 0 ? rc : syn_http_reply_json(req, 201, answer, err);
}

/* --- keeping ---------------------------------------------------------------------------------- */

/* Change a node's document in the usual optimistic loop. */
typedef int (*change_fn)(void *arg, json_t *node, struct syn_err *err);

static int
change_node(struct syn_server *server, const char *text, change_fn change, void *arg,
            json_t **ret_node, struct syn_err *err)
{
    for (int attempt = 0; attempt < SRV_RETRIES_MAX; attempt++) {
        char key[SRV_KEY_MAX];
        int64_t revision = 0;
        SYN_JSON(node);
        SRV_TXN(txn);
        int rc = srv_node_find(server, text, &node, &revision, err);

        if (rc == SYN_OK)
            rc = change(arg, node, err);
        if (rc == SYN_OK)
            rc = srv_txn_replace(&txn, srv_key(key, "node", syn_document_id(node), NULL), revision,
                                 node, err);
        if (rc == SYN_OK)
            rc = srv_txn_commit(server, &txn, NULL, err);
        if (rc == SYN_OK) {
            *ret_node = SYN_TAKE(node);
            return SYN_OK;
        }
        if (rc != SYN_STORE_CONFLICT)
            return rc;
    }
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "node %.60s is being changed by others; try again",
                    text);
}

struct beat {
    struct syn_server *server;
    const json_t *report;
};

static int
apply_beat(void *arg, json_t *node, struct syn_err *err)
{
    const struct beat *beat = arg;
    struct syn_node_view view;
    int rc = check_prices(beat->server, beat->report, err);

    if (rc == SYN_OK)
        rc = take_report(syn_document_status(node), beat->report, syn_wall_ms(beat->server->world),
                         err);
    if (rc == SYN_OK)
        rc = set_ready(node, err);
    return rc < 0 ? rc : syn_node_view_read(node, &view, err);
}

static int
heartbeat(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct beat beat = {ctx, syn_http_req_json(req)};
    const char *id = syn_http_req_param(req, "id");
    SYN_JSON(node);
    int rc = srv_own_node(srv_identity(req), id, err);

    if (rc == SYN_OK)
        rc = change_node(ctx, id, apply_beat, &beat, &node, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, node, err);
}

static int
apply_drain(void *arg, json_t *node, struct syn_err *err)
{
    const bool *on = arg;
    int rc = syn_json_set_bool(syn_document_spec(node), "unschedulable", *on, err);

    return rc < 0 ? rc : syn_document_bump(node, err);
}

static int
drain_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    bool on = syn_json_bool(syn_http_req_json(req), "on", true);
    SYN_JSON(node);
    int rc = change_node(ctx, syn_http_req_param(req, "id"), apply_drain, &on, &node, err);

    return rc < 0 ? rc : syn_http_reply_json(req, 200, node, err);
}

/* --- assignments ------------------------------------------------------------------------------ */

static int
stream_instances(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    char prefix[SRV_KEY_MAX];
    struct srv_stream_plan plan = {
        .put_event = "instance", .delete_event = "gone", .snapshot = true, .target = "instance/"};
    int rc = srv_own_node(srv_identity(req), id, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %.60s", id);
    plan.prefix = rc < 0 ? "" : srv_key(prefix, "instance-on", id, "");
    return rc < 0 ? rc : srv_stream(ctx, req, &plan, err);
}

/* --- table ------------------------------------------------------------------------------------ */

#define REPORT_FIELDS                                                                             \
    {.name = "capacity", .kind = SYN_FIELD_OBJ, .help = "What the node offers"},                  \
        {.name = "sandboxes", .kind = SYN_FIELD_ANY, .help = "Sandboxes and whether they work"},  \
        {.name = "default_isolation",                                                             \
         .kind = SYN_FIELD_STR,                                                                   \
         .min = 0,                                                                                \
         .max = 16,                                                                               \
         .help = "The sandbox that `auto` means here"},                                           \
        {.name = "agent_version", .kind = SYN_FIELD_STR, .min = 0, .max = 64, .help = "Version"}, \
        {.name = "boot_id",                                                                       \
         .kind = SYN_FIELD_STR,                                                                   \
         .min = 0,                                                                                \
         .max = 64,                                                                               \
         .help = "Changes with a reboot"},                                                        \
        {.name = "frameworks",                                                                    \
         .kind = SYN_FIELD_OBJ,                                                                   \
         .help = "Name and version of what the node's own Python can import"},                    \
    {                                                                                             \
        .name = "checks", .kind = SYN_FIELD_ANY, .help = "What `synor doctor` found"              \
    }

static const struct syn_field join_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Host name"},
    {.name = "region",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 63,
     .fallback = "\"\"",
     .help = "Where it stands"},
    {.name = "key_id",
     .kind = SYN_FIELD_NAME,
     .required = true,
     .help = "Of the node's signing key"},
    {.name = "public_key",
     .kind = SYN_FIELD_STR,
     .min = 64,
     .max = 64,
     .required = true,
     .help = "Ed25519, hexadecimal"},
    REPORT_FIELDS,
};
static const struct syn_schema join_schema = SYN_SCHEMA("NodeJoin", join_fields);

static const struct syn_field beat_fields[] = {REPORT_FIELDS};
static const struct syn_schema beat_schema = SYN_SCHEMA("NodeHeartbeat", beat_fields);

static const struct syn_field drain_fields[] = {
    {.name = "on", .kind = SYN_FIELD_BOOL, .fallback = "true", .help = "false takes it back"},
};
static const struct syn_schema drain_schema = SYN_SCHEMA("NodeDrain", drain_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/nodes",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_nodes,
     .query = &srv_list_query,
     .name = "nodes.list",
     .summary = "List nodes"},
    {.method = "POST",
     .pattern = "/v1/nodes",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_JOIN,
     .body_max = SRV_BODY_MAX,
     .handler = join_node,
     .body = &join_schema,
     .name = "nodes.join",
     .summary = "Register a node, or register it again with the same key"},
    {.method = "GET",
     .pattern = "/v1/nodes/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_node,
     .name = "nodes.get",
     .summary = "One node"},
    {.method = "POST",
     .pattern = "/v1/nodes/{id}/heartbeat",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = heartbeat,
     .body = &beat_schema,
     .name = "nodes.heartbeat",
     .summary = "An agent says that it is there"},
    {.method = "POST",
     .pattern = "/v1/nodes/{id}/drain",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = drain_node,
     .body = &drain_schema,
     .name = "nodes.drain",
     .summary = "Place nothing new there"},
    {.method = "GET",
     .pattern = "/v1/nodes/{id}/instances",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_NODE,
     .handler = stream_instances,
     .name = "nodes.instances",
     .summary = "Stream of what the node must run"},
};

const struct srv_routes srv_node_routes = {rows, SYN_LEN(rows)};
