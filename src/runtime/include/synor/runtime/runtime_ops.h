/* A runtime driver makes one instance real on one node: prepare, start, watch, stop, destroy.
 *
 * Truth lives in files of the instance's own folder, never in the agent's memory: whoever opens the
 * folder (the agent that started it, or its successor after a crash) sees the same state.
 *
 *      prepare          start            exit             destroy
 *   -----------> prepared ----> running ----> exited(reason) ----> (nothing left)
 *                                  ^  adopt() of a folder lands in any of the three
 *
 * Every driver passes the same suite (src/runtime/runtime_suite.c). */
#ifndef SYNOR_RUNTIME_RUNTIME_OPS_H
#define SYNOR_RUNTIME_RUNTIME_OPS_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/runtime/net.h>

#define SYN_RUNTIME_VERSION       1
#define SYN_INSTANCE_ID_MAX       63
#define SYN_INSTANCE_ARGS_MAX     256
#define SYN_INSTANCE_ENV_MAX      512
#define SYN_INSTANCE_BINDS_MAX    64
#define SYN_INSTANCE_DEVICES_MAX  64
#define SYN_INSTANCE_HOSTS_MAX    256
#define SYN_INSTANCE_MOUNTS_MAX   32 /* of each kind below */
#define SYN_INSTANCE_LOG_LINE_MAX ((size_t)16384)
#define SYN_INSTANCE_PATH_MAX     1024

struct syn_instance; /* a handle on one instance folder */
struct syn_exec;     /* a program run within it: exec.h */
struct syn_exec_spec;

/** One host path shown inside. The container path must lie outside /usr, /etc, /proc, /sys, /dev,
 * unless there is a rootfs: then outside /proc, /sys and /dev. */
struct syn_bind {
    const char *host;
    const char *container;
    bool ro;
};

/** An empty file system in memory, which counts as the instance's own; anybody in it may write. */
struct syn_tmpfs {
    const char *container; /* as of a bind; also /tmp itself */
    int64_t bytes;
};

/** A file that never reaches a disk: in memory that is not swapped out, mode 0400 of the instance's
 * user, gone with the instance. */
struct syn_secret_file {
    const char *container; /* as of a bind */
    const char *data;
    size_t len;
};

/** One extra line of /etc/hosts. */
struct syn_host_entry {
    const char *name;
    const char *address;
};

enum syn_network_mode {
    SYN_NETWORK_NONE,  /* loopback only */
    SYN_NETWORK_GROUP, /* every instance of one group on this node, and nothing else */
    /** The account's bridge: its instances on this node, and outside what the policy lets through.
     *  UNSUPPORTED where the node has no such networks. See net.h. */
    SYN_NETWORK_ACCOUNT,
};

#define SYN_INSTANCE_DNS_MAX 3

/** What checkpoint() saved goes on in many instances, so its program waits for a word first: it
 *  makes the one file when it is ready to be saved, and goes on when there is the other. */
#define SYN_SNAPSHOT_WAITS_FILE  ".snapshot-waits"
#define SYN_SNAPSHOT_RESUME_FILE ".snapshot-resume"
#define SYN_SNAPSHOT_WAITS       "/synor/scratch/" SYN_SNAPSHOT_WAITS_FILE
#define SYN_SNAPSHOT_RESUME      "/synor/scratch/" SYN_SNAPSHOT_RESUME_FILE

/** What one instance is. Borrowed for the call of prepare(); a zero in a limit means the default.
 */
struct syn_instance_spec {
    const char *id;     /* syn_name_ok() */
    const char *dir;    /* absolute; created by prepare(), owned by the driver until destroy() */
    const char *rootfs; /* NULL: the host's /usr read-only; else an unpacked image's root folder */
    const char *isolation;   /* "auto" (or NULL), "gvisor", "runc", "kata", "namespace": what is not
                                here is UNSUPPORTED */
    const char *const *argv; /* NULL-ended, argv[0] a path inside or a name found in PATH */
    const char *const *env; /* NULL-ended "NAME=value"; PATH, HOME, TMPDIR are added when missing */
    const char *cwd;        /* default /synor/scratch */
    uint32_t uid, gid;      /* inside; never 0; default 1000 */
    const struct syn_bind *binds;
    size_t binds_count;
    /** Folders that outlive the instance, on a file system of their own (volume.h): files on them
     * belong to ids as they are inside, whichever of the host's this instance has. UNSUPPORTED
     * before Linux 5.12, where it has others. */
    const struct syn_bind *volumes;
    size_t volumes_count;
    /** NULL-ended (or NULL): character devices of the host, "/dev/...", that are shown at the same
     *  path and may be used. UNSUPPORTED where the sandbox cannot pass them on. */
    const char *const *devices;
    /** Files of the host's drivers, read-only, for names below /usr that a rootfs lacks. */
    const struct syn_bind *drivers;
    size_t drivers_count;
    const struct syn_tmpfs *tmpfs;
    size_t tmpfs_count;
    /** Places inside, as of a bind, of empty folders of the scratch space, writable to all. */
    const char *const *empties;
    size_t empties_count;
    const struct syn_secret_file *secrets;
    size_t secrets_count;
    const char *hostname;   /* a host name; default the id */
    int stop_signal;        /* what stop() delivers; default SIGTERM */
    int64_t scratch_bytes;  /* real limit of /synor and /tmp; default 1 GiB */
    int64_t shm_bytes;      /* /dev/shm; default 64 MiB */
    int64_t cpu_millicores; /* default: no quota */
    int64_t memory_bytes;   /* default: no limit */
    int64_t pids_max;       /* default 4096 */
    int64_t wall_ms;        /* default: no limit */
    int64_t grace_ms;       /* between the stop signal and SIGKILL; default 10 s */
    int64_t eager_ms;       /* so long after its start, or until settle(), it has a core at least */
    int64_t log_bytes_max;  /* default 64 MiB */
    enum syn_network_mode network;
    const char *group;   /* GROUP: syn_name_ok(), usually the job's id */
    const char *address; /* GROUP: "10.1.2.3/24" */
    /** ACCOUNT: who may reach it and whom it may reach. The id in it is the driver's to fill in. */
    struct syn_net_spec net;
    /** NULL-ended (or NULL): addresses for /etc/resolv.conf, at most SYN_INSTANCE_DNS_MAX. */
    const char *const *dns;
    bool dns_gateway; /* ACCOUNT: names are asked for at the network's gateway, and of no `dns` */
    const char *dns_search; /* the domain that short names are tried in, or NULL */
    const struct syn_host_entry *hosts;
    size_t hosts_count;
    /** It is to be saved by checkpoint(). UNSUPPORTED where no sandbox can be, and with devices. */
    bool saved;
    /** A folder that checkpoint() made of an instance with the same mounts, or NULL: start() goes
     * on from there instead of running argv. Its file is SYN_SNAPSHOT_RESUME, which its user can
     * read. */
    const char *restore;
    const char *resume;
    size_t resume_len;
    /** It is made by create(), and go_on() says what becomes of it. With `restore` its sandbox
     * alone is made. Without, its program is started, does SYN_SNAPSHOT_WAITS_FILE when it is ready
     * and waits for the end of its standard input; whose it will be, what it may take and its
     * `late` mounts are known by then. */
    bool ahead;
};

enum syn_instance_state {
    SYN_INSTANCE_PREPARED,
    SYN_INSTANCE_RUNNING,
    SYN_INSTANCE_EXITED,
};

/* Why an instance ended: one row yields the enum and the name in exit.json and the API. */
#define SYN_EXIT_REASONS(row)                                                               \
    row(COMPLETED, "completed")    /* exit status 0 */                                      \
        row(FAILED, "failed")      /* any other status, or killed by a signal of its own */ \
        row(OOM, "oom-killed")     /* over its memory limit */                              \
        row(TIME, "time-limit")    /* over its wall time */                                 \
        row(STOPPED, "stopped")    /* asked to */                                           \
        row(START, "start-failed") /* no instruction of it ever ran */                      \
        row(LOST, "lost")          /* its supervisor or the machine died; result unknown */

enum syn_exit_reason {
#define SYN_EXIT_ENUM(symbol, name) SYN_EXIT_##symbol,
    SYN_EXIT_REASONS(SYN_EXIT_ENUM)
#undef SYN_EXIT_ENUM
        SYN_EXIT_REASON_COUNT
};

#define SYN_EXIT_MESSAGE_MAX 512

struct syn_instance_status {
    enum syn_instance_state state;
    int64_t started_at_ms; /* Unix time; 0 before the start */
    int pid;               /* of its first process (gVisor's: its kernel) while it runs; else 0 */
    /* Set when EXITED: */
    enum syn_exit_reason reason;
    int exit_code; /* as a shell says it: 128 + signal when killed */
    int signal;    /* 0 when it exited by itself */
    int64_t ended_at_ms;
    int64_t oom_kills;
    int64_t pids_limit_hits;
    bool scratch_full;
    char message[SYN_EXIT_MESSAGE_MAX]; /* one sentence for people */
};

/** One line of usage.log: [from_ms, to_ms) touches its neighbours, from start to exit, no gap. */
struct syn_usage_sample {
    int64_t seq; /* 1, 2, ... */
    int64_t from_ms, to_ms;
    int64_t cpu_ms; /* used within the interval */
    int64_t memory_bytes, memory_peak_bytes;
    int64_t scratch_bytes;
    int64_t pids;
    int64_t throttled_ms; /* within the interval: wanted to run, held back by the CPU quota */
    /** Within the interval, as of syn_net_usage; 0 without an account's network. */
    int64_t egress_bytes, node_bytes, account_bytes, received_bytes;
};

/** One line of the log file. `text` points into the line given to syn_log_record_parse(). */
struct syn_log_record {
    int64_t time_ms;
    char stream[8]; /* "stdout", "stderr", or "synor" for the supervisor's own remarks */
    bool partial;   /* the line goes on in the next record of this stream */
    const char *text;
    size_t text_len;
};

/** Where to read what the instance produces. Host paths, valid until close(). */
struct syn_instance_paths {
    const char *log;   /* one syn_log_record a line, append-only */
    const char *usage; /* one syn_usage_sample a line, append-only */
    const char
        *checkpoints; /* folders inside the scratch; open what is in them without following links */
    const char *output;
    const char *scratch;
};

/** What a driver chose and found. Strings live as long as the driver. */
struct syn_runtime_info {
    const char *driver;   /* "native", "container", "zygote" */
    const char *sandbox;  /* "gvisor", "runc", "kata", "namespace" */
    const char *version;  /* the sandbox's own */
    const char *platform; /* "systrap", "ptrace"; "" for runc */
    const char *detail;   /* one sentence: why this one */
    bool gpus;            /* it can pass NVIDIA GPUs on */
    /** Version of the sandbox that can be saved and restored, another build perhaps; "": none. */
    const char *snapshots;
};

struct syn_runtime_ops {
    uint32_t version; /* SYN_RUNTIME_VERSION */

    /** Find a sandbox that works by running one. Blocks: seconds at worst; the result is kept.
     *  Returns 0; UNSUPPORTED when no sandbox works here, with each one's reason. */
    int (*probe)(void *self, struct syn_runtime_info *ret_info, struct syn_err *err);

    /** Make the folder, scratch space and bundle. On failure nothing is left.
     *  Owner: *ret_instance is the caller's, until close(). Blocks: milliseconds of disk work.
     *  Returns 0; INVALID, EXISTS, NOSPACE, IO, NOMEM, UNSUPPORTED. */
    int (*prepare)(void *self, const struct syn_instance_spec *spec,
                   struct syn_instance **ret_instance, struct syn_err *err);

    /** Run it. Returns when its first instruction is about to run, or when starting has failed:
     *  then the instance is EXITED with reason start-failed and the result is INVALID with the
     * cause. Blocks: tens to hundreds of ms. Returns 0; INVALID, CONFLICT (already started), IO,
     * TIMEOUT. */
    int (*start)(void *self, struct syn_instance *instance, struct syn_err *err);

    /** Make ahead what the next start can use, when nobody waits for the caller. NULL when there
     * is nothing to make. Blocks: tens of ms. */
    void (*warm)(void *self);

    /** Deliver a signal to its first process. Returns 0; CONFLICT when it does not run. */
    int (*signal)(void *self, struct syn_instance *instance, int signo, struct syn_err *err);

    /** It has begun its work: from now on it has the processor that it asked for. Optional: NULL
     * for a driver that holds it to that from its start on. Returns 0; CONFLICT when it does not
     * run. */
    int (*settle)(void *self, struct syn_instance *instance, struct syn_err *err);

    /** Ask it to end: its stop signal now, SIGKILL after grace_ms (< 0: the spec's). Does not wait.
     * A second call can only shorten the wait. Returns 0, also when it has ended; CONFLICT when
     * never started. */
    int (*stop)(void *self, struct syn_instance *instance, int64_t grace_ms, struct syn_err *err);

    /** The state now. Blocks: reads two small files. Returns 0; CORRUPT, IO. */
    int (*poll)(void *self, struct syn_instance *instance, struct syn_instance_status *ret_status,
                struct syn_err *err);

    /** A descriptor (the caller's to close) that becomes readable once poll() says EXITED, for an
     *  event loop. Returns 0; CONFLICT when it does not run. */
    int (*exit_fd)(void *self, struct syn_instance *instance, int *ret_fd, struct syn_err *err);

    /** The newest usage sample. Returns 0; NOTFOUND before the first. */
    int (*stats)(void *self, struct syn_instance *instance, struct syn_usage_sample *ret_usage,
                 struct syn_err *err);

    /** Run a program within the running instance: exec.h. Optional: NULL for a driver that cannot.
     *  Owner: *ret_exec is the caller's, until syn_exec_free(). Blocks: until it is being started;
     *  that it could not be is told by its result.
     *  Returns 0; CONFLICT when the instance does not run; INVALID; UNSUPPORTED; LIMIT, NOMEM, IO.
     */
    int (*exec)(void *self, struct syn_instance *instance, const struct syn_exec_spec *spec,
                struct syn_exec **ret_exec, struct syn_err *err);

    /** Save a running instance that was prepared as `saved`, its memory and all, as the new folder
     *  `folder`, which is on the file system of the instance's own. It ends with that, whether it
     *  could be saved or not. Whole or not at all, but not on the disk yet. Optional: NULL for a
     *  driver that cannot. Blocks: tenths of a second.
     *  Returns 0; CONFLICT when it does not run; UNSUPPORTED, TIMEOUT, IO. */
    int (*checkpoint)(void *self, struct syn_instance *instance, const char *folder,
                      struct syn_err *err);

    /** Make the sandbox of one that was prepared `ahead`, which is still PREPARED then. Optional,
     *  with the next: NULL for a driver that cannot. Blocks and returns as start(). */
    int (*create)(void *self, struct syn_instance *instance, struct syn_err *err);
    /** One that waits, its program too if it has one, takes no processor time until go_on(), stop()
     *  or destroy(): an idle sandbox of gVisor takes some 2 % of a core. Optional. Returns 0;
     *  UNSUPPORTED: it goes on taking some; IO. */
    int (*freeze)(void *self, struct syn_instance *instance, struct syn_err *err);
    /** Start one that was created. With `restore` it goes on from its snapshot; of `spec` that
     *  counts which has come to be known since: `resume`, which is in SYN_SNAPSHOT_RESUME then. One
     *  whose program waits gets that word, too, and of `spec` its limits, its account, where names
     *  are looked for, and what is in `binds`: shown read-only below /synor from now on. It has
     *  failed for good if this fails. Blocks and returns as start(). */
    int (*go_on)(void *self, struct syn_instance *instance, const struct syn_instance_spec *spec,
                 struct syn_err *err);

    /** Memory that one of create() holds while it waits; 0: not known. Optional, with it. Blocks:
     *  reads a few small files. */
    int64_t (*held_bytes)(void *self, struct syn_instance *instance);

    /** Borrowed from the instance. */
    const struct syn_instance_paths *(*paths)(const struct syn_instance *instance);

    /** What isolates it: "gvisor", "runc", "kata", "namespace". Static, or valid until close(). */
    const char *(*isolation)(const struct syn_instance *instance);

    /** Where it is on the account's bridge, from prepare() on; NULL when it is on none. Borrowed
     * from the instance. Optional: NULL for a driver without networks. */
    const struct syn_net_place *(*place)(const struct syn_instance *instance);

    /** Open a folder that an earlier process prepared. Concludes truthfully: a folder whose
     *  supervisor is gone without a result becomes EXITED, reason lost, and its leftovers are
     *  killed; one that was gone before the program started is still PREPARED, fit to be destroyed.
     *  Returns 0; NOTFOUND, CORRUPT, IO. */
    int (*adopt)(void *self, const char *dir, struct syn_instance **ret_instance,
                 struct syn_instance_status *ret_status, struct syn_err *err);

    /** Kill what runs and remove everything: processes, cgroups, mounts, devices, namespaces,
     * folder. Works on any folder in any state, also half made or already gone. Returns 0; IO (call
     * again). */
    int (*destroy)(void *self, const char *dir, struct syn_err *err);

    /** Drop the handle; the instance goes on. NULL is fine. Returns NULL. */
    struct syn_instance *(*close)(struct syn_instance *instance);
};

/** A driver and its state, as it is handed around. */
struct syn_runtime {
    const struct syn_runtime_ops *ops;
    void *self;
};

/** Which driver made this instance folder: "native", "container", "zygote"; "" while it is not
 * prepared, when any one may destroy it. Static. Blocks: reads a small file. */
const char *syn_runtime_driver_of(const char *dir);
/** "oom-killed" and so on. */
const char *syn_exit_reason_name(enum syn_exit_reason reason);
/** Parse one line of a log file (without its newline). INVALID when it is none. */
SYN_MUST int syn_log_record_parse(const char *line, size_t len, struct syn_log_record *ret,
                                  struct syn_err *err);
/** Parse one line of a usage file (without its newline). INVALID when it is none. */
SYN_MUST int syn_usage_parse(const char *line, size_t len, struct syn_usage_sample *ret,
                             struct syn_err *err);

#endif
