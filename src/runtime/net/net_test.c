/* Networks for real, as root in a network namespace of this test's own: the machine's tables and
 * interfaces are never touched. It plays the node; `outside` is another one behind a cable. */
#include <synor/runtime/net.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/netfilter_ipv4.h> /* behind netinet/in.h */

#include <synor/base/child.h>
#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/world.h>

#include "../native/file_priv.h"
#include "link_priv.h"
#include "net_priv.h"
#include "net_testing.h"
#include "netlink_priv.h"
#include "ns_priv.h"

#define NODE4    "192.0.2.1"
#define NODE6    "2001:db8::1"
#define NODE_MTU 1400
#define NFT      "/usr/sbin/nft"
#define OUT4     "192.0.2.2"
#define OUT6     "2001:db8::2"
#define DGRAMS   50
#define CHURN    200
#define SERVICE  8080

static char root[SYN_PATH_MAX], outside[SYN_PATH_MAX + 16], dir[SYN_PATH_MAX + 16];

/* ---- the world ---- */

static void
add_address(int route, const char *link, const char *text)
{
    struct syn_prefix prefix = {0};
    struct syn_err err = {0};

    assert_done(syn_prefix_parse(text, "address", &prefix, &err), &err);
    assert_done(syn_link_address(route, link, &prefix, &err), &err);
}

static void
make_outside(void)
{
    struct syn_addr world = {0};
    struct syn_link_pair pair = {.name = "up0", .peer = "eth0", .mtu = NODE_MTU};
    struct syn_err err = {0};
    SYN_FD(route);
    SYN_FD(inside);
    SYN_FD(ns);
    bool fresh = false;

    assert_done(syn_nl_open(NETLINK_ROUTE, &route, &err), &err);
    assert_done(syn_link_up(route, "lo", 0, &err), &err);
    assert_done(syn_ns_create(outside, &fresh, &ns, &inside, &err), &err);
    assert_true(fresh);
    pair.peer_netns = ns;
    assert_done(syn_link_pair(route, &pair, &err), &err);
    assert_done(syn_link_up(route, "up0", 0, &err), &err);
    add_address(route, "up0", NODE4 "/24");
    add_address(route, "up0", NODE6 "/64");
    assert_done(syn_link_up(inside, "eth0", 0, &err), &err);
    add_address(inside, "eth0", OUT4 "/24");
    add_address(inside, "eth0", OUT6 "/64");
    assert_done(syn_link_up(inside, "lo", 0, &err), &err);
    assert_done(syn_addr_parse(OUT4, "outside", &world, &err), &err);
    assert_done(syn_link_default_route(route, "up0", &world, &err), &err);
}

/* Routes to the node for everything, as a neighbour in the same network could set them. */
static void
route_to_node(void)
{
    struct syn_addr node4 = {0}, node6 = {0};
    struct syn_err err = {0};
    SYN_FD(inside);
    SYN_FD(ns);
    bool fresh = false;

    assert_done(syn_ns_create(outside, &fresh, &ns, &inside, &err), &err);
    assert_done(syn_addr_parse(NODE4, "node", &node4, &err), &err);
    assert_done(syn_addr_parse(NODE6, "node", &node6, &err), &err);
    assert_done(syn_link_default_route(inside, "eth0", &node4, &err), &err);
    assert_done(syn_link_default_route(inside, "eth0", &node6, &err), &err);
}

static int
set_up(void **state)
{
    static bool made;

    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: must run as root\n");
        skip();
    }
    if (access(NFT, X_OK) < 0) {
        print_message("skipped: no " NFT "\n");
        skip();
    }
    if (!made) {
        if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0) {
            print_message("skipped: no namespaces: %s\n", strerror(errno));
            skip();
        }
        (void)snprintf(root, sizeof(root), "%s", syn_test_dir());
        (void)snprintf(outside, sizeof(outside), "%s/outside", root);
        make_outside();
        route_to_node();
        made = true;
    }
    return 0;
}

static struct syn_net *
open_net(const char *name)
{
    static const struct syn_net_open open[] = {{SYN_NET_TCP, NODE4, 53}, {SYN_NET_TCP, NODE6, 53}};
    const struct syn_net_options options = {.dir = dir,
                                            .services6 = NET_SIX,
                                            .net_prefix = 28,
                                            .open = open,
                                            .open_count = SYN_LEN(open)};
    struct syn_net *net = NULL;
    struct syn_err err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/%s", root, name);
    assert_done(syn_net_open(&options, &net, &err), &err);
    return net;
}

static struct syn_net_usage
usage(struct syn_net *net, const char *id)
{
    struct syn_net_usage used = {0};
    struct syn_err err = {0};

    assert_done(syn_net_usage(net, id, &used, &err), &err);
    return used;
}

/* ---- what is left ---- */

static unsigned
count_entries(const char *below)
{
    char path[SYN_PATH_MAX + 32];
    const struct dirent *entry;
    unsigned found = 0;
    DIR *folder;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, below);
    folder = opendir(path);
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL)
        found += entry->d_name[0] != '.';
    (void)closedir(folder);
    return found;
}

/* Nothing of any instance: interfaces, namespaces, records, counters, elements. */
static void
assert_nothing_left(void)
{
    assert_int_equal(net_count_links(), 0);
    assert_int_equal(count_entries("ns"), 0);
    assert_int_equal(count_entries("at"), 0);
    assert_int_equal(net_count_rules("elements = { \"sy"), 0);
    assert_int_equal(net_count_rules("counter e_") + net_count_rules("counter n_"), 0);
    assert_int_equal(net_count_rules("counter a_") + net_count_rules("counter r_"), 0);
    assert_int_equal(net_count_rules("chain p_"), 0);
    assert_int_equal(net_count_rules("elements = { 10."), 0);
}

/* ---- tests ---- */

static void
accounts_do_not_meet(void **state)
{
    struct syn_net *net = open_net("meet");
    struct syn_net_place a1 = net_attach(net, "a-1", "acme", false),
                         a2 = net_attach(net, "a-2", "acme", false),
                         b1 = net_attach(net, "b-1", "bolt", false);
    SYN_FD(a4);
    SYN_FD(a6);
    SYN_FD(b4);
    SYN_FD(b6);

    (void)state;
    a4 = net_bound(a2.netns, a2.address4, SERVICE, SOCK_STREAM);
    a6 = net_bound(a2.netns, a2.address6, SERVICE, SOCK_STREAM);
    b4 = net_bound(b1.netns, b1.address4, SERVICE, SOCK_STREAM);
    b6 = net_bound(b1.netns, b1.address6, SERVICE, SOCK_STREAM);
    assert_string_equal(a1.bridge, a2.bridge);
    assert_string_not_equal(a1.bridge, b1.bridge);
    assert_true(net_reaches(a1.netns, a2.address4, SERVICE));
    assert_true(net_reaches(a1.netns, a2.address6, SERVICE));
    assert_false(net_reaches(a1.netns, b1.address4, SERVICE));
    assert_false(net_reaches(a1.netns, b1.address6, SERVICE));
    /* The node's own checks and its balancer reach both; nobody outside reaches any. */
    assert_true(net_reaches(NULL, b1.address4, SERVICE));
    assert_true(net_reaches(NULL, b1.address6, SERVICE));
    assert_false(net_reaches(outside, b1.address4, SERVICE));
    assert_false(net_reaches(outside, b1.address6, SERVICE));
    net_detach(net, "a-1");
    net_detach(net, "a-2");
    assert_true(net_reaches(NULL, b1.address4, SERVICE));
    net_detach(net, "b-1");
    assert_nothing_left();
    (void)syn_net_close(net);
    assert_int_equal(net_count_rules("table inet synor_"), 0);
}

/* Of its account's, the node alone begins a connection; what it asks itself is answered. */
static void
a_guarded_one_is_the_nodes(void **state)
{
    struct syn_net *net = open_net("guard");
    const struct syn_net_spec spec = {.id = "f-1", .account = "acme", .guarded = true};
    struct syn_net_place a = net_attach(net, "a-1", "acme", false), f;
    struct pollfd tries[2] = {{.events = POLLOUT}, {.events = POLLOUT}};
    struct syn_err err = {0};
    SYN_FD(a4);
    SYN_FD(f4);
    SYN_FD(f6);

    (void)state;
    assert_done(syn_net_attach(net, &spec, &f, &err), &err);
    a4 = net_bound(a.netns, a.address4, SERVICE, SOCK_STREAM);
    f4 = net_bound(f.netns, f.address4, SERVICE, SOCK_STREAM);
    f6 = net_bound(f.netns, f.address6, SERVICE, SOCK_STREAM);
    assert_true(net_reaches(NULL, f.address4, SERVICE));
    assert_true(net_reaches(NULL, f.address6, SERVICE));
    assert_true(net_reaches(f.netns, a.address4, SERVICE));
    assert_int_equal(net_count_rules("counter packets 0 bytes 0 drop"), 1);
    tries[0].fd = net_begin(a.netns, f.address4, SERVICE);
    while (net_count_rules("counter packets 0 bytes 0 drop") == 1)
        ;
    tries[1].fd = net_begin(a.netns, f.address6, SERVICE);
    assert_int_equal(poll(tries, 2, 100), 0);
    (void)close(tries[0].fd);
    (void)close(tries[1].fd);
    net_detach(net, "f-1");
    net_detach(net, "a-1");
    assert_nothing_left();
    (void)syn_net_close(net);
}

static void
node_is_closed_but_for_what_is_open(void **state)
{
    static const char *const addresses[] = {NODE4, NODE6};
    struct syn_net *net = open_net("node");
    struct syn_net_place place = net_attach(net, "one", "acme", false);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(addresses); i++) {
        SYN_FD(dns);
        SYN_FD(ssh);

        dns = net_bound(NULL, addresses[i], 53, SOCK_STREAM);
        ssh = net_bound(NULL, addresses[i], 22, SOCK_STREAM);
        assert_true(net_reaches(outside, addresses[i], 22));
        assert_true(net_reaches(place.netns, addresses[i], 53));
        assert_false(net_reaches(place.netns, addresses[i], 22));
        (void)close(ssh);
        ssh = net_bound(NULL, i == 0 ? place.gateway4 : place.gateway6, 22, SOCK_STREAM);
        assert_false(net_reaches(place.netns, i == 0 ? place.gateway4 : place.gateway6, 22));
    }
    net_detach(net, "one");
    (void)syn_net_close(net);
}

/* An instance asks its own gateway for names, by UDP and TCP, and nobody else's; and only where
 * somebody answers there. */
static void
names_are_asked_at_the_own_gateway(void **state)
{
    for (int dns = 1; dns >= 0; dns--) {
        const struct syn_net_options options = {.dir = dir, .net_prefix = 28, .dns = dns > 0};
        struct syn_net *net = NULL;
        struct syn_net_place acme, bolt;
        struct sockaddr_storage from;
        struct syn_err err = {0};
        SYN_FD(ours);
        SYN_FD(theirs);
        SYN_FD(beside);
        SYN_FD(udp);
        SYN_FD(asker);

        (void)state;
        (void)snprintf(dir, sizeof(dir), "%s/names%d", root, dns);
        assert_done(syn_net_open(&options, &net, &err), &err);
        acme = net_attach(net, "a-1", "acme", false);
        bolt = net_attach(net, "b-1", "bolt", false);
        ours = net_bound(NULL, acme.gateway4, 53, SOCK_STREAM);
        theirs = net_bound(NULL, bolt.gateway4, 53, SOCK_STREAM);
        beside = net_bound(NULL, acme.gateway4, 54, SOCK_STREAM);
        assert_int_equal(net_reaches(acme.netns, acme.gateway4, 53), dns);
        assert_false(net_reaches(acme.netns, bolt.gateway4, 53));
        assert_false(net_reaches(acme.netns, acme.gateway4, 54));
        if (dns > 0) {
            udp = net_bound(NULL, acme.gateway4, 53, SOCK_DGRAM);
            asker = net_socket_in(acme.netns, AF_INET, SOCK_DGRAM);
            net_send_dgrams(asker, acme.gateway4, 53, 1);
            net_recv_dgrams(udp, 1, &from);
        }
        net_detach(net, "a-1");
        net_detach(net, "b-1");
        assert_nothing_left();
        (void)syn_net_close(net);
    }
}

static void
outside_is_open_but_for_what_is_denied(void **state)
{
    const struct syn_net_rule rules[] = {
        {.allow = true,
         .protocol = SYN_NET_TCP,
         .cidr = "192.0.2.0/24",
         .port_first = 443,
         .port_last = 444},
        {.allow = true, .protocol = SYN_NET_ANY, .cidr = "2001:db8::/32"},
        {.allow = false, .protocol = SYN_NET_TCP},
    };
    struct syn_net *net = open_net("egress");
    struct syn_net_spec spec = {.id = "ruled",
                                .account = "acme",
                                .rules = rules,
                                .rules_count = SYN_LEN(rules),
                                .closed = true};
    struct syn_net_place ruled, free = net_attach(net, "free", "acme", false);
    struct syn_err err = {0};
    SYN_FD(web4);
    SYN_FD(alt4);
    SYN_FD(ssh4);
    SYN_FD(ssh6);
    SYN_FD(secrets);
    SYN_FD(inside);
    SYN_FD(ns);
    bool fresh;

    (void)state;
    assert_done(syn_net_attach(net, &spec, &ruled, &err), &err);
    assert_done(syn_ns_create(outside, &fresh, &ns, &inside, &err), &err);
    add_address(inside, "eth0", "169.254.169.254/32");
    web4 = net_bound(outside, OUT4, 443, SOCK_STREAM);
    alt4 = net_bound(outside, OUT4, 445, SOCK_STREAM);
    ssh4 = net_bound(outside, OUT4, 22, SOCK_STREAM);
    ssh6 = net_bound(outside, OUT6, 22, SOCK_STREAM);
    secrets = net_bound(outside, "169.254.169.254", 80, SOCK_STREAM);
    assert_true(net_reaches(free.netns, OUT4, 22));
    assert_true(net_reaches(free.netns, OUT6, 22));
    assert_true(net_reaches(ruled.netns, OUT4, 443));
    assert_true(net_reaches(ruled.netns, OUT6, 22));
    assert_false(net_reaches(ruled.netns, OUT4, 445));
    assert_false(net_reaches(ruled.netns, OUT4, 22));
    assert_false(net_reaches(free.netns, "169.254.169.254", 80));
    net_detach(net, "ruled");
    net_detach(net, "free");
    assert_nothing_left();
    (void)syn_net_close(net);
}

static void
only_what_is_published_is_reached(void **state)
{
    const struct syn_net_port ports[] = {
        {.protocol = SYN_NET_TCP, .host_port = 80, .port = SERVICE},
        {.protocol = SYN_NET_TCP, .host_address = NODE4, .host_port = 8081, .port = SERVICE},
        {.protocol = SYN_NET_UDP, .host_address = NODE6, .host_port = 8082, .port = SERVICE},
    };
    struct syn_net *net = open_net("publish");
    struct syn_net_spec spec = {
        .id = "web", .account = "acme", .ports = ports, .ports_count = SYN_LEN(ports)};
    struct syn_net_place web, other;
    struct sockaddr_storage from;
    struct syn_err err = {0};
    SYN_FD(tcp4);
    SYN_FD(tcp6);
    SYN_FD(udp6);
    SYN_FD(asker);

    (void)state;
    assert_done(syn_net_attach(net, &spec, &web, &err), &err);
    other = net_attach(net, "other", "bolt", false);
    tcp4 = net_bound(web.netns, web.address4, SERVICE, SOCK_STREAM);
    tcp6 = net_bound(web.netns, web.address6, SERVICE, SOCK_STREAM);
    udp6 = net_bound(web.netns, web.address6, SERVICE, SOCK_DGRAM);
    assert_true(net_reaches(outside, NODE4, 80));
    assert_true(net_reaches(outside, NODE6, 80));
    assert_true(net_reaches(outside, NODE4, 8081));
    assert_false(net_reaches(outside, NODE6, 8081));
    assert_false(net_reaches(outside, NODE4, SERVICE));
    assert_true(net_reaches(NULL, NODE4, 80));
    /* Another account does not come in by the front door either. */
    assert_false(net_reaches(other.netns, NODE4, 80));
    asker = net_socket_in(outside, AF_INET6, SOCK_DGRAM);
    net_send_dgrams(asker, NODE6, 8082, 1);
    net_recv_dgrams(udp6, 1, &from);
    /* One port has one owner. */
    spec.id = "late";
    assert_code(syn_net_attach(net, &spec, &other, &err), SYN_E_CONFLICT, &err);
    net_detach(net, "web");
    assert_false(net_reaches(outside, NODE4, 80));
    assert_done(syn_net_attach(net, &spec, &web, &err), &err);
    net_detach(net, "late");
    net_detach(net, "other");
    assert_nothing_left();
    (void)syn_net_close(net);
}

static void
bytes_are_counted_where_they_go(void **state)
{
    struct syn_net *net = open_net("count");
    struct syn_net_place a1 = net_attach(net, "a-1", "acme", false),
                         a2 = net_attach(net, "a-2", "acme", false);
    const int64_t v4 = INT64_C(1028) * DGRAMS, v6 = INT64_C(1048) * DGRAMS; /* with headers */
    struct syn_net_usage used;
    struct sockaddr_storage from;
    SYN_FD(out4);
    SYN_FD(out6);
    SYN_FD(near4);
    SYN_FD(node4);
    SYN_FD(from4);
    SYN_FD(from6);

    (void)state;
    out4 = net_bound(outside, OUT4, 9000, SOCK_DGRAM);
    out6 = net_bound(outside, OUT6, 9000, SOCK_DGRAM);
    near4 = net_bound(a2.netns, a2.address4, 9000, SOCK_DGRAM);
    node4 = net_bound(NULL, a1.gateway4, 9000, SOCK_DGRAM);
    from4 = net_bound(a1.netns, a1.address4, 9001, SOCK_DGRAM);
    from6 = net_bound(a1.netns, a1.address6, 9001, SOCK_DGRAM);
    net_send_dgrams(from4, OUT4, 9000, DGRAMS);
    net_recv_dgrams(out4, DGRAMS, &from);
    used = usage(net, "a-1");
    assert_int_equal(used.egress_bytes, v4);
    assert_int_equal(used.account_bytes + used.node_bytes + used.received_bytes, 0);
    net_send_dgrams(from6, OUT6, 9000, DGRAMS);
    net_recv_dgrams(out6, DGRAMS, &from);
    assert_int_equal(usage(net, "a-1").egress_bytes, v4 + v6);
    net_send_dgrams(from4, a2.address4, 9000, DGRAMS);
    net_recv_dgrams(near4, DGRAMS, &from);
    used = usage(net, "a-1");
    assert_int_equal(used.egress_bytes, v4 + v6);
    assert_int_equal(used.account_bytes, v4);
    assert_int_equal(usage(net, "a-2").received_bytes, v4);
    /* The node asks, the instance answers. */
    net_send_dgrams(node4, a1.address4, 9001, DGRAMS);
    net_recv_dgrams(from4, DGRAMS, &from);
    net_send_dgrams(from4, a1.gateway4, 9000, DGRAMS);
    net_recv_dgrams(node4, DGRAMS, &from);
    used = usage(net, "a-1");
    assert_int_equal(used.egress_bytes, v4 + v6);
    assert_int_equal(used.node_bytes, v4);
    assert_int_equal(used.received_bytes, v4);
    assert_int_equal(usage(net, "a-2").egress_bytes, 0);
    net_detach(net, "a-1");
    net_detach(net, "a-2");
    (void)syn_net_close(net);
}

/* A stream counts its payload and headers, and nothing else. */
static void
stream_is_counted(void **state)
{
    struct syn_net *net = open_net("stream");
    struct syn_net_place place = net_attach(net, "one", "acme", false);
    const size_t total = (size_t)4 << 20;
    static char data[65536];
    struct syn_net_usage used = {0};
    struct syn_err err = {0};
    size_t sent = 0, got = 0;
    SYN_FD(listener);
    SYN_FD(sender);
    SYN_FD(receiver);

    (void)state;
    listener = net_bound(outside, OUT4, 9000, SOCK_STREAM);
    sender = net_dial(place.netns, OUT4, 9000);
    assert_true(sender >= 0);
    receiver = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(receiver >= 0);
    while (got < total) {
        struct pollfd fds[2] = {{.fd = receiver, .events = POLLIN},
                                {.fd = sender, .events = sent < total ? POLLOUT : 0}};

        assert_true(poll(fds, 2, NET_WAIT_MS) > 0);
        if (fds[1].revents & POLLOUT) {
            ssize_t one = send(sender, data, SYN_MIN(sizeof(data), total - sent), MSG_DONTWAIT);

            sent += one > 0 ? (size_t)one : 0;
        }
        if (fds[0].revents & POLLIN) {
            ssize_t one = recv(receiver, data, sizeof(data), MSG_DONTWAIT);

            got += one > 0 ? (size_t)one : 0;
        }
    }
    assert_done(syn_net_detach(net, "one", &used, &err), &err);
    assert_true(used.egress_bytes >= (int64_t)total);
    /* 52 bytes of headers for each 1,448 of payload at worst, and as much again for what TCP sends
     * twice. */
    assert_true(used.egress_bytes <= (int64_t)total * 108 / 100);
    assert_int_equal(used.account_bytes + used.node_bytes, 0);
    (void)syn_net_close(net);
}

static void
nobody_speaks_for_another(void **state)
{
    struct syn_net *net = open_net("spoof");
    struct syn_net_place a1 = net_attach(net, "a-1", "acme", false),
                         a2 = net_attach(net, "a-2", "acme", false);
    char theirs[SYN_ADDR_TEXT_MAX + 4], text[SYN_ADDR_TEXT_MAX];
    struct sockaddr_storage from;
    struct sockaddr_in in;
    struct syn_addr addr = {.family = AF_INET};
    struct syn_err err = {0};
    SYN_FD(sink);
    SYN_FD(liar);
    SYN_FD(honest);
    SYN_FD(inside);
    SYN_FD(ns);
    bool fresh;

    (void)state;
    assert_done(syn_ns_create(a1.netns, &fresh, &ns, &inside, &err), &err);
    assert_false(fresh);
    (void)snprintf(theirs, sizeof(theirs), "%s/32", a2.address4);
    add_address(inside, "eth0", theirs);
    sink = net_bound(outside, OUT4, 9000, SOCK_DGRAM);
    liar = net_bound(a1.netns, a2.address4, 9001, SOCK_DGRAM);
    honest = net_bound(a1.netns, a1.address4, 9002, SOCK_DGRAM);
    net_send_dgrams(liar, OUT4, 9000, DGRAMS);
    net_send_dgrams(honest, OUT4, 9000, 1);
    /* On one way packets keep their order: the first that arrives is the honest one. */
    net_recv_dgrams(sink, 1, &from);
    memcpy(&in, &from, sizeof(in));
    memcpy(addr.bytes, &in.sin_addr, 4);
    assert_string_equal(syn_addr_format(&addr, text), NODE4);
    assert_int_equal(usage(net, "a-2").egress_bytes, 0);
    assert_int_equal(usage(net, "a-1").egress_bytes, NET_DGRAM + 28);
    net_detach(net, "a-1");
    net_detach(net, "a-2");
    (void)syn_net_close(net);
}

static void
limits_hold(void **state)
{
    const int64_t bits = 8000000;
    const unsigned count = 400; /* of NET_DGRAM bytes: 0.4 s at that rate, less the burst */
    struct syn_net *net = open_net("limits");
    struct syn_net_spec spec = {.id = "slow",
                                .account = "acme",
                                .send_bits_s = bits,
                                .receive_bits_s = bits,
                                .connections_max = 2};
    struct syn_net_place place;
    struct sockaddr_storage from;
    struct syn_err err = {0};
    int64_t began, least = (int64_t)count * NET_DGRAM * 8 * 1000 / bits - 100;
    SYN_FD(sink);
    SYN_FD(sender);
    SYN_FD(listener);
    SYN_FD(one);
    SYN_FD(two);

    (void)state;
    assert_done(syn_net_attach(net, &spec, &place, &err), &err);
    sink = net_bound(outside, OUT4, 9000, SOCK_DGRAM);
    sender = net_bound(place.netns, place.address4, 9001, SOCK_DGRAM);
    began = syn_mono_ms(syn_world_system());
    net_send_dgrams(sender, OUT4, 9000, 100);
    net_recv_dgrams(sink, 100, &from);
    for (unsigned i = 0; i < count - 100; i += 50) {
        net_send_dgrams(sender, OUT4, 9000, 50);
        net_recv_dgrams(sink, 50, &from);
    }
    assert_true(syn_mono_ms(syn_world_system()) - began >= least);
    began = syn_mono_ms(syn_world_system());
    (void)close(sink);
    sink = net_bound(NULL, place.gateway4, 9000, SOCK_DGRAM);
    for (unsigned i = 0; i < count; i += 50) {
        net_send_dgrams(sink, place.address4, 9001, 50);
        net_recv_dgrams(sender, 50, &from);
    }
    assert_true(syn_mono_ms(syn_world_system()) - began >= least);
    listener = net_bound(outside, OUT4, 9000, SOCK_STREAM);
    one = net_dial(place.netns, OUT4, 9000);
    assert_true(one >= 0);
    /* The datagrams' flow counts too. */
    two = net_dial(place.netns, OUT4, 9000);
    assert_int_equal(two, -1);
    net_detach(net, "slow");
    assert_nothing_left();
    (void)syn_net_close(net);
}

static void
addresses_are_kept_and_not_reused_soon(void **state)
{
    struct syn_net *net = open_net("addresses");
    struct syn_net_place first = net_attach(net, "i-0", "acme", false), again, next;
    struct syn_net_spec spec = {.id = "i-0", .account = "acme"};
    struct syn_net_place place;
    struct syn_err err = {0};
    char id[16];

    (void)state;
    again = net_attach(net, "i-0", "acme", false);
    assert_memory_equal(&first, &again, sizeof(first));
    assert_int_equal(syn_link_mtu(net->route, first.port), NODE_MTU);
    spec.closed = true;
    assert_code(syn_net_attach(net, &spec, &place, &err), SYN_E_CONFLICT, &err);
    /* An agent comes and goes. */
    (void)syn_net_close(net);
    net = open_net("addresses");
    assert_done(syn_net_find(net, "i-0", &again, &err), &err);
    assert_memory_equal(&first, &again, sizeof(first));
    assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
    net_detach(net, "i-0");
    assert_code(syn_net_find(net, "i-0", &again, &err), SYN_E_NOTFOUND, &err);
    (void)net_attach(net, "i-x", "acme", false);
    net_detach(net, "i-x");
    next = net_attach(net, "i-0", "acme", false);
    assert_string_not_equal(first.address4, next.address4);
    /* A /28 has 13 for instances. */
    for (int i = 1; i < 13; i++) {
        (void)snprintf(id, sizeof(id), "i-%d", i);
        (void)net_attach(net, id, "acme", false);
    }
    spec = (struct syn_net_spec){.id = "i-13", .account = "acme"};
    assert_code(syn_net_attach(net, &spec, &place, &err), SYN_E_LIMIT, &err);
    assert_int_equal(count_entries("at"), 13);
    for (int i = 0; i < 13; i++) {
        (void)snprintf(id, sizeof(id), "i-%d", i);
        net_detach(net, id);
    }
    assert_nothing_left();
    (void)syn_net_close(net);
}

static bool
keep_none(void *arg, const char *id)
{
    (void)arg;
    (void)id;
    return false;
}

/* ---- kill -9 ---- */

static unsigned steps_left;

static void
step_or_die(const char *what)
{
    (void)what;
    if (--steps_left == 0)
        (void)raise(SIGKILL);
}

static void
act(bool remove)
{
    struct syn_net_options options = {.dir = dir, .net_prefix = 28};
    const struct syn_net_port port = {.protocol = SYN_NET_TCP, .host_port = 80, .port = 80};
    const struct syn_net_spec spec = {.id = "victim",
                                      .account = "acme",
                                      .ports = &port,
                                      .ports_count = 1,
                                      .closed = true,
                                      .send_bits_s = 1000000,
                                      .receive_bits_s = 1000000};
    struct syn_net_place place;
    struct syn_net *net = NULL;
    struct syn_err err = {0};
    int rc = syn_net_open(&options, &net, &err);

    if (rc == SYN_OK)
        rc = syn_net_attach(net, &spec, &place, &err);
    if (rc == SYN_OK && remove)
        rc = syn_net_detach(net, spec.id, NULL, &err);
    _exit(rc == SYN_OK ? 0 : 1);
}

/* A process that dies before its step `step`. False when it had fewer. */
static bool
die_at(unsigned step, bool remove)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        steps_left = step;
        syn_nl_step_hook = step_or_die;
        act(remove);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void
nothing_is_left_of_a_killed_process(void **state)
{
    struct syn_err err = {0};
    unsigned step = 1;
    bool died = true;

    (void)state;
    for (; died; step++) {
        struct syn_net *net;

        (void)snprintf(dir, sizeof(dir), "%s/killed", root);
        died = die_at(step, true);
        net = open_net("killed");
        assert_done(syn_net_sweep(net, keep_none, NULL, &err), &err);
        assert_nothing_left();
        (void)syn_net_close(net);
    }
    print_message("killed before each of %u steps\n", step - 2);
    assert_true(step > 15);
}

/* What was begun is also finished, where the instance is still wanted. */
static void
a_killed_attachment_is_finished(void **state)
{
    struct syn_err err = {0};
    bool died = true;

    (void)state;
    for (unsigned step = 1; died; step += 2) {
        struct syn_net_place place;
        struct syn_net *net;

        (void)snprintf(dir, sizeof(dir), "%s/finish", root);
        died = die_at(step, false);
        net = open_net("finish");
        assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
        if (syn_net_find(net, "victim", &place, &err) == SYN_OK) {
            SYN_FD(web);

            web = net_bound(place.netns, "0.0.0.0", 80, SOCK_STREAM);
            assert_true(net_reaches(outside, NODE4, 80));
        }
        net_detach(net, "victim");
        assert_nothing_left();
        (void)syn_net_close(net);
    }
}

static void
what_others_break_is_mended(void **state)
{
    struct syn_net *net = open_net("mend");
    struct syn_net_place one = net_attach(net, "one", "acme", false),
                         two = net_attach(net, "two", "bolt", false);
    const char *spoiled = "{\"version\":1,\"id\":\"ghost\"";
    char path[SYN_PATH_MAX + 64];
    struct syn_err err = {0};
    struct syn_nft *nft = NULL;
    SYN_FD(web);
    SYN_FD(far);
    SYN_FD(route);

    (void)state;
    far = net_bound(outside, OUT4, 9000, SOCK_STREAM);
    assert_true(net_reaches(one.netns, OUT4, 9000));
    assert_true(usage(net, "one").egress_bytes > 0);
    /* A record that is none, a counter and interfaces that nobody knows. */
    (void)snprintf(path, sizeof(path), "%s/at/ghost.json", dir);
    assert_done(syn_file_write(AT_FDCWD, path, spoiled, strlen(spoiled), &err), &err);
    assert_done(syn_nft_open(&nft, &err), &err);
    (void)snprintf(path, sizeof(path), "add counter inet %s e_000fff", net->node.table);
    assert_done(syn_nft_run(nft, path, &err), &err);
    assert_done(syn_nl_open(NETLINK_ROUTE, &route, &err), &err);
    (void)snprintf(path, sizeof(path), "sy%sb000ff0", net->tag);
    assert_done(syn_link_bridge(route, path, NULL, &err), &err);
    (void)syn_net_close(net);
    net = open_net("mend");
    assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
    assert_int_equal(count_entries("at"), 2);
    assert_int_equal(net_count_rules("e_000fff"), 0);
    assert_int_equal(net_count_links(), 4);
    assert_true(usage(net, "one").egress_bytes > 0);
    /* Somebody flushes all rules, and takes an interface away. */
    assert_done(syn_nft_run(nft, "flush ruleset", &err), &err);
    assert_done(syn_link_delete(route, one.port, &err), &err);
    assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
    web = net_bound(two.netns, two.address4, SERVICE, SOCK_STREAM);
    assert_true(net_reaches(one.netns, OUT4, 9000));
    assert_false(net_reaches(one.netns, two.address4, SERVICE));
    (void)syn_nft_close(nft);
    net_detach(net, "one");
    net_detach(net, "two");
    assert_nothing_left();
    (void)syn_net_close(net);
}

static void
coming_and_going_leaves_nothing(void **state)
{
    struct syn_net *net = open_net("churn");
    struct syn_err err = {0};
    int64_t began = syn_mono_ms(syn_world_system());

    (void)state;
    /* Bridges stay: removing an interface makes the kernel wait for all processors, for each. */
    for (int i = 0; i < 3; i++) {
        char id[16], account[16];

        (void)snprintf(id, sizeof(id), "stays-%d", i);
        (void)snprintf(account, sizeof(account), "a-%d", i);
        (void)net_attach(net, id, account, false);
    }
    for (int i = 0; i < CHURN; i++) {
        char id[16], account[16];

        (void)snprintf(id, sizeof(id), "i-%d", i);
        (void)snprintf(account, sizeof(account), "a-%d", i % 3);
        (void)net_attach(net, id, account, false);
        net_detach(net, id);
    }
    for (int i = 0; i < 3; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "stays-%d", i);
        net_detach(net, id);
    }
    print_message("%d networks came and went in %lld ms\n", CHURN,
                  (long long)(syn_mono_ms(syn_world_system()) - began));
    assert_nothing_left();
    assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
    (void)syn_net_close(net);
    assert_int_equal(net_count_rules("synor_"), 0);
}

static void
two_platforms_do_not_meet(void **state)
{
    struct syn_net *one = open_net("platform-1"), *two;
    struct syn_net_place here = net_attach(one, "same", "acme", false), there;
    struct syn_net *third = NULL;
    struct syn_net_options options = {.dir = dir};
    struct syn_err err = {0};
    SYN_FD(web);

    (void)state;
    assert_code(syn_net_open(&options, &third, &err), SYN_E_CONFLICT, &err);
    two = open_net("platform-2");
    there = net_attach(two, "same", "acme", false);
    assert_string_not_equal(here.address4, there.address4);
    web = net_bound(there.netns, there.address4, SERVICE, SOCK_STREAM);
    assert_false(net_reaches(here.netns, there.address4, SERVICE));
    assert_done(syn_net_sweep(one, NULL, NULL, &err), &err);
    assert_true(net_reaches(NULL, there.address4, SERVICE));
    net_detach(one, "same");
    net_detach(two, "same");
    (void)syn_net_close(one);
    (void)syn_net_close(two);
}

/* A service's address leads to the node's proxy, and nothing else; also while its agent is away. */
static void
services_are_diverted(void **state)
{
    static const struct syn_net_divert rows[] = {{"10.127.0.1", 80, 7080},
                                                 {NET_SERVICE6, 80, 7080}};
    struct syn_net *net = open_net("divert");
    struct syn_net_place place = net_attach(net, "one", "acme", false);
    struct sockaddr_in asked = {0};
    socklen_t len = sizeof(asked);
    struct syn_err err = {0};
    SYN_FD(proxy);
    SYN_FD(caller);
    SYN_FD(taken);

    (void)state;
    proxy = net_bound(NULL, "0.0.0.0", 7080, SOCK_STREAM);
    assert_done(syn_net_divert(net, rows, SYN_LEN(rows), &err), &err);
    assert_false(net_reaches(place.netns, place.gateway4, 7080));
    assert_false(net_reaches(outside, NODE4, 7080));
    caller = net_dial(place.netns, "10.127.0.1", 80);
    taken = accept4(proxy, NULL, NULL, SOCK_CLOEXEC);
    assert_return_code(getsockopt(taken, SOL_IP, SO_ORIGINAL_DST, &asked, &len), errno);
    assert_int_equal(asked.sin_addr.s_addr, htonl(0x0a7f0001));
    assert_int_equal(asked.sin_port, htons(80));
    net_check_diverted6(&place);
    (void)syn_net_close(net);
    net = open_net("divert");
    net_forget_services6(); /* of an older one */
    assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
    assert_true(net_reaches(place.netns, "10.127.0.1", 80));
    net_check_diverted6(&place);
    assert_done(syn_net_divert(net, NULL, 0, &err), &err);
    assert_int_equal(net_count_rules("10.127.0.1"), 0);
    assert_false(net_reaches(place.netns, NET_SERVICE6, 80));
    net_detach(net, "one");
    (void)syn_net_close(net);
}

static void
probe_finds_it_works(void **state)
{
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_net_probe(&err), &err);
    assert_int_equal(net_count_links(), 0);
}

static void
names_need_their_port(void **state)
{
    struct syn_err err = {0};
    int taken;

    (void)state;
    assert_done(syn_net_probe_dns(&err), &err);
    taken = net_bound(NULL, "0.0.0.0", SYN_NET_DNS_PORT, SOCK_STREAM);
    assert_code(syn_net_probe_dns(&err), SYN_E_CONFLICT, &err);
    (void)close(taken);
    assert_done(syn_net_probe_dns(&err), &err);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(accounts_do_not_meet, set_up),
        cmocka_unit_test_setup(a_guarded_one_is_the_nodes, set_up),
        cmocka_unit_test_setup(node_is_closed_but_for_what_is_open, set_up),
        cmocka_unit_test_setup(outside_is_open_but_for_what_is_denied, set_up),
        cmocka_unit_test_setup(names_are_asked_at_the_own_gateway, set_up),
        cmocka_unit_test_setup(only_what_is_published_is_reached, set_up),
        cmocka_unit_test_setup(bytes_are_counted_where_they_go, set_up),
        cmocka_unit_test_setup(stream_is_counted, set_up),
        cmocka_unit_test_setup(nobody_speaks_for_another, set_up),
        cmocka_unit_test_setup(limits_hold, set_up),
        cmocka_unit_test_setup(addresses_are_kept_and_not_reused_soon, set_up),
        cmocka_unit_test_setup(nothing_is_left_of_a_killed_process, set_up),
        cmocka_unit_test_setup(a_killed_attachment_is_finished, set_up),
        cmocka_unit_test_setup(what_others_break_is_mended, set_up),
        cmocka_unit_test_setup(coming_and_going_leaves_nothing, set_up),
        cmocka_unit_test_setup(two_platforms_do_not_meet, set_up),
        cmocka_unit_test_setup(services_are_diverted, set_up),
        cmocka_unit_test_setup(probe_finds_it_works, set_up),
        cmocka_unit_test_setup(names_need_their_port, set_up),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("runtime/net", tests, NULL, NULL);
}
