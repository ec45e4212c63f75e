/* What a strategy is opened on: seats, their classes, links between memory nodes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "engine_priv.h"

/* Is `id` in the list "cpu0,opencl0"? */
static bool
is_listed(const char *list, const char *id)
{
    size_t len = strlen(id);

    while (*list != '\0') {
        size_t part = strcspn(list, ",");

        if (part == len && memcmp(list, id, len) == 0)
            return true;
        list += part + (list[part] == ',');
    }
    return false;
}

static SYN_MUST int
check_list(const struct syn_engine *engine, const char *list, struct syn_err *err)
{
    while (*list != '\0') {
        size_t part = strcspn(list, ","), index = 0;
        char id[SYN_DEVICE_ID_MAX];
        int rc;

        if (part >= sizeof(id))
            return SYN_FAIL(err, SYN_E_INVALID, "devices: \"%.*s\" is too long for a name",
                            (int)SYN_MIN(part, 64), list);
        memcpy(id, list, part);
        id[part] = '\0';
        rc = syn_registry_find(engine->registry, id, &index, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "devices");
        list += part + (list[part] == ',');
    }
    return SYN_OK;
}

static bool
is_cpu(const struct syn_device_info *info)
{
    return strcmp(info->driver, "cpu") == 0;
}

static bool
is_wanted(const struct syn_device_info *info, const char *list)
{
    if (info->modelled)
        return list == NULL || is_listed(list, info->id);
    return list == NULL ? info->share != SYN_SHARE_HOST : is_listed(list, info->id);
}

/* Power, and the rates that priors are computed with: the profile's, or what is assumed of a kind.
 */
static void
fill_rates(struct syn_engine_seat *seat, const struct syn_profile *profile)
{
    struct syn_profile bare = {.kind = seat->info->kind,
                               .dtypes = seat->info->dtypes,
                               .memory_bytes = seat->info->memory_bytes,
                               .memory_mb_s = seat->info->memory_mb_s,
                               .units = seat->info->units,
                               .clock_mhz = seat->info->clock_mhz};

    (void)syn_profile_assume(profile != NULL ? profile : &bare, &seat->rates);
}

static SYN_MUST int
class_of(struct syn_engine *engine, struct syn_engine_seat *seat, struct syn_err *err)
{
    struct syn_platform *platform = &engine->platform;
    struct syn_worker_class class = {.kind = (uint8_t)seat->info->kind, .state_count = 1};
    char name[SYN_DEVICE_ID_MAX + SYN_DEVICE_TEXT_MAX + 16];
    const char *model = seat->info->modelled ? seat->info->profile : seat->info->model;

    (void)snprintf(name, sizeof(name), "%s%s:%s", seat->info->modelled ? "modelled-" : "",
                   seat->info->driver, model);
    (void)syn_str_copy(class.name, sizeof(class.name), name);
    for (char *c = class.name; *c != '\0'; c++) {
        if (*c == ' ')
            *c = '_';
    }
    class.idle_mw = (uint32_t)SYN_MIN(seat->rates.idle_mw, UINT32_MAX);
    class.states[0].speed_permille = 1000;
    class.states[0].busy_mw = (uint32_t)SYN_MIN(seat->rates.tdp_mw, UINT32_MAX);
    for (seat->class_id = 0; seat->class_id < platform->class_count; seat->class_id++) {
        if (strcmp(engine->classes[seat->class_id].name, class.name) == 0)
            return SYN_OK;
    }
    if (platform->class_count == SYN_CLASSES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %u models of processor", SYN_CLASSES_MAX);
    engine->classes[platform->class_count++] = class;
    return SYN_OK;
}

static SYN_MUST int
add_seat(struct syn_engine *engine, size_t device, struct syn_err *err)
{
    struct syn_engine_seat *seat = &engine->seats[engine->seats_count];
    int rc;

    if (engine->seats_count == SYN_ENGINE_WORKERS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d workers", SYN_ENGINE_WORKERS_MAX);
    seat->engine = engine;
    seat->index = engine->seats_count;
    seat->device = device;
    seat->info = syn_registry_device(engine->registry, device);
    seat->node = syn_registry_device_node(engine->registry, device);
    if (seat->node >= SYN_NODES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: more than %u memory nodes", seat->info->id,
                        SYN_NODES_MAX);
    fill_rates(seat, syn_registry_profile(engine->registry, device));
    rc = class_of(engine, seat, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(seat->report.device, sizeof(seat->report.device), seat->info->id);
    (void)syn_str_copy(seat->report.model, sizeof(seat->report.model), seat->info->model);
    seat->report.modelled = seat->info->modelled;
    engine->descs[seat->index] = (struct syn_worker_desc){.class_id = (uint16_t)seat->class_id,
                                                          .node = (uint16_t)seat->node,
                                                          .device = (uint16_t)device};
    engine->seats_count++;
    return SYN_OK;
}

/* The runtime's threads: the CPU's seats, whether it is among the wanted devices or not, so that
 * seat I is thread I. */
static SYN_MUST int
add_cpus(struct syn_engine *engine, struct syn_err *err)
{
    size_t count = syn_registry_count(engine->registry), cpu = 0;
    struct syn_runtime_stats stats;
    int rc = SYN_OK;

    while (cpu < count && !is_cpu(syn_registry_device(engine->registry, cpu)))
        cpu++;
    if (cpu == count)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the registry has no cpu0");
    syn_runtime_stats(engine->runtime, &stats);
    if (stats.workers == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "runtime.no_workers: an engine needs a thread");
    for (unsigned i = 0; rc == SYN_OK && i < stats.workers; i++)
        rc = add_seat(engine, cpu, err);
    engine->cpus = engine->seats_count;
    for (unsigned i = 0; i < engine->cpus; i++) /* they share the processor, and its power */
        engine->seats[i].busy_mw = engine->seats[i].rates.tdp_mw / engine->cpus;
    return rc;
}

static SYN_MUST int
open_device(struct syn_engine_seat *seat, struct syn_err *err)
{
    int rc = syn_dev_open(seat->engine->registry, seat->device, &seat->dev, err);

    seat->busy_mw = seat->rates.tdp_mw;
    if (rc == SYN_OK)
        rc = syn_programs_new(seat->dev, &seat->programs, err);
    if (rc == SYN_OK)
        rc = syn_dev_queue_create(seat->dev, 0, &seat->queue, err);
    while (rc == SYN_OK && seat->events_count < SYN_ENGINE_DEPTH) {
        rc = syn_dev_event_create(seat->dev, &seat->events[seat->events_count], err);
        seat->events_count += rc == SYN_OK;
    }
    return rc < 0 ? syn_err_wrap(err, rc, "%s", seat->info->id) : SYN_OK;
}

static SYN_MUST int
add_devices(struct syn_engine *engine, const char *list, struct syn_err *err)
{
    size_t count = syn_registry_count(engine->registry);
    int rc = list == NULL ? SYN_OK : check_list(engine, list, err);

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        const struct syn_device_info *info = syn_registry_device(engine->registry, i);

        if (is_cpu(info) || !is_wanted(info, list))
            continue;
        rc = add_seat(engine, i, err);
        if (rc == SYN_OK)
            rc = open_device(&engine->seats[engine->seats_count - 1], err);
    }
    return rc;
}

static SYN_MUST int
add_links(struct syn_engine *engine, struct syn_err *err)
{
    unsigned nodes = engine->platform.node_count;

    engine->links = syn_calloc((size_t)nodes * nodes, sizeof(*engine->links));
    if (engine->links == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an engine");
    for (unsigned i = 0; i < nodes * nodes; i++) {
        unsigned from = i / nodes, to = i % nodes;
        struct syn_link link = syn_registry_link(engine->registry, from, to);

        if (from == to || link.path == SYN_LINK_NONE || link.path == SYN_LINK_STAGED ||
            link.mb_s == 0)
            continue;
        engine->links[engine->platform.link_count++] =
            (struct syn_link_desc){.from = (uint16_t)from,
                                   .to = (uint16_t)to,
                                   .bus = (uint16_t)(SYN_MAX(from, to)),
                                   .latency_ns = (uint32_t)SYN_MIN(link.latency_ns, UINT32_MAX),
                                   .bytes_per_s = link.mb_s * 1000000};
    }
    return SYN_OK;
}

static void
limit_nodes(struct syn_engine *engine, const struct syn_engine_options *options)
{
    for (unsigned i = 0; i < engine->platform.node_count; i++) {
        const struct syn_memory_node *node = syn_registry_node(engine->registry, i);

        engine->node_bytes[i] = node->host ? 0 : node->bytes;
        if (i < options->node_bytes_count && options->node_bytes[i] != 0)
            engine->node_bytes[i] = options->node_bytes[i];
    }
}

int
syn_engine_seats_open(struct syn_engine *engine, const struct syn_engine_options *options,
                      struct syn_err *err)
{
    struct syn_platform *platform = &engine->platform;
    int rc;

    engine->seats = syn_calloc(SYN_ENGINE_WORKERS_MAX, sizeof(*engine->seats));
    if (engine->seats == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an engine");
    rc = add_cpus(engine, err);
    if (rc == SYN_OK)
        rc = add_devices(engine, options->devices, err);
    platform->classes = engine->classes;
    platform->workers = engine->descs;
    platform->worker_count = engine->seats_count;
    platform->node_count =
        (uint32_t)SYN_MIN(syn_registry_nodes_count(engine->registry), SYN_NODES_MAX);
    if (rc == SYN_OK)
        rc = add_links(engine, err);
    platform->links = engine->links;
    platform->node_bytes = engine->node_bytes;
    limit_nodes(engine, options);
    if (rc == SYN_OK && options->devices != NULL &&
        !is_listed(options->devices, engine->seats[0].info->id)) {
        if (engine->seats_count == engine->cpus)
            return SYN_FAIL(err, SYN_E_INVALID, "devices: none is named");
        engine->without_cpu = true;
    }
    return rc;
}

bool
syn_engine_seats_close(struct syn_engine *engine)
{
    bool hangs = false;

    for (unsigned i = 0; engine->seats != NULL && i < engine->seats_count; i++) {
        struct syn_engine_seat *seat = &engine->seats[i];

        if (seat->dev == NULL)
            continue;
        if (syn_dev_is_abandoned(seat->dev)) {
            hangs = true;
            continue;
        }
        (void)syn_dev_queue_destroy(seat->queue);
        seat->programs = syn_programs_free(seat->programs);
        for (unsigned j = 0; j < seat->events_count; j++)
            (void)syn_dev_event_destroy(seat->events[j]);
        seat->dev = syn_dev_close(seat->dev);
    }
    if (!hangs) /* what hangs would wake its seat if it ever ended */
        syn_free(engine->seats);
    syn_free(engine->links);
    return hangs;
}
