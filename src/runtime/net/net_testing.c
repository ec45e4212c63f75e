#include "net_testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

#include "../native/file_priv.h"
#include "link_priv.h"
#include "netlink_priv.h"
#include "prefix_priv.h"

#define NFT "/usr/sbin/nft"

struct opening {
    const char *netns; /* NULL: the node's */
    int family, type;
    int fd;
};

static void *
open_there(void *arg)
{
    struct opening *opening = arg;
    SYN_FD(ns);

    if (opening->netns) {
        ns = open(opening->netns, O_RDONLY | O_CLOEXEC);
        if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
            return NULL;
    }
    opening->fd = socket(opening->family, opening->type | SOCK_CLOEXEC, 0);
    return NULL;
}

int
net_socket_in(const char *netns, int family, int type)
{
    struct opening opening = {.netns = netns, .family = family, .type = type, .fd = -1};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, open_there, &opening), 0);
    (void)pthread_join(thread, NULL);
    assert_true(opening.fd >= 0);
    return opening.fd;
}

static socklen_t
fill(struct sockaddr_storage *out, const char *address, uint16_t port)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct syn_addr addr = {0};
    struct syn_err err = {0};

    assert_done(syn_addr_parse(address, "address", &addr, &err), &err);
    memset(out, 0, sizeof(*out));
    if (addr.family == AF_INET) {
        memcpy(&in4.sin_addr, addr.bytes, 4);
        memcpy(out, &in4, sizeof(in4));
        return sizeof(in4);
    }
    memcpy(&in6.sin6_addr, addr.bytes, 16);
    memcpy(out, &in6, sizeof(in6));
    return sizeof(in6);
}

static int
family_of(const char *address)
{
    return strchr(address, ':') ? AF_INET6 : AF_INET;
}

int
net_bound(const char *netns, const char *address, uint16_t port, int type)
{
    int fd = net_socket_in(netns, family_of(address), type);
    struct sockaddr_storage addr;
    socklen_t len = fill(&addr, address, port);

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (addr.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, len), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 16), 0);
    return fd;
}

/* A connection from `netns`, or -1 with errno: everything that is refused here is refused by a
 * packet, so nothing has to wait for time. */
int
net_dial(const char *netns, const char *address, uint16_t port)
{
    int fd = net_socket_in(netns, family_of(address), SOCK_STREAM);
    struct sockaddr_storage addr;
    socklen_t len = fill(&addr, address, port);
    int saved;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = NET_WAIT_MS / 1000},
                     sizeof(struct timeval));
    if (connect(fd, (const struct sockaddr *)&addr, len) == 0)
        return fd;
    saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

int
net_begin(const char *netns, const char *address, uint16_t port)
{
    int fd = net_socket_in(netns, family_of(address), SOCK_STREAM | SOCK_NONBLOCK);
    struct sockaddr_storage addr;
    socklen_t len = fill(&addr, address, port);

    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, len), -1);
    assert_int_equal(errno, EINPROGRESS);
    return fd;
}

bool
net_reaches(const char *netns, const char *address, uint16_t port)
{
    SYN_FD(fd);

    fd = net_dial(netns, address, port);
    /* A time-out would say that packets vanish: not what is promised. */
    if (fd < 0 && (errno == EINPROGRESS || errno == EAGAIN || errno == ETIMEDOUT))
        fail_msg("%s:%u does not answer", address, port);
    return fd >= 0;
}

void
net_send_dgrams(int fd, const char *address, uint16_t port, unsigned count)
{
    static const char data[NET_DGRAM];
    struct sockaddr_storage addr;
    socklen_t len = fill(&addr, address, port);

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(sendto(fd, data, NET_DGRAM, 0, (const struct sockaddr *)&addr, len),
                         NET_DGRAM);
}

void
net_recv_dgrams(int fd, unsigned count, struct sockaddr_storage *ret_from)
{
    char data[NET_DGRAM * 2];

    for (unsigned i = 0; i < count; i++) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        socklen_t len = sizeof(*ret_from);

        assert_int_equal(poll(&ready, 1, NET_WAIT_MS), 1);
        assert_int_equal(recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)ret_from, &len),
                         NET_DGRAM);
    }
}

void
net_check_diverted6(const struct syn_net_place *place)
{
    struct sockaddr_in6 at = {0}, from = {0};
    socklen_t len = sizeof(at);
    char text[INET6_ADDRSTRLEN];
    SYN_FD(proxy);
    SYN_FD(caller);
    SYN_FD(taken);

    proxy = net_bound(NULL, "::", 7080, SOCK_STREAM);
    caller = net_dial(place->netns, NET_SERVICE6, 80);
    assert_return_code(caller, errno);
    taken = accept4(proxy, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
    assert_return_code(taken, errno);
    assert_string_equal(inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof(text)), place->address6);
    assert_return_code(getsockname(taken, (struct sockaddr *)&at, &len), errno);
    assert_string_equal(inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof(text)), NET_SERVICE6);
    assert_int_equal(ntohs(at.sin6_port), 7080);
    assert_false(net_reaches(place->netns, NET_SERVICE6, 7080));
    assert_false(net_reaches(place->netns, "fd53:796e:6f72::a7f:2", 80));
    assert_false(net_reaches(place->netns, place->gateway6, 7080));
}

void
net_forget_services6(void)
{
    const struct rtmsg info = {.rtm_family = AF_INET6,
                               .rtm_dst_len = 96,
                               .rtm_table = RT_TABLE_LOCAL,
                               .rtm_type = RTN_LOCAL};
    struct syn_err err = {0};
    struct syn_prefix network;
    struct syn_nl nl;
    SYN_FD(fd);

    assert_done(syn_prefix_parse(NET_SIX, "network", &network, &err), &err);
    assert_done(syn_nl_open(NETLINK_ROUTE, &fd, &err), &err);
    syn_nl_init(&nl, RTM_DELROUTE, 0, &info, sizeof(info));
    syn_nl_add(&nl, RTA_DST, network.addr.bytes, syn_addr_size(&network.addr));
    assert_done(syn_nl_do(fd, &nl, "removing a route", &err), &err);
}

static void
count_link(void *arg, const char *name)
{
    *(unsigned *)arg += syn_str_starts(name, "sy");
}

unsigned
net_count_rules(const char *word)
{
    static const char *const argv[] = {"nft", "list", "ruleset", NULL};
    static const char *const env[] = {NULL};
    const struct syn_child_question question = {.program = NFT,
                                                .argv = argv,
                                                .env = env,
                                                .limit_ms = NET_WAIT_MS,
                                                .bytes_max = (size_t)4 << 20};
    struct syn_err err = {0};
    unsigned found = 0;
    int status = 0;
    SYN_BUF(text);

    assert_done(syn_child_ask(&question, &text, &status, &err), &err);
    assert_int_equal(status, 0);
    for (const char *at = syn_buf_text(&text); (at = strstr(at, word)) != NULL; at++)
        found++;
    return found;
}

unsigned
net_count_links(void)
{
    struct syn_err err = {0};
    unsigned found = 0;
    SYN_FD(route);

    assert_done(syn_nl_open(NETLINK_ROUTE, &route, &err), &err);
    assert_done(syn_link_each(route, count_link, &found, &err), &err);
    return found;
}

struct syn_net_place
net_attach(struct syn_net *net, const char *id, const char *account, bool guarded)
{
    const struct syn_net_spec spec = {.id = id, .account = account, .guarded = guarded};
    struct syn_net_place place;
    struct syn_err err = {0};

    assert_done(syn_net_attach(net, &spec, &place, &err), &err);
    return place;
}

void
net_detach(struct syn_net *net, const char *id)
{
    struct syn_err err = {0};

    assert_done(syn_net_detach(net, id, NULL, &err), &err);
}
