/* Two tables of the same name, which nobody else touches: `inet` decides what is routed, `bridge`
 * what an instance may put on the wire at all.
 *
 *   instance --> [bridge prerouting: its own MAC and address, or dropped]
 *                  |-> same bridge  [no TCP to a guarded one; bridge forward: counted as the
 * account's]
 *                  |-> the node     [input: answers, what is open, its gateway's DNS; else refused]
 *                  |-> kin          [another bridge of the account: no TCP to a guarded one]
 *                  `-> elsewhere    [forward/out: no other bridge, no denied network, the
 *                                    instance's own rules; counted as egress] --> masquerade
 *   instance --> [divert: a service's address to the node's proxy] --> [input: that may come]
 *   outside  --> [prerouting: published port to instance] --> [forward/in: only those, and answers]
 *
 * What is diverted comes to an address of the node's in IPv4, and the proxy asks the kernel for the
 * one before. HAProxy cannot ask that of IPv6: there the address is the node's by a route, and the
 * port alone changes.
 *
 * Chains hold only what is the same for all; what differs by instance lies in sets and maps, so
 * that a packet's way is as long with a thousand instances as with one. The one exception are rules
 * that an instance asked for: a chain of its own.
 *
 * Counting in the bridge comes behind priority 0: where bridged packets are filtered as if routed,
 * somebody takes them away there and puts them back behind.
 *
 * Each text is one transaction. To add what is there changes nothing (but chains are flushed first
 * and so get their rules anew, which is invisible from outside); removing begins by adding, so it
 * finds everything whatever was there before. So both may be repeated after any interruption, and
 * nobody has to ask first what there is. */
#include "filter_priv.h"

#include <string.h>
#include <sys/socket.h>

static const char base_text[] =
    "add table inet %t\n"
    "add table bridge %t\n"
    "table inet %t {\n"
    " set nets { type ifname; }\n"
    " set same { type ifname . ifname; }\n"
    " set kin { type ifname . ifname; }\n"
    " set guarded4 { type ipv4_addr; }\n"
    " set guarded6 { type ipv6_addr; }\n"
    " set open4 { type inet_proto . ipv4_addr . inet_service; }\n"
    " set open6 { type inet_proto . ipv6_addr . inet_service; }\n"
    " set asked { type inet_proto . inet_service; }\n"
    " set deny4 { type ipv4_addr; flags interval; auto-merge; }\n"
    " set deny6 { type ipv6_addr; flags interval; auto-merge; }\n"
    " map egress4 { type ipv4_addr : counter; }\n"
    " map egress6 { type ipv6_addr : counter; }\n"
    " map node4 { type ipv4_addr : counter; }\n"
    " map node6 { type ipv6_addr : counter; }\n"
    " map policy4 { type ipv4_addr : verdict; }\n"
    " map policy6 { type ipv6_addr : verdict; }\n"
    " map publish4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }\n"
    " map publish6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }\n"
    " map public4 { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    " map public6 { type inet_proto . inet_service : ipv6_addr . inet_service; }\n"
    " map divert4 { type ipv4_addr . inet_service : inet_service; }\n"
    " map divert6 { type ipv6_addr . inet_service : inet_service; }\n"
    " set proxies { type inet_service; }\n"
    " chain refuse { }\n"
    " chain leave { }\n"
    " chain kin { }\n"
    " chain out { }\n"
    " chain in { }\n"
    " chain told { }\n"
    " chain node { }\n"
    " chain enter { }\n"
    " chain divert { }\n"
    " chain forward { type filter hook forward priority filter; policy accept; }\n"
    " chain input { type filter hook input priority filter; policy accept; }\n"
    " chain prerouting { type nat hook prerouting priority dstnat; policy accept; }\n"
    " chain output { type nat hook output priority -100; policy accept; }\n"
    " chain postrouting { type nat hook postrouting priority srcnat; policy accept; }\n"
    "}\n"
    "table bridge %t {\n"
    " set ports { type ifname; }\n"
    " set src4 { type ifname . ether_addr . ipv4_addr; }\n"
    " set src6 { type ifname . ether_addr . ipv6_addr; }\n"
    " set guarded { type ether_addr; }\n"
    " map account { type ifname : counter; }\n"
    " map received { type ifname : counter; }\n"
    " chain check { }\n"
    " chain prerouting { type filter hook prerouting priority -300; policy accept; }\n"
    " chain forward { type filter hook forward priority 10; policy accept; }\n"
    " chain postrouting { type filter hook postrouting priority 10; policy accept; }\n"
    "}\n"
    "flush set inet %t open4\n"
    "flush set inet %t open6\n"
    "flush set inet %t asked\n"
    "flush set inet %t deny4\n"
    "flush set inet %t deny6\n";

static const struct {
    const char *family, *chain, *rule;
} rules[] = {
    /* By a packet each time: the kernel sends only so many ICMP errors a second. */
    {"inet", "refuse", "meta l4proto tcp reject with tcp reset"},
    {"inet", "refuse", "reject with icmpx type admin-prohibited"},

    {"inet", "leave", "counter name ip saddr map @egress4"},
    {"inet", "leave", "counter name ip6 saddr map @egress6"},
    {"inet", "leave", "accept"},

    {"inet", "kin", "ct state established,related accept"},
    {"inet", "kin", "meta l4proto tcp ip daddr @guarded4 goto refuse"},
    {"inet", "kin", "meta l4proto tcp ip6 daddr @guarded6 goto refuse"},
    {"inet", "kin", "accept"},

    {"inet", "out", "oifname @nets goto refuse"},
    {"inet", "out", "ct state invalid drop"},
    {"inet", "out", "ct state established,related goto leave"},
    {"inet", "out", "ip daddr @deny4 goto refuse"},
    {"inet", "out", "ip6 daddr @deny6 goto refuse"},
    {"inet", "out", "ip saddr vmap @policy4"},
    {"inet", "out", "ip6 saddr vmap @policy6"},
    {"inet", "out", "goto leave"},

    {"inet", "in", "ct state established,related accept"},
    {"inet", "in", "ct status dnat accept"},
    {"inet", "in", "goto refuse"},

    {"inet", "told", "counter name ip saddr map @node4"},
    {"inet", "told", "counter name ip6 saddr map @node6"},
    {"inet", "told", "accept"},

    {"inet", "node", "ct state established,related goto told"},
    {"inet", "node", "meta l4proto . ip daddr . th dport @open4 goto told"},
    {"inet", "node", "meta l4proto . ip6 daddr . th dport @open6 goto told"},
    {"inet", "node", "tcp dport @proxies ct status dnat goto told"},
    /* At the address of the bridge that it came by. */
    {"inet", "node", "meta l4proto . th dport @asked fib daddr . iif type local goto told"},
    {"inet", "node", "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"},
    {"inet", "node", "goto refuse"},

    {"inet", "divert", "meta l4proto tcp redirect to :ip daddr . tcp dport map @divert4"},
    {"inet", "divert", "meta l4proto tcp dnat to :ip6 daddr . tcp dport map @divert6"},

    {"inet", "enter", "fib daddr type != local return"},
    {"inet", "enter", "dnat ip to meta l4proto . ip daddr . th dport map @publish4"},
    {"inet", "enter", "dnat ip6 to meta l4proto . ip6 daddr . th dport map @publish6"},
    {"inet", "enter", "dnat ip to meta l4proto . th dport map @public4"},
    {"inet", "enter", "dnat ip6 to meta l4proto . th dport map @public6"},

    /* Where somebody has bridged packets filtered as if routed, an account's own pass here too. */
    {"inet", "forward", "iifname . oifname @same accept"},
    {"inet", "forward", "iifname . oifname @kin goto kin"},
    {"inet", "forward", "iifname @nets jump out"},
    {"inet", "forward", "oifname @nets jump in"},
    {"inet", "input", "iifname @nets jump node"},
    {"inet", "input", "tcp dport @proxies goto refuse"},
    {"inet", "prerouting", "iifname != @nets jump enter"},
    {"inet", "prerouting", "iifname @nets jump divert"},
    {"inet", "output", "ip daddr != 127.0.0.0/8 jump enter"},
    {"inet", "output", "ip6 daddr != ::1 jump enter"},

    {"bridge", "check", "iifname . ether saddr . ip saddr @src4 return"},
    {"bridge", "check", "iifname . ether saddr . arp saddr ip @src4 return"},
    {"bridge", "check", "icmpv6 type nd-router-advert drop"},
    {"bridge", "check", "iifname . ether saddr . ip6 saddr @src6 return"},
    {"bridge", "check", "ip6 saddr { ::, fe80::/10 } meta l4proto ipv6-icmp return"},
    {"bridge", "check", "drop"},
    {"bridge", "prerouting", "iifname @ports jump check"},
    /* Not every kernel can refuse here. */
    {"bridge", "prerouting",
     "ether daddr @guarded tcp flags & (fin | syn | rst | ack) == syn counter drop"},
    /* What kernels say to their neighbours by themselves is nobody's traffic. */
    {"bridge", "forward", "icmpv6 type { 130-137, 143 } accept"},
    {"bridge", "forward", "meta protocol { ip, ip6 } counter name iifname map @account"},
    {"bridge", "postrouting", "icmpv6 type { 130-137, 143 } accept"},
    {"bridge", "postrouting", "meta protocol { ip, ip6 } counter name oifname map @received"},
};

/* `text` with %t for the table and %n for a number. */
static void
put(struct syn_buf *out, const char *text, const struct syn_filter_node *node, uint32_t number)
{
    for (; *text != '\0'; text++) {
        size_t len = strcspn(text, "%");

        syn_buf_add(out, text, len);
        text += len;
        if (*text == '\0')
            return;
        text++;
        assert(*text == 't' || *text == 'n');
        if (*text == 't')
            syn_buf_adds(out, node->table);
        else
            syn_buf_addf(out, "%06x", number);
    }
}

static const char *
family_digit(const struct syn_addr *addr)
{
    return addr->family == AF_INET ? "4" : "6";
}

static void
add_open(const struct syn_filter_node *node, struct syn_buf *out)
{
    char text[SYN_ADDR_TEXT_MAX];

    for (size_t i = 0; i < node->open_count; i++)
        syn_buf_addf(out, "add element inet %s open%s { %s . %s . %u }\n", node->table,
                     family_digit(&node->open[i].host),
                     syn_net_protocol_name(node->open[i].protocol),
                     syn_addr_format(&node->open[i].host, text), node->open[i].host_port);
}

static void
add_masquerade(const struct syn_filter_node *node, struct syn_buf *out)
{
    char text[SYN_PREFIX_TEXT_MAX];

    syn_buf_addf(out, "flush chain inet %s postrouting\n", node->table);
    syn_buf_addf(out, "add rule inet %s postrouting ip saddr %s oifname != @nets masquerade\n",
                 node->table, syn_prefix_format(&node->pool4, text));
    if (node->pool6.addr.family != 0)
        syn_buf_addf(out, "add rule inet %s postrouting ip6 saddr %s oifname != @nets masquerade\n",
                     node->table, syn_prefix_format(&node->pool6, text));
}

void
syn_filter_diverted(const struct syn_filter_node *node, struct syn_buf *out)
{
    char text[SYN_ADDR_TEXT_MAX];

    syn_buf_addf(out,
                 "flush map inet %s divert4\nflush map inet %s divert6\n"
                 "flush set inet %s proxies\n",
                 node->table, node->table, node->table);
    for (size_t i = 0; i < node->divert_count; i++) {
        const struct syn_filter_divert *divert = &node->divert[i];

        syn_buf_addf(out,
                     "add element inet %s divert%s { %s . %u : %u }\n"
                     "add element inet %s proxies { %u }\n",
                     node->table, family_digit(&divert->address),
                     syn_addr_format(&divert->address, text), divert->port, divert->to, node->table,
                     divert->to);
    }
}

void
syn_filter_base(const struct syn_filter_node *node, struct syn_buf *out)
{
    char text[SYN_PREFIX_TEXT_MAX];

    put(out, base_text, node, 0);
    for (size_t i = 0; i < SYN_LEN(rules); i++) {
        if (i == 0 || rules[i].family != rules[i - 1].family ||
            rules[i].chain != rules[i - 1].chain)
            syn_buf_addf(out, "flush chain %s %s %s\n", rules[i].family, node->table,
                         rules[i].chain);
    }
    for (size_t i = 0; i < SYN_LEN(rules); i++)
        syn_buf_addf(out, "add rule %s %s %s %s\n", rules[i].family, node->table, rules[i].chain,
                     rules[i].rule);
    add_masquerade(node, out);
    add_open(node, out);
    if (node->divert != NULL) /* else what an earlier process said holds on */
        syn_filter_diverted(node, out);
    if (node->dns)
        syn_buf_addf(out, "add element inet %s asked { udp . 53, tcp . 53 }\n", node->table);
    for (size_t i = 0; i < node->deny_count; i++)
        syn_buf_addf(out, "add element inet %s deny%s { %s }\n", node->table,
                     family_digit(&node->deny[i].addr), syn_prefix_format(&node->deny[i], text));
}

void
syn_filter_clear(const struct syn_filter_node *node, struct syn_buf *out)
{
    put(out,
        "add table inet %t\nadd table bridge %t\n"
        "delete table inet %t\ndelete table bridge %t\n",
        node, 0);
}

/* ---- one instance ---- */

static bool
has_policy(const struct syn_attachment *attachment)
{
    return attachment->rules_count > 0 || attachment->closed || attachment->connections_max > 0;
}

static void
add_rule(const struct syn_filter_node *node, uint32_t number,
         const struct syn_attachment_rule *rule, struct syn_buf *out)
{
    char text[SYN_PREFIX_TEXT_MAX];

    syn_buf_addf(out, "add rule inet %s p_%06x", node->table, number);
    if (rule->prefix.addr.family != 0)
        syn_buf_addf(out, " %s daddr %s", rule->prefix.addr.family == AF_INET ? "ip" : "ip6",
                     syn_prefix_format(&rule->prefix, text));
    if (rule->protocol != SYN_NET_ANY)
        syn_buf_addf(out, " meta l4proto %s", syn_net_protocol_name(rule->protocol));
    if (rule->port_last != 0)
        syn_buf_addf(out, " th dport %u-%u", rule->port_first, rule->port_last);
    syn_buf_adds(out, rule->allow ? " return\n" : " goto refuse\n");
}

static void
add_policy(const struct syn_filter_node *node, const struct syn_attachment *attachment,
           struct syn_buf *out)
{
    uint32_t number = attachment->number;

    put(out, "add chain inet %t p_%n\nflush chain inet %t p_%n\n", node, number);
    if (attachment->connections_max > 0)
        syn_buf_addf(out,
                     "add rule inet %s p_%06x ct count over %lld "
                     "goto refuse\n",
                     node->table, number, (long long)attachment->connections_max);
    for (size_t i = 0; i < attachment->rules_count; i++)
        add_rule(node, number, &attachment->rules[i], out);
    if (attachment->closed)
        syn_buf_addf(out, "add rule inet %s p_%06x goto refuse\n", node->table, number);
}

/* Every element is one line, "VERB element FAMILY TABLE SET { KEY : VALUE }", the value left out
 * when it is deleted: adding and removing cannot differ. */
struct elements {
    const struct syn_filter_node *node;
    struct syn_buf *out;
    bool remove;
};

/* `value` "" for a set. */
static void
element(const struct elements *to, const char *family, const char *set, const char *key,
        const char *value)
{
    bool mapped = !to->remove && value[0] != '\0';

    syn_buf_addf(to->out, "%s element %s %s %s { %s%s%s }\n", to->remove ? "delete" : "add", family,
                 to->node->table, set, key, mapped ? " : " : "", mapped ? value : "");
}

static void
publish(const struct elements *to, const struct syn_attachment_port *port,
        const struct syn_addr *address)
{
    bool any = port->host.family == 0;
    char key[96], value[96], host[SYN_ADDR_TEXT_MAX], inside[SYN_ADDR_TEXT_MAX], set[16];

    if (address->family == 0 || (!any && port->host.family != address->family))
        return;
    (void)snprintf(set, sizeof(set), "%s%s", any ? "public" : "publish", family_digit(address));
    (void)snprintf(key, sizeof(key), "%s%s%s . %u", syn_net_protocol_name(port->protocol),
                   any ? "" : " . ", syn_addr_format(&port->host, host), port->host_port);
    (void)snprintf(value, sizeof(value), "%s . %u", syn_addr_format(address, inside), port->port);
    element(to, "inet", set, key, value);
}

/* What is known by an address of one family. */
static void
address_elements(const struct elements *to, const struct syn_filter_member *member,
                 const struct syn_addr *address)
{
    uint32_t number = member->attachment->number;
    const uint8_t *mac = member->mac;
    char text[SYN_ADDR_TEXT_MAX], key[128], value[32], set[16];
    const char *digit = family_digit(address);

    if (address->family == 0)
        return;
    (void)syn_addr_format(address, text);
    (void)snprintf(set, sizeof(set), "egress%s", digit);
    (void)snprintf(value, sizeof(value), "\"e_%06x\"", number);
    element(to, "inet", set, text, value);
    (void)snprintf(set, sizeof(set), "node%s", digit);
    (void)snprintf(value, sizeof(value), "\"n_%06x\"", number);
    element(to, "inet", set, text, value);
    if (has_policy(member->attachment)) {
        (void)snprintf(set, sizeof(set), "policy%s", digit);
        (void)snprintf(value, sizeof(value), "jump p_%06x", number);
        element(to, "inet", set, text, value);
    }
    (void)snprintf(set, sizeof(set), "guarded%s", digit);
    if (member->attachment->guarded)
        element(to, "inet", set, text, "");
    (void)snprintf(set, sizeof(set), "src%s", digit);
    (void)snprintf(key, sizeof(key), "\"%s\" . %02x:%02x:%02x:%02x:%02x:%02x . %s", member->port,
                   mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], text);
    element(to, "bridge", set, key, "");
    for (size_t i = 0; i < member->attachment->ports_count; i++)
        publish(to, &member->attachment->ports[i], address);
}

static void
member_elements(const struct elements *to, const struct syn_filter_member *member)
{
    uint32_t number = member->attachment->number;
    const uint8_t *mac = member->mac;
    char key[32], value[32];

    if (member->attachment->guarded) {
        (void)snprintf(key, sizeof(key), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                       mac[3], mac[4], mac[5]);
        element(to, "bridge", "guarded", key, "");
    }
    address_elements(to, member, &member->address4);
    address_elements(to, member, &member->address6);
    (void)snprintf(key, sizeof(key), "\"%s\"", member->port);
    element(to, "bridge", "ports", key, "");
    (void)snprintf(value, sizeof(value), "\"a_%06x\"", number);
    element(to, "bridge", "account", key, value);
    (void)snprintf(value, sizeof(value), "\"r_%06x\"", number);
    element(to, "bridge", "received", key, value);
}

static void
bridge_elements(const struct elements *to, const char *bridge)
{
    char key[64];

    (void)snprintf(key, sizeof(key), "\"%s\"", bridge);
    element(to, "inet", "nets", key, "");
    (void)snprintf(key, sizeof(key), "\"%s\" . \"%s\"", bridge, bridge);
    element(to, "inet", "same", key, "");
}

void
syn_filter_kin(const struct syn_filter_node *node, const char *bridge, const char *other,
               bool remove, struct syn_buf *out)
{
    struct elements to = {.node = node, .out = out, .remove = false};
    char keys[2][64];

    (void)snprintf(keys[0], sizeof(keys[0]), "\"%s\" . \"%s\"", bridge, other);
    (void)snprintf(keys[1], sizeof(keys[1]), "\"%s\" . \"%s\"", other, bridge);
    for (size_t i = 0; i < SYN_LEN(keys); i++) {
        to.remove = false;
        element(&to, "inet", "kin", keys[i], "");
        to.remove = true;
        if (remove)
            element(&to, "inet", "kin", keys[i], "");
    }
}

static void
add_counter(const struct syn_filter_node *node, const char *family, char kind, uint32_t number,
            int64_t bytes, struct syn_buf *out)
{
    syn_buf_addf(out, "add counter %s %s %c_%06x { packets 0 bytes %lld; }\n", family, node->table,
                 kind, number, (long long)bytes);
}

void
syn_filter_add(const struct syn_filter_node *node, const struct syn_filter_member *member,
               struct syn_buf *out)
{
    const struct elements to = {.node = node, .out = out, .remove = false};
    uint32_t number = member->attachment->number;

    add_counter(node, "inet", 'e', number, member->usage.egress_bytes, out);
    add_counter(node, "inet", 'n', number, member->usage.node_bytes, out);
    add_counter(node, "bridge", 'a', number, member->usage.account_bytes, out);
    add_counter(node, "bridge", 'r', number, member->usage.received_bytes, out);
    if (has_policy(member->attachment))
        add_policy(node, member->attachment, out);
    bridge_elements(&to, member->bridge);
    member_elements(&to, member);
}

void
syn_filter_remove(const struct syn_filter_node *node, const struct syn_filter_member *member,
                  bool last, struct syn_buf *out)
{
    const struct elements to = {.node = node, .out = out, .remove = true};
    uint32_t number = member->attachment->number;

    syn_filter_add(node, member, out);
    member_elements(&to, member);
    if (last)
        bridge_elements(&to, member->bridge);
    if (has_policy(member->attachment))
        put(out, "flush chain inet %t p_%n\ndelete chain inet %t p_%n\n", node, number);
    put(out,
        "delete counter inet %t e_%n\ndelete counter inet %t n_%n\n"
        "delete counter bridge %t a_%n\ndelete counter bridge %t r_%n\n",
        node, number);
}
