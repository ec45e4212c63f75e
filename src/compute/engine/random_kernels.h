/* The kernels that random graphs are made of: each is computed the same way by the engine and by
 * the sequential run that it is held against. */
#ifndef SYNOR_COMPUTE_ENGINE_RANDOM_KERNELS_H
#define SYNOR_COMPUTE_ENGINE_RANDOM_KERNELS_H

#include <synor/kernel.h>

enum what { MIX, MIX_COLUMNS, ADD, SUM, LEAST, FOLD, FILL, WHATS };

/* Of the parameters that every kernel has. */
enum { SALT, FAILS, SLEEPS, PARAMS };

struct view {
    int64_t *data;
    uint64_t rows, cols, row_stride, col_stride;
};

static inline int64_t *
syn_random_at(const struct view *view, uint64_t i, uint64_t j)
{
    return &view->data[i * view->row_stride + j * view->col_stride];
}

/* One call, on whatever it is given. Pieces of MIX and ADD are given parts. */
void syn_random_compute(enum what what, uint64_t salt, const struct view *views);

extern const struct syn_kernel syn_random_kernels[WHATS];

#endif
