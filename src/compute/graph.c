/* Captured graphs. While a graph is captured it is a list of edges; before the first run after that
 * the edges are sorted by where they start, into one array, and every record knows its part of it.
 * A record is an ordinary task's, so that running, sharing and stealing are the workers' as ever;
 * only its end is the graph's: it walks its part of the array. Counts of what a task still waits
 * for are set again by the task itself when it runs, so a run starts without a pass over all.
 *
 * A run of short tasks is a walk through memory: a line of each record, one or two of the array,
 * and those of the successors. So a task that becomes ready has its part of the array fetched, and
 * a task that runs the records of its successors. */
#include <synor/graph.h>

#include <sched.h>
#include <string.h>

#include <synor/base/mem.h>

#include "lane_priv.h"
#include "task_priv.h"
#include "worker_priv.h"

#define BLOCK_TASKS 256 /* records never move, so they come in blocks */
#define NO_TASK     UINT32_MAX
#define FORESEEN    8 /* successors that are fetched while a task runs */

struct edge {
    uint32_t from, to;
};

struct block {
    struct syn_task tasks[BLOCK_TASKS];
};

/* What is known of one piece of data while capturing. */
struct trail {
    const struct syn_data *data; /* NULL: a free slot of the table */
    uint32_t writer;
    uint32_t *readers; /* since that writer */
    size_t readers_count, readers_cap;
};

struct syn_graph {
    struct syn_runtime *runtime;
    struct block **blocks;
    size_t blocks_cap, count;
    struct edge *edges;
    size_t edges_count, edges_cap;
    struct trail *trails; /* an open hash table by address */
    size_t trails_count, trails_cap;
    /* Made by seal(). */
    bool sealed;
    struct syn_task **successors; /* of all tasks; each knows its part */
    struct syn_task **roots;
    size_t roots_count;
    uint32_t sinks;
    /* Of a run. */
    _Alignas(SYN_LINE) _Atomic uint32_t sinks_left;
    _Atomic int code;
    struct syn_task_more end;
};

static struct syn_task *
task_at(const struct syn_graph *graph, uint32_t index)
{
    return &graph->blocks[index / BLOCK_TASKS]->tasks[index % BLOCK_TASKS];
}

int
syn_graph_new(struct syn_runtime *runtime, struct syn_graph **ret_graph, struct syn_err *err)
{
    struct syn_graph *graph = syn_alloc_aligned(SYN_LINE, sizeof(*graph));

    if (graph == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    memset(graph, 0, sizeof(*graph));
    graph->runtime = runtime;
    graph->end.runtime = runtime;
    *ret_graph = graph;
    return SYN_OK;
}

static void
unseal(struct syn_graph *graph)
{
    syn_free(graph->successors);
    syn_free(graph->roots);
    graph->successors = graph->roots = NULL;
    graph->sealed = false;
}

struct syn_graph *
syn_graph_free(struct syn_graph *graph)
{
    if (graph == NULL)
        return NULL;
    unseal(graph);
    for (size_t i = 0; i < graph->trails_cap; i++)
        syn_free(graph->trails[i].readers);
    for (size_t i = 0; i * BLOCK_TASKS < graph->count; i++)
        syn_free(graph->blocks[i]);
    syn_free(graph->blocks);
    syn_free(graph->trails);
    syn_free(graph->edges);
    syn_free(graph);
    return NULL;
}

size_t
syn_graph_count(const struct syn_graph *graph)
{
    return graph->count;
}

/* ---- capturing ---- */

static struct trail *
trail_slot(struct trail *trails, size_t cap, const struct syn_data *data)
{
    size_t at = (size_t)(((uintptr_t)data >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (cap - 1);

    while (trails[at].data != NULL && trails[at].data != data)
        at = (at + 1) & (cap - 1);
    return &trails[at];
}

static SYN_MUST int
grow_trails(struct syn_graph *graph, struct syn_err *err)
{
    size_t cap = graph->trails_cap == 0 ? 64 : graph->trails_cap * 2;
    struct trail *grown = syn_calloc(cap, sizeof(*grown));

    if (grown == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph's data");
    for (size_t i = 0; i < graph->trails_cap; i++) {
        if (graph->trails[i].data != NULL)
            *trail_slot(grown, cap, graph->trails[i].data) = graph->trails[i];
    }
    syn_free(graph->trails);
    graph->trails = grown;
    graph->trails_cap = cap;
    return SYN_OK;
}

static SYN_MUST int
trail_of(struct syn_graph *graph, const struct syn_data *data, struct trail **ret_trail,
         struct syn_err *err)
{
    struct trail *trail;
    int rc = SYN_OK;

    if (graph->trails_count * 2 >= graph->trails_cap)
        rc = grow_trails(graph, err);
    if (rc < 0)
        return rc;
    trail = trail_slot(graph->trails, graph->trails_cap, data);
    if (trail->data == NULL) {
        *trail = (struct trail){.data = data, .writer = NO_TASK};
        graph->trails_count++;
    }
    *ret_trail = trail;
    return SYN_OK;
}

/* Everything that can fail, before anything changes; tables only grow. */
static SYN_MUST int
reserve(struct syn_graph *graph, const struct syn_task_spec *spec, struct syn_err *err)
{
    size_t edges = graph->edges_count, blocks = graph->count / BLOCK_TASKS;

    for (unsigned i = 0; i < spec->uses_count; i++) {
        struct trail *trail = NULL;
        int rc = trail_of(graph, spec->uses[i].data, &trail, err);

        if (rc < 0)
            return rc;
        edges += trail->readers_count + 1;
        if (!syn_grow(&trail->readers, &trail->readers_cap, trail->readers_count + spec->uses_count,
                      sizeof(*trail->readers)))
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph's data");
    }
    if (edges > UINT32_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a graph of more than 2^32 dependencies");
    if (!syn_grow(&graph->edges, &graph->edges_cap, edges, sizeof(*graph->edges)) ||
        !syn_grow(&graph->blocks, &graph->blocks_cap, blocks + 1, sizeof(struct block *)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    if (graph->count % BLOCK_TASKS == 0) {
        graph->blocks[blocks] = syn_alloc_aligned(SYN_TASK_BYTES, sizeof(struct block));
        if (graph->blocks[blocks] == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    }
    return SYN_OK;
}

/* Have `to` wait for `from`, once. */
static void
add_edge(struct syn_graph *graph, uint32_t from, uint32_t to, size_t since)
{
    if (from == NO_TASK || from == to)
        return;
    for (size_t i = since; i < graph->edges_count; i++) {
        if (graph->edges[i].from == from)
            return;
    }
    graph->edges[graph->edges_count++] = (struct edge){from, to};
}

static void
use_data(struct syn_graph *graph, const struct syn_use *use, uint32_t self, size_t since)
{
    struct trail *trail = trail_slot(graph->trails, graph->trails_cap, use->data);

    if ((use->access & SYN_WRITE) == 0) {
        add_edge(graph, trail->writer, self, since);
        trail->readers[trail->readers_count++] = self;
        return;
    }
    if (trail->readers_count == 0)
        add_edge(graph, trail->writer, self, since);
    for (size_t i = 0; i < trail->readers_count; i++)
        add_edge(graph, trail->readers[i], self, since);
    trail->readers_count = 0;
    trail->writer = self;
}

int
syn_graph_add(struct syn_graph *graph, const struct syn_task_spec *spec, struct syn_err *err)
{
    uint32_t self = (uint32_t)graph->count;
    size_t since = graph->edges_count;
    int rc = syn_task_spec_check(spec, err);

    if (rc == SYN_OK && (spec->after_count > 0 || spec->done != NULL))
        rc = SYN_FAIL(err, SYN_E_INVALID, "a captured task has neither `after` nor `done`");
    for (unsigned i = 0; rc == SYN_OK && i < spec->uses_count; i++) {
        if (spec->uses[i].access == SYN_REDUCE)
            rc = SYN_FAIL(err, SYN_E_INVALID, "a captured task does not reduce");
    }
    if (rc == SYN_OK && graph->count == SYN_GRAPH_TASKS_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "a graph of more than %zu tasks", SYN_GRAPH_TASKS_MAX);
    if (rc == SYN_OK)
        rc = reserve(graph, spec, err);
    if (rc < 0)
        return rc;
    graph->count++;
    syn_task_init_captured(task_at(graph, self), spec, graph);
    for (unsigned i = 0; i < spec->uses_count; i++)
        use_data(graph, &spec->uses[i], self, since);
    unseal(graph);
    return SYN_OK;
}

/* ---- before the first run ---- */

/* Count the edges by where they start and where they end, then sort them by where they start. The
 * last edge of a part is placed first, so each part is filled from the back and `released` ends at
 * its start. */
static void
place_edges(struct syn_graph *graph)
{
    struct syn_task **at = graph->successors;

    for (uint32_t i = 0; i < graph->count; i++) {
        task_at(graph, i)->name = 0;
        task_at(graph, i)->released_count = 0;
    }
    for (size_t i = 0; i < graph->edges_count; i++) {
        task_at(graph, graph->edges[i].from)->released_count++;
        task_at(graph, graph->edges[i].to)->name++;
    }
    for (uint32_t i = 0; i < graph->count; i++) {
        at += task_at(graph, i)->released_count;
        task_at(graph, i)->released = at;
    }
    for (size_t i = graph->edges_count; i-- > 0;) {
        struct syn_task *from = task_at(graph, graph->edges[i].from);
        size_t place = (size_t)(--from->released - graph->successors);

        graph->successors[place] = task_at(graph, graph->edges[i].to);
    }
}

int
syn_graph_seal(struct syn_graph *graph, struct syn_err *err)
{
    if (graph->sealed || graph->count == 0)
        return SYN_OK;
    graph->successors = syn_alloc(SYN_MAX(graph->edges_count, 1) * sizeof(struct syn_task *));
    graph->roots = syn_alloc(graph->count * sizeof(struct syn_task *));
    if (graph->successors == NULL || graph->roots == NULL) {
        unseal(graph);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    }
    place_edges(graph);
    graph->roots_count = 0;
    graph->sinks = 0;
    for (uint32_t i = 0; i < graph->count; i++) {
        struct syn_task *task = task_at(graph, i);

        atomic_store_explicit(&task->awaited, (int32_t)task->name, memory_order_relaxed);
        if (task->name == 0)
            graph->roots[graph->roots_count++] = task;
        graph->sinks += task->released_count == 0;
    }
    graph->sealed = true;
    return SYN_OK;
}

/* ---- running ---- */

/* One task fewer to wait for. */
static inline void
release(struct syn_worker *worker, struct syn_task *task, bool alone, int code)
{
    SYN_PERTURB();
    if (__builtin_expect(code < 0, 0))
        syn_task_note_error(task, code);
    if (alone) {
        int32_t left = atomic_load_explicit(&task->awaited, memory_order_relaxed) - 1;

        atomic_store_explicit(&task->awaited, left, memory_order_relaxed);
        if (left != 0)
            return;
    } else if (atomic_fetch_sub_explicit(&task->awaited, 1, memory_order_acq_rel) != 1) {
        return;
    }
    __builtin_prefetch((const void *)task->released);
    if (__builtin_expect(task->level != SYN_LEVEL_PLAIN, 0))
        syn_level_push(worker->runtime, task);
    else
        syn_worker_push(worker, task);
}

/* What the rest of the graph does not wait for: the graph is over with the last of these. */
static void
end_sink(struct syn_graph *graph)
{
    if (atomic_fetch_sub_explicit(&graph->sinks_left, 1, memory_order_acq_rel) == 1)
        syn_task_announce(&graph->end, 0);
}

static void
run_task(struct syn_worker *worker, struct syn_task *task)
{
    struct syn_fork *at = worker->deque.head;
    struct syn_graph *graph = task->graph;
    struct syn_task *const *released = task->released;
    size_t count = task->released_count;
    bool alone = worker->runtime->alone;
    int code = atomic_load_explicit(&task->error, memory_order_relaxed), none = 0;

    for (size_t i = 0; i < SYN_MIN(count, FORESEEN); i++)
        __builtin_prefetch(released[i], 1);
    if (__builtin_expect(code == 0, 1))
        code = task->run(worker, at, task->arg);
    else
        atomic_store_explicit(&task->error, 0, memory_order_relaxed);
    worker->deque.head = at;
    /* It is ready for its next run before anybody can hear of this one's end. */
    atomic_store_explicit(&task->awaited, (int32_t)task->name, memory_order_relaxed);
    if (__builtin_expect(code < 0, 0))
        (void)atomic_compare_exchange_strong(&graph->code, &none, code);
    else
        code = 0;
    /* Once the last of them is released the graph may be over, and gone. */
    for (size_t i = 0; i < count; i++)
        release(worker, released[i], alone, code);
    if (count == 0)
        end_sink(graph);
}

void
syn_graph_run_tasks(struct syn_worker *worker, struct syn_task *task)
{
    /* No longer than it may be before the worker looks whether it is done waiting. */
    uint32_t most = SYN_MIN(worker->chunk, worker->pace_left), count = 0;

    do {
        run_task(worker, task);
        task = ++count < most ? syn_worker_next(worker) : NULL;
    } while (task != NULL && task->graph != NULL);
    syn_worker_count(worker, count);
    if (task != NULL)
        syn_worker_push(worker, task);
}

static void
push_roots(struct syn_worker *worker, void *arg)
{
    const struct syn_graph *graph = arg;

    for (size_t i = graph->roots_count; i-- > 0;)
        syn_task_ready(graph->runtime, worker, graph->roots[i]);
}

int
syn_graph_run(struct syn_graph *graph, struct syn_err *err)
{
    struct syn_lane *lane = NULL;
    int code;
    int rc = syn_lane_of_thread(graph->runtime, &lane, err);

    if (rc == SYN_OK)
        rc = syn_graph_seal(graph, err);
    if (rc < 0 || graph->count == 0)
        return rc;
    atomic_store_explicit(&graph->sinks_left, graph->sinks, memory_order_relaxed);
    atomic_store_explicit(&graph->code, 0, memory_order_relaxed);
    atomic_store_explicit(&graph->end.done, 0, memory_order_relaxed);
    atomic_store_explicit(&graph->end.refs, 2, memory_order_relaxed);
    syn_lane_count_tasks(lane, graph->count);
    syn_worker_help(graph->runtime, &graph->end, push_roots, graph);
    /* Whoever announced the end looked at it a moment longer; then the graph may go. */
    while (atomic_load_explicit(&graph->end.refs, memory_order_acquire) != 1)
        (void)sched_yield();
    code = atomic_load_explicit(&graph->code, memory_order_relaxed);
    if (code < 0)
        return SYN_FAIL(err, code, "a task of the graph ended with %s", syn_err_info(code)->wire);
    return SYN_OK;
}
