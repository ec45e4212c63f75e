/* What the strategy would do with calls that do not run: they become a planner's graph (plan.h),
 * the engine's seats its machine.
 *
 * A planner's kernel is told by what it computes and how fast classes are; ours are told by times.
 * So every class computes 10^9 a second, a kernel computes as much as its slowest class takes
 * nanoseconds, and the others are so much more efficient. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>

#include "../sim/sim_priv.h"
#include "engine_priv.h"

#define TABLE_FIRST 64

struct planned {
    const struct syn_tensor *tensor; /* NULL: a free slot */
    uint32_t data;
};

struct planning {
    struct syn_engine *engine;
    struct syn_plan_graph *graph;
    const struct syn_model_entry *entries[SYN_PLAN_KERNELS_MAX];
    uint32_t entries_count;
    struct planned *table; /* an open hash table */
    size_t count, cap;
};

static void
planning_fini(struct planning *planning)
{
    planning->graph = syn_plan_graph_free(planning->graph);
    syn_free(planning->table);
}

/* ---- kernels ---- */

static SYN_MUST int
add_kernel(struct planning *planning, const struct syn_engine_task *call, uint32_t *ret_kernel,
           struct syn_err *err)
{
    const struct syn_engine *engine = planning->engine;
    struct syn_plan_kernel kernel = {.flops = 0};
    int rc;

    (void)snprintf(kernel.name, sizeof(kernel.name), "%s", call->kernel->name);
    for (unsigned i = 0; i < engine->platform.class_count; i++) {
        uint64_t ns = syn_engine_cost(call, i);

        if (ns != SYN_NEVER && ns != SYN_UNKNOWN_NS)
            kernel.flops = fmax(kernel.flops, (double)ns);
    }
    if (kernel.flops == 0)
        kernel.flops = SIM_UNKNOWN_NS;
    for (unsigned i = 0; i < engine->platform.class_count; i++) {
        uint64_t ns = syn_engine_cost(call, i);
        /* Where nobody knows, as long as where it is known to take longest. */
        double ppt = ns == SYN_UNKNOWN_NS ? 1000 : 1000 * kernel.flops / (double)ns;

        if (ns != SYN_NEVER)
            kernel.efficiency_ppt[i] = (uint32_t)fmin(round(ppt), UINT32_MAX);
    }
    rc = syn_plan_kernel_add(planning->graph, &kernel, ret_kernel, err);
    if (rc == SYN_OK)
        planning->entries[planning->entries_count++] = call->entry;
    return rc;
}

static SYN_MUST int
kernel_of(struct planning *planning, const struct syn_engine_task *call, uint32_t *ret_kernel,
          struct syn_err *err)
{
    for (uint32_t i = 0; i < planning->entries_count; i++) {
        if (planning->entries[i] == call->entry) {
            *ret_kernel = i;
            return SYN_OK;
        }
    }
    return add_kernel(planning, call, ret_kernel, err);
}

/* ---- data ---- */

static struct planned *
slot_of(struct planned *table, size_t cap, const struct syn_tensor *tensor)
{
    size_t at = (size_t)(syn_tensor_number(tensor) * UINT64_C(0x9e3779b97f4a7c15) >> 20);

    while (table[at & (cap - 1)].tensor != NULL && table[at & (cap - 1)].tensor != tensor)
        at++;
    return &table[at & (cap - 1)];
}

static SYN_MUST int
grow_table(struct planning *planning, struct syn_err *err)
{
    size_t cap = planning->cap == 0 ? TABLE_FIRST : planning->cap * 2;
    struct planned *grown = syn_calloc(cap, sizeof(*grown));

    if (grown == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a plan");
    for (size_t i = 0; i < planning->cap; i++) {
        if (planning->table[i].tensor != NULL)
            *slot_of(grown, cap, planning->table[i].tensor) = planning->table[i];
    }
    syn_free(planning->table);
    planning->table = grown;
    planning->cap = cap;
    return SYN_OK;
}

static SYN_MUST int
data_of(struct planning *planning, const struct syn_data_use *use, uint32_t *ret_data,
        struct syn_err *err)
{
    const struct syn_tensor *tensor = syn_tensor_of(use->data);
    struct planned *slot;
    int rc = SYN_OK;

    if (planning->count * 2 >= planning->cap)
        rc = grow_table(planning, err);
    if (rc < 0)
        return rc;
    slot = slot_of(planning->table, planning->cap, tensor);
    if (slot->tensor == NULL) {
        rc = syn_plan_data_add(planning->graph, use->data->bytes, (use->mode & SYN_READ) != 0,
                               &slot->data, err);
        if (rc < 0)
            return rc;
        slot->tensor = tensor;
        planning->count++;
    }
    *ret_data = slot->data;
    return SYN_OK;
}

/* ---- the graph ---- */

static SYN_MUST int
add_call(struct planning *planning, const struct syn_engine_task *call, struct syn_err *err)
{
    struct syn_plan_use uses[SYN_OPERANDS_MAX];
    uint32_t kernel = 0, task = 0;
    int rc = kernel_of(planning, call, &kernel, err);

    for (unsigned i = 0; rc == SYN_OK && i < call->uses_count; i++) {
        uses[i].mode = (enum syn_access)call->uses[i].mode;
        rc = data_of(planning, &call->uses[i], &uses[i].data, err);
    }
    return rc < 0 ? rc
                  : syn_plan_task_add(planning->graph, kernel, uses, call->uses_count, &task, err);
}

static SYN_MUST int
add_step(struct planning *planning, const struct syn_engine_step *step, struct syn_err *err)
{
    struct syn_engine_task *call = NULL;
    int rc = syn_engine_record_for(planning->engine, &step->call, &call, err);

    if (rc < 0)
        return rc;
    rc = add_call(planning, call, err);
    syn_engine_record_free(call);
    for (uint32_t i = 0; rc == SYN_OK && i < step->after_count; i++)
        rc = syn_plan_order_add(planning->graph, step->after[i], err);
    return rc;
}

/* The runtime's threads share their processor's power. */
static void
describe(const struct syn_engine *engine, struct syn_worker_class *classes,
         struct syn_plan_rate *rates, struct syn_plan_machine *ret_machine)
{
    unsigned cpu = engine->seats[0].class_id;

    memcpy(classes, engine->classes, sizeof(engine->classes));
    classes[cpu].idle_mw /= engine->cpus;
    classes[cpu].states[0].busy_mw /= engine->cpus;
    for (unsigned i = 0; i < engine->platform.class_count; i++)
        rates[i] = (struct syn_plan_rate){.flops_per_s = 1e9, .column = (uint8_t)i};
    *ret_machine = (struct syn_plan_machine){engine->platform, rates};
    ret_machine->platform.classes = classes;
}

int
syn_engine_plan(struct syn_engine *engine, const struct syn_engine_step *steps, uint32_t count,
                struct syn_plan_event *ret_events, struct syn_plan_result *ret_result,
                struct syn_err *err)
{
    SYN_SCOPED(planning_fini) struct planning planning = {.engine = engine};
    struct syn_worker_class classes[SYN_CLASSES_MAX];
    struct syn_plan_rate rates[SYN_CLASSES_MAX];
    struct syn_plan_machine machine;
    struct syn_plan_opts opts = {
        .machine = &machine, .strategy = engine->ops, .strategy_opts = engine->strategy_opts};
    int rc = syn_plan_graph_new(&planning.graph, err);

    for (uint32_t i = 0; rc == SYN_OK && i < count; i++) {
        rc = add_step(&planning, &steps[i], err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "step %u", i);
    }
    rc = rc < 0 ? rc : syn_plan_graph_seal(planning.graph, err);
    if (rc < 0)
        return rc;
    describe(engine, classes, rates, &machine);
    opts.graph = planning.graph;
    return syn_plan_run(&opts, ret_events, ret_result, err);
}

int
syn_engine_estimate(struct syn_engine *engine, const struct syn_task_call *wish, uint64_t *ret_ns,
                    struct syn_err *err)
{
    struct syn_engine_task *call = NULL;
    int rc = syn_engine_record_for(engine, wish, &call, err);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < engine->seats_count; i++)
        ret_ns[i] = syn_engine_cost(call, engine->seats[i].class_id);
    syn_engine_record_free(call);
    return SYN_OK;
}
