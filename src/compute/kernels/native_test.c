/* Native implementations called directly, alone and by workers. */
#include "kernels_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/runtime.h>

#include "kernels_priv.h"

#define ROUNDS 120

static const struct syn_kernel_impl *
native_of(const struct syn_kernel *kernel)
{
    unsigned i = 0;

    while (i < kernel->impls_count && kernel->impls[i].format != SYN_FORMAT_NATIVE)
        i++;
    assert_true(i < kernel->impls_count);
    return &kernel->impls[i];
}

struct run {
    const struct syn_kernel_call *call;
    int rc;
    struct syn_err err;
};

static void
run_call(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct run *run = arg;

    run->rc = native_of(run->call->kernel)->run(run->call, worker, at, &run->err);
}

static void
nothing(void *arg, struct syn_trial *trial)
{
    (void)arg;
    (void)trial;
}

/* `arg` is the runtime, or NULL. */
static void
way_run(void *arg, struct syn_trial *trial, const struct syn_kernel_call *call,
        const uint64_t offsets[])
{
    struct run run = {.call = call};
    struct syn_err err = {0};

    (void)trial;
    (void)offsets;
    if (arg)
        assert_done(syn_runtime_run(arg, run_call, &run, &err), &err);
    else
        run_call(NULL, NULL, &run);
    assert_done(run.rc, &run.err);
}

static void
test_alone(void **state)
{
    const struct syn_trial_way way = {
        .name = "alone", .begin = nothing, .run = way_run, .end = nothing};

    assert_int_equal(syn_trials(&way, *state, ROUNDS, true), ROUNDS);
}

static void
test_with_workers(void **state)
{
    const struct syn_runtime_options options = {.workers = 3};
    struct syn_trial_way way = {
        .name = "with workers", .begin = nothing, .run = way_run, .end = nothing};
    struct syn_runtime *runtime = NULL;
    struct syn_err err = {0};

    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    way.arg = runtime;
    assert_int_equal(syn_trials(&way, *state, ROUNDS, true), ROUNDS);
    (void)syn_runtime_free(runtime);
}

/* What processors with narrower vectors run. */
static void
test_narrower(void **state)
{
    const struct syn_trial_way way = {
        .name = "narrower", .begin = nothing, .run = way_run, .end = nothing};
    unsigned widest = syn_vector_width();

    for (unsigned width = 0; width < widest; width++) {
        syn_vector_width_limit(width);
        (void)syn_trials(&way, *state, ROUNDS / 3, false);
    }
    syn_vector_width_limit(SYN_WIDTHS - 1);
}

/* One row that is divided among workers: a wave has one peak, and comes back. */
static void
test_a_long_transform(void **state)
{
    const size_t count = 1 << 16, wave = 12345;
    const struct syn_shape shape = {
        .dtype = SYN_DTYPE_C64, .dims = 2, .sizes = {1, count}, .strides = {count, 1}};
    const struct syn_runtime_options options = {.workers = 3};
    struct syn_runtime *runtime = NULL;
    float *x = malloc(2 * count * sizeof(*x)), *y = malloc(2 * count * sizeof(*y));
    struct syn_kernel_call call;
    struct run run = {.call = &call};
    struct syn_err err = {0};

    (void)state;
    assert_true(x && y);
    for (size_t i = 0; i < count; i++) {
        double angle = 6.28318530717958647692 * (double)(i * wave % count) / (double)count;

        x[2 * i] = (float)cos(angle);
        x[2 * i + 1] = (float)sin(angle);
    }
    syn_kernel_call_init(&call, syn_kernel_find("fft"));
    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    call.operands[0] = (struct syn_operand){&shape, x};
    call.operands[1] = (struct syn_operand){&shape, y};
    assert_done(syn_runtime_run(runtime, run_call, &run, &err), &err);
    assert_done(run.rc, &run.err);
    for (size_t i = 0; i < count; i++) {
        assert_true(fabsf(y[2 * i] - (i == wave ? (float)count : 0)) < 0.05F);
        assert_true(fabsf(y[2 * i + 1]) < 0.05F);
    }
    call.operands[0].data = y;
    call.operands[1].data = x;
    call.params[0] = 1;
    assert_done(syn_runtime_run(runtime, run_call, &run, &err), &err);
    assert_done(run.rc, &run.err);
    for (size_t i = 0; i < count; i++) {
        double angle = 6.28318530717958647692 * (double)(i * wave % count) / (double)count;

        assert_true(fabs(x[2 * i] - cos(angle)) < 1e-5);
        assert_true(fabs(x[2 * i + 1] - sin(angle)) < 1e-5);
    }
    (void)syn_runtime_free(runtime);
    free(x);
    free(y);
}

/* A sum does not depend on who helped. */
static void
test_sums_are_repeatable(void **state)
{
    enum { COUNT = 1000003 };
    const struct syn_kernel *kernel = syn_kernel_find("reduce");
    const struct syn_runtime_options options = {.workers = 3};
    const struct syn_shape many = {
        .dtype = SYN_DTYPE_FP32, .dims = 1, .sizes = {COUNT}, .strides = {1}};
    const struct syn_shape one = {.dtype = SYN_DTYPE_FP32};
    struct syn_runtime *runtime = NULL;
    float *x = malloc(COUNT * sizeof(*x)), first = 0, again = 0;
    struct syn_kernel_call call;
    struct run run = {.call = &call};
    uint64_t random = 7;
    struct syn_err err = {0};

    (void)state;
    assert_non_null(x);
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)(int64_t)syn_test_random(&random);
    syn_kernel_call_init(&call, kernel);
    call.operands[0] = (struct syn_operand){&many, x};
    call.operands[1] = (struct syn_operand){&one, &first};
    assert_done(native_of(kernel)->run(&call, NULL, NULL, &err), &err);
    call.operands[1].data = &again;
    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    for (int i = 0; i < 20; i++) {
        assert_done(syn_runtime_run(runtime, run_call, &run, &err), &err);
        assert_memory_equal(&first, &again, sizeof(first));
    }
    (void)syn_runtime_free(runtime);
    free(x);
}

static int
memory_scenario(void *arg, struct syn_err *err)
{
    struct syn_trial *trial = arg;
    int rc;

    for (unsigned i = 0; i < trial->call.kernel->operands_count; i++)
        memcpy(trial->data[i], trial->before[i], trial->bytes[i]);
    rc = native_of(trial->call.kernel)->run(&trial->call, NULL, NULL, err);
    if (rc == SYN_OK)
        syn_trial_check(trial, "after failures");
    return rc;
}

static void
test_memory_may_be_short(void **state)
{
    static const char *const names[] = {"gemm", "stencil", "sort", "fft", "conv2d"};
    uint64_t random = syn_trials_seed();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        struct syn_trial trial;

        syn_trial_make(&trial, names[i], &random, false);
        (void)syn_test_sweep_alloc(memory_scenario, &trial);
        syn_trial_fini(&trial);
    }
}

#define EVERY(kernel)                                                                          \
    {"alone: " kernel, test_alone, NULL, NULL, (void *)(uintptr_t)(kernel)},                   \
        {"with workers: " kernel, test_with_workers, NULL, NULL, (void *)(uintptr_t)(kernel)}, \
    {                                                                                          \
        "narrower: " kernel, test_narrower, NULL, NULL, (void *)(uintptr_t)(kernel)            \
    }

int
main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY("gemm"),
        EVERY("axpy"),
        EVERY("reduce"),
        EVERY("stencil"),
        EVERY("sort"),
        EVERY("fft"),
        EVERY("conv2d"),
        EVERY("dot"),
        EVERY("neutral"),
        EVERY("combine"),
        cmocka_unit_test(test_a_long_transform),
        cmocka_unit_test(test_sums_are_repeatable),
        cmocka_unit_test(test_memory_may_be_short),
    };

    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
