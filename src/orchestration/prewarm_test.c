/* What a function's calls say of the next ones; and two days of six functions, beside instances
 * that are always kept for five minutes. */
#include "prewarm_testing.h"

#include <stdio.h>
#include <stdlib.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define IDLE_MS INT64_C(300000)
#define BEGIN   CALLS_BEGIN_MS
#define SECOND  INT64_C(1000)

static const struct syn_prewarm_rule rule = {
    .idle_ms = IDLE_MS, .concurrency = 1, .instances_max = 10};

static struct syn_prewarm_state state;
static struct syn_prewarm_plan plan;

/* Calls of 100 ms, each after the pause. */
static void
pause_ms(int64_t ms, uint32_t peak)
{
    int64_t begun = state.last_ms == 0 ? BEGIN : state.last_ms + ms;

    syn_prewarm_note(&state, &(struct syn_prewarm_calls){
                                 .begun_ms = begun, .ended_ms = begun + 100, .peak = peak});
}

static void
decide(int64_t after_ms)
{
    syn_prewarm_decide(&rule, &state, state.last_ms + after_ms, &plan);
}

static void
test_little_is_known(void **unused)
{
    (void)unused;
    state = (struct syn_prewarm_state){0};
    decide(0);
    assert_int_equal(plan.reason, SYN_PREWARM_UNKNOWN);
    assert_int_equal(plan.least, 0);
    assert_true(plan.idle_ms == IDLE_MS && plan.wake_at_ms == INT64_MAX);
    for (int i = 0; i < 3; i++)
        pause_ms(60 * SECOND * (i + 1), 1);
    decide(0);
    assert_int_equal(plan.reason, SYN_PREWARM_UNKNOWN);
    assert_non_null(strstr(plan.why, "too few pauses"));
}

static void
test_as_a_clock(void **unused)
{
    (void)unused;
    state = (struct syn_prewarm_state){0};
    syn_prewarm_started(&state, 600000);
    for (int i = 0; i < 7; i++)
        pause_ms(900000 + i % 3 * 1000, 1);
    decide(0);
    assert_int_equal(plan.reason, SYN_PREWARM_REGULAR);
    assert_int_equal(plan.least, 0);
    assert_true(plan.idle_ms == SYN_PREWARM_SETTLE_MS);
    assert_true(plan.ready_ms > state.last_ms + 880000 && plan.ready_ms < state.last_ms + 900000);
    assert_true(plan.wake_at_ms == plan.ready_ms);
    decide(plan.ready_ms - state.last_ms); /* then one is ready until the call is overdue, */
    assert_int_equal(plan.least, 1);
    assert_true(plan.wake_at_ms > state.last_ms + 902000);
    decide(plan.wake_at_ms - state.last_ms); /* and again at the time after that */
    assert_int_equal(plan.least, 0);
    assert_true(plan.ready_ms > state.last_ms + 1700000);
    decide(INT64_C(90000000));
    assert_true(plan.least == 0 && plan.ready_ms == 0 && plan.wake_at_ms == INT64_MAX);
}

static void
test_by_its_pauses(void **unused)
{
    (void)unused;
    state = (struct syn_prewarm_state){0};
    for (int i = 0; i < 20; i++) /* most within three minutes, others after hours */
        pause_ms(i % 5 == 0 ? (20000 + i * 1000) * SECOND : (20 + i * 8) * SECOND, 1);
    decide(0);
    assert_int_equal(plan.reason, SYN_PREWARM_HISTOGRAM);

    assert_true(plan.idle_ms > 160000 && plan.idle_ms < 300000);
    assert_int_equal(plan.covered, 842);
    assert_int_equal(plan.ready_ms, 0);
    state = (struct syn_prewarm_state){0};
    for (int i = 0; i < 20; i++) /* hours, always: none is worth while */
        pause_ms((10000 + i % 7 * 4000) * SECOND, 1);
    decide(0);
    assert_true(plan.idle_ms == SYN_PREWARM_SETTLE_MS && plan.least == 0 && plan.covered == 0);
    for (int i = 0; i < 300; i++) /* and that is forgotten */
        pause_ms(60000 + i % 7 * 20000, 1);
    decide(0);
    assert_true(plan.covered > 900 && plan.idle_ms > 180000);
}

static void
test_schedules(void **unused)
{
    struct syn_prewarm_rule with = rule;
    int64_t fire = BEGIN + 3600000;

    (void)unused;
    state = (struct syn_prewarm_state){.start_us = 2000000};
    with.fire_ms = fire;
    syn_prewarm_decide(&with, &state, BEGIN, &plan);
    assert_true(plan.by_schedule && plan.expects_ms == fire && plan.least == 0);
    assert_true(plan.ready_ms == fire - 5000 && plan.wake_at_ms == fire - 5000);
    assert_non_null(strstr(plan.why, "(schedule)"));
    syn_prewarm_decide(&with, &state, fire - 5000, &plan);
    assert_int_equal(plan.least, 1);
    syn_prewarm_decide(&with, &state, fire + SYN_PREWARM_LATE_MS, &plan); /* it did not come */
    assert_int_equal(plan.least, 0);
    for (int i = 0; i < 3; i++)
        syn_prewarm_note(&state,
                         &(struct syn_prewarm_calls){.begun_ms = fire + 3600 * SECOND * i,
                                                     .ended_ms = fire + 3600 * SECOND * i + 50,
                                                     .peak = 1,
                                                     .scheduled = true});
    assert_int_equal(state.pauses, 0); /* those of schedules are known anyway */
    with.fire_ms = state.last_ms + 3600000;
    syn_prewarm_decide(&with, &state, state.last_ms, &plan);
    assert_int_equal(plan.reason, SYN_PREWARM_SCHEDULE);
    assert_true(plan.idle_ms == SYN_PREWARM_SETTLE_MS);
    with.fire_ms = state.last_ms + 20000; /* not worth an end and a start */
    syn_prewarm_decide(&with, &state, state.last_ms, &plan);
    assert_true(plan.idle_ms >= 20000);
}

static void
test_how_many(void **unused)
{
    (void)unused;
    state = (struct syn_prewarm_state){0};
    for (int i = 0; i < 8; i++)
        pause_ms(900000, i == 3 ? 1 : 3);
    decide(900000);
    assert_true(plan.least == 4 && plan.ahead == 4); /* bursts of three, in powers of two */
    for (int i = 0; i < 40; i++)
        pause_ms(900000, 50);
    decide(900000);
    assert_int_equal(plan.least, SYN_PREWARM_AHEAD_MAX);
    /* More each minute: the next one's are there before they are needed. */
    state = (struct syn_prewarm_state){0};
    for (int minute = 0; minute < 4; minute++)
        syn_prewarm_note(&state,
                         &(struct syn_prewarm_calls){
                             .begun_ms = BEGIN / 60000 * 60000 + 60 * SECOND * minute,
                             .ended_ms = BEGIN / 60000 * 60000 + 60 * SECOND * minute + 30000,
                             .peak = (uint32_t)minute * 2 + 1});
    decide(1000);
    assert_int_equal(plan.least, 7);
    decide(70000); /* it is over */
    assert_int_equal(plan.least, 0);
}

static void
test_kept(void **unused)
{
    struct syn_prewarm_state again;
    struct syn_err err = {0};
    SYN_JSON(doc);
    SYN_JSON(odd);

    (void)unused;
    state = (struct syn_prewarm_state){0};
    syn_prewarm_started(&state, 600000);
    for (int i = 0; i < 500; i++)
        pause_ms(1000 + i * 777, (uint32_t)i % 9);
    assert_done(syn_prewarm_state_write(&state, &doc, &err), &err);
    syn_prewarm_state_read(doc, &again);
    assert_memory_equal(&state, &again, sizeof(state));
    odd = json_loads("{\"last_ms\": \"x\", \"bins\": [-5, 9999999999, \"a\"], \"recent_ms\": 7}", 0,
                     NULL);
    syn_prewarm_state_read(odd, &again);
    assert_int_equal(again.bins[0], 0);
    assert_int_equal(again.bins[1], 65535);
    syn_prewarm_decide(&rule, &again, BEGIN, &plan); /* of nonsense: some plan */
    syn_prewarm_note(&state, &(struct syn_prewarm_calls){.begun_ms = 5, .ended_ms = 6, .peak = 1});
    assert_true(state.last_ms > BEGIN); /* a clock that was set back */
}

/* Goals: cold starts and idle time beside five minutes always, in thousandths of those. */
static const struct {
    const char *name;
    uint64_t cold_max, idle_max;
} files[] = {
    {"periodic", 50, 150},  {"poisson", 100, 1900}, {"bursts", 1250, 500},
    {"diurnal", 650, 1300}, {"rare", 1000, 1000},   {"schedule", 0, 150},
};

static void
test_two_days(void **unused)
{
    uint64_t ours_cost = 0, fixed_cost = 0;
    struct syn_err err = {0};
    struct syn_cron hourly;

    (void)unused;
    assert_done(syn_cron_parse("@hourly", &hourly, &err), &err);
    for (size_t i = 0; i < SYN_LEN(files); i++) {
        static struct calls calls;
        char path[300];
        bool schedule = strcmp(files[i].name, "schedule") == 0;
        struct calls_policy policy = {.idle_ms = IDLE_MS, .fires = schedule ? &hourly : NULL};
        struct calls_result fixed, ours;

        (void)snprintf(path, sizeof(path), "%s/tests/data/prewarm/%s.txt", SYN_TEST_SOURCE_ROOT,
                       files[i].name);
        assert_true(calls_read(path, &calls));
        fixed = calls_run(&calls, &policy);
        policy.kind = CALLS_PLAN;
        ours = calls_run(&calls, &policy);
        print_message("# %s: %llu calls: cold %llu, five minutes %llu; idle %llu s, %llu s\n",
                      files[i].name, (unsigned long long)ours.calls, (unsigned long long)ours.cold,
                      (unsigned long long)fixed.cold, (unsigned long long)ours.idle_seconds,
                      (unsigned long long)fixed.idle_seconds);
        assert_true(ours.calls == calls.count && fixed.calls == calls.count);
        assert_true(ours.cold * 1000 <= fixed.cold * files[i].cold_max);
        assert_true(ours.idle_seconds * 1000 <= fixed.idle_seconds * files[i].idle_max);
        /* A cold start is worth ten minutes of idle time: what both cost. */
        ours_cost += ours.cold * 600 + ours.idle_seconds;
        fixed_cost += fixed.cold * 600 + fixed.idle_seconds;
    }
    print_message("# in all: %llu to %llu\n", (unsigned long long)ours_cost,
                  (unsigned long long)fixed_cost);
    assert_true(ours_cost * 100 <= fixed_cost * 72);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_is_known), cmocka_unit_test(test_as_a_clock),
        cmocka_unit_test(test_by_its_pauses),   cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_how_many),        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_two_days),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
