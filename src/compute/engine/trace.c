/* What an engine records: who is who, calls from begin to end, what they waited for, and when its
 * threads slept. Transfers and evictions the memory manager records.
 *
 * The core infers dependencies in a form that workers can count down; which calls they were between
 * is not kept. So while a trace is on, they are inferred once more, by number, in the tensors'
 * handles. Calls submitted by several threads at once may then be recorded in another order than
 * the core's, which only a trace could show. */
#include <stdio.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "engine_priv.h"

/* ---- who is who ---- */

static void
name_workers(const struct syn_engine *engine, struct syn_trace_worker *workers)
{
    for (unsigned i = 0; i < engine->seats_count; i++) {
        const struct syn_engine_seat *seat = &engine->seats[i];

        workers[i].device = (uint16_t)seat->device;
        if (seat->dev == NULL)
            (void)snprintf(workers[i].name, sizeof(workers[i].name), "%s.%u", seat->info->id, i);
        else
            (void)syn_str_copy(workers[i].name, sizeof(workers[i].name), seat->info->id);
    }
}

int
syn_engine_trace_open(struct syn_engine *engine, struct syn_err *err)
{
    struct syn_trace_worker workers[SYN_ENGINE_WORKERS_MAX] = {0};
    struct syn_trace_device devices[SYN_DEVICES_MAX] = {0};
    struct syn_trace_node nodes[SYN_NODES_MAX] = {0};
    struct syn_trace_scene scene = {.workers = workers,
                                    .devices = devices,
                                    .nodes = nodes,
                                    .workers_count = engine->seats_count,
                                    .devices_count = (uint32_t)syn_registry_count(engine->registry),
                                    .nodes_count = engine->platform.node_count};

    name_workers(engine, workers);
    for (unsigned i = 0; i < scene.devices_count; i++) {
        const struct syn_device_info *info = syn_registry_device(engine->registry, i);

        (void)syn_str_copy(devices[i].name, sizeof(devices[i].name), info->id);
        devices[i].modelled = info->modelled;
    }
    for (unsigned i = 0; i < scene.nodes_count; i++) {
        (void)syn_str_copy(nodes[i].name, sizeof(nodes[i].name),
                           syn_registry_node(engine->registry, i)->name);
        nodes[i].bytes = engine->node_bytes[i];
    }
    return syn_trace_set_scene(engine->trace, &scene, err);
}

/* ---- what waits for what ---- */

static void
record_edge(struct syn_engine *engine, uint64_t before, uint64_t after)
{
    if (before == 0 || before == after)
        return;
    (void)syn_trace_put(
        engine->trace,
        &(struct syn_trace_event){.kind = SYN_TRACE_DEPENDENCY, .id = after, .before = before});
}

static void
keep(uint64_t number, uint64_t **numbers, size_t *count, size_t *cap)
{
    if (syn_grow(numbers, cap, *count + 1, sizeof(**numbers)))
        (*numbers)[(*count)++] = number;
}

/* Who reduces comes after all who read before, and after nobody who reduces. */
static void
follow_adder(struct syn_engine *engine, struct syn_engine_handle *handle, uint64_t number)
{
    if (handle->readers_count == 0)
        record_edge(engine, handle->writer, number);
    for (size_t i = 0; i < handle->readers_count; i++)
        record_edge(engine, handle->readers[i], number);
    keep(number, &handle->adders, &handle->adders_count, &handle->adders_cap);
}

/* Somebody uses what was reduced: after all who did so. */
static void
follow_adders(struct syn_engine *engine, struct syn_engine_handle *handle, uint64_t number)
{
    for (size_t i = 0; i < handle->adders_count; i++)
        record_edge(engine, handle->adders[i], number);
}

static void
follow(struct syn_engine *engine, struct syn_engine_handle *handle, uint64_t number, bool writes)
{
    follow_adders(engine, handle, number);
    if (!writes) {
        if (handle->adders_count == 0)
            record_edge(engine, handle->writer, number);
        keep(number, &handle->readers, &handle->readers_count, &handle->readers_cap);
        return;
    }
    handle->adders_count = 0;
    if (handle->readers_count == 0)
        record_edge(engine, handle->writer, number);
    for (size_t i = 0; i < handle->readers_count; i++)
        record_edge(engine, handle->readers[i], number);
    handle->readers_count = 0;
    handle->writer = number;
}

void
syn_engine_trace_order(struct syn_engine_task *call)
{
    struct syn_engine *engine = call->engine;

    (void)pthread_mutex_lock(&engine->maps_lock);
    call->number = ++engine->numbers;
    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_engine_handle *handle = syn_tensor_user(syn_tensor_of(call->uses[i].data));

        if ((call->reduces & SYN_BIT(i)) != 0)
            follow_adder(engine, handle, call->number);
        else
            follow(engine, handle, call->number, (call->uses[i].mode & SYN_WRITE) != 0);
    }
    (void)pthread_mutex_unlock(&engine->maps_lock);
}

void
syn_engine_trace_number(struct syn_engine_task *call)
{
    struct syn_engine *engine = call->engine;

    (void)pthread_mutex_lock(&engine->maps_lock);
    call->number = ++engine->numbers;
    (void)pthread_mutex_unlock(&engine->maps_lock);
}

void
syn_engine_trace_piece(const struct syn_engine_task *whole, struct syn_engine_task *piece)
{
    syn_engine_trace_number(piece);
    record_edge(whole->engine, piece->number, whole->number);
}

/* ---- who slept ---- */

void
syn_engine_trace_park(struct syn_engine_seat *seat, bool begins)
{
    struct syn_trace *trace = seat->engine->trace;

    if (!syn_trace_on(trace)) {
        seat->parked_ns = 0;
    } else if (begins) {
        seat->parked_ns = syn_trace_now();
    } else if (seat->parked_ns != 0) {
        (void)syn_trace_put(trace, &(struct syn_trace_event){.kind = SYN_TRACE_PARK,
                                                             .begin_ns = seat->parked_ns,
                                                             .end_ns = syn_trace_now(),
                                                             .worker = (uint16_t)seat->index});
    }
}

/* ---- what ran ---- */

void
syn_engine_trace_end(const struct syn_engine_task *call, const struct syn_engine_outcome *outcome)
{
    const struct syn_engine_seat *seat = call->seat;
    struct syn_engine *engine = call->engine;
    int64_t ended = outcome->ended_ns != 0 ? outcome->ended_ns : syn_clock_ns();
    int64_t begun = outcome->ran ? call->begun_ns : ended;
    bool placed = seat != NULL; /* else it was divided, or never began */

    (void)syn_trace_put(engine->trace,
                        &(struct syn_trace_event){
                            .kind = SYN_TRACE_TASK,
                            .begin_ns = (uint64_t)begun,
                            .end_ns = (uint64_t)ended,
                            .id = call->number,
                            .wait_ns = placed ? (uint64_t)(begun - call->popped_ns) : 0,
                            .energy_uj = outcome->ran ? outcome->energy_uj : SYN_TRACE_UNKNOWN,
                            .name = syn_trace_name(engine->trace, call->kernel->name),
                            .code = outcome->code,
                            .worker = placed ? (uint16_t)seat->index : SYN_TRACE_NONE,
                            .device = placed ? (uint16_t)seat->device : SYN_TRACE_NONE,
                            .source = (uint8_t)outcome->energy_source});
}
