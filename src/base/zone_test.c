#include <synor/base/zone.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/base/test.h>
#include <synor/base/units.h>

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"

static int64_t
at(const char *text)
{
    int64_t ms;

    assert_int_equal(syn_parse_time(text, &ms, NULL), 0);
    return ms / 1000;
}

static void
test_rules(void **state)
{
    static const struct {
        const char *rule, *time;
        int32_t offset_s;
    } rows[] = {
        {BERLIN, "2026-03-29T00:59:59Z", 3600},
        {BERLIN, "2026-03-29T01:00:00Z", 7200},
        {BERLIN, "2026-10-25T00:59:59Z", 7200},
        {BERLIN, "2026-10-25T01:00:00Z", 3600},
        {BERLIN, "2026-12-31T23:59:59Z", 3600},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08T06:59:59Z", -18000},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00:00Z", -14400},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01T05:59:59Z", -14400},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01T06:00:00Z", -18000},
        /* South of the equator the year begins in summer. */
        {"AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-01-01T00:00:00Z", 39600},
        {"AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-07-01T00:00:00Z", 36000},
        /* Names in brackets, half hours, and a summer that is behind. */
        {"<+0545>-5:45", "2026-07-01T00:00:00Z", 20700},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2026-01-01T00:00:00Z", 0},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2026-07-01T00:00:00Z", 3600},
        /* Days by number, and an hour of another day. */
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T00:59:59Z", -7200},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z", -3600},
        {"AAA0BBB,J60,J300", "2024-03-01T01:59:59Z", 0},
        {"AAA0BBB,J60,J300", "2024-03-01T02:00:00Z", 3600},
        {"AAA0BBB,59,300", "2024-02-29T02:00:00Z", 3600},
        {"AAA0BBB,59,300", "2023-03-01T02:00:00Z", 3600},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;
        struct syn_zone_span span;

        assert_int_equal(syn_zone_rule(rows[i].rule, &zone, NULL), 0);
        span = syn_zone_at(zone, at(rows[i].time));
        if (span.offset_s != rows[i].offset_s)
            fail_msg("%s at %s: %d", rows[i].rule, rows[i].time, span.offset_s);
        assert_true(span.from_s <= at(rows[i].time) && at(rows[i].time) < span.until_s);
    }
}

static void
test_bad_rules(void **state)
{
    static const char *const rows[] = {
        "",
        "CE-1",
        "CET",
        "CET-25",
        "CET-1CEST",
        "CET-1,",
        "CET-1CEST,",
        "CET-1CEST,M3",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "<+01-1",
        "CET-1:60",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J10",
        "CET-1CEST,J1,J366",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/3x",
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_zone *zone = NULL;
        struct syn_err err = {0};

        if (syn_zone_rule(rows[i], &zone, &err) != SYN_E_INVALID)
            fail_msg("\"%s\" is a rule", rows[i]);
        assert_null(zone);
        assert_non_null(strstr(err.msg, "no rule of a time zone"));
    }
}

static void
test_names(void **state)
{
    (void)state;
    assert_true(syn_zone_name_ok("Europe/Berlin"));
    assert_true(syn_zone_name_ok("Etc/GMT+5"));
    assert_false(syn_zone_name_ok(""));
    assert_false(syn_zone_name_ok("/etc/passwd"));
    assert_false(syn_zone_name_ok("../passwd"));
    assert_false(syn_zone_name_ok("a b"));
}

/* A file as zic would write it: nothing in the old block, two transitions, a rule. */
static size_t
make_file(uint8_t *out, const char *footer)
{
    static const uint8_t head[44] = {'T', 'Z', 'i', 'f', '2', [39] = 1, [43] = 1};
    static const uint8_t times[16] = {0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0};
    static const uint8_t kinds[2] = {1, 0};
    static const uint8_t types[12] = {0, 0, 0x0e, 0x10, 0, 0, 0, 0, 0x1c, 0x20, 1, 0};
    uint8_t *to = out;

    memcpy(to, head, sizeof(head));
    to += sizeof(head) + 7; /* one type, one character */
    memcpy(to, head, sizeof(head));
    to[35] = 2;
    to[39] = 2;
    to += sizeof(head);
    memcpy(to, times, sizeof(times));
    memcpy(to + 16, kinds, sizeof(kinds));
    memcpy(to + 18, types, sizeof(types));
    to += 16 + 2 + 12 + 1;
    return (size_t)(to - out) + (size_t)snprintf((char *)to, 64, "\n%s\n", footer);
}

static void
test_file(void **state)
{
    uint8_t bytes[512] = {0};
    size_t len = make_file(bytes, BERLIN);
    SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;
    struct syn_zone_span span;

    (void)state;
    assert_int_equal(syn_zone_read(bytes, len, &zone, NULL), 0);
    span = syn_zone_at(zone, 0);
    assert_int_equal(span.offset_s, 3600);
    assert_int_equal(span.until_s, 0x10000000);
    span = syn_zone_at(zone, 0x10000000);
    assert_int_equal(span.offset_s, 7200);
    assert_int_equal(span.before_s, 3600);
    assert_int_equal(span.until_s, 0x20000000);
    span = syn_zone_at(zone, 0x20000000); /* in January 1987: the rule begins here */
    assert_int_equal(span.offset_s, 3600);
    assert_int_equal(span.before_s, 7200);
    assert_int_equal(span.from_s, 0x20000000);
    assert_int_equal(span.until_s, at("1987-03-29T01:00:00Z"));
    assert_int_equal(syn_zone_at(zone, at("2026-07-01T00:00:00Z")).offset_s, 7200);
}

/* Whatever is cut off or turned is refused, or still a zone: never read beyond its end. */
static void
test_broken_files(void **state)
{
    uint8_t bytes[512] = {0};
    size_t len = make_file(bytes, "CET-1");

    (void)state;
    for (size_t i = 0; i < len; i++) {
        uint8_t *part = malloc(i + 1); /* so that AddressSanitizer sees its end */
        struct syn_zone *zone = NULL;

        assert_non_null(part);
        memcpy(part, bytes, i);
        assert_int_equal(syn_zone_read(part, i, &zone, NULL), SYN_E_INVALID);
        free(part);
    }
    bytes[44 + 7 + 31] = 1; /* leap seconds */
    assert_int_equal(syn_zone_read(bytes, len, &(struct syn_zone *){NULL}, NULL), SYN_E_INVALID);
    assert_int_equal(syn_zone_read(bytes, SYN_ZONE_BYTES_MAX + 1, &(struct syn_zone *){NULL}, NULL),
                     SYN_E_TOOBIG);
}

/* This machine's zones, beside what its libc makes of them. */
static void
test_as_libc(void **state)
{
    static const char *const names[] = {"Europe/Berlin",     "America/New_York",
                                        "Asia/Kathmandu",    "Australia/Lord_Howe",
                                        "Africa/Casablanca", "America/Sao_Paulo"};
    static uint8_t bytes[SYN_ZONE_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;
        char path[128];
        FILE *file;
        size_t len;

        (void)snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", names[i]);
        file = fopen(path, "re");
        if (file == NULL) {
            print_message("# no %s: package tzdata\n", path);
            skip();
        }
        len = fread(bytes, 1, sizeof(bytes), file);
        (void)fclose(file);
        assert_int_equal(syn_zone_read(bytes, len, &zone, NULL), 0);
        assert_int_equal(setenv("TZ", names[i], 1), 0);
        tzset();
        for (time_t when = 0; when < at("2061-01-01T00:00:00Z"); when += 40009) {
            struct tm local;

            assert_non_null(localtime_r(&when, &local));
            if (syn_zone_at(zone, when).offset_s != local.tm_gmtoff)
                fail_msg("%s at %lld: %d, libc %ld", names[i], (long long)when,
                         syn_zone_at(zone, when).offset_s, local.tm_gmtoff);
        }
    }
}

static int
read_both(void *arg, struct syn_err *err)
{
    uint8_t bytes[512] = {0};
    size_t len = make_file(bytes, BERLIN);
    SYN_SCOPED(syn_zone_free_scope) struct syn_zone *file = NULL;
    SYN_SCOPED(syn_zone_free_scope) struct syn_zone *rule = NULL;
    int rc = syn_zone_read(bytes, len, &file, err);

    (void)arg;
    return rc < 0 ? rc : syn_zone_rule(BERLIN, &rule, err);
}

static void
test_no_memory(void **state)
{
    (void)state;
    assert_int_equal(syn_test_sweep_alloc(read_both, NULL), 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),        cmocka_unit_test(test_bad_rules),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_file),
        cmocka_unit_test(test_broken_files), cmocka_unit_test(test_as_libc),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests_name("zone", tests, NULL, NULL);
}
