/* The node's policy as nftables text. Pure: who runs it is nft.c. See filter.c. */
#ifndef SYNOR_RUNTIME_FILTER_PRIV_H
#define SYNOR_RUNTIME_FILTER_PRIV_H

#include <synor/base/buf.h>

#include "attachment_priv.h"

#define SYN_FILTER_TABLE_MAX 16

/** struct syn_net_divert, read. */
struct syn_filter_divert {
    struct syn_addr address;
    uint16_t port, to;
};

/** What holds for every instance of the node. */
struct syn_filter_node {
    char table[SYN_FILTER_TABLE_MAX];
    struct syn_prefix pool4, pool6;         /* pool6.addr.family 0: no IPv6 */
    const struct syn_attachment_port *open; /* .host and .host_port */
    size_t open_count;
    bool dns; /* is answered at gateways */
    const struct syn_prefix *deny;
    size_t deny_count;
    const struct syn_filter_divert *divert;
    size_t divert_count;
};

/** One attachment, with what net.c derived. */
struct syn_filter_member {
    const struct syn_attachment *attachment;
    struct syn_addr address4, address6; /* address6.family 0: none */
    const char *bridge, *port;
    const uint8_t *mac;
    struct syn_net_usage usage; /* its counters begin here */
};

/** Tables, chains and rules. What is there stays: sets, maps, counters. */
void syn_filter_base(const struct syn_filter_node *node, struct syn_buf *out);
/** What is diverted, in the place of what was. */
void syn_filter_diverted(const struct syn_filter_node *node, struct syn_buf *out);
/** Without tables. Nothing there is fine. */
void syn_filter_clear(const struct syn_filter_node *node, struct syn_buf *out);
/** One member. The same one being there is fine. */
void syn_filter_add(const struct syn_filter_node *node, const struct syn_filter_member *member,
                    struct syn_buf *out);
/** Two bridges of one account, or no longer. */
void syn_filter_kin(const struct syn_filter_node *node, const char *bridge, const char *other,
                    bool remove, struct syn_buf *out);
/** Without it, whatever of it is there; `last`: the account's. */
void syn_filter_remove(const struct syn_filter_node *node, const struct syn_filter_member *member,
                       bool last, struct syn_buf *out);

#endif
