/* Ascending order, in place. Natively: digits of a byte, least significant first, and with workers
 * halves that are merged by all of them. On devices: a bitonic network. Not a number goes to the
 * end. */
#include "kernels_priv.h"

#include <string.h>

#include <synor/base/mem.h>

enum { X };

#define FEW   64                  /* not worth counting digits */
#define GRAIN (UINT64_C(1) << 16) /* elements worth an offer to others */
#define GROUP 256                 /* text/sort.cl: a block is two elements an item */

struct sort {
    void *data;
    uint64_t count;
    bool floating;
};

#define K       uint32_t
#define NAME(x) x##_32
#include "sort_body_priv.h"
#undef K
#undef NAME

#define K       uint64_t
#define NAME(x) x##_64
#include "sort_body_priv.h"
#undef K
#undef NAME

static int
sort_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    const struct syn_shape *shape = syn_shape_of(call, X);
    struct sort job = {call->operands[X].data, syn_elements(shape),
                       SYN_FLOATS & SYN_BIT(shape->dtype)};
    SYN_SCOPED(syn_free_scope) void *spare = NULL;

    spare = syn_alloc(syn_operand_bytes(call, X));
    if (!spare)
        return SYN_FAIL(err, SYN_E_NOMEM, "room for as much as is sorted");
    if (syn_dtype_info(shape->dtype)->bits == 32)
        sort_all_32(worker, at, &job, spare);
    else
        sort_all_64(worker, at, &job, spare);
    return SYN_OK;
}

/* On devices. With blocks of B elements sorted in one launch, what is left for every larger power
 * of two S are the stages with halves of S / 2 (mirrored), S / 4, ... B, and one launch for the
 * rest. */

static unsigned
log2_up(uint64_t n)
{
    return n > 1 ? 64 - (unsigned)__builtin_clzll(n - 1) : 0;
}

static unsigned
block_of(const struct syn_device_info *device)
{
    return 2 * syn_group_size(device, GROUP);
}

static unsigned
sort_steps(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    unsigned all = log2_up(syn_elements(syn_shape_of(call, X)));
    unsigned block = log2_up(block_of(device));
    unsigned larger = all > block ? all - block : 0;

    if (syn_is_alone(device))
        return 1;
    return 1 + larger * (larger + 1) / 2 + larger;
}

static int
sort_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
          struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    uint64_t count = syn_elements(syn_shape_of(call, X)), block = block_of(device);
    unsigned level = 0, within = step;

    (void)err;
    if (syn_is_alone(device)) {
        syn_launch_begin(ret_launch, "sort_alone");
        syn_launch_operand(ret_launch, X);
        syn_launch_u64(ret_launch, count);
        return SYN_OK;
    }
    while (within > level) { /* level L has L global stages and one of blocks */
        within -= level + 1;
        level++;
    }
    assert(within == level || (level > 0 && count > block));
    syn_launch_begin(ret_launch, within == level ? "sort_block" : "sort_stage");
    ret_launch->group[0] = (unsigned)block / 2;
    syn_launch_operand(ret_launch, X);
    syn_launch_u64(ret_launch, count);
    if (within == level) {
        ret_launch->groups[0] = syn_div_up(count, block);
        syn_launch_u32(ret_launch, step == 0);
    } else {
        uint64_t half = block << (level - 1) >> within;
        uint64_t pairs = (UINT64_C(1) << log2_up(count)) / 2;

        ret_launch->groups[0] = syn_groups(pairs, block / 2, SYN_GRID_MAX);
        syn_launch_u64(ret_launch, pairs);
        syn_launch_u64(ret_launch, half);
        syn_launch_u32(ret_launch, within == 0);
    }
    return SYN_OK;
}

/* A launch has at most 2^31 - 1 groups. */
static bool
sort_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    return syn_elements(syn_shape_of(call, X)) / block_of(device) < INT32_MAX;
}

static int
sort_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, X, SYN_REALS, err);

    return rc < 0 ? rc : syn_check_packed(call, X, 0, err);
}

static void
sort_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    const struct syn_shape *shape = syn_shape_of(call, X);
    uint64_t count = syn_elements(shape), bytes = syn_operand_bytes(call, X);
    uint64_t passes = syn_dtype_info(shape->dtype)->bits / 8;

    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(count, SYN_MAX(log2_up(count), 1U)),
        .read_bytes = syn_mul_sat(bytes, passes + 1),
        .written_bytes = syn_mul_sat(bytes, passes),
        .dtype = shape->dtype,
    };
}

static const struct syn_kernel_operand operands[] = {{"x", SYN_UPDATE, 1, 1}};

#define COMPILED(dtype, options) \
    SYN_COMPILED(dtype, sort, options, .steps = sort_steps, .plan = sort_plan, .fits = sort_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(sort_run),
    SYN_REAL_ROWS(COMPILED, i),
};

const struct syn_kernel syn_kernel_sort = {
    .name = "sort",
    .summary = "ascending order in place, what is no number last",
    .operation = SYN_OPERATION_SORT,
    SYN_LISTED(operands),
    SYN_LISTED(impls),
    .check = sort_check,
    .work = sort_work,
};
