/* What the server is told: sums that money rests on, a sample of calls for people, logs, loads.
 *
 * One report is under way at a time; it is sent again, as it is, until the server has answered, and
 * what happens meanwhile is the next one's. So the server can count each once, by its number. */
#include "function_priv.h"

#include <inttypes.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#define RETRY_MS      250
#define LAST_LIMIT_MS 2000
#define HIST_FIRST_US 100

static const char *const status_names[] = {
    [FGW_OK] = "ok",
    [FGW_ERROR] = "error",
    [FGW_TIMEOUT] = "timeout",
    [FGW_MEMORY] = "memory",
    [FGW_REJECTED] = "rejected",
    [FGW_UNAVAILABLE] = "unavailable",
    [FGW_DISCONNECTED] = "disconnected",
};

struct fgw_reports {
    struct fgw *gateway;
    char boot[33];
    int64_t seq;
    struct syn_watch *timer;
    int64_t sent_ms;           /* when the last was begun */
    int64_t loads_ms;          /* when all loads were told */
    struct fgw_version *dirty; /* with references */
    json_t *calls, *logs;      /* arrays */
    json_t *left;              /* array: instances that nothing is passed to any more */
    size_t log_bytes;
    int64_t calls_lost, logs_lost;
    bool under_way;
    bool idle;   /* `timer` is that of the longest silence */
    bool urgent; /* what is to be told does not wait for its turn */
    struct syn_watch *last_timer;
    void (*last_done)(void *arg);
    void *last_arg;
    bool last_made;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    json_t *doc;               /* under `lock`: to be sent */
    struct syn_client *client; /* under `lock`: while it is in use */
    bool stop;                 /* under `lock` */
};

/* --- what has happened ------------------------------------------------------------------------ */

static void look(void *arg);

/* So that it is told soon, but not more often than it may be, unless it is urgent. */
static void
want(struct fgw_reports *reports)
{
    int64_t now_ms = syn_loop_now_ms(reports->gateway->loop);
    int64_t delay = reports->urgent ? 0 : reports->sent_ms + FGW_REPORT_MS - now_ms;

    if (reports->idle || reports->urgent)
        reports->timer = syn_watch_drop(reports->timer);
    reports->idle = false;
    if (reports->timer != NULL || reports->under_way)
        return;
    if (syn_loop_timer(reports->gateway->loop, SYN_MAX(delay, 0), 0, look, reports, &reports->timer,
                       NULL) < 0)
        reports->timer = NULL; /* the next event tries again */
}

/* Once. */
static void
add_dirty(struct fgw_reports *reports, struct fgw_version *version)
{
    if (version->dirty)
        return;
    version->dirty = true;
    version->dirty_next = reports->dirty;
    reports->dirty = fgw_version_ref(version);
}

/* What the server was told of a load it forgets after a while: that of a pool which has instances
 * is told again and again, or it would not know that nobody needs them; and a server that has
 * started anew knows of none. */
static void
remind_of_loads(struct fgw_reports *reports)
{
    int64_t now_ms = syn_loop_now_ms(reports->gateway->loop);
    size_t cursor = 0;
    void *value;

    if (now_ms - reports->loads_ms < FGW_REPORT_IDLE_MS - FGW_REPORT_MS)
        return;
    reports->loads_ms = now_ms;
    while (syn_map_next(reports->gateway->functions, &cursor, NULL, &value)) {
        const struct fgw_function *function = value;

        for (size_t i = 0; i < function->version_count; i++) {
            struct fgw_version *version = function->versions[i];

            if (version->instances == NULL && !version->is_active)
                continue;
            version->load_due = true;
            add_dirty(reports, version);
        }
    }
}

void
fgw_report_dirty(struct fgw_version *version)
{
    struct fgw_reports *reports = version->gateway->reports;

    if (version->dirty || reports == NULL)
        return;
    add_dirty(reports, version);
    want(reports);
}

void
fgw_report_lack(struct fgw_version *version)
{
    struct fgw_reports *reports = version->gateway->reports;

    if (reports == NULL)
        return;
    add_dirty(reports, version);
    reports->urgent = true;
    want(reports);
}

static struct fgw_usage *
usage_of(struct fgw_version *version, enum fgw_trigger trigger, const char *node)
{
    struct fgw_usage *usage;

    for (usage = version->usage; usage != NULL; usage = usage->next) {
        if (usage->trigger == trigger && strcmp(usage->node, node) == 0)
            return usage;
    }
    usage = syn_calloc(1, sizeof(*usage));
    if (usage == NULL) {
        syn_log_kv(SYN_LOG_ERROR, "gateway.usage-lost", "function", version->function, NULL);
        return NULL;
    }
    usage->trigger = trigger;
    (void)syn_str_copy(usage->node, sizeof(usage->node), node);
    usage->next = version->usage;
    version->usage = usage;
    return usage;
}

static void
count_call(struct fgw_call *call, enum fgw_status status, int64_t ran_ns)
{
    const char *node = call->instance != NULL ? call->instance->node : "";
    struct fgw_usage *usage = usage_of(call->version, call->trigger, node);
    int64_t us = ran_ns / 1000;
    int64_t bound = HIST_FIRST_US;
    unsigned slot = 0;

    if (usage == NULL)
        return;
    if (status == FGW_REJECTED) {
        usage->throttled++;
        return;
    }
    if (status != FGW_OK && status != FGW_DISCONNECTED)
        usage->errors++;
    if (call->place != FGW_GUEST && call->place != FGW_PASSED)
        return; /* it did not run */
    usage->count++;
    usage->byte_ms +=
        (uint64_t)call->version->memory_bytes * (uint64_t)syn_function_billed_ms(ran_ns);
    usage->duration_us += us;
    while (slot + 1 < FGW_HISTOGRAM && us > bound) {
        bound *= 2;
        slot++;
    }
    usage->histogram[slot]++;
    usage->cold += call->cold ? 1 : 0;
    fgw_start_count(call);
}

/* Is it one of those that are told? */
static bool
is_sampled(struct fgw_call *call, enum fgw_status status)
{
    struct fgw_version *version = call->version;
    int64_t second = call->ended_ns / 1000000000;

    bool odd = (status != FGW_OK && status != FGW_REJECTED) || call->first;

    if (call->internal)
        return true;
    if (version->sample_second != second) {
        version->sample_second = second;
        version->samples = version->odd_samples = 0;
    }
    return odd ? version->odd_samples++ < FGW_ODD_A_SECOND
               : version->samples++ < FGW_SAMPLES_A_SECOND;
}

/* At most so much of it, whole characters. */
static void
cut_text(char *out, size_t cap, const char *text)
{
    size_t len = strlen(text);
    size_t at = 0;

    while (at < len) {
        size_t size = syn_utf8_len(text + at, len - at);

        if (size == 0 || at + size >= cap)
            break;
        at += size;
    }
    memcpy(out, text, at);
    out[at] = '\0';
}

static int
record(struct fgw_call *call, enum fgw_status status, int http_status, const char *message,
       struct syn_err *err)
{
    struct fgw_reports *reports = call->gateway->reports;
    const struct fgw_version *version = call->version;
    const int64_t placed_ns = call->placed_ns != 0 ? call->placed_ns : call->ended_ns;
    const int64_t ran_ns = call->placed_ns != 0 ? call->ended_ns - placed_ns : 0;
    const int64_t now_ms = syn_wall_ms(syn_world_system());
    bool ran = call->place == FGW_GUEST || call->place == FGW_PASSED;
    char text[FGW_MESSAGE_BYTES];
    size_t body = 0;
    json_t *doc = NULL, *stages = NULL;
    int rc = fgw_start_stages(call, &stages, err);

    if (rc < 0)
        return rc;
    (void)syn_http_req_body(call->req, &body);
    cut_text(text, sizeof(text), message);
    rc = syn_json_pack(
        &doc, err,
        "{s:s, s:s, s:I, s:s, s:I, s:s, s:i, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:s}",
        "id", fgw_call_id(call), "function", version->function, "version",
        (json_int_t)version->number, "trigger", fgw_trigger_name(call->trigger), "started_at",
        (json_int_t)(now_ms - (call->ended_ns - call->arrived_ns) / 1000000), "status",
        status_names[status], "http_status", http_status, "way", fgw_call_way(call), "instance",
        call->instance != NULL ? call->instance->id : "", "node",
        call->instance != NULL ? call->instance->node : "", "stages_us", stages, "duration_us",
        (json_int_t)(ran_ns / 1000), "billed_ms",
        (json_int_t)(ran ? syn_function_billed_ms(ran_ns) : 0), "memory_bytes",
        (json_int_t)(call->memory_bytes != 0 ? call->memory_bytes : version->memory_bytes),
        "request_bytes", (json_int_t)body, "response_bytes", (json_int_t)call->response_bytes,
        "fuel", (json_int_t)call->fuel, "message", text);
    return rc < 0 ? rc : syn_json_append_take(reports->calls, doc, err);
}

void
fgw_report_call(struct fgw_call *call, enum fgw_status status, int http_status, const char *message)
{
    struct fgw_reports *reports = call->gateway->reports;
    struct syn_err err;

    count_call(call, status, call->placed_ns != 0 ? call->ended_ns - call->placed_ns : 0);
    fgw_report_dirty(call->version);
    if (!is_sampled(call, status))
        return;
    if (json_array_size(reports->calls) >= FGW_RECORDS_MAX ||
        record(call, status, http_status, message, &err) < 0)
        reports->calls_lost++;
    want(reports);
}

void
fgw_report_log(struct fgw_call *call, enum syn_wasm_level level, const char *line, size_t size)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    struct fgw_reports *reports = call->gateway->reports;
    struct syn_err err;
    SYN_BUF(text);
    json_t *doc = NULL;
    int rc;

    for (size_t i = 0; i < size;) { /* what is no text is shown as such */
        size_t len = syn_utf8_len(line + i, size - i);

        if (len > 1 || (len == 1 && (unsigned char)line[i] >= 0x20) || line[i] == '\t')
            syn_buf_add(&text, line + i, len);
        else
            syn_buf_adds(&text, "\xef\xbf\xbd");
        i += SYN_MAX(len, 1);
    }
    rc = reports->log_bytes + text.len <= FGW_LOG_BYTES_MAX ? syn_buf_ok(&text, &err) : SYN_E_LIMIT;
    reports->log_bytes += rc == SYN_OK ? text.len + 200 : 0; /* with what is beside it */
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, &err, "{s:s, s:I, s:s, s:I, s:s, s:s}", "function",
                           call->version->function, "version", (json_int_t)call->version->number,
                           "invocation", fgw_call_id(call), "at",
                           (json_int_t)syn_wall_ms(syn_world_system()), "level", levels[level],
                           "line", syn_buf_text(&text));
    if (rc == SYN_OK)
        rc = syn_json_append_take(reports->logs, doc, &err);
    reports->logs_lost += rc < 0 ? 1 : 0;
    want(reports);
}

/* One that is not told is ended later. */
void
fgw_report_left(const struct fgw_instance *instance)
{
    struct fgw_reports *reports = instance->version->gateway->reports;

    if (reports == NULL || json_array_append_new(reports->left, json_string(instance->id)) != 0)
        return;
    want(reports);
}

/* --- a report --------------------------------------------------------------------------------- */

static int
add_usage(json_t *list, const struct fgw_version *version, const struct fgw_usage *usage,
          struct syn_err *err)
{
    json_t *histogram = json_array();
    json_t *doc = NULL;
    char bytes[24];
    int rc = SYN_OK;

    for (unsigned i = 0; rc == SYN_OK && i < FGW_HISTOGRAM; i++)
        rc = syn_json_append_take(histogram, json_integer(usage->histogram[i]), err);
    (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, usage->byte_ms);
    if (rc < 0) {
        json_decref(histogram);
        return rc;
    }
    rc = syn_json_pack(&doc, err, "{s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:o, s:I}",
                       "function", version->function, "version", (json_int_t)version->number,
                       "node", usage->node, "trigger", fgw_trigger_name(usage->trigger), "count",
                       (json_int_t)usage->count, "errors", (json_int_t)usage->errors, "throttled",
                       (json_int_t)usage->throttled, "byte_ms", bytes, "duration_us_sum",
                       (json_int_t)usage->duration_us, "duration_histogram", histogram, "cold",
                       (json_int_t)usage->cold);
    return rc < 0 ? rc : syn_json_append_take(list, doc, err);
}

/* *count grows by its rows of usage. */
static int
add_version(json_t *doc, struct fgw_version *version, size_t *count, struct syn_err *err)
{
    json_t *row = NULL;
    int rc = SYN_OK;

    for (const struct fgw_usage *usage = version->usage; rc == SYN_OK && usage != NULL;
         usage = usage->next) {
        rc = add_usage(json_object_get(doc, "usage"), version, usage, err);
        (*count)++;
    }
    if (rc == SYN_OK)
        rc = fgw_starts_tell(version, json_object_get(doc, "starts"), err);
    if (rc == SYN_OK && version->news) {
        rc = syn_json_pack(&row, err, "{s:s, s:I, s:s, s:s}", "function", version->function,
                           "version", (json_int_t)version->number, "state",
                           version->outcome == FGW_READY ? "ready" : "failed", "message",
                           version->message);
        if (rc == SYN_OK)
            rc = syn_json_append_take(json_object_get(doc, "versions"), row, err);
    }
    if (rc == SYN_OK && (version->load_due || version->running != version->told_running ||
                         version->waiting_count != version->told_waiting)) {
        rc = syn_json_pack(&row, err, "{s:s, s:I, s:i, s:i}", "function", version->function,
                           "version", (json_int_t)version->number, "running", (int)version->running,
                           "waiting", (int)version->waiting_count);
        if (rc == SYN_OK)
            rc = syn_json_append_take(json_object_get(doc, "loads"), row, err);
    }
    return rc;
}

/* What was told is not told again. */
static void
clear_version(struct fgw_version *version)
{
    version->told_running = version->running;
    version->told_waiting = version->waiting_count;
    version->load_due = false;
    version->news = false;
    memset(version->starts, 0, sizeof(version->starts));
    while (version->usage != NULL) {
        struct fgw_usage *usage = version->usage;

        version->usage = usage->next;
        syn_free(usage);
    }
}

/* *ret_rest are the versions that did not find room: the next report has them. */
static int
make(struct fgw_reports *reports, json_t **ret, struct fgw_version **ret_rest, struct syn_err *err)
{
    struct fgw_version *at = reports->dirty;
    size_t count = 0;
    SYN_JSON(doc);
    const json_int_t seq = reports->seq + 1;
    int rc =
        syn_json_pack(&doc, err, "{s:s, s:I, s:s, s:s, s:[], s:[], s:[], s:[]}", "boot",
                      reports->boot, "seq", seq, "listen", reports->gateway->listen, "tls_listen",
                      reports->gateway->tls_listen, "versions", "loads", "usage", "starts");

    for (; rc == SYN_OK && at != NULL && count < FGW_USAGE_ROWS; at = at->dirty_next) {
        rc = add_version(doc, at, &count, err);
        count++;
    }
    *ret_rest = at;
    if (rc == SYN_OK && json_object_set(doc, "invocations", reports->calls) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a report");
    if (rc == SYN_OK && json_object_set(doc, "logs", reports->logs) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a report");
    if (rc == SYN_OK && json_object_set(doc, "left", reports->left) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a report");
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* The lists of the next report; false: no memory, those of this one stay. */
static bool
renew_lists(struct fgw_reports *reports)
{
    json_t *calls = json_array();
    json_t *logs = json_array();
    json_t *left = json_array();

    if (calls == NULL || logs == NULL || left == NULL) {
        json_decref(calls);
        json_decref(logs);
        json_decref(left);
        return false;
    }
    json_decref(reports->calls);
    json_decref(reports->logs);
    json_decref(reports->left);
    reports->calls = calls;
    reports->logs = logs;
    reports->left = left;
    reports->log_bytes = 0;
    return true;
}

static void
send_take(struct fgw_reports *reports, json_t *doc)
{
    (void)pthread_mutex_lock(&reports->lock);
    assert(reports->doc == NULL);
    reports->doc = doc;
    (void)pthread_cond_signal(&reports->wake);
    (void)pthread_mutex_unlock(&reports->lock);
}

static void
tell(struct fgw_reports *reports)
{
    struct fgw_version *rest = NULL;
    json_t *doc = NULL;
    struct syn_err err;

    reports->sent_ms = syn_loop_now_ms(reports->gateway->loop);
    remind_of_loads(reports);
    reports->under_way = true;
    reports->urgent = false;
    if (make(reports, &doc, &rest, &err) < 0 || !renew_lists(reports)) {
        json_decref(doc);
        syn_log_kv(SYN_LOG_ERROR, "gateway.report", "error", "out of memory", NULL);
        reports->under_way = false;
        want(reports);
        return;
    }
    while (reports->dirty != rest) {
        struct fgw_version *version = reports->dirty;

        reports->dirty = version->dirty_next;
        version->dirty = false;
        clear_version(version);
        fgw_version_unref(version);
    }
    if (reports->calls_lost + reports->logs_lost > 0)
        syn_log(SYN_LOG_WARN, "gateway.report-cut", "invocations=%lld logs=%lld",
                (long long)reports->calls_lost, (long long)reports->logs_lost);
    reports->calls_lost = reports->logs_lost = 0;
    reports->seq++;
    send_take(reports, doc);
}

static void
look(void *arg)
{
    struct fgw_reports *reports = arg;

    reports->timer = NULL;
    reports->idle = false;
    if (!reports->under_way)
        tell(reports);
}

static void
last_over(void *arg)
{
    struct fgw_reports *reports = arg;
    void (*done)(void *) = SYN_TAKE(reports->last_done);

    reports->last_timer = syn_watch_drop(reports->last_timer);
    if (done != NULL)
        done(reports->last_arg);
}

/* Something is to be told now, or after the longest silence. */
static void
answered(void *arg)
{
    struct fgw_reports *reports = arg;
    bool more = reports->dirty != NULL || json_array_size(reports->calls) > 0 ||
                json_array_size(reports->logs) > 0 || json_array_size(reports->left) > 0;

    reports->under_way = false;
    if (reports->last_done != NULL && (more || !reports->last_made)) {
        reports->last_made = true;
        tell(reports);
        return;
    }
    if (reports->last_done != NULL) {
        last_over(reports);
        return;
    }
    if (more)
        want(reports);
    else if (reports->timer == NULL)
        reports->idle = syn_loop_timer(reports->gateway->loop, FGW_REPORT_IDLE_MS, 0, look, reports,
                                       &reports->timer, NULL) == SYN_OK;
}

void
fgw_reports_last(struct fgw_reports *reports, void (*done)(void *arg), void *arg)
{
    reports->last_done = done;
    reports->last_arg = arg;
    reports->timer = syn_watch_drop(reports->timer);
    if (syn_loop_timer(reports->gateway->loop, LAST_LIMIT_MS, 0, last_over, reports,
                       &reports->last_timer, NULL) < 0)
        reports->last_timer = NULL;
    if (!reports->under_way) {
        reports->last_made = true;
        tell(reports);
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Will the server take it at another time? */
static bool
try_again(int rc)
{
    return rc != SYN_E_INVALID && rc != SYN_E_NOTFOUND && rc != SYN_E_TOOBIG &&
           rc != SYN_E_METHOD && rc != SYN_E_FORBIDDEN && rc != SYN_E_UNAUTHENTICATED;
}

static bool
hold(struct fgw_reports *reports, int64_t ms)
{
    const struct timespec until = syn_clock_in_ms(ms);
    bool go_on;

    (void)pthread_mutex_lock(&reports->lock);
    while (!reports->stop && pthread_cond_timedwait(&reports->wake, &reports->lock, &until) == 0)
        continue;
    go_on = !reports->stop;
    (void)pthread_mutex_unlock(&reports->lock);
    return go_on;
}

static bool
use_client(struct fgw_reports *reports, struct syn_client *client)
{
    bool go_on;

    (void)pthread_mutex_lock(&reports->lock);
    reports->client = client;
    go_on = !reports->stop;
    (void)pthread_mutex_unlock(&reports->lock);
    return go_on;
}

/* Until the server has it. */
static void
deliver(struct fgw_reports *reports, struct syn_client **client, const json_t *doc)
{
    const struct syn_call call = {
        .method = "POST", .path = "/v1/function-gateway/report", .body = doc};
    bool told = false;
    bool go_on = true;

    while (go_on) {
        struct syn_err err = {0};
        int rc = *client == NULL ? fgw_client(reports->gateway, 0, client, &err) : SYN_OK;

        go_on = rc < 0 || use_client(reports, *client);
        if (rc == SYN_OK && go_on)
            rc = syn_client_call(*client, &call, NULL, &err);
        (void)use_client(reports, NULL);
        if (rc == SYN_OK)
            return;
        if (!try_again(rc)) {
            syn_log_err(SYN_LOG_ERROR, "gateway.report-refused", &err);
            return;
        }
        if (!told && rc != SYN_E_CANCELED)
            syn_log_err(SYN_LOG_WARN, "gateway.report-waits", &err);
        told = true;
        go_on = go_on && hold(reports, RETRY_MS);
    }
}

static void *
reports_main(void *arg)
{
    struct fgw_reports *reports = arg;
    struct syn_client *client = NULL;
    struct syn_err err;

    for (;;) {
        SYN_JSON(doc);
        bool stop;

        (void)pthread_mutex_lock(&reports->lock);
        while (reports->doc == NULL && !reports->stop)
            (void)pthread_cond_wait(&reports->wake, &reports->lock);
        doc = SYN_TAKE(reports->doc);
        stop = reports->stop;
        (void)pthread_mutex_unlock(&reports->lock);
        if (stop)
            break;
        deliver(reports, &client, doc);
        if (syn_loop_post(reports->gateway->loop, answered, reports, NULL, &err) < 0)
            syn_log_err(SYN_LOG_ERROR, "gateway.report", &err);
    }
    (void)syn_client_free(client);
    return NULL;
}

int
fgw_reports_new(struct fgw *gateway, struct fgw_reports **ret, struct syn_err *err)
{
    struct fgw_reports *reports = syn_calloc(1, sizeof(*reports));
    pthread_condattr_t attr;
    uint8_t random[16];

    if (reports == NULL || !renew_lists(reports)) {
        syn_free(reports);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for reports");
    }
    reports->gateway = gateway;
    reports->sent_ms = -FGW_REPORT_MS;
    syn_secret_random(random, sizeof(random));
    syn_hex_encode(random, sizeof(random), reports->boot);
    (void)pthread_mutex_init(&reports->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&reports->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&reports->thread, NULL, reports_main, reports) != 0) {
        json_decref(reports->calls);
        json_decref(reports->logs);
        json_decref(reports->left);
        syn_free(reports);
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for reports");
    }
    *ret = reports;
    want(reports); /* the first tells that we are there */
    return SYN_OK;
}

struct fgw_reports *
fgw_reports_free(struct fgw_reports *reports)
{
    if (reports == NULL)
        return NULL;
    (void)pthread_mutex_lock(&reports->lock);
    reports->stop = true;
    if (reports->client != NULL)
        syn_client_cancel(reports->client);
    (void)pthread_cond_signal(&reports->wake);
    (void)pthread_mutex_unlock(&reports->lock);
    (void)pthread_join(reports->thread, NULL);
    reports->timer = syn_watch_drop(reports->timer);
    reports->last_timer = syn_watch_drop(reports->last_timer);
    reports->gateway->reports = NULL;
    while (reports->dirty != NULL) {
        struct fgw_version *version = reports->dirty;

        reports->dirty = version->dirty_next;
        version->dirty = false;
        fgw_version_unref(version);
    }
    json_decref(reports->calls);
    json_decref(reports->logs);
    json_decref(reports->left);
    json_decref(reports->doc);
    (void)pthread_cond_destroy(&reports->wake);
    (void)pthread_mutex_destroy(&reports->lock);
    syn_free(reports);
    return NULL;
}
