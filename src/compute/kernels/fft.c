/* Fourier transforms of complex rows whose length is a power of two, by Stockham's algorithm: it
 * sorts as it goes, so there is no permutation at the end, and its inner loops run over neighbours.
 * Each stage takes rows of four shorter transforms (the last one maybe of two) from one buffer to
 * the other, and the last stage ends in the result.
 *
 * Many rows are done side by side, few long ones by dividing each stage. */
#include "kernels_priv.h"

#include <stdatomic.h>
#include <string.h>

#include <synor/base/mem.h>

#define SYN_BODY "fft_body_priv.h"
#include "widths_priv.h"

enum { X, Y };
enum { INVERSE };

#define GRAIN    (UINT64_C(1) << 13) /* complex numbers worth an offer to others */
#define ROWS_FEW 4                   /* fewer long rows than these are divided themselves */
#define GROUP    256
#define TURN     6.28318530717958647692

/* What all rows share. */
struct fft {
    const char *x;
    char *y;
    uint64_t x_row, y_row; /* bytes */
    uint64_t rows, count;
    size_t pair; /* bytes of a complex number */
    unsigned stages;
    double sign, scale;
    void *factors;         /* exp(sign i TURN k / count), k < 3/4 count */
    double *coarse, *fine; /* whose products they are */
    unsigned fine_bits;
    _Atomic int code;
};

/* One stage of one row. */
struct stage {
    const struct fft *fft;
    const void *from;
    void *to;
    uint64_t length, stride; /* what is left to transform; how many of those lie interleaved */
    double scale;
};

static unsigned
log2_of(uint64_t n)
{
    return 63 - (unsigned)__builtin_clzll(n);
}

static unsigned
stages_of(uint64_t count)
{
    return (log2_of(count) + 1) / 2;
}

#define FFT(T)                                                                                  \
    static void factors_##T(void *arg, uint64_t begin, uint64_t end)                            \
    {                                                                                           \
        const struct fft *fft = arg;                                                            \
        uint64_t mask = (UINT64_C(1) << fft->fine_bits) - 1;                                    \
        T *w = fft->factors;                                                                    \
                                                                                                \
        for (uint64_t k = begin; k < end; k++) {                                                \
            const double *a = fft->coarse + 2 * (k >> fft->fine_bits);                          \
            const double *b = fft->fine + 2 * (k & mask);                                       \
                                                                                                \
            w[2 * k] = (T)(a[0] * b[0] - a[1] * b[1]);                                          \
            w[2 * k + 1] = (T)(a[0] * b[1] + a[1] * b[0]);                                      \
        }                                                                                       \
    }                                                                                           \
                                                                                                \
    /* Butterflies begin .. end - 1 of the stage. */                                            \
    static void stage_##T(void *arg, uint64_t begin, uint64_t end)                              \
    {                                                                                           \
        static void (*const run4[])(const T *x, T *y, uint64_t step, uint64_t out, T sign,      \
                                    const T w[8], uint64_t count) = SYN_WIDTHS_OF(fft_run4, T); \
        static void (*const run2[])(const T *x, T *y, uint64_t step, uint64_t out, T scale,     \
                                    uint64_t count) = SYN_WIDTHS_OF(fft_run2, T);               \
        const struct stage *stage = arg;                                                        \
        uint64_t radix = stage->length == 2 ? 2 : 4, stride = stage->stride;                    \
        uint64_t step = 2 * stride * (stage->length / radix);                                   \
        const T *factors = stage->fft->factors, *x = stage->from;                               \
        T *y = stage->to, scale = (T)stage->scale;                                              \
                                                                                                \
        while (begin < end) {                                                                   \
            uint64_t p = begin / stride, q = begin % stride;                                    \
            uint64_t count = SYN_MIN(stride - q, end - begin);                                  \
            const T *in = x + 2 * (q + stride * p);                                             \
            T *out = y + 2 * (q + stride * radix * p), w[8] = {scale};                          \
                                                                                                \
            if (radix == 2) {                                                                   \
                run2[syn_vector_width()](in, out, step, 2 * stride, scale, count);              \
            } else {                                                                            \
                for (uint64_t k = 1; k < 4; k++) {                                              \
                    w[2 * k] = scale * factors[2 * k * p * stride];                             \
                    w[2 * k + 1] = scale * factors[2 * k * p * stride + 1];                     \
                }                                                                               \
                run4[syn_vector_width()](in, out, step, 2 * stride, (T)stage->fft->sign, w,     \
                                         count);                                                \
            }                                                                                   \
            begin += count;                                                                     \
        }                                                                                       \
    }

FFT(float)
FFT(double)

/* `spare` has room for a row; not used by a single stage. */
static void
run_row(const struct fft *fft, uint64_t row, void *spare, struct syn_worker *worker,
        struct syn_fork *at)
{
    bool narrow = fft->pair == 2 * sizeof(float);
    struct stage stage = {.fft = fft,
                          .from = fft->x + row * fft->x_row,
                          .length = fft->count,
                          .stride = 1,
                          .scale = 1};
    void *y = fft->y + row * fft->y_row;

    if (fft->stages == 0)
        memcpy(y, stage.from, fft->pair);
    for (unsigned i = 0; i < fft->stages; i++) {
        uint64_t radix = stage.length == 2 ? 2 : 4;

        stage.to = (fft->stages - 1 - i) % 2 == 0 ? y : spare;
        stage.scale = i + 1 == fft->stages ? fft->scale : 1;
        syn_range_run(worker, at, fft->count / radix, GRAIN, narrow ? stage_float : stage_double,
                      &stage);
        stage.from = stage.to;
        stage.length /= radix;
        stage.stride *= radix;
    }
}

static void
run_rows(void *arg, uint64_t begin, uint64_t end)
{
    struct fft *fft = arg;
    SYN_SCOPED(syn_free_scope) void *spare = NULL;

    if (fft->stages > 1)
        spare = syn_alloc(fft->count * fft->pair);
    if (fft->stages > 1 && !spare) {
        atomic_store(&fft->code, SYN_E_NOMEM);
        return;
    }
    for (uint64_t row = begin; row < end; row++)
        run_row(fft, row, spare, NULL, NULL);
}

/* exp(sign i TURN k step / count) for k < n. */
static void
roots(double *to, uint64_t n, double sign, double step, uint64_t count)
{
    for (uint64_t k = 0; k < n; k++) {
        double angle = sign * TURN * ((double)k * step / (double)count);

        to[2 * k] = cos(angle);
        to[2 * k + 1] = sin(angle);
    }
}

/* The factors, in a block that the caller frees: as products of two short tables, since sines take
 * longer than all the rest. */
static void *
make_factors(struct fft *fft, struct syn_worker *worker, struct syn_fork *at)
{
    uint64_t need = SYN_MAX(fft->count / 4 * 3, UINT64_C(1)), coarse;
    double *block = NULL;

    fft->fine_bits = log2_of(fft->count) / 2;
    coarse = (need >> fft->fine_bits) + 1;
    block = syn_alloc(2 * sizeof(double) * (coarse + (UINT64_C(1) << fft->fine_bits)) +
                      need * fft->pair);
    if (!block)
        return NULL;
    fft->coarse = block;
    fft->fine = fft->coarse + 2 * coarse;
    fft->factors = fft->fine + (UINT64_C(2) << fft->fine_bits);
    roots(fft->coarse, coarse, fft->sign, (double)(UINT64_C(1) << fft->fine_bits), fft->count);
    roots(fft->fine, UINT64_C(1) << fft->fine_bits, fft->sign, 1, fft->count);
    syn_range_run(worker, at, need, GRAIN,
                  fft->pair == 2 * sizeof(float) ? factors_float : factors_double, fft);
    return block;
}

static void
fft_of(const struct syn_kernel_call *call, struct fft *ret)
{
    const struct syn_shape *x = syn_shape_of(call, X), *y = syn_shape_of(call, Y);
    bool inverse = call->params[INVERSE] != 0;

    *ret = (struct fft){
        .x = call->operands[X].data,
        .y = call->operands[Y].data,
        .rows = x->sizes[0],
        .count = x->sizes[1],
        .pair = x->dtype == SYN_DTYPE_C64 ? 2 * sizeof(float) : 2 * sizeof(double),
        .stages = stages_of(x->sizes[1]),
        .sign = inverse ? 1 : -1,
        .scale = inverse ? 1 / (double)x->sizes[1] : 1,
    };
    ret->x_row = x->strides[0] * ret->pair;
    ret->y_row = y->strides[0] * ret->pair;
}

static int
fft_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
        struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) void *factors = NULL;
    SYN_SCOPED(syn_free_scope) void *spare = NULL;
    struct fft fft;

    fft_of(call, &fft);
    factors = make_factors(&fft, worker, at);
    if (!factors)
        return SYN_FAIL(err, SYN_E_NOMEM, "factors of a transform");
    if (!worker || fft.rows >= ROWS_FEW || fft.count <= GRAIN) {
        syn_range_run(worker, at, fft.rows, SYN_MAX(GRAIN / fft.count, UINT64_C(1)), run_rows,
                      &fft);
        if (atomic_load(&fft.code) < 0)
            return SYN_FAIL(err, SYN_E_NOMEM, "room for a row of a transform");
        return SYN_OK;
    }
    spare = syn_alloc(fft.count * fft.pair);
    if (!spare)
        return SYN_FAIL(err, SYN_E_NOMEM, "room for a row of a transform");
    for (uint64_t row = 0; row < fft.rows; row++)
        run_row(&fft, row, spare, worker, at);
    return SYN_OK;
}

/* On devices: a launch a stage, of all rows. */

static unsigned
fft_steps(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    (void)device;
    return SYN_MAX(stages_of(syn_shape_of(call, X)->sizes[1]), 1U);
}

static uint64_t
fft_scratch(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    return fft_steps(call, device) > 1 ? syn_operand_bytes(call, X) : 0;
}

/* A buffer of the stage: an operand, or the scratch memory, packed. Its rows' distance comes back.
 */
static uint64_t
add_rows(struct syn_kernel_launch *launch, const struct syn_kernel_call *call, int operand)
{
    if (operand >= 0) {
        syn_launch_operand(launch, (unsigned)operand);
        return syn_shape_of(call, (unsigned)operand)->strides[0];
    }
    syn_launch_scratch(launch, 0);
    syn_launch_u64(launch, 0);
    return syn_shape_of(call, X)->sizes[1];
}

static int
fft_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
         struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    const struct syn_shape *shape = syn_shape_of(call, X);
    unsigned left = fft_steps(call, device) - 1 - step;
    uint64_t count = shape->sizes[1], length = count >> 2 * step, from_row, to_row;
    struct fft fft;

    (void)err;
    fft_of(call, &fft);
    syn_launch_begin(ret_launch, count == 1 ? "fft_copy" : "fft_stage");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    from_row = add_rows(ret_launch, call, step == 0 ? X : left % 2 == 0 ? -1 : Y);
    to_row = add_rows(ret_launch, call, left % 2 == 0 ? Y : -1);
    syn_launch_u64(ret_launch, from_row);
    syn_launch_u64(ret_launch, to_row);
    syn_launch_u64(ret_launch, fft.rows);
    if (count == 1) {
        ret_launch->groups[0] = syn_turns(device, fft.rows, ret_launch->group[0], SYN_GRID_MAX);
        return SYN_OK;
    }
    ret_launch->groups[0] =
        syn_turns(device, count / (length == 2 ? 2 : 4), ret_launch->group[0], SYN_GRID_MAX);
    ret_launch->groups[1] = SYN_MIN(fft.rows, SYN_GRID_MAX);
    syn_launch_u64(ret_launch, count);
    syn_launch_u64(ret_launch, length);
    syn_launch_elem(ret_launch, shape->dtype, fft.sign);
    syn_launch_elem(ret_launch, shape->dtype, left == 0 ? fft.scale : 1);
    return SYN_OK;
}

static int
fft_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    uint64_t count = syn_shape_of(call, X)->sizes[1];
    int rc = syn_check_dtype(call, X, SYN_BIT(SYN_DTYPE_C64) | SYN_BIT(SYN_DTYPE_C128), err);

    rc = rc < 0 ? rc : syn_check_same(call, Y, X, err);
    rc = rc < 0 ? rc : syn_check_packed(call, X, 1, err);
    rc = rc < 0 ? rc : syn_check_packed(call, Y, 1, err);
    if (rc == SYN_OK && (count & (count - 1)) != 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "x has rows of %llu, not a power of two",
                      (unsigned long long)count);
    return rc < 0 ? rc : syn_check_param(call, INVERSE, 0, 1, err);
}

static void
fft_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    const struct syn_shape *shape = syn_shape_of(call, X);
    uint64_t bytes = syn_operand_bytes(call, X), stages = stages_of(shape->sizes[1]);

    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(syn_elements(shape), UINT64_C(5) * log2_of(shape->sizes[1])),
        .read_bytes = syn_mul_sat(bytes, SYN_MAX(stages, UINT64_C(1))),
        .written_bytes = syn_mul_sat(bytes, SYN_MAX(stages, UINT64_C(1))),
        /* its operations are on the parts */
        .dtype = shape->dtype == SYN_DTYPE_C64 ? SYN_DTYPE_FP32 : SYN_DTYPE_FP64,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"x", SYN_READ, 2, 2},
    {"y", SYN_WRITE, 2, 2},
};
static const struct syn_kernel_param params[] = {{"inverse", 0, true}};
static const struct syn_kernel_split splits[] = {{.dim = {0, 0}, .grain = 1}};

#define COMPILED(dtype, options) \
    SYN_COMPILED(dtype, fft, options, .steps = fft_steps, .scratch = fft_scratch, .plan = fft_plan)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(fft_run),
    COMPILED(SYN_DTYPE_C64, "-DELEM=float"),
    COMPILED(SYN_DTYPE_C128, "-DELEM=double"),
};

const struct syn_kernel syn_kernel_fft = {
    .name = "fft",
    .summary = "Fourier transform of complex rows, forward or inverse",
    .operation = SYN_OPERATION_FFT,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(splits),
    SYN_LISTED(impls),
    .check = fft_check,
    .work = fft_work,
};
