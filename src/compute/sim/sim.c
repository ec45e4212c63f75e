/* The engine: events in the order of time, a strategy asked at each.
 *
 *     push -> (place: data are fetched ahead) -> pop -> data come -> compute -> end -> successors
 *
 * A worker that is idle is asked after every event at which something became ready or ended, in
 * the order in which the workers became idle. Transfers overlap with computing, one worker runs
 * one task at a time. Nothing is drawn at random here. */
#include <string.h>

#include <synor/base/mem.h>

#include "memory_priv.h"
#include "sim_priv.h"

/* So much of a task's time is left at least, if it has begun and is not known to have ended. */
#define LEFT_PART 8U

enum event_kind { EVENT_END, EVENT_LINK };
enum worker_state { WORKER_IDLE, WORKER_FETCHING, WORKER_RUNNING };

struct sim_worker {
    uint32_t task;                 /* unless idle */
    uint8_t state;                 /* enum worker_state */
    uint8_t power;                 /* state it is set to */
    uint64_t pop_ns, begin_ns, ns; /* ns: of its task, in the fastest state */
    uint64_t busy_pj_ns;           /* busy so far, for the idle power */
    uint64_t spent_ns;             /* on its task before the run began */
};

struct sim_task {
    uint32_t preds;    /* not ended yet */
    int32_t node;      /* where it was placed: its data are wanted there */
    bool ended, given; /* given: to the worker that was at it when the run began */
};

struct sim {
    const struct sim_setup *setup;
    const struct syn_platform *platform;
    struct sim_memory memory;
    struct syn_ready *ready; /* our copies, on our replicas */
    struct syn_data_use *accesses;
    struct sim_task *tasks;
    struct sim_worker workers[SYN_PLATFORM_WORKERS_MAX];
    uint32_t idle[SYN_PLATFORM_WORKERS_MAX]; /* longest idle first */
    uint32_t idle_count;
    uint32_t waiting[SYN_CLASSES_MAX]; /* pushed, not popped, by the classes that can */
    struct heap events;
    uint64_t now_ns, seq;
    uint32_t ended;
    syn_u128 energy_pj;
    void *self; /* the strategy */
    struct syn_plan_result result;
};

static void
sim_fini(struct sim *sim)
{
    if (sim->self != NULL)
        sim->setup->strategy->close(sim->self);
    memory_fini(&sim->memory);
    syn_free(sim->ready);
    syn_free(sim->accesses);
    syn_free(sim->tasks);
    syn_free(sim->events.items);
}

static void
sim_free_scope(struct sim **slot)
{
    if (*slot != NULL)
        sim_fini(*slot);
    syn_free(*slot);
}

static void
event(struct sim *sim, uint64_t at_ns, enum event_kind kind, uint32_t id)
{
    if (!heap_push(&sim->events, (struct heap_item){at_ns, sim->seq++, kind, id}))
        sim->memory.failed = true;
}

static void
transfer_started(void *arg, uint32_t server, uint64_t end_ns)
{
    event(arg, end_ns, EVENT_LINK, server);
}

static const struct syn_data_use *
access_at(const struct syn_ready *ready, uint32_t i)
{
    return (const struct syn_data_use *)(const void *)((const char *)ready->accesses +
                                                       (size_t)i * ready->access_stride);
}

static bool
copy_task(struct sim *sim, uint32_t index, struct syn_data_use **next)
{
    const struct syn_ready *from = &sim->setup->graph->tasks[index];
    struct syn_ready *ready = &sim->ready[index];

    *ready = *from;
    ready->index = index;
    ready->accesses = *next;
    ready->access_stride = sizeof(struct syn_data_use);
    for (uint32_t i = 0; i < from->access_count; i++) {
        struct syn_data_use access = *access_at(from, i);

        if (access.handle >= sim->setup->graph->handle_count)
            return false;
        sim->memory.replicas[access.handle] = *access.data;
        access.data = &sim->memory.replicas[access.handle];
        *(*next)++ = access;
    }
    return true;
}

static int
sim_init(struct sim *sim, const struct sim_setup *setup, struct syn_err *err)
{
    const struct syn_graph_view *graph = setup->graph;
    struct syn_data_use *next;
    size_t uses = 0;
    int rc;

    sim->setup = setup;
    sim->platform = setup->platform;
    rc = memory_init(&sim->memory, setup->platform, graph->handle_count, err);
    if (rc < 0)
        return rc;
    sim->memory.started = transfer_started;
    sim->memory.arg = sim;
    for (uint32_t i = 0; i < graph->task_count; i++)
        uses += graph->tasks[i].access_count;
    sim->ready = syn_calloc(graph->task_count + 1, sizeof(sim->ready[0]));
    sim->accesses = syn_calloc(uses + 1, sizeof(sim->accesses[0]));
    sim->tasks = syn_calloc(graph->task_count + 1, sizeof(sim->tasks[0]));
    if (sim->ready == NULL || sim->accesses == NULL || sim->tasks == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %u tasks", graph->task_count);
    next = sim->accesses;
    for (uint32_t i = 0; i < graph->task_count; i++) {
        if (!copy_task(sim, i, &next))
            return SYN_FAIL(err, SYN_E_INVALID, "task %u uses a tensor beyond the %u there are", i,
                            graph->handle_count);
        sim->tasks[i].node = SYN_NO_NODE;
        sim->tasks[i].ended = graph->ended != NULL && graph->ended[i] != 0;
        sim->ended += sim->tasks[i].ended;
        for (uint32_t j = graph->succ_first[i];
             !sim->tasks[i].ended && j < graph->succ_first[i + 1]; j++)
            sim->tasks[graph->succ[j]].preds++;
    }
    rc = memory_place(&sim->memory, err);
    return rc < 0 ? rc
                  : setup->strategy->open(setup->platform, &setup->strategy_opts, &sim->self, err);
}

static bool
can_run(const struct syn_ready *ready, uint32_t class_id)
{
    return ready->cost->ns[class_id] != SYN_NEVER;
}

/* The node's memory must hold what its workers use at once, or the run could stick. */
static int
check_room(struct sim *sim, struct syn_err *err)
{
    const struct syn_platform *platform = sim->platform;

    for (uint32_t i = 0; i < sim->setup->graph->task_count; i++) {
        const struct syn_ready *ready = &sim->ready[i];
        uint64_t bytes = 0;
        bool runs = false;

        for (uint32_t j = 0; j < ready->access_count; j++)
            bytes += access_at(ready, j)->data->bytes;
        for (uint32_t w = 0; w < platform->worker_count; w++) {
            uint32_t node = platform->workers[w].node, others = 0;

            if (!can_run(ready, platform->workers[w].class_id))
                continue;
            runs = true;
            for (uint32_t v = 0; v < platform->worker_count; v++)
                others += platform->workers[v].node == node;
            if (platform->node_bytes != NULL && platform->node_bytes[node] != 0 &&
                bytes * others > platform->node_bytes[node])
                return SYN_FAIL(err, SYN_E_NOSPACE,
                                "task %u uses %llu bytes, too much for node %u with %u workers", i,
                                (unsigned long long)bytes, node, others);
        }
        if (!runs)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "no worker can run task %u", i);
    }
    return SYN_OK;
}

static void
count_waiting(struct sim *sim, const struct syn_ready *ready, uint32_t by)
{
    for (uint32_t c = 0; c < sim->platform->class_count; c++)
        if (can_run(ready, c))
            sim->waiting[c] += by;
}

static int
release(struct sim *sim, uint32_t index, int32_t origin, struct syn_err *err)
{
    struct syn_ready *ready = &sim->ready[index];
    struct syn_place place = {SYN_NO_WORKER, SYN_NO_NODE};
    int rc;

    ready->origin = (int16_t)origin;
    rc = sim->setup->strategy->push(sim->self, ready, sim->now_ns, &place, err);
    if (rc < 0)
        return rc;
    count_waiting(sim, ready, 1);
    sim->tasks[index].node = place.node;
    if (place.node < 0)
        return SYN_OK;
    for (uint32_t i = 0; i < ready->access_count; i++)
        if ((access_at(ready, i)->mode & SYN_READ) != 0)
            memory_want(&sim->memory, access_at(ready, i)->handle, (uint32_t)place.node);
    return SYN_OK;
}

static const struct syn_power_state *
power_of(const struct sim *sim, uint32_t worker, uint32_t state)
{
    static const struct syn_power_state unknown = {1000, 0};
    const struct syn_worker_class *class =
        &sim->platform->classes[sim->platform->workers[worker].class_id];

    return class->state_count == 0 ? &unknown : &class->states[state];
}

static void
take(struct sim *sim, uint32_t id, const struct syn_pop *pop)
{
    struct sim_worker *worker = &sim->workers[id];
    const struct syn_ready *ready = pop->ready;
    uint32_t node = sim->platform->workers[id].node;
    int32_t placed;

    assert(ready >= sim->ready && ready < sim->ready + sim->setup->graph->task_count);
    worker->task = (uint32_t)(ready - sim->ready);
    worker->state = WORKER_FETCHING;
    worker->pop_ns = sim->now_ns;
    worker->begin_ns = 0;
    if (pop->state != worker->power) {
        worker->power = pop->state;
        worker->begin_ns =
            sim->now_ns + sim->platform->classes[sim->platform->workers[id].class_id].switch_ns;
    }
    placed = sim->tasks[worker->task].node;
    count_waiting(sim, ready, UINT32_MAX);
    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = access_at(ready, i);

        memory_pin(&sim->memory, access->handle, node);
        if (placed >= 0 && (access->mode & SYN_READ) != 0)
            memory_unwant(&sim->memory, access->handle, (uint32_t)placed);
    }
}

/* Ask the idle until nobody gets anything. */
static void
dispatch(struct sim *sim)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < sim->idle_count; i++) {
        uint32_t id = sim->idle[i];
        uint32_t class_id = sim->platform->workers[id].class_id;
        struct syn_pop pop = {NULL, 0, SYN_POP_EMPTY};

        sim->setup->strategy->pop(sim->self, id, sim->now_ns, &pop);
        if (pop.ready != NULL) {
            take(sim, id, &pop);
            continue;
        }
        sim->idle[kept++] = id;
        if (sim->waiting[class_id] > 0) {
            sim->result.refused++;
            sim->result.unexplained += pop.why == SYN_POP_EMPTY || pop.why == SYN_POP_TASK;
        }
    }
    sim->idle_count = kept;
}

/* Begin to compute where all data are there. */
static void
begin(struct sim *sim)
{
    for (uint32_t id = 0; id < sim->platform->worker_count; id++) {
        struct sim_worker *worker = &sim->workers[id];
        const struct syn_ready *ready = &sim->ready[worker->task];
        uint32_t class_id = sim->platform->workers[id].class_id;
        uint64_t left_ns;
        bool all = true;

        if (worker->state != WORKER_FETCHING)
            continue;
        for (uint32_t i = 0; i < ready->access_count; i++) {
            const struct syn_data_use *access = access_at(ready, i);

            if (!memory_ready(&sim->memory, access->handle, sim->platform->workers[id].node,
                              access->mode))
                all = false;
        }
        if (!all)
            continue;
        worker->state = WORKER_RUNNING;
        worker->begin_ns = SYN_MAX(worker->begin_ns, sim->now_ns);
        worker->ns = sim->setup->duration != NULL
                         ? sim->setup->duration(sim->setup->arg, worker->task, class_id)
                         : ready->cost->ns[class_id];
        if (worker->ns == SYN_UNKNOWN_NS)
            worker->ns = SIM_UNKNOWN_NS;
        left_ns = worker->ns * 1000 / power_of(sim, id, worker->power)->speed_permille;
        left_ns -= SYN_MIN(worker->spent_ns, left_ns - left_ns / LEFT_PART);
        worker->spent_ns = 0;
        event(sim, worker->begin_ns + left_ns, EVENT_END, id);
    }
}

static void
account(struct sim *sim, uint32_t id)
{
    struct sim_worker *worker = &sim->workers[id];
    const struct syn_worker_class *class =
        &sim->platform->classes[sim->platform->workers[id].class_id];
    uint64_t ns = sim->now_ns - worker->begin_ns;
    const struct syn_ready *ready = &sim->ready[worker->task];

    if (sim->setup->trace != NULL)
        sim->setup->trace[sim->ended] = (struct syn_plan_event){
            worker->task, id, worker->pop_ns, worker->begin_ns, sim->now_ns, worker->power};
    worker->busy_pj_ns += ns;
    sim->result.busy_ns += ns;
    sim->result.price += (uint64_t)((syn_u128) class->price_ns * ns / 1000000000U);
    sim->energy_pj += (syn_u128)power_of(sim, id, worker->power)->busy_mw * ns;
    sim->result.late += ready->deadline_ns != 0 && sim->now_ns > ready->deadline_ns;
}

static int
finish(struct sim *sim, uint32_t id, struct syn_err *err)
{
    struct sim_worker *worker = &sim->workers[id];
    const struct syn_graph_view *graph = sim->setup->graph;
    const struct syn_ready *ready = &sim->ready[worker->task];
    uint32_t task = worker->task;

    account(sim, id);
    for (uint32_t i = 0; i < ready->access_count; i++)
        memory_release(&sim->memory, access_at(ready, i)->handle, sim->platform->workers[id].node,
                       access_at(ready, i)->mode);
    assert(!sim->tasks[task].ended);
    sim->tasks[task].ended = true;
    sim->ended++;
    worker->state = WORKER_IDLE;
    sim->idle[sim->idle_count++] = id;
    if (sim->setup->measured != NULL)
        sim->setup->measured(sim->setup->arg, task, sim->platform->workers[id].class_id,
                             worker->ns);
    sim->setup->strategy->done(sim->self, id, ready, sim->now_ns - worker->begin_ns, sim->now_ns);
    for (uint32_t j = graph->succ_first[task]; j < graph->succ_first[task + 1]; j++) {
        uint32_t next = graph->succ[j];
        bool ready_now = --sim->tasks[next].preds == 0;
        /* It may have ended although this one is not known to have: one that ran in pieces. */
        int rc = ready_now && !sim->tasks[next].ended ? release(sim, next, (int32_t)id, err) : 0;

        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static void
progress(struct sim *sim)
{
    uint64_t seq;

    do { /* a worker's demand may start a transfer, whose room may come from a drop, and so on */
        seq = sim->memory.seq + sim->seq;
        begin(sim);
        memory_kick(&sim->memory, sim->now_ns);
    } while (sim->memory.seq + sim->seq != seq && !sim->memory.failed);
}

static int
run_events(struct sim *sim, struct syn_err *err)
{
    const struct sim_setup *setup = sim->setup;
    int rc;

    while (sim->ended < setup->graph->task_count) {
        bool ended = false;

        if (sim->memory.failed)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for events");
        if (sim->events.count == 0)
            return SYN_FAIL(err, SYN_E_CONFLICT, "%s leaves %u tasks waiting, all workers idle",
                            setup->strategy->name, setup->graph->task_count - sim->ended);
        sim->now_ns = sim->events.items[0].key;
        if (setup->give_up_ns != 0 && sim->now_ns > setup->give_up_ns)
            return SYN_FAIL(err, SYN_E_CONFLICT, "takes longer than it may");
        do {
            struct heap_item item = heap_pop(&sim->events);

            if (item.what == EVENT_LINK) {
                memory_arrived(&sim->memory, item.id);
                continue;
            }
            ended = true;
            rc = finish(sim, item.id, err);
            if (rc < 0)
                return rc;
        } while (sim->events.count > 0 && sim->events.items[0].key == sim->now_ns);
        if (ended)
            dispatch(sim);
        progress(sim);
    }
    return SYN_OK;
}

static void
sum_up(struct sim *sim)
{
    struct syn_plan_result *result = &sim->result;

    result->makespan_ns = sim->now_ns;
    for (uint32_t id = 0; id < sim->platform->worker_count; id++)
        sim->energy_pj +=
            (syn_u128)sim->platform->classes[sim->platform->workers[id].class_id].idle_mw *
            (sim->now_ns - sim->workers[id].busy_pj_ns);
    result->energy_uj = (uint64_t)(sim->energy_pj / 1000000U);
    result->moved_bytes = sim->memory.moved_bytes;
    result->transfers = sim->memory.moves;
    result->evictions = sim->memory.evictions;
    for (uint32_t n = 0; n < sim->platform->node_count; n++)
        result->node_peak_bytes[n] = sim->memory.peak[n];
}

/* Whoever is at a task when the run begins stays at it. */
static int
resume(struct sim *sim, struct syn_err *err)
{
    for (uint32_t id = 0; sim->setup->busy != NULL && id < sim->platform->worker_count; id++) {
        const struct sim_busy *busy = &sim->setup->busy[id];
        struct syn_pop pop = {NULL, 0, SYN_POP_EMPTY};
        int rc;

        if (busy->task == SYN_NO_INDEX || sim->tasks[busy->task].ended ||
            sim->tasks[busy->task].preds != 0 || sim->tasks[busy->task].given)
            continue;
        sim->ready[busy->task].affinity = (int16_t)id;
        sim->tasks[busy->task].given = true;
        rc = release(sim, busy->task, SYN_NO_WORKER, err);
        if (rc < 0)
            return rc;
        sim->setup->strategy->pop(sim->self, id, 0, &pop);
        if (pop.ready == NULL)
            continue; /* it is asked again */
        take(sim, id, &pop);
        sim->workers[id].spent_ns = busy->spent_ns;
    }
    return SYN_OK;
}

int
sim_run(const struct sim_setup *setup, struct syn_plan_result *ret_result, struct syn_err *err)
{
    SYN_SCOPED(sim_free_scope) struct sim *sim = syn_calloc(1, sizeof(*sim));
    int rc;

    if (sim == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a simulation");
    rc = sim_init(sim, setup, err);
    if (rc == 0)
        rc = check_room(sim, err);
    if (rc == 0 && setup->give_graph && setup->strategy->graph != NULL) {
        struct syn_graph_view view = *setup->graph;

        view.tasks = sim->ready;
        rc = setup->strategy->graph(sim->self, &view, 0, err);
    }
    if (rc < 0)
        return rc;
    rc = resume(sim, err);
    if (rc < 0)
        return rc;
    for (uint32_t id = 0; id < setup->platform->worker_count; id++)
        if (sim->workers[id].state == WORKER_IDLE)
            sim->idle[sim->idle_count++] = id;
    for (uint32_t i = 0; i < setup->graph->task_count; i++) {
        bool waits = sim->tasks[i].preds == 0 && !sim->tasks[i].ended && !sim->tasks[i].given;

        rc = waits ? release(sim, i, SYN_NO_WORKER, err) : 0;
        if (rc < 0)
            return rc;
    }
    dispatch(sim);
    progress(sim);
    rc = run_events(sim, err);
    if (rc < 0)
        return rc;
    sum_up(sim);
    *ret_result = sim->result;
    return SYN_OK;
}
