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
#include "units_priv.h"

/* --- finding ---------------------------------------------------------------------------------- */

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
    const char *text = syn_http_req_param(req, "id");
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *stored = NULL;
    char key[SRV_KEY_MAX];
    char owner[SYN_ID_MAX + 16];
    char number[48];
    const char *at;
    SYN_BUF(out);
    int rc = srv_work_key(server, &srv_training, who->account, text, key, err);

    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? srv_work_absent(&srv_training, text, err) : rc;
    rc = syn_store_get(server->store, key, &stored, err);
    if (rc < 0)
        return rc;
    (void)snprintf(owner, sizeof(owner), "{\"account\":\"%s\",", who->account);
    if (rc == SYN_STORE_ABSENT || (!who->is_operator && !syn_str_starts(stored->value, owner)))
        return srv_work_absent(&srv_training, text, err);
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

static int
list_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_list(ctx, &srv_training, req,
                               syn_json_str(syn_http_req_query_json(req), "state", NULL), err);
}

/* --- creating --------------------------------------------------------------------------------- */

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
        rc = srv_image_resolve(server, account, syn_json_str(spec, "image", ""), image, err);
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

static int
check_quota(struct syn_server *server, const char *account, const json_t *spec, struct syn_err *err)
{
    struct syn_training_spec read;
    struct syn_holding ask;

    syn_training_spec_read(spec, &read);
    ask = syn_training_holding(&read);
    return srv_quota_bears(server, account, &ask, err);
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

/* Everything but the source, which is not uploaded yet. The plan is told of a pull. */
static int
foresee(struct syn_server *server, const char *account, const json_t *spec, json_t *plan,
        struct syn_err *err)
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
        rc = srv_image_foresee(server, account, syn_json_str(spec, "image", ""), plan, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.image");
    }
    return rc;
}

/* Into the plan, as "refused": what creating the job would be refused with now, {"code",
 * "message"}, or null: so that nobody uploads a source in vain. Whether it is refused is decided
 * when it is created. */
static int
foresee_refusal(struct syn_server *server, const char *account, const json_t *spec, json_t *plan,
                struct syn_err *err)
{
    json_t *refusal = NULL;
    struct syn_err why = {0};
    int rc = foresee(server, account, spec, plan, &why);

    rc = srv_work_refusal(rc, &why, &refusal, err);
    return rc < 0 ? rc : syn_json_set_take(plan, "refused", refusal, err);
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
    SYN_JSON(plan);
    int rc = srv_quota_load(server, tenant.account, &quota, err);

    if (rc == SYN_OK)
        rc = srv_units_view(server, tenant.account, spec, "", &held, &units, err);
    if (rc == SYN_OK)
        rc = srv_cluster_read(server, &cluster, err);
    if (rc == SYN_OK)
        rc = syn_training_plan(spec, &tenant, cluster, server->prices, &plan, err);
    if (rc == SYN_OK)
        rc = foresee_refusal(server, tenant.account, spec, plan, err);
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
        rc = srv_event_say(server, txn, id, "created", "The job was created and its budget locked.",
                           err);
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
        syn_http_error_hint(req, SRV_QUOTA_HINT);
    if (rc == SYN_OK)
        rc = srv_change(server, "the ledger", create_job, &creation, &revision, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(creation.job, "revision", revision, err);
    if (rc != SYN_OK)
        return rc == SRV_REPLAYED ? SYN_OK : rc;
    return syn_http_reply_json(req, 201, creation.job, err);
}

/* --- changing --------------------------------------------------------------------------------- */

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

    return srv_work_change(ctx, &srv_training, req, apply_stop, &grace_ms, err);
}

static int
apply_resume(struct syn_server *server, struct srv_txn *txn, json_t *job, void *arg,
             struct syn_err *err)
{
    const int64_t *budget = arg;
    int rc = syn_training_resume(job, *budget, syn_wall_ms(server->world), err);

    return rc < 0 ? rc : lock_budget(server, txn, job, err);
}

static int
resume_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *text = syn_json_str(syn_http_req_json(req), "max_budget", NULL);
    int64_t budget = -1;
    int rc = SYN_OK;

    if (text != NULL)
        rc = syn_parse_amount(text, "max_budget", &budget, err);
    return rc < 0 ? rc : srv_work_change(ctx, &srv_training, req, apply_resume, &budget, err);
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

static int
release(struct syn_server *server, struct srv_txn *txn, const json_t *job, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = srv_txn_delete(txn, srv_key(key, "progress", syn_document_id(job), NULL), err);

    return rc < 0 ? rc : release_name(server, txn, job, err);
}

const struct srv_work srv_training = {
    .life = &syn_job_life,
    .documents = "training",
    .of = "training-of",
    .names = "training-name",
    .ids = "train-",
    .noun = "training job",
    .the = "the job",
    .parts = {"checkpoint", "event"},
    .may_delete = syn_training_may_delete,
    .release = release,
};

static int
delete_training(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_forget(ctx, &srv_training, req, err);
}

/* --- looking closer --------------------------------------------------------------------------- */

static int
list_checkpoints(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_parts(ctx, &srv_training, req, "checkpoint", err);
}

static int
list_events(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return srv_work_reply_parts(ctx, &srv_training, req, "event", err);
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
    int rc = srv_work_load(server, &srv_training, req, &job, &revision, err);

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
    SRV_PLAN_FIELD("Answer with the plan; create nothing"),
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

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/training", list_training, &srv_list_query, "training.list",
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
    {.method = "GET",
     .pattern = "/v1/training/{id}",
     .kind = SYN_HTTP_LOOP,
     .scopes = SYN_SCOPE_READ,
     .handler = get_training,
     .name = "training.get",
     .summary = "One job, by id or name"},
    {.method = "DELETE",
     .pattern = "/v1/training/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_training,
     .name = "training.delete",
     .summary = "Forget a job that has ended"},
    SRV_WRITE("POST", "/v1/training/{id}/stop", stop_training, &stop_schema, "training.stop",
              "Ask it to save and stop"),
    SRV_WRITE("POST", "/v1/training/{id}/resume", resume_training, &resume_schema,
              "training.resume", "Go on from the last checkpoint"),
    SRV_READ("/v1/training/{id}/explain", explain_training, NULL, "training.explain",
             "Why it is where it is"),
    SRV_READ("/v1/training/{id}/checkpoints", list_checkpoints, NULL, "training.checkpoints",
             "Its checkpoints, oldest first"),
    SRV_READ("/v1/training/{id}/events", list_events, NULL, "training.events",
             "What happened to it"),
};

const struct srv_routes srv_training_routes = {rows, SYN_LEN(rows)};
