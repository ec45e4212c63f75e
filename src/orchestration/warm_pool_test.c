#include <synor/orchestration/warm_pool.h>

#include <synor/base/test.h>

#define MAX   4
#define HOUR  INT64_C(3600000)
#define BEGAN INT64_C(1000000)

static void
what_nobody_used_is_not_kept(void **state)
{
    struct syn_warm_pool pool = {.asked = 0};

    (void)state;
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN, MAX), 0);
    syn_warm_pool_asked(&pool, BEGAN);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN, MAX), 1);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN, 0), 0);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + SYN_WARM_POOL_KEPT_MS, MAX), 1);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + SYN_WARM_POOL_KEPT_MS + 1, MAX), 0);
}

/* As many as came while another one was made, and no more. */
static void
as_many_as_come_at_once(void **state)
{
    static const struct {
        int64_t apart_ms, make_ms;
        size_t wanted;
    } rows[] = {{0, 1000, 3},    {400, 1000, 3}, {600, 1000, 2}, {1001, 1000, 1},
                {1001, 3000, 3}, {20000, 0, 1},  {500, 0, 3},    {40000, 100000, 1}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_warm_pool pool = {.make_ms = rows[i].make_ms};

        for (int k = 0; k < 3; k++)
            syn_warm_pool_asked(&pool, BEGAN + k * rows[i].apart_ms);
        assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + 100000, MAX), rows[i].wanted);
        assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + 100000, 1), 1);
    }
}

/* A burst of long ago says nothing, the last minutes do; more than is remembered is no harm. */
static void
what_is_over_is_forgotten(void **state)
{
    struct syn_warm_pool pool = {.asked = 0};

    (void)state;
    for (int i = 0; i < 3 * SYN_WARM_POOL_ASKED; i++)
        syn_warm_pool_asked(&pool, BEGAN);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN, MAX), MAX);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN, 1000), SYN_WARM_POOL_ASKED);
    syn_warm_pool_asked(&pool, BEGAN + SYN_WARM_POOL_KEPT_MS + 1);
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + SYN_WARM_POOL_KEPT_MS + 1, MAX), 1);
    syn_warm_pool_asked(&pool, BEGAN); /* a clock that went back */
    assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + SYN_WARM_POOL_KEPT_MS + 1, MAX), 2);
}

static void
ask_hourly(struct syn_warm_pool *pool, int hours, int64_t off_ms)
{
    for (int hour = 0; hour < hours; hour++)
        for (int64_t i = 0; i < 2; i++)
            syn_warm_pool_asked(pool, BEGAN + hour * HOUR + (hour == 2 ? off_ms : 0) + i * 100);
}

/* Two each hour: they wait a moment before, and not long after one that does not come. */
static void
what_keeps_a_schedule_is_expected(void **state)
{
    static const struct {
        int64_t at_ms;
        size_t wanted;
    } rows[] = {{4 * HOUR - HOUR / 2, 0}, {4 * HOUR - 60000, 0},
                {4 * HOUR - 15000, 2},    {4 * HOUR, 2},
                {4 * HOUR + 300000, 2},   {4 * HOUR + 400000, 0}};
    struct syn_warm_pool pool = {.asked = 0}, few = {.asked = 0}, unlike = {.asked = 0};

    (void)state;
    ask_hourly(&pool, 4, 60000);
    ask_hourly(&few, 3, 0);
    ask_hourly(&unlike, 4, HOUR / 5);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_int_equal(syn_warm_pool_wanted(&pool, BEGAN + rows[i].at_ms, MAX), rows[i].wanted);
        assert_int_equal(syn_warm_pool_wanted(&few, BEGAN + rows[i].at_ms, MAX), 0);
        assert_int_equal(syn_warm_pool_wanted(&unlike, BEGAN + rows[i].at_ms, MAX), 0);
    }
}

static void
making_is_averaged(void **state)
{
    struct syn_warm_pool pool = {.asked = 0};

    (void)state;
    syn_warm_pool_made(&pool, 1000);
    assert_int_equal(pool.make_ms, 1000);
    syn_warm_pool_made(&pool, 2000);
    assert_int_equal(pool.make_ms, 1250);
    syn_warm_pool_made(&pool, -5);
    assert_int_equal(pool.make_ms, 937);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_used_is_not_kept),
        cmocka_unit_test(as_many_as_come_at_once),
        cmocka_unit_test(what_is_over_is_forgotten),
        cmocka_unit_test(what_keeps_a_schedule_is_expected),
        cmocka_unit_test(making_is_averaged),
    };

    return cmocka_run_group_tests_name("orchestration/warm_pool", tests, NULL, NULL);
}
