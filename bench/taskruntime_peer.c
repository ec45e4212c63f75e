/* Our runtime as a peer program of the task runtime harness, whose bench.h this needs. */
#include "bench.h"

#include <stdarg.h>

#include <synor/graph.h>
#include <synor/runtime.h>
#include <synor/task.h>

static struct syn_runtime *runtime;
static struct syn_err error;

static void
must(int rc)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "synor: %s\n", error.msg);
    exit(1);
}

/* Where the submitting thread only watches, the workers are threads; else it is one of them. */
static void
start(int workers)
{
    bool watches =
        !strcmp(bench_name, "warm") || !strcmp(bench_name, "cold") || !strcmp(bench_name, "prio");
    int threads = watches ? workers : workers - 1;
    struct syn_runtime_options options = {
        .workers = (unsigned)threads, .no_workers = threads == 0, .guests = 1};

    must(syn_runtime_new(&options, &runtime, &error));
}

static void
stop(void)
{
    runtime = syn_runtime_free(runtime);
}

/* ---- fork-join ---- */

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

static __attribute__((noinline)) long
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

static long fib_by_call(struct syn_worker *worker, struct syn_fork *at, long n);

static void
fib_called(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct half *half = frame;

    half->value = fib_by_call(worker, at, half->n);
}

static __attribute__((noinline)) long
fib_by_call(struct syn_worker *worker, struct syn_fork *at, long n)
{
    struct half *half = syn_fork_frame(at);
    struct syn_fork *next;
    long other;

    if (n < 2)
        return n;
    half->n = n - 1;
    next = syn_fork_call(worker, at, fib_called);
    other = fib_by_call(worker, next, n - 2);
    syn_join_call(worker, at);
    return other + half->value;
}

static long fib_n;

static void
fib_root(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    *(long *)arg = getenv("SYNOR_API") ? fib_by_call(worker, at, fib_n) : fib(worker, at, fib_n);
}

static uint64_t
run_fib(int n)
{
    long value = 0;

    fib_n = n;
    must(syn_runtime_run(runtime, fib_root, &value, &error));
    return (uint64_t)value;
}

/* ---- submission ---- */

static void
nothing(void *arg)
{
    (void)arg;
}

static void
run_flat(long count)
{
    const char *batch = getenv("SYNOR_BATCH");
    long step = batch ? atoi(batch) : 0;

    if (step > 0) {
        static char args[1];

        for (long i = 0; i < count; i += step)
            must(syn_submit_many(runtime, nothing, args, 0, (size_t)step, &error));
    } else {
        for (long i = 0; i < count; i++)
            must(syn_submit(runtime, nothing, NULL, &error));
    }
    syn_runtime_wait(runtime);
}

/* ---- the graph ---- */

struct tile_call {
    struct bench_tile *a, *b, *c;
};

static struct syn_data **handles;
static struct tile_call *calls;
static long next_call;
static struct syn_graph *graph;
static bool capturing;

static int
tile_body(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct tile_call *call = arg;

    (void)worker;
    (void)at;
    bench_kernel(call->a, call->b, call->c);
    return 0;
}

static void
emit(struct bench_tile *a, struct bench_tile *b, struct bench_tile *c, int priority)
{
    struct tile_call *call = &calls[next_call++];
    struct syn_use uses[3];
    struct syn_task_spec spec = {.run = tile_body, .arg = call, .uses = uses};

    (void)priority;
    *call = (struct tile_call){a, b, c};
    if (a)
        uses[spec.uses_count++] = (struct syn_use){handles[a - bench_tiles], SYN_READ};
    if (b)
        uses[spec.uses_count++] = (struct syn_use){handles[b - bench_tiles], SYN_READ};
    uses[spec.uses_count++] = (struct syn_use){handles[c - bench_tiles], SYN_UPDATE};
    if (capturing)
        must(syn_graph_add(graph, &spec, &error));
    else
        must(syn_task_submit(runtime, &spec, NULL, &error));
}

/* The same graph, captured. The harness has no moment for that but where it times the inferred
 * graph, so a program of its own (-DSYNOR_RERUN) measures the runs of a captured one. */
#ifdef SYNOR_RERUN
static void
capture_dag(void)
{
    graph = syn_graph_free(graph);
    must(syn_graph_new(runtime, &graph, &error));
    capturing = true;
    next_call = 0;
    bench_cholesky(bench_nt, emit);
    must(syn_graph_seal(graph, &error));
    capturing = false;
}

static void
run_dag_again(void)
{
    must(syn_graph_run(graph, &error));
}
#endif

static long
run_dag(int nt)
{
    size_t tiles = (size_t)nt * (size_t)nt;
    size_t most = (size_t)nt * (size_t)(nt + 1) * (size_t)(nt + 2) / 6;
    long tasks;

    free(calls);
    handles = calloc(tiles, sizeof *handles);
    calls = calloc(most, sizeof *calls);
    next_call = 0;
    for (size_t i = 0; i < tiles; i++)
        must(syn_data_new(runtime, &bench_tiles[i], sizeof bench_tiles[i], &handles[i], &error));
    tasks = bench_cholesky(nt, emit);
    syn_runtime_wait(runtime);
#ifdef SYNOR_RERUN
    capture_dag();
#endif
    return tasks;
}

/* ---- latency and priority ---- */

static void
poke(void *arg)
{
    (void)arg;
    bench_poke_body();
}

static void
run_latency(int count, uint64_t gap_ns, uint64_t *out)
{
    BENCH_LATENCY_LOOP(count, gap_ns, out, must(syn_submit(runtime, poke, NULL, &error)));
    syn_runtime_wait(runtime);
}

static void
low(void *arg)
{
    (void)arg;
    bench_low_body();
}

static void
high(void *arg)
{
    (void)arg;
    bench_high_body();
}

static void
run_prio(int count)
{
    for (int i = 0; i < count; i++)
        must(syn_submit(runtime, low, NULL, &error));
    bench_high_submit_mark();
    must(syn_submit_urgent(runtime, high, NULL, 5, &error));
    syn_runtime_wait(runtime);
}

const struct peer peer = {
    .name = "synor",
    .start = start,
    .stop = stop,
    .fib = run_fib,
    .flat = run_flat,
    .dag = run_dag,
#ifdef SYNOR_RERUN
    .dag_again = run_dag_again,
#endif
    .latency = run_latency,
    .prio = run_prio,
};
