/* What a process leaves that is killed in the middle of a trial. Needs root and a sandbox. */
#include <synor/runtime/native.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/runtime/shim.h>

#include "file_priv.h"
#include "native_priv.h"

#define TURNS 5

static char root[SYN_PATH_MAX];

static struct syn_native *
open_native(void)
{
    const struct syn_native_options options = {
        .root = root, .shim_image = syn_shim_image, .shim_image_len = syn_shim_image_len};
    struct syn_native *native = NULL;
    struct syn_err err = {0};

    assert_done(syn_native_new(&options, &native, &err), &err);
    return native;
}

/* The sandbox to try; the test is skipped where none works. */
static enum syn_sandbox
usable(struct syn_native *native)
{
    struct syn_sandbox_report report;

    for (enum syn_sandbox sandbox = SYN_SANDBOX_RUNC; sandbox > SYN_SANDBOX_AUTO; sandbox--) {
        syn_native_try(native, sandbox, &report);
        if (report.works)
            return sandbox;
    }
    print_message("skipped: %s\n", geteuid() != 0 ? "must run as root" : report.detail);
    (void)syn_native_free(native);
    skip();
    return SYN_SANDBOX_AUTO;
}

static bool
names_root(const char *file)
{
    SYN_BUF(text);

    return syn_file_read(AT_FDCWD, file, (size_t)8 << 20, &text, NULL) == SYN_OK &&
           strstr(syn_buf_text(&text), root);
}

/* Mounts, loop devices and trial folders below the root. */
static unsigned
count_leftovers(void)
{
    unsigned found = names_root("/proc/self/mounts");
    DIR *dir = opendir(root);
    const struct dirent *entry;

    for (int i = 0; i < 256; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/sys/block/loop%d/loop/backing_file", i);
        found += names_root(path);
    }
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        found += syn_str_starts(entry->d_name, "probe-");
    (void)closedir(dir);
    return found;
}

static void
await_nothing_left(void)
{
    for (int i = 0; i < 3000 && count_leftovers() > 0; i++)
        (void)usleep(10000);
    (void)syn_child_reap_orphans();
    assert_int_equal(count_leftovers(), 0);
}

/* Try a sandbox in a process that is killed `after_ms` into it. */
static void
cut_off_trial(enum syn_sandbox sandbox, int after_ms)
{
    char kept[SYN_PATH_MAX + 64];
    int status;
    pid_t pid;

    (void)snprintf(kept, sizeof(kept), "%s/cache/trial-%s.json", root,
                   sandbox == SYN_SANDBOX_RUNC ? "runc" : "gvisor");
    (void)unlink(kept); /* so that it is tried again */
    pid = fork();
    if (pid == 0) {
        struct syn_native *native = open_native();
        struct syn_sandbox_report report;

        syn_native_try(native, sandbox, &report);
        _exit(0);
    }
    assert_true(pid > 0);
    (void)usleep((useconds_t)after_ms * 1000);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void
cut_off_trials_are_swept(void **state)
{
    static const int after_ms[TURNS] = {5, 15, 30, 60, 120};
    int later_ms = after_ms[TURNS - 1];
    struct syn_native *native = open_native();
    enum syn_sandbox sandbox = usable(native);
    struct syn_err err = {0};
    unsigned seen = 0;

    (void)state;
    /* On a busy machine none may be so far by then: later ones are. */
    for (size_t i = 0; i < TURNS || (seen == 0 && later_ms < 8000); i++) {
        cut_off_trial(sandbox, i < TURNS ? after_ms[i] : (later_ms *= 2));
        seen += count_leftovers() > 0;
        assert_done(syn_native_sweep(native, &err), &err);
        await_nothing_left();
    }
    print_message("%u trials left something\n", seen);
    assert_true(seen > 0);
    (void)syn_native_free(native);
}

static void
put(const char *name)
{
    char path[SYN_PATH_MAX + 64];
    struct syn_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    assert_done(syn_file_write(AT_FDCWD, path, "x", 1, &err), &err);
}

static bool
there(const char *name)
{
    char path[SYN_PATH_MAX + 64];

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    return access(path, F_OK) == 0;
}

static void
only_leftovers_go(void **state)
{
    static const char *const stay[] = {"cache/scratch-4096.ext4", "cache/trial-x.json",
                                       "cache/host-0123", "groups/probe-1", "keep"};
    static const char *const go[] = {"cache/scratch-4096.ext4.12.0x7f", "cache/host-0123.abcdef",
                                     "probe-half/config.json", "probe-half/deep/file"};
    struct syn_native *native = open_native();
    char path[SYN_PATH_MAX + 64];
    struct syn_err err = {0};

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/probe-half/deep", root);
    assert_done(syn_dir_make(AT_FDCWD, path, 0700, &err), &err);
    (void)snprintf(path, sizeof(path), "%s/groups", root);
    assert_done(syn_dir_make(AT_FDCWD, path, 0700, &err), &err);
    for (size_t i = 0; i < SYN_LEN(stay); i++)
        put(stay[i]);
    for (size_t i = 0; i < SYN_LEN(go); i++)
        put(go[i]);
    assert_done(syn_native_sweep(native, &err), &err);
    assert_done(syn_native_sweep(native, &err), &err);
    for (size_t i = 0; i < SYN_LEN(stay); i++)
        assert_true(there(stay[i]));
    for (size_t i = 0; i < SYN_LEN(go); i++)
        assert_false(there(go[i]));
    assert_false(there("probe-half"));
    (void)syn_native_free(native);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_leftovers_go),
        cmocka_unit_test(cut_off_trials_are_swept),
    };

    syn_json_init();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* supervisors of the killed come to us */
    (void)snprintf(root, sizeof(root), "%s/root", syn_test_dir());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
