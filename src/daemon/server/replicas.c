/* How each replica of a service is, and what it uses: one row of `service stats`. */
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "loads_priv.h"

/* How often has the replica of this number ended by itself in this run? */
static int64_t
count_restarts(const json_t *instances, int64_t replica, int64_t run)
{
    const json_t *instance;
    int64_t count = 0;
    size_t i;

    json_array_foreach (instances, i, instance) {
        const json_t *spec = syn_document_spec(instance);

        count += syn_json_i64(spec, "rank", -1) == replica && syn_json_i64(spec, "run", 0) == run &&
                 syn_json_bool(syn_document_status(instance), "noted", false);
    }
    return count;
}

static const json_t *
find_instance(const json_t *instances, const char *id)
{
    const json_t *instance;
    size_t i;

    json_array_foreach (instances, i, instance)
        if (syn_str_eq(syn_document_id(instance), id))
            return instance;
    return NULL;
}

/* What was used, where it is known; else null. */
static int
set_used(struct syn_server *server, const char *instance, json_t *row, struct syn_err *err)
{
    struct srv_load_seen seen;
    bool known = srv_loads_seen(server->loads, instance, syn_wall_ms(server->world), &seen);
    const struct {
        const char *key;
        int64_t value;
    } used[] = {
        {"cpu_millicores", known ? seen.load.cpu_millicores : 0},
        {"memory_bytes", known ? seen.load.memory_bytes : 0},
        {"sent_bps", known ? seen.sent_bps : 0},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(used) && rc == SYN_OK; i++)
        rc = known ? syn_json_set_i64(row, used[i].key, used[i].value, err)
                   : syn_json_set_take(row, used[i].key, json_null(), err);
    return rc;
}

static int
add_row(struct syn_server *server, const json_t *service, const json_t *instances,
        const json_t *endpoint, json_t *list, struct syn_err *err)
{
    const char *id = syn_json_str(endpoint, "instance", "");
    const json_t *instance = find_instance(instances, id);
    const json_t *resources = syn_json_at(instance, "spec.resources");
    int64_t replica = syn_json_i64(endpoint, "replica", 0);
    SYN_JSON(row);
    int rc = syn_json_pack(
        &row, err, "{s:I, s:s, s:I, s:s, s:s, s:b, s:I, s:I, s:I}", "replica", (json_int_t)replica,
        "instance", id, "version", (json_int_t)syn_json_i64(endpoint, "version", 0), "node",
        syn_json_str(endpoint, "node", ""), "state", syn_json_str(endpoint, "state", ""), "ready",
        syn_json_bool(endpoint, "ready", false) ? 1 : 0, "cpu_max",
        (json_int_t)syn_json_i64(resources, "cpu_millicores", 0), "memory_max",
        (json_int_t)syn_json_i64(resources, "memory_bytes", 0), "restarts",
        (json_int_t)count_restarts(instances, replica,
                                   syn_json_i64(syn_document_status(service), "run", 1)));

    if (rc == SYN_OK)
        rc = set_used(server, id, row, err);
    return rc < 0 ? rc : syn_json_append_take(list, SYN_TAKE(row), err);
}

int
srv_replicas_stats(struct syn_server *server, const json_t *service, json_t *stats,
                   struct syn_err *err)
{
    json_t *list = json_array();
    const json_t *endpoint;
    SYN_JSON(instances);
    size_t i;
    int rc = syn_json_set_take(stats, "replicas", list, err);

    if (rc == SYN_OK)
        rc = srv_instances_of(server, syn_document_id(service), &instances, err);
    json_array_foreach (json_object_get(syn_document_status(service), "endpoints"), i, endpoint)
        if (rc == SYN_OK)
            rc = add_row(server, service, instances, endpoint, list, err);
    return rc;
}
