/* How divisible work is best split over classes of workers.
 *
 * With n_k tasks of kernel k, t_kw the time on class w and m_w workers of it:
 *
 *     minimise T   subject to   sum_w x_kw = n_k,   sum_k t_kw x_kw <= m_w T,   x >= 0
 *
 * A dense primal simplex solves it; kernels are few, for tasks of one kernel and size are one row.
 * The start is feasible without a phase one: all of a kernel on its fastest class. What is returned
 * is not the simplex's value but the dual function at its prices y,
 *
 *     sum_k n_k min_w y_w t_kw,   sum_w m_w y_w = 1,
 *
 * which by weak duality is a lower bound whatever rounding did to the prices. */
#include <float.h>
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "area_priv.h"

#define PIVOTS_MAX 20000
#define BLAND_FROM 5000 /* from here on the rule that cannot cycle */
#define EPSILON    1e-9

struct area {
    uint32_t kernels, classes;
    const double *times, *counts;
    double workers[SYN_CLASSES_MAX];
    double *cells; /* the tableau, rows x columns; the last column is the right side */
    size_t rows, columns;
    size_t *basis; /* by row */
    double *objective;
};

static void
area_fini(struct area *area)
{
    syn_free(area->cells);
    syn_free(area->basis);
    syn_free(area->objective);
}

static double *
row_of(struct area *area, size_t row)
{
    return area->cells + row * area->columns;
}

static void
eliminate(double *target, const double *source, size_t columns, size_t column)
{
    double factor = target[column];

    if (factor == 0)
        return;
    for (size_t i = 0; i < columns; i++)
        target[i] -= factor * source[i];
    target[column] = 0;
}

static void
pivot(struct area *area, size_t row, size_t column)
{
    double *source = row_of(area, row);
    double factor = source[column];

    for (size_t i = 0; i < area->columns; i++)
        source[i] /= factor;
    for (size_t i = 0; i < area->rows; i++)
        if (i != row)
            eliminate(row_of(area, i), source, area->columns, column);
    eliminate(area->objective, source, area->columns, column);
    area->basis[row] = column;
}

static uint32_t
fastest(const struct area *area, uint32_t kernel)
{
    const double *times = area->times + (size_t)kernel * area->classes;
    uint32_t best = 0;

    for (uint32_t w = 1; w < area->classes; w++)
        if (times[w] < times[best])
            best = w;
    return best;
}

static void
fill_cells(struct area *area)
{
    size_t t_column = (size_t)area->kernels * area->classes;

    for (size_t k = 0; k < area->kernels; k++)
        for (size_t w = 0; w < area->classes; w++) {
            size_t column = k * area->classes + w;
            double ns = area->times[column];

            if (isinf(ns))
                continue;
            row_of(area, k)[column] = 1;
            row_of(area, k)[area->columns - 1] = area->counts[k];
            row_of(area, area->kernels + w)[column] = ns;
        }
    for (size_t r = 0; r < area->classes; r++) {
        row_of(area, area->kernels + r)[t_column] = -area->workers[r];
        row_of(area, area->kernels + r)[t_column + 1 + r] = 1;
        area->basis[area->kernels + r] = t_column + 1 + r;
    }
}

/* Columns: x_kw, then T, then a slack a class, then the right side. */
static bool
tableau(struct area *area)
{
    size_t w_count = area->classes, t_column = area->kernels * w_count, busiest = 0;
    double end = -1;
    double loads[SYN_CLASSES_MAX] = {0};

    area->rows = area->kernels + area->classes;
    area->columns = t_column + 1 + area->classes + 1;
    area->cells = syn_calloc(area->rows * area->columns, sizeof(double));
    area->basis = syn_calloc(area->rows, sizeof(size_t));
    area->objective = syn_calloc(area->columns, sizeof(double));
    if (area->cells == NULL || area->basis == NULL || area->objective == NULL)
        return false;
    area->objective[t_column] = 1;
    fill_cells(area);
    for (uint32_t k = 0; k < area->kernels; k++) {
        uint32_t w = fastest(area, k);

        pivot(area, k, (size_t)k * w_count + w);
        loads[w] += area->counts[k] * area->times[(size_t)k * w_count + w];
    }
    for (size_t r = 0; r < area->classes; r++)
        if (loads[r] / area->workers[r] > end) {
            end = loads[r] / area->workers[r];
            busiest = r;
        }
    pivot(area, area->kernels + busiest, t_column);
    return true;
}

/* The column that lowers T most, or with `bland` the first that lowers it; columns: none. */
static size_t
entering(const struct area *area, bool bland)
{
    size_t best = area->columns;
    double least = -EPSILON;

    for (size_t i = 0; i + 1 < area->columns; i++)
        if (area->objective[i] < least) {
            best = i;
            least = area->objective[i];
            if (bland)
                break;
        }
    return best;
}

static size_t
leaving(struct area *area, size_t column)
{
    size_t best = area->rows;
    double least = DBL_MAX;

    for (size_t i = 0; i < area->rows; i++) {
        double cell = row_of(area, i)[column];
        double ratio = row_of(area, i)[area->columns - 1] / cell;

        if (cell <= EPSILON)
            continue;
        if (ratio < least || (ratio == least && area->basis[i] < area->basis[best])) {
            best = i;
            least = ratio;
        }
    }
    return best;
}

/* The dual function at the prices that the tableau ended with. */
static void
dual(const struct area *area, struct area_answer *answer)
{
    const double *slacks = area->objective + (size_t)area->kernels * area->classes + 1;
    double norm = 0;

    for (uint32_t w = 0; w < area->classes; w++) {
        answer->prices[w] = fmax(slacks[w], 0);
        norm += answer->prices[w] * area->workers[w];
    }
    for (uint32_t w = 0; w < area->classes && norm > 0; w++)
        answer->prices[w] /= norm;
    answer->ns = 0;
    for (uint32_t k = 0; k < area->kernels; k++) {
        double least = INFINITY;

        for (uint32_t w = 0; w < area->classes; w++) {
            double ns = area->times[(size_t)k * area->classes + w];

            if (!isinf(ns))
                least = fmin(least, answer->prices[w] * ns);
        }
        answer->ns += area->counts[k] * least;
    }
}

/* A class without workers would divide by zero: it gets one, on which nothing can run. */
int
area_solve(const struct area_problem *problem, struct area_answer *ret_answer, struct syn_err *err)
{
    SYN_SCOPED(area_fini)
    struct area area = {.kernels = problem->kernels,
                        .classes = problem->classes,
                        .times = problem->times,
                        .counts = problem->counts};

    for (uint32_t w = 0; w < area.classes; w++)
        area.workers[w] = fmax(problem->workers[w], 1);
    if (!tableau(&area))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a tableau");
    for (unsigned i = 0; i < PIVOTS_MAX; i++) {
        size_t column = entering(&area, i >= BLAND_FROM);
        size_t row = column == area.columns ? area.rows : leaving(&area, column);

        if (row == area.rows)
            break;
        pivot(&area, row, column);
    }
    dual(&area, ret_answer);
    return SYN_OK;
}

/* Neighbours are mostly alike. */
uint32_t
area_number(const struct syn_graph_view *graph, const struct syn_estimate **costs,
            uint32_t *kernel_of)
{
    uint32_t count = 0, k = 0;

    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct syn_estimate *cost = graph->tasks[i].cost;

        if (k >= count || costs[k] != cost)
            for (k = 0; k < count && costs[k] != cost; k++)
                continue;
        if (k == count && count < AREA_KERNELS_MAX)
            costs[count++] = cost;
        k = SYN_MIN(k, AREA_KERNELS_MAX - 1);
        kernel_of[i] = k;
    }
    return count;
}

static double
usable_ns(const struct area_problem *problem, const struct syn_estimate *cost, uint32_t w)
{
    uint64_t ns = __atomic_load_n(&cost->ns[w], __ATOMIC_RELAXED);

    if (ns == SYN_NEVER || problem->workers[w] == 0)
        return INFINITY;
    return (double)SYN_MAX(ns, 1);
}

static void
fill_excess(const struct area_problem *problem, const struct area_answer *answer, uint32_t *excess)
{
    double dearest = DBL_MIN;

    for (uint32_t w = 0; w < problem->classes; w++)
        dearest = fmax(dearest, answer->prices[w]);
    for (uint32_t k = 0; k < problem->kernels; k++) {
        const double *times = problem->times + (size_t)k * problem->classes;
        double least = INFINITY;

        for (uint32_t w = 0; w < problem->classes; w++)
            if (!isinf(times[w]))
                least = fmin(least, times[w] * answer->prices[w]);
        for (uint32_t w = 0; w < problem->classes; w++)
            if (!isinf(times[w]))
                excess[(size_t)k * SYN_CLASSES_MAX + w] = (uint32_t)fmin(
                    (times[w] * answer->prices[w] - least) / dearest, (double)UINT32_MAX);
    }
}

struct tables {
    double times[AREA_KERNELS_MAX * SYN_CLASSES_MAX];
    double counts[AREA_KERNELS_MAX];
};

int
area_of_graph(const struct syn_platform *platform, const struct syn_graph_view *graph,
              struct area_split *split, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct tables *tables = NULL;
    struct area_problem problem = {.classes = platform->class_count};
    struct area_answer answer = {0};
    int rc;

    problem.kernels = split->kernels = area_number(graph, split->costs, split->kernel_of);
    tables = syn_calloc(1, sizeof(*tables));
    if (tables == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a split");
    for (uint32_t i = 0; i < platform->worker_count; i++)
        problem.workers[platform->workers[i].class_id]++;
    for (uint32_t i = 0; i < graph->task_count; i++)
        tables->counts[split->kernel_of[i]] += graph->ended == NULL || graph->ended[i] == 0;
    for (uint32_t k = 0; k < problem.kernels; k++)
        for (uint32_t w = 0; w < problem.classes; w++)
            tables->times[(size_t)k * problem.classes + w] =
                usable_ns(&problem, split->costs[k], w);
    problem.times = tables->times;
    problem.counts = tables->counts;
    rc = problem.kernels == 0 ? 0 : area_solve(&problem, &answer, err);
    if (rc < 0)
        return rc;
    fill_excess(&problem, &answer, split->excess);
    split->ns = answer.ns;
    return SYN_OK;
}
