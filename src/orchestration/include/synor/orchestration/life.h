/* The life cycles of jobs and instances, and the stable words that say why they are where they are.
 */
#ifndef SYNOR_ORCHESTRATION_LIFE_H
#define SYNOR_ORCHESTRATION_LIFE_H

#include <synor/base/core.h>
#include <synor/base/sm.h>

/** States of one run of a job. `resume` begins a new run, whose life starts at pending again. */
enum syn_job_state {
    SYN_JOB_PENDING,
    SYN_JOB_STARTING,
    SYN_JOB_RUNNING,
    SYN_JOB_STOPPING,
    SYN_JOB_SUCCEEDED,
    SYN_JOB_FAILED,
    SYN_JOB_STOPPED,
};

/** What the API calls an instance's state; a runtime's own states are others. */
enum syn_instance_phase {
    SYN_PHASE_ASSIGNED,
    SYN_PHASE_PREPARING,
    SYN_PHASE_RUNNING,
    SYN_PHASE_STOPPING,
    SYN_PHASE_EXITED,
    SYN_PHASE_LOST,
};

extern const struct syn_sm syn_job_life;
extern const struct syn_sm syn_instance_life;

/** One reason of one state: the stable word, the sentence when nobody has a better one, and what a
 *  person can do about it ("" when there is nothing to do). All strings are static. */
struct syn_reason {
    unsigned state;
    const char *word;
    const char *sentence;
    const char *way_out;
};

/** Rows in state order. */
const struct syn_reason *syn_job_reasons(size_t *ret_count);
const struct syn_reason *syn_instance_reasons(size_t *ret_count);
/** The row, or NULL when `word` is no reason of `state`. */
const struct syn_reason *syn_job_reason(unsigned state, const char *word);
const struct syn_reason *syn_instance_reason(unsigned state, const char *word);

/** The state named by a document's status.state; -1 for a word that is none. */
int syn_job_state_find(const char *name);
int syn_instance_state_find(const char *name);
/** Exited or lost: nothing of it runs any more as far as the platform is concerned. */
bool syn_instance_ended(unsigned state);

#endif
