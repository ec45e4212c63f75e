/* The runtime from inside: workers, where ready work lies, and how sleepers are woken. */
#ifndef SYNOR_COMPUTE_WORKER_PRIV_H
#define SYNOR_COMPUTE_WORKER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include <synor/fork.h>
#include <synor/runtime.h>

#include "park_priv.h"
#include "spin_priv.h"

#define SYN_LINE        128 /* two cache lines: the prefetcher fetches them in pairs */
#define SYN_CHUNK_MAX   64  /* calls taken from a submitter at a time */
#define SYN_LEVELS      (SYN_PRIORITY_MAX - SYN_PRIORITY_MIN + 1)
#define SYN_LEVEL_PLAIN (-SYN_PRIORITY_MIN)

struct syn_task;
struct syn_task_more;

/* Work that is kept elsewhere: asked when a worker finds nothing of its own. `index` is that of one
 * of the runtime's own threads. */
struct syn_source {
    void *self;
    bool (*take)(void *self, struct syn_worker *worker); /* run one piece; false: there is none */
    bool (*any)(const void *self, unsigned index);       /* would take() find something? */
    void (*parks)(void *self, unsigned index, bool begins); /* it goes to sleep; it woke up */
};

/* A call that waits. */
struct syn_call_item {
    void (*run)(void *arg);
    void *arg;
};

/* Ready tasks that others may take; a chain through syn_task.next. */
struct syn_pile {
    _Alignas(SYN_LINE) struct syn_spin lock;
    _Atomic uint32_t count;
    struct syn_task *head;
    struct syn_task *tail; /* levels only, which are queues; a worker's pile is a stack */
};

/* Padded on purpose: what different threads write lies on different lines.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct syn_worker {
    struct syn_fork_deque deque; /* first: fork.h reaches it through the worker's pointer */
    /* The shared part of the deque: index of the first offer not stolen | first private one << 32.
     */
    _Alignas(SYN_LINE) _Atomic uint64_t shared;

    /* The owner's. */
    _Alignas(SYN_LINE) struct syn_runtime *runtime;
    struct syn_fork *overflow; /* frames of forks that ran at once, see fork.c */
    size_t overflow_count, overflow_cap;
    struct syn_task *ready; /* stack of ready tasks of plain priority */
    uint32_t ready_count;
    uint32_t batch_next, batch_end;
    uint32_t chunk;     /* how many calls to take at once: what lasts about PACE_NS */
    uint32_t pace_left; /* calls until the clock is looked at again */
    uint32_t pace_count;
    int64_t pace_ns;
    int64_t patience_ns; /* how long it watches before it sleeps */
    int64_t idle_ns;     /* since when it has been watching, or slept after that; 0: it has not */
    uint32_t source_row; /* times more that the source is asked first */
    uint32_t turns;      /* times that it began to look for work, after something else or nothing */
    uint32_t index;
    uint32_t scan;                             /* where the last search for work succeeded */
    bool spinner;                              /* it holds idle.spinning */
    _Atomic uint64_t steals, shares, parks;    /* the owner counts, others look */
    struct syn_task *current;                  /* being run; NULL once it is to end later */
    int current_code;                          /* what it has to end with, or 0 */
    struct syn_task *finished, *finished_last; /* to be given back, see task.c */
    uint32_t finished_count, spare_count;
    struct syn_extra_edge *spare, *spare_last; /* edges, the same */
    struct syn_call_item batch[SYN_CHUNK_MAX];

    _Alignas(SYN_LINE) _Atomic uint64_t executed; /* written by the owner, read by who waits */
    _Atomic uint64_t deferred; /* run once and to be run again, or ended, later: as submitted */
    struct syn_pile pile;
    _Alignas(SYN_LINE) struct syn_parker parker;
    pthread_t thread;
    bool seated; /* guests: taken; under runtime.seats */
};

/* One submitting thread's queue: it alone appends, workers take under the lock. */
struct syn_lane;

struct syn_runtime {
    /* Read by everybody before every call, written seldom. */
    _Alignas(SYN_LINE) _Atomic uint32_t urgent; /* bit L: level L has waiting calls */
    _Atomic uint32_t stopping;
    _Atomic uint32_t lanes_count;
    _Atomic uint32_t active; /* threads that work now */
    unsigned workers_count;  /* threads of ours; guests follow them in `workers` */
    unsigned seats_count;    /* workers and guests */
    unsigned started;        /* threads to join */
    bool alone;              /* no threads, one seat: nobody to share with */
    struct syn_worker **workers;
    struct syn_lane **lanes;
    int64_t spin_ns;
    bool adapts; /* spin_ns is the most that a worker watches; it learns how long is worth it */
    struct syn_idle idle;
    struct syn_pile levels[SYN_LEVELS];          /* ready tasks of other than plain priority */
    _Alignas(SYN_LINE) _Atomic uint32_t waiters; /* in syn_runtime_wait() */
    _Atomic uint64_t wakes;
    struct syn_waitword quiet; /* those of them without a seat sleep here */
    _Atomic(const struct syn_source *) source;
    pthread_mutex_t seats;
    struct syn_tasks *tasks; /* task.c's */
};

/* A counter that its owner alone advances and others read. */
static inline void
syn_count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* How long to watch for work the next time, when it came `gap_ns` after the watching began: all of
 * `spin_ns` where that would have seen it come, else half as long as before. So a worker that is
 * asked once in 5 ms soon sleeps at once, and one that is asked again soon is there. */
static inline int64_t
syn_worker_patience(int64_t patience_ns, int64_t spin_ns, int64_t gap_ns)
{
    return gap_ns <= spin_ns ? spin_ns : patience_ns / 2;
}

/* Of its ready tasks, has it to leave some where others find them? */
static inline bool
syn_worker_should_share(const struct syn_worker *worker)
{
    return worker->ready != NULL && !worker->runtime->alone &&
           atomic_load_explicit(&worker->pile.count, memory_order_relaxed) == 0;
}

/* ---- worker.c ---- */

/* After work was published: see that somebody looks. */
void syn_worker_wake_slow(struct syn_runtime *runtime);
/* A task became ready: to the queue of its level; any thread. */
void syn_level_push(struct syn_runtime *runtime, struct syn_task *task);
/* It has found work: somebody else may be needed to watch for what it leaves. */
void syn_worker_stop_watching(struct syn_worker *worker);
/* Return when the task is over, working meanwhile where there is work and a seat. `start` (may be
 * NULL) is called first, with the seat's worker, or NULL where there is no seat. */
void syn_worker_help(struct syn_runtime *runtime, struct syn_task_more *task,
                     void (*start)(struct syn_worker *worker, void *arg), void *arg);
/* Wake whoever sleeps in seat `from` or a later one. */
void syn_worker_wake_seats(struct syn_runtime *runtime, unsigned from);
/* Have thread `index` look for work; after that was published. */
void syn_worker_wake_one(struct syn_runtime *runtime, unsigned index);
/* So many calls have ended on this worker. */
void syn_worker_count(struct syn_worker *worker, uint32_t count);
/* From now on, until the runtime ends. */
void syn_runtime_set_source(struct syn_runtime *runtime, const struct syn_source *source);
void *syn_worker_main(void *worker);
/* The calling thread's seat. */
extern _Thread_local struct syn_worker *syn_self SYN_TLS_FAST;

static inline void
syn_worker_wake(struct syn_runtime *runtime)
{
    syn_fence_light();
    if (__builtin_expect(atomic_load_explicit(&runtime->idle.sleepers, memory_order_relaxed) != 0,
                         0))
        syn_worker_wake_slow(runtime);
}

/* ---- fork.c ---- */

SYN_MUST int syn_fork_init(struct syn_worker *worker, unsigned depth, struct syn_err *err);
void syn_fork_fini(struct syn_worker *worker);
/* Run one offer of `victim`, or ask it to publish some. */
bool syn_fork_steal(struct syn_worker *thief, struct syn_worker *victim);
/* Ask every other worker to publish at its next fork. */
void syn_fork_want(struct syn_worker *thief);
/* Does anybody have a published offer? */
bool syn_fork_any(const struct syn_worker *worker);

/* ---- task.c ---- */

SYN_MUST int syn_tasks_new(struct syn_runtime *runtime, struct syn_err *err);
void syn_tasks_free(struct syn_runtime *runtime);
/* A wait has told of the failures: handles are what they are. */
void syn_tasks_forget_failures(struct syn_runtime *runtime);
/* Run a ready task to its end and release what waited for it. */
void syn_task_run(struct syn_worker *worker, struct syn_task *task);
/* The same, count it, and then perhaps run some more that are ready. */
void syn_task_run_row(struct syn_worker *worker, struct syn_task *task);

#endif
