/* The engine on the runtime's threads and modelled devices: results equal a sequential run, under
 * every strategy; failures, cancellation, maps, decomposition, loss of devices. */
#include <synor/engine.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/test.h>
#include <synor/compute/driver.h>

#include "../stress_suite.h"

#define N 96 /* elements of a tensor: 8 rows of 12 */

/* ---- kernels of our own ---- */

/* c = 3c + a + 2b, whole numbers, so that every order of summation gives the same. */
static int
run_mix(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    const struct syn_shape *shape = call->operands[2].shape;
    const uint64_t *a = call->operands[0].data, *b = call->operands[1].data;
    uint64_t *c = call->operands[2].data; /* they may overflow */

    (void)worker;
    (void)at;
    (void)err;
    for (uint64_t i = 0; i < shape->sizes[0]; i++) {
        for (uint64_t j = 0; j < shape->sizes[1]; j++) {
            uint64_t x =
                i * call->operands[0].shape->strides[0] + j * call->operands[0].shape->strides[1];
            uint64_t y =
                i * call->operands[1].shape->strides[0] + j * call->operands[1].shape->strides[1];
            uint64_t z = i * shape->strides[0] + j * shape->strides[1];

            c[z] = 3 * c[z] + a[x] + 2 * b[y];
        }
    }
    return SYN_OK;
}

static int
run_fill(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    int64_t *c = call->operands[0].data;

    (void)worker;
    (void)at;
    (void)err;
    for (uint64_t i = 0; i < N; i++)
        c[i] = (int64_t)call->params[0] + (int64_t)i;
    return SYN_OK;
}

static int
run_fail(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    (void)call;
    (void)worker;
    (void)at;
    return SYN_FAIL(err, SYN_E_CORRUPT, "the matrix is singular");
}

static void
work_of(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){.flops = UINT64_C(4) * N,
                                  .read_bytes = UINT64_C(24) * N,
                                  .written_bytes = UINT64_C(8) * N,
                                  .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_operand mix_operands[] = {
    {"a", SYN_READ, 2, 2}, {"b", SYN_READ, 2, 2}, {"c", SYN_UPDATE, 2, 2}};
static const struct syn_kernel_operand fill_operands[] = {{"c", SYN_WRITE, 2, 2}};
static const struct syn_kernel_param fill_params[] = {{"first", 0, true}};
static const struct syn_kernel_split mix_splits[] = {{.dim = {0, 0, 0}, .grain = 1}};
/* Parts of columns lie in strides, and packed where they were not before. */
static const struct syn_kernel_split column_splits[] = {{.dim = {1, 1, 1}, .grain = 1}};
static const struct syn_kernel_impl mix_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_mix}};
static const struct syn_kernel_impl fill_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_fill}};
static const struct syn_kernel_impl fail_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_fail}};

static const struct syn_kernel mix = {.name = "mix",
                                      .summary = "c = 3c + a + 2b",
                                      .operands_count = 3,
                                      .operands = mix_operands,
                                      .splits_count = 1,
                                      .splits = mix_splits,
                                      .impls_count = 1,
                                      .impls = mix_impls,
                                      .work = work_of};
static const struct syn_kernel mix_columns = {.name = "mix-columns",
                                              .summary = "the same, cut the other way",
                                              .operands_count = 3,
                                              .operands = mix_operands,
                                              .splits_count = 1,
                                              .splits = column_splits,
                                              .impls_count = 1,
                                              .impls = mix_impls,
                                              .work = work_of};
static const struct syn_kernel fill = {.name = "fill",
                                       .summary = "c[i] = first + i",
                                       .operands_count = 1,
                                       .operands = fill_operands,
                                       .params_count = 1,
                                       .params = fill_params,
                                       .impls_count = 1,
                                       .impls = fill_impls,
                                       .work = work_of};
static const struct syn_kernel failing = {.name = "failing",
                                          .summary = "fails",
                                          .operands_count = 3,
                                          .operands = mix_operands,
                                          .impls_count = 1,
                                          .impls = fail_impls,
                                          .work = work_of};

static const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64, .dims = 2, .sizes = {N / 12, 12}};

/* ---- a bench of tensors ---- */

#define TENSORS 12

struct set {
    struct syn_engine *engine;
    struct syn_tensor *tensors[TENSORS];
    int64_t mine[TENSORS][N]; /* what they must hold */
};

static void
open_set(struct set *set, const struct syn_engine_options *options)
{
    struct syn_err err;

    memset(set, 0, sizeof(*set));
    assert_done(syn_engine_open(options, &set->engine, &err), &err);
    for (unsigned i = 0; i < TENSORS; i++) {
        double first = 1000 * i;
        const struct syn_task_call call = {.kernel = &fill, .params = &first, .params_count = 1};
        struct syn_task_call one = call;

        assert_done(syn_tensor_new(syn_engine_memory(set->engine), &shape, &set->tensors[i], &err),
                    &err);
        one.tensors[0] = set->tensors[i];
        assert_done(syn_engine_submit(set->engine, &one, NULL, &err), &err);
        for (unsigned j = 0; j < N; j++)
            set->mine[i][j] = 1000 * i + j;
    }
}

static void
close_set(struct set *set)
{
    struct syn_err err;

    for (unsigned i = 0; i < TENSORS; i++)
        assert_done(syn_tensor_free(set->tensors[i], &err), &err);
    set->engine = syn_engine_close(set->engine);
}

static _Atomic unsigned ended_well;

static void
on_over(void *arg, int code)
{
    (void)arg;
    (void)atomic_fetch_add(&ended_well, code == SYN_OK);
}

/* Every second call is one whose end somebody is told of. */
static int
mix_them(struct set *set, unsigned a, unsigned b, unsigned c, unsigned pieces)
{
    const struct syn_task_call call = {
        .kernel = pieces % 2 == 0 ? &mix : &mix_columns,
        .tensors = {set->tensors[a], set->tensors[b], set->tensors[c]},
        .pieces = pieces,
        .done = (a + b) % 2 == 0 ? on_over : NULL};
    struct syn_err err;

    for (unsigned i = 0; i < N; i++)
        set->mine[c][i] = (int64_t)((uint64_t)set->mine[c][i] * 3 + (uint64_t)set->mine[a][i] +
                                    (uint64_t)set->mine[b][i] * 2);
    return syn_engine_submit(set->engine, &call, NULL, &err);
}

static void
check_one(struct set *set, unsigned i)
{
    struct syn_err err;
    void *data;

    assert_done(syn_engine_map(set->engine, set->tensors[i], SYN_READ, &data, &err), &err);
    assert_memory_equal(data, set->mine[i], sizeof(set->mine[i]));
    syn_engine_unmap(set->engine, set->tensors[i]);
}

static void
check_set(struct set *set)
{
    struct syn_err err;

    assert_done(syn_engine_wait(set->engine, &err), &err);
    for (unsigned i = 0; i < TENSORS; i++)
        check_one(set, i);
}

static uint64_t state;

static unsigned
draw(unsigned below)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (unsigned)((state >> 33) % below);
}

/* Random calls on random tensors; sometimes one is looked at in between. */
static void
mix_at_random(struct set *set, unsigned count, bool looks)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned c = draw(TENSORS), a = (c + 1 + draw(TENSORS - 1)) % TENSORS;
        unsigned b = (c + 1 + draw(TENSORS - 1)) % TENSORS;

        assert_int_equal(mix_them(set, a, b, c, draw(8) == 0 ? 1 + draw(5) : SYN_PIECES_ONE),
                         SYN_OK);
        if (looks && draw(50) == 0)
            check_one(set, draw(TENSORS));
    }
}

/* ---- tests ---- */

static void
mix_by(const char *strategy, unsigned workers, unsigned calls)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm,rtx-4090",
                                               .devices = "cpu0,modelled0,modelled1",
                                               .strategy = strategy,
                                               .runtime = {.workers = workers}};
    struct set set;

    open_set(&set, &options);
    mix_at_random(&set, calls, true);
    check_set(&set);
    close_set(&set);
}

static void
test_every_strategy(void **unused)
{
    size_t count;
    const struct syn_strategy_ops *const *strategies = syn_strategies(&count);

    (void)unused;
    for (size_t i = 0; i < count; i++)
        mix_by(strategies[i]->name, 2, 300);
}

static void
mix_short_of_memory(unsigned calls)
{
    /* Four of twelve tensors fit on a device: they come and go all the time. */
    static const uint64_t bytes[] = {0, 4096, 4096};
    const struct syn_engine_options options = {.modelled = "h100-sxm,h100-sxm",
                                               .devices = "modelled0,modelled1",
                                               .strategy = "round-robin",
                                               .runtime = {.workers = 1},
                                               .node_bytes = bytes,
                                               .node_bytes_count = 3};
    struct syn_memory_stats stats;
    struct set set;

    open_set(&set, &options);
    mix_at_random(&set, calls, true);
    check_set(&set);
    syn_memory_stats(syn_engine_memory(set.engine), &stats);
    assert_true(stats.evictions > 0);
    assert_true(stats.node_peak_bytes[1] <= bytes[1]);
    close_set(&set);
}

static void
test_short_of_memory(void **unused)
{
    (void)unused;
    mix_short_of_memory(300);
}

static void
test_failure(void **unused)
{
    const struct syn_engine_options options = {.runtime = {.workers = 2}, .devices = "cpu0"};
    struct syn_task *bad, *next, *other, *late;
    struct syn_task_call call;
    struct syn_err err;
    struct set set;
    void *data;

    (void)unused;
    open_set(&set, &options);
    call = (struct syn_task_call){.kernel = &failing,
                                  .tensors = {set.tensors[0], set.tensors[1], set.tensors[2]}};
    assert_done(syn_engine_submit(set.engine, &call, &bad, &err), &err);
    call.kernel = &mix;
    call.tensors[0] = set.tensors[2];
    call.tensors[2] = set.tensors[3];
    assert_done(syn_engine_submit(set.engine, &call, &next, &err), &err);
    call.tensors[0] = set.tensors[4];
    call.tensors[2] = set.tensors[5];
    assert_done(syn_engine_submit(set.engine, &call, &other, &err), &err);
    assert_int_equal(syn_task_wait(syn_engine_runtime(set.engine), bad, &err), SYN_E_CORRUPT);
    assert_int_equal(syn_task_wait(syn_engine_runtime(set.engine), next, &err), SYN_E_CORRUPT);
    /* Also who comes long after hears of it, until a wait has told. */
    call.tensors[0] = set.tensors[3];
    call.tensors[2] = set.tensors[6];
    assert_done(syn_engine_submit(set.engine, &call, &late, &err), &err);
    assert_int_equal(syn_task_wait(syn_engine_runtime(set.engine), late, &err), SYN_E_CORRUPT);
    syn_task_release(late);
    assert_int_equal(syn_engine_map(set.engine, set.tensors[6], SYN_READ, &data, &err),
                     SYN_E_CORRUPT);
    assert_done(syn_task_wait(syn_engine_runtime(set.engine), other, &err), &err);
    assert_int_equal(syn_engine_wait(set.engine, &err), SYN_E_CORRUPT);
    assert_non_null(strstr(err.msg, "failing"));
    assert_non_null(strstr(err.msg, "singular"));
    assert_done(syn_engine_wait(set.engine, &err), &err);
    /* What the failed call was to update is as it was. */
    assert_done(syn_engine_map(set.engine, set.tensors[3], SYN_READ, &data, &err), &err);
    assert_memory_equal(data, set.mine[3], sizeof(set.mine[3]));
    syn_engine_unmap(set.engine, set.tensors[3]);
    syn_task_release(bad);
    syn_task_release(next);
    syn_task_release(other);
    close_set(&set);
}

/* What a device's queue does not run since a call before it failed is no failure of its own. */
static void
test_a_failure_takes_nobody_along(void **unused)
{
    const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = "modelled0", .runtime = {.workers = 1}};
    struct syn_err err;
    struct set set;

    (void)unused;
    open_set(&set, &options);
    for (unsigned i = 0; i < 60; i++) {
        const struct syn_task_call call = {
            .kernel = &failing, .tensors = {set.tensors[0], set.tensors[1], set.tensors[2]}};
        const unsigned before = atomic_load(&ended_well);

        assert_done(syn_engine_submit(set.engine, &call, NULL, &err), &err);
        for (unsigned j = 0; j < 6; j++)
            assert_int_equal(mix_them(&set, 3, 5, 6 + j, SYN_PIECES_ONE), SYN_OK);
        assert_int_equal(syn_engine_wait(set.engine, &err), SYN_E_CORRUPT);
        assert_int_equal(atomic_load(&ended_well) - before, 6);
        assert_done(
            syn_engine_submit(set.engine,
                              &(struct syn_task_call){.kernel = &fill, .tensors = {set.tensors[2]}},
                              NULL, &err),
            &err);
    }
    for (unsigned j = 0; j < N; j++)
        set.mine[2][j] = j;
    check_set(&set);
    close_set(&set);
}

/* Fails where the first element of `a` is 12, as in the second row's piece, else adds 1 to c. */
static int
run_half(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    const struct syn_shape *rows = call->operands[2].shape;
    int64_t *c = call->operands[2].data;

    (void)worker;
    (void)at;
    for (uint64_t i = 0; i < rows->sizes[0]; i++) {
        for (uint64_t j = 0; j < rows->sizes[1]; j++)
            c[i * rows->strides[0] + j * rows->strides[1]] += 1;
    }
    return *(const int64_t *)call->operands[0].data == 12 ? SYN_FAIL(err, SYN_E_CORRUPT, "12")
                                                          : SYN_OK;
}

/* Where some pieces ran and others failed, what was written is no mixture of both. */
static void
test_pieces_that_fail(void **unused)
{
    static const struct syn_kernel_impl impls[] = {
        {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_half}};
    struct syn_kernel half = mix;
    const struct syn_engine_options options = {.runtime = {.workers = 2}, .devices = "cpu0"};
    struct syn_err err;
    struct set set;
    void *data;

    (void)unused;
    half.name = "half";
    half.impls = impls;
    open_set(&set, &options);
    for (unsigned i = 0; i < 20; i++) {
        const struct syn_task_call call = {
            .kernel = &half,
            .tensors = {set.tensors[0], set.tensors[1], set.tensors[2]},
            .pieces = 8};

        assert_done(syn_engine_submit(set.engine, &call, NULL, &err), &err);
        assert_int_equal(syn_engine_wait(set.engine, &err), SYN_E_CORRUPT);
        assert_int_equal(syn_engine_map(set.engine, set.tensors[2], SYN_READ, &data, &err),
                         SYN_E_INVALID);
        assert_done(
            syn_engine_submit(set.engine,
                              &(struct syn_task_call){.kernel = &fill, .tensors = {set.tensors[2]}},
                              NULL, &err),
            &err);
    }
    for (unsigned j = 0; j < N; j++)
        set.mine[2][j] = j;
    check_set(&set);
    close_set(&set);
}

/* A part of what is on a device lies packed here; who maps it sees the tensor's own strides. */
static void
test_map_of_a_part(void **unused)
{
    const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = "modelled0", .runtime = {.workers = 1}};
    struct syn_tensor *parts[3];
    const struct syn_shape *part;
    struct syn_err err;
    struct set set;
    void *data;

    (void)unused;
    open_set(&set, &options);
    assert_done(syn_engine_wait(set.engine, &err), &err);
    assert_done(syn_tensor_divide(set.tensors[4], 1, 3, parts, &err), &err);
    part = syn_tensor_shape(parts[1]); /* columns 4 to 7 */
    assert_int_equal(part->sizes[1], 4);
    assert_int_equal(part->strides[0], 12);
    assert_done(syn_engine_map(set.engine, parts[1], SYN_UPDATE, &data, &err), &err);
    for (uint64_t i = 0; i < 8; i++) {
        for (uint64_t j = 0; j < 4; j++) {
            int64_t *x = (int64_t *)data + i * part->strides[0] + j;

            assert_int_equal(*x, set.mine[4][i * 12 + 4 + j]);
            *x = set.mine[4][i * 12 + 4 + j] = -(int64_t)(i * 4 + j);
        }
    }
    syn_engine_unmap(set.engine, parts[1]);
    assert_done(syn_engine_wait(set.engine, &err), &err);
    assert_done(syn_tensor_gather(set.tensors[4], &err), &err);
    check_set(&set);
    close_set(&set);
}

/* A plan runs nothing, keeps the order of tensors and of `after`, and goes by the estimates. */
static void
test_plan(void **unused)
{
    const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = "cpu0,modelled0", .runtime = {.workers = 2}};
    static const uint32_t first = 0;
    struct syn_engine_step steps[8] = {0};
    struct syn_plan_event events[8], by_step[8];
    struct syn_plan_result result;
    struct syn_engine_stats before, after;
    uint64_t ns[3];
    struct syn_err err;
    struct set set;

    (void)unused;
    open_set(&set, &options);
    assert_done(syn_engine_wait(set.engine, &err), &err);
    syn_engine_stats(set.engine, &before);
    for (unsigned i = 0; i < 8; i++) { /* a chain of four, four apart, all of them after it began */
        steps[i].call = (struct syn_task_call){
            .kernel = &mix,
            .tensors = {set.tensors[0], set.tensors[1], set.tensors[i < 4 ? 2 : i]}};
        steps[i].after = &first;
        steps[i].after_count = i >= 4;
    }
    assert_done(syn_engine_plan(set.engine, steps, 8, events, &result, &err), &err);
    for (unsigned i = 0; i < 8; i++)
        by_step[events[i].task] = events[i];
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(by_step[i].task, i);
        assert_done(syn_engine_estimate(set.engine, &steps[i].call, ns, &err), &err);
        assert_true(by_step[i].worker < 3);
        assert_in_range(by_step[i].end_ns - by_step[i].begin_ns, ns[by_step[i].worker] / 2,
                        ns[by_step[i].worker] * 2);
        if (i > 0)
            assert_true(by_step[i].begin_ns >= by_step[i < 4 ? i - 1 : 0].end_ns);
        assert_true(by_step[i].end_ns <= result.makespan_ns);
    }
    assert_true(result.energy_uj > 0);
    syn_engine_stats(set.engine, &after);
    assert_int_equal(after.submitted, before.submitted);
    assert_int_equal(after.ended, before.ended);
    steps[5].call.tensors[0] = NULL;
    assert_int_equal(syn_engine_plan(set.engine, steps, 8, NULL, &result, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "step 5"));
    check_set(&set);
    close_set(&set);
}

static void
test_refusals(void **unused)
{
    const struct syn_engine_options options = {.runtime = {.workers = 1}, .devices = "cpu0"};
    struct syn_engine_options wrong = options;
    struct syn_engine *engine;
    struct syn_task_call call = {.kernel = &mix};
    struct syn_err err;
    struct set set;

    (void)unused;
    wrong.devices = "cpu0,nothing7";
    assert_int_equal(syn_engine_open(&wrong, &engine, &err), SYN_E_NOTFOUND);
    wrong.devices = "";
    assert_int_equal(syn_engine_open(&wrong, &engine, &err), SYN_E_INVALID);
    wrong = options;
    wrong.strategy = "luck";
    assert_int_equal(syn_engine_open(&wrong, &engine, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "luck"));
    open_set(&set, &options);
    assert_int_equal(syn_engine_submit(set.engine, &call, NULL, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "no tensor for a"));
    for (unsigned i = 0; i < 3; i++)
        call.tensors[i] = set.tensors[i];
    call.device = "cuda9";
    assert_int_equal(syn_engine_submit(set.engine, &call, NULL, &err), SYN_E_INVALID);
    call.device = NULL;
    call.params = (const double[]){1};
    call.params_count = 1;
    assert_int_equal(syn_engine_submit(set.engine, &call, NULL, &err), SYN_E_INVALID);
    check_set(&set);
    close_set(&set);
}

static void
test_affinity_and_reports(void **unused)
{
    const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = "cpu0,modelled0", .runtime = {.workers = 1}};
    struct syn_engine_worker cpu, device;
    struct syn_err err;
    struct set set;

    (void)unused;
    open_set(&set, &options);
    assert_done(syn_engine_wait(set.engine, &err), &err);
    assert_int_equal(syn_engine_workers(set.engine), 2);
    syn_engine_worker(set.engine, 1, &device);
    for (unsigned i = 0; i < 20; i++) {
        const struct syn_task_call call = {
            .kernel = &mix,
            .tensors = {set.tensors[0], set.tensors[1], set.tensors[2 + i % 4]},
            .device = "modelled0",
            .pieces = SYN_PIECES_ONE};

        assert_done(syn_engine_submit(set.engine, &call, NULL, &err), &err);
    }
    assert_done(syn_engine_wait(set.engine, &err), &err);
    syn_engine_worker(set.engine, 0, &cpu);
    assert_false(cpu.modelled);
    assert_string_equal(cpu.device, "cpu0");
    {
        struct syn_engine_worker after;

        syn_engine_worker(set.engine, 1, &after);
        assert_true(after.modelled);
        assert_int_equal(after.tasks, device.tasks + 20);
        assert_true(after.busy_ns > device.busy_ns);
        assert_int_equal(after.energy_source, SYN_POWER_MODELLED);
    }
    close_set(&set);
}

static void
test_pieces(void **unused)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm",
                                               .devices = "cpu0,modelled0",
                                               .strategy = "round-robin",
                                               .runtime = {.workers = 2}};
    struct syn_engine_stats stats;
    struct set set;

    (void)unused;
    open_set(&set, &options);
    for (unsigned pieces = 2; pieces < 12; pieces++) /* there are 8 rows */
        assert_int_equal(mix_them(&set, pieces % 3, 3, 4 + pieces % 5, pieces), SYN_OK);
    check_set(&set);
    syn_engine_stats(set.engine, &stats);
    assert_int_equal(stats.divided, 10);
    assert_int_equal(stats.submitted, stats.ended);
    close_set(&set);
}

static void
test_models_stay(void **unused)
{
    struct syn_engine_options options = {.runtime = {.workers = 1}, .devices = "cpu0"};
    SYN_BUF(text);
    SYN_BUF(again);
    struct set set;

    (void)unused;
    open_set(&set, &options);
    mix_at_random(&set, 40, true);
    check_set(&set);
    syn_engine_models(set.engine, &text);
    close_set(&set);
    assert_true(text.len > 0);
    options.models = text.data;
    options.models_len = text.len;
    open_set(&set, &options);
    syn_engine_models(set.engine, &again);
    assert_non_null(again.data);
    assert_non_null(strstr(again.data, "mix"));
    check_set(&set);
    close_set(&set);
}

/* ---- a device that does not answer ---- */

static _Atomic bool let_go;
static _Atomic unsigned hung;

/* The first call on a modelled device (there is no worker) hangs. */
static int
run_hang(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    if (worker == NULL && atomic_fetch_add(&hung, 1) == 0) {
        while (!atomic_load(&let_go))
            (void)usleep(1000);
        return SYN_OK;
    }
    return run_mix(call, worker, at, err);
}

static const struct syn_kernel_impl hang_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_hang}};
static const struct syn_kernel hanging = {.name = "hanging",
                                          .summary = "as mix, once it does not hang",
                                          .operands_count = 3,
                                          .operands = mix_operands,
                                          .impls_count = 1,
                                          .impls = hang_impls,
                                          .work = work_of};

static void
submit_hanging(struct set *set, unsigned i)
{
    unsigned a = i % TENSORS, b = (i + 5) % TENSORS, c = (i + 7) % TENSORS;
    const struct syn_task_call call = {
        .kernel = &hanging,
        .tensors = {set->tensors[a], set->tensors[b], set->tensors[c]},
        .pieces = SYN_PIECES_ONE};
    struct syn_err err;

    for (unsigned j = 0; j < N; j++)
        set->mine[c][j] = (int64_t)((uint64_t)set->mine[c][j] * 3 + (uint64_t)set->mine[a][j] +
                                    (uint64_t)set->mine[b][j] * 2);
    assert_done(syn_engine_submit(set->engine, &call, NULL, &err), &err);
}

static void
test_a_device_hangs(void **unused)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm",
                                               .devices = "cpu0,modelled0",
                                               .strategy = "round-robin",
                                               .device_timeout_ms = 200,
                                               .runtime = {.workers = 1}};
    struct syn_engine_worker worker;
    struct set set;

    (void)unused;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* what hangs keeps its memory, on purpose */
#endif
    open_set(&set, &options);
    for (unsigned i = 0; i < TENSORS; i++) /* so that the host has a good copy of each */
        check_one(&set, i);
    for (unsigned i = 0; i < 20; i++)
        submit_hanging(&set, i);
    check_set(&set);
    syn_engine_worker(set.engine, 1, &worker);
    assert_true(worker.lost);
    assert_non_null(strstr(worker.reason, "200 ms"));
    close_set(&set);
    atomic_store(&let_go, true);
}

/* ---- traces ---- */

/* How many events there are of each kind. */
static void
count_events(const struct syn_trace_data *data, uint64_t *counts, uint64_t *moved_bytes)
{
    for (size_t i = 0; i < data->events_count; i++) {
        const struct syn_trace_event *event = &data->events[i];

        counts[event->kind]++;
        if (event->kind == SYN_TRACE_PARK)
            assert_true(event->begin_ns <= event->end_ns);
        if (event->kind != SYN_TRACE_TRANSFER)
            continue;
        assert_int_not_equal(event->from, event->to);
        assert_true(event->begin_ns < event->end_ns);
        *moved_bytes += event->bytes;
    }
}

static void
test_trace(void **unused)
{
    static const uint64_t bytes[] = {0, 4096, 4096, 4096, 4096}; /* whichever node it has */
    struct syn_engine_options options = {.modelled = "h100-sxm",
                                         .devices = "modelled0",
                                         .strategy = "round-robin",
                                         .node_bytes = bytes,
                                         .node_bytes_count = SYN_LEN(bytes),
                                         .runtime = {.workers = 1}};
    uint64_t counts[SYN_TRACE_KINDS] = {0}, moved_bytes = 0;
    struct syn_memory_stats stats;
    struct syn_trace_data *data;
    struct syn_trace *trace;
    struct syn_err err;
    SYN_BUF(text);
    struct set set;

    (void)unused;
    assert_done(syn_trace_new(NULL, &trace, &err), &err);
    syn_trace_switch(trace, true);
    options.trace = trace;
    open_set(&set, &options);
    for (unsigned i = 0; i < 10; i++) { /* in between threads sleep */
        mix_at_random(&set, 20, false);
        check_set(&set);
        (void)usleep(1000);
    }
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    count_events(data, counts, &moved_bytes);
    assert_true(counts[SYN_TRACE_TASK] >= TENSORS + 200); /* pieces are tasks too */
    assert_true(counts[SYN_TRACE_DEPENDENCY] >= 200);     /* of what filled its tensors, at least */
    /* What was moved is what the manager counts. */
    syn_memory_stats(syn_engine_memory(set.engine), &stats);
    assert_int_equal(counts[SYN_TRACE_TRANSFER], stats.copies);
    assert_int_equal(moved_bytes, stats.copied_bytes);
    assert_int_equal(counts[SYN_TRACE_EVICTION], stats.evictions);
    assert_true(stats.copies > 0);
    assert_true(stats.evictions > 0);
    assert_true(counts[SYN_TRACE_PARK] > 0);
    assert_done(syn_trace_write_chrome(data, &text, &err), &err);
    assert_done(syn_trace_write_gantt(data, &text, &err), &err);
    assert_done(syn_trace_write_dot(data, &text, &err), &err);
    assert_done(syn_trace_write_stats(data, &text, &err), &err);
    assert_done(syn_buf_ok(&text, &err), &err);
    assert_non_null(strstr(text.data, "modelled0"));
    assert_non_null(strstr(text.data, "\"name\":\"transfer\""));
    assert_non_null(strstr(text.data, "\"name\":\"eviction\""));
    assert_non_null(strstr(text.data, "\"name\":\"parked\""));
    data = syn_trace_data_free(data);
    close_set(&set);
    trace = syn_trace_free(trace);
}

/* A device is lost after every number of its calls in turn: results are right, or what could not be
 * saved says so. */
static void
lose_at_call(unsigned nth, unsigned *lost, unsigned *saved)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm,rtx-4090",
                                               .devices = "cpu0,modelled0,modelled1",
                                               .strategy = "round-robin",
                                               .runtime = {.workers = 1}};
    struct syn_engine_worker worker;
    struct syn_err err;
    struct set set;
    int rc;

    open_set(&set, &options);
    assert_done(syn_engine_wait(set.engine, &err), &err);
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, nth);
    mix_at_random(&set, 60, false);
    rc = syn_engine_wait(set.engine, &err);
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 0);
    if (rc != SYN_OK && rc != SYN_E_UNAVAILABLE)
        fail_msg("%d: %s", rc, err.msg);
    for (unsigned i = 0; i < syn_engine_workers(set.engine); i++) {
        syn_engine_worker(set.engine, i, &worker);
        *lost += worker.lost;
        *saved += worker.lost && rc == SYN_OK;
    }
    if (rc == SYN_OK)
        check_set(&set);
    close_set(&set);
}

static void
test_loss(void **unused)
{
    unsigned lost = 0, saved = 0;

    (void)unused;
    for (unsigned nth = 1; nth < 60; nth += 3)
        lose_at_call(nth, &lost, &saved);
    assert_true(lost > 0);
    printf("# %u devices lost, %u times everything was saved\n", lost, saved);
}

/* Lost before it wrote anything: the host has a good copy of all, so all of it is done elsewhere.
 */
static void
lose_for_nothing(void)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm",
                                               .devices = "cpu0,modelled0",
                                               .strategy = "round-robin",
                                               .runtime = {.workers = 1}};
    struct syn_engine_worker worker;
    struct set set;

    open_set(&set, &options);
    for (unsigned i = 0; i < TENSORS; i++)
        check_one(&set, i);
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 1);
    mix_at_random(&set, 60, false);
    check_set(&set);
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 0);
    syn_engine_worker(set.engine, 1, &worker);
    assert_true(worker.lost);
    close_set(&set);
}

static void
test_loss_that_costs_nothing(void **unused)
{
    (void)unused;
    lose_for_nothing();
}

static void
test_no_memory_to_open(void **unused)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm",
                                               .devices = "cpu0,modelled0",
                                               .runtime = {.workers = 1, .fork_depth = 64}};
    struct syn_engine *engine;
    struct syn_err err;
    int rc = SYN_E_NOMEM;

    (void)unused;
    /* A driver that is short of memory is no error of its registry: a device is missing then. */
    for (uint64_t nth = 1; rc != SYN_OK; nth++) {
        syn_mem_fault_arm(nth, false);
        rc = syn_engine_open(&options, &engine, &err);
        syn_mem_fault_arm(0, false);
        assert_true(nth < 100000);
    }
    engine = syn_engine_close(engine);
}

/* ---- the same with threads held up, see stress_suite.h ---- */

static void
stress_mixes(uint64_t seed)
{
    size_t count;
    const struct syn_strategy_ops *const *strategies = syn_strategies(&count);

    state = seed;
    mix_by(strategies[draw((unsigned)count)]->name, 1 + draw(3), 60);
}

static void
stress_short_of_memory(uint64_t seed)
{
    state = seed;
    mix_short_of_memory(100);
}

static void
stress_loss(uint64_t seed)
{
    unsigned lost = 0, saved = 0;

    state = seed;
    lose_at_call(1 + draw(90), &lost, &saved);
}

static void
stress_loss_for_nothing(uint64_t seed)
{
    state = seed;
    lose_for_nothing();
}

static const struct syn_stress_case stress[] = {
    {"mixes", stress_mixes},
    {"short-of-memory", stress_short_of_memory},
    {"loss", stress_loss},
    {"loss-for-nothing", stress_loss_for_nothing},
};

int
main(int argc, char **argv)
{
    const char *seed = getenv("SYNOR_TEST_SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_strategy),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_a_failure_takes_nobody_along),
        cmocka_unit_test(test_pieces_that_fail),
        cmocka_unit_test(test_map_of_a_part),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_affinity_and_reports),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_models_stay),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_loss_that_costs_nothing),
        cmocka_unit_test(test_a_device_hangs),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_no_memory_to_open),
    };

    if (syn_stress_wanted(argc, argv))
        return syn_stress_run("engine", stress, SYN_LEN(stress));
    state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)getpid() * 7919;
    printf("# SYNOR_TEST_SEED=%llu\n", (unsigned long long)state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
