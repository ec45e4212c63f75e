/* Running a captured graph. To the core a run is one task, the gate, on all of the graph's tensors:
 * so it is ordered against whatever is submitted around it, and the core has to do with it once,
 * not once a call.
 *
 *     gate ready -> strategy is shown the graph -> calls that wait for nothing -> strategy's queue
 *                                                       ^                             |
 *                        who waited for it is ready <---+---- over <-- run.c, device.c
 *     the last one over -> strategy forgets the graph -> gate over -> who waits is told
 *
 * A call is over on whatever thread: that one counts down who waits for it, and gives what became
 * ready to the strategy itself. Counts are set again by each call when it is given out, so a run
 * begins without a pass over all. Nothing is allocated, but by a strategy that plans, by a call
 * that is divided, and by a trace.
 *
 * A call that does not run is over at once, and so may be who waits for it, and so on: a thread
 * keeps a list of those, so that a long chain does not become deep recursion.
 *
 * Inside, a failure goes along the edges to who needs the result. To the outside the run is the
 * gate, one task as any other: it ends with the first failure, which is what whoever needs
 * something of it hears, and when something that it needs has failed none of its calls runs.
 *
 * The strategy is shown one graph at a time. One that begins while another runs is to it like
 * single calls. */
#include <sched.h>

#include <synor/base/clock.h>

#include "graph_priv.h"

/* The calls that this thread is seeing to; NULL: it is not. */
static _Thread_local struct syn_engine_task **seeing_to SYN_TLS_FAST;

/* ---- the strategy ---- */

#define PLAN_PART 16 /* of the shortest that a run can take: so long a plan may take */

/* By the estimates of now, if all that computes here shared it well. */
static uint64_t
patience_ns(const struct syn_engine_graph *graph)
{
    const struct syn_engine *engine = graph->engine;
    uint64_t sum_ns = 0;

    for (size_t i = 0; i < graph->count; i++) {
        uint64_t least = SYN_NEVER;

        for (unsigned k = 0; k < engine->platform.class_count; k++) {
            uint64_t ns = syn_engine_cost(graph->nodes[i].call, k);

            least = SYN_MIN(least, ns);
        }
        sum_ns += least;
    }
    return SYN_MAX(sum_ns / engine->seats_count / PLAN_PART, 1);
}

/* A plan that cannot be made is done without. */
static void
show(struct syn_engine_graph *graph)
{
    struct syn_engine *engine = graph->engine;
    struct syn_graph_view view = {.task_count = (uint32_t)graph->count,
                                  .handle_count = (uint32_t)graph->trails_count,
                                  .tasks = graph->ready,
                                  .succ_first = graph->first,
                                  .succ = graph->succ};
    uint64_t now_ns = (uint64_t)syn_clock_ns();

    graph->shown = false;
    if (engine->ops->graph == NULL ||
        atomic_load_explicit(&graph->stopped, memory_order_relaxed) != 0)
        return;
    view.patience_ns = patience_ns(graph);
    syn_spin_lock(&engine->lock);
    if (engine->shown == NULL) {
        graph->shown = engine->ops->graph(engine->strategy, &view, now_ns, NULL) == SYN_OK;
        engine->shown = graph->shown ? graph : NULL;
    }
    syn_spin_unlock(&engine->lock);
}

static void
unshow(struct syn_engine_graph *graph)
{
    static const uint32_t none[1] = {0};
    struct syn_engine *engine = graph->engine;
    const struct syn_graph_view view = {.succ_first = none, .succ = none};

    if (!graph->shown)
        return;
    syn_spin_lock(&engine->lock);
    (void)engine->ops->graph(engine->strategy, &view, (uint64_t)syn_clock_ns(), NULL);
    engine->shown = NULL;
    syn_spin_unlock(&engine->lock);
}

/* ---- the end ---- */

static void
note_failure(const struct syn_engine_node *node, int code, const struct syn_err *err)
{
    struct syn_engine_graph *graph = node->graph;
    int none = 0;

    if (!atomic_compare_exchange_strong(&graph->code, &none, code))
        return;
    if (err != NULL && err->code == code)
        graph->failure = *err;
    else
        (void)SYN_FAIL(&graph->failure, code, "%s", syn_err_info(code)->wire);
    (void)syn_err_wrap(&graph->failure, code, "call %u, %s", node->index, node->call->kernel->name);
}

/* The last call is over. Once it is announced the graph may end, or run again. */
static void
finish(struct syn_engine_graph *graph)
{
    struct syn_engine *engine = graph->engine;

    unshow(graph);
    syn_task_finish(engine->runtime, NULL, graph->gate,
                    atomic_load_explicit(&graph->code, memory_order_relaxed));
    (void)syn_task_announce(&graph->end, SYN_OK);
}

/* The call is over: put who waited for it in front of `list`. When nobody did, or when all of them
 * wait for others, the graph may end while this returns. */
static void
release(struct syn_engine_task *call, int code, const struct syn_err *err,
        struct syn_engine_task **list)
{
    struct syn_engine_node *node = call->node;
    struct syn_engine_graph *graph = node->graph;
    uint32_t from = graph->first[node->index], to = graph->first[node->index + 1];

    if (code < 0)
        note_failure(node, code, err);
    if (node->done != NULL)
        node->done(node->done_arg, code);
    SYN_PERTURB();
    for (uint32_t i = to; i-- > from;) {
        struct syn_engine_node *next = &graph->nodes[graph->succ[i]];

        if (code < 0 && graph->needs[i])
            atomic_store_explicit(&next->code, code, memory_order_relaxed);
        if (atomic_fetch_sub_explicit(&next->awaited, 1, memory_order_acq_rel) != 1)
            continue;
        next->call->next = *list;
        *list = next->call;
    }
    if (from == to && atomic_fetch_sub_explicit(&graph->sinks_left, 1, memory_order_acq_rel) == 1)
        finish(graph);
}

/* ---- giving out ---- */

/* Ready for its next run before anybody can hear of this one's end. */
static void
begin(struct syn_engine_task *call)
{
    const struct syn_worker *self = syn_self;
    struct syn_engine_node *node = call->node;
    const struct syn_engine_graph *graph = node->graph;
    const struct syn_engine *engine = graph->engine;
    bool ours = self != NULL && self->runtime == engine->runtime && self->index < engine->cpus;

    atomic_store_explicit(&node->awaited, node->awaits, memory_order_relaxed);
    call->seat = NULL;
    call->tries = 0;
    call->ready.index = graph->shown ? node->index : SYN_NO_INDEX;
    call->ready.origin = SYN_NO_WORKER;
    if (ours)
        call->ready.origin = (int16_t)self->index;
    call->ready.deadline_ns =
        node->deadline_ns > 0 ? (uint64_t)(graph->begun_ns + node->deadline_ns) : 0;
}

/* Everything it waited for is there: to the strategy, or over at once. */
static void
give_out(struct syn_engine_task *call, struct syn_engine_task **list)
{
    struct syn_engine_node *node = call->node;
    int code = atomic_load_explicit(&node->code, memory_order_relaxed);

    if (code != 0)
        atomic_store_explicit(&node->code, 0, memory_order_relaxed);
    else
        code = syn_engine_captured_begin(call);
    begin(call);
    if (code < 0) {
        syn_engine_drop(call, code);
        release(call, code, NULL, list);
        return;
    }
    if (call->pieces != SYN_PIECES_ONE && call->kernel->splits_count > 0 && syn_engine_divide(call))
        return;
    syn_engine_push(call);
}

static void
see_to(struct syn_engine_task *list)
{
    seeing_to = &list;
    while (list != NULL) {
        struct syn_engine_task *call = list;

        list = call->next;
        give_out(call, &list);
    }
    seeing_to = NULL;
}

int
syn_engine_captured_begin(const struct syn_engine_task *call)
{
    return atomic_load_explicit(&call->node->graph->stopped, memory_order_relaxed);
}

void
syn_engine_captured_end(struct syn_engine_task *call, int code, const struct syn_err *err)
{
    struct syn_engine_task *list = NULL;

    if (seeing_to != NULL) {
        release(call, code, err, seeing_to);
        return;
    }
    release(call, code, err, &list);
    if (list != NULL)
        see_to(list);
}

/* ---- the gate ---- */

/* Calls that have not begun end with the code. */
static void
stop(struct syn_engine_graph *graph, int code)
{
    int none = 0;

    (void)atomic_compare_exchange_strong(&graph->stopped, &none, code);
}

static int
open_gate(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_engine_graph *graph = arg;
    struct syn_engine_task *list = NULL;

    (void)at;
    if (worker->current_code < 0)
        stop(graph, worker->current_code);
    graph->gate = syn_task_later(worker);
    show(graph);
    for (uint32_t i = graph->roots_count; i-- > 0;) {
        struct syn_engine_task *call = graph->nodes[graph->roots[i]].call;

        call->next = list;
        list = call;
    }
    see_to(list);
    return SYN_OK;
}

static SYN_MUST int
submit(struct syn_engine_graph *graph, struct syn_err *err)
{
    const struct syn_task_spec spec = {.run = open_gate,
                                       .arg = graph,
                                       .uses = graph->uses,
                                       .uses_count = (uint16_t)graph->trails_count};
    struct syn_engine *engine = graph->engine;

    for (size_t i = 0; syn_trace_on(engine->trace) && i < graph->count; i++)
        syn_engine_trace_order(graph->nodes[i].call);
    return syn_task_submit_flagged(engine->runtime, &spec, SYN_TASK_ALWAYS | SYN_TASK_DISTINCT,
                                   NULL, err);
}

int
syn_engine_graph_start(struct syn_engine_graph *graph, struct syn_err *err)
{
    struct syn_engine *engine = graph->engine;
    uint64_t count = graph->count;
    int rc;

    if (syn_engine_graph_runs(graph))
        return SYN_FAIL(err, SYN_E_CONFLICT, "the graph still runs");
    syn_engine_graph_settle(graph);
    rc = syn_engine_graph_seal(graph, err);
    if (rc < 0)
        return rc;
    atomic_store_explicit(&graph->code, 0, memory_order_relaxed);
    atomic_store_explicit(&graph->stopped, 0, memory_order_relaxed);
    if (count == 0)
        return SYN_OK;
    graph->begun_ns = syn_clock_ns();
    atomic_store_explicit(&graph->sinks_left, graph->sinks, memory_order_relaxed);
    atomic_store_explicit(&graph->end.refs, 2, memory_order_relaxed);
    atomic_store_explicit(&graph->end.done, 0, memory_order_relaxed);
    syn_engine_count_submitted(engine, (int64_t)count);
    rc = submit(graph, err);
    if (rc < 0) {
        atomic_store_explicit(&graph->end.refs, 1, memory_order_relaxed);
        atomic_store_explicit(&graph->end.done, 1, memory_order_relaxed);
        syn_engine_count_submitted(engine, -(int64_t)count);
    }
    return rc;
}

/* Whoever announces the end looks at the graph a moment longer than it says so. */
void
syn_engine_graph_settle(struct syn_engine_graph *graph)
{
    syn_worker_help(graph->engine->runtime, &graph->end, NULL, NULL);
    while (atomic_load_explicit(&graph->end.refs, memory_order_acquire) != 1)
        (void)sched_yield();
}

int
syn_engine_graph_wait(struct syn_engine_graph *graph, struct syn_err *err)
{
    int code;

    syn_engine_graph_settle(graph);
    code = atomic_load_explicit(&graph->code, memory_order_relaxed);
    if (code < 0 && err != NULL)
        *err = graph->failure;
    return code;
}

int
syn_engine_graph_run(struct syn_engine_graph *graph, struct syn_err *err)
{
    int rc = syn_engine_graph_start(graph, err);

    return rc < 0 ? rc : syn_engine_graph_wait(graph, err);
}

void
syn_engine_graph_cancel(struct syn_engine_graph *graph)
{
    stop(graph, SYN_E_CANCELED);
}
