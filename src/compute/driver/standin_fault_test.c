/* What the CUDA, HIP and Level Zero drivers make of a vendor's library that fails in every call in
 * turn. The stand-in itself aborts or fails the process when something is used wrongly or left
 * behind. */
#include <synor/base/test.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <synor/compute/driver.h>

#include "driver_suite.h"
#include "drivers_priv.h"
#include "levelzero_api_priv.h"

#define N 64

/* A driver, a text for it, and how its library says that it refuses, and that the device is lost.
 */
static const struct vendor {
    const struct syn_driver_ops *ops;
    enum syn_format format;
    const char *text;
    int refusal, loss;
    const char *model, *pci, *uuid, *version;
} vendors[] = {
    {&syn_driver_cuda, SYN_FORMAT_CUDA_C, syn_suite_cuda, 1, 719, "NVIDIA H100 80GB HBM3",
     "0000:3b:00.0", "GPU-22222222-2222-2222-2222-222222222222", "CUDA 12.4"},
    {&syn_driver_hip, SYN_FORMAT_HIP_C, syn_suite_cuda, 1, 719, "AMD Instinct MI300X",
     "0000:3b:00.0", "GPU-22222222-2222-2222-2222-222222222222", "HIP 6.0"},
    {&syn_driver_levelzero, SYN_FORMAT_OPENCL_C, syn_suite_opencl, ZE_INVALID_ARGUMENT,
     ZE_DEVICE_LOST, "Intel(R) Data Center GPU Max 1550", "0000:4d:00.0",
     "22222222-2222-2222-2222-222222222222", "Level Zero 1.3"},
};

static const char *library;
static const struct vendor *vendor;
static const struct syn_driver_ops *ops;
static void (*fail_at)(uint64_t nth, int code);
static uint64_t (*calls)(void);

static int
compute(struct syn_dev *dev, struct syn_dev_queue *queue, struct syn_dev_event *event,
        struct syn_dev_program *program, struct syn_dev_buf *buf, struct syn_err *err)
{
    const uint32_t n = N;
    const int32_t first = 5;
    const struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF, .buf = buf},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
        {.kind = SYN_ARG_VALUE, .value = &first, .bytes = sizeof(first)},
    };
    const struct syn_dev_launch launch = {.program = program,
                                          .kernel = "iota",
                                          .groups = {1, 1, 1},
                                          .group = {N, 1, 1},
                                          .args = args,
                                          .args_count = SYN_LEN(args)};
    struct syn_dev_cmd cmd = {.queue = queue, .signal = event};
    struct syn_dev_copy copy = {.row_bytes = 4, .rows = 2, .slices = 3};
    struct syn_dev_span span;
    int32_t out[N];
    int rc = syn_dev_fill(buf, 0, sizeof(out), 0, &cmd, err);

    rc = rc < 0 ? rc : syn_dev_event_wait(event, -1, err);
    rc = rc < 0 ? rc : syn_dev_launch(dev, &launch, &cmd, err);
    rc = rc < 0 ? rc : syn_dev_event_wait(event, INT64_C(1000000000), err);
    copy.src = (struct syn_dev_place){.buf = buf, .row_pitch = 8, .slice_pitch = 16};
    copy.dst = (struct syn_dev_place){.host = out, .row_pitch = 4, .slice_pitch = 8};
    rc = rc < 0 ? rc : syn_dev_copy(dev, &copy, &cmd, err);
    rc = rc < 0 ? rc : syn_dev_event_wait(event, -1, err);
    rc = rc < 0 ? rc : syn_dev_event_span(event, &span, err);
    if (rc == SYN_OK && (out[0] != 5 || out[1] != 7 || out[2] != 9 || out[5] != 15))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "wrong result");
    return rc;
}

static int
once(struct syn_err *err)
{
    const struct syn_driver_options options = {
        .library = library, .profiles = syn_profiles_builtin(), .sysfs = "/sys"};
    const struct syn_dev_source source = {.format = vendor->format,
                                          .name = "suite",
                                          .text = vendor->text,
                                          .len = strlen(vendor->text)};
    struct syn_device_health health;
    struct syn_driver *driver = NULL;
    struct syn_dev *dev = NULL;
    struct syn_dev_queue *queue = NULL;
    struct syn_dev_event *event = NULL;
    struct syn_dev_program *program = NULL;
    struct syn_dev_buf *buf = NULL;
    void *host = NULL;
    int rc = ops->open(&options, &driver, err);

    rc = rc != SYN_OK ? rc : syn_dev_open_in(driver, 0, &dev, err);
    rc = rc != SYN_OK ? rc : syn_dev_queue_create(dev, 0, &queue, err);
    rc = rc != SYN_OK ? rc : syn_dev_event_create(dev, &event, err);
    rc = rc != SYN_OK ? rc : syn_dev_compile(dev, &source, &program, err);
    rc = rc != SYN_OK ? rc : syn_dev_alloc(dev, N * sizeof(int32_t), &buf, err);
    rc = rc != SYN_OK ? rc : syn_dev_host_alloc(dev, 64, &host, err);
    rc = rc != SYN_OK ? rc : compute(dev, queue, event, program, buf, err);
    rc = rc != SYN_OK ? rc : syn_dev_health(dev, &health, err);
    if (host)
        syn_dev_host_free(dev, host);
    buf = syn_dev_free(buf);
    program = syn_dev_program_free(program);
    queue = syn_dev_queue_destroy(queue);
    event = syn_dev_event_destroy(event);
    dev = syn_dev_close(dev);
    if (driver)
        ops->close(driver);
    return rc;
}

/* Calls whose failure nobody has to hear of: texts of a description, and what frees. */
static void
sweep(int code, int want)
{
    struct syn_err err = {0};
    uint64_t total, heard = 0;

    fail_at(0, 0);
    assert_done(once(&err), &err);
    total = calls();
    assert_true(total > 30);
    for (uint64_t nth = 1; nth <= total; nth++) {
        int64_t before = syn_mem_live();
        int rc;

        memset(&err, 0, sizeof(err));
        fail_at(nth, code);
        rc = once(&err);
        fail_at(0, 0);
        heard += rc == want ? 1 : 0;
        if (rc < 0 && rc != want && rc != SYN_E_INVALID && rc != SYN_E_IO)
            fail_msg("call %llu of %llu failed with %d: %d %s", (unsigned long long)nth,
                     (unsigned long long)total, code, rc, err.msg);
        if (rc < 0)
            assert_true(err.msg[0] != '\0');
        assert_int_equal(syn_mem_live(), before);
    }
    assert_true(heard > 20);
    assert_done(once(&err), &err);
}

static void
test_ordinary_errors(void **state)
{
    (void)state;
    sweep(vendor->refusal, SYN_E_IO);
}

static void
test_losses(void **state)
{
    (void)state;
    sweep(vendor->loss, SYN_E_UNAVAILABLE);
}

static void
test_absence(void **state)
{
    const struct syn_driver_options nowhere = {.library = "/nowhere/lib.so"};
    const struct syn_driver_options here = {.library = library};
    struct syn_driver *driver = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_int_equal(ops->open(&nowhere, &driver, &err), SYN_DRV_ABSENT);
    assert_non_null(strstr(err.msg, "/nowhere/lib.so"));
    assert_int_equal(setenv("STANDIN_NO_DEVICE", "1", 1), 0);
    assert_int_equal(ops->open(&here, &driver, &err), SYN_DRV_ABSENT);
    assert_non_null(strstr(err.msg, "device"));
    assert_int_equal(unsetenv("STANDIN_NO_DEVICE"), 0);
    if (ops == &syn_driver_levelzero) {
        assert_int_equal(setenv("STANDIN_NO_DRIVER", "1", 1), 0);
        assert_int_equal(ops->open(&here, &driver, &err), SYN_DRV_ABSENT);
        assert_non_null(strstr(err.msg, "the Level Zero loader finds no driver"));
        assert_int_equal(unsetenv("STANDIN_NO_DRIVER"), 0);
    }
    assert_null(driver);
}

/* The loader of Level Zero knows several makers: one that fails takes no other's devices away. */
static void
test_makers_that_fail(void **state)
{
    const struct syn_driver_options options = {.library = library};
    struct syn_driver *driver = NULL;
    struct syn_err err = {0};

    (void)state;
    if (ops != &syn_driver_levelzero)
        return;
    assert_int_equal(setenv("STANDIN_BROKEN_DRIVER", "1", 1), 0);
    assert_done(ops->open(&options, &driver, &err), &err);
    assert_int_equal(driver->devices, 2);
    ops->close(driver);
    assert_int_equal(setenv("STANDIN_NO_DEVICE", "1", 1), 0);
    assert_code(ops->open(&options, &driver, &err), SYN_E_IO, &err);
    assert_non_null(strstr(err.msg, "zeDeviceGet: not available"));
    assert_int_equal(unsetenv("STANDIN_NO_DEVICE"), 0);
    assert_int_equal(unsetenv("STANDIN_BROKEN_DRIVER"), 0);
}

static void
test_description(void **state)
{
    const struct syn_driver_options options = {.library = library};
    struct syn_device_info info[2];
    struct syn_driver *driver = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_done(ops->open(&options, &driver, &err), &err);
    assert_int_equal(driver->devices, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_done(ops->describe(driver, i, &info[i], &err), &err);
    assert_string_equal(driver->version, vendor->version);
    assert_string_equal(info[0].model, vendor->model);
    assert_string_equal(info[0].pci, vendor->pci);
    assert_string_equal(info[1].uuid, vendor->uuid);
    if (ops == &syn_driver_cuda) {
        assert_string_equal(info[0].features, "sm_90");
        assert_int_equal(info[0].units, 132);
        assert_int_equal(info[0].memory_mb_s, 3352320);
        assert_int_equal(info[0].link_gen, 5);
        assert_true(info[0].dtypes & SYN_BIT(SYN_DTYPE_FP8E4M3));
        assert_true(info[0].caps & SYN_CAP_POWER);
        assert_int_equal(info[1].share, SYN_SHARE_SLICE);
        assert_string_equal(info[1].share_of, "0000:3c:00.0");
    } else {
        assert_int_equal(info[1].share, SYN_SHARE_WHOLE);
    }
    if (ops == &syn_driver_levelzero) {
        assert_int_equal(info[0].units, 512);
        assert_true(info[0].caps & SYN_CAP_POWER && info[0].caps & SYN_CAP_OVERLAP);
        assert_true(info[0].dtypes & SYN_BIT(SYN_DTYPE_FP64));
        assert_false(info[1].dtypes & SYN_BIT(SYN_DTYPE_FP64));
    }
    ops->close(driver);
}

/* Binaries: of the driver's own kind, and what is none. */
static void
test_binaries(void **state)
{
    static const struct {
        const char *text;
        enum syn_format format;
        int want;
    } rows[] = {
        {"SPIRV kernel void k(", SYN_FORMAT_SPIRV, SYN_OK},
        {"nothing of the kind", SYN_FORMAT_SPIRV, SYN_E_INVALID},
        {"ZEBIN kernel void k(", SYN_FORMAT_CODE_OBJECT, SYN_OK},
        {"SPIRV is no native one", SYN_FORMAT_CODE_OBJECT, SYN_E_INVALID},
    };
    const struct syn_driver_options options = {.library = library};
    struct syn_driver *driver = NULL;
    struct syn_dev *dev = NULL;
    struct syn_err err = {0};

    (void)state;
    if (ops != &syn_driver_levelzero)
        return;
    assert_done(ops->open(&options, &driver, &err), &err);
    assert_done(syn_dev_open_in(driver, 0, &dev, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const struct syn_dev_source source = {.format = rows[i].format,
                                              .name = "binary",
                                              .text = rows[i].text,
                                              .len = strlen(rows[i].text)};
        struct syn_dev_program *program = NULL;

        assert_int_equal(syn_dev_compile(dev, &source, &program, &err), rows[i].want);
        program = syn_dev_program_free(program);
    }
    assert_non_null(strstr(err.msg, "cannot be built"));
    dev = syn_dev_close(dev);
    ops->close(driver);
}

static void
test_state_of_intels(void **state)
{
    const struct syn_driver_options options = {.library = library};
    struct syn_device_health health;
    struct syn_device_power power;
    struct syn_driver *driver = NULL;
    struct syn_err err = {0};

    (void)state;
    if (ops != &syn_driver_levelzero)
        return;
    assert_done(ops->open(&options, &driver, &err), &err);
    for (unsigned i = 0; i < 2; i++) {
        SYN_SCOPED(syn_dev_close_scope) struct syn_dev *dev = NULL;

        assert_done(syn_dev_open_in(driver, i, &dev, &err), &err);
        assert_done(syn_dev_health(dev, &health, &err), &err);
        assert_int_equal(health.state, i == 0 ? SYN_DEVICE_OK : SYN_DEVICE_DEGRADED);
        if (i == 1)
            assert_string_equal(health.reason, "its memory is in a critical state");
        assert_int_equal(health.temperature_c, 41);
        assert_int_equal(health.memory_free_bytes, 256 << 20);
        assert_done(syn_dev_power(dev, &power, &err), &err);
        assert_int_equal(power.source, SYN_POWER_MEASURED);
        assert_int_equal(power.total_uj, 5000000);
        assert_int_equal(power.limit_mw, 600000);
    }
    ops->close(driver);
    /* Without Sysman nobody knows. */
    assert_int_equal(unsetenv("ZES_ENABLE_SYSMAN"), 0);
    assert_done(ops->open(&options, &driver, &err), &err);
    {
        SYN_SCOPED(syn_dev_close_scope) struct syn_dev *dev = NULL;

        assert_done(syn_dev_open_in(driver, 1, &dev, &err), &err);
        assert_done(syn_dev_health(dev, &health, &err), &err);
        assert_int_equal(health.state, SYN_DEVICE_OK);
        assert_int_equal(health.temperature_c, -1);
        assert_code(syn_dev_power(dev, &power, &err), SYN_E_UNSUPPORTED, &err);
    }
    ops->close(driver);
    assert_int_equal(setenv("ZES_ENABLE_SYSMAN", "1", 1), 0);
}

static void
test_state_and_power(void **state)
{
    const struct syn_driver_options options = {.library = library};
    struct syn_device_health health;
    struct syn_device_power power;
    struct syn_driver *driver = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_done(ops->open(&options, &driver, &err), &err);
    for (unsigned i = 0; i < 2 && ops == &syn_driver_cuda; i++) {
        SYN_SCOPED(syn_dev_close_scope) struct syn_dev *dev = NULL;

        assert_done(syn_dev_open_in(driver, i, &dev, &err), &err);
        assert_done(syn_dev_health(dev, &health, &err), &err);
        assert_int_equal(health.state, i == 0 ? SYN_DEVICE_OK : SYN_DEVICE_DEGRADED);
        assert_int_equal(health.memory_errors, i == 0 ? 0 : 2);
        assert_int_equal(health.temperature_c, 41);
        assert_int_equal(health.load_permille, 70);
        assert_done(syn_dev_power(dev, &power, &err), &err);
        assert_int_equal(power.source, SYN_POWER_MEASURED);
        assert_int_equal(power.now_mw, 120500);
        assert_int_equal(power.total_uj, 5000000);
        assert_int_equal(power.limit_mw, 700000);
    }
    ops->close(driver);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary_errors), cmocka_unit_test(test_losses),
        cmocka_unit_test(test_absence),         cmocka_unit_test(test_description),
        cmocka_unit_test(test_state_and_power), cmocka_unit_test(test_binaries),
        cmocka_unit_test(test_state_of_intels), cmocka_unit_test(test_makers_that_fail),
    };
    void *handle = NULL;

    if (argc != 3)
        return 2;
    for (size_t i = 0; i < SYN_LEN(vendors); i++) {
        if (strcmp(vendors[i].ops->name, argv[1]) == 0)
            vendor = &vendors[i];
    }
    if (!vendor || setenv("ZES_ENABLE_SYSMAN", "1", 1) != 0)
        return 2;
    ops = vendor->ops;
    library = argv[2];
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return 2;
    *(void **)&fail_at = dlsym(handle, "standin_fail");
    *(void **)&calls = dlsym(handle, "standin_calls");
    return fail_at && calls ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}
