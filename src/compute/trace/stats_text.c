/* Statistics of a trace as a table for people and as JSON for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "stats_priv.h"

#define NAME_WIDTH 24

/* `part` of `whole` as "12.3 %", in integers. */
static const char *
percent(uint64_t part, uint64_t whole, char *out)
{
    uint64_t permille = whole == 0 ? 0 : (uint64_t)((syn_u128)part * 1000 / whole);

    (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%" PRIu64 " %%", permille / 10,
                   permille % 10);
    return out;
}

/* "1.2 J measured, 3.4 J modelled", or "unknown". */
static void
write_energy(struct syn_buf *out, const struct trace_energy *energy, const char *one)
{
    char text[TRACE_LABEL_MAX];
    const char *between = "";

    if (energy->measured_uj != 0) {
        syn_buf_addf(out, "%s measured", trace_joules(energy->measured_uj, text));
        between = ", ";
    }
    if (energy->modelled_uj != 0) {
        syn_buf_addf(out, "%s%s modelled", between, trace_joules(energy->modelled_uj, text));
        between = ", ";
    }
    if (*between == '\0')
        syn_buf_adds(out, "unknown");
    else if (energy->unknown != 0)
        syn_buf_addf(out, ", unknown of %" PRIu64 " %s%s", energy->unknown, one,
                     energy->unknown == 1 ? "" : "s");
}

static void
write_head(struct syn_buf *out, const struct trace_stats *stats)
{
    const struct syn_trace_data *data = stats->view->data;
    char text[TRACE_LABEL_MAX];

    if (data->title != NULL) {
        trace_plain(out, data->title, 0);
        syn_buf_addc(out, '\n');
    }
    syn_buf_addf(out, "%s in all, ", trace_time(stats->span_ns, text));
    syn_buf_addf(out, "%s on the longest chain of tasks\n", trace_time(stats->critical_ns, text));
    syn_buf_addf(out, "%zu tasks, %" PRIu64 " failed or canceled, %zu dependencies\n",
                 stats->view->tasks_count, stats->failed, stats->view->edges_count);
    if (data->dropped != 0)
        syn_buf_addf(out, "incomplete: %" PRIu64 " events were dropped\n", data->dropped);
}

static void
write_workers(struct syn_buf *out, const struct trace_stats *stats)
{
    const struct trace_view *view = stats->view;
    char text[TRACE_LABEL_MAX];

    syn_buf_adds(out, "\n");
    trace_plain(out, "worker", NAME_WIDTH);
    trace_plain(out, "device", NAME_WIDTH);
    syn_buf_adds(out, "   tasks      busy  for data      idle    parked\n");
    for (size_t i = 0; i < view->tracks_count; i++) {
        const struct trace_track *track = &view->tracks[i];
        const struct trace_track_stats *figures = &stats->tracks[i];
        uint64_t used_ns = figures->busy_ns + figures->wait_ns;

        if (track->kind != TRACE_WORKER)
            continue;
        trace_plain(out, track->name, NAME_WIDTH);
        trace_plain(out, trace_device_name(view, track->device, text), NAME_WIDTH);
        syn_buf_addf(out, "%8" PRIu64, figures->count);
        syn_buf_addf(out, "%10s", percent(figures->busy_ns, stats->span_ns, text));
        syn_buf_addf(out, "%10s", percent(figures->wait_ns, stats->span_ns, text));
        syn_buf_addf(
            out, "%10s",
            percent(stats->span_ns - SYN_MIN(used_ns, stats->span_ns), stats->span_ns, text));
        syn_buf_addf(out, "%10s\n", percent(figures->park_ns, stats->span_ns, text));
    }
}

static void
write_kernels(struct syn_buf *out, const struct trace_stats *stats)
{
    char text[TRACE_LABEL_MAX];

    syn_buf_adds(out, "\n");
    trace_plain(out, "kernel", NAME_WIDTH);
    syn_buf_adds(out, "    runs  failed       total        mean         p50         p95         max"
                      "  energy\n");
    for (size_t i = 0; i < stats->kernels_count; i++) {
        const struct trace_kernel_stats *kernel = &stats->kernels[i];
        const uint64_t times[] = {kernel->total_ns, kernel->mean_ns, kernel->p50_ns, kernel->p95_ns,
                                  kernel->max_ns};

        trace_plain(out, kernel->name == 0 ? "task" : stats->view->data->names[kernel->name],
                    NAME_WIDTH);
        syn_buf_addf(out, "%8" PRIu64 "%8" PRIu64, kernel->count, kernel->failed);
        for (size_t j = 0; j < SYN_LEN(times); j++)
            syn_buf_addf(out, "%12s",
                         kernel->count == kernel->failed ? "-" : trace_time(times[j], text));
        syn_buf_adds(out, "  ");
        write_energy(out, &kernel->energy, "task");
        syn_buf_addc(out, '\n');
    }
}

static void
write_links(struct syn_buf *out, const struct trace_stats *stats)
{
    const struct trace_view *view = stats->view;
    char text[TRACE_LABEL_MAX];
    bool some = false;

    for (size_t i = 0; i < view->tracks_count; i++) {
        const struct trace_track_stats *figures = &stats->tracks[i];

        if (view->tracks[i].kind != TRACE_LINK)
            continue;
        if (!some) {
            syn_buf_adds(out, "\n");
            trace_plain(out, "transfers", 2 * NAME_WIDTH);
            syn_buf_adds(out, "   count       bytes        busy        MB/s\n");
        }
        some = true;
        trace_plain(out, view->tracks[i].name, 2 * NAME_WIDTH);
        syn_buf_addf(out, "%8" PRIu64 "%12s", figures->count, trace_bytes(figures->bytes, text));
        syn_buf_addf(out, "%12s", trace_time(figures->busy_ns, text));
        if (figures->busy_ns != 0)
            syn_buf_addf(out, "%12" PRIu64 "\n",
                         (uint64_t)((syn_u128)figures->bytes * 1000 / figures->busy_ns));
        else
            syn_buf_addf(out, "%12s\n", "-");
    }
    if (stats->evictions != 0)
        syn_buf_addf(out, "%s%" PRIu64 " eviction%s of %s\n", some ? "" : "\n", stats->evictions,
                     stats->evictions == 1 ? "" : "s", trace_bytes(stats->evicted_bytes, text));
}

static void
write_devices(struct syn_buf *out, const struct trace_stats *stats)
{
    char text[TRACE_LABEL_MAX];

    syn_buf_adds(out, "\nenergy\n");
    for (size_t i = 0; i < stats->devices_count; i++) {
        trace_plain(out, trace_device_name(stats->view, stats->devices[i].device, text),
                    NAME_WIDTH);
        write_energy(out, &stats->devices[i].energy, "measurement");
        syn_buf_addc(out, '\n');
    }
    trace_plain(out, "all devices", NAME_WIDTH);
    write_energy(out, &stats->run, "measurement");
    syn_buf_addc(out, '\n');
    trace_plain(out, "of it, tasks", NAME_WIDTH);
    write_energy(out, &stats->tasks, "task");
    syn_buf_addc(out, '\n');
}

int
syn_trace_write_stats(const struct syn_trace_data *data, struct syn_buf *out, struct syn_err *err)
{
    struct trace_view view;
    struct trace_stats stats;
    int rc = trace_view_init(&view, data, err);

    if (rc < 0)
        return rc;
    rc = trace_stats_init(&stats, &view, err);
    if (rc == 0) {
        write_head(out, &stats);
        write_workers(out, &stats);
        write_kernels(out, &stats);
        write_links(out, &stats);
        write_devices(out, &stats);
        rc = syn_buf_ok(out, err);
        trace_stats_fini(&stats);
    }
    trace_view_fini(&view);
    return rc;
}

static void
json_energy(struct syn_buf *out, const char *key, const struct trace_energy *energy)
{
    syn_buf_addf(out,
                 ",\"%s\":{\"measured_uj\":%" PRIu64 ",\"modelled_uj\":%" PRIu64
                 ",\"unknown\":%" PRIu64 "}",
                 key, energy->measured_uj, energy->modelled_uj, energy->unknown);
}

static void
json_head(struct syn_buf *out, const struct trace_stats *stats)
{
    const struct syn_trace_data *data = stats->view->data;

    syn_buf_adds(out, "{\"title\":");
    trace_json(out, data->title != NULL ? data->title : "");
    syn_buf_addf(out,
                 ",\"span_ns\":%" PRIu64 ",\"critical_ns\":%" PRIu64
                 ",\"tasks\":%zu,\"failed\":%" PRIu64 ",\"dependencies\":%zu,\"dropped\":%" PRIu64
                 ",\"evictions\":%" PRIu64 ",\"evicted_bytes\":%" PRIu64,
                 stats->span_ns, stats->critical_ns, stats->view->tasks_count, stats->failed,
                 stats->view->edges_count, data->dropped, stats->evictions, stats->evicted_bytes);
    json_energy(out, "energy_devices", &stats->run);
    json_energy(out, "energy_tasks", &stats->tasks);
}

/* Every track of one kind, in an array under `key`. */
static void
json_tracks(struct syn_buf *out, const struct trace_stats *stats, const char *key,
            enum trace_track_kind kind)
{
    const struct trace_view *view = stats->view;
    char device[TRACE_LABEL_MAX];
    bool some = false;

    syn_buf_addf(out, ",\n\"%s\":[", key);
    for (size_t i = 0; i < view->tracks_count; i++) {
        const struct trace_track *track = &view->tracks[i];
        const struct trace_track_stats *figures = &stats->tracks[i];
        uint64_t used_ns = SYN_MIN(figures->busy_ns + figures->wait_ns, stats->span_ns);

        if (track->kind != kind)
            continue;
        syn_buf_addf(out, "%s\n{\"name\":", some ? "," : "");
        some = true;
        trace_json(out, track->name);
        syn_buf_addf(out, ",\"count\":%" PRIu64 ",\"busy_ns\":%" PRIu64, figures->count,
                     figures->busy_ns);
        if (kind == TRACE_LINK) {
            syn_buf_addf(out, ",\"bytes\":%" PRIu64 "}", figures->bytes);
            continue;
        }
        syn_buf_adds(out, ",\"device\":");
        trace_json(out, trace_device_name(view, track->device, device));
        syn_buf_addf(out,
                     ",\"modelled\":%s,\"wait_ns\":%" PRIu64 ",\"idle_ns\":%" PRIu64
                     ",\"park_ns\":%" PRIu64 "}",
                     track->modelled ? "true" : "false", figures->wait_ns, stats->span_ns - used_ns,
                     figures->park_ns);
    }
    syn_buf_adds(out, "]");
}

static void
json_kernels(struct syn_buf *out, const struct trace_stats *stats)
{
    syn_buf_adds(out, ",\n\"kernels\":[");
    for (size_t i = 0; i < stats->kernels_count; i++) {
        const struct trace_kernel_stats *kernel = &stats->kernels[i];

        syn_buf_addf(out, "%s\n{\"name\":", i > 0 ? "," : "");
        trace_json(out, kernel->name == 0 ? "task" : stats->view->data->names[kernel->name]);
        syn_buf_addf(out, ",\"count\":%" PRIu64 ",\"failed\":%" PRIu64, kernel->count,
                     kernel->failed);
        if (kernel->count != kernel->failed)
            syn_buf_addf(out,
                         ",\"total_ns\":%" PRIu64 ",\"min_ns\":%" PRIu64 ",\"mean_ns\":%" PRIu64
                         ",\"p50_ns\":%" PRIu64 ",\"p95_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64,
                         kernel->total_ns, kernel->min_ns, kernel->mean_ns, kernel->p50_ns,
                         kernel->p95_ns, kernel->max_ns);
        json_energy(out, "energy", &kernel->energy);
        syn_buf_adds(out, "}");
    }
    syn_buf_adds(out, "]");
}

static void
json_devices(struct syn_buf *out, const struct trace_stats *stats)
{
    char name[TRACE_LABEL_MAX];

    syn_buf_adds(out, ",\n\"devices\":[");
    for (size_t i = 0; i < stats->devices_count; i++) {
        uint16_t device = stats->devices[i].device;

        syn_buf_addf(out, "%s\n{\"name\":", i > 0 ? "," : "");
        trace_json(out, trace_device_name(stats->view, device, name));
        syn_buf_addf(out, ",\"modelled\":%s",
                     trace_modelled(stats->view, device) ? "true" : "false");
        json_energy(out, "energy", &stats->devices[i].energy);
        syn_buf_adds(out, "}");
    }
    syn_buf_adds(out, "]}\n");
}

int
syn_trace_write_stats_json(const struct syn_trace_data *data, struct syn_buf *out,
                           struct syn_err *err)
{
    struct trace_view view;
    struct trace_stats stats;
    int rc = trace_view_init(&view, data, err);

    if (rc < 0)
        return rc;
    rc = trace_stats_init(&stats, &view, err);
    if (rc == 0) {
        json_head(out, &stats);
        json_tracks(out, &stats, "workers", TRACE_WORKER);
        json_kernels(out, &stats);
        json_tracks(out, &stats, "transfers", TRACE_LINK);
        json_devices(out, &stats);
        rc = syn_buf_ok(out, err);
        trace_stats_fini(&stats);
    }
    trace_view_fini(&view);
    return rc;
}
