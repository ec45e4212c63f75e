/* A planner's run as a trace. */
#include <stdio.h>

#include <synor/base/mem.h>
#include <synor/kind.h>
#include <synor/trace.h>

#include "../trace/trace_priv.h"
#include "graph_priv.h"

/* Tables that only live until they were copied. */
struct tables {
    struct syn_trace_worker *workers;
    struct syn_trace_device *devices; /* one a number that workers name */
    struct syn_trace_node *nodes;
    const char **names;
    uint32_t devices_count;
};

static void
tables_fini(struct tables *tables)
{
    syn_free(tables->workers);
    syn_free(tables->devices);
    syn_free(tables->nodes);
    syn_free((void *)tables->names);
}

static int
tables_init(struct tables *tables, const struct syn_plan_opts *opts, struct syn_err *err)
{
    const struct syn_platform *platform = &opts->machine->platform;
    const struct syn_plan_graph *graph = opts->graph;

    *tables = (struct tables){0};
    for (uint32_t i = 0; i < platform->worker_count; i++)
        tables->devices_count = SYN_MAX(tables->devices_count, platform->workers[i].device + 1U);
    tables->workers = syn_calloc(platform->worker_count + 1, sizeof(*tables->workers));
    tables->devices = syn_calloc(tables->devices_count + 1, sizeof(*tables->devices));
    tables->nodes = syn_calloc(platform->node_count + 1, sizeof(*tables->nodes));
    tables->names = syn_calloc(graph->kernel_count + 1, sizeof(*tables->names));
    if (tables->workers == NULL || tables->devices == NULL || tables->nodes == NULL ||
        tables->names == NULL) {
        tables_fini(tables);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the trace of a plan");
    }
    return SYN_OK;
}

static void
tables_fill(struct tables *tables, const struct syn_plan_opts *opts)
{
    const struct syn_platform *platform = &opts->machine->platform;
    const struct syn_plan_graph *graph = opts->graph;

    for (uint32_t i = 0; i < tables->devices_count; i++)
        (void)snprintf(tables->devices[i].name, SYN_TRACE_TEXT_MAX, "device %u", i);
    for (uint32_t i = 0; i < platform->worker_count; i++) {
        const struct syn_worker_desc *worker = &platform->workers[i];
        struct syn_trace_device *device = &tables->devices[worker->device];

        (void)snprintf(tables->workers[i].name, SYN_TRACE_TEXT_MAX, "worker %u", i);
        tables->workers[i].device = worker->device;
        (void)snprintf(device->name, sizeof(device->name), "%s",
                       platform->classes[worker->class_id].name);
        device->modelled = true;
    }
    for (uint32_t i = 0; i < platform->node_count; i++) {
        (void)snprintf(tables->nodes[i].name, SYN_TRACE_TEXT_MAX, i == 0 ? "host" : "node %u", i);
        tables->nodes[i].bytes = platform->node_bytes != NULL ? platform->node_bytes[i] : 0;
    }
    tables->names[0] = "";
    for (size_t i = 0; i < graph->kernel_count; i++)
        tables->names[i + 1] = graph->kernels[i].name;
}

/* mW times ns are pJ. */
static uint64_t
energy_of(const struct syn_worker_class *class_, const struct syn_plan_event *event)
{
    uint64_t mw = class_->states[event->state].busy_mw;

    if (class_->state_count == 0 || mw == 0)
        return SYN_TRACE_UNKNOWN;
    return (uint64_t)((syn_u128)mw * (event->end_ns - event->begin_ns) / 1000000);
}

static size_t
fill_events(const struct syn_plan_opts *opts, const struct syn_plan_event *events,
            struct syn_trace_event *ret)
{
    const struct syn_platform *platform = &opts->machine->platform;
    const struct syn_plan_graph *graph = opts->graph;
    size_t count = 0;

    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct syn_plan_event *event = &events[i];
        const struct syn_worker_desc *worker = &platform->workers[event->worker];
        uint64_t energy_uj = energy_of(&platform->classes[worker->class_id], event);

        ret[count++] = (struct syn_trace_event){
            .kind = SYN_TRACE_TASK,
            .begin_ns = event->begin_ns,
            .end_ns = event->end_ns,
            .id = event->task,
            .wait_ns = event->begin_ns - event->pop_ns,
            .energy_uj = energy_uj,
            .source = energy_uj != SYN_TRACE_UNKNOWN ? SYN_POWER_MODELLED : SYN_POWER_UNKNOWN,
            .name = graph->tasks[event->task].kernel + 1,
            .worker = (uint16_t)event->worker,
            .device = worker->device,
            .state = event->state};
    }
    for (uint32_t i = 0; i < graph->task_count; i++)
        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++)
            ret[count++] = (struct syn_trace_event){
                .kind = SYN_TRACE_DEPENDENCY, .id = graph->succ[j], .before = i};
    return count;
}

static int
check_events(const struct syn_plan_opts *opts, const struct syn_plan_event *events,
             struct syn_err *err)
{
    if (!opts->graph->sealed)
        return SYN_FAIL(err, SYN_E_INVALID, "graph: not sealed");
    for (uint32_t i = 0; i < opts->graph->task_count; i++)
        if (events[i].task >= opts->graph->task_count ||
            events[i].worker >= opts->machine->platform.worker_count ||
            events[i].pop_ns > events[i].begin_ns || events[i].begin_ns > events[i].end_ns ||
            events[i].state >= SYN_STATES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "event %u is of another run", i);
    return SYN_OK;
}

int
syn_trace_of_plan(const struct syn_plan_opts *opts, const struct syn_plan_event *events,
                  struct syn_trace_data **ret_data, struct syn_err *err)
{
    const struct syn_plan_graph *graph = opts->graph;
    struct syn_trace_data shown, *data = NULL;
    struct syn_trace_event *copies;
    struct tables tables = {0};
    char title[SYN_TRACE_TEXT_MAX];
    size_t edges;
    int rc = check_events(opts, events, err);

    if (rc == 0)
        rc = tables_init(&tables, opts, err);
    if (rc < 0)
        return rc;
    tables_fill(&tables, opts);
    edges = graph->succ_first[graph->task_count];
    (void)snprintf(title, sizeof(title), "Plan by %s", opts->strategy->name);
    shown =
        (struct syn_trace_data){.scene = {tables.workers, tables.devices, tables.nodes,
                                          opts->machine->platform.worker_count,
                                          tables.devices_count, opts->machine->platform.node_count},
                                .title = title,
                                .names = tables.names,
                                .names_count = (uint32_t)graph->kernel_count + 1};
    copies = syn_calloc(graph->task_count + edges + 1, sizeof(*copies));
    rc = copies != NULL ? trace_data_dup(&shown, &data, err)
                        : SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the trace of a plan");
    tables_fini(&tables);
    if (rc < 0) {
        syn_free(copies);
        return rc;
    }
    data->events_count = fill_events(opts, events, copies);
    data->events = copies;
    *ret_data = data;
    return SYN_OK;
}
