/* Instances that are kept and started by when a function was called, beside five minutes always and
 * the hybrid histogram of "Serverless in the Wild": cold starts, idle time, and what both cost.
 * Simulated on the calls of tests/data/prewarm, second by second: the figures do not depend on the
 * machine. */
#include <inttypes.h>
#include <stdio.h>

#include <synor/base/str.h>

#include "prewarm_testing.h"

#define IDLE_MS    INT64_C(300000)
#define COLD_WORTH 600 /* seconds of idle time: twice five minutes, as the rule weighs it */

enum figure { COLD, IDLE, COST, FIGURES };

static const struct {
    const char *name, *unit;
    uint64_t fixed_goal, hybrid_goal; /* thousandths */
} figures[FIGURES] = {[COLD] = {"cold", "starts", 1000, 1000},
                      [IDLE] = {"idle", "s", 1000, 500},
                      [COST] = {"cost", "s", 700, 700}};

static uint64_t
value(const struct calls_result *result, enum figure figure)
{
    uint64_t cost = result->cold * COLD_WORTH + result->idle_seconds;

    return figure == COLD ? result->cold : figure == IDLE ? result->idle_seconds : cost;
}

static void
line(enum figure figure, const char *peer, const uint64_t *ours, const uint64_t *theirs,
     uint64_t goal)
{
    uint64_t ratio = ours[figure] * 1000 / SYN_MAX(theirs[figure], 1U);

    printf("prewarm_%s\t%" PRIu64 "\t%s\t%s\t%" PRIu64 "\t%" PRIu64 ".%03" PRIu64 "\t<= %" PRIu64
           ".%02" PRIu64 "\t%s\n",
           figures[figure].name, ours[figure], figures[figure].unit, peer, theirs[figure],
           ratio / 1000, ratio % 1000, goal / 1000, goal % 1000 / 10,
           ratio <= goal ? "ok" : "short");
}

int
main(void)
{
    static const char *const files[] = {"periodic", "poisson", "bursts",
                                        "diurnal",  "rare",    "schedule"};
    uint64_t sums[CALLS_PLAN + 1][FIGURES] = {{0}};
    struct syn_cron hourly;

    if (syn_cron_parse("@hourly", &hourly, NULL) < 0)
        return 1;
    for (size_t i = 0; i < SYN_LEN(files); i++) {
        static struct calls calls;
        char path[400];

        (void)snprintf(path, sizeof(path), "%s/%s.txt", SYN_CALLS_DIR, files[i]);
        if (!calls_read(path, &calls)) {
            (void)fprintf(stderr, "bench_prewarm: no calls in %s\n", path);
            return 1;
        }
        (void)fprintf(stderr, "%s: %zu calls;", files[i], calls.count);
        for (unsigned kind = 0; kind <= CALLS_PLAN; kind++) {
            const struct calls_policy policy = {.kind = kind,
                                                .idle_ms = IDLE_MS,
                                                .fires = syn_str_eq(files[i], "schedule") ? &hourly
                                                                                          : NULL};
            struct calls_result result = calls_run(&calls, &policy);

            for (unsigned figure = 0; figure < FIGURES; figure++)
                sums[kind][figure] += value(&result, figure);
            (void)fprintf(stderr, " %s %" PRIu64 " cold, %" PRIu64 " s idle%s",
                          kind == CALLS_FIXED    ? "five minutes"
                          : kind == CALLS_HYBRID ? "hybrid histogram"
                                                 : "ours",
                          result.cold, result.idle_seconds, kind == CALLS_PLAN ? "\n" : ";");
        }
    }
    for (unsigned figure = 0; figure < FIGURES; figure++) {
        line(figure, "five minutes", sums[CALLS_PLAN], sums[CALLS_FIXED],
             figures[figure].fixed_goal);
        line(figure, "hybrid histogram", sums[CALLS_PLAN], sums[CALLS_HYBRID],
             figures[figure].hybrid_goal);
    }
    return 0;
}
