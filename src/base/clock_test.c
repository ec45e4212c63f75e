#include <synor/base/clock.h>
#include <synor/base/test.h>

static void
test_goes_forth(void **state)
{
    int64_t last = syn_clock_ns();

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        int64_t now = syn_clock_ns();

        assert_true(now >= last);
        last = now;
    }
}

static void
test_is_the_one_that_waits_go_by(void **state)
{
    struct timespec now;
    int64_t before = syn_clock_ns();

    (void)state;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    assert_in_range((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, before, syn_clock_ns());
}

static void
test_in_ms(void **state)
{
    static const int64_t waits_ms[] = {0, 1, 999, 1000, 86400000};

    (void)state;
    for (size_t i = 0; i < sizeof(waits_ms) / sizeof(waits_ms[0]); i++) {
        int64_t before = syn_clock_ns() + waits_ms[i] * 1000000;
        struct timespec then = syn_clock_in_ms(waits_ms[i]);

        assert_in_range(then.tv_nsec, 0, 999999999);
        assert_in_range((int64_t)then.tv_sec * 1000000000 + then.tv_nsec, before,
                        syn_clock_ns() + waits_ms[i] * 1000000);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_forth),
        cmocka_unit_test(test_is_the_one_that_waits_go_by),
        cmocka_unit_test(test_in_ms),
    };

    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
