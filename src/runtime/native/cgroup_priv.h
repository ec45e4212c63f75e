/* Control groups of one instance, in whatever layout the machine has. See cgroup.c. */
#ifndef SYNOR_RUNTIME_CGROUP_PRIV_H
#define SYNOR_RUNTIME_CGROUP_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_CGROUP_MOUNTS_MAX 24
#define SYN_CGROUP_PATH_MAX   256

enum syn_cgroup_version {
    SYN_CGROUP_NONE,
    SYN_CGROUP_V1,     /* controllers on v1 hierarchies only */
    SYN_CGROUP_HYBRID, /* the same, with a v2 hierarchy mounted beside them */
    SYN_CGROUP_V2,
};

struct syn_cgroup_mount {
    char path[SYN_CGROUP_PATH_MAX]; /* "/sys/fs/cgroup/cpu,cpuacct" */
    bool v2;
};

/** What is mounted where. Plain values: copy freely. Indexes into mounts, -1 when absent. */
struct syn_cgroup_layout {
    enum syn_cgroup_version version;
    struct syn_cgroup_mount mounts[SYN_CGROUP_MOUNTS_MAX];
    int count;
    int cpu, cpuacct, memory, pids, freezer, unified;
    bool have_cpu, have_memory, have_pids; /* usable, in v1 or v2 */
};

struct syn_cgroup_limits {
    int64_t cpu_millicores; /* 0: none */
    int64_t memory_bytes;   /* 0: none */
    int64_t pids_max;       /* 0: none */
};

struct syn_cgroup_usage {
    int64_t cpu_us;
    int64_t memory_bytes, memory_peak_bytes;
    int64_t pids;
    int64_t throttled_us, throttled_periods;
    int64_t oom_kills;
    int64_t pids_limit_hits;
};

/** Parse /proc/mounts (`mounts`) and a v2 root's cgroup.controllers (`controllers`). Pure. */
void syn_cgroup_layout_parse(const char *mounts, const char *controllers,
                             struct syn_cgroup_layout *ret);
/** Read this machine's. IO; UNSUPPORTED when no cgroup hierarchy is mounted. */
SYN_MUST int syn_cgroup_layout_read(struct syn_cgroup_layout *ret, struct syn_err *err);
const char *syn_cgroup_version_name(enum syn_cgroup_version version);

/** The limit of the processor while a program is started: a core at least. What starts it (runc,
 *  runsc) is in its group and needs tens of milliseconds of a core, for which a twentieth of one
 *  would have it wait for most of a second. Programs that look at their group as they begin take
 *  any fraction for one core. */
int64_t syn_cgroup_start_cpu(int64_t millicores);
/** Limit the processor for a group that there is. Where groups below have more (v1), theirs first.
 *  Returns 0; NOTFOUND when it is gone; IO. */
SYN_MUST int syn_cgroup_limit_cpu(const struct syn_cgroup_layout *layout, const char *name,
                                  int64_t millicores, struct syn_err *err);
/** Make the group `name` ("/synor/x") with its limits in every hierarchy that has a say; that of
 *  the processor is the one of a start.
 *  Returns 0; UNSUPPORTED when a limit is asked for whose controller is absent; IO. */
SYN_MUST int syn_cgroup_create(const struct syn_cgroup_layout *layout, const char *name,
                               const struct syn_cgroup_limits *limits, struct syn_err *err);
/** Where a process of root's enters the group: it writes "0" to each of these descriptors, which
 * are the caller's and added to fds[max], *count of them so far. LIMIT; IO. */
SYN_MUST int syn_cgroup_doors(const struct syn_cgroup_layout *layout, const char *name, int *fds,
                              size_t max, size_t *count, struct syn_err *err);
/** Current counters; what cannot be read stays 0. Counts of subgroups are included. */
void syn_cgroup_usage_read(const struct syn_cgroup_layout *layout, const char *name,
                           struct syn_cgroup_usage *ret);
/** A descriptor (the caller's) for poll(2), POLLPRI: a process of the group could not be made for a
 *  limit. -1 where there is none. */
int syn_cgroup_watch_pids(const struct syn_cgroup_layout *layout, const char *name);
/** The pids in the group itself. Returns how many were stored. */
size_t syn_cgroup_pids(const struct syn_cgroup_layout *layout, const char *name, int *out,
                       size_t max);
/** Its processes get no time until they are thawed, or killed. Returns 0; UNSUPPORTED; NOTFOUND;
 * IO. */
SYN_MUST int syn_cgroup_freeze(const struct syn_cgroup_layout *layout, const char *name, bool on,
                               struct syn_err *err);
/** Kill every process in it and below it and wait for their end. Blocks: until they are gone, at
 * most 10 s. */
SYN_MUST int syn_cgroup_kill(const struct syn_cgroup_layout *layout, const char *name,
                             struct syn_err *err);
/** Kill, then remove the group, with those below it, from every hierarchy. A missing group is fine.
 */
SYN_MUST int syn_cgroup_destroy(const struct syn_cgroup_layout *layout, const char *name,
                                struct syn_err *err);

#endif
