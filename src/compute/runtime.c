/* Making and ending a runtime, and submitting plain calls to it. */
#include <synor/task.h>

#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>

#include "lane_priv.h"
#include "worker_priv.h"

#define GUESTS_DEFAULT     4
#define FORK_DEPTH_DEFAULT (1u << 20)
#define FORK_DEPTH_MAX     (1u << 30)
#define SPIN_NS_DEFAULT    50000
#define MANY_PIECES        8 /* a worker, that one submission of many calls is divided into */

static SYN_MUST int
check_options(const struct syn_runtime_options *options, struct syn_err *err)
{
    if (options->workers > SYN_WORKERS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "workers: %u, at most %d", options->workers,
                        SYN_WORKERS_MAX);
    if (options->workers > 0 && options->no_workers)
        return SYN_FAIL(err, SYN_E_INVALID, "workers and no_workers at the same time");
    if (options->guests > SYN_WORKERS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "guests: %u, at most %d", options->guests,
                        SYN_WORKERS_MAX);
    if (options->fork_depth > FORK_DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "fork_depth: %u, at most %u", options->fork_depth,
                        FORK_DEPTH_MAX);
    return SYN_OK;
}

static unsigned
processors_allowed(void)
{
    cpu_set_t set;
    int count;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    count = CPU_COUNT(&set);
    return (unsigned)SYN_MAX(1, SYN_MIN(count, SYN_WORKERS_MAX));
}

static SYN_MUST int
make_seat(struct syn_runtime *runtime, unsigned index, unsigned depth, struct syn_err *err)
{
    struct syn_worker *worker = syn_alloc_aligned(SYN_LINE, sizeof(*worker));
    int rc;

    if (worker == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a worker");
    memset(worker, 0, sizeof(*worker));
    worker->runtime = runtime;
    worker->index = index;
    worker->chunk = 1;
    worker->patience_ns = runtime->spin_ns;
    worker->pace_left = worker->pace_count = 1;
    rc = syn_fork_init(worker, depth, err);
    if (rc < 0) {
        syn_free(worker);
        return rc;
    }
    runtime->workers[index] = worker;
    return SYN_OK;
}

static void
pin_to(pthread_t thread, unsigned index)
{
    cpu_set_t allowed, one;
    unsigned seen = 0;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return;
    index %= (unsigned)SYN_MAX(1, CPU_COUNT(&allowed));
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || seen++ != index)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(thread, sizeof(one), &one);
        return;
    }
}

static SYN_MUST int
start_threads(struct syn_runtime *runtime, unsigned count, bool pin, struct syn_err *err)
{
    for (; runtime->started < count; runtime->started++) {
        struct syn_worker *worker = runtime->workers[runtime->started];
        int failed = pthread_create(&worker->thread, NULL, syn_worker_main, worker);

        if (failed != 0)
            return SYN_FAIL_SYS(err, failed, "starting worker %u", runtime->started);
        if (pin)
            pin_to(worker->thread, runtime->started);
    }
    return SYN_OK;
}

static void
join_threads(struct syn_runtime *runtime)
{
    atomic_store(&runtime->stopping, 1);
    syn_fence_heavy();
    syn_worker_wake_seats(runtime, 0);
    for (unsigned i = 0; i < runtime->started; i++)
        (void)pthread_join(runtime->workers[i]->thread, NULL);
}

static void
fini(struct syn_runtime *runtime)
{
    join_threads(runtime);
    for (unsigned i = 0; i < runtime->seats_count; i++) {
        syn_fork_fini(runtime->workers[i]);
        syn_free(runtime->workers[i]);
    }
    syn_lanes_end(runtime);
    syn_tasks_free(runtime);
    syn_free(runtime->workers);
    syn_free(runtime->lanes);
    (void)pthread_mutex_destroy(&runtime->seats);
    syn_free(runtime);
}

static SYN_MUST int
init(struct syn_runtime *runtime, const struct syn_runtime_options *options, struct syn_err *err)
{
    unsigned threads = options->no_workers ? 0 : options->workers;
    unsigned guests = options->guests > 0 ? options->guests : GUESTS_DEFAULT;
    unsigned depth = options->fork_depth > 0 ? options->fork_depth : FORK_DEPTH_DEFAULT;
    int rc;

    if (threads == 0 && !options->no_workers)
        threads = processors_allowed();
    (void)pthread_mutex_init(&runtime->seats, NULL);
    runtime->spin_ns = options->spin_ns != 0 ? options->spin_ns : SPIN_NS_DEFAULT;
    runtime->adapts = options->spin_ns == 0;
    runtime->alone = threads == 0 && guests == 1;
    runtime->workers = syn_calloc(threads + guests, sizeof(struct syn_worker *));
    runtime->lanes = syn_calloc(SYN_SUBMITTERS_MAX, sizeof(struct syn_lane *));
    if (runtime->workers == NULL || runtime->lanes == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a runtime");
    for (; runtime->seats_count < threads + guests; runtime->seats_count++) {
        rc = make_seat(runtime, runtime->seats_count, depth, err);
        if (rc < 0)
            return rc;
    }
    runtime->workers_count = threads;
    atomic_store(&runtime->active, threads);
    rc = syn_tasks_new(runtime, err);
    return rc < 0 ? rc : start_threads(runtime, threads, options->pin, err);
}

int
syn_runtime_new(const struct syn_runtime_options *options, struct syn_runtime **ret_runtime,
                struct syn_err *err)
{
    static const struct syn_runtime_options defaults;
    struct syn_runtime *runtime;
    int rc = check_options(options != NULL ? options : &defaults, err);

    if (rc < 0)
        return rc;
    syn_fence_init();
    runtime = syn_alloc_aligned(SYN_LINE, sizeof(*runtime));
    if (runtime == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a runtime");
    memset(runtime, 0, sizeof(*runtime));
    rc = init(runtime, options != NULL ? options : &defaults, err);
    if (rc < 0) {
        fini(runtime);
        return rc;
    }
    *ret_runtime = runtime;
    return SYN_OK;
}

struct syn_runtime *
syn_runtime_free(struct syn_runtime *runtime)
{
    if (runtime == NULL)
        return NULL;
    syn_runtime_wait(runtime);
    fini(runtime);
    return NULL;
}

void
syn_runtime_stats(const struct syn_runtime *runtime, struct syn_runtime_stats *ret_stats)
{
    struct syn_runtime_stats stats = {
        .workers = runtime->workers_count,
        .guests = runtime->seats_count - runtime->workers_count,
        .wakes = atomic_load_explicit(&runtime->wakes, memory_order_relaxed),
    };

    for (unsigned i = 0; i < runtime->seats_count; i++) {
        const struct syn_worker *worker = runtime->workers[i];

        stats.calls += atomic_load_explicit(&worker->executed, memory_order_relaxed);
        stats.steals += atomic_load_explicit(&worker->steals, memory_order_relaxed);
        stats.shares += atomic_load_explicit(&worker->shares, memory_order_relaxed);
        stats.parks += atomic_load_explicit(&worker->parks, memory_order_relaxed);
    }
    *ret_stats = stats;
}

/* ---- plain calls ---- */

int
syn_submit(struct syn_runtime *runtime, void (*run)(void *arg), void *arg, struct syn_err *err)
{
    struct syn_lane *lane;
    int rc = syn_lane_of_thread(runtime, &lane, err);

    if (rc == SYN_OK)
        rc = syn_lane_put(lane, run, arg, err);
    if (rc == SYN_OK)
        syn_worker_wake(runtime);
    return rc;
}

struct urgent {
    void (*run)(void *arg);
    void *arg;
};

static int
run_urgent(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct urgent urgent = *(struct urgent *)arg;

    (void)worker;
    (void)at;
    syn_free(arg);
    urgent.run(urgent.arg);
    return SYN_OK;
}

int
syn_submit_urgent(struct syn_runtime *runtime, void (*run)(void *arg), void *arg, int priority,
                  struct syn_err *err)
{
    struct urgent *urgent = syn_alloc(sizeof(*urgent));
    struct syn_task_spec spec = {.run = run_urgent, .arg = urgent, .priority = priority};
    int rc;

    if (urgent == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a call");
    *urgent = (struct urgent){run, arg};
    rc = syn_task_submit(runtime, &spec, NULL, err);
    if (rc < 0)
        syn_free(urgent);
    return rc;
}

/* ---- many calls at once ---- */

/* One submission. Calls of run_many() stand for it in the lane, one a worker; each takes pieces
 * until there are none. */
struct many {
    _Alignas(SYN_LINE) _Atomic size_t next;
    _Alignas(SYN_LINE) _Atomic size_t hands; /* run_many() calls that have not returned */
    void (*run)(void *arg);
    char *args;
    size_t stride, count, piece;
};

static void
run_many(void *arg)
{
    struct many *many = arg;
    size_t from;

    while ((from = atomic_fetch_add_explicit(&many->next, many->piece, memory_order_relaxed)) <
           many->count) {
        size_t to = SYN_MIN(from + many->piece, many->count);

        for (size_t i = from; i < to; i++)
            many->run(many->args + i * many->stride);
    }
    if (atomic_fetch_sub_explicit(&many->hands, 1, memory_order_acq_rel) == 1)
        syn_free(many);
}

int
syn_submit_many(struct syn_runtime *runtime, void (*run)(void *arg), void *args, size_t stride,
                size_t count, struct syn_err *err)
{
    size_t hands = SYN_MIN(SYN_MAX(runtime->workers_count, 1), count);
    struct syn_lane *lane;
    struct many *many;
    size_t put = 0;
    int rc = syn_lane_of_thread(runtime, &lane, err);

    if (rc < 0 || count == 0)
        return rc;
    many = syn_alloc_aligned(SYN_LINE, sizeof(*many));
    if (many == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a submission");
    *many = (struct many){.run = run, .args = args, .stride = stride, .count = count};
    many->piece = SYN_MAX(1, count / (hands * MANY_PIECES));
    atomic_init(&many->hands, hands);
    while (rc == SYN_OK && put < hands) {
        rc = syn_lane_put(lane, run_many, many, err);
        put += rc == SYN_OK;
    }
    /* Hands that found no room are not needed: one does all. */
    if (put < hands && atomic_fetch_sub(&many->hands, hands - put) == hands - put)
        syn_free(many);
    if (put == 0)
        return rc;
    syn_worker_wake(runtime);
    return SYN_OK;
}
