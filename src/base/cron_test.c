#include <synor/base/cron.h>

#include <synor/base/test.h>
#include <synor/base/units.h>

#define UTC    NULL
#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define NYC    "EST5EDT,M3.2.0,M11.1.0"

static int64_t
ms_at(const char *text)
{
    int64_t ms;

    assert_int_equal(syn_parse_time(text, &ms, NULL), 0);
    return ms;
}

/* The times that follow `after`, one by one. Local times stand with their offset. */
static const struct {
    const char *cron, *zone, *after;
    const char *next[4];
} known[] = {
    {"* * * * *", UTC, "2026-01-01T00:00:00Z", {"2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"}},
    {"*/20 * * * * *",
     UTC,
     "2026-01-01T00:00:00.001Z",
     {"2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"}},
    {"5/20 30 8 * * *",
     UTC,
     "2026-01-01T08:30:25Z",
     {"2026-01-01T08:30:45Z", "2026-01-02T08:30:05Z"}},
    {"0 8 * * mon-fri",
     UTC,
     "2026-11-26T08:00:00Z", /* a Thursday */
     {"2026-11-27T08:00:00Z", "2026-11-30T08:00:00Z"}},
    {"0 12 * * 5-7",
     UTC,
     "2026-11-26T00:00:00Z",
     {"2026-11-27T12:00:00Z", "2026-11-28T12:00:00Z", "2026-11-29T12:00:00Z",
      "2026-12-04T12:00:00Z"}},
    {"0 0 * * 0", UTC, "2026-11-26T00:00:00Z", {"2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"}},
    /* Either day is enough when both are restricted: the 13th, and Fridays. */
    {"0 0 13 * FRI",
     UTC,
     "2026-11-06T00:00:00Z",
     {"2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z",
      "2026-12-04T00:00:00Z"}},
    {"0 0 13 * ?", UTC, "2026-11-14T00:00:00Z", {"2026-12-13T00:00:00Z"}},
    /* Leap days; 2100 has none. */
    {"0 0 29 2 *", UTC, "2026-01-01T00:00:00Z", {"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
    {"0 0 29 feb *", UTC, "2096-02-29T00:00:00Z", {"2104-02-29T00:00:00Z"}},
    {"59 59 23 31 * *",
     UTC,
     "2026-01-31T23:59:59Z",
     {"2026-03-31T23:59:59Z", "2026-05-31T23:59:59Z"}},
    {"0 0 L * *",
     UTC,
     "2028-01-15T00:00:00Z",
     {"2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"}},
    {"0 0 30 2 mon", UTC, "2026-02-01T00:00:00Z", {"2026-02-02T00:00:00Z", "2026-02-09T00:00:00Z"}},
    {"@yearly", UTC, "2026-06-01T00:00:00Z", {"2027-01-01T00:00:00Z"}},
    {"@weekly", UTC, "2026-11-26T00:00:00Z", {"2026-11-29T00:00:00Z"}},
    {"@hourly", UTC, "2026-11-26T23:10:00Z", {"2026-11-27T00:00:00Z"}},
    {"0 0 31 12 *", UTC, "9999-12-30T00:00:00Z", {"9999-12-31T00:00:00Z"}},

    /* A zone without change of clocks, and both sides of the date line. */
    {"0 9 * * *",
     "<+0545>-5:45",
     "2026-01-01T00:00:00Z",
     {"2026-01-01T09:00:00+05:45", "2026-01-02T09:00:00+05:45"}},
    {"0 1 * * mon", "<+14>-14", "2026-11-28T00:00:00Z", {"2026-11-30T01:00:00+14:00"}},

    /* Berlin, 2026-03-29: 02:00 becomes 03:00. */
    {"0 8 * * *",
     BERLIN,
     "2026-03-27T12:00:00Z",
     {"2026-03-28T08:00:00+01:00", "2026-03-29T08:00:00+02:00", "2026-03-30T08:00:00+02:00"}},
    {"30 2 * * *",
     BERLIN,
     "2026-03-28T00:00:00Z",
     {"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
    /* Asked within the second before, it is still to come. */
    {"30 2 * * *",
     BERLIN,
     "2026-03-29T00:59:59.999Z",
     {"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
    {"0 2,3 * * *",
     BERLIN,
     "2026-03-28T12:00:00Z",
     {"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
    {"*/20 2 * * *",
     BERLIN,
     "2026-03-28T12:00:00Z",
     {"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T02:20:00+02:00"}},
    {"30 * * * *",
     BERLIN,
     "2026-03-29T00:00:00Z",
     {"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-29T04:30:00+02:00"}},
    /* Berlin, 2026-10-25: 03:00 becomes 02:00. */
    {"30 2 * * *",
     BERLIN,
     "2026-10-24T12:00:00Z",
     {"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
    {"30 2 * * *",
     BERLIN,
     "2026-10-25T01:10:00Z", /* within the second pass */
     {"2026-10-26T02:30:00+01:00"}},
    {"0 3 * * *",
     BERLIN,
     "2026-10-24T12:00:00Z",
     {"2026-10-25T03:00:00+01:00", "2026-10-26T03:00:00+01:00"}},
    {"30 * * * *",
     BERLIN,
     "2026-10-25T00:00:00Z",
     {"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"}},
    {"0 0 * * sun",
     BERLIN,
     "2026-10-24T12:00:00Z",
     {"2026-10-25T00:00:00+02:00", "2026-11-01T00:00:00+01:00"}},

    /* New York, 2026-03-08 and 2026-11-01. */
    {"15 2 * * *",
     NYC,
     "2026-03-07T12:00:00Z",
     {"2026-03-08T03:00:00-04:00", "2026-03-09T02:15:00-04:00"}},
    {"15 1 * * *",
     NYC,
     "2026-10-31T12:00:00Z",
     {"2026-11-01T01:15:00-04:00", "2026-11-02T01:15:00-05:00"}},
    {"0 */15 * * * *",
     NYC,
     "2026-11-01T05:45:00Z",
     {"2026-11-01T01:00:00-05:00", "2026-11-01T01:15:00-05:00"}},
    {"0 2 29 2 *", NYC, "2026-01-01T00:00:00Z", {"2028-02-29T02:00:00-05:00"}},
    /* A time that is left out once in its year. */
    {"30 2 8 3 *",
     NYC,
     "2026-01-01T00:00:00Z",
     {"2026-03-08T03:00:00-04:00", "2027-03-08T02:30:00-05:00"}},
};

static void
test_known_dates(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(known); i++) {
        SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;
        struct syn_cron cron;
        int64_t at_ms = ms_at(known[i].after);
        char got[SYN_FORMAT_MAX];

        assert_int_equal(syn_cron_parse(known[i].cron, &cron, NULL), 0);
        if (known[i].zone != NULL)
            assert_int_equal(syn_zone_rule(known[i].zone, &zone, NULL), 0);
        for (size_t k = 0; k < SYN_LEN(known[i].next) && known[i].next[k] != NULL; k++) {
            assert_int_equal(
                syn_cron_next(&cron, zone != NULL ? zone : syn_zone_utc(), at_ms, &at_ms), 0);
            if (at_ms != ms_at(known[i].next[k]))
                fail_msg("\"%s\" after %s, %zu: %s, expected %s", known[i].cron, known[i].after, k,
                         syn_format_time(at_ms, got), known[i].next[k]);
        }
    }
}

static void
test_no_schedules(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "expected [second]"},
        {"* * * *", "expected [second]"},
        {"* * * * * * *", "expected [second]"},
        {"@never", "expected [second]"},
        {"60 * * * * *", "second \"60\""},
        {"60 * * * *", "minute \"60\""},
        {"* 24 * * *", "hour \"24\""},
        {"* * 0 * *", "day of the month \"0\""},
        {"* * 32 * *", "day of the month \"32\""},
        {"* * * 13 *", "month \"13\""},
        {"* * * * 8", "day of the week \"8\""},
        {"* * * * fri-mon", "day of the week \"fri-mon\""},
        {"5-1 * * * *", "minute \"5-1\""},
        {"*/0 * * * *", "minute \"*/0\""},
        {"*/60 * * * *", "minute \"*/60\""},
        {"1, * * * *", "minute \"1,\""},
        {"1;2 * * * *", "minute \"1;2\""},
        {"-1 * * * *", "minute \"-1\""},
        {"? * * * *", "minute \"?\""},
        {"0001 * * * *", "minute \"0001\""},
        {"* * * janx *", "month \"janx\""},
        {"0 0 30 2 *", "no month it names has day 30"},
        {"0 0 31 4,6,9,11 *", "no month it names has day 31"},
        {"0 0 30-31 feb ?", "no month it names has day 30-31"},
    };
    char longest[SYN_CRON_TEXT_MAX + 1];
    struct syn_cron cron;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};

        if (syn_cron_parse(rows[i].text, &cron, &err) != SYN_E_INVALID ||
            strstr(err.msg, rows[i].says) == NULL)
            fail_msg("\"%s\": %s", rows[i].text, err.msg);
    }
    memset(longest, '*', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(syn_cron_parse(longest, &cron, NULL), SYN_E_INVALID);
}

static void
test_the_end_of_time(void **state)
{
    struct syn_cron cron;
    int64_t at_ms = 7;

    (void)state;
    assert_int_equal(syn_cron_parse("0 0 1 1 *", &cron, NULL), 0);
    assert_int_equal(syn_cron_next(&cron, syn_zone_utc(), ms_at("9999-01-01T00:00:00Z"), &at_ms),
                     SYN_CRON_NEVER);
    assert_int_equal(syn_cron_next(&cron, syn_zone_utc(), INT64_MAX, &at_ms), SYN_CRON_NEVER);
    assert_int_equal(at_ms, 7);
    assert_int_equal(syn_cron_next(&cron, syn_zone_utc(), INT64_MIN, &at_ms), 0);
    assert_int_equal(at_ms, 0);
}

/* A year of a daily schedule has every day once, whatever clocks do. */
static void
test_once_a_day(void **state)
{
    static const char *const zones[] = {BERLIN, NYC, "AEST-10AEDT,M10.1.0,M4.1.0/3",
                                        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(zones); i++)
        for (int quarter = 0; quarter < 96; quarter++) {
            SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;
            int64_t at_ms = ms_at("2026-01-01T12:00:00Z");
            struct syn_cron cron;
            char text[32];
            int runs = 0;

            (void)snprintf(text, sizeof(text), "%d %d * * *", quarter % 4 * 15, quarter / 4);
            assert_int_equal(syn_cron_parse(text, &cron, NULL), 0);
            assert_int_equal(syn_zone_rule(zones[i], &zone, NULL), 0);
            while (at_ms <= ms_at("2028-01-01T12:00:00Z") && runs < 1000) {
                assert_int_equal(syn_cron_next(&cron, zone, at_ms, &at_ms), 0);
                runs++;
            }
            if (runs != 731)
                fail_msg("\"%s\" in %s: %d runs", text, zones[i], runs);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_dates),
        cmocka_unit_test(test_no_schedules),
        cmocka_unit_test(test_the_end_of_time),
        cmocka_unit_test(test_once_a_day),
    };

    return cmocka_run_group_tests_name("cron", tests, NULL, NULL);
}
