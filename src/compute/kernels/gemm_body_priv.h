/* Of widths_priv.h: a tile is ROWS rows of two vectors. */

#undef ROWS
#undef EACH_ROW
#undef COLS
#undef CLEAR
#undef ADD
#undef KEEP
#undef AT
#undef FROM

/* As many accumulators as there are registers, less three: all named, or compilers keep them in
 * memory. */
#if VEC_BYTES == 64
#define ROWS        12
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#else
#define ROWS        6
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)
#endif
#define COLS       (2 * LANES)
#define CLEAR(i)   vec left##i = {0}, right##i = {0};
#define ADD(i)     left##i += a[i] * left, right##i += a[i] * right;
#define KEEP(i)    AT(to, (i)*COLS) = left##i, AT(to, (i)*COLS + LANES) = right##i;
#define AT(p, i)   (*(vec *)(void *)((p) + (i)))
#define FROM(p, i) (*(const vec *)(const void *)((p) + (i)))

TARGET static void
NAME(gemm_tile)(void *to_, const void *a_, const void *b_, uint64_t depth)
{
    const T *a = a_, *b = b_;
    T *to = to_;
    EACH_ROW(CLEAR)

    for (uint64_t k = 0; k < depth; k++) {
        vec left = FROM(b, 0), right = FROM(b, LANES);

        EACH_ROW(ADD)
        a += ROWS;
        b += COLS;
    }
    EACH_ROW(KEEP)
}

TARGET static void
NAME(gemm_store)(void *c_, const void *tile_, const struct syn_gemm_place *place)
{
    const T *tile = tile_;
    T *c = c_, alpha = (T)place->alpha, beta = (T)place->beta;
    bool whole = place->cols == COLS && place->col_step == 1;

    for (uint64_t i = 0; i < place->rows; i++, c += place->row_step, tile += COLS) {
        if (whole && place->beta == 0) {
            AT(c, 0) = alpha * FROM(tile, 0);
            AT(c, LANES) = alpha * FROM(tile, LANES);
        } else if (whole) {
            AT(c, 0) = alpha * FROM(tile, 0) + beta * FROM(c, 0);
            AT(c, LANES) = alpha * FROM(tile, LANES) + beta * FROM(c, LANES);
        } else {
            for (uint64_t k = 0; k < place->cols; k++) {
                T *at = c + k * place->col_step;

                *at = place->beta == 0 ? alpha * tile[k] : alpha * tile[k] + beta * *at;
            }
        }
    }
}

TARGET static void
NAME(gemm_pack_rows)(void *to_, const void *from_, const struct syn_gemm_panel *panel)
{
    const T *from = from_;
    T *to = to_;

    if (panel->count == ROWS) {
        for (uint64_t k = 0; k < panel->depth; k++, from += panel->deep, to += ROWS) {
            for (unsigned i = 0; i < ROWS; i++)
                to[i] = from[i * panel->step];
        }
        return;
    }
    for (uint64_t k = 0; k < panel->depth; k++, from += panel->deep, to += ROWS) {
        for (unsigned i = 0; i < ROWS; i++)
            to[i] = i < panel->count ? from[i * panel->step] : 0;
    }
}

TARGET static void
NAME(gemm_pack_cols)(void *to_, const void *from_, const struct syn_gemm_panel *panel)
{
    const T *from = from_;
    T *to = to_;

    if (panel->count == COLS && panel->step == 1) {
        for (uint64_t k = 0; k < panel->depth; k++, from += panel->deep, to += COLS) {
            AT(to, 0) = FROM(from, 0);
            AT(to, LANES) = FROM(from, LANES);
        }
        return;
    }
    for (uint64_t k = 0; k < panel->depth; k++, from += panel->deep, to += COLS) {
        for (unsigned i = 0; i < COLS; i++)
            to[i] = i < panel->count ? from[i * panel->step] : 0;
    }
}

static const struct syn_gemm_tiles NAME(gemm_tiles) = {
    .rows = ROWS,
    .cols = COLS,
    .pack_rows = NAME(gemm_pack_rows),
    .pack_cols = NAME(gemm_pack_cols),
    .tile = NAME(gemm_tile),
    .store = NAME(gemm_store),
};
