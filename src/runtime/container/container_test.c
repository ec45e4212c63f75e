/* The container driver under the drivers' suite, over a containerd of its own. */
#include <synor/runtime/container.h>

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

#include "../native/file_priv.h"
#include "../net/link_priv.h"
#include "../net/netlink_priv.h"
#include "../runtime_suite.h"
#include "../suite_left_priv.h"

static struct syn_container *reopened;
static struct syn_container_options options;

static struct syn_runtime
reopen(void *arg)
{
    struct syn_err err = {0};

    (void)arg;
    reopened = syn_container_free(reopened);
    assert_done(syn_container_new(&options, &reopened, &err), &err);
    return syn_container_runtime(reopened);
}

/* Networks in a network namespace of this process's own, and of all that it starts. containerd
 * listens on its loopback interface. */
static void
open_networks(void)
{
    static char dir[SYN_PATH_MAX];
    const struct syn_net_options net_options = {.dir = dir};
    struct syn_err err = {0};
    SYN_FD(route);

    (void)snprintf(dir, sizeof(dir), "%s/net", syn_test_dir());
    if (unshare(CLONE_NEWNET) < 0 || syn_nl_open(NETLINK_ROUTE, &route, &err) < 0 ||
        syn_link_up(route, "lo", 0, &err) < 0 || syn_net_open(&net_options, &options.net, &err) < 0)
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
    struct syn_runtime_suite suite = {.kernel_shared = true,
                                      .reopen = reopen,
                                      .kill_supervisor = syn_suite_kill_supervisor,
                                      .cut_start = syn_suite_cut_start,
                                      .leftovers = syn_suite_leftovers};
    char root[SYN_PATH_MAX], dir[SYN_PATH_MAX];
    struct syn_container_report report;
    struct syn_container *container = NULL;
    struct syn_err err = {0};
    const char *why = NULL;
    int failed;

    syn_json_init();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    (void)snprintf(root, sizeof(root), "%s/root", syn_test_dir());
    (void)snprintf(dir, sizeof(dir), "%s/instances", syn_test_dir());
    options = (struct syn_container_options){.root = root,
                                             .pod_program = syn_pod_program,
                                             .pod_program_len = syn_pod_program_len,
                                             .pause_program = syn_pause_program,
                                             .pause_program_len = syn_pause_program_len};
    syn_container_look(&report);
    if (geteuid() != 0)
        why = "must run as root";
    else if (!report.found)
        why = report.detail;
    if (why) {
        const struct CMUnitTest none[] = {
            cmocka_unit_test_prestate(skipped, (void *)(uintptr_t)why)};

        return cmocka_run_group_tests_name("container", none, NULL, NULL);
    }
    open_networks();
    suite.networks = options.net != NULL;
    if (syn_dir_make(AT_FDCWD, dir, 0700, &err) < 0 ||
        syn_container_new(&options, &container, &err) < 0) {
        (void)fprintf(stderr, "set-up: %s\n", err.msg);
        return 1;
    }
    suite.runtime = syn_container_runtime(container);
    suite.dir = dir;
    failed = syn_runtime_suite_run("container/runc", &suite);
    reopened = syn_container_free(reopened);
    container = syn_container_free(container);
    options.net = syn_net_close(options.net);
    return failed;
}
