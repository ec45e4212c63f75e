/* Webhooks out: what calls of functions came to, told to URLs.
 *
 *     "function-webhook/ACCOUNT/READY-SEQ"  {url, secret, function, invocation, attempts, body}
 *
 * One is kept in the transaction that ends the call, and goes in the one that writes into the
 * invocation's record what became of it: whatever is killed when, it is sent once at least, and
 * always with the same id. One thread looks at what is due, and others send; an account has few of
 * those at a time, so that its receiver that stalls is waited for by nobody else. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/webhook_post.h>
#include <synor/orchestration/queue.h>

#include "function_calls_priv.h"

#define PREFIX      "function-webhook"
#define THREADS     16
#define EACH_MAX    4 /* at a time of one account */
#define WAITING_MAX 10000
#define IDLE_MS     INT64_C(60000)
#define STATUS_GONE 410

/* Between two attempts. The last is an hour and eleven minutes after the first. */
static const int64_t waits_ms[] = {1000, 10000, 60000, 600000, 3600000};
#define AFTER_MAX_MS 3600000

struct slot {
    struct srv_webhooks *webhooks;
    bool busy; /* under the lock */
    char key[SRV_KEY_MAX], account[SYN_ID_MAX];
    int64_t revision;
    json_t *doc;
};

struct srv_webhooks {
    struct syn_server *server;
    struct syn_store_watch *watch;
    struct syn_pool *pool;
    pthread_t thread;
    bool started;
    atomic_bool cancel; /* what is being sent */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under `lock`: */
    struct slot slots[THREADS];
    bool stop, poked;
};

/* --- keeping ---------------------------------------------------------------------------------- */

int
srv_webhook_put(struct syn_server *server, struct srv_txn *txn, const json_t *function,
                json_t *record, const char *body, struct syn_err *err)
{
    const char *account = syn_json_str(function, "account", "");
    char prefix[SRV_KEY_MAX], key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_need_room(server, PREFIX, account, WAITING_MAX,
                           "webhooks that wait for their receivers", err);

    if (rc == SYN_OK)
        rc = syn_json_pack(
            &doc, err, "{s:s, s:s, s:s, s:s, s:i, s:s}", "url",
            syn_json_str(record, "destination", ""), "secret",
            json_string_value(syn_json_at(function, "spec.destinations.secret")) != NULL
                ? json_string_value(syn_json_at(function, "spec.destinations.secret"))
                : "",
            "function", syn_json_str(record, "function", ""), "invocation",
            syn_json_str(record, "id", ""), "attempts", 0, "body", body);
    srv_due_key(server, srv_key(prefix, PREFIX, account, NULL), syn_wall_ms(server->world), key);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, 0, doc, err);
    return rc < 0 ? rc : syn_json_set_str(record, "destination_state", "waiting", err);
}

/* --- what becomes of one ---------------------------------------------------------------------- */

int64_t
srv_webhook_wait(int64_t made, int rc, int status, int64_t after_ms)
{
    bool final = rc == SYN_E_FORBIDDEN || rc == SYN_E_INVALID ||
                 (rc == SYN_OK && (status / 100 <= 3 || status == STATUS_GONE));

    assert(made > 0);
    if (final || made > (int64_t)SYN_LEN(waits_ms))
        return -1;
    return SYN_MAX(waits_ms[made - 1], SYN_MIN(after_ms, AFTER_MAX_MS));
}

struct outcome {
    const struct slot *slot;
    struct syn_webhook_answer answer;
    int rc;
    struct syn_err err;
    int64_t attempts, wait_ms;
    bool taken;
};

/* The call's record says how its webhook goes, as long as there is one. */
static int
write_record(struct syn_server *server, struct srv_txn *txn, const struct outcome *outcome,
             struct syn_err *err)
{
    const json_t *doc = outcome->slot->doc;
    const char *state = outcome->taken ? "told" : outcome->wait_ms >= 0 ? "waiting" : "given-up";
    char key[SRV_KEY_MAX], text[256];
    int64_t revision = 0;
    SYN_JSON(record);
    int rc = srv_load(server,
                      srv_key(key, "invocation", syn_json_str(doc, "function", ""),
                              syn_json_str(doc, "invocation", "")),
                      &record, &revision, err);

    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    if (outcome->rc < 0)
        (void)snprintf(text, sizeof(text), "%s", outcome->err.msg);
    else
        (void)snprintf(text, sizeof(text), "it was answered with %d%s", outcome->answer.status,
                       outcome->answer.status / 100 == 3 ? ", and no redirection is followed" : "");
    rc = syn_json_set_str(record, "destination_state", state, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(record, "destination_attempts", outcome->attempts, err);
    if (rc == SYN_OK && outcome->rc == SYN_OK)
        rc = syn_json_set_i64(record, "destination_status", outcome->answer.status, err);
    if (rc == SYN_OK && !outcome->taken)
        rc = syn_json_set_str(record, "destination_error", text, err);
    else
        (void)json_object_del(record, "destination_error");
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, record, err);
}

static int
settle(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct outcome *outcome = arg;
    const struct slot *slot = outcome->slot;
    char prefix[SRV_KEY_MAX], key[SRV_KEY_MAX];
    int rc = srv_txn_check(txn, slot->key, slot->revision, err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, slot->key, err);
    if (rc == SYN_OK && outcome->wait_ms >= 0) {
        rc = syn_json_set_i64(slot->doc, "attempts", outcome->attempts, err);
        srv_due_key(server, srv_key(prefix, PREFIX, slot->account, NULL),
                    syn_wall_ms(server->world) + outcome->wait_ms, key);
        if (rc == SYN_OK)
            rc = srv_txn_replace(txn, key, 0, slot->doc, err);
    }
    return rc < 0 ? rc : write_record(server, txn, outcome, err);
}

/* --- sending ---------------------------------------------------------------------------------- */

static int
send_one(struct slot *slot, struct outcome *outcome, struct syn_err *err)
{
    struct syn_server *server = slot->webhooks->server;
    const char *body = syn_json_str(slot->doc, "body", ""),
               *secret = syn_json_str(slot->doc, "secret", "");
    struct syn_webhook_post post = {.url = syn_json_str(slot->doc, "url", ""),
                                    .id = syn_json_str(slot->doc, "invocation", ""),
                                    .body = body,
                                    .body_len = strlen(body),
                                    .at_s = syn_wall_ms(server->world) / 1000,
                                    .private_ok = server->webhook_private,
                                    .cancel = &slot->webhooks->cancel};
    SYN_JSON(value);
    int rc = SYN_OK;

    if (secret[0] != '\0')
        rc = srv_secret_read(server, slot->account, secret, &value, err);
    if (rc < 0)
        return rc;
    post.secret = json_string_value(value);
    return syn_webhook_send(&post, &outcome->answer, err);
}

/* `poke`: there may be more to do. Not after a failure here, which would come again at once. */
static void
slot_free(struct slot *slot, bool poke)
{
    struct srv_webhooks *webhooks = slot->webhooks;

    json_decref(slot->doc);
    slot->doc = NULL;
    (void)pthread_mutex_lock(&webhooks->lock);
    slot->busy = false;
    webhooks->poked = webhooks->poked || poke;
    (void)pthread_cond_signal(&webhooks->wake);
    (void)pthread_mutex_unlock(&webhooks->lock);
}

static void
run_one(void *arg)
{
    struct slot *slot = arg;
    struct outcome outcome = {.slot = slot, .attempts = syn_json_i64(slot->doc, "attempts", 0) + 1};
    struct syn_err err = {0};
    int rc = SYN_OK;

    outcome.rc = SYN_E_CANCELED;
    if (srv_unchanged(slot->webhooks->server, slot->key, slot->revision))
        outcome.rc = send_one(slot, &outcome, &outcome.err);
    if (outcome.rc != SYN_E_CANCELED) { /* it is due as it stands, now or after the next start */
        outcome.taken = outcome.rc == SYN_OK && outcome.answer.status / 100 == 2;
        outcome.wait_ms = srv_webhook_wait(outcome.attempts, outcome.rc, outcome.answer.status,
                                           outcome.answer.after_ms);
        rc = srv_change(slot->webhooks->server, "a webhook", settle, &outcome, NULL, &err);
        if (rc < 0)
            syn_log_err(SYN_LOG_ERROR, "functions.webhook-unwritten", &err);
    }
    slot_free(slot, rc == SYN_OK);
}

/* --- what is due ------------------------------------------------------------------------------ */

/* A free place for the account; NULL: it has too many, or all are taken, or this one is. */
static struct slot *
take_slot(struct srv_webhooks *webhooks, const char *account, const char *key, bool *ret_again)
{
    struct slot *found = NULL;
    unsigned count = 0;

    *ret_again = false;
    (void)pthread_mutex_lock(&webhooks->lock);
    for (size_t i = 0; i < THREADS; i++) {
        struct slot *slot = &webhooks->slots[i];

        if (!slot->busy)
            found = slot;
        else if (syn_str_eq(slot->key, key))
            *ret_again = true;
        else if (syn_str_eq(slot->account, account))
            count++;
    }
    if (*ret_again || count >= EACH_MAX)
        found = NULL;
    if (found != NULL)
        found->busy = true;
    (void)pthread_mutex_unlock(&webhooks->lock);
    if (found == NULL)
        return NULL;
    found->webhooks = webhooks;
    (void)syn_str_copy(found->account, sizeof(found->account), account);
    (void)syn_str_copy(found->key, sizeof(found->key), key);
    return found;
}

/* False: nothing more of this account for now. */
static bool
begin(struct srv_webhooks *webhooks, const char *account, const struct syn_store_doc *stored)
{
    bool again = false;
    struct slot *slot = take_slot(webhooks, account, stored->key, &again);

    if (slot == NULL)
        return again;
    slot->revision = stored->mod_revision;
    if (syn_json_parse(stored->value, stored->len, &slot->doc, NULL) == SYN_OK &&
        syn_pool_run(webhooks->pool, run_one, slot, NULL) == SYN_OK)
        return true;
    slot_free(slot, false);
    return false;
}

/* One account's after another, each from its earliest. Returns the ms until there is more to do. */
static int64_t
look(struct srv_webhooks *webhooks)
{
    struct syn_server *server = webhooks->server;
    const int64_t now = syn_wall_ms(server->world);
    int64_t until = now + IDLE_MS;
    char after[SRV_KEY_MAX] = PREFIX "/";
    struct syn_err err = {0};
    bool more = true;

    while (more) {
        const struct syn_store_range range = {.prefix = PREFIX "/", .after = after, .limit = 1};
        struct syn_store_page page = {0};
        char account[SYN_ID_MAX] = "";
        int64_t ready = 0, sequence = 0;
        const char *at, *slash;

        if (syn_store_list(server->store, &range, &page, &err) < 0)
            syn_log_err(SYN_LOG_ERROR, "functions.webhooks", &err);
        more = page.count > 0;
        at = more ? page.docs[0]->key + strlen(PREFIX "/") : NULL;
        slash = more ? strchr(at, '/') : NULL;
        if (slash != NULL && slash - at < (ptrdiff_t)sizeof(account)) {
            (void)snprintf(account, sizeof(account), "%.*s", (int)(slash - at), at);
            (void)syn_str_copy(after, sizeof(after), page.docs[0]->key);
            if (syn_queue_key_read(slash + 1, &ready, &sequence) && ready > now)
                until = SYN_MIN(until, ready);
            if (ready > now || !begin(webhooks, account, page.docs[0]))
                (void)snprintf(after, sizeof(after), PREFIX "/%s0", account); /* behind its '/' */
        } else {
            more = false;
        }
        syn_store_page_fini(&page);
    }
    return until - now;
}

static bool
wait_a_while(struct srv_webhooks *webhooks, int64_t ms)
{
    struct timespec until;
    bool stop;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * INT64_C(1000000);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&webhooks->lock);
    while (!webhooks->stop && !webhooks->poked &&
           pthread_cond_timedwait(&webhooks->wake, &webhooks->lock, &until) == 0)
        continue;
    webhooks->poked = false;
    stop = webhooks->stop;
    (void)pthread_mutex_unlock(&webhooks->lock);
    return !stop;
}

static void *
run(void *arg)
{
    struct srv_webhooks *webhooks = arg;

    while (wait_a_while(webhooks, look(webhooks)))
        continue;
    return NULL;
}

static void
on_webhook(void *arg, const struct syn_store_event *event)
{
    struct srv_webhooks *webhooks = arg;

    if (event->kind == SYN_STORE_EVENT_DELETE)
        return;
    (void)pthread_mutex_lock(&webhooks->lock);
    webhooks->poked = true;
    (void)pthread_cond_signal(&webhooks->wake);
    (void)pthread_mutex_unlock(&webhooks->lock);
}

/* --- life ------------------------------------------------------------------------------------- */

int
srv_webhooks_new(struct syn_server *server, struct srv_webhooks **ret, struct syn_err *err)
{
    struct srv_webhooks *webhooks = syn_calloc(1, sizeof(*webhooks));
    int64_t revision = 0;
    int rc;

    if (webhooks == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for webhooks");
    webhooks->server = server;
    atomic_init(&webhooks->cancel, false);
    (void)pthread_mutex_init(&webhooks->lock, NULL);
    (void)pthread_cond_init(&webhooks->wake, NULL);
    rc = syn_pool_new(THREADS, THREADS, &webhooks->pool, err);
    if (rc == SYN_OK)
        rc = syn_store_revision(server->store, &revision, err);
    if (rc == SYN_OK)
        rc = syn_store_watch(server->store, PREFIX "/", revision, on_webhook, webhooks,
                             &webhooks->watch, err);
    if (rc == SYN_OK && pthread_create(&webhooks->thread, NULL, run, webhooks) != 0)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "cannot start the thread of webhooks");
    webhooks->started = rc == SYN_OK;
    if (rc != SYN_OK) {
        (void)srv_webhooks_free(webhooks);
        return rc == SYN_STORE_COMPACTED ? SYN_FAIL(err, SYN_E_UNAVAILABLE, "the store moved on")
                                         : rc;
    }
    *ret = webhooks;
    return SYN_OK;
}

void
srv_webhooks_quiet(struct srv_webhooks *webhooks)
{
    if (webhooks == NULL || !webhooks->started)
        return;
    atomic_store(&webhooks->cancel, true);
    (void)pthread_mutex_lock(&webhooks->lock);
    webhooks->stop = true;
    (void)pthread_cond_signal(&webhooks->wake);
    (void)pthread_mutex_unlock(&webhooks->lock);
    (void)pthread_join(webhooks->thread, NULL);
    webhooks->started = false;
}

struct srv_webhooks *
srv_webhooks_free(struct srv_webhooks *webhooks)
{
    if (webhooks == NULL)
        return NULL;
    srv_webhooks_quiet(webhooks);
    webhooks->pool = syn_pool_free(webhooks->pool);
    webhooks->watch = syn_store_unwatch(webhooks->server->store, webhooks->watch);
    (void)pthread_cond_destroy(&webhooks->wake);
    (void)pthread_mutex_destroy(&webhooks->lock);
    syn_free(webhooks);
    return NULL;
}
