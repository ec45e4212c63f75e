#include <synor/market/pricebook.h>

#include <synor/base/json.h>

#include "market_test_priv.h"

static struct syn_err err;

/* The product's tables, once more, by hand: the file must say the same. */
static const struct {
    const char *item, *price, *unit, *share;
} product[] = {
    {"cpu", "0.02", "core-hour", "compute"},
    {"memory", "0.005", "gb-hour", "compute"},
    {"scratch", "0.001", "gb-hour", "compute"},
    {"gpu:rtx4090", "0.5", "gpu-hour", "compute"},
    {"gpu:a100-80gb", "2", "gpu-hour", "compute"},
    {"gpu:h100", "4", "gpu-hour", "compute"},
    {"vram", "0.01", "gb-hour", "compute"},
    {"inference:tokens", "0.1", "1m-tokens", "compute"},
    {"storage:hot", "0.1", "gb-month", "storage"},
    {"volume", "0.001", "gb-hour", "storage"},
    {"ingress", "0", "gb", "network"},
    {"egress", "0.05", "gb", "network"},
    {"lb", "0.01", "hour", "network"},
    {"static-ip", "2", "month", "network"},
    {"vm:micro", "5", "month", "compute"},
    {"vm:small", "15", "month", "compute"},
    {"vm:medium", "30", "month", "compute"},
    {"vm:large", "80", "month", "compute"},
    {"vm:xlarge", "200", "month", "compute"},
    {"vm:gpu-small", "400", "month", "compute"},
    {"vm:gpu-medium", "750", "month", "compute"},
    {"vm:gpu-large", "2500", "month", "compute"},
    {"vm:gpu-xlarge", "8000", "month", "compute"},
    {"function:invocations", "0.2", "1m-requests", "compute"},
    {"function:compute", "0.00001", "gb-second", "compute"},
    {"function:provisioned", "0.01", "gb-hour", "compute"},
    {"function:http", "0.1", "1m-requests", "network"},
    {"function:events", "0.5", "1m-requests", "network"},
    {"edge:invocations", "0.5", "1m-requests", "compute"},
    {"edge:compute", "0.00002", "gb-second", "compute"},
    {"edge:bandwidth", "0.08", "gb", "network"},
    {"edge:cache", "0.02", "gb-month", "storage"},
    {"edge:video", "0.02", "minute", "compute"},
};

static const struct {
    const char *item;
    int64_t vcpus, memory_gb, disk_gb, gpus;
    const char *gpu_model;
} sizes[] = {
    {"vm:micro", 1, 1, 20, 0, ""},
    {"vm:small", 2, 4, 50, 0, ""},
    {"vm:medium", 4, 8, 100, 0, ""},
    {"vm:large", 8, 32, 200, 0, ""},
    {"vm:xlarge", 16, 64, 500, 0, ""},
    {"vm:gpu-small", 8, 32, 200, 1, "rtx4090"},
    {"vm:gpu-medium", 16, 64, 500, 2, "rtx4090"},
    {"vm:gpu-large", 32, 128, 1024, 4, "a100-80gb"},
    {"vm:gpu-xlarge", 64, 256, 2048, 8, "h100"},
};

static void
product_prices(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    size_t count;

    (void)state;
    (void)syn_pricebook_items(book, &count);
    assert_int_equal(count, SYN_LEN(product));
    for (size_t i = 0; i < SYN_LEN(product); i++) {
        const struct syn_price *price = syn_pricebook_find(book, product[i].item);
        char text[SYN_FORMAT_MAX];

        assert_non_null(price);
        assert_string_equal(syn_format_amount(price->price, text), product[i].price);
        assert_string_equal(price->unit->name, product[i].unit);
        assert_string_equal(price->share->name, product[i].share);
    }
    assert_null(syn_pricebook_find(book, "gold"));
    assert_string_equal(syn_pricebook_id(book), "synor-1");
}

static void
product_sizes_and_shares(void **state)
{
    static const struct {
        const char *name;
        int64_t provider, protocol;
    } shares[] = {{"compute", 8500, 1500},
                  {"storage", 8000, 2000},
                  {"network", 7500, 2500},
                  {"sla-bonus", 10000, 0},
                  {"staking", 10000, 0}};
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(sizes); i++) {
        const struct syn_price *price = syn_pricebook_find(book, sizes[i].item);

        assert_true(price->sized);
        assert_int_equal(price->size.cpu_millicores, sizes[i].vcpus * 1000);
        assert_int_equal(price->size.memory_bytes, sizes[i].memory_gb * SYN_GB_BYTES);
        assert_int_equal(price->size.disk_bytes, sizes[i].disk_gb * SYN_GB_BYTES);
        assert_int_equal(price->size.gpus, sizes[i].gpus);
        assert_string_equal(price->size.gpu_model, sizes[i].gpu_model);
    }
    for (size_t i = 0; i < SYN_LEN(shares); i++) {
        const struct syn_share *share = syn_pricebook_share(book, shares[i].name);

        assert_int_equal(share->provider_bps, shares[i].provider);
        assert_int_equal(share->protocol_bps, shares[i].protocol);
    }
    assert_null(syn_pricebook_share(book, "charity"));
}

static void
units_are_what_they_say(void **state)
{
    (void)state;
    assert_int_equal(syn_unit_find("core-hour")->per, 3600000000);
    assert_int_equal(syn_unit_find("gb-hour")->per, (INT64_C(1) << 30) * 3600000);
    assert_int_equal(syn_unit_find("gb-month")->per, (INT64_C(1) << 30) * 730 * 3600000);
    assert_int_equal(syn_unit_find("gpu-hour")->per, 3600000);
    assert_null(syn_unit_find("fortnight"));
}

static void
get_says_why_not(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    const struct syn_price *price;

    (void)state;
    assert_done(syn_pricebook_get(book, "cpu", SYN_MEASURE_MILLICORE_MS, &price, &err), &err);
    assert_code(syn_pricebook_get(book, "gpu:b200", SYN_MEASURE_GPU_MS, &price, &err),
                SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, "gpu:b200"));
    assert_code(syn_pricebook_get(book, "cpu", SYN_MEASURE_BYTE, &price, &err), SYN_E_INVALID,
                &err);
}

#define BOOK(version, gb, units, shares, items)                                     \
    "{\"version\":" version ",\"id\":\"b\",\"currency\":\"SYNOR\",\"gb_bytes\":" gb \
    ",\"month_hours\":730,\"units\":{" units "},\"shares\":{" shares "},\"items\":[" items "]}"
#define HOUR  "\"hour\":{\"measure\":\"ms\",\"per\":3600000}"
#define SHARE "\"s\":{\"provider_bps\":8500,\"protocol_bps\":1500}"
#define ITEM(id, unit, price, share)                                            \
    "{\"id\":\"" id "\",\"title\":\"t\",\"unit\":\"" unit "\",\"price\":" price \
    ",\"share\":\"" share "\"}"
#define LB         ITEM("lb", "hour", "\"0.01\"", "s")
#define GB         "1073741824"
#define WITH(item) BOOK("1", GB, HOUR, SHARE, item)

static const struct {
    const char *text;
    int code;
    const char *says;
} books[] = {
    {WITH(LB), SYN_OK, NULL},
    {WITH(""), SYN_OK, NULL},
    {BOOK("2", GB, HOUR, SHARE, LB), SYN_E_UNSUPPORTED, "version"},
    {BOOK("1", "1000000000", HOUR, SHARE, LB), SYN_E_INVALID, "gb_bytes"},
    {BOOK("1", GB, "", SHARE, LB), SYN_E_INVALID, "lb.unit"},
    {BOOK("1", GB, "\"hour\":{\"measure\":\"ms\",\"per\":3600}", SHARE, LB), SYN_E_INVALID,
     "units.hour"},
    {BOOK("1", GB, "\"hour\":{\"measure\":\"byte\",\"per\":3600000}", SHARE, LB), SYN_E_INVALID,
     "units.hour"},
    {BOOK("1", GB, "\"week\":{\"measure\":\"ms\",\"per\":604800000}", SHARE, LB), SYN_E_INVALID,
     "units.week"},
    {BOOK("1", GB, HOUR, "\"s\":{\"provider_bps\":8500,\"protocol_bps\":1400}", LB), SYN_E_INVALID,
     "shares.s"},
    {BOOK("1", GB, HOUR, "\"s\":{\"provider_bps\":-1,\"protocol_bps\":10001}", LB), SYN_E_INVALID,
     "provider_bps"},
    {BOOK("1", GB, HOUR, "", LB), SYN_E_INVALID, "lb.share"},
    {WITH(LB "," LB), SYN_E_INVALID, "lb stands twice"},
    {WITH(ITEM("lb", "hour", "0.01", "s")), SYN_E_INVALID, "price"},
    {WITH(ITEM("lb", "hour", "\"-1\"", "s")), SYN_E_INVALID, "lb"},
    {WITH(ITEM("lb", "hour", "\"0.0000000001\"", "s")), SYN_E_INVALID, "lb"},
    {WITH(ITEM("lb", "hour", "\"4000000001\"", "s")), SYN_E_INVALID, "lb"},
    {WITH(ITEM("L B", "hour", "\"1\"", "s")), SYN_E_INVALID, "items[].id"},
    {WITH("{}"), SYN_E_INVALID, "id"},
    {WITH("7"), SYN_E_INVALID, ""},
    {WITH("{\"id\":\"x\",\"discount\":1}"), SYN_E_INVALID, "discount"},
    {"{\"version\":1,\"vat\":0}", SYN_E_INVALID, "vat"},
    {"[]", SYN_E_INVALID, "price book"},
    {"", SYN_E_INVALID, "version"},
    {"{", SYN_E_INVALID, "price book"},
};

static void
parsing_is_strict(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(books); i++) {
        SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = NULL;
        struct syn_err e = {0};
        int rc = syn_pricebook_parse(books[i].text, strlen(books[i].text), &book, &e);

        if (rc != books[i].code)
            fail_msg("book %zu: %d, want %d: %s", i, rc, books[i].code, e.msg);
        if (rc < 0 && !strstr(e.msg, books[i].says))
            fail_msg("book %zu says '%s', not '%s'", i, e.msg, books[i].says);
    }
}

struct source {
    char *data;
    size_t len;
};

static int
parse_scenario(void *arg, struct syn_err *e)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = NULL;
    const struct source *source = arg;

    return syn_pricebook_parse(source->data, source->len, &book, e);
}

static void
out_of_memory_anywhere(void **state)
{
    static char text[] = WITH(LB);
    struct source source = {text, sizeof(text) - 1};

    (void)state;
    assert_true(syn_test_sweep_alloc(parse_scenario, &source) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_prices),          cmocka_unit_test(product_sizes_and_shares),
        cmocka_unit_test(units_are_what_they_say), cmocka_unit_test(get_says_why_not),
        cmocka_unit_test(parsing_is_strict),       cmocka_unit_test(out_of_memory_anywhere),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("pricebook", tests, NULL, NULL);
}
