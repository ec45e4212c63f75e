/* NVIDIA: the driver interface (libcuda), NVRTC for source, NVML for state and power; each loaded
 * at run time, the latter two optional. Contexts are the devices' primary ones, shared with
 * whatever else in the process uses CUDA. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "stream_priv.h"

#define ATTRIBUTE_SHARED_BYTES 8
#define ATTRIBUTE_CLOCK_KHZ    13
#define ATTRIBUTE_UNITS        16
#define ATTRIBUTE_MEMORY_KHZ   36
#define ATTRIBUTE_BUS_BITS     37
#define ATTRIBUTE_MAJOR        75
#define ATTRIBUTE_MINOR        76
#define ATTRIBUTE_GROUP_MAX    1

/* Reasons for a lower clock that are reasons to worry: hardware slowdown, thermal, power brake. */
#define THROTTLE_WORRIES UINT64_C(0xe8)

/* X(member, arguments, symbol, optional) */
#define NVML_FUNCTIONS(X)                                                                          \
    X(init, (void), "nvmlInit_v2", false)                                                          \
    X(handle, (const char *, void **), "nvmlDeviceGetHandleByPciBusId_v2", false)                  \
    X(temperature, (void *, int, unsigned *), "nvmlDeviceGetTemperature", false)                   \
    X(utilization, (void *, unsigned *), "nvmlDeviceGetUtilizationRates", false)                   \
    X(power, (void *, unsigned *), "nvmlDeviceGetPowerUsage", false)                               \
    X(limit, (void *, unsigned *), "nvmlDeviceGetEnforcedPowerLimit", false)                       \
    X(energy, (void *, unsigned long long *), "nvmlDeviceGetTotalEnergyConsumption", true)         \
    X(ecc, (void *, int, int, unsigned long long *), "nvmlDeviceGetTotalEccErrors", true)          \
    X(throttle, (void *, unsigned long long *), "nvmlDeviceGetCurrentClocksThrottleReasons", true) \
    X(link_gen, (void *, unsigned *), "nvmlDeviceGetCurrPcieLinkGeneration", true)                 \
    X(link_width, (void *, unsigned *), "nvmlDeviceGetCurrPcieLinkWidth", true)

struct nvml_api {
#define X(member, arguments, symbol, optional) int(*member) arguments;
    NVML_FUNCTIONS(X)
#undef X
};

struct cuda_driver {
    struct stream_driver stream;
    struct nvml_api nvml; /* `init` NULL: there is none */
    void *handles[STREAM_DEVICES_MAX];
};

static const struct syn_loader_row rows[] = {
#define X(member, arguments, cuda, hip, optional) \
    {cuda, offsetof(struct stream_api, member), optional},
    STREAM_FUNCTIONS(X)
#undef X
};

static const struct syn_loader_row nvml_rows[] = {
#define X(member, arguments, symbol, optional) \
    {symbol, offsetof(struct nvml_api, member), optional},
    NVML_FUNCTIONS(X)
#undef X
};

/* CUDA_MEMCPY2D by the interface's documentation. */
struct memcpy_2d {
    size_t src_x, src_y;
    int src_type;
    const void *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch;
    size_t dst_x, dst_y;
    int dst_type;
    void *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch;
    size_t width, height;
};

#define MEMORY_HOST   1
#define MEMORY_DEVICE 2

static int
/* NOLINTNEXTLINE(readability-function-size): both vendors' calls fit these parameters */
copy_2d(const struct stream_api *api, uint64_t dst, bool dst_host, size_t dst_pitch, uint64_t src,
        bool src_host, size_t src_pitch, size_t width, size_t rows_count, void *stream)
{
    const struct memcpy_2d copy = {
        .src_type = src_host ? MEMORY_HOST : MEMORY_DEVICE,
        .src_host = src_host ? (const void *)(uintptr_t)src : NULL,
        .src_device = src_host ? 0 : src,
        .src_pitch = src_pitch,
        .dst_type = dst_host ? MEMORY_HOST : MEMORY_DEVICE,
        .dst_host = dst_host ? (void *)(uintptr_t)dst : NULL,
        .dst_device = dst_host ? 0 : dst,
        .dst_pitch = dst_pitch,
        .width = width,
        .height = rows_count,
    };

    return api->copy_2d_cuda(&copy, stream);
}

static int
attribute(const struct stream_api *api, int which, int device)
{
    int value = 0;

    return api->attribute(&value, which, device) == STREAM_OK ? value : 0;
}

static bool
arch(const struct stream_dev *dev, char *out, size_t cap)
{
    int major = attribute(dev->api, ATTRIBUTE_MAJOR, dev->device);
    int minor = attribute(dev->api, ATTRIBUTE_MINOR, dev->device);

    return snprintf(out, cap, "--gpu-architecture=compute_%d%d", major, minor) < (int)cap;
}

static const struct syn_stream_vendor vendor = {
    .name = "cuda",
    .source = SYN_FORMAT_CUDA_C,
    .image_options = 1,
    .copy_2d = copy_2d,
    .arch = arch,
};

/* A handle of the management library for each device; without it state and power are unknown. */
static void
open_nvml(struct cuda_driver *driver, const char *library)
{
    static const char *const names[] = {"libnvidia-ml.so.1", NULL};

    if (syn_loader_open(library, names, nvml_rows, SYN_LEN(nvml_rows), &driver->nvml, NULL) < 0 ||
        driver->nvml.init() != 0) {
        driver->nvml.init = NULL;
        return;
    }
    for (unsigned i = 0; i < driver->stream.base.devices; i++) {
        char pci[32] = "";

        if (driver->stream.api.pci(pci, sizeof(pci), driver->stream.devices[i]) != STREAM_OK ||
            driver->nvml.handle(pci, &driver->handles[i]) != 0)
            driver->handles[i] = NULL;
    }
}

static int
cuda_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
          struct syn_err *err)
{
    static const char *const names[] = {"libcuda.so.1", NULL};
    static const char *const rtc[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2",
                                      "libnvrtc.so", NULL};
    struct cuda_driver *driver = syn_calloc(1, sizeof(*driver));
    int rc, version = 0;

    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "cuda driver");
    driver->stream.base.ops = &syn_driver_cuda;
    driver->stream.vendor = &vendor;
    rc = syn_loader_open(options->library, names, rows, SYN_LEN(rows), &driver->stream.api, err);
    if (rc == SYN_E_NOTFOUND)
        rc = SYN_DRV_ABSENT;
    rc = rc != SYN_OK ? rc : syn_stream_count(&driver->stream, err);
    if (rc != SYN_OK) {
        syn_free(driver);
        return rc;
    }
    (void)driver->stream.api.version(&version);
    (void)snprintf(driver->stream.base.version, sizeof(driver->stream.base.version), "CUDA %d.%d",
                   version / 1000, version % 1000 / 10);
    syn_stream_rtc_load(&driver->stream.rtc, options->library, rtc, "nvrtc", "PTX");
    open_nvml(driver, options->library);
    *ret_driver = &driver->stream.base;
    return SYN_OK;
}

static struct cuda_driver *
cuda_of(struct syn_driver *driver)
{
    return SYN_CONTAINER(stream_driver_of(driver), struct cuda_driver, stream);
}

static uint32_t
extra_dtypes(int capability)
{
    uint32_t set = 0;

    if (capability >= 80)
        set |= SYN_BIT(SYN_DTYPE_TF32) | SYN_BIT(SYN_DTYPE_BF16);
    if (capability >= 89)
        set |= SYN_BIT(SYN_DTYPE_FP8E4M3) | SYN_BIT(SYN_DTYPE_FP8E5M2);
    if (capability >= 75 && capability < 90)
        set |= SYN_BIT(SYN_DTYPE_INT4);
    return set;
}

/* Does a multi-process server stand between this process and the devices? */
static bool
is_served(void)
{
    const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY");
    char path[512];

    return snprintf(path, sizeof(path), "%s/control", folder ? folder : "/tmp/nvidia-mps") <
               (int)sizeof(path) &&
           access(path, F_OK) == 0;
}

static int
cuda_describe(struct syn_driver *base, unsigned index, struct syn_device_info *ret,
              struct syn_err *err)
{
    struct cuda_driver *driver = cuda_of(base);
    const struct stream_api *api = &driver->stream.api;
    int device = driver->stream.devices[index], capability;
    int rc = syn_stream_describe(&driver->stream, index, ret, err);

    if (rc < 0)
        return rc;
    capability =
        attribute(api, ATTRIBUTE_MAJOR, device) * 10 + attribute(api, ATTRIBUTE_MINOR, device);
    (void)syn_str_copy(ret->vendor, sizeof(ret->vendor), "NVIDIA");
    (void)snprintf(ret->features, sizeof(ret->features), "sm_%d", capability);
    ret->units = (unsigned)attribute(api, ATTRIBUTE_UNITS, device);
    ret->clock_mhz = (unsigned)attribute(api, ATTRIBUTE_CLOCK_KHZ, device) / 1000;
    ret->local_bytes = (uint64_t)attribute(api, ATTRIBUTE_SHARED_BYTES, device);
    ret->group_max = (unsigned)attribute(api, ATTRIBUTE_GROUP_MAX, device);
    /* Two transfers a clock, as all of their memories have by this attribute's account. */
    ret->memory_mb_s = (uint64_t)attribute(api, ATTRIBUTE_MEMORY_KHZ, device) * 2 *
                       (uint64_t)attribute(api, ATTRIBUTE_BUS_BITS, device) / 8 / 1000;
    ret->formats |= SYN_BIT(SYN_FORMAT_PTX);
    ret->dtypes |= extra_dtypes(capability);
    if (strstr(ret->model, " MIG ")) {
        ret->share = SYN_SHARE_SLICE;
        (void)syn_str_copy(ret->share_of, sizeof(ret->share_of), ret->pci);
    } else if (is_served()) {
        ret->share = SYN_SHARE_SERVED;
    }
    if (!driver->handles[index])
        return SYN_OK;
    ret->caps |= SYN_CAP_POWER;
    if (driver->nvml.link_gen)
        (void)driver->nvml.link_gen(driver->handles[index], &ret->link_gen);
    if (driver->nvml.link_width)
        (void)driver->nvml.link_width(driver->handles[index], &ret->link_width);
    return SYN_OK;
}

static int
cuda_health(struct syn_dev *dev, struct syn_device_health *ret, struct syn_err *err)
{
    const struct cuda_driver *driver = cuda_of(dev->driver);
    const struct nvml_api *nvml = &driver->nvml;
    void *handle = driver->handles[dev->info.index];
    unsigned long long count = 0;
    unsigned pair[2] = {0};
    int rc = syn_stream_health(dev, ret, err);

    if (rc < 0 || !handle)
        return rc;
    if (nvml->temperature(handle, 0, pair) == 0)
        ret->temperature_c = (int)pair[0];
    if (nvml->utilization(handle, pair) == 0)
        ret->load_permille = (int)SYN_MIN(pair[0], 100U) * 10;
    if (nvml->ecc && nvml->ecc(handle, 1, 0, &count) == 0)
        ret->memory_errors = count;
    if (ret->memory_errors > 0) {
        ret->state = SYN_DEVICE_DEGRADED;
        (void)snprintf(ret->reason, sizeof(ret->reason), "%llu uncorrected memory errors",
                       (unsigned long long)ret->memory_errors);
    } else if (nvml->throttle && nvml->throttle(handle, &count) == 0 && count & THROTTLE_WORRIES) {
        ret->state = SYN_DEVICE_DEGRADED;
        (void)snprintf(ret->reason, sizeof(ret->reason), "slowed down (reasons 0x%llx)", count);
    }
    return SYN_OK;
}

static int
cuda_power(struct syn_dev *dev, struct syn_device_power *ret, struct syn_err *err)
{
    const struct cuda_driver *driver = cuda_of(dev->driver);
    const struct nvml_api *nvml = &driver->nvml;
    void *handle = driver->handles[dev->info.index];
    unsigned long long mj = 0;
    unsigned mw = 0;

    if (!handle || nvml->power(handle, &mw) != 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "NVML does not know the power of %s", dev->info.id);
    ret->source = SYN_POWER_MEASURED;
    ret->now_mw = mw;
    if (nvml->energy && nvml->energy(handle, &mj) == 0)
        ret->total_uj = (int64_t)mj * 1000;
    if (nvml->limit(handle, &mw) == 0)
        ret->limit_mw = mw;
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_cuda = {
    .version = SYN_DRIVER_VERSION,
    .name = "cuda",
    .kinds = SYN_BIT(SYN_KIND_GPU),
    .open = cuda_open,
    .describe = cuda_describe,
    .health = cuda_health,
    .power = cuda_power,
    SYN_STREAM_OPS,
};
