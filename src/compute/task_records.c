/* Records are taken under the submission lock and come back without it, in chains that workers
 * push; who finds the stock empty takes all that came back. Those of tasks that failed come back
 * late, see the failures in task.c. */
#include "task_records_priv.h"

#include <string.h>
#include <sys/mman.h>

#include <synor/base/mem.h>

#define SLAB_FIRST 512               /* tasks; then */
#define SLAB_BYTES ((size_t)2 << 20) /* a huge page, where they are to be had */
#define SLAB_EDGES 256
#define FAILED_MAX 65536 /* failures remembered; the oldest is forgotten first */

struct syn_task_slab {
    struct syn_task_slab *next;
};

static SYN_MUST int
more_tasks(struct syn_tasks *tasks, struct syn_err *err)
{
    bool first = tasks->slabs == NULL;
    size_t bytes = first ? (size_t)(SLAB_FIRST + 1) * SYN_TASK_BYTES : SLAB_BYTES;
    struct syn_task_slab *slab = syn_alloc_aligned(first ? SYN_TASK_BYTES : SLAB_BYTES, bytes);
    struct syn_task *records;

    if (slab == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for tasks");
    if (!first)
        (void)madvise(slab, bytes, MADV_HUGEPAGE);
    slab->next = tasks->slabs;
    tasks->slabs = slab;
    records = (struct syn_task *)(void *)((char *)slab + SYN_TASK_BYTES);
    for (size_t i = bytes / SYN_TASK_BYTES - 1; i-- > 0;) {
        atomic_init(&records[i].successors, 0);
        records[i].name = 0;
        records[i].next = tasks->stock;
        tasks->stock = &records[i];
    }
    return SYN_OK;
}

static SYN_MUST int
more_edges(struct syn_tasks *tasks, struct syn_err *err)
{
    struct syn_task_slab *slab = syn_alloc((SLAB_EDGES + 1) * sizeof(struct syn_extra_edge));
    struct syn_extra_edge *edges;

    if (slab == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for dependencies");
    slab->next = tasks->slabs;
    tasks->slabs = slab;
    edges = (struct syn_extra_edge *)(void *)slab + 1;
    for (size_t i = SLAB_EDGES; i-- > 0;) {
        edges[i].next = (uintptr_t)tasks->edges;
        tasks->edges = &edges[i];
    }
    tasks->edges_count += SLAB_EDGES;
    return SYN_OK;
}

int
syn_tasks_refill(struct syn_tasks *tasks, struct syn_err *err)
{
    tasks->stock = atomic_exchange_explicit(&tasks->returned, NULL, memory_order_acquire);
    return tasks->stock != NULL ? SYN_OK : more_tasks(tasks, err);
}

/* Put what workers gave back in front of the stock. False: there was none. */
static bool
regain_edges(struct syn_tasks *tasks)
{
    struct syn_extra_edge *first =
        atomic_exchange_explicit(&tasks->returned_edges, NULL, memory_order_acquire);
    struct syn_extra_edge *last = first;
    size_t count = 1;

    if (first == NULL)
        return false;
    for (; last->next != 0; count++)
        last = (struct syn_extra_edge *)(uintptr_t)last->next;
    last->next = (uintptr_t)tasks->edges;
    tasks->edges = first;
    tasks->edges_count += count;
    return true;
}

int
syn_tasks_reserve_edges(struct syn_tasks *tasks, size_t count, struct syn_err *err)
{
    int rc = SYN_OK;

    while (rc == SYN_OK && tasks->edges_count < count) {
        if (!regain_edges(tasks))
            rc = more_edges(tasks, err);
    }
    return rc;
}

void
syn_tasks_return(struct syn_tasks *tasks, struct syn_task *first, struct syn_task *last)
{
    struct syn_task *top = atomic_load_explicit(&tasks->returned, memory_order_relaxed);

    do {
        last->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&tasks->returned, &top, first,
                                                    memory_order_release, memory_order_relaxed));
}

void
syn_tasks_return_edge(struct syn_tasks *tasks, struct syn_extra_edge *edge)
{
    struct syn_extra_edge *top = atomic_load_explicit(&tasks->returned_edges, memory_order_relaxed);

    do {
        edge->next = (uintptr_t)top;
    } while (!atomic_compare_exchange_weak_explicit(&tasks->returned_edges, &top, edge,
                                                    memory_order_release, memory_order_relaxed));
}

int
syn_tasks_new(struct syn_runtime *runtime, struct syn_err *err)
{
    struct syn_tasks *tasks = syn_alloc_aligned(SYN_LINE, sizeof(*tasks));

    if (tasks == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for tasks");
    memset(tasks, 0, sizeof(*tasks));
    runtime->tasks = tasks;
    return SYN_OK;
}

void
syn_tasks_free(struct syn_runtime *runtime)
{
    struct syn_tasks *tasks = runtime->tasks;

    if (tasks == NULL)
        return;
    for (struct syn_task_slab *slab = tasks->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        syn_free(slab);
    }
    syn_free(tasks);
    runtime->tasks = NULL;
}

/* ---- of those that failed ---- */

static void
forget_failed(struct syn_tasks *tasks, struct syn_task *task)
{
    struct syn_task_more *more = task->more;

    __atomic_store_n(&task->name, 0, __ATOMIC_RELAXED);
    if (more != NULL && atomic_fetch_sub_explicit(&more->refs, 1, memory_order_acq_rel) != 1)
        return; /* the user's handle gives it back */
    syn_free(more);
    syn_tasks_return(tasks, task, task);
}

void
syn_tasks_keep_failed(struct syn_tasks *tasks, struct syn_task *task)
{
    struct syn_task *oldest = NULL;
    uint32_t count;

    task->next = NULL;
    syn_spin_lock(&tasks->failed_lock);
    if (tasks->failed == NULL)
        tasks->failed = task;
    else
        tasks->failed_last->next = task;
    tasks->failed_last = task;
    count = atomic_load_explicit(&tasks->failed_count, memory_order_relaxed);
    if (count == FAILED_MAX) {
        oldest = tasks->failed;
        tasks->failed = oldest->next;
    } else {
        atomic_store_explicit(&tasks->failed_count, count + 1, memory_order_relaxed);
    }
    syn_spin_unlock(&tasks->failed_lock);
    if (oldest != NULL)
        forget_failed(tasks, oldest);
}

void
syn_tasks_forget_failures(struct syn_runtime *runtime)
{
    struct syn_tasks *tasks = runtime->tasks;
    struct syn_task *list;

    if (atomic_load_explicit(&tasks->failed_count, memory_order_relaxed) == 0)
        return;
    syn_spin_lock(&tasks->failed_lock);
    list = SYN_TAKE(tasks->failed);
    atomic_store_explicit(&tasks->failed_count, 0, memory_order_relaxed);
    syn_spin_unlock(&tasks->failed_lock);
    /* Nobody links meanwhile: a submission finds all of them or none. */
    syn_spin_lock(&tasks->order);
    while (list != NULL) {
        struct syn_task *task = list;

        list = task->next;
        forget_failed(tasks, task);
    }
    syn_spin_unlock(&tasks->order);
}
