/* The supervisor of one instance, and what it supervises: a program that it started itself
 * (native: runc or runsc), or a container of a container runtime (../container/pod.c). */
#ifndef SYNOR_RUNTIME_SHIM_PRIV_H
#define SYNOR_RUNTIME_SHIM_PRIV_H

#include <signal.h>

#include "cgroup_priv.h"
#include "full_priv.h"
#include "logger_priv.h"
#include "plan_priv.h"

#define SYN_SHIM_CLIENTS_MAX 8
#define SYN_SHIM_REAPED_MAX  64
#define SYN_SHIM_NEVER       INT64_MAX

enum syn_shim_stop { SYN_SHIM_STOP_NONE, SYN_SHIM_STOP_ASKED, SYN_SHIM_STOP_TIME };

struct shim;

/** What differs by who runs the program. */
struct syn_shim_engine {
    /** Set up what it runs in, with its limits, and begin to start it. */
    int (*begin)(struct shim *shim, struct syn_err *err);
    /** True once it has ended, or will never begin. Calls syn_shim_started() when it has begun. */
    bool (*over)(struct shim *shim);
    /** Something happened on pipes[stream]. */
    void (*read)(struct shim *shim, enum syn_logger_stream stream);
    /** Deliver a signal in another way than to the first process; NULL: there is no other. */
    void (*signal)(struct shim *shim, int signo);
    /** Begin to fill what was made ahead. False when that is not to be done; NULL: never. */
    bool (*go_on)(struct shim *shim);
    /** Begin to save it: shim->saver. False when it cannot be; NULL: never. */
    bool (*save)(struct shim *shim);
    /** The last of its output, before the result is written. */
    void (*drain)(struct shim *shim);
    /** Why it never began, after `cause` (may be NULL). */
    void (*words)(struct shim *shim, char *out, size_t cap);
    /** Remove what only a running instance needs. What fails is left for destroy(). */
    void (*clear)(struct shim *shim);
};

struct shim {
    const struct syn_shim_engine *engine;
    void *engine_data;
    char dir_path[SYN_INSTANCE_PATH_MAX];
    char scratch_path[SYN_INSTANCE_PATH_MAX + 16];
    char program_cgroup[2 *
                        SYN_PLAN_NAME_MAX]; /* where the program itself is; plan.cgroup, or below */
    int dir, lock, ready, signals, listener, usage_fd, log_fd;
    int bell;   /* the other end of the input of a program that waits; -1: none does */
    int filter; /* NETLINK_NETFILTER of the node; -1: it has no network that is counted */
    int ended;  /* readable once the first process is gone that is no child of ours; -1: none */
    int limits; /* as of syn_cgroup_watch_pids(), where the group may be gone at the end; -1 */
    int pipes[SYN_LOGGER_STREAMS];
    int clients[SYN_SHIM_CLIENTS_MAX];
    struct syn_plan plan;
    struct syn_cgroup_layout layout;
    struct syn_logger logger;
    struct syn_full full;

    pid_t runner, init;
    pid_t saver; /* that saves it, 0 for none: its end comes after that one's */
    bool runner_done, init_done;
    bool created, goes_on; /* its sandbox, made ahead, waits; and is being filled */
    int starter;           /* the client that waits for it to run; -1: none */
    int runner_status, init_status;
    struct {
        pid_t pid;
        int status;
    } reaped[SYN_SHIM_REAPED_MAX]; /* ends seen before we knew whose they were */
    size_t reaped_count;

    int64_t mono_base_ms, wall_base_ms;
    int64_t started_ms; /* wall; 0 until it runs */
    int64_t ended_ms;
    int64_t sample_at_ms, kill_at_ms, limit_at_ms, look_at_ms; /* monotonic */
    int64_t hold_at_ms; /* then it is held to its processor; likewise */
    enum syn_shim_stop stop;
    int64_t stop_grace_ms; /* asked for before it ran */
    bool node_shutdown, killed, lost;
    int64_t own_pids; /* processes of its cgroup that are not the program's */
    int64_t throttled_us_seen, oom_kills_seen,
        pids_hits_seen; /* below plan.cgroup, where they may be gone at the end */

    struct syn_usage_sample usage; /* the last sample written */
    int64_t cpu_us_base, cpu_ms_total, throttled_ms_total;
    struct syn_net_usage traffic; /* up to the last sample */
};

int64_t syn_shim_mono_ms(void);
/** Wall time that never jumps: the wall clock at our start plus what the monotonic clock says
 * since.
 */
int64_t syn_shim_wall_ms(const struct shim *shim);
/** Its sandbox is there and waits for go_on(). */
void syn_shim_created(struct shim *shim);
/** The first process runs: shim->init. */
void syn_shim_started(struct shim *shim);
/** Take what ended. */
void syn_shim_reap(struct shim *shim);
/** One turn of the loop, at most until `deadline_ms`. */
void syn_shim_turn(struct shim *shim, int64_t deadline_ms);
/** Look at what went over a limit so far. */
void syn_shim_count_limits(struct shim *shim);
/** Fill in why it ended: reason, code, message. */
void syn_shim_explain(struct shim *shim, struct syn_instance_status *exit);
/** The same for one that never began. */
void syn_shim_explain_start(struct shim *shim, const struct syn_err *cause,
                            struct syn_instance_status *exit);
/** The process's main(), see shim.h. */
int syn_shim_run(int argc, char **argv, const struct syn_shim_engine *engine);

extern const struct syn_shim_engine syn_shim_native;

#endif
