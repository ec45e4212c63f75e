/* How early and how late a task can be, and what that adds to the area bound. */
#ifndef SYNOR_COMPUTE_PLAN_WINDOW_PRIV_H
#define SYNOR_COMPUTE_PLAN_WINDOW_PRIV_H

#include "graph_priv.h"

struct window_answer {
    uint64_t path_ns;   /* the longest chain with the transfers that it cannot do without */
    uint64_t window_ns; /* the most that a set of tasks with what lies around it must take */
};

/** Every kernel that has tasks must run on a class that has workers. NOMEM. */
SYN_MUST int window_bound(const struct syn_plan_machine *machine,
                          const struct syn_plan_graph *graph, struct window_answer *ret_answer,
                          struct syn_err *err);

#endif
