/* The graph of tasks for graphviz: a node a task, coloured by kernel, an arrow a dependency. */
#include <inttypes.h>

#include "trace_priv.h"

static void
write_task(struct syn_buf *out, const struct trace_view *view, const struct trace_bar *bar)
{
    const struct syn_trace_event *task = bar->event;
    char text[TRACE_LABEL_MAX];

    syn_buf_addf(out, "  t%" PRIu64 " [label=\"", task->id);
    trace_dot(out, trace_event_name(view, task));
    syn_buf_addf(out, " #%" PRIu64 "\\n", task->id);
    trace_dot(out, view->tracks[bar->track].name);
    if (task->device != SYN_TRACE_NONE) {
        syn_buf_adds(out, ", ");
        trace_dot(out, trace_device_name(view, task->device, text));
    }
    syn_buf_addf(out, "\\n%s", trace_time(task->end_ns - task->begin_ns, text));
    if (task->code != 0)
        syn_buf_addf(out, "\\n%s", syn_err_info(task->code)->wire);
    syn_buf_addf(out, "\" fillcolor=\"%s\"", trace_colour(task->name));
    if (trace_modelled(view, task->device))
        syn_buf_adds(out, " style=\"filled,rounded,dashed\"");
    if (task->code != 0)
        syn_buf_adds(out, " color=\"#cc0000\" penwidth=3");
    syn_buf_adds(out, "];\n");
}

/* An end of an arrow that was not recorded is drawn all the same; saying so twice does no harm. */
static void
write_missing(struct syn_buf *out, const struct trace_view *view, uint64_t id)
{
    if (trace_find_task(view, id) == NULL)
        syn_buf_addf(out,
                     "  t%" PRIu64 " [label=\"#%" PRIu64
                     "\\nnot recorded\" style=dotted fillcolor=white];\n",
                     id, id);
}

static void
write_graph(struct syn_buf *out, const struct trace_view *view)
{
    const struct syn_trace_data *data = view->data;

    syn_buf_adds(out, "digraph trace {\n  graph [labelloc=t fontname=\"sans-serif\" label=\"");
    trace_dot(out, data->title != NULL ? data->title : "tasks");
    if (data->dropped != 0)
        syn_buf_addf(out, "\\n%" PRIu64 " events were dropped", data->dropped);
    syn_buf_adds(out, "\"];\n  node [shape=box style=\"filled,rounded\" fontname=\"sans-serif\" "
                      "fontsize=10];\n  edge [color=\"#666666\" arrowsize=0.6];\n");
    for (size_t i = 0; i < view->tasks_count; i++)
        write_task(out, view, view->tasks[i]);
    for (size_t i = 0; i < view->edges_count; i++) {
        const struct syn_trace_event *edge = view->edges[i];

        if (i > 0 && edge->id == view->edges[i - 1]->id &&
            edge->before == view->edges[i - 1]->before)
            continue; /* the same again */
        write_missing(out, view, edge->before);
        write_missing(out, view, edge->id);
        syn_buf_addf(out, "  t%" PRIu64 " -> t%" PRIu64 ";\n", edge->before, edge->id);
    }
    syn_buf_adds(out, "}\n");
}

int
syn_trace_write_dot(const struct syn_trace_data *data, struct syn_buf *out, struct syn_err *err)
{
    struct trace_view view;
    int rc = trace_view_init(&view, data, err);

    if (rc < 0)
        return rc;
    write_graph(out, &view);
    trace_view_fini(&view);
    return syn_buf_ok(out, err);
}
