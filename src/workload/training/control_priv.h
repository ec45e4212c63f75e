/* One step in the making: working copies of the documents, and what has been decided so far. */
#ifndef SYN_WORKLOAD_TRAINING_CONTROL_PRIV_H
#define SYN_WORKLOAD_TRAINING_CONTROL_PRIV_H

#include <synor/orchestration/life.h>
#include <synor/workload/training_control.h>
#include <synor/workload/training_spec.h>

#include "../member_priv.h"

#define CONTROL_MESSAGE_MAX 400

struct step {
    const struct syn_training_view *view;
    struct syn_training_spec spec;
    json_t *job; /* our copy */
    json_t *status;
    enum syn_job_state state;
    int64_t run;
    int64_t attempt;
    struct member *members; /* all of the job, any run */
    size_t members_count;
    json_t *created;
    json_t *events;
    bool settle;
    char bill_id[SYN_ID_MAX];
    int64_t wake_at_ms;
};

/* Is it of the attempt that the job's status speaks of? */
bool member_current(const struct step *step, const struct member *member);
/* "node-1 (rank 2)" is written often enough. */
const char *step_stop_requested(const struct step *step);
/* Whose request for room it is. */
/* What it asks of placement. */
struct syn_place_request step_request(const struct step *step);
struct syn_place_who step_who(const struct step *step);
void step_wake(struct step *step, int64_t at_ms);
/* The one way to change the state: asserts the edge of the life cycle and that the reason is one of
 * it. */
int step_state(struct step *step, enum syn_job_state state, const char *reason, struct syn_err *err,
               const char *format, ...) SYN_PRINTF(5, 6);
int step_event(struct step *step, const char *type, const char *reason, const char *message,
               const char *instance, struct syn_err *err);
/* The end of the run: state, ended_at, event. */
int step_end(struct step *step, enum syn_job_state state, const char *reason, const char *message,
             struct syn_err *err);
/* " It goes on from step 400 (checkpoint CID)." or "" into out; returns out. */
const char *checkpoint_text(const struct step *step, char *out, size_t cap);
/* Judge the attempt that is under way: follow it, wind it down, or conclude it. */
int attempt_step(struct step *step, struct syn_err *err);
/* Instances whose node is gone, or silent for too long, become lost. */
int attempt_mark_lost(struct step *step, struct syn_err *err);

#endif
