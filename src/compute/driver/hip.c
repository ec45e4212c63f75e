/* AMD: the HIP runtime (libamdhip64) and HIPRTC for source, loaded at run time. What HIP numbers
 * differently from release to release (device attributes) is not asked for: units, clocks and the
 * like come from the capability profile that the device's name matches. */
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "stream_priv.h"

#define COPY_TO_DEVICE   1
#define COPY_FROM_DEVICE 2
#define COPY_WITHIN      3

static const struct syn_loader_row rows[] = {
#define X(member, arguments, cuda, hip, optional) \
    {hip, offsetof(struct stream_api, member), optional},
    STREAM_FUNCTIONS(X)
#undef X
};

static int
/* NOLINTNEXTLINE(readability-function-size): both vendors' calls fit these parameters */
copy_2d(const struct stream_api *api, uint64_t dst, bool dst_host, size_t dst_pitch, uint64_t src,
        bool src_host, size_t src_pitch, size_t width, size_t rows_count, void *stream)
{
    int kind = src_host ? COPY_TO_DEVICE : dst_host ? COPY_FROM_DEVICE : COPY_WITHIN;

    return api->copy_2d_hip((void *)(uintptr_t)dst, dst_pitch, (const void *)(uintptr_t)src,
                            src_pitch, width, rows_count, kind, stream);
}

/* HIPRTC compiles for the current device. */
static bool
arch(const struct stream_dev *dev, char *out, size_t cap)
{
    (void)dev;
    (void)out;
    (void)cap;
    return false;
}

static const struct syn_stream_vendor vendor = {
    .name = "hip",
    .source = SYN_FORMAT_HIP_C,
    .copy_2d = copy_2d,
    .arch = arch,
};

static int
hip_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
         struct syn_err *err)
{
    static const char *const names[] = {"libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so",
                                        NULL};
    static const char *const rtc[] = {"libhiprtc.so.6",   "libhiprtc.so.5",   "libhiprtc.so",
                                      "libamdhip64.so.6", "libamdhip64.so.5", NULL};
    struct stream_driver *driver = syn_calloc(1, sizeof(*driver));
    int rc, version = 0;

    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "hip driver");
    driver->base.ops = &syn_driver_hip;
    driver->vendor = &vendor;
    rc = syn_loader_open(options->library, names, rows, SYN_LEN(rows), &driver->api, err);
    if (rc == SYN_E_NOTFOUND)
        rc = SYN_DRV_ABSENT;
    rc = rc != SYN_OK ? rc : syn_stream_count(driver, err);
    if (rc != SYN_OK) {
        syn_free(driver);
        return rc;
    }
    (void)driver->api.version(&version);
    (void)snprintf(driver->base.version, sizeof(driver->base.version), "HIP %d.%d",
                   version / 10000000, version / 100000 % 100);
    syn_stream_rtc_load(&driver->rtc, options->library, rtc, "hiprtc", "Code");
    *ret_driver = &driver->base;
    return SYN_OK;
}

static int
hip_describe(struct syn_driver *base, unsigned index, struct syn_device_info *ret,
             struct syn_err *err)
{
    int rc = syn_stream_describe(stream_driver_of(base), index, ret, err);

    if (rc == SYN_OK) {
        (void)syn_str_copy(ret->vendor, sizeof(ret->vendor), "AMD");
        ret->dtypes |= SYN_BIT(SYN_DTYPE_BF16);
    }
    return rc;
}

const struct syn_driver_ops syn_driver_hip = {
    .version = SYN_DRIVER_VERSION,
    .name = "hip",
    .kinds = SYN_BIT(SYN_KIND_GPU),
    .open = hip_open,
    .describe = hip_describe,
    .health = syn_stream_health,
    SYN_STREAM_OPS,
};
