/* A running sandbox is given files. What it sees below /synor is its scratch space, through mounts
 * of its supervisor's and its gofer's that are slaves of the agent's own: what is mounted there
 * later comes through. gVisor asks again for what it knows of such a file system (its shared
 * access, which is the default of all but the root), so it sees what has come.
 *
 *      agent: DIR/scratch (shared) --- supervisor: the same (slave) --- gofer: /synor (slave)
 *                  `-- code (read-only)      `-- code                       `-- code
 *
 * Refused: copies or hard links of the code, which take a time that grows with it; a disk of its
 * own for it, which a sandbox cannot be given late. */
#include "late_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>

#include "file_priv.h"
#include "rootfs_priv.h"

#define BELOW "/synor/"

/* In place: it is this file that is bound. */
static int
write_resolver(const char *dir, const struct syn_instance_spec *spec, const struct syn_plan *plan,
               int flags, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_BUF(text);
    SYN_FD(fd);
    int rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_FILE_RESOLV, dir);

    syn_rootfs_resolver(spec, plan, &text);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&text, err);
    if (rc < 0 || text.len == 0)
        return rc;
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0)
        return SYN_FAIL_SYS(err, errno, "writing %s", path);
    return syn_fd_write_all(fd, text.data, text.len, err);
}

int
syn_late_open(const struct syn_instance_spec *spec, const struct syn_plan *plan,
              struct syn_err *err)
{
    char at[SYN_PATH_MAX];
    int rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_SCRATCH, spec->dir);

    if (rc < 0)
        return rc;
    if (mount(NULL, at, NULL, MS_SHARED, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "sharing %s", at);
    return write_resolver(spec->dir, spec, plan, O_CREAT | O_EXCL, err);
}

/* An empty file or folder for what is shown there. */
static int
make_point(const char *at, const char *host, struct syn_err *err)
{
    struct stat st;

    if (stat(host, &st) < 0)
        return SYN_FAIL_SYS(err, errno, "bind source %s", host);
    return S_ISDIR(st.st_mode) ? syn_dir_make(AT_FDCWD, at, 0755, err)
                               : syn_file_write(AT_FDCWD, at, "", 0, err);
}

/* It is read-only before anybody can see it. */
static int
show(const char *scratch, const struct syn_bind *bind, struct syn_err *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    char at[SYN_PATH_MAX];
    SYN_FD(tree);
    int rc;

    if (!syn_str_starts(bind->container, BELOW) || !bind->ro)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: what comes late is read-only and below /synor",
                        bind->container);
    rc = syn_path_format(at, sizeof(at), err, "%s/%s", scratch, bind->container + strlen(BELOW));
    if (rc == SYN_OK)
        rc = make_point(at, bind->host, err);
    if (rc < 0)
        return rc;
    tree = open_tree(AT_FDCWD, bind->host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return SYN_FAIL_SYS(err, errno, "taking %s", bind->host);
    if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s cannot be shown read-only: %s", bind->host,
                        strerror(errno));
    if (move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return SYN_FAIL_SYS(err, errno, "mounting %s", at);
    return SYN_OK;
}

int
syn_late_show(const struct syn_instance *instance, const struct syn_instance_spec *spec,
              struct syn_err *err)
{
    char scratch[SYN_PATH_MAX];
    int rc =
        syn_path_format(scratch, sizeof(scratch), err, "%s/" SYN_DIR_SCRATCH, instance->dir_path);

    for (size_t i = 0; rc == SYN_OK && i < spec->binds_count; i++)
        rc = show(scratch, &spec->binds[i], err);
    return rc < 0 ? rc : write_resolver(instance->dir_path, spec, &instance->plan, O_TRUNC, err);
}
