/* Fork-join: Fibonacci numbers by the slowest way there is, which makes it a test of what a fork
 * costs. A fork offers a call to the other workers; where nobody took it, the join gives it back
 * and the caller runs it as an ordinary call.
 *
 *     fib [N] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <synor/runtime.h>

#define N_MAX 60 /* hours */

/* Arguments and results of an offered call: at most SYN_FORK_FRAME_MAX bytes. */
struct half {
    int n;
    uint64_t value;
};

static uint64_t fib(struct syn_worker *worker, struct syn_fork *at, int n);

/* What another worker does with an offer: `at` is its own place to fork. */
static void
fib_stolen(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    struct half *half = frame;

    half->value = fib(worker, at, half->n);
}

static uint64_t
fib(struct syn_worker *worker, struct syn_fork *at, int n)
{
    struct half *half = syn_fork_frame(at);
    struct syn_fork *next;
    uint64_t other;

    if (n < 2)
        return (uint64_t)n;
    half->n = n - 1;
    next = syn_fork(worker, at, fib_stolen); /* others may run it from here on ... */
    other = fib(worker, next, n - 2);
    if (syn_join(worker, at)) /* ... nobody did: it is ours again */
        return other + fib(worker, at, n - 1);
    return other + half->value;
}

static void
start(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct half *whole = arg;

    whole->value = fib(worker, at, whole->n);
}

static uint64_t
fib_plain(int n)
{
    uint64_t a = 0, b = 1;

    while (n-- > 0) {
        uint64_t sum = a + b;

        a = b;
        b = sum;
    }
    return a;
}

static double
seconds(void)
{
    struct timespec now;

    (void)timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int
main(int argc, char **argv)
{
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 32;
    struct half whole = {.n = (int)n, .value = 0};
    struct syn_runtime *runtime;
    struct syn_runtime_stats stats;
    struct syn_err err;
    double began, took;

    if (n < 1 || n > N_MAX) {
        (void)fprintf(stderr, "usage: fib [1..%d]\n", N_MAX);
        return 2;
    }
    if (syn_runtime_new(NULL, &runtime, &err) < 0) {
        (void)fprintf(stderr, "fib: %s\n", err.msg);
        return 1;
    }
    began = seconds();
    if (syn_runtime_run(runtime, start, &whole, &err) < 0) {
        (void)fprintf(stderr, "fib: %s\n", err.msg);
        syn_runtime_free(runtime);
        return 1;
    }
    took = seconds() - began;
    syn_runtime_stats(runtime, &stats);
    syn_runtime_free(runtime);

    /* fib(n) makes fib(n + 1) - 1 forks. */
    (void)printf("fib(%ld) = %" PRIu64 ", %u workers, %.3f s, %.2f ns a fork, %" PRIu64 " stolen\n",
                 n, whole.value, stats.workers, took,
                 took * 1e9 / ((double)fib_plain((int)n + 1) - 0.5), stats.steals);
    return whole.value == fib_plain((int)n) ? 0 : 1;
}
