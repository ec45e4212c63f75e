/* Routes of services: what a tenant says and sees. What follows from it is the controller's. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>
#include <synor/workload/service_spec.h>

#include "bills_priv.h"
#include "function_priv.h"
#include "loads_priv.h"
#include "mesh_priv.h"

/* --- finding ---------------------------------------------------------------------------------- */

bool
srv_service_of(const char *instance, char *out)
{
    return syn_service_of_instance(instance, out);
}

int
srv_service_versions(struct syn_server *server, const char *id, json_t **ret_list,
                     struct syn_err *err)
{
    return srv_work_parts(server, "service-version", id, ret_list, err);
}

static int
get_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t revision = 0;
    SYN_JSON(service);
    int rc = srv_work_load(ctx, &srv_service, req, &service, &revision, err);

    if (rc == SYN_OK)
        rc = srv_gateway_complete(ctx, service, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, service, err);
}

static int
service_stats(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t revision = 0;
    SYN_JSON(service);
    SYN_JSON(stats);
    int rc = srv_work_load(ctx, &srv_service, req, &service, &revision, err);

    if (rc == SYN_OK)
        rc = srv_gateway_stats(ctx, service, &stats, err);
    if (rc == SYN_OK)
        rc = srv_replicas_stats(ctx, service, stats, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, stats, err);
}

static int
gateway_ca(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(answer);
    SYN_BUF(pem);
    int rc = srv_gateway_ca(ctx, &pem, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:s}", "pem", syn_buf_text(&pem));
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
list_services(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_list(ctx, &srv_service, req,
                               syn_json_str(syn_http_req_query_json(req), "state", NULL), err);
}

/* --- changing --------------------------------------------------------------------------------- */

/* A change of a service, or the deployment of a new one. */
struct change {
    struct syn_http_req *req;
    /* What is wanted of it: the new spec (owned). */
    int (*apply)(struct syn_server *server, struct change *change, json_t **ret_spec,
                 struct syn_err *err);
    const json_t *body;
    bool fresh;   /* a new version even of the same */
    bool by_name; /* the body names it, and it may not be there yet */
    /* Of one attempt: */
    json_t *service;
    json_t *versions;
    json_t *version; /* a new one */
    bool created;
    char id[SYN_ID_MAX]; /* of a new service: the same in every attempt */
    struct syn_content_guard *guard;
};

static void
change_fini(struct change *change)
{
    json_decref(change->service);
    json_decref(change->versions);
    json_decref(change->version);
    syn_content_guard_free(change->guard);
}

/* Lock what a run begins with: a reserve at the price book's rates, or what there is of it, but
 * enough for an hour. */
static int
lock_reserve(struct syn_server *server, struct srv_txn *txn, json_t *service, struct syn_err *err)
{
    const json_t *spec = syn_document_spec(service);
    const char *account = syn_json_str(service, "account", "");
    char ref[SYN_LEDGER_REF_MAX], has[SYN_FORMAT_MAX], needs[SYN_FORMAT_MAX];
    struct srv_lock lock = {.account = account, .ref = ref, .memo = "reserve of a service"};
    struct syn_service_spec read;
    struct syn_cost_ask ask;
    struct syn_cost cost;
    int64_t balance = 0;
    int rc;

    syn_service_spec_read(spec, &read);
    ask = syn_service_cost_ask(&read);
    rc = syn_cost_of(server->prices, &ask, &cost, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, account, &balance, err);
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_FAIL(err, SYN_E_INVALID, "the price book has no price for it");
    lock.amount = SYN_MIN(syn_service_reserve(spec, cost.rate_hour), balance);
    if (lock.amount < cost.rate_hour && (read.max_budget == 0 || lock.amount < read.max_budget))
        return SYN_FAIL(err, SYN_E_FUNDS, "%s has %s SYNOR, an hour costs %s", account,
                        syn_format_amount(balance, has), syn_format_amount(cost.rate_hour, needs));
    srv_escrow_ref(syn_document_id(service), syn_json_i64(syn_document_status(service), "run", 1),
                   ref);
    rc = lock.amount > 0 ? srv_escrow_lock(server, txn, &lock, err) : SYN_OK;
    if (rc == SYN_OK)
        rc = srv_period_begin(server, txn, syn_document_id(service),
                              syn_json_i64(syn_document_status(service), "run", 1), err);
    return rc < 0 ? rc
                  : syn_document_set_amount(json_object_get(syn_document_status(service), "cost"),
                                            "locked", lock.amount, err);
}

/* What the service runs already, when `image` names it by its digest: the same bits, whatever has
 * become of the name since. NULL: it is to be looked up. */
static const char *
pinned_cid(const struct change *change, const char *image)
{
    const json_t *version;

    if (change->service == NULL || strchr(image, '@') == NULL ||
        !syn_str_eq(syn_json_str(syn_document_spec(change->service), "image", ""), image))
        return NULL;
    version = syn_document_version(change->versions,
                                   syn_json_i64(syn_document_status(change->service), "target", 0));
    return version != NULL ? syn_json_str(version, "image_cid", NULL) : NULL;
}

/* The image that the spec names, as it is now, kept until the change is written. */
static int
resolve_image(struct syn_server *server, struct change *change, const json_t *spec, char *ret_cid,
              struct syn_err *err)
{
    const char *image = syn_json_str(spec, "image", "");
    const char *pinned = pinned_cid(change, image);
    int rc = pinned != NULL ? srv_resolve(server, "", pinned, ret_cid, err)
                            : srv_image_resolve(server, srv_identity(change->req)->account, image,
                                                ret_cid, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.image");
    return srv_keep(server, &change->guard, ret_cid, err);
}

static int
make_service(struct syn_server *server, struct srv_txn *txn, struct change *change,
             const char *name, json_t *spec, struct syn_err *err)
{
    const char *account = srv_identity(change->req)->account;
    char cid[SYN_CID_TEXT_MAX];
    char key[SRV_KEY_MAX];
    struct syn_service_new made = {.id = change->id,
                                   .name = name,
                                   .account = account,
                                   .image_cid = cid,
                                   .now_ms = syn_wall_ms(server->world)};
    int rc = resolve_image(server, change, spec, cid, err);

    if (rc == SYN_OK)
        rc = syn_service_make_take(&made, json_incref(spec), &change->service, &change->version,
                                   err);
    if (rc == SYN_OK)
        rc =
            srv_txn_put_text(txn, srv_key(key, "service-of", account, change->id), change->id, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, srv_key(key, "service-name", account, name), 0, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, key, change->id, err);
    if (rc == SYN_OK)
        rc = srv_event_say(server, txn, change->id, "created", "The service was deployed.", err);
    change->created = true;
    return rc < 0 ? rc : lock_reserve(server, txn, change->service, err);
}

static int
update_service(struct syn_server *server, struct srv_txn *txn, struct change *change, json_t *spec,
               struct syn_err *err)
{
    json_t *status = syn_document_status(change->service);
    int64_t run = syn_json_i64(status, "run", 1);
    char cid[SYN_CID_TEXT_MAX], message[96];
    const struct syn_service_new now = {.image_cid = cid, .now_ms = syn_wall_ms(server->world)};
    int rc = resolve_image(server, change, spec, cid, err);

    if (rc == SYN_OK)
        rc = syn_service_update_take(
            change->service,
            syn_document_version(change->versions, syn_json_i64(status, "target", 0)), &now,
            json_incref(spec), change->fresh, &change->version, err);
    if (rc == SYN_OK && syn_json_i64(status, "run", 1) != run)
        rc = lock_reserve(server, txn, change->service, err);
    if (rc < 0 || change->version == NULL)
        return rc;
    (void)snprintf(message, sizeof(message), "Version %lld is wanted.",
                   (long long)syn_json_i64(status, "target", 0));
    return srv_event_say(server, txn, syn_document_id(change->service), "updated", message, err);
}

#define VERSIONS_SLACK 1 /* the new one */

/* Those that are neither wanted nor known to work go when there are too many. */
static int
trim_versions(struct srv_txn *txn, const struct change *change, struct syn_err *err)
{
    const json_t *status = syn_document_status(change->service);
    size_t count = json_array_size(change->versions);
    int rc = SYN_OK;

    for (size_t i = 0;
         i < count && count - i > SYN_SERVICE_VERSIONS_MAX - VERSIONS_SLACK && rc == SYN_OK; i++) {
        int64_t number = syn_json_i64(json_array_get(change->versions, i), "version", 0);
        char key[SRV_KEY_MAX];

        if (number != syn_json_i64(status, "target", 0) &&
            number != syn_json_i64(status, "stable", 0))
            rc = srv_txn_delete(
                txn, srv_key_seq(key, "service-version", syn_document_id(change->service), number),
                err);
    }
    return rc;
}

static int
write_change(struct srv_txn *txn, struct change *change, int64_t revision, struct syn_err *err)
{
    const char *id = syn_document_id(change->service);
    char key[SRV_KEY_MAX];
    int rc =
        srv_txn_replace(txn, srv_key(key, "service", id, NULL), revision, change->service, err);

    if (rc < 0 || change->version == NULL)
        return rc;
    rc = srv_txn_put(
        txn, srv_key_seq(key, "service-version", id, syn_json_i64(change->version, "version", 0)),
        change->version, err);
    return rc < 0 ? rc : trim_versions(txn, change, err);
}

static int
check_spec(struct syn_server *server, json_t *spec, struct syn_err *err)
{
    const struct syn_zone_source zones = srv_loads_zones(server->loads);
    int rc = syn_service_spec_check(spec, err);

    return rc < 0 ? rc : syn_service_spec_zones(spec, &zones, err);
}

static const char *
name_of(const struct change *change)
{
    return change->service != NULL ? syn_json_str(change->service, "name", "")
                                   : syn_json_str(change->body, "name", "");
}

/* The spec that is wanted, checked. */
static int
wanted_spec(struct syn_server *server, struct change *change, json_t **ret_spec,
            struct syn_err *err)
{
    SYN_JSON(spec);
    int rc = change->apply(server, change, &spec, err);

    if (rc == SYN_OK)
        rc = check_spec(server, spec, err);
    if (rc == SYN_OK)
        rc = srv_secrets_check(server, srv_identity(change->req)->account, spec, err);
    if (rc == SYN_OK)
        rc = srv_mounts_resolve(
            server,
            &(struct srv_mounting){srv_identity(change->req)->account, name_of(change), spec},
            &change->guard, err);
    if (rc == SYN_OK)
        rc = srv_certificate_check(server, srv_identity(change->req)->account, spec, err);
    if (rc == SYN_OK)
        *ret_spec = SYN_TAKE(spec);
    return rc;
}

static int
attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct change *change = arg;
    const char *name = syn_json_str(change->body, "name", NULL);
    int64_t revision = 0;
    struct srv_idem idem;
    SYN_JSON(spec);
    int rc = srv_idem_begin(server, change->req, &idem, err);

    if (rc != SYN_OK)
        return rc;
    (void)srv_again(&change->service);
    (void)srv_again(&change->versions);
    (void)srv_again(&change->version);
    change->created = false;
    rc = change->by_name
             ? srv_work_find(server, &srv_service, srv_identity(change->req)->account, name,
                             &change->service, &revision, err)
             : srv_work_load(server, &srv_service, change->req, &change->service, &revision, err);
    if (rc == SYN_OK)
        rc = srv_service_mine(change->service, err);
    if (rc == SYN_OK)
        rc = srv_if_match(change->req, revision, err);
    if (rc == SYN_OK)
        rc = srv_service_versions(server, syn_document_id(change->service), &change->versions, err);
    if (rc >= 0)
        rc = wanted_spec(server, change, &spec, err);
    if (rc == SYN_OK && change->service == NULL)
        rc = make_service(server, txn, change, name, spec, err);
    else if (rc == SYN_OK)
        rc = update_service(server, txn, change, spec, err);
    if (rc == SYN_OK)
        rc = srv_publish(server, txn, change->service, err);
    if (rc == SYN_OK)
        rc = srv_virtual_give(server, txn, change->service, err);
    if (rc == SYN_OK)
        rc = srv_service_index(server, txn, change->service, err);
    if (rc == SYN_OK)
        rc = write_change(txn, change, revision, err);
    return rc < 0 ? rc
                  : srv_idem_keep(server, &idem, txn, change->created ? 201 : 200, change->service,
                                  err);
}

/* Make the change, have the controller look, and answer with the service. */
static int
reply_changed(struct syn_server *server, struct change *change, struct syn_err *err)
{
    int64_t revision;
    int rc;

    change->body = syn_http_req_json(change->req);
    (void)syn_make_id(server->world, "svc", change->id);
    rc = srv_change(server, srv_service.the, attempt, change, &revision, err);
    if (rc != SYN_OK)
        return rc == SRV_REPLAYED ? SYN_OK : rc;
    return srv_work_reply_changed(server, change->req, change->created ? 201 : 200, change->service,
                                  revision, err);
}

/* --- secrets ---------------------------------------------------------------------------------- */

/* Does its wanted spec name the secret? */
static int
uses_secret(const json_t *service, const char *secret, bool *ret, struct syn_err *err)
{
    const char *where;
    json_t *name;
    SYN_JSON(named);
    int rc = syn_service_secrets(syn_document_spec(service), &named, err);

    *ret = false;
    json_object_foreach (named, where, name)
        *ret = *ret || syn_str_eq(json_string_value(name), secret);
    return rc;
}

struct search {
    struct syn_server *server;
    srv_uses_fn *uses;
    const char *name;
    json_t *found; /* services */
};

static int
look_for_user(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct search *search = arg;
    char own_key[SRV_KEY_MAX];
    bool uses = false;
    SYN_JSON(service);
    int rc = srv_load(search->server, srv_key(own_key, "service", strrchr(key, '/') + 1, NULL),
                      &service, NULL, err);

    (void)doc;
    (void)revision;
    if (rc == SYN_OK)
        rc = search->uses(service, search->name, &uses, err);
    if (!uses)
        return rc < 0 ? rc : SYN_OK;
    return syn_json_append_take(search->found, SYN_TAKE(service), err);
}

int
srv_services_with(struct syn_server *server, const char *account, srv_uses_fn *uses,
                  const char *name, json_t **ret, struct syn_err *err)
{
    struct search search = {server, uses, name, json_array()};
    char prefix[SRV_KEY_MAX];
    SYN_JSON(found);
    int rc;

    found = search.found;
    if (found == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of services");
    rc = srv_each(server, srv_key(prefix, "service-of", account, ""), look_for_user, &search, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(found);
    return rc;
}

static int
uses_certificate(const json_t *service, const char *name, bool *ret, struct syn_err *err)
{
    const json_t *lb = json_object_get(syn_document_spec(service), "lb");

    (void)err;
    *ret = syn_str_eq(srv_certificate_of(lb), name);
    return SYN_OK;
}

int
srv_services_with_certificate(struct syn_server *server, const char *account, const char *name,
                              json_t **ret_services, struct syn_err *err)
{
    return srv_services_with(server, account, uses_certificate, name, ret_services, err);
}

int
srv_service_with_secret(struct syn_server *server, const char *account, const char *secret,
                        char *out, struct syn_err *err)
{
    SYN_JSON(found);
    int rc = srv_services_with(server, account, uses_secret, secret, &found, err);

    if (rc == SYN_OK && json_array_size(found) > 0)
        (void)syn_str_copy(out, SYN_ID_MAX, syn_json_str(json_array_get(found, 0), "name", "?"));
    return rc;
}

/* Another version of the same, so that its replicas are replaced. */
static int
renew_one(struct syn_server *server, struct srv_txn *txn, json_t *service, const char *secret,
          struct syn_err *err)
{
    SYN_SCOPED(change_fini) struct change change = {.service = json_incref(service)};
    const json_t *current;
    char message[128];
    int rc = srv_service_versions(server, syn_document_id(service), &change.versions, err);

    if (rc < 0)
        return rc;
    current = syn_document_version(change.versions,
                                   syn_json_i64(syn_document_status(service), "target", 0));
    rc = syn_service_update_take(
        service, current,
        &(struct syn_service_new){.image_cid = syn_json_str(current, "image_cid", ""),
                                  .now_ms = syn_wall_ms(server->world)},
        syn_json_deep_copy(syn_document_spec(service)), true, &change.version, err);
    (void)snprintf(message, sizeof(message), "The secret %s was set anew.", secret);
    if (rc == SYN_OK)
        rc = srv_event_say(server, txn, syn_document_id(service), "updated", message, err);
    return rc < 0 ? rc : write_change(txn, &change, syn_json_i64(service, "revision", 0), err);
}

int
srv_services_renew_secret(struct syn_server *server, struct srv_txn *txn, const char *account,
                          const char *secret, json_t **ret_ids, struct syn_err *err)
{
    SYN_JSON(found);
    SYN_JSON(ids);
    json_t *service;
    size_t i;
    int rc = srv_services_with(server, account, uses_secret, secret, &found, err);

    ids = json_array();
    if (rc == SYN_OK && ids == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of services");
    json_array_foreach (found, i, service) {
        if (rc < 0 || syn_str_eq(syn_document_state(service), "stopped") ||
            json_is_string(json_object_get(syn_document_status(service), "stop_requested")))
            continue;
        rc = renew_one(server, txn, service, secret, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(ids, json_string(syn_document_id(service)), err);
    }
    if (rc == SYN_OK)
        *ret_ids = SYN_TAKE(ids);
    return rc;
}

/* --- deploy, update --------------------------------------------------------------------------- */

static int
copy_spec(const json_t *spec, json_t **ret, struct syn_err *err)
{
    *ret = syn_json_deep_copy(spec);
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a spec");
}

static int
apply_deploy(struct syn_server *server, struct change *change, json_t **ret_spec,
             struct syn_err *err)
{
    (void)server;
    return copy_spec(json_object_get(change->body, "spec"), ret_spec, err);
}

static int
check_quota(struct syn_server *server, const char *account, const json_t *spec, struct syn_err *err)
{
    struct syn_service_spec read;
    struct syn_holding ask;

    syn_service_spec_read(spec, &read);
    read.max_surge = 0;
    read.rollout.strategy = SYN_SERVICE_ROLLING;
    ask = syn_service_holding(&read);
    return srv_quota_bears(server, account, &ask, err);
}

/* Into the plan: the "pull" that comes first, or null, and "refused", what deploying it would be
 * refused with now, {"code", "message"}, or null. */
static int
foresee(struct syn_server *server, const char *account, const char *name, const json_t *spec,
        json_t *plan, struct syn_err *err)
{
    json_t *refusal = NULL;
    struct syn_err why = {0};
    SYN_JSON(copy);
    int rc = check_quota(server, account, spec, &why);

    if (rc == SYN_OK)
        rc = srv_image_foresee(server, account, syn_json_str(spec, "image", ""), plan, &why);
    if (rc == SYN_OK)
        rc = srv_secrets_check(server, account, spec, &why);
    if (rc == SYN_OK)
        rc = copy_spec(spec, &copy, &why);
    if (rc == SYN_OK)
        rc = srv_mounts_resolve(server, &(struct srv_mounting){account, name, copy}, NULL, &why);
    if (rc == SYN_OK)
        rc = srv_certificate_check(server, account, spec, &why);
    rc = srv_work_refusal(rc, &why, &refusal, err);
    return rc < 0 ? rc : syn_json_set_take(plan, "refused", refusal, err);
}

static int
reply_plan(struct syn_server *server, struct syn_http_req *req, const json_t *spec,
           struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_quota quota;
    struct syn_service_tenant tenant = {.account = srv_identity(req)->account, .quota = &quota};
    SYN_JSON(volumes);
    SYN_JSON(plan);
    int rc = srv_quota_load(server, tenant.account, &quota, err);

    if (rc == SYN_OK)
        rc = srv_volumes_named(server, tenant.account, spec, NULL, &volumes, err);
    tenant.volumes = volumes;

    if (rc == SYN_OK)
        rc = srv_cluster_read(server, &cluster, err);
    if (rc == SYN_OK)
        rc = syn_service_plan(spec, &tenant, cluster, server->prices, &plan, err);
    if (rc == SYN_OK)
        rc = foresee(server, tenant.account, syn_json_str(syn_http_req_json(req), "name", ""), spec,
                     plan, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, plan, err);
}

static int
deploy_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(change_fini)
    struct change change = {.req = req, .apply = apply_deploy, .by_name = true};
    SYN_JSON(spec);
    int rc = copy_spec(json_object_get(syn_http_req_json(req), "spec"), &spec, err);

    if (rc == SYN_OK)
        rc = check_spec(server, spec, err);
    if (rc == SYN_OK && syn_json_bool(syn_http_req_query_json(req), "plan", false))
        return reply_plan(server, req, spec, err);
    if (rc == SYN_OK)
        rc = check_quota(server, srv_identity(req)->account, spec, err);
    if (rc == SYN_E_LIMIT)
        syn_http_error_hint(req, SRV_QUOTA_HINT);
    return rc < 0 ? rc : reply_changed(server, &change, err);
}

static int
apply_patch(struct syn_server *server, struct change *change, json_t **ret_spec,
            struct syn_err *err)
{
    SYN_JSON(spec);
    int rc = copy_spec(syn_document_spec(change->service), &spec, err);

    (void)server;
    if (rc == SYN_OK)
        rc = srv_work_lay_over(spec, json_object_get(change->body, "spec"), err);
    if (rc == SYN_OK)
        *ret_spec = SYN_TAKE(spec);
    return rc;
}

static int
patch_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(change_fini) struct change change = {.req = req, .apply = apply_patch};

    return reply_changed(ctx, &change, err);
}

static int
apply_restart(struct syn_server *server, struct change *change, json_t **ret_spec,
              struct syn_err *err)
{
    (void)server;
    return copy_spec(syn_document_spec(change->service), ret_spec, err);
}

static int
restart_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(change_fini)
    struct change change = {.req = req, .apply = apply_restart, .fresh = true};

    return reply_changed(ctx, &change, err);
}

/* --- rollback --------------------------------------------------------------------------------- */

/* The one that was asked for (0: none was), the one that is kept for it, or the newest before the
 * wanted one. */
static const json_t *
version_before(const json_t *service, const json_t *versions, int64_t asked)
{
    int64_t target = syn_json_i64(syn_document_status(service), "target", 0);
    const json_t *rollout = json_object_get(syn_document_status(service), "rollout");
    const json_t *version, *found = NULL;
    size_t i;

    if (asked > 0)
        return syn_document_version(versions, asked);
    if (syn_str_eq(syn_json_str(rollout, "stage", ""), "kept"))
        found = syn_document_version(versions, syn_json_i64(rollout, "from", 0));
    if (found != NULL)
        return found;
    json_array_foreach (versions, i, version)
        if (syn_json_i64(version, "version", 0) < target)
            found = version;
    return found;
}

static int
apply_rollback(struct syn_server *server, struct srv_txn *txn, json_t *service, void *arg,
               struct syn_err *err)
{
    const int64_t *asked = arg;
    const json_t *version;
    SYN_JSON(versions);
    int rc = srv_service_versions(server, syn_document_id(service), &versions, err);

    if (rc < 0)
        return rc;
    version = version_before(service, versions, *asked);
    if (version == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "there is no such version of %s; its history lists those that are kept",
                        syn_json_str(service, "name", ""));
    rc = syn_service_rollback(service, version, syn_wall_ms(server->world), err);
    return rc < 0 ? rc : srv_virtual_give(server, txn, service, err);
}

static int
rollback_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t asked = syn_json_i64(syn_http_req_json(req), "version", 0);

    return srv_work_change(ctx, &srv_service, req, apply_rollback, &asked, err);
}

/* --- promote, abort --------------------------------------------------------------------------- */

static int
apply_promote(struct syn_server *server, struct srv_txn *txn, json_t *service, void *arg,
              struct syn_err *err)
{
    const bool *fully = arg;
    int rc = syn_service_promote(service, *fully, err);

    return rc < 0 ? rc
                  : srv_event_say(server, txn, syn_document_id(service), "promotion-requested",
                                  *fully ? "The new version is to replace the other."
                                         : "The new version is to go on.",
                                  err);
}

static int
promote_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    bool fully = syn_json_bool(syn_http_req_json(req), "all", false);

    return srv_work_change(ctx, &srv_service, req, apply_promote, &fully, err);
}

static int
apply_abort(struct syn_server *server, struct srv_txn *txn, json_t *service, void *arg,
            struct syn_err *err)
{
    const json_t *status = syn_document_status(service);
    long long target = (long long)syn_json_i64(status, "target", 0);
    char message[96];
    SYN_JSON(versions);
    int rc = srv_service_versions(server, syn_document_id(service), &versions, err);

    (void)arg;
    if (rc == SYN_OK)
        rc = syn_service_abort(
            service, syn_document_version(versions, syn_json_i64(status, "stable", 0)), err);
    (void)snprintf(message, sizeof(message), "Version %lld was aborted.", target);
    return rc < 0 ? rc
                  : srv_event_say(server, txn, syn_document_id(service), "aborted", message, err);
}

static int
abort_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_change(ctx, &srv_service, req, apply_abort, NULL, err);
}

/* --- stop ------------------------------------------------------------------------------------- */

static int
apply_stop(struct syn_server *server, struct srv_txn *txn, json_t *service, void *arg,
           struct syn_err *err)
{
    (void)server;
    (void)txn;
    (void)arg;
    return syn_service_request_stop(service, err);
}

static int
stop_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_change(ctx, &srv_service, req, apply_stop, NULL, err);
}

/* --- delete ----------------------------------------------------------------------------------- */

static int
release(struct syn_server *server, struct srv_txn *txn, const json_t *service, struct syn_err *err)
{
    const char *name = syn_json_str(service, "name", syn_document_id(service));
    char key[SRV_KEY_MAX];
    int rc = srv_unpublish(server, txn, service, err);

    if (rc == SYN_OK)
        rc = srv_virtual_take(txn, service, err);
    if (rc == SYN_OK)
        rc = srv_service_unindex(server, txn, service, err);
    return rc < 0
               ? rc
               : srv_txn_delete(
                     txn, srv_key(key, "service-name", syn_json_str(service, "account", ""), name),
                     err);
}

const struct srv_work srv_service = {
    .life = &syn_service_life,
    .documents = "service",
    .of = "service-of",
    .names = "service-name",
    .ids = "svc-",
    .noun = "service",
    .the = "the service",
    .parts = {"event", "service-version"},
    .may_delete = syn_service_may_delete,
    .release = release,
};

static int
delete_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_forget(ctx, &srv_service, req, err);
}

/* --- looking closer --------------------------------------------------------------------------- */

static int
list_versions(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_parts(ctx, &srv_service, req, "service-version", err);
}

static int
list_events(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_parts(ctx, &srv_service, req, "event", err);
}

int
srv_service_explain(struct syn_server *server, const json_t *service, json_t **ret,
                    struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_service_explain_view view = {.now_ms = syn_wall_ms(server->world)};
    struct syn_quota quota;
    SYN_JSON(versions);
    SYN_JSON(instances);
    SYN_JSON(lines);
    SYN_JSON(volumes);
    int rc = srv_quota_load(server, syn_json_str(service, "account", "?"), &quota, err);

    if (rc == SYN_OK)
        rc = srv_cluster_read(server, &cluster, err);
    if (rc == SYN_OK)
        rc = srv_service_versions(server, syn_document_id(service), &versions, err);
    if (rc == SYN_OK)
        rc = srv_instances_of(server, syn_document_id(service), &instances, err);
    if (rc == SYN_OK)
        rc = srv_volumes_named(server, syn_json_str(service, "account", "?"),
                               json_object_get(service, "spec"), NULL, &volumes, err);
    if (rc == SYN_OK && !syn_str_eq(syn_document_state(service), "running"))
        rc = srv_log_tail(server, instances, 10, &lines, err);
    if (rc < 0)
        return rc;
    view.service = service;
    view.versions = versions;
    view.instances = instances;
    view.last_lines = lines;
    view.cluster = cluster;
    view.quota = &quota;
    view.volumes = volumes;
    return syn_service_explain(&view, ret, err);
}

static int
explain_service(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    int64_t revision = 0;
    SYN_JSON(service);
    SYN_JSON(answer);
    int rc = srv_work_load(server, &srv_service, req, &service, &revision, err);

    if (rc == SYN_OK)
        rc = srv_service_explain(server, service, &answer, err);
    if (rc == SYN_OK)
        rc = srv_gateway_explain(server, service, answer, err);
    if (rc == SYN_OK)
        rc = srv_loads_explain(server->loads, service, syn_wall_ms(server->world), answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field deploy_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Name of the service"},
    {.name = "spec", .kind = SYN_FIELD_OBJ, .required = true, .help = "See ServiceSpec"},
};
static const struct syn_schema deploy_schema = SYN_SCHEMA("ServiceDeploy", deploy_fields);

static const struct syn_field patch_fields[] = {
    {.name = "spec",
     .kind = SYN_FIELD_OBJ,
     .required = true,
     .help = "Keys of ServiceSpec that are to be other than they are; null: the default"},
};
static const struct syn_schema patch_schema = SYN_SCHEMA("ServicePatch", patch_fields);

static const struct syn_field plan_fields[] = {
    SRV_PLAN_FIELD("Answer with the plan; deploy nothing"),
};
static const struct syn_schema plan_schema = SYN_SCHEMA("PlanQuery", plan_fields);

static const struct syn_field rollback_fields[] = {
    {.name = "version",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = INT64_MAX,
     .help = "Which; without it the one before"},
};
static const struct syn_schema rollback_schema = SYN_SCHEMA("ServiceRollback", rollback_fields);

static const struct syn_field promote_fields[] = {
    {.name = "all", .kind = SYN_FIELD_BOOL, .help = "Try it no further: it replaces the other now"},
};
static const struct syn_schema promote_schema = SYN_SCHEMA("ServicePromotion", promote_fields);

static const struct syn_field metrics_fields[] = {
    {.name = "metrics",
     .kind = SYN_FIELD_OBJ,
     .required = true,
     .help = "Numbers of the whole service by name: requests (a second), inflight, queue, "
             "custom:NAME"},
};
static const struct syn_schema metrics_schema = SYN_SCHEMA("ServiceMetrics", metrics_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/services", list_services, &srv_list_query, "services.list",
             "List services, newest first"),
    {.method = "POST",
     .pattern = "/v1/services",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = deploy_service,
     .body = &deploy_schema,
     .query = &plan_schema,
     .name = "services.deploy",
     .summary = "Deploy a service, new or as it is to be from now on; or plan one"},
    SRV_READ("/v1/services/{id}", get_service, NULL, "services.get", "One service, by id or name"),
    SRV_WRITE("PATCH", "/v1/services/{id}", patch_service, &patch_schema, "services.update",
              "Change parts of its spec: scale it, or roll to a new version"),
    {.method = "DELETE",
     .pattern = "/v1/services/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_service,
     .name = "services.delete",
     .summary = "Forget a service that has stopped"},
    SRV_WRITE("POST", "/v1/services/{id}/rollback", rollback_service, &rollback_schema,
              "services.rollback", "Go back to an earlier version"),
    SRV_WRITE("POST", "/v1/services/{id}/promote", promote_service, &promote_schema,
              "services.promote", "Let a version that is tried go on"),
    SRV_WRITE("POST", "/v1/services/{id}/abort", abort_service, NULL, "services.abort",
              "End an update that is under way: the version that worked is wanted again"),
    SRV_WRITE("POST", "/v1/services/{id}/restart", restart_service, NULL, "services.restart",
              "Replace every replica, as an update does"),
    SRV_WRITE("POST", "/v1/services/{id}/stop", stop_service, NULL, "services.stop",
              "Stop every replica; deploying it again starts it"),
    SRV_WRITE("POST", "/v1/services/{id}/metrics", srv_loads_post, &metrics_schema,
              "services.metrics", "Tell numbers that it is scaled by; each counts for 30 s"),
    SRV_READ("/v1/services/{id}/versions", list_versions, NULL, "services.versions",
             "Versions that are kept, oldest first"),
    SRV_READ("/v1/services/{id}/events", list_events, NULL, "services.events",
             "What happened to it"),
    SRV_READ("/v1/services/{id}/explain", explain_service, NULL, "services.explain",
             "Why it is where it is"),
    SRV_READ("/v1/services/{id}/stats", service_stats, NULL, "services.stats",
             "What the balancer has counted at its address, and what its replicas use"),
    SRV_READ("/v1/gateway/ca", gateway_ca, NULL, "gateway.ca",
             "The authority behind the certificates of services with TLS"),
};

const struct srv_routes srv_service_routes = {rows, SYN_LEN(rows)};
