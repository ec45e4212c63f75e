/* The area bound and all chains in one, as a game.
 *
 *     minimise T   subject to   sum_i t_iw x_iw <= m_w T    for every class w,
 *                               sum_i in P, w t_iw x_iw <= T    for every chain P,
 *                               sum_w x_iw = 1,   x >= 0
 *
 * (the "mixed bound" of Agullo, Beaumont, Eyraud-Dubois, Kumar, "Are static schedules so bad?",
 * IPDPS 2016, its chains all at once). There are more chains than could be written down, but it is
 * the value of a game: one player shares tasks out, the other names what is late, a class or a
 * chain, and is paid by how late it is. He names a chain from its end, one predecessor after
 * another, so both play by small choices, each of which learns by itself: regret matching plus,
 * in turns, with averages in which late steps count most (Tammelin, "Solving large imperfect
 * information games using CFR+", 2014). A step takes as long as looking at every edge twice. Some
 * hundred steps come within a thousandth.
 *
 * What he names in the mean are prices y of classes and f of chains, y summing over classes and f
 * over chains to 1 together. In a schedule of length T
 *
 *     T >= sum_w y_w (load of w) / m_w + sum_P f_P (length of P)
 *       >= sum_i min_w (y_w / m_w + f_i) t_iw,    f_i = sum of f_P, P through i,
 *
 * whatever the prices: that is the bound, and how far the game has come is no matter for its proof.
 *
 * Windows: of a set S of which nothing begins before r, and after the end of whose tasks q passes
 * to the end of all, class w is late by r + q + load of w by S / m_w. These are named like classes,
 * a window's load being a sum over a corner of a grid and a task's price one over the opposite
 * corner. A chain, too, may be cut where it is worth less than what lies before its first task and
 * after its last. plan/window.c has what r and q are. */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "balance_priv.h"

/* A choice among window x class, the last for a chain. */
struct balance {
    const struct balance_problem *problem;
    uint32_t cells; /* each way; 1 without windows */
    size_t names;   /* windows x classes, and the chain behind them */
    uint32_t *pred_first, *preds;
    double count, step, weight;           /* of the means: a step counts by its number's square */
    double chain_price, ends_worth, ends; /* the latter: how many tasks may end a chain */
    double constant;                      /* of the bound: what lies around what was named */
    double *shares, *share_regrets, *share_sums; /* task x class */
    double *lengths;                             /* by task: of the chain named to its end */
    double *flows, *flow_sums;                   /* by task: how much of the chains passes */
    double *edge_regrets;                        /* as preds */
    double *end_regrets, *cut_regrets;           /* by task: chains that end, or begin, with it */
    double *regrets, *prices, *price_sums;       /* by name */
    double *loads, *costs;                       /* cell x class: of it, and of what holds it */
    bool *some;                                  /* by cell: its window is not empty */
};

struct balance *
balance_free(struct balance *balance)
{
    if (balance == NULL)
        return NULL;
    syn_free(balance->pred_first);
    syn_free(balance->preds);
    syn_free(balance->shares);
    syn_free(balance->share_regrets);
    syn_free(balance->share_sums);
    syn_free(balance->lengths);
    syn_free(balance->flows);
    syn_free(balance->flow_sums);
    syn_free(balance->edge_regrets);
    syn_free(balance->end_regrets);
    syn_free(balance->cut_regrets);
    syn_free(balance->regrets);
    syn_free(balance->prices);
    syn_free(balance->price_sums);
    syn_free(balance->loads);
    syn_free(balance->costs);
    syn_free(balance->some);
    syn_free(balance);
    return NULL;
}

/* May a chain end with it? */
static bool
is_end(const struct balance_problem *problem, uint32_t task)
{
    return problem->windows != NULL || problem->succ_first[task] == problem->succ_first[task + 1];
}

static double
before(const struct balance *balance, uint32_t task)
{
    return balance->problem->windows == NULL ? 0 : balance->problem->windows->befores[task];
}

static double
after(const struct balance *balance, uint32_t task)
{
    return balance->problem->windows == NULL ? 0 : balance->problem->windows->afters[task];
}

static size_t
cell_of(const struct balance *balance, uint32_t task)
{
    const struct balance_windows *windows = balance->problem->windows;

    return windows == NULL ? 0
                           : (size_t)windows->rows[task] * balance->cells + windows->columns[task];
}

/* What lies before and after a window, ns. */
static double
around(const struct balance *balance, size_t cell)
{
    const struct balance_windows *windows = balance->problem->windows;

    return windows == NULL ? 0
                           : windows->least_before[cell % balance->cells] +
                                 windows->least_after[cell / balance->cells];
}

/* Sums over all cells from each one on; `width` numbers a cell. */
static void
sum_upward(const struct balance *balance, double *cells, size_t width)
{
    size_t side = balance->cells, row = side * width;

    for (size_t i = side * row - width; i-- > 0;)
        if (i / width % side != side - 1)
            cells[i] += cells[i + width];
    for (size_t i = side * row - row; i-- > 0;)
        cells[i] += cells[i + row];
}

/* The same up to each one. */
static void
sum_downward(const struct balance *balance, double *cells, size_t width)
{
    size_t side = balance->cells, row = side * width;

    for (size_t i = width; i < side * row; i++)
        if (i / width % side != 0)
            cells[i] += cells[i - width];
    for (size_t i = row; i < side * row; i++)
        cells[i] += cells[i - row];
}

static void
begin(struct balance *balance)
{
    const struct balance_problem *problem = balance->problem;
    uint32_t classes = problem->classes;

    for (uint32_t i = 0; i < problem->tasks; i++)
        for (uint32_t j = problem->succ_first[i]; j < problem->succ_first[i + 1]; j++)
            balance->pred_first[problem->succ[j] + 2]++;
    for (uint32_t i = 2; i < problem->tasks + 2; i++)
        balance->pred_first[i] += balance->pred_first[i - 1];
    for (uint32_t i = 0; i < problem->tasks; i++)
        for (uint32_t j = problem->succ_first[i]; j < problem->succ_first[i + 1]; j++)
            balance->preds[balance->pred_first[problem->succ[j] + 1]++] = i;
    for (uint32_t i = 0; i < problem->tasks; i++) {
        const double *times = problem->times + (size_t)i * classes;
        double *shares = balance->shares + (size_t)i * classes, sum = 0;

        /* By what the classes can do: who begins far off is long in forgetting it. */
        for (uint32_t w = 0; w < classes; w++) {
            shares[w] = isinf(times[w]) ? 0 : fmax(problem->workers[w], 1) / fmax(times[w], 1);
            sum += shares[w];
        }
        assert(sum > 0);
        for (uint32_t w = 0; w < classes; w++)
            shares[w] /= sum;
        balance->loads[cell_of(balance, i)]++;
    }
    sum_upward(balance, balance->loads, 1);
    for (size_t cell = 0; cell < (size_t)balance->cells * balance->cells; cell++)
        balance->some[cell] = balance->loads[cell] > 0;
}

int
balance_new(const struct balance_problem *problem, struct balance **ret_balance,
            struct syn_err *err)
{
    struct balance *balance = syn_calloc(1, sizeof(*balance));
    size_t tasks = problem->tasks, classes = problem->classes, cells;
    size_t edges = problem->succ_first[problem->tasks];

    if (balance == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a split");
    balance->problem = problem;
    balance->cells = problem->windows == NULL ? 1 : BALANCE_CELLS;
    cells = (size_t)balance->cells * balance->cells;
    balance->names = cells * classes;
    balance->pred_first = syn_calloc(tasks + 2, sizeof(uint32_t));
    balance->preds = syn_calloc(edges + 1, sizeof(uint32_t));
    balance->shares = syn_calloc(tasks * classes, sizeof(double));
    balance->share_regrets = syn_calloc(tasks * classes, sizeof(double));
    balance->share_sums = syn_calloc(tasks * classes, sizeof(double));
    balance->lengths = syn_calloc(tasks, sizeof(double));
    balance->flows = syn_calloc(tasks, sizeof(double));
    balance->flow_sums = syn_calloc(tasks, sizeof(double));
    balance->edge_regrets = syn_calloc(edges + 1, sizeof(double));
    balance->end_regrets = syn_calloc(tasks, sizeof(double));
    balance->cut_regrets = syn_calloc(tasks, sizeof(double));
    balance->regrets = syn_calloc(balance->names + 1, sizeof(double));
    balance->prices = syn_calloc(balance->names + 1, sizeof(double));
    balance->price_sums = syn_calloc(balance->names + 1, sizeof(double));
    balance->loads = syn_calloc(balance->names, sizeof(double));
    balance->costs = syn_calloc(balance->names, sizeof(double));
    balance->some = syn_calloc(cells, sizeof(bool));
    if (balance->pred_first == NULL || balance->preds == NULL || balance->shares == NULL ||
        balance->share_regrets == NULL || balance->share_sums == NULL || balance->lengths == NULL ||
        balance->flows == NULL || balance->flow_sums == NULL || balance->edge_regrets == NULL ||
        balance->end_regrets == NULL || balance->cut_regrets == NULL || balance->regrets == NULL ||
        balance->prices == NULL || balance->price_sums == NULL || balance->loads == NULL ||
        balance->costs == NULL || balance->some == NULL) {
        (void)balance_free(balance);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a split of %u tasks", problem->tasks);
    }
    begin(balance);
    *ret_balance = balance;
    return SYN_OK;
}

/* What lies before a task in the chain that would be named: the mean of its predecessors', or of
 * cutting it there, by what is regretted so far. */
static double
look_back(struct balance *balance, uint32_t task)
{
    uint32_t first = balance->pred_first[task], count = balance->pred_first[task + 1] - first;
    double *regrets = balance->edge_regrets + first, *cut = &balance->cut_regrets[task];
    double cut_ns = before(balance, task), sum = *cut, mean = *cut * cut_ns, plain = cut_ns;

    for (uint32_t e = 0; e < count; e++) {
        double ns = balance->lengths[balance->preds[first + e]];

        sum += regrets[e];
        mean += regrets[e] * ns;
        plain += ns;
    }
    mean = sum > 0 ? mean / sum : plain / (count + 1);
    *cut = fmax(*cut + cut_ns - mean, 0);
    for (uint32_t e = 0; e < count; e++)
        regrets[e] = fmax(regrets[e] + balance->lengths[balance->preds[first + e]] - mean, 0);
    return mean;
}

/* How long the chains are that would be named, as tasks are shared. Returns their mean. */
static double
name_chains(struct balance *balance)
{
    const struct balance_problem *problem = balance->problem;
    double sum = 0, mean = 0, plain = 0;

    balance->ends = 0;
    for (uint32_t i = 0; i < problem->tasks; i++) {
        balance->lengths[i] += look_back(balance, i);
        if (!is_end(problem, i))
            continue;
        sum += balance->end_regrets[i];
        mean += balance->end_regrets[i] * (balance->lengths[i] + after(balance, i));
        plain += balance->lengths[i] + after(balance, i);
        balance->ends++;
    }
    mean = sum > 0 ? mean / sum : plain / balance->ends;
    balance->ends_worth = 0;
    for (uint32_t i = 0; i < problem->tasks; i++)
        if (is_end(problem, i)) {
            balance->end_regrets[i] =
                fmax(balance->end_regrets[i] + balance->lengths[i] + after(balance, i) - mean, 0);
            balance->ends_worth += balance->end_regrets[i];
        }
    return mean;
}

/* Let what of the chains' price comes to a task go on to those before it; returns what lies before
 * those that are cut here. */
static double
flow_back(struct balance *balance, uint32_t task)
{
    uint32_t first = balance->pred_first[task], count = balance->pred_first[task + 1] - first;
    const double *regrets = balance->edge_regrets + first;
    double sum = balance->cut_regrets[task], part;

    for (uint32_t e = 0; e < count; e++)
        sum += regrets[e];
    for (uint32_t e = 0; e < count; e++) {
        part = sum > 0 ? regrets[e] / sum : 1.0 / (count + 1);
        balance->flows[balance->preds[first + e]] += balance->flows[task] * part;
    }
    part = sum > 0 ? balance->cut_regrets[task] / sum : 1.0 / (count + 1);
    return balance->flows[task] * part * before(balance, task);
}

/* What of the chains' price passes each task. */
static void
flow(struct balance *balance)
{
    const struct balance_problem *problem = balance->problem;

    for (uint32_t i = 0; i < problem->tasks; i++) {
        double part = balance->ends_worth > 0 ? balance->end_regrets[i] / balance->ends_worth
                                              : 1 / balance->ends;

        balance->flows[i] = is_end(problem, i) ? balance->chain_price * part : 0;
        balance->constant += balance->step * balance->flows[i] * after(balance, i);
    }
    for (uint32_t i = problem->tasks; i-- > 0;)
        if (balance->flows[i] > 0)
            balance->constant += balance->step * flow_back(balance, i);
}

/* By what each class is late in each window; -1: there is no such class, or nothing in it. */
static double
lateness(const struct balance *balance, size_t name)
{
    size_t cell = name / balance->problem->classes, w = name % balance->problem->classes;

    if (!balance->some[cell] || balance->problem->workers[w] <= 0)
        return -1;
    return around(balance, cell) + balance->loads[name] / balance->problem->workers[w];
}

/* The prices of windows and chains, from how late each is. */
static void
name_prices(struct balance *balance, double chains_ns)
{
    double sum = 0, mean = 0, plain = 0, count = 0, worth = 0;

    for (size_t i = 0; i <= balance->names; i++) {
        double ns = i == balance->names ? chains_ns : lateness(balance, i);

        balance->prices[i] = ns; /* for a moment */
        if (ns < 0)
            continue;
        sum += balance->regrets[i];
        mean += balance->regrets[i] * ns;
        plain += ns;
        count++;
    }
    mean = sum > 0 ? mean / sum : plain / count;
    for (size_t i = 0; i <= balance->names; i++) {
        if (balance->prices[i] < 0)
            continue;
        balance->regrets[i] = fmax(balance->regrets[i] + balance->prices[i] - mean, 0);
        worth += balance->regrets[i];
    }
    for (size_t i = 0; i <= balance->names; i++)
        balance->prices[i] = balance->prices[i] < 0 ? 0
                             : worth > 0            ? balance->regrets[i] / worth
                                                    : 1 / count;
}

/* What an hour of each class costs a task in each cell, from prices of windows. */
static void
spread(const struct balance *balance, const double *prices, double *costs)
{
    for (size_t i = 0; i < balance->names; i++) {
        double workers = balance->problem->workers[i % balance->problem->classes];

        costs[i] = workers > 0 ? prices[i] / workers : 0;
    }
    sum_downward(balance, costs, balance->problem->classes);
}

static void
share(struct balance *balance)
{
    uint32_t classes = balance->problem->classes;

    for (uint32_t i = 0; i < balance->problem->tasks; i++) {
        const double *times = balance->problem->times + (size_t)i * classes;
        const double *cell = balance->costs + cell_of(balance, i) * classes;
        double *shares = balance->shares + (size_t)i * classes;
        double *regrets = balance->share_regrets + (size_t)i * classes;
        double costs[SYN_CLASSES_MAX], mean = 0, sum = 0;

        for (uint32_t w = 0; w < classes; w++) {
            costs[w] = isinf(times[w]) ? INFINITY : (cell[w] + balance->flows[i]) * times[w];
            mean += isinf(times[w]) ? 0 : shares[w] * costs[w];
        }
        for (uint32_t w = 0; w < classes; w++) {
            if (!isinf(costs[w]))
                regrets[w] = fmax(regrets[w] + mean - costs[w], 0);
            sum += regrets[w];
        }
        for (uint32_t w = 0; w < classes; w++) {
            if (sum > 0)
                shares[w] = regrets[w] / sum;
            balance->share_sums[(size_t)i * classes + w] += balance->step * shares[w];
        }
    }
}

void
balance_run(struct balance *balance, uint32_t steps)
{
    const struct balance_problem *problem = balance->problem;

    for (uint32_t s = 0; s < steps; s++) {
        memset(balance->loads, 0, balance->names * sizeof(double));
        for (uint32_t i = 0; i < problem->tasks; i++) {
            double *loads = balance->loads + cell_of(balance, i) * problem->classes;

            balance->lengths[i] = 0;
            for (uint32_t w = 0; w < problem->classes; w++) {
                size_t at = (size_t)i * problem->classes + w;
                double ns = balance->shares[at] > 0 ? balance->shares[at] * problem->times[at] : 0;

                balance->lengths[i] += ns;
                loads[w] += ns;
            }
        }
        sum_upward(balance, balance->loads, problem->classes);
        name_prices(balance, name_chains(balance) / problem->chain_part);
        balance->chain_price = balance->prices[balance->names] / problem->chain_part;
        balance->count++;
        balance->step = balance->count * balance->count;
        balance->weight += balance->step;
        flow(balance);
        spread(balance, balance->prices, balance->costs);
        for (size_t i = 0; i <= balance->names; i++)
            balance->price_sums[i] += balance->step * balance->prices[i];
        for (uint32_t i = 0; i < problem->tasks; i++)
            balance->flow_sums[i] += balance->step * balance->flows[i];
        share(balance);
    }
}

double
balance_bound(const struct balance *balance)
{
    const struct balance_problem *problem = balance->problem;
    double ns = balance->constant;

    if (balance->weight <= 0)
        return 0;
    spread(balance, balance->price_sums, balance->costs);
    for (size_t i = 0; i < balance->names; i++)
        ns += balance->price_sums[i] * around(balance, i / problem->classes);
    for (uint32_t i = 0; i < problem->tasks; i++) {
        const double *cell = balance->costs + cell_of(balance, i) * problem->classes;
        double least = INFINITY;

        for (uint32_t w = 0; w < problem->classes; w++)
            if (!isinf(problem->times[(size_t)i * problem->classes + w]))
                least = fmin(least, (cell[w] + balance->flow_sums[i]) *
                                        problem->times[(size_t)i * problem->classes + w]);
        ns += least;
    }
    return ns / balance->weight;
}

void
balance_worths(const struct balance *balance, double *ret_columns, double *ret_rows)
{
    memset(ret_columns, 0, BALANCE_CELLS * sizeof(double));
    memset(ret_rows, 0, BALANCE_CELLS * sizeof(double));
    for (size_t i = 0; i < balance->names && balance->weight > 0; i++) {
        size_t cell = i / balance->problem->classes;

        ret_columns[cell % balance->cells] += balance->price_sums[i] / balance->weight;
        ret_rows[cell / balance->cells] += balance->price_sums[i] / balance->weight;
    }
}

double
balance_share(const struct balance *balance, uint32_t task, uint32_t class_id, bool last)
{
    size_t at = (size_t)task * balance->problem->classes + class_id;

    if (last || balance->weight <= 0)
        return balance->shares[at];
    return balance->share_sums[at] / balance->weight;
}
