/* What a node is told of services: GET /v1/nodes/{id}/services, the names and endpoints of those of
 * the accounts that it runs instances of. From it the node's agent answers DNS (ADR 33).
 *
 * Whose they are is looked at once, when the stream begins: an agent that is given the first
 * instance of another account begins anew. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>

#include "server_priv.h"

/* The accounts that a node may hear of. */
struct accounts {
    size_t count;
    char ids[][SYN_ID_MAX];
};

static bool
seen(const void *arg, const char *key, const json_t *doc)
{
    const struct accounts *accounts = arg;
    const char *account = syn_json_str(doc, "account", "");

    (void)key;
    for (size_t i = 0; i < accounts->count; i++) {
        if (syn_str_eq(accounts->ids[i], account))
            return true;
    }
    return false;
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

/* Of a service's document, what names need. */
static int
abridge(struct syn_server *server, json_t *doc, struct syn_err *err)
{
    const json_t *endpoints = json_object_get(syn_document_status(doc), "endpoints");
    SYN_JSON(brief);
    int rc =
        syn_json_pack(&brief, err, "{s:s, s:s, s:s, s:I}", "id", syn_document_id(doc), "account",
                      syn_json_str(doc, "account", ""), "name", syn_json_str(doc, "name", ""),
                      "port", (json_int_t)syn_json_i64(syn_document_spec(doc), "port", 0));

    if (rc == SYN_OK)
        rc = syn_json_set_take(brief, "endpoints",
                               endpoints != NULL ? json_deep_copy(endpoints) : json_array(), err);
    if (rc == SYN_OK)
        rc = srv_account_name(server, syn_json_str(doc, "account", ""), brief, err);
    if (rc < 0)
        return rc;
    (void)json_object_clear(doc);
    return json_object_update(doc, brief) == 0
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a service's endpoints");
}

/* "instance-on/NODE/ID": whose it is, while it lives. */
struct reading {
    struct syn_server *server;
    json_t *ids; /* as keys */
};

static int
add_account(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct reading *reading = arg;
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
    return syn_json_set_bool(reading->ids, syn_json_str(instance, "account", "?"), true, err);
}

static int
accounts_on(struct syn_server *server, const char *node, struct accounts **ret, struct syn_err *err)
{
    struct reading reading = {.server = server};
    char key[SRV_KEY_MAX];
    SYN_JSON(ids);
    struct accounts *accounts;
    const char *id;
    json_t *value;
    int rc;

    ids = json_object();
    if (ids == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for accounts");
    reading.ids = ids;
    rc = srv_each(server, srv_key(key, "instance-on", node, ""), add_account, &reading, err);
    if (rc < 0)
        return rc;
    accounts = syn_calloc(1, sizeof(*accounts) + json_object_size(ids) * SYN_ID_MAX);
    if (accounts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for accounts");
    json_object_foreach (ids, id, value)
        (void)syn_str_copy(accounts->ids[accounts->count++], SYN_ID_MAX, id);
    *ret = accounts;
    return SYN_OK;
}

static int
stream_services(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    struct srv_stream_plan plan = {.prefixes = {"service/"},
                                   .put_event = "service",
                                   .delete_event = "gone",
                                   .snapshot = true,
                                   .complete = abridge,
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
    if (accounts->count == 1)
        (void)srv_key(plan.index, "service-of", accounts->ids[0], "");
    plan.arg = accounts;
    return srv_stream(ctx, req, &plan, err);
}

static const struct syn_http_route rows[] = {
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
