/* Routes of functions: what a tenant says and sees. What follows from it is the controller's. */
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/function_control.h>
#include <synor/workload/function_spec.h>

#include "function_calls_priv.h"
#include "function_prewarm_priv.h"
#include "loads_priv.h"

#define CID_FIELD   SYN_CID_TEXT_MAX
#define MINUTES_DAY 1440
#define UNSENT      "synor://source" /* what a plan says of code that is not stored yet */

/* --- finding ---------------------------------------------------------------------------------- */

int
srv_function_versions(struct syn_server *server, const char *id, json_t **ret_list,
                      struct syn_err *err)
{
    return srv_work_parts(server, "function-version", id, ret_list, err);
}

int
srv_function_services(struct syn_server *server, const json_t *versions, json_t **ret,
                      struct syn_err *err)
{
    const json_t *version;
    size_t i;
    SYN_JSON(services);
    int rc = SYN_OK;

    services = json_object();
    if (services == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the pools of a function");
    json_array_foreach (versions, i, version) {
        const char *id = syn_json_str(version, "service", "");
        char key[SRV_KEY_MAX];
        json_t *service = NULL;

        if (id[0] == '\0' || rc < 0)
            continue;
        rc = srv_load(server, srv_key(key, "service", id, NULL), &service, NULL, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(services, id, service, err);
        rc = rc == SRV_ABSENT ? SYN_OK : rc;
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(services);
    return rc;
}

int
srv_function_instances(struct syn_server *server, const char *id, json_t **ret_list,
                       struct syn_err *err)
{
    const json_t *version;
    json_t *gateway = NULL;
    size_t i;
    SYN_JSON(versions);
    SYN_JSON(list);
    int rc = srv_function_versions(server, id, &versions, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&gateway, err, "{s:s, s:{s:i}}", "id", id, "spec", "rank", 0);
    if (rc < 0)
        return rc;
    list = json_array();
    if (list == NULL) {
        json_decref(gateway);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    }
    rc = syn_json_append_take(list, gateway, err);
    json_array_foreach (versions, i, version) {
        const char *service = syn_json_str(version, "service", "");
        SYN_JSON(instances);

        if (service[0] == '\0' || rc < 0)
            continue;
        rc = srv_instances_of(server, service, &instances, err);
        if (rc == SYN_OK && json_array_extend(list, instances) != 0)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    }
    if (rc == SYN_OK)
        *ret_list = SYN_TAKE(list);
    return rc;
}

/* How many instances of the versions that are called there are: status.instances. Modules have
 * none. */
static int
count_instances(struct syn_server *server, json_t *function, struct syn_err *err)
{
    const json_t *row;
    json_t *status = syn_document_status(function), *counts = NULL;
    int64_t ready = 0, live = 0;
    size_t i;
    int rc = SYN_OK;

    if (syn_str_eq(syn_json_str(syn_document_spec(function), "runtime", ""), "wasm"))
        return SYN_OK;
    json_array_foreach (json_object_get(status, "traffic"), i, row) {
        char id[SYN_ID_MAX], key[SRV_KEY_MAX];
        SYN_JSON(service);

        syn_function_service_id(function, syn_json_i64(row, "version", 0), id);
        rc = srv_load(server, srv_key(key, "service", id, NULL), &service, NULL, err);
        if (rc < 0)
            return rc;
        ready += syn_json_i64(syn_json_at(service, "status.replicas"), "ready", 0);
        live += syn_json_i64(syn_json_at(service, "status.replicas"), "live", 0);
    }
    rc = syn_json_pack(&counts, err, "{s:I, s:I}", "ready", (json_int_t)ready, "live",
                       (json_int_t)live);
    return rc < 0 ? rc : syn_json_set_take(status, "instances", counts, err);
}

/* Where its HTTP triggers are reached. */
static int
add_urls(const char *scheme, const char *address, const json_t *function, json_t *urls,
         struct syn_err *err)
{
    const json_t *trigger;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(syn_document_spec(function), "triggers"), i, trigger) {
        const char *host = syn_json_str(trigger, "host", "");
        const char *port = strrchr(address, ':');
        SYN_BUF(url);

        if (rc < 0 || address[0] == '\0' || !syn_str_eq(syn_json_str(trigger, "type", ""), "http"))
            continue;
        syn_buf_addf(&url, "%s://%s%s%s", scheme, host[0] != '\0' ? host : address,
                     host[0] != '\0' ? port : "", syn_json_str(trigger, "path", ""));
        rc = syn_buf_ok(&url, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(urls, json_string(syn_buf_text(&url)), err);
    }
    return rc;
}

int
srv_function_complete(struct syn_server *server, json_t *function, struct syn_err *err)
{
    char address[128];
    json_t *urls = json_array();
    int rc = syn_json_set_take(syn_document_status(function), "urls", urls, err);

    if (rc == SYN_OK)
        rc = count_instances(server, function, err);
    for (int tls = 0; rc == SYN_OK && tls < 2; tls++) {
        srv_function_address(server, tls == 1, address, sizeof(address));
        rc = add_urls(tls == 1 ? "https" : "http", address, function, urls, err);
    }
    return rc;
}

static int
get_function(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t revision = 0;
    SYN_JSON(function);
    int rc = srv_work_load(ctx, &srv_function, req, &function, &revision, err);

    if (rc == SYN_OK)
        rc = srv_function_complete(ctx, function, err);
    if (rc == SYN_OK)
        rc = srv_prewarm_show(ctx, function, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, function, err);
}

static int
list_functions(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_list(ctx, &srv_function, req,
                               syn_json_str(syn_http_req_query_json(req), "state", NULL), err);
}

/* --- deploying -------------------------------------------------------------------------------- */

/* A change of a function, or the deployment of a new one. */
struct change {
    struct syn_http_req *req;
    const json_t *body;
    bool planned; /* nothing is written, and the code need not be sent yet */
    bool by_name; /* the body names it, and it may not be there yet; else its spec is patched */
    int64_t weight;
    /* Of one attempt: */
    json_t *function, *versions, *version, *spec;
    bool created;
    char code[CID_FIELD], layer[CID_FIELD], image[CID_FIELD];
    char id[SYN_ID_MAX]; /* of a new one: the same in every attempt */
    struct syn_content_guard *guard;
};

static void
change_fini(struct change *change)
{
    json_decref(change->function);
    json_decref(change->versions);
    json_decref(change->version);
    json_decref(change->spec);
    syn_content_guard_free(change->guard);
}

static int
check_spec(struct syn_server *server, json_t *spec, struct syn_err *err)
{
    const struct syn_zone_source zones = srv_loads_zones(server->loads);

    return syn_function_spec_check(spec, &zones, err);
}

static int
wanted_spec(struct syn_server *server, struct change *change, struct syn_err *err)
{
    const json_t *given = json_object_get(change->body, "spec");
    const json_t *before = change->function != NULL ? syn_document_spec(change->function) : NULL;
    int rc = SYN_OK;

    change->spec = syn_json_deep_copy(change->by_name ? given : before);
    if (change->spec == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a spec");
    if (!change->by_name)
        rc = srv_work_lay_over(change->spec, given, err);
    if (rc == SYN_OK)
        rc = check_spec(server, change->spec, err);
    if (rc == SYN_OK)
        rc = srv_secrets_check(server, srv_identity(change->req)->account, change->spec, err);
    return rc < 0 ? rc
                  : srv_function_trust_check(server, srv_identity(change->req)->account,
                                             change->spec, before, err);
}

static int
resolve_one(struct syn_server *server, struct change *change, const char *key,
            const char *reference, char *ret_cid, struct syn_err *err)
{
    const char *account = srv_identity(change->req)->account;
    int rc = srv_resolve(server, account, reference, ret_cid, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.%s", key);
    return srv_keep(server, &change->guard, ret_cid, err);
}

/* What its references stand for now, kept until the change is written. */
static int
resolve(struct syn_server *server, struct change *change, struct syn_err *err)
{
    const char *account = srv_identity(change->req)->account;
    struct syn_function_spec spec;
    int64_t cards = 0;
    int rc = SYN_OK;

    change->image[0] = '\0';
    syn_function_spec_read(change->spec, &spec);
    rc = srv_call_cards_price(server, change->spec, SYN_HOUR_MS, &cards, err);
    if (rc < 0)
        return rc;
    if (!change->planned || !syn_str_eq(spec.code, UNSENT))
        rc = resolve_one(server, change, "code", spec.code, change->code, err);
    if (rc == SYN_OK)
        rc = resolve_one(server, change, "layer", spec.layer, change->layer, err);
    if (rc == SYN_OK && spec.image[0] != '\0') {
        rc = srv_image_resolve(server, account, spec.image, change->image, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.runtime");
        rc = srv_keep(server, &change->guard, change->image, err);
    }
    return rc;
}

static struct syn_function_new
new_of(struct syn_server *server, const struct change *change)
{
    return (struct syn_function_new){.id = change->id,
                                     .name = syn_json_str(change->body, "name", ""),
                                     .account = srv_identity(change->req)->account,
                                     .code_cid = change->code,
                                     .layer_cid = change->layer,
                                     .image_cid = change->image,
                                     .weight = change->weight,
                                     .now_ms = syn_wall_ms(server->world)};
}

/* Lock what it begins with: a reserve, or what there is of it. */
static int
lock_reserve(struct syn_server *server, struct srv_txn *txn, const struct change *change,
             struct syn_err *err)
{
    const char *account = srv_identity(change->req)->account;
    char ref[SYN_LEDGER_REF_MAX];
    struct srv_lock lock = {.account = account, .ref = ref, .memo = "reserve of a function"};
    int64_t balance = 0;
    int rc = srv_balance(server, account, &balance, err);

    if (rc < 0)
        return rc;
    lock.amount = SYN_MIN(
        syn_function_reserve(change->spec, srv_call_price(server, change->spec), 0), balance);
    if (lock.amount <= 0)
        return SYN_FAIL(err, SYN_E_FUNDS, "%s has no SYNOR to pay calls with", account);
    srv_escrow_ref(change->id, 1, ref);
    rc = srv_escrow_lock(server, txn, &lock, err);
    return rc < 0 ? rc : srv_period_begin(server, txn, change->id, 1, err);
}

static int
make_function(struct syn_server *server, struct srv_txn *txn, struct change *change,
              struct syn_err *err)
{
    const struct syn_function_new made = new_of(server, change);
    char key[SRV_KEY_MAX];
    int rc = syn_function_make_take(&made, json_incref(change->spec), &change->function,
                                    &change->version, err);

    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "function-of", made.account, change->id),
                              change->id, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, srv_key(key, "function-name", made.account, made.name), 0, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, key, change->id, err);
    if (rc == SYN_OK)
        rc = srv_event_say(server, txn, change->id, "created", "The function was deployed.", err);
    change->created = true;
    return rc < 0 ? rc : lock_reserve(server, txn, change, err);
}

static int
update_function(struct syn_server *server, struct srv_txn *txn, struct change *change,
                struct syn_err *err)
{
    const struct syn_function_new now = new_of(server, change);
    const json_t *status = syn_document_status(change->function);
    char message[96];
    int rc = syn_function_update_take(
        change->function, syn_document_version(change->versions, syn_json_i64(status, "target", 0)),
        &now, json_incref(change->spec), &change->version, err);

    if (rc < 0 || change->version == NULL)
        return rc;
    (void)snprintf(message, sizeof(message), "Version %lld is wanted.",
                   (long long)syn_json_i64(status, "target", 0));
    return srv_event_say(server, txn, syn_document_id(change->function), "updated", message, err);
}

static int
write_change(struct srv_txn *txn, struct change *change, int64_t revision, struct syn_err *err)
{
    const char *id = syn_document_id(change->function);
    char key[SRV_KEY_MAX];
    int rc =
        srv_txn_replace(txn, srv_key(key, "function", id, NULL), revision, change->function, err);

    if (rc < 0 || change->version == NULL)
        return rc;
    return srv_txn_replace(
        txn, srv_key_seq(key, "function-version", id, syn_json_i64(change->version, "version", 0)),
        0, change->version, err);
}

static int
find_function(struct syn_server *server, struct change *change, int64_t *ret_revision,
              struct syn_err *err)
{
    const char *name = syn_json_str(change->body, "name", NULL);
    int rc = change->by_name
                 ? srv_work_find(server, &srv_function, srv_identity(change->req)->account, name,
                                 &change->function, ret_revision, err)
                 : srv_work_load(server, &srv_function, change->req, &change->function,
                                 ret_revision, err);

    if (rc == SYN_OK)
        rc = srv_if_match(change->req, *ret_revision, err);
    if (rc == SYN_OK)
        rc = srv_function_versions(server, syn_document_id(change->function), &change->versions,
                                   err);
    return rc < 0 ? rc : SYN_OK;
}

static int
attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct change *change = arg;
    int64_t revision = 0;
    struct srv_idem idem;
    int rc = srv_idem_begin(server, change->req, &idem, err);

    if (rc != SYN_OK)
        return rc;
    (void)srv_again(&change->function);
    (void)srv_again(&change->versions);
    (void)srv_again(&change->version);
    (void)srv_again(&change->spec);
    change->created = false;
    rc = find_function(server, change, &revision, err);
    if (rc == SYN_OK)
        rc = wanted_spec(server, change, err);
    if (rc == SYN_OK)
        rc = resolve(server, change, err);
    if (rc == SYN_OK && change->function == NULL)
        rc = make_function(server, txn, change, err);
    else if (rc == SYN_OK)
        rc = update_function(server, txn, change, err);
    if (rc == SYN_OK)
        rc = srv_function_routes_put(server, txn, syn_document_id(change->function),
                                     srv_identity(change->req)->account, change->spec, err);
    if (rc == SYN_OK)
        rc = srv_function_hooks_put(server, txn, syn_document_id(change->function),
                                    srv_identity(change->req)->account, change->spec, err);
    if (rc == SYN_OK)
        rc = write_change(txn, change, revision, err);
    return rc < 0 ? rc
                  : srv_idem_keep(server, &idem, txn, change->created ? 201 : 200, change->function,
                                  err);
}

/* What its calls cost, and what deploying it would be refused with now. */
static int
reply_plan(struct syn_server *server, struct change *change, struct syn_err *err)
{
    const char *account = srv_identity(change->req)->account;
    static const struct {
        const char *name, *item;
    } prices[] = {{"million_calls", SYN_FUNCTION_ITEM_CALLS},
                  {"gb_second", SYN_FUNCTION_ITEM_COMPUTE},
                  {"million_http_requests", SYN_FUNCTION_ITEM_HTTP},
                  {"million_events", SYN_FUNCTION_ITEM_EVENTS}};
    json_t *refusal = NULL, *price = json_object();
    struct syn_err why = {0};
    int64_t balance = 0, cards = 0;
    SYN_JSON(plan);
    int rc = resolve(server, change, &why);

    if (rc == SYN_OK)
        rc = srv_balance(server, account, &balance, &why);
    if (rc == SYN_OK && balance <= 0)
        rc = SYN_FAIL(&why, SYN_E_FUNDS, "%s has no SYNOR to pay calls with", account);
    rc = srv_work_refusal(rc, &why, &refusal, err);
    if (rc < 0) {
        json_decref(price);
        return rc;
    }
    rc = syn_json_pack(&plan, err, "{s:s, s:o, s:o}", "name",
                       syn_json_str(change->body, "name", ""), "refused", refusal, "price", price);
    for (size_t i = 0; i < SYN_LEN(prices) && rc == SYN_OK; i++) {
        const struct syn_price *row = syn_pricebook_find(server->prices, prices[i].item);

        if (row != NULL)
            rc = syn_document_set_amount(price, prices[i].name, row->price, err);
    }
    if (rc == SYN_OK &&
        srv_call_cards_price(server, change->spec, SYN_HOUR_MS, &cards, NULL) == SYN_OK &&
        cards > 0)
        rc = syn_document_set_amount(price, "gpu_hour", cards, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, "longest_call", srv_call_price(server, change->spec),
                                     err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(
            plan, "locked",
            SYN_MIN(syn_function_reserve(change->spec, srv_call_price(server, change->spec), 0),
                    balance),
            err);
    if (rc == SYN_OK)
        rc = srv_prewarm_plan(server, change->spec, plan, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(plan, "spec", json_incref(change->spec), err);
    return rc < 0 ? rc : syn_http_reply_json(change->req, 200, plan, err);
}

static int
reply_changed(struct syn_server *server, struct change *change, struct syn_err *err)
{
    int64_t revision;
    int rc;

    (void)syn_make_id(server->world, "fn", change->id);
    rc = srv_change(server, srv_function.the, attempt, change, &revision, err);
    if (rc != SYN_OK)
        return rc == SRV_REPLAYED ? SYN_OK : rc;
    rc = srv_function_complete(server, change->function, err);
    if (rc == SYN_OK)
        rc = srv_prewarm_show(server, change->function, err);
    return rc < 0 ? rc
                  : srv_work_reply_changed(server, change->req, change->created ? 201 : 200,
                                           change->function, revision, err);
}

static int
deploy_function(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(change_fini)
    struct change change = {.req = req,
                            .body = syn_http_req_json(req),
                            .by_name = true,
                            .weight = syn_json_i64(syn_http_req_json(req), "weight", 100)};
    int rc;

    if (!syn_json_bool(syn_http_req_query_json(req), "plan", false))
        return reply_changed(ctx, &change, err);
    change.planned = true;
    rc = wanted_spec(ctx, &change, err);
    return rc < 0 ? rc : reply_plan(ctx, &change, err);
}

static int
patch_function(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(change_fini)
    struct change change = {.req = req,
                            .body = syn_http_req_json(req),
                            .weight = syn_json_i64(syn_http_req_json(req), "weight", 100)};

    return reply_changed(ctx, &change, err);
}

/* --- versions --------------------------------------------------------------------------------- */

static int
apply_rollback(struct syn_server *server, struct srv_txn *txn, json_t *function, void *arg,
               struct syn_err *err)
{
    const int64_t *asked = arg;
    char message[96];
    SYN_JSON(versions);
    int rc = srv_function_versions(server, syn_document_id(function), &versions, err);

    if (rc == SYN_OK)
        rc = syn_function_rollback(function, versions, *asked, err);
    if (rc < 0)
        return rc;
    (void)snprintf(message, sizeof(message), "Version %lld is wanted again.",
                   (long long)syn_json_i64(syn_document_status(function), "target", 0));
    return srv_event_say(server, txn, syn_document_id(function), "rolled-back", message, err);
}

static int
rollback_function(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t asked = syn_json_i64(syn_http_req_json(req), "version", 0);

    return srv_work_change(ctx, &srv_function, req, apply_rollback, &asked, err);
}

static int
apply_traffic(struct syn_server *server, struct srv_txn *txn, json_t *function, void *arg,
              struct syn_err *err)
{
    SYN_JSON(versions);
    int rc = srv_function_versions(server, syn_document_id(function), &versions, err);

    if (rc == SYN_OK)
        rc = syn_function_traffic(function, versions, arg, err);
    return rc < 0 ? rc
                  : srv_event_say(server, txn, syn_document_id(function), "traffic",
                                  "What comes is parted anew.", err);
}

static int
part_traffic(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_change(ctx, &srv_function, req, apply_traffic,
                           json_object_get(syn_http_req_json(req), "traffic"), err);
}

/* --- the end ---------------------------------------------------------------------------------- */

static int
apply_delete(struct syn_server *server, struct srv_txn *txn, json_t *function, void *arg,
             struct syn_err *err)
{
    int rc = syn_function_delete(function, err);

    (void)arg;
    return rc < 0 ? rc
                  : srv_event_say(server, txn, syn_document_id(function), "delete-requested",
                                  "It was asked to go.", err);
}

static int
delete_function(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_change(ctx, &srv_function, req, apply_delete, NULL, err);
}

/* The controller deletes it, never a request. */
static int
may_delete(const json_t *function, struct syn_err *err)
{
    return syn_str_eq(syn_document_state(function), "deleting")
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_CONFLICT, "%s is not being deleted",
                          syn_json_str(function, "name", ""));
}

static int
release(struct syn_server *server, struct srv_txn *txn, const json_t *function, struct syn_err *err)
{
    const char *id = syn_document_id(function), *account = syn_json_str(function, "account", "");
    char key[SRV_KEY_MAX];
    int rc = srv_function_routes_put(server, txn, id, account, NULL, err);

    if (rc == SYN_OK)
        rc = srv_function_hooks_put(server, txn, id, account, NULL, err);
    if (rc == SYN_OK)
        rc = srv_prewarm_forget(txn, id, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, srv_key(key, "function-usage", id, NULL), err);
    return rc < 0 ? rc
                  : srv_txn_delete(
                        txn,
                        srv_key(key, "function-name", account, syn_json_str(function, "name", id)),
                        err);
}

const struct srv_work srv_function = {
    .life = &syn_function_life,
    .documents = "function",
    .of = "function-of",
    .names = "function-name",
    .ids = SRV_FUNCTION_IDS,
    .noun = "function",
    .the = "the function",
    .parts = {"event", "function-version", "function-minute", "invocation"},
    .may_delete = may_delete,
    .release = release,
    .complete = srv_function_complete,
};

/* --- secrets ---------------------------------------------------------------------------------- */

struct search {
    struct syn_server *server;
    const char *secret;
    char *out;
};

static int
look_for_user(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct search *search = arg;
    const char *variable;
    char own_key[SRV_KEY_MAX];
    json_t *name;
    SYN_JSON(function);
    int rc = srv_load(search->server, srv_key(own_key, "function", strrchr(key, '/') + 1, NULL),
                      &function, NULL, err);

    (void)doc;
    (void)revision;
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    json_object_foreach (json_object_get(syn_document_spec(function), "secrets"), variable, name)
        if (syn_str_eq(json_string_value(name), search->secret))
            (void)syn_str_copy(search->out, SYN_ID_MAX, syn_json_str(function, "name", "?"));
    if (srv_function_trusts(syn_document_spec(function), search->secret))
        (void)syn_str_copy(search->out, SYN_ID_MAX, syn_json_str(function, "name", "?"));
    return SYN_OK;
}

int
srv_function_with_secret(struct syn_server *server, const char *account, const char *secret,
                         char *out, struct syn_err *err)
{
    struct search search = {server, secret, out};
    char prefix[SRV_KEY_MAX];

    out[0] = '\0';
    return srv_each(server, srv_key(prefix, "function-of", account, ""), look_for_user, &search,
                    err);
}

/* --- looking closer --------------------------------------------------------------------------- */

static int
list_versions(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_parts(ctx, &srv_function, req, "function-version", err);
}

static int
list_events(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_parts(ctx, &srv_function, req, "event", err);
}

static int
list_invocations(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(function);
    int rc = srv_work_load(ctx, &srv_function, req, &function, &revision, err);

    return rc < 0 ? rc
                  : srv_reply_list(ctx, req,
                                   srv_key(prefix, "invocation", syn_document_id(function), ""),
                                   true, NULL, NULL, err);
}

static int
get_invocation(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "invocation");
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(function);
    SYN_JSON(invocation);
    int rc = srv_work_load(ctx, &srv_function, req, &function, &revision, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no invocation %.60s", id);
    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "invocation", syn_document_id(function), id), "invocation",
                      &invocation, NULL, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, invocation, err);
}

static int
function_metrics(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t minutes = syn_json_i64(syn_http_req_query_json(req), "minutes", 60);
    int64_t revision = 0;
    SYN_JSON(function);
    SYN_JSON(metrics);
    int rc = srv_work_load(ctx, &srv_function, req, &function, &revision, err);

    if (rc == SYN_OK)
        rc = srv_calls_metrics(ctx, syn_document_id(function), minutes, &metrics, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, metrics, err);
}

/* --- table ------------------------------------------------------------------------------------ */

#define WEIGHT_FIELD                                                                      \
    {                                                                                     \
        .name = "weight", .kind = SYN_FIELD_I64, .min = 1, .max = 100, .fallback = "100", \
        .help = "Percentage of what comes that a new version gets as soon as it is ready" \
    }

static const struct syn_field deploy_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Name of the function"},
    {.name = "spec", .kind = SYN_FIELD_OBJ, .required = true, .help = "See FunctionSpec"},
    WEIGHT_FIELD,
};
static const struct syn_schema deploy_schema = SYN_SCHEMA("FunctionDeploy", deploy_fields);

static const struct syn_field patch_fields[] = {
    {.name = "spec",
     .kind = SYN_FIELD_OBJ,
     .required = true,
     .help = "Keys of FunctionSpec that are to be other than they are; null: the default"},
    WEIGHT_FIELD,
};
static const struct syn_schema patch_schema = SYN_SCHEMA("FunctionPatch", patch_fields);

static const struct syn_field plan_fields[] = {
    SRV_PLAN_FIELD("Answer with prices and what it would be refused with; deploy nothing"),
};
static const struct syn_schema plan_schema = SYN_SCHEMA("PlanQuery", plan_fields);

static const struct syn_field rollback_fields[] = {
    {.name = "version",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = INT64_MAX,
     .help = "Which; without it the one before"},
};
static const struct syn_schema rollback_schema = SYN_SCHEMA("FunctionRollback", rollback_fields);

static const struct syn_field part_fields[] = {
    {.name = "version", .kind = SYN_FIELD_I64, .min = 1, .max = INT64_MAX, .required = true},
    {.name = "weight", .kind = SYN_FIELD_I64, .min = 1, .max = 100, .required = true},
};
static const struct syn_schema part_schema = SYN_SCHEMA("FunctionPart", part_fields);

static const struct syn_field traffic_fields[] = {
    {.name = "traffic",
     .kind = SYN_FIELD_LIST,
     .sub = &part_schema,
     .min = 1,
     .max = 10,
     .required = true,
     .help = "Percentages of what comes by version, 100 in all"},
};
static const struct syn_schema traffic_schema = SYN_SCHEMA("FunctionTraffic", traffic_fields);

static const struct syn_field metrics_fields[] = {
    {.name = "minutes",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = MINUTES_DAY,
     .fallback = "60",
     .help = "Of the last so many"},
};
static const struct syn_schema metrics_schema = SYN_SCHEMA("FunctionMetricsQuery", metrics_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/functions", list_functions, &srv_list_query, "functions.list",
             "List functions, newest first"),
    {.method = "POST",
     .pattern = "/v1/functions",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = deploy_function,
     .body = &deploy_schema,
     .query = &plan_schema,
     .name = "functions.deploy",
     .summary = "Deploy a function, new or as it is to be from now on; or plan one"},
    SRV_READ("/v1/functions/{id}", get_function, NULL, "functions.get",
             "One function, by id or name"),
    SRV_WRITE("PATCH", "/v1/functions/{id}", patch_function, &patch_schema, "functions.update",
              "Change parts of its spec"),
    {.method = "DELETE",
     .pattern = "/v1/functions/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_function,
     .name = "functions.delete",
     .summary = "Put it away with all its versions; it is gone when its last bill is written"},
    SRV_WRITE("POST", "/v1/functions/{id}/rollback", rollback_function, &rollback_schema,
              "functions.rollback", "Go back to an earlier version"),
    SRV_WRITE("POST", "/v1/functions/{id}/traffic", part_traffic, &traffic_schema,
              "functions.traffic", "Part what comes among versions"),
    SRV_READ("/v1/functions/{id}/versions", list_versions, NULL, "functions.versions",
             "Versions that are kept, oldest first"),
    SRV_READ("/v1/functions/{id}/explain", srv_function_explain, NULL, "functions.explain",
             "Why it is as it is, and what would change that"),
    SRV_READ("/v1/functions/{id}/events", list_events, NULL, "functions.events",
             "What happened to it"),
    SRV_READ("/v1/functions/{id}/invocations", list_invocations, &srv_list_query,
             "functions.invocations", "Calls that are remembered, for a day, newest first"),
    SRV_READ("/v1/functions/{id}/invocations/{invocation}", get_invocation, NULL,
             "functions.invocation", "One of them"),
    SRV_READ("/v1/functions/{id}/metrics", function_metrics, &metrics_schema, "functions.metrics",
             "How often it was called lately, how long that took and how it ended"),
};

const struct srv_routes srv_function_routes = {rows, SYN_LEN(rows)};
