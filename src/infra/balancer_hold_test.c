/* Requests that find no server, with a real HAProxy: they wait for one. */
#include <signal.h>
#include <string.h>

#include "balancer_site_testing.h"

static void
note_held(void *arg, const char *backend, uint64_t count)
{
    uint64_t *held = arg;

    assert_string_equal(backend, "acct/web");
    *held = count;
}

static uint64_t
held(struct site *site)
{
    uint64_t count = 0;
    struct syn_err err;

    assert_done(syn_balancer_held(site->balancer, note_held, &count, &err), &err);
    return count;
}

/* Whom nobody can answer waits for a first server. */
static void
test_held(void **state)
{
    struct site *site = *state;
    struct load load;
    int pid;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.server_count = 0;
    site_set(site);
    (void)get(site, "h", "/", "");
    assert_true(has(syn_buf_text(&site->answer), " 503 "));
    assert_true(has(syn_buf_text(&site->answer), "retry-after: 5"));
    pid = syn_balancer_pid(site->balancer);
    site->backend.hold_ms = 60000;
    site_set(site);
    assert_int_equal(held(site), 0);
    load_start(&load, site->port, 3);
    wait_until(held(site) == 3);
    site->backend.server_count = 1;
    site_set(site);
    wait_until(atomic_load(&load.done) >= 30);
    assert_int_equal(held(site), 0);
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u failed; the first: %s", atomic_load(&load.failed), load.failure);
    site->backend.server_count = 0;
    site->backend.hold_ms = 200;
    site_set(site);
    assert_true(has(get(site, "h", "/", ""), " 503 "));
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
}

/* A change that needs a new process comes while somebody waits: nobody is turned away. */
static void
wait_over_a_change(struct site *site)
{
    struct load load;
    int pid;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.server_count = 0;
    site->backend.hold_ms = 600000;
    site_set(site);
    load_start(&load, site->port, 3);
    wait_until(held(site) == 3);
    pid = syn_balancer_pid(site->balancer);
    site->front.client_idle_ms = 50000; /* another shape */
    site_set(site);
    assert_int_not_equal(syn_balancer_pid(site->balancer), pid);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(held(site), 3);
    site->backend.server_count = 2;
    site_set(site);
    wait_until(atomic_load(&load.done) >= 30);
    wait_until(held(site) == 0);
    load_stop(&load);
    wait_until(kill(pid, 0) < 0); /* nobody waits there any more: it has ended */
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u failed; the first: %s", atomic_load(&load.failed), load.failure);
}

static void
test_held_over_a_change(void **state)
{
    wait_over_a_change(*state);
}

static void
test_held_tcp_over_a_change(void **state)
{
    struct site *site = *state;

    site->backend.mode = site->front.mode = SYN_BALANCER_TCP;
    wait_over_a_change(site);
}

/* The server comes with the change, and by one that is sticky and checked. */
static void
test_held_over_a_change_with_a_server(void **state)
{
    struct site *site = *state;
    struct load load;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.server_count = 0;
    site->backend.hold_ms = 600000;
    site->backend.cookie = "replica";
    site->backend.health = (struct syn_balancer_health){
        .check = SYN_BALANCER_CHECK_TCP, .interval_ms = 60000, .rise = 1, .fall = 2};
    site_set(site);
    load_start(&load, site->port, 2);
    wait_until(held(site) == 2);
    site->backend.server_count = 1;
    site->front.client_idle_ms = 50000;
    site_set(site);
    wait_until(atomic_load(&load.done) >= 30);
    load_stop(&load);
    assert_int_equal(atomic_load(&load.failed), 0);
}

/* Who owns the balancer ends, and another one takes it over, twice, while somebody waits: also in a
 * process that a change replaced before, and among sections of other numbers. */
static void
test_held_over_owners(void **state)
{
    struct site *site = *state;
    struct syn_balancer_backend backends[2];
    struct load load;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.server_count = 0;
    site->backend.hold_ms = 600000;
    site_set(site);
    load_start(&load, site->port, 3);
    wait_until(held(site) == 3);
    site->front.client_idle_ms = 50000; /* another shape */
    site_set(site);
    backends[0] = backends[1] = site->backend;
    backends[0].id = "acct/api"; /* it has the first section now */
    site->table.backends = backends;
    site->table.backend_count = 2;
    for (unsigned i = 0; i < 2; i++) {
        site->balancer = syn_balancer_close(site->balancer, true);
        site_open(site);
        site_set(site);
        wait_until(held(site) == 3);
    }
    site->backend.server_count = backends[1].server_count = 2;
    site_set(site);
    wait_until(atomic_load(&load.done) >= 30);
    wait_until(held(site) == 0);
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u failed; the first: %s", atomic_load(&load.failed), load.failure);
}

/* A section that is given to another backend does not lead those who wait to its servers. */
static void
test_held_for_one_that_goes(void **state)
{
    struct site *site = *state;
    struct load load;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.server_count = 0;
    site->backend.hold_ms = 600000;
    site_set(site);
    load_start(&load, site->port, 1);
    wait_until(held(site) == 1);
    site->backend.id = "other/web"; /* whose section it is now */
    site->front.backend = site->backend.id;
    site->backend.server_count = 1;
    site_set(site);
    wait_until(atomic_load(&load.done) + atomic_load(&load.failed) >= 10);
    load_stop(&load);
    assert_int_equal(atomic_load(&load.failed), 1);
    assert_true(has(load.failure, "503"));
}

static void
test_held_tcp(void **state)
{
    struct site *site = *state;
    struct load load;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.hold_ms = 60000;
    site->backend.server_count = 0;
    site->backend.mode = site->front.mode = SYN_BALANCER_TCP;
    site_set(site);
    load_start(&load, site->port, 2);
    wait_until(held(site) == 2);
    site->backend.server_count = 2;
    site_set(site);
    wait_until(atomic_load(&load.done) >= 30);
    load_stop(&load);
    assert_int_equal(atomic_load(&load.failed), 0);
    site->backend.server_count = 0;
    site->backend.hold_ms = 100;
    site_set(site);
    assert_string_equal(get(site, "h", "/", ""), "");
}

/* All die at once, and that is not known yet: it costs what they had, and nobody who comes later.
 */
static void
test_all_die(void **state)
{
    struct site *site = *state;
    struct load load;
    unsigned before;

    if (!syn_balancer_holds(site->balancer))
        skip();
    site->backend.hold_ms = 60000;
    site->backend.server_count = 3;
    site->backend.health = (struct syn_balancer_health){
        .check = SYN_BALANCER_CHECK_TCP, .interval_ms = 60000, .rise = 1, .fall = 2};
    site_set(site);
    load_start(&load, site->port, 4);
    wait_until(atomic_load(&load.done) >= 100);
    for (unsigned i = 0; i < 3; i++)
        origin_stop(&site->origins[i]);
    wait_until(held(site) == 4);
    before = atomic_load(&load.done);
    site->servers[0] = site->servers[3];
    site->backend.server_count = 1;
    site_set(site);
    wait_until(atomic_load(&load.done) >= before + 50);
    load_stop(&load);
    for (unsigned i = 0; i < 3; i++)
        origin_start(&site->origins[i], "again");
    if (atomic_load(&load.failed) > 12) /* each client may meet each of the dead */
        fail_msg("%u failed; the first: %s", atomic_load(&load.failed), load.failure);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        real(test_held),
        real(test_held_tcp),
        real(test_held_over_a_change),
        real(test_held_tcp_over_a_change),
        real(test_held_over_a_change_with_a_server),
        real(test_held_over_owners),
        real(test_held_for_one_that_goes),
        real(test_all_die),
    };

    if (have_haproxy(NULL) < 0) {
        (void)printf("1..0 # SKIP there is no HAProxy\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
