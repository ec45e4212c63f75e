#include "step_priv.h"

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

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
    char message[CONTROL_MESSAGE_MAX];
    SYN_JSON(event);
    va_list args;
    int rc;

    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    rc = syn_json_pack(&event, err, "{s:s, s:s, s:s, s:s?}", "type", type, "reason", reason,
                       "message", message, "instance", instance);
    return rc < 0 ? rc : syn_json_append_take(step->events, SYN_TAKE(event), err);
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

int
service_step_read(const struct syn_service_view *view, struct step *step, struct syn_err *err)
{
    int state;

    step->view = view;
    step->wake_at_ms = SYN_DOCUMENT_NONE;
    step->retry_ms = SYN_DOCUMENT_NONE;
    step->service = json_deep_copy(view->service);
    step->created = json_array();
    step->events = json_array();
    step->forgotten = json_array();
    if (!step->service || !step->created || !step->events || !step->forgotten)
        return SYN_FAIL(err, SYN_E_NOMEM, "stepping a service: out of memory");
    step->status = json_object_get(step->service, "status");
    state = syn_sm_find(&syn_service_life, syn_json_str(step->status, "state", ""));
    step->run = syn_json_i64(step->status, "run", 0);
    step->serial = syn_json_i64(step->status, "serial", -1);
    step->target = syn_json_i64(step->status, "target", 0);
    step->stable = syn_json_i64(step->status, "stable", -1);
    if (!json_is_object(json_object_get(step->service, "spec")) || state < 0 || step->run < 1 ||
        step->serial < 0 || step->stable < 0 || !service_version(view->versions, step->target))
        return SYN_FAIL(err, SYN_E_CORRUPT, "\"%s\" is no service",
                        syn_json_str(view->service, "id", ""));
    step->state = (enum syn_service_state)state;
    service_step_read_spec(step);
    return members_read(view->instances, &step->members, &step->members_count, err);
}

void
service_step_fini(struct step *step)
{
    members_free(step->members, step->members_count);
    json_decref(step->service);
    json_decref(step->created);
    json_decref(step->events);
    json_decref(step->forgotten);
}
