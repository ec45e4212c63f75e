#include "probe_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/world.h>

static void
every_fact_is_complete(void **state)
{
    static const char *const ids[] = {"kernel",   "gvisor",    "runc",    "isolation", "cgroups",
                                      "userns",   "overlayfs", "kvm",     "wireguard", "gpu-nvidia",
                                      "loop",     "mkfs",      "gpu-drm", "python",    "root",
                                      "networks", "names"};
    static struct syn_probe probe;
    const char *const shim[] = {getenv("SYN_TEST_SHIM"), NULL};
    struct syn_native_options options = {.root = syn_test_dir(), .shim_argv = shim};
    struct syn_native *native = NULL;
    struct syn_err err = {0};
    SYN_JSON(doc);

    (void)state;
    assert_done(syn_native_new(&options, &native, &err), &err);
    syn_probe_run(native, &probe);
    native = syn_native_free(native);
    for (size_t i = 0; i < SYN_LEN(ids); i++)
        assert_non_null(syn_probe_find(&probe, ids[i]));
    assert_null(syn_probe_find(&probe, "nonsense"));
    for (size_t i = 0; i < probe.count; i++) {
        const struct syn_probe_fact *fact = &probe.facts[i];

        print_message("%-10s %-8s %s%s%s\n", fact->id, syn_probe_state_name(fact->state),
                      fact->detail, fact->fix[0] ? " -> " : "", fact->fix);
        assert_true(fact->detail[0] != '\0');
        assert_int_equal(fact->state == SYN_PROBE_OK, fact->fix[0] == '\0');
    }
    assert_done(syn_probe_json(&probe, &doc, &err), &err);
    assert_int_equal(json_array_size(doc), probe.count);
}

static int
json_scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(doc);

    return syn_probe_json(arg, &doc, err);
}

static void
json_survives_short_memory(void **state)
{
    static struct syn_probe probe = {.facts = {{.id = "a", .name = "A"}}, .count = 1};

    (void)state;
    assert_true(syn_test_sweep_alloc(json_scenario, &probe) > 3);
}

static void
kvm_is_judged_by_a_guest(void **state)
{
    struct syn_kvm_result result;
    int64_t begin = syn_mono_ms(syn_world_system());
    sigset_t before, after;

    (void)state;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    syn_kvm_try("/dev/kvm", 1000, &result);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (int signo = 1; signo < SIGRTMAX; signo++)
        assert_int_equal(sigismember(&before, signo), sigismember(&after, signo));
    assert_true(syn_mono_ms(syn_world_system()) - begin < 5000);
    print_message("%s\n", result.detail);
    assert_true(result.detail[0] != '\0');
    if (result.step == SYN_KVM_GUEST)
        assert_non_null(strstr(result.detail, "test guest ran"));
    syn_kvm_try("/no/such/device", 1000, &result);
    assert_int_equal(result.step, SYN_KVM_ABSENT);
    syn_kvm_try("/dev/null", 1000, &result);
    assert_int_equal(result.step, SYN_KVM_ABSENT);
}

/* A program that takes QEMU's place and prints what a kernel's console would. */
static const char *
make_qemu(const char *body)
{
    static char path[1024];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/qemu", syn_test_dir());
    (void)unlink(path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "#!/bin/sh\n%s\n", body) > 0);
    (void)close(fd);
    return path;
}

static void
stock_kernel_decides(void **state)
{
    static const struct {
        const char *body, *detail;
        bool up;
    } rows[] = {
        {"echo Linux version 6; echo 'Run /init as init process'; exec sleep 30", "booted", true},
        {"echo Linux version 6; exec sleep 30", "hung in early boot", false},
        {"exec sleep 30", "printed nothing", false},
        {"exit 1", "printed nothing", false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        int64_t begin = syn_mono_ms(syn_world_system());
        char detail[256];

        assert_int_equal(syn_kvm_boot(make_qemu(rows[i].body), "/boot/vmlinuz",
                                      rows[i].up ? 9000 : 1000, detail, sizeof(detail)),
                         rows[i].up);
        assert_non_null(strstr(detail, rows[i].detail));
        assert_true(syn_mono_ms(syn_world_system()) - begin < 10000);
    }
    {
        char detail[256];

        assert_false(syn_kvm_boot("/no/such/qemu", "/boot/vmlinuz", 1000, detail, sizeof(detail)));
        assert_non_null(strstr(detail, "cannot be started"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kvm_is_judged_by_a_guest),
        cmocka_unit_test(stock_kernel_decides),
        cmocka_unit_test(json_survives_short_memory),
        cmocka_unit_test(every_fact_is_complete),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
