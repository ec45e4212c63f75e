/* Earliest finish time on groups of like workers.
 *
 *     push: for every group   end = max(free + work that ranks higher / workers, data there) + time
 *           take the least of  end + weights x (transfer, energy, price, area)
 *     pop:  the group's highest rank; if it has none, what of another group ends sooner here
 *
 * What makes it better than the rule it descends from (dmda's): workers that are alike share one
 * queue, so a task never waits behind one of them while another is free; only work that ranks
 * higher counts as before it; transfers overlap with what runs before and queue on the node's
 * link; and a placement is no promise: an idle worker takes what it would end sooner.
 *
 * Per group the waiting work is kept by rank in BANDS sums, so that "what ranks higher" is a sum
 * over few words and not a walk through a heap. */
#include <string.h>

#include "../sim/area_priv.h"
#include "arrivals_priv.h"
#include "eft_priv.h"

#define BANDS            32
#define LOOK_HEAD        4  /* items of another's queue that a thief looks at, at the head */
#define LOOK_TAIL        12 /* and at the tail, which would wait longest */
#define LOOK_HEAD_ONLINE 2  /* the same when no graph was shown */
#define LOOK_TAIL_ONLINE 4
#define SPEED_UNIT       1024
#define CHECK_EVERY      64 /* ended tasks between two looks at the estimates */
#define DRIFT_PART       16
#define REPLANS_MAX      16U /* a graph */

struct eft_group {
    uint64_t barren_epoch, barren_ns; /* then nothing was worth stealing for it */
    uint64_t free_ns;                 /* when the first of its workers is expected to be free */
    uint64_t queued_ns;               /* waiting, summed */
    uint64_t bands[BANDS];
};

struct eft {
    struct topology topology;
    struct queues queues; /* one a group, then one a worker for tasks bound to it */
    struct eft_policy policy;
    struct eft_group *groups;
    uint64_t *free_ns;                  /* by worker */
    uint64_t epoch;                     /* changes when what waits does */
    uint64_t slowness[SYN_CLASSES_MAX]; /* of its power state, in units of SPEED_UNIT */
    uint64_t busy_mw[SYN_CLASSES_MAX];
    uint8_t turns[SYN_CLASSES_MAX]; /* until a task runs in the slower of two states */
    uint64_t low_key, high_key;     /* the bands divide this range */
    double band_scale;
    uint64_t *ranks; /* by the graph's index; NULL: none was shown */
    uint32_t *kernels;
    uint32_t rank_count;
    uint64_t *after; /* by index: least time from a task's end to the graph's */
    uint64_t begin_ns, shown_ns;
    uint8_t *sides;        /* by index; NULL: the policy has none */
    uint64_t *dues, *ends; /* by index, from shown_ns; NULL: the policy has none */
    struct arrivals arrivals;
    uint64_t pace_ns; /* how long the graph is to take; 0: as short as can be */
    struct syn_graph_view graph;
    struct syn_estimate *believed;     /* by kernel: what the plan was made with */
    const struct syn_estimate **costs; /* by kernel: where the estimates are now */
    uint32_t kernel_count;
    uint32_t checked; /* tasks ended since estimates were last compared */
    uint32_t replans;
    uint32_t *excess; /* kernel x class: time beyond the best split, in ns; NULL: none */
};

static void
forget_graph(struct eft *eft)
{
    syn_free(eft->ranks);
    syn_free(eft->kernels);
    syn_free(eft->after);
    syn_free(eft->excess);
    syn_free(eft->believed);
    syn_free(eft->costs);
    syn_free(eft->dues);
    syn_free(eft->sides);
    syn_free(eft->ends);
    arrivals_fini(&eft->arrivals);
    eft->ranks = eft->after = eft->dues = eft->ends = NULL;
    eft->kernels = eft->excess = NULL;
    eft->sides = NULL;
    eft->believed = NULL;
    eft->costs = NULL;
    eft->rank_count = eft->kernel_count = eft->checked = eft->replans = 0;
    eft->pace_ns = 0;
}

static void
eft_close(void *self)
{
    struct eft *eft = self;

    queues_fini(&eft->queues);
    topology_fini(&eft->topology);
    syn_free(eft->groups);
    syn_free(eft->free_ns);
    forget_graph(eft);
    syn_free(eft);
}

static void
set_states(struct eft *eft)
{
    for (uint32_t c = 0; c < eft->topology.platform->class_count; c++) {
        const struct syn_worker_class *class = &eft->topology.platform->classes[c];
        uint32_t state = eft->policy.states[c];
        uint64_t slower;

        eft->slowness[c] = SPEED_UNIT;
        if (class->state_count == 0)
            continue;
        assert(state < class->state_count);
        eft->slowness[c] = (uint64_t)SPEED_UNIT * 1000 / class->states[state].speed_permille;
        eft->busy_mw[c] = class->states[state].busy_mw;
        if (eft->policy.mix[c] == 0)
            continue;
        assert(state + 1 < class->state_count);
        slower = (uint64_t)SPEED_UNIT * 1000 / class->states[state + 1].speed_permille;
        eft->slowness[c] += (slower - eft->slowness[c]) * eft->policy.mix[c] / EFT_MIX;
    }
}

static int
eft_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts, void **ret_self,
         struct syn_err *err)
{
    struct eft *eft = syn_calloc(1, sizeof(*eft));
    int rc;

    if (eft == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    rc = topology_init(&eft->topology, platform, err);
    if (rc == 0)
        rc = queues_init(&eft->queues, eft->topology.group_count + platform->worker_count, err);
    if (rc == 0) {
        eft->groups = syn_calloc(eft->topology.group_count, sizeof(eft->groups[0]));
        eft->free_ns = syn_calloc(platform->worker_count, sizeof(uint64_t));
        if (eft->groups == NULL || eft->free_ns == NULL)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    }
    if (rc < 0) {
        eft_close(eft);
        return rc;
    }
    if (opts->extra != NULL)
        eft->policy = *(const struct eft_policy *)opts->extra;
    eft->low_key = UINT64_MAX;
    eft->epoch = 1;
    set_states(eft);
    *ret_self = eft;
    return SYN_OK;
}

static uint64_t
key_for(const struct eft *eft, const struct syn_ready *ready)
{
    if (eft->policy.rank == EFT_DEADLINE)
        return ready->deadline_ns != 0 ? UINT64_MAX - ready->deadline_ns : key_of(ready->priority);
    if (eft->ranks != NULL && ready->index < eft->rank_count)
        return eft->ranks[ready->index];
    return key_of(ready->priority);
}

static uint32_t
band_of(const struct eft *eft, uint64_t key)
{
    return (uint32_t)((double)(key - eft->low_key) * eft->band_scale);
}

/* The range of keys has grown: count what waits anew. */
static void
spread_bands(struct eft *eft)
{
    eft->band_scale = (double)(BANDS - 1) / (double)SYN_MAX(eft->high_key - eft->low_key, 1);
    for (uint32_t g = 0; g < eft->topology.group_count; g++) {
        const struct queue *queue = &eft->queues.queues[g];

        memset(eft->groups[g].bands, 0, sizeof(eft->groups[g].bands));
        for (size_t i = 0; i < queue->count; i++)
            eft->groups[g].bands[band_of(eft, queue->items[i].key)] +=
                eft->queues.entries[queue->items[i].entry].ns;
    }
}

static void
widen(struct eft *eft, uint64_t key)
{
    uint64_t reach;

    if (key >= eft->low_key && key <= eft->high_key && eft->low_key <= eft->high_key)
        return;
    eft->low_key = SYN_MIN(eft->low_key, key);
    eft->high_key = SYN_MAX(eft->high_key, key);
    /* Twice as wide as need be, so that slowly growing keys do not widen it at every push. */
    reach = (eft->high_key - eft->low_key) / 2;
    eft->low_key -= SYN_MIN(reach, eft->low_key);
    eft->high_key += SYN_MIN(reach, UINT64_MAX - eft->high_key);
    spread_bands(eft);
}

/* Time that a group's queue keeps its workers busy before a task of this band. */
static uint64_t
wait_ns(const struct eft *eft, uint32_t g, uint32_t band)
{
    const struct eft_group *group = &eft->groups[g];
    uint64_t sum = 0;

    if (group->queued_ns == 0)
        return 0;
    if (eft->policy.fifo_wait || band == 0)
        sum = group->queued_ns;
    else
        for (uint32_t i = band; i < BANDS; i++)
            sum += group->bands[i];
    return eft->topology.groups[g].count == 1 ? sum : sum / eft->topology.groups[g].count;
}

static uint64_t
task_ns(const struct eft *eft, const struct syn_ready *ready, uint32_t class_id)
{
    uint64_t ns = ready_ns(ready, class_id);

    return ns == SYN_NEVER || eft->slowness[class_id] == SPEED_UNIT
               ? ns
               : ns * eft->slowness[class_id] / SPEED_UNIT;
}

/* A task on a group: when it would end, and what it is worth avoiding it. */
struct eft_choice {
    uint32_t group;
    uint64_t ns, move_ns, there_ns, end_ns, score;
};

static uint64_t
weigh(const struct eft *eft, const struct eft_choice *choice)
{
    const struct eft_policy *policy = &eft->policy;
    uint32_t class_id = eft->topology.groups[choice->group].class_id;
    uint64_t score = choice->end_ns;

    if (choice->move_ns != 0)
        score += choice->move_ns * policy->move_permille / 1000;
    if (policy->energy_permille != 0)
        score += (uint64_t)((syn_u128)eft->busy_mw[class_id] * choice->ns *
                            policy->energy_permille / 1000000000U);
    if (policy->price_permille != 0)
        score += (uint64_t)((syn_u128)eft->topology.platform->classes[class_id].price_ns *
                            choice->ns / 1000000000U * policy->price_permille / 1000);
    return score;
}

/* Is it for another class? */
static bool
off_side(const struct eft *eft, const struct syn_ready *ready, uint32_t class_id)
{
    return eft->sides != NULL && ready->index < eft->rank_count &&
           eft->sides[ready->index] != class_id;
}

/* When it would end, and its score, all else being known. False: it cannot. */
static bool
assess(const struct eft *eft, const struct syn_ready *ready, uint32_t band, uint64_t now_ns,
       struct eft_choice *choice)
{
    const struct eft_group *group = &eft->groups[choice->group];
    uint64_t begin;

    if (choice->ns == SYN_NEVER || group->free_ns == UINT64_MAX ||
        off_side(eft, ready, eft->topology.groups[choice->group].class_id))
        return false;
    begin = SYN_MAX(now_ns, group->free_ns) + wait_ns(eft, choice->group, band);
    choice->end_ns = SYN_MAX(begin, choice->there_ns) + choice->ns;
    choice->score = weigh(eft, choice);
    if (eft->policy.drag_permille != 0 && choice->move_ns != 0)
        choice->score +=
            topology_drag_ns(&eft->topology, ready, eft->topology.groups[choice->group].node) *
            eft->policy.drag_permille / 1000;
    return true;
}

/* What a task costs on a group beyond its cheapest class, by the split of the whole work. */
static uint64_t
excess_ns(const struct eft *eft, const struct syn_ready *ready, uint32_t g)
{
    return eft->excess[(size_t)eft->kernels[ready->index] * SYN_CLASSES_MAX +
                       eft->topology.groups[g].class_id];
}

static uint64_t
thrift_cost(const struct eft *eft, const struct eft_choice *choice)
{
    uint32_t class_id = eft->topology.groups[choice->group].class_id;
    const struct syn_worker_class *class = &eft->topology.platform->classes[class_id];

    /* What it draws beyond idling. */
    if (eft->policy.thrift == EFT_ENERGY)
        return (eft->busy_mw[class_id] - SYN_MIN(class->idle_mw, eft->busy_mw[class_id])) *
               (choice->ns >> 10);
    return (uint64_t)((syn_u128) class->price_ns * choice->ns / 1000000000U);
}

/* Is `a` the better choice? With a pace, the cheapest of those that are in time, then the soonest.
 */
static bool
better(const struct eft *eft, const struct syn_ready *ready, const struct eft_choice *a,
       const struct eft_choice *b, uint64_t due_ns)
{
    uint64_t cost_a, cost_b;

    if (b->group == SYN_NO_INDEX)
        return true;
    if (a->end_ns > due_ns || b->end_ns > due_ns)
        return a->score < b->score;
    if (eft->policy.thrift != EFT_NOTHING) {
        cost_a = thrift_cost(eft, a);
        cost_b = thrift_cost(eft, b);
    } else {
        cost_a = excess_ns(eft, ready, a->group);
        cost_b = excess_ns(eft, ready, b->group);
    }
    return cost_a != cost_b ? cost_a < cost_b : a->score < b->score;
}

/* Until when a task may end without making the whole late; 0: it should end as soon as it can. */
static uint64_t
due_of(const struct eft *eft, const struct syn_ready *ready, uint64_t now_ns, uint64_t soonest_ns)
{
    uint64_t after_ns;

    if (eft->dues != NULL && ready->index < eft->rank_count)
        return eft->shown_ns + eft->dues[ready->index];
    if (eft->policy.thrift != EFT_NOTHING)
        return soonest_ns + (soonest_ns - now_ns) / 1000 * eft->policy.slack_permille;
    if (eft->pace_ns == 0 || ready->index >= eft->rank_count)
        return 0;
    after_ns = eft->after[ready->index];
    if (eft->policy.stretch_permille != 0)
        after_ns = after_ns / 1000 * eft->policy.stretch_permille;
    return eft->begin_ns + eft->pace_ns - SYN_MIN(after_ns, eft->pace_ns);
}

/* Does only the score count? */
static bool
is_plain(const struct eft *eft, const struct syn_ready *ready)
{
    return eft->policy.thrift == EFT_NOTHING &&
           (ready->index >= eft->rank_count || (eft->dues == NULL && eft->pace_ns == 0));
}

/* What is known of a task while groups are looked at. */
struct eft_look {
    const struct syn_ready *ready;
    uint64_t *moves;       /* by group, once they are `filled` */
    uint64_t now_ns, here; /* here: bits of nodes where all is that it reads */
    uint32_t band;
    bool found, filled; /* found: some group can */
};

/* True: it is the best so far. */
static __attribute__((noinline)) bool
consider(struct eft *eft, struct eft_look *look, uint32_t g, uint64_t ns, struct eft_choice *best)
{
    struct eft_choice choice = {.group = g, .ns = ns};

    if ((look->here >> eft->topology.groups[g].node & 1) == 0) {
        if (!look->filled)
            topology_moves(&eft->topology, look->ready, look->moves);
        look->filled = true;
        choice.move_ns = look->moves[g];
    }
    choice.there_ns = look->now_ns + choice.move_ns;
    if (!assess(eft, look->ready, look->band, look->now_ns, &choice) ||
        (look->found && choice.score >= best->score))
        return false;
    look->found = true;
    /* One by one: put together in memory and then read as a whole they are waited for. */
    best->group = choice.group;
    best->ns = choice.ns;
    best->move_ns = choice.move_ns;
    best->there_ns = choice.there_ns;
    best->end_ns = choice.end_ns;
    best->score = choice.score;
    return true;
}

/* Of all groups, where only the score counts. Waiting, transfers, weights and power states only add
 * to the time at which a group could end it at the soonest, by which alone most groups lose. */
static __attribute__((noinline)) bool
choose_least(struct eft *eft, const struct syn_ready *ready, uint32_t band, uint64_t now_ns,
             struct eft_choice *ret_best)
{
    uint64_t moves[SYN_PLATFORM_WORKERS_MAX], least = UINT64_MAX;
    struct eft_look look = {ready, moves, now_ns, topology_here(ready), band, false, false};
    const struct strategy_group *at = eft->topology.groups;
    const struct eft_group *group = eft->groups;
    const uint64_t *cost = ready->cost->ns;
    uint32_t count = eft->topology.group_count;

    for (uint32_t g = 0; g < count; g++, at++, group++) {
        uint64_t ns = __atomic_load_n(&cost[at->class_id], __ATOMIC_RELAXED);
        uint64_t begin = SYN_MAX(now_ns, group->free_ns);

        if (begin < least && ns < least - begin &&
            consider(eft, &look, g, task_ns(eft, ready, at->class_id), ret_best))
            least = ret_best->score;
    }
    return look.found;
}

static bool
choose_any(struct eft *eft, const struct syn_ready *ready, uint32_t band, uint64_t now_ns,
           struct eft_choice *ret_best)
{
    struct eft_choice best = {.group = SYN_NO_INDEX}, choices[SYN_PLATFORM_WORKERS_MAX];
    uint64_t moves[SYN_PLATFORM_WORKERS_MAX], theres[SYN_PLATFORM_WORKERS_MAX];
    uint32_t count = 0;
    uint64_t soonest_ns = UINT64_MAX, due_ns;
    bool known = arrivals_known(&eft->arrivals) && ready->index < eft->rank_count;

    if (is_plain(eft, ready) && !known)
        return choose_least(eft, ready, band, now_ns, ret_best);
    if (known)
        arrivals_look(&eft->arrivals, ready, now_ns, moves, theres);
    else
        topology_moves(&eft->topology, ready, moves);
    for (uint32_t g = 0; g < eft->topology.group_count; g++) {
        choices[count] = (struct eft_choice){
            .group = g,
            .ns = task_ns(eft, ready, eft->topology.groups[g].class_id),
            .move_ns = moves[g],
            .there_ns = known ? theres[g] : now_ns + moves[g],
        };
        if (assess(eft, ready, band, now_ns, &choices[count])) {
            soonest_ns = SYN_MIN(soonest_ns, choices[count].end_ns);
            count++;
        }
    }
    if (count == 0)
        return false;
    due_ns = due_of(eft, ready, now_ns, soonest_ns);
    for (uint32_t i = 0; i < count; i++)
        if (better(eft, ready, &choices[i], &best, due_ns))
            best = choices[i];
    *ret_best = best;
    return true;
}

/* Of all groups, or those of its side if one of them can. False: none can. */
static bool
choose(struct eft *eft, const struct syn_ready *ready, uint32_t band, uint64_t now_ns,
       struct eft_choice *ret_best)
{
    uint8_t *sides = eft->sides;
    bool found = choose_any(eft, ready, band, now_ns, ret_best);

    eft->sides = NULL;
    if (!found && sides != NULL) /* its workers are lost */
        found = choose_any(eft, ready, band, now_ns, ret_best);
    eft->sides = sides;
    return found;
}

/* Bound to one worker: wait for it. */
static int
push_bound(struct eft *eft, struct syn_ready *ready, uint64_t key, struct syn_place *ret_place,
           struct syn_err *err)
{
    uint32_t worker = (uint32_t)ready->affinity;
    int rc = topology_can(&eft->topology, ready, err);

    if (rc == 0)
        rc = queues_put(&eft->queues, eft->topology.group_count + worker, key, ready, err);
    if (rc == 0)
        *ret_place =
            (struct syn_place){ready->affinity, eft->topology.platform->workers[worker].node};
    return rc;
}

static int32_t
free_member(const struct eft *eft, uint32_t g)
{
    const struct strategy_group *group = &eft->topology.groups[g];
    uint32_t best = eft->topology.members[group->first];

    for (uint32_t i = 1; i < group->count; i++) {
        uint32_t worker = eft->topology.members[group->first + i];

        if (eft->free_ns[worker] < eft->free_ns[best])
            best = worker;
    }
    return (int32_t)best;
}

static int
eft_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
         struct syn_err *err)
{
    struct eft *eft = self;
    uint64_t key = key_for(eft, ready);
    struct eft_choice best;
    struct queue_entry *entry;
    uint32_t band, node;
    int rc;

    if (ready->affinity >= 0)
        return push_bound(eft, ready, key, ret_place, err);
    widen(eft, key);
    band = band_of(eft, key);
    if (!choose(eft, ready, band, now_ns, &best))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "no worker here can run the task");
    rc = queues_put(&eft->queues, best.group, key, ready, err);
    if (rc < 0)
        return rc;
    entry = queues_find(&eft->queues, ready);
    entry->ns = best.ns;
    entry->aux = best.move_ns;
    node = eft->topology.groups[best.group].node;
    if (arrivals_known(&eft->arrivals) && ready->index < eft->rank_count)
        arrivals_note(&eft->arrivals, ready, node, now_ns);
    eft->epoch++;
    eft->groups[best.group].queued_ns += best.ns;
    eft->groups[best.group].bands[band] += best.ns;
    *ret_place = (struct syn_place){free_member(eft, best.group), (int32_t)node};
    return SYN_OK;
}

static struct syn_ready *
take(struct eft *eft, uint32_t queue, size_t at)
{
    eft->epoch++;
    if (queue < eft->topology.group_count) {
        struct eft_group *group = &eft->groups[queue];
        uint64_t ns = queues_entry(&eft->queues, queue, at)->ns;

        group->queued_ns -= ns;
        group->bands[band_of(eft, eft->queues.queues[queue].items[at].key)] -= ns;
    }
    return queues_take(&eft->queues, queue, at);
}

static void
update_free(struct eft *eft, uint32_t worker, uint64_t free_ns)
{
    uint32_t g = eft->topology.group_of[worker];
    const struct strategy_group *group = &eft->topology.groups[g];
    uint64_t least = UINT64_MAX;

    eft->free_ns[worker] = free_ns;
    for (uint32_t i = 0; i < group->count; i++)
        least = SYN_MIN(least, eft->free_ns[eft->topology.members[group->first + i]]);
    eft->groups[g].free_ns = least;
}

/* A queue as a thief sees it: when its workers are free, and what waits from each band on. */
struct eft_mark {
    uint32_t group;
    uint64_t free_ns;
    uint64_t waits[BANDS];
};

static void
look_at(const struct eft *eft, uint32_t g, uint64_t now_ns, struct eft_mark *mark)
{
    uint64_t sum = 0, count = eft->topology.groups[g].count;

    mark->group = g;
    mark->free_ns = SYN_MAX(now_ns, eft->groups[g].free_ns);
    for (uint32_t i = BANDS; i-- > 0;) {
        sum += eft->groups[g].bands[i];
        mark->waits[i] = count == 1 ? sum : sum / count;
    }
    if (eft->policy.fifo_wait)
        for (uint32_t i = 0; i < BANDS; i++)
            mark->waits[i] = mark->waits[0];
}

/* Where it waits, with the transfers as they were when it was placed; its own time is in what waits
 * from its band on. */
static struct eft_choice
as_placed(const struct eft *eft, const struct eft_mark *mark, const struct queue_item *item,
          const struct queue_entry *entry, uint64_t now_ns)
{
    struct eft_choice theirs = {
        .group = mark->group, .ns = entry->ns, .move_ns = entry->aux, .score = 0};
    uint64_t begin = mark->free_ns + mark->waits[band_of(eft, item->key)];
    uint64_t own = entry->ns;

    if (eft->topology.groups[mark->group].count > 1)
        own /= eft->topology.groups[mark->group].count;
    begin -= SYN_MIN(own, begin);
    theirs.end_ns = SYN_MAX(begin, now_ns + theirs.move_ns) + theirs.ns;
    theirs.score = weigh(eft, &theirs);
    return theirs;
}

/* What a thief makes of this item: 0 if it would not end sooner (weighed) here; else how little
 * longer it takes here than there, in 2^-20ths, so that each takes what it is best at. */
static uint64_t
gain(const struct eft *eft, uint32_t thief_group, const struct eft_mark *mark, size_t at,
     uint64_t now_ns)
{
    const struct queue_item *item = &eft->queues.queues[mark->group].items[at];
    const struct queue_entry *entry = &eft->queues.entries[item->entry];
    const struct strategy_group *here = &eft->topology.groups[thief_group];
    struct eft_choice mine = {.group = thief_group}, theirs;
    uint64_t due_ns = 0;

    mine.ns = task_ns(eft, entry->ready, here->class_id);
    if (mine.ns == SYN_NEVER)
        return 0;
    if (mark->free_ns == UINT64_MAX)
        return UINT64_MAX; /* its workers are lost */
    if (off_side(eft, entry->ready, here->class_id))
        return 0;
    theirs = as_placed(eft, mark, item, entry, now_ns);
    if (eft->dues != NULL && entry->ready->index < eft->rank_count)
        due_ns = due_of(eft, entry->ready, now_ns, 0);
    /* Too late even if its data were here: most of them, and no need to look for their data. */
    if (now_ns + mine.ns >= SYN_MAX(theirs.score, due_ns))
        return 0;
    mine.move_ns = topology_moves_ns(&eft->topology, entry->ready, here->node);
    mine.end_ns = now_ns + mine.move_ns + mine.ns;
    mine.score = weigh(eft, &mine);
    if (eft->policy.drag_permille != 0 && mine.move_ns != 0)
        mine.score += topology_drag_ns(&eft->topology, entry->ready, here->node) *
                      eft->policy.drag_permille / 1000;
    if (mine.end_ns <= due_ns && eft->policy.thrift == EFT_NOTHING)
        return SYN_MAX((entry->ns << 20) / mine.ns, 1);
    if (due_ns != 0 && (mine.end_ns > due_ns || theirs.end_ns <= due_ns) &&
        thrift_cost(eft, &mine) >= thrift_cost(eft, &theirs))
        return 0; /* dearer here, and no need */
    return theirs.score > mine.score ? SYN_MAX((theirs.ns << 20) / mine.ns, 1) : 0;
}

static struct syn_ready *
steal(struct eft *eft, uint32_t worker, uint64_t now_ns, uint8_t *ret_why)
{
    uint32_t own = eft->topology.group_of[worker];
    uint32_t best_group = SYN_NO_INDEX;
    size_t best_at = 0;
    uint64_t most = 0;
    /* With a plan it pays to look at more. */
    size_t head = eft->ranks != NULL ? LOOK_HEAD : LOOK_HEAD_ONLINE;
    size_t tail = eft->ranks != NULL ? LOOK_TAIL : LOOK_TAIL_ONLINE;
    struct eft_mark mark;
    struct eft_group *group = &eft->groups[own];

    if (group->barren_epoch == eft->epoch && group->barren_ns == now_ns) {
        *ret_why = SYN_POP_ELSEWHERE; /* as for its twin, a moment ago */
        return NULL;
    }
    for (uint32_t g = 0; g < eft->topology.group_count; g++) {
        size_t count = eft->queues.queues[g].count;

        if (g == own || count == 0)
            continue;
        *ret_why = SYN_POP_ELSEWHERE;
        if (eft->policy.stay)
            continue;
        look_at(eft, g, now_ns, &mark);
        for (size_t i = 0; i < count; i++) {
            uint64_t value;

            if (i == head && count > head + tail)
                i = count - tail;
            value = gain(eft, own, &mark, i, now_ns);
            if (value > most) {
                most = value;
                best_group = g;
                best_at = i;
            }
        }
    }
    if (best_group != SYN_NO_INDEX)
        return take(eft, best_group, best_at);
    group->barren_epoch = eft->epoch;
    group->barren_ns = now_ns;
    return NULL;
}

/* Which of its own queue a worker takes: the head, or what need not wait for data. */
static size_t
pick(const struct eft *eft, uint32_t g)
{
    const struct queue *queue = &eft->queues.queues[g];
    uint32_t node = eft->topology.groups[g].node;
    size_t count = SYN_MIN(queue->count, eft->policy.near), best = 0;

    for (size_t i = 0; i < count; i++)
        if ((best == 0 || queue->items[i].key > queue->items[best].key) &&
            topology_moves_ns(&eft->topology, queues_entry(&eft->queues, g, i)->ready, node) == 0) {
            if (i == 0)
                return 0;
            best = i;
        }
    return best;
}

static uint64_t
state_ns(const struct eft *eft, const struct syn_ready *ready, uint32_t class_id, uint32_t state)
{
    const struct syn_worker_class *class = &eft->topology.platform->classes[class_id];
    uint64_t ns = ready_ns(ready, class_id);

    return class->state_count == 0 || class->states[state].speed_permille == 1000
               ? ns
               : ns * 1000 / class->states[state].speed_permille;
}

/* The policy's state; or, when it says until when the worker may take, the one with the least
 * energy of those not faster that still ends in time. */
static uint8_t
state_for(struct eft *eft, const struct syn_ready *ready, uint32_t class_id, uint64_t begin_ns)
{
    const struct syn_worker_class *class = &eft->topology.platform->classes[class_id];
    uint64_t end_ns, least = UINT64_MAX;
    uint8_t best = eft->policy.states[class_id];

    eft->turns[class_id] = (uint8_t)(eft->turns[class_id] + eft->policy.mix[class_id]);
    if (eft->turns[class_id] >= EFT_MIX) {
        eft->turns[class_id] = (uint8_t)(eft->turns[class_id] - EFT_MIX);
        best++;
    }
    if (eft->ends == NULL || ready->index >= eft->rank_count)
        return best;
    end_ns = eft->shown_ns + eft->ends[ready->index];
    for (uint8_t s = best; s < class->state_count; s++) {
        uint64_t ns = state_ns(eft, ready, class_id, s), cost;

        if (begin_ns + class->switch_ns + ns > end_ns)
            break; /* the slower ones take longer still */
        cost = (class->states[s].busy_mw - SYN_MIN(class->idle_mw, class->states[s].busy_mw)) *
               (ns >> 10);
        if (cost < least) {
            least = cost;
            best = s;
        }
    }
    return best;
}

static void
eft_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct eft *eft = self;
    uint32_t own = eft->topology.group_of[worker];
    uint32_t bound = eft->topology.group_count + worker;
    const struct queue *shared = &eft->queues.queues[own], *mine = &eft->queues.queues[bound];
    uint32_t class_id = eft->topology.groups[own].class_id;
    uint64_t begin_ns;

    *ret_pop = (struct syn_pop){.why = SYN_POP_EMPTY, .state = eft->policy.states[class_id]};
    if (eft->queues.waiting == 0 || worker_lost(&eft->topology, worker))
        return;
    if (mine->count > 0 && (shared->count == 0 || mine->items[0].key >= shared->items[0].key))
        ret_pop->ready = take(eft, bound, 0);
    else if (shared->count > 0)
        ret_pop->ready = take(eft, own, pick(eft, own));
    else
        ret_pop->ready = steal(eft, worker, now_ns, &ret_pop->why);
    if (ret_pop->ready == NULL)
        return;
    ret_pop->why = SYN_POP_TASK;
    begin_ns =
        now_ns + topology_moves_ns(&eft->topology, ret_pop->ready, eft->topology.groups[own].node);
    ret_pop->state = state_for(eft, ret_pop->ready, class_id, begin_ns);
    update_free(eft, worker, begin_ns + state_ns(eft, ret_pop->ready, class_id, ret_pop->state));
}

static uint64_t
least_ns(const struct eft *eft, const struct syn_ready *ready)
{
    uint64_t least = SYN_NEVER;

    for (uint32_t g = 0; g < eft->topology.group_count; g++)
        least = SYN_MIN(least, task_ns(eft, ready, eft->topology.groups[g].class_id));
    return least == SYN_NEVER ? 0 : least;
}

/* What a task counts for when ranking. */
static uint64_t
rank_ns(const struct eft *eft, const struct syn_ready *ready)
{
    uint64_t least = SYN_NEVER, sum = 0, count = 0;
    double speed = 0, workers = 0;

    for (uint32_t g = 0; g < eft->topology.group_count; g++) {
        uint64_t ns = task_ns(eft, ready, eft->topology.groups[g].class_id);

        if (ns == SYN_NEVER)
            continue;
        least = SYN_MIN(least, ns);
        speed += (double)eft->topology.groups[g].count / (double)SYN_MAX(ns, 1);
        workers += eft->topology.groups[g].count;
    }
    for (uint32_t c = 0; c < eft->topology.platform->class_count; c++) {
        uint64_t ns = task_ns(eft, ready, c);

        if (ns != SYN_NEVER) {
            sum += ns;
            count++;
        }
    }
    if (least == SYN_NEVER || count == 0)
        return 0;
    if (eft->policy.rank == EFT_SIDES && eft->sides != NULL)
        return task_ns(eft, ready, eft->sides[ready->index]);
    if (eft->policy.rank == EFT_WEIGHTED)
        return (uint64_t)(workers / speed);
    return eft->policy.rank == EFT_MEAN ? sum / count : least;
}

static uint64_t
fill_after(struct eft *eft, const struct syn_graph_view *graph)
{
    uint64_t longest = 0;

    for (uint32_t i = graph->task_count; i-- > 0;) {
        eft->after[i] = 0;
        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++)
            eft->after[i] =
                SYN_MAX(eft->after[i],
                        eft->after[graph->succ[j]] + least_ns(eft, &graph->tasks[graph->succ[j]]));
        if (graph->ended == NULL || graph->ended[i] == 0)
            longest = SYN_MAX(longest, eft->after[i] + least_ns(eft, &graph->tasks[i]));
    }
    return longest;
}

static void
fill_ranks(struct eft *eft, const struct syn_graph_view *graph)
{
    for (uint32_t i = graph->task_count; i-- > 0;) {
        uint64_t after = 0;

        for (uint32_t j = graph->succ_first[i]; j < graph->succ_first[i + 1]; j++)
            after = SYN_MAX(after, eft->ranks[graph->succ[j]]);
        eft->ranks[i] = after + rank_ns(eft, &graph->tasks[i]);
    }
}

/* Ranks, the split and the pace, from the estimates as they are now. */
static void
plan_graph(struct eft *eft, uint64_t now_ns)
{
    const struct syn_graph_view *graph = &eft->graph;
    struct area_split split = {
        .kernel_of = eft->kernels, .excess = eft->excess, .costs = eft->costs};
    uint64_t longest;

    if (eft->policy.rank == EFT_MEAN || eft->policy.rank == EFT_LEAST ||
        eft->policy.rank == EFT_WEIGHTED || eft->policy.rank == EFT_SIDES)
        fill_ranks(eft, graph);
    else
        for (uint32_t i = 0; i < graph->task_count; i++)
            eft->ranks[i] = key_of(graph->tasks[i].priority);
    longest = fill_after(eft, graph);
    /* The pace counts from now only if what has ended is known and left out of it. */
    if (eft->replans == 0 || graph->ended != NULL)
        eft->begin_ns = now_ns;
    eft->pace_ns = 0;
    /* Without memory for the split there is no pace, and all else is as it was. */
    if (area_of_graph(eft->topology.platform, graph, &split, NULL) == 0)
        eft->pace_ns = (uint64_t)(SYN_MAX((double)longest, split.ns) *
                                  (double)eft->policy.pace_permille / 1000);
    eft->kernel_count = split.kernels;
    estimates_note(eft->believed, eft->costs, eft->kernel_count);
}

/* What waits is sorted anew by the new ranks. */
static void
rekey(struct eft *eft)
{
    eft->low_key = UINT64_MAX;
    eft->high_key = 0;
    for (uint32_t q = 0; q < eft->queues.count; q++) {
        const struct queue *queue = &eft->queues.queues[q];

        for (size_t i = 0; i < queue->count; i++) {
            uint64_t key = key_for(eft, queues_entry(&eft->queues, q, i)->ready);

            queue->items[i].key = key;
            eft->low_key = SYN_MIN(eft->low_key, key);
            eft->high_key = SYN_MAX(eft->high_key, key);
        }
        queues_sort(&eft->queues, q);
    }
    if (eft->low_key <= eft->high_key)
        spread_bands(eft);
}

static void
eft_done(void *self, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
         uint64_t now_ns)
{
    struct eft *eft = self;

    (void)ready, (void)measured_ns;
    if (!worker_lost(&eft->topology, worker))
        update_free(eft, worker, now_ns);
    if (++eft->checked < CHECK_EVERY)
        return;
    eft->checked = 0;
    if (eft->replans < REPLANS_MAX &&
        estimates_drifted(eft->believed, eft->costs, eft->kernel_count, DRIFT_PART)) {
        eft->replans++;
        plan_graph(eft, now_ns);
        rekey(eft);
    }
}

static bool
eft_cancel(void *self, struct syn_ready *ready)
{
    struct eft *eft = self;
    const struct queue_entry *entry = queues_find(&eft->queues, ready);

    return entry != NULL && take(eft, entry->queue, entry->at) != NULL;
}

static void
eft_lost(void *self, uint32_t worker, bool lost)
{
    struct eft *eft = self;
    uint64_t bit = UINT64_C(1) << (worker % 64);

    eft->topology.lost[worker / 64] = (eft->topology.lost[worker / 64] & ~bit) | (lost ? bit : 0);
    update_free(eft, worker, lost ? UINT64_MAX : 0);
}

static int
eft_graph(void *self, const struct syn_graph_view *graph, uint64_t now_ns, struct syn_err *err)
{
    struct eft *eft = self;
    size_t count = (size_t)graph->task_count + 1;
    bool copied;

    forget_graph(eft);
    copied = column_copy(eft->policy.dues, graph->task_count, sizeof(uint64_t), &eft->dues) &&
             column_copy(eft->policy.ends, graph->task_count, sizeof(uint64_t), &eft->ends) &&
             column_copy(eft->policy.sides, graph->task_count, 1, &eft->sides);
    /* They were that graph's. */
    eft->policy.dues = eft->policy.ends = NULL;
    eft->policy.sides = NULL;
    if (graph->task_count == 0) { /* as before any */
        forget_graph(eft);
        rekey(eft);
        return SYN_OK;
    }
    eft->ranks = syn_calloc(count, sizeof(uint64_t));
    eft->after = syn_calloc(count, sizeof(uint64_t));
    eft->kernels = syn_calloc(count, sizeof(uint32_t));
    eft->excess = syn_calloc((size_t)AREA_KERNELS_MAX * SYN_CLASSES_MAX, sizeof(uint32_t));
    eft->believed = syn_calloc(AREA_KERNELS_MAX, sizeof(eft->believed[0]));
    eft->costs = syn_calloc(AREA_KERNELS_MAX, sizeof(struct syn_estimate *));
    if (eft->ranks == NULL || eft->after == NULL || eft->kernels == NULL || eft->excess == NULL ||
        eft->believed == NULL || eft->costs == NULL || !copied) {
        forget_graph(eft);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a plan of %u tasks",
                        graph->task_count);
    }
    arrivals_init(&eft->arrivals, &eft->topology, graph->handle_count);
    eft->graph = *graph;
    eft->rank_count = graph->task_count;
    eft->shown_ns = now_ns;
    plan_graph(eft, now_ns);
    rekey(eft);
    return SYN_OK;
}

void
eft_retune(void *self, const struct eft_policy *policy, const struct syn_graph_view *graph,
           uint64_t now_ns)
{
    struct eft *eft = self;

    eft->policy = *policy;
    set_states(eft);
    /* Without memory for the plan it goes by priorities. */
    if (eft_graph(eft, graph, now_ns, NULL) < 0)
        rekey(eft);
}

const struct syn_strategy_ops eft_ops = {
    .version = SYN_STRATEGY_VERSION,
    .name = "eft",
    .summary = "earliest finish time",
    .open = eft_open,
    .close = eft_close,
    .push = eft_push,
    .pop = eft_pop,
    .done = eft_done,
    .cancel = eft_cancel,
    .graph = eft_graph,
    .lost = eft_lost,
};
