/* A call of the mesh beside the same way in plain text, in turns: from a caller to its node's
 * HAProxy, to that of another node, to the service. What the mesh adds is TLS with certificates of
 * both ends, who may call whom at both, and counting by pairs.
 *
 * The HAProxys are one thread each on CPU 0; the caller and the service are on CPU 1. One
 * connection, one request at a time: latency, not throughput. Prints lines
 * `name  ours  unit  peer  theirs  ratio  goal  ok|short`, tab-separated, on standard output. */
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>
#include <synor/base/world.h>
#include <synor/infra/balancer.h>
#include <synor/infra/tls_cert.h>

#include "balancer_testing.h"

#define ROUNDS 9
#define CALLS  2000 /* of each way in a round */
#define CALLER "127.0.0.2"

static char dir[] = "/tmp/synor-bench-mesh-XXXXXX";
static struct origin origin;

/* Two balancers, one behind the other. */
struct way {
    struct syn_balancer *near, *far;
    char near_address[32], far_address[32];
    unsigned port;
};

static void
die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "bench-mesh: %s%s%s\n", what, err == NULL ? "" : ": ",
                  err == NULL ? "" : err->msg);
    exit(1);
}

static void
on_cpu(size_t cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static int
by_value(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static double
median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[count / 2];
}

/* --- the two ways ----------------------------------------------------------------------------- */

static struct syn_balancer *
start(const char *name, const struct syn_balancer_table *table)
{
    char path[256];
    const struct syn_balancer_options options = {.dir = path, .threads = 1};
    struct syn_balancer *balancer = NULL;
    struct syn_err err;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (syn_balancer_open(&options, &balancer, &err) < 0 ||
        syn_balancer_set(balancer, table, &err) < 0)
        die(name, &err);
    return balancer;
}

static void
choose_ports(struct way *way)
{
    way->port = free_port();
    (void)snprintf(way->near_address, sizeof(way->near_address), "127.0.0.1:%u", way->port);
    (void)snprintf(way->far_address, sizeof(way->far_address), "127.0.0.1:%u", free_port());
}

static void
open_plain(struct way *way)
{
    struct syn_balancer_server servers[2];
    struct syn_balancer_backend backends[2];
    struct syn_balancer_frontend fronts[2];

    choose_ports(way);
    for (unsigned i = 0; i < 2; i++) {
        const struct syn_balancer_table table = {.frontends = &fronts[i],
                                                 .frontend_count = 1,
                                                 .backends = &backends[i],
                                                 .backend_count = 1};

        servers[i] = (struct syn_balancer_server){
            .id = "s", .address = i == 0 ? origin.address : way->far_address, .weight = 1};
        backends[i] =
            (struct syn_balancer_backend){.id = "b", .servers = &servers[i], .server_count = 1};
        fronts[i] = (struct syn_balancer_frontend){
            .id = "f", .address = i == 0 ? way->far_address : way->near_address, .backend = "b"};
        *(i == 0 ? &way->far : &way->near) = start(i == 0 ? "plain-far" : "plain-near", &table);
    }
}

static void
issue(const char *ca, const char *name, struct syn_buf *out)
{
    int64_t now_ms = syn_wall_ms(syn_world_system());
    const struct syn_tls_identity identity = {
        .name = name, .from_ms = now_ms - 60000, .until_ms = now_ms + 3600000};
    SYN_BUF(request);
    struct syn_err err;

    if (syn_tls_request_create(&name, 1, out, &request, &err) < 0 ||
        syn_tls_request_sign(ca, request.data, request.len, &identity, out, &err) < 0)
        die(name, &err);
}

/* As an agent makes it: see src/daemon/agent/mesh_table.c. */
static void
open_meshed(struct way *way)
{
    static const char *const certs[] = {"db"};
    char ca[256], idle[32];
    const struct syn_balancer_server there = {
        .id = "far", .address = way->far_address, .weight = 1, .peer = true};
    const struct syn_balancer_server here = {.id = "s", .address = origin.address, .weight = 1};
    const struct syn_balancer_backend out = {
        .id = "web/db",
        .servers = &there,
        .server_count = 1,
        .hold_ms = 5000,
        .retry_percent = 20,
        .cert = "web",
        .peer_name = "db.acme.mesh",
        .health = {.check = SYN_BALANCER_CHECK_TCP, .rise = 1, .peers_only = true}};
    const struct syn_balancer_backend in = {.id = "in/db",
                                            .servers = &here,
                                            .server_count = 1,
                                            .hold_ms = 2000,
                                            .retry_percent = 20,
                                            .client = SYN_BALANCER_CLIENT_NONE};
    const struct syn_balancer_caller caller = {CALLER, "web.acme.mesh"};
    const struct syn_balancer_pair may_call = {"web.acme.mesh", way->near_address, "web/db", 0};
    const struct syn_balancer_pair may_come = {"*.acme.mesh", "db.acme.mesh", "in/db", 0};
    const struct syn_balancer_frontend near[] = {
        {.id = "out",
         .address = way->near_address,
         .mesh = SYN_BALANCER_MESH_OUT,
         .callers = &caller,
         .caller_count = 1,
         .pairs = &may_call,
         .pair_count = 1},
        {.id = "in", .address = idle, .mesh = SYN_BALANCER_MESH_IN}};
    const struct syn_balancer_frontend far = {.id = "in",
                                              .address = way->far_address,
                                              .mesh = SYN_BALANCER_MESH_IN,
                                              .certs = certs,
                                              .cert_count = 1,
                                              .pairs = &may_come,
                                              .pair_count = 1};
    struct syn_balancer_cert web = {.id = "web"}, db = {.id = "db"};
    struct syn_balancer_table near_table = {near, 2, &out, 1, &web, 1, NULL};
    struct syn_balancer_table far_table = {&far, 1, &in, 1, &db, 1, NULL};
    SYN_BUF(web_pem);
    SYN_BUF(db_pem);
    SYN_BUF(authority);
    struct syn_err err;

    choose_ports(way);
    (void)snprintf(idle, sizeof(idle), "127.0.0.1:%u", free_port());
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
    if (syn_tls_ca_create(ca, "a mesh", 1, &err) < 0 || syn_tls_cert_text(ca, &authority, &err) < 0)
        die("an authority", &err);
    issue(ca, "web.acme.mesh", &web_pem);
    issue(ca, "db.acme.mesh", &db_pem);
    web.pem = syn_buf_text(&web_pem);
    web.pem_len = web_pem.len;
    db.pem = syn_buf_text(&db_pem);
    db.pem_len = db_pem.len;
    near_table.authority = far_table.authority = syn_buf_text(&authority);
    way->far = start("mesh-far", &far_table);
    way->near = start("mesh-near", &near_table);
}

/* --- calls ------------------------------------------------------------------------------------ */

static int
dial(unsigned port)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)inet_pton(AF_INET, CALLER, &from.sin_addr);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0 ||
        connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
        die("connecting", NULL);
    return fd;
}

/* One request and its answer, whose body is one line. */
static double
call_us(int fd)
{
    static const char request[] = "GET /x HTTP/1.1\r\nHost: db\r\n\r\n";
    char text[4096];
    size_t len = 0;
    const char *end = NULL;
    int64_t from_ns = syn_clock_ns();

    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        die("a request", NULL);
    do {
        ssize_t got = recv(fd, text + len, sizeof(text) - 1 - len, 0);

        if (got <= 0)
            die("an answer that broke off", NULL);
        len += (size_t)got;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
    } while (end == NULL || end[4] == '\0' || text[len - 1] != '\n');
    if (strncmp(text, "HTTP/1.1 200", 12) != 0)
        die(text, NULL);
    return (double)(syn_clock_ns() - from_ns) / 1000;
}

/* CPU time of a process, in us. */
static double
cpu_us(int pid)
{
    char path[64], line[1024];
    unsigned long user = 0, kernel = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL ||
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own text */
        sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &kernel) != 2)
        die(path, NULL);
    (void)fclose(file);
    return (double)(user + kernel) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

struct result {
    double p50_us, p99_us, cpu_us;
};

static struct result
measure(const struct way *way)
{
    static double times[CALLS];
    int near = syn_balancer_pid(way->near), far = syn_balancer_pid(way->far);
    int fd = dial(way->port);
    struct result result;

    for (unsigned i = 0; i < 100; i++)
        (void)call_us(fd);
    result.cpu_us = cpu_us(near) + cpu_us(far);
    for (unsigned i = 0; i < CALLS; i++)
        times[i] = call_us(fd);
    result.cpu_us = (cpu_us(near) + cpu_us(far) - result.cpu_us) / CALLS;
    result.p50_us = median(times, CALLS);
    result.p99_us = times[CALLS - CALLS / 100];
    (void)close(fd);
    return result;
}

static void
print_ratio(const char *name, double *ours, double *theirs, double goal)
{
    double we = median(ours, ROUNDS), they = median(theirs, ROUNDS);

    (void)printf("%s\t%.4g\tus\tplain text\t%.4g\t%.3f\t%.2f\t%s\n", name, we, they, we / they,
                 goal, we <= they * goal ? "ok" : "short");
}

int
main(void)
{
    struct way plain = {.near = NULL}, meshed = {.near = NULL};
    double p50[2][ROUNDS], p99[2][ROUNDS], cpu[2][ROUNDS];

    if (mkdtemp(dir) == NULL)
        die(dir, NULL);
    on_cpu(1);
    origin_start(&origin, "o");
    atomic_store(&origin.brief, true);
    on_cpu(0);
    open_plain(&plain);
    open_meshed(&meshed);
    on_cpu(1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < 2; k++) {
            bool mesh = (i + k) % 2 == 0;
            struct result result = measure(mesh ? &meshed : &plain);

            p50[mesh][i] = result.p50_us;
            p99[mesh][i] = result.p99_us;
            cpu[mesh][i] = result.cpu_us;
            (void)fprintf(stderr, "round %u: %s p50 %.1f us, p99 %.1f us, CPU %.1f us\n", i,
                          mesh ? "mesh" : "plain", result.p50_us, result.p99_us, result.cpu_us);
        }
    }
    print_ratio("mesh_p50", p50[1], p50[0], 1.10);
    print_ratio("mesh_p99", p99[1], p99[0], 1.10);
    print_ratio("mesh_cpu", cpu[1], cpu[0], 1.10);
    (void)syn_balancer_close(plain.near, false);
    (void)syn_balancer_close(plain.far, false);
    (void)syn_balancer_close(meshed.near, false);
    (void)syn_balancer_close(meshed.far, false);
    origin_stop(&origin);
    syn_tree_remove(dir);
    return 0;
}
