/* A service's documents are its whole memory: a step reads them, decides, and writes them back. So
 * any server may take the next step after any crash, and taking it twice does no harm.
 *
 * Phases of one step, each working on our copies:
 *
 *     note      money into the status; what ended by itself is told as an event, once
 *     lost      replicas whose node is gone, or silent for long, become lost
 *     limits    a period is over: it is billed, and money is locked for the next one; more is
 *               locked; or all of it is spent: as if a stop had been asked for        (money.c)
 *     scrape    what nodes are to read of replicas, where scaling goes by it
 *     scale     how many replicas load and time ask for, where the service is autoscaled
 *     verdict   a new version has failed, and the one before it is wanted again  (verdict.c)
 *     stage     how far an update by canary or blue-green has come      (staging.c, stage.c)
 *     rollout   which replicas are started, and which go             (replace.c, rollout.c)
 *     drain     those that go and have ended what they had are asked to stop    (replace.c)
 *     state     one word and a sentence, and the replicas that take traffic
 *     settle    a stopped one whose usage is all in gets its bill
 *     forget    replicas that are over and billed leave the lists
 *
 * A replica is an instance of its own: it asks for room under its own id, lives, and is replaced
 * by another one with the next serial number. So the placement core, the meter and the bill know
 * nothing of services. Restarting in place was refused: two ways to come to life need twice the
 * proofs, and a replica that fails may do better elsewhere. */
#include "control_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>

#include "../money_priv.h"
#include "autoscale_priv.h"
#include "rollout_priv.h"
#include "step_priv.h"

#define FORGOTTEN_MAX 50  /* by one step; likewise */
#define NOTED_SHARE   360 /* what an hour costs, through this, is worth writing down */

/* ---- reading ---- */

/* Is everything that it used on a bill? */
static bool
billed(const struct step *step, const struct member *member)
{
    return member->run != step->run || json_is_string(json_object_get(step->status, "bill")) ||
           syn_json_i64(member->status, "usage_seq", 0) <=
               syn_json_i64(step->view->billed, member->id, 0);
}

static const char *
stop_requested(const struct step *step)
{
    return syn_json_str(step->status, "stop_requested", NULL);
}

/* ---- note ---- */

static int
note_money(struct step *step, struct syn_err *err)
{
    json_t *cost = json_object_get(step->status, "cost");
    int64_t before = syn_document_amount(cost, "spent");
    int64_t rate = SYN_MAX(step->view->rate_hour, 0);
    int64_t spent = SYN_MAX(before, SYN_MIN(step->view->spent, step->view->escrow));
    int rc = SYN_OK;

    /* Every report of every replica changes it by a little. */
    if (spent - before > rate / NOTED_SHARE)
        rc = syn_document_set_amount(cost, "spent", spent, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "rate_hour", rate, err);
    return rc;
}

static int
note_ends(struct step *step, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        struct member *member = &step->members[i];
        bool by_itself = service_failed(member) || (member->state == SYN_PHASE_LOST &&
                                                    !syn_str_eq(member->reason, "node-lost"));

        if (!by_itself || syn_json_bool(member->status, "noted", false))
            continue;
        rc = syn_json_set_bool(member->status, "noted", true, err);
        if (rc == SYN_OK)
            rc = service_step_event(step, "ended", member->reason, member->id, err,
                                    "replica %lld on %s: %s", (long long)member->rank, member->node,
                                    syn_json_str(member->status, "message", ""));
    }
    return rc;
}

static int
phase_note(struct step *step, struct syn_err *err)
{
    int rc = note_ends(step, err);

    if (rc < 0 || !json_is_null(json_object_get(step->status, "bill")))
        return rc; /* the run is over and paid; its figures stand */
    return note_money(step, err);
}

/* ---- lost ---- */

static bool
given_up(struct step *step, const struct member *member)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, member->node);
    int64_t silent_ms;

    if (!node || node->state == SYN_NODE_LEFT)
        return true;
    if (node->state != SYN_NODE_SILENT)
        return false;
    silent_ms = syn_node_view_silent_ms(node, step->view->observing_since_ms, step->view->now_ms);
    if (silent_ms >= SYN_SERVICE_SILENT_MAX_MS)
        return true;
    service_step_wake(step, step->view->now_ms + SYN_SERVICE_SILENT_MAX_MS - silent_ms);
    return false;
}

static int
phase_lost(struct step *step, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        struct member *member = &step->members[i];
        const char *way;

        if (member->ended)
            continue;
        if (given_up(step, member)) {
            rc = member_lose(member, step->view->now_ms, err);
            if (rc == SYN_OK)
                rc = service_step_event(step, "lost", "node-lost", member->id, err,
                                        "replica %lld: its node %s is lost",
                                        (long long)member->rank, member->node);
            continue;
        }
        way = syn_place_evicted(step->view->cluster, member->id);
        if (!way)
            continue;
        syn_place_withdraw(step->view->cluster, member->id);
        if (service_leaving(member) || service_going(member))
            continue;
        rc = syn_json_set_str(member->spec, "leaving", way, err);
        if (rc == SYN_OK)
            rc = syn_document_bump(member->doc, err);
        if (rc == SYN_OK)
            rc = service_step_event(step, "leaving", way, member->id, err, "replica %lld leaves %s",
                                    (long long)member->rank, member->node);
    }
    return rc;
}

/* ---- limits ---- */

/* How many of this run have used something that is on no bill yet. */
static size_t
unbilled_members(const struct step *step)
{
    size_t count = 0;

    for (size_t i = 0; i < step->members_count; i++)
        count += step->members[i].run == step->run && !billed(step, &step->members[i]);
    return count;
}

static int
limit_reached(struct step *step, const char *reason, const char *message, struct syn_err *err)
{
    int rc = syn_json_set_str(step->status, "stop_requested", reason, err);

    return rc < 0 ? rc
                  : service_step_event(step, "stop-requested", reason, NULL, err, "%s", message);
}

static struct money_view
money_view(const struct step *step)
{
    const struct syn_service_view *view = step->view;

    return (struct money_view){
        .doc = view->service,
        .period = {view->period.number, view->period.since_ms, view->period.window_since_ms,
                   view->period.window_spent},
        .spent = view->spent,
        .rate_hour = view->rate_hour,
        .reserve = syn_service_reserve(syn_document_spec(view->service), view->rate_hour),
        .escrow = view->escrow,
        .balance = view->balance,
        .billing_ms = step->spec.billing_ms,
        .max_budget = step->spec.max_budget,
        .full = unbilled_members(step) >= SYN_SERVICE_BILL_INSTANCES,
        .now_ms = view->now_ms,
    };
}

/* Bill the period when it is over, lock more when a quarter of a reserve is left, as far as budget
 * and balance go, and stop when there is nothing left to lock. */
static int
phase_limits(struct step *step, struct syn_err *err)
{
    const struct money_view view = money_view(step);
    struct money money;
    int rc;

    if (step->state == SYN_SERVICE_STOPPED || stop_requested(step))
        return SYN_OK;
    money_decide(&view, &money);
    step->lock = money.lock;
    step->renew = money.renew;
    step->new_window = money.new_window;
    memcpy(step->bill_id, money.bill_id, sizeof(step->bill_id));
    if (money.until_ms > step->view->now_ms)
        service_step_wake(step, money.until_ms);
    rc = money_note(&view, &money, step->status, step->events, err);
    return rc < 0 || !money.stop
               ? rc
               : limit_reached(step, money.stop,
                               syn_service_reason(SYN_SERVICE_STOPPING, money.stop), err);
}

/* ---- scale ---- */

/* Replicas that live are read as the rule wants it now: it may change without a new version. */
static int
phase_scrape(struct step *step, struct syn_err *err)
{
    SYN_JSON(wanted);
    int rc = service_autoscale_scrape(step->spec.autoscale, &wanted, err);

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        struct member *member = &step->members[i];
        const json_t *has = json_object_get(member->spec, "scrape");

        if (member->ended || (!has && !wanted) || (has && wanted && json_equal(has, wanted)))
            continue;
        if (wanted)
            rc = syn_json_set_take(member->spec, "scrape", json_incref(wanted), err);
        else
            (void)json_object_del(member->spec, "scrape");
        if (rc == SYN_OK)
            rc = syn_document_bump(member->doc, err);
    }
    return rc;
}

/* How many do load and time ask for? */
static int
phase_scale(struct step *step, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct service_scale_replica *replicas = NULL;
    struct service_scale_view view = {.autoscale = step->spec.autoscale,
                                      .view = step->view,
                                      .amounts = step->spec.amounts,
                                      .current = step->spec.replicas};
    struct syn_autoscale_decision decision;
    int rc;

    if (!step->spec.autoscale || step->state == SYN_SERVICE_STOPPED || stop_requested(step))
        return SYN_OK;
    replicas = syn_calloc(step->members_count + 1, sizeof(*replicas));
    if (!replicas)
        return SYN_FAIL(err, SYN_E_NOMEM, "stepping a service: out of memory");
    view.replicas = replicas;
    service_stage_traffic(step);
    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];

        if (!member->ended && !member_asked_to_stop(member) &&
            !step->traffic.idle[service_group(step, member)]) /* what is idle would say little */
            replicas[view.count++] =
                (struct service_scale_replica){member->id, service_ready(step, member)};
    }
    rc = service_autoscale_step(&view, step->status, &decision, err);
    if (rc < 0)
        return rc;
    service_step_wake(step, decision.wake_at_ms);
    if (decision.replicas == view.current)
        return SYN_OK;
    step->spec.replicas = decision.replicas;
    return service_step_event(step, "scaled", syn_autoscale_reason_name(decision.reason), NULL, err,
                              "%u -> %u %s: %.300s", view.current, decision.replicas,
                              syn_plural(decision.replicas, "replica", "replicas"), decision.why);
}

/* ---- state ---- */

/* What lives, and which of it takes traffic: the balancer reads it here. */
static int
note_endpoints(struct step *step, struct syn_err *err)
{
    json_t *list = json_array();
    json_t *counts = NULL;
    const json_t *doc;
    uint32_t is_ready = 0, live = 0;
    size_t i;
    int rc = syn_json_set_take(step->status, "endpoints", list, err);

    service_stage_traffic(step);
    for (i = 0; i < step->members_count && rc == SYN_OK; i++) {
        const struct member *member = &step->members[i];
        enum rollout_group group = service_group(step, member);
        bool is_well = service_ready(step, member), idle = step->traffic.idle[group];

        if (member->ended)
            continue;
        live++;
        is_ready += is_well && !idle;
        rc =
            service_endpoint_add(member->doc,
                                 &(struct service_endpoint){.ready = is_well && !idle,
                                                            .standby = is_well && idle,
                                                            .weight = step->traffic.weights[group]},
                                 list, err);
    }
    json_array_foreach (step->created, i, doc) {
        live++;
        if (rc == SYN_OK)
            rc = service_endpoint_add(doc, &(struct service_endpoint){.ready = false}, list, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&counts, err, "{s:i, s:i, s:i, s:i}", "wanted",
                           stop_requested(step) ? 0 : (int)step->spec.replicas, "live", (int)live,
                           "ready", (int)is_ready, "updated", (int)step->rollout.updated);
    if (rc == SYN_OK && step->done > 0)
        rc = syn_json_set_i64(counts, "done", step->done, err);
    return rc < 0 ? rc : syn_json_set_take(step->status, "replicas", counts, err);
}

/* All that is wanted is ready, and nothing else is there but what is kept. */
static bool
complete(const struct step *step)
{
    const struct rollout *rollout = &step->rollout;
    bool tried =
        step->staged && (step->stage.word == STAGE_STARTING || step->stage.word == STAGE_TESTING);

    return !tried && rollout->updated + step->done - step->done_badly >= step->spec.replicas &&
           rollout->current <= step->spec.replicas && rollout->old == 0;
}

/* Is what is wanted other than what was last brought about? */
static bool
under_way(const struct step *step)
{
    const json_t *scaled = json_object_get(step->status, "autoscale");

    return syn_json_i64(step->status, "settled_generation", 0) !=
               syn_json_i64(step->service, "generation", 0) ||
           (scaled && step->spec.autoscale &&
            syn_json_i64(scaled, "settled", -1) != (int64_t)step->spec.replicas);
}

static int
note_complete(struct step *step, struct syn_err *err)
{
    json_t *scaled = json_object_get(step->status, "autoscale");
    int rc = SYN_OK;

    if (!under_way(step))
        return SYN_OK;
    if (step->stable != step->target)
        rc = service_step_event(step, "deployed", "ready", NULL, err, "version %lld: %u %s ready",
                                (long long)step->target, step->spec.replicas,
                                syn_plural(step->spec.replicas, "replica is", "replicas are"));
    step->stable = step->target;
    if (rc == SYN_OK)
        rc = syn_json_set_i64(step->status, "stable", step->stable, err);
    if (rc == SYN_OK && scaled)
        rc = syn_json_set_i64(scaled, "settled", step->spec.replicas, err);
    return rc < 0 ? rc
                  : syn_json_set_i64(step->status, "settled_generation",
                                     syn_json_i64(step->service, "generation", 0), err);
}

/* Some, or all, have ended for good. */
static int
state_done(struct step *step, struct syn_err *err)
{
    uint32_t want = step->spec.replicas;
    char message[CONTROL_MESSAGE_MAX];

    (void)snprintf(message, sizeof(message), "%u of %u %s ended and %s not restarted; %u %s ready",
                   SYN_MIN(step->done, want), want,
                   syn_plural(want, "replica has", "replicas have"),
                   syn_plural(step->done, "is", "are"), step->rollout.updated,
                   syn_plural(step->rollout.updated, "is", "are"));
    return service_step_state(step, SYN_SERVICE_RUNNING,
                              step->rollout.updated == 0 ? "completed" : "ready", message, err);
}

static int
state_complete(struct step *step, struct syn_err *err)
{
    int64_t back = syn_json_i64(step->status, "rolled_back", 0);
    bool low = syn_json_bool(json_object_get(step->status, "cost"), "low", false);
    uint32_t want = step->spec.replicas;
    char message[CONTROL_MESSAGE_MAX], failed_text[160] = "", kept_text[96] = "";
    int rc = note_complete(step, err);

    if (rc < 0)
        return rc;
    if (back > 0)
        (void)snprintf(failed_text, sizeof(failed_text), "version %lld %s and was rolled back; ",
                       (long long)back, syn_json_str(step->status, "rolled_back_why", "failed"));
    if (step->staged && step->stage.word == STAGE_KEPT)
        (void)snprintf(kept_text, sizeof(kept_text), "; version %lld is kept for a rollback",
                       (long long)step->base);
    if (want == 0)
        return service_step_state(step, SYN_SERVICE_RUNNING, "scaled-to-zero",
                                  "no replica is wanted", err);
    if (step->done > 0)
        return state_done(step, err);
    (void)snprintf(message, sizeof(message), "%s%u of %u %s ready%s", failed_text, want, want,
                   syn_plural(want, "replica is", "replicas are"), kept_text);
    if (back <= 0 && low)
        (void)snprintf(message, sizeof(message),
                       "%u of %u %s ready; its account cannot pay for the next billing period",
                       want, want, syn_plural(want, "replica is", "replicas are"));
    return service_step_state(step, SYN_SERVICE_RUNNING,
                              back > 0 ? "rolled-back"
                              : low    ? "funds-low"
                                       : "ready",
                              message, err);
}

/* The word for what is going on while it is not all as wanted. */
static const char *
going_on(const struct step *step, enum syn_service_state *ret_state)
{
    bool late = step->view->now_ms >=
                syn_document_time(step->status, "deployed_at") + step->spec.update_deadline_ms;

    *ret_state = SYN_SERVICE_DEGRADED;
    if (step->done_badly > 0)
        return "ended";
    if (step->stable == 0 && late)
        return "deploy-failed";
    if (step->no_room)
        return "no-room";
    if (step->failures > SYN_MAX(step->spec.replicas, 1U))
        return "crash-loop";
    if (!under_way(step))
        return "replica-down";
    *ret_state = SYN_SERVICE_DEPLOYING;
    if (step->stable == 0)
        return "created";
    if (step->staged && step->stage.word == STAGE_TESTING)
        return service_stage_plan(step).by_hand ? "waiting" : "testing";
    if (syn_json_i64(step->status, "rolled_back", 0) > 0)
        return "rolling-back";
    return step->stable != step->target || step->rollout.old > 0 ? "updating" : "scaling";
}

/* How far a version that is tried has come. */
static void
say_trial(const struct step *step, char *ret, size_t size)
{
    const struct stage_plan plan = service_stage_plan(step);
    bool canary = step->spec.rollout.strategy == SYN_SERVICE_CANARY;
    char rest[80] = "";

    if (plan.by_hand)
        (void)snprintf(rest, sizeof(rest),
                       "; it waits to be promoted: synor compute service "
                       "promote");
    if (canary)
        (void)snprintf(ret, size, "version %lld has %u%% of what comes, on %u of %u%s",
                       (long long)step->target, plan.percent, step->rollout.updated, plan.fresh,
                       rest);
    else
        (void)snprintf(ret, size, "version %lld: %u of %u ready beside version %lld%s",
                       (long long)step->target, step->rollout.updated, plan.fresh,
                       (long long)step->base, rest);
}

static int
state_incomplete(struct step *step, struct syn_err *err)
{
    enum syn_service_state state;
    const char *reason = going_on(step, &state);
    char message[CONTROL_MESSAGE_MAX], sofar[200], pause[160] = "";

    if (step->done_badly > 0)
        (void)snprintf(pause, sizeof(pause), "; %u failed and %s not to be restarted",
                       step->done_badly, syn_plural(step->done_badly, "is", "are"));
    else if (step->no_room)
        (void)snprintf(pause, sizeof(pause), ": %.150s", step->no_room_text);
    else if (step->failures > 0)
        (void)snprintf(pause, sizeof(pause), ": %u %s soon after the start", step->failures,
                       syn_plural(step->failures, "replica ended", "replicas ended"));
    if (step->stable == 0 && state == SYN_SERVICE_DEPLOYING)
        service_step_wake(step, syn_document_time(step->status, "deployed_at") +
                                    step->spec.update_deadline_ms);
    (void)snprintf(sofar, sizeof(sofar), "version %lld: %u of %u ready", (long long)step->target,
                   step->rollout.updated, step->spec.replicas);
    if (step->staged && step->stage.word != STAGE_FINISHING && step->target != step->stable)
        say_trial(step, sofar, sizeof(sofar));
    (void)snprintf(message, sizeof(message), "%s%s", sofar, pause);
    return service_step_state(step, state, reason, message, err);
}

static int
phase_state(struct step *step, struct syn_err *err)
{
    const char *stop = stop_requested(step);
    size_t live = 0;
    int rc = note_endpoints(step, err);

    if (rc < 0 || step->state == SYN_SERVICE_STOPPED)
        return rc;
    for (size_t i = 0; i < step->members_count; i++)
        live += !step->members[i].ended;
    if (!stop)
        return complete(step) ? state_complete(step, err) : state_incomplete(step, err);
    if (live > 0) {
        char message[CONTROL_MESSAGE_MAX];

        (void)snprintf(message, sizeof(message), "%s; %zu %s left",
                       syn_service_reason(SYN_SERVICE_STOPPING, stop), live,
                       syn_plural((int64_t)live, "replica is", "replicas are"));
        return service_step_state(step, SYN_SERVICE_STOPPING, stop, message, err);
    }
    rc = service_step_state(step, SYN_SERVICE_STOPPED, stop,
                            syn_service_reason(SYN_SERVICE_STOPPED, stop), err);
    return rc < 0 ? rc
                  : service_step_event(step, "stopped", stop, NULL, err, "%s",
                                       syn_service_reason(SYN_SERVICE_STOPPED, stop));
}

/* ---- settle ---- */

static int
phase_settle(struct step *step, struct syn_err *err)
{
    int rc;

    if (step->state != SYN_SERVICE_STOPPED || !json_is_null(json_object_get(step->status, "bill")))
        return SYN_OK;
    for (size_t i = 0; i < step->members_count; i++) {
        int64_t until_ms;

        if (member_changed(&step->members[i])) { /* written now, off its lists with the next step */
            service_step_wake(step, step->view->now_ms);
            return SYN_OK;
        }
        if (step->members[i].run != step->run ||
            member_usage_complete(&step->members[i], step->view->cluster, step->view->now_ms,
                                  &until_ms))
            continue;
        if (until_ms != SYN_DOCUMENT_NONE)
            service_step_wake(step, until_ms);
        return SYN_OK;
    }
    syn_service_bill_id(step->service, SYN_MAX(step->view->period.number, 1), step->bill_id);
    step->settle = true;
    rc = syn_json_set_str(step->status, "bill", step->bill_id, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(step->status, "last_bill", step->bill_id, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(json_object_get(step->status, "cost"), "rate_hour", 0, err);
    return rc < 0
               ? rc
               : service_step_event(step, "settled", "settled", NULL, err, "run %lld is billed: %s",
                                    (long long)step->run, step->bill_id);
}

/* ---- forget ---- */

/* Replicas that are over and billed, and are neither among the newest nor counted as failures, are
 * not looked at again: so a service of many years is no more work than one of a day. */
static int
phase_forget(struct step *step, struct syn_err *err)
{
    int rc = SYN_OK;

    if (step->renew || step->settle) { /* that is a large transaction already */
        if (step->renew)
            service_step_wake(step, step->view->now_ms);
        return SYN_OK;
    }
    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        const struct member *member = &step->members[i];
        int64_t ended_ms = syn_document_time(member->status, "ended_at"), until_ms;
        json_t *row = NULL;

        if (member->attempt + SYN_SERVICE_ENDED_MAX > step->serial || !billed(step, member) ||
            !member_usage_complete(member, step->view->cluster, step->view->now_ms, &until_ms) ||
            service_done(step, member) ||
            (service_failed_early(step, member) &&
             ended_ms + SYN_SERVICE_BACKOFF_WINDOW_MS > step->view->now_ms))
            continue;
        if (json_array_size(step->forgotten) == FORGOTTEN_MAX || member_changed(member)) {
            service_step_wake(
                step, step->view->now_ms); /* written now, off its lists with the next step */
            break;
        }
        rc = syn_json_pack(&row, err, "{s:s, s:s}", "instance", member->id, "node", member->node);
        if (rc == SYN_OK)
            rc = syn_json_append_take(step->forgotten, row, err);
    }
    return rc;
}

/* ---- the step ---- */

static int
step_write(struct step *step, struct syn_service_effects *ret, struct syn_err *err)
{
    json_t *changed = NULL;
    int rc = members_changed(step->members, step->members_count, &changed, err);

    if (rc < 0)
        return rc;
    *ret = (struct syn_service_effects){
        .service =
            json_equal(step->service, step->view->service) ? NULL : json_incref(step->service),
        .created = SYN_TAKE(step->created),
        .changed = changed,
        .events = SYN_TAKE(step->events),
        .bound = SYN_TAKE(step->bound),
        .lock = step->lock,
        .settle = step->settle,
        .renew = step->renew,
        .new_window = step->new_window,
        .forgotten = SYN_TAKE(step->forgotten),
        .wake_at_ms = step->wake_at_ms,
    };
    memcpy(ret->bill_id, step->bill_id, sizeof(ret->bill_id));
    return SYN_OK;
}

int
syn_service_step(const struct syn_service_view *view, struct syn_service_effects *ret,
                 struct syn_err *err)
{
    static int (*const phases[])(struct step *,
                                 struct syn_err *) = {phase_note,          phase_lost,
                                                      phase_limits,        phase_scrape,
                                                      phase_scale,         service_phase_verdict,
                                                      service_phase_stage, service_phase_rollout,
                                                      service_phase_drain, phase_state,
                                                      service_stage_note,  phase_settle,
                                                      phase_forget};
    SYN_SCOPED(service_step_fini) struct step step = {0};
    int rc = service_step_read(view, &step, err);

    for (size_t i = 0; i < SYN_LEN(phases) && rc == SYN_OK; i++)
        rc = phases[i](&step, err);
    return rc < 0 ? rc : step_write(&step, ret, err);
}
