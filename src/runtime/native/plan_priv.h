/* What the supervisor of one instance must know: written by prepare() as plan.json, read by the
 * shim and by whoever adopts the folder. Its presence means "prepared". */
#ifndef SYNOR_RUNTIME_PLAN_PRIV_H
#define SYNOR_RUNTIME_PLAN_PRIV_H

#include <synor/base/json.h>
#include <synor/runtime/runtime_ops.h>

#define SYN_PLAN_NAME_MAX 128

/* Files of an instance folder. */
#define SYN_FILE_PLAN    "plan.json"
#define SYN_FILE_CONFIG  "config.json" /* the OCI bundle: this folder */
#define SYN_FILE_SHIM    "shim.json"   /* who supervises; locked while it lives */
#define SYN_FILE_STATE   "state.json"  /* running since when, as which pid */
#define SYN_FILE_EXIT    "exit.json"   /* how it ended */
#define SYN_FILE_LOG     "log"
#define SYN_FILE_USAGE   "usage.log"
#define SYN_FILE_RUNTIME "runtime.log" /* what runc or runsc had to say */
#define SYN_FILE_PID     "pid"
#define SYN_FILE_CONTROL "control" /* the shim's socket */
#define SYN_FILE_IMAGE   "scratch.img"
#define SYN_FILE_RESOLV  "resolv.conf" /* of SYN_AHEAD_PROGRAM: /etc/resolv.conf, filled late */
#define SYN_DIR_SCRATCH  "scratch"
#define SYN_DIR_ROOT     "root"    /* this instance's own files over the image's */
#define SYN_DIR_ROOTFS   "rootfs"  /* a pod's root put together, from which is bound */
#define SYN_DIR_SHM      "shm"     /* a pod's file system in memory, for /dev/shm */
#define SYN_DIR_EMPTIES  "empty"   /* within the scratch space: empty/0, empty/1, ... */
#define SYN_DIR_SECRETS  "secrets" /* a file system in memory that is never swapped out */
#define SYN_DIR_TMPFS    "tmpfs"   /* a pod's file systems in memory: 0, 1, ... */
#define SYN_DIR_MAPPED   "volumes" /* volumes as they are this instance's: 0, 1, ... */
#define SYN_DIR_TOOL     "oci"     /* the tool's --root */
#define SYN_DIR_SAVING   "saving"  /* a checkpoint in the making, */
#define SYN_DIR_SAVED    "saved"   /* and a whole one, until somebody takes it */
#define SYN_DIR_JOINED   "joined"  /* the same for `exec` where its network was made before */

/* Of what is made ahead: */
#define SYN_AHEAD_SANDBOX 1 /* its sandbox is, and waits to be filled */
#define SYN_AHEAD_PROGRAM 2 /* its program runs, and waits for a word */

#define SYN_PLATFORM_ZYGOTE "zygote" /* of forked instances: plan.platform */

struct syn_plan {
    char id[SYN_INSTANCE_ID_MAX + 1];
    char name[SYN_PLAN_NAME_MAX];   /* container name: unique on this machine */
    char cgroup[SYN_PLAN_NAME_MAX]; /* "/synor/NAME" */
    bool gvisor;
    bool devices;                     /* some of the host's are passed on */
    char tool[SYN_INSTANCE_PATH_MAX]; /* absolute path of runc or runsc */
    char platform[16];
    char cover[64];                    /* empty folder under which the root is put together */
    char image[SYN_INSTANCE_PATH_MAX]; /* lower root folder */
    int64_t cpu_millicores, memory_bytes, pids_max;
    int64_t scratch_bytes, wall_ms, grace_ms, log_bytes_max;
    int64_t stop_signal;               /* 0: SIGTERM */
    int64_t eager_ms;                  /* a core at least for so long; 0: not once it runs */
    int64_t id_base;                   /* runc: first host id of its user namespace */
    char group[SYN_INSTANCE_PATH_MAX]; /* folder of the group's network, "" for none */
    char address[64];
    char runtime[128]; /* container runtime's socket, "unix:..."; "": the tool is run natively */
    char handler[32];  /* its runtime class */
    int64_t ahead;     /* SYN_AHEAD_* */
    char restore[SYN_INSTANCE_PATH_MAX]; /* what was saved and goes on here; "": argv is run */
    struct syn_net_place place;          /* on the account's bridge; .netns "" for none */
};

/** Does it run in a namespace that is made before the tool starts? */
bool syn_plan_networked(const struct syn_plan *plan);

/** Atomic; the shim makes it durable once the instance runs. */
SYN_MUST int syn_plan_write(int dirfd, const struct syn_plan *plan, struct syn_err *err);
/** NOTFOUND when the folder was never prepared; CORRUPT. */
SYN_MUST int syn_plan_read(int dirfd, struct syn_plan *ret, struct syn_err *err);

#endif
