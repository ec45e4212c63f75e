/* What nodes' meshes have counted, in memory: each heartbeat brings the pairs of callers there and
 * whom they called, as HAProxy has counted them since it knows the pair. It is the caller's node
 * that tells; a server that starts knows it again within seconds.
 *
 *     GET /v1/services/{id}/mesh     of one service, with who may call it
 *     /metrics                       of all */
#include <pthread.h>
#include <string.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_mesh.h>

#include "mesh_priv.h"

#define SILENT_MS  60000 /* then a node's pairs are not shown any more */
#define NODES_MAX  10000
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-."

struct told {
    json_t *pairs;
    int64_t at_ms; /* monotonic */
};

struct srv_meshes {
    pthread_mutex_t lock;
    struct syn_map *nodes; /* id -> struct told */
};

static void
told_free(void *value)
{
    struct told *told = value;

    if (told != NULL)
        json_decref(told->pairs);
    syn_free(told);
}

int
srv_meshes_new(struct srv_meshes **ret, struct syn_err *err)
{
    struct srv_meshes *meshes = syn_calloc(1, sizeof(*meshes));
    int rc;

    if (meshes == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    (void)pthread_mutex_init(&meshes->lock, NULL);
    rc = syn_map_new(told_free, &meshes->nodes, err);
    if (rc < 0)
        (void)srv_meshes_free(meshes);
    else
        *ret = meshes;
    return rc;
}

struct srv_meshes *
srv_meshes_free(struct srv_meshes *meshes)
{
    if (meshes == NULL)
        return NULL;
    (void)syn_map_free(meshes->nodes);
    (void)pthread_mutex_destroy(&meshes->lock);
    syn_free(meshes);
    return NULL;
}

/* --- what is told ----------------------------------------------------------------------------- */

/* Names become labels of metrics. */
static int
check_pairs(const json_t *pairs, struct syn_err *err)
{
    const json_t *pair;
    size_t i;

    json_array_foreach (pairs, i, pair) {
        const char *const names[] = {syn_json_str(pair, "caller", ""),
                                     syn_json_str(pair, "callee", "")};

        for (size_t k = 0; k < SYN_LEN(names); k++)
            if (names[k][0] == '\0' || names[k][strspn(names[k], NAME_CHARS)] != '\0')
                return SYN_FAIL(err, SYN_E_INVALID, "calls[%zu]: expected names of the mesh", i);
    }
    return SYN_OK;
}

int
srv_meshes_report(struct syn_server *server, const char *node, const json_t *pairs,
                  struct syn_err *err)
{
    struct srv_meshes *meshes = server->meshes;
    struct told *told;
    int rc = check_pairs(pairs, err);

    if (rc < 0)
        return rc;
    told = syn_calloc(1, sizeof(*told));
    if (told != NULL)
        told->pairs = syn_json_deep_copy(pairs);
    if (told == NULL || told->pairs == NULL) {
        told_free(told);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    }
    told->at_ms = syn_mono_ms(server->world);
    (void)pthread_mutex_lock(&meshes->lock);
    if (syn_map_count(meshes->nodes) < NODES_MAX || syn_map_find(meshes->nodes, node) != NULL)
        rc = syn_map_put_take(meshes->nodes, node, told, err);
    else
        told_free(told);
    (void)pthread_mutex_unlock(&meshes->lock);
    return rc;
}

/* --- what is shown ---------------------------------------------------------------------------- */

typedef int pair_fn(void *arg, const char *node, const json_t *pair, struct syn_err *err);

/* Every pair of nodes that have told lately. */
static int
each_pair(struct syn_server *server, pair_fn *fn, void *arg, struct syn_err *err)
{
    struct srv_meshes *meshes = server->meshes;
    int64_t now_ms = syn_mono_ms(server->world);
    size_t cursor = 0;
    const char *node;
    void *value;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&meshes->lock);
    while (rc == SYN_OK && syn_map_next(meshes->nodes, &cursor, &node, &value)) {
        const struct told *told = value;
        const json_t *pair;
        size_t i;

        if (now_ms - told->at_ms > SILENT_MS)
            continue;
        json_array_foreach (told->pairs, i, pair)
            rc = rc == SYN_OK ? fn(arg, node, pair, err) : rc;
    }
    (void)pthread_mutex_unlock(&meshes->lock);
    return rc;
}

static const char *const codes[] = {"1xx", "2xx", "3xx", "4xx", "5xx", "other"};

struct metric {
    struct syn_buf *out;
    const char *name, *key; /* key NULL: answers, by code */
};

/* ",route=\"2\"", of requests that a route took. */
static const char *
route_label(const json_t *pair, char out[32])
{
    long long route = (long long)syn_json_i64(pair, "route", 0);

    out[0] = '\0';
    if (route > 0)
        (void)snprintf(out, 32, ",route=\"%lld\"", route);
    return out;
}

static int
write_pair(void *arg, const char *node, const json_t *pair, struct syn_err *err)
{
    const struct metric *metric = arg;
    const char *caller = syn_json_str(pair, "caller", ""),
               *callee = syn_json_str(pair, "callee", "");
    char route[32];

    (void)err;
    (void)route_label(pair, route);
    for (size_t i = 0; metric->key == NULL && i < SYN_LEN(codes); i++)
        if (syn_json_i64(pair, codes[i], 0) > 0)
            syn_buf_addf(metric->out,
                         "%s{node=\"%s\",caller=\"%s\",callee=\"%s\"%s,code=\"%s\"} %lld\n",
                         metric->name, node, caller, callee, route, codes[i],
                         (long long)syn_json_i64(pair, codes[i], 0));
    if (metric->key != NULL)
        syn_buf_addf(metric->out, "%s{node=\"%s\",caller=\"%s\",callee=\"%s\"%s} %.10g\n",
                     metric->name, node, caller, callee, route,
                     (double)syn_json_i64(pair, metric->key, 0) *
                         (syn_str_ends(metric->name, "_seconds") ? 1e-3 : 1));
    return SYN_OK;
}

void
srv_mesh_metrics(struct syn_server *server, struct syn_buf *out)
{
    static const struct {
        const char *name, *type, *help, *key;
    } rows[] = {
        {"synor_mesh_requests_total", "counter",
         "Calls between services, by the class of the answer's status.", NULL},
        {"synor_mesh_errors_total", "counter", "Calls that failed: 5xx, and what broke off.",
         "errors"},
        {"synor_mesh_retries_total", "counter", "Calls tried again.", "retries"},
        {"synor_mesh_connections_total", "counter", "Calls; of TCP: connections.", "requests"},
        {"synor_mesh_out", "gauge", "Replicas and nodes that a caller leaves out.", "out"},
        {"synor_mesh_open", "gauge", "Calls under way.", "open"},
        {"synor_mesh_total_seconds", "gauge", "Mean time of a call, of the last 1024.", "mean_ms"},
    };

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct metric metric = {out, rows[i].name, rows[i].key};

        syn_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name,
                     rows[i].type);
        (void)!each_pair(server, write_pair, &metric, NULL);
    }
}

struct reading {
    const char *name; /* of the service */
    json_t *calls;
};

static int
add_call(void *arg, const char *node, const json_t *pair, struct syn_err *err)
{
    const struct reading *reading = arg;
    json_t *copy = NULL;
    int rc;

    if (!syn_str_eq(syn_json_str(pair, "callee", ""), reading->name) &&
        !syn_str_eq(syn_json_str(pair, "caller", ""), reading->name))
        return SYN_OK;
    copy = syn_json_deep_copy(pair);
    if (copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    rc = syn_json_set_str(copy, "node", node, err);
    if (rc < 0) {
        json_decref(copy);
        return rc;
    }
    return syn_json_append_take(reading->calls, copy, err);
}

struct counting {
    const char *name;
    uint64_t *requests, *open;
};

static int
count_call(void *arg, const char *node, const json_t *pair, struct syn_err *err)
{
    const struct counting *counting = arg;

    (void)node;
    (void)err;
    if (!syn_str_eq(syn_json_str(pair, "callee", ""), counting->name))
        return SYN_OK;
    *counting->requests += (uint64_t)SYN_MAX(syn_json_i64(pair, "requests", 0), INT64_C(0));
    *counting->open += (uint64_t)SYN_MAX(syn_json_i64(pair, "open", 0), INT64_C(0));
    return SYN_OK;
}

int
srv_meshes_count(struct syn_server *server, const json_t *service, uint64_t *requests,
                 uint64_t *open, struct syn_err *err)
{
    char name[SYN_MESH_NAME_SIZE];
    struct syn_mesh_party party = {.service = syn_json_str(service, "name", "")};
    struct counting counting = {name, requests, open};
    SYN_JSON(own);
    int rc = syn_json_pack(&own, err, "{}");

    if (rc == SYN_OK)
        rc = srv_account_name(server, syn_json_str(service, "account", ""), own, err);
    if (rc < 0)
        return rc;
    party.account = syn_json_str(own, "account_name", "");
    (void)syn_mesh_name(&party, name);
    return each_pair(server, count_call, &counting, err);
}

/* What of its spec says where requests go and how often they are tried again. */
static int
add_policy(json_t *answer, const json_t *mesh, struct syn_err *err)
{
    json_t *routes = json_object_get(mesh, "routes");
    int rc = syn_json_set_i64(answer, "retry_budget",
                              syn_json_i64(mesh, "retry_budget", SYN_MESH_RETRY_PERCENT), err);

    return rc < 0 || routes == NULL ? rc
                                    : syn_json_set_take(answer, "routes", json_incref(routes), err);
}

static int
get_mesh(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char name[SYN_MESH_NAME_SIZE], uri[SYN_MESH_URI_SIZE];
    struct syn_mesh_party party;
    struct reading reading;
    int64_t revision = 0;
    const json_t *allow;
    SYN_JSON(service);
    SYN_JSON(answer);
    SYN_JSON(own);
    int rc = srv_work_load(server, &srv_service, req, &service, &revision, err);

    own = json_object();
    if (rc == SYN_OK && own == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    if (rc == SYN_OK)
        rc = srv_account_name(server, syn_json_str(service, "account", ""), own, err);
    if (rc < 0)
        return rc;
    party = (struct syn_mesh_party){.account = syn_json_str(own, "account_name", ""),
                                    .service = syn_json_str(service, "name", "")};
    allow = syn_mesh_allow(syn_document_spec(service));
    reading = (struct reading){syn_mesh_name(&party, name), json_array()};
    rc = syn_json_pack(&answer, err, "{s:s, s:s, s:s, s:s, s:o, s:o}", "id",
                       syn_document_id(service), "address",
                       syn_json_str(syn_document_status(service), SRV_VIRTUAL, ""), "name", name,
                       "identity", syn_mesh_uri(server->cluster, &party, uri), "allow",
                       allow != NULL ? syn_json_deep_copy(allow) : json_pack("[s]", "own"), "calls",
                       reading.calls);
    if (rc == SYN_OK)
        rc = add_policy(answer, json_object_get(syn_document_spec(service), "mesh"), err);
    if (rc == SYN_OK)
        rc = each_pair(server, add_call, &reading, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/services/{id}/mesh", get_mesh, NULL, "services.mesh",
             "Its address and identity for others, who may call it, and who has"),
};

const struct srv_routes srv_mesh_routes = {rows, SYN_LEN(rows)};
