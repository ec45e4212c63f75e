/* From a version and a place to the instance that a node is to run. */
#include "../work_priv.h"
#include "autoscale_priv.h"
#include "control_priv.h"

#include <string.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/place.h>

#define EAGER_MS 30000

void
syn_service_instance_id(const json_t *service, int64_t serial, char out[SYN_ID_MAX])
{
    int n = snprintf(out, SYN_ID_MAX, "inst-%s-%lld-%lld", work_own_part(service),
                     (long long)work_run(service), (long long)serial);

    assert(n > 0 && n < SYN_ID_MAX);
}

bool
syn_service_of_instance(const char *instance, char out[SYN_ID_MAX])
{
    const char *own = instance + strlen("inst-");

    if (!syn_str_starts(instance, "inst-"))
        return false;
    (void)snprintf(out, SYN_ID_MAX, "svc-%.*s", (int)strcspn(own, "-"), own);
    return true;
}

void
syn_service_bill_id(const json_t *service, int64_t period, char out[SYN_ID_MAX])
{
    int n = snprintf(out, SYN_ID_MAX, "bill-%s-%lld", work_own_part(service),
                     (long long)work_run(service));

    assert(n > 0 && n < SYN_ID_MAX - 24);
    if (period > 1) /* of one width: so they sort as they come */
        (void)snprintf(out + n, SYN_ID_MAX - (size_t)n, "-%06lld", (long long)period);
}

/* One replica in the making. */
struct replica {
    const struct service_replica_new *made;
    struct syn_service_spec spec;
    char id[SYN_ID_MAX];
};

static int
make_env(const struct replica *replica, json_t **ret, struct syn_err *err)
{
    const char *name;
    json_t *value;
    char text[32];
    SYN_JSON(env);
    int rc = SYN_OK;

    env = syn_json_deep_copy(replica->spec.env);
    if (!env)
        return SYN_FAIL(err, SYN_E_NOMEM, "making an environment: out of memory");
    if (replica->spec.port > 0) {
        (void)snprintf(text, sizeof(text), "%lld", (long long)replica->spec.port);
        rc = syn_json_set_str(env, "PORT", text, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_set_str(env, "SYNOR_SERVICE",
                              syn_json_str(replica->made->service, "name", ""), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(env, "SYNOR_INSTANCE_ID", replica->id, err);
    (void)snprintf(text, sizeof(text), "%lld",
                   (long long)syn_json_i64(replica->made->version, "version", 0));
    if (rc == SYN_OK)
        rc = syn_json_set_str(env, "SYNOR_VERSION", text, err);
    (void)snprintf(text, sizeof(text), "%lld", (long long)replica->made->number);
    if (rc == SYN_OK)
        rc = syn_json_set_str(env, "SYNOR_REPLICA", text, err);
    json_object_foreach (json_object_get(replica->spec.function, "env"), name, value)
        if (rc == SYN_OK)
            rc = syn_json_set_take(env, name, json_incref(value), err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(env);
    return SYN_OK;
}

static int
spec_texts(const struct replica *replica, json_t *spec, struct syn_err *err)
{
    const struct {
        const char *name;
        const char *value;
    } texts[] = {
        {"workload", "service"},
        {"job", syn_document_id(replica->made->service)},
        {"place", replica->id}, /* what its room was asked for as */
        {"service", syn_json_str(replica->made->service, "name", "")},
        {"node", replica->made->slot->node},
        {"isolation", syn_isolation_name(replica->made->slot->isolation)},
        {"image", replica->spec.image},
        {"image_cid", syn_json_str(replica->made->version, "image_cid", "")},
        {"code_cid", ""},
        {"dataset_cid", ""},
        {"checkpoint_cid", ""},
        {"desired", "running"},
        {"stop_reason", ""},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(texts) && rc == SYN_OK; i++)
        rc = syn_json_set_str(spec, texts[i].name, texts[i].value, err);
    return rc;
}

static int
spec_numbers(const struct replica *replica, json_t *spec, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"version", syn_json_i64(replica->made->version, "version", 0)},
        {"run", work_run(replica->made->service)},
        {"attempt", replica->made->serial},
        {"rank", replica->made->number},
        {"port", replica->spec.port},
        {"stop_grace_ms", replica->spec.stop_grace_ms},
        {"drain_ms", replica->spec.drain_ms},
        /* Somebody waits for a function's start; what it may use is for its calls. */
        {"eager_ms", replica->spec.function ? EAGER_MS : 0},
        {"time_limit_ms", 0},
        {"priority", syn_json_i64(syn_document_spec(replica->made->service), "priority", 0)},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(numbers) && rc == SYN_OK; i++)
        rc = syn_json_set_i64(spec, numbers[i].name, numbers[i].value, err);
    return rc;
}

static int
spec_parts(const struct replica *replica, json_t *spec, struct syn_err *err)
{
    const struct syn_amounts *amounts = &replica->spec.amounts;
    const struct syn_place_request request = syn_service_place_request(&replica->spec);
    const json_t *given = json_object_get(replica->made->version, "spec");
    static const char *const copied[] = {"command", "args",     "health",   "liveness",
                                         "startup", "pre_stop", "secrets",  "mounts",
                                         "user",    "workdir",  "hostname", "stop_signal"};
    json_t *part = NULL;
    int rc = make_env(replica, &part, err);

    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "env", part, err);
    for (size_t i = 0; i < SYN_LEN(copied) && rc == SYN_OK; i++)
        if (json_object_get(given, copied[i])) /* not all have all */
            rc = syn_json_set_take(spec, copied[i],
                                   syn_json_deep_copy(json_object_get(given, copied[i])), err);
    if (rc == SYN_OK)
        rc = syn_json_pack(
            &part, err, "{s:I, s:I, s:I, s:I, s:s, s:I, s:i}", "cpu_millicores",
            (json_int_t)amounts->cpu_millicores, "memory_bytes", (json_int_t)amounts->memory_bytes,
            "scratch_bytes", (json_int_t)amounts->scratch_bytes, "gpus",
            (json_int_t)replica->spec.gpus, "gpu_model", replica->made->slot->gpu_model,
            "gpu_vram_bytes", (json_int_t)replica->made->slot->gpu_vram_bytes, "pids",
            SYN_SERVICE_PIDS);
    if (rc == SYN_OK)
        rc = syn_place_resources(&request, replica->made->slot, replica->spec.gpus, part, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "resources", part, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&part, err, "{s:s}", "mode", "account");
    return rc < 0 ? rc : syn_json_set_take(spec, "network", part, err);
}

static int
spec_scrape(const struct replica *replica, json_t *spec, struct syn_err *err)
{
    json_t *wanted = NULL;
    int rc = service_autoscale_scrape(
        json_object_get(syn_document_spec(replica->made->service), "autoscale"), &wanted, err);

    return rc < 0 || !wanted ? rc : syn_json_set_take(spec, "scrape", wanted, err);
}

static int
status_init(json_t *doc, struct syn_err *err)
{
    static const char *const nulls[] = {"exit_code", "signal",         "started_at",
                                        "ended_at",  "usage_seq_last", "health"};
    json_t *status = syn_document_status(doc);
    int rc = syn_document_set_state(doc, "assigned", "assigned", "the node has not taken it up yet",
                                    err);

    for (size_t i = 0; i < SYN_LEN(nulls) && rc == SYN_OK; i++)
        rc = syn_json_set_str(status, nulls[i], NULL, err);
    return rc < 0 ? rc : syn_json_set_i64(status, "usage_seq", 0, err);
}

int
service_instance_make(const struct service_replica_new *made, json_t **ret, struct syn_err *err)
{
    struct replica replica = {.made = made};
    const struct syn_document_new new_doc = {.kind = "instance",
                                             .id = replica.id,
                                             .account = syn_json_str(made->service, "account", ""),
                                             .now_ms = made->now_ms};
    SYN_JSON(spec);
    SYN_JSON(doc);
    int rc;

    syn_service_instance_id(made->service, made->serial, replica.id);
    syn_service_spec_read(json_object_get(made->version, "spec"), &replica.spec);
    spec = json_object();
    if (!spec)
        return SYN_FAIL(err, SYN_E_NOMEM, "making %s: out of memory", replica.id);
    rc = spec_texts(&replica, spec, err);
    if (rc == SYN_OK)
        rc = spec_scrape(&replica, spec, err);
    if (rc == SYN_OK)
        rc = spec_numbers(&replica, spec, err);
    if (rc == SYN_OK)
        rc = spec_parts(&replica, spec, err);
    if (rc == SYN_OK && replica.spec.function)
        rc = syn_json_set_str(spec, "start", syn_json_str(replica.spec.function, "start", "cold"),
                              err);
    if (rc == SYN_OK && made->lease)
        rc = syn_json_set_take(spec, "lease", syn_json_deep_copy(made->lease), err);
    if (rc == SYN_OK)
        rc = syn_document_make_take(&new_doc, SYN_TAKE(spec), &doc, err);
    if (rc == SYN_OK)
        rc = status_init(doc, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}

int
service_endpoint_add(const json_t *doc, const struct service_endpoint *endpoint, json_t *list,
                     struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");
    const json_t *status = json_object_get(doc, "status");
    bool drains = syn_document_time(spec, "draining_at") != SYN_DOCUMENT_NONE;
    json_t *row = NULL;
    int rc = syn_json_pack(
        &row, err, "{s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:b, s:s, s:s}", "instance",
        syn_json_str(doc, "id", ""), "replica", (json_int_t)syn_json_i64(spec, "rank", 0),
        "version", (json_int_t)syn_json_i64(spec, "version", 0), "node",
        syn_json_str(spec, "node", ""), "state",
        drains              ? "draining"
        : endpoint->standby ? "standby"
                            : syn_json_str(status, "state", ""),
        "address", syn_json_str(status, "address", ""), "port",
        (json_int_t)syn_json_i64(status, "port", syn_json_i64(spec, "port", 0)), "cpu_millicores",
        (json_int_t)syn_json_i64(json_object_get(spec, "resources"), "cpu_millicores", 0), "ready",
        endpoint->ready ? 1 : 0, "isolation", syn_json_str(status, "isolation", ""), "runtime",
        syn_json_str(status, "runtime", ""));

    if (rc == SYN_OK && json_is_object(json_object_get(status, "start")))
        rc = syn_json_set_take(row, "start", syn_json_deep_copy(json_object_get(status, "start")),
                               err);
    if (rc == SYN_OK && endpoint->ready && endpoint->weight > 0)
        rc = syn_json_set_i64(row, "weight", endpoint->weight, err);
    if (rc < 0) {
        json_decref(row);
        return rc;
    }
    return syn_json_append_take(list, row, err);
}
