/* y = x * w for batches of images, as in neural networks (no mirroring): x is (image, channel, row,
 * column), w (channel of y, channel of x, row, column), y (image, channel, row, column).
 *
 * Natively it is a product of matrices (gemm_priv.h): w has a row for each channel of y, and what
 * lies under w's window a column for each pixel of y. Columns are never laid out in memory but
 * packed straight from x, a block of pixels at a time. */
#include "gemm_priv.h"

#include <stdatomic.h>
#include <string.h>

#include <synor/base/mem.h>

enum { X, W, Y };
enum { STRIDE, PADDING };
enum { IMAGE, CHANNEL, ROW, COL };

#define STEP_MAX 65535 /* stride and padding */
#define PANELS   8     /* of pixels in a block */
#define GROUP    64

struct conv {
    const struct syn_gemm_tiles *tiles;
    size_t size;
    const struct syn_shape *x, *w, *y;
    const char *x_data, *w_data;
    char *y_data, *w_packed; /* all panels of w, each as deep as the window */
    uint64_t depth;          /* elements under the window */
    uint64_t pixels, blocks; /* of an image of y */
    uint64_t stride, padding;
    _Atomic int code;
};

/* A panel of pixels that is packed: first pixel and how many. */
struct columns {
    const struct conv *job;
    const char *image;
    uint64_t pixel, count;
    uint64_t deep, depth; /* which elements under the window */
};

static uint64_t
at4(const struct syn_shape *shape, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return a * shape->strides[0] + b * shape->strides[1] + c * shape->strides[2] +
           d * shape->strides[3];
}

/* One number format. `pack_` lays out columns: elements above or left of the image wrap around and
 * are as far out of it as those below or right of it; out of it is 0. */
#define CONV(T)                                                                                   \
    static void pack_##T(const struct columns *cols, void *to_)                                   \
    {                                                                                             \
        const struct conv *job = cols->job;                                                       \
        const struct syn_shape *x = job->x, *w = job->w;                                          \
        uint64_t width = job->tiles->cols, wide = job->y->sizes[COL];                             \
        uint64_t row = cols->pixel / wide, col = cols->pixel % wide;                              \
        bool straight = job->stride == 1 && x->strides[COL] == 1 && cols->count == width &&       \
                        col + width <= wide;                                                      \
        T *to = to_;                                                                              \
                                                                                                  \
        for (uint64_t k = cols->deep; k < cols->deep + cols->depth; k++, to += width) {           \
            uint64_t right = k % w->sizes[COL], down = k / w->sizes[COL] % w->sizes[ROW];         \
            uint64_t channel = k / w->sizes[COL] / w->sizes[ROW];                                 \
            uint64_t up = row + down - job->padding, left = col + right - job->padding;           \
            const T *from = (const T *)(const void *)cols->image + channel * x->strides[CHANNEL]; \
                                                                                                  \
            if (straight && up < x->sizes[ROW] && left < x->sizes[COL] &&                         \
                left + width <= x->sizes[COL]) {                                                  \
                memcpy(to, from + up * x->strides[ROW] + left, width * sizeof(T));                \
                continue;                                                                         \
            }                                                                                     \
            for (uint64_t i = 0; i < width; i++) {                                                \
                uint64_t pixel = cols->pixel + i;                                                 \
                                                                                                  \
                up = pixel / wide * job->stride + down - job->padding;                            \
                left = pixel % wide * job->stride + right - job->padding;                         \
                to[i] = i < cols->count && up < x->sizes[ROW] && left < x->sizes[COL]             \
                            ? from[up * x->strides[ROW] + left * x->strides[COL]]                 \
                            : 0;                                                                  \
            }                                                                                     \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static void weights_##T(void *arg, uint64_t begin, uint64_t end)                              \
    {                                                                                             \
        const struct conv *job = arg;                                                             \
        const struct syn_shape *w = job->w;                                                       \
        const T *from = (const T *)(const void *)job->w_data;                                     \
        uint64_t high = job->tiles->rows;                                                         \
                                                                                                  \
        for (uint64_t i = begin; i < end; i++) {                                                  \
            T *to = (T *)(void *)job->w_packed + i * high * job->depth;                           \
                                                                                                  \
            for (uint64_t k = 0; k < high * job->depth; k++) {                                    \
                uint64_t out = i * high + k % high, in = k / high;                                \
                uint64_t col = in % w->sizes[COL], row = in / w->sizes[COL] % w->sizes[ROW];      \
                uint64_t channel = in / w->sizes[COL] / w->sizes[ROW];                            \
                                                                                                  \
                to[k] = out < w->sizes[0] ? from[at4(w, out, channel, row, col)] : 0;             \
            }                                                                                     \
        }                                                                                         \
    }

CONV(float)
CONV(double)

/* A tile of the product into y: in one piece where its pixels are evenly spaced, else row by row.
 */
static void
store_tile(const struct conv *job, char *image, const struct columns *cols, const char *tile,
           struct syn_gemm_place place)
{
    const struct syn_shape *y = job->y;
    uint64_t wide = y->sizes[COL], done = 0;
    bool even = y->sizes[ROW] == 1 || y->strides[ROW] == wide * y->strides[COL];

    place.row_step = y->strides[CHANNEL];
    place.col_step = y->strides[COL];
    while (done < cols->count) {
        uint64_t row = (cols->pixel + done) / wide, col = (cols->pixel + done) % wide;

        place.cols = even ? cols->count : SYN_MIN(cols->count - done, wide - col);
        job->tiles->store(image + (row * y->strides[ROW] + col * y->strides[COL]) * job->size,
                          tile + done * job->size, &place);
        done += place.cols;
    }
}

/* A block of pixels of one image at one depth: its columns are in `packed`. */
static void
run_block(const struct conv *job, struct columns cols, char *image, const char *packed,
          uint64_t pixel_end)
{
    _Alignas(SYN_GEMM_ALIGN) char tile[sizeof(float) * SYN_GEMM_ROWS_MAX * SYN_GEMM_COLS_MAX];
    uint64_t high = job->tiles->rows, width = job->tiles->cols, channels = job->y->sizes[CHANNEL];

    for (; cols.pixel < pixel_end; cols.pixel += width, packed += width * cols.depth * job->size) {
        cols.count = SYN_MIN(width, pixel_end - cols.pixel);
        for (uint64_t row = 0; row < channels; row += high) {
            const struct syn_gemm_place place = {
                .rows = SYN_MIN(high, channels - row), .alpha = 1, .beta = cols.deep > 0};

            job->tiles->tile(tile,
                             job->w_packed + (row * job->depth + cols.deep * high) * job->size,
                             packed, cols.depth);
            store_tile(job, image + row * job->y->strides[CHANNEL] * job->size, &cols, tile, place);
        }
    }
}

static void
run_blocks(void *arg, uint64_t begin, uint64_t end)
{
    struct conv *job = arg;
    uint64_t width = job->tiles->cols, depth = SYN_MIN(job->depth, (uint64_t)SYN_GEMM_DEPTH);
    SYN_SCOPED(syn_free_scope) char *packed = NULL;

    packed = syn_alloc_aligned(SYN_GEMM_ALIGN, PANELS * width * depth * job->size);
    if (!packed) {
        atomic_store(&job->code, SYN_E_NOMEM);
        return;
    }
    for (uint64_t i = begin; i < end; i++) {
        uint64_t image = i / job->blocks, first = i % job->blocks * PANELS * width;
        uint64_t last = SYN_MIN(first + PANELS * width, job->pixels);
        char *y = job->y_data + image * job->y->strides[IMAGE] * job->size;
        struct columns cols = {.job = job,
                               .image = job->x_data + image * job->x->strides[IMAGE] * job->size};

        for (; cols.deep < job->depth; cols.deep += cols.depth) {
            char *to = packed;

            cols.depth = SYN_MIN(depth, job->depth - cols.deep);
            for (cols.pixel = first; cols.pixel < last; cols.pixel += width) {
                cols.count = SYN_MIN(width, last - cols.pixel);
                if (job->size == sizeof(float))
                    pack_float(&cols, to);
                else
                    pack_double(&cols, to);
                to += width * cols.depth * job->size;
            }
            cols.pixel = first;
            run_block(job, cols, y, packed, last);
        }
    }
}

static int
conv_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    const struct syn_shape *w = syn_shape_of(call, W), *y = syn_shape_of(call, Y);
    SYN_SCOPED(syn_free_scope) char *packed = NULL;
    struct conv job = {
        .tiles = syn_gemm_tiles(y->dtype),
        .size = y->dtype == SYN_DTYPE_FP32 ? sizeof(float) : sizeof(double),
        .x = syn_shape_of(call, X),
        .w = w,
        .y = y,
        .x_data = call->operands[X].data,
        .w_data = call->operands[W].data,
        .y_data = call->operands[Y].data,
        .depth = w->sizes[1] * w->sizes[2] * w->sizes[3],
        .pixels = y->sizes[ROW] * y->sizes[COL],
        .stride = (uint64_t)call->params[STRIDE],
        .padding = (uint64_t)call->params[PADDING],
    };
    uint64_t panels = syn_div_up(w->sizes[0], job.tiles->rows);

    job.blocks = syn_div_up(job.pixels, (uint64_t)PANELS * job.tiles->cols);
    packed = syn_alloc_aligned(SYN_GEMM_ALIGN, panels * job.tiles->rows * job.depth * job.size);
    if (!packed)
        return SYN_FAIL(err, SYN_E_NOMEM, "room to pack w");
    job.w_packed = packed;
    syn_range_run(worker, at, panels, 1, job.size == sizeof(float) ? weights_float : weights_double,
                  &job);
    syn_range_run(worker, at, y->sizes[IMAGE] * job.blocks, 1, run_blocks, &job);
    if (atomic_load(&job.code) < 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "room for a block of pixels");
    return SYN_OK;
}

static int
conv_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
          struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    const struct syn_shape *y = syn_shape_of(call, Y);

    (void)step;
    (void)err;
    syn_launch_begin(ret_launch, "conv2d");
    ret_launch->group[0] = syn_group_size(device, GROUP);
    ret_launch->groups[0] =
        syn_turns(device, y->sizes[ROW] * y->sizes[COL], ret_launch->group[0], SYN_GRID_MAX);
    ret_launch->groups[1] = syn_groups(y->sizes[CHANNEL], 4, SYN_GRID_MAX);
    ret_launch->groups[2] = SYN_MIN(y->sizes[IMAGE], SYN_GRID_MAX);
    for (unsigned i = X; i <= Y; i++)
        syn_launch_operand(ret_launch, i);
    for (unsigned i = X; i <= Y; i++)
        syn_launch_quad(ret_launch, syn_shape_of(call, i)->sizes);
    for (unsigned i = X; i <= Y; i++)
        syn_launch_quad(ret_launch, syn_shape_of(call, i)->strides);
    syn_launch_u32(ret_launch, (uint32_t)call->params[STRIDE]);
    syn_launch_u32(ret_launch, (uint32_t)call->params[PADDING]);
    return SYN_OK;
}

/* Pixels along a dimension of y, or 0 where the window does not fit into x. */
static uint64_t
fit(const struct syn_kernel_call *call, unsigned dim)
{
    uint64_t size = syn_shape_of(call, X)->sizes[dim] + 2 * (uint64_t)call->params[PADDING];
    uint64_t window = syn_shape_of(call, W)->sizes[dim];

    return size < window ? 0 : (size - window) / (uint64_t)call->params[STRIDE] + 1;
}

static int
conv_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    int rc = syn_check_dtype(call, X, SYN_FLOATS, err);

    rc = rc < 0 ? rc : syn_check_like(call, W, X, err);
    rc = rc < 0 ? rc : syn_check_like(call, Y, X, err);
    rc = rc < 0 ? rc : syn_check_param(call, STRIDE, 1, STEP_MAX, err);
    rc = rc < 0 ? rc : syn_check_param(call, PADDING, 0, STEP_MAX, err);
    rc = rc < 0 ? rc : syn_check_size(call, W, CHANNEL, syn_shape_of(call, X)->sizes[CHANNEL], err);
    rc = rc < 0 ? rc : syn_check_size(call, Y, IMAGE, syn_shape_of(call, X)->sizes[IMAGE], err);
    rc = rc < 0 ? rc : syn_check_size(call, Y, CHANNEL, syn_shape_of(call, W)->sizes[0], err);
    for (unsigned dim = ROW; rc == SYN_OK && dim <= COL; dim++) {
        uint64_t size = fit(call, dim);

        if (size == 0)
            rc = SYN_FAIL(err, SYN_E_INVALID, "w is larger than x along dimension %u", dim);
        else
            rc = syn_check_size(call, Y, dim, size, err);
    }
    return rc;
}

static void
conv_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    const struct syn_shape *w = syn_shape_of(call, W);
    uint64_t window = w->sizes[1] * w->sizes[2] * w->sizes[3];

    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(syn_elements(syn_shape_of(call, Y)), syn_mul_sat(window, 2)),
        .read_bytes = syn_operand_bytes(call, X) + syn_operand_bytes(call, W),
        .written_bytes = syn_operand_bytes(call, Y),
        .dtype = w->dtype,
        .matrix = true,
    };
}

static const struct syn_kernel_operand operands[] = {
    {"x", SYN_READ, 4, 4},
    {"w", SYN_READ, 4, 4},
    {"y", SYN_WRITE, 4, 4},
};
static const struct syn_kernel_param params[] = {{"stride", 1, true}, {"padding", 0, true}};
static const struct syn_kernel_split splits[] = {
    {.dim = {IMAGE, SYN_SPLIT_WHOLE, IMAGE}, .grain = 1},
    {.dim = {SYN_SPLIT_WHOLE, 0, CHANNEL}, .grain = 1},
};

#define COMPILED(dtype, options) SYN_COMPILED(dtype, conv2d, options, .plan = conv_plan)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(conv_run),
    SYN_FLOAT_ROWS(COMPILED),
};

const struct syn_kernel syn_kernel_conv2d = {
    .name = "conv2d",
    .summary = "convolution of images, NCHW by OIHW",
    .operation = SYN_OPERATION_CONV,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(splits),
    SYN_LISTED(impls),
    .check = conv_check,
    .work = conv_work,
};
