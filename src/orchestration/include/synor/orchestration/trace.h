/* Machines and pods as text: comma-separated values under a line of names, as the openb trace has
 * them (Weng et al., ATC'23). Strict about every value that is used; what is refused is named as
 * "NAME:LINE: FIELD: why".
 *
 * Columns come in any order; those that are not named here are passed over. */
#ifndef SYNOR_ORCHESTRATION_TRACE_H
#define SYNOR_ORCHESTRATION_TRACE_H

#include <synor/orchestration/fleet.h>

#define SYN_TRACE_BYTES_MAX   ((size_t)256 << 20) /* of a file */
#define SYN_TRACE_SECONDS_MAX (INT64_C(1) << 32)

struct syn_trace_pod {
    struct syn_fleet_ask ask; /* without a policy */
    int64_t arrives_ms;
    int64_t runs_ms; /* negative: it does not end */
};

/** Who takes what is read. What a function refuses ends the reading, and gets the place put before
 *  it. All is borrowed for the call. */
struct syn_trace_sink {
    void *arg;
    /** The fleet's number of a model; `asked`: a pod names it, not a machine. */
    int (*model)(void *arg, const char *name, bool asked, uint32_t *ret, struct syn_err *err);
    int (*node)(void *arg, struct syn_fleet_node *node, struct syn_err *err);
    int (*pod)(void *arg, const struct syn_trace_pod *pod, struct syn_err *err);
};

/** Columns sn, cpu_milli, memory_mib, gpu, model. Returns 0; SYN_E_INVALID; SYN_E_LIMIT; what the
 *  sink returns. */
SYN_MUST int syn_trace_read_nodes(const struct syn_trace_sink *sink, const char *name,
                                  const char *text, size_t len, struct syn_err *err);
/** Columns cpu_milli, memory_mib, num_gpu, gpu_milli, maybe gpu_spec; `timed`: creation_time,
 *  deletion_time (empty: it does not end) and maybe scheduled_time, in seconds. Returns as
 *  syn_trace_read_nodes(). */
SYN_MUST int syn_trace_read_pods(const struct syn_trace_sink *sink, bool timed, const char *name,
                                 const char *text, size_t len, struct syn_err *err);

#endif
