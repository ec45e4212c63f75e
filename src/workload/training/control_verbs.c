/* What people ask of a job. Each verb only changes the document; the next step acts on it. */
#include "control_priv.h"

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

static enum syn_job_state
state_of(const json_t *job)
{
    int state = syn_job_state_find(syn_document_state(job));

    assert(state >= 0);
    return (enum syn_job_state)state;
}

static bool
billed(const json_t *job)
{
    return json_is_string(json_object_get(syn_document_status(job), "bill"));
}

static int
set_nulls(json_t *obj, const char *const *keys, size_t count, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        rc = syn_json_set_str(obj, keys[i], NULL, err);
    return rc;
}

/* A run begins: everything that belongs to one run is as if nothing had happened yet. */
static int
run_begin(json_t *job, int64_t run, struct syn_err *err)
{
    static const char *const nulls[] = {"node",     "isolation",  "exit_code",      "bill",
                                        "result",   "started_at", "stop_requested", "stop_grace_ms",
                                        "retry_at", "ended_at"};
    json_t *status = syn_document_status(job);
    const json_t *spec = syn_document_spec(job);
    json_t *cost = NULL;
    int rc = set_nulls(status, nulls, SYN_LEN(nulls), err);

    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "run", run, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "attempt", 0, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "retries", 0, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "instances", json_array(), err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&cost, err, "{s:s, s:s, s:s, s:i}", "budget",
                           syn_json_str(spec, "max_budget", "0"), "spent", "0", "rate_hour", "0",
                           "percent", 0);
    if (rc == SYN_OK)
        rc = syn_json_set_take(status, "cost", cost, err);
    if (rc < 0)
        return rc;
    return syn_document_set_state(job, "pending", "waiting-for-start",
                                  syn_job_reason(SYN_JOB_PENDING, "waiting-for-start")->sentence,
                                  err);
}

static int
status_init(json_t *job, const struct syn_training_new *new_job, struct syn_err *err)
{
    json_t *status = syn_document_status(job);
    const json_t *epochs = json_object_get(syn_document_spec(job), "epochs");
    json_t *progress = NULL;
    int rc = run_begin(job, 1, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "source_cid", new_job->source_cid, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "dataset_cid", new_job->dataset_cid, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "image_cid", new_job->image_cid, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "checkpoint", NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&progress, err, "{s:i, s:n, s:i, s:O?, s:n, s:n, s:{}}", "step", 0,
                           "steps_total", "epoch", 0, "epochs_total", epochs, "loss", "eta_ms",
                           "metrics");
    return rc < 0 ? rc : syn_json_set_take(status, "progress", progress, err);
}

int
syn_training_make_take(const struct syn_training_new *new_job, json_t *spec, json_t **ret,
                       struct syn_err *err)
{
    const struct syn_document_new new_doc = {.kind = "training",
                                             .id = new_job->id,
                                             .name = new_job->name,
                                             .account = new_job->account,
                                             .now_ms = new_job->now_ms};
    SYN_JSON(job);
    int rc = syn_document_make_take(&new_doc, spec, &job, err);

    if (rc == SYN_OK)
        rc = status_init(job, new_job, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(job);
    return SYN_OK;
}

int
syn_training_request_stop(json_t *job, int64_t grace_ms, struct syn_err *err)
{
    json_t *status = syn_document_status(job);
    enum syn_job_state state = state_of(job);
    int64_t known_ms = syn_json_i64(status, "stop_grace_ms", INT64_MAX);
    int rc = SYN_OK;

    if (syn_sm_terminal(&syn_job_life, state))
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s has ended already: it is %s", syn_document_id(job),
                        syn_document_state(job));
    if (!json_is_string(json_object_get(status, "stop_requested")))
        rc = syn_json_set_str(status, "stop_requested", "user", err);
    if (rc == SYN_OK && grace_ms >= 0 && grace_ms < known_ms)
        rc = syn_json_set_i64(status, "stop_grace_ms", grace_ms, err);
    return rc;
}

int
syn_training_resume(json_t *job, int64_t max_budget, int64_t now_ms, struct syn_err *err)
{
    const char *id = syn_document_id(job);
    enum syn_job_state state = state_of(job);
    int64_t run = syn_json_i64(syn_document_status(job), "run", 0);
    int rc = SYN_OK;

    if (state == SYN_JOB_SUCCEEDED)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s succeeded: there is nothing left to resume", id);
    if (!syn_sm_terminal(&syn_job_life, state))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s is %s; only a stopped or failed job can be resumed", id,
                        syn_document_state(job));
    if (!billed(job))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s: run %lld is not billed yet; try again in a moment", id,
                        (long long)run);
    if (max_budget >= 0) {
        rc = syn_document_set_amount(syn_document_spec(job), "max_budget", max_budget, err);
        if (rc == SYN_OK)
            rc = syn_document_bump(job, err);
    }
    if (rc == SYN_OK)
        rc = syn_document_set_time(syn_document_status(job), "waiting_since", now_ms, err);
    return rc < 0 ? rc : run_begin(job, run + 1, err);
}

int
syn_training_may_delete(const json_t *job, struct syn_err *err)
{
    const char *id = syn_document_id(job);

    if (!syn_sm_terminal(&syn_job_life, state_of(job)))
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s is %s; stop it first: synor compute train stop %s",
                        id, syn_document_state(job), id);
    if (!billed(job))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s: its last run is not billed yet; try again in a moment", id);
    return SYN_OK;
}

int64_t
syn_training_units(const json_t *job)
{
    struct syn_training_spec spec;
    struct syn_place_request request;

    syn_training_spec_read(syn_document_spec(job), &spec);
    request = syn_training_place_request(&spec, "");
    return syn_place_units(&request);
}

int64_t
syn_training_units_lead(const json_t *job, int64_t until_ms, int64_t unit_ms)
{
    int64_t notice_ms = syn_json_i64(syn_document_spec(job), "notice_ms", 0);

    return until_ms - SYN_MIN(notice_ms, unit_ms / 2);
}

static int64_t
priority_of(const json_t *json)
{
    struct syn_training_spec spec;

    if (!syn_json_bool(json, "spot", false) && !*syn_json_str(json, "reserved", ""))
        return syn_json_i64(json, "priority", 0);
    syn_training_spec_read(json, &spec);
    return syn_training_priority(&spec);
}

/* Since when it waits: since it was made, or last gave up what it had. */
static int64_t
waits_since(const json_t *job)
{
    int64_t since_ms = syn_document_time(json_object_get(job, "status"), "waiting_since");

    return since_ms != SYN_DOCUMENT_NONE ? since_ms : syn_document_time(job, "created_at");
}

int
syn_training_order(const json_t *a, const json_t *b)
{
    int64_t a_priority = priority_of(json_object_get(a, "spec"));
    int64_t b_priority = priority_of(json_object_get(b, "spec"));
    int64_t a_ms = waits_since(a), b_ms = waits_since(b);

    if (a_priority != b_priority)
        return a_priority > b_priority ? -1 : 1;
    if (a_ms != b_ms)
        return a_ms < b_ms ? -1 : 1;
    return strcmp(syn_document_id(a), syn_document_id(b));
}
