#include <synor/base/date.h>
#include <synor/base/test.h>

/* Every day of four hundred years on both sides of the epoch: the calendar has no gap. */
static void
test_days_follow_each_other(void **state)
{
    int64_t days = syn_date_days(1600, 1, 1);
    int weekday = syn_date_weekday(days);

    (void)state;
    assert_int_equal(days, -135140);
    for (int64_t year = 1600; year < 2400; year++)
        for (int month = 1; month <= 12; month++)
            for (int day = 1; day <= syn_date_month_days(year, month); day++, days++) {
                struct syn_date date = syn_date_of_days(days);

                if (date.year != year || date.month != month || date.day != day ||
                    syn_date_days(year, month, day) != days || syn_date_weekday(days) != weekday)
                    fail_msg("%lld-%d-%d is day %lld", (long long)year, month, day,
                             (long long)days);
                weekday = (weekday + 1) % 7;
            }
}

static void
test_known_days(void **state)
{
    (void)state;
    assert_int_equal(syn_date_days(1970, 1, 1), 0);
    assert_int_equal(syn_date_days(2000, 2, 29), 11016);
    assert_int_equal(syn_date_weekday(0), 4);
    assert_int_equal(syn_date_weekday(-1), 3);
    assert_int_equal(syn_date_weekday(syn_date_days(2026, 11, 29)), 0);
    assert_int_equal(syn_date_month_days(1900, 2), 28);
    assert_int_equal(syn_date_month_days(2000, 2), 29);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_days_follow_each_other),
        cmocka_unit_test(test_known_days),
    };

    return cmocka_run_group_tests_name("date", tests, NULL, NULL);
}
