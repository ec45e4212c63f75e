#include <synor/market/budget.h>

#include <synor/base/units.h>

#include "exact_priv.h"

static const struct {
    unsigned event;
    int percent;
} thresholds[] = {{SYN_BUDGET_50, 50}, {SYN_BUDGET_80, 80}, {SYN_BUDGET_100, 100}};

unsigned
syn_budget_crossed(int64_t spent_before, int64_t spent_after, int64_t budget)
{
    unsigned events = 0;

    for (size_t i = 0; i < SYN_LEN(thresholds); i++) {
        syn_i128 mark = (syn_i128)budget * thresholds[i].percent;

        if ((syn_i128)spent_before * 100 < mark && (syn_i128)spent_after * 100 >= mark)
            events |= thresholds[i].event;
    }
    return events;
}

/* a + num/den, in lowest terms. */
static bool
add_fraction(struct syn_rate *rate, syn_u128 num, syn_u128 den)
{
    syn_u128 common, left, right, shared;

    if (!syn_exact_lcm(rate->den, den, &common))
        return false;
    if (!syn_exact_mul(rate->num, common / rate->den, &left) ||
        !syn_exact_mul(num, common / den, &right) || !syn_exact_add(left, right, &left))
        return false;
    shared = syn_exact_gcd(left, common);
    rate->num = left / shared;
    rate->den = common / shared;
    return true;
}

int
syn_rate_add(struct syn_rate *rate, const struct syn_capacity *capacity, int64_t count,
             const struct syn_lease *lease, const struct syn_pricebook *book, struct syn_err *err)
{
    struct syn_usage_sum usage = {0};
    struct syn_rate sum = *rate;
    int rc;

    if (count < 1 || count > SYN_CAPACITY_CPU_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a plan of %lld instances cannot be priced",
                        (long long)count);
    rc = syn_usage_add_capacity(&usage, capacity, 1, err); /* one ms */
    for (size_t i = 0; rc == 0 && i < usage.count; i++) {
        struct syn_lease_price price;
        syn_u128 cost;

        rc = syn_lease_get(lease, book, usage.items[i].item, usage.items[i].measure, &price, err);
        if (rc != 0)
            break;
        if (!syn_exact_mul(usage.items[i].quantity, (syn_u128)count, &cost) ||
            !syn_exact_mul(cost, (syn_u128)price.price, &cost) ||
            !add_fraction(&sum, cost, (syn_u128)price.unit->per))
            rc = SYN_FAIL(err, SYN_E_LIMIT, "the cost of %s passes 128 bits", usage.items[i].item);
    }
    if (rc == 0)
        *rate = sum;
    return rc;
}

int64_t
syn_rate_cost(const struct syn_rate *rate, int64_t span_ms)
{
    syn_u128 cost;

    assert(span_ms >= 0 && rate->den > 0);
    cost = syn_exact_muldiv(rate->num, (syn_u128)span_ms, rate->den);
    if (cost >= (syn_u128)SYN_AMOUNT_MAX)
        return SYN_AMOUNT_MAX;
    /* Exact when the span takes away the denominator: num and den have no common factor. */
    if (rate->num != 0 && (syn_u128)span_ms % rate->den != 0)
        cost++;
    return (int64_t)cost;
}

int64_t
syn_rate_lasts_ms(const struct syn_rate *rate, int64_t amount)
{
    syn_u128 lasts;

    assert(rate->den > 0);
    if (rate->num == 0)
        return INT64_MAX;
    if (amount <= 0)
        return 0;
    lasts = syn_exact_muldiv((syn_u128)amount, rate->den, rate->num);
    return lasts > (syn_u128)INT64_MAX ? INT64_MAX : (int64_t)lasts;
}

int
syn_budget_estimate(const struct syn_capacity *capacity, int64_t count, int64_t budget,
                    const struct syn_pricebook *book, struct syn_estimate *ret_estimate,
                    struct syn_err *err)
{
    struct syn_rate rate = SYN_RATE_ZERO;
    int rc = syn_rate_add(&rate, capacity, count, NULL, book, err);

    if (rc != 0)
        return rc;
    ret_estimate->hour = syn_rate_cost(&rate, SYN_HOUR_MS);
    ret_estimate->month = syn_rate_cost(&rate, SYN_MONTH_MS);
    ret_estimate->budget_lasts_ms = syn_rate_lasts_ms(&rate, budget);
    return SYN_OK;
}
