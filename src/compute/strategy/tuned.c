/* heft, latency, energy and cost: the engine of eft.c, or a rule of peers.c, under a policy.
 *
 * Without a graph each has a fixed policy. Shown a graph, heft, energy and cost rehearse: they run
 * it on the modelled platform under a dozen policies, with the estimates as they are, and keep the
 * one that does best. What is kept is a policy and not a schedule, so when tasks take longer or
 * shorter than believed, nothing that was planned is wrong. No single rule is good at everything:
 * where transfers rule, a task must stay where it was put; where the area rules, cheap classes must
 * take what they are comparatively good at; where the critical path rules, neither. dmdas itself is
 * among the candidates: whatever it does well, it is there to be chosen.
 *
 * energy and cost begin with heft's answer and make the run cheaper step by step, slower power
 * states and dearer joules or seconds, as long as the rehearsal meets the deadline.
 *
 * Refused: an insertion-based static schedule (HEFT as published, Topcuoglu, Hariri, Wu, TPDS
 * 2002). It needs the links' future, and one late task moves everything behind it. */
#include <string.h>

#include "../sim/area_priv.h"
#include "../sim/sim_priv.h"
#include "eft_priv.h"

#define REHEARSE_TASKS_MAX 200000U /* a larger graph gets the first candidate without rehearsal */
#define SLOWDOWN_PERMILLE  30U
#define STEPS_MAX          48U /* accepted steps of energy and cost */
/* Ended tasks when estimates are first compared with what was believed. */
#define LOOK_FIRST      48U
#define LOOK_GROWTH     3U
#define DRIFT_PART      20
#define MARGIN_PERMILLE 15U /* energy, cost: of the time, kept in hand for tasks that vary */
#define SWITCH_PERMILLE 20U

enum goal { GOAL_TIME, GOAL_ENERGY, GOAL_PRICE };

struct candidate {
    const struct syn_strategy_ops *ops;
    struct eft_policy policy;
};

static bool
same_candidate(const struct candidate *a, const struct candidate *b)
{
    const struct eft_policy *p = &a->policy, *q = &b->policy;

    return a->ops == b->ops && p->rank == q->rank && p->move_permille == q->move_permille &&
           p->pace_permille == q->pace_permille && p->energy_permille == q->energy_permille &&
           p->price_permille == q->price_permille && p->thrift == q->thrift &&
           p->slack_permille == q->slack_permille && p->fifo_wait == q->fifo_wait &&
           p->stay == q->stay && memcmp(p->states, q->states, sizeof(p->states)) == 0;
}

/* clang-format off */
static const struct candidate candidates[] = {
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1000}},
    {&strategy_dmdas, {.rank = EFT_PRIORITY}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000, .fifo_wait = true, .stay = true}},
    {&eft_ops, {.rank = EFT_LEAST, .move_permille = 1000, .pace_permille = 1000}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000, .pace_permille = 1000}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1100}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 300, .pace_permille = 1100}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .fifo_wait = true}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 4000, .fifo_wait = true}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 4000, .pace_permille = 1000, .stay = true}},
    {&eft_ops, {.rank = EFT_LEAST, .move_permille = 1000}},
    {&strategy_heteroprio, {.rank = EFT_PRIORITY}},
};
/* clang-format on */

struct tuned {
    const struct syn_platform *platform;
    struct syn_strategy_opts opts;
    enum goal goal;
    uint32_t slowdown_permille;
    struct candidate chosen;
    void *inner;
    size_t waiting; /* tasks that `inner` holds */
    /* The graph that runs, if one was shown and rehearsed; else all NULL and 0. */
    struct syn_graph_view graph;
    struct syn_ready **held; /* by index: waiting in `inner` */
    uint8_t *ended;          /* by index */
    uint32_t ended_count, next_look;
    uint64_t now_ns;               /* while tasks move from one rule to another */
    uint64_t limit_ns;             /* energy, cost: when it is to have ended */
    struct syn_estimate *believed; /* by kernel: at the last rehearsal */
    const struct syn_estimate **costs;
    uint32_t kernel_count;
    bool lost[SYN_PLATFORM_WORKERS_MAX];
};

static void
forget(struct tuned *tuned)
{
    syn_free(tuned->held);
    syn_free(tuned->ended);
    syn_free(tuned->believed);
    syn_free(tuned->costs);
    tuned->held = NULL;
    tuned->ended = NULL;
    tuned->believed = NULL;
    tuned->costs = NULL;
    tuned->graph = (struct syn_graph_view){0};
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
    if (tuned->held != NULL && ret_pop->ready->index < tuned->graph.task_count)
        tuned->held[ret_pop->ready->index] = NULL;
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

/* Run the graph as it is believed to be. False: it takes longer than `limit_ns`, or no memory. */
static bool
rehearse(const struct tuned *tuned, const struct syn_graph_view *graph,
         const struct candidate *candidate, uint64_t limit_ns, struct syn_plan_result *ret_result)
{
    struct sim_setup setup = {
        .platform = tuned->platform,
        .graph = graph,
        .strategy = candidate->ops,
        .give_graph = true,
        .give_up_ns = limit_ns,
        .strategy_opts = {.extra = &candidate->policy, .seed = tuned->opts.seed},
    };

    return sim_run(&setup, ret_result, NULL) == 0;
}

static uint64_t
objective(const struct tuned *tuned, const struct syn_plan_result *result)
{
    if (tuned->goal == GOAL_ENERGY)
        return result->energy_uj;
    return tuned->goal == GOAL_PRICE ? result->price : result->makespan_ns;
}

/* The fastest candidate; *best itself unless another is faster by SWITCH_PERMILLE. Returns how long
 * it takes; 0: none could be rehearsed. */
static uint64_t
fastest(const struct tuned *tuned, const struct syn_graph_view *graph, struct candidate *best)
{
    struct syn_plan_result result;
    uint64_t least_ns = 0;

    if (tuned->ended_count > 0 && tuned->goal == GOAL_TIME &&
        rehearse(tuned, graph, best, 0, &result))
        least_ns = result.makespan_ns - result.makespan_ns / 1000 * SWITCH_PERMILLE;
    for (size_t i = 0; i < SYN_LEN(candidates); i++)
        if (rehearse(tuned, graph, &candidates[i], least_ns, &result) &&
            (least_ns == 0 || result.makespan_ns < least_ns)) {
            least_ns = result.makespan_ns;
            *best = candidates[i];
        }
    return least_ns;
}

/* One change to a policy; false: there is no such change to this one. */
static bool
change(const struct tuned *tuned, struct eft_policy *policy, uint32_t step)
{
    uint32_t classes = tuned->platform->class_count;
    uint32_t *weight =
        tuned->goal == GOAL_ENERGY ? &policy->energy_permille : &policy->price_permille;

    if (step < classes) { /* the next slower state */
        if (policy->states[step] + 1U >= tuned->platform->classes[step].state_count)
            return false;
        policy->states[step]++;
        return true;
    }
    switch (step - classes) {
    case 0:
        *weight = *weight == 0 ? 100 : *weight * 4;
        return *weight <= 1000000;
    case 1: /* time to spare lets cheap classes have what they are good at */
        policy->pace_permille += policy->pace_permille == 0 ? 1000 : 50;
        return policy->pace_permille <= 2000;
    default:
        return false;
    }
}

/* Make the run cheaper within the limit, each time by the change that saves most. */
static void
economise(const struct tuned *tuned, const struct syn_graph_view *graph, uint64_t limit_ns,
          struct candidate *best)
{
    struct syn_plan_result result;
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < SYN_LEN(candidates); i++) /* the cheapest that is in time */
        if (candidates[i].ops == &eft_ops &&
            rehearse(tuned, graph, &candidates[i], limit_ns, &result) &&
            objective(tuned, &result) < least) {
            least = objective(tuned, &result);
            *best = candidates[i];
        }
    for (uint32_t round = 0; round < STEPS_MAX && least != UINT64_MAX; round++) {
        struct candidate next = *best;

        for (uint32_t step = 0; step < tuned->platform->class_count + 2; step++) {
            struct candidate tried = *best;

            if (change(tuned, &tried.policy, step) &&
                rehearse(tuned, graph, &tried, limit_ns, &result) &&
                objective(tuned, &result) < least) {
                least = objective(tuned, &result);
                next = tried;
            }
        }
        if (same_candidate(&next, best))
            return;
        *best = next;
    }
}

/* The best policy for what is left of the graph, and what it was chosen on. */
static void
select_policy(struct tuned *tuned, uint64_t now_ns, struct candidate *best)
{
    uint64_t least_ns = fastest(tuned, &tuned->graph, best);
    uint64_t left_ns;

    for (uint32_t k = 0; k < tuned->kernel_count; k++)
        for (uint32_t c = 0; c < SYN_CLASSES_MAX; c++)
            tuned->believed[k].ns[c] = __atomic_load_n(&tuned->costs[k]->ns[c], __ATOMIC_RELAXED);
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
        economise(tuned, &tuned->graph, left_ns, best);
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
    tuned->limit_ns = 0;
    tuned->next_look = LOOK_FIRST;
    note_costs(tuned);
    return true;
}

static int
tuned_graph(void *self, const struct syn_graph_view *graph, uint64_t now_ns, struct syn_err *err)
{
    struct tuned *tuned = self;
    struct candidate best = candidates[0];
    int rc = SYN_OK;

    forget(tuned);
    if (tuned->waiting == 0 && tuned->chosen.policy.rank != EFT_DEADLINE) {
        if (graph->task_count <= REHEARSE_TASKS_MAX) {
            if (!remember(tuned, graph))
                return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a rehearsal");
            graph = &tuned->graph;
            select_policy(tuned, now_ns, &best);
        }
        rc = adopt(tuned, &best, err);
    }
    if (rc == 0 && tuned->chosen.ops->graph != NULL)
        rc = tuned->chosen.ops->graph(tuned->inner, graph, now_ns, err);
    return rc;
}

static bool
drifted(const struct tuned *tuned)
{
    for (uint32_t k = 0; k < tuned->kernel_count; k++)
        for (uint32_t c = 0; c < tuned->platform->class_count; c++) {
            uint64_t old = tuned->believed[k].ns[c];
            uint64_t new = __atomic_load_n(&tuned->costs[k]->ns[c], __ATOMIC_RELAXED);

            if ((new > old ? new - old : old - new) > old / DRIFT_PART)
                return true;
        }
    return false;
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
    void *old_self = SYN_TAKE(tuned->inner);
    uint32_t count = tuned->graph.task_count, moved;

    if (adopt(tuned, candidate, NULL) < 0) {
        tuned->inner = old_self;
        return;
    }
    tuned->now_ns = now_ns;
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

/* Estimates that were far off when the graph began are better now: rehearse what is left of it. */
static void
look_again(struct tuned *tuned, uint64_t now_ns)
{
    struct candidate best = tuned->chosen;

    tuned->next_look = tuned->ended_count * LOOK_GROWTH;
    if (!drifted(tuned))
        return;
    select_policy(tuned, now_ns, &best);
    if (!same_candidate(&best, &tuned->chosen))
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
