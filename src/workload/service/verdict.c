/* Has the wanted version failed? Then the last one that worked is wanted again. */
#include "step_priv.h"

#include <synor/orchestration/document.h>

/* Was it an instance of a function that was ready once? What ends such a one is a call, and the
 * next call is not to wait for long because of that. */
static bool
served(const struct member *member)
{
    return json_is_object(json_object_get(member->status, "start"));
}

/* How the wanted version has done: its failures, and when the next replica may be started. */
static void
look_at_failures(struct step *step, uint32_t *ret_all)
{
    int64_t last_ms = 0, last_served_ms = 0;

    *ret_all = 0;
    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];
        int64_t ended_ms = syn_document_time(member->status, "ended_at");

        ended_ms = ended_ms == SYN_DOCUMENT_NONE ? 0 : SYN_MIN(ended_ms, step->view->now_ms);
        if (!service_failed_early(step, member))
            continue;
        if (served(member)) {
            last_served_ms = SYN_MAX(last_served_ms, ended_ms);
            continue;
        }
        (*ret_all)++;
        if (ended_ms + SYN_SERVICE_BACKOFF_WINDOW_MS <= step->view->now_ms)
            continue;
        step->failures++;
        last_ms = SYN_MAX(last_ms, ended_ms);
    }
    if (step->failures > 0)
        step->retry_ms = rollout_retry_at(step->failures, step->spec.replicas, last_ms);
    if (last_served_ms > 0)
        step->retry_ms = SYN_MAX(step->retry_ms, last_served_ms + SYN_SERVICE_BACKOFF_FIRST_MS);
}

/* So many of the version that is tried ended by themselves since it was deployed, soon or late. */
static uint32_t
failures_in_trial(const struct step *step)
{
    int64_t since_ms = syn_document_time(step->status, "deployed_at");
    uint32_t found = 0;

    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];
        int64_t ended_ms = syn_document_time(member->status, "ended_at");

        found += service_failed(member) && !served(member) && member->run == step->run &&
                 service_version_of(member) == step->target &&
                 !(service_ended_well(member) && service_done(step, member)) &&
                 (ended_ms == SYN_DOCUMENT_NONE || ended_ms >= since_ms);
    }
    return found;
}

static int
roll_back(struct step *step, const char *why, struct syn_err *err)
{
    int64_t from = step->target;
    const json_t *version = syn_document_version(step->view->versions, step->stable);
    uint32_t failures;
    int rc;

    if (!version)
        return SYN_FAIL(err, SYN_E_CORRUPT, "version %lld is gone", (long long)step->stable);
    rc = service_go_back(step->service, version, why, err);
    if (rc == SYN_OK)
        rc = service_step_event(step, "rolled-back", "rolled-back", NULL, err,
                                "version %lld %s; version %lld is wanted again", (long long)from,
                                why, (long long)step->stable);
    step->target = step->stable;
    step->retry_ms = SYN_DOCUMENT_NONE;
    step->failures = 0;
    service_step_read_spec(step);
    service_stage_read(step);
    look_at_failures(step, &failures);
    service_count_done(step);
    return rc;
}

/* A canary's answers, beside those of the version that works. */
static bool
errs(const struct step *step, char *ret_why, size_t size)
{
    const struct syn_service_answers *answers = step->view->answers;
    const struct syn_service_answers *fresh = answers ? &answers[SYN_SERVICE_NEW] : NULL;
    const struct syn_service_answers *old = answers ? &answers[SYN_SERVICE_OLD] : NULL;

    if (!answers || !stage_errs(fresh, old, step->spec.rollout.max_errors_permille))
        return false;
    (void)snprintf(ret_why, size,
                   "answered %llu of %llu requests with errors (the one before: %llu of %llu)",
                   (unsigned long long)fresh->errors, (unsigned long long)fresh->answers,
                   (unsigned long long)old->errors, (unsigned long long)old->answers);
    return true;
}

/* Is the new version being tried, beside one that has most of what comes or all? */
static bool
in_trial(const struct step *step)
{
    return step->staged &&
           (step->stage.word == STAGE_STARTING || step->stage.word == STAGE_TESTING);
}

int
service_phase_verdict(struct step *step, struct syn_err *err)
{
    int64_t since_ms =
        step->staged ? step->stage.since_ms : syn_document_time(step->status, "deployed_at");
    char why[160];
    uint32_t all = 0, tried;

    if (step->state == SYN_SERVICE_STOPPED ||
        json_is_string(json_object_get(step->status, "stop_requested")))
        return SYN_OK;
    look_at_failures(step, &all);
    service_count_done(step);
    if (step->target == step->stable || step->stable == 0)
        return SYN_OK;
    if (step->done_badly > 0)
        return roll_back(step, "failed, and is not to be restarted", err);
    tried = in_trial(step) ? SYN_MAX(service_stage_plan(step).fresh, 1U) : 0;
    if (all >= SYN_SERVICE_FAILURES_MAX * SYN_MAX(step->spec.replicas, 1U))
        return roll_back(step, "failed again and again", err);
    if (tried > 0 && failures_in_trial(step) >= tried)
        return roll_back(step, "failed while it was tried", err);
    if (in_trial(step) && errs(step, why, sizeof(why)))
        return roll_back(step, why, err);
    if (step->staged && step->stage.word == STAGE_TESTING)
        return SYN_OK; /* its time is its pause */
    since_ms += step->spec.update_deadline_ms;
    if (step->view->now_ms >= since_ms)
        return roll_back(step, "did not become ready in time", err);
    service_step_wake(step, since_ms);
    return SYN_OK;
}
