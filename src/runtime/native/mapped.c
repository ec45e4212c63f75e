/* Whose files are they? An instance of runc has a range of the node's ids for itself, another one
 * each time. What outlives it, a volume, must not: its files belong to ids as they are within, and
 * each instance sees it through a mount of its own that adds the beginning of its range.
 *
 *     on the volume   1000  --mount of the instance-->  id_base + 1000  --its namespace-->  1000
 *
 * The kernel takes such a mapping from a user namespace. A process that does nothing is in one for
 * as long as it takes to open that. */
#include "mapped_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "bundle_priv.h"
#include "file_priv.h"

static int
write_map(pid_t pid, const char *name, const struct syn_plan *plan, struct syn_err *err)
{
    char path[64], text[64];
    int len = snprintf(text, sizeof(text), "0 %lld %u\n", (long long)plan->id_base, SYN_BUNDLE_IDS);
    SYN_FD(fd);

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)len) != len)
        return SYN_FAIL_SYS(err, errno, "writing %s", path);
    return SYN_OK;
}

/* A user namespace with the instance's range. The process in it makes nothing but system calls: it
 * is a copy of one with threads. */
static int
open_namespace(const struct syn_plan *plan, int *ret_fd, struct syn_err *err)
{
    const pid_t parent = getpid();
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    char path[64];
    int fd = -1;
    int rc;

    if (pid == 0) {
        (void)syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        while (syscall(SYS_getppid) == parent) /* it may be gone before it could be asked for */
            (void)syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
        (void)syscall(SYS_exit_group, 0);
    }
    if (pid < 0)
        return SYN_FAIL_SYS(err, errno, "making a user namespace");
    rc = write_map((pid_t)pid, "uid_map", plan, err);
    if (rc == SYN_OK)
        rc = write_map((pid_t)pid, "gid_map", plan, err);
    (void)snprintf(path, sizeof(path), "/proc/%ld/ns/user", pid);
    if (rc == SYN_OK) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            rc = SYN_FAIL_SYS(err, errno, "opening %s", path);
    }
    (void)kill((pid_t)pid, SIGKILL);
    while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (rc == SYN_OK)
        *ret_fd = fd;
    return rc;
}

static int
mount_mapped(const char *from, const char *at, int namespace_fd, struct syn_err *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP,
                              .userns_fd = (unsigned long long)namespace_fd};
    SYN_FD(tree);
    int rc = syn_dir_make(AT_FDCWD, at, 0755, err);

    if (rc < 0)
        return rc;
    tree = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return SYN_FAIL_SYS(err, errno, "taking %s", from);
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%s cannot be given to the ids of an instance (%s): Linux 5.12 or newer "
                        "can, with ext4, xfs or btrfs",
                        from, strerror(errno));
    if (move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return SYN_FAIL_SYS(err, errno, "mounting %s", at);
    return SYN_OK;
}

/* One volume, as the instance may use it. */
static int
add_volume(const struct syn_instance_spec *spec, const struct syn_bind *volume, int namespace_fd,
           struct syn_mapped *ret, struct syn_err *err)
{
    char at[SYN_PATH_MAX];
    int rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_MAPPED "/%zu", spec->dir,
                             ret->sources_count);

    if (rc == SYN_OK)
        rc = mount_mapped(volume->host, at, namespace_fd, err);
    if (rc < 0)
        return rc;
    ret->sources[ret->sources_count] = syn_strdup(at);
    if (!ret->sources[ret->sources_count])
        return SYN_FAIL(err, SYN_E_NOMEM, "the volumes of an instance");
    ret->binds[ret->binds_count++] =
        (struct syn_bind){ret->sources[ret->sources_count++], volume->container, volume->ro};
    return SYN_OK;
}

int
syn_mapped_make(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                struct syn_mapped *ret, struct syn_err *err)
{
    bool others = syn_bundle_host_id(plan, 0) != 0;
    SYN_FD(namespace_fd);
    int rc = SYN_OK;

    assert(spec->binds_count + spec->volumes_count <= SYN_LEN(ret->binds));
    assert(spec->volumes_count <= SYN_LEN(ret->sources));
    if (spec->binds_count > 0)
        memcpy(ret->binds, spec->binds, spec->binds_count * sizeof(ret->binds[0]));
    ret->binds_count = spec->binds_count;
    if (others && spec->volumes_count > 0)
        rc = open_namespace(plan, &namespace_fd, err);
    for (size_t i = 0; rc == SYN_OK && i < spec->volumes_count; i++) {
        if (others)
            rc = add_volume(spec, &spec->volumes[i], namespace_fd, ret, err);
        else
            ret->binds[ret->binds_count++] = spec->volumes[i];
    }
    return rc;
}

void
syn_mapped_fini(struct syn_mapped *mapped)
{
    for (size_t i = 0; i < mapped->sources_count; i++)
        syn_free(mapped->sources[i]);
}
