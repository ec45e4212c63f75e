/* Two bounded memories stand behind this:
 *
 *   rates    The last RATES_MAX times per unit of progress (a step, or an epoch where there are no
 * steps). Their median is the speed: a checkpoint or a test between two lines does not move it.
 * Refused: mean and exponential mean, which such pauses pull by seconds. series   Each metric keeps
 * every `stride`-th value. When it is full, every other one is dropped and the stride doubles, so
 * the points are even over the whole run, and the same lines always leave the same points, however
 * the bytes were cut. The newest value stands beside and is always shown. */
#include <synor/workload/training_progress.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define RATES_MAX  33
#define KEPT_MAX   (SYN_PROGRESS_POINTS_MAX - 1) /* and the newest */
#define COUNT_MAX  (INT64_C(1) << 53)
#define ETA_MAX_MS (INT64_C(100) * 365 * 24 * 3600 * 1000)
#define UNKNOWN    INT64_C(-1)

struct point {
    int64_t step;
    int64_t at_ms;
    double value;
};

struct metric {
    char name[SYN_PROGRESS_METRIC_NAME_MAX + 1];
    struct point *points;
    size_t count;
    size_t cap;
    uint64_t seen; /* values so far */
    uint64_t stride;
    struct point newest;
};

struct syn_progress {
    char line[SYN_PROGRESS_LINE_MAX];
    size_t line_len;
    bool line_long; /* the rest of it is skipped */
    uint64_t lines;
    uint64_t skipped;
    int64_t step;
    int64_t steps_total;
    int64_t epoch;
    int64_t epochs_total;
    struct metric metrics[SYN_PROGRESS_METRICS_MAX];
    size_t metrics_count;
    bool by_steps;     /* what the rates are of */
    int64_t last_done; /* where the last rate was taken, or UNKNOWN */
    int64_t last_ms;
    double rates[RATES_MAX]; /* ms per unit */
    size_t rates_count;      /* ever taken; the ring holds the last ones */
};

int
syn_progress_new(struct syn_progress **ret, struct syn_err *err)
{
    struct syn_progress *progress = syn_calloc(1, sizeof(*progress));

    if (!progress)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a progress reader: out of memory");
    progress->steps_total = progress->epochs_total = UNKNOWN;
    progress->last_done = UNKNOWN;
    *ret = progress;
    return SYN_OK;
}

struct syn_progress *
syn_progress_free(struct syn_progress *progress)
{
    if (!progress)
        return NULL;
    for (size_t i = 0; i < progress->metrics_count; i++)
        syn_free(progress->metrics[i].points);
    syn_free(progress);
    return NULL;
}

void
syn_progress_free_scope(struct syn_progress **slot)
{
    *slot = syn_progress_free(*slot);
}

/* ---- series ---- */

static bool
metric_name_ok(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > SYN_PROGRESS_METRIC_NAME_MAX)
        return false;
    for (; *name; name++)
        if (!((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
              (*name >= '0' && *name <= '9') || strchr("_./-", *name)))
            return false;
    return true;
}

static struct metric *
metric_find(struct syn_progress *progress, const char *name)
{
    for (size_t i = 0; i < progress->metrics_count; i++)
        if (syn_str_eq(progress->metrics[i].name, name))
            return &progress->metrics[i];
    return NULL;
}

/* The metric of that name, made when it is new and allowed; NULL otherwise. */
static struct metric *
metric_get(struct syn_progress *progress, const char *name)
{
    struct metric *metric = metric_find(progress, name);

    if (metric)
        return metric;
    if (progress->metrics_count == SYN_PROGRESS_METRICS_MAX || !metric_name_ok(name))
        return NULL;
    metric = &progress->metrics[progress->metrics_count++];
    (void)syn_str_copy(metric->name, sizeof(metric->name), name);
    metric->stride = 1;
    return metric;
}

static void
metric_thin(struct metric *metric)
{
    for (size_t i = 0; 2 * i < metric->count; i++)
        metric->points[i] = metric->points[2 * i];
    metric->count = (metric->count + 1) / 2;
    metric->stride *= 2;
}

static int
metric_add(struct metric *metric, struct point point, struct syn_err *err)
{
    bool keep = metric->seen++ % metric->stride == 0;

    metric->newest = point;
    if (!keep)
        return SYN_OK;
    if (metric->count == KEPT_MAX) {
        metric_thin(metric);
        if ((metric->seen - 1) % metric->stride != 0)
            return SYN_OK;
    }
    if (!syn_grow(&metric->points, &metric->cap, metric->count + 1, sizeof(*metric->points)))
        return SYN_FAIL(err, SYN_E_NOMEM, "keeping metric %s: out of memory", metric->name);
    metric->points[metric->count++] = point;
    return SYN_OK;
}

/* ---- rates ---- */

static void
rate_add(struct syn_progress *progress, int64_t at_ms)
{
    bool by_steps = progress->steps_total > 0;
    int64_t done = by_steps ? progress->step : progress->epoch;

    if (by_steps != progress->by_steps || done < progress->last_done) {
        progress->rates_count = 0;
        progress->last_done = UNKNOWN;
        progress->by_steps = by_steps;
    }
    if (done == progress->last_done)
        return;
    if (progress->last_done != UNKNOWN) {
        /* Lines that were read together tell nothing about time. */
        if (at_ms <= progress->last_ms) {
            progress->last_done = done;
            return;
        }
        progress->rates[progress->rates_count++ % RATES_MAX] =
            (double)(at_ms - progress->last_ms) / (double)(done - progress->last_done);
    }
    progress->last_done = done;
    progress->last_ms = at_ms;
}

static int
compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int64_t
eta_ms(const struct syn_progress *progress)
{
    int64_t total = progress->by_steps ? progress->steps_total : progress->epochs_total;
    int64_t done = progress->by_steps ? progress->step : progress->epoch;
    size_t count = SYN_MIN(progress->rates_count, RATES_MAX);
    double sorted[RATES_MAX], eta;

    if (total < 0)
        return UNKNOWN;
    if (done >= total)
        return 0;
    if (count == 0)
        return UNKNOWN;
    memcpy(sorted, progress->rates, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare_rates);
    eta = sorted[count / 2] * (double)(total - done);
    return eta < (double)ETA_MAX_MS ? (int64_t)eta : ETA_MAX_MS;
}

/* ---- lines ---- */

/* A whole number from 0 on, also when it was written as 200.0; UNKNOWN for anything else. */
static int64_t
whole(const json_t *value)
{
    double number = json_number_value(value);

    if (!json_is_number(value) || !(number >= 0 && number <= (double)COUNT_MAX) ||
        number != (double)(int64_t)number)
        return UNKNOWN;
    return (int64_t)number;
}

static int64_t *
counter_of(struct syn_progress *progress, const char *name)
{
    if (syn_str_eq(name, "step"))
        return &progress->step;
    if (syn_str_eq(name, "steps_total"))
        return &progress->steps_total;
    if (syn_str_eq(name, "epoch"))
        return &progress->epoch;
    return syn_str_eq(name, "epochs_total") ? &progress->epochs_total : NULL;
}

/* Counters first: a metric belongs to its own line's step, wherever in the line that stands. */
static void
take_counters(struct syn_progress *progress, const json_t *object)
{
    static const char *const names[] = {"step", "steps_total", "epoch", "epochs_total"};

    for (size_t i = 0; i < SYN_LEN(names); i++) {
        const json_t *value = json_object_get(object, names[i]);
        int64_t number = whole(value);

        if (number != UNKNOWN)
            *counter_of(progress, names[i]) = number;
        else if (value)
            progress->skipped++;
    }
}

static int
take_metrics(struct syn_progress *progress, json_t *object, int64_t at_ms, struct syn_err *err)
{
    int rc = SYN_OK;

    for (void *at = json_object_iter(object); at && rc == SYN_OK;
         at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        struct metric *metric;

        if (counter_of(progress, name))
            continue;
        metric = json_is_number(value) ? metric_get(progress, name) : NULL;
        if (!metric) {
            progress->skipped++;
            continue;
        }
        rc = metric_add(metric,
                        (struct point){.step = progress->step,
                                       .at_ms = at_ms,
                                       .value = json_number_value(value)},
                        err);
    }
    return rc;
}

/* Python writes NaN and Infinity, which JSON does not have. Put null there, so that the rest of the
 * line counts. `out` holds the result; it grows by at most a third of the line. */
static size_t
without_nan(const char *line, size_t len, char *out)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool text = false;
    size_t used = 0;

    for (size_t i = 0; i < len;) {
        size_t word = 0;

        if (text && line[i] == '\\' && i + 1 < len)
            out[used++] = line[i++];
        else if (line[i] == '"')
            text = !text;
        for (size_t w = 0; w < SYN_LEN(words) && !text && word == 0; w++)
            if (strlen(words[w]) <= len - i && memcmp(line + i, words[w], strlen(words[w])) == 0)
                word = strlen(words[w]);
        if (word > 0) {
            for (const char *null = "null"; *null; null++)
                out[used++] = *null;
            i += word;
        } else {
            out[used++] = line[i++];
        }
    }
    return used;
}

static int
take_line(struct syn_progress *progress, const char *line, size_t len, int64_t at_ms,
          struct syn_err *err)
{
    char clean[SYN_PROGRESS_LINE_MAX * 4 / 3 + 8];
    SYN_JSON(object);
    int rc;

    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (len == 0)
        return SYN_OK;
    progress->lines++;
    rc = syn_json_parse(clean, without_nan(line, len, clean), &object, err);
    if (rc == SYN_E_NOMEM)
        return rc;
    if (rc < 0 || !json_is_object(object)) {
        progress->skipped++;
        return SYN_OK;
    }
    take_counters(progress, object);
    rate_add(progress, at_ms);
    return take_metrics(progress, object, at_ms, err);
}

/* Append to the line that is not whole yet. */
static void
line_add(struct syn_progress *progress, const char *data, size_t len)
{
    if (progress->line_long || len > sizeof(progress->line) - progress->line_len) {
        progress->line_long = true;
        return;
    }
    memcpy(progress->line + progress->line_len, data, len);
    progress->line_len += len;
}

int
syn_progress_feed(struct syn_progress *progress, const char *data, size_t len, int64_t at_ms,
                  struct syn_err *err)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t part = end ? (size_t)(end - data) : len;
        int rc = SYN_OK;

        line_add(progress, data, part);
        if (!end)
            return SYN_OK;
        if (progress->line_long) {
            progress->lines++;
            progress->skipped++;
        } else {
            rc = take_line(progress, progress->line, progress->line_len, at_ms, err);
        }
        progress->line_len = 0;
        progress->line_long = false;
        if (rc < 0)
            return rc;
        data += part + 1;
        len -= part + 1;
    }
    return SYN_OK;
}

/* ---- answers ---- */

static int
set_known(json_t *obj, const char *key, int64_t value, struct syn_err *err)
{
    if (value == UNKNOWN)
        return syn_json_set_str(obj, key, NULL, err);
    return syn_json_set_i64(obj, key, value, err);
}

static int
set_newest(const struct syn_progress *progress, json_t *object, struct syn_err *err)
{
    json_t *metrics = json_object();
    int rc = syn_json_set_take(object, "metrics", metrics, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(object, "loss", NULL, err);
    for (size_t i = 0; i < progress->metrics_count && rc == SYN_OK; i++) {
        const struct metric *metric = &progress->metrics[i];
        bool loss = syn_str_eq(metric->name, "loss");

        rc = syn_json_set_take(loss ? object : metrics, metric->name,
                               json_real(metric->newest.value), err);
    }
    return rc;
}

int
syn_progress_object(const struct syn_progress *progress, json_t **ret, struct syn_err *err)
{
    SYN_JSON(object);
    int rc;

    object = json_object();
    if (!object)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a progress object: out of memory");
    rc = set_known(object, "step", progress->step, err);
    if (rc == SYN_OK)
        rc = set_known(object, "steps_total", progress->steps_total, err);
    if (rc == SYN_OK)
        rc = set_known(object, "epoch", progress->epoch, err);
    if (rc == SYN_OK)
        rc = set_known(object, "epochs_total", progress->epochs_total, err);
    if (rc == SYN_OK)
        rc = set_known(object, "eta_ms", eta_ms(progress), err);
    if (rc == SYN_OK)
        rc = set_newest(progress, object, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(object);
    return SYN_OK;
}

static int
append_point(json_t *points, const struct point *point, struct syn_err *err)
{
    SYN_JSON(tuple);
    int rc = syn_json_pack(&tuple, err, "[I, f, I]", (json_int_t)point->step, point->value,
                           (json_int_t)point->at_ms);

    return rc < 0 ? rc : syn_json_append_take(points, SYN_TAKE(tuple), err);
}

static int
append_series(json_t *items, const struct metric *metric, struct syn_err *err)
{
    bool newest_kept = (metric->seen - 1) % metric->stride == 0;
    SYN_JSON(item);
    json_t *points;
    int rc = syn_json_pack(&item, err, "{s:s, s:[]}", "name", metric->name, "points");

    if (rc < 0)
        return rc;
    points = json_object_get(item, "points");
    for (size_t i = 0; i < metric->count && rc == SYN_OK; i++)
        rc = append_point(points, &metric->points[i], err);
    if (rc == SYN_OK && !newest_kept)
        rc = append_point(points, &metric->newest, err);
    return rc < 0 ? rc : syn_json_append_take(items, SYN_TAKE(item), err);
}

int
syn_progress_series(const struct syn_progress *progress, const char *name, json_t **ret,
                    struct syn_err *err)
{
    SYN_JSON(answer);
    json_t *items;
    int rc = syn_json_pack(&answer, err, "{s:[], s:n}", "items", "next");

    if (rc < 0)
        return rc;
    items = json_object_get(answer, "items");
    for (size_t i = 0; i < progress->metrics_count && rc == SYN_OK; i++)
        if (!name || syn_str_eq(progress->metrics[i].name, name))
            rc = append_series(items, &progress->metrics[i], err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(answer);
    return SYN_OK;
}

uint64_t
syn_progress_lines(const struct syn_progress *progress)
{
    return progress->lines;
}

uint64_t
syn_progress_skipped(const struct syn_progress *progress)
{
    return progress->skipped;
}
