/* Routes of nodes: joining, heartbeats, draining, and the stream that tells an agent what to run.
 */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/join.h>
#include <synor/infra/crypto.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/node_view.h>

#include <synor/workload/service_mesh.h>

#include "../gateway/gateway_priv.h"
#include "mesh_priv.h"
#include "server_priv.h"

static int
get_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = srv_node_find(ctx, syn_http_req_param(req, "id"), &doc, NULL, err);

    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

static int
list_nodes(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_reply_list(ctx, req, "node/", false, NULL, NULL, err);
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
    static const char *const keys[] = {
        "capacity", "sandboxes", "default_isolation", "agent_version", "boot_id",
        "checks",   "networks",  "frameworks",        "languages",     "devices",
        "rtt_us",   "mesh",      "volumes",           "pool"};
    int rc = syn_document_set_time(status, "last_seen_at", now_ms, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(keys); i++) {
        json_t *value = json_object_get(report, keys[i]);

        if (value != NULL)
            rc = syn_json_set_take(status, keys[i], json_incref(value), err);
    }
    return rc;
}

/* Note where its mesh is, if it says so: an agent that starts again does not know yet, while its
 * proxy goes on. What it says gets into the configuration of other nodes. *ret_moved: it was
 * elsewhere. */
static int
take_front(struct syn_server *server, struct srv_txn *txn, const json_t *node, const json_t *report,
           bool *ret_moved, struct syn_err *err)
{
    const char *front = syn_json_str(report, "mesh", NULL);
    char host[GTW_ADDRESS_SIZE];

    *ret_moved = false;
    if (front == NULL)
        return SYN_OK;
    if (front[0] != '\0' && gtw_address_split(front, host) == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "mesh: \"%s\": expected ADDRESS:PORT", front);
    return srv_front_set(server, txn, syn_document_id(node), front, ret_moved, err);
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
    int rc = srv_labels_check(json_object_get(body, "labels"), err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&spec, err, "{s:s, s:s, s:O, s:b}", "provider", provider, "region",
                           syn_json_str(body, "region", SYN_NODE_REGION_LOCAL), "labels",
                           json_object_get(body, "labels"), "unschedulable", 0);
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

/* Nothing is placed on what has no price: its bill could never be written. Such cards are listed
 * apart; the node's other resources are welcome. */
static int
sort_out_unpriced(const struct syn_server *server, const json_t *report, struct syn_err *err)
{
    json_t *capacity = json_object_get(report, "capacity");
    SYN_JSON(priced);
    SYN_JSON(unpriced);
    size_t i;
    json_t *gpu;
    int rc = SYN_OK;

    if (json_array_size(json_object_get(capacity, "gpus")) == 0)
        return SYN_OK;
    priced = json_array();
    unpriced = json_array();
    if (priced == NULL || unpriced == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "capacity.gpus");
    json_array_foreach (json_object_get(capacity, "gpus"), i, gpu) {
        char item[SYN_ITEM_MAX];
        const struct syn_price *price;

        (void)snprintf(item, sizeof(item), "gpu:%.30s", syn_json_str(gpu, "model", ""));
        rc = syn_pricebook_get(server->prices, item, SYN_MEASURE_GPU_MS, &price, NULL);
        rc = syn_json_append_take(rc == SYN_OK ? priced : unpriced, json_incref(gpu), err);
        if (rc < 0)
            return rc;
    }
    if (json_array_size(unpriced) == 0)
        return SYN_OK;
    rc = syn_json_set_take(capacity, "gpus", SYN_TAKE(priced), err);
    return rc < 0 ? rc : syn_json_set_take(capacity, "gpus_unpriced", SYN_TAKE(unpriced), err);
}

/* Has who sent this the key that it names? The signature is over the request as it came, before
 * defaults were filled in. */
static int
check_proof(struct syn_server *server, struct syn_http_req *req, struct syn_err *err)
{
    const struct srv_identity *who = srv_identity(req);
    const json_t *body = syn_http_req_json(req);
    const struct syn_join join = {server->cluster, syn_json_str(body, "challenge", ""), who->token};
    uint8_t public_key[SYN_SIGN_PUBLIC_LEN];
    uint8_t signature[SYN_SIGNATURE_LEN];
    char key_id[SYN_KEY_ID_SIZE];
    size_t len;
    const char *raw = syn_http_req_body(req, &len);
    SYN_JSON(request);
    SYN_BUF(payload);
    int rc =
        syn_hex_decode(syn_json_str(body, "public_key", ""), public_key, sizeof(public_key), err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "public_key");
    syn_key_id_of(public_key, key_id);
    if (!syn_str_eq(key_id, syn_json_str(body, "key_id", "")))
        return SYN_FAIL(err, SYN_E_INVALID, "key_id: the public key's is %s", key_id);
    rc = syn_hex_decode(syn_json_str(body, "signature", ""), signature, sizeof(signature), err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "signature");
    rc = srv_challenge_check(server, who, join.challenge, err);
    if (rc == SYN_OK)
        rc = syn_json_parse_object(raw, len, &request, err);
    if (rc == SYN_OK)
        rc = syn_join_payload(&join, request, &payload, err);
    if (rc == SYN_OK && !syn_verify(public_key, payload.data, payload.len, signature))
        rc = SYN_FAIL(err, SYN_E_FORBIDDEN,
                      "the request is not signed with the key %s that it names", key_id);
    return rc;
}

/* One request to join. */
struct joining {
    const struct srv_identity *who;
    const json_t *body;
    json_t *node;
    struct srv_new_token token;
};

static void
joining_fini(struct joining *joining)
{
    json_decref(joining->node);
}

/* A node that joins again may have been moved. */
static int
take_region(json_t *node, const json_t *body, struct syn_err *err)
{
    json_t *region = json_object_get(body, "region");

    int rc = SYN_OK;

    if (region == NULL || json_equal(region, json_object_get(syn_document_spec(node), "region")))
        return SYN_OK;
    rc = syn_json_set_take(syn_document_spec(node), "region", json_incref(region), err);
    return rc < 0 ? rc : syn_document_bump(node, err);
}

/* The node that has the key, or a new one; *ret_revision is 0 for that. */
static int
find_or_make(struct syn_server *server, struct joining *joining, const char *id_key,
             int64_t *ret_revision, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(known);
    int rc = srv_load(server, id_key, &known, NULL, err);

    *ret_revision = 0;
    if (rc == SRV_ABSENT)
        return make_node(server, joining->who->account, joining->body, srv_again(&joining->node),
                         err);
    if (rc == SYN_OK)
        rc = srv_need(server, srv_key(key, "node", json_string_value(known), NULL), "node",
                      srv_again(&joining->node), ret_revision, err);
    if (rc == SYN_OK)
        rc = check_rejoin(joining->who, joining->node, joining->body, err);
    return rc < 0 ? rc : take_region(joining->node, joining->body, err);
}

/* Give the node a token and end the one it had: a node has one agent. The token is not made with
 * the join token: that may end, or be revoked, and those who have joined go on. */
static int
renew_token(struct syn_server *server, struct srv_txn *txn, struct joining *joining,
            struct syn_err *err)
{
    const char *id = syn_document_id(joining->node);
    char scope[96];
    char key[SRV_KEY_MAX];
    char old_key[SRV_KEY_MAX];
    SYN_JSON(old_id);
    SYN_JSON(old);
    int rc = srv_load(server, srv_key(key, "node-token", id, NULL), &old_id, NULL, err);

    if (rc == SYN_OK)
        rc = srv_load(server, srv_key(old_key, "token", json_string_value(old_id), NULL), &old,
                      NULL, err);
    if (rc == SYN_OK)
        rc = srv_token_forget(txn, json_string_value(old_id), old, err);
    (void)snprintf(scope, sizeof(scope), "node:%s", id);
    if (rc >= 0)
        rc = srv_token_issue(
            server, txn,
            &(struct srv_token){.account = joining->who->account, .scopes = scope, .name = "agent"},
            &joining->token, err);
    return rc < 0 ? rc : srv_txn_put_text(txn, key, joining->token.id, err);
}

/* Write a new node, or the report of one that joins again with the same key. */
static int
join_once(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct joining *joining = arg;
    char key[SRV_KEY_MAX];
    char id_key[SRV_KEY_MAX];
    int64_t revision = 0;
    const char *id = "";
    bool moved;
    int rc =
        find_or_make(server, joining,
                     srv_key(id_key, "node-key", syn_json_str(joining->body, "key_id", ""), NULL),
                     &revision, err);

    if (rc == SYN_OK)
        rc = srv_challenge_spend(server, txn, syn_json_str(joining->body, "challenge", ""), err);
    if (rc == SYN_OK)
        rc = sort_out_unpriced(server, joining->body, err);
    if (rc == SYN_OK)
        rc = take_report(syn_document_status(joining->node), joining->body,
                         syn_wall_ms(server->world), err);
    if (rc == SYN_OK && revision == 0)
        rc = srv_offer_take(server, joining->who, joining->body, joining->node, err);
    if (rc == SYN_OK)
        rc = set_ready(joining->node, err);
    if (rc == SYN_OK) {
        id = syn_document_id(joining->node);
        rc = srv_txn_replace(txn, srv_key(key, "node", id, NULL), revision, joining->node, err);
    }
    if (rc == SYN_OK) /* nothing was told of a new one; another one's heartbeat moves it */
        rc = revision == 0 ? take_front(server, txn, joining->node, joining->body, &moved, err)
                           : SYN_OK;
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, id_key, id, err);
    if (rc == SYN_OK)
        rc = put_name(server, txn, joining->node, err);
    return rc < 0 ? rc : renew_token(server, txn, joining, err);
}

static int
join_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(joining_fini)
    struct joining joining = {.who = srv_identity(req), .body = syn_http_req_json(req)};
    struct syn_node_view view;
    SYN_JSON(answer);
    int rc = check_proof(ctx, req, err);

    if (rc == SYN_OK)
        rc = srv_change(ctx, "the nodes", join_once, &joining, NULL, err);
    if (rc == SYN_OK)
        rc = syn_node_view_read(joining.node, &view, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:s}", "node", joining.node, "token",
                           joining.token.text);
    return rc < 0 ? rc : syn_http_reply_json(req, 201, answer, err);
}

static int
make_challenge(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char challenge[SRV_CHALLENGE_SIZE];
    char at[SYN_FORMAT_MAX];
    int64_t expires_ms;
    SYN_JSON(answer);
    int rc = srv_challenge_make(server, srv_identity(req), challenge, &expires_ms, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:s, s:s, s:s}", "challenge", challenge, "cluster",
                           server->cluster, "expires_at", syn_format_time(expires_ms, at));
    return rc < 0 ? rc : syn_http_reply_json(req, 201, answer, err);
}

/* --- keeping ---------------------------------------------------------------------------------- */

/* A change of one node's document. */
struct node_change {
    const char *text; /* the node's id or name */
    int (*apply)(void *arg, json_t *node, struct syn_err *err);
    void *arg;
    json_t *node;
    const json_t *report; /* in which it says where its mesh is; NULL: it does not say */
    bool moved;           /* its mesh is elsewhere now */
};

static int
change_node(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct node_change *change = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    int rc = srv_node_find(server, change->text, srv_again(&change->node), &revision, err);

    if (rc == SYN_OK)
        rc = change->apply(change->arg, change->node, err);
    if (rc == SYN_OK && change->report != NULL)
        rc = take_front(server, txn, change->node, change->report, &change->moved, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "node", syn_document_id(change->node), NULL),
                             revision, change->node, err);
    return rc;
}

static int
reply_change(struct syn_server *server, struct syn_http_req *req, struct node_change *change,
             struct syn_err *err)
{
    int rc = srv_change(server, "the node", change_node, change, NULL, err);

    if (rc == SYN_OK && change->moved)
        rc = srv_streams_renew(server, SRV_SERVICE_TOLD, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 200, change->node, err);
    (void)srv_again(&change->node);
    return rc;
}

int
srv_node_change(struct syn_server *server, struct syn_http_req *req, const char *text,
                int (*apply)(void *arg, json_t *node, struct syn_err *err), void *arg,
                struct syn_err *err)
{
    struct node_change change = {.text = text, .apply = apply, .arg = arg};

    return reply_change(server, req, &change, err);
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
    int rc = sort_out_unpriced(beat->server, beat->report, err);

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
    struct node_change change = {.text = syn_http_req_param(req, "id"),
                                 .apply = apply_beat,
                                 .arg = &beat,
                                 .report = beat.report};
    const json_t *calls = json_object_get(beat.report, "calls");
    int rc = srv_own_node(srv_identity(req), change.text, err);

    if (rc == SYN_OK && calls != NULL)
        rc = srv_meshes_report(ctx, change.text, calls, err);
    return rc < 0 ? rc : reply_change(ctx, req, &change, err);
}

struct drain {
    bool on;
    bool keep;
};

static int
apply_drain(void *arg, json_t *node, struct syn_err *err)
{
    const struct drain *drain = arg;
    json_t *spec = syn_document_spec(node);
    int rc = syn_json_set_bool(spec, "unschedulable", drain->on, err);

    if (rc == SYN_OK)
        rc = syn_json_set_bool(spec, "evacuate", drain->on && !drain->keep, err);
    return rc < 0 ? rc : syn_document_bump(node, err);
}

static int
drain_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    struct drain drain = {syn_json_bool(body, "on", true), syn_json_bool(body, "keep", false)};

    return srv_node_change(ctx, req, syn_http_req_param(req, "id"), apply_drain, &drain, err);
}

/* --- assignments ------------------------------------------------------------------------------ */

/* "instance-on/NODE/ID" is told as the instance. */
static void
instance_of(const char *key, char *out)
{
    (void)srv_key(out, "instance", strrchr(key, '/') + 1, NULL);
}

/* Its names are of its account's, which nodes know no other way. */
static int
name_account(struct syn_server *server, json_t *doc, struct syn_err *err)
{
    return srv_account_name(server, syn_json_str(doc, "account", ""), doc, err);
}

static int
stream_instances(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    struct srv_stream_plan plan = {.put_event = "instance",
                                   .delete_event = "gone",
                                   .snapshot = true,
                                   .subject = instance_of,
                                   .complete = name_account};
    int rc = srv_own_node(srv_identity(req), id, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %.60s", id);
    if (rc < 0)
        return rc;
    (void)srv_key(plan.prefixes[0], "instance-on", id, "");
    return srv_stream(ctx, req, &plan, err);
}

/* --- table ------------------------------------------------------------------------------------ */

#define DEVICES_MAX     256
#define DEVICE_TEXT_MAX 255
#define DEVICE_TEXT(text, words)                                                                 \
    {                                                                                            \
        .name = (text), .kind = SYN_FIELD_STR, .min = 0, .max = DEVICE_TEXT_MAX, .help = (words) \
    }
#define DEVICE_NUMBER(text, words)                                                          \
    {                                                                                       \
        .name = (text), .kind = SYN_FIELD_I64, .min = -1, .max = INT64_MAX, .help = (words) \
    }

static const struct syn_field device_fields[] = {
    DEVICE_TEXT("id", "Driver and index: cuda0; unique on the node"),
    DEVICE_TEXT("kind", "cpu, gpu, npu, ..."),
    DEVICE_TEXT("driver", "Through which it is used: cpu, cuda, hip, levelzero, opencl, vulkan"),
    DEVICE_TEXT("model", "Its maker's name for it"),
    DEVICE_TEXT("vendor", "Its maker"),
    DEVICE_TEXT("version", "Of driver and interface"),
    DEVICE_TEXT("profile", "The capability profile that matches, or none"),
    DEVICE_TEXT("uuid", "Survives reboots and reordering"),
    DEVICE_TEXT("pci", "Its place on the bus"),
    DEVICE_TEXT("share", "whole, slice (of `share_of`) or served"),
    DEVICE_TEXT("share_of", "What it is a part of"),
    DEVICE_NUMBER("numa_node", "Nearest memory"),
    DEVICE_NUMBER("units", "Cores, multiprocessors, compute units"),
    DEVICE_NUMBER("clock_mhz", "Highest clock"),
    DEVICE_NUMBER("memory_bytes", "Its memory; the host's where it has none"),
};
static const struct syn_schema device_schema = SYN_SCHEMA("NodeDevice", device_fields);

static const struct syn_field language_fields[] = {
    {.name = "name",
     .kind = SYN_FIELD_STR,
     .required = true,
     .min = 1,
     .max = SYN_NODE_FRAMEWORK_MAX - 1,
     .help = "python, node"},
    {.name = "version",
     .kind = SYN_FIELD_STR,
     .required = true,
     .min = 1,
     .max = SYN_NODE_VERSION_MAX - 1,
     .help = "As it says itself"},
    {.name = "path", .kind = SYN_FIELD_STR, .min = 0, .max = 256, .help = "Where it is"},
    {.name = "state",
     .kind = SYN_FIELD_STR,
     .choices = "ready|too-old",
     .fallback = "\"ready\"",
     .help = "Whether functions can be run by it"},
};
static const struct syn_schema language_schema = SYN_SCHEMA("NodeLanguage", language_fields);

#define REPORT_FIELDS                                                                             \
    {.name = "capacity", .kind = SYN_FIELD_OBJ, .help = "What the node offers"},                  \
        {.name = "sandboxes", .kind = SYN_FIELD_ANY, .help = "Sandboxes and whether they work"},  \
        {.name = "networks",                                                                      \
         .kind = SYN_FIELD_OBJ,                                                                   \
         .help = "Whether instances have account networks: state ready or missing, and why"},     \
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
        {.name = "languages",                                                                     \
         .kind = SYN_FIELD_LIST,                                                                  \
         .sub = &language_schema,                                                                 \
         .min = 0,                                                                                \
         .max = SYN_NODE_LANGUAGES_MAX,                                                           \
         .help = "Interpreters that functions can be run by"},                                    \
        {.name = "devices",                                                                       \
         .kind = SYN_FIELD_LIST,                                                                  \
         .sub = &device_schema,                                                                   \
         .min = 0,                                                                                \
         .max = DEVICES_MAX,                                                                      \
         .help = "Processors of all kinds that are capacity, each once"},                         \
        {.name = "mesh",                                                                          \
         .kind = SYN_FIELD_STR,                                                                   \
         .min = 0,                                                                                \
         .max = GTW_ADDRESS_SIZE - 1,                                                             \
         .help = "ADDRESS:PORT at which other nodes reach its mesh; empty: it has none"},         \
        {.name = "rtt_us",                                                                        \
         .kind = SYN_FIELD_I64,                                                                   \
         .min = 0,                                                                                \
         .max = 60000000,                                                                         \
         .help = "Round trip to the server that it measured, in microseconds"},                   \
    {                                                                                             \
        .name = "checks", .kind = SYN_FIELD_ANY, .help = "What `synor doctor` found"              \
    }

static const struct syn_field pool_fields[] = {
    {.name = "waiting",
     .kind = SYN_FIELD_OBJ,
     .required = true,
     .help = "How many of each program"},
    {.name = "bytes",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX,
     .required = true,
     .help = "Memory that they hold, the node's own"},
};
static const struct syn_schema pool_schema = SYN_SCHEMA("NodePool", pool_fields);

#define VOLUMES_MAX 1024

static const struct syn_field volume_fields[] = {
    {.name = "id", .kind = SYN_FIELD_NAME, .required = true, .help = "Of a volume"},
    {.name = "used_bytes",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX,
     .help = "What its files take; where it is not in use, what it has of the node's disk"},
    {.name = "file_bytes",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX,
     .help =
         "How large its image is, which a volume that was resized is made with the next replica"},
};
static const struct syn_schema volume_schema = SYN_SCHEMA("NodeVolume", volume_fields);

static const struct syn_field join_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Host name"},
    {.name = "region",
     .kind = SYN_FIELD_NAME,
     .help = "Where it stands; where it is not given, a new node is in \"" SYN_NODE_REGION_LOCAL
             "\" and one that was known stays where it was"},
    {.name = "labels",
     .kind = SYN_FIELD_MAP,
     .max = SYN_NODE_LABELS_MAX,
     .fallback = "{}",
     .help = "What a new node is called; synor.io/zone and synor.io/rack say where it stands"},
    {.name = "offer",
     .kind = SYN_FIELD_OBJ,
     .sub = &srv_offer_schema,
     .help = "What a new node's provider asks; else what the price book says"},
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
    {.name = "challenge",
     .kind = SYN_FIELD_STR,
     .min = SRV_CHALLENGE_SIZE - 1,
     .max = SRV_CHALLENGE_SIZE - 1,
     .required = true,
     .help = "Of POST /v1/challenges; good once"},
    {.name = "signature",
     .kind = SYN_FIELD_STR,
     .min = 2 * (int64_t)SYN_SIGNATURE_LEN,
     .max = 2 * (int64_t)SYN_SIGNATURE_LEN,
     .required = true,
     .help = "Ed25519 over {purpose, cluster, challenge, token, request}, hexadecimal"},
    REPORT_FIELDS,
};
static const struct syn_schema join_schema = SYN_SCHEMA("NodeJoin", join_fields);

#define COUNT(key, text)                                                             \
    {                                                                                \
        .name = key, .kind = SYN_FIELD_I64, .min = 0, .max = INT64_MAX, .help = text \
    }
static const struct syn_field call_fields[] = {
    {.name = "caller",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_MESH_NAME_SIZE - 1,
     .required = true,
     .help = "Who calls, as in its certificate"},
    {.name = "callee",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_MESH_NAME_SIZE - 1,
     .required = true,
     .help = "Whom"},
    COUNT("requests", "Requests; of TCP: connections"),
    COUNT("1xx", "Answers of this class"),
    COUNT("2xx", "Answers of this class"),
    COUNT("route", "Of requests that this route of the service took; 0: none did"),
    COUNT("3xx", "Answers of this class"),
    COUNT("4xx", "Answers of this class"),
    COUNT("5xx", "Answers of this class"),
    COUNT("other", "Answers of none"),
    COUNT("errors", "5xx, and what broke off"),
    COUNT("retries", "Requests tried again"),
    COUNT("open", "Requests under way"),
    COUNT("servers", "Replicas there and other nodes that it may go to"),
    COUNT("out", "Of them, those that get nothing now: errors, or a check, took them out"),
    COUNT("mean_ms", "Mean time of a request, of the last 1024"),
};
static const struct syn_schema call_schema = SYN_SCHEMA("NodeCall", call_fields);

static const struct syn_field beat_fields[] = {
    REPORT_FIELDS,
    {.name = "calls",
     .kind = SYN_FIELD_LIST,
     .sub = &call_schema,
     .min = 0,
     .max = SRV_CALLS_MAX,
     .help = "What its mesh has counted, of each caller there and whom it called"},
    {.name = "volumes",
     .kind = SYN_FIELD_LIST,
     .sub = &volume_schema,
     .min = 0,
     .max = VOLUMES_MAX,
     .help = "Volumes that the node has"},
    {.name = "pool",
     .kind = SYN_FIELD_OBJ,
     .sub = &pool_schema,
     .help = "Interpreters that wait for functions which nobody called for a while"},
};
static const struct syn_schema beat_schema = SYN_SCHEMA("NodeHeartbeat", beat_fields);

static const struct syn_field drain_fields[] = {
    {.name = "on", .kind = SYN_FIELD_BOOL, .fallback = "true", .help = "false takes it back"},
    {.name = "keep",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "What runs there stays; without, it moves as others have room"},
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
    {.method = "POST",
     .pattern = "/v1/challenges",
     .kind = SYN_HTTP_LOOP,
     .scopes = SYN_SCOPE_JOIN,
     .handler = make_challenge,
     .name = "nodes.challenge",
     .summary = "What a node signs to join"},
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
