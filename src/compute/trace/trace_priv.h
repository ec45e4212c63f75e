/* What the writers of traces share: data that own what they point to, a view of data in which every
 * event has its place, and text that cannot break the format it is put into. */
#ifndef SYNOR_COMPUTE_TRACE_TRACE_PRIV_H
#define SYNOR_COMPUTE_TRACE_TRACE_PRIV_H

#include <synor/trace.h>

/* data.c */

/** A copy of all but the events, which the caller adds: `events` of the copy are the copy's own
 * (syn_alloc). Texts are cut to what there is room for. NOMEM, INVALID. */
SYN_MUST int trace_data_dup(const struct syn_trace_data *data, struct syn_trace_data **ret_copy,
                            struct syn_err *err);
/** Copy a text, cut between characters. */
void trace_cut(char out[SYN_TRACE_TEXT_MAX], const char *text);

/* view.c */

#define TRACE_LANES_MAX 8 /* of one track; what overlaps still more shares the last */
#define TRACE_NO_TRACK  UINT32_MAX
#define TRACE_LABEL_MAX 160

enum trace_track_kind {
    TRACE_WORKER, /* a: worker */
    TRACE_LINK,   /* a, b: memory nodes */
    TRACE_NODE,   /* a: memory node that threw something out */
};

/** A row of the picture; of several lanes where what is on it overlaps. */
struct trace_track {
    enum trace_track_kind kind;
    uint16_t a, b;
    uint16_t device; /* of a worker, or SYN_TRACE_NONE */
    uint16_t lanes;
    bool modelled;
    char name[TRACE_LABEL_MAX];
};

/** An event with its place. In the view they are by beginning, the longer first. */
struct trace_bar {
    const struct syn_trace_event *event;
    uint64_t begin_ns; /* where it begins on its track: a task's wait for its data included */
    uint32_t track;    /* or TRACE_NO_TRACK */
    uint16_t lane;
};

struct trace_view {
    const struct syn_trace_data *data;
    uint64_t begin_ns, end_ns; /* of all events that have times */
    struct trace_bar *bars;    /* all events but dependencies */
    size_t bars_count;
    struct trace_track *tracks; /* workers, links, nodes; each by its numbers */
    size_t tracks_count;
    const struct trace_bar **tasks; /* by id */
    size_t tasks_count;
    const struct syn_trace_event **edges; /* dependencies, by id, then by `before` */
    size_t edges_count;
};

/** Check data and give every event its place. INVALID, NOMEM. */
SYN_MUST int trace_view_init(struct trace_view *view, const struct syn_trace_data *data,
                             struct syn_err *err);
void trace_view_fini(struct trace_view *view);

/** The task's bar, or NULL when it was not recorded. */
const struct trace_bar *trace_find_task(const struct trace_view *view, uint64_t id);
/** "gemm"; "task" and "mark" for what has no name. */
const char *trace_event_name(const struct trace_view *view, const struct syn_trace_event *event);
/** "cuda0" or, beyond the scene, "device 3"; "" for none. `out` has TRACE_LABEL_MAX bytes. */
const char *trace_device_name(const struct trace_view *view, uint16_t device, char *out);
const char *trace_node_name(const struct trace_view *view, uint16_t node, char *out);
bool trace_modelled(const struct trace_view *view, uint16_t device);
/** "modelled", and "unknown" where nobody said. */
const char *trace_source_name(const struct syn_trace_event *event);
/** A colour for a name's number, "#rrggbb". */
const char *trace_colour(uint32_t name);

/* text.c: each appends `text` as what it says, whatever bytes are in it. */

void trace_json(struct syn_buf *out, const char *text); /* with its quotes */
void trace_xml(struct syn_buf *out, const char *text);  /* content or attribute */
void trace_dot(struct syn_buf *out, const char *text);  /* inside of quotes */
/* for a terminal; with blanks up to `width` characters, one at least, unless it is 0 */
void trace_plain(struct syn_buf *out, const char *text, unsigned width);
/** Nanoseconds as microseconds with three digits behind the point. */
void trace_us(struct syn_buf *out, uint64_t ns);
/** A length of time for people: "812 ns", "1.25 ms". `out` has TRACE_LABEL_MAX bytes. */
const char *trace_time(uint64_t ns, char *out);
/** A number of bytes for people: "4.0 MiB". */
const char *trace_bytes(uint64_t bytes, char *out);
const char *trace_joules(uint64_t uj, char *out);

#endif
