/* Strategies on modelled machines, beside the rules of others in the same simulator.
 *
 *   bench-taskplan [--full] [--set tuned|drawn|fresh|starved] [--first N] [--machines N]
 *                  [--seeds N] [--only TEXT] [--makespan]
 *   bench-taskplan --model
 *
 * A case is a machine and a workload, at the least size whose area bound is FILL times its critical
 * path: a graph that fills the machine. Task times vary by NOISE about their mean; estimates begin
 * exact or up to 30 % wrong in either direction, per kernel and class, and follow what is measured.
 * All strategies see the same.
 *
 * Four sets of cases. "tuned" are the machines that the strategies were made on. "drawn" are
 * machines drawn by number, on which changes to the strategies were tried. "fresh" are drawn by
 * other numbers, with graphs and noise of their own, and were run for figures only, but for the
 * first eight, whose cases were looked at since; what this prints without a suffix is theirs.
 * "starved" are drawn with links too slow for their devices.
 * --full runs more of the fresh ones, with energy on all of them, then the tuned and the starved
 * ones, each apart; a set named is run alone. --makespan leaves energy out.
 *
 * Lines for machines on standard output, a line a case on standard error. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "taskplan_priv.h"

#define NOISE_PERMILLE 50
#define WRONG_PERMILLE 300
#define FILL           3.0
#define SEEDS_MAX      50
#define MACHINES_MAX   1000
#define TILE           2560
#define DEADLINE       1.03 /* of dmda's makespan: what both may take for the energy row */

void
bench_die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "bench-taskplan: %s: %s\n", what, err == NULL ? "failed" : err->msg);
    exit(1);
}

/* Sizes from small to large; the last is taken when none fills the machine. */
struct workload {
    const char *name;
    uint32_t sizes[6];
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
    {"cholesky", {20, 28, 36, 44, 52, 64}, make_cholesky},
    {"lu", {16, 20, 24, 28, 34, 40}, make_lu},
    {"transformer", {8, 12, 16, 24, 32, 56}, make_transformer},
    {"layered", {40, 80, 160, 320, 480, 640}, make_layered},
};

static struct syn_plan_graph *
make_graph(const struct machine *machine, const struct workload *workload, uint64_t seed,
           struct syn_plan_bound *bound)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_err err = {0};

    for (size_t i = 0; i < SYN_LEN(workload->sizes); i++) {
        graph = syn_plan_graph_free(graph);
        if (workload->make(workload->sizes[i], seed, &graph, &err) < 0 ||
            syn_plan_bound(&machine->plan, graph, bound, &err) < 0)
            bench_die(workload->name, &err);
        if ((double)bound->area_ns >= FILL * (double)bound->critical_ns)
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
    double joules, dmda_joules, least_joules;              /* the last: no schedule takes less */
    double late;                                           /* worst makespan / deadline */
};

static void
measure_energy(const struct run *one, struct tally *tally)
{
    struct syn_plan_result dmda = run(one, "dmda", NULL, false), energy;
    struct syn_strategy_opts opts = {.deadline_ns =
                                         (uint64_t)((double)dmda.makespan_ns * DEADLINE)};
    struct syn_err err = {0};
    uint64_t least_uj = 0;

    energy = run(one, "energy", &opts, true);
    if (syn_plan_energy_bound(&one->machine->plan, one->graph, opts.deadline_ns, &least_uj, &err) <
        0)
        bench_die("energy bound", &err);
    tally->least_joules += (double)least_uj;
    tally->joules += (double)energy.energy_uj;
    tally->dmda_joules += dmda_energy(one, opts.deadline_ns);
    tally->late = fmax(tally->late, (double)energy.makespan_ns / (double)opts.deadline_ns);
}

static void
measure(const struct run *one, const struct syn_plan_bound *bound, struct tally *tally)
{
    tally->bound += (double)bound->bound_ns;
    tally->simple += (double)bound->simple_ns;
    tally->heft += (double)run(one, "heft", NULL, true).makespan_ns;
    tally->online += (double)run(one, "heft", NULL, false).makespan_ns;
    tally->dmdas += (double)run(one, "dmdas", NULL, false).makespan_ns;
    tally->heteroprio += (double)run(one, "heteroprio", NULL, false).makespan_ns;
}

enum set { TUNED, DRAWN, FRESH, STARVED, SETS };

static const struct {
    const char *name, *suffix;
    uint32_t first; /* machine */
    uint64_t seed;  /* of graphs and noise, before the first */
} sets[SETS] = {
    [TUNED] = {"tuned", "_tuned", 0, 0},
    [DRAWN] = {"drawn", "_drawn", 0, 2000},
    [FRESH] = {"fresh", "", 100000, 7000000},
    [STARVED] = {"starved", "_starved", 200000, 9000000},
};

struct plan {
    enum set set;
    uint32_t first, machines;
    uint64_t seeds;
    const char *only;  /* in the name of what runs; NULL: all */
    uint32_t energies; /* measured on so many of the machines */
};

struct summary {
    unsigned cases, worse, late, metered;   /* the last: with energy */
    double ours, dmdas, heteroprio, online; /* sums of makespan / bound */
    double simple;                          /* heft's, of the bound that knows no transfers */
    double worst;                           /* of heft / the better of dmdas and heteroprio */
    double saved, possible;                 /* sums of energy ratios: ours, and the bound's */
    double latest;
};

static void
add_case(struct summary *summary, const struct tally *tally)
{
    double ratio = tally->heft / fmin(tally->dmdas, tally->heteroprio);

    summary->cases++;
    summary->worse += ratio > 1;
    summary->ours += tally->heft / tally->bound;
    summary->online += tally->online / tally->bound;
    summary->simple += tally->heft / tally->simple;
    summary->dmdas += tally->dmdas / tally->bound;
    summary->heteroprio += tally->heteroprio / tally->bound;
    summary->worst = fmax(summary->worst, ratio);
    if (tally->dmda_joules == 0)
        return;
    summary->metered++;
    summary->saved += tally->joules / tally->dmda_joules;
    summary->possible += tally->least_joules / tally->dmda_joules;
    summary->late += tally->late > 1;
    summary->latest = fmax(summary->latest, tally->late);
}

static double
seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
run_case(const struct machine *machine, const struct workload *workload, const struct plan *plan,
         bool energy, struct summary summaries[2])
{
    struct syn_plan_bound bound;
    double begin = seconds();
    struct syn_plan_graph *graph =
        make_graph(machine, workload, sets[plan->set].seed + 1 + plan->first, &bound);

    for (int wrong = 0; wrong < 2; wrong++) {
        struct tally tally = {0};

        for (uint64_t seed = 1; seed <= plan->seeds; seed++) {
            struct run one = {machine, graph, sets[plan->set].seed + seed,
                              wrong ? WRONG_PERMILLE : 0};

            measure(&one, &bound, &tally);
            if (energy)
                measure_energy(&one, &tally);
        }
        add_case(&summaries[wrong], &tally);
        (void)fprintf(stderr,
                      "%-26s %-11s %5u tasks %s bound %.3f  heft %.3f online %.3f dmdas %.3f "
                      "heteroprio %.3f",
                      machine->name, workload->name, syn_plan_task_count(graph),
                      wrong ? "wrong30" : "exact  ",
                      (double)bound.bound_ns / (double)bound.simple_ns, tally.heft / tally.bound,
                      tally.online / tally.bound, tally.dmdas / tally.bound,
                      tally.heteroprio / tally.bound);
        if (energy)
            (void)fprintf(stderr, " energy %.3f of dmda's (bound %.3f), %.3f of the deadline",
                          tally.joules / tally.dmda_joules, tally.least_joules / tally.dmda_joules,
                          tally.late);
        (void)fprintf(stderr, "%s (%.1f s)\n",
                      tally.heft > fmin(tally.dmdas, tally.heteroprio) ? " WORSE" : "",
                      seconds() - begin);
        begin = seconds();
    }
    (void)syn_plan_graph_free(graph);
}

static void
report(const char *suffix, const struct summary *summary)
{
    double n = summary->cases, ours = summary->ours / n, metered = SYN_MAX(summary->metered, 1);
    double saved = summary->saved / metered;

    if (summary->cases == 0)
        return;
    (void)fprintf(
        stderr,
        "%u cases%s: heft worse than dmdas or heteroprio in %u; online %.3f, heteroprio "
        "%.3f of the bound; heft %.3f of max(area, critical path); no schedule could "
        "save more than %.1f %% of the energy; late in %u, at most %.3f of the deadline\n",
        summary->cases, suffix, summary->worse, summary->online / n, summary->heteroprio / n,
        summary->simple / n, 100 * (1 - summary->possible / metered), summary->late,
        summary->latest);
    (void)printf("makespan_vs_peers%s\t%.3f\tx worst case\tdmdas, heteroprio\t1.000\t%.3f\t1.000"
                 "\t%s\n",
                 suffix, summary->worst, summary->worst, summary->worst <= 1 ? "ok" : "short");
    (void)printf("makespan_vs_bound%s\t%.3f\tx mean\tdmdas\t%.3f\t%.3f\t1.100\t%s\n", suffix, ours,
                 summary->dmdas / n, ours, ours <= 1.1 ? "ok" : "short");
    (void)printf("makespan_vs_simple%s\t%.3f\tx mean\tgoal\t1.100\t%.3f\t1.100\t%s\n", suffix,
                 summary->simple / n, summary->simple / n,
                 summary->simple / n <= 1.1 ? "ok" : "short");
    if (summary->metered > 0)
        (void)printf("energy_saved%s\t%.1f\tpercent\tdmda gamma\t0.0\t%.3f\t0.850\t%s\n", suffix,
                     100 * (1 - saved), saved,
                     saved <= 0.85 && summary->latest <= 1 ? "ok" : "short");
}

static struct summary
sum(const struct summary *a, const struct summary *b)
{
    return (struct summary){
        .cases = a->cases + b->cases,
        .worse = a->worse + b->worse,
        .late = a->late + b->late,
        .metered = a->metered + b->metered,
        .ours = a->ours + b->ours,
        .dmdas = a->dmdas + b->dmdas,
        .heteroprio = a->heteroprio + b->heteroprio,
        .online = a->online + b->online,
        .simple = a->simple + b->simple,
        .worst = fmax(a->worst, b->worst),
        .saved = a->saved + b->saved,
        .possible = a->possible + b->possible,
        .latest = fmax(a->latest, b->latest),
    };
}

static void
run_set(const struct plan *plan)
{
    static const char *const kinds[2] = {"_exact", "_wrong30"};
    struct summary summaries[2] = {0}, all;
    static struct machine machine;
    char suffix[32];

    for (uint32_t m = plan->first; m < plan->first + plan->machines; m++) {
        if (plan->set == TUNED)
            bench_tuned_machine(m % BENCH_TUNED, &machine);
        else
            bench_drawn_machine(sets[plan->set].first + m, plan->set == STARVED, &machine);
        for (size_t w = 0; w < SYN_LEN(workloads); w++) {
            char name[96];

            (void)snprintf(name, sizeof(name), "%s/%s", machine.name, workloads[w].name);
            if (plan->only == NULL || strstr(name, plan->only) != NULL)
                run_case(&machine, &workloads[w], plan, m - plan->first < plan->energies,
                         summaries);
        }
    }
    all = sum(&summaries[0], &summaries[1]);
    report(sets[plan->set].suffix, &all);
    for (int wrong = 0; wrong < 2; wrong++) {
        (void)snprintf(suffix, sizeof(suffix), "%s%s", sets[plan->set].suffix, kinds[wrong]);
        report(suffix, &summaries[wrong]);
    }
}

/* What the arguments ask for; true: a set was named. */
static bool
parse(int argc, char **argv, struct plan *plan, bool *ret_full)
{
    bool named = false;
    struct syn_err err = {0};
    uint64_t number = 0;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--full") == 0) {
            *ret_full = true;
            continue;
        }
        if (strcmp(argv[i], "--makespan") == 0) {
            plan->energies = 0;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--only") == 0) {
            plan->only = value;
        } else if (strcmp(argv[i - 1], "--set") == 0) {
            for (plan->set = 0; plan->set < SETS && strcmp(sets[plan->set].name, value) != 0;)
                plan->set++;
            if (plan->set == SETS)
                bench_die("--set: tuned, drawn, fresh or starved", NULL);
            named = true;
        } else if (syn_parse_u64(value, 0, MACHINES_MAX, argv[i - 1], &number, &err) < 0) {
            bench_die(argv[i - 1], &err);
        } else if (strcmp(argv[i - 1], "--machines") == 0) {
            plan->machines = (uint32_t)number;
        } else if (strcmp(argv[i - 1], "--first") == 0) {
            plan->first = (uint32_t)number;
        } else if (strcmp(argv[i - 1], "--seeds") == 0 && number > 0 && number <= SEEDS_MAX) {
            plan->seeds = number;
        } else {
            bench_die(argv[i - 1], NULL);
        }
    }
    return named;
}

int
main(int argc, char **argv)
{
    struct plan plan = {.set = FRESH, .machines = 0, .seeds = 1, .energies = UINT32_MAX};
    bool full = false, named;

    if (argc == 2 && strcmp(argv[1], "--model") == 0) {
        bench_model();
        return 0;
    }
    named = parse(argc, argv, &plan, &full);

    if (!named)
        bench_cost(); /* first, while the heap is as a small program's */
    if (plan.machines == 0)
        plan.machines = full || named ? BENCH_TUNED : 3;
    if (!full && !named)
        plan.energies = SYN_MIN(plan.energies, 1);
    run_set(&plan);
    if (named)
        return 0;
    if (full) {
        plan.set = TUNED;
        run_set(&plan);
        plan.set = STARVED;
        plan.machines = 3;
        run_set(&plan);
    }
    bench_model();
    return 0;
}
