/* Routes that a node's agent uses to report on its instances: state, usage, checkpoints, result. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/lease.h>
#include <synor/infra/crypto.h>
#include <synor/market/meter.h>
#include <synor/orchestration/autoscale.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/workload/training_explain.h>

#include "function_priv.h"
#include "loads_priv.h"

/* The instance, if the caller is its node's agent. */
static int
load_mine(struct syn_server *server, struct syn_http_req *req, json_t **ret_doc,
          int64_t *ret_revision, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    if (!syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no instance %.60s", id);
    rc = srv_need(server, srv_key(key, "instance", id, NULL), "instance", &doc, ret_revision, err);
    if (rc == SYN_OK)
        rc = srv_own_node(srv_identity(req), syn_json_str(syn_document_spec(doc), "node", ""), err);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

int
srv_instance_mine(struct syn_server *server, struct syn_http_req *req, json_t **ret_doc,
                  struct syn_err *err)
{
    int64_t revision;

    return load_mine(server, req, ret_doc, &revision, err);
}

static int
get_instance(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    if (!syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no instance %.60s", id);
    rc = srv_need(ctx, srv_key(key, "instance", id, NULL), "instance", &doc, NULL, err);
    if (rc == SYN_OK &&
        srv_own_node(srv_identity(req), syn_json_str(syn_document_spec(doc), "node", ""), NULL) < 0)
        rc = srv_own(srv_identity(req), doc, "instance", id, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

/* --- state ------------------------------------------------------------------------------------ */

#define SRV_SAME 1

/* The controller reads what it finds in documents, so nothing of another kind gets into them. */
static int
check_kinds(const json_t *report, struct syn_err *err)
{
    static const struct {
        const char *key;
        json_type type;
    } kinds[] = {{"exit_code", JSON_INTEGER},
                 {"signal", JSON_INTEGER},
                 {"started_at", JSON_STRING},
                 {"ended_at", JSON_STRING},
                 {"usage_seq_last", JSON_INTEGER}};

    for (size_t i = 0; i < SYN_LEN(kinds); i++) {
        const json_t *value = json_object_get(report, kinds[i].key);
        int64_t at_ms;

        if (value == NULL || json_is_null(value))
            continue;
        if (json_typeof(value) != kinds[i].type ||
            (json_is_string(value) && syn_parse_time(json_string_value(value), &at_ms, NULL) < 0))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %s or null", kinds[i].key,
                            kinds[i].type == JSON_STRING ? "a time" : "an integer");
    }
    return SYN_OK;
}

/* Move the document's status to what the agent reports. A report of the state that it has already
 * is fine (agents repeat themselves after a restart); one that the life cycle forbids is a
 * conflict. Returns 0; SRV_SAME when it has ended so before: what is known of its end stands. */
static int
apply_status(struct syn_server *server, json_t *doc, const json_t *report, struct syn_err *err)
{
    static const char *const copied[] = {"exit_code", "signal",         "started_at", "ended_at",
                                         "isolation", "usage_seq_last", "logs",       "detail",
                                         "address",   "port",           "health",     "runtime",
                                         "pid",       "start"};
    json_t *status = syn_document_status(doc);
    const char *to_name = syn_json_str(report, "state", "");
    int from = syn_instance_state_find(syn_document_state(doc));
    int to = syn_instance_state_find(to_name);
    int rc;

    (void)server;
    if (to < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "state: \"%.30s\" is no state of an instance", to_name);
    rc = check_kinds(report, err);
    if (rc < 0)
        return rc;
    if (from == to && syn_instance_ended((unsigned)from))
        return SRV_SAME;
    if (from >= 0 && from != to && !syn_sm_may(&syn_instance_life, (unsigned)from, (unsigned)to))
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s is %s and cannot become %s",
                        syn_document_id(doc), syn_document_state(doc), to_name);
    rc = syn_document_set_state(doc, to_name, syn_json_str(report, "reason", to_name),
                                syn_json_str(report, "message", to_name), err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(copied); i++) {
        json_t *value = json_object_get(report, copied[i]);

        if (value != NULL)
            rc = syn_json_set_take(status, copied[i], json_incref(value), err);
    }
    return rc;
}

/* A change of the instance that the request names. */
struct instance_change {
    struct syn_http_req *req;
    int (*apply)(struct syn_server *server, json_t *doc, const json_t *body, struct syn_err *err);
    json_t *doc;
};

static int
change_mine(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct instance_change *change = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    int rc = load_mine(server, change->req, srv_again(&change->doc), &revision, err);

    if (rc == SYN_OK)
        rc = change->apply(server, change->doc, syn_http_req_json(change->req), err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "instance", syn_document_id(change->doc), NULL),
                             revision, change->doc, err);
    return rc;
}

/* Apply the change and answer with the instance, also when there was nothing to change. */
static int
reply_changed(struct syn_http_req *req, struct syn_server *server, struct instance_change *change,
              struct syn_err *err)
{
    int rc = srv_change(server, "the instance", change_mine, change, NULL, err);

    if (rc >= 0)
        rc = syn_http_reply_json(req, 200, change->doc, err);
    (void)srv_again(&change->doc);
    return rc;
}

static int
post_status(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct instance_change change = {req, apply_status, NULL};

    return reply_changed(req, ctx, &change, err);
}

/* --- usage ------------------------------------------------------------------------------------ */

int
srv_report_verify(struct syn_server *server, const struct syn_report *report, bool *ret_ok,
                  struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    uint8_t public_key[SYN_SIGN_PUBLIC_LEN];
    uint8_t signature[SYN_SIGNATURE_LEN];
    SYN_JSON(node);
    SYN_BUF(payload);
    int rc;

    *ret_ok = false;
    if (!syn_name_ok(report->node))
        return SYN_OK;
    rc = srv_need(server, srv_key(key, "node", report->node, NULL), "node", &node, NULL, err);
    if (rc == SYN_OK)
        rc = syn_hex_decode(syn_json_str(syn_document_status(node), "public_key", ""), public_key,
                            sizeof(public_key), err);
    if (rc == SYN_OK)
        rc = syn_report_payload(report, &payload, err);
    if (rc < 0)
        return rc;
    *ret_ok = syn_hex_decode(report->signature, signature, sizeof(signature), NULL) == SYN_OK &&
              syn_verify(public_key, payload.data, payload.len, signature);
    return SYN_OK;
}

int
srv_meter_load(struct syn_server *server, const char *instance, struct syn_meter *ret_meter,
               int64_t *ret_revision, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "meter", instance, NULL), &doc, ret_revision, err);

    if (rc == SRV_ABSENT) {
        *ret_revision = 0;
        return syn_meter_init(ret_meter, instance, err);
    }
    return rc < 0 ? rc : syn_meter_decode(doc, ret_meter, err);
}

int
srv_observed(struct syn_server *server, const json_t *job, const json_t *instances,
             struct syn_training_observed *ret, struct syn_err *err)
{
    int64_t run = syn_json_i64(syn_document_status(job), "run", 0);
    struct syn_training_observed sum = {0};
    const json_t *instance;
    size_t i;

    json_array_foreach (instances, i, instance) {
        struct syn_meter meter;
        int64_t revision;
        int rc;

        if (syn_json_i64(syn_document_spec(instance), "run", 0) != run)
            continue;
        rc = srv_meter_load(server, syn_document_id(instance), &meter, &revision, err);
        if (rc < 0)
            return rc;
        sum.memory_peak_bytes = SYN_MAX(sum.memory_peak_bytes, meter.used.memory_peak_bytes);
        sum.throttled_ms += meter.used.throttled_ms;
        sum.metered_ms += meter.to_ms - meter.from_ms;
    }
    *ret = sum;
    return SYN_OK;
}

#define CLOCK_SLACK_MS 60000 /* between a node's clock and ours */

/* Are these samples the reserved capacity that the instance was given, over time that can have
 * passed? */
static int
check_samples(const json_t *instance, const struct syn_report *report, int64_t now_ms,
              struct syn_err *err)
{
    const json_t *want = json_object_get(syn_document_spec(instance), "resources");
    int64_t created_ms = syn_document_time(instance, "created_at");

    if (report->samples[0].from_ms < created_ms - CLOCK_SLACK_MS ||
        report->samples[report->count - 1].to_ms > now_ms + CLOCK_SLACK_MS)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "the samples of instance %s reach outside its life: is the node's clock "
                        "right?",
                        report->instance);
    for (size_t i = 0; i < report->count; i++) {
        const struct syn_capacity *have = &report->samples[i].reserved;

        if (have->cpu_millicores != syn_json_i64(want, "cpu_millicores", 0) ||
            have->memory_bytes != syn_json_i64(want, "memory_bytes", 0) ||
            have->scratch_bytes != syn_json_i64(want, "scratch_bytes", 0) ||
            have->gpus != syn_json_i64(want, "gpus", 0) ||
            have->gpu_permille != syn_json_i64(want, "gpu_permille", 0) ||
            (have->gpus > 0 && !syn_str_eq(have->gpu_model, syn_json_str(want, "gpu_model", ""))))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "sample %lld reports another capacity than instance %s was given",
                            (long long)report->samples[i].seq, report->instance);
    }
    return SYN_OK;
}

/* A report that was signed for another lease could never be held against this one. Agents of before
 * there were leases name none: that is for the bill's verification to say. */
static int
check_lease(const json_t *instance, const struct syn_report *report, struct syn_err *err)
{
    char digest[SYN_DIGEST_MAX];
    int rc = syn_lease_digest(instance, digest, err);

    if (rc == SYN_OK && report->lease[0] != '\0' && !syn_str_eq(report->lease, digest))
        return SYN_FAIL(err, SYN_E_INVALID, "the report is signed for another lease than %s has",
                        report->instance);
    return rc;
}

/* The run is over, or its next period began between our two looks: then we look again. */
static int
no_escrow(struct syn_server *server, struct srv_txn *txn, const struct srv_period *period,
          struct syn_err *err)
{
    int64_t revision = 0;
    SYN_JSON(doc);
    int rc = srv_load(server, period->key, &doc, &revision, err);

    if (rc < 0)
        return rc;
    if (revision != period->revision)
        return srv_txn_check(txn, period->key, period->revision, err); /* a conflict */
    return SYN_FAIL(err, SYN_E_PRECONDITION, "run %s is settled: nothing more is metered",
                    period->ref);
}

/* Usage counts until its run is settled, and a settlement must have seen all of it: its escrow has
 * to be open still, and the run's mark moves, which is what srv_settle() checks. Reports of many
 * ranks move the mark without getting into each other's way. */
static int
add_run_mark(struct syn_server *server, struct srv_txn *txn, const json_t *instance,
             struct syn_err *err)
{
    const json_t *spec = json_object_get(instance, "spec");
    const char *job = syn_json_str(spec, "job", "?");
    SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
    char key[SRV_KEY_MAX], function[SYN_ID_MAX];
    int64_t revision, version;
    SYN_JSON(escrow);
    int rc;

    if (syn_function_of_service(job, function, &version)) /* its calls are what is paid for */
        return SYN_OK;
    rc = srv_period_load(server, job, syn_json_i64(spec, "run", 0), &period, err);

    if (rc < 0)
        return rc;
    rc = srv_load(server,
                  srv_key(key, "escrow-of", syn_json_str(instance, "account", "?"), period.ref),
                  &escrow, &revision, err);
    if (rc == SRV_ABSENT)
        return no_escrow(server, txn, &period, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, key, revision, err);
    return rc < 0
               ? rc
               : srv_txn_put_text(txn, srv_key(key, "metered", period.ref, NULL), period.ref, err);
}

/* A report that was found to be the node's own. */
struct usage {
    const json_t *instance;
    const json_t *body;
    struct syn_report *report;
    bool signature_ok;
    struct syn_meter meter;
};

/* Add the report's new samples to the meter and keep the report as it came: the evidence. */
static int
accept_usage(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct usage *usage = arg;
    const struct syn_report *report = usage->report;
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(doc);
    int rc = srv_meter_load(server, report->instance, &usage->meter, &revision, err);

    if (rc < 0)
        return rc;
    if (usage->meter.seq >= report->samples[report->count - 1].seq)
        return SRV_SAME; /* all of it came before */
    rc = syn_meter_accept(&usage->meter, report, usage->signature_ok, err);
    if (rc == SYN_OK)
        rc = syn_meter_encode(&usage->meter, &doc, err);
    if (rc == SYN_OK)
        rc =
            srv_txn_replace(txn, srv_key(key, "meter", report->instance, NULL), revision, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_put(txn, srv_key_seq(key, "usage", report->instance, report->samples[0].seq),
                         usage->body, err);
    return rc < 0 ? rc : add_run_mark(server, txn, usage->instance, err);
}

static int
post_usage(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = NULL;
    struct usage usage = {.body = syn_http_req_json(req)};
    SYN_JSON(instance);
    SYN_JSON(answer);
    int64_t revision;
    int rc = load_mine(server, req, &instance, &revision, err);

    if (rc == SYN_OK)
        rc = syn_report_decode(usage.body, &report, err);
    if (rc == SYN_OK && !syn_str_eq(report->instance, syn_document_id(instance)))
        return SYN_FAIL(err, SYN_E_INVALID, "the report is about instance %s", report->instance);
    if (rc == SYN_OK &&
        !syn_str_eq(report->node, syn_json_str(syn_document_spec(instance), "node", "")))
        return SYN_FAIL(err, SYN_E_INVALID, "the report is node %s's", report->node);
    if (rc == SYN_OK)
        rc = check_samples(instance, report, syn_wall_ms(server->world), err);
    if (rc == SYN_OK)
        rc = check_lease(instance, report, err);
    if (rc == SYN_OK)
        rc = srv_report_verify(server, report, &usage.signature_ok, err);
    if (rc < 0)
        return rc;
    assert(report != NULL);
    usage.instance = instance;
    usage.report = report;
    rc = srv_change(server, "the meter", accept_usage, &usage, NULL, err);
    if (rc == SYN_OK)
        srv_loads_report(server->loads, report, syn_wall_ms(server->world));
    if (rc >= 0)
        rc = syn_json_pack(&answer, err, "{s:I}", "seq", (json_int_t)usage.meter.seq);
    if (rc == SYN_OK)
        srv_controller_poke(server->controller,
                            syn_json_str(syn_document_spec(instance), "job", ""));
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* How far the reports have come: an agent asks before it goes on after a restart. */
static int
get_usage(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_meter meter;
    int64_t revision;
    SYN_JSON(instance);
    SYN_JSON(answer);
    int rc = srv_instance_mine(ctx, req, &instance, err);

    if (rc == SYN_OK)
        rc = srv_meter_load(ctx, syn_document_id(instance), &meter, &revision, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I}", "seq", (json_int_t)meter.seq);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- checkpoints and result ------------------------------------------------------------------- */

/* The CID of the body, which must be stored here, and stays so while the guard is open. */
static int
stored_cid(struct syn_server *server, const json_t *body, struct syn_content_guard **guard,
           char *ret_text, struct syn_err *err)
{
    const char *text = syn_json_str(body, "cid", "");
    struct syn_cid cid;
    int rc = syn_cid_parse(text, strlen(text), &cid, err);

    if (rc == SYN_OK)
        rc = srv_keep(server, guard, text, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "cid");
    (void)syn_cid_format(&cid, ret_text);
    return SYN_OK;
}

/* What an instance stores counts until it has ended: a node that comes back after its job went on
 * elsewhere must not put an old checkpoint over a newer one. */
static int
check_alive(const json_t *instance, struct syn_err *err)
{
    int state = syn_instance_state_find(syn_document_state(instance));

    if (state >= 0 && !syn_instance_ended((unsigned)state))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_PRECONDITION, "instance %s is %s: nothing more is taken from it",
                    syn_document_id(instance), syn_document_state(instance));
}

/* A checkpoint on its way. */
struct keeping {
    struct syn_http_req *req;
    char cid[SYN_CID_TEXT_MAX];
    json_t *instance;
    json_t *doc;
};

static void
keeping_fini(struct keeping *keeping)
{
    json_decref(keeping->instance);
    json_decref(keeping->doc);
}

static int
make_checkpoint(struct syn_server *server, const struct keeping *keeping, int64_t now_ms,
                json_t **ret, struct syn_err *err)
{
    const json_t *spec = syn_document_spec(keeping->instance);
    const json_t *body = syn_http_req_json(keeping->req);
    char at[SYN_FORMAT_MAX];
    char id[SYN_ID_MAX];

    return syn_json_pack(
        ret, err, "{s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:s}", "id",
        syn_make_id(server->world, "ckpt", id), "job", syn_json_str(spec, "job", ""), "run",
        (json_int_t)syn_json_i64(spec, "run", 1), "attempt",
        (json_int_t)syn_json_i64(spec, "attempt", 1), "instance",
        syn_document_id(keeping->instance), "cid", keeping->cid, "step",
        (json_int_t)syn_json_i64(body, "step", 0), "epoch",
        (json_int_t)syn_json_i64(body, "epoch", 0), "size_bytes",
        (json_int_t)syn_json_i64(body, "size_bytes", 0), "created_at", syn_format_time(now_ms, at));
}

/* Write "checkpoint/JOB/SEQ"; the controller picks it up and lets go of old ones. A key is a
 * millisecond: two checkpoints within one are a conflict, and the second comes a little later. */
static int
keep_checkpoint(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct keeping *keeping = arg;
    int64_t now_ms = syn_wall_ms(server->world);
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    int rc = load_mine(server, keeping->req, srv_again(&keeping->instance), &revision, err);

    if (rc == SYN_OK)
        rc = check_alive(keeping->instance, err);
    if (rc == SYN_OK)
        rc = make_checkpoint(server, keeping, now_ms, srv_again(&keeping->doc), err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(
            txn,
            srv_key_seq(key, "checkpoint",
                        syn_json_str(syn_document_spec(keeping->instance), "job", ""), now_ms),
            0, keeping->doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, srv_key(key, "instance", syn_document_id(keeping->instance), NULL),
                           revision, err);
    return rc;
}

static int
post_checkpoint(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(keeping_fini) struct keeping keeping = {.req = req};
    SRV_GUARD(guard);
    int rc = stored_cid(server, syn_http_req_json(req), &guard, keeping.cid, err);

    if (rc == SYN_OK)
        rc = srv_change(server, "the instance", keep_checkpoint, &keeping, NULL, err);
    if (rc < 0)
        return rc;
    srv_controller_poke(server->controller,
                        syn_json_str(syn_document_spec(keeping.instance), "job", ""));
    return syn_http_reply_json(req, 201, keeping.doc, err);
}

static int
apply_result(struct syn_server *server, json_t *doc, const json_t *body, struct syn_err *err)
{
    const char *given = syn_json_str(body, "cid", "");
    char text[SYN_CID_TEXT_MAX];
    struct syn_cid cid;
    json_t *result = NULL;
    int rc = check_alive(doc, err);

    (void)server;
    if (rc == SYN_OK)
        rc = syn_cid_parse(given, strlen(given), &cid, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&result, err, "{s:s, s:I}", "cid", syn_cid_format(&cid, text),
                           "size_bytes", (json_int_t)syn_json_i64(body, "size_bytes", 0));
    return rc < 0 ? rc : syn_json_set_take(syn_document_status(doc), "result", result, err);
}

static int
post_result(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct instance_change change = {req, apply_result, NULL};
    char cid[SYN_CID_TEXT_MAX];
    SRV_GUARD(guard);
    int rc = stored_cid(ctx, syn_http_req_json(req), &guard, cid, err);

    return rc < 0 ? rc : reply_changed(req, ctx, &change, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field health_fields[] = {
    {.name = "ready", .kind = SYN_FIELD_BOOL, .required = true, .help = "It may be given requests"},
    {.name = "message",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 256,
     .fallback = "\"\"",
     .help = "What the last check said"},
};
static const struct syn_schema health_schema = SYN_SCHEMA("InstanceHealth", health_fields);

static const struct syn_field stage_fields[] = {
    {.name = "schedule",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX / 2,
     .help = "To its node"},
    {.name = "fetch", .kind = SYN_FIELD_I64, .min = 0, .max = INT64_MAX / 2, .help = "Its code"},
    {.name = "create",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX / 2,
     .help = "Its sandbox"},
    {.name = "restore",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX / 2,
     .help = "A snapshot"},
    {.name = "initialise",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX / 2,
     .help = "Its program, until it was ready"},
};
static const struct syn_schema stages_schema = SYN_SCHEMA("StartStages", stage_fields);

static const struct syn_field start_fields[] = {
    {.name = "way",
     .kind = SYN_FIELD_STR,
     .choices = "cold|pool|zygote|snapshot",
     .required = true,
     .help = "How it came"},
    {.name = "note",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 256,
     .help = "Why it did not come as it was to"},
    {.name = "stages_us",
     .kind = SYN_FIELD_OBJ,
     .sub = &stages_schema,
     .required = true,
     .help = "What each stage took, in microseconds"},
};
static const struct syn_schema start_schema = SYN_SCHEMA("InstanceStart", start_fields);

static const struct syn_field status_fields[] = {
    {.name = "state",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 16,
     .required = true,
     .help = "Its state"},
    {.name = "reason",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 32,
     .required = true,
     .help = "A stable word"},
    {.name = "message",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 512,
     .required = true,
     .help = "A sentence"},
    {.name = "exit_code", .kind = SYN_FIELD_ANY, .help = "Or null"},
    {.name = "signal", .kind = SYN_FIELD_ANY, .help = "Or null"},
    {.name = "started_at", .kind = SYN_FIELD_ANY, .help = "Time or null"},
    {.name = "ended_at", .kind = SYN_FIELD_ANY, .help = "Time or null"},
    {.name = "isolation", .kind = SYN_FIELD_STR, .min = 0, .max = 64, .help = "Sandbox in use"},
    {.name = "runtime", .kind = SYN_FIELD_STR, .min = 0, .max = 32, .help = "Driver that runs it"},
    {.name = "pid",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT32_MAX,
     .help = "Its first process, as its node sees it while it runs; 0: not known"},
    {.name = "usage_seq_last",
     .kind = SYN_FIELD_ANY,
     .help = "Number of the last sample there will be, or null"},
    {.name = "logs", .kind = SYN_FIELD_OBJ, .help = "Bytes of each stream"},
    {.name = "detail", .kind = SYN_FIELD_OBJ, .help = "What an explanation may use"},
    {.name = "address",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 64,
     .help = "Where it is reached from its node and its account's instances"},
    {.name = "port", .kind = SYN_FIELD_I64, .min = 0, .max = 65535, .help = "On which port"},
    {.name = "health", .kind = SYN_FIELD_OBJ, .sub = &health_schema, .help = "What checks found"},
    {.name = "start",
     .kind = SYN_FIELD_OBJ,
     .sub = &start_schema,
     .help = "Of a function's, once: how it came"},
};
static const struct syn_schema status_schema = SYN_SCHEMA("InstanceStatus", status_fields);

static const struct syn_field usage_fields[] = {
    {.name = "version",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = 1,
     .required = true,
     .help = "Of the report's form"},
    {.name = "node", .kind = SYN_FIELD_NAME, .required = true, .help = "Who measured"},
    {.name = "instance", .kind = SYN_FIELD_NAME, .required = true, .help = "What was measured"},
    {.name = "key_id",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 128,
     .required = true,
     .help = "Signing key"},
    {.name = "samples", .kind = SYN_FIELD_ANY, .required = true, .help = "Contiguous samples"},
    {.name = "lease",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = SYN_DIGEST_MAX - 1,
     .help = "SHA-256 of the canonical JSON of the instance's spec.lease, hexadecimal"},
    {.name = "signature",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 256,
     .required = true,
     .help = "Ed25519 over the canonical JSON without this field, hexadecimal"},
};
static const struct syn_schema usage_schema = SYN_SCHEMA("UsageReport", usage_fields);

static const struct syn_field metrics_fields[] = {
    {.name = "metrics",
     .kind = SYN_FIELD_OBJ,
     .required = true,
     .help = "Numbers by name, custom:NAME, as the instance's spec.scrape asks for them"},
    {.name = "trouble",
     .kind = SYN_FIELD_MAP,
     .min = 0,
     .max = SYN_AUTOSCALE_METRICS_MAX,
     .fallback = "{}",
     .help = "Why others could not be read, by name"},
};
static const struct syn_schema metrics_schema = SYN_SCHEMA("InstanceMetrics", metrics_fields);

static const struct syn_field checkpoint_fields[] = {
    {.name = "cid",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 63,
     .required = true,
     .help = "Stored folder"},
    {.name = "step", .kind = SYN_FIELD_I64, .fallback = "0", .help = "Step it was taken at"},
    {.name = "epoch", .kind = SYN_FIELD_I64, .fallback = "0", .help = "Epoch it was taken in"},
    {.name = "size_bytes", .kind = SYN_FIELD_I64, .fallback = "0", .help = "Size"},
};
static const struct syn_schema checkpoint_schema =
    SYN_SCHEMA("CheckpointReport", checkpoint_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/instances/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ | SYN_SCOPE_NODE,
     .handler = get_instance,
     .name = "instances.get",
     .summary = "One instance"},
    {.method = "POST",
     .pattern = "/v1/instances/{id}/status",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = post_status,
     .body = &status_schema,
     .name = "instances.status",
     .summary = "An agent reports an instance's state"},
    {.method = "POST",
     .pattern = "/v1/instances/{id}/usage",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = (size_t)4 << 20,
     .handler = post_usage,
     .body = &usage_schema,
     .name = "instances.usage",
     .summary = "An agent reports signed usage samples"},
    {.method = "GET",
     .pattern = "/v1/instances/{id}/usage",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .handler = get_usage,
     .name = "instances.usage-seq",
     .summary = "Number of the last sample that arrived"},
    {.method = "POST",
     .pattern = "/v1/instances/{id}/metrics",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = srv_loads_post_scraped,
     .body = &metrics_schema,
     .name = "instances.metrics",
     .summary = "An agent reports what it read of an instance's own metrics"},
    {.method = "POST",
     .pattern = "/v1/instances/{id}/checkpoints",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = post_checkpoint,
     .body = &checkpoint_schema,
     .name = "instances.checkpoint",
     .summary = "An agent has stored a checkpoint"},
    {.method = "POST",
     .pattern = "/v1/instances/{id}/result",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = post_result,
     .body = &checkpoint_schema,
     .name = "instances.result",
     .summary = "An agent has stored the result"},
};

const struct srv_routes srv_instance_routes = {rows, SYN_LEN(rows)};
