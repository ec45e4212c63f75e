/* What programs tell of themselves, read for one series. */
#include <synor/base/test.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/exposition.h>

static void
test_series(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"jobs", true},
        {"go:jobs_2", true},
        {"jobs{}", true},
        {"jobs{queue=\"mail\"}", true},
        {"jobs { queue = \"ma\\\"il\\\\\" , pool=\"\", }", true},
        {"a{b=\"1\",c=\"1\",d=\"1\",e=\"1\",f=\"1\",g=\"1\",h=\"1\",i=\"1\"}", true},
        {"a{b=\"1\",c=\"1\",d=\"1\",e=\"1\",f=\"1\",g=\"1\",h=\"1\",i=\"1\",j=\"1\"}", false},
        {"", false},
        {"2jobs", false},
        {"jobs{", false},
        {"jobs{queue}", false},
        {"jobs{queue=mail}", false},
        {"jobs{queue=\"mail}", false},
        {"jobs{queue=\"\\x\"}", false},
        {"jobs{que:ue=\"\"}", false},
        {"jobs{a=\"1\" b=\"2\"}", false},
        {"jobs 1", false},
        {"jobs{queue=~\"m.*\"}", false},
    };
    char long_name[SYN_SERIES_TEXT_MAX + 1];
    struct syn_series series;
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_int_equal(syn_series_parse(rows[i].text, &series, &err),
                         rows[i].good ? SYN_OK : SYN_E_INVALID);
    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 2] = '\0';
    assert_done(syn_series_parse(long_name, &series, &err), &err);
    assert_string_equal(syn_series_name(&series, (char[SYN_SERIES_TEXT_MAX]){0}), long_name);
    long_name[sizeof(long_name) - 2] = 'a';
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(syn_series_parse(long_name, &series, &err), SYN_E_INVALID);
}

static const char text[] = "# HELP jobs What waits.\n"
                           "# TYPE jobs gauge\n"
                           "jobs{queue=\"mail\",pool=\"a\"} 3\n"
                           "jobs{queue=\"mail\",pool=\"b\"} 4.5 1700000000000\n"
                           "jobs{queue=\"pr\\\"int\"} 1e2\n"
                           "jobs_2 7\r\n"
                           "\n"
                           "# TYPE done_total counter\n"
                           "  done_total\t+Inf\n"
                           "odd{} NaN\n"
                           "what is this\n"
                           "last 5";

static void
test_sums(void **state)
{
    static const struct {
        const char *series;
        size_t samples;
        double sum;
        bool counter;
    } rows[] = {
        {"jobs", 3, 107.5, false},
        {"jobs{queue=\"mail\"}", 2, 7.5, false},
        {"jobs{pool=\"b\",queue=\"mail\"}", 1, 4.5, false},
        {"jobs{queue=\"pr\\\"int\"}", 1, 100, false},
        {"jobs{queue=\"mai\"}", 0, 0, false},
        {"jobs{queue=\"maill\"}", 0, 0, false},
        {"jobs{queue=\"\"}", 0, 0, false},
        {"jobs_2", 1, 7, false},
        {"job", 0, 0, false},
        {"done_total", 1, (double)INFINITY, true},
        {"odd", 0, 0, false},
        {"last", 1, 5, false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_series series;
        struct syn_series_value value;
        struct syn_err err = {0};

        assert_done(syn_series_parse(rows[i].series, &series, &err), &err);
        assert_done(syn_exposition_read(text, strlen(text), &series, &value, &err), &err);
        assert_int_equal(value.samples, rows[i].samples);
        assert_true(value.sum >= rows[i].sum && value.sum <= rows[i].sum);
        assert_int_equal(value.counter, rows[i].counter);
    }
}

/* What is asked for must be readable; what nobody asked for need not be. */
static void
test_broken(void **state)
{
    char digits[96];
    const char *const rows[] = {
        "\njobs",       "\njobs{a=\"1\" 2",  "\njobs{a=\"1\",,} 2", "\njobs 2x", "\njobs {a=1} 2",
        "\njobs \"2\"", "\njobs{a=\"1\"}2x", "\njobs{a=\"\\",       digits,
    };
    struct syn_series series;
    struct syn_series_value value;
    struct syn_err err = {0};

    (void)state;
    (void)snprintf(digits, sizeof(digits), "\njobs %080d", 1);
    assert_done(syn_series_parse("jobs", &series, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_int_equal(syn_exposition_read(rows[i], strlen(rows[i]), &series, &value, &err),
                         SYN_E_INVALID);
        assert_non_null(strstr(err.msg, "line 2"));
    }
    assert_int_equal(syn_exposition_read(text, SYN_EXPOSITION_BYTES_MAX + 1, &series, &value, &err),
                     SYN_E_TOOBIG);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_series),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_broken),
    };

    return cmocka_run_group_tests_name("exposition", tests, NULL, NULL);
}
