/* What modelled devices say of time and energy. */
#include <synor/base/test.h>

#include <string.h>

#include <synor/compute/driver.h>

#include "drivers_priv.h"

static const char table[] = "[plain]\n"
                            "title = Plain\n"
                            "vendor = Test\n"
                            "kind = gpu\n"
                            "fp32 = 1G/s\n"
                            "memory = 1MB\n"
                            "memory.rate = 10GB/s\n"
                            "host.link = bus\n"
                            "host.rate = 1GB/s\n"
                            "host.latency = 2us\n"
                            "peer.link = wire\n"
                            "peer.rate = 500MB/s\n"
                            "peer.latency = 1us\n"
                            "launch = 3us\n"
                            "tdp = 100W\n"
                            "idle = 20W\n"
                            "source = this test\n";

static int
nothing(const struct syn_native_call *call, struct syn_err *err)
{
    (void)call;
    (void)err;
    return SYN_OK;
}

static const struct syn_native_entry entries[] = {{"nothing", nothing, NULL}};

struct rig {
    struct syn_profiles *profiles;
    struct syn_driver *driver;
    struct syn_dev *dev[2];
    struct syn_dev_queue *queue[2];
    struct syn_dev_event *event[2];
    struct syn_dev_buf *buf[2];
    struct syn_dev_program *program;
    char host[100000];
};

static void
rig_init(struct rig *rig)
{
    struct syn_driver_options options = {.modelled = "plain,plain", .sysfs = "/sys"};
    const struct syn_dev_source source = {
        .format = SYN_FORMAT_NATIVE, .name = "nothing", .entries = entries, .entries_count = 1};
    struct syn_err err = {0};

    memset(rig, 0, sizeof(*rig));
    assert_done(syn_profiles_parse(table, strlen(table), &rig->profiles, &err), &err);
    options.profiles = rig->profiles;
    assert_done(syn_driver_modelled.open(&options, &rig->driver, &err), &err);
    for (unsigned i = 0; i < 2; i++) {
        assert_done(syn_dev_open_in(rig->driver, i, &rig->dev[i], &err), &err);
        assert_done(syn_dev_queue_create(rig->dev[0], SYN_QUEUE_INLINE, &rig->queue[i], &err),
                    &err);
        assert_done(syn_dev_event_create(rig->dev[0], &rig->event[i], &err), &err);
        assert_done(syn_dev_alloc(rig->dev[i], sizeof(rig->host), &rig->buf[i], &err), &err);
    }
    assert_done(syn_dev_compile(rig->dev[0], &source, &rig->program, &err), &err);
}

static void
rig_fini(struct rig *rig)
{
    rig->program = syn_dev_program_free(rig->program);
    for (unsigned i = 0; i < 2; i++) {
        rig->queue[i] = syn_dev_queue_destroy(rig->queue[i]);
        rig->event[i] = syn_dev_event_destroy(rig->event[i]);
        rig->buf[i] = syn_dev_free(rig->buf[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        rig->dev[i] = syn_dev_close(rig->dev[i]);
    syn_driver_modelled.close(rig->driver);
    rig->profiles = syn_profiles_free(rig->profiles);
}

static struct syn_dev_span
span_of(struct syn_dev_event *event)
{
    struct syn_dev_span span = {0};
    struct syn_err err = {0};

    assert_done(syn_dev_event_wait(event, -1, &err), &err);
    assert_done(syn_dev_event_span(event, &span, &err), &err);
    assert_true(span.modelled);
    return span;
}

static int
launch(struct rig *rig, unsigned queue, uint64_t flops, enum syn_dtype dtype, struct syn_err *err)
{
    const struct syn_dev_launch what = {.program = rig->program,
                                        .kernel = "nothing",
                                        .groups = {1, 1, 1},
                                        .group = {1, 1, 1},
                                        .work = {.flops = flops, .dtype = dtype}};
    const struct syn_dev_cmd cmd = {.queue = rig->queue[queue], .signal = rig->event[queue]};

    return syn_dev_launch(rig->dev[0], &what, &cmd, err);
}

static void
test_timeline(void **state)
{
    static struct rig rig;
    struct syn_dev_cmd cmd;
    struct syn_dev_span span;
    struct syn_device_power power;
    struct syn_err err = {0};

    (void)state;
    rig_init(&rig);
    /* 1 ms of arithmetic and 3 us of launch at 100 W and 20 W. */
    assert_done(launch(&rig, 0, 1000000, SYN_DTYPE_FP32, &err), &err);
    span = span_of(rig.event[0]);
    assert_int_equal(span.start_ns, 0);
    assert_int_equal(span.end_ns, 1003000);
    assert_int_equal(span.energy_uj, 100000 + 60);
    /* A copy on another queue does not wait for it: 100 us and 2 us of latency. */
    cmd = (struct syn_dev_cmd){.queue = rig.queue[1], .signal = rig.event[1]};
    assert_done(syn_dev_write(rig.buf[0], 0, rig.host, 100000, &cmd, &err), &err);
    span = span_of(rig.event[1]);
    assert_int_equal(span.start_ns, 0);
    assert_int_equal(span.end_ns, 102000);
    /* One that waits for the kernel starts at its end. */
    cmd.waits = &rig.event[0];
    cmd.waits_count = 1;
    assert_done(syn_dev_read(rig.host, rig.buf[0], 0, 1000, &cmd, &err), &err);
    span = span_of(rig.event[1]);
    assert_int_equal(span.start_ns, 1003000);
    assert_int_equal(span.end_ns, 1003000 + 3000);
    /* A kernel on the other queue gets the arithmetic when the first is through with it. */
    assert_done(launch(&rig, 1, 0, SYN_DTYPE_FP32, &err), &err);
    assert_int_equal(span_of(rig.event[1]).start_ns, 1006000);
    assert_done(syn_dev_power(rig.dev[0], &power, &err), &err);
    assert_int_equal(power.source, SYN_POWER_MODELLED);
    assert_true(power.now_mw > 90000 && power.now_mw <= 100000);
    assert_int_equal(power.limit_mw, 100000);
    rig_fini(&rig);
}

static void
test_peer_copy(void **state)
{
    static struct rig rig;
    struct syn_dev_cmd cmd;
    struct syn_dev_copy copy = {.row_bytes = 1000, .rows = 10, .slices = 5};
    struct syn_err err = {0};

    (void)state;
    rig_init(&rig);
    cmd = (struct syn_dev_cmd){.queue = rig.queue[0], .signal = rig.event[0]};
    assert_true(syn_dev_can_peer(rig.dev[0], rig.dev[1]));
    copy.src = (struct syn_dev_place){.buf = rig.buf[0], .row_pitch = 1000, .slice_pitch = 20000};
    copy.dst = (struct syn_dev_place){.buf = rig.buf[1], .row_pitch = 1500, .slice_pitch = 15000};
    assert_done(syn_dev_copy(rig.dev[0], &copy, &cmd, &err), &err);
    assert_int_equal(span_of(rig.event[0]).end_ns, 50000 * 2 + 1000);
    rig_fini(&rig);
}

static void
test_room(void **state)
{
    static struct rig rig;
    struct syn_dev_buf *buf = NULL;
    struct syn_device_health health;
    struct syn_err err = {0};

    (void)state;
    rig_init(&rig);
    assert_done(syn_dev_health(rig.dev[0], &health, &err), &err);
    assert_int_equal(health.memory_free_bytes, 900000);
    assert_int_equal(syn_dev_alloc(rig.dev[0], 900001, &buf, &err), SYN_DRV_FULL);
    assert_done(syn_dev_alloc(rig.dev[0], 900000, &buf, &err), &err);
    assert_int_equal(syn_dev_alloc(rig.dev[0], 1, &buf, &err), SYN_DRV_FULL);
    buf = syn_dev_free(buf);
    rig_fini(&rig);
}

static void
test_missing_format(void **state)
{
    static struct rig rig;
    struct syn_err err = {0};

    (void)state;
    rig_init(&rig);
    assert_code(launch(&rig, 0, 1, SYN_DTYPE_FP64, &err), SYN_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.msg, "fp64"));
    rig_fini(&rig);
}

static void
test_lists(void **state)
{
    struct syn_driver_options options = {.profiles = syn_profiles_builtin(), .sysfs = "/sys"};
    struct syn_driver *driver = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_int_equal(syn_driver_modelled.open(&options, &driver, &err), SYN_DRV_ABSENT);
    options.modelled = "";
    assert_int_equal(syn_driver_modelled.open(&options, &driver, &err), SYN_DRV_ABSENT);
    options.modelled = "h100-sxm,h9000";
    assert_code(syn_driver_modelled.open(&options, &driver, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "h9000"));
    options.modelled = " tpu-v4 ,, groq-lpu,";
    assert_done(syn_driver_modelled.open(&options, &driver, &err), &err);
    assert_int_equal(driver->devices, 2);
    syn_driver_modelled.close(driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeline), cmocka_unit_test(test_peer_copy),
        cmocka_unit_test(test_room),     cmocka_unit_test(test_missing_format),
        cmocka_unit_test(test_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
