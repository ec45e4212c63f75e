#include "kernels_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t
below(uint64_t *random, uint64_t limit)
{
    return syn_test_random(random) % limit;
}

/* Sizes near nothing, near the widths of vectors and tiles, or anything. */
static uint64_t
some_size(uint64_t *random, uint64_t max)
{
    static const uint64_t near[] = {1, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65};
    uint64_t size = below(random, 2) ? near[below(random, SYN_LEN(near))] : 1 + below(random, max);

    return size < max ? size : max;
}

static double
some_real(uint64_t *random)
{
    return (double)(int64_t)syn_test_random(random) / 0x1p63;
}

static double
epsilon(enum syn_dtype dtype)
{
    return dtype == SYN_DTYPE_FP32 || dtype == SYN_DTYPE_C64 ? 0x1p-23 : 0x1p-52;
}

static bool
is_floating(enum syn_dtype dtype)
{
    return dtype != SYN_DTYPE_INT32 && dtype != SYN_DTYPE_INT64;
}

/* ---- shapes and elements ---- */

static uint64_t
count_of(const struct syn_shape *shape)
{
    uint64_t count = 1;

    for (unsigned i = 0; i < shape->dims; i++)
        count *= shape->sizes[i];
    return count;
}

/* Lay the dimensions out in a random order with gaps; `packed`: in rows. */
static void
lay_out(struct syn_shape *shape, bool packed, uint64_t *random)
{
    unsigned order[SYN_DIMS_MAX];
    unsigned how = packed ? 0 : (unsigned)below(random, 3);
    uint64_t stride = 1;

    for (unsigned i = 0; i < shape->dims; i++)
        order[i] = how == 1 ? i : shape->dims - 1 - i;
    for (unsigned i = 0; how == 2 && i + 1 < shape->dims; i++) {
        unsigned other = i + (unsigned)below(random, shape->dims - i), held = order[i];

        order[i] = order[other];
        order[other] = held;
    }
    if (how == 2 && below(random, 3) == 0)
        stride = 2;
    for (unsigned i = 0; i < shape->dims; i++) {
        shape->strides[order[i]] = stride;
        stride = stride * shape->sizes[order[i]] + (how == 2 ? below(random, 4) : 0);
    }
    shape->layout = how == 0 ? SYN_LAYOUT_ROWS : how == 1 ? SYN_LAYOUT_COLUMNS : SYN_LAYOUT_STRIDED;
}

/* Elements from the first one to number `index` in the order of rows. */
static uint64_t
place_of(const struct syn_shape *shape, uint64_t index)
{
    uint64_t at = 0;

    for (unsigned i = shape->dims; i > 0; i--) {
        at += index % shape->sizes[i - 1] * shape->strides[i - 1];
        index /= shape->sizes[i - 1];
    }
    return at;
}

static size_t
size_of(enum syn_dtype dtype)
{
    return syn_dtype_info(dtype)->bits / 8;
}

/* The real part `part` of an element. */
static double
real_at(const struct syn_trial *trial, const void *data, unsigned operand, uint64_t index,
        unsigned part)
{
    const struct syn_shape *shape = &trial->shapes[operand];
    uint64_t at = place_of(shape, index);

    switch ((int)shape->dtype) {
    case SYN_DTYPE_FP32:
        return ((const float *)data)[at];
    case SYN_DTYPE_C64:
        return ((const float *)data)[2 * at + part];
    case SYN_DTYPE_FP64:
        return ((const double *)data)[at];
    default:
        return ((const double *)data)[2 * at + part];
    }
}

static int64_t
whole_at(const struct syn_trial *trial, const void *data, unsigned operand, uint64_t index)
{
    const struct syn_shape *shape = &trial->shapes[operand];
    uint64_t at = place_of(shape, index);

    return shape->dtype == SYN_DTYPE_INT32 ? ((const int32_t *)data)[at]
                                           : ((const int64_t *)data)[at];
}

/* An element as it was before the call. */
static double
was(const struct syn_trial *trial, unsigned operand, uint64_t index)
{
    return real_at(trial, trial->before[operand], operand, index, 0);
}

static int64_t
was_whole(const struct syn_trial *trial, unsigned operand, uint64_t index)
{
    return whole_at(trial, trial->before[operand], operand, index);
}

/* ---- making ---- */

static void
shape_set(struct syn_trial *trial, unsigned operand, enum syn_dtype dtype, unsigned dims,
          const uint64_t *sizes)
{
    struct syn_shape *shape = &trial->shapes[operand];

    *shape = (struct syn_shape){.dtype = dtype, .dims = dims};
    memcpy(shape->sizes, sizes, dims * sizeof(*sizes));
    lay_out(shape, true, NULL);
}

/* Random numbers everywhere, in the gaps too. */
static void
fill(struct syn_trial *trial, unsigned operand, uint64_t *random)
{
    enum syn_dtype dtype = trial->shapes[operand].dtype;
    char *to = trial->before[operand];

    if (!is_floating(dtype)) {
        for (uint64_t i = 0; i < trial->bytes[operand]; i++)
            to[i] = (char)syn_test_random(random);
        return;
    }
    for (uint64_t i = 0; i < trial->bytes[operand];) {
        double wide = some_real(random);
        float narrow = (float)wide;

        if (epsilon(dtype) == 0x1p-23) {
            memcpy(to + i, &narrow, sizeof(narrow));
            i += sizeof(narrow);
        } else {
            memcpy(to + i, &wide, sizeof(wide));
            i += sizeof(wide);
        }
    }
}

/* Shapes are set: memory and content. */
static void
furnish(struct syn_trial *trial, unsigned written, uint64_t *random)
{
    uint64_t count;

    trial->written = written;
    for (unsigned i = 0; i < trial->call.kernel->operands_count; i++) {
        const struct syn_shape *shape = &trial->shapes[i];

        trial->bytes[i] = (place_of(shape, count_of(shape) - 1) + 1) * size_of(shape->dtype);
        trial->before[i] = malloc(trial->bytes[i]);
        trial->data[i] = malloc(trial->bytes[i]);
        assert_true(trial->before[i] && trial->data[i]);
        fill(trial, i, random);
        trial->call.operands[i] = (struct syn_operand){shape, trial->data[i]};
    }
    count = 2 * count_of(&trial->shapes[written]);
    trial->want = calloc(count, sizeof(*trial->want));
    trial->slack = calloc(count, sizeof(*trial->slack));
    trial->whole = calloc(count, sizeof(*trial->whole));
    assert_true(trial->want && trial->slack && trial->whole);
}

void
syn_trial_fini(struct syn_trial *trial)
{
    for (unsigned i = 0; i < SYN_OPERANDS_MAX; i++) {
        free(trial->before[i]);
        free(trial->data[i]);
    }
    free(trial->want);
    free(trial->slack);
    free(trial->whole);
    *trial = (struct syn_trial){0};
}

static enum syn_dtype
some_dtype(uint64_t *random, bool integers)
{
    static const enum syn_dtype dtypes[] = {SYN_DTYPE_FP32, SYN_DTYPE_FP64, SYN_DTYPE_INT32,
                                            SYN_DTYPE_INT64};

    return dtypes[below(random, integers ? 4 : 2)];
}

/* ---- the kernels: a random call, and its result by the definition ---- */

static void
make_gemm(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, false);
    uint64_t max = large ? 300 : 70;
    uint64_t m = some_size(random, max), n = some_size(random, max), k = some_size(random, max);
    uint64_t ta = below(random, 2), tb = below(random, 2);
    static const double factors[] = {0, 1, -1, 0.5};
    double *params = trial->call.params;

    if (below(random, 4) == 0)
        k += 256; /* more than one depth of packing */
    params[0] = factors[below(random, SYN_LEN(factors))];
    params[1] = factors[below(random, SYN_LEN(factors))];
    params[2] = (double)ta;
    params[3] = (double)tb;
    shape_set(trial, 0, dtype, 2, ta ? (uint64_t[]){k, m} : (uint64_t[]){m, k});
    shape_set(trial, 1, dtype, 2, tb ? (uint64_t[]){n, k} : (uint64_t[]){k, n});
    shape_set(trial, 2, dtype, 2, (uint64_t[]){m, n});
    for (unsigned i = 0; i < 3; i++)
        lay_out(&trial->shapes[i], false, random);
    furnish(trial, 2, random);
    for (uint64_t i = 0; i < m * n; i++) {
        double sum = 0, size = 0, old = params[1] != 0 ? params[1] * was(trial, 2, i) : 0;

        for (uint64_t p = 0; p < k; p++) {
            double term = was(trial, 0, ta ? p * m + i / n : i / n * k + p) *
                          was(trial, 1, tb ? i % n * k + p : p * n + i % n);

            sum += term;
            size += fabs(term);
        }
        trial->want[i] = params[0] * sum + old;
        trial->slack[i] =
            epsilon(dtype) * ((double)k + 2) * (fabs(params[0]) * size + fabs(old) + 1e-30);
    }
    /* What is not looked at may be anything. */
    if (params[1] == 0)
        memset(trial->before[2], 0xff, trial->bytes[2]);
}

static void
some_shape(uint64_t *random, bool large, unsigned *ret_dims, uint64_t sizes[SYN_DIMS_MAX])
{
    unsigned dims = 1 + (unsigned)below(random, 5);
    uint64_t max = dims == 1 ? 3000 : dims == 2 ? 60 : dims == 3 ? 15 : 6;

    if (large && below(random, 4) == 0) {
        dims = 1;
        max = 200000;
    }
    for (unsigned i = 0; i < dims; i++)
        sizes[i] = some_size(random, max);
    if (max == 200000)
        sizes[0] += 100000;
    *ret_dims = dims;
}

static void
make_axpy(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, true);
    double a = is_floating(dtype) ? some_real(random) : (double)below(random, 2000) - 1000;
    uint64_t sizes[SYN_DIMS_MAX], count;
    unsigned dims;

    some_shape(random, large, &dims, sizes);
    for (unsigned i = 0; i < 2; i++) {
        shape_set(trial, i, dtype, dims, sizes);
        lay_out(&trial->shapes[i], false, random);
    }
    trial->call.params[0] = a;
    furnish(trial, 1, random);
    count = count_of(&trial->shapes[1]);
    for (uint64_t i = 0; i < count; i++) {
        if (is_floating(dtype)) {
            double term = (dtype == SYN_DTYPE_FP32 ? (double)(float)a : a) * was(trial, 0, i);

            trial->want[i] = was(trial, 1, i) + term;
            trial->slack[i] = 2 * epsilon(dtype) * (fabs(was(trial, 1, i)) + fabs(term));
        } else {
            uint64_t sum = (uint64_t)was_whole(trial, 1, i) +
                           (uint64_t)(int64_t)a * (uint64_t)was_whole(trial, 0, i);

            trial->whole[i] = dtype == SYN_DTYPE_INT32 ? (int32_t)(uint32_t)sum : (int64_t)sum;
        }
    }
}

static void
put_odd(struct syn_trial *trial, unsigned operand, uint64_t index)
{
    const struct syn_shape *shape = &trial->shapes[operand];
    uint64_t at = place_of(shape, index);

    if (shape->dtype == SYN_DTYPE_FP32)
        ((float *)trial->before[operand])[at] = (index & 1) != 0 ? NAN : -NAN;
    else if (shape->dtype == SYN_DTYPE_FP64)
        ((double *)trial->before[operand])[at] = (index & 1) != 0 ? (double)NAN : -(double)NAN;
}

static void
want_reduced(struct syn_trial *trial, uint64_t count)
{
    enum syn_dtype dtype = trial->shapes[0].dtype;
    double what = trial->call.params[0], size = 0, real = was(trial, 0, 0);

    for (uint64_t i = 0; i < count; i++) {
        double next = was(trial, 0, i);

        size += fabs(next);
        if (what == 0)
            real = i == 0 ? next : real + next;
        else if (!isnan(real))
            real = isnan(next) ? next : what == 1 ? fmin(real, next) : fmax(real, next);
    }
    trial->want[0] = real;
    trial->slack[0] = what == 0 ? epsilon(dtype) * 300 * size : 0;
}

static void
want_reduced_whole(struct syn_trial *trial, uint64_t count)
{
    double what = trial->call.params[0];
    int64_t whole = was_whole(trial, 0, 0);

    for (uint64_t i = 1; i < count; i++) {
        int64_t next = was_whole(trial, 0, i);

        if (what == 0)
            whole = (int64_t)((uint64_t)whole + (uint64_t)next);
        else if (what == 1 ? next < whole : next > whole)
            whole = next;
    }
    trial->whole[0] =
        trial->shapes[0].dtype == SYN_DTYPE_INT32 ? (int32_t)(uint32_t)(uint64_t)whole : whole;
}

static void
make_reduce(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, true);
    uint64_t sizes[SYN_DIMS_MAX], count;
    unsigned dims;

    some_shape(random, large, &dims, sizes);
    shape_set(trial, 0, dtype, dims, sizes);
    lay_out(&trial->shapes[0], false, random);
    shape_set(trial, 1, dtype, (unsigned)below(random, 3), (uint64_t[]){1, 1});
    trial->call.params[0] = (double)below(random, 3);
    furnish(trial, 1, random);
    count = count_of(&trial->shapes[0]);
    if (trial->call.params[0] != 0 && below(random, 3) == 0)
        put_odd(trial, 0, below(random, count));
    if (is_floating(dtype))
        want_reduced(trial, count);
    else
        want_reduced_whole(trial, count);
}

/* ---- what puts parts of a reduction together ---- */

static void
make_neutral(struct syn_trial *trial, uint64_t *random, bool large)
{
    static const double reals[] = {0, INFINITY, -INFINITY, 1};
    static const int64_t wholes[] = {0, INT64_MAX, INT64_MIN, 1},
                         narrow[] = {0, INT32_MAX, INT32_MIN, 1};
    enum syn_dtype dtype = some_dtype(random, true);
    uint64_t sizes[SYN_DIMS_MAX], count;
    unsigned dims, what = (unsigned)below(random, 4);

    some_shape(random, large, &dims, sizes);
    shape_set(trial, 0, dtype, dims, sizes);
    lay_out(&trial->shapes[0], false, random);
    trial->call.params[0] = what;
    furnish(trial, 0, random);
    count = count_of(&trial->shapes[0]);
    for (uint64_t i = 0; i < count; i++) {
        trial->want[i] = reals[what];
        trial->whole[i] = dtype == SYN_DTYPE_INT32 ? narrow[what] : wholes[what];
    }
}

static int64_t
both_whole(double what, int64_t a, int64_t b, bool narrow)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;

    if (what == 1)
        return a < b ? a : b;
    if (what == 2)
        return a > b ? a : b;
    x = what == 0 ? x + y : x * y;
    return narrow ? (int32_t)(uint32_t)x : (int64_t)x;
}

static double
both_real(double what, double a, double b)
{
    if (what == 0 || what == 3 || isnan(a) || isnan(b))
        return what == 3 ? a * b : a + b;
    return what == 1 ? fmin(a, b) : fmax(a, b);
}

static void
make_combine(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, true);
    uint64_t sizes[SYN_DIMS_MAX], count;
    double what = (double)below(random, 4);
    unsigned dims;

    some_shape(random, large, &dims, sizes);
    for (unsigned i = 0; i < 2; i++) {
        shape_set(trial, i, dtype, dims, sizes);
        lay_out(&trial->shapes[i], false, random);
    }
    trial->call.params[0] = what;
    furnish(trial, 1, random);
    count = count_of(&trial->shapes[0]);
    if (below(random, 3) == 0)
        put_odd(trial, (unsigned)below(random, 2), below(random, count));
    for (uint64_t i = 0; i < count && is_floating(dtype); i++) {
        trial->want[i] = both_real(what, was(trial, 1, i), was(trial, 0, i));
        trial->slack[i] = 2 * epsilon(dtype);
    }
    for (uint64_t i = 0; i < count && !is_floating(dtype); i++)
        trial->whole[i] = both_whole(what, was_whole(trial, 1, i), was_whole(trial, 0, i),
                                     dtype == SYN_DTYPE_INT32);
}

static void
make_dot(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, true);
    uint64_t sizes[SYN_DIMS_MAX], count, whole;
    double real, size = 0;
    unsigned dims;

    some_shape(random, large, &dims, sizes);
    if (dims == 0)
        sizes[dims++] = 1;
    for (unsigned i = 0; i < 2; i++) {
        shape_set(trial, i, dtype, dims, sizes);
        lay_out(&trial->shapes[i], false, random);
    }
    shape_set(trial, 2, dtype, (unsigned)below(random, 3), (uint64_t[]){1, 1});
    furnish(trial, 2, random);
    count = count_of(&trial->shapes[0]);
    if (!is_floating(dtype)) {
        whole = (uint64_t)was_whole(trial, 2, 0);
        for (uint64_t i = 0; i < count; i++)
            whole += (uint64_t)was_whole(trial, 0, i) * (uint64_t)was_whole(trial, 1, i);
        trial->whole[0] = dtype == SYN_DTYPE_INT32 ? (int32_t)(uint32_t)whole : (int64_t)whole;
        return;
    }
    real = was(trial, 2, 0);
    for (uint64_t i = 0; i < count; i++) {
        real += was(trial, 0, i) * was(trial, 1, i);
        size += fabs(was(trial, 0, i) * was(trial, 1, i));
    }
    trial->want[0] = real;
    trial->slack[0] = epsilon(dtype) * 300 * (size + 1);
}

/* One step from `from` to `to`, by the definition. */
static void
jacobi(const struct syn_trial *trial, const double *from, double *to)
{
    const struct syn_shape *shape = &trial->shapes[0];
    uint64_t w = shape->sizes[shape->dims - 1], h = shape->sizes[shape->dims - 2];
    uint64_t d = shape->dims == 3 ? shape->sizes[0] : 1, plane = w * h;
    double weight = trial->call.params[1];

    for (uint64_t i = 0; i < d * plane; i++) {
        uint64_t x = i % w, y = i / w % h, z = i / plane;
        double sum;

        to[i] = from[i];
        if (x == 0 || x == w - 1 || y == 0 || y == h - 1 ||
            (shape->dims == 3 && (z == 0 || z == d - 1)))
            continue;
        sum = from[i - 1] + from[i + 1] + from[i - w] + from[i + w];
        if (shape->dims == 3)
            sum += from[i - plane] + from[i + plane];
        to[i] = (1 - weight) * from[i] + weight * sum / (shape->dims == 3 ? 6 : 4);
    }
}

static void
make_stencil(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, false);
    unsigned dims = 2 + (unsigned)below(random, 2), steps = 1 + (unsigned)below(random, 5);
    uint64_t max = large && dims == 2 ? 400 : dims == 2 ? 60 : 20, count;
    uint64_t sizes[3] = {some_size(random, max), some_size(random, max), some_size(random, max)};
    double *a = NULL;

    for (unsigned i = 0; i < 2; i++) {
        shape_set(trial, i, dtype, dims, sizes);
        lay_out(&trial->shapes[i], false, random);
    }
    trial->call.params[0] = steps;
    trial->call.params[1] = below(random, 2) ? 1 : 0.75;
    furnish(trial, 1, random);
    count = count_of(&trial->shapes[0]);
    a = malloc(count * sizeof(*a));
    assert_non_null(a);
    for (uint64_t i = 0; i < count; i++)
        trial->want[i] = was(trial, 0, i);
    for (unsigned step = 0; step < steps; step++) {
        memcpy(a, trial->want, count * sizeof(*a));
        jacobi(trial, a, trial->want);
    }
    for (uint64_t i = 0; i < count; i++) /* all numbers are below 1 */
        trial->slack[i] = epsilon(dtype) * 8 * steps;
    free(a);
}

static int
compare_reals(const void *a_, const void *b_)
{
    double a = *(const double *)a_, b = *(const double *)b_;

    if (isnan(a) || isnan(b))
        return (isnan(a) != 0) - (isnan(b) != 0);
    return (a > b) - (a < b);
}

static int
compare_wholes(const void *a_, const void *b_)
{
    int64_t a = *(const int64_t *)a_, b = *(const int64_t *)b_;

    return (a > b) - (a < b);
}

static void
make_sort(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, true);
    uint64_t count = some_size(random, 3000);

    if (large && below(random, 2) == 0)
        count = 100000 + below(random, 200000);
    shape_set(trial, 0, dtype, 1, &count);
    furnish(trial, 0, random);
    for (unsigned i = 0; i < 3 && below(random, 2) == 0; i++)
        put_odd(trial, 0, below(random, count));
    for (uint64_t i = 0; i < count; i++) {
        if (is_floating(dtype))
            trial->want[i] = was(trial, 0, i);
        else
            trial->whole[i] = was_whole(trial, 0, i);
    }
    qsort(trial->want, count, sizeof(*trial->want), compare_reals);
    qsort(trial->whole, count, sizeof(*trial->whole), compare_wholes);
}

/* Row `row` by the definition. */
static void
want_spectrum(struct syn_trial *trial, uint64_t row, uint64_t n, double sign)
{
    double size = 0;

    for (uint64_t k = 0; k < 2 * n; k++) {
        double part = real_at(trial, trial->before[0], 0, row * n + k / 2, k & 1);

        size += part * part;
    }
    for (uint64_t k = 0; k < n; k++) {
        double *want = trial->want + 2 * (row * n + k), *slack = trial->slack + 2 * (row * n + k);
        double scale = sign > 0 ? 1 / (double)n : 1;

        for (uint64_t i = 0; i < n; i++) {
            double angle = sign * 6.28318530717958647692 * (double)(i * k % n) / (double)n;
            double re = real_at(trial, trial->before[0], 0, row * n + i, 0);
            double im = real_at(trial, trial->before[0], 0, row * n + i, 1);

            want[0] += (re * cos(angle) - im * sin(angle)) * scale;
            want[1] += (re * sin(angle) + im * cos(angle)) * scale;
        }
        slack[0] = slack[1] = epsilon(trial->shapes[0].dtype) * 4 * (1 + log2((double)n)) *
                              sqrt(size * (double)n) * scale;
    }
}

static void
make_fft(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = below(random, 2) ? SYN_DTYPE_C64 : SYN_DTYPE_C128;
    uint64_t n = UINT64_C(1) << below(random, large ? 11 : 9), rows = 1 + below(random, 9);

    rows = n > 256 ? 1 + rows % 2 : rows;
    for (unsigned i = 0; i < 2; i++) {
        shape_set(trial, i, dtype, 2, (uint64_t[]){rows, n});
        trial->shapes[i].strides[0] += below(random, 3); /* rows may lie apart */
    }
    trial->call.params[0] = (double)below(random, 2);
    furnish(trial, 1, random);
    for (uint64_t row = 0; row < rows; row++)
        want_spectrum(trial, row, n, trial->call.params[0] != 0 ? 1 : -1);
}

/* One pixel by the definition; `at` is image, channel, row, column of y. */
static double
want_pixel(const struct syn_trial *trial, const uint64_t at[4], double *ret_size)
{
    const uint64_t *xs = trial->shapes[0].sizes, *ws = trial->shapes[1].sizes;
    uint64_t stride = (uint64_t)trial->call.params[0], padding = (uint64_t)trial->call.params[1];
    double sum = 0;

    for (uint64_t k = 0; k < ws[1] * ws[2] * ws[3]; k++) {
        uint64_t c = k / ws[3] / ws[2];
        uint64_t row = at[2] * stride + k / ws[3] % ws[2], col = at[3] * stride + k % ws[3];
        double term;

        if (row < padding || row - padding >= xs[2] || col < padding || col - padding >= xs[3])
            continue;
        term = was(trial, 1, at[1] * ws[1] * ws[2] * ws[3] + k) *
               was(trial, 0, ((at[0] * xs[1] + c) * xs[2] + row - padding) * xs[3] + col - padding);
        sum += term;
        *ret_size += fabs(term);
    }
    return sum;
}

static void
make_conv2d(struct syn_trial *trial, uint64_t *random, bool large)
{
    enum syn_dtype dtype = some_dtype(random, false);
    uint64_t stride = 1 + below(random, 3), padding = below(random, 3), count;
    uint64_t x[4] = {1 + below(random, 4), some_size(random, large ? 40 : 6), some_size(random, 24),
                     some_size(random, 40)};
    uint64_t w[4] = {some_size(random, 20), x[1], 1 + below(random, 4), 1 + below(random, 4)};
    uint64_t y[4] = {x[0], w[0]};

    for (unsigned i = 2; i < 4; i++) {
        if (w[i] > x[i] + 2 * padding)
            w[i] = x[i] + 2 * padding;
        y[i] = (x[i] + 2 * padding - w[i]) / stride + 1;
    }
    shape_set(trial, 0, dtype, 4, x);
    shape_set(trial, 1, dtype, 4, w);
    shape_set(trial, 2, dtype, 4, y);
    for (unsigned i = 0; i < 3; i++)
        lay_out(&trial->shapes[i], below(random, 2) == 0, random);
    trial->call.params[0] = (double)stride;
    trial->call.params[1] = (double)padding;
    furnish(trial, 2, random);
    count = count_of(&trial->shapes[2]);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at[4] = {i / y[3] / y[2] / y[1], i / y[3] / y[2] % y[1], i / y[3] % y[2],
                                i % y[3]};
        double size = 0;

        trial->want[i] = want_pixel(trial, at, &size);
        trial->slack[i] = epsilon(dtype) * ((double)(w[1] * w[2] * w[3]) + 2) * size;
    }
}

static const struct {
    const char *kernel;
    void (*make)(struct syn_trial *trial, uint64_t *random, bool large);
} makers[] = {
    {"gemm", make_gemm},       {"axpy", make_axpy}, {"reduce", make_reduce},
    {"stencil", make_stencil}, {"sort", make_sort}, {"fft", make_fft},
    {"conv2d", make_conv2d},   {"dot", make_dot},   {"neutral", make_neutral},
    {"combine", make_combine},
};

void
syn_trial_make(struct syn_trial *trial, const char *kernel, uint64_t *random, bool large)
{
    struct syn_err err = {0};

    *trial = (struct syn_trial){0};
    syn_kernel_call_init(&trial->call, syn_kernel_find(kernel));
    for (size_t i = 0; i < SYN_LEN(makers); i++) {
        if (strcmp(makers[i].kernel, kernel) == 0)
            makers[i].make(trial, random, large);
    }
    assert_non_null(trial->want); /* no such maker */
    assert_done(syn_kernel_check_call(&trial->call, &err), &err);
}

/* ---- checking ---- */

static bool
is_right(const struct syn_trial *trial, uint64_t index, unsigned part, unsigned parts)
{
    double got = real_at(trial, trial->data[trial->written], trial->written, index, part);
    double want = trial->want[index * parts + part];

    if (isnan(want))
        return isnan(got);
    return got == want || fabs(got - want) <= trial->slack[index * parts + part];
}

static void
check_element(const struct syn_trial *trial, uint64_t index, const char *where)
{
    unsigned written = trial->written;
    enum syn_dtype dtype = trial->shapes[written].dtype;
    unsigned parts = dtype == SYN_DTYPE_C64 || dtype == SYN_DTYPE_C128 ? 2 : 1;

    if (!is_floating(dtype)) {
        int64_t got = whole_at(trial, trial->data[written], written, index);

        if (got != trial->whole[index])
            fail_msg("%s, %s: element %llu is %lld, not %lld", trial->call.kernel->name, where,
                     (unsigned long long)index, (long long)got, (long long)trial->whole[index]);
        return;
    }
    for (unsigned part = 0; part < parts; part++) {
        if (!is_right(trial, index, part, parts))
            fail_msg("%s of %s, %s: element %llu.%u is %.17g, not %.17g +- %g",
                     trial->call.kernel->name, syn_dtype_name(dtype), where,
                     (unsigned long long)index, part,
                     real_at(trial, trial->data[written], written, index, part),
                     trial->want[index * parts + part], trial->slack[index * parts + part]);
    }
}

/* What lies between elements, and operands that are only read, are as they were. */
static void
check_rest(const struct syn_trial *trial, const char *where)
{
    unsigned written = trial->written;
    const struct syn_shape *shape = &trial->shapes[written];
    size_t size = size_of(shape->dtype);
    uint64_t count = count_of(shape);
    char *rest = trial->before[written];

    for (uint64_t i = 0; i < count; i++)
        memcpy(rest + place_of(shape, i) * size,
               (const char *)trial->data[written] + place_of(shape, i) * size, size);
    for (unsigned i = 0; i < trial->call.kernel->operands_count; i++) {
        if (memcmp(trial->before[i], trial->data[i], trial->bytes[i]) != 0)
            fail_msg("%s, %s: %s has changed where it must not", trial->call.kernel->name, where,
                     trial->call.kernel->operands[i].name);
    }
}

void
syn_trial_check(const struct syn_trial *trial, const char *where)
{
    uint64_t count = count_of(&trial->shapes[trial->written]);

    for (uint64_t i = 0; i < count; i++)
        check_element(trial, i, where);
}

/* ---- running ---- */

static void
start(const struct syn_trial_way *way, struct syn_trial *trial)
{
    for (unsigned i = 0; i < trial->call.kernel->operands_count; i++)
        memcpy(trial->data[i], trial->before[i], trial->bytes[i]);
    way->begin(way->arg, trial);
}

static void
run_whole(const struct syn_trial_way *way, struct syn_trial *trial)
{
    const uint64_t offsets[SYN_OPERANDS_MAX] = {0};

    start(way, trial);
    way->run(way->arg, trial, &trial->call, offsets);
    way->end(way->arg, trial);
    syn_trial_check(trial, way->name);
}

/* Piece `index` of `count`: the first ones are the larger ones. */
static void
cut(const struct syn_shape *whole, unsigned dim, uint64_t count, uint64_t index,
    struct syn_shape *ret_part, uint64_t *ret_offset)
{
    uint64_t each = whole->sizes[dim] / count, more = whole->sizes[dim] % count;
    uint64_t first = index * each + (index < more ? index : more);

    *ret_part = *whole;
    ret_part->layout = SYN_LAYOUT_STRIDED;
    ret_part->sizes[dim] = each + (index < more);
    *ret_offset = first * whole->strides[dim] * size_of(whole->dtype);
}

/* A piece of a trial's call. */
struct piece {
    struct syn_kernel_call call;
    struct syn_shape shapes[SYN_OPERANDS_MAX];
    uint64_t offsets[SYN_OPERANDS_MAX];
};

static void
cut_piece(const struct syn_trial *trial, unsigned split, uint64_t count, uint64_t index,
          struct piece *ret_piece)
{
    const struct syn_kernel *kernel = trial->call.kernel;

    *ret_piece = (struct piece){.call = trial->call};
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        int8_t dim = kernel->splits[split].dim[i];

        if (dim < 0)
            continue;
        cut(&trial->shapes[i], (unsigned char)dim, count, index, &ret_piece->shapes[i],
            &ret_piece->offsets[i]);
        ret_piece->call.operands[i].shape = &ret_piece->shapes[i];
        ret_piece->call.operands[i].data = (char *)trial->data[i] + ret_piece->offsets[i];
    }
}

/* A whole that a device can run may have pieces that it cannot: they have more dimensions that do
 * not run into each other. */
static bool
can_run_pieces(const struct syn_trial_way *way, const struct syn_trial *trial, unsigned split,
               uint64_t count)
{
    for (uint64_t i = 0; way->can && i < count; i++) {
        struct piece piece;

        cut_piece(trial, split, count, i, &piece);
        if (!way->can(way->arg, &piece.call))
            return false;
    }
    return true;
}

static void
run_pieces(const struct syn_trial_way *way, struct syn_trial *trial, unsigned split,
           uint64_t *random)
{
    uint64_t max = syn_kernel_pieces(&trial->call, split);
    uint64_t count = 1 + below(random, max < 5 ? max : 5);
    bool backwards = below(random, 2);

    if (max == 1 || !can_run_pieces(way, trial, split, count))
        return;
    start(way, trial);
    for (uint64_t i = 0; i < count; i++) {
        struct syn_err err = {0};
        struct piece piece;

        cut_piece(trial, split, count, backwards ? count - 1 - i : i, &piece);
        assert_done(syn_kernel_check_call(&piece.call, &err), &err);
        way->run(way->arg, trial, &piece.call, piece.offsets);
    }
    way->end(way->arg, trial);
    syn_trial_check(trial, "in pieces");
}

uint64_t
syn_trials_seed(void)
{
    const char *given = getenv("SYNOR_TEST_SEED");
    struct timespec now = {0};
    uint64_t seed;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec + (uint64_t)now.tv_sec;
    print_message("# seed %llu (SYNOR_TEST_SEED)\n", (unsigned long long)seed);
    return seed | 1;
}

unsigned
syn_trials(const struct syn_trial_way *way, const char *kernel, unsigned rounds, bool large)
{
    uint64_t random = syn_trials_seed();
    unsigned ran = 0;

    for (unsigned round = 0; round < rounds; round++) {
        struct syn_trial trial;

        syn_trial_make(&trial, kernel, &random, large && round % 4 == 0);
        if (!way->can || way->can(way->arg, &trial.call)) {
            run_whole(way, &trial);
            for (unsigned i = 0; i < trial.call.kernel->splits_count; i++)
                run_pieces(way, &trial, i, &random);
            check_rest(&trial, way->name);
            ran++;
        }
        syn_trial_fini(&trial);
    }
    return ran;
}
