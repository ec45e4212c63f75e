/* heft, latency, energy and cost: the engine of eft.c, or a rule of peers.c, under a policy.
 *
 * Without a graph each has a fixed policy. Shown a graph, heft, energy and cost rehearse it
 * (rehearse.c) with the estimates as they are, and keep the policy that does best. It is a policy
 * and not a schedule, so when tasks take longer or shorter than believed, nothing that was planned
 * is wrong. When estimates turn out to have been off, what is left is rehearsed again. */
#include <string.h>

#include "../sim/area_priv.h"
#include "rehearse_priv.h"

#define PLAN_TASK_NS       300U    /* ranks and the split of a graph, a task */
#define REHEARSE_TASK_NS   200000U /* the fewest rehearsals of one choice, a task */
#define REHEARSE_TASKS_MAX 200000U /* a larger graph gets the first candidate without rehearsal */
#define SLOWDOWN_PERMILLE  30U
/* Ended tasks when estimates are first compared with what was believed. */
#define LOOK_FIRST      32U
#define LOOKS           10U /* from then on twice as many each time, but so many in all at least */
#define LOOK_TASK_NS    10000U /* what a look takes, roughly, a task that is left */
#define LOOK_PART       20U    /* of what is left of the run it may take */
#define BEHIND_PERMILLE 10U
#define DRIFT_PART      12
#define MARGIN_PERMILLE 20U /* energy, cost: of the time, kept in hand for tasks that vary */

struct tuned {
    const struct syn_platform *platform;
    struct syn_strategy_opts opts;
    enum goal goal;
    uint32_t slowdown_permille;
    struct candidate opened; /* when no graph has been shown */
    struct candidate chosen;
    void *inner;
    size_t waiting; /* tasks that `inner` holds */
    /* The graph that runs, if one was shown and rehearsed; else all NULL and 0. */
    struct syn_graph_view graph;
    struct syn_ready **held; /* by index: waiting in `inner` */
    uint8_t *ended;          /* by index */
    uint32_t ended_count, next_look;
    struct stage stage;
    uint64_t chosen_ns;            /* since when the rule that runs does */
    uint64_t now_ns;               /* while tasks move from one rule to another */
    uint64_t limit_ns;             /* energy, cost: when it is to have ended */
    uint64_t expected_ns;          /* when it should end by the last rehearsal */
    struct syn_estimate *believed; /* by kernel: at the last rehearsal */
    const struct syn_estimate **costs;
    uint32_t kernel_count;
    bool lost[SYN_PLATFORM_WORKERS_MAX];
    struct sim_busy busy[SYN_PLATFORM_WORKERS_MAX]; /* what of the graph each worker is at, */
    uint64_t since_ns[SYN_PLATFORM_WORKERS_MAX];    /* since when */
};

static void
forget(struct tuned *tuned)
{
    syn_free(tuned->held);
    syn_free(tuned->ended);
    syn_free(tuned->believed);
    syn_free(tuned->costs);
    stage_fini(&tuned->stage);
    tuned->chosen.policy.dues = tuned->chosen.policy.ends = NULL;
    tuned->chosen.policy.sides = NULL;
    tuned->held = NULL;
    tuned->ended = NULL;
    tuned->believed = NULL;
    tuned->costs = NULL;
    tuned->graph = (struct syn_graph_view){0};
    for (uint32_t w = 0; w < tuned->platform->worker_count; w++)
        tuned->busy[w].task = SYN_NO_INDEX;
    tuned->ended_count = tuned->kernel_count = 0;
}

static void
tuned_close(void *self)
{
    struct tuned *tuned = self;

    if (tuned->inner != NULL)
        tuned->chosen.ops->close(tuned->inner);
    forget(tuned);
    syn_free(tuned);
}

/* From now on by this rule. On failure the old one stays. */
static int
adopt(struct tuned *tuned, const struct candidate *candidate, struct syn_err *err)
{
    struct syn_strategy_opts opts = tuned->opts;
    void *inner = NULL;
    int rc;

    opts.extra = &candidate->policy;
    rc = candidate->ops->open(tuned->platform, &opts, &inner, err);
    if (rc < 0)
        return rc;
    if (tuned->inner != NULL)
        tuned->chosen.ops->close(tuned->inner);
    tuned->chosen = *candidate;
    tuned->inner = inner;
    for (uint32_t w = 0; w < tuned->platform->worker_count; w++)
        if (tuned->lost[w])
            candidate->ops->lost(inner, w, true);
    return SYN_OK;
}

static int
tuned_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
           enum goal goal, const struct eft_policy *policy, void **ret_self, struct syn_err *err)
{
    struct candidate candidate = {&eft_ops, *policy};
    struct tuned *tuned = syn_calloc(1, sizeof(*tuned));
    int rc;

    if (tuned == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    tuned->platform = platform;
    tuned->opts = *opts;
    tuned->opts.gamma_permille = 0;
    tuned->goal = goal;
    tuned->slowdown_permille =
        opts->slowdown_permille != 0 ? opts->slowdown_permille : SLOWDOWN_PERMILLE;
    tuned->opened = candidate;
    rc = adopt(tuned, &candidate, err);
    if (rc < 0) {
        tuned_close(tuned);
        return rc;
    }
    *ret_self = tuned;
    return SYN_OK;
}

static int
heft_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
          void **ret_self, struct syn_err *err)
{
    static const struct eft_policy policy = {.rank = EFT_PRIORITY, .move_permille = 1000};

    return tuned_open(platform, opts, GOAL_TIME, &policy, ret_self, err);
}

static int
latency_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
             void **ret_self, struct syn_err *err)
{
    static const struct eft_policy policy = {.rank = EFT_DEADLINE, .move_permille = 1000};

    return tuned_open(platform, opts, GOAL_TIME, &policy, ret_self, err);
}

/* Without a graph: what costs less is taken if it ends no later than `slowdown` allows. */
static int
energy_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
            void **ret_self, struct syn_err *err)
{
    struct eft_policy policy = {.rank = EFT_PRIORITY, .move_permille = 1000};

    policy.thrift = EFT_ENERGY;
    policy.slack_permille =
        opts->slowdown_permille != 0 ? opts->slowdown_permille : SLOWDOWN_PERMILLE;
    return tuned_open(platform, opts, GOAL_ENERGY, &policy, ret_self, err);
}

static int
cost_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
          void **ret_self, struct syn_err *err)
{
    struct eft_policy policy = {.rank = EFT_PRIORITY, .move_permille = 1000};

    policy.thrift = EFT_PRICE;
    policy.slack_permille =
        opts->slowdown_permille != 0 ? opts->slowdown_permille : SLOWDOWN_PERMILLE;
    return tuned_open(platform, opts, GOAL_PRICE, &policy, ret_self, err);
}

static int
tuned_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
           struct syn_err *err)
{
    struct tuned *tuned = self;
    int rc = tuned->chosen.ops->push(tuned->inner, ready, now_ns, ret_place, err);

    if (rc < 0)
        return rc;
    tuned->waiting++;
    if (tuned->held != NULL && ready->index < tuned->graph.task_count)
        tuned->held[ready->index] = ready;
    return rc;
}

static void
tuned_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct tuned *tuned = self;

    tuned->chosen.ops->pop(tuned->inner, worker, now_ns, ret_pop);
    if (ret_pop->ready == NULL)
        return;
    tuned->waiting--;
    if (tuned->held == NULL || ret_pop->ready->index >= tuned->graph.task_count)
        return;
    tuned->held[ret_pop->ready->index] = NULL;
    tuned->busy[worker].task = ret_pop->ready->index;
    tuned->since_ns[worker] = now_ns;
}

static bool
tuned_cancel(void *self, struct syn_ready *ready)
{
    struct tuned *tuned = self;
    bool here = tuned->chosen.ops->cancel(tuned->inner, ready);

    tuned->waiting -= here;
    if (here && tuned->held != NULL && ready->index < tuned->graph.task_count)
        tuned->held[ready->index] = NULL;
    return here;
}

static void
tuned_lost(void *self, uint32_t worker, bool lost)
{
    struct tuned *tuned = self;

    tuned->lost[worker] = lost;
    tuned->chosen.ops->lost(tuned->inner, worker, lost);
}

/* What each worker is at, for rehearsals that begin now. */
static void
note_busy(struct tuned *tuned, uint64_t now_ns)
{
    for (uint32_t w = 0; w < tuned->platform->worker_count; w++)
        tuned->busy[w].spent_ns = now_ns - SYN_MIN(tuned->since_ns[w], now_ns);
    tuned->stage.busy = tuned->busy;
}

/* The best policy for what is left of the graph, and what it was chosen on. */
static void
select_policy(struct tuned *tuned, uint64_t now_ns, struct candidate *best)
{
    uint64_t least_ns = stage_fastest(&tuned->stage, tuned->ended_count > 0 ? &tuned->chosen : NULL,
                                      tuned->goal == GOAL_TIME, now_ns - tuned->chosen_ns, best);
    uint64_t left_ns;

    estimates_note(tuned->believed, tuned->costs, tuned->kernel_count);
    tuned->expected_ns = now_ns + least_ns;
    if (tuned->goal == GOAL_TIME || least_ns == 0)
        return;
    if (tuned->limit_ns == 0 && tuned->opts.deadline_ns != 0)
        tuned->limit_ns = now_ns + tuned->opts.deadline_ns;
    else if (tuned->limit_ns == 0)
        tuned->limit_ns = now_ns + least_ns + least_ns / 1000 * tuned->slowdown_permille;
    /* Late already: the fastest, and what it saves is what there is to save. */
    left_ns = tuned->limit_ns - SYN_MIN(now_ns, tuned->limit_ns);
    left_ns -= left_ns / 1000 * MARGIN_PERMILLE;
    if (left_ns > least_ns)
        stage_economise(&tuned->stage, tuned->ended_count > 0, left_ns, best);
}

/* Which tables of estimates the graph uses: those that matter are few and met soon. */
static void
note_costs(struct tuned *tuned)
{
    for (uint32_t i = 0; i < tuned->graph.task_count; i++) {
        const struct syn_estimate *cost = tuned->graph.tasks[i].cost;
        uint32_t k = 0;

        while (k < tuned->kernel_count && tuned->costs[k] != cost)
            k++;
        if (k == tuned->kernel_count && k < AREA_KERNELS_MAX)
            tuned->costs[tuned->kernel_count++] = cost;
    }
}

static bool
remember(struct tuned *tuned, const struct syn_graph_view *graph)
{
    size_t count = (size_t)graph->task_count + 1;

    forget(tuned);
    tuned->held = syn_calloc(count, sizeof(struct syn_ready *));
    tuned->ended = syn_calloc(count, 1);
    tuned->believed = syn_calloc(AREA_KERNELS_MAX, sizeof(tuned->believed[0]));
    tuned->costs = syn_calloc(AREA_KERNELS_MAX, sizeof(struct syn_estimate *));
    if (tuned->held == NULL || tuned->ended == NULL || tuned->believed == NULL ||
        tuned->costs == NULL) {
        forget(tuned);
        return false;
    }
    tuned->graph = *graph;
    if (graph->ended != NULL)
        memcpy(tuned->ended, graph->ended, graph->task_count);
    tuned->graph.ended = tuned->ended;
    if (stage_init(&tuned->stage, tuned->platform, &tuned->graph, NULL) < 0) {
        forget(tuned);
        return false;
    }
    tuned->stage.goal = tuned->goal;
    tuned->stage.seed = tuned->opts.seed;
    tuned->limit_ns = 0;
    tuned->next_look = LOOK_FIRST;
    note_costs(tuned);
    return true;
}

/* Is there time for what takes so long a task? */
static bool
pays(const struct syn_graph_view *graph, uint64_t task_ns)
{
    return graph->patience_ns == 0 || graph->task_count <= graph->patience_ns / task_ns;
}

static int
tuned_graph(void *self, const struct syn_graph_view *graph, uint64_t now_ns, struct syn_err *err)
{
    struct tuned *tuned = self;
    static const uint32_t no_edges[1] = {0};
    static const struct syn_graph_view none = {.succ_first = no_edges, .succ = no_edges};
    struct candidate best = *stage_default();
    int rc = SYN_OK;

    forget(tuned);
    if (!pays(graph, PLAN_TASK_NS))
        graph = &none;
    if (graph->task_count == 0)
        best = tuned->opened;
    if (tuned->waiting == 0 && tuned->chosen.policy.rank != EFT_DEADLINE) {
        if (graph->task_count > 0 && graph->task_count <= REHEARSE_TASKS_MAX &&
            pays(graph, REHEARSE_TASK_NS)) {
            if (!remember(tuned, graph))
                return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a rehearsal");
            graph = &tuned->graph;
            select_policy(tuned, now_ns, &best);
        }
        rc = adopt(tuned, &best, err);
        tuned->chosen_ns = now_ns;
    }
    if (rc == 0 && tuned->chosen.ops->graph != NULL)
        rc = tuned->chosen.ops->graph(tuned->inner, graph, now_ns, err);
    return rc;
}

/* Move what waits from one rule to another. Returns the index at which memory ran out, or the
 * number of tasks; what was not moved is still with `from`. */
static uint32_t
move_waiting(struct tuned *tuned, const struct candidate *from, void *from_self,
             const struct candidate *to, void *to_self, uint32_t count)
{
    struct syn_place place;

    for (uint32_t i = 0; i < count; i++) {
        struct syn_ready *ready = tuned->held[i];

        if (ready == NULL || !from->ops->cancel(from_self, ready))
            continue;
        if (to->ops->push(to_self, ready, tuned->now_ns, &place, NULL) < 0) {
            /* Its entry and its place were freed a moment ago. */
            int rc = from->ops->push(from_self, ready, tuned->now_ns, &place, NULL);

            assert(rc == 0);
            (void)rc;
            return i;
        }
    }
    return count;
}

/* Exchange the rule while tasks wait: all move over, or none. */
static void
switch_to(struct tuned *tuned, const struct candidate *candidate, uint64_t now_ns)
{
    struct candidate old = tuned->chosen;
    void *old_self;
    uint32_t count = tuned->graph.task_count, moved;

    if (candidate->ops == &eft_ops && old.ops == &eft_ops) {
        /* What waits stays where its data were sent; who is free takes it if it is better there. */
        eft_retune(tuned->inner, &candidate->policy, &tuned->graph, now_ns);
        tuned->chosen = *candidate;
        tuned->chosen_ns = now_ns;
        return;
    }
    old_self = SYN_TAKE(tuned->inner);
    if (adopt(tuned, candidate, NULL) < 0) {
        tuned->inner = old_self;
        return;
    }
    tuned->now_ns = tuned->chosen_ns = now_ns;
    if (candidate->ops->graph != NULL)
        (void)candidate->ops->graph(tuned->inner, &tuned->graph, now_ns, NULL);
    moved = move_waiting(tuned, &old, old_self, candidate, tuned->inner, count);
    if (moved == count) {
        old.ops->close(old_self);
        return;
    }
    (void)move_waiting(tuned, candidate, tuned->inner, &old, old_self, moved);
    candidate->ops->close(tuned->inner);
    tuned->chosen = old;
    tuned->inner = old_self;
}

/* Does it take longer than was expected, though the estimates were right? Chance does that, and who
 * knows where it stands may do better than who goes on. Not asked where the answer would take
 * longer than a small part of what is left. */
static bool
behind(struct tuned *tuned, uint64_t now_ns)
{
    uint64_t ahead_ns = tuned->expected_ns - SYN_MIN(now_ns, tuned->expected_ns);
    uint64_t look_ns = (uint64_t)(tuned->graph.task_count - tuned->ended_count) * LOOK_TASK_NS;
    uint64_t margin_ns = (tuned->expected_ns - tuned->chosen_ns) / 1000 * BEHIND_PERMILLE;
    uint64_t left_ns;

    if (look_ns > ahead_ns / LOOK_PART)
        return false;
    left_ns = stage_expect(&tuned->stage, &tuned->chosen, now_ns - tuned->chosen_ns);
    return left_ns != 0 && now_ns + left_ns > tuned->expected_ns + margin_ns;
}

/* Estimates that were far off when the graph began are better now: rehearse what is left of it. */
static void
look_again(struct tuned *tuned, uint64_t now_ns)
{
    struct candidate best = tuned->chosen;
    uint32_t step = SYN_MAX(tuned->graph.task_count / LOOKS, LOOK_FIRST);

    tuned->next_look = tuned->ended_count + SYN_MIN(tuned->ended_count, step);
    note_busy(tuned, now_ns);
    /* Who has a limit to keep looks whether he does, too. */
    if (tuned->goal == GOAL_TIME &&
        !estimates_drifted(tuned->believed, tuned->costs, tuned->kernel_count, DRIFT_PART) &&
        !behind(tuned, now_ns))
        return;
    select_policy(tuned, now_ns, &best);
    if (!candidate_same(&best, &tuned->chosen))
        switch_to(tuned, &best, now_ns);
}

static void
tuned_done(void *self, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
           uint64_t now_ns)
{
    struct tuned *tuned = self;

    tuned->chosen.ops->done(tuned->inner, worker, ready, measured_ns, now_ns);
    if (tuned->ended == NULL || ready->index >= tuned->graph.task_count)
        return;
    tuned->ended[ready->index] = 1;
    if (tuned->busy[worker].task == ready->index)
        tuned->busy[worker].task = SYN_NO_INDEX;
    if (++tuned->ended_count >= tuned->next_look)
        look_again(tuned, now_ns);
}

#define TUNED(its_name, its_summary, its_open)                                                \
    {                                                                                         \
        .version = SYN_STRATEGY_VERSION, .name = (its_name), .summary = (its_summary),        \
        .open = (its_open), .close = tuned_close, .push = tuned_push, .pop = tuned_pop,       \
        .done = tuned_done, .cancel = tuned_cancel, .graph = tuned_graph, .lost = tuned_lost, \
    }

const struct syn_strategy_ops strategy_heft =
    TUNED("heft", "where it ends first, by learnt times and transfers", heft_open);
const struct syn_strategy_ops strategy_latency =
    TUNED("latency", "what is due first, where it ends first", latency_open);
const struct syn_strategy_ops strategy_energy =
    TUNED("energy", "fewest joules within a bound on the time", energy_open);
const struct syn_strategy_ops strategy_cost =
    TUNED("cost", "least price within a bound on the time", cost_open);
