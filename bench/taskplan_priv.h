/* The files of bench-taskplan. */
#ifndef SYNOR_BENCH_TASKPLAN_PRIV_H
#define SYNOR_BENCH_TASKPLAN_PRIV_H

#include <synor/base/err.h>
#include <synor/plan.h>

#define BENCH_TUNED 10U

struct machine {
    char name[64];
    struct syn_worker_class classes[4];
    struct syn_plan_rate rates[4];
    struct syn_worker_desc workers[SYN_PLATFORM_WORKERS_MAX];
    struct syn_link_desc links[64];
    uint64_t node_bytes[SYN_NODES_MAX];
    struct syn_plan_machine plan;
};

void bench_die(const char *what, const struct syn_err *err);

/** `machine` points into itself: do not copy it. `number` < BENCH_TUNED. */
void bench_tuned_machine(uint32_t number, struct machine *machine);
/** The machine that this number draws; starved: with links too slow for its devices. */
void bench_drawn_machine(uint32_t number, bool starved, struct machine *machine);

/** Print model_error: real kernels on this machine's CPU. */
void bench_model(void);
/** The lines decision_ns_*. */
void bench_cost(void);

#endif
