/* Each case in a process of its own: nothing that is given up comes back. */
#include "privilege_priv.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define BIT(cap) (UINT64_C(1) << (cap))

/* A set of capabilities, as the kernel tells it. */
static uint64_t
set_of(const char *name)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    uint64_t set = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        size_t len = strlen(name);

        if (strncmp(line, name, len) == 0 && line[len] == ':')
            set = strtoull(line + len + 1, NULL, 16);
    }
    if (file != NULL)
        (void)fclose(file);
    return set;
}

/* The number of what does not hold, 0 when all does. */
typedef int (*case_fn)(void);

static int
in_child(case_fn run)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(run());
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static const uint64_t never = BIT(CAP_SYS_MODULE) | BIT(CAP_SYS_RAWIO) | BIT(CAP_SYS_BOOT) |
                              BIT(CAP_SYS_TIME) | BIT(CAP_SYS_TTY_CONFIG) | BIT(CAP_MAC_ADMIN) |
                              BIT(CAP_MAC_OVERRIDE) | BIT(CAP_AUDIT_CONTROL) |
                              BIT(CAP_LINUX_IMMUTABLE) | BIT(CAP_SYSLOG) | BIT(CAP_WAKE_ALARM);
static const uint64_t nodes = BIT(CAP_SYS_ADMIN) | BIT(CAP_NET_ADMIN) | BIT(CAP_SETUID) |
                              BIT(CAP_MKNOD) | BIT(CAP_KILL) | BIT(CAP_CHOWN);

/* No set has what is in `gone`; what was held of `kept` still is. */
static int
check_sets(enum syn_privilege_role role, uint64_t gone, uint64_t kept)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    uint64_t held = set_of("CapEff"), bounds = set_of("CapBnd");

    if (syn_privilege_reduce(role, NULL) < 0)
        return 1;
    for (int i = 0; i < (int)SYN_LEN(sets); i++) {
        if (set_of(sets[i]) & gone)
            return 10 + i;
    }
    if (set_of("CapInh") != 0 || set_of("CapAmb") != 0)
        return 20;
    if ((set_of("CapEff") & kept) != (held & kept) || (set_of("CapBnd") & kept) != (bounds & kept))
        return 21;
    return syn_privilege_reduce(role, NULL) < 0 ? 22 : 0; /* once more is fine */
}

static int
node_sets(void)
{
    return check_sets(SYN_PRIVILEGE_NODE, never | BIT(CAP_AUDIT_WRITE), nodes);
}

static int
pod_sets(void)
{
    return check_sets(SYN_PRIVILEGE_PODS, never, nodes | BIT(CAP_AUDIT_WRITE));
}

static int
server_sets(void)
{
    return check_sets(SYN_PRIVILEGE_SERVER, never | (nodes & ~BIT(CAP_CHOWN)),
                      BIT(CAP_DAC_OVERRIDE) | BIT(CAP_NET_BIND_SERVICE));
}

static void
only_what_is_used_is_kept(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("# skipped: needs root\n");
        skip();
    }
    assert_true((set_of("CapEff") & never) != 0); /* else nothing is shown */
    assert_int_equal(in_child(node_sets), 0);
    assert_int_equal(in_child(pod_sets), 0);
    assert_int_equal(in_child(server_sets), 0);
}

static int
execution(void)
{
    struct timespec now;

    if (syn_privilege_reduce(SYN_PRIVILEGE_NODE, NULL) < 0)
        return 1;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (clock_settime(CLOCK_REALTIME, &now) == 0)
        return 2;
    (void)execl("/bin/sh", "sh", "-c",
                "set -- $(grep -E '^(NoNewPrivs|CapEff):' /proc/self/status);"
                "[ $((0x$2 & (1 << 16 | 1 << 17 | 1 << 22 | 1 << 25))) = 0 ] && [ $4 = 1 ]",
                (char *)NULL);
    return 3;
}

static void
executing_gives_nothing_back(void **state)
{
    (void)state;
    assert_int_equal(in_child(execution), 0);
}

/* A user without any power, as who runs `synor server` should be. */
static int
nobody(void)
{
    struct syn_err err = {0};

    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
        return 1;
    if (set_of("CapEff") != 0)
        return 2;
    if (syn_privilege_reduce(SYN_PRIVILEGE_SERVER, &err) < 0)
        return 3;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 4;
}

static void
who_has_nothing_gives_nothing(void **state)
{
    (void)state;
    assert_int_equal(in_child(nobody), 0);
}

static int
traces(void)
{
    int inherited = fcntl(STDERR_FILENO, F_DUPFD, 50);

    (void)umask(0);
    if (inherited < 0 || fcntl(inherited, F_GETFD) != 0)
        return 1;
    if (syn_privilege_reduce(SYN_PRIVILEGE_NODE, NULL) < 0)
        return 2;
    if (fcntl(inherited, F_GETFD) != FD_CLOEXEC || fcntl(STDERR_FILENO, F_GETFD) != 0)
        return 3;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 4;
    return umask(0) == 022 ? 0 : 5;
}

static void
nothing_of_the_starter_goes_further(void **state)
{
    (void)state;
    assert_int_equal(in_child(traces), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_used_is_kept),
        cmocka_unit_test(executing_gives_nothing_back),
        cmocka_unit_test(who_has_nothing_gives_nothing),
        cmocka_unit_test(nothing_of_the_starter_goes_further),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
