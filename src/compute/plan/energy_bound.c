/* What no schedule can save.
 *
 * Let a schedule of length T give x_kcs tasks of kernel k to class c in its power state s, where
 * one takes t_kcs at a power of b_cs. A worker that does not compute draws i_c. Then
 *
 *     E  =  sum x_kcs t_kcs (b_cs - i_c)  +  T sum m_c i_c
 *
 * with  sum over c,s of x_kcs = n_k  (all tasks run)  and  sum over k,s of x_kcs t_kcs <= m_c T.
 * Weigh the latter by prices p_c >= 0 of a class's time: in every schedule
 *
 *     E  >=  sum_k n_k min over c,s of t_kcs (b_cs - i_c + p_c)  +  T sum m_c (i_c - p_c),
 *
 * whatever the prices, and T lies between a bound on the makespan and the deadline; what is linear
 * in T is least at one of the two. Dependencies, transfers, whole tasks and changes of state are
 * left out: each can only cost more. The prices are found by steps along the supergradient; where
 * these end is no matter for the proof, only for how good the bound is. */
#include <math.h>

#include <synor/base/mem.h>

#include "graph_priv.h"

#define STEPS      1500
#define STEP_FIRST 0.5 /* of a class's power */
#define STEP_SLOWS 15.0

struct energy {
    const struct syn_plan_machine *machine;
    uint32_t classes;
    size_t kernels;
    double *times;  /* kernel x class, fastest state; infinite: never */
    double *counts; /* by kernel */
    double workers[SYN_CLASSES_MAX];
    double prices[SYN_CLASSES_MAX]; /* mW */
    double excess[SYN_CLASSES_MAX]; /* busy time beyond what there is, at these prices */
};

static void
energy_fini(struct energy *energy)
{
    syn_free(energy->times);
    syn_free(energy->counts);
}

static int
energy_fill(struct energy *energy, const struct syn_plan_graph *graph, struct syn_err *err)
{
    const struct syn_platform *platform = &energy->machine->platform;

    energy->classes = platform->class_count;
    energy->kernels = graph->kernel_count;
    energy->times = syn_calloc(energy->kernels * energy->classes + 1, sizeof(double));
    energy->counts = syn_calloc(energy->kernels + 1, sizeof(double));
    if (energy->times == NULL || energy->counts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    for (uint32_t i = 0; i < platform->worker_count; i++)
        energy->workers[platform->workers[i].class_id]++;
    for (size_t i = 0; i < graph->task_count; i++)
        energy->counts[graph->tasks[i].kernel]++;
    for (size_t k = 0; k < energy->kernels; k++) {
        bool can = energy->counts[k] == 0;

        for (uint32_t c = 0; c < energy->classes; c++) {
            uint64_t ns = plan_kernel_ns(&graph->kernels[k], &energy->machine->rates[c]);
            bool never = ns == SYN_NEVER || energy->workers[c] == 0;

            energy->times[k * energy->classes + c] = never ? INFINITY : (double)ns;
            can = can || !never;
        }
        if (!can)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "kernel %.23s runs on no class here",
                            graph->kernels[k].name);
    }
    return SYN_OK;
}

/* The cheapest of a class's states for work of `ns`: its cost in pJ, and how long it takes. */
static double
cheapest_state(const struct energy *energy, uint32_t c, double ns, double *ret_ns)
{
    static const struct syn_power_state unknown = {1000, 0};
    const struct syn_worker_class *class = &energy->machine->platform.classes[c];
    uint32_t count = SYN_MAX(class->state_count, 1);
    double least = INFINITY;

    for (uint32_t s = 0; s < count; s++) {
        const struct syn_power_state *state =
            class->state_count == 0 ? &unknown : &class->states[s];
        double takes = ns * 1000 / state->speed_permille;
        double cost = takes * ((double)state->busy_mw - (double)class->idle_mw + energy->prices[c]);

        if (cost < least) {
            least = cost;
            *ret_ns = takes;
        }
    }
    return least;
}

/* The right side above, in pJ, and energy->excess at the T where it is least. */
static double
value_at(struct energy *energy, double begin_ns, double deadline_ns)
{
    double sum = 0, slope = 0, length_ns;

    for (uint32_t c = 0; c < energy->classes; c++) {
        energy->excess[c] = 0;
        slope += energy->workers[c] *
                 ((double)energy->machine->platform.classes[c].idle_mw - energy->prices[c]);
    }
    for (size_t k = 0; k < energy->kernels; k++) {
        double least = INFINITY, busy_ns = 0;
        uint32_t best = 0;

        if (energy->counts[k] == 0)
            continue;
        for (uint32_t c = 0; c < energy->classes; c++) {
            double ns = energy->times[k * energy->classes + c], takes = 0, cost;

            cost = isinf(ns) ? INFINITY : cheapest_state(energy, c, ns, &takes);
            if (cost < least) {
                least = cost;
                best = c;
                busy_ns = takes;
            }
        }
        sum += energy->counts[k] * least;
        energy->excess[best] += energy->counts[k] * busy_ns;
    }
    length_ns = slope > 0 ? begin_ns : deadline_ns;
    for (uint32_t c = 0; c < energy->classes; c++)
        energy->excess[c] -= energy->workers[c] * length_ns;
    return sum + length_ns * slope;
}

/* Along the supergradient, so far as a class with nothing to do, or all of its time missing, goes
 * by `part` of its power. A class that all of a kernel was just sent to lacks its time many times
 * over: then all go less far, for cut short by itself its step would point elsewhere. */
static void
climb(struct energy *energy, double deadline_ns, double part)
{
    double parts[SYN_CLASSES_MAX], longest = 1;

    for (uint32_t c = 0; c < energy->classes; c++) {
        parts[c] = energy->excess[c] / fmax(energy->workers[c] * deadline_ns, 1);
        longest = fmax(longest, fabs(parts[c]));
    }
    for (uint32_t c = 0; c < energy->classes; c++) {
        const struct syn_worker_class *class = &energy->machine->platform.classes[c];
        double reach = class->state_count > 0 ? part * class->states[0].busy_mw : part;

        energy->prices[c] = fmax(energy->prices[c] + reach * parts[c] / longest, 0);
    }
}

int
syn_plan_energy_bound(const struct syn_plan_machine *machine, const struct syn_plan_graph *graph,
                      uint64_t deadline_ns, uint64_t *ret_uj, struct syn_err *err)
{
    SYN_SCOPED(energy_fini) struct energy energy = {.machine = machine};
    struct syn_plan_bound bound;
    double best = 0;
    int rc = syn_plan_bound(machine, graph, &bound, err);

    if (rc == 0)
        rc = energy_fill(&energy, graph, err);
    if (rc < 0)
        return rc;
    if (deadline_ns < bound.bound_ns)
        return SYN_FAIL(err, SYN_E_INVALID, "no schedule ends within %llu ns",
                        (unsigned long long)deadline_ns);
    for (int step = 0; step < STEPS; step++) {
        best = fmax(best, value_at(&energy, (double)bound.bound_ns, (double)deadline_ns));
        climb(&energy, (double)deadline_ns, STEP_FIRST / (1 + step / STEP_SLOWS));
    }
    /* Rounding of the sum is far below one part in 10^9. */
    *ret_uj = (uint64_t)(best * (1 - 1e-9) / 1e6);
    return SYN_OK;
}
