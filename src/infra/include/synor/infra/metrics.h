/* Counters, gauges and histograms, declared in tables and written in Prometheus' text format 0.0.4.
 *
 * Values are 64-bit integers in a base unit (nanoseconds, bytes, base units of money) and become
 * seconds or the like by `scale` only when they are written: updates are one relaxed atomic
 * addition from any thread, exact for ever. */
#ifndef SYNOR_INFRA_METRICS_H
#define SYNOR_INFRA_METRICS_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define SYN_METRICS_MAX          512   /* rows over all tables */
#define SYN_METRICS_SERIES_MAX   10000 /* a row; bounds what label values can cost */
#define SYN_METRICS_LABELS_MAX   4
#define SYN_METRICS_BUCKETS_MAX  32
#define SYN_METRICS_VALUE_MAX    128 /* bytes of a label value; longer ones are INVALID */

enum syn_metric_type { SYN_METRIC_COUNTER, SYN_METRIC_GAUGE, SYN_METRIC_HISTOGRAM };

/** One row: a family of series. Static data; its address is its identity. */
struct syn_metric {
    const char *name; /* synor_http_requests_total: unit last, counters end in _total */
    const char *help;
    enum syn_metric_type type;
    const char *labels[SYN_METRICS_LABELS_MAX];
    double scale;           /* written value = integer * scale; 0 means 1 */
    const int64_t *buckets; /* upper bounds in the integer's unit, ascending; histograms only */
    size_t bucket_count;
};

struct syn_metrics; /* the registry; every function of it may be called from any thread */
struct syn_series;  /* one combination of label values, borrowed from the registry for its life */

SYN_MUST int syn_metrics_new(struct syn_metrics **ret_metrics, struct syn_err *err);
struct syn_metrics *syn_metrics_free(struct syn_metrics *metrics);
/** Add the rows of `table`, which must outlive the registry. INVALID for a malformed or repeated
 * name. */
SYN_MUST int syn_metrics_add(struct syn_metrics *metrics, const struct syn_metric *table,
                             size_t count, struct syn_err *err);
/** The series of `metric` (a row that was added) with these label values, as many as it has labels;
 *  made at the first call. Keep the pointer: this takes a lock, updates do not.
 *  Returns 0; LIMIT at SYN_METRICS_SERIES_MAX; INVALID; NOMEM. */
SYN_MUST int syn_metrics_series(struct syn_metrics *metrics, const struct syn_metric *metric,
                                const char *const *values, struct syn_series **ret_series,
                                struct syn_err *err);
/** Call fn(arg) before each writing, so that it sets gauges that are read, not counted. */
SYN_MUST int syn_metrics_collect(struct syn_metrics *metrics, void (*fn)(void *arg), void *arg,
                                 struct syn_err *err);
/** Append the exposition. Rows without series are left out. */
SYN_MUST int syn_metrics_write(struct syn_metrics *metrics, struct syn_buf *out,
                               struct syn_err *err);

/** Counter: n >= 0. Gauge: any n. */
void syn_series_add(struct syn_series *series, int64_t n);
/** Gauge; or a counter that somebody else counts, as it stands there. */
void syn_series_set(struct syn_series *series, int64_t value);
/** Histogram only. */
void syn_series_observe(struct syn_series *series, int64_t value);
int64_t syn_series_value(const struct syn_series *series);

#endif
