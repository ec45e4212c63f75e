/* Tasks on data: the Cholesky factor of a matrix, A = L L^T, tile by tile.
 *
 * The loops are those of the textbook. Each call becomes a task that says which tiles it reads and
 * which it changes; what may run beside what follows from that alone. The tasks on the critical
 * path are submitted with a higher priority.
 *
 *     cholesky [TILES [TILE]]      e.g. cholesky 12 96: a matrix of 1152 x 1152 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <synor/task.h>

#define TILES_MAX 64
#define TILE_MAX  512

struct tile {
    double *values; /* b x b, by rows */
    struct syn_data *data;
};

struct work {
    size_t count; /* tiles in a row */
    size_t b;     /* rows of a tile */
    double *memory;
    struct tile tiles[TILES_MAX][TILES_MAX]; /* the lower half: [row][column], column <= row */
};

/* What one task works on. The tiles' addresses are all that it needs. */
struct call {
    size_t b;
    const double *x, *y;
    double *out;
};

/* out := its own Cholesky factor. */
static int
potrf(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct call *call = arg;
    double *a = call->out;
    size_t b = call->b;

    (void)worker;
    (void)at;
    for (size_t j = 0; j < b; j++) {
        double pivot = a[j * b + j];

        for (size_t k = 0; k < j; k++)
            pivot -= a[j * b + k] * a[j * b + k];
        if (!(pivot > 0))
            return SYN_E_INVALID; /* not positive definite; those who need this tile do not run */
        pivot = sqrt(pivot);
        a[j * b + j] = pivot;
        for (size_t i = j + 1; i < b; i++) {
            double sum = a[i * b + j];

            for (size_t k = 0; k < j; k++)
                sum -= a[i * b + k] * a[j * b + k];
            a[i * b + j] = sum / pivot;
            a[j * b + i] = 0;
        }
    }
    return 0;
}

/* out := out x^-T, for a lower triangular x. */
static int
trsm(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct call *call = arg;
    size_t b = call->b;

    (void)worker;
    (void)at;
    for (size_t i = 0; i < b; i++) {
        double *row = call->out + i * b;

        for (size_t j = 0; j < b; j++) {
            double sum = row[j];

            for (size_t k = 0; k < j; k++)
                sum -= row[k] * call->x[j * b + k];
            row[j] = sum / call->x[j * b + j];
        }
    }
    return 0;
}

/* out := out - x y^T; with x == y it is the symmetric update. */
static int
gemm(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct call *call = arg;
    size_t b = call->b;

    (void)worker;
    (void)at;
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j < b; j++) {
            double sum = 0;

            for (size_t k = 0; k < b; k++)
                sum += call->x[i * b + k] * call->y[j * b + k];
            call->out[i * b + j] -= sum;
        }
    return 0;
}

/* What a task runs, and how urgent that is: the next column waits for the diagonal. */
struct kernel {
    syn_task_fn *run;
    int priority;
};
static const struct kernel diagonal = {potrf, 2}, panel = {trsm, 1}, update = {gemm, 0};

/* Submit one call: `x` and `y` (may be NULL) are read, `out` is changed. */
static int
submit(struct syn_runtime *runtime, const struct kernel *kernel, struct call *call,
       const struct tile *x, const struct tile *y, const struct tile *out, struct syn_err *err)
{
    struct syn_use uses[3] = {{out->data, SYN_UPDATE}};
    struct syn_task_spec spec = {
        .run = kernel->run, .arg = call, .uses = uses, .priority = kernel->priority};

    call->out = out->values;
    call->x = x != NULL ? x->values : NULL;
    call->y = y != NULL ? y->values : NULL;
    spec.uses_count = 1;
    if (x != NULL)
        uses[spec.uses_count++] = (struct syn_use){x->data, SYN_READ};
    if (y != NULL && y != x)
        uses[spec.uses_count++] = (struct syn_use){y->data, SYN_READ};
    return syn_task_submit(runtime, &spec, NULL, err);
}

/* The algorithm. `calls` has room for every task and lives until they have run. */
static int
factor(struct syn_runtime *runtime, struct work *work, struct call *calls, struct syn_err *err)
{
    struct tile(*t)[TILES_MAX] = work->tiles;
    int rc = 0;

    for (size_t k = 0; k < work->count && rc == 0; k++) {
        rc = submit(runtime, &diagonal, calls++, NULL, NULL, &t[k][k], err);
        for (size_t i = k + 1; i < work->count && rc == 0; i++)
            rc = submit(runtime, &panel, calls++, &t[k][k], NULL, &t[i][k], err);
        for (size_t i = k + 1; i < work->count; i++)
            for (size_t j = k + 1; j <= i && rc == 0; j++)
                rc = submit(runtime, &update, calls++, &t[i][k], &t[j][k], &t[i][j], err);
    }
    syn_runtime_wait(runtime); /* also after a failure: the calls are in use */
    return rc;
}

/* The matrix: positive definite, and known without being kept. */
static double
element(const struct work *work, size_t i, size_t j)
{
    double distance = i > j ? (double)(i - j) : (double)(j - i);

    return 1 / (1 + distance) + (i == j ? (double)(work->count * work->b) : 0);
}

static double
factor_at(const struct work *work, size_t i, size_t j)
{
    return work->tiles[i / work->b][j / work->b].values[i % work->b * work->b + j % work->b];
}

/* The largest |A - L L^T| of some hundred elements in every row, relative to A's largest. */
static double
residual(const struct work *work)
{
    size_t n = work->count * work->b;
    double worst = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = i % 7; j <= i; j += 7) {
            double sum = 0;

            for (size_t k = 0; k <= j; k++)
                sum += factor_at(work, i, k) * factor_at(work, j, k);
            worst = fmax(worst, fabs(sum - element(work, i, j)));
        }
    return worst / element(work, 0, 0);
}

static int
prepare(struct syn_runtime *runtime, struct work *work, struct syn_err *err)
{
    size_t b = work->b;
    double *next = work->memory;

    for (size_t i = 0; i < work->count; i++)
        for (size_t j = 0; j <= i; j++, next += b * b) {
            struct tile *tile = &work->tiles[i][j];

            tile->values = next;
            for (size_t k = 0; k < b * b; k++)
                next[k] = element(work, i * b + k / b, j * b + k % b);
            if (syn_data_new(runtime, next, b * b * sizeof(*next), &tile->data, err) < 0)
                return err->code;
        }
    return 0;
}

int
main(int argc, char **argv)
{
    static struct work work; /* its handles are all NULL: freeing them is fine at any time */
    long tiles = argc > 1 ? strtol(argv[1], NULL, 10) : 8;
    long tile = argc > 2 ? strtol(argv[2], NULL, 10) : 48;
    struct syn_runtime *runtime;
    struct syn_err err;
    struct call *calls;
    size_t tasks;
    int rc;

    if (tiles < 1 || tiles > TILES_MAX || tile < 1 || tile > TILE_MAX) {
        (void)fprintf(stderr, "usage: cholesky [1..%d [1..%d]]\n", TILES_MAX, TILE_MAX);
        return 2;
    }
    work.count = (size_t)tiles;
    work.b = (size_t)tile;
    tasks = work.count * (work.count + 1) * (work.count + 2) / 6;
    work.memory = calloc(work.count * (work.count + 1) / 2, work.b * work.b * sizeof(double));
    calls = calloc(tasks, sizeof(*calls));
    if (work.memory == NULL || calls == NULL || syn_runtime_new(NULL, &runtime, &err) < 0) {
        (void)fprintf(stderr, "cholesky: no memory or no threads\n");
        free(work.memory);
        free(calls);
        return 1;
    }
    for (size_t i = 0; i < tasks; i++)
        calls[i].b = work.b;
    rc = prepare(runtime, &work, &err);
    if (rc == 0)
        rc = factor(runtime, &work, calls, &err);
    if (rc < 0)
        (void)fprintf(stderr, "cholesky: %s\n", err.msg);
    for (size_t i = 0; i < work.count; i++)
        for (size_t j = 0; j <= i; j++)
            syn_data_free(work.tiles[i][j].data);
    syn_runtime_free(runtime);
    if (rc == 0) {
        double error = residual(&work);

        (void)printf("%zu x %zu in %zu tasks, residual %.1e\n", work.count * work.b,
                     work.count * work.b, tasks, error);
        rc = error < 1e-13 ? 0 : -1;
    }
    free(calls);
    free(work.memory);
    return rc == 0 ? 0 : 1;
}
