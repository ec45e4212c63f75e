/* What instances cost, from the price book, in the words of placement. */
#ifndef SYNOR_ORCHESTRATION_COST_H
#define SYNOR_ORCHESTRATION_COST_H

#include <synor/orchestration/place.h>

/** Market's; whoever plans hands it through. */
struct syn_pricebook;

/** The book has no price for something asked for: *ret_cost is not set. */
#define SYN_COST_UNPRICED 1

struct syn_cost {
    int64_t rate_hour; /* base units, rounded up */
    int64_t lasts_ms;  /* how long the budget covers it; INT64_MAX for ever */
};

/**
 * Price `count` instances of so much, and say how long `budget` lasts.
 *
 * `gpu_model` is "" without GPUs. Returns 0; SYN_COST_UNPRICED; SYN_E_INVALID, SYN_E_LIMIT.
 */
SYN_MUST int syn_cost_of(const struct syn_pricebook *book, const struct syn_amounts *amounts,
                         int64_t gpus, const char *gpu_model, int64_t count, int64_t budget,
                         struct syn_cost *ret_cost, struct syn_err *err);

/** Sum up, an hour, what the live ones of an array of instance documents cost. What has no price
 * counts nothing. Returns 0; SYN_E_INVALID, SYN_E_LIMIT. */
SYN_MUST int syn_cost_live(const struct syn_pricebook *book, const json_t *instances,
                           int64_t *ret_rate_hour, struct syn_err *err);

#endif
