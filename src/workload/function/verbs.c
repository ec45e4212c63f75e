/* What people ask of a function. Each verb only changes the document; the next step acts on it. */
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/workload/function_spec.h>

#include "../work_priv.h"
#include "control_priv.h"

#define RESERVE_CALLS 1000
#define OWN_LETTERS   10  /* of an id that the platform made */
#define PARTED_BY     '0' /* no such id has one */

static bool
deleting(const json_t *function)
{
    return syn_str_eq(syn_document_state(function), "deleting");
}

static int
may_change(const json_t *function, struct syn_err *err)
{
    return deleting(function) ? SYN_FAIL(err, SYN_E_CONFLICT,
                                         "%s is being deleted; deploy it again when it is gone",
                                         syn_json_str(function, "name", ""))
                              : SYN_OK;
}

static int
version_make(const json_t *function, int64_t number, const struct syn_function_new *made,
             json_t **ret, struct syn_err *err)
{
    const char *runtime = syn_json_str(syn_document_spec(function), "runtime", "");
    char service[SYN_ID_MAX] = "";
    SYN_JSON(version);
    int rc;

    if (!syn_str_eq(runtime, "wasm"))
        syn_function_service_id(function, number, service);
    rc = syn_json_pack(&version, err, "{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "version",
                       (json_int_t)number, "code_cid", made->code_cid, "layer_cid", made->layer_cid,
                       "image_cid", made->image_cid, "service", service, "state", "preparing",
                       "message", "", "revision", 0);
    if (rc == SYN_OK)
        rc = syn_json_set_take(version, "spec", syn_json_deep_copy(syn_document_spec(function)),
                               err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(version, "created_at", made->now_ms, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(version);
    return rc;
}

static int
status_init(json_t *function, struct syn_err *err)
{
    json_t *status = syn_document_status(function);
    json_t *cost = NULL;
    int rc = syn_json_pack(&cost, err, "{s:s, s:s}", "locked", "0", "spent", "0");
    static const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"run", 1},      {"versions", 1}, {"target", 1},   {"active", 0},
                   {"previous", 0}, {"routed", 0},   {"instances", 0}};

    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "cost", cost, err);
    for (size_t i = 0; i < SYN_LEN(numbers) && rc == SYN_OK; i++)
        rc = syn_json_set_i64(status, numbers[i].key, numbers[i].value, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "traffic", json_array(), err);
    return rc < 0 ? rc
                  : syn_document_set_state(function, "deploying", "created",
                                           syn_function_reason(SYN_FUNCTION_DEPLOYING, "created"),
                                           err);
}

int
syn_function_make_take(const struct syn_function_new *made, json_t *spec, json_t **ret,
                       json_t **ret_version, struct syn_err *err)
{
    const struct syn_document_new new_doc = {.kind = "function",
                                             .id = made->id,
                                             .name = made->name,
                                             .account = made->account,
                                             .now_ms = made->now_ms};
    SYN_JSON(function);
    int rc = syn_document_make_take(&new_doc, spec, &function, err);

    if (rc == SYN_OK)
        rc = status_init(function, err);
    if (rc == SYN_OK)
        rc = version_make(function, 1, made, ret_version, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(function);
    return rc;
}

/* Is what is wanted what the newest wanted version is? */
static bool
same(const json_t *current, const json_t *spec, const struct syn_function_new *change)
{
    return current && !syn_str_eq(syn_json_str(current, "state", ""), "failed") &&
           syn_function_spec_same(json_object_get(current, "spec"), spec) &&
           syn_str_eq(syn_json_str(current, "code_cid", ""), change->code_cid) &&
           syn_str_eq(syn_json_str(current, "layer_cid", ""), change->layer_cid) &&
           syn_str_eq(syn_json_str(current, "image_cid", ""), change->image_cid);
}

int
syn_function_update_take(json_t *function, const json_t *current,
                         const struct syn_function_new *change, json_t *spec, json_t **ret_version,
                         struct syn_err *err)
{
    json_t *status = syn_document_status(function);
    int64_t number = syn_json_i64(status, "versions", 0) + 1;
    bool is_same = same(current, spec, change);
    int rc = may_change(function, err);

    *ret_version = NULL;
    if (rc < 0) {
        json_decref(spec);
        return rc;
    }
    rc = syn_json_set_take(function, "spec", spec, err);
    if (rc == SYN_OK)
        rc = syn_document_bump(function, err);
    if (rc < 0 || is_same)
        return rc;
    rc = syn_json_set_i64(status, "versions", number, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "target", number, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "target_weight", change->weight, err);
    return rc < 0 ? rc : version_make(function, number, change, ret_version, err);
}

static int
need_ready(const json_t *function, const json_t *versions, int64_t number, const json_t **ret,
           struct syn_err *err)
{
    const char *name = syn_json_str(function, "name", "");

    *ret = syn_document_version(versions, number);
    if (*ret == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "there is no version %lld of %s; its versions lists those that are kept",
                        (long long)number, name);
    if (!syn_str_eq(syn_json_str(*ret, "state", ""), "ready"))
        return SYN_FAIL(err, SYN_E_CONFLICT, "version %lld of %s is not ready: it is %s",
                        (long long)number, name, syn_json_str(*ret, "state", ""));
    return SYN_OK;
}

int
function_route_all(json_t *function, int64_t number, struct syn_err *err)
{
    json_t *status = syn_document_status(function);
    int64_t active = syn_json_i64(status, "active", 0);
    json_t *traffic = NULL;
    int rc =
        syn_json_pack(&traffic, err, "[{s:I, s:i}]", "version", (json_int_t)number, "weight", 100);

    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "traffic", traffic, err);
    if (rc == SYN_OK && active > 0 && active != number)
        rc = syn_json_set_i64(status, "previous", active, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "routed", number, err);
    return rc < 0 ? rc : syn_json_set_i64(status, "active", number, err);
}

int
function_route_part(json_t *function, int64_t number, int64_t percent, struct syn_err *err)
{
    json_t *status = syn_document_status(function);
    int64_t active = syn_json_i64(status, "active", 0);
    json_t *traffic = NULL;
    int rc;

    if (active == 0 || percent >= 100)
        return function_route_all(function, number, err);
    rc = syn_json_pack(&traffic, err, "[{s:I, s:I}, {s:I, s:I}]", "version", (json_int_t)active,
                       "weight", (json_int_t)(100 - percent), "version", (json_int_t)number,
                       "weight", (json_int_t)percent);
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "traffic", traffic, err);
    return rc < 0 ? rc : syn_json_set_i64(status, "routed", number, err);
}

/* It is that version again, in its spec as well: a change of triggers must not bring back what was
 * left. */
static int
want_version(json_t *function, const json_t *version, struct syn_err *err)
{
    int64_t number = syn_json_i64(version, "version", 0);
    SYN_JSON(spec);
    int rc;

    spec = syn_json_deep_copy(json_object_get(version, "spec"));
    if (spec == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a spec");
    rc = syn_function_spec_keep(spec, syn_document_spec(function), err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(function, "spec", SYN_TAKE(spec), err);
    if (rc == SYN_OK)
        rc = function_route_all(function, number, err);
    return rc < 0 ? rc : syn_json_set_i64(syn_document_status(function), "target", number, err);
}

int
syn_function_rollback(json_t *function, const json_t *versions, int64_t version,
                      struct syn_err *err)
{
    json_t *status = syn_document_status(function);
    /* Of two that part what comes the active one is the one before. */
    bool parted = json_array_size(json_object_get(status, "traffic")) > 1;
    int64_t before = syn_json_i64(status, parted ? "active" : "previous", 0);
    int64_t wanted = version > 0 ? version : before;
    const json_t *found;
    int rc = may_change(function, err);

    if (rc == SYN_OK && wanted == 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s has had no other version that was ready",
                        syn_json_str(function, "name", ""));
    if (rc == SYN_OK)
        rc = need_ready(function, versions, wanted, &found, err);
    if (rc == SYN_OK && syn_json_i64(status, "active", 0) == wanted &&
        json_array_size(json_object_get(status, "traffic")) == 1)
        return SYN_FAIL(err, SYN_E_CONFLICT, "version %lld of %s is the active one",
                        (long long)wanted, syn_json_str(function, "name", ""));
    return rc < 0 ? rc : want_version(function, found, err);
}

int
syn_function_traffic(json_t *function, const json_t *versions, const json_t *traffic,
                     struct syn_err *err)
{
    json_t *status = syn_document_status(function);
    int64_t sum = 0, most = 0, largest = 0;
    const json_t *row, *found;
    size_t i;
    int rc = may_change(function, err);

    json_array_foreach (traffic, i, row) {
        int64_t number = syn_json_i64(row, "version", 0), weight = syn_json_i64(row, "weight", 0);

        for (size_t k = 0; k < i && rc == SYN_OK; k++)
            if (syn_json_i64(json_array_get(traffic, k), "version", 0) == number)
                rc = SYN_FAIL(err, SYN_E_INVALID, "traffic: version %lld is there twice",
                              (long long)number);
        if (rc == SYN_OK)
            rc = need_ready(function, versions, number, &found, err);
        if (rc < 0)
            return rc;
        sum += weight;
        if (weight > most) {
            most = weight;
            largest = number;
        }
    }
    if (rc == SYN_OK && sum != 100)
        return SYN_FAIL(err, SYN_E_INVALID, "traffic: weights sum to %lld, expected 100",
                        (long long)sum);
    /* What was wanted before is not to take over by itself. */
    if (rc == SYN_OK)
        rc = want_version(function, syn_document_version(versions, largest), err);
    return rc < 0 ? rc : syn_json_set_take(status, "traffic", syn_json_deep_copy(traffic), err);
}

int
syn_function_delete(json_t *function, struct syn_err *err)
{
    return syn_document_set_state(function, "deleting", "user",
                                  syn_function_reason(SYN_FUNCTION_DELETING, "user"), err);
}

int64_t
syn_function_reserve(const json_t *spec, int64_t call_price, int64_t spent)
{
    int64_t amount = SYN_MIN(SYN_MAX(call_price, 1), SYN_SYNOR / RESERVE_CALLS) * RESERVE_CALLS;
    struct syn_function_spec read;

    syn_function_spec_read(spec, &read);
    amount = SYN_MAX(amount, spent);
    return read.max_budget > 0 ? SYN_MIN(amount, read.max_budget) : amount;
}

void
syn_function_service_id(const json_t *function, int64_t version, char out[SYN_ID_MAX])
{
    int n = snprintf(out, SYN_ID_MAX, "svc-%s%c%lld", work_own_part(function), PARTED_BY,
                     (long long)version);

    assert(n > 0 && n < SYN_ID_MAX);
}

bool
syn_function_of_service(const char *service, char out[SYN_ID_MAX], int64_t *ret_version)
{
    const char *own = service + strlen("svc-");
    uint64_t version;

    if (!syn_str_starts(service, "svc-") || strlen(own) < OWN_LETTERS + 2 ||
        own[OWN_LETTERS] != PARTED_BY ||
        syn_parse_u64(own + OWN_LETTERS + 1, 1, INT64_MAX, "version", &version, NULL) < 0)
        return false;
    (void)snprintf(out, SYN_ID_MAX, "fn-%.*s", OWN_LETTERS, own);
    *ret_version = (int64_t)version;
    return true;
}
