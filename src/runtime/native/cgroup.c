/* Control groups, v1, hybrid and v2 behind one face.
 *
 * v1 has one tree per controller ("/sys/fs/cgroup/memory/synor/x"), v2 one for all. Hybrid is v1
 * with a v2 tree beside it that usually has no controllers. So a controller is looked for on v1
 * first and on v2 if v1 lacks it, each for itself: a machine may have memory on v1 and pids on v2.
 *
 *    question      v1 file                              v2 file
 *    cpu quota     cpu.cfs_quota_us, cpu.cfs_period_us  cpu.max
 *    cpu used      cpuacct.usage (ns)                   cpu.stat usage_usec
 *    throttled     cpu.stat throttled_time (ns)         cpu.stat throttled_usec
 *    memory limit  memory.limit_in_bytes + memsw        memory.max, memory.swap.max
 *    oom kills     memory.oom_control oom_kill          memory.events oom_kill
 *    pids          pids.max, pids.events max            the same
 *    frozen        freezer.state                        cgroup.freeze
 *
 * The container tools join their processes to the group made here and leave limits alone. The group
 * outlives the container, so that its counters can be read after the last process is gone. */
#include "cgroup_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "file_priv.h"

#define CPU_PERIOD_US    100000
#define CPU_QUOTA_MIN    1000
#define START_MILLICORES 1000
#define KILL_ROUNDS      200
#define KILL_WAIT_MS     50
#define KILL_BATCH_MAX   512

static bool
has_word(const char *list, const char *word, char separator)
{
    size_t len = strlen(word);
    const char *at = list;

    while ((at = strstr(at, word)) != NULL) {
        bool starts = at == list || at[-1] == separator || at[-1] == ' ';

        if (starts && (at[len] == '\0' || at[len] == separator || at[len] == '\n'))
            return true;
        at += len;
    }
    return false;
}

static void
layout_add(struct syn_cgroup_layout *layout, const char *path, bool v2, const char *options)
{
    const struct {
        const char *name;
        int *slot;
    } controllers[] = {
        {"cpu", &layout->cpu},   {"cpuacct", &layout->cpuacct}, {"memory", &layout->memory},
        {"pids", &layout->pids}, {"freezer", &layout->freezer},
    };
    int index = layout->count;

    if (index == SYN_CGROUP_MOUNTS_MAX ||
        !syn_str_copy(layout->mounts[index].path, SYN_CGROUP_PATH_MAX, path))
        return;
    for (int i = 0; i < index; i++) {
        if (syn_str_eq(layout->mounts[i].path, path))
            return;
    }
    layout->mounts[index].v2 = v2;
    layout->count++;
    if (v2) {
        layout->unified = index;
        return;
    }
    for (size_t i = 0; i < SYN_LEN(controllers); i++) {
        if (*controllers[i].slot < 0 && has_word(options, controllers[i].name, ','))
            *controllers[i].slot = index;
    }
}

void
syn_cgroup_layout_parse(const char *mounts, const char *controllers, struct syn_cgroup_layout *ret)
{
    const char *line = mounts;
    bool v1 = false;

    *ret = (struct syn_cgroup_layout){
        .cpu = -1, .cpuacct = -1, .memory = -1, .pids = -1, .freezer = -1, .unified = -1};
    while (*line != '\0') {
        char path[SYN_CGROUP_PATH_MAX], type[32], options[512];
        const char *end = strchr(line, '\n');

        if (sscanf(line, "%*s %255s %31s %511s", path, type, options) == 3 &&
            (syn_str_eq(type, "cgroup") || syn_str_eq(type, "cgroup2")))
            layout_add(ret, path, syn_str_eq(type, "cgroup2"), options);
        line = end ? end + 1 : line + strlen(line);
    }
    v1 = ret->cpu >= 0 || ret->memory >= 0 || ret->pids >= 0;
    ret->have_cpu = ret->cpu >= 0 || has_word(controllers, "cpu", ' ');
    ret->have_memory = ret->memory >= 0 || has_word(controllers, "memory", ' ');
    ret->have_pids = ret->pids >= 0 || has_word(controllers, "pids", ' ');
    if (v1)
        ret->version = ret->unified >= 0 ? SYN_CGROUP_HYBRID : SYN_CGROUP_V1;
    else
        ret->version = ret->unified >= 0 ? SYN_CGROUP_V2 : SYN_CGROUP_NONE;
}

int
syn_cgroup_layout_read(struct syn_cgroup_layout *ret, struct syn_err *err)
{
    SYN_BUF(mounts);
    SYN_BUF(controllers);
    char path[SYN_CGROUP_PATH_MAX + 32];
    int rc = syn_file_read(AT_FDCWD, "/proc/mounts", (size_t)4 << 20, &mounts, err);

    if (rc < 0)
        return rc;
    syn_cgroup_layout_parse(syn_buf_text(&mounts), "", ret);
    if (ret->unified >= 0) {
        (void)snprintf(path, sizeof(path), "%s/cgroup.controllers", ret->mounts[ret->unified].path);
        if (syn_file_read(AT_FDCWD, path, 4096, &controllers, NULL) == SYN_OK)
            syn_cgroup_layout_parse(syn_buf_text(&mounts), syn_buf_text(&controllers), ret);
    }
    if (ret->version == SYN_CGROUP_NONE)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup");
    return SYN_OK;
}

const char *
syn_cgroup_version_name(enum syn_cgroup_version version)
{
    static const char *const names[] = {
        [SYN_CGROUP_NONE] = "none",
        [SYN_CGROUP_V1] = "v1",
        [SYN_CGROUP_HYBRID] = "hybrid",
        [SYN_CGROUP_V2] = "v2",
    };

    return names[version];
}

/* The group's folder in hierarchy `index`, or in the v2 tree when `index` is -1. False when
 * neither. */
static bool
group_path(const struct syn_cgroup_layout *layout, int index, const char *name, const char *file,
           char *out)
{
    int at = index >= 0 ? index : layout->unified;

    if (at < 0)
        return false;
    return snprintf(out, SYN_PATH_MAX, "%s%s%s%s", layout->mounts[at].path, name,
                    file[0] ? "/" : "", file) < SYN_PATH_MAX;
}

/* Write to a control file: these take one write(2) and must not be created. */
static int
control_write(const char *path, const char *text)
{
    SYN_FD(fd);

    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static int
set_value(const struct syn_cgroup_layout *layout, int index, const char *name, const char *file,
          const char *value, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc;

    if (!group_path(layout, index, name, file, path))
        return SYN_FAIL(err, SYN_E_INVALID, "cgroup path too long: %s", name);
    rc = control_write(path, value);
    return rc < 0 ? SYN_FAIL_SYS(err, -rc, "writing %s to %s", value, path) : SYN_OK;
}

/* Make the group in one hierarchy; on v2 hand the controllers down from every ancestor. */
static int
make_group(const struct syn_cgroup_layout *layout, int index, const char *name, struct syn_err *err)
{
    char path[SYN_PATH_MAX], control[SYN_PATH_MAX];
    const struct syn_cgroup_mount *mount = &layout->mounts[index];
    size_t root_len = strlen(mount->path);
    int rc = syn_path_format(path, sizeof(path), err, "%s%s", mount->path, name);

    if (rc < 0)
        return rc;
    for (char *at = path + root_len; *at != '\0'; at++) {
        const char *next = strchr(at + 1, '/');
        size_t len = next ? (size_t)(next - path) : strlen(path);

        if (*at != '/')
            continue;
        if (mount->v2) {
            static const char *const controllers[] = {"+cpu", "+memory", "+pids"};

            (void)snprintf(control, sizeof(control), "%.*s/cgroup.subtree_control",
                           (int)(at - path), path);
            for (size_t i = 0; i < SYN_LEN(controllers); i++)
                (void)control_write(control, controllers[i]);
        }
        (void)snprintf(control, sizeof(control), "%.*s", (int)len, path);
        if (mkdir(control, 0755) < 0 && errno != EEXIST)
            return SYN_FAIL_SYS(err, errno, "creating cgroup %s", control);
    }
    return SYN_OK;
}

int64_t
syn_cgroup_start_cpu(int64_t millicores)
{
    return SYN_MAX(millicores, START_MILLICORES);
}

int
syn_cgroup_limit_cpu(const struct syn_cgroup_layout *layout, const char *name, int64_t millicores,
                     struct syn_err *err)
{
    int64_t quota = SYN_MAX(millicores * (CPU_PERIOD_US / 1000), CPU_QUOTA_MIN);
    char value[64];
    int rc;

    if (layout->cpu < 0) {
        (void)snprintf(value, sizeof(value), "%lld %d", (long long)quota, CPU_PERIOD_US);
        return set_value(layout, -1, name, "cpu.max", value, err);
    }
    (void)snprintf(value, sizeof(value), "%d", CPU_PERIOD_US);
    rc = set_value(layout, layout->cpu, name, "cpu.cfs_period_us", value, err);
    if (rc < 0)
        return rc;
    (void)snprintf(value, sizeof(value), "%lld", (long long)quota);
    return set_value(layout, layout->cpu, name, "cpu.cfs_quota_us", value, err);
}

static int
limit_memory(const struct syn_cgroup_layout *layout, const char *name, int64_t bytes,
             struct syn_err *err)
{
    char value[64];
    int rc;

    (void)snprintf(value, sizeof(value), "%lld", (long long)bytes);
    if (layout->memory < 0) {
        rc = set_value(layout, -1, name, "memory.max", value, err);
        if (rc < 0)
            return rc;
        /* Without swap accounting these files are absent, and there is nothing to limit. */
        (void)set_value(layout, -1, name, "memory.swap.max", "0", NULL);
        (void)set_value(layout, -1, name, "memory.oom.group", "1", NULL);
        return SYN_OK;
    }
    rc = set_value(layout, layout->memory, name, "memory.limit_in_bytes", value, err);
    if (rc == SYN_OK)
        (void)set_value(layout, layout->memory, name, "memory.memsw.limit_in_bytes", value, NULL);
    return rc;
}

int
syn_cgroup_create(const struct syn_cgroup_layout *layout, const char *name,
                  const struct syn_cgroup_limits *limits, struct syn_err *err)
{
    const int used[] = {layout->cpu,  layout->cpuacct, layout->memory,
                        layout->pids, layout->freezer, layout->unified};
    char value[64];
    int rc = SYN_OK;

    assert(name[0] == '/');
    if ((limits->cpu_millicores > 0 && !layout->have_cpu) ||
        (limits->memory_bytes > 0 && !layout->have_memory) ||
        (limits->pids_max > 0 && !layout->have_pids))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "cgroup controllers missing (cpu %d, memory %d, pids %d): enable them at "
                        "boot (cgroup_enable=memory)",
                        layout->have_cpu, layout->have_memory, layout->have_pids);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(used); i++) {
        if (used[i] >= 0)
            rc = make_group(layout, used[i], name, err);
    }
    if (rc == SYN_OK && limits->cpu_millicores > 0)
        rc = syn_cgroup_limit_cpu(layout, name, syn_cgroup_start_cpu(limits->cpu_millicores), err);
    if (rc == SYN_OK && limits->memory_bytes > 0)
        rc = limit_memory(layout, name, limits->memory_bytes, err);
    if (rc == SYN_OK && limits->pids_max > 0) {
        (void)snprintf(value, sizeof(value), "%lld", (long long)limits->pids_max);
        rc = set_value(layout, layout->pids, name, "pids.max", value, err);
    }
    return rc;
}

int
syn_cgroup_doors(const struct syn_cgroup_layout *layout, const char *name, int *fds, size_t max,
                 size_t *count, struct syn_err *err)
{
    const int used[] = {layout->cpu,  layout->cpuacct, layout->memory,
                        layout->pids, layout->freezer, layout->unified};
    char path[SYN_PATH_MAX];

    for (size_t i = 0; i < SYN_LEN(used); i++) {
        bool seen = used[i] < 0 || !group_path(layout, used[i], name, "cgroup.procs", path);

        for (size_t k = 0; k < i; k++)
            seen = seen || used[k] == used[i];
        if (seen)
            continue;
        if (*count == max)
            return SYN_FAIL(err, SYN_E_LIMIT, "more control groups than descriptors");
        fds[*count] = open(path, O_WRONLY | O_CLOEXEC);
        if (fds[*count] < 0)
            return SYN_FAIL_SYS(err, errno, "opening %s", path);
        (*count)++;
    }
    return SYN_OK;
}

/* The number in a one-number file, or after `key` in a file of "key number" lines; 0 when absent.
 */
static int64_t
read_number(const struct syn_cgroup_layout *layout, int index, const char *name, const char *file,
            const char *key)
{
    char path[SYN_PATH_MAX];
    SYN_BUF(text);
    const char *at;
    uint64_t value = 0;

    if (!group_path(layout, index, name, file, path) ||
        syn_file_read(AT_FDCWD, path, 16384, &text, NULL) < 0)
        return 0;
    at = syn_buf_text(&text);
    while (key && at) {
        size_t len = strlen(key);

        if (strncmp(at, key, len) == 0 && at[len] == ' ') {
            at += len;
            break;
        }
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    return at && syn_scan_u64(at, 10, &value, NULL) ? (int64_t)value : 0;
}

void
syn_cgroup_usage_read(const struct syn_cgroup_layout *layout, const char *name,
                      struct syn_cgroup_usage *ret)
{
    *ret = (struct syn_cgroup_usage){0};
    if (layout->cpuacct >= 0)
        ret->cpu_us = read_number(layout, layout->cpuacct, name, "cpuacct.usage", NULL) / 1000;
    else
        ret->cpu_us = read_number(layout, -1, name, "cpu.stat", "usage_usec");
    ret->throttled_periods = read_number(layout, layout->cpu, name, "cpu.stat", "nr_throttled");
    if (layout->cpu >= 0)
        ret->throttled_us =
            read_number(layout, layout->cpu, name, "cpu.stat", "throttled_time") / 1000;
    else
        ret->throttled_us = read_number(layout, -1, name, "cpu.stat", "throttled_usec");
    if (layout->memory >= 0) {
        ret->memory_bytes =
            read_number(layout, layout->memory, name, "memory.usage_in_bytes", NULL);
        ret->memory_peak_bytes =
            read_number(layout, layout->memory, name, "memory.max_usage_in_bytes", NULL);
        ret->oom_kills =
            read_number(layout, layout->memory, name, "memory.oom_control", "oom_kill");
    } else {
        ret->memory_bytes = read_number(layout, -1, name, "memory.current", NULL);
        ret->memory_peak_bytes = read_number(layout, -1, name, "memory.peak", NULL);
        ret->oom_kills = read_number(layout, -1, name, "memory.events", "oom_kill");
    }
    ret->pids = read_number(layout, layout->pids, name, "pids.current", NULL);
    ret->pids_limit_hits = read_number(layout, layout->pids, name, "pids.events", "max");
}

int
syn_cgroup_watch_pids(const struct syn_cgroup_layout *layout, const char *name)
{
    char path[SYN_PATH_MAX], now[64];
    int fd;

    if (!group_path(layout, layout->pids, name, "pids.events", path))
        return -1;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    /* What poll(2) tells is a change since the last reading. */
    if (fd >= 0)
        (void)!read(fd, now, sizeof(now));
    return fd;
}

static size_t
pids_in(const char *path, int *out, size_t max)
{
    SYN_BUF(text);
    const char *at;
    size_t count = 0;
    uint64_t pid;

    if (syn_file_read(AT_FDCWD, path, (size_t)1 << 20, &text, NULL) < 0)
        return 0;
    at = syn_buf_text(&text);
    while (count < max && syn_scan_u64(at, 10, &pid, &at)) {
        if (pid > 0 && pid <= INT32_MAX)
            out[count++] = (int)pid;
    }
    return count;
}

size_t
syn_cgroup_pids(const struct syn_cgroup_layout *layout, const char *name, int *out, size_t max)
{
    const int order[] = {layout->pids, layout->memory, layout->cpu, layout->unified};
    char path[SYN_PATH_MAX];

    for (size_t i = 0; i < SYN_LEN(order); i++) {
        size_t count = 0;

        if (order[i] >= 0 && group_path(layout, order[i], name, "cgroup.procs", path))
            count = pids_in(path, out, max);
        if (count > 0)
            return count;
    }
    return 0;
}

int
syn_cgroup_freeze(const struct syn_cgroup_layout *layout, const char *name, bool on,
                  struct syn_err *err)
{
    if (layout->freezer >= 0)
        return set_value(layout, layout->freezer, name, "freezer.state", on ? "FROZEN" : "THAWED",
                         err);
    if (layout->unified >= 0)
        return set_value(layout, -1, name, "cgroup.freeze", on ? "1" : "0", err);
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "nothing here freezes processes");
}

/* SIGKILL a batch. Those that are frozen die once they are thawed. */
static void
kill_batch(const int *pids, int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
        if (fds[i] >= 0)
            (void)syscall(SYS_pidfd_send_signal, fds[i], SIGKILL, NULL, 0);
        else
            (void)kill(pids[i], SIGKILL);
    }
}

/* Wait a moment for the batch to end. Orphans that a child subreaper inherited are its to reap. */
static void
await_batch(int *fds, size_t count)
{
    int patience_ms = KILL_WAIT_MS;
    siginfo_t status;

    for (size_t i = 0; i < count; i++) {
        struct pollfd ended = {.fd = fds[i], .events = POLLIN};

        if (fds[i] < 0)
            continue;
        if (poll(&ended, 1, patience_ms) == 0)
            patience_ms = 0;
        else
            (void)waitid(P_PIDFD, (id_t)fds[i], &status, WEXITED | WNOHANG);
        (void)close(fds[i]);
    }
}

/* A container runtime makes groups below the one that it is given: `fn` for each of them. */
static int
for_subgroups(const struct syn_cgroup_layout *layout, const char *name,
              int (*fn)(const struct syn_cgroup_layout *, const char *, struct syn_err *),
              struct syn_err *err)
{
    int rc = SYN_OK;

    for (int i = 0; rc == SYN_OK && i < layout->count; i++) {
        char path[SYN_PATH_MAX], below[SYN_CGROUP_PATH_MAX];
        const struct dirent *entry;
        DIR *dir = group_path(layout, i, name, "", path) ? opendir(path) : NULL;

        while (dir && rc == SYN_OK && (entry = readdir(dir)) != NULL) {
            if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
                snprintf(below, sizeof(below), "%s/%s", name, entry->d_name) < (int)sizeof(below))
                rc = fn(layout, below, err);
        }
        if (dir)
            (void)closedir(dir);
    }
    return rc;
}

static int
kill_group(const struct syn_cgroup_layout *layout, const char *name, struct syn_err *err)
{
    int pids[KILL_BATCH_MAX], fds[KILL_BATCH_MAX];

    for (int round = 0; round < KILL_ROUNDS; round++) {
        size_t count = syn_cgroup_pids(layout, name, pids, SYN_LEN(pids));

        if (count == 0)
            return SYN_OK;
        (void)set_value(layout, -1, name, "cgroup.kill", "1", NULL);
        /* A frozen group cannot fork while the list is worked through. */
        (void)!syn_cgroup_freeze(layout, name, true, NULL);
        count = syn_cgroup_pids(layout, name, pids, SYN_LEN(pids));
        kill_batch(pids, fds, count);
        (void)!syn_cgroup_freeze(layout, name, false, NULL);
        await_batch(fds, count);
    }
    return SYN_FAIL(err, SYN_E_IO, "processes of cgroup %s do not end", name);
}

int
syn_cgroup_kill(const struct syn_cgroup_layout *layout, const char *name, struct syn_err *err)
{
    int rc = kill_group(layout, name, err);

    return rc < 0 ? rc : for_subgroups(layout, name, syn_cgroup_kill, err);
}

static int
remove_group(const char *path, struct syn_err *err)
{
    for (int round = 0; round < KILL_ROUNDS; round++) {
        if (rmdir(path) == 0 || errno == ENOENT || errno == ENOTDIR)
            return SYN_OK;
        if (errno != EBUSY)
            break;
        /* A dying process leaves its group a moment after it is reaped. */
        (void)poll(NULL, 0, 2);
    }
    return SYN_FAIL_SYS(err, errno, "removing cgroup %s", path);
}

int
syn_cgroup_destroy(const struct syn_cgroup_layout *layout, const char *name, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = kill_group(layout, name, err);

    if (rc == SYN_OK)
        rc = for_subgroups(layout, name, syn_cgroup_destroy, err);
    for (int i = 0; rc == SYN_OK && i < layout->count; i++) {
        if (group_path(layout, i, name, "", path))
            rc = remove_group(path, err);
    }
    return rc;
}
