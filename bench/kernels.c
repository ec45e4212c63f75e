/* Kernels of libsynor on the host's cores beside libraries that are known to be fast: gemm beside
 * OpenBLAS, sort beside qsort(3). OpenBLAS is loaded at run time; without it the figures of ours
 * are printed alone. Rounds are taken in turns. */
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/kernel.h>
#include <synor/runtime.h>

#define ROUNDS    15
#define GEMM_GOAL 0.85
#define SORT_GOAL 1.0
#define ROW_MAJOR 101
#define PLAIN     111

typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc);
typedef void dgemm_fn(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a,
                      int lda, const double *b, int ldb, double beta, double *c, int ldc);

static struct {
    sgemm_fn *sgemm;
    dgemm_fn *dgemm;
    void (*threads)(int count);
} peer;

static struct syn_runtime *runtime;
static uint64_t random_state = 1;

/* On one core its time, so that others on the machine do not count; else the clock's. */
static double
now_s(bool all)
{
    struct timespec now = {0};

    (void)clock_gettime(all ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* That this process may use. */
static int
cores(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

static double
some_number(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (double)(int64_t)random_state / 0x1p63;
}

static void *
load(const char *name)
{
    static void *library;
    void *symbol = NULL;

    if (!library)
        library = dlopen("libopenblas.so.0", RTLD_NOW);
    if (library)
        symbol = dlsym(library, name);
    return symbol;
}

static void
run_call(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct syn_kernel_call *call = arg;
    struct syn_err err = {0};

    if (call->kernel->impls[0].run(call, worker, at, &err) < 0) {
        fprintf(stderr, "%s: %s\n", call->kernel->name, err.msg);
        exit(1);
    }
}

/* On one core without the runtime, or with all. */
static double
time_call(struct syn_kernel_call *call, bool all)
{
    double start = now_s(all);
    struct syn_err err = {0};

    if (!all)
        run_call(NULL, NULL, call);
    else if (syn_runtime_run(runtime, run_call, call, &err) < 0)
        exit(1);
    return now_s(all) - start;
}

static int
compare_doubles(const void *a_, const void *b_)
{
    double a = *(const double *)a_, b = *(const double *)b_;

    return (a > b) - (a < b);
}

static double
median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

static void
report(const char *name, double ours, const char *unit, double theirs, const char *who, double goal)
{
    double ratio = theirs > 0 ? ours / theirs : 0;

    if (theirs > 0)
        printf("%s\t%.3g\t%s\t%s\t%.3g\t%.2f\t%.2f\t%s\n", name, ours, unit, who, theirs, ratio,
               goal, ratio >= goal ? "ok" : "short");
    else
        printf("%s\t%.3g\t%s\t-\t-\t-\t-\t-\n", name, ours, unit);
    (void)fflush(stdout);
}

static struct syn_shape
square(enum syn_dtype dtype, uint64_t n)
{
    return (struct syn_shape){.dtype = dtype, .dims = 2, .sizes = {n, n}, .strides = {n, 1}};
}

static void
their_gemm(enum syn_dtype dtype, int n, void *const data[3])
{
    if (dtype == SYN_DTYPE_FP32)
        peer.sgemm(ROW_MAJOR, PLAIN, PLAIN, n, n, n, 1, data[0], n, data[1], n, 0, data[2], n);
    else
        peer.dgemm(ROW_MAJOR, PLAIN, PLAIN, n, n, n, 1, data[0], n, data[1], n, 0, data[2], n);
}

static void
bench_gemm(enum syn_dtype dtype, int n, bool all)
{
    struct syn_shape shape = square(dtype, (uint64_t)n);
    size_t count = (size_t)n * (size_t)n, size = syn_dtype_info(dtype)->bits / 8;
    struct syn_kernel_call call;
    double ours[ROUNDS], theirs[ROUNDS] = {0}, flops = 2.0 * n * n * n;
    void *data[3];
    char name[64];

    syn_kernel_call_init(&call, syn_kernel_find("gemm"));
    for (unsigned i = 0; i < 3; i++) {
        data[i] = syn_alloc_aligned(64, count * size);
        if (!data[i])
            exit(1);
        for (size_t k = 0; k < count; k++) {
            if (dtype == SYN_DTYPE_FP32)
                ((float *)data[i])[k] = (float)some_number();
            else
                ((double *)data[i])[k] = some_number();
        }
        call.operands[i] = (struct syn_operand){&shape, data[i]};
    }
    if (peer.threads)
        peer.threads(all ? cores() : 1);
    for (int round = -1; round < ROUNDS; round++) {
        double mine = flops / time_call(&call, all) * 1e-9, start = now_s(all);

        if (peer.sgemm && peer.dgemm)
            their_gemm(dtype, n, data);
        if (round >= 0) {
            ours[round] = mine;
            theirs[round] = peer.sgemm && peer.dgemm ? flops / (now_s(all) - start) * 1e-9 : 0;
        }
    }
    (void)snprintf(name, sizeof(name), "gemm_%s_%d_%s", syn_dtype_name(dtype), n,
                   all ? "all" : "one");
    report(name, median(ours, ROUNDS), "Gflop/s", median(theirs, ROUNDS), "openblas", GEMM_GOAL);
    for (unsigned i = 0; i < 3; i++)
        syn_free(data[i]);
}

static void
bench_sort(uint64_t count, bool all)
{
    struct syn_shape shape = {.dtype = SYN_DTYPE_FP64, .dims = 1, .sizes = {count}, .strides = {1}};
    double *from = syn_alloc(count * sizeof(*from)), *to = syn_alloc(count * sizeof(*to));
    double ours[ROUNDS], theirs[ROUNDS];
    struct syn_kernel_call call;
    char name[64];

    if (!from || !to)
        exit(1);
    for (uint64_t i = 0; i < count; i++)
        from[i] = some_number();
    syn_kernel_call_init(&call, syn_kernel_find("sort"));
    call.operands[0] = (struct syn_operand){&shape, to};
    for (int round = 0; round < ROUNDS; round++) {
        double start;

        memcpy(to, from, count * sizeof(*to));
        ours[round] = (double)count * 1e-6 / time_call(&call, all);
        memcpy(to, from, count * sizeof(*to));
        start = now_s(all);
        qsort(to, count, sizeof(*to), compare_doubles);
        theirs[round] = (double)count * 1e-6 / (now_s(all) - start);
    }
    (void)snprintf(name, sizeof(name), "sort_fp64_%llu_%s", (unsigned long long)count,
                   all ? "all" : "one");
    report(name, median(ours, ROUNDS), "M/s", median(theirs, ROUNDS), "qsort", SORT_GOAL);
    syn_free(from);
    syn_free(to);
}

/* What has no peer here: rates against what the machine gives, by eye. */
static void
bench_fft(uint64_t rows, uint64_t n, bool all)
{
    struct syn_shape shape = {
        .dtype = SYN_DTYPE_C64, .dims = 2, .sizes = {rows, n}, .strides = {n, 1}};
    float *x = syn_calloc(rows * n, 2 * sizeof(*x)), *y = syn_calloc(rows * n, 2 * sizeof(*y));
    struct syn_kernel_call call;
    struct syn_work work;
    double ours[ROUNDS];
    char name[64];

    if (!x || !y)
        exit(1);
    syn_kernel_call_init(&call, syn_kernel_find("fft"));
    call.operands[0] = (struct syn_operand){&shape, x};
    call.operands[1] = (struct syn_operand){&shape, y};
    call.kernel->work(&call, &work);
    for (int round = 0; round < ROUNDS; round++)
        ours[round] = (double)work.flops * 1e-9 / time_call(&call, all);
    (void)snprintf(name, sizeof(name), "fft_c64_%llux%llu_%s", (unsigned long long)rows,
                   (unsigned long long)n, all ? "all" : "one");
    report(name, median(ours, ROUNDS), "Gflop/s", 0, NULL, 0);
    syn_free(x);
    syn_free(y);
}

static void
bench_conv(bool all)
{
    const struct syn_shape shapes[3] = {
        {.dtype = SYN_DTYPE_FP32,
         .dims = 4,
         .sizes = {4, 64, 56, 56},
         .strides = {64 * 56 * 56, 56 * 56, 56, 1}},
        {.dtype = SYN_DTYPE_FP32, .dims = 4, .sizes = {64, 64, 3, 3}, .strides = {64 * 9, 9, 3, 1}},
        {.dtype = SYN_DTYPE_FP32,
         .dims = 4,
         .sizes = {4, 64, 56, 56},
         .strides = {64 * 56 * 56, 56 * 56, 56, 1}},
    };
    struct syn_kernel_call call;
    struct syn_work work;
    double ours[ROUNDS];
    void *data[3];

    syn_kernel_call_init(&call, syn_kernel_find("conv2d"));
    call.params[1] = 1;
    for (unsigned i = 0; i < 3; i++) {
        data[i] = syn_calloc(shapes[i].sizes[0] * shapes[i].strides[0], sizeof(float));
        if (!data[i])
            exit(1);
        call.operands[i] = (struct syn_operand){&shapes[i], data[i]};
    }
    call.kernel->work(&call, &work);
    for (int round = 0; round < ROUNDS; round++)
        ours[round] = (double)work.flops * 1e-9 / time_call(&call, all);
    report(all ? "conv2d_fp32_3x3_all" : "conv2d_fp32_3x3_one", median(ours, ROUNDS), "Gflop/s", 0,
           NULL, 0);
    for (unsigned i = 0; i < 3; i++)
        syn_free(data[i]);
}

int
main(void)
{
    struct syn_err err = {0};

    *(void **)&peer.sgemm = load("cblas_sgemm");
    *(void **)&peer.dgemm = load("cblas_dgemm");
    *(void **)&peer.threads = load("openblas_set_num_threads");
    if (syn_runtime_new(NULL, &runtime, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (int all = 0; all < 2; all++) {
        for (int n = 128; n <= 1024; n *= 2) {
            bench_gemm(SYN_DTYPE_FP32, n, all);
            bench_gemm(SYN_DTYPE_FP64, n, all);
        }
        bench_conv(all);
        bench_sort(1 << 20, all);
        bench_fft(64, 4096, all);
        bench_fft(1, 1 << 20, all);
    }
    (void)syn_runtime_free(runtime);
    return 0;
}
