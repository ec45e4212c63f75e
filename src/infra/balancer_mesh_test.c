/* The two ends of a mesh, with real HAProxies: callers in front of one, replicas behind the other,
 * certificates of an authority between them. Nothing is led anywhere by NAT here: a caller connects
 * to the address that it means. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/world.h>
#include <synor/infra/tls_cert.h>

#include "balancer_site_testing.h"

#define WEB    "127.0.0.2" /* where each caller calls from */
#define BATCH  "127.0.0.3"
#define NOBODY "127.0.0.4"
#define DB     "db.acme.mesh"

struct node {
    struct syn_balancer *balancer;
    char dir[256], address[32];
    unsigned port;
};

struct mesh {
    struct node near, far; /* where callers are, and the service that they call */
    struct origin origins[2];
    char ca[256], authority[4096];
    char web_pem[8192], db_pem[8192];
    struct syn_balancer_server here, there, replica;
    struct syn_balancer_backend to_db, in_db;
    struct syn_balancer_caller callers[2];
    struct syn_balancer_pair out_pair, in_pair;
    struct syn_balancer_frontend near_fronts[3], in; /* OUT, and an IN that nobody comes to */
    char idle[32], six[32], any6[32];
    struct syn_balancer_cert web, db;
    struct syn_balancer_table near_table, far_table;
    struct syn_buf answer;
};

static void
issue(const struct mesh *mesh, const char *name, char *pem, size_t size)
{
    int64_t now_ms = syn_wall_ms(syn_world_system());
    const struct syn_tls_identity identity = {
        .name = name, .from_ms = now_ms - 60000, .until_ms = now_ms + 3600000};
    SYN_BUF(key);
    SYN_BUF(request);
    struct syn_err err;

    assert_done(syn_tls_request_create(&name, 1, &key, &request, &err), &err);
    assert_done(syn_tls_request_sign(mesh->ca, request.data, request.len, &identity, &key, &err),
                &err);
    assert_true(key.len < size);
    memcpy(pem, syn_buf_text(&key), key.len + 1);
}

static void
node_open(struct node *node, const char *name)
{
    struct syn_balancer_options options = {.dir = node->dir, .threads = 2};
    static unsigned number;
    struct syn_err err;

    (void)snprintf(node->dir, sizeof(node->dir), "%s/%s%u", syn_test_dir(), name, number++);
    node->port = free_port();
    (void)snprintf(node->address, sizeof(node->address), "127.0.0.1:%u", node->port);
    assert_done(syn_balancer_open(&options, &node->balancer, &err), &err);
}

static void
node_set(struct node *node, const struct syn_balancer_table *table)
{
    struct syn_err err;

    assert_done(syn_balancer_set(node->balancer, table, &err), &err);
}

/* web calls db, of which one replica is at the other node. */
static void
mesh_tables(struct mesh *mesh)
{
    static const char *const certs[] = {"db"};

    mesh->web = (struct syn_balancer_cert){"web", mesh->web_pem, strlen(mesh->web_pem)};
    mesh->db = (struct syn_balancer_cert){"db", mesh->db_pem, strlen(mesh->db_pem)};
    mesh->there = (struct syn_balancer_server){
        .id = "far", .address = mesh->far.address, .weight = 1, .peer = true};
    mesh->replica =
        (struct syn_balancer_server){.id = "r1", .address = mesh->origins[0].address, .weight = 1};
    mesh->to_db = (struct syn_balancer_backend){
        .id = "web/db",
        .servers = &mesh->there,
        .server_count = 1,
        .connect_ms = 200, /* also before it is tried again */
        .cert = "web",
        .peer_name = DB,
        .health = {
            .check = SYN_BALANCER_CHECK_TCP, .interval_ms = 100, .rise = 1, .peers_only = true}};
    mesh->in_db = (struct syn_balancer_backend){.id = "in/db",
                                                .servers = &mesh->replica,
                                                .server_count = 1,
                                                .client = SYN_BALANCER_CLIENT_NONE};
    mesh->callers[0] = (struct syn_balancer_caller){WEB, "web.acme.mesh"};
    mesh->callers[1] = (struct syn_balancer_caller){BATCH, "batch.acme.mesh"};
    mesh->out_pair = (struct syn_balancer_pair){
        .caller = "web.acme.mesh", .callee = mesh->near.address, .backend = "web/db"};
    mesh->in_pair =
        (struct syn_balancer_pair){.caller = "*.acme.mesh", .callee = DB, .backend = "in/db"};
    (void)snprintf(mesh->idle, sizeof(mesh->idle), "127.0.0.1:%u", mesh->near.port + 1);
    mesh->near_fronts[1] = (struct syn_balancer_frontend){
        .id = "in", .address = mesh->idle, .mesh = SYN_BALANCER_MESH_IN};
    mesh->near_fronts[0] = (struct syn_balancer_frontend){.id = "out",
                                                          .address = mesh->near.address,
                                                          .mesh = SYN_BALANCER_MESH_OUT,
                                                          .callers = mesh->callers,
                                                          .caller_count = 2,
                                                          .pairs = &mesh->out_pair,
                                                          .pair_count = 1};
    mesh->in = (struct syn_balancer_frontend){.id = "in",
                                              .address = mesh->far.address,
                                              .mesh = SYN_BALANCER_MESH_IN,
                                              .certs = certs,
                                              .cert_count = 1,
                                              .pairs = &mesh->in_pair,
                                              .pair_count = 1};
    mesh->near_table = (struct syn_balancer_table){.frontends = mesh->near_fronts,
                                                   .frontend_count = 2,
                                                   .backends = &mesh->to_db,
                                                   .backend_count = 1,
                                                   .certs = &mesh->web,
                                                   .cert_count = 1,
                                                   .authority = mesh->authority};
    mesh->far_table = (struct syn_balancer_table){.frontends = &mesh->in,
                                                  .frontend_count = 1,
                                                  .backends = &mesh->in_db,
                                                  .backend_count = 1,
                                                  .certs = &mesh->db,
                                                  .cert_count = 1,
                                                  .authority = mesh->authority};
}

static int
mesh_setup(void **state)
{
    struct mesh *mesh = syn_calloc(1, sizeof(*mesh));
    static unsigned number;
    SYN_BUF(authority);
    struct syn_err err;

    assert_non_null(mesh);
    (void)snprintf(mesh->ca, sizeof(mesh->ca), "%s/ca%u.pem", syn_test_dir(), number++);
    assert_done(syn_tls_ca_create(mesh->ca, "a mesh", 1, &err), &err);
    assert_done(syn_tls_cert_text(mesh->ca, &authority, &err), &err);
    assert_true(authority.len < sizeof(mesh->authority));
    memcpy(mesh->authority, syn_buf_text(&authority), authority.len + 1);
    issue(mesh, "web.acme.mesh", mesh->web_pem, sizeof(mesh->web_pem));
    issue(mesh, DB, mesh->db_pem, sizeof(mesh->db_pem));
    origin_start(&mesh->origins[0], "o1");
    origin_start(&mesh->origins[1], "o2");
    node_open(&mesh->near, "near");
    node_open(&mesh->far, "far");
    mesh_tables(mesh);
    *state = mesh;
    return 0;
}

static int
mesh_teardown(void **state)
{
    struct mesh *mesh = *state;

    mesh->near.balancer = syn_balancer_close(mesh->near.balancer, false);
    mesh->far.balancer = syn_balancer_close(mesh->far.balancer, false);
    origin_stop(&mesh->origins[0]);
    origin_stop(&mesh->origins[1]);
    syn_buf_fini(&mesh->answer);
    syn_free(mesh);
    return 0;
}

static const char *
call(struct mesh *mesh, const char *source, const char *headers)
{
    ask_from(source, mesh->near.port, "db", "/x", headers, &mesh->answer);
    return syn_buf_text(&mesh->answer);
}

static void
expect_call(struct mesh *mesh, const char *source, const char *headers, const char *part)
{
    const char *text = call(mesh, source, headers);

    if (!has(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* --- who may call whom ------------------------------------------------------------------------ */

static void
test_policy(void **state)
{
    struct mesh *mesh = *state;
    int near, far;

    node_set(&mesh->far, &mesh->far_table);
    node_set(&mesh->near, &mesh->near_table);
    near = syn_balancer_pid(mesh->near.balancer);
    far = syn_balancer_pid(mesh->far.balancer);
    expect_call(mesh, WEB, "", " 200 ");
    expect_call(mesh, WEB, SYN_BALANCER_CALLER ": admin.acme.mesh\r\n",
                SYN_BALANCER_CALLER ": web.acme.mesh\r\n");
    assert_false(has(syn_buf_text(&mesh->answer), "admin"));
    expect_call(mesh, BATCH, "", " 403 ");
    assert_string_equal(call(mesh, NOBODY, ""), "");
    /* The other end asks for itself: its policy may be narrower, and changes on the way. */
    mesh->in_pair.caller = "*.other.mesh";
    node_set(&mesh->far, &mesh->far_table);
    expect_call(mesh, WEB, "", " 403 ");
    mesh->in_pair.caller = "*";
    node_set(&mesh->far, &mesh->far_table);
    expect_call(mesh, WEB, "", " 200 ");
    mesh->in_pair.caller = "web.acme.mesh";
    node_set(&mesh->far, &mesh->far_table);
    expect_call(mesh, WEB, "", " 200 ");
    mesh->near_fronts[0].pair_count = 0;
    node_set(&mesh->near, &mesh->near_table);
    expect_call(mesh, WEB, "", " 403 ");
    assert_int_equal(syn_balancer_pid(mesh->near.balancer), near);
    assert_int_equal(syn_balancer_pid(mesh->far.balancer), far);
}

/* A front of IPv6 beside the other, at the same port: callers, pairs and matches of its own. */
static void
test_six(void **state)
{
    struct mesh *mesh = *state;
    const struct syn_balancer_caller caller = {"0::1", "web.acme.mesh"};
    const struct syn_balancer_pair pairs[] = {{"web.acme.mesh", mesh->six, "web/db", 0},
                                              {"web.acme.mesh", mesh->six, "web/db", 1}};
    const struct syn_balancer_header header = {"x-try", SYN_BALANCER_PRESENT, NULL};
    const struct syn_balancer_match match = {
        .callee = mesh->six, .route = 1, .headers = &header, .header_count = 1};
    struct syn_balancer_frontend *front = &mesh->near_fronts[2];
    int near;

    (void)snprintf(mesh->six, sizeof(mesh->six), "[::1]:%u", mesh->near.port);
    (void)snprintf(mesh->any6, sizeof(mesh->any6), "[::]:%u", mesh->near.port);
    *front = mesh->near_fronts[0];
    front->id = "out6";
    front->address = mesh->any6;
    front->callers = &caller;
    front->caller_count = 1;
    front->pairs = pairs;
    front->pair_count = SYN_LEN(pairs);
    front->matches = &match;
    front->match_count = 1;
    mesh->near_table.frontend_count = 3;
    node_set(&mesh->far, &mesh->far_table);
    node_set(&mesh->near, &mesh->near_table);
    near = syn_balancer_pid(mesh->near.balancer);
    expect_call(mesh, "::1", "", SYN_BALANCER_CALLER ": web.acme.mesh\r\n");
    expect_call(mesh, "::1", "x-try: 1\r\n", " 200 ");
    expect_call(mesh, WEB, "", SYN_BALANCER_CALLER ": web.acme.mesh\r\n");
    front->pair_count = 1; /* where the match leads is nothing that it may call */
    node_set(&mesh->near, &mesh->near_table);
    expect_call(mesh, "::1", "x-try: 1\r\n", " 403 ");
    expect_call(mesh, "::1", "", " 200 ");
    front->pair_count = 0;
    node_set(&mesh->near, &mesh->near_table);
    expect_call(mesh, "::1", "", " 403 ");
    expect_call(mesh, WEB, "x-try: 1\r\n", " 200 ");
    front->pair_count = 1;
    front->caller_count = 0;
    node_set(&mesh->near, &mesh->near_table);
    assert_string_equal(call(mesh, "::1", ""), "");
    assert_int_equal(syn_balancer_pid(mesh->near.balancer), near);
}

/* Who is at the other end is not who it should be, or is nobody's: nothing is said to it. */
static void
test_identities(void **state)
{
    struct mesh *mesh = *state;
    char ca[300];
    unsigned before;
    struct syn_err err;

    node_set(&mesh->far, &mesh->far_table);
    issue(mesh, "evil.acme.mesh", mesh->db_pem, sizeof(mesh->db_pem));
    mesh->db.pem_len = strlen(mesh->db_pem);
    node_set(&mesh->far, &mesh->far_table); /* a new content of the same */
    node_set(&mesh->near, &mesh->near_table);
    expect_call(mesh, WEB, "", " 503 ");
    issue(mesh, DB, mesh->db_pem, sizeof(mesh->db_pem));
    mesh->db.pem_len = strlen(mesh->db_pem);
    node_set(&mesh->far, &mesh->far_table);
    wait_until(has(call(mesh, WEB, ""), " 200 ")); /* when a check was well */
    /* An authority of somebody else's. */
    before = atomic_load(&mesh->origins[0].requests);
    (void)snprintf(ca, sizeof(ca), "%s.other", mesh->ca);
    assert_done(syn_tls_ca_create(ca, "another", 1, &err), &err);
    (void)syn_str_copy(mesh->ca, sizeof(mesh->ca), ca);
    issue(mesh, "web.acme.mesh", mesh->web_pem, sizeof(mesh->web_pem));
    mesh->web.pem_len = strlen(mesh->web_pem);
    node_set(&mesh->near, &mesh->near_table);
    assert_false(has(call(mesh, WEB, ""), " 200 "));
    assert_int_equal(atomic_load(&mesh->origins[0].requests), before);
}

/* --- without a reload ------------------------------------------------------------------------- */

/* A service that comes to a node, with its certificate, and goes; and the certificate's renewal:
 * under load, nothing is lost, and the process stays. */
static void
test_without_reload(void **state)
{
    struct mesh *mesh = *state;
    struct load load;
    int near, far;

    mesh->in.cert_count = mesh->in.pair_count = 0;
    mesh->far_table.cert_count = 0;
    node_set(&mesh->far, &mesh->far_table);
    mesh->near_fronts[0].pair_count = mesh->near_table.cert_count = 0;
    mesh->to_db.server_count = 0;
    node_set(&mesh->near, &mesh->near_table);
    near = syn_balancer_pid(mesh->near.balancer);
    far = syn_balancer_pid(mesh->far.balancer);
    expect_call(mesh, WEB, "", " 403 ");
    mesh->in.cert_count = mesh->in.pair_count = mesh->far_table.cert_count = 1;
    node_set(&mesh->far, &mesh->far_table);
    mesh->near_fronts[0].pair_count = mesh->near_table.cert_count = mesh->to_db.server_count = 1;
    node_set(&mesh->near, &mesh->near_table);
    load_start_from(&load, WEB, mesh->near.port, 3);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = atomic_load(&load.done);

        issue(mesh, "web.acme.mesh", mesh->web_pem, sizeof(mesh->web_pem));
        issue(mesh, DB, mesh->db_pem, sizeof(mesh->db_pem));
        mesh->web.pem_len = strlen(mesh->web_pem);
        mesh->db.pem_len = strlen(mesh->db_pem);
        node_set(&mesh->far, &mesh->far_table);
        node_set(&mesh->near, &mesh->near_table);
        wait_until(atomic_load(&load.done) >= before + 30);
    }
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u of %u failed; the first: %s", atomic_load(&load.failed),
                 atomic_load(&load.done), load.failure);
    mesh->in.cert_count = mesh->in.pair_count = mesh->far_table.cert_count = 0;
    node_set(&mesh->far, &mesh->far_table);
    assert_false(has(call(mesh, WEB, ""), " 200 "));
    assert_int_equal(syn_balancer_pid(mesh->near.balancer), near);
    assert_int_equal(syn_balancer_pid(mesh->far.balancer), far);
}

/* One node after the other believes another authority too, has a certificate of it, and believes
 * that alone: at no time is a call lost. */
static void
test_rotation(void **state)
{
    struct mesh *mesh = *state;
    struct node *const nodes[] = {&mesh->near, &mesh->far};
    struct syn_balancer_table *const tables[] = {&mesh->near_table, &mesh->far_table};
    struct syn_balancer_cert *const certs[] = {&mesh->web, &mesh->db};
    char *const pems[] = {mesh->web_pem, mesh->db_pem};
    char old[256], both[sizeof(mesh->authority)];
    SYN_BUF(fresh);
    struct load load;
    struct syn_err err;

    (void)syn_str_copy(old, sizeof(old), mesh->ca);
    (void)snprintf(mesh->ca, sizeof(mesh->ca), "%s/fresh-ca.pem", syn_test_dir());
    assert_done(syn_tls_ca_create(mesh->ca, "a mesh, later", 1, &err), &err);
    assert_done(syn_tls_cert_text(mesh->ca, &fresh, &err), &err);
    assert_true(strlen(mesh->authority) + fresh.len < sizeof(both));
    (void)snprintf(both, sizeof(both), "%s%s", mesh->authority, syn_buf_text(&fresh));
    node_set(&mesh->far, &mesh->far_table);
    node_set(&mesh->near, &mesh->near_table);
    expect_call(mesh, WEB, "", " 200 ");
    load_start_from(&load, WEB, mesh->near.port, 3);
    for (size_t step = 0; step < 3; step++)
        for (size_t i = 0; i < 2; i++) {
            unsigned before = atomic_load(&load.done);

            if (step == 1) {
                issue(mesh, i == 0 ? "web.acme.mesh" : DB, pems[i], sizeof(mesh->web_pem));
                certs[i]->pem_len = strlen(pems[i]);
            } else {
                tables[i]->authority = step == 0 ? both : syn_buf_text(&fresh);
            }
            node_set(nodes[i], tables[i]);
            wait_until(atomic_load(&load.done) >= before + 30);
        }
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        fail_msg("%u of %u failed; the first: %s", atomic_load(&load.failed),
                 atomic_load(&load.done), load.failure);
    /* What the old one has signed is believed no more. */
    (void)syn_str_copy(mesh->ca, sizeof(mesh->ca), old);
    issue(mesh, "web.acme.mesh", mesh->web_pem, sizeof(mesh->web_pem));
    mesh->web.pem_len = strlen(mesh->web_pem);
    mesh->near_table.authority = both; /* another process, without connections of before */
    node_set(&mesh->near, &mesh->near_table);
    assert_false(has(call(mesh, WEB, ""), " 200 "));
}

/* --- what the pair is for --------------------------------------------------------------------- */

static uint64_t
counted(struct mesh *mesh, unsigned class)
{
    struct syn_balancer_stats stats;
    struct syn_err err;
    uint64_t count;

    assert_done(syn_balancer_read(mesh->near.balancer, &stats, &err), &err);
    assert_int_equal(stats.count, 1);
    assert_string_equal(stats.backends[0].backend, "web/db");
    count = stats.backends[0].answers[class];
    syn_balancer_stats_fini(&stats);
    return count;
}

/* A limit for each second: what is beyond it is told so, and the rest goes on. */
static void
test_rate(void **state)
{
    struct mesh *mesh = *state;
    unsigned good = 0, refused = 0;

    node_set(&mesh->far, &mesh->far_table);
    mesh->to_db.rate_max = 4;
    node_set(&mesh->near, &mesh->near_table);
    for (unsigned i = 0; i < 600 && (good < 5 || refused < 3); i++) {
        const char *text = call(mesh, WEB, "");

        good += has(text, " 200 ");
        refused += has(text, " 429 ") && has(text, "retry-after: 1");
        (void)poll(NULL, 0, 30);
    }
    assert_true(good >= 5 && refused >= 3);
    wait_until(counted(mesh, 2) == good && counted(mesh, 4) == refused);
}

/* Replicas here and there share the requests; when the other node is gone those here have them. */
static void
test_here_and_there(void **state)
{
    struct mesh *mesh = *state;
    struct syn_balancer_server servers[2];

    node_set(&mesh->far, &mesh->far_table);
    servers[0] = mesh->there;
    servers[1] = (struct syn_balancer_server){
        .id = "here", .address = mesh->origins[1].address, .weight = 1};
    mesh->to_db.servers = servers;
    mesh->to_db.server_count = 2;
    node_set(&mesh->near, &mesh->near_table);
    for (unsigned i = 0; i < 10; i++)
        expect_call(mesh, WEB, "", " 200 ");
    assert_int_equal(atomic_load(&mesh->origins[0].requests), 5);
    assert_int_equal(atomic_load(&mesh->origins[1].requests), 5);
    mesh->far.balancer = syn_balancer_close(mesh->far.balancer, false);
    for (unsigned i = 0; i < 10; i++)
        expect_call(mesh, WEB, "", " 200 ");
    assert_int_equal(atomic_load(&mesh->origins[1].requests), 15);
}

/* Who answers with errors is left out, be it here or another node. */
static void
test_outliers(void **state)
{
    struct mesh *mesh = *state;
    struct syn_balancer_server servers[2];

    node_set(&mesh->far, &mesh->far_table);
    servers[0] = mesh->there;
    servers[1] = (struct syn_balancer_server){
        .id = "here", .address = mesh->origins[1].address, .weight = 1};
    mesh->to_db.servers = servers;
    mesh->to_db.server_count = 2;
    mesh->to_db.connect_ms = 2000; /* what comes late is an error, too */
    for (unsigned bad = 0; bad < 2; bad++) {
        unsigned good = 0;

        mesh->to_db.health = (struct syn_balancer_health){.check = SYN_BALANCER_CHECK_TCP,
                                                          .interval_ms = 600000 + bad,
                                                          .rise = 1,
                                                          .errors_max = 3};
        node_set(&mesh->near, &mesh->near_table);
        atomic_store(&mesh->origins[bad].status, 500);
        atomic_store(&mesh->origins[1 - bad].status, 200);
        for (unsigned i = 0; i < 200 && good < 8; i++)
            good = has(call(mesh, WEB, ""), " 200 ") ? good + 1 : 0;
        assert_int_equal(good, 8); /* in a row */
    }
}

/* --- another way ------------------------------------------------------------------------------ */

/* Two replicas here: what a match takes goes to one of nine parts, and of one. */
struct ways {
    struct syn_balancer_server here[2];
    struct syn_balancer_backend backends[3];
    struct syn_balancer_pair pairs[3];
    const char *methods[2];
    struct syn_balancer_header headers[2];
    struct syn_balancer_match matches[2];
};

static void
ways_set(struct mesh *mesh, struct ways *ways)
{
    const struct syn_balancer_pair pairs[] = {
        {"web.acme.mesh", mesh->near.address, "web/db", 0},
        {"web.acme.mesh", mesh->near.address, "web/db/r1", 1},
        {"web.acme.mesh", mesh->near.address, "web/db/r2", 2},
    };

    *ways = (struct ways){
        .here = {{.id = "r1", .address = mesh->origins[0].address, .weight = 9},
                 {.id = "r2", .address = mesh->origins[1].address, .weight = 1}},
        .methods = {"GET", "HEAD"},
        .headers = {{"X-Try", SYN_BALANCER_PREFIX, "a b; {c} # ${HOME} -- "},
                    {"x-too", SYN_BALANCER_PRESENT, NULL}},
    };
    memcpy(ways->pairs, pairs, sizeof(pairs));
    ways->backends[0] =
        (struct syn_balancer_backend){.id = "web/db", .servers = ways->here, .server_count = 1};
    ways->backends[1] =
        (struct syn_balancer_backend){.id = "web/db/r1", .servers = ways->here, .server_count = 2};
    ways->backends[2] = (struct syn_balancer_backend){
        .id = "web/db/r2", .servers = &ways->here[1], .server_count = 1};
    ways->matches[0] = (struct syn_balancer_match){.callee = mesh->near.address,
                                                   .route = 1,
                                                   .path = "/x",
                                                   .methods = ways->methods,
                                                   .method_count = 2,
                                                   .headers = ways->headers,
                                                   .header_count = 2};
    ways->matches[1] =
        (struct syn_balancer_match){.callee = mesh->near.address, .route = 2, .path = "/only/"};
    mesh->near_fronts[0].pairs = ways->pairs;
    mesh->near_fronts[0].pair_count = 3;
    mesh->near_fronts[0].matches = ways->matches;
    mesh->near_fronts[0].match_count = 2;
    mesh->near_table.backends = ways->backends;
    mesh->near_table.backend_count = 3;
}

#define TRY "X-Try: a b; {c} # ${HOME} -- and more\r\nX-Too: \r\n"

static const char *
call_at(struct mesh *mesh, const char *path, const char *headers)
{
    ask_from(WEB, mesh->near.port, "db", path, headers, &mesh->answer);
    return syn_buf_text(&mesh->answer);
}

static void
expect_shares(struct mesh *mesh, unsigned calls, unsigned first)
{
    unsigned before = atomic_load(&mesh->origins[0].requests);

    for (unsigned i = 0; i < calls; i++)
        expect_call(mesh, WEB, TRY, " 200 ");
    assert_int_equal(atomic_load(&mesh->origins[0].requests) - before, first);
}

/* Which requests, how many of them where, and that other shares, and other pairs, are commands. */
static void
test_routes(void **state)
{
    struct mesh *mesh = *state;
    struct ways ways;
    int pid;

    ways_set(mesh, &ways);
    node_set(&mesh->near, &mesh->near_table);
    pid = syn_balancer_pid(mesh->near.balancer);
    expect_shares(mesh, 40, 36);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(has(call_at(mesh, "/x", ""), "\r\n\r\no1"));
        assert_true(has(call_at(mesh, "/y", TRY), "\r\n\r\no1"));
        assert_true(has(call_at(mesh, "/xx", TRY), "\r\n\r\no1"));
        assert_true(has(call_at(mesh, "/only", ""), "\r\n\r\no2"));
        assert_true(has(call_at(mesh, "/only/this?x", ""), "\r\n\r\no2"));
        assert_true(has(call_at(mesh, "/onlyx", ""), "\r\n\r\no1"));
    }
    ways.here[0].weight = ways.here[1].weight = 1;
    node_set(&mesh->near, &mesh->near_table);
    expect_shares(mesh, 10, 5);
    mesh->near_fronts[0].pair_count = 2; /* where the second leads is nothing that it may call */
    node_set(&mesh->near, &mesh->near_table);
    assert_true(has(call_at(mesh, "/only", ""), " 403 "));
    assert_true(has(call_at(mesh, "/", ""), " 200 "));
    assert_int_equal(syn_balancer_pid(mesh->near.balancer), pid);
}

/* What would be more than a value in HAProxy's words is no match. */
static void
test_bad_matches(void **state)
{
    static const char *const values[] = {"a'b", "a\"b", "a\\b", "a\nb", "", "\xc3\xa4"};
    struct mesh *mesh = *state;
    struct ways ways;
    struct syn_err err;

    ways_set(mesh, &ways);
    assert_done(syn_balancer_check(&mesh->near_table, &err), &err);
    for (size_t i = 0; i < SYN_LEN(values); i++) {
        ways.headers[0].value = values[i];
        assert_int_equal(syn_balancer_check(&mesh->near_table, &err), SYN_E_INVALID);
    }
    ways.headers[0].value = "good";
    ways.headers[0].name = "a b";
    assert_int_equal(syn_balancer_check(&mesh->near_table, &err), SYN_E_INVALID);
    ways.headers[0].name = "a";
    ways.methods[0] = "GET }";
    assert_int_equal(syn_balancer_check(&mesh->near_table, &err), SYN_E_INVALID);
    ways.methods[0] = "GET";
    ways.matches[0].path = "/a b";
    assert_int_equal(syn_balancer_check(&mesh->near_table, &err), SYN_E_INVALID);
    ways.matches[0].path = NULL;
    ways.backends[1].mirror = "nowhere";
    ways.backends[1].mirror_percent = 5;
    assert_int_equal(syn_balancer_check(&mesh->near_table, &err), SYN_E_INVALID);
}

/* A part of it is sent to another as well, with its body; nobody waits for that, or its answer. */
static void
test_mirror(void **state)
{
    struct mesh *mesh = *state;
    struct ways ways;
    int pid;

    if (!syn_balancer_holds(mesh->near.balancer))
        skip();
    ways_set(mesh, &ways);
    ways.backends[0].mirror = "web/db/r2";
    ways.backends[0].mirror_percent = 50;
    atomic_store(&mesh->origins[1].status, 500);
    node_set(&mesh->near, &mesh->near_table);
    pid = syn_balancer_pid(mesh->near.balancer);
    for (unsigned i = 0; i < 20; i++)
        assert_true(has(call_at(mesh, "/y", "X-Mesh-Mirror: forged\r\n"), " 200 "));
    assert_int_equal(atomic_load(&mesh->origins[0].requests), 20);
    wait_until(atomic_load(&mesh->origins[1].requests) >= 9);
    (void)poll(NULL, 0, 200); /* time for too many */
    /* Each thread counts for itself, and so may be one half behind. */
    assert_in_range(atomic_load(&mesh->origins[1].requests), 9, 10);
    ways.backends[0].mirror_percent = 100;
    node_set(&mesh->near, &mesh->near_table);
    (void)call_at(mesh, "/y", "");
    wait_until(atomic_load(&mesh->origins[1].requests) >= 10);
    assert_int_equal(syn_balancer_pid(mesh->near.balancer), pid);
}

/* Of a service that breaks off every call, no more than so many are asked for again. */
static void
test_retry_budget(void **state)
{
    struct mesh *mesh = *state;
    struct ways ways;

    ways_set(mesh, &ways);
    ways.backends[0].retry_percent = -1;
    mesh->near_table.backend_count = mesh->near_fronts[0].pair_count = 1;
    mesh->near_fronts[0].match_count = 0;
    atomic_store(&mesh->origins[0].status, 0);
    node_set(&mesh->near, &mesh->near_table);
    for (unsigned i = 0; i < 40; i++)
        expect_call(mesh, WEB, "", " 502 ");
    /* Three for each, until the floor of ten seconds is reached. */
    assert_in_range(atomic_load(&mesh->origins[0].requests), 40 + SYN_BALANCER_RETRY_FLOOR * 10,
                    40 + SYN_BALANCER_RETRY_FLOOR * 10 + 3);
}

static void
test_tcp(void **state)
{
    struct mesh *mesh = *state;

    mesh->to_db.mode = mesh->in_db.mode = SYN_BALANCER_TCP;
    mesh->near_fronts[0].mode = mesh->in.mode = SYN_BALANCER_TCP;
    node_set(&mesh->far, &mesh->far_table);
    node_set(&mesh->near, &mesh->near_table);
    /* On a busy machine the first check of the other end may take long. */
    for (int i = 0; i < 100 && call(mesh, WEB, "")[0] == '\0'; i++)
        (void)usleep(50000);
    expect_call(mesh, WEB, SYN_BALANCER_CALLER ": mine\r\n", SYN_BALANCER_CALLER ": mine");
    assert_string_equal(call(mesh, BATCH, ""), "");
    mesh->in_pair.caller = "*.other.mesh";
    node_set(&mesh->far, &mesh->far_table);
    assert_string_equal(call(mesh, WEB, ""), "");
}

#define meshed(test) cmocka_unit_test_setup_teardown(test, mesh_setup, mesh_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        meshed(test_policy), meshed(test_identities),     meshed(test_without_reload),
        meshed(test_rate),   meshed(test_here_and_there), meshed(test_outliers),
        meshed(test_tcp),    meshed(test_routes),         meshed(test_bad_matches),
        meshed(test_mirror), meshed(test_retry_budget),   meshed(test_rotation),
        meshed(test_six),
    };

    return cmocka_run_group_tests(tests, have_haproxy, NULL);
}
