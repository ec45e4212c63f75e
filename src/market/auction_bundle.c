/* Bundles, after Lehmann, O'Callaghan and Shoham: rank by value over the square root of size, take
 * what still fits, charge critical values.
 *
 * Ranks are compared without a root or a fraction: v / sqrt(s) > w / sqrt(t) as v^2 * t > w^2 * s,
 * in 192 bits. A winner's critical value is found by going through the others as if it were not
 * there: up to the first of them that, once taken, leaves too little for it. It must come before
 * that one, and the least value that does is found by halving. */
#include <synor/market/auction.h>

#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/units.h>

struct ranked {
    uint64_t value;
    uint64_t size;
    int64_t least; /* by the reserves */
    uint32_t index;
};

struct sale {
    const struct syn_bundle_good *goods;
    const struct syn_bundle_bid *bids;
    struct ranked *ranked; /* best first; those below their reserve are left out */
    size_t good_count, count;
};

/* v^2 * t as high and low part */
static void
square_times(uint64_t v, uint64_t t, uint64_t *high, syn_u128 *low)
{
    syn_u128 square = (syn_u128)v * v;
    syn_u128 below = (syn_u128)(uint64_t)square * t, above = (syn_u128)(uint64_t)(square >> 64) * t;

    above += below >> 64;
    *high = (uint64_t)(above >> 64);
    *low = above << 64 | (uint64_t)below;
}

/* Does a come before b? */
static bool
before(const struct ranked *a, const struct ranked *b)
{
    uint64_t a_high, b_high;
    syn_u128 a_low, b_low;

    square_times(a->value, b->size, &a_high, &a_low);
    square_times(b->value, a->size, &b_high, &b_low);
    if (a_high != b_high)
        return a_high > b_high;
    if (a_low != b_low)
        return a_low > b_low;
    return a->index < b->index;
}

static int
by_rank(const void *left, const void *right)
{
    return before(left, right) ? -1 : 1;
}

/* ---- checks ---- */

static int
check_goods(const struct syn_bundle_good *goods, size_t count, struct syn_err *err)
{
    if (count == 0 || count > SYN_BUNDLE_GOODS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a bundle auction has 1 to %d goods, not %zu",
                        SYN_BUNDLE_GOODS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        if (goods[i].supply < 0 || goods[i].supply > SYN_ORDER_QTY_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "good %zu: supply: %lld is out of range", i,
                            (long long)goods[i].supply);
        if (goods[i].reserve < 0 || goods[i].reserve > SYN_BUNDLE_WEIGHT_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "good %zu: reserve: %lld is out of range", i,
                            (long long)goods[i].reserve);
        if (goods[i].weight < 1 || goods[i].weight > SYN_BUNDLE_WEIGHT_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "good %zu: weight: %lld is out of range", i,
                            (long long)goods[i].weight);
    }
    return SYN_OK;
}

/* Also sets what a rank needs. Sums stay below 64 * 2^32 * 10^6 < 2^58. */
static int
check_bid(const struct sale *sale, size_t index, struct ranked *ret_ranked, struct syn_err *err)
{
    const struct syn_bundle_bid *bid = &sale->bids[index];
    struct ranked ranked = {.index = (uint32_t)index};

    if (bid->value < 0 || bid->value > SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "bid %zu: value: %lld is out of range", index,
                        (long long)bid->value);
    for (size_t i = 0; i < sale->good_count; i++) {
        int64_t units = bid->demand[i];

        if (units < 0 || units > SYN_BUNDLE_QTY_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "bid %zu: demand of good %zu: %lld is out of range",
                            index, i, (long long)units);
        ranked.size += (uint64_t)(units * sale->goods[i].weight);
        ranked.least += units * sale->goods[i].reserve;
    }
    if (ranked.size == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "bid %zu: demand: of nothing", index);
    ranked.value = (uint64_t)bid->value;
    *ret_ranked = ranked;
    return SYN_OK;
}

/* ---- selling ---- */

static bool
fits(const struct sale *sale, uint32_t index, const int64_t *left)
{
    for (size_t i = 0; i < sale->good_count; i++) {
        if (sale->bids[index].demand[i] > left[i])
            return false;
    }
    return true;
}

static void
take(const struct sale *sale, uint32_t index, int64_t *left)
{
    for (size_t i = 0; i < sale->good_count; i++)
        left[i] -= sale->bids[index].demand[i];
}

static void
fill_supply(const struct sale *sale, int64_t *left)
{
    for (size_t i = 0; i < sale->good_count; i++)
        left[i] = sale->goods[i].supply;
}

/* The first of the others that shuts `mine` out if it comes before it, or NULL. */
static const struct ranked *
rival_of(const struct sale *sale, const struct ranked *mine)
{
    int64_t left[SYN_BUNDLE_GOODS_MAX];

    fill_supply(sale, left);
    for (size_t i = 0; i < sale->count; i++) {
        const struct ranked *other = &sale->ranked[i];

        if (other == mine || !fits(sale, other->index, left))
            continue;
        take(sale, other->index, left);
        if (!fits(sale, mine->index, left))
            return other;
    }
    return NULL;
}

/* The least value with which `mine`, which won, still wins. */
static int64_t
critical(const struct sale *sale, const struct ranked *mine)
{
    const struct ranked *rival = rival_of(sale, mine);
    struct ranked probe = *mine;
    uint64_t low = (uint64_t)mine->least, high = mine->value; /* high wins */

    while (rival != NULL && low < high) {
        probe.value = low + (high - low) / 2;
        if (before(&probe, rival))
            high = probe.value;
        else
            low = probe.value + 1;
    }
    return (int64_t)low;
}

int
syn_bundle_sell(const struct syn_bundle_good *goods, size_t good_count,
                const struct syn_bundle_bid *bids, size_t count, struct syn_bundle_award *awards,
                struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct ranked *ranked = NULL;
    struct sale sale = {.goods = goods, .bids = bids, .good_count = good_count};
    int64_t left[SYN_BUNDLE_GOODS_MAX];
    int rc = check_goods(goods, good_count, err);

    if (rc == 0 && count > SYN_BUNDLE_BIDS_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "a bundle auction takes %d bids, not %zu",
                      SYN_BUNDLE_BIDS_MAX, count);
    if (rc < 0)
        return rc;
    ranked = syn_calloc(count, sizeof(*ranked));
    if (ranked == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %zu bids", count);
    for (size_t i = 0; i < count; i++) {
        rc = check_bid(&sale, i, &ranked[sale.count], err);
        if (rc < 0)
            return rc;
        if (bids[i].value >= ranked[sale.count].least)
            sale.count++;
    }
    sale.ranked = ranked;
    qsort(ranked, sale.count, sizeof(*ranked), by_rank);
    memset(awards, 0, count * sizeof(*awards));
    fill_supply(&sale, left);
    for (size_t i = 0; i < sale.count; i++) {
        uint32_t index = ranked[i].index;

        if (!fits(&sale, index, left))
            continue;
        take(&sale, index, left);
        awards[index] = (struct syn_bundle_award){true, critical(&sale, &ranked[i])};
    }
    return SYN_OK;
}
