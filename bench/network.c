/* How long an instance's network takes to make and to remove: ours, beside the same by ip(8) and
 * nft(8), and beside the CNI plugin `bridge`; turn by turn, so that all meet the same machine. All
 * of it in a network namespace of its own, where another instance keeps the bridges there.
 *
 *      bench-network [TURNS]     prints one line a figure: see docs/performance.md */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/world.h>
#include <synor/runtime/net.h>

#define TURNS_DEFAULT 15
#define TURNS_MAX     200
#define CNI_BRIDGE    "/usr/lib/cni/bridge"

/* By hand what we do: namespace, pair, addresses of both families, routes, and rules that know the
 * instance: its source addresses, its counters, masquerade. */
static const char ip_setup[] =
    "ip link add benchbr type bridge; ip addr add 10.250.0.1/24 dev benchbr; "
    "ip addr add fd00:250::1/64 dev benchbr nodad; ip link set benchbr up; "
    "nft -f - <<END\n"
    "table inet bench { map egress4 { type ipv4_addr : counter; }\n"
    " map egress6 { type ipv6_addr : counter; }\n"
    " map node4 { type ipv4_addr : counter; }\n"
    " map node6 { type ipv6_addr : counter; }\n"
    " chain forward { type filter hook forward priority 0;\n"
    "  counter name ip saddr map @egress4\n counter name ip6 saddr map @egress6\n }\n"
    " chain post { type nat hook postrouting priority 100; ip saddr 10.250.0.0/24 masquerade\n "
    "}\n}\n"
    "table bridge bench { set src4 { type ifname . ether_addr . ipv4_addr; }\n"
    " set src6 { type ifname . ether_addr . ipv6_addr; }\n"
    " map account { type ifname : counter; }\n"
    " map received { type ifname : counter; }\n"
    " chain pre { type filter hook prerouting priority -300;\n }\n}\n"
    "END";
static const char ip_add[] =
    "set -e; ip netns add benchns; "
    "ip link add benchp type veth peer name eth0 address 02:00:00:00:00:09 netns benchns; "
    "ip link set benchp master benchbr; "
    "ip -n benchns link set lo up; ip -n benchns link set eth0 up; "
    "ip -n benchns addr add 10.250.0.9/24 dev eth0; "
    "ip -n benchns addr add fd00:250::9/64 dev eth0 nodad; "
    "ip -n benchns route add default via 10.250.0.1; "
    "ip -n benchns route add default via fd00:250::1; "
    "nft -f - <<END\n"
    "add counter inet bench e\nadd counter inet bench n\n"
    "add counter bridge bench a\nadd counter bridge bench r\n"
    "add element inet bench egress4 { 10.250.0.9 : \"e\" }\n"
    "add element inet bench egress6 { fd00:250::9 : \"e\" }\n"
    "add element inet bench node4 { 10.250.0.9 : \"n\" }\n"
    "add element inet bench node6 { fd00:250::9 : \"n\" }\n"
    "add element bridge bench account { \"benchp\" : \"a\" }\n"
    "add element bridge bench received { \"benchp\" : \"r\" }\n"
    "add element bridge bench src4 { \"benchp\" . 02:00:00:00:00:09 . 10.250.0.9 }\n"
    "add element bridge bench src6 { \"benchp\" . 02:00:00:00:00:09 . fd00:250::9 }\n"
    "END\n"
    "ip link set benchp up";
static const char ip_remove[] =
    "set -e; ip link del benchp; nft -f - <<END\n"
    "delete element inet bench egress4 { 10.250.0.9 }\n"
    "delete element inet bench egress6 { fd00:250::9 }\n"
    "delete element inet bench node4 { 10.250.0.9 }\n"
    "delete element inet bench node6 { fd00:250::9 }\n"
    "delete element bridge bench account { \"benchp\" }\n"
    "delete element bridge bench received { \"benchp\" }\n"
    "delete element bridge bench src4 { \"benchp\" . 02:00:00:00:00:09 . 10.250.0.9 }\n"
    "delete element bridge bench src6 { \"benchp\" . 02:00:00:00:00:09 . fd00:250::9 }\n"
    "delete counter inet bench e\ndelete counter inet bench n\n"
    "delete counter bridge bench a\ndelete counter bridge bench r\n"
    "END\n"
    "ip netns del benchns";

/* The plugin on a namespace of ip(8)'s, with addresses of both families and masquerade. */
#define CNI_CONFIG                                                                                 \
    "echo "                                                                                        \
    "'{\"cniVersion\":\"0.4.0\",\"name\":\"bench\",\"type\":\"bridge\",\"bridge\":\"benchcni\","   \
    "\"isGateway\":true,\"ipMasq\":true,\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/cni\"," \
    "\"ranges\":[[{\"subnet\":\"10.251.0.0/24\"}],[{\"subnet\":\"fd00:251::/64\"}]],"              \
    "\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}]}}' | CNI_CONTAINERID=%s "             \
    "CNI_NETNS=/run/netns/%s CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni CNI_COMMAND=%s " CNI_BRIDGE     \
    " >/dev/null"

static int
shell(const char *script, struct syn_err *err)
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    const char *const argv[] = {"sh", "-c", script, NULL};
    const struct syn_child_options options = {.argv = argv,
                                              .env = env,
                                              .in = SYN_CHILD_NULL,
                                              .out = STDERR_FILENO,
                                              .err = STDERR_FILENO,
                                              .passed = SYN_CHILD_NULL};
    pid_t pid;
    int rc = syn_child_spawn("/bin/sh", &options, &pid, err);
    int status = rc < 0 ? 0 : syn_child_wait(pid);

    if (rc == SYN_OK && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        rc = SYN_FAIL(err, SYN_E_IO, "it failed (status %d): %.60s", status, script);
    return rc;
}

struct bench {
    struct syn_net *net;
    char dir[512];
    bool cni;
};

static int
ours(struct bench *bench, struct syn_err *err)
{
    const struct syn_net_spec spec = {.id = "turn", .account = "bench"};
    struct syn_net_place place;
    int rc = syn_net_attach(bench->net, &spec, &place, err);

    return rc < 0 ? rc : syn_net_detach(bench->net, spec.id, NULL, err);
}

static int
by_hand(struct bench *bench, struct syn_err *err)
{
    int rc = shell(ip_add, err);

    (void)bench;
    return rc < 0 ? rc : shell(ip_remove, err);
}

static int
cni_call(const struct bench *bench, const char *id, const char *verb, struct syn_err *err)
{
    char script[2048];

    (void)snprintf(script, sizeof(script), CNI_CONFIG, bench->dir, id, id, verb);
    return shell(script, err);
}

static int
by_cni(struct bench *bench, struct syn_err *err)
{
    int rc = shell("ip netns add benchc", err);

    if (rc == SYN_OK)
        rc = cni_call(bench, "benchc", "ADD", err);
    if (rc == SYN_OK)
        rc = cni_call(bench, "benchc", "DEL", err);
    return rc < 0 ? rc : shell("ip netns del benchc", err);
}

static int
compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double
median(double *values, size_t count, const char *name)
{
    qsort(values, count, sizeof(*values), compare);
    (void)fprintf(stderr, "%s: %.1f ms (%.1f-%.1f)\n", name, values[count / 2], values[0],
                  values[count - 1]);
    return values[count / 2];
}

static int
timed(int (*turn)(struct bench *bench, struct syn_err *err), struct bench *bench, double *ret_ms,
      struct syn_err *err)
{
    struct timespec begin, end;
    int rc;

    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    rc = turn(bench, err);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    *ret_ms =
        (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
    return rc;
}

static void
say(const char *name, double mine, const char *peer, double theirs)
{
    double ratio = mine / theirs;

    (void)printf("%s\t%.1f\tms\t%s\t%.1f\t%.2f\t1\t%s\n", name, mine, peer, theirs, ratio,
                 ratio <= 1 ? "ok" : "short");
}

static int
run(struct bench *bench, size_t turns, struct syn_err *err)
{
    static double mine[TURNS_MAX], hand[TURNS_MAX], cni[TURNS_MAX];
    double here;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < turns; i++) {
        rc = timed(ours, bench, &mine[i], err);
        if (rc == SYN_OK)
            rc = timed(by_hand, bench, &hand[i], err);
        if (rc == SYN_OK && bench->cni)
            rc = timed(by_cni, bench, &cni[i], err);
    }
    if (rc < 0)
        return rc;
    here = median(mine, turns, "ours");
    say("network_ip_ms", here, "ip, nft", median(hand, turns, "ip and nft"));
    if (bench->cni)
        say("network_cni_ms", here, "CNI bridge", median(cni, turns, "CNI bridge"));
    return SYN_OK;
}

/* A world of its own, with a neighbour on every bridge: what is measured is an instance, not the
 * account's first. */
static int
set_up(struct bench *bench, struct syn_err *err)
{
    const struct syn_net_spec neighbour = {.id = "neighbour", .account = "bench"};
    struct syn_net_options options = {.dir = bench->dir};
    struct syn_net_place place;
    int rc;

    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "making namespaces (as root)");
    rc = shell("mkdir -p /run/netns && mount -t tmpfs bench /run/netns", err);
    if (rc == SYN_OK)
        rc = syn_net_open(&options, &bench->net, err);
    if (rc == SYN_OK)
        rc = syn_net_attach(bench->net, &neighbour, &place, err);
    if (rc == SYN_OK)
        rc = shell(ip_setup, err);
    bench->cni = access(CNI_BRIDGE, X_OK) == 0;
    if (rc == SYN_OK && bench->cni)
        rc = shell("ip netns add neighbour", err);
    if (rc == SYN_OK && bench->cni)
        rc = cni_call(bench, "neighbour", "ADD", err);
    return rc;
}

int
main(int argc, char **argv)
{
    struct bench bench = {0};
    struct syn_err err = {0};
    uint64_t turns = TURNS_DEFAULT;
    int rc = SYN_OK;

    syn_json_init();
    if (argc > 1)
        rc = syn_parse_u64(argv[1], 1, TURNS_MAX, "turns", &turns, &err);
    (void)snprintf(bench.dir, sizeof(bench.dir), "%s/net", syn_test_dir());
    if (rc == SYN_OK)
        rc = set_up(&bench, &err);
    if (rc == SYN_OK)
        rc = run(&bench, (size_t)turns, &err);
    if (bench.net)
        (void)!syn_net_detach(bench.net, "neighbour", NULL, NULL);
    bench.net = syn_net_close(bench.net);
    if (rc < 0)
        (void)fprintf(stderr, "bench-network: %s\n", err.msg);
    return rc < 0;
}
