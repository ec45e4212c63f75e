/* What people ask of a service. Each verb only changes the document; the next step acts on it. */
#include "control_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>

static bool
stopped(const json_t *service)
{
    return syn_str_eq(syn_document_state(service), "stopped");
}

static bool
billed(const json_t *service)
{
    return json_is_string(json_object_get(syn_document_status(service), "bill"));
}

static int
version_make(int64_t number, const json_t *spec, const struct syn_service_new *change, json_t **ret,
             struct syn_err *err)
{
    SYN_JSON(version);
    int rc = syn_json_pack(&version, err, "{s:I, s:s}", "version", (json_int_t)number, "image_cid",
                           change->image_cid);

    if (rc == SYN_OK)
        rc = syn_json_set_take(version, "spec", syn_json_deep_copy(spec), err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(version, "created_at", change->now_ms, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(version);
    return SYN_OK;
}

/* From now on the version is what is wanted. */
static int
want_version(json_t *service, int64_t number, const char *image_cid, int64_t now_ms,
             struct syn_err *err)
{
    json_t *status = syn_document_status(service);
    int rc = syn_json_set_i64(status, "target", number, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "image_cid", image_cid, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "rolled_back", 0, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "rolled_back_why", "", err);
    (void)json_object_del(status, "rollout");
    return rc < 0 ? rc : syn_document_set_time(status, "deployed_at", now_ms, err);
}

int
service_go_back(json_t *service, const json_t *version, const char *why, struct syn_err *err)
{
    json_t *status = syn_document_status(service);
    int64_t from = syn_json_i64(status, "target", 0);
    int rc =
        syn_service_spec_adopt(syn_document_spec(service), json_object_get(version, "spec"), err);

    if (rc == SYN_OK)
        rc = syn_document_bump(service, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "target", syn_json_i64(version, "version", 0), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "image_cid", syn_json_str(version, "image_cid", ""), err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "rolled_back", from, err);
    (void)json_object_del(status, "rollout");
    return rc < 0 ? rc : syn_json_set_str(status, "rolled_back_why", why, err);
}

/* A run begins: everything that belongs to one run is as if nothing had happened yet. */
static int
run_begin(json_t *service, int64_t run, struct syn_err *err)
{
    json_t *status = syn_document_status(service);
    json_t *cost = NULL, *counts = NULL;
    int rc = syn_json_set_i64(status, "run", run, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "bill", NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "stop_requested", NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "settled_generation", 0, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "endpoints", json_array(), err);
    (void)json_object_del(status, "autoscale");
    (void)json_object_del(status, "rollout");
    if (rc == SYN_OK)
        rc = syn_json_pack(&counts, err, "{s:I, s:i, s:i, s:i}", "wanted",
                           (json_int_t)syn_json_i64(syn_document_spec(service), "replicas", 0),
                           "live", 0, "ready", 0, "updated", 0);
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "replicas", counts, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&cost, err, "{s:s, s:s, s:s}", "locked", "0", "spent", "0", "rate_hour",
                           "0");
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "cost", cost, err);
    return rc < 0
               ? rc
               : syn_document_set_state(service, "deploying", "created",
                                        syn_service_reason(SYN_SERVICE_DEPLOYING, "created"), err);
}

int
syn_service_make_take(const struct syn_service_new *new_service, json_t *spec, json_t **ret,
                      json_t **ret_version, struct syn_err *err)
{
    const struct syn_document_new new_doc = {.kind = "service",
                                             .id = new_service->id,
                                             .name = new_service->name,
                                             .account = new_service->account,
                                             .now_ms = new_service->now_ms};
    SYN_JSON(service);
    SYN_JSON(version);
    json_t *status;
    int rc = syn_document_make_take(&new_doc, spec, &service, err);

    if (rc < 0)
        return rc;
    status = syn_document_status(service);
    rc = run_begin(service, 1, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "serial", 0, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "stable", 0, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "versions", 1, err);
    if (rc == SYN_OK)
        rc = want_version(service, 1, new_service->image_cid, new_service->now_ms, err);
    if (rc == SYN_OK)
        rc = version_make(1, syn_document_spec(service), new_service, &version, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(service);
    *ret_version = SYN_TAKE(version);
    return SYN_OK;
}

/* May it be given something else to do now? */
static int
may_change(const json_t *service, struct syn_err *err)
{
    const char *name = syn_json_str(service, "name", "");

    if (stopped(service) && !billed(service))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s: its last run is not billed yet; try again in a moment", name);
    if (!stopped(service) &&
        json_is_string(json_object_get(syn_document_status(service), "stop_requested")))
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s is stopping; deploy it again when it has stopped",
                        name);
    return SYN_OK;
}

int
syn_service_update_take(json_t *service, const json_t *current_version,
                        const struct syn_service_new *change, json_t *spec, bool fresh,
                        json_t **ret_version, struct syn_err *err)
{
    json_t *status = syn_document_status(service);
    int64_t number = syn_json_i64(status, "versions", 0) + 1;
    SYN_JSON(owned);
    bool same;
    int rc;

    owned = spec;
    *ret_version = NULL;
    rc = may_change(service, err);
    if (rc < 0)
        return rc;
    same = !fresh && syn_service_spec_same(json_object_get(current_version, "spec"), spec) &&
           syn_str_eq(syn_json_str(current_version, "image_cid", ""), change->image_cid);
    if (same && !stopped(service) && json_equal(syn_document_spec(service), spec))
        return SYN_OK;
    if (syn_json_i64(syn_document_spec(service), "replicas", 0) !=
            syn_json_i64(spec, "replicas", 0) ||
        !json_object_get(spec, "autoscale"))
        (void)json_object_del(status, "autoscale"); /* it goes on from the number that was said */
    rc = syn_json_set_take(service, "spec", SYN_TAKE(owned), err);
    if (rc == SYN_OK)
        rc = syn_document_bump(service, err);
    if (rc == SYN_OK && stopped(service))
        rc = run_begin(service, syn_json_i64(status, "run", 0) + 1, err);
    if (rc < 0)
        return rc;
    if (same)
        return syn_document_set_time(status, "deployed_at", change->now_ms, err);
    rc = version_make(number, syn_document_spec(service), change, ret_version, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "versions", number, err);
    return rc < 0 ? rc : want_version(service, number, change->image_cid, change->now_ms, err);
}

/* Can it be told to go on or back? */
static int
may_steer(const json_t *service, struct syn_err *err)
{
    int rc = may_change(service, err);

    return rc == SYN_OK && stopped(service)
               ? SYN_FAIL(err, SYN_E_CONFLICT, "%s has stopped; deploy it again",
                          syn_json_str(service, "name", ""))
               : rc;
}

int
syn_service_rollback(json_t *service, const json_t *version, int64_t now_ms, struct syn_err *err)
{
    int64_t number = syn_json_i64(version, "version", 0);
    json_t *back = NULL;
    int rc = may_steer(service, err);

    if (rc == SYN_OK && syn_json_i64(syn_document_status(service), "target", 0) == number)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s has version %lld already",
                        syn_json_str(service, "name", ""), (long long)number);
    if (rc == SYN_OK)
        rc = syn_service_spec_adopt(syn_document_spec(service), json_object_get(version, "spec"),
                                    err);
    if (rc == SYN_OK)
        rc = syn_document_bump(service, err);
    if (rc == SYN_OK)
        rc = want_version(service, number, syn_json_str(version, "image_cid", ""), now_ms, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&back, err, "{s:b}", "back", 1); /* it is not tried first */
    return rc < 0 ? rc : syn_json_set_take(syn_document_status(service), "rollout", back, err);
}

int
syn_service_promote(json_t *service, bool fully, struct syn_err *err)
{
    json_t *rollout = json_object_get(syn_document_status(service), "rollout");
    const char *name = syn_json_str(service, "name", "");
    const char *stage = syn_json_str(rollout, "stage", "");
    bool starts = syn_str_eq(stage, "starting");
    int rc = may_steer(service, err);

    if (rc < 0)
        return rc;
    if (starts && !(fully && syn_str_eq(syn_json_str(rollout, "strategy", ""), "canary")))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s: the replicas of version %lld are still starting; try again when they "
                        "are ready",
                        name, (long long)syn_json_i64(rollout, "version", 0));
    if (!starts && !syn_str_eq(stage, "testing") && !syn_str_eq(stage, "kept"))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s has nothing to promote: no canary or blue-green update is under way",
                        name);
    return syn_json_set_str(rollout, "promotion", fully ? "all" : "step", err);
}

int
syn_service_abort(json_t *service, const json_t *stable_version, struct syn_err *err)
{
    const json_t *status = syn_document_status(service);
    int64_t stable = syn_json_i64(status, "stable", 0);
    int rc = may_steer(service, err);

    if (rc < 0)
        return rc;
    if (stable == 0 || stable == syn_json_i64(status, "target", 0))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s has nothing to abort: no update is under way; go back by rollback",
                        syn_json_str(service, "name", ""));
    if (syn_json_i64(stable_version, "version", 0) != stable)
        return SYN_FAIL(err, SYN_E_CORRUPT, "version %lld is gone", (long long)stable);
    return service_go_back(service, stable_version, "was aborted", err);
}

int
syn_service_request_stop(json_t *service, struct syn_err *err)
{
    json_t *status = syn_document_status(service);

    if (stopped(service))
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s has stopped already",
                        syn_json_str(service, "name", ""));
    if (json_is_string(json_object_get(status, "stop_requested")))
        return SYN_OK;
    return syn_json_set_str(status, "stop_requested", "user", err);
}

int
syn_service_may_delete(const json_t *service, struct syn_err *err)
{
    const char *name = syn_json_str(service, "name", "");

    if (!stopped(service))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s is %s; stop it first: synor compute service stop %s", name,
                        syn_document_state(service), name);
    if (!billed(service))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s: its last run is not billed yet; try again in a moment", name);
    return SYN_OK;
}

int64_t
syn_service_reserve(const json_t *spec, int64_t rate_hour)
{
    struct syn_service_spec read;
    int64_t amount;

    syn_service_spec_read(spec, &read);
    amount = rate_hour > SYN_AMOUNT_MAX / SYN_SERVICE_RESERVE_HOURS
                 ? SYN_AMOUNT_MAX
                 : rate_hour * SYN_SERVICE_RESERVE_HOURS;
    return read.max_budget > 0 ? SYN_MIN(amount, read.max_budget) : amount;
}
