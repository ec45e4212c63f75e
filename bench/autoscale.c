/* Our autoscaling rule beside Kubernetes' under the same recorded load: replicas that were too many,
 * and requests that had to wait. Simulated: the figures do not depend on the machine. */
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
line(const char *name, uint64_t ours, const char *unit, uint64_t theirs)
{
    uint64_t ratio = theirs ? ours * 1000 / theirs : ours ? 1000000 : 1000;

    printf("%s\t%" PRIu64 "\t%s\tKubernetes HPA\t%" PRIu64 "\t%" PRIu64 ".%03" PRIu64
           "\t<= 1\t%s\n",
           name, ours, unit, theirs, ratio / 1000, ratio % 1000, ratio <= 1000 ? "ok" : "short");
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
        struct sum ours = run(&load, true, by_cpu, 5);
        struct sum hpa = run(&load, false, by_cpu, 15);
        struct sum quick = run(&load, false, by_cpu, 5);

        (void)fprintf(stderr,
                      "%s: ours %" PRIu64 " changes, HPA %" PRIu64 "; HPA looking every 5 s: over "
                      "%" PRIu64 ", late %" PRIu64 "\n",
                      by_cpu ? "cpu" : "requests", ours.changes, hpa.changes, quick.over,
                      quick.late);
        line(by_cpu ? "autoscale_cpu_late" : "autoscale_requests_late", ours.late, "in a million",
             hpa.late);
        line(by_cpu ? "autoscale_cpu_over" : "autoscale_requests_over", ours.over, "per mille",
             hpa.over);
    }
    return 0;
}
