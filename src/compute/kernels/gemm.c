/* C = alpha op(A) op(B) + beta C.
 *
 * Natively, as everybody does since Goto: B is packed in panels of columns, A in panels of rows,
 * and tiles of C that fit into registers are summed up from pairs of panels (gemm_tiles.c):
 *
 *               B: panels of a tile's columns          for rows of A that fit into the outer cache
 *                  +---+---+---+                         for a depth that keeps a pair of panels
 * near A: panels    |   |   |   |                           pack A's panels                  }
 * forked of a tile's  +---+---+---+                           for columns of B that fit rows +---+
 * +---+---+---+                             pack B's panels                } forked
 *            +---+ | t | i | l |                             blocks of tiles                }
 * forked
 *            +---+ +---+---+---+
 *
 * Both packings are shared by all workers, so nothing is packed twice, and a panel of A that lies
 * in the second cache serves a block of columns. A tile is summed up beside C and added once a
 * depth: two stores in 256 steps buy one inner loop for every layout of C, edges and conv2d
 * included. */
#include "gemm_priv.h"

#include <synor/base/mem.h>

enum { A, B, C };
enum { ALPHA, BETA, TRANS_A, TRANS_B };

#define ROWS_MAX  4096 /* of A, packed at a time: 8 MiB of fp64 */
#define COLS_MAX  4096
#define BLOCK_ROW 96 /* rows and columns of a block of tiles: its part of A fits a second cache */
#define BLOCK_COL 192
#define GRAIN     (UINT64_C(1) << 15) /* elements worth an offer to others, of a packing */
#define GROUP     16
#define TILE      64

struct matrix {
    char *data;
    uint64_t row, col; /* elements from one to the next */
};

struct gemm {
    const struct syn_gemm_tiles *tiles;
    size_t size; /* of an element */
    struct matrix a, b, c;
    uint64_t m, n, k;
    double alpha, beta;
    char *a_packed, *b_packed;
    /* What is under way. */
    uint64_t row, rows, col, cols, deep, depth;
};

static char *
at(const struct gemm *job, const struct matrix *matrix, uint64_t row, uint64_t col)
{
    return matrix->data + (row * matrix->row + col * matrix->col) * job->size;
}

static void
pack_a(void *arg, uint64_t begin, uint64_t end)
{
    const struct gemm *job = arg;
    uint64_t width = job->tiles->rows;

    for (uint64_t i = begin; i < end; i++) {
        const struct syn_gemm_panel panel = {job->a.row, job->a.col,
                                             SYN_MIN(width, job->rows - i * width), job->depth};

        job->tiles->pack_rows(job->a_packed + i * width * job->depth * job->size,
                              at(job, &job->a, job->row + i * width, job->deep), &panel);
    }
}

static void
pack_b(void *arg, uint64_t begin, uint64_t end)
{
    const struct gemm *job = arg;
    uint64_t width = job->tiles->cols;

    for (uint64_t i = begin; i < end; i++) {
        const struct syn_gemm_panel panel = {job->b.col, job->b.row,
                                             SYN_MIN(width, job->cols - i * width), job->depth};

        job->tiles->pack_cols(job->b_packed + i * width * job->depth * job->size,
                              at(job, &job->b, job->deep, job->col + i * width), &panel);
    }
}

/* One tile: `row` and `col` count within what is under way. */
static void
run_tile(const struct gemm *job, uint64_t row, uint64_t col)
{
    _Alignas(SYN_GEMM_ALIGN) char tile[sizeof(float) * SYN_GEMM_ROWS_MAX * SYN_GEMM_COLS_MAX];
    const struct syn_gemm_place place = {
        .rows = SYN_MIN(job->tiles->rows, job->rows - row),
        .cols = SYN_MIN(job->tiles->cols, job->cols - col),
        .row_step = job->c.row,
        .col_step = job->c.col,
        .alpha = job->alpha,
        .beta = job->deep == 0 ? job->beta : 1,
    };
    char *c = at(job, &job->c, job->row + row, job->col + col);

    /* Asked for now, C's lines are there when the sum is. */
    for (uint64_t i = 0; i < place.rows; i++)
        __builtin_prefetch(c + i * place.row_step * job->size, 1);
    job->tiles->tile(tile, job->a_packed + row * job->depth * job->size,
                     job->b_packed + col * job->depth * job->size, job->depth);
    job->tiles->store(c, tile, &place);
}

static uint64_t
rounded(uint64_t n, uint64_t to)
{
    return syn_div_up(n, to) * to;
}

/* Whole panels of about a block. */
static uint64_t
block_of(unsigned panel, unsigned block)
{
    uint64_t panels = SYN_MAX(block / panel, 1U);

    return panels * panel;
}

static void
run_blocks(void *arg, uint64_t begin, uint64_t end)
{
    const struct gemm *job = arg;
    uint64_t high = block_of(job->tiles->rows, BLOCK_ROW);
    uint64_t wide = block_of(job->tiles->cols, BLOCK_COL);
    uint64_t down = syn_div_up(job->rows, high);

    for (uint64_t i = begin; i < end; i++) {
        uint64_t row = i % down * high, col = i / down * wide;
        uint64_t row_end = SYN_MIN(row + high, job->rows);
        uint64_t col_end = SYN_MIN(col + wide, job->cols);

        for (uint64_t k = col; k < col_end; k += job->tiles->cols) {
            for (uint64_t r = row; r < row_end; r += job->tiles->rows)
                run_tile(job, r, k);
        }
    }
}

static uint64_t
pack_grain(const struct gemm *job, unsigned width)
{
    return GRAIN / (width * SYN_MAX(job->depth, UINT64_C(1))) + 1;
}

static void
run_columns(struct gemm *job, struct syn_worker *worker, struct syn_fork *place)
{
    uint64_t high = block_of(job->tiles->rows, BLOCK_ROW);
    uint64_t wide = block_of(job->tiles->cols, BLOCK_COL);

    for (job->col = 0; job->col < job->n; job->col += job->cols) {
        job->cols = SYN_MIN(job->n - job->col, (uint64_t)COLS_MAX);
        syn_range_run(worker, place, syn_div_up(job->cols, job->tiles->cols),
                      pack_grain(job, job->tiles->cols), pack_b, job);
        syn_range_run(worker, place, syn_div_up(job->rows, high) * syn_div_up(job->cols, wide), 1,
                      run_blocks, job);
    }
}

static int
run_job(struct gemm *job, struct syn_worker *worker, struct syn_fork *place, struct syn_err *err)
{
    uint64_t depth = SYN_MIN(job->k, (uint64_t)SYN_GEMM_DEPTH);
    uint64_t rows = rounded(SYN_MIN(job->m, (uint64_t)ROWS_MAX), job->tiles->rows);
    uint64_t cols = rounded(SYN_MIN(job->n, (uint64_t)COLS_MAX), job->tiles->cols);
    uint64_t a_bytes = rounded(rows * depth * job->size, SYN_GEMM_ALIGN);
    SYN_SCOPED(syn_free_scope) char *packed = NULL;

    packed = syn_alloc_aligned(SYN_GEMM_ALIGN, a_bytes + cols * depth * job->size);
    if (!packed)
        return SYN_FAIL(err, SYN_E_NOMEM, "room to pack matrices");
    job->a_packed = packed;
    job->b_packed = packed + a_bytes;
    for (job->row = 0; job->row < job->m; job->row += job->rows) {
        job->rows = SYN_MIN(job->m - job->row, (uint64_t)ROWS_MAX);
        job->deep = 0;
        do { /* once even without a depth: C is still multiplied by beta */
            job->depth = SYN_MIN(job->k - job->deep, depth);
            syn_range_run(worker, place, syn_div_up(job->rows, job->tiles->rows),
                          pack_grain(job, job->tiles->rows), pack_a, job);
            run_columns(job, worker, place);
            job->deep += job->depth;
        } while (job->deep < job->k);
    }
    return SYN_OK;
}

/* op(X) as a matrix. */
static struct matrix
matrix_of(const struct syn_kernel_call *call, unsigned operand, bool trans)
{
    const uint64_t *strides = syn_shape_of(call, operand)->strides;

    return (struct matrix){call->operands[operand].data, strides[trans], strides[!trans]};
}

static void
gemm_of(const struct syn_kernel_call *call, struct gemm *ret)
{
    const struct syn_shape *c = syn_shape_of(call, C);
    bool trans_a = call->params[TRANS_A] != 0;

    *ret = (struct gemm){
        .a = matrix_of(call, A, trans_a),
        .b = matrix_of(call, B, call->params[TRANS_B] != 0),
        .c = matrix_of(call, C, false),
        .m = c->sizes[0],
        .n = c->sizes[1],
        .k = call->params[ALPHA] == 0 ? 0 : syn_shape_of(call, A)->sizes[!trans_a],
        .alpha = call->params[ALPHA],
        .beta = call->params[BETA],
    };
}

static int
gemm_run(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *place,
         struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, C)->dtype;
    struct gemm job;

    gemm_of(call, &job);
    job.tiles = syn_gemm_tiles(dtype);
    job.size = dtype == SYN_DTYPE_FP32 ? sizeof(float) : sizeof(double);
    if (job.c.col != 1 && job.c.row == 1) { /* in columns: C' = B' A' is in rows */
        const struct gemm was = job;

        job.a = (struct matrix){was.b.data, was.b.col, was.b.row};
        job.b = (struct matrix){was.a.data, was.a.col, was.a.row};
        job.c = (struct matrix){was.c.data, was.c.col, was.c.row};
        job.m = was.n;
        job.n = was.m;
    }
    return run_job(&job, worker, place, err);
}

/* On devices. */

static bool
gemm_fits(const struct syn_kernel_call *call, const struct syn_device_info *device)
{
    (void)call;
    return syn_is_alone(device) || device->group_max == 0 || device->group_max >= GROUP * GROUP;
}

static int
gemm_plan(const struct syn_kernel_call *call, const struct syn_device_info *device, unsigned step,
          struct syn_kernel_launch *ret_launch, struct syn_err *err)
{
    enum syn_dtype dtype = syn_shape_of(call, C)->dtype;
    struct gemm job;

    (void)step;
    (void)err;
    gemm_of(call, &job);
    syn_launch_begin(ret_launch, "gemm");
    ret_launch->group[0] = ret_launch->group[1] = syn_is_alone(device) ? 1 : GROUP;
    ret_launch->groups[0] = syn_groups(job.n, TILE, SYN_GRID_MAX);
    ret_launch->groups[1] = syn_groups(job.m, TILE, SYN_GRID_MAX);
    syn_launch_operand(ret_launch, A);
    syn_launch_operand(ret_launch, B);
    syn_launch_operand(ret_launch, C);
    syn_launch_quad(ret_launch, (const uint64_t[4]){job.m, job.n, job.k});
    syn_launch_quad(ret_launch, (const uint64_t[4]){job.a.row, job.a.col, job.b.row, job.b.col});
    syn_launch_quad(ret_launch, (const uint64_t[4]){job.c.row, job.c.col});
    syn_launch_elem(ret_launch, dtype, job.alpha);
    syn_launch_elem(ret_launch, dtype, job.beta);
    return SYN_OK;
}

static int
gemm_check(const struct syn_kernel_call *call, struct syn_err *err)
{
    const struct syn_shape *a = syn_shape_of(call, A), *c = syn_shape_of(call, C);
    int rc = syn_check_param(call, TRANS_A, 0, 1, err);
    unsigned ta, tb;

    rc = rc < 0 ? rc : syn_check_param(call, TRANS_B, 0, 1, err);
    if (rc < 0)
        return rc;
    ta = call->params[TRANS_A] != 0;
    tb = call->params[TRANS_B] != 0;
    rc = syn_check_dtype(call, A, SYN_FLOATS, err);
    rc = rc < 0 ? rc : syn_check_like(call, B, A, err);
    rc = rc < 0 ? rc : syn_check_like(call, C, A, err);
    rc = rc < 0 ? rc : syn_check_size(call, A, ta, c->sizes[0], err);
    rc = rc < 0 ? rc : syn_check_size(call, B, !tb, c->sizes[1], err);
    return rc < 0 ? rc : syn_check_size(call, B, tb, a->sizes[!ta], err);
}

static void
gemm_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    uint64_t c_bytes = syn_operand_bytes(call, C);
    uint64_t read = syn_operand_bytes(call, A) + syn_operand_bytes(call, B);
    struct gemm job;

    gemm_of(call, &job);
    *ret_work = (struct syn_work){
        .flops = syn_mul_sat(syn_mul_sat(job.m, job.n), syn_mul_sat(job.k, 2)),
        .read_bytes = read + (job.beta != 0 ? c_bytes : 0),
        .written_bytes = c_bytes,
        .dtype = syn_shape_of(call, C)->dtype,
        .matrix = true,
    };
}

/* With beta 0 nobody looks at C. */
static enum syn_access
gemm_access(const struct syn_kernel_call *call, unsigned operand)
{
    if (operand != C)
        return SYN_READ;
    return call->params[BETA] == 0 ? SYN_WRITE : SYN_UPDATE;
}

static bool
plain_a(const struct syn_kernel_call *call)
{
    return call->params[TRANS_A] == 0;
}

static bool
turned_a(const struct syn_kernel_call *call)
{
    return call->params[TRANS_A] != 0;
}

static bool
plain_b(const struct syn_kernel_call *call)
{
    return call->params[TRANS_B] == 0;
}

static bool
turned_b(const struct syn_kernel_call *call)
{
    return call->params[TRANS_B] != 0;
}

static const struct syn_kernel_operand operands[] = {
    {"a", SYN_READ, 2, 2},
    {"b", SYN_READ, 2, 2},
    {"c", SYN_UPDATE, 2, 2},
};
static const struct syn_kernel_param params[] = {
    {"alpha", 1, false},
    {"beta", 0, false},
    {"trans_a", 0, true},
    {"trans_b", 0, true},
};
static const struct syn_kernel_split splits[] = {
    {.dim = {0, SYN_SPLIT_WHOLE, 0}, .grain = 1, .applies = plain_a},
    {.dim = {1, SYN_SPLIT_WHOLE, 0}, .grain = 1, .applies = turned_a},
    {.dim = {SYN_SPLIT_WHOLE, 1, 1}, .grain = 1, .applies = plain_b},
    {.dim = {SYN_SPLIT_WHOLE, 0, 1}, .grain = 1, .applies = turned_b},
};

#define COMPILED(dtype, options) \
    SYN_COMPILED(dtype, gemm, options, .plan = gemm_plan, .fits = gemm_fits)
static const struct syn_kernel_impl impls[] = {
    SYN_NATIVE(gemm_run),
    SYN_FLOAT_ROWS(COMPILED),
};

const struct syn_kernel syn_kernel_gemm = {
    .name = "gemm",
    .summary = "c = alpha op(a) op(b) + beta c",
    .operation = SYN_OPERATION_GEMM,
    SYN_LISTED(operands),
    SYN_LISTED(params),
    SYN_LISTED(splits),
    SYN_LISTED(impls),
    .check = gemm_check,
    .work = gemm_work,
    .access = gemm_access,
};
