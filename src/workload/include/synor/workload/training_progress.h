/* What a program tells about its progress: JSON lines in, one progress object and metric series
 * out. */
#ifndef SYNOR_WORKLOAD_TRAINING_PROGRESS_H
#define SYNOR_WORKLOAD_TRAINING_PROGRESS_H

#include <synor/base/json.h>

#define SYN_PROGRESS_LINE_MAX        4096
#define SYN_PROGRESS_METRICS_MAX     64 /* names kept, loss among them */
#define SYN_PROGRESS_METRIC_NAME_MAX 64
#define SYN_PROGRESS_POINTS_MAX      2000 /* of one metric; more are thinned out evenly */

struct syn_progress;

/** Owner: *ret is the caller's. Thread: one. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_progress_new(struct syn_progress **ret, struct syn_err *err);
struct syn_progress *syn_progress_free(struct syn_progress *progress);
void syn_progress_free_scope(struct syn_progress **slot);

/**
 * Take the next bytes of the file, which arrived at `at_ms`. They may end anywhere in a line.
 *
 * What is no progress (a line that is no JSON object, is too long, a field that is no number, a
 * metric too many) is counted and skipped. Returns 0; SYN_E_NOMEM, after which only free is
 * allowed.
 */
SYN_MUST int syn_progress_feed(struct syn_progress *progress, const char *data, size_t len,
                               int64_t at_ms, struct syn_err *err);

/** The newest state: {step, steps_total, epoch, epochs_total, loss, eta_ms, metrics{}}; what nobody
 *  told is null, step and epoch 0. Owner: *ret is the caller's. */
SYN_MUST int syn_progress_object(const struct syn_progress *progress, json_t **ret,
                                 struct syn_err *err);
/** {"items": [{"name", "points": [[step, value, at_ms], ...]}]} for the metric `name`, or all when
 * it is NULL. The last point is always the newest value. Owner: *ret is the caller's. */
SYN_MUST int syn_progress_series(const struct syn_progress *progress, const char *name,
                                 json_t **ret, struct syn_err *err);
/** Lines taken, and lines or fields skipped. */
uint64_t syn_progress_lines(const struct syn_progress *progress);
uint64_t syn_progress_skipped(const struct syn_progress *progress);

#endif
