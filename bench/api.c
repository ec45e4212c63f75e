/* Requests a second and CPU a request of a 1 KB JSON read: our server (routing, token check, a
 * handler that copies 1 KB) beside nginx serving a static file of the same size, in turns, in one
 * run.
 *
 * Both servers are one thread on CPU 0; wrk is on CPU 1, so that neither is billed for the load.
 * Prints lines `name  ours  unit  peer  theirs  ratio  goal  ok|short`, tab-separated, on standard
 * output. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/http_server.h>
#include <synor/infra/token.h>

#define BODY_BYTES  1024
#define ROUNDS      5
#define SECONDS     "2"
#define CONNECTIONS "32"

static char body[BODY_BYTES + 1];
static char token[SYN_TOKEN_LEN + 1];
static struct syn_token_book *book;

static int
authenticate(void *ctx, struct syn_http_req *req, const struct syn_http_route *route,
             struct syn_err *err)
{
    const char *text = syn_http_req_bearer(req);
    const struct syn_grant *grant = NULL;
    int rc;

    (void)ctx;
    if (text == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "no token");
    rc = syn_token_book_find(book, text, strlen(text), 1, &grant, err);
    if (rc < 0)
        return rc;
    if ((grant->scopes.bits & route->scopes) == 0)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "out of scope");
    return 0;
}

static int
read_job(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    (void)ctx;
    return syn_http_reply_bytes(req, 200, "application/json", body, BODY_BYTES, err);
}

static const struct syn_http_route routes[] = {
    {.method = "GET", .pattern = "/v1/training", .handler = read_job, .name = "training.list"},
    {.method = "GET",
     .pattern = "/v1/training/{id}",
     .scopes = SYN_SCOPE_READ,
     .handler = read_job,
     .name = "training.get"},
    {.method = "GET", .pattern = "/v1/nodes/{id}", .handler = read_job, .name = "nodes.get"},
};

static void
die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "bench-api: %s: %s\n", what, err != NULL ? err->msg : "failed");
    exit(1);
}

static void
pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static pid_t
serve(uint16_t *ret_port)
{
    int ready[2];
    pid_t pid;

    if (pipe(ready) != 0)
        die("pipe", NULL);
    pid = fork();
    if (pid == 0) {
        struct syn_loop *loop = NULL;
        struct syn_metrics *metrics = NULL;
        struct syn_http_server *server = NULL;
        struct syn_http_options options = {.authenticate = authenticate};
        struct syn_err err;

        pin(0);
        if (syn_loop_new(&loop, &err) < 0 || syn_metrics_new(&metrics, &err) < 0)
            die("loop", &err);
        options.loop = loop;
        options.metrics = metrics;
        if (syn_http_server_new(&options, &server, &err) < 0 ||
            syn_http_server_add(server, routes, SYN_LEN(routes), NULL, &err) < 0 ||
            syn_http_listen_tcp(server, "127.0.0.1:0", NULL, ret_port, &err) < 0)
            die("server", &err);
        if (write(ready[1], ret_port, sizeof(*ret_port)) != sizeof(*ret_port) ||
            syn_loop_run(loop, &err) < 0)
            die("run", &err);
        _exit(0);
    }
    if (pid < 0 || read(ready[0], ret_port, sizeof(*ret_port)) != sizeof(*ret_port))
        die("the server did not start", NULL);
    return pid;
}

static uint16_t
free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        die("no free port", NULL);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void
write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        die(path, NULL);
}

static pid_t
start_nginx(const char *dir, uint16_t port)
{
    char path[256];
    char conf[1024];
    pid_t pid;

    (void)snprintf(path, sizeof(path), "%s/job.json", dir);
    write_file(path, body);
    (void)chmod(path, 0644);
    (void)snprintf(path, sizeof(path), "%s/nginx.conf", dir);
    (void)snprintf(
        conf, sizeof(conf),
        "daemon off; master_process off; worker_processes 1; pid %s/pid;\n"
        "error_log %s/error.log crit; events { worker_connections 1024; }\n"
        "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n"
        "types { application/json json; }\n"
        "client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;\n"
        "uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
        "server { listen 127.0.0.1:%u; root %s; } }\n",
        dir, dir, dir, dir, dir, dir, dir, (unsigned)port, dir);
    write_file(path, conf);
    pid = fork();
    if (pid == 0) {
        pin(0);
        (void)dup2(2, 1);
        (void)execlp("nginx", "nginx", "-p", dir, "-c", path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* User and system time of a process, in microseconds: fields 14 and 15 of its stat line. */
static double
cpu_us(pid_t pid)
{
    char path[64];
    char text[1024];
    uint64_t ticks = 0;
    FILE *file;
    char *at;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL || fgets(text, sizeof(text), file) == NULL)
        die(path, NULL);
    (void)fclose(file);
    at = strrchr(text, ')'); /* the end of field 2, which may hold blanks */
    for (int field = 2; at != NULL && field < 15; field++) {
        uint64_t value = 0;
        char *end;

        at = strchr(at, ' ');
        if (at == NULL)
            break;
        end = strchr(++at, ' ');
        if (field < 13 || end == NULL)
            continue;
        *end = '\0';
        if (syn_parse_u64(at, 0, UINT64_MAX, "ticks", &value, NULL) < 0)
            die(path, NULL);
        *end = ' ';
        ticks += value;
    }
    return (double)ticks * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

/* The number in front of `mark`, or behind it, in one line of wrk's report; 0 when the line is
 * another. */
static double
number_at(char *line, const char *before, const char *behind)
{
    char *at = line + strspn(line, " ");
    double number = 0;
    char *end;

    if (behind != NULL && strstr(at, behind) == NULL)
        return 0;
    if (before != NULL) {
        if (!syn_str_starts(at, before))
            return 0;
        at += strlen(before);
        at += strspn(at, " ");
    }
    end = at + strcspn(at, " \n");
    *end = '\0';
    if (syn_parse_double(at, 0, 1e15, "figure", &number, NULL) < 0)
        die("wrk's report is not understood", NULL);
    *end = ' ';
    return number;
}

struct figure {
    double rps;
    double cpu; /* us a request */
};

static struct figure
run_wrk(pid_t pid, uint16_t port, const char *target)
{
    char url[128];
    char header[128];
    char line[256];
    struct figure figure = {0, 0};
    double before = cpu_us(pid);
    double requests = 0;
    int out[2];
    int status = 0;
    pid_t wrk;
    FILE *file;

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", (unsigned)port, target);
    (void)snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
    if (pipe(out) != 0)
        die("pipe", NULL);
    wrk = fork();
    if (wrk == 0) {
        pin(1);
        (void)dup2(out[1], 1);
        (void)close(out[0]);
        (void)execlp("wrk", "wrk", "-t1", "-c" CONNECTIONS, "-d" SECONDS, "-H", header, url,
                     (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    file = fdopen(out[0], "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        figure.rps += number_at(line, "Requests/sec:", NULL);
        requests += number_at(line, NULL, " requests in");
        if (strstr(line, "Non-2xx") != NULL || strstr(line, "Socket errors") != NULL)
            die(line, NULL);
    }
    if (file != NULL)
        (void)fclose(file);
    if (waitpid(wrk, &status, 0) != wrk || status != 0 || requests == 0)
        die("wrk failed", NULL);
    figure.cpu = (cpu_us(pid) - before) / requests;
    return figure;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
median(double *values)
{
    qsort(values, ROUNDS, sizeof(values[0]), compare);
    return values[ROUNDS / 2];
}

static void
wait_for_port(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    const struct timespec pause = {0, 20000000};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 250; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int rc = connect(fd, (struct sockaddr *)&address, sizeof(address));

        (void)close(fd);
        if (rc == 0)
            return;
        (void)nanosleep(&pause, NULL);
    }
    die("nginx did not start; is it installed?", NULL);
}

static void
remove_tree(const char *dir)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

static void
make_token(void)
{
    struct syn_grant grant = {.account = "acct-bench", .scopes = {SYN_SCOPE_READ, ""}};
    struct syn_err err;

    memset(body, 'x', BODY_BYTES);
    body[0] = '"'; /* a JSON text */
    body[BODY_BYTES - 1] = '"';
    if (syn_token_book_new(&book, &err) < 0)
        die("tokens", &err);
    for (int i = 0; i < 1000; i++) {
        syn_token_new(token);
        if (syn_token_digest(token, SYN_TOKEN_LEN, grant.digest, &err) < 0 ||
            syn_token_book_put(book, &grant, &err) < 0)
            die("tokens", &err);
    }
}

int
main(void)
{
    char dir[] = "/tmp/synor-bench-api.XXXXXX";
    double ours_rps[ROUNDS];
    double ours_cpu[ROUNDS];
    double theirs_rps[ROUNDS];
    double theirs_cpu[ROUNDS];
    uint16_t port = 0;
    uint16_t nginx_port = free_port();
    double rps;
    double cpu;
    pid_t pid;
    pid_t nginx;

    if (mkdtemp(dir) == NULL || chmod(dir, 0755) != 0)
        die("mkdtemp", NULL);
    make_token();
    pid = serve(&port);
    nginx = start_nginx(dir, nginx_port);
    wait_for_port(nginx_port);
    for (int i = 0; i < ROUNDS; i++) {
        struct figure ours = run_wrk(pid, port, "/v1/training/train-abcdefghij");
        struct figure theirs = run_wrk(nginx, nginx_port, "/job.json");

        ours_rps[i] = ours.rps;
        ours_cpu[i] = ours.cpu;
        theirs_rps[i] = theirs.rps;
        theirs_cpu[i] = theirs.cpu;
        (void)fprintf(stderr, "round %d: ours %.0f/s %.2f us, nginx %.0f/s %.2f us\n", i + 1,
                      ours.rps, ours.cpu, theirs.rps, theirs.cpu);
    }
    (void)kill(pid, SIGTERM);
    (void)kill(nginx, SIGTERM);
    (void)waitpid(pid, NULL, 0);
    (void)waitpid(nginx, NULL, 0);
    remove_tree(dir);
    rps = median(ours_rps) / median(theirs_rps);
    cpu = median(ours_cpu) / median(theirs_cpu);
    (void)printf("api_read_rps\t%.0f\treq/s\tnginx\t%.0f\t%.2f\t1.5\t%s\n", median(ours_rps),
                 median(theirs_rps), rps, rps >= 1.5 ? "ok" : "short");
    (void)printf("api_read_cpu_us\t%.2f\tus\tnginx\t%.2f\t%.2f\t0.67\t%s\n", median(ours_cpu),
                 median(theirs_cpu), cpu, cpu <= 0.67 ? "ok" : "short");
    return 0;
}
