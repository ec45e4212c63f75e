/* Sides: a split of the whole work, chains included (sim/balance.c), made whole.
 *
 * The split gives each task a share on every class. Going through the tasks of a kernel in order,
 * each goes to the class that has got least of what it was to have. Where several tasks join in
 * one, like the parts of a layer, half of them on a slow class are as late as all of them, and
 * those on the fast one were there in vain; so there is a second way, in which all that join go to
 * one class together, and the classes take turns at that.
 *
 * No transfer is in the split, nor that tasks wait for a worker; the latter is what `chain_part`
 * leaves room for. So these are candidates for rehearsal, not plans. */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "../sim/area_priv.h"
#include "../sim/balance_priv.h"
#include "sides_priv.h"

#define SHARE_LEAST 0.02 /* a class that was to have no more of a task does not get it */
#define JOIN_REACH  256U /* tasks looked at behind one for those that join where it does */

struct sides {
    const struct syn_graph_view *graph;
    uint32_t classes;
    double *times;
    uint32_t *kernel_of;
    uint32_t *joins; /* the one task that waits for it, behind those that only it waits for */
    double (*owed)[SYN_CLASSES_MAX]; /* by kernel */
    bool *dealt;                     /* by task, while they are written */
    struct balance_problem problem;
    struct balance *balance;
};

struct sides *
sides_free(struct sides *sides)
{
    if (sides == NULL)
        return NULL;
    syn_free(sides->times);
    syn_free(sides->kernel_of);
    syn_free(sides->joins);
    syn_free(sides->owed);
    syn_free(sides->dealt);
    (void)balance_free(sides->balance);
    syn_free(sides);
    return NULL;
}

static void
fill_times(struct sides *sides)
{
    for (uint32_t i = 0; i < sides->graph->task_count; i++)
        for (uint32_t c = 0; c < sides->classes; c++) {
            uint64_t ns = __atomic_load_n(&sides->graph->tasks[i].cost->ns[c], __ATOMIC_RELAXED);
            double *time = &sides->times[(size_t)i * sides->classes + c];

            if (ns == SYN_NEVER || sides->problem.workers[c] == 0)
                *time = INFINITY;
            else
                *time = sides->graph->ended != NULL && sides->graph->ended[i] != 0 ? 0 : (double)ns;
        }
}

/* False: out of memory. */
static bool
fill_joins(struct sides *sides)
{
    const struct syn_graph_view *graph = sides->graph;
    SYN_SCOPED(syn_free_scope)
    uint32_t *preds = syn_calloc((size_t)graph->task_count + 1, sizeof(uint32_t));

    if (preds == NULL)
        return false;
    for (uint32_t j = 0; j < graph->succ_first[graph->task_count]; j++)
        preds[graph->succ[j]]++;
    for (uint32_t i = graph->task_count; i-- > 0;) {
        uint32_t first = graph->succ_first[i];

        sides->joins[i] = SYN_NO_INDEX;
        if (graph->succ_first[i + 1] - first != 1)
            continue;
        sides->joins[i] = graph->succ[first];
        if (preds[sides->joins[i]] == 1 && sides->joins[sides->joins[i]] != SYN_NO_INDEX)
            sides->joins[i] = sides->joins[sides->joins[i]];
    }
    return true;
}

int
sides_new(const struct syn_platform *platform, const struct syn_graph_view *graph,
          struct sides **ret_sides, struct syn_err *err)
{
    struct sides *sides = syn_calloc(1, sizeof(*sides));
    SYN_SCOPED(syn_free_scope)
    const struct syn_estimate **costs = syn_calloc(AREA_KERNELS_MAX, sizeof(struct syn_estimate *));
    size_t tasks = (size_t)graph->task_count + 1;

    if (sides == NULL || costs == NULL) {
        (void)sides_free(sides);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a split");
    }
    sides->graph = graph;
    sides->classes = platform->class_count;
    sides->times = syn_calloc(tasks * sides->classes, sizeof(double));
    sides->kernel_of = syn_calloc(tasks, sizeof(uint32_t));
    sides->joins = syn_calloc(tasks, sizeof(uint32_t));
    sides->owed = syn_calloc(AREA_KERNELS_MAX, sizeof(sides->owed[0]));
    sides->dealt = syn_calloc(tasks, sizeof(bool));
    if (sides->times == NULL || sides->kernel_of == NULL || sides->joins == NULL ||
        sides->owed == NULL || sides->dealt == NULL || !fill_joins(sides)) {
        (void)sides_free(sides);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a split of %u tasks",
                        graph->task_count);
    }
    for (uint32_t i = 0; i < platform->worker_count; i++)
        sides->problem.workers[platform->workers[i].class_id]++;
    fill_times(sides);
    (void)area_number(graph, costs, sides->kernel_of);
    sides->problem.tasks = graph->task_count;
    sides->problem.classes = sides->classes;
    sides->problem.times = sides->times;
    sides->problem.succ_first = graph->succ_first;
    sides->problem.succ = graph->succ;
    *ret_sides = sides;
    return SYN_OK;
}

int
sides_aim(struct sides *sides, double chain_part, struct syn_err *err)
{
    sides->balance = balance_free(sides->balance);
    sides->problem.chain_part = chain_part;
    return balance_new(&sides->problem, &sides->balance, err);
}

void
sides_run(struct sides *sides, uint32_t steps)
{
    balance_run(sides->balance, steps);
}

/* The class that is owed most of those that were to have some of it. */
static uint32_t
most_owed(const struct sides *sides, uint32_t task, bool last)
{
    const double *owed = sides->owed[sides->kernel_of[task]];
    uint32_t best = SYN_NO_INDEX;

    for (uint32_t c = 0; c < sides->classes; c++)
        if (balance_share(sides->balance, task, c, last) > SHARE_LEAST &&
            (best == SYN_NO_INDEX || owed[c] > owed[best]))
            best = c;
    assert(best != SYN_NO_INDEX); /* shares add up to 1, and classes are few */
    return best;
}

/* Does it go where `task` goes? */
static bool
goes_along(const struct sides *sides, uint32_t task, uint32_t other)
{
    return other == task || (!sides->dealt[other] && sides->joins[other] == sides->joins[task] &&
                             sides->kernel_of[other] == sides->kernel_of[task]);
}

void
sides_write(struct sides *sides, bool last, bool together, uint8_t *ret_classes)
{
    uint32_t tasks = sides->graph->task_count;

    memset(sides->owed, 0, AREA_KERNELS_MAX * sizeof(sides->owed[0]));
    memset(sides->dealt, 0, tasks * sizeof(bool));
    for (uint32_t i = 0; i < tasks; i++) {
        bool joins = together && sides->joins[i] != SYN_NO_INDEX;
        uint32_t end = joins ? SYN_MIN(tasks, i + JOIN_REACH) : i + 1;
        double *owed = sides->owed[sides->kernel_of[i]];
        uint32_t side;

        if (sides->dealt[i])
            continue;
        for (uint32_t j = i; j < end; j++)
            for (uint32_t c = 0; c < sides->classes && goes_along(sides, i, j); c++)
                owed[c] += balance_share(sides->balance, j, c, last);
        side = most_owed(sides, i, last);
        for (uint32_t j = i; j < end; j++)
            if (goes_along(sides, i, j)) {
                ret_classes[j] = (uint8_t)side;
                sides->dealt[j] = true;
                owed[side]--;
            }
    }
}
