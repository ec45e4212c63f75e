/* What is found out once holds for calls that are alike, and for no others; and of calls too brief
 * to measure each, what they take is learnt all the same. */
#include <synor/compute/memory.h>
#include <synor/engine.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/test.h>

#define N 12 /* elements */

/* ---- a kernel that is one thing or another, by its parameter ---- */

enum { SET, ADD, REFUSED };

static _Atomic int64_t nap_ns;   /* a run takes at least so long */
static _Atomic unsigned checked; /* how often a call was looked at */

static int
run_put(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    int64_t until = syn_clock_ns() + atomic_load(&nap_ns);
    const int64_t *a = call->operands[0].data;
    int64_t *c = call->operands[1].data;

    (void)worker;
    (void)at;
    (void)err;
    for (uint64_t i = 0; i < call->operands[1].shape->sizes[0]; i++)
        c[i] = call->params[0] == SET ? a[i] : c[i] + a[i];
    while (atomic_load(&nap_ns) > 0 && syn_clock_ns() < until)
        ;
    return SYN_OK;
}

static int
check_put(const struct syn_kernel_call *call, struct syn_err *err)
{
    atomic_fetch_add(&checked, 1);
    if (call->params[0] == REFUSED)
        return SYN_FAIL(err, SYN_E_INVALID, "not that");
    if (call->operands[0].shape->sizes[0] != call->operands[1].shape->sizes[0])
        return SYN_FAIL(err, SYN_E_INVALID, "not of one size");
    return SYN_OK;
}

static enum syn_access
access_put(const struct syn_kernel_call *call, unsigned operand)
{
    if (operand == 0)
        return SYN_READ;
    return call->params[0] == SET ? SYN_WRITE : SYN_UPDATE;
}

static void
work_put(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    *ret_work =
        (struct syn_work){.flops = call->operands[0].shape->sizes[0], .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_operand operands[] = {{"a", SYN_READ, 1, 1},
                                                     {"c", SYN_UPDATE, 1, 1}};
static const struct syn_kernel_param params[] = {{"what", SET, false}};
static const struct syn_kernel_impl impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_put}};
static const struct syn_kernel put = {.name = "put",
                                      .summary = "c = a, or c += a",
                                      .operands_count = 2,
                                      .operands = operands,
                                      .params_count = 1,
                                      .params = params,
                                      .impls_count = 1,
                                      .impls = impls,
                                      .check = check_put,
                                      .access = access_put,
                                      .work = work_put};

/* ---- a bench ---- */

static struct syn_engine *
open_engine(void)
{
    const struct syn_engine_options options = {.runtime = {.workers = 1}};
    struct syn_engine *engine;
    struct syn_err err;

    atomic_store(&nap_ns, 0);
    atomic_store(&checked, 0);
    assert_done(syn_engine_open(&options, &engine, &err), &err);
    return engine;
}

static struct syn_tensor *
numbers(struct syn_engine *engine, uint64_t count)
{
    const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64, .dims = 1, .sizes = {count}};
    struct syn_tensor *tensor;
    struct syn_err err;

    assert_done(syn_tensor_new(syn_engine_memory(engine), &shape, &tensor, &err), &err);
    return tensor;
}

static void
fill(struct syn_engine *engine, struct syn_tensor *tensor, int64_t value)
{
    struct syn_err err;
    void *data;

    assert_done(syn_engine_map(engine, tensor, SYN_WRITE, &data, &err), &err);
    for (uint64_t i = 0; i < syn_tensor_shape(tensor)->sizes[0]; i++)
        ((int64_t *)data)[i] = value;
    syn_engine_unmap(engine, tensor);
}

static int64_t
first(struct syn_engine *engine, struct syn_tensor *tensor)
{
    struct syn_err err;
    int64_t value;
    void *data;

    assert_done(syn_engine_map(engine, tensor, SYN_READ, &data, &err), &err);
    value = *(int64_t *)data;
    syn_engine_unmap(engine, tensor);
    return value;
}

static int
submit(struct syn_engine *engine, double what, struct syn_tensor *a, struct syn_tensor *c,
       struct syn_err *err)
{
    const struct syn_task_call call = {
        .kernel = &put, .tensors = {a, c}, .params = &what, .params_count = 1};

    return syn_engine_submit(engine, &call, NULL, err);
}

static void
free_tensors(struct syn_tensor **tensors, size_t count)
{
    struct syn_err err;

    for (size_t i = 0; i < count; i++)
        assert_done(syn_tensor_free(tensors[i], &err), &err);
}

/* ---- what holds for which calls ---- */

static void
test_alike(void **unused)
{
    struct syn_engine *engine = open_engine();
    struct syn_tensor *all[] = {numbers(engine, N), numbers(engine, N), numbers(engine, N),
                                numbers(engine, N + 1)};
    struct syn_err err;

    (void)unused;
    fill(engine, all[0], 3);
    assert_done(submit(engine, SET, all[0], all[1], &err), &err);
    assert_int_equal(atomic_load(&checked), 1);
    assert_done(submit(engine, SET, all[0], all[2], &err), &err);
    assert_done(submit(engine, SET, all[1], all[2], &err), &err);
    assert_int_equal(atomic_load(&checked), 1); /* other tensors, but of the same kinds */
    assert_done(submit(engine, ADD, all[0], all[1], &err), &err);
    assert_int_equal(atomic_load(&checked), 2);
    assert_code(submit(engine, REFUSED, all[0], all[1], &err), SYN_E_INVALID, &err);
    assert_code(submit(engine, REFUSED, all[0], all[1], &err), SYN_E_INVALID, &err);
    assert_code(submit(engine, SET, all[0], all[3], &err), SYN_E_INVALID, &err);
    assert_code(submit(engine, SET, all[3], all[0], &err), SYN_E_INVALID, &err);
    assert_done(syn_engine_wait(engine, &err), &err);
    assert_int_equal(first(engine, all[1]), 6);
    assert_int_equal(first(engine, all[2]), 3);
    free_tensors(all, SYN_LEN(all));
    (void)syn_engine_close(engine);
}

/* What the call does with an operand is remembered with the parameter that decides it, and which
 * operands are one tensor is not. */
static void
test_accesses(void **unused)
{
    struct syn_engine *engine = open_engine();
    struct syn_tensor *all[] = {numbers(engine, N), numbers(engine, N), numbers(engine, N)};
    struct syn_err err;

    (void)unused;
    fill(engine, all[0], 5);
    assert_done(submit(engine, SET, all[0], all[1], &err), &err);
    assert_done(submit(engine, ADD, all[0], all[1], &err), &err);
    assert_done(submit(engine, ADD, all[1], all[1], &err), &err); /* to itself */
    assert_done(syn_engine_wait(engine, &err), &err);
    assert_int_equal(first(engine, all[1]), 20);
    assert_done(submit(engine, ADD, all[0], all[2], &err), &err); /* which holds nothing */
    assert_code(syn_engine_wait(engine, &err), SYN_E_INVALID, &err);
    assert_done(submit(engine, SET, all[0], all[2], &err), &err);
    assert_done(syn_engine_wait(engine, &err), &err);
    assert_int_equal(first(engine, all[2]), 5);
    free_tensors(all, SYN_LEN(all));
    (void)syn_engine_close(engine);
}

/* Parameters that are new every time are not remembered for ever. */
static void
test_many(void **unused)
{
    struct syn_engine *engine = open_engine();
    struct syn_tensor *all[] = {numbers(engine, N), numbers(engine, N)};
    struct syn_err err;

    (void)unused;
    fill(engine, all[0], 1);
    fill(engine, all[1], 0);
    for (unsigned i = 0; i < 5000; i++)
        assert_done(submit(engine, ADD + 2 * (1 + i), all[0], all[1], &err), &err);
    assert_int_equal(atomic_load(&checked), 5000);
    assert_done(submit(engine, ADD + 2, all[0], all[1], &err), &err);
    assert_int_equal(atomic_load(&checked), 5000);
    assert_done(submit(engine, ADD + 2 * 5000, all[0], all[1], &err), &err);
    assert_int_equal(atomic_load(&checked), 5001);
    assert_done(syn_engine_wait(engine, &err), &err);
    assert_int_equal(first(engine, all[1]), 5002);
    free_tensors(all, SYN_LEN(all));
    (void)syn_engine_close(engine);
}

/* Kinds: of one shape, and of one set of ways to lie. */
static void
test_kinds(void **unused)
{
    const struct syn_shape gaps = {.dtype = SYN_DTYPE_INT64,
                                   .layout = SYN_LAYOUT_STRIDED,
                                   .dims = 2,
                                   .sizes = {2, 2},
                                   .strides = {4, 1}};
    struct syn_engine *engine = open_engine();
    struct syn_memory *memory = syn_engine_memory(engine);
    struct syn_tensor *all[5], *parts[2][2];
    int64_t mine[8] = {0};
    struct syn_err err;

    (void)unused;
    for (unsigned i = 0; i < 2; i++) {
        assert_done(syn_tensor_new(memory, &gaps, &all[i], &err), &err);
        all[3 + i] = numbers(engine, N);
    }
    assert_done(syn_tensor_wrap(memory, &gaps, mine, &all[2], &err), &err);
    assert_true(syn_tensor_kind(all[0]) != 0);
    assert_int_equal(syn_tensor_kind(all[0]), syn_tensor_kind(all[1]));
    assert_int_not_equal(syn_tensor_kind(all[0]), syn_tensor_kind(all[2]));
    for (unsigned i = 0; i < 2; i++)
        assert_done(syn_tensor_divide(all[i == 0 ? 0 : 2], 1, 2, parts[i], &err), &err);
    assert_int_equal(syn_tensor_kind(parts[0][0]), syn_tensor_kind(parts[0][1]));
    assert_int_not_equal(syn_tensor_kind(parts[0][0]), syn_tensor_kind(parts[1][0]));
    assert_int_not_equal(syn_tensor_kind(parts[0][0]), syn_tensor_kind(all[0]));
    free_tensors(all, SYN_LEN(all));
    (void)syn_engine_close(engine);
}

/* ---- what is too brief to measure ---- */

/* Of the model's text: how many samples of the kernel there are, and what it takes. */
static void
ask_model(struct syn_engine *engine, uint64_t *ret_samples, uint64_t *ret_ns)
{
    SYN_BUF(text);
    char *at, *end;

    syn_engine_models(engine, &text);
    assert_non_null(text.data);
    at = strstr(text.data, "entry put ");
    assert_non_null(at);
    at = strstr(at, "\ntime 0 "); /* class, samples, ns */
    assert_non_null(at);
    *ret_samples = strtoull(at + strlen("\ntime 0 "), &end, 10);
    *ret_ns = strtoull(end, NULL, 10);
}

static void
run_many(struct syn_engine *engine, struct syn_tensor **tensors, unsigned count)
{
    struct syn_err err;

    for (unsigned i = 0; i < count; i++)
        assert_done(submit(engine, ADD, tensors[0], tensors[1], &err), &err);
    assert_done(syn_engine_wait(engine, &err), &err);
}

static void
test_brief(void **unused)
{
    enum { CALLS = 4000, LATER = 400, NAP_NS = 20000 };
    struct syn_engine *engine = open_engine();
    struct syn_tensor *all[] = {numbers(engine, N), numbers(engine, N)};
    struct syn_engine_worker worker;
    uint64_t samples, later, ns;

    (void)unused;
    fill(engine, all[0], 1);
    fill(engine, all[1], 0);
    run_many(engine, all, CALLS);
    ask_model(engine, &samples, &ns);
    assert_in_range(samples, 16, CALLS);
    if (ns < 300) /* else it may have been no brief one for most of the time */
        assert_true(samples < CALLS);
    else
        print_message("# a call of nothing takes %" PRIu64 " ns\n", ns);
    syn_engine_worker(engine, 0, &worker);
    assert_int_equal(worker.tasks, CALLS);
    assert_true(worker.busy_ns > 0); /* of so little time no uJ need come together */
    /* It is not brief any more: some look finds that out, and from then on all are measured. */
    atomic_store(&nap_ns, NAP_NS);
    run_many(engine, all, LATER);
    ask_model(engine, &later, &ns);
    assert_true(ns > NAP_NS / 2);
    assert_true(later > samples + LATER / 4);
    syn_engine_worker(engine, 0, &worker);
    assert_true(worker.energy_uj > 0);
    assert_int_equal(first(engine, all[1]), CALLS + LATER);
    free_tensors(all, SYN_LEN(all));
    (void)syn_engine_close(engine);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alike), cmocka_unit_test(test_accesses), cmocka_unit_test(test_many),
        cmocka_unit_test(test_kinds), cmocka_unit_test(test_brief),
    };

    return cmocka_run_group_tests_name("engine-recipe", tests, NULL, NULL);
}
