#include "stress_suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/clock.h>

#include "perturb_priv.h"
#include "stacks.h"

#define LAST_WORDS_S 20 /* so long a program that dies may take to say why */

/* What is running, for whoever tells of its end. */
static struct {
    const struct syn_stress_case *now;
    double seconds; /* of one case */
    double round_s; /* of one round */
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

/* Once: it may fail again while it tells. Then, or when it hangs in that, it ends at once. */
static void
end_well(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGBUS, SIG_DFL);
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(LAST_WORDS_S);
}

static void
on_death(int number)
{
    end_well();
    /* Not what a handler may do: the program dies, and should it hang in this, by its alarm.
     * NOLINTNEXTLINE(bugprone-signal-handler,cert-sig30-c) */
    syn_stacks_tell_own();
    say_seed();
    (void)raise(number);
}

/* The round that is being run has to end by then; 0: none is. */
static _Atomic int64_t round_until_ns;

static void
begin_round(void)
{
    atomic_store(&round_until_ns, syn_clock_ns() + (int64_t)(run.round_s * 1e9));
    (void)alarm((unsigned)run.round_s +
                LAST_WORDS_S); /* should the thread that looks hang as well */
}

static void
end_round(void)
{
    atomic_store(&round_until_ns, 0);
    (void)alarm(0);
}

/* A thread of its own looks for a round that hangs: unlike a handler, it may do anything. */
static void *
look_after(void *unused)
{
    (void)unused;
    for (;;) {
        const struct timespec nap = {.tv_nsec = 200000000};
        int64_t until = atomic_load(&round_until_ns);

        (void)nanosleep(&nap, NULL);
        if (until == 0 || syn_clock_ns() < until || atomic_load(&round_until_ns) != until)
            continue;
        end_well();
        (void)fprintf(stderr, "# it hangs\n");
        syn_stacks_tell_others();
        say_seed();
        abort();
    }
    return NULL;
}

/* Without it a round that hangs dies by its alarm, and says nothing. */
static void
watch_rounds(void)
{
    pthread_t thread;

    syn_stacks_ready();
    if (pthread_create(&thread, NULL, look_after, NULL) == 0)
        (void)pthread_detach(thread);
}

/* Sanitizers say more of it themselves. */
static void
catch_deaths(void)
{
    (void)signal(SIGABRT, on_death);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    (void)signal(SIGSEGV, on_death); /* cmocka's is good for its own thread only */
    (void)signal(SIGBUS, on_death);
#endif
}

static int
after_case(void **state)
{
    (void)state;
    end_round();
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

    catch_deaths();
    do {
        uint64_t seed = run.given != 0 ? run.given : syn_test_random(&run.random) >> 16 | 1;

        (void)snprintf(run.note, sizeof(run.note), "# %s, round %llu: SYNOR_TEST_SEED=%llu\n",
                       one->name, (unsigned long long)rounds, (unsigned long long)seed);
        run.now = one;
        begin_round();
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
    run.round_s = seconds_of("SYNOR_STRESS_ROUND_SECONDS", SYN_STRESS_ROUND_S);
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = run_case,
                                       .teardown_func = after_case,
                                       .initial_state = (void *)(uintptr_t)&cases[i]};
    watch_rounds();
    return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}

int
syn_stress_run(const char *group, const struct syn_stress_case *cases, size_t count)
{
    return syn_stress_run_for(group, cases, count, "SYNOR_STRESS_SECONDS", SYN_STRESS_SECONDS);
}
