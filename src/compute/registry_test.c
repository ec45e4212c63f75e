#include <synor/base/test.h>

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "driver/drivers_priv.h"
#include "registry_priv.h"

/* Drivers that misbehave. */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_wake = PTHREAD_COND_INITIALIZER;
static bool gate_open;
static unsigned late_closed;

static int
late_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
          struct syn_err *err)
{
    static struct syn_driver driver;

    (void)options;
    (void)err;
    (void)pthread_mutex_lock(&gate_lock);
    while (!gate_open)
        (void)pthread_cond_wait(&gate_wake, &gate_lock);
    (void)pthread_mutex_unlock(&gate_lock);
    driver = (struct syn_driver){.devices = 0};
    *ret_driver = &driver;
    return SYN_OK;
}

static void
late_close(struct syn_driver *driver)
{
    (void)driver;
    (void)pthread_mutex_lock(&gate_lock);
    late_closed++;
    (void)pthread_cond_broadcast(&gate_wake);
    (void)pthread_mutex_unlock(&gate_lock);
}

static int
broken_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
            struct syn_err *err)
{
    (void)options;
    (void)ret_driver;
    return SYN_FAIL(err, SYN_E_IO, "the vendor's library says 999");
}

static int
absent_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
            struct syn_err *err)
{
    (void)options;
    (void)ret_driver;
    (void)SYN_FAIL(err, SYN_E_NOTFOUND, "libnone.so.1 is not installed");
    return SYN_DRV_ABSENT;
}

static const struct syn_driver_ops late = {
    .version = SYN_DRIVER_VERSION, .name = "late", .open = late_open, .close = late_close};
static const struct syn_driver_ops broken = {
    .version = SYN_DRIVER_VERSION, .name = "broken", .open = broken_open};
static const struct syn_driver_ops absent = {
    .version = SYN_DRIVER_VERSION, .name = "absent", .open = absent_open};

static void
test_misbehaving_drivers(void **state)
{
    const struct syn_driver_ops *const table[] = {&late, &broken, &absent, &syn_driver_cpu,
                                                  &syn_driver_modelled};
    const struct syn_registry_options options = {.probe_ms = 300,
                                                 .drivers = "late,broken,absent,cpu"};
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    static const struct {
        enum syn_driver_state state;
        const char *reason;
    } want[] = {{SYN_DRIVER_TIMED_OUT, "did not answer within 300 ms"},
                {SYN_DRIVER_FAILED, "the vendor's library says 999"},
                {SYN_DRIVER_ABSENT, "libnone.so.1 is not installed"},
                {SYN_DRIVER_READY, ""},
                {SYN_DRIVER_SKIPPED, "not asked for"}};
    struct syn_err err = {0};
    int64_t before;

    (void)state;
    assert_non_null(syn_profiles_builtin()); /* made once and kept */
    before = syn_mem_live();
    assert_done(syn_registry_open_of(table, SYN_LEN(table), &options, &registry, &err), &err);
    assert_int_equal(syn_registry_drivers_count(registry), SYN_LEN(table));
    for (size_t i = 0; i < SYN_LEN(table); i++) {
        const struct syn_driver_report *report = syn_registry_driver(registry, i);

        assert_string_equal(report->name, table[i]->name);
        assert_string_equal(syn_driver_state_name(report->state),
                            syn_driver_state_name(want[i].state));
        assert_string_equal(report->reason, want[i].reason);
    }
    assert_int_equal(syn_registry_count(registry), 1);
    registry = syn_registry_close(registry);
    /* The late one comes back, finds nobody, and closes what it opened. */
    (void)pthread_mutex_lock(&gate_lock);
    gate_open = true;
    (void)pthread_cond_broadcast(&gate_wake);
    while (late_closed == 0)
        (void)pthread_cond_wait(&gate_wake, &gate_lock);
    (void)pthread_mutex_unlock(&gate_lock);
    for (int ms = 0; syn_mem_live() != before && ms < 60000; ms++)
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
    assert_int_equal(syn_mem_live(), before);
}

static void
test_devices(void **state)
{
    const struct syn_registry_options options = {.drivers = "cpu",
                                                 .modelled = "h100-sxm,h100-sxm,tpu-v4"};
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    SYN_SCOPED(syn_dev_close_scope) struct syn_dev *dev = NULL;
    struct syn_device_health health = {0};
    struct syn_device_power power = {0};
    struct syn_err err = {0};
    size_t index = 0;

    (void)state;
    assert_done(syn_registry_open(&options, &registry, &err), &err);
    assert_int_equal(syn_registry_count(registry), 4);
    assert_string_equal(syn_registry_device(registry, 0)->id, "cpu0");
    assert_false(syn_registry_device(registry, 0)->modelled);
    assert_int_equal(syn_registry_device_node(registry, 0), SYN_NODE_HOST);
    assert_done(syn_registry_find(registry, "modelled2", &index, &err), &err);
    assert_int_equal(index, 3);
    assert_true(syn_registry_device(registry, index)->modelled);
    assert_int_equal(syn_registry_device(registry, index)->kind, SYN_KIND_TPU);
    assert_string_equal(syn_registry_profile(registry, index)->name, "tpu-v4");
    assert_code(syn_registry_find(registry, "cuda0", &index, &err), SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, "modelled2"));

    assert_int_equal(syn_registry_nodes_count(registry), 4);
    assert_true(syn_registry_node(registry, 0)->host);
    assert_string_equal(syn_registry_node(registry, 3)->name, "modelled2");
    assert_true(syn_registry_node(registry, 3)->modelled);
    assert_true(syn_registry_node(registry, 3)->bytes == UINT64_C(32) << 30);

    assert_done(syn_dev_open(registry, 3, &dev, &err), &err);
    assert_int_equal(dev->node, 3);
    assert_string_equal(dev->info.id, "modelled2");
    assert_done(syn_registry_health(registry, 3, &health, &err), &err);
    assert_int_equal(health.state, SYN_DEVICE_OK);
    assert_done(syn_registry_power(registry, 3, &power, &err), &err);
    assert_int_equal(power.source, SYN_POWER_MODELLED);
    assert_true(syn_registry_topology(registry)->cpus_count >= 1);
    dev = syn_dev_close(dev); /* before the registry */
}

static void
test_links(void **state)
{
    const struct syn_registry_options options = {.drivers = "cpu",
                                                 .modelled = "h100-sxm,h100-sxm,tpu-v4,tpu-v4"};
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    struct syn_link link;
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_registry_open(&options, &registry, &err), &err);
    link = syn_registry_link(registry, 1, 1);
    assert_int_equal(link.path, SYN_LINK_NONE);
    link = syn_registry_link(registry, SYN_NODE_HOST, 1);
    assert_int_equal(link.path, SYN_LINK_DIRECT);
    assert_int_equal(link.source, SYN_LINK_RATED);
    assert_int_equal(link.mb_s, 64000);
    link = syn_registry_link(registry, 3, SYN_NODE_HOST); /* Google does not say */
    assert_int_equal(link.source, SYN_LINK_ASSUMED);
    assert_int_equal(link.mb_s, 12000);
    link = syn_registry_link(registry, 1, 2);
    assert_int_equal(link.path, SYN_LINK_PEER);
    assert_int_equal(link.mb_s, 450000);
    link = syn_registry_link(registry, 2, 3); /* NVLink does not fit ICI */
    assert_int_equal(link.path, SYN_LINK_STAGED);
    assert_int_equal(link.source, SYN_LINK_ASSUMED);
    assert_int_equal(link.mb_s, 64000 * 12000 / 76000);
    assert_int_equal(link.latency_ns, 20000);

    /* Measuring one direction changes that one, and what is staged over it. */
    syn_registry_link_measured(registry, 2, SYN_NODE_HOST, 1000, 5000);
    syn_registry_link_measured(registry, 2, SYN_NODE_HOST, 1 << 20, 5000 + (1 << 20) / 24);
    link = syn_registry_link(registry, 2, SYN_NODE_HOST);
    assert_int_equal(link.source, SYN_LINK_MEASURED);
    assert_int_equal(link.latency_ns, 5000);
    assert_in_range(link.mb_s, 23900, 24100);
    assert_int_equal(syn_registry_link(registry, SYN_NODE_HOST, 2).source, SYN_LINK_RATED);
    link = syn_registry_link(registry, 2, 3);
    assert_int_equal(link.latency_ns, 15000);
    assert_in_range(link.mb_s, 7900, 8100);
    /* A mean, not the last word. */
    syn_registry_link_measured(registry, 2, SYN_NODE_HOST, 1 << 20, (1 << 20) / 8);
    assert_in_range(syn_registry_link(registry, 2, SYN_NODE_HOST).mb_s, 21000, 23000);
    syn_registry_link_measured(registry, 2, 2, 1, 1);
    syn_registry_link_measured(registry, 2, 1, 0, 1);
    syn_registry_link_measured(registry, 2, 1, 1, 0);
    assert_int_equal(syn_registry_link(registry, 2, 1).source, SYN_LINK_RATED);
}

static void
test_bad_options(void **state)
{
    static const struct {
        struct syn_registry_options options;
        const char *part;
    } rows[] = {
        {{.drivers = "cpu,cuba"}, "no driver cuba"},
        {{.modelled = "h100"}, "called h100"},
        {{.probe_ms = -1}, "a probe takes"},
        {{.probe_ms = SYN_PROBE_MS_MAX + 1}, "a probe takes"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_registry *registry = NULL;
        struct syn_err err = {0};

        assert_code(syn_registry_open(&rows[i].options, &registry, &err), SYN_E_INVALID, &err);
        assert_null(registry);
        if (!strstr(err.msg, rows[i].part))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, rows[i].part);
    }
}

/* A shortage in a driver's thread is that driver's failure, one elsewhere the registry's; nothing
 * leaks either way. */
static void
test_short_memory(void **state)
{
    const struct syn_registry_options options = {.drivers = "cpu,modelled", .modelled = "rtx-4090"};
    unsigned short_of = 0, failed = 0;
    uint64_t calls = UINT64_MAX;

    (void)state;
    for (uint64_t nth = 1; nth <= calls; nth++) {
        struct syn_registry *registry = NULL;
        struct syn_err err = {0};
        int64_t before = syn_mem_live();
        int rc;

        syn_mem_fault_arm(nth, false);
        rc = syn_registry_open(&options, &registry, &err);
        if (syn_mem_fault_count() < nth)
            calls = 0; /* the last round: all went well */
        syn_mem_fault_arm(0, false);
        if (rc == SYN_OK && syn_registry_count(registry) < 2)
            failed++;
        else if (rc == SYN_OK)
            assert_int_equal(syn_registry_count(registry), 2);
        else
            assert_code(rc, SYN_E_NOMEM, &err);
        short_of += rc < 0 ? 1 : 0;
        registry = syn_registry_close(registry);
        assert_int_equal(syn_mem_live(), before);
    }
    assert_true(short_of > 5 && failed > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_misbehaving_drivers),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_short_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
