/* Task graphs written down: a JSON document that names tensors and calls of kernels on them, as
 * `synor compute run-graph` takes it. docs/kernels.md tells the format.
 *
 * What parses can be submitted in order: every call has passed syn_kernel_check_call(), every
 * tensor has content before it is read, and what a task waits for besides comes before it. */
#ifndef SYNOR_GRAPH_FILE_H
#define SYNOR_GRAPH_FILE_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/kernel.h>
#include <synor/task.h>
#include <synor/tensor.h>

#define SYN_GRAPH_FILE_VERSION     1
#define SYN_GRAPH_FILE_TENSORS_MAX 4096
#define SYN_GRAPH_FILE_TASKS_MAX   65536
#define SYN_GRAPH_FILE_NAME_MAX    64 /* of a tensor or task, its zero included */
#define SYN_GRAPH_FILE_PATH_MAX    1024
#define SYN_GRAPH_FILE_REPEAT_MAX  1000000

/** What a tensor holds before the first task. */
enum syn_graph_init {
    SYN_GRAPH_INIT_NONE, /* nothing: the first task that uses it writes it */
    SYN_GRAPH_INIT_ZEROS,
    SYN_GRAPH_INIT_ONES,
    SYN_GRAPH_INIT_IOTA,   /* 0, 1, 2, ... in the order of rows */
    SYN_GRAPH_INIT_RANDOM, /* between -1 and 1; integers between -100 and 100 */
    SYN_GRAPH_INIT_FILE,   /* the bytes of a file, as the tensor lies in memory */
};

struct syn_graph_tensor {
    char name[SYN_GRAPH_FILE_NAME_MAX];
    struct syn_shape shape; /* complete, packed */
    enum syn_graph_init init;
    uint64_t seed;    /* of RANDOM */
    const char *path; /* of FILE, as written; the reader decides what it is relative to */
};

struct syn_graph_task {
    char name[SYN_GRAPH_FILE_NAME_MAX]; /* unique; "task7" where none is given */
    struct syn_kernel_call call;        /* shapes are the tensors'; no data */
    uint32_t tensors[SYN_OPERANDS_MAX]; /* by operand */
    const uint32_t *after;              /* earlier tasks */
    uint32_t after_count;               /* at most SYN_AFTER_MAX */
    int priority;
    unsigned repeat; /* how often it is submitted, one after the other; at least 1 */
};

struct syn_graph_file {
    const struct syn_graph_tensor *tensors;
    const struct syn_graph_task *tasks;
    uint32_t tensors_count, tasks_count;
};

/** INVALID names the place in the document ("tasks[3].args.x: ..."); TOOBIG; NOMEM. */
SYN_API SYN_MUST int syn_graph_file_parse(const char *data, size_t len,
                                          struct syn_graph_file **ret_file, struct syn_err *err);
SYN_API struct syn_graph_file *syn_graph_file_free(struct syn_graph_file *file);
SYN_API void syn_graph_file_free_scope(struct syn_graph_file **slot);
/** The document again, everything said: what it parses to is the same. */
SYN_API SYN_MUST int syn_graph_file_json(const struct syn_graph_file *file, json_t **ret,
                                         struct syn_err *err);

/** Write the first content of a tensor to `data`, syn_dtype_bytes() of its elements. Not of NONE or
 * FILE. The same everywhere. */
SYN_API void syn_graph_tensor_fill(const struct syn_graph_tensor *tensor, void *data);

#endif
