/* The call auction, without sorting: a few walks over the orders as they lie.
 *
 *     bid for    =====================___________      what is bid for falls just above a bid,
 *     offered    ____________====================      what is offered rises at an ask;
 *                |   |       |   |   |                 between two of these points nothing changes,
 *                                                      so every price there is as good
 *
 * Bid for less offered, the excess, only falls as the price rises: by an ask's quantity at its
 * limit, by a bid's just above its own. So where it drops below zero is a *weighted quantile*: the
 * first of these points up to which their quantities sum up to more than all bids. Of the two
 * ranges that meet there one is the best: away from it the volume shrinks or stays and the
 * imbalance only grows.
 *
 * A weighted quantile is found like a sort that throws away all but one bucket: sum up by the
 * highest digit, see in which bucket it lies, go on with what is in there. The same finds the limit
 * at which the long side is cut off; what stands exactly there trades by arrival, which is how it
 * lies. */
#include <synor/market/auction.h>

#include <string.h>

#include <synor/base/mem.h>

#define DIGIT_BITS 11
#define DIGITS     (1U << DIGIT_BITS)
#define NEVER      UINT64_MAX

/* What the keys of a quantile are. */
enum keys {
    KEYS_DROPS, /* the price at which the excess falls */
    KEYS_BUYS,  /* how bad a bid is; of the other side NEVER */
    KEYS_SELLS,
};

struct row {
    uint64_t key;
    int64_t qty;
};

struct call {
    const struct syn_call_order *orders;
    size_t count;
    int64_t sums[2];  /* of the quantities of each side */
    int64_t highest;  /* limit */
    struct row *rows; /* room for all orders */
};

static inline uint64_t
key_of(const struct call *call, const struct syn_call_order *order, enum keys keys)
{
    bool buy = order->side == SYN_BUY;

    if (keys == KEYS_DROPS) {
        if (order->market)
            return buy ? NEVER : 0;
        return (uint64_t)order->price + buy;
    }
    if (buy != (keys == KEYS_BUYS))
        return NEVER;
    if (order->market)
        return 0;
    return (uint64_t)(buy ? call->highest + 1 - order->price : order->price);
}

/* The first bucket with which the sums pass `*limit`, which then counts what is left of it. DIGITS
 * if there is none. */
static unsigned
find_bucket(const uint64_t *sums, uint64_t *limit)
{
    unsigned at = 0;

    while (at < DIGITS && sums[at] <= *limit)
        *limit -= sums[at++];
    return at;
}

/* Go on with `count` rows, which agree in all bits above `shift`, until they agree in all. */
static uint64_t
narrow(struct row *rows, size_t count, unsigned shift, uint64_t *limit)
{
    while (shift > 0) {
        unsigned next = shift > DIGIT_BITS ? shift - DIGIT_BITS : 0, bucket;
        uint64_t mask = (UINT64_C(1) << (shift - next)) - 1, sums[DIGITS] = {0};
        size_t kept = 0;

        for (size_t i = 0; i < count; i++)
            sums[rows[i].key >> next & mask] += (uint64_t)rows[i].qty;
        bucket = find_bucket(sums, limit);
        assert(bucket < DIGITS);
        for (size_t i = 0; i < count; i++) {
            if ((rows[i].key >> next & mask) == bucket)
                rows[kept++] = rows[i];
        }
        count = kept;
        shift = next;
    }
    return rows[0].key;
}

/* The least key such that the quantities up to it sum up to more than `*limit`, or NEVER. `*limit`
 * then counts what is left of it at that key. Inlined, so that each kind of key has its own loops.
 */
static inline __attribute__((always_inline)) uint64_t
quantile(const struct call *call, enum keys keys, uint64_t *limit)
{
    uint64_t sums[DIGITS] = {0};
    unsigned shift = 0, bucket;
    size_t kept = 0;

    while (((uint64_t)call->highest + 1) >> shift >= DIGITS)
        shift++;
    for (size_t i = 0; i < call->count; i++) {
        uint64_t key = key_of(call, &call->orders[i], keys);

        if (key != NEVER)
            sums[key >> shift] += (uint64_t)call->orders[i].qty;
    }
    bucket = find_bucket(sums, limit);
    if (bucket == DIGITS)
        return NEVER;
    for (size_t i = 0; i < call->count; i++) {
        uint64_t key = key_of(call, &call->orders[i], keys);

        if (key != NEVER && key >> shift == bucket)
            call->rows[kept++] = (struct row){key, call->orders[i].qty};
    }
    return narrow(call->rows, kept, shift, limit);
}

static int
check_call(struct call *call, int64_t reference, struct syn_err *err)
{
    if (call->count > SYN_CALL_ORDERS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a call takes %u orders, not %zu", SYN_CALL_ORDERS_MAX,
                        call->count);
    if (reference < 0 || reference > SYN_PRICE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "reference: %lld is no price", (long long)reference);
    for (size_t i = 0; i < call->count; i++) {
        const struct syn_call_order *order = &call->orders[i];

        if (order->side > SYN_SELL)
            return SYN_FAIL(err, SYN_E_INVALID, "order %zu: side: %d is none", i, order->side);
        if (order->qty < 1 || order->qty > SYN_ORDER_QTY_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "order %zu: qty: expected 1..%lld, got %lld", i,
                            (long long)SYN_ORDER_QTY_MAX, (long long)order->qty);
        if (!order->market && (order->price < 1 || order->price > SYN_PRICE_MAX))
            return SYN_FAIL(err, SYN_E_INVALID, "order %zu: price: expected 1..%lld, got %lld", i,
                            (long long)SYN_PRICE_MAX, (long long)order->price);
        if (call->sums[order->side] > SYN_BOOK_RESTING_MAX - order->qty)
            return SYN_FAIL(err, SYN_E_LIMIT, "order %zu: qty: the orders sum up to too much", i);
        call->sums[order->side] += order->qty;
        if (!order->market && order->price > call->highest)
            call->highest = order->price;
    }
    return SYN_OK;
}

/* ---- the price ---- */

static int64_t
magnitude(int64_t value)
{
    return value < 0 ? -value : value;
}

/* A range of prices from `low` on, as good as each other. */
struct range {
    int64_t low, high;
    int64_t bid, offered;
};

/* The price of a range next to the reference. */
static int64_t
nearest(const struct range *range, int64_t reference)
{
    if (reference < range->low)
        return range->low;
    return reference > range->high ? range->high : reference;
}

/* Take `range`'s price if it is better than the best so far. Ranges come by rising price. */
static void
consider(const struct range *range, int64_t reference, struct syn_call_result *best)
{
    int64_t volume = SYN_MIN(range->bid, range->offered);
    int64_t imbalance = range->bid - range->offered, price = nearest(range, reference);

    if (volume == 0 || volume < best->volume)
        return;
    if (volume == best->volume) {
        int64_t now = magnitude(imbalance), then = magnitude(best->imbalance);

        if (now > then)
            return;
        if (now == then && magnitude(price - reference) >= magnitude(best->price - reference))
            return;
    }
    *best = (struct syn_call_result){price, volume, imbalance};
}

/* The ranges that end and begin at `drop`, where the excess falls below zero. */
static void
find_ranges(const struct call *call, uint64_t drop, struct range ranges[2])
{
    const int64_t low = drop > SYN_PRICE_MAX ? SYN_PRICE_MAX : (int64_t)drop - 1, high = low + 1;

    ranges[0] = (struct range){.low = 1, .high = low};
    ranges[1] = (struct range){.low = high, .high = SYN_PRICE_MAX};
    for (size_t i = 0; i < call->count; i++) {
        const struct syn_call_order *order = &call->orders[i];
        uint64_t key = key_of(call, order, KEYS_DROPS);
        int64_t over_low = key > (uint64_t)low ? order->qty : 0;
        int64_t over_high = key > (uint64_t)high ? order->qty : 0;

        if (over_low == 0 && (int64_t)key > ranges[0].low)
            ranges[0].low = (int64_t)key;
        if (over_high > 0 && key != NEVER && (int64_t)(key - 1) < ranges[1].high)
            ranges[1].high = (int64_t)(key - 1);
        if (order->side == SYN_BUY) {
            ranges[0].bid += over_low;
            ranges[1].bid += over_high;
        } else {
            ranges[0].offered += order->qty - over_low;
            ranges[1].offered += order->qty - over_high;
        }
    }
}

static struct syn_call_result
find_price(const struct call *call, int64_t reference)
{
    uint64_t bids = (uint64_t)call->sums[SYN_BUY];
    uint64_t drop = quantile(call, KEYS_DROPS, &bids);
    struct syn_call_result best = {0};
    struct range ranges[2];

    find_ranges(call, drop > 0 ? drop : 1, ranges); /* 1 is the lowest price */
    for (size_t i = 0; i < 2; i++) {
        if (ranges[i].low <= ranges[i].high)
            consider(&ranges[i], reference, &best);
    }
    return best;
}

/* ---- who trades ---- */

/* `volume` > 0 goes to the best limits of a side, and by arrival to those that stand at the last.
 */
static inline __attribute__((always_inline)) void
fill(const struct call *call, enum keys keys, int64_t volume, int64_t *traded)
{
    uint64_t limit = (uint64_t)volume - 1;
    uint64_t last = quantile(call, keys, &limit);
    int64_t left = (int64_t)limit + 1; /* for those at the last */

    assert(last != NEVER);
    for (size_t i = 0; i < call->count; i++) {
        uint64_t key = key_of(call, &call->orders[i], keys);

        if (key < last)
            traded[i] = call->orders[i].qty;
        if (key != last)
            continue;
        traded[i] = SYN_MIN(call->orders[i].qty, left);
        left -= traded[i];
    }
    assert(left == 0);
}

int
syn_call_clear(const struct syn_call_order *orders, size_t count, int64_t reference,
               int64_t *traded, struct syn_call_result *ret_result, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct row *rows = NULL;
    struct call call = {.orders = orders, .count = count};
    struct syn_call_result result;
    int rc = check_call(&call, reference, err);

    if (rc < 0)
        return rc;
    call.rows = rows = syn_alloc(count * sizeof(*rows));
    if (rows == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a call of %zu orders", count);
    result = find_price(&call, reference);
    if (traded != NULL && count > 0)
        memset(traded, 0, count * sizeof(*traded));
    if (traded != NULL && result.volume > 0) {
        fill(&call, KEYS_BUYS, result.volume, traded);
        fill(&call, KEYS_SELLS, result.volume, traded);
    }
    *ret_result = result;
    return SYN_OK;
}
