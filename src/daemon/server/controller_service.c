/* The controller's services: documents in, the pure step, effects out. */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/place.h>
#include <synor/workload/service_control.h>

#include "bills_priv.h"
#include "controller_priv.h"
#include "function_prewarm_priv.h"
#include "loads_priv.h"
#include "mesh_priv.h"
#include "trials_priv.h"
#include "volumes_priv.h"

/* Everything the step reads, owned. */
struct sight {
    struct ctl_loaded own;
    json_t *versions;
    struct srv_period period;
    json_t *billed;
    json_t *balanced;
    json_t *volumes;
    int64_t escrow;
    struct srv_loads_view loads;
    struct syn_service_ahead ahead;
    int64_t ahead_wake_ms; /* INT64_MAX: never */
    struct syn_service_answers answers[SYN_SERVICE_SIDES];
};

static void
sight_fini(struct sight *sight)
{
    ctl_loaded_fini(&sight->own);
    json_decref(sight->versions);
    json_decref(sight->billed);
    srv_period_fini(&sight->period);
    json_decref(sight->balanced);
    json_decref(sight->volumes);
}

static int
look(struct syn_server *server, const char *id, struct sight *ret, struct syn_err *err)
{
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    int rc = ctl_load(server, &srv_service, id, &ret->own, err);

    if (rc == SYN_OK)
        rc = srv_service_versions(server, id, &ret->versions, err);
    if (rc == SYN_OK)
        rc = srv_volumes_named(server, syn_json_str(ret->own.doc, "account", "?"),
                               syn_document_spec(ret->own.doc), ret->versions, &ret->volumes, err);
    if (rc == SYN_OK)
        rc = srv_service_derived(ret->own.doc)
                 ? srv_functions_balanced(server, ret->own.instances, &ret->balanced, err)
                 : srv_gateway_balanced(server, ret->own.doc, ret->own.instances, &ret->balanced,
                                        err);
    if (rc != SYN_OK)
        return rc;
    rc = srv_period_load(server, id, syn_json_i64(syn_document_status(ret->own.doc), "run", 1),
                         &ret->period, err);
    if (rc == SYN_OK)
        rc = srv_period_billed(&ret->period, &ret->billed, err);
    if (rc == SYN_OK)
        rc = syn_ledger_escrow_name(ret->period.ref, escrow, err);
    return rc < 0 ? rc : srv_balance(server, escrow, &ret->escrow, err);
}

/* Of a function's pool: what is to be ready before it is called. */
static int
look_ahead(struct syn_server *server, struct sight *sight, int64_t now_ms, struct syn_err *err)
{
    char function[SYN_ID_MAX], key[SRV_KEY_MAX];
    struct srv_prewarm prewarm;
    int64_t version;
    SYN_JSON(doc);
    int rc;

    sight->ahead_wake_ms = INT64_MAX;
    if (!srv_service_derived(sight->own.doc) ||
        !syn_function_of_service(syn_document_id(sight->own.doc), function, &version))
        return SYN_OK;
    rc = srv_load(server, srv_key(key, "function", function, NULL), &doc, NULL, err);
    if (rc == SYN_OK)
        rc = srv_prewarm_look(server, doc, now_ms, &prewarm, err);
    if (rc != SYN_OK || !prewarm.has_pool || prewarm.version != version)
        return rc < 0 ? rc : SYN_OK;
    sight->ahead =
        (struct syn_service_ahead){.least = (uint32_t)prewarm.least, .idle_ms = prewarm.idle_ms};
    sight->ahead_wake_ms = prewarm.wake_at_ms;
    return SYN_OK;
}

/* Where it is scaled by what comes through the balancer and the mesh: how much that is. */
static void
count_requests(struct syn_server *server, const json_t *service)
{
    const json_t *row;
    uint64_t requests = 0, open = 0;
    bool counts = false;
    size_t i;

    json_array_foreach (syn_json_at(service, "spec.autoscale.metrics"), i, row) {
        const char *metric = syn_json_str(row, "metric", "");

        counts = counts || syn_str_eq(metric, "requests") || syn_str_eq(metric, "inflight");
    }
    if (!counts || srv_service_derived(service)) /* the gateway of functions tells of those */
        return;
    /* What the balancer is to have and has not is not known; what it is not to have is the mesh's
     * alone. */
    counts = srv_gateway_counts(server, service, &requests, &open) ||
             !syn_json_bool(syn_json_at(service, "spec.lb"), "publish", true);
    if (counts && srv_meshes_count(server, service, &requests, &open, NULL) == SYN_OK)
        srv_loads_count(server->loads, syn_document_id(service), requests, open,
                        syn_wall_ms(server->world));
}

/* Where a canary has its part of what comes: what both versions have answered. NULL: nobody can
 * tell, or it is not asked for. */
static const struct syn_service_answers *
count_answers(struct syn_server *server, const json_t *service,
              struct syn_service_answers ret[SYN_SERVICE_SIDES])
{
    SYN_SCOPED(syn_free_scope) struct syn_balancer_server_counts *counts = NULL;
    size_t count = 0;

    if (srv_trials_wants(service) &&
        srv_gateway_servers(server, service, &counts, &count, NULL) < 0)
        return NULL;
    return srv_trials_take(server->trials, service, counts, count, ret) ? ret : NULL;
}

static int
view_make(const struct ctl_world *world, struct sight *sight, struct syn_quota *quota,
          struct syn_service_view *view, struct syn_err *err)
{
    struct syn_server *server = world->server;
    const char *account = syn_json_str(sight->own.doc, "account", "?");
    int rc = srv_quota_load(server, account, quota, err);

    *view = (struct syn_service_view){
        .service = sight->own.doc,
        .versions = sight->versions,
        .instances = sight->own.instances,
        .cluster = world->cluster,
        .quota = quota,
        .billed = sight->billed,
        .period = {.number = sight->period.number,
                   .since_ms = sight->period.since_ms,
                   .window_since_ms = sight->period.window_since_ms,
                   .window_spent = sight->period.window_spent},
        .escrow = sight->escrow,
        .now_ms = syn_wall_ms(server->world),
        .observing_since_ms = world->observing_since_ms,
        .zones = &sight->loads.zones,
        .loads = &sight->loads.sight,
        .ahead = &sight->ahead,
        .balanced = sight->balanced,
        .volumes = sight->volumes,
    };
    count_requests(server, sight->own.doc);
    view->answers = count_answers(server, sight->own.doc, sight->answers);
    srv_loads_look(server->loads, syn_document_id(sight->own.doc), view->now_ms, &sight->loads);
    if (rc == SYN_OK)
        rc = look_ahead(server, sight, view->now_ms, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, account, &view->balance, err);
    return rc < 0 ? rc
                  : srv_run_cost(server, sight->own.doc, sight->own.instances, &view->spent,
                                 &view->rate_hour, err);
}

/* Replicas that are over and billed leave the lists that are read again and again; their documents
 * and samples stay: they are the proof of what was paid. */
static int
forget(struct srv_txn *txn, const struct sight *sight, const json_t *forgotten, struct syn_err *err)
{
    const char *service = syn_document_id(sight->own.doc);
    const json_t *instance;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (forgotten, i, instance) {
        const char *id = syn_json_str(instance, "instance", "");
        char key[SRV_KEY_MAX];

        if (rc == SYN_OK)
            rc = srv_txn_delete(txn, srv_key(key, "instance-of", service, id), err);
        if (rc == SYN_OK)
            rc = srv_txn_delete(
                txn, srv_key(key, "instance-on", syn_json_str(instance, "node", "?"), id), err);
    }
    return rc;
}

static int
write_effects(struct syn_server *server, const struct sight *sight,
              const struct syn_service_effects *effects, struct syn_err *err)
{
    const struct ctl_writing writing = {effects->service, effects->created, effects->changed,
                                        effects->events};
    const struct srv_lock lock = {.account = syn_json_str(sight->own.doc, "account", ""),
                                  .ref = sight->period.ref,
                                  .amount = effects->lock,
                                  .held = sight->escrow,
                                  .memo = "reserve of a service"};
    SRV_TXN(txn);
    int rc = SYN_OK;

    if (effects->settle)
        rc = srv_settle(server, &txn, sight->own.doc, sight->own.instances, effects->bill_id, err);
    else if (effects->renew)
        rc = srv_renew(server, &txn, sight->own.doc, sight->own.instances,
                       &(struct srv_renewal){effects->bill_id, effects->lock, effects->new_window},
                       err);
    else if (effects->lock > 0)
        rc = srv_escrow_lock(server, &txn, &lock, err);
    if (rc == SYN_OK)
        rc = forget(&txn, sight, effects->forgotten, err);
    if (rc == SYN_OK)
        rc = srv_volumes_bind(server, &txn, lock.account, sight->volumes, effects->bound, err);
    return rc < 0 ? rc : ctl_write(server, &txn, &srv_service, &sight->own, &writing, err);
}

/* Volumes that have their node now are paid for from now on. Where that fails, the sweeper sees to
 * it. */
static void
pay_bound(struct syn_server *server, const char *account, json_t *bound)
{
    const char *name;
    json_t *node;

    json_object_foreach (bound, name, node) {
        struct syn_err err = {0};

        if (srv_volume_pay(server, account, name, syn_wall_ms(server->world), &err) < 0)
            syn_log_err(SYN_LOG_WARN, "controller.volume", &err);
    }
}

static int
step(const struct ctl_world *world, const char *id, struct ctl_outcome *ret, struct syn_err *err)
{
    struct syn_server *server = world->server;
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    SYN_SCOPED(syn_service_effects_fini) struct syn_service_effects effects = {0};
    struct syn_service_view view;
    struct syn_quota quota;
    int rc = look(server, id, &sight, err);

    ret->gone = rc == SRV_ABSENT;
    if (ret->gone)
        srv_trials_forget(server->trials, id);
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    rc = view_make(world, &sight, &quota, &view, err);
    if (rc == SYN_OK)
        rc = syn_service_step(&view, &effects, err);
    if (rc == SYN_OK && !syn_service_effects_none(&effects))
        rc = write_effects(server, &sight, &effects, err);
    if (rc == SYN_OK)
        pay_bound(server, syn_json_str(sight.own.doc, "account", ""), effects.bound);
    if (rc == SYN_OK)
        ret->created = json_incref(effects.created);
    ret->wake_at_ms = effects.wake_at_ms;
    if (sight.ahead_wake_ms != INT64_MAX &&
        (ret->wake_at_ms == SYN_DOCUMENT_NONE || sight.ahead_wake_ms < ret->wake_at_ms))
        ret->wake_at_ms = sight.ahead_wake_ms;
    ret->now_ms = view.now_ms;
    if (rc == SYN_OK && syn_service_effects_none(&effects) &&
        srv_work_over(&srv_service, sight.own.doc))
        ret->gone = true;
    return rc;
}

const struct ctl_kind ctl_service = {&srv_service, step};
