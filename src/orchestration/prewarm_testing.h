/* A function under calls that are on file, second by second, and who keeps instances ready for it:
 * our plan, a time after the last call that is always the same, or the hybrid histogram policy of
 * "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020), written again from the paper: pauses
 * by the minute up to four hours, the 5th and the 99th percentile with 10 % on either side, and
 * four hours always where the histogram says little. Its forecast of longer pauses (ARIMA) is left
 * out. For the test and the benchmark. */
#ifndef SYN_ORCHESTRATION_PREWARM_TESTING_H
#define SYN_ORCHESTRATION_PREWARM_TESTING_H

#include <synor/base/cron.h>
#include <synor/orchestration/prewarm.h>

#define CALLS_FILE_MAX 4096
#define CALLS_START_MS INT64_C(2000)          /* what an instance takes to start */
#define CALLS_BEGIN_MS INT64_C(1699999200000) /* 22:00:00 UTC */

struct calls {
    struct {
        int64_t at_ms, took_ms;
    } rows[CALLS_FILE_MAX];
    size_t count;
};
/** False: no such file, or none of calls. */
bool calls_read(const char *path, struct calls *ret);

enum calls_kind { CALLS_FIXED, CALLS_HYBRID, CALLS_PLAN };

struct calls_policy {
    enum calls_kind kind;
    int64_t idle_ms;              /* FIXED: always; PLAN: its owner's */
    const struct syn_cron *fires; /* a schedule makes all calls; NULL: none does */
};

struct calls_result {
    uint64_t calls, cold;  /* waited for a start */
    uint64_t idle_seconds; /* of instances that had nothing to do */
    struct syn_prewarm_state state;
    struct syn_prewarm_plan plan; /* the last */
};
struct calls_result calls_run(const struct calls *calls, const struct calls_policy *policy);

#endif
