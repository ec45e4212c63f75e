/* spec.autoscale: its shape, its defaults (which are the rule's own), and reading it. */
#include "autoscale_priv.h"

#include <stdio.h>

#include <synor/base/exposition.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/workload/service_spec.h>

#include "checks_priv.h"

#define HOUR_MS    (INT64_C(3600) * 1000)
#define DAY_MS     (24 * HOUR_MS)
#define TARGET_MAX 32

/* clang-format off */
static const struct syn_field scrape_fields[] = {
    {.name = "port", .kind = SYN_FIELD_I64, .min = 0, .max = 65535, .fallback = "0",
     .help = "of each replica; 0: the service's"},
    {.name = "path", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_SERVICE_PATH_MAX, .fallback = "\"/metrics\"",
     .help = "what is asked for by HTTP, in Prometheus' text format"},
    {.name = "series", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = SYN_SERIES_TEXT_MAX - 1,
     .help = "NAME or NAME{LABEL=\"VALUE\",...}: the sum of those that match; a counter is its rate a second"},
};
static const struct syn_schema scrape_schema = SYN_SCHEMA("AutoscaleScrape", scrape_fields);

static const struct syn_field metric_fields[] = {
    {.name = "metric", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = SYN_AUTOSCALE_NAME_MAX + 16,
     .help = "cpu, memory, requests (a second), inflight, queue, or custom:NAME"},
    {.name = "target", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = TARGET_MAX,
     .help = "of one replica: \"70%\" of the CPU or memory it asked for, or a number such as \"50\""},
    {.name = "scrape", .kind = SYN_FIELD_OBJ, .sub = &scrape_schema,
     .help = "of custom:NAME: where each replica tells its part; without it somebody tells the whole"},
};
static const struct syn_schema metric_schema = SYN_SCHEMA("AutoscaleMetric", metric_fields);

static const struct syn_field window_fields[] = {
    {.name = "cron", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = SYN_CRON_TEXT_MAX - 1,
     .help = "when it begins: [second] minute hour day month weekday"},
    {.name = "zone", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_ZONE_NAME_MAX - 1, .fallback = "\"UTC\"",
     .help = "time zone of it, such as Europe/Berlin"},
    {.name = "for_ms", .kind = SYN_FIELD_MS, .required = true, .min = 1000, .max = 366 * DAY_MS,
     .help = "how long it holds each time"},
    {.name = "min", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX,
     .help = "fewest replicas while it holds; without it the service's"},
    {.name = "max", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX,
     .help = "most replicas while it holds; without it the service's, or min where that is more"},
};
static const struct syn_schema window_schema = SYN_SCHEMA("AutoscaleWindow", window_fields);

#define PACE(stabilise) \
    {.name = "stabilise_ms", .kind = SYN_FIELD_MS, .min = 0, .max = DAY_MS, .fallback = stabilise, \
     .help = "it changes only as far as was needed all this long"}, \
    {.name = "cool_ms", .kind = SYN_FIELD_MS, .min = 0, .max = DAY_MS, .fallback = "0", \
     .help = "not again so soon after any change"}, \
    {.name = "period_ms", .kind = SYN_FIELD_MS, .min = 0, .max = DAY_MS, .fallback = "15000", \
     .help = "in so long at most the larger of count and percent; 0: at once"}, \
    {.name = "count", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX, .fallback = "4", \
     .help = "replicas in one period"}, \
    {.name = "percent", .kind = SYN_FIELD_I64, .min = 0, .max = 10000, .fallback = "100", \
     .help = "of those that there were, in one period"}
static const struct syn_field up_fields[] = {PACE("0")};
static const struct syn_field down_fields[] = {PACE("300000")};
static const struct syn_schema up_schema = SYN_SCHEMA("AutoscaleUp", up_fields);
static const struct syn_schema down_schema = SYN_SCHEMA("AutoscaleDown", down_fields);

static const struct syn_field fields[] = {
    {.name = "min", .kind = SYN_FIELD_I64, .required = true, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX,
     .help = "fewest replicas; 0 needs a metric that tells demand"},
    {.name = "max", .kind = SYN_FIELD_I64, .required = true, .min = 1, .max = SYN_SERVICE_REPLICAS_MAX,
     .help = "most replicas"},
    {.name = "metrics", .kind = SYN_FIELD_LIST, .sub = &metric_schema, .min = 0, .max = SYN_AUTOSCALE_METRICS_MAX,
     .help = "what it goes by: the one that needs most wins; default cpu at 70%, or the schedule alone"},
    {.name = "schedule", .kind = SYN_FIELD_LIST, .sub = &window_schema, .min = 0, .max = SYN_AUTOSCALE_WINDOWS_MAX,
     .fallback = "[]", .help = "times with bounds of their own"},
    {.name = "tolerance_percent", .kind = SYN_FIELD_I64, .min = 0, .max = 99, .fallback = "10",
     .help = "so near the target nothing changes"},
    {.name = "every_ms", .kind = SYN_FIELD_MS, .min = 1000, .max = HOUR_MS, .fallback = "5000",
     .help = "between two looks"},
    {.name = "average_ms", .kind = SYN_FIELD_MS, .min = 0, .max = HOUR_MS, .fallback = "5000",
     .help = "over which samples are averaged"},
    {.name = "lead_ms", .kind = SYN_FIELD_MS, .min = 0, .max = HOUR_MS, .fallback = "20000",
     .help = "how far ahead a rise is followed: about as long as a replica takes to come"},
    {.name = "idle_ms", .kind = SYN_FIELD_MS, .min = 0, .max = 366 * DAY_MS, .fallback = "300000",
     .help = "with min 0: without demand for so long, none runs"},
    {.name = "up", .kind = SYN_FIELD_OBJ, .sub = &up_schema, .fallback = "{}", .help = "how fast it grows"},
    {.name = "down", .kind = SYN_FIELD_OBJ, .sub = &down_schema, .fallback = "{}", .help = "how fast it shrinks"},
};
/* clang-format on */

const struct syn_schema service_autoscale_schema = SYN_SCHEMA("Autoscale", fields);

/* ---- reading ---- */

static int
read_metric(const json_t *row, size_t i, struct syn_autoscale_metric *ret, struct syn_err *err)
{
    char text[SYN_AUTOSCALE_NAME_MAX + 16 + TARGET_MAX + 2];
    int rc;

    (void)snprintf(text, sizeof(text), "%s=%s", syn_json_str(row, "metric", ""),
                   syn_json_str(row, "target", ""));
    rc = syn_autoscale_parse_metric(text, ret, err);
    return rc < 0 ? syn_err_wrap(err, rc, "spec.autoscale.metrics[%zu]", i) : rc;
}

static int
check_scrape(const json_t *row, const struct syn_autoscale_metric *metric, size_t i,
             struct syn_err *err)
{
    const json_t *scrape = json_object_get(row, "scrape");
    struct syn_series series;
    int rc = syn_series_parse(syn_json_str(scrape, "series", ""), &series, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.autoscale.metrics[%zu].scrape.series", i);
    if (metric->kind != SYN_AUTOSCALE_CUSTOM)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.autoscale.metrics[%zu]: %s is not scraped; custom:NAME can be", i,
                        syn_autoscale_kind_name(metric->kind));
    if (!service_check_path_ok(syn_json_str(scrape, "path", "")))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.autoscale.metrics[%zu].scrape.path: expected /PATH without blanks",
                        i);
    return SYN_OK;
}

/* Who sleeps must be woken, and whom nobody asks tells nothing. */
static int
check_wakes(const struct service_autoscale *scale, struct syn_err *err)
{
    const struct syn_autoscale_rule *rule = &scale->rule;
    uint32_t lowest = rule->min;
    bool told = rule->metrics_count == 0;

    for (size_t i = 0; i < rule->windows_count; i++)
        lowest = SYN_MIN(lowest, scale->windows[i].min);
    for (size_t i = 0; i < rule->metrics_count; i++)
        told = told || (rule->metrics[i].kind != SYN_AUTOSCALE_CPU &&
                        rule->metrics[i].kind != SYN_AUTOSCALE_MEMORY && !scale->scraped[i]);
    if (lowest > 0 || told)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_INVALID,
                    "spec.autoscale: to go down to 0 it takes a metric that is told while none "
                    "runs (requests, inflight, queue, or a custom one that is not scraped)");
}

/* 1: its zone is not known here. */
static int
read_window(const json_t *row, const struct syn_zone_source *zones,
            const struct syn_autoscale_rule *rule, struct syn_autoscale_window *ret,
            struct syn_err *err)
{
    const char *zone = syn_json_str(row, "zone", "UTC");
    int64_t min = syn_json_i64(row, "min", rule->min);
    int rc = syn_cron_parse(syn_json_str(row, "cron", ""), &ret->from, err);

    if (rc < 0)
        return rc;
    if (!syn_zone_name_ok(zone))
        return SYN_FAIL(err, SYN_E_INVALID, "zone: \"%.60s\" is no name of a time zone", zone);
    ret->zone = zones ? zones->find(zones->self, zone) : syn_zone_utc();
    ret->for_ms = syn_json_i64(row, "for_ms", 0);
    ret->min = (uint32_t)min;
    ret->max = (uint32_t)syn_json_i64(row, "max", SYN_MAX(min, (int64_t)rule->max));
    return ret->zone ? SYN_OK : 1;
}

static struct syn_autoscale_pace
read_pace(const json_t *pace)
{
    return (struct syn_autoscale_pace){
        .stabilise_ms = syn_json_i64(pace, "stabilise_ms", 0),
        .cool_ms = syn_json_i64(pace, "cool_ms", 0),
        .period_ms = syn_json_i64(pace, "period_ms", 0),
        .count = (uint32_t)syn_json_i64(pace, "count", 0),
        .percent = (uint32_t)syn_json_i64(pace, "percent", 0),
    };
}

int
service_autoscale_read(const json_t *autoscale, const struct syn_zone_source *zones,
                       struct service_autoscale *ret, struct syn_err *err)
{
    struct syn_autoscale_rule *rule = &ret->rule;
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    *rule = (struct syn_autoscale_rule){
        .min = (uint32_t)syn_json_i64(autoscale, "min", 0),
        .max = (uint32_t)syn_json_i64(autoscale, "max", 0),
        .windows = ret->windows,
        .tolerance = syn_json_i64(autoscale, "tolerance_percent", 0) * 10,
        .every_ms = syn_json_i64(autoscale, "every_ms", 0),
        .average_ms = syn_json_i64(autoscale, "average_ms", 0),
        .lead_ms = syn_json_i64(autoscale, "lead_ms", 0),
        .idle_ms = syn_json_i64(autoscale, "idle_ms", 0),
        .up = read_pace(json_object_get(autoscale, "up")),
        .down = read_pace(json_object_get(autoscale, "down")),
    };
    json_array_foreach (json_object_get(autoscale, "metrics"), i, row) {
        ret->scraped[i] = json_object_get(row, "scrape") != NULL;
        rc = read_metric(row, i, &rule->metrics[rule->metrics_count++], err);
        if (rc == SYN_OK && ret->scraped[i])
            rc = check_scrape(row, &rule->metrics[i], i, err);
        if (rc < 0)
            return rc;
    }
    json_array_foreach (json_object_get(autoscale, "schedule"), i, row) {
        rc = read_window(row, zones, rule, &ret->windows[rule->windows_count], err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.autoscale.schedule[%zu]", i);
        rule->windows_count += rc == SYN_OK;
    }
    rc = syn_autoscale_rule_check(rule, "spec.autoscale", err);
    return rc < 0 ? rc : check_wakes(ret, err);
}

int
service_autoscale_scrape(const json_t *autoscale, json_t **ret, struct syn_err *err)
{
    const json_t *row;
    json_t *list = NULL;
    size_t i;
    SYN_JSON(wanted);
    int rc = syn_json_pack(&wanted, err, "{s:I, s:[]}", "every_ms",
                           (json_int_t)syn_json_i64(autoscale, "every_ms", 0), "metrics");

    if (rc == SYN_OK)
        list = json_object_get(wanted, "metrics");
    json_array_foreach (json_object_get(autoscale, "metrics"), i, row) {
        const json_t *scrape = json_object_get(row, "scrape");
        json_t *own = NULL;

        if (rc < 0 || !scrape)
            continue;
        rc = syn_json_pack(
            &own, err, "{s:s, s:I, s:s, s:s}", "metric", syn_json_str(row, "metric", ""), "port",
            (json_int_t)syn_json_i64(scrape, "port", 0), "path", syn_json_str(scrape, "path", ""),
            "series", syn_json_str(scrape, "series", ""));
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, own, err);
    }
    if (rc == SYN_OK)
        *ret = json_array_size(list) > 0 ? SYN_TAKE(wanted) : NULL;
    return rc;
}

uint32_t
service_autoscale_begin(const json_t *autoscale, uint32_t replicas)
{
    int64_t min = syn_json_i64(autoscale, "min", 0), max = syn_json_i64(autoscale, "max", 0);

    return autoscale ? (uint32_t)SYN_MAX(SYN_MIN((int64_t)replicas, max), min) : replicas;
}

int
syn_service_spec_zones(const json_t *spec, const struct syn_zone_source *zones, struct syn_err *err)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(json_object_get(spec, "autoscale"), "schedule"), i, row) {
        const char *zone = syn_json_str(row, "zone", "");

        if (!zones->find(zones->self, zone))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.autoscale.schedule[%zu].zone: this machine knows no time zone "
                            "\"%.60s\" (they are in the package tzdata)",
                            i, zone);
    }
    return SYN_OK;
}

/* ---- the step's part ---- */

static int64_t
share_of(int64_t used, int64_t asked)
{
    return (int64_t)((syn_i128)used * 1000 / SYN_MAX(asked, 1));
}

/* What the replica's node read of it lately. */
static int64_t
scraped_of(const struct syn_service_loads *loads, const struct service_scale_replica *replica,
           const struct syn_autoscale_metric *metric)
{
    char name[SYN_AUTOSCALE_KEY_MAX];

    return loads && loads->scraped
               ? loads->scraped(loads->self, replica->id, syn_autoscale_metric_key(metric, name))
               : SYN_AUTOSCALE_UNKNOWN;
}

static struct syn_autoscale_sample
see_replica(const struct service_scale_view *view, const struct service_autoscale *scale,
            const struct service_scale_replica *replica)
{
    const struct syn_autoscale_rule *rule = &scale->rule;
    const struct syn_service_loads *loads = view->view->loads;
    struct syn_autoscale_sample sample = {.ready = replica->ready};
    struct syn_service_load load = {0};
    bool known = loads && loads->of(loads->self, replica->id, &load);

    sample.at_ms = known ? load.at_ms : view->view->now_ms; /* what is scraped is of now */
    for (size_t i = 0; i < rule->metrics_count; i++) {
        sample.values[i] = SYN_AUTOSCALE_UNKNOWN;
        if (known && rule->metrics[i].kind == SYN_AUTOSCALE_CPU)
            sample.values[i] = share_of(load.cpu_millicores, view->amounts.cpu_millicores);
        else if (known && rule->metrics[i].kind == SYN_AUTOSCALE_MEMORY)
            sample.values[i] = share_of(load.memory_bytes, view->amounts.memory_bytes);
        else if (scale->scraped[i])
            sample.values[i] = scraped_of(loads, replica, &rule->metrics[i]);
    }
    return sample;
}

/* The number until now is kept for as long as it is brought about: `settled` is the last one that
 * was. */
static int
note(const struct syn_autoscale_rule *rule, const struct syn_autoscale_state *state,
     const struct syn_autoscale_decision *decision, json_t *status, struct syn_err *err)
{
    int64_t settled = syn_json_i64(json_object_get(status, "autoscale"), "settled", -1);
    json_t *memory = NULL, *doc = NULL;
    int rc = syn_autoscale_state_write(rule, state, &memory, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:I, s:I, s:I, s:I, s:s, s:s, s:o}", "replicas",
                           (json_int_t)decision->replicas, "settled", (json_int_t)settled, "min",
                           (json_int_t)decision->min, "max", (json_int_t)decision->max, "reason",
                           syn_autoscale_reason_name(decision->reason), "message", decision->why,
                           "memory", memory);
    return rc < 0 ? rc : syn_json_set_take(status, "autoscale", doc, err);
}

static void
look_ahead(const struct syn_service_ahead *ahead, struct syn_autoscale_rule *rule)
{
    rule->min = SYN_MIN(SYN_MAX(rule->min, ahead->least), rule->max);
    if (ahead->idle_ms > 0)
        rule->idle_ms = ahead->idle_ms;
}

int
service_autoscale_step(const struct service_scale_view *view, json_t *status,
                       struct syn_autoscale_decision *ret, struct syn_err *err)
{
    const struct syn_service_loads *loads = view->view->loads;
    SYN_SCOPED(syn_free_scope) struct syn_autoscale_sample *samples = NULL;
    struct service_autoscale scale = {0};
    struct syn_autoscale_state state;
    struct syn_autoscale_now now = {.now_ms = view->view->now_ms,
                                    .current = view->current,
                                    .count = view->count,
                                    .held = loads ? loads->held : 0};
    int rc = service_autoscale_read(view->autoscale, view->view->zones, &scale, err);

    if (rc < 0)
        return rc;
    if (view->view->ahead != NULL)
        look_ahead(view->view->ahead, &scale.rule);
    samples = syn_calloc(view->count + 1, sizeof(*samples));
    if (!samples)
        return SYN_FAIL(err, SYN_E_NOMEM, "scaling a service: out of memory");
    now.samples = samples;
    for (size_t i = 0; i < view->count; i++)
        samples[i] = see_replica(view, &scale, &view->replicas[i]);
    for (size_t i = 0; i < scale.rule.metrics_count; i++) {
        char name[SYN_AUTOSCALE_KEY_MAX];

        (void)syn_autoscale_metric_key(&scale.rule.metrics[i], name);
        now.totals[i] =
            loads && !scale.scraped[i] ? loads->total(loads->self, name) : SYN_AUTOSCALE_UNKNOWN;
    }
    syn_autoscale_state_read(&scale.rule, syn_json_at(status, "autoscale.memory"), &state);
    syn_autoscale_decide(&scale.rule, &now, &state, ret);
    return ret->reason == SYN_AUTOSCALE_WAITING ? SYN_OK
                                                : note(&scale.rule, &state, ret, status, err);
}
