/* The stages of an update that is more than "old ones leave as new ones become ready". Numbers
 * alone, no documents: what is kept over a crash is struct stage, which stands in the service's
 * status. */
#ifndef SYN_WORKLOAD_SERVICE_STAGE_PRIV_H
#define SYN_WORKLOAD_SERVICE_STAGE_PRIV_H

#include <synor/base/err.h>
#include <synor/workload/service_control.h>
#include <synor/workload/service_spec.h>

#include "rollout_priv.h"

enum stage_word {
    STAGE_STARTING,  /* the replicas that the new version is to have in this step are coming */
    STAGE_TESTING,   /* canary: it has its part of what comes; blue-green: it could take over */
    STAGE_FINISHING, /* old ones leave as new ones become ready */
    STAGE_KEPT,      /* blue-green: it has taken over; the old ones stay for a rollback */
    STAGE_LEAVING,   /* the time of those is over */
};

/* What people said since the last step. */
enum stage_promotion { STAGE_UNSAID, STAGE_PROMOTED, STAGE_PROMOTED_FULLY };

struct stage {
    enum stage_word word;
    uint32_t step; /* canary: which of its weights */
    int64_t since_ms;
    enum stage_promotion promotion;
    bool back; /* a return to what worked: it waits for nobody */
};

/* What there is. */
struct stage_sight {
    uint32_t want;
    uint32_t fresh_ready; /* well, of the new version */
    uint32_t base;        /* live, of the one before */
    int64_t now_ms;
};

/* What follows from the stage. */
struct stage_plan {
    uint32_t fresh;         /* replicas of the new version */
    enum rollout_base base; /* what becomes of the one before */
    uint32_t percent;       /* of what comes to the new version: 0 none, 100 all; between: a part */
    bool mixed;             /* as many parts as replicas, whosesoever: no part is asked for */
    int64_t until_ms;       /* it goes on then by itself; INT64_MAX: it does not */
    bool by_hand;           /* it waits for somebody */
};

/* "starting", ... */
const char *stage_name(enum stage_word word);
/* -1: there is none of that name. */
int stage_find(const char *name);

/* Replicas that the step's part of what comes is for: as large a part of those wanted, rounded up.
 */
uint32_t stage_replicas(uint32_t want, uint32_t percent);
/* Go on to the next stage when it is time to. Called again until it says false: then nothing is to
 * be done until something changes or the plan's time comes. */
bool stage_advance(struct stage *stage, const struct syn_service_rollout *rollout,
                   const struct stage_sight *sight);
struct stage_plan stage_plan(const struct stage *stage, const struct syn_service_rollout *rollout,
                             uint32_t want);

/* Has the new version so many more errors among its answers than the old one that it must go? Not
 * for fewer than SYN_SERVICE_CANARY_ERRORS_MIN of them. */
bool stage_errs(const struct syn_service_answers *fresh, const struct syn_service_answers *old,
                uint32_t max_permille);

#endif
