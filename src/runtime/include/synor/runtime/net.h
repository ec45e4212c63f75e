/* Networks of instances on one node: a bridge for each account, and on it, for each instance, a
 * network namespace with eth0, its addresses and its policy.
 *
 *      outside <--- masquerade, published ports --- node --- bridge of account A --- eth0 :instance
 *                                                     \----- bridge of account B --- eth0 :instance
 *
 * Instances of an account reach each other. Those of two accounts do not, nor does an instance
 * reach the node's own services, nor anything from outside an instance but by a published port.
 * What leaves the bridge is counted apart from what stays in the account.
 *
 * Truth is in the kernel and in one record file for each attachment: whoever opens the folder next
 * sees the same. An attachment is made before the instance starts and outlives the agent. */
#ifndef SYNOR_RUNTIME_NET_H
#define SYNOR_RUNTIME_NET_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_NET_ID_MAX          127
#define SYN_NET_ACCOUNT_MAX     63
#define SYN_NET_NAME_MAX        16 /* an interface's, with the NUL */
#define SYN_NET_PATH_MAX        1024
#define SYN_NET_ADDR_MAX        46 /* a text address, with the NUL */
#define SYN_NET_PORTS_MAX       32
#define SYN_NET_RULES_MAX       64
#define SYN_NET_OPEN_MAX        32
#define SYN_NET_DIVERT_MAX      8192
#define SYN_NET_CONNECTIONS_MAX 1000000
#define SYN_NET_DNS_PORT        53
#define SYN_NET_RATE_MIN        INT64_C(8000) /* bits a second */
#define SYN_NET_RATE_MAX        INT64_C(400000000000)

struct syn_net; /* the networks of one node */

enum syn_net_protocol {
    SYN_NET_TCP,
    SYN_NET_UDP,
    SYN_NET_ANY, /* of a rule: whatever runs over IP */
};

/** What instances may reach on the node itself: its DNS, its balancer. */
struct syn_net_open {
    enum syn_net_protocol protocol; /* TCP or UDP */
    const char *address;            /* one of the node's, of either family */
    uint16_t port;
};

struct syn_net_options {
    const char *dir; /* absolute, private: records and namespaces; made when missing */
    /** "10.200.0.0/16" and "fd00:1::/48": every address that is handed out lies in them. NULL: what
     *  the node does not use, chosen once and kept. `none` for pool6: no IPv6. */
    const char *pool4, *pool6;
    /** The network of services' addresses of IPv6, which are diverted within it: the node takes
     *  what its instances send there for its own. NULL: none are. */
    const char *services6;
    uint8_t net_prefix; /* of one account's share of pool4; 0: 24 */
    const struct syn_net_open *open;
    size_t open_count;
    /** Somebody answers DNS at the gateway of each account's network: instances reach port 53, of
     *  UDP and TCP, of their own gateway, and of no other. */
    bool dns;
    /** NULL-ended: networks outside that no instance reaches, whatever its rules. NULL: link-local
     *  addresses, behind which clouds keep their machines' secrets. */
    const char *const *deny;
};

/** A port of the instance that the outside reaches at the node. */
struct syn_net_port {
    const char *host_address;       /* one of the node's but loopback; NULL: all of them */
    enum syn_net_protocol protocol; /* TCP or UDP */
    uint16_t host_port;
    uint16_t port; /* the instance's */
};

/** One line of what the instance may reach outside; the first that fits decides. */
struct syn_net_rule {
    bool allow;
    enum syn_net_protocol protocol;
    const char *cidr;               /* "203.0.113.0/24", "2001:db8::/32"; NULL: everywhere */
    uint16_t port_first, port_last; /* 0, 0: every port; only with TCP or UDP */
};

/** Borrowed for the call. A zero in a limit means none. */
struct syn_net_spec {
    const char *id;      /* of letters, digits, '-', '_', '.': the instance's, unique on the node */
    const char *account; /* the same characters; instances of one account share a bridge */
    const struct syn_net_port *ports;
    size_t ports_count;
    const struct syn_net_rule *rules;
    size_t rules_count;
    bool closed;  /* what no rule allows is refused; else what no rule refuses is allowed */
    bool guarded; /* others of the account begin no TCP connection with it: the node alone does */
    int64_t receive_bits_s, send_bits_s;
    int64_t connections_max; /* open at a time from the instance to outside */
};

/** Where an instance is. Plain values: copy freely. */
struct syn_net_place {
    char netns[SYN_NET_PATH_MAX]; /* the namespace, a path for the OCI bundle or setns(2) */
    char bridge[SYN_NET_NAME_MAX];
    char port[SYN_NET_NAME_MAX]; /* the node's end of eth0; also the name of its counters */
    char address4[SYN_NET_ADDR_MAX], gateway4[SYN_NET_ADDR_MAX];
    char address6[SYN_NET_ADDR_MAX], gateway6[SYN_NET_ADDR_MAX]; /* "" without IPv6 */
    int64_t prefix4, prefix6;                                    /* lengths */
};

/** Bytes of IP packets since the attachment, headers included. They never fall. */
struct syn_net_usage {
    int64_t egress_bytes;   /* left the node: what is charged */
    int64_t node_bytes;     /* to the node itself: answers to its balancer and its checks */
    int64_t account_bytes;  /* to instances of the same account on this node */
    int64_t received_bytes; /* from anywhere */
};

/**
 * Take charge of the networks in options->dir, and of what an earlier process left there. Instances
 * may be running. The node is changed (rules, forwarding) with the first attachment, not here.
 *
 * Owner: *ret_net is the caller's; options are copied. Blocks: milliseconds.
 * Returns 0; UNSUPPORTED without root or netfilter; CONFLICT when another process has the folder or
 * the pool is in use; INVALID, IO, NOMEM.
 */
SYN_MUST int syn_net_open(const struct syn_net_options *options, struct syn_net **ret_net,
                          struct syn_err *err);
/** Attachments stay; without any, the node's rules go. NULL is fine. Returns NULL. */
struct syn_net *syn_net_close(struct syn_net *net);
void syn_net_close_scope(struct syn_net **slot);

/**
 * Give an instance its network. When it returns, `netns` has lo and eth0 up, with addresses and
 * routes. For an id that is attached already everything missing is made again, with the same
 * addresses. On failure nothing is left.
 *
 * Thread: any. Blocks: a few ms.
 * Returns 0; INVALID (a field, named); CONFLICT (a port that another instance publishes; an id that
 * is attached with another spec); LIMIT (no address left); UNSUPPORTED in one sentence where this
 * cannot be (no libnftables, a kernel without nftables, bridges or veth pairs); IO, NOMEM.
 */
SYN_MUST int syn_net_attach(struct syn_net *net, const struct syn_net_spec *spec,
                            struct syn_net_place *ret_place, struct syn_err *err);
/**
 * Take it away again: namespace (with what still runs in it cut off), interfaces, rules, addresses;
 * with an account's last instance its bridge. Works on anything half made; an unknown id is fine.
 *
 * `ret_usage` (may be NULL) is the last word about its traffic, zero for an unknown id.
 * Thread: any. Blocks: a few ms. Returns 0; IO (call again).
 */
SYN_MUST int syn_net_detach(struct syn_net *net, const char *id, struct syn_net_usage *ret_usage,
                            struct syn_err *err);
/**
 * What was attached under an account of its own, made up for it, is `account`'s from now on. It
 * keeps its addresses and its bridge, where no other is ever plugged in: what the account has on
 * its own bridge is reached by way of the node, as if it were beside it.
 *
 * Thread: any. Blocks: a few ms. Returns 0, also where it is that account's already; NOTFOUND;
 * INVALID; IO, NOMEM.
 */
SYN_MUST int syn_net_assign(struct syn_net *net, const char *id, const char *account,
                            struct syn_err *err);
/** Returns 0; NOTFOUND. */
SYN_MUST int syn_net_find(struct syn_net *net, const char *id, struct syn_net_place *ret_place,
                          struct syn_err *err);
/** Blocks: one question to the kernel. Returns 0; NOTFOUND, IO. */
SYN_MUST int syn_net_usage(struct syn_net *net, const char *id, struct syn_net_usage *ret_usage,
                           struct syn_err *err);

/** Is the attachment of `id` still somebody's? It may not call back into the networks. */
typedef bool (*syn_net_keep_fn)(void *arg, const char *id);
/**
 * Detach what `keep` (NULL: keeps all) does not claim, remove whatever of ours is in the kernel
 * without a record, and make again what is missing, were it all (a restart of the machine, a
 * flushed rule set). Call it after opening, once it is known what runs, and from time to time.
 *
 * Thread: any. Blocks: milliseconds an attachment where something is missing.
 * Returns 0; the first error, after everything was tried.
 */
SYN_MUST int syn_net_sweep(struct syn_net *net, syn_net_keep_fn keep, void *arg,
                           struct syn_err *err);

/** What instances send by TCP to an address and port, which are no machine's, comes to a port of
 *  this node instead. Who listens there is told where it was sent: of IPv4 by SO_ORIGINAL_DST, of
 *  IPv6 as his own address, which is the first one, with his own port. */
struct syn_net_divert {
    const char *address; /* IPv4, or IPv6 within services6 */
    uint16_t port;
    uint16_t to;
};
/**
 * Divert this, and nothing else, from now on. The ports that it is diverted to are reached by
 * nothing else, of instances or from outside. Connections that are open stay what they are.
 *
 * Owner: copied. Thread: any. Blocks: milliseconds. Returns 0; INVALID; LIMIT; IO, NOMEM.
 */
SYN_MUST int syn_net_divert(struct syn_net *net, const struct syn_net_divert *rows, size_t count,
                            struct syn_err *err);

/** Can this machine have such networks? Makes and removes some in a namespace that is gone
 *  afterwards. Returns 0; UNSUPPORTED in one sentence. Blocks: tens of ms. */
SYN_MUST int syn_net_probe(struct syn_err *err);
/** Can names be answered at gateways, on SYN_NET_DNS_PORT? Returns 0; CONFLICT when another program
 *  has that port of every address; UNSUPPORTED in one sentence. */
SYN_MUST int syn_net_probe_dns(struct syn_err *err);

#endif
