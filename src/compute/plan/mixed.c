/* The area bound made aware of chains (after the "mixed" and "iterative" bounds of Agullo,
 * Beaumont, Eyraud-Dubois, Kumar, "Are static schedules so bad?", IPDPS 2016, table by table).
 *
 * The area bound gives slow classes what they are comparatively good at, though it may lie on a
 * chain that they would make longer than the whole. So chains are demanded to fit as well. Take
 * prices y_w >= 0 of classes and f_P >= 0 of chains P with sum_w m_w y_w + sum_P f_P = 1. In a
 * schedule of length T that runs task i on class w(i), every class has sum t <= m_w T, every chain
 * sum t <= T; weighted by the prices,
 *
 *     T >= sum_i (y_w(i) + f_i) t_i,w(i) >= sum_i min_w (y_w + f_i) t_iw,    f_i = sum of f_P, P
 * through i.
 *
 * Whatever the prices are, that holds, and term by term: the minimum is what task i adds, and a sum
 * over fewer tasks bounds the time of those alone (a chain's part is a chain).
 *
 * The prices come from the linear program of sim/area.c, with a row a chain. Chains are found as
 * they are violated: solve, take every task at the mean time that the split gives its like, add the
 * longest path if it is longer than T, solve again. Tasks of one kernel that lie on the same chains
 * are one column: there are few. */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "mixed_priv.h"

#define GROUPS_MAX 384U /* of like tasks; at the limit the search ends with what it has */
#define FITS       1.0005

struct mixed {
    const struct mixed_problem *problem;
    uint32_t *group_of; /* by task; SYN_NO_INDEX: outside */
    uint32_t groups, chains;
    uint32_t kernel_of[GROUPS_MAX];
    double counts[GROUPS_MAX];
    bool on_chain[AREA_CHAINS_MAX][GROUPS_MAX];
    double means[GROUPS_MAX]; /* ns, by the last split */
    double *ends;             /* by task: of the longest path to its end */
    uint32_t *befores;        /* by task: the one before it on that path, or SYN_NO_INDEX */
    double *times;            /* what the program is given */
    bool *rows;
    double *tasks;
    struct area_answer answer;
};

static void
mixed_fini(struct mixed *mixed)
{
    syn_free(mixed->group_of);
    syn_free(mixed->ends);
    syn_free(mixed->befores);
    syn_free(mixed->times);
    syn_free(mixed->rows);
    syn_free(mixed->tasks);
}

static void
mixed_free_scope(struct mixed **slot)
{
    if (*slot != NULL)
        mixed_fini(*slot);
    syn_free(*slot);
}

static bool
mixed_init(struct mixed *mixed)
{
    size_t tasks = mixed->problem->graph->task_count + 1, classes = mixed->problem->classes;

    mixed->group_of = syn_calloc(tasks, sizeof(uint32_t));
    mixed->ends = syn_calloc(tasks, sizeof(double));
    mixed->befores = syn_calloc(tasks, sizeof(uint32_t));
    mixed->times = syn_calloc(GROUPS_MAX * classes, sizeof(double));
    mixed->rows = syn_calloc((size_t)AREA_CHAINS_MAX * GROUPS_MAX, sizeof(bool));
    mixed->tasks = syn_calloc(GROUPS_MAX * classes, sizeof(double));
    return mixed->group_of != NULL && mixed->ends != NULL && mixed->befores != NULL &&
           mixed->times != NULL && mixed->rows != NULL && mixed->tasks != NULL;
}

/* One group a kernel to begin with. False: there are too many. */
static bool
group_kernels(struct mixed *mixed, uint32_t *group_of_kernel)
{
    const struct syn_plan_graph *graph = mixed->problem->graph;

    for (uint32_t i = 0; i < graph->task_count; i++) {
        uint32_t kernel = graph->tasks[i].kernel;

        mixed->group_of[i] = SYN_NO_INDEX;
        if (mixed->problem->inside != NULL && !mixed->problem->inside[i])
            continue;
        if (group_of_kernel[kernel] == 0) {
            if (mixed->groups == GROUPS_MAX)
                return false;
            mixed->kernel_of[mixed->groups] = kernel;
            group_of_kernel[kernel] = ++mixed->groups;
        }
        mixed->group_of[i] = group_of_kernel[kernel] - 1;
        mixed->counts[mixed->group_of[i]]++;
    }
    return true;
}

static uint64_t
kernel_ns(const struct mixed *mixed, uint32_t kernel, uint32_t class_id)
{
    return mixed->problem->times[(size_t)kernel * mixed->problem->classes + class_id];
}

static int
solve(struct mixed *mixed, struct syn_err *err)
{
    uint32_t classes = mixed->problem->classes;
    struct area_problem problem = {.kernels = mixed->groups,
                                   .classes = classes,
                                   .chains = mixed->chains,
                                   .times = mixed->times,
                                   .counts = mixed->counts,
                                   .on_chain = mixed->rows};
    int rc;

    memcpy(problem.workers, mixed->problem->workers, sizeof(problem.workers));
    for (uint32_t g = 0; g < mixed->groups; g++)
        for (uint32_t w = 0; w < classes; w++) {
            uint64_t ns = kernel_ns(mixed, mixed->kernel_of[g], w);

            mixed->times[(size_t)g * classes + w] = ns == SYN_NEVER ? INFINITY : (double)ns;
        }
    for (uint32_t c = 0; c < mixed->chains; c++)
        memcpy(mixed->rows + (size_t)c * mixed->groups, mixed->on_chain[c],
               mixed->groups * sizeof(bool));
    mixed->answer.tasks = mixed->tasks;
    rc = area_solve(&problem, &mixed->answer, err);
    if (rc < 0)
        return rc;
    for (uint32_t g = 0; g < mixed->groups; g++) {
        double sum = 0;

        for (uint32_t w = 0; w < classes; w++)
            if (mixed->tasks[(size_t)g * classes + w] > 0)
                sum +=
                    mixed->tasks[(size_t)g * classes + w] * mixed->times[(size_t)g * classes + w];
        mixed->means[g] = sum / fmax(mixed->counts[g], 1);
    }
    return SYN_OK;
}

/* The last task of the longest path; its length in *ret_ns. What lies outside takes no time but
 * keeps order. */
static uint32_t
longest(struct mixed *mixed, double *ret_ns)
{
    const struct syn_plan_graph *graph = mixed->problem->graph;
    uint32_t last = SYN_NO_INDEX;

    *ret_ns = 0;
    for (uint32_t i = 0; i < graph->task_count; i++) {
        mixed->ends[i] = 0;
        mixed->befores[i] = SYN_NO_INDEX;
    }
    for (uint32_t i = 0; i < graph->task_count; i++) {
        if (mixed->group_of[i] != SYN_NO_INDEX)
            mixed->ends[i] += mixed->means[mixed->group_of[i]];
        if (mixed->ends[i] > *ret_ns) {
            *ret_ns = mixed->ends[i];
            last = i;
        }
        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++) {
            uint32_t next = graph->succ[j];

            if (mixed->ends[i] > mixed->ends[next]) {
                mixed->ends[next] = mixed->ends[i];
                mixed->befores[next] = i;
            }
        }
    }
    return last;
}

/* Those of a group that lie on the new chain become a group of their own. False: no room. */
static bool
add_chain(struct mixed *mixed, uint32_t last)
{
    uint32_t split[GROUPS_MAX], old = mixed->groups;

    if (mixed->chains == AREA_CHAINS_MAX)
        return false;
    memset(split, 0xff, sizeof(split));
    for (uint32_t i = last; i != SYN_NO_INDEX; i = mixed->befores[i]) {
        uint32_t from = mixed->group_of[i];

        if (from == SYN_NO_INDEX)
            continue;
        if (split[from] == SYN_NO_INDEX) {
            if (mixed->groups == GROUPS_MAX)
                return false;
            split[from] = mixed->groups++;
            mixed->kernel_of[split[from]] = mixed->kernel_of[from];
            for (uint32_t c = 0; c < mixed->chains; c++)
                mixed->on_chain[c][split[from]] = mixed->on_chain[c][from];
        }
        mixed->group_of[i] = split[from];
        mixed->counts[from]--;
        mixed->counts[split[from]]++;
    }
    memset(mixed->on_chain[mixed->chains], 0, sizeof(mixed->on_chain[0]));
    for (uint32_t g = old; g < mixed->groups; g++)
        mixed->on_chain[mixed->chains][g] = true;
    mixed->chains++;
    return true;
}

static double
value_of(const struct mixed *mixed, uint32_t kernel, uint32_t group)
{
    double chain = 0, least = INFINITY;

    for (uint32_t c = 0; c < mixed->chains && group != SYN_NO_INDEX; c++)
        if (mixed->on_chain[c][group])
            chain += mixed->answer.chains[c];
    for (uint32_t w = 0; w < mixed->problem->classes; w++) {
        uint64_t ns = kernel_ns(mixed, kernel, w);

        if (ns != SYN_NEVER)
            least = fmin(least, (mixed->answer.prices[w] + chain) * (double)ns);
    }
    return least;
}

static void
fill_values(const struct mixed *mixed, double *values)
{
    const struct syn_plan_graph *graph = mixed->problem->graph;
    double by_group[GROUPS_MAX];

    for (uint32_t g = 0; g < mixed->groups; g++)
        by_group[g] = value_of(mixed, mixed->kernel_of[g], g);
    for (uint32_t i = 0; i < graph->task_count; i++)
        values[i] = mixed->group_of[i] != SYN_NO_INDEX
                        ? by_group[mixed->group_of[i]]
                        : value_of(mixed, graph->tasks[i].kernel, SYN_NO_INDEX);
}

int
mixed_solve(const struct mixed_problem *problem, double *values, struct syn_err *err)
{
    SYN_SCOPED(mixed_free_scope) struct mixed *mixed = syn_calloc(1, sizeof(*mixed));
    SYN_SCOPED(syn_free_scope)
    uint32_t *group_of_kernel = syn_calloc(problem->graph->kernel_count + 1, sizeof(uint32_t));
    double best = -1;

    if (mixed == NULL || group_of_kernel == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    mixed->problem = problem;
    if (!mixed_init(mixed))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    memset(values, 0, problem->graph->task_count * sizeof(values[0]));
    if (!group_kernels(mixed, group_of_kernel) || mixed->groups == 0)
        return SYN_OK; /* nothing is a bound, too */
    for (;;) {
        double path_ns;
        uint32_t last;
        int rc = solve(mixed, err);

        if (rc < 0)
            return rc;
        if (mixed->answer.ns > best) {
            best = mixed->answer.ns;
            fill_values(mixed, values);
        }
        if (problem->area_only)
            return SYN_OK;
        last = longest(mixed, &path_ns);
        if (path_ns <= mixed->answer.ns * FITS || !add_chain(mixed, last))
            return SYN_OK;
    }
}
