/* Stress: what a test does once with a seed, done with many seeds for as long as there is time,
 * while threads are held up at random where the program is compiled for that (perturb.c).
 *
 *     SYNOR_STRESS_SECONDS=3600 task_stress stress     an hour for all of it; ordinarily seconds
 *     SYNOR_TEST_SEED=123 task_stress stress           that seed, again and again
 *     SYNOR_TEST_SEQUENCE=7 task_stress stress         those that follow from 7; wins over a seed
 *     SYNOR_STRESS_ROUND_SECONDS=9 task_stress stress  a round that takes longer hangs
 *
 * A failure, a crash or a round that does not end prints the seed; the latter two also where the
 * threads stand (stacks.h). */
#ifndef SYNOR_COMPUTE_STRESS_SUITE_H
#define SYNOR_COMPUTE_STRESS_SUITE_H

#include <synor/base/test.h>

#define SYN_STRESS_SECONDS   3   /* of one program, unless SYNOR_STRESS_SECONDS says otherwise */
#define SYN_STRESS_ROUND_S   150 /* a round that takes longer hangs */
#define SYN_STRESS_CASES_MAX 16

struct syn_stress_case {
    const char *name;
    void (*round)(uint64_t seed); /* fails by cmocka's assertions */
};

/** Did somebody ask for the stress: is the first argument "stress"? */
bool syn_stress_wanted(int argc, char **argv);
/** Run every case for its share of the time, at least once each. As cmocka_run_group_tests(). */
int syn_stress_run(const char *group, const struct syn_stress_case *cases, size_t count);
/** The same for another time than the stress's: of the environment's `variable`, or `seconds`. */
int syn_stress_run_for(const char *group, const struct syn_stress_case *cases, size_t count,
                       const char *variable, double seconds);

#endif
