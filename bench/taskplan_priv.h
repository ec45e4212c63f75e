/* The two files of bench-taskplan. */
#ifndef SYNOR_BENCH_TASKPLAN_PRIV_H
#define SYNOR_BENCH_TASKPLAN_PRIV_H

#include <synor/base/err.h>

void bench_die(const char *what, const struct syn_err *err);
/** Print model_error: real kernels on this machine's CPU. */
void bench_model(void);
/* The lines decision_ns_*. */
void bench_cost(void);

#endif
