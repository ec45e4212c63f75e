/* How divisible tasks are best shared among classes of workers when chains must fit as well. */
#ifndef SYNOR_COMPUTE_BALANCE_PRIV_H
#define SYNOR_COMPUTE_BALANCE_PRIV_H

#include <synor/strategy.h>

#define BALANCE_CELLS 8U

/* Sets of tasks that have something before and after them: a task lies in a cell (column, row), and
 * a window is all cells from one on, up and right. Nothing of it begins before least_before[column]
 * or ends later than least_after[row] before the end of all. */
struct balance_windows {
    const uint8_t *columns, *rows;  /* by task, below BALANCE_CELLS */
    const double *befores, *afters; /* by task: before it begins, after it ends */
    double least_before[BALANCE_CELLS], least_after[BALANCE_CELLS];
};

struct balance_problem {
    uint32_t tasks; /* in an order in which each comes before its successors; not 0 */
    uint32_t classes;
    double workers[SYN_CLASSES_MAX];
    const double *times; /* task x class, ns; infinite: never. Each task can run somewhere */
    const uint32_t *succ_first, *succ;
    const struct balance_windows *windows; /* NULL: the whole is the only one */
    double chain_part; /* how much of the whole a chain may take; 1 for a bound */
};

struct balance;

/** The problem and its arrays are borrowed. NOMEM. */
SYN_MUST int balance_new(const struct balance_problem *problem, struct balance **ret_balance,
                         struct syn_err *err);
struct balance *balance_free(struct balance *balance);
/** So many steps nearer to the best split. */
void balance_run(struct balance *balance, uint32_t steps);
/** What the windows of each column and row have been worth, BALANCE_CELLS of each; sums are 1 and
 * less. */
void balance_worths(const struct balance *balance, double *ret_columns, double *ret_rows);
/** No split takes less: right after any number of steps, and the better the more. */
double balance_bound(const struct balance *balance);
/** A task's share on each class: the mean of all steps, or the last step's alone. */
double balance_share(const struct balance *balance, uint32_t task, uint32_t class_id, bool last);

#endif
