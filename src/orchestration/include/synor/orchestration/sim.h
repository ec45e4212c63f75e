/* A cluster that is not there: the placement core and the spot market driven through a workload,
 * event by event.
 *
 * Nodes and workload are CSV text as the openb trace has it, or made up from a seed. Two ways of
 * running it (docs/sim.md):
 *
 *   arrivals   the workload in random order, then drawn from it with replacement, until what was
 *              asked for passes so many percent of the cluster's cards; nobody leaves, what does
 *              not fit is refused: the protocol of the published results
 *   times      everybody comes and runs as the workload says; who does not fit waits
 *
 * Pure: the same text, options and seed give the same report, but for the time that decisions took,
 * which is measured with the caller's clock. One thread. */
#ifndef SYNOR_ORCHESTRATION_SIM_H
#define SYNOR_ORCHESTRATION_SIM_H

#include <synor/base/json.h>
#include <synor/base/world.h>
#include <synor/orchestration/fleet.h>

#define SYN_SIM_NODES_MAX    UINT32_C(200000)
#define SYN_SIM_PODS_MAX     (UINT32_C(1) << 20) /* of a workload */
#define SYN_SIM_RUNS_MAX     (UINT32_C(1) << 21) /* arrivals of a simulation */
#define SYN_SIM_EVENTS_MAX   (UINT64_C(1) << 27)
#define SYN_SIM_ARRIVALS_MAX 1000             /* percent of the cluster */
#define SYN_SIM_HOURS_MAX    INT64_C(1000000) /* between failures of a node */
#define SYN_SIM_NOTICE_MAX   INT64_C(3600000) /* milliseconds */

struct syn_sim_options {
    enum syn_fleet_policy policy;
    uint64_t seed;
    bool learn;                /* learn the mix on line; else it is known beforehand */
    uint32_t arrivals_percent; /* of the cluster's cards; 0: by the workload's times */
    int64_t mtbf_ms;           /* of one node; 0: none fails. By times only */
    int64_t repair_ms;         /* mean; 0: an hour */
    bool spot;                 /* cards are bought by the hour on the exchange. By times only */
    int64_t notice_ms;         /* that a spot run goes on after it was outbid; 0: none */
    int64_t price_core;        /* base units an hour: a core, a GiB, a card of the A100's speed */
    int64_t price_gib;
    int64_t price_card;
    const struct syn_world *world; /* its mono_ns measures decisions; NULL: they are not measured */
    /* Told now and then how far it is; may be NULL. */
    void (*progress)(void *arg, int64_t done, int64_t total);
    void *progress_arg;
};

struct syn_sim;

/** What is known of a model of card by its name: power, speed, sharing. False when nothing is; then
 * *ret has middling figures. `name` is borrowed by *ret. */
bool syn_sim_model(const char *name, struct syn_fleet_model *ret);

/** Owner: *ret is the caller's. Returns 0; SYN_E_INVALID, when options exclude each other or are
 *  out of range; SYN_E_NOMEM. */
SYN_MUST int syn_sim_new(const struct syn_sim_options *options, struct syn_sim **ret,
                         struct syn_err *err);
struct syn_sim *syn_sim_free(struct syn_sim *sim);
void syn_sim_free_scope(struct syn_sim **slot);

/* First the nodes, then the workload, then the run; each once. After an error only
 * syn_sim_free() is left. */

/** As syn_trace_read_nodes() has it. Returns 0; SYN_E_INVALID, which says "NAME:LINE: FIELD: why";
 *  SYN_E_LIMIT, SYN_E_NOMEM. */
SYN_MUST int syn_sim_read_nodes(struct syn_sim *sim, const char *name, const char *text, size_t len,
                                struct syn_err *err);
/** `count` machines, mixed as in openb. Returns as syn_sim_read_nodes(). */
SYN_MUST int syn_sim_make_nodes(struct syn_sim *sim, uint64_t count, struct syn_err *err);
/** As syn_trace_read_pods() has it. Returns as syn_sim_read_nodes(). */
SYN_MUST int syn_sim_read_workload(struct syn_sim *sim, const char *name, const char *text,
                                   size_t len, struct syn_err *err);
/** `count` pods, mixed as in openb, that come at random so that nine tenths of the cluster are
 *  asked for at a time. */
SYN_MUST int syn_sim_make_workload(struct syn_sim *sim, uint64_t count, struct syn_err *err);
/** Returns 0; SYN_E_INVALID, when nothing of it can be run; SYN_E_LIMIT, SYN_E_NOMEM. */
SYN_MUST int syn_sim_run(struct syn_sim *sim, struct syn_err *err);

/** What came of it; docs/sim.md has the fields. Owner: *ret is the caller's. NOMEM. */
SYN_MUST int syn_sim_report(const struct syn_sim *sim, json_t **ret, struct syn_err *err);
/** Allocation over arrivals, as SVG. NOMEM. */
SYN_MUST int syn_sim_plot(const struct syn_sim *sim, struct syn_buf *out, struct syn_err *err);
/** Everything that must hold, for tests: what the simulation counted is what fleet and exchange
 *  say. Asserts. */
void syn_sim_check(const struct syn_sim *sim);

#endif
