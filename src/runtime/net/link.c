#include "link_priv.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <synor/base/str.h>

#include "netlink_priv.h"

#define BURST_MIN INT64_C(65536) /* below the size of an offloaded packet every one is cut up */
#define BURST_MS  10
#define QUEUE_MS  100
#define QUEUE_MAX INT64_C(1073741824)
#define MTU_EXTRA 128

struct found_link {
    unsigned index;
    uint32_t mtu;
    bool up, carries;
};

static void
take_link(void *arg, uint16_t type, const void *body, size_t len)
{
    struct found_link *found = arg;
    struct ifinfomsg info;
    const struct nlattr *mtu;

    if (type != RTM_NEWLINK || len < sizeof(info))
        return;
    memcpy(&info, body, sizeof(info));
    found->index = (unsigned)info.ifi_index;
    found->up = (info.ifi_flags & IFF_UP) != 0;
    found->carries = (info.ifi_flags & IFF_RUNNING) != 0;
    mtu = syn_nl_find((const char *)body + NLMSG_ALIGN(sizeof(info)),
                      len - NLMSG_ALIGN(sizeof(info)), IFLA_MTU);
    if (mtu && syn_nl_size(mtu) >= sizeof(found->mtu))
        memcpy(&found->mtu, syn_nl_data(mtu), sizeof(found->mtu));
}

static struct found_link
find_link(int fd, const char *name)
{
    const struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct found_link found = {0};
    struct syn_nl nl;

    syn_nl_init(&nl, RTM_GETLINK, 0, &info, sizeof(info));
    syn_nl_add_text(&nl, IFLA_IFNAME, name);
    if (syn_nl_ask(fd, &nl, name, take_link, &found, NULL) < 0)
        return (struct found_link){0};
    return found;
}

unsigned
syn_link_index(int fd, const char *name)
{
    return find_link(fd, name).index;
}

bool
syn_link_is_up(int fd, const char *name)
{
    return find_link(fd, name).up;
}

bool
syn_link_await(int fd, const char *name, int wait_ms)
{
    bool carries = find_link(fd, name).carries;

    for (int i = 0; !carries && i < wait_ms; i++) {
        (void)poll(NULL, 0, 1);
        carries = find_link(fd, name).carries;
    }
    return carries;
}

uint32_t
syn_link_mtu(int fd, const char *name)
{
    return find_link(fd, name).mtu;
}

/* Where default routes lead; more of them than this have to share an MTU. */
#define OUTSIDES_MAX 16

struct outsides {
    int32_t links[OUTSIDES_MAX];
    size_t count;
};

static void
take_outside(void *arg, uint16_t type, const void *body, size_t len)
{
    const size_t skip = NLMSG_ALIGN(sizeof(struct rtmsg));
    struct outsides *outsides = arg;
    const struct nlattr *link;
    struct rtmsg info;

    if (type != RTM_NEWROUTE || len < skip || outsides->count == OUTSIDES_MAX)
        return;
    memcpy(&info, body, sizeof(info));
    link = syn_nl_find((const char *)body + skip, len - skip, RTA_OIF);
    if (info.rtm_dst_len == 0 && info.rtm_type == RTN_UNICAST && link &&
        syn_nl_size(link) == sizeof(int32_t))
        memcpy(&outsides->links[outsides->count++], syn_nl_data(link), sizeof(int32_t));
}

uint32_t
syn_link_outside_mtu(int fd)
{
    const struct rtmsg route = {.rtm_family = AF_UNSPEC};
    struct outsides outsides = {.count = 0};
    uint32_t least = 0;
    struct syn_nl nl;

    syn_nl_init(&nl, RTM_GETROUTE, NLM_F_DUMP, &route, sizeof(route));
    if (syn_nl_ask(fd, &nl, "listing routes", take_outside, &outsides, NULL) < 0)
        return 0;
    for (size_t i = 0; i < outsides.count; i++) {
        const struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = outsides.links[i]};
        struct found_link found = {0};

        syn_nl_init(&nl, RTM_GETLINK, 0, &info, sizeof(info));
        if (syn_nl_ask(fd, &nl, "looking at an interface", take_link, &found, NULL) == SYN_OK &&
            found.mtu > 0)
            least = least == 0 ? found.mtu : SYN_MIN(least, found.mtu);
    }
    return least;
}

/* The index of one that must be there. */
static int
need_index(int fd, const char *name, unsigned *ret, struct syn_err *err)
{
    *ret = syn_link_index(fd, name);
    return *ret > 0 ? SYN_OK : SYN_FAIL(err, SYN_E_NOTFOUND, "interface %s is not there", name);
}

int
syn_link_up(int fd, const char *name, unsigned master, struct syn_err *err)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct syn_nl nl;
    unsigned index = 0;
    int rc = need_index(fd, name, &index, err);

    if (rc < 0)
        return rc;
    info.ifi_index = (int)index;
    syn_nl_init(&nl, RTM_NEWLINK, 0, &info, sizeof(info));
    if (master != 0)
        syn_nl_add_u32(&nl, IFLA_MASTER, master);
    return syn_nl_do(fd, &nl, name, err);
}

int
syn_link_bridge(int fd, const char *name, const uint8_t *mac, struct syn_err *err)
{
    const struct ifinfomsg info = {
        .ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct nlattr *nest, *data;
    struct syn_err local = {0};
    struct syn_nl nl;
    int rc;

    syn_nl_init(&nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    syn_nl_add_text(&nl, IFLA_IFNAME, name);
    if (mac)
        syn_nl_add(&nl, IFLA_ADDRESS, mac, SYN_LINK_MAC_LEN);
    nest = syn_nl_begin(&nl, IFLA_LINKINFO);
    syn_nl_add_text(&nl, IFLA_INFO_KIND, "bridge");
    data = syn_nl_begin(&nl, IFLA_INFO_DATA);
    /* Snooping without somebody who asks forgets who listens, and drops neighbour discovery. */
    syn_nl_add(&nl, IFLA_BR_MCAST_SNOOPING, &(uint8_t){0}, 1);
    syn_nl_end(&nl, data);
    syn_nl_end(&nl, nest);
    rc = syn_nl_do(fd, &nl, "making a bridge", &local);
    if (rc < 0 && local.sys == EEXIST)
        return syn_link_up(fd, name, 0, err);
    if (rc < 0 && err)
        *err = local;
    return rc;
}

int
syn_link_pair(int fd, const struct syn_link_pair *pair, struct syn_err *err)
{
    const struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct nlattr *nest, *data, *peer;
    struct syn_nl nl;

    syn_nl_init(&nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    syn_nl_add_text(&nl, IFLA_IFNAME, pair->name);
    if (pair->mtu > 0)
        syn_nl_add_u32(&nl, IFLA_MTU, pair->mtu);
    if (pair->master > 0)
        syn_nl_add_u32(&nl, IFLA_MASTER, pair->master);
    nest = syn_nl_begin(&nl, IFLA_LINKINFO);
    syn_nl_add_text(&nl, IFLA_INFO_KIND, "veth");
    data = syn_nl_begin(&nl, IFLA_INFO_DATA);
    peer = syn_nl_begin(&nl, VETH_INFO_PEER);
    /* The peer's own header, where an attribute's value would be. */
    memcpy((char *)&nl + nl.head.nlmsg_len, &info, sizeof(info));
    nl.head.nlmsg_len += (uint32_t)NLMSG_ALIGN(sizeof(info));
    syn_nl_add_text(&nl, IFLA_IFNAME, pair->peer);
    if (pair->peer_mac)
        syn_nl_add(&nl, IFLA_ADDRESS, pair->peer_mac, SYN_LINK_MAC_LEN);
    if (pair->mtu > 0)
        syn_nl_add_u32(&nl, IFLA_MTU, pair->mtu);
    syn_nl_add_u32(&nl, IFLA_NET_NS_FD, (uint32_t)pair->peer_netns);
    syn_nl_end(&nl, peer);
    syn_nl_end(&nl, data);
    syn_nl_end(&nl, nest);
    return syn_nl_do(fd, &nl, "making the instance's network interface", err);
}

int
syn_link_delete(int fd, const char *name, struct syn_err *err)
{
    const struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct syn_err local = {0};
    struct syn_nl nl;
    int rc;

    syn_nl_init(&nl, RTM_DELLINK, 0, &info, sizeof(info));
    syn_nl_add_text(&nl, IFLA_IFNAME, name);
    rc = syn_nl_do(fd, &nl, "removing a network interface", &local);
    if (rc < 0 && local.sys == ENODEV)
        return SYN_OK;
    if (rc < 0 && err)
        *err = local;
    return rc;
}

/* `rc` and `local` of a message that may find its work done. */
static int
done_before(int rc, const struct syn_err *local, struct syn_err *err)
{
    if (rc < 0 && local->sys == EEXIST)
        return SYN_OK;
    if (rc < 0 && err)
        *err = *local;
    return rc;
}

int
syn_link_address(int fd, const char *name, const struct syn_prefix *address, struct syn_err *err)
{
    struct ifaddrmsg info = {.ifa_family = (uint8_t)address->addr.family,
                             .ifa_prefixlen = address->len};
    struct syn_err local = {0};
    struct syn_nl nl;
    unsigned index = 0;
    int rc = need_index(fd, name, &index, err);

    if (rc < 0)
        return rc;
    info.ifa_index = index;
    syn_nl_init(&nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    syn_nl_add(&nl, IFA_LOCAL, address->addr.bytes, syn_addr_size(&address->addr));
    syn_nl_add(&nl, IFA_ADDRESS, address->addr.bytes, syn_addr_size(&address->addr));
    if (address->addr.family == AF_INET6)
        syn_nl_add_u32(&nl, IFA_FLAGS, IFA_F_NODAD);
    rc = syn_nl_do(fd, &nl, "setting an address", &local);
    return done_before(rc, &local, err);
}

int
syn_link_default_route(int fd, const char *name, const struct syn_addr *gateway,
                       struct syn_err *err)
{
    const struct rtmsg info = {.rtm_family = (uint8_t)gateway->family,
                               .rtm_table = RT_TABLE_MAIN,
                               .rtm_protocol = RTPROT_STATIC,
                               .rtm_scope = RT_SCOPE_UNIVERSE,
                               .rtm_type = RTN_UNICAST};
    struct syn_err local = {0};
    struct syn_nl nl;
    unsigned index = 0;
    int rc = need_index(fd, name, &index, err);

    if (rc < 0)
        return rc;
    syn_nl_init(&nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    syn_nl_add(&nl, RTA_GATEWAY, gateway->bytes, syn_addr_size(gateway));
    syn_nl_add_u32(&nl, RTA_OIF, index);
    rc = syn_nl_do(fd, &nl, "setting the default route", &local);
    return done_before(rc, &local, err);
}

int
syn_link_local_route(int fd, const char *name, const struct syn_prefix *network,
                     struct syn_err *err)
{
    const struct rtmsg info = {.rtm_family = (uint8_t)network->addr.family,
                               .rtm_dst_len = network->len,
                               .rtm_table = RT_TABLE_LOCAL,
                               .rtm_protocol = RTPROT_STATIC,
                               .rtm_scope = RT_SCOPE_HOST,
                               .rtm_type = RTN_LOCAL};
    struct syn_err local = {0};
    struct syn_nl nl;
    unsigned index = 0;
    int rc = need_index(fd, name, &index, err);

    if (rc < 0)
        return rc;
    /* Other interfaces may have the same: each has its own. */
    syn_nl_init(&nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, &info, sizeof(info));
    syn_nl_add(&nl, RTA_DST, network->addr.bytes, syn_addr_size(&network->addr));
    syn_nl_add_u32(&nl, RTA_OIF, index);
    rc = syn_nl_do(fd, &nl, "setting a local route", &local);
    return done_before(rc, &local, err);
}

int
syn_link_rate(int fd, const char *name, int64_t bits_s, uint32_t mtu, struct syn_err *err)
{
    struct tcmsg info = {.tcm_family = AF_UNSPEC, .tcm_parent = TC_H_ROOT};
    int64_t bytes_s = bits_s / 8;
    int64_t burst = SYN_MAX(bytes_s / 1000 * BURST_MS, BURST_MIN);
    int64_t queue = burst + bytes_s / 1000 * QUEUE_MS;
    struct tc_tbf_qopt options = {.limit = (uint32_t)SYN_MIN(queue, QUEUE_MAX)};
    uint64_t rate = (uint64_t)bytes_s;
    struct nlattr *nest;
    struct syn_nl nl;
    unsigned index = 0;
    int rc = need_index(fd, name, &index, err);

    if (rc < 0)
        return rc;
    info.tcm_ifindex = (int)index;
    options.rate.rate = (uint32_t)SYN_MIN(rate, (uint64_t)UINT32_MAX);
    options.rate.linklayer = TC_LINKLAYER_ETHERNET;
    burst = SYN_MIN(SYN_MAX(burst, (int64_t)mtu + MTU_EXTRA), QUEUE_MAX);
    syn_nl_init(&nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof(info));
    syn_nl_add_text(&nl, TCA_KIND, "tbf");
    nest = syn_nl_begin(&nl, TCA_OPTIONS);
    syn_nl_add(&nl, TCA_TBF_PARMS, &options, sizeof(options));
    syn_nl_add(&nl, TCA_TBF_RATE64, &rate, sizeof(rate));
    syn_nl_add_u32(&nl, TCA_TBF_BURST, (uint32_t)burst);
    syn_nl_end(&nl, nest);
    return syn_nl_do(fd, &nl, "limiting the bandwidth", err);
}

/* ---- what is there ---- */

struct each {
    syn_link_name_fn name_fn;
    syn_link_prefix_fn prefix_fn;
    void *arg;
};

static void
each_link(void *arg, uint16_t type, const void *body, size_t len)
{
    const struct each *each = arg;
    const size_t skip = NLMSG_ALIGN(sizeof(struct ifinfomsg));
    const struct nlattr *attr;
    char name[SYN_LINK_NAME_MAX] = "";

    if (type != RTM_NEWLINK || len < skip)
        return;
    attr = syn_nl_find((const char *)body + skip, len - skip, IFLA_IFNAME);
    if (!attr)
        return;
    memcpy(name, syn_nl_data(attr), SYN_MIN(syn_nl_size(attr), sizeof(name) - 1));
    each->name_fn(each->arg, name);
}

int
syn_link_each(int fd, syn_link_name_fn fn, void *arg, struct syn_err *err)
{
    const struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct each each = {.name_fn = fn, .arg = arg};
    struct syn_nl nl;

    syn_nl_init(&nl, RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
    return syn_nl_ask(fd, &nl, "listing interfaces", each_link, &each, err);
}

static void
give_prefix(const struct each *each, int family, uint8_t len, const struct nlattr *attr)
{
    struct syn_prefix prefix = {.addr = {.family = family}, .len = len};

    if (!attr || len == 0 || (family != AF_INET && family != AF_INET6) ||
        syn_nl_size(attr) != syn_addr_size(&prefix.addr))
        return;
    memcpy(prefix.addr.bytes, syn_nl_data(attr), syn_nl_size(attr));
    each->prefix_fn(each->arg, &prefix);
}

static void
each_network(void *arg, uint16_t type, const void *body, size_t len)
{
    if (type == RTM_NEWADDR && len >= sizeof(struct ifaddrmsg)) {
        const size_t skip = NLMSG_ALIGN(sizeof(struct ifaddrmsg));
        struct ifaddrmsg info;

        memcpy(&info, body, sizeof(info));
        give_prefix(arg, info.ifa_family, info.ifa_prefixlen,
                    syn_nl_find((const char *)body + skip, len - skip, IFA_ADDRESS));
    } else if (type == RTM_NEWROUTE && len >= sizeof(struct rtmsg)) {
        const size_t skip = NLMSG_ALIGN(sizeof(struct rtmsg));
        struct rtmsg info;

        memcpy(&info, body, sizeof(info));
        give_prefix(arg, info.rtm_family, info.rtm_dst_len,
                    syn_nl_find((const char *)body + skip, len - skip, RTA_DST));
    }
}

int
syn_link_each_network(int fd, syn_link_prefix_fn fn, void *arg, struct syn_err *err)
{
    const struct ifaddrmsg address = {.ifa_family = AF_UNSPEC};
    const struct rtmsg route = {.rtm_family = AF_UNSPEC};
    struct each each = {.prefix_fn = fn, .arg = arg};
    struct syn_nl nl;
    int rc;

    syn_nl_init(&nl, RTM_GETADDR, NLM_F_DUMP, &address, sizeof(address));
    rc = syn_nl_ask(fd, &nl, "listing addresses", each_network, &each, err);
    if (rc < 0)
        return rc;
    syn_nl_init(&nl, RTM_GETROUTE, NLM_F_DUMP, &route, sizeof(route));
    return syn_nl_ask(fd, &nl, "listing routes", each_network, &each, err);
}
