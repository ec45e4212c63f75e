#include <synor/runtime.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include <synor/base/test.h>

#include "worker_priv.h"

static struct syn_runtime *
runtime_new(struct syn_runtime_options options)
{
    struct syn_runtime *runtime = NULL;
    struct syn_err err;

    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    return runtime;
}

static void
count_one(void *arg)
{
    atomic_fetch_add_explicit((_Atomic uint64_t *)arg, 1, memory_order_relaxed);
}

static void
test_options_are_checked(void **state)
{
    static const struct syn_runtime_options bad[] = {
        {.workers = SYN_WORKERS_MAX + 1},
        {.workers = 1, .no_workers = true},
        {.guests = SYN_WORKERS_MAX + 1},
        {.fork_depth = UINT32_MAX},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_runtime *runtime = NULL;
        struct syn_err err;

        assert_code(syn_runtime_new(&bad[i], &runtime, &err), SYN_E_INVALID, &err);
        assert_null(runtime);
    }
}

static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_every_call_runs_once(void **state)
{
    (void)state;
    for (unsigned workers = 0; workers <= 3; workers++) {
        struct syn_runtime *runtime =
            runtime_new((struct syn_runtime_options){.workers = workers, .no_workers = !workers});
        _Atomic uint64_t count = 0;
        struct syn_err err;

        for (unsigned round = 1; round <= 3; round++) {
            for (unsigned i = 0; i < 5000; i++)
                assert_done(syn_submit(runtime, count_one, &count, &err), &err);
            syn_runtime_wait(runtime);
            assert_int_equal(atomic_load(&count), round * 5000);
        }
        (void)syn_runtime_free(runtime);
    }
}

static void
test_free_waits(void **state)
{
    struct syn_runtime *runtime = runtime_new((struct syn_runtime_options){.workers = 2});
    _Atomic uint64_t count = 0;
    struct syn_err err;

    (void)state;
    for (unsigned i = 0; i < 3000; i++)
        assert_done(syn_submit(runtime, count_one, &count, &err), &err);
    (void)syn_runtime_free(runtime);
    assert_int_equal(atomic_load(&count), 3000);
}

/* ---- calls that submit calls ---- */

struct spread {
    struct syn_runtime *runtime;
    _Atomic uint64_t count;
    unsigned depth;
};

static struct spread spreads[12];

static void
spread(void *arg)
{
    struct spread *at = arg;

    atomic_fetch_add(&at->count, 1);
    if (at->depth == 0)
        return;
    for (int i = 0; i < 2; i++) {
        if (syn_submit(at->runtime, spread, at - 1, NULL) != 0)
            abort();
    }
}

static void
test_calls_submit_calls(void **state)
{
    struct syn_runtime *runtime = runtime_new((struct syn_runtime_options){.workers = 2});
    struct syn_err err;

    (void)state;
    for (unsigned i = 0; i < SYN_LEN(spreads); i++) {
        spreads[i].runtime = runtime;
        spreads[i].depth = i;
        atomic_store(&spreads[i].count, 0);
    }
    assert_done(syn_submit(runtime, spread, &spreads[SYN_LEN(spreads) - 1], &err), &err);
    syn_runtime_wait(runtime);
    assert_int_equal(atomic_load(&spreads[0].count), 1u << (SYN_LEN(spreads) - 1));
    (void)syn_runtime_free(runtime);
}

/* ---- many ---- */

static void
bump(void *arg)
{
    ++*(uint32_t *)arg;
}

static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_many_at_once(void **state)
{
    static uint32_t counts[10000];
    static const size_t sizes[] = {0, 1, 2, 7, 64, 1000, SYN_LEN(counts)};

    (void)state;
    for (unsigned workers = 0; workers <= 2; workers++) {
        struct syn_runtime *runtime =
            runtime_new((struct syn_runtime_options){.workers = workers, .no_workers = !workers});
        struct syn_err err;

        for (size_t s = 0; s < SYN_LEN(sizes); s++) {
            memset(counts, 0, sizeof(counts));
            assert_done(syn_submit_many(runtime, bump, counts, sizeof(counts[0]), sizes[s], &err),
                        &err);
            syn_runtime_wait(runtime);
            for (size_t i = 0; i < SYN_LEN(counts); i++)
                assert_int_equal(counts[i], i < sizes[s]);
        }
        (void)syn_runtime_free(runtime);
    }
}

/* ---- submitters come and go ---- */

struct submitter {
    struct syn_runtime *runtime;
    _Atomic uint64_t *count;
};

static void *
submitter_main(void *arg)
{
    const struct submitter *submitter = arg;
    void *count = (void *)(uintptr_t)submitter->count;

    for (unsigned i = 0; i < 500; i++) {
        if (syn_submit(submitter->runtime, count_one, count, NULL) != 0)
            abort();
    }
    return NULL;
}

static void
test_submitters_come_and_go(void **state)
{
    _Atomic uint64_t count = 0;

    (void)state;
    for (int life = 0; life < 3; life++) {
        struct syn_runtime *runtime = runtime_new((struct syn_runtime_options){.workers = 1});
        struct submitter submitter = {runtime, &count};

        atomic_store(&count, 0);
        for (int round = 0; round < 100; round++) {
            pthread_t threads[4];

            for (size_t i = 0; i < SYN_LEN(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, submitter_main, &submitter), 0);
            for (size_t i = 0; i < SYN_LEN(threads); i++)
                (void)pthread_join(threads[i], NULL);
        }
        syn_runtime_wait(runtime);
        assert_int_equal(atomic_load(&count), 100 * 4 * 500);
        (void)syn_runtime_free(runtime);
    }
}

/* ---- urgency ---- */

static _Atomic uint64_t order;
static uint64_t urgent_at, background_at;

static void
take_number(void *arg)
{
    *(uint64_t *)arg = atomic_fetch_add(&order, 1);
}

static void
hold(void *arg)
{
    while (atomic_load((_Atomic int *)arg) == 0)
        ;
}

static void
test_urgent_goes_first(void **state)
{
    static uint64_t numbers[1000];
    struct syn_runtime *runtime = runtime_new((struct syn_runtime_options){.workers = 1});
    _Atomic int released = 0;
    struct syn_err err;

    (void)state;
    assert_done(syn_submit(runtime, hold, &released, &err), &err);
    assert_done(syn_submit_urgent(runtime, take_number, &background_at, SYN_PRIORITY_MIN - 9, &err),
                &err);
    for (size_t i = 0; i < SYN_LEN(numbers); i++)
        assert_done(syn_submit(runtime, take_number, &numbers[i], &err), &err);
    assert_done(syn_submit_urgent(runtime, take_number, &urgent_at, 3, &err), &err);
    atomic_store(&released, 1);
    /* Not with this thread's help: of two that take calls in order, either may be first to run. */
    while (atomic_load(&order) < SYN_LEN(numbers) + 2)
        (void)sched_yield();
    syn_runtime_wait(runtime);
    assert_int_equal(urgent_at, 0);
    assert_int_equal(background_at, SYN_LEN(numbers) + 1);
    (void)syn_runtime_free(runtime);
}

/* ---- idleness ---- */

static void
test_idle_workers_sleep_and_wake(void **state)
{
    struct syn_runtime *runtime =
        runtime_new((struct syn_runtime_options){.workers = 3, .spin_ns = 1000});
    struct timespec pause = {0, 3000000};
    struct syn_runtime_stats stats;
    _Atomic uint64_t count = 0;
    struct syn_err err;

    (void)state;
    for (uint64_t i = 1; i <= 30; i++) {
        (void)nanosleep(&pause, NULL);
        assert_done(syn_submit(runtime, count_one, &count, &err), &err);
        while (atomic_load(&count) < i)
            ; /* nobody waits: the worker must wake by itself */
    }
    syn_runtime_stats(runtime, &stats);
    assert_true(stats.parks > 0);
    assert_true(stats.wakes > 0);
    (void)syn_runtime_free(runtime);
}

/* Who is asked again soon watches as long as it may, who is not soon does not watch at all. */
static void
test_watching_is_learnt(void **state)
{
    const int64_t spin_ns = 50000;
    int64_t patience_ns = spin_ns;
    struct syn_runtime *runtime;

    (void)state;
    patience_ns = syn_worker_patience(patience_ns, spin_ns, 5000000);
    assert_int_equal(patience_ns, 25000);
    for (unsigned i = 0; i < 16; i++)
        patience_ns = syn_worker_patience(patience_ns, spin_ns, spin_ns + 1);
    assert_int_equal(patience_ns, 0);
    assert_int_equal(syn_worker_patience(patience_ns, spin_ns, spin_ns), spin_ns);
    assert_int_equal(syn_worker_patience(patience_ns, spin_ns, 20000), spin_ns);

    runtime = runtime_new((struct syn_runtime_options){.workers = 1});
    assert_true(runtime->adapts);
    (void)syn_runtime_free(runtime);
    runtime = runtime_new((struct syn_runtime_options){.workers = 1, .spin_ns = spin_ns});
    assert_false(runtime->adapts); /* as its user wants it */
    (void)syn_runtime_free(runtime);
}

static int
alloc_scenario(void *arg, struct syn_err *err)
{
    struct syn_runtime_options options = {.no_workers = true, .guests = 2};
    struct syn_runtime *runtime = NULL;
    _Atomic uint64_t count = 0;
    static uint32_t counts[8];
    int rc = syn_runtime_new(&options, &runtime, err);

    (void)arg;
    if (rc < 0)
        return rc;
    for (int i = 0; rc == 0 && i < 3000; i++)
        rc = syn_submit(runtime, count_one, &count, err);
    if (rc == 0)
        rc = syn_submit_many(runtime, bump, counts, sizeof(counts[0]), SYN_LEN(counts), err);
    if (rc == 0)
        rc = syn_submit_urgent(runtime, count_one, &count, 1, err);
    (void)syn_runtime_free(runtime);
    return rc;
}

static void
test_memory_may_be_short(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(alloc_scenario, NULL) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_every_call_runs_once),
        cmocka_unit_test(test_free_waits),
        cmocka_unit_test(test_calls_submit_calls),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_submitters_come_and_go),
        cmocka_unit_test(test_urgent_goes_first),
        cmocka_unit_test(test_idle_workers_sleep_and_wake),
        cmocka_unit_test(test_watching_is_learnt),
        cmocka_unit_test(test_memory_may_be_short),
    };

    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
