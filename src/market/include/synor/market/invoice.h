/* Invoices: metered quantities times their prices, rounded once, divided, and checked again.
 *
 *     exact_i  = quantity_i * price_i / per_i        a fraction for each (provider, item, price)
 *     total    = floor(sum of exact_i)               the only rounding, in the tenant's favour
 *     charge   = min(total, escrow)
 *     provider = floor(charge_p * provider_bps / 10000)  for each payee p; protocol: the rest
 *     refund   = escrow - charge
 *
 * A line's `amount` is for people: the whole part of its exact charge, plus one base unit for the
 * lines with the largest remainders until the amounts add up to the total (ties: the earlier line).
 * The exact charge needs no field of its own: quantity, price and per stand in the line.
 *
 * A *payee* is one provider with one class of charges (compute, storage, ...), which decides the
 * shares. Its `amount` is the sum of its lines. When the escrow caps the charge, payees get it in
 * proportion to their amounts, by largest remainder again.
 *
 * The price of a unit is that of the instance's lease, and the book's where it has none (lease.h).
 * So one item of one provider has as many lines as it had prices.
 *
 * A workload that runs on is billed in *periods*, and what the floor leaves of one is carried into
 * the next:
 *
 *     total_n = floor(rest_(n-1) + sum of exact_i),   rest_n = what the floor leaves
 *
 * So the totals of all periods add up to the floor of everything, wherever the periods are cut.
 *
 * In documents amounts are decimal text in SYNOR, quantities decimal text in the measure, a rest
 * "NUM/DEN" of a base unit. Pure. */
#ifndef SYNOR_MARKET_INVOICE_H
#define SYNOR_MARKET_INVOICE_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/market/lease.h>
#include <synor/market/meter.h>
#include <synor/market/pricebook.h>

#define SYN_INVOICE_VERSION       1
#define SYN_INVOICE_LINES_MAX     2048 /* each instance's processors at a price of their own */
#define SYN_INVOICE_PROVIDERS_MAX 250  /* what one ledger transaction can pay */
#define SYN_INVOICE_PAYEES_MAX    768  /* of each provider a few classes of charges */
#define SYN_INVOICE_USAGES_MAX    1024 /* instances of one run */
#define SYN_INVOICE_FINDINGS_MAX  1000
#define SYN_INVOICE_NAME_MAX      96 /* with terminator */

struct syn_invoice_line {
    char provider[SYN_INVOICE_NAME_MAX];
    char item[SYN_ITEM_MAX];
    const struct syn_unit *unit; /* static */
    char share[SYN_SHARE_NAME_MAX];
    int64_t price;     /* base units for one unit */
    syn_u128 quantity; /* of unit->measure */
    int64_t amount;
};

struct syn_invoice_payee {
    char provider[SYN_INVOICE_NAME_MAX];
    char share[SYN_SHARE_NAME_MAX];
    int64_t provider_bps;
    int64_t amount; /* sum of its lines */
    int64_t charge; /* after the cap */
    int64_t provider_amount;
    int64_t protocol_amount;
};

/** Less than a base unit: num / den in lowest terms, or nothing (den is 0 or 1). */
struct syn_invoice_rest {
    syn_u128 num, den;
};

/** What an invoice is about. */
struct syn_invoice_terms {
    const char *id;                  /* "bill-..." */
    const char *ref;                 /* the escrow's reference */
    const char *tenant;              /* account that paid the escrow */
    const char *transaction;         /* id that the settlement has or will have */
    int64_t escrow;                  /* > 0 */
    struct syn_invoice_rest carried; /* what the period before left */
    bool goes_on;                    /* another period follows, which takes the rest */
};

struct syn_invoice {
    char id[SYN_INVOICE_NAME_MAX];
    char ref[SYN_INVOICE_NAME_MAX];
    char tenant[SYN_INVOICE_NAME_MAX];
    char transaction[SYN_INVOICE_NAME_MAX];
    char book[SYN_PRICEBOOK_ID_MAX];
    int64_t escrow, total, charge, provider_amount, protocol_amount, refund;
    struct syn_invoice_rest carried, rest; /* `rest` only when it goes on */
    bool goes_on;
    size_t line_count, payee_count;
    struct syn_invoice_line *lines;                          /* sorted by provider, item, price */
    struct syn_invoice_payee payees[SYN_INVOICE_PAYEES_MAX]; /* sorted by provider, share */
};

/** One instance's sums, and the account that provided it. Several may name one provider. */
struct syn_invoice_usage {
    const char *provider;
    const struct syn_usage_sum *usage;
    const struct syn_lease *lease; /* NULL: everything at the book's prices */
};

/** Charge `count` usages. NOTFOUND or INVALID when the book cannot price an item so; LIMIT when a
 *  sum passes its range or there are too many lines or payees; NOMEM. */
SYN_MUST int syn_invoice_build(const struct syn_invoice_terms *terms,
                               const struct syn_invoice_usage *usages, size_t count,
                               const struct syn_pricebook *book, struct syn_invoice **ret_invoice,
                               struct syn_err *err);
struct syn_invoice *syn_invoice_free(struct syn_invoice *invoice);
void syn_invoice_free_scope(struct syn_invoice **slot);

/** The total of the usages so far, without a document: what budgets are held against. */
SYN_MUST int syn_invoice_total(const struct syn_invoice_usage *usages, size_t count,
                               const struct syn_pricebook *book, int64_t *ret_total,
                               struct syn_err *err);

#define SYN_INVOICE_REST_MAX 84 /* two of 39 digits, a slash, the terminator */
/** "NUM/DEN" into out[SYN_INVOICE_REST_MAX]; returns out. */
const char *syn_invoice_rest_format(const struct syn_invoice_rest *rest, char *out);
/** The same back. INVALID names `what`. */
SYN_MUST int syn_invoice_rest_parse(const char *text, const char *what,
                                    struct syn_invoice_rest *ret, struct syn_err *err);

SYN_MUST int syn_invoice_encode(const struct syn_invoice *invoice, json_t **ret,
                                struct syn_err *err);
/** Shape and ranges only: whether the figures are right is for syn_invoice_verify() to say. */
SYN_MUST int syn_invoice_decode(const json_t *doc, struct syn_invoice **ret_invoice,
                                struct syn_err *err);

/* ---- verification ---- */

/** A stored report, who owned the node, and whether its signature holds with that node's key. */
struct syn_invoice_report {
    const char *provider;
    const struct syn_report *report;
    bool signature_ok;
};

/** What an instance was leased for, as its document says, and the digest of that. */
struct syn_invoice_lease {
    const char *instance;
    const char *digest;
    const struct syn_lease *lease;
};

/** Where an instance's samples of this period begin and end. */
struct syn_invoice_span {
    const char *instance;
    int64_t after_seq; /* the last sample of the periods before; 0: none */
    int64_t after_ms;  /* where that ended */
    int64_t last_seq;  /* the last one of this period */
};

/** The settlement as the ledger has it. */
struct syn_invoice_settlement {
    const char *id;
    const char *ref;
    const char *kind;             /* "settle" */
    const char *escrow_account;   /* the ledger's name of the escrow of the invoice's ref */
    const char *protocol_account; /* where the protocol's part belongs */
    const struct syn_invoice_entry {
        const char *account;
        int64_t amount;
    } * entries;
    size_t count;
};

struct syn_invoice_evidence {
    const struct syn_invoice_report *reports; /* in the order of each instance's samples */
    size_t report_count;
    const struct syn_invoice_lease *leases; /* of the instances that have one */
    size_t lease_count;
    const struct syn_invoice_span *spans; /* of the instances that had a period before, or all */
    size_t span_count;
    const struct syn_invoice_usage *others; /* what no node signs for: the server's own counts */
    size_t other_count;
    const struct syn_invoice_settlement *settlement; /* NULL: the ledger has none */
};

/**
 * Work everything out again from the samples and hold invoice and ledger against it.
 *
 * Owner: *ret_result is the caller's:
 *   {"agrees", "differences": [{"field", "found", "expected", "message"}], "samples",
 *    "signatures_ok", "recomputed": the invoice as it should be, or null}; at most
 *    SYN_INVOICE_FINDINGS_MAX differences are listed.
 * `field` is a path: "lines.acct-1/cpu.amount", "transaction.entries.alice", "samples.inst-1",
 * "leases.inst-1": its reports were signed under another lease than the one that is shown. A span
 * that the reports do not fill is a difference of its samples.
 * Returns 0 whatever it finds; < 0 only when it could not look: NOMEM, LIMIT.
 */
SYN_MUST int syn_invoice_verify(const struct syn_invoice *invoice,
                                const struct syn_invoice_evidence *evidence,
                                const struct syn_pricebook *book, json_t **ret_result,
                                struct syn_err *err);

#endif
