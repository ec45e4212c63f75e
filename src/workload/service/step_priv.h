/* What one step of a service works on, and what it has decided so far. */
#ifndef SYN_WORKLOAD_SERVICE_STEP_PRIV_H
#define SYN_WORKLOAD_SERVICE_STEP_PRIV_H

#include "control_priv.h"
#include "rollout_priv.h"

struct step {
    const struct syn_service_view *view;
    struct syn_service_spec spec; /* the service's: scale, pace, money */
    json_t *service;              /* our copy */
    json_t *status;
    enum syn_service_state state;
    int64_t run;
    int64_t serial; /* of the last replica made */
    int64_t target; /* the version wanted */
    int64_t stable; /* the last one that worked; 0: none yet */
    struct member *members;
    size_t members_count;
    json_t *created;
    json_t *events;
    json_t *forgotten;
    struct rollout rollout;
    int64_t retry_ms;       /* no replica before that; SYN_DOCUMENT_NONE: now */
    uint32_t failures;      /* of the target that count */
    const char *no_room;    /* why a replica has no place: a reason of a pending job; or NULL */
    char no_room_text[256]; /* the sentence */
    bool waits;             /* a replica is in the placement's queue */
    int64_t lock;
    bool settle, renew, new_window;
    char bill_id[SYN_ID_MAX];
    int64_t wake_at_ms;
};

/* Look again then at the latest. */
void service_step_wake(struct step *step, int64_t at_ms);
SYN_MUST int service_step_event(struct step *step, const char *type, const char *reason,
                                const char *instance, struct syn_err *err, const char *format, ...)
    SYN_PRINTF(6, 7);
SYN_MUST int service_step_state(struct step *step, enum syn_service_state state, const char *reason,
                                const char *message, struct syn_err *err);
/* Copy and check the documents. Owner: the caller's to service_step_fini(), also after a failure.
 */
SYN_MUST int service_step_read(const struct syn_service_view *view, struct step *step,
                               struct syn_err *err);
/* Read the spec of our copy again: it, or how many replicas there are to be, has changed. */
void service_step_read_spec(struct step *step);
void service_step_fini(struct step *step);

#endif
