#include <synor/market/pricebook.h>

#include <synor/base/json.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

struct syn_pricebook {
    char id[SYN_PRICEBOOK_ID_MAX];
    struct syn_share shares[SYN_SHARES_MAX];
    size_t share_count;
    struct syn_price *items;
    size_t item_count;
};

static const char *const measure_names[] = {
    [SYN_MEASURE_MILLICORE_MS] = "millicore-ms",
    [SYN_MEASURE_BYTE_MS] = "byte-ms",
    [SYN_MEASURE_GPU_MS] = "gpu-ms",
    [SYN_MEASURE_GPU_PERMILLE_MS] = "gpu-permille-ms",
    [SYN_MEASURE_MS] = "ms",
    [SYN_MEASURE_BYTE] = "byte",
    [SYN_MEASURE_TOKEN] = "token",
    [SYN_MEASURE_REQUEST] = "request",
};

/* Every unit a book may use. The book states its own figures as well, for those who read only the
 * file; a difference is an error, so neither can drift. */
static const struct syn_unit units[] = {
    {"core-hour", SYN_MEASURE_MILLICORE_MS, 1000 * SYN_HOUR_MS},
    {"gb-hour", SYN_MEASURE_BYTE_MS, SYN_GB_BYTES *SYN_HOUR_MS},
    {"gb-month", SYN_MEASURE_BYTE_MS, SYN_GB_BYTES *SYN_MONTH_MS},
    {"gb-second", SYN_MEASURE_BYTE_MS, SYN_GB_BYTES * 1000},
    {"gpu-hour", SYN_MEASURE_GPU_MS, SYN_HOUR_MS},
    {"gpu-part-hour", SYN_MEASURE_GPU_PERMILLE_MS, 1000 * SYN_HOUR_MS},
    {"hour", SYN_MEASURE_MS, SYN_HOUR_MS},
    {"month", SYN_MEASURE_MS, SYN_MONTH_MS},
    {"minute", SYN_MEASURE_MS, 60000},
    {"gb", SYN_MEASURE_BYTE, SYN_GB_BYTES},
    {"1m-tokens", SYN_MEASURE_TOKEN, 1000000},
    {"1m-requests", SYN_MEASURE_REQUEST, 1000000},
};

const char *
syn_measure_name(enum syn_measure measure)
{
    assert((size_t)measure < SYN_LEN(measure_names));
    return measure_names[measure];
}

bool
syn_measure_find(const char *name, enum syn_measure *ret)
{
    for (size_t i = 0; i < SYN_LEN(measure_names); i++) {
        if (syn_str_eq(measure_names[i], name)) {
            *ret = (enum syn_measure)i;
            return true;
        }
    }
    return false;
}

const struct syn_unit *
syn_unit_find(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(units); i++) {
        if (syn_str_eq(units[i].name, name))
            return &units[i];
    }
    return NULL;
}

const struct syn_unit *
syn_unit_in(const struct syn_unit *unit, enum syn_measure measure)
{
    if (unit->measure == measure)
        return unit;
    return measure == SYN_MEASURE_GPU_PERMILLE_MS && syn_str_eq(unit->name, "gpu-hour")
               ? syn_unit_find("gpu-part-hour")
               : NULL;
}

/* ---- parsing ---- */

/* [a-z0-9][a-z0-9:._-]*, shorter than cap. */
static int
get_word(const json_t *obj, const char *path, const char *key, char *out, size_t cap,
         struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(obj, path, key, &text, err);

    if (rc != 0)
        return rc;
    if (text[0] == '\0' || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789:._-") != strlen(text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: '%.64s' must be of a-z 0-9 : . _ -", path, key,
                        text);
    if (!syn_str_copy(out, cap, text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: longer than %zu bytes", path, key, cap - 1);
    return SYN_OK;
}

static int
check_fixed(const json_t *doc, const char *key, int64_t want, struct syn_err *err)
{
    int64_t value;
    int rc = syn_json_get_i64(doc, "pricebook", key, INT64_MIN, INT64_MAX, &value, err);

    if (rc == 0 && value != want)
        return SYN_FAIL(err, SYN_E_INVALID, "pricebook.%s: is %lld, metering counts with %lld", key,
                        (long long)value, (long long)want);
    return rc;
}

static int
parse_header(const json_t *doc, struct syn_pricebook *book, struct syn_err *err)
{
    static const char *const known[] = {"version", "id",     "currency", "gb_bytes", "month_hours",
                                        "units",   "shares", "items",    NULL};
    const char *currency;
    int64_t version;
    int rc = syn_json_get_i64(doc, "pricebook", "version", 0, INT64_MAX, &version, err);

    if (rc == 0 && version != SYN_PRICEBOOK_VERSION)
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "pricebook.version: %lld, this build reads %d",
                      (long long)version, SYN_PRICEBOOK_VERSION);
    if (rc == 0)
        rc = syn_json_only_keys(doc, "pricebook", known, err);
    if (rc == 0)
        rc = get_word(doc, "pricebook", "id", book->id, sizeof(book->id), err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "pricebook", "currency", &currency, err);
    if (rc == 0 && !syn_str_eq(currency, "SYNOR"))
        rc = SYN_FAIL(err, SYN_E_INVALID, "pricebook.currency: '%.16s' is not SYNOR", currency);
    if (rc == 0)
        rc = check_fixed(doc, "gb_bytes", SYN_GB_BYTES, err);
    if (rc == 0)
        rc = check_fixed(doc, "month_hours", SYN_MONTH_HOURS, err);
    return rc;
}

static int
check_unit(const char *name, const json_t *obj, struct syn_err *err)
{
    static const char *const known[] = {"measure", "per", NULL};
    const struct syn_unit *unit = syn_unit_find(name);
    const char *measure;
    int64_t per;
    int rc;

    if (!unit)
        return SYN_FAIL(err, SYN_E_INVALID, "units.%.48s: no such unit", name);
    rc = syn_json_only_keys(obj, name, known, err);
    if (rc == 0)
        rc = syn_json_get_str(obj, name, "measure", &measure, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, name, "per", 1, INT64_MAX, &per, err);
    if (rc != 0)
        return rc;
    if (!syn_str_eq(measure, syn_measure_name(unit->measure)) || per != unit->per)
        return SYN_FAIL(err, SYN_E_INVALID, "units.%s: is %lld %.32s, metering counts %lld %s",
                        name, (long long)per, measure, (long long)unit->per,
                        syn_measure_name(unit->measure));
    return SYN_OK;
}

static int
check_units(const json_t *doc, struct syn_err *err)
{
    const char *name;
    json_t *obj, *unit;
    int rc = syn_json_get_obj(doc, "pricebook", "units", &obj, err);

    if (rc != 0)
        return rc;
    json_object_foreach (obj, name, unit) {
        rc = check_unit(name, unit, err);
        if (rc != 0)
            return rc;
    }
    return SYN_OK;
}

static int
parse_share(const char *name, const json_t *obj, struct syn_share *share, struct syn_err *err)
{
    static const char *const known[] = {"provider_bps", "protocol_bps", NULL};
    int rc = syn_json_only_keys(obj, name, known, err);

    if (rc == 0 && (name[0] == '\0' || !syn_str_copy(share->name, sizeof(share->name), name)))
        rc = SYN_FAIL(err, SYN_E_INVALID, "shares: the name '%.32s' is empty or longer than %d",
                      name, SYN_SHARE_NAME_MAX - 1);
    if (rc == 0)
        rc = syn_json_get_i64(obj, name, "provider_bps", 0, 10000, &share->provider_bps, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, name, "protocol_bps", 0, 10000, &share->protocol_bps, err);
    if (rc == 0 && share->provider_bps + share->protocol_bps != 10000)
        rc = SYN_FAIL(err, SYN_E_INVALID, "shares.%s: %lld and %lld do not make 10000", name,
                      (long long)share->provider_bps, (long long)share->protocol_bps);
    return rc;
}

static int
parse_shares(const json_t *doc, struct syn_pricebook *book, struct syn_err *err)
{
    const char *name;
    json_t *obj, *share;
    int rc = syn_json_get_obj(doc, "pricebook", "shares", &obj, err);

    if (rc != 0)
        return rc;
    if (json_object_size(obj) > SYN_SHARES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "shares: %zu, at most %d", json_object_size(obj),
                        SYN_SHARES_MAX);
    json_object_foreach (obj, name, share) {
        rc = parse_share(name, share, &book->shares[book->share_count], err);
        if (rc != 0)
            return rc;
        book->share_count++;
    }
    return SYN_OK;
}

static int
parse_size(const json_t *obj, const char *item, struct syn_vm_size *size, struct syn_err *err)
{
    static const char *const known[] = {"cpu_millicores", "memory_bytes", "disk_bytes", "disk",
                                        "gpu_model",      "gpus",         NULL};
    int rc = syn_json_only_keys(obj, item, known, err);

    if (rc == 0)
        rc = syn_json_get_i64(obj, item, "cpu_millicores", 1, 1000000000, &size->cpu_millicores,
                              err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, item, "memory_bytes", 1, INT64_MAX, &size->memory_bytes, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, item, "disk_bytes", 1, INT64_MAX, &size->disk_bytes, err);
    if (rc == 0)
        rc = get_word(obj, item, "disk", size->disk, sizeof(size->disk), err);
    if (rc == 0)
        rc = syn_json_opt_i64(obj, item, "gpus", 0, 1024, &size->gpus, err);
    if (rc == 0 && (size->gpus > 0) != (json_object_get(obj, "gpu_model") != NULL))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: gpus and gpu_model go together", item);
    if (rc == 0 && size->gpus > 0)
        rc = get_word(obj, item, "gpu_model", size->gpu_model, sizeof(size->gpu_model), err);
    return rc;
}

/* The two names an item refers to: its unit, which the file must declare, and its share. */
static int
parse_references(const json_t *doc, const json_t *obj, const struct syn_pricebook *book,
                 struct syn_price *price, struct syn_err *err)
{
    const char *unit, *share;
    int rc = syn_json_get_str(obj, price->item, "unit", &unit, err);

    if (rc == 0)
        rc = syn_json_get_str(obj, price->item, "share", &share, err);
    if (rc != 0)
        return rc;
    price->unit = syn_unit_find(unit);
    if (!price->unit || !json_object_get(json_object_get(doc, "units"), unit))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.unit: '%.32s' is not among the file's units",
                        price->item, unit);
    price->share = syn_pricebook_share(book, share);
    if (!price->share)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.share: '%.32s' is not among the file's shares",
                        price->item, share);
    return SYN_OK;
}

static int
parse_item(const json_t *doc, const json_t *obj, struct syn_pricebook *book, struct syn_err *err)
{
    static const char *const known[] = {"id", "title", "unit", "price", "share", "size", NULL};
    struct syn_price price = {0};
    const char *title, *amount;
    json_t *size;
    int rc = get_word(obj, "items[]", "id", price.item, sizeof(price.item), err);

    if (rc == 0 && syn_pricebook_find(book, price.item))
        rc = SYN_FAIL(err, SYN_E_INVALID, "items[]: %s stands twice", price.item);
    if (rc == 0)
        rc = syn_json_only_keys(obj, price.item, known, err);
    if (rc == 0)
        rc = syn_json_get_str(obj, price.item, "title", &title, err);
    if (rc == 0 && !syn_str_copy(price.title, sizeof(price.title), title))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.title: longer than %d bytes", price.item,
                      SYN_TITLE_MAX - 1);
    if (rc == 0)
        rc = syn_json_get_str(obj, price.item, "price", &amount, err);
    if (rc == 0)
        rc = syn_parse_amount(amount, price.item, &price.price, err);
    if (rc == 0)
        rc = parse_references(doc, obj, book, &price, err);
    price.sized = json_object_get(obj, "size") != NULL;
    if (rc == 0 && price.sized)
        rc = syn_json_get_obj(obj, price.item, "size", &size, err);
    if (rc == 0 && price.sized)
        rc = parse_size(size, price.item, &price.size, err);
    if (rc == 0)
        book->items[book->item_count++] = price;
    return rc;
}

static int
parse_items(const json_t *doc, struct syn_pricebook *book, struct syn_err *err)
{
    json_t *array, *obj;
    size_t i, count;
    int rc = syn_json_get_arr(doc, "pricebook", "items", &array, err);

    if (rc != 0)
        return rc;
    count = json_array_size(array);
    if (count > SYN_PRICEBOOK_ITEMS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "items: %zu, at most %d", count,
                        SYN_PRICEBOOK_ITEMS_MAX);
    book->items = syn_calloc(SYN_MAX(count, 1), sizeof(book->items[0]));
    if (!book->items)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %zu prices", count);
    json_array_foreach (array, i, obj) {
        rc = parse_item(doc, obj, book, err);
        if (rc != 0)
            return rc;
    }
    return SYN_OK;
}

int
syn_pricebook_parse(const char *data, size_t len, struct syn_pricebook **ret_book,
                    struct syn_err *err)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = NULL;
    SYN_JSON(doc);
    int rc;

    if (len > SYN_PRICEBOOK_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the price book has %zu bytes, at most %zu", len,
                        SYN_PRICEBOOK_BYTES_MAX);
    rc = syn_json_parse_object(data, len, &doc, err);
    if (rc != 0)
        return syn_err_wrap(err, rc, "price book");
    book = syn_calloc(1, sizeof(*book));
    if (!book)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a price book");
    rc = parse_header(doc, book, err);
    if (rc == 0)
        rc = check_units(doc, err);
    if (rc == 0)
        rc = parse_shares(doc, book, err);
    if (rc == 0)
        rc = parse_items(doc, book, err);
    if (rc != 0)
        return syn_err_wrap(err, rc, "price book");
    *ret_book = SYN_TAKE(book);
    return SYN_OK;
}

struct syn_pricebook *
syn_pricebook_free(struct syn_pricebook *book)
{
    if (!book)
        return NULL;
    syn_free(book->items);
    syn_free(book);
    return NULL;
}

void
syn_pricebook_free_scope(struct syn_pricebook **slot)
{
    *slot = syn_pricebook_free(*slot);
}

/* ---- looking up ---- */

const char *
syn_pricebook_id(const struct syn_pricebook *book)
{
    return book->id;
}

const struct syn_price *
syn_pricebook_find(const struct syn_pricebook *book, const char *item)
{
    for (size_t i = 0; i < book->item_count; i++) {
        if (syn_str_eq(book->items[i].item, item))
            return &book->items[i];
    }
    return NULL;
}

int
syn_pricebook_get(const struct syn_pricebook *book, const char *item, enum syn_measure measure,
                  const struct syn_price **ret_price, struct syn_err *err)
{
    const struct syn_price *price = syn_pricebook_find(book, item);

    if (!price)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "price book %s has no price for '%.48s'", book->id,
                        item);
    if (!syn_unit_in(price->unit, measure))
        return SYN_FAIL(err, SYN_E_INVALID, "%s is metered in %s, price book %s sells it by the %s",
                        item, syn_measure_name(measure), book->id, price->unit->name);
    *ret_price = price;
    return SYN_OK;
}

const struct syn_share *
syn_pricebook_share(const struct syn_pricebook *book, const char *name)
{
    for (size_t i = 0; i < book->share_count; i++) {
        if (syn_str_eq(book->shares[i].name, name))
            return &book->shares[i];
    }
    return NULL;
}

const struct syn_price *
syn_pricebook_items(const struct syn_pricebook *book, size_t *ret_count)
{
    *ret_count = book->item_count;
    return book->items;
}
