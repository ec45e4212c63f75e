/* The controller: watches what changes, asks the pure step what must follow, writes that down.
 *
 *     store events --> queue --> this thread: cluster view, jobs that are due
 *                                   |  for each due job: its kind's step: documents -> effects
 *                                   v
 *                      one store transaction (checked; on a conflict the job is due again)
 *
 * It keeps nothing that it could not read again: after a crash it lists everything and goes on.
 * Time is an event too: a job's next look and a node's silence are deadlines of the wait. */
#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/orchestration/place.h>
#include <synor/workload/function_control.h>
#include <synor/workload/training_control.h>

#include "controller_priv.h"
#include "loads_priv.h"
#include "units_priv.h"

#define SILENT_AFTER_MS 15000
#define RETRY_MS        200 /* after an error; doubled with each that follows */
#define RETRY_MAX_MS    30000
#define LETTERS_MAX     65536 /* then everything is read again instead */
#define SPOT_PAUSE_MS   1000  /* between two looks at the market, when it moves */
#define SPOT_AGAIN_MS   30000 /* and when it does not */

struct letter {
    const struct syn_store_doc *doc;
    bool gone;
    struct letter *next;
};

/* A job that has not ended, or whose bill is not written. */
struct job {
    int64_t due_ms;    /* monotonic; INT64_MAX: only an event will do */
    unsigned failures; /* steps in a row */
};

struct srv_controller {
    struct syn_server *server;
    pthread_t thread;
    bool started;
    struct syn_store_watch *watches[7]; /* as `watched` */
    int64_t observing_since_ms;
    uint64_t seed;

    /* Under `lock`: */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct letter *first, **last;
    size_t letters;
    bool missed;           /* an event: only reading everything again tells what it was */
    bool rewatch;          /* a watch has ended with it */
    bool market;           /* it has moved */
    struct syn_map *poked; /* job id -> itself */
    bool stop;

    /* The thread's; others look at the cluster under `looking`: */
    pthread_mutex_t looking;
    struct syn_cluster *cluster;
    struct syn_map *jobs; /* id -> struct job */
    int64_t spot_due_ms;  /* when prices are looked at next; INT64_MAX: when the market moves */
    int64_t spot_last_ms;
};

static int64_t
now_mono(const struct srv_controller *controller)
{
    return syn_mono_ms(controller->server->world);
}

static const struct ctl_kind *const kinds[] = {&ctl_training, &ctl_service, &ctl_function};

/* The kind that the id is of. */
static const struct ctl_kind *
kind_of(const char *id)
{
    for (size_t i = 1; i < SYN_LEN(kinds); i++)
        if (syn_str_starts(id, kinds[i]->work->ids))
            return kinds[i];
    return kinds[0];
}

/* The kind whose document the key is of, or NULL. */
static const struct ctl_kind *
kind_of_key(const char *key)
{
    for (size_t i = 0; i < SYN_LEN(kinds); i++) {
        size_t len = strlen(kinds[i]->work->documents);

        if (strncmp(key, kinds[i]->work->documents, len) == 0 && key[len] == '/')
            return kinds[i];
    }
    return NULL;
}

/* --- letters in ------------------------------------------------------------------------------- */

static void
letters_free(struct letter *letter)
{
    while (letter != NULL) {
        struct letter *next = letter->next;

        (void)syn_store_doc_unref(letter->doc);
        syn_free(letter);
        letter = next;
    }
}

static void
on_event(void *arg, const struct syn_store_event *event)
{
    struct srv_controller *controller = arg;
    struct letter *letter;

    letter = event->kind == SYN_STORE_EVENT_LOST ? NULL : syn_calloc(1, sizeof(*letter));
    if (letter != NULL) {
        letter->doc = syn_store_doc_ref(event->doc);
        letter->gone = event->kind == SYN_STORE_EVENT_DELETE;
    }
    (void)pthread_mutex_lock(&controller->lock);
    if (letter == NULL || controller->letters == LETTERS_MAX) {
        controller->missed = true;
        controller->rewatch = controller->rewatch || event->kind == SYN_STORE_EVENT_LOST;
        letters_free(letter);
    } else {
        *controller->last = letter;
        controller->last = &letter->next;
        controller->letters++;
    }
    (void)pthread_cond_signal(&controller->wake);
    (void)pthread_mutex_unlock(&controller->lock);
}

void
srv_controller_poke(struct srv_controller *controller, const char *job)
{
    (void)pthread_mutex_lock(&controller->lock);
    if (syn_map_put_take(controller->poked, job, NULL, NULL) < 0)
        syn_log(SYN_LOG_WARN, "controller.poke-lost", "job=%s", job);
    (void)pthread_cond_signal(&controller->wake);
    (void)pthread_mutex_unlock(&controller->lock);
}

int
srv_controller_turn(struct srv_controller *controller, const char *job, struct syn_place_turn *ret,
                    struct syn_err *err)
{
    int rc;

    (void)pthread_mutex_lock(&controller->looking);
    rc = syn_place_turn(controller->cluster, job, ret, err);
    (void)pthread_mutex_unlock(&controller->looking);
    return rc;
}

void
srv_controller_market(struct srv_controller *controller)
{
    (void)pthread_mutex_lock(&controller->lock);
    controller->market = true;
    (void)pthread_cond_signal(&controller->wake);
    (void)pthread_mutex_unlock(&controller->lock);
}

/* --- what is due ------------------------------------------------------------------------------ */

static void
make_due(struct srv_controller *controller, const char *id, int64_t due_ms)
{
    struct job *job = syn_map_find(controller->jobs, id);

    if (job == NULL) {
        job = syn_calloc(1, sizeof(*job));
        if (job == NULL || syn_map_put_take(controller->jobs, id, job, NULL) < 0) {
            syn_log(SYN_LOG_ERROR, "controller.no-memory", "job=%s", id);
            return;
        }
        job->due_ms = INT64_MAX;
    }
    job->due_ms = SYN_MIN(job->due_ms, due_ms);
}

static void
all_due(struct srv_controller *controller)
{
    size_t cursor = 0;
    void *job;

    while (syn_map_next(controller->jobs, &cursor, NULL, &job))
        ((struct job *)job)->due_ms = 0;
}

static void
forget_job(struct srv_controller *controller, const char *id)
{
    syn_place_withdraw(controller->cluster, id);
    srv_loads_forget_service(controller->server->loads, id);
    (void)syn_map_remove(controller->jobs, id);
}

/* Cards, what is asked for them, and how they may be had. */
static bool
cards_changed(const struct syn_node_view *before, const struct syn_node_view *after)
{
    if (before->gpus_count != after->gpus_count)
        return true;
    for (unsigned i = 0; i < after->gpus_count; i++) {
        const struct syn_gpu_group *a = &before->gpus[i], *b = &after->gpus[i];

        if (!syn_gpu_group_same(a, b) || a->count != b->count || a->modes != b->modes ||
            a->price_hour != b->price_hour || a->spot_hour != b->spot_hour)
            return true;
    }
    return false;
}

/* Does the change of a node matter to anybody, or was it only a heartbeat? */
static bool
node_changed(const struct syn_node_view *before, const struct syn_node_view *after)
{
    return before->state != after->state || before->unschedulable != after->unschedulable ||
           before->evacuate != after->evacuate || before->sandboxes != after->sandboxes ||
           before->gpu_sandboxes != after->gpu_sandboxes || cards_changed(before, after) ||
           memcmp(&before->prices, &after->prices, sizeof(before->prices)) != 0 ||
           memcmp(&before->spot, &after->spot, sizeof(before->spot)) != 0 ||
           memcmp(&before->capacity, &after->capacity, sizeof(before->capacity)) != 0;
}

static int
take_node(struct srv_controller *controller, const char *id, const json_t *doc, struct syn_err *err)
{
    const struct syn_node_view *known = syn_cluster_find(controller->cluster, id);
    struct syn_node_view before = {0};
    bool fresh = known == NULL;
    int rc;

    if (known != NULL)
        before = *known;
    if (doc == NULL) {
        (void)syn_cluster_remove_node(controller->cluster, id);
        all_due(controller);
        return SYN_OK;
    }
    rc = syn_cluster_put_node(controller->cluster, doc, err);
    if (rc == SYN_OK && (fresh || node_changed(&before, syn_cluster_find(controller->cluster, id))))
        all_due(controller);
    return rc;
}

static int
take_instance(struct srv_controller *controller, const char *id, const json_t *doc,
              struct syn_err *err)
{
    int state;
    int rc;

    if (doc == NULL) {
        srv_loads_forget(controller->server->loads, id);
        (void)syn_cluster_remove_instance(controller->cluster, id);
        all_due(controller);
        return SYN_OK;
    }
    rc = syn_cluster_put_instance(controller->cluster, doc, err);
    if (rc < 0)
        return rc;
    state = syn_instance_state_find(syn_document_state(doc));
    if (state >= 0 && syn_instance_ended((unsigned)state)) {
        srv_loads_forget(controller->server->loads, id);
        all_due(controller); /* room for those who wait */
    } else
        make_due(controller, syn_json_str(json_object_get(doc, "spec"), "job", ""), 0);
    return SYN_OK;
}

static void
take_doc(struct srv_controller *controller, const struct syn_store_doc *stored, bool gone)
{
    const char *id = strrchr(stored->key, '/') + 1;
    char function[SYN_ID_MAX];
    struct syn_err err = {0};
    int64_t version;
    SYN_JSON(doc);
    int rc = SYN_OK;

    if (!gone)
        rc = syn_json_parse(stored->value, stored->len, &doc, &err);
    if (rc == SYN_OK && syn_str_starts(stored->key, "node/"))
        rc = take_node(controller, id, doc, &err);
    else if (rc == SYN_OK && syn_str_starts(stored->key, "instance/"))
        rc = take_instance(controller, id, doc, &err);
    else if (rc == SYN_OK && syn_str_starts(stored->key, "account/"))
        all_due(controller); /* its quota may have changed */
    else if (rc == SYN_OK && syn_str_starts(stored->key, "rtt/")) {
        rc = srv_trip_take(controller->cluster, stored->key, doc, &err);
        all_due(controller);
    } else if (rc == SYN_OK && syn_function_of_service(id, function, &version)) {
        make_due(controller, function, 0);
        if (gone)
            forget_job(controller, id);
        else
            make_due(controller, id, 0);
    } else if (rc == SYN_OK && gone)
        forget_job(controller, id);
    else if (rc == SYN_OK)
        make_due(controller, id, 0);
    if (rc < 0) {
        (void)syn_err_wrap(&err, rc, "%s", stored->key);
        syn_log_err(SYN_LOG_ERROR, "controller.document-refused", &err);
    }
}

/* --- what kinds share ------------------------------------------------------------------------- */

/* The meter knows better than the instance's document how far the reports have come. */
static int
overlay_usage(struct syn_server *server, json_t *instances, struct syn_err *err)
{
    size_t i;
    json_t *instance;

    json_array_foreach (instances, i, instance) {
        char key[SRV_KEY_MAX];
        SYN_JSON(meter);
        int rc = srv_load(server, srv_key(key, "meter", syn_document_id(instance), NULL), &meter,
                          NULL, err);

        if (rc == SYN_OK)
            rc = syn_json_set_i64(syn_document_status(instance), "usage_seq",
                                  syn_json_i64(meter, "seq", 0), err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

int
ctl_load(struct syn_server *server, const struct srv_work *work, const char *id,
         struct ctl_loaded *ret, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc =
        srv_load(server, srv_key(key, work->documents, id, NULL), &ret->doc, &ret->revision, err);

    if (rc == SYN_OK)
        rc = srv_instances_of(server, id, &ret->instances, err);
    return rc != SYN_OK ? rc : overlay_usage(server, ret->instances, err);
}

void
ctl_loaded_fini(struct ctl_loaded *loaded)
{
    json_decref(loaded->doc);
    json_decref(loaded->instances);
}

static int
write_instances(struct srv_txn *txn, const json_t *list, bool created, struct syn_err *err)
{
    size_t i;
    json_t *doc;
    int rc = SYN_OK;

    json_array_foreach (list, i, doc) {
        const json_t *spec = json_object_get(doc, "spec");
        const char *id = syn_document_id(doc);
        char key[SRV_KEY_MAX];

        /* A new one needs no check of its own: its id follows from the job, whose revision is
         * checked. */
        (void)srv_key(key, "instance", id, NULL);
        if (rc == SYN_OK && !created)
            rc = srv_txn_check(txn, key, syn_json_i64(doc, "revision", 0), err);
        if (rc == SYN_OK)
            rc = srv_txn_put(txn, key, doc, err);
        if (rc == SYN_OK && created)
            rc = srv_txn_put_text(
                txn, srv_key(key, "instance-of", syn_json_str(spec, "job", "?"), id), id, err);
        if (rc == SYN_OK)
            rc = srv_txn_put_text(
                txn, srv_key(key, "instance-on", syn_json_str(spec, "node", "?"), id), id, err);
    }
    return rc;
}

static int
write_events(struct syn_server *server, struct srv_txn *txn, const char *job, const json_t *events,
             struct syn_err *err)
{
    size_t i;
    json_t *event;
    int rc = SYN_OK;

    json_array_foreach (events, i, event) {
        if (rc == SYN_OK)
            rc = srv_event(server, txn, job, event, err);
    }
    return rc;
}

int
ctl_write(struct syn_server *server, struct srv_txn *txn, const struct srv_work *work,
          const struct ctl_loaded *loaded, const struct ctl_writing *writing, struct syn_err *err)
{
    const char *id = syn_document_id(loaded->doc);
    char key[SRV_KEY_MAX];
    int rc;

    (void)srv_key(key, work->documents, id, NULL);
    rc = writing->doc != NULL ? srv_txn_replace(txn, key, loaded->revision, writing->doc, err)
                              : srv_txn_check(txn, key, loaded->revision, err);
    if (rc == SYN_OK)
        rc = write_instances(txn, writing->created, true, err);
    if (rc == SYN_OK)
        rc = write_instances(txn, writing->changed, false, err);
    if (rc == SYN_OK)
        rc = write_events(server, txn, id, writing->events, err);
    return rc < 0 ? rc : srv_txn_commit(server, txn, NULL, err);
}

/* --- one step --------------------------------------------------------------------------------- */

/* What was given away just now, before its event arrives: the next job of this round must not be
 * given it again. */
static void
take_created(struct srv_controller *controller, const json_t *created)
{
    size_t i;
    json_t *doc;

    json_array_foreach (created, i, doc) {
        struct syn_err err = {0};

        if (syn_cluster_put_instance(controller->cluster, doc, &err) < 0)
            syn_log_err(SYN_LOG_ERROR, "controller.instance-refused", &err);
    }
}

static void
run_job(struct srv_controller *controller, const char *id)
{
    const struct ctl_world world = {controller->server, controller->cluster,
                                    controller->observing_since_ms};
    struct ctl_outcome outcome = {.wake_at_ms = SYN_DOCUMENT_NONE};
    struct syn_err err = {0};
    struct job *job = syn_map_find(controller->jobs, id);
    int64_t wake_ms = INT64_MAX;
    int rc;

    job->due_ms = INT64_MAX;
    rc = kind_of(id)->step(&world, id, &outcome, &err);
    take_created(controller, outcome.created);
    json_decref(outcome.created);
    job->failures = rc < 0 ? job->failures + 1 : 0;
    if (rc < 0) {
        int64_t pause_ms = (int64_t)RETRY_MS << SYN_MIN(job->failures - 1, 10U);

        (void)syn_err_wrap(&err, rc, "%s", id);
        syn_log_err(SYN_LOG_ERROR, "controller.step-failed", &err);
        wake_ms = now_mono(controller) + SYN_MIN(pause_ms, RETRY_MAX_MS);
    } else if (rc == SYN_STORE_CONFLICT) {
        wake_ms = now_mono(controller);
    } else if (outcome.wake_at_ms != SYN_DOCUMENT_NONE) {
        wake_ms = now_mono(controller) + SYN_MAX(outcome.wake_at_ms - outcome.now_ms, 0);
    }
    if (outcome.gone)
        forget_job(controller, id);
    else
        make_due(controller, id, wake_ms);
}

/* The job that is due and comes first: what runs, which is claimed before anything new is placed;
 * then those that wait, by priority. */
struct due {
    char id[SYN_ID_MAX];
    json_t *job;
};

static int
by_order(const void *a, const void *b)
{
    const json_t *one = ((const struct due *)a)->job, *two = ((const struct due *)b)->job;
    bool waits = syn_str_eq(syn_document_state(one), "pending");

    if (waits != syn_str_eq(syn_document_state(two), "pending"))
        return waits ? 1 : -1;
    return syn_training_order(((const struct due *)a)->job, ((const struct due *)b)->job);
}

static void
run_due(struct srv_controller *controller)
{
    int64_t now = now_mono(controller);
    struct due *due = NULL;
    size_t count = 0;
    size_t cap = 0;
    size_t cursor = 0;
    const char *id;
    void *value;

    while (syn_map_next(controller->jobs, &cursor, &id, &value)) {
        char key[SRV_KEY_MAX];
        int rc;

        if (((struct job *)value)->due_ms > now)
            continue;
        if (!syn_grow((void *)&due, &cap, count + 1, sizeof(*due)))
            break;
        due[count].job = NULL;
        (void)syn_str_copy(due[count].id, sizeof(due[count].id), id);
        rc = srv_load(controller->server, srv_key(key, kind_of(id)->work->documents, id, NULL),
                      &due[count].job, NULL, NULL);
        if (rc == SRV_ABSENT)
            forget_job(controller, id);
        else if (rc < 0) /* the store is in trouble: the job is not */
            ((struct job *)value)->due_ms = now + RETRY_MS;
        else
            count++;
    }
    if (count > 0)
        qsort(due, count, sizeof(*due), by_order);
    for (size_t i = 0; i < count; i++) {
        run_job(controller, due[i].id);
        json_decref(due[i].job);
    }
    syn_free(due);
}

/* Jobs that were given room, or must give theirs up. */
static void
decided_due(struct srv_controller *controller)
{
    char id[SYN_ID_MAX];

    while (syn_place_next(controller->cluster, id)) {
        char owner[SYN_ID_MAX];

        make_due(controller, srv_service_of(id, owner) ? owner : id, 0);
    }
}

static void
empty_nodes(struct srv_controller *controller)
{
    struct syn_err err = {0};

    if (syn_place_empty(controller->cluster, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "controller.empty", &err);
}

/* --- silent nodes ----------------------------------------------------------------------------- */

static int
mark_silent(struct syn_server *server, const char *id, int64_t heard_ms, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(node);
    SRV_TXN(txn);
    int rc = srv_need(server, srv_key(key, "node", id, NULL), "node", &node, &revision, err);

    /* Its heartbeat may be on its way to us as an event. */
    if (rc == SYN_OK && syn_document_time(syn_document_status(node), "last_seen_at") > heard_ms)
        return SYN_OK;
    if (rc == SYN_OK)
        rc = syn_document_set_state(node, "silent", "no-heartbeat",
                                    "The node's agent has not reported for 15 s.", err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(&txn, key, revision, node, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    return rc;
}

/* Mark nodes that have been silent; returns the monotonic time of the next look. */
static int64_t
watch_nodes(struct srv_controller *controller)
{
    int64_t wall = syn_wall_ms(controller->server->world);
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < syn_cluster_count(controller->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(controller->cluster, i);
        int64_t since = SYN_MAX(node->last_seen_ms, controller->observing_since_ms);
        struct syn_err err = {0};

        if (node->state != SYN_NODE_READY)
            continue;
        if (wall - since >= SILENT_AFTER_MS) {
            if (mark_silent(controller->server, node->id, since, &err) < 0)
                syn_log_err(SYN_LOG_WARN, "controller.node", &err);
            next = SYN_MIN(next, now_mono(controller) + RETRY_MS);
        } else {
            next = SYN_MIN(next, now_mono(controller) + SILENT_AFTER_MS - (wall - since));
        }
    }
    return next;
}

/* --- spot prices ------------------------------------------------------------------------------ */

/* Soon, but not with every trade of a busy market. */
static void
spot_soon(struct srv_controller *controller)
{
    controller->spot_due_ms =
        SYN_MIN(controller->spot_due_ms, controller->spot_last_ms + SPOT_PAUSE_MS);
}

struct spot_round {
    struct syn_cluster *cluster;
    bool changed;
};

static int
spot_price(void *arg, const char *good, int64_t hour, struct syn_err *err)
{
    struct spot_round *round = arg;
    bool changed = false;
    int rc = syn_cluster_set_spot(round->cluster, good, hour, &changed, err);

    round->changed = round->changed || changed;
    return rc;
}

/* Take in what the market asks. Prices that rest on trades of the last hour change with time, too.
 */
static void
look_at_prices(struct srv_controller *controller)
{
    struct spot_round round = {controller->cluster, false};
    struct syn_err err = {0};
    size_t count = 0;
    int rc;

    if (now_mono(controller) < controller->spot_due_ms)
        return;
    controller->spot_last_ms = now_mono(controller);
    rc = srv_market_spot(controller->server, spot_price, &round, &count, &err);
    if (rc < 0)
        syn_log_err(SYN_LOG_WARN, "controller.spot", &err);
    controller->spot_due_ms =
        count > 0 || rc < 0 ? controller->spot_last_ms + SPOT_AGAIN_MS : INT64_MAX;
    if (round.changed)
        all_due(controller);
}

/* What is kept for the market; nobody offers any more meanwhile: see srv_market_promise(). */
static void
look_at_keeps(struct srv_controller *controller)
{
    struct syn_err err = {0};
    bool changed = false;

    if (srv_keeps_tell(controller->server, controller->cluster, &changed, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "controller.keeps", &err);
    if (changed)
        all_due(controller);
}

/* --- waiting ------------------------------------------------------------------------------- */

static int64_t
next_due(const struct srv_controller *controller)
{
    int64_t next = INT64_MAX;
    size_t cursor = 0;
    void *job;

    while (syn_map_next(controller->jobs, &cursor, NULL, &job))
        next = SYN_MIN(next, ((struct job *)job)->due_ms);
    return next;
}

/* What was not heard. */
struct missed {
    bool events;
    bool watches;
};

/* Wait for letters, pokes, the deadline or the end. Returns false at the end. */
static bool
wait_for_work(struct srv_controller *controller, int64_t deadline_ms, struct letter **ret_letters,
              struct syn_map **ret_poked, struct missed *ret_missed)
{
    struct timespec until = {deadline_ms / 1000, deadline_ms % 1000 * 1000000};
    struct syn_map *fresh = NULL;
    bool go_on;

    (void)pthread_mutex_lock(&controller->lock);
    while (!controller->stop && controller->first == NULL && !controller->missed &&
           !controller->market && syn_map_count(controller->poked) == 0) {
        if (deadline_ms == INT64_MAX)
            (void)pthread_cond_wait(&controller->wake, &controller->lock);
        else if (pthread_cond_timedwait(&controller->wake, &controller->lock, &until) != 0)
            break;
    }
    *ret_letters = controller->first;
    controller->first = NULL;
    controller->last = &controller->first;
    controller->letters = 0;
    *ret_missed = (struct missed){controller->missed, controller->rewatch};
    if (controller->market)
        spot_soon(controller);
    controller->market = false;
    controller->missed = false;
    controller->rewatch = false;
    if (syn_map_count(controller->poked) > 0 && syn_map_new(NULL, &fresh, NULL) == SYN_OK) {
        *ret_poked = controller->poked;
        controller->poked = fresh;
    }
    go_on = !controller->stop;
    (void)pthread_mutex_unlock(&controller->lock);
    return go_on;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static int
first_sight(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct srv_controller *controller = arg;
    const struct ctl_kind *kind;

    (void)revision;
    if (syn_str_starts(key, "node/"))
        return syn_cluster_put_node(controller->cluster, doc, err);
    if (syn_str_starts(key, "instance/"))
        return syn_cluster_put_instance(controller->cluster, doc, err);
    if (syn_str_starts(key, "rtt/"))
        return srv_trip_take(controller->cluster, key, doc, err);
    kind = kind_of_key(key);
    /* A function that may be deleted is one that is being so. */
    if (kind != NULL && (kind == &ctl_function || !srv_work_over(kind->work, doc)))
        make_due(controller, syn_document_id(doc), 0);
    return SYN_OK;
}

static const char *const watched[] = {"node/",    "instance/", "account/", "training/",
                                      "service/", "function/", "rtt/"};

/* Read everything, then hear what follows. `watch` false: the watches stand. */
static int
begin_watching(struct srv_controller *controller, bool watch, struct syn_err *err)
{
    struct syn_store *store = controller->server->store;
    int64_t revision;
    int rc = syn_store_revision(store, &revision, err);

    static_assert(SYN_LEN(watched) == SYN_LEN(controller->watches), "a watch for each prefix");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(watched); i++)
        rc = srv_each(controller->server, watched[i], first_sight, controller, err);
    for (size_t i = 0; rc == SYN_OK && watch && i < SYN_LEN(watched); i++) {
        controller->watches[i] = syn_store_unwatch(store, controller->watches[i]);
        rc = syn_store_watch(store, watched[i], revision, on_event, controller,
                             &controller->watches[i], err);
    }
    return rc;
}

/* Start over after events were missed: a fresh view, every job due. What arrives twice does no
 * harm. */
static void
look_again(struct srv_controller *controller, bool watch)
{
    struct syn_cluster *fresh = NULL;
    struct syn_cluster *old = controller->cluster;
    struct syn_err err = {0};
    int rc = syn_cluster_new(controller->seed, &fresh, &err);

    if (rc == SYN_OK) {
        syn_cluster_prices_watch(fresh, controller->server->prices);
        rc = syn_cluster_home(fresh, controller->server->region, &err);
        controller->cluster = fresh;
        controller->spot_due_ms = 0;
        if (rc == SYN_OK)
            rc = begin_watching(controller, watch, &err);
    }
    if (rc == SYN_OK) {
        (void)syn_cluster_free(old);
        all_due(controller);
        return;
    }
    syn_log_err(SYN_LOG_ERROR, "controller.look-failed", &err);
    controller->cluster = old;
    (void)syn_cluster_free(fresh);
    (void)pthread_mutex_lock(&controller->lock);
    controller->missed = true;
    controller->rewatch = controller->rewatch || watch;
    (void)pthread_mutex_unlock(&controller->lock);
    (void)nanosleep(&(struct timespec){0, RETRY_MS * 1000000L}, NULL);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void *
run(void *arg)
{
    struct srv_controller *controller = arg;
    int64_t deadline = 0;

    for (;;) {
        struct letter *letters = NULL;
        SYN_SCOPED(syn_map_free_scope) struct syn_map *poked = NULL;
        size_t cursor = 0;
        const char *id;
        struct missed missed;
        bool go_on = wait_for_work(controller, deadline, &letters, &poked, &missed);

        if (!go_on) {
            letters_free(letters);
            return NULL;
        }
        (void)pthread_mutex_lock(&controller->looking);
        for (const struct letter *letter = letters; letter != NULL; letter = letter->next)
            take_doc(controller, letter->doc, letter->gone);
        letters_free(letters);
        while (poked != NULL && syn_map_next(poked, &cursor, &id, NULL))
            make_due(controller, id, 0);
        if (missed.events)
            look_again(controller, missed.watches);
        look_at_prices(controller);
        srv_market_promise(controller->server);
        look_at_keeps(controller);
        decided_due(controller);
        run_due(controller);
        empty_nodes(controller);
        decided_due(controller);
        srv_market_promised(controller->server);
        (void)pthread_mutex_unlock(&controller->looking);
        deadline = SYN_MIN(watch_nodes(controller), next_due(controller));
        deadline = SYN_MIN(deadline, controller->spot_due_ms);
    }
}

static int
start(struct srv_controller *controller, struct syn_err *err)
{
    pthread_condattr_t attributes;
    int rc;

    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&controller->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&controller->lock, NULL);
    (void)pthread_mutex_init(&controller->looking, NULL);
    rc = syn_map_new(NULL, &controller->poked, err);
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &controller->jobs, err);
    if (rc == SYN_OK)
        rc = syn_cluster_new(controller->seed, &controller->cluster, err);
    if (rc == SYN_OK)
        syn_cluster_prices_watch(controller->cluster, controller->server->prices);
    if (rc == SYN_OK)
        rc = syn_cluster_home(controller->cluster, controller->server->region, err);
    if (rc == SYN_OK)
        rc = begin_watching(controller, true, err);
    if (rc == SYN_OK && pthread_create(&controller->thread, NULL, run, controller) != 0)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "cannot start the controller's thread");
    controller->started = rc == SYN_OK;
    return rc;
}

int
srv_controller_new(struct syn_server *server, struct srv_controller **ret, struct syn_err *err)
{
    struct srv_controller *controller = syn_calloc(1, sizeof(*controller));
    int rc;

    if (controller == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the controller");
    controller->server = server;
    controller->last = &controller->first;
    controller->observing_since_ms = syn_wall_ms(server->world);
    server->world->ops->random(server->world->self, &controller->seed, sizeof(controller->seed));
    rc = start(controller, err);
    if (rc < 0) {
        (void)srv_controller_free(controller);
        return rc;
    }
    *ret = controller;
    return SYN_OK;
}

struct srv_controller *
srv_controller_free(struct srv_controller *controller)
{
    if (controller == NULL)
        return NULL;
    if (controller->started) {
        (void)pthread_mutex_lock(&controller->lock);
        controller->stop = true;
        (void)pthread_cond_signal(&controller->wake);
        (void)pthread_mutex_unlock(&controller->lock);
        (void)pthread_join(controller->thread, NULL);
    }
    for (size_t i = 0; i < SYN_LEN(controller->watches); i++)
        (void)syn_store_unwatch(controller->server->store, controller->watches[i]);
    letters_free(controller->first);
    (void)syn_map_free(controller->poked);
    (void)syn_map_free(controller->jobs);
    (void)syn_cluster_free(controller->cluster);
    syn_free(controller);
    return NULL;
}
