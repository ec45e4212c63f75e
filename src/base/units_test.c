#include <synor/base/test.h>
#include <synor/base/units.h>

#include <synor/base/str.h>

#define KIB INT64_C(1024)
#define BAD INT64_MIN

struct parse_case {
    const char *text;
    int64_t value; /* BAD: refused */
};

typedef int parse_fn(const char *text, const char *what, int64_t *ret, struct syn_err *err);

static void
check_parser(parse_fn *parse, const struct parse_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct syn_err err = {0};
        int64_t value = 77;
        int rc = parse(cases[i].text, "--thing", &value, &err);

        if (rc != (cases[i].value == BAD ? SYN_E_INVALID : 0) ||
            value != (cases[i].value == BAD ? 77 : cases[i].value))
            fail_msg("\"%s\": %d, value %lld, want %lld (%s)", cases[i].text, rc, (long long)value,
                     (long long)cases[i].value, err.msg);
        assert_true(rc == 0 || strstr(err.msg, "--thing") != NULL);
    }
}

static void
test_bytes(void **state)
{
    static const struct parse_case cases[] = {
        {"0", 0},
        {"512", 512},
        {"512b", 512},
        {"64kb", 64 * KIB},
        {"64k", 64 * KIB},
        {"4gb", 4 * KIB * KIB * KIB},
        {"4GiB", 4 * KIB * KIB * KIB},
        {"1.5gb", 1536 * KIB * KIB},
        {"2t", 2 * KIB * KIB * KIB * KIB},
        {"0.5k", 512},
        {"0.0009765625k", BAD},       /* ten decimals that count */
        {"0.000976562k", BAD},        /* no whole byte */
        {"1.50000000000000kb", 1536}, /* zeros may be as many as one likes */
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", BAD},
        {"8388607t", 8388607 * KIB * KIB * KIB * KIB},
        {"8388608t", BAD},
        {"9999999999999999999t", BAD}, /* past 128 bits of product */
        {"99999999999999999999", BAD},
        {"0.1", BAD},
        {"0.1k", BAD},
        {"", BAD},
        {"k", BAD},
        {"1 k", BAD},
        {" 1", BAD},
        {"-1", BAD},
        {"+1", BAD},
        {"1e3", BAD},
        {"1p", BAD},
        {"1kbb", BAD},
        {"1.", BAD},
        {".5k", BAD},
        {"1,5k", BAD},
    };

    (void)state;
    check_parser(syn_parse_bytes, cases, SYN_LEN(cases));
}

static void
test_durations(void **state)
{
    static const struct parse_case cases[] = {
        {"0", 0},
        {"30", 30000},
        {"1.5", 1500},
        {"250ms", 250},
        {"30s", 30000},
        {"5m", 300000},
        {"2h", 7200000},
        {"7d", 604800000},
        {"1h30m", 5400000},
        {"1d1h1m1s1ms", 90061001},
        {"0.5h", 1800000},
        {"0.001s", 1},
        {"1.5s500ms", 2000},
        {"5M", 300000},
        {"0.5ms", BAD},
        {"0.0001s", BAD},
        {"1h30", BAD},
        {"30 s", BAD},
        {"1w", BAD},
        {"-1s", BAD},
        {"", BAD},
        {"s", BAD},
        {"1s ", BAD},
        {"1.s", BAD},
        {"106751991167d", 106751991167 * INT64_C(86400000)},
        {"106751991168d", BAD},
        {"106751991167d106751991167d", BAD},
    };

    (void)state;
    check_parser(syn_parse_duration_ms, cases, SYN_LEN(cases));
}

static void
test_cpus(void **state)
{
    static const struct parse_case cases[] = {
        {"2", 2000}, {"0.5", 500},    {"250m", 250}, {"0.001", 1}, {"1.5", 1500},
        {"0", 0},    {"0.0005", BAD}, {"0.5m", BAD}, {"2c", BAD},  {"", BAD},
        {"-1", BAD}, {"m", BAD},      {"1M", BAD},   {"1mm", BAD},
    };

    (void)state;
    check_parser(syn_parse_cpus, cases, SYN_LEN(cases));
}

static void
test_amounts(void **state)
{
    static const struct parse_case cases[] = {
        {"0", 0},
        {"10", 10 * SYN_SYNOR},
        {"0.000000001", 1},
        {"10.5", 10500000000},
        {"0.1", 100000000},
        {"1.2300000000000", 1230000000},
        {"4000000000", SYN_AMOUNT_MAX},
        {"3999999999.999999999", SYN_AMOUNT_MAX - 1},
        {"4000000000.000000001", BAD},
        {"9999999999999999999", BAD},
        {"0.0000000001", BAD},
        {"0.0000000010", 1},
        {"-1", BAD},
        {"+1", BAD},
        {"1e3", BAD},
        {"1 SYNOR", BAD},
        {"", BAD},
        {".5", BAD},
        {"5.", BAD},
        {"0x10", BAD},
        {"1,000", BAD},
    };

    (void)state;
    check_parser(syn_parse_amount, cases, SYN_LEN(cases));
}

/* What is written is read back as itself, for amounts and cores of every size. */
static void
test_round_trips(void **state)
{
    uint64_t seed = 42;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        int64_t value = (int64_t)(syn_test_random(&seed) >> (1 + syn_test_random(&seed) % 62));
        char text[SYN_FORMAT_MAX];
        int64_t again = -1;
        struct syn_err err = {0};

        value %= SYN_AMOUNT_MAX + 1;
        assert_done(syn_parse_amount(syn_format_amount(value, text), "x", &again, &err), &err);
        assert_true(again == value);
        value %= INT64_MAX / 1000;
        assert_done(syn_parse_cpus(syn_format_cpus(value, text), "x", &again, &err), &err);
        assert_true(again == value);
        value %= INT64_C(253402300800000);
        assert_done(syn_parse_time(syn_format_time(value, text), &again, &err), &err);
        assert_true(again == value);
    }
}

static void
test_shares(void **state)
{
    (void)state;
    assert_int_equal(syn_amount_share(10000, 8500), 8500);
    assert_int_equal(syn_amount_share(1, 9999), 0);
    assert_int_equal(syn_amount_share(3, 5000), 1);
    assert_true(syn_amount_share(INT64_MAX, 10000) == INT64_MAX);
    assert_true(syn_amount_share(INT64_MAX, 9999) == INT64_C(9222449699651090329));
    assert_int_equal(syn_amount_share(0, 10000), 0);
}

typedef const char *format_fn(int64_t value, char *out);

struct format_case {
    int64_t value;
    const char *text;
};

static void
check_format(format_fn *format, const struct format_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char out[SYN_FORMAT_MAX];

        assert_ptr_equal(format(cases[i].value, out), out);
        assert_string_equal(out, cases[i].text);
    }
}

static void
test_formats(void **state)
{
    static const struct format_case bytes[] = {
        {0, "0 B"},           {1023, "1023 B"},      {1024, "1 KiB"},
        {1536, "1.5 KiB"},    {-1536, "-1.5 KiB"},   {1048524, "1023.9 KiB"},
        {1048575, "1.0 MiB"}, {KIB * KIB, "1 MiB"},  {KIB * KIB * KIB * 3 / 2, "1.5 GiB"},
        {INT64_MAX, "8 EiB"}, {INT64_MIN, "-8 EiB"},
    };
    static const struct format_case durations[] = {
        {0, "0ms"},
        {15, "15ms"},
        {999, "999ms"},
        {1000, "1.0s"},
        {3299, "3.2s"},
        {59999, "59.9s"},
        {60000, "1m00s"},
        {3599999, "59m59s"},
        {3720000, "1h02m"},
        {86399999, "23h59m"},
        {90000000, "1d01h"},
        {-1500, "-1.5s"},
        {INT64_MIN, "-106751991167d07h"},
    };
    static const struct format_case amounts[] = {
        {0, "0"},
        {1, "0.000000001"},
        {-1, "-0.000000001"},
        {10500000000, "10.5"},
        {10 * SYN_SYNOR, "10"},
        {SYN_AMOUNT_MAX, "4000000000"},
        {INT64_MAX, "9223372036.854775807"},
        {INT64_MIN, "-9223372036.854775808"},
    };
    static const struct format_case cpus[] = {
        {0, "0"}, {500, "0.5"}, {2000, "2"}, {1, "0.001"}, {1250, "1.25"}, {-500, "-0.5"},
    };

    (void)state;
    check_format(syn_format_bytes, bytes, SYN_LEN(bytes));
    check_format(syn_format_duration, durations, SYN_LEN(durations));
    check_format(syn_format_amount, amounts, SYN_LEN(amounts));
    check_format(syn_format_cpus, cpus, SYN_LEN(cpus));
}

static const struct {
    const char *text;
    int64_t ms;
    const char *canonical; /* NULL: the text itself */
} good_times[] = {
    {"1970-01-01T00:00:00.000Z", 0, NULL},
    {"1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"},
    {"2026-11-23T19:58:57.123Z", 1795463937123, NULL},
    {"2000-02-29T00:00:00.000Z", 951782400000, NULL},
    {"2024-02-29T23:59:59.999Z", 1709251199999, NULL},
    {"2024-12-31T00:00:00.000Z", 1735603200000, NULL},
    {"2100-02-28T00:00:00.000Z", 4107456000000, NULL},
    {"9999-12-31T23:59:59.999Z", 253402300799999, NULL},
    {"9999-12-31T23:59:59.999999999Z", 253402300799999, "9999-12-31T23:59:59.999Z"},
    {"2026-01-01T00:00:00.5Z", 1767225600500, "2026-01-01T00:00:00.500Z"},
    {"2026-01-01T02:30:00+02:30", 1767225600000, "2026-01-01T00:00:00.000Z"},
    {"2025-12-31T19:00:00-05:00", 1767225600000, "2026-01-01T00:00:00.000Z"},
    {"2026-01-01T00:00:00-00:00", 1767225600000, "2026-01-01T00:00:00.000Z"},
    {"1970-01-01T01:00:00+01:00", 0, "1970-01-01T00:00:00.000Z"},
};
static const char *const bad_times[] = {
    "",
    "2026",
    "2026-11-23",
    "2026-11-23T19:58Z",
    "2026-11-23T19:58:57",
    "2026-11-23 19:58:57Z",
    "2026-11-23T19:58:57z",
    "2026-11-23T19:58:57.Z",
    "2026-11-23T19:58:57.1234567890Z",
    "2026-11-23T19:58:57,5Z",
    "2026-11-23T19:58:57ZZ",
    "2026-11-23T19:58:57+0100",
    "2026-11-23T19:58:57+24:00",
    "2026-11-23T19:58:57+01:60",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:60:00Z",
    "2026-01-01T00:00:60Z",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "10000-01-01T00:00:00Z",
    "-001-01-01T00:00:00Z",
};

static void
test_times(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(good_times); i++) {
        struct syn_err err = {0};
        char out[SYN_FORMAT_MAX];
        int64_t ms = -1;

        assert_done(syn_parse_time(good_times[i].text, &ms, &err), &err);
        if (ms != good_times[i].ms)
            fail_msg("%s: %lld, want %lld", good_times[i].text, (long long)ms,
                     (long long)good_times[i].ms);
        assert_string_equal(syn_format_time(ms, out), good_times[i].canonical != NULL
                                                          ? good_times[i].canonical
                                                          : good_times[i].text);
    }
    for (size_t i = 0; i < SYN_LEN(bad_times); i++) {
        struct syn_err err = {0};
        int64_t ms = 77;

        if (syn_parse_time(bad_times[i], &ms, &err) != SYN_E_INVALID || ms != 77)
            fail_msg("\"%s\" is taken as %lld", bad_times[i], (long long)ms);
    }
}

/* Every day of eight thousand years: the calendar moves as the Gregorian rule says. */
static void
test_calendar(void **state)
{
    int64_t day = 0;

    (void)state;
    for (int year = 1970; year <= 9999; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

        for (int month = 1; month <= 12; month++) {
            int length = lengths[month - 1] + (month == 2 && leap ? 1 : 0);
            char want[SYN_FORMAT_MAX];
            char out[SYN_FORMAT_MAX];

            (void)snprintf(want, sizeof(want), "%04d-%02d-%02dT00:00:00.000Z", year, month, 1);
            assert_string_equal(syn_format_time(day * 86400000, out), want);
            day += length;
            (void)snprintf(want, sizeof(want), "%04d-%02d-%02dT23:59:59.999Z", year, month, length);
            assert_string_equal(syn_format_time(day * 86400000 - 1, out), want);
        }
    }
}

static void
test_times_out_of_range_are_clamped(void **state)
{
    char out[SYN_FORMAT_MAX];

    (void)state;
    assert_string_equal(syn_format_time(-1, out), "1970-01-01T00:00:00.000Z");
    assert_string_equal(syn_format_time(INT64_MIN, out), "1970-01-01T00:00:00.000Z");
    assert_string_equal(syn_format_time(INT64_MAX, out), "9999-12-31T23:59:59.999Z");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),       cmocka_unit_test(test_durations),
        cmocka_unit_test(test_cpus),        cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_formats),     cmocka_unit_test(test_times),
        cmocka_unit_test(test_calendar),    cmocka_unit_test(test_times_out_of_range_are_clamped),
    };

    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
