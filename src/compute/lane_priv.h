/* A submitter's lane from inside: what every submission does with it takes a handful of
 * instructions and is done in place. See lane.c. */
#ifndef SYNOR_COMPUTE_LANE_PRIV_H
#define SYNOR_COMPUTE_LANE_PRIV_H

#include "worker_priv.h"

#define SYN_SEGMENT_CALLS 1024 /* 16 KiB */

struct syn_lane_segment {
    struct syn_lane_segment *next; /* set before the count that needs it is published */
    struct syn_call_item calls[SYN_SEGMENT_CALLS];
};

struct syn_lane {
    /* The submitter's. */
    _Alignas(SYN_LINE) _Atomic uint64_t put; /* calls appended, ever */
    _Atomic uint64_t tasks;                  /* submitted by this thread, not through the lane */
    struct syn_lane_segment *tail;
    _Atomic(struct syn_runtime *) runtime; /* NULL: it ended */
    struct syn_lane *next_of_thread;
    /* The takers'. */
    _Alignas(SYN_LINE) struct syn_spin lock;
    _Atomic uint64_t taken;
    struct syn_lane_segment *head;
    /* Between them. */
    _Alignas(SYN_LINE) struct syn_spin stock_lock;
    struct syn_lane_segment *stock;
    unsigned stock_count;
    bool owned; /* by a living thread; under the registry's lock */
};

/* The lanes of this thread, one a runtime; the one used last comes first. */
extern _Thread_local struct syn_lane *syn_lanes_mine SYN_TLS_FAST;

/* It is not the first of this thread's, or there is none yet. */
SYN_MUST int syn_lane_find(struct syn_runtime *runtime, struct syn_lane **ret_lane,
                           struct syn_err *err);
/* The tail is full. */
SYN_MUST int syn_lane_extend(struct syn_lane *lane, uint64_t put, struct syn_err *err);

static inline struct syn_runtime *
syn_lane_runtime(const struct syn_lane *lane)
{
    return atomic_load_explicit(&lane->runtime, memory_order_relaxed);
}

/* This thread's lane, if it is the one used last; else NULL. */
static inline struct syn_lane *
syn_lane_at_hand(struct syn_runtime *runtime)
{
    struct syn_lane *lane = syn_lanes_mine;

    return __builtin_expect(lane != NULL && syn_lane_runtime(lane) == runtime, 1) ? lane : NULL;
}

static inline SYN_MUST int
syn_lane_of_thread(struct syn_runtime *runtime, struct syn_lane **ret_lane, struct syn_err *err)
{
    struct syn_lane *lane = syn_lane_at_hand(runtime);

    if (lane == NULL)
        return syn_lane_find(runtime, ret_lane, err);
    *ret_lane = lane;
    return SYN_OK;
}

static inline SYN_MUST int
syn_lane_put(struct syn_lane *lane, void (*run)(void *arg), void *arg, struct syn_err *err)
{
    uint64_t put = atomic_load_explicit(&lane->put, memory_order_relaxed);
    size_t at = put % SYN_SEGMENT_CALLS;

    if (__builtin_expect(at == 0 && put != 0, 0)) {
        int rc = syn_lane_extend(lane, put, err);

        if (rc < 0)
            return rc;
    }
    lane->tail->calls[at] = (struct syn_call_item){run, arg};
    SYN_PERTURB();
    atomic_store_explicit(&lane->put, put + 1, memory_order_release);
    return SYN_OK;
}

/* So many more tasks do not go through the lane but will be executed; before they can be. */
static inline void
syn_lane_count_tasks(struct syn_lane *lane, uint64_t count)
{
    uint64_t tasks = atomic_load_explicit(&lane->tasks, memory_order_relaxed);

    atomic_store_explicit(&lane->tasks, tasks + count, memory_order_release);
}

/* Move up to `most` calls into `out`, a fair part of what is there. */
uint32_t syn_lane_take(struct syn_lane *lane, struct syn_call_item *out, uint32_t most,
                       unsigned takers);
static inline bool
syn_lane_empty(const struct syn_lane *lane)
{
    return atomic_load_explicit(&lane->put, memory_order_relaxed) ==
           atomic_load_explicit(&lane->taken, memory_order_relaxed);
}
/* Calls and tasks submitted, ever. */
uint64_t syn_lane_submitted(const struct syn_lane *lane);
/* The runtime ends: give its lanes back, now or when the threads that have them notice. */
void syn_lanes_end(struct syn_runtime *runtime);

#endif
