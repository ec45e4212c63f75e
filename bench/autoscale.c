/* Our autoscaling rule beside Kubernetes' under the same recorded load: replicas that were too
 * many, and requests that had to wait. Simulated: the figures do not depend on the machine. */
#include <inttypes.h>
#include <stdio.h>

#include "autoscale_testing.h"

#define SEEDS 16

struct sum {
    uint64_t over, late, changes;
};

static struct sum
run(const struct load *load, bool ours, bool by_cpu, int64_t every_s)
{
    struct sum sum = {0};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct load_ours our;
        struct load_hpa hpa;
        struct load_scaler scaler = {.every_s = every_s};
        struct load_result result;

        load_ours_init(&our, by_cpu ? SYN_AUTOSCALE_CPU : SYN_AUTOSCALE_REQUESTS);
        load_hpa_init(&hpa, by_cpu);
        scaler.decide = ours ? load_ours_decide : load_hpa_decide;
        scaler.self = ours ? (void *)&our : (void *)&hpa;
        result = load_run(load, &scaler, seed * 7919);
        sum.over += load_over(&result);
        sum.late += load_late(&result);
        sum.changes += result.changes;
    }
    return (struct sum){sum.over / SEEDS, sum.late / SEEDS, sum.changes / SEEDS};
}

static void
line(const char *by, const char *what, const char *unit, const char *peer, uint64_t ours,
     uint64_t theirs, uint64_t goal)
{
    uint64_t ratio = ours * 1000 / SYN_MAX(theirs, 1U);

    printf("autoscale_%s_%s\t%" PRIu64 "\t%s\t%s\t%" PRIu64 "\t%" PRIu64 ".%03" PRIu64
           "\t<= %" PRIu64 ".%02" PRIu64 "\t%s\n",
           by, what, ours, unit, peer, theirs, ratio / 1000, ratio % 1000, goal / 1000,
           goal % 1000 / 10, ratio <= goal ? "ok" : "short");
}

int
main(int argc, char **argv)
{
    static struct load load;
    const char *path = argc > 1 ? argv[1] : SYN_LOAD_FILE;

    if (!load_read(path, &load)) {
        (void)fprintf(stderr, "bench_autoscale: no load in %s\n", path);
        return 1;
    }
    for (int by_cpu = 1; by_cpu >= 0; by_cpu--) {
        const char *by = by_cpu ? "cpu" : "requests";
        struct sum ours = run(&load, true, by_cpu, 5);
        struct sum hpa = run(&load, false, by_cpu, 15);
        struct sum quick = run(&load, false, by_cpu, 5);

        line(by, "late", "ppm", "HPA", ours.late, hpa.late, 500);
        line(by, "over", "permille", "HPA", ours.over, hpa.over, 1150);
        line(by, "late", "ppm", "HPA every 5 s", ours.late, quick.late, 1000);
        line(by, "over", "permille", "HPA every 5 s", ours.over, quick.over, 1000);
        (void)fprintf(stderr,
                      "%s: %" PRIu64 " changes, HPA %" PRIu64 ", HPA every 5 s %" PRIu64 "\n", by,
                      ours.changes, hpa.changes, quick.changes);
    }
    return 0;
}
