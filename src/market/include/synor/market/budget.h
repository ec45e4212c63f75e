/* Budgets: what a plan costs an hour, how long money lasts, and when to warn. Pure. */
#ifndef SYNOR_MARKET_BUDGET_H
#define SYNOR_MARKET_BUDGET_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/market/lease.h>
#include <synor/market/meter.h>
#include <synor/market/pricebook.h>

enum {
    SYN_BUDGET_50 = 1,
    SYN_BUDGET_80 = 2,
    SYN_BUDGET_100 = 4,
};

/** Thresholds that spending reached when it went from `before` to `after`: an OR of SYN_BUDGET_*.
 *  Each comes once, however the spending is cut into steps. 0 when nothing was reached. */
unsigned syn_budget_crossed(int64_t spent_before, int64_t spent_after, int64_t budget);

/** An exact cost: base units for each ms, num / den in lowest terms. */
struct syn_rate {
    syn_u128 num, den;
};

#define SYN_RATE_ZERO \
    {                 \
        0, 1          \
    }

/** Add the cost of `count` instances of `capacity` under `lease`, or by `book` where that is NULL
 * or silent; `book` may be NULL as well. NOTFOUND when neither has a price for one of its items;
 *  INVALID; LIMIT. On failure nothing changes. */
SYN_MUST int syn_rate_add(struct syn_rate *rate, const struct syn_capacity *capacity, int64_t count,
                          const struct syn_lease *lease, const struct syn_pricebook *book,
                          struct syn_err *err);
/** What `span_ms` >= 0 costs, rounded up: a plan never names less than will be billed. At most
 *  SYN_AMOUNT_MAX. */
int64_t syn_rate_cost(const struct syn_rate *rate, int64_t span_ms);
/** The longest time in ms whose cost `amount` covers; INT64_MAX when that is for ever. 0 when
 *  amount <= 0 and the rate is not zero. */
int64_t syn_rate_lasts_ms(const struct syn_rate *rate, int64_t amount);

/** What a person is shown before agreeing. */
struct syn_estimate {
    int64_t hour, month;     /* rounded up */
    int64_t budget_lasts_ms; /* INT64_MAX: for ever */
};

SYN_MUST int syn_budget_estimate(const struct syn_capacity *capacity, int64_t count, int64_t budget,
                                 const struct syn_pricebook *book,
                                 struct syn_estimate *ret_estimate, struct syn_err *err);

#endif
