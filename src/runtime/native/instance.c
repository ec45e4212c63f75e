#include "instance_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "cgroup_priv.h"
#include "file_priv.h"
#include "group_priv.h"
#include "record_priv.h"
#include "scratch_priv.h"
#include "supervisor_priv.h"

#define START_MS    60000 /* a start took 21 s once on a loaded machine */
#define REPLY_MS    5000
#define SHIM_END_MS 5000
#define CLEAR_MS    60000 /* a loaded container runtime takes its time to remove a pod */

struct syn_instance *
syn_instance_close(struct syn_instance *instance)
{
    if (instance) {
        syn_fd_scope(&instance->dir);
        syn_free(instance);
    }
    return NULL;
}

void
syn_instance_close_scope(struct syn_instance **slot)
{
    *slot = syn_instance_close(*slot);
}

static void
fill_paths(struct syn_instance *instance)
{
    static const char *const names[] = {
        SYN_FILE_LOG,
        SYN_FILE_USAGE,
        SYN_DIR_SCRATCH "/checkpoints",
        SYN_DIR_SCRATCH "/output",
        SYN_DIR_SCRATCH "/scratch",
    };
    const char **slots[] = {
        &instance->paths.log,    &instance->paths.usage,   &instance->paths.checkpoints,
        &instance->paths.output, &instance->paths.scratch,
    };

    for (size_t i = 0; i < SYN_LEN(names); i++) {
        (void)snprintf(instance->path_texts[i], sizeof(instance->path_texts[i]), "%s/%s",
                       instance->dir_path, names[i]);
        *slots[i] = instance->path_texts[i];
    }
}

int
syn_instance_open(const char *dir, struct syn_instance **ret_instance, struct syn_err *err)
{
    SYN_SCOPED(syn_instance_close_scope)
    struct syn_instance *instance = syn_calloc(1, sizeof(*instance));
    int rc;

    if (!instance)
        return SYN_FAIL(err, SYN_E_NOMEM, "opening instance %s", dir);
    instance->dir = -1;
    if (!syn_str_copy(instance->dir_path, sizeof(instance->dir_path), dir))
        return SYN_FAIL(err, SYN_E_INVALID, "instance folder's path is too long");
    instance->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (instance->dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening instance %s", dir);
    rc = syn_plan_read(instance->dir, &instance->plan, err);
    if (rc < 0)
        return rc;
    fill_paths(instance);
    *ret_instance = SYN_TAKE(instance);
    return SYN_OK;
}

/* ---- the supervisor ---- */

struct shim_record {
    pid_t pid;
    uint64_t ticks;
    char boot[40];
};

/* Is a supervisor there? Fills `ret` with what it wrote, if anything. */
static bool
shim_alive(int dir, struct shim_record *ret)
{
    SYN_FD(fd);
    SYN_JSON(doc);

    *ret = (struct shim_record){0};
    fd = openat(dir, SYN_FILE_SHIM, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    if (syn_file_read_json(dir, SYN_FILE_SHIM, &doc, NULL) == SYN_OK) {
        ret->pid = (pid_t)syn_json_i64(doc, "pid", 0);
        ret->ticks = (uint64_t)syn_json_i64(doc, "ticks", 0);
        (void)syn_str_copy(ret->boot, sizeof(ret->boot), syn_json_str(doc, "boot", ""));
    }
    return syn_lock_held(fd);
}

/* A pidfd of the recorded supervisor, -1 when that process is gone. */
static int
shim_pidfd(const struct shim_record *record)
{
    int fd;

    if (record->pid <= 0)
        return -1;
    fd = (int)syscall(SYS_pidfd_open, record->pid, 0);
    if (fd >= 0 && syn_proc_start_ticks(record->pid) != record->ticks) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

pid_t
syn_instance_supervisor(const struct syn_instance *instance)
{
    struct shim_record record;

    return shim_alive(instance->dir, &record) ? record.pid : 0;
}

/* The supervisor's word: "ok", or why not. TIMEOUT and IO when there is none. */
static int
await_ready(int fd, char *out, size_t cap, struct syn_err *err)
{
    size_t len = 0;

    while (len + 1 < cap) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&ready, 1, START_MS) == 0)
            return SYN_FAIL(err, SYN_E_TIMEOUT, "the sandbox did not start within %d s",
                            START_MS / 1000);
        got = read(fd, out + len, cap - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    out[len] = '\0';
    if (len == 0)
        return SYN_FAIL(err, SYN_E_IO, "the supervisor ended before the start was decided");
    return SYN_OK;
}

int
syn_instance_start(struct syn_instance *instance, const struct syn_supervisor *supervisor,
                   struct syn_err *err)
{
    SYN_FD(ready);
    SYN_FD(theirs);
    char word[SYN_EXIT_MESSAGE_MAX];
    struct shim_record record;
    int fds[2], rc;

    if (shim_alive(instance->dir, &record) || record.pid > 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s was started before", instance->plan.id);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making a pipe");
    ready = fds[0];
    theirs = fds[1];
    if (theirs == 3) {
        /* dup2 onto itself would keep close-on-exec. */
        theirs = fcntl(fds[1], F_DUPFD_CLOEXEC, 4);
        (void)close(fds[1]);
        if (theirs < 0)
            return SYN_FAIL_SYS(err, errno, "making a pipe");
    }
    rc = syn_supervisor_spawn(supervisor, instance->dir_path, theirs, err);
    syn_fd_scope(&theirs);
    if (rc == SYN_OK)
        rc = await_ready(ready, word, sizeof(word), err);
    if (rc < 0)
        return rc;
    if (!syn_str_eq(word, "ok"))
        return SYN_FAIL(err, SYN_E_INVALID, "starting %s: %s", instance->plan.id, word);
    return SYN_OK;
}

/* A connection to its supervisor; -1: there is none that listens. */
static int
call_supervisor(const struct syn_instance *instance)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = REPLY_MS / 1000};
    int fd;

    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" SYN_FILE_CONTROL,
                   instance->dir);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        syn_fd_scope(&fd);
    return fd;
}

int
syn_instance_go_on(struct syn_instance *instance, struct syn_err *err)
{
    const char *request = "go on";
    char word[SYN_EXIT_MESSAGE_MAX];
    struct pollfd ready = {.events = POLLIN};
    SYN_FD(fd);
    ssize_t got;

    fd = call_supervisor(instance);
    if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the sandbox of %s is gone", instance->plan.id);
    ready.fd = fd;
    if (poll(&ready, 1, START_MS) != 1)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "%s did not go on within %d s", instance->plan.id,
                        START_MS / 1000);
    got = recv(fd, word, sizeof(word) - 1, MSG_DONTWAIT);
    word[SYN_MAX(got, 0)] = '\0';
    if (!syn_str_eq(word, "ok"))
        return SYN_FAIL(err, SYN_E_INVALID, "starting %s: %s", instance->plan.id,
                        word[0] ? word : "its sandbox is gone");
    return SYN_OK;
}

int
syn_instance_request(struct syn_instance *instance, const char *request, struct syn_err *err)
{
    char reply[64];
    SYN_FD(fd);
    ssize_t got;

    fd = call_supervisor(instance);
    if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s does not run", instance->plan.id);
    got = recv(fd, reply, sizeof(reply) - 1, 0);
    if (got <= 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s is ending", instance->plan.id);
    reply[got] = '\0';
    if (!syn_str_eq(reply, "ok"))
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s: %s", instance->plan.id, reply);
    return SYN_OK;
}

/* ---- state ---- */

/* Since when it runs, 0: not yet; and as which pid. */
static int64_t
started_at(int dir, int *ret_pid)
{
    SYN_JSON(doc);

    *ret_pid = 0;
    if (syn_file_read_json(dir, SYN_FILE_STATE, &doc, NULL) < 0)
        return 0;
    *ret_pid = (int)syn_json_i64(doc, "pid", 0);
    return syn_json_i64(doc, "started_at_ms", 0);
}

/* Its supervisor died without a result: end what it watched and say so, once and for all. */
static int
conclude_lost(struct syn_instance *instance, const struct shim_record *record,
              struct syn_instance_status *ret_status, struct syn_err *err)
{
    struct syn_instance_status status = {
        .state = SYN_INSTANCE_EXITED, .reason = SYN_EXIT_LOST, .exit_code = 255};
    struct syn_cgroup_layout layout;
    struct syn_usage_sample usage = {0};
    char boot[40];
    int pid;
    int rc = syn_cgroup_layout_read(&layout, err);

    if (rc == SYN_OK)
        rc = syn_cgroup_destroy(&layout, instance->plan.cgroup, err);
    if (rc < 0)
        return rc;
    syn_boot_id(boot);
    status.started_at_ms = started_at(instance->dir, &pid);
    (void)!syn_usage_last(instance->dir, &usage, NULL);
    /* What ran after the last sample was not measured and does not count. */
    status.ended_at_ms = SYN_MAX(usage.to_ms, status.started_at_ms);
    (void)syn_str_copy(status.message, sizeof(status.message),
                       syn_str_eq(boot, record->boot)
                           ? "its supervisor was killed; what was left of it was stopped"
                           : "the machine restarted while it ran");
    rc = syn_exit_write(instance->dir, &status, err);
    if (rc == SYN_OK)
        *ret_status = status;
    return rc;
}

int
syn_instance_poll(struct syn_instance *instance, struct syn_instance_status *ret_status,
                  struct syn_err *err)
{
    struct shim_record record;
    struct syn_instance_status status = {0};
    struct syn_err local;
    bool alive;
    int pid, rc;

    /* In this order: a supervisor writes its result before it lets go of the lock. */
    alive = shim_alive(instance->dir, &record);
    rc = syn_exit_read(instance->dir, ret_status, &local);
    if (!alive)
        syn_proc_reap(record.pid, record.ticks);
    if (rc == SYN_OK)
        return rc;
    if (rc != SYN_E_NOTFOUND) {
        if (err)
            *err = local;
        return rc;
    }
    status.started_at_ms = started_at(instance->dir, &pid);
    if (!alive && record.pid > 0 && status.started_at_ms > 0)
        return conclude_lost(instance, &record, ret_status, err);
    /* A supervisor that died before the start was decided has lost nothing: still prepared. */
    if (alive && status.started_at_ms > 0) {
        status.state = SYN_INSTANCE_RUNNING;
        status.pid = pid;
    }
    *ret_status = status;
    return SYN_OK;
}

int
syn_instance_exit_fd(struct syn_instance *instance, int *ret_fd, struct syn_err *err)
{
    struct shim_record record;
    bool alive = shim_alive(instance->dir, &record);
    int fd = -1;

    if (record.pid <= 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s was not started", instance->plan.id);
    if (alive)
        fd = call_supervisor(instance); /* closed once there is a result */
    if (alive && fd < 0)
        fd = shim_pidfd(&record);
    if (fd < 0)
        fd = eventfd(1, EFD_CLOEXEC); /* over: readable from the start */
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening an exit descriptor");
    *ret_fd = fd;
    return SYN_OK;
}

int
syn_instance_remount(struct syn_instance *instance, struct syn_err *err)
{
    char image[SYN_PATH_MAX], at[SYN_PATH_MAX];
    struct stat outer, inner;
    int rc = syn_path_format(image, sizeof(image), err, "%s/" SYN_FILE_IMAGE, instance->dir_path);

    if (rc == SYN_OK)
        rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_SCRATCH, instance->dir_path);
    if (rc < 0)
        return rc;
    if (fstat(instance->dir, &outer) < 0 || stat(at, &inner) < 0)
        return SYN_FAIL_SYS(err, errno, "looking at %s", at);
    return outer.st_dev != inner.st_dev ? SYN_OK : syn_scratch_mount(image, at, err);
}

/* ---- the end ---- */

/* End the supervisor, if it lives, and take its status: where the agent is the subreaper of its
 * process tree, nobody else does. */
void
syn_instance_end_supervisor(int dir)
{
    struct shim_record record;
    struct pollfd gone;
    SYN_FD(fd);

    /* One that let go of its lock may not have ended yet: it is the process that is waited for. */
    (void)shim_alive(dir, &record);
    fd = shim_pidfd(&record);
    gone = (struct pollfd){.fd = fd, .events = POLLIN};
    /* One that has a result is only clearing up: let it. */
    if (fd >= 0 && (faccessat(dir, SYN_FILE_EXIT, F_OK, 0) != 0 || poll(&gone, 1, CLEAR_MS) != 1)) {
        (void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        (void)poll(&gone, 1, SHIM_END_MS);
    }
    syn_proc_reap(record.pid, record.ticks);
}

/* What is mounted on FOLDER/0, FOLDER/1, ... */
static int
unmount_numbered(const char *dir, const char *folder, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = SYN_OK;

    for (unsigned i = 0; rc == SYN_OK && i < SYN_INSTANCE_MOUNTS_MAX; i++) {
        rc = syn_path_format(path, sizeof(path), err, "%s/%s/%u", dir, folder, i);
        if (rc == SYN_OK && access(path, F_OK) < 0)
            break;
        if (rc == SYN_OK)
            rc = syn_scratch_unmount(path, err);
    }
    return rc;
}

static int
unmount_all(const char *dir, struct syn_err *err)
{
    static const char *const names[] = {SYN_DIR_ROOTFS, SYN_DIR_SHM, SYN_DIR_SECRETS,
                                        SYN_DIR_SCRATCH};
    static const char *const numbered[] = {SYN_DIR_TMPFS, SYN_DIR_MAPPED};
    char path[SYN_PATH_MAX];
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(numbered); i++)
        rc = unmount_numbered(dir, numbered[i], err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(names); i++) {
        rc = syn_path_format(path, sizeof(path), err, "%s/%s", dir, names[i]);
        if (rc == SYN_OK)
            rc = syn_scratch_unmount(path, err);
    }
    return rc;
}

int
syn_instance_destroy(const char *dir, struct syn_net *net, struct syn_err *err)
{
    struct syn_cgroup_layout layout;
    struct syn_plan plan = {0};
    struct syn_err local;
    SYN_FD(fd);
    int rc;

    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? SYN_OK : SYN_FAIL_SYS(err, errno, "opening instance %s", dir);
    syn_instance_end_supervisor(fd);
    /* Without a readable plan nothing was ever started: there are only files and a mount. */
    if (syn_plan_read(fd, &plan, &local) == SYN_OK) {
        rc = syn_cgroup_layout_read(&layout, err);
        if (rc == SYN_OK)
            rc = syn_cgroup_destroy(&layout, plan.cgroup, err);
        if (rc < 0)
            return rc;
    }
    rc = unmount_all(dir, err);
    if (rc == SYN_OK && plan.group[0] != '\0')
        rc = syn_group_leave(plan.group, plan.name, err);
    if (rc == SYN_OK && plan.place.netns[0] != '\0' && net)
        rc = syn_net_detach(net, plan.id, NULL, err);
    return rc < 0 ? rc : syn_dir_remove(AT_FDCWD, dir, err);
}
