/* What of a graph's data is on its way where. */
#ifndef SYNOR_COMPUTE_ARRIVALS_PRIV_H
#define SYNOR_COMPUTE_ARRIVALS_PRIV_H

#include "strategy_priv.h"

struct arrivals {
    const struct topology *topology;
    uint32_t handles;
    uint64_t link_ns[SYN_NODES_MAX]; /* by node and bus: when all that was sent for has come */
    uint64_t *at_ns; /* handle x node: when what was sent for should come; 0: it was not */
};

/** Keep track of `handles` tensors, or of none: there are too many, or no memory. The topology is
 * borrowed. */
void arrivals_init(struct arrivals *arrivals, const struct topology *topology, uint32_t handles);
void arrivals_fini(struct arrivals *arrivals);

static inline bool
arrivals_known(const struct arrivals *arrivals)
{
    return arrivals->at_ns != NULL;
}

/** For every group: how long the links would carry what must yet be sent for, and when all of the
 * task's data will be there. */
void arrivals_look(const struct arrivals *arrivals, const struct syn_ready *ready, uint64_t now_ns,
                   uint64_t *ret_moves_ns, uint64_t *ret_theres_ns);
/** A task was placed: what it reads is sent for, what it writes will be nowhere else. */
void arrivals_note(struct arrivals *arrivals, const struct syn_ready *ready, uint32_t node,
                   uint64_t now_ns);

#endif
