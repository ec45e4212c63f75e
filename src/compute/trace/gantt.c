/* A Gantt chart as SVG: one file, no script, no font of its own, nothing to load.
 *
 *     title, span, what is missing
 *     axis     0 us     50 us     100 us
 *     worker 0 |====gemm====|..|==trsm==|
 *     cuda0    |///gemm///|                    hatched: modelled
 *     legend
 *
 * Positions are tenths of a pixel, in integers. A bar that lies wholly within the last pixel drawn
 * of its row is left out, so that the file is bounded by the size of the picture, not by the trace;
 * the picture says how many. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>

#include "trace_priv.h"

#define WIDTH         1200
#define LEFT          210 /* room for the names of rows */
#define PLOT          960
#define LABEL_LETTERS 32 /* letters that there is room for; longer names are squeezed */
#define SQUEEZED      " class=\"name\" textLength=\"196\" lengthAdjust=\"spacingAndGlyphs\""
#define TOP           74
#define ROW           18
#define THIN          8 /* a transfer: it takes a link, not a processor */
#define GAP           5 /* between tracks */
#define LEGEND_MAX    40
#define LEGEND_ROW    18
#define LEGEND_COL    290

struct gantt {
    const struct trace_view *view;
    struct syn_buf *out;
    uint32_t *first_row; /* of a track */
    uint64_t *drawn;     /* by row: up to where something is drawn, in tenths */
    uint32_t rows;
    size_t thin; /* left out */
};

/* What the legend says of one kernel. */
struct use {
    uint64_t count, ns;
};

static uint64_t
x_of(const struct gantt *gantt, uint64_t ns)
{
    const struct trace_view *view = gantt->view;
    uint64_t span = view->end_ns - view->begin_ns;

    return (uint64_t)LEFT * 10 +
           (span == 0 ? 0 : (uint64_t)((syn_u128)(ns - view->begin_ns) * PLOT * 10 / span));
}

static uint32_t
y_of(const struct gantt *gantt, uint32_t track, uint16_t lane)
{
    return TOP + (gantt->first_row[track] + lane) * ROW + track * GAP;
}

static uint32_t
bottom(const struct gantt *gantt)
{
    return TOP + gantt->rows * ROW + (uint32_t)gantt->view->tracks_count * GAP;
}

static void
add_x(struct gantt *gantt, const char *key, uint64_t tenths)
{
    syn_buf_addf(gantt->out, " %s=\"%" PRIu64 ".%" PRIu64 "\"", key, tenths / 10, tenths % 10);
}

/* A rectangle without its end: "/>" or a tooltip follows. At least half a pixel wide. */
static void
begin_rect(struct gantt *gantt, uint64_t from, uint64_t to, uint32_t y, uint32_t height)
{
    syn_buf_adds(gantt->out, "<rect");
    add_x(gantt, "x", from);
    add_x(gantt, "width", SYN_MAX(to - from, UINT64_C(5)));
    syn_buf_addf(gantt->out, " y=\"%" PRIu32 "\" height=\"%" PRIu32 "\"", y, height);
}

static void
write_text(struct gantt *gantt, uint64_t x, uint32_t y, const char *attributes, const char *text)
{
    syn_buf_adds(gantt->out, "<text");
    add_x(gantt, "x", x);
    syn_buf_addf(gantt->out, " y=\"%" PRIu32 "\"%s>", y, attributes);
    trace_xml(gantt->out, text);
    syn_buf_adds(gantt->out, "</text>\n");
}

static void
write_head(struct gantt *gantt, uint32_t height)
{
    const struct syn_trace_data *data = gantt->view->data;
    char span[TRACE_LABEL_MAX], text[2 * TRACE_LABEL_MAX];
    const char *title = data->title != NULL ? data->title : "Trace";
    int at;

    syn_buf_addf(gantt->out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%d\" "
                 "height=\"%" PRIu32 "\" viewBox=\"0 0 %d %" PRIu32 "\">\n<title>",
                 WIDTH, height, WIDTH, height);
    trace_xml(gantt->out, title);
    syn_buf_adds(gantt->out,
                 "</title>\n<style>text{font:11px sans-serif;fill:#222}.title{font-size:16px}"
                 ".name{text-anchor:end}.tick{text-anchor:middle;fill:#666}"
                 ".wait{fill:#e4e4e4}.park{fill:#bbb}.move{fill:#9999cc}"
                 ".bad{stroke:#c00;stroke-width:2}</style>\n"
                 "<defs><pattern id=\"modelled\" width=\"6\" height=\"6\" "
                 "patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
                 "<path d=\"M0 0V6\" stroke=\"#000\" stroke-opacity=\"0.3\" "
                 "stroke-width=\"2\"/></pattern></defs>\n"
                 "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    write_text(gantt, 100, 24, " class=\"title\"", title);
    at = snprintf(text, sizeof(text), "%s, %zu tasks, %zu dependencies",
                  trace_time(gantt->view->end_ns - gantt->view->begin_ns, span),
                  gantt->view->tasks_count, gantt->view->edges_count);
    if (data->dropped != 0 && at > 0)
        (void)snprintf(text + at, sizeof(text) - (size_t)at,
                       "; incomplete: %" PRIu64 " events were dropped", data->dropped);
    write_text(gantt, 100, 42, "", text);
}

/* The step of the axis: 1, 2 or 5 times a power of ten, for ten ticks at most. */
static uint64_t
step_of(uint64_t span)
{
    uint64_t step = 1;

    while (step < UINT64_MAX / 10 && span / step > 100)
        step *= 10;
    if (span / step > 50)
        return step * 10;
    if (span / step > 20)
        return step * 5;
    return span / step > 10 ? step * 2 : step;
}

static void
write_axis(struct gantt *gantt)
{
    const struct trace_view *view = gantt->view;
    uint64_t span = view->end_ns - view->begin_ns, step = step_of(span);
    uint32_t end = bottom(gantt);
    char text[TRACE_LABEL_MAX];

    for (uint64_t ns = 0; ns <= span; ns += step) {
        uint64_t x = x_of(gantt, view->begin_ns + ns);

        syn_buf_addf(gantt->out,
                     "<path d=\"M%" PRIu64 ".%" PRIu64 " %dV%" PRIu32 "\" stroke=\"#ddd\"/>\n",
                     x / 10, x % 10, TOP - 6, end);
        write_text(gantt, x, TOP - 10, " class=\"tick\"", trace_time(ns, text));
        if (ns > UINT64_MAX - step)
            break;
    }
}

static void
write_names(struct gantt *gantt)
{
    const struct trace_view *view = gantt->view;
    char text[2 * TRACE_LABEL_MAX + 8], device[TRACE_LABEL_MAX];

    for (uint32_t i = 0; i < view->tracks_count; i++) {
        const struct trace_track *track = &view->tracks[i];
        uint32_t y = y_of(gantt, i, 0);

        (void)trace_device_name(view, track->device, device);
        (void)snprintf(text, sizeof(text), "%s%s%s", track->name, device[0] != '\0' ? ", " : "",
                       device);
        syn_buf_addf(gantt->out, "<path d=\"M%d %" PRIu32 "H%d\" stroke=\"#eee\"/>\n", LEFT, y - 3,
                     LEFT + PLOT);
        write_text(gantt, (uint64_t)(LEFT - 8) * 10, y + 13,
                   strlen(text) > LABEL_LETTERS ? SQUEEZED : " class=\"name\"", text);
    }
}

/* Is there anything to see of a bar from `from` to `to` on this row? */
static bool
visible(struct gantt *gantt, const struct trace_bar *bar, uint64_t from, uint64_t to)
{
    uint32_t row = gantt->first_row[bar->track] + bar->lane;

    if (to <= gantt->drawn[row] && to - from < 5) {
        gantt->thin++;
        return false;
    }
    gantt->drawn[row] = SYN_MAX(gantt->drawn[row], SYN_MAX(to, from + 5));
    return true;
}

static void
write_task(struct gantt *gantt, const struct trace_bar *bar)
{
    const struct trace_view *view = gantt->view;
    const struct syn_trace_event *task = bar->event;
    uint64_t wait = x_of(gantt, bar->begin_ns), from = x_of(gantt, task->begin_ns);
    uint64_t to = x_of(gantt, task->end_ns);
    uint32_t y = y_of(gantt, bar->track, bar->lane);
    const char *name = trace_event_name(view, task);
    char text[TRACE_LABEL_MAX];

    if (!visible(gantt, bar, wait, to))
        return;
    if (from - wait >= 5) {
        begin_rect(gantt, wait, from, y, ROW - 2);
        syn_buf_adds(gantt->out, " class=\"wait\"/>\n");
    }
    begin_rect(gantt, from, to, y, ROW - 2);
    syn_buf_addf(gantt->out, " fill=\"%s\"%s><title>", trace_colour(task->name),
                 task->code != 0 ? " class=\"bad\"" : "");
    trace_xml(gantt->out, name);
    syn_buf_addf(gantt->out, " #%" PRIu64 ", %s", task->id,
                 trace_time(task->end_ns - task->begin_ns, text));
    if (task->wait_ns != 0)
        syn_buf_addf(gantt->out, ", waited %s for data", trace_time(task->wait_ns, text));
    if (task->energy_uj != SYN_TRACE_UNKNOWN)
        syn_buf_addf(gantt->out, ", %s %s", trace_joules(task->energy_uj, text),
                     trace_source_name(task));
    if (task->code != 0)
        syn_buf_addf(gantt->out, ", %s", syn_err_info(task->code)->wire);
    syn_buf_adds(gantt->out, "</title></rect>\n");
    if (trace_modelled(view, task->device)) {
        begin_rect(gantt, from, to, y, ROW - 2);
        syn_buf_adds(gantt->out, " fill=\"url(#modelled)\" pointer-events=\"none\"/>\n");
    }
    if (to - from > 70 * strlen(name) + 60)
        write_text(gantt, from + 30, y + 12, " pointer-events=\"none\"", name);
}

static void
write_other(struct gantt *gantt, const struct trace_bar *bar)
{
    const struct syn_trace_event *event = bar->event;
    uint64_t from = x_of(gantt, event->begin_ns), to = x_of(gantt, event->end_ns);
    uint32_t y = y_of(gantt, bar->track, bar->lane);
    char bytes[TRACE_LABEL_MAX], time[TRACE_LABEL_MAX];

    if (event->kind == SYN_TRACE_PARK) {
        if (to - from >= 5) {
            begin_rect(gantt, from, to, y + ROW - 6, 4);
            syn_buf_adds(gantt->out, " class=\"park\"/>\n");
        }
        return;
    }
    if (event->kind == SYN_TRACE_EVICTION)
        from = to; /* what counts is when the room was there */
    if (!visible(gantt, bar, from, to))
        return;
    if (event->kind == SYN_TRACE_EVICTION)
        begin_rect(gantt, from, to, y, ROW - 2);
    else
        begin_rect(gantt, from, to, y + (ROW - THIN) / 2 - 1, THIN);
    syn_buf_addf(gantt->out, " class=\"move\"><title>%s of %s",
                 event->kind == SYN_TRACE_EVICTION ? "eviction" : "transfer",
                 trace_bytes(event->bytes, bytes));
    if (event->kind == SYN_TRACE_TRANSFER)
        syn_buf_addf(gantt->out, ", %s", trace_time(event->end_ns - event->begin_ns, time));
    syn_buf_adds(gantt->out, "</title></rect>\n");
}

static void
write_mark(struct gantt *gantt, const struct trace_bar *bar)
{
    bool placed = bar->track != TRACE_NO_TRACK;
    uint64_t x = x_of(gantt, bar->event->begin_ns);
    uint32_t from = placed ? y_of(gantt, bar->track, 0) : TOP - 6;
    uint32_t to = placed ? from + ROW : bottom(gantt);

    syn_buf_addf(gantt->out,
                 "<path d=\"M%" PRIu64 ".%" PRIu64 " %" PRIu32 "V%" PRIu32
                 "\" stroke=\"#c06\" stroke-dasharray=\"4 3\"><title>",
                 x / 10, x % 10, from, to);
    trace_xml(gantt->out, trace_event_name(gantt->view, bar->event));
    syn_buf_adds(gantt->out, "</title></path>\n");
    if (!placed)
        write_text(gantt, x + 30, bottom(gantt) + 10, " fill=\"#c06\"",
                   trace_event_name(gantt->view, bar->event));
}

static void
write_bars(struct gantt *gantt)
{
    const struct trace_view *view = gantt->view;

    for (size_t i = 0; i < view->bars_count; i++) {
        const struct trace_bar *bar = &view->bars[i];

        if (bar->event->kind == SYN_TRACE_MARK)
            write_mark(gantt, bar);
        else if (bar->event->kind == SYN_TRACE_TASK)
            write_task(gantt, bar);
        else if (bar->track != TRACE_NO_TRACK)
            write_other(gantt, bar);
    }
}

static void
write_key(struct gantt *gantt, unsigned *slot, const char *attributes, const char *text)
{
    uint64_t x = (uint64_t)(20 + *slot % 4 * LEGEND_COL) * 10;
    uint32_t y = bottom(gantt) + 26 + *slot / 4 * LEGEND_ROW;

    begin_rect(gantt, x, x + 140, y, 12);
    syn_buf_addf(gantt->out, " %s/>\n", attributes);
    write_text(gantt, x + 200, y + 10, "", text);
    ++*slot;
}

/* What the colours mean; kernels by number, then what is the same in every chart. */
static void
write_legend(struct gantt *gantt, const struct use *uses, uint32_t uses_count)
{
    const struct trace_view *view = gantt->view;
    char text[2 * TRACE_LABEL_MAX], time[TRACE_LABEL_MAX], fill[32];
    unsigned slot = 0, more = 0;

    for (uint32_t name = 0; name < uses_count; name++) {
        if (uses[name].count == 0)
            continue;
        if (slot == LEGEND_MAX) {
            more++;
            continue;
        }
        (void)snprintf(text, sizeof(text), "%.*s: %" PRIu64 ", %s in all", SYN_TRACE_TEXT_MAX,
                       name == 0 ? "task" : view->data->names[name], uses[name].count,
                       trace_time(uses[name].ns, time));
        (void)snprintf(fill, sizeof(fill), "fill=\"%s\"", trace_colour(name));
        write_key(gantt, &slot, fill, text);
    }
    if (more != 0) {
        (void)snprintf(text, sizeof(text), "and %u more", more);
        write_key(gantt, &slot, "fill=\"none\"", text);
    }
    write_key(gantt, &slot, "class=\"wait\"", "waits for data");
    write_key(gantt, &slot, "class=\"park\"", "parked");
    write_key(gantt, &slot, "class=\"move\"", "transfer or eviction");
    write_key(gantt, &slot, "fill=\"#fff\" class=\"bad\"", "failed or canceled");
    write_key(gantt, &slot, "fill=\"url(#modelled)\"",
              "on a modelled device: computed, not measured");
    if (gantt->thin != 0) {
        (void)snprintf(text, sizeof(text), "%zu bars are too thin to see", gantt->thin);
        write_key(gantt, &slot, "fill=\"none\"", text);
    }
}

static uint32_t
height_of(const struct gantt *gantt, const struct use *uses, uint32_t uses_count)
{
    uint32_t keys = 7; /* what every legend has, and what it may have besides */

    for (uint32_t name = 0; name < uses_count; name++)
        keys += uses[name].count != 0;
    return bottom(gantt) + 30 + (SYN_MIN(keys, (uint32_t)LEGEND_MAX + 7) + 3) / 4 * LEGEND_ROW;
}

/* Rows and the kernels in use. */
static int
prepare(struct gantt *gantt, struct use **ret_uses, struct syn_err *err)
{
    const struct trace_view *view = gantt->view;
    struct use *uses;

    gantt->first_row = syn_calloc(view->tracks_count + 1, sizeof(*gantt->first_row));
    for (size_t i = 0; i < view->tracks_count && gantt->first_row != NULL; i++) {
        gantt->first_row[i] = gantt->rows;
        gantt->rows += view->tracks[i].lanes;
    }
    gantt->drawn = syn_calloc(gantt->rows + 1, sizeof(*gantt->drawn));
    uses = syn_calloc((size_t)view->data->names_count + 1, sizeof(*uses));
    if (gantt->first_row == NULL || gantt->drawn == NULL || uses == NULL) {
        syn_free(uses);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a chart");
    }
    for (size_t i = 0; i < view->tasks_count; i++) {
        const struct syn_trace_event *task = view->tasks[i]->event;

        uses[task->name].count++;
        uses[task->name].ns += task->end_ns - task->begin_ns; /* it wraps after 500 years */
    }
    *ret_uses = uses;
    return SYN_OK;
}

int
syn_trace_write_gantt(const struct syn_trace_data *data, struct syn_buf *out, struct syn_err *err)
{
    struct trace_view view;
    struct gantt gantt = {.view = &view, .out = out};
    struct use *uses = NULL;
    int rc = trace_view_init(&view, data, err);

    if (rc < 0)
        return rc;
    rc = prepare(&gantt, &uses, err);
    if (rc == 0) {
        uint32_t uses_count = SYN_MAX(data->names_count, 1U);

        write_head(&gantt, height_of(&gantt, uses, uses_count));
        write_axis(&gantt);
        write_names(&gantt);
        write_bars(&gantt);
        write_legend(&gantt, uses, uses_count);
        syn_buf_adds(out, "</svg>\n");
        rc = syn_buf_ok(out, err);
    }
    syn_free(gantt.first_row);
    syn_free(gantt.drawn);
    syn_free(uses);
    trace_view_fini(&view);
    return rc;
}
