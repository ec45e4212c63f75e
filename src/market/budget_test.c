#include <synor/market/budget.h>

#include "market_test_priv.h"

static struct syn_err err;

static void
thresholds_table(void **state)
{
    enum { A = SYN_BUDGET_50, B = SYN_BUDGET_80, C = SYN_BUDGET_100 };
    static const struct {
        int64_t before, after, budget;
        unsigned events;
    } rows[] = {
        {0, 0, 100, 0},     {0, 49, 100, 0},       {49, 50, 100, A},
        {50, 51, 100, 0},   {0, 80, 100, A | B},   {79, 80, 100, B},
        {80, 99, 100, 0},   {99, 100, 100, C},     {0, 1000, 100, A | B | C},
        {100, 101, 100, 0}, {0, 1, 1, A | B | C},  {1, 1, 1, 0},
        {1, 2, 3, A},       {2, 3, 3, B | C},      {0, 0, 0, 0},
        {50, 50, 200, 0},   {50, 100, 120, A | B}, {0, SYN_AMOUNT_MAX, SYN_AMOUNT_MAX, A | B | C},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        unsigned events = syn_budget_crossed(rows[i].before, rows[i].after, rows[i].budget);

        if (events != rows[i].events)
            fail_msg("row %zu: %u, want %u", i, events, rows[i].events);
    }
}

static void
each_event_comes_once(void **state)
{
    uint64_t random = 7;

    (void)state;
    for (unsigned round = 0; round < 500; round++) {
        int64_t budget = (int64_t)(syn_test_random(&random) % 100000) + 1, spent = 0;
        unsigned seen = 0;

        while (spent < budget) {
            int64_t next = spent + (int64_t)(syn_test_random(&random) % (uint64_t)budget);
            unsigned events = syn_budget_crossed(spent, next, budget);

            assert_int_equal(seen & events, 0);
            seen |= events;
            spent = next;
        }
        assert_int_equal(seen, SYN_BUDGET_50 | SYN_BUDGET_80 | SYN_BUDGET_100);
    }
}

static void
estimates(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    struct syn_capacity capacity = test_capacity(2000, 2, 4), gpu = test_capacity(0, 0, 0);
    struct syn_estimate estimate;

    (void)state;
    /* 2 * 0.02 + 2 * 0.005 + 4 * 0.001 = 0.054 an hour: 15 base units each ms */
    assert_done(syn_budget_estimate(&capacity, 1, 10 * SYN_SYNOR, book, &estimate, &err), &err);
    assert_int_equal(estimate.hour, 54000000);
    assert_int_equal(estimate.month, INT64_C(39420000000));
    assert_int_equal(estimate.budget_lasts_ms, 10 * SYN_SYNOR / 15);
    assert_done(syn_budget_estimate(&capacity, 4, 10 * SYN_SYNOR, book, &estimate, &err), &err);
    assert_int_equal(estimate.hour, 216000000);
    gpu.gpus = 8;
    (void)syn_str_copy(gpu.gpu_model, sizeof(gpu.gpu_model), "h100");
    assert_done(syn_budget_estimate(&gpu, 1, 16 * SYN_SYNOR, book, &estimate, &err), &err);
    assert_int_equal(estimate.hour, 32 * SYN_SYNOR);
    assert_int_equal(estimate.budget_lasts_ms, SYN_HOUR_MS / 2);

    gpu.gpus = 1;
    (void)syn_str_copy(gpu.gpu_model, sizeof(gpu.gpu_model), "b200");
    assert_code(syn_budget_estimate(&gpu, 1, 1, book, &estimate, &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_budget_estimate(&capacity, 0, 1, book, &estimate, &err), SYN_E_INVALID, &err);
}

static void
rates_at_the_edges(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    struct syn_rate zero = SYN_RATE_ZERO, rate = SYN_RATE_ZERO;
    struct syn_capacity one = test_capacity(1, 0, 0);

    (void)state;
    assert_int_equal(syn_rate_cost(&zero, SYN_HOUR_MS), 0);
    assert_int_equal(syn_rate_lasts_ms(&zero, 0), INT64_MAX);
    assert_done(syn_rate_add(&rate, &one, 1, NULL, book, &err), &err); /* 1/180 base unit a ms */
    assert_true(rate.num == 1 && rate.den == 180);
    assert_int_equal(syn_rate_cost(&rate, 0), 0);
    assert_int_equal(syn_rate_cost(&rate, 180), 1);
    assert_int_equal(syn_rate_cost(&rate, 181), 2);
    assert_int_equal(syn_rate_lasts_ms(&rate, 1), 180);
    assert_int_equal(syn_rate_lasts_ms(&rate, 0), 0);
    assert_int_equal(syn_rate_lasts_ms(&rate, -5), 0);
    assert_int_equal(syn_rate_lasts_ms(&rate, SYN_AMOUNT_MAX), INT64_MAX);
    assert_int_equal(syn_rate_cost(&rate, INT64_MAX), INT64_MAX / 180 + 1);
    rate.num = (syn_u128)1 << 100;
    assert_int_equal(syn_rate_cost(&rate, INT64_MAX), SYN_AMOUNT_MAX);
}

/* The time that a budget lasts is the longest whose exact cost it covers. */
static void
budget_lasts_exactly(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    uint64_t random = 99;

    (void)state;
    for (unsigned round = 0; round < 1000; round++) {
        struct syn_capacity capacity =
            test_capacity((int64_t)(syn_test_random(&random) % 64000) + 1,
                          (int64_t)(syn_test_random(&random) % 64), 1);
        int64_t budget = (int64_t)(syn_test_random(&random) % 20000000000) + 1, lasts;
        struct syn_rate rate = SYN_RATE_ZERO;

        capacity.memory_bytes += (int64_t)(syn_test_random(&random) % 4096);
        assert_done(syn_rate_add(&rate, &capacity, 1 + round % 3, NULL, book, &err), &err);
        lasts = syn_rate_lasts_ms(&rate, budget);
        assert_true(syn_rate_cost(&rate, lasts) <= budget);
        assert_true(syn_rate_cost(&rate, lasts + 1) > budget);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_table),
        cmocka_unit_test(each_event_comes_once),
        cmocka_unit_test(estimates),
        cmocka_unit_test(rates_at_the_edges),
        cmocka_unit_test(budget_lasts_exactly),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
