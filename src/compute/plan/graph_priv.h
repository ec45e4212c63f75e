/* The body of a plan's graph, for the planner's own files. */
#ifndef SYNOR_COMPUTE_PLAN_GRAPH_PRIV_H
#define SYNOR_COMPUTE_PLAN_GRAPH_PRIV_H

#include <synor/plan.h>

struct plan_task {
    uint32_t kernel;
    uint32_t use_first;
    uint32_t use_count;
    uint32_t pred_count; /* distinct */
};

struct plan_data {
    uint64_t bytes;
    bool ready;
};

/* `after` comes after `before` without sharing data; ascending by `after`. */
struct plan_order {
    uint32_t before, after;
};

struct syn_plan_graph {
    struct plan_order *orders;
    size_t order_count, order_cap;
    struct syn_plan_kernel *kernels;
    struct plan_data *data;
    struct plan_task *tasks;
    struct syn_plan_use *uses;
    size_t kernel_count, kernel_cap;
    size_t data_count, data_cap;
    size_t task_count, task_cap;
    size_t use_count, use_cap;
    uint32_t *succ_first; /* task_count + 1, once sealed */
    uint32_t *succ;
    bool sealed;
};

/** Mean time of a kernel on a class in its fastest state; SYN_NEVER when it has no code for it. */
uint64_t plan_kernel_ns(const struct syn_plan_kernel *kernel, const struct syn_plan_rate *rate);

#endif
