/* Running runc and runsc. */
#ifndef SYNOR_RUNTIME_TOOL_PRIV_H
#define SYNOR_RUNTIME_TOOL_PRIV_H

#include <sys/types.h>

#include "plan_priv.h"

#define SYN_TOOL_ARGS_MAX 24

/** A command line; every pointer borrowed from the plan, from `paths` or static. */
struct syn_tool_args {
    const char *argv[SYN_TOOL_ARGS_MAX];
    size_t count;
    char paths[4][SYN_INSTANCE_PATH_MAX + 128];
    size_t paths_count;
    int in;        /* its descriptor 0; -1: /dev/null */
    bool commands; /* it commands a sandbox that is there, and starts none */
};

/** "runc --root DIR/oci --log DIR/runtime.log ..." without a verb. */
void syn_tool_begin(struct syn_tool_args *args, const char *dir, const struct syn_plan *plan);
void syn_tool_add(struct syn_tool_args *args, const char *word);
/** DIR/file kept in `args`. */
void syn_tool_add_path(struct syn_tool_args *args, const char *prefix, const char *dir,
                       const char *file);
/** Start it: `out` and `log` as descriptors 1 and 2 (-1: /dev/null), default signals. */
SYN_MUST int syn_tool_spawn(const struct syn_tool_args *args, int out, int log, pid_t *ret_pid,
                            struct syn_err *err);
/** The tool's last words in DIR/runtime.log, or "" . */
void syn_tool_message(int dirfd, char *out, size_t cap);
/** The same in DIR/file. */
void syn_tool_words(int dirfd, const char *file, char *out, size_t cap);

#endif
