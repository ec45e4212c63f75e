/* Random lives of small fleets against a model that was written from the words of fleet.h alone: it
 * shares nothing with the fleet but the effects. After every event
 *
 *   - nothing is given away twice: amounts, card time and VRAM in thousandths, memory slices;
 *   - what is placed keeps every limit that it asked for;
 *   - a gang is there whole or not at all;
 *   - who waits fits nowhere;
 *   - nobody was evicted for an equal or lower priority. */
#include <synor/base/test.h>
#include <synor/orchestration/fleet.h>

#define NODES   5
#define KEYS    48
#define MEMBERS 4
#define CARDS   4
#define STEPS   160
#define LIVES   120

enum { BOARD, A100, A30, MODELS };

static const struct syn_fleet_model models[MODELS] = {
    {.name = "board", .vram_mib = 16000, .capability = 75, .modes = SYN_BIT(SYN_FLEET_TIME_SLICE)},
    {.name = "a100",
     .vram_mib = 80000,
     .capability = 80,
     .modes = SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE),
     .geometry = SYN_FLEET_EIGHTHS,
     .idle_mw = 50000,
     .context_mw = 80000,
     .busy_mw = 400000},
    {.name = "a30",
     .vram_mib = 24000,
     .capability = 80,
     .modes = SYN_BIT(SYN_FLEET_MPS),
     .geometry = SYN_FLEET_QUARTERS},
};

struct card {
    int model;
    int time; /* thousandths that shares hold */
    int vram;
    int tenants;   /* of shares */
    uint32_t mode; /* that they use */
    bool whole;
    unsigned slices;
};

struct shadow_node {
    bool here;
    bool drained;
    bool closed;
    bool held;
    uint32_t zone;
    int64_t price;
    int64_t capacity[SYN_FLEET_DIMS];
    int64_t used[SYN_FLEET_DIMS];
    struct card cards[CARDS];
    int count;
};

struct shadow_member {
    bool placed;
    struct syn_fleet_slot slot;
};

struct shadow_request {
    bool known;
    uint64_t order; /* in which they came */
    struct syn_fleet_request asked;
    struct shadow_member members[MEMBERS];
};

struct life {
    struct syn_fleet *fleet;
    struct shadow_node nodes[NODES];
    struct shadow_request requests[KEYS];
    uint32_t zones[2];
    uint32_t groups[2];
    uint64_t holder; /* the key that nodes are kept for, while any are */
    uint64_t came;
    uint64_t random;
    uint64_t seed;
};

static int
below(struct life *life, int limit)
{
    return (int)(syn_test_random(&life->random) % (uint64_t)limit);
}

/* Where a partition may begin, and how long it is, from the vendor's table. */
static unsigned
part_bits(int model, uint32_t profile, unsigned start)
{
    static const struct {
        int model;
        uint32_t profile;
        unsigned size;
        unsigned starts[7];
        unsigned count;
    } rows[] = {
        {A100, SYN_FLEET_1G, 1, {0, 1, 2, 3, 4, 5, 6}, 7},
        {A100, SYN_FLEET_1G_PLUS, 2, {0, 2, 4, 6}, 4},
        {A100, SYN_FLEET_2G, 2, {0, 2, 4}, 3},
        {A100, SYN_FLEET_3G, 4, {0, 4}, 2},
        {A100, SYN_FLEET_4G, 4, {0}, 1},
        {A100, SYN_FLEET_7G, 8, {0}, 1},
        {A30, SYN_FLEET_1G, 1, {0, 1, 2, 3}, 4},
        {A30, SYN_FLEET_2G, 2, {0, 2}, 2},
        {A30, SYN_FLEET_4G, 4, {0}, 1},
    };

    for (size_t i = 0; i < SYN_LEN(rows); i++)
        for (unsigned s = 0; s < rows[i].count && rows[i].model == model; s++)
            if (rows[i].profile == profile && rows[i].starts[s] == start)
                return ((1U << rows[i].size) - 1) << start;
    return 0;
}

static int
vram_of(const struct syn_fleet_ask *ask, int model)
{
    if (ask->vram_mib == 0)
        return (int)ask->share;
    return (int)((ask->vram_mib * UINT64_C(1000) + models[model].vram_mib - 1) /
                 models[model].vram_mib);
}

static bool
shares(const struct syn_fleet_ask *ask)
{
    return ask->mode == SYN_FLEET_SHARED || ask->mode == SYN_FLEET_MPS ||
           ask->mode == SYN_FLEET_TIME_SLICE;
}

/* May a share be had this way on this card? */
static bool
mode_ok(const struct card *card, const struct syn_fleet_ask *ask, uint32_t mode)
{
    return (mode == SYN_FLEET_MPS || mode == SYN_FLEET_TIME_SLICE) &&
           (models[card->model].modes & SYN_BIT(mode)) &&
           (ask->mode == SYN_FLEET_SHARED || ask->mode == mode) &&
           (card->tenants == 0 || card->mode == mode);
}

/* One way in which it may; 0: none. */
static uint32_t
mode_on(const struct card *card, const struct syn_fleet_ask *ask)
{
    return mode_ok(card, ask, SYN_FLEET_MPS)          ? SYN_FLEET_MPS
           : mode_ok(card, ask, SYN_FLEET_TIME_SLICE) ? SYN_FLEET_TIME_SLICE
                                                      : 0;
}

static bool
unused(const struct card *card)
{
    return !card->whole && card->tenants == 0 && card->slices == 0;
}

/* Could this card take the ask's part of it? For a partition, at `start`. */
static bool
card_fits(const struct card *card, const struct syn_fleet_ask *ask, unsigned start)
{
    if ((ask->models && !(ask->models >> card->model & 1)) ||
        ask->capability > models[card->model].capability)
        return false;
    if (ask->mode == SYN_FLEET_CARDS)
        return unused(card) && ask->vram_mib <= models[card->model].vram_mib;
    if (ask->mode == SYN_FLEET_MIG) {
        unsigned bits = part_bits(card->model, ask->profile, start);

        return bits && !card->whole && card->tenants == 0 && !(card->slices & bits);
    }
    return !card->whole && card->slices == 0 && mode_on(card, ask) != 0 &&
           card->time + (int)ask->share <= 1000 && card->vram + vram_of(ask, card->model) <= 1000;
}

static void
card_change(struct card *card, const struct syn_fleet_ask *ask, unsigned part, uint32_t mode,
            int sign)
{
    if (ask->mode == SYN_FLEET_CARDS) {
        card->whole = sign > 0;
    } else if (ask->mode == SYN_FLEET_MIG) {
        card->slices ^= part_bits(card->model, ask->profile, part);
    } else {
        if (sign > 0 && card->tenants == 0)
            card->mode = mode;
        card->time += sign * (int)ask->share;
        card->vram += sign * vram_of(ask, card->model);
        card->tenants += sign;
    }
}

static int
group_in(const struct life *life, uint32_t group, int node)
{
    int count = 0;

    for (int k = 0; k < KEYS; k++)
        for (uint32_t m = 0; m < MEMBERS && life->requests[k].known; m++)
            count += life->requests[k].asked.ask.group == group &&
                     life->requests[k].members[m].placed &&
                     (node < 0 || life->requests[k].members[m].slot.node == (uint32_t)node);
    return count;
}

/* Could the node take the ask if nothing ran anywhere, amounts aside? */
static bool
kind_ok(const struct shadow_node *node, const struct syn_fleet_ask *ask)
{
    if (ask->price_max && node->price * ask->need[SYN_FLEET_CPU] > ask->price_max * 1000)
        return false;
    if (ask->mode == SYN_FLEET_CARDS && ask->cards == 0)
        return true;
    for (int c = 0; c < node->count; c++) {
        const struct card empty = {.model = node->cards[c].model};

        if (card_fits(&empty, ask, 0))
            return true;
    }
    return false;
}

static bool
open_node(const struct shadow_node *node)
{
    return node->here && !node->drained && !node->closed;
}

/* Would one more of its group in the node's zone be too many, beside the zone with fewest? */
static bool
even_ok(const struct life *life, const struct syn_fleet_ask *ask, int at)
{
    int counts[2] = {0}, fewest = KEYS * MEMBERS;

    for (int i = 0; i < NODES; i++)
        counts[i % 2] += group_in(life, ask->group, i);
    for (int i = 0; i < NODES; i++)
        if (open_node(&life->nodes[i]) && kind_ok(&life->nodes[i], ask))
            fewest = SYN_MIN(fewest, counts[i % 2]);
    return counts[at % 2] + 1 - fewest <= (int)ask->even;
}

static bool
limits_ok(const struct life *life, const struct syn_fleet_ask *ask, int at)
{
    if (!kind_ok(&life->nodes[at], ask) || (ask->even && !even_ok(life, ask, at)))
        return false;
    if (ask->apart && group_in(life, ask->apart, at) > 0)
        return false;
    return !ask->with || group_in(life, ask->with, at) > 0 ||
           (ask->with == ask->group && group_in(life, ask->with, -1) == 0);
}

/* Take the room of one member from a copy of the node; false when there is none. */
static bool
room_take(struct shadow_node *node, const struct syn_fleet_ask *ask)
{
    uint32_t wanted = ask->mode == SYN_FLEET_CARDS ? ask->cards : 1;

    for (int d = 0; d < SYN_FLEET_DIMS; d++)
        if (node->used[d] + ask->need[d] > node->capacity[d])
            return false;
    for (int model = 0; model < MODELS && wanted > 0; model++) {
        uint32_t found = 0;

        for (int pass = 0; pass < 2; pass++)
            for (int c = 0; c < node->count && (pass == 0 ? 1 : wanted > 0); c++)
                for (unsigned start = 0; start < 8; start++) {
                    if (node->cards[c].model != model || !card_fits(&node->cards[c], ask, start))
                        continue;
                    if (pass == 0) {
                        found++;
                        break;
                    }
                    if (found < (ask->mode == SYN_FLEET_CARDS ? ask->cards : 1))
                        break;
                    card_change(&node->cards[c], ask, start, mode_on(&node->cards[c], ask), 1);
                    wanted--;
                    break;
                }
    }
    if (wanted > 0)
        return false;
    for (int d = 0; d < SYN_FLEET_DIMS; d++)
        node->used[d] += ask->need[d];
    return true;
}

/* How many members fit; the nodes that are kept for a gang count only if `held`. */
static uint32_t
room_for(const struct life *life, const struct syn_fleet_ask *ask, bool held)
{
    uint32_t units = 0;

    for (int i = 0; i < NODES; i++) {
        struct shadow_node copy = life->nodes[i];

        if (!open_node(&copy) || (copy.held && !held) || !limits_ok(life, ask, i))
            continue;
        while (units < MEMBERS && room_take(&copy, ask))
            units++;
    }
    return units;
}

static void
member_change(struct life *life, const struct syn_fleet_effect *effect, int sign)
{
    struct shadow_request *request = &life->requests[effect->key];
    struct shadow_member *member = &request->members[effect->member];
    const struct syn_fleet_ask *ask = &request->asked.ask;
    struct shadow_node *node = &life->nodes[effect->slot.node];
    uint32_t cards = 0;

    assert_true(request->known && effect->member < request->asked.members);
    assert_int_equal(member->placed, sign < 0);
    if (sign > 0) {
        if (!open_node(node) || !limits_ok(life, ask, (int)effect->slot.node))
            fail_msg("seed %llu: request %llu on node %u: %d %d", (unsigned long long)life->seed,
                     (unsigned long long)effect->key, effect->slot.node, node->here, node->drained);
    } else {
        assert_memory_equal(&member->slot, &effect->slot, sizeof(member->slot));
    }
    for (int d = 0; d < SYN_FLEET_DIMS; d++) {
        node->used[d] += sign * ask->need[d];
        assert_true(node->used[d] >= 0 && node->used[d] <= node->capacity[d]);
    }
    for (int c = 0; c < CARDS; c++) {
        if (!(effect->slot.cards & SYN_BIT(c)))
            continue;
        assert_true(c < node->count);
        if (sign > 0 && !card_fits(&node->cards[c], ask, effect->slot.part))
            fail_msg(
                "seed %llu: request %llu: card %d of node %u: mode %u profile %u part %u "
                "share %u vram %u models %llu on %d time %d vram %d tenants %d mode %u whole %d "
                "slices %x",
                (unsigned long long)life->seed, (unsigned long long)effect->key, c,
                effect->slot.node, ask->mode, ask->profile, effect->slot.part, ask->share,
                ask->vram_mib, (unsigned long long)ask->models, node->cards[c].model,
                node->cards[c].time, node->cards[c].vram, node->cards[c].tenants,
                node->cards[c].mode, node->cards[c].whole, node->cards[c].slices);
        if (sign > 0)
            assert_true(shares(ask) ? mode_ok(&node->cards[c], ask, effect->slot.mode)
                                    : effect->slot.mode == ask->mode);
        card_change(&node->cards[c], ask, effect->slot.part, effect->slot.mode, sign);
        cards++;
    }
    assert_int_equal(cards, ask->mode == SYN_FLEET_CARDS ? ask->cards : 1);
    member->placed = sign > 0;
    member->slot = effect->slot;
}

static void
take_effects(struct life *life)
{
    int32_t evicted = INT32_MIN, placed = INT32_MIN;
    struct syn_fleet_effect effect;

    while (syn_fleet_next(life->fleet, &effect)) {
        int32_t priority = life->requests[effect.key].asked.priority;

        if (effect.type == SYN_FLEET_PLACED) {
            member_change(life, &effect, 1);
            placed = SYN_MAX(placed, priority);
        } else if (effect.type == SYN_FLEET_EVICTED) {
            member_change(life, &effect, -1);
            if (effect.cause == SYN_FLEET_CAUSE_PREEMPTED)
                evicted = SYN_MAX(evicted, priority);
        } else if (effect.type != SYN_FLEET_PENDING) {
            life->nodes[effect.slot.node].held = effect.type == SYN_FLEET_RESERVED;
            life->holder = effect.key;
        }
    }
    assert_true(evicted == INT32_MIN || evicted < placed);
}

/* May it use the nodes that are kept: is it the gang, or before it in the queue? */
static bool
may_hold(const struct life *life, const struct shadow_request *request)
{
    const struct shadow_request *holder = &life->requests[life->holder];

    if (request->asked.priority != holder->asked.priority)
        return request->asked.priority > holder->asked.priority;
    return request->order <= holder->order;
}

static void
check(const struct life *life)
{
    for (int k = 0; k < KEYS; k++) {
        const struct shadow_request *request = &life->requests[k];
        uint32_t placed = 0;

        for (uint32_t m = 0; m < MEMBERS && request->known; m++)
            placed += request->members[m].placed;
        if (!request->known || placed == request->asked.members)
            continue;
        assert_int_equal(placed, 0);
        /* Tied gangs may need another order. */
        if (request->asked.members > 1 &&
            (request->asked.ask.apart || request->asked.ask.with || request->asked.ask.even))
            continue;
        if (room_for(life, &request->asked.ask, may_hold(life, request)) >= request->asked.members)
            fail_msg(
                "seed %llu: request %d waits though it fits: %u members, mode %u, priority %d, "
                "with %u, apart %u",
                (unsigned long long)life->seed, k, request->asked.members, request->asked.ask.mode,
                request->asked.priority, request->asked.ask.with, request->asked.ask.apart);
    }
}

static void
random_ask(struct life *life, struct syn_fleet_ask *ask)
{
    ask->policy = (uint32_t)below(life, SYN_FLEET_POLICIES);
    ask->need[SYN_FLEET_CPU] = INT64_C(1000) * below(life, 6);
    ask->need[SYN_FLEET_MEMORY] = below(life, 5);
    ask->need[SYN_FLEET_DISK] = below(life, 3);
    ask->mode = (uint32_t)below(life, SYN_FLEET_MODES);
    if (ask->mode == SYN_FLEET_CARDS)
        ask->cards = (uint32_t)below(life, 4);
    else
        ask->cards = 1;
    if (shares(ask)) {
        ask->share = 100 * (uint32_t)(1 + below(life, 10));
        ask->vram_mib = below(life, 2) ? 5000 * (uint32_t)below(life, 4) : 0;
    }
    if (ask->mode == SYN_FLEET_MIG)
        ask->profile = (uint32_t)below(life, SYN_FLEET_PROFILES);
    if (ask->cards > 0 && below(life, 4) == 0)
        ask->models = 1 + (uint64_t)below(life, (1 << MODELS) - 1);
    if (ask->cards > 0 && below(life, 6) == 0)
        ask->capability = 80;
    if (below(life, 5) == 0)
        ask->price_max = 1 + below(life, 12);
    if (below(life, 4) == 0)
        ask->group = life->groups[below(life, 2)];
    if (below(life, 8) == 0)
        ask->apart = life->groups[below(life, 2)];
    else if (below(life, 10) == 0)
        ask->with = life->groups[below(life, 2)];
    if (ask->group && below(life, 3) == 0) {
        ask->even = 1 + (uint32_t)below(life, 2);
        ask->even_scope = SYN_FLEET_ZONE;
    }
}

static void
put_node(struct syn_fleet *fleet, const struct life *life, int at)
{
    const struct shadow_node *shadow = &life->nodes[at];
    char name[8] = {'n', (char)('0' + at)};
    struct syn_fleet_node node = {.name = name, .price = {.core = shadow->price}};
    struct syn_err err;
    uint32_t number;

    memcpy(node.capacity, shadow->capacity, sizeof(node.capacity));
    node.cards = (uint32_t)shadow->count;
    node.zone = shadow->zone;
    for (int c = 0; c < shadow->count; c++)
        node.models[c] = (uint8_t)shadow->cards[c].model;
    node.closed = shadow->closed;
    assert_done(syn_fleet_put_node(fleet, &node, &number, &err), &err);
    assert_int_equal(number, at);
}

static const char *const words[] = {"zone-a", "zone-b", "blue", "red"};

static void
begin(struct life *life, uint64_t seed, bool scan)
{
    const struct syn_fleet_options options = {.seed = seed, .learn = true, .scan = scan};
    struct syn_err err;
    uint32_t number;

    *life = (struct life){.random = seed * 2 + 1, .seed = seed};
    assert_done(syn_fleet_new(&options, &life->fleet, &err), &err);
    for (int i = 0; i < MODELS; i++)
        assert_done(syn_fleet_model_add(life->fleet, &models[i], &number, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(words); i++)
        assert_done(syn_fleet_word(life->fleet, words[i],
                                   i < 2 ? &life->zones[i] : &life->groups[i - 2], &err),
                    &err);
    for (int i = 0; i < NODES; i++) {
        struct shadow_node *node = &life->nodes[i];

        node->zone = life->zones[i % 2];
        node->price = 1 + below(life, 4);
        node->capacity[SYN_FLEET_CPU] = INT64_C(1000) * (4 + below(life, 12));
        node->capacity[SYN_FLEET_MEMORY] = 4 + below(life, 12);
        node->capacity[SYN_FLEET_DISK] = 4 + below(life, 4);
        node->count = below(life, CARDS + 1);
        for (int c = 0; c < node->count; c++)
            node->cards[c].model = below(life, 3) ? i % MODELS : below(life, MODELS);
        node->here = true;
        put_node(life->fleet, life, i);
    }
}

static void
step_submit(struct life *life)
{
    const struct shadow_request *alike;
    struct shadow_request *request;
    struct syn_err err;
    int key = below(life, KEYS), rc;

    request = &life->requests[key];
    if (request->known) {
        assert_done(syn_fleet_end(life->fleet, (uint64_t)key, &err), &err);
        for (uint32_t m = 0; m < MEMBERS; m++) {
            struct syn_fleet_effect gone = {
                .key = (uint64_t)key, .member = m, .slot = request->members[m].slot};

            if (request->members[m].placed)
                member_change(life, &gone, -1);
        }
        request->known = false;
        return;
    }
    *request = (struct shadow_request){.known = true, .order = life->came++};
    request->asked.key = (uint64_t)key;
    request->asked.members = below(life, 3) ? 1 : 1 + (uint32_t)below(life, MEMBERS);
    request->asked.priority = below(life, 3);
    request->asked.runs_ms = below(life, 2) ? 100 * below(life, 20) : 0;
    random_ask(life, &request->asked.ask);
    alike = &life->requests[below(life, KEYS)];
    if (alike->known && alike != request && below(life, 3) == 0) {
        /* They stand in one line, if they wait. */
        request->asked.ask = alike->asked.ask;
        request->asked.members = alike->asked.members;
        request->asked.priority = alike->asked.priority;
    }
    rc = syn_fleet_submit(life->fleet, &request->asked, &err);
    if (rc < 0)
        fail_msg("seed %llu: %s", (unsigned long long)life->seed, err.msg);
}

static void
step(struct life *life)
{
    struct syn_err err;
    int at = below(life, NODES);

    switch (below(life, 20)) {
    case 0:
        if (!life->nodes[at].here)
            break;
        life->nodes[at].drained = true;
        assert_done(syn_fleet_drain(life->fleet, (uint32_t)at, &err), &err);
        break;
    case 1:
        if (!life->nodes[at].here)
            break;
        life->nodes[at].here = false;
        assert_done(syn_fleet_lose(life->fleet, (uint32_t)at, &err), &err);
        break;
    case 2:
    case 3:
        life->nodes[at].here = true;
        life->nodes[at].drained = false;
        life->nodes[at].closed = below(life, 3) == 0;
        put_node(life->fleet, life, at);
        break;
    case 4:
        syn_fleet_set_time(life->fleet, INT64_C(100) * below(life, 100));
        break;
    default:
        step_submit(life);
    }
    take_effects(life);
    check(life);
}

/* Another fleet takes over what runs: the same room is left, unless shares of cards, which it puts
 * together in its own way, find no place; when it is told which cards they have, all do. */
static void
take_over(const struct life *life, bool named)
{
    const struct syn_fleet_options options = {.seed = 5};
    struct syn_fleet *fleet;
    struct syn_err err;
    uint32_t number;
    bool all = true;

    assert_done(syn_fleet_new(&options, &fleet, &err), &err);
    for (int i = 0; i < MODELS; i++)
        assert_done(syn_fleet_model_add(fleet, &models[i], &number, &err), &err);
    for (size_t i = 0; i < SYN_LEN(words); i++)
        assert_done(syn_fleet_word(fleet, words[i], &number, &err), &err);
    for (int i = 0; i < NODES; i++)
        put_node(fleet, life, i);
    for (int key = 0; key < KEYS; key++) {
        const struct shadow_request *request = &life->requests[key];
        uint32_t nodes[MEMBERS] = {0};
        struct syn_fleet_slot slots[MEMBERS] = {{0}};
        int rc;

        if (!request->known || !request->members[0].placed)
            continue;
        for (uint32_t m = 0; m < request->asked.members; m++) {
            nodes[m] = request->members[m].slot.node;
            if (named)
                slots[m] = request->members[m].slot;
        }
        rc = syn_fleet_adopt(fleet, &request->asked, nodes, slots, &err);
        for (uint32_t m = 0; rc == SYN_OK && m < request->asked.members; m++)
            assert_true(slots[m].node == nodes[m] &&
                        (!named || (slots[m].cards == request->members[m].slot.cards &&
                                    slots[m].part == request->members[m].slot.part)));
        assert_true(rc == SYN_OK ||
                    (!named && rc == SYN_E_CONFLICT && request->asked.ask.cards > 0));
        all = all && rc == SYN_OK;
    }
    for (uint32_t i = 0; all && i < NODES; i++)
        for (enum syn_fleet_dim d = SYN_FLEET_CPU; d < SYN_FLEET_DIMS; d++)
            assert_int_equal(syn_fleet_node_free(fleet, i, d),
                             syn_fleet_node_free(life->fleet, i, d));
    syn_fleet_free(fleet);
}

static void
live(bool scan)
{
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        struct life life;

        begin(&life, seed, scan);
        for (int i = 0; i < STEPS; i++)
            step(&life);
        take_over(&life, false);
        take_over(&life, true);
        syn_fleet_free(life.fleet);
    }
}

static void
test_index(void **state)
{
    (void)state;
    live(false);
}

static void
test_scan(void **state)
{
    (void)state;
    live(true);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_scan),
    };

    return cmocka_run_group_tests_name("fleet properties", tests, NULL, NULL);
}
