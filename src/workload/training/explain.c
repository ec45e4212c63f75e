#include <synor/workload/training_explain.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/orchestration/place.h>
#include <synor/workload/training_spec.h>

#define MESSAGE_MAX 500
#define HOUR_MS     (INT64_C(3600) * 1000)
#define MIB         (INT64_C(1) << 20)

struct explain {
    const struct syn_training_explain_view *view;
    const json_t *status;
    struct syn_training_spec spec;
    const char *id;
    enum syn_job_state state;
    const char *reason;
    json_t *why;
    json_t *fix;
    json_t *leases;
};

/* A row; `need` and `have` may be NULL for null, and are owned from the call on. */
static int why_add(struct explain *explain, const char *dimension, const char *node, json_t *need,
                   json_t *have, const char *message, struct syn_err *err);
static int fix_add(struct explain *explain, struct syn_err *err, const char *format, ...)
    SYN_PRINTF(3, 4);

static int
why_add(struct explain *explain, const char *dimension, const char *node, json_t *need,
        json_t *have, const char *message, struct syn_err *err)
{
    SYN_JSON(row);
    SYN_JSON(owned_need);
    SYN_JSON(owned_have);
    int rc;

    owned_need = need;
    owned_have = have;
    rc = syn_json_pack(&row, err, "{s:s, s:s?, s:O?, s:O?, s:s}", "dimension", dimension, "node",
                       node, "need", owned_need, "have", owned_have, "message", message);
    return rc < 0 ? rc : syn_json_append_take(explain->why, SYN_TAKE(row), err);
}

static int
fix_add(struct explain *explain, struct syn_err *err, const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return syn_json_append_take(explain->fix, json_string(text), err);
}

static const char *
message_of(const struct explain *explain)
{
    return syn_json_str(explain->status, "message", "");
}

/* The row that every state has: the reason as the controller wrote it. */
static int
why_reason(struct explain *explain, struct syn_err *err)
{
    return why_add(explain, explain->reason, syn_json_str(explain->status, "node", NULL), NULL,
                   NULL, message_of(explain), err);
}

static int
fix_way_out(struct explain *explain, struct syn_err *err)
{
    const struct syn_reason *row = syn_job_reason(explain->state, explain->reason);

    if (!row || !*row->way_out)
        return SYN_OK;
    return fix_add(explain, err, "%s", row->way_out);
}

/* A CPU limit that is in the way, in any state after the start. The kernel adds the time up over
 * the processors, so it may be more than all. */
static int
explain_throttling(struct explain *explain, struct syn_err *err)
{
    const struct syn_training_observed *observed = &explain->view->observed;
    int64_t limit = explain->spec.amounts.cpu_millicores;
    int64_t held_ms = SYN_MIN(observed->throttled_ms, observed->metered_ms);
    char message[MESSAGE_MAX], cpus[SYN_FORMAT_MAX], held[SYN_FORMAT_MAX], all[SYN_FORMAT_MAX];
    int rc;

    if (held_ms == 0 || held_ms < observed->metered_ms / 10)
        return SYN_OK;
    (void)snprintf(message, sizeof(message),
                   "it reached its limit of %s CPU%s a worker: held back for %s of %s",
                   syn_format_cpus(limit, cpus), limit == 1000 ? "" : "s",
                   syn_format_duration(held_ms, held),
                   syn_format_duration(observed->metered_ms, all));
    rc = why_add(explain, "cpu_millicores", NULL, NULL, json_integer(limit), message, err);
    if (rc < 0)
        return rc;
    return fix_add(explain, err, "if it has to be faster, create it with more: --cpus %s",
                   syn_format_cpus(2 * limit, cpus));
}

/* ---- leases ---- */

static bool
of_attempt(const struct explain *explain, const json_t *instance)
{
    const json_t *spec = syn_document_spec(instance);

    return syn_json_i64(spec, "run", 0) == syn_json_i64(explain->status, "run", 0) &&
           syn_json_i64(spec, "attempt", 0) == syn_json_i64(explain->status, "attempt", 0);
}

/* What one instance costs and on which terms, as a row of `leases` and as a sentence. */
static int
lease_add(struct explain *explain, json_t *doc, struct syn_err *err)
{
    const json_t *spec = syn_document_spec(doc);
    json_t *lease = json_object_get(spec, "lease");
    const char *node = syn_json_str(spec, "node", "");
    int64_t rank = syn_json_i64(spec, "rank", 0), rate_hour = 0;
    char message[MESSAGE_MAX], rate[SYN_FORMAT_MAX], terms[160] = "by the price book";
    SYN_JSON(alone);
    SYN_JSON(row);
    int rc = syn_json_pack(&alone, err, "[O]", doc);

    if (rc == SYN_OK)
        rc = syn_cost_live(explain->view->book, alone, &rate_hour, err);
    if (rc < 0)
        return rc;
    (void)syn_format_amount(rate_hour, rate);
    rc = syn_json_pack(&row, err, "{s:s, s:I, s:s, s:s, s:O?}", "instance", syn_document_id(doc),
                       "rank", (json_int_t)rank, "node", node, "rate_hour", rate, "lease", lease);
    if (rc == SYN_OK)
        rc = syn_json_append_take(explain->leases, SYN_TAKE(row), err);
    if (rc < 0)
        return rc;
    if (lease)
        (void)snprintf(terms, sizeof(terms), "%s since %s",
                       syn_json_str(json_object_get(lease, "terms"), "kind", "leased"),
                       syn_json_str(lease, "since", "?"));
    (void)snprintf(message, sizeof(message), "rank %lld on %s costs %s SYNOR an hour, %s",
                   (long long)rank, node, rate, terms);
    return why_add(explain, "price", node, NULL, json_string(rate), message, err);
}

static int
explain_leases(struct explain *explain, struct syn_err *err)
{
    json_t *doc;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (explain->view->instances, i, doc) {
        int state = syn_instance_state_find(syn_document_state(doc));

        if (rc == SYN_OK && of_attempt(explain, doc) && state >= 0 &&
            !syn_instance_ended((unsigned)state))
            rc = lease_add(explain, doc, err);
    }
    return rc;
}

/* ---- pending ---- */

static int
explain_placement(struct explain *explain, struct syn_err *err)
{
    struct syn_place_request request =
        syn_training_place_request(&explain->spec, syn_json_str(explain->view->job, "account", ""));
    SYN_JSON(why);
    SYN_JSON(fix);
    int rc = syn_training_units_explain(&explain->spec, explain->view->units, explain->why,
                                        explain->fix, err);

    syn_training_take_units(&explain->spec, explain->view->units, &request);
    if (rc == SYN_OK)
        rc = syn_place_explain(explain->view->cluster, &request, &why, &fix, err);
    if (rc < 0)
        return rc;
    if (json_array_extend(explain->why, why) < 0 || json_array_extend(explain->fix, fix) < 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "explaining %s: out of memory", explain->id);
    if (json_array_size(why) == 0 && !syn_str_eq(explain->reason, "waiting-for-start"))
        return fix_way_out(explain, err);
    if (json_array_size(why) == 0 && json_array_size(explain->fix) == 0)
        return fix_add(explain, err, "nothing is missing: it starts within seconds");
    return SYN_OK;
}

/* What the account's quota has to do with it. */
static int
explain_quota(struct explain *explain, struct syn_err *err)
{
    const char *account = syn_json_str(explain->view->job, "account", "");
    const struct syn_holding ask = syn_training_holding_on(&explain->spec, explain->view->cluster);
    struct syn_holding held;
    int rc;

    if (!explain->view->quota)
        return SYN_OK;
    rc = syn_cluster_holding(explain->view->cluster, account, &held, err);
    return rc < 0 ? rc
                  : syn_quota_explain(explain->view->quota, &held, &ask, account, explain->why,
                                      explain->fix, err);
}

static int
explain_turn(struct explain *explain, struct syn_err *err)
{
    const struct syn_place_turn *turn = explain->view->turn;
    char message[MESSAGE_MAX], start[SYN_FORMAT_MAX];
    int64_t wait_ms;

    if (!turn)
        return SYN_OK;
    wait_ms = SYN_MAX(turn->start_ms - explain->view->now_ms, 0);
    (void)snprintf(message, sizeof(message), "number %lld of %lld that wait for room%s%s",
                   (long long)turn->position, (long long)turn->queue,
                   turn->start_ms < 0 ? "" : "; it can start within ",
                   turn->start_ms < 0 ? "" : syn_format_duration(wait_ms, start));
    return why_add(explain, "queue", NULL, json_integer(1), json_integer(turn->position), message,
                   err);
}

static int
explain_pending(struct explain *explain, struct syn_err *err)
{
    int64_t retry_ms = syn_document_time(explain->status, "retry_at");
    int rc = why_reason(explain, err);

    if (rc < 0)
        return rc;
    if (retry_ms != SYN_DOCUMENT_NONE && retry_ms > explain->view->now_ms)
        return fix_way_out(explain, err);
    rc = explain_quota(explain, err);
    if (rc == SYN_OK)
        rc = explain_turn(explain, err);
    return rc < 0 ? rc : explain_placement(explain, err);
}

/* ---- starting, stopping ---- */

static int
explain_ranks(struct explain *explain, const char *need, struct syn_err *err)
{
    const json_t *doc;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (explain->view->instances, i, doc) {
        const json_t *spec = syn_document_spec(doc);
        const char *state = syn_document_state(doc), *node = syn_json_str(spec, "node", "");
        char message[MESSAGE_MAX];

        if (rc < 0 || !of_attempt(explain, doc) || syn_str_eq(state, need))
            continue;
        (void)snprintf(message, sizeof(message), "rank %lld on %s is %s: %s",
                       (long long)syn_json_i64(spec, "rank", 0), node, state,
                       syn_json_str(syn_document_status(doc), "message", ""));
        rc = why_add(explain, "rank", node, json_string(need), json_string(state), message, err);
    }
    return rc;
}

static int
explain_starting(struct explain *explain, struct syn_err *err)
{
    int rc = why_reason(explain, err);

    return rc < 0 ? rc : explain_ranks(explain, "running", err);
}

static int
explain_stopping(struct explain *explain, struct syn_err *err)
{
    int rc = why_reason(explain, err);

    if (rc == SYN_OK)
        rc = explain_ranks(explain, "exited", err);
    return rc < 0 ? rc : fix_way_out(explain, err);
}

/* ---- running ---- */

/* How long what is left of the budget covers the present rate; INT64_MAX when nothing is spent. */
static int64_t
budget_lasts_ms(const json_t *cost)
{
    int64_t left = syn_document_amount(cost, "budget") - syn_document_amount(cost, "spent");
    int64_t rate = syn_document_amount(cost, "rate_hour");
    syn_i128 lasts;

    if (rate <= 0)
        return INT64_MAX;
    lasts = (syn_i128)SYN_MAX(left, 0) * HOUR_MS / rate;
    return lasts > INT64_MAX ? INT64_MAX : (int64_t)lasts;
}

static int
explain_budget(struct explain *explain, struct syn_err *err)
{
    const json_t *cost = json_object_get(explain->status, "cost");
    int64_t lasts_ms = budget_lasts_ms(cost);
    int64_t eta_ms = syn_json_i64(json_object_get(explain->status, "progress"), "eta_ms", -1);
    int64_t left = syn_document_amount(cost, "budget") - syn_document_amount(cost, "spent");
    char message[MESSAGE_MAX], amount[SYN_FORMAT_MAX], duration[SYN_FORMAT_MAX];
    int rc;

    if (lasts_ms == INT64_MAX)
        return SYN_OK;
    (void)snprintf(message, sizeof(message), "%s SYNOR are left; at %s SYNOR an hour they last %s",
                   syn_format_amount(SYN_MAX(left, 0), amount),
                   syn_json_str(cost, "rate_hour", "0"), syn_format_duration(lasts_ms, duration));
    rc = why_add(explain, "budget", NULL, eta_ms < 0 ? NULL : json_integer(eta_ms),
                 json_integer(lasts_ms), message, err);
    if (rc < 0 || eta_ms <= lasts_ms)
        return rc;
    return fix_add(explain, err,
                   "the budget ends before the job does (%s are needed): it will save a checkpoint "
                   "and stop; then synor compute train resume %s --max-budget AMOUNT",
                   syn_format_duration(eta_ms, duration), explain->id);
}

static int
explain_running(struct explain *explain, struct syn_err *err)
{
    int64_t eta_ms = syn_json_i64(json_object_get(explain->status, "progress"), "eta_ms", -1);
    char message[MESSAGE_MAX], duration[SYN_FORMAT_MAX];
    int rc = why_reason(explain, err);

    if (rc == SYN_OK && eta_ms >= 0) {
        (void)snprintf(message, sizeof(message), "about %s are left",
                       syn_format_duration(eta_ms, duration));
        rc = why_add(explain, "time", NULL, NULL, json_integer(eta_ms), message, err);
    }
    if (rc == SYN_OK)
        rc = explain_budget(explain, err);
    if (rc == SYN_OK)
        rc = explain_throttling(explain, err);
    return rc < 0 ? rc : fix_way_out(explain, err);
}

/* ---- ended ---- */

static int
fix_resume(struct explain *explain, bool with_budget, struct syn_err *err)
{
    const json_t *checkpoint = json_object_get(explain->status, "checkpoint");

    if (json_is_object(checkpoint))
        return fix_add(explain, err, "go on from step %lld: synor compute train resume %s%s",
                       (long long)syn_json_i64(checkpoint, "step", 0), explain->id,
                       with_budget ? " --max-budget AMOUNT" : "");
    return fix_add(explain, err,
                   "there is no checkpoint: it would begin anew: "
                   "synor compute train resume %s%s",
                   explain->id, with_budget ? " --max-budget AMOUNT" : "");
}

static int
explain_oom(struct explain *explain, struct syn_err *err)
{
    int64_t limit = explain->spec.amounts.memory_bytes;
    int64_t peak = explain->view->observed.memory_peak_bytes;
    int64_t more = SYN_MAX(limit, peak);
    char message[MESSAGE_MAX], limit_text[SYN_FORMAT_MAX], peak_text[SYN_FORMAT_MAX];
    int rc;

    if (peak > 0)
        (void)snprintf(message, sizeof(message), "the limit is %s, the peak was %s",
                       syn_format_bytes(limit, limit_text), syn_format_bytes(peak, peak_text));
    else
        (void)snprintf(message, sizeof(message), "the limit is %s",
                       syn_format_bytes(limit, limit_text));
    rc = why_add(explain, "memory_bytes", NULL, peak > 0 ? json_integer(peak) : NULL,
                 json_integer(limit), message, err);
    if (rc < 0)
        return rc;
    return fix_add(explain, err,
                   "create it again with more: --memory %lldmb, or a smaller "
                   "--batch-size",
                   (long long)((more + more / 2 + MIB - 1) / MIB));
}

static int
explain_log(struct explain *explain, struct syn_err *err)
{
    const json_t *lines = explain->view->last_lines;
    size_t count = json_array_size(lines);
    size_t first =
        count > SYN_TRAINING_EXPLAIN_LINES_MAX ? count - SYN_TRAINING_EXPLAIN_LINES_MAX : 0;
    int rc = SYN_OK;

    for (size_t i = first; i < count && rc == SYN_OK; i++) {
        const char *line = json_string_value(json_array_get(lines, i));

        if (line)
            rc = why_add(explain, "log", NULL, NULL, NULL, line, err);
    }
    return rc;
}

static int
explain_failed(struct explain *explain, struct syn_err *err)
{
    const json_t *code = json_object_get(explain->status, "exit_code");
    int rc = why_reason(explain, err);

    if (rc == SYN_OK && json_is_integer(code))
        rc = why_add(explain, "exit_code", NULL, json_integer(0), syn_json_deep_copy(code),
                     "exit status of the program", err);
    if (rc == SYN_OK)
        rc = explain_log(explain, err);
    if (rc == SYN_OK && syn_str_eq(explain->reason, "oom-killed"))
        rc = explain_oom(explain, err);
    if (rc == SYN_OK)
        rc = explain_throttling(explain, err);
    if (rc == SYN_OK)
        rc = fix_way_out(explain, err);
    if (rc == SYN_OK)
        rc = fix_add(explain, err, "read the logs: synor compute train logs %s", explain->id);
    return rc < 0 ? rc : fix_resume(explain, false, err);
}

static int
explain_stopped(struct explain *explain, struct syn_err *err)
{
    bool budget = syn_str_eq(explain->reason, "budget");
    const json_t *cost = json_object_get(explain->status, "cost");
    char message[MESSAGE_MAX];
    int rc = why_reason(explain, err);

    if (rc == SYN_OK && budget) {
        (void)snprintf(message, sizeof(message), "%s of %s SYNOR were spent",
                       syn_json_str(cost, "spent", "0"), syn_json_str(cost, "budget", "0"));
        rc = why_add(explain, "budget", NULL, NULL, json_string(syn_json_str(cost, "budget", "0")),
                     message, err);
    }
    if (rc == SYN_OK)
        rc = explain_throttling(explain, err);
    return rc < 0 ? rc : fix_resume(explain, budget, err);
}

static int
explain_succeeded(struct explain *explain, struct syn_err *err)
{
    const json_t *result = json_object_get(explain->status, "result");
    int rc = why_reason(explain, err);

    if (rc == SYN_OK)
        rc = explain_throttling(explain, err);
    if (rc < 0 || !json_is_object(result))
        return rc;
    return fix_add(explain, err, "fetch the result: synor storage get synor://%s ./result",
                   syn_json_str(result, "cid", ""));
}

/* ---- all ---- */

static int
answer_make(struct explain *explain, json_t **ret, struct syn_err *err)
{
    const struct syn_place_turn *turn = explain->view->turn;
    SYN_JSON(answer);
    int rc = syn_json_pack(&answer, err, "{s:s, s:s, s:s, s:s, s:O, s:O, s:O}", "id", explain->id,
                           "state", syn_job_life.states[explain->state].name, "reason",
                           explain->reason, "message", message_of(explain), "why", explain->why,
                           "fix", explain->fix, "leases", explain->leases);

    if (rc == SYN_OK && turn && explain->state == SYN_JOB_PENDING) {
        rc = syn_json_set_i64(answer, "position", turn->position, err);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(answer, "queue", turn->queue, err);
        if (rc == SYN_OK)
            rc =
                syn_document_set_time(answer, "expected_start_at",
                                      turn->start_ms < 0 ? SYN_DOCUMENT_NONE : turn->start_ms, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(answer);
    return rc;
}

int
syn_training_explain(const struct syn_training_explain_view *view, json_t **ret,
                     struct syn_err *err)
{
    static int (*const states[])(struct explain *, struct syn_err *) = {
        [SYN_JOB_PENDING] = explain_pending,     [SYN_JOB_STARTING] = explain_starting,
        [SYN_JOB_RUNNING] = explain_running,     [SYN_JOB_STOPPING] = explain_stopping,
        [SYN_JOB_SUCCEEDED] = explain_succeeded, [SYN_JOB_FAILED] = explain_failed,
        [SYN_JOB_STOPPED] = explain_stopped,
    };
    struct explain explain = {.view = view, .id = syn_document_id(view->job)};
    int state = syn_job_state_find(syn_document_state(view->job));
    SYN_JSON(why);
    SYN_JSON(fix);
    SYN_JSON(leases);
    int rc;

    assert(state >= 0 && (size_t)state < SYN_LEN(states));
    explain.state = (enum syn_job_state)state;
    explain.status = syn_document_status(view->job);
    explain.reason = syn_json_str(explain.status, "reason", "");
    syn_training_spec_read(syn_document_spec(view->job), &explain.spec);
    explain.why = why = json_array();
    explain.fix = fix = json_array();
    explain.leases = leases = json_array();
    if (!why || !fix || !leases)
        return SYN_FAIL(err, SYN_E_NOMEM, "explaining %s: out of memory", explain.id);
    rc = states[state](&explain, err);
    if (rc == SYN_OK)
        rc = explain_leases(&explain, err);
    return rc < 0 ? rc : answer_make(&explain, ret, err);
}
