#include <synor/orchestration/cost.h>

#include <synor/base/str.h>
#include <synor/market/budget.h>

#define HOUR_MS (INT64_C(3600) * 1000)

static int
capacity_make(const struct syn_amounts *amounts, int64_t gpus, const char *gpu_model,
              struct syn_capacity *ret, struct syn_err *err)
{
    *ret = (struct syn_capacity){
        .cpu_millicores = amounts->cpu_millicores,
        .memory_bytes = amounts->memory_bytes,
        .scratch_bytes = amounts->scratch_bytes,
        .gpus = gpus,
    };
    if (gpus > 0 && !syn_str_copy(ret->gpu_model, sizeof(ret->gpu_model), gpu_model))
        return SYN_FAIL(err, SYN_E_INVALID, "GPU model \"%s\" is too long", gpu_model);
    return SYN_OK;
}

int
syn_cost_of(const struct syn_pricebook *book, const struct syn_cost_ask *ask,
            struct syn_cost *ret_cost, struct syn_err *err)
{
    struct syn_capacity capacity;
    struct syn_estimate estimate;
    int rc;

    if (ask->gpus > 0 && !*ask->gpu_model)
        return SYN_COST_UNPRICED; /* any model will do: the price is known once it is placed */
    rc = capacity_make(&ask->amounts, ask->gpus, ask->gpu_model, &capacity, err);
    if (rc == SYN_OK)
        rc = syn_budget_estimate(&capacity, ask->count, ask->budget, book, &estimate, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_COST_UNPRICED;
    if (rc < 0)
        return rc;
    *ret_cost = (struct syn_cost){estimate.hour, estimate.budget_lasts_ms};
    return SYN_OK;
}

int
syn_cost_live(const struct syn_pricebook *book, const json_t *instances, int64_t *ret_rate_hour,
              struct syn_err *err)
{
    struct syn_rate rate = SYN_RATE_ZERO;
    const json_t *doc;
    size_t i;

    json_array_foreach (instances, i, doc) {
        struct syn_instance_view view;
        struct syn_capacity capacity;
        int rc = syn_instance_view_read(doc, &view, err);

        if (rc == SYN_OK)
            rc = capacity_make(&view.amounts, view.gpus, view.gpu_model, &capacity, err);
        if (rc == SYN_OK && view.holds)
            rc = syn_rate_add(&rate, &capacity, 1, book, err);
        if (rc < 0 && rc != SYN_E_NOTFOUND)
            return rc;
    }
    *ret_rate_hour = syn_rate_cost(&rate, HOUR_MS);
    return SYN_OK;
}
