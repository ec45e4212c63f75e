/* What instances cost, from the price book, in the words of placement. */
#ifndef SYNOR_ORCHESTRATION_COST_H
#define SYNOR_ORCHESTRATION_COST_H

#include <synor/orchestration/place.h>

/** Market's; whoever plans hands it through. */
struct syn_pricebook;

/** The book has no price for something asked for: *ret_cost is not set. */
#define SYN_COST_UNPRICED 1

/** So many instances, each of so much. */
struct syn_cost_ask {
    struct syn_amounts amounts;
    int64_t gpus;
    const char *gpu_model; /* "" without GPUs, or when any will do */
    int64_t count;
    int64_t budget; /* base units */
};

struct syn_cost {
    int64_t rate_hour; /* base units, rounded up */
    int64_t lasts_ms;  /* how long the budget covers it; INT64_MAX for ever */
};

/** Price what is asked for. Returns 0; SYN_COST_UNPRICED; SYN_E_INVALID, SYN_E_LIMIT. */
SYN_MUST int syn_cost_of(const struct syn_pricebook *book, const struct syn_cost_ask *ask,
                         struct syn_cost *ret_cost, struct syn_err *err);

/** Sum up, an hour, what the live ones of an array of instance documents cost. What has no price
 * counts nothing. Returns 0; SYN_E_INVALID, SYN_E_LIMIT. */
SYN_MUST int syn_cost_live(const struct syn_pricebook *book, const json_t *instances,
                           int64_t *ret_rate_hour, struct syn_err *err);

#endif
