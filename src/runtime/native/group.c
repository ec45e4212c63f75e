/* A group network is a bridge in a network namespace that has nothing else: no uplink, no route, no
 * host interface. Each instance has its own namespace with one end of a veth pair in it, the other
 * end is a port of the bridge. So members reach each other and nothing more, and no packet filter
 * is needed to say so.
 *
 *      instance A: eth0 ---- port |                     | port ---- eth0 :instance B
 *                                 |  br0 (group's netns)|
 *
 * The group's namespace is kept by a bind mount on GROUP/netns (in the host's mount namespace) for
 * as long as GROUP/members holds a file. An instance's namespace is kept by its own processes alone
 * and its veth pair goes with it. */
#include "group_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "../net/link_priv.h"
#include "../net/netlink_priv.h"
#include "../net/ns_priv.h"
#include "file_priv.h"
#include "scratch_priv.h"

#define BRIDGE         "br0"
#define JOIN_TRIES_MAX 16

int
syn_group_address(const char *text, struct syn_prefix *ret, struct syn_err *err)
{
    struct syn_prefix prefix = {0};

    if (syn_prefix_parse(text, "address", &prefix, err) < 0)
        return SYN_E_INVALID;
    if (prefix.addr.family != AF_INET || prefix.len < 1 || prefix.len > 30)
        return SYN_FAIL(err, SYN_E_INVALID, "address %s: expected a form like 10.1.2.3/24", text);
    *ret = prefix;
    return SYN_OK;
}

/* The group's folder, locked. A leaving last member may remove it meanwhile: then try again. */
static int
group_lock(const char *group_dir, int *ret_fd, struct syn_err *err)
{
    for (int i = 0; i < JOIN_TRIES_MAX; i++) {
        SYN_FD(fd);
        struct stat ours, there;
        int rc = syn_dir_make(AT_FDCWD, group_dir, 0700, err);

        if (rc < 0)
            return rc;
        fd = open(group_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue;
        if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &ours) < 0)
            return SYN_FAIL_SYS(err, errno, "locking %s", group_dir);
        if (stat(group_dir, &there) == 0 && there.st_ino == ours.st_ino) {
            *ret_fd = syn_fd_take(&fd);
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_CONFLICT, "%s comes and goes", group_dir);
}

int
syn_group_join(const char *group_dir, const char *member, struct syn_err *err)
{
    SYN_FD(dir);
    char path[SYN_PATH_MAX];
    int rc = group_lock(group_dir, &dir, err);

    if (rc == SYN_OK)
        rc = syn_dir_make(dir, "members", 0700, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, "members/%s", member);
    return rc < 0 ? rc : syn_file_write(dir, path, "", 0, err);
}

int
syn_group_leave(const char *group_dir, const char *member, struct syn_err *err)
{
    SYN_FD(dir);
    char path[SYN_PATH_MAX];
    int rc;

    if (access(group_dir, F_OK) < 0 && errno == ENOENT)
        return SYN_OK;
    rc = group_lock(group_dir, &dir, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, "members/%s", member);
    if (rc < 0)
        return rc;
    (void)unlinkat(dir, path, 0);
    /* Only an empty folder can be removed: whoever empties it clears up. */
    if (unlinkat(dir, "members", AT_REMOVEDIR) < 0 && errno != ENOENT)
        return errno == ENOTEMPTY || errno == EEXIST
                   ? SYN_OK
                   : SYN_FAIL_SYS(err, errno, "leaving %s", group_dir);
    rc = syn_path_format(path, sizeof(path), err, "%s/netns", group_dir);
    if (rc == SYN_OK)
        rc = syn_scratch_unmount(path, err);
    return rc < 0 ? rc : syn_dir_remove(AT_FDCWD, group_dir, err);
}

/* Open the group's namespace; make it, with its bridge, when it is not there (the folder is
 * locked). */
static int
group_open(const char *group_dir, int *ret_fd, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_FD(route);
    SYN_FD(fd);
    int rc = syn_path_format(path, sizeof(path), err, "%s/netns", group_dir);

    if (rc < 0)
        return rc;
    if (!syn_ns_exists(path)) {
        rc = syn_file_write(AT_FDCWD, path, "", 0, err);
        if (rc < 0)
            return rc;
        if (unshare(CLONE_NEWNET) < 0)
            return SYN_FAIL_SYS(err, errno, "making the group's network namespace");
        rc = syn_nl_open(NETLINK_ROUTE, &route, err);
        if (rc == SYN_OK)
            rc = syn_link_bridge(route, BRIDGE, NULL, err);
        if (rc == SYN_OK)
            rc = syn_link_up(route, "lo", 0, err);
        if (rc < 0)
            return rc;
        if (mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
            return SYN_FAIL_SYS(err, errno, "keeping the group's network namespace");
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    *ret_fd = syn_fd_take(&fd);
    return SYN_OK;
}

/* One address family: a link-local IPv6 address that comes up a moment later on one rank makes
 * programs of a gang (gloo) choose differently. A kernel without IPv6 has nothing to turn off. */
static void
ipv6_off(void)
{
    static const char *const names[] = {"ipv6/conf/default/disable_ipv6",
                                        "ipv6/conf/all/disable_ipv6"};

    for (size_t i = 0; i < SYN_LEN(names); i++)
        (void)!syn_ns_set(names[i], "1", NULL);
}

/* eth0 here, its other end `port` in the group's namespace, on its bridge. */
static int
plug(int group, const char *port, const struct syn_prefix *address, struct syn_err *err)
{
    const struct syn_link_pair pair = {.name = "eth0", .peer = port, .peer_netns = group};
    SYN_FD(route);
    int rc = syn_nl_open(NETLINK_ROUTE, &route, err);

    if (rc == SYN_OK)
        rc = syn_link_up(route, "lo", 0, err);
    if (rc == SYN_OK)
        rc = syn_link_pair(route, &pair, err);
    if (rc == SYN_OK)
        rc = syn_link_address(route, "eth0", address, err);
    return rc < 0 ? rc : syn_link_up(route, "eth0", 0, err);
}

static int
plug_other_end(const char *port, struct syn_err *err)
{
    SYN_FD(route);
    int rc = syn_nl_open(NETLINK_ROUTE, &route, err);

    return rc < 0 ? rc : syn_link_up(route, port, syn_link_index(route, BRIDGE), err);
}

int
syn_group_enter(const char *group_dir, const char *address, struct syn_err *err)
{
    SYN_FD(lock);
    SYN_FD(group);
    SYN_FD(own);
    struct syn_prefix parsed = {0};
    const uint8_t *addr4 = parsed.addr.bytes;
    char port[SYN_LINK_NAME_MAX];
    int rc = syn_group_address(address, &parsed, err);

    if (rc == SYN_OK)
        rc = group_lock(group_dir, &lock, err);
    if (rc == SYN_OK)
        rc = group_open(group_dir, &group, err);
    if (rc < 0)
        return rc;
    if (unshare(CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "making the instance's network namespace");
    own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return SYN_FAIL_SYS(err, errno, "opening the instance's network namespace");
    (void)snprintf(port, sizeof(port), "v%02x%02x%02x%02x", addr4[0], addr4[1], addr4[2], addr4[3]);
    ipv6_off();
    rc = plug(group, port, &parsed, err);
    if (rc < 0)
        return rc;
    if (setns(group, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "entering the group's network namespace");
    rc = plug_other_end(port, err);
    if (setns(own, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "returning from the group's network namespace");
    return rc;
}
