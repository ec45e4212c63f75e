/* A CNI plugin: how an instance's own network namespace becomes its pod's.
 *
 * A container runtime makes a namespace, keeps it by a mount on a file and asks the plugins to
 * furnish it. But an instance's network is there before (the account's bridge, its policy, its
 * counters: ../net), or is the group's. So we put that namespace on the file in place of the
 * runtime's, which joins whatever is there. Both plugins that a runtime asks for are this program:
 * "loopback" and "synor"; where it was there before us, "loopback" is another's. */
#include "pod_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "../native/group_priv.h"
#include "../net/link_priv.h"
#include "../net/netlink_priv.h"

#define CONFIG_MAX     ((size_t)64 << 10)
#define ENTER_TRIES    500
#define ENTER_PAUSE_MS 10
#define LO_TRIES       200
#define LO_PAUSE_MS    5
#define FAILED         100 /* CNI's codes from here on are the plugin's own */

static int
print_json_take(json_t *doc)
{
    SYN_JSON(owned);
    SYN_BUF(out);

    owned = doc;
    return syn_json_write(owned, &out, NULL) == SYN_OK &&
                   syn_fd_write_all(STDOUT_FILENO, out.data, out.len, NULL) == SYN_OK
               ? 0
               : 1;
}

static int
complain(const struct syn_err *err)
{
    json_t *doc = NULL;

    if (syn_json_pack(&doc, NULL, "{s:s, s:i, s:s}", "cniVersion", "0.4.0", "code", FAILED, "msg",
                      err->msg) == SYN_OK)
        (void)print_json_take(doc);
    return 1;
}

static int
answer(const char *name, const char *netns, const char *address)
{
    json_t *doc = NULL;

    if (syn_json_pack(&doc, NULL, "{s:s, s:[{s:s, s:s}], s:[{s:s, s:s, s:i}]}", "cniVersion",
                      "0.4.0", "interfaces", "name", name, "sandbox", netns, "ips", "version",
                      strchr(address, ':') ? "6" : "4", "address", address, "interface", 0) < 0)
        return 1;
    return print_json_take(doc);
}

/* The value of `key` in "A=1;B=2", or false. */
static bool
find_arg(const char *args, const char *key, char *out, size_t cap)
{
    size_t key_len = strlen(key);

    while (args && *args != '\0') {
        size_t len = strcspn(args, ";");

        if (len > key_len && strncmp(args, key, key_len) == 0 && args[key_len] == '=') {
            size_t value_len = len - key_len - 1;

            if (value_len == 0 || value_len >= cap)
                return false;
            memcpy(out, args + key_len + 1, value_len);
            out[value_len] = '\0';
            return true;
        }
        args += len + (args[len] == ';');
    }
    return false;
}

/* The plan of the instance that the pod is of: the link of its name in the configuration's folder.
 */
static int
find_plan(struct syn_plan *ret, struct syn_err *err)
{
    char name[SYN_PLAN_NAME_MAX], path[SYN_PATH_MAX];
    SYN_JSON(config);
    SYN_BUF(text);
    SYN_FD(dir);
    int rc = syn_file_read(AT_FDCWD, "/proc/self/fd/0", CONFIG_MAX, &text, err);

    if (rc == SYN_OK)
        rc = syn_json_parse_object(syn_buf_text(&text), text.len, &config, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "reading the network's configuration");
    if (!find_arg(getenv("CNI_ARGS"), "K8S_POD_NAME", name, sizeof(name)) || strchr(name, '/') ||
        name[0] == '.')
        return SYN_FAIL(err, SYN_E_INVALID, "CNI_ARGS has no K8S_POD_NAME of ours");
    rc = syn_path_format(path, sizeof(path), err, "%s/%s", syn_json_str(config, "pods", ""), name);
    if (rc < 0)
        return rc;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening the instance of pod %s", name);
    return syn_plan_read(dir, ret, err);
}

/* A runtime may run the plugins side by side: for a moment the other one has nothing on the file.
 */
static int
enter(const char *netns, struct syn_err *err)
{
    for (int i = 0;; i++) {
        SYN_FD(fd);

        fd = open(netns, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && setns(fd, CLONE_NEWNET) == 0)
            return SYN_OK;
        if (i == ENTER_TRIES)
            return SYN_FAIL_SYS(err, errno, "entering %s", netns);
        (void)poll(NULL, 0, ENTER_PAUSE_MS);
    }
}

static int
lo_up(const char *netns, struct syn_err *err)
{
    SYN_FD(route);
    int rc = enter(netns, err);

    if (rc == SYN_OK)
        rc = syn_nl_open(NETLINK_ROUTE, &route, err);
    return rc < 0 ? rc : syn_link_up(route, "lo", 0, err);
}

/* A socket in that namespace, or -1. */
static int
socket_in(const char *netns)
{
    SYN_FD(home);
    SYN_FD(there);
    SYN_FD(fd);

    home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    there = open(netns, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
        return -1;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return setns(home, CLONE_NEWNET) == 0 ? syn_fd_take(&fd) : -1;
}

/* Another's loopback plugin, run beside us, fails while there is nothing on the file. Once its
 * interface is up it needs the file no more. Not every runtime has one, so nobody waits for long.
 */
static void
await_loopback(const char *netns)
{
    struct ifreq lo = {.ifr_name = "lo"};
    SYN_FD(fd);

    fd = socket_in(netns);
    for (int i = 0; fd >= 0 && i < LO_TRIES; i++) {
        if (ioctl(fd, SIOCGIFFLAGS, &lo) < 0 || (lo.ifr_flags & IFF_UP))
            return;
        (void)poll(NULL, 0, LO_PAUSE_MS);
    }
}

/* From now on `netns` names the namespace at `ours`. */
static int
replace(const char *netns, const char *ours, struct syn_err *err)
{
    if (umount2(netns, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        return SYN_FAIL_SYS(err, errno, "letting go of %s", netns);
    if (mount(ours, netns, NULL, MS_BIND, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "putting the instance's network on %s", netns);
    return SYN_OK;
}

static int
add(const char *netns, struct syn_err *err)
{
    char address[96] = "127.0.0.1/8";
    struct syn_plan plan = {0};
    int rc = find_plan(&plan, err);

    if (rc == SYN_OK)
        await_loopback(netns);
    if (rc == SYN_OK && plan.group[0] != '\0') {
        rc = syn_group_enter(plan.group, plan.address, err);
        if (rc == SYN_OK)
            rc = replace(netns, "/proc/self/ns/net", err);
        (void)snprintf(address, sizeof(address), "%s", plan.address);
    } else if (rc == SYN_OK && plan.place.netns[0] != '\0') {
        rc = replace(netns, plan.place.netns, err);
        (void)snprintf(address, sizeof(address), "%s/%d", plan.place.address4,
                       (int)plan.place.prefix4);
    }
    if (rc < 0)
        return complain(err);
    /* One without a network has its loopback alone; a runtime wants an address to be told. */
    return answer("eth0", netns, address);
}

int
syn_cni_main(const char *command, const char *type)
{
    const char *netns = getenv("CNI_NETNS");
    struct syn_err err = {0};

    if (syn_str_eq(command, "VERSION"))
        return syn_fd_write_all(STDOUT_FILENO,
                                "{\"cniVersion\":\"0.4.0\",\"supportedVersions\":[\"0.3.0\","
                                "\"0.3.1\",\"0.4.0\"]}\n",
                                75, NULL) < 0;
    if (!syn_str_eq(command, "ADD"))
        return 0; /* what there is to undo, the runtime and the driver undo */
    if (!netns || netns[0] != '/') {
        (void)syn_err_set(&err, SYN_E_INVALID, 0, __FILE__, __LINE__, "CNI_NETNS is no path");
        return complain(&err);
    }
    if (!syn_str_eq(type, "loopback"))
        return add(netns, &err);
    return lo_up(netns, &err) < 0 ? complain(&err) : answer("lo", netns, "127.0.0.1/8");
}
