/* A strategy of one's own, run in the planner against the library's.
 *
 * "shortest" gives each task to the class of processors that would end it first, counting the work
 * that waits there already; a worker takes the oldest task of its class. That ignores transfers, so
 * it shows what knowing of them is worth. The planner runs it on a modelled machine: four cores and
 * two accelerators that only a link reaches.
 *
 *     strategy [TILES [CHART.svg]]     CHART shows what "shortest" did */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/kind.h>
#include <synor/plan.h>
#include <synor/trace.h>

/* What waits for one class, oldest first. */
struct queue {
    struct syn_ready **tasks;
    size_t count, room;
    uint64_t waiting_ns; /* of work, shared by `workers` */
    uint32_t workers;
};

struct shortest {
    const struct syn_platform *platform;
    struct queue queues[SYN_CLASSES_MAX];
};

static int
shortest_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
              void **ret_self, struct syn_err *err)
{
    struct shortest *self = calloc(1, sizeof(*self));

    (void)opts;
    if (self == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a strategy");
    self->platform = platform;
    for (uint32_t i = 0; i < platform->worker_count; i++)
        self->queues[platform->workers[i].class_id].workers++;
    *ret_self = self;
    return SYN_OK;
}

static void
shortest_close(void *opaque)
{
    struct shortest *self = opaque;

    for (size_t c = 0; c < SYN_CLASSES_MAX; c++)
        free(self->queues[c].tasks);
    free(self);
}

/* Estimates are refined by other threads while we read them. */
static uint64_t
estimate(const struct syn_ready *ready, uint32_t class_id)
{
    uint64_t ns = __atomic_load_n(&ready->cost->ns[class_id], __ATOMIC_RELAXED);

    return ns == SYN_UNKNOWN_NS ? 1000000 : ns;
}

static int
shortest_push(void *opaque, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
              struct syn_err *err)
{
    struct shortest *self = opaque;
    struct queue *queue = NULL;
    uint64_t best_ns = SYN_NEVER;

    (void)now_ns;
    for (uint32_t c = 0; c < self->platform->class_count; c++) {
        struct queue *candidate = &self->queues[c];
        bool bound = ready->affinity != SYN_NO_WORKER &&
                     self->platform->workers[ready->affinity].class_id != c;
        uint64_t ns = estimate(ready, c);

        if (ns == SYN_NEVER || candidate->workers == 0 || bound)
            continue;
        ns += candidate->waiting_ns / candidate->workers;
        if (ns < best_ns) {
            best_ns = ns;
            queue = candidate;
        }
    }
    if (queue == NULL)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "no processor here can run it");
    if (queue->count == queue->room) {
        size_t room = queue->room == 0 ? 64 : queue->room * 2;
        struct syn_ready **larger = realloc(queue->tasks, room * sizeof(struct syn_ready *));

        if (larger == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a queue");
        queue->tasks = larger;
        queue->room = room;
    }
    ready->slot = (uint32_t)(queue - self->queues); /* ours while we hold the task */
    queue->tasks[queue->count++] = ready;
    queue->waiting_ns += estimate(ready, ready->slot);
    *ret_place = (struct syn_place){SYN_NO_WORKER, SYN_NO_NODE};
    return SYN_OK;
}

static struct syn_ready *
take(struct queue *queue, size_t index)
{
    struct syn_ready *ready = queue->tasks[index];
    uint64_t ns = estimate(ready, ready->slot);

    queue->waiting_ns -= ns < queue->waiting_ns ? ns : queue->waiting_ns;
    queue->count--;
    memmove(&queue->tasks[index], &queue->tasks[index + 1],
            (queue->count - index) * sizeof(struct syn_ready *));
    return ready;
}

static void
shortest_pop(void *opaque, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct shortest *self = opaque;
    uint32_t class_id = self->platform->workers[worker].class_id;
    struct queue *queue = &self->queues[class_id];

    (void)now_ns;
    *ret_pop = (struct syn_pop){.why = SYN_POP_EMPTY};
    for (size_t i = 0; i < queue->count; i++)
        if (queue->tasks[i]->affinity == SYN_NO_WORKER ||
            queue->tasks[i]->affinity == (int16_t)worker) {
            *ret_pop = (struct syn_pop){.ready = take(queue, i), .why = SYN_POP_TASK};
            return;
        }
    /* Nothing for this worker; say so truly when another class has what it could run. */
    for (uint32_t c = 0; c < self->platform->class_count; c++)
        for (size_t i = 0; i < self->queues[c].count; i++)
            if (estimate(self->queues[c].tasks[i], class_id) != SYN_NEVER)
                ret_pop->why = SYN_POP_ELSEWHERE;
}

static void
shortest_done(void *opaque, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
              uint64_t now_ns)
{
    (void)opaque; /* a strategy that learns does it here */
    (void)worker;
    (void)ready;
    (void)measured_ns;
    (void)now_ns;
}

static bool
shortest_cancel(void *opaque, struct syn_ready *ready)
{
    struct shortest *self = opaque;
    struct queue *queue = &self->queues[ready->slot];

    for (size_t i = 0; i < queue->count; i++)
        if (queue->tasks[i] == ready)
            return take(queue, i) != NULL;
    return false;
}

static const struct syn_strategy_ops shortest = {
    .version = SYN_STRATEGY_VERSION,
    .name = "shortest",
    .summary = "to the class that ends it first, by what waits there",
    .open = shortest_open,
    .close = shortest_close,
    .push = shortest_push,
    .pop = shortest_pop,
    .done = shortest_done,
    .cancel = shortest_cancel,
};

/* A machine to plan for: class 0 are cores on the host's memory, class 1 accelerators with memory
 * of their own behind a link each. */
static const struct syn_worker_class classes[] = {
    {.name = "core",
     .kind = SYN_KIND_CPU,
     .state_count = 1,
     .idle_mw = 1000,
     .states = {{1000, 8000}}},
    {.name = "accelerator",
     .kind = SYN_KIND_GPU,
     .state_count = 1,
     .idle_mw = 40000,
     .states = {{1000, 300000}}},
};
static const struct syn_worker_desc workers[] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0},
                                                 {0, 0, 0, 0}, {1, 1, 1, 1}, {1, 2, 2, 2}};
static const struct syn_link_desc links[] = {{0, 1, 1, 5000, UINT64_C(12000000000)},
                                             {1, 0, 1, 5000, UINT64_C(12000000000)},
                                             {0, 2, 2, 5000, UINT64_C(12000000000)},
                                             {2, 0, 2, 5000, UINT64_C(12000000000)}};
static const struct syn_plan_rate rates[] = {
    {.flops_per_s = 30e9, .bytes_per_s = 10e9},
    {.flops_per_s = 4e12, .bytes_per_s = 800e9, .launch_ns = 5000, .column = 1}};
static const struct syn_plan_machine machine = {
    .platform = {.class_count = 2,
                 .worker_count = 6,
                 .node_count = 3,
                 .link_count = 4,
                 .classes = classes,
                 .workers = workers,
                 .links = links},
    .rates = rates,
};

static int
compare(const struct syn_plan_graph *graph, struct syn_err *err)
{
    const struct syn_strategy_ops *rows[] = {&shortest, syn_strategy_find("round-robin"),
                                             syn_strategy_find("eager"), syn_strategy_find("heft")};
    struct syn_plan_bound bound;

    if (syn_plan_bound(&machine, graph, &bound, err) < 0)
        return err->code;
    (void)printf("%" PRIu32 " tasks; nothing takes less than %.2f ms\n", syn_plan_task_count(graph),
                 (double)bound.bound_ns / 1e6);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct syn_plan_opts opts = {.machine = &machine,
                                     .graph = graph,
                                     .strategy = rows[i],
                                     .seed = 1,
                                     .give_graph = true};
        struct syn_plan_result result;

        if (syn_plan_run(&opts, NULL, &result, err) < 0)
            return err->code;
        (void)printf("%-12s %8.2f ms, %5.2f times the bound, %6.1f J, %7.1f MB moved\n",
                     rows[i]->name, (double)result.makespan_ns / 1e6,
                     (double)result.makespan_ns / (double)bound.bound_ns,
                     (double)result.energy_uj / 1e6, (double)result.moved_bytes / 1e6);
        if (result.unexplained != 0) /* an idle worker that should have got something */
            return SYN_FAIL(err, SYN_E_INTERNAL, "%s left workers idle", rows[i]->name);
    }
    return SYN_OK;
}

/* Run the strategy once more, and draw who ran what when. */
static int
draw(const struct syn_plan_graph *graph, const char *path, struct syn_err *err)
{
    struct syn_plan_opts opts = {
        .machine = &machine, .graph = graph, .strategy = &shortest, .seed = 1, .give_graph = true};
    struct syn_plan_event *events = calloc(syn_plan_task_count(graph), sizeof(*events));
    struct syn_trace_data *data = NULL;
    struct syn_plan_result result;
    struct syn_buf chart = SYN_BUF_INIT;
    FILE *file;
    int rc;

    if (events == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a trace");
    rc = syn_plan_run(&opts, events, &result, err);
    if (rc == 0)
        rc = syn_trace_of_plan(&opts, events, &data, err);
    if (rc == 0)
        rc = syn_trace_write_gantt(data, &chart, err);
    if (rc == 0) {
        file = fopen(path, "w");
        if (file == NULL || fputs(syn_buf_text(&chart), file) == EOF)
            rc = SYN_FAIL(err, SYN_E_IO, "%s cannot be written", path);
        if (file != NULL && fclose(file) != 0 && rc == 0)
            rc = SYN_FAIL(err, SYN_E_IO, "%s cannot be written", path);
    }
    syn_buf_fini(&chart);
    syn_trace_data_free(data);
    free(events);
    return rc;
}

int
main(int argc, char **argv)
{
    long tiles = argc > 1 ? strtol(argv[1], NULL, 10) : 16;
    struct syn_plan_graph *graph;
    struct syn_err err;
    int rc;

    if (tiles < 1 || tiles > 64) {
        (void)fprintf(stderr, "usage: strategy [1..64 [CHART.svg]]\n");
        return 2;
    }
    rc = syn_plan_cholesky((uint32_t)tiles, 512, &graph, &err);
    if (rc == 0) {
        rc = compare(graph, &err);
        if (rc == 0 && argc > 2)
            rc = draw(graph, argv[2], &err);
        syn_plan_graph_free(graph);
    }
    if (rc < 0)
        (void)fprintf(stderr, "strategy: %s\n", err.msg);
    return rc == 0 ? 0 : 1;
}
