/* Tiles of matrix products: what gemm and conv2d are made of. A tile is the product of a panel of
 * `rows` rows of A and one of `cols` columns of B, both packed so that it reads them straight on:
 * element (i, k) of A's panel lies at k * rows + i, element (k, j) of B's at k * cols + j. */
#ifndef SYN_COMPUTE_GEMM_PRIV_H
#define SYN_COMPUTE_GEMM_PRIV_H

#include "kernels_priv.h"

#define SYN_GEMM_ROWS_MAX 12
#define SYN_GEMM_COLS_MAX 32  /* of fp32 in the widest vectors */
#define SYN_GEMM_DEPTH    256 /* of a panel: a pair stays in the nearest cache */
#define SYN_GEMM_ALIGN    64

/* Of a panel that is packed: `count` rows (columns) of `depth` elements, the others are 0. */
struct syn_gemm_panel {
    uint64_t step; /* elements from one row (column) to the next */
    uint64_t deep; /* elements along it */
    uint64_t count, depth;
};

/* Where a tile goes: c = alpha tile + beta c, of its first rows and columns. With beta 0, c is not
 * read. */
struct syn_gemm_place {
    uint64_t rows, cols;
    uint64_t row_step, col_step; /* elements */
    double alpha, beta;
};

struct syn_gemm_tiles {
    unsigned rows, cols; /* of a tile */
    void (*pack_rows)(void *to, const void *from, const struct syn_gemm_panel *panel);
    void (*pack_cols)(void *to, const void *from, const struct syn_gemm_panel *panel);
    void (*tile)(void *to, const void *a, const void *b, uint64_t depth); /* rows * cols, packed */
    void (*store)(void *c, const void *tile, const struct syn_gemm_place *place);
};

/* For fp32 or fp64, on this machine. */
const struct syn_gemm_tiles *syn_gemm_tiles(enum syn_dtype dtype);

#endif
