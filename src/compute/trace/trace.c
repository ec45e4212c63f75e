/* The recorder: one ring a thread, one lock for everything that is not recording.
 *
 *     writer's thread                          whoever drains
 *     events[tail % size] = event              take [head, tail) aside
 *     tail + 1  ---- release / acquire ---->   read tail
 *     read head <--- acquire / release -----   head = tail
 *
 * A writer looks at `head` only when its ring seems full, so that in the common case it touches
 * nothing that another thread writes. A full ring drops what is new: what is recorded is then a
 * true beginning, and dependencies keep both their ends. Rings are found through a small table in
 * the thread, by the recorder's serial number, which is never used twice; a thread that ended
 * leaves its ring to the next one that the system gives its name to. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/trace.h>

#include "trace_priv.h"

#define CACHED         4 /* recorders that a thread finds without a lock */
#define RING_DEFAULT   ((size_t)1 << 16)
#define EVENTS_DEFAULT ((size_t)1 << 20)

struct ring {
    struct syn_trace_event *events;
    uint64_t mask;
    pthread_t owner;
    _Atomic uint64_t tail; /* the writer's */
    uint64_t head_seen;    /* the writer's */
    _Atomic uint64_t dropped;
    char padding[64];
    _Atomic uint64_t head; /* who drains */
};

struct syn_trace {
    uint32_t on; /* first: syn_trace_on() reads it */
    uint64_t serial;
    size_t ring_events, events_max;
    _Atomic uint64_t ringless; /* events dropped for want of a ring */

    pthread_mutex_t lock; /* everything below, and every ring's head */
    struct ring *rings[SYN_TRACE_WRITERS_MAX];
    size_t rings_count;
    struct syn_trace_event *events; /* drained */
    size_t events_count, events_cap;
    uint64_t overflowed;     /* dropped because events_max are kept */
    uint64_t dropped_told;   /* of all that was dropped, told by a collection */
    struct syn_map *by_name; /* to the name's number + 1 */
    char **names;            /* by number; names[0] is "" */
    size_t names_count, names_cap;
    struct syn_trace_data *scene; /* data that hold a scene and nothing else; NULL: none */
};

static _Thread_local struct {
    uint64_t serial;
    struct ring *ring; /* NULL: there is none for this thread */
} cache[CACHED] SYN_TLS_FAST;
static _Atomic uint64_t serials;

uint64_t
syn_trace_now(void)
{
    return (uint64_t)syn_clock_ns();
}

static int
add_name(struct syn_trace *trace, const char *text, uint32_t *ret_number, struct syn_err *err)
{
    size_t number = trace->names_count;
    char *copy;
    int rc;

    if (number >= SYN_TRACE_NAMES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d names", SYN_TRACE_NAMES_MAX);
    copy = syn_strdup(text);
    if (copy == NULL ||
        !syn_grow(&trace->names, &trace->names_cap, number + 1, sizeof(*trace->names))) {
        syn_free(copy);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a trace's name");
    }
    rc = syn_map_put_take(trace->by_name, text, (void *)(uintptr_t)(number + 1), err);
    if (rc < 0) {
        syn_free(copy);
        return rc;
    }
    trace->names[trace->names_count++] = copy;
    *ret_number = (uint32_t)number;
    return SYN_OK;
}

int
syn_trace_new(const struct syn_trace_options *options, struct syn_trace **ret_trace,
              struct syn_err *err)
{
    struct syn_trace_options given = options != NULL ? *options : (struct syn_trace_options){0};
    struct syn_trace *trace;
    size_t size = 1;
    int rc;

    if (given.ring_events > SYN_TRACE_RING_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "ring_events: at most %zu", SYN_TRACE_RING_MAX);
    if (given.events_max > SYN_TRACE_EVENTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "events_max: at most %zu", SYN_TRACE_EVENTS_MAX);
    while (size < (given.ring_events != 0 ? given.ring_events : RING_DEFAULT))
        size *= 2;
    trace = syn_calloc(1, sizeof(*trace));
    if (trace == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a trace");
    if (pthread_mutex_init(&trace->lock, NULL) != 0) {
        syn_free(trace);
        return SYN_FAIL(err, SYN_E_NOMEM, "no lock for a trace");
    }
    trace->serial = atomic_fetch_add(&serials, 1) + 1;
    trace->ring_events = size;
    trace->events_max = given.events_max != 0 ? given.events_max : EVENTS_DEFAULT;
    rc = syn_map_new(NULL, &trace->by_name, err);
    if (rc == 0) {
        uint32_t none;

        rc = add_name(trace, "", &none, err);
    }
    if (rc < 0) {
        syn_trace_free(trace);
        return rc;
    }
    *ret_trace = trace;
    return SYN_OK;
}

struct syn_trace *
syn_trace_free(struct syn_trace *trace)
{
    if (trace == NULL)
        return NULL;
    for (size_t i = 0; i < trace->rings_count; i++) {
        syn_free(trace->rings[i]->events);
        syn_free(trace->rings[i]);
    }
    for (size_t i = 0; i < trace->names_count; i++)
        syn_free(trace->names[i]);
    syn_free(trace->names);
    syn_map_free(trace->by_name);
    syn_free(trace->events);
    syn_trace_data_free(trace->scene);
    (void)pthread_mutex_destroy(&trace->lock);
    syn_free(trace);
    return NULL;
}

void
syn_trace_switch(struct syn_trace *trace, bool on)
{
    __atomic_store_n(&trace->on, on, __ATOMIC_RELAXED);
}

uint32_t
syn_trace_name(struct syn_trace *trace, const char *text)
{
    char cut[SYN_TRACE_TEXT_MAX];
    uint32_t number;

    trace_cut(cut, text);
    (void)pthread_mutex_lock(&trace->lock);
    number = (uint32_t)(uintptr_t)syn_map_find(trace->by_name, cut);
    if (number != 0)
        number--;
    else if (add_name(trace, cut, &number, NULL) < 0)
        number = 0;
    (void)pthread_mutex_unlock(&trace->lock);
    return number;
}

/* This thread's ring, made or adopted; NULL when there is none to be had. */
static struct ring *
ring_get(struct syn_trace *trace)
{
    struct ring *ring;

    for (size_t i = 0; i < trace->rings_count; i++)
        if (pthread_equal(trace->rings[i]->owner, pthread_self()) != 0)
            return trace->rings[i];
    if (trace->rings_count == SYN_TRACE_WRITERS_MAX)
        return NULL;
    ring = syn_calloc(1, sizeof(*ring));
    if (ring == NULL)
        return NULL;
    ring->events = syn_alloc(trace->ring_events * sizeof(*ring->events)); /* untouched until used */
    if (ring->events == NULL) {
        syn_free(ring);
        return NULL;
    }
    ring->mask = trace->ring_events - 1;
    ring->owner = pthread_self();
    trace->rings[trace->rings_count++] = ring;
    return ring;
}

/* The slow way to a ring. What it finds, also that there is none, is kept for the next event. */
static struct ring *
ring_find(struct syn_trace *trace)
{
    struct ring *ring;

    (void)pthread_mutex_lock(&trace->lock);
    ring = ring_get(trace);
    (void)pthread_mutex_unlock(&trace->lock);
    cache[trace->serial % CACHED].serial = trace->serial;
    cache[trace->serial % CACHED].ring = ring;
    return ring;
}

bool
syn_trace_put(struct syn_trace *trace, const struct syn_trace_event *event)
{
    size_t slot = trace->serial % CACHED;
    struct ring *ring = cache[slot].serial == trace->serial ? cache[slot].ring : ring_find(trace);
    uint64_t tail;

    if (ring == NULL) {
        atomic_fetch_add_explicit(&trace->ringless, 1, memory_order_relaxed);
        return false;
    }
    tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - ring->head_seen > ring->mask) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen > ring->mask) {
            uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);

            atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_relaxed);
            return false;
        }
    }
    ring->events[tail & ring->mask] = *event;
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

void
syn_trace_mark(struct syn_trace *trace, const char *text)
{
    uint64_t now = syn_trace_now();

    if (!syn_trace_on(trace))
        return;
    (void)syn_trace_put(trace, &(struct syn_trace_event){.kind = SYN_TRACE_MARK,
                                                         .begin_ns = now,
                                                         .end_ns = now,
                                                         .name = syn_trace_name(trace, text),
                                                         .worker = SYN_TRACE_NONE,
                                                         .device = SYN_TRACE_NONE});
}

int
syn_trace_set_scene(struct syn_trace *trace, const struct syn_trace_scene *scene,
                    struct syn_err *err)
{
    struct syn_trace_data *copy, *old, given = {.scene = *scene};
    int rc = trace_data_dup(&given, &copy, err);

    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&trace->lock);
    old = trace->scene;
    trace->scene = copy;
    (void)pthread_mutex_unlock(&trace->lock);
    syn_trace_data_free(old);
    return SYN_OK;
}

/* Append what lies in a ring to what was drained. */
static int
drain_ring(struct syn_trace *trace, struct ring *ring, struct syn_err *err)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    uint64_t room = trace->events_max - trace->events_count;
    uint64_t count = SYN_MIN(tail - head, room);

    if (count != 0 && !syn_grow(&trace->events, &trace->events_cap, trace->events_count + count,
                                sizeof(*trace->events)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu events of a trace",
                        trace->events_count + (size_t)count);
    for (uint64_t i = 0; i < count; i++)
        trace->events[trace->events_count++] = ring->events[(head + i) & ring->mask];
    trace->overflowed += tail - head - count;
    atomic_store_explicit(&ring->head, tail, memory_order_release);
    return SYN_OK;
}

static int
drain_all(struct syn_trace *trace, struct syn_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < trace->rings_count && rc == 0; i++)
        rc = drain_ring(trace, trace->rings[i], err);
    return rc;
}

int
syn_trace_drain(struct syn_trace *trace, struct syn_err *err)
{
    int rc;

    (void)pthread_mutex_lock(&trace->lock);
    rc = drain_all(trace, err);
    (void)pthread_mutex_unlock(&trace->lock);
    return rc;
}

static uint64_t
dropped_ever(struct syn_trace *trace)
{
    uint64_t dropped =
        trace->overflowed + atomic_load_explicit(&trace->ringless, memory_order_relaxed);

    for (size_t i = 0; i < trace->rings_count; i++)
        dropped += atomic_load_explicit(&trace->rings[i]->dropped, memory_order_relaxed);
    return dropped;
}

static int
by_begin(const void *a, const void *b)
{
    const struct syn_trace_event *x = a, *y = b;

    return x->begin_ns != y->begin_ns ? (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns)
                                      : (x->end_ns < y->end_ns) - (x->end_ns > y->end_ns);
}

int
syn_trace_collect(struct syn_trace *trace, struct syn_trace_data **ret_data, struct syn_err *err)
{
    struct syn_trace_data shown, *data = NULL;
    uint64_t dropped;
    int rc;

    (void)pthread_mutex_lock(&trace->lock);
    rc = drain_all(trace, err);
    dropped = dropped_ever(trace);
    shown = (struct syn_trace_data){.scene = trace->scene != NULL ? trace->scene->scene
                                                                  : (struct syn_trace_scene){0},
                                    .names = (const char *const *)trace->names,
                                    .names_count = (uint32_t)trace->names_count,
                                    .dropped = dropped - trace->dropped_told};
    if (rc == 0)
        rc = trace_data_dup(&shown, &data, err);
    if (rc == 0) {
        if (trace->events_count != 0)
            qsort(trace->events, trace->events_count, sizeof(*trace->events), by_begin);
        data->events_count = trace->events_count;
        data->events = SYN_TAKE(trace->events);
        trace->events_count = trace->events_cap = 0;
        trace->dropped_told = dropped;
    }
    (void)pthread_mutex_unlock(&trace->lock);
    if (rc == 0)
        *ret_data = data;
    return rc;
}
