/* Leases: at what price, and on which terms, an instance got its place.
 *
 * A node's *offer* says what its provider asks; the price book says it where the offer is silent.
 * When an instance is placed, what then holds is written down as its lease, and from then on only
 * the lease counts: a new offer, or another book, changes nothing that runs. The lease gives the
 * price of a unit; which items there are, how they are measured and how the money is shared stay
 * the book's. An instance without a lease (of before there were any) is charged by the book.
 *
 * The node names the lease in every usage report that it signs, by the SHA-256 of the lease's
 * canonical JSON. So a lease that was altered afterwards is found out: its digest is no longer the
 * one that was signed. Hashing and signing stand elsewhere. Pure. */
#ifndef SYNOR_MARKET_LEASE_H
#define SYNOR_MARKET_LEASE_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/base/units.h>
#include <synor/market/pricebook.h>

#define SYN_LEASE_PRICES_MAX 16
#define SYN_LEASE_NAME_MAX   96 /* of the provider, with terminator */
#define SYN_LEASE_KIND_MAX   16
/** The dearest unit that can be offered. What is metered before a budget is seen to be spent stays
 *  far from the largest amount. */
#define SYN_LEASE_PRICE_MAX (10000 * SYN_SYNOR)
/** No price ceiling was given. */
#define SYN_LEASE_NO_MAX INT64_C(-1)

/** What one unit of an item costs. */
struct syn_lease_price {
    char item[SYN_ITEM_MAX];
    const struct syn_unit *unit; /* static */
    int64_t price;               /* base units, 0..SYN_LEASE_PRICE_MAX */
};

/** A plain value. */
struct syn_lease {
    char provider[SYN_LEASE_NAME_MAX]; /* whose node it is; "" when that was not known */
    char kind[SYN_LEASE_KIND_MAX];     /* "on-demand" */
    int64_t notice_ms;                 /* before it may be ended from outside */
    int64_t max_price;                 /* what the tenant would pay an hour, or SYN_LEASE_NO_MAX */
    int64_t since_ms;
    size_t count;
    struct syn_lease_price prices[SYN_LEASE_PRICES_MAX]; /* sorted by item, each once */
};

/** Add or replace a price. INVALID: out of range, a name too long, or no such unit; LIMIT: full. */
SYN_MUST int syn_lease_set(struct syn_lease *lease, const char *item, const char *unit,
                           int64_t price, struct syn_err *err);
/** The lease's price of the item, or NULL. Borrowed from `lease`, which may be NULL. */
const struct syn_lease_price *syn_lease_find(const struct syn_lease *lease, const char *item);
/**
 * Price one item: by the lease where it has a price, by the book where it has none. Either may be
 * NULL.
 *
 * Returns 0 with unit and price of *ret set; NOTFOUND when neither has one; INVALID when the item
 * is not measured so.
 */
SYN_MUST int syn_lease_get(const struct syn_lease *lease, const struct syn_pricebook *book,
                           const char *item, enum syn_measure measure, struct syn_lease_price *ret,
                           struct syn_err *err);

/** {"price": {ITEM: {"price", "unit"}}, "terms": {"kind", "notice_ms", "max_price"}, "provider",
 *  "since"}: amounts are decimal text in SYNOR. */
SYN_MUST int syn_lease_encode(const struct syn_lease *lease, json_t **ret, struct syn_err *err);
/** Strict. INVALID names the key. */
SYN_MUST int syn_lease_decode(const json_t *doc, struct syn_lease *ret, struct syn_err *err);

#endif
