#include <synor/infra/metrics.h>

#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define COLLECTORS_MAX 64

struct syn_series {
    const struct syn_metric *metric;
    struct syn_series *next;
    char *values[SYN_METRICS_LABELS_MAX];
    _Atomic int64_t value;   /* counter, gauge; sum of a histogram */
    _Atomic uint64_t *cells; /* bucket_count + 1, not cumulative; the last is +Inf */
};

struct family {
    const struct syn_metric *metric;
    struct syn_series *first, *last; /* in the order made */
    size_t count;
};

struct collector {
    void (*fn)(void *);
    void *arg;
};

struct syn_metrics {
    pthread_mutex_t lock; /* families, series lists, collectors; never the values */
    struct family *families;
    size_t count, cap;
    struct collector collectors[COLLECTORS_MAX];
    size_t collector_count;
};

static struct syn_series *
series_free(struct syn_series *series)
{
    if (series == NULL)
        return NULL;
    for (size_t i = 0; i < SYN_METRICS_LABELS_MAX; i++)
        syn_free(series->values[i]);
    syn_free(series->cells);
    syn_free(series);
    return NULL;
}

int
syn_metrics_new(struct syn_metrics **ret_metrics, struct syn_err *err)
{
    struct syn_metrics *metrics = syn_calloc(1, sizeof(*metrics));

    if (metrics == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for metrics");
    (void)pthread_mutex_init(&metrics->lock, NULL);
    *ret_metrics = metrics;
    return SYN_OK;
}

struct syn_metrics *
syn_metrics_free(struct syn_metrics *metrics)
{
    if (metrics == NULL)
        return NULL;
    for (size_t i = 0; i < metrics->count; i++) {
        struct syn_series *series = metrics->families[i].first;

        while (series != NULL) {
            struct syn_series *next = series->next;

            (void)series_free(series);
            series = next;
        }
    }
    (void)pthread_mutex_destroy(&metrics->lock);
    syn_free(metrics->families);
    syn_free(metrics);
    return NULL;
}

static bool
metric_name_ok(const char *name)
{
    if (name == NULL || *name < 'a' || *name > 'z')
        return false;
    for (; *name != '\0'; name++) {
        if (!((*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') || *name == '_'))
            return false;
    }
    return true;
}

static int
metric_check(const struct syn_metric *metric, struct syn_err *err)
{
    bool histogram = metric->type == SYN_METRIC_HISTOGRAM;
    bool counter = metric->type == SYN_METRIC_COUNTER;

    if (!metric_name_ok(metric->name) || metric->help == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "metric without a proper name or help");
    if (counter != syn_str_ends(metric->name, "_total"))
        return SYN_FAIL(err, SYN_E_INVALID, "metric %s: counters, and only they, end in _total",
                        metric->name);
    if (histogram != (metric->bucket_count > 0) || metric->bucket_count > SYN_METRICS_BUCKETS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "metric %s: %zu buckets", metric->name,
                        metric->bucket_count);
    for (size_t i = 1; i < metric->bucket_count; i++) {
        if (metric->buckets[i] <= metric->buckets[i - 1])
            return SYN_FAIL(err, SYN_E_INVALID, "metric %s: buckets must ascend", metric->name);
    }
    for (size_t i = 0; i < SYN_METRICS_LABELS_MAX && metric->labels[i] != NULL; i++) {
        if (!metric_name_ok(metric->labels[i]) || syn_str_eq(metric->labels[i], "le"))
            return SYN_FAIL(err, SYN_E_INVALID, "metric %s: bad label %s", metric->name,
                            metric->labels[i]);
    }
    return SYN_OK;
}

static int
add_locked(struct syn_metrics *metrics, const struct syn_metric *table, size_t count,
           struct syn_err *err)
{
    if (metrics->count + count > SYN_METRICS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d metrics", SYN_METRICS_MAX);
    if (!syn_grow(&metrics->families, &metrics->cap, metrics->count + count, sizeof(struct family)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu metrics", count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < metrics->count + i; k++) {
            const char *taken = k < metrics->count ? metrics->families[k].metric->name
                                                   : table[k - metrics->count].name;

            if (syn_str_eq(taken, table[i].name))
                return SYN_FAIL(err, SYN_E_INVALID, "metric %s is there already", table[i].name);
        }
    }
    for (size_t i = 0; i < count; i++)
        metrics->families[metrics->count++] = (struct family){&table[i], NULL, NULL, 0};
    return SYN_OK;
}

int
syn_metrics_add(struct syn_metrics *metrics, const struct syn_metric *table, size_t count,
                struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        rc = metric_check(&table[i], err);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&metrics->lock);
    rc = add_locked(metrics, table, count, err);
    (void)pthread_mutex_unlock(&metrics->lock);
    return rc;
}

static int
series_new(const struct syn_metric *metric, const char *const *values,
           struct syn_series **ret_series, struct syn_err *err)
{
    struct syn_series *series = syn_calloc(1, sizeof(*series));

    if (series == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a series of %s", metric->name);
    series->metric = metric;
    for (size_t i = 0; i < SYN_METRICS_LABELS_MAX && metric->labels[i] != NULL; i++) {
        series->values[i] = syn_strdup(values[i]);
        if (series->values[i] == NULL)
            goto fail;
    }
    if (metric->type == SYN_METRIC_HISTOGRAM) {
        series->cells = syn_calloc(metric->bucket_count + 1, sizeof(series->cells[0]));
        if (series->cells == NULL)
            goto fail;
    }
    *ret_series = series;
    return SYN_OK;
fail:
    (void)series_free(series);
    return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a series of %s", metric->name);
}

static struct family *
family_find(struct syn_metrics *metrics, const struct syn_metric *metric)
{
    for (size_t i = 0; i < metrics->count; i++) {
        if (metrics->families[i].metric == metric)
            return &metrics->families[i];
    }
    return NULL;
}

static struct syn_series *
series_find(const struct family *family, const char *const *values)
{
    for (struct syn_series *series = family->first; series != NULL; series = series->next) {
        bool same = true;

        for (size_t i = 0; i < SYN_METRICS_LABELS_MAX && family->metric->labels[i] != NULL; i++)
            same = same && syn_str_eq(series->values[i], values[i]);
        if (same)
            return series;
    }
    return NULL;
}

static int
series_get_locked(struct syn_metrics *metrics, const struct syn_metric *metric,
                  const char *const *values, struct syn_series **ret_series, struct syn_err *err)
{
    struct family *family = family_find(metrics, metric);
    struct syn_series *series;
    int rc;

    if (family == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "metric %s was not added", metric->name);
    series = series_find(family, values);
    if (series == NULL) {
        if (family->count >= SYN_METRICS_SERIES_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "metric %s has %d series", metric->name,
                            SYN_METRICS_SERIES_MAX);
        rc = series_new(metric, values, &series, err);
        if (rc < 0)
            return rc;
        if (family->last != NULL)
            family->last->next = series;
        else
            family->first = series;
        family->last = series;
        family->count++;
    }
    *ret_series = series;
    return SYN_OK;
}

int
syn_metrics_series(struct syn_metrics *metrics, const struct syn_metric *metric,
                   const char *const *values, struct syn_series **ret_series, struct syn_err *err)
{
    int rc;

    for (size_t i = 0; i < SYN_METRICS_LABELS_MAX && metric->labels[i] != NULL; i++) {
        size_t len = strlen(values[i]);

        if (len > SYN_METRICS_VALUE_MAX || !syn_utf8_ok(values[i], len))
            return SYN_FAIL(err, SYN_E_INVALID, "metric %s: bad value of label %s", metric->name,
                            metric->labels[i]);
    }
    (void)pthread_mutex_lock(&metrics->lock);
    rc = series_get_locked(metrics, metric, values, ret_series, err);
    (void)pthread_mutex_unlock(&metrics->lock);
    return rc;
}

int
syn_metrics_collect(struct syn_metrics *metrics, void (*fn)(void *arg), void *arg,
                    struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&metrics->lock);
    if (metrics->collector_count < COLLECTORS_MAX)
        metrics->collectors[metrics->collector_count++] = (struct collector){fn, arg};
    else
        rc = SYN_FAIL(err, SYN_E_LIMIT, "more than %d collectors", COLLECTORS_MAX);
    (void)pthread_mutex_unlock(&metrics->lock);
    return rc;
}

void
syn_series_add(struct syn_series *series, int64_t n)
{
    assert(series->metric->type != SYN_METRIC_HISTOGRAM);
    assert(n >= 0 || series->metric->type == SYN_METRIC_GAUGE);
    (void)atomic_fetch_add_explicit(&series->value, n, memory_order_relaxed);
}

void
syn_series_set(struct syn_series *series, int64_t value)
{
    assert(series->metric->type != SYN_METRIC_HISTOGRAM);
    atomic_store_explicit(&series->value, value, memory_order_relaxed);
}

void
syn_series_observe(struct syn_series *series, int64_t value)
{
    const struct syn_metric *metric = series->metric;
    size_t at = 0;

    assert(metric->type == SYN_METRIC_HISTOGRAM);
    while (at < metric->bucket_count && value > metric->buckets[at])
        at++;
    (void)atomic_fetch_add_explicit(&series->cells[at], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&series->value, value, memory_order_relaxed);
}

int64_t
syn_series_value(const struct syn_series *series)
{
    return atomic_load_explicit(&series->value, memory_order_relaxed);
}

/* --- the text format ----------------------------------------------------------------------------
 */

static void
write_escaped(struct syn_buf *out, const char *text, bool quote)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            syn_buf_adds(out, "\\\\");
        else if (*text == '\n')
            syn_buf_adds(out, "\\n");
        else if (*text == '"' && quote)
            syn_buf_adds(out, "\\\"");
        else
            syn_buf_addc(out, *text);
    }
}

/* `le` is the bucket's bound as text, or NULL. */
static void
write_labels(struct syn_buf *out, const struct syn_series *series, const char *le)
{
    const char *lead = "{";

    for (size_t i = 0; i < SYN_METRICS_LABELS_MAX && series->values[i] != NULL; i++) {
        syn_buf_addf(out, "%s%s=\"", lead, series->metric->labels[i]);
        write_escaped(out, series->values[i], true);
        syn_buf_addc(out, '"');
        lead = ",";
    }
    if (le != NULL) {
        syn_buf_addf(out, "%sle=\"%s\"", lead, le);
        lead = ",";
    }
    if (*lead == ',')
        syn_buf_addc(out, '}');
}

static const char *
format_scaled(const struct syn_metric *metric, int64_t value, char out[32])
{
    if (metric->scale == 0)
        (void)snprintf(out, 32, "%lld", (long long)value);
    else
        (void)snprintf(out, 32, "%.15g", (double)value * metric->scale);
    return out;
}

static void
write_histogram(struct syn_buf *out, const struct syn_series *series)
{
    const struct syn_metric *metric = series->metric;
    uint64_t sum = 0;
    char number[32];

    for (size_t i = 0; i <= metric->bucket_count; i++) {
        const char *le =
            i < metric->bucket_count ? format_scaled(metric, metric->buckets[i], number) : "+Inf";

        sum += atomic_load_explicit(&series->cells[i], memory_order_relaxed);
        syn_buf_addf(out, "%s_bucket", metric->name);
        write_labels(out, series, le);
        syn_buf_addf(out, " %llu\n", (unsigned long long)sum);
    }
    syn_buf_addf(out, "%s_sum", metric->name);
    write_labels(out, series, NULL);
    syn_buf_addf(out, " %s\n", format_scaled(metric, syn_series_value(series), number));
    syn_buf_addf(out, "%s_count", metric->name);
    write_labels(out, series, NULL);
    syn_buf_addf(out, " %llu\n", (unsigned long long)sum);
}

static void
write_family(struct syn_buf *out, const struct family *family)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    char number[32];

    syn_buf_addf(out, "# HELP %s ", family->metric->name);
    write_escaped(out, family->metric->help, false);
    syn_buf_addf(out, "\n# TYPE %s %s\n", family->metric->name, types[family->metric->type]);
    for (const struct syn_series *series = family->first; series != NULL; series = series->next) {
        if (family->metric->type == SYN_METRIC_HISTOGRAM) {
            write_histogram(out, series);
            continue;
        }
        syn_buf_adds(out, family->metric->name);
        write_labels(out, series, NULL);
        syn_buf_addf(out, " %s\n", format_scaled(family->metric, syn_series_value(series), number));
    }
}

int
syn_metrics_write(struct syn_metrics *metrics, struct syn_buf *out, struct syn_err *err)
{
    struct collector collectors[COLLECTORS_MAX];
    size_t count;

    /* Collectors update series, and may make some: they run without the lock. */
    (void)pthread_mutex_lock(&metrics->lock);
    count = metrics->collector_count;
    memcpy(collectors, metrics->collectors, sizeof(collectors));
    (void)pthread_mutex_unlock(&metrics->lock);
    for (size_t i = 0; i < count; i++)
        collectors[i].fn(collectors[i].arg);

    (void)pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->count; i++) {
        if (metrics->families[i].first != NULL)
            write_family(out, &metrics->families[i]);
    }
    (void)pthread_mutex_unlock(&metrics->lock);
    return syn_buf_ok(out, err);
}
