/* Sum, least or most of all elements. The tree of partial results depends on the number of elements
 * alone: the result is the same whoever helps, and however often. */
#include "kernels_priv.h"

#include <string.h>

#define SYN_BODY_INTEGERS
#define SYN_BODY "reduce_body_priv.h"
#include "widths_priv.h"

enum { X, OUT };
enum { WHAT };
enum what { SUM, LEAST, MOST, WHATS };

#define BLOCK 4096 /* elements of a leaf of the tree */
#define GROUP 256
#define PARTS 256 /* partial results on devices */

/* A partial result; floats are summed up in double above the leaves. */
union value {
    double real;
    uint64_t whole;
};

struct reduce {
    const struct syn_nest *nest;
    const void *x;
    enum what what;
    union value (*row)(const struct reduce *job, uint64_t first, uint64_t count);
    bool real;
};

struct leaf {
    const struct reduce *job;
    union value value;
    bool begun;
};

static bool
is_after(const struct reduce *job, union value a, union value b)
{
    if (job->real)
        return job->what == LEAST ? b.real < a.real || isnan(b.real)
                                  : b.real > a.real || isnan(b.real);
    return job->what == LEAST ? (int64_t)b.whole < (int64_t)a.whole
                              : (int64_t)b.whole > (int64_t)a.whole;
}

static union value
both(const struct reduce *job, union value a, union value b)
{
    if (job->what != SUM)
        return is_after(job, a, b) ? b : a;
    if (job->real)
        a.real += b.real;
    else
        a.whole += b.whole;
    return a;
}

/* One number format: a row of whatever stride. `field` and `wide` say how a partial result is kept:
 * integers are extended with their sign, so that they compare as they are. */
#define REDUCE(T, SIGNED_, field, wide)                                                    \
    static union value row_##T(const struct reduce *job, uint64_t first, uint64_t count) { \
        static T (*const rows[WHATS][SYN_WIDTHS])(const T *x, uint64_t count) = {          \
            [SUM] = SYN_WIDTHS_OF(sum_row, T),                                             \
            [LEAST] = SYN_WIDTHS_OF(least_row, T),                                         \
            [MOST] = SYN_WIDTHS_OF(most_row, T),                                           \
        };                                                                                 \
        uint64_t step = job->nest->strides[0][job->nest->dims - 1];                        \
        const T *x = (const T *)job->x + first;                                            \
        union value value = {0}, next;                                                     \
                                                                                           \
        if (step == 1) {                                                                   \
            value.field = (wide)(SIGNED_)rows[job->what][syn_vector_width()](x, count);    \
            return value;                                                                  \
        }                                                                                  \
        value.field = (wide)(SIGNED_)x[0];                                                 \
        for (uint64_t i = 1; i < count; i++) {                                             \
            next.field = (wide)(SIGNED_)x[i * step];                                       \
            value = both(job, value, next);                                                \
        }                                                                                  \
        return value;                                                                      \
    }

REDUCE(float, float, real, double)
REDUCE(double, double, real, double)
REDUCE(uint32_t, int32_t, whole, uint64_t)
REDUCE(uint64_t, int64_t, whole, uint64_t)

static void
leaf_row(void *arg, uint64_t first, uint64_t second, uint64_t count)
{
    struct leaf *leaf = arg;
    union value value = leaf->job->row(leaf->job, first, count);

    (void)second;
    leaf->value = leaf->begun ? both(leaf->job, leaf->value, value) : value;
    leaf->begun = true;
}

struct branch {
    const struct reduce *job;
    uint64_t begin, end;
    union value value;
};
static_assert(sizeof(struct branch) <= SYN_FORK_FRAME_MAX, "a branch is a frame");

static union value tree(struct syn_worker *worker, struct syn_fork *at, struct branch branch);

static void
tree_stolen(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct branch *branch = frame;

    branch->value = tree(worker, at, *branch);
}

static union value
tree(struct syn_worker *worker, struct syn_fork *at, struct branch branch)
{
    uint64_t blocks = syn_div_up(branch.end - branch.begin, BLOCK);
    struct branch front = branch;
    union value back;

    if (blocks <= 1) {
        struct leaf leaf = {.job = branch.job};

        syn_nest_walk(branch.job->nest, branch.begin, branch.end, leaf_row, &leaf);
        return leaf.value;
    }
    front.end = branch.begin + blocks / 2 * BLOCK;
    branch.begin = front.end;
    if (worker && blocks >= 16) {
        struct branch *offer = syn_fork_frame(at);
        struct syn_fork *next = NULL;

        *offer = front;
        next = syn_fork(worker, at, tree_stolen);
        back = tree(worker, next, branch);
        front.value = syn_join(worker, at) ? tree(worker, at, front) : offer->value;
    } else {
        back = tree(worker, at, branch);
        front.value = tree(worker, at, front);
    }
    return both(branch.job, front.value, back);
}

static int
reduce_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
           struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, X)->dtype;
    struct syn_nest nest;
    struct reduce job = {.nest = &nest,
                         .x = call->operands[X].data,
                         .what = (enum what)call->params[WHAT],
                         .real = SYN_FLOATS & SYN_BIT(dtype)};
    void *out = call->operands[OUT].data;
    union value value;

    (void)err;
    syn_nest_make(&nest, syn_shape_of(call, X), NULL);
    job.row = dtype == SYN_DTYPE_FP32    ? row_float
              : dtype == SYN_DTYPE_FP64  ? row_double
              : dtype == SYN_DTYPE_INT32 ? row_uint32_t
                                         : row_uint64_t;
    value = tree(worker, at, (struct branch){.job = &job, .end = nest.count});
    if (dtype == SYN_DTYPE_FP32)
        *(float *)out = (float)value.real;
    else if (dtype == SYN_DTYPE_INT32)
        *(uint32_t *)out = (uint32_t)value.whole;
    else
        memcpy(out, &value, sizeof(value));
    return SYN_OK;
}

/* On devices: partial results of groups, then one of those. */

static uint64_t
parts_of(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    return syn_turns(device, syn_elements(syn_shape_of(call, X)), syn_group_size(device, GROUP),
                     PARTS);
}

static unsigned
reduce_steps(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    return parts_of(call, device) > 1 ? 2 : 1;
}

static uint64_t
reduce_scratch(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    uint64_t parts = parts_of(call, device);

    return parts > 1 ? syn_dtype_bytes(syn_shape_of(call, X)->dtype, parts) : 0;
}

static bool
reduce_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    struct syn_nest nest;

    (void)device;
    syn_nest_make(&nest, syn_shape_of(call, X), NULL);
    return nest.dims <= SYN_NEST_QUAD;
}

static int
reduce_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
            struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    uint64_t parts = parts_of(call, device);
    struct syn_nest nest;

    (void)err;
    syn_launch_begin(ret_launch, "reduce");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    if (step == 0) {
        syn_nest_make(&nest, syn_shape_of(call, X), NULL);
        syn_launch_operand(ret_launch, X);
    } else {
        nest =
            (struct syn_nest){.dims = 1, .sizes = {parts}, .strides = {{1}, {1}}, .count = parts};
        syn_launch_scratch(ret_launch, 0);
        syn_launch_u64(ret_launch, 0);
    }
    if (step == 0 && parts > 1) {
        ret_launch->groups[0] = parts;
        syn_launch_scratch(ret_launch, 0);
        syn_launch_u64(ret_launch, 0);
    } else {
        syn_launch_operand(ret_launch, OUT);
    }
    syn_launch_nest(ret_launch, &nest, false);
    syn_launch_u64(ret_launch, nest.count);
    syn_launch_u32(ret_launch, (uint32_t)call->params[WHAT]);
    return SYN_OK;
}

static int
reduce_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, X, SYN_REALS, err);

    rc = rc < 0 ? rc : syn_check_like(call, OUT, X, err);
    for (unsigned i = 0; rc == SYN_OK && i < syn_shape_of(call, OUT)->dims; i++)
        rc = syn_check_size(call, OUT, i, 1, err);
    return rc < 0 ? rc : syn_check_param(call, WHAT, SUM, MOST, err);
}

static void
reduce_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    *ret_work = (struct syn_work){
        .flops = syn_elements(syn_shape_of(call, X)),
        .read_bytes = syn_operand_bytes(call, X),
        .written_bytes = syn_operand_bytes(call, OUT),
        .dtype = syn_shape_of(call, X)->dtype,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"x", SYN_READ, 0, SYN_DIMS_MAX},
    {"out", SYN_WRITE, 0, SYN_DIMS_MAX},
};
static const struct syn_kernel_param params[] = {{"what", SUM, true}};

#define COMPILED(dtype, options)                                                           \
    SYN_COMPILED(dtype, reduce, options, .steps = reduce_steps, .scratch = reduce_scratch, \
                 .plan = reduce_plan, .fits = reduce_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(reduce_run),
    SYN_REAL_ROWS(COMPILED, i),
};

const struct syn_kernel syn_kernel_reduce = {
    .name = "reduce",
    .summary = "sum (what = 0), least (1) or most (2) of all elements",
    .operation = SYN_OPERATION_REDUCE,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(impls),
    .check = reduce_check,
    .work = reduce_work,
};
