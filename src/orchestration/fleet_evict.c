/* Making room: preemption, drained nodes, lost nodes.
 *
 * Preemption looks at every node for the set of lower-priority requests whose end would let the
 * member in: fewest instances first (a gang counts whole, since it cannot go on in part), then
 * lowest priorities, then least work lost. Sets are tried by size, so that the first that fits
 * bounds the rest; a node with more than EXACT_MAX such requests is given only its cheapest ones.
 * All of it is taken back when not every member finds room. */
#include "fleet_priv.h"

#include <inttypes.h>
#include <stdio.h>

#include <synor/base/mem.h>

#define EXACT_MAX   12
#define ADVICE_SIZE (64 + SYN_FLEET_NAME_MAX + EXACT_MAX * 21) /* a key has up to 20 digits */

struct cost {
    int64_t instances;
    int64_t priority;
    int64_t work_ms;
};

struct victim {
    uint32_t request;
    struct cost cost;
};

struct plan {
    uint32_t node; /* NONE: none found */
    struct cost cost;
    uint32_t requests[EXACT_MAX];
    uint32_t count;
};

struct was {
    uint32_t at;
    struct instance instance;
};

/* What was done for one request, so that it can be undone. */
struct deed {
    LIST(struct was) taken;
    LIST(uint32_t) placed;
};

static bool
cheaper(const struct cost *a, const struct cost *b)
{
    if (a->instances != b->instances)
        return a->instances < b->instances;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    return a->work_ms < b->work_ms;
}

/* Would the ask's own limits change with this one gone? Then it is no victim. */
static bool
bears_on(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
         const struct request *request)
{
    uint32_t group = fleet->shapes.items[request->shape].ask.group;

    return group != 0 && (group == ask->with || (ask->even != 0 && group == ask->group));
}

/* The cheapest EXACT_MAX requests of lower priority on the node, in order. */
static uint32_t
victims_of(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
           int32_t priority, struct victim *victims)
{
    uint32_t count = 0;

    for (uint32_t i = node->first; i != NONE; i = fleet->instances.items[i].next) {
        uint32_t at = fleet->instances.items[i].request, known = 0;
        const struct request *request = &fleet->requests.items[at];
        struct victim one = {at,
                             {request->placed, (int64_t)request->priority - INT32_MIN,
                              fleet->now_ms - request->started_ms}};

        while (known < count && victims[known].request != at)
            known++;
        if (request->priority >= priority || known < count || bears_on(fleet, ask, request))
            continue;
        if (count == EXACT_MAX && !cheaper(&one.cost, &victims[count - 1].cost))
            continue;
        known = count == EXACT_MAX ? count - 1 : count++;
        for (; known > 0 && cheaper(&one.cost, &victims[known - 1].cost); known--)
            victims[known] = victims[known - 1];
        victims[known] = one;
    }
    return count;
}

void
evict_give(const struct syn_fleet *fleet, const struct node *node, uint32_t at, int64_t *free,
           card_t *cards)
{
    const struct instance *instance = &fleet->instances.items[at];
    const struct syn_fleet_ask *ask =
        &fleet->shapes.items[fleet->requests.items[instance->request].shape].ask;

    for (unsigned d = 0; d < DIMS; d++)
        free[d] += ask->need[d];
    for (uint32_t c = 0; c < node->cards_count; c++)
        if (instance->cards & SYN_BIT(c))
            cards[c] = card_give(cards[c], ask, &fleet->models[node->models[c]].facts,
                                 instance->part, instance->vram);
}

static void
give_back(const struct syn_fleet *fleet, const struct node *node, uint32_t request, int64_t *free,
          card_t *cards)
{
    for (uint32_t i = node->first; i != NONE; i = fleet->instances.items[i].next)
        if (fleet->instances.items[i].request == request)
            evict_give(fleet, node, i, free, cards);
}

static bool
fits_without(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
             const struct node *node, const struct victim *victims, uint32_t set)
{
    int64_t free[DIMS];
    card_t cards[CARDS];

    memcpy(free, node->free, sizeof(free));
    memcpy(cards, node->cards, sizeof(cards));
    for (uint32_t i = 0; i < EXACT_MAX; i++)
        if (set & SYN_BIT(i))
            give_back(fleet, node, victims[i].request, free, cards);
    return seek_room_lacks(fleet, ask, node, free, cards) == 0;
}

static void
plan_set(struct plan *plan, uint32_t node, const struct victim *victims, uint32_t set)
{
    struct cost cost = {0};

    for (uint32_t i = 0; i < EXACT_MAX; i++)
        if (set & SYN_BIT(i)) {
            cost.instances += victims[i].cost.instances;
            cost.priority += victims[i].cost.priority;
            cost.work_ms += victims[i].cost.work_ms;
        }
    if (plan->node != NONE && !cheaper(&cost, &plan->cost))
        return;
    plan->node = node;
    plan->cost = cost;
    plan->count = 0;
    for (uint32_t i = 0; i < EXACT_MAX; i++)
        if (set & SYN_BIT(i))
            plan->requests[plan->count++] = victims[i].request;
}

/* Every set of the node's victims, the small ones first, that is not dearer than the plan. */
static void
plan_node(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, int32_t priority,
          uint32_t number, struct plan *plan)
{
    const struct node *node = &fleet->nodes.items[number];
    struct victim victims[EXACT_MAX];
    uint32_t count = victims_of(fleet, ask, node, priority, victims);
    uint32_t end = SYN_BIT(count);

    if (count == 0 || !fits_without(fleet, ask, node, victims, end - 1))
        return;
    for (uint32_t size = 1; size <= count; size++) {
        if (plan->node != NONE && plan->cost.instances < (int64_t)size)
            return;
        for (uint32_t set = SYN_BIT(size) - 1, low, up; set < end;) {
            if (fits_without(fleet, ask, node, victims, set))
                plan_set(plan, number, victims, set);
            low = set & -set; /* the next set of this size */
            up = set + low;
            set = up | (((set ^ up) / low) >> 2);
        }
    }
}

static void
plan_make(const struct syn_fleet *fleet, const struct request *request, struct plan *plan)
{
    const struct syn_fleet_ask *ask = &fleet->shapes.items[request->shape].ask;
    const uint32_t room = SYN_BIT(LACK_CARDS) | SYN_BIT(LACK_CPU) | SYN_BIT(LACK_MEMORY) |
                          SYN_BIT(LACK_DISK) | SYN_BIT(LACK_BANDWIDTH);
    uint32_t floor = seek_floor(fleet, ask);

    plan->node = NONE;
    for (uint32_t i = 0; i < fleet->nodes.count; i++)
        if (fleet->nodes.items[i].running > 0 &&
            !(seek_lacks(fleet, ask, floor, &fleet->nodes.items[i]) & ~room))
            plan_node(fleet, ask, request->priority, i, plan);
}

/* Take a whole request off its nodes, and remember where it was. */
static int
take_off(struct syn_fleet *fleet, uint32_t at, struct deed *deed, struct syn_err *err)
{
    for (uint32_t i = fleet->requests.items[at].first; i != NONE;
         i = fleet->instances.items[i].sibling) {
        if (fleet->instances.items[i].node == NONE)
            continue;
        if (!syn_grow(&deed->taken.items, &deed->taken.cap, deed->taken.count + 1,
                      sizeof(struct was)))
            return SYN_FAIL(err, SYN_E_NOMEM, "making room: out of memory");
        deed->taken.items[deed->taken.count++] = (struct was){i, fleet->instances.items[i]};
        detach(fleet, i);
    }
    return SYN_OK;
}

static void
undo(struct syn_fleet *fleet, struct deed *deed)
{
    while (deed->placed.count > 0)
        detach(fleet, deed->placed.items[--deed->placed.count]);
    while (deed->taken.count > 0) {
        const struct was *was = &deed->taken.items[--deed->taken.count];

        restore(fleet, was->at, &was->instance);
    }
}

/* One member: where there is room, or where a plan makes some. */
static int
place_member(struct syn_fleet *fleet, uint32_t request, uint32_t at, struct deed *deed,
             struct syn_err *err)
{
    struct plan plan = {.node = NONE};
    uint32_t node;
    int rc;

    if (!syn_grow(&deed->placed.items, &deed->placed.cap, deed->placed.count + 1, sizeof(uint32_t)))
        return SYN_FAIL(err, SYN_E_NOMEM, "making room: out of memory");
    rc = seek(fleet, &fleet->requests.items[request], &node, err);
    if (rc == SYN_OK && node == NONE) {
        plan_make(fleet, &fleet->requests.items[request], &plan);
        node = plan.node;
        run_forget(fleet, request);
        if (node == NONE)
            return SYN_FLEET_FULL;
    }
    for (uint32_t i = 0; i < plan.count && rc == SYN_OK; i++)
        rc = take_off(fleet, plan.requests[i], deed, err);
    if (rc == SYN_OK)
        rc = attach(fleet, at, node, err);
    if (rc == SYN_OK)
        deed->placed.items[deed->placed.count++] = at;
    return rc;
}

static void
tell_taken(struct syn_fleet *fleet, const struct was *was, enum syn_fleet_cause cause)
{
    tell(fleet, SYN_FLEET_EVICTED, cause, was->at);
    fleet->effects.items[fleet->effects.count - 1].slot = tell_slot(fleet, &was->instance);
}

/* What was taken off is told, and waits. */
static int
commit(struct syn_fleet *fleet, const struct deed *deed, enum syn_fleet_cause cause,
       uint32_t members, struct syn_err *err)
{
    int rc = tell_reserve(fleet, 2 * deed->taken.count + members + 1, err);

    if (rc == SYN_OK)
        rc = line_reserve(fleet, deed->taken.count, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < deed->taken.count; i++) {
        const struct was *was = &deed->taken.items[i];
        uint32_t at = was->instance.request;

        tell_taken(fleet, was, cause);
        if (fleet->requests.items[at].state == STATE_RUNNING) {
            run_stopped(fleet, &fleet->requests.items[at]);
            queue_put(fleet, at, SYN_FLEET_CAUSE_ROOM);
        }
    }
    return SYN_OK;
}

int
evict_for(struct syn_fleet *fleet, uint32_t at, struct syn_err *err)
{
    struct request *request = &fleet->requests.items[at];
    struct deed deed = {0};
    int rc = SYN_OK;

    if (!run_below(fleet, request->priority))
        return SYN_FLEET_FULL;
    for (uint32_t i = request->first; i != NONE && rc == SYN_OK;
         i = fleet->instances.items[i].sibling)
        if (fleet->instances.items[i].node == NONE)
            rc = place_member(fleet, at, i, &deed, err);
    if (rc == SYN_OK)
        rc = commit(fleet, &deed, SYN_FLEET_CAUSE_PREEMPTED, request->members, err);
    if (rc == SYN_OK) {
        request->state = STATE_RUNNING;
        request->started_ms = fleet->now_ms;
        fleet->gain++;
    } else {
        undo(fleet, &deed);
        run_forget(fleet, at);
    }
    syn_free(deed.taken.items);
    syn_free(deed.placed.items);
    return rc;
}

int
evict_drain(struct syn_fleet *fleet, uint32_t number, struct syn_err *err)
{
    int rc = SYN_OK;

    for (uint32_t i = fleet->nodes.items[number].first, next; i != NONE && rc == SYN_OK; i = next) {
        struct was was = {i, fleet->instances.items[i]};
        uint32_t request = was.instance.request, node = NONE;

        next = was.instance.next;
        rc = tell_reserve(fleet, 2, err);
        if (rc < 0)
            break;
        detach(fleet, i);
        rc = seek(fleet, &fleet->requests.items[request], &node, err);
        if (rc == SYN_OK && node != NONE)
            rc = attach(fleet, i, node, err);
        if (rc < 0 || node == NONE) {
            restore(fleet, i, &was.instance);
            run_forget(fleet, request);
            continue;
        }
        fleet->moves++;
        tell_taken(fleet, &was, SYN_FLEET_CAUSE_DRAINED);
        tell(fleet, SYN_FLEET_PLACED, SYN_FLEET_CAUSE_NONE, i);
    }
    return rc;
}

/* Take the members of one request off a lost node. Effects and `lost` have room. */
static void
take_lost(struct syn_fleet *fleet, uint32_t request, uint32_t number, struct deed *deed)
{
    for (uint32_t i = fleet->requests.items[request].first; i != NONE;
         i = fleet->instances.items[i].sibling) {
        struct was was = {i, fleet->instances.items[i]};

        if (was.instance.node != number)
            continue;
        assert(deed->placed.items && deed->placed.count < deed->placed.cap);
        detach(fleet, i);
        tell_taken(fleet, &was, SYN_FLEET_CAUSE_LOST);
        deed->placed.items[deed->placed.count++] = i;
    }
}

/* Place anew what a request lost; where that fails, its other members cannot go on either. */
static int
mend(struct syn_fleet *fleet, uint32_t at, uint32_t number, struct deed *deed, struct syn_err *err)
{
    struct request *request = &fleet->requests.items[at];
    int64_t started_ms = request->started_ms;
    int rc = tell_reserve(fleet, 2 * (size_t)request->members + 1, err);

    if (rc == SYN_OK)
        rc = line_reserve(fleet, 1, err);
    if (rc == SYN_OK &&
        (!syn_grow(&deed->placed.items, &deed->placed.cap, request->members, sizeof(uint32_t)) ||
         !syn_grow(&deed->taken.items, &deed->taken.cap, request->members, sizeof(struct was))))
        rc = SYN_FAIL(err, SYN_E_NOMEM, "node %s is lost: out of memory",
                      fleet->nodes.items[number].name);
    if (rc < 0)
        return rc;
    deed->placed.count = 0;
    deed->taken.count = 0;
    take_lost(fleet, at, number, deed);
    fleet->moves++;
    rc = run_place(fleet, at, err);
    if (rc == SYN_OK) {
        request->started_ms = started_ms;
        for (size_t i = 0; i < deed->placed.count; i++)
            tell(fleet, SYN_FLEET_PLACED, SYN_FLEET_CAUSE_NONE, deed->placed.items[i]);
        return SYN_OK;
    }
    if (take_off(fleet, at, deed, NULL) < 0)
        assert(!"there was room");
    for (size_t i = 0; i < deed->taken.count; i++)
        tell_taken(fleet, &deed->taken.items[i], SYN_FLEET_CAUSE_GANG);
    fleet->gain += deed->taken.count > 0;
    run_stopped(fleet, request);
    queue_put(fleet, at, SYN_FLEET_CAUSE_ROOM);
    request->full = 0; /* what is kept for others, or evicting them, was not tried */
    return rc < 0 ? rc : SYN_OK;
}

int
evict_lost(struct syn_fleet *fleet, uint32_t number, struct syn_err *err)
{
    struct deed deed = {0};
    int rc = SYN_OK;

    while (fleet->nodes.items[number].first != NONE && rc == SYN_OK)
        rc = mend(fleet, fleet->instances.items[fleet->nodes.items[number].first].request, number,
                  &deed, err);
    syn_free(deed.placed.items);
    syn_free(deed.taken.items);
    return rc;
}

int
evict_advice(const struct syn_fleet *fleet, const struct request *request, json_t *fix,
             struct syn_err *err)
{
    struct request anybody = *request;
    struct plan plan;
    char text[ADVICE_SIZE];
    int len;

    anybody.priority = INT32_MAX;
    plan_make(fleet, &anybody, &plan);
    if (plan.node == NONE)
        return SYN_OK;
    len = snprintf(text, sizeof(text),
                   "it fits on %s once these have ended:", fleet->nodes.items[plan.node].name);
    for (uint32_t i = 0; i < plan.count && len > 0 && (size_t)len < sizeof(text); i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, " %" PRIu64,
                        fleet->requests.items[plan.requests[i]].key);
    return syn_json_append_take(fix, json_string(text), err);
}
