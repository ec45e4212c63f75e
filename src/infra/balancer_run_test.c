/* The balancer with a real HAProxy, on loopback ports of its own. */
#include <synor/base/test.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/acme.h>
#include <synor/infra/tls_cert.h>

#include "balancer_priv.h"
#include "balancer_site_testing.h"

/* Is the socket of the process of this generation there? Its end removes it. */
static int
access_control(const struct site *site, unsigned generation)
{
    char path[sizeof(site->dir) + LB_CONTROL_SIZE], control[LB_CONTROL_SIZE];

    lb_control(generation, control);
    (void)snprintf(path, sizeof(path), "%s/%s", site->dir, control);
    return access(path, F_OK);
}

/* --- who is asked ----------------------------------------------------------------------------- */

static void
test_algorithms(void **state)
{
    struct site *site = *state;
    unsigned n[SERVERS], used = 0;

    site->backend.server_count = 3;
    site->servers[1].weight = 30;
    site_set(site);
    ask_often(site, 50, n);
    assert_int_equal(n[0], 10);
    assert_int_equal(n[1], 30);
    assert_int_equal(n[2], 10);
    site->servers[1].weight = 10;
    site->backend.algorithm = SYN_BALANCER_LEAST_CONNECTIONS;
    site_set(site);
    ask_often(site, 30, n);
    for (unsigned i = 0; i < 3; i++) /* a connection may be there for a moment after its answer */
        assert_in_range(n[i], 5, 15);
    site->backend.algorithm = SYN_BALANCER_RANDOM;
    site_set(site);
    ask_often(site, 90, n); /* none of three in 90 draws: once in 10^15 */
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(n[i], 1, 89);
    site->backend.algorithm = SYN_BALANCER_IP_HASH;
    site_set(site);
    ask_often(site, 20, n);
    for (unsigned i = 0; i < 3; i++)
        used += n[i] == 20;
    assert_int_equal(used, 1);
}

/* Has it answered so often, and so badly? An answer is counted when its thread comes to that, which
 * is after the client has it. */
static bool
has_answered(struct site *site, const char *server, uint64_t answers, uint64_t errors)
{
    struct syn_balancer_server_counts *answered = NULL;
    size_t count = 0, found = 0;
    struct syn_err err;

    assert_done(syn_balancer_read_servers(site->balancer, "acct/web", &answered, &count, &err),
                &err);
    assert_int_equal(count, site->backend.server_count);
    for (size_t i = 0; i < count; i++)
        found += strcmp(answered[i].server, server) == 0 && answered[i].answers == answers &&
                 answered[i].errors == errors;
    syn_free(answered);
    return found == 1;
}

static void
test_answers_are_counted_by_server(void **state)
{
    struct syn_balancer_server_counts *answered = NULL;
    struct site *site = *state;
    struct syn_err err;
    size_t count;

    site->backend.server_count = 2;
    site->servers[0].weight = 20;
    site_set(site);
    for (unsigned i = 0; i < 6; i++)
        expect_get(site, "h", "/", "200");
    atomic_store(&site->origins[1].status, 500);
    for (unsigned i = 0; i < 3; i++) /* two of three are the first one's */
        expect_get(site, "h", "/", "HTTP/1.1 ");
    wait_until(has_answered(site, "o1", 6, 0));
    wait_until(has_answered(site, "o2", 3, 1));
    assert_code(syn_balancer_read_servers(site->balancer, "acct/none", &answered, &count, &err),
                SYN_E_NOTFOUND, &err);
}

/* Copy the value of Set-Cookie. */
static void
cookie_of(const char *answer, char *out, size_t size)
{
    const char *at = strcasestr(answer, "set-cookie: ");
    size_t len;

    assert_non_null(at);
    at += 12;
    len = strcspn(at, ";\r");
    assert_true(len + 12 < size);
    (void)snprintf(out, size, "Cookie: %.*s\r\n", (int)len, at);
}

static void
expect_sticks(struct site *site, const char *cookie, const char *name)
{
    char first[16];

    (void)snprintf(first, sizeof(first), "\r\n\r\n%s\n", name);
    for (unsigned i = 0; i < 6; i++) {
        const char *text = get(site, "h", "/", cookie);

        if (!has(text, first))
            fail_msg("%s is not sticky to %s: %s", cookie, name, text);
    }
}

static void
test_sticky(void **state)
{
    struct site *site = *state;
    char cookies[SERVERS][160];
    int pid;

    site->backend.cookie = "STICK";
    site->backend.server_count = 2;
    site_set(site);
    pid = syn_balancer_pid(site->balancer);
    site->backend.server_count = 3; /* the third comes without a reload */
    site_set(site);
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
    for (unsigned i = 0; i < 3; i++) {
        const char *text = get(site, "h", "/", "");
        unsigned who = 0;

        while (who < 3 &&
               !(has(text, "\r\n\r\no") && strstr(text, "\r\n\r\no")[5] == '1' + (int)who))
            who++;
        assert_in_range(who, 0, 2);
        cookie_of(text, cookies[who], sizeof(cookies[who]));
    }
    expect_sticks(site, cookies[0], "o1");
    expect_sticks(site, cookies[2], "o3");
    site->servers[0].state = SYN_BALANCER_DRAIN; /* who sticks to it still comes */
    site_set(site);
    expect_sticks(site, cookies[0], "o1");
    site->backend.retries = 1; /* another shape: a reload */
    site_set(site);
    assert_int_not_equal(syn_balancer_pid(site->balancer), pid);
    expect_sticks(site, cookies[0], "o1");
    expect_sticks(site, cookies[2], "o3");
}

/* --- nothing is lost -------------------------------------------------------------------------- */

static void
test_changes_lose_nothing(void **state)
{
    struct site *site = *state;
    struct load load;
    int pid;

    site->backend.retries = -1; /* nothing hides what is lost */
    site_set(site);
    pid = syn_balancer_pid(site->balancer);
    load_start(&load, site->port, 4);
    for (unsigned i = 0; i < 24; i++) {
        unsigned before = atomic_load(&load.done);

        site->servers[i % SERVERS].state = (enum syn_balancer_state)(i / SERVERS % 3);
        site->servers[0].weight = 1 + i;
        site->backend.server_count = 2 + i % 3;
        site->servers[1].state = SYN_BALANCER_READY;
        site->servers[1].id = i % 2 == 0 ? "o2" : "o2-again";
        site_set(site);
        wait_until(atomic_load(&load.done) >= before + 50);
    }
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
    for (unsigned i = 0; i < 5; i++) {
        unsigned before = atomic_load(&load.done);

        site->backend.connect_ms = 1000 + i; /* another shape */
        site_set(site);
        assert_int_not_equal(syn_balancer_pid(site->balancer), pid);
        pid = syn_balancer_pid(site->balancer);
        wait_until(atomic_load(&load.done) >= before + 50);
    }
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u of %u failed; the first: %s", atomic_load(&load.failed),
                 atomic_load(&load.done), load.failure);
    assert_true(atomic_load(&load.done) > 1000);
}

/* What leaves is gone from HAProxy in the end. */
static void
test_removed_servers_go(void **state)
{
    struct site *site = *state;
    SYN_BUF(reply);
    unsigned n[SERVERS];

    site_set(site);
    ask_often(site, 8, n);
    assert_int_equal(n[3], 2);
    site->backend.server_count = 1;
    site_set(site);
    ask_often(site, 8, n);
    assert_int_equal(n[0], 8);
    for (unsigned left = WAIT_MAX; left > 0; left--) {
        struct lb_wire *wire = NULL;
        char control[LB_CONTROL_SIZE];
        int dir = open(site->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct syn_err err;

        lb_control(1, control);
        assert_done(lb_wire_open(dir, control, &wire, &err), &err);
        syn_buf_clear(&reply);
        assert_done(lb_wire_ask(wire, "show stat -1 4 -1\n", 1, &reply, &err), &err);
        (void)lb_wire_close(wire);
        (void)close(dir);
        if (strstr(reply.data, "s4") == NULL && strstr(reply.data, "s2") == NULL)
            return;
        (void)poll(NULL, 0, 10);
    }
    fail_msg("they are still there: %s", reply.data);
}

/* --- health ----------------------------------------------------------------------------------- */

static uint64_t
servers_up(struct site *site)
{
    struct syn_balancer_stats stats;
    struct syn_err err;
    uint64_t up;

    assert_done(syn_balancer_read(site->balancer, &stats, &err), &err);
    assert_int_equal(stats.count, 1);
    up = stats.backends[0].servers_up;
    syn_balancer_stats_fini(&stats);
    return up;
}

static void
test_health(void **state)
{
    struct site *site = *state;
    unsigned n[SERVERS];

    site->backend.health = (struct syn_balancer_health){.check = SYN_BALANCER_CHECK_HTTP,
                                                        .path = "/health",
                                                        .interval_ms = 100,
                                                        .timeout_ms = 20000, /* a busy machine */
                                                        .rise = 1,
                                                        .fall = 2};
    site->backend.server_count = 2;
    site_set(site);
    site->backend.server_count = 3; /* one that comes later is checked as well */
    site_set(site);
    wait_until(servers_up(site) == 3);
    atomic_store(&site->origins[0].health, 500);
    atomic_store(&site->origins[2].health, 500);
    wait_until(servers_up(site) == 1);
    ask_often(site, 9, n);
    assert_int_equal(n[1], 9);
    atomic_store(&site->origins[2].health, 204);
    wait_until(servers_up(site) == 2);
    ask_often(site, 10, n);
    assert_int_equal(n[1], 5);
    assert_int_equal(n[2], 5);
}

static void
test_outliers(void **state)
{
    struct site *site = *state;

    site->backend.health = (struct syn_balancer_health){
        .check = SYN_BALANCER_CHECK_TCP, .interval_ms = 600000, .errors_max = 3};
    site->backend.server_count = 2;
    site_set(site);
    atomic_store(&site->origins[1].status, 500); /* its port is open, it answers nonsense */
    for (unsigned i = 0; i < 6; i++)
        (void)get(site, "h", "/", "");
    wait_until(servers_up(site) == 1);
    for (unsigned i = 0; i < 8; i++)
        expect_get(site, "h", "/", "200");
}

/* --- routes, redirect, addresses -------------------------------------------------------------- */

static void
test_routes(void **state)
{
    struct site *site = *state;
    struct syn_balancer_backend backends[SERVERS];
    static const char *const ids[SERVERS] = {"b-1", "b-2", "b-3", "b-4"};
    struct syn_balancer_route routes[] = {
        {.host = "a.example", .backend = "b-1"},
        {.host = "A.example", .path = "/api", .backend = "b-2"},
        {.host = "*.example", .backend = "b-3"},
        {.path = "/any", .backend = "b-4"},
    };
    int pid;

    for (unsigned i = 0; i < SERVERS; i++)
        backends[i] = (struct syn_balancer_backend){
            .id = ids[i], .servers = &site->servers[i], .server_count = 1};
    site->table.backends = backends;
    site->table.backend_count = SERVERS;
    site->front.backend = NULL;
    site->front.routes = routes;
    site->front.route_count = SYN_LEN(routes);
    site_set(site);
    expect_get(site, "a.example", "/", "\r\n\r\no1\n");
    expect_get(site, "A.EXAMPLE:80", "/apix", "\r\n\r\no1\n");
    expect_get(site, "a.example", "/api", "\r\n\r\no2\n");
    expect_get(site, "a.example", "/api/x?y", "\r\n\r\no2\n");
    expect_get(site, "b.example", "/api", "\r\n\r\no3\n");
    expect_get(site, "c.b.example", "/", "404");
    expect_get(site, "elsewhere", "/any/", "\r\n\r\no4\n");
    expect_get(site, "elsewhere", "/anything", "404");
    pid = syn_balancer_pid(site->balancer);
    routes[0].backend = "b-4";
    routes[3].path = "/other";
    site_set(site);
    expect_get(site, "a.example", "/", "\r\n\r\no4\n");
    expect_get(site, "elsewhere", "/any", "404");
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
}

static void
test_client_address(void **state)
{
    struct site *site = *state;
    const char *text;

    site_set(site);
    text = get(site, "h", "/", "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n");
    assert_true(has(text, "x-forwarded-for: 127.0.0.1\r\n"));
    assert_true(has(text, "x-forwarded-proto: http\r\n"));
    assert_false(has(text, "6.6.6.6"));
    site->backend.client = SYN_BALANCER_CLIENT_NONE;
    site_set(site);
    assert_false(has(get(site, "h", "/", ""), "x-forwarded"));
    /* For the origin its head, which begins like this, is a request. */
    site->backend.client = SYN_BALANCER_CLIENT_PROXY;
    site->backend.mode = site->front.mode = SYN_BALANCER_TCP;
    site_set(site);
    assert_true(syn_str_ends(get(site, "h", "/", ""), "\n\r\n\r\n"));
}

static void
test_redirect(void **state)
{
    struct site *site = *state;

    site->front.https_port = 8443;
    site_set(site);
    expect_get(site, "a.example:80", "/x?y=z", "308 Permanent");
    expect_get(site, "a.example:80", "/x?y=z", "location: https://a.example:8443/x?y=z\r\n");
    site->front.https_port = 443;
    site_set(site);
    expect_get(site, "a.example", "/", "location: https://a.example/\r\n");
}

/* Of the hosts that have a route to it, and for names of tokens alone. */
static void
test_challenges(void **state)
{
    static const char key[] = "YmIRCJ17cPU6EL4qvFl33HqqY2yz_VDa11BKANu8W0A";
    struct site *site = *state;
    struct syn_balancer_backend backends[] = {site->backend, {.id = "acme", .challenge_key = key}};
    struct syn_balancer_route routes[] = {
        {.host = "a.example", .backend = "acct/web"},
        {.host = "b.example", .backend = "acct/web"},
        {.host = "a.example", .path = SYN_ACME_PATH, .backend = "acme"},
    };
    struct syn_balancer_stats before, after;
    struct syn_err err;
    char long_token[200];

    site->front.routes = routes;
    site->front.route_count = 2;
    site->table.backends = backends;
    site->table.backend_count = 2;
    site_set(site);
    assert_false(has(get(site, "a.example", SYN_ACME_PATH "/tok", ""), key));
    assert_done(syn_balancer_read(site->balancer, &before, &err), &err);
    site->front.route_count = 3;
    site_set(site);
    assert_done(syn_balancer_read(site->balancer, &after, &err), &err);
    assert_int_equal(after.reloads, before.reloads); /* hosts come and go without one */
    syn_balancer_stats_fini(&before);
    syn_balancer_stats_fini(&after);
    expect_get(site, "A.example:80", SYN_ACME_PATH "/to-k_9", "HTTP/1.1 200");
    expect_get(site, "a.example", SYN_ACME_PATH "/to-k_9",
               "\r\n\r\nto-k_9.YmIRCJ17cPU6EL4qvFl33HqqY2yz_VDa11BKANu8W0A");
    expect_get(site, "a.example", SYN_ACME_PATH "/", "404");
    expect_get(site, "a.example", SYN_ACME_PATH "/a/b", "404");
    expect_get(site, "a.example", SYN_ACME_PATH "/a%22", "404");
    expect_get(site, "a.example", "/", "HTTP/1.1 200");
    memset(long_token, 'a', sizeof(long_token) - 1);
    long_token[sizeof(long_token) - 1] = '\0';
    memcpy(long_token, SYN_ACME_PATH "/", strlen(SYN_ACME_PATH "/"));
    expect_get(site, "a.example", long_token, "404");
    assert_false(has(get(site, "b.example", SYN_ACME_PATH "/tok", ""), key));
    backends[1].challenge_key = "a b";
    assert_code(syn_balancer_check(&site->table, &err), SYN_E_INVALID, &err);
}

static void
test_tcp(void **state)
{
    struct site *site = *state;
    unsigned n[SERVERS];

    site->backend.mode = site->front.mode = SYN_BALANCER_TCP;
    site_set(site);
    ask_often(site, 8, n);
    for (unsigned i = 0; i < SERVERS; i++)
        assert_int_equal(n[i], 2);
    site->front.backend = NULL;
    site_set(site);
    assert_string_equal(get(site, "h", "/", ""), "");
}

/* A connection that stays: a WebSocket that is open. */
static int
open_websocket(struct site *site)
{
    char request[256], text[1024] = "";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)site->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t got;

    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    (void)snprintf(
        request, sizeof(request),
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    assert_int_equal(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    got = recv(fd, text, sizeof(text) - 1, 0);
    assert_true(got > 0);
    assert_true(has(text, "101"));
    return fd;
}

static void
test_websocket(void **state)
{
    struct site *site = *state;
    char text[1024] = "";
    int fd;

    site_set(site);
    fd = open_websocket(site);
    /* It lives on through changes and a reload. */
    site->backend.server_count = 1;
    site_set(site);
    site->backend.connect_ms = 1234;
    site_set(site);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    assert_int_equal(recv(fd, text, 5, MSG_WAITALL), 5);
    assert_memory_equal(text, "hello", 5);
    (void)close(fd);
}

/* What a server has is known to the end, also of processes that were replaced. */
static void
test_open_at(void **state)
{
    struct site *site = *state;
    uint64_t open;
    struct syn_err err;
    int fd;

    site->backend.server_count = 2;
    site->servers[1].state = SYN_BALANCER_OFF;
    site_set(site);
    fd = open_websocket(site);
    assert_done(syn_balancer_open_at(site->balancer, "acct/web", "o1", &open, &err), &err);
    assert_int_equal(open, 1);
    assert_done(syn_balancer_open_at(site->balancer, "acct/web", "o2", &open, &err), &err);
    assert_int_equal(open, 0);
    site->servers[0].state = SYN_BALANCER_OFF;
    site->servers[1].state = SYN_BALANCER_READY;
    site_set(site);
    site->front.client_idle_ms = 70000; /* another shape */
    site_set(site);
    expect_get(site, "h", "/", "o2");
    assert_done(syn_balancer_open_at(site->balancer, "acct/web", "o1", &open, &err), &err);
    assert_int_equal(open, 1);
    (void)close(fd);
    wait_until(syn_balancer_open_at(site->balancer, "acct/web", "o1", &open, &err) == SYN_OK &&
               open == 0);
    assert_code(syn_balancer_open_at(site->balancer, "acct/web", "o9", &open, &err), SYN_E_NOTFOUND,
                &err);
    /* Asking keeps nobody alive: the process that was replaced ends. */
    wait_until(access_control(site, 1) < 0);
}

/* --- TLS -------------------------------------------------------------------------------------- */

static char *
make_cert(struct site *site, const char *file, const char *name, size_t *ret_len)
{
    const char *const names[] = {name};
    char path[512];
    char *pem = NULL;
    SYN_BUF(text);
    struct syn_err err;
    FILE *in;
    char chunk[4096];

    (void)snprintf(path, sizeof(path), "%s/%s", site->dir, file);
    assert_done(syn_tls_cert_create(path, names, 1, 30, &err), &err);
    in = fopen(path, "re");
    assert_non_null(in);
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), in)) > 0;)
        syn_buf_add(&text, chunk, n);
    (void)fclose(in);
    assert_done(syn_buf_take(&text, &pem, ret_len, &err), &err);
    return pem;
}

/* Run curl or openssl; what it prints. */
static void
tool(const char *const *argv, struct syn_buf *out)
{
    static const char *const env[] = {"PATH=/usr/bin", NULL};
    char program[64];
    struct syn_child_question question = {
        .program = program, .argv = argv, .env = env, .limit_ms = 30000, .bytes_max = 1 << 20};
    struct syn_err err;
    int status = 0;

    (void)snprintf(program, sizeof(program), "/usr/bin/%s", argv[0]);
    syn_buf_clear(out);
    assert_done(syn_child_ask(&question, out, &status, &err), &err);
}

static void
subject(struct site *site, const char *name, struct syn_buf *out)
{
    const char *const argv[] = {"openssl",     "s_client", "-connect",   site->address,
                                "-servername", name,       "-showcerts", NULL};

    tool(argv, out);
}

/* The certificate that `name` is served is the first in `pem`. */
static bool
serves(struct site *site, const char *name, const char *pem)
{
    const char *from = strstr(pem, "-----BEGIN CERTIFICATE");
    const char *to = strstr(pem, "-----END CERTIFICATE");
    char copy[4096];
    SYN_BUF(out);

    assert_true(from != NULL && to != NULL && (size_t)(to - from) < sizeof(copy));
    memcpy(copy, from, (size_t)(to - from));
    copy[to - from] = '\0';
    subject(site, name, &out);
    return strstr(syn_buf_text(&out), copy) != NULL;
}

static void
test_tls(void **state)
{
    struct site *site = *state;
    size_t lens[3];
    char *pems[3] = {make_cert(site, "a", "a.example", &lens[0]),
                     make_cert(site, "b", "b.example", &lens[1]),
                     make_cert(site, "b2", "b.example", &lens[2])};
    struct syn_balancer_cert certs[] = {{.id = "a", .pem = pems[0], .pem_len = lens[0]},
                                        {.id = "b", .pem = pems[1], .pem_len = lens[1]}};
    const char *const ids[] = {"a", "b"};
    char url[64];
    const char *const curl[] = {"curl", "-sk", "--http2", "-w", "%{http_version}", url, NULL};
    char mixed[8192];
    SYN_BUF(out);
    struct syn_err err;
    int pid;

    site->table.certs = certs;
    site->table.cert_count = 2;
    site->front.certs = ids;
    site->front.cert_count = 2;
    site_set(site);
    pid = syn_balancer_pid(site->balancer);
    assert_true(serves(site, "a.example", pems[0]));
    assert_true(serves(site, "b.example", pems[1]));
    assert_true(serves(site, "c.example", pems[0]));
    certs[1].pem = pems[2];
    certs[1].pem_len = lens[2];
    site_set(site);
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
    assert_true(serves(site, "b.example", pems[2]));
    assert_false(serves(site, "b.example", pems[1]));
    /* The key of one with the certificate of another, and half of one: refused, nothing changed. */
    (void)snprintf(mixed, sizeof(mixed), "%.*s%s",
                   (int)(strstr(pems[0], "-----BEGIN CERT") - pems[0]), pems[0],
                   strstr(pems[1], "-----BEGIN CERT"));
    certs[1].pem = mixed;
    certs[1].pem_len = strlen(mixed);
    assert_code(syn_balancer_set(site->balancer, &site->table, &err), SYN_E_INVALID, &err);
    certs[1].pem_len = 100;
    assert_code(syn_balancer_set(site->balancer, &site->table, &err), SYN_E_INVALID, &err);
    assert_true(serves(site, "b.example", pems[2]));
    (void)snprintf(url, sizeof(url), "https://%s/x", site->address);
    tool(curl, &out);
    assert_true(has(syn_buf_text(&out), "x-forwarded-proto: https"));
    assert_true(syn_str_ends(syn_buf_text(&out), "2"));
    for (unsigned i = 0; i < 3; i++)
        syn_free(pems[i]);
}

/* --- processes -------------------------------------------------------------------------------- */

/* Connects again and again, and counts whom it was refused. */
struct knocker {
    pthread_t thread;
    unsigned port;
    atomic_uint connected, refused;
    atomic_bool stopping;
};

static void *
knock(void *arg)
{
    struct knocker *knocker = arg;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)knocker->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    while (!atomic_load(&knocker->stopping)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert(fd >= 0);
        if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
            (void)atomic_fetch_add(&knocker->connected, 1);
        else
            (void)atomic_fetch_add(&knocker->refused, 1);
        (void)close(fd);
        (void)poll(NULL, 0, 1);
    }
    return NULL;
}

static void
test_killed(void **state)
{
    struct site *site = *state;
    struct knocker knocker = {.port = site->port};
    struct syn_balancer_stats stats;
    struct syn_err err;
    int pid;

    site_set(site);
    assert_int_equal(pthread_create(&knocker.thread, NULL, knock, &knocker), 0);
    wait_until(atomic_load(&knocker.connected) > 10);
    for (unsigned i = 0; i < 3; i++) {
        pid = syn_balancer_pid(site->balancer);
        assert_true(pid > 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        wait_until(syn_balancer_pid(site->balancer) != pid && syn_balancer_pid(site->balancer) > 0);
        wait_until(has(get(site, "h", "/", ""), "200"));
    }
    atomic_store(&knocker.stopping, true);
    assert_int_equal(pthread_join(knocker.thread, NULL), 0);
    print_message("# %u connected, %u refused\n", atomic_load(&knocker.connected),
                  atomic_load(&knocker.refused));
    assert_int_equal(atomic_load(&knocker.refused), 0);
    assert_done(syn_balancer_read(site->balancer, &stats, &err), &err);
    assert_int_equal(stats.restarts, 3);
    syn_balancer_stats_fini(&stats);
}

/* Who started a process may end before that is noted: who comes next finds it all the same. */
static void
test_stray(void **state)
{
    struct site *site = *state;
    char path[300], text[16];
    int pid, dir;
    struct syn_err err;

    site_set(site);
    site->front.client_idle_ms = 50000;
    site_set(site); /* a second one */
    pid = syn_balancer_pid(site->balancer);
    site->balancer = syn_balancer_close(site->balancer, true);
    (void)snprintf(path, sizeof(path), "%s/running", site->dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(text, sizeof(text), "%d\n", pid);
    dir = open(site->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_done(lb_file_write(dir, LB_PID_FILE, text, strlen(text), &err), &err);
    (void)close(dir);
    site_open(site);
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
    site_set(site);
    expect_get(site, "h", "/", " 200 ");
    wait_until(kill(pid, 0) < 0); /* another one has taken over */
    assert_int_not_equal(syn_balancer_pid(site->balancer), pid);
    (void)snprintf(path, sizeof(path), "%s/" LB_PID_FILE, site->dir);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void
test_adopted(void **state)
{
    struct site *site = *state;
    struct syn_balancer *second = NULL;
    struct load load;
    struct syn_err err;
    int pid;

    site_set(site);
    assert_code(syn_balancer_open(&site->options, &second, &err), SYN_E_CONFLICT, &err);
    pid = syn_balancer_pid(site->balancer);
    load_start(&load, site->port, 2);
    site->balancer = syn_balancer_close(site->balancer, true);
    wait_until(atomic_load(&load.done) > 100);
    site_open(site);
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
    site->backend.server_count = 1;
    site_set(site);
    assert_int_not_equal(syn_balancer_pid(site->balancer), pid);
    wait_until(atomic_load(&load.done) > 300);
    load_stop(&load);
    assert_int_equal(atomic_load(&load.failed), 0);
    wait_until(kill(pid, 0) < 0); /* the first has ended */
    pid = syn_balancer_pid(site->balancer);
    site->balancer = syn_balancer_close(site->balancer, true);
    site_open(site);
    site->balancer = syn_balancer_close(site->balancer, false); /* an adopted one is ended too */
    wait_until(kill(pid, 0) < 0);
    site_open(site);
    assert_int_equal(syn_balancer_pid(site->balancer), 0);
}

static void
test_address_in_use(void **state)
{
    struct site *site = *state;
    struct origin other;
    struct syn_err err;

    origin_start(&other, "other");
    (void)snprintf(site->address, sizeof(site->address), "127.0.0.1:%u", other.port);
    site->port = other.port;
    assert_code(syn_balancer_set(site->balancer, &site->table, &err), SYN_E_UNAVAILABLE, &err);
    if (!has(err.msg, "bind"))
        fail_msg("it does not say why: %s", err.msg);
    origin_stop(&other);
    /* The balancer gets there by itself. */
    wait_until(has(get(site, "h", "/", ""), "\r\n\r\no"));
}

/* Two balancers never share an address, though both are HAProxy's. */
static void
test_address_of_another_balancer(void **state)
{
    struct site *site = *state;
    struct site *other = syn_calloc(1, sizeof(*other));
    struct syn_err err;

    assert_non_null(other);
    site_init(other);
    site_set(site);
    other->front.address = site->address;
    assert_code(syn_balancer_set(other->balancer, &other->table, &err), SYN_E_UNAVAILABLE, &err);
    site_fini(other);
    syn_free(other);
}

/* Every address of both families: who comes by IPv4 looks like that. */
static void
test_both_families(void **state)
{
    static const struct {
        const char *from, *seen;
    } rows[] = {{"127.0.0.1", "X-Forwarded-For: 127.0.0.1\r\n"},
                {"127.0.0.2", "X-Forwarded-For: 127.0.0.2\r\n"},
                {"::1", "X-Forwarded-For: ::1\r\n"}};
    struct site *site = *state;

    (void)snprintf(site->address, sizeof(site->address), "[::]:%u", site->port);
    site_set(site);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        ask_from(rows[i].from, site->port, "h", "/", "", &site->answer);
        if (!has(syn_buf_text(&site->answer), rows[i].seen))
            fail_msg("from %s: \"%s\"", rows[i].from, syn_buf_text(&site->answer));
    }
    (void)snprintf(site->address, sizeof(site->address), "[::1]:%u", site->port);
    site_set(site);
    ask_from("::1", site->port, "h", "/", "", &site->answer);
    assert_true(has(syn_buf_text(&site->answer), " 200 "));
}

static void
test_spare_addresses(void **state)
{
    struct site *site = *state;
    struct syn_balancer_table empty = {.frontends = NULL};
    struct syn_balancer_backend more[2];
    struct syn_balancer_frontend doors[2];
    char address[32];
    struct syn_err err;
    int pid;

    site->balancer = syn_balancer_close(site->balancer, false);
    site->options.spare_host = "127.0.0.1";
    site->options.spare_port = (uint16_t)(site->port + 1);
    site->options.spare_count = 1;
    site_open(site);
    assert_done(syn_balancer_set(site->balancer, &empty, &err), &err);
    site_set(site);
    pid = syn_balancer_pid(site->balancer);
    site->port++;
    assert_string_equal(get(site, "h", "/", ""), ""); /* refused */
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", site->port);
    more[0] = more[1] = site->backend;
    more[1].id = "acct/second";
    more[1].servers = &site->servers[1];
    more[1].server_count = 1;
    doors[0] = doors[1] = site->front;
    doors[1].id = "second";
    doors[1].address = address;
    doors[1].backend = more[1].id;
    site->table.backends = more;
    site->table.frontends = doors;
    for (unsigned i = 0; i < 3; i++) {
        site->table.backend_count = site->table.frontend_count = 2;
        site_set(site);
        expect_get(site, "h", "/", "\r\n\r\no2\n");
        site->table.backend_count = site->table.frontend_count = 1;
        site_set(site);
        assert_string_equal(get(site, "h", "/", ""), "");
    }
    assert_int_equal(syn_balancer_pid(site->balancer), pid);
}

/* --- counters --------------------------------------------------------------------------------- */

static uint64_t
requests(struct site *site)
{
    struct syn_balancer_stats stats;
    struct syn_err err;
    uint64_t count;

    assert_done(syn_balancer_read(site->balancer, &stats, &err), &err);
    assert_int_equal(stats.count, 1);
    assert_string_equal(stats.backends[0].backend, "acct/web");
    assert_int_equal(stats.backends[0].answers[2], stats.backends[0].requests);
    count = stats.backends[0].requests;
    syn_balancer_stats_fini(&stats);
    return count;
}

static void
test_counters_go_on(void **state)
{
    struct site *site = *state;
    struct syn_balancer_table empty = {.frontends = NULL};
    unsigned n[SERVERS];
    struct syn_err err;

    site_set(site);
    ask_often(site, 5, n);
    wait_until(requests(site) == 5);
    site->backend.connect_ms = 1111;
    site_set(site); /* a reload */
    ask_often(site, 3, n);
    wait_until(requests(site) == 8);
    /* Whoever gets the section of one that is gone begins at zero. */
    site->front.backend = NULL;
    site->table.backends = empty.backends;
    site->table.backend_count = 0;
    site_set(site);
    site->front.backend = "acct/web";
    site->table.backends = &site->backend;
    site->table.backend_count = 1;
    site_set(site);
    assert_int_equal(requests(site), 0);
    ask_often(site, 2, n);
    wait_until(requests(site) == 2);
    assert_done(syn_balancer_set(site->balancer, &empty, &err), &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        real(test_algorithms),
        real(test_answers_are_counted_by_server),
        real(test_sticky),
        real(test_changes_lose_nothing),
        real(test_removed_servers_go),
        real(test_health),
        real(test_outliers),
        real(test_routes),
        real(test_client_address),
        real(test_redirect),
        real(test_challenges),
        real(test_tcp),
        real(test_websocket),
        real(test_open_at),
        real(test_tls),
        real(test_killed),
        real(test_stray),
        real(test_adopted),
        real(test_address_in_use),
        real(test_address_of_another_balancer),
        real(test_both_families),
        real(test_spare_addresses),
        real(test_counters_go_on),
    };

    if (have_haproxy(NULL) < 0) {
        (void)printf("1..0 # SKIP there is no HAProxy\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
