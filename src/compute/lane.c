/* A lane: the queue of one submitting thread. Only that thread appends, so appending is two plain
 * stores of the call and one of the count; workers take whole chunks under a lock that the
 * submitter never touches. Calls lie in segments that are linked as they fill and handed back
 * through the lane's small stock of empty ones, so memory follows the backlog. */
#include "lane_priv.h"

#include <inttypes.h>
#include <string.h>

#include <synor/base/mem.h>

#define STOCK_MAX 8 /* empty segments kept */

_Thread_local struct syn_lane *syn_lanes_mine SYN_TLS_FAST;

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t leaving;
static pthread_once_t leaving_once = PTHREAD_ONCE_INIT;

static void
free_segments(struct syn_lane *lane)
{
    for (struct syn_lane_segment *at = lane->head, *next; at != NULL; at = next) {
        next = at == lane->tail ? NULL : at->next;
        syn_free(at);
    }
    for (struct syn_lane_segment *at = lane->stock, *next; at != NULL; at = next) {
        next = at->next;
        syn_free(at);
    }
    lane->head = lane->tail = lane->stock = NULL;
}

/* A thread ends: its lanes wait in their runtimes for the next thread that comes. */
static void
disown(void *lanes)
{
    (void)pthread_mutex_lock(&registry);
    for (struct syn_lane *lane = lanes, *next; lane != NULL; lane = next) {
        next = lane->next_of_thread;
        lane->next_of_thread = NULL;
        lane->owned = false;
        if (syn_lane_runtime(lane) == NULL)
            syn_free(lane);
    }
    (void)pthread_mutex_unlock(&registry);
}

static void
make_key(void)
{
    (void)pthread_key_create(&leaving, disown);
}

static struct syn_lane *
lane_new(struct syn_runtime *runtime)
{
    struct syn_lane *lane = NULL;
    struct syn_lane_segment *first = syn_alloc(sizeof(*first));

    if (first != NULL)
        lane = syn_alloc_aligned(SYN_LINE, sizeof(*lane));
    if (lane == NULL) {
        syn_free(first);
        return NULL;
    }
    *lane = (struct syn_lane){.tail = first, .head = first};
    atomic_store_explicit(&lane->runtime, runtime, memory_order_relaxed);
    first->next = NULL;
    return lane;
}

/* With the registry locked: a lane that nobody has, or a new one. */
static SYN_MUST int
adopt(struct syn_runtime *runtime, struct syn_lane **ret_lane, struct syn_err *err)
{
    uint32_t count = atomic_load_explicit(&runtime->lanes_count, memory_order_relaxed);
    struct syn_lane *lane = NULL;

    for (uint32_t i = 0; i < count && lane == NULL; i++) {
        if (!runtime->lanes[i]->owned)
            lane = runtime->lanes[i];
    }
    if (lane == NULL) {
        if (count == SYN_SUBMITTERS_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "more than %d threads submit to one runtime",
                            SYN_SUBMITTERS_MAX);
        lane = lane_new(runtime);
        if (lane == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a submitter's queue");
        runtime->lanes[count] = lane;
        atomic_store_explicit(&runtime->lanes_count, count + 1, memory_order_release);
    }
    lane->owned = true;
    *ret_lane = lane;
    return SYN_OK;
}

/* Take this thread's lane of the runtime out of its list, and lanes of ended runtimes with it. */
static struct syn_lane *
unlink_mine(const struct syn_runtime *runtime)
{
    struct syn_lane *found = NULL;

    for (struct syn_lane **slot = &syn_lanes_mine; *slot != NULL;) {
        struct syn_lane *lane = *slot;

        if (syn_lane_runtime(lane) != NULL && syn_lane_runtime(lane) != runtime) {
            slot = &lane->next_of_thread;
            continue;
        }
        *slot = lane->next_of_thread;
        if (syn_lane_runtime(lane) == runtime)
            found = lane;
        else
            syn_free(lane);
    }
    return found;
}

int
syn_lane_find(struct syn_runtime *runtime, struct syn_lane **ret_lane, struct syn_err *err)
{
    struct syn_lane *lane;
    int rc = SYN_OK;

    (void)pthread_once(&leaving_once, make_key);
    (void)pthread_mutex_lock(&registry);
    lane = unlink_mine(runtime);
    if (lane == NULL)
        rc = adopt(runtime, &lane, err);
    if (lane != NULL) {
        lane->next_of_thread = syn_lanes_mine;
        syn_lanes_mine = lane;
        *ret_lane = lane;
    }
    (void)pthread_setspecific(leaving, syn_lanes_mine);
    (void)pthread_mutex_unlock(&registry);
    return rc;
}

void
syn_lanes_end(struct syn_runtime *runtime)
{
    uint32_t count = atomic_load_explicit(&runtime->lanes_count, memory_order_relaxed);
    struct syn_lane *own;

    (void)pthread_mutex_lock(&registry);
    own = unlink_mine(runtime);
    if (own != NULL)
        own->owned = false;
    for (uint32_t i = 0; i < count; i++) {
        struct syn_lane *lane = runtime->lanes[i];
        bool elsewhere = lane->owned; /* in another thread's list, which still points here */

        free_segments(lane);
        atomic_store_explicit(&lane->runtime, NULL, memory_order_relaxed);
        if (!elsewhere)
            syn_free(lane);
    }
    (void)pthread_mutex_unlock(&registry);
}

/* ---- the submitter ---- */

static struct syn_lane_segment *
next_segment(struct syn_lane *lane)
{
    struct syn_lane_segment *segment;

    syn_spin_lock(&lane->stock_lock);
    segment = lane->stock;
    if (segment != NULL) {
        lane->stock = segment->next;
        lane->stock_count--;
    }
    syn_spin_unlock(&lane->stock_lock);
    return segment != NULL ? segment : syn_alloc(sizeof(*segment));
}

/* The tail is full. */
int
syn_lane_extend(struct syn_lane *lane, uint64_t put, struct syn_err *err)
{
    struct syn_lane_segment *segment;

    if (put - atomic_load_explicit(&lane->taken, memory_order_relaxed) >= SYN_QUEUED_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%" PRIu64 " calls wait already", SYN_QUEUED_MAX);
    segment = next_segment(lane);
    if (segment == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a submitter's queue");
    segment->next = NULL;
    lane->tail->next = segment;
    lane->tail = segment;
    return SYN_OK;
}

/* ---- takers ---- */

/* The head was taken wholly, and the next one exists. */
static void
retire_head(struct syn_lane *lane)
{
    struct syn_lane_segment *old = lane->head;
    bool keep;

    lane->head = old->next;
    syn_spin_lock(&lane->stock_lock);
    keep = lane->stock_count < STOCK_MAX;
    if (keep) {
        old->next = lane->stock;
        lane->stock = old;
        lane->stock_count++;
    }
    syn_spin_unlock(&lane->stock_lock);
    if (!keep)
        syn_free(old);
}

uint32_t
syn_lane_take(struct syn_lane *lane, struct syn_call_item *out, uint32_t most, unsigned takers)
{
    uint64_t put, taken, count;
    size_t at;

    if (syn_lane_empty(lane))
        return 0;
    syn_spin_lock(&lane->lock);
    put = atomic_load_explicit(&lane->put, memory_order_acquire);
    taken = atomic_load_explicit(&lane->taken, memory_order_relaxed);
    count = SYN_MIN((put - taken + takers - 1) / takers, most);
    at = taken % SYN_SEGMENT_CALLS;
    if (count > 0 && at == 0 && taken != 0)
        retire_head(lane);
    count = SYN_MIN(count, SYN_SEGMENT_CALLS - at);
    if (count > 0)
        memcpy(out, &lane->head->calls[at], count * sizeof(*out));
    atomic_store_explicit(&lane->taken, taken + count, memory_order_release);
    syn_spin_unlock(&lane->lock);
    return (uint32_t)count;
}

uint64_t
syn_lane_submitted(const struct syn_lane *lane)
{
    return atomic_load_explicit(&lane->put, memory_order_acquire) +
           atomic_load_explicit(&lane->tasks, memory_order_acquire);
}
