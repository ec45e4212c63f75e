/* Captured graphs: what they give equals the same calls one after another, run after run; failures,
 * cancellation, loss of devices, what lies around a run. */
#include <synor/engine.h>

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/test.h>
#include <synor/compute/driver.h>

#include "../stress_suite.h"

#define N       24 /* elements of a tensor */
#define TENSORS 8

/* ---- kernels of our own ---- */

enum { SALT, FAILS, PARAMS };

static void
compute(bool writes_only, uint64_t salt, const int64_t *a, int64_t *c, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        c[i] = (int64_t)((writes_only ? 0 : 3 * (uint64_t)c[i]) + (uint64_t)a[i] + salt);
}

static int
run_any(bool writes_only, const struct syn_kernel_call *call, struct syn_err *err)
{
    if (call->params[FAILS] != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "told to fail");
    compute(writes_only, (uint64_t)call->params[SALT], call->operands[0].data,
            call->operands[1].data, call->operands[1].shape->sizes[0]);
    return SYN_OK;
}

static int
run_add(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    (void)worker;
    (void)at;
    return run_any(false, call, err);
}

static int
run_set(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    (void)worker;
    (void)at;
    return run_any(true, call, err);
}

static void
work_of(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){.flops = UINT64_C(2) * N,
                                  .read_bytes = UINT64_C(16) * N,
                                  .written_bytes = UINT64_C(8) * N,
                                  .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_operand adding[] = {{"a", SYN_READ, 1, 1}, {"c", SYN_UPDATE, 1, 1}};
static const struct syn_kernel_operand setting[] = {{"a", SYN_READ, 1, 1}, {"c", SYN_WRITE, 1, 1}};
static const struct syn_kernel_param params[] = {{"salt", 0, false}, {"fails", 0, false}};
static const struct syn_kernel_split by_element[] = {{.dim = {0, 0}, .grain = 1}};
static const struct syn_kernel_impl add_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_add}};
static const struct syn_kernel_impl set_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_set}};
static const struct syn_kernel add = {.name = "add",
                                      .summary = "c = 3c + a + salt",
                                      .operands_count = 2,
                                      .operands = adding,
                                      .params_count = PARAMS,
                                      .params = params,
                                      .splits_count = 1,
                                      .splits = by_element,
                                      .impls_count = 1,
                                      .impls = add_impls,
                                      .work = work_of};
static const struct syn_kernel set = {.name = "set",
                                      .summary = "c = a + salt",
                                      .operands_count = 2,
                                      .operands = setting,
                                      .params_count = PARAMS,
                                      .params = params,
                                      .impls_count = 1,
                                      .impls = set_impls,
                                      .work = work_of};
static const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64, .dims = 1, .sizes = {N}};

/* ---- a bench of tensors ---- */

struct bench {
    struct syn_engine *engine;
    struct syn_engine_graph *graph;
    struct syn_tensor *tensors[TENSORS];
    int64_t want[TENSORS][N];
    uint64_t random;
};

static void
bench_open(struct bench *bench, const struct syn_engine_options *options)
{
    struct syn_err err;

    memset(bench, 0, sizeof(*bench));
    bench->random = 7;
    assert_done(syn_engine_open(options, &bench->engine, &err), &err);
    for (unsigned i = 0; i < TENSORS; i++) {
        void *data;

        assert_done(
            syn_tensor_new(syn_engine_memory(bench->engine), &shape, &bench->tensors[i], &err),
            &err);
        for (unsigned k = 0; k < N; k++)
            bench->want[i][k] = (int64_t)i * 100 + k;
        assert_done(syn_engine_map(bench->engine, bench->tensors[i], SYN_WRITE, &data, &err), &err);
        memcpy(data, bench->want[i], sizeof(bench->want[i]));
        syn_engine_unmap(bench->engine, bench->tensors[i]);
    }
    assert_done(syn_engine_graph_new(bench->engine, &bench->graph, &err), &err);
}

static void
bench_close(struct bench *bench)
{
    struct syn_err err;

    bench->graph = syn_engine_graph_free(bench->graph);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_done(syn_tensor_free(bench->tensors[i], &err), &err);
    bench->engine = syn_engine_close(bench->engine);
}

static void
assert_holds(struct bench *bench, unsigned tensor)
{
    struct syn_err err;
    void *data;

    assert_done(syn_engine_map(bench->engine, bench->tensors[tensor], SYN_READ, &data, &err), &err);
    assert_memory_equal(data, bench->want[tensor], sizeof(bench->want[tensor]));
    syn_engine_unmap(bench->engine, bench->tensors[tensor]);
}

static struct syn_task_call
call_of(const struct bench *bench, const struct syn_kernel *kernel, unsigned a, unsigned c,
        const double *values)
{
    return (struct syn_task_call){.kernel = kernel,
                                  .tensors = {bench->tensors[a], bench->tensors[c]},
                                  .params = values,
                                  .params_count = PARAMS,
                                  .pieces = SYN_PIECES_ONE};
}

static void
capture(struct bench *bench, const struct syn_kernel *kernel, unsigned a, unsigned c, double salt)
{
    const double values[PARAMS] = {salt, 0};
    const struct syn_engine_step step = {.call = call_of(bench, kernel, a, c, values)};
    struct syn_err err;

    assert_done(syn_engine_graph_add(bench->graph, &step, &err), &err);
}

/* ---- runs ---- */

struct drawn {
    bool writes_only;
    unsigned a, c;
    double salt;
};

static unsigned
below(struct bench *bench, unsigned limit)
{
    return (unsigned)((syn_test_random(&bench->random) >> 20) % limit);
}

/* Draw calls; every fourth is divided, some wait for others besides. */
static void
draw(struct bench *bench, struct drawn *drawn, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned a = below(bench, TENSORS), c = (a + 1 + below(bench, TENSORS - 1)) % TENSORS;
        uint32_t after = below(bench, i + 1);
        double values[PARAMS] = {below(bench, 100), 0};
        struct syn_engine_step step;
        struct syn_err err;

        drawn[i] = (struct drawn){below(bench, 4) == 0, a, c, values[SALT]};
        step = (struct syn_engine_step){
            .call = call_of(bench, drawn[i].writes_only ? &set : &add, a, c, values),
            .after = &after,
            .after_count = after < i};
        step.call.priority = (int)below(bench, 3);
        step.call.pieces = below(bench, 4) == 0 ? 3 : SYN_PIECES_ONE;
        step.call.deadline_ns = below(bench, 2) == 0 ? 1000000 : 0;
        assert_done(syn_engine_graph_add(bench->graph, &step, &err), &err);
    }
}

static void
follow(struct bench *bench, const struct drawn *drawn, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        compute(drawn[i].writes_only, (uint64_t)drawn[i].salt, bench->want[drawn[i].a],
                bench->want[drawn[i].c], N);
}

static void
run_drawn(const char *strategy, const char *modelled, unsigned runs)
{
    const struct syn_engine_options options = {
        .devices = "cpu0", .modelled = modelled, .strategy = strategy, .runtime = {.workers = 2}};
    struct drawn drawn[60];
    struct bench bench;
    struct syn_err err;

    bench_open(&bench, &options);
    draw(&bench, drawn, SYN_LEN(drawn));
    assert_int_equal(syn_engine_graph_count(bench.graph), SYN_LEN(drawn));
    for (unsigned i = 0; i < runs; i++) {
        assert_done(syn_engine_graph_run(bench.graph, &err), &err);
        follow(&bench, drawn, SYN_LEN(drawn));
    }
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    assert_done(syn_engine_wait(bench.engine, &err), &err);
    bench_close(&bench);
}

static void
test_every_strategy(void **state)
{
    size_t count;
    const struct syn_strategy_ops *const *all = syn_strategies(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        run_drawn(all[i]->name, NULL, 3);
        run_drawn(all[i]->name, "h100-sxm,l40s", 5);
    }
}

/* ---- failures ---- */

#define CALLS 5

static void
on_done(void *arg, int code)
{
    _Atomic int *ret_code = arg;

    atomic_store(ret_code, code);
}

static void
add_told(struct bench *bench, const struct syn_kernel *kernel, unsigned a, unsigned c,
         _Atomic int *code)
{
    struct syn_engine_step step = {.call = call_of(bench, kernel, a, c, NULL)};
    struct syn_err err;

    step.call.params_count = 0;
    step.call.done = on_done;
    step.call.done_arg = code;
    assert_done(syn_engine_graph_add(bench->graph, &step, &err), &err);
}

static void
assert_codes(_Atomic int *codes, const int *want)
{
    for (unsigned i = 0; i < CALLS; i++)
        assert_int_equal(atomic_load(&codes[i]), want[i]);
}

static void
test_failure(void **state)
{
    static const int broken[CALLS] = {0, SYN_E_CORRUPT, SYN_E_CORRUPT, 0, 0}, well[CALLS] = {0};
    static const double fails[PARAMS] = {0, 1};
    const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = "cpu0,modelled0", .runtime = {.workers = 2}};
    _Atomic int codes[CALLS];
    struct bench bench;
    struct syn_err err;

    (void)state;
    bench_open(&bench, &options);
    add_told(&bench, &add, 0, 1, &codes[0]);
    add_told(&bench, &set, 1, 2, &codes[1]);
    add_told(&bench, &add, 2, 3, &codes[2]); /* needs what fails */
    add_told(&bench, &set, 0, 2, &codes[3]); /* only comes after those */
    add_told(&bench, &add, 2, 4, &codes[4]);
    assert_done(syn_engine_graph_set_params(bench.graph, 1, fails, PARAMS, &err), &err);
    assert_int_equal(syn_engine_graph_run(bench.graph, &err), SYN_E_CORRUPT);
    assert_non_null(strstr(err.msg, "call 1, set"));
    assert_non_null(strstr(err.msg, "told to fail"));
    assert_codes(codes, broken);
    compute(false, 0, bench.want[0], bench.want[1], N);
    compute(true, 0, bench.want[0], bench.want[2], N);
    compute(false, 0, bench.want[2], bench.want[4], N);
    assert_int_equal(syn_engine_wait(bench.engine, &err), SYN_E_CORRUPT);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    assert_done(syn_engine_graph_set_params(bench.graph, 1, NULL, 0, &err), &err);
    for (unsigned run = 0; run < 3; run++) {
        assert_done(syn_engine_graph_run(bench.graph, &err), &err);
        assert_codes(codes, well);
        compute(false, 0, bench.want[0], bench.want[1], N);
        compute(true, 0, bench.want[1], bench.want[2], N);
        compute(false, 0, bench.want[2], bench.want[3], N);
        compute(true, 0, bench.want[0], bench.want[2], N);
        compute(false, 0, bench.want[2], bench.want[4], N);
    }
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    assert_done(syn_engine_wait(bench.engine, &err), &err);
    bench_close(&bench);
}

static void
submit_told(struct bench *bench, const struct syn_kernel *kernel, unsigned a, unsigned c,
            struct syn_task **ret_task)
{
    struct syn_task_call call = call_of(bench, kernel, a, c, NULL);
    struct syn_err err;

    call.params_count = 0;
    assert_done(syn_engine_submit(bench->engine, &call, ret_task, &err), &err);
}

static void
assert_ends(struct bench *bench, struct syn_task *task, int want)
{
    struct syn_err err;

    assert_int_equal(syn_task_wait(syn_engine_runtime(bench->engine), task, &err), want);
    task = syn_task_release(task);
}

/* To what lies around it a run is one task: a call before it has failed, and it needs the result.
 */
static void
test_failure_before(void **state)
{
    static const double fails[PARAMS] = {0, 1};
    const struct syn_engine_options options = {.devices = "cpu0", .runtime = {.workers = 2}};
    _Atomic int codes[2];
    struct syn_task *task = NULL;
    struct syn_task_call call;
    struct bench bench;
    struct syn_err err;

    (void)state;
    bench_open(&bench, &options);
    add_told(&bench, &add, 0, 1, &codes[0]);
    add_told(&bench, &add, 2, 3, &codes[1]);
    call = call_of(&bench, &set, 4, 0, fails);
    assert_done(syn_engine_submit(bench.engine, &call, NULL, &err), &err);
    assert_done(syn_engine_graph_start(bench.graph, &err), &err);
    submit_told(&bench, &add, 3, 6, &task);
    assert_int_equal(syn_engine_graph_wait(bench.graph, &err), SYN_E_CORRUPT);
    assert_int_equal(atomic_load(&codes[0]), SYN_E_CORRUPT);
    assert_int_equal(atomic_load(&codes[1]), SYN_E_CORRUPT);
    assert_ends(&bench, task, SYN_E_CORRUPT);
    assert_int_equal(syn_engine_wait(bench.engine, &err), SYN_E_CORRUPT);
    assert_non_null(strstr(err.msg, "told to fail"));
    for (unsigned i = 1; i < TENSORS; i++) /* the first one has no content now */
        assert_holds(&bench, i);
    bench_close(&bench);
}

/* A call of the run has failed: until a wait has told of it, whoever reads what the run was to
 * write hears of it. Not who reads what it only read, nor who reads what was written anew. */
static void
test_failure_behind(void **state)
{
    static const double fails[PARAMS] = {0, 1};
    const struct syn_engine_options options = {.devices = "cpu0", .runtime = {.workers = 2}};
    struct syn_task *tasks[4] = {NULL};
    struct bench bench;
    struct syn_err err;

    (void)state;
    bench_open(&bench, &options);
    capture(&bench, &add, 0, 1, 5);
    capture(&bench, &add, 2, 3, 6);
    assert_done(syn_engine_graph_set_params(bench.graph, 0, fails, PARAMS, &err), &err);
    assert_int_equal(syn_engine_graph_run(bench.graph, &err), SYN_E_CORRUPT);
    submit_told(&bench, &add, 3, 6, &tasks[0]);
    submit_told(&bench, &add, 2, 5, &tasks[1]);
    submit_told(&bench, &set, 2, 1, &tasks[2]);
    submit_told(&bench, &add, 1, 7, &tasks[3]);
    assert_ends(&bench, tasks[0], SYN_E_CORRUPT);
    for (unsigned i = 1; i < SYN_LEN(tasks); i++)
        assert_ends(&bench, tasks[i], SYN_OK);
    assert_int_equal(syn_engine_wait(bench.engine, &err), SYN_E_CORRUPT);
    compute(false, 6, bench.want[2], bench.want[3], N);
    compute(false, 0, bench.want[2], bench.want[5], N);
    compute(true, 0, bench.want[2], bench.want[1], N);
    compute(false, 0, bench.want[1], bench.want[7], N);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    submit_told(&bench, &add, 3, 6, &tasks[0]);
    assert_ends(&bench, tasks[0], SYN_OK);
    bench_close(&bench);
}

/* ---- cancelling ---- */

static _Atomic int held; /* 1: a call is to wait; 2: one does */

static int
run_hold(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    int wanted = 1;

    (void)worker;
    (void)at;
    if (atomic_compare_exchange_strong(&held, &wanted, 2)) {
        while (atomic_load(&held) != 0)
            (void)usleep(100);
    }
    return run_any(false, call, err);
}

static const struct syn_kernel_impl hold_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_hold}};
static const struct syn_kernel holding = {.name = "holding",
                                          .summary = "waits until it is let go",
                                          .operands_count = 2,
                                          .operands = adding,
                                          .params_count = PARAMS,
                                          .params = params,
                                          .impls_count = 1,
                                          .impls = hold_impls,
                                          .work = work_of};

/* A chain that is so long that it could not end call by call within each other. */
static void
test_cancel(void **state)
{
    const struct syn_engine_options options = {.devices = "cpu0", .runtime = {.workers = 2}};
    struct bench bench;
    struct syn_err err;

    (void)state;
    bench_open(&bench, &options);
    capture(&bench, &holding, 0, 1, 0);
    for (unsigned i = 0; i < 200000; i++)
        capture(&bench, &set, i % 2 == 0 ? 1 : 2, i % 2 == 0 ? 2 : 1, 1);
    atomic_store(&held, 1);
    assert_done(syn_engine_graph_start(bench.graph, &err), &err);
    while (atomic_load(&held) != 2)
        (void)usleep(100);
    assert_int_equal(syn_engine_graph_start(bench.graph, &err), SYN_E_CONFLICT);
    assert_int_equal(syn_engine_graph_set_params(bench.graph, 0, NULL, 0, &err), SYN_E_CONFLICT);
    assert_int_equal(syn_engine_graph_rebind(bench.graph, bench.tensors[0], bench.tensors[5], &err),
                     SYN_E_CONFLICT);
    syn_engine_graph_cancel(bench.graph);
    atomic_store(&held, 0);
    assert_int_equal(syn_engine_graph_wait(bench.graph, &err), SYN_E_CANCELED);
    assert_int_equal(syn_engine_wait(bench.engine, &err), SYN_E_CANCELED);
    compute(false, 0, bench.want[0], bench.want[1], N);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    bench_close(&bench);
}

/* ---- what changes between runs ---- */

static void
test_rebind(void **state)
{
    static const struct syn_shape other = {.dtype = SYN_DTYPE_INT64, .dims = 1, .sizes = {N + 1}};
    static const double three[PARAMS] = {3, 0};
    const struct syn_engine_options options = {
        .modelled = "l40s", .devices = "cpu0,modelled0", .runtime = {.workers = 1}};
    struct syn_tensor *longer;
    struct bench bench;
    struct syn_err err;

    (void)state;
    bench_open(&bench, &options);
    capture(&bench, &set, 0, 1, 2);
    capture(&bench, &add, 1, 0, 4);
    assert_done(syn_tensor_new(syn_engine_memory(bench.engine), &other, &longer, &err), &err);
    assert_done(syn_engine_graph_run(bench.graph, &err), &err);
    compute(true, 2, bench.want[0], bench.want[1], N);
    compute(false, 4, bench.want[1], bench.want[0], N);
    assert_int_equal(syn_engine_graph_rebind(bench.graph, bench.tensors[1], longer, &err),
                     SYN_E_INVALID);
    assert_int_equal(syn_engine_graph_rebind(bench.graph, bench.tensors[1], bench.tensors[0], &err),
                     SYN_E_INVALID);
    assert_int_equal(syn_engine_graph_rebind(bench.graph, bench.tensors[3], bench.tensors[4], &err),
                     SYN_E_INVALID);
    assert_done(syn_engine_graph_rebind(bench.graph, bench.tensors[1], bench.tensors[7], &err),
                &err);
    assert_done(syn_engine_graph_set_params(bench.graph, 0, three, PARAMS, &err), &err);
    assert_int_equal(syn_engine_graph_set_params(bench.graph, 2, three, PARAMS, &err),
                     SYN_E_INVALID);
    assert_done(syn_engine_graph_run(bench.graph, &err), &err);
    compute(true, 3, bench.want[0], bench.want[7], N);
    compute(false, 4, bench.want[7], bench.want[0], N);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    assert_done(syn_tensor_free(longer, &err), &err);
    bench_close(&bench);
}

static void
test_refusals(void **state)
{
    static const uint32_t after = 0;
    const struct syn_engine_options options = {.devices = "cpu0", .runtime = {.workers = 1}};
    struct syn_engine_step step;
    struct bench bench;
    struct syn_err err;

    (void)state;
    bench_open(&bench, &options);
    assert_done(syn_engine_graph_run(bench.graph, &err), &err); /* of nothing */
    step = (struct syn_engine_step){
        .call = call_of(&bench, &add, 0, 1, NULL), .after = &after, .after_count = 1};
    step.call.params_count = 0;
    assert_int_equal(syn_engine_graph_add(bench.graph, &step, &err), SYN_E_INVALID);
    step.after_count = 0;
    step.call.tensors[1] = NULL;
    assert_int_equal(syn_engine_graph_add(bench.graph, &step, &err), SYN_E_INVALID);
    step.call = call_of(&bench, &add, 0, 1, NULL);
    step.call.params_count = 0;
    step.call.device = "cuda7";
    assert_int_equal(syn_engine_graph_add(bench.graph, &step, &err), SYN_E_INVALID);
    assert_int_equal(syn_engine_graph_count(bench.graph), 0);
    bench_close(&bench);
}

/* ---- what a strategy is told ---- */

static struct {
    const struct syn_strategy_ops *inner;
    unsigned shown, ended, indexed, others;
    uint32_t tasks, handles, edges;
    uint64_t patience_ns;
    bool topological;
} told;

static int
told_graph(void *self, const struct syn_graph_view *graph, uint64_t now_ns, struct syn_err *err)
{
    if (graph->task_count == 0) {
        told.ended++;
        return told.inner->graph(self, graph, now_ns, err);
    }
    told.shown++;
    told.tasks = graph->task_count;
    told.handles = graph->handle_count;
    told.edges = graph->succ_first[graph->task_count];
    told.patience_ns = graph->patience_ns;
    told.topological = true;
    for (uint32_t i = 0; i < graph->task_count; i++) {
        for (uint32_t k = graph->succ_first[i]; k < graph->succ_first[i + 1]; k++)
            told.topological = told.topological && graph->succ[k] > i;
        for (uint32_t k = 0; k < graph->tasks[i].access_count; k++) {
            const char *at = graph->tasks[i].accesses;
            const struct syn_data_use *use =
                (const void *)(at + (size_t)k * graph->tasks[i].access_stride);

            told.topological = told.topological && use->handle < graph->handle_count;
        }
    }
    return told.inner->graph(self, graph, now_ns, err);
}

static int
told_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
          struct syn_err *err)
{
    if (ready->index == SYN_NO_INDEX)
        told.others++;
    else
        told.indexed++;
    return told.inner->push(self, ready, now_ns, ret_place, err);
}

static void
test_strategy_is_told(void **state)
{
    struct syn_strategy_ops ops;
    struct syn_engine_options options = {
        .devices = "cpu0", .strategy_ops = &ops, .runtime = {.workers = 1}};
    struct syn_engine_graph *other;
    struct syn_engine_step step;
    struct bench bench;
    struct syn_err err;

    (void)state;
    memset(&told, 0, sizeof(told));
    told.inner = syn_strategy_find("heft");
    assert_non_null(told.inner);
    ops = *told.inner;
    ops.graph = told_graph;
    ops.push = told_push;
    bench_open(&bench, &options);
    capture(&bench, &set, 0, 1, 1);
    capture(&bench, &add, 0, 2, 1); /* beside the first */
    capture(&bench, &add, 1, 2, 1); /* behind both */
    for (unsigned run = 1; run <= 3; run++) {
        assert_done(syn_engine_graph_run(bench.graph, &err), &err);
        assert_int_equal(told.shown, run);
        assert_int_equal(told.ended, run);
    }
    assert_int_equal(told.tasks, 3);
    assert_int_equal(told.handles, 3);
    assert_int_equal(told.edges, 2);
    assert_true(told.topological);
    assert_true(told.patience_ns > 0);
    assert_int_equal(told.indexed, 9);
    /* One graph at a time: of two at once the later one's calls are like any others. */
    assert_done(syn_engine_graph_new(bench.engine, &other, &err), &err);
    step = (struct syn_engine_step){.call = call_of(&bench, &holding, 5, 6, NULL)};
    step.call.params_count = 0;
    assert_done(syn_engine_graph_add(other, &step, &err), &err);
    atomic_store(&held, 1);
    assert_done(syn_engine_graph_start(other, &err), &err);
    while (atomic_load(&held) != 2)
        (void)usleep(100);
    assert_done(syn_engine_graph_start(bench.graph, &err), &err);
    atomic_store(&held, 0);
    assert_done(syn_engine_graph_wait(other, &err), &err);
    assert_done(syn_engine_graph_wait(bench.graph, &err), &err);
    assert_int_equal(told.shown, told.ended);
    assert_int_equal(told.indexed + told.others, 13);
    other = syn_engine_graph_free(other);
    bench_close(&bench);
}

/* ---- loss, and no memory ---- */

/* A device is lost after every number of its calls in turn: results are right, or what could not be
 * saved says so. */
static void
lose_at_call(unsigned nth, unsigned *lost)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm,rtx-4090",
                                               .devices = "cpu0,modelled0,modelled1",
                                               .strategy = nth % 2 == 0 ? "round-robin" : "heft",
                                               .runtime = {.workers = 1}};
    struct syn_engine_worker worker;
    struct drawn drawn[40];
    struct bench bench;
    struct syn_err err;
    int rc;

    bench_open(&bench, &options);
    draw(&bench, drawn, SYN_LEN(drawn));
    assert_done(syn_engine_wait(bench.engine, &err), &err);
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, nth);
    for (unsigned run = 0; run < 3; run++) {
        rc = syn_engine_graph_run(bench.graph, &err);
        if (rc != SYN_OK && rc != SYN_E_UNAVAILABLE)
            fail_msg("%d: %s", rc, err.msg);
        follow(&bench, drawn, SYN_LEN(drawn));
    }
    rc = syn_engine_wait(bench.engine, &err);
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 0);
    for (unsigned i = 0; i < syn_engine_workers(bench.engine); i++) {
        syn_engine_worker(bench.engine, i, &worker);
        *lost += worker.lost;
    }
    for (unsigned i = 0; rc == SYN_OK && i < TENSORS; i++)
        assert_holds(&bench, i);
    bench_close(&bench);
}

static void
test_loss(void **state)
{
    unsigned lost = 0;

    (void)state;
    for (unsigned nth = 1; nth < 80; nth += 5)
        lose_at_call(nth, &lost);
    assert_true(lost > 0);
}

/* Every allocation fails in turn, of the capture and of the first run; then all goes well. */
static int
capture_and_run(struct bench *bench, struct syn_err *err)
{
    struct syn_engine_step step = {.call = call_of(bench, &add, 0, 1, NULL)};
    int rc = SYN_OK;

    step.call.params_count = 0;
    while (rc == SYN_OK && syn_engine_graph_count(bench->graph) < 3)
        rc = syn_engine_graph_add(bench->graph, &step, err);
    return rc < 0 ? rc : syn_engine_graph_run(bench->graph, err);
}

static void
test_no_memory(void **state)
{
    const struct syn_engine_options options = {.devices = "cpu0", .runtime = {.workers = 1}};
    struct bench bench;
    struct syn_err err;
    unsigned failed = 0;
    int rc = SYN_E_NOMEM;

    (void)state;
    bench_open(&bench, &options);
    for (uint64_t nth = 1; rc != SYN_OK; nth++) {
        syn_mem_fault_arm(nth, false);
        rc = capture_and_run(&bench, &err);
        syn_mem_fault_arm(0, false);
        if (rc != SYN_OK)
            assert_int_equal(rc, SYN_E_NOMEM);
        failed += rc != SYN_OK;
        assert_true(nth < 1000);
    }
    assert_true(failed > 3);
    assert_int_equal(syn_engine_graph_count(bench.graph), 3);
    for (unsigned i = 0; i < 3; i++)
        compute(false, 0, bench.want[0], bench.want[1], N);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_holds(&bench, i);
    bench_close(&bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_strategy), cmocka_unit_test(test_failure),
        cmocka_unit_test(test_failure_before), cmocka_unit_test(test_failure_behind),
        cmocka_unit_test(test_cancel),         cmocka_unit_test(test_rebind),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_strategy_is_told),
        cmocka_unit_test(test_loss),           cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
