/* Which class each task of a graph had better run on, by the whole. */
#ifndef SYNOR_COMPUTE_SIDES_PRIV_H
#define SYNOR_COMPUTE_SIDES_PRIV_H

#include <synor/strategy.h>

struct sides;

/** For what of the graph has not ended, by the estimates as they are; both are borrowed. NOMEM. */
SYN_MUST int sides_new(const struct syn_platform *platform, const struct syn_graph_view *graph,
                       struct sides **ret_sides, struct syn_err *err);
struct sides *sides_free(struct sides *sides);
/** Begin anew, with chains that are to take no more than `chain_part` of the whole: the less, the
 * more time is left for waiting. NOMEM. */
SYN_MUST int sides_aim(struct sides *sides, double chain_part, struct syn_err *err);
/** Look for a better split, so many steps. */
void sides_run(struct sides *sides, uint32_t steps);
/** A class for each task, so that classes get the shares that the split gives them; last: of the
 * last step and not the mean; together: tasks that only one other waits for stay on one class. */
void sides_write(struct sides *sides, bool last, bool together, uint8_t *ret_classes);

#endif
