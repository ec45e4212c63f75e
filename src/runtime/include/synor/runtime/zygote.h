/* Instances that are forked from an interpreter which has started already, instead of started: a
 * way beside syn_runtime's for functions whose owner and whose node's provider both chose speed
 * over gVisor. Milliseconds instead of tens or hundreds of them; no scratch disk, no network but
 * loopback, and they end with who opened the zygote. docs/isolation.md says what holds them. */
#ifndef SYNOR_RUNTIME_ZYGOTE_H
#define SYNOR_RUNTIME_ZYGOTE_H

#include <sys/types.h>

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_ZYGOTE_INSTANCES_MAX 256
/** The control group of an instance, by its id. */
#define SYN_ZYGOTE_GROUP "/synor/fork-%s"
/** The instance has not ended. */
#define SYN_ZYGOTE_RUNS 1

struct syn_zygote; /* of one account: its instances share where things lie in memory */

struct syn_zygote_options {
    const char *root;    /* absolute, private to this use: host images, an empty folder */
    const char *python;  /* absolute path of its program; 3.8 or newer */
    const char *program; /* a Python source with main(begun, door), which runs a function */
    size_t program_len;
};

/** What one instance is. Borrowed for the call. */
struct syn_zygote_spec {
    const char *id;         /* syn_name_ok(), of one instance at a time on the machine */
    const char *code;       /* folder or file of the host, shown read-only at /synor/code */
    const char *layer;      /* a folder, the same at /synor/layer; NULL: none */
    const char *const *env; /* NULL-ended "NAME=value"; all that it has */
    uint32_t host_uid;      /* whose its processes are on the node; 65536 or more, its own */
    int64_t memory_bytes;   /* > 0, as what follows */
    int64_t pids_max;
    int64_t cpu_millicores;
    int64_t scratch_bytes; /* of /tmp, which is of its memory */
    int door;              /* a socket that listens, and all that it hears of the world */
    int log;               /* its standard output, and its standard error, unless that has */
    int errors;            /* > 0: one of its own */
};

/** Start the interpreter. Blocks: until it is ready, tens of ms.
 *  Owner: *ret is the caller's. Returns 0; UNSUPPORTED: this machine lacks what holds instances, or
 *  a Python that starts; NOMEM, IO. */
SYN_MUST int syn_zygote_open(const struct syn_zygote_options *options, struct syn_zygote **ret,
                             struct syn_err *err);
/** Kill all instances and the interpreter; nothing is left. NULL is fine. Returns NULL. */
struct syn_zygote *syn_zygote_close(struct syn_zygote *zygote);

/** Of the interpreter itself. */
pid_t syn_zygote_pid(const struct syn_zygote *zygote);

/** Fork an instance, which loads its function and answers at the door. While it does it has a core
 * at least. Thread: any. Blocks: milliseconds.
 *  Returns 0, *ret_pid is its first process; INVALID; LIMIT: as many as there may be; UNSUPPORTED;
 *  IO. */
SYN_MUST int syn_zygote_fork(struct syn_zygote *zygote, const struct syn_zygote_spec *spec,
                             pid_t *ret_pid, struct syn_err *err);
/** It has started: from now on it has the processor that was asked for. NOTFOUND; IO. */
SYN_MUST int syn_zygote_settle(struct syn_zygote *zygote, pid_t pid, struct syn_err *err);
/** Ask it to end (SIGTERM). NOTFOUND. */
SYN_MUST int syn_zygote_stop(struct syn_zygote *zygote, pid_t pid, struct syn_err *err);
/** Returns 0, *ret_status as of waitpid(2); SYN_ZYGOTE_RUNS; NOTFOUND; IO: the interpreter ended,
 *  and with it all that it forked. */
SYN_MUST int syn_zygote_poll(struct syn_zygote *zygote, pid_t pid, int *ret_status,
                             struct syn_err *err);
/** Kill it and what it started, and forget it. Returns 0, also for one that is not there; IO. */
SYN_MUST int syn_zygote_destroy(struct syn_zygote *zygote, pid_t pid, struct syn_err *err);

#endif
