#include "random_kernels.h"

#include <unistd.h>

static int64_t
wrap(uint64_t x)
{
    return (int64_t)x;
}

/* Of all elements. */
static uint64_t
sum_of(const struct view *v)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < v->rows; i++) {
        for (uint64_t j = 0; j < v->cols; j++)
            sum += (uint64_t)*syn_random_at(v, i, j);
    }
    return sum;
}

void
syn_random_compute(enum what what, uint64_t salt, const struct view *v)
{
    const struct view *out = what < ADD ? &v[2] : what == FILL ? &v[0] : &v[1];
    uint64_t sum = what == SUM || what == FOLD ? sum_of(&v[0]) : 0;
    int64_t other;

    for (uint64_t i = 0; i < out->rows; i++) {
        for (uint64_t j = 0; j < out->cols; j++) {
            int64_t *x = syn_random_at(out, i, j);
            uint64_t old = what == FOLD || what == FILL ? 0 : (uint64_t)*x;

            if (what < ADD)
                *x = wrap(old * 3 + (uint64_t)*syn_random_at(&v[0], i, j) +
                          2 * (uint64_t)*syn_random_at(&v[1], i, j) + salt);
            else if (what == ADD)
                *x = wrap(old + (uint64_t)*syn_random_at(&v[0], i, j) * (salt | 1));
            else if (what == LEAST) {
                other = wrap((uint64_t)*syn_random_at(&v[0], i, j) ^ salt << 40);
                *x = *x < other ? *x : other;
            } else if (what == SUM)
                *x = wrap(old + sum);
            else
                *x = wrap(sum * salt + salt + i * 31 + j);
        }
    }
}

static struct view
view_of(const struct syn_operand *operand)
{
    const struct syn_shape *shape = operand->shape;

    return (struct view){operand->data, shape->sizes[0], shape->sizes[1], shape->strides[0],
                         shape->strides[1]};
}

static int
run_any(enum what what, const struct syn_kernel_call *call, struct syn_err *err)
{
    unsigned count = call->kernel->operands_count;
    struct view views[3] = {0};

    for (unsigned i = 0; i < count; i++)
        views[i] = view_of(&call->operands[i]);
    if (call->params[SLEEPS] > 0)
        (void)usleep((useconds_t)call->params[SLEEPS]);
    if (call->params[FAILS] == 0) {
        syn_random_compute(what, (uint64_t)call->params[SALT], views);
        return SYN_OK;
    }
    *syn_random_at(&views[count - 1], 0, 0) = -1; /* rubbish, that nobody may ever see */
    return SYN_FAIL(err, SYN_E_CORRUPT, "told to fail");
}

#define RUN(name, what)                                                                  \
    static int run_##name(const struct syn_kernel_call *call, struct syn_worker *worker, \
                          struct syn_fork *fork, struct syn_err *err)                    \
    {                                                                                    \
        (void)worker;                                                                    \
        (void)fork;                                                                      \
        return run_any(what, call, err);                                                 \
    }                                                                                    \
    static const struct syn_kernel_impl impls_##name[] = {                               \
        {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_##name}};
RUN(mix, MIX)
RUN(mix_columns, MIX_COLUMNS)
RUN(add, ADD)
RUN(sum, SUM)
RUN(least, LEAST)
RUN(fold, FOLD)
RUN(fill, FILL)

static void
work_of(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){
        .flops = 400, .read_bytes = 2000, .written_bytes = 700, .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_operand three[] = {
    {"a", SYN_READ, 2, 2}, {"b", SYN_READ, 2, 2}, {"c", SYN_UPDATE, 2, 2}};
static const struct syn_kernel_operand commuting[] = {{"a", SYN_READ, 2, 2},
                                                      {"c", SYN_COMMUTE, 2, 2}};
static const struct syn_kernel_operand reducing[] = {{"a", SYN_READ, 2, 2},
                                                     {"c", SYN_REDUCE, 2, 2}};
static const struct syn_kernel_operand writing[] = {{"a", SYN_READ, 2, 2}, {"c", SYN_WRITE, 2, 2}};
static const struct syn_kernel_operand alone[] = {{"c", SYN_WRITE, 2, 2}};
static const struct syn_kernel_param params[PARAMS] = {
    {"salt", 0, true}, {"fails", 0, false}, {"sleeps", 0, false}};
static const struct syn_kernel_split by_rows[] = {{.dim = {0, 0, 0}, .grain = 1}};
static const struct syn_kernel_split by_columns[] = {{.dim = {1, 1, 1}, .grain = 1}};

static const struct syn_kernel_split of_sums[] = {{.dim = {0, SYN_SPLIT_WHOLE}, .grain = 1},
                                                  {.dim = {1, SYN_SPLIT_WHOLE}, .grain = 1}};

/* `...`: how it reduces on its second operand. */
#define KERNEL(name_, operands_, splits_, splits_count_, ...)                           \
    {                                                                                   \
        .reductions = {NULL, __VA_ARGS__}, .name = "random-" #name_,                    \
        .summary = "for the random test", .operands = operands_,                        \
        .operands_count = SYN_LEN(operands_), .params = params, .params_count = PARAMS, \
        .splits = splits_, .splits_count = splits_count_, .impls = impls_##name_,       \
        .impls_count = 1, .work = work_of                                               \
    }
const struct syn_kernel syn_random_kernels[WHATS] = {
    [MIX] = KERNEL(mix, three, by_rows, 1, NULL),
    [MIX_COLUMNS] = KERNEL(mix_columns, three, by_columns, 1, NULL),
    [ADD] = KERNEL(add, commuting, by_rows, 1, NULL),
    [SUM] = KERNEL(sum, reducing, of_sums, 2, &syn_reduction_sum),
    [LEAST] = KERNEL(least, reducing, by_rows, 1, &syn_reduction_least),
    [FOLD] = KERNEL(fold, writing, NULL, 0, NULL),
    [FILL] = KERNEL(fill, alone, NULL, 0, NULL),
};
