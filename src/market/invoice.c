#include <synor/market/invoice.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "exact_priv.h"
#include "invoice_priv.h"

/* ---- one exact sum ---- */

/* A line's exact charge is whole + part / den. The parts are added over the least common multiple
 * of the denominators, which the units keep near 2^66. */
struct exact {
    int64_t whole;
    syn_u128 part; /* first < unit->per; then scaled to the common denominator */
};

static int
exact_charge(const struct syn_invoice_line *line, struct exact *ret, struct syn_err *err)
{
    syn_u128 product, whole, per = (syn_u128)line->unit->per;

    if (!syn_exact_mul(line->quantity, (syn_u128)line->price, &product))
        return SYN_FAIL(err, SYN_E_LIMIT, "%s of %s: quantity times price passes 128 bits",
                        line->item, line->provider);
    whole = product / per;
    if (whole > (syn_u128)SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s of %s: the charge passes the largest amount",
                        line->item, line->provider);
    ret->whole = (int64_t)whole;
    ret->part = product % per;
    return SYN_OK;
}

/* Scale all parts to one denominator, a multiple of `den`. */
static int
common_denominator(const struct syn_invoice_line *lines, struct exact *exact, size_t count,
                   syn_u128 den, syn_u128 *ret_den, struct syn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!syn_exact_lcm(den, (syn_u128)lines[i].unit->per, &den))
            return SYN_FAIL(err, SYN_E_LIMIT, "the units of the lines have no common denominator");
    }
    for (size_t i = 0; i < count; i++) {
        syn_u128 per = (syn_u128)lines[i].unit->per;

        if (!syn_exact_mul(exact[i].part, den / per, &exact[i].part))
            return SYN_FAIL(err, SYN_E_LIMIT, "the units of the lines have no common denominator");
    }
    *ret_den = den;
    return SYN_OK;
}

/* Give one more base unit to each of the `extra` largest parts; ties go to the earlier. Parts that
 * got theirs are marked by `taken`. */
static void
give_remainders(const syn_u128 *parts, bool *taken, size_t count, size_t extra)
{
    assert(extra <= count);
    for (; extra > 0; extra--) {
        size_t best = count;

        for (size_t i = 0; i < count; i++) {
            if (!taken[i] && (best == count || parts[i] > parts[best]))
                best = i;
        }
        assert(best < count);
        taken[best] = true;
    }
}

/* What charge_lines() works with, one of each a line: too much for a stack. */
struct workings {
    struct exact *exact;
    syn_u128 *parts;
    bool *taken;
};

static void
workings_fini(struct workings *workings)
{
    syn_free(workings->exact);
    syn_free(workings->parts);
    syn_free(workings->taken);
}

static int
workings_make(struct workings *ret, size_t count, struct syn_err *err)
{
    ret->exact = syn_calloc(count + 1, sizeof(*ret->exact));
    ret->parts = syn_calloc(count + 1, sizeof(*ret->parts));
    ret->taken = syn_calloc(count + 1, sizeof(*ret->taken));
    if (!ret->exact || !ret->parts || !ret->taken)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to charge %zu lines", count);
    return SYN_OK;
}

static struct syn_invoice_rest
make_rest(syn_u128 num, syn_u128 den)
{
    syn_u128 gcd = syn_exact_gcd(num, den);

    return (struct syn_invoice_rest){num / gcd, den / gcd};
}

/* Set each line's amount; *ret_total is the floor of the exact sum and of what was carried, and the
 * sum of the amounts; *ret_rest is what the floor left. A carried rest is less than one base unit,
 * so there are never more units to give away than lines. */
static int
charge_lines(struct syn_invoice_line *lines, size_t count, const struct syn_invoice_rest *carried,
             int64_t *ret_total, struct syn_invoice_rest *ret_rest, struct syn_err *err)
{
    SYN_SCOPED(workings_fini) struct workings w = {0};
    syn_u128 from = SYN_MAX(carried->den, (syn_u128)1), den = 1, sum = 0;
    syn_i128 total = 0;
    int rc = workings_make(&w, count, err);

    if (rc == 0 && carried->num >= from)
        rc = SYN_FAIL(err, SYN_E_INVALID, "a rest of a whole base unit or more cannot be carried");
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = exact_charge(&lines[i], &w.exact[i], err);
    if (rc == 0)
        rc = common_denominator(lines, w.exact, count, from, &den, err);
    if (rc == 0 && !syn_exact_mul(carried->num, den / from, &sum))
        rc = SYN_FAIL(err, SYN_E_LIMIT, "the rest that is carried passes 128 bits");
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        w.parts[i] = w.exact[i].part;
        total += w.exact[i].whole;
        if (!syn_exact_add(sum, w.parts[i], &sum))
            return SYN_FAIL(err, SYN_E_LIMIT, "the lines' fractions pass 128 bits");
    }
    total += (syn_i128)(sum / den);
    if (total > SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the total passes the largest amount");
    give_remainders(w.parts, w.taken, count, (size_t)(sum / den));
    for (size_t i = 0; i < count; i++)
        lines[i].amount = w.exact[i].whole + w.taken[i];
    *ret_total = (int64_t)total;
    *ret_rest = make_rest(sum % den, den);
    return SYN_OK;
}

/* ---- lines ---- */

static int
line_order(const struct syn_invoice_line *line, const char *provider,
           const struct syn_lease_price *price)
{
    int order = strcmp(line->provider, provider);

    if (order == 0)
        order = strcmp(line->item, price->item);
    if (order == 0)
        order = (line->price > price->price) - (line->price < price->price);
    return order != 0 ? order : strcmp(line->unit->name, price->unit->name);
}

static int
fill_line(struct syn_invoice_line *line, const char *provider, const struct syn_lease_price *price,
          const struct syn_share *share, struct syn_err *err)
{
    memset(line, 0, sizeof(*line));
    line->unit = price->unit;
    line->price = price->price;
    (void)syn_str_copy(line->item, sizeof(line->item), price->item);
    (void)syn_str_copy(line->share, sizeof(line->share), share->name);
    return syn_invoice_copy_name(line->provider, provider, "provider", err);
}

static int
add_item(struct syn_invoice_line *lines, size_t *count, const struct syn_invoice_usage *usage,
         const struct syn_usage_item *item, const struct syn_pricebook *book, struct syn_err *err)
{
    const char *provider = usage->provider;
    const struct syn_price *row; /* the share is the book's, whatever the price */
    struct syn_lease_price price;
    struct syn_invoice_line *line = lines;
    int rc = syn_pricebook_get(book, item->item, item->measure, &row, err);

    if (rc == 0)
        rc = syn_lease_get(usage->lease, book, item->item, item->measure, &price, err);
    if (rc != 0)
        return rc;
    while (line < lines + *count && line_order(line, provider, &price) < 0)
        line++;
    if (line == lines + *count || line_order(line, provider, &price) != 0) {
        if (*count == SYN_INVOICE_LINES_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "an invoice has at most %d lines",
                            SYN_INVOICE_LINES_MAX);
        memmove(line + 1, line, (size_t)(lines + *count - line) * sizeof(*line));
        rc = fill_line(line, provider, &price, row->share, err);
        if (rc != 0)
            return rc;
        ++*count;
    }
    if (!syn_exact_add(line->quantity, item->quantity, &line->quantity))
        return SYN_FAIL(err, SYN_E_LIMIT, "%s of %s: the quantity passes 128 bits", item->item,
                        provider);
    return SYN_OK;
}

/* Room for all lines there can be; the caller frees it. */
static int
gather_lines(const struct syn_invoice_usage *usages, size_t count, const struct syn_pricebook *book,
             struct syn_invoice_line **ret_lines, size_t *ret_count, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_invoice_line *lines = NULL;
    size_t filled = 0;
    int rc = 0;

    if (count > SYN_INVOICE_USAGES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "an invoice covers at most %d instances, not %zu",
                        SYN_INVOICE_USAGES_MAX, count);
    lines = syn_calloc(SYN_INVOICE_LINES_MAX, sizeof(*lines));
    if (!lines)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the lines of an invoice");
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; rc == 0 && k < usages[i].usage->count; k++)
            rc = add_item(lines, &filled, &usages[i], &usages[i].usage->items[k], book, err);
    }
    if (rc != 0)
        return rc;
    *ret_lines = SYN_TAKE(lines);
    *ret_count = filled;
    return SYN_OK;
}

int
syn_invoice_total(const struct syn_invoice_usage *usages, size_t count,
                  const struct syn_pricebook *book, int64_t *ret_total, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_invoice_line *lines = NULL;
    struct syn_invoice_rest none = {0}, rest;
    size_t line_count;
    int rc = gather_lines(usages, count, book, &lines, &line_count, err);

    return rc != 0 ? rc : charge_lines(lines, line_count, &none, ret_total, &rest, err);
}

/* ---- payees ---- */

static int
payee_order(const struct syn_invoice_payee *payee, const struct syn_invoice_line *line)
{
    int order = strcmp(payee->provider, line->provider);

    return order != 0 ? order : strcmp(payee->share, line->share);
}

static int
add_to_payee(struct syn_invoice *invoice, const struct syn_invoice_line *line,
             const struct syn_pricebook *book, struct syn_err *err)
{
    struct syn_invoice_payee *payee = invoice->payees;
    const struct syn_invoice_payee *end = payee + invoice->payee_count;

    while (payee < end && payee_order(payee, line) < 0)
        payee++;
    if (payee == end || payee_order(payee, line) != 0) {
        const struct syn_share *share = syn_pricebook_share(book, line->share);

        assert(share != NULL); /* the line's name came from this book */
        if (invoice->payee_count == SYN_INVOICE_PAYEES_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "an invoice pays at most %d payees",
                            SYN_INVOICE_PAYEES_MAX);
        memmove(payee + 1, payee, (size_t)(end - payee) * sizeof(*payee));
        memset(payee, 0, sizeof(*payee));
        memcpy(payee->provider, line->provider, sizeof(payee->provider));
        memcpy(payee->share, line->share, sizeof(payee->share));
        payee->provider_bps = share->provider_bps;
        invoice->payee_count++;
    }
    payee->amount += line->amount; /* within the total */
    return SYN_OK;
}

/* Divide the capped charge among the payees, then each part between provider and protocol. */
static void
divide_charge(struct syn_invoice *invoice)
{
    syn_u128 parts[SYN_INVOICE_PAYEES_MAX];
    bool taken[SYN_INVOICE_PAYEES_MAX] = {false};
    int64_t left = invoice->charge;

    for (size_t i = 0; i < invoice->payee_count; i++) {
        struct syn_invoice_payee *payee = &invoice->payees[i];
        syn_u128 product = (syn_u128)invoice->charge * (syn_u128)payee->amount;
        syn_u128 total = (syn_u128)SYN_MAX(invoice->total, 1);

        payee->charge = (int64_t)(product / total);
        parts[i] = product % total;
        left -= payee->charge;
    }
    assert(left >= 0);
    give_remainders(parts, taken, invoice->payee_count, (size_t)left);
    for (size_t i = 0; i < invoice->payee_count; i++) {
        struct syn_invoice_payee *payee = &invoice->payees[i];

        payee->charge += taken[i];
        payee->provider_amount = syn_amount_share(payee->charge, payee->provider_bps);
        payee->protocol_amount = payee->charge - payee->provider_amount;
        invoice->provider_amount += payee->provider_amount;
        invoice->protocol_amount += payee->protocol_amount;
    }
}

/* ---- building ---- */

int
syn_invoice_copy_name(char *dst, const char *text, const char *what, struct syn_err *err)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";

    if (text[0] == '\0' || strspn(text, set) != strlen(text) ||
        !syn_str_copy(dst, SYN_INVOICE_NAME_MAX, text))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "invoice: the %s '%.96s' must be 1..%d of A-Z a-z 0-9 . _ : -", what, text,
                        SYN_INVOICE_NAME_MAX - 1);
    return SYN_OK;
}

static int
fill_terms(const struct syn_invoice_terms *terms, struct syn_invoice *invoice, struct syn_err *err)
{
    int rc = syn_invoice_copy_name(invoice->id, terms->id, "id", err);

    if (rc == 0)
        rc = syn_invoice_copy_name(invoice->ref, terms->ref, "ref", err);
    if (rc == 0)
        rc = syn_invoice_copy_name(invoice->tenant, terms->tenant, "tenant", err);
    if (rc == 0)
        rc = syn_invoice_copy_name(invoice->transaction, terms->transaction, "transaction", err);
    if (rc == 0 && (terms->escrow <= 0 || terms->escrow > SYN_AMOUNT_MAX))
        rc = SYN_FAIL(err, SYN_E_INVALID, "invoice %s: an escrow of %lld base units cannot be",
                      terms->id, (long long)terms->escrow);
    invoice->escrow = terms->escrow;
    invoice->carried = terms->carried;
    invoice->goes_on = terms->goes_on;
    return rc;
}

int
syn_invoice_build(const struct syn_invoice_terms *terms, const struct syn_invoice_usage *usages,
                  size_t count, const struct syn_pricebook *book, struct syn_invoice **ret_invoice,
                  struct syn_err *err)
{
    SYN_SCOPED(syn_invoice_free_scope)
    struct syn_invoice *invoice = syn_calloc(1, sizeof(*invoice));
    int rc;

    if (!invoice)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an invoice");
    rc = fill_terms(terms, invoice, err);
    if (rc == 0)
        rc = gather_lines(usages, count, book, &invoice->lines, &invoice->line_count, err);
    if (rc == 0)
        rc = charge_lines(invoice->lines, invoice->line_count, &invoice->carried, &invoice->total,
                          &invoice->rest, err);
    for (size_t i = 0; rc == 0 && i < invoice->line_count; i++)
        rc = add_to_payee(invoice, &invoice->lines[i], book, err);
    if (rc != 0)
        return syn_err_wrap(err, rc, "invoice %s", terms->id);
    (void)syn_str_copy(invoice->book, sizeof(invoice->book), syn_pricebook_id(book));
    invoice->charge = SYN_MIN(invoice->total, invoice->escrow);
    invoice->refund = invoice->escrow - invoice->charge;
    divide_charge(invoice);
    assert(invoice->provider_amount + invoice->protocol_amount + invoice->refund ==
           invoice->escrow);
    *ret_invoice = SYN_TAKE(invoice);
    return SYN_OK;
}

struct syn_invoice *
syn_invoice_free(struct syn_invoice *invoice)
{
    if (!invoice)
        return NULL;
    syn_free(invoice->lines);
    syn_free(invoice);
    return NULL;
}

void
syn_invoice_free_scope(struct syn_invoice **slot)
{
    *slot = syn_invoice_free(*slot);
}
