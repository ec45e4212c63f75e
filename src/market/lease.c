#include <synor/market/lease.h>

#include <synor/base/str.h>

/* ---- prices ---- */

/* Where the item stands, or would. */
static size_t
place_of(const struct syn_lease *lease, const char *item)
{
    size_t at = 0;

    while (at < lease->count && strcmp(lease->prices[at].item, item) < 0)
        at++;
    return at;
}

int
syn_lease_set(struct syn_lease *lease, const char *item, const char *unit, int64_t price,
              struct syn_err *err)
{
    struct syn_lease_price fresh = {.unit = syn_unit_find(unit), .price = price};
    size_t at = place_of(lease, item);

    if (!*item || !syn_str_copy(fresh.item, sizeof(fresh.item), item))
        return SYN_FAIL(err, SYN_E_INVALID, "price: the item '%.64s' must have 1..%d bytes", item,
                        SYN_ITEM_MAX - 1);
    if (!fresh.unit)
        return SYN_FAIL(err, SYN_E_INVALID, "price.%s: no unit '%.32s'", item, unit);
    if (price < 0 || price > SYN_LEASE_PRICE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "price.%s: expected 0..%lld SYNOR a %s", item,
                        (long long)(SYN_LEASE_PRICE_MAX / SYN_SYNOR), unit);
    if (at == lease->count || !syn_str_eq(lease->prices[at].item, item)) {
        if (lease->count == SYN_LEASE_PRICES_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "a lease has at most %d prices",
                            SYN_LEASE_PRICES_MAX);
        memmove(&lease->prices[at + 1], &lease->prices[at],
                (lease->count - at) * sizeof(lease->prices[0]));
        lease->count++;
    }
    lease->prices[at] = fresh;
    return SYN_OK;
}

const struct syn_lease_price *
syn_lease_find(const struct syn_lease *lease, const char *item)
{
    size_t at = lease ? place_of(lease, item) : 0;

    return lease && at < lease->count && syn_str_eq(lease->prices[at].item, item)
               ? &lease->prices[at]
               : NULL;
}

int
syn_lease_get(const struct syn_lease *lease, const struct syn_pricebook *book, const char *item,
              enum syn_measure measure, struct syn_lease_price *ret, struct syn_err *err)
{
    const struct syn_lease_price *own = syn_lease_find(lease, item);
    const struct syn_price *row;
    int rc;

    if (own && !syn_unit_in(own->unit, measure))
        return SYN_FAIL(err, SYN_E_INVALID, "%s is metered in %s, its lease sells it by the %s",
                        item, syn_measure_name(measure), own->unit->name);
    if (own) {
        *ret = *own;
        ret->unit = syn_unit_in(own->unit, measure);
        return SYN_OK;
    }
    if (!book)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no price for '%.48s'", item);
    rc = syn_pricebook_get(book, item, measure, &row, err);
    if (rc < 0)
        return rc;
    *ret = (struct syn_lease_price){.unit = syn_unit_in(row->unit, measure), .price = row->price};
    (void)syn_str_copy(ret->item, sizeof(ret->item), item);
    return SYN_OK;
}

/* ---- documents ---- */

static int
encode_prices(const struct syn_lease *lease, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{}");

    for (size_t i = 0; rc == SYN_OK && i < lease->count; i++) {
        const struct syn_lease_price *price = &lease->prices[i];
        char text[SYN_FORMAT_MAX];
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:s}", "price", syn_format_amount(price->price, text),
                           "unit", price->unit->name);
        if (rc == SYN_OK)
            rc = syn_json_set_take(doc, price->item, row, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

int
syn_lease_encode(const struct syn_lease *lease, json_t **ret, struct syn_err *err)
{
    char most[SYN_FORMAT_MAX], since[SYN_FORMAT_MAX];
    json_t *prices = NULL;
    int rc = encode_prices(lease, &prices, err);

    if (rc < 0)
        return rc;
    return syn_json_pack(
        ret, err, "{s:o, s:{s:s, s:I, s:s?}, s:s, s:s}", "price", prices, "terms", "kind",
        lease->kind, "notice_ms", (json_int_t)lease->notice_ms, "max_price",
        lease->max_price == SYN_LEASE_NO_MAX ? NULL : syn_format_amount(lease->max_price, most),
        "provider", lease->provider, "since", syn_format_time(lease->since_ms, since));
}

static int
decode_price(const char *item, const json_t *row, struct syn_lease *lease, struct syn_err *err)
{
    static const char *const known[] = {"price", "unit", NULL};
    const char *text = "", *unit = "";
    int64_t price = 0;
    int rc = syn_json_only_keys(row, "lease.price", known, err);

    if (rc == SYN_OK)
        rc = syn_json_get_str(row, "lease.price", "price", &text, err);
    if (rc == SYN_OK)
        rc = syn_json_get_str(row, "lease.price", "unit", &unit, err);
    if (rc == SYN_OK)
        rc = syn_parse_amount(text, "lease.price", &price, err);
    return rc < 0 ? rc : syn_lease_set(lease, item, unit, price, err);
}

static int
decode_text(const json_t *doc, const char *key, char *out, size_t cap, struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(doc, "lease", key, &text, err);

    if (rc == SYN_OK && !syn_str_copy(out, cap, text))
        rc = SYN_FAIL(err, SYN_E_INVALID, "lease.%s: longer than %zu bytes", key, cap - 1);
    return rc;
}

static int
decode_terms(const json_t *doc, struct syn_lease *lease, struct syn_err *err)
{
    static const char *const known[] = {"kind", "notice_ms", "max_price", NULL};
    const char *most = NULL;
    json_t *terms;
    int rc = syn_json_get_obj(doc, "lease", "terms", &terms, err);

    if (rc == SYN_OK)
        rc = syn_json_only_keys(terms, "lease.terms", known, err);
    if (rc == SYN_OK)
        rc = decode_text(terms, "kind", lease->kind, sizeof(lease->kind), err);
    if (rc == SYN_OK)
        rc = syn_json_get_i64(terms, "lease.terms", "notice_ms", 0, INT64_MAX, &lease->notice_ms,
                              err);
    lease->max_price = SYN_LEASE_NO_MAX;
    if (rc < 0 || json_is_null(json_object_get(terms, "max_price")))
        return rc;
    rc = syn_json_get_str(terms, "lease.terms", "max_price", &most, err);
    return rc < 0 ? rc : syn_parse_amount(most, "lease.terms.max_price", &lease->max_price, err);
}

int
syn_lease_decode(const json_t *doc, struct syn_lease *ret, struct syn_err *err)
{
    static const char *const known[] = {"price", "terms", "provider", "since", NULL};
    struct syn_lease lease = {.count = 0};
    json_t *prices = NULL, *row;
    const char *since, *item;
    int rc = syn_json_only_keys(doc, "lease", known, err);

    if (rc == SYN_OK)
        rc = decode_text(doc, "provider", lease.provider, sizeof(lease.provider), err);
    if (rc == SYN_OK)
        rc = decode_terms(doc, &lease, err);
    if (rc == SYN_OK)
        rc = syn_json_get_str(doc, "lease", "since", &since, err);
    if (rc == SYN_OK)
        rc = syn_parse_time(since, &lease.since_ms, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(doc, "lease", "price", &prices, err);
    if (rc < 0)
        return rc;
    json_object_foreach (prices, item, row) {
        rc = decode_price(item, row, &lease, err);
        if (rc < 0)
            return rc;
    }
    *ret = lease;
    return SYN_OK;
}
