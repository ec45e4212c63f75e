/* A service's documents are its whole memory: a step reads them, decides, and writes them back. So
 * any server may take the next step after any crash, and taking it twice does no harm.
 *
 * Phases of one step, each working on our copies:
 *
 *     note      money into the status; what ended by itself is told as an event, once
 *     lost      replicas whose node is gone, or silent for long, become lost
 *     limits    a period is over: it is billed, and money is locked for the next one; more is
 *               locked; or all of it is spent: as if a stop had been asked for        (money.c)
 *     scale     how many replicas load and time ask for, where the service is autoscaled
 *     verdict   a new version is done, or has failed and the one before it is wanted again
 *     rollout   which replicas are started, and which go                       (rollout.c)
 *     drain     those that go and have ended what they had are asked to stop
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

#include "autoscale_priv.h"
#include "rollout_priv.h"
#include "step_priv.h"

#define BATCH_MAX     12  /* replicas started by one step: it is one transaction of the store */
#define FORGOTTEN_MAX 50  /* by one step; likewise */
#define NOTED_SHARE   360 /* what an hour costs, through this, is worth writing down */

/* ---- reading ---- */

static int64_t
version_of(const struct member *member)
{
    return syn_json_i64(member->spec, "version", 0);
}

static bool
leaving(const struct member *member)
{
    return syn_json_str(member->spec, "leaving", "")[0] != '\0';
}

static bool
node_silent(const struct step *step, const struct member *member)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, member->node);

    return !node || node->state != SYN_NODE_READY;
}

/* Has it left traffic, to end what it has and then stop? */
static bool
draining(const struct member *member)
{
    return syn_document_time(member->spec, "draining_at") != SYN_DOCUMENT_NONE;
}

static bool
on_its_way_out(const struct member *member)
{
    return member_asked_to_stop(member) || draining(member);
}

/* Does it take traffic? */
static bool
ready(const struct step *step, const struct member *member)
{
    return member->state == SYN_PHASE_RUNNING && !on_its_way_out(member) &&
           syn_json_bool(json_object_get(member->status, "health"), "ready", false) &&
           !node_silent(step, member);
}

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

/* Did it end without having been asked to? */
static bool
failed(const struct member *member)
{
    return member->state == SYN_PHASE_EXITED && !on_its_way_out(member);
}

static int
note_ends(struct step *step, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        struct member *member = &step->members[i];
        bool by_itself = failed(member) || (member->state == SYN_PHASE_LOST &&
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
        if (leaving(member) || on_its_way_out(member))
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

/* Bill the period when it is over, lock more when a quarter of a reserve is left, as far as budget
 * and balance go, and stop when there is nothing left to lock. */
static int
phase_limits(struct step *step, struct syn_err *err)
{
    struct service_money money;
    int rc;

    if (step->state == SYN_SERVICE_STOPPED || stop_requested(step))
        return SYN_OK;
    service_money_decide(step->view, unbilled_members(step), &money);
    step->lock = money.lock;
    step->renew = money.renew;
    step->new_window = money.new_window;
    memcpy(step->bill_id, money.bill_id, sizeof(step->bill_id));
    if (money.until_ms > step->view->now_ms)
        service_step_wake(step, money.until_ms);
    rc = service_money_note(step->view, &money, step->status, step->events, err);
    return rc < 0 || !money.stop
               ? rc
               : limit_reached(step, money.stop,
                               syn_service_reason(SYN_SERVICE_STOPPING, money.stop), err);
}

/* ---- scale ---- */

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
    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];

        if (!member->ended && !member_asked_to_stop(member))
            replicas[view.count++] =
                (struct service_scale_replica){member->id, ready(step, member)};
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

/* ---- verdict ---- */

/* Did it fail soon after its start, as one of the wanted version? */
static bool
failed_early(const struct step *step, const struct member *member)
{
    int64_t started_ms = syn_document_time(member->status, "started_at");
    int64_t ended_ms = syn_document_time(member->status, "ended_at");

    ended_ms = ended_ms == SYN_DOCUMENT_NONE ? 0 : SYN_MIN(ended_ms, step->view->now_ms);
    return failed(member) && member->run == step->run && version_of(member) == step->target &&
           (started_ms == SYN_DOCUMENT_NONE || ended_ms - started_ms < SYN_SERVICE_STABLE_MS);
}

/* How the wanted version has done: its failures, and when the next replica may be started. */
static void
look_at_failures(struct step *step, uint32_t *ret_all)
{
    int64_t last_ms = 0;

    *ret_all = 0;
    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];
        int64_t ended_ms = syn_document_time(member->status, "ended_at");

        ended_ms = ended_ms == SYN_DOCUMENT_NONE ? 0 : SYN_MIN(ended_ms, step->view->now_ms);
        if (!failed_early(step, member))
            continue;
        (*ret_all)++;
        if (ended_ms + SYN_SERVICE_BACKOFF_WINDOW_MS <= step->view->now_ms)
            continue;
        step->failures++;
        last_ms = SYN_MAX(last_ms, ended_ms);
    }
    if (step->failures > 0)
        step->retry_ms = rollout_retry_at(step->failures, step->spec.replicas, last_ms);
}

static int
roll_back(struct step *step, const char *why, struct syn_err *err)
{
    int64_t from = step->target;
    const json_t *version = service_version(step->view->versions, step->stable);
    uint32_t failures;
    int rc;

    if (!version)
        return SYN_FAIL(err, SYN_E_CORRUPT, "version %lld is gone", (long long)step->stable);
    rc = syn_service_spec_adopt(syn_document_spec(step->service), json_object_get(version, "spec"),
                                err);
    if (rc == SYN_OK)
        rc = syn_document_bump(step->service, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(step->status, "target", step->stable, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(step->status, "rolled_back", from, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(step->status, "rolled_back_why", why, err);
    if (rc == SYN_OK)
        rc = service_step_event(step, "rolled-back", "rolled-back", NULL, err,
                                "version %lld %s; version %lld is wanted again", (long long)from,
                                why, (long long)step->stable);
    step->target = step->stable;
    step->retry_ms = SYN_DOCUMENT_NONE;
    step->failures = 0;
    service_step_read_spec(step);
    look_at_failures(step, &failures);
    return rc;
}

/* Has the new version had its time, or too many failures? Then the last that worked is wanted. */
static int
phase_verdict(struct step *step, struct syn_err *err)
{
    int64_t deadline_ms = syn_document_time(step->status, "deployed_at");
    uint32_t all = 0;

    if (step->state == SYN_SERVICE_STOPPED || stop_requested(step))
        return SYN_OK;
    look_at_failures(step, &all);
    if (step->target == step->stable || step->stable == 0)
        return SYN_OK;
    deadline_ms += step->spec.update_deadline_ms;
    if (all >= SYN_SERVICE_FAILURES_MAX * SYN_MAX(step->spec.replicas, 1U))
        return roll_back(step, "failed again and again", err);
    if (step->view->now_ms >= deadline_ms)
        return roll_back(step, "did not become ready in time", err);
    service_step_wake(step, deadline_ms);
    return SYN_OK;
}

/* ---- rollout ---- */

/* The lowest number that no replica that stays has. */
static int64_t
free_number(const struct step *step)
{
    for (int64_t number = 0;; number++) {
        bool taken = false;
        const json_t *doc;
        size_t i;

        for (i = 0; i < step->members_count && !taken; i++)
            taken = !step->members[i].ended && !on_its_way_out(&step->members[i]) &&
                    step->members[i].rank == number;
        json_array_foreach (step->created, i, doc)
            taken = taken || syn_json_i64(syn_document_spec(doc), "rank", -1) == number;
        if (!taken)
            return number;
    }
}

static int
start_on(struct step *step, const struct syn_place_slot *slot, struct syn_err *err)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, slot->node);
    const json_t *version = service_version(step->view->versions, step->target);
    const struct syn_lease_ask ask = {.gpu_model = slot->gpu_model,
                                      .notice_ms = step->spec.stop_grace_ms,
                                      .max_price = step->spec.max_price,
                                      .now_ms = step->view->now_ms};
    int64_t number = free_number(step);
    SYN_JSON(lease);
    SYN_JSON(doc);
    int rc;

    assert(node); /* it was just placed there */
    rc = syn_cost_lease(node, &ask, &lease, err);
    if (rc == SYN_OK)
        rc = service_instance_make(&(struct service_replica_new){.service = step->service,
                                                                 .version = version,
                                                                 .slot = slot,
                                                                 .lease = lease,
                                                                 .serial = step->serial + 1,
                                                                 .number = number,
                                                                 .now_ms = step->view->now_ms},
                                   &doc, err);
    if (rc == SYN_OK)
        rc = service_step_event(step, "placed", "assigned", syn_document_id(doc), err,
                                "replica %lld of version %lld on %s", (long long)number,
                                (long long)step->target, slot->node);
    if (rc == SYN_OK)
        rc = syn_json_append_take(step->created, SYN_TAKE(doc), err);
    step->serial++;
    return rc < 0 ? rc : syn_json_set_i64(step->status, "serial", step->serial, err);
}

/* May the account hold one more? Sets no_room when not. */
static int
ask_quota(struct step *step, const struct syn_place_request *request, struct syn_err *err)
{
    const struct syn_quota *quota = step->view->quota;
    struct syn_holding held, ask = {{0}};
    enum syn_quota_dim over;
    int64_t more = (int64_t)json_array_size(step->created) + 1;
    bool first = true;
    int rc;

    if (!quota || !syn_quota_any(quota))
        return SYN_OK;
    rc = syn_cluster_holding(step->view->cluster, syn_json_str(step->service, "account", ""), &held,
                             err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < step->members_count; i++)
        first = first && step->members[i].ended;
    ask.amounts[SYN_QUOTA_JOBS] = first;
    ask.amounts[SYN_QUOTA_CPU] = step->spec.amounts.cpu_millicores * more;
    ask.amounts[SYN_QUOTA_MEMORY] = step->spec.amounts.memory_bytes * more;
    ask.amounts[SYN_QUOTA_GPUS] = syn_place_gpu_least(step->view->cluster, request) * more;
    over = syn_quota_over(quota, &held, &ask);
    if (over == SYN_QUOTA_COUNT)
        return SYN_OK;
    step->no_room = "quota";
    syn_quota_say(quota, &held, &ask, over, step->no_room_text, sizeof(step->no_room_text));
    return SYN_OK;
}

/* Start one, or note why not. */
static int
start_one(struct step *step, const struct syn_place_request *request, struct syn_err *err)
{
    struct syn_placement placement;
    char id[SYN_ID_MAX];
    const struct syn_place_who who = {.job = id,
                                      .account = syn_json_str(step->service, "account", ""),
                                      .priority = step->spec.priority,
                                      .now_ms = step->view->now_ms};
    int rc = ask_quota(step, request, err);

    syn_service_instance_id(step->service, step->serial + 1, id);
    if (rc < 0)
        return rc;
    if (step->no_room) {
        syn_place_withdraw(step->view->cluster, id);
        return SYN_OK;
    }
    rc = syn_place_ask(step->view->cluster, &who, request, &placement, err);
    if (rc == SYN_OK)
        return start_on(step, &placement.slots[0], err);
    if (rc < 0)
        return rc;
    step->waits = true;
    if (json_array_size(step->created) > 0) {
        /* What was given away just now is in no document yet: the next step says why. */
        service_step_wake(step, step->view->now_ms);
        return SYN_OK;
    }
    step->no_room = "making-room";
    (void)snprintf(step->no_room_text, sizeof(step->no_room_text),
                   "work of lower priority saves and stops to make room");
    if (rc == SYN_PLACE_NONE)
        syn_place_why(step->view->cluster, request, &step->no_room, step->no_room_text,
                      sizeof(step->no_room_text));
    return SYN_OK;
}

/* Start what is missing. What is not missing any more no longer asks for room. */
static int
start_missing(struct step *step, uint32_t missing, struct syn_err *err)
{
    const json_t *version = service_version(step->view->versions, step->target);
    struct syn_service_spec spec;
    struct syn_place_request request;
    char id[SYN_ID_MAX];
    int rc = SYN_OK;

    if (missing > 0 && step->retry_ms > step->view->now_ms) {
        service_step_wake(step, step->retry_ms);
        missing = 0;
    }
    syn_service_spec_read(json_object_get(version, "spec"), &spec);
    request = syn_service_place_request(&spec);
    request.price_max = step->spec.max_price;
    request.policy = step->spec.policy;
    if (missing > BATCH_MAX) {
        service_step_wake(step, step->view->now_ms);
        missing = BATCH_MAX;
    }
    for (; missing > 0 && !step->no_room && !step->waits && rc == SYN_OK; missing--)
        rc = start_one(step, &request, err);
    if (step->waits)
        return rc; /* the placement tells when there is room */
    syn_service_instance_id(step->service, step->serial + 1, id);
    syn_place_withdraw(step->view->cluster, id);
    return rc;
}

/* Ask it to stop. One that takes traffic leaves that first: its stop follows in phase_drain(). */
static int
let_go(struct step *step, struct member *member, const char *reason, struct syn_err *err)
{
    bool drains = ready(step, member) && syn_json_i64(member->spec, "port", 0) > 0;
    int rc;

    if (member->ended || draining(member))
        return SYN_OK;
    if (!drains)
        return member_stop(member, reason, syn_json_i64(member->spec, "stop_grace_ms", 0), err);
    rc = syn_document_set_time(member->spec, "draining_at", step->view->now_ms, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(member->spec, "stop_reason", reason, err);
    return rc < 0 ? rc : syn_document_bump(member->doc, err);
}

static int
stop_all(struct step *step, const char *reason, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++)
        rc = let_go(step, &step->members[i], reason, err);
    return rc;
}

/* Why a replica that goes does. */
static const char *
why_it_goes(const struct step *step, const struct member *member)
{
    const char *way = syn_json_str(member->spec, "leaving", "");

    return *way ? way : version_of(member) != step->target ? "updated" : "scaled-down";
}

static int
phase_rollout(struct step *step, struct syn_err *err)
{
    const struct rollout_pace pace = {step->spec.replicas, step->spec.max_surge,
                                      step->spec.max_unavailable};
    SYN_SCOPED(syn_free_scope) struct rollout_replica *replicas = NULL;
    SYN_SCOPED(syn_free_scope) struct member **live = NULL;
    size_t count = 0;
    int rc = SYN_OK;

    if (step->state == SYN_SERVICE_STOPPED)
        return SYN_OK;
    if (stop_requested(step)) {
        char id[SYN_ID_MAX];

        syn_service_instance_id(step->service, step->serial + 1, id);
        syn_place_withdraw(step->view->cluster, id);
        return stop_all(step, stop_requested(step), err);
    }
    replicas = syn_calloc(step->members_count + 1, sizeof(*replicas));
    live = syn_calloc(step->members_count + 1, sizeof(struct member *));
    if (!replicas || !live)
        return SYN_FAIL(err, SYN_E_NOMEM, "stepping a service: out of memory");
    for (size_t i = 0; i < step->members_count; i++) {
        struct member *member = &step->members[i];

        if (member->ended)
            continue;
        live[count] = member;
        replicas[count++] = (struct rollout_replica){
            .serial = member->attempt,
            .current =
                version_of(member) == step->target && member->run == step->run && !leaving(member),
            .ready = ready(step, member),
            .stopping = on_its_way_out(member),
        };
    }
    step->rollout = rollout_decide(replicas, count, &pace);
    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        if (replicas[i].stop || syn_str_eq(syn_json_str(live[i]->spec, "leaving", ""), "preempted"))
            rc = let_go(step, live[i], why_it_goes(step, live[i]), err);
    return rc < 0 ? rc : start_missing(step, step->rollout.create, err);
}

/* ---- drain ---- */

/* When a replica that drains is asked to stop at the latest: it may end what it has for its time
 * to drain, and the balancer has a little more to take it out at all. */
static int64_t
drained_by_ms(const struct step *step, const struct member *member)
{
    const char *has = syn_json_str(step->view->balanced, member->id, NULL);
    int64_t since_ms = syn_document_time(member->spec, "draining_at");
    int64_t limit_ms = since_ms + syn_json_i64(member->spec, "drain_ms", 0);

    if (!step->view->balanced || syn_str_eq(has, "busy"))
        return limit_ms;
    return has ? limit_ms + SYN_SERVICE_BALANCER_MAX_MS : since_ms;
}

static int
phase_drain(struct step *step, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        struct member *member = &step->members[i];
        int64_t until_ms;

        if (member->ended || !draining(member) || member_asked_to_stop(member))
            continue;
        until_ms = drained_by_ms(step, member);
        if (step->view->now_ms < until_ms) {
            service_step_wake(step, until_ms);
            continue;
        }
        rc = syn_json_set_i64(member->spec, "drain_ms", 0, err); /* it has had it */
        if (rc == SYN_OK)
            rc = member_stop(member, syn_json_str(member->spec, "stop_reason", "updated"),
                             syn_json_i64(member->spec, "stop_grace_ms", 0), err);
    }
    return rc;
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

    for (i = 0; i < step->members_count && rc == SYN_OK; i++) {
        const struct member *member = &step->members[i];

        if (member->ended)
            continue;
        live++;
        is_ready += ready(step, member);
        rc = service_endpoint_add(member->doc, ready(step, member), list, err);
    }
    json_array_foreach (step->created, i, doc) {
        live++;
        if (rc == SYN_OK)
            rc = service_endpoint_add(doc, false, list, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&counts, err, "{s:i, s:i, s:i, s:i}", "wanted",
                           stop_requested(step) ? 0 : (int)step->spec.replicas, "live", (int)live,
                           "ready", (int)is_ready, "updated", (int)step->rollout.updated);
    return rc < 0 ? rc : syn_json_set_take(step->status, "replicas", counts, err);
}

/* All that is wanted is ready, and nothing else is there. */
static bool
complete(const struct step *step)
{
    const struct rollout *rollout = &step->rollout;

    return rollout->updated >= step->spec.replicas && rollout->current == step->spec.replicas &&
           rollout->old == 0;
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

static int
state_complete(struct step *step, struct syn_err *err)
{
    int64_t back = syn_json_i64(step->status, "rolled_back", 0);
    bool low = syn_json_bool(json_object_get(step->status, "cost"), "low", false);
    uint32_t want = step->spec.replicas;
    char message[CONTROL_MESSAGE_MAX], failed_text[160] = "";
    int rc = note_complete(step, err);

    if (rc < 0)
        return rc;
    if (back > 0)
        (void)snprintf(failed_text, sizeof(failed_text), "version %lld %s and was rolled back; ",
                       (long long)back, syn_json_str(step->status, "rolled_back_why", "failed"));
    if (want == 0)
        return service_step_state(step, SYN_SERVICE_RUNNING, "scaled-to-zero",
                                  "no replica is wanted", err);
    (void)snprintf(message, sizeof(message), "%s%u of %u %s ready", failed_text, want, want,
                   syn_plural(want, "replica is", "replicas are"));
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
    if (syn_json_i64(step->status, "rolled_back", 0) > 0)
        return "rolling-back";
    return step->stable != step->target || step->rollout.old > 0 ? "updating" : "scaling";
}

static int
state_incomplete(struct step *step, struct syn_err *err)
{
    enum syn_service_state state;
    const char *reason = going_on(step, &state);
    char message[CONTROL_MESSAGE_MAX], pause[160] = "";
    uint32_t want = step->spec.replicas;

    if (step->no_room)
        (void)snprintf(pause, sizeof(pause), ": %.150s", step->no_room_text);
    else if (step->failures > 0)
        (void)snprintf(pause, sizeof(pause), ": %u %s soon after the start", step->failures,
                       syn_plural(step->failures, "replica ended", "replicas ended"));
    if (step->stable == 0 && state == SYN_SERVICE_DEPLOYING)
        service_step_wake(step, syn_document_time(step->status, "deployed_at") +
                                    step->spec.update_deadline_ms);
    (void)snprintf(message, sizeof(message), "version %lld: %u of %u ready%s",
                   (long long)step->target, step->rollout.updated, want, pause);
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
            (failed_early(step, member) &&
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
    static int (*const phases[])(struct step *, struct syn_err *) = {
        phase_note,    phase_lost,  phase_limits, phase_scale,  phase_verdict,
        phase_rollout, phase_drain, phase_state,  phase_settle, phase_forget};
    SYN_SCOPED(service_step_fini) struct step step = {0};
    int rc = service_step_read(view, &step, err);

    for (size_t i = 0; i < SYN_LEN(phases) && rc == SYN_OK; i++)
        rc = phases[i](&step, err);
    return rc < 0 ? rc : step_write(&step, ret, err);
}
