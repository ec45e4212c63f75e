#include "store_hub_priv.h"

#include <pthread.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

struct syn_store_watch {
    struct syn_store_watch *next;
    struct syn_store_watch *prev;
    syn_store_watch_fn fn;
    void *arg;
    int64_t sent; /* delivered whole up to this revision */
    bool dropped; /* unwatched inside its own call: the notifier frees it */
    bool ended;   /* LOST was delivered, or somebody waits to drop it: serve it no more */
    size_t prefix_len;
    char prefix[];
};

struct syn_store_hub {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t idle; /* a call of `running` ended */
    pthread_t thread;
    bool started;
    bool stopping;
    syn_store_replay_fn replay;
    void *self;
    struct syn_store_watch *first;
    struct syn_store_watch *last;
    size_t watches;
    struct syn_store_watch *running;
    int64_t head;  /* newest committed revision */
    int64_t floor; /* the ring has everything after this revision */
    size_t start;
    size_t count;
    size_t bytes;
    struct syn_store_event ring[SYN_STORE_RING_MAX];
    struct syn_store_batch batch; /* the notifier's own */
};

static void
event_clear(struct syn_store_event *event)
{
    event->doc = syn_store_doc_unref(event->doc);
    event->prev = syn_store_doc_unref(event->prev);
}

void
syn_store_batch_clear(struct syn_store_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        event_clear(&batch->events[i]);
    batch->count = 0;
}

static size_t
event_bytes(const struct syn_store_event *event)
{
    return event->doc->len + (event->prev ? event->prev->len : 0) + 256;
}

/* The ring */

static struct syn_store_event *
ring_at(struct syn_store_hub *hub, size_t i)
{
    return &hub->ring[(hub->start + i) % SYN_STORE_RING_MAX];
}

/* Drop the oldest revision whole: a watch must not see a part of it. */
static void
ring_drop_oldest(struct syn_store_hub *hub)
{
    hub->floor = ring_at(hub, 0)->revision;
    while (hub->count > 0 && ring_at(hub, 0)->revision == hub->floor) {
        hub->bytes -= event_bytes(ring_at(hub, 0));
        event_clear(ring_at(hub, 0));
        hub->start = (hub->start + 1) % SYN_STORE_RING_MAX;
        hub->count--;
    }
}

static void
ring_clear(struct syn_store_hub *hub)
{
    while (hub->count > 0)
        ring_drop_oldest(hub);
    hub->floor = hub->head;
}

void
syn_store_hub_publish_take(struct syn_store_hub *hub, const struct syn_store_event *events,
                           size_t count, int64_t revision, bool whole)
{
    pthread_mutex_lock(&hub->lock);
    assert(revision >= hub->head);
    for (size_t i = 0; i < count; i++) {
        struct syn_store_event event = events[i];
        if (hub->watches == 0 || !whole || event.revision <= hub->floor) {
            event_clear(&event);
            continue;
        }
        while (hub->count == SYN_STORE_RING_MAX)
            ring_drop_oldest(hub);
        *ring_at(hub, hub->count++) = event;
        hub->bytes += event_bytes(&event);
        while (hub->count > 0 && hub->bytes > SYN_STORE_RING_BYTES_MAX)
            ring_drop_oldest(hub);
    }
    bool news = revision > hub->head;
    hub->head = revision;
    if (hub->watches == 0 || !whole)
        ring_clear(hub);
    if (hub->watches > 0 && news)
        pthread_cond_signal(&hub->work);
    pthread_mutex_unlock(&hub->lock);
}

bool
syn_store_hub_wanted(struct syn_store_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    bool wanted = hub->watches > 0;
    pthread_mutex_unlock(&hub->lock);
    return wanted;
}

/* The notifier */

static void
list_remove(struct syn_store_hub *hub, struct syn_store_watch *watch)
{
    if (watch->prev)
        watch->prev->next = watch->next;
    else
        hub->first = watch->next;
    if (watch->next)
        watch->next->prev = watch->prev;
    else
        hub->last = watch->prev;
    hub->watches--;
    syn_free(watch);
}

static void
batch_from_ring(struct syn_store_hub *hub, const struct syn_store_watch *watch)
{
    struct syn_store_batch *batch = &hub->batch;
    int64_t revision = watch->sent;

    for (size_t i = 0; i < hub->count; i++) {
        const struct syn_store_event *event = ring_at(hub, i);
        if (event->revision <= watch->sent)
            continue;
        if (event->revision != revision &&
            batch->count > SYN_STORE_BATCH_MAX - SYN_STORE_ROWS_MAX) {
            batch->upto = revision;
            return;
        }
        revision = event->revision;
        if (strncmp(event->doc->key, watch->prefix, watch->prefix_len) != 0)
            continue;
        assert(batch->count < SYN_STORE_BATCH_MAX);
        batch->events[batch->count] = *event;
        syn_store_doc_ref(event->doc);
        if (event->prev)
            syn_store_doc_ref(event->prev);
        batch->count++;
    }
    batch->upto = hub->head;
}

/* Call out without the lock. Only the notifier clears `running`, so `watch` stays valid. */
static void
deliver(struct syn_store_hub *hub, struct syn_store_watch *watch, bool lost)
{
    struct syn_store_batch *batch = &hub->batch;
    struct syn_store_event end = {.kind = SYN_STORE_EVENT_LOST, .revision = watch->sent};

    for (size_t i = 0; i < batch->count && !watch->dropped; i++) {
        struct syn_store_event *event = &batch->events[i];
        event->more = i + 1 < batch->count && event[1].revision == event->revision;
        watch->fn(watch->arg, event);
    }
    if (lost && !watch->dropped)
        watch->fn(watch->arg, &end);
    syn_store_batch_clear(batch);
}

/* Move `watch` on by one batch. Called with the lock, which it gives up meanwhile. */
static void
serve(struct syn_store_hub *hub, struct syn_store_watch *watch)
{
    struct syn_err err;
    int rc = SYN_OK;

    hub->running = watch;
    if (watch->sent >= hub->floor) {
        batch_from_ring(hub, watch);
        pthread_mutex_unlock(&hub->lock);
    } else {
        pthread_mutex_unlock(&hub->lock);
        rc = hub->replay(hub->self, watch->prefix, watch->sent, &hub->batch, &err);
        if (rc != SYN_OK)
            syn_store_batch_clear(&hub->batch);
    }
    deliver(hub, watch, rc != SYN_OK);
    pthread_mutex_lock(&hub->lock);
    if (rc == SYN_OK)
        watch->sent = SYN_MAX(watch->sent, hub->batch.upto);
    else
        watch->ended = true;
    hub->running = NULL;
    pthread_cond_broadcast(&hub->idle);
}

static void *
notifier_main(void *arg)
{
    struct syn_store_hub *hub = arg;

    pthread_mutex_lock(&hub->lock);
    while (!hub->stopping) {
        bool worked = false;
        for (struct syn_store_watch *watch = hub->first, *next; watch; watch = next) {
            if (!watch->ended && watch->sent < hub->head) {
                serve(hub, watch);
                worked = true;
            }
            next = watch->next;
            if (watch->dropped)
                list_remove(hub, watch);
        }
        if (!worked && !hub->stopping)
            pthread_cond_wait(&hub->work, &hub->lock);
    }
    pthread_mutex_unlock(&hub->lock);
    return NULL;
}

/* Called with the lock. */
static int
start_notifier(struct syn_store_hub *hub, struct syn_err *err)
{
    if (hub->started)
        return SYN_OK;
    int sys = pthread_create(&hub->thread, NULL, notifier_main, hub);
    if (sys)
        return SYN_FAIL_SYS(err, sys, "starting the store's notifier thread");
    hub->started = true;
    return SYN_OK;
}

int
syn_store_hub_watch(struct syn_store_hub *hub, const char *prefix, int64_t after,
                    syn_store_watch_fn fn, void *arg, struct syn_store_watch **ret_watch,
                    struct syn_err *err)
{
    size_t len = strlen(prefix);
    struct syn_store_watch *watch = syn_calloc(1, sizeof(*watch) + len + 1);

    if (!watch)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a watch on %s", prefix);
    watch->fn = fn;
    watch->arg = arg;
    watch->sent = after;
    watch->prefix_len = len;
    memcpy(watch->prefix, prefix, len + 1);

    pthread_mutex_lock(&hub->lock);
    int rc = start_notifier(hub, err);
    if (rc == SYN_OK && hub->watches == SYN_STORE_WATCHES_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "the store has %d watches already", SYN_STORE_WATCHES_MAX);
    if (rc == SYN_OK) {
        *ret_watch = watch;
        watch->prev = hub->last;
        if (hub->last)
            hub->last->next = watch;
        else
            hub->first = watch;
        hub->last = watch;
        hub->watches++;
        pthread_cond_signal(&hub->work);
    }
    pthread_mutex_unlock(&hub->lock);
    if (rc < 0)
        syn_free(watch);
    return rc;
}

void
syn_store_hub_unwatch(struct syn_store_hub *hub, struct syn_store_watch *watch)
{
    pthread_mutex_lock(&hub->lock);
    if (pthread_equal(pthread_self(), hub->thread) && hub->running == watch) {
        watch->dropped = true;
    } else {
        watch->ended = true;
        while (hub->running == watch)
            pthread_cond_wait(&hub->idle, &hub->lock);
        list_remove(hub, watch);
    }
    pthread_mutex_unlock(&hub->lock);
}

int
syn_store_hub_new(int64_t revision, syn_store_replay_fn replay, void *self,
                  struct syn_store_hub **ret_hub, struct syn_err *err)
{
    struct syn_store_hub *hub = syn_calloc(1, sizeof(*hub));

    if (!hub)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the store's notifier");
    pthread_mutex_init(&hub->lock, NULL);
    pthread_cond_init(&hub->work, NULL);
    pthread_cond_init(&hub->idle, NULL);
    hub->replay = replay;
    hub->self = self;
    hub->head = hub->floor = revision;
    *ret_hub = hub;
    return SYN_OK;
}

struct syn_store_hub *
syn_store_hub_free(struct syn_store_hub *hub)
{
    if (!hub)
        return NULL;
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    pthread_cond_signal(&hub->work);
    pthread_mutex_unlock(&hub->lock);
    if (hub->started)
        pthread_join(hub->thread, NULL);
    while (hub->first)
        list_remove(hub, hub->first);
    ring_clear(hub);
    pthread_cond_destroy(&hub->idle);
    pthread_cond_destroy(&hub->work);
    pthread_mutex_destroy(&hub->lock);
    syn_free(hub);
    return NULL;
}
