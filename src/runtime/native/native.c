#include "native_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "bundle_priv.h"
#include "cgroup_priv.h"
#include "exec_priv.h"
#include "file_priv.h"
#include "group_priv.h"
#include "instance_priv.h"
#include "late_priv.h"
#include "mapped_priv.h"
#include "record_priv.h"
#include "rootfs_priv.h"
#include "scratch_priv.h"
#include "tool_priv.h"

#define SCRATCH_DEFAULT ((int64_t)1 << 30)
#define LOG_DEFAULT     ((int64_t)64 << 20)
#define PIDS_DEFAULT    4096
#define GRACE_DEFAULT   10000
#define SAVE_MS         60000

/* ---- prepare ---- */

static void
set_limits(const struct syn_instance_spec *spec, struct syn_plan *plan)
{
    plan->cpu_millicores = spec->cpu_millicores;
    plan->memory_bytes = spec->memory_bytes;
    plan->pids_max = spec->pids_max > 0 ? spec->pids_max : PIDS_DEFAULT;
    plan->wall_ms = spec->wall_ms;
    plan->grace_ms = spec->grace_ms > 0 ? spec->grace_ms : GRACE_DEFAULT;
    plan->stop_signal = spec->stop_signal;
    plan->eager_ms = spec->eager_ms;
    plan->log_bytes_max = spec->log_bytes_max > 0 ? spec->log_bytes_max : LOG_DEFAULT;
}

static int
make_plan(const struct syn_native *native, const struct syn_sandbox_choice *choice,
          const struct syn_instance_spec *spec, struct syn_plan *ret, struct syn_err *err)
{
    struct syn_plan plan = {
        .gvisor = choice->gvisor,
        .devices = spec->devices && spec->devices[0],
        .scratch_bytes = spec->scratch_bytes > 0 ? spec->scratch_bytes : SCRATCH_DEFAULT,
        .ahead = !spec->ahead    ? 0
                 : spec->restore ? SYN_AHEAD_SANDBOX
                                 : SYN_AHEAD_PROGRAM,
    };
    uint32_t hash = 2166136261u;
    int rc = SYN_OK;

    if (plan.ahead == SYN_AHEAD_PROGRAM && (!choice->gvisor || choice->runtime))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "only gVisor is given files while it runs");
    set_limits(spec, &plan);
    /* Two platforms on one machine may both have a "job-1": the folder tells them apart. */
    for (const char *at = spec->dir; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    (void)snprintf(plan.id, sizeof(plan.id), "%s", spec->id);
    (void)snprintf(plan.name, sizeof(plan.name), "%s-%08x", spec->id, hash);
    (void)snprintf(plan.cgroup, sizeof(plan.cgroup), "/synor/%.*s", SYN_INSTANCE_ID_MAX + 16,
                   plan.name);
    (void)snprintf(plan.tool, sizeof(plan.tool), "%s", choice->tool);
    (void)snprintf(plan.platform, sizeof(plan.platform), "%s", choice->platform);
    if (choice->runtime && (!syn_str_copy(plan.runtime, sizeof(plan.runtime), choice->runtime) ||
                            !syn_str_copy(plan.handler, sizeof(plan.handler), choice->handler)))
        return SYN_FAIL(err, SYN_E_INVALID, "the container runtime's address is too long");
    if (spec->restore)
        rc = syn_path_format(plan.restore, sizeof(plan.restore), err, "%s", spec->restore);
    if (rc == SYN_OK && spec->network == SYN_NETWORK_GROUP) {
        struct syn_prefix parsed;

        rc = syn_group_address(spec->address, &parsed, err);
        if (rc == SYN_OK)
            rc = syn_path_format(plan.group, sizeof(plan.group), err, "%s/groups/%s", native->root,
                                 spec->group);
        (void)snprintf(plan.address, sizeof(plan.address), "%s", spec->address);
    }
    /* The instances of a group trust each other and may share folders: one range of user ids. */
    plan.id_base = syn_bundle_id_base(plan.group[0] != '\0' ? plan.group : plan.name);
    /* The Container Runtime Interface of today's containerd has no user namespaces. */
    if (choice->runtime)
        plan.id_base = 0;
    if (rc == SYN_OK)
        rc = syn_rootfs_cover_find(spec, plan.cover, sizeof(plan.cover), err);
    if (rc == SYN_OK && spec->rootfs)
        rc = syn_path_format(plan.image, sizeof(plan.image), err, "%s", spec->rootfs);
    else if (rc == SYN_OK)
        rc = syn_rootfs_host_image(native->cache, plan.image, sizeof(plan.image), err);
    if (rc == SYN_OK)
        *ret = plan;
    return rc;
}

/* The word for what is restored, for its user alone, who may remove it: into the scratch space. */
static int
lay_resume(int dir, const char *word, size_t len, struct syn_err *err)
{
    const char *name = "scratch/" SYN_SNAPSHOT_RESUME_FILE;
    struct stat st;
    SYN_FD(fd);

    fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    if (fd < 0 || fstatat(dir, "scratch", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchown(fd, st.st_uid, st.st_gid) < 0)
        return SYN_FAIL_SYS(err, errno, "writing %s", name);
    return syn_fd_write_all(fd, word, len, err);
}

/* The program's own folders, in a space that is mounted at `at`. */
static int
furnish_scratch(const struct syn_instance_spec *spec, const struct syn_plan *plan, const char *at,
                struct syn_err *err)
{
    static const char *const folders[] = {"checkpoints", "output", "scratch", "tmp"};
    uid_t uid = syn_bundle_host_id(plan, spec->uid ? spec->uid : SYN_UID_DEFAULT);
    gid_t gid = syn_bundle_host_id(plan, spec->gid ? spec->gid : SYN_UID_DEFAULT);
    SYN_FD(dir);
    int rc;

    dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", at);
    (void)unlinkat(dir, "lost+found", AT_REMOVEDIR);
    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        rc = syn_dir_make(dir, folders[i], syn_str_eq(folders[i], "tmp") ? 01777 : 0755, err);
        if (rc < 0)
            return rc;
        if (fchownat(dir, folders[i], uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
            return SYN_FAIL_SYS(err, errno, "giving %s to the instance", folders[i]);
    }
    for (size_t i = 0; i < spec->empties_count; i++) {
        char folder[32];

        (void)snprintf(folder, sizeof(folder), SYN_DIR_EMPTIES "/%zu", i);
        rc = syn_dir_make(dir, folder, 01777, err);
        if (rc < 0)
            return rc;
        if (fchmodat(dir, folder, 01777, 0) < 0)
            return SYN_FAIL_SYS(err, errno, "opening %s to the instance", folder);
    }
    return spec->resume ? lay_resume(dir, spec->resume, spec->resume_len, err) : SYN_OK;
}

static int
make_scratch(struct syn_native *native, const struct syn_instance_spec *spec,
             const struct syn_plan *plan, struct syn_err *err)
{
    char image[SYN_PATH_MAX], at[SYN_PATH_MAX];
    int rc = syn_path_format(image, sizeof(image), err, "%s/" SYN_FILE_IMAGE, spec->dir);

    if (rc == SYN_OK)
        rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_SCRATCH, spec->dir);
    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, at, 0755, err);
    if (rc == SYN_OK && !syn_spare_take(&native->spare, plan->scratch_bytes, image, at)) {
        rc = syn_scratch_create(native->cache, plan->scratch_bytes, image, err);
        if (rc == SYN_OK)
            rc = syn_scratch_mount(image, at, err);
    }
    return rc < 0 ? rc : furnish_scratch(spec, plan, at, err);
}

/* Files of the instance's user alone, each bound where it belongs. */
static int
write_secrets(const struct syn_instance_spec *spec, const struct syn_plan *plan, int dir,
              struct syn_err *err)
{
    uid_t uid = syn_bundle_host_id(plan, spec->uid ? spec->uid : SYN_UID_DEFAULT);
    gid_t gid = syn_bundle_host_id(plan, spec->gid ? spec->gid : SYN_UID_DEFAULT);
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < spec->secrets_count; i++) {
        char name[24];
        SYN_FD(file);

        (void)snprintf(name, sizeof(name), "%zu", i);
        file = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
        if (file < 0)
            return SYN_FAIL_SYS(err, errno, "making a secret's file");
        rc = syn_fd_write_all(file, spec->secrets[i].data, spec->secrets[i].len, err);
        if (rc == SYN_OK && (fchown(file, uid, gid) < 0 || fchmod(file, 0400) < 0))
            rc = SYN_FAIL_SYS(err, errno, "giving a secret to the instance");
    }
    return rc;
}

/* Not a tmpfs, whose pages may be swapped out: what is written here is ours alone and small. */
static int
make_secrets(const struct syn_instance_spec *spec, const struct syn_plan *plan, struct syn_err *err)
{
    char at[SYN_PATH_MAX];
    SYN_FD(dir);
    int rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_SECRETS, spec->dir);

    if (rc < 0 || spec->secrets_count == 0)
        return rc;
    if (mkdir(at, 0700) < 0 ||
        mount("synor", at, "ramfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=711") < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", at);
    dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", at);
    return write_secrets(spec, plan, dir, err);
}

static int
fill_folder(struct syn_native *native, const struct syn_sandbox_choice *choice,
            const struct syn_instance_spec *spec, const struct syn_plan *plan, struct syn_err *err)
{
    SYN_JSON(config);
    SYN_BUF(text);
    SYN_FD(dir);
    int rc = make_scratch(native, spec, plan, err);

    if (rc == SYN_OK)
        rc = make_secrets(spec, plan, err);
    if (rc == SYN_OK)
        rc = syn_rootfs_layer_create(spec, plan, err);
    if (rc == SYN_OK && plan->ahead == SYN_AHEAD_PROGRAM)
        rc = syn_late_open(spec, plan, err);
    if (rc == SYN_OK)
        rc = syn_bundle_json(spec, plan, &config, err);
    if (rc == SYN_OK)
        rc = syn_json_write(config, &text, err);
    if (rc < 0)
        return rc;
    dir = open(spec->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", spec->dir);
    if (choice->furnish)
        rc = choice->furnish(choice->arg, spec, plan, config, err);
    else
        rc = syn_dir_make(dir, SYN_DIR_TOOL, 0700, err);
    if (rc == SYN_OK && !choice->furnish)
        rc = syn_file_write(dir, SYN_FILE_CONFIG, text.data, text.len, err);
    if (rc == SYN_OK && plan->group[0] != '\0')
        rc = syn_group_join(plan->group, plan->name, err);
    /* Last: with the plan in place the instance is prepared. */
    return rc < 0 ? rc : syn_plan_write(dir, plan, err);
}

/* The same, with the volumes bound as everything else is. */
static int
fill_with_volumes(struct syn_native *native, const struct syn_sandbox_choice *choice,
                  const struct syn_instance_spec *spec, const struct syn_plan *plan,
                  struct syn_err *err)
{
    SYN_SCOPED(syn_mapped_fini) struct syn_mapped mapped = {.binds_count = 0};
    struct syn_instance_spec all = *spec;
    int rc = syn_mapped_make(spec, plan, &mapped, err);

    all.binds = mapped.binds;
    all.binds_count = mapped.binds_count;
    return rc < 0 ? rc : fill_folder(native, choice, &all, plan, err);
}

static int
attach(struct syn_native *native, const struct syn_instance_spec *spec, struct syn_plan *plan,
       struct syn_err *err)
{
    struct syn_net_spec wanted = spec->net;

    if (!native->net)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this node has no instance networks");
    wanted.id = spec->id;
    return syn_net_attach(native->net, &wanted, &plan->place, err);
}

int
syn_native_prepare_with(struct syn_native *native, const struct syn_sandbox_choice *choice,
                        const struct syn_instance_spec *spec, struct syn_instance **ret_instance,
                        struct syn_err *err)
{
    struct syn_plan plan = {0};
    int rc = syn_bundle_check(spec, err);

    if (rc == SYN_OK)
        rc = make_plan(native, choice, spec, &plan, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "preparing %s", spec->id ? spec->id : "(no id)");
    if (mkdir(spec->dir, 0700) < 0)
        return SYN_FAIL_SYS(err, errno, "creating instance folder %s", spec->dir);
    if (spec->network == SYN_NETWORK_ACCOUNT)
        rc = attach(native, spec, &plan, err);
    if (rc == SYN_OK)
        rc = fill_with_volumes(native, choice, spec, &plan, err);
    if (rc == SYN_OK)
        rc = syn_instance_open(spec->dir, ret_instance, err);
    if (rc < 0) {
        if (plan.group[0] != '\0')
            (void)!syn_group_leave(plan.group, plan.name, NULL);
        (void)!syn_instance_destroy(spec->dir, NULL, NULL);
        if (plan.place.netns[0] != '\0')
            (void)!syn_net_detach(native->net, spec->id, NULL, NULL);
        return syn_err_wrap(err, rc, "preparing %s", spec->id);
    }
    return SYN_OK;
}

/* ---- the ops table ---- */

static int
native_probe(void *self, struct syn_runtime_info *ret_info, struct syn_err *err)
{
    struct syn_native *native = self;
    struct syn_sandbox_choice choice;
    int rc = syn_sandbox_choose(native, NULL, false, &choice, err);

    if (rc < 0)
        return rc;
    *ret_info = (struct syn_runtime_info){
        .driver = "native",
        .sandbox = native->reports[choice.gvisor].name,
        .version = native->reports[choice.gvisor].version,
        .platform = native->reports[choice.gvisor].platform,
        .detail = native->detail,
        .gpus = native->reports[choice.gvisor].gpus,
        .snapshots = native->reports[choice.gvisor].snapshots,
    };
    return SYN_OK;
}

static int
native_prepare(void *self, const struct syn_instance_spec *spec, struct syn_instance **ret_instance,
               struct syn_err *err)
{
    struct syn_sandbox_choice choice;
    bool devices = spec->devices && spec->devices[0];
    int rc;

    if (!spec->saved && !spec->restore)
        rc = syn_sandbox_choose(self, spec->isolation, devices, &choice, err);
    else if (devices)
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "what has devices cannot be saved");
    else
        rc = syn_sandbox_choose_keeper(self, spec->isolation, &choice, err);
    return rc < 0 ? rc : syn_native_prepare_with(self, &choice, spec, ret_instance, err);
}

static int
native_start(void *self, struct syn_instance *instance, struct syn_err *err)
{
    const struct syn_native *native = self;

    return syn_instance_start(instance, &native->supervisor, err);
}

static int
native_create(void *self, struct syn_instance *instance, struct syn_err *err)
{
    if (!instance->plan.ahead)
        return SYN_FAIL(err, SYN_E_INVALID, "instance %s was not prepared for that",
                        instance->plan.id);
    return native_start(self, instance, err);
}

static int
set_frozen(const struct syn_instance *instance, bool on, struct syn_err *err)
{
    struct syn_cgroup_layout layout;
    int rc = syn_cgroup_layout_read(&layout, err);

    return rc < 0 ? rc : syn_cgroup_freeze(&layout, instance->plan.cgroup, on, err);
}

/* What could not be frozen need not be thawed. */
static int
thaw(const struct syn_instance *instance, struct syn_err *err)
{
    int rc = set_frozen(instance, false, err);

    return rc == SYN_E_UNSUPPORTED || rc == SYN_E_NOTFOUND ? SYN_OK : rc;
}

static int
native_freeze(void *self, struct syn_instance *instance, struct syn_err *err)
{
    (void)self;
    return set_frozen(instance, true, err);
}

/* What was not known of it when it was made: whose it is, and what that one wants. */
static int
give_late(const struct syn_native *native, struct syn_instance *instance,
          const struct syn_instance_spec *spec, struct syn_err *err)
{
    int rc = syn_bundle_check(spec, err);

    if (rc == SYN_OK && instance->plan.place.netns[0] != '\0')
        rc = syn_net_assign(native->net, instance->plan.id, spec->net.account, err);
    if (rc == SYN_OK)
        rc = syn_late_show(instance, spec, err);
    if (rc < 0)
        return rc;
    set_limits(spec, &instance->plan);
    return syn_plan_write(instance->dir, &instance->plan, err);
}

static int
native_go_on(void *self, struct syn_instance *instance, const struct syn_instance_spec *spec,
             struct syn_err *err)
{
    SYN_FD(scratch);
    int rc = thaw(instance, err);

    if (rc < 0)
        return rc;
    scratch = openat(instance->dir, SYN_DIR_SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (scratch < 0)
        return SYN_FAIL_SYS(err, errno, "opening the scratch space of %s", instance->plan.id);
    if (instance->plan.ahead == SYN_AHEAD_PROGRAM)
        rc = give_late(self, instance, spec, err);
    if (rc == SYN_OK)
        rc = lay_resume(scratch, spec->resume, spec->resume_len, err);
    return rc < 0 ? rc : syn_instance_go_on(instance, err);
}

static int64_t
native_held_bytes(void *self, struct syn_instance *instance)
{
    struct syn_cgroup_layout layout;
    struct syn_cgroup_usage usage = {0};

    (void)self;
    if (syn_cgroup_layout_read(&layout, NULL) == SYN_OK)
        syn_cgroup_usage_read(&layout, instance->plan.cgroup, &usage);
    return usage.memory_bytes;
}

static void
native_warm(void *self)
{
    struct syn_native *native = self;

    syn_spare_refill(&native->spare, native->cache);
}

static int
native_signal(void *self, struct syn_instance *instance, int signo, struct syn_err *err)
{
    char request[32];

    (void)self;
    if (signo < 1 || signo > 64)
        return SYN_FAIL(err, SYN_E_INVALID, "signal: expected 1..64, got %d", signo);
    (void)snprintf(request, sizeof(request), "signal %d", signo);
    return syn_instance_request(instance, request, err);
}

static int
native_settle(void *self, struct syn_instance *instance, struct syn_err *err)
{
    (void)self;
    return syn_instance_request(instance, "settle", err);
}

static int
native_stop(void *self, struct syn_instance *instance, int64_t grace_ms, struct syn_err *err)
{
    struct syn_instance_status status;
    struct syn_err local;
    char request[48] = "stop";
    int rc;

    (void)self;
    if (instance->plan.ahead != 0)
        (void)!thaw(instance, NULL); /* its end is asked for in any case */
    if (grace_ms >= 0)
        (void)snprintf(request, sizeof(request), "stop %lld",
                       (long long)SYN_MIN(grace_ms, INT64_MAX / 8));
    rc = syn_instance_request(instance, request, &local);
    if (rc == SYN_OK)
        return rc;
    /* Nobody listens: it has ended, or was never started. */
    rc = syn_instance_poll(instance, &status, err);
    if (rc < 0 || status.state == SYN_INSTANCE_EXITED)
        return rc;
    if (err)
        *err = local;
    return SYN_E_CONFLICT;
}

static int
native_poll(void *self, struct syn_instance *instance, struct syn_instance_status *ret_status,
            struct syn_err *err)
{
    (void)self;
    return syn_instance_poll(instance, ret_status, err);
}

static int
native_exit_fd(void *self, struct syn_instance *instance, int *ret_fd, struct syn_err *err)
{
    (void)self;
    return syn_instance_exit_fd(instance, ret_fd, err);
}

static int
native_stats(void *self, struct syn_instance *instance, struct syn_usage_sample *ret_usage,
             struct syn_err *err)
{
    (void)self;
    return syn_usage_last(instance->dir, ret_usage, err);
}

static int
native_exec(void *self, struct syn_instance *instance, const struct syn_exec_spec *spec,
            struct syn_exec **ret_exec, struct syn_err *err)
{
    char root[SYN_PATH_MAX];
    struct syn_exec_place place = {.tool = instance->plan.tool,
                                   .root = root,
                                   .name = instance->plan.name,
                                   .bundle = instance->dir_path,
                                   .gvisor = instance->plan.gvisor};
    int rc = syn_exec_check(instance, spec, err);

    (void)self;
    /* runc wants to see the root folder, which its supervisor alone sees; runsc reaches its sandbox
     * by a socket with a name in the supervisor's network. */
    if (rc == SYN_OK) {
        place.beside = syn_instance_supervisor(instance);
        if (place.beside == 0)
            rc = SYN_FAIL(err, SYN_E_CONFLICT, "instance %s is ending", instance->plan.id);
    }
    if (rc == SYN_OK && !place.gvisor && syn_plan_networked(&instance->plan))
        rc = syn_exec_joined(instance, root, err);
    else if (rc == SYN_OK)
        rc = syn_path_format(root, sizeof(root), err, "%s/" SYN_DIR_TOOL, instance->dir_path);
    return rc < 0 ? rc : syn_exec_start(instance, &place, spec, ret_exec, err);
}

/* It is renamed when it is whole: its supervisor has seen the end of what saved it. */
static int
native_checkpoint(void *self, struct syn_instance *instance, const char *folder,
                  struct syn_err *err)
{
    struct pollfd ended = {.events = POLLIN};
    char words[SYN_EXIT_MESSAGE_MAX];
    SYN_FD(fd);
    int rc = syn_instance_exit_fd(instance, &fd, err);

    (void)self;
    if (rc == SYN_OK)
        rc = syn_instance_request(instance, "save", err);
    if (rc < 0)
        return rc;
    ended.fd = fd;
    if (poll(&ended, 1, SAVE_MS) != 1) {
        (void)!syn_instance_request(instance, "stop 0", NULL);
        return SYN_FAIL(err, SYN_E_TIMEOUT, "it was not saved within %d s", SAVE_MS / 1000);
    }
    if (renameat(instance->dir, SYN_DIR_SAVED, AT_FDCWD, folder) == 0)
        return SYN_OK;
    syn_tool_message(instance->dir, words, sizeof(words));
    return SYN_FAIL_SYS(err, errno, "saving %s%s%.300s", instance->plan.id, words[0] ? ": " : "",
                        words);
}

static const struct syn_instance_paths *
native_paths(const struct syn_instance *instance)
{
    return &instance->paths;
}

static const char *
native_isolation(const struct syn_instance *instance)
{
    return instance->plan.gvisor ? "gvisor" : "runc";
}

static int
native_adopt(void *self, const char *dir, struct syn_instance **ret_instance,
             struct syn_instance_status *ret_status, struct syn_err *err)
{
    SYN_SCOPED(syn_instance_close_scope) struct syn_instance *instance = NULL;
    int rc = syn_instance_open(dir, &instance, err);

    (void)self;
    if (rc == SYN_OK)
        rc = syn_instance_poll(instance, ret_status, err);
    if (rc == SYN_OK)
        rc = syn_instance_remount(instance, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "adopting %s", dir);
    if (ret_status->state == SYN_INSTANCE_RUNNING)
        syn_exec_sweep(instance);
    *ret_instance = SYN_TAKE(instance);
    return SYN_OK;
}

static int
native_destroy(void *self, const char *dir, struct syn_err *err)
{
    const struct syn_native *native = self;

    return syn_instance_destroy(dir, native->net, err);
}

static const struct syn_net_place *
native_place(const struct syn_instance *instance)
{
    return instance->plan.place.netns[0] != '\0' ? &instance->plan.place : NULL;
}

static const struct syn_runtime_ops native_ops = {
    .version = SYN_RUNTIME_VERSION,
    .probe = native_probe,
    .prepare = native_prepare,
    .start = native_start,
    .warm = native_warm,
    .signal = native_signal,
    .settle = native_settle,
    .stop = native_stop,
    .poll = native_poll,
    .exit_fd = native_exit_fd,
    .stats = native_stats,
    .exec = native_exec,
    .checkpoint = native_checkpoint,
    .create = native_create,
    .freeze = native_freeze,
    .go_on = native_go_on,
    .held_bytes = native_held_bytes,
    .paths = native_paths,
    .isolation = native_isolation,
    .place = native_place,
    .adopt = native_adopt,
    .destroy = native_destroy,
    .close = syn_instance_close,
};

struct syn_runtime
syn_native_runtime(struct syn_native *native)
{
    return (struct syn_runtime){&native_ops, native};
}

/* ---- life ---- */

/* `given`, or the first executable of that name in the usual folders; "" when there is none. */
static int
find_tool(const char *given, const char *name, char *out, size_t cap, struct syn_err *err)
{
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

    if (given)
        return syn_path_format(out, cap, err, "%s", given);
    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        int rc = syn_path_format(out, cap, err, "%s/%s", folders[i], name);

        if (rc < 0 || access(out, X_OK) == 0)
            return rc;
    }
    out[0] = '\0';
    return SYN_OK;
}

/* What was fetched because the distribution's own is too old (scripts/gvisor), or else that. */
static int
find_keeper(struct syn_native *native, const char *given, struct syn_err *err)
{
    const char *fetched = "/usr/local/lib/synor/runsc";
    const char *path = given || access(fetched, X_OK) < 0 ? native->runsc : fetched;
    int rc = syn_path_format(native->keeper, sizeof(native->keeper), err, "%s", path);

    if (rc == SYN_OK && native->runsc[0] == '\0')
        rc = syn_path_format(native->runsc, sizeof(native->runsc), err, "%s", path);
    return rc;
}

static void
native_free_scope(struct syn_native **slot)
{
    *slot = syn_native_free(*slot);
}

int
syn_native_new(const struct syn_native_options *options, struct syn_native **ret_native,
               struct syn_err *err)
{
    SYN_SCOPED(native_free_scope) struct syn_native *native = NULL;
    struct syn_native *made = syn_calloc(1, sizeof(*made));
    int rc;

    if (!made)
        return SYN_FAIL(err, SYN_E_NOMEM, "native driver");
    made->supervisor.image = -1;
    rc = syn_spare_init(&made->spare, err);
    if (rc == SYN_OK && pthread_mutex_init(&made->lock, NULL) != 0) {
        syn_spare_fini(&made->spare);
        rc = SYN_FAIL(err, SYN_E_NOMEM, "native driver");
    }
    if (rc < 0) {
        syn_free(made);
        return rc;
    }
    native = made;
    native->wanted = options->sandbox;
    native->net = options->net;
    /* These characters would end a path in the overlay's options. */
    if (!options->root || options->root[0] != '/' || strpbrk(options->root, ":,\\"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "native driver: root must be an absolute path without ':', ',' or '\\'");
    rc = syn_path_format(native->root, sizeof(native->root), err, "%s", options->root);
    if (rc == SYN_OK)
        rc = syn_path_format(native->cache, sizeof(native->cache), err, "%s/cache", options->root);
    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, native->cache, 0700, err);
    if (rc == SYN_OK)
        rc = find_tool(options->runc, "runc", native->runc, sizeof(native->runc), err);
    if (rc == SYN_OK)
        rc = find_tool(options->runsc, "runsc", native->runsc, sizeof(native->runsc), err);
    if (rc == SYN_OK)
        rc = find_keeper(native, options->runsc, err);
    if (rc == SYN_OK)
        rc = syn_supervisor_init(&native->supervisor, options->shim_image, options->shim_image_len,
                                 options->shim_argv, err);
    if (rc < 0)
        return rc;
    *ret_native = SYN_TAKE(native);
    return SYN_OK;
}

struct syn_native *
syn_native_free(struct syn_native *native)
{
    if (!native)
        return NULL;
    syn_supervisor_fini(&native->supervisor);
    syn_spare_fini(&native->spare);
    (void)pthread_mutex_destroy(&native->lock);
    syn_free(native);
    return NULL;
}
