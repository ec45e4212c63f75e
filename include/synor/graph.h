/* A graph of tasks, captured once and run as often as wanted.
 *
 * Capturing infers the dependencies as syn_task_submit() does; running again costs no inference, no
 * allocation and no lock, only one atomic a dependency (none where the runtime has one thread).
 *
 *     syn_graph_new(runtime, &graph, &err);
 *     for (...)
 *         syn_graph_add(graph, &spec, &err);   // as for syn_task_submit()
 *     for (...)
 *         syn_graph_run(graph, &err);
 *     syn_graph_free(graph);
 *
 * Thread: one thread at a time for each graph. Tasks submitted elsewhere on the same data are not
 * ordered against a graph's: wait between them. */
#ifndef SYNOR_GRAPH_H
#define SYNOR_GRAPH_H

#include <synor/task.h>

#ifdef __cplusplus
extern "C" {
#endif

struct syn_graph;

#define SYN_GRAPH_TASKS_MAX ((size_t)1 << 26)

SYN_MUST SYN_API int syn_graph_new(struct syn_runtime *runtime, struct syn_graph **ret_graph,
                                   struct syn_err *err);
SYN_API struct syn_graph *syn_graph_free(struct syn_graph *graph);

/** Capture one task behind those captured before it. `after` and `done` are for submitted tasks and
 *  are refused here; the data must live as long as the graph is added to. After a failure the graph
 *  is as before. INVALID, NOMEM, LIMIT. */
SYN_MUST SYN_API int syn_graph_add(struct syn_graph *graph, const struct syn_task_spec *spec,
                                   struct syn_err *err);
/** Make the graph ready to run; the first run after the last addition does that otherwise. NOMEM.
 */
SYN_MUST SYN_API int syn_graph_seal(struct syn_graph *graph, struct syn_err *err);
/** Tasks captured. */
SYN_API size_t syn_graph_count(const struct syn_graph *graph);

/** Run every task once, in an order that the dependencies allow, helping meanwhile. Not from a
 *  task. The code of a task that failed (of one of them, if several did): those that depend on it
 *  did not run. */
SYN_MUST SYN_API int syn_graph_run(struct syn_graph *graph, struct syn_err *err);

#ifdef __cplusplus
}
#endif
#endif
