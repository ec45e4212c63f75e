/* The numbers behind canary and blue-green: parts, weights, stages, verdicts. */
#include "stage_priv.h"

#include <synor/base/test.h>

/* ---- parts ---- */

static uint32_t
common(uint32_t a, uint32_t b)
{
    return b == 0 ? a : common(b, a % b);
}

/* Of what comes to `fresh` and `old` servers with these weights, does the first kind get so much?
 * How far off, in millionths. */
static uint32_t
off(uint32_t percent, uint32_t fresh, uint32_t a, uint32_t old, uint32_t b)
{
    uint64_t part = (uint64_t)fresh * a, whole = part + (uint64_t)old * b;
    uint64_t has = part * 1000000 / whole, wants = (uint64_t)percent * 10000;

    return (uint32_t)(has > wants ? has - wants : wants - has);
}

static void
test_weights_divide_as_asked(void **state)
{
    (void)state;
    for (uint32_t want = 1; want <= SYN_SERVICE_REPLICAS_MAX; want++) {
        for (uint32_t percent = 1; percent < 100; percent++) {
            uint32_t fresh = stage_replicas(want, percent), a = 0, b = 0;
            uint32_t x = percent * want, y = (100 - percent) * fresh, by = common(x, y);

            assert_true(fresh >= 1 && fresh <= want);
            assert_true((fresh - 1) * 100 < want * percent); /* no more than it takes */
            rollout_weights(percent, fresh, want, &a, &b);
            assert_in_range(a, 1, ROLLOUT_WEIGHT_MAX);
            assert_in_range(b, 1, ROLLOUT_WEIGHT_MAX);
            if (x / by <= ROLLOUT_WEIGHT_MAX && y / by <= ROLLOUT_WEIGHT_MAX)
                assert_int_equal(a * y, b * x);                  /* whole numbers can say it */
            assert_true(off(percent, fresh, a, want, b) < 1000); /* a tenth of a percent */
        }
    }
}

static void
test_weights_when_most_are_gone(void **state)
{
    uint32_t a, b;

    (void)state;
    rollout_weights(1, 1, 1, &a, &b);
    assert_true(a == 1 && b == 99);
    rollout_weights(99, 1, 64, &a, &b); /* 6336 : 1 cannot be said */
    assert_true(a == 256 && b == 1);
    rollout_weights(50, 32, 32, &a, &b);
    assert_int_equal(a, b);
}

/* ---- stages ---- */

static struct syn_service_rollout
canary(void)
{
    return (struct syn_service_rollout){.strategy = SYN_SERVICE_CANARY,
                                        .weights = {10, 50, 100},
                                        .steps = 3,
                                        .pause_ms = 60000,
                                        .keep_old_ms = 300000};
}

/* Go on as far as it goes. */
static enum stage_word
advance(struct stage *stage, const struct syn_service_rollout *rollout,
        const struct stage_sight *sight)
{
    unsigned turns = 0;

    while (stage_advance(stage, rollout, sight))
        assert_true(++turns < 10);
    return stage->word;
}

static void
test_a_canary_goes_step_by_step(void **state)
{
    struct syn_service_rollout rollout = canary();
    struct stage stage = {.since_ms = 0};
    struct stage_sight sight = {.want = 10, .base = 10};
    struct stage_plan plan;

    (void)state;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_STARTING);
    plan = stage_plan(&stage, &rollout, 10);
    assert_true(plan.fresh == 1 && plan.percent == 0 && plan.base == ROLLOUT_WHOLE);
    sight.fresh_ready = 1;
    sight.now_ms = 5000;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_TESTING);
    plan = stage_plan(&stage, &rollout, 10);
    assert_true(plan.percent == 10 && plan.until_ms == 65000 && !plan.by_hand);
    sight.fresh_ready = 0; /* it died: nothing goes on over its body */
    sight.now_ms = 65000;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_TESTING);
    sight.fresh_ready = 1;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_STARTING);
    plan = stage_plan(&stage, &rollout, 10);
    assert_true(plan.fresh == 5 && plan.percent == 10);
    sight.fresh_ready = 5;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_TESTING);
    assert_int_equal(stage_plan(&stage, &rollout, 10).percent, 50);
    sight.now_ms += 60000;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_FINISHING);
    plan = stage_plan(&stage, &rollout, 10);
    assert_true(plan.fresh == 10 && plan.mixed && plan.base == ROLLOUT_GOES);
}

static void
test_a_canary_waits_for_a_hand(void **state)
{
    struct syn_service_rollout rollout = canary();
    struct stage stage = {.word = STAGE_TESTING};
    struct stage_sight sight = {.want = 10, .base = 10, .fresh_ready = 1, .now_ms = INT64_MAX - 1};

    (void)state;
    rollout.by_hand = true;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_TESTING);
    stage.promotion = STAGE_PROMOTED;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_STARTING);
    assert_int_equal(stage.promotion, STAGE_UNSAID); /* for one step */
    sight.fresh_ready = 5;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_TESTING);
    stage.promotion = STAGE_PROMOTED_FULLY;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_FINISHING);
    /* No trial where there is nothing to try on, and none of what worked. */
    stage = (struct stage){.word = STAGE_STARTING, .back = true};
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_FINISHING);
    stage = (struct stage){.word = STAGE_TESTING};
    sight.want = 0;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_FINISHING);
}

static void
test_blue_green_takes_over_at_once(void **state)
{
    struct syn_service_rollout rollout = {.strategy = SYN_SERVICE_BLUE_GREEN,
                                          .keep_old_ms = 300000};
    struct stage stage = {.word = STAGE_STARTING};
    struct stage_sight sight = {.want = 3, .base = 3, .fresh_ready = 2};
    struct stage_plan plan;

    (void)state;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_STARTING);
    plan = stage_plan(&stage, &rollout, 3);
    assert_true(plan.fresh == 3 && plan.percent == 0 && plan.base == ROLLOUT_WHOLE);
    sight.fresh_ready = 3;
    rollout.by_hand = true;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_TESTING);
    assert_int_equal(stage_plan(&stage, &rollout, 3).percent, 0);
    stage.promotion = STAGE_PROMOTED;
    sight.now_ms = 1000;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_KEPT);
    plan = stage_plan(&stage, &rollout, 3);
    assert_true(plan.percent == 100 && plan.base == ROLLOUT_STAYS && plan.until_ms == 301000);
    sight.now_ms = 300999;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_KEPT);
    sight.now_ms = 301000;
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_LEAVING);
    assert_int_equal(stage_plan(&stage, &rollout, 3).base, ROLLOUT_GOES);
    /* By itself, and a return: at once. */
    rollout.by_hand = false;
    stage = (struct stage){.word = STAGE_STARTING};
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_KEPT);
    rollout.by_hand = true;
    stage = (struct stage){.word = STAGE_STARTING, .back = true};
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_KEPT);
    sight.base = 0; /* nothing is kept any more */
    assert_int_equal(advance(&stage, &rollout, &sight), STAGE_LEAVING);
}

static void
test_names_come_back(void **state)
{
    (void)state;
    for (enum stage_word word = STAGE_STARTING; word <= STAGE_LEAVING; word++)
        assert_int_equal(stage_find(stage_name(word)), word);
    assert_int_equal(stage_find(""), -1);
}

/* ---- verdicts ---- */

static void
test_errors_beside_the_old_ones(void **state)
{
    static const struct {
        uint64_t fresh, fresh_errors, old, old_errors;
        uint32_t permille;
        bool bad;
    } cases[] = {
        {0, 0, 0, 0, 10, false},
        {4, 4, 100, 0, 10, false}, /* too few to say anything */
        {5, 5, 45, 0, 10, true},
        {100, 5, 0, 0, 10, true},
        {500, 5, 4500, 0, 10, false}, /* one percent: not more than that */
        {499, 5, 4500, 0, 10, true},
        {100, 50, 900, 450, 10, false}, /* both fail alike: it is not the new one's fault */
        {100, 52, 900, 450, 10, true},
        {1000, 1000, 10, 0, 1000, false},
        {UINT64_C(1) << 40, UINT64_C(1) << 39, UINT64_C(1) << 40, 0, 400, true},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        const struct syn_service_answers fresh = {cases[i].fresh, cases[i].fresh_errors};
        const struct syn_service_answers old = {cases[i].old, cases[i].old_errors};

        if (stage_errs(&fresh, &old, cases[i].permille) != cases[i].bad)
            fail_msg("case %zu", i);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_divide_as_asked),
        cmocka_unit_test(test_weights_when_most_are_gone),
        cmocka_unit_test(test_a_canary_goes_step_by_step),
        cmocka_unit_test(test_a_canary_waits_for_a_hand),
        cmocka_unit_test(test_blue_green_takes_over_at_once),
        cmocka_unit_test(test_names_come_back),
        cmocka_unit_test(test_errors_beside_the_old_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
