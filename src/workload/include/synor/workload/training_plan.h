/* What a training job would do and cost, before anyone agrees to it. */
#ifndef SYNOR_WORKLOAD_TRAINING_PLAN_H
#define SYNOR_WORKLOAD_TRAINING_PLAN_H

#include <synor/base/json.h>
#include <synor/orchestration/cost.h>

/** Whose job it would be. Borrowed for the call. */
struct syn_training_units;
struct syn_training_tenant {
    const char *account;
    const struct syn_quota *quota;          /* NULL is no limit */
    const struct syn_training_units *units; /* NULL: none were looked for */
};

/**
 * Plan a spec that syn_training_spec_check() passed: {placeable, reason, message, why[], fix[],
 * nodes[{node,rank,region,gpu_model,rate_hour|null,rate_month|null}], gpus, gpu_model,
 * rate_hour|null, rate_month|null, budget, budget_lasts_ms|null, spot, max_price|null, isolation,
 * alternatives[{node,workers,region,rate_hour|null,rate_month|null}]}.
 *
 * Rates are what the chosen nodes ask, all in; those of a row are for one worker. What cannot be
 * placed is priced by the book. Alternatives come cheapest first, at most 16. rate_hour is null
 * when there is no price; budget_lasts_ms also when it lasts for ever. Owner: *ret is the caller's.
 * Returns 0; SYN_E_NOMEM, SYN_E_INVALID.
 */
SYN_MUST int syn_training_plan(const json_t *spec, const struct syn_training_tenant *tenant,
                               struct syn_cluster *cluster, const struct syn_pricebook *book,
                               json_t **ret, struct syn_err *err);

#endif
