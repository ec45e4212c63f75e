/* Routes of training jobs: what a tenant says and sees. What follows from it is the controller's.
 */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/workload/training_control.h>
#include <synor/workload/training_explain.h>
#include <synor/workload/training_plan.h>
#include <synor/workload/training_progress.h>
#include <synor/workload/training_spec.h>

#include "server_priv.h"

/* --- finding ---------------------------------------------------------------------------------- */

/* The key of the job that `{id}` names: an id, or the newest of that name in the caller's account.
 */
static int
job_key(struct syn_server *server, struct syn_http_req *req, char *out, struct syn_err *err)
{
    const char *text = syn_http_req_param(req, "id");
    char key[SRV_KEY_MAX];
    SYN_JSON(id);
    int rc;

    if (!syn_name_ok(text))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no training job %.60s", text);
    rc = srv_load(server, srv_key(key, "training-name", srv_identity(req)->account, text), &id,
                  NULL, err);
    if (rc < 0)
        return rc;
    (void)srv_key(out, "training", rc == SYN_OK ? json_string_value(id) : text, NULL);
    return SYN_OK;
}

int
srv_training_load(struct syn_server *server, struct syn_http_req *req, json_t **ret_job,
                  int64_t *ret_revision, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(job);
    int rc = job_key(server, req, key, err);

    if (rc == SYN_OK)
        rc = srv_need(server, key, "training job", &job, ret_revision, err);
    if (rc == SYN_OK)
        rc = srv_own(srv_identity(req), job, "training job", syn_http_req_param(req, "id"), err);
    if (rc == SYN_OK)
        *ret_job = SYN_TAKE(job);
    return rc;
}

bool
srv_job_ended(const json_t *job)
{
    int state = syn_job_state_find(syn_document_state(job));

    return state >= 0 && syn_sm_terminal(&syn_job_life, (unsigned)state);
}

/* The hot path: the stored bytes with the revision spliced in, without parsing. Documents are
 * written canonically by srv_txn_put(), so the account comes first and the revision stands as 0. */
static int
get_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    static const char zero[] = ",\"revision\":0,\"spec\":";
    struct syn_server *server = ctx;
    const struct srv_identity *who = srv_identity(req);
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *stored = NULL;
    char key[SRV_KEY_MAX];
    char owner[SYN_ID_MAX + 16];
    char number[48];
    const char *at;
    SYN_BUF(out);
    int rc = job_key(server, req, key, err);

    if (rc == SYN_OK)
        rc = syn_store_get(server->store, key, &stored, err);
    if (rc < 0)
        return rc;
    (void)snprintf(owner, sizeof(owner), "{\"account\":\"%s\",", who->account);
    if (rc == SYN_STORE_ABSENT || (!who->is_operator && !syn_str_starts(stored->value, owner)))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no training job %s",
                        syn_http_req_param(req, "id"));
    at = strstr(stored->value, zero);
    assert(at != NULL);
    (void)snprintf(number, sizeof(number),
                   ",\"revision\":%" PRId64 ",\"spec\":", stored->mod_revision);
    syn_buf_add(&out, stored->value, (size_t)(at - stored->value));
    syn_buf_adds(&out, number);
    syn_buf_add(&out, at + sizeof(zero) - 1,
                stored->len - (size_t)(at - stored->value) - (sizeof(zero) - 1));
    rc = syn_buf_ok(&out, err);
    return rc < 0 ? rc : syn_http_reply_bytes(req, 200, "application/json", out.data, out.len, err);
}

struct listing {
    const struct srv_identity *who;
    const char *state;
    struct syn_server *server;
};

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    char job_key_text[SRV_KEY_MAX];
    json_t *job;
    int rc;

    (void)doc;
    rc = srv_load(listing->server, srv_key(job_key_text, "training", strrchr(key, '/') + 1, NULL),
                  &job, NULL, err);
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    if (listing->state != NULL && !syn_str_eq(syn_document_state(job), listing->state)) {
        json_decref(job);
        return SYN_OK;
    }
    return syn_json_append_take(items, job, err);
}

static int
list_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct srv_identity *who = srv_identity(req);
    struct listing listing = {who, syn_json_str(syn_http_req_query_json(req), "state", NULL), ctx};
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "training-of", who->account, ""), true,
                          list_item, &listing, err);
}

/* --- creating --------------------------------------------------------------------------------- */

int
srv_resolve(struct syn_server *server, const char *account, const char *reference, char *ret_cid,
            struct syn_err *err)
{
    const char *text = reference;
    char key[SRV_KEY_MAX];
    struct syn_content_stat stat;
    struct syn_cid cid;
    SYN_JSON(name);
    int rc;

    ret_cid[0] = '\0';
    if (reference[0] == '\0')
        return SYN_OK;
    if (syn_str_starts(text, "synor://"))
        text += strlen("synor://");
    if (syn_cid_parse(text, strlen(text), &cid, NULL) < 0) {
        if (!srv_content_name_ok(text))
            return SYN_FAIL(err, SYN_E_INVALID, "%.100s: neither a CID nor a name", reference);
        rc = srv_need(server, srv_key(key, "name", account, text), "content named", &name, NULL,
                      err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "synor://%s", text);
        text = syn_json_str(name, "cid", "");
        rc = syn_cid_parse(text, strlen(text), &cid, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_content_stat(server->content, &cid, &stat, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", reference);
    (void)syn_cid_format(&cid, ret_cid);
    return SYN_OK;
}

/* The checked spec from {spec, model}, owned by the caller. */
static int
take_spec(struct syn_http_req *req, json_t **ret_spec, const char **ret_name, struct syn_err *err)
{
    json_t *body = syn_http_req_json(req);
    json_t *spec = json_object_get(body, "spec");
    json_t *model = json_object_get(body, "model");
    const char *model_name = NULL;
    int rc = SYN_OK;

    if (model != NULL)
        rc = syn_training_model_merge(model, spec, &model_name, err);
    if (rc == SYN_OK)
        rc = syn_training_spec_check(spec, err);
    if (rc < 0)
        return rc;
    *ret_name = syn_json_str(body, "name", model_name);
    if (*ret_name != NULL && !syn_name_ok(*ret_name))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "name: expected lower-case letters, digits and dashes, got \"%.60s\"",
                        *ret_name);
    *ret_spec = json_incref(spec);
    return SYN_OK;
}

/* All nodes and what runs on them, read afresh: plans are rare. */
static int
add_node(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)revision;
    return syn_cluster_put_node(arg, doc, err);
}

static int
add_spot(void *arg, const char *good, int64_t hour, struct syn_err *err)
{
    bool changed;

    return syn_cluster_set_spot(arg, good, hour, &changed, err);
}

/* "instance-on/NODE/ID": those whose run is not settled. All that hold something are among them. */
struct reading {
    struct syn_server *server;
    struct syn_cluster *cluster;
};

static int
add_instance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct reading *reading = arg;
    char instance_key[SRV_KEY_MAX];
    SYN_JSON(instance);
    int rc =
        srv_load(reading->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                 &instance, NULL, err);

    (void)doc;
    (void)revision;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    return syn_cluster_put_instance(reading->cluster, instance, err);
}

int
srv_cluster_read(struct syn_server *server, struct syn_cluster **ret_cluster, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct reading reading = {server, NULL};
    size_t goods;
    bool changed;
    int rc = syn_cluster_new(0, &cluster, err);

    reading.cluster = cluster;
    if (rc == SYN_OK)
        syn_cluster_prices_watch(cluster, server->prices);
    if (rc == SYN_OK)
        rc = srv_market_spot(server, add_spot, cluster, &goods, err);
    if (rc == SYN_E_UNAVAILABLE) /* a closed market has no prices */
        rc = SYN_OK;
    if (rc == SYN_OK)
        rc = srv_trips_read(server, cluster, err);
    if (rc == SYN_OK)
        rc = srv_each(server, "node/", add_node, cluster, err);
    if (rc == SYN_OK)
        rc = srv_each(server, "instance-on/", add_instance, &reading, err);
    if (rc == SYN_OK)
        rc = srv_keeps_tell(server, cluster, &changed, err);
    if (rc == SYN_OK)
        *ret_cluster = SYN_TAKE(cluster);
    return rc;
}

/* Lock the run's budget. */
static int
lock_budget(struct syn_server *server, struct srv_txn *txn, const json_t *job, struct syn_err *err)
{
    char ref[SYN_LEDGER_REF_MAX];
    const struct srv_lock lock = {
        .account = syn_json_str(job, "account", ""),
        .ref = ref,
        .amount = syn_document_amount(syn_document_spec(job), "max_budget"),
        .memo = "budget of a training run",
    };

    srv_escrow_ref(syn_document_id(job), syn_json_i64(syn_document_status(job), "run", 1), ref);
    return srv_escrow_lock(server, txn, &lock, err);
}

void
srv_escrow_ref(const char *job, int64_t run, char *out)
{
    (void)snprintf(out, SYN_LEDGER_REF_MAX, "%s.%" PRId64, job, run);
}

static int
event_of(struct syn_server *server, struct srv_txn *txn, const char *job, const char *type,
         const char *message, struct syn_err *err)
{
    SYN_JSON(event);
    int rc = syn_json_pack(&event, err, "{s:s, s:s, s:s, s:n}", "type", type, "reason", type,
                           "message", message, "instance");

    return rc < 0 ? rc : srv_event(server, txn, job, event, err);
}

static int
make_job(struct syn_server *server, struct syn_http_req *req, json_t *spec, const char *name,
         json_t **ret_job, struct syn_err *err)
{
    const char *account = srv_identity(req)->account;
    char id[SYN_ID_MAX];
    char source[SYN_CID_TEXT_MAX];
    char dataset[SYN_CID_TEXT_MAX];
    char image[SYN_CID_TEXT_MAX] = "";
    struct syn_training_new new_job = {.id = syn_make_id(server->world, "train", id),
                                       .name = name,
                                       .account = account,
                                       .source_cid = source,
                                       .dataset_cid = dataset,
                                       .image_cid = image,
                                       .now_ms = syn_wall_ms(server->world)};
    int rc = srv_resolve(server, account, syn_json_str(spec, "source", ""), source, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.source");
    rc = srv_resolve(server, account, syn_json_str(spec, "dataset", ""), dataset, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.dataset");
    if (!syn_str_eq(syn_json_str(spec, "image", "host"), "host"))
        rc = srv_resolve(server, account, syn_json_str(spec, "image", ""), image, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.image");
    return syn_training_make_take(&new_job, json_incref(spec), ret_job, err);
}

/* A job that the price book cannot price could never be billed. */
static int
check_price(struct syn_server *server, const json_t *spec, struct syn_err *err)
{
    struct syn_training_spec read;
    struct syn_cost cost;
    int rc;

    syn_training_spec_read(spec, &read);
    if (read.gpus == 0 || read.gpu_model[0] == '\0')
        return SYN_OK; /* nodes report no model that has no price */
    rc = syn_cost_of(
        server->prices,
        &(struct syn_cost_ask){
            .gpus = read.gpus, .gpu_model = read.gpu_model, .count = 1, .budget = read.max_budget},
        &cost, err);
    if (rc == SYN_COST_UNPRICED)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.gpu_model: \"%.40s\" has no price; GET /v1/prices lists what has one",
                        read.gpu_model);
    return rc;
}

/* What is over the account's quota by itself would wait for ever. What only finds no room in it now
 * is taken: the controller starts it when there is. */
static int
check_quota(struct syn_server *server, const char *account, const json_t *spec, struct syn_err *err)
{
    static const struct syn_holding nothing = {{0}};
    struct syn_training_spec read;
    struct syn_holding ask;
    struct syn_quota quota;
    enum syn_quota_dim over;
    char message[160];
    int rc = srv_quota_load(server, account, &quota, err);

    if (rc < 0)
        return rc;
    syn_training_spec_read(spec, &read);
    ask = syn_training_holding(&read);
    over = syn_quota_over(&quota, &nothing, &ask);
    if (over == SYN_QUOTA_COUNT)
        return SYN_OK;
    syn_quota_say(&quota, &nothing, &ask, over, message, sizeof(message));
    return SYN_FAIL(err, SYN_E_LIMIT, "%s", message);
}

/* Would the balance cover the budget, as it is now? The ledger decides when it is locked. */
static int
check_funds(struct syn_server *server, const char *account, const json_t *spec, struct syn_err *err)
{
    struct syn_training_spec read;
    char has[SYN_FORMAT_MAX];
    char needs[SYN_FORMAT_MAX];
    int64_t balance = 0;
    int rc = srv_balance(server, account, &balance, err);

    syn_training_spec_read(spec, &read);
    if (rc == SYN_OK && balance < read.max_budget)
        return SYN_FAIL(err, SYN_E_FUNDS, "%s has %s SYNOR, %s is needed", account,
                        syn_format_amount(balance, has), syn_format_amount(read.max_budget, needs));
    return rc;
}

/* Everything but the source, which is not uploaded yet. */
static int
foresee(struct syn_server *server, const char *account, const json_t *spec, struct syn_err *err)
{
    char cid[SYN_CID_TEXT_MAX];
    int rc = check_price(server, spec, err);

    if (rc == SYN_OK)
        rc = check_quota(server, account, spec, err);
    if (rc == SYN_OK)
        rc = check_funds(server, account, spec, err);
    if (rc == SYN_OK) {
        rc = srv_resolve(server, account, syn_json_str(spec, "dataset", ""), cid, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.dataset");
    }
    if (rc == SYN_OK && !syn_str_eq(syn_json_str(spec, "image", "host"), "host")) {
        rc = srv_resolve(server, account, syn_json_str(spec, "image", ""), cid, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.image");
    }
    return rc;
}

/* What creating the job would be refused with now, {"code", "message"}, or null: so that nobody
 * uploads a source in vain. Whether it is refused is decided when it is created. */
static int
foresee_refusal(struct syn_server *server, const char *account, const json_t *spec,
                json_t **ret_refusal, struct syn_err *err)
{
    struct syn_err why = {0};
    int rc = foresee(server, account, spec, &why);

    if (rc == SYN_OK)
        *ret_refusal = json_null();
    else if (rc == SYN_E_INVALID || rc == SYN_E_LIMIT || rc == SYN_E_FUNDS || rc == SYN_E_NOTFOUND)
        return syn_json_pack(ret_refusal, err, "{s:s, s:s}", "code", syn_err_info(rc)->wire,
                             "message", why.msg);
    else
        *err = why;
    return rc;
}

static int
reply_plan(struct syn_server *server, struct syn_http_req *req, const json_t *spec,
           struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_quota quota;
    struct syn_training_units units;
    struct srv_units held;
    const struct syn_training_tenant tenant = {srv_identity(req)->account, &quota, &units};
    json_t *refusal = NULL;
    SYN_JSON(plan);
    int rc = srv_quota_load(server, tenant.account, &quota, err);

    if (rc == SYN_OK)
        rc = srv_units_view(server, tenant.account, spec, "", &held, &units, err);
    if (rc == SYN_OK)
        rc = srv_cluster_read(server, &cluster, err);
    if (rc == SYN_OK)
        rc = syn_training_plan(spec, &tenant, cluster, server->prices, &plan, err);
    if (rc == SYN_OK)
        rc = foresee_refusal(server, tenant.account, spec, &refusal, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(plan, "refused", refusal, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, plan, err);
}

/* A job that is being created. */
struct creation {
    struct syn_http_req *req;
    json_t *spec;
    const char *name;
    json_t *job;                     /* made once: its id is the same in every attempt */
    struct syn_content_guard *guard; /* what the job refers to stays until it is written */
};

static void
creation_fini(struct creation *creation)
{
    json_decref(creation->spec);
    json_decref(creation->job);
    syn_content_guard_free(creation->guard);
}

/* What the job refers to stays until it is written. */
static int
keep_content(struct syn_server *server, const json_t *job, struct syn_content_guard **guard,
             struct syn_err *err)
{
    static const char *const places[] = {"source_cid", "dataset_cid", "image_cid"};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(places); i++)
        rc = srv_keep(server, guard, syn_json_str(json_object_get(job, "status"), places[i], ""),
                      err);
    return rc;
}

static int
create_job(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct creation *creation = arg;
    struct srv_idem idem;
    const char *account;
    const char *id;
    char key[SRV_KEY_MAX];
    int rc = srv_idem_begin(server, creation->req, &idem, err);

    if (rc == SYN_OK && creation->job == NULL) {
        rc = make_job(server, creation->req, creation->spec, creation->name, &creation->job, err);
        if (rc == SYN_OK)
            rc = keep_content(server, creation->job, &creation->guard, err);
    }
    if (rc != SYN_OK)
        return rc;
    id = syn_document_id(creation->job);
    account = syn_json_str(creation->job, "account", "");
    rc = lock_budget(server, txn, creation->job, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "training", id, NULL), 0, creation->job, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "training-of", account, id), id, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(
            txn, srv_key(key, "training-name", account, syn_json_str(creation->job, "name", id)),
            id, err);
    if (rc == SYN_OK)
        rc =
            event_of(server, txn, id, "created", "The job was created and its budget locked.", err);
    return rc < 0 ? rc : srv_idem_keep(server, &idem, txn, 201, creation->job, err);
}

static int
create_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(creation_fini) struct creation creation = {.req = req};
    int64_t revision;
    int rc = take_spec(req, &creation.spec, &creation.name, err);

    if (rc == SYN_OK && syn_json_bool(syn_http_req_query_json(req), "plan", false))
        return reply_plan(server, req, creation.spec, err);
    if (rc == SYN_OK)
        rc = check_price(server, creation.spec, err);
    if (rc == SYN_OK)
        rc = check_quota(server, srv_identity(req)->account, creation.spec, err);
    if (rc == SYN_E_LIMIT)
        syn_http_error_hint(req, "ask for less, or have an operator raise it: synor account quota");
    if (rc == SYN_OK)
        rc = srv_change(server, "the ledger", create_job, &creation, &revision, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(creation.job, "revision", revision, err);
    if (rc != SYN_OK)
        return rc == SRV_REPLAYED ? SYN_OK : rc;
    return syn_http_reply_json(req, 201, creation.job, err);
}

/* --- changing --------------------------------------------------------------------------------- */

/* A change of the job that the request names. */
struct job_change {
    struct syn_http_req *req;
    /* What it does to the job, beside writing it. */
    int (*apply)(struct syn_server *server, struct srv_txn *txn, json_t *job, void *arg,
                 struct syn_err *err);
    void *arg;
    json_t *job;
};

static int
change_job(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct job_change *change = arg;
    char key[SRV_KEY_MAX];
    struct srv_idem idem;
    int64_t revision = 0;
    int rc = srv_idem_begin(server, change->req, &idem, err);

    if (rc != SYN_OK)
        return rc;
    rc = srv_training_load(server, change->req, srv_again(&change->job), &revision, err);
    if (rc == SYN_OK)
        rc = srv_if_match(change->req, revision, err);
    if (rc == SYN_OK)
        rc = change->apply(server, txn, change->job, change->arg, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "training", syn_document_id(change->job), NULL),
                             revision, change->job, err);
    return rc < 0 ? rc : srv_idem_keep(server, &idem, txn, 200, change->job, err);
}

/* Apply the change, have the controller look, and answer with the job. */
static int
reply_changed(struct syn_http_req *req, struct syn_server *server, struct job_change *change,
              struct syn_err *err)
{
    int64_t revision;
    int rc = srv_change(server, "the job", change_job, change, &revision, err);

    if (rc == SYN_OK)
        rc = syn_json_set_i64(change->job, "revision", revision, err);
    if (rc == SYN_OK) {
        srv_controller_poke(server->controller, syn_document_id(change->job));
        rc = syn_http_reply_json(req, 200, change->job, err);
    } else if (rc == SRV_REPLAYED) {
        rc = SYN_OK;
    }
    (void)srv_again(&change->job);
    return rc;
}

static int
apply_stop(struct syn_server *server, struct srv_txn *txn, json_t *job, void *arg,
           struct syn_err *err)
{
    const int64_t *grace_ms = arg;

    (void)server;
    (void)txn;
    return syn_training_request_stop(job, *grace_ms, err);
}

static int
stop_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t grace_ms = syn_json_i64(syn_http_req_json(req), "grace_ms", -1);
    struct job_change change = {req, apply_stop, &grace_ms, NULL};

    return reply_changed(req, ctx, &change, err);
}

static int
apply_resume(struct syn_server *server, struct srv_txn *txn, json_t *job, void *arg,
             struct syn_err *err)
{
    const int64_t *budget = arg;
    int rc = syn_training_resume(job, *budget, err);

    return rc < 0 ? rc : lock_budget(server, txn, job, err);
}

static int
resume_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *text = syn_json_str(syn_http_req_json(req), "max_budget", NULL);
    int64_t budget = -1;
    struct job_change change = {req, apply_resume, &budget, NULL};
    int rc = SYN_OK;

    if (text != NULL)
        rc = syn_parse_amount(text, "max_budget", &budget, err);
    return rc < 0 ? rc : reply_changed(req, ctx, &change, err);
}

/* Everything kept under "PREFIX/JOB/": into the transaction, as far as it has room. */
struct sweep {
    struct syn_server *server;
    struct srv_txn *txn;
    const char *job_key; /* every part holds only while the job is as it was judged */
    int64_t job_revision;
};

static int
sweep_key(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct sweep *sweep = arg;

    (void)doc;
    (void)revision;
    if (sweep->txn->count > SYN_STORE_OPS_MAX - 16) {
        int rc = srv_txn_commit(sweep->server, sweep->txn, NULL, err);

        if (rc != SYN_OK)
            return rc < 0 ? rc : SYN_FAIL(err, SYN_E_CONFLICT, "the job changed meanwhile");
        srv_txn_fini(sweep->txn);
        rc = srv_txn_check(sweep->txn, sweep->job_key, sweep->job_revision, err);
        if (rc < 0)
            return rc;
    }
    return srv_txn_delete(sweep->txn, key, err);
}

/* Looks for the newest job of a name. */
struct heir {
    struct syn_server *server;
    const char *dying;
    const char *name;
    char id[SYN_ID_MAX];
};

static int
find_heir(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct heir *heir = arg;
    char job_key_text[SRV_KEY_MAX];
    const char *id = json_string_value(doc);
    SYN_JSON(job);
    int rc;

    (void)key;
    (void)revision;
    if (id == NULL || syn_str_eq(id, heir->dying))
        return SYN_OK;
    rc = srv_load(heir->server, srv_key(job_key_text, "training", id, NULL), &job, NULL, err);
    if (rc == SYN_OK && syn_str_eq(syn_json_str(job, "name", id), heir->name))
        (void)syn_str_copy(heir->id, sizeof(heir->id), id);
    return rc < 0 ? rc : SYN_OK;
}

/* The newest other job of the account that has this job's name gets it; else it is free again. */
static int
release_name(struct syn_server *server, struct srv_txn *txn, const json_t *job, struct syn_err *err)
{
    const char *account = syn_json_str(job, "account", "");
    const char *id = syn_json_str(job, "id", "");
    const char *name = syn_json_str(job, "name", id);
    char key[SRV_KEY_MAX];
    char prefix[SRV_KEY_MAX];
    struct heir heir = {server, id, name, ""};
    int64_t revision = 0;
    SYN_JSON(holder);
    int rc =
        srv_load(server, srv_key(key, "training-name", account, name), &holder, &revision, err);

    if (rc != SYN_OK || !syn_str_eq(json_string_value(holder), id))
        return rc < 0 ? rc : SYN_OK;
    rc = srv_each(server, srv_key(prefix, "training-of", account, ""), find_heir, &heir, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, key, revision, err);
    if (rc < 0)
        return rc;
    return heir.id[0] != '\0' ? srv_txn_put_text(txn, key, heir.id, err)
                              : srv_txn_delete(txn, key, err);
}

/* Remove what belongs to the job alone. Bills, transactions, usage and instances stay: they are the
 * proof of what was paid. */
static int
forget_job(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    static const char *const prefixes[] = {"checkpoint", "event"};
    struct syn_http_req *req = arg;
    char job_key[SRV_KEY_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(job);
    struct sweep sweep = {server, txn, job_key, 0};
    const char *id;
    int rc = srv_training_load(server, req, &job, &sweep.job_revision, err);

    if (rc == SYN_OK)
        rc = srv_if_match(req, sweep.job_revision, err);
    if (rc == SYN_OK)
        rc = syn_training_may_delete(job, err);
    if (rc < 0)
        return rc;
    id = syn_document_id(job);
    rc = srv_txn_check(txn, srv_key(job_key, "training", id, NULL), sweep.job_revision, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(prefixes); i++)
        rc = srv_each(server, srv_key(key, prefixes[i], id, ""), sweep_key, &sweep, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, job_key, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, srv_key(key, "progress", id, NULL), err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, srv_key(key, "training-of", syn_json_str(job, "account", ""), id),
                            err);
    return rc < 0 ? rc : release_name(server, txn, job, err);
}

static int
delete_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_change(ctx, "the job", forget_job, req, NULL, err);
}

/* --- looking closer --------------------------------------------------------------------------- */

static int
collect(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)revision;
    return syn_json_append_take(arg, json_incref(doc), err);
}

static int
list_under_job(struct syn_http_req *req, void *ctx, const char *what, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char prefix[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(job);
    SYN_JSON(items);
    SYN_JSON(answer);
    int rc = srv_training_load(server, req, &job, &revision, err);

    items = json_array();
    if (rc == SYN_OK && items == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    if (rc == SYN_OK)
        rc = srv_each(server, srv_key(prefix, what, syn_document_id(job), ""), collect, items, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:n}", "items", items, "next");
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
list_checkpoints(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return list_under_job(req, ctx, "checkpoint", err);
}

static int
list_events(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return list_under_job(req, ctx, "event", err);
}

/* The instances of a job, oldest first. */
struct instances {
    struct syn_server *server;
    json_t *list;
};

static int
load_instance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct instances *into = arg;
    char instance_key[SRV_KEY_MAX];
    json_t *instance;
    int rc = srv_load(into->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                      &instance, NULL, err);

    (void)doc;
    (void)revision;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    return syn_json_append_take(into->list, instance, err);
}

int
srv_instances_of(struct syn_server *server, const char *job, json_t **ret_list, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    SYN_JSON(list);
    struct instances into = {server, NULL};
    int rc;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    into.list = list;
    rc = srv_each(server, srv_key(prefix, "instance-of", job, ""), load_instance, &into, err);
    if (rc == SYN_OK)
        *ret_list = SYN_TAKE(list);
    return rc;
}

static int
explain_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    int64_t revision = 0;
    SYN_JSON(job);
    SYN_JSON(instances);
    SYN_JSON(lines);
    SYN_JSON(answer);
    struct syn_quota quota;
    struct syn_place_turn turn;
    struct syn_training_units units;
    struct srv_units held;
    struct syn_training_explain_view view = {.quota = &quota, .units = &units};
    int rc = srv_training_load(server, req, &job, &revision, err);

    if (rc == SYN_OK)
        rc = srv_quota_load(server, syn_json_str(job, "account", "?"), &quota, err);
    if (rc == SYN_OK)
        rc = srv_units_view(server, syn_json_str(job, "account", ""), syn_document_spec(job),
                            syn_document_id(job), &held, &units, err);
    if (rc == SYN_OK)
        rc = srv_cluster_read(server, &cluster, err);
    if (rc == SYN_OK)
        rc = srv_instances_of(server, syn_document_id(job), &instances, err);
    if (rc == SYN_OK)
        rc = srv_log_tail(server, instances, 20, &lines, err);
    if (rc == SYN_OK)
        rc = srv_observed(server, job, instances, &view.observed, err);
    if (rc == SYN_OK)
        rc = srv_controller_turn(server->controller, syn_document_id(job), &turn, err);
    if (rc < 0)
        return rc;
    view.turn = rc == SYN_OK ? &turn : NULL;
    view.job = job;
    view.instances = instances;
    view.cluster = cluster;
    view.last_lines = lines;
    view.book = server->prices;
    view.now_ms = syn_wall_ms(server->world);
    rc = syn_training_explain(&view, &answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field create_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .help = "Name of the job"},
    {.name = "spec", .kind = SYN_FIELD_OBJ, .required = true, .help = "See TrainingSpec"},
    {.name = "model", .kind = SYN_FIELD_OBJ, .help = "The model file as JSON, laid under the spec"},
};
static const struct syn_schema create_schema = SYN_SCHEMA("TrainingCreate", create_fields);

static const struct syn_field plan_fields[] = {
    {.name = "plan",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "Answer with the plan; create nothing"},
};
static const struct syn_schema plan_schema = SYN_SCHEMA("PlanQuery", plan_fields);

static const struct syn_field stop_fields[] = {
    {.name = "grace_ms", .kind = SYN_FIELD_MS, .min = 0, .max = 3600000, .help = "Time to save"},
};
static const struct syn_schema stop_schema = SYN_SCHEMA("TrainingStop", stop_fields);

static const struct syn_field resume_fields[] = {
    {.name = "max_budget",
     .kind = SYN_FIELD_AMOUNT,
     .help = "Budget of the new run; the last one's when absent"},
};
static const struct syn_schema resume_schema = SYN_SCHEMA("TrainingResume", resume_fields);

#define READ(pattern_, handler_, kind_, query_, name_, summary_)                       \
    {                                                                                  \
        .method = "GET", .pattern = pattern_, .kind = kind_, .scopes = SYN_SCOPE_READ, \
        .handler = handler_, .query = query_, .name = name_, .summary = summary_       \
    }
#define WRITE(method_, pattern_, handler_, body_, name_, summary_)                                 \
    {                                                                                              \
        .method = method_, .pattern = pattern_, .kind = SYN_HTTP_POOL, .scopes = SYN_SCOPE_TENANT, \
        .body_max = SRV_BODY_MAX, .handler = handler_, .body = body_, .name = name_,               \
        .summary = summary_                                                                        \
    }

static const struct syn_http_route rows[] = {
    READ("/v1/training", list_training, SYN_HTTP_POOL, &srv_list_query, "training.list",
         "List training jobs, newest first"),
    {.method = "POST",
     .pattern = "/v1/training",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = create_training,
     .body = &create_schema,
     .query = &plan_schema,
     .name = "training.create",
     .summary = "Create a training job, or plan one"},
    READ("/v1/training/{id}", get_training, SYN_HTTP_LOOP, NULL, "training.get",
         "One job, by id or name"),
    {.method = "DELETE",
     .pattern = "/v1/training/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_training,
     .name = "training.delete",
     .summary = "Forget a job that has ended"},
    WRITE("POST", "/v1/training/{id}/stop", stop_training, &stop_schema, "training.stop",
          "Ask it to save and stop"),
    WRITE("POST", "/v1/training/{id}/resume", resume_training, &resume_schema, "training.resume",
          "Go on from the last checkpoint"),
    READ("/v1/training/{id}/explain", explain_training, SYN_HTTP_POOL, NULL, "training.explain",
         "Why it is where it is"),
    READ("/v1/training/{id}/checkpoints", list_checkpoints, SYN_HTTP_POOL, NULL,
         "training.checkpoints", "Its checkpoints, oldest first"),
    READ("/v1/training/{id}/events", list_events, SYN_HTTP_POOL, NULL, "training.events",
         "What happened to it"),
};

const struct srv_routes srv_training_routes = {rows, SYN_LEN(rows)};
