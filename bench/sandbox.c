/* How long from "prepare" to the instance's first instruction, beside the bare tool running the
 * same bundle, turn by turn so that both meet the same machine. The program is date(1): it prints
 * when it ran.
 *
 *      bench-sandbox [TURNS]     prints one line a figure: see docs/performance.md */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/runtime/native.h>
#include <synor/runtime/shim.h>

#include "../src/runtime/native/file_priv.h"
#include "../src/runtime/native/instance_priv.h"
#include "../src/runtime/native/rootfs_priv.h"
#include "../src/runtime/native/tool_priv.h"

#define TURNS_DEFAULT 15
#define TURNS_MAX     200
#define GOAL_FACTOR   1.5
#define GOAL_EXTRA_MS 20.0

static const char *const program[] = {"/usr/bin/date", "+%s%N", NULL};

static int64_t
now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
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

/* Ours: prepare and start; the log holds the program's own word for when it ran. */
static int
turn_ours(struct syn_runtime runtime, struct syn_instance_spec *spec, double *ret_ms,
          struct syn_err *err)
{
    struct syn_instance *instance = NULL;
    struct pollfd ended;
    SYN_BUF(log);
    SYN_FD(fd);
    const char *word;
    uint64_t ran = 0;
    int64_t begin = now_ns();
    int rc = runtime.ops->prepare(runtime.self, spec, &instance, err);

    if (rc < 0)
        return rc;
    rc = runtime.ops->start(runtime.self, instance, err);
    if (rc == SYN_OK)
        rc = runtime.ops->exit_fd(runtime.self, instance, &fd, err);
    if (rc == SYN_OK) {
        ended = (struct pollfd){.fd = fd, .events = POLLIN};
        (void)poll(&ended, 1, 30000);
        rc = syn_file_read(AT_FDCWD, runtime.ops->paths(instance)->log, 4096, &log, err);
    }
    word = strstr(syn_buf_text(&log), " stdout F ");
    if (rc == SYN_OK && (!word || !syn_scan_u64(word + strlen(" stdout F "), 10, &ran, NULL)))
        rc = SYN_FAIL(err, SYN_E_IO, "the program printed no time: %s", syn_buf_text(&log));
    instance = runtime.ops->close(instance);
    (void)runtime.ops->destroy(runtime.self, spec->dir, NULL);
    runtime.ops->warm(runtime.self); /* as the agent does once an instance runs: for the next one */
    *ret_ms = (double)((int64_t)ran - begin) / 1e6;
    return rc;
}

/* Theirs: the tool in the foreground on a bundle that stands ready, output on a pipe. */
static int
turn_theirs(const struct syn_instance *ready, double *ret_ms, struct syn_err *err)
{
    struct syn_tool_args args;
    char text[64] = "";
    uint64_t ran = 0;
    int fds[2], status;
    ssize_t got;
    int64_t begin;
    pid_t pid;
    int rc;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making a pipe");
    syn_tool_begin(&args, ready->dir_path, &ready->plan);
    syn_tool_add(&args, "run");
    syn_tool_add(&args, "--bundle");
    syn_tool_add(&args, ready->dir_path);
    syn_tool_add(&args, ready->plan.name);
    begin = now_ns();
    rc = syn_tool_spawn(&args, fds[1], -1, &pid, err);
    (void)close(fds[1]);
    got = rc < 0 ? 0 : read(fds[0], text, sizeof(text) - 1);
    (void)close(fds[0]);
    if (rc < 0)
        return rc;
    (void)waitpid(pid, &status, 0);
    if (got <= 0 || !syn_scan_u64(text, 10, &ran, NULL))
        return SYN_FAIL(err, SYN_E_IO, "%s printed no time (status %d)", ready->plan.tool, status);
    *ret_ms = (double)((int64_t)ran - begin) / 1e6;
    return SYN_OK;
}

static int
bench(struct syn_native *native, const char *dir, const char *isolation, size_t turns,
      struct syn_err *err)
{
    struct syn_runtime runtime = syn_native_runtime(native);
    double ours[TURNS_MAX], theirs[TURNS_MAX], mine, peer, allowed;
    char path[SYN_INSTANCE_PATH_MAX], bare[SYN_INSTANCE_PATH_MAX];
    struct syn_instance_spec spec = {.id = "bench",
                                     .dir = path,
                                     .isolation = isolation,
                                     .argv = program,
                                     .scratch_bytes = (int64_t)4 << 30,
                                     .memory_bytes = (int64_t)1 << 30,
                                     .cpu_millicores = 2000};
    struct syn_instance_spec bare_spec = spec;
    struct syn_instance *ready = NULL;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, isolation);
    (void)snprintf(bare, sizeof(bare), "%s/%s-bare", dir, isolation);
    bare_spec.id = "bare";
    bare_spec.dir = bare;
    rc = runtime.ops->prepare(runtime.self, &bare_spec, &ready, err);
    if (rc == SYN_OK)
        rc = syn_rootfs_mount(bare, &ready->plan, err);
    /* One turn each to warm caches, not counted. */
    for (size_t i = 0; rc == SYN_OK && i <= turns; i++) {
        size_t at = i == 0 ? 0 : i - 1;

        rc = turn_ours(runtime, &spec, &ours[at], err);
        if (rc == SYN_OK)
            rc = turn_theirs(ready, &theirs[at], err);
    }
    (void)umount2("/mnt/rootfs", MNT_DETACH);
    (void)umount2("/mnt", MNT_DETACH);
    ready = runtime.ops->close(ready);
    (void)runtime.ops->destroy(runtime.self, bare, NULL);
    if (rc < 0)
        return rc;
    mine = median(ours, turns);
    peer = median(theirs, turns);
    allowed = GOAL_FACTOR * peer + GOAL_EXTRA_MS;
    (void)fprintf(stderr, "%s: ours %.1f to %.1f ms, %s-run %.1f to %.1f ms\n", isolation, ours[0],
                  ours[turns - 1], isolation[0] == 'g' ? "runsc" : "runc", theirs[0],
                  theirs[turns - 1]);
    (void)printf("sandbox_start_%s_ms\t%.1f\tms\t%s-run\t%.1f\t%.2f\t1.00\t%s\n", isolation, mine,
                 isolation[0] == 'g' ? "runsc" : "runc", peer, mine / allowed,
                 mine <= allowed ? "ok" : "short");
    return SYN_OK;
}

int
main(int argc, char **argv)
{
    static const char *const isolations[] = {"runc", "gvisor"};
    const char *const shim[] = {SYN_SHIM_PATH, NULL};
    struct syn_native_options options = {
        .shim_image = syn_shim_image, .shim_image_len = syn_shim_image_len, .shim_argv = shim};
    char root[SYN_PATH_MAX];
    struct syn_native *native = NULL;
    struct syn_err err = {0};
    uint64_t turns = TURNS_DEFAULT;
    int failed = 0;

    syn_json_init();
    (void)snprintf(root, sizeof(root), "%s/root", syn_test_dir());
    options.root = root;
    if (geteuid() != 0 || argc > 2 ||
        (argc > 1 && syn_parse_u64(argv[1], 1, TURNS_MAX, "turns", &turns, &err) < 0)) {
        (void)fprintf(stderr, "usage: bench-sandbox [TURNS], as root\n");
        return 2;
    }
    /* The bare tool needs the root put together; what is mounted here stays ours. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0 ||
        syn_native_new(&options, &native, &err) < 0) {
        (void)fprintf(stderr, "bench-sandbox: %s\n", err.msg);
        return 1;
    }
    for (size_t i = 0; i < SYN_LEN(isolations); i++) {
        if (bench(native, syn_test_dir(), isolations[i], turns, &err) < 0) {
            (void)fprintf(stderr, "bench-sandbox: %s: %s\n", isolations[i], err.msg);
            failed = 1;
        }
    }
    native = syn_native_free(native);
    return failed;
}
