/* Trace Event Format, the JSON that chrome://tracing and ui.perfetto.dev read.
 *
 * A process a device, in it a thread a worker; a process for the links between memories and one for
 * the memories themselves. What overlaps on one track goes to threads of its own, as the format
 * wants slices of a thread to nest. Times are microseconds from the beginning of the trace. */
#include <inttypes.h>
#include <stdio.h>

#include "trace_priv.h"

/* Processes, in the order in which they are shown. Devices follow from PID_DEVICES on. */
#define PID_LOOSE   1 /* workers without a device */
#define PID_DEVICES 2
#define PID_LINKS   100000
#define PID_NODES   100001

struct chrome {
    const struct trace_view *view;
    struct syn_buf *out;
    bool some; /* an event was written: a comma is due */
};

static uint32_t
pid_of(const struct trace_track *track)
{
    if (track->kind == TRACE_LINK)
        return PID_LINKS;
    if (track->kind == TRACE_NODE)
        return PID_NODES;
    return track->device == SYN_TRACE_NONE ? PID_LOOSE : PID_DEVICES + (uint32_t)track->device;
}

static uint32_t
tid_of(uint32_t track, uint16_t lane)
{
    return track * TRACE_LANES_MAX + lane + 1;
}

/* Begin an event; the caller adds members and ends it with "}". */
static void
begin(struct chrome *chrome, const char *phase, uint32_t pid, uint32_t tid)
{
    syn_buf_addf(chrome->out, "%s\n{\"ph\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32,
                 chrome->some ? "," : "", phase, pid, tid);
    chrome->some = true;
}

static void
add_time(struct chrome *chrome, const char *key, uint64_t ns)
{
    syn_buf_addf(chrome->out, ",\"%s\":", key);
    trace_us(chrome->out, ns);
}

static void
add_text(struct chrome *chrome, const char *key, const char *text)
{
    syn_buf_addf(chrome->out, ",\"%s\":", key);
    trace_json(chrome->out, text);
}

static void
say_name(struct chrome *chrome, const char *what, uint32_t pid, uint32_t tid, const char *name)
{
    begin(chrome, "M", pid, tid);
    add_text(chrome, "name", what);
    syn_buf_adds(chrome->out, ",\"args\":{\"name\":");
    trace_json(chrome->out, name);
    syn_buf_adds(chrome->out, "}}");
}

static void
say_order(struct chrome *chrome, const char *what, uint32_t pid, uint32_t tid)
{
    begin(chrome, "M", pid, tid);
    add_text(chrome, "name", what);
    syn_buf_addf(chrome->out, ",\"args\":{\"sort_index\":%" PRIu32 "}}", tid != 0 ? tid : pid);
}

static void
write_process(struct chrome *chrome, const struct trace_track *track)
{
    char name[TRACE_LABEL_MAX];
    uint32_t pid = pid_of(track);

    if (pid == PID_LINKS)
        (void)snprintf(name, sizeof(name), "transfers");
    else if (pid == PID_NODES)
        (void)snprintf(name, sizeof(name), "memory");
    else if (pid == PID_LOOSE)
        (void)snprintf(name, sizeof(name), "workers");
    else
        (void)trace_device_name(chrome->view, track->device, name);
    say_name(chrome, "process_name", pid, 0, name);
    say_order(chrome, "process_sort_index", pid, 0);
}

static void
write_tracks(struct chrome *chrome)
{
    const struct trace_view *view = chrome->view;
    uint8_t known[PID_NODES / 8 + 1] = {0};

    for (uint32_t i = 0; i < view->tracks_count; i++) {
        const struct trace_track *track = &view->tracks[i];
        uint32_t pid = pid_of(track);

        if ((known[pid / 8] >> pid % 8 & 1) == 0)
            write_process(chrome, track);
        known[pid / 8] = (uint8_t)(known[pid / 8] | 1U << pid % 8);
        for (uint16_t lane = 0; lane < track->lanes; lane++) {
            say_name(chrome, "thread_name", pid_of(track), tid_of(i, lane), track->name);
            say_order(chrome, "thread_sort_index", pid_of(track), tid_of(i, lane));
        }
    }
}

static void
begin_slice(struct chrome *chrome, const struct trace_bar *bar, const char *category,
            uint64_t begin_ns, uint64_t end_ns)
{
    begin(chrome, "X", pid_of(&chrome->view->tracks[bar->track]), tid_of(bar->track, bar->lane));
    add_time(chrome, "ts", begin_ns - chrome->view->begin_ns);
    add_time(chrome, "dur", end_ns - begin_ns);
    add_text(chrome, "cat", category);
}

static void
write_task(struct chrome *chrome, const struct trace_bar *bar)
{
    const struct syn_trace_event *task = bar->event;
    char device[TRACE_LABEL_MAX];

    if (bar->begin_ns != task->begin_ns) {
        begin_slice(chrome, bar, "wait", bar->begin_ns, task->begin_ns);
        syn_buf_addf(chrome->out, ",\"name\":\"waits for data\",\"args\":{\"task\":%" PRIu64 "}}",
                     task->id);
    }
    begin_slice(chrome, bar, "task", task->begin_ns, task->end_ns);
    add_text(chrome, "name", trace_event_name(chrome->view, task));
    if (task->code != 0)
        syn_buf_adds(chrome->out, ",\"cname\":\"terrible\"");
    syn_buf_addf(chrome->out, ",\"args\":{\"task\":%" PRIu64, task->id);
    add_text(chrome, "device", trace_device_name(chrome->view, task->device, device));
    syn_buf_addf(chrome->out, ",\"modelled\":%s,\"state\":%u",
                 trace_modelled(chrome->view, task->device) ? "true" : "false", task->state);
    add_text(chrome, "ended", task->code == 0 ? "done" : syn_err_info(task->code)->wire);
    if (task->energy_uj != SYN_TRACE_UNKNOWN)
        syn_buf_addf(chrome->out, ",\"energy_uj\":%" PRIu64, task->energy_uj);
    add_text(chrome, "energy_source", trace_source_name(task));
    syn_buf_adds(chrome->out, "}}");
}

static void
write_transfer(struct chrome *chrome, const struct trace_bar *bar)
{
    begin_slice(chrome, bar, "transfer", bar->event->begin_ns, bar->event->end_ns);
    syn_buf_addf(chrome->out, ",\"name\":\"transfer\",\"args\":{\"bytes\":%" PRIu64 "}}",
                 bar->event->bytes);
}

static void
write_instant(struct chrome *chrome, const struct trace_bar *bar, uint64_t at_ns)
{
    bool placed = bar->track != TRACE_NO_TRACK;

    begin(chrome, "i", placed ? pid_of(&chrome->view->tracks[bar->track]) : PID_LOOSE,
          placed ? tid_of(bar->track, 0) : 0);
    add_time(chrome, "ts", at_ns - chrome->view->begin_ns);
    syn_buf_addf(chrome->out, ",\"s\":\"%s\"", placed ? "t" : "g");
}

static void
begin_counter(struct chrome *chrome, const char *what, const char *whose, uint64_t at_ns)
{
    char name[2 * TRACE_LABEL_MAX];

    begin(chrome, "C", PID_NODES, 0);
    add_time(chrome, "ts", at_ns - chrome->view->begin_ns);
    (void)snprintf(name, sizeof(name), "%s, %s", what, whose);
    add_text(chrome, "name", name);
}

/* The mean power of a stretch of time, and none behind it. */
static void
write_energy(struct chrome *chrome, const struct syn_trace_event *event)
{
    char device[TRACE_LABEL_MAX], what[TRACE_LABEL_MAX];
    uint64_t ns = event->end_ns - event->begin_ns;
    syn_u128 mw;

    if (event->energy_uj == SYN_TRACE_UNKNOWN || ns == 0)
        return;
    mw = (syn_u128)event->energy_uj * 1000000 / ns;
    (void)snprintf(what, sizeof(what), "power (%s)", trace_source_name(event));
    (void)trace_device_name(chrome->view, event->device, device);
    begin_counter(chrome, what, device, event->begin_ns);
    syn_buf_addf(chrome->out, ",\"args\":{\"mW\":%" PRIu64 "}}",
                 (uint64_t)SYN_MIN(mw, (syn_u128)UINT64_MAX));
    begin_counter(chrome, what, device, event->end_ns);
    syn_buf_adds(chrome->out, ",\"args\":{\"mW\":0}}");
}

static void
write_bar(struct chrome *chrome, const struct trace_bar *bar)
{
    const struct syn_trace_event *event = bar->event;
    char node[TRACE_LABEL_MAX];

    switch ((enum syn_trace_kind)event->kind) {
    case SYN_TRACE_TASK:
        write_task(chrome, bar);
        break;
    case SYN_TRACE_TRANSFER:
        write_transfer(chrome, bar);
        break;
    case SYN_TRACE_EVICTION:
        write_instant(chrome, bar, event->end_ns);
        syn_buf_addf(chrome->out, ",\"name\":\"eviction\",\"args\":{\"bytes\":%" PRIu64 "}}",
                     event->bytes);
        break;
    case SYN_TRACE_PARK:
        begin_slice(chrome, bar, "park", event->begin_ns, event->end_ns);
        syn_buf_adds(chrome->out, ",\"name\":\"parked\",\"cname\":\"grey\"}");
        break;
    case SYN_TRACE_ENERGY:
        write_energy(chrome, event);
        break;
    case SYN_TRACE_MEMORY:
        begin_counter(chrome, "bytes in use", trace_node_name(chrome->view, event->to, node),
                      event->begin_ns);
        syn_buf_addf(chrome->out, ",\"args\":{\"bytes\":%" PRIu64 "}}", event->bytes);
        break;
    case SYN_TRACE_MARK:
        write_instant(chrome, bar, event->begin_ns);
        add_text(chrome, "name", trace_event_name(chrome->view, event));
        syn_buf_adds(chrome->out, "}");
        break;
    case SYN_TRACE_DEPENDENCY:
    case SYN_TRACE_KINDS:
        break;
    }
}

/* One end of an arrow, which has to lie within the slice that it belongs to. */
static void
write_end(struct chrome *chrome, const struct trace_bar *bar, const char *phase, size_t number,
          uint64_t at_ns)
{
    begin(chrome, phase, pid_of(&chrome->view->tracks[bar->track]), tid_of(bar->track, bar->lane));
    add_time(chrome, "ts", at_ns - chrome->view->begin_ns);
    if (*phase == 'f') /* it ends at the slice around it, not at the next one */
        syn_buf_adds(chrome->out, ",\"bp\":\"e\"");
    syn_buf_addf(chrome->out, ",\"id\":%zu,\"cat\":\"dependency\",\"name\":\"dependency\"}",
                 number);
}

static void
write_arrow(struct chrome *chrome, const struct syn_trace_event *edge, size_t number)
{
    const struct trace_bar *from = trace_find_task(chrome->view, edge->before);
    const struct trace_bar *to = trace_find_task(chrome->view, edge->id);
    uint64_t last_ns;

    if (from == NULL || to == NULL)
        return; /* one of them was not recorded */
    last_ns = from->event->end_ns - (from->event->end_ns > from->event->begin_ns ? 1 : 0);
    write_end(chrome, from, "s", number, last_ns);
    write_end(chrome, to, "f", number, to->event->begin_ns);
}

int
syn_trace_write_chrome(const struct syn_trace_data *data, struct syn_buf *out, struct syn_err *err)
{
    struct trace_view view;
    struct chrome chrome = {.view = &view, .out = out};
    int rc = trace_view_init(&view, data, err);

    if (rc < 0)
        return rc;
    syn_buf_adds(out, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"title\":");
    trace_json(out, data->title != NULL ? data->title : "");
    syn_buf_addf(out, ",\"events\":\"%zu\",\"dropped\":\"%" PRIu64 "\"},\"traceEvents\":[",
                 data->events_count, data->dropped);
    write_tracks(&chrome);
    for (size_t i = 0; i < view.bars_count; i++)
        write_bar(&chrome, &view.bars[i]);
    for (size_t i = 0; i < view.edges_count; i++)
        write_arrow(&chrome, view.edges[i], i + 1);
    syn_buf_adds(out, "\n]}\n");
    trace_view_fini(&view);
    return syn_buf_ok(out, err);
}
