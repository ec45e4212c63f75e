#include <synor/market/lease.h>

#include "market_test_priv.h"

static struct syn_err err;

static struct syn_lease
lease_make(void)
{
    struct syn_lease lease = {.provider = "acct-p",
                              .kind = "on-demand",
                              .max_price = SYN_LEASE_NO_MAX,
                              .since_ms = INT64_C(1764000000000)};

    assert_done(syn_lease_set(&lease, "scratch", "gb-hour", 0, &err), &err);
    assert_done(syn_lease_set(&lease, "gpu:h100", "gpu-hour", 3 * SYN_SYNOR, &err), &err);
    assert_done(syn_lease_set(&lease, "cpu", "core-hour", SYN_SYNOR / 100, &err), &err);
    return lease;
}

static void
prices_are_kept_in_order(void **state)
{
    struct syn_lease lease = lease_make();

    (void)state;
    assert_int_equal(lease.count, 3);
    assert_string_equal(lease.prices[0].item, "cpu");
    assert_string_equal(lease.prices[1].item, "gpu:h100");
    assert_string_equal(lease.prices[2].item, "scratch");
    assert_done(syn_lease_set(&lease, "cpu", "core-hour", 7, &err), &err);
    assert_int_equal(lease.count, 3);
    assert_int_equal(syn_lease_find(&lease, "cpu")->price, 7);
    assert_null(syn_lease_find(&lease, "memory"));
    assert_null(syn_lease_find(NULL, "cpu"));
}

static void
setting_refuses(void **state)
{
    struct syn_lease lease = lease_make();
    char item[SYN_ITEM_MAX + 1];

    (void)state;
    assert_code(syn_lease_set(&lease, "cpu", "core-hour", -1, &err), SYN_E_INVALID, &err);
    assert_code(syn_lease_set(&lease, "cpu", "core-hour", SYN_LEASE_PRICE_MAX + 1, &err),
                SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "0..10000 SYNOR"));
    assert_code(syn_lease_set(&lease, "cpu", "fortnight", 1, &err), SYN_E_INVALID, &err);
    assert_code(syn_lease_set(&lease, "", "core-hour", 1, &err), SYN_E_INVALID, &err);
    memset(item, 'x', SYN_ITEM_MAX);
    item[SYN_ITEM_MAX] = '\0';
    assert_code(syn_lease_set(&lease, item, "core-hour", 1, &err), SYN_E_INVALID, &err);
    for (unsigned i = 0; lease.count < SYN_LEASE_PRICES_MAX; i++) {
        (void)snprintf(item, sizeof(item), "gpu:model-%u", i);
        assert_done(syn_lease_set(&lease, item, "gpu-hour", i, &err), &err);
    }
    assert_code(syn_lease_set(&lease, "gpu:zz", "gpu-hour", 1, &err), SYN_E_LIMIT, &err);
    assert_done(syn_lease_set(&lease, "cpu", "core-hour", 5, &err), &err); /* replaced, not added */
}

/* The lease's price where it has one, free of charge included, and the book's where it has none. */
static void
lease_goes_before_the_book(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    const struct syn_lease lease = lease_make();
    struct syn_lease_price price;

    (void)state;
    assert_done(syn_lease_get(&lease, book, "cpu", SYN_MEASURE_MILLICORE_MS, &price, &err), &err);
    assert_int_equal(price.price, SYN_SYNOR / 100);
    assert_done(syn_lease_get(&lease, book, "scratch", SYN_MEASURE_BYTE_MS, &price, &err), &err);
    assert_int_equal(price.price, 0);
    assert_done(syn_lease_get(&lease, book, "memory", SYN_MEASURE_BYTE_MS, &price, &err), &err);
    assert_int_equal(price.price, 5 * SYN_SYNOR / 1000);
    assert_string_equal(price.unit->name, "gb-hour");
    assert_done(syn_lease_get(NULL, book, "cpu", SYN_MEASURE_MILLICORE_MS, &price, &err), &err);
    assert_int_equal(price.price, SYN_SYNOR / 50);
    assert_done(syn_lease_get(&lease, NULL, "cpu", SYN_MEASURE_MILLICORE_MS, &price, &err), &err);
    assert_code(syn_lease_get(&lease, NULL, "memory", SYN_MEASURE_BYTE_MS, &price, &err),
                SYN_E_NOTFOUND, &err);
    assert_code(syn_lease_get(&lease, book, "cpu", SYN_MEASURE_BYTE, &price, &err), SYN_E_INVALID,
                &err);
    assert_code(syn_lease_get(&lease, book, "gpu:b200", SYN_MEASURE_GPU_MS, &price, &err),
                SYN_E_NOTFOUND, &err);
}

static void
documents_round_trip(void **state)
{
    struct syn_lease lease = lease_make(), again;
    SYN_JSON(doc);
    SYN_JSON(ceiling);

    (void)state;
    assert_done(syn_lease_encode(&lease, &doc, &err), &err);
    assert_string_equal(syn_json_str(syn_json_at(doc, "price.cpu"), "price", ""), "0.01");
    assert_string_equal(syn_json_str(syn_json_at(doc, "price.cpu"), "unit", ""), "core-hour");
    assert_true(json_is_null(syn_json_at(doc, "terms.max_price")));
    assert_done(syn_lease_decode(doc, &again, &err), &err);
    assert_memory_equal(&again, &lease, sizeof(lease));
    lease.max_price = SYN_SYNOR / 4;
    assert_done(syn_lease_encode(&lease, &ceiling, &err), &err);
    assert_done(syn_lease_decode(ceiling, &again, &err), &err);
    assert_memory_equal(&again, &lease, sizeof(lease));
}

static void
decoding_refuses(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{}}",
        "{\"provider\":\"p\",\"since\":\"yesterday\",\"price\":{},"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":0,\"max_price\":null}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{},"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":-1,\"max_price\":null}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{},"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":0,\"max_price\":\"-1\"}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{},\"more\":1,"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":0,\"max_price\":null}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{\"cpu\":\"1\"},"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":0,\"max_price\":null}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{\"cpu\":{\"price\":"
        "1,\"unit\":\"core-hour\"}},"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":0,\"max_price\":null}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{\"cpu\":{\"price\":"
        "\"10000.000000001\",\"unit\":\"core-hour\"}},"
        "\"terms\":{\"kind\":\"on-demand\",\"notice_ms\":0,\"max_price\":null}}",
        "{\"provider\":\"p\",\"since\":\"2026-01-01T00:00:00.000Z\",\"price\":{\"cpu\":{\"price\":"
        "\"1\",\"unit\":\"core-hour\"}},\"terms\":{\"kind\":\"on-demand-and-on-and-on\","
        "\"notice_ms\":0,\"max_price\":null}}",
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_lease lease;
        SYN_JSON(doc);

        assert_done(syn_json_parse(bad[i], strlen(bad[i]), &doc, &err), &err);
        assert_code(syn_lease_decode(doc, &lease, &err), SYN_E_INVALID, &err);
    }
}

static int
sweep_scenario(void *arg, struct syn_err *e)
{
    struct syn_lease again;
    SYN_JSON(doc);
    int rc = syn_lease_encode(arg, &doc, e);

    return rc < 0 ? rc : syn_lease_decode(doc, &again, e);
}

static void
out_of_memory_anywhere(void **state)
{
    struct syn_lease lease = lease_make();

    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_scenario, &lease) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prices_are_kept_in_order),   cmocka_unit_test(setting_refuses),
        cmocka_unit_test(lease_goes_before_the_book), cmocka_unit_test(documents_round_trip),
        cmocka_unit_test(decoding_refuses),           cmocka_unit_test(out_of_memory_anywhere),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
