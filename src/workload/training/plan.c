#include <synor/workload/training_plan.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_spec.h>

#include "../work_priv.h"

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
    bool short_units;        /* the account holds fewer than it takes */
    bool placeable;
    json_t *out;
};

/* What a member costs in its place. */
static int
slot_cost(const struct plan *plan, const struct syn_place_slot *slot, struct syn_cost *ret_cost,
          struct syn_err *err)
{
    const struct syn_node_view *node = syn_cluster_find(plan->cluster, slot->node);
    const struct syn_cost_ask ask = {.amounts = plan->spec.amounts,
                                     .gpus = plan->placement.gpus,
                                     .gpu_permille = slot->gpu_permille,
                                     .gpu_model = slot->gpu_model,
                                     .count = 1,
                                     .spot = plan->spec.spot,
                                     .reserved = plan->request.good != NULL};

    return node ? syn_cost_on(node, plan->book, &ask, ret_cost, err) : SYN_COST_UNPRICED;
}

static int
plan_nodes(struct plan *plan, struct syn_err *err)
{
    json_t *nodes = json_array();
    int rc = syn_json_set_take(plan->out, "nodes", nodes, err);

    for (uint32_t rank = 0; plan->placeable && rank < plan->placement.count && rc == SYN_OK;
         rank++) {
        const struct syn_place_slot *slot = &plan->placement.slots[rank];
        const struct syn_node_view *node = syn_cluster_find(plan->cluster, slot->node);
        struct syn_cost cost = {0, INT64_MAX};
        json_t *row = NULL;
        bool priced;

        rc = slot_cost(plan, slot, &cost, err);
        priced = rc == SYN_OK;
        if (rc >= 0)
            rc = syn_json_pack(&row, err, "{s:s, s:i, s:s, s:s}", "node", slot->node, "rank",
                               (int)rank, "region", node ? node->region : "", "gpu_model",
                               slot->gpu_model);
        if (rc == SYN_OK)
            rc = syn_json_append_take(nodes, row, err);
        if (rc == SYN_OK)
            rc = work_set_rates(row, priced, cost.rate_hour, err);
    }
    return rc;
}

static int
plan_alternatives(struct plan *plan, struct syn_err *err)
{
    const struct work_placed placed = {plan->cluster,
                                       plan->book,
                                       &plan->request,
                                       &plan->placement,
                                       plan->placeable ? plan->placement.count : 0,
                                       "workers"};

    return work_alternatives(&placed, plan->out, err);
}

/* By what the nodes ask where it would run there; else by the price book. */
static int
whole_cost(const struct plan *plan, struct syn_cost *ret_cost, struct syn_err *err)
{
    const struct syn_cost_ask ask = {
        .amounts = plan->spec.amounts,
        .gpus = plan->spec.gpus,
        .gpu_permille = plan->spec.card.share,
        /* What a partition is of its card, only its node says. */
        .gpu_model = *plan->spec.card.mig && !plan->placeable ? "" : plan->spec.gpu_model,
        .count = plan->spec.workers,
        .budget = plan->spec.max_budget,
        .spot = plan->spec.spot,
        .reserved = plan->request.good != NULL};

    return plan->placeable
               ? syn_cost_placed(plan->cluster, plan->book, &plan->placement, &ask, ret_cost, err)
               : syn_cost_of(plan->book, &ask, ret_cost, err);
}

static int
plan_cost(struct plan *plan, struct syn_err *err)
{
    const char *model = plan->placeable ? plan->placement.slots[0].gpu_model : plan->spec.gpu_model;
    int64_t gpus = plan->placeable ? plan->placement.gpus : plan->spec.gpus;
    struct syn_cost cost = {0, INT64_MAX};
    int rc = whole_cost(plan, &cost, err);
    bool priced = rc == SYN_OK;

    if (rc >= 0)
        rc = syn_document_set_amount(plan->out, "budget", plan->spec.max_budget, err);
    if (rc == SYN_OK)
        rc = work_set_rates(plan->out, priced, cost.rate_hour, err);
    if (rc == SYN_OK && cost.lasts_ms != INT64_MAX)
        rc = syn_json_set_i64(plan->out, "budget_lasts_ms", cost.lasts_ms, err);
    else if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "budget_lasts_ms", NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(plan->out, "spot", plan->spec.spot, err);
    if (rc == SYN_OK && plan->spec.max_price > 0)
        rc = syn_document_set_amount(plan->out, "max_price", plan->spec.max_price, err);
    else if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "max_price", NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(plan->out, "gpus", gpus, err);
    if (rc == SYN_OK && plan->placeable && plan->placement.slots[0].gpu_permille > 0)
        rc =
            syn_json_set_i64(plan->out, "gpu_permille", plan->placement.slots[0].gpu_permille, err);
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
    } else if (plan->short_units) {
        reason = "no-units";
        (void)snprintf(message, sizeof(message), "the account holds too few units of %.150s",
                       plan->spec.reserved);
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
        rc = syn_training_units_explain(&plan->spec, plan->tenant->units, why, fix, err);
    if (rc == SYN_OK)
        rc = syn_place_explain(plan->cluster, &plan->request, &place_why, &place_fix, err);
    if (rc < 0)
        return rc;
    if (json_array_extend(why, place_why) < 0 || json_array_extend(fix, place_fix) < 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "planning: out of memory");
    rc = syn_json_set_take(plan->out, "why", SYN_TAKE(why), err);
    return rc < 0 ? rc : syn_json_set_take(plan->out, "fix", SYN_TAKE(fix), err);
}

/* What the choice goes by that nobody knows. */
static int
plan_assumed(struct plan *plan, struct syn_err *err)
{
    json_t *notes = NULL;
    int rc = syn_place_assumed(plan->cluster, &plan->request, &notes, err);

    return rc < 0 ? rc : syn_json_set_take(plan->out, "assumed", notes, err);
}

/* Does the quota allow it? */
static int
plan_quota(struct plan *plan, struct syn_err *err)
{
    int rc;

    plan->over = SYN_QUOTA_COUNT;
    plan->ask = syn_training_holding_on(&plan->spec, plan->cluster);
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
        plan_verdict, plan_why, plan_nodes, plan_cost, plan_alternatives, plan_assumed};
    struct plan plan = {.tenant = tenant, .cluster = cluster, .book = book};
    SYN_JSON(out);
    int rc;

    syn_training_spec_read(spec, &plan.spec);
    plan.request = syn_training_place_request(&plan.spec, tenant->account);
    syn_training_take_units(&plan.spec, tenant->units, &plan.request);
    rc = plan_quota(&plan, err);
    if (rc == SYN_OK)
        rc = syn_place(cluster, &plan.request, &plan.placement, err);
    if (rc < 0)
        return rc;
    plan.short_units = *plan.spec.reserved &&
                       (!tenant->units || tenant->units->have < syn_place_units(&plan.request));
    plan.placeable = rc == SYN_OK && plan.over == SYN_QUOTA_COUNT && !plan.short_units;
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
