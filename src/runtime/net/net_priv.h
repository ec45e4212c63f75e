/* The parts of net.c: addresses (net_pool.c), one attachment in the kernel (net_member.c), what an
 * earlier process left (net_sweep.c). */
#ifndef SYNOR_RUNTIME_NET_PRIV_H
#define SYNOR_RUNTIME_NET_PRIV_H

#include <pthread.h>

#include <synor/base/map.h>

#include "attachment_priv.h"
#include "filter_priv.h"
#include "link_priv.h"
#include "nft_priv.h"

#define SYN_NET_TAG_LEN    6
#define SYN_NET_DENY_MAX   64
#define SYN_NET_PREFIX_MIN 20 /* of one account's network */
#define SYN_NET_PREFIX_MAX 28
#define SYN_POOL4_MIN      8
#define SYN_POOL6_MAX      48

struct syn_net {
    char dir[SYN_NET_PATH_MAX];
    char tag[SYN_NET_TAG_LEN + 1]; /* of the folder, in every name that the kernel keeps */
    int lock_fd, route, filter;    /* NETLINK_ROUTE and NETLINK_NETFILTER of the node's namespace */
    struct syn_nft *nft;
    uint8_t net_prefix;
    struct syn_prefix services6; /* family 0: no service has an address of IPv6 here */
    struct syn_filter_node node; /* what it points to is below */
    struct syn_attachment_port open[SYN_NET_OPEN_MAX];
    struct syn_prefix deny[SYN_NET_DENY_MAX];

    pthread_mutex_t lock;             /* guards what follows */
    struct syn_filter_divert *divert; /* node.divert */
    bool ready;                       /* the policy is made */
    struct syn_map *attachments;      /* id: struct syn_attachment, owned */
    uint32_t next_number;             /* behind the last one handed out */
};

/** What follows from an attachment's number. */
struct syn_member {
    const struct syn_attachment *attachment;
    uint32_t network; /* the first number of its account's network */
    char bridge[SYN_LINK_NAME_MAX], port[SYN_LINK_NAME_MAX];
    char netns[SYN_NET_PATH_MAX];
    uint8_t mac[SYN_LINK_MAC_LEN], bridge_mac[SYN_LINK_MAC_LEN];
    struct syn_prefix address4, gateway4;
    struct syn_prefix address6, gateway6; /* family 0: no IPv6 */
};

/* --- net_pool.c --- */

/** Read the options, or what was kept of them, or find pools that are free here. */
SYN_MUST int syn_net_pool_open(struct syn_net *net, const struct syn_net_options *options,
                               struct syn_err *err);
/** How many numbers the pool has, and an account's network. */
uint32_t syn_net_pool_size(const struct syn_net *net);
uint32_t syn_net_network_size(const struct syn_net *net);
/** A free number in the account's network, or in a new one. LIMIT when there is none. */
SYN_MUST int syn_net_pool_take(struct syn_net *net, const char *account, uint32_t *ret_number,
                               struct syn_err *err);
void syn_net_member(const struct syn_net *net, const struct syn_attachment *attachment,
                    struct syn_member *ret);
/** Attachments of the same network, this one counted. */
size_t syn_net_neighbours(const struct syn_net *net, const struct syn_member *member);

/* --- net_member.c --- */

/** Make everything of it that is missing. The record is on disk. */
SYN_MUST int syn_net_member_create(struct syn_net *net, const struct syn_member *member,
                                   struct syn_err *err);
/** Remove everything of it but the record. Idempotent. */
SYN_MUST int syn_net_member_destroy(struct syn_net *net, const struct syn_member *member,
                                    struct syn_net_usage *ret_usage, struct syn_err *err);
/** What its bridge sends to services' addresses of IPv6 comes to this node. What is so is fine. */
SYN_MUST int syn_net_member_lead(const struct syn_net *net, const struct syn_member *member,
                                 struct syn_err *err);
/** Is all of it there that can be seen at a glance? */
bool syn_net_member_stands(const struct syn_net *net, const struct syn_member *member);
/** The account's other networks of this node, which this one reaches, or no longer. */
void syn_net_member_kin(const struct syn_net *net, const struct syn_member *member, bool remove,
                        struct syn_buf *out);
/** What filter.c wants. */
void syn_net_member_filter(const struct syn_member *member, struct syn_filter_member *ret);
/** The node's switches: forwarding, with what depends on it. */
SYN_MUST int syn_net_forwarding(const struct syn_net *net, struct syn_err *err);

/* --- net.c --- */

/** Have the node's policy in place: with the first attachment, so that a node that has none is left
 *  as it was. UNSUPPORTED in one sentence where that cannot be. */
SYN_MUST int syn_net_ready(struct syn_net *net, struct syn_err *err);
/** DIR/at/ID.json */
SYN_MUST int syn_net_record_path(const struct syn_net *net, const char *id, char *out,
                                 struct syn_err *err);
/** Take an attachment away: kernel, record, memory. The lock is held. */
SYN_MUST int syn_net_drop(struct syn_net *net, const struct syn_attachment *attachment,
                          struct syn_net_usage *ret_usage, struct syn_err *err);

/* --- net_sweep.c --- */

/** Read every record; what is none is removed. */
SYN_MUST int syn_net_records_read(struct syn_net *net, struct syn_err *err);

#endif
