/* The engine below the planner: a strategy driven over modelled workers, links and memories.
 *
 * It knows tasks only as strategies do (syn_graph_view), so strategies that plan rehearse on it
 * with what they believe, and the planner runs them on it with what is. */
#ifndef SYNOR_COMPUTE_SIM_PRIV_H
#define SYNOR_COMPUTE_SIM_PRIV_H

#include <synor/plan.h>
#include <synor/strategy.h>

/* What a task of unknown length is taken to last. */
#define SIM_UNKNOWN_NS UINT64_C(10000)

/* What a worker is at when the run begins. */
struct sim_busy {
    uint32_t task;     /* SYN_NO_INDEX: nothing */
    uint64_t spent_ns; /* on it so far */
};

struct sim_setup {
    const struct syn_platform *platform;
    const struct syn_graph_view *graph;
    const struct syn_strategy_ops *strategy;
    struct syn_strategy_opts strategy_opts;
    bool give_graph;
    uint64_t give_up_ns; /* end with CONFLICT once the clock passes it; 0: never */
    struct syn_plan_event *trace;
    const struct sim_busy *busy; /* by worker; NULL: all are idle */
    /* How long `task` really takes on a class, and news of how long it did. NULL: as estimated. */
    uint64_t (*duration)(void *arg, uint32_t task, uint32_t class_id);
    void (*measured)(void *arg, uint32_t task, uint32_t class_id, uint64_t ns);
    void *arg;
};

/** As syn_plan_run(). */
SYN_MUST int sim_run(const struct sim_setup *setup, struct syn_plan_result *ret_result,
                     struct syn_err *err);

#endif
