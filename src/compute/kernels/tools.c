#include "kernels_priv.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <synor/compute/cpu.h>

#define ALONE_ITEMS 1024 /* worth a call, which takes some tens of nanoseconds */

uint64_t
syn_mul_sat(uint64_t a, uint64_t b)
{
    uint64_t product;

    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

uint64_t
syn_elements(const struct syn_shape *shape)
{
    uint64_t count = 1;

    for (unsigned i = 0; i < shape->dims; i++)
        count = syn_mul_sat(count, shape->sizes[i]);
    return count;
}

uint64_t
syn_operand_bytes(const struct syn_kernel_call *call, unsigned operand)
{
    const struct syn_shape *shape = syn_shape_of(call, operand);

    return syn_dtype_bytes(shape->dtype, syn_elements(shape));
}

/* Checks. */

static const char *
name_of(const struct syn_kernel_call *call, unsigned operand)
{
    return call->kernel->operands[operand].name;
}

int
syn_check_dtype(const struct syn_kernel_call *call, unsigned operand, uint32_t dtypes,
                struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, operand)->dtype;
    char names[128] = "";
    size_t len = 0;

    if (dtypes & SYN_BIT(dtype))
        return SYN_OK;
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        if (dtypes & SYN_BIT(i))
            len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len > 0 ? ", " : "",
                                    syn_dtype_name((enum syn_dtype)i));
    }
    return SYN_FAIL(err, SYN_E_INVALID, "%s is %s, not one of %s", name_of(call, operand),
                    syn_dtype_name(dtype), names);
}

int
syn_check_like(const struct syn_kernel_call *call, unsigned operand, unsigned as,
               struct syn_err *err)
{
    enum syn_dtype mine = syn_shape_of(call, operand)->dtype, want = syn_shape_of(call, as)->dtype;

    if (mine == want)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_INVALID, "%s is %s where %s is %s", name_of(call, operand),
                    syn_dtype_name(mine), name_of(call, as), syn_dtype_name(want));
}

int
syn_check_same(const struct syn_kernel_call *call, unsigned operand, unsigned as,
               struct syn_err *err)
{
    const struct syn_shape *mine = syn_shape_of(call, operand), *want = syn_shape_of(call, as);
    int rc = syn_check_like(call, operand, as, err);

    if (rc < 0)
        return rc;
    if (mine->dims != want->dims)
        return SYN_FAIL(err, SYN_E_INVALID, "%s has %u dimensions where %s has %u",
                        name_of(call, operand), mine->dims, name_of(call, as), want->dims);
    for (unsigned i = 0; rc == SYN_OK && i < want->dims; i++)
        rc = syn_check_size(call, operand, i, want->sizes[i], err);
    return rc;
}

int
syn_check_size(const struct syn_kernel_call *call, unsigned operand, unsigned dim, uint64_t want,
               struct syn_err *err)
{
    uint64_t size = syn_shape_of(call, operand)->sizes[dim];

    if (size == want)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_INVALID, "%s has %llu elements along dimension %u, not %llu",
                    name_of(call, operand), (unsigned long long)size, dim,
                    (unsigned long long)want);
}

int
syn_check_packed(const struct syn_kernel_call *call, unsigned operand, unsigned from,
                 struct syn_err *err)
{
    const struct syn_shape *shape = syn_shape_of(call, operand);
    uint64_t stride = 1;

    for (unsigned i = shape->dims; i > from; i--) {
        if (shape->sizes[i - 1] > 1 && shape->strides[i - 1] != stride)
            return SYN_FAIL(err, SYN_E_INVALID, "%s must be packed in rows%s",
                            name_of(call, operand), from > 0 ? " along its last dimensions" : "");
        stride = syn_mul_sat(stride, shape->sizes[i - 1]);
    }
    return SYN_OK;
}

int
syn_check_param(const struct syn_kernel_call *call, unsigned param, double min, double max,
                struct syn_err *err)
{
    double value = call->params[param];

    if (value >= min && value <= max)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_INVALID, "parameter %s is %g, not between %g and %g",
                    call->kernel->params[param].name, value, min, max);
}

/* Nests. */

/* Put a dimension where the strides of the written tensor fall. */
static void
nest_insert(struct syn_nest *nest, uint64_t size, const uint64_t strides[2], unsigned by)
{
    unsigned at = nest->dims++;

    while (at > 0 && nest->strides[by][at - 1] < strides[by]) {
        nest->sizes[at] = nest->sizes[at - 1];
        nest->strides[0][at] = nest->strides[0][at - 1];
        nest->strides[1][at] = nest->strides[1][at - 1];
        at--;
    }
    nest->sizes[at] = size;
    nest->strides[0][at] = strides[0];
    nest->strides[1][at] = strides[1];
}

/* Can dimension `i` be one with the next, in both tensors? */
static bool
nest_joins(const struct syn_nest *nest, unsigned i)
{
    return nest->strides[0][i] == nest->strides[0][i + 1] * nest->sizes[i + 1] &&
           nest->strides[1][i] == nest->strides[1][i + 1] * nest->sizes[i + 1];
}

void
syn_nest_make(struct syn_nest *ret_nest, const struct syn_shape *first,
              const struct syn_shape *second)
{
    struct syn_nest nest = {.count = 1};
    unsigned kept = 0;

    for (unsigned i = 0; i < first->dims; i++) {
        const uint64_t strides[2] = {first->strides[i],
                                     second ? second->strides[i] : first->strides[i]};

        nest.count *= first->sizes[i];
        if (first->sizes[i] > 1)
            nest_insert(&nest, first->sizes[i], strides, second ? 1 : 0);
    }
    if (nest.dims == 0)
        nest_insert(&nest, 1, (const uint64_t[2]){1, 1}, 0);
    for (unsigned i = 1; i < nest.dims; i++) {
        if (nest_joins(&(struct syn_nest){.sizes = {0, nest.sizes[i]},
                                          .strides = {{nest.strides[0][kept], nest.strides[0][i]},
                                                      {nest.strides[1][kept], nest.strides[1][i]}}},
                       0)) {
            nest.sizes[kept] *= nest.sizes[i];
        } else {
            kept++;
            nest.sizes[kept] = nest.sizes[i];
        }
        nest.strides[0][kept] = nest.strides[0][i];
        nest.strides[1][kept] = nest.strides[1][i];
    }
    nest.dims = kept + 1;
    *ret_nest = nest;
}

void
syn_nest_walk(const struct syn_nest *nest, uint64_t begin, uint64_t end,
              void (*row)(void *arg, uint64_t first, uint64_t second, uint64_t count), void *arg)
{
    unsigned inner = nest->dims - 1;
    uint64_t at[SYN_DIMS_MAX] = {0}, rest = begin;

    for (unsigned i = nest->dims; i > 0; i--) {
        at[i - 1] = rest % nest->sizes[i - 1];
        rest /= nest->sizes[i - 1];
    }
    while (begin < end) {
        uint64_t first = 0, second = 0;
        uint64_t count = SYN_MIN(nest->sizes[inner] - at[inner], end - begin);

        for (unsigned i = 0; i < nest->dims; i++) {
            first += at[i] * nest->strides[0][i];
            second += at[i] * nest->strides[1][i];
        }
        row(arg, first, second, count);
        begin += count;
        at[inner] = 0;
        for (unsigned i = inner; i > 0 && ++at[i - 1] == nest->sizes[i - 1]; i--)
            at[i - 1] = 0;
    }
}

/* Forks. */

struct range {
    syn_range_fn *run;
    void *arg;
    uint64_t begin, end, grain;
};
static_assert(sizeof(struct range) <= SYN_FORK_FRAME_MAX, "a range is a frame");

static void range_run(struct syn_worker *worker, struct syn_fork *at, struct range range);

static void
range_stolen(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    range_run(worker, at, *(const struct range *)frame);
}

static void
range_run(struct syn_worker *worker, struct syn_fork *at, struct range range)
{
    struct range front = range;
    struct syn_fork *next = NULL;

    if (range.end - range.begin <= range.grain) {
        range.run(range.arg, range.begin, range.end);
        return;
    }
    front.end = range.begin + (range.end - range.begin) / 2;
    range.begin = front.end;
    *(struct range *)syn_fork_frame(at) = front;
    next = syn_fork(worker, at, range_stolen);
    range_run(worker, next, range);
    if (syn_join(worker, at))
        range_run(worker, at, front);
}

void
syn_range_run(struct syn_worker *worker, struct syn_fork *at, uint64_t count, uint64_t grain,
              syn_range_fn *run, void *arg)
{
    assert(grain > 0);
    if (worker)
        range_run(worker, at, (struct range){run, arg, 0, count, grain});
    else
        run(arg, 0, count);
}

/* Launches. */

void
syn_launch_begin(struct syn_kernel_launch *launch, const char *entry)
{
    *launch = (struct syn_kernel_launch){.entry = entry, .groups = {1, 1, 1}, .group = {1, 1, 1}};
}

static struct syn_kernel_arg *
next_arg(struct syn_kernel_launch *launch, enum syn_kernel_arg_kind kind)
{
    struct syn_kernel_arg *arg = &launch->args[launch->args_count++];

    assert(launch->args_count <= SYN_KERNEL_ARGS_MAX);
    arg->kind = kind;
    return arg;
}

void
syn_launch_operand(struct syn_kernel_launch *launch, unsigned operand)
{
    next_arg(launch, SYN_KERNEL_OPERAND)->operand = operand;
    next_arg(launch, SYN_KERNEL_OFFSET)->operand = operand;
}

void
syn_launch_scratch(struct syn_kernel_launch *launch, uint64_t at_bytes)
{
    next_arg(launch, SYN_KERNEL_SCRATCH)->bytes = at_bytes;
}

void
syn_launch_local(struct syn_kernel_launch *launch, uint64_t bytes)
{
    next_arg(launch, SYN_KERNEL_LOCAL)->bytes = bytes;
}

void
syn_launch_value(struct syn_kernel_launch *launch, const void *value, size_t bytes)
{
    struct syn_kernel_arg *arg = next_arg(launch, SYN_KERNEL_VALUE);

    assert(bytes <= sizeof(arg->value));
    arg->bytes = bytes;
    memcpy(arg->value, value, bytes);
}

void
syn_launch_u64(struct syn_kernel_launch *launch, uint64_t value)
{
    syn_launch_value(launch, &value, sizeof(value));
}

void
syn_launch_u32(struct syn_kernel_launch *launch, uint32_t value)
{
    syn_launch_value(launch, &value, sizeof(value));
}

void
syn_launch_quad(struct syn_kernel_launch *launch, const uint64_t values[4])
{
    syn_launch_value(launch, values, 4 * sizeof(values[0]));
}

void
syn_launch_elem(struct syn_kernel_launch *launch, enum syn_dtype dtype, double value)
{
    const float narrow = (float)value;

    if (dtype == SYN_DTYPE_FP32 || dtype == SYN_DTYPE_C64)
        syn_launch_value(launch, &narrow, sizeof(narrow));
    else if (dtype == SYN_DTYPE_FP64 || dtype == SYN_DTYPE_C128)
        syn_launch_value(launch, &value, sizeof(value));
    else if (dtype == SYN_DTYPE_INT32)
        syn_launch_u32(launch, (uint32_t)(int64_t)value);
    else
        syn_launch_u64(launch, (uint64_t)(int64_t)value);
}

void
syn_launch_nest(struct syn_kernel_launch *launch, const struct syn_nest *nest, bool two)
{
    uint64_t sizes[SYN_NEST_QUAD] = {1, 1, 1, 1}, strides[2][SYN_NEST_QUAD] = {{0}};
    unsigned skip = SYN_NEST_QUAD - nest->dims;

    assert(nest->dims <= SYN_NEST_QUAD);
    for (unsigned i = 0; i < nest->dims; i++) {
        sizes[skip + i] = nest->sizes[i];
        strides[0][skip + i] = nest->strides[0][i];
        strides[1][skip + i] = nest->strides[1][i];
    }
    syn_launch_quad(launch, sizes);
    syn_launch_quad(launch, strides[0]);
    if (two)
        syn_launch_quad(launch, strides[1]);
}

uint64_t
syn_groups(uint64_t items, uint64_t group, uint64_t max)
{
    uint64_t groups = syn_div_up(items, group);

    return SYN_MIN(groups, max);
}

bool
syn_is_alone(const struct syn_device_info *device)
{
    return device->kind == SYN_KIND_WASM;
}

uint64_t
syn_turns(const struct syn_device_info *device, uint64_t items, uint64_t group, uint64_t max)
{
    if (syn_is_alone(device))
        return syn_groups(items, ALONE_ITEMS, SYN_MIN(max, UINT64_C(256)));
    return syn_groups(items, group, max);
}

unsigned
syn_group_size(const struct syn_device_info *device, unsigned want)
{
    unsigned size = 1, max = device->group_max > 0 ? device->group_max : 64;

    while (size * 2 <= want && size * 2 <= max)
        size *= 2;
    return size;
}

static _Atomic unsigned width_limit = SYN_WIDTHS - 1;

void
syn_vector_width_limit(unsigned width)
{
    atomic_store(&width_limit, width);
}

unsigned
syn_vector_width(void)
{
#if defined(__x86_64__)
    unsigned bytes = syn_cpu_vector_bytes();
    unsigned width = bytes >= 64 ? SYN_WIDTH_64 : bytes >= 32 ? SYN_WIDTH_32 : SYN_WIDTH_16;

    return SYN_MIN(width, atomic_load_explicit(&width_limit, memory_order_relaxed));
#else
    return SYN_WIDTH_16;
#endif
}
