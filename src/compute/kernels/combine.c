/* y = y + x and its like, element by element: how copies that calls reduced on are put together. */
#include "kernels_priv.h"

#define SYN_BODY_INTEGERS
#define SYN_BODY "combine_body_priv.h"
#include "widths_priv.h"

enum { X, Y };
enum { WHAT };

#define GRAIN (UINT64_C(1) << 15) /* elements worth an offer to others */
#define GROUP 256

struct combine {
    const struct syn_nest *nest;
    const void *x;
    void *y;
    unsigned what;
};

/* One number format: a row of whatever strides, and a range of elements. Sums and products of whole
 * numbers wrap; they are compared with their signs. */
#define COMBINE(T, SIGNED_)                                                                \
    static inline T both_##T(unsigned what, T a, T b)                                      \
    {                                                                                      \
        SIGNED_ x = (SIGNED_)a, y = (SIGNED_)b;                                            \
                                                                                           \
        if (what == SYN_WHAT_SUM)                                                          \
            return a + b;                                                                  \
        if (what == SYN_WHAT_PRODUCT)                                                      \
            return a * b;                                                                  \
        if (what == SYN_WHAT_LEAST)                                                        \
            return y < x || y != y ? b : a;                                                \
        return y > x || y != y ? b : a;                                                    \
    }                                                                                      \
                                                                                           \
    static void row_##T(void *arg, uint64_t first, uint64_t second, uint64_t count)        \
    {                                                                                      \
        static uint64_t (*const rows[])(unsigned what, const T *x, T *y, uint64_t count) = \
            SYN_WIDTHS_OF(combine_row, T);                                                 \
        const struct combine *job = arg;                                                   \
        const struct syn_nest *nest = job->nest;                                           \
        uint64_t x_step = nest->strides[0][nest->dims - 1];                                \
        uint64_t y_step = nest->strides[1][nest->dims - 1];                                \
        const T *x = (const T *)job->x + first;                                            \
        T *y = (T *)job->y + second;                                                       \
        uint64_t i = 0;                                                                    \
                                                                                           \
        if (x_step == 1 && y_step == 1)                                                    \
            i = rows[syn_vector_width()](job->what, x, y, count);                          \
        for (; i < count; i++)                                                             \
            y[i * y_step] = both_##T(job->what, y[i * y_step], x[i * x_step]);             \
    }                                                                                      \
                                                                                           \
    static void range_##T(void *arg, uint64_t begin, uint64_t end)                         \
    {                                                                                      \
        syn_nest_walk(((struct combine *)arg)->nest, begin, end, row_##T, arg);            \
    }

COMBINE(float, float)
COMBINE(double, double)
COMBINE(uint32_t, int32_t)
COMBINE(uint64_t, int64_t)

static int
combine_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
            struct syn_err *err)
{
    static syn_range_fn *const ranges[SYN_DTYPES] = {
        [SYN_DTYPE_FP32] = range_float,
        [SYN_DTYPE_FP64] = range_double,
        [SYN_DTYPE_INT32] = range_uint32_t,
        [SYN_DTYPE_INT64] = range_uint64_t,
    };
    struct syn_nest nest;
    struct combine job = {&nest, call->operands[X].data, call->operands[Y].data,
                          (unsigned)call->params[WHAT]};

    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    syn_range_run(worker, at, nest.count, GRAIN, ranges[syn_shape_of(call, X)->dtype], &job);
    return SYN_OK;
}

static bool
combine_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    struct syn_nest nest;

    (void)device;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    return nest.dims <= SYN_NEST_QUAD;
}

static int
combine_plan(const struct syn_kernel_call *call, const struct syn_device_info *device,
             unsigned step, struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    struct syn_nest nest;

    (void)step;
    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    syn_launch_begin(ret_launch, "combine");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    ret_launch->groups[0] = syn_turns(device, nest.count, ret_launch->group[0], SYN_GRID_MAX);
    syn_launch_operand(ret_launch, X);
    syn_launch_operand(ret_launch, Y);
    syn_launch_nest(ret_launch, &nest, true);
    syn_launch_u64(ret_launch, nest.count);
    syn_launch_u32(ret_launch, (uint32_t)call->params[WHAT]);
    return SYN_OK;
}

static int
combine_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, X, SYN_REALS, err);

    rc = rc < 0 ? rc : syn_check_same(call, Y, X, err);
    return rc < 0 ? rc : syn_check_param(call, WHAT, SYN_WHAT_SUM, SYN_WHAT_PRODUCT, err);
}

static void
combine_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    uint64_t bytes = syn_operand_bytes(call, X);

    *ret_work = (struct syn_work){
        .flops = syn_elements(syn_shape_of(call, X)),
        .read_bytes = syn_mul_sat(bytes, 2),
        .written_bytes = bytes,
        .dtype = syn_shape_of(call, X)->dtype,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"x", SYN_READ, 0, SYN_DIMS_MAX},
    {"y", SYN_UPDATE, 0, SYN_DIMS_MAX},
};
static const struct syn_kernel_param params[] = {{"what", SYN_WHAT_SUM, true}};

#define COMPILED(dtype, options) \
    SYN_COMPILED(dtype, combine, options, .plan = combine_plan, .fits = combine_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(combine_run),
    SYN_REAL_ROWS(COMPILED, i),
};

const struct syn_kernel syn_kernel_combine = {
    .name = "combine",
    .summary = "y = y + x (what = 0), the least (1), the most (2), the product (3) of both",
    .operation = SYN_OPERATION_ELEMENTWISE,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(impls),
    .check = combine_check,
    .work = combine_work,
};

/* ---- reductions ---- */

static const double what_of[] = {SYN_WHAT_SUM, SYN_WHAT_LEAST, SYN_WHAT_MOST, SYN_WHAT_PRODUCT};

#define REDUCTION(name, what)                                                               \
    const struct syn_kernel_reduction syn_reduction_##name = {.init = &syn_kernel_neutral,  \
                                                              .merge = &syn_kernel_combine, \
                                                              .params = &what_of[what],     \
                                                              .params_count = 1}
REDUCTION(sum, SYN_WHAT_SUM);
REDUCTION(product, SYN_WHAT_PRODUCT);
REDUCTION(least, SYN_WHAT_LEAST);
REDUCTION(most, SYN_WHAT_MOST);
