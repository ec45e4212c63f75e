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

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "file_priv.h"
#include "scratch_priv.h"

#define NSFS_MAGIC_    0x6e736673
#define MESSAGE_MAX    1024
#define BRIDGE         "br0"
#define JOIN_TRIES_MAX 16

struct message {
    struct nlmsghdr head;
    char body[MESSAGE_MAX];
};

static void
message_init(struct message *message, uint16_t type, uint16_t flags, const void *body, size_t len)
{
    memset(message, 0, sizeof(*message));
    message->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    message->head.nlmsg_type = type;
    message->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    memcpy(NLMSG_DATA(&message->head), body, len);
}

/* Append an attribute; every message here is far below MESSAGE_MAX. */
static struct rtattr *
message_add(struct message *message, uint16_t type, const void *data, size_t len)
{
    size_t at = NLMSG_ALIGN(message->head.nlmsg_len);
    struct rtattr *attr = (struct rtattr *)(void *)((char *)message + at);

    assert(at + RTA_SPACE(len) <= sizeof(*message));
    attr->rta_type = type;
    attr->rta_len = (uint16_t)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(attr), data, len);
    message->head.nlmsg_len = (uint32_t)(at + RTA_ALIGN(RTA_LENGTH(len)));
    return attr;
}

static void
message_close(const struct message *message, struct rtattr *nest)
{
    nest->rta_len = (uint16_t)((const char *)message + message->head.nlmsg_len - (char *)nest);
}

/* Send one request in the network namespace we are in; wait for its acknowledgement. */
static int
message_send(struct message *message, const char *what, struct syn_err *err)
{
    SYN_FD(fd);
    struct message answer;
    const struct nlmsgerr *result;
    ssize_t got;

    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || send(fd, message, message->head.nlmsg_len, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "%s: asking the kernel", what);
    got = recv(fd, &answer, sizeof(answer), 0);
    if (got < (ssize_t)NLMSG_LENGTH(sizeof(*result)) || answer.head.nlmsg_type != NLMSG_ERROR)
        return SYN_FAIL(err, SYN_E_IO, "%s: no answer from the kernel", what);
    result = NLMSG_DATA(&answer.head);
    if (result->error != 0)
        return SYN_FAIL_SYS(err, -result->error, "%s", what);
    return SYN_OK;
}

static int
link_up(const char *name, unsigned master, struct syn_err *err)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct message message;

    info.ifi_index = (int)if_nametoindex(name);
    if (info.ifi_index == 0)
        return SYN_FAIL_SYS(err, errno, "finding interface %s", name);
    message_init(&message, RTM_NEWLINK, 0, &info, sizeof(info));
    if (master != 0)
        (void)message_add(&message, IFLA_MASTER, &master, sizeof(master));
    return message_send(&message, name, err);
}

static int
bridge_create(struct syn_err *err)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct message message;
    struct rtattr *nest;
    int rc;

    message_init(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    (void)message_add(&message, IFLA_IFNAME, BRIDGE, sizeof(BRIDGE));
    nest = message_add(&message, IFLA_LINKINFO, NULL, 0);
    (void)message_add(&message, IFLA_INFO_KIND, "bridge", strlen("bridge"));
    message_close(&message, nest);
    rc = message_send(&message, "creating the group's bridge", err);
    if (rc == SYN_OK)
        rc = link_up("lo", 0, err);
    return rc < 0 ? rc : link_up(BRIDGE, 0, err);
}

/* A veth pair: eth0 here, PORT in the namespace `peer_ns`. */
static int
veth_create(int peer_ns, const char *port, struct syn_err *err)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct message message;
    struct rtattr *nest, *data, *peer;
    uint32_t ns = (uint32_t)peer_ns;

    message_init(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    (void)message_add(&message, IFLA_IFNAME, "eth0", sizeof("eth0"));
    nest = message_add(&message, IFLA_LINKINFO, NULL, 0);
    (void)message_add(&message, IFLA_INFO_KIND, "veth", strlen("veth"));
    data = message_add(&message, IFLA_INFO_DATA, NULL, 0);
    peer = message_add(&message, VETH_INFO_PEER, &info, sizeof(info));
    (void)message_add(&message, IFLA_IFNAME, port, strlen(port) + 1);
    (void)message_add(&message, IFLA_NET_NS_FD, &ns, sizeof(ns));
    message_close(&message, peer);
    message_close(&message, data);
    message_close(&message, nest);
    return message_send(&message, "creating the instance's network interface", err);
}

static int
address_add(const char *name, const uint8_t *addr4, uint8_t prefix, struct syn_err *err)
{
    struct ifaddrmsg info = {
        .ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = if_nametoindex(name)};
    struct message message;

    message_init(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    (void)message_add(&message, IFA_LOCAL, addr4, 4);
    (void)message_add(&message, IFA_ADDRESS, addr4, 4);
    return message_send(&message, "setting the instance's address", err);
}

int
syn_group_address(const char *text, uint8_t *ret_addr4, uint8_t *ret_prefix, struct syn_err *err)
{
    char host[INET_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    uint64_t prefix = 0;
    uint8_t addr4[4];
    size_t len = slash ? (size_t)(slash - text) : 0;

    if (!slash || len >= sizeof(host))
        return SYN_FAIL(err, SYN_E_INVALID, "address %s: expected a form like 10.1.2.3/24", text);
    memcpy(host, text, len);
    host[len] = '\0';
    if (inet_pton(AF_INET, host, addr4) != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "address %s: expected a form like 10.1.2.3/24", text);
    if (syn_parse_u64(slash + 1, 1, 30, "prefix length", &prefix, err) < 0)
        return SYN_E_INVALID;
    memcpy(ret_addr4, addr4, sizeof(addr4));
    *ret_prefix = (uint8_t)prefix;
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
    struct statfs fs;
    SYN_FD(fd);
    int rc = syn_path_format(path, sizeof(path), err, "%s/netns", group_dir);

    if (rc < 0)
        return rc;
    if (statfs(path, &fs) < 0 || fs.f_type != NSFS_MAGIC_) {
        rc = syn_file_write(AT_FDCWD, path, "", 0, err);
        if (rc < 0)
            return rc;
        if (unshare(CLONE_NEWNET) < 0)
            return SYN_FAIL_SYS(err, errno, "making the group's network namespace");
        rc = bridge_create(err);
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
    static const char *const paths[] = {"/proc/sys/net/ipv6/conf/default/disable_ipv6",
                                        "/proc/sys/net/ipv6/conf/all/disable_ipv6"};

    for (size_t i = 0; i < SYN_LEN(paths); i++) {
        int fd = open(paths[i], O_WRONLY | O_CLOEXEC);

        if (fd < 0)
            continue;
        if (write(fd, "1", 1) != 1)
            errno = 0;
        (void)close(fd);
    }
}

int
syn_group_enter(const char *group_dir, const char *address, struct syn_err *err)
{
    SYN_FD(lock);
    SYN_FD(group);
    SYN_FD(own);
    uint8_t addr4[4] = {0}, prefix = 0;
    char port[IFNAMSIZ];
    int rc = syn_group_address(address, addr4, &prefix, err);

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
    rc = link_up("lo", 0, err);
    if (rc == SYN_OK)
        rc = veth_create(group, port, err);
    if (rc == SYN_OK)
        rc = address_add("eth0", addr4, prefix, err);
    if (rc == SYN_OK)
        rc = link_up("eth0", 0, err);
    if (rc < 0)
        return rc;
    if (setns(group, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "entering the group's network namespace");
    rc = link_up(port, if_nametoindex(BRIDGE), err);
    if (setns(own, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "returning from the group's network namespace");
    return rc;
}
