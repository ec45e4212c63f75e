/* Area and chains in one bound. */
#ifndef SYNOR_COMPUTE_PLAN_MIXED_PRIV_H
#define SYNOR_COMPUTE_PLAN_MIXED_PRIV_H

#include "../sim/area_priv.h"
#include "graph_priv.h"

struct mixed_problem {
    const struct syn_plan_graph *graph;
    uint32_t classes;
    const uint64_t *times; /* kernel x class; SYN_NEVER: cannot, or no worker */
    double workers[SYN_CLASSES_MAX];
    const bool *inside; /* by task: those whose work is counted; NULL: all */
    bool area_only;     /* ask for no chains */
};

/** What each task adds to the bound, ns: the sum over those inside is a lower bound on the time in
 * which they can be done, and so is the sum over any part of them, or of the whole graph. NOMEM. */
SYN_MUST int mixed_solve(const struct mixed_problem *problem, double *values, struct syn_err *err);

#endif
