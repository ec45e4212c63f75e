/* out = out + the sum of the products of x and y: out is reduced on, so that calls on pieces of
 * long vectors, and its own pieces, run side by side on whatever devices. */
#include "kernels_priv.h"

#define SYN_BODY_INTEGERS
#define SYN_BODY "dot_body_priv.h"
#include "widths_priv.h"

enum { X, Y, OUT };

#define BLOCK                                                                           \
    4096 /* elements whose sum is in the number format itself, above that in a wide one \
          */
#define GROUP 256
#define PARTS 256 /* partial results on devices */

struct dot {
    const struct syn_nest *nest;
    const void *x, *y;
    double real; /* the sum, of fractions */
    uint64_t whole;
};

#define DOT(T, field)                                                               \
    static void row_##T(void *arg, uint64_t first, uint64_t second, uint64_t count) \
    {                                                                               \
        static T (*const rows[])(const T *x, const T *y, uint64_t count) =          \
            SYN_WIDTHS_OF(dot_row, T);                                              \
        struct dot *job = arg;                                                      \
        const struct syn_nest *nest = job->nest;                                    \
        uint64_t x_step = nest->strides[0][nest->dims - 1];                         \
        uint64_t y_step = nest->strides[1][nest->dims - 1];                         \
        const T *x = (const T *)job->x + first, *y = (const T *)job->y + second;    \
                                                                                    \
        if (x_step == 1 && y_step == 1) {                                           \
            job->field += rows[syn_vector_width()](x, y, count);                    \
            return;                                                                 \
        }                                                                           \
        for (uint64_t i = 0; i < count; i++) {                                      \
            T product = x[i * x_step] * y[i * y_step];                              \
                                                                                    \
            job->field += product;                                                  \
        }                                                                           \
    }

DOT(float, real)
DOT(double, real)
DOT(uint32_t, whole)
DOT(uint64_t, whole)

static void
add_to(void *out, enum syn_dtype dtype, const struct dot *job)
{
    if (dtype == SYN_DTYPE_FP32)
        *(float *)out = (float)(*(float *)out + job->real);
    else if (dtype == SYN_DTYPE_FP64)
        *(double *)out += job->real;
    else if (dtype == SYN_DTYPE_INT32)
        *(uint32_t *)out += (uint32_t)job->whole;
    else
        *(uint64_t *)out += job->whole;
}

static int
dot_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, X)->dtype;
    struct syn_nest nest;
    struct dot job = {.nest = &nest, .x = call->operands[X].data, .y = call->operands[Y].data};

    (void)worker; /* what it would fork for, it is divided for */
    (void)at;
    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    for (uint64_t begin = 0; begin < nest.count; begin += BLOCK)
        syn_nest_walk(&nest, begin, SYN_MIN(begin + BLOCK, nest.count),
                      dtype == SYN_DTYPE_FP32    ? row_float
                      : dtype == SYN_DTYPE_FP64  ? row_double
                      : dtype == SYN_DTYPE_INT32 ? row_uint32_t
                                                 : row_uint64_t,
                      &job);
    add_to(call->operands[OUT].data, dtype, &job);
    return SYN_OK;
}

/* On devices: partial results of groups, then their sum. */

static uint64_t
parts_of(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    return syn_turns(device, syn_elements(syn_shape_of(call, X)), syn_group_size(device, GROUP),
                     PARTS);
}

static unsigned
dot_steps(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    (void)call;
    (void)device;
    return 2;
}

static uint64_t
dot_scratch(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    return syn_dtype_bytes(syn_shape_of(call, X)->dtype, parts_of(call, device));
}

static bool
dot_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    struct syn_nest nest;

    (void)device;
    syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
    return nest.dims <= SYN_NEST_QUAD;
}

static int
dot_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
         struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    uint64_t parts = parts_of(call, device);
    struct syn_nest nest;

    (void)err;
    syn_launch_begin(ret_launch, step == 0 ? "products" : "total");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    if (step == 0) {
        syn_nest_make(&nest, syn_shape_of(call, X), syn_shape_of(call, Y));
        ret_launch->groups[0] = parts;
        syn_launch_operand(ret_launch, X);
        syn_launch_operand(ret_launch, Y);
        syn_launch_scratch(ret_launch, 0);
        syn_launch_u64(ret_launch, 0);
        syn_launch_nest(ret_launch, &nest, true);
        syn_launch_u64(ret_launch, nest.count);
    } else {
        syn_launch_scratch(ret_launch, 0);
        syn_launch_operand(ret_launch, OUT);
        syn_launch_u64(ret_launch, parts);
    }
    return SYN_OK;
}

static int
dot_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, X, SYN_REALS, err);

    rc = rc < 0 ? rc : syn_check_same(call, Y, X, err);
    rc = rc < 0 ? rc : syn_check_like(call, OUT, X, err);
    for (unsigned i = 0; rc == SYN_OK && i < syn_shape_of(call, OUT)->dims; i++)
        rc = syn_check_size(call, OUT, i, 1, err);
    return rc;
}

static void
dot_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(syn_elements(syn_shape_of(call, X)), 2),
        .read_bytes = syn_mul_sat(syn_operand_bytes(call, X), 2),
        .written_bytes = syn_operand_bytes(call, OUT),
        .dtype = syn_shape_of(call, X)->dtype,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"x", SYN_READ, 1, SYN_DIMS_MAX},
    {"y", SYN_READ, 1, SYN_DIMS_MAX},
    {"out", SYN_REDUCE, 0, SYN_DIMS_MAX},
};
static const struct syn_kernel_split splits[] = {{.dim = {0, 0, SYN_SPLIT_WHOLE}, .grain = BLOCK}};

#define COMPILED(dtype, options)                                                  \
    SYN_COMPILED(dtype, dot, options, .steps = dot_steps, .scratch = dot_scratch, \
                 .plan = dot_plan, .fits = dot_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(dot_run),
    SYN_REAL_ROWS(COMPILED, i),
};

const struct syn_kernel syn_kernel_dot = {
    .name = "dot",
    .summary = "out += the sum of x y",
    .operation = SYN_OPERATION_REDUCE,
    SYN_LISTED(operands),
    SYN_LISTED(splits),
    SYN_LISTED(impls),
    .check = dot_check,
    .work = dot_work,
    .reductions = {[OUT] = &syn_reduction_sum},
};
