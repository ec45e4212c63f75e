#include "stress_suite.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/clock.h>

#include "perturb_priv.h"

/* What is running, for whoever tells of its end. */
static struct {
    const struct syn_stress_case *now;
    double seconds; /* of one case */
    uint64_t given; /* the environment's seed; 0: none */
    uint64_t random;
    char note[160]; /* what to run to see it again */
} run;

static double
clock_s(void)
{
    return (double)syn_clock_ns() / 1e9;
}

static double
seconds_of(const char *variable, double seconds)
{
    const char *text = getenv(variable);

    return text != NULL ? strtod(text, NULL) : seconds;
}

static void
say_seed(void)
{
    ssize_t said = write(STDERR_FILENO, run.note, strlen(run.note));

    (void)said;
}

static void
on_abort(int number)
{
    static const char hangs[] = "# it hangs\n";

    if (number == SIGALRM && write(STDERR_FILENO, hangs, sizeof(hangs) - 1) < 0)
        _exit(99);
    say_seed();
    (void)signal(SIGABRT, SIG_DFL);
    abort();
}

static int
after_case(void **state)
{
    (void)state;
    (void)alarm(0);
    syn_perturb_seed(0);
    if (run.now != NULL)
        print_message("%s", run.note);
    run.now = NULL;
    return 0;
}

static void
run_case(void **state)
{
    const struct syn_stress_case *one = *state;
    double until = clock_s() + run.seconds;
    uint64_t rounds = 0;

    do {
        uint64_t seed = run.given != 0 ? run.given : syn_test_random(&run.random) >> 16 | 1;

        (void)snprintf(run.note, sizeof(run.note), "# %s, round %llu: SYNOR_TEST_SEED=%llu\n",
                       one->name, (unsigned long long)rounds, (unsigned long long)seed);
        run.now = one;
        (void)alarm(SYN_STRESS_ROUND_S);
        syn_perturb_seed(seed);
        one->round(seed);
        rounds++;
    } while (clock_s() < until);
    run.now = NULL;
    print_message("# %s: %llu rounds\n", one->name, (unsigned long long)rounds);
}

bool
syn_stress_wanted(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "stress") == 0;
}

int
syn_stress_run_for(const char *group, const struct syn_stress_case *cases, size_t count,
                   const char *variable, double seconds)
{
    struct CMUnitTest tests[SYN_STRESS_CASES_MAX] = {0};
    const char *seed = getenv("SYNOR_TEST_SEED"), *sequence = getenv("SYNOR_TEST_SEQUENCE");
    struct timespec now = {0};

    assert(count > 0 && count <= SYN_STRESS_CASES_MAX);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    run.random = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    run.given = seed != NULL ? strtoull(seed, NULL, 0) : 0;
    if (sequence != NULL) {
        run.random = strtoull(sequence, NULL, 0);
        run.given = 0;
    }
    run.seconds = seconds_of(variable, seconds) / (double)count;
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = run_case,
                                       .teardown_func = after_case,
                                       .initial_state = (void *)(uintptr_t)&cases[i]};
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGALRM, on_abort);
    return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}

int
syn_stress_run(const char *group, const struct syn_stress_case *cases, size_t count)
{
    return syn_stress_run_for(group, cases, count, "SYNOR_STRESS_SECONDS", SYN_STRESS_SECONDS);
}
