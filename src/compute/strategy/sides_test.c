/* Splits are near the best, are dealt out whole, and a side without workers stops nobody. */
#include <math.h>

#include <synor/base/test.h>

#include "../sim/balance_priv.h"
#include "eft_priv.h"
#include "sides_priv.h"

#define TASKS 32U

/* Four cores and a device on nodes of their own; a task takes four times as long on a core, so
 * half of them each is best. */
static const struct syn_worker_class classes[2] = {{.name = "core"}, {.name = "device"}};
static const struct syn_worker_desc workers[] = {
    {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {1, 1, 1, 1}};
static const struct syn_link_desc links[] = {{0, 1, 0, 0, 1000000000}, {1, 0, 0, 0, 1000000000}};
static const struct syn_platform platform = {
    .class_count = 2,
    .worker_count = SYN_LEN(workers),
    .node_count = 2,
    .link_count = SYN_LEN(links),
    .classes = classes,
    .workers = workers,
    .links = links,
};

struct rig {
    struct syn_estimate costs[2];
    struct syn_ready tasks[TASKS];
    uint32_t first[TASKS + 1], succ[TASKS];
    uint8_t ended[TASKS], sides[TASKS];
    struct syn_graph_view graph;
};

/* `joined` tasks in a row wait for nothing and one for them; 0: nobody waits for anybody. */
static void
rig_init(struct rig *rig, uint32_t joined)
{
    *rig = (struct rig){.costs = {{.ns = {4000, 1000}}, {.ns = {4, 1}}}};
    for (uint32_t i = 0; i < TASKS; i++) {
        bool join = joined != 0 && i % (joined + 1) == joined;

        rig->tasks[i] = (struct syn_ready){.cost = &rig->costs[join ? 1 : 0],
                                           .index = i,
                                           .affinity = SYN_NO_WORKER,
                                           .origin = SYN_NO_WORKER};
        rig->first[i + 1] = rig->first[i];
        if (joined != 0 && !join && i / (joined + 1) * (joined + 1) + joined < TASKS)
            rig->succ[rig->first[i + 1]++] = i / (joined + 1) * (joined + 1) + joined;
    }
    rig->graph = (struct syn_graph_view){.task_count = TASKS,
                                         .tasks = rig->tasks,
                                         .succ_first = rig->first,
                                         .succ = rig->succ,
                                         .ended = rig->ended};
}

static void
deal(struct rig *rig, bool together)
{
    struct sides *sides = NULL;
    struct syn_err err = {0};

    assert_done(sides_new(&platform, &rig->graph, &sides, &err), &err);
    assert_done(sides_aim(sides, 1, &err), &err);
    sides_run(sides, 400);
    sides_write(sides, false, together, rig->sides);
    (void)sides_free(sides);
}

static uint32_t
count_on(const struct rig *rig, uint8_t class_id)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < TASKS; i++)
        count += rig->sides[i] == class_id;
    return count;
}

static void
test_shares(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 0);
    deal(&rig, false);
    assert_in_range(count_on(&rig, 1), TASKS / 2 - 1, TASKS / 2 + 1);
    for (uint32_t i = 1; i < TASKS; i++) /* nothing is left to share out */
        rig.ended[i] = 1;
    rig.costs[0].ns[0] = SYN_NEVER;
    deal(&rig, false);
    assert_int_equal(count_on(&rig, 1), TASKS);
}

static void
test_together(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 3);
    deal(&rig, true);
    for (uint32_t i = 0; i < TASKS; i += 4) {
        assert_int_equal(rig.sides[i], rig.sides[i + 1]);
        assert_int_equal(rig.sides[i], rig.sides[i + 2]);
    }
    assert_in_range(count_on(&rig, 1), 9, 23); /* some groups on either */
}

/* Two in a row: 1 us of the device each, or four of a core. With half of its time for chains both
 * must be on the device; the bound is what both take there. */
static void
test_bound(void **state)
{
    static const uint32_t first[] = {0, 1, 1}, succ[] = {1};
    static const double times[] = {4000, 1000, 4000, 1000};
    struct balance_problem problem = {.tasks = 2,
                                      .classes = 2,
                                      .workers = {4, 1},
                                      .times = times,
                                      .succ_first = first,
                                      .succ = succ,
                                      .chain_part = 1};
    struct balance *balance = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_done(balance_new(&problem, &balance, &err), &err);
    assert_true(balance_bound(balance) >= 0);
    for (int i = 0; i < 20; i++) {
        balance_run(balance, 100);
        assert_true(balance_bound(balance) <= 2000 + 1e-6);
    }
    assert_true(balance_bound(balance) > 1990);
    assert_true(balance_share(balance, 0, 1, false) > 0.95);
    (void)balance_free(balance);
}

static int32_t
place_of(void *self, struct syn_ready *task)
{
    struct syn_place place;
    struct syn_err err = {0};

    assert_done(eft_ops.push(self, task, 0, &place, &err), &err);
    return place.worker;
}

static void
test_lost(void **state)
{
    struct eft_policy policy = {.rank = EFT_SIDES};
    struct syn_strategy_opts opts = {.extra = &policy};
    struct syn_pop pop;
    struct rig rig;
    struct syn_err err = {0};
    void *self = NULL;

    (void)state;
    rig_init(&rig, 0);
    policy.sides = rig.sides;
    rig.sides[0] = 1; /* the others stay on cores */
    assert_done(eft_ops.open(&platform, &opts, &self, &err), &err);
    assert_done(eft_ops.graph(self, &rig.graph, 0, &err), &err);
    assert_int_equal(place_of(self, &rig.tasks[0]), 4);
    for (uint32_t i = 1; i < 8; i++)
        assert_in_range(place_of(self, &rig.tasks[i]), 0, 3);
    eft_ops.pop(self, 4, 0, &pop);
    assert_ptr_equal(pop.ready, &rig.tasks[0]);
    eft_ops.pop(self, 4, 0, &pop); /* seven wait for four cores, but on their side */
    assert_null(pop.ready);
    for (uint32_t w = 0; w < 4; w++)
        eft_ops.lost(self, w, true);
    assert_int_equal(place_of(self, &rig.tasks[8]), 4);
    for (uint32_t i = 1; i <= 8; i++) {
        eft_ops.pop(self, 4, 0, &pop);
        assert_non_null(pop.ready);
    }
    eft_ops.close(self);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
