/* A plan: the engine of sim/ run with a machine's true times, while the strategy sees estimates
 * that may be wrong and, if it may learn, a model that the run itself refines. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/model.h>

#include "../sim/sim_priv.h"
#include "graph_priv.h"

#define NOISE_MAX 900U /* thousandths */
#define FASTEST   0.2  /* noise never makes a task faster than this part of its mean */

struct plan {
    const struct syn_plan_opts *opts;
    uint64_t *true_ns; /* kernel x class */
    struct syn_model *model;
    struct syn_model_entry **entries; /* by kernel */
    struct syn_replicas *replicas;
    struct syn_data_use *accesses;
    struct syn_ready *tasks;
    struct syn_graph_view view;
};

static void
plan_fini(struct plan *plan)
{
    syn_free(plan->true_ns);
    (void)syn_model_free(plan->model);
    syn_free(plan->entries);
    syn_free(plan->replicas);
    syn_free(plan->accesses);
    syn_free(plan->tasks);
}

/* splitmix64 of what must differ: the same (task, class) is as long under every strategy. */
static uint64_t
mix(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t x =
        seed + UINT64_C(0x9E3779B97F4A7C15) * (a + 1) + (b + 1) * UINT64_C(0xD1B54A32D192ED03);

    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* In [-1, 1). */
static double
uniform(uint64_t bits)
{
    return (double)(bits >> 11) / 4503599627370496.0 - 1;
}

/* Mean 0, deviation 1, within 3.5: a sum of four, which is near enough to normal. */
static double
normal(uint64_t bits)
{
    double sum = 0;

    for (int i = 0; i < 4; i++)
        sum += (double)(bits >> (16 * i) & 0xffff) / 32767.5 - 1;
    return sum / sqrt(4.0 / 3.0);
}

static uint64_t
duration(void *arg, uint32_t task, uint32_t class_id)
{
    const struct plan *plan = arg;
    uint32_t kernel = plan->opts->graph->tasks[task].kernel;
    uint64_t mean = plan->true_ns[(size_t)kernel * SYN_CLASSES_MAX + class_id];
    double factor = 1 + (double)plan->opts->noise_permille / 1000 *
                            normal(mix(plan->opts->seed, task, class_id));

    return SYN_MAX((uint64_t)((double)mean * fmax(factor, FASTEST)), 1);
}

static void
measured(void *arg, uint32_t task, uint32_t class_id, uint64_t ns)
{
    const struct plan *plan = arg;

    if (plan->opts->learn)
        syn_model_record(plan->entries[plan->opts->graph->tasks[task].kernel], class_id, ns);
}

static int
plan_estimate(struct plan *plan, uint32_t kernel, struct syn_err *err)
{
    const struct syn_plan_graph *graph = plan->opts->graph;
    const struct syn_plan_machine *machine = plan->opts->machine;
    char name[48];
    int rc;

    /* A name of its own a kernel: sizes do not teach each other here, every one starts wrong. */
    (void)snprintf(name, sizeof(name), "k%u", kernel);
    rc = syn_model_entry(plan->model, name, (uint64_t)graph->kernels[kernel].flops, 0,
                         &plan->entries[kernel], err);
    for (uint32_t w = 0; w < machine->platform.class_count && rc == 0; w++) {
        uint64_t ns = plan_kernel_ns(&graph->kernels[kernel], &machine->rates[w]);
        double error = (double)plan->opts->profile_error_permille / 1000 *
                       uniform(mix(plan->opts->seed ^ 0x5EED, kernel, w));

        plan->true_ns[(size_t)kernel * SYN_CLASSES_MAX + w] = ns;
        syn_model_prior(plan->entries[kernel], w,
                        ns == SYN_NEVER ? SYN_NEVER : (uint64_t)((double)ns * (1 + error)));
    }
    return rc;
}

static int
plan_estimates(struct plan *plan, struct syn_err *err)
{
    const struct syn_platform *platform = &plan->opts->machine->platform;
    const struct syn_plan_graph *graph = plan->opts->graph;
    char names[SYN_CLASSES_MAX][16];
    const char *pointers[SYN_CLASSES_MAX];
    int rc;

    for (uint32_t i = 0; i < platform->class_count; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "class%u", i);
        pointers[i] = names[i];
    }
    rc = syn_model_new(pointers, platform->class_count, &plan->model, err);
    if (rc < 0)
        return rc;
    plan->true_ns = syn_calloc((graph->kernel_count + 1) * SYN_CLASSES_MAX, sizeof(uint64_t));
    plan->entries = syn_calloc(graph->kernel_count + 1, sizeof(struct syn_model_entry *));
    if (plan->true_ns == NULL || plan->entries == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for estimates");
    for (uint32_t k = 0; k < graph->kernel_count && rc == 0; k++)
        rc = plan_estimate(plan, k, err);
    return rc;
}

/* The mean over the classes that can, as estimated: what HEFT ranks by. */
static uint64_t
mean_ns(const struct plan *plan, uint32_t task)
{
    const struct syn_platform *platform = &plan->opts->machine->platform;
    const struct syn_estimate *cost = plan->tasks[task].cost;
    uint64_t sum = 0, count = 0;

    for (uint32_t w = 0; w < platform->class_count; w++)
        if (cost->ns[w] != SYN_NEVER) {
            sum += cost->ns[w];
            count++;
        }
    return count == 0 ? 0 : sum / count;
}

/* Priorities as a careful programmer would give them: the longest way to the end, scaled. */
static int
prioritise(struct plan *plan, struct syn_err *err)
{
    const struct syn_plan_graph *graph = plan->opts->graph;
    SYN_SCOPED(syn_free_scope)
    uint64_t *levels = syn_calloc(graph->task_count + 1, sizeof(*levels));
    uint64_t highest = 1;

    if (levels == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for priorities");
    for (uint32_t i = (uint32_t)graph->task_count; i-- > 0;) {
        uint64_t after = 0;

        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++)
            after = SYN_MAX(after, levels[graph->succ[j]]);
        levels[i] = after + mean_ns(plan, i);
        highest = SYN_MAX(highest, levels[i]);
    }
    for (uint32_t i = 0; i < graph->task_count; i++)
        plan->tasks[i].priority = (int32_t)((double)levels[i] / (double)highest * 1e9);
    return SYN_OK;
}

static int
plan_view(struct plan *plan, struct syn_err *err)
{
    const struct syn_plan_graph *graph = plan->opts->graph;

    plan->replicas = syn_calloc(graph->data_count + 1, sizeof(plan->replicas[0]));
    plan->accesses = syn_calloc(graph->use_count + 1, sizeof(plan->accesses[0]));
    plan->tasks = syn_calloc(graph->task_count + 1, sizeof(plan->tasks[0]));
    if (plan->replicas == NULL || plan->accesses == NULL || plan->tasks == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu tasks", graph->task_count);
    for (size_t i = 0; i < graph->data_count; i++)
        plan->replicas[i] =
            (struct syn_replicas){graph->data[i].ready ? 1 : 0, graph->data[i].bytes};
    for (size_t i = 0; i < graph->use_count; i++)
        plan->accesses[i] = (struct syn_data_use){&plan->replicas[graph->uses[i].data],
                                                  graph->uses[i].data, graph->uses[i].mode};
    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct plan_task *task = &graph->tasks[i];

        plan->tasks[i] = (struct syn_ready){
            .cost = syn_model_estimate(plan->entries[task->kernel]),
            .accesses = plan->accesses + task->use_first,
            .access_count = (uint16_t)task->use_count,
            .access_stride = sizeof(struct syn_data_use),
            .index = i,
            .affinity = SYN_NO_WORKER,
            .origin = SYN_NO_WORKER,
        };
    }
    plan->view = (struct syn_graph_view){
        .task_count = (uint32_t)graph->task_count,
        .handle_count = (uint32_t)graph->data_count,
        .tasks = plan->tasks,
        .succ_first = graph->succ_first,
        .succ = graph->succ,
    };
    return prioritise(plan, err);
}

int
syn_plan_run(const struct syn_plan_opts *opts, struct syn_plan_event *trace,
             struct syn_plan_result *ret_result, struct syn_err *err)
{
    SYN_SCOPED(plan_fini) struct plan plan = {.opts = opts};
    struct sim_setup setup = {
        .platform = &opts->machine->platform,
        .graph = &plan.view,
        .strategy = opts->strategy,
        .strategy_opts = opts->strategy_opts,
        .give_graph = opts->give_graph,
        .trace = trace,
        .duration = duration,
        .measured = measured,
        .arg = &plan,
    };
    int rc = syn_platform_check(&opts->machine->platform, err);

    if (rc < 0)
        return rc;
    if (!opts->graph->sealed || opts->noise_permille > NOISE_MAX ||
        opts->profile_error_permille > NOISE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "the graph is not sealed, or noise or error over %u",
                        NOISE_MAX);
    rc = plan_estimates(&plan, err);
    if (rc == 0)
        rc = plan_view(&plan, err);
    return rc < 0 ? rc : sim_run(&setup, ret_result, err);
}
