#include <synor/base/sm.h>
#include <synor/base/test.h>

enum { QUEUED, PLACED, RUNNING, DONE };

static const struct syn_sm_state states[] = {
    [QUEUED] = {"queued", SYN_BIT(PLACED) | SYN_BIT(DONE)},
    [PLACED] = {"placed", SYN_BIT(RUNNING) | SYN_BIT(QUEUED)},
    [RUNNING] = {"running", SYN_BIT(DONE)},
    [DONE] = {"done", 0},
};
static const struct syn_sm sm = {"task", states, SYN_LEN(states)};

static void
test_edges(void **state)
{
    static const bool want[4][4] = {
        [QUEUED] = {[PLACED] = true, [DONE] = true},
        [PLACED] = {[RUNNING] = true, [QUEUED] = true},
        [RUNNING] = {[DONE] = true},
    };

    (void)state;
    for (unsigned from = 0; from < sm.count; from++) {
        for (unsigned to = 0; to < sm.count; to++) {
            assert_int_equal(syn_sm_may(&sm, from, to), want[from][to]);
            if (want[from][to])
                assert_int_equal(syn_sm_move(&sm, from, to), to);
        }
        assert_int_equal(syn_sm_terminal(&sm, from), from == DONE);
    }
}

static void
test_find(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sm.count; i++)
        assert_int_equal(syn_sm_find(&sm, states[i].name), i);
    assert_int_equal(syn_sm_find(&sm, "Queued"), -1);
    assert_int_equal(syn_sm_find(&sm, ""), -1);
    assert_int_equal(syn_sm_find(&sm, NULL), -1);
}

/* The last state a table may have still has its bit. */
static void
test_largest_table(void **state)
{
    struct syn_sm_state many[32] = {{"first", SYN_BIT(31)}};
    const struct syn_sm big = {"big", many, 32};

    (void)state;
    assert_true(syn_sm_may(&big, 0, 31));
    assert_false(syn_sm_may(&big, 0, 30));
    assert_true(syn_sm_terminal(&big, 31));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_largest_table),
    };

    return cmocka_run_group_tests_name("sm", tests, NULL, NULL);
}
