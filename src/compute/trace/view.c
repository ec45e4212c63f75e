/* Where everything goes in a picture: a track for every worker, link and memory node, and a lane of
 * it for every event, such that nothing in a lane overlaps.
 *
 * Lanes are handed out by time, each bar to the first that is free when it begins. A worker that
 * runs one task after the other has one; one that helps while it waits shows the tasks that it ran
 * meanwhile below the one that waited. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>

#include "trace_priv.h"

/* Distinguishable for most eyes, dark text readable on all: after Okabe, Ito, and Tol. */
static const char *const colours[] = {"#56b4e9", "#e69f00", "#44bb99", "#f0e442",
                                      "#cc99bb", "#ee8866", "#99ddff", "#bbcc33",
                                      "#ffaabb", "#aaaa00", "#77aadd", "#dddddd"};

const char *
trace_colour(uint32_t name)
{
    return colours[name % SYN_LEN(colours)];
}

static bool
too_large(const struct syn_trace_event *event)
{
    bool energy = event->kind == SYN_TRACE_TASK || event->kind == SYN_TRACE_ENERGY;

    return event->end_ns > INT64_MAX || event->id > INT64_MAX || event->before > INT64_MAX ||
           (event->bytes > INT64_MAX && !(energy && event->energy_uj == SYN_TRACE_UNKNOWN));
}

static int
check_event(const struct syn_trace_data *data, size_t index, struct syn_err *err)
{
    const struct syn_trace_event *event = &data->events[index];

    if (event->kind >= SYN_TRACE_KINDS)
        return SYN_FAIL(err, SYN_E_INVALID, "event %zu: no kind %u", index, event->kind);
    if (event->end_ns < event->begin_ns)
        return SYN_FAIL(err, SYN_E_INVALID, "event %zu: ends before it begins", index);
    if (too_large(event))
        return SYN_FAIL(err, SYN_E_INVALID, "event %zu: a number above 2^63 - 1", index);
    if (event->name != 0 && event->name >= data->names_count)
        return SYN_FAIL(err, SYN_E_INVALID, "event %zu: no name %" PRIu32, index, event->name);
    if (event->source > SYN_POWER_MODELLED)
        return SYN_FAIL(err, SYN_E_INVALID, "event %zu: no source %u", index, event->source);
    return SYN_OK;
}

/* The track of an event as one number that sorts: kind, a, b. False: it is on none. */
static bool
track_key(const struct syn_trace_event *event, uint64_t *ret_key)
{
    uint64_t kind = TRACE_WORKER, a = event->worker, b = 0;

    switch ((enum syn_trace_kind)event->kind) {
    case SYN_TRACE_TASK:
    case SYN_TRACE_PARK:
    case SYN_TRACE_MARK:
        break;
    case SYN_TRACE_TRANSFER:
        kind = TRACE_LINK;
        b = event->to;
        break;
    case SYN_TRACE_EVICTION:
        kind = TRACE_NODE;
        break;
    case SYN_TRACE_DEPENDENCY:
    case SYN_TRACE_ENERGY:
    case SYN_TRACE_MEMORY:
    case SYN_TRACE_KINDS:
        return false;
    }
    if (event->kind == SYN_TRACE_MARK && a == SYN_TRACE_NONE)
        return false;
    *ret_key = kind << 32 | a << 16 | b;
    return true;
}

static int
by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void
name_track(const struct trace_view *view, struct trace_track *track)
{
    const struct syn_trace_scene *scene = &view->data->scene;
    char from[TRACE_LABEL_MAX], to[TRACE_LABEL_MAX], text[TRACE_LABEL_MAX + 8];

    switch (track->kind) {
    case TRACE_WORKER:
        if (track->a < scene->workers_count)
            (void)snprintf(text, sizeof(text), "%.*s", SYN_TRACE_TEXT_MAX,
                           scene->workers[track->a].name);
        else if (track->a == SYN_TRACE_NONE)
            (void)snprintf(text, sizeof(text), "no worker");
        else
            (void)snprintf(text, sizeof(text), "worker %u", track->a);
        break;
    case TRACE_LINK:
        (void)snprintf(text, sizeof(text), "%.*s to %.*s", SYN_TRACE_TEXT_MAX,
                       trace_node_name(view, track->a, from), SYN_TRACE_TEXT_MAX,
                       trace_node_name(view, track->b, to));
        break;
    case TRACE_NODE:
        (void)snprintf(text, sizeof(text), "memory of %.*s", SYN_TRACE_TEXT_MAX,
                       trace_node_name(view, track->a, from));
        break;
    }
    memcpy(track->name, text, TRACE_LABEL_MAX);
    track->name[TRACE_LABEL_MAX - 1] = '\0';
}

static void
make_track(const struct trace_view *view, uint64_t key, struct trace_track *ret)
{
    const struct syn_trace_scene *scene = &view->data->scene;

    *ret = (struct trace_track){.kind = (enum trace_track_kind)(key >> 32),
                                .a = (uint16_t)(key >> 16),
                                .b = (uint16_t)key,
                                .device = SYN_TRACE_NONE,
                                .lanes = 1};
    if (ret->kind == TRACE_WORKER && ret->a < scene->workers_count)
        ret->device = scene->workers[ret->a].device;
    ret->modelled = trace_modelled(view, ret->device);
    name_track(view, ret);
}

/* Every worker of the scene, and what else events are about. */
static int
make_tracks(struct trace_view *view, struct syn_err *err)
{
    const struct syn_trace_data *data = view->data;
    size_t count = 0, room = data->scene.workers_count + view->bars_count, distinct = 0;
    uint64_t *keys = syn_calloc(room + 1, sizeof(*keys));

    if (keys == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the tracks of a trace");
    for (; count < data->scene.workers_count; count++)
        keys[count] = (uint64_t)count << 16;
    for (size_t i = 0; i < view->bars_count; i++)
        if (track_key(view->bars[i].event, &keys[count]))
            count++;
    qsort(keys, count, sizeof(*keys), by_key);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || keys[i] != keys[distinct - 1])
            keys[distinct++] = keys[i];
    view->tracks = syn_calloc(distinct + 1, sizeof(*view->tracks));
    for (size_t i = 0; i < distinct && view->tracks != NULL; i++)
        make_track(view, keys[i], &view->tracks[i]);
    view->tracks_count = distinct;
    for (size_t i = 0; i < view->bars_count && view->tracks != NULL; i++) {
        struct trace_bar *bar = &view->bars[i];
        const uint64_t *found;
        uint64_t key;

        bar->track = TRACE_NO_TRACK;
        if (!track_key(bar->event, &key))
            continue;
        found = bsearch(&key, keys, distinct, sizeof(key), by_key);
        bar->track = (uint32_t)(found - keys);
    }
    syn_free(keys);
    return view->tracks != NULL ? SYN_OK
                                : SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a trace's tracks");
}

static int
make_lanes(struct trace_view *view, struct syn_err *err)
{
    uint64_t(*ends)[TRACE_LANES_MAX] = syn_calloc(view->tracks_count + 1, sizeof(*ends));

    if (ends == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the lanes of a trace");
    for (size_t i = 0; i < view->bars_count; i++) {
        struct trace_bar *bar = &view->bars[i];
        struct trace_track *track;
        uint16_t lane = 0;

        if (bar->track == TRACE_NO_TRACK ||
            (bar->event->kind != SYN_TRACE_TASK && bar->event->kind != SYN_TRACE_TRANSFER))
            continue;
        track = &view->tracks[bar->track];
        while (lane + 1 < TRACE_LANES_MAX && ends[bar->track][lane] > bar->begin_ns)
            lane++;
        ends[bar->track][lane] = SYN_MAX(ends[bar->track][lane], bar->event->end_ns);
        bar->lane = lane;
        track->lanes = (uint16_t)SYN_MAX(track->lanes, lane + 1);
    }
    syn_free(ends);
    return SYN_OK;
}

/* By beginning; of those that begin together the longer first; at last by how they came. */
static int
by_begin(const void *a, const void *b)
{
    const struct trace_bar *x = a, *y = b;

    if (x->begin_ns != y->begin_ns)
        return x->begin_ns < y->begin_ns ? -1 : 1;
    if (x->event->end_ns != y->event->end_ns)
        return x->event->end_ns > y->event->end_ns ? -1 : 1;
    return (x->event > y->event) - (x->event < y->event);
}

static int
by_task(const void *a, const void *b)
{
    const struct trace_bar *x = *(const struct trace_bar *const *)a;
    const struct trace_bar *y = *(const struct trace_bar *const *)b;

    return (x->event->id > y->event->id) - (x->event->id < y->event->id);
}

static int
by_edge(const void *a, const void *b)
{
    const struct syn_trace_event *x = *(const struct syn_trace_event *const *)a;
    const struct syn_trace_event *y = *(const struct syn_trace_event *const *)b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->before > y->before) - (x->before < y->before);
}

/* Sort the events into bars and edges, and see from when to when they last. */
static void
fill(struct trace_view *view)
{
    view->begin_ns = UINT64_MAX;
    for (size_t i = 0; i < view->data->events_count; i++) {
        const struct syn_trace_event *event = &view->data->events[i];
        struct trace_bar *bar = &view->bars[view->bars_count];
        uint64_t wait_ns = event->kind == SYN_TRACE_TASK ? event->wait_ns : 0;

        if (event->kind == SYN_TRACE_DEPENDENCY) {
            view->edges[view->edges_count++] = event;
            continue;
        }
        *bar = (struct trace_bar){.event = event};
        bar->begin_ns = event->begin_ns - SYN_MIN(wait_ns, event->begin_ns);
        view->begin_ns = SYN_MIN(view->begin_ns, bar->begin_ns);
        view->end_ns = SYN_MAX(view->end_ns, event->end_ns);
        view->bars_count++;
    }
    view->begin_ns = SYN_MIN(view->begin_ns, view->end_ns);
    qsort(view->bars, view->bars_count, sizeof(*view->bars), by_begin);
    qsort(view->edges, view->edges_count, sizeof(struct syn_trace_event *), by_edge);
    for (size_t i = 0; i < view->bars_count; i++)
        if (view->bars[i].event->kind == SYN_TRACE_TASK)
            view->tasks[view->tasks_count++] = &view->bars[i];
    qsort(view->tasks, view->tasks_count, sizeof(struct trace_bar *), by_task);
}

int
trace_view_init(struct trace_view *view, const struct syn_trace_data *data, struct syn_err *err)
{
    int rc = 0;

    *view = (struct trace_view){.data = data};
    if (data->events_count > SYN_TRACE_EVENTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "at most %zu events", SYN_TRACE_EVENTS_MAX);
    for (size_t i = 0; i < data->events_count && rc == 0; i++)
        rc = check_event(data, i, err);
    if (rc < 0)
        return rc;
    view->bars = syn_calloc(data->events_count + 1, sizeof(*view->bars));
    view->tasks = syn_calloc(data->events_count + 1, sizeof(struct trace_bar *));
    view->edges = syn_calloc(data->events_count + 1, sizeof(struct syn_trace_event *));
    if (view->bars == NULL || view->tasks == NULL || view->edges == NULL) {
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu events", data->events_count);
    } else {
        fill(view);
        rc = make_tracks(view, err);
    }
    if (rc == 0)
        rc = make_lanes(view, err);
    if (rc < 0)
        trace_view_fini(view);
    return rc;
}

void
trace_view_fini(struct trace_view *view)
{
    syn_free(view->bars);
    syn_free(view->tracks);
    syn_free((void *)view->tasks);
    syn_free((void *)view->edges);
    *view = (struct trace_view){0};
}

const struct trace_bar *
trace_find_task(const struct trace_view *view, uint64_t id)
{
    struct syn_trace_event event = {.id = id};
    struct trace_bar bar = {.event = &event};
    const struct trace_bar *key = &bar, *const * found;

    found = bsearch(&key, view->tasks, view->tasks_count, sizeof(struct trace_bar *), by_task);
    return found != NULL ? *found : NULL;
}

const char *
trace_event_name(const struct trace_view *view, const struct syn_trace_event *event)
{
    if (event->name != 0)
        return view->data->names[event->name];
    return event->kind == SYN_TRACE_MARK ? "mark" : "task";
}

const char *
trace_device_name(const struct trace_view *view, uint16_t device, char *out)
{
    const struct syn_trace_scene *scene = &view->data->scene;

    if (device == SYN_TRACE_NONE)
        out[0] = '\0';
    else if (device < scene->devices_count)
        (void)snprintf(out, TRACE_LABEL_MAX, "%.*s%s", SYN_TRACE_TEXT_MAX,
                       scene->devices[device].name,
                       scene->devices[device].modelled ? " (modelled)" : "");
    else
        (void)snprintf(out, TRACE_LABEL_MAX, "device %u", device);
    return out;
}

const char *
trace_node_name(const struct trace_view *view, uint16_t node, char *out)
{
    const struct syn_trace_scene *scene = &view->data->scene;

    if (node < scene->nodes_count)
        (void)snprintf(out, TRACE_LABEL_MAX, "%.*s", SYN_TRACE_TEXT_MAX, scene->nodes[node].name);
    else
        (void)snprintf(out, TRACE_LABEL_MAX, "node %u", node);
    return out;
}

bool
trace_modelled(const struct trace_view *view, uint16_t device)
{
    return device < view->data->scene.devices_count && view->data->scene.devices[device].modelled;
}

const char *
trace_source_name(const struct syn_trace_event *event)
{
    return event->energy_uj == SYN_TRACE_UNKNOWN
               ? syn_power_source_name(SYN_POWER_UNKNOWN)
               : syn_power_source_name((enum syn_power_source)event->source);
}
