/* The money of a service: periods, budgets, and when there is none left. */
#include "control_testing.h"

/* Half a year: a period each day, each with a bill, and the money of all of them adds up. */
static void
test_a_bill_for_each_period(void **state)
{
    struct world *world = world_new(SPEC);
    int64_t all = world->escrow + (world->balance = 10000 * SYN_SYNOR), used = 0;
    char id[SYN_ID_MAX];

    (void)state;
    run(world, 2, 0);
    for (unsigned day = 1; day <= 180; day++) {
        world->spent += 24 * SYN_SYNOR;
        used += 24 * SYN_SYNOR;
        world->now_ms += INT64_C(24) * 3600 * 1000;
        step(world);
        assert_int_equal(world->renewed, day);
        assert_int_equal(world->paid, used);
        assert_int_equal(world->escrow, 24 * SYN_SYNOR); /* locked a day at a time */
        assert_int_equal(world->balance + world->escrow + world->paid, all);
        expect(world, "running", "ready");
    }
    assert_int_equal(events(world, "billed"), 180);
    assert_string_equal(syn_json_str(syn_document_status(world->service), "last_bill", ""),
                        "bill-abc-1-000180");
    syn_service_bill_id(world->service, 1, id);
    assert_string_equal(id, "bill-abc-1");
    assert_true(json_is_null(json_object_get(syn_document_status(world->service), "bill")));
    world_free(world);
}

/* Nothing was used: there is nothing to bill, and it goes on. */
static void
test_no_bill_for_nothing(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    run(world, 2, 0);
    world->now_ms += INT64_C(90) * 24 * 3600 * 1000;
    run(world, 2, 0);
    assert_int_equal(world->renewed, 0);
    world->spent = 1;
    step(world);
    assert_int_equal(world->renewed, 1);
    assert_int_equal(world->paid, 1);
    world_free(world);
}

/* Replicas end ever again: more than one bill holds. It goes on, and what a step looks at does not
 * grow. */
static void
test_more_replicas_than_a_bill_holds(void **state)
{
    struct world *world = world_new(SPEC);
    size_t most = 0;

    (void)state;
    world->balance = 10000 * SYN_SYNOR;
    for (unsigned i = 0; i < 130; i++) {
        json_t *doc;
        size_t k;

        run(world, 1, 0);
        world->now_ms += SYN_SERVICE_STABLE_MS;
        json_array_foreach (world->instances, k, doc)
            if (!ended(doc) && !asked(doc))
                report(world, doc, "exited", "failed", false);
        world->spent += 1000;
        most = SYN_MAX(most, json_array_size(world->instances));
    }
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_true(syn_json_i64(syn_document_status(world->service), "serial", 0) > 380);
    assert_true(world->renewed >= 1); /* a full bill, long before the day is over */
    assert_true(world->forgotten > 250);
    assert_true(most <= SYN_SERVICE_BILL_INSTANCES + 2 * SYN_SERVICE_ENDED_MAX);
    world_free(world);
}

#define BUDGET_SPEC                                                               \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":1,\"max_budget\":\"5\"," \
    "\"billing_period_ms\":36000000,\"cpu_millicores\":500}"

/* A budget is a period's: it is whole again with the next one, and spent within one it ends the
 * service, also when a full bill came between. */
static void
test_a_budget_is_a_periods(void **state)
{
    struct world *world = world_new(BUDGET_SPEC);

    (void)state;
    world->escrow = 5 * SYN_SYNOR;
    run(world, 2, 0);
    for (unsigned period = 1; period <= 5; period++) {
        world->spent = 4 * SYN_SYNOR;
        step(world);
        assert_int_equal(world->renewed, period - 1);
        world->now_ms += 36000000;
        step(world);
        assert_int_equal(world->renewed, period);
        assert_int_equal(world->escrow, 5 * SYN_SYNOR);
    }
    world->window_spent = 3 * SYN_SYNOR; /* as after a full bill */
    world->escrow = 2 * SYN_SYNOR;
    world->spent = 2 * SYN_SYNOR;
    step(world);
    run(world, 2, 0);
    expect(world, "stopped", "budget");
    world_free(world);
}

/* When the account cannot pay for the next period, that is said, once, and seen; more money ends
 * it, and without any the service ends when all of it is spent. */
static void
test_low_funds_are_said_once(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    world->escrow = 2 * SYN_SYNOR;
    world->balance = 20 * SYN_SYNOR;
    run(world, 3, 0);
    expect(world, "running", "funds-low");
    assert_int_equal(events(world, "funds-low"), 1);
    world->balance += 100 * SYN_SYNOR;
    step(world);
    expect(world, "running", "ready");
    world->balance = 0;
    world->now_ms += INT64_C(24) * 3600 * 1000;
    world->spent = world->escrow - 1;
    step(world); /* what is left is little, but it is what there is */
    assert_int_equal(world->renewed, 1);
    assert_int_equal(world->escrow, 1);
    expect(world, "running", "funds-low");
    assert_int_equal(events(world, "funds-low"), 2);
    world->spent = 1;
    step(world);
    run(world, 2, 0);
    expect(world, "stopped", "funds");
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bill_for_each_period),
        cmocka_unit_test(test_no_bill_for_nothing),
        cmocka_unit_test(test_more_replicas_than_a_bill_holds),
        cmocka_unit_test(test_a_budget_is_a_periods),
        cmocka_unit_test(test_low_funds_are_said_once),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
