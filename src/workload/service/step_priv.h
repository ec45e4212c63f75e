/* What one step of a service works on, and what it has decided so far. */
#ifndef SYN_WORKLOAD_SERVICE_STEP_PRIV_H
#define SYN_WORKLOAD_SERVICE_STEP_PRIV_H

#include "control_priv.h"
#include "rollout_priv.h"
#include "stage_priv.h"

/* Who takes traffic, of those that are well. */
struct service_traffic {
    bool idle[3];        /* by enum rollout_group: they take none */
    uint32_t weights[3]; /* of each of them; 0: nothing is said */
};

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
    json_t *volumes; /* our copy */
    json_t *bound;   /* of them, those that were given a node */
    json_t *forgotten;
    struct rollout rollout;
    bool staged; /* the update has stages: */
    struct stage stage;
    int64_t base; /* the version beside which the wanted one is tried */
    struct service_traffic traffic;
    int64_t retry_ms;       /* no replica before that; SYN_DOCUMENT_NONE: now */
    uint32_t failures;      /* of the target that count */
    uint32_t done;          /* places whose replica ended and gets no successor */
    uint32_t done_badly;    /* of them, those that did not end well */
    const char *no_room;    /* why a replica has no place: a reason of a pending job; or NULL */
    char no_room_text[256]; /* the sentence */
    bool waits;             /* a replica is in the placement's queue */
    int64_t lock;
    bool settle, renew, new_window;
    char bill_id[SYN_ID_MAX];
    int64_t wake_at_ms;
};

/* --- a replica -------------------------------------------------------------------------------- */

int64_t service_version_of(const struct member *member);
/* Must it leave its node? */
bool service_leaving(const struct member *member);
/* Has it left traffic, to end what it has and then stop? */
bool service_draining(const struct member *member);
/* Does it drain, or was it asked to stop? */
bool service_going(const struct member *member);
/* Is it well, and could it be reached? */
bool service_ready(const struct step *step, const struct member *member);
/* Did it end without having been asked to? */
bool service_failed(const struct member *member);
/* The same, soon after its start, as one of the wanted version. */
bool service_failed_early(const struct step *step, const struct member *member);
enum rollout_group service_group(const struct step *step, const struct member *member);

/* --- what ended and is not started again (restart.c) ------------------------------------------ */

/* Did it end by itself, with exit status 0? */
bool service_ended_well(const struct member *member);
/* Did it end by itself, is it of the wanted version, and is none to come in its place? */
bool service_done(const struct step *step, const struct member *member);
/* Count those. */
void service_count_done(struct step *step);

/* --- phases in files of their own ------------------------------------------------------------- */

SYN_MUST int service_phase_verdict(struct step *step, struct syn_err *err); /* verdict.c */
SYN_MUST int service_phase_stage(struct step *step, struct syn_err *err);   /* staging.c */
SYN_MUST int service_phase_rollout(struct step *step, struct syn_err *err); /* replace.c */
SYN_MUST int service_phase_drain(struct step *step, struct syn_err *err);

/* The stage as the status has it. */
void service_stage_read(struct step *step);
/* What follows from it now. */
struct stage_plan service_stage_plan(const struct step *step);
/* Put it into the status, or take it from there when the update is over. */
SYN_MUST int service_stage_note(struct step *step, struct syn_err *err);
/* Find out who takes traffic as things are. */
void service_stage_traffic(struct step *step);

/* --- the step --------------------------------------------------------------------------------- */

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
