/* How far a learnt model is from the next run: real kernels on one core.
 *
 * For each kernel and size: 10 samples into the model, then RUNS runs, each estimated before and
 * learnt from after, as in the runtime. Sizes take turns, so that a slow spell of the machine hits
 * all. A run's time is the thread's processor time: who else uses the core meanwhile is no property
 * of the kernel, and no model could know it.
 *
 * model_error is |estimate - kernel's time| / kernel's time, where the kernel's time at a size is
 * the median of its RUNS runs: what a scheduler needs to know. model_error_run is the same against
 * every single run; a run on a busy machine is longer by shared caches and threads of the same
 * core, at random, so beside it (standard error) stands the error that the kernel's time itself
 * has, known afterwards: one number a kernel cannot be much below that. Both stand beside the mean
 * of all samples so far, which is what history models of the usual kind keep. Also there: sizes
 * that were never run, estimated from the others. */
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

/* What was seen of one kernel at one size, and what was said of it before each run. */
struct series {
    double sum;     /* of all times so far, */
    unsigned count; /* and how many: a history model of the usual kind is their mean */
    double estimates[RUNS], means[RUNS], times[RUNS];
};

static void
learn(struct syn_model *model, struct buffers *use, struct series *series)
{
    for (int i = 0; i < SAMPLES; i++)
        for (size_t k = 0; k < KERNELS; k++)
            for (size_t s = 0; s < SIZES; s++) {
                size_t n = kernels[k].sizes[s];
                uint64_t ns = time_ns(&kernels[k], use, n);

                syn_model_record(entry_of(model, &kernels[k], n), CLASS_CPU, ns);
                series[k * SIZES + s].sum += (double)ns;
                series[k * SIZES + s].count++;
            }
}

/* RUNS runs of every kernel at its sizes, each learnt from as in the runtime. */
static void
observe(struct syn_model *model, struct buffers *use, struct series *series)
{
    for (int i = 0; i < RUNS; i++)
        for (size_t k = 0; k < KERNELS; k++)
            for (size_t s = 0; s < SIZES; s++) {
                struct series *one = &series[k * SIZES + s];
                struct syn_model_entry *entry = entry_of(model, &kernels[k], kernels[k].sizes[s]);
                struct syn_model_answer answer;
                uint64_t ns;

                syn_model_ask(entry, CLASS_CPU, &answer);
                ns = time_ns(&kernels[k], use, kernels[k].sizes[s]);
                one->estimates[i] = (double)answer.ns;
                one->means[i] = one->sum / one->count;
                one->times[i] = (double)ns;
                one->sum += (double)ns;
                one->count++;
                syn_model_record(entry, CLASS_CPU, ns);
            }
}

/* The same between the sizes, which are never learnt. Returns how many series. */
static size_t
observe_between(struct syn_model *model, struct buffers *use, struct series *series)
{
    size_t count = 0;

    for (int i = 0; i < RUNS; i++) {
        count = 0;
        for (size_t k = 0; k < KERNELS; k++)
            for (size_t s = 0; s + 1 < SIZES; s++, count++) {
                size_t n =
                    (size_t)sqrt((double)kernels[k].sizes[s] * (double)kernels[k].sizes[s + 1]);
                struct syn_model_answer answer;

                syn_model_ask(entry_of(model, &kernels[k], n), CLASS_CPU, &answer);
                series[count].estimates[i] = (double)answer.ns;
                series[count].times[i] = (double)time_ns(&kernels[k], use, n);
            }
    }
    return count;
}

static double
middle_of(const struct series *series)
{
    double sorted[RUNS];

    memcpy(sorted, series->times, sizeof(sorted));
    qsort(sorted, RUNS, sizeof(sorted[0]), compare_errors);
    return (sorted[RUNS / 2 - 1] + sorted[RUNS / 2]) / 2;
}

struct quantiles {
    double median, p95;
};

static struct quantiles
quantiles_of(double *errors, size_t count)
{
    qsort(errors, count, sizeof(errors[0]), compare_errors);
    return (struct quantiles){errors[count / 2], errors[count * 95 / 100]};
}

enum said { SAID_ESTIMATE, SAID_MEAN, SAID_MIDDLE }; /* the last is known afterwards only */

/* Of what was said before each run, against that run, or against the kernel's time. */
static struct quantiles
error_of(const struct series *series, size_t count, enum said what, bool single)
{
    static double errors[ERRORS];

    for (size_t i = 0; i < count; i++) {
        double middle = middle_of(&series[i]);

        for (size_t r = 0; r < RUNS; r++) {
            double said = what == SAID_ESTIMATE ? series[i].estimates[r]
                          : what == SAID_MEAN   ? series[i].means[r]
                                                : middle;
            double ns = single ? series[i].times[r] : middle;

            errors[i * RUNS + r] = fabs(ns - said) / ns;
        }
    }
    return quantiles_of(errors, count * RUNS);
}

static void
report_error(const char *name, struct quantiles error, struct quantiles mean)
{
    (void)printf("%s\t%.2f\tpercent median\tmean of all\t%.2f\t%.3f\t0.100\t%s\n", name,
                 100 * error.median, 100 * mean.median, error.median,
                 error.median <= 0.1 ? "ok" : "short");
    (void)printf("%s_p95\t%.2f\tpercent\tmean of all\t%.2f\t%.3f\t0.250\t%s\n", name,
                 100 * error.p95, 100 * mean.p95, error.p95, error.p95 <= 0.25 ? "ok" : "short");
}

void
bench_model(void)
{
    static struct series series[KERNELS * SIZES], others[KERNELS * SIZES];
    static const char *const classes[] = {"cpu core"};
    struct buffers use = {syn_calloc(FLOATS, sizeof(float)), syn_calloc(FLOATS, sizeof(float)),
                          syn_calloc(FLOATS, sizeof(float)), syn_calloc(FLOATS, sizeof(uint32_t)),
                          42};
    struct syn_model *model = NULL;
    struct quantiles hindsight, between;
    struct syn_err err = {0};
    size_t all = SYN_LEN(series);

    if (use.a == NULL || use.b == NULL || use.c == NULL || use.keys == NULL ||
        syn_model_new(classes, 1, &model, &err) < 0)
        bench_die("model", &err);
    learn(model, &use, series);
    observe(model, &use, series);
    between = error_of(others, observe_between(model, &use, others), SAID_ESTIMATE, false);
    hindsight = error_of(series, all, SAID_MIDDLE, true);
    (void)fprintf(
        stderr,
        "model: against single runs the kernel's own time, known afterwards, is off by "
        "%.1f %% in the median and %.1f %% at p95; estimates of sizes never run: %.1f and "
        "%.1f %%\n",
        100 * hindsight.median, 100 * hindsight.p95, 100 * between.median, 100 * between.p95);
    report_error("model_error", error_of(series, all, SAID_ESTIMATE, false),
                 error_of(series, all, SAID_MEAN, false));
    report_error("model_error_run", error_of(series, all, SAID_ESTIMATE, true),
                 error_of(series, all, SAID_MEAN, true));
    (void)syn_model_free(model);
    syn_free(use.a);
    syn_free(use.b);
    syn_free(use.c);
    syn_free(use.keys);
}
