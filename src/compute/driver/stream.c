/* Devices, memory, streams and events of CUDA and HIP; commands are in stream_cmd.c. */
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "host_queue_priv.h"
#include "stream_priv.h"

static const char *
code_name(int code)
{
    static const struct syn_code_name names[] = {
        {1, "invalid value"},
        {2, "out of memory"},
        {3, "not initialized"},
        {35, "the driver is older than the library"},
        {100, "no device"},
        {101, "invalid device"},
        {200, "invalid image"},
        {201, "invalid context"},
        {209, "no binary for this device"},
        {214, "uncorrectable memory error"},
        {218, "invalid PTX"},
        {220, "uncorrectable link error"},
        {222, "PTX of a newer version than the driver knows"},
        {400, "invalid handle"},
        {500, "not found"},
        {700, "illegal address"},
        {701, "out of resources for a launch"},
        {702, "launch timeout"},
        {709, "the context is destroyed"},
        {719, "launch failure"},
        {801, "not supported"},
        {802, "system not ready"},
        {803, "driver and library versions do not match"},
        {999, "unknown error"},
    };

    return syn_code_name(names, SYN_LEN(names), code, "error");
}

/* After these a context only says the same again: the device is lost until it is reset. */
static bool
is_loss(int code)
{
    static const int codes[] = {46,  100, 101, 214, 220, 226, 700, 702,
                                709, 710, 714, 715, 716, 717, 718, 719};

    for (size_t i = 0; i < SYN_LEN(codes); i++) {
        if (codes[i] == code)
            return true;
    }
    return false;
}

int
syn_stream_refuse(const struct syn_stream_vendor *vendor, int code, const char *what,
                  struct syn_err *err)
{
    return SYN_FAIL(err, is_loss(code) ? SYN_E_UNAVAILABLE : SYN_E_IO, "%s: %s: %s (%d)",
                    vendor->name, what, code_name(code), code);
}

int
syn_stream_enter(const struct stream_dev *dev, struct syn_err *err)
{
    int code = dev->api->current(dev->current);

    return code == STREAM_OK ? SYN_OK : syn_stream_refuse(dev->vendor, code, "making current", err);
}

int
syn_stream_count(struct stream_driver *driver, struct syn_err *err)
{
    int count = 0, code = driver->api.init(0);

    if (code == STREAM_OK)
        code = driver->api.count(&count);
    if (code == STREAM_NO_DEVICE || (code == STREAM_OK && count == 0)) {
        (void)SYN_FAIL(err, SYN_E_NOTFOUND, "%s: the driver finds no device", driver->vendor->name);
        return SYN_DRV_ABSENT;
    }
    for (int i = 0; code == STREAM_OK && i < count && i < STREAM_DEVICES_MAX; i++) {
        code = driver->api.device(&driver->devices[i], i);
        driver->base.devices++;
    }
    return code == STREAM_OK ? SYN_OK
                             : syn_stream_refuse(driver->vendor, code, "initialising", err);
}

void
syn_stream_rtc_load(struct rtc_api *rtc, const char *only, const char *const *names,
                    const char *prefix, const char *code)
{
    char symbols[8][48];
    struct syn_loader_row rows[8];
    size_t count = 0;

#define X(member, arguments, name)                                                        \
    (void)snprintf(symbols[count], sizeof(symbols[0]), "%s%s", prefix, name);             \
    rows[count] =                                                                         \
        (struct syn_loader_row){symbols[count], offsetof(struct rtc_api, member), false}; \
    count++;
    RTC_FUNCTIONS(X)
#undef X
    (void)snprintf(symbols[count], sizeof(symbols[0]), "%sGet%sSize", prefix, code);
    rows[count] =
        (struct syn_loader_row){symbols[count], offsetof(struct rtc_api, code_size), false};
    count++;
    (void)snprintf(symbols[count], sizeof(symbols[0]), "%sGet%s", prefix, code);
    rows[count] = (struct syn_loader_row){symbols[count], offsetof(struct rtc_api, code), false};
    count++;
    if (syn_loader_open(only, names, rows, count, rtc, NULL) < 0)
        *rtc = (struct rtc_api){0};
}

void
syn_stream_close(struct syn_driver *driver)
{
    syn_free(stream_driver_of(driver));
}

int
syn_stream_describe(struct stream_driver *driver, unsigned index, struct syn_device_info *ret,
                    struct syn_err *err)
{
    const struct stream_api *api = &driver->api;
    int device = driver->devices[index], code;
    unsigned char uuid[16] = {0};
    size_t total = 0;

    *ret = (struct syn_device_info){.kind = SYN_KIND_GPU, .numa_node = -1};
    code = api->name(ret->model, sizeof(ret->model) - 1, device);
    if (code == STREAM_OK)
        code = api->total(&total, device);
    if (code != STREAM_OK)
        return syn_stream_refuse(driver->vendor, code, "describing", err);
    ret->memory_bytes = total;
    (void)syn_str_copy(ret->version, sizeof(ret->version), driver->base.version);
    if (api->pci(ret->pci, sizeof(ret->pci), device) != STREAM_OK)
        ret->pci[0] = '\0';
    if (api->uuid && api->uuid(uuid, device) == STREAM_OK)
        syn_uuid_write("GPU-", uuid, ret->uuid, sizeof(ret->uuid));
    ret->group_max = 1024;
    ret->queues_max = 128;
    ret->caps = SYN_CAP_PEER_COPY | SYN_CAP_HOST_PINNED | SYN_CAP_HOST_REGISTER | SYN_CAP_TIMES |
                SYN_CAP_RESET | SYN_CAP_OVERLAP;
    ret->formats = SYN_BIT(SYN_FORMAT_CODE_OBJECT);
    if (driver->rtc.create) {
        ret->caps |= SYN_CAP_COMPILE;
        ret->formats |= SYN_BIT(driver->vendor->source);
    }
    ret->dtypes = SYN_BIT(SYN_DTYPE_FP64) | SYN_BIT(SYN_DTYPE_FP32) | SYN_BIT(SYN_DTYPE_FP16) |
                  SYN_BIT(SYN_DTYPE_INT8) | SYN_BIT(SYN_DTYPE_UINT8) | SYN_BIT(SYN_DTYPE_INT16) |
                  SYN_BIT(SYN_DTYPE_INT32) | SYN_BIT(SYN_DTYPE_UINT32) | SYN_BIT(SYN_DTYPE_INT64) |
                  SYN_BIT(SYN_DTYPE_UINT64) | SYN_BIT(SYN_DTYPE_C64) | SYN_BIT(SYN_DTYPE_C128);
    return SYN_OK;
}

/* The moment that spans count from. */
static int
make_epoch(struct stream_dev *dev)
{
    int code = dev->api->event_create(&dev->epoch, 0);

    if (code == STREAM_OK)
        code = dev->api->event_record(dev->epoch, NULL);
    return code == STREAM_OK ? dev->api->event_sync(dev->epoch) : code;
}

int
syn_stream_dev_open(struct syn_driver *base, unsigned index, struct syn_dev **ret_dev,
                    struct syn_err *err)
{
    struct stream_driver *driver = stream_driver_of(base);
    struct stream_dev *dev = syn_calloc(1, sizeof(*dev));
    int code = STREAM_OK;

    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "device");
    dev->vendor = driver->vendor;
    dev->api = &driver->api;
    dev->rtc = &driver->rtc;
    dev->device = driver->devices[index];
    dev->current = (uintptr_t)dev->device;
    if (dev->api->retain)
        code = dev->api->retain(&dev->current, dev->device);
    if (code != STREAM_OK) {
        syn_free(dev);
        return syn_stream_refuse(driver->vendor, code, "opening a context", err);
    }
    code = dev->api->current(dev->current);
    if (code == STREAM_OK)
        code = make_epoch(dev);
    if (code == STREAM_OK)
        code = dev->api->priorities(&dev->least, &dev->greatest);
    if (code != STREAM_OK) {
        syn_stream_dev_close(&dev->base);
        return syn_stream_refuse(driver->vendor, code, "opening a context", err);
    }
    *ret_dev = &dev->base;
    return SYN_OK;
}

void
syn_stream_dev_close(struct syn_dev *base)
{
    struct stream_dev *dev = stream_dev_of(base);

    (void)dev->api->current(dev->current);
    if (dev->epoch)
        (void)dev->api->event_destroy(dev->epoch);
    if (dev->api->release)
        (void)dev->api->release(dev->device);
    syn_free(dev);
}

/* Memory. */

int
syn_stream_alloc(struct syn_dev *base, uint64_t bytes, struct syn_dev_buf **ret_buf,
                 struct syn_err *err)
{
    struct stream_dev *dev = stream_dev_of(base);
    struct stream_buf *buf = syn_calloc(1, sizeof(*buf));
    int rc = SYN_OK, code;

    if (!buf)
        return SYN_FAIL(err, SYN_E_NOMEM, "buffer");
    rc = syn_stream_enter(dev, err);
    if (rc == SYN_OK) {
        code = dev->api->mem_alloc(&buf->at, bytes);
        if (code == STREAM_OUT_OF_MEMORY)
            rc = SYN_DRV_FULL;
        else if (code != STREAM_OK)
            rc = syn_stream_refuse(dev->vendor, code, "allocating", err);
    }
    if (rc != SYN_OK) {
        syn_free(buf);
        return rc;
    }
    *ret_buf = &buf->base;
    return SYN_OK;
}

void
syn_stream_free(struct syn_dev_buf *base)
{
    struct stream_buf *buf = SYN_CONTAINER(base, struct stream_buf, base);
    struct stream_dev *dev = stream_dev_of(base->dev);

    (void)dev->api->current(dev->current);
    (void)dev->api->mem_free(buf->at);
    syn_free(buf);
}

int
syn_stream_host_alloc(struct syn_dev *base, uint64_t bytes, void **ret_host, struct syn_err *err)
{
    struct stream_dev *dev = stream_dev_of(base);
    int rc = syn_stream_enter(dev, err), code;

    if (rc < 0)
        return rc;
    code = dev->api->host_alloc(ret_host, bytes, STREAM_HOST_PORTABLE);
    if (code == STREAM_OUT_OF_MEMORY)
        return SYN_DRV_FULL;
    return code == STREAM_OK ? SYN_OK : syn_stream_refuse(dev->vendor, code, "pinned memory", err);
}

void
syn_stream_host_free(struct syn_dev *base, void *host)
{
    struct stream_dev *dev = stream_dev_of(base);

    (void)dev->api->current(dev->current);
    (void)dev->api->host_free(host);
}

int
syn_stream_host_register(struct syn_dev *base, void *host, uint64_t bytes, struct syn_err *err)
{
    struct stream_dev *dev = stream_dev_of(base);
    int rc = syn_stream_enter(dev, err), code;

    if (rc < 0)
        return rc;
    code = dev->api->host_register(host, bytes, STREAM_HOST_PORTABLE);
    return code == STREAM_OK ? SYN_OK : syn_stream_refuse(dev->vendor, code, "pinning", err);
}

void
syn_stream_host_unregister(struct syn_dev *base, void *host)
{
    struct stream_dev *dev = stream_dev_of(base);

    (void)dev->api->current(dev->current);
    (void)dev->api->host_unregister(host);
}

/* Queues and events. */

int
syn_stream_queue_create(struct syn_dev *base, uint32_t flags, struct syn_dev_queue **ret_queue,
                        struct syn_err *err)
{
    struct stream_dev *dev = stream_dev_of(base);
    struct stream_queue *queue = syn_calloc(1, sizeof(*queue));
    int rc = SYN_OK, code;

    if (!queue)
        return SYN_FAIL(err, SYN_E_NOMEM, "queue");
    rc = syn_stream_enter(dev, err);
    if (rc == SYN_OK) {
        code = dev->api->stream_create(&queue->stream, STREAM_NON_BLOCKING,
                                       flags & SYN_QUEUE_URGENT ? dev->greatest : dev->least);
        if (code != STREAM_OK)
            rc = syn_stream_refuse(dev->vendor, code, "a stream", err);
    }
    if (rc < 0)
        syn_free(queue);
    else
        *ret_queue = &queue->base;
    return rc;
}

void
syn_stream_queue_destroy(struct syn_dev_queue *base)
{
    struct stream_queue *queue = SYN_CONTAINER(base, struct stream_queue, base);
    struct stream_dev *dev = stream_dev_of(base->dev);

    (void)dev->api->current(dev->current);
    (void)dev->api->stream_sync(queue->stream);
    (void)dev->api->stream_destroy(queue->stream);
    syn_free(queue);
}

void
syn_stream_queue_clear(struct syn_dev_queue *queue)
{
    (void)queue; /* a failed command spoils the whole context: there is nothing to go on with */
}

int
syn_stream_event_create(struct syn_dev *base, struct syn_dev_event **ret_event, struct syn_err *err)
{
    struct stream_dev *dev = stream_dev_of(base);
    struct stream_event *event = syn_calloc(1, sizeof(*event));
    int rc, code;

    if (!event)
        return SYN_FAIL(err, SYN_E_NOMEM, "event");
    rc = syn_stream_enter(dev, err);
    if (rc == SYN_OK) {
        code = dev->api->event_create(&event->start, 0);
        if (code == STREAM_OK)
            code = dev->api->event_create(&event->end, STREAM_EVENT_SLEEPS);
        if (code != STREAM_OK)
            rc = syn_stream_refuse(dev->vendor, code, "an event", err);
    }
    if (rc < 0) {
        if (event->start)
            (void)dev->api->event_destroy(event->start);
        syn_free(event);
        return rc;
    }
    *ret_event = &event->base;
    return SYN_OK;
}

void
syn_stream_event_destroy(struct syn_dev_event *base)
{
    struct stream_event *event = SYN_CONTAINER(base, struct stream_event, base);
    struct stream_dev *dev = stream_dev_of(base->dev);

    (void)dev->api->current(dev->current);
    (void)dev->api->event_destroy(event->start);
    (void)dev->api->event_destroy(event->end);
    syn_free(event);
}

int
syn_stream_event_poll(struct syn_dev_event *base, struct syn_err *err)
{
    const struct stream_event *event = SYN_CONTAINER(base, struct stream_event, base);
    const struct stream_dev *dev = stream_dev_of(base->dev);
    int rc, code;

    if (!event->used)
        return SYN_OK;
    rc = syn_stream_enter(dev, err);
    if (rc < 0)
        return rc;
    code = dev->api->event_query(event->end);
    if (code == STREAM_NOT_READY)
        return SYN_DRV_PENDING;
    return code == STREAM_OK ? SYN_OK : syn_stream_refuse(dev->vendor, code, "command", err);
}

int
syn_stream_event_wait(struct syn_dev_event *base, int64_t timeout_ns, struct syn_err *err)
{
    const struct stream_event *event = SYN_CONTAINER(base, struct stream_event, base);
    int rc = syn_stream_event_poll(base, err);

    if (rc != SYN_DRV_PENDING)
        return rc;
    if (timeout_ns >= 0)
        return syn_poll_wait(syn_stream_event_poll, base, timeout_ns, err);
    (void)stream_dev_of(base->dev)->api->event_sync(event->end);
    return syn_stream_event_poll(base, err);
}

/* Times are float milliseconds since the epoch: a span's length is as exact as the device has it,
 * its place on the time line to one part in 2^24 of the time since the device was opened. */
int
syn_stream_event_span(struct syn_dev_event *base, struct syn_dev_span *ret, struct syn_err *err)
{
    const struct stream_event *event = SYN_CONTAINER(base, struct stream_event, base);
    const struct stream_dev *dev = stream_dev_of(base->dev);
    float since_ms = 0, took_ms = 0;
    int rc = syn_stream_enter(dev, err), code = STREAM_OK;

    if (rc < 0)
        return rc;
    if (event->used) {
        code = dev->api->event_elapsed(&since_ms, dev->epoch, event->start);
        if (code == STREAM_OK)
            code = dev->api->event_elapsed(&took_ms, event->start, event->end);
    }
    if (code != STREAM_OK)
        return syn_stream_refuse(dev->vendor, code, "timing", err);
    ret->start_ns = (int64_t)((double)since_ms * 1e6);
    ret->end_ns = ret->start_ns + (int64_t)((double)took_ms * 1e6);
    ret->energy_uj = -1;
    ret->modelled = false;
    return SYN_OK;
}

int
syn_stream_health(struct syn_dev *base, struct syn_device_health *ret, struct syn_err *err)
{
    const struct stream_dev *dev = stream_dev_of(base);
    size_t free_bytes = 0, total = 0;
    int rc = syn_stream_enter(dev, err), code;

    if (rc < 0)
        return rc;
    code = dev->api->mem_info(&free_bytes, &total);
    if (code != STREAM_OK)
        return syn_stream_refuse(dev->vendor, code, "asking for free memory", err);
    ret->state = SYN_DEVICE_OK;
    ret->memory_free_bytes = (int64_t)free_bytes;
    return SYN_OK;
}

int
syn_stream_reset(struct syn_dev *base, struct syn_err *err)
{
    struct stream_dev *dev = stream_dev_of(base);
    int code = dev->api->current(dev->current);

    if (dev->epoch) /* a spoiled context may refuse; the reset takes it then */
        (void)dev->api->event_destroy(SYN_TAKE(dev->epoch));
    if (dev->api->reset)
        code = dev->api->reset(dev->device);
    if (code == STREAM_OK && dev->api->reset_current)
        code = dev->api->reset_current();
    if (code == STREAM_OK)
        code = dev->api->current(dev->current);
    if (code == STREAM_OK)
        code = make_epoch(dev);
    return code == STREAM_OK ? SYN_OK : syn_stream_refuse(dev->vendor, code, "reset", err);
}
