/* What a node is told of services: GET /v1/nodes/{id}/services, the names, addresses, rules and
 * endpoints of those that its instances may call: of the accounts that it runs instances of, and of
 * others that allow these. From it the node's agent answers DNS (ADR 33) and makes the table of its
 * mesh (ADR 35).
 *
 *     "service-open/ID"     a service that accounts but its own may call
 *     "node-mesh/NODE"      where the node's mesh is reached by others, "HOST:PORT"
 *
 * Whose they are is looked at once, when the stream begins: an agent that is given the first
 * instance of another account begins anew.
 *
 * The other way nodes tell what waits there for a service of which nothing runs: POST
 * /v1/nodes/{id}/held. It wakes the service as what waits at the gateway does. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/workload/service_mesh.h>
#include <synor/workload/service_spec.h>

#include "loads_priv.h"
#include "mesh_priv.h"

#define OPEN "service-open"

/* The accounts that a node runs instances of. */
struct accounts {
    size_t count;
    struct account {
        char id[SYN_ID_MAX], name[SYN_ID_MAX];
    } all[];
};

/* Entries without an account speak of the service's own, which is compared by its id. */
#define OWNER "?"

static bool
seen(const void *arg, const char *key, const json_t *doc)
{
    const struct accounts *accounts = arg;
    const char *owner = syn_json_str(doc, "account", "");
    const json_t *allow;

    (void)key;
    if (doc == NULL) /* better told twice than kept for ever */
        return accounts->count > 0;
    allow = syn_mesh_allow(syn_document_spec(doc));
    for (size_t i = 0; i < accounts->count; i++) {
        const struct account *account = &accounts->all[i];

        if (syn_str_eq(account->id, owner) ||
            (allow != NULL && syn_mesh_allows_account(allow, OWNER, account->name)))
            return true;
    }
    return false;
}

/* The snapshot: the services of each account, then those that are open. */
static bool
index_at(const void *arg, unsigned n, char *out)
{
    const struct accounts *accounts = arg;

    if (n < accounts->count)
        (void)srv_key(out, "service-of", accounts->all[n].id, "");
    else if (n == accounts->count)
        (void)srv_key(out, OPEN, "", NULL);
    return n <= accounts->count;
}

int
srv_account_name(struct syn_server *server, const char *account, json_t *doc, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(found);
    int rc = srv_load(server, srv_key(key, "account", account, NULL), &found, NULL, err);

    if (rc < 0)
        return rc;
    return syn_json_set_str(doc, "account_name", syn_json_str(found, "name", ""), err);
}

/* --- open services ---------------------------------------------------------------------------- */

/* Is it noted? 0: it is; SRV_ABSENT. */
static int
find_open(struct syn_server *server, const json_t *service, char *key, struct syn_err *err)
{
    SYN_JSON(noted);

    return srv_load(server, srv_key(key, OPEN, syn_document_id(service), NULL), &noted, NULL, err);
}

static int
is_open(struct syn_server *server, const json_t *service, bool *ret, struct syn_err *err)
{
    const json_t *allow = syn_mesh_allow(syn_document_spec(service));
    SYN_JSON(owner);
    int rc;

    *ret = false;
    if (allow == NULL)
        return SYN_OK;
    owner = json_object();
    if (owner == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a service");
    rc = srv_account_name(server, syn_json_str(service, "account", ""), owner, err);
    *ret = rc == SYN_OK && syn_mesh_is_open(allow, syn_json_str(owner, "account_name", ""));
    return rc;
}

int
srv_service_index(struct syn_server *server, struct srv_txn *txn, const json_t *service,
                  struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    bool open = false;
    int rc = find_open(server, service, key, err);

    bool noted = rc == SYN_OK;

    if (rc >= 0)
        rc = is_open(server, service, &open, err);
    if (rc == SYN_OK && open && !noted)
        rc = srv_txn_put_text(txn, key, syn_document_id(service), err);
    else if (rc == SYN_OK && !open && noted)
        rc = srv_txn_delete(txn, key, err);
    return rc;
}

int
srv_service_unindex(struct syn_server *server, struct srv_txn *txn, const json_t *service,
                    struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = find_open(server, service, key, err);

    return rc == SYN_OK ? srv_txn_delete(txn, key, err) : rc < 0 ? rc : SYN_OK;
}

/* --- fronts of nodes -------------------------------------------------------------------------- */

int
srv_front_set(struct syn_server *server, struct srv_txn *txn, const char *node, const char *front,
              bool *ret_changed, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(before);
    int rc = srv_load(server, srv_key(key, "node-mesh", node, NULL), &before, NULL, err);

    if (rc < 0)
        return rc;
    *ret_changed = !syn_str_eq(rc == SYN_OK ? json_string_value(before) : "", front);
    return *ret_changed ? srv_txn_put_text(txn, key, front, err) : SYN_OK;
}

/* Where each replica's node is reached. */
static int
add_fronts(struct syn_server *server, json_t *endpoints, struct syn_err *err)
{
    json_t *endpoint;
    size_t i;

    json_array_foreach (endpoints, i, endpoint) {
        const char *node = syn_json_str(endpoint, "node", "");
        char key[SRV_KEY_MAX];
        SYN_JSON(front);
        int rc = syn_name_ok(node)
                     ? srv_load(server, srv_key(key, "node-mesh", node, NULL), &front, NULL, err)
                     : SRV_ABSENT;

        if (rc == SYN_OK && json_string_length(front) > 0)
            rc = syn_json_set_str(endpoint, "mesh", json_string_value(front), err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* --- what is told ----------------------------------------------------------------------------- */

/* Is it scaled to zero when nobody asks for it, and woken by who does? */
static bool
may_sleep(const json_t *spec)
{
    const json_t *autoscale = json_object_get(spec, "autoscale");

    return autoscale != NULL && syn_json_i64(autoscale, "min", 1) == 0;
}

/* Who may call it, and as whom it is known. */
static int
add_mesh(const struct syn_server *server, const json_t *doc, json_t *brief, struct syn_err *err)
{
    const struct syn_mesh_party party = {.account = syn_json_str(brief, "account_name", ""),
                                         .service = syn_json_str(brief, "name", "")};
    static const char *const policy[] = {"timeout_ms",   "retries", "rate",    "errors_max",
                                         "retry_budget", "routes",  "break_at"};
    const json_t *said = json_object_get(syn_document_spec(doc), "mesh");
    const json_t *allow = syn_mesh_allow(syn_document_spec(doc));
    char name[SYN_MESH_NAME_SIZE], uri[SYN_MESH_URI_SIZE];
    struct syn_service_spec spec;
    json_t *mesh = NULL;
    int rc;

    syn_service_spec_read(syn_document_spec(doc), &spec);
    rc = syn_json_pack(&mesh, err, "{s:s, s:s, s:s, s:o}", "identity",
                       syn_mesh_uri(server->cluster, &party, uri), "name",
                       syn_mesh_name(&party, name), "protocol",
                       syn_service_protocol_name(spec.lb.protocol), "allow",
                       allow != NULL ? syn_json_deep_copy(allow) : json_pack("[s]", "own"));
    if (rc == SYN_OK)
        rc = syn_json_set_take(brief, "mesh", mesh, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(policy); i++) {
        json_t *value = json_object_get(said, policy[i]);

        if (value != NULL)
            rc = syn_json_set_take(mesh, policy[i], json_incref(value), err);
    }
    if (rc == SYN_OK && may_sleep(syn_document_spec(doc)) && spec.lb.hold_ms > 0)
        rc = syn_json_set_i64(mesh, "hold_ms", spec.lb.hold_ms, err);
    return rc;
}

/* Of a service's document, what names and the mesh need. */
static int
abridge(struct syn_server *server, json_t *doc, struct syn_err *err)
{
    const json_t *status = syn_document_status(doc);
    json_t *endpoints = json_object_get(status, "endpoints");
    SYN_JSON(brief);
    int rc = syn_json_pack(&brief, err, "{s:s, s:s, s:s, s:s, s:I}", "id", syn_document_id(doc),
                           "account", syn_json_str(doc, "account", ""), "name",
                           syn_json_str(doc, "name", ""), "address",
                           syn_json_str(status, SRV_VIRTUAL, ""), "port",
                           (json_int_t)syn_json_i64(syn_document_spec(doc), "port", 0));

    if (rc == SYN_OK)
        rc = add_fronts(server, endpoints, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(brief, "endpoints",
                               endpoints != NULL ? syn_json_deep_copy(endpoints) : json_array(),
                               err);
    if (rc == SYN_OK)
        rc = srv_account_name(server, syn_json_str(doc, "account", ""), brief, err);
    if (rc == SYN_OK)
        rc = add_mesh(server, doc, brief, err);
    if (rc < 0)
        return rc;
    (void)json_object_clear(doc);
    return json_object_update(doc, brief) == 0
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a service's endpoints");
}

/* --- whom it is told -------------------------------------------------------------------------- */

/* "instance-on/NODE/ID", while it lives. */
struct reading {
    struct syn_server *server;
    srv_living_fn fn;
    void *arg;
};

static int
see_instance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct reading *reading = arg;
    char instance_key[SRV_KEY_MAX];
    SYN_JSON(instance);
    int state, rc;

    (void)doc;
    (void)revision;
    rc = srv_load(reading->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                  &instance, NULL, err);
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    state = syn_instance_state_find(syn_document_state(instance));
    if (state >= 0 && syn_instance_ended((unsigned)state))
        return SYN_OK;
    return reading->fn(reading->arg, instance, err);
}

int
srv_living_on(struct syn_server *server, const char *node, srv_living_fn fn, void *arg,
              struct syn_err *err)
{
    struct reading reading = {server, fn, arg};
    char key[SRV_KEY_MAX];

    return srv_each(server, srv_key(key, "instance-on", node, ""), see_instance, &reading, err);
}

static int
add_account(void *arg, const json_t *instance, struct syn_err *err)
{
    return syn_json_set_bool(arg, syn_json_str(instance, "account", "?"), true, err);
}

static int
accounts_on(struct syn_server *server, const char *node, struct accounts **ret, struct syn_err *err)
{
    SYN_JSON(ids);
    struct accounts *accounts;
    const char *id;
    json_t *value;
    int rc;

    ids = json_object();
    if (ids == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for accounts");
    rc = srv_living_on(server, node, add_account, ids, err);
    if (rc < 0)
        return rc;
    accounts = syn_calloc(1, sizeof(*accounts) + json_object_size(ids) * sizeof(accounts->all[0]));
    if (accounts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for accounts");
    json_object_foreach (ids, id, value) {
        struct account *account = &accounts->all[accounts->count++];
        SYN_JSON(named);

        named = json_object();
        if (rc == SYN_OK)
            rc = srv_account_name(server, id, named, err);
        (void)syn_str_copy(account->id, sizeof(account->id), id);
        (void)syn_str_copy(account->name, sizeof(account->name),
                           syn_json_str(named, "account_name", ""));
    }
    if (rc < 0)
        syn_free(accounts);
    else
        *ret = accounts;
    return rc;
}

static int
stream_services(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    struct srv_stream_plan plan = {.prefixes = {"service/"},
                                   .put_event = SRV_SERVICE_TOLD,
                                   .delete_event = "gone",
                                   .snapshot = true,
                                   .complete = abridge,
                                   .next_index = index_at,
                                   .seen = seen};
    struct accounts *accounts = NULL;
    int rc = srv_own_node(srv_identity(req), id, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %.60s", id);
    if (rc == SYN_OK)
        rc = accounts_on(ctx, id, &accounts, err);
    if (rc < 0)
        return rc;
    assert(accounts != NULL);
    (void)index_at(accounts, 0, plan.index);
    plan.arg = accounts;
    return srv_stream(ctx, req, &plan, err);
}

/* --- what waits ------------------------------------------------------------------------------- */

#define HELD_MAX       512
#define HELD_COUNT_MAX 1000000

/* Only of what the node's instances may call: it wakes nobody else's. */
static int
note_held(struct syn_server *server, const struct accounts *accounts, const json_t *row,
          struct syn_err *err)
{
    const char *id = syn_json_str(row, "service", "");
    char key[SRV_KEY_MAX];
    SYN_JSON(service);
    int rc = srv_load(server, srv_key(key, "service", id, NULL), &service, NULL, err);

    if (rc != SYN_OK || !seen(accounts, key, service) || !may_sleep(syn_document_spec(service)))
        return rc < 0 ? rc : SYN_OK;
    rc = srv_loads_tell(server->loads, id, SRV_LOADS_MESH_HELD,
                        syn_json_i64(row, "count", 0) * 1000, syn_wall_ms(server->world), err);
    srv_controller_poke(server->controller, id);
    return rc;
}

static int
post_held(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    SYN_SCOPED(syn_free_scope) struct accounts *accounts = NULL;
    const json_t *row;
    size_t i;
    int rc = srv_own_node(srv_identity(req), id, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %.60s", id);
    if (rc == SYN_OK)
        rc = accounts_on(ctx, id, &accounts, err);
    json_array_foreach (json_object_get(syn_http_req_json(req), "services"), i, row)
        if (rc == SYN_OK)
            rc = note_held(ctx, accounts, row, err);
    return rc;
}

static const struct syn_field waiting_fields[] = {
    {.name = "service", .kind = SYN_FIELD_NAME, .required = true, .help = "Its id"},
    {.name = "count",
     .kind = SYN_FIELD_I64,
     .required = true,
     .min = 0,
     .max = HELD_COUNT_MAX,
     .help = "So many calls wait for a first replica"},
};
static const struct syn_schema waiting_schema = SYN_SCHEMA("NodeWaiting", waiting_fields);
static const struct syn_field held_fields[] = {
    {.name = "services",
     .kind = SYN_FIELD_LIST,
     .sub = &waiting_schema,
     .required = true,
     .min = 0,
     .max = HELD_MAX,
     .help = "Services that calls wait for, and those that they wait for no more"},
};
static const struct syn_schema held_schema = SYN_SCHEMA("NodeHeld", held_fields);

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/nodes/{id}/held",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = post_held,
     .body = &held_schema,
     .name = "nodes.held",
     .summary = "Calls wait at the node for services of which nothing runs: wake them"},
    {.method = "GET",
     .pattern = "/v1/nodes/{id}/services",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_NODE,
     .handler = stream_services,
     .name = "nodes.services",
     .summary = "Stream of the services whose names the node answers"},
};

const struct srv_routes srv_endpoint_routes = {rows, SYN_LEN(rows)};
