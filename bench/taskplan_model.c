/* How far a learnt model is from the next run: real kernels on one core.
 *
 * For each kernel and size: 10 samples into the model, then RUNS runs whose times are held against
 * its estimate; the error of a run is |time - estimate| / time. Sizes take turns, so that a slow
 * spell of the machine hits all. A run's time is the thread's processor time: who else uses the
 * core meanwhile is no property of the kernel, and no model could know it. Beside it (standard
 * error): sizes that were never run, estimated from the others, and the kernels' own spread, which
 * no model can go below. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/model.h>

#include "taskplan_priv.h"

#define SAMPLES   10
#define RUNS      20
#define SIZES     5
#define KERNELS   5
#define ERRORS    (KERNELS * SIZES * RUNS)
#define FLOATS    ((size_t)1 << 20)
#define CLASS_CPU 0

struct buffers {
    float *a, *b, *c;
    uint32_t *keys;
    uint64_t state;
};

static void
run_gemm(struct buffers *use, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            float factor = use->a[i * n + k];

            for (size_t j = 0; j < n; j++)
                use->c[i * n + j] += factor * use->b[k * n + j];
        }
}

static void
run_axpy(struct buffers *use, size_t n)
{
    for (size_t i = 0; i < n; i++)
        use->b[i] += 0.5F * use->a[i];
}

static void
run_reduce(struct buffers *use, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)use->a[i];
    use->c[0] = (float)sum;
}

static void
run_stencil(struct buffers *use, size_t n)
{
    for (size_t i = 1; i + 1 < n; i++)
        for (size_t j = 1; j + 1 < n; j++)
            use->c[i * n + j] =
                0.2F * (use->a[i * n + j] + use->a[i * n + j - 1] + use->a[i * n + j + 1] +
                        use->a[(i - 1) * n + j] + use->a[(i + 1) * n + j]);
}

static int
compare_keys(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

static void
run_sort(struct buffers *use, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        use->state = use->state * UINT64_C(6364136223846793005) + 1442695040888963407U;
        use->keys[i] = (uint32_t)(use->state >> 32);
    }
    qsort(use->keys, n, sizeof(use->keys[0]), compare_keys);
}

static const struct kernel {
    const char *name;
    void (*run)(struct buffers *use, size_t n);
    size_t sizes[SIZES]; /* in ascending order; the size between two is their geometric mean */
} kernels[KERNELS] = {
    {"gemm", run_gemm, {48, 72, 108, 162, 243}},
    {"axpy", run_axpy, {32768, 65536, 131072, 262144, 524288}},
    {"reduce", run_reduce, {32768, 65536, 131072, 262144, 524288}},
    {"stencil", run_stencil, {128, 192, 288, 432, 648}},
    {"sort", run_sort, {2000, 4000, 8000, 16000, 32000}},
};

static uint64_t
time_ns(const struct kernel *kernel, struct buffers *use, size_t n)
{
    struct timespec begin, end;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    kernel->run(use, n);
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return (uint64_t)((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec);
}

static int
compare_errors(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static struct syn_model_entry *
entry_of(struct syn_model *model, const struct kernel *kernel, size_t n)
{
    struct syn_model_entry *entry = NULL;
    struct syn_err err = {0};

    if (syn_model_entry(model, kernel->name, n, 0, &entry, &err) < 0)
        bench_die(kernel->name, &err);
    return entry;
}

static void
learn(struct syn_model *model, struct buffers *use)
{
    for (int i = 0; i < SAMPLES; i++)
        for (size_t k = 0; k < KERNELS; k++)
            for (size_t s = 0; s < SIZES; s++) {
                size_t n = kernels[k].sizes[s];

                syn_model_record(entry_of(model, &kernels[k], n), CLASS_CPU,
                                 time_ns(&kernels[k], use, n));
            }
}

/* Errors of RUNS runs of every kernel at its sizes, or between them; returns how many. */
static size_t
test(struct syn_model *model, struct buffers *use, bool between, double *errors)
{
    size_t count = 0;

    for (int i = 0; i < RUNS; i++)
        for (size_t k = 0; k < KERNELS; k++)
            for (size_t s = 0; s + between < SIZES; s++) {
                size_t n = kernels[k].sizes[s];
                struct syn_model_answer answer;
                double ns;

                if (between)
                    n = (size_t)sqrt((double)n * (double)kernels[k].sizes[s + 1]);
                syn_model_ask(entry_of(model, &kernels[k], n), CLASS_CPU, &answer);
                ns = (double)time_ns(&kernels[k], use, n);
                errors[count++] = fabs(ns - (double)answer.ns) / ns;
            }
    qsort(errors, count, sizeof(errors[0]), compare_errors);
    return count;
}

void
bench_model(void)
{
    static double errors[ERRORS];
    static const char *const classes[] = {"cpu core"};
    struct buffers use = {syn_calloc(FLOATS, sizeof(float)), syn_calloc(FLOATS, sizeof(float)),
                          syn_calloc(FLOATS, sizeof(float)), syn_calloc(FLOATS, sizeof(uint32_t)),
                          42};
    struct syn_model *model = NULL;
    struct syn_err err = {0};
    double median, p95;
    size_t count;

    if (use.a == NULL || use.b == NULL || use.c == NULL || use.keys == NULL ||
        syn_model_new(classes, 1, &model, &err) < 0)
        bench_die("model", &err);
    learn(model, &use);
    count = test(model, &use, false, errors);
    median = errors[count / 2];
    p95 = errors[count * 95 / 100];
    count = test(model, &use, true, errors);
    (void)fprintf(stderr, "model: sizes never run: median error %.1f %%, p95 %.1f %%\n",
                  100 * errors[count / 2], 100 * errors[count * 95 / 100]);
    (void)printf("model_error\t%.2f\tpercent median\tgoal\t10\t%.3f\t0.100\t%s\n", 100 * median,
                 median, median <= 0.1 ? "ok" : "short");
    (void)printf("model_error_p95\t%.2f\tpercent\tgoal\t25\t%.3f\t0.250\t%s\n", 100 * p95, p95,
                 p95 <= 0.25 ? "ok" : "short");
    (void)syn_model_free(model);
    syn_free(use.a);
    syn_free(use.b);
    syn_free(use.c);
    syn_free(use.keys);
}
