/* The gateway's thread, and what others may ask it.
 *
 * What is in rotation is noted before the balancer is told (a replica that may get requests is
 * said to) and after it was (one that gets none any more is not): who relies on it errs on the
 * side of waiting. */
#include "gateway_priv.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#define TICK_MS     1000                        /* is HAProxy there, and what was refused still? */
#define POLL_MS     20                          /* between two looks at what drains */
#define HELD_MS     200                         /* between two looks at who waits */
#define SEARCH_MS   10000                       /* for a HAProxy that is missing */
#define AGAIN_MS    (INT64_C(12) * 3600 * 1000) /* all is looked at: certificates grow old */
#define INBOX_MAX   65536                       /* then everything is told again instead */
#define MESSAGE_MAX 320
#define HOW_TO_GET  "apt-get install haproxy"

struct letter {
    char id[SYN_ID_MAX];
    json_t *doc; /* NULL: it is gone */
    bool again;  /* all are forgotten first */
    struct letter *next;
};

struct verdict {
    enum gtw_state state;
    char message[MESSAGE_MAX];
};

struct gtw {
    struct gtw_options options;
    char *dir, *program, *host, *challenge_key;
    struct gtw_fronts fronts;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under `lock`: */
    struct letter *first, **last;
    size_t letters;
    struct syn_balancer *balancer; /* NULL: there is none yet; stays once it is there */
    struct syn_map *has;           /* instance -> enum gtw_has */
    struct syn_map *verdicts;      /* service -> struct verdict */
    struct syn_map *held;          /* service -> how many requests wait for a first replica */
    struct syn_map *challenged;    /* hosts of which challenges are answered */
    bool stop, lost;
    bool known; /* what the balancer has is in `has` */

    /* The thread's: */
    struct syn_map *services; /* id -> struct gtw_service */
    struct syn_map *news;     /* of this round: id -> itself */
    struct syn_map *bound;    /* addresses that our HAProxy has */
    struct syn_map *refused;  /* that others have */
    size_t open;
    int64_t retry_ms, search_ms, poll_ms, held_ms, again_ms; /* monotonic */
    char failure[MESSAGE_MAX]; /* why the last table was not reached; "": it was */
    bool started, dirty, adopted, draining, missing;
    bool holding; /* there are services without a replica, for which requests may wait */
};

static void
lock(struct gtw *gateway)
{
    int rc = pthread_mutex_lock(&gateway->lock);

    assert(rc == 0);
    (void)rc;
}

static void
unlock(struct gtw *gateway)
{
    int rc = pthread_mutex_unlock(&gateway->lock);

    assert(rc == 0);
    (void)rc;
}

static int64_t
now_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

static void
service_drop(void *service)
{
    (void)gtw_service_free(service);
}

static void *
mark(enum gtw_has has)
{
    return (void *)(uintptr_t)has; /* NOLINT(performance-no-int-to-ptr) */
}

/* Put an empty map in the place of this one. */
static int
start_over(struct syn_map **map, struct syn_err *err)
{
    struct syn_map *fresh = NULL;
    int rc = syn_map_new(NULL, &fresh, err);

    if (rc < 0)
        return rc;
    (void)syn_map_free(*map);
    *map = fresh;
    return SYN_OK;
}

/* --- news ------------------------------------------------------------------------------------- */

static void
letters_free(struct letter *letter)
{
    while (letter != NULL) {
        struct letter *next = letter->next;

        json_decref(letter->doc);
        syn_free(letter);
        letter = next;
    }
}

static void
post_take(struct gtw *gateway, struct letter *letter)
{
    lock(gateway);
    if (letter == NULL || gateway->letters == INBOX_MAX) {
        gateway->lost = true;
        letters_free(letter);
    } else {
        *gateway->last = letter;
        gateway->last = &letter->next;
        gateway->letters++;
    }
    (void)pthread_cond_signal(&gateway->wake);
    unlock(gateway);
}

void
gtw_tell_take(struct gtw *gateway, const char *id, json_t *doc)
{
    struct letter *letter = syn_calloc(1, sizeof(*letter));

    if (letter == NULL || !syn_str_copy(letter->id, sizeof(letter->id), id)) {
        json_decref(doc);
        syn_free(letter);
        letter = NULL;
    } else {
        letter->doc = doc;
    }
    post_take(gateway, letter);
}

void
gtw_lost(struct gtw *gateway)
{
    post_take(gateway, NULL);
}

void
gtw_again(struct gtw *gateway)
{
    struct letter *letter = syn_calloc(1, sizeof(*letter));

    if (letter != NULL)
        letter->again = true;
    post_take(gateway, letter);
}

/* The certificate of a service that wants one. */
static int
certify(struct gtw *gateway, struct gtw_service *service, struct syn_err *err)
{
    if (!service->open || !service->tls || gateway->options.cert == NULL)
        return SYN_OK;
    return gateway->options.cert(gateway->options.arg, service->doc, &service->pem, err);
}

static int
take_letter(struct gtw *gateway, struct letter *letter, struct syn_err *err)
{
    struct gtw_service *service = NULL;
    int rc;

    if (letter->again) {
        struct syn_map *fresh = NULL;

        rc = syn_map_new(service_drop, &fresh, err);
        if (rc < 0)
            return rc;
        (void)syn_map_free(gateway->services);
        gateway->services = fresh;
        return SYN_OK;
    }
    rc = syn_map_put_take(gateway->news, letter->id, gateway, err);
    if (rc < 0 || letter->doc == NULL) {
        (void)syn_map_remove(gateway->services, letter->id);
        return rc;
    }
    rc = gtw_service_new_take(SYN_TAKE(letter->doc), gateway->host, &service, err);
    if (rc < 0)
        return rc;
    if (certify(gateway, service, err) < 0) /* its verdict says so */
        syn_log_err(SYN_LOG_WARN, "gateway.certificate", err);
    return syn_map_put_take(gateway->services, letter->id, service, err);
}

static void
take_letters(struct gtw *gateway, struct letter *letters)
{
    struct letter *letter;

    for (letter = letters; letter != NULL; letter = letter->next) {
        struct syn_err err = {0};

        if (take_letter(gateway, letter, &err) < 0) {
            (void)syn_err_wrap(&err, err.code, "%s", letter->id);
            syn_log_err(SYN_LOG_ERROR, "gateway.news", &err);
        }
        gateway->dirty = true;
    }
    letters_free(letters);
}

/* --- the balancer ----------------------------------------------------------------------------- */

/* Has an earlier process of ours left one running? */
static bool
left_running(const struct gtw *gateway)
{
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/running", gateway->dir);
    return access(path, F_OK) == 0;
}

/* Open it when it is needed for the first time. */
static void
open_balancer(struct gtw *gateway)
{
    const struct syn_balancer_options options = {.dir = gateway->dir, .program = gateway->program};
    struct syn_balancer *balancer = NULL;
    struct syn_err err = {0};
    int rc;

    if (gateway->balancer != NULL || now_ms() < gateway->search_ms ||
        (gateway->open == 0 && !left_running(gateway)))
        return;
    rc = syn_balancer_open(&options, &balancer, &err);
    if (rc < 0) {
        if (!gateway->missing)
            syn_log_err(SYN_LOG_WARN, "gateway.no-balancer", &err);
        gateway->missing = true;
        gateway->search_ms = now_ms() + SEARCH_MS;
        (void)snprintf(gateway->failure, sizeof(gateway->failure), "%s%s", err.msg,
                       rc == SYN_E_NOTFOUND || rc == SYN_E_UNSUPPORTED ? "; " HOW_TO_GET : "");
        return;
    }
    gateway->missing = false;
    gateway->adopted = syn_balancer_pid(balancer) > 0;
    lock(gateway);
    gateway->balancer = balancer;
    gateway->known = !gateway->adopted;
    unlock(gateway);
}

/* An address that our HAProxy has not got yet may be somebody else's. One that is there from before
 * has addresses that we do not know of, until it has taken a table of ours. */
static void
look_at(struct gtw *gateway, const char *address)
{
    if (!gateway->adopted && syn_map_find(gateway->bound, address) == NULL &&
        gtw_address_taken(address) &&
        syn_map_put_take(gateway->refused, address, gateway, NULL) < 0)
        syn_log_kv(SYN_LOG_WARN, "gateway.no-memory", "address", address, NULL);
}

static int
look_at_addresses(struct gtw *gateway, struct syn_err *err)
{
    size_t cursor = 0;
    void *value;
    int rc = start_over(&gateway->refused, err);

    if (rc == SYN_OK && !syn_balancer_listens(gateway->balancer))
        rc = start_over(&gateway->bound, err); /* nothing is ours now */
    while (rc == SYN_OK && syn_map_next(gateway->services, &cursor, NULL, &value)) {
        const struct gtw_service *service = value;

        if (!service->open)
            continue;
        look_at(gateway, service->address);
        if (service->routed) {
            look_at(gateway, gateway->fronts.http);
            look_at(gateway, gateway->fronts.https);
        }
    }
    return rc;
}

static int
note_bound(struct gtw *gateway, const struct syn_balancer_table *table, struct syn_err *err)
{
    int rc = start_over(&gateway->bound, err);

    for (size_t i = 0; rc == SYN_OK && i < table->frontend_count; i++)
        rc = syn_map_put_take(gateway->bound, table->frontends[i].address, gateway, err);
    return rc;
}

/* Who will be in rotation is said to be. */
static int
note_before(struct gtw *gateway, const struct syn_balancer_table *table, struct syn_err *err)
{
    int rc = SYN_OK;

    lock(gateway);
    for (size_t i = 0; i < table->backend_count; i++) {
        const struct syn_balancer_backend *backend = &table->backends[i];

        for (size_t k = 0; rc == SYN_OK && k < backend->server_count; k++)
            if (backend->servers[k].state == SYN_BALANCER_READY)
                rc = syn_map_put_take(gateway->has, backend->servers[k].id, mark(GTW_SERVING), err);
    }
    unlock(gateway);
    return rc;
}

/* What was set is all there is. */
static int
note_after(struct gtw *gateway, const struct syn_balancer_table *table, struct syn_err *err)
{
    struct syn_map *has = NULL;
    int rc = syn_map_new(NULL, &has, err);

    gateway->draining = false;
    lock(gateway);
    for (size_t i = 0; i < table->backend_count; i++) {
        const struct syn_balancer_backend *backend = &table->backends[i];

        for (size_t k = 0; rc == SYN_OK && k < backend->server_count; k++) {
            const struct syn_balancer_server *server = &backend->servers[k];
            bool off = server->state != SYN_BALANCER_READY;

            /* One that was found to have nothing has nothing: it gets no more. */
            if (off && gateway->known && syn_map_find(gateway->has, server->id) == NULL)
                continue;
            gateway->draining = gateway->draining || off;
            rc = syn_map_put_take(has, server->id, mark(off ? GTW_BUSY : GTW_SERVING), err);
        }
    }
    if (rc == SYN_OK) {
        (void)syn_map_free(gateway->has);
        gateway->has = SYN_TAKE(has);
        gateway->known = true;
    }
    unlock(gateway);
    (void)syn_map_free(has);
    return rc;
}

/* Of these hosts challenges are answered from now on. */
static int
note_challenged(struct gtw *gateway, const struct syn_balancer_table *table, struct syn_err *err)
{
    struct syn_map *hosts = NULL;
    bool same = true;
    int rc = syn_map_new(NULL, &hosts, err);

    for (size_t i = 0; rc == SYN_OK && i < table->frontend_count; i++)
        for (size_t k = 0; rc == SYN_OK && k < table->frontends[i].route_count; k++) {
            const struct syn_balancer_route *route = &table->frontends[i].routes[k];

            if (!syn_str_eq(route->backend, GTW_CHALLENGES))
                continue;
            rc = syn_map_put_take(hosts, route->host, gateway, err);
            same = same && syn_map_find(gateway->challenged, route->host) != NULL;
        }
    if (rc < 0) {
        (void)syn_map_free(hosts);
        return rc;
    }
    lock(gateway);
    (void)syn_map_free(gateway->challenged);
    gateway->challenged = hosts;
    unlock(gateway);
    if (!same && gateway->options.challenged != NULL)
        gateway->options.challenged(gateway->options.arg);
    return SYN_OK;
}

static void
tell_news(struct gtw *gateway)
{
    struct syn_map *fresh = NULL;
    const char *id;
    size_t cursor = 0;

    while (syn_map_next(gateway->news, &cursor, &id, NULL))
        gateway->options.changed(gateway->options.arg, id);
    if (syn_map_new(NULL, &fresh, NULL) < 0)
        return; /* they are told once more */
    (void)syn_map_free(gateway->news);
    gateway->news = fresh;
}

static int
set_table(struct gtw *gateway, struct syn_err *err)
{
    SYN_SCOPED(gtw_table_fini) struct gtw_table table = {.fronts = NULL};
    int rc = look_at_addresses(gateway, err);

    if (rc == SYN_OK)
        rc = gtw_table_make(gateway->services, &gateway->fronts, gateway->refused, &table, err);
    if (rc == SYN_OK)
        rc = note_before(gateway, &table.table, err);
    if (rc == SYN_OK)
        rc = syn_balancer_set(gateway->balancer, &table.table, err);
    if (rc == SYN_OK)
        rc = note_bound(gateway, &table.table, err);
    if (rc == SYN_OK)
        rc = note_after(gateway, &table.table, err);
    if (rc == SYN_OK)
        rc = note_challenged(gateway, &table.table, err);
    if (rc == SYN_OK)
        gateway->adopted = false;
    return rc;
}

/* --- verdicts --------------------------------------------------------------------------------- */

static struct verdict
judge(const struct gtw *gateway, const struct gtw_service *service)
{
    struct verdict verdict = {.state = GTW_OPEN};
    char *message = verdict.message;

    if (!service->open)
        verdict.state = GTW_CLOSED;
    else if (gateway->missing)
        verdict.state = GTW_MISSING;
    else if (gateway->failure[0] != '\0' || syn_map_find(gateway->refused, service->address) ||
             (service->tls && service->pem == NULL))
        verdict.state = GTW_FAILED;
    if (verdict.state == GTW_MISSING || (verdict.state == GTW_FAILED && gateway->failure[0]))
        (void)snprintf(message, MESSAGE_MAX, "%s", gateway->failure);
    else if (verdict.state == GTW_FAILED && service->tls && service->pem == NULL)
        (void)snprintf(message, MESSAGE_MAX, "its certificate cannot be made");
    else if (verdict.state == GTW_FAILED)
        (void)snprintf(message, MESSAGE_MAX, "another program on this machine has %s",
                       service->address);
    else if (verdict.state == GTW_OPEN && service->routed &&
             syn_map_find(gateway->refused, gateway->fronts.http) != NULL)
        (void)snprintf(message, MESSAGE_MAX,
                       "another program on this machine has %s, the shared front",
                       gateway->fronts.http);
    return verdict;
}

static int
judge_all(struct gtw *gateway, struct syn_err *err)
{
    struct syn_map *verdicts = NULL;
    const char *id;
    void *value;
    size_t cursor = 0;
    int rc = syn_map_new(syn_free, &verdicts, err);

    while (rc == SYN_OK && syn_map_next(gateway->services, &cursor, &id, &value)) {
        struct verdict *verdict = syn_calloc(1, sizeof(*verdict));

        if (verdict == NULL) {
            rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a verdict");
            break;
        }
        *verdict = judge(gateway, value);
        rc = syn_map_put_take(verdicts, id, verdict, err);
    }
    if (rc < 0) {
        (void)syn_map_free(verdicts);
        return rc;
    }
    lock(gateway);
    (void)syn_map_free(gateway->verdicts);
    gateway->verdicts = verdicts;
    unlock(gateway);
    return SYN_OK;
}

/* --- the round -------------------------------------------------------------------------------- */

static void
count_open(struct gtw *gateway)
{
    size_t cursor = 0;
    void *value;

    gateway->open = 0;
    gateway->holding = false;
    while (syn_map_next(gateway->services, &cursor, NULL, &value)) {
        const struct gtw_service *service = value;

        gateway->open += service->open;
        gateway->holding = gateway->holding ||
                           (service->open && service->ready == 0 && service->backend.hold_ms > 0);
    }
}

static void
apply(struct gtw *gateway)
{
    struct syn_err err = {0};
    int rc;

    count_open(gateway);
    open_balancer(gateway);
    if (gateway->balancer != NULL) {
        rc = set_table(gateway, &err);
        if (rc < 0)
            syn_log_err(SYN_LOG_WARN, "gateway.table", &err);
        (void)snprintf(gateway->failure, sizeof(gateway->failure), "%s", rc < 0 ? err.msg : "");
        gateway->dirty = rc < 0 || syn_map_count(gateway->refused) > 0;
        gateway->retry_ms = now_ms() + TICK_MS;
        gateway->poll_ms = now_ms() + POLL_MS;
    } else {
        gateway->dirty = gateway->missing;
        gateway->retry_ms = gateway->search_ms;
    }
    if (judge_all(gateway, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "gateway.verdicts", &err);
    tell_news(gateway);
}

/* Of one service: has what drains ended? */
static void
poll_service(struct gtw *gateway, const struct gtw_service *service)
{
    bool news = false;

    for (size_t i = 0; i < service->backend.server_count; i++) {
        const char *id = service->servers[i].id;
        uint64_t open = 1;

        if (service->servers[i].state == SYN_BALANCER_READY || gtw_has(gateway, id) != GTW_BUSY)
            continue;
        if (syn_balancer_open_at(gateway->balancer, service->name, id, &open, NULL) < 0 ||
            open > 0) {
            gateway->draining = true;
            continue;
        }
        lock(gateway);
        (void)syn_map_remove(gateway->has, id);
        unlock(gateway);
        news = true;
    }
    if (news)
        gateway->options.changed(gateway->options.arg, service->id);
}

static void
poll_draining(struct gtw *gateway)
{
    size_t cursor = 0;
    void *value;

    if (!gateway->draining || now_ms() < gateway->poll_ms)
        return;
    gateway->draining = false;
    while (syn_map_next(gateway->services, &cursor, NULL, &value))
        if (((const struct gtw_service *)value)->open)
            poll_service(gateway, value);
    gateway->poll_ms = now_ms() + POLL_MS;
}

/* --- who waits for a first replica ------------------------------------------------------------ */

struct waiting {
    struct syn_map *by_backend;
    bool failed;
};

static void
see_waiting(void *arg, const char *backend, uint64_t count)
{
    struct waiting *waiting = arg;

    /* A number in a pointer's place. */
    if (syn_map_put_take(waiting->by_backend, backend,
                         (void *)(uintptr_t)count, /* NOLINT(performance-no-int-to-ptr) */
                         NULL) < 0)
        waiting->failed = true;
}

/* Note it, and say whether it is news. It is told again and again while there are some. */
static bool
note_waiting(struct gtw *gateway, const char *service, uint64_t count)
{
    bool had;
    int rc = SYN_OK;

    lock(gateway);
    had = syn_map_find(gateway->held, service) != NULL;
    if (count > 0)
        rc = syn_map_put_take(gateway->held, service,
                              (void *)(uintptr_t)count, /* NOLINT(performance-no-int-to-ptr) */
                              NULL);
    else
        (void)syn_map_remove(gateway->held, service);
    unlock(gateway);
    return had || (count > 0 && rc == SYN_OK);
}

static void
poll_held(struct gtw *gateway)
{
    struct waiting waiting = {NULL, false};
    size_t cursor = 0;
    void *value;

    if ((!gateway->holding && syn_map_count(gateway->held) == 0) || gateway->balancer == NULL ||
        now_ms() < gateway->held_ms)
        return;
    gateway->held_ms = now_ms() + HELD_MS;
    if (syn_map_new(NULL, &waiting.by_backend, NULL) < 0)
        return;
    if (syn_balancer_held(gateway->balancer, see_waiting, &waiting, NULL) < 0)
        waiting.failed = true; /* it is asked again */
    while (!waiting.failed && syn_map_next(gateway->services, &cursor, NULL, &value)) {
        const struct gtw_service *service = value;
        uint64_t count = (uintptr_t)syn_map_find(waiting.by_backend, service->name);

        if (service->ready > 0 || !service->open)
            count = 0; /* a replica is there: it is a matter of milliseconds */
        if (note_waiting(gateway, service->id, count) && gateway->options.held != NULL)
            gateway->options.held(gateway->options.arg, service->id, count);
    }
    (void)syn_map_free(waiting.by_backend);
}

/* A HAProxy that is not there is started again by the balancer, unless somebody has taken one of
 * its addresses: then by us, without that one. */
static void
look_at_process(struct gtw *gateway)
{
    if (gateway->balancer != NULL && gateway->open > 0 && syn_balancer_pid(gateway->balancer) == 0)
        gateway->dirty = true;
    if (!gateway->dirty)
        gateway->retry_ms = now_ms() + TICK_MS;
}

/* Wait for news, or until something is due. False at the end. */
static bool
wait_for_news(struct gtw *gateway, struct letter **ret_letters, bool *ret_lost)
{
    int64_t until_ms = gateway->again_ms;
    struct timespec until;
    bool go_on;

    if (gateway->dirty || gateway->open > 0)
        until_ms = SYN_MIN(until_ms, gateway->retry_ms);
    if (gateway->draining)
        until_ms = SYN_MIN(until_ms, gateway->poll_ms);
    if (gateway->balancer != NULL && (gateway->holding || syn_map_count(gateway->held) > 0))
        until_ms = SYN_MIN(until_ms, gateway->held_ms);
    until = (struct timespec){until_ms / 1000, until_ms % 1000 * 1000000};
    lock(gateway);
    while (!gateway->stop && gateway->first == NULL && !gateway->lost) {
        if (pthread_cond_timedwait(&gateway->wake, &gateway->lock, &until) != 0)
            break;
    }
    *ret_letters = gateway->first;
    *ret_lost = gateway->lost || now_ms() >= gateway->again_ms;
    gateway->lost = false;
    gateway->first = NULL;
    gateway->last = &gateway->first;
    gateway->letters = 0;
    go_on = !gateway->stop;
    unlock(gateway);
    return go_on;
}

static void
refresh(struct gtw *gateway)
{
    struct syn_err err = {0};

    gateway->again_ms = now_ms() + AGAIN_MS;
    if (gateway->options.refresh(gateway->options.arg, &err) == SYN_OK)
        return;
    syn_log_err(SYN_LOG_ERROR, "gateway.refresh", &err);
    (void)nanosleep(&(struct timespec){0, 200000000}, NULL);
    gtw_lost(gateway);
}

static void *
run(void *arg)
{
    struct gtw *gateway = arg;
    struct letter *letters;
    bool lost;

    while (wait_for_news(gateway, &letters, &lost)) {
        bool news = letters != NULL, due = now_ms() >= gateway->retry_ms;

        take_letters(gateway, letters);
        if (lost) {
            refresh(gateway);
            continue; /* what it told lies in the inbox */
        }
        if (due)
            look_at_process(gateway);
        if (news || (due && gateway->dirty))
            apply(gateway);
        poll_draining(gateway);
        poll_held(gateway);
    }
    letters_free(letters);
    return NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

static struct syn_balancer *
balancer_of(struct gtw *gateway)
{
    struct syn_balancer *balancer;

    lock(gateway);
    balancer = gateway->balancer;
    unlock(gateway);
    return balancer;
}

bool
gtw_works(struct gtw *gateway)
{
    return balancer_of(gateway) != NULL;
}

enum gtw_has
gtw_has(struct gtw *gateway, const char *instance)
{
    enum gtw_has has;

    lock(gateway);
    has = gateway->known ? (enum gtw_has)(uintptr_t)syn_map_find(gateway->has, instance)
                         : GTW_SERVING;
    unlock(gateway);
    return has;
}

enum gtw_state
gtw_state(struct gtw *gateway, const char *service, char *message, size_t size)
{
    const struct verdict *verdict;
    enum gtw_state state = GTW_WAITING;

    message[0] = '\0';
    lock(gateway);
    verdict = syn_map_find(gateway->verdicts, service);
    if (verdict != NULL) {
        state = verdict->state;
        (void)syn_str_copy(message, size, verdict->message);
    }
    unlock(gateway);
    return state;
}

bool
gtw_challenged(struct gtw *gateway, const char *host)
{
    bool found;

    lock(gateway);
    found = syn_map_find(gateway->challenged, host) != NULL;
    unlock(gateway);
    return found;
}

uint64_t
gtw_held(struct gtw *gateway, const char *service)
{
    uint64_t count;

    lock(gateway);
    count = (uintptr_t)syn_map_find(gateway->held, service);
    unlock(gateway);
    return count;
}

int
gtw_counts(struct gtw *gateway, const char *backend, struct syn_balancer_counts *ret,
           struct syn_err *err)
{
    struct syn_balancer *balancer = balancer_of(gateway);
    struct syn_balancer_stats stats;
    bool found = false;
    int rc = balancer != NULL ? syn_balancer_read(balancer, &stats, err)
                              : SYN_FAIL(err, SYN_E_NOTFOUND, "there is no balancer");

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < stats.count && !found; i++) {
        found = syn_str_eq(stats.backends[i].backend, backend);
        if (found)
            *ret = stats.backends[i];
    }
    ret->backend = backend;
    syn_balancer_stats_fini(&stats);
    return found ? SYN_OK : SYN_FAIL(err, SYN_E_NOTFOUND, "the balancer has no %s", backend);
}

int
gtw_servers(struct gtw *gateway, const char *backend, struct syn_balancer_server_counts **ret,
            size_t *ret_count, struct syn_err *err)
{
    struct syn_balancer *balancer = balancer_of(gateway);

    return balancer != NULL ? syn_balancer_read_servers(balancer, backend, ret, ret_count, err)
                            : SYN_FAIL(err, SYN_E_NOTFOUND, "there is no balancer");
}

void
gtw_metrics(struct gtw *gateway, struct syn_buf *out)
{
    struct syn_balancer *balancer = balancer_of(gateway);
    struct syn_balancer_stats stats;
    struct syn_err err = {0};

    if (balancer == NULL)
        return;
    if (syn_balancer_read(balancer, &stats, &err) < 0) {
        syn_log_err(SYN_LOG_DEBUG, "gateway.metrics", &err);
        return;
    }
    syn_balancer_stats_write(&stats, out);
    syn_balancer_stats_fini(&stats);
}

/* --- beginning and end ------------------------------------------------------------------------ */

static int
begin(struct gtw *gateway, const struct gtw_options *options, struct syn_err *err)
{
    pthread_condattr_t attributes;

    gateway->dir = syn_strdup(options->dir);
    gateway->host = syn_strdup(options->host);
    gateway->program = options->program != NULL ? syn_strdup(options->program) : NULL;
    gateway->challenge_key =
        options->challenge_key != NULL ? syn_strdup(options->challenge_key) : NULL;
    if (gateway->dir == NULL || gateway->host == NULL ||
        (options->program != NULL && gateway->program == NULL) ||
        (options->challenge_key != NULL && gateway->challenge_key == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the gateway");
    gateway->fronts.https_port = options->https_port;
    gateway->fronts.challenge_key = gateway->challenge_key;
    if (!gtw_address_join(options->host, options->http_port, gateway->fronts.http) ||
        !gtw_address_join(options->host, options->https_port, gateway->fronts.https))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no address to publish on", options->host);
    if (syn_map_new(NULL, &gateway->has, err) < 0 ||
        syn_map_new(syn_free, &gateway->verdicts, err) < 0 ||
        syn_map_new(NULL, &gateway->held, err) < 0 ||
        syn_map_new(NULL, &gateway->challenged, err) < 0 ||
        syn_map_new(service_drop, &gateway->services, err) < 0 ||
        syn_map_new(NULL, &gateway->news, err) < 0 || syn_map_new(NULL, &gateway->bound, err) < 0 ||
        syn_map_new(NULL, &gateway->refused, err) < 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the gateway");
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&gateway->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    gateway->lost = true; /* the first look */
    return SYN_OK;
}

int
gtw_start(struct gtw *gateway, struct syn_err *err)
{
    if (pthread_create(&gateway->thread, NULL, run, gateway) != 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start the gateway's thread");
    gateway->started = true;
    return SYN_OK;
}

void
gtw_stop(struct gtw *gateway)
{
    if (gateway == NULL || !gateway->started)
        return;
    lock(gateway);
    gateway->stop = true;
    (void)pthread_cond_signal(&gateway->wake);
    unlock(gateway);
    (void)pthread_join(gateway->thread, NULL);
    gateway->started = false;
}

int
gtw_new(const struct gtw_options *options, struct gtw **ret, struct syn_err *err)
{
    struct gtw *gateway = syn_calloc(1, sizeof(*gateway));
    int rc;

    if (gateway == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the gateway");
    gateway->options = *options;
    gateway->last = &gateway->first;
    (void)pthread_mutex_init(&gateway->lock, NULL);
    rc = begin(gateway, options, err);
    if (rc < 0)
        (void)gtw_free(gateway);
    else
        *ret = gateway;
    return rc;
}

struct gtw *
gtw_free(struct gtw *gateway)
{
    if (gateway == NULL)
        return NULL;
    gtw_stop(gateway);
    gateway->balancer = syn_balancer_close(gateway->balancer, gateway->open > 0);
    letters_free(gateway->first);
    (void)syn_map_free(gateway->has);
    (void)syn_map_free(gateway->verdicts);
    (void)syn_map_free(gateway->held);
    (void)syn_map_free(gateway->challenged);
    (void)syn_map_free(gateway->services);
    (void)syn_map_free(gateway->news);
    (void)syn_map_free(gateway->bound);
    (void)syn_map_free(gateway->refused);
    (void)pthread_mutex_destroy(&gateway->lock);
    syn_free(gateway->dir);
    syn_free(gateway->program);
    syn_free(gateway->host);
    syn_free(gateway->challenge_key);
    syn_free(gateway);
    return NULL;
}
