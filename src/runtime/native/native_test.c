/* The native driver under the drivers' suite: `native_test runc` and `native_test gvisor`,
 * with a pattern for some of the tests. */
#include <synor/runtime/native.h>
#include <synor/runtime/shim.h>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

#include "../runtime_suite.h"
#include "../suite_left_priv.h"
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

/* Spare scratch spaces end with the drivers that made them. */
static bool
spare_gone(const char *root)
{
    char left[1024] = "";

    for (int i = 0; i < 200; i++) {
        left[0] = '\0';
        syn_suite_find_loops(root, left, sizeof(left));
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
                                      .kill_supervisor = syn_suite_kill_supervisor,
                                      .cut_start = syn_suite_cut_start,
                                      .leftovers = syn_suite_leftovers};
    char root[SYN_PATH_MAX], dir[SYN_PATH_MAX], reason[256];
    struct syn_native *native = NULL;
    struct syn_sandbox_report trial;
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
        syn_native_try(native, gvisor ? SYN_SANDBOX_GVISOR : SYN_SANDBOX_RUNC, &trial);
        suite.snapshots = trial.snapshots[0] != '\0';
        failed = syn_runtime_suite_run(gvisor ? "native/gvisor" : "native/runc", &suite);
    }
    reopened = syn_native_free(reopened);
    native = syn_native_free(native);
    options.net = syn_net_close(options.net);
    return spare_gone(root) ? failed : 1;
}
