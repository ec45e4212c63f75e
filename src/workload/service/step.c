#include "step_priv.h"

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "../work_priv.h"

void
service_step_wake(struct step *step, int64_t at_ms)
{
    if (step->wake_at_ms == SYN_DOCUMENT_NONE || at_ms < step->wake_at_ms)
        step->wake_at_ms = at_ms;
}

int
service_step_event(struct step *step, const char *type, const char *reason, const char *instance,
                   struct syn_err *err, const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = work_event(step->events, type, reason, instance, err, format, args);
    va_end(args);
    return rc;
}

int
service_step_state(struct step *step, enum syn_service_state state, const char *reason,
                   const char *message, struct syn_err *err)
{
    assert(syn_service_reason(state, reason));
    if (state != step->state)
        step->state = (enum syn_service_state)syn_sm_move(&syn_service_life, step->state, state);
    return syn_document_set_state(step->service, syn_service_life.states[state].name, reason,
                                  message, err);
}

/* The spec, with as many replicas as are wanted now. */
void
service_step_read_spec(struct step *step)
{
    syn_service_spec_read(syn_document_spec(step->service), &step->spec);
    if (step->spec.autoscale)
        step->spec.replicas = (uint32_t)syn_json_i64(json_object_get(step->status, "autoscale"),
                                                     "replicas", step->spec.replicas);
}

/* ---- a replica ---- */

int64_t
service_version_of(const struct member *member)
{
    return syn_json_i64(member->spec, "version", 0);
}

bool
service_leaving(const struct member *member)
{
    return syn_json_str(member->spec, "leaving", "")[0] != '\0';
}

bool
service_draining(const struct member *member)
{
    return syn_document_time(member->spec, "draining_at") != SYN_DOCUMENT_NONE;
}

bool
service_going(const struct member *member)
{
    return member_asked_to_stop(member) || service_draining(member);
}

static bool
node_silent(const struct step *step, const struct member *member)
{
    const struct syn_node_view *node = syn_cluster_find(step->view->cluster, member->node);

    return !node || node->state != SYN_NODE_READY;
}

bool
service_ready(const struct step *step, const struct member *member)
{
    return member->state == SYN_PHASE_RUNNING && !service_going(member) &&
           syn_json_bool(json_object_get(member->status, "health"), "ready", false) &&
           !node_silent(step, member);
}

bool
service_failed(const struct member *member)
{
    return member->state == SYN_PHASE_EXITED && !service_going(member);
}

bool
service_failed_early(const struct step *step, const struct member *member)
{
    int64_t started_ms = syn_document_time(member->status, "started_at");
    int64_t ended_ms = syn_document_time(member->status, "ended_at");

    ended_ms = ended_ms == SYN_DOCUMENT_NONE ? 0 : SYN_MIN(ended_ms, step->view->now_ms);
    return service_failed(member) && member->run == step->run &&
           service_version_of(member) == step->target &&
           !(service_ended_well(member) && service_done(step, member)) &&
           (started_ms == SYN_DOCUMENT_NONE || ended_ms - started_ms < SYN_SERVICE_STABLE_MS);
}

enum rollout_group
service_group(const struct step *step, const struct member *member)
{
    int64_t version = service_version_of(member);

    if (member->run != step->run || service_leaving(member))
        return ROLLOUT_OTHER;
    if (version == step->target)
        return ROLLOUT_NEW;
    return step->staged && version == step->base ? ROLLOUT_BASE : ROLLOUT_OTHER;
}

/* ---- the documents ---- */

int
service_step_read(const struct syn_service_view *view, struct step *step, struct syn_err *err)
{
    int state;

    step->view = view;
    step->wake_at_ms = SYN_DOCUMENT_NONE;
    step->retry_ms = SYN_DOCUMENT_NONE;
    step->service = syn_json_deep_copy(view->service);
    step->created = json_array();
    step->events = json_array();
    step->forgotten = json_array();
    step->volumes = view->volumes ? syn_json_deep_copy(view->volumes) : json_object();
    step->bound = json_object();
    if (!step->volumes || !step->bound || !step->service || !step->created || !step->events ||
        !step->forgotten)
        return SYN_FAIL(err, SYN_E_NOMEM, "stepping a service: out of memory");
    step->status = json_object_get(step->service, "status");
    state = syn_sm_find(&syn_service_life, syn_json_str(step->status, "state", ""));
    step->run = syn_json_i64(step->status, "run", 0);
    step->serial = syn_json_i64(step->status, "serial", -1);
    step->target = syn_json_i64(step->status, "target", 0);
    step->stable = syn_json_i64(step->status, "stable", -1);
    if (!json_is_object(json_object_get(step->service, "spec")) || state < 0 || step->run < 1 ||
        step->serial < 0 || step->stable < 0 || !syn_document_version(view->versions, step->target))
        return SYN_FAIL(err, SYN_E_CORRUPT, "\"%s\" is no service",
                        syn_json_str(view->service, "id", ""));
    step->state = (enum syn_service_state)state;
    service_step_read_spec(step);
    service_stage_read(step);
    return members_read(view->instances, &step->members, &step->members_count, err);
}

void
service_step_fini(struct step *step)
{
    members_free(step->members, step->members_count);
    json_decref(step->service);
    json_decref(step->created);
    json_decref(step->events);
    json_decref(step->volumes);
    json_decref(step->bound);
    json_decref(step->forgotten);
}
