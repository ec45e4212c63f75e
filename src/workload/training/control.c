/* A job's documents are its whole memory: a step reads them, decides, and writes them back. So any
 * server may take the next step after any crash, and taking it twice does no harm.
 *
 * Phases of one step, each working on our copies, in an order that leaves nothing for a second
 * step:
 *
 *     note       progress, checkpoint, result, money: into the status
 *     lost       instances whose node is gone become lost
 *     limits     budget or time used up: as if a stop had been asked for
 *     attempt    follow, wind down or conclude the attempt under way        (control_attempt.c)
 *     place      a pending job gets nodes: a new attempt
 *     settle     an ended run whose usage is all in gets its bill
 *
 * Ids of instances and bills are derived from the job's id, the run, the attempt and the rank, so
 * two servers that both believe to lead create the same keys, and the store lets one of them
 * through. Random ids were refused for that reason. */
#include "control_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_command.h>

bool
member_current(const struct step *step, const struct member *member)
{
    return member->run == step->run && member->attempt == step->attempt;
}

const char *
step_stop_requested(const struct step *step)
{
    return syn_json_str(step->status, "stop_requested", NULL);
}

void
step_wake(struct step *step, int64_t at_ms)
{
    if (step->wake_at_ms == SYN_DOCUMENT_NONE || at_ms < step->wake_at_ms)
        step->wake_at_ms = at_ms;
}

int
step_event(struct step *step, const char *type, const char *reason, const char *message,
           const char *instance, struct syn_err *err)
{
    SYN_JSON(event);
    int rc = syn_json_pack(&event, err, "{s:s, s:s, s:s, s:s?}", "type", type, "reason", reason,
                           "message", message, "instance", instance);

    if (rc < 0)
        return rc;
    return syn_json_append_take(step->events, SYN_TAKE(event), err);
}

int
step_state(struct step *step, enum syn_job_state state, const char *reason, struct syn_err *err,
           const char *format, ...)
{
    char message[CONTROL_MESSAGE_MAX];
    va_list args;

    assert(syn_job_reason(state, reason));
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (state != step->state && state == SYN_JOB_PENDING) {
        int rc = syn_document_set_time(step->status, "waiting_since", step->view->now_ms, err);

        if (rc < 0)
            return rc;
    }
    if (state != step->state)
        step->state = (enum syn_job_state)syn_sm_move(&syn_job_life, step->state, state);
    return syn_document_set_state(step->job, syn_job_life.states[state].name, reason, message, err);
}

int
step_end(struct step *step, enum syn_job_state state, const char *reason, const char *message,
         struct syn_err *err)
{
    int rc = step_state(step, state, reason, err, "%s", message);

    assert(syn_sm_terminal(&syn_job_life, state));
    if (rc == SYN_OK)
        rc = syn_document_set_time(step->status, "ended_at", step->view->now_ms, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(step->status, "retry_at", SYN_DOCUMENT_NONE, err);
    if (rc == SYN_OK)
        rc = step_event(step, syn_job_life.states[state].name, reason, message, NULL, err);
    return rc;
}

const char *
checkpoint_text(const struct step *step, char *out, size_t cap)
{
    const json_t *checkpoint = json_object_get(step->status, "checkpoint");

    out[0] = '\0';
    if (json_is_object(checkpoint))
        (void)snprintf(out, cap, "; the last checkpoint is at step %lld (%s)",
                       (long long)syn_json_i64(checkpoint, "step", 0),
                       syn_json_str(checkpoint, "cid", ""));
    return out;
}

/* ---- reading ---- */

static int
step_read(const struct syn_training_view *view, struct step *step, struct syn_err *err)
{
    int state;

    step->view = view;
    step->wake_at_ms = SYN_DOCUMENT_NONE;
    step->job = syn_json_deep_copy(view->job);
    step->created = json_array();
    step->events = json_array();
    if (!step->job || !step->created || !step->events)
        return SYN_FAIL(err, SYN_E_NOMEM, "stepping a job: out of memory");
    step->status = json_object_get(step->job, "status");
    state = syn_job_state_find(syn_json_str(step->status, "state", ""));
    step->run = syn_json_i64(step->status, "run", 0);
    step->attempt = syn_json_i64(step->status, "attempt", -1);
    if (!json_is_object(json_object_get(step->job, "spec")) || state < 0 || step->run < 1 ||
        step->attempt < 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "job \"%s\" is no training job",
                        syn_json_str(view->job, "id", ""));
    step->state = (enum syn_job_state)state;
    syn_training_spec_read(syn_document_spec(step->job), &step->spec);
    return members_read(view->instances, &step->members, &step->members_count, err);
}

static void
step_fini(struct step *step)
{
    members_free(step->members, step->members_count);
    json_decref(step->job);
    json_decref(step->created);
    json_decref(step->events);
}

/* ---- note ---- */

static bool
progress_counts(const struct step *step)
{
    const json_t *old = json_object_get(step->status, "progress");

    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];

        if (member_current(step, member) && member->rank == 0 &&
            syn_str_eq(member->id, step->view->progress_instance))
            return syn_json_i64(step->view->progress, "step", 0) >= syn_json_i64(old, "step", 0);
    }
    return false;
}

static int
note_copy(struct step *step, const char *key, const json_t *value, struct syn_err *err)
{
    if (!value || json_equal(json_object_get(step->status, key), value))
        return SYN_OK;
    return syn_json_set_take(step->status, key, syn_json_deep_copy(value), err);
}

/* How many tenths of the way are done; -1 when nobody knows how long it is. */
static int64_t
tenths(const json_t *progress)
{
    int64_t total = syn_json_i64(progress, "steps_total", 0);

    return total > 0 ? (int64_t)((syn_i128)syn_json_i64(progress, "step", 0) * 10 / total) : -1;
}

static int
note_progress(struct step *step, struct syn_err *err)
{
    const json_t *progress = step->view->progress;
    int64_t before = tenths(json_object_get(step->status, "progress"));
    char message[CONTROL_MESSAGE_MAX];
    int rc;

    if (!progress || !progress_counts(step))
        return SYN_OK;
    rc = note_copy(step, "progress", progress, err);
    if (rc < 0 || tenths(progress) <= SYN_MAX(before, 0))
        return rc;
    (void)snprintf(message, sizeof(message), "step %lld of %lld",
                   (long long)syn_json_i64(progress, "step", 0),
                   (long long)syn_json_i64(progress, "steps_total", 0));
    return step_event(step, "progress", "progress", message, step->view->progress_instance, err);
}

static int
note_checkpoint(struct step *step, struct syn_err *err)
{
    const json_t *given = step->view->checkpoint;
    SYN_JSON(checkpoint);
    int rc;

    if (!given)
        return SYN_OK;
    rc = syn_json_pack(&checkpoint, err, "{s:s, s:I, s:I, s:I, s:s}", "cid",
                       syn_json_str(given, "cid", ""), "step",
                       (json_int_t)syn_json_i64(given, "step", 0), "epoch",
                       (json_int_t)syn_json_i64(given, "epoch", 0), "size_bytes",
                       (json_int_t)syn_json_i64(given, "size_bytes", 0), "created_at",
                       syn_json_str(given, "created_at", ""));
    return rc < 0 ? rc : note_copy(step, "checkpoint", checkpoint, err);
}

static int64_t
share_percent(int64_t part, int64_t whole)
{
    assert(whole > 0);
    return (int64_t)((syn_i128)part * 100 / whole);
}

static int
note_money(struct step *step, struct syn_err *err)
{
    static const int64_t marks[] = {50, 80, 100};
    json_t *cost = json_object_get(step->status, "cost");
    int64_t budget = step->spec.max_budget, before = syn_json_i64(cost, "percent", 0);
    int64_t spent = SYN_MIN(SYN_MAX(syn_document_amount(cost, "spent"), step->view->spent), budget);
    int64_t percent = share_percent(spent, budget);
    char type[32], message[CONTROL_MESSAGE_MAX], amount[SYN_FORMAT_MAX], all[SYN_FORMAT_MAX];
    int rc = syn_document_set_amount(cost, "spent", spent, err);

    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "budget", budget, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "rate_hour", SYN_MAX(step->view->rate_hour, 0), err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(cost, "percent", percent, err);
    for (size_t i = 0; i < SYN_LEN(marks) && rc == SYN_OK; i++) {
        if (before >= marks[i] || percent < marks[i])
            continue;
        (void)snprintf(type, sizeof(type), "budget-%lld", (long long)marks[i]);
        (void)snprintf(message, sizeof(message), "%s of %s SYNOR are spent",
                       syn_format_amount(spent, amount), syn_format_amount(budget, all));
        rc = step_event(step, type, "budget", message, NULL, err);
    }
    return rc;
}

static int
phase_note(struct step *step, struct syn_err *err)
{
    int rc;

    if (!json_is_null(json_object_get(step->status, "bill")))
        return SYN_OK; /* the run is over and paid; its figures stand */
    rc = note_money(step, err);
    if (rc == SYN_OK)
        rc = note_progress(step, err);
    if (rc == SYN_OK)
        rc = note_checkpoint(step, err);
    if (rc == SYN_OK)
        rc = note_copy(step, "result", step->view->result, err);
    return rc;
}

/* ---- limits ---- */

static int
limit_reached(struct step *step, const char *reason, const char *message, struct syn_err *err)
{
    int rc = syn_json_set_str(step->status, "stop_requested", reason, err);

    return rc < 0 ? rc : step_event(step, "stop-requested", reason, message, NULL, err);
}

static int
phase_limits(struct step *step, struct syn_err *err)
{
    const json_t *cost = json_object_get(step->status, "cost");
    int64_t started_ms = syn_document_time(step->status, "started_at");
    int64_t limit_ms = step->spec.time_limit_ms;

    if (syn_sm_terminal(&syn_job_life, step->state) || step_stop_requested(step))
        return SYN_OK;
    if (syn_json_i64(cost, "percent", 0) >= 100)
        return limit_reached(step, "budget", "the budget is spent", err);
    if (limit_ms == 0 || started_ms == SYN_DOCUMENT_NONE)
        return SYN_OK;
    if (step->view->now_ms - started_ms >= limit_ms)
        return limit_reached(step, "time-limit", "the time limit is reached", err);
    step_wake(step, started_ms + limit_ms);
    return SYN_OK;
}

/* ---- place ---- */

/* A live instance of an attempt that is over must end before anything new starts. */
static int
stop_strays(struct step *step, bool *ret_any, struct syn_err *err)
{
    *ret_any = false;
    for (size_t i = 0; i < step->members_count; i++) {
        int rc;

        if (step->members[i].ended)
            continue;
        *ret_any = true;
        rc = member_stop(&step->members[i], "superseded", 0, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* What the member is agreed to cost from now on, whatever its node asks later. */
static int
place_lease(const struct step *step, const struct syn_place_slot *slot, json_t **ret,
            struct syn_err *err)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, slot->node);
    const struct syn_lease_ask ask = {.gpu_model = slot->gpu_model,
                                      .spot = step->spec.spot,
                                      .reserved = *step->spec.reserved != '\0',
                                      .notice_ms = step->spec.spot || *step->spec.reserved
                                                       ? step->spec.notice_ms
                                                       : step->spec.stop_grace_ms,
                                      .max_price = step->spec.max_price,
                                      .now_ms = step->view->now_ms};

    assert(node); /* it was just placed there */
    return syn_cost_lease(node, &ask, ret, err);
}

static int
place_members(struct step *step, const struct syn_placement *placement, struct syn_err *err)
{
    json_t *ids = json_array();
    int rc = syn_json_set_take(step->status, "instances", ids, err);

    if (rc == SYN_OK)
        rc = syn_json_set_i64(step->status, "attempt", step->attempt, err);
    for (uint32_t rank = 0; rank < placement->count && rc == SYN_OK; rank++) {
        SYN_JSON(doc);
        SYN_JSON(lease);

        rc = place_lease(step, &placement->slots[rank], &lease, err);
        if (rc == SYN_OK)
            rc = syn_training_instance_make(step->job, placement, rank, step->view->now_ms, lease,
                                            &doc, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(ids, json_string(syn_document_id(doc)), err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(step->created, SYN_TAKE(doc), err);
    }
    return rc;
}

static int
place_done(struct step *step, const struct syn_placement *placement, struct syn_err *err)
{
    const struct syn_place_slot *first = &placement->slots[0];
    char message[CONTROL_MESSAGE_MAX], from[160];
    bool again = step->attempt > 0;
    int rc;

    step->attempt++;
    rc = place_members(step, placement, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(step->status, "node", first->node, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(step->status, "isolation", syn_isolation_name(first->isolation), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(step->status, "exit_code", NULL, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(step->status, "retry_at", SYN_DOCUMENT_NONE, err);
    if (rc < 0)
        return rc;
    (void)snprintf(message, sizeof(message), "attempt %lld: %u %s, the first on %s%s",
                   (long long)step->attempt, placement->count,
                   syn_plural(placement->count, "worker", "workers"), first->node,
                   checkpoint_text(step, from, sizeof(from)));
    rc = step_event(step, again ? "restarted" : "placed", "assigned", message, NULL, err);
    if (rc < 0)
        return rc;
    return step_state(step, SYN_JOB_STARTING, "assigned", err,
                      "0 of %u %s running, the first on %s", placement->count,
                      syn_plural(placement->count, "worker", "workers"), first->node);
}

static int
place_waits(struct step *step, const char *reason, const char *message, struct syn_err *err)
{
    const char *before = syn_json_str(step->status, "reason", "");

    if (syn_str_eq(reason, "no-units"))
        return step_state(step, SYN_JOB_PENDING, reason, err, "%s", message);
    if (syn_str_eq(before, "node-lost"))
        return step_state(step, SYN_JOB_PENDING, before, err,
                          "its node was lost; it starts again when there is room: %s", message);
    if (syn_str_eq(before, "preempted"))
        return step_state(step, SYN_JOB_PENDING, before, err,
                          "it gave way to work that comes before it; it starts again when there is "
                          "room: %s",
                          message);
    if (syn_str_eq(before, "outbid"))
        return step_state(step, SYN_JOB_PENDING, before, err,
                          "it was outbid; it starts again when the price allows: %s", message);
    return step_state(step, SYN_JOB_PENDING, reason, err, "%s", message);
}

/* May the account hold the job as well? Cards beyond those that it must have are cut to what the
 * quota leaves. Sets *ret_waits, with the job's state, when not. */
static int
ask_quota(struct step *step, struct syn_place_request *request, bool *ret_waits,
          struct syn_err *err)
{
    const struct syn_quota *quota = step->view->quota;
    const struct syn_holding ask = syn_training_holding_on(&step->spec, step->view->cluster);
    struct syn_holding held;
    enum syn_quota_dim over;
    char message[CONTROL_MESSAGE_MAX];
    int rc;

    *ret_waits = false;
    if (!quota || !syn_quota_any(quota))
        return SYN_OK;
    rc = syn_cluster_holding(step->view->cluster, syn_json_str(step->job, "account", ""), &held,
                             err);
    if (rc < 0)
        return rc;
    over = syn_quota_over(quota, &held, &ask);
    if (over == SYN_QUOTA_COUNT) {
        request->gpus_max =
            SYN_MIN(request->gpus_max, SYN_MAX(syn_quota_room(quota, &held, SYN_QUOTA_GPUS) /
                                                   SYN_QUOTA_GPU / request->count,
                                               request->gpus));
        return SYN_OK;
    }
    *ret_waits = true;
    syn_quota_say(quota, &held, &ask, over, message, sizeof(message));
    return place_waits(step, "quota", message, err);
}

struct syn_place_request
step_request(const struct step *step)
{
    struct syn_place_request request =
        syn_training_place_request(&step->spec, syn_json_str(step->job, "account", ""));

    syn_training_take_units(&step->spec, step->view->units, &request);
    return request;
}

struct syn_place_who
step_who(const struct step *step)
{
    return (struct syn_place_who){
        .job = syn_document_id(step->job),
        .account = syn_json_str(step->job, "account", ""),
        .priority = syn_training_priority(&step->spec),
        .runs_ms = step->spec.time_limit_ms,
        .now_ms = step->view->now_ms,
    };
}

/* How many instances the run has had. */
static size_t
run_members(const struct step *step)
{
    size_t count = 0;

    for (size_t i = 0; i < step->members_count; i++)
        count += step->members[i].run == step->run;
    return count;
}

/* On how many nodes has this run been? */
static size_t
run_nodes(const struct step *step)
{
    size_t count = 0;

    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];
        bool first = member->run == step->run;

        for (size_t j = 0; j < i && first; j++)
            first = step->members[j].run != step->run ||
                    !syn_str_eq(step->members[j].node, member->node);
        count += first;
    }
    return count;
}

/* Does the account hold the units? Sets *ret_waits, with the job's state, when not. */
static int
ask_units(struct step *step, const struct syn_place_request *request, bool *ret_waits,
          struct syn_err *err)
{
    const struct syn_training_units *units = step->view->units;
    int64_t need = syn_place_units(request);
    char message[CONTROL_MESSAGE_MAX];

    *ret_waits = false;
    if (!*step->spec.reserved)
        return SYN_OK;
    assert(units); /* the caller has looked */
    if (units->have >= need)
        return SYN_OK;
    *ret_waits = true;
    (void)snprintf(message, sizeof(message), "it takes %lld %s of %s, and the account holds %lld",
                   (long long)need, syn_plural(need, "unit", "units"), step->spec.reserved,
                   (long long)units->have);
    return place_waits(step, "no-units", message, err);
}

/* Place the job, or say what it waits for. */
static int
try_place(struct step *step, struct syn_err *err)
{
    struct syn_place_request request = step_request(step);
    const struct syn_place_who who = step_who(step);
    struct syn_placement placement;
    char message[CONTROL_MESSAGE_MAX];
    const char *reason;
    bool waits;
    int rc;

    if (run_members(step) + request.count > SYN_TRAINING_RUN_MAX ||
        run_nodes(step) >= SYN_TRAINING_NODES_MAX)
        return step_end(step, SYN_JOB_FAILED, "interrupted",
                        "it was interrupted and placed again too often", err);
    rc = ask_quota(step, &request, &waits, err);
    if (rc == SYN_OK && !waits)
        rc = ask_units(step, &request, &waits, err);
    if (rc == SYN_OK && waits)
        syn_place_withdraw(step->view->cluster, who.job);
    if (rc < 0 || waits)
        return rc;
    rc = syn_place_ask(step->view->cluster, &who, &request, &placement, err);
    if (rc < 0)
        return rc;
    if (rc == SYN_OK)
        return place_done(step, &placement, err);
    if (rc == SYN_PLACE_SOON) {
        (void)snprintf(message, sizeof(message),
                       "work of lower priority on %s saves and stops to make room",
                       placement.slots[0].node);
        return place_waits(step, "making-room", message, err);
    }
    syn_place_why(step->view->cluster, &request, &reason, message, sizeof(message));
    return place_waits(step, reason, message, err);
}

static int
phase_place(struct step *step, struct syn_err *err)
{
    int64_t retry_ms = syn_document_time(step->status, "retry_at");
    const char *stop = step_stop_requested(step);
    bool strays;
    int rc;

    if (step->state != SYN_JOB_PENDING)
        return SYN_OK;
    if (syn_str_eq(stop, "time-limit"))
        return step_end(step, SYN_JOB_FAILED, stop, "the time limit was reached while it waited",
                        err);
    if (stop)
        return step_end(step, SYN_JOB_STOPPED, stop, "it was stopped while it waited", err);
    rc = stop_strays(step, &strays, err);
    if (rc < 0 || strays)
        return rc;
    if (retry_ms != SYN_DOCUMENT_NONE && step->view->now_ms < retry_ms) {
        step_wake(step, retry_ms);
        return SYN_OK;
    }
    return try_place(step, err);
}

/* ---- settle ---- */

static bool
usage_complete(struct step *step, const struct member *member)
{
    int64_t until_ms;
    bool complete =
        member_usage_complete(member, step->view->cluster, step->view->now_ms, &until_ms);

    if (!complete && until_ms != SYN_DOCUMENT_NONE)
        step_wake(step, until_ms);
    return complete;
}

static int
phase_settle(struct step *step, struct syn_err *err)
{
    char message[CONTROL_MESSAGE_MAX];
    bool strays;
    int rc;

    if (!syn_sm_terminal(&syn_job_life, step->state) ||
        !json_is_null(json_object_get(step->status, "bill")))
        return SYN_OK;
    rc = stop_strays(step, &strays, err);
    if (rc < 0 || strays)
        return rc;
    for (size_t i = 0; i < step->members_count; i++)
        if (step->members[i].run == step->run && !usage_complete(step, &step->members[i]))
            return SYN_OK;
    syn_training_bill_id(step->job, step->bill_id);
    step->settle = true;
    (void)snprintf(message, sizeof(message), "run %lld is billed: %s", (long long)step->run,
                   step->bill_id);
    rc = syn_json_set_str(step->status, "bill", step->bill_id, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(json_object_get(step->status, "cost"), "rate_hour", 0, err);
    return rc < 0 ? rc : step_event(step, "settled", "settled", message, NULL, err);
}

/* ---- the step ---- */

static int
step_write(struct step *step, struct syn_training_effects *ret, struct syn_err *err)
{
    json_t *changed = NULL;
    int rc = members_changed(step->members, step->members_count, &changed, err);

    if (rc < 0)
        return rc;
    *ret = (struct syn_training_effects){
        .job = json_equal(step->job, step->view->job) ? NULL : json_incref(step->job),
        .created = SYN_TAKE(step->created),
        .changed = changed,
        .events = SYN_TAKE(step->events),
        .settle = step->settle,
        .wake_at_ms = step->wake_at_ms,
    };
    memcpy(ret->bill_id, step->bill_id, sizeof(ret->bill_id));
    return SYN_OK;
}

int
syn_training_step(const struct syn_training_view *view, struct syn_training_effects *ret,
                  struct syn_err *err)
{
    static int (*const phases[])(struct step *, struct syn_err *) = {
        phase_note, attempt_mark_lost, phase_limits, attempt_step, phase_place, phase_settle};
    SYN_SCOPED(step_fini) struct step step = {0};
    int rc = step_read(view, &step, err);

    for (size_t i = 0; i < SYN_LEN(phases) && rc == SYN_OK; i++)
        rc = phases[i](&step, err);
    return rc < 0 ? rc : step_write(&step, ret, err);
}

void
syn_training_effects_fini(struct syn_training_effects *effects)
{
    json_decref(effects->job);
    json_decref(effects->created);
    json_decref(effects->changed);
    json_decref(effects->events);
    *effects = (struct syn_training_effects){.wake_at_ms = SYN_DOCUMENT_NONE};
}

bool
syn_training_effects_none(const struct syn_training_effects *effects)
{
    return !effects->job && !effects->settle && json_array_size(effects->created) == 0 &&
           json_array_size(effects->changed) == 0 && json_array_size(effects->events) == 0;
}
