/* Does an ask fit a node, and which node is it to be? Everything that is a limit is decided here,
 * by one function for choosing, explaining and testing. */
#include "fleet_priv.h"

uint64_t
group_key(uint32_t group, uint32_t scope, uint32_t domain)
{
    return (uint64_t)group << 32 | (uint64_t)scope << 29 | domain;
}

static uint32_t
group_count(const struct syn_fleet *fleet, uint32_t group, uint32_t scope, uint32_t domain)
{
    uint32_t count = table_get(&fleet->groups, group_key(group, scope, domain));

    return count == NONE ? 0 : count;
}

static bool
too_far(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t region)
{
    uint32_t rtt;

    if (ask->near == 0 || ask->rtt_max_us == 0)
        return false;
    rtt = score_rtt(fleet, region, ask->near);
    return rtt == NONE || rtt > ask->rtt_max_us;
}

bool
seek_model_suits(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, unsigned model)
{
    return (ask->models == 0 || (ask->models >> model & 1)) &&
           card_suits(ask, &fleet->models[model].facts);
}

bool
seek_card_suits(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                const struct class_key *class, uint32_t card)
{
    return seek_model_suits(fleet, ask, class->models[card]) &&
           (ask->price_max == 0 ||
            score_price(&class->price[ask->spot], ask,
                        card_charge(ask, &fleet->models[class->models[card]].facts),
                        card) <= ask->price_max);
}

/* The same of a card of this model in the class. */
static bool
model_suits(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
            const struct class_key *class, unsigned model)
{
    for (uint32_t i = 0; i < class->cards && ask->price_max > 0; i++)
        if (class->models[i] == model)
            return seek_card_suits(fleet, ask, class, i);
    return seek_model_suits(fleet, ask, model);
}

uint32_t
seek_class_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                 const struct class_key *class)
{
    uint32_t lacks = class->held ? SYN_BIT(LACK_RESERVED) : 0;
    bool suits = ask_milli(ask) == 0;

    if (ask->region != 0 && ask->region != class->region)
        lacks |= SYN_BIT(LACK_REGION);
    if (too_far(fleet, ask, class->region))
        lacks |= SYN_BIT(LACK_LATENCY);
    if ((ask->labels & class->labels) != ask->labels)
        lacks |= SYN_BIT(LACK_LABELS);
    if (ask->isolation != 0 && !(ask->isolation & class->isolation))
        lacks |= SYN_BIT(LACK_ISOLATION);
    for (uint32_t i = 0; i < class->cards && !suits; i++)
        suits = seek_model_suits(fleet, ask, class->models[i]);
    if (!suits)
        return lacks | SYN_BIT(LACK_MODEL);
    if (ask->price_max > 0 && score_price_least(fleet, class, ask) > ask->price_max)
        lacks |= SYN_BIT(LACK_PRICE);
    return lacks;
}

/* Whole cards must all be of one model. */
bool
seek_cards(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
           card_t *cards, uint32_t *ret_part)
{
    const struct class_key *class = &fleet->classes.items[node->class_open].key;

    for (uint32_t i = 0; i < node->cards_count; i++) {
        uint32_t found = 0, bits = 0;

        if (!model_suits(fleet, ask, class, node->models[i]))
            continue;
        if (ask->mode != SYN_FLEET_CARDS) {
            card_t card = card_take(cards[i], ask, &fleet->models[node->models[i]].facts, ret_part);

            if (card == CARD_NONE)
                continue;
            cards[i] = card;
            return true;
        }
        for (uint32_t j = i; j < node->cards_count && found < ask->cards; j++)
            if (node->models[j] == node->models[i] && cards[j] == CARD_NEW) {
                bits |= SYN_BIT(j);
                found++;
            }
        if (found < ask->cards)
            continue;
        for (uint32_t j = i; j < node->cards_count; j++)
            if (bits & SYN_BIT(j))
                cards[j] = 0;
        return true;
    }
    return false;
}

uint32_t
seek_room_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                const struct node *node, const int64_t *free, const card_t *cards)
{
    uint32_t lacks = 0, part;
    card_t copy[CARDS];

    for (unsigned d = 0; d < DIMS; d++)
        if (ask->need[d] > free[d])
            lacks |= SYN_BIT(LACK_CPU + d);
    memcpy(copy, cards, sizeof(copy));
    if (ask_milli(ask) > 0 && !seek_cards(fleet, ask, node, copy, &part))
        lacks |= SYN_BIT(LACK_CARDS);
    return lacks;
}

bool
seek_take(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
          int64_t *free, card_t *cards)
{
    uint32_t part;

    if (seek_room_lacks(fleet, ask, node, free, cards) != 0)
        return false;
    for (unsigned d = 0; d < DIMS; d++)
        free[d] -= ask->need[d];
    return ask_milli(ask) == 0 || seek_cards(fleet, ask, node, cards, &part);
}

uint32_t
seek_units(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
           bool empty, uint32_t most)
{
    int64_t free[DIMS];
    card_t cards[CARDS];
    uint32_t units = 0;

    memcpy(free, empty ? node->capacity : node->free, sizeof(free));
    for (uint32_t i = 0; i < CARDS; i++)
        cards[i] = empty && i < node->cards_count ? CARD_NEW : node->cards[i];
    while (units < most && seek_take(fleet, ask, node, free, cards))
        units++;
    return units;
}

static const struct class_key *
class_of(const struct syn_fleet *fleet, const struct node *node)
{
    return &fleet->classes.items[node->held ? node->class_held : node->class_open].key;
}

uint32_t
seek_floor(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask)
{
    uint32_t floor = NONE;

    if (ask->even == 0)
        return 0;
    for (size_t i = 0; i < fleet->nodes.count; i++) {
        const struct node *node = &fleet->nodes.items[i];
        uint32_t count;

        if (!node_open(node) ||
            (seek_class_lacks(fleet, ask, class_of(fleet, node)) & ~SYN_BIT(LACK_RESERVED)))
            continue;
        count = group_count(fleet, ask->group, ask->even_scope, node->domains[ask->even_scope]);
        floor = SYN_MIN(floor, count);
    }
    return floor;
}

static uint32_t
group_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t floor,
            const struct node *node)
{
    uint32_t lacks = 0;

    if (ask->with != 0 &&
        group_count(fleet, ask->with, ask->with_scope, node->domains[ask->with_scope]) == 0 &&
        (ask->with != ask->group || group_count(fleet, ask->with, SCOPE_ALL, 0) > 0))
        lacks |= SYN_BIT(LACK_WITH);
    if (ask->apart != 0 &&
        group_count(fleet, ask->apart, ask->apart_scope, node->domains[ask->apart_scope]) > 0)
        lacks |= SYN_BIT(LACK_APART);
    if (ask->even != 0 &&
        group_count(fleet, ask->group, ask->even_scope, node->domains[ask->even_scope]) >=
            (uint64_t)floor + ask->even)
        lacks |= SYN_BIT(LACK_EVEN);
    return lacks;
}

uint32_t
seek_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t floor,
           const struct node *node)
{
    uint32_t lacks = node_open(node) ? 0 : SYN_BIT(LACK_NODE);

    lacks |= seek_class_lacks(fleet, ask, class_of(fleet, node)) |
             seek_room_lacks(fleet, ask, node, node->free, node->cards) |
             group_lacks(fleet, ask, floor, node);
    if (lacks & (SYN_BIT(LACK_MODEL) | SYN_BIT(LACK_PRICE)))
        lacks &= ~SYN_BIT(LACK_CARDS); /* of cards that would not do there are never enough */
    return lacks;
}

static bool
better(const struct rank *a, const struct rank *b)
{
    return a->first != b->first ? a->first > b->first : a->second > b->second;
}

/* Look at every node: what depends on where others run is not in the index. */
static int
seek_all(struct syn_fleet *fleet, const struct request *request, uint32_t excused,
         uint32_t *ret_node, struct syn_err *err)
{
    const struct syn_fleet_ask *ask = &fleet->shapes.items[request->shape].ask;
    uint32_t floor = seek_floor(fleet, ask);
    struct rank best = {0};
    uint64_t best_tie = 0;
    struct cache *cache;
    int rc = index_cache(fleet, request->shape, &cache, err);

    *ret_node = NONE;
    for (uint32_t i = 0; rc == SYN_OK && i < fleet->nodes.count; i++) {
        struct node *node = &fleet->nodes.items[i];
        uint64_t tie = hash_mix(fleet->options.seed ^ i);
        struct rank rank;
        struct pick pick;

        if (node->bucket == NONE || (seek_lacks(fleet, ask, floor, node) & ~excused) ||
            !score(fleet, ask, &fleet->buckets.items[node->bucket],
                   index_fit(fleet, cache, fleet->buckets.items[node->bucket].key.class), &rank,
                   &pick))
            continue;
        if (*ret_node != NONE && !better(&rank, &best) && (better(&best, &rank) || tie >= best_tie))
            continue;
        *ret_node = i;
        best = rank;
        best_tie = tie;
    }
    return rc;
}

int
seek(struct syn_fleet *fleet, const struct request *request, uint32_t *ret_node,
     struct syn_err *err)
{
    int rc = mix_refresh(fleet, err);

    if (rc < 0)
        return rc;
    fleet->decisions++;
    if (fleet->shapes.items[request->shape].tied)
        rc = seek_all(fleet, request, 0, ret_node, err);
    else
        rc = index_best(fleet, request->shape, ret_node, err);
    if (rc < 0 || *ret_node != NONE || fleet->holder == NONE || request->runs_ms == 0 ||
        fleet->hold_start_ms < 0 || fleet->now_ms + request->runs_ms > fleet->hold_start_ms)
        return rc;
    /* It is over before the gang can start: it may use what is kept for that. */
    return seek_all(fleet, request, SYN_BIT(LACK_RESERVED), ret_node, err);
}
