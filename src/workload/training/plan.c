#include <synor/workload/training_plan.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_spec.h>

#define MONTH_HOURS 730

struct plan {
    const struct syn_training_tenant *tenant;
    struct syn_cluster *cluster;
    const struct syn_pricebook *book;
    struct syn_training_spec spec;
    struct syn_place_request request;
    struct syn_placement placement;
    struct syn_holding held;
    struct syn_holding ask;
    enum syn_quota_dim over; /* SYN_QUOTA_COUNT: the quota allows it */
    bool placeable;
    json_t *out;
};

static int
plan_nodes(struct plan *plan, struct syn_err *err)
{
    json_t *nodes = json_array();
    int rc = syn_json_set_take(plan->out, "nodes", nodes, err);

    for (uint32_t rank = 0; plan->placeable && rank < plan->placement.count && rc == SYN_OK;
         rank++) {
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:i}", "node", plan->placement.slots[rank].node,
                           "rank", (int)rank);
        if (rc == SYN_OK)
            rc = syn_json_append_take(nodes, row, err);
    }
    return rc;
}

static bool
chosen(const struct plan *plan, const char *node)
{
    for (uint32_t i = 0; i < plan->placement.count; i++)
        if (syn_str_eq(plan->placement.slots[i].node, node))
            return true;
    return false;
}

/* Other nodes where some of it would fit as well. */
static int
plan_alternatives(struct plan *plan, struct syn_err *err)
{
    json_t *rows = json_array();
    int rc = syn_json_set_take(plan->out, "alternatives", rows, err);

    for (size_t i = 0; plan->placeable && i < syn_cluster_count(plan->cluster) && rc == SYN_OK;
         i++) {
        const struct syn_node_view *node = syn_cluster_at(plan->cluster, i);
        uint32_t workers = syn_place_fits(node, &plan->request);
        json_t *row = NULL;

        if (chosen(plan, node->id) || workers == 0 ||
            (plan->request.one_node && workers < plan->request.count) ||
            json_array_size(rows) == SYN_TRAINING_ALTERNATIVES_MAX)
            continue;
        rc = syn_json_pack(&row, err, "{s:s, s:i}", "node", node->id, "workers", (int)workers);
        if (rc == SYN_OK)
            rc = syn_json_append_take(rows, row, err);
    }
    return rc;
}

static int
plan_cost(struct plan *plan, struct syn_err *err)
{
    const struct syn_place_slot *first = &plan->placement.slots[0];
    const char *model = plan->placeable ? first->gpu_model : plan->spec.gpu_model;
    int64_t gpus = plan->placeable ? plan->placement.gpus : plan->spec.gpus;
    const struct syn_cost_ask ask = {plan->spec.amounts, gpus, model, plan->spec.workers,
                                     plan->spec.max_budget, plan->spec.spot};
    struct syn_cost cost = {0, INT64_MAX};
    int rc = syn_cost_of(plan->book, &ask, &cost, err);
    bool priced = rc == SYN_OK;

    if (rc >= 0)
        rc = syn_document_set_amount(plan->out, "budget", plan->spec.max_budget, err);
    if (rc == SYN_OK && priced)
        rc = syn_document_set_amount(plan->out, "rate_hour", cost.rate_hour, err);
    else if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "rate_hour", NULL, err);
    if (rc == SYN_OK && priced && cost.rate_hour <= SYN_AMOUNT_MAX / MONTH_HOURS)
        rc = syn_document_set_amount(plan->out, "rate_month", cost.rate_hour * MONTH_HOURS, err);
    else if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "rate_month", NULL, err);
    if (rc == SYN_OK && cost.lasts_ms != INT64_MAX)
        rc = syn_json_set_i64(plan->out, "budget_lasts_ms", cost.lasts_ms, err);
    else if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "budget_lasts_ms", NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(plan->out, "gpus", gpus, err);
    return rc < 0 ? rc : syn_json_set_str(plan->out, "gpu_model", model, err);
}

static int
plan_verdict(struct plan *plan, struct syn_err *err)
{
    const char *reason = "placeable";
    char message[256];
    enum syn_isolation isolation = plan->spec.isolation;
    int rc;

    if (plan->placeable) {
        isolation = plan->placement.slots[0].isolation;
        (void)snprintf(message, sizeof(message), "%u %s at once, the first on %s",
                       plan->placement.count,
                       syn_plural(plan->placement.count, "worker starts", "workers start"),
                       plan->placement.slots[0].node);
    } else if (plan->over != SYN_QUOTA_COUNT) {
        reason = "quota";
        syn_quota_say(plan->tenant->quota, &plan->held, &plan->ask, plan->over, message,
                      sizeof(message));
    } else {
        syn_place_why(plan->cluster, &plan->request, &reason, message, sizeof(message));
    }
    rc = syn_json_set_bool(plan->out, "placeable", plan->placeable, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "reason", reason, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "message", message, err);
    return rc < 0 ? rc
                  : syn_json_set_str(plan->out, "isolation", syn_isolation_name(isolation), err);
}

static int
plan_why(struct plan *plan, struct syn_err *err)
{
    SYN_JSON(why);
    SYN_JSON(fix);
    SYN_JSON(place_why);
    SYN_JSON(place_fix);
    int rc = SYN_OK;

    why = json_array();
    fix = json_array();
    if (!why || !fix)
        return SYN_FAIL(err, SYN_E_NOMEM, "planning: out of memory");
    if (plan->tenant->quota)
        rc = syn_quota_explain(plan->tenant->quota, &plan->held, &plan->ask, plan->tenant->account,
                               why, fix, err);
    if (rc == SYN_OK)
        rc = syn_place_explain(plan->cluster, &plan->request, &place_why, &place_fix, err);
    if (rc < 0)
        return rc;
    if (json_array_extend(why, place_why) < 0 || json_array_extend(fix, place_fix) < 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "planning: out of memory");
    rc = syn_json_set_take(plan->out, "why", SYN_TAKE(why), err);
    return rc < 0 ? rc : syn_json_set_take(plan->out, "fix", SYN_TAKE(fix), err);
}

/* Does the quota allow it? */
static int
plan_quota(struct plan *plan, struct syn_err *err)
{
    int rc;

    plan->over = SYN_QUOTA_COUNT;
    plan->ask = syn_training_holding(&plan->spec);
    if (!plan->tenant->quota)
        return SYN_OK;
    rc = syn_cluster_holding(plan->cluster, plan->tenant->account, &plan->held, err);
    if (rc == SYN_OK)
        plan->over = syn_quota_over(plan->tenant->quota, &plan->held, &plan->ask);
    return rc;
}

int
syn_training_plan(const json_t *spec, const struct syn_training_tenant *tenant,
                  struct syn_cluster *cluster, const struct syn_pricebook *book, json_t **ret,
                  struct syn_err *err)
{
    static int (*const parts[])(struct plan *, struct syn_err *) = {
        plan_verdict, plan_why, plan_nodes, plan_cost, plan_alternatives};
    struct plan plan = {.tenant = tenant, .cluster = cluster, .book = book};
    SYN_JSON(out);
    int rc;

    syn_training_spec_read(spec, &plan.spec);
    plan.request = syn_training_place_request(&plan.spec);
    rc = plan_quota(&plan, err);
    if (rc == SYN_OK)
        rc = syn_place(cluster, &plan.request, &plan.placement, err);
    if (rc < 0)
        return rc;
    plan.placeable = rc == SYN_OK && plan.over == SYN_QUOTA_COUNT;
    out = plan.out = json_object();
    if (!out)
        return SYN_FAIL(err, SYN_E_NOMEM, "planning: out of memory");
    rc = SYN_OK;
    for (size_t i = 0; i < SYN_LEN(parts) && rc == SYN_OK; i++)
        rc = parts[i](&plan, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(out);
    return SYN_OK;
}
