/* A round asks each place (port and path) once, one after the other, and reads every series of that
 * place out of the one answer. A counter becomes its rate a second since the round before: the
 * first round of one, and the one after it began again, know no number, and no trouble either. */
#include "scrape_priv.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include <synor/base/exposition.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/autoscale.h>
#include <synor/workload/service_spec.h>

#include "probe_priv.h"

#define TIMEOUT_MS 5000
#define NUMBER_MAX ((double)SYN_AUTOSCALE_VALUE_MAX / 1000)

struct metric {
    char name[SYN_AUTOSCALE_KEY_MAX];
    uint16_t port;
    char path[SYN_SERVICE_PATH_MAX + 1];
    struct syn_series series;
    double last; /* of a counter */
    int64_t last_ms;
    bool has_last;
    bool asked; /* in this round */
};

struct agt_scrape {
    json_t *wanted;
    struct metric metrics[SYN_AUTOSCALE_METRICS_MAX];
    size_t count;
    int64_t every_ms, due_ms; /* of the next round */
    struct metric *asking;    /* NULL: between rounds */
    struct agt_probe probe;
    struct syn_buf answer;
    json_t *round; /* what this one has found; NULL: between rounds */
};

struct agt_scrape *
agt_scrape_free(struct agt_scrape *scrape)
{
    if (scrape == NULL)
        return NULL;
    agt_probe_end(&scrape->probe);
    syn_buf_fini(&scrape->answer);
    json_decref(scrape->round);
    json_decref(scrape->wanted);
    syn_free(scrape);
    return NULL;
}

static int
read_metric(const json_t *row, uint16_t port, struct metric *metric, struct syn_err *err)
{
    int64_t own = syn_json_i64(row, "port", 0);

    metric->port = own > 0 && own <= UINT16_MAX ? (uint16_t)own : port;
    if (!syn_str_copy(metric->name, sizeof(metric->name), syn_json_str(row, "metric", "")) ||
        !syn_str_copy(metric->path, sizeof(metric->path), syn_json_str(row, "path", "/metrics")))
        return SYN_FAIL(err, SYN_E_INVALID, "a metric's name or path is too long");
    return syn_series_parse(syn_json_str(row, "series", ""), &metric->series, err);
}

int
agt_scrape_want(struct agt_scrape **scrape, const json_t *wanted, uint16_t port,
                struct syn_err *err)
{
    const json_t *list = json_object_get(wanted, "metrics"), *row;
    struct agt_scrape *fresh;
    size_t i;
    int rc = SYN_OK;

    if (*scrape != NULL ? json_equal((*scrape)->wanted, wanted) : wanted == NULL)
        return SYN_OK;
    *scrape = agt_scrape_free(*scrape);
    if (wanted == NULL)
        return SYN_OK;
    if (json_array_size(list) > SYN_AUTOSCALE_METRICS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "more than %d metrics", SYN_AUTOSCALE_METRICS_MAX);
    fresh = syn_calloc(1, sizeof(*fresh));
    if (fresh == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read metrics");
    fresh->probe = (struct agt_probe)AGT_PROBE_INIT;
    fresh->wanted = syn_json_deep_copy(wanted); /* the document is shared with other threads */
    if (fresh->wanted == NULL) {
        (void)agt_scrape_free(fresh);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read metrics");
    }
    fresh->every_ms = SYN_MAX(syn_json_i64(wanted, "every_ms", 0), 1000);
    fresh->every_ms = SYN_MIN(fresh->every_ms, SYN_AUTOSCALE_FRESH_MS / 2);
    json_array_foreach (list, i, row)
        if (rc == SYN_OK)
            rc = read_metric(row, port, &fresh->metrics[fresh->count++], err);
    if (rc < 0) {
        (void)agt_scrape_free(fresh);
        return rc;
    }
    *scrape = fresh;
    return SYN_OK;
}

/* --- an answer -------------------------------------------------------------------------------- */

/* The value of a header's line in the answer's head, up to its line end; NULL: it has none. */
static const char *
header(const char *head, const char *end, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = strstr(head, "\r\n"); at != NULL && at < end; at = strstr(at + 2, "\r\n"))
        if (strncasecmp(at + 2, name, len) == 0)
            return at + 2 + len + strspn(at + 2 + len, " \t");
    return NULL;
}

/* The text behind the head; NULL: it is not whole, and `why` says so. */
static const char *
body_of(const struct syn_buf *answer, size_t *ret_len, const char **why)
{
    const char *end = strstr(answer->data, "\r\n\r\n");
    const char *length, *coding;
    unsigned long long said = 0;

    *why = "its answer has no end of the head";
    if (end == NULL)
        return NULL;
    length = header(answer->data, end, "content-length:");
    coding = header(answer->data, end, "transfer-encoding:");
    end += 4;
    *ret_len = answer->len - (size_t)(end - answer->data);
    *why = "it answers in chunks to a request of HTTP/1.0";
    if (coding != NULL && strncasecmp(coding, "chunked", 7) == 0)
        return NULL;
    for (; length != NULL && *length >= '0' && *length <= '9' && said <= AGT_PROBE_WHOLE_MAX;
         length++)
        said = said * 10 + (unsigned)(*length - '0');
    *why = "its answer broke off";
    return length != NULL && said > *ret_len ? NULL : end;
}

static int
note(struct agt_scrape *scrape, const struct metric *metric, double number, struct syn_err *err)
{
    return syn_json_set_take(json_object_get(scrape->round, "metrics"), metric->name,
                             json_real(fmin(fmax(number, 0), NUMBER_MAX)), err);
}

static int
note_trouble(struct agt_scrape *scrape, const struct metric *metric, const char *why,
             struct syn_err *err)
{
    char text[AGT_PROBE_MESSAGE_MAX + 64];

    (void)snprintf(text, sizeof(text), "port %u: %s", (unsigned)metric->port, why);
    return syn_json_set_str(json_object_get(scrape->round, "trouble"), metric->name, text, err);
}

/* What the text says of the metric; `why` tells of trouble: it is not read, and NULL. */
static int
read_answer(struct agt_scrape *scrape, struct metric *metric, const char *text, size_t len,
            int64_t now_ms, struct syn_err *err)
{
    struct syn_series_value value;
    struct syn_err broken = {0};
    double last = metric->last;
    int64_t passed_ms = now_ms - metric->last_ms;
    bool has_last = metric->has_last;

    if (syn_exposition_read(text, len, &metric->series, &value, &broken) < 0)
        return note_trouble(scrape, metric, broken.msg, err);
    if (value.samples == 0)
        return note_trouble(scrape, metric, "there is no such series", err);
    if (!value.counter)
        return note(scrape, metric, value.sum, err);
    metric->last = value.sum;
    metric->last_ms = now_ms;
    metric->has_last = true;
    if (!has_last || value.sum < last || passed_ms <= 0)
        return SYN_OK;
    return note(scrape, metric, (value.sum - last) * 1000 / (double)passed_ms, err);
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* The answer to `asking` has come, or will not: for all metrics of its place. */
static int
take(struct agt_scrape *scrape, bool good, int64_t now_ms, struct syn_err *err)
{
    const struct metric *asked = scrape->asking;
    const char *why = scrape->probe.message, *text = NULL;
    size_t len = 0;
    int rc = SYN_OK;

    if (good)
        text = body_of(&scrape->answer, &len, &why);
    for (size_t i = 0; i < scrape->count && rc == SYN_OK; i++) {
        struct metric *metric = &scrape->metrics[i];

        if (metric->port != asked->port || !syn_str_eq(metric->path, asked->path))
            continue;
        metric->asked = true;
        rc = text != NULL ? read_answer(scrape, metric, text, len, now_ms, err)
                          : note_trouble(scrape, metric, why, err);
    }
    return rc;
}

/* Ask for the next that was not asked for yet; NONE: the round is over. */
static enum agt_probe_state
ask_next(struct agt_scrape *scrape, const char *address, int64_t now_ms)
{
    struct agt_probe_target target = {.address = address,
                                      .headers = "Accept: text/plain;version=0.0.4\r\n",
                                      .whole = &scrape->answer};

    for (size_t i = 0; i < scrape->count; i++) {
        if (scrape->metrics[i].asked)
            continue;
        scrape->asking = &scrape->metrics[i];
        target.port = scrape->asking->port;
        target.path = scrape->asking->path;
        syn_buf_clear(&scrape->answer);
        return agt_probe_begin(&scrape->probe, &target, now_ms, TIMEOUT_MS);
    }
    return AGT_PROBE_NONE;
}

static void
end_round(struct agt_scrape *scrape, int64_t now_ms)
{
    agt_probe_end(&scrape->probe);
    json_decref(scrape->round);
    scrape->round = NULL;
    scrape->asking = NULL;
    scrape->due_ms = now_ms + scrape->every_ms;
    syn_buf_fini(&scrape->answer); /* there are many replicas, and one answer may be large */
    scrape->answer = (struct syn_buf)SYN_BUF_INIT;
    for (size_t i = 0; i < scrape->count; i++)
        scrape->metrics[i].asked = false;
}

static int
go_on(struct agt_scrape *scrape, const char *address, int64_t now_ms, struct syn_err *err)
{
    enum agt_probe_state state = agt_probe_turn(&scrape->probe, now_ms);

    if (scrape->asking == NULL)
        state = ask_next(scrape, address, now_ms);
    while (state == AGT_PROBE_PASSED || state == AGT_PROBE_FAILED) {
        int rc = take(scrape, state == AGT_PROBE_PASSED, now_ms, err);

        if (rc < 0)
            return rc;
        state = ask_next(scrape, address, now_ms);
    }
    if (state == AGT_PROBE_NONE)
        scrape->asking = NULL;
    return SYN_OK;
}

int
agt_scrape_turn(struct agt_scrape *scrape, const char *address, int64_t now_ms, json_t **ret_round,
                struct syn_err *err)
{
    int rc = SYN_OK;

    if (scrape->round == NULL) {
        if (now_ms < scrape->due_ms)
            return SYN_OK;
        rc = syn_json_pack(&scrape->round, err, "{s:{}, s:{}}", "metrics", "trouble");
    }
    if (rc == SYN_OK)
        rc = go_on(scrape, address, now_ms, err);
    if (rc == SYN_OK && scrape->asking != NULL)
        return SYN_OK;
    if (rc == SYN_OK)
        *ret_round = SYN_TAKE(scrape->round);
    end_round(scrape, now_ms);
    return rc;
}

struct pollfd
agt_scrape_fd(const struct agt_scrape *scrape)
{
    if (scrape == NULL)
        return (struct pollfd){.fd = -1};
    return (struct pollfd){.fd = scrape->probe.fd, .events = scrape->probe.events};
}

int64_t
agt_scrape_pause_ms(const struct agt_scrape *scrape, int64_t now_ms)
{
    if (scrape->round != NULL)
        return 100; /* its descriptor says when */
    return SYN_MAX(scrape->due_ms - now_ms, 0);
}
