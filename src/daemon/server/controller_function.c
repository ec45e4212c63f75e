/* The controller's functions: documents in, the pure step, effects out. */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/function_control.h>
#include <synor/workload/function_pool.h>

#include "controller_priv.h"
#include "function_prewarm_priv.h"
#include "loads_priv.h"

#define KEPT_LOOK_MS  INT64_C(60000)
#define FIRST_LOOK_MS INT64_C(5000)

/* Everything the step reads, owned. */
struct sight {
    json_t *function, *versions, *services;
    int64_t revision;
    struct srv_period period;
    int64_t spent, escrow, balance;
    struct srv_prewarm ahead;
    struct syn_content_guard *guard; /* until the effects are written */
};

static void
sight_fini(struct sight *sight)
{
    json_decref(sight->function);
    json_decref(sight->versions);
    json_decref(sight->services);
    srv_period_fini(&sight->period);
    syn_content_guard_free(sight->guard);
}

static int
look(struct syn_server *server, const char *id, struct sight *ret, struct syn_err *err)
{
    char key[SRV_KEY_MAX], escrow[SYN_LEDGER_ACCOUNT_MAX];
    int64_t rate_hour;
    SYN_JSON(none);
    int rc =
        srv_load(server, srv_key(key, "function", id, NULL), &ret->function, &ret->revision, err);

    none = json_array();
    if (rc == SYN_OK)
        rc = srv_function_versions(server, id, &ret->versions, err);
    if (rc == SYN_OK)
        rc = srv_function_services(server, ret->versions, &ret->services, err);
    if (rc == SYN_OK)
        rc = srv_period_load(server, id, 1, &ret->period, err);
    if (rc == SYN_OK)
        rc = syn_ledger_escrow_name(ret->period.ref, escrow, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, escrow, &ret->escrow, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, syn_json_str(ret->function, "account", "?"), &ret->balance, err);
    if (rc == SYN_OK)
        rc = srv_prewarm_look(server, ret->function, syn_wall_ms(server->world), &ret->ahead, err);
    return rc != SYN_OK ? rc
                        : srv_run_cost(server, ret->function, none, &ret->spent, &rate_hour, err);
}

static struct syn_function_view
view_of(struct syn_server *server, const struct sight *sight)
{
    return (struct syn_function_view){
        .function = sight->function,
        .versions = sight->versions,
        .services = sight->services,
        .period = {sight->period.number, sight->period.since_ms, sight->period.window_since_ms,
                   sight->period.window_spent},
        .spent = sight->spent,
        .escrow = sight->escrow,
        .balance = sight->balance,
        .call_price = srv_call_price(server, syn_document_spec(sight->function)),
        .now_ms = syn_wall_ms(server->world),
    };
}

/* --- pools ------------------------------------------------------------------------------------ */

/* The program that calls functions of a language is content like any other: stored when a pool
 * needs it, and kept by the pool's mounts. */
static int
store_program(struct syn_server *server, const struct syn_function_program *program,
              struct syn_content_guard **guard, char *ret_cid, struct syn_err *err)
{
    struct syn_content_put *put = NULL;
    struct syn_cid cid;
    int rc;

    rc = syn_content_put_new(server->content, &put, err);
    if (rc == SYN_OK)
        rc = syn_content_put_write(put, program->data, program->size, err);
    if (rc == SYN_OK)
        rc = syn_content_put_commit(put, &cid, NULL, err);
    (void)syn_content_put_free(put);
    if (rc < 0)
        return rc;
    (void)syn_cid_format(&cid, ret_cid);
    return srv_keep(server, guard, ret_cid, err);
}

/* Both are "" where the version needs none. */
static int
store_programs(struct syn_server *server, const struct syn_function_spec *spec,
               struct syn_content_guard **guard, char program_cid[SYN_CID_TEXT_MAX],
               char helper_cid[SYN_CID_TEXT_MAX], struct syn_err *err)
{
    struct syn_function_program program;
    int rc = SYN_OK;

    program_cid[0] = helper_cid[0] = '\0';
    if (syn_function_program(spec->language.runtime, &program))
        rc = store_program(server, &program, guard, program_cid, err);
    if (rc == SYN_OK && syn_function_helper(spec, &program))
        rc = store_program(server, &program, guard, helper_cid, err);
    return rc;
}

static int
create_pool(struct syn_server *server, struct srv_txn *txn, struct sight *sight, const json_t *row,
            struct syn_err *err)
{
    const char *id = syn_json_str(row, "service", "");
    int64_t number = syn_json_i64(row, "version", 0);
    const json_t *version = NULL, *each;
    struct syn_function_pool pool = {.id = syn_document_id(sight->function),
                                     .name = syn_json_str(sight->function, "name", ""),
                                     .version = number};
    char program[SYN_CID_TEXT_MAX], helper[SYN_CID_TEXT_MAX];
    struct syn_function_spec read;
    json_t *spec = NULL;
    size_t i;
    int rc;

    json_array_foreach (sight->versions, i, each)
        if (syn_json_i64(each, "version", 0) == number)
            version = each;
    if (version == NULL)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s has no version %lld", pool.id, (long long)number);
    syn_function_spec_read(json_object_get(version, "spec"), &read);
    rc = store_programs(server, &read, &sight->guard, program, helper, err);
    pool.code_cid = syn_json_str(version, "code_cid", "");
    pool.layer_cid = syn_json_str(version, "layer_cid", "");
    pool.program_cid = program;
    pool.helper_cid = helper;
    if (rc == SYN_OK)
        rc = syn_function_service_spec(json_object_get(version, "spec"), &pool, &spec, err);
    return rc < 0 ? rc
                  : srv_service_derive(server, txn,
                                       &(struct srv_derived){
                                           .id = id,
                                           .account = syn_json_str(sight->function, "account", ""),
                                           .image_cid = syn_json_str(version, "image_cid", "")},
                                       spec, err);
}

static int
write_pools(struct syn_server *server, struct srv_txn *txn, struct sight *sight,
            const struct syn_function_effects *effects, struct syn_err *err)
{
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (effects->create, i, row)
        if (rc == SYN_OK)
            rc = create_pool(server, txn, sight, row, err);
    json_array_foreach (effects->start, i, row)
        if (rc == SYN_OK)
            rc = srv_service_restart(server, txn, syn_json_str(row, "service", ""), err);
    json_array_foreach (effects->stop, i, row)
        if (rc == SYN_OK)
            rc = srv_service_stop(server, txn, json_string_value(row), err);
    json_array_foreach (effects->forget, i, row)
        if (rc == SYN_OK)
            rc = srv_service_forget(server, txn, json_string_value(row), err);
    return rc;
}

/* The controller's own pools are to be looked at soon. */
static void
poke_pools(struct syn_server *server, const struct syn_function_effects *effects)
{
    const json_t *row;
    size_t i;

    json_array_foreach (effects->stop, i, row)
        srv_controller_poke(server->controller, json_string_value(row));
    json_array_foreach (effects->start, i, row)
        srv_controller_poke(server->controller, syn_json_str(row, "service", ""));
}

/* --- what is kept ready ----------------------------------------------------------------------- */

/* An instance's GPUs are its own for as long as it is ready, whoever asked for it. */
static int
add_cards(json_t *cards, const char *provider, const json_t *spec, struct syn_err *err)
{
    const char *model = syn_json_str(spec, "gpu_model", "");
    int64_t count = syn_json_i64(spec, "gpus", 0);
    json_t *models = json_object_get(cards, provider);
    int rc = SYN_OK;

    if (count == 0)
        return SYN_OK;
    if (models == NULL) {
        models = json_object();
        rc = syn_json_set_take(cards, provider, models, err);
    }
    return rc < 0 ? rc
                  : syn_json_set_i64(models, model, syn_json_i64(models, model, 0) + count, err);
}

/* Of a version that asks for it, as many of its instances as it asks for, if they are ready; and
 * what the warm-up schedule of the active one asks for besides. */
static int
add_ready(struct syn_server *server, const struct sight *sight, const json_t *version,
          const struct srv_kept *kept, struct syn_err *err)
{
    const json_t *service = json_object_get(sight->services, syn_json_str(version, "service", ""));
    const json_t *spec = json_object_get(version, "spec");
    bool has_cards = syn_json_i64(spec, "gpus", 0) > 0;
    int64_t always = syn_json_i64(spec, "min_instances", 0);
    int64_t most =
        sight->ahead.has_pool && syn_json_i64(version, "version", 0) == sight->ahead.version
            ? SYN_MAX(always, sight->ahead.paid)
            : always;
    int64_t count = 0;
    const json_t *endpoint;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (syn_json_at(service, "status.endpoints"), i, endpoint) {
        json_t *part = count < always ? kept->always : kept->warm;
        char provider[SYN_ID_MAX];

        if ((count == most && !has_cards) || rc < 0 || !syn_json_bool(endpoint, "ready", false))
            continue;
        rc = srv_node_provider(server, syn_json_str(endpoint, "node", ""), provider, err);
        if (rc == SYN_OK)
            rc = add_cards(kept->cards, provider, spec, err);
        if (rc == SYN_OK && count < most)
            rc = syn_json_set_i64(
                part, provider,
                syn_json_i64(part, provider, 0) + syn_json_i64(spec, "memory_bytes", 0), err);
        count += count < most;
    }
    return rc;
}

static bool
keeps(const struct sight *sight)
{
    const json_t *version;
    size_t i;

    json_array_foreach (sight->versions, i, version)
        if (syn_json_i64(json_object_get(version, "spec"), "min_instances", 0) > 0 ||
            syn_json_i64(json_object_get(version, "spec"), "gpus", 0) > 0)
            return true;
    return false;
}

static int
keep_ready(struct syn_server *server, struct srv_txn *txn, const struct sight *sight,
           bool *ret_changed, struct syn_err *err)
{
    const json_t *version;
    size_t i;
    SYN_JSON(all);
    struct srv_kept kept = {0};
    int rc = syn_json_pack(&all, err, "{s:{}, s:{}, s:{}}", "always", "warm", "cards");

    kept.always = json_object_get(all, "always");
    kept.warm = json_object_get(all, "warm");
    kept.cards = json_object_get(all, "cards");
    json_array_foreach (sight->versions, i, version)
        if (rc == SYN_OK)
            rc = add_ready(server, sight, version, &kept, err);
    if (rc == SYN_OK && json_object_size(kept.warm) > 0)
        kept.warm_until_ms = sight->ahead.paid_until_ms;
    return rc < 0 ? rc
                  : srv_calls_keep(server, txn, syn_document_id(sight->function), &kept,
                                   ret_changed, err);
}

/* --- writing ---------------------------------------------------------------------------------- */

static int
write_money(struct syn_server *server, struct srv_txn *txn, const struct sight *sight,
            const struct syn_function_effects *effects, struct syn_err *err)
{
    const struct srv_lock lock = {.account = syn_json_str(sight->function, "account", ""),
                                  .ref = sight->period.ref,
                                  .amount = effects->lock,
                                  .held = sight->escrow,
                                  .memo = "reserve of a function"};
    SYN_JSON(none);

    none = json_array();
    if (none == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a bill");
    if (effects->settle) /* of an escrow that is empty there is nothing to settle */
        return sight->escrow == 0
                   ? SYN_OK
                   : srv_settle(server, txn, sight->function, none, effects->bill_id, err);
    if (effects->renew)
        return srv_renew(
            server, txn, sight->function, none,
            &(struct srv_renewal){effects->bill_id, effects->lock, effects->new_window}, err);
    return effects->lock > 0 ? srv_escrow_lock(server, txn, &lock, err) : SYN_OK;
}

static int
write_versions(struct srv_txn *txn, const char *id, const struct syn_function_effects *effects,
               struct syn_err *err)
{
    const json_t *version;
    char key[SRV_KEY_MAX];
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (effects->versions, i, version)
        if (rc == SYN_OK)
            rc = srv_txn_replace(
                txn, srv_key_seq(key, "function-version", id, syn_json_i64(version, "version", 0)),
                syn_json_i64(version, "revision", 0), version, err);
    json_array_foreach (effects->dropped, i, version)
        if (rc == SYN_OK)
            rc = srv_txn_delete(
                txn, srv_key_seq(key, "function-version", id, json_integer_value(version)), err);
    return rc;
}

static int
write_events(struct syn_server *server, struct srv_txn *txn, const char *id, const json_t *events,
             struct syn_err *err)
{
    const json_t *event;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (events, i, event)
        if (rc == SYN_OK)
            rc = srv_event(server, txn, id, event, err);
    return rc;
}

static int
write_effects(struct syn_server *server, struct sight *sight,
              const struct syn_function_effects *effects, struct syn_err *err)
{
    const char *id = syn_document_id(sight->function);
    char key[SRV_KEY_MAX];
    bool changed = false;
    SRV_TXN(txn);
    int rc = effects->settle ? SYN_OK : keep_ready(server, &txn, sight, &changed, err);

    if (rc < 0 || (!changed && syn_function_effects_none(effects)))
        return rc;
    rc = write_money(server, &txn, sight, effects, err);
    if (rc == SYN_OK)
        rc = write_pools(server, &txn, sight, effects, err);
    if (rc == SYN_OK && effects->settle) {
        rc = srv_work_delete(server, &txn, &srv_function, sight->function, sight->revision, err);
        return rc < 0 ? rc : srv_txn_commit(server, &txn, NULL, err);
    }
    if (rc == SYN_OK)
        rc = write_versions(&txn, id, effects, err);
    (void)srv_key(key, "function", id, NULL);
    if (rc == SYN_OK && effects->function != NULL)
        rc = srv_txn_replace(&txn, key, sight->revision, effects->function, err);
    else if (rc == SYN_OK)
        rc = srv_txn_check(&txn, key, sight->revision, err);
    if (rc == SYN_OK)
        rc = write_events(server, &txn, id, effects->events, err);
    return rc < 0 ? rc : srv_txn_commit(server, &txn, NULL, err);
}

static void
wake(struct ctl_outcome *outcome, int64_t at_ms)
{
    if (outcome->wake_at_ms == SYN_DOCUMENT_NONE || at_ms < outcome->wake_at_ms)
        outcome->wake_at_ms = at_ms;
}

/* A version that is being prepared counts as a call: its first instance is not to go before it was
 * ready once. */
static void
hold_first(struct syn_server *server, const struct sight *sight, struct ctl_outcome *ret)
{
    const json_t *version;
    struct syn_err err = {0};
    size_t i;

    json_array_foreach (sight->versions, i, version) {
        const char *service = syn_json_str(version, "service", "");

        if (service[0] == '\0' || !syn_str_eq(syn_json_str(version, "state", ""), "preparing"))
            continue;
        if (srv_loads_tell(server->loads, service, "inflight", 1000, ret->now_ms, &err) < 0)
            syn_log_err(SYN_LOG_WARN, "functions.first-instance", &err);
        wake(ret, ret->now_ms + FIRST_LOOK_MS);
    }
}

static int
step(const struct ctl_world *world, const char *id, struct ctl_outcome *ret, struct syn_err *err)
{
    struct syn_server *server = world->server;
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    SYN_SCOPED(syn_function_effects_fini) struct syn_function_effects effects = {0};
    struct syn_function_view view;
    int rc = look(server, id, &sight, err);

    ret->gone = rc == SRV_ABSENT;
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    view = view_of(server, &sight);
    rc = syn_function_step(&view, &effects, err);
    if (rc == SYN_OK)
        rc = write_effects(server, &sight, &effects, err);
    ret->wake_at_ms = effects.wake_at_ms;
    ret->now_ms = view.now_ms;
    /* What is kept ready is spent by time alone. */
    if (keeps(&sight) || sight.ahead.paid > 0)
        wake(ret, view.now_ms + KEPT_LOOK_MS);
    if (sight.ahead.has_pool && sight.ahead.paid_until_ms != INT64_MAX)
        wake(ret, sight.ahead.paid_until_ms);
    hold_first(server, &sight, ret);
    if (rc == SYN_OK) {
        poke_pools(server, &effects);
        ret->gone = effects.settle;
    }
    return rc;
}

const struct ctl_kind ctl_function = {&srv_function, step};
