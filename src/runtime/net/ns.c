#include "ns_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "netlink_priv.h"

#define NSFS_MAGIC_ 0x6e736673

int
syn_ns_set(const char *name, const char *value, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_FD(fd);
    int rc = syn_path_format(path, sizeof(path), err, "/proc/sys/net/%s", name);

    if (rc < 0)
        return rc;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return SYN_FAIL_SYS(err, errno, "setting %s to %s", path, value);
    return SYN_OK;
}

bool
syn_ns_get(const char *name, char *out, size_t cap)
{
    char path[SYN_PATH_MAX];
    SYN_FD(fd);
    ssize_t got;

    if (syn_path_format(path, sizeof(path), NULL, "/proc/sys/net/%s", name) < 0)
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd < 0 ? -1 : read(fd, out, cap - 1);
    if (got <= 0)
        return false;
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}

/* ---- the folder ---- */

static int
is_mount(const char *dir, bool *ret, struct syn_err *err)
{
    struct statx st;

    if (statx(AT_FDCWD, dir, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
        return SYN_FAIL_SYS(err, errno, "looking at %s", dir);
    if (!(st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "instance networks need Linux 5.8 or newer");
    *ret = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    return SYN_OK;
}

int
syn_ns_folder_open(const char *dir, struct syn_err *err)
{
    bool mounted = false;
    int rc = is_mount(dir, &mounted, err);

    if (rc < 0)
        return rc;
    if (!mounted && mount(dir, dir, NULL, MS_BIND, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "mounting %s", dir);
    if (mount(NULL, dir, NULL, MS_SHARED, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "sharing %s", dir);
    return SYN_OK;
}

int
syn_ns_folder_close(const char *dir, struct syn_err *err)
{
    bool mounted = false;
    int rc = is_mount(dir, &mounted, err);

    if (rc == SYN_OK && mounted && umount2(dir, MNT_DETACH) < 0)
        return SYN_FAIL_SYS(err, errno, "unmounting %s", dir);
    return rc;
}

/* ---- one namespace ---- */

bool
syn_ns_exists(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC_;
}

/* A thread of its own goes into the namespace and ends there: no way back has to work. */
struct visit {
    const char *path;
    bool fresh;
    int ns, route;
    int rc;
    struct syn_err err;
};

/* Ports below 1024 and ping are nothing special to a program that has no privilege anywhere; nobody
 * on the bridge tells an instance where the world is; its addresses are its own from the start. */
static int
settle(struct syn_err *err)
{
    static const struct {
        const char *name, *value;
    } settings[] = {
        {"ipv4/ip_unprivileged_port_start", "0"}, {"ipv4/ping_group_range", "0 2147483647"},
        {"ipv6/conf/all/accept_ra", "0"},         {"ipv6/conf/default/accept_ra", "0"},
        {"ipv6/conf/default/accept_dad", "0"},
    };

    for (size_t i = 0; i < SYN_LEN(settings); i++) {
        int rc = syn_ns_set(settings[i].name, settings[i].value, err);

        if (rc < 0 && rc != SYN_E_NOTFOUND)
            return rc;
    }
    return SYN_OK;
}

static int
visit(struct visit *visit, struct syn_err *err)
{
    int rc = SYN_OK;

    if (visit->fresh) {
        rc = syn_file_write(AT_FDCWD, visit->path, "", 0, err);
        if (rc < 0)
            return rc;
        if (unshare(CLONE_NEWNET) < 0)
            return SYN_FAIL_SYS(err, errno, "making a network namespace");
        syn_nl_step("keeping a network namespace");
        if (mount("/proc/thread-self/ns/net", visit->path, NULL, MS_BIND, NULL) < 0)
            return SYN_FAIL_SYS(err, errno, "keeping a network namespace");
        syn_nl_step("settling a network namespace");
    }
    visit->ns = open(visit->path, O_RDONLY | O_CLOEXEC);
    if (visit->ns < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", visit->path);
    if (!visit->fresh && setns(visit->ns, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "entering %s", visit->path);
    rc = settle(err);
    return rc < 0 ? rc : syn_nl_open(NETLINK_ROUTE, &visit->route, err);
}

static void *
visit_main(void *arg)
{
    struct visit *self = arg;

    self->rc = visit(self, &self->err);
    return NULL;
}

int
syn_ns_create(const char *path, bool *ret_fresh, int *ret_ns, int *ret_route, struct syn_err *err)
{
    struct visit visit = {.path = path, .fresh = !syn_ns_exists(path), .ns = -1, .route = -1};
    pthread_t thread;
    int sys;

    syn_nl_step("making a network namespace");
    sys = pthread_create(&thread, NULL, visit_main, &visit);
    if (sys != 0)
        return SYN_FAIL_SYS(err, sys, "starting a thread");
    (void)pthread_join(thread, NULL);
    if (visit.rc < 0) {
        syn_fd_scope(&visit.ns);
        syn_fd_scope(&visit.route);
        if (err)
            *err = visit.err;
        return visit.rc;
    }
    *ret_fresh = visit.fresh;
    *ret_ns = visit.ns;
    *ret_route = visit.route;
    return SYN_OK;
}

int
syn_ns_destroy(const char *path, struct syn_err *err)
{
    syn_nl_step("removing a network namespace");
    /* As often as something is mounted there. */
    while (syn_ns_exists(path)) {
        if (umount2(path, MNT_DETACH) < 0)
            return SYN_FAIL_SYS(err, errno, "unmounting %s", path);
    }
    if (unlink(path) < 0 && errno != ENOENT)
        return SYN_FAIL_SYS(err, errno, "removing %s", path);
    return SYN_OK;
}
