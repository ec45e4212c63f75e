/* Captured graphs of calls: a call is checked, and its dependencies are inferred, when it is added.
 *
 * What each tensor was last written by, and who reads it since, is kept by call numbers, as the
 * core keeps it by tasks (task.c); so an edge says whether the call needs the other's result or
 * only comes after it, which is what a failure goes by. Before the first run the edges are sorted
 * by where they start. How it runs is in replay.c.
 *
 * Calls that commute or reduce are in the order of capture. Letting them go in any order, as the
 * core does, would take a lock a tensor in every run, and a strategy that was shown the graph would
 * have planned another one. */
#include <string.h>

#include <synor/base/mem.h>

#include "graph_priv.h"

#define TABLE_FIRST 64

/* ---- making and ending ---- */

int
syn_engine_graph_new(struct syn_engine *engine, struct syn_engine_graph **ret_graph,
                     struct syn_err *err)
{
    struct syn_engine_graph *graph = syn_alloc_aligned(SYN_LINE, sizeof(*graph));

    if (graph == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    memset(graph, 0, sizeof(*graph));
    graph->engine = engine;
    graph->end.runtime = engine->runtime;
    atomic_init(&graph->end.done, 1);
    atomic_init(&graph->end.refs, 1);
    *ret_graph = graph;
    return SYN_OK;
}

static void
unseal(struct syn_engine_graph *graph)
{
    syn_free(graph->first);
    syn_free(graph->succ);
    syn_free(graph->roots);
    syn_free(graph->needs);
    syn_free(graph->ready);
    syn_free(graph->uses);
    graph->first = graph->succ = graph->roots = NULL;
    graph->needs = NULL;
    graph->ready = NULL;
    graph->uses = NULL;
    graph->sealed = false;
}

struct syn_engine_graph *
syn_engine_graph_free(struct syn_engine_graph *graph)
{
    if (graph == NULL)
        return NULL;
    syn_engine_graph_settle(graph);
    unseal(graph);
    for (size_t i = 0; i < graph->count; i++)
        syn_engine_record_free(graph->nodes[i].call);
    for (size_t i = 0; i < graph->trails_count; i++)
        syn_free(graph->trails[i].readers);
    syn_free(graph->nodes);
    syn_free(graph->edges);
    syn_free(graph->trails);
    syn_free(graph->table);
    syn_free(graph);
    return NULL;
}

uint32_t
syn_engine_graph_count(const struct syn_engine_graph *graph)
{
    return (uint32_t)graph->count;
}

/* ---- tensors ---- */

static uint32_t *
slot_of(const struct syn_engine_graph *graph, const struct syn_tensor *tensor)
{
    size_t at = (size_t)(syn_tensor_number(tensor) * UINT64_C(0x9e3779b97f4a7c15) >> 20);

    for (;; at++) {
        uint32_t *slot = &graph->table[at & (graph->table_cap - 1)];

        if (*slot == 0 || graph->trails[*slot - 1].tensor == tensor)
            return slot;
    }
}

static struct syn_engine_trail *
trail_find(const struct syn_engine_graph *graph, const struct syn_tensor *tensor)
{
    const uint32_t *slot = graph->table_cap == 0 ? NULL : slot_of(graph, tensor);

    return slot == NULL || *slot == 0 ? NULL : &graph->trails[*slot - 1];
}

/* All anew: in another size, or because one has been replaced. */
static void
fill_table(struct syn_engine_graph *graph)
{
    memset(graph->table, 0, graph->table_cap * sizeof(*graph->table));
    for (uint32_t i = 0; i < graph->trails_count; i++)
        *slot_of(graph, graph->trails[i].tensor) = i + 1;
}

static SYN_MUST int
trail_new(struct syn_engine_graph *graph, struct syn_tensor *tensor, struct syn_err *err)
{
    struct syn_engine_handle *handle = NULL;
    int rc = syn_engine_handle(graph->engine, tensor, &handle, err);

    if (rc < 0)
        return rc;
    if (graph->trails_count == SYN_ENGINE_GRAPH_TENSORS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a graph on more than %u tensors",
                        SYN_ENGINE_GRAPH_TENSORS_MAX);
    if (!syn_grow(&graph->trails, &graph->trails_cap, graph->trails_count + 1,
                  sizeof(*graph->trails)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph's tensors");
    if (graph->trails_count * 2 >= graph->table_cap) {
        size_t cap = graph->table_cap == 0 ? TABLE_FIRST : graph->table_cap * 2;
        uint32_t *table = syn_calloc(cap, sizeof(*table));

        if (table == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph's tensors");
        syn_free(graph->table);
        graph->table = table;
        graph->table_cap = cap;
        fill_table(graph);
    }
    graph->trails[graph->trails_count] = (struct syn_engine_trail){
        .tensor = tensor, .data = handle->data, .writer = SYN_ENGINE_NO_NODE};
    *slot_of(graph, tensor) = (uint32_t)++graph->trails_count;
    return SYN_OK;
}

/* Back to the first `count`: what was not used after all may end before the graph. */
static void
trails_cut(struct syn_engine_graph *graph, size_t count)
{
    if (graph->trails_count == count)
        return;
    while (graph->trails_count > count)
        syn_free(graph->trails[--graph->trails_count].readers);
    fill_table(graph);
}

/* ---- adding ---- */

static SYN_MUST int
check_step(const struct syn_engine_graph *graph, const struct syn_engine_step *step,
           struct syn_err *err)
{
    if (syn_engine_graph_runs(graph))
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph still runs");
    if (step->call.after_count > 0)
        return SYN_FAIL(err, SYN_E_INVALID, "a captured call waits for calls of its graph only");
    if (graph->count == SYN_ENGINE_GRAPH_CALLS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a graph of more than %u calls",
                        SYN_ENGINE_GRAPH_CALLS_MAX);
    for (uint32_t i = 0; i < step->after_count; i++) {
        if (step->after[i] >= graph->count)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "call %zu waits for call %u, which is not before it", graph->count,
                            step->after[i]);
    }
    return SYN_OK;
}

/* Everything that can fail, before anything changes but for tensors that are new. */
static SYN_MUST int
reserve(struct syn_engine_graph *graph, const struct syn_engine_task *call, uint32_t after_count,
        struct syn_err *err)
{
    size_t edges = graph->edges_count + after_count;

    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_tensor *tensor = syn_tensor_of(call->uses[i].data);
        struct syn_engine_trail *trail = trail_find(graph, tensor);
        int rc = trail == NULL ? trail_new(graph, tensor, err) : SYN_OK;

        if (rc < 0)
            return rc;
        trail = trail_find(graph, tensor);
        assert(trail != NULL);
        edges += trail->readers_count + 1;
        if (!syn_grow(&trail->readers, &trail->readers_cap, trail->readers_count + 1,
                      sizeof(*trail->readers)))
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph's tensors");
    }
    if (edges > UINT32_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a graph of more than 2^32 dependencies");
    if (!syn_grow(&graph->edges, &graph->edges_cap, edges, sizeof(*graph->edges)) ||
        !syn_grow(&graph->nodes, &graph->nodes_cap, graph->count + 1, sizeof(*graph->nodes)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    return SYN_OK;
}

/* Have the call that is being added wait for `from`, once. */
static void
add_edge(struct syn_engine_graph *graph, uint32_t from, bool needs, size_t since)
{
    uint32_t to = (uint32_t)graph->count;

    if (from == SYN_ENGINE_NO_NODE || from == to)
        return;
    for (size_t i = since; i < graph->edges_count; i++) {
        if (graph->edges[i].from == from) {
            graph->edges[i].needs |= needs;
            return;
        }
    }
    graph->edges[graph->edges_count++] = (struct syn_engine_edge){from, to, needs};
}

/* Who reads needs the writer; who writes comes after the readers, and needs the writer too if it
 * reads what it writes. */
static void
use_tensor(struct syn_engine_graph *graph, struct syn_data_use *use, size_t since)
{
    struct syn_engine_trail *trail = trail_find(graph, syn_tensor_of(use->data));
    bool reads = (use->mode & SYN_READ) != 0, writes = (use->mode & SYN_WRITE) != 0;

    assert(trail != NULL); /* reserve() */
    use->handle = (uint32_t)(trail - graph->trails);
    trail->reads_first = trail->begun ? trail->reads_first : reads;
    trail->begun = true;
    trail->writes |= writes;
    if (reads || trail->readers_count == 0)
        add_edge(graph, trail->writer, reads, since);
    if (!writes) {
        trail->readers[trail->readers_count++] = (uint32_t)graph->count;
        return;
    }
    for (size_t i = 0; i < trail->readers_count; i++)
        add_edge(graph, trail->readers[i], false, since);
    trail->readers_count = 0;
    trail->writer = (uint32_t)graph->count;
}

int
syn_engine_graph_add(struct syn_engine_graph *graph, const struct syn_engine_step *step,
                     struct syn_err *err)
{
    size_t since = graph->edges_count, trails = graph->trails_count;
    const struct syn_task_call *wish = &step->call;
    struct syn_engine_task *call = NULL;
    struct syn_engine_node *node;
    int rc = check_step(graph, step, err);

    if (rc == SYN_OK)
        rc = syn_engine_record_for(graph->engine, wish, &call, err);
    if (rc < 0)
        return rc;
    assert(call != NULL);
    call->reduces = 0;
    rc = reserve(graph, call, step->after_count, err);
    if (rc < 0) {
        trails_cut(graph, trails);
        syn_engine_record_free(call);
        return rc;
    }
    for (unsigned i = 0; i < call->uses_count; i++)
        use_tensor(graph, &call->uses[i], since);
    for (uint32_t i = 0; i < step->after_count; i++)
        add_edge(graph, step->after[i], true, since);
    node = &graph->nodes[graph->count];
    *node = (struct syn_engine_node){.graph = graph,
                                     .call = call,
                                     .index = (uint32_t)graph->count,
                                     .deadline_ns = wish->deadline_ns,
                                     .done = wish->done,
                                     .done_arg = wish->done_arg};
    graph->count++;
    unseal(graph);
    return SYN_OK;
}

/* ---- changing what calls work on ---- */

static SYN_MUST int
same_uses(const struct syn_engine_task *a, const struct syn_engine_task *b, struct syn_err *err)
{
    for (unsigned i = 0; i < a->operands_count; i++) {
        if (a->access[i] != b->access[i])
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s: with these parameters it would use %s in another way",
                            a->kernel->name, a->kernel->operands[i].name);
    }
    return SYN_OK;
}

int
syn_engine_graph_set_params(struct syn_engine_graph *graph, uint32_t index, const double *params,
                            unsigned count, struct syn_err *err)
{
    struct syn_engine_task *old, *call = NULL;
    struct syn_task_call wish = {.params = params, .params_count = count};
    int rc;

    if (index >= graph->count)
        return SYN_FAIL(err, SYN_E_INVALID, "the graph has no call %u", index);
    if (syn_engine_graph_runs(graph))
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph still runs");
    old = graph->nodes[index].call;
    wish.kernel = old->kernel;
    wish.priority = old->ready.priority;
    wish.pieces = old->pieces;
    for (unsigned i = 0; i < old->operands_count; i++)
        wish.tensors[i] = syn_engine_tensor(old, i);
    rc = syn_engine_record_for(graph->engine, &wish, &call, err);
    if (rc < 0)
        return rc;
    rc = same_uses(old, call, err);
    if (rc < 0) {
        syn_engine_record_free(call);
        return rc;
    }
    call->reduces = old->reduces;
    for (unsigned i = 0; i < call->uses_count; i++)
        call->uses[i].handle = old->uses[i].handle;
    call->ready.affinity = old->ready.affinity;
    call->node = &graph->nodes[index];
    call->node->call = call;
    if (graph->sealed) {
        graph->ready[index] = call->ready;
        graph->ready[index].index = index;
    }
    syn_engine_record_free(old);
    return SYN_OK;
}

static bool
same_shape(const struct syn_shape *a, const struct syn_shape *b)
{
    bool same = a->dtype == b->dtype && a->layout == b->layout && a->dims == b->dims;

    for (unsigned i = 0; same && i < a->dims; i++)
        same = a->sizes[i] == b->sizes[i] && a->strides[i] == b->strides[i];
    return same;
}

int
syn_engine_graph_rebind(struct syn_engine_graph *graph, const struct syn_tensor *tensor,
                        struct syn_tensor *instead, struct syn_err *err)
{
    struct syn_engine_trail *trail = trail_find(graph, tensor);
    struct syn_engine_handle *handle = NULL;
    int rc;

    if (syn_engine_graph_runs(graph))
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph still runs");
    if (trail == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "no call of the graph uses that tensor");
    if (tensor == instead)
        return SYN_OK;
    if (trail_find(graph, instead) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "the graph uses the other tensor already");
    if (!same_shape(syn_tensor_shape(tensor), syn_tensor_shape(instead)))
        return SYN_FAIL(err, SYN_E_INVALID, "the other tensor has another shape");
    rc = syn_engine_handle(graph->engine, instead, &handle, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < graph->count; i++) {
        struct syn_engine_task *call = graph->nodes[i].call;

        for (unsigned k = 0; k < call->uses_count; k++) {
            if (call->uses[k].handle == (uint32_t)(trail - graph->trails))
                call->uses[k].data = syn_tensor_replicas(instead);
        }
    }
    trail->tensor = instead;
    trail->data = handle->data;
    if (graph->sealed)
        graph->uses[trail - graph->trails].data = handle->data;
    fill_table(graph);
    return SYN_OK;
}

/* ---- before the first run ---- */

/* Sort the edges by where they start (counting sort) and count what each call waits for. */
static void
place_edges(struct syn_engine_graph *graph)
{
    uint32_t *first = graph->first;

    for (size_t i = 0; i < graph->count; i++)
        graph->nodes[i].awaits = 0;
    for (size_t i = 0; i < graph->edges_count; i++) {
        first[graph->edges[i].from + 1]++;
        graph->nodes[graph->edges[i].to].awaits++;
    }
    for (size_t i = 0; i < graph->count; i++)
        first[i + 1] += first[i];
    for (size_t i = graph->edges_count; i-- > 0;) {
        const struct syn_engine_edge *edge = &graph->edges[i];
        uint32_t at = --first[edge->from + 1]; /* each part is filled from its back */

        graph->succ[at] = edge->to;
        graph->needs[at] = edge->needs;
    }
    /* Each entry was moved to the start of its part, one place too far to the right. */
    memmove(first, first + 1, graph->count * sizeof(*first));
    first[graph->count] = (uint32_t)graph->edges_count;
}

static void
place_uses(struct syn_engine_graph *graph)
{
    for (size_t i = 0; i < graph->trails_count; i++) {
        const struct syn_engine_trail *trail = &graph->trails[i];
        unsigned access = (trail->writes ? SYN_WRITE : 0U) | (trail->reads_first ? SYN_READ : 0U);

        graph->uses[i] = (struct syn_use){.data = trail->data, .access = (enum syn_access)access};
    }
}

int
syn_engine_graph_seal(struct syn_engine_graph *graph, struct syn_err *err)
{
    if (graph->sealed)
        return SYN_OK;
    graph->first = syn_calloc(graph->count + 1, sizeof(*graph->first));
    graph->succ = syn_calloc(graph->edges_count + 1, sizeof(*graph->succ));
    graph->needs = syn_calloc(graph->edges_count + 1, sizeof(*graph->needs));
    graph->roots = syn_calloc(graph->count + 1, sizeof(*graph->roots));
    graph->ready = syn_calloc(graph->count + 1, sizeof(*graph->ready));
    graph->uses = syn_calloc(graph->trails_count + 1, sizeof(*graph->uses));
    if (graph->first == NULL || graph->succ == NULL || graph->needs == NULL ||
        graph->roots == NULL || graph->ready == NULL || graph->uses == NULL) {
        unseal(graph);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    }
    place_edges(graph);
    place_uses(graph);
    graph->roots_count = graph->sinks = 0;
    for (uint32_t i = 0; i < graph->count; i++) {
        struct syn_engine_node *node = &graph->nodes[i];

        node->call->node = node;
        atomic_store_explicit(&node->awaited, node->awaits, memory_order_relaxed);
        graph->ready[i] = node->call->ready;
        graph->ready[i].index = i;
        if (node->awaits == 0)
            graph->roots[graph->roots_count++] = i;
        graph->sinks += graph->first[i] == graph->first[i + 1];
    }
    graph->sealed = true;
    return SYN_OK;
}
