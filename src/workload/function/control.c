/* One step of a function: working copies of its documents, changed phase by phase.
 *
 *     note      versions whose derived service has a ready replica are ready, or have failed
 *     money     another period, more in the escrow, or suspended until there is some
 *     route     what comes goes to the wanted version once that is ready
 *     pools     derived services are made, started, stopped, and deleted with their versions
 *     state     what people see of it
 *     settle    one that is deleted gets its last bill when its pools are gone */
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/workload/function_spec.h>
#include <synor/workload/service_control.h>

#include "../money_priv.h"
#include "../work_priv.h"
#include "control_priv.h"

#define MESSAGE_MAX 400
#define HOUR_MS     (INT64_C(3600) * 1000)

#define TO(state) SYN_BIT(SYN_FUNCTION_##state)
#define LIVES     (TO(DEPLOYING) | TO(ACTIVE) | TO(FAILED) | TO(SUSPENDED) | TO(DELETING))

static const struct syn_sm_state states[] = {
    [SYN_FUNCTION_DEPLOYING] = {"deploying", LIVES},
    [SYN_FUNCTION_ACTIVE] = {"active", LIVES},
    [SYN_FUNCTION_FAILED] = {"failed", LIVES},
    [SYN_FUNCTION_SUSPENDED] = {"suspended", LIVES},
    [SYN_FUNCTION_DELETING] = {"deleting", 0},
};

const struct syn_sm syn_function_life = {"function", states, SYN_LEN(states)};

static const struct {
    unsigned state;
    const char *word;
    const char *sentence;
} reasons[] = {
    {SYN_FUNCTION_DEPLOYING, "created", "its first version is being prepared"},
    {SYN_FUNCTION_DEPLOYING, "updating", "a version is being prepared; none is ready"},
    {SYN_FUNCTION_DEPLOYING, "no-room", "no node has room for an instance of it"},
    {SYN_FUNCTION_ACTIVE, "ready", "it answers"},
    {SYN_FUNCTION_ACTIVE, "updating", "it answers, and a new version is being prepared"},
    {SYN_FUNCTION_ACTIVE, "version-failed", "it answers; the version wanted last has failed"},
    {SYN_FUNCTION_ACTIVE, "parted", "it answers with more than one version"},
    {SYN_FUNCTION_FAILED, "version-failed", "its version has failed, and there is none before it"},
    {SYN_FUNCTION_SUSPENDED, "user", "it was suspended on request"},
    {SYN_FUNCTION_SUSPENDED, "funds", "its account has no more to pay it with"},
    {SYN_FUNCTION_SUSPENDED, "budget", "its budget of this billing period is spent"},
    {SYN_FUNCTION_DELETING, "user", "it was asked to go"},
};

const char *
syn_function_reason(unsigned state, const char *word)
{
    for (size_t i = 0; i < SYN_LEN(reasons); i++)
        if (reasons[i].state == state && syn_str_eq(reasons[i].word, word))
            return reasons[i].sentence;
    return NULL;
}

/* --- the step in the making ------------------------------------------------------------------- */

struct step {
    const struct syn_function_view *view;
    json_t *function, *status, *versions; /* copies */
    struct syn_function_spec spec;
    const char *broke; /* "funds", "budget": it cannot go on; NULL */
    struct syn_function_effects effects;
};

static void
step_fini(struct step *step)
{
    json_decref(step->function);
    json_decref(step->versions);
    syn_function_effects_fini(&step->effects);
}

static int step_event(struct step *step, const char *type, const char *reason, struct syn_err *err,
                      const char *format, ...) SYN_PRINTF(5, 6);

static int
step_event(struct step *step, const char *type, const char *reason, struct syn_err *err,
           const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = work_event(step->effects.events, type, reason, NULL, err, format, args);
    va_end(args);
    return rc;
}

static void
step_wake(struct step *step, int64_t at_ms)
{
    int64_t *wake = &step->effects.wake_at_ms;

    if (*wake == SYN_DOCUMENT_NONE || at_ms < *wake)
        *wake = at_ms;
}

static int
step_read(const struct syn_function_view *view, struct step *ret, struct syn_err *err)
{
    ret->view = view;
    ret->effects.wake_at_ms = SYN_DOCUMENT_NONE;
    ret->function = syn_json_deep_copy(view->function);
    ret->versions = syn_json_deep_copy(view->versions);
    ret->effects.versions = json_array();
    ret->effects.dropped = json_array();
    ret->effects.create = json_array();
    ret->effects.start = json_array();
    ret->effects.stop = json_array();
    ret->effects.forget = json_array();
    ret->effects.events = json_array();
    if (!ret->function || !ret->versions || !ret->effects.versions || !ret->effects.dropped ||
        !ret->effects.create || !ret->effects.start || !ret->effects.stop || !ret->effects.forget ||
        !ret->effects.events)
        return SYN_FAIL(err, SYN_E_NOMEM, "a step of a function: out of memory");
    if (!json_is_object(json_object_get(ret->function, "spec")) ||
        !json_is_object(json_object_get(ret->function, "status")))
        return SYN_FAIL(err, SYN_E_CORRUPT, "a function without spec or status");
    ret->status = syn_document_status(ret->function);
    syn_function_spec_read(syn_document_spec(ret->function), &ret->spec);
    return SYN_OK;
}

static int64_t
number_of(const json_t *version)
{
    return syn_json_i64(version, "version", 0);
}

static bool
is(const json_t *version, const char *state)
{
    return version && syn_str_eq(syn_json_str(version, "state", ""), state);
}

static bool
deleting(const struct step *step)
{
    return syn_str_eq(syn_document_state(step->function), "deleting");
}

static const json_t *
service_of(const struct step *step, const json_t *version)
{
    return json_object_get(step->view->services, syn_json_str(version, "service", ""));
}

static int64_t
status_number(const struct step *step, const char *key)
{
    return syn_json_i64(step->status, key, 0);
}

/* --- note ------------------------------------------------------------------------------------- */

static int
version_becomes(struct step *step, json_t *version, const char *state, const char *message,
                struct syn_err *err)
{
    int rc = syn_json_set_str(version, "state", state, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(version, "message", message, err);
    if (rc == SYN_OK)
        rc = syn_json_append_take(step->effects.versions, json_incref(version), err);
    return rc < 0
               ? rc
               : step_event(step, syn_str_eq(state, "ready") ? "version-ready" : "version-failed",
                            state, err, "version %lld %s%s%s", (long long)number_of(version),
                            syn_str_eq(state, "ready") ? "is ready" : "has failed",
                            *message ? ": " : "", message);
}

static int
phase_note(struct step *step, struct syn_err *err)
{
    json_t *version;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (step->versions, i, version) {
        const json_t *service = service_of(step, version);
        const char *reason = syn_json_str(syn_json_at(service, "status"), "reason", "");

        if (!is(version, "preparing") || !service || rc < 0)
            continue;
        if (syn_json_i64(syn_json_at(service, "status.replicas"), "ready", 0) > 0)
            rc = version_becomes(step, version, "ready", "", err);
        else if (syn_str_eq(reason, "crash-loop") || syn_str_eq(reason, "deploy-failed"))
            rc = version_becomes(step, version, "failed",
                                 syn_json_str(syn_json_at(service, "status"), "message", ""), err);
    }
    return rc;
}

/* --- money ------------------------------------------------------------------------------------ */

/* What it has cost an hour in this period; a period that has just begun says nothing. */
static int64_t
rate_hour(const struct syn_function_view *view)
{
    int64_t since_ms = view->period.since_ms > 0 ? view->period.since_ms
                                                 : syn_document_time(view->function, "created_at");
    int64_t span_ms = SYN_MAX(view->now_ms - since_ms, HOUR_MS);

    return (int64_t)((syn_i128)view->spent * HOUR_MS / span_ms);
}

static int
phase_money(struct step *step, struct syn_err *err)
{
    const struct syn_function_view *view = step->view;
    const struct money_view money_view = {
        .doc = view->function,
        .period = {view->period.number, view->period.since_ms, view->period.window_since_ms,
                   view->period.window_spent},
        .spent = view->spent,
        .rate_hour = rate_hour(view),
        .reserve =
            syn_function_reserve(syn_document_spec(step->function), view->call_price, view->spent),
        .escrow = view->escrow,
        .balance = view->balance,
        .billing_ms = step->spec.billing_ms,
        .max_budget = step->spec.max_budget,
        .now_ms = view->now_ms,
    };
    struct money money;
    int rc;

    if (deleting(step))
        return SYN_OK;
    money_decide(&money_view, &money);
    step->effects.lock = money.lock;
    step->effects.renew = money.renew;
    step->effects.new_window = money.new_window;
    memcpy(step->effects.bill_id, money.bill_id, sizeof(step->effects.bill_id));
    if (money.until_ms > view->now_ms)
        step_wake(step, money.until_ms);
    step->broke = money.stop;
    /* An escrow that is empty pays for nothing, also where nothing was spent yet. */
    if (!step->broke && view->escrow == 0 && money.lock == 0)
        step->broke =
            step->spec.max_budget > 0 && view->period.window_spent >= step->spec.max_budget
                ? "budget"
                : "funds";
    if (step->broke)
        step_wake(step, view->now_ms + SYN_FUNCTION_FUNDS_LOOK_MS);
    rc = money_note(&money_view, &money, step->status, step->effects.events, err);
    return rc < 0 ? rc
                  : syn_document_set_amount(json_object_get(step->status, "cost"), "spent",
                                            money.renew ? 0 : view->spent, err);
}

/* --- route ------------------------------------------------------------------------------------ */

static int
phase_route(struct step *step, struct syn_err *err)
{
    int64_t target = status_number(step, "target");
    const json_t *version = syn_document_version(step->versions, target);
    int rc;

    if (deleting(step) || target == status_number(step, "routed") || !is(version, "ready"))
        return SYN_OK;
    rc = function_route_part(step->function, target,
                             syn_json_i64(step->status, "target_weight", 100), err);
    return rc < 0 ? rc
                  : step_event(step, "routed", "ready", err,
                               "version %lld gets %lld %% of what comes", (long long)target,
                               status_number(step, "active") == target
                                   ? 100LL
                                   : (long long)syn_json_i64(step->status, "target_weight", 100));
}

/* --- pools ------------------------------------------------------------------------------------ */

static bool
gets_traffic(const struct step *step, int64_t number)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(step->status, "traffic"), i, row)
        if (syn_json_i64(row, "version", 0) == number && syn_json_i64(row, "weight", 0) > 0)
            return true;
    return false;
}

static bool
is_needed(const struct step *step, const json_t *version)
{
    int64_t number = number_of(version);

    return !deleting(step) && !step->spec.suspended && !is(version, "failed") &&
           (gets_traffic(step, number) || number == status_number(step, "target") ||
            number == status_number(step, "previous"));
}

/* Is it kept, needed or not? */
static bool
is_kept(const struct step *step, const json_t *version)
{
    int64_t number = number_of(version);

    return number + SYN_FUNCTION_VERSIONS_MAX > status_number(step, "versions") ||
           gets_traffic(step, number) || number == status_number(step, "target") ||
           number == status_number(step, "previous") || number == status_number(step, "active");
}

static int
add_pool(json_t *list, const json_t *version, struct syn_err *err)
{
    json_t *row = NULL;
    int rc = syn_json_pack(&row, err, "{s:O, s:O}", "service", json_object_get(version, "service"),
                           "version", json_object_get(version, "version"));

    return rc < 0 ? rc : syn_json_append_take(list, row, err);
}

/* Nobody needs it: it stops, and goes when its version does. */
static int
put_away(struct step *step, const json_t *service, bool forget, struct syn_err *err)
{
    const char *id = syn_document_id(service);

    if (syn_service_may_delete(service, NULL) == SYN_OK)
        return forget ? syn_json_append_take(step->effects.forget, json_string(id), err) : SYN_OK;
    if (json_is_string(json_object_get(syn_document_status(service), "stop_requested")) ||
        syn_str_eq(syn_document_state(service), "stopped"))
        return SYN_OK;
    return syn_json_append_take(step->effects.stop, json_string(id), err);
}

static int
phase_pools(struct step *step, struct syn_err *err)
{
    json_t *version;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (step->versions, i, version) {
        const json_t *service = service_of(step, version);
        bool pool = *syn_json_str(version, "service", ""), needed = is_needed(step, version);
        bool forget = deleting(step) || !is_kept(step, version);

        if (rc < 0)
            break;
        if (pool && needed && !service)
            rc = add_pool(step->effects.create, version, err);
        else if (needed && service && syn_service_may_delete(service, NULL) == SYN_OK)
            rc = add_pool(step->effects.start, version, err);
        else if (!needed && service)
            rc = put_away(step, service, forget, err);
        if (rc == SYN_OK && forget && !deleting(step) && !service)
            rc = syn_json_append_take(step->effects.dropped, json_integer(number_of(version)), err);
    }
    return rc;
}

/* --- state ------------------------------------------------------------------------------------ */

static int
set_state(struct step *step, enum syn_function_state state, const char *reason, const char *more,
          struct syn_err *err)
{
    char message[MESSAGE_MAX];
    bool news = !syn_str_eq(syn_document_state(step->function), states[state].name) ||
                !syn_str_eq(syn_json_str(step->status, "reason", ""), reason);
    int rc;

    (void)snprintf(message, sizeof(message), "%s%s%s", syn_function_reason(state, reason),
                   *more ? ": " : "", more);
    rc = syn_document_set_state(step->function, states[state].name, reason, message, err);
    return rc < 0 || !news
               ? rc
               : step_event(step, "state", reason, err, "%s: %s", states[state].name, message);
}

/* How many instances there are of all its versions. */
static int
note_instances(struct step *step, struct syn_err *err)
{
    int64_t live = 0;
    const char *id;
    json_t *service;

    json_object_foreach ((json_t *)(uintptr_t)step->view->services, id, service)
        live += syn_json_i64(syn_json_at(service, "status.replicas"), "live", 0);
    return syn_json_set_i64(step->status, "instances", live, err);
}

static int
phase_state(struct step *step, struct syn_err *err)
{
    int64_t active = status_number(step, "active");
    const json_t *target = syn_document_version(step->versions, status_number(step, "target"));
    const json_t *service = target ? service_of(step, target) : NULL;
    const char *why = syn_json_str(target, "message", "");
    bool failed = is(target, "failed"), waits = is(target, "preparing");

    if (deleting(step))
        return SYN_OK;
    if (step->spec.suspended)
        return set_state(step, SYN_FUNCTION_SUSPENDED, "user", "", err);
    if (step->broke)
        return set_state(step, SYN_FUNCTION_SUSPENDED, step->broke, "", err);
    if (active == 0 && failed)
        return set_state(step, SYN_FUNCTION_FAILED, "version-failed", why, err);
    if (active == 0) {
        const json_t *status = service ? syn_document_status(service) : NULL;
        bool no_room = syn_str_eq(syn_json_str(status, "reason", ""), "no-room");

        return set_state(step, SYN_FUNCTION_DEPLOYING,
                         no_room                                ? "no-room"
                         : status_number(step, "versions") == 1 ? "created"
                                                                : "updating",
                         no_room ? syn_json_str(status, "message", "") : "", err);
    }
    if (json_array_size(json_object_get(step->status, "traffic")) > 1)
        return set_state(step, SYN_FUNCTION_ACTIVE, "parted", "", err);
    return set_state(step, SYN_FUNCTION_ACTIVE,
                     failed  ? "version-failed"
                     : waits ? "updating"
                             : "ready",
                     failed ? why : "", err);
}

/* --- settle ----------------------------------------------------------------------------------- */

static int
phase_settle(struct step *step, struct syn_err *err)
{
    (void)err;
    if (!deleting(step) || json_object_size(step->view->services) > 0)
        return SYN_OK;
    step->effects.settle = true;
    syn_service_bill_id(step->function, SYN_MAX(step->view->period.number, 1),
                        step->effects.bill_id);
    return SYN_OK;
}

int
syn_function_step(const struct syn_function_view *view, struct syn_function_effects *ret,
                  struct syn_err *err)
{
    static int (*const phases[])(struct step *, struct syn_err *) = {
        phase_note,  phase_money,    phase_route, phase_pools,
        phase_state, note_instances, phase_settle};
    SYN_SCOPED(step_fini) struct step step = {0};
    int rc = step_read(view, &step, err);

    for (size_t i = 0; i < SYN_LEN(phases) && rc == SYN_OK; i++)
        rc = phases[i](&step, err);
    if (rc < 0)
        return rc;
    *ret = step.effects;
    step.effects = (struct syn_function_effects){0};
    if (!json_equal(step.function, view->function))
        ret->function = SYN_TAKE(step.function);
    return SYN_OK;
}

void
syn_function_effects_fini(struct syn_function_effects *effects)
{
    json_decref(effects->function);
    json_decref(effects->versions);
    json_decref(effects->dropped);
    json_decref(effects->create);
    json_decref(effects->start);
    json_decref(effects->stop);
    json_decref(effects->forget);
    json_decref(effects->events);
    *effects = (struct syn_function_effects){.wake_at_ms = SYN_DOCUMENT_NONE};
}

bool
syn_function_effects_none(const struct syn_function_effects *effects)
{
    return !effects->function && !effects->settle && !effects->renew && effects->lock == 0 &&
           json_array_size(effects->versions) == 0 && json_array_size(effects->dropped) == 0 &&
           json_array_size(effects->create) == 0 && json_array_size(effects->start) == 0 &&
           json_array_size(effects->stop) == 0 && json_array_size(effects->forget) == 0 &&
           json_array_size(effects->events) == 0;
}
