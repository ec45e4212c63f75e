/* How a supervisor is started: as a program of its own that the one binary carries. */
#ifndef SYNOR_RUNTIME_SUPERVISOR_PRIV_H
#define SYNOR_RUNTIME_SUPERVISOR_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_SUPERVISOR_ARGS_MAX 8

struct syn_supervisor {
    int image; /* a sealed file in memory that holds the program; -1: there is none */
    char *argv[SYN_SUPERVISOR_ARGS_MAX + 1]; /* the command otherwise, NULL-ended */
};

/** `image` are the bytes of the program (NULL: none), `argv` the command where there are none or
 *  they may not be executed (NULL: {"/proc/self/exe", "shim"}). Both are copied.
 *  Returns 0; INVALID, NOMEM. Call syn_supervisor_fini() also after a failure. */
SYN_MUST int syn_supervisor_init(struct syn_supervisor *supervisor, const void *image, size_t len,
                                 const char *const *argv, struct syn_err *err);
void syn_supervisor_fini(struct syn_supervisor *supervisor);
/** Start one over the folder `dir`, which reports through `ready`. Returns when it is on its own.
 *  Thread: any. */
SYN_MUST int syn_supervisor_spawn(const struct syn_supervisor *supervisor, const char *dir,
                                  int ready, struct syn_err *err);

#endif
