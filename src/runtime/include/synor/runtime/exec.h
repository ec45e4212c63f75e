/* A program run beside an instance's own, within it: what the operation `exec` of runtime_ops.h
 * starts.
 *
 *      exec --+--> fd() readable --> result() --> free()
 *             `--- signal()  any number of times
 *
 * It gets what the instance has and no more: its root, namespaces, limits, system call filter, user
 * and environment, no capabilities. Nobody but the process that started it knows of it: when that
 * one dies, its descriptors close, a terminal's hang up. It ends with the instance. */
#ifndef SYNOR_RUNTIME_EXEC_H
#define SYNOR_RUNTIME_EXEC_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/runtime/runtime_ops.h>

#define SYN_EXEC_NULL       (-1) /* for a descriptor: /dev/null */
#define SYN_EXEC_ARGS_BYTES ((size_t)128 << 10)

/** What is run. Borrowed for the call. */
struct syn_exec_spec {
    const char *const *argv; /* NULL-ended, argv[0] a path inside or a name found in PATH */
    const char *const *env;  /* NULL-ended "NAME=value", over the instance's own; or NULL */
    const char *cwd;         /* NULL: the instance's */
    uint32_t uid, gid;       /* inside; 0: the instance's. Never root */
    int in, out, err;        /* borrowed, or SYN_EXEC_NULL; not looked at with a terminal */
    /** Path of a terminal of the host ("/dev/pts/3") whose other side the caller holds, or NULL. It
     *  has the program's input and output; closing the other side hangs up. */
    const char *terminal;
};

struct syn_exec_result {
    bool started;                       /* false: no instruction of it ever ran */
    int exit_code;                      /* as a shell says it: 128 + signal; 126, 127 unstarted */
    char message[SYN_EXIT_MESSAGE_MAX]; /* why it never ran, or "" */
};

/** Borrowed: readable once it has ended. */
int syn_exec_fd(const struct syn_exec *exec);
/** Deliver a signal to the program. Returns 0, also when it has ended; CONFLICT while it has not
 * begun; IO. */
SYN_MUST int syn_exec_signal(struct syn_exec *exec, int signo, struct syn_err *err);
/** Tell a program on a terminal that the terminal's size has changed. Blocks: while it has not
 *  begun, but not for long. */
void syn_exec_resized(struct syn_exec *exec);
/** How it ended. Blocks: until it has. */
void syn_exec_result(struct syn_exec *exec, struct syn_exec_result *ret);
/** Kill what still runs and forget it. Blocks: until it is gone. NULL is fine. Returns NULL. */
struct syn_exec *syn_exec_free(struct syn_exec *exec);
void syn_exec_free_scope(struct syn_exec **slot);

/** A question to an instance: a program that is run for its status and its words. */
struct syn_exec_question {
    struct syn_exec_spec spec; /* in, out, err and terminal are not looked at */
    int64_t limit_ms;          /* then it is killed */
    size_t bytes_max; /* of output and errors together that are kept; the rest is dropped */
};

/**
 * Run it with nothing to read and append what it prints (both streams) to `out`.
 *
 * Blocks: until it has ended, or limit_ms.
 * Returns 0; TIMEOUT; what exec returns.
 */
SYN_MUST int syn_exec_ask(const struct syn_runtime *runtime, struct syn_instance *instance,
                          const struct syn_exec_question *question, struct syn_buf *out,
                          struct syn_exec_result *ret, struct syn_err *err);

#endif
