/* Networks that were made for nobody, and are an account's later. */
#include <synor/runtime/net.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "../native/file_priv.h"
#include "net_priv.h"
#include "net_testing.h"
#include "netlink_priv.h"

#define SERVICE 8080

static char dir[SYN_NET_PATH_MAX];

/* A node of our own. */
static int
set_up(void **state)
{
    struct syn_err err = {0};
    SYN_FD(route);

    (void)state;
    if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0) {
        print_message("skipped: no namespaces: %s\n", strerror(errno));
        skip();
    }
    (void)snprintf(dir, sizeof(dir), "%s/net", syn_test_dir());
    assert_done(syn_nl_open(NETLINK_ROUTE, &route, &err), &err);
    assert_done(syn_link_up(route, "lo", 0, &err), &err);
    return 0;
}

static struct syn_net *
open_net(void)
{
    const struct syn_net_options options = {.dir = dir, .net_prefix = 28};
    struct syn_net *net = NULL;
    struct syn_err err = {0};

    assert_done(syn_net_open(&options, &net, &err), &err);
    return net;
}

static bool
reaches(const struct syn_net_place *from, const struct syn_net_place *to)
{
    bool four = net_reaches(from != NULL ? from->netns : NULL, to->address4, SERVICE);

    assert_int_equal(net_reaches(from != NULL ? from->netns : NULL, to->address6, SERVICE), four);
    return four;
}

static void
listen_at(const struct syn_net_place *place, int fds[2])
{
    fds[0] = net_bound(place->netns, place->address4, SERVICE, SOCK_STREAM);
    fds[1] = net_bound(place->netns, place->address6, SERVICE, SOCK_STREAM);
}

static void
stop(int fds[2])
{
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* Another process, who finds the rules gone. */
static struct syn_net *
open_anew(struct syn_net *net)
{
    struct syn_err err = {0};

    assert_done(syn_nft_run(net->nft, "flush ruleset", &err), &err);
    (void)syn_net_close(net);
    net = open_net();
    assert_done(syn_net_sweep(net, NULL, NULL, &err), &err);
    return net;
}

/* `s` was assigned to the account of `a` and `f`; it is guarded, as is `f`. `b` is another's. */
static void
assert_assigned(const struct syn_net_place *s, const struct syn_net_place *a,
                const struct syn_net_place *f, const struct syn_net_place *b)
{
    assert_true(reaches(NULL, s));
    assert_true(reaches(s, a));
    assert_false(reaches(s, f));
    assert_false(reaches(a, s));
    assert_false(reaches(s, b));
    assert_false(reaches(b, s));
}

static void
what_was_nobodys_is_an_accounts(void **state)
{
    struct syn_net *net = open_net();
    struct syn_net_place a = net_attach(net, "a-1", "acme", false),
                         b = net_attach(net, "b-1", "bolt", false),
                         f = net_attach(net, "f-1", "acme", true),
                         s = net_attach(net, "s-1", "s-1", true);
    struct syn_err err = {0};
    int at_a[2], at_b[2], at_f[2], at_s[2];

    (void)state;
    listen_at(&a, at_a);
    listen_at(&b, at_b);
    listen_at(&f, at_f);
    listen_at(&s, at_s);
    assert_false(reaches(&s, &a));
    assert_code(syn_net_assign(net, "s-2", "acme", &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_net_assign(net, "s-1", "no/name", &err), SYN_E_INVALID, &err);
    assert_done(syn_net_assign(net, "s-1", "acme", &err), &err);
    assert_done(syn_net_assign(net, "s-1", "acme", &err), &err); /* once more is fine */
    assert_assigned(&s, &a, &f, &b);
    net = open_anew(net);
    assert_assigned(&s, &a, &f, &b);
    stop(at_a);
    stop(at_f);
    net_detach(net, "a-1");
    net_detach(net, "f-1");
    assert_int_equal(net_count_rules("set kin"), 1);
    a = net_attach(net, "a-2", "acme", false); /* on a bridge for all, not on that one */
    assert_string_not_equal(a.bridge, s.bridge);
    listen_at(&a, at_a);
    assert_true(reaches(&s, &a));
    assert_false(reaches(&a, &s));
    stop(at_a);
    stop(at_b);
    stop(at_s);
    net_detach(net, "s-1");
    net_detach(net, "a-2");
    net_detach(net, "b-1");
    assert_int_equal(net_count_links(), 0);
    assert_int_equal(net_count_rules("elements = { \"sy"), 0);
    assert_int_equal(net_count_rules("elements = { 10."), 0);
    (void)syn_net_close(net);
    assert_int_equal(net_count_rules("table inet synor_"), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_nobodys_is_an_accounts, set_up),
    };

    return cmocka_run_group_tests_name("runtime/net-assign", tests, NULL, NULL);
}
