/* Traces: what ran where and when, what it waited for, what was moved, what it cost.
 *
 * A recorder keeps a bounded ring for every thread that records. Recording is a copy of one event
 * and one store, without a lock, and never waits: where a ring is full the event is dropped and
 * counted. Switched off, it costs its caller one relaxed load:
 *
 *     if (syn_trace_on(trace))
 *         syn_trace_put(trace, &(struct syn_trace_event){
 *             .kind = SYN_TRACE_TASK, .begin_ns = began, .end_ns = syn_trace_now(),
 *             .id = number, .name = gemm, .worker = 3, .device = 0,
 *             .energy_uj = SYN_TRACE_UNKNOWN});
 *
 * What was recorded is collected as plain data, a table of events and the names in it, which a
 * program may also make itself: from a planner's run (syn_trace_of_plan()), or by hand. Four
 * writers turn such data into text: for chrome://tracing and ui.perfetto.dev, a Gantt chart (SVG),
 * the graph of tasks (DOT), and statistics. They are pure: equal data give equal bytes. */
#ifndef SYNOR_TRACE_H
#define SYNOR_TRACE_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/device.h>
#include <synor/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_TRACE_TEXT_MAX    64    /* bytes of a name, its zero included */
#define SYN_TRACE_NAMES_MAX   65536 /* of one trace */
#define SYN_TRACE_WRITERS_MAX 512   /* threads that record, one after the other or at once */
#define SYN_TRACE_SCENE_MAX   1024  /* workers, devices, or nodes */
#define SYN_TRACE_RING_MAX    ((size_t)1 << 22) /* events of one thread's ring */
#define SYN_TRACE_EVENTS_MAX  ((size_t)1 << 24) /* events collected, or of one trace's data */

#define SYN_TRACE_NONE    UINT16_MAX /* no worker, device or node */
#define SYN_TRACE_UNKNOWN UINT64_MAX /* energy that nobody knows */

/** Kinds of event. Which members of the event say something is at the members. */
enum syn_trace_kind {
    SYN_TRACE_TASK,       /* a task ran on a worker, from begin to end */
    SYN_TRACE_DEPENDENCY, /* task `id` needs task `before`; has no time */
    SYN_TRACE_TRANSFER,   /* `bytes` went from one memory node to another */
    SYN_TRACE_EVICTION,   /* `bytes` were thrown out of node `from`, at `end_ns` */
    SYN_TRACE_PARK,       /* a worker slept from begin to end */
    SYN_TRACE_ENERGY,     /* a device took `energy_uj` from begin to end */
    SYN_TRACE_MEMORY,     /* node `to` has `bytes` in use from `begin_ns` on */
    SYN_TRACE_MARK,       /* the program's own remark at `begin_ns` */
    SYN_TRACE_KINDS
};

/** One event. Times are nanoseconds of any one clock; syn_trace_now() is the recorder's. No number
 * is above INT64_MAX, which readers of JSON take for granted. */
struct syn_trace_event {
    uint64_t begin_ns;
    uint64_t end_ns; /* not before begin_ns; where only one time counts, the same */
    uint64_t id;     /* TASK: its number, never used twice; DEPENDENCY: who waits; else 0 or which
                        tensor */
    union {
        uint64_t wait_ns; /* TASK: how long its worker waited for its data before begin_ns */
        uint64_t before;  /* DEPENDENCY: the task that has to end first */
    };
    union {
        uint64_t bytes;     /* TRANSFER, EVICTION, MEMORY */
        uint64_t energy_uj; /* TASK, ENERGY; or SYN_TRACE_UNKNOWN */
    };
    uint32_t name; /* TASK: the kernel's; MARK: the remark: from syn_trace_name(); 0: none */
    int32_t code;  /* TASK: 0, or the SYN_E_* that it ended with */
    union {
        uint16_t worker; /* TASK, PARK, MARK */
        uint16_t from;   /* TRANSFER, EVICTION: memory node */
    };
    union {
        uint16_t device; /* TASK, ENERGY */
        uint16_t to;     /* TRANSFER, MEMORY: memory node */
    };
    uint8_t kind;   /* enum syn_trace_kind */
    uint8_t source; /* TASK, ENERGY: enum syn_power_source, who says so */
    uint8_t state;  /* TASK: power state that it ran in */
    uint8_t reserved;
};

/* Who is who. Numbers in events are indexes of these tables; one beyond its table is drawn all the
 * same, under its number. */

struct syn_trace_worker {
    char name[SYN_TRACE_TEXT_MAX];
    uint16_t device; /* or SYN_TRACE_NONE */
};

struct syn_trace_device {
    char name[SYN_TRACE_TEXT_MAX]; /* "cuda0" */
    bool modelled;                 /* marked as such in everything that is written */
};

struct syn_trace_node {
    char name[SYN_TRACE_TEXT_MAX]; /* "host" */
    uint64_t bytes;                /* capacity; 0: unknown */
};

struct syn_trace_scene {
    const struct syn_trace_worker *workers;
    const struct syn_trace_device *devices;
    const struct syn_trace_node *nodes;
    uint32_t workers_count, devices_count, nodes_count;
};

/** Plain recorded data. Everything may be left 0. */
struct syn_trace_data {
    struct syn_trace_scene scene;
    const char *title;        /* NULL: none */
    const char *const *names; /* what syn_trace_event.name counts; names[0] stands for none */
    uint32_t names_count;
    size_t events_count;
    const struct syn_trace_event *events; /* in any order */
    uint64_t dropped;                     /* events that are missing for want of room */
};

/* Recording. */

struct syn_trace;

/** Everything may be left 0. */
struct syn_trace_options {
    size_t ring_events; /* of each thread, rounded up to a power of two; 0: 65536 */
    size_t events_max;  /* kept until they are collected; 0: 2^20. Beyond it they are dropped */
};

/** A recorder, switched off. INVALID, NOMEM. */
SYN_MUST SYN_API int syn_trace_new(const struct syn_trace_options *options,
                                   struct syn_trace **ret_trace, struct syn_err *err);
/** Nobody may be recording. NULL is fine. */
SYN_API struct syn_trace *syn_trace_free(struct syn_trace *trace);

/** Switch recording on or off. Any thread. */
SYN_API void syn_trace_switch(struct syn_trace *trace, bool on);

/** Is it on? NULL is off. */
static inline bool
syn_trace_on(const struct syn_trace *trace)
{
    /* The switch is what a recorder begins with. */
    return trace != NULL &&
           __atomic_load_n((const uint32_t *)(const void *)trace, __ATOMIC_RELAXED) != 0;
}

/** The recorder's clock: CLOCK_MONOTONIC. */
SYN_API uint64_t syn_trace_now(void);

/** The number of a name, the same for the same text; longer ones are cut. Any thread, under a lock:
 * ask once a kernel, not once a task. 0 when there is no room. */
SYN_API uint32_t syn_trace_name(struct syn_trace *trace, const char *text);

/** Record. Any thread; never waits, but for a thread's first event, which makes its ring. False:
 * dropped and counted. */
SYN_API bool syn_trace_put(struct syn_trace *trace, const struct syn_trace_event *event);

/** Record a remark at this moment, if recording is on. */
SYN_API void syn_trace_mark(struct syn_trace *trace, const char *text);

/** Say who is who, in place of what was said before. Copied. NOMEM, INVALID. */
SYN_MUST SYN_API int syn_trace_set_scene(struct syn_trace *trace,
                                         const struct syn_trace_scene *scene, struct syn_err *err);

/** Take what is in the rings aside, so that they have room again: for long recordings, from any
 * thread, now and then. NOMEM leaves it in the rings. */
SYN_MUST SYN_API int syn_trace_drain(struct syn_trace *trace, struct syn_err *err);

/** Hand over what was recorded since the last time, by the time it began. Recording may go on. The
 * data are the caller's and do not need the recorder. NOMEM leaves everything as it was. */
SYN_MUST SYN_API int syn_trace_collect(struct syn_trace *trace, struct syn_trace_data **ret_data,
                                       struct syn_err *err);
/** Only what syn_trace_collect() or syn_trace_of_plan() returned. */
SYN_API struct syn_trace_data *syn_trace_data_free(struct syn_trace_data *data);

/** A planner's run as a trace: `events` are what syn_plan_run() wrote for `opts`, one a task of its
 * graph. Every device is modelled, every energy too. NOMEM, INVALID. */
SYN_MUST SYN_API int syn_trace_of_plan(const struct syn_plan_opts *opts,
                                       const struct syn_plan_event *events,
                                       struct syn_trace_data **ret_data, struct syn_err *err);

/* Writing. Each appends to `out`. INVALID names the event that is wrong; NOMEM. Data that say
 * nothing give an empty picture, no error. */

/** JSON for chrome://tracing and ui.perfetto.dev: a track a worker and a link, arrows for
 * dependencies, counters of bytes in use and of power. */
SYN_MUST SYN_API int syn_trace_write_chrome(const struct syn_trace_data *data, struct syn_buf *out,
                                            struct syn_err *err);
/** A Gantt chart that needs nothing beside it: axis, rows, legend; modelled devices are hatched. */
SYN_MUST SYN_API int syn_trace_write_gantt(const struct syn_trace_data *data, struct syn_buf *out,
                                           struct syn_err *err);
/** The graph of tasks for graphviz: coloured by kernel, with where each ran and how long. */
SYN_MUST SYN_API int syn_trace_write_dot(const struct syn_trace_data *data, struct syn_buf *out,
                                         struct syn_err *err);
/** What each worker did with its time, what each kernel took, what was moved, what it cost: a table
 * for people. */
SYN_MUST SYN_API int syn_trace_write_stats(const struct syn_trace_data *data, struct syn_buf *out,
                                           struct syn_err *err);
/** The same as one JSON object. */
SYN_MUST SYN_API int syn_trace_write_stats_json(const struct syn_trace_data *data,
                                                struct syn_buf *out, struct syn_err *err);

#ifdef __cplusplus
}
#endif
#endif
