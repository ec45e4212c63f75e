/* Strategies on modelled machines, beside the rules of others in the same simulator.
 *
 *   bench-taskplan [SEEDS] [small]      default: 3
 *
 * Every case is a machine and a workload, at the least size whose area bound is FILL times its
 * critical path: a graph that fills the machine. (With "small" the sizes do not, and the bound,
 * which knows neither transfers nor start-up, is far from anything that can be had.) Half of the
 * machines were looked at while the strategies were made, the other half and their graphs were not.
 * Task times vary by NOISE about their mean; estimates begin exact or up to 30 % wrong in either
 * direction, per kernel and class, and follow what is measured. All strategies see the same.
 *
 * Lines for machines on standard output, a line a case on standard error. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/plan.h>

#include "taskplan_priv.h"

#define NOISE_PERMILLE 50
#define WRONG_PERMILLE 300
#define FILL           3.0
#define SEEDS_MAX      50
#define TILE           2560
#define DEADLINE       1.03 /* of dmda's makespan: what both may take for the energy row */
#define CASES_MAX      64

/* What a device is like; figures of no product, orders of magnitude of many. */
struct device {
    const char *name;
    double flops_per_s, bytes_per_s;
    uint64_t launch_ns;
    uint8_t column;
    uint32_t busy_mw, idle_mw;
    uint64_t memory_bytes;
};

enum { CORE, WIDE_CORE, BIG, MIDDLE, OLD, MATRIX, LOW_POWER };

/* clang-format off */
static const struct device devices[] = {
    [CORE]      = {"modelled core",       40e9,   8e9,    500, 0,   8000,  1500, 0},
    [WIDE_CORE] = {"modelled wide core",  90e9,  16e9,    400, 0,  11000,  2500, 0},
    [BIG]       = {"modelled big gpu",     5e12,  1e12,  6000, 1, 250000, 40000, UINT64_C(16) << 30},
    [MIDDLE]    = {"modelled gpu",         3e12, .4e12,  8000, 1, 150000, 20000, UINT64_C(8) << 30},
    [OLD]       = {"modelled old gpu",   1.2e12, .2e12, 12000, 1, 180000, 30000, UINT64_C(6) << 30},
    [MATRIX]    = {"modelled matrix unit", 9e12, .8e12, 20000, 2, 200000, 50000, UINT64_C(32) << 30},
    [LOW_POWER] = {"modelled small gpu", 0.8e12, .1e12, 10000, 1,  30000,  4000, UINT64_C(4) << 30},
};

/* Cores, then up to three kinds of device with their number, link and bus (0: a link of its own). */
struct machine_row {
    const char *name;
    bool held_out;
    int core; unsigned cores;
    struct { int device; unsigned count; double link; uint16_t bus; } parts[3];
};

static const struct machine_row machine_rows[] = {
    {"8c+big",            false, CORE,      8,  {{BIG, 1, 24e9, 0}}},
    {"28c+4big",          false, CORE,      28, {{BIG, 4, 24e9, 0}}},
    {"16c+2big+2mid",     false, CORE,      16, {{BIG, 2, 24e9, 0}, {MIDDLE, 2, 12e9, 0}}},
    {"16c+2old,slow",     false, CORE,      16, {{OLD, 2, 12e9, 7}}},
    {"64c+8big",          false, CORE,      64, {{BIG, 8, 24e9, 0}}},
    {"12w+mid",           true,  WIDE_CORE, 12, {{MIDDLE, 1, 16e9, 0}}},
    {"32w+3big+old",      true,  WIDE_CORE, 32, {{BIG, 3, 32e9, 0}, {OLD, 1, 8e9, 0}}},
    {"24c+mid+old+small", true,  CORE,      24, {{MIDDLE, 1, 12e9, 3}, {OLD, 1, 12e9, 3}, {LOW_POWER, 1, 6e9, 0}}},
    {"16w+2matrix+2mid",  true,  WIDE_CORE, 16, {{MATRIX, 2, 48e9, 0}, {MIDDLE, 2, 12e9, 0}}},
    {"48c+6mid,2 buses",  true,  CORE,      48, {{MIDDLE, 3, 20e9, 1}, {MIDDLE, 3, 20e9, 2}}},
};
/* clang-format on */

struct machine {
    struct syn_worker_class classes[4];
    struct syn_plan_rate rates[4];
    struct syn_worker_desc workers[SYN_PLATFORM_WORKERS_MAX];
    struct syn_link_desc links[64];
    uint64_t node_bytes[SYN_NODES_MAX];
    int devices[4];
    struct syn_plan_machine plan;
};

void
bench_die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "bench-taskplan: %s: %s\n", what, err == NULL ? "failed" : err->msg);
    exit(1);
}

/* Power states as voltage and frequency go together: a third of the power stays, the rest falls
 * with the cube of the speed. */
static uint32_t
class_of(struct machine *machine, int device)
{
    struct syn_platform *platform = &machine->plan.platform;
    const struct device *from = &devices[device];
    struct syn_worker_class *class = &machine->classes[platform->class_count];

    for (uint32_t i = 0; i < platform->class_count; i++)
        if (machine->devices[i] == device)
            return i;
    (void)syn_str_copy(class->name, sizeof(class->name), from->name);
    class->idle_mw = from->idle_mw;
    class->switch_ns = 20000;
    class->price_ns = from->busy_mw;
    for (uint32_t i = 0; i < 5; i++) {
        double speed = 1 - 0.1 * i;

        class->states[i] = (struct syn_power_state){
            1000 - 100 * i, (uint32_t)(from->busy_mw * (1 + 2 * pow(speed, 3)) / 3)};
        class->state_count++;
    }
    machine->rates[platform->class_count] =
        (struct syn_plan_rate){from->flops_per_s, from->bytes_per_s, from->launch_ns, from->column};
    machine->devices[platform->class_count] = device;
    return platform->class_count++;
}

static void
add_link(struct machine *machine, uint32_t from, uint32_t to, double rate, uint16_t bus)
{
    machine->links[machine->plan.platform.link_count++] =
        (struct syn_link_desc){(uint16_t)from, (uint16_t)to, bus, 8000, (uint64_t)rate};
}

static void
make_machine(const struct machine_row *row, struct machine *machine)
{
    struct syn_platform *platform = &machine->plan.platform;
    uint32_t class_id;

    memset(machine, 0, sizeof(*machine));
    platform->classes = machine->classes;
    platform->workers = machine->workers;
    platform->links = machine->links;
    platform->node_bytes = machine->node_bytes;
    platform->node_count = 1;
    machine->plan.rates = machine->rates;
    class_id = class_of(machine, row->core);
    for (unsigned i = 0; i < row->cores; i++)
        machine->workers[platform->worker_count++].class_id = (uint16_t)class_id;
    for (size_t p = 0; p < SYN_LEN(row->parts) && row->parts[p].count > 0; p++) {
        uint16_t bus = row->parts[p].bus;

        class_id = class_of(machine, row->parts[p].device);
        for (unsigned i = 0; i < row->parts[p].count; i++) {
            uint16_t node = (uint16_t)platform->node_count++;

            machine->workers[platform->worker_count++] =
                (struct syn_worker_desc){(uint16_t)class_id, node, node, node};
            machine->node_bytes[node] = devices[row->parts[p].device].memory_bytes;
            add_link(machine, 0, node, row->parts[p].link, bus);
            add_link(machine, node, 0, row->parts[p].link, bus == 0 ? 0 : (uint16_t)(bus + 100));
        }
    }
}

/* Sizes from small to large; the last is taken when none fills the machine. */
struct workload {
    const char *name;
    uint32_t sizes[6];
    uint32_t small;
    int (*make)(uint32_t size, uint64_t seed, struct syn_plan_graph **ret, struct syn_err *err);
};

static int
make_cholesky(uint32_t size, uint64_t seed, struct syn_plan_graph **ret, struct syn_err *err)
{
    (void)seed;
    return syn_plan_cholesky(size, TILE, ret, err);
}

static int
make_lu(uint32_t size, uint64_t seed, struct syn_plan_graph **ret, struct syn_err *err)
{
    (void)seed;
    return syn_plan_lu(size, TILE, ret, err);
}

static int
make_transformer(uint32_t size, uint64_t seed, struct syn_plan_graph **ret, struct syn_err *err)
{
    (void)seed;
    return syn_plan_transformer(12, size, 8, ret, err);
}

static int
make_layered(uint32_t size, uint64_t seed, struct syn_plan_graph **ret, struct syn_err *err)
{
    return syn_plan_layered(30, size, seed, ret, err);
}

static const struct workload workloads[] = {
    {"cholesky", {20, 28, 36, 44, 52, 64}, 10, make_cholesky},
    {"lu", {16, 20, 24, 28, 34, 40}, 8, make_lu},
    {"transformer", {8, 12, 16, 24, 32, 56}, 2, make_transformer},
    {"layered", {40, 80, 160, 320, 480, 640}, 12, make_layered},
};

static struct syn_plan_graph *
make_graph(const struct machine *machine, const struct workload *workload, uint64_t seed,
           bool small, struct syn_plan_bound *bound)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_err err = {0};

    for (size_t i = 0; i < SYN_LEN(workload->sizes); i++) {
        graph = syn_plan_graph_free(graph);
        if (workload->make(small ? workload->small : workload->sizes[i], seed, &graph, &err) < 0 ||
            syn_plan_bound(&machine->plan, graph, bound, &err) < 0)
            bench_die(workload->name, &err);
        if (small || (double)bound->area_ns >= FILL * (double)bound->critical_ns)
            break;
    }
    return graph;
}

struct run {
    const struct machine *machine;
    const struct syn_plan_graph *graph;
    uint64_t seed;
    uint32_t wrong_permille;
};

static struct syn_plan_result
run(const struct run *run, const char *strategy, const struct syn_strategy_opts *opts, bool graph)
{
    struct syn_plan_opts plan = {
        .machine = &run->machine->plan,
        .graph = run->graph,
        .strategy = syn_strategy_find(strategy),
        .seed = run->seed,
        .noise_permille = NOISE_PERMILLE,
        .profile_error_permille = run->wrong_permille,
        .learn = true,
        .give_graph = graph,
    };
    struct syn_plan_result result;
    struct syn_err err = {0};

    if (opts != NULL)
        plan.strategy_opts = *opts;
    if (syn_plan_run(&plan, NULL, &result, &err) < 0)
        bench_die(strategy, &err);
    return result;
}

/* dmda at its best gamma: the least energy of those that meet the deadline, if any does. */
static double
dmda_energy(const struct run *one, uint64_t deadline_ns)
{
    static const uint32_t gammas[] = {0, 30, 100, 300, 1000, 3000, 10000, 100000};
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < SYN_LEN(gammas); i++) {
        struct syn_strategy_opts opts = {.gamma_permille = gammas[i]};
        struct syn_plan_result result = run(one, "dmda", &opts, false);

        if (result.makespan_ns <= deadline_ns)
            least = SYN_MIN(least, result.energy_uj);
    }
    return (double)least;
}

/* Sums over the seeds of one case, or over cases. */
struct tally {
    double bound, simple, heft, online, dmdas, heteroprio; /* makespans */
    double joules, dmda_joules, late;                      /* late: worst makespan / deadline */
};

static void
measure(const struct run *one, const struct syn_plan_bound *bound, struct tally *tally)
{
    struct syn_plan_result dmda = run(one, "dmda", NULL, false), energy;
    struct syn_strategy_opts opts = {.deadline_ns =
                                         (uint64_t)((double)dmda.makespan_ns * DEADLINE)};

    tally->bound += (double)bound->bound_ns;
    tally->simple += (double)bound->simple_ns;
    tally->heft += (double)run(one, "heft", NULL, true).makespan_ns;
    tally->online += (double)run(one, "heft", NULL, false).makespan_ns;
    tally->dmdas += (double)run(one, "dmdas", NULL, false).makespan_ns;
    tally->heteroprio += (double)run(one, "heteroprio", NULL, false).makespan_ns;
    energy = run(one, "energy", &opts, true);
    tally->joules += (double)energy.energy_uj;
    tally->dmda_joules += dmda_energy(one, opts.deadline_ns);
    tally->late = fmax(tally->late, (double)energy.makespan_ns / (double)opts.deadline_ns);
}

struct summary {
    unsigned cases, worse, late;
    double ours, dmdas, heteroprio, online; /* sums of makespan / bound */
    double simple;                          /* heft's, of the bound that knows no transfers */
    double worst;                           /* of heft / dmdas */
    double saved;                           /* sum of energy ratios */
    double latest;
};

static void
add_case(struct summary *summary, const struct tally *tally)
{
    double ratio = tally->heft / tally->dmdas;

    summary->cases++;
    summary->worse += ratio > 1;
    summary->ours += tally->heft / tally->bound;
    summary->online += tally->online / tally->bound;
    summary->simple += tally->heft / tally->simple;
    summary->dmdas += tally->dmdas / tally->bound;
    summary->heteroprio += tally->heteroprio / tally->bound;
    summary->worst = fmax(summary->worst, ratio);
    summary->saved += tally->joules / tally->dmda_joules;
    summary->late += tally->late > 1;
    summary->latest = fmax(summary->latest, tally->late);
}

static void
run_case(const struct machine_row *row, const struct workload *workload, uint64_t seeds, bool small,
         struct summary summaries[2][2])
{
    static struct machine machine;
    struct syn_plan_bound bound;
    struct syn_plan_graph *graph;

    make_machine(row, &machine);
    graph = make_graph(&machine, workload, row->held_out ? 1001 : 1, small, &bound);
    for (int wrong = 0; wrong < 2; wrong++) {
        struct tally tally = {0};

        for (uint64_t seed = 1; seed <= seeds; seed++) {
            struct run one = {&machine, graph, seed + (row->held_out ? 500 : 0),
                              wrong ? WRONG_PERMILLE : 0};

            measure(&one, &bound, &tally);
        }
        add_case(&summaries[row->held_out][wrong], &tally);
        (void)fprintf(
            stderr,
            "%-18s %-11s %6u tasks %s  bound %7.1f ms (%.3f)  heft %.3f  online %.3f  dmdas "
            "%.3f  heteroprio %.3f  energy %.3f of dmda's, %.3f of the deadline\n",
            row->name, workload->name, syn_plan_task_count(graph), wrong ? "wrong30" : "exact  ",
            (double)bound.bound_ns / 1e6, (double)bound.bound_ns / (double)bound.simple_ns,
            tally.heft / tally.bound, tally.online / tally.bound, tally.dmdas / tally.bound,
            tally.heteroprio / tally.bound, tally.joules / tally.dmda_joules, tally.late);
    }
    (void)syn_plan_graph_free(graph);
}

static void
report(const char *suffix, const struct summary *summary)
{
    double n = summary->cases, ours = summary->ours / n, saved = summary->saved / n;

    (void)fprintf(stderr,
                  "%u cases%s: heft worse than dmdas in %u; online %.3f, heteroprio %.3f "
                  "of the bound; heft %.3f of max(area, critical path); energy late in %u, at most "
                  "%.3f of the deadline\n",
                  summary->cases, suffix, summary->worse, summary->online / n,
                  summary->heteroprio / n, summary->simple / n, summary->late, summary->latest);
    (void)printf("makespan_vs_dmdas%s\t%.3f\tx worst case\tdmdas\t1.000\t%.3f\t1.000\t%s\n", suffix,
                 summary->worst, summary->worst, summary->worst <= 1 ? "ok" : "short");
    (void)printf("makespan_vs_bound%s\t%.3f\tx mean\tdmdas\t%.3f\t%.3f\t1.100\t%s\n", suffix, ours,
                 summary->dmdas / n, ours, ours <= 1.1 ? "ok" : "short");
    (void)printf("makespan_vs_simple%s\t%.3f\tx mean\tgoal\t1.100\t%.3f\t1.100\t%s\n", suffix,
                 summary->simple / n, summary->simple / n,
                 summary->simple / n <= 1.1 ? "ok" : "short");
    (void)printf("energy_saved%s\t%.1f\tpercent\tdmda gamma\t0.0\t%.3f\t0.850\t%s\n", suffix,
                 100 * (1 - saved), saved, saved <= 0.85 && summary->latest <= 1 ? "ok" : "short");
}

static struct summary
sum(const struct summary *a, const struct summary *b)
{
    return (struct summary){
        a->cases + b->cases,   a->worse + b->worse,        a->late + b->late,
        a->ours + b->ours,     a->dmdas + b->dmdas,        a->heteroprio + b->heteroprio,
        a->online + b->online, a->simple + b->simple,      fmax(a->worst, b->worst),
        a->saved + b->saved,   fmax(a->latest, b->latest),
    };
}

int
main(int argc, char **argv)
{
    struct summary summaries[2][2] = {0}, exact, wrong, held, all;
    bool small = argc > 2 && strcmp(argv[2], "small") == 0;
    uint64_t seeds = 3;
    struct syn_err err = {0};

    bench_cost(); /* first, while the heap is as a small program's */
    if (argc > 1 && syn_parse_u64(argv[1], 1, SEEDS_MAX, "SEEDS", &seeds, &err) < 0)
        bench_die("SEEDS", &err);
    for (size_t m = 0; m < SYN_LEN(machine_rows); m++)
        for (size_t w = 0; w < SYN_LEN(workloads); w++)
            run_case(&machine_rows[m], &workloads[w], seeds, small, summaries);
    exact = sum(&summaries[0][0], &summaries[1][0]);
    wrong = sum(&summaries[0][1], &summaries[1][1]);
    held = sum(&summaries[1][0], &summaries[1][1]);
    all = sum(&exact, &wrong);
    report("", &all);
    report("_exact", &exact);
    report("_wrong30", &wrong);
    report("_held_out", &held);
    if (!small)
        bench_model();
    return 0;
}
