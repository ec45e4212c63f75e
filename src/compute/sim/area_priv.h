/* How divisible work would be split over classes of workers to end first. */
#ifndef SYNOR_COMPUTE_AREA_PRIV_H
#define SYNOR_COMPUTE_AREA_PRIV_H

#include <synor/strategy.h>

struct area_problem {
    uint32_t kernels;
    uint32_t classes;
    const double *times;  /* kernels x classes, ns; infinite: never */
    const double *counts; /* tasks of each kernel */
    double workers[SYN_CLASSES_MAX];
};

struct area_answer {
    double ns;                      /* a lower bound on the makespan */
    double prices[SYN_CLASSES_MAX]; /* what a worker's time on each class is worth; the sum over
                                       the workers is 1 */
};

/** Every kernel must be able to run on a class that has workers. NOMEM. */
SYN_MUST int area_solve(const struct area_problem *problem, struct area_answer *ret_answer,
                        struct syn_err *err);

#define AREA_KERNELS_MAX                                                     \
    256U /* those beyond share the last one's number: a split a little wrong \
          */

/* The caller's arrays, and what is found. A kernel here is the tasks that share a table of
 * estimates. */
struct area_split {
    uint32_t *kernel_of;               /* by task */
    uint32_t *excess;                  /* AREA_KERNELS_MAX x SYN_CLASSES_MAX: how much dearer than
                                          the best split pays, in ns of the dearest class */
    const struct syn_estimate **costs; /* AREA_KERNELS_MAX: by kernel */
    uint32_t kernels;
    double ns; /* the bound */
};

/** Number the kernels, tasks whose estimates are one table; returns how many. */
uint32_t area_number(const struct syn_graph_view *graph, const struct syn_estimate **costs,
                     uint32_t *kernel_of);

/** The same for what of a graph has not ended. NOMEM, which leaves kernel_of, costs and kernels
 * right. */
SYN_MUST int area_of_graph(const struct syn_platform *platform, const struct syn_graph_view *graph,
                           struct area_split *split, struct syn_err *err);

#endif
