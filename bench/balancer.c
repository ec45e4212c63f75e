/* The balancer beside the same HAProxy with the shortest configuration that does the same, in
 * turns; how soon a server is in rotation; how long a change takes with 1,000 services, 10,000
 * servers and 10,000 open connections.
 *
 * Both HAProxys are one thread on CPU 0; wrk and the server behind them are on CPU 1. Prints lines
 * `name  ours  unit  peer  theirs  ratio  goal  ok|short`, tab-separated, on standard output. */
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>
#include <synor/infra/balancer.h>

#include "balancer_testing.h"

#define ROUNDS   7
#define SECONDS  "2"
#define CLIENTS  "32"
#define SERVICES 1000
#define REPLICAS 10
#define OPEN     10000
#define CHANGES  50

static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
static char dir[] = "/tmp/synor-bench-balancer-XXXXXX";
static struct origin origin;

static void
die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "bench-balancer: %s%s%s\n", what, err == NULL ? "" : ": ",
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

static double
now_ms(void)
{
    return (double)syn_clock_ns() / 1e6;
}

static int
by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static double
median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[count / 2];
}

static void
set(struct syn_balancer *balancer, const struct syn_balancer_table *table)
{
    struct syn_err err;

    if (syn_balancer_set(balancer, table, &err) < 0)
        die("setting a table", &err);
}

static struct syn_balancer *
balancer_new(const char *name, unsigned spares, unsigned spare_port)
{
    struct syn_balancer *balancer = NULL;
    char path[128];
    struct syn_balancer_options options = {.dir = path,
                                           .threads = 1,
                                           .spare_host = spares == 0 ? NULL : "127.0.0.1",
                                           .spare_port = (uint16_t)spare_port,
                                           .spare_count = spares};
    struct syn_err err;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (syn_balancer_open(&options, &balancer, &err) < 0)
        die("opening a balancer", &err);
    return balancer;
}

/* --- requests a second ------------------------------------------------------------------------ */

struct result {
    double rps, p99_ms;
};

static double
number_after(const char *text, const char *mark, double unit_s)
{
    const char *at = strstr(text, mark);
    double value = 0;
    char unit[4] = "";

    if (at == NULL || sscanf(at + strlen(mark), " %lf%3s", &value, unit) < 1)
        die("wrk's report is not understood", NULL);
    if (strcmp(unit, "us") == 0)
        return value / 1000;
    return strcmp(unit, "s") == 0 ? value * unit_s : value;
}

static struct result
run_wrk(unsigned port)
{
    char url[64];
    const char *const argv[] = {"wrk", "-t1", "-c" CLIENTS, "-d" SECONDS, "--latency", url, NULL};
    struct syn_child_question question = {
        .program = "/usr/bin/wrk", .argv = argv, .env = env, .limit_ms = 60000, .bytes_max = 65536};
    SYN_BUF(out);
    struct syn_err err;
    int status = 0;

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    if (syn_child_ask(&question, &out, &status, &err) < 0)
        die("wrk", &err);
    if (strstr(out.data, "Non-2xx") != NULL || strstr(out.data, "Socket errors") != NULL)
        die("requests failed", NULL);
    return (struct result){.rps = number_after(out.data, "Requests/sec:", 1),
                           .p99_ms = number_after(out.data, "99%", 1000)};
}

static pid_t
peer_start(const char *program, unsigned port)
{
    char path[128];
    const char *const argv[] = {"haproxy", "-q", "-db", "-f", path, NULL};
    struct syn_child_options options = {.argv = argv,
                                        .env = env,
                                        .in = SYN_CHILD_NULL,
                                        .out = SYN_CHILD_NULL,
                                        .err = SYN_CHILD_NULL,
                                        .passed = SYN_CHILD_NULL};
    struct syn_err err;
    SYN_BUF(answer);
    FILE *file;
    pid_t pid = 0;

    (void)snprintf(path, sizeof(path), "%s/peer.cfg", dir);
    file = fopen(path, "we");
    if (file == NULL)
        die(path, NULL);
    (void)fprintf(file,
                  "global\n  nbthread 1\n  maxconn 4000\n"
                  "defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n"
                  "  timeout connect 2s\n  option forwardfor\n"
                  "frontend f\n  bind 127.0.0.1:%u\n  default_backend b\n"
                  "backend b\n  balance roundrobin\n  server s1 %s\n",
                  port, origin.address);
    (void)fclose(file);
    if (syn_child_spawn(program, &options, &pid, &err) < 0)
        die("starting the peer", &err);
    for (unsigned i = 0; i < 500 && strstr(syn_buf_text(&answer), " 200 ") == NULL; i++) {
        (void)usleep(10000);
        ask(port, "h", "/", "", &answer);
    }
    return pid;
}

static void
print_ratio(const char *name, const char *unit, double ours, double theirs, double goal,
            bool less_is_better)
{
    double ratio = ours / theirs;

    (void)printf("%s\t%.4g\t%s\thaproxy\t%.4g\t%.3f\t%.2f\t%s\n", name, ours, unit, theirs, ratio,
                 goal, (less_is_better ? ratio <= goal : ratio >= goal) ? "ok" : "short");
}

static void
print_limit(const char *name, double ours, double goal)
{
    (void)printf("%s\t%.3g\tms\t-\t-\t-\t%g\t%s\n", name, ours, goal, ours < goal ? "ok" : "short");
}

static void
bench_throughput(const char *program)
{
    unsigned port = free_port(), peer_port = free_port();
    char address[32];
    struct syn_balancer_server server = {.id = "s", .address = origin.address, .weight = 1};
    struct syn_balancer_backend backend = {.id = "b", .servers = &server, .server_count = 1};
    struct syn_balancer_frontend front = {.id = "f", .address = address, .backend = "b"};
    struct syn_balancer_table table = {
        .frontends = &front, .frontend_count = 1, .backends = &backend, .backend_count = 1};
    struct syn_balancer *balancer;
    double ours[ROUNDS], theirs[ROUNDS], our_p99[ROUNDS], their_p99[ROUNDS];
    pid_t peer;

    on_cpu(0);
    balancer = balancer_new("throughput", 0, 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    set(balancer, &table);
    peer = peer_start(program, peer_port);
    on_cpu(1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct result first = run_wrk(i % 2 == 0 ? port : peer_port);
        struct result second = run_wrk(i % 2 == 0 ? peer_port : port);
        struct result we = i % 2 == 0 ? first : second, they = i % 2 == 0 ? second : first;

        ours[i] = we.rps;
        theirs[i] = they.rps;
        our_p99[i] = we.p99_ms;
        their_p99[i] = they.p99_ms;
        (void)fprintf(stderr, "round %u: ours %.0f rps p99 %.2f ms, peer %.0f rps p99 %.2f ms\n", i,
                      we.rps, we.p99_ms, they.rps, they.p99_ms);
    }
    print_ratio("balancer_rps", "1/s", median(ours, ROUNDS), median(theirs, ROUNDS), 0.97, false);
    print_ratio("balancer_p99", "ms", median(our_p99, ROUNDS), median(their_p99, ROUNDS), 1.03,
                true);
    (void)kill(peer, SIGTERM);
    (void)syn_child_wait(peer);
    (void)syn_balancer_close(balancer, false);
}

/* --- in rotation ------------------------------------------------------------------------------ */

/* From the call to the new server's first request, under a load of 4 clients. */
static void
bench_rotation(void)
{
    struct origin fresh;
    unsigned port = free_port();
    char address[32], id[16];
    struct syn_balancer_server servers[2] = {{.id = "s", .address = origin.address, .weight = 1},
                                             {.id = id, .address = fresh.address, .weight = 1}};
    struct syn_balancer_backend backend = {.id = "b", .servers = servers, .server_count = 1};
    struct syn_balancer_frontend front = {.id = "f", .address = address, .backend = "b"};
    struct syn_balancer_table table = {
        .frontends = &front, .frontend_count = 1, .backends = &backend, .backend_count = 1};
    struct syn_balancer *balancer = balancer_new("rotation", 0, 0);
    double times[CHANGES];
    struct load load;

    origin_start(&fresh, "fresh");
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    set(balancer, &table);
    load_start(&load, port, 4);
    for (unsigned i = 0; i < CHANGES; i++) {
        unsigned before = atomic_load(&fresh.requests);
        double from = now_ms();

        (void)snprintf(id, sizeof(id), "s%u", i);
        backend.server_count = 2;
        set(balancer, &table);
        while (atomic_load(&fresh.requests) == before)
            (void)usleep(100);
        times[i] = now_ms() - from;
        backend.server_count = 1;
        set(balancer, &table);
    }
    load_stop(&load);
    if (atomic_load(&load.failed) > 0)
        die("requests were lost", NULL);
    (void)median(times, CHANGES);
    print_limit("balancer_in_rotation_worst", times[CHANGES - 1], 200);
    (void)syn_balancer_close(balancer, false);
    origin_stop(&fresh);
}

/* --- many services ---------------------------------------------------------------------------- */

struct many {
    struct syn_balancer_server servers[SERVICES + 1][REPLICAS];
    struct syn_balancer_backend backends[SERVICES + 1];
    struct syn_balancer_frontend fronts[SERVICES + 1];
    char ids[SERVICES + 1][16], replicas[REPLICAS + CHANGES][16];
    char addresses[SERVICES + 1][32], ends[REPLICAS + CHANGES][32];
};

static void
many_fill(struct many *many, unsigned port)
{
    for (unsigned i = 0; i < REPLICAS + CHANGES; i++) {
        (void)snprintf(many->replicas[i], sizeof(many->replicas[i]), "r%u", i);
        (void)snprintf(many->ends[i], sizeof(many->ends[i]), "127.0.%u.1:%u", i, origin.port);
    }
    for (unsigned i = 0; i <= SERVICES; i++) {
        (void)snprintf(many->ids[i], sizeof(many->ids[i]), "svc-%u", i);
        (void)snprintf(many->addresses[i], sizeof(many->addresses[i]), "127.0.0.1:%u", port + i);
        for (unsigned k = 0; k < REPLICAS; k++)
            many->servers[i][k] =
                (struct syn_balancer_server){.id = many->replicas[k],
                                             .address = k == 0 ? origin.address : many->ends[k],
                                             .weight = k == 0 ? 100 : 0};
        many->backends[i] = (struct syn_balancer_backend){
            .id = many->ids[i], .servers = many->servers[i], .server_count = REPLICAS};
        many->fronts[i] = (struct syn_balancer_frontend){
            .id = many->ids[i], .address = many->addresses[i], .backend = many->ids[i]};
    }
}

/* Clients that have asked once and stay. */
static void
open_many(unsigned port, int *fds)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    char answer[8192];

    for (unsigned i = 0; i < OPEN; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)(port + i % SERVICES)),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fds[i] < 0 || connect(fds[i], (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            send(fds[i], request, strlen(request), MSG_NOSIGNAL) < 0 ||
            recv(fds[i], answer, sizeof(answer), 0) <= 0)
            die("opening connections", NULL);
    }
}

static double
cpu_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double
worst_change(struct syn_balancer *balancer, struct many *many, struct syn_balancer_table *table)
{
    double worst = 0, cpu = cpu_ms(), start = now_ms();

    for (unsigned i = 0; i < CHANGES; i++) {
        struct syn_balancer_server *server = &many->servers[i * 17 % SERVICES][REPLICAS - 1];
        double from = now_ms();

        server->id = many->replicas[REPLICAS + i];
        server->address = many->ends[REPLICAS + i];
        set(balancer, table);
        worst = SYN_MAX(worst, now_ms() - from);
    }
    (void)fprintf(stderr, "a change: mean %.1f ms, of which %.1f ms of CPU are ours\n",
                  (now_ms() - start) / CHANGES, (cpu_ms() - cpu) / CHANGES);
    return worst;
}

static double
worst_service(struct syn_balancer *balancer, struct syn_balancer_table *table)
{
    double worst = 0;

    for (unsigned i = 0; i < CHANGES; i++) {
        double from, took;

        table->backend_count = table->frontend_count = SERVICES + 1;
        from = now_ms();
        set(balancer, table);
        took = now_ms() - from;
        table->backend_count = table->frontend_count = SERVICES;
        from = now_ms();
        set(balancer, table);
        worst = SYN_MAX(worst, SYN_MAX(took, now_ms() - from));
    }
    return worst;
}

static void
bench_many(void)
{
    struct many *many = syn_calloc(1, sizeof(*many));
    int *fds = syn_calloc(OPEN, sizeof(*fds));
    struct syn_balancer_table table = {.frontend_count = SERVICES, .backend_count = SERVICES};
    struct syn_balancer *balancer;
    struct syn_balancer_stats stats;
    struct syn_err err;
    double from;
    int pid;

    if (many == NULL || fds == NULL)
        die("no memory", NULL);
    many_fill(many, 21000);
    table.frontends = many->fronts;
    table.backends = many->backends;
    balancer = balancer_new("many", SERVICES + 50, 21000);
    from = now_ms();
    set(balancer, &table);
    (void)fprintf(stderr, "start with %d services: %.0f ms\n", SERVICES, now_ms() - from);
    open_many(21000, fds);
    pid = syn_balancer_pid(balancer);
    print_limit("balancer_change_worst", worst_change(balancer, many, &table), 100);
    print_limit("balancer_service_worst", worst_service(balancer, &table), 100);
    from = now_ms();
    if (syn_balancer_read(balancer, &stats, &err) < 0)
        die("reading", &err);
    (void)fprintf(stderr, "reading counters: %.0f ms; %llu connections\n", now_ms() - from,
                  (unsigned long long)stats.connections);
    if (stats.connections < OPEN || stats.backends[0].requests == 0)
        die("connections were lost", NULL);
    if (syn_balancer_pid(balancer) != pid || stats.restarts > 0 || stats.reloads > 1)
        die("there was a reload", NULL);
    syn_balancer_stats_fini(&stats);
    many->backends[0].connect_ms = 1234;
    from = now_ms();
    set(balancer, &table);
    (void)fprintf(stderr, "a reload: %.0f ms\n", now_ms() - from);
    for (unsigned i = 0; i < OPEN; i++)
        (void)close(fds[i]);
    (void)syn_balancer_close(balancer, false);
    syn_free(many);
    syn_free(fds);
}

int
main(int argc, char **argv)
{
    char program[256], version[32];
    struct rlimit files;
    struct syn_err err;

    (void)argv;

    (void)signal(SIGPIPE, SIG_IGN);
    if (syn_balancer_find(program, sizeof(program), version, sizeof(version), &err) < 0)
        die("no balancer", &err);
    if (access("/usr/bin/wrk", X_OK) < 0)
        die("there is no wrk", NULL);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (mkdtemp(dir) == NULL)
        die("making a folder", NULL);
    on_cpu(1);
    origin_start(&origin, "origin");
    atomic_store(&origin.brief, true);
    if (argc < 2) {
        bench_throughput(program);
        bench_rotation();
    }
    bench_many();
    origin_stop(&origin);
    syn_tree_remove(dir);
    return 0;
}
