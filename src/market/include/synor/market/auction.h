/* Auctions: what has its price at one moment, rather than all the time (book.h).
 *
 * - A *call* collects limit orders of both sides and trades as much as it can at one price.
 * - A *tender* is a tenant's order with a ceiling, for which providers bid; the best by price,
 *   reputation and attributes wins.
 * - A *bundle* auction sells several goods at once to bidders who want theirs together or not at
 * all.
 *
 * All are functions of their input: they hold nothing, move nothing, and the same input has the
 * same outcome, ties included. Pure. */
#ifndef SYNOR_MARKET_AUCTION_H
#define SYNOR_MARKET_AUCTION_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/market/book.h>

/* ---- call: one price for all ---- */

#define SYN_CALL_ORDERS_MAX (UINT32_C(1) << 24)

/** Orders come in the order of arrival. */
struct syn_call_order {
    int64_t price; /* limit, 1 .. SYN_PRICE_MAX; of no meaning in a market order */
    int64_t qty;   /* 1 .. SYN_ORDER_QTY_MAX */
    uint8_t side;  /* enum syn_side */
    bool market;   /* any price will do */
};

struct syn_call_result {
    int64_t price; /* 0 when nothing trades */
    int64_t volume;
    int64_t imbalance; /* what is bid for at the price, less what is offered */
};

/**
 * Find the price at which most trades, and who trades.
 *
 * Of all prices, the one with the largest volume; of those, with the least imbalance either way; of
 * those, the one next to `reference` (0: the lowest), and the lower of two as near. The short side
 * trades all that its limits allow; the long side by price, then arrival.
 * Owner: `traded` has room for `count` quantities, or is NULL.
 * Returns 0; INVALID names the order and the field; LIMIT: too many orders, or a side sums up to
 * more than SYN_BOOK_RESTING_MAX; NOMEM.
 */
SYN_MUST int syn_call_clear(const struct syn_call_order *orders, size_t count, int64_t reference,
                            int64_t *traded, struct syn_call_result *ret_result,
                            struct syn_err *err);

/* ---- tender: providers bid for one order ---- */

#define SYN_TENDER_BIDS_MAX   65536
#define SYN_TENDER_ATTRIBUTES 8
#define SYN_TENDER_SCORE_MAX  1000 /* of reputation, of an attribute, of a weight */

struct syn_tender {
    int64_t qty;
    int64_t ceiling; /* price of a unit that is never passed; 1 .. SYN_PRICE_MAX */
    int32_t price_weight;
    int32_t reputation_weight;
    int32_t weights[SYN_TENDER_ATTRIBUTES];
    int32_t least[SYN_TENDER_ATTRIBUTES]; /* an attribute below it is out */
    int32_t least_reputation;
    bool whole; /* one provider must have all of it */
};

struct syn_tender_bid {
    int64_t price; /* of a unit; at least 1 */
    int64_t qty;   /* that the provider has, at least 1 */
    int32_t reputation;
    int32_t attributes[SYN_TENDER_ATTRIBUTES];
};

enum syn_tender_verdict {
    SYN_TENDER_OUTBID, /* others were better */
    SYN_TENDER_WON,
    SYN_TENDER_DEAR,    /* above the ceiling */
    SYN_TENDER_UNFIT,   /* an attribute or the reputation is too low */
    SYN_TENDER_TOO_FEW, /* the tender wants one provider for all of it */
};

struct syn_tender_award {
    int64_t qty; /* awarded */
    enum syn_tender_verdict verdict;
    uint32_t rank; /* 0 is the best of those that may win; of the others UINT32_MAX */
};

/**
 * Rank the bids and award the quantity from the best on; all of it or nothing.
 *
 * The score of a bid is price_weight * 1000 * (ceiling - price) / ceiling + reputation_weight *
 * reputation + the sum of weight * attribute, exactly; ties go to the lower price, then the higher
 * reputation, then the earlier bid. A winner is paid its bid.
 * Owner: `awards` has room for `count`.
 * Returns 0; UNPLACEABLE: together they do not have it, and the verdicts say why; INVALID names the
 * bid and the field; LIMIT; NOMEM.
 */
SYN_MUST int syn_tender_decide(const struct syn_tender *tender, const struct syn_tender_bid *bids,
                               size_t count, struct syn_tender_award *awards, struct syn_err *err);

/* ---- bundles: all of several goods or nothing ---- */

#define SYN_BUNDLE_GOODS_MAX  64
#define SYN_BUNDLE_BIDS_MAX   4096
#define SYN_BUNDLE_WEIGHT_MAX 1000000
#define SYN_BUNDLE_QTY_MAX    (INT64_C(1) << 32) /* of a good, in a bid */

struct syn_bundle_good {
    int64_t supply;  /* 0 .. SYN_ORDER_QTY_MAX */
    int64_t reserve; /* the least that a unit is sold for, 0 .. SYN_BUNDLE_WEIGHT_MAX */
    int64_t weight;  /* how much a unit counts for a bundle's size, 1 .. SYN_BUNDLE_WEIGHT_MAX */
};

struct syn_bundle_bid {
    int64_t value;         /* for all of it, 0 .. SYN_AMOUNT_MAX */
    const int64_t *demand; /* of each good, 0 .. SYN_BUNDLE_QTY_MAX; not all 0 */
};

struct syn_bundle_award {
    bool won;
    int64_t payment; /* at most the bid; 0 of those who lost */
};

/**
 * Sell `goods` to those who bid most for the square root of a bundle's size, while there is enough.
 *
 * That greedy rule is within the square root of the number of units of the best possible, and no
 * rule that can be computed is better in the worst case. A winner pays its *critical value*: the
 * least bid with which it would still have won. So nobody gains by bidding anything but the truth,
 * as long as each wants its one bundle only. Ties go to the earlier bid.
 * Owner: `awards` has room for `count`.
 * Returns 0; INVALID names the bid or good and the field; LIMIT; NOMEM.
 */
SYN_MUST int syn_bundle_sell(const struct syn_bundle_good *goods, size_t good_count,
                             const struct syn_bundle_bid *bids, size_t count,
                             struct syn_bundle_award *awards, struct syn_err *err);

#endif
