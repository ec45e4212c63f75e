/* Pieces of a call, where an implementation depends on how tensors lie: a piece goes where it fits
 * however its tensors come to lie there, and a call whose pieces fit nowhere stays whole. */
#include <synor/engine.h>

#include <string.h>

#include <synor/base/test.h>

#define ROWS 6
#define COLS 8
#define N    48 /* elements */

/* ---- a kernel that is particular ---- */

static int
run_add(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    const struct syn_shape *from = call->operands[0].shape, *to = call->operands[1].shape;
    const int64_t *a = call->operands[0].data;
    int64_t *c = call->operands[1].data;

    (void)worker;
    (void)at;
    (void)err;
    for (uint64_t i = 0; i < to->sizes[0]; i++) {
        for (uint64_t j = 0; j < to->sizes[1]; j++)
            c[i * to->strides[0] + j * to->strides[1]] +=
                a[i * from->strides[0] + j * from->strides[1]];
    }
    return SYN_OK;
}

/* On the device both have to lie alike, as for kernels that have no room for the strides of both.
 */
static bool
fits_alike(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    const struct syn_shape *a = call->operands[0].shape, *c = call->operands[1].shape;

    return !device->modelled || (a->strides[0] == c->strides[0] && a->strides[1] == c->strides[1]);
}

static void
work_of(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){.flops = UINT64_C(1) << 30,
                                  .read_bytes = UINT64_C(16) * N,
                                  .written_bytes = UINT64_C(8) * N,
                                  .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_operand operands[] = {{"a", SYN_READ, 2, 2},
                                                     {"c", SYN_UPDATE, 2, 2}};
/* By columns: parts have gaps, or lie packed. */
static const struct syn_kernel_split splits[] = {{.dim = {1, 1}, .grain = 1}};
static const struct syn_kernel_impl impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_add, .fits = fits_alike}};
static const struct syn_kernel add = {.name = "add-alike",
                                      .summary = "c += a",
                                      .operands_count = 2,
                                      .operands = operands,
                                      .splits_count = 1,
                                      .splits = splits,
                                      .impls_count = 1,
                                      .impls = impls,
                                      .work = work_of};
static const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64, .dims = 2, .sizes = {ROWS, COLS}};

_Static_assert(N == ROWS * COLS, "all elements");

/* ---- a bench of two tensors ---- */

struct bench {
    struct syn_engine *engine;
    struct syn_tensor *a, *c;
};

static struct syn_tensor *
numbers(struct syn_engine *engine, const struct syn_shape *lies)
{
    struct syn_tensor *tensor = NULL;
    struct syn_err err;
    int64_t *values;
    void *data;

    assert_done(syn_tensor_new(syn_engine_memory(engine), lies, &tensor, &err), &err);
    assert_done(syn_engine_map(engine, tensor, SYN_WRITE, &data, &err), &err);
    values = data;
    for (uint64_t i = 0; i < lies->sizes[0] * lies->sizes[1]; i++)
        values[i] = (int64_t)i;
    syn_engine_unmap(engine, tensor);
    return tensor;
}

static void
bench_open(struct bench *bench, const char *devices)
{
    const struct syn_engine_options options = {
        .modelled = "h100-sxm", .devices = devices, .runtime = {.workers = 1}};
    struct syn_err err;

    assert_done(syn_engine_open(&options, &bench->engine, &err), &err);
    bench->a = numbers(bench->engine, &shape);
    bench->c = numbers(bench->engine, &shape);
}

static void
bench_close(struct bench *bench)
{
    struct syn_err err;

    assert_done(syn_tensor_free(bench->a, &err), &err);
    assert_done(syn_tensor_free(bench->c, &err), &err);
    bench->engine = syn_engine_close(bench->engine);
}

/* In four pieces; how many calls were divided. */
static uint64_t
add_in_pieces(struct bench *bench, const char *device)
{
    const struct syn_task_call call = {
        .kernel = &add, .tensors = {bench->a, bench->c}, .pieces = 4, .device = device};
    struct syn_engine_stats stats;
    struct syn_err err;
    const int64_t *values;
    void *data;

    assert_done(syn_engine_submit(bench->engine, &call, NULL, &err), &err);
    assert_done(syn_engine_wait(bench->engine, &err), &err);
    assert_done(syn_engine_map(bench->engine, bench->c, SYN_READ, &data, &err), &err);
    values = data;
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(values[i], 2 * i);
    syn_engine_unmap(bench->engine, bench->c);
    syn_engine_stats(bench->engine, &stats);
    assert_int_equal(stats.failed, 0);
    return stats.divided;
}

static uint64_t
tasks_of(struct bench *bench, unsigned index)
{
    struct syn_engine_worker worker;

    syn_engine_worker(bench->engine, index, &worker);
    return worker.tasks;
}

/* ---- */

/* The pieces' parts of c lie packed on the device, where a is in rows: they would not fit. */
static void
test_fits_nowhere(void **unused)
{
    struct bench bench;

    (void)unused;
    bench_open(&bench, "modelled0");
    assert_int_equal(add_in_pieces(&bench, NULL), 0);
    bench_close(&bench);
}

/* The device is much faster, but cannot. */
static void
test_goes_elsewhere(void **unused)
{
    struct bench bench;

    (void)unused;
    bench_open(&bench, "cpu0,modelled0");
    assert_int_equal(add_in_pieces(&bench, NULL), 1);
    assert_int_equal(tasks_of(&bench, 0), 4);
    assert_int_equal(tasks_of(&bench, 1), 0);
    bench_close(&bench);
}

/* Whole it runs where it is to run. */
static void
test_fits_not_there(void **unused)
{
    struct bench bench;

    (void)unused;
    bench_open(&bench, "cpu0,modelled0");
    assert_int_equal(add_in_pieces(&bench, "modelled0"), 0);
    assert_int_equal(tasks_of(&bench, 1), 1);
    bench_close(&bench);
}

/* Of a part that the caller made it is said at once. */
static void
test_parts_of_the_caller(void **unused)
{
    struct syn_tensor *parts[2], *others[2];
    struct syn_task_call call = {.kernel = &add};
    struct bench bench;
    struct syn_err err;

    (void)unused;
    bench_open(&bench, "modelled0");
    assert_done(syn_tensor_divide(bench.a, 1, 2, parts, &err), &err);
    assert_done(syn_tensor_divide(bench.c, 1, 2, others, &err), &err);
    call.tensors[0] = parts[0];
    call.tensors[1] = others[1];
    assert_int_equal(syn_engine_submit(bench.engine, &call, NULL, &err), SYN_E_UNAVAILABLE);
    assert_done(syn_tensor_gather(bench.a, &err), &err);
    assert_done(syn_tensor_gather(bench.c, &err), &err);
    /* By rows parts have no gaps, and lie alike everywhere. */
    assert_done(syn_tensor_divide(bench.a, 0, 2, parts, &err), &err);
    assert_done(syn_tensor_divide(bench.c, 0, 2, others, &err), &err);
    call.tensors[0] = parts[0];
    call.tensors[1] = others[1];
    assert_done(syn_engine_submit(bench.engine, &call, NULL, &err), &err);
    assert_done(syn_engine_wait(bench.engine, &err), &err);
    assert_done(syn_tensor_gather(bench.a, &err), &err);
    assert_done(syn_tensor_gather(bench.c, &err), &err);
    bench_close(&bench);
}

/* Where the host's memory is short as well, those who gather pieces wait for room there, on a
 * worker that may have been granted other calls: nobody waits for ever, and all sums are right. */
static void
test_small_host(void **unused)
{
    enum { TENSORS = 16, CALLS = 600 };
    static const uint64_t bytes[] = {UINT64_C(18) * 512};
    const struct syn_engine_options options = {.modelled = "h100-sxm",
                                               .devices = "cpu0,modelled0",
                                               .strategy = "round-robin",
                                               .node_bytes = bytes,
                                               .node_bytes_count = SYN_LEN(bytes),
                                               .runtime = {.workers = 1}};
    struct syn_tensor *tensors[TENSORS];
    struct syn_engine_stats stats;
    int64_t last[TENSORS];
    struct bench bench;
    struct syn_err err;

    (void)unused;
    assert_done(syn_engine_open(&options, &bench.engine, &err), &err);
    for (unsigned i = 0; i < TENSORS; i++) {
        tensors[i] = numbers(bench.engine, &shape);
        last[i] = N - 1;
    }
    for (unsigned i = 0; i < CALLS; i++) {
        unsigned a = i * 7 % TENSORS, c = (a + 1 + i * 5 % (TENSORS - 1)) % TENSORS;
        const struct syn_task_call call = {.kernel = &add,
                                           .tensors = {tensors[a], tensors[c]},
                                           .pieces = i % 2 == 0 ? SYN_PIECES_ONE : 4,
                                           .device = i % 2 == 0 ? "modelled0" : "cpu0"};

        assert_done(syn_engine_submit(bench.engine, &call, NULL, &err), &err);
        last[c] = (int64_t)((uint64_t)last[c] + (uint64_t)last[a]);
    }
    assert_done(syn_engine_wait(bench.engine, &err), &err);
    for (unsigned i = 0; i < TENSORS; i++) {
        void *data;

        assert_done(syn_engine_map(bench.engine, tensors[i], SYN_READ, &data, &err), &err);
        assert_int_equal(((const int64_t *)data)[N - 1], last[i]);
        syn_engine_unmap(bench.engine, tensors[i]);
        assert_done(syn_tensor_free(tensors[i], &err), &err);
    }
    syn_engine_stats(bench.engine, &stats);
    assert_int_equal(stats.divided, CALLS / 2);
    bench.engine = syn_engine_close(bench.engine);
}

/* A divided call on two tensors of so many rows, and one of each other kernel while a worker
 * divides. */
static void
submit_while_dividing(struct bench *bench, const struct syn_kernel *kernels, uint64_t count,
                      uint64_t rows)
{
    const struct syn_shape own = {.dtype = SYN_DTYPE_INT64, .dims = 2, .sizes = {rows, COLS}};
    struct syn_tensor *a = numbers(bench->engine, &own), *c = numbers(bench->engine, &own);
    uint64_t last = rows * COLS - 1;
    struct syn_err err;
    void *data;

    for (uint64_t i = 0; i < count; i++) {
        const struct syn_task_call call = {
            .kernel = &kernels[i], .tensors = {a, c}, .pieces = i == 0 ? 4 : SYN_PIECES_ONE};

        assert_done(syn_engine_submit(bench->engine, &call, NULL, &err), &err);
    }
    assert_done(syn_engine_wait(bench->engine, &err), &err);
    assert_done(syn_engine_map(bench->engine, c, SYN_READ, &data, &err), &err);
    assert_int_equal(((const int64_t *)data)[last], last * (count + 1));
    syn_engine_unmap(bench->engine, c);
    assert_done(syn_tensor_free(a, &err), &err);
    assert_done(syn_tensor_free(c, &err), &err);
}

/* A worker divides a tensor for the first time while calls on it are submitted that are the first
 * of their kernels on such tensors: for those it is asked how it may lie. ThreadSanitizer sees what
 * is wrong then. */
static void
test_submitted_meanwhile(void **unused)
{
    static struct syn_kernel kernels[8];
    struct bench bench;

    (void)unused;
    bench_open(&bench, "cpu0");
    for (unsigned i = 0; i < SYN_LEN(kernels); i++)
        kernels[i] = add;
    for (uint64_t rows = 1; rows <= 40; rows++)
        submit_while_dividing(&bench, kernels, SYN_LEN(kernels), rows);
    bench_close(&bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits_nowhere),        cmocka_unit_test(test_goes_elsewhere),
        cmocka_unit_test(test_fits_not_there),      cmocka_unit_test(test_parts_of_the_caller),
        cmocka_unit_test(test_submitted_meanwhile), cmocka_unit_test(test_small_host),
    };

    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
