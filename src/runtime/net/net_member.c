/* One attachment in the kernel. Creation goes from policy to wire, so that nothing is ever plugged
 * in that is not ruled yet; removal goes the other way. Every step finds its work done or does it:
 * whoever was killed in between, the next one who begins at the top gets to the end. */
#include "net_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "meter_priv.h"
#include "netlink_priv.h"
#include "ns_priv.h"

#define INSIDE  "eth0"
#define MTU_MAX 65535u
#define WIRE_MS 100

void
syn_net_member_filter(const struct syn_member *member, struct syn_filter_member *ret)
{
    *ret = (struct syn_filter_member){.attachment = member->attachment,
                                      .address4 = member->address4.addr,
                                      .address6 = member->address6.addr,
                                      .bridge = member->bridge,
                                      .port = member->port,
                                      .mac = member->mac};
}

/* ---- the node's side ---- */

/* A node that forwards stops believing router advertisements (accept_ra 1), from which it may have
 * its own IPv6 address and route: have it go on (2). */
static void
believe_on(void *arg, const char *name)
{
    char setting[64], value[8];

    (void)arg;
    (void)snprintf(setting, sizeof(setting), "ipv6/conf/%s/accept_ra", name);
    if (syn_ns_get(setting, value, sizeof(value)) && syn_str_eq(value, "1"))
        (void)!syn_ns_set(setting, "2", NULL);
}

int
syn_net_forwarding(const struct syn_net *net, struct syn_err *err)
{
    static const char v4[] = "ipv4/ip_forward", v6[] = "ipv6/conf/all/forwarding";
    char value[8];
    int rc = SYN_OK;

    if (!syn_ns_get(v4, value, sizeof(value)) || !syn_str_eq(value, "1"))
        rc = syn_ns_set(v4, "1", err);
    if (rc < 0 || net->node.pool6.addr.family == 0 ||
        (syn_ns_get(v6, value, sizeof(value)) && syn_str_eq(value, "1")))
        return rc;
    rc = syn_link_each(net->route, believe_on, NULL, err);
    return rc < 0 ? rc : syn_ns_set(v6, "1", err);
}

int
syn_net_member_lead(const struct syn_net *net, const struct syn_member *member, struct syn_err *err)
{
    /* With the bridge it goes. */
    return net->services6.addr.family == 0 || member->gateway6.addr.family == 0
               ? SYN_OK
               : syn_link_local_route(net->route, member->bridge, &net->services6, err);
}

static int
create_bridge(struct syn_net *net, const struct syn_member *member, struct syn_err *err)
{
    char name[64];
    int rc = syn_link_bridge(net->route, member->bridge, member->bridge_mac, err);

    if (rc == SYN_OK)
        rc = syn_link_address(net->route, member->bridge, &member->gateway4, err);
    if (rc < 0 || member->gateway6.addr.family == 0)
        return rc;
    /* Nobody on the bridge tells the node where the world is; and addresses are ours to give, so
     * that none is looked for twice: until that is over the bridge would ask for no neighbour. */
    (void)snprintf(name, sizeof(name), "ipv6/conf/%s/accept_ra", member->bridge);
    rc = syn_ns_set(name, "0", err);
    (void)snprintf(name, sizeof(name), "ipv6/conf/%s/accept_dad", member->bridge);
    if (rc == SYN_OK)
        rc = syn_ns_set(name, "0", err);
    if (rc == SYN_OK)
        rc = syn_link_address(net->route, member->bridge, &member->gateway6, err);
    return rc < 0 ? rc : syn_net_member_lead(net, member, err);
}

void
syn_net_member_kin(const struct syn_net *net, const struct syn_member *member, bool remove,
                   struct syn_buf *out)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        const struct syn_attachment *attachment = value;
        struct syn_member other;

        if (!syn_str_eq(attachment->account, member->attachment->account))
            continue;
        syn_net_member(net, attachment, &other);
        if (other.network != member->network)
            syn_filter_kin(&net->node, member->bridge, other.bridge, remove, out);
    }
}

static int
filter_run(struct syn_net *net, const struct syn_member *member, bool remove, struct syn_err *err)
{
    bool last = syn_net_neighbours(net, member) <= 1;
    struct syn_filter_member entry;
    SYN_BUF(text);
    int rc;

    syn_net_member_filter(member, &entry);
    if (remove)
        syn_filter_remove(&net->node, &entry, last, &text);
    else
        syn_filter_add(&net->node, &entry, &text);
    if (last || !remove)
        syn_net_member_kin(net, member, remove, &text);
    rc = syn_buf_ok(&text, err);
    return rc < 0 ? rc : syn_nft_run(net->nft, syn_buf_text(&text), err);
}

/* ---- the instance's side ---- */

static int
plug(struct syn_net *net, const struct syn_member *member, int netns, struct syn_err *err)
{
    /* As small as the way outside, lest packets meet that on every connection anew. */
    const uint32_t mtu = syn_link_outside_mtu(net->route);
    const struct syn_link_pair pair = {.name = member->port,
                                       .master = syn_link_index(net->route, member->bridge),
                                       .peer = INSIDE,
                                       .peer_mac = member->mac,
                                       .peer_netns = netns,
                                       .mtu = mtu > MTU_MAX ? MTU_MAX : mtu};

    return syn_link_pair(net->route, &pair, err);
}

static int
furnish(const struct syn_member *member, int inside, struct syn_err *err)
{
    int rc = syn_link_up(inside, "lo", 0, err);

    if (rc == SYN_OK)
        rc = syn_link_up(inside, INSIDE, 0, err);
    if (rc == SYN_OK)
        rc = syn_link_address(inside, INSIDE, &member->address4, err);
    if (rc == SYN_OK)
        rc = syn_link_default_route(inside, INSIDE, &member->gateway4.addr, err);
    if (rc < 0 || member->address6.addr.family == 0)
        return rc;
    rc = syn_link_address(inside, INSIDE, &member->address6, err);
    return rc < 0 ? rc : syn_link_default_route(inside, INSIDE, &member->gateway6.addr, err);
}

static int
limit(const struct syn_net *net, const struct syn_member *member, int inside, struct syn_err *err)
{
    const struct syn_attachment *attachment = member->attachment;
    int rc = SYN_OK;

    if (attachment->receive_bits_s > 0)
        rc = syn_link_rate(net->route, member->port, attachment->receive_bits_s,
                           syn_link_mtu(net->route, member->port), err);
    if (rc == SYN_OK && attachment->send_bits_s > 0)
        rc = syn_link_rate(inside, INSIDE, attachment->send_bits_s, syn_link_mtu(inside, INSIDE),
                           err);
    return rc;
}

static int
create_inside(struct syn_net *net, const struct syn_member *member, struct syn_err *err)
{
    SYN_FD(netns);
    SYN_FD(inside);
    bool fresh = false;
    int rc = syn_ns_create(member->netns, &fresh, &netns, &inside, err);

    /* A port without this namespace's other end leads nowhere. */
    if (rc == SYN_OK && syn_link_index(inside, INSIDE) == 0) {
        rc = syn_link_delete(net->route, member->port, err);
        if (rc == SYN_OK)
            rc = plug(net, member, netns, err);
    }
    if (rc == SYN_OK)
        rc = furnish(member, inside, err);
    if (rc == SYN_OK)
        rc = limit(net, member, inside, err);
    /* Up last: what is up is whole. */
    if (rc == SYN_OK)
        rc = syn_link_up(net->route, member->port, 0, err);
    if (rc == SYN_OK && !(syn_link_await(inside, INSIDE, WIRE_MS) &&
                          syn_link_await(net->route, member->port, WIRE_MS) &&
                          syn_link_await(net->route, member->bridge, WIRE_MS)))
        syn_log(SYN_LOG_DEBUG, "net.wire-slow", "port=%s", member->port);
    return rc;
}

int
syn_net_member_create(struct syn_net *net, const struct syn_member *member, struct syn_err *err)
{
    int rc = filter_run(net, member, false, err);

    if (rc == SYN_OK)
        rc = create_bridge(net, member, err);
    return rc < 0 ? rc : create_inside(net, member, err);
}

int
syn_net_member_destroy(struct syn_net *net, const struct syn_member *member,
                       struct syn_net_usage *ret_usage, struct syn_err *err)
{
    /* Unplugged first: what is counted then is all there will be. */
    int rc = syn_link_delete(net->route, member->port, err);

    if (rc < 0)
        return rc;
    if (ret_usage && syn_meter_read(net->filter, net->node.table, member->attachment->number,
                                    ret_usage, NULL) < 0)
        *ret_usage = (struct syn_net_usage){0};
    if (syn_net_neighbours(net, member) <= 1)
        rc = syn_link_delete(net->route, member->bridge, err);
    if (rc == SYN_OK)
        rc = filter_run(net, member, true, err);
    return rc < 0 ? rc : syn_ns_destroy(member->netns, err);
}

bool
syn_net_member_stands(const struct syn_net *net, const struct syn_member *member)
{
    return syn_ns_exists(member->netns) && syn_link_is_up(net->route, member->port) &&
           syn_link_is_up(net->route, member->bridge);
}
