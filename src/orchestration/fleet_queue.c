/* What waits, and in which order: priority first, then the account that holds the least of the
 * fleet for its weight (dominant resource fairness), then who came first.
 *
 * A request that did not fit is not tried again before room has grown (fleet.gain). A round takes
 * the first of each line (fleet_line.c), and the next of it when that one was placed. While a round
 * runs, what it places only adds to shares, so a heap whose entries are checked when they come up
 * gives the order without sorting again. */
#include "fleet_priv.h"

#include <synor/base/mem.h>

#define SHARE_ONE (INT64_C(1) << 40)
#define TRIES_MAX 4 /* gangs that nodes are sought for at one event */

int
tell_reserve(struct syn_fleet *fleet, size_t more, struct syn_err *err)
{
    size_t waiting = fleet->effects.count - fleet->effects_taken;

    more += fleet->held.count; /* so that letting nodes go can be told at any time */
    if (fleet->effects_taken > 0 && fleet->effects_taken >= waiting) {
        memmove(fleet->effects.items, fleet->effects.items + fleet->effects_taken,
                waiting * sizeof(*fleet->effects.items));
        fleet->effects.count = waiting;
        fleet->effects_taken = 0;
    }
    if (!syn_grow(&fleet->effects.items, &fleet->effects.cap, fleet->effects.count + more,
                  sizeof(struct syn_fleet_effect)))
        return SYN_FAIL(err, SYN_E_NOMEM, "telling what was decided: out of memory");
    return SYN_OK;
}

struct syn_fleet_slot
tell_slot(const struct syn_fleet *fleet, const struct instance *instance)
{
    uint32_t shape = fleet->requests.items[instance->request].shape;
    uint32_t mode = fleet->shapes.items[shape].ask.mode;

    if (instance->mode == CARD_MPS)
        mode = SYN_FLEET_MPS;
    else if (instance->mode == CARD_SLICED)
        mode = SYN_FLEET_TIME_SLICE;
    return (struct syn_fleet_slot){instance->node, instance->cards, instance->part, mode};
}

void
tell(struct syn_fleet *fleet, enum syn_fleet_effect_type type, enum syn_fleet_cause cause,
     uint32_t at)
{
    const struct instance *instance = &fleet->instances.items[at];

    assert(fleet->effects.count < fleet->effects.cap);
    fleet->effects.items[fleet->effects.count++] =
        (struct syn_fleet_effect){.type = type,
                                  .cause = cause,
                                  .key = fleet->requests.items[instance->request].key,
                                  .member = instance->member,
                                  .slot = tell_slot(fleet, instance)};
}

bool
syn_fleet_next(struct syn_fleet *fleet, struct syn_fleet_effect *ret)
{
    if (fleet->effects_taken == fleet->effects.count)
        return false;
    *ret = fleet->effects.items[fleet->effects_taken++];
    return true;
}

/* The largest part of the fleet that the account holds in any amount, over its weight. */
static int64_t
share_of(const struct syn_fleet *fleet, uint32_t number)
{
    struct account *account = &fleet->accounts.items[number];
    int64_t share = 0;

    if (account->sized == fleet->sized + 1)
        return account->share;
    for (unsigned d = 0; d < DIMS; d++)
        if (fleet->capacity[d] > 0) {
            int64_t part = (int64_t)((syn_i128)account->held[d] * SHARE_ONE / fleet->capacity[d]);

            share = SYN_MAX(share, part);
        }
    if (fleet->cards_total > 0) {
        int64_t part = (int64_t)((syn_i128)account->milli_held * SHARE_ONE /
                                 ((syn_i128)fleet->cards_total * WHOLE));

        share = SYN_MAX(share, part);
    }
    account->share = share / account->weight;
    account->sized = fleet->sized + 1;
    return account->share;
}

struct turn {
    int64_t share;
    uint32_t request;
};

static bool
turn_before(const struct syn_fleet *fleet, const struct turn *a, const struct turn *b)
{
    const struct request *x = &fleet->requests.items[a->request];
    const struct request *y = &fleet->requests.items[b->request];

    if (x->priority != y->priority)
        return x->priority > y->priority;
    if (a->share != b->share)
        return a->share < b->share;
    return x->sequence < y->sequence;
}

bool
queue_before(const struct syn_fleet *fleet, const struct request *a, const struct request *b)
{
    struct turn x = {share_of(fleet, a->account), (uint32_t)(a - fleet->requests.items)};
    struct turn y = {share_of(fleet, b->account), (uint32_t)(b - fleet->requests.items)};

    return turn_before(fleet, &x, &y);
}

bool
queue_over_quota(const struct syn_fleet *fleet, const struct request *request, unsigned amount,
                 struct measure *ret)
{
    const struct account *account = &fleet->accounts.items[request->account];
    const struct syn_fleet_ask *ask = &fleet->shapes.items[request->shape].ask;
    int64_t members = (int64_t)request->members - request->placed;
    int64_t limit, held;

    if (amount == DIMS) {
        ret->need = (int64_t)ask_milli(ask) * ask_cards(ask) * members;
        limit = account->cards_max < 0 ? -1 : account->cards_max * WHOLE;
        held = account->milli_held;
    } else {
        ret->need = ask->need[amount] * members;
        limit = account->limits[amount];
        held = account->held[amount];
    }
    ret->have = limit < held ? 0 : limit - held;
    return limit >= 0 && ret->need > 0 && ret->need > limit - held;
}

bool
queue_within_quota(const struct syn_fleet *fleet, const struct request *request)
{
    struct measure measure;

    for (unsigned amount = 0; amount <= DIMS; amount++)
        if (queue_over_quota(fleet, request, amount, &measure))
            return false;
    return true;
}

void
queue_forget(struct syn_fleet *fleet, uint32_t at)
{
    if (fleet->holder == at)
        hold_end(fleet);
    if (fleet->requests.items[at].line != NONE)
        line_leave(fleet, at);
}

void
queue_put(struct syn_fleet *fleet, uint32_t at, enum syn_fleet_cause cause)
{
    struct request *request = &fleet->requests.items[at];
    struct line *line;

    if (request->line == NONE) {
        request->cause = SYN_FLEET_CAUSE_NONE;
        line_join(fleet, at);
    }
    line = &fleet->lines.items[request->line];
    line->over_quota -= request->cause == SYN_FLEET_CAUSE_QUOTA;
    line->over_quota += cause == SYN_FLEET_CAUSE_QUOTA;
    request->state = STATE_QUEUED;
    request->cause = cause;
    request->full = fleet->gain + 1;
    if (request->told != cause)
        tell(fleet, SYN_FLEET_PENDING, cause, request->first);
    request->told = cause;
}

static void
tell_placed(struct syn_fleet *fleet, uint32_t at)
{
    struct request *request = &fleet->requests.items[at];

    request->told = SYN_FLEET_CAUSE_NONE;
    run_started(fleet, request);
    fleet->moves += fleet->shapes.items[request->shape].ask.group != 0;
    for (uint32_t i = request->first; i != NONE; i = fleet->instances.items[i].sibling)
        tell(fleet, SYN_FLEET_PLACED, SYN_FLEET_CAUSE_NONE, i);
}

/* Where there is room, or where evicting makes some. Nodes that are kept for a gang are there for
 * the gang itself, and for what comes before it where nothing else will do: the gang's turn is
 * later then, and it is given other nodes. */
static int
attempt_room(struct syn_fleet *fleet, uint32_t at, struct syn_err *err)
{
    bool yields = hold_yields(fleet, at);
    int rc = fleet->holder == at ? SYN_FLEET_FULL : run_place(fleet, at, err);

    if (rc != SYN_FLEET_FULL)
        return rc;
    if (yields) {
        hold_lift(fleet);
        run_forget(fleet, at); /* that nothing fitted was said of the other nodes */
        rc = run_place(fleet, at, err);
    }
    if (rc == SYN_FLEET_FULL)
        rc = evict_for(fleet, at, err);
    if (yields && rc != SYN_OK)
        hold_again(fleet);
    else if (yields)
        hold_end(fleet);
    return rc;
}

/* One attempt. SYN_FLEET_FULL: it waits. */
static int
attempt(struct syn_fleet *fleet, uint32_t at, struct syn_err *err)
{
    struct request *request = &fleet->requests.items[at];
    enum syn_fleet_cause cause = SYN_FLEET_CAUSE_ROOM;
    int rc = tell_reserve(fleet, (size_t)request->members + fleet->held.count + 1, err);

    if (rc == SYN_OK)
        rc = line_reserve(fleet, 1, err);
    if (rc < 0)
        return rc;
    if (!queue_within_quota(fleet, request)) {
        cause = SYN_FLEET_CAUSE_QUOTA;
        rc = SYN_FLEET_FULL;
    } else {
        rc = attempt_room(fleet, at, err);
    }
    if (rc == SYN_FLEET_FULL) {
        queue_put(fleet, at, cause);
        return SYN_FLEET_FULL;
    }
    if (rc < 0)
        return rc;
    queue_forget(fleet, at);
    tell_placed(fleet, at);
    return SYN_OK;
}

static void
turns_down(const struct syn_fleet *fleet, struct turn *turns, size_t count, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        struct turn moved = turns[at];

        if (child >= count)
            return;
        if (child + 1 < count && turn_before(fleet, &turns[child + 1], &turns[child]))
            child++;
        if (!turn_before(fleet, &turns[child], &moved))
            return;
        turns[at] = turns[child];
        turns[child] = moved;
        at = child;
    }
}

/* The first gang that waits for room and is not known to be too large for the fleet. */
static uint32_t
first_gang(const struct syn_fleet *fleet)
{
    const struct request *requests = fleet->requests.items;
    uint32_t first = NONE;

    for (size_t i = 0; i < fleet->standing.count; i++) {
        const struct line *line = &fleet->lines.items[fleet->standing.items[i]];
        uint32_t at = line->members > 1 ? line->first : NONE;

        while (at != NONE && (requests[at].cause != SYN_FLEET_CAUSE_ROOM ||
                              requests[at].vain == fleet->grown + 1))
            at = requests[at].after;
        if (at != NONE && (first == NONE || queue_before(fleet, &requests[at], &requests[first])))
            first = at;
    }
    return first;
}

/* That gang gets nodes kept for it; those of another are let go. Where the whole fleet is too
 * small, the next one's turn comes; of many such gangs, with the next events. */
static int
keep_nodes(struct syn_fleet *fleet, struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned tries = 0; tries < TRIES_MAX && rc == SYN_OK; tries++) {
        uint32_t first = first_gang(fleet);

        if (first == fleet->holder)
            return SYN_OK;
        if (first != NONE) {
            rc = hold_for(fleet, first, err);
            continue;
        }
        rc = tell_reserve(fleet, fleet->held.count, err);
        if (rc == SYN_OK)
            hold_end(fleet);
    }
    return rc;
}

static bool
worth_trying(const struct syn_fleet *fleet, const struct request *request)
{
    return request->full != fleet->gain + 1 || fleet->shapes.items[request->shape].tied;
}

/* What holds the first of a line up holds up all of it: is that said of each? */
static int
agree(struct syn_fleet *fleet, uint32_t first, struct syn_err *err)
{
    struct request *requests = fleet->requests.items;
    const struct line *line = &fleet->lines.items[requests[first].line];
    enum syn_fleet_cause cause = requests[first].cause;
    uint32_t others =
        cause == SYN_FLEET_CAUSE_QUOTA ? line->count - line->over_quota : line->over_quota;
    int rc = others > 0 ? tell_reserve(fleet, others, err) : SYN_OK;

    for (uint32_t at = line->first; at != NONE && others > 0 && rc == SYN_OK;
         at = requests[at].after)
        if (requests[at].cause != cause)
            queue_put(fleet, at, cause);
    return rc;
}

/* The turn of one: try it, where that is worth it. *ret: whose turn it is next in its line, or
 * NONE: where this one does not fit, the others do not, unless it matters how long they run (as
 * nodes are kept for a gang) or where the rest of their group is. */
static int
take_turn(struct syn_fleet *fleet, uint32_t at, uint32_t *ret, struct syn_err *err)
{
    const struct request *request = &fleet->requests.items[at];
    uint32_t next = request->after;
    bool tied = fleet->shapes.items[request->shape].tied;
    int rc = SYN_FLEET_FULL;

    if (worth_trying(fleet, request))
        rc = attempt(fleet, at, err);
    *ret = next;
    if (rc != SYN_FLEET_FULL || tied || fleet->holder != NONE)
        return rc;
    *ret = NONE;
    return agree(fleet, at, err);
}

/* Give each line its turns, in order. */
static int
round_of(struct syn_fleet *fleet, struct turn *turns, size_t count, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < count; i++) {
        const struct line *line = &fleet->lines.items[fleet->standing.items[i]];

        turns[i] = (struct turn){share_of(fleet, line->account), line->first};
    }
    for (size_t i = count / 2; i-- > 0;)
        turns_down(fleet, turns, count, i);
    while (count > 0 && rc >= 0) {
        struct turn turn = turns[0];
        int64_t share = share_of(fleet, fleet->requests.items[turn.request].account);

        if (share > turn.share) {
            turns[0].share = share;
        } else {
            rc = take_turn(fleet, turn.request, &turns[0].request, err);
            if (turns[0].request == NONE)
                turns[0] = turns[--count];
        }
        turns_down(fleet, turns, count, 0);
    }
    return rc < 0 ? rc : SYN_OK;
}

/* Rounds go on while they make room: an eviction gives way to a higher priority, and nodes are let
 * go for a request that comes before, so they end. */
int
queue_settle(struct syn_fleet *fleet, struct syn_err *err)
{
    uint64_t gain, moves;
    int rc = SYN_OK;

    if (fleet->settled && fleet->settled_gain == fleet->gain &&
        fleet->settled_moves == fleet->moves && fleet->drains == 0)
        return SYN_OK;
    fleet->settled = false;
    for (uint32_t i = 0; i < fleet->nodes.count && fleet->drains > 0 && rc == SYN_OK; i++)
        if (fleet->nodes.items[i].drained && fleet->nodes.items[i].running > 0)
            rc = evict_drain(fleet, i, err);
    do {
        struct turn *turns;
        size_t count = fleet->standing.count;

        gain = fleet->gain;
        moves = fleet->moves;
        if (rc < 0 || (count == 0 && fleet->holder == NONE))
            break;
        turns = syn_alloc((count + 1) * sizeof(*turns));
        if (!turns)
            return SYN_FAIL(err, SYN_E_NOMEM, "looking at what waits: out of memory");
        rc = round_of(fleet, turns, count, err);
        syn_free(turns);
        if (rc == SYN_OK)
            rc = keep_nodes(fleet, err);
    } while (fleet->gain != gain || fleet->moves != moves);
    fleet->settled = rc == SYN_OK;
    fleet->settled_gain = fleet->gain;
    fleet->settled_moves = fleet->moves;
    return rc;
}

/* The request's own outcome stands, also when there is no memory to look at the others: the next
 * event does that again. */
int
queue_offer(struct syn_fleet *fleet, uint32_t request, struct syn_err *err)
{
    uint64_t gain = fleet->gain, moves = fleet->moves;
    int rc = attempt(fleet, request, err);

    if (rc < 0)
        return rc;
    if (rc == SYN_FLEET_FULL && fleet->requests.items[request].members > 1)
        rc = keep_nodes(fleet, NULL);
    fleet->settled = fleet->settled && rc >= 0;
    if (rc >= 0 && (fleet->gain != gain || fleet->moves != moves))
        rc = queue_settle(fleet, NULL);
    (void)rc;
    return fleet->requests.items[request].state == STATE_RUNNING ? SYN_OK : SYN_FLEET_FULL;
}
