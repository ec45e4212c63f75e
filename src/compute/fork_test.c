#include <synor/fork.h>
#include <synor/runtime.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <synor/base/test.h>

#include "stress_suite.h"

struct half {
    long n, value;
};

static long fib(struct syn_worker *worker, struct syn_fork *at, long n);

static void
fib_stolen(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct half *half = frame;

    half->value = fib(worker, at, half->n);
}

static long
fib(struct syn_worker *worker, struct syn_fork *at, long n)
{
    struct half *half = syn_fork_frame(at);
    struct syn_fork *next;
    long other;

    if (n < 2)
        return n;
    half->n = n - 1;
    next = syn_fork(worker, at, fib_stolen);
    other = fib(worker, next, n - 2);
    if (syn_join(worker, at))
        return other + fib(worker, at, half->n);
    return other + half->value;
}

static void
fib_root(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct half *half = arg;

    half->value = fib(worker, at, half->n);
}

static struct syn_runtime *
runtime_with(unsigned workers, unsigned depth)
{
    struct syn_runtime_options options = {
        .workers = workers, .no_workers = workers == 0, .fork_depth = depth};
    struct syn_runtime *runtime = NULL;
    struct syn_err err;

    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    return runtime;
}

static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_fib_on_any_number_of_workers(void **state)
{
    (void)state;
    for (unsigned workers = 0; workers <= 4; workers++) {
        struct syn_runtime *runtime = runtime_with(workers, 0);
        struct half half = {.n = 22};
        struct syn_err err;

        for (int i = 0; i < 5; i++) {
            assert_done(syn_runtime_run(runtime, fib_root, &half, &err), &err);
            assert_int_equal(half.value, 17711);
        }
        (void)syn_runtime_free(runtime);
    }
}

/* A deque of four: nearly every fork finds it full. */
static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_full_deque_runs_at_once(void **state)
{
    (void)state;
    for (unsigned workers = 0; workers <= 2; workers++) {
        for (unsigned depth = 1; depth <= 6; depth++) {
            struct syn_runtime *runtime = runtime_with(workers, depth);
            struct half half = {.n = 18};
            struct syn_err err;

            assert_done(syn_runtime_run(runtime, fib_root, &half, &err), &err);
            assert_int_equal(half.value, 2584);
            (void)syn_runtime_free(runtime);
        }
    }
}

/* ---- many offers in a row, by the functions ---- */

#define ROW 40

static void
square(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct half *half = frame;

    (void)worker;
    (void)at;
    half->value = half->n * half->n;
}

static void
row_root(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_fork *places[ROW + 1];
    long *sum = arg;

    places[0] = at;
    for (long i = 0; i < ROW; i++) {
        ((struct half *)syn_fork_frame(places[i]))->n = i;
        places[i + 1] = syn_fork_call(worker, places[i], square);
    }
    *sum = 0;
    for (long i = ROW; i-- > 0;) {
        syn_join_call(worker, places[i]);
        *sum += ((struct half *)syn_fork_frame(places[i]))->value;
    }
}

static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_row_of_offers(void **state)
{
    const long want = (ROW - 1L) * ROW * (2L * ROW - 1) / 6;

    (void)state;
    for (unsigned depth = 1; depth <= ROW + 1; depth += 8) {
        struct syn_runtime *runtime = runtime_with(2, depth);
        long sum = 0;
        struct syn_err err;

        for (int i = 0; i < 200; i++) {
            assert_done(syn_runtime_run(runtime, row_root, &sum, &err), &err);
            assert_int_equal(sum, want);
        }
        (void)syn_runtime_free(runtime);
    }
}

/* ---- a stolen offer, for certain ---- */

struct gate {
    _Atomic int *opened;
    struct syn_worker *by;
};

static void
open_gate(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct gate *gate = frame;

    (void)at;
    gate->by = worker;
    atomic_store(gate->opened, 1);
}

static void
nothing(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    (void)worker;
    (void)at;
    (void)frame;
}

/* Nobody but a thief can open the gate. Thieves ask at any time and are answered at the next fork,
 * so there are more forks while we wait. */
static void
gate_root(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    _Atomic int opened = 0;
    struct gate *gate = syn_fork_frame(at);
    struct syn_fork *next;

    gate->opened = &opened;
    next = syn_fork(worker, at, open_gate);
    while (atomic_load(&opened) == 0) {
        (void)syn_fork(worker, next, nothing);
        (void)syn_join(worker, next);
    }
    assert_false(syn_join(worker, at));
    *(bool *)arg = gate->by != worker;
}

static void
test_offer_is_stolen(void **state)
{
    struct syn_runtime *runtime = runtime_with(2, 0);
    struct syn_runtime_stats stats;
    struct syn_err err;

    (void)state;
    for (int i = 0; i < 50; i++) {
        bool other = false;

        assert_done(syn_runtime_run(runtime, gate_root, &other, &err), &err);
        assert_true(other);
    }
    syn_runtime_stats(runtime, &stats);
    assert_true(stats.steals >= 50);
    (void)syn_runtime_free(runtime);
}

/* ---- several roots at once, irregular trees ---- */

struct node {
    uint64_t seed;
    long leaves;
};

static long tree(struct syn_worker *worker, struct syn_fork *at, uint64_t seed);

static void
tree_stolen(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct node *node = frame;

    node->leaves = tree(worker, at, node->seed);
}

/* The shape follows from the seed: up to three children, fewer with depth. */
static unsigned
children_of(uint64_t *seed)
{
    uint64_t depth = *seed >> 56;
    uint64_t random = syn_test_random(seed);

    if (depth >= 12)
        return 0;
    *seed = (random & 0x00ffffffffffffffu) | (depth + 1) << 56;
    return depth < 4 ? (unsigned)(random >> 32) % 3 + 1 : (unsigned)(random >> 32) % 4;
}

static long
tree_serial(uint64_t seed)
{
    unsigned children = children_of(&seed);
    long leaves = children == 0;

    for (unsigned i = 0; i < children; i++)
        leaves += tree_serial(seed + i);
    return leaves;
}

static long
tree(struct syn_worker *worker, struct syn_fork *at, uint64_t seed)
{
    unsigned children = children_of(&seed);
    struct syn_fork *places[4] = {at};
    long leaves = children == 0;

    for (unsigned i = 0; i < children; i++) {
        ((struct node *)syn_fork_frame(places[i]))->seed = seed + i;
        places[i + 1] = syn_fork(worker, places[i], tree_stolen);
    }
    for (unsigned i = children; i-- > 0;) {
        struct node *node = syn_fork_frame(places[i]);

        if (syn_join(worker, places[i]))
            leaves += tree(worker, places[i], node->seed);
        else
            leaves += node->leaves;
    }
    return leaves;
}

static void
tree_root(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct node *node = arg;

    node->leaves = tree(worker, at, node->seed);
}

struct root_thread {
    struct syn_runtime *runtime;
    uint64_t seed;
    bool right;
};

static void *
root_main(void *arg)
{
    struct root_thread *root = arg;
    struct syn_err err;

    root->right = true;
    for (uint64_t i = 0; i < 20; i++) {
        struct node node = {.seed = (root->seed + i) & 0x00ffffffffffffffu};

        if (syn_runtime_run(root->runtime, tree_root, &node, &err) != 0)
            root->right = false;
        root->right = root->right && node.leaves == tree_serial(node.seed);
    }
    return NULL;
}

static void
trees_from_two_threads(unsigned workers, unsigned depth, uint64_t seed)
{
    struct syn_runtime *runtime = runtime_with(workers, depth);
    struct root_thread roots[2] = {{runtime, seed, false}, {runtime, seed >> 20, false}};
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, root_main, &roots[i]), 0);
    for (int i = 0; i < 2; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_true(roots[i].right);
    }
    (void)syn_runtime_free(runtime);
}

static void
test_irregular_trees_from_two_threads(void **state)
{
    (void)state;
    trees_from_two_threads(2, 0, UINT64_C(4711) << 20 | 815);
}

/* ---- the same with threads held up, see stress_suite.h ---- */

static void
stress_trees(uint64_t seed)
{
    trees_from_two_threads(1 + (unsigned)(seed % 4),
                           seed % 3 == 0 ? 1 + (unsigned)(seed >> 8) % 40 : 0, seed);
}

static void
stress_row(uint64_t seed)
{
    const long want = (ROW - 1L) * ROW * (2L * ROW - 1) / 6;
    struct syn_runtime *runtime =
        runtime_with((unsigned)(seed % 4), 1 + (unsigned)(seed >> 8) % (ROW + 2));
    long sum = 0;
    struct syn_err err;

    for (int i = 0; i < 50; i++) {
        assert_done(syn_runtime_run(runtime, row_root, &sum, &err), &err);
        assert_int_equal(sum, want);
    }
    (void)syn_runtime_free(runtime);
}

static void
stress_thieves(uint64_t seed)
{
    struct syn_runtime *runtime = runtime_with(1 + (unsigned)(seed % 4), 0);
    struct syn_err err;

    for (int i = 0; i < 10; i++) {
        bool other = false;

        assert_done(syn_runtime_run(runtime, gate_root, &other, &err), &err);
        assert_true(other);
    }
    (void)syn_runtime_free(runtime);
}

static const struct syn_stress_case stress[] = {
    {"trees", stress_trees},
    {"row", stress_row},
    {"thieves", stress_thieves},
};

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fib_on_any_number_of_workers),
        cmocka_unit_test(test_full_deque_runs_at_once),
        cmocka_unit_test(test_row_of_offers),
        cmocka_unit_test(test_offer_is_stolen),
        cmocka_unit_test(test_irregular_trees_from_two_threads),
    };

    if (syn_stress_wanted(argc, argv))
        return syn_stress_run("fork", stress, SYN_LEN(stress));
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
