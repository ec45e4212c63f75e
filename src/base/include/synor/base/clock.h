/* The machine's monotonic clock. A pure core does not read it: it is handed a struct syn_world. */
#ifndef SYNOR_BASE_CLOCK_H
#define SYNOR_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/** CLOCK_MONOTONIC: it never goes back, and begins at no time in particular. */
int64_t syn_clock_ns(void);
/** When so much time will have passed, for pthread_cond_timedwait() on that clock. */
struct timespec syn_clock_in_ms(int64_t ms);

#endif
