/* Instances of a function that are ready before it is called (function_prewarm.c). */
#ifndef SYN_SERVER_FUNCTION_PREWARM_PRIV_H
#define SYN_SERVER_FUNCTION_PREWARM_PRIV_H

#include <synor/orchestration/prewarm.h>

#include "function_priv.h"

#define SRV_PREWARM_SAY_MAX 400

/** Learn from a report of the gateway, within `txn`. */
SYN_MUST int srv_prewarm_learn(struct syn_server *server, struct srv_txn *txn, const json_t *report,
                               struct syn_err *err);
SYN_MUST int srv_prewarm_forget(struct srv_txn *txn, const char *function, struct syn_err *err);

/** What is wanted ahead of calls now, of the active version's pool. */
struct srv_prewarm {
    bool has_pool; /* it answers, and by instances; else the rest says nothing */
    bool has_gpus;
    bool predicts; /* --prewarm auto, and no GPUs, which would have to be paid for meanwhile */
    int64_t version;
    struct syn_prewarm_plan plan; /* as it would be where it does not predict */
    int64_t warm;                 /* its warm-up schedules' instances, or in a moment */
    int64_t paid, paid_until_ms;  /* of now: the account pays for them. INT64_MAX: no next time */
    int64_t least, idle_ms;       /* what the pool goes by */
    int64_t wake_at_ms;           /* look again then; INT64_MAX: when it was called */
};
SYN_MUST int srv_prewarm_look(struct syn_server *server, const json_t *function, int64_t now_ms,
                              struct srv_prewarm *ret, struct syn_err *err);
/** In a sentence, of one that has a pool. */
void srv_prewarm_say(const struct srv_prewarm *prewarm, char out[SRV_PREWARM_SAY_MAX]);
/** Put it into the function's status, as "prewarm". */
SYN_MUST int srv_prewarm_show(struct syn_server *server, json_t *function, struct syn_err *err);
/** Put what each warm-up of a checked spec costs into a plan, as "warmups". */
SYN_MUST int srv_prewarm_plan(struct syn_server *server, const json_t *spec, json_t *plan,
                              struct syn_err *err);

#endif
