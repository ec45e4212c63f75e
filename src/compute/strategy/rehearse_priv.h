/* Where policies are tried before one is chosen: the graph on the modelled platform. */
#ifndef SYNOR_COMPUTE_REHEARSE_PRIV_H
#define SYNOR_COMPUTE_REHEARSE_PRIV_H

#include <synor/plan.h>

#include "../sim/sim_priv.h"
#include "eft_priv.h"

enum goal { GOAL_TIME, GOAL_ENERGY, GOAL_PRICE };

struct candidate {
    const struct syn_strategy_ops *ops;
    struct eft_policy policy;
};

/* A score is the same if it is the same array. */
bool candidate_same(const struct candidate *a, const struct candidate *b);
/* For a graph that is not rehearsed. */
const struct candidate *stage_default(void);

/* A rehearsal's times, by task, for a policy to hold on to. */
struct stage_score {
    uint64_t *dues; /* when the first of what waits for it began */
    uint64_t *ends; /* the same, or when its worker's next task began, if that is sooner */
};

#define STAGE_SIDES  3U /* those that run, the best, and what is tried */
#define STAGE_SCORES 4U /* that which runs, the best, where it came from, and what is tried */

struct stage {
    const struct syn_platform *platform;
    const struct syn_graph_view *graph;
    enum goal goal;
    uint64_t seed;
    uint32_t left; /* rehearsals that may still be held */
    struct syn_plan_event *trace;
    const struct sim_busy *busy; /* by worker: what it is at now; NULL: all are idle */
    uint64_t *begins;            /* by task */
    struct stage_score scores[STAGE_SCORES];
    uint8_t *sides[STAGE_SIDES];
    const uint8_t *running_sides;   /* that must stay as they are, or NULL */
    const uint64_t *running, *held; /* dues that must stay as they are, or NULL */
};

/** NOMEM. The graph is borrowed; what has ended in it may change. */
SYN_MUST int stage_init(struct stage *stage, const struct syn_platform *platform,
                        const struct syn_graph_view *graph, struct syn_err *err);
void stage_fini(struct stage *stage);

/** The fastest candidate for what has not ended, and how long it takes; 0: none could be rehearsed,
 * and *best is as it was. `running` (NULL: none) has been running for `elapsed_ns`; with `keep` it
 * stays the best unless another is faster by more than a little. */
uint64_t stage_fastest(struct stage *stage, const struct candidate *running, bool keep,
                       uint64_t elapsed_ns, struct candidate *best);

/** How long what has not ended takes if `running`, since `elapsed_ns`, goes on; 0: unknown. */
uint64_t stage_expect(struct stage *stage, const struct candidate *running, uint64_t elapsed_ns);

/** Make *best cheaper, its run taking no longer than `limit_ns`; again: the graph runs already. */
void stage_economise(struct stage *stage, bool again, uint64_t limit_ns, struct candidate *best);

#endif
