/* Tables and calls: what is refused, and in which words. */
#include <synor/kernel.h>

#include <math.h>
#include <string.h>

#include <synor/base/test.h>

static void
test_the_librarys_tables(void **state)
{
    size_t count = 0;
    const struct syn_kernel *const *kernels = syn_kernels(&count);
    struct syn_err err = {0};

    (void)state;
    assert_int_equal(count, 10);
    for (size_t i = 0; i < count; i++) {
        assert_done(syn_kernel_check(kernels[i], &err), &err);
        assert_ptr_equal(syn_kernel_find(kernels[i]->name), kernels[i]);
        assert_true(kernels[i]->summary && kernels[i]->summary[0] != '\0');
    }
    assert_null(syn_kernel_find("gemv"));
    assert_null(syn_kernel_find(""));
}

/* ---- tables of strangers ---- */

static int
run_nothing(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
            struct syn_err *err)
{
    (void)call;
    (void)worker;
    (void)at;
    (void)err;
    return SYN_OK;
}

static void
work_nothing(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){0};
}

/* A table that is right, to be spoilt one field at a time. */
struct table {
    struct syn_kernel kernel;
    struct syn_kernel_operand operands[2];
    struct syn_kernel_param params[1];
    struct syn_kernel_split splits[1];
    struct syn_kernel_impl impls[2];
};

static void
table_make(struct table *table)
{
    *table = (struct table){
        .kernel = {.name = "mine",
                   .operands_count = 2,
                   .params_count = 1,
                   .splits_count = 1,
                   .impls_count = 2,
                   .operands = table->operands,
                   .params = table->params,
                   .splits = table->splits,
                   .impls = table->impls,
                   .work = work_nothing},
        .operands = {{"in", SYN_READ, 1, 2}, {"out", SYN_WRITE, 1, 2}},
        .params = {{"how", 0, true}},
        .splits = {{.dim = {SYN_SPLIT_WHOLE, 0}, .grain = 4}},
        .impls = {{.format = SYN_FORMAT_NATIVE, .kinds = SYN_BIT(SYN_KIND_CPU), .run = run_nothing},
                  {.format = SYN_FORMAT_NATIVE,
                   .kinds = SYN_BIT(SYN_KIND_GPU),
                   .run = run_nothing}},
    };
}

/* Spoil, look for the word in the message, mend. */
#define REFUSED(field, bad, word)                                                \
    do {                                                                         \
        table_make(&table);                                                      \
        table.field = bad;                                                       \
        assert_code(syn_kernel_check(&table.kernel, &err), SYN_E_INVALID, &err); \
        if (!strstr(err.msg, word))                                              \
            fail_msg("%s = %s: \"%s\"", #field, #bad, err.msg);                  \
    } while (0)

static void
test_tables_are_checked(void **state)
{
    static const char long_name[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    struct table table;
    struct syn_err err = {0};

    (void)state;
    table_make(&table);
    assert_done(syn_kernel_check(&table.kernel, &err), &err);
    REFUSED(kernel.name, NULL, "name");
    REFUSED(kernel.name, "", "name");
    REFUSED(kernel.name, "two words", "name");
    REFUSED(kernel.name, long_name, "name");
    REFUSED(kernel.operation, SYN_OPERATIONS, "operation");
    REFUSED(kernel.work, NULL, "work");
    REFUSED(kernel.operands_count, 0, "operands_count");
    REFUSED(kernel.operands_count, SYN_OPERANDS_MAX + 1, "operands_count");
    REFUSED(kernel.operands, NULL, "operands");
    REFUSED(kernel.params_count, SYN_KERNEL_PARAMS_MAX + 1, "params_count");
    REFUSED(kernel.splits_count, SYN_KERNEL_SPLITS_MAX + 1, "splits_count");
    REFUSED(kernel.impls_count, SYN_KERNEL_IMPLS_MAX + 1, "impls_count");
    REFUSED(kernel.impls_count, 0, "impls_count");
}

static void
test_entries_of_tables_are_checked(void **state)
{
    struct table table;
    struct syn_err err = {0};

    (void)state;
    REFUSED(operands[1].name, "in", "operands[1].name");
    REFUSED(operands[1].name, "a\tb", "operands[1].name");
    REFUSED(operands[0].access, 0, "operands[0].access");
    REFUSED(operands[0].dims_min, 3, "operands[0].dims");
    REFUSED(operands[0].dims_max, SYN_DIMS_MAX + 1, "operands[0].dims");
    REFUSED(params[0].name, NULL, "params[0].name");
    REFUSED(splits[0].grain, 0, "splits[0].grain");
    REFUSED(splits[0].dim[1], 1, "splits[0].dim[1]");
    REFUSED(splits[0].dim[1], SYN_SPLIT_WHOLE, "splits[0].dim[1]");
}

static void
test_reductions_are_checked(void **state)
{
    static const double params[] = {0, 0};
    struct syn_kernel_reduction how = syn_reduction_sum;
    struct table table;
    struct syn_err err = {0};

    (void)state;
    table_make(&table);
    table.operands[1].access = SYN_REDUCE;
    table.splits[0].dim[0] = 0;
    table.splits[0].dim[1] = SYN_SPLIT_WHOLE; /* every piece reduces on all of it */
    table.kernel.reductions[1] = &how;
    assert_done(syn_kernel_check(&table.kernel, &err), &err);
    table.kernel.reductions[1] = NULL;
    assert_code(syn_kernel_check(&table.kernel, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "reductions[1] is NULL"));
    table.kernel.reductions[1] = &how;
    how.init = how.merge;
    assert_code(syn_kernel_check(&table.kernel, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "reductions[1]: init is no kernel"));
    how = (struct syn_kernel_reduction){.init = syn_reduction_sum.init,
                                        .merge = syn_reduction_sum.init};
    assert_code(syn_kernel_check(&table.kernel, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "reductions[1]: merge is no kernel"));
    how = syn_reduction_sum;
    how.params = params;
    how.params_count = 2;
    assert_code(syn_kernel_check(&table.kernel, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "do not take 2 parameters"));
    assert_done(syn_kernel_check(syn_kernel_find("dot"), &err), &err);
}

static void
test_implementations_are_checked(void **state)
{
    struct table table;
    struct syn_err err = {0};

    (void)state;
    REFUSED(impls[1].kinds, 0, "impls[1].kinds");
    REFUSED(impls[1].kinds, SYN_BIT(31), "impls[1].kinds");
    REFUSED(impls[1].dtypes, SYN_BIT(31), "impls[1].dtypes");
    REFUSED(impls[1].run, NULL, "impls[1].run");
    REFUSED(impls[1].format, SYN_FORMAT_OPENCL_C, "impls[1].source");
    REFUSED(impls[1].format, SYN_FORMATS, "impls[1].format");
}

/* ---- calls ---- */

static struct syn_shape
rows_of(enum syn_dtype dtype, unsigned dims, const uint64_t *sizes)
{
    struct syn_shape shape = {.dtype = dtype, .dims = dims};
    uint64_t stride = 1;

    for (unsigned i = dims; i > 0; i--) {
        shape.sizes[i - 1] = sizes[i - 1];
        shape.strides[i - 1] = stride;
        stride *= sizes[i - 1];
    }
    return shape;
}

/* One row a case: shapes by operand, parameters by name, and what the message must say; NULL: the
 * call is right. */
struct call_case {
    const char *kernel;
    struct {
        enum syn_dtype dtype;
        unsigned dims;
        uint64_t sizes[5]; /* one more than `dims` is added to the stride of the last */
    } operands[3];
    struct {
        const char *name;
        double value;
    } params[2];
    const char *says;
};

#define F32 SYN_DTYPE_FP32
#define F64 SYN_DTYPE_FP64
#define C64 SYN_DTYPE_C64
#define I32 SYN_DTYPE_INT32

/* clang-format off */
static const struct call_case cases[] = {
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{0}}, NULL},
    {"gemm", {{F32, 2, {3, 2}}, {F32, 2, {4, 3}}, {F32, 2, {2, 4}}}, {{"trans_a", 1}, {"trans_b", 1}}, NULL},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {4, 4}}, {F32, 2, {2, 4}}}, {{0}}, "b has 4 elements along dimension 0, not 3"},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {3, 4}}}, {{0}}, "a has 2 elements along dimension 0, not 3"},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 5}}}, {{0}}, "b has 4 elements along dimension 1, not 5"},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{"trans_b", 1}}, "b has 3 elements along dimension 0, not 4"},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{"trans_b", 2}}, "parameter trans_b is 2"},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{"trans_b", 0.5}}, "parameter trans_b is 0.5, not an integer"},
    {"gemm", {{F32, 2, {2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{"beta", NAN}}, "parameter beta must be given"},
    {"gemm", {{F32, 3, {1, 2, 3}}, {F32, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{0}}, "a has 3 dimensions, not 2"},
    {"gemm", {{I32, 2, {2, 3}}, {I32, 2, {3, 4}}, {I32, 2, {2, 4}}}, {{0}}, "a is int32, not one of fp64, fp32"},
    {"gemm", {{F32, 2, {2, 3}}, {F64, 2, {3, 4}}, {F32, 2, {2, 4}}}, {{0}}, "b is fp64 where a is fp32"},
    {"axpy", {{F32, 2, {2, 3, 1}}, {F32, 2, {2, 3}}}, {{"a", 0.5}}, NULL},
    {"axpy", {{F32, 2, {2, 3}}, {F32, 1, {6}}}, {{0}}, "y has 1 dimensions where x has 2"},
    {"axpy", {{F32, 2, {2, 3}}, {F32, 2, {2, 4}}}, {{0}}, "y has 4 elements along dimension 1, not 3"},
    {"axpy", {{I32, 1, {2}}, {I32, 1, {2}}}, {{"a", 0.5}}, "parameter a is 0.5 where x is int32"},
    {"axpy", {{I32, 1, {2}}, {I32, 1, {2}}}, {{"a", 3e9}}, "parameter a is 3e+09, not between"},
    {"axpy", {{C64, 1, {2}}, {C64, 1, {2}}}, {{0}}, "x is c64"},
    {"reduce", {{I32, 3, {2, 3, 4}}, {I32, 0, {0}}}, {{"what", 2}}, NULL},
    {"reduce", {{I32, 3, {2, 3, 4}}, {I32, 2, {1, 1}}}, {{0}}, NULL},
    {"reduce", {{I32, 1, {2}}, {I32, 1, {2}}}, {{0}}, "out has 2 elements along dimension 0, not 1"},
    {"reduce", {{I32, 1, {2}}, {F32, 0, {0}}}, {{0}}, "out is fp32 where x is int32"},
    {"reduce", {{I32, 1, {2}}, {I32, 0, {0}}}, {{"what", 3}}, "parameter what is 3, not between 0 and 2"},
    {"stencil", {{F64, 2, {2, 3}}, {F64, 2, {2, 3}}}, {{"steps", 7}}, NULL},
    {"stencil", {{F64, 1, {2}}, {F64, 1, {2}}}, {{0}}, "from has 1 dimensions, not 2 to 3"},
    {"stencil", {{F64, 2, {2, 3}}, {F64, 2, {2, 3}}}, {{"steps", 0}}, "parameter steps is 0"},
    {"stencil", {{F64, 2, {2, 3}}, {F64, 2, {3, 3}}}, {{0}}, "to has 3 elements along dimension 0, not 2"},
    {"sort", {{I32, 1, {9}}}, {{0}}, NULL},
    {"sort", {{I32, 1, {9, 1}}}, {{0}}, "x must be packed in rows"},
    {"sort", {{I32, 2, {3, 3}}}, {{0}}, "x has 2 dimensions, not 1"},
    {"fft", {{C64, 2, {3, 8}}, {C64, 2, {3, 8}}}, {{"inverse", 1}}, NULL},
    {"fft", {{C64, 2, {3, 6}}, {C64, 2, {3, 6}}}, {{0}}, "x has rows of 6, not a power of two"},
    {"fft", {{C64, 2, {3, 8}}, {C64, 2, {3, 8, 1}}}, {{0}}, "y must be packed in rows along its last dimensions"},
    {"fft", {{F32, 2, {3, 8}}, {F32, 2, {3, 8}}}, {{0}}, "x is fp32, not one of c64, c128"},
    {"conv2d", {{F32, 4, {2, 3, 8, 9}}, {F32, 4, {5, 3, 3, 3}}, {F32, 4, {2, 5, 6, 7}}}, {{0}}, NULL},
    {"conv2d", {{F32, 4, {2, 3, 8, 9}}, {F32, 4, {5, 3, 3, 3}}, {F32, 4, {2, 5, 4, 5}}}, {{"stride", 2}, {"padding", 1}}, NULL},
    {"conv2d", {{F32, 4, {2, 3, 8, 9}}, {F32, 4, {5, 4, 3, 3}}, {F32, 4, {2, 5, 6, 7}}}, {{0}}, "w has 4 elements along dimension 1, not 3"},
    {"conv2d", {{F32, 4, {2, 3, 8, 9}}, {F32, 4, {5, 3, 3, 3}}, {F32, 4, {2, 5, 6, 6}}}, {{0}}, "y has 6 elements along dimension 3, not 7"},
    {"conv2d", {{F32, 4, {2, 3, 2, 9}}, {F32, 4, {5, 3, 3, 3}}, {F32, 4, {2, 5, 1, 7}}}, {{0}}, "w is larger than x along dimension 2"},
    {"conv2d", {{F32, 4, {2, 3, 8, 9}}, {F32, 4, {5, 3, 3, 3}}, {F32, 4, {2, 5, 6, 7}}}, {{"stride", 0}}, "parameter stride is 0"},
    {"dot", {{I32, 2, {2, 3}}, {I32, 2, {2, 3}}, {I32, 0, {0}}}, {{0}}, NULL},
    {"dot", {{I32, 1, {6}}, {I32, 2, {2, 3}}, {I32, 0, {0}}}, {{0}}, "y has 2 dimensions where x has 1"},
    {"dot", {{F32, 1, {6}}, {F32, 1, {6}}, {F64, 0, {0}}}, {{0}}, "out is fp64 where x is fp32"},
    {"dot", {{F32, 1, {6}}, {F32, 1, {6}}, {F32, 1, {6}}}, {{0}}, "out has 6 elements along dimension 0, not 1"},
    {"neutral", {{F32, 0, {0}}}, {{"what", 3}}, NULL},
    {"neutral", {{C64, 1, {2}}}, {{0}}, "y is c64"},
    {"neutral", {{F32, 1, {2}}}, {{"what", 4}}, "parameter what is 4, not between 0 and 3"},
    {"combine", {{F64, 1, {2}}, {F64, 1, {2}}}, {{"what", 3}}, NULL},
    {"combine", {{F64, 1, {2}}, {F64, 1, {3}}}, {{0}}, "y has 3 elements along dimension 0, not 2"},
    {"combine", {{F64, 1, {2}}, {F64, 1, {2}}}, {{"what", -1}}, "parameter what is -1, not between 0 and 3"},
};
/* clang-format on */

static void
check_case(const struct call_case *row)
{
    struct syn_shape shapes[SYN_OPERANDS_MAX];
    struct syn_kernel_call call;
    struct syn_err err = {0};
    int rc;

    syn_kernel_call_init(&call, syn_kernel_find(row->kernel));
    for (unsigned i = 0; i < call.kernel->operands_count; i++) {
        unsigned dims = row->operands[i].dims;

        shapes[i] = rows_of(row->operands[i].dtype, dims, row->operands[i].sizes);
        if (dims > 0)
            shapes[i].strides[dims - 1] += row->operands[i].sizes[dims];
        call.operands[i].shape = &shapes[i];
    }
    for (unsigned i = 0; i < SYN_LEN(row->params) && row->params[i].name; i++)
        assert_done(syn_kernel_set(&call, row->params[i].name, row->params[i].value, &err), &err);
    rc = syn_kernel_check_call(&call, &err);
    if (rc != (row->says ? SYN_E_INVALID : SYN_OK))
        fail_msg("%s: %d \"%s\", want \"%s\"", row->kernel, rc, err.msg,
                 row->says ? row->says : "");
    if (row->says && (!strstr(err.msg, row->says) || !strstr(err.msg, row->kernel)))
        fail_msg("%s: \"%s\", want \"%s\"", row->kernel, err.msg, row->says);
}

static void
test_calls_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++)
        check_case(&cases[i]);
}

static void
test_calls_from_outside(void **state)
{
    struct syn_shape shape = rows_of(F32, 1, (uint64_t[]){4}), odd = shape;
    struct syn_kernel_call call;
    struct syn_err err = {0};
    unsigned operand = 9;

    (void)state;
    syn_kernel_call_init(&call, syn_kernel_find("axpy"));
    assert_true(call.params[0] == 1);
    call.operands[0].shape = &shape;
    assert_code(syn_kernel_check_call(&call, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "y is missing"));
    call.operands[1].shape = &odd;
    odd.sizes[0] = 0;
    assert_code(syn_kernel_check_call(&call, &err), SYN_E_INVALID, &err);
    odd = shape;
    odd.strides[0] = 0;
    assert_code(syn_kernel_check_call(&call, &err), SYN_E_INVALID, &err);
    odd = shape;
    odd.dtype = SYN_DTYPES;
    assert_code(syn_kernel_check_call(&call, &err), SYN_E_INVALID, &err);
    assert_code(syn_kernel_set(&call, "b", 1, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "kernel axpy: no parameter b; it has a");
    assert_code(syn_kernel_operand_find(call.kernel, "z", &operand, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "kernel axpy: no operand z; it has x, y");
    assert_done(syn_kernel_operand_find(call.kernel, "y", &operand, &err), &err);
    assert_int_equal(operand, 1);
    syn_kernel_call_init(&call, syn_kernel_find("sort"));
    assert_code(syn_kernel_set(&call, "b", 1, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "kernel sort: no parameter b; it has none");
}

/* ---- access, pieces, implementations ---- */

static void
gemm_call(struct syn_kernel_call *call, struct syn_shape shapes[3])
{
    shapes[0] = rows_of(F32, 2, (uint64_t[]){30, 50});
    shapes[1] = rows_of(F32, 2, (uint64_t[]){50, 70});
    shapes[2] = rows_of(F32, 2, (uint64_t[]){30, 70});
    syn_kernel_call_init(call, syn_kernel_find("gemm"));
    for (int i = 0; i < 3; i++)
        call->operands[i].shape = &shapes[i];
}

static void
test_access_and_pieces(void **state)
{
    struct syn_shape shapes[3];
    struct syn_kernel_call call;

    (void)state;
    gemm_call(&call, shapes);
    assert_int_equal(syn_kernel_access(&call, 1), SYN_READ);
    assert_int_equal(syn_kernel_access(&call, 2), SYN_WRITE); /* beta is 0 */
    call.params[1] = 1;
    assert_int_equal(syn_kernel_access(&call, 2), SYN_UPDATE);
    assert_int_equal(syn_kernel_pieces(&call, 0), 30);
    assert_int_equal(syn_kernel_pieces(&call, 1), 1); /* a is not turned */
    assert_int_equal(syn_kernel_pieces(&call, 2), 70);
    assert_int_equal(syn_kernel_pieces(&call, 3), 1);
    syn_kernel_call_init(&call, syn_kernel_find("axpy"));
    call.operands[0].shape = call.operands[1].shape = &shapes[0];
    assert_int_equal(syn_kernel_access(&call, 1), SYN_UPDATE);
}

static void
test_pick(void **state)
{
    struct syn_device_info device = {.kind = SYN_KIND_GPU,
                                     .formats = SYN_BIT(SYN_FORMAT_CUDA_C),
                                     .group_max = 1024,
                                     .dtypes = SYN_BIT(F32)};
    struct syn_shape shapes[3];
    struct syn_kernel_call call;
    const struct syn_kernel *gemm = syn_kernel_find("gemm");
    const struct syn_kernel_impl *impl = NULL;

    (void)state;
    gemm_call(&call, shapes);
    impl = syn_kernel_pick(gemm, &call, &device);
    assert_non_null(impl);
    assert_int_equal(impl->format, SYN_FORMAT_CUDA_C);
    assert_int_equal(impl->dtypes, SYN_BIT(F32));
    device.group_max = 64; /* too small for its tiles */
    assert_null(syn_kernel_pick(gemm, &call, &device));
    assert_non_null(syn_kernel_pick(gemm, NULL, &device));
    device.group_max = 1024;
    device.dtypes = SYN_BIT(F64);
    assert_null(syn_kernel_pick(gemm, &call, &device));
    device.formats = SYN_BIT(SYN_FORMAT_STABLEHLO);
    assert_null(syn_kernel_pick(gemm, NULL, &device));
    /* A modelled device runs the CPU's, whatever its kind. */
    device = (struct syn_device_info){.kind = SYN_KIND_TPU,
                                      .modelled = true,
                                      .formats = SYN_BIT(SYN_FORMAT_NATIVE),
                                      .dtypes = SYN_BIT(F32)};
    assert_int_equal(syn_kernel_pick(gemm, &call, &device)->format, SYN_FORMAT_NATIVE);
    device.modelled = false;
    assert_null(syn_kernel_pick(gemm, &call, &device));
}

/* Costs of what nobody can run are large, not small. */
static void
test_costs_do_not_wrap(void **state)
{
    struct syn_shape shapes[3];
    struct syn_kernel_call call;
    struct syn_work work;

    (void)state;
    gemm_call(&call, shapes);
    call.kernel->work(&call, &work);
    assert_int_equal(work.flops, 2 * 30 * 50 * 70);
    assert_int_equal(work.read_bytes, 4 * (30 * 50 + 50 * 70));
    assert_int_equal(work.written_bytes, 4 * 30 * 70);
    for (int i = 0; i < 3; i++)
        shapes[i] = rows_of(F32, 2, (uint64_t[]){UINT64_C(1) << 29, UINT64_C(1) << 29});
    call.kernel->work(&call, &work);
    assert_int_equal(work.flops, UINT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_librarys_tables),
        cmocka_unit_test(test_tables_are_checked),
        cmocka_unit_test(test_entries_of_tables_are_checked),
        cmocka_unit_test(test_reductions_are_checked),
        cmocka_unit_test(test_implementations_are_checked),
        cmocka_unit_test(test_calls_are_checked),
        cmocka_unit_test(test_calls_from_outside),
        cmocka_unit_test(test_access_and_pieces),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_costs_do_not_wrap),
    };

    return cmocka_run_group_tests_name("kernel", tests, NULL, NULL);
}
