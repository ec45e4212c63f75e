/* Records are taken under the submission lock and come back without it, in chains that workers
 * push; who finds the stock empty takes all that came back. Those of tasks that failed come back
 * late, see the failures in task.c.
 *
 * Memory for records comes by the slab and is written when it is used, a page at a time: who asks
 * for the first record of a slab must not wait for all of them to be written, and who has submitted
 * ten thousand tasks and then an urgent one asks for just that. */
#include "task_records_priv.h"

#include <string.h>
#include <sys/mman.h>

#include <synor/base/mem.h>

#define SLAB_FIRST 512 /* tasks */
#define SLAB_EDGES 256
#define CARVED     32    /* records made at a time: a page */
#define FAILED_MAX 65536 /* failures remembered; the oldest is forgotten first */
/* What the head of a slab takes, in whole records. */
#define HEADER \
    ((sizeof(struct syn_task_slab) + SYN_TASK_BYTES - 1) / SYN_TASK_BYTES * SYN_TASK_BYTES)

struct syn_edge_slab {
    struct syn_edge_slab *next;
    struct syn_extra_edge edges[SLAB_EDGES];
};

/* The first one is small: many a runtime needs no more. */
static SYN_MUST int
more_tasks(struct syn_tasks *tasks, struct syn_err *err)
{
    bool first = tasks->slabs == NULL;
    size_t bytes = first ? HEADER + (size_t)SLAB_FIRST * SYN_TASK_BYTES : SYN_SLAB_BYTES;
    struct syn_task_slab *slab = syn_alloc_aligned(SYN_SLAB_BYTES, bytes);

    if (slab == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for tasks");
    if (!first)
        (void)madvise(slab, bytes, MADV_HUGEPAGE);
    memset(slab, 0, sizeof(*slab));
    slab->low = SYN_SLAB_WORDS;
    slab->next = tasks->slabs;
    tasks->slabs = slab;
    tasks->fresh = (struct syn_task *)(void *)((char *)slab + HEADER);
    tasks->fresh_count = (bytes - HEADER) / SYN_TASK_BYTES;
    return SYN_OK;
}

/* Put the records of the first word that has some into the stock, which is empty. */
static void
restock(struct syn_tasks *tasks, struct syn_task_slab *slab)
{
    struct syn_task *first = (struct syn_task *)(void *)slab, **last = &tasks->stock;
    size_t word = slab->low;

    while (word < SYN_SLAB_WORDS && slab->free[word] == 0)
        word++;
    slab->low = word;
    if (word == SYN_SLAB_WORDS)
        return;
    for (uint64_t bits = slab->free[word]; bits != 0; bits &= bits - 1) {
        *last = first + word * 64 + (unsigned)__builtin_ctzll(bits);
        last = &(*last)->next;
    }
    *last = NULL;
    slab->free[word] = 0;
    slab->low = word + 1;
}

/* Make some of the slab's records, in the order of their addresses. */
static void
carve(struct syn_tasks *tasks)
{
    size_t count = SYN_MIN(tasks->fresh_count, CARVED);

    for (size_t i = count; i-- > 0;) {
        struct syn_task *task = &tasks->fresh[i];

        atomic_init(&task->successors, 0);
        task->name = 0;
        task->next = tasks->stock;
        tasks->stock = task;
    }
    tasks->fresh += count;
    tasks->fresh_count -= count;
}

static SYN_MUST int
more_edges(struct syn_tasks *tasks, struct syn_err *err)
{
    struct syn_edge_slab *slab = syn_alloc(sizeof(*slab));
    struct syn_extra_edge *edges;

    if (slab == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for dependencies");
    slab->next = tasks->edge_slabs;
    tasks->edge_slabs = slab;
    edges = slab->edges;
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
    int rc = SYN_OK;

    if (atomic_load_explicit(&tasks->returned, memory_order_relaxed) != NULL)
        tasks->stock = atomic_exchange_explicit(&tasks->returned, NULL, memory_order_acquire);
    for (struct syn_task_slab *slab = tasks->slabs; slab != NULL && tasks->stock == NULL;
         slab = slab->next)
        restock(tasks, slab);
    if (tasks->stock != NULL)
        return SYN_OK;
    if (tasks->fresh_count == 0)
        rc = more_tasks(tasks, err);
    if (rc == SYN_OK)
        carve(tasks);
    return rc;
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
syn_tasks_return_edges(struct syn_tasks *tasks, struct syn_extra_edge *first,
                       struct syn_extra_edge *last)
{
    struct syn_extra_edge *top = atomic_load_explicit(&tasks->returned_edges, memory_order_relaxed);

    do {
        last->next = (uintptr_t)top;
    } while (!atomic_compare_exchange_weak_explicit(&tasks->returned_edges, &top, first,
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
    return syn_tasks_refill(tasks, err); /* the first task is not to wait for memory */
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
    for (struct syn_edge_slab *slab = tasks->edge_slabs, *next; slab != NULL; slab = next) {
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
