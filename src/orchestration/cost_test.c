#include <synor/orchestration/cost.h>

#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/market/pricebook.h>

#define GIB (INT64_C(1) << 30)

static struct syn_pricebook *
book_read(void)
{
    static char data[SYN_PRICEBOOK_BYTES_MAX];
    FILE *file = fopen(SYN_TEST_SOURCE_ROOT "/data/pricebook.json", "r");
    struct syn_pricebook *book;
    struct syn_err err;
    size_t len;

    assert_non_null(file);
    len = fread(data, 1, sizeof(data), file);
    (void)fclose(file);
    assert_done(syn_pricebook_parse(data, len, &book, &err), &err);
    return book;
}

static void
test_rates_come_from_the_book(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct syn_cost_ask ask = {{2000, 4 * GIB, 10 * GIB}, 0, "", 1, 7 * SYN_SYNOR,
                                false};
    struct syn_cost cost;
    struct syn_err err;

    (void)state;
    /* 2 * 0.02 + 4 * 0.005 + 10 * 0.001 = 0.07 SYNOR an hour */
    assert_done(syn_cost_of(book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 7 * SYN_SYNOR / 100);
    assert_int_equal(cost.lasts_ms, 100 * INT64_C(3600000));
    ask.count = 3;
    assert_done(syn_cost_of(book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 21 * SYN_SYNOR / 100);
    ask.count = 1;
    ask.gpus = 2;
    ask.gpu_model = "h100";
    assert_done(syn_cost_of(book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 7 * SYN_SYNOR / 100 + 8 * SYN_SYNOR);
    ask.gpu_model = "";
    assert_code(syn_cost_of(book, &ask, &cost, &err), SYN_COST_UNPRICED, &err);
    ask.gpu_model = "abacus";
    assert_code(syn_cost_of(book, &ask, &cost, &err), SYN_COST_UNPRICED, &err);
}

static json_t *
instance(const char *id, const char *state)
{
    return json_pack("{s:s, s:{s:s, s:{s:i, s:i, s:i}}, s:{s:s}}", "id", id, "spec", "node", "n",
                     "resources", "cpu_millicores", 1000, "memory_bytes", 0, "scratch_bytes", 0,
                     "status", "state", state);
}

static void
test_only_live_instances_cost(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct syn_err err;
    int64_t rate;
    SYN_JSON(list);

    (void)state;
    list = json_pack("[o, o, o]", instance("a", "running"), instance("b", "assigned"),
                     instance("c", "exited"));
    assert_done(syn_cost_live(book, list, &rate, &err), &err);
    assert_int_equal(rate, 4 * SYN_SYNOR / 100);
    assert_done(syn_cost_live(book, NULL, &rate, &err), &err);
    assert_int_equal(rate, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_come_from_the_book),
        cmocka_unit_test(test_only_live_instances_cost),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
