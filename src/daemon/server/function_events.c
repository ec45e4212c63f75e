/* Events call functions: what was asked for without waiting, schedules, messages of queues.
 *
 *     "function-call/READY-SEQ"     a call that is kept until its function has taken it
 *     "function-schedule/FUNCTION"  {trigger: when it was last kept as a call, ms}
 *
 * One thread looks at what is due and hands it to threads that call. Which calls are under way only
 * it knows: after a crash all that are kept are due again, so each is made at least once. A call
 * that fails is made again twice, later each time; one that found no instance or a full queue has
 * not been made. A schedule's call is kept in the transaction that notes it as kept, so no time is
 * lost or doubled. Messages of queues stay there until they are acknowledged: their queue's rules
 * say when they come again. */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include <synor/base/cron.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/queue.h>

#include "function_calls_priv.h"
#include "loads_priv.h"

#define CALLS            "function-call"
#define LOOK_MS          200
#define PAGE             200
#define RUNNING_MAX      12 /* of all, so that people who wait find a thread */
#define RUNNING_EACH     6  /* of one function */
#define ATTEMPTS_MAX     3
#define AGAIN_FIRST_MS   INT64_C(10000)
#define BUSY_AGAIN_MS    INT64_C(1000)
#define BUSY_AGAIN_MAX   INT64_C(60000)
#define AGE_MAX_MS       (INT64_C(6) * 3600 * 1000)
#define RESULT_MAX       SRV_CALL_PAYLOAD_MAX
#define LATE_MS          INT64_C(60000) /* a schedule that is so late was missed */
#define TRIGGERS_MAX     10000
#define STATUS_UNPAID    402
#define STATUS_MANY      429
#define STATUS_ERROR     500
#define STATUS_NOT_THERE 503

/* A trigger of some function that something has to be done for. */
struct trigger {
    struct trigger *next;
    char function[SYN_ID_MAX], account[SYN_ID_MAX];
    char queue[SYN_ID_MAX]; /* "": a schedule */
    int64_t batch;
    struct syn_cron cron;
    char text[SYN_CRON_TEXT_MAX + SYN_ID_MAX]; /* "CRON ZONE" */
    char zone[SYN_ID_MAX];
    bool skip; /* what was missed */
    json_t *payload;
    int64_t next_ms;
    unsigned refs; /* the list, and who polls; under `lock` */
};

struct srv_events {
    struct syn_server *server;
    struct syn_store_watch *watch;
    struct srv_webhooks *webhooks; /* what calls come to goes on by itself */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under `lock`: */
    struct syn_map *running; /* keys of calls, and of queues that are being read */
    struct syn_map *counts;  /* function -> how many of them, as a pointer's number */
    bool stop, poked, changed;

    struct trigger *triggers; /* the thread's, as the next one */
    struct srv_ledger_walk walk;
};

/* One call or poll on its way through a thread. */
struct errand {
    struct srv_events *events;
    char key[SRV_KEY_MAX]; /* of a call */
    int64_t revision;
    json_t *call;
    struct trigger *trigger; /* of a poll */
};

/* --- keeping ---------------------------------------------------------------------------------- */

void
srv_due_key(struct syn_server *server, const char *prefix, int64_t ready_ms, char out[SRV_KEY_MAX])
{
    int64_t now = syn_wall_ms(server->world) * 1000;
    int64_t last = atomic_load(&server->message_sequence), next;
    char text[SYN_QUEUE_KEY_SIZE];

    do
        next = SYN_MAX(last + 1, now);
    while (!atomic_compare_exchange_weak(&server->message_sequence, &last, next));
    syn_queue_key(ready_ms, next, text);
    (void)srv_key(out, prefix, text, NULL);
}

/* Text is kept as text, other bytes as base64. */
static int
set_bytes(json_t *doc, const char *key, const void *data, size_t len, struct syn_err *err)
{
    json_t *text = json_stringn(data, len);
    char key64[32];
    char *encoded;
    int rc;

    if (text != NULL)
        return syn_json_set_take(doc, key, text, err);
    encoded = syn_calloc(1, SYN_BASE64_SIZE(len));
    if (encoded == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a call");
    syn_base64_encode(SYN_BASE64_STD, data, len, encoded);
    (void)snprintf(key64, sizeof(key64), "%s_base64", key);
    rc = syn_json_set_str(doc, key64, encoded, err);
    syn_free(encoded);
    return rc;
}

int
srv_event_call_put(struct syn_server *server, struct srv_txn *txn,
                   const struct srv_event_call *event, struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(server->world);
    char key[SRV_KEY_MAX];
    SYN_JSON(call);
    SYN_JSON(record);
    int rc = syn_json_pack(&call, err, "{s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:i}", "function",
                           event->function, "account", event->account, "version",
                           (json_int_t)event->version, "trigger", event->trigger, "invocation",
                           event->invocation, "type",
                           event->type != NULL ? event->type : "application/octet-stream",
                           "sent_ms", (json_int_t)now_ms, "attempts", 0);

    if (rc == SYN_OK)
        rc = set_bytes(call, "body", event->body, event->body_len, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&record, err, "{s:s, s:s, s:s, s:s, s:I, s:i}", "id", event->invocation,
                           "function", event->function, "trigger", event->trigger, "state",
                           "queued", "started_at", (json_int_t)now_ms, "attempts", 0);
    srv_due_key(server, CALLS, now_ms, key);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, 0, call, err);
    return rc < 0 ? rc
                  : srv_txn_put(txn, srv_key(key, "invocation", event->function, event->invocation),
                                record, err);
}

/* --- one kept call ---------------------------------------------------------------------------- */

/* What becomes of it. */
struct verdict {
    const struct errand *errand;
    const char *state; /* "succeeded", "failed"; NULL: again at `again_ms` */
    const struct srv_called *called;
    const char *why;
    int64_t attempts, again_ms;
};

static int
write_record(struct syn_server *server, struct srv_txn *txn, const struct verdict *verdict,
             struct syn_err *err)
{
    const json_t *call = verdict->errand->call;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(record);
    int rc = srv_load(server,
                      srv_key(key, "invocation", syn_json_str(call, "function", ""),
                              syn_json_str(call, "invocation", "")),
                      &record, &revision, err);

    if (rc != SYN_OK) /* its function is gone, and its records with it */
        return rc < 0 ? rc : SYN_OK;
    rc = syn_json_set_i64(record, "attempts", verdict->attempts, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(record, "state", verdict->state != NULL ? verdict->state : "queued",
                              err);
    if (rc == SYN_OK && verdict->called->status > 0)
        rc = syn_json_set_i64(record, "http_status", verdict->called->status, err);
    if (rc == SYN_OK && verdict->why[0] != '\0')
        rc = syn_json_set_str(record, "message", verdict->why, err);
    if (rc == SYN_OK && verdict->state != NULL) {
        rc = set_bytes(record, "result", verdict->called->body.data,
                       SYN_MIN(verdict->called->body.len, (size_t)RESULT_MAX), err);
        if (rc == SYN_OK && verdict->called->body.len > RESULT_MAX)
            rc = syn_json_set_bool(record, "result_cut", true, err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(record, "result_type", verdict->called->type, err);
        if (rc == SYN_OK)
            rc = srv_destination_tell(server, txn, record, err);
    }
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, record, err);
}

static int
write_verdict(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct verdict *verdict = arg;
    char key[SRV_KEY_MAX];
    int rc = srv_txn_check(txn, verdict->errand->key, verdict->errand->revision, err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, verdict->errand->key, err);
    if (rc == SYN_OK && verdict->state == NULL) {
        rc = syn_json_set_i64(verdict->errand->call, "attempts", verdict->attempts, err);
        srv_due_key(server, CALLS, verdict->again_ms, key);
        if (rc == SYN_OK)
            rc = srv_txn_replace(txn, key, 0, verdict->errand->call, err);
    }
    return rc < 0 ? rc : write_record(server, txn, verdict, err);
}

/* The bytes again. Owner: *ret is the caller's to free when it is not the document's own. */
static int
bytes_of(const json_t *call, const void **ret, size_t *ret_len, char **ret_own, struct syn_err *err)
{
    const json_t *text = json_object_get(call, "body");
    const char *encoded = syn_json_str(call, "body_base64", "");
    int rc;

    *ret_own = NULL;
    *ret = text != NULL ? json_string_value(text) : "";
    *ret_len = text != NULL ? json_string_length(text) : 0;
    if (encoded[0] == '\0')
        return SYN_OK;
    *ret_own = syn_calloc(1, strlen(encoded) + 1);
    if (*ret_own == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a call");
    rc = syn_base64_decode(SYN_BASE64_STD, encoded, strlen(encoded), *ret_own, strlen(encoded) + 1,
                           ret_len, err);
    *ret = *ret_own;
    return rc;
}

/* Was it made at all, and did it go well? */
static void
judge(struct syn_server *server, struct verdict *verdict, int rc, const struct syn_err *why)
{
    const json_t *call = verdict->errand->call;
    const struct srv_called *called = verdict->called;
    int64_t now = syn_wall_ms(server->world), age = now - syn_json_i64(call, "sent_ms", now);
    int64_t made = syn_json_i64(call, "attempts", 0);
    /* What no function answered: it is suspended. */
    bool unpaid = called->status == STATUS_UNPAID && called->way[0] == '\0';
    bool busy = rc == SYN_E_UNAVAILABLE || called->status == STATUS_MANY ||
                called->status == STATUS_NOT_THERE || unpaid;

    verdict->attempts = busy ? made : made + 1;
    verdict->why = rc < 0 ? why->msg : called->error;
    if (rc == SYN_OK && called->status < STATUS_ERROR && !busy) {
        verdict->state = "succeeded";
        return;
    }
    if (verdict->attempts >= ATTEMPTS_MAX || age > AGE_MAX_MS)
        verdict->state = "failed";
    else if (busy)
        verdict->again_ms = now + SYN_MIN(SYN_MAX(age, BUSY_AGAIN_MS), BUSY_AGAIN_MAX);
    else
        verdict->again_ms = now + (AGAIN_FIRST_MS << (verdict->attempts - 1));
}

static void
unmark(struct srv_events *events, const char *key, const char *function)
{
    uintptr_t count;

    (void)pthread_mutex_lock(&events->lock);
    (void)syn_map_remove(events->running, key);
    count = (uintptr_t)syn_map_find(events->counts, function);
    if (count <= 1)
        (void)syn_map_remove(events->counts, function);
    else
        (void)!syn_map_put_take(events->counts, function,
                                (void *)(count - 1), /* NOLINT(performance-no-int-to-ptr) */
                                NULL);
    events->poked = true;
    (void)pthread_cond_signal(&events->wake);
    (void)pthread_mutex_unlock(&events->lock);
}

static void
errand_free(struct errand *errand)
{
    json_decref(errand->call);
    syn_free(errand);
}

static void
run_call(void *arg)
{
    struct errand *errand = arg;
    struct syn_server *server = errand->events->server;
    SYN_SCOPED(srv_called_fini) struct srv_called called = {.status = 0};
    struct verdict verdict = {.errand = errand, .called = &called, .why = ""};
    struct srv_call call = {.function = syn_json_str(errand->call, "function", ""),
                            .version = syn_json_i64(errand->call, "version", 0),
                            .method = "POST",
                            .path = "/",
                            .trigger = syn_json_str(errand->call, "trigger", ""),
                            .invocation = syn_json_str(errand->call, "invocation", ""),
                            .type = syn_json_str(errand->call, "type", "")};
    struct syn_err err = {0};
    char *own = NULL;
    int rc = srv_unchanged(server, errand->key, errand->revision) ? SYN_OK : SYN_E_CANCELED;

    if (rc == SYN_OK)
        rc = bytes_of(errand->call, &call.body, &call.body_len, &own, &err);
    if (rc == SYN_OK)
        rc = srv_call(server, &call, &called, &err);
    if (rc != SYN_E_CANCELED) { /* it is due as it stands, now or after the next start */
        judge(server, &verdict, rc, &err);
        rc = srv_change(server, "a call", write_verdict, &verdict, NULL, &err);
        if (rc < 0)
            syn_log_err(SYN_LOG_ERROR, "functions.call-unwritten", &err);
    }
    unmark(errand->events, errand->key, call.function);
    syn_free(own);
    errand_free(errand);
}

/* --- messages of queues ----------------------------------------------------------------------- */

static void
trigger_unref(struct srv_events *events, struct trigger *trigger)
{
    bool last;

    (void)pthread_mutex_lock(&events->lock);
    last = --trigger->refs == 0;
    (void)pthread_mutex_unlock(&events->lock);
    if (!last)
        return;
    json_decref(trigger->payload);
    syn_free(trigger);
}

static bool
names(const json_t *list, const char *id)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item)
        if (syn_str_eq(json_string_value(item), id))
            return true;
    return false;
}

/* Give back what was received: what the function has taken is acknowledged, what it names as
 * failed, or all where it failed itself, is released. */
static int
give_back(struct syn_server *server, const struct trigger *trigger, const json_t *items,
          const struct srv_called *called, bool well, struct syn_err *err)
{
    const json_t *item, *failed;
    char path[128];
    size_t i;
    SYN_JSON(answer);
    SYN_JSON(done);
    SYN_JSON(again);
    int rc = syn_json_pack(&done, err, "{s:[]}", "receipts");

    if (rc == SYN_OK)
        rc = syn_json_pack(&again, err, "{s:[]}", "receipts");
    if (rc == SYN_OK && well && called->body.len > 0 &&
        syn_json_parse(called->body.data, called->body.len, &answer, NULL) < 0)
        answer = NULL;
    failed = json_object_get(answer, "failed");
    json_array_foreach (items, i, item) {
        bool taken = well && !names(failed, syn_json_str(item, "id", ""));

        if (rc == SYN_OK)
            rc = syn_json_append_take(json_object_get(taken ? done : again, "receipts"),
                                      json_string(syn_json_str(item, "receipt", "")), err);
    }
    (void)snprintf(path, sizeof(path), "/v1/queues/%s/acknowledge", trigger->queue);
    if (rc == SYN_OK && json_array_size(json_object_get(done, "receipts")) > 0)
        rc = srv_call_own(server, trigger->account, path, done, NULL, err);
    (void)snprintf(path, sizeof(path), "/v1/queues/%s/release", trigger->queue);
    if (rc == SYN_OK && json_array_size(json_object_get(again, "receipts")) > 0)
        rc = srv_call_own(server, trigger->account, path, again, NULL, err);
    return rc;
}

/* The handler sees messages without their receipts. */
static int
event_of(const struct trigger *trigger, const json_t *items, struct syn_buf *out,
         struct syn_err *err)
{
    static const char *const seen[] = {"id", "body", "receives", "sent_at"};
    const json_t *item;
    size_t i;
    SYN_JSON(event);
    int rc = syn_json_pack(&event, err, "{s:s, s:[]}", "queue", trigger->queue, "messages");

    json_array_foreach (items, i, item) {
        json_t *message = json_object();

        if (rc == SYN_OK)
            rc = syn_json_append_take(json_object_get(event, "messages"), message, err);
        else
            json_decref(message);
        for (size_t k = 0; k < SYN_LEN(seen) && rc == SYN_OK; k++)
            if (json_object_get(item, seen[k]) != NULL)
                rc = syn_json_set_take(message, seen[k],
                                       json_incref(json_object_get(item, seen[k])), err);
    }
    return rc < 0 ? rc : syn_json_write(event, out, err);
}

/* One batch. Returns 1 when there was none. */
static int
pass_batch(struct syn_server *server, const struct trigger *trigger, struct syn_err *err)
{
    SYN_SCOPED(srv_called_fini) struct srv_called called = {.status = 0};
    char path[128], id[SRV_CALL_ID_SIZE];
    struct srv_call call = {.function = trigger->function,
                            .method = "POST",
                            .path = "/",
                            .trigger = "queue",
                            .invocation = id,
                            .type = "application/json"};
    struct syn_err why = {0};
    const json_t *items;
    SYN_JSON(asked);
    SYN_JSON(answer);
    SYN_BUF(event);
    bool well;
    int rc = syn_json_pack(&asked, err, "{s:I}", "max", (json_int_t)trigger->batch);

    (void)snprintf(path, sizeof(path), "/v1/queues/%s/receive", trigger->queue);
    if (rc == SYN_OK)
        rc = srv_call_own(server, trigger->account, path, asked, &answer, err);
    items = json_object_get(answer, "items");
    if (rc < 0 || json_array_size(items) == 0)
        return rc < 0 ? rc : 1;
    rc = event_of(trigger, items, &event, err);
    if (rc < 0)
        return rc;
    call.body = event.data;
    call.body_len = event.len;
    srv_call_id(server, id);
    rc = srv_call(server, &call, &called, &why);
    well = rc == SYN_OK && called.status < STATUS_ERROR && called.status != STATUS_MANY;
    rc = give_back(server, trigger, items, &called, well, err);
    return rc < 0 ? rc : well ? SYN_OK : 1;
}

/* By the function's and the queue's names: what is read anew of a function is another trigger. */
static void
poll_key(const struct trigger *trigger, char out[SRV_KEY_MAX])
{
    (void)srv_key(out, "poll", trigger->function, trigger->queue);
}

static bool
begin_poll(struct srv_events *events, struct trigger *trigger)
{
    char key[SRV_KEY_MAX];
    bool may;

    poll_key(trigger, key);
    (void)pthread_mutex_lock(&events->lock);
    may = syn_map_find(events->running, key) == NULL &&
          syn_map_put_take(events->running, key, events, NULL) == SYN_OK;
    if (may)
        trigger->refs++;
    (void)pthread_mutex_unlock(&events->lock);
    return may;
}

static void
end_poll(struct srv_events *events, struct trigger *trigger)
{
    char key[SRV_KEY_MAX];

    poll_key(trigger, key);
    (void)pthread_mutex_lock(&events->lock);
    (void)syn_map_remove(events->running, key);
    (void)pthread_mutex_unlock(&events->lock);
    trigger_unref(events, trigger);
}

static void
run_poll(void *arg)
{
    struct errand *errand = arg;
    struct srv_events *events = errand->events;
    struct trigger *trigger = errand->trigger;
    struct syn_err err = {0};
    int rc;

    do
        rc = pass_batch(events->server, trigger, &err);
    while (rc == SYN_OK);
    if (rc < 0 && rc != SYN_E_CANCELED && rc != SYN_E_NOTFOUND)
        syn_log_err(SYN_LOG_WARN, "functions.queue", &err);
    end_poll(events, trigger);
    errand_free(errand);
}

/* Is there a message that is due? */
static bool
queue_has(struct syn_server *server, const struct trigger *trigger)
{
    char prefix[SRV_KEY_MAX];
    struct syn_store_range range = {.prefix = prefix, .limit = 1};
    struct syn_store_page page = {0};
    int64_t ready = 0, sequence = 0;
    bool has = false;

    (void)snprintf(prefix, sizeof(prefix), "message/%s/%s/", trigger->account, trigger->queue);
    if (syn_store_list(server->store, &range, &page, NULL) == SYN_OK && page.count > 0)
        has = syn_queue_key_read(page.docs[0]->key + strlen(prefix), &ready, &sequence) &&
              ready <= syn_wall_ms(server->world);
    syn_store_page_fini(&page);
    return has;
}

static void
look_at_queue(struct srv_events *events, struct trigger *trigger)
{
    struct errand *errand;

    if (!queue_has(events->server, trigger) || !begin_poll(events, trigger))
        return;
    errand = syn_calloc(1, sizeof(*errand));
    if (errand != NULL) {
        errand->events = events;
        errand->trigger = trigger;
        if (srv_calling_run(events->server->calling, run_poll, errand, NULL) == SYN_OK)
            return;
        errand_free(errand);
    }
    end_poll(events, trigger);
}

/* --- schedules -------------------------------------------------------------------------------- */

/* When a schedule's call was last kept; now, where none ever was. */
struct firing {
    struct trigger *trigger;
    const struct syn_zone *zone;
    int64_t now_ms, due_ms, last_ms;
    bool due;
};

static int
load_last(struct syn_server *server, const struct trigger *trigger, char *key, json_t **ret,
          int64_t *ret_revision, struct syn_err *err)
{
    int rc = srv_load(server, srv_key(key, "function-schedule", trigger->function, NULL), ret,
                      ret_revision, err);

    if (rc != SRV_ABSENT)
        return rc;
    *ret_revision = 0;
    return syn_json_pack(ret, err, "{}");
}

static int
keep_firing(struct syn_server *server, struct srv_txn *txn, const struct firing *firing,
            struct syn_err *err)
{
    const struct trigger *trigger = firing->trigger;
    char id[SRV_CALL_ID_SIZE], at[SYN_FORMAT_MAX];
    struct srv_event_call event = {.function = trigger->function,
                                   .account = trigger->account,
                                   .trigger = "schedule",
                                   .invocation = id,
                                   .type = "application/json"};
    SYN_JSON(body);
    SYN_BUF(text);
    int rc =
        syn_json_pack(&body, err, "{s:s, s:s, s:O?}", "schedule", trigger->text, "scheduled_at",
                      syn_format_time(firing->due_ms, at), "payload", trigger->payload);

    if (rc == SYN_OK)
        rc = syn_json_write(body, &text, err);
    if (rc < 0)
        return rc;
    srv_call_id(server, id);
    event.body = text.data;
    event.body_len = text.len;
    return srv_event_call_put(server, txn, &event, err);
}

static int
fire_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct firing *firing = arg;
    const struct trigger *trigger = firing->trigger;
    char key[SRV_KEY_MAX], own_key[SRV_KEY_MAX];
    int64_t revision = 0, next = 0;
    SYN_JSON(lasts);
    SYN_JSON(function);
    int rc = srv_load(server, srv_key(own_key, "function", trigger->function, NULL), &function,
                      NULL, err);

    if (rc == SRV_ABSENT)
        return 1;
    if (rc == SYN_OK)
        rc = load_last(server, trigger, key, &lasts, &revision, err);
    if (rc < 0)
        return rc;
    firing->last_ms = syn_json_i64(lasts, trigger->text, 0);
    firing->due = firing->last_ms > 0 &&
                  syn_cron_next(&trigger->cron, firing->zone, firing->last_ms, &next) == SYN_OK &&
                  next <= firing->now_ms;
    if (!firing->due && firing->last_ms > 0)
        return 1;
    firing->due_ms = next;
    /* What was missed is one call, or none. */
    if (firing->due && next < firing->now_ms - LATE_MS)
        firing->last_ms = firing->now_ms;
    else
        firing->last_ms = firing->due ? next : firing->now_ms;
    if (firing->due && !(trigger->skip && next < firing->now_ms - LATE_MS))
        rc = keep_firing(server, txn, firing, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(lasts, trigger->text, firing->last_ms, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, lasts, err);
}

static void
look_at_schedule(struct srv_events *events, struct trigger *trigger)
{
    struct syn_server *server = events->server;
    const struct syn_zone_source zones = srv_loads_zones(server->loads);
    struct firing firing = {.trigger = trigger, .now_ms = syn_wall_ms(server->world)};
    struct syn_err err = {0};
    int rc;

    if (firing.now_ms < trigger->next_ms)
        return;
    firing.zone = zones.find(zones.self, trigger->zone);
    if (firing.zone == NULL)
        return;
    rc = srv_change(server, "a schedule", fire_attempt, &firing, NULL, &err);
    if (rc < 0)
        syn_log_err(SYN_LOG_ERROR, "functions.schedule", &err);
    if (rc < 0 || firing.last_ms == 0 ||
        syn_cron_next(&trigger->cron, firing.zone, firing.last_ms, &trigger->next_ms) != SYN_OK)
        trigger->next_ms = firing.now_ms + LATE_MS;
}

/* --- what there is to look at ----------------------------------------------------------------- */

static int
add_trigger(struct srv_events *events, const json_t *function, const json_t *row,
            struct syn_err *err)
{
    struct trigger *trigger = syn_calloc(1, sizeof(*trigger));
    bool queue = syn_str_eq(syn_json_str(row, "type", ""), "queue");

    if (trigger == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for triggers");
    trigger->refs = 1;
    trigger->batch = syn_json_i64(row, "batch", 1);
    trigger->skip = syn_str_eq(syn_json_str(row, "missed", ""), "skip");
    trigger->payload = syn_json_deep_copy(json_object_get(row, "payload"));
    (void)syn_str_copy(trigger->function, sizeof(trigger->function), syn_document_id(function));
    (void)syn_str_copy(trigger->account, sizeof(trigger->account),
                       syn_json_str(function, "account", ""));
    (void)syn_str_copy(trigger->queue, sizeof(trigger->queue), syn_json_str(row, "queue", ""));
    (void)syn_str_copy(trigger->zone, sizeof(trigger->zone), syn_json_str(row, "zone", "UTC"));
    (void)snprintf(trigger->text, sizeof(trigger->text), "%s %s", syn_json_str(row, "cron", ""),
                   trigger->zone);
    if (!queue && syn_cron_parse(syn_json_str(row, "cron", ""), &trigger->cron, err) < 0) {
        trigger_unref(events, trigger);
        return SYN_OK; /* of an older spec: what cannot be read is never due */
    }
    trigger->next = events->triggers;
    events->triggers = trigger;
    return SYN_OK;
}

static int
add_function(void *arg, const char *key, json_t *function, int64_t revision, struct syn_err *err)
{
    struct srv_events *events = arg;
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    (void)key;
    (void)revision;
    if (!syn_str_eq(syn_document_state(function), "active"))
        return SYN_OK;
    json_array_foreach (json_object_get(syn_document_spec(function), "triggers"), i, row)
        if (rc == SYN_OK && (json_object_get(row, "queue") || json_object_get(row, "cron")))
            rc = add_trigger(events, function, row, err);
    return rc;
}

static void
drop_triggers(struct srv_events *events)
{
    while (events->triggers != NULL) {
        struct trigger *trigger = events->triggers;

        events->triggers = trigger->next;
        trigger_unref(events, trigger);
    }
}

/* Functions change seldom; then all of them are read again. A queue that is being polled goes on
 * with the batch that it has. */
static void
read_triggers(struct srv_events *events)
{
    struct syn_err err = {0};

    drop_triggers(events);
    if (srv_each(events->server, "function/", add_function, events, &err) < 0) {
        syn_log_err(SYN_LOG_ERROR, "functions.triggers", &err);
        (void)pthread_mutex_lock(&events->lock);
        events->changed = true;
        (void)pthread_mutex_unlock(&events->lock);
    }
}

static void
look_at_ledger(struct srv_events *events)
{
    struct syn_err err = {0};

    if (srv_ledger_walk(events->server, &events->walk, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "functions.ledger", &err);
}

/* Mark it as under way, unless it is, or too many are. */
static bool
mark(struct srv_events *events, const char *key, const char *function)
{
    uintptr_t count;
    bool may;

    (void)pthread_mutex_lock(&events->lock);
    count = (uintptr_t)syn_map_find(events->counts, function);
    may = syn_map_count(events->running) < RUNNING_MAX && count < RUNNING_EACH &&
          syn_map_find(events->running, key) == NULL &&
          syn_map_put_take(events->running, key, events, NULL) == SYN_OK;
    if (may)
        (void)!syn_map_put_take(events->counts, function,
                                (void *)(count + 1), /* NOLINT(performance-no-int-to-ptr) */
                                NULL);
    (void)pthread_mutex_unlock(&events->lock);
    return may;
}

static void
begin_call(struct srv_events *events, const struct syn_store_doc *stored)
{
    struct errand *errand = syn_calloc(1, sizeof(*errand));
    const char *function;

    if (errand == NULL)
        return;
    errand->events = events;
    errand->revision = stored->mod_revision;
    (void)syn_str_copy(errand->key, sizeof(errand->key), stored->key);
    if (syn_json_parse(stored->value, stored->len, &errand->call, NULL) < 0) {
        errand_free(errand);
        return;
    }
    function = syn_json_str(errand->call, "function", "");
    if (!mark(events, errand->key, function)) {
        errand_free(errand);
        return;
    }
    if (srv_calling_run(events->server->calling, run_call, errand, NULL) == SYN_OK)
        return;
    unmark(events, errand->key, function);
    errand_free(errand);
}

/* The earliest ones that are kept. Those of a function that has many under way let others by, as
 * far as a page goes. */
static void
look_at_calls(struct srv_events *events)
{
    struct syn_store_range range = {.prefix = CALLS "/", .limit = PAGE};
    struct syn_store_page page = {0};
    int64_t now = syn_wall_ms(events->server->world);
    struct syn_err err = {0};

    if (syn_store_list(events->server->store, &range, &page, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "functions.calls", &err);
    for (size_t i = 0; i < page.count; i++) {
        int64_t ready = 0, sequence = 0;

        if (!syn_queue_key_read(strrchr(page.docs[i]->key, '/') + 1, &ready, &sequence) ||
            ready > now)
            break;
        begin_call(events, page.docs[i]);
    }
    syn_store_page_fini(&page);
}

/* --- the thread ------------------------------------------------------------------------------- */

static bool
wait_a_while(struct srv_events *events, bool *ret_changed)
{
    struct timespec until;
    bool stop;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_MS * INT64_C(1000000);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&events->lock);
    if (!events->stop && !events->poked)
        (void)pthread_cond_timedwait(&events->wake, &events->lock, &until);
    *ret_changed = events->changed;
    events->poked = events->changed = false;
    stop = events->stop;
    (void)pthread_mutex_unlock(&events->lock);
    return !stop;
}

static void *
run(void *arg)
{
    struct srv_events *events = arg;
    bool changed = true;

    do {
        if (changed)
            read_triggers(events);
        for (struct trigger *trigger = events->triggers; trigger != NULL; trigger = trigger->next) {
            if (trigger->queue[0] != '\0')
                look_at_queue(events, trigger);
            else
                look_at_schedule(events, trigger);
        }
        look_at_ledger(events);
        look_at_calls(events);
    } while (wait_a_while(events, &changed));
    drop_triggers(events);
    return NULL;
}

static void
on_function(void *arg, const struct syn_store_event *event)
{
    struct srv_events *events = arg;

    (void)event;
    (void)pthread_mutex_lock(&events->lock);
    events->changed = events->poked = true;
    (void)pthread_cond_signal(&events->wake);
    (void)pthread_mutex_unlock(&events->lock);
}

void
srv_events_poke(struct srv_events *events)
{
    (void)pthread_mutex_lock(&events->lock);
    events->poked = true;
    (void)pthread_cond_signal(&events->wake);
    (void)pthread_mutex_unlock(&events->lock);
}

int
srv_events_new(struct syn_server *server, struct srv_events **ret, struct syn_err *err)
{
    struct srv_events *events = syn_calloc(1, sizeof(*events));
    int64_t revision;
    int rc;

    if (events == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for events");
    events->server = server;
    (void)pthread_mutex_init(&events->lock, NULL);
    (void)pthread_cond_init(&events->wake, NULL);
    rc = syn_map_new(NULL, &events->running, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &events->counts, err);
    if (rc == SYN_OK)
        rc = srv_webhooks_new(server, &events->webhooks, err);
    if (rc == SYN_OK)
        rc = syn_store_revision(server->store, &revision, err);
    if (rc == SYN_OK)
        rc = syn_store_watch(server->store, "function/", revision, on_function, events,
                             &events->watch, err);
    if (rc == SYN_OK && pthread_create(&events->thread, NULL, run, events) != 0)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "cannot start the thread of events");
    events->started = rc == SYN_OK;
    if (rc < 0) {
        (void)srv_events_free(events);
        return rc == SYN_STORE_COMPACTED ? SYN_FAIL(err, SYN_E_UNAVAILABLE, "the store moved on")
                                         : rc;
    }
    *ret = events;
    return SYN_OK;
}

void
srv_events_quiet(struct srv_events *events)
{
    if (events == NULL || !events->started)
        return;
    (void)pthread_mutex_lock(&events->lock);
    events->stop = true;
    (void)pthread_cond_signal(&events->wake);
    (void)pthread_mutex_unlock(&events->lock);
    (void)pthread_join(events->thread, NULL);
    events->started = false;
    srv_webhooks_quiet(events->webhooks);
}

/* After srv_calling_free(): what ran has told it that it is done. */
struct srv_events *
srv_events_free(struct srv_events *events)
{
    if (events == NULL)
        return NULL;
    srv_events_quiet(events);
    events->webhooks = srv_webhooks_free(events->webhooks);
    events->watch = syn_store_unwatch(events->server->store, events->watch);
    (void)syn_map_free(events->running);
    (void)syn_map_free(events->counts);
    (void)pthread_cond_destroy(&events->wake);
    (void)pthread_mutex_destroy(&events->lock);
    syn_free(events);
    return NULL;
}
