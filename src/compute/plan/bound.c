/* What no schedule can beat.
 *
 * Critical path: the longest chain of tasks, each on its fastest class.
 *
 * Area: split the tasks over the classes as if they were divisible and independent, so that the
 * busiest class ends first (the "area bound" of Agullo, Beaumont, Eyraud-Dubois, Kumar, "Are static
 * schedules so bad?", IPDPS 2016); a linear program, solved in sim/area.c.
 *
 * Both are blind to what the other sees, and to transfers; window.c joins them. */
#include <math.h>

#include <synor/base/mem.h>

#include "../sim/area_priv.h"
#include "window_priv.h"

struct area {
    struct area_problem problem;
    double *times, *counts;
};

static void
area_fini(struct area *area)
{
    syn_free(area->times);
    syn_free(area->counts);
}

static int
area_fill(struct area *area, const struct syn_plan_machine *machine,
          const struct syn_plan_graph *graph, struct syn_err *err)
{
    const struct syn_platform *platform = &machine->platform;
    SYN_SCOPED(syn_free_scope) uint32_t *counts = NULL;

    area->problem.classes = platform->class_count;
    for (uint32_t i = 0; i < platform->worker_count; i++)
        area->problem.workers[platform->workers[i].class_id]++;
    counts = syn_calloc(graph->kernel_count + 1, sizeof(uint32_t));
    area->times = syn_calloc(graph->kernel_count * area->problem.classes + 1, sizeof(double));
    area->counts = syn_calloc(graph->kernel_count + 1, sizeof(double));
    if (counts == NULL || area->times == NULL || area->counts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    for (size_t i = 0; i < graph->task_count; i++)
        counts[graph->tasks[i].kernel]++;
    for (size_t k = 0; k < graph->kernel_count; k++) {
        double *times = area->times + (size_t)area->problem.kernels * area->problem.classes;
        bool can = false;

        for (uint32_t w = 0; w < area->problem.classes; w++) {
            uint64_t ns = plan_kernel_ns(&graph->kernels[k], &machine->rates[w]);

            times[w] = ns == SYN_NEVER || area->problem.workers[w] == 0 ? INFINITY : (double)ns;
            can = can || !isinf(times[w]);
        }
        if (counts[k] > 0 && !can)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "kernel %.23s runs on no class here",
                            graph->kernels[k].name);
        if (counts[k] > 0)
            area->counts[area->problem.kernels++] = counts[k];
    }
    area->problem.times = area->times;
    area->problem.counts = area->counts;
    return SYN_OK;
}

static int
critical(const struct syn_plan_machine *machine, const struct syn_plan_graph *graph,
         uint64_t *ret_ns, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) uint64_t *begins = NULL;
    bool present[SYN_CLASSES_MAX] = {false};
    uint64_t longest = 0;

    for (uint32_t i = 0; i < machine->platform.worker_count; i++)
        present[machine->platform.workers[i].class_id] = true;
    begins = syn_calloc(graph->task_count + 1, sizeof(uint64_t));
    if (begins == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a critical path");
    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct syn_plan_kernel *kernel = &graph->kernels[graph->tasks[i].kernel];
        uint64_t least = SYN_NEVER;

        for (uint32_t w = 0; w < machine->platform.class_count; w++)
            if (present[w])
                least = SYN_MIN(least, plan_kernel_ns(kernel, &machine->rates[w]));
        longest = SYN_MAX(longest, begins[i] + least);
        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++)
            begins[graph->succ[j]] = SYN_MAX(begins[graph->succ[j]], begins[i] + least);
    }
    *ret_ns = longest;
    return SYN_OK;
}

int
syn_plan_bound(const struct syn_plan_machine *machine, const struct syn_plan_graph *graph,
               struct syn_plan_bound *ret_bound, struct syn_err *err)
{
    SYN_SCOPED(area_fini) struct area area = {0};
    struct syn_plan_bound bound = {0};
    struct area_answer answer = {0};
    struct window_answer window = {0};
    int rc = syn_platform_check(&machine->platform, err);

    assert(graph->sealed);
    if (rc == 0)
        rc = area_fill(&area, machine, graph, err);
    if (rc == 0 && area.problem.kernels > 0)
        rc = area_solve(&area.problem, &answer, err);
    if (rc == 0)
        rc = critical(machine, graph, &bound.critical_ns, err);
    if (rc == 0 && area.problem.kernels > 0)
        rc = window_bound(machine, graph, &window, err);
    if (rc < 0)
        return rc;
    /* Rounding of the sum is far below one part in 10^9. */
    bound.area_ns = (uint64_t)(answer.ns * (1 - 1e-9));
    bound.path_ns = window.path_ns;
    bound.window_ns = window.window_ns;
    bound.simple_ns = SYN_MAX(bound.area_ns, bound.critical_ns);
    bound.bound_ns = SYN_MAX(bound.simple_ns, SYN_MAX(bound.path_ns, bound.window_ns));
    *ret_bound = bound;
    return SYN_OK;
}
