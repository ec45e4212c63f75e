/* A Python function forked from a zygote, sandboxed, to its first answer; beside `runc run
 * /bin/true` of a busybox bundle, turn by turn so that both meet the same machine; and what each
 * that waits takes of memory.
 *
 *      bench-function_zygote [TURNS]     as root; needs python3, runc and busybox */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/child.h>
#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>
#include <synor/runtime/zygote.h>
#include <synor/workload/function_pool.h>

#define TURNS_DEFAULT 50
#define TURNS_MAX     500
#define IDLE          32 /* instances that wait at once */
#define GOAL_MS       10.0
#define GOAL_R        0.25
#define GOAL_MB       4.0
#define WAIT_MS       20000

static const char function[] = "def handler(event, context):\n    return 'hello'\n";
static const char request[] = "GET / HTTP/1.1\r\nhost: f\r\n\r\n";
static char dir[64];

/* One instance. */
struct made {
    pid_t pid;
    int door;
    struct sockaddr_in address;
};

static double
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int
compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double
median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static const char *
at(const char *name)
{
    static char path[16][128];
    static unsigned next;
    char *out = path[next++ % SYN_LEN(path)];

    (void)snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
    return out;
}

static int
put(const char *name, const char *text, size_t len, struct syn_err *err)
{
    FILE *file = fopen(at(name), "we");
    bool good = file != NULL && fwrite(text, 1, len, file) == len;

    if (file != NULL && fclose(file) != 0)
        good = false;
    return good ? SYN_OK : SYN_FAIL_SYS(err, errno, "writing %s", at(name));
}

static int
run(const char *const *argv, struct syn_err *err)
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    const struct syn_child_question question = {.program = argv[0],
                                                .argv = argv,
                                                .env = env,
                                                .limit_ms = WAIT_MS,
                                                .bytes_max = 65536,
                                                .errors_too = true};
    SYN_BUF(said);
    int status = 0;
    int rc = syn_child_ask(&question, &said, &status, err);

    return rc < 0        ? rc
           : status != 0 ? SYN_FAIL(err, SYN_E_IO, "%s: %.160s", argv[0], syn_buf_text(&said))
                         : SYN_OK;
}

/* --- theirs ----------------------------------------------------------------------------------- */

static int
make_bundle(struct syn_err *err)
{
    static const char config[] =
        "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
        "\"process\":{\"args\":[\"/bin/true\"],\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},"
        "\"noNewPrivileges\":true},\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\","
        "\"source\":\"proc\"},{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"}],"
        "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},"
        "{\"type\":\"uts\"},{\"type\":\"mount\"}]}}";
    const char *const copy[] = {"/usr/bin/cp", "/usr/bin/busybox", at("rootfs/bin/true"), NULL};

    if (mkdir(at("rootfs"), 0755) < 0 || mkdir(at("rootfs/bin"), 0755) < 0 ||
        mkdir(at("rootfs/proc"), 0755) < 0 || mkdir(at("rootfs/dev"), 0755) < 0)
        return SYN_FAIL_SYS(err, errno, "making a bundle");
    if (run(copy, err) < 0)
        return SYN_E_IO;
    return put("config.json", config, strlen(config), err);
}

static int
turn_theirs(double *ret_ms, struct syn_err *err)
{
    const char *const argv[] = {"/usr/sbin/runc", "--root", at("runc"),     "run",
                                "--bundle",       dir,      "bench-zygote", NULL};
    double begin = now_ms();
    int rc = run(argv, err);

    *ret_ms = now_ms() - begin;
    return rc;
}

/* --- ours ------------------------------------------------------------------------------------- */

static int
open_door(struct made *made, struct syn_err *err)
{
    socklen_t len = sizeof(made->address);

    made->address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    made->door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made->door < 0 || bind(made->door, (struct sockaddr *)&made->address, len) < 0 ||
        listen(made->door, 128) < 0 ||
        getsockname(made->door, (struct sockaddr *)&made->address, &len) < 0)
        return SYN_FAIL_SYS(err, errno, "a door");
    return SYN_OK;
}

static int
call(const struct made *made, struct syn_err *err)
{
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    char answer[512] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
                connect(fd, (const struct sockaddr *)&made->address, sizeof(made->address)) == 0 &&
                write(fd, request, strlen(request)) == (ssize_t)strlen(request) &&
                read(fd, answer, sizeof(answer) - 1) > 0 && strstr(answer, "200 OK") != NULL;

    (void)close(fd);
    return good ? SYN_OK : SYN_FAIL(err, SYN_E_IO, "no answer: %.80s", answer);
}

static int
make(struct syn_zygote *zygote, struct made *made, struct syn_err *err)
{
    static unsigned number;
    const char *const env[] = {"SYNOR_HANDLER=main.handler", "SYNOR_CODE=/synor/code",
                               "SYNOR_CONCURRENCY=1", NULL};
    char id[32], code[128];
    struct syn_zygote_spec spec = {.id = id,
                                   .code = code,
                                   .env = env,
                                   .memory_bytes = INT64_C(128) << 20,
                                   .pids_max = 64,
                                   .cpu_millicores = 1000,
                                   .scratch_bytes = INT64_C(16) << 20,
                                   .log = STDERR_FILENO};
    int rc = open_door(made, err);

    (void)snprintf(id, sizeof(id), "bench-%d-%u", (int)getpid(), ++number);
    (void)snprintf(code, sizeof(code), "%s/code", dir);
    spec.host_uid = 900000 + number;
    spec.door = made->door;
    return rc < 0 ? rc : syn_zygote_fork(zygote, &spec, &made->pid, err);
}

static void
unmake(struct syn_zygote *zygote, struct made *made)
{
    (void)!syn_zygote_destroy(zygote, made->pid, NULL);
    (void)close(made->door);
}

static int
turn_ours(struct syn_zygote *zygote, double *ret_ms, struct syn_err *err)
{
    struct made made = {.pid = 0, .door = -1};
    double begin = now_ms();
    int rc = make(zygote, &made, err);

    if (rc == SYN_OK)
        rc = call(&made, err);
    *ret_ms = now_ms() - begin;
    if (made.pid > 0)
        unmake(zygote, &made);
    return rc;
}

/* What is its own: pages that it shares with the zygote are there once for all. */
static double
own_mb(pid_t pid)
{
    char path[64], line[128];
    double kib = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (syn_str_starts(line, "Private_"))
            kib += strtod(strchr(line, ':') + 1, NULL);
    if (file != NULL)
        (void)fclose(file);
    return kib / 1024;
}

static int
idle(struct syn_zygote *zygote, double *ret_mb, struct syn_err *err)
{
    struct made made[IDLE] = {{.pid = 0}};
    double each[IDLE];
    size_t count = 0;
    int rc = SYN_OK;

    for (; rc == SYN_OK && count < IDLE; count++) {
        rc = make(zygote, &made[count], err);
        if (rc == SYN_OK)
            rc = call(&made[count], err);
    }
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        each[i] = own_mb(made[i].pid);
    if (rc == SYN_OK)
        *ret_mb = median(each, count);
    for (size_t i = 0; i < count; i++)
        if (made[i].pid > 0)
            unmake(zygote, &made[i]);
    return rc;
}

static int
bench(struct syn_zygote *zygote, size_t turns, struct syn_err *err)
{
    static double ours[TURNS_MAX], theirs[TURNS_MAX];
    double mine, peer, mb = 0;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i <= turns; i++) { /* the first to warm caches */
        size_t turn = i == 0 ? 0 : i - 1;

        rc = turn_ours(zygote, &ours[turn], err);
        if (rc == SYN_OK)
            rc = turn_theirs(&theirs[turn], err);
    }
    if (rc == SYN_OK)
        rc = idle(zygote, &mb, err);
    if (rc < 0)
        return rc;
    mine = median(ours, turns);
    peer = median(theirs, turns);
    (void)fprintf(stderr, "zygote %.1f to %.1f ms, p99 %.1f; runc run %.1f to %.1f ms\n", ours[0],
                  ours[turns - 1], ours[turns * 99 / 100], theirs[0], theirs[turns - 1]);
    (void)printf("function_zygote_first_ms\t%.2f\tms\trunc-run\t%.2f\t%.2f\t%.2f\t%s\n", mine, peer,
                 mine / peer, GOAL_R, mine <= GOAL_MS && mine <= GOAL_R * peer ? "ok" : "short");
    (void)printf("function_zygote_idle_mb\t%.2f\tMB\t-\t-\t-\t%.2f\t%s\n", mb, GOAL_MB,
                 mb <= GOAL_MB ? "ok" : "short");
    return SYN_OK;
}

int
main(int argc, char **argv)
{
    struct syn_function_program host;
    struct syn_zygote_options options = {.python = "/usr/bin/python3"};
    struct syn_zygote *zygote = NULL;
    struct syn_err err = {0};
    uint64_t turns = TURNS_DEFAULT;
    int rc;

    syn_json_init();
    if (geteuid() != 0 || argc > 2 ||
        (argc > 1 && syn_parse_u64(argv[1], 1, TURNS_MAX, "turns", &turns, &err) < 0)) {
        (void)fprintf(stderr, "usage: bench-function_zygote [TURNS], as root\n");
        return 2;
    }
    (void)syn_function_program(SYN_FUNCTION_PYTHON, &host);
    (void)snprintf(dir, sizeof(dir), "/tmp/bench-zygote-XXXXXX");
    if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0 || mkdir(at("code"), 0755) < 0)
        return 1;
    options.root = dir;
    options.program = host.data;
    options.program_len = host.size;
    rc = put("code/main.py", function, strlen(function), &err);
    if (rc == SYN_OK)
        rc = make_bundle(&err);
    if (rc == SYN_OK)
        rc = syn_zygote_open(&options, &zygote, &err);
    if (rc == SYN_OK)
        rc = bench(zygote, turns, &err);
    if (rc < 0)
        (void)fprintf(stderr, "bench-function_zygote: %s\n", err.msg);
    zygote = syn_zygote_close(zygote);
    syn_tree_remove(dir);
    return rc < 0;
}
