/* Reserved units in the steps of the controller: what a job is told of them, and when they begin
 * and end. The market's part is market_use.c. */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_control.h>

#include "server_priv.h"
#include "units_priv.h"

int
srv_job_units_look(struct syn_server *server, const json_t *job, struct srv_units *units,
                   struct syn_training_units *ret, struct syn_err *err)
{
    const char *id = syn_document_id(job);
    int64_t attempt = syn_json_i64(syn_document_status(job), "attempt", 0);
    int rc = srv_units_view(server, syn_json_str(job, "account", ""), syn_document_spec(job), id,
                            units, ret, err);

    if (rc < 0 || units->until_ms == 0)
        return rc;
    if (units->attempt > attempt) { /* begun, and not written down */
        units->sellers[0] = units->names[SRV_SELLERS_MAX];
        ret->sellers_count = 1;
        return SYN_OK;
    }
    if (!syn_str_eq(syn_document_state(job), "running") ||
        syn_wall_ms(server->world) <
            syn_training_units_lead(job, units->until_ms, units->unit_ms) ||
        srv_units_extend(server, id, NULL) < 0)
        return SYN_OK;
    ret->until_ms += units->unit_ms;
    syn_log(SYN_LOG_INFO, "market.extended", "job=%s", id);
    return SYN_OK;
}

int
srv_job_units_begin(struct syn_server *server, const json_t *job,
                    const struct syn_training_effects *effects, struct syn_err *err)
{
    const json_t *first = json_array_get(effects->created, 0);
    const struct srv_units_begin wanted = {
        .job = syn_document_id(job),
        .account = syn_json_str(job, "account", ""),
        .provider = syn_json_str(syn_json_at(first, "spec.lease"), "provider", ""),
        .class = syn_json_str(syn_document_spec(job), "reserved", ""),
        .units = syn_training_units(job),
        .run = syn_json_i64(syn_document_status(job), "run", 1),
        .attempt = syn_json_i64(syn_document_spec(first), "attempt", 1)};
    int rc = srv_units_begin(server, &wanted, err);

    return rc == SYN_E_FUNDS || rc == SYN_E_CONFLICT ? SYN_STORE_CONFLICT : rc;
}

static bool
lost_one(const json_t *instances, int64_t run, int64_t attempt)
{
    const json_t *instance;
    size_t i;

    json_array_foreach (instances, i, instance) {
        const json_t *spec = json_object_get(instance, "spec");

        if (syn_json_i64(spec, "run", 0) == run && syn_json_i64(spec, "attempt", 0) == attempt &&
            syn_str_eq(syn_document_state(instance), "lost"))
            return true;
    }
    return false;
}

int
srv_job_units_end(struct syn_server *server, const json_t *job, const json_t *instances,
                  const struct syn_training_effects *effects, const struct srv_units *units,
                  struct syn_err *err)
{
    const json_t *after = effects->job != NULL ? effects->job : job;
    const json_t *status = syn_document_status(after);
    int64_t run = syn_json_i64(status, "run", 1);
    enum srv_units_end how = SRV_UNITS_OVER;

    if (units->until_ms == 0 || json_array_size(effects->created) > 0 ||
        (!syn_str_eq(syn_document_state(after), "pending") && !srv_job_ended(after)))
        return SYN_OK;
    if (units->attempt > syn_json_i64(status, "attempt", 0) && !srv_job_ended(after))
        return SYN_OK; /* it will be placed with them yet */
    if (units->attempt > syn_json_i64(status, "attempt", 0))
        how = SRV_UNITS_UNUSED;
    else if (lost_one(instances, run, units->attempt) ||
             lost_one(effects->changed, run, units->attempt))
        how = SRV_UNITS_LOST;
    return srv_units_end(server, syn_document_id(job), how, err);
}

int
srv_keeps_tell(struct syn_server *server, struct syn_cluster *cluster, bool *ret_changed,
               struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_keep *keeps = NULL;
    size_t count = 0;
    int rc = srv_market_keeps(server, &keeps, &count, err);

    *ret_changed = false;
    if (rc < 0) /* of a closed market the last that was known stands */
        return rc == SYN_E_UNAVAILABLE ? SYN_OK : rc;
    return syn_cluster_set_keeps(cluster, keeps, count, ret_changed, err);
}
