/* Ready-made graphs: dense factorisations, a transformer's forward pass, random layers.
 *
 * Efficiencies are columns by kind of processor: 0 general (CPU cores), 1 throughput (GPUs), 2
 * matrix engines (TPU-like). For the factorisations they follow the accelerations that Agullo et
 * al. (IPDPS 2016, table 1) measured for tiles of 960: POTRF about 2, TRSM 11, SYRK 26, GEMM 29
 * times a core on a GPU whose GEMM is 29 times a core's. */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "graph_priv.h"

#define TILES_MAX 256U
#define TILE_MAX  65536U

/* Adding to a graph without asking each time: the first failure stays. */
struct maker {
    struct syn_plan_graph *graph;
    struct syn_err *err;
    int rc;
};

static uint32_t
make_kernel(struct maker *maker, const char *name, double flops, double bytes,
            const uint32_t efficiency[3])
{
    struct syn_plan_kernel kernel = {.flops = flops, .bytes = bytes};
    uint32_t id = 0;
    size_t len = SYN_MIN(strlen(name), sizeof(kernel.name) - 1);

    memcpy(kernel.name, name, len);
    for (int i = 0; i < 3; i++)
        kernel.efficiency_ppt[i] = efficiency[i];
    if (maker->rc == 0)
        maker->rc = syn_plan_kernel_add(maker->graph, &kernel, &id, maker->err);
    return id;
}

static uint32_t
make_data(struct maker *maker, uint64_t bytes, bool ready)
{
    uint32_t id = 0;

    if (maker->rc == 0)
        maker->rc = syn_plan_data_add(maker->graph, bytes, ready, &id, maker->err);
    return id;
}

static void
make_task(struct maker *maker, uint32_t kernel, const struct syn_plan_use *uses, uint32_t count)
{
    uint32_t id;

    if (maker->rc == 0)
        maker->rc = syn_plan_task_add(maker->graph, kernel, uses, count, &id, maker->err);
}

static int
maker_begin(struct maker *maker, struct syn_err *err)
{
    *maker = (struct maker){.err = err};
    maker->rc = syn_plan_graph_new(&maker->graph, err);
    return maker->rc;
}

static int
maker_end(struct maker *maker, struct syn_plan_graph **ret_graph)
{
    if (maker->rc == 0)
        maker->rc = syn_plan_graph_seal(maker->graph, maker->err);
    if (maker->rc < 0) {
        (void)syn_plan_graph_free(maker->graph);
        return maker->rc;
    }
    *ret_graph = maker->graph;
    return SYN_OK;
}

#define READ(id)  ((struct syn_plan_use){(id), SYN_READ})
#define WRITE(id) ((struct syn_plan_use){(id), SYN_WRITE})
#define RW(id)    ((struct syn_plan_use){(id), SYN_UPDATE})

static int
tiles_check(uint32_t tiles, uint32_t tile, struct syn_err *err)
{
    if (tiles == 0 || tiles > TILES_MAX || tile == 0 || tile > TILE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%u tiles of %u: 1 to %u, of 1 to %u", tiles, tile,
                        TILES_MAX, TILE_MAX);
    return SYN_OK;
}

int
syn_plan_cholesky(uint32_t tiles, uint32_t tile, struct syn_plan_graph **ret_graph,
                  struct syn_err *err)
{
    static const uint32_t eff_potrf[3] = {900, 62, 20}, eff_trsm[3] = {930, 350, 150};
    static const uint32_t eff_syrk[3] = {950, 850, 600}, eff_gemm[3] = {960, 950, 900};
    double cube = (double)tile * tile * tile, bytes = 8.0 * tile * tile;
    uint32_t first, potrf, trsm, syrk, gemm;
    struct maker make;
    int rc = tiles_check(tiles, tile, err);

    if (rc < 0 || (rc = maker_begin(&make, err)) < 0)
        return rc;
    potrf = make_kernel(&make, "potrf", cube / 3, 2 * bytes, eff_potrf);
    trsm = make_kernel(&make, "trsm", cube, 3 * bytes, eff_trsm);
    syrk = make_kernel(&make, "syrk", cube, 3 * bytes, eff_syrk);
    gemm = make_kernel(&make, "gemm", 2 * cube, 4 * bytes, eff_gemm);
    first = make_data(&make, (uint64_t)bytes, true);
    for (uint32_t i = 1; i < tiles * tiles; i++) /* the upper half stays unused */
        (void)make_data(&make, (uint64_t)bytes, true);
#define A(i, j) (first + (i)*tiles + (j))
    for (uint32_t k = 0; k < tiles; k++) {
        make_task(&make, potrf, (struct syn_plan_use[]){RW(A(k, k))}, 1);
        for (uint32_t i = k + 1; i < tiles; i++)
            make_task(&make, trsm, (struct syn_plan_use[]){READ(A(k, k)), RW(A(i, k))}, 2);
        for (uint32_t i = k + 1; i < tiles; i++) {
            make_task(&make, syrk, (struct syn_plan_use[]){READ(A(i, k)), RW(A(i, i))}, 2);
            for (uint32_t j = k + 1; j < i; j++)
                make_task(&make, gemm,
                          (struct syn_plan_use[]){READ(A(i, k)), READ(A(j, k)), RW(A(i, j))}, 3);
        }
    }
    return maker_end(&make, ret_graph);
}

int
syn_plan_lu(uint32_t tiles, uint32_t tile, struct syn_plan_graph **ret_graph, struct syn_err *err)
{
    static const uint32_t eff_getrf[3] = {850, 50, 15}, eff_trsm[3] = {930, 350, 150};
    static const uint32_t eff_gemm[3] = {960, 950, 900};
    double cube = (double)tile * tile * tile, bytes = 8.0 * tile * tile;
    uint32_t first, getrf, trsm, gemm;
    struct maker make;
    int rc = tiles_check(tiles, tile, err);

    if (rc < 0 || (rc = maker_begin(&make, err)) < 0)
        return rc;
    getrf = make_kernel(&make, "getrf", 2 * cube / 3, 2 * bytes, eff_getrf);
    trsm = make_kernel(&make, "trsm", cube, 3 * bytes, eff_trsm);
    gemm = make_kernel(&make, "gemm", 2 * cube, 4 * bytes, eff_gemm);
    first = make_data(&make, (uint64_t)bytes, true);
    for (uint32_t i = 1; i < tiles * tiles; i++)
        (void)make_data(&make, (uint64_t)bytes, true);
    for (uint32_t k = 0; k < tiles; k++) {
        make_task(&make, getrf, (struct syn_plan_use[]){RW(A(k, k))}, 1);
        for (uint32_t i = k + 1; i < tiles; i++) {
            make_task(&make, trsm, (struct syn_plan_use[]){READ(A(k, k)), RW(A(k, i))}, 2);
            make_task(&make, trsm, (struct syn_plan_use[]){READ(A(k, k)), RW(A(i, k))}, 2);
        }
        for (uint32_t i = k + 1; i < tiles; i++)
            for (uint32_t j = k + 1; j < tiles; j++)
                make_task(&make, gemm,
                          (struct syn_plan_use[]){READ(A(i, k)), READ(A(k, j)), RW(A(i, j))}, 3);
    }
#undef A
    return maker_end(&make, ret_graph);
}

#define MODEL_WIDTH  4096
#define SEQUENCE     1024
#define MLP_WIDTH    (4 * MODEL_WIDTH)
#define MLP_PARTS    4
#define ELEMENT_SIZE 2

struct block {
    uint32_t norm, project, attend, output, mlp, join; /* kernels */
    uint32_t heads;
    uint64_t row_bytes; /* activations of one sequence */
};

/* One sequence through one layer: norm, projection by head, attention, output, MLP in parts. */
static void
make_block(struct maker *make, const struct block *block, const uint32_t *weights, uint32_t x)
{
    uint32_t normed = make_data(make, block->row_bytes, false);
    uint32_t mixed = make_data(make, block->row_bytes, false);
    uint32_t heads[SYN_PLAN_USES_MAX];
    struct syn_plan_use uses[SYN_PLAN_USES_MAX];

    make_task(make, block->norm, (struct syn_plan_use[]){READ(x), WRITE(normed)}, 2);
    for (uint32_t h = 0; h < block->heads; h++) {
        uint32_t qkv = make_data(make, 3 * block->row_bytes / block->heads, false);

        heads[h] = make_data(make, block->row_bytes / block->heads, false);
        make_task(make, block->project,
                  (struct syn_plan_use[]){READ(normed), READ(weights[h]), WRITE(qkv)}, 3);
        make_task(make, block->attend, (struct syn_plan_use[]){READ(qkv), WRITE(heads[h])}, 2);
        uses[h] = READ(heads[h]);
    }
    uses[block->heads] = READ(weights[block->heads]);
    uses[block->heads + 1] = RW(x);
    make_task(make, block->output, uses, block->heads + 2);
    make_task(make, block->norm, (struct syn_plan_use[]){READ(x), WRITE(mixed)}, 2);
    for (uint32_t i = 0; i < MLP_PARTS; i++) {
        heads[i] = make_data(make, block->row_bytes, false);
        make_task(make, block->mlp,
                  (struct syn_plan_use[]){READ(mixed), READ(weights[block->heads + 1 + i]),
                                          WRITE(heads[i])},
                  3);
        uses[i] = READ(heads[i]);
    }
    uses[MLP_PARTS] = RW(x);
    make_task(make, block->join, uses, MLP_PARTS + 1);
}

int
syn_plan_transformer(uint32_t layers, uint32_t batch, uint32_t heads,
                     struct syn_plan_graph **ret_graph, struct syn_err *err)
{
    static const uint32_t eff_gemm[3] = {900, 900, 950}, eff_attend[3] = {700, 500, 400};
    static const uint32_t eff_vector[3] = {500, 600, 500};
    double rows = SEQUENCE, d = MODEL_WIDTH;
    uint32_t xs[SYN_PLAN_USES_MAX], weights[SYN_PLAN_USES_MAX];
    struct block block = {.heads = heads, .row_bytes = (uint64_t)(rows * d * ELEMENT_SIZE)};
    double row_bytes = (double)block.row_bytes;
    struct maker make;

    if (layers == 0 || layers > 256 || batch == 0 || batch > SYN_PLAN_USES_MAX || heads == 0 ||
        heads > 32)
        return SYN_FAIL(err, SYN_E_INVALID, "%u layers, batch %u, %u heads", layers, batch, heads);
    if (maker_begin(&make, err) < 0)
        return make.rc;
    block.norm = make_kernel(&make, "norm", 8 * rows * d, 2 * row_bytes, eff_vector);
    block.project = make_kernel(&make, "project", 2 * rows * d * 3 * d / heads,
                                row_bytes + 3 * d * d * ELEMENT_SIZE / heads, eff_gemm);
    block.attend = make_kernel(&make, "attend", 4 * rows * rows * d / heads, 4 * row_bytes / heads,
                               eff_attend);
    block.output = make_kernel(&make, "output", 2 * rows * d * d, 3 * row_bytes, eff_gemm);
    block.mlp = make_kernel(&make, "mlp", 4 * rows * d * MLP_WIDTH / MLP_PARTS,
                            2 * row_bytes + 2 * d * MLP_WIDTH * ELEMENT_SIZE / MLP_PARTS, eff_gemm);
    block.join = make_kernel(&make, "join", MLP_PARTS * rows * d, 5 * row_bytes, eff_vector);
    for (uint32_t i = 0; i < batch; i++)
        xs[i] = make_data(&make, block.row_bytes, true);
    for (uint32_t l = 0; l < layers; l++) {
        for (uint32_t h = 0; h < heads; h++)
            weights[h] = make_data(&make, (uint64_t)(3 * d * d * ELEMENT_SIZE) / heads, true);
        weights[heads] = make_data(&make, (uint64_t)(d * d * ELEMENT_SIZE), true);
        for (uint32_t i = 0; i < MLP_PARTS; i++)
            weights[heads + 1 + i] =
                make_data(&make, (uint64_t)(2 * d * MLP_WIDTH * ELEMENT_SIZE) / MLP_PARTS, true);
        for (uint32_t i = 0; i < batch; i++)
            make_block(&make, &block, weights, xs[i]);
    }
    return maker_end(&make, ret_graph);
}

/* xorshift64*: good enough to draw graphs, and the same everywhere. */
static uint64_t
draw(uint64_t *state, uint64_t below)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * UINT64_C(2685821657736338717) >> 16) % below;
}

#define LAYERED_KERNELS 24

int
syn_plan_layered(uint32_t layers, uint32_t width, uint64_t seed, struct syn_plan_graph **ret_graph,
                 struct syn_err *err)
{
    uint64_t state = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    uint32_t kernels[LAYERED_KERNELS];
    uint32_t first = 0, last = 0; /* outputs of the layers so far */
    struct maker make;

    if (layers == 0 || width == 0 || (uint64_t)layers * width > SYN_PLAN_TASKS_MAX / 2)
        return SYN_FAIL(err, SYN_E_INVALID, "%u layers of %u", layers, width);
    if (maker_begin(&make, err) < 0)
        return make.rc;
    for (uint32_t i = 0; i < LAYERED_KERNELS; i++) {
        uint32_t efficiency[3] = {600 + (uint32_t)draw(&state, 400),
                                  30 + (uint32_t)draw(&state, 900),
                                  10 + (uint32_t)draw(&state, 900)};
        double flops = 2e8 * (double)(1 + draw(&state, 64));

        kernels[i] = make_kernel(&make, "random", flops, flops / 200, efficiency);
    }
    for (uint32_t l = 0; l < layers && make.rc == 0; l++) {
        uint32_t count = 1 + (uint32_t)draw(&state, width), begin = last;

        for (uint32_t i = 0; i < count; i++) {
            struct syn_plan_use uses[4];
            uint32_t inputs = l == 0 ? 0 : 1 + (uint32_t)draw(&state, 3), used = 0;
            uint32_t out = make_data(&make, (1 + draw(&state, 32)) << 18, false);

            uses[used++] = WRITE(out);
            for (uint32_t j = 0; j < inputs; j++) {
                /* Mostly the layer before, sometimes any. */
                uint32_t from = draw(&state, 4) == 0 ? 0 : first;
                uint32_t input = from + (uint32_t)draw(&state, begin - from);
                bool twice = false;

                for (uint32_t k = 0; k < used; k++)
                    twice = twice || uses[k].data == input;
                if (!twice)
                    uses[used++] = READ(input);
            }
            make_task(&make, kernels[draw(&state, LAYERED_KERNELS)], uses, used);
            last = out + 1;
        }
        first = begin;
    }
    return maker_end(&make, ret_graph);
}
