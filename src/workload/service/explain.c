/* Why a service is in the state it is in; and what one would do and cost before it is there. */
#include "../work_priv.h"
#include "control_priv.h"
#include "volumes_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>

#define ENDS_SHOWN   5
#define SENTENCE_MAX 400

static int add_why(json_t *why, const char *dimension, const char *node, struct syn_err *err,
                   const char *format, ...) SYN_PRINTF(5, 6);

static int
add_why(json_t *why, const char *dimension, const char *node, struct syn_err *err,
        const char *format, ...)
{
    char message[SENTENCE_MAX];
    json_t *row = NULL;
    va_list args;
    int rc;

    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    rc = syn_json_pack(&row, err, "{s:s, s:s?, s:n, s:n, s:s}", "dimension", dimension, "node",
                       node, "need", "have", "message", message);
    return rc < 0 ? rc : syn_json_append_take(why, row, err);
}

/* What runs it, or ran it, as far as its node has said. */
static const char *
made_by(const json_t *status, char *out, size_t cap)
{
    const char *runtime = syn_json_str(status, "runtime", "");

    out[0] = '\0';
    if (runtime[0] != '\0')
        (void)snprintf(out, cap, ", %.20s by %.20s", syn_json_str(status, "isolation", "?"),
                       runtime);
    return out;
}

/* The replicas that are not ready, and what is known of each. */
static int
why_replicas(const struct syn_service_explain_view *view, json_t *why, struct syn_err *err)
{
    const json_t *instance;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (view->instances, i, instance) {
        const json_t *spec = json_object_get(instance, "spec");
        const json_t *status = json_object_get(instance, "status");
        const json_t *health = json_object_get(status, "health");
        int state = syn_instance_state_find(syn_document_state(instance));
        char by[64];

        if (rc < 0 || state < 0 || syn_instance_ended((unsigned)state) ||
            syn_json_bool(health, "ready", false))
            continue;
        rc = add_why(why, "replica", syn_json_str(spec, "node", ""), err,
                     "replica %lld (version %lld%s) is %s: %s",
                     (long long)syn_json_i64(spec, "rank", 0),
                     (long long)syn_json_i64(spec, "version", 0), made_by(status, by, sizeof(by)),
                     syn_document_state(instance),
                     syn_json_str(health, "message", syn_json_str(status, "message", "")));
    }
    return rc;
}

/* The newest of those that ended by themselves. */
static int
why_ends(const struct syn_service_explain_view *view, json_t *why, struct syn_err *err)
{
    size_t count = json_array_size(view->instances), shown = 0;
    int rc = SYN_OK;

    for (size_t i = count; i > 0 && shown < ENDS_SHOWN && rc == SYN_OK; i--) {
        const json_t *instance = json_array_get(view->instances, i - 1);
        const json_t *spec = json_object_get(instance, "spec");
        const json_t *status = json_object_get(instance, "status");
        char by[64];

        if (!syn_str_eq(syn_document_state(instance), "exited") ||
            syn_str_eq(syn_json_str(spec, "desired", ""), "stopped"))
            continue;
        shown++;
        rc = add_why(why, "ended", syn_json_str(spec, "node", ""), err,
                     "replica %lld (version %lld%s) ended at %s: %s: %s",
                     (long long)syn_json_i64(spec, "rank", 0),
                     (long long)syn_json_i64(spec, "version", 0), made_by(status, by, sizeof(by)),
                     syn_json_str(status, "ended_at", "?"), syn_json_str(status, "reason", "?"),
                     syn_json_str(status, "message", ""));
    }
    return rc;
}

static int
why_log(const struct syn_service_explain_view *view, json_t *why, struct syn_err *err)
{
    const json_t *line;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (view->last_lines, i, line)
        if (rc == SYN_OK)
            rc = add_why(why, "log", NULL, err, "%s", json_string_value(line));
    return rc;
}

/* What autoscaling decided last, and why. */
static int
why_scaled(const struct syn_service_explain_view *view, json_t *why, struct syn_err *err)
{
    const json_t *scaled = syn_json_at(view->service, "status.autoscale");

    if (!scaled || !json_object_get(syn_document_spec(view->service), "autoscale"))
        return SYN_OK;
    return add_why(why, "autoscale", NULL, err, "%lld wanted (%lld to %lld): %s",
                   (long long)syn_json_i64(scaled, "replicas", 0),
                   (long long)syn_json_i64(scaled, "min", 0),
                   (long long)syn_json_i64(scaled, "max", 0), syn_json_str(scaled, "message", "?"));
}

/* How far an update by canary or blue-green has come, and what it waits for. */
static int
why_staged(const struct syn_service_explain_view *view, json_t *why, json_t *fix,
           struct syn_err *err)
{
    const json_t *rollout = syn_json_at(view->service, "status.rollout");
    const char *stage = syn_json_str(rollout, "stage", ""), *name, *rest;
    const char *strategy = syn_json_str(rollout, "strategy", "");
    bool waits = syn_json_bool(rollout, "waits", false);
    char text[SENTENCE_MAX];
    int rc;

    if (!*stage)
        return SYN_OK;
    name = syn_json_str(view->service, "name", "");
    rest = syn_str_eq(stage, "starting")    ? "its replicas are coming"
           : syn_str_eq(stage, "testing")   ? (waits ? "it waits to be promoted" : "it is tried")
           : syn_str_eq(stage, "kept")      ? "it has taken over, the other is kept for a rollback"
           : syn_str_eq(stage, "finishing") ? "it replaces the other, replica by replica"
                                            : "it has taken over";
    rc = add_why(why, "update", NULL, err, "%s: version %lld beside version %lld: %s", strategy,
                 (long long)syn_json_i64(rollout, "version", 0),
                 (long long)syn_json_i64(rollout, "from", 0), rest);
    if (rc < 0 || !waits)
        return rc;
    (void)snprintf(text, sizeof(text),
                   "synor compute service promote %s, or back: synor compute service abort %s",
                   name, name);
    return syn_json_append_take(fix, json_string(text), err);
}

/* Where its volumes make it run: a node, and with it what else would help, is no matter of choice
 * then. */
static int
why_volumes(const struct service_volumes *volumes, json_t *why, struct syn_err *err)
{
    char text[SENTENCE_MAX];

    if (service_volumes_refuse(volumes, text, sizeof(text)))
        return add_why(why, "volume", NULL, err, "%s", text);
    return volumes->node ? add_why(why, "volume", volumes->node, err,
                                   "its volume %s is on %s: it can run nowhere else",
                                   volumes->pinned, volumes->node)
                         : SYN_OK;
}

/* Why one more replica finds no room. */
static int
why_room(const struct syn_service_explain_view *view, json_t *why, json_t *fix, struct syn_err *err)
{
    struct syn_service_spec spec;
    struct syn_place_request request;
    struct syn_holding held, ask;
    struct service_volumes volumes;
    SYN_JSON(place_why);
    SYN_JSON(place_fix);
    const char *account = syn_json_str(view->service, "account", "");
    int rc = SYN_OK;

    syn_service_spec_read(syn_document_spec(view->service), &spec);
    request = syn_service_place_request(&spec);
    service_volumes_look(view->volumes, syn_document_spec(view->service), &volumes);
    service_volumes_ask(&volumes, &request);
    rc = why_volumes(&volumes, why, err);
    if (rc == SYN_OK && view->quota) {
        rc = syn_cluster_holding(view->cluster, account, &held, err);
        ask = (struct syn_holding){{0}};
        ask.amounts[SYN_QUOTA_CPU] = spec.amounts.cpu_millicores;
        ask.amounts[SYN_QUOTA_MEMORY] = spec.amounts.memory_bytes;
        ask.amounts[SYN_QUOTA_GPUS] = syn_place_gpu_least(view->cluster, &request);
        if (rc == SYN_OK)
            rc = syn_quota_explain(view->quota, &held, &ask, account, why, fix, err);
    }
    if (rc == SYN_OK)
        rc = syn_place_explain(view->cluster, &request, &place_why, &place_fix, err);
    if (rc == SYN_OK && (json_array_extend(why, place_why) < 0 ||
                         (!volumes.node && json_array_extend(fix, place_fix) < 0)))
        rc = SYN_FAIL(err, SYN_E_NOMEM, "explaining: out of memory");
    return rc;
}

static int
add_fix(const struct syn_service_explain_view *view, const char *reason, json_t *fix,
        struct syn_err *err)
{
    const char *name = syn_json_str(view->service, "name", "");
    char text[SENTENCE_MAX] = "";

    if (syn_str_eq(reason, "crash-loop") || syn_str_eq(reason, "deploy-failed") ||
        syn_str_eq(reason, "rolled-back") || syn_str_eq(reason, "ended"))
        (void)snprintf(text, sizeof(text), "read what it said: synor compute service logs %s",
                       name);
    else if (syn_str_eq(reason, "budget"))
        (void)snprintf(text, sizeof(text), "deploy it again with a higher --max-budget");
    else if (syn_str_eq(reason, "funds"))
        (void)snprintf(text, sizeof(text), "put more into its account, then deploy it again");
    else if (syn_str_eq(reason, "funds-low"))
        (void)snprintf(text, sizeof(text), "put more into its account");
    return *text ? syn_json_append_take(fix, json_string(text), err) : SYN_OK;
}

int
syn_service_explain(const struct syn_service_explain_view *view, json_t **ret, struct syn_err *err)
{
    const json_t *status = json_object_get(view->service, "status");
    const char *reason = syn_json_str(status, "reason", "");
    SYN_JSON(why);
    SYN_JSON(fix);
    int rc;

    why = json_array();
    fix = json_array();
    if (!why || !fix)
        return SYN_FAIL(err, SYN_E_NOMEM, "explaining: out of memory");
    rc = add_why(why, "state", NULL, err, "%s", syn_json_str(status, "message", "?"));
    if (rc == SYN_OK)
        rc = why_scaled(view, why, err);
    if (rc == SYN_OK)
        rc = why_staged(view, why, fix, err);
    if (rc == SYN_OK && syn_str_eq(reason, "no-room"))
        rc = why_room(view, why, fix, err);
    if (rc == SYN_OK)
        rc = why_replicas(view, why, err);
    if (rc == SYN_OK)
        rc = why_ends(view, why, err);
    if (rc == SYN_OK)
        rc = why_log(view, why, err);
    if (rc == SYN_OK)
        rc = add_fix(view, reason, fix, err);
    return rc < 0 ? rc
                  : syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s, s:O, s:O}", "id",
                                  syn_document_id(view->service), "state",
                                  syn_document_state(view->service), "reason", reason, "message",
                                  syn_json_str(status, "message", ""), "why", why, "fix", fix);
}

/* ---- plan ---- */

struct plan {
    struct syn_service_spec spec;
    struct service_volumes volumes;
    struct syn_place_request request;
    struct syn_placement placement;
    uint32_t fit; /* so many find room now */
    bool placeable;
    json_t *out;
};

/* What an update takes: so many replicas at once, each of them paid for. */
static int
plan_peak(struct plan *plan, const struct syn_pricebook *book, struct syn_err *err)
{
    struct syn_cost_ask ask = syn_service_cost_ask(&plan->spec);
    struct syn_cost cost = {0, INT64_MAX};
    json_t *peak = NULL;
    int rc;

    ask.count = syn_service_peak(&plan->spec);
    if (ask.count <= plan->spec.replicas)
        return SYN_OK;
    rc = syn_cost_of(book, &ask, &cost, err);
    if (rc >= 0) {
        bool priced = rc == SYN_OK;

        rc = syn_json_pack(&peak, err, "{s:i}", "replicas", (int)ask.count);
        if (rc == SYN_OK)
            rc = syn_json_set_take(plan->out, "peak", peak, err);
        if (rc == SYN_OK)
            rc = work_set_rates(peak, priced, cost.rate_hour, err);
    }
    return rc;
}

/* One row a node: replicas on the same node stand next to each other. */
static int
plan_nodes(struct plan *plan, const struct syn_cluster *cluster, const struct syn_pricebook *book,
           struct syn_err *err)
{
    json_t *nodes = json_array();
    int rc = syn_json_set_take(plan->out, "nodes", nodes, err);

    for (uint32_t i = 0, same; i < plan->fit && rc == SYN_OK; i = same) {
        const char *name = plan->placement.slots[i].node;
        const struct syn_node_view *node = syn_cluster_find(cluster, name);
        const struct syn_place_slot *slot = &plan->placement.slots[i];
        const struct syn_cost_ask ask = {.amounts = plan->spec.amounts,
                                         .gpus = plan->spec.gpus,
                                         .gpu_permille = slot->gpu_permille,
                                         .gpu_model = slot->gpu_model,
                                         .count = 1};
        struct syn_cost cost = {0, INT64_MAX};
        json_t *row = NULL;
        bool priced;

        for (same = i;
             same < plan->placement.count && syn_str_eq(plan->placement.slots[same].node, name);
             same++)
            ;
        rc = syn_cost_on(node, book, &ask, &cost, err);
        priced = rc == SYN_OK;
        if (rc >= 0)
            rc = syn_json_pack(&row, err, "{s:s, s:s, s:i}", "node", name, "region", node->region,
                               "replicas", (int)(same - i));
        if (rc == SYN_OK)
            rc = work_set_rates(row, priced, cost.rate_hour, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(nodes, row, err);
    }
    return rc;
}

/* Where else replicas would fit now. */
static int
plan_alternatives(struct plan *plan, struct syn_cluster *cluster, const struct syn_pricebook *book,
                  struct syn_err *err)
{
    struct syn_place_request all = plan->request;
    const struct work_placed placed = {cluster,          book,      &all,
                                       &plan->placement, plan->fit, "replicas"};

    all.count = SYN_MAX(plan->spec.replicas, 1U);
    return work_alternatives(&placed, plan->out, err);
}

static int
plan_cost(struct plan *plan, const json_t *spec, const struct syn_cluster *cluster,
          const struct syn_pricebook *book, struct syn_err *err)
{
    const struct syn_cost_ask ask = syn_service_cost_ask(&plan->spec);
    struct syn_cost cost = {0, INT64_MAX};
    int rc = plan->placeable ? syn_cost_placed(cluster, book, &plan->placement, &ask, &cost, err)
                             : syn_cost_of(book, &ask, &cost, err);
    bool priced = rc == SYN_OK;

    if (rc < 0)
        return rc;
    rc = work_set_rates(plan->out, priced, cost.rate_hour, err);
    if (rc == SYN_OK && priced)
        rc = syn_document_set_amount(plan->out, "locked", syn_service_reserve(spec, cost.rate_hour),
                                     err);
    return rc;
}

static int
plan_verdict(struct plan *plan, const struct syn_service_tenant *tenant,
             struct syn_cluster *cluster, struct syn_err *err)
{
    const struct syn_holding ask = syn_service_holding(&plan->spec);
    enum syn_quota_dim over = SYN_QUOTA_COUNT;
    struct syn_holding held;
    const char *reason = "placeable";
    char message[256];
    int rc = SYN_OK;

    if (tenant->quota) {
        rc = syn_cluster_holding(cluster, tenant->account, &held, err);
        if (rc < 0)
            return rc;
        over = syn_quota_over(tenant->quota, &held, &ask);
    }
    if (over != SYN_QUOTA_COUNT) {
        plan->placeable = false;
        reason = "quota";
        syn_quota_say(tenant->quota, &held, &ask, over, message, sizeof(message));
    } else if (!plan->placeable) {
        char one[160];

        syn_place_why(cluster, &plan->request, &reason, one, sizeof(one));
        (void)snprintf(message, sizeof(message), "%u of %u have room now; of the next one: %s",
                       plan->fit, SYN_MAX(plan->spec.replicas, 1U), one);
    } else {
        (void)snprintf(message, sizeof(message), "%u %s", plan->request.count,
                       syn_plural(plan->request.count, "replica starts", "replicas start"));
    }
    rc = syn_json_set_bool(plan->out, "placeable", plan->placeable, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(plan->out, "reason", reason, err);
    return rc < 0 ? rc : syn_json_set_str(plan->out, "message", message, err);
}

/* Place as many as find room. The next one is asked for alone, as replicas are. */
static int
plan_place(struct plan *plan, struct syn_cluster *cluster, struct syn_err *err)
{
    uint32_t want = SYN_MAX(plan->spec.replicas, 1U);
    int rc = SYN_PLACE_NONE;

    for (plan->fit = want; plan->fit > 0; plan->fit--) {
        plan->request.count = plan->fit;
        rc = syn_place(cluster, &plan->request, &plan->placement, err);
        if (rc != SYN_PLACE_NONE)
            break;
    }
    plan->request.count = 1;
    plan->placeable = plan->fit == want;
    return SYN_MIN(rc, SYN_OK);
}

int
syn_service_plan(const json_t *spec, const struct syn_service_tenant *tenant,
                 struct syn_cluster *cluster, const struct syn_pricebook *book, json_t **ret,
                 struct syn_err *err)
{
    struct plan plan = {.placeable = false};
    json_t *why = NULL, *fix = NULL;
    SYN_JSON(out);
    int rc;

    syn_service_spec_read(spec, &plan.spec);
    plan.request = syn_service_place_request(&plan.spec);
    service_volumes_look(tenant->volumes, spec, &plan.volumes);
    service_volumes_ask(&plan.volumes, &plan.request);
    rc = plan_place(&plan, cluster, err);
    if (rc < 0)
        return rc;
    out = plan.out = json_object();
    if (!out)
        return SYN_FAIL(err, SYN_E_NOMEM, "planning: out of memory");
    rc = plan_verdict(&plan, tenant, cluster, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(out, "replicas", plan.spec.replicas, err);
    if (rc == SYN_OK)
        rc = syn_place_explain(cluster, &plan.request, &why, &fix, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(out, "why", why, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(out, "fix", fix, err);
    if (rc == SYN_OK)
        rc = plan_nodes(&plan, cluster, book, err);
    if (rc == SYN_OK)
        rc = plan_cost(&plan, spec, cluster, book, err);
    if (rc == SYN_OK)
        rc = plan_peak(&plan, book, err);
    if (rc == SYN_OK)
        rc = plan_alternatives(&plan, cluster, book, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(out);
    return SYN_OK;
}
