/* The neutral element of an operation everywhere: what a copy begins with that calls reduce on. */
#include "kernels_priv.h"

#include <string.h>

enum { Y };
enum { WHAT };

#define GRAIN (UINT64_C(1) << 15) /* elements worth an offer to others */
#define GROUP 256

union element {
    float fp32;
    double fp64;
    int32_t int32;
    int64_t int64;
};

static union element
element_of(const struct syn_kernel_call *call)
{
    static const union element of[SYN_WHAT_PRODUCT + 1][SYN_DTYPES] = {
        [SYN_WHAT_LEAST] = {[SYN_DTYPE_FP32].fp32 = INFINITY,
                            [SYN_DTYPE_FP64].fp64 = INFINITY,
                            [SYN_DTYPE_INT32].int32 = INT32_MAX,
                            [SYN_DTYPE_INT64].int64 = INT64_MAX},
        [SYN_WHAT_MOST] = {[SYN_DTYPE_FP32].fp32 = -INFINITY,
                           [SYN_DTYPE_FP64].fp64 = -INFINITY,
                           [SYN_DTYPE_INT32].int32 = INT32_MIN,
                           [SYN_DTYPE_INT64].int64 = INT64_MIN},
        [SYN_WHAT_PRODUCT] = {[SYN_DTYPE_FP32].fp32 = 1,
                              [SYN_DTYPE_FP64].fp64 = 1,
                              [SYN_DTYPE_INT32].int32 = 1,
                              [SYN_DTYPE_INT64].int64 = 1},
    };

    return of[(unsigned)call->params[WHAT]][syn_shape_of(call, Y)->dtype];
}

struct neutral {
    const struct syn_nest *nest;
    void *y;
    union element value;
    bool wide; /* 8 bytes, else 4 */
};

static void
fill_row(void *arg, uint64_t first, uint64_t second, uint64_t count)
{
    const struct neutral *job = arg;
    uint64_t step = job->nest->strides[0][job->nest->dims - 1];
    uint64_t wide;
    uint32_t narrow;

    (void)second;
    memcpy(&wide, &job->value, sizeof(wide));
    memcpy(&narrow, &job->value, sizeof(narrow));
    for (uint64_t i = 0; i < count; i++) {
        if (job->wide)
            ((uint64_t *)job->y)[first + i * step] = wide;
        else
            ((uint32_t *)job->y)[first + i * step] = narrow;
    }
}

static void
fill_range(void *arg, uint64_t begin, uint64_t end)
{
    syn_nest_walk(((struct neutral *)arg)->nest, begin, end, fill_row, arg);
}

static uint64_t
element_bytes(const struct syn_kernel_call *call)
{
    return syn_dtype_bytes(syn_shape_of(call, Y)->dtype, 1);
}

static int
neutral_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
            struct syn_err *err)
{
    struct syn_nest nest;
    struct neutral job = {&nest, call->operands[Y].data, element_of(call),
                          element_bytes(call) == sizeof(uint64_t)};

    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, Y), NULL);
    syn_range_run(worker, at, nest.count, GRAIN, fill_range, &job);
    return SYN_OK;
}

static bool
neutral_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    struct syn_nest nest;

    (void)device;
    syn_nest_make(&nest, syn_shape_of(call, Y), NULL);
    return nest.dims <= SYN_NEST_QUAD;
}

static int
neutral_plan(const struct syn_kernel_call *call, const struct syn_device_info *device,
             unsigned step, struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    const union element value = element_of(call);
    struct syn_nest nest;

    (void)step;
    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, Y), NULL);
    syn_launch_begin(ret_launch, "neutral");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    ret_launch->groups[0] = syn_turns(device, nest.count, ret_launch->group[0], SYN_GRID_MAX);
    syn_launch_value(ret_launch, &value, element_bytes(call));
    syn_launch_operand(ret_launch, Y);
    syn_launch_nest(ret_launch, &nest, false);
    syn_launch_u64(ret_launch, nest.count);
    return SYN_OK;
}

static int
neutral_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, Y, SYN_REALS, err);

    return rc < 0 ? rc : syn_check_param(call, WHAT, SYN_WHAT_SUM, SYN_WHAT_PRODUCT, err);
}

/* Nothing is computed, so every device that has the number format's bytes can. */
static void
neutral_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    *ret_work = (struct syn_work){.written_bytes = syn_operand_bytes(call, Y),
                                  .dtype = syn_shape_of(call, Y)->dtype};
}

static const struct syn_kernel_operand operands[] = {{"y", SYN_WRITE, 0, SYN_DIMS_MAX}};
static const struct syn_kernel_param params[] = {{"what", SYN_WHAT_SUM, true}};

#define COMPILED(dtype, options) \
    SYN_COMPILED(dtype, neutral, options, .plan = neutral_plan, .fits = neutral_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(neutral_run),
    SYN_REAL_ROWS(COMPILED, i),
};

const struct syn_kernel syn_kernel_neutral = {
    .name = "neutral",
    .summary = "what changes nothing in a sum (what = 0), least (1), most (2), product (3)",
    .operation = SYN_OPERATION_ELEMENTWISE,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(impls),
    .check = neutral_check,
    .work = neutral_work,
};
