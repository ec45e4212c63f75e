/* A vendor's loader may take seconds or never return: a broken driver stack waits for a device that
 * does not answer. So every driver is asked on a thread of its own, all at once, and the registry
 * stops listening after a while. A thread that comes back too late finds itself abandoned and
 * cleans up after itself; one that never does costs its stack and nothing else. (A child process
 * would also survive a loader that crashes; it could not hand over an open driver, so everything
 * would be done twice.) */
#include "registry_priv.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "driver/drivers_priv.h"
#include "driver/host_queue_priv.h"
#include "topology_priv.h"

static const struct syn_driver_ops *const drivers[] = {
    &syn_driver_cpu,       &syn_driver_cuda,   &syn_driver_hip,  &syn_driver_opencl,
    &syn_driver_levelzero, &syn_driver_vulkan, &syn_driver_wasm, &syn_driver_modelled,
};
static_assert(SYN_LEN(drivers) <= SYN_DRIVERS_MAX, "a slot each");

const struct syn_driver_ops *const *
syn_driver_table(size_t *ret_count)
{
    *ret_count = SYN_LEN(drivers);
    return drivers;
}

/* Slots. */

static void
slot_free(struct syn_registry_slot *slot)
{
    if (slot->driver)
        slot->ops->close(slot->driver);
    syn_free((char *)(uintptr_t)slot->options.modelled);
    syn_free((char *)(uintptr_t)slot->options.sysfs);
    syn_free(slot->infos);
    (void)pthread_mutex_destroy(&slot->lock);
    (void)pthread_cond_destroy(&slot->wake);
    syn_free(slot);
}

static void
slot_release(struct syn_registry_slot *slot)
{
    bool last;

    (void)pthread_mutex_lock(&slot->lock);
    last = --slot->holders == 0;
    (void)pthread_mutex_unlock(&slot->lock);
    if (last)
        slot_free(slot);
}

/* Open the driver and have it describe its devices. */
static int
ask(const struct syn_registry_slot *slot, struct syn_driver **ret_driver,
    struct syn_device_info **ret_infos, struct syn_err *err)
{
    const struct syn_driver_ops *ops = slot->ops;
    struct syn_driver *driver = NULL;
    struct syn_device_info *infos = NULL;
    int rc = ops->open(&slot->options, &driver, err);

    if (rc != SYN_OK)
        return rc;
    driver->devices = SYN_MIN(driver->devices, SYN_DEVICES_MAX);
    infos = syn_calloc(driver->devices, sizeof(*infos));
    if (!infos)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "devices");
    for (unsigned i = 0; rc == SYN_OK && i < driver->devices; i++) {
        rc = ops->describe(driver, i, &infos[i], err);
        infos[i].index = i;
        (void)snprintf(infos[i].driver, sizeof(infos[i].driver), "%s", ops->name);
        (void)snprintf(infos[i].id, sizeof(infos[i].id), "%s%u", ops->name, i);
    }
    if (rc != SYN_OK) {
        syn_free(infos);
        ops->close(driver);
        return rc;
    }
    *ret_driver = driver;
    *ret_infos = infos;
    return SYN_OK;
}

static void
take_answer(struct syn_registry_slot *slot, int rc, const struct syn_err *err)
{
    struct syn_driver_report *report = &slot->report;

    report->state = rc == SYN_OK           ? SYN_DRIVER_READY
                    : rc == SYN_DRV_ABSENT ? SYN_DRIVER_ABSENT
                                           : SYN_DRIVER_FAILED;
    if (rc == SYN_OK) {
        report->devices = slot->driver->devices;
        (void)syn_str_copy(report->version, sizeof(report->version), slot->driver->version);
    } else {
        (void)syn_str_copy(report->reason, sizeof(report->reason), err->msg);
    }
    slot->answered = true;
}

static void *
ask_thread(void *arg)
{
    struct syn_registry_slot *slot = arg;
    struct syn_driver *driver = NULL;
    struct syn_device_info *infos = NULL;
    struct syn_err err = {0};
    int64_t start = syn_clock_ns();
    int rc = ask(slot, &driver, &infos, &err);

    (void)pthread_mutex_lock(&slot->lock);
    slot->driver = driver;
    slot->infos = infos;
    if (slot->abandoned) {
        (void)pthread_mutex_unlock(&slot->lock);
        slot_release(slot);
        return NULL;
    }
    slot->report.probe_ns = syn_clock_ns() - start;
    take_answer(slot, rc, &err);
    slot->holders--; /* from the unlock on it is the registry's alone */
    (void)pthread_cond_signal(&slot->wake);
    (void)pthread_mutex_unlock(&slot->lock);
    return NULL;
}

static int
slot_new(const struct syn_driver_ops *ops, const struct syn_registry_options *options,
         const struct syn_profiles *profiles, struct syn_registry_slot **ret_slot,
         struct syn_err *err)
{
    struct syn_registry_slot *slot = syn_calloc(1, sizeof(*slot));
    pthread_condattr_t attr;

    if (!slot)
        return SYN_FAIL(err, SYN_E_NOMEM, "registry");
    (void)pthread_mutex_init(&slot->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&slot->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    slot->ops = ops;
    slot->holders = 1;
    slot->report.state = SYN_DRIVER_SKIPPED;
    (void)snprintf(slot->report.name, sizeof(slot->report.name), "%s", ops->name);
    slot->options.profiles = profiles;
    slot->options.sysfs = syn_strdup(options->sysfs ? options->sysfs : "/sys");
    slot->options.modelled = syn_strdup(options->modelled ? options->modelled : "");
    if (!slot->options.sysfs || !slot->options.modelled) {
        slot_free(slot);
        return SYN_FAIL(err, SYN_E_NOMEM, "registry");
    }
    *ret_slot = slot;
    return SYN_OK;
}

static int
slot_start(struct syn_registry_slot *slot, struct syn_err *err)
{
    pthread_attr_t attr;
    pthread_t thread;
    int sys;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    slot->report.state = SYN_DRIVER_TIMED_OUT; /* until it answers */
    slot->holders = 2;
    sys = pthread_create(&thread, &attr, ask_thread, slot);
    (void)pthread_attr_destroy(&attr);
    if (sys == 0)
        return SYN_OK;
    slot->holders = 1;
    return SYN_FAIL_SYS(err, sys, "asking driver %s", slot->ops->name);
}

static void
slot_await(struct syn_registry_slot *slot, int64_t until_ns, int64_t limit_ms)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                   .tv_nsec = until_ns % 1000000000};
    int sys = 0;

    (void)pthread_mutex_lock(&slot->lock);
    while (!slot->answered && slot->report.state == SYN_DRIVER_TIMED_OUT && sys == 0)
        sys = pthread_cond_timedwait(&slot->wake, &slot->lock, &until);
    if (!slot->answered && slot->report.state == SYN_DRIVER_TIMED_OUT) {
        slot->abandoned = true;
        slot->report.probe_ns = limit_ms * 1000000;
        (void)snprintf(slot->report.reason, sizeof(slot->report.reason),
                       "did not answer within %lld ms", (long long)limit_ms);
    }
    (void)pthread_mutex_unlock(&slot->lock);
}

/* Is the driver among the names, which may be NULL for all? */
static bool
wanted(const char *names, const char *name)
{
    SYN_SCOPED(syn_free_scope) char *list = names ? syn_strdup(names) : NULL;
    char *cursor = list;
    const char *part = NULL;

    while (list && (part = syn_list_next(&cursor))) {
        if (strcmp(part, name) == 0)
            return true;
    }
    return !names;
}

static int
check_names(const struct syn_driver_ops *const *table, size_t count, const char *names,
            struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *list = syn_strdup(names ? names : "");
    char *cursor = list;
    const char *part = NULL;

    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "registry");
    while ((part = syn_list_next(&cursor))) {
        SYN_BUF(known);
        bool found = false;

        for (size_t i = 0; i < count; i++) {
            found = found || strcmp(table[i]->name, part) == 0;
            syn_buf_addf(&known, " %s", table[i]->name);
        }
        if (!found)
            return SYN_FAIL(err, SYN_E_INVALID, "there is no driver %s; there are:%s", part,
                            syn_buf_text(&known));
    }
    return SYN_OK;
}

/* A modelled device of an unknown profile is the caller's mistake, not a driver's failure. */
static int
check_modelled(const struct syn_profiles *profiles, const char *names, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *list = syn_strdup(names ? names : "");
    char *cursor = list;
    const char *part = NULL;
    unsigned count = 0;

    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "registry");
    while ((part = syn_list_next(&cursor))) {
        if (!syn_profiles_find(profiles, part))
            return SYN_FAIL(err, SYN_E_INVALID, "no capability profile is called %s", part);
        if (++count > SYN_DEVICES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "more than %d modelled devices", SYN_DEVICES_MAX);
    }
    return SYN_OK;
}

/* Devices and nodes. */

static const struct syn_profile *
profile_of(const struct syn_profiles *profiles, const struct syn_device_info *info)
{
    if (info->profile[0] != '\0')
        return syn_profiles_find(profiles, info->profile);
    return syn_profiles_match(profiles, info->kind, info->model);
}

static void
add_node(struct syn_registry *registry, const char *name, uint64_t bytes, int device)
{
    struct syn_memory_node *node = &registry->nodes[registry->nodes_count];

    node->id = (unsigned)registry->nodes_count;
    node->bytes = bytes;
    node->host = device < 0;
    (void)syn_str_copy(node->name, sizeof(node->name), name);
    registry->node_device[registry->nodes_count++] = device;
}

static void
add_device(struct syn_registry *registry, struct syn_registry_slot *slot, unsigned index)
{
    struct syn_registry_device *device = &registry->devices[registry->devices_count];

    device->slot = slot;
    device->info = slot->infos[index];
    device->profile = profile_of(registry->profiles, &device->info);
    if (device->profile)
        (void)syn_str_copy(device->info.profile, sizeof(device->info.profile),
                           device->profile->name);
    device->node = SYN_NODE_HOST;
    if (!(device->info.caps & SYN_CAP_HOST_SHARED)) {
        device->node = (unsigned)registry->nodes_count;
        registry->nodes[device->node].modelled = device->info.modelled;
        add_node(registry, device->info.id, device->info.memory_bytes,
                 (int)registry->devices_count);
    }
    registry->devices_count++;
}

static uint64_t
host_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

static int
collect(struct syn_registry *registry, struct syn_err *err)
{
    size_t count = 0, nodes;

    for (size_t i = 0; i < registry->slots_count; i++)
        count += registry->slots[i]->report.devices;
    count = SYN_MIN(count, (size_t)SYN_DEVICES_MAX);
    nodes = SYN_MIN(count + 1, (size_t)SYN_MEMORY_NODES_MAX);
    registry->devices = syn_calloc(count, sizeof(*registry->devices));
    registry->nodes = syn_calloc(nodes, sizeof(*registry->nodes));
    registry->node_device = syn_calloc(nodes, sizeof(*registry->node_device));
    if (!registry->devices || !registry->nodes || !registry->node_device)
        return SYN_FAIL(err, SYN_E_NOMEM, "registry");
    add_node(registry, "host", host_bytes(), -1);
    for (size_t i = 0; i < registry->slots_count; i++) {
        struct syn_registry_slot *slot = registry->slots[i];

        for (unsigned k = 0; k < slot->report.devices; k++) {
            if (registry->devices_count < count && registry->nodes_count < nodes)
                add_device(registry, slot, k);
        }
    }
    registry->fits =
        syn_calloc(registry->nodes_count * registry->nodes_count, sizeof(*registry->fits));
    return registry->fits ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "registry");
}

static int
ask_all(struct syn_registry *registry, const struct syn_driver_ops *const *table, size_t count,
        const struct syn_registry_options *options, struct syn_err *err)
{
    int64_t limit_ms = options->probe_ms > 0 ? options->probe_ms : SYN_PROBE_MS;
    int64_t until_ns = syn_clock_ns() + limit_ms * 1000000;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        struct syn_registry_slot *slot = NULL;

        rc = slot_new(table[i], options, registry->profiles, &slot, err);
        if (rc < 0)
            break;
        registry->slots[registry->slots_count++] = slot;
        if (wanted(options->drivers, table[i]->name) ||
            (table[i] == &syn_driver_modelled && slot->options.modelled[0] != '\0'))
            rc = slot_start(slot, err);
        else
            (void)syn_str_copy(slot->report.reason, sizeof(slot->report.reason), "not asked for");
    }
    /* Also after a failure: what was started has to be let go of in order. */
    for (size_t i = 0; i < registry->slots_count; i++)
        slot_await(registry->slots[i], until_ns, limit_ms);
    return rc;
}

int
syn_registry_open_of(const struct syn_driver_ops *const *table, size_t count,
                     const struct syn_registry_options *options, struct syn_registry **ret_registry,
                     struct syn_err *err)
{
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    const struct syn_registry_options none = {0};
    int rc;

    assert(count <= SYN_DRIVERS_MAX);
    options = options ? options : &none;
    if (options->probe_ms < 0 || options->probe_ms > SYN_PROBE_MS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a probe takes 1 to %d ms, not %lld", SYN_PROBE_MS_MAX,
                        (long long)options->probe_ms);
    registry = syn_calloc(1, sizeof(*registry));
    if (!registry)
        return SYN_FAIL(err, SYN_E_NOMEM, "registry");
    (void)pthread_mutex_init(&registry->lock, NULL);
    registry->profiles = options->profiles ? options->profiles : syn_profiles_builtin();
    if (!registry->profiles)
        return SYN_FAIL(err, SYN_E_NOMEM, "profiles");
    rc = check_names(table, count, options->drivers, err);
    rc = rc < 0 ? rc : check_modelled(registry->profiles, options->modelled, err);
    rc = rc < 0 ? rc : ask_all(registry, table, count, options, err);
    rc = rc < 0 ? rc : collect(registry, err);
    rc = rc < 0 ? rc
                : syn_topology_read(options->sysfs ? options->sysfs : "/sys", &registry->topology,
                                    err);
    if (rc == SYN_OK)
        *ret_registry = SYN_TAKE(registry);
    return rc;
}

int
syn_registry_open(const struct syn_registry_options *options, struct syn_registry **ret_registry,
                  struct syn_err *err)
{
    return syn_registry_open_of(drivers, SYN_LEN(drivers), options, ret_registry, err);
}

struct syn_registry *
syn_registry_close(struct syn_registry *registry)
{
    if (!registry)
        return NULL;
    for (size_t i = 0; i < registry->devices_count; i++)
        registry->devices[i].dev = syn_dev_close(registry->devices[i].dev);
    for (size_t i = 0; i < registry->slots_count; i++)
        slot_release(registry->slots[i]);
    syn_topology_fini(&registry->topology);
    syn_free(registry->devices);
    syn_free(registry->nodes);
    syn_free(registry->node_device);
    syn_free(registry->fits);
    (void)pthread_mutex_destroy(&registry->lock);
    syn_free(registry);
    return NULL;
}

void
syn_registry_close_scope(struct syn_registry **slot)
{
    *slot = syn_registry_close(*slot);
}

/* Answers. */

size_t
syn_registry_count(const struct syn_registry *registry)
{
    return registry->devices_count;
}

const struct syn_device_info *
syn_registry_device(const struct syn_registry *registry, size_t index)
{
    assert(index < registry->devices_count);
    return &registry->devices[index].info;
}

int
syn_registry_find(const struct syn_registry *registry, const char *id, size_t *ret_index,
                  struct syn_err *err)
{
    SYN_BUF(known);

    for (size_t i = 0; i < registry->devices_count; i++) {
        if (strcmp(registry->devices[i].info.id, id) == 0) {
            *ret_index = i;
            return SYN_OK;
        }
        syn_buf_addf(&known, " %s", registry->devices[i].info.id);
    }
    return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no device %s; there are:%s", id,
                    syn_buf_text(&known));
}

size_t
syn_registry_drivers_count(const struct syn_registry *registry)
{
    return registry->slots_count;
}

const struct syn_driver_report *
syn_registry_driver(const struct syn_registry *registry, size_t index)
{
    assert(index < registry->slots_count);
    return &registry->slots[index]->report;
}

const struct syn_profile *
syn_registry_profile(const struct syn_registry *registry, size_t index)
{
    assert(index < registry->devices_count);
    return registry->devices[index].profile;
}

size_t
syn_registry_nodes_count(const struct syn_registry *registry)
{
    return registry->nodes_count;
}

const struct syn_memory_node *
syn_registry_node(const struct syn_registry *registry, size_t node)
{
    assert(node < registry->nodes_count);
    return &registry->nodes[node];
}

unsigned
syn_registry_device_node(const struct syn_registry *registry, size_t index)
{
    assert(index < registry->devices_count);
    return registry->devices[index].node;
}

const struct syn_topology *
syn_registry_topology(const struct syn_registry *registry)
{
    return &registry->topology;
}

int
syn_dev_open(struct syn_registry *registry, size_t index, struct syn_dev **ret_dev,
             struct syn_err *err)
{
    const struct syn_registry_device *device = NULL;
    int rc;

    if (index >= registry->devices_count)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there are %zu devices, no number %zu",
                        registry->devices_count, index);
    device = &registry->devices[index];
    rc = syn_dev_open_in(device->slot->driver, device->info.index, ret_dev, err);
    if (rc < 0)
        return rc;
    (*ret_dev)->node = device->node;
    (void)syn_str_copy((*ret_dev)->info.profile, sizeof((*ret_dev)->info.profile),
                       device->info.profile);
    return SYN_OK;
}

/* The registry's own opening of a device; its lock is held. */
static int
own_dev(struct syn_registry *registry, size_t index, struct syn_dev **ret_dev, struct syn_err *err)
{
    struct syn_registry_device *device = &registry->devices[index];
    int rc = SYN_OK;

    assert(index < registry->devices_count);
    if (!device->dev)
        rc = syn_dev_open(registry, index, &device->dev, err);
    *ret_dev = device->dev;
    return rc;
}

int
syn_registry_health(struct syn_registry *registry, size_t index, struct syn_device_health *ret,
                    struct syn_err *err)
{
    struct syn_dev *dev = NULL;
    int rc;

    (void)pthread_mutex_lock(&registry->lock);
    rc = own_dev(registry, index, &dev, err);
    rc = rc < 0 ? rc : syn_dev_health(dev, ret, err);
    (void)pthread_mutex_unlock(&registry->lock);
    return rc;
}

int
syn_registry_power(struct syn_registry *registry, size_t index, struct syn_device_power *ret,
                   struct syn_err *err)
{
    struct syn_dev *dev = NULL;
    int rc;

    (void)pthread_mutex_lock(&registry->lock);
    rc = own_dev(registry, index, &dev, err);
    rc = rc < 0 ? rc : syn_dev_power(dev, ret, err);
    (void)pthread_mutex_unlock(&registry->lock);
    return rc;
}
