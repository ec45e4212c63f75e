/* Nodes kept for the first gang that waits, so that it comes to its turn: nothing else is placed on
 * them but what will have ended before the gang can start, and the rest of the fleet goes on being
 * filled (backfill).
 *
 * Kept are the nodes that will be free first: by the latest end of what runs there, as far as that
 * is known, and those that never said how long last. As many as hold the whole gang when empty;
 * fewer would not do, and if all are too few, none are kept. */
#include "fleet_priv.h"

#include <synor/base/mem.h>

struct choice {
    int64_t free_ms; /* when the node will be empty; INT64_MAX: not known */
    uint32_t node;
    uint32_t units;
};

static int64_t
end_of(const struct syn_fleet *fleet, const struct instance *instance)
{
    const struct request *request = &fleet->requests.items[instance->request];

    return request->runs_ms > 0 ? request->started_ms + request->runs_ms : INT64_MAX;
}

static int64_t
node_free_ms(const struct syn_fleet *fleet, const struct node *node)
{
    int64_t latest = fleet->now_ms;

    for (uint32_t i = node->first; i != NONE; i = fleet->instances.items[i].next) {
        int64_t end = end_of(fleet, &fleet->instances.items[i]);

        latest = SYN_MAX(latest, end);
    }
    return latest;
}

static int
by_time(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;

    if (x->free_ms != y->free_ms)
        return x->free_ms < y->free_ms ? -1 : 1;
    if (x->units != y->units)
        return x->units > y->units ? -1 : 1;
    return x->node < y->node ? -1 : x->node > y->node;
}

/* The nodes for a gang, the first to be free first. *ret_count: as many as it needs; 0: too few. */
static int
choose(struct syn_fleet *fleet, uint32_t at, struct choice **ret, size_t *ret_count,
       struct syn_err *err)
{
    const struct request *request = &fleet->requests.items[at];
    const struct syn_fleet_ask *ask = &fleet->shapes.items[request->shape].ask;
    struct choice *choices = syn_alloc(SYN_MAX(fleet->nodes.count, 1) * sizeof(*choices));
    size_t count = 0;
    uint64_t units = 0;

    if (!choices)
        return SYN_FAIL(err, SYN_E_NOMEM, "keeping nodes for a gang: out of memory");
    for (uint32_t i = 0; i < fleet->nodes.count; i++) {
        const struct node *node = &fleet->nodes.items[i];
        struct choice one = {0, i, 0};

        if (!node_open(node) ||
            seek_class_lacks(fleet, ask, &fleet->classes.items[node->class_open].key))
            continue;
        one.units = seek_units(fleet, ask, node, true, request->members);
        one.free_ms = node_free_ms(fleet, node);
        if (one.units > 0)
            choices[count++] = one;
    }
    qsort(choices, count, sizeof(*choices), by_time);
    *ret_count = 0;
    for (size_t i = 0; i < count && *ret_count == 0; i++) {
        units += choices[i].units;
        if (units >= request->members)
            *ret_count = i + 1;
    }
    *ret = choices;
    return SYN_OK;
}

static void
set_held(struct syn_fleet *fleet, uint32_t number, bool held)
{
    struct node *node = &fleet->nodes.items[number];
    bool linked = node->bucket != NONE;

    index_unlink(fleet, number);
    node->held = held;
    if (linked)
        index_link(fleet, number);
}

static void
tell_node(struct syn_fleet *fleet, enum syn_fleet_effect_type type, uint32_t node)
{
    tell(fleet, type, SYN_FLEET_CAUSE_NONE, fleet->requests.items[fleet->holder].first);
    fleet->effects.items[fleet->effects.count - 1].slot = (struct syn_fleet_slot){.node = node};
}

bool
hold_yields(const struct syn_fleet *fleet, uint32_t request)
{
    const struct request *requests = fleet->requests.items;

    return fleet->holder != NONE &&
           (fleet->holder == request ||
            queue_before(fleet, &requests[request], &requests[fleet->holder]));
}

int
hold_for(struct syn_fleet *fleet, uint32_t request, struct syn_err *err)
{
    struct choice *choices = NULL;
    size_t count = 0;
    int rc = choose(fleet, request, &choices, &count, err);

    /* Twice, so that letting them go can be told as well; and another's, which are let go now. */
    if (rc == SYN_OK)
        rc = tell_reserve(fleet, 2 * count + fleet->held.count, err);
    if (rc == SYN_OK && count > 0 &&
        !syn_grow(&fleet->held.items, &fleet->held.cap, count, sizeof(uint32_t)))
        rc = SYN_FAIL(err, SYN_E_NOMEM, "keeping nodes for a gang: out of memory");
    if (rc == SYN_OK && count == 0)
        fleet->requests.items[request].vain = fleet->grown + 1;
    if (rc == SYN_OK && count > 0) {
        hold_end(fleet);
        fleet->holder = request;
        fleet->hold_start_ms =
            choices[count - 1].free_ms == INT64_MAX ? -1 : choices[count - 1].free_ms;
    }
    for (size_t i = 0; i < count && rc == SYN_OK; i++) {
        fleet->held.items[fleet->held.count++] = choices[i].node;
        set_held(fleet, choices[i].node, true);
        tell_node(fleet, SYN_FLEET_RESERVED, choices[i].node);
    }
    syn_free(choices);
    return rc;
}

void
hold_lift(struct syn_fleet *fleet)
{
    for (size_t i = 0; i < fleet->held.count; i++)
        set_held(fleet, fleet->held.items[i], false);
}

void
hold_again(struct syn_fleet *fleet)
{
    for (size_t i = 0; i < fleet->held.count; i++)
        set_held(fleet, fleet->held.items[i], true);
}

void
hold_end(struct syn_fleet *fleet)
{
    if (fleet->holder == NONE)
        return;
    for (size_t i = 0; i < fleet->held.count; i++) {
        set_held(fleet, fleet->held.items[i], false);
        tell_node(fleet, SYN_FLEET_RELEASED, fleet->held.items[i]);
    }
    fleet->held.count = 0;
    fleet->holder = NONE;
    fleet->hold_start_ms = -1;
    fleet->gain++;
}

/* When one member fits on the node, as what runs there ends; INT64_MAX: not known. */
static int64_t
start_on(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node)
{
    int64_t free[DIMS], last_ms = INT64_MIN;
    card_t cards[CARDS];

    memcpy(free, node->free, sizeof(free));
    memcpy(cards, node->cards, sizeof(cards));
    while (seek_room_lacks(fleet, ask, node, free, cards)) {
        int64_t next_ms = INT64_MAX;

        for (uint32_t i = node->first; i != NONE; i = fleet->instances.items[i].next) {
            int64_t end = end_of(fleet, &fleet->instances.items[i]);

            if (end > last_ms && end < next_ms)
                next_ms = end;
        }
        if (next_ms == INT64_MAX)
            return INT64_MAX;
        for (uint32_t i = node->first; i != NONE; i = fleet->instances.items[i].next)
            if (end_of(fleet, &fleet->instances.items[i]) == next_ms)
                evict_give(fleet, node, i, free, cards);
        last_ms = next_ms;
    }
    return SYN_MAX(last_ms, fleet->now_ms);
}

static int64_t
start_single(const struct syn_fleet *fleet, const struct request *request)
{
    const struct syn_fleet_ask *ask = &fleet->shapes.items[request->shape].ask;
    int64_t first_ms = INT64_MAX;

    for (size_t i = 0; i < fleet->nodes.count; i++) {
        const struct node *node = &fleet->nodes.items[i];
        int64_t start_ms;

        if (!node_open(node) ||
            seek_class_lacks(fleet, ask, &fleet->classes.items[node->class_open].key))
            continue;
        start_ms = start_on(fleet, ask, node);
        first_ms = SYN_MIN(first_ms, start_ms);
    }
    return first_ms == INT64_MAX ? -1 : first_ms;
}

int64_t
hold_start_ms(struct syn_fleet *fleet, uint32_t request)
{
    struct choice *choices = NULL;
    size_t count = 0;
    int64_t start_ms = -1;

    if (fleet->holder == request)
        return fleet->hold_start_ms;
    if (fleet->requests.items[request].members == 1)
        return start_single(fleet, &fleet->requests.items[request]);
    if (choose(fleet, request, &choices, &count, NULL) == SYN_OK && count > 0 &&
        choices[count - 1].free_ms != INT64_MAX)
        start_ms = choices[count - 1].free_ms;
    syn_free(choices);
    return start_ms;
}
