/* Statistics of a trace.
 *
 * Times of a worker are unions of stretches of time: a task that helps while another one waits does
 * not make the worker busy twice. A percentile is the smallest time that at least so many of a
 * hundred runs did not exceed. */
#include <stdlib.h>

#include <synor/base/mem.h>

#include "stats_priv.h"

struct stretch {
    uint32_t track;
    uint64_t begin_ns, end_ns;
};

static int
by_track(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;

    if (x->track != y->track)
        return x->track < y->track ? -1 : 1;
    return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

/* Add the time that the stretches cover to each track's figure, which lies `offset` bytes into its
 * statistics. */
static void
add_unions(struct trace_stats *stats, struct stretch *stretches, size_t count, size_t offset)
{
    uint64_t covered = 0;

    qsort(stretches, count, sizeof(*stretches), by_track);
    for (size_t i = 0; i < count; i++) {
        const struct stretch *stretch = &stretches[i];
        uint64_t *figure = (uint64_t *)(void *)((char *)&stats->tracks[stretch->track] + offset);

        if (i == 0 || stretch->track != stretches[i - 1].track)
            covered = 0;
        if (stretch->end_ns > covered)
            *figure += stretch->end_ns - SYN_MAX(stretch->begin_ns, covered);
        covered = SYN_MAX(covered, stretch->end_ns);
    }
}

/* The unions of one kind of event, with or without a task's wait for its data. */
static int
measure(struct trace_stats *stats, enum syn_trace_kind kind, bool with_wait, size_t offset,
        struct syn_err *err)
{
    const struct trace_view *view = stats->view;
    struct stretch *stretches = syn_calloc(view->bars_count + 1, sizeof(*stretches));
    size_t count = 0;

    if (stretches == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the statistics of a trace");
    for (size_t i = 0; i < view->bars_count; i++) {
        const struct trace_bar *bar = &view->bars[i];

        if (bar->event->kind == kind)
            stretches[count++] = (struct stretch){
                bar->track, with_wait ? bar->begin_ns : bar->event->begin_ns, bar->event->end_ns};
    }
    add_unions(stats, stretches, count, offset);
    syn_free(stretches);
    return SYN_OK;
}

static int
count_tracks(struct trace_stats *stats, struct syn_err *err)
{
    const struct trace_view *view = stats->view;
    const size_t busy = offsetof(struct trace_track_stats, busy_ns);
    const size_t wait = offsetof(struct trace_track_stats, wait_ns);
    const size_t park = offsetof(struct trace_track_stats, park_ns);
    int rc;

    stats->tracks = syn_calloc(view->tracks_count + 1, sizeof(*stats->tracks));
    if (stats->tracks == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the statistics of a trace");
    for (uint32_t i = 0; i < view->tracks_count; i++)
        stats->tracks[i].track = i;
    rc = measure(stats, SYN_TRACE_TASK, true, wait, err);
    if (rc == 0)
        rc = measure(stats, SYN_TRACE_TASK, false, busy, err);
    for (size_t i = 0; i < view->tracks_count; i++)
        stats->tracks[i].wait_ns -= stats->tracks[i].busy_ns; /* the first covers the second */
    if (rc == 0)
        rc = measure(stats, SYN_TRACE_TRANSFER, false, busy, err);
    if (rc == 0)
        rc = measure(stats, SYN_TRACE_PARK, false, park, err);
    return rc;
}

/* Sums stay within what one event may say. */
static void
add_up(uint64_t *sum, uint64_t more)
{
    *sum = SYN_MIN(*sum + more, (uint64_t)INT64_MAX);
}

static void
add_energy(struct trace_energy *sum, const struct syn_trace_event *event)
{
    if (event->energy_uj == SYN_TRACE_UNKNOWN || event->source == SYN_POWER_UNKNOWN)
        sum->unknown++;
    else if (event->source == SYN_POWER_MEASURED)
        add_up(&sum->measured_uj, event->energy_uj);
    else
        add_up(&sum->modelled_uj, event->energy_uj);
}

static void
count_events(struct trace_stats *stats)
{
    const struct trace_view *view = stats->view;

    for (size_t i = 0; i < view->bars_count; i++) {
        const struct trace_bar *bar = &view->bars[i];
        const struct syn_trace_event *event = bar->event;

        if (event->kind == SYN_TRACE_TASK) {
            stats->tracks[bar->track].count++;
            stats->failed += event->code != 0;
            add_energy(&stats->tasks, event);
        } else if (event->kind == SYN_TRACE_TRANSFER) {
            stats->tracks[bar->track].count++;
            add_up(&stats->tracks[bar->track].bytes, event->bytes);
        } else if (event->kind == SYN_TRACE_EVICTION) {
            stats->evictions++;
            add_up(&stats->evicted_bytes, event->bytes);
        } else if (event->kind == SYN_TRACE_ENERGY) {
            add_energy(&stats->run, event);
        }
    }
}

static uint64_t
length(const struct syn_trace_event *event)
{
    return event->end_ns - event->begin_ns;
}

/* By kernel; of one the failed first, then by how long they took. */
static int
by_kernel(const void *a, const void *b)
{
    const struct syn_trace_event *x = (*(const struct trace_bar *const *)a)->event;
    const struct syn_trace_event *y = (*(const struct trace_bar *const *)b)->event;

    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    if ((x->code != 0) != (y->code != 0))
        return x->code != 0 ? -1 : 1;
    return (length(x) > length(y)) - (length(x) < length(y));
}

/* The runs of one kernel, sorted. */
static void
count_kernel(struct trace_kernel_stats *kernel, const struct trace_bar *const *runs, size_t count)
{
    const struct trace_bar *const *good = runs;

    kernel->name = runs[0]->event->name;
    kernel->count = count;
    for (size_t i = 0; i < count; i++) {
        add_energy(&kernel->energy, runs[i]->event);
        if (runs[i]->event->code != 0)
            kernel->failed++;
        else
            add_up(&kernel->total_ns, length(runs[i]->event));
    }
    good += kernel->failed;
    count -= kernel->failed;
    if (count == 0)
        return;
    kernel->min_ns = length(good[0]->event);
    kernel->mean_ns = kernel->total_ns / count;
    kernel->p50_ns = length(good[(count * 50 + 99) / 100 - 1]->event);
    kernel->p95_ns = length(good[(count * 95 + 99) / 100 - 1]->event);
    kernel->max_ns = length(good[count - 1]->event);
}

static int
count_kernels(struct trace_stats *stats, struct syn_err *err)
{
    const struct trace_view *view = stats->view;
    const struct trace_bar **runs = syn_calloc(view->tasks_count + 1, sizeof(struct trace_bar *));
    size_t first = 0;

    stats->kernels = syn_calloc((size_t)view->data->names_count + 1, sizeof(*stats->kernels));
    if (runs == NULL || stats->kernels == NULL) {
        syn_free((void *)runs);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the statistics of a trace");
    }
    for (size_t i = 0; i < view->tasks_count; i++)
        runs[i] = view->tasks[i];
    qsort((void *)runs, view->tasks_count, sizeof(struct trace_bar *), by_kernel);
    for (size_t i = 1; i <= view->tasks_count; i++)
        if (i == view->tasks_count || runs[i]->event->name != runs[first]->event->name) {
            count_kernel(&stats->kernels[stats->kernels_count++], &runs[first], i - first);
            first = i;
        }
    syn_free((void *)runs);
    return SYN_OK;
}

/* Devices that anything is known of, in the scene or by their energy. */
static int
count_devices(struct trace_stats *stats, struct syn_err *err)
{
    const struct trace_view *view = stats->view;
    size_t count = view->data->scene.devices_count;

    for (size_t i = 0; i < view->bars_count; i++)
        if (view->bars[i].event->kind == SYN_TRACE_ENERGY)
            count = SYN_MAX(count, (size_t)view->bars[i].event->device + 1);
    stats->devices = syn_calloc(count + 1, sizeof(*stats->devices));
    if (stats->devices == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the statistics of a trace");
    stats->devices_count = count;
    for (size_t i = 0; i < count; i++)
        stats->devices[i].device = (uint16_t)i;
    for (size_t i = 0; i < view->bars_count; i++)
        if (view->bars[i].event->kind == SYN_TRACE_ENERGY)
            add_energy(&stats->devices[view->bars[i].event->device].energy, view->bars[i].event);
    return SYN_OK;
}

/* The edges into a task lie together. */
static const struct syn_trace_event *const *
edges_into(const struct trace_view *view, uint64_t id)
{
    size_t low = 0, high = view->edges_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (view->edges[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return &view->edges[low];
}

/* The longest chain: tasks in the order in which they began, so that those that one needs come
 * before it; an edge that says otherwise cannot have held and does not count. */
static int
find_critical(struct trace_stats *stats, struct syn_err *err)
{
    const struct trace_view *view = stats->view;
    const struct syn_trace_event *const *end = &view->edges[view->edges_count];
    uint64_t *chain = syn_calloc(view->bars_count + 1, sizeof(*chain)); /* by bar, up to its end */

    if (chain == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the statistics of a trace");
    for (size_t i = 0; i < view->bars_count; i++) {
        const struct syn_trace_event *task = view->bars[i].event;
        uint64_t longest = 0;

        if (task->kind != SYN_TRACE_TASK)
            continue;
        for (const struct syn_trace_event *const *edge = edges_into(view, task->id);
             edge < end && (*edge)->id == task->id; edge++) {
            const struct trace_bar *before = trace_find_task(view, (*edge)->before);

            if (before != NULL && before < &view->bars[i])
                longest = SYN_MAX(longest, chain[before - view->bars]);
        }
        chain[i] = longest;
        add_up(&chain[i], length(task));
        stats->critical_ns = SYN_MAX(stats->critical_ns, chain[i]);
    }
    syn_free(chain);
    return SYN_OK;
}

int
trace_stats_init(struct trace_stats *stats, const struct trace_view *view, struct syn_err *err)
{
    int rc;

    *stats = (struct trace_stats){.view = view, .span_ns = view->end_ns - view->begin_ns};
    rc = count_tracks(stats, err);
    if (rc == 0)
        rc = count_kernels(stats, err);
    if (rc == 0)
        rc = count_devices(stats, err);
    if (rc == 0)
        rc = find_critical(stats, err);
    if (rc == 0)
        count_events(stats);
    else
        trace_stats_fini(stats);
    return rc;
}

void
trace_stats_fini(struct trace_stats *stats)
{
    syn_free(stats->tracks);
    syn_free(stats->kernels);
    syn_free(stats->devices);
    *stats = (struct trace_stats){0};
}
