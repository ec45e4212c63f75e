#include "strategy_suite.h"

#include <synor/base/test.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>

#define CORES   4U
#define WORKERS 7U /* four cores, two devices of one class, one of another */
#define NODES   4U
#define TASKS   96U
#define STEPS   4000
#define SEEDS   12

static struct {
    const struct syn_strategy_case *with;
    const struct syn_strategy_ops *ops;
} suite;

/* clang-format off */
static const struct syn_worker_class classes[3] = {
    {.name = "core",   .idle_mw = 1000,  .state_count = 2, .switch_ns = 10,
     .states = {{1000, 8000}, {700, 4000}}},
    {.name = "device", .idle_mw = 20000, .state_count = 2, .switch_ns = 10, .price_ns = 1000000,
     .states = {{1000, 200000}, {700, 90000}}},
    {.name = "other",  .idle_mw = 5000,  .state_count = 0, .price_ns = 50},
};
static const struct syn_worker_desc workers[WORKERS] = {
    {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 1, 0}, {0, 0, 1, 0}, {1, 1, 2, 1}, {1, 2, 3, 2}, {2, 3, 4, 3},
};
static const struct syn_link_desc links[] = {
    {0, 1, 0, 100, 1000000000}, {1, 0, 0, 100, 1000000000},
    {0, 2, 1, 100, 1000000000}, {2, 0, 2, 100, 1000000000},
    {0, 3, 1, 100, 1000000000}, {3, 0, 2, 100, 1000000000},
};
/* clang-format on */

static const struct syn_platform platform = {
    .class_count = 3,
    .worker_count = WORKERS,
    .node_count = NODES,
    .link_count = SYN_LEN(links),
    .classes = classes,
    .workers = workers,
    .links = links,
};

/* Kernels: everywhere, on cores only, on devices only, on one class whose time nobody knows. */
static const struct syn_estimate costs[] = {
    {{50000, 10000, 20000}},
    {{40000, SYN_NEVER, SYN_NEVER}},
    {{SYN_NEVER, 30000, 31000}},
    {{SYN_NEVER, SYN_NEVER, SYN_UNKNOWN_NS}},
};

/* One open strategy with tasks; what it holds is known here too. */
struct rig {
    void *self;
    struct syn_ready tasks[TASKS];
    struct syn_data_use uses[TASKS][2];
    struct syn_replicas data[8];
    bool held[TASKS];
    int32_t runs[TASKS]; /* on which worker; SYN_NO_WORKER: it does not */
    bool lost[WORKERS];
    uint64_t now_ns;
};

static void
rig_fini(struct rig *rig)
{
    if (rig->self != NULL)
        suite.ops->close(rig->self);
}

static int
rig_open(struct rig *rig, const struct syn_platform *on, struct syn_err *err)
{
    const struct syn_strategy_opts opts = {.seed = 7};

    for (uint32_t i = 0; i < SYN_LEN(rig->data); i++)
        rig->data[i] = (struct syn_replicas){1, 1000 * (uint64_t)i};
    for (uint32_t i = 0; i < TASKS; i++) {
        rig->uses[i][0] = (struct syn_data_use){&rig->data[i % 8], i % 8, SYN_READ};
        rig->uses[i][1] = (struct syn_data_use){&rig->data[(i + 3) % 8], (i + 3) % 8, SYN_UPDATE};
        rig->tasks[i] = (struct syn_ready){.cost = &costs[0],
                                           .accesses = rig->uses[i],
                                           .access_count = 2,
                                           .access_stride = sizeof(struct syn_data_use),
                                           .index = SYN_NO_INDEX,
                                           .slot = SYN_NO_INDEX,
                                           .affinity = SYN_NO_WORKER,
                                           .origin = SYN_NO_WORKER};
        rig->runs[i] = SYN_NO_WORKER;
    }
    return suite.ops->open(on, &opts, &rig->self, err);
}

#define RIG_ON(name, on)                        \
    SYN_SCOPED(rig_fini) struct rig name = {0}; \
    struct syn_err err = {0};                   \
                                                \
    (void)state;                                \
    assert_done(rig_open(&name, on, &err), &err)

#define RIG(name) RIG_ON(name, &platform)

static int
push(struct rig *rig, uint32_t i, struct syn_err *err)
{
    struct syn_place place = {-7, -7};
    int rc = suite.ops->push(rig->self, &rig->tasks[i], rig->now_ns, &place, err);

    if (rc < 0)
        return rc;
    rig->held[i] = true;
    assert_in_range(place.worker + 1, 0, WORKERS);
    assert_in_range(place.node + 1, 0, NODES);
    if (rig->tasks[i].affinity >= 0)
        assert_int_equal(place.worker, rig->tasks[i].affinity);
    if (place.worker >= 0)
        assert_false(rig->lost[place.worker]);
    return rc;
}

static bool
can(const struct rig *rig, uint32_t i, uint32_t worker)
{
    const struct syn_ready *task = &rig->tasks[i];

    return !rig->lost[worker] && (task->affinity < 0 || task->affinity == (int32_t)worker) &&
           task->cost->ns[workers[worker].class_id] != SYN_NEVER;
}

/* The number of the task that the worker got, or -1; checked against what is held. */
static int
pop(struct rig *rig, uint32_t worker)
{
    struct syn_pop got = {NULL, 99, 99};
    ptrdiff_t i;

    suite.ops->pop(rig->self, worker, rig->now_ns, &got);
    if (got.ready == NULL) {
        assert_int_not_equal(got.why, SYN_POP_TASK);
        assert_in_range(got.why, SYN_POP_EMPTY, SYN_POP_SAVING);
        for (uint32_t t = 0; t < TASKS && got.why == SYN_POP_EMPTY; t++)
            if (rig->held[t] && can(rig, t, worker))
                fail_msg("worker %u is told EMPTY, task %u waits", worker, t);
        return -1;
    }
    i = got.ready - rig->tasks;
    assert_int_equal(got.why, SYN_POP_TASK);
    assert_in_range(i, 0, TASKS - 1);
    assert_true(rig->held[i]);
    assert_true(can(rig, (uint32_t)i, worker));
    assert_true(got.state == 0 || got.state < classes[workers[worker].class_id].state_count);
    rig->held[i] = false;
    rig->runs[i] = (int32_t)worker;
    return (int)i;
}

static void
done(struct rig *rig, uint32_t i, uint64_t measured_ns)
{
    uint32_t worker = (uint32_t)rig->runs[i];

    rig->runs[i] = SYN_NO_WORKER;
    suite.ops->done(rig->self, worker, &rig->tasks[i], measured_ns, rig->now_ns);
}

static void
lose(struct rig *rig, uint32_t worker, bool lost)
{
    rig->lost[worker] = lost;
    suite.ops->lost(rig->self, worker, lost);
}

/* Let all workers work until nothing is held; how many tasks ended. Fails when it takes too long.
 */
static uint32_t
drain(struct rig *rig)
{
    uint32_t ended = 0, held;

    for (int round = 0; round < 10 * (int)TASKS; round++) {
        held = 0;
        rig->now_ns += 100000;
        for (uint32_t i = 0; i < TASKS; i++)
            if (rig->runs[i] >= 0) {
                done(rig, i, 20000);
                ended++;
            }
        for (uint32_t w = 0; w < WORKERS; w++)
            (void)pop(rig, w);
        for (uint32_t i = 0; i < TASKS; i++)
            held += rig->held[i] || rig->runs[i] >= 0;
        if (held == 0)
            return ended;
    }
    fail_msg("tasks wait for ever");
    return 0;
}

static void
test_all_come(void **state)
{
    RIG(rig);

    for (uint32_t w = 0; w < WORKERS; w++)
        assert_int_equal(pop(&rig, w), -1);
    for (uint32_t i = 0; i < TASKS; i++) {
        rig.tasks[i].cost = &costs[i % SYN_LEN(costs)];
        rig.tasks[i].priority = (int32_t)(i % 5) - 2;
        rig.tasks[i].origin = (int16_t)(i % WORKERS);
        assert_done(push(&rig, i, &err), &err);
    }
    assert_int_equal(drain(&rig), TASKS);
    for (uint32_t w = 0; w < WORKERS; w++) {
        struct syn_pop got = {&rig.tasks[0], 0, SYN_POP_TASK};

        suite.ops->pop(rig.self, w, rig.now_ns, &got);
        assert_null(got.ready);
        assert_int_equal(got.why, SYN_POP_EMPTY);
    }
}

/* Does `a` go before `b` on a worker of its own? They were pushed in the order of their numbers. */
static bool
goes_before(const struct syn_ready *a, const struct syn_ready *b)
{
    uint64_t due_a = a->deadline_ns != 0 ? a->deadline_ns : UINT64_MAX;
    uint64_t due_b = b->deadline_ns != 0 ? b->deadline_ns : UINT64_MAX;

    if (suite.with->order == SYN_SUITE_FIFO)
        return a < b;
    if (suite.with->order == SYN_SUITE_DUE && (due_a != UINT64_MAX || due_b != UINT64_MAX))
        return due_a != due_b ? due_a < due_b : a < b;
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return suite.with->order == SYN_SUITE_NEWEST ? a > b : a < b;
}

static void
test_order(void **state)
{
    struct syn_platform alone = platform;
    int before = -1;

    alone.worker_count = 1;
    RIG_ON(rig, &alone);
    for (uint32_t i = 0; i < 40; i++) {
        rig.tasks[i].priority = i % 11 == 0 ? INT32_MIN : (int32_t)(i * 7 % 10) - 5;
        rig.tasks[i].deadline_ns = i % 3 == 0 ? 1000 + i * 13 % 7 : 0;
        assert_done(push(&rig, i, &err), &err);
    }
    for (uint32_t i = 0; i < 40; i++) {
        int next = pop(&rig, 0);

        assert_true(next >= 0);
        if (before >= 0 && !goes_before(&rig.tasks[before], &rig.tasks[next]))
            fail_msg("task %d before task %d", before, next);
        before = next;
        done(&rig, (uint32_t)next, 1000);
    }
    assert_int_equal(pop(&rig, 0), -1);
}

static void
test_affinity(void **state)
{
    RIG(rig);

    for (uint32_t w = 0; w < WORKERS; w++) {
        rig.tasks[w].affinity = (int16_t)w;
        assert_done(push(&rig, w, &err), &err);
    }
    for (uint32_t w = 0; w < WORKERS; w++) {
        assert_int_equal(pop(&rig, w), (int)w);
        assert_int_equal(pop(&rig, w), -1);
        done(&rig, w, 100);
    }
    /* To a worker that is lost, and to one of a class that cannot. */
    lose(&rig, 2, true);
    rig.tasks[8].affinity = 2;
    assert_code(push(&rig, 8, &err), SYN_E_UNAVAILABLE, &err);
    lose(&rig, 2, false);
    assert_done(push(&rig, 8, &err), &err);
    rig.tasks[9].affinity = 4;
    rig.tasks[9].cost = &costs[1];
    assert_code(push(&rig, 9, &err), SYN_E_UNAVAILABLE, &err);
    assert_false(suite.ops->cancel(rig.self, &rig.tasks[9]));
    assert_int_equal(drain(&rig), 1);
}

static void
test_unavailable(void **state)
{
    static const struct syn_estimate never = {{SYN_NEVER, SYN_NEVER, SYN_NEVER}};
    RIG(rig);

    rig.tasks[0].cost = &never;
    assert_code(push(&rig, 0, &err), SYN_E_UNAVAILABLE, &err);
    rig.tasks[1].cost = &costs[2];
    for (uint32_t w = CORES; w < WORKERS; w++)
        lose(&rig, w, true);
    assert_code(push(&rig, 1, &err), SYN_E_UNAVAILABLE, &err);
    for (uint32_t w = 0; w < WORKERS; w++)
        assert_int_equal(pop(&rig, w), -1);
    assert_false(suite.ops->cancel(rig.self, &rig.tasks[0]));
    assert_false(suite.ops->cancel(rig.self, &rig.tasks[1]));
    lose(&rig, 5, false);
    assert_done(push(&rig, 1, &err), &err);
    rig.now_ns = 1000000;
    assert_int_equal(pop(&rig, 5), 1);
}

static void
test_cancel(void **state)
{
    RIG(rig);

    for (uint32_t i = 0; i < 30; i++) {
        rig.tasks[i].affinity = (int16_t)(i % 4 == 0 ? (int)(i % WORKERS) : SYN_NO_WORKER);
        rig.tasks[i].priority = (int32_t)(i * 5 % 7);
        assert_done(push(&rig, i, &err), &err);
    }
    for (uint32_t i = 0; i < 30; i += 2) {
        assert_true(suite.ops->cancel(rig.self, &rig.tasks[i]));
        assert_false(suite.ops->cancel(rig.self, &rig.tasks[i]));
        rig.held[i] = false;
    }
    assert_int_equal(drain(&rig), 15);
    for (uint32_t i = 0; i < 30; i++)
        assert_false(suite.ops->cancel(rig.self, &rig.tasks[i]));
    /* What was cancelled may come again. */
    assert_done(push(&rig, 4, &err), &err);
    assert_int_equal(drain(&rig), 1);
}

/* A worker is lost; its tasks are taken out and given again, and it comes back. */
static void
test_lost(void **state)
{
    RIG(rig);
    uint32_t moved = 0;

    for (uint32_t i = 0; i < 40; i++)
        assert_done(push(&rig, i, &err), &err);
    lose(&rig, 4, true);
    lose(&rig, 1, true);
    for (uint32_t i = 0; i < 40; i++)
        if (suite.ops->cancel(rig.self, &rig.tasks[i])) {
            assert_done(push(&rig, i, &err), &err);
            moved++;
        }
    assert_int_equal(moved, 40);
    assert_int_equal(pop(&rig, 4), -1);
    assert_int_equal(drain(&rig), 40);
    lose(&rig, 4, false);
    for (uint32_t w = 0; w < WORKERS; w++)
        if (w != 4)
            lose(&rig, w, true);
    for (uint32_t i = 0; i < 10; i++)
        assert_done(push(&rig, i, &err), &err);
    assert_int_equal(drain(&rig), 10);
}

/* A task of 100 us on the device, and a little or much longer on the core, which draws less and
 * costs nothing: who gets it when both are idle? */
static void
test_choice(void **state)
{
    static const struct syn_estimate close = {{101000, 100000, SYN_NEVER}};
    static const struct syn_estimate far = {{400000, 100000, SYN_NEVER}};
    struct syn_place place;
    bool thrifty =
        suite.with->choice == SYN_SUITE_EFFICIENT || suite.with->choice == SYN_SUITE_CHEAPER;

    /* Skipping comes before anything is open: it does not return. */
    if (suite.with->choice == SYN_SUITE_ANY)
        skip();
    RIG(rig);
    rig.tasks[0].cost = &close;
    rig.tasks[1].cost = &far;
    for (uint32_t i = 0; i < 2; i++) {
        rig.tasks[i].access_count = 0;
        assert_done(suite.ops->push(rig.self, &rig.tasks[i], 0, &place, &err), &err);
        assert_int_equal(place.node == 0, i == 0 && thrifty);
        assert_true(suite.ops->cancel(rig.self, &rig.tasks[i]));
    }
}

/* Data that are on a device draw their task there, unless that takes far longer. */
static void
test_data(void **state)
{
    static const struct syn_estimate even = {{100000, 100000, 100000}};
    struct syn_place place = {0};

    if (suite.with->choice == SYN_SUITE_ANY && suite.with->order != SYN_SUITE_NEWEST)
        skip(); /* looks at neither time nor data */
    if (suite.with->choice == SYN_SUITE_CHEAPER)
        skip();
    RIG(rig);
    rig.data[0] = (struct syn_replicas){UINT64_C(1) << 2, 1 << 20};
    rig.tasks[0].cost = &even;
    rig.tasks[0].access_count = 1;
    assert_done(suite.ops->push(rig.self, &rig.tasks[0], 0, &place, &err), &err);
    assert_int_equal(place.node, 2);
}

/* Everything waits at the fastest; the others are idle. */
static void
test_helping(void **state)
{
    RIG(rig);
    uint32_t got = 0;

    for (uint32_t i = 0; i < TASKS; i++)
        assert_done(push(&rig, i, &err), &err);
    for (uint32_t i = 0; i < TASKS; i++)
        got += pop(&rig, 3) >= 0;
    if (suite.with->helps)
        assert_true(got > TASKS / WORKERS);
    else
        assert_true(got < TASKS);
    assert_true(drain(&rig) == TASKS);
}

/* Random calls, checked against what is held at every pop. */
static void
stress(uint64_t seed)
{
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    uint64_t random = seed * 77 + 1;
    struct syn_err err = {0};

    assert_done(rig_open(&rig, &platform, &err), &err);
    for (int step = 0; step < STEPS; step++) {
        uint64_t dice = syn_test_random(&random);
        uint32_t i = (uint32_t)(dice >> 8) % TASKS, w = (uint32_t)(dice >> 32) % WORKERS;
        struct syn_ready *task = &rig.tasks[i];

        rig.now_ns += (dice >> 20) % 5000;
        rig.data[dice >> 40 & 7].valid = dice >> 43 & 15;
        if (dice % 16 < 7 && !rig.held[i] && rig.runs[i] < 0) {
            task->cost = &costs[(dice >> 16) % SYN_LEN(costs)];
            task->priority = (int32_t)((dice >> 24) % 9) - 4;
            task->deadline_ns = (dice >> 28) % 4 == 0 ? rig.now_ns + (dice >> 30) % 99999 : 0;
            task->affinity = (int16_t)((dice >> 48) % 8 == 0 ? (int)w : SYN_NO_WORKER);
            task->origin = (int16_t)((int)((dice >> 52) % (WORKERS + 1)) - 1);
            if (push(&rig, i, &err) < 0)
                assert_int_equal(err.code, SYN_E_UNAVAILABLE);
        } else if (dice % 16 < 12) {
            (void)pop(&rig, w);
        } else if (dice % 16 < 14 && rig.runs[i] >= 0) {
            done(&rig, i, (dice >> 20) % 90000);
        } else if (dice % 16 == 14) {
            assert_int_equal(suite.ops->cancel(rig.self, task), rig.held[i]);
            rig.held[i] = false;
        } else if (dice >> 60 == 0) {
            lose(&rig, w, !rig.lost[w]);
        }
    }
    for (uint32_t w = 0; w < WORKERS; w++)
        lose(&rig, w, false);
    (void)drain(&rig);
}

static void
test_stress(void **state)
{
    const char *only = getenv("SYN_TEST_SEED");

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t use = only == NULL ? seed : strtoull(only, NULL, 10);

        print_message("# %s: SYN_TEST_SEED=%" PRIu64 "\n", suite.with->name, use);
        stress(use);
    }
}

/* Layers of four, each task behind two of the layer before. */
struct layers {
    struct syn_graph_view view;
    uint32_t first[TASKS + 1];
    uint32_t succ[2 * TASKS];
    uint32_t preds[TASKS];
    struct syn_estimate costs[2];
};

static void
layers_fill(struct layers *layers, struct rig *rig)
{
    uint32_t edges = 0;

    layers->costs[0] = costs[0];
    layers->costs[1] = (struct syn_estimate){{60000, 40000, 20000}};
    for (uint32_t i = 0; i < TASKS; i++) {
        layers->first[i] = edges;
        for (uint32_t j = 0; j < 2 && i + 4 < TASKS; j++) {
            uint32_t next = (i / 4 + 1) * 4 + (i + j) % 4;

            layers->succ[edges++] = next;
            layers->preds[next]++;
        }
        rig->uses[i][1].mode = SYN_READ; /* the edges order nothing else */
        rig->tasks[i].index = i;
        rig->tasks[i].cost = &layers->costs[i % 2];
    }
    layers->first[TASKS] = edges;
    layers->view = (struct syn_graph_view){.task_count = TASKS,
                                           .handle_count = SYN_LEN(rig->data),
                                           .tasks = rig->tasks,
                                           .succ_first = layers->first,
                                           .succ = layers->succ};
}

/* Run it by hand; the estimates turn out to have been wrong on the way. */
static int
layers_run(struct layers *layers, struct rig *rig, struct syn_err *err)
{
    uint32_t ended = 0;

    for (uint32_t i = 0; i < TASKS; i++)
        if (layers->preds[i] == 0 && push(rig, i, err) < 0)
            return err->code;
    for (int round = 0; ended < TASKS; round++) {
        if (round > 100 * (int)TASKS)
            fail_msg("a graph's tasks wait for ever");
        for (uint32_t w = 0; w < WORKERS; w++) {
            int i = pop(rig, w);

            rig->now_ns += 3000;
            if (i < 0)
                continue;
            if (++ended == TASKS / 3)
                __atomic_store_n(&layers->costs[0].ns[1], 45000, __ATOMIC_RELAXED);
            done(rig, (uint32_t)i, 30000);
            for (uint32_t j = layers->first[i]; j < layers->first[i + 1]; j++)
                if (--layers->preds[layers->succ[j]] == 0 && push(rig, layers->succ[j], err) < 0)
                    return err->code;
        }
    }
    return SYN_OK;
}

static void
test_graph(void **state)
{
    struct layers layers = {0};

    if (suite.ops->graph == NULL)
        skip();
    RIG(rig);
    for (int again = 0; again < 2; again++) {
        memset(&layers, 0, sizeof(layers));
        layers_fill(&layers, &rig);
        assert_done(suite.ops->graph(rig.self, &layers.view, rig.now_ns, &err), &err);
        assert_done(layers_run(&layers, &rig, &err), &err);
    }
    /* A task of no graph, and one that was left waiting when it closes. */
    rig.tasks[0].index = SYN_NO_INDEX;
    assert_done(push(&rig, 0, &err), &err);
}

/* Without memory for a plan the strategy goes on without one; without memory for a task it does
 * not have it, and all that it had. */
static int
scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct layers layers = {0};
    int rc = rig_open(&rig, &platform, err), planned = SYN_OK;

    (void)arg;
    if (rc < 0)
        return rc;
    layers_fill(&layers, &rig);
    if (suite.ops->graph != NULL)
        planned = suite.ops->graph(rig.self, &layers.view, 0, err);
    rc = layers_run(&layers, &rig, planned < 0 ? &(struct syn_err){0} : err);
    if (rc < 0) {
        assert_int_equal(rc, SYN_E_NOMEM);
        (void)drain(&rig);
    }
    return planned < 0 ? planned : rc;
}

/* Every one of the first blocks, then fewer and fewer: a plan takes thousands, all for the like. */
static void
test_memory(void **state)
{
    bool reached = true;

    (void)state;
    for (unsigned nth = 1; reached; nth += nth < 64 ? 1 : nth / 4) {
        struct syn_err err = {0};
        int64_t before = syn_mem_live();
        int rc;

        syn_mem_fault_arm(nth, nth % 2 == 0);
        rc = scenario(NULL, &err);
        reached = syn_mem_fault_count() >= nth;
        syn_mem_fault_arm(0, false);
        if (syn_mem_live() != before)
            fail_msg("block %u: %" PRId64 " leaked", nth, syn_mem_live() - before);
        if (rc != SYN_OK && (!reached || rc != SYN_E_NOMEM || err.msg[0] == '\0'))
            fail_msg("block %u: %d: %s", nth, rc, err.msg);
    }
}

static int
open_refused(const struct syn_platform *on, struct syn_err *err)
{
    const struct syn_strategy_opts opts = {0};
    void *self = NULL;
    int rc = suite.ops->open(on, &opts, &self, err);

    assert_null(self);
    return rc;
}

static void
test_refused(void **state)
{
    struct syn_platform wrong = platform;
    struct syn_err err = {0};

    (void)state;
    wrong.worker_count = 0;
    assert_code(open_refused(&wrong, &err), SYN_E_INVALID, &err);
    wrong = platform;
    wrong.link_count = 1; /* the way back is missing, and most of the others */
    assert_code(open_refused(&wrong, &err), SYN_E_INVALID, &err);
    wrong = platform;
    wrong.class_count = 2; /* worker 6 is of class 2 */
    assert_code(open_refused(&wrong, &err), SYN_E_INVALID, &err);
}

int
syn_strategy_suite_run(const struct syn_strategy_case *strategy)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_come), cmocka_unit_test(test_order),
        cmocka_unit_test(test_affinity), cmocka_unit_test(test_unavailable),
        cmocka_unit_test(test_cancel),   cmocka_unit_test(test_lost),
        cmocka_unit_test(test_choice),   cmocka_unit_test(test_data),
        cmocka_unit_test(test_helping),  cmocka_unit_test(test_stress),
        cmocka_unit_test(test_graph),    cmocka_unit_test(test_memory),
        cmocka_unit_test(test_refused),
    };

    suite.with = strategy;
    suite.ops = syn_strategy_find(strategy->name);
    if (suite.ops == NULL || suite.ops->version != SYN_STRATEGY_VERSION)
        return 1;
    return cmocka_run_group_tests_name(strategy->name, tests, NULL, NULL);
}
