/* Jacobi's iteration for Laplace's equation on a grid of two or three dimensions: every inner
 * element goes `weight` of the way to the mean of its 4 or 6 neighbours; the border stays. Several
 * steps go to and fro between the result and a grid of the kernel's own, so that the last one lands
 * in the result. */
#include "kernels_priv.h"

#include <string.h>

#include <synor/base/mem.h>

#define SYN_BODY "stencil_body_priv.h"
#include "widths_priv.h"

enum { FROM, TO };
enum { STEPS, WEIGHT };

#define STEPS_MAX 1000000
#define GRAIN     (UINT64_C(1) << 15) /* elements worth an offer to others */
#define GROUP     256

/* A grid of three dimensions, the first of size 1 where there are two. */
struct grid {
    char *data;
    uint64_t strides[3];
};

struct stencil {
    struct grid from, to;
    uint64_t sizes[3];
    bool deep; /* three dimensions */
    double keep, side;
};

static uint64_t
steps_of(const struct syn_kernel_call *call)
{
    return (uint64_t)call->params[STEPS];
}

static void
grid_of(const struct syn_kernel_call *call, unsigned operand, struct grid *ret)
{
    const struct syn_shape *shape = syn_shape_of(call, operand);

    ret->data = call->operands[operand].data;
    ret->strides[0] = 0;
    for (unsigned i = 0; i < shape->dims; i++)
        ret->strides[3 - shape->dims + i] = shape->strides[i];
}

static void
stencil_of(const struct syn_kernel_call *call, struct stencil *ret)
{
    const struct syn_shape *shape = syn_shape_of(call, FROM);
    double weight = call->params[WEIGHT];

    *ret = (struct stencil){.sizes = {1, 1, 1}, .deep = shape->dims == 3};
    for (unsigned i = 0; i < shape->dims; i++)
        ret->sizes[3 - shape->dims + i] = shape->sizes[i];
    ret->keep = 1 - weight;
    ret->side = weight / (ret->deep ? 6 : 4);
    grid_of(call, FROM, &ret->from);
    grid_of(call, TO, &ret->to);
}

/* The kernel's own grid is packed. */
static void
packed(const struct stencil *job, void *data, struct grid *ret)
{
    *ret = (struct grid){data, {job->sizes[1] * job->sizes[2], job->sizes[2], 1}};
}

/* Is row `row` of plane `plane` all border? */
static bool
is_border(const struct stencil *job, uint64_t plane, uint64_t row)
{
    return row == 0 || row + 1 == job->sizes[1] ||
           (job->deep && (plane == 0 || plane + 1 == job->sizes[0]));
}

#define STENCIL(T)                                                                                \
    static void inner_##T(const struct stencil *job, const T *from, T *to)                        \
    {                                                                                             \
        static void (*const rows[])(T * to, const T *from, const T *const around[4],              \
                                    unsigned count_around, const T factors[2], uint64_t count) =  \
            SYN_WIDTHS_OF(stencil_row, T);                                                        \
        const T factors[2] = {(T)job->keep, (T)job->side};                                        \
        uint64_t above = job->from.strides[1], before = job->from.strides[0];                     \
        uint64_t step = job->from.strides[2], to_step = job->to.strides[2];                       \
        unsigned count_around = job->deep ? 4 : 2;                                                \
        const T *around[4] = {from - above, from + above, from, from};                            \
                                                                                                  \
        if (job->deep) {                                                                          \
            around[2] = from - before;                                                            \
            around[3] = from + before;                                                            \
        }                                                                                         \
        if (step == 1 && to_step == 1) {                                                          \
            rows[syn_vector_width()](to, from, around, count_around, factors, job->sizes[2] - 2); \
            return;                                                                               \
        }                                                                                         \
        for (uint64_t i = 0; i < job->sizes[2] - 2; i++) {                                        \
            const T *at = from + i * step;                                                        \
            T sum = *(at - step) + *(at + step);                                                  \
                                                                                                  \
            for (unsigned k = 0; k < count_around; k++)                                           \
                sum += around[k][i * step];                                                       \
            to[i * to_step] = factors[0] * *at + factors[1] * sum;                                \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static void range_##T(void *arg, uint64_t begin, uint64_t end)                                \
    {                                                                                             \
        const struct stencil *job = arg;                                                          \
        uint64_t last = job->sizes[2] - 1;                                                        \
                                                                                                  \
        for (uint64_t i = begin; i < end; i++) {                                                  \
            uint64_t plane = i / job->sizes[1], row = i % job->sizes[1];                          \
            const uint64_t *in = job->from.strides, *out = job->to.strides;                       \
            const T *from = (const T *)(void *)job->from.data + plane * in[0] + row * in[1];      \
            T *to = (T *)(void *)job->to.data + plane * out[0] + row * out[1];                    \
            bool border = last < 2 || is_border(job, plane, row);                                 \
            uint64_t kept = border ? 1 : last;                                                    \
                                                                                                  \
            for (uint64_t k = 0; k <= last; k += kept)                                            \
                to[k * out[2]] = from[k * in[2]];                                                 \
            if (!border)                                                                          \
                inner_##T(job, from + in[2], to + out[2]);                                        \
        }                                                                                         \
    }

STENCIL(float)
STENCIL(double)

static int
stencil_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
            struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, FROM)->dtype;
    SYN_SCOPED(syn_free_scope) void *own = NULL;
    uint64_t steps = steps_of(call), rows;
    struct stencil job;
    struct grid grids[2]; /* where odd and even steps before the last go */

    stencil_of(call, &job);
    grids[0] = grids[1] = job.to;
    if (steps > 1) {
        own = syn_alloc(syn_operand_bytes(call, FROM));
        if (!own)
            return SYN_FAIL(err, SYN_E_NOMEM, "a grid for steps between");
        packed(&job, own, &grids[1]);
    }
    rows = job.sizes[0] * job.sizes[1];
    for (uint64_t step = 0; step < steps; step++) {
        job.to = grids[(steps - 1 - step) % 2];
        syn_range_run(worker, at, rows, SYN_MAX(GRAIN / job.sizes[2], UINT64_C(1)),
                      dtype == SYN_DTYPE_FP32 ? range_float : range_double, &job);
        job.from = job.to;
    }
    return SYN_OK;
}

/* On devices. */

static unsigned
stencil_steps(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    (void)device;
    return (unsigned)steps_of(call);
}

static uint64_t
stencil_scratch(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    (void)device;
    return steps_of(call) > 1 ? syn_operand_bytes(call, FROM) : 0;
}

static void
add_grid(struct syn_kernel_launch *launch, const struct stencil *job, int operand,
         uint64_t ret_strides[4])
{
    struct grid grid = operand == FROM ? job->from : job->to;

    if (operand < 0) {
        packed(job, NULL, &grid);
        syn_launch_scratch(launch, 0);
        syn_launch_u64(launch, 0);
    } else {
        syn_launch_operand(launch, (unsigned)operand);
    }
    ret_strides[0] = 0;
    memcpy(ret_strides + 1, grid.strides, sizeof(grid.strides));
}

static int
stencil_plan(const struct syn_kernel_call *call, const struct syn_device_info *device,
             unsigned step, struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, FROM)->dtype;
    uint64_t left = steps_of(call) - 1 - step, sizes[4], strides[2][4];
    struct stencil job;

    (void)err;
    stencil_of(call, &job);
    sizes[0] = job.deep;
    memcpy(sizes + 1, job.sizes, sizeof(job.sizes));
    syn_launch_begin(ret_launch, "stencil");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    ret_launch->groups[0] =
        syn_turns(device, sizes[1] * sizes[2] * sizes[3], ret_launch->group[0], SYN_GRID_MAX);
    add_grid(ret_launch, &job, step == 0 ? FROM : left % 2 == 0 ? -1 : TO, strides[0]);
    add_grid(ret_launch, &job, left % 2 == 0 ? TO : -1, strides[1]);
    syn_launch_quad(ret_launch, sizes);
    syn_launch_quad(ret_launch, strides[0]);
    syn_launch_quad(ret_launch, strides[1]);
    syn_launch_elem(ret_launch, dtype, job.keep);
    syn_launch_elem(ret_launch, dtype, job.side);
    return SYN_OK;
}

static int
stencil_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, FROM, SYN_FLOATS, err);

    rc = rc < 0 ? rc : syn_check_same(call, TO, FROM, err);
    rc = rc < 0 ? rc : syn_check_param(call, STEPS, 1, STEPS_MAX, err);
    return rc < 0 ? rc : syn_check_param(call, WEIGHT, 0, 2, err);
}

static void
stencil_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    const struct syn_shape *shape = syn_shape_of(call, FROM);
    uint64_t each = shape->dims == 3 ? 8 : 6, bytes = syn_operand_bytes(call, FROM);

    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(syn_mul_sat(syn_elements(shape), each), steps_of(call)),
        .read_bytes = syn_mul_sat(bytes, steps_of(call)),
        .written_bytes = syn_mul_sat(bytes, steps_of(call)),
        .dtype = shape->dtype,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"from", SYN_READ, 2, 3},
    {"to", SYN_WRITE, 2, 3},
};
static const struct syn_kernel_param params[] = {{"steps", 1, true}, {"weight", 1, false}};

#define COMPILED(dtype, options)                                                              \
    SYN_COMPILED(dtype, stencil, options, .steps = stencil_steps, .scratch = stencil_scratch, \
                 .plan = stencil_plan)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(stencil_run),
    SYN_FLOAT_ROWS(COMPILED),
};

const struct syn_kernel syn_kernel_stencil = {
    .name = "stencil",
    .summary = "Jacobi steps on a grid of two or three dimensions",
    .operation = SYN_OPERATION_STENCIL,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(impls),
    .check = stencil_check,
    .work = stencil_work,
};
