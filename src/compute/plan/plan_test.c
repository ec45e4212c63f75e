/* Every strategy through the same properties on random machines and graphs, a brute-force optimum
 * for tiny ones, bounds, and memory that runs short. */
#include <stdio.h>
#include <string.h>

#include <synor/base/test.h>
#include <synor/plan.h>

#define TASKS_MAX 4096

struct machine {
    struct syn_worker_class classes[3];
    struct syn_plan_rate rates[3];
    struct syn_worker_desc workers[32];
    struct syn_link_desc links[16];
    uint64_t node_bytes[8];
    struct syn_plan_machine plan;
};

static void
make_machine(struct machine *machine, uint32_t cores, uint32_t gpus, uint64_t gpu_bytes,
             uint16_t bus)
{
    struct syn_platform *platform = &machine->plan.platform;

    *machine = (struct machine){0};
    for (uint32_t c = 0; c < 3; c++) {
        (void)snprintf(machine->classes[c].name, sizeof(machine->classes[c].name), "class %u", c);
        machine->classes[c].state_count = 2;
        machine->classes[c].idle_mw = 1000;
        machine->classes[c].switch_ns = 1000;
        machine->classes[c].states[0] = (struct syn_power_state){1000, 10000};
        machine->classes[c].states[1] = (struct syn_power_state){700, 5000};
        machine->rates[c] =
            (struct syn_plan_rate){40e9 * (c == 0 ? 1 : 50 * c), 1e10, 1000, c == 0 ? 0 : 1};
    }
    *platform = (struct syn_platform){.class_count = 3,
                                      .worker_count = cores + gpus,
                                      .node_count = 1 + gpus,
                                      .link_count = 2 * gpus,
                                      .classes = machine->classes,
                                      .workers = machine->workers,
                                      .links = machine->links,
                                      .node_bytes = machine->node_bytes};
    machine->plan.rates = machine->rates;
    for (uint32_t i = 0; i < gpus; i++) {
        uint16_t node = (uint16_t)(i + 1);

        machine->workers[cores + i] =
            (struct syn_worker_desc){(uint16_t)(1 + i % 2), node, node, node};
        machine->links[(size_t)2 * i] =
            (struct syn_link_desc){0, node, bus, 1000, UINT64_C(10000000000)};
        machine->links[(size_t)2 * i + 1] =
            (struct syn_link_desc){node, 0, bus, 1000, UINT64_C(10000000000)};
        machine->node_bytes[node] = gpu_bytes;
    }
}

/* Once each, behind its predecessors, one at a time a worker. */
static void
check_trace(const struct syn_plan_graph *graph, const struct syn_plan_event *trace,
            const struct machine *machine, const char *name)
{
    static uint64_t begins[TASKS_MAX], ends[TASKS_MAX];
    uint64_t free_ns[32] = {0};
    uint32_t count = syn_plan_task_count(graph);

    memset(ends, 0, sizeof(ends));
    for (uint32_t i = 0; i < count; i++) {
        const struct syn_plan_event *event = &trace[i];

        if (ends[event->task] != 0 || event->worker >= machine->plan.platform.worker_count ||
            event->pop_ns > event->begin_ns || event->begin_ns >= event->end_ns ||
            event->pop_ns < free_ns[event->worker])
            fail_msg("%s: task %u on worker %u", name, event->task, event->worker);
        begins[event->task] = event->begin_ns;
        ends[event->task] = event->end_ns;
        free_ns[event->worker] = event->end_ns;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t successors;
        const uint32_t *next = syn_plan_successors(graph, i, &successors);

        for (uint32_t j = 0; j < successors; j++)
            if (begins[next[j]] < ends[i])
                fail_msg("%s: task %u before its predecessor %u", name, next[j], i);
    }
}

static void
run_all(const struct machine *machine, const struct syn_plan_graph *graph, uint64_t seed)
{
    static struct syn_plan_event trace[TASKS_MAX];
    const struct syn_strategy_ops *const *table;
    struct syn_plan_bound bound;
    struct syn_err err = {0};
    size_t strategies;

    table = syn_strategies(&strategies);
    assert_true(strategies >= 10);
    assert_done(syn_plan_bound(&machine->plan, graph, &bound, &err), &err);
    for (size_t s = 0; s < strategies * 2; s++) {
        struct syn_plan_opts opts = {.machine = &machine->plan,
                                     .graph = graph,
                                     .strategy = table[s / 2],
                                     .seed = seed,
                                     .noise_permille = s % 2 == 0 ? 0 : 100,
                                     .profile_error_permille = s % 2 == 0 ? 0 : 300,
                                     .learn = s % 2 != 0,
                                     .give_graph = true};
        struct syn_plan_result result, again;

        assert_done(syn_plan_run(&opts, trace, &result, &err), &err);
        check_trace(graph, trace, machine, table[s / 2]->name);
        if (s % 2 == 0 && result.makespan_ns < bound.bound_ns)
            fail_msg("%s, seed %llu: shorter than the bound", table[s / 2]->name,
                     (unsigned long long)seed);
        if (result.unexplained != 0)
            fail_msg("%s, seed %llu: idle without a reason", table[s / 2]->name,
                     (unsigned long long)seed);
        for (uint32_t n = 0; n < machine->plan.platform.node_count; n++)
            assert_true(machine->node_bytes[n] == 0 ||
                        result.node_peak_bytes[n] <= machine->node_bytes[n]);
        assert_done(syn_plan_run(&opts, NULL, &again, &err), &err);
        assert_memory_equal(&result, &again, sizeof(result));
    }
}

static void
test_properties(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct syn_plan_graph *graph = NULL;
        struct machine machine;
        struct syn_err err = {0};

        make_machine(&machine, 1 + (uint32_t)(seed * 5 % 7), (uint32_t)(seed % 5),
                     UINT64_C(200) << 20, seed % 2 == 0 ? 0 : 3);
        assert_done(syn_plan_layered(12, 10, seed, &graph, &err), &err);
        run_all(&machine, graph, seed);
        graph = syn_plan_graph_free(graph);
        assert_done(syn_plan_cholesky(7, 512, &graph, &err), &err);
        run_all(&machine, graph, seed);
        graph = syn_plan_graph_free(graph);
    }
}

/* A device memory for few tiles only, both ways over one bus: all must still end. */
static void
test_memory_short(void **state)
{
    struct syn_plan_graph *graph = NULL;
    struct machine machine;
    struct syn_err err = {0};
    struct syn_plan_opts opts = {.machine = &machine.plan};
    struct syn_plan_result result;

    (void)state;
    assert_done(syn_plan_lu(8, 512, &graph, &err), &err);
    make_machine(&machine, 2, 2, UINT64_C(9) << 20, 5); /* a tile has 2 MiB */
    run_all(&machine, graph, 1);
    opts.graph = graph;
    opts.strategy = syn_strategy_find("dmdas");
    assert_done(syn_plan_run(&opts, NULL, &result, &err), &err);
    assert_true(result.evictions > 0);
    machine.node_bytes[1] = UINT64_C(5) << 20;
    assert_code(syn_plan_run(&opts, NULL, &result, &err), SYN_E_NOSPACE, &err);
    (void)syn_plan_graph_free(graph);
}

/* Independent tasks, two classes: the least over all assignments. */
static uint64_t
brute_force(uint64_t times[][2], uint32_t count)
{
    uint64_t best = UINT64_MAX;

    for (uint32_t mask = 0; mask < 1U << count; mask++) {
        uint64_t loads[2] = {0, 0};

        for (uint32_t i = 0; i < count; i++)
            loads[mask >> i & 1] += times[i][mask >> i & 1];
        best = SYN_MIN(best, SYN_MAX(loads[0], loads[1]));
    }
    return best;
}

#define TINY 9U

static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_brute_force(void **state)
{
    uint64_t random = 99;

    (void)state;
    for (int round = 0; round < 30; round++) {
        struct syn_plan_graph *graph = NULL;
        struct syn_plan_bound bound;
        struct syn_plan_result result;
        struct machine machine;
        struct syn_err err = {0};
        uint64_t times[TINY][2], best;

        make_machine(&machine, 1, 1, 0, 0);
        machine.rates[0].launch_ns = machine.rates[1].launch_ns = 0;
        assert_done(syn_plan_graph_new(&graph, &err), &err);
        for (uint32_t i = 0; i < TINY; i++) {
            struct syn_plan_kernel kernel = {.name = "k", .flops = 4e7};
            uint32_t id, task;

            kernel.efficiency_ppt[0] = 100 + (uint32_t)(syn_test_random(&random) % 900);
            kernel.efficiency_ppt[1] = 2 + (uint32_t)(syn_test_random(&random) % 60);
            assert_done(syn_plan_kernel_add(graph, &kernel, &id, &err), &err);
            assert_done(syn_plan_task_add(graph, id, NULL, 0, &task, &err), &err);
            for (uint32_t c = 0; c < 2; c++)
                times[i][c] =
                    (uint64_t)(4e7 * 1e9 /
                               (machine.rates[c].flops_per_s * kernel.efficiency_ppt[c] / 1000.0));
        }
        assert_done(syn_plan_graph_seal(graph, &err), &err);
        best = brute_force(times, TINY);
        assert_done(syn_plan_bound(&machine.plan, graph, &bound, &err), &err);
        /* No bound above the optimum; the area one within the largest task of it. */
        assert_true(bound.bound_ns <= best + TINY);
        assert_done(syn_plan_run(&(struct syn_plan_opts){.machine = &machine.plan,
                                                         .graph = graph,
                                                         .strategy = syn_strategy_find("heft"),
                                                         .give_graph = true},
                                 NULL, &result, &err),
                    &err);
        assert_true(result.makespan_ns + TINY >= best);
        assert_true(result.makespan_ns <= best + best / 2);
        (void)syn_plan_graph_free(graph);
    }
}

/* Two kernels, two classes, solved by hand: 10 of each; each class is ten times as good at one. */
static void
test_area(void **state)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_plan_bound bound;
    struct machine machine;
    struct syn_err err = {0};
    uint32_t ids[2], task;

    (void)state;
    make_machine(&machine, 1, 1, 0, 0);
    for (int c = 0; c < 2; c++)
        machine.rates[c] = (struct syn_plan_rate){1e9, 0, 0, (uint8_t)c};
    assert_done(syn_plan_graph_new(&graph, &err), &err);
    for (uint32_t k = 0; k < 2; k++) {
        struct syn_plan_kernel kernel = {.name = "k", .flops = 1e6};

        kernel.efficiency_ppt[k] = 1000;
        kernel.efficiency_ppt[1 - k] = 100;
        assert_done(syn_plan_kernel_add(graph, &kernel, &ids[k], &err), &err);
        for (int i = 0; i < (k == 0 ? 10 : 21); i++)
            assert_done(syn_plan_task_add(graph, ids[k], NULL, 0, &task, &err), &err);
    }
    assert_done(syn_plan_graph_seal(graph, &err), &err);
    assert_done(syn_plan_bound(&machine.plan, graph, &bound, &err), &err);
    /* 21 - x on class 1, 10 + 10 x on class 0: x = 1, T = 20 ms. */
    assert_in_range(bound.area_ns, 19999000, 20000000);
    assert_int_equal(bound.critical_ns, 1000000);
    (void)syn_plan_graph_free(graph);
}

/* One task, then `wide` side by side, then one: 1 ms each on a core, nothing runs elsewhere. */
static void
make_fork(struct syn_plan_graph **ret_graph, uint32_t wide, uint64_t bytes)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_plan_kernel kernel = {.name = "k", .flops = 1e6, .efficiency_ppt = {1000}};
    struct syn_plan_use uses[2], all[SYN_PLAN_USES_MAX];
    struct syn_err err = {0};
    uint32_t id, task;

    assert_done(syn_plan_graph_new(&graph, &err), &err);
    assert_done(syn_plan_kernel_add(graph, &kernel, &id, &err), &err);
    assert_done(syn_plan_data_add(graph, bytes, true, &uses[0].data, &err), &err);
    uses[0].mode = SYN_UPDATE;
    assert_done(syn_plan_task_add(graph, id, uses, 1, &task, &err), &err);
    uses[0].mode = SYN_READ;
    uses[1].mode = SYN_WRITE;
    for (uint32_t i = 0; i < wide; i++) {
        assert_done(syn_plan_data_add(graph, bytes, false, &uses[1].data, &err), &err);
        all[i] = (struct syn_plan_use){uses[1].data, SYN_READ};
        assert_done(syn_plan_task_add(graph, id, uses, 2, &task, &err), &err);
    }
    assert_done(syn_plan_task_add(graph, id, all, wide, &task, &err), &err);
    assert_done(syn_plan_graph_seal(graph, &err), &err);
    *ret_graph = graph;
}

/* Four cores: (1 + 8 + 1) / 4 is the area; before and after the eight there is nothing to do. */
static void
test_windows(void **state)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_plan_bound bound;
    struct machine machine;
    struct syn_err err = {0};

    (void)state;
    make_machine(&machine, 4, 1, 0, 0);
    machine.rates[0] = (struct syn_plan_rate){1e9, 0, 0, 0};
    make_fork(&graph, 8, 1000);
    assert_done(syn_plan_bound(&machine.plan, graph, &bound, &err), &err);
    assert_in_range(bound.area_ns, 2499000, 2500000);
    assert_int_equal(bound.critical_ns, 3000000);
    assert_int_equal(bound.path_ns, 3000000); /* all on the host: no transfers */
    assert_in_range(bound.window_ns, 3999000, 4000000);
    assert_int_equal(bound.bound_ns, bound.window_ns);
    assert_int_equal(bound.simple_ns, bound.critical_ns);
    (void)syn_plan_graph_free(graph);
}

/* The same on one device only: its data must come, 10^7 bytes at 10^10 a second and 1 us. */
static void
test_transfers(void **state)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_plan_bound bound;
    struct machine machine;
    struct syn_err err = {0};

    (void)state;
    make_machine(&machine, 1, 1, 0, 0);
    machine.rates[0] = (struct syn_plan_rate){1e9, 0, 0, 1}; /* column 1: cannot */
    machine.rates[1] = (struct syn_plan_rate){1e9, 0, 0, 0};
    make_fork(&graph, 1, 10000000);
    assert_done(syn_plan_bound(&machine.plan, graph, &bound, &err), &err);
    assert_int_equal(bound.critical_ns, 3000000);
    assert_in_range(bound.path_ns, 4000900, 4001000);
    (void)syn_plan_graph_free(graph);
}

/* Ten in a row, and much else that keeps the fast class busy. The area alone would have the slow
 * class take nine tenths of the row: ten times as long as everything. */
static void
test_chains(void **state)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_plan_kernel row = {.name = "row", .flops = 1e6, .efficiency_ppt = {100, 1000}};
    struct syn_plan_kernel rest = {.name = "rest", .flops = 1e6, .efficiency_ppt = {1, 1000}};
    struct syn_plan_use use = {0, SYN_UPDATE};
    struct syn_plan_bound bound;
    struct machine machine;
    struct syn_err err = {0};
    uint32_t ids[2], task;

    (void)state;
    make_machine(&machine, 1, 1, 0, 0);
    for (uint32_t c = 0; c < 2; c++)
        machine.rates[c] = (struct syn_plan_rate){1e9, 0, 0, (uint8_t)c};
    assert_done(syn_plan_graph_new(&graph, &err), &err);
    assert_done(syn_plan_kernel_add(graph, &row, &ids[0], &err), &err);
    assert_done(syn_plan_kernel_add(graph, &rest, &ids[1], &err), &err);
    assert_done(syn_plan_data_add(graph, 8, true, &use.data, &err), &err);
    for (int i = 0; i < 10; i++)
        assert_done(syn_plan_task_add(graph, ids[0], &use, 1, &task, &err), &err);
    for (int i = 0; i < 20; i++)
        assert_done(syn_plan_task_add(graph, ids[1], NULL, 0, &task, &err), &err);
    assert_done(syn_plan_graph_seal(graph, &err), &err);
    assert_done(syn_plan_bound(&machine.plan, graph, &bound, &err), &err);
    /* x of the row slow: 20 + 10 - x = 10 x, x = 30 / 11, T = 27.3; but the row itself takes
     * 10 + 9 x then, 34.5. Both at 20 + 10 - x = 10 + 9 x: x = 2, T = 28. */
    assert_in_range(bound.simple_ns, 27270000, 27273000);
    assert_in_range(bound.bound_ns, 27970000, 28000000);
    (void)syn_plan_graph_free(graph);
}

/* Two tasks of 1 ms on one core of 10 W, or of 2 ms at 2 W; it idles at 1 W. */
static void
test_energy(void **state)
{
    static const struct {
        uint64_t deadline_ns, uj;
    } rows[] = {
        {2000000, 20000}, /* no time to be slow */
        {3000000, 14000}, /* one slow, one fast */
        {4000000, 8000},
        {8000000, 8000}, /* to wait on would cost idling */
    };
    struct syn_plan_graph *graph = NULL;
    struct syn_plan_kernel kernel = {.name = "k", .flops = 1e6, .efficiency_ppt = {1000}};
    struct machine machine;
    struct syn_err err = {0};
    uint64_t uj = 0;
    uint32_t id, task;

    (void)state;
    make_machine(&machine, 1, 0, 0, 0);
    machine.rates[0] = (struct syn_plan_rate){1e9, 0, 0, 0};
    machine.classes[0].states[1] = (struct syn_power_state){500, 2000};
    assert_done(syn_plan_graph_new(&graph, &err), &err);
    assert_done(syn_plan_kernel_add(graph, &kernel, &id, &err), &err);
    for (int i = 0; i < 2; i++)
        assert_done(syn_plan_task_add(graph, id, NULL, 0, &task, &err), &err);
    assert_done(syn_plan_graph_seal(graph, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_done(syn_plan_energy_bound(&machine.plan, graph, rows[i].deadline_ns, &uj, &err),
                    &err);
        assert_in_range(uj, rows[i].uj * 99 / 100, rows[i].uj);
    }
    assert_code(syn_plan_energy_bound(&machine.plan, graph, 1900000, &uj, &err), SYN_E_INVALID,
                &err);
    (void)syn_plan_graph_free(graph);
}

/* A thousand like tasks on four unlike processors, which are filled by what a task takes there: 50,
 * 60, 70, then 150 mJ. Their prices lie a factor of twenty apart. */
static void
test_energy_classes(void **state)
{
    static const uint32_t busy_mw[] = {5000, 30000, 70000, 1500000};
    static const struct syn_plan_rate rates[] = {
        {1e8, 0, 0, 0}, {5e8, 0, 0, 0}, {1e9, 0, 0, 0}, {1e10, 0, 0, 0}};
    struct syn_plan_kernel kernel = {.name = "k", .flops = 1e6, .efficiency_ppt = {1000}};
    struct syn_worker_class classes[4] = {0};
    struct syn_worker_desc workers[4] = {0};
    struct syn_plan_machine machine = {.rates = rates};
    struct syn_plan_graph *graph = NULL;
    struct syn_err err = {0};
    uint64_t uj = 0, least_uj = 138120000; /* 8.8, 44 and 88 tasks in 88 ms, and the rest */
    uint32_t id, task;

    (void)state;
    machine.platform = (struct syn_platform){
        .class_count = 4, .worker_count = 4, .node_count = 1, .classes = classes};
    machine.platform.workers = workers;
    for (uint16_t c = 0; c < 4; c++) {
        (void)snprintf(classes[c].name, sizeof(classes[c].name), "class %u", c);
        classes[c].state_count = 1;
        classes[c].states[0] = (struct syn_power_state){1000, busy_mw[c]};
        workers[c].class_id = c;
    }
    assert_done(syn_plan_graph_new(&graph, &err), &err);
    assert_done(syn_plan_kernel_add(graph, &kernel, &id, &err), &err);
    for (int i = 0; i < 1000; i++)
        assert_done(syn_plan_task_add(graph, id, NULL, 0, &task, &err), &err);
    assert_done(syn_plan_graph_seal(graph, &err), &err);
    assert_done(syn_plan_energy_bound(&machine, graph, 88000000, &uj, &err), &err);
    assert_in_range(uj, least_uj - least_uj / 500, least_uj);
    (void)syn_plan_graph_free(graph);
}

/* Run a strategy that is shown the graph; it takes no less energy than the bound says. */
static uint64_t
run_bounded(const struct machine *machine, const struct syn_plan_graph *graph, const char *strategy)
{
    struct syn_plan_opts opts = {.machine = &machine->plan,
                                 .graph = graph,
                                 .strategy = syn_strategy_find(strategy),
                                 .give_graph = true};
    struct syn_plan_result result;
    struct syn_err err = {0};
    uint64_t uj = 0;

    assert_done(syn_plan_run(&opts, NULL, &result, &err), &err);
    assert_done(syn_plan_energy_bound(&machine->plan, graph, result.makespan_ns, &uj, &err), &err);
    assert_in_range(uj, 1, result.energy_uj);
    return result.makespan_ns;
}

/* Shown the graph heft takes no longer than others' rules where nothing varies, for it knows what
 * they would do. */
static void
test_rules(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        SYN_SCOPED(syn_plan_graph_free_scope) struct syn_plan_graph *graph = NULL;
        struct machine machine;
        struct syn_err err = {0};
        uint64_t heft_ns;

        make_machine(&machine, 3, 1 + i, 0, i % 2 == 0 ? 0 : 7);
        if (i < 2)
            assert_done(syn_plan_cholesky(7, 512, &graph, &err), &err);
        else
            assert_done(syn_plan_layered(9, 12, i, &graph, &err), &err);
        heft_ns = run_bounded(&machine, graph, "heft");
        assert_true(heft_ns <= run_bounded(&machine, graph, "dmdas"));
        assert_true(heft_ns <= run_bounded(&machine, graph, "heteroprio"));
        (void)run_bounded(&machine, graph, "energy");
    }
}

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_plan_graph_free_scope) struct syn_plan_graph *graph = NULL;
    struct machine machine;
    struct syn_plan_result result;
    struct syn_plan_opts opts = {.machine = &machine.plan, .strategy = arg};
    int rc = syn_plan_cholesky(3, 64, &graph, err);

    make_machine(&machine, 2, 1, 0, 0);
    opts.graph = graph;
    return rc < 0 ? rc : syn_plan_run(&opts, NULL, &result, err);
}

static int
bounds_scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_plan_graph_free_scope) struct syn_plan_graph *graph = NULL;
    struct machine machine;
    uint64_t uj;
    int rc = syn_plan_cholesky(3, 64, &graph, err);

    (void)arg;
    make_machine(&machine, 2, 1, 0, 0);
    /* Which finds the other bound first. */
    return rc < 0 ? rc : syn_plan_energy_bound(&machine.plan, graph, UINT64_MAX, &uj, err);
}

static void
test_memory(void **state)
{
    const struct syn_strategy_ops *const *table;
    size_t count;

    (void)state;
    table = syn_strategies(&count);
    for (size_t i = 0; i < count; i++)
        assert_true(syn_test_sweep_alloc(scenario, (void *)(uintptr_t)table[i]) > 20);
    assert_true(syn_test_sweep_alloc(bounds_scenario, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),     cmocka_unit_test(test_memory_short),
        cmocka_unit_test(test_brute_force),    cmocka_unit_test(test_area),
        cmocka_unit_test(test_windows),        cmocka_unit_test(test_transfers),
        cmocka_unit_test(test_chains),         cmocka_unit_test(test_energy),
        cmocka_unit_test(test_energy_classes), cmocka_unit_test(test_rules),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests_name("compute/plan", tests, NULL, NULL);
}
