/* Interfaces, addresses, routes and rates, each by one message. `fd` is a NETLINK_ROUTE socket of
 * the network namespace that is meant. */
#ifndef SYNOR_RUNTIME_LINK_PRIV_H
#define SYNOR_RUNTIME_LINK_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#include "prefix_priv.h"

#define SYN_LINK_NAME_MAX 16
#define SYN_LINK_MAC_LEN  6

/** A pair of interfaces, made in one step and not up yet: `name` here, `peer` in another namespace.
 */
struct syn_link_pair {
    const char *name;
    unsigned master;         /* bridge of `name`'s namespace, 0: none */
    const uint8_t *peer_mac; /* NULL: the kernel's choice */
    const char *peer;
    int peer_netns; /* descriptor of its namespace */
    uint32_t mtu;   /* 0: the kernel's */
};

/** 0 when there is none of that name. */
unsigned syn_link_index(int fd, const char *name);
/** Its MTU; 0 when there is none of that name. */
uint32_t syn_link_mtu(int fd, const char *name);
/** The smallest MTU of the interfaces that default routes leave by; 0 when there is no such route.
 */
uint32_t syn_link_outside_mtu(int fd);
/** False also when there is none of that name. */
bool syn_link_is_up(int fd, const char *name);
/** The kernel notices a moment after an interface is up that the other end is, too, and drops what
 *  is sent until then; who sent it tries again after a second. Wait for that. False: not so yet. */
bool syn_link_await(int fd, const char *name, int wait_ms);
SYN_MUST int syn_link_up(int fd, const char *name, unsigned master, struct syn_err *err);
/** `mac` NULL: the kernel's, which changes with its ports. One that is there is fine. */
SYN_MUST int syn_link_bridge(int fd, const char *name, const uint8_t *mac, struct syn_err *err);
SYN_MUST int syn_link_pair(int fd, const struct syn_link_pair *pair, struct syn_err *err);
/** None of that name is fine. */
SYN_MUST int syn_link_delete(int fd, const char *name, struct syn_err *err);
/** Usable at once (no duplicate detection). One that is set is fine. */
SYN_MUST int syn_link_address(int fd, const char *name, const struct syn_prefix *address,
                              struct syn_err *err);
/** The default route of the gateway's family. One that is set is fine. */
SYN_MUST int syn_link_default_route(int fd, const char *name, const struct syn_addr *gateway,
                                    struct syn_err *err);
/** What is sent to `network` is for this machine, as long as there is the interface `name`. One
 * that is set is fine. */
SYN_MUST int syn_link_local_route(int fd, const char *name, const struct syn_prefix *network,
                                  struct syn_err *err);
/** What leaves by `name` is held to so many bits a second. */
SYN_MUST int syn_link_rate(int fd, const char *name, int64_t bits_s, uint32_t mtu,
                           struct syn_err *err);

typedef void (*syn_link_name_fn)(void *arg, const char *name);
/** Every interface's name. */
SYN_MUST int syn_link_each(int fd, syn_link_name_fn fn, void *arg, struct syn_err *err);
typedef void (*syn_link_prefix_fn)(void *arg, const struct syn_prefix *prefix);
/** Every network that has an address or a route here, the default route left out. */
SYN_MUST int syn_link_each_network(int fd, syn_link_prefix_fn fn, void *arg, struct syn_err *err);

#endif
