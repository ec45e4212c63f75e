/* Instances of a function that are ready before it is called: what was learnt of its calls
 * ("function-prewarm/ID": {state, peak}), written with the report that told it, so that it is there
 * after a restart; and what follows from that and from schedules, looked up whenever a pool is
 * stepped. The rule itself is orchestration/prewarm.h.
 *
 * A call is learnt of when it is over: then it is known what made it, and how long it took. */
#include <stdio.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>

#include "function_prewarm_priv.h"
#include "loads_priv.h"

#define FUNCTIONS_MAX  4096 /* in one report */
#define COUNT_MAX      INT64_C(1000000000)
#define US_MAX         (INT64_C(1) << 50)
#define PEAK_MAX       INT64_C(100000)
#define WARMUP_LEAD_MS INT64_C(5000) /* so long before its time an instance is started */

static const char *
key_of(char *out, const char *function)
{
    return srv_key(out, "function-prewarm", function, NULL);
}

/* --- learning --------------------------------------------------------------------------------- */

/* What a report says of one function. */
struct seen {
    int64_t at_once, count, duration_us, starts, start_us;
    bool others; /* something else than schedules called it */
};

static int64_t
number(const json_t *row, const char *key, int64_t max)
{
    return SYN_MAX(SYN_MIN(syn_json_i64(row, key, 0), max), 0);
}

static void
free_seen(void *value)
{
    syn_free(value);
}

/* NULL: there is no memory, or the row is of none; *rc says which. */
static struct seen *
seen_of(struct syn_map *all, const json_t *row, int *rc, struct syn_err *err)
{
    const char *id = syn_json_str(row, "function", "");
    struct seen *seen = syn_map_find(all, id);

    if (seen != NULL || *rc < 0 || !syn_name_ok(id) || syn_map_count(all) >= FUNCTIONS_MAX)
        return *rc < 0 ? NULL : seen;
    seen = syn_calloc(1, sizeof(*seen));
    if (seen == NULL) {
        *rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for what was called");
        return NULL;
    }
    *rc = syn_map_put_take(all, id, seen, err);
    return *rc < 0 ? NULL : seen;
}

static int64_t
start_us(const json_t *row)
{
    static const char *const stages[] = {"schedule", "fetch", "create", "restore", "initialise"};
    int64_t sum = 0;

    for (size_t i = 0; i < SYN_LEN(stages); i++)
        sum += number(json_object_get(json_object_get(row, "stages"), stages[i]), "us", US_MAX / 8);
    return sum;
}

static int
sum_up(const json_t *report, struct syn_map *all, struct syn_err *err)
{
    struct seen *seen;
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report, "loads"), i, row) {
        seen = seen_of(all, row, &rc, err);
        if (seen != NULL)
            seen->at_once = SYN_MIN(seen->at_once + number(row, "running", PEAK_MAX) +
                                        number(row, "waiting", PEAK_MAX),
                                    PEAK_MAX);
    }
    json_array_foreach (json_object_get(report, "usage"), i, row) {
        seen = seen_of(all, row, &rc, err);
        if (seen == NULL || number(row, "count", COUNT_MAX) == 0)
            continue;
        seen->count += number(row, "count", COUNT_MAX);
        seen->duration_us += number(row, "duration_us_sum", US_MAX);
        seen->others = seen->others || !syn_str_eq(syn_json_str(row, "trigger", ""), "schedule");
    }
    json_array_foreach (json_object_get(report, "starts"), i, row) {
        seen = seen_of(all, row, &rc, err);
        if (seen == NULL)
            continue;
        seen->starts += number(row, "count", COUNT_MAX);
        seen->start_us += start_us(row);
    }
    return rc;
}

static int
write_state(struct srv_txn *txn, const char *key, const struct syn_prewarm_state *state,
            int64_t peak, struct syn_err *err)
{
    json_t *written = NULL;
    SYN_JSON(doc);
    int rc = syn_prewarm_state_write(state, &written, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:o, s:I}", "state", written, "peak", (json_int_t)peak);
    return rc < 0 ? rc : srv_txn_put(txn, key, doc, err);
}

static int
learn_one(struct syn_server *server, struct srv_txn *txn, const char *id, const struct seen *seen,
          struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(server->world), peak;
    struct syn_prewarm_state state = {0};
    char key[SRV_KEY_MAX];
    bool news = seen->count > 0 || seen->starts > 0;
    SYN_JSON(function);
    SYN_JSON(known);
    int rc = srv_load(server, srv_key(key, "function", id, NULL), &function, NULL, err);

    if (rc != SYN_OK ||
        syn_str_eq(syn_json_str(syn_document_spec(function), "runtime", ""), "wasm"))
        return rc < 0 ? rc : SYN_OK;
    rc = srv_load(server, key_of(key, id), &known, NULL, err);
    if (rc < 0)
        return rc;
    syn_prewarm_state_read(json_object_get(known, "state"), &state);
    peak = SYN_MAX(number(known, "peak", PEAK_MAX), seen->at_once);
    if (!news && peak == number(known, "peak", PEAK_MAX))
        return SYN_OK;
    if (seen->starts > 0)
        syn_prewarm_started(&state, seen->start_us / seen->starts);
    if (seen->count > 0) {
        syn_prewarm_note(&state, &(struct syn_prewarm_calls){
                                     .begun_ms = now_ms - seen->duration_us / seen->count / 1000,
                                     .ended_ms = now_ms,
                                     .peak = (uint32_t)SYN_MAX(peak, 1),
                                     .scheduled = !seen->others});
        peak = seen->at_once;
    }
    return write_state(txn, key, &state, peak, err);
}

int
srv_prewarm_learn(struct syn_server *server, struct srv_txn *txn, const json_t *report,
                  struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *all = NULL;
    size_t cursor = 0;
    const char *id;
    void *value;
    int rc = syn_map_new(free_seen, &all, err);

    if (rc == SYN_OK)
        rc = sum_up(report, all, err);
    while (rc == SYN_OK && syn_map_next(all, &cursor, &id, &value))
        rc = learn_one(server, txn, id, value, err);
    return rc;
}

int
srv_prewarm_forget(struct srv_txn *txn, const char *function, struct syn_err *err)
{
    char key[SRV_KEY_MAX];

    return srv_txn_delete(txn, key_of(key, function), err);
}

/* --- looking ---------------------------------------------------------------------------------- */

static void
look_at_warmups(const json_t *spec, const struct syn_zone_source *zones, int64_t now_ms,
                struct srv_prewarm *ret)
{
    int64_t soon_until_ms, soon;

    ret->paid = syn_function_warmup_at(spec, zones, now_ms, &ret->paid_until_ms);
    soon = syn_function_warmup_at(spec, zones, now_ms + WARMUP_LEAD_MS, &soon_until_ms);
    ret->warm = SYN_MAX(ret->paid, soon);
    ret->wake_at_ms = SYN_MIN(ret->wake_at_ms, ret->paid_until_ms);
    if (soon_until_ms != INT64_MAX)
        ret->wake_at_ms = SYN_MIN(ret->wake_at_ms, soon_until_ms - WARMUP_LEAD_MS);
}

int
srv_prewarm_look(struct syn_server *server, const json_t *function, int64_t now_ms,
                 struct srv_prewarm *ret, struct syn_err *err)
{
    const struct syn_zone_source zones = srv_loads_zones(server->loads);
    const json_t *spec = syn_document_spec(function), *own;
    int64_t active = syn_json_i64(syn_document_status(function), "active", 0);
    struct syn_prewarm_state state = {0};
    struct syn_prewarm_rule rule = {0};
    char key[SRV_KEY_MAX];
    SYN_JSON(version);
    SYN_JSON(known);
    int rc;

    *ret = (struct srv_prewarm){.version = active, .wake_at_ms = INT64_MAX};
    if (active == 0 || !syn_str_eq(syn_document_state(function), "active"))
        return SYN_OK;
    rc = srv_load(server, srv_key_seq(key, "function-version", syn_document_id(function), active),
                  &version, NULL, err);
    if (rc != SYN_OK || syn_json_str(version, "service", "")[0] == '\0')
        return rc < 0 ? rc : SYN_OK;
    rc = srv_load(server, key_of(key, syn_document_id(function)), &known, NULL, err);
    if (rc < 0)
        return rc;
    own = json_object_get(version, "spec");
    ret->has_pool = true;
    ret->has_gpus = syn_json_i64(own, "gpus", 0) > 0;
    ret->predicts = !ret->has_gpus && !syn_str_eq(syn_json_str(spec, "prewarm", "auto"), "off");
    look_at_warmups(spec, &zones, now_ms, ret);
    rule.idle_ms = syn_json_i64(own, "idle_ms", 0);
    rule.concurrency = (uint32_t)syn_json_i64(own, "concurrency", 1);
    rule.instances_max = (uint32_t)syn_json_i64(own, "max_instances", 1);
    syn_prewarm_state_read(json_object_get(known, "state"), &state);
    rule.fire_ms =
        syn_function_fire(spec, &zones, SYN_MAX(now_ms - SYN_PREWARM_LATE_MS, state.last_ms));
    syn_prewarm_decide(&rule, &state, now_ms, &ret->plan);
    if (ret->predicts)
        ret->wake_at_ms = SYN_MIN(ret->wake_at_ms, ret->plan.wake_at_ms);
    ret->idle_ms = ret->predicts ? ret->plan.idle_ms : rule.idle_ms;
    ret->least = SYN_MAX(ret->predicts ? (int64_t)ret->plan.least : 0, ret->warm);
    return SYN_OK;
}

/* --- saying ----------------------------------------------------------------------------------- */

void
srv_prewarm_say(const struct srv_prewarm *prewarm, char out[SRV_PREWARM_SAY_MAX])
{
    char time[SYN_FORMAT_MAX];
    int used = prewarm->predicts
                   ? snprintf(out, SRV_PREWARM_SAY_MAX, "%s", prewarm->plan.why)
                   : snprintf(out, SRV_PREWARM_SAY_MAX, "keeps instances for %s: %s",
                              syn_format_duration(prewarm->idle_ms, time),
                              prewarm->has_gpus ? "none with GPUs is started before it is called"
                                                : "--prewarm is off");

    if (used <= 0 || used >= SRV_PREWARM_SAY_MAX)
        return;
    if (prewarm->predicts && prewarm->plan.least > 0)
        used += snprintf(out + used, SRV_PREWARM_SAY_MAX - (size_t)used,
                         "; %u ready ahead of calls now", prewarm->plan.least);
    if (prewarm->paid > 0 && used < SRV_PREWARM_SAY_MAX)
        (void)snprintf(out + used, SRV_PREWARM_SAY_MAX - (size_t)used,
                       "; %lld ready until %.19sZ (warm-up schedule)", (long long)prewarm->paid,
                       syn_format_time(prewarm->paid_until_ms / 1000 * 1000, time));
    else if (prewarm->paid_until_ms != INT64_MAX && used < SRV_PREWARM_SAY_MAX)
        (void)snprintf(out + used, SRV_PREWARM_SAY_MAX - (size_t)used, "; next warm-up at %.19sZ",
                       syn_format_time(prewarm->paid_until_ms / 1000 * 1000, time));
}

static int
set_time(json_t *doc, const char *key, int64_t at_ms, struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];

    return at_ms > 0 && at_ms != INT64_MAX
               ? syn_json_set_str(doc, key, syn_format_time(at_ms, text), err)
               : SYN_OK;
}

int
srv_prewarm_show(struct syn_server *server, json_t *function, struct syn_err *err)
{
    struct srv_prewarm prewarm;
    char text[SRV_PREWARM_SAY_MAX];
    SYN_JSON(doc);
    int rc = srv_prewarm_look(server, function, syn_wall_ms(server->world), &prewarm, err);

    if (rc < 0 || !prewarm.has_pool)
        return rc;
    srv_prewarm_say(&prewarm, text);
    rc = syn_json_pack(
        &doc, err, "{s:s, s:s, s:I, s:I, s:I, s:s}", "mode", prewarm.predicts ? "auto" : "off",
        "reason", prewarm.predicts ? syn_prewarm_reason_name(prewarm.plan.reason) : "off",
        "keep_ms", (json_int_t)prewarm.idle_ms, "instances", (json_int_t)prewarm.least, "paid",
        (json_int_t)prewarm.paid, "message", text);
    if (rc == SYN_OK && prewarm.predicts)
        rc = set_time(doc, "expects_at", prewarm.plan.expects_ms, err);
    if (rc == SYN_OK && prewarm.predicts)
        rc = set_time(doc, "ready_at", prewarm.plan.ready_ms, err);
    if (rc == SYN_OK)
        rc = set_time(doc, prewarm.paid > 0 ? "warm_until" : "warm_at", prewarm.paid_until_ms, err);
    return rc < 0 ? rc
                  : syn_json_set_take(syn_document_status(function), "prewarm", SYN_TAKE(doc), err);
}

/* --- planning --------------------------------------------------------------------------------- */

/* What the instances of one time cost: memory times time, and their GPUs. None is said where the
 * book has no price. */
static int
set_cost(struct syn_server *server, const json_t *spec, json_t *row, struct syn_err *err)
{
    const struct syn_price *price =
        syn_pricebook_find(server->prices, SYN_FUNCTION_ITEM_PROVISIONED);
    int64_t cards = 0, instances = syn_json_i64(row, "instances", 1);
    syn_u128 exact;

    if (price == NULL ||
        srv_call_cards_price(server, spec, syn_json_i64(row, "for_ms", 0), &cards, NULL) < 0)
        return SYN_OK;
    exact = (syn_u128)syn_json_i64(spec, "memory_bytes", 0) *
                (syn_u128)syn_json_i64(row, "for_ms", 0) * (syn_u128)instances *
                (syn_u128)price->price / (syn_u128)price->unit->per +
            (syn_u128)cards * (syn_u128)instances;
    return syn_document_set_amount(row, "cost", (int64_t)SYN_MIN(exact, (syn_u128)SYN_AMOUNT_MAX),
                                   err);
}

int
srv_prewarm_plan(struct syn_server *server, const json_t *spec, json_t *plan, struct syn_err *err)
{
    const struct syn_zone_source zones = srv_loads_zones(server->loads);
    json_t *list = syn_json_deep_copy(json_object_get(spec, "warmup")), *row;
    size_t i;
    int rc;

    if (list == NULL)
        return SYN_OK;
    rc = syn_json_set_take(plan, "warmups", list, err);
    json_array_foreach (list, i, row) {
        int64_t next_ms = syn_function_warmup_next(row, &zones, syn_wall_ms(server->world));

        if (rc == SYN_OK)
            rc = set_cost(server, spec, row, err);
        if (rc == SYN_OK)
            rc = set_time(row, "next_at", next_ms, err);
    }
    return rc;
}
