/* OpenCL 1.2 through its installable client driver loader. Each device has a context of its own, so
 * its memory is a space apart even where two devices are of one platform: what goes between them is
 * staged. A device of the host's own cores (PoCL) is marked SYN_SHARE_HOST. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <synor/base/buf.h>
#include <synor/base/loader.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "host_queue_priv.h"
#include "opencl_priv.h"

#define PLATFORMS_MAX 16

static const struct syn_loader_row rows[] = {
#define X(name, result, arguments, optional) {#name, offsetof(struct cl_api, name), optional},
    CL_FUNCTIONS(X)
#undef X
};

static const char *
code_name(cl_int code)
{
    static const struct syn_code_name names[] = {
        {CL_DEVICE_NOT_AVAILABLE, "device not available"},
        {CL_MEM_OBJECT_ALLOCATION_FAILED, "memory object allocation failure"},
        {CL_OUT_OF_RESOURCES, "out of resources"},
        {CL_OUT_OF_HOST_MEMORY, "out of host memory"},
        {-30, "invalid value"},
        {-38, "invalid memory object"},
        {-48, "invalid kernel"},
        {-50, "invalid argument value"},
        {-51, "invalid argument size"},
        {-52, "invalid kernel arguments"},
        {-54, "invalid work group size"},
    };

    return syn_code_name(names, SYN_LEN(names), code, "error");
}

int
ocl_refuse(cl_int code, const char *what, struct syn_err *err)
{
    int mine = SYN_E_IO;

    if (code == CL_DEVICE_NOT_AVAILABLE)
        mine = SYN_E_UNAVAILABLE;
    else if (code == CL_OUT_OF_HOST_MEMORY)
        mine = SYN_E_NOMEM;
    return SYN_FAIL(err, mine, "opencl: %s: %s (%d)", what, code_name(code), code);
}

/* Opening and describing. */

static int
find_devices(struct ocl_driver *driver, struct syn_err *err)
{
    const struct cl_api *api = &driver->api;
    cl_platform_id platforms[PLATFORMS_MAX] = {0};
    cl_uint count = 0;
    cl_int code = api->clGetPlatformIDs(PLATFORMS_MAX, platforms, &count);

    if (code == CL_PLATFORM_NOT_FOUND || (code == CL_SUCCESS && count == 0)) {
        (void)SYN_FAIL(err, SYN_E_NOTFOUND, "the OpenCL loader knows no platform");
        return SYN_DRV_ABSENT;
    }
    if (code != CL_SUCCESS)
        return ocl_refuse(code, "clGetPlatformIDs", err);
    for (cl_uint i = 0; i < SYN_MIN(count, (cl_uint)PLATFORMS_MAX); i++) {
        unsigned room = OCL_DEVICES_MAX - driver->base.devices;
        cl_uint found = 0;

        if (room == 0 ||
            api->clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, room,
                                &driver->ids[driver->base.devices], &found) != CL_SUCCESS)
            continue; /* a platform without devices is none */
        for (cl_uint k = 0; k < SYN_MIN(found, room); k++)
            driver->platforms[driver->base.devices++] = platforms[i];
    }
    if (driver->base.devices > 0)
        return SYN_OK;
    (void)SYN_FAIL(err, SYN_E_NOTFOUND, "no OpenCL platform has a device");
    return SYN_DRV_ABSENT;
}

static int
ocl_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
         struct syn_err *err)
{
    static const char *const names[] = {"libOpenCL.so.1", "libOpenCL.so", NULL};
    struct ocl_driver *driver = syn_calloc(1, sizeof(*driver));
    int rc;

    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "opencl driver");
    driver->base.ops = &syn_driver_opencl;
    rc = syn_loader_open(options->library, names, rows, SYN_LEN(rows), &driver->api, err);
    if (rc == SYN_E_NOTFOUND)
        rc = SYN_DRV_ABSENT;
    rc = rc != SYN_OK ? rc : find_devices(driver, err);
    if (rc != SYN_OK) {
        syn_free(driver);
        return rc;
    }
    (void)driver->api.clGetPlatformInfo(driver->platforms[0], CL_PLATFORM_VERSION,
                                        sizeof(driver->base.version) - 1, driver->base.version,
                                        NULL);
    *ret_driver = &driver->base;
    return SYN_OK;
}

static void
ocl_close(struct syn_driver *driver)
{
    syn_free(SYN_CONTAINER(driver, struct ocl_driver, base));
}

/* A text of a device, cut to fit; "" when there is none. */
static void
info_text(const struct ocl_driver *driver, unsigned index, cl_uint what, char *out, size_t cap)
{
    char text[4096] = "";
    size_t len = 0;

    if (driver->api.clGetDeviceInfo(driver->ids[index], what, sizeof(text) - 1, text, &len) !=
        CL_SUCCESS)
        text[0] = '\0';
    (void)syn_str_copy(out, cap, text + strspn(text, " "));
}

/* A number of a device, of 1 to 8 bytes; 0 when there is none. */
static uint64_t
info_number(const struct ocl_driver *driver, unsigned index, cl_uint what)
{
    uint64_t value = 0;
    size_t len = 0;

    if (driver->api.clGetDeviceInfo(driver->ids[index], what, sizeof(value), &value, &len) !=
        CL_SUCCESS)
        return 0;
    return len == sizeof(uint32_t) ? (uint32_t)value : value;
}

static enum syn_kind
kind_of(uint64_t type, const char *vendor)
{
    if (type & CL_DEVICE_TYPE_GPU)
        return SYN_KIND_GPU;
    if (type & CL_DEVICE_TYPE_CPU)
        return SYN_KIND_CPU;
    return strstr(vendor, "Texas") ? SYN_KIND_DSP : SYN_KIND_FPGA;
}

static uint32_t
dtypes_of(const struct ocl_driver *driver, unsigned index)
{
    uint32_t set = SYN_BIT(SYN_DTYPE_FP32) | SYN_BIT(SYN_DTYPE_INT8) | SYN_BIT(SYN_DTYPE_UINT8) |
                   SYN_BIT(SYN_DTYPE_INT16) | SYN_BIT(SYN_DTYPE_INT32) | SYN_BIT(SYN_DTYPE_UINT32) |
                   SYN_BIT(SYN_DTYPE_INT64) | SYN_BIT(SYN_DTYPE_UINT64) | SYN_BIT(SYN_DTYPE_C64);
    char extensions[4096];

    info_text(driver, index, CL_DEVICE_EXTENSIONS, extensions, sizeof(extensions));
    if (info_number(driver, index, CL_DEVICE_DOUBLE_CONFIG) != 0)
        set |= SYN_BIT(SYN_DTYPE_FP64) | SYN_BIT(SYN_DTYPE_C128);
    if (strstr(extensions, "cl_khr_fp16"))
        set |= SYN_BIT(SYN_DTYPE_FP16);
    return set;
}

static int
ocl_describe(struct syn_driver *base, unsigned index, struct syn_device_info *ret,
             struct syn_err *err)
{
    const struct ocl_driver *driver = SYN_CONTAINER(base, struct ocl_driver, base);
    char version[64], platform[64] = "";
    uint64_t type = info_number(driver, index, CL_DEVICE_TYPE_);

    (void)err;
    *ret = (struct syn_device_info){.numa_node = -1};
    info_text(driver, index, CL_DEVICE_NAME, ret->model, sizeof(ret->model));
    info_text(driver, index, CL_DEVICE_VENDOR, ret->vendor, sizeof(ret->vendor));
    info_text(driver, index, CL_DRIVER_VERSION, version, sizeof(version));
    info_text(driver, index, CL_DEVICE_EXTENSIONS, ret->features, sizeof(ret->features));
    (void)driver->api.clGetPlatformInfo(driver->platforms[index], CL_PLATFORM_NAME,
                                        sizeof(platform) - 1, platform, NULL);
    (void)snprintf(ret->version, sizeof(ret->version), "%s %s", platform, version);
    ret->kind = kind_of(type, ret->vendor);
    ret->share = ret->kind == SYN_KIND_CPU ? SYN_SHARE_HOST : SYN_SHARE_WHOLE;
    ret->units = (unsigned)info_number(driver, index, CL_DEVICE_MAX_COMPUTE_UNITS);
    ret->clock_mhz = (unsigned)info_number(driver, index, CL_DEVICE_MAX_CLOCK);
    ret->memory_bytes = info_number(driver, index, CL_DEVICE_GLOBAL_MEM);
    ret->alloc_max_bytes = info_number(driver, index, CL_DEVICE_MAX_ALLOC);
    ret->local_bytes = info_number(driver, index, CL_DEVICE_LOCAL_MEM);
    ret->group_max = (unsigned)info_number(driver, index, CL_DEVICE_MAX_GROUP_SIZE);
    ret->queues_max = 64;
    ret->caps = SYN_CAP_HOST_PINNED | SYN_CAP_TIMES | SYN_CAP_OVERLAP | SYN_CAP_NOTIFY;
    if (info_number(driver, index, CL_DEVICE_COMPILER_AVAILABLE) != 0) {
        ret->caps |= SYN_CAP_COMPILE;
        ret->formats |= SYN_BIT(SYN_FORMAT_OPENCL_C);
    }
    if (driver->api.clCreateProgramWithIL && strstr(ret->version, "OpenCL 1") == NULL)
        ret->formats |= SYN_BIT(SYN_FORMAT_SPIRV);
    ret->dtypes = dtypes_of(driver, index);
    return SYN_OK;
}

static int
ocl_dev_open(struct syn_driver *base, unsigned index, struct syn_dev **ret_dev, struct syn_err *err)
{
    struct ocl_driver *driver = SYN_CONTAINER(base, struct ocl_driver, base);
    struct ocl_dev *dev = NULL;
    cl_int code = CL_SUCCESS;

    if (info_number(driver, index, CL_DEVICE_AVAILABLE) == 0)
        return ocl_refuse(CL_DEVICE_NOT_AVAILABLE, "opening", err);
    dev = syn_calloc(1, sizeof(*dev));
    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "device");
    dev->api = &driver->api;
    dev->id = driver->ids[index];
    dev->align = (size_t)info_number(driver, index, CL_DEVICE_BASE_ADDR_ALIGN) / 8;
    dev->memory_bytes = info_number(driver, index, CL_DEVICE_GLOBAL_MEM);
    dev->context = dev->api->clCreateContext(NULL, 1, &dev->id, NULL, NULL, &code);
    if (dev->context)
        dev->mapper = dev->api->clCreateCommandQueue(dev->context, dev->id, 0, &code);
    if (!dev->context || !dev->mapper) {
        if (dev->context)
            (void)dev->api->clReleaseContext(dev->context);
        syn_free(dev);
        return ocl_refuse(code, "creating a context", err);
    }
    (void)pthread_mutex_init(&dev->lock, NULL);
    *ret_dev = &dev->base;
    return SYN_OK;
}

static void
ocl_dev_close(struct syn_dev *base)
{
    struct ocl_dev *dev = ocl_dev_of(base);

    assert(!dev->pinned && dev->used_bytes == 0);
    (void)dev->api->clReleaseCommandQueue(dev->mapper);
    (void)dev->api->clReleaseContext(dev->context);
    (void)pthread_mutex_destroy(&dev->lock);
    syn_free(dev);
}

/* Memory. */

static void
give_back(struct ocl_dev *dev, uint64_t bytes)
{
    (void)pthread_mutex_lock(&dev->lock);
    dev->used_bytes -= bytes;
    (void)pthread_mutex_unlock(&dev->lock);
}

static bool
is_full(cl_int code)
{
    return code == CL_MEM_OBJECT_ALLOCATION_FAILED || code == CL_OUT_OF_RESOURCES ||
           code == CL_INVALID_BUFFER_SIZE;
}

/* Most implementations allocate on first use only, so what was promised is counted here. */
static int
ocl_alloc(struct syn_dev *base, uint64_t bytes, struct syn_dev_buf **ret_buf, struct syn_err *err)
{
    struct ocl_dev *dev = ocl_dev_of(base);
    struct ocl_buf *buf = syn_calloc(1, sizeof(*buf));
    cl_int code = CL_SUCCESS;
    bool room;

    if (!buf)
        return SYN_FAIL(err, SYN_E_NOMEM, "buffer");
    (void)pthread_mutex_lock(&dev->lock);
    room = bytes <= dev->memory_bytes && dev->used_bytes <= dev->memory_bytes - bytes;
    if (room)
        dev->used_bytes += bytes;
    (void)pthread_mutex_unlock(&dev->lock);
    if (room) {
        buf->mem = dev->api->clCreateBuffer(dev->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
        if (buf->mem) {
            *ret_buf = &buf->base;
            return SYN_OK;
        }
        give_back(dev, bytes);
    }
    syn_free(buf);
    return !room || is_full(code) ? SYN_DRV_FULL : ocl_refuse(code, "clCreateBuffer", err);
}

static void
ocl_free(struct syn_dev_buf *base)
{
    struct ocl_buf *buf = SYN_CONTAINER(base, struct ocl_buf, base);
    struct ocl_dev *dev = ocl_dev_of(base->dev);

    (void)dev->api->clReleaseMemObject(buf->mem);
    give_back(dev, base->bytes);
    syn_free(buf);
}

/* Memory that the implementation allocates for the host is what its copies are fastest with. It
 * stays mapped for as long as it lives, and is used as plain host memory. */
static int
ocl_host_alloc(struct syn_dev *base, uint64_t bytes, void **ret_host, struct syn_err *err)
{
    struct ocl_dev *dev = ocl_dev_of(base);
    struct ocl_pinned *pinned = syn_calloc(1, sizeof(*pinned));
    cl_int code = CL_SUCCESS;

    if (!pinned)
        return SYN_FAIL(err, SYN_E_NOMEM, "pinned memory");
    pinned->mem = dev->api->clCreateBuffer(dev->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST,
                                           bytes, NULL, &code);
    if (pinned->mem)
        pinned->host =
            dev->api->clEnqueueMapBuffer(dev->mapper, pinned->mem, 1, CL_MAP_READ | CL_MAP_WRITE, 0,
                                         bytes, 0, NULL, NULL, &code);
    if (!pinned->host) {
        if (pinned->mem)
            (void)dev->api->clReleaseMemObject(pinned->mem);
        syn_free(pinned);
        return is_full(code) ? SYN_DRV_FULL : ocl_refuse(code, "mapping host memory", err);
    }
    (void)pthread_mutex_lock(&dev->lock);
    pinned->next = dev->pinned;
    dev->pinned = pinned;
    (void)pthread_mutex_unlock(&dev->lock);
    *ret_host = pinned->host;
    return SYN_OK;
}

static void
ocl_host_free(struct syn_dev *base, void *host)
{
    struct ocl_dev *dev = ocl_dev_of(base);
    struct ocl_pinned **at = &dev->pinned, *pinned = NULL;

    (void)pthread_mutex_lock(&dev->lock);
    while (*at && (*at)->host != host)
        at = &(*at)->next;
    pinned = *at;
    if (pinned)
        *at = pinned->next;
    (void)pthread_mutex_unlock(&dev->lock);
    assert(pinned); /* not memory of this device's */
    (void)dev->api->clEnqueueUnmapMemObject(dev->mapper, pinned->mem, host, 0, NULL, NULL);
    (void)dev->api->clFinish(dev->mapper);
    (void)dev->api->clReleaseMemObject(pinned->mem);
    syn_free(pinned);
}

/* Queues and events. */

static int
ocl_queue_create(struct syn_dev *base, uint32_t flags, struct syn_dev_queue **ret_queue,
                 struct syn_err *err)
{
    struct ocl_dev *dev = ocl_dev_of(base);
    struct ocl_queue *queue = syn_calloc(1, sizeof(*queue));
    cl_int code = CL_SUCCESS;

    (void)flags;
    if (!queue)
        return SYN_FAIL(err, SYN_E_NOMEM, "queue");
    queue->queue = dev->api->clCreateCommandQueue(dev->context, dev->id, CL_QUEUE_PROFILING, &code);
    if (!queue->queue) {
        syn_free(queue);
        return ocl_refuse(code, "clCreateCommandQueue", err);
    }
    *ret_queue = &queue->base;
    return SYN_OK;
}

static void
ocl_queue_destroy(struct syn_dev_queue *base)
{
    struct ocl_queue *queue = SYN_CONTAINER(base, struct ocl_queue, base);
    const struct cl_api *api = ocl_dev_of(base->dev)->api;

    (void)api->clFinish(queue->queue);
    (void)api->clReleaseCommandQueue(queue->queue);
    syn_free(queue);
}

static void
ocl_queue_clear(struct syn_dev_queue *queue)
{
    (void)queue; /* its commands run whatever became of the ones before */
}

static int
ocl_event_create(struct syn_dev *dev, struct syn_dev_event **ret_event, struct syn_err *err)
{
    struct ocl_event *event = syn_calloc(1, sizeof(*event));

    (void)dev;
    if (!event)
        return SYN_FAIL(err, SYN_E_NOMEM, "event");
    *ret_event = &event->base;
    return SYN_OK;
}

void
ocl_event_drop(const struct cl_api *api, struct ocl_event *event)
{
    if (event->first && event->first != event->last)
        (void)api->clReleaseEvent(event->first);
    if (event->last)
        (void)api->clReleaseEvent(event->last);
    event->first = event->last = NULL;
}

static void
ocl_event_destroy(struct syn_dev_event *base)
{
    struct ocl_event *event = SYN_CONTAINER(base, struct ocl_event, base);

    ocl_event_drop(ocl_dev_of(base->dev)->api, event);
    syn_free(event);
}

static int
ocl_event_poll(struct syn_dev_event *base, struct syn_err *err)
{
    const struct ocl_event *event = SYN_CONTAINER(base, struct ocl_event, base);
    const struct cl_api *api = ocl_dev_of(base->dev)->api;
    cl_int status = CL_COMPLETE, code = CL_SUCCESS;

    if (!event->last)
        return SYN_OK;
    code = api->clGetEventInfo(event->last, CL_EXECUTION_STATUS, sizeof(status), &status, NULL);
    if (code != CL_SUCCESS)
        return ocl_refuse(code, "clGetEventInfo", err);
    if (status == CL_EVENTS_IN_WAIT_LIST_FAILED)
        return SYN_FAIL(err, SYN_E_CANCELED, "opencl: what the command waited for failed");
    if (status < 0)
        return ocl_refuse(status, "command", err);
    return status == CL_COMPLETE ? SYN_OK : SYN_DRV_PENDING;
}

/* The interface waits for ever or not at all. */
static int
ocl_event_wait(struct syn_dev_event *base, int64_t timeout_ns, struct syn_err *err)
{
    const struct ocl_event *event = SYN_CONTAINER(base, struct ocl_event, base);
    int rc = ocl_event_poll(base, err);

    if (rc == SYN_DRV_PENDING && timeout_ns < 0) {
        (void)ocl_dev_of(base->dev)->api->clWaitForEvents(1, &event->last);
        return ocl_event_poll(base, err);
    }
    return rc == SYN_DRV_PENDING ? syn_poll_wait(ocl_event_poll, base, timeout_ns, err) : rc;
}

static int
ocl_event_span(struct syn_dev_event *base, struct syn_dev_span *ret, struct syn_err *err)
{
    const struct ocl_event *event = SYN_CONTAINER(base, struct ocl_event, base);
    const struct cl_api *api = ocl_dev_of(base->dev)->api;
    cl_ulong start = 0, end = 0;
    cl_int code = CL_SUCCESS;

    if (event->last) {
        code = api->clGetEventProfilingInfo(event->first, CL_COMMAND_START, sizeof(start), &start,
                                            NULL);
        if (code == CL_SUCCESS)
            code =
                api->clGetEventProfilingInfo(event->last, CL_COMMAND_END, sizeof(end), &end, NULL);
    }
    if (code != CL_SUCCESS)
        return ocl_refuse(code, "clGetEventProfilingInfo", err);
    *ret =
        (struct syn_dev_span){.start_ns = (int64_t)start, .end_ns = (int64_t)end, .energy_uj = -1};
    return SYN_OK;
}

struct notify {
    void (*fn)(void *arg);
    void *arg;
};

static void
call_back(cl_event event, cl_int status, void *arg)
{
    struct notify notify = *(struct notify *)arg;

    (void)event;
    (void)status;
    syn_free(arg);
    notify.fn(notify.arg);
}

static int
ocl_event_notify(struct syn_dev_event *base, void (*fn)(void *arg), void *arg, struct syn_err *err)
{
    const struct ocl_event *event = SYN_CONTAINER(base, struct ocl_event, base);
    struct notify *notify = NULL;
    cl_int code;

    if (ocl_event_poll(base, NULL) != SYN_DRV_PENDING) {
        fn(arg);
        return SYN_OK;
    }
    notify = syn_alloc(sizeof(*notify));
    if (!notify)
        return SYN_FAIL(err, SYN_E_NOMEM, "event");
    *notify = (struct notify){fn, arg};
    code =
        ocl_dev_of(base->dev)->api->clSetEventCallback(event->last, CL_COMPLETE, call_back, notify);
    if (code == CL_SUCCESS)
        return SYN_OK;
    syn_free(notify);
    return ocl_refuse(code, "clSetEventCallback", err);
}

static int
ocl_health(struct syn_dev *base, struct syn_device_health *ret, struct syn_err *err)
{
    struct ocl_dev *dev = ocl_dev_of(base);
    cl_uint available = 0;
    cl_int code = dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_AVAILABLE, sizeof(available),
                                            &available, NULL);

    if (code != CL_SUCCESS)
        return ocl_refuse(code, "clGetDeviceInfo", err);
    ret->state = available ? SYN_DEVICE_OK : SYN_DEVICE_LOST;
    if (!available)
        (void)syn_str_copy(ret->reason, sizeof(ret->reason), "the device is not available");
    (void)pthread_mutex_lock(&dev->lock);
    ret->memory_free_bytes = (int64_t)(dev->memory_bytes - dev->used_bytes);
    (void)pthread_mutex_unlock(&dev->lock);
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_opencl = {
    .version = SYN_DRIVER_VERSION,
    .name = "opencl",
    .kinds = SYN_BIT(SYN_KIND_CPU) | SYN_BIT(SYN_KIND_GPU) | SYN_BIT(SYN_KIND_FPGA) |
             SYN_BIT(SYN_KIND_DSP),
    .open = ocl_open,
    .close = ocl_close,
    .describe = ocl_describe,
    .dev_open = ocl_dev_open,
    .dev_close = ocl_dev_close,
    .alloc = ocl_alloc,
    .free = ocl_free,
    .queue_create = ocl_queue_create,
    .queue_destroy = ocl_queue_destroy,
    .queue_clear = ocl_queue_clear,
    .event_create = ocl_event_create,
    .event_destroy = ocl_event_destroy,
    .event_poll = ocl_event_poll,
    .event_wait = ocl_event_wait,
    .event_span = ocl_event_span,
    .copy = ocl_copy,
    .fill = ocl_fill,
    .compile = ocl_compile,
    .program_free = ocl_program_free,
    .launch = ocl_launch,
    .health = ocl_health,
    .host_alloc = ocl_host_alloc,
    .host_free = ocl_host_free,
    .event_notify = ocl_event_notify,
};
