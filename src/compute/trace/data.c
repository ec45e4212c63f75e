/* Trace data that own what they point to. */
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "trace_priv.h"

/* The data a caller sees, and the same blocks as their owner sees them. */
struct held {
    struct syn_trace_data data; /* first: the caller's pointer is one to this */
    struct syn_trace_worker *workers;
    struct syn_trace_device *devices;
    struct syn_trace_node *nodes;
    char *title;
    char (*texts)[SYN_TRACE_TEXT_MAX];
    const char **names;
};

void
trace_cut(char out[SYN_TRACE_TEXT_MAX], const char *text)
{
    size_t len = strlen(text), at = 0;

    while (at < len) {
        size_t bytes = syn_utf8_len(text + at, len - at);

        bytes = bytes == 0 ? 1 : bytes; /* not UTF-8: the writers show it as such */
        if (at + bytes >= SYN_TRACE_TEXT_MAX)
            break;
        memcpy(out + at, text + at, bytes);
        at += bytes;
    }
    out[at] = '\0';
}

struct syn_trace_data *
syn_trace_data_free(struct syn_trace_data *data)
{
    struct held *held = (struct held *)(void *)data;

    if (held == NULL)
        return NULL;
    syn_free((void *)(uintptr_t)held->data.events);
    syn_free(held->workers);
    syn_free(held->devices);
    syn_free(held->nodes);
    syn_free(held->title);
    syn_free(held->texts);
    syn_free(held->names);
    syn_free(held);
    return NULL;
}

/* A copy of `count` elements, or NULL; `*failed` when it should have been one. */
static void *
dup_table(const void *table, size_t count, size_t bytes, bool *failed)
{
    void *copy;

    if (count == 0)
        return NULL;
    copy = syn_calloc(count, bytes);
    if (copy == NULL)
        *failed = true;
    else
        memcpy(copy, table, count * bytes);
    return copy;
}

static void
dup_names(struct held *held, const struct syn_trace_data *data, bool *failed)
{
    if (data->names_count == 0)
        return;
    held->texts = syn_calloc(data->names_count, sizeof(*held->texts));
    held->names = syn_calloc(data->names_count, sizeof(*held->names));
    if (held->texts == NULL || held->names == NULL) {
        *failed = true;
        return;
    }
    for (uint32_t i = 0; i < data->names_count; i++) {
        trace_cut(held->texts[i], data->names[i]);
        held->names[i] = held->texts[i];
    }
}

int
trace_data_dup(const struct syn_trace_data *data, struct syn_trace_data **ret_copy,
               struct syn_err *err)
{
    const struct syn_trace_scene *scene = &data->scene;
    bool failed = false;
    struct held *held;

    if (SYN_MAX(SYN_MAX(scene->workers_count, scene->devices_count), scene->nodes_count) >
        SYN_TRACE_SCENE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "scene: at most %d workers, devices or nodes",
                        SYN_TRACE_SCENE_MAX);
    held = syn_calloc(1, sizeof(*held));
    if (held == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a trace's data");
    held->workers =
        dup_table(scene->workers, scene->workers_count, sizeof(*held->workers), &failed);
    held->devices =
        dup_table(scene->devices, scene->devices_count, sizeof(*held->devices), &failed);
    held->nodes = dup_table(scene->nodes, scene->nodes_count, sizeof(*held->nodes), &failed);
    if (data->title != NULL) {
        held->title = syn_strdup(data->title);
        failed |= held->title == NULL;
    }
    dup_names(held, data, &failed);
    if (failed) {
        syn_trace_data_free(&held->data);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a trace's data");
    }
    held->data = (struct syn_trace_data){.scene = {held->workers, held->devices, held->nodes,
                                                   scene->workers_count, scene->devices_count,
                                                   scene->nodes_count},
                                         .title = held->title,
                                         .names = held->names,
                                         .names_count = data->names_count,
                                         .dropped = data->dropped};
    *ret_copy = &held->data;
    return SYN_OK;
}
