/* Chains with transfers, and windows.
 *
 * Chains. b(i,c), the soonest that task i can begin on class c, and e(i,c), the least that passes
 * between its end there and the end of the whole:
 *
 *     b(i,c) = max over what i waits for of   min over c' ( b(p,c') + t(p,c') + move(c',c) )
 *     e(i,c) = max over what waits for i of   min over c' ( move(c,c') + t(s,c') + e(s,c') )
 *
 * where move is 0 for mere order. For what p wrote and i reads it is 0 if some worker of c' and
 * some of c share a node, else the least latency plus the bytes at the best rate of any way between
 * their nodes: when p ends, the only valid copy is on p's node, so it must go that way. What was
 * there before the run lies on node 0. The minimum is taken for each neighbour by itself, as if p
 * could have run in several places at once; every schedule is among what is minimised over, so
 * nothing here is more than any schedule takes. The longest chain is max over i of
 * min over c ( b + t + e ).
 *
 * Windows. Let B_i and E_i be the minima over c of b and e, and take any r, q and the tasks
 *
 *     S = { i : B_i >= r, E_i >= q },   S not empty.
 *
 * No task of S begins before r, and each ends q before the end T at the latest: all work of S is
 * done within [r, T - q]. By the area bound's own argument that takes as long as the area of S:
 *
 *     T >= r + q + area(S).
 *
 * This is what counts of a start with little to do and of an end that narrows (a factorisation's
 * last columns). All windows of a grid, all classes and all chains without their transfers are
 * weighed in one game, sim/balance.c, whose value is the bound: no window alone need hold.
 *
 *     E ^   . . . .|x x x x
 *       |   . . . .|x x x x        S(a,b): all cells from (a,b) up and right
 *     b +   - - - -+-------
 *       |   . . . .|. . . .
 *       +----------+------> B
 *                  a                                                                          */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "../sim/balance_priv.h"
#include "window_priv.h"

#define CELLS  BALANCE_CELLS
#define STEPS  400U               /* of the game, between two looks at its value */
#define VISITS UINT64_C(12000000) /* of tasks, edges and windows; a 24th at least */
#define ROUNDS 3U   /* of the game, each on a grid that is finer where it was worth it */
#define SPREAD 0.25 /* of the worth: dealt evenly to all cells, so that none grows too wide */
#define GAINED 3e-5 /* a part of the bound: less in STEPS, and it ends */

/* From one class to another: the least of any pair of their workers' nodes. */
struct way {
    bool near; /* some share a node */
    uint64_t latency_ns;
    double byte_ns;
};

struct windows {
    const struct syn_plan_machine *machine;
    const struct syn_plan_graph *graph;
    uint32_t classes;
    bool present[SYN_CLASSES_MAX];
    struct way ways[SYN_CLASSES_MAX][SYN_CLASSES_MAX];
    struct way home[SYN_CLASSES_MAX]; /* from node 0 */
    uint64_t *times;                  /* kernel x class; SYN_NEVER */
    uint64_t *begins, *afters;        /* task x class: b and e above */
    uint32_t *writers; /* by use: the task that wrote what is read, or SYN_NO_INDEX */
    struct balance_windows grid;
    uint8_t *columns, *rows;               /* by task */
    double *befores, *afters_least;        /* by task: B and E above */
    double edges_b[CELLS], edges_e[CELLS]; /* where columns and rows begin, ns */
};

static void
windows_fini(struct windows *windows)
{
    syn_free(windows->times);
    syn_free(windows->begins);
    syn_free(windows->afters);
    syn_free(windows->writers);
    syn_free(windows->columns);
    syn_free(windows->rows);
    syn_free(windows->befores);
    syn_free(windows->afters_least);
}

/* Least latency and least time a byte between any two nodes, each by itself: no way has less of
 * either. */
struct distances {
    uint64_t latency_ns[SYN_NODES_MAX][SYN_NODES_MAX];
    double byte_ns[SYN_NODES_MAX][SYN_NODES_MAX];
};

static void
find_distances(const struct syn_platform *platform, struct distances *least)
{
    uint32_t nodes = platform->node_count;

    for (uint32_t i = 0; i < nodes; i++)
        for (uint32_t j = 0; j < nodes; j++) {
            least->latency_ns[i][j] = i == j ? 0 : UINT64_MAX / 4;
            least->byte_ns[i][j] = i == j ? 0 : INFINITY;
        }
    for (uint32_t l = 0; l < platform->link_count; l++) {
        const struct syn_link_desc *link = &platform->links[l];
        uint64_t *latency_ns = &least->latency_ns[link->from][link->to];
        double *byte_ns = &least->byte_ns[link->from][link->to];

        *latency_ns = SYN_MIN(*latency_ns, link->latency_ns);
        *byte_ns = fmin(*byte_ns, 1e9 / (double)link->bytes_per_s);
    }
    for (uint32_t k = 0; k < nodes; k++)
        for (uint32_t i = 0; i < nodes; i++)
            for (uint32_t j = 0; j < nodes; j++) {
                uint64_t over_ns = least->latency_ns[i][k] + least->latency_ns[k][j];

                least->latency_ns[i][j] = SYN_MIN(least->latency_ns[i][j], over_ns);
                least->byte_ns[i][j] =
                    fmin(least->byte_ns[i][j], least->byte_ns[i][k] + least->byte_ns[k][j]);
            }
}

static void
shorten(struct way *way, const struct distances *least, uint32_t from, uint32_t to)
{
    way->near = way->near || from == to;
    way->latency_ns = SYN_MIN(way->latency_ns, least->latency_ns[from][to]);
    way->byte_ns = fmin(way->byte_ns, least->byte_ns[from][to]);
}

static int
find_ways(struct windows *windows, struct syn_err *err)
{
    const struct syn_platform *platform = &windows->machine->platform;
    SYN_SCOPED(syn_free_scope) struct distances *least = syn_calloc(1, sizeof(*least));
    bool on[SYN_CLASSES_MAX][SYN_NODES_MAX] = {{false}};

    if (least == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    find_distances(platform, least);
    for (uint32_t w = 0; w < platform->worker_count; w++) {
        windows->present[platform->workers[w].class_id] = true;
        on[platform->workers[w].class_id][platform->workers[w].node] = true;
    }
    for (uint32_t c = 0; c < windows->classes; c++) {
        windows->home[c] = (struct way){false, UINT64_MAX / 4, INFINITY};
        for (uint32_t d = 0; d < windows->classes; d++)
            windows->ways[c][d] = windows->home[c];
    }
    for (uint32_t i = 0; i < windows->classes * platform->node_count; i++) {
        uint32_t c = i / platform->node_count, from = i % platform->node_count;

        if (!on[c][from])
            continue;
        shorten(&windows->home[c], least, 0, from);
        for (uint32_t j = 0; j < windows->classes * platform->node_count; j++)
            if (on[j / platform->node_count][j % platform->node_count])
                shorten(&windows->ways[c][j / platform->node_count], least, from,
                        j % platform->node_count);
    }
    return SYN_OK;
}

/* Rounded down, and once more for every link that the engine may round down at. */
static uint64_t
way_ns(const struct way *way, uint64_t bytes)
{
    double ns = (double)bytes * way->byte_ns * (1 - 1e-9) - (double)SYN_NODES_MAX;

    if (way->near)
        return 0;
    return way->latency_ns + (uint64_t)fmin(fmax(ns, 0), 1e18);
}

/* SYN_NEVER stays. */
static uint64_t
plus(uint64_t a, uint64_t b)
{
    return a == SYN_NEVER || b == SYN_NEVER ? SYN_NEVER : a + b;
}

static uint64_t
time_of(const struct windows *windows, uint32_t task, uint32_t c)
{
    return windows->times[(size_t)windows->graph->tasks[task].kernel * windows->classes + c];
}

static uint64_t
least_of(const struct windows *windows, const uint64_t *by_class, uint32_t task)
{
    uint64_t least = SYN_NEVER;

    for (uint32_t c = 0; c < windows->classes; c++)
        if (time_of(windows, task, c) != SYN_NEVER)
            least = SYN_MIN(least, by_class[(size_t)task * windows->classes + c]);
    return least;
}

/* When what this use reads can be on a node of class `c` at the soonest. */
static uint64_t
arrival(const struct windows *windows, uint32_t use, uint32_t c)
{
    const struct plan_data *data = &windows->graph->data[windows->graph->uses[use].data];
    uint32_t writer = windows->writers[use];
    uint64_t least = SYN_NEVER;

    if (writer == SYN_NO_INDEX)
        return data->ready ? way_ns(&windows->home[c], data->bytes) : 0;
    for (uint32_t from = 0; from < windows->classes; from++) {
        uint64_t end = plus(windows->begins[(size_t)writer * windows->classes + from],
                            time_of(windows, writer, from));
        uint64_t there = plus(end, way_ns(&windows->ways[from][c], data->bytes));

        least = SYN_MIN(least, there);
    }
    return least;
}

static void
raise(uint64_t *value, uint64_t to)
{
    *value = SYN_MAX(*value, to);
}

static void
fill_begins(struct windows *windows)
{
    const struct syn_plan_graph *graph = windows->graph;
    uint32_t classes = windows->classes;

    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct plan_task *task = &graph->tasks[i];
        uint64_t *begins = windows->begins + (size_t)i * classes, end = SYN_NEVER;

        for (uint32_t u = task->use_first; u < task->use_first + task->use_count; u++)
            for (uint32_t c = 0; c < classes && (graph->uses[u].mode & SYN_READ) != 0; c++)
                raise(&begins[c], arrival(windows, u, c));
        for (uint32_t c = 0; c < classes; c++) {
            uint64_t here = plus(begins[c], time_of(windows, i, c));

            end = SYN_MIN(end, here);
        }
        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++)
            for (uint32_t c = 0; c < classes; c++)
                raise(&windows->begins[(size_t)graph->succ[j] * classes + c], end);
    }
}

/* From the time at which `task` could have its data leave class `from` to the end of all. */
static uint64_t
onward(const struct windows *windows, uint32_t task, uint32_t use, uint32_t from)
{
    uint64_t bytes =
        use == SYN_NO_INDEX ? 0 : windows->graph->data[windows->graph->uses[use].data].bytes;
    uint64_t least = SYN_NEVER;

    for (uint32_t c = 0; c < windows->classes; c++) {
        uint64_t rest =
            plus(time_of(windows, task, c), windows->afters[(size_t)task * windows->classes + c]);

        if (use != SYN_NO_INDEX)
            rest = plus(rest, way_ns(&windows->ways[from][c], bytes));
        least = SYN_MIN(least, rest);
    }
    return least;
}

static void
fill_afters(struct windows *windows)
{
    const struct syn_plan_graph *graph = windows->graph;
    uint32_t classes = windows->classes;

    for (uint32_t i = (uint32_t)graph->task_count; i-- > 0;) {
        const struct plan_task *task = &graph->tasks[i];

        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++) {
            uint64_t rest = onward(windows, graph->succ[j], SYN_NO_INDEX, 0);

            for (uint32_t c = 0; c < classes; c++)
                raise(&windows->afters[(size_t)i * classes + c], rest);
        }
        for (uint32_t u = task->use_first; u < task->use_first + task->use_count; u++)
            for (uint32_t c = 0; c < classes && windows->writers[u] != SYN_NO_INDEX; c++)
                raise(&windows->afters[(size_t)windows->writers[u] * classes + c],
                      onward(windows, i, u, c));
    }
}

static int
find_writers(struct windows *windows, struct syn_err *err)
{
    const struct syn_plan_graph *graph = windows->graph;
    SYN_SCOPED(syn_free_scope)
    uint32_t *last = syn_calloc(graph->data_count + 1, sizeof(uint32_t)); /* plus one */

    if (last == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    for (uint32_t i = 0; i < graph->task_count; i++) {
        const struct plan_task *task = &graph->tasks[i];

        for (uint32_t u = task->use_first; u < task->use_first + task->use_count; u++) {
            uint32_t *writer = &last[graph->uses[u].data];

            windows->writers[u] =
                (graph->uses[u].mode & SYN_READ) != 0 && *writer != 0 ? *writer - 1 : SYN_NO_INDEX;
            if ((graph->uses[u].mode & SYN_WRITE) != 0)
                *writer = i + 1;
        }
    }
    return SYN_OK;
}

static int
chains(struct windows *windows, struct syn_err *err)
{
    const struct syn_plan_graph *graph = windows->graph;
    size_t cells = (size_t)graph->task_count * windows->classes + 1;
    int rc;

    windows->times =
        syn_calloc(graph->kernel_count * windows->classes + 1, sizeof(windows->times[0]));
    windows->begins = syn_calloc(cells, sizeof(windows->begins[0]));
    windows->afters = syn_calloc(cells, sizeof(windows->afters[0]));
    windows->writers = syn_calloc(graph->use_count + 1, sizeof(windows->writers[0]));
    if (windows->times == NULL || windows->begins == NULL || windows->afters == NULL ||
        windows->writers == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    rc = find_ways(windows, err);
    if (rc == 0)
        rc = find_writers(windows, err);
    if (rc < 0)
        return rc;
    for (size_t k = 0; k < graph->kernel_count; k++)
        for (uint32_t c = 0; c < windows->classes; c++)
            windows->times[k * windows->classes + c] =
                windows->present[c]
                    ? plan_kernel_ns(&graph->kernels[k], &windows->machine->rates[c])
                    : SYN_NEVER;
    fill_begins(windows);
    fill_afters(windows);
    return SYN_OK;
}

static uint64_t
longest_chain(const struct windows *windows)
{
    uint64_t longest = 0;

    for (uint32_t i = 0; i < windows->graph->task_count; i++) {
        uint64_t least = SYN_NEVER;

        for (uint32_t c = 0; c < windows->classes; c++) {
            size_t at = (size_t)i * windows->classes + c;
            uint64_t chain =
                plus(plus(windows->begins[at], time_of(windows, i, c)), windows->afters[at]);

            least = SYN_MIN(least, chain);
        }
        longest = SYN_MAX(longest, least);
    }
    return longest;
}

static uint8_t
cell_at(const double *edges, double ns)
{
    uint32_t cell = CELLS - 1;

    while (cell > 0 && edges[cell] > ns)
        cell--;
    return (uint8_t)cell;
}

/* Finer where little lies before or after. */
static void
first_edges(double longest_ns, double *edges)
{
    for (uint32_t i = 0; i < CELLS; i++)
        edges[i] = longest_ns * i * i / (CELLS * CELLS);
}

/* Finer where windows were worth most: the same cells, divided at even parts of that. */
static void
move_edges(const double *worths, double longest_ns, double *edges)
{
    double old[CELLS + 1], sum = 0, all = 0;
    uint32_t from = 0;

    memcpy(old, edges, CELLS * sizeof(old[0]));
    old[CELLS] = longest_ns;
    for (uint32_t i = 0; i < CELLS; i++)
        all += SPREAD / CELLS + worths[i];
    for (uint32_t i = 1; i < CELLS; i++) {
        double part = all * i / CELLS;

        while (from + 1 < CELLS && sum + SPREAD / CELLS + worths[from] < part)
            sum += SPREAD / CELLS + worths[from++];
        /* A window's edge is where its cell begins: what it was worth lies on both sides. */
        edges[i] = old[from] + (old[from + 1] - old[from]) *
                                   fmin((part - sum) / (SPREAD / CELLS + worths[from]), 1);
    }
}

/* Where each task lies, and what is the least from each column and row on. */
static void
fill_grid(struct windows *windows)
{
    struct balance_windows *grid = &windows->grid;

    for (uint32_t i = 0; i < CELLS; i++)
        grid->least_before[i] = grid->least_after[i] = INFINITY;
    for (uint32_t i = 0; i < windows->graph->task_count; i++) {
        double b = windows->befores[i], e = windows->afters_least[i];
        uint8_t column = cell_at(windows->edges_b, b), row = cell_at(windows->edges_e, e);

        windows->columns[i] = column;
        windows->rows[i] = row;
        grid->least_before[column] = fmin(grid->least_before[column], b);
        grid->least_after[row] = fmin(grid->least_after[row], e);
    }
    for (size_t i = CELLS - 1; i-- > 0;) {
        grid->least_before[i] = fmin(grid->least_before[i], grid->least_before[i + 1]);
        grid->least_after[i] = fmin(grid->least_after[i], grid->least_after[i + 1]);
    }
    grid->befores = windows->befores;
    grid->afters = windows->afters_least;
    grid->columns = windows->columns;
    grid->rows = windows->rows;
}

/* Play until it gains little, or has taken long. */
static double
play(struct balance *balance, uint64_t visits)
{
    double best = 0, before;
    uint64_t steps = 0;

    do {
        before = best;
        balance_run(balance, STEPS);
        best = fmax(best, balance_bound(balance));
        steps += STEPS;
    } while (steps * visits < VISITS &&
             (steps * visits < VISITS / 24 || best > before * (1 + GAINED)));
    return best;
}

static void
balance_free_scope(struct balance **slot)
{
    (void)balance_free(*slot);
}

static int
widest(struct windows *windows, double *ret_ns, struct syn_err *err)
{
    const struct syn_plan_graph *graph = windows->graph;
    SYN_SCOPED(balance_free_scope) struct balance *balance = NULL;
    SYN_SCOPED(syn_free_scope)
    double *times = syn_calloc((size_t)graph->task_count * windows->classes + 1, sizeof(double));
    struct balance_problem problem = {.tasks = (uint32_t)graph->task_count,
                                      .classes = windows->classes,
                                      .times = times,
                                      .succ_first = graph->succ_first,
                                      .succ = graph->succ,
                                      .windows = &windows->grid,
                                      .chain_part = 1};
    double longest_b = 0, longest_e = 0;

    windows->columns = syn_calloc(graph->task_count + 1, 1);
    windows->rows = syn_calloc(graph->task_count + 1, 1);
    windows->befores = syn_calloc(graph->task_count + 1, sizeof(double));
    windows->afters_least = syn_calloc(graph->task_count + 1, sizeof(double));
    if (times == NULL || windows->columns == NULL || windows->rows == NULL ||
        windows->befores == NULL || windows->afters_least == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a bound");
    for (uint32_t w = 0; w < windows->machine->platform.worker_count; w++)
        problem.workers[windows->machine->platform.workers[w].class_id]++;
    for (uint32_t i = 0; i < problem.tasks; i++)
        for (uint32_t c = 0; c < windows->classes; c++) {
            uint64_t ns = time_of(windows, i, c);

            times[(size_t)i * windows->classes + c] = ns == SYN_NEVER ? INFINITY : (double)ns;
        }
    for (uint32_t i = 0; i < problem.tasks; i++) {
        windows->befores[i] = (double)least_of(windows, windows->begins, i);
        windows->afters_least[i] = (double)least_of(windows, windows->afters, i);
        longest_b = fmax(longest_b, windows->befores[i]);
        longest_e = fmax(longest_e, windows->afters_least[i]);
    }
    first_edges(longest_b, windows->edges_b);
    first_edges(longest_e, windows->edges_e);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double columns[CELLS], rows[CELLS];
        int rc;

        fill_grid(windows);
        balance = balance_free(balance);
        rc = balance_new(&problem, &balance, err);
        if (rc < 0)
            return rc;
        *ret_ns = fmax(*ret_ns, play(balance, CELLS * CELLS + problem.tasks +
                                                  problem.succ_first[problem.tasks]));
        balance_worths(balance, columns, rows);
        move_edges(columns, longest_b, windows->edges_b);
        move_edges(rows, longest_e, windows->edges_e);
    }
    return SYN_OK;
}

int
window_bound(const struct syn_plan_machine *machine, const struct syn_plan_graph *graph,
             struct window_answer *ret_answer, struct syn_err *err)
{
    SYN_SCOPED(windows_fini)
    struct windows windows = {
        .machine = machine, .graph = graph, .classes = machine->platform.class_count};
    double ns = 0;
    int rc = chains(&windows, err);

    if (rc == 0)
        rc = widest(&windows, &ns, err);
    if (rc < 0)
        return rc;
    /* Rounding of the sums is far below one part in 10^9. */
    *ret_answer = (struct window_answer){longest_chain(&windows), (uint64_t)(ns * (1 - 1e-9))};
    return SYN_OK;
}
