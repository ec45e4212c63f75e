/* Intel's GPUs and NPUs, and whatever else answers through the Level Zero loader: immediate command
 * lists, events, unified memory, modules; Sysman for state and power where the process was started
 * with ZES_ENABLE_SYSMAN=1 (the library does not change its caller's environment); ocloc for OpenCL
 * C where it is installed.
 *
 * A makers' driver has one context, which its devices share, so that they reach each other. An
 * event of ours is two of theirs, in a pool of their own: when a command could start, and when it
 * was done.
 *
 * Written by the specification and run on a stand-in of the library; never on a card. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/loader.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "levelzero_priv.h"

#define GROUPS_MAX   16
#define MEMORIES_MAX 8
#define SENSORS_MAX  32
#define MEMORY_ALIGN 64

static const char *
result_name(ze_result result)
{
    static const struct syn_code_name names[] = {
        {ZE_DEVICE_LOST, "device lost"},
        {ZE_OUT_OF_HOST_MEMORY, "out of host memory"},
        {ZE_OUT_OF_DEVICE_MEMORY, "out of device memory"},
        {ZE_MODULE_BUILD_FAILURE, "module build failure"},
        {ZE_MODULE_LINK_FAILURE, "module link failure"},
        {ZE_REQUIRES_RESET, "device requires reset"},
        {ZE_LOW_POWER, "device in low power state"},
        {ZE_NO_PERMISSION, "insufficient permissions"},
        {ZE_NOT_AVAILABLE, "not available"},
        {ZE_UNINITIALIZED, "uninitialized"},
        {ZE_UNSUPPORTED_FEATURE, "unsupported feature"},
        {ZE_INVALID_ARGUMENT, "invalid argument"},
        {ZE_UNSUPPORTED_SIZE, "unsupported size"},
        {ZE_INVALID_NATIVE_BINARY, "invalid native binary"},
        {ZE_INVALID_KERNEL_NAME, "invalid kernel name"},
        {ZE_INVALID_ARGUMENT_INDEX, "invalid kernel argument index"},
        {ZE_INVALID_ARGUMENT_SIZE, "invalid kernel argument size"},
    };

    return syn_code_name(names, SYN_LEN(names), result, "error");
}

int
syn_ze_refuse(ze_result result, const char *what, struct syn_err *err)
{
    int mine = SYN_E_IO;

    if (result == ZE_DEVICE_LOST || result == ZE_REQUIRES_RESET)
        mine = SYN_E_UNAVAILABLE;
    else if (result == ZE_OUT_OF_HOST_MEMORY)
        mine = SYN_E_NOMEM;
    return SYN_FAIL(err, mine, "levelzero: %s: %s (0x%x)", what, result_name(result),
                    (unsigned)result);
}

/* Opening and describing. */

/* The group of queues for compute, and the first is what the specification has first. */
static bool
find_group(const struct ze_api *api, struct syn_ze_card *card)
{
    struct ze_group_properties groups[GROUPS_MAX];
    uint32_t count = GROUPS_MAX;

    for (uint32_t i = 0; i < GROUPS_MAX; i++)
        groups[i] = (struct ze_group_properties){.type = ZE_TYPE_GROUP_PROPERTIES};
    if (api->groups(card->device, &count, groups) != ZE_SUCCESS)
        return false;
    for (uint32_t i = 0; i < SYN_MIN(count, (uint32_t)GROUPS_MAX); i++) {
        if (groups[i].flags & ZE_GROUP_COMPUTE && groups[i].queues > 0) {
            card->ordinal = i;
            card->queues = groups[i].queues;
            return true;
        }
    }
    return false;
}

static bool
is_known(uint32_t device_type)
{
    return device_type == ZE_DEVICE_GPU || device_type == ZE_DEVICE_CPU ||
           device_type == ZE_DEVICE_FPGA || device_type == ZE_DEVICE_VPU;
}

/* The devices of one makers' driver. One without queues for compute is none; one that fails is left
 * out, and the error is the first such. */
static int
find_cards(struct syn_ze_driver *driver, void *maker, struct syn_err *err)
{
    const struct ze_api *api = &driver->api;
    const struct ze_plain_desc desc = {.type = ZE_TYPE_CONTEXT};
    void *devices[SYN_ZE_CARDS_MAX] = {0};
    uint32_t count = SYN_ZE_CARDS_MAX - driver->base.devices;
    void *context = NULL;
    ze_result result = api->device_get(maker, &count, devices);
    int rc = SYN_OK;

    if (result != ZE_SUCCESS || count == 0)
        return result == ZE_SUCCESS ? SYN_OK : syn_ze_refuse(result, "zeDeviceGet", err);
    result = api->context_create(maker, &desc, &context);
    if (result != ZE_SUCCESS)
        return syn_ze_refuse(result, "zeContextCreate", err);
    driver->contexts[driver->contexts_count++] = context;
    for (uint32_t i = 0; i < count && driver->base.devices < SYN_ZE_CARDS_MAX; i++) {
        struct syn_ze_card *card = &driver->cards[driver->base.devices];

        *card = (struct syn_ze_card){.device = devices[i], .context = context};
        card->properties.type = ZE_TYPE_DEVICE_PROPERTIES;
        result = api->properties(card->device, &card->properties);
        if (result != ZE_SUCCESS)
            rc = syn_ze_refuse(result, "zeDeviceGetProperties", rc < 0 ? NULL : err);
        else if (is_known(card->properties.device_type) && find_group(api, card))
            driver->base.devices++;
    }
    return rc;
}

static void
ze_close(struct syn_driver *base)
{
    struct syn_ze_driver *driver = SYN_CONTAINER(base, struct syn_ze_driver, base);

    for (unsigned i = 0; i < driver->contexts_count; i++)
        (void)driver->api.context_destroy(driver->contexts[i]);
    syn_free(driver);
}

static int
find_makers(struct syn_ze_driver *driver, struct syn_err *err)
{
    void *makers[SYN_ZE_DRIVERS_MAX] = {0};
    uint32_t count = SYN_ZE_DRIVERS_MAX, version = 0;
    ze_result result = driver->api.init(0);
    int rc = SYN_OK;

    if (result == ZE_SUCCESS)
        result = driver->api.driver_get(&count, makers);
    if (result == ZE_UNINITIALIZED || (result == ZE_SUCCESS && count == 0)) {
        (void)SYN_FAIL(err, SYN_E_NOTFOUND, "the Level Zero loader finds no driver");
        return SYN_DRV_ABSENT;
    }
    if (result != ZE_SUCCESS)
        return syn_ze_refuse(result, "initialising", err);
    if (driver->api.driver_version(makers[0], &version) == ZE_SUCCESS)
        (void)snprintf(driver->base.version, sizeof(driver->base.version), "Level Zero %u.%u",
                       version >> 16, version & 0xffffU);
    /* One that fails takes no other's devices away. */
    for (uint32_t i = 0; i < SYN_MIN(count, (uint32_t)SYN_ZE_DRIVERS_MAX); i++) {
        int one = find_cards(driver, makers[i], rc < 0 ? NULL : err);

        rc = rc < 0 ? rc : one;
    }
    if (driver->base.devices > 0)
        return SYN_OK;
    if (rc < 0)
        return rc;
    (void)SYN_FAIL(err, SYN_E_NOTFOUND, "no Level Zero driver has a device that computes");
    return SYN_DRV_ABSENT;
}

static int
ze_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
        struct syn_err *err)
{
    static const char *const names[] = {"libze_loader.so.1", NULL};
    static const char *const compilers[] = {"libocloc.so", "libocloc.so.1", NULL};
    static const struct syn_loader_row rows[] = {
#define X(member, parameters, symbol, optional) {symbol, offsetof(struct ze_api, member), optional},
        ZE_FUNCTIONS(X)
#undef X
    };
    static const struct syn_loader_row ocloc_rows[] = {
#define X(member, parameters, symbol) {symbol, offsetof(struct ocloc_api, member), false},
        OCLOC_FUNCTIONS(X)
#undef X
    };
    const char *sysman = getenv("ZES_ENABLE_SYSMAN");
    struct syn_ze_driver *driver = syn_calloc(1, sizeof(*driver));
    int rc;

    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "levelzero driver");
    driver->base.ops = &syn_driver_levelzero;
    rc = syn_loader_open(options->library, names, rows, SYN_LEN(rows), &driver->api, err);
    if (rc == SYN_E_NOTFOUND)
        rc = SYN_DRV_ABSENT;
    rc = rc != SYN_OK ? rc : find_makers(driver, err);
    if (rc != SYN_OK) {
        ze_close(&driver->base);
        return rc;
    }
    if (syn_loader_open(options->library, compilers, ocloc_rows, SYN_LEN(ocloc_rows),
                        &driver->ocloc, NULL) < 0)
        driver->ocloc = (struct ocloc_api){0};
    driver->managed = sysman && strcmp(sysman, "1") == 0;
    *ret_driver = &driver->base;
    return SYN_OK;
}

static enum syn_kind
kind_of(uint32_t device_type)
{
    switch (device_type) {
    case ZE_DEVICE_CPU:
        return SYN_KIND_CPU;
    case ZE_DEVICE_FPGA:
        return SYN_KIND_FPGA;
    case ZE_DEVICE_VPU:
        return SYN_KIND_NPU;
    default:
        return SYN_KIND_GPU;
    }
}

static uint64_t
memory_of(const struct ze_api *api, const struct syn_ze_card *card)
{
    struct ze_memory_properties memories[MEMORIES_MAX];
    uint32_t count = MEMORIES_MAX;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < MEMORIES_MAX; i++)
        memories[i] = (struct ze_memory_properties){.type = ZE_TYPE_MEMORY_PROPERTIES};
    if (api->memories(card->device, &count, memories) != ZE_SUCCESS)
        return 0;
    for (uint32_t i = 0; i < SYN_MIN(count, (uint32_t)MEMORIES_MAX); i++)
        bytes += memories[i].bytes;
    return bytes;
}

typedef ze_result (*list_fn)(void *device, uint32_t *count, void **found);

/* The sensors, domains or modules of a list of Sysman's; how many. */
static uint32_t
all_of(const struct syn_ze_driver *driver, list_fn list, void *device, void *found[SENSORS_MAX])
{
    uint32_t count = SENSORS_MAX;

    if (!driver->managed || !list || list(device, &count, found) != ZE_SUCCESS)
        return 0;
    return SYN_MIN(count, (uint32_t)SENSORS_MAX);
}

/* NULL: there is none. */
static void *
first_of(const struct syn_ze_driver *driver, list_fn list, void *device)
{
    void *found[SENSORS_MAX] = {0};

    return all_of(driver, list, device, found) > 0 ? found[0] : NULL;
}

static void
describe_place(const struct ze_api *api, const struct syn_ze_card *card,
               struct syn_device_info *ret)
{
    struct ze_pci_properties pci = {.type = ZE_TYPE_PCI};

    syn_uuid_write("", card->properties.uuid, ret->uuid, sizeof(ret->uuid));
    if (api->pci && api->pci(card->device, &pci) == ZE_SUCCESS)
        syn_pci_write(pci.domain, pci.bus, pci.device, pci.function, ret->pci, sizeof(ret->pci));
}

static int
ze_describe(struct syn_driver *base, unsigned index, struct syn_device_info *ret,
            struct syn_err *err)
{
    const struct syn_ze_driver *driver = SYN_CONTAINER(base, struct syn_ze_driver, base);
    const struct ze_api *api = &driver->api;
    const struct syn_ze_card *card = &driver->cards[index];
    const struct ze_device_properties *has = &card->properties;
    struct ze_compute_properties compute = {.type = ZE_TYPE_COMPUTE_PROPERTIES};
    struct ze_module_properties modules = {.type = ZE_TYPE_MODULE_PROPERTIES};
    ze_result result = api->compute(card->device, &compute);

    if (result == ZE_SUCCESS)
        result = api->modules(card->device, &modules);
    if (result != ZE_SUCCESS)
        return syn_ze_refuse(result, "describing", err);
    *ret = (struct syn_device_info){.numa_node = -1, .kind = kind_of(has->device_type)};
    ret->share = ret->kind == SYN_KIND_CPU ? SYN_SHARE_HOST : SYN_SHARE_WHOLE;
    (void)syn_str_copy(ret->model, sizeof(ret->model), has->name);
    (void)syn_str_copy(ret->vendor, sizeof(ret->vendor), has->vendor == 0x8086 ? "Intel" : "");
    (void)syn_str_copy(ret->version, sizeof(ret->version), base->version);
    describe_place(api, card, ret);
    ret->units = has->slices * has->subslices_per_slice * has->units_per_subslice;
    ret->clock_mhz = has->clock_mhz;
    ret->memory_bytes = memory_of(api, card);
    ret->alloc_max_bytes = has->alloc_max;
    ret->local_bytes = compute.shared_bytes;
    ret->group_max = compute.group_items_max;
    ret->queues_max = 64;
    ret->caps = SYN_CAP_PEER_COPY | SYN_CAP_HOST_PINNED;
    if (has->timer > 0 && has->kernel_timestamp_bits > 0)
        ret->caps |= SYN_CAP_TIMES;
    if (card->queues > 1)
        ret->caps |= SYN_CAP_OVERLAP;
    if (first_of(driver, api->domains, card->device) && api->energy)
        ret->caps |= SYN_CAP_POWER;
    ret->formats = SYN_BIT(SYN_FORMAT_SPIRV) | SYN_BIT(SYN_FORMAT_CODE_OBJECT);
    if (driver->ocloc.invoke) {
        ret->caps |= SYN_CAP_COMPILE;
        ret->formats |= SYN_BIT(SYN_FORMAT_OPENCL_C);
    }
    ret->dtypes = SYN_BIT(SYN_DTYPE_FP32) | SYN_BIT(SYN_DTYPE_INT8) | SYN_BIT(SYN_DTYPE_UINT8) |
                  SYN_BIT(SYN_DTYPE_INT16) | SYN_BIT(SYN_DTYPE_INT32) | SYN_BIT(SYN_DTYPE_UINT32) |
                  SYN_BIT(SYN_DTYPE_INT64) | SYN_BIT(SYN_DTYPE_UINT64) | SYN_BIT(SYN_DTYPE_C64);
    if (modules.flags & ZE_MODULE_FP16)
        ret->dtypes |= SYN_BIT(SYN_DTYPE_FP16);
    if (modules.flags & ZE_MODULE_FP64)
        ret->dtypes |= SYN_BIT(SYN_DTYPE_FP64) | SYN_BIT(SYN_DTYPE_C128);
    return SYN_OK;
}

static int
ze_dev_open(struct syn_driver *base, unsigned index, struct syn_dev **ret_dev, struct syn_err *err)
{
    struct syn_ze_driver *driver = SYN_CONTAINER(base, struct syn_ze_driver, base);
    struct syn_ze_dev *dev = NULL;
    ze_result result = driver->api.status(driver->cards[index].device);

    if (result != ZE_SUCCESS && result != ZE_LOW_POWER)
        return syn_ze_refuse(result, "opening", err);
    dev = syn_calloc(1, sizeof(*dev));
    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "device");
    dev->api = &driver->api;
    dev->ocloc = &driver->ocloc;
    dev->card = &driver->cards[index];
    (void)pthread_mutex_init(&dev->lock, NULL);
    *ret_dev = &dev->base;
    return SYN_OK;
}

static void
ze_dev_close(struct syn_dev *base)
{
    struct syn_ze_dev *dev = syn_ze_dev_of(base);

    assert(dev->used_bytes == 0);
    (void)pthread_mutex_destroy(&dev->lock);
    syn_free(dev);
}

/* Memory. */

static void
account(struct syn_ze_dev *dev, uint64_t more, uint64_t less)
{
    (void)pthread_mutex_lock(&dev->lock);
    dev->used_bytes += more;
    dev->used_bytes -= less;
    (void)pthread_mutex_unlock(&dev->lock);
}

static bool
is_full(ze_result result)
{
    return result == ZE_OUT_OF_DEVICE_MEMORY || result == ZE_UNSUPPORTED_SIZE;
}

static int
ze_alloc(struct syn_dev *base, uint64_t bytes, struct syn_dev_buf **ret_buf, struct syn_err *err)
{
    struct syn_ze_dev *dev = syn_ze_dev_of(base);
    const struct ze_device_memory_desc desc = {.type = ZE_TYPE_DEVICE_MEMORY};
    struct syn_ze_buf *buf = syn_calloc(1, sizeof(*buf));
    ze_result result;

    if (!buf)
        return SYN_FAIL(err, SYN_E_NOMEM, "buffer");
    result = dev->api->alloc(dev->card->context, &desc, bytes, MEMORY_ALIGN, dev->card->device,
                             (void **)&buf->at);
    if (result != ZE_SUCCESS) {
        syn_free(buf);
        return is_full(result) ? SYN_DRV_FULL : syn_ze_refuse(result, "allocating", err);
    }
    account(dev, bytes, 0);
    *ret_buf = &buf->base;
    return SYN_OK;
}

static void
ze_free(struct syn_dev_buf *base)
{
    struct syn_ze_buf *buf = SYN_CONTAINER(base, struct syn_ze_buf, base);
    struct syn_ze_dev *dev = syn_ze_dev_of(base->dev);

    (void)dev->api->free(dev->card->context, buf->at);
    account(dev, 0, base->bytes);
    syn_free(buf);
}

static int
ze_host_alloc(struct syn_dev *base, uint64_t bytes, void **ret_host, struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);
    const struct ze_plain_desc desc = {.type = ZE_TYPE_HOST_MEMORY};
    ze_result result =
        dev->api->host_alloc(dev->card->context, &desc, bytes, MEMORY_ALIGN, ret_host);

    if (is_full(result))
        return SYN_DRV_FULL;
    return result == ZE_SUCCESS ? SYN_OK : syn_ze_refuse(result, "pinned memory", err);
}

static void
ze_host_free(struct syn_dev *base, void *host)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);

    (void)dev->api->free(dev->card->context, host);
}

/* Events. */

static void
ze_event_destroy(struct syn_dev_event *base)
{
    struct syn_ze_event *event = syn_ze_event_of(base);
    const struct ze_api *api = syn_ze_dev_of(base->dev)->api;

    if (event->start)
        (void)api->event_destroy(event->start);
    if (event->end)
        (void)api->event_destroy(event->end);
    if (event->pool)
        (void)api->pool_destroy(event->pool);
    syn_free(event);
}

static int
ze_event_create(struct syn_dev *base, struct syn_dev_event **ret_event, struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);
    const struct ze_event_pool_desc pool = {
        .type = ZE_TYPE_EVENT_POOL, .flags = ZE_POOL_HOST_VISIBLE | ZE_POOL_TIMESTAMP, .count = 2};
    struct ze_event_desc desc = {
        .type = ZE_TYPE_EVENT, .signal = ZE_SCOPE_HOST, .wait = ZE_SCOPE_HOST};
    void *device = dev->card->device;
    struct syn_ze_event *event = syn_calloc(1, sizeof(*event));
    ze_result result;

    if (!event)
        return SYN_FAIL(err, SYN_E_NOMEM, "event");
    event->base.dev = base;
    result = dev->api->pool_create(dev->card->context, &pool, 1, &device, &event->pool);
    if (result == ZE_SUCCESS)
        result = dev->api->event_create(event->pool, &desc, &event->start);
    desc.index = 1;
    if (result == ZE_SUCCESS)
        result = dev->api->event_create(event->pool, &desc, &event->end);
    if (result != ZE_SUCCESS) {
        ze_event_destroy(&event->base);
        return syn_ze_refuse(result, "an event", err);
    }
    *ret_event = &event->base;
    return SYN_OK;
}

static int
result_of(ze_result result, struct syn_err *err)
{
    if (result == ZE_NOT_READY)
        return SYN_DRV_PENDING;
    return result == ZE_SUCCESS ? SYN_OK : syn_ze_refuse(result, "command", err);
}

static int
ze_event_poll(struct syn_dev_event *base, struct syn_err *err)
{
    const struct syn_ze_event *event = syn_ze_event_of(base);

    if (!event->used)
        return SYN_OK;
    return result_of(syn_ze_dev_of(base->dev)->api->event_status(event->end), err);
}

static int
ze_event_wait(struct syn_dev_event *base, int64_t timeout_ns, struct syn_err *err)
{
    const struct syn_ze_event *event = syn_ze_event_of(base);

    if (!event->used)
        return SYN_OK;
    return result_of(syn_ze_dev_of(base->dev)->api->event_wait(
                         event->end, timeout_ns < 0 ? UINT64_MAX : (uint64_t)timeout_ns),
                     err);
}

/* The device's counter may have few bits: a span's length is right across its end, its place on the
 * line begins anew there. */
static int
ze_event_span(struct syn_dev_event *base, struct syn_dev_span *ret, struct syn_err *err)
{
    const struct syn_ze_event *event = syn_ze_event_of(base);
    const struct syn_ze_dev *dev = syn_ze_dev_of(base->dev);
    uint32_t bits = dev->card->properties.kernel_timestamp_bits;
    uint64_t mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
    double ns = 1e9 / (double)dev->card->properties.timer;
    struct ze_timestamp start = {0}, end = {0};
    ze_result result = ZE_SUCCESS;

    if (event->used) {
        result = dev->api->event_times(event->start, &start);
        if (result == ZE_SUCCESS)
            result = dev->api->event_times(event->end, &end);
    }
    if (result != ZE_SUCCESS)
        return syn_ze_refuse(result, "timing", err);
    *ret = (struct syn_dev_span){.start_ns = (int64_t)((double)(start.global.end & mask) * ns),
                                 .energy_uj = -1};
    ret->end_ns =
        ret->start_ns + (int64_t)((double)((end.global.end - start.global.end) & mask) * ns);
    return SYN_OK;
}

/* Queues. */

static int
ze_queue_create(struct syn_dev *base, uint32_t flags, struct syn_dev_queue **ret_queue,
                struct syn_err *err)
{
    struct syn_ze_dev *dev = syn_ze_dev_of(base);
    struct ze_queue_desc desc = {.type = ZE_TYPE_QUEUE,
                                 .ordinal = dev->card->ordinal,
                                 .mode = ZE_QUEUE_ASYNC,
                                 .priority = flags & SYN_QUEUE_URGENT ? ZE_PRIORITY_HIGH : 0};
    struct syn_ze_queue *queue = syn_calloc(1, sizeof(*queue));
    ze_result result;
    int rc;

    if (!queue)
        return SYN_FAIL(err, SYN_E_NOMEM, "queue");
    rc = ze_event_create(base, &queue->drained, err);
    if (rc < 0) {
        syn_free(queue);
        return rc;
    }
    (void)pthread_mutex_lock(&dev->lock);
    desc.index = dev->next_queue++ % dev->card->queues;
    (void)pthread_mutex_unlock(&dev->lock);
    result = dev->api->list_create(dev->card->context, dev->card->device, &desc, &queue->list);
    if (result != ZE_SUCCESS) {
        ze_event_destroy(queue->drained);
        syn_free(queue);
        return syn_ze_refuse(result, "a command list", err);
    }
    *ret_queue = &queue->base;
    return SYN_OK;
}

static void
ze_queue_destroy(struct syn_dev_queue *base)
{
    struct syn_ze_queue *queue = SYN_CONTAINER(base, struct syn_ze_queue, base);
    struct syn_ze_dev *dev = syn_ze_dev_of(base->dev);

    if (syn_ze_mark(dev, queue, queue->drained, NULL) == SYN_OK)
        (void)ze_event_wait(queue->drained, -1, NULL);
    (void)dev->api->list_destroy(queue->list);
    ze_event_destroy(queue->drained);
    syn_free(queue);
}

static void
ze_queue_clear(struct syn_dev_queue *queue)
{
    (void)queue; /* a command fails with its device, or not at all */
}

/* State and power. */

/* What Sysman says of all of the device's memory: how much is free, if every module tells, and how
 * the worst of them is. */
static void
ask_memory(const struct syn_ze_driver *driver, void *device, struct syn_device_health *ret)
{
    static const char *const words[] = {[ZES_MEMORY_DEGRADED] = "degraded",
                                        [ZES_MEMORY_CRITICAL] = "in a critical state",
                                        [ZES_MEMORY_REPLACE] = "to be replaced"};
    void *modules[SENSORS_MAX] = {0};
    uint32_t count = all_of(driver, driver->api.memory_modules, device, modules), told = 0;
    int32_t worst = ZES_MEMORY_OK;
    uint64_t free_bytes = 0;

    for (uint32_t i = 0; i < count && driver->api.memory_state; i++) {
        struct zes_memory_state state = {.type = ZES_TYPE_MEMORY_STATE};

        if (driver->api.memory_state(modules[i], &state) != ZE_SUCCESS)
            continue;
        told++;
        free_bytes += state.free;
        if (state.health > worst && state.health <= ZES_MEMORY_REPLACE)
            worst = state.health;
    }
    if (told > 0 && told == count)
        ret->memory_free_bytes = (int64_t)free_bytes;
    if (worst > ZES_MEMORY_OK) {
        ret->state = SYN_DEVICE_DEGRADED;
        (void)snprintf(ret->reason, sizeof(ret->reason), "its memory is %s", words[worst]);
    }
}

static int
ze_health(struct syn_dev *base, struct syn_device_health *ret, struct syn_err *err)
{
    struct syn_ze_dev *dev = syn_ze_dev_of(base);
    const struct syn_ze_driver *driver = SYN_CONTAINER(base->driver, struct syn_ze_driver, base);
    void *sensor = first_of(driver, dev->api->temperatures, dev->card->device);
    ze_result result = dev->api->status(dev->card->device);
    double celsius = 0;

    if (result != ZE_SUCCESS && result != ZE_LOW_POWER)
        return syn_ze_refuse(result, "zeDeviceGetStatus", err);
    ret->state = SYN_DEVICE_OK;
    (void)pthread_mutex_lock(&dev->lock);
    if (dev->base.info.memory_bytes >= dev->used_bytes)
        ret->memory_free_bytes = (int64_t)(dev->base.info.memory_bytes - dev->used_bytes);
    (void)pthread_mutex_unlock(&dev->lock);
    if (sensor && dev->api->temperature && dev->api->temperature(sensor, &celsius) == ZE_SUCCESS)
        ret->temperature_c = (int)celsius;
    ask_memory(driver, dev->card->device, ret);
    return SYN_OK;
}

static int
ze_power(struct syn_dev *base, struct syn_device_power *ret, struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);
    const struct syn_ze_driver *driver = SYN_CONTAINER(base->driver, struct syn_ze_driver, base);
    void *domain = first_of(driver, dev->api->domains, dev->card->device);
    struct zes_sustained_limit limit = {0};
    struct zes_energy energy = {0};

    if (!domain || dev->api->energy(domain, &energy) != ZE_SUCCESS)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "Sysman does not know the power of %s",
                        base->info.id);
    ret->source = SYN_POWER_MEASURED;
    ret->total_uj = (int64_t)energy.uj;
    if (dev->api->limits && dev->api->limits(domain, &limit, NULL, NULL) == ZE_SUCCESS &&
        limit.enabled)
        ret->limit_mw = limit.mw;
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_levelzero = {
    .version = SYN_DRIVER_VERSION,
    .name = "levelzero",
    .kinds = SYN_BIT(SYN_KIND_CPU) | SYN_BIT(SYN_KIND_GPU) | SYN_BIT(SYN_KIND_NPU) |
             SYN_BIT(SYN_KIND_FPGA),
    .open = ze_open,
    .close = ze_close,
    .describe = ze_describe,
    .dev_open = ze_dev_open,
    .dev_close = ze_dev_close,
    .alloc = ze_alloc,
    .free = ze_free,
    .queue_create = ze_queue_create,
    .queue_destroy = ze_queue_destroy,
    .queue_clear = ze_queue_clear,
    .event_create = ze_event_create,
    .event_destroy = ze_event_destroy,
    .event_poll = ze_event_poll,
    .event_wait = ze_event_wait,
    .event_span = ze_event_span,
    .copy = syn_ze_copy,
    .fill = syn_ze_fill,
    .compile = syn_ze_compile,
    .program_free = syn_ze_program_free,
    .launch = syn_ze_launch,
    .health = ze_health,
    .can_peer = syn_ze_can_peer,
    .peer_copy = syn_ze_peer_copy,
    .host_alloc = ze_host_alloc,
    .host_free = ze_host_free,
    .power = ze_power,
};
