/* y += a x, of any shape. */
#include "kernels_priv.h"

#define SYN_BODY_INTEGERS
#define SYN_BODY "axpy_body_priv.h"
#include "widths_priv.h"

enum { X, Y };
enum { A };

#define GRAIN (UINT64_C(1) << 15) /* elements worth an offer to others */
#define GROUP 256

struct axpy {
    const struct syn_nest *nest;
    const void *x;
    void *y;
    double a;
};

/* One number format: what to do with a row, whatever its strides, and with a range of elements. */
#define AXPY(T, ...)                                                                \
    static void row_##T(void *arg, uint64_t first, uint64_t second, uint64_t count) \
    {                                                                               \
        static void (*const rows[])(T a, const T *x, T *y, uint64_t count) =        \
            SYN_WIDTHS_OF(axpy_row, T);                                             \
        const struct axpy *job = arg;                                               \
        const struct syn_nest *nest = job->nest;                                    \
        uint64_t x_step = nest->strides[0][nest->dims - 1];                         \
        uint64_t y_step = nest->strides[1][nest->dims - 1];                         \
        const T *x = (const T *)job->x + first;                                     \
        T a = (T)__VA_ARGS__ job->a, *y = (T *)job->y + second;                     \
                                                                                    \
        if (x_step == 1 && y_step == 1) {                                           \
            rows[syn_vector_width()](a, x, y, count);                               \
            return;                                                                 \
        }                                                                           \
        for (uint64_t i = 0; i < count; i++)                                        \
            y[i * y_step] += a * x[i * x_step];                                     \
    }                                                                               \
                                                                                    \
    static void range_##T(void *arg, uint64_t begin, uint64_t end)                  \
    {                                                                               \
        syn_nest_walk(((struct axpy *)arg)->nest, begin, end, row_##T, arg);        \
    }

AXPY(float)
AXPY(double)
AXPY(uint32_t, (int64_t))
AXPY(uint64_t, (int64_t))

static int
axpy_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    static syn_range_fn *const ranges[SYN_DTYPES] = {
        [SYN_DTYPE_FP32] = range_float,
        [SYN_DTYPE_FP64] = range_double,
        [SYN_DTYPE_INT32] = range_uint32_t,
        [SYN_DTYPE_INT64] = range_uint64_t,
    };
    struct syn_nest nest;
    struct axpy job = {&nest, call->operands[X].data, call->operands[Y].data, call->params[A]};

    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    syn_range_run(worker, at, nest.count, GRAIN, ranges[syn_shape_of(call, X)->dtype], &job);
    return SYN_OK;
}

static bool
axpy_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    struct syn_nest nest;

    (void)device;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    return nest.dims <= SYN_NEST_QUAD;
}

static int
axpy_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
          struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    struct syn_nest nest;

    (void)step;
    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    syn_launch_begin(ret_launch, "axpy");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    ret_launch->groups[0] = syn_turns(device, nest.count, ret_launch->group[0], SYN_GRID_MAX);
    syn_launch_elem(ret_launch, syn_shape_of(call, X)->dtype, call->params[A]);
    syn_launch_operand(ret_launch, X);
    syn_launch_operand(ret_launch, Y);
    syn_launch_nest(ret_launch, &nest, true);
    syn_launch_u64(ret_launch, nest.count);
    return SYN_OK;
}

static int
axpy_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, X)->dtype;
    double a = call->params[A];
    int rc = syn_check_dtype(call, X, SYN_REALS, err);

    rc = rc < 0 ? rc : syn_check_same(call, Y, X, err);
    if (rc == SYN_OK && !(SYN_FLOATS & SYN_BIT(dtype)) && a != trunc(a))
        rc = SYN_FAIL(err, SYN_E_INVALID, "parameter a is %g where x is %s", a,
                      syn_dtype_name(dtype));
    if (rc == SYN_OK && dtype == SYN_DTYPE_INT32)
        rc = syn_check_param(call, A, INT32_MIN, INT32_MAX, err);
    if (rc == SYN_OK && dtype == SYN_DTYPE_INT64)
        rc = syn_check_param(call, A, -0x1p63, 0x1p62, err);
    return rc;
}

static void
axpy_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    uint64_t bytes = syn_operand_bytes(call, X);

    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(syn_elements(syn_shape_of(call, X)), 2),
        .read_bytes = syn_mul_sat(bytes, 2),
        .written_bytes = bytes,
        .dtype = syn_shape_of(call, X)->dtype,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"x", SYN_READ, 1, SYN_DIMS_MAX},
    {"y", SYN_UPDATE, 1, SYN_DIMS_MAX},
};
static const struct syn_kernel_param params[] = {{"a", 1, false}};
static const struct syn_kernel_split splits[] = {{.dim = {0, 0}, .grain = 1}};

#define COMPILED(dtype, options) \
    SYN_COMPILED(dtype, axpy, options, .plan = axpy_plan, .fits = axpy_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(axpy_run),
    SYN_REAL_ROWS(COMPILED, u),
};

const struct syn_kernel syn_kernel_axpy = {
    .name = "axpy",
    .summary = "y += a x",
    .operation = SYN_OPERATION_ELEMENTWISE,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(splits),
    SYN_LISTED(impls),
    .check = axpy_check,
    .work = axpy_work,
};
