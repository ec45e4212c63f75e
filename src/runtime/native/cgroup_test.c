#include "cgroup_priv.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

static void
layouts_are_recognised(void **state)
{
    static const struct {
        const char *mounts, *controllers;
        const char *cpu, *memory, *pids; /* mount paths, "" where on v2 or absent */
        enum syn_cgroup_version version;
        bool have_cpu, have_memory, have_pids;
    } rows[] = {
        {"proc /proc proc rw 0 0\n"
         "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n",
         "cpuset cpu io memory hugetlb pids rdma misc\n", "", "", "", SYN_CGROUP_V2, true, true,
         true},
        {"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "cpuset io pids\n", "", "", "", SYN_CGROUP_V2,
         false, false, true},
        {"tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
         "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n"
         "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
         "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n",
         "", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids",
         SYN_CGROUP_V1, true, true, true},
        {"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
         "cgroup /sys/fs/cgroup/cpuacct cgroup rw,cpuacct 0 0\n"
         "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
         "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
         "hugetlb memory", "/sys/fs/cgroup/cpu", "", "", SYN_CGROUP_HYBRID, true, true, false},
        {"proc /proc proc rw 0 0\n", "", "", "", "", SYN_CGROUP_NONE, false, false, false},
        {"", "", "", "", "", SYN_CGROUP_NONE, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_cgroup_layout layout;

        syn_cgroup_layout_parse(rows[i].mounts, rows[i].controllers, &layout);
        assert_int_equal(layout.version, rows[i].version);
        assert_string_equal(layout.cpu < 0 ? "" : layout.mounts[layout.cpu].path, rows[i].cpu);
        assert_string_equal(layout.memory < 0 ? "" : layout.mounts[layout.memory].path,
                            rows[i].memory);
        assert_string_equal(layout.pids < 0 ? "" : layout.mounts[layout.pids].path, rows[i].pids);
        assert_int_equal(layout.have_cpu, rows[i].have_cpu);
        assert_int_equal(layout.have_memory, rows[i].have_memory);
        assert_int_equal(layout.have_pids, rows[i].have_pids);
        assert_non_null(syn_cgroup_version_name(layout.version));
    }
}

static void
missing_controllers_are_named(void **state)
{
    struct syn_cgroup_layout layout;
    struct syn_cgroup_limits limits = {.memory_bytes = 1 << 20};
    struct syn_err err = {0};

    (void)state;
    syn_cgroup_layout_parse("cgroup2 /no/such cgroup2 rw 0 0\n", "cpu pids\n", &layout);
    assert_code(syn_cgroup_create(&layout, "/synor/x", &limits, &err), SYN_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.msg, "memory 0"));
}

static void
absent_groups_read_as_zero(void **state)
{
    struct syn_cgroup_layout layout;
    struct syn_cgroup_usage usage;
    struct syn_err err = {0};
    int pids[4];

    (void)state;
    syn_cgroup_layout_parse("cgroup2 /no/such cgroup2 rw 0 0\n", "cpu memory pids\n", &layout);
    syn_cgroup_usage_read(&layout, "/synor/x", &usage);
    assert_int_equal(usage.cpu_us + usage.memory_bytes + usage.pids + usage.oom_kills, 0);
    assert_int_equal(syn_cgroup_pids(&layout, "/synor/x", pids, SYN_LEN(pids)), 0);
    assert_done(syn_cgroup_destroy(&layout, "/synor/x", &err), &err);
}

/* Counts until it is killed, in the group. */
static pid_t
count_in(const struct syn_cgroup_layout *layout, const char *name, volatile atomic_ullong *count)
{
    int doors[SYN_CGROUP_MOUNTS_MAX];
    size_t doors_count = 0;
    struct syn_err err;
    pid_t pid;

    assert_done(syn_cgroup_doors(layout, name, doors, SYN_LEN(doors), &doors_count, &err), &err);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t i = 0; i < doors_count; i++)
            if (write(doors[i], "0", 1) != 1)
                _exit(1);
        for (;;)
            atomic_fetch_add(count, 1);
    }
    for (size_t i = 0; i < doors_count; i++)
        (void)close(doors[i]);
    return pid;
}

/* Does it count, within a while; or, of one that is frozen, for a while? */
static bool
counts(volatile atomic_ullong *count, int rounds)
{
    unsigned long long before = atomic_load(count);

    for (int i = 0; i < rounds && atomic_load(count) == before; i++)
        (void)poll(NULL, 0, 10);
    return atomic_load(count) != before;
}

static void
what_is_frozen_gets_no_time(void **state)
{
    const struct syn_cgroup_limits none = {.cpu_millicores = 0};
    struct syn_cgroup_layout layout;
    volatile atomic_ullong *count;
    char name[64];
    struct syn_err err = {0};
    pid_t pid;

    (void)state;
    (void)snprintf(name, sizeof(name), "/synor/test-freeze-%d", (int)getpid());
    if (syn_cgroup_layout_read(&layout, &err) < 0 ||
        syn_cgroup_create(&layout, name, &none, &err) < 0) {
        print_message("# no control groups here: %s\n", err.msg);
        skip();
    }
    count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(count != MAP_FAILED);
    pid = count_in(&layout, name, count);
    assert_true(counts(count, 6000));
    assert_done(syn_cgroup_freeze(&layout, name, true, &err), &err);
    while (counts(count, 5)) /* it takes a moment */
        continue;
    assert_false(counts(count, 20));
    assert_done(syn_cgroup_freeze(&layout, name, false, &err), &err);
    assert_true(counts(count, 6000));
    assert_done(syn_cgroup_freeze(&layout, name, true, &err), &err);
    assert_done(syn_cgroup_destroy(&layout, name, &err), &err); /* frozen as it is */
    (void)waitpid(pid, NULL, 0);
    assert_code(syn_cgroup_freeze(&layout, name, true, &err), SYN_E_NOTFOUND, &err);
    (void)munmap((void *)(uintptr_t)count, sizeof(*count));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_are_recognised),
        cmocka_unit_test(missing_controllers_are_named),
        cmocka_unit_test(absent_groups_read_as_zero),
        cmocka_unit_test(what_is_frozen_gets_no_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
