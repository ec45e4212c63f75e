/* Invoices as documents. */
#include <synor/market/invoice.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "exact_priv.h"
#include "invoice_priv.h"

/* ---- encoding ---- */

static int
set_amount(json_t *doc, const char *key, int64_t amount, struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];

    return syn_json_set_str(doc, key, syn_format_amount(amount, text), err);
}

static int
encode_line(const struct syn_invoice_line *line, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    char quantity[SYN_EXACT_TEXT_MAX];
    int rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "provider",
                           line->provider, "item", line->item, "share", line->share, "measure",
                           syn_measure_name(line->unit->measure), "quantity",
                           syn_exact_format(line->quantity, quantity), "unit", line->unit->name,
                           "per", (json_int_t)line->unit->per);

    if (rc == 0)
        rc = set_amount(doc, "price", line->price, err);
    if (rc == 0)
        rc = set_amount(doc, "amount", line->amount, err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
encode_payee(const struct syn_invoice_payee *payee, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:s, s:s, s:I}", "provider", payee->provider, "share",
                           payee->share, "provider_bps", (json_int_t)payee->provider_bps);

    if (rc == 0)
        rc = set_amount(doc, "amount", payee->amount, err);
    if (rc == 0)
        rc = set_amount(doc, "charge", payee->charge, err);
    if (rc == 0)
        rc = set_amount(doc, "provider_amount", payee->provider_amount, err);
    if (rc == 0)
        rc = set_amount(doc, "protocol_amount", payee->protocol_amount, err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* The amounts of the invoice itself: one table for both directions. */
static const struct {
    const char *key;
    size_t offset;
} totals[] = {
    {"escrow", offsetof(struct syn_invoice, escrow)},
    {"total", offsetof(struct syn_invoice, total)},
    {"charge", offsetof(struct syn_invoice, charge)},
    {"provider_amount", offsetof(struct syn_invoice, provider_amount)},
    {"protocol_amount", offsetof(struct syn_invoice, protocol_amount)},
    {"refund", offsetof(struct syn_invoice, refund)},
};

static const struct {
    const char *key;
    size_t offset;
} names[] = {
    {"id", offsetof(struct syn_invoice, id)},
    {"ref", offsetof(struct syn_invoice, ref)},
    {"tenant", offsetof(struct syn_invoice, tenant)},
    {"transaction", offsetof(struct syn_invoice, transaction)},
};

const char *
syn_invoice_rest_format(const struct syn_invoice_rest *rest, char *out)
{
    char num[SYN_EXACT_TEXT_MAX], den[SYN_EXACT_TEXT_MAX];

    static_assert(SYN_INVOICE_REST_MAX >= 2 * SYN_EXACT_TEXT_MAX, "room for both");
    (void)snprintf(out, SYN_INVOICE_REST_MAX, "%s/%s", syn_exact_format(rest->num, num),
                   syn_exact_format(SYN_MAX(rest->den, (syn_u128)1), den));
    return out;
}

int
syn_invoice_rest_parse(const char *text, const char *what, struct syn_invoice_rest *ret,
                       struct syn_err *err)
{
    const char *slash = strchr(text, '/');
    char num[SYN_EXACT_TEXT_MAX];
    struct syn_invoice_rest rest;
    int rc;

    if (!slash || slash - text >= (ptrdiff_t)sizeof(num))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: '%.80s' is no fraction", what, text);
    memcpy(num, text, (size_t)(slash - text));
    num[slash - text] = '\0';
    rc = syn_exact_parse(num, what, &rest.num, err);
    if (rc == 0)
        rc = syn_exact_parse(slash + 1, what, &rest.den, err);
    if (rc == 0 &&
        (rest.den == 0 || rest.num >= rest.den || syn_exact_gcd(rest.num, rest.den) != 1))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: '%.80s' is no fraction below 1 in lowest terms",
                      what, text);
    if (rc == 0)
        *ret = rest;
    return rc;
}

static int
set_rest(json_t *doc, const char *key, const struct syn_invoice_rest *rest, struct syn_err *err)
{
    char text[SYN_INVOICE_REST_MAX];

    return syn_json_set_str(doc, key, syn_invoice_rest_format(rest, text), err);
}

int
syn_invoice_encode(const struct syn_invoice *invoice, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:i, s:s, s:[], s:[]}", "version", SYN_INVOICE_VERSION,
                           "book", invoice->book, "lines", "payees");

    for (size_t i = 0; rc == 0 && i < SYN_LEN(names); i++)
        rc = syn_json_set_str(doc, names[i].key, (const char *)invoice + names[i].offset, err);
    for (size_t i = 0; rc == 0 && i < SYN_LEN(totals); i++) {
        int64_t amount;

        memcpy(&amount, (const char *)invoice + totals[i].offset, sizeof(amount));
        rc = set_amount(doc, totals[i].key, amount, err);
    }
    if (rc == 0 && invoice->carried.num != 0)
        rc = set_rest(doc, "carried", &invoice->carried, err);
    if (rc == 0 && invoice->goes_on)
        rc = set_rest(doc, "rest", &invoice->rest, err);
    for (size_t i = 0; rc == 0 && i < invoice->line_count; i++) {
        json_t *line = NULL;

        rc = encode_line(&invoice->lines[i], &line, err);
        if (rc == 0)
            rc = syn_json_append_take(json_object_get(doc, "lines"), line, err);
    }
    for (size_t i = 0; rc == 0 && i < invoice->payee_count; i++) {
        json_t *payee = NULL;

        rc = encode_payee(&invoice->payees[i], &payee, err);
        if (rc == 0)
            rc = syn_json_append_take(json_object_get(doc, "payees"), payee, err);
    }
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* ---- decoding ---- */

static int
get_amount(const json_t *doc, const char *path, const char *key, int64_t *ret, struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(doc, path, key, &text, err);

    return rc != 0 ? rc : syn_parse_amount(text, key, ret, err);
}

/* What may be absent. */
static int
get_rest(const json_t *doc, const char *key, struct syn_invoice_rest *ret, bool *ret_is,
         struct syn_err *err)
{
    const char *text = NULL;
    int rc = syn_json_opt_str(doc, "invoice", key, &text, err);

    *ret_is = rc == 0 && text != NULL;
    return *ret_is ? syn_invoice_rest_parse(text, key, ret, err) : rc;
}

static int
get_name(const json_t *doc, const char *path, const char *key, char *out, struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(doc, path, key, &text, err);

    return rc != 0 ? rc : syn_invoice_copy_name(out, text, key, err);
}

static int
get_short(const json_t *doc, const char *path, const char *key, char *out, size_t cap,
          struct syn_err *err)
{
    char name[SYN_INVOICE_NAME_MAX];
    int rc = get_name(doc, path, key, name, err);

    if (rc == 0 && !syn_str_copy(out, cap, name))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.%s: longer than %zu bytes", path, key, cap - 1);
    return rc;
}

/* The unit is named, and its row repeated for readers: both must agree with the table. */
static int
decode_unit(const json_t *doc, const struct syn_unit **ret_unit, struct syn_err *err)
{
    const char *name, *measure;
    const struct syn_unit *unit = NULL;
    int64_t per;
    int rc = syn_json_get_str(doc, "lines[]", "unit", &name, err);

    if (rc == 0)
        rc = syn_json_get_str(doc, "lines[]", "measure", &measure, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "lines[]", "per", 1, INT64_MAX, &per, err);
    if (rc != 0)
        return rc;
    unit = syn_unit_find(name);
    if (!unit || unit->per != per || !syn_str_eq(syn_measure_name(unit->measure), measure))
        return SYN_FAIL(err, SYN_E_INVALID, "lines[].unit: no unit '%.32s' of %lld %.32s", name,
                        (long long)per, measure);
    *ret_unit = unit;
    return SYN_OK;
}

static int
decode_line(const json_t *doc, struct syn_invoice_line *line, struct syn_err *err)
{
    static const char *const known[] = {"provider", "item", "share", "measure", "quantity",
                                        "unit",     "per",  "price", "amount",  NULL};
    const char *quantity;
    int rc = syn_json_only_keys(doc, "lines[]", known, err);

    if (rc == 0)
        rc = get_name(doc, "lines[]", "provider", line->provider, err);
    if (rc == 0)
        rc = get_short(doc, "lines[]", "item", line->item, sizeof(line->item), err);
    if (rc == 0)
        rc = get_short(doc, "lines[]", "share", line->share, sizeof(line->share), err);
    if (rc == 0)
        rc = decode_unit(doc, &line->unit, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "lines[]", "quantity", &quantity, err);
    if (rc == 0)
        rc = syn_exact_parse(quantity, "lines[].quantity", &line->quantity, err);
    if (rc == 0)
        rc = get_amount(doc, "lines[]", "price", &line->price, err);
    if (rc == 0)
        rc = get_amount(doc, "lines[]", "amount", &line->amount, err);
    return rc;
}

static int
decode_payee(const json_t *doc, struct syn_invoice_payee *payee, struct syn_err *err)
{
    static const char *const known[] = {"provider", "share",           "provider_bps",    "amount",
                                        "charge",   "provider_amount", "protocol_amount", NULL};
    int rc = syn_json_only_keys(doc, "payees[]", known, err);

    if (rc == 0)
        rc = get_name(doc, "payees[]", "provider", payee->provider, err);
    if (rc == 0)
        rc = get_short(doc, "payees[]", "share", payee->share, sizeof(payee->share), err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "payees[]", "provider_bps", 0, 10000, &payee->provider_bps, err);
    if (rc == 0)
        rc = get_amount(doc, "payees[]", "amount", &payee->amount, err);
    if (rc == 0)
        rc = get_amount(doc, "payees[]", "charge", &payee->charge, err);
    if (rc == 0)
        rc = get_amount(doc, "payees[]", "provider_amount", &payee->provider_amount, err);
    if (rc == 0)
        rc = get_amount(doc, "payees[]", "protocol_amount", &payee->protocol_amount, err);
    return rc;
}

static int
decode_lists(const json_t *doc, struct syn_invoice *invoice, struct syn_err *err)
{
    json_t *lines, *payees;
    int rc = syn_json_get_arr(doc, "invoice", "lines", &lines, err);

    if (rc == 0)
        rc = syn_json_get_arr(doc, "invoice", "payees", &payees, err);
    if (rc != 0)
        return rc;
    if (json_array_size(lines) > SYN_INVOICE_LINES_MAX ||
        json_array_size(payees) > SYN_INVOICE_PAYEES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "invoice: more than %d lines or %d payees",
                        SYN_INVOICE_LINES_MAX, SYN_INVOICE_PAYEES_MAX);
    invoice->lines = syn_calloc(SYN_MAX(json_array_size(lines), 1), sizeof(invoice->lines[0]));
    if (!invoice->lines)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the lines of an invoice");
    for (size_t i = 0; rc == 0 && i < json_array_size(lines); i++)
        rc = decode_line(json_array_get(lines, i), &invoice->lines[i], err);
    for (size_t i = 0; rc == 0 && i < json_array_size(payees); i++)
        rc = decode_payee(json_array_get(payees, i), &invoice->payees[i], err);
    invoice->line_count = json_array_size(lines);
    invoice->payee_count = json_array_size(payees);
    return rc;
}

int
syn_invoice_decode(const json_t *doc, struct syn_invoice **ret_invoice, struct syn_err *err)
{
    static const char *const known[] = {
        "version", "id",    "ref",    "tenant",          "transaction",     "book",   "lines",
        "payees",  "total", "charge", "provider_amount", "protocol_amount", "refund", "escrow",
        "carried", "rest",  NULL};
    bool carried = false;
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    int64_t version;
    int rc = syn_json_get_i64(doc, "invoice", "version", SYN_INVOICE_VERSION, SYN_INVOICE_VERSION,
                              &version, err);

    if (rc == 0)
        rc = syn_json_only_keys(doc, "invoice", known, err);
    if (rc != 0)
        return rc;
    invoice = syn_calloc(1, sizeof(*invoice));
    if (!invoice)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an invoice");
    for (size_t i = 0; rc == 0 && i < SYN_LEN(names); i++)
        rc = get_name(doc, "invoice", names[i].key, (char *)invoice + names[i].offset, err);
    if (rc == 0)
        rc = get_short(doc, "invoice", "book", invoice->book, sizeof(invoice->book), err);
    for (size_t i = 0; rc == 0 && i < SYN_LEN(totals); i++) {
        int64_t amount;

        rc = get_amount(doc, "invoice", totals[i].key, &amount, err);
        if (rc == 0)
            memcpy((char *)invoice + totals[i].offset, &amount, sizeof(amount));
    }
    if (rc == 0)
        rc = get_rest(doc, "carried", &invoice->carried, &carried, err);
    if (rc == 0)
        rc = get_rest(doc, "rest", &invoice->rest, &invoice->goes_on, err);
    if (rc == 0)
        rc = decode_lists(doc, invoice, err);
    if (rc == 0)
        *ret_invoice = SYN_TAKE(invoice);
    return rc;
}
