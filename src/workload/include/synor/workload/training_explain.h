/* Why a training job is in the state it is in, and what would change that. */
#ifndef SYNOR_WORKLOAD_TRAINING_EXPLAIN_H
#define SYNOR_WORKLOAD_TRAINING_EXPLAIN_H

#include <synor/base/json.h>
#include <synor/orchestration/place.h>

#define SYN_TRAINING_EXPLAIN_LINES_MAX 20

struct syn_training_units;

/** What there is to explain from. Borrowed for the call. */
struct syn_training_explain_view {
    const json_t *job;
    const json_t *instances;  /* its instance documents; NULL is none */
    const json_t *last_lines; /* array of text: the end of the failed rank's log; NULL is none */
    struct syn_training_observed {
        int64_t memory_peak_bytes; /* the largest of its ranks */
        int64_t throttled_ms;      /* all ranks together: held back by the CPU limit, of */
        int64_t metered_ms;
    } observed; /* in the present run; zeros when nothing was measured */
    struct syn_cluster *cluster;
    const struct syn_quota *quota;     /* the account's; NULL is no limit */
    const struct syn_place_turn *turn; /* its place in the queue; NULL: it has none, or who knows */
    int64_t now_ms;
    const struct syn_pricebook *book;       /* prices what has no lease; NULL: nothing */
    const struct syn_training_units *units; /* of a job that takes reserved ones; NULL: not known */
};

/**
 * Explain: {id, state, reason, message, why[{dimension,node,need,have,message}], fix[text],
 * leases[{instance,rank,node,rate_hour,lease|null}]}. `why` is never empty; `fix` holds literal
 * commands where there are any; `leases` are those of the newest attempt's instances that hold
 * something. With a turn also {position, queue, expected_start_at}, the last null where the end of
 * what runs is not known.
 *
 * Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM.
 */
SYN_MUST int syn_training_explain(const struct syn_training_explain_view *view, json_t **ret,
                                  struct syn_err *err);

#endif
