/* An engine's captured graph from inside: graph.c makes it, replay.c runs it. */
#ifndef SYNOR_COMPUTE_ENGINE_GRAPH_PRIV_H
#define SYNOR_COMPUTE_ENGINE_GRAPH_PRIV_H

#include "engine_priv.h"

/* A captured call. */
struct syn_engine_node {
    struct syn_engine_graph *graph;
    struct syn_engine_task *call;
    uint32_t index;
    uint32_t awaits;          /* edges to it */
    _Atomic uint32_t awaited; /* those that are not released yet, in this run */
    _Atomic int code;         /* of something that it needs and that failed, or 0 */
    int64_t deadline_ns;      /* from the start of a run; 0: none */
    void (*done)(void *arg, int code);
    void *done_arg;
};

/* What is known of a tensor while capturing. Its number is what strategies call it by. */
struct syn_engine_trail {
    struct syn_tensor *tensor;
    struct syn_data *data; /* the core's, to order whole runs by */
    uint32_t writer;
    bool begun, reads_first, writes; /* in all of the graph */
    uint32_t *readers;               /* since that writer */
    size_t readers_count, readers_cap;
};

struct syn_engine_edge {
    uint32_t from, to;
    bool needs; /* the result; else it only waits */
};

/* Padded on purpose: what calls that end write has a line of its own.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct syn_engine_graph {
    struct syn_engine *engine;
    struct syn_engine_node *nodes;
    size_t count, nodes_cap;
    struct syn_engine_edge *edges;
    size_t edges_count, edges_cap;
    struct syn_engine_trail *trails;
    size_t trails_count, trails_cap;
    uint32_t *table; /* an open hash table of tensors: the trail's number + 1, or 0 */
    size_t table_cap;
    /* Made by syn_engine_graph_seal(): each call's part of `succ` begins at its `first`. */
    bool sealed;
    uint32_t *first, *succ, *roots;
    bool *needs; /* by edge */
    uint32_t roots_count, sinks;
    struct syn_ready *ready; /* what the strategy is shown */
    struct syn_use *uses;    /* of a whole run */
    /* Of a run. */
    int64_t begun_ns;
    struct syn_task *gate; /* the core's record of it */
    bool shown;            /* to the strategy */
    _Alignas(SYN_LINE) _Atomic uint32_t sinks_left;
    _Atomic int stopped; /* what calls that have not begun end with, or 0 */
    _Atomic int code;
    struct syn_err failure; /* whose call set `code` */
    struct syn_task_more end;
};

#define SYN_ENGINE_NO_NODE UINT32_MAX

/* Sort what was captured, before the first run after that. */
SYN_MUST int syn_engine_graph_seal(struct syn_engine_graph *graph, struct syn_err *err);
static inline bool
syn_engine_graph_runs(const struct syn_engine_graph *graph)
{
    return atomic_load_explicit(&graph->end.done, memory_order_acquire) == 0;
}
/* Until the run is over, and nobody looks at the graph any more. */
void syn_engine_graph_settle(struct syn_engine_graph *graph);

#endif
