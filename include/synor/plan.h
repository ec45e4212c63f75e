/* The planner: a discrete-event run of a strategy on modelled devices.
 *
 * Tasks take modelled time (with noise, and with a profile that may be wrong), links are servers
 * with a queue, memories have a capacity and evict, workers draw power. The strategy is the one
 * that the runtime would call. The same seed gives the same run, bit by bit. Pure. */
#ifndef SYNOR_PLAN_H
#define SYNOR_PLAN_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/strategy.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_PLAN_TASKS_MAX   (1U << 22)
#define SYN_PLAN_KERNELS_MAX 1024U /* a kernel at one size: tasks that take equally long */
#define SYN_PLAN_USES_MAX    64U   /* of one task */

/** A graph under construction, then fixed. Dependencies follow from the order of the tasks and
 * how they use data, as in the runtime: reads after the last write, writes after all before. */
struct syn_plan_graph;

SYN_MUST SYN_API int syn_plan_graph_new(struct syn_plan_graph **ret_graph, struct syn_err *err);
SYN_API struct syn_plan_graph *syn_plan_graph_free(struct syn_plan_graph *graph);
SYN_API void syn_plan_graph_free_scope(struct syn_plan_graph **slot);

/** What a kernel at one size costs: enough for a roofline. */
struct syn_plan_kernel {
    char name[24];
    double flops;
    double bytes;                             /* of memory traffic */
    uint32_t efficiency_ppt[SYN_CLASSES_MAX]; /* of the class's rate, in thousandths; 0: cannot */
};

/** These append; the numbers count from 0. CONFLICT: a limit is reached. */
SYN_MUST SYN_API int syn_plan_kernel_add(struct syn_plan_graph *graph,
                                         const struct syn_plan_kernel *kernel, uint32_t *ret_id,
                                         struct syn_err *err);
/** Data of `bytes`, valid on node 0; or nowhere until a task writes it, if not `ready`. */
SYN_MUST SYN_API int syn_plan_data_add(struct syn_plan_graph *graph, uint64_t bytes, bool ready,
                                       uint32_t *ret_id, struct syn_err *err);

struct syn_plan_use {
    uint32_t data;
    enum syn_access mode;
};

SYN_MUST SYN_API int syn_plan_task_add(struct syn_plan_graph *graph, uint32_t kernel,
                                       const struct syn_plan_use *uses, uint32_t use_count,
                                       uint32_t *ret_id, struct syn_err *err);

/** Have the task that was added last come after `before`, besides what its data say. INVALID: there
 * is no such task before it. */
SYN_MUST SYN_API int syn_plan_order_add(struct syn_plan_graph *graph, uint32_t before,
                                        struct syn_err *err);

/** Make the edges. After it the graph is fixed. */
SYN_MUST SYN_API int syn_plan_graph_seal(struct syn_plan_graph *graph, struct syn_err *err);
SYN_API uint32_t syn_plan_task_count(const struct syn_plan_graph *graph);
/** Successors of a task, ascending. Borrowed from the sealed graph. */
SYN_API const uint32_t *syn_plan_successors(const struct syn_plan_graph *graph, uint32_t task,
                                            uint32_t *ret_count);

/** Ready-made graphs, sealed. `tile` is the edge of a tile in elements of 8 bytes. */
SYN_MUST SYN_API int syn_plan_cholesky(uint32_t tiles, uint32_t tile,
                                       struct syn_plan_graph **ret_graph, struct syn_err *err);
SYN_MUST SYN_API int syn_plan_lu(uint32_t tiles, uint32_t tile, struct syn_plan_graph **ret_graph,
                                 struct syn_err *err);
/** `layers` transformer blocks over `batch` sequences: per-head attention, projections, MLP. */
SYN_MUST SYN_API int syn_plan_transformer(uint32_t layers, uint32_t batch, uint32_t heads,
                                          struct syn_plan_graph **ret_graph, struct syn_err *err);
/** Random layers of at most `width` tasks, each with up to 3 inputs of the layers before. */
SYN_MUST SYN_API int syn_plan_layered(uint32_t layers, uint32_t width, uint64_t seed,
                                      struct syn_plan_graph **ret_graph, struct syn_err *err);

/** A modelled machine: the platform, and how fast each class computes. */
struct syn_plan_machine {
    struct syn_platform platform;
    const struct syn_plan_rate *rates; /* one a class */
};

struct syn_plan_rate {
    double flops_per_s;
    double bytes_per_s;
    uint64_t launch_ns;
    uint8_t column; /* of syn_plan_kernel.efficiency_ppt */
};

/** One run. Everything but the first three may be 0. */
struct syn_plan_opts {
    const struct syn_plan_machine *machine;
    const struct syn_plan_graph *graph;
    const struct syn_strategy_ops *strategy;
    struct syn_strategy_opts strategy_opts;
    uint64_t seed;
    uint32_t noise_permille;         /* spread of a task's time about its mean (std. deviation) */
    uint32_t profile_error_permille; /* estimates begin up to so much wrong, per kernel and class */
    bool learn;                      /* estimates follow what is measured */
    bool give_graph;                 /* the strategy is shown the graph before it runs */
};

struct syn_plan_event {
    uint32_t task;
    uint32_t worker;
    uint64_t pop_ns;   /* the worker took it and waited for its data */
    uint64_t begin_ns; /* it computed from here */
    uint64_t end_ns;
    uint8_t state;
};

struct syn_plan_result {
    uint64_t makespan_ns;
    uint64_t energy_uj; /* busy, idle and switching, of every worker until the makespan */
    uint64_t busy_ns;   /* of all workers */
    uint64_t moved_bytes;
    uint64_t price; /* what the busy device-time costs, in 10^-9 units */
    uint32_t transfers;
    uint32_t evictions;
    uint32_t late;        /* tasks that ended after their deadline */
    uint64_t refused;     /* pops that gave nothing although something waited */
    uint64_t unexplained; /* of these, how many said EMPTY: a defect of the strategy */
    uint64_t node_peak_bytes[SYN_NODES_MAX];
};

/** Run. `trace` (may be NULL) has room for one event a task, in the order of their ends. Returns
 * 0; INVALID, NOMEM, UNAVAILABLE (a task fits no class), NOSPACE (its data fit no node), CONFLICT
 * (the strategy left tasks waiting with every worker idle). */
SYN_MUST SYN_API int syn_plan_run(const struct syn_plan_opts *opts, struct syn_plan_event *trace,
                                  struct syn_plan_result *ret_result, struct syn_err *err);

/** No schedule of this graph on this machine is shorter; what each field rests on is proven in
 * src/compute/plan/bound.c and window.c. */
struct syn_plan_bound {
    uint64_t area_ns;     /* the fractional assignment of tasks to classes that ends first */
    uint64_t critical_ns; /* the longest path, every task on its fastest class */
    uint64_t simple_ns;   /* the larger of the two: the bound of the literature, no transfers */
    uint64_t path_ns;     /* the longest path with the transfers between its classes */
    uint64_t window_ns;   /* the area of what has far to go before and after it, and that way */
    uint64_t bound_ns;    /* the largest of all */
};
SYN_MUST SYN_API int syn_plan_bound(const struct syn_plan_machine *machine,
                                    const struct syn_plan_graph *graph,
                                    struct syn_plan_bound *ret_bound, struct syn_err *err);

/** No schedule of this graph that ends by `deadline_ns` takes less energy; proven in
 * src/compute/plan/energy_bound.c. Returns 0; INVALID (none ends by then), UNAVAILABLE, NOMEM. */
SYN_MUST SYN_API int syn_plan_energy_bound(const struct syn_plan_machine *machine,
                                           const struct syn_plan_graph *graph, uint64_t deadline_ns,
                                           uint64_t *ret_uj, struct syn_err *err);

#ifdef __cplusplus
}
#endif
#endif
