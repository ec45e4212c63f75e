/* A plan's graph: tasks in the order in which a program would submit them; edges from data. */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "graph_priv.h"

#define NS_MAX 1e15 /* of one task: 11 days */

int
syn_plan_graph_new(struct syn_plan_graph **ret_graph, struct syn_err *err)
{
    struct syn_plan_graph *graph = syn_calloc(1, sizeof(*graph));

    if (graph == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a graph");
    *ret_graph = graph;
    return SYN_OK;
}

struct syn_plan_graph *
syn_plan_graph_free(struct syn_plan_graph *graph)
{
    if (graph == NULL)
        return NULL;
    syn_free(graph->kernels);
    syn_free(graph->data);
    syn_free(graph->tasks);
    syn_free(graph->uses);
    syn_free(graph->orders);
    syn_free(graph->succ_first);
    syn_free(graph->succ);
    syn_free(graph);
    return NULL;
}

void
syn_plan_graph_free_scope(struct syn_plan_graph **slot)
{
    (void)syn_plan_graph_free(*slot);
}

int
syn_plan_kernel_add(struct syn_plan_graph *graph, const struct syn_plan_kernel *kernel,
                    uint32_t *ret_id, struct syn_err *err)
{
    if (!isfinite(kernel->flops) || !isfinite(kernel->bytes) || kernel->flops < 0 ||
        kernel->bytes < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "kernel %.23s: no cost", kernel->name);
    if (graph->sealed || graph->kernel_count == SYN_PLAN_KERNELS_MAX)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph is sealed, or has %u kernels",
                        SYN_PLAN_KERNELS_MAX);
    if (!syn_grow(&graph->kernels, &graph->kernel_cap, graph->kernel_count + 1,
                  sizeof(graph->kernels[0])))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a kernel");
    graph->kernels[graph->kernel_count] = *kernel;
    *ret_id = (uint32_t)graph->kernel_count++;
    return SYN_OK;
}

int
syn_plan_data_add(struct syn_plan_graph *graph, uint64_t bytes, bool ready, uint32_t *ret_id,
                  struct syn_err *err)
{
    if (graph->sealed || graph->data_count == SYN_PLAN_TASKS_MAX || bytes > UINT64_C(1) << 50)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph is sealed or full, or the data too large");
    if (!syn_grow(&graph->data, &graph->data_cap, graph->data_count + 1, sizeof(graph->data[0])))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for data");
    graph->data[graph->data_count] = (struct plan_data){bytes, ready};
    *ret_id = (uint32_t)graph->data_count++;
    return SYN_OK;
}

int
syn_plan_task_add(struct syn_plan_graph *graph, uint32_t kernel, const struct syn_plan_use *uses,
                  uint32_t use_count, uint32_t *ret_id, struct syn_err *err)
{
    if (graph->sealed || graph->task_count == SYN_PLAN_TASKS_MAX)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph is sealed, or has %u tasks",
                        SYN_PLAN_TASKS_MAX);
    if (kernel >= graph->kernel_count || use_count > SYN_PLAN_USES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "task %zu: kernel %u, %u uses", graph->task_count,
                        kernel, use_count);
    for (uint32_t i = 0; i < use_count; i++) {
        if (uses[i].data >= graph->data_count || uses[i].mode < SYN_READ ||
            uses[i].mode > SYN_UPDATE)
            return SYN_FAIL(err, SYN_E_INVALID, "task %zu, use %u", graph->task_count, i);
        for (uint32_t j = 0; j < i; j++)
            if (uses[j].data == uses[i].data)
                return SYN_FAIL(err, SYN_E_INVALID, "task %zu uses data %u twice",
                                graph->task_count, uses[i].data);
    }
    if (!syn_grow(&graph->uses, &graph->use_cap, graph->use_count + use_count + 1,
                  sizeof(graph->uses[0])) ||
        !syn_grow(&graph->tasks, &graph->task_cap, graph->task_count + 1, sizeof(graph->tasks[0])))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a task");
    if (use_count > 0)
        memcpy(graph->uses + graph->use_count, uses, use_count * sizeof(uses[0]));
    graph->tasks[graph->task_count] =
        (struct plan_task){kernel, (uint32_t)graph->use_count, use_count, 0};
    graph->use_count += use_count;
    *ret_id = (uint32_t)graph->task_count++;
    return SYN_OK;
}

int
syn_plan_order_add(struct syn_plan_graph *graph, uint32_t before, struct syn_err *err)
{
    if (graph->sealed || graph->task_count == 0 || before >= graph->task_count - 1)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "the graph is sealed, or has no task %u before its last", before);
    if (!syn_grow(&graph->orders, &graph->order_cap, graph->order_count + 1,
                  sizeof(graph->orders[0])))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a dependency");
    graph->orders[graph->order_count++] =
        (struct plan_order){before, (uint32_t)graph->task_count - 1};
    return SYN_OK;
}

/* Edges as they are found, newest first a task: (from, to) pairs. */
struct edges {
    struct edge {
        uint32_t from;
        uint32_t to;
    } * list;
    size_t count, cap;
    uint32_t *seen;   /* by task: the last task that was joined to it, plus one */
    uint32_t *writer; /* by data: the last writer, plus one */
    uint32_t *reader; /* by data: head of the chain of readers since, plus one */
    struct link {
        uint32_t task;
        uint32_t next;
    } * links; /* one a use */
};

static void
edges_fini(struct edges *edges)
{
    syn_free(edges->list);
    syn_free(edges->seen);
    syn_free(edges->writer);
    syn_free(edges->reader);
    syn_free(edges->links);
}

static bool
edge_add(struct edges *edges, uint32_t from, uint32_t to)
{
    if (from == to || edges->seen[from] == to + 1)
        return true;
    if (!syn_grow(&edges->list, &edges->cap, edges->count + 1, sizeof(edges->list[0])))
        return false;
    edges->seen[from] = to + 1;
    edges->list[edges->count++] = (struct edge){from, to};
    return true;
}

/* Order `task` behind what used this data before it. */
static bool
edges_use(struct edges *edges, uint32_t task, const struct syn_plan_use *use, uint32_t link)
{
    uint32_t *reader = &edges->reader[use->data];
    bool done = true;

    if (edges->writer[use->data] != 0 && (use->mode == SYN_READ || *reader == 0))
        done = edge_add(edges, edges->writer[use->data] - 1, task);
    if (use->mode == SYN_READ) {
        edges->links[link] = (struct link){task, *reader};
        *reader = link + 1;
        return done;
    }
    for (uint32_t at = *reader; at != 0 && done; at = edges->links[at - 1].next)
        done = edge_add(edges, edges->links[at - 1].task, task);
    *reader = 0;
    edges->writer[use->data] = task + 1;
    return done;
}

static bool
edges_find(struct syn_plan_graph *graph, struct edges *edges)
{
    size_t order = 0;

    edges->seen = syn_calloc(graph->task_count + 1, sizeof(uint32_t));
    edges->writer = syn_calloc(graph->data_count + 1, sizeof(uint32_t));
    edges->reader = syn_calloc(graph->data_count + 1, sizeof(uint32_t));
    edges->links = syn_calloc(graph->use_count + 1, sizeof(edges->links[0]));
    if (edges->seen == NULL || edges->writer == NULL || edges->reader == NULL ||
        edges->links == NULL)
        return false;
    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct plan_task *task = &graph->tasks[i];

        for (uint32_t j = task->use_first; j < task->use_first + task->use_count; j++)
            if (!edges_use(edges, i, &graph->uses[j], j))
                return false;
        for (; order < graph->order_count && graph->orders[order].after == i; order++)
            if (!edge_add(edges, graph->orders[order].before, i))
                return false;
    }
    return true;
}

int
syn_plan_graph_seal(struct syn_plan_graph *graph, struct syn_err *err)
{
    SYN_SCOPED(edges_fini) struct edges edges = {0};
    uint32_t *first, *succ;

    if (graph->sealed)
        return SYN_OK;
    if (!edges_find(graph, &edges))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for edges");
    first = syn_calloc(graph->task_count + 2, sizeof(uint32_t));
    succ = syn_calloc(edges.count + 1, sizeof(uint32_t));
    if (first == NULL || succ == NULL || edges.count >= UINT32_MAX) {
        syn_free(first);
        syn_free(succ);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu edges", edges.count);
    }
    for (size_t i = 0; i < edges.count; i++) {
        first[edges.list[i].from + 2]++;
        graph->tasks[edges.list[i].to].pred_count++;
    }
    for (size_t i = 2; i < graph->task_count + 2; i++)
        first[i] += first[i - 1];
    /* The list is in the order of `to`, so each task's successors come out ascending. */
    for (size_t i = 0; i < edges.count; i++)
        succ[first[edges.list[i].from + 1]++] = edges.list[i].to;
    graph->succ_first = first;
    graph->succ = succ;
    graph->sealed = true;
    return SYN_OK;
}

uint32_t
syn_plan_task_count(const struct syn_plan_graph *graph)
{
    return (uint32_t)graph->task_count;
}

const uint32_t *
syn_plan_successors(const struct syn_plan_graph *graph, uint32_t task, uint32_t *ret_count)
{
    assert(graph->sealed && task < graph->task_count);
    *ret_count = graph->succ_first[task + 1] - graph->succ_first[task];
    return graph->succ + graph->succ_first[task];
}

uint64_t
plan_kernel_ns(const struct syn_plan_kernel *kernel, const struct syn_plan_rate *rate)
{
    double efficiency = (double)kernel->efficiency_ppt[rate->column] / 1000.0;
    double compute_s, memory_s, ns;

    if (efficiency <= 0 || rate->flops_per_s <= 0)
        return SYN_NEVER;
    compute_s = kernel->flops / (rate->flops_per_s * efficiency);
    memory_s = rate->bytes_per_s > 0 ? kernel->bytes / rate->bytes_per_s : 0;
    ns = (double)rate->launch_ns + fmax(compute_s, memory_s) * 1e9;
    return ns < 1 ? 1 : (uint64_t)fmin(ns, NS_MAX);
}
