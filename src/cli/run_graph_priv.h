/* compute run-graph in parts: the run (cmd_run_graph.c), tensors before and after it
 * (run_graph_tensor.c), what is told of it (run_graph_report.c), and what would be (--plan,
 * run_graph_plan.c). */
#ifndef SYN_RUN_GRAPH_PRIV_H
#define SYN_RUN_GRAPH_PRIV_H

#include <stdatomic.h>

#include <synor/engine.h>
#include <synor/graph_file.h>

#include "cli_priv.h"

#define SYN_RUN_ROUNDS_MAX 1000000
#define SYN_RUN_BLAMED_MAX 8 /* names of tasks that a message lists */

/** One task of the document, over all its submissions. */
struct syn_run_task {
    _Atomic int code;              /* 0, or the first that one of them ended with */
    _Atomic uint64_t failed;       /* how many */
    struct syn_task *handle;       /* of the last one, where a later task names it */
    uint32_t last;                 /* its last call in the captured graph */
    const struct syn_run_task *of; /* the failed task that it fell with; NULL: none */
    bool named;                    /* a later task waits for it by name */
};

struct syn_run {
    struct syn_cli *cli;
    const char *path;
    struct syn_graph_file *file;
    struct syn_trace *trace;
    struct syn_engine *engine;
    struct syn_engine_graph *graph; /* the whole of it; NULL: too large, calls are submitted */
    struct syn_tensor **tensors;    /* as in the file */
    struct syn_run_task *tasks;     /* as in the file */
    struct syn_buf models;          /* what --models held before */
    uint64_t *rounds_ns;
    uint64_t rounds; /* that were run */
    uint64_t calls;  /* submitted */
    uint64_t elapsed_ns;
    unsigned pieces;
    struct syn_memory_stats memory; /* right after the last task */
};

/** Make the tensors and give them their first content. The error names the tensor. */
SYN_MUST int syn_run_fill(struct syn_run *run, struct syn_err *err);
/** The tensor of that name. NOTFOUND names those that there are. */
SYN_MUST int syn_run_find(const struct syn_run *run, const char *name, size_t *ret_index,
                          struct syn_err *err);
/** What a tensor holds now: shape, sums, first elements, checksum. */
SYN_MUST int syn_run_result(struct syn_run *run, size_t index, json_t **ret, struct syn_err *err);

/** Find out which tasks failed because of which. */
void syn_run_blame(struct syn_run *run);
/** The run as one document; `failure` (code 0: none) is told in it too. */
SYN_MUST int syn_run_json(const struct syn_run *run, const struct syn_trace_data *data,
                          json_t *results, const struct syn_err *failure, json_t **ret,
                          struct syn_err *err);
/** The same as tables. Returns the exit status. */
int syn_run_tables(const struct syn_run *run, const json_t *document);
/** Show what would happen, and run nothing. Returns the exit status. */
int syn_run_plan(struct syn_run *run);

/** Was this device asked for? The runtime's threads are there whether their processor was or not.
 */
bool syn_run_is_asked(const struct syn_run *run, const char *device);
/** "17 ns", "12.3 us", "4.5 ms", "1.2 s"; "-" for what there is none of. */
const char *syn_run_format_ns(const json_t *number, char *out);
const char *syn_run_format_energy(const json_t *number, char *out);

#endif
