/* Running a program within an instance, by the tool that made its sandbox. */
#ifndef SYNOR_RUNTIME_NATIVE_EXEC_PRIV_H
#define SYNOR_RUNTIME_NATIVE_EXEC_PRIV_H

#include <synor/runtime/exec.h>

#include "instance_priv.h"

/** Where the tool finds the container. Borrowed for the call. */
struct syn_exec_place {
    const char *tool;   /* path of runc or runsc */
    const char *root;   /* its --root */
    const char *name;   /* the container's */
    const char *bundle; /* folder of its config.json */
    pid_t beside;       /* in whose mount and network namespaces the tool must be; 0: ours */
    bool gvisor;
};

/** Start it. The caller has found that the instance runs. */
SYN_MUST int syn_exec_start(struct syn_instance *instance, const struct syn_exec_place *place,
                            const struct syn_exec_spec *spec, struct syn_exec **ret_exec,
                            struct syn_err *err);
/** What runc knows of a container in a network that was made before it, as `exec` can use it. Into
 *  root[SYN_PATH_MAX], instead of its --root. */
SYN_MUST int syn_exec_joined(struct syn_instance *instance, char *root, struct syn_err *err);
/** CONFLICT when it does not run. */
SYN_MUST int syn_exec_check(struct syn_instance *instance, const struct syn_exec_spec *spec,
                            struct syn_err *err);
/** Kill what another process, which is gone, has run within it. */
void syn_exec_sweep(struct syn_instance *instance);

#endif
