/* The reverse auction. Scores are compared as integers: all that has a fraction, the saving below
 * the ceiling, is multiplied by the ceiling. */
#include <synor/market/auction.h>

#include <stdlib.h>

#include <synor/base/mem.h>

struct ranked {
    syn_i128 score; /* times the ceiling */
    int64_t price;
    int32_t reputation;
    uint32_t index;
};

static int
check_score(int32_t value, size_t bid, const char *what, struct syn_err *err)
{
    if (value < 0 || value > SYN_TENDER_SCORE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "bid %zu: %s: expected 0..%d, got %d", bid, what,
                        SYN_TENDER_SCORE_MAX, value);
    return SYN_OK;
}

static int
check_bid(const struct syn_tender_bid *bid, size_t index, struct syn_err *err)
{
    int rc = check_score(bid->reputation, index, "reputation", err);

    for (size_t i = 0; i < SYN_TENDER_ATTRIBUTES && rc == 0; i++)
        rc = check_score(bid->attributes[i], index, "an attribute", err);
    if (rc == 0 && (bid->price < 1 || bid->price > SYN_PRICE_MAX))
        rc = SYN_FAIL(err, SYN_E_INVALID, "bid %zu: price: expected 1..%lld, got %lld", index,
                      (long long)SYN_PRICE_MAX, (long long)bid->price);
    if (rc == 0 && (bid->qty < 1 || bid->qty > SYN_ORDER_QTY_MAX))
        rc = SYN_FAIL(err, SYN_E_INVALID, "bid %zu: qty: expected 1..%lld, got %lld", index,
                      (long long)SYN_ORDER_QTY_MAX, (long long)bid->qty);
    return rc;
}

static int
check_tender(const struct syn_tender *tender, size_t count, struct syn_err *err)
{
    bool weights = tender->price_weight >= 0 && tender->price_weight <= SYN_TENDER_SCORE_MAX &&
                   tender->reputation_weight >= 0 &&
                   tender->reputation_weight <= SYN_TENDER_SCORE_MAX;

    for (size_t i = 0; i < SYN_TENDER_ATTRIBUTES; i++)
        weights = weights && tender->weights[i] >= 0 && tender->weights[i] <= SYN_TENDER_SCORE_MAX;
    if (!weights)
        return SYN_FAIL(err, SYN_E_INVALID, "tender: a weight is not of 0..%d",
                        SYN_TENDER_SCORE_MAX);
    if (tender->qty < 1 || tender->qty > SYN_ORDER_QTY_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "tender: qty: expected 1..%lld, got %lld",
                        (long long)SYN_ORDER_QTY_MAX, (long long)tender->qty);
    if (tender->ceiling < 1 || tender->ceiling > SYN_PRICE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "tender: ceiling: expected 1..%lld, got %lld",
                        (long long)SYN_PRICE_MAX, (long long)tender->ceiling);
    if (count > SYN_TENDER_BIDS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a tender takes %d bids, not %zu", SYN_TENDER_BIDS_MAX,
                        count);
    return SYN_OK;
}

/* OUTBID while nothing speaks against it. */
static enum syn_tender_verdict
judge(const struct syn_tender *tender, const struct syn_tender_bid *bid)
{
    if (bid->price > tender->ceiling)
        return SYN_TENDER_DEAR;
    if (bid->reputation < tender->least_reputation)
        return SYN_TENDER_UNFIT;
    for (size_t i = 0; i < SYN_TENDER_ATTRIBUTES; i++) {
        if (bid->attributes[i] < tender->least[i])
            return SYN_TENDER_UNFIT;
    }
    return tender->whole && bid->qty < tender->qty ? SYN_TENDER_TOO_FEW : SYN_TENDER_OUTBID;
}

static syn_i128
score_of(const struct syn_tender *tender, const struct syn_tender_bid *bid)
{
    int64_t merit = (int64_t)tender->reputation_weight * bid->reputation;

    static_assert((SYN_TENDER_ATTRIBUTES + 2) * (int64_t)SYN_TENDER_SCORE_MAX *
                          SYN_TENDER_SCORE_MAX <
                      INT64_C(1) << 32,
                  "times a price it fits 128 bits");
    for (size_t i = 0; i < SYN_TENDER_ATTRIBUTES; i++)
        merit += (int64_t)tender->weights[i] * bid->attributes[i];
    return (syn_i128)tender->price_weight * SYN_TENDER_SCORE_MAX * (tender->ceiling - bid->price) +
           (syn_i128)tender->ceiling * merit;
}

static int
by_score(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;

    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    if (a->price != b->price)
        return a->price < b->price ? -1 : 1;
    if (a->reputation != b->reputation)
        return a->reputation > b->reputation ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

/* Hand the quantity out from the best on. False when there is not enough. */
static bool
award(const struct syn_tender *tender, const struct syn_tender_bid *bids,
      const struct ranked *ranked, size_t count, struct syn_tender_award *awards)
{
    int64_t left = tender->qty;

    for (size_t i = 0; i < count && left > 0; i++)
        left -= SYN_MIN(bids[ranked[i].index].qty, left);
    if (left > 0)
        return false;
    left = tender->qty;
    for (size_t i = 0; i < count && left > 0; i++) {
        struct syn_tender_award *won = &awards[ranked[i].index];

        won->verdict = SYN_TENDER_WON;
        won->qty = SYN_MIN(bids[ranked[i].index].qty, left);
        left -= won->qty;
    }
    return true;
}

int
syn_tender_decide(const struct syn_tender *tender, const struct syn_tender_bid *bids, size_t count,
                  struct syn_tender_award *awards, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct ranked *ranked = NULL;
    size_t fit = 0;
    int rc = check_tender(tender, count, err);

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = check_bid(&bids[i], i, err);
    if (rc < 0)
        return rc;
    ranked = syn_calloc(count, sizeof(*ranked));
    if (ranked == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a tender of %zu bids", count);
    for (size_t i = 0; i < count; i++) {
        awards[i] =
            (struct syn_tender_award){.verdict = judge(tender, &bids[i]), .rank = UINT32_MAX};
        if (awards[i].verdict == SYN_TENDER_OUTBID)
            ranked[fit++] = (struct ranked){score_of(tender, &bids[i]), bids[i].price,
                                            bids[i].reputation, (uint32_t)i};
    }
    qsort(ranked, fit, sizeof(*ranked), by_score);
    for (size_t i = 0; i < fit; i++)
        awards[ranked[i].index].rank = (uint32_t)i;
    if (!award(tender, bids, ranked, fit, awards))
        return SYN_FAIL(err, SYN_E_UNPLACEABLE,
                        "%zu of %zu bids fit the tender and together have less than %lld units",
                        fit, count, (long long)tender->qty);
    return SYN_OK;
}
