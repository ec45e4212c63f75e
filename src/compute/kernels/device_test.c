/* Kernels on the queues of one driver, by programs:
 *
 *     device_test cpu | modelled | opencl | vulkan
 *
 * OpenCL is PoCL, Vulkan is lavapipe, where they are installed; without a device every test is
 * skipped. */
#include "kernels_suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <synor/compute/program.h>

#include "kernels_priv.h"

#define WAIT_NS  INT64_C(120000000000) /* a compiler may be at work on a busy machine */
#define CALLS    16
#define THREADS  4
#define MODELLED "h100-sxm"

/* One device with a queue, an event and programs; what a trial has there. */
struct rig {
    struct syn_registry *registry;
    struct syn_dev *dev;
    struct syn_dev_queue *queue;
    struct syn_dev_event *event;
    struct syn_programs *programs;
    struct syn_dev_buf *bufs[SYN_OPERANDS_MAX];
    uint64_t before[SYN_OPERANDS_MAX]; /* bytes in the buffer before the operand */
    struct syn_dev_buf *scratch[CALLS];
    unsigned calls;
    uint64_t random;
};

static const char *driver;
static unsigned rounds = 60;

static void
rig_fini(struct rig *rig)
{
    rig->queue = syn_dev_queue_destroy(rig->queue);
    rig->event = syn_dev_event_destroy(rig->event);
    rig->programs = syn_programs_free(rig->programs);
    for (unsigned i = 0; i < SYN_OPERANDS_MAX; i++)
        rig->bufs[i] = syn_dev_free(rig->bufs[i]);
    for (unsigned i = 0; i < CALLS; i++)
        rig->scratch[i] = syn_dev_free(rig->scratch[i]);
    rig->dev = syn_dev_close(rig->dev);
    rig->registry = syn_registry_close(rig->registry);
}

/* Those for WebAssembly are there where the build had a compiler for it. */
static bool
has_kernels(const struct syn_dev *dev)
{
    for (size_t i = 0; i < syn_kernel_gemm.impls_count; i++) {
        if (dev->info.formats & SYN_BIT(syn_kernel_gemm.impls[i].format))
            return true;
    }
    return false;
}

/* 0; NOTFOUND: there is no such device, or nothing for it. */
static int
rig_init(struct rig *rig, struct syn_err *err)
{
    const struct syn_registry_options options = {
        .drivers = driver,
        .modelled = strcmp(driver, "modelled") == 0 ? MODELLED : NULL,
        .probe_ms = SYN_PROBE_MS_MAX,
    };
    int rc = syn_registry_open(&options, &rig->registry, err);

    if (rc == SYN_OK && syn_registry_count(rig->registry) == 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no device");
    rc = rc < 0 ? rc : syn_dev_open(rig->registry, 0, &rig->dev, err);
    if (rc == SYN_OK && !has_kernels(rig->dev))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "the library was built without kernels for it");
    rc = rc < 0 ? rc : syn_dev_queue_create(rig->dev, 0, &rig->queue, err);
    rc = rc < 0 ? rc : syn_dev_event_create(rig->dev, &rig->event, err);
    return rc < 0 ? rc : syn_programs_new(rig->dev, &rig->programs, err);
}

#define RIG(name)                                     \
    SYN_SCOPED(rig_fini) struct rig name = {0};       \
    struct syn_err err = {0};                         \
                                                      \
    (void)state;                                      \
    if (rig_init(&name, &err) == SYN_E_NOTFOUND) {    \
        print_message("# %s: %s\n", driver, err.msg); \
        skip();                                       \
        return;                                       \
    }                                                 \
    assert_done(err.code, &err)

static void
settle(const struct rig *rig)
{
    struct syn_err err = {0};

    assert_done(syn_dev_event_wait(rig->event, WAIT_NS, &err), &err);
}

/* A new queue: the old one's thread has let go of its last command, which an event does not say. */
static void
renew_queue(struct rig *rig)
{
    rig->queue = syn_dev_queue_destroy(rig->queue);
    assert_int_equal(syn_dev_queue_create(rig->dev, 0, &rig->queue, NULL), SYN_OK);
}

/* ---- the way of the suite ---- */

static bool
way_can(void *arg, const struct syn_kernel_call *call)
{
    const struct rig *rig = arg;

    return syn_kernel_pick(call->kernel, call, &rig->dev->info) != NULL;
}

static void
way_begin(void *arg, struct syn_trial *trial)
{
    struct rig *rig = arg;
    struct syn_err err = {0};

    for (unsigned i = 0; i < trial->call.kernel->operands_count; i++) {
        const struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};

        rig->before[i] =
            syn_test_random(&rig->random) % 3 * (syn_dtype_info(trial->shapes[i].dtype)->bits / 8);
        assert_done(syn_dev_alloc(rig->dev, rig->before[i] + trial->bytes[i], &rig->bufs[i], &err),
                    &err);
        assert_done(syn_dev_write(rig->bufs[i], rig->before[i], trial->data[i], trial->bytes[i],
                                  &cmd, &err),
                    &err);
        settle(rig);
        memset(trial->data[i], 0x55, trial->bytes[i]);
    }
}

/* Nobody waits: what the call is described by is gone when it runs. */
static void
way_run(void *arg, struct syn_trial *trial, const struct syn_kernel_call *call,
        const uint64_t offsets[])
{
    struct rig *rig = arg;
    const struct syn_kernel_impl *impl = NULL;
    struct syn_kernel_call own = *call;
    struct syn_shape shapes[SYN_OPERANDS_MAX];
    struct syn_tensor_place places[SYN_OPERANDS_MAX] = {0};
    const struct syn_dev_cmd cmd = {.queue = rig->queue};
    struct syn_err err = {0};
    uint64_t bytes;

    (void)trial;
    for (unsigned i = 0; i < own.kernel->operands_count; i++) {
        places[i] =
            (struct syn_tensor_place){.buf = rig->bufs[i], .offset = rig->before[i] + offsets[i]};
        shapes[i] = *call->operands[i].shape;
        own.operands[i] = (struct syn_operand){.shape = &shapes[i]};
    }
    impl = syn_kernel_pick(own.kernel, &own, &rig->dev->info);
    assert_non_null(impl);
    bytes = syn_program_scratch(rig->programs, impl, &own);
    if (bytes > 0) {
        assert_true(rig->calls < CALLS);
        assert_done(syn_dev_alloc(rig->dev, bytes, &rig->scratch[rig->calls], &err), &err);
    }
    assert_done(syn_program_launch(rig->programs, impl, &own, places,
                                   bytes > 0 ? rig->scratch[rig->calls++] : NULL, &cmd, &err),
                &err);
    memset(&own, 0x55, sizeof(own));
    memset(shapes, 0x55, sizeof(shapes));
    memset(places, 0x55, sizeof(places));
}

static void
way_end(void *arg, struct syn_trial *trial)
{
    struct rig *rig = arg;
    const struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};
    struct syn_err err = {0};

    for (unsigned i = 0; i < trial->call.kernel->operands_count; i++) {
        assert_done(
            syn_dev_read(trial->data[i], rig->bufs[i], rig->before[i], trial->bytes[i], &cmd, &err),
            &err);
        settle(rig);
        rig->bufs[i] = syn_dev_free(rig->bufs[i]);
    }
    for (unsigned i = 0; i < CALLS; i++)
        rig->scratch[i] = syn_dev_free(rig->scratch[i]);
    rig->calls = 0;
}

static struct syn_trial_way
way_of(struct rig *rig)
{
    return (struct syn_trial_way){.name = driver,
                                  .arg = rig,
                                  .can = way_can,
                                  .begin = way_begin,
                                  .run = way_run,
                                  .end = way_end};
}

static void
test_kernel(void **state)
{
    struct syn_trial_way way;
    RIG(rig);

    way = way_of(&rig);
    rig.random = 11;
    /* A device may lack some number formats; fp32 they all have. */
    assert_true(syn_trials(&way, *state, rounds, false) >= rounds / 5);
}

/* ---- one call on its own ---- */

/* y += x on `count` numbers of bufs 0 and 1. */
struct small {
    struct syn_kernel_call call;
    struct syn_shape shape;
    struct syn_tensor_place places[2];
    const struct syn_kernel_impl *impl;
};

#define SMALL 64

static void
small_make(struct rig *rig, struct small *small)
{
    const struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};
    float ones[SMALL];
    struct syn_err err = {0};

    for (int i = 0; i < SMALL; i++)
        ones[i] = 1;
    *small = (struct small){
        .shape = {.dtype = SYN_DTYPE_FP32, .dims = 1, .sizes = {SMALL}, .strides = {1}}};
    syn_kernel_call_init(&small->call, &syn_kernel_axpy);
    for (unsigned i = 0; i < 2; i++) {
        small->call.operands[i].shape = &small->shape;
        if (!rig->bufs[i])
            assert_done(syn_dev_alloc(rig->dev, sizeof(ones), &rig->bufs[i], &err), &err);
        assert_done(syn_dev_write(rig->bufs[i], 0, ones, sizeof(ones), &cmd, &err), &err);
        settle(rig);
        small->places[i].buf = rig->bufs[i];
    }
    small->impl = syn_kernel_pick(small->call.kernel, &small->call, &rig->dev->info);
    assert_non_null(small->impl);
}

static float
small_result(const struct rig *rig)
{
    const struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};
    float out[SMALL];
    struct syn_err err = {0};

    assert_done(syn_dev_read(out, rig->bufs[1], 0, sizeof(out), &cmd, &err), &err);
    settle(rig);
    for (int i = 1; i < SMALL; i++)
        assert_true(out[i] == out[0]);
    return out[0];
}

static int
small_launch(struct rig *rig, const struct small *small, const struct syn_dev_cmd *cmd,
             struct syn_err *err)
{
    return syn_program_launch(rig->programs, small->impl, &small->call, small->places, NULL, cmd,
                              err);
}

static void
test_places_are_checked(void **state)
{
    struct syn_dev_cmd cmd;
    struct small small;
    RIG(rig);

    cmd = (struct syn_dev_cmd){.queue = rig.queue, .signal = rig.event};
    small_make(&rig, &small);
    small.places[1].offset = 4;
    assert_code(small_launch(&rig, &small, &cmd, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "kernel axpy: y of 256 bytes leaves its buffer");
    small.places[1].offset = UINT64_MAX;
    assert_code(small_launch(&rig, &small, &cmd, &err), SYN_E_INVALID, &err);
    small.places[1].offset = 0;
    small.shape.sizes[0] = SMALL - 1;
    small.places[0].offset = 2;
    assert_code(small_launch(&rig, &small, &cmd, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "kernel axpy: x begins in the middle of an element");
    small.places[0] = (struct syn_tensor_place){0};
    assert_code(small_launch(&rig, &small, &cmd, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "x is not on"));
    /* None of this was a command. */
    assert_done(syn_dev_event_poll(rig.event, &err), &err);
    assert_true(small_result(&rig) == 1);
}

/* Operands in host memory, where the device's is the host's. */
static void
test_host_memory(void **state)
{
    float x[SMALL], y[SMALL];
    struct syn_dev_cmd cmd;
    struct small small;
    RIG(rig);

    cmd = (struct syn_dev_cmd){.queue = rig.queue, .signal = rig.event};
    small_make(&rig, &small);
    for (int i = 0; i < SMALL; i++) {
        x[i] = (float)i;
        y[i] = 1;
    }
    small.places[0] = (struct syn_tensor_place){.host = x};
    small.places[1] = (struct syn_tensor_place){.host = y};
    if (!(rig.dev->info.caps & SYN_CAP_HOST_SHARED)) {
        if (small.impl->format != SYN_FORMAT_NATIVE)
            assert_code(small_launch(&rig, &small, &cmd, &err), SYN_E_INVALID, &err);
        return;
    }
    small.call.params[0] = 2;
    assert_done(small_launch(&rig, &small, &cmd, &err), &err);
    settle(&rig);
    for (int i = 0; i < SMALL; i++)
        assert_true(y[i] == 1 + 2 * (float)i);
}

/* A modelled device answers with the time of its profile. */
static void
test_time_by_the_profile(void **state)
{
    struct syn_profile whole;
    struct syn_work work;
    struct syn_dev_span span;
    struct syn_dev_cmd cmd;
    struct small small;
    RIG(rig);

    if (!rig.dev->info.modelled)
        return;
    cmd = (struct syn_dev_cmd){.queue = rig.queue, .signal = rig.event};
    small_make(&rig, &small);
    assert_done(small_launch(&rig, &small, &cmd, &err), &err);
    settle(&rig);
    assert_done(syn_dev_event_span(rig.event, &span, &err), &err);
    (void)syn_profile_assume(syn_registry_profile(rig.registry, 0), &whole);
    small.call.kernel->work(&small.call, &work);
    assert_true(span.modelled);
    assert_int_equal(span.end_ns - span.start_ns, syn_profile_work_ns(&whole, &work));
}

/* ---- compiling ---- */

struct racer {
    struct rig *rig;
    const struct small *small;
    pthread_t thread;
    int rc;
    struct syn_err err;
};

static void *
race(void *arg)
{
    struct racer *racer = arg;

    racer->rc = syn_program_prepare(racer->rig->programs, racer->small->call.kernel,
                                    racer->small->impl, &racer->err);
    return NULL;
}

static void
test_compiled_once(void **state)
{
    struct racer racers[THREADS];
    struct syn_dev_cmd cmd;
    struct small small;
    uint64_t compilations;
    RIG(rig);

    small_make(&rig, &small);
    syn_dev_fault_arm(rig.dev, SYN_DEV_FAULT_IO, UINT64_MAX); /* count only */
    for (int i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.rig = &rig, .small = &small};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(racers[i].thread, NULL);
        assert_done(racers[i].rc, &racers[i].err);
    }
    compilations = syn_dev_fault_count();
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_IO, 0);
    assert_int_equal(compilations, 1);
    cmd = (struct syn_dev_cmd){.queue = rig.queue, .signal = rig.event};
    assert_done(small_launch(&rig, &small, &cmd, &err), &err);
    settle(&rig);
    assert_true(small_result(&rig) == 2);
}

static void
test_what_does_not_compile(void **state)
{
    struct syn_kernel_impl impl;
    struct small small;
    uint64_t compilations;
    RIG(rig);

    small_make(&rig, &small);
    impl = *small.impl;
    /* A failure of the device's is no fault of the text's: the next one tries again. */
    syn_dev_fault_arm(rig.dev, SYN_DEV_FAULT_IO, 1);
    assert_code(syn_program_prepare(rig.programs, small.call.kernel, &impl, &err), SYN_E_IO, &err);
    assert_non_null(strstr(err.msg, "kernel axpy"));
    assert_done(syn_program_prepare(rig.programs, small.call.kernel, &impl, &err), &err);
    if (impl.format == SYN_FORMAT_NATIVE)
        return;
    impl.source = "KERNEL nonsense;";
    assert_code(syn_program_prepare(rig.programs, small.call.kernel, &impl, &err), SYN_E_INVALID,
                &err);
    assert_non_null(strstr(err.msg, "kernel axpy"));
    syn_dev_fault_arm(rig.dev, SYN_DEV_FAULT_IO, UINT64_MAX);
    assert_code(syn_program_prepare(rig.programs, small.call.kernel, &impl, &err), SYN_E_INVALID,
                &err);
    compilations = syn_dev_fault_count();
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_IO, 0);
    assert_int_equal(compilations, 0);
    assert_non_null(strstr(err.msg, "kernel axpy"));
}

/* ---- failures ---- */

static int
run_and_fail(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
             struct syn_err *err)
{
    (void)call;
    (void)worker;
    (void)at;
    return SYN_FAIL(err, SYN_E_CORRUPT, "it does not like its data");
}

/* A call that waits for one that fails does not run, and leaves nothing behind. */
static void
test_cancelled_calls(void **state)
{
    struct syn_kernel_impl failing = {.format = SYN_FORMAT_NATIVE, .run = run_and_fail};
    struct syn_dev_event *ready = NULL;
    struct syn_dev_cmd first, then;
    struct small small;
    int64_t live;
    RIG(rig);

    small_make(&rig, &small);
    if (small.impl->format != SYN_FORMAT_NATIVE)
        return;
    assert_done(syn_dev_event_create(rig.dev, &ready, &err), &err);
    renew_queue(&rig);
    first = (struct syn_dev_cmd){.queue = rig.queue, .signal = ready};
    then = (struct syn_dev_cmd){
        .queue = rig.queue, .waits = &ready, .waits_count = 1, .signal = rig.event};
    assert_done(syn_program_prepare(rig.programs, small.call.kernel, small.impl, &err), &err);
    live = syn_mem_live();
    for (int i = 0; i < 3; i++) {
        assert_done(syn_program_launch(rig.programs, &failing, &small.call, small.places, NULL,
                                       &first, &err),
                    &err);
        assert_done(small_launch(&rig, &small, &then, &err), &err);
        assert_code(syn_dev_event_wait(rig.event, WAIT_NS, &err), SYN_E_CANCELED, &err);
        assert_code(syn_dev_event_wait(ready, WAIT_NS, &err), SYN_E_CORRUPT, &err);
        assert_non_null(strstr(err.msg, "does not like"));
        syn_dev_queue_clear(rig.queue);
    }
    renew_queue(&rig);
    assert_int_equal(syn_mem_live(), live);
    assert_true(small_result(&rig) == 1);
    ready = syn_dev_event_destroy(ready);
}

/* A call of several steps, each call of the driver's failing in turn: it fails and nothing of it is
 * under way, or it is done; and the next one is right. */
static void
test_faults_in_steps(void **state)
{
    struct syn_trial trial = {0};
    struct syn_trial_way way;
    uint64_t random = 5;
    const uint64_t offsets[SYN_OPERANDS_MAX] = {0};
    RIG(rig);

    way = way_of(&rig);
    rig.random = 3;
    do {
        syn_trial_fini(&trial);
        syn_trial_make(&trial, "stencil", &random, false);
    } while (trial.call.params[0] < 3 || !way_can(&rig, &trial.call));
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct syn_tensor_place places[SYN_OPERANDS_MAX];
        const struct syn_kernel_impl *impl =
            syn_kernel_pick(trial.call.kernel, &trial.call, &rig.dev->info);
        const struct syn_dev_cmd cmd = {.queue = rig.queue, .signal = rig.event};
        uint64_t bytes = syn_program_scratch(rig.programs, impl, &trial.call);
        int rc;

        for (unsigned i = 0; i < 2; i++)
            memcpy(trial.data[i], trial.before[i], trial.bytes[i]);
        way.begin(&rig, &trial);
        for (unsigned i = 0; i < 2; i++)
            places[i] = (struct syn_tensor_place){.buf = rig.bufs[i], .offset = rig.before[i]};
        if (bytes > 0)
            assert_done(syn_dev_alloc(rig.dev, bytes, &rig.scratch[0], &err), &err);
        rig.calls = 1;
        syn_dev_fault_arm(rig.dev, SYN_DEV_FAULT_IO, nth);
        rc =
            syn_program_launch(rig.programs, impl, &trial.call, places, rig.scratch[0], &cmd, &err);
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_IO, 0);
        if (rc < 0)
            assert_code(rc, SYN_E_IO, &err);
        settle(&rig);
        if (rc < 0)
            way.run(&rig, &trial, &trial.call, offsets);
        way.end(&rig, &trial);
        syn_trial_check(&trial, "after a fault");
    }
    syn_trial_fini(&trial);
}

static int
memory_scenario(void *arg, struct syn_err *err)
{
    struct rig *rig = arg;
    SYN_SCOPED(syn_programs_free_scope) struct syn_programs *programs = NULL;
    struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};
    struct small small;
    int rc;

    rc = syn_programs_new(rig->dev, &programs, err);
    if (rc < 0)
        return rc;
    small.call = (struct syn_kernel_call){.kernel = &syn_kernel_axpy, .params = {1}};
    small.shape =
        (struct syn_shape){.dtype = SYN_DTYPE_FP32, .dims = 1, .sizes = {SMALL}, .strides = {1}};
    for (unsigned i = 0; i < 2; i++) {
        small.call.operands[i].shape = &small.shape;
        small.places[i] = (struct syn_tensor_place){.buf = rig->bufs[i]};
    }
    rc = syn_program_launch(programs,
                            syn_kernel_pick(&syn_kernel_axpy, &small.call, &rig->dev->info),
                            &small.call, small.places, NULL, &cmd, err);
    if (rc < 0)
        return rc;
    rc = syn_dev_event_wait(rig->event, WAIT_NS, err);
    syn_mem_fault_arm(0, false);
    renew_queue(rig);
    return rc;
}

static void
test_memory_may_be_short(void **state)
{
    struct small small;
    RIG(rig);

    small_make(&rig, &small);
    renew_queue(&rig);
    if (small.impl->format == SYN_FORMAT_NATIVE) /* a compiler's own memory is not ours to fail */
        assert_true(syn_test_sweep_alloc(memory_scenario, &rig) >= 4);
}

#define ON_DEVICE(kernel)                                            \
    {                                                                \
        kernel, test_kernel, NULL, NULL, (void *)(uintptr_t)(kernel) \
    }

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ON_DEVICE("gemm"),
        ON_DEVICE("axpy"),
        ON_DEVICE("reduce"),
        ON_DEVICE("stencil"),
        ON_DEVICE("sort"),
        ON_DEVICE("fft"),
        ON_DEVICE("conv2d"),
        ON_DEVICE("dot"),
        ON_DEVICE("neutral"),
        ON_DEVICE("combine"),
        cmocka_unit_test(test_places_are_checked),
        cmocka_unit_test(test_host_memory),
        cmocka_unit_test(test_time_by_the_profile),
        cmocka_unit_test(test_compiled_once),
        cmocka_unit_test(test_what_does_not_compile),
        cmocka_unit_test(test_cancelled_calls),
        cmocka_unit_test(test_faults_in_steps),
        cmocka_unit_test(test_memory_may_be_short),
    };

    driver = argc > 1 ? argv[1] : "cpu";
    return cmocka_run_group_tests_name(driver, tests, NULL, NULL);
}
