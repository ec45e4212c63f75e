#include <synor/orchestration/queue.h>

#include <string.h>

#include <synor/base/test.h>

static const struct syn_queue_rules rules = {
    .visibility_ms = 30000,
    .retention_ms = 100000,
    .receives_max = 3,
    .backoff_ms = 100,
    .backoff_max_ms = 1000,
};

static void
keys_sort_by_time_and_number(void **state SYN_UNUSED)
{
    static const int64_t values[] = {0, 1, 9, 10, 255, 256, INT64_C(1790000000000), INT64_MAX};
    char before[SYN_QUEUE_KEY_SIZE] = "", key[SYN_QUEUE_KEY_SIZE];

    for (size_t i = 0; i < SYN_LEN(values); i++) {
        for (size_t j = 0; j < SYN_LEN(values); j++) {
            int64_t ready = -1, sequence = -1;

            syn_queue_key(values[i], values[j], key);
            assert_true(strcmp(before, key) < 0);
            memcpy(before, key, sizeof(key));
            assert_true(syn_queue_key_read(key, &ready, &sequence));
            assert_true(ready == values[i] && sequence == values[j]);
        }
    }
}

static void
what_is_no_key_is_told(void **state SYN_UNUSED)
{
    static const char *const texts[] = {
        "",
        "0",
        "0000000000000000-000000000000000",
        "0000000000000000-00000000000000000",
        "0000000000000000+0000000000000000",
        "000000000000000g-0000000000000000",
        "000000000000000A-0000000000000000",
        "8000000000000000-0000000000000000",
        "0000000000000000-ffffffffffffffff",
    };
    int64_t ready, sequence;

    for (size_t i = 0; i < SYN_LEN(texts); i++)
        assert_false(syn_queue_key_read(texts[i], &ready, &sequence));
}

static void
fates(void **state SYN_UNUSED)
{
    static const struct {
        int64_t sent, ready, receives, now;
        enum syn_queue_fate fate;
    } rows[] = {
        {0, 0, 0, 0, SYN_QUEUE_DELIVER},
        {0, 1, 0, 0, SYN_QUEUE_LATER},
        {0, 1, 0, 1, SYN_QUEUE_DELIVER},
        {0, 0, 2, 50, SYN_QUEUE_DELIVER},
        {0, 0, 3, 50, SYN_QUEUE_BURY},
        {0, 60, 3, 50, SYN_QUEUE_LATER},
        {0, 0, 0, 99999, SYN_QUEUE_DELIVER},
        {0, 0, 0, 100000, SYN_QUEUE_EXPIRE},
        {0, 200000, 3, 100000, SYN_QUEUE_EXPIRE},
        {500, 500, 0, 100, SYN_QUEUE_LATER},
    };
    struct syn_queue_rules patient = rules;

    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_int_equal(
            syn_queue_fate(&rules, rows[i].sent, rows[i].ready, rows[i].receives, rows[i].now),
            rows[i].fate);
    patient.receives_max = 0;
    assert_int_equal(syn_queue_fate(&patient, 0, 0, 1000, 50), SYN_QUEUE_DELIVER);
}

static void
waits_double(void **state SYN_UNUSED)
{
    static const int64_t waits[] = {100, 200, 400, 800, 1000, 1000};
    struct syn_queue_rules none = {.backoff_max_ms = 1000};

    for (size_t i = 0; i < SYN_LEN(waits); i++)
        assert_int_equal(syn_queue_backoff_ms(&rules, (int64_t)i + 1), waits[i]);
    assert_int_equal(syn_queue_backoff_ms(&rules, INT64_MAX), 1000);
    assert_int_equal(syn_queue_backoff_ms(&none, INT64_MAX), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_sort_by_time_and_number),
        cmocka_unit_test(what_is_no_key_is_told),
        cmocka_unit_test(fates),
        cmocka_unit_test(waits_double),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
