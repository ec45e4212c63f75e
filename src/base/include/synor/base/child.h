/* Children of this process: how they are started, waited for, and told from orphans.
 *
 * A process that is a child subreaper (or process 1 of a container) is handed every orphan below
 * it. Whoever does not wait for them keeps zombies for ever; whoever waits for "any child" takes
 * the status away from the thread that waits for its own. So children are started here, which
 * writes down their pids, and syn_child_reap_orphans() takes what ended and is not written down. */
#ifndef SYNOR_BASE_CHILD_H
#define SYNOR_BASE_CHILD_H

#include <sys/types.h>

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_CHILDREN_MAX 1024 /* of one process at a time */

/** Status of a child that somebody else reaped. */
#define SYN_CHILD_UNKNOWN (-1)
#define SYN_CHILD_NULL    (-1) /* for a descriptor: /dev/null */

/** What a child is given. It has these descriptors and no others, no signal blocked or ignored. */
struct syn_child_options {
    const char *const *argv; /* NULL-ended; argv[0] is what it is called */
    const char *const *env;  /* NULL-ended */
    int in, out, err;        /* SYN_CHILD_NULL, or a descriptor of ours */
    int passed;              /* becomes its descriptor 3; SYN_CHILD_NULL: it has none */
    const char *terminal;    /* path of one, which becomes in, out and err in place of those, and
                                controls the session that the child begins; NULL: none */
    bool by_descriptor;      /* `program` is /proc/self/fd/N: N must stay open until it runs */
};

/**
 * Start the program at the path `program`. Wait for it with syn_child_wait(), or with
 * syn_loop_child().
 *
 * Thread: any. Blocks: until the program is loaded.
 * Returns 0; NOTFOUND (no such program), FORBIDDEN, LIMIT, NOMEM, IO.
 */
SYN_MUST int syn_child_spawn(const char *program, const struct syn_child_options *options,
                             pid_t *ret_pid, struct syn_err *err);
/** Wait for the end of a child. Returns its status as waitpid(2) tells it, or SYN_CHILD_UNKNOWN. */
int syn_child_wait(pid_t pid);
/** It has been waited for in another way: its pid may mean another process from now on. */
void syn_child_forget(pid_t pid);
/** A program that is run for what it prints. */
struct syn_child_question {
    const char *program; /* a path */
    const char *const *argv;
    const char *const *env;
    int64_t limit_ms; /* then it is killed */
    size_t bytes_max;
    bool errors_too;   /* what it prints on its standard error as well */
    const char *input; /* what it reads, at most SYN_CHILD_INPUT_MAX bytes; NULL: nothing */
};

#define SYN_CHILD_INPUT_MAX 4096 /* a pipe takes as much at once */

/**
 * Run the program, and append what it prints to `out`.
 *
 * Blocks: until the program has ended, or limit_ms.
 * Returns 0 (*ret_status as of syn_child_wait()); TIMEOUT, TOOBIG (also the input), what
 * syn_child_spawn() returns.
 */
SYN_MUST int syn_child_ask(const struct syn_child_question *question, struct syn_buf *out,
                           int *ret_status, struct syn_err *err);
/**
 * Reap every child that has ended and was not started by syn_child_spawn(): call it on SIGCHLD.
 * While a child is being started it does nothing, and is made up for as soon as that is done.
 * A process that calls this starts no child in another way.
 *
 * Thread: any. Blocks: no. Returns how many it reaped.
 */
unsigned syn_child_reap_orphans(void);

#endif
