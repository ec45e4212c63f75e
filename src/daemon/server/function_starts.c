/* How instances of functions came: sums of ways and stages that the gateway tells, kept with what
 * was called in a minute, by version:
 *
 *     "starts": {"cold": {"count", "waited", "stages": {"create": {"count", "us"}, ...}}, ...}
 *
 * and told as means. `count` is of instances that served a call; `waited` of those that a call had
 * to wait for. */
#include <synor/base/log.h>
#include <synor/base/str.h>

#include "function_starts_priv.h"

#define COUNT_MAX INT64_C(1000000000000)
#define US_MAX    (INT64_MAX / 4)

static const char *const ways[] = {"cold", "pool", "zygote", "snapshot"};
static const char *const stages[] = {"wait",    "schedule",   "fetch",     "create",
                                     "restore", "initialise", "first_byte"};

static bool
is_one_of(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (syn_str_eq(word, words[i]))
            return true;
    return false;
}

int
srv_starts_check(const json_t *row, struct syn_err *err)
{
    const char *stage;
    json_t *sum;
    int64_t number;
    int rc = syn_json_get_i64(row, "starts[]", "count", 0, COUNT_MAX, &number, err);

    if (rc == SYN_OK)
        rc = syn_json_get_i64(row, "starts[]", "waited", 0, COUNT_MAX, &number, err);
    if (rc == SYN_OK)
        rc = syn_json_get_i64(row, "starts[]", "version", 1, INT64_MAX, &number, err);
    if (rc == SYN_OK && !is_one_of(syn_json_str(row, "way", ""), ways, SYN_LEN(ways)))
        rc = SYN_FAIL(err, SYN_E_INVALID, "starts[].way: \"%.20s\"", syn_json_str(row, "way", ""));
    json_object_foreach (json_object_get(row, "stages"), stage, sum) {
        if (rc == SYN_OK && !is_one_of(stage, stages, SYN_LEN(stages)))
            rc = SYN_FAIL(err, SYN_E_INVALID, "starts[].stages: \"%.20s\"", stage);
        if (rc == SYN_OK)
            rc = syn_json_get_i64(sum, "starts[].stages", "count", 0, COUNT_MAX, &number, err);
        if (rc == SYN_OK)
            rc = syn_json_get_i64(sum, "starts[].stages", "us", 0, US_MAX, &number, err);
    }
    return rc;
}

/* The object under the key, which is made where there is none. */
static int
object_at(json_t *doc, const char *key, json_t **ret, struct syn_err *err)
{
    *ret = json_object_get(doc, key);
    if (*ret != NULL)
        return SYN_OK;
    *ret = json_object();
    return syn_json_set_take(doc, key, *ret, err);
}

static int
add_number(json_t *doc, const char *key, const json_t *from, struct syn_err *err)
{
    return syn_json_set_i64(
        doc, key, SYN_MIN(syn_json_i64(doc, key, 0) + syn_json_i64(from, key, 0), US_MAX), err);
}

/* Add a row {count, waited, stages} to the sums of its way. */
static int
add_way(json_t *starts, const char *way, const json_t *row, struct syn_err *err)
{
    json_t *sums = NULL, *by_stage = NULL, *sum, *more;
    const char *stage;
    int rc = object_at(starts, way, &sums, err);

    if (rc == SYN_OK)
        rc = add_number(sums, "count", row, err);
    if (rc == SYN_OK)
        rc = add_number(sums, "waited", row, err);
    if (rc == SYN_OK)
        rc = object_at(sums, "stages", &by_stage, err);
    json_object_foreach (json_object_get(row, "stages"), stage, more) {
        if (rc == SYN_OK)
            rc = object_at(by_stage, stage, &sum, err);
        if (rc == SYN_OK)
            rc = add_number(sum, "count", more, err);
        if (rc == SYN_OK)
            rc = add_number(sum, "us", more, err);
    }
    return rc;
}

int
srv_starts_add(json_t *minute, const json_t *row, struct syn_err *err)
{
    json_t *versions = NULL, *of = NULL, *starts = NULL;
    char version[24];
    int rc = object_at(minute, "versions", &versions, err);

    (void)snprintf(version, sizeof(version), "%lld", (long long)syn_json_i64(row, "version", 0));
    if (rc == SYN_OK)
        rc = object_at(versions, version, &of, err);
    if (rc == SYN_OK)
        rc = object_at(of, "starts", &starts, err);
    return rc < 0 ? rc : add_way(starts, syn_json_str(row, "way", ""), row, err);
}

int
srv_starts_sum(json_t *sums, const json_t *starts, struct syn_err *err)
{
    json_t *into = NULL, *row;
    const char *way;
    int rc = SYN_OK;

    if (starts == NULL)
        return SYN_OK;
    rc = object_at(sums, "starts", &into, err);
    json_object_foreach ((json_t *)(uintptr_t)starts, way, row)
        if (rc == SYN_OK)
            rc = add_way(into, way, row, err);
    return rc;
}

int
srv_starts_means(json_t *sums, struct syn_err *err)
{
    json_t *row, *sum;
    const char *way, *stage;
    int rc = SYN_OK;

    json_object_foreach (json_object_get(sums, "starts"), way, row) {
        json_object_foreach (json_object_get(row, "stages"), stage, sum) {
            int64_t count = syn_json_i64(sum, "count", 0);

            if (rc == SYN_OK)
                rc = syn_json_set_i64(sum, "mean_us",
                                      count > 0 ? syn_json_i64(sum, "us", 0) / count : 0, err);
            (void)json_object_del(sum, "us");
        }
    }
    return rc;
}

/* --- /metrics --------------------------------------------------------------------------------- */

enum { STARTS, WAITED, STAGES };

static const struct syn_metric counters[] = {
    [STARTS] = {.name = "synor_function_starts_total",
                .help = "Instances of functions that served their first call",
                .type = SYN_METRIC_COUNTER,
                .labels = {"account", "function", "way"}},
    [WAITED] = {.name = "synor_function_starts_waited_total",
                .help = "Of them, those that a call had to wait for",
                .type = SYN_METRIC_COUNTER,
                .labels = {"account", "function", "way"}},
    [STAGES] = {.name = "synor_function_start_seconds_total",
                .help = "Time that their starts took, by stage",
                .type = SYN_METRIC_COUNTER,
                .labels = {"account", "function", "way", "stage"},
                .scale = 1e-6},
};

int
srv_starts_metrics_open(struct syn_server *server, struct syn_err *err)
{
    return syn_metrics_add(server->metrics, counters, SYN_LEN(counters), err);
}

static void
count(struct syn_server *server, unsigned which, const char *const *labels, int64_t more)
{
    struct syn_series *series;
    struct syn_err err = {0};

    if (more == 0)
        return;
    if (syn_metrics_series(server->metrics, &counters[which], labels, &series, &err) == SYN_OK)
        syn_series_add(series, more);
    else
        syn_log_err(SYN_LOG_DEBUG, "functions.metric", &err);
}

void
srv_starts_metrics_add(struct syn_server *server, const json_t *function, const json_t *row)
{
    const char *labels[SYN_METRICS_LABELS_MAX] = {syn_json_str(function, "account", ""),
                                                  syn_json_str(function, "name", ""),
                                                  syn_json_str(row, "way", ""), NULL};

    count(server, STARTS, labels, syn_json_i64(row, "count", 0));
    count(server, WAITED, labels, syn_json_i64(row, "waited", 0));
    for (size_t i = 0; i < SYN_LEN(stages); i++) {
        labels[3] = stages[i];
        count(server, STAGES, labels,
              syn_json_i64(json_object_get(json_object_get(row, "stages"), stages[i]), "us", 0));
    }
}
