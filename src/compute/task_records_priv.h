/* Where tasks' records and extra edges come from, and where they go. */
#ifndef SYNOR_COMPUTE_TASK_RECORDS_PRIV_H
#define SYNOR_COMPUTE_TASK_RECORDS_PRIV_H

#include "task_priv.h"
#include "worker_priv.h"

#define SYN_SLAB_BYTES \
    ((size_t)2 << 20) /* a huge page, where they are to be had; also aligned so */
#define SYN_SLAB_WORDS   (SYN_SLAB_BYTES / SYN_TASK_BYTES / 64)
#define SYN_RETURN_BATCH 32 /* records that a worker gives back at a time */

/* Records, of which the first few are this. */
struct syn_task_slab {
    struct syn_task_slab *next;
    size_t low;                    /* no word before this one has a bit */
    uint64_t free[SYN_SLAB_WORDS]; /* a bit a record that has come back and is not in the stock */
};

struct syn_edge_slab;

/* Per runtime. */
struct syn_tasks {
    _Alignas(SYN_LINE) struct syn_spin order; /* the one order of submissions */
    struct syn_task *stock;                   /* records to use, under `order` */
    struct syn_task *fresh;                   /* of the newest slab, not written yet */
    size_t fresh_count;
    struct syn_extra_edge *edges; /* extra edges to use, under `order` */
    size_t edges_count;           /* of those */
    struct syn_task_slab *slabs;  /* the newest first */
    struct syn_edge_slab *edge_slabs;
    /* Those that failed since the last wait, the oldest first; see the end of a task. */
    _Alignas(SYN_LINE) struct syn_spin failed_lock;
    _Atomic uint32_t failed_count;
    struct syn_task *failed, *failed_last;
    /* Chains that workers gave back. */
    _Alignas(SYN_LINE) _Atomic(struct syn_task *) returned;
    _Atomic(struct syn_extra_edge *) returned_edges;
};

/* The stock is empty: what workers gave back, or new ones. Under `order`. */
SYN_MUST int syn_tasks_refill(struct syn_tasks *tasks, struct syn_err *err);
/* Put `count` extra edges within reach, so that linking cannot fail halfway. Under `order`. */
SYN_MUST int syn_tasks_reserve_edges(struct syn_tasks *tasks, size_t count, struct syn_err *err);
/* Give a chain of records back to the submitters; any thread. */
void syn_tasks_return(struct syn_tasks *tasks, struct syn_task *first, struct syn_task *last);
void syn_tasks_return_edges(struct syn_tasks *tasks, struct syn_extra_edge *first,
                            struct syn_extra_edge *last);
/* It failed, is over and marked so: not to be used again before a wait has told of it. */
void syn_tasks_keep_failed(struct syn_tasks *tasks, struct syn_task *task);

/* Give a record back where no other thread is. Records come into use again in the order of their
 * addresses, whatever the order in which tasks ended: a program that submits many tasks walks
 * through memory, and one that has few at a time has the same few lines. */
static inline void
syn_tasks_put_back(struct syn_task *task)
{
    uintptr_t at = (uintptr_t)task & (SYN_SLAB_BYTES - 1);
    struct syn_task_slab *slab = (struct syn_task_slab *)((uintptr_t)task - at);
    size_t word = at / SYN_TASK_BYTES / 64;

    slab->free[word] |= UINT64_C(1) << (at / SYN_TASK_BYTES % 64);
    slab->low = SYN_MIN(slab->low, word);
}

/* The task is over and nobody refers to it. `single`: see syn_single_threaded(). */
static inline void
syn_tasks_recycle(struct syn_worker *worker, struct syn_task *task, bool single)
{
    if (single) {
        syn_tasks_put_back(task);
        return;
    }
    if (worker->finished == NULL)
        worker->finished_last = task;
    task->next = worker->finished;
    worker->finished = task;
    if (++worker->finished_count >= SYN_RETURN_BATCH) {
        syn_tasks_return(worker->runtime->tasks, worker->finished, worker->finished_last);
        worker->finished = NULL;
        worker->finished_count = 0;
    }
}

/* The same for an extra edge. */
static inline void
syn_tasks_put_back_edge(struct syn_worker *worker, struct syn_extra_edge *edge, bool single)
{
    struct syn_tasks *tasks = worker->runtime->tasks;

    if (single) {
        edge->next = (uintptr_t)tasks->edges;
        tasks->edges = edge;
        tasks->edges_count++;
        return;
    }
    if (worker->spare == NULL)
        worker->spare_last = edge;
    edge->next = (uintptr_t)worker->spare;
    worker->spare = edge;
    if (++worker->spare_count >= SYN_RETURN_BATCH) {
        syn_tasks_return_edges(tasks, worker->spare, worker->spare_last);
        worker->spare = NULL;
        worker->spare_count = 0;
    }
}

/* Take the first record of the stock, which is `task`. Under `order`. */
static inline void
syn_tasks_pop(struct syn_tasks *tasks, struct syn_task *task)
{
    tasks->stock = task->next;
    __builtin_prefetch(task->next, 1); /* workers may have had it */
    __builtin_prefetch((const char *)task->next + SYN_TASK_BYTES / 2, 1);
    atomic_store_explicit(&task->successors,
                          atomic_load_explicit(&task->successors, memory_order_relaxed) +
                              ((uint64_t)1 << SYN_REF_SHIFT),
                          memory_order_relaxed);
}

/* A record. Under `order`. */
static inline SYN_MUST int
syn_tasks_take(struct syn_tasks *tasks, struct syn_task **ret_task, struct syn_err *err)
{
    if (__builtin_expect(tasks->stock == NULL, 0)) {
        int rc = syn_tasks_refill(tasks, err);

        if (rc < 0)
            return rc;
    }
    *ret_task = tasks->stock;
    syn_tasks_pop(tasks, *ret_task);
    return SYN_OK;
}

#endif
