/* Calls that reduce: at the same time, each seat on a share of its own; the sum is that of a
 * sequential run, on threads, modelled devices and OpenCL, with failures, losses and too little
 * memory. */
#include <synor/engine.h>

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/test.h>
#include <synor/compute/driver.h>
#include <synor/compute/memory.h>

#define N       64 /* elements of a tensor: 8 rows of 8 */
#define WAIT_MS 60000

/* ---- kernels of our own ---- */

enum { BY, FAILS, MEETS, PARAMS };

static _Atomic unsigned inside, most;
static _Atomic int64_t meet_until_ns;

/* Stay until somebody else is here too: if nobody comes, the test fails by itself. */
static void
meet(void)
{
    unsigned now = atomic_fetch_add(&inside, 1) + 1, seen = atomic_load(&most);

    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        ;
    while (atomic_load(&most) < 2 && syn_clock_ns() < atomic_load(&meet_until_ns))
        (void)usleep(100);
    (void)atomic_fetch_sub(&inside, 1);
}

/* c += by, everywhere. */
static int
run_add(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    const struct syn_shape *shape = call->operands[0].shape;
    int64_t *c = call->operands[0].data;

    (void)worker;
    (void)at;
    if (call->params[MEETS] != 0)
        meet();
    for (uint64_t i = 0; i < shape->sizes[0]; i++) {
        for (uint64_t j = 0; j < shape->sizes[1]; j++)
            c[i * shape->strides[0] + j * shape->strides[1]] += (int64_t)call->params[BY];
    }
    if (call->params[FAILS] != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "told to fail");
    return SYN_OK;
}

/* c = the most of c and by, everywhere. */
static int
run_raise(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
          struct syn_err *err)
{
    const struct syn_shape *shape = call->operands[0].shape;
    int64_t *c = call->operands[0].data;

    (void)worker;
    (void)at;
    (void)err;
    for (uint64_t i = 0; i < shape->sizes[0]; i++) {
        for (uint64_t j = 0; j < shape->sizes[1]; j++) {
            int64_t *x = &c[i * shape->strides[0] + j * shape->strides[1]];

            *x = SYN_MAX(*x, (int64_t)call->params[BY]);
        }
    }
    return SYN_OK;
}

static void
work_of(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){.flops = N,
                                  .read_bytes = UINT64_C(8) * N,
                                  .written_bytes = UINT64_C(8) * N,
                                  .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_operand operands[] = {{"c", SYN_REDUCE, 2, 2}};
static const struct syn_kernel_param params[PARAMS] = {
    {"by", 1, true}, {"fails", 0, false}, {"meets", 0, false}};
static const struct syn_kernel_split splits[] = {{.dim = {0}, .grain = 1}};
static const struct syn_kernel_impl add_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_add}};
static const struct syn_kernel_impl raise_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_raise}};

#define KERNEL(name_, impls_, how)                                                         \
    {                                                                                      \
        .name = name_, .summary = "for a test", .operands_count = 1, .operands = operands, \
        .params_count = PARAMS, .params = params, .splits_count = 1, .splits = splits,     \
        .impls_count = 1, .impls = impls_, .work = work_of, .reductions = {                \
            how                                                                            \
        }                                                                                  \
    }
static const struct syn_kernel add = KERNEL("test-add", add_impls, &syn_reduction_sum);
static const struct syn_kernel raise = KERNEL("test-raise", raise_impls, &syn_reduction_most);

static const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64, .dims = 2, .sizes = {8, N / 8}};

/* ---- one tensor, in the caller's memory ---- */

struct rig {
    struct syn_engine *engine;
    struct syn_tensor *sum;
    int64_t mine[N];
    int64_t want;
};

static void
rig_open(struct rig *rig, const struct syn_engine_options *options)
{
    struct syn_err err = {0};

    *rig = (struct rig){.want = 5};
    for (unsigned i = 0; i < N; i++)
        rig->mine[i] = rig->want;
    assert_done(syn_engine_open(options, &rig->engine, &err), &err);
    assert_done(syn_tensor_wrap(syn_engine_memory(rig->engine), &shape, rig->mine, &rig->sum, &err),
                &err);
}

static int
submit(struct rig *rig, const struct syn_kernel *kernel, const double *values, unsigned pieces,
       struct syn_task **ret_task)
{
    const struct syn_task_call call = {.kernel = kernel,
                                       .tensors = {rig->sum},
                                       .params = values,
                                       .params_count = PARAMS,
                                       .pieces = pieces};
    struct syn_err err;

    return syn_engine_submit(rig->engine, &call, ret_task, &err);
}

static void
add_some(struct rig *rig, unsigned count, unsigned pieces)
{
    for (unsigned i = 0; i < count; i++) {
        const double values[PARAMS] = {[BY] = i + 1};

        assert_int_equal(submit(rig, &add, values, pieces, NULL), SYN_OK);
        rig->want += i + 1;
    }
}

/* It is all at home once it is the caller's again. */
static void
rig_close(struct rig *rig)
{
    struct syn_err err = {0};

    assert_done(syn_tensor_free(rig->sum, &err), &err);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(rig->mine[i], rig->want);
    rig->engine = syn_engine_close(rig->engine);
}

static uint64_t
merged(const struct rig *rig)
{
    struct syn_engine_stats stats;

    syn_engine_stats(rig->engine, &stats);
    assert_int_equal(stats.submitted, stats.ended);
    return stats.merged;
}

/* Seats that take turns. */
static const struct syn_engine_options in_turns = {.modelled = "h100-sxm,h100-sxm",
                                                   .devices = "modelled0,modelled1",
                                                   .strategy = "round-robin",
                                                   .runtime = {.workers = 1}};

/* ---- */

static void
test_at_the_same_time(void **state)
{
    static const struct syn_engine_options options = {
        .devices = "cpu0", .strategy = "eager", .runtime = {.workers = 2}};
    static const double meets[PARAMS] = {[BY] = 1, [MEETS] = 1};
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    atomic_store(&most, 0);
    atomic_store(&meet_until_ns, syn_clock_ns() + INT64_C(1000000) * WAIT_MS);
    rig_open(&rig, &options);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(submit(&rig, &add, meets, SYN_PIECES_ONE, NULL), SYN_OK);
    rig.want += 4;
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    assert_true(atomic_load(&most) >= 2);
    assert_true(merged(&rig) >= 1);
    rig_close(&rig);
}

static void
check_whole(struct rig *rig)
{
    struct syn_err err = {0};
    void *data = NULL;

    assert_done(syn_engine_map(rig->engine, rig->sum, SYN_READ, &data, &err), &err);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(((const int64_t *)data)[i], rig->want);
    syn_engine_unmap(rig->engine, rig->sum);
}

static void
sum_by(const char *strategy)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm,rtx-4090",
                                               .devices = "cpu0,modelled0,modelled1",
                                               .strategy = strategy,
                                               .runtime = {.workers = 2}};
    struct syn_err err = {0};
    struct rig rig;

    rig_open(&rig, &options);
    for (unsigned k = 0; k < 3; k++) {
        add_some(&rig, 40, k == 2 ? 4 : SYN_PIECES_ONE);
        check_whole(&rig);
    }
    add_some(&rig, 5, SYN_PIECES_ONE);
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    (void)merged(&rig);
    rig_close(&rig);
}

static void
test_every_strategy(void **state)
{
    size_t count;
    const struct syn_strategy_ops *const *strategies = syn_strategies(&count);

    (void)state;
    for (size_t i = 0; i < count; i++)
        sum_by(strategies[i]->name);
}

/* A seat that does all of it does it in place: no copy, no merging. */
static void
test_alone(void **state)
{
    static const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = "modelled0", .runtime = {.workers = 1}};
    struct syn_memory_stats before, after;
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &options);
    syn_memory_stats(syn_engine_memory(rig.engine), &before);
    add_some(&rig, 10, SYN_PIECES_ONE);
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    syn_memory_stats(syn_engine_memory(rig.engine), &after);
    assert_int_equal(after.tensors, before.tensors);
    assert_int_equal(merged(&rig), 0);
    rig_close(&rig);
}

/* Who reduces in another way comes after all who did it in one. */
static void
test_ways(void **state)
{
    static const double by[PARAMS] = {[BY] = 100};
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &in_turns);
    for (unsigned i = 0; i < 5; i++) {
        add_some(&rig, 6, SYN_PIECES_ONE);
        for (unsigned k = 0; k < 4; k++)
            assert_int_equal(submit(&rig, &raise, by, SYN_PIECES_ONE, NULL), SYN_OK);
        rig.want = SYN_MAX(rig.want, 100);
    }
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    assert_true(merged(&rig) >= 5);
    rig_close(&rig);
}

static void
write_anew(struct rig *rig)
{
    struct syn_err err = {0};
    void *data = NULL;

    assert_done(syn_engine_map(rig->engine, rig->sum, SYN_WRITE, &data, &err), &err);
    for (unsigned i = 0; i < N; i++)
        ((int64_t *)data)[i] = rig->want;
    syn_engine_unmap(rig->engine, rig->sum);
}

/* Read it, or, where it is gone, say so and write it anew. */
static bool
is_there(struct rig *rig)
{
    struct syn_err err = {0};
    void *data = NULL;
    int rc = syn_engine_map(rig->engine, rig->sum, SYN_READ, &data, &err);

    if (rc == SYN_OK) {
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(((const int64_t *)data)[i], rig->want);
        syn_engine_unmap(rig->engine, rig->sum);
        return true;
    }
    (void)!syn_engine_wait(rig->engine, &err);
    write_anew(rig);
    return false;
}

/* Those of a group do not need each other; who comes after needs them all. */
static void
test_a_failure(void **state)
{
    static const double well[PARAMS] = {[BY] = 1}, fails[PARAMS] = {[BY] = 1, [FAILS] = 1};
    struct syn_task *tasks[6];
    struct syn_err err = {0};
    struct rig rig;
    void *data = NULL;

    (void)state;
    rig_open(&rig, &in_turns);
    for (unsigned i = 0; i < SYN_LEN(tasks); i++)
        assert_int_equal(submit(&rig, &add, i == 3 ? fails : well, SYN_PIECES_ONE, &tasks[i]),
                         SYN_OK);
    assert_code(syn_engine_map(rig.engine, rig.sum, SYN_READ, &data, &err), SYN_E_CORRUPT, &err);
    for (unsigned i = 0; i < SYN_LEN(tasks); i++) {
        assert_int_equal(syn_task_wait(syn_engine_runtime(rig.engine), tasks[i], &err),
                         i == 3 ? SYN_E_CORRUPT : SYN_OK);
        tasks[i] = syn_task_release(tasks[i]);
    }
    assert_code(syn_engine_wait(rig.engine, &err), SYN_E_CORRUPT, &err);
    /* What the share of the failed one held is gone, so there is no sum. */
    assert_code(syn_engine_map(rig.engine, rig.sum, SYN_READ, &data, &err), SYN_E_INVALID, &err);
    assert_false(is_there(&rig));
    add_some(&rig, 8, SYN_PIECES_ONE);
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    rig_close(&rig);
}

/* One that never ran took nothing along: the rest is put together. */
static void
test_cancelled(void **state)
{
    static const struct syn_engine_options options = {
        .devices = "cpu0", .strategy = "eager", .runtime = {.workers = 2}};
    static const double well[PARAMS] = {[BY] = 1}, meets[PARAMS] = {[BY] = 1, [MEETS] = 1};
    struct syn_task *last = NULL;
    struct syn_err err = {0};
    struct rig rig;
    void *data = NULL;
    bool cancelled;

    (void)state;
    atomic_store(&most, 0);
    atomic_store(&meet_until_ns, syn_clock_ns() + INT64_C(1000000) * WAIT_MS);
    rig_open(&rig, &options);
    /* The tensor in the caller's hands: nobody begins. */
    assert_done(syn_engine_map(rig.engine, rig.sum, SYN_UPDATE, &data, &err), &err);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(submit(&rig, &add, meets, SYN_PIECES_ONE, NULL), SYN_OK);
    assert_int_equal(submit(&rig, &add, well, SYN_PIECES_ONE, &last), SYN_OK);
    cancelled = syn_task_cancel(last);
    assert_true(cancelled);
    syn_engine_unmap(rig.engine, rig.sum);
    rig.want += 4;
    assert_code(syn_engine_wait(rig.engine, &err), SYN_E_CANCELED, &err);
    last = syn_task_release(last);
    rig_close(&rig);
}

/* What a lost device had added is lost, and said so; or nothing was, and the sum is right. */
static void
test_loss(void **state)
{
    static const struct syn_engine_options options = {.modelled = "h100-sxm,h100-sxm",
                                                      .devices = "cpu0,modelled0,modelled1",
                                                      .strategy = "round-robin",
                                                      .runtime = {.workers = 1}};
    unsigned saved = 0, gone = 0;

    (void)state;
    for (unsigned nth = 1; nth < 60; nth += 2) {
        struct syn_err err = {0};
        struct rig rig;
        int rc;

        rig_open(&rig, &options);
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, nth);
        add_some(&rig, 20, SYN_PIECES_ONE);
        rc = syn_engine_wait(rig.engine, &err);
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 0);
        if (rc != SYN_OK)
            assert_code(rc, SYN_E_UNAVAILABLE, &err);
        if (is_there(&rig))
            saved++;
        else
            gone++;
        assert_true(rc != SYN_OK || gone + saved == (nth + 1) / 2);
        rig_close(&rig);
    }
    printf("# %u times gone, %u times saved\n", gone, saved);
    assert_true(saved > 0);
}

/* Where there is no memory for a copy, calls take turns on the tensor itself; and a program is told
 * of what it could not submit. */
static void
test_short_of_memory(void **state)
{
    uint64_t short_of = 0;

    (void)state;
    for (uint64_t nth = 1; nth < 60; nth++) {
        static const double by[PARAMS] = {[BY] = 1};
        struct syn_err err = {0};
        struct rig rig;
        int rc;

        rig_open(&rig, &in_turns);
        syn_mem_fault_arm(nth, nth % 3 == 0);
        for (unsigned i = 0; i < 12; i++) {
            rc = submit(&rig, &add, by, SYN_PIECES_ONE, NULL);
            rig.want += rc == SYN_OK;
            if (rc != SYN_OK)
                assert_int_equal(rc, SYN_E_NOMEM);
        }
        rc = syn_engine_wait(rig.engine, &err);
        syn_mem_fault_arm(0, false);
        if (rc != SYN_OK)
            assert_code(rc, SYN_E_NOMEM, &err);
        short_of += rc != SYN_OK;
        if (rc == SYN_OK)
            assert_true(is_there(&rig));
        else
            write_anew(&rig); /* calls have failed: it is anything */
        rig_close(&rig);
    }
    printf("# %llu times something failed\n", (unsigned long long)short_of);
}

/* A device with room for three such tensors: copies come and go with the rest. */
static void
test_copies_are_thrown_out(void **state)
{
    static const uint64_t bytes[] = {0, 2048, 2048, 2048, 2048}; /* whichever nodes they have */
    const struct syn_engine_options options = {.modelled = "h100-sxm,h100-sxm",
                                               .devices = "modelled0,modelled1",
                                               .strategy = "round-robin",
                                               .runtime = {.workers = 1},
                                               .node_bytes = bytes,
                                               .node_bytes_count = SYN_LEN(bytes)};
    struct syn_tensor *others[12];
    struct syn_memory_stats stats;
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &options);
    for (unsigned i = 0; i < SYN_LEN(others); i++)
        assert_done(syn_tensor_new(syn_engine_memory(rig.engine), &shape, &others[i], &err), &err);
    for (unsigned i = 0; i < 60; i++) {
        const struct syn_task_call fill = {.kernel = syn_kernel_find("neutral"),
                                           .tensors = {others[i % SYN_LEN(others)]}};

        assert_done(syn_engine_submit(rig.engine, &fill, NULL, &err), &err);
        add_some(&rig, 2, SYN_PIECES_ONE);
    }
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    syn_memory_stats(syn_engine_memory(rig.engine), &stats);
    assert_true(stats.evictions > 0);
    for (unsigned i = 1; i < SYN_LEN(bytes); i++)
        assert_true(stats.node_peak_bytes[i] <= bytes[i]);
    for (unsigned i = 0; i < SYN_LEN(others); i++)
        assert_done(syn_tensor_free(others[i], &err), &err);
    rig_close(&rig);
}

/* Parts are tensors like others; those of columns have gaps, and copies of them none. */
static void
test_parts(void **state)
{
    struct syn_tensor *parts[3];
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &in_turns);
    assert_done(syn_tensor_divide(rig.sum, 1, SYN_LEN(parts), parts, &err), &err);
    for (unsigned i = 0; i < 30; i++) {
        const struct syn_task_call call = {.kernel = &add, .tensors = {parts[i % SYN_LEN(parts)]}};

        assert_done(syn_engine_submit(rig.engine, &call, NULL, &err), &err);
    }
    rig.want += 10;
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    assert_true(merged(&rig) > 0);
    assert_done(syn_tensor_gather(rig.sum, &err), &err);
    rig_close(&rig);
}

/* Nobody ever read it, nor waited for the engine. */
static void
test_given_up(void **state)
{
    static const double by[PARAMS] = {[BY] = 1};
    struct syn_task *tasks[6];
    struct syn_tensor *sum = NULL;
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &in_turns);
    assert_done(syn_tensor_new(syn_engine_memory(rig.engine), &shape, &sum, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(tasks); i++) {
        const struct syn_task_call fill = {.kernel = syn_kernel_find("neutral"), .tensors = {sum}};
        const struct syn_task_call call = {
            .kernel = &add, .tensors = {sum}, .params = by, .params_count = PARAMS};

        if (i == 0)
            assert_done(syn_engine_submit(rig.engine, &fill, NULL, &err), &err);
        assert_done(syn_engine_submit(rig.engine, &call, &tasks[i], &err), &err);
    }
    for (unsigned i = 0; i < SYN_LEN(tasks); i++) {
        assert_done(syn_task_wait(syn_engine_runtime(rig.engine), tasks[i], &err), &err);
        tasks[i] = syn_task_release(tasks[i]);
    }
    assert_done(syn_tensor_free(sum, &err), &err);
    rig_close(&rig);
}

/* It is an error as ever, whoever finds it. */
static void
test_without_content(void **state)
{
    static const double by[PARAMS] = {[BY] = 1};
    struct syn_task *tasks[6];
    struct syn_tensor *sum = NULL;
    struct syn_err err = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &in_turns);
    assert_done(syn_tensor_new(syn_engine_memory(rig.engine), &shape, &sum, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(tasks); i++) {
        const struct syn_task_call call = {
            .kernel = &add, .tensors = {sum}, .params = by, .params_count = PARAMS};

        assert_done(syn_engine_submit(rig.engine, &call, &tasks[i], &err), &err);
    }
    for (unsigned i = 0; i < SYN_LEN(tasks); i++) {
        assert_code(syn_task_wait(syn_engine_runtime(rig.engine), tasks[i], &err), SYN_E_INVALID,
                    &err);
        tasks[i] = syn_task_release(tasks[i]);
    }
    assert_code(syn_engine_wait(rig.engine, &err), SYN_E_INVALID, &err);
    assert_done(syn_tensor_free(sum, &err), &err);
    rig_close(&rig);
}

/* ---- the library's ---- */

#define LONG 100000

static void
dot_on(const struct syn_engine_options *options)
{
    static const struct syn_shape vector = {.dtype = SYN_DTYPE_INT64, .dims = 1, .sizes = {LONG}},
                                  scalar = {.dtype = SYN_DTYPE_INT64};
    static int64_t x[LONG], y[LONG];
    struct syn_tensor *tensors[3];
    struct syn_engine *engine = NULL;
    struct syn_memory *memory;
    struct syn_err err = {0};
    int64_t out = 7, want = 7;

    assert_done(syn_engine_open(options, &engine, &err), &err);
    memory = syn_engine_memory(engine);
    for (int64_t i = 0; i < LONG; i++) {
        x[i] = i - 1000;
        y[i] = 3 - i;
        want += 3 * x[i] * y[i];
    }
    assert_done(syn_tensor_wrap(memory, &vector, x, &tensors[0], &err), &err);
    assert_done(syn_tensor_wrap(memory, &vector, y, &tensors[1], &err), &err);
    assert_done(syn_tensor_wrap(memory, &scalar, &out, &tensors[2], &err), &err);
    for (unsigned i = 0; i < 3; i++) {
        const struct syn_task_call call = {.kernel = syn_kernel_find("dot"),
                                           .tensors = {tensors[0], tensors[1], tensors[2]},
                                           .pieces = 1 + 3 * i};

        assert_done(syn_engine_submit(engine, &call, NULL, &err), &err);
    }
    assert_done(syn_engine_wait(engine, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(tensors); i++)
        assert_done(syn_tensor_free(tensors[i], &err), &err);
    assert_int_equal(out, want);
    engine = syn_engine_close(engine);
}

static void
test_dot(void **state)
{
    static const struct syn_engine_options cpu = {
        .devices = "cpu0", .strategy = "steal", .runtime = {.workers = 2}};

    (void)state;
    dot_on(&cpu);
    dot_on(&in_turns);
}

/* With a compiler and a memory of its own, where there is such a device. */
static void
test_device(void **state)
{
    const char *device = *state;
    char devices[SYN_DEVICE_ID_MAX + 8];
    const struct syn_engine_options options = {
        .devices = devices, .strategy = "round-robin", .runtime = {.workers = 1}};
    struct syn_engine *engine = NULL;
    struct syn_err err = {0};

    (void)snprintf(devices, sizeof(devices), "cpu0,%s", device);
    if (syn_engine_open(&options, &engine, &err) < 0) {
        printf("# %s\n", err.msg);
        skip();
    }
    engine = syn_engine_close(engine);
    dot_on(&options);
    (void)snprintf(devices, sizeof(devices), "%s", device);
    dot_on(&options);
}

/* ---- traces ---- */

static void
test_trace(void **state)
{
    struct syn_engine_options options = in_turns;
    struct syn_trace_data *data = NULL;
    struct syn_trace *trace = NULL;
    struct syn_err err = {0};
    uint64_t tasks = 0;
    struct rig rig;
    SYN_BUF(text);

    (void)state;
    assert_done(syn_trace_new(NULL, &trace, &err), &err);
    syn_trace_switch(trace, true);
    options.trace = trace;
    rig_open(&rig, &options);
    add_some(&rig, 6, SYN_PIECES_ONE);
    assert_done(syn_engine_wait(rig.engine, &err), &err);
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    for (size_t i = 0; i < data->events_count; i++) {
        tasks += data->events[i].kind == SYN_TRACE_TASK;
        /* Members wait for nobody. */
        assert_int_not_equal(data->events[i].kind, SYN_TRACE_DEPENDENCY);
    }
    assert_int_equal(tasks, 6 + merged(&rig));
    assert_done(syn_trace_write_chrome(data, &text, &err), &err);
    assert_done(syn_buf_ok(&text, &err), &err);
    assert_non_null(strstr(text.data, "\"combine\""));
    data = syn_trace_data_free(data);
    rig_close(&rig);
    trace = syn_trace_free(trace);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_the_same_time),
        cmocka_unit_test(test_every_strategy),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_a_failure),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_copies_are_thrown_out),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_without_content),
        cmocka_unit_test(test_dot),
        cmocka_unit_test(test_trace),
    };
    const struct CMUnitTest on_device[] = {
        {"device", test_device, NULL, NULL, argc > 1 ? argv[1] : NULL},
    };

    if (argc > 1)
        return cmocka_run_group_tests_name(argv[1], on_device, NULL, NULL);
    return cmocka_run_group_tests_name("engine-reduce", tests, NULL, NULL);
}
