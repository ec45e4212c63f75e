/* One attempt: all ranks placed together, and ending together.
 *
 *     some rank lost, or failed by itself  -> the others are stopped ("peer-failed", "node-lost")
 *     a stop was asked for                 -> all are stopped, with the grace to save a checkpoint
 *     it must give way, or is outbid       -> likewise ("preempted", "drained", "outbid")
 *     all ended                            -> the verdict:
 *         all completed                        succeeded (also when a stop came too late)
 *         stop asked for                       stopped, or failed/time-limit
 *         it gave way                          pending, with that word, and another attempt
 *         any lost                             pending/node-lost, and another attempt
 *         else the rank that failed first      retried while retries are left, or failed with its
 * cause
 *
 * A lost node outranks failures because it causes them: the surviving ranks die of a broken
 * connection. */
#include "control_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>

static const struct {
    const char *instance; /* reason of an exited instance */
    const char *job;      /* reason of the failed job */
} causes[] = {
    {"failed", "exit-nonzero"},       {"oom-killed", "oom-killed"},
    {"time-limit", "time-limit"},     {"start-failed", "start-failed"},
    {"scratch-full", "scratch-full"}, {"pids-limit", "pids-limit"},
};

/* The job's reason when an instance that ended so is the cause of its end, or NULL. */
static const char *
cause_of(const struct member *member)
{
    if (member->state != SYN_PHASE_EXITED)
        return NULL;
    for (size_t i = 0; i < SYN_LEN(causes); i++)
        if (syn_str_eq(causes[i].instance, member->reason))
            return causes[i].job;
    return NULL;
}

static bool
completed(const struct member *member)
{
    return member->state == SYN_PHASE_EXITED && syn_str_eq(member->reason, "completed");
}

/* Lost with its node, or stopped there without anybody here having asked for it. */
static bool
lost(const struct member *member)
{
    return member->state == SYN_PHASE_LOST || (member->ended && !completed(member) &&
                                               !cause_of(member) && !member_asked_to_stop(member));
}

/* What the ranks of the attempt under way look like together. */
struct attempt {
    size_t count;
    size_t ended;
    size_t completed;
    size_t running; /* or beyond */
    size_t preparing;
    const struct member *lost;   /* the first that is */
    const struct member *cause;  /* the first to fail by itself */
    const struct member *silent; /* the first live one whose node is silent */
    const char *way; /* it gives way: "preempted", "outbid", "drained", "units-over"; or NULL */
};

/* Is the member on its way out, to make way? Whoever is stays so, whatever prices do. */
static const char *
gives_way(const struct member *member)
{
    static const char *const words[] = {"preempted", "outbid", "drained", "units-over"};
    const char *said = syn_json_str(member->spec, "stop_reason", "");

    for (size_t i = 0; i < SYN_LEN(words); i++)
        if (member_asked_to_stop(member) && syn_str_eq(said, words[i]))
            return words[i];
    return NULL;
}

/* Does the market ask more now, where the member runs, than it bids? */
static bool
outbid(const struct step *step, const struct member *member)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, member->node);
    const json_t *resources = json_object_get(member->spec, "resources");
    const struct syn_cost_ask ask = {
        .amounts = step->spec.amounts,
        .gpus = syn_json_i64(resources, "gpus", 0),
        .gpu_permille = syn_json_i64(resources, "gpu_permille", 0),
        .gpu_model = syn_json_str(resources, "gpu_model", ""),
        .count = 1,
        .spot = true,
    };
    struct syn_cost cost;

    return step->spec.spot && node && !member->ended &&
           syn_cost_on(node, NULL, &ask, &cost, NULL) == SYN_OK &&
           cost.rate_hour > step->spec.max_price;
}

/* Are its units nearly over, and no more begun? */
static bool
units_over(struct step *step)
{
    const struct syn_training_units *units = step->view->units;
    int64_t lead_ms;

    if (!units || units->until_ms == 0)
        return false;
    lead_ms = syn_training_units_lead(step->job, units->until_ms, units->unit_ms);
    if (step->view->now_ms >= lead_ms)
        return true;
    step_wake(step, lead_ms);
    return false;
}

/* Did `a` fail before `b`? Ranks that were told to end come last: they did not begin it. */
static bool
failed_before(const struct member *a, const struct member *b)
{
    int64_t a_ms = syn_document_time(a->status, "ended_at");
    int64_t b_ms = syn_document_time(b->status, "ended_at");

    if (member_asked_to_stop(a) != member_asked_to_stop(b))
        return !member_asked_to_stop(a);
    return a_ms != b_ms ? a_ms < b_ms : a->rank < b->rank;
}

static struct attempt
attempt_read(struct step *step)
{
    struct attempt attempt = {0};

    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];
        const struct syn_node_view *node;

        if (!member_current(step, member))
            continue;
        attempt.count++;
        attempt.ended += member->ended;
        attempt.completed += completed(member);
        attempt.running += member->state >= SYN_PHASE_RUNNING;
        attempt.preparing += member->state >= SYN_PHASE_PREPARING;
        if (!attempt.way)
            attempt.way = gives_way(member);
        if (!attempt.way && outbid(step, member))
            attempt.way = "outbid";
        if (lost(member) && !attempt.lost)
            attempt.lost = member;
        if (cause_of(member) && (!attempt.cause || failed_before(member, attempt.cause)))
            attempt.cause = member;
        node = member->ended ? NULL : syn_cluster_find(step->view->cluster, member->node);
        if (node && node->state == SYN_NODE_SILENT && !attempt.silent)
            attempt.silent = member;
    }
    if (!attempt.way && attempt.ended < attempt.count && units_over(step))
        attempt.way = "units-over";
    if (!attempt.way)
        attempt.way = syn_place_evicted(step->view->cluster, syn_document_id(step->job));
    return attempt;
}

/* ---- lost nodes ---- */

static int64_t
silent_max_ms(const struct step *step)
{
    return step->view->silent_max_ms > 0 ? step->view->silent_max_ms : SYN_TRAINING_SILENT_MAX_MS;
}

/* Would the job find room now? The silent node itself takes nothing. */
static bool
room_elsewhere(const struct step *step)
{
    struct syn_place_request request = step_request(step);
    struct syn_placement placement;

    return syn_place(step->view->cluster, &request, &placement, NULL) == SYN_OK;
}

/* A silent node may still be running the rank, so it is given up only for something: to go on
 * elsewhere, or because the rank has to end anyway. */
static bool
given_up(struct step *step, const struct member *member)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, member->node);
    const struct syn_training_view *view = step->view;
    int64_t silent_ms;

    if (!node || node->state == SYN_NODE_LEFT)
        return true;
    silent_ms = syn_node_view_silent_ms(node, view->observing_since_ms, view->now_ms);
    if (node->state != SYN_NODE_SILENT)
        return false;
    if (silent_ms >= silent_max_ms(step))
        return member_asked_to_stop(member) || step_stop_requested(step) || room_elsewhere(step);
    step_wake(step, view->now_ms + silent_max_ms(step) - silent_ms);
    return false;
}

int
attempt_mark_lost(struct step *step, struct syn_err *err)
{
    for (size_t i = 0; i < step->members_count; i++) {
        struct member *member = &step->members[i];
        int rc;

        if (member->ended || !given_up(step, member))
            continue;
        rc = member_lose(member, step->view->now_ms, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* ---- under way ---- */

static int
stop_all(struct step *step, const char *reason, int64_t grace_ms, struct syn_err *err)
{
    for (size_t i = 0; i < step->members_count; i++) {
        int rc = SYN_OK;

        if (member_current(step, &step->members[i]))
            rc = member_stop(&step->members[i], reason, grace_ms, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
wind_down(struct step *step, const struct attempt *attempt, struct syn_err *err)
{
    const char *stop = step_stop_requested(step);
    const struct syn_reason *row;
    int64_t grace_ms = syn_json_i64(step->status, "stop_grace_ms", step->spec.stop_grace_ms);
    const struct member *first = attempt->lost ? attempt->lost : attempt->cause;
    int rc;

    if (!stop && first)
        grace_ms = SYN_MIN(grace_ms, SYN_TRAINING_PEER_GRACE_MAX_MS);
    else if (!stop && syn_str_eq(attempt->way, "units-over"))
        grace_ms = SYN_MIN(step->spec.notice_ms, step->view->units->unit_ms / 2);
    else if (!stop && step->spec.spot)
        grace_ms = step->spec.notice_ms;
    if (!stop)
        stop = attempt->lost ? "node-lost" : attempt->cause ? "peer-failed" : attempt->way;
    rc = stop_all(step, stop, grace_ms, err);
    if (rc < 0)
        return rc;
    row = syn_job_reason(SYN_JOB_STOPPING, stop);
    assert(row);
    if (attempt->silent)
        return step_state(step, SYN_JOB_STOPPING, stop, err, "%s; %s, where a rank runs, is silent",
                          row->sentence, attempt->silent->node);
    if (first && !step_stop_requested(step))
        return step_state(step, SYN_JOB_STOPPING, stop, err,
                          "rank %lld on %s: %s; %zu of %zu ended", (long long)first->rank,
                          first->node, row->sentence, attempt->ended, attempt->count);
    return step_state(step, SYN_JOB_STOPPING, stop, err, "%s; %zu of %zu %s ended", row->sentence,
                      attempt->ended, attempt->count,
                      syn_plural((int64_t)attempt->count, "rank", "ranks"));
}

/* The run started when its first rank did, by its node's clock, which may be ahead of ours. A
 * program may be over before it was seen running: it did start all the same. */
static int
note_start(struct step *step, struct syn_err *err)
{
    int64_t first_ms = SYN_DOCUMENT_NONE;

    if (syn_document_time(step->status, "started_at") != SYN_DOCUMENT_NONE)
        return SYN_OK;
    for (size_t i = 0; i < step->members_count; i++) {
        int64_t at_ms = syn_document_time(step->members[i].status, "started_at");

        if (!member_current(step, &step->members[i]) || at_ms == SYN_DOCUMENT_NONE)
            continue;
        if (first_ms == SYN_DOCUMENT_NONE || at_ms < first_ms)
            first_ms = at_ms;
    }
    if (first_ms == SYN_DOCUMENT_NONE)
        return SYN_OK;
    return syn_document_set_time(step->status, "started_at", SYN_MIN(first_ms, step->view->now_ms),
                                 err);
}

static int
now_running(struct step *step, const struct attempt *attempt, struct syn_err *err)
{
    char message[CONTROL_MESSAGE_MAX];
    int rc = note_start(step, err);

    if (rc < 0)
        return rc;
    if (syn_document_time(step->status, "started_at") == SYN_DOCUMENT_NONE)
        rc = syn_document_set_time(step->status, "started_at", step->view->now_ms, err);
    if (rc < 0)
        return rc;
    if (step->spec.time_limit_ms > 0)
        step_wake(step, syn_document_time(step->status, "started_at") + step->spec.time_limit_ms);
    (void)snprintf(message, sizeof(message), "attempt %lld: %zu %s", (long long)step->attempt,
                   attempt->count,
                   syn_plural((int64_t)attempt->count, "worker runs", "workers run"));
    return step_event(step, "started", "running", message, NULL, err);
}

static int
follow(struct step *step, const struct attempt *attempt, struct syn_err *err)
{
    bool all = attempt->running == attempt->count;
    int rc;

    if (step->state == SYN_JOB_STARTING && !all) {
        const char *reason = attempt->preparing > 0 ? "preparing" : "assigned";

        if (attempt->silent)
            return step_state(step, SYN_JOB_STARTING, reason, err,
                              "%s does not report; waiting for it to start the program",
                              attempt->silent->node);
        return step_state(step, SYN_JOB_STARTING, reason, err,
                          "%zu of %zu %s running, the first on %s", attempt->running,
                          attempt->count, syn_plural((int64_t)attempt->count, "worker", "workers"),
                          syn_json_str(step->status, "node", ""));
    }
    if (step->state == SYN_JOB_STARTING) {
        rc = now_running(step, attempt, err);
        if (rc < 0)
            return rc;
    }
    if (attempt->silent)
        return step_state(step, SYN_JOB_RUNNING, "node-silent", err,
                          "%s does not report; the program goes on there as far as is known",
                          attempt->silent->node);
    return step_state(step, SYN_JOB_RUNNING, "running", err, "%zu of %zu %s running",
                      attempt->running - attempt->ended, attempt->count,
                      syn_plural((int64_t)attempt->count, "worker", "workers"));
}

/* ---- the verdict ---- */

static int
keep_exit_code(struct step *step, const struct member *member, struct syn_err *err)
{
    const json_t *code = member ? json_object_get(member->status, "exit_code") : NULL;

    return syn_json_set_take(step->status, "exit_code",
                             json_is_integer(code) ? syn_json_deep_copy(code) : json_null(), err);
}

static int
end_succeeded(struct step *step, struct syn_err *err)
{
    const json_t *result = json_object_get(step->status, "result");
    char message[CONTROL_MESSAGE_MAX];
    int rc = syn_json_set_i64(step->status, "exit_code", 0, err);

    if (json_is_object(result))
        (void)snprintf(message, sizeof(message), "all ranks completed; the result is synor://%s",
                       syn_json_str(result, "cid", ""));
    else
        (void)snprintf(message, sizeof(message), "all ranks completed; they left no output");
    return rc < 0 ? rc : step_end(step, SYN_JOB_SUCCEEDED, "completed", message, err);
}

static int
end_stopped(struct step *step, const char *stop, struct syn_err *err)
{
    bool late = syn_str_eq(stop, "time-limit");
    const struct syn_reason *row = syn_job_reason(late ? SYN_JOB_FAILED : SYN_JOB_STOPPED, stop);
    char message[CONTROL_MESSAGE_MAX], from[160];

    assert(row);
    (void)snprintf(message, sizeof(message), "%s%s", row->sentence,
                   checkpoint_text(step, from, sizeof(from)));
    return step_end(step, (enum syn_job_state)row->state, stop, message, err);
}

static int
end_lost(struct step *step, const struct member *member, struct syn_err *err)
{
    int64_t losses = step->attempt - syn_json_i64(step->status, "retries", 0);
    const char *node = member ? member->node : "a node";
    char message[CONTROL_MESSAGE_MAX], from[160];
    int rc;

    (void)snprintf(message, sizeof(message), "attempt %lld was lost with %s%s",
                   (long long)step->attempt, node, checkpoint_text(step, from, sizeof(from)));
    rc = step_event(step, "lost", "node-lost", message, member ? member->id : NULL, err);
    if (rc < 0)
        return rc;
    if (losses >= SYN_TRAINING_LOSSES_MAX)
        return step_end(step, SYN_JOB_FAILED, "node-lost", message, err);
    return step_state(step, SYN_JOB_PENDING, "node-lost", err, "%s", message);
}

static int
end_gave_way(struct step *step, const char *way, struct syn_err *err)
{
    char message[CONTROL_MESSAGE_MAX], from[160];
    int rc;

    (void)snprintf(message, sizeof(message), "attempt %lld %s%s", (long long)step->attempt,
                   syn_str_eq(way, "outbid")       ? "was outbid"
                   : syn_str_eq(way, "drained")    ? "left a node that is emptied"
                   : syn_str_eq(way, "units-over") ? "used up its reserved units"
                                                   : "gave way to work that comes before it",
                   checkpoint_text(step, from, sizeof(from)));
    rc = step_event(step, way, way, message, NULL, err);
    return rc < 0 ? rc : step_state(step, SYN_JOB_PENDING, way, err, "%s", message);
}

static void
failure_text(const struct step *step, const struct member *member, char *out, size_t cap)
{
    int64_t code = syn_json_i64(member->status, "exit_code", -1);
    int64_t signal = syn_json_i64(member->status, "signal", 0);
    const struct syn_reason *row = syn_instance_reason(SYN_PHASE_EXITED, member->reason);
    const char *said = syn_json_str(member->status, "message", "");
    char memory[SYN_FORMAT_MAX], how[64] = "";

    assert(row);
    if (syn_str_eq(member->reason, "oom-killed"))
        (void)snprintf(how, sizeof(how), " (limit %s)",
                       syn_format_bytes(step->spec.amounts.memory_bytes, memory));
    else if (signal > 0)
        (void)snprintf(how, sizeof(how), " (signal %lld)", (long long)signal);
    else if (code >= 0)
        (void)snprintf(how, sizeof(how), " (exit status %lld)", (long long)code);
    (void)snprintf(out, cap, "rank %lld on %s: %s%s%s%s", (long long)member->rank, member->node,
                   row->sentence, how, *said ? ": " : "", said);
}

static int
retry(struct step *step, const char *message, struct syn_err *err)
{
    int64_t retries = syn_json_i64(step->status, "retries", 0) + 1;
    int64_t pause_ms = SYN_TRAINING_RETRY_FIRST_MS << SYN_MIN(retries - 1, 16);
    int64_t at_ms = step->view->now_ms + SYN_MIN(pause_ms, SYN_TRAINING_RETRY_MAX_MS);
    int rc = syn_json_set_i64(step->status, "retries", retries, err);

    if (rc == SYN_OK)
        rc = syn_document_set_time(step->status, "retry_at", at_ms, err);
    if (rc == SYN_OK)
        rc = step_event(step, "retrying", "retrying", message, NULL, err);
    if (rc < 0)
        return rc;
    return step_state(step, SYN_JOB_PENDING, "retrying", err, "%s; retry %lld of %lld follows",
                      message, (long long)retries, (long long)step->spec.retries_max);
}

static int
end_failed(struct step *step, const struct member *member, struct syn_err *err)
{
    const char *cause = cause_of(member);
    char message[CONTROL_MESSAGE_MAX];
    bool again = syn_json_i64(step->status, "retries", 0) < step->spec.retries_max;

    failure_text(step, member, message, sizeof(message));
    if (again && !syn_str_eq(cause, "time-limit"))
        return retry(step, message, err);
    return step_end(step, SYN_JOB_FAILED, cause, message, err);
}

static int
conclude(struct step *step, const struct attempt *attempt, struct syn_err *err)
{
    const char *stop = step_stop_requested(step);
    int rc;

    if (attempt->count > 0 && attempt->completed == attempt->count)
        return end_succeeded(step, err);
    rc = keep_exit_code(step, attempt->cause, err);
    if (rc < 0)
        return rc;
    if (stop)
        return end_stopped(step, stop, err);
    if (attempt->way && !attempt->lost && (!attempt->cause || member_asked_to_stop(attempt->cause)))
        return end_gave_way(step, attempt->way, err);
    if (attempt->lost || !attempt->cause)
        return end_lost(step, attempt->lost, err);
    return end_failed(step, attempt->cause, err);
}

/* A server that comes back knows its instances; it is told what they are together. */
static int
claim(const struct step *step, struct syn_err *err)
{
    const struct syn_place_request request = step_request(step);
    const struct syn_place_who who = step_who(step);
    int64_t gpus = 0;

    for (size_t i = 0; i < step->members_count; i++)
        if (member_current(step, &step->members[i]))
            gpus = syn_json_i64(json_object_get(step->members[i].spec, "resources"), "gpus", 0);
    return syn_place_claim(step->view->cluster, &who, &request, gpus, err);
}

int
attempt_step(struct step *step, struct syn_err *err)
{
    struct attempt attempt;
    int rc = SYN_OK;

    if (step->state == SYN_JOB_PENDING || syn_sm_terminal(&syn_job_life, step->state))
        return SYN_OK;
    attempt = attempt_read(step);
    if (attempt.ended == attempt.count) {
        rc = note_start(step, err);
        return rc < 0 ? rc : conclude(step, &attempt, err);
    }
    if (step_stop_requested(step) || attempt.lost || attempt.cause || attempt.way)
        return wind_down(step, &attempt, err);
    rc = claim(step, err);
    return rc < 0 ? rc : follow(step, &attempt, err);
}
