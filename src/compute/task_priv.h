/* A task's record. */
#ifndef SYNOR_COMPUTE_TASK_PRIV_H
#define SYNOR_COMPUTE_TASK_PRIV_H

#include <stdatomic.h>
#include <stddef.h>

#include <synor/graph.h>

#include "worker_priv.h"

#define SYN_TASK_BYTES  128 /* also the alignment: an edge finds its task by clearing low bits */
#define SYN_USES_INLINE 4

/* A reference to a task that may have ended and been used again since: its address, and in the
 * upper 16 bits the generation that it had. 0 refers to nothing. */
typedef uint64_t syn_task_ref;
#define SYN_REF_SHIFT 48
#define SYN_REF_MASK  (((uint64_t)1 << SYN_REF_SHIFT) - 1)

/* An edge, "that task waits for this one", is a word in the waiting task's record (or, when one use
 * waits for several, in an extra edge, with bit 0 of its address set): the next edge of the list.
 */
typedef uint64_t syn_edge;
#define SYN_EDGE_EXTRA ((uint64_t)1)
#define SYN_EDGE_ORDER ((uint64_t)2) /* it waits, but does not need the result */
#define SYN_EDGE_FLAGS ((uint64_t)7)

struct syn_extra_edge {
    syn_edge next;
    struct syn_task *to;
};

struct syn_task_use {
    uint64_t data; /* struct syn_data *, see SYN_TASK_HOLDS */
    syn_edge edge;
};

/* What few tasks have. */
struct syn_task_more {
    _Atomic uint32_t done;     /* futex word: 1 when over */
    _Atomic uint32_t refs;     /* the user's handle, and the runtime until it is over */
    _Atomic uint32_t sleepers; /* threads in syn_task_wait() */
    struct syn_runtime *runtime;
    syn_task_ref self;
    void (*callback)(void *arg, int code);
    void *callback_arg;
    int code; /* how it ended */
};

/* What happens to a ready task lies in its first cache line. Of a captured one that is all that a
 * run looks at. */
struct syn_task {
    /* Generation << 48 | the first edge of those who wait for this task. The generation becomes odd
     * when the record is taken, and even when the task ends, in the same exchange that takes the
     * list: who linked before is in the list, who comes later sees that there is nothing to wait
     * for. */
    union {
        _Atomic uint64_t successors;
        uint64_t released_count; /* captured: of `released` */
    };
    _Atomic int32_t awaited; /* edges to this task not yet released */
    uint8_t uses_count;      /* handles held */
    uint8_t level;
    uint8_t flags;
    uint8_t pad;
    syn_task_fn *run;
    void *arg;
    struct syn_task *next; /* in whatever list it is */
    union {
        struct syn_task_more *more;
        struct syn_task *const *released; /* captured: those that wait for it */
    };
    _Atomic int32_t error; /* of a task it depended on, or its cancellation: it will not run */
    uint32_t name; /* captured: how many tasks it waits for; else the generation that failed, while
                      that is remembered, or 0 */
    struct syn_graph *graph; /* captured: whose it is; else NULL */
    struct syn_task_use uses[SYN_USES_INLINE];
};

/* Its function is called even when the task is not to run, because it was cancelled or because of
 * what it depended on: worker->current_code then is what it has to return. */
#define SYN_TASK_ALWAYS   1
#define SYN_TASK_SETTLES  2  /* it comes between groups, see data.c */
#define SYN_TASK_HOLDS    4  /* `uses[].data` are handles that it commutes or reduces on, */
#define SYN_TASK_TAKES    8  /* those with SYN_HELD_TAKEN to be taken before it runs */
#define SYN_TASK_DISTINCT 16 /* it uses every piece of data once, and as many as it likes */
#define SYN_HELD_TAKEN    ((uint64_t)1)
SYN_MUST int syn_task_submit_flagged(struct syn_runtime *runtime, const struct syn_task_spec *spec,
                                     uint8_t flags, struct syn_task **ret_task,
                                     struct syn_err *err);
/* INVALID when a spec cannot be submitted to anything. */
SYN_MUST int syn_task_spec_check(const struct syn_task_spec *spec, struct syn_err *err);
/* A task of plain priority became ready on this worker. */
static inline void
syn_worker_push(struct syn_worker *worker, struct syn_task *task)
{
    task->next = worker->ready;
    worker->ready = task;
    worker->ready_count++;
}
/* To the worker's ready tasks, or where any worker finds it. */
void syn_task_ready(struct syn_runtime *runtime, struct syn_worker *worker, struct syn_task *task);
/* From inside a task's function: it is not over when that returns, but when syn_task_finish() says
 * so. Not for captured tasks. Until syn_task_begin() it can be cancelled. */
struct syn_task *syn_task_later(struct syn_worker *worker);
/* It begins, or begins again: 0, or the code that it has to be finished with. */
SYN_MUST int syn_task_begin(struct syn_task *task);
/* It has begun, and will take a while: bring nearer what its end will look at first. */
static inline void
syn_task_foresee_end(const struct syn_task *task)
{
    uint64_t edge = atomic_load_explicit(&task->successors, memory_order_relaxed) & SYN_REF_MASK;

    if (edge != 0)
        __builtin_prefetch((const void *)(uintptr_t)(edge & ~SYN_EDGE_FLAGS), 1);
}
/* Such a task is over. `worker`: the calling thread's, or NULL: the runtime's workers see to it. */
void syn_task_finish(struct syn_runtime *runtime, struct syn_worker *worker, struct syn_task *task,
                     int code);
/* It is over: tell who waits. True: nobody refers to it any more. */
bool syn_task_announce(struct syn_task_more *more, int code);

void syn_task_init_captured(struct syn_task *task, const struct syn_task_spec *spec,
                            struct syn_graph *graph);
/* It will not run, if it has not begun. */
void syn_task_note_error(struct syn_task *task, int code);
/* What the worker would run next, if that is a task of its own and nothing else is to be looked at
 * first: what is urgent, or that somebody wakes for what is in the background. */
static inline struct syn_task *
syn_worker_next(struct syn_worker *worker)
{
    uint32_t urgent = atomic_load_explicit(&worker->runtime->urgent, memory_order_acquire);
    struct syn_task *task = worker->ready;

    if (task == NULL || urgent != 0)
        return NULL;
    SYN_PERTURB();
    if (task->next != NULL && syn_worker_should_share(worker))
        return NULL;
    worker->ready = task->next;
    worker->ready_count--;
    return task;
}

/* graph.c: run a captured task to its end and release what waited for it; then perhaps some more
 * that are ready. */
void syn_graph_run_tasks(struct syn_worker *worker, struct syn_task *task);

_Static_assert(sizeof(struct syn_task) == SYN_TASK_BYTES, "an edge could not find its task");
_Static_assert(offsetof(struct syn_task, uses) == 64, "a captured task takes more than one line");

#endif
