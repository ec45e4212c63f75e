/* What a trace says in numbers. */
#ifndef SYNOR_COMPUTE_TRACE_STATS_PRIV_H
#define SYNOR_COMPUTE_TRACE_STATS_PRIV_H

#include "trace_priv.h"

/** Energy by who says so. What nobody knows is counted, never guessed. */
struct trace_energy {
    uint64_t measured_uj, modelled_uj;
    uint64_t unknown; /* tasks, or measurements */
};

/** A worker or a link. Times are unions: what overlaps counts once. */
struct trace_track_stats {
    uint32_t track;
    uint64_t count; /* tasks, transfers */
    uint64_t busy_ns;
    uint64_t wait_ns; /* of a worker: for data, and nothing ran meanwhile */
    uint64_t park_ns;
    uint64_t bytes;
};

struct trace_kernel_stats {
    uint32_t name;
    uint64_t count, failed;
    uint64_t total_ns, min_ns, mean_ns, p50_ns, p95_ns, max_ns; /* of those that ended well */
    struct trace_energy energy;
};

struct trace_device_stats {
    uint16_t device;
    struct trace_energy energy; /* of ENERGY events: everything that it took */
};

struct trace_stats {
    const struct trace_view *view;
    uint64_t span_ns, critical_ns; /* the longest chain of dependent tasks */
    uint64_t failed;
    uint64_t evictions, evicted_bytes;
    struct trace_energy tasks; /* of tasks */
    struct trace_energy run;   /* of devices */
    struct trace_track_stats *tracks;
    struct trace_kernel_stats *kernels;
    struct trace_device_stats *devices;
    size_t kernels_count, devices_count; /* tracks: one for each of the view's */
};

SYN_MUST int trace_stats_init(struct trace_stats *stats, const struct trace_view *view,
                              struct syn_err *err);
void trace_stats_fini(struct trace_stats *stats);

#endif
