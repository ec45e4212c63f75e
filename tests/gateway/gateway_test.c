/* The gateway: documents as a table, and with a real HAProxy what follows from them. */
#include "gateway_priv.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/workload/service_spec.h>

#include "balancer_testing.h"

#define WEB "acct-1/web"

/* --- documents -------------------------------------------------------------------------------- */

/* A service with a checked spec. `lb` and `endpoints` are JSON. */
static json_t *
doc(const char *name, const char *address, const char *lb, const char *endpoints)
{
    char id[64], text[4096];
    struct syn_err err;
    json_t *made;

    (void)snprintf(id, sizeof(id), "svc-%s", name);
    (void)snprintf(text, sizeof(text),
                   "{\"id\":\"%s\",\"name\":\"%s\",\"account\":\"acct-1\",\"spec\":{\"image\":"
                   "\"synor://x\",\"port\":80,\"health\":{\"path\":\"/health\"},\"lb\":%s},"
                   "\"status\":{\"state\":\"running\",\"address\":\"%s\",\"endpoints\":%s}}",
                   id, name, lb, address, endpoints);
    assert_done(syn_json_parse(text, strlen(text), &made, &err), &err);
    assert_done(syn_service_spec_check(json_object_get(made, "spec"), &err), &err);
    return made;
}

static struct gtw_service *
service_of(const char *lb, const char *endpoints)
{
    struct gtw_service *service;
    struct syn_err err;

    assert_done(gtw_service_new_take(doc("web", "10.0.0.1:30007", lb, endpoints), "127.0.0.1",
                                     &service, &err),
                &err);
    return service;
}

static void
test_a_service(void **state)
{
    struct gtw_service *service = service_of(
        "{}", "[{\"instance\":\"i1\",\"address\":\"10.1.0.2\",\"port\":80,\"ready\":true},"
              "{\"instance\":\"i2\",\"address\":\"fd00::2\",\"port\":81,\"ready\":false,"
              "\"state\":\"draining\"},"
              "{\"instance\":\"i3\",\"address\":\"10.1.0.4\",\"port\":80,\"ready\":false},"
              "{\"instance\":\"i4\",\"address\":\"\",\"port\":80,\"ready\":true},"
              "{\"instance\":\"i5\",\"address\":\"no.name\",\"port\":80,\"ready\":true}]");

    (void)state;
    assert_true(service->open);
    assert_string_equal(service->address, "127.0.0.1:30007"); /* where addresses are now */
    assert_string_equal(service->name, WEB);
    assert_int_equal(service->backend.server_count, 2);
    assert_string_equal(service->servers[0].address, "10.1.0.2:80");
    assert_int_equal(service->servers[0].state, SYN_BALANCER_READY);
    assert_string_equal(service->servers[1].address, "[fd00::2]:81");
    assert_int_equal(service->servers[1].state, SYN_BALANCER_OFF);
    assert_int_equal(service->backend.mode, SYN_BALANCER_HTTP);
    assert_int_equal(service->backend.health.interval_ms, 2500); /* twice within its own 5 s */
    assert_int_equal(service->backend.hold_ms, 5000);
    assert_int_equal(service->ready, 1);
    assert_false(service->routed);
    (void)gtw_service_free(service);
}

static void
test_what_its_spec_says(void **state)
{
    static const char two[] =
        "[{\"instance\":\"i1\",\"address\":\"10.1.0.2\",\"port\":80,\"ready\":"
        "true,\"cpu_millicores\":500},{\"instance\":\"i2\",\"address\":"
        "\"10.1.0.3\",\"port\":80,\"ready\":true,\"cpu_millicores\":1000}]";
    struct gtw_service *service =
        service_of("{\"algorithm\":\"weighted\",\"sticky\":true,\"host\":\"a.example\","
                   "\"path\":\"/v1\",\"tls\":true,\"redirect_http\":true,\"protocol\":\"grpc\"}",
                   two);

    (void)state;
    assert_int_equal(service->servers[0].weight, 128);
    assert_int_equal(service->servers[1].weight, 256);
    assert_int_equal(service->backend.protocol, SYN_BALANCER_H2);
    assert_non_null(service->backend.cookie);
    assert_true(service->routed && service->redirected && service->tls);
    assert_string_equal(service->route.host, "a.example");
    assert_int_equal(service->front.cert_count, 1);
    (void)gtw_service_free(service);
    service = service_of("{\"protocol\":\"tcp\",\"algorithm\":\"ip-hash\"}", two);
    assert_int_equal(service->backend.mode, SYN_BALANCER_TCP);
    assert_int_equal(service->front.mode, SYN_BALANCER_TCP);
    assert_int_equal(service->backend.algorithm, SYN_BALANCER_IP_HASH);
    assert_int_equal(service->servers[0].weight, service->servers[1].weight);
    (void)gtw_service_free(service);
    service = service_of("{\"hold_ms\":\"7s\",\"slow_start_ms\":\"9s\",\"errors_max\":4}", two);
    assert_int_equal(service->backend.hold_ms, 7000);
    assert_int_equal(service->backend.slow_start_ms, 9000);
    assert_int_equal(service->backend.health.errors_max, 4);
    (void)gtw_service_free(service);
    service = service_of("{\"publish\":false}", two);
    assert_false(service->open);
    (void)gtw_service_free(service);
}

static void
drop(void *service)
{
    (void)gtw_service_free(service);
}

/* Whatever services there are, what comes of them is a table that the balancer takes. */
static void
test_a_table(void **state)
{
    static const char *const lbs[] = {
        "{}",
        "{\"host\":\"a.example\"}",
        "{\"host\":\"a.example\",\"path\":\"/x\",\"tls\":true,\"redirect_http\":true}",
        "{\"protocol\":\"tcp\",\"tls\":true}",
        "{\"publish\":false}",
    };
    const struct gtw_fronts fronts = {"127.0.0.1:30000", "127.0.0.1:30001", 30001, NULL};
    struct syn_map *services, *refused;
    struct gtw_table table;
    struct syn_err err;

    (void)state;
    assert_done(syn_map_new(drop, &services, &err), &err);
    assert_done(syn_map_new(NULL, &refused, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(lbs); i++) {
        struct gtw_service *service;
        char name[16], address[32];

        (void)snprintf(name, sizeof(name), "s%u", i);
        (void)snprintf(address, sizeof(address), "127.0.0.1:%u", 30010 + i);
        assert_done(
            gtw_service_new_take(doc(name, address, lbs[i], "[]"), "127.0.0.1", &service, &err),
            &err);
        if (i == 2 || i == 3)
            service->pem = syn_strdup("a certificate");
        assert_done(syn_map_put_take(services, name, service, &err), &err);
    }
    assert_done(gtw_table_make(services, &fronts, refused, &table, &err), &err);
    assert_done(syn_balancer_check(&table.table, &err), &err);
    assert_int_equal(table.table.backend_count, 5); /* one sends to https */
    assert_int_equal(table.table.frontend_count, 6);
    assert_int_equal(table.table.cert_count, 2);
    gtw_table_fini(&table);
    assert_done(syn_map_put_take(refused, "127.0.0.1:30010", services, &err), &err);
    assert_done(syn_map_put_take(refused, fronts.http, services, &err), &err);
    assert_done(gtw_table_make(services, &fronts, refused, &table, &err), &err);
    assert_int_equal(table.table.frontend_count, 4);
    gtw_table_fini(&table);
    (void)syn_map_free(services);
    (void)syn_map_free(refused);
}

static const struct syn_balancer_frontend *
front_of(const struct gtw_table *table, const char *id)
{
    for (size_t i = 0; i < table->table.frontend_count; i++)
        if (strcmp(table->table.frontends[i].id, id) == 0)
            return &table->table.frontends[i];
    fail_msg("there is no front %s", id);
    return NULL;
}

/* Hosts that prove themselves to a directory do so on the plain front, once each, and not where a
 * service stands in that very place. */
static void
test_a_table_with_challenges(void **state)
{
    static const char *const lbs[] = {
        "{\"host\":\"a.example\",\"tls\":true,\"certificate\":\"acme\"}",
        "{\"host\":\"a.example\",\"path\":\"/x\",\"tls\":true,\"certificate\":\"acme\"}",
        "{\"host\":\"b.example\",\"tls\":true,\"certificate\":\"acme\"}",
        "{\"host\":\"b.example\",\"path\":\"/.well-known/acme-challenge/\"}",
        "{\"host\":\"c.example\",\"tls\":true}",
    };
    struct gtw_fronts fronts = {"127.0.0.1:30000", "127.0.0.1:30001", 30001, "key"};
    const struct syn_balancer_frontend *front;
    struct syn_map *services, *refused;
    struct gtw_table table;
    struct syn_err err;

    (void)state;
    assert_done(syn_map_new(drop, &services, &err), &err);
    assert_done(syn_map_new(NULL, &refused, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(lbs); i++) {
        struct gtw_service *service;
        char name[16], address[32];

        (void)snprintf(name, sizeof(name), "s%u", i);
        (void)snprintf(address, sizeof(address), "127.0.0.1:%u", 30010 + i);
        assert_done(
            gtw_service_new_take(doc(name, address, lbs[i], "[]"), "127.0.0.1", &service, &err),
            &err);
        service->pem = service->tls ? syn_strdup("a certificate") : NULL;
        assert_done(syn_map_put_take(services, name, service, &err), &err);
    }
    assert_done(gtw_table_make(services, &fronts, refused, &table, &err), &err);
    assert_done(syn_balancer_check(&table.table, &err), &err);
    front = front_of(&table, "http");
    assert_int_equal(front->route_count, 6);
    assert_string_equal(front->routes[5].host, "a.example");
    assert_string_equal(front->routes[5].backend, GTW_CHALLENGES);
    assert_int_equal(front_of(&table, "https")->route_count, 4);
    gtw_table_fini(&table);
    fronts.challenge_key = NULL;
    assert_done(gtw_table_make(services, &fronts, refused, &table, &err), &err);
    assert_done(syn_balancer_check(&table.table, &err), &err);
    assert_int_equal(front_of(&table, "http")->route_count, 5);
    gtw_table_fini(&table);
    (void)syn_map_free(services);
    (void)syn_map_free(refused);
}

static void
test_addresses(void **state)
{
    char text[GTW_ADDRESS_SIZE];
    struct origin origin;

    (void)state;
    assert_true(gtw_address_join("::1", 80, text));
    assert_string_equal(text, "[::1]:80");
    assert_int_equal(gtw_address_port(text), 80);
    assert_false(gtw_address_join("localhost", 80, text));
    assert_false(gtw_address_join("127.0.0.1", 0, text));
    assert_false(gtw_address_join("127.0.0.1", 65536, text));
    assert_int_equal(gtw_address_port("127.0.0.1"), 0);
    origin_start(&origin, "o");
    assert_true(gtw_address_taken(origin.address));
    origin_stop(&origin);
    assert_false(gtw_address_taken(origin.address));
    assert_false(gtw_address_taken("nonsense"));
}

/* --- with HAProxy ----------------------------------------------------------------------------- */

#define ORIGINS 2

/* A platform with one service, whose document is told again and again. */
struct site {
    struct gtw *gateway;
    struct gtw_options options;
    struct origin origins[ORIGINS];
    char dir[256], address[GTW_ADDRESS_SIZE];
    unsigned port;
    atomic_uint changes, refreshes, held;
    struct syn_buf answer;
};

static int
refresh(void *arg, struct syn_err *err)
{
    struct site *site = arg;

    (void)err;
    gtw_again(site->gateway);
    (void)atomic_fetch_add(&site->refreshes, 1);
    return SYN_OK;
}

static void
changed(void *arg, const char *service)
{
    struct site *site = arg;

    assert_string_equal(service, "svc-web");
    (void)atomic_fetch_add(&site->changes, 1);
}

static void
held(void *arg, const char *service, uint64_t count)
{
    struct site *site = arg;

    assert_string_equal(service, "svc-web");
    atomic_store(&site->held, (unsigned)count);
}

static void
site_start(struct site *site)
{
    struct syn_err err;
    unsigned before = atomic_load(&site->refreshes);

    assert_done(gtw_new(&site->options, &site->gateway, &err), &err);
    assert_done(gtw_start(site->gateway, &err), &err);
    wait_until(atomic_load(&site->refreshes) > before);
}

static int
setup(void **state)
{
    struct site *site = syn_calloc(1, sizeof(*site));
    static unsigned number;
    unsigned shared;

    assert_non_null(site);
    (void)snprintf(site->dir, sizeof(site->dir), "%s/g%u", syn_test_dir(), number++);
    for (unsigned i = 0; i < ORIGINS; i++)
        origin_start(&site->origins[i], i == 0 ? "o1" : "o2");
    site->port = free_port();
    shared = free_port();
    (void)snprintf(site->address, sizeof(site->address), "127.0.0.1:%u", site->port);
    site->options = (struct gtw_options){.dir = site->dir,
                                         .host = "127.0.0.1",
                                         .http_port = (uint16_t)shared,
                                         .https_port = (uint16_t)(shared + 1),
                                         .refresh = refresh,
                                         .changed = changed,
                                         .held = held,
                                         .arg = site};
    *state = site;
    return 0;
}

/* What its two replicas are: "ready", "draining", or else left out. */
static void
tell(struct site *site, const char *first, const char *second)
{
    const char *const states[] = {first, second};
    char rows[512];
    int len = snprintf(rows, sizeof(rows), "[");

    for (unsigned i = 0; i < ORIGINS; i++)
        len += snprintf(rows + len, sizeof(rows) - (size_t)len,
                        "%s{\"instance\":\"i%u\",\"address\":\"127.0.0.1\",\"port\":%u,\"ready\":"
                        "%s,\"state\":\"%s\"}",
                        i > 0 ? "," : "", i + 1, site->origins[i].port,
                        syn_str_eq(states[i], "ready") ? "true" : "false", states[i]);
    (void)snprintf(rows + len, sizeof(rows) - (size_t)len, "]");
    gtw_tell_take(site->gateway, "svc-web", doc("web", site->address, "{}", rows));
}

static enum gtw_state
state_of(struct site *site, char message[320])
{
    return gtw_state(site->gateway, "svc-web", message, 320);
}

static bool
is_open(struct site *site)
{
    char message[320];

    return state_of(site, message) == GTW_OPEN;
}

static int
teardown(void **state)
{
    struct site *site = *state;

    if (site->gateway != NULL) {
        gtw_tell_take(site->gateway, "svc-web", NULL);
        wait_until(!is_open(site));
        (void)gtw_free(site->gateway);
    }
    for (unsigned i = 0; i < ORIGINS; i++)
        origin_stop(&site->origins[i]);
    syn_buf_fini(&site->answer);
    syn_free(site);
    return 0;
}

static bool
is_answered_by(struct site *site, const char *name)
{
    ask(site->port, "h", "/", "", &site->answer);
    return strstr(syn_buf_text(&site->answer), name) != NULL;
}

/* Ready replicas get requests, others do not; and what the balancer has of one is known. */
static void
test_follows(void **state)
{
    struct site *site = *state;
    struct syn_balancer_counts counts;
    struct syn_err err;
    unsigned before;

    site_start(site);
    assert_false(gtw_works(site->gateway)); /* nobody needs it yet */
    tell(site, "ready", "starting");
    wait_until(is_open(site));
    assert_int_equal(gtw_has(site->gateway, "i1"), GTW_SERVING);
    assert_int_equal(gtw_has(site->gateway, "i2"), GTW_NOTHING);
    for (unsigned i = 0; i < 4; i++)
        assert_true(is_answered_by(site, "\r\n\r\no1"));
    before = atomic_load(&site->changes);
    tell(site, "draining", "ready");
    wait_until(gtw_has(site->gateway, "i2") == GTW_SERVING);
    wait_until(gtw_has(site->gateway, "i1") == GTW_NOTHING);
    wait_until(atomic_load(&site->changes) > before);
    for (unsigned i = 0; i < 4; i++)
        assert_true(is_answered_by(site, "\r\n\r\no2"));
    wait_until(gtw_counts(site->gateway, WEB, &counts, &err) == SYN_OK && counts.requests == 8);
    assert_code(gtw_counts(site->gateway, "acct-1/other", &counts, &err), SYN_E_NOTFOUND, &err);
    gtw_metrics(site->gateway, &site->answer);
    assert_non_null(strstr(syn_buf_text(&site->answer), "service=\"" WEB "\""));
}

/* A request that is under way keeps its replica. */
static void
test_waits_for_what_a_replica_has(void **state)
{
    struct site *site = *state;
    struct load load;

    site_start(site);
    tell(site, "ready", "ready");
    wait_until(is_open(site));
    load_start(&load, site->port, 4);
    for (unsigned i = 0; i < 6; i++) {
        unsigned done = atomic_load(&load.done);

        tell(site, i % 2 == 0 ? "draining" : "ready", i % 2 == 0 ? "ready" : "draining");
        wait_until(gtw_has(site->gateway, i % 2 == 0 ? "i1" : "i2") == GTW_NOTHING);
        wait_until(atomic_load(&load.done) > done + 20);
    }
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u of %u failed: %s", atomic_load(&load.failed), atomic_load(&load.done),
                 load.failure);
}

/* The gateway ends and HAProxy goes on; the next one finds it, and knows nothing before it has set
 * a table: then every replica may be serving. With the last service HAProxy ends. */
static void
test_comes_and_goes(void **state)
{
    struct site *site = *state;

    site_start(site);
    tell(site, "ready", "gone");
    wait_until(is_open(site));
    site->gateway = gtw_free(site->gateway);
    assert_true(is_answered_by(site, "\r\n\r\no1"));
    site_start(site);
    tell(site, "gone", "ready");
    wait_until(is_open(site));
    wait_until(is_answered_by(site, "\r\n\r\no2"));
    assert_int_equal(gtw_has(site->gateway, "i1"), GTW_NOTHING);
    gtw_tell_take(site->gateway, "svc-web", NULL);
    wait_until(!gtw_address_taken(site->address));
    site->gateway = gtw_free(site->gateway);
}

/* An address that another program has: it is said, other services are served, and it comes back. */
static void
test_an_address_that_is_taken(void **state)
{
    struct site *site = *state;
    struct origin thief;
    char message[320];

    origin_start(&thief, "thief");
    (void)snprintf(site->address, sizeof(site->address), "%s", thief.address);
    site->port = thief.port;
    site_start(site);
    tell(site, "ready", "ready");
    wait_until(state_of(site, message) == GTW_FAILED);
    assert_non_null(strstr(message, thief.address));
    origin_stop(&thief);
    wait_until(is_open(site));
    wait_until(is_answered_by(site, "\r\n\r\no"));
}

static void
test_lost_news(void **state)
{
    struct site *site = *state;

    site_start(site);
    tell(site, "ready", "ready");
    wait_until(is_open(site));
    gtw_lost(site->gateway);
    wait_until(atomic_load(&site->refreshes) == 2);
    wait_until(!is_open(site)); /* nothing was told again */
}

static bool
can_hold(const struct site *site)
{
    char dir[sizeof(site->dir) + 8];
    const struct syn_balancer_options options = {.dir = dir};
    struct syn_balancer *balancer;
    struct syn_err err;
    bool holds;

    (void)snprintf(dir, sizeof(dir), "%s-lua", site->dir);
    assert_done(syn_balancer_open(&options, &balancer, &err), &err);
    holds = syn_balancer_holds(balancer);
    (void)syn_balancer_close(balancer, false);
    return holds;
}

/* Requests for a service without replicas wait, somebody hears of it, and they are answered. */
static void
test_who_waits_is_told_of(void **state)
{
    struct site *site = *state;
    struct load load;

    if (!can_hold(site))
        skip();
    site_start(site);
    tell(site, "starting", "starting");
    wait_until(is_open(site));
    load_start(&load, site->port, 3);
    wait_until(atomic_load(&site->held) == 3);
    assert_int_equal(gtw_held(site->gateway, "svc-web"), 3);
    tell(site, "ready", "starting");
    wait_until(atomic_load(&load.done) >= 10);
    wait_until(atomic_load(&site->held) == 0);
    load_stop(&load);
    assert_int_equal(atomic_load(&load.failed), 0);
}

static void
test_without_haproxy(void **state)
{
    struct site *site = *state;
    char message[320];

    site->options.program = "/nonexistent/haproxy";
    site_start(site);
    tell(site, "ready", "ready");
    wait_until(state_of(site, message) == GTW_MISSING);
    assert_non_null(strstr(message, "apt-get install haproxy"));
    assert_false(gtw_works(site->gateway));
    gtw_metrics(site->gateway, &site->answer);
    assert_int_equal(site->answer.len, 0);
}

static void
test_refused_options(void **state)
{
    struct gtw_options options = {.dir = "/nonexistent", .host = "here", .http_port = 1};
    struct gtw *gateway;
    struct syn_err err;

    (void)state;
    assert_code(gtw_new(&options, &gateway, &err), SYN_E_INVALID, &err);
}

#define real(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
    const struct CMUnitTest pure[] = {
        cmocka_unit_test(test_a_service), cmocka_unit_test(test_what_its_spec_says),
        cmocka_unit_test(test_a_table),   cmocka_unit_test(test_addresses),
        real(test_without_haproxy),       cmocka_unit_test(test_refused_options),
    };
    const struct CMUnitTest whole[] = {
        cmocka_unit_test(test_a_service),        cmocka_unit_test(test_what_its_spec_says),
        cmocka_unit_test(test_a_table),          cmocka_unit_test(test_a_table_with_challenges),
        cmocka_unit_test(test_addresses),        real(test_without_haproxy),
        cmocka_unit_test(test_refused_options),  real(test_follows),
        real(test_waits_for_what_a_replica_has), real(test_comes_and_goes),
        real(test_an_address_that_is_taken),     real(test_lost_news),
        real(test_who_waits_is_told_of),
    };
    char path[4096], version[32];

    syn_json_init();
    if (syn_balancer_find(path, sizeof(path), version, sizeof(version), NULL) < 0)
        return cmocka_run_group_tests(pure, NULL, NULL);
    return cmocka_run_group_tests(whole, NULL, NULL);
}
