/* The native driver under the drivers' suite: `native_test runc` and `native_test gvisor`,
 * with a pattern for some of the tests. */
#include <synor/runtime/native.h>
#include <synor/runtime/shim.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

#include "../runtime_suite.h"
#include "cgroup_priv.h"
#include "file_priv.h"
#include "native_priv.h"

static struct syn_native *reopened;
static struct syn_native_options options;

static struct syn_runtime
reopen(void *arg)
{
    struct syn_err err = {0};

    (void)arg;
    reopened = syn_native_free(reopened);
    assert_done(syn_native_new(&options, &reopened, &err), &err);
    return syn_native_runtime(reopened);
}

static bool
kill_supervisor(const char *dir)
{
    char path[SYN_PATH_MAX];
    SYN_JSON(doc);
    struct syn_err err = {0};
    struct pollfd gone;
    SYN_FD(fd);

    (void)snprintf(path, sizeof(path), "%s/shim.json", dir);
    assert_done(syn_file_read_json(AT_FDCWD, path, &doc, &err), &err);
    fd = (int)syscall(SYS_pidfd_open, (pid_t)syn_json_i64(doc, "pid", 0), 0);
    assert_true(fd >= 0);
    assert_int_equal(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0), 0);
    gone = (struct pollfd){.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&gone, 1, 5000), 1);
    return true;
}

static bool
cut_start(const char *dir)
{
    static const char record[] =
        "{\"boot\":\"\",\"pid\":4194304,\"ticks\":1}\n"; /* no such process */
    struct syn_err err = {0};
    char path[SYN_PATH_MAX];
    SYN_FD(fd);

    (void)snprintf(path, sizeof(path), "%s/shim.json", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_done(syn_fd_write_all(fd, record, strlen(record), &err), &err);
    return true;
}

static void
note(char *out, size_t cap, const char *what, const char *where)
{
    size_t len = strlen(out);

    (void)snprintf(out + len, cap - len, "%s: %s\n", what, where);
}

/* Processes whose command line names the folder: supervisors, tools, sandboxes, gofers. */
static void
find_processes(const char *dir, char *out, size_t cap)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;

    assert_non_null(proc);
    while ((entry = readdir(proc)) != NULL) {
        char path[64];
        SYN_BUF(text);

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
            snprintf(path, sizeof(path), "/proc/%.20s/cmdline", entry->d_name) < 0 ||
            syn_file_read(AT_FDCWD, path, 65536, &text, NULL) < 0)
            continue;
        for (size_t i = 0; i + 1 < text.len; i++) {
            if (text.data[i] == '\0')
                text.data[i] = ' ';
        }
        if (strstr(syn_buf_text(&text), dir))
            note(out, cap, "process", syn_buf_text(&text));
    }
    (void)closedir(proc);
}

/* What ended as our child (the suite is a subreaper) and nobody reaped. */
static void
find_zombies(char *out, size_t cap)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;

    assert_non_null(proc);
    while ((entry = readdir(proc)) != NULL) {
        char path[64], parent[32];
        const char *name_end;
        SYN_BUF(text);

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
            snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name) < 0 ||
            syn_file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
            continue;
        (void)snprintf(parent, sizeof(parent), ") Z %d ", (int)getpid());
        name_end = strrchr(syn_buf_text(&text), ')');
        if (name_end != NULL && syn_str_starts(name_end, parent))
            note(out, cap, "zombie", syn_buf_text(&text));
    }
    (void)closedir(proc);
}

static void
find_lines(const char *file, const char *what, const char *dir, char *out, size_t cap)
{
    SYN_BUF(text);

    if (syn_file_read(AT_FDCWD, file, (size_t)8 << 20, &text, NULL) == 0 &&
        strstr(syn_buf_text(&text), dir))
        note(out, cap, what, dir);
}

static void
find_cgroups(const char *dir, char *out, size_t cap)
{
    struct syn_cgroup_layout layout;
    struct syn_err err = {0};
    const char *id = strrchr(dir, '/') + 1;
    uint32_t hash = 2166136261u;

    for (const char *at = dir; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    assert_done(syn_cgroup_layout_read(&layout, &err), &err);
    for (int i = 0; i < layout.count; i++) {
        char path[SYN_PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/synor/%s-%08x", layout.mounts[i].path, id, hash);
        if (access(path, F_OK) == 0)
            note(out, cap, "cgroup", path);
    }
}

static void
find_loops(const char *dir, char *out, size_t cap)
{
    for (int i = 0; i < 256; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/sys/block/loop%d/loop/backing_file", i);
        find_lines(path, "loop device", dir, out, cap);
    }
}

/* As the daemon: what ended below the instance and came to us is ours to reap, and nobody waits for
 * it by name. */
static void
leftovers(const char *dir, char *out, size_t cap)
{
    (void)syn_child_reap_orphans();
    find_processes(dir, out, cap);
    find_cgroups(dir, out, cap);
    if (access(dir, F_OK) == 0)
        return; /* mounts and devices belong to the folder */
    find_zombies(out, cap);
    find_lines("/proc/self/mounts", "mount", dir, out, cap);
    find_loops(dir, out, cap);
}

/* Spare scratch spaces end with the drivers that made them. */
static bool
spare_gone(const char *root)
{
    char left[1024] = "";

    for (int i = 0; i < 200; i++) {
        left[0] = '\0';
        find_loops(root, left, sizeof(left));
        if (left[0] == '\0')
            return true;
        (void)poll(NULL, 0, 10);
    }
    (void)fprintf(stderr, "left behind: %s\n", left);
    return false;
}

/* Why the sandbox cannot be tested here, or NULL. */
static const char *
cannot_test(struct syn_native *native, bool gvisor, char *reason, size_t cap)
{
    struct syn_sandbox_report trial;

    if (geteuid() != 0)
        return "must run as root";
    syn_native_try(native, gvisor ? SYN_SANDBOX_GVISOR : SYN_SANDBOX_RUNC, &trial);
    if (trial.works)
        return NULL;
    if (trial.found)
        fail_msg("%s is installed but does not work: %s", gvisor ? "runsc" : "runc", trial.detail);
    (void)snprintf(reason, cap, "%s", trial.detail);
    return reason;
}

/* Networks in a network namespace of this process's own, and of all that it starts. */
static void
open_networks(void)
{
    static char dir[SYN_PATH_MAX];
    const struct syn_net_options net_options = {.dir = dir};
    struct syn_err err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/net", syn_test_dir());
    if (unshare(CLONE_NEWNET) < 0 || syn_net_open(&net_options, &options.net, &err) < 0)
        print_message("no instance networks: %s\n", err.msg);
}

static void
skipped(void **state)
{
    print_message("skipped: %s\n", (const char *)*state);
    skip();
}

int
main(int argc, char **argv)
{
    const char *const shim_argv[] = {getenv("SYN_TEST_SHIM"), NULL};
    bool gvisor = argc > 1 && syn_str_eq(argv[1], "gvisor");
    struct syn_runtime_suite suite = {.kernel_shared = !gvisor,
                                      .reopen = reopen,
                                      .kill_supervisor = kill_supervisor,
                                      .cut_start = cut_start,
                                      .leftovers = leftovers};
    char root[SYN_PATH_MAX], dir[SYN_PATH_MAX], reason[256];
    struct syn_native *native = NULL;
    struct syn_err err = {0};
    const char *why;
    int failed;

    syn_json_init();
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    (void)snprintf(root, sizeof(root), "%s/root", syn_test_dir());
    (void)snprintf(dir, sizeof(dir), "%s/instances", syn_test_dir());
    options =
        (struct syn_native_options){.root = root,
                                    .shim_image = syn_shim_image,
                                    .shim_image_len = syn_shim_image_len,
                                    .shim_argv = shim_argv,
                                    .sandbox = gvisor ? SYN_SANDBOX_GVISOR : SYN_SANDBOX_RUNC};
    if (!shim_argv[0] || syn_native_new(&options, &native, &err) < 0 ||
        syn_dir_make(AT_FDCWD, dir, 0700, &err) < 0) {
        (void)fprintf(stderr, "set-up: %s\n", shim_argv[0] ? err.msg : "SYN_TEST_SHIM is not set");
        return 1;
    }
    why = cannot_test(native, gvisor, reason, sizeof(reason));
    if (!why) {
        native = syn_native_free(native);
        open_networks();
        suite.networks = options.net != NULL;
        if (syn_native_new(&options, &native, &err) < 0)
            why = err.msg;
    }
    if (why) {
        const struct CMUnitTest none[] = {
            cmocka_unit_test_prestate(skipped, (void *)(uintptr_t)why)};

        failed = cmocka_run_group_tests_name("native", none, NULL, NULL);
    } else {
        suite.runtime = syn_native_runtime(native);
        suite.dir = dir;
        failed = syn_runtime_suite_run(gvisor ? "native/gvisor" : "native/runc", &suite);
    }
    reopened = syn_native_free(reopened);
    native = syn_native_free(native);
    options.net = syn_net_close(options.net);
    return spare_gone(root) ? failed : 1;
}
