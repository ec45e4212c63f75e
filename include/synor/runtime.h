/* The task runtime: threads that run what they are given, and sleep when there is nothing.
 *
 *     struct syn_runtime *runtime;
 *     struct syn_err err;
 *
 *     if (syn_runtime_new(NULL, &runtime, &err) < 0)
 *         ...
 *     syn_submit(runtime, work, argument, &err);
 *     syn_runtime_wait(runtime);
 *     syn_runtime_free(runtime);
 *
 * Plain calls go in here, tasks on data by task.h, whole graphs by graph.h, and inside any of them
 * fork.h divides the work further.
 *
 * Thread: every function may be called from any thread, also from inside tasks, unless it says
 * otherwise. */
#ifndef SYNOR_RUNTIME_H
#define SYNOR_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/fork.h>

#ifdef __cplusplus
extern "C" {
#endif

struct syn_runtime;

#define SYN_WORKERS_MAX    256
#define SYN_SUBMITTERS_MAX 256 /* threads that submit to one runtime */
/** Calls that wait in one submitter's queue. */
#define SYN_QUEUED_MAX ((uint64_t)1 << 26)
/** Priorities run from MIN (background) over 0 to MAX (urgent); others are brought into range. */
#define SYN_PRIORITY_MIN (-8)
#define SYN_PRIORITY_MAX 7

/** Everything may be left 0. */
struct syn_runtime_options {
    unsigned workers;    /* threads; 0: one a processor this process may use */
    unsigned guests;     /* seats for threads that wait or run, who then work too; 0: 4 */
    unsigned fork_depth; /* offers of one worker at a time; 0: 2^20. Beyond it a fork is a call */
    bool no_workers;     /* no threads at all: who waits does the work */
    bool pin;            /* bind worker I to processor I of those allowed */
    int64_t spin_ns;     /* how long one idle worker watches before it sleeps, each time;
                            0: 50 us, and less where that has found nothing; < 0: never */
};

/** UNAVAILABLE when threads cannot be had; INVALID names the option. */
SYN_MUST SYN_API int syn_runtime_new(const struct syn_runtime_options *options,
                                     struct syn_runtime **ret_runtime, struct syn_err *err);
/** Wait for everything that was submitted, then end the threads. NULL is fine. Not from a task. */
SYN_API struct syn_runtime *syn_runtime_free(struct syn_runtime *runtime);

/** Have `run(arg)` called once, by any worker. In no order, and with nobody told of its end but
 *  syn_runtime_wait(). NOMEM; LIMIT when SYN_QUEUED_MAX calls wait or too many threads submit. */
SYN_MUST SYN_API int syn_submit(struct syn_runtime *runtime, void (*run)(void *arg), void *arg,
                                struct syn_err *err);
/** The same, ahead of everything that is less urgent. */
SYN_MUST SYN_API int syn_submit_urgent(struct syn_runtime *runtime, void (*run)(void *arg),
                                       void *arg, int priority, struct syn_err *err);
/** Have `run` called for each of `count` arguments, which lie `stride` bytes apart from `args` on
 *  and must stay there until they have run. One submission, divided among the workers. */
SYN_MUST SYN_API int syn_submit_many(struct syn_runtime *runtime, void (*run)(void *arg),
                                     void *args, size_t stride, size_t count, struct syn_err *err);

/** Return when nothing submitted so far is left to do, helping meanwhile where a seat is free.
 *  Not from a task. */
SYN_API void syn_runtime_wait(struct syn_runtime *runtime);

/** Call `run(worker, at, arg)` on this thread with a seat of its own, so that it can fork. LIMIT
 * when all seats are taken. Inside a task it uses that task's worker. */
SYN_MUST SYN_API int syn_runtime_run(struct syn_runtime *runtime,
                                     void (*run)(struct syn_worker *worker, struct syn_fork *at,
                                                 void *arg),
                                     void *arg, struct syn_err *err);

/** What a runtime has done; sums over its workers, not one instant's truth while they work. */
struct syn_runtime_stats {
    unsigned workers, guests;
    uint64_t calls;  /* run to their end, tasks included */
    uint64_t steals; /* offers of a fork that another worker ran */
    uint64_t shares; /* times that ready tasks moved between workers */
    uint64_t parks;  /* times that a worker went to sleep */
    uint64_t wakes;
};
SYN_API void syn_runtime_stats(const struct syn_runtime *runtime,
                               struct syn_runtime_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
