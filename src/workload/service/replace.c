/* Which replicas are started and which go, by the arithmetic of rollout.c; and how those that go do
 * it: they leave traffic first, end what they have, and are asked to stop. */
#include "step_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/place.h>

#include "volumes_priv.h"

#define BATCH_MAX 12 /* replicas started by one step: it is one transaction of the store */

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
            taken = !step->members[i].ended && !service_going(&step->members[i]) &&
                    step->members[i].rank == number;
        for (i = 0; i < step->members_count && !taken && step->done > 0; i++)
            taken = step->members[i].rank == number && service_done(step, &step->members[i]);
        json_array_foreach (step->created, i, doc)
            taken = taken || syn_json_i64(syn_document_spec(doc), "rank", -1) == number;
        if (!taken)
            return number;
    }
}

static int
start_on(struct step *step, const json_t *version, const struct syn_place_slot *slot,
         struct syn_err *err)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, slot->node);
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
        rc = service_volumes_give(step->volumes, slot->node, syn_document_spec(doc), step->bound,
                                  err);
    if (rc == SYN_OK)
        rc = service_step_event(step, "placed", "assigned", syn_document_id(doc), err,
                                "replica %lld of version %lld on %s", (long long)number,
                                (long long)syn_json_i64(version, "version", 0), slot->node);
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

/* Say why it has no place: that its volume is elsewhere comes first. */
static void
say_no_room(struct step *step, const struct syn_place_request *request,
            const struct service_volumes *volumes)
{
    char why[160];

    syn_place_why(step->view->cluster, request, &step->no_room, why, sizeof(why));
    if (volumes->node)
        (void)snprintf(step->no_room_text, sizeof(step->no_room_text),
                       "its volume %.63s is on %.63s, which cannot take it now", volumes->pinned,
                       volumes->node);
    else
        (void)syn_str_copy(step->no_room_text, sizeof(step->no_room_text), why);
}

/* Does somebody still write what a replica of this spec would write? */
static bool
volume_busy(const struct step *step, const json_t *spec)
{
    const json_t *doc;
    size_t i;

    for (i = 0; i < step->members_count; i++)
        if (!step->members[i].ended &&
            service_volumes_clash(step->volumes, spec, step->members[i].spec))
            return true;
    json_array_foreach (step->created, i, doc)
        if (service_volumes_clash(step->volumes, spec, json_object_get(doc, "spec")))
            return true;
    return false;
}

/* Start one, or note why not. */
static int
start_one(struct step *step, const json_t *version, const struct syn_place_request *request,
          const struct service_volumes *volumes, struct syn_err *err)
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
        return start_on(step, version, &placement.slots[0], err);
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
        say_no_room(step, request, volumes);
    return SYN_OK;
}

/* The next one, where the version's volumes are. False in *ret_goes: it waits for their writer. */
static int
start_next(struct step *step, const json_t *version, const struct syn_place_request *request,
           bool *ret_goes, struct syn_err *err)
{
    const json_t *spec = json_object_get(version, "spec");
    struct syn_place_request asked = *request;
    struct service_volumes volumes;

    *ret_goes = !volume_busy(step, spec);
    if (!*ret_goes)
        return SYN_OK;
    service_volumes_look(step->volumes, spec, &volumes);
    if (service_volumes_refuse(&volumes, step->no_room_text, sizeof(step->no_room_text))) {
        step->no_room = "no-volume";
        return SYN_OK;
    }
    service_volumes_ask(&volumes, &asked);
    return start_one(step, version, &asked, &volumes, err);
}

/* Start so many of the version, as far as one step goes. */
static int
start_some(struct step *step, int64_t number, uint32_t missing, struct syn_err *err)
{
    const json_t *version = syn_document_version(step->view->versions, number);
    uint32_t room = BATCH_MAX - (uint32_t)json_array_size(step->created);
    struct syn_service_spec spec;
    struct syn_place_request request;
    bool goes = true;
    int rc = SYN_OK;

    if (!version)
        return SYN_FAIL(err, SYN_E_CORRUPT, "version %lld is gone", (long long)number);
    syn_service_spec_read(json_object_get(version, "spec"), &spec);
    request = syn_service_place_request(&spec);
    request.price_max = step->spec.max_price;
    request.policy = step->spec.policy;
    if (missing > room) {
        service_step_wake(step, step->view->now_ms);
        missing = room;
    }
    for (; missing > 0 && goes && !step->no_room && !step->waits && rc == SYN_OK; missing--)
        rc = start_next(step, version, &request, &goes, err);
    return rc;
}

/* Start what is missing: first of what works. What is not missing any more no longer asks for room.
 */
static int
start_missing(struct step *step, struct syn_err *err)
{
    uint32_t fresh = step->rollout.create;
    char id[SYN_ID_MAX];
    int rc = SYN_OK;

    if (fresh > 0 && step->retry_ms > step->view->now_ms) {
        service_step_wake(step, step->retry_ms);
        fresh = 0;
    }
    if (step->rollout.create_base > 0)
        rc = start_some(step, step->base, step->rollout.create_base, err);
    if (rc == SYN_OK && fresh > 0)
        rc = start_some(step, step->target, fresh, err);
    if (rc < 0 || step->waits)
        return rc; /* the placement tells when there is room */
    syn_service_instance_id(step->service, step->serial + 1, id);
    syn_place_withdraw(step->view->cluster, id);
    return rc;
}

/* Ask it to stop. One that takes traffic leaves that first: its stop follows in phase_drain(). */
static int
let_go(struct step *step, struct member *member, const char *reason, struct syn_err *err)
{
    bool drains = service_ready(step, member) && syn_json_i64(member->spec, "port", 0) > 0;
    int rc;

    if (member->ended || service_draining(member))
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
    enum rollout_group group = service_group(step, member);
    bool updated = group == ROLLOUT_OTHER ||
                   (group == ROLLOUT_BASE && service_stage_plan(step).base == ROLLOUT_GOES);

    return *way ? way : updated ? "updated" : "scaled-down";
}

/* Those that live, as the arithmetic sees them. */
static size_t
list_live(struct step *step, struct member **live, struct rollout_replica *replicas)
{
    size_t count = 0;

    for (size_t i = 0; i < step->members_count; i++) {
        struct member *member = &step->members[i];
        enum rollout_group group = service_group(step, member);

        if (member->ended)
            continue;
        live[count] = member;
        replicas[count++] = (struct rollout_replica){
            .serial = member->attempt,
            .group = group,
            .ready = service_ready(step, member),
            .idle = step->traffic.idle[group],
            .stopping = service_going(member),
        };
    }
    return count;
}

int
service_phase_rollout(struct step *step, struct syn_err *err)
{
    const struct stage_plan plan = service_stage_plan(step);
    /* Who writes a volume alone ends before its successor begins. */
    bool alone = service_volumes_exclusive(step->volumes, syn_document_spec(step->service));
    const struct rollout_pace pace = {.want = step->spec.replicas,
                                      .surge = alone ? 0 : step->spec.max_surge,
                                      .unavailable = alone ? SYN_MAX(step->spec.max_unavailable, 1U)
                                                           : step->spec.max_unavailable,
                                      .fresh = plan.fresh,
                                      .done = step->done,
                                      .done_well = step->done - step->done_badly,
                                      .base = plan.base};
    const char *stop = syn_json_str(step->status, "stop_requested", NULL);
    SYN_SCOPED(syn_free_scope) struct rollout_replica *replicas = NULL;
    SYN_SCOPED(syn_free_scope) struct member **live = NULL;
    size_t count;
    int rc = SYN_OK;

    if (step->state == SYN_SERVICE_STOPPED)
        return SYN_OK;
    if (stop) {
        char id[SYN_ID_MAX];

        syn_service_instance_id(step->service, step->serial + 1, id);
        syn_place_withdraw(step->view->cluster, id);
        return stop_all(step, stop, err);
    }
    replicas = syn_calloc(step->members_count + 1, sizeof(*replicas));
    live = syn_calloc(step->members_count + 1, sizeof(struct member *));
    if (!replicas || !live)
        return SYN_FAIL(err, SYN_E_NOMEM, "stepping a service: out of memory");
    count = list_live(step, live, replicas);
    step->rollout = rollout_decide(replicas, count, &pace);
    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        if (replicas[i].stop || syn_str_eq(syn_json_str(live[i]->spec, "leaving", ""), "preempted"))
            rc = let_go(step, live[i], why_it_goes(step, live[i]), err);
    return rc < 0 ? rc : start_missing(step, err);
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

int
service_phase_drain(struct step *step, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < step->members_count && rc == SYN_OK; i++) {
        struct member *member = &step->members[i];
        int64_t until_ms;

        if (member->ended || !service_draining(member) || member_asked_to_stop(member))
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
