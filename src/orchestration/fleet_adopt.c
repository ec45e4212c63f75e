/* What was decided elsewhere, and questions that change nothing.
 *
 * A server that comes back finds work running. It is taken over as it is: limits that only choose
 * (labels, prices, regions) may have changed since and are not asked again; room is. */
#include "fleet_priv.h"

/* Take the ask's cards on copies of the node's, and say which they were: how an instance that is
 * put back has them. */
static bool
cards_for(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
          struct instance *ret)
{
    card_t cards[CARDS];

    ret->cards = 0;
    ret->part = 0;
    ret->vram = 0;
    ret->mode = CARD_PLAIN;
    if (ask_milli(ask) == 0)
        return true;
    memcpy(cards, node->cards, sizeof(cards));
    if (!seek_cards(fleet, ask, node, cards, &ret->part))
        return false;
    for (uint32_t i = 0; i < node->cards_count; i++) {
        if (cards[i] == node->cards[i])
            continue;
        ret->cards |= SYN_BIT(i);
        ret->mode = (uint16_t)card_mode(cards[i]);
        ret->vram = (uint16_t)card_vram_share(ask, &fleet->models[node->models[i]].facts);
    }
    return true;
}

/* The ask's part of this card; CARD_NONE where it is not free. */
static card_t
card_claim(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
           const struct syn_fleet_slot *known)
{
    struct syn_fleet_ask own = *ask;
    uint32_t part = known->part;

    if (!card_suits(ask, model))
        return CARD_NONE;
    if (ask->mode == SYN_FLEET_SHARED &&
        (known->mode == SYN_FLEET_MPS || known->mode == SYN_FLEET_TIME_SLICE))
        own.mode = known->mode; /* as it is had there, not as it would be now */
    if (ask->mode != SYN_FLEET_MIG)
        return card_take(card, &own, model, &part);
    if ((card != CARD_NEW && card_mode(card) != CARD_PARTED) ||
        !card_profile_starts(model->geometry, ask->profile, part))
        return CARD_NONE;
    return card_parted(model, card_slices(card), ask->profile, part);
}

/* The same, of the cards that it is known to have. */
static bool
cards_claim(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
            const struct syn_fleet_slot *known, struct instance *ret)
{
    if ((uint32_t)__builtin_popcount(known->cards) != ask_cards(ask) ||
        known->cards >> node->cards_count)
        return false;
    ret->cards = known->cards;
    ret->part = ask->mode == SYN_FLEET_MIG ? known->part : 0;
    for (uint32_t i = 0; i < node->cards_count; i++) {
        const struct syn_fleet_model *model = &fleet->models[node->models[i]].facts;
        card_t card;

        if (!(known->cards & SYN_BIT(i)))
            continue;
        card = card_claim(node->cards[i], ask, model, known);
        if (card == CARD_NONE)
            return false;
        ret->mode = (uint16_t)card_mode(card);
        ret->vram = (uint16_t)card_vram_share(ask, model);
    }
    return true;
}

static int
adopt_member(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t at, uint32_t number,
             const struct syn_fleet_slot *known, struct syn_err *err)
{
    const struct node *node;
    struct instance was = {.node = number};

    if (number >= fleet->nodes.count || !fleet->nodes.items[number].here)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "node %u: not there", number);
    node = &fleet->nodes.items[number];
    for (unsigned d = 0; d < DIMS; d++)
        if (node->free[d] < ask->need[d])
            return SYN_FAIL(err, SYN_E_CONFLICT, "node %s: what runs there is more than it has",
                            node->name);
    if (known->cards ? !cards_claim(fleet, ask, node, known, &was)
                     : !cards_for(fleet, ask, node, &was))
        return SYN_FAIL(err, SYN_E_CONFLICT, "node %s: has not the cards of what runs there",
                        node->name);
    restore(fleet, at, &was);
    return SYN_OK;
}

int
syn_fleet_adopt(struct syn_fleet *fleet, const struct syn_fleet_request *wanted,
                const uint32_t *nodes, struct syn_fleet_slot *slots, struct syn_err *err)
{
    struct request *request;
    uint32_t at = NONE;
    int rc = run_new(fleet, wanted, &at, err);

    if (rc < 0)
        return rc;
    request = &fleet->requests.items[at];
    rc = table_reserve(&fleet->groups, (size_t)request->members * (SCOPE_ALL + 1), err);
    for (uint32_t i = request->first; i != NONE && rc == SYN_OK;
         i = fleet->instances.items[i].sibling) {
        uint32_t member = fleet->instances.items[i].member;

        rc = adopt_member(fleet, &wanted->ask, i, nodes[member], &slots[member], err);
        if (rc == SYN_OK)
            slots[member] = tell_slot(fleet, &fleet->instances.items[i]);
    }
    if (rc < 0) {
        run_free(fleet, at);
        return rc;
    }
    request->state = STATE_RUNNING;
    request->started_ms = fleet->now_ms;
    fleet->moves += wanted->ask.group != 0;
    run_started(fleet, request);
    return SYN_OK;
}

int
syn_fleet_merge(struct syn_fleet *fleet, const uint64_t *keys, size_t count,
                const struct syn_fleet_request *wanted, const uint32_t *nodes,
                struct syn_fleet_slot *slots, struct syn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t at = keys[i] == UINT64_MAX ? NONE : table_get(&fleet->keys, keys[i]);

        if (at == NONE || fleet->requests.items[at].state != STATE_RUNNING)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "request %llu: does not run",
                            (unsigned long long)keys[i]);
        run_stopped(fleet, &fleet->requests.items[at]);
        run_free(fleet, at);
    }
    return syn_fleet_adopt(fleet, wanted, nodes, slots, err);
}

int
syn_fleet_probe(struct syn_fleet *fleet, const struct syn_fleet_request *wanted,
                struct syn_fleet_slot *slots, struct syn_err *err)
{
    bool learn = fleet->options.learn;
    uint64_t gain = fleet->gain;
    uint32_t at = NONE;
    int rc;

    fleet->options.learn = false; /* a question is not what will come */
    rc = run_new(fleet, wanted, &at, err);
    fleet->options.learn = learn;
    if (rc < 0)
        return rc;
    rc = queue_within_quota(fleet, &fleet->requests.items[at]) ? run_place(fleet, at, err)
                                                               : SYN_FLEET_FULL;
    if (rc == SYN_OK)
        run_slots(fleet, at, slots);
    run_free(fleet, at);
    fleet->gain = gain; /* what did not fit before does not fit now */
    return rc;
}
