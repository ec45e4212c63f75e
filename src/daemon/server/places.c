/* Where nodes are and what they are called: labels, and how far regions are from each other.
 *
 * "rtt/A/B", A before B: what an operator said of the round trip between two regions. What agents
 * measure to the server stands in their nodes' status, and counts where nobody said anything. */
#include <synor/base/str.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/node_view.h>

#include "server_priv.h"

#define RTT_MAX_US INT64_C(60000000)

/* --- labels ----------------------------------------------------------------------------------- */

int
srv_labels_check(json_t *labels, struct syn_err *err)
{
    const char *key;
    json_t *value;
    int rc = SYN_OK;

    json_object_foreach (labels, key, value) {
        rc = syn_label_check(key, json_is_string(value) ? json_string_value(value) : "", err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

struct labelling {
    const struct srv_identity *who;
    const json_t *set;
    const json_t *remove;
};

static int
apply_labels(void *arg, json_t *node, struct syn_err *err)
{
    const struct labelling *change = arg;
    json_t *spec = syn_document_spec(node);
    const json_t *key;
    struct syn_node_view view;
    SYN_JSON(labels);
    size_t i;
    int rc = SYN_OK;

    if (!change->who->is_operator &&
        !syn_str_eq(syn_json_str(spec, "provider", ""), change->who->account))
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "node %s belongs to another provider",
                        syn_document_id(node));
    labels = json_object_get(spec, "labels") != NULL
                 ? syn_json_deep_copy(json_object_get(spec, "labels"))
                 : json_object();
    if (labels == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for labels");
    json_array_foreach (change->remove, i, key)
        (void)json_object_del(labels, json_string_value(key));
    if (json_object_update(labels, (json_t *)(uintptr_t)change->set) < 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for labels");
    if (json_object_size(labels) > SYN_NODE_LABELS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a node has at most %d labels, not %zu",
                        SYN_NODE_LABELS_MAX, json_object_size(labels));
    rc = syn_json_set_take(spec, "labels", SYN_TAKE(labels), err);
    if (rc == SYN_OK)
        rc = syn_document_bump(node, err);
    return rc < 0 ? rc : syn_node_view_read(node, &view, err);
}

static int
label_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    struct labelling change = {srv_identity(req), json_object_get(body, "set"),
                               json_object_get(body, "remove")};
    int rc = srv_labels_check(json_object_get(body, "set"), err);

    if (rc == SYN_OK && json_object_size(change.set) == 0 && json_array_size(change.remove) == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "nothing to change: give labels in set or remove");
    return rc < 0 ? rc
                  : srv_node_change(ctx, req, syn_http_req_param(req, "id"), apply_labels, &change,
                                    err);
}

/* --- distances -------------------------------------------------------------------------------- */

struct trip {
    const char *from, *to;
    int64_t rtt_us; /* negative: nobody says any more */
};

static int
set_trip(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct trip *trip = arg;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    (void)server;
    (void)srv_key(key, "rtt", trip->from, trip->to);
    if (trip->rtt_us < 0)
        return srv_txn_delete(txn, key, err);
    rc = syn_json_pack(&doc, err, "{s:s, s:s, s:I}", "from", trip->from, "to", trip->to, "rtt_us",
                       (json_int_t)trip->rtt_us);
    return rc < 0 ? rc : srv_txn_put(txn, key, doc, err);
}

static int
put_distance(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    const char *from = syn_json_str(body, "from", ""), *to = syn_json_str(body, "to", "");
    bool turned = strcmp(from, to) > 0;
    const struct trip trip = {turned ? to : from, turned ? from : to,
                              syn_json_i64(body, "rtt_us", -1)};
    SYN_JSON(answer);
    int rc;

    if (syn_str_eq(from, to))
        return SYN_FAIL(err, SYN_E_INVALID, "a region is no distance from itself");
    rc = srv_change(ctx, "the distance", set_trip, (void *)(uintptr_t)&trip, NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:s, s:s, s:I}", "from", trip.from, "to", trip.to,
                           "rtt_us", (json_int_t)trip.rtt_us);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
add_trip(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)revision;
    return syn_cluster_set_rtt(arg, syn_json_str(doc, "from", ""), syn_json_str(doc, "to", ""),
                               syn_json_i64(doc, "rtt_us", -1), NULL, err);
}

int
srv_trips_read(struct syn_server *server, struct syn_cluster *cluster, struct syn_err *err)
{
    int rc = syn_cluster_home(cluster, server->region, err);

    return rc < 0 ? rc : srv_each(server, "rtt/", add_trip, cluster, err);
}

int
srv_trip_take(struct syn_cluster *cluster, const char *key, const json_t *doc, struct syn_err *err)
{
    const char *from = key + sizeof("rtt/") - 1, *slash = strchr(from, '/');
    char name[SYN_NODE_REGION_MAX];

    if (slash == NULL)
        return SYN_OK;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(slash - from), from);
    return syn_cluster_set_rtt(cluster, name, slash + 1, syn_json_i64(doc, "rtt_us", -1), NULL,
                               err);
}

static int
list_distances(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_trip trip;
    SYN_JSON(items);
    SYN_JSON(answer);
    int rc = srv_cluster_read(ctx, &cluster, err);

    items = json_array();
    if (rc == SYN_OK && items == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for distances");
    if (rc == SYN_OK)
        rc = syn_cluster_measure(cluster, err);
    for (size_t i = 0; rc == SYN_OK && syn_cluster_trip_at(cluster, i, &trip); i++) {
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:s, s:I, s:s}", "from", trip.from, "to", trip.to,
                           "rtt_us", (json_int_t)trip.rtt_us, "source",
                           trip.measured ? "measured" : "set");
        if (rc == SYN_OK)
            rc = syn_json_append_take(items, row, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O}", "items", items);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field label_fields[] = {
    {.name = "set",
     .kind = SYN_FIELD_MAP,
     .max = SYN_NODE_LABELS_MAX,
     .fallback = "{}",
     .help = "Labels to set; synor.io/zone and synor.io/rack say where it stands"},
    {.name = "remove",
     .kind = SYN_FIELD_LIST,
     .min = 0,
     .max = SYN_NODE_LABELS_MAX,
     .fallback = "[]",
     .help = "Names of labels to take away first"},
};
static const struct syn_schema label_schema = SYN_SCHEMA("NodeLabels", label_fields);

static const struct syn_field distance_fields[] = {
    {.name = "from", .kind = SYN_FIELD_NAME, .required = true, .help = "A region"},
    {.name = "to", .kind = SYN_FIELD_NAME, .required = true, .help = "Another one"},
    {.name = "rtt_us",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = RTT_MAX_US,
     .help = "Round trip in microseconds, both ways; left out, what is measured counts again"},
};
static const struct syn_schema distance_schema = SYN_SCHEMA("RegionDistance", distance_fields);

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/nodes/{id}/labels",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = label_node,
     .body = &label_schema,
     .name = "nodes.label",
     .summary = "Set and take away labels of a node; its provider and the operator may"},
    {.method = "GET",
     .pattern = "/v1/regions/latency",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_distances,
     .name = "regions.latency",
     .summary = "Round trips between regions, measured and said"},
    {.method = "PUT",
     .pattern = "/v1/regions/latency",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = put_distance,
     .body = &distance_schema,
     .name = "regions.set-latency",
     .summary = "Say the round trip between two regions"},
};

const struct srv_routes srv_place_routes = {rows, SYN_LEN(rows)};
