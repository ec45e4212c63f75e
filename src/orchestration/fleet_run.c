/* Shapes, requests and their members: putting them on nodes and taking them off. */
#include "fleet_priv.h"

#include <synor/base/mem.h>

static bool
scope_ok(uint32_t group, uint32_t scope)
{
    return group == 0 ? scope == 0 : scope < SYN_FLEET_SCOPES;
}

static const char *
ask_fault_cards(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask)
{
    bool share = ask->mode == SYN_FLEET_SHARED || ask->mode == SYN_FLEET_MPS ||
                 ask->mode == SYN_FLEET_TIME_SLICE;

    if (ask->mode >= SYN_FLEET_MODES)
        return "mode: not one of the modes";
    if (ask->mode == SYN_FLEET_CARDS ? ask->cards > CARDS : ask->cards != 1)
        return "cards: more than a node can have, or not 1 for a part of a card";
    if (share ? ask->share < 1 || ask->share > WHOLE : ask->share != 0)
        return "share: expected 1..1000 thousandths for a share, 0 otherwise";
    if (ask->profile >= SYN_FLEET_PROFILES || (ask->profile && ask->mode != SYN_FLEET_MIG))
        return "profile: not one of the profiles, or not for this mode";
    if (fleet->models_count < SYN_FLEET_MODELS_MAX && ask->models >> fleet->models_count)
        return "models: names a model that is not known";
    if (ask_milli(ask) == 0 && (ask->models || ask->vram_mib || ask->kind || ask->capability))
        return "models, vram, kind, capability: given without cards";
    return NULL;
}

static const char *
ask_fault(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask)
{
    for (unsigned d = 0; d < DIMS; d++)
        if (ask->need[d] < 0 || ask->need[d] > SYN_FLEET_QUANTITY_MAX)
            return "need: an amount is negative or too large";
    if (ask->price_max < 0 || ask->price_max > SYN_FLEET_CEILING_MAX)
        return "price_max: negative or too large";
    if (ask->policy >= SYN_FLEET_POLICIES)
        return "policy: not one of the policies";
    if (!scope_ok(ask->with, ask->with_scope) || !scope_ok(ask->apart, ask->apart_scope) ||
        !scope_ok(ask->even, ask->even_scope))
        return "scope: not one of the scopes, or given for nothing";
    if (ask->even != 0 && ask->group == 0)
        return "even: needs a group";
    if (ask->group > fleet->texts.count || ask->with > fleet->texts.count ||
        ask->apart > fleet->texts.count || ask->region > fleet->texts.count ||
        ask->near > fleet->texts.count || ask->kind > fleet->texts.count)
        return "region, near, kind or group: no such word";
    if (ask->spot > 1)
        return "spot: expected 0 or 1";
    return ask_fault_cards(fleet, ask);
}

int
ask_check(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, struct syn_err *err)
{
    const char *fault = ask_fault(fleet, ask);

    return fault ? SYN_FAIL(err, SYN_E_INVALID, "%s", fault) : SYN_OK;
}

/* Shapes that nobody uses make room; the mix forgets them. */
static bool
shapes_sweep(struct syn_fleet *fleet)
{
    uint32_t freed = 0;

    table_clear(&fleet->shape_hashes);
    for (size_t i = 0; i < fleet->shapes.count; i++) {
        struct shape *shape = &fleet->shapes.items[i];
        int rc;

        if (shape->refs > 0 || (shape->used && fleet->mix_given && shape->weight > 0)) {
            shape->next = table_get(&fleet->shape_hashes, shape->hash);
            rc = table_put(&fleet->shape_hashes, shape->hash, (uint32_t)i, NULL);
            assert(rc == SYN_OK); /* it had room for more of them */
            (void)rc;
        } else if (shape->used) {
            index_drop_cache(fleet, (uint32_t)i);
            fleet->mix_total -= shape->weight;
            shape->used = false;
            shape->next = fleet->shape_free;
            fleet->shape_free = (uint32_t)i;
            freed++;
        }
    }
    return freed > 0;
}

static int
shape_new(struct syn_fleet *fleet, uint32_t *ret, struct syn_err *err)
{
    if (fleet->shape_free == NONE && fleet->shapes.count == SYN_FLEET_SHAPES_MAX &&
        !shapes_sweep(fleet))
        return SYN_FAIL(err, SYN_E_LIMIT, "requests: more than %u different ones",
                        SYN_FLEET_SHAPES_MAX);
    if (fleet->shape_free != NONE) {
        *ret = fleet->shape_free;
        fleet->shape_free = fleet->shapes.items[*ret].next;
        return SYN_OK;
    }
    if (!syn_grow(&fleet->shapes.items, &fleet->shapes.cap, fleet->shapes.count + 1,
                  sizeof(struct shape)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding a shape: out of memory");
    *ret = (uint32_t)fleet->shapes.count++;
    fleet->shapes.items[*ret] = (struct shape){0};
    return SYN_OK;
}

int
shape_of(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t *ret,
         struct syn_err *err)
{
    uint64_t hash = hash_bytes(ask, sizeof(*ask), 0) >> 1;
    uint32_t at;
    int rc;

    for (at = table_get(&fleet->shape_hashes, hash); at != NONE; at = fleet->shapes.items[at].next)
        if (memcmp(&fleet->shapes.items[at].ask, ask, sizeof(*ask)) == 0) {
            *ret = at;
            return SYN_OK;
        }
    rc = shape_new(fleet, &at, err);
    if (rc < 0)
        return rc;
    fleet->shapes.items[at] =
        (struct shape){.ask = *ask,
                       .hash = hash,
                       .cache = NONE,
                       .next = table_get(&fleet->shape_hashes, hash),
                       .tied = ask->with != 0 || ask->apart != 0 || ask->even != 0};
    rc = table_put(&fleet->shape_hashes, hash, at, err);
    if (rc < 0) {
        fleet->shapes.items[at].next = fleet->shape_free;
        fleet->shape_free = at;
        return rc;
    }
    fleet->shapes.items[at].used = true;
    *ret = at;
    return SYN_OK;
}

static const struct syn_fleet_ask *
ask_of(const struct syn_fleet *fleet, const struct instance *instance)
{
    return &fleet->shapes.items[fleet->requests.items[instance->request].shape].ask;
}

static void
count_group(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
            int more)
{
    for (uint32_t scope = 0; scope <= SCOPE_ALL && ask->group != 0; scope++) {
        uint32_t domain = scope == SCOPE_ALL ? 0 : node->domains[scope];
        uint64_t key = group_key(ask->group, scope, domain);
        uint32_t count = table_get(&fleet->groups, key);
        int rc;

        if (more < 0 && count == 1) {
            table_remove(&fleet->groups, key);
            continue;
        }
        /* attach() made room, and putting back finds the room it left. */
        rc = table_put(&fleet->groups, key, count == NONE ? 1 : count + (more > 0 ? 1U : NONE),
                       NULL);
        assert(rc == SYN_OK);
        (void)rc;
    }
}

static void
count_account(struct syn_fleet *fleet, const struct request *request,
              const struct syn_fleet_ask *ask, int sign)
{
    struct account *account = &fleet->accounts.items[request->account];
    int64_t milli = (int64_t)ask_milli(ask) * ask_cards(ask);

    for (unsigned d = 0; d < DIMS; d++)
        account->held[d] += sign * ask->need[d];
    account->milli_held += sign * milli;
    account->sized = 0;
    fleet->milli_used += sign * milli;
}

static void
node_add(struct syn_fleet *fleet, uint32_t number, uint32_t at)
{
    struct node *node = &fleet->nodes.items[number];
    struct instance *instance = &fleet->instances.items[at];
    struct request *request = &fleet->requests.items[instance->request];
    const struct syn_fleet_ask *ask = ask_of(fleet, instance);

    for (unsigned d = 0; d < DIMS; d++) {
        assert(node->free[d] >= ask->need[d]);
        node->free[d] -= ask->need[d];
    }
    instance->node = number;
    instance->prev = NONE;
    instance->next = node->first;
    if (node->first != NONE)
        fleet->instances.items[node->first].prev = at;
    node->first = at;
    fleet->drains += node->drained && node->running == 0;
    node->running++;
    request->placed++;
    count_group(fleet, ask, node, 1);
    count_account(fleet, request, ask, 1);
}

int
attach(struct syn_fleet *fleet, uint32_t at, uint32_t number, struct syn_err *err)
{
    struct node *node = &fleet->nodes.items[number];
    struct instance *instance = &fleet->instances.items[at];
    uint32_t shape = fleet->requests.items[instance->request].shape;
    const struct syn_fleet_ask *ask = &fleet->shapes.items[shape].ask;
    struct bucket *bucket = &fleet->buckets.items[node->bucket];
    struct cache *cache;
    struct rank rank;
    struct pick pick;
    int rc = index_cache(fleet, shape, &cache, err);

    if (rc == SYN_OK)
        rc = table_reserve(&fleet->groups, SCOPE_ALL + 1, err);
    if (rc < 0)
        return rc;
    if (!score(fleet, ask, bucket, index_fit(fleet, cache, bucket->key.class), &rank, &pick))
        assert(!"a node that fits has cards that do");
    index_unlink(fleet, number);
    instance->cards = 0;
    instance->part = pick.part;
    instance->vram = 0;
    instance->mode = CARD_PLAIN;
    for (uint32_t i = 0; i < node->cards_count; i++) {
        uint8_t card = node->order[i];

        if (!(pick.taken & SYN_BIT(i)))
            continue;
        node->cards[card] = pick.cards[i];
        instance->cards |= SYN_BIT(card);
        instance->mode = (uint16_t)card_mode(pick.cards[i]);
        instance->vram = (uint16_t)card_vram_share(ask, &fleet->models[node->models[card]].facts);
    }
    node_add(fleet, number, at);
    index_link(fleet, number);
    return SYN_OK;
}

void
detach(struct syn_fleet *fleet, uint32_t at)
{
    struct instance *instance = &fleet->instances.items[at];
    struct node *node = &fleet->nodes.items[instance->node];
    struct request *request = &fleet->requests.items[instance->request];
    const struct syn_fleet_ask *ask = ask_of(fleet, instance);
    bool linked = node->bucket != NONE;

    index_unlink(fleet, instance->node);
    for (unsigned d = 0; d < DIMS; d++)
        node->free[d] += ask->need[d];
    for (uint32_t i = 0; i < node->cards_count; i++)
        if (instance->cards & SYN_BIT(i))
            node->cards[i] = card_give(node->cards[i], ask, &fleet->models[node->models[i]].facts,
                                       instance->part, instance->vram);
    if (instance->prev == NONE)
        node->first = instance->next;
    else
        fleet->instances.items[instance->prev].next = instance->next;
    if (instance->next != NONE)
        fleet->instances.items[instance->next].prev = instance->prev;
    assert(node->running > 0 && request->placed > 0);
    node->running--;
    fleet->drains -= node->drained && node->running == 0;
    request->placed--;
    count_group(fleet, ask, node, -1);
    count_account(fleet, request, ask, -1);
    if (linked)
        index_link(fleet, instance->node);
    instance->node = NONE;
}

/* The inverse of card_give() on the same card. */
static card_t
card_back(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
          const struct instance *was)
{
    card_t full;

    if (ask->mode == SYN_FLEET_CARDS)
        return 0;
    if (ask->mode != SYN_FLEET_MIG) {
        assert(card_time(card) >= ask->share && card_vram(card) >= was->vram);
        return card_pack(card_time(card) - ask->share, card_vram(card) - was->vram, was->mode, 0);
    }
    full = card_parted(model, card_slices(card), ask->profile, was->part);
    assert(full != CARD_NONE);
    return full;
}

void
restore(struct syn_fleet *fleet, uint32_t at, const struct instance *was)
{
    struct node *node = &fleet->nodes.items[was->node];
    struct instance *instance = &fleet->instances.items[at];
    const struct syn_fleet_ask *ask = ask_of(fleet, instance);
    bool linked = node->bucket != NONE;

    index_unlink(fleet, was->node);
    instance->cards = was->cards;
    instance->part = was->part;
    instance->vram = was->vram;
    instance->mode = was->mode;
    for (uint32_t i = 0; i < node->cards_count; i++)
        if (was->cards & SYN_BIT(i))
            node->cards[i] =
                card_back(node->cards[i], ask, &fleet->models[node->models[i]].facts, was);
    node_add(fleet, was->node, at);
    if (linked)
        index_link(fleet, was->node);
}

void
run_forget(struct syn_fleet *fleet, uint32_t request)
{
    uint32_t cache = fleet->shapes.items[fleet->requests.items[request].shape].cache;

    if (cache != NONE)
        fleet->caches[cache]->full = 0;
}

int
run_place(struct syn_fleet *fleet, uint32_t at, struct syn_err *err)
{
    struct request *request = &fleet->requests.items[at];
    LIST(uint32_t) done = {0};
    int rc = SYN_OK;

    for (uint32_t i = request->first; i != NONE && rc == SYN_OK;
         i = fleet->instances.items[i].sibling) {
        uint32_t node;

        if (fleet->instances.items[i].node != NONE)
            continue;
        if (!syn_grow(&done.items, &done.cap, done.count + 1, sizeof(uint32_t)))
            rc = SYN_FAIL(err, SYN_E_NOMEM, "placing a request: out of memory");
        if (rc == SYN_OK)
            rc = seek(fleet, request, &node, err);
        if (rc == SYN_OK && node == NONE)
            rc = SYN_FLEET_FULL;
        if (rc == SYN_OK)
            rc = attach(fleet, i, node, err);
        if (rc == SYN_OK)
            done.items[done.count++] = i;
    }
    for (size_t i = done.count; i-- > 0 && rc != SYN_OK;)
        detach(fleet, done.items[i]);
    if (rc != SYN_OK && done.count > 0)
        run_forget(fleet, at);
    syn_free(done.items);
    if (rc != SYN_OK)
        return rc;
    request->state = STATE_RUNNING;
    request->started_ms = fleet->now_ms;
    return SYN_OK;
}

void
run_started(struct syn_fleet *fleet, const struct request *request)
{
    fleet->running++;
    if (request->priority < fleet->lowest || fleet->running == 1) {
        fleet->lowest = request->priority;
        fleet->lowest_count = 0;
    }
    fleet->lowest_count += request->priority == fleet->lowest;
}

void
run_stopped(struct syn_fleet *fleet, const struct request *request)
{
    assert(fleet->running > 0 && request->priority >= fleet->lowest);
    fleet->running--;
    fleet->lowest_count -= request->priority == fleet->lowest;
}

bool
run_below(struct syn_fleet *fleet, int32_t priority)
{
    if (fleet->running == 0 || priority <= fleet->lowest)
        return false;
    if (fleet->lowest_count > 0)
        return true;
    fleet->lowest = INT32_MAX; /* the last of them has ended: which are the lowest now? */
    for (size_t i = 0; i < fleet->requests.count; i++) {
        const struct request *request = &fleet->requests.items[i];

        if (request->state != STATE_RUNNING || request->priority > fleet->lowest)
            continue;
        if (request->priority < fleet->lowest)
            fleet->lowest_count = 0;
        fleet->lowest = request->priority;
        fleet->lowest_count++;
    }
    return priority > fleet->lowest;
}

int
account_ensure(struct syn_fleet *fleet, uint32_t account, struct syn_err *err)
{
    if (account > fleet->texts.count)
        return SYN_FAIL(err, SYN_E_INVALID, "account: no such word");
    if (account < fleet->accounts.count)
        return SYN_OK;
    if (!syn_grow(&fleet->accounts.items, &fleet->accounts.cap, (size_t)account + 1,
                  sizeof(struct account)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding an account: out of memory");
    while (fleet->accounts.count <= account)
        fleet->accounts.items[fleet->accounts.count++] =
            (struct account){.limits = {-1, -1, -1, -1}, .cards_max = -1, .weight = 1};
    return SYN_OK;
}

static int
request_new(struct syn_fleet *fleet, uint32_t *ret, struct syn_err *err)
{
    if (fleet->request_free != NONE) {
        *ret = fleet->request_free;
        fleet->request_free = fleet->requests.items[*ret].next;
        return SYN_OK;
    }
    if (fleet->requests.count == SYN_FLEET_PENDING_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "requests: there are %u already", SYN_FLEET_PENDING_MAX);
    if (!syn_grow(&fleet->requests.items, &fleet->requests.cap, fleet->requests.count + 1,
                  sizeof(struct request)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding a request: out of memory");
    *ret = (uint32_t)fleet->requests.count++;
    return SYN_OK;
}

static int
instance_new(struct syn_fleet *fleet, uint32_t *ret, struct syn_err *err)
{
    if (fleet->instance_free != NONE) {
        *ret = fleet->instance_free;
        fleet->instance_free = fleet->instances.items[*ret].sibling;
        return SYN_OK;
    }
    if (!syn_grow(&fleet->instances.items, &fleet->instances.cap, fleet->instances.count + 1,
                  sizeof(struct instance)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding a member: out of memory");
    *ret = (uint32_t)fleet->instances.count++;
    return SYN_OK;
}

static int
request_check(struct syn_fleet *fleet, const struct syn_fleet_request *request, struct syn_err *err)
{
    if (request->key == UINT64_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "key: the largest number is no key");
    if (request->members < 1 || request->members > SYN_FLEET_GANG_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "members: expected 1..%u, got %u", SYN_FLEET_GANG_MAX,
                        request->members);
    if (request->runs_ms < 0 || request->runs_ms > SYN_FLEET_QUANTITY_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "runs_ms: negative or too large");
    if (table_get(&fleet->keys, request->key) != NONE)
        return SYN_FAIL(err, SYN_E_CONFLICT, "key: %llu is in use",
                        (unsigned long long)request->key);
    return ask_check(fleet, &request->ask, err);
}

int
run_new(struct syn_fleet *fleet, const struct syn_fleet_request *wanted, uint32_t *ret,
        struct syn_err *err)
{
    uint32_t at = NONE, shape = NONE;
    int rc = request_check(fleet, wanted, err);

    if (rc == SYN_OK)
        rc = account_ensure(fleet, wanted->account, err);
    if (rc == SYN_OK)
        rc = table_reserve(&fleet->keys, 1, err);
    if (rc == SYN_OK)
        rc = shape_of(fleet, &wanted->ask, &shape, err);
    if (rc == SYN_OK)
        rc = request_new(fleet, &at, err);
    if (rc < 0)
        return rc;
    fleet->requests.items[at] = (struct request){.key = wanted->key,
                                                 .sequence = fleet->sequence++,
                                                 .runs_ms = wanted->runs_ms,
                                                 .account = wanted->account,
                                                 .priority = wanted->priority,
                                                 .members = wanted->members,
                                                 .shape = shape,
                                                 .first = NONE,
                                                 .line = NONE,
                                                 .state = STATE_TRYING};
    rc = table_put(&fleet->keys, wanted->key, at, err);
    fleet->shapes.items[shape].refs++;
    for (uint32_t i = wanted->members; i-- > 0 && rc == SYN_OK;) {
        uint32_t member = NONE;

        rc = instance_new(fleet, &member, err);
        if (rc < 0)
            break;
        fleet->instances.items[member] = (struct instance){
            .request = at, .member = i, .node = NONE, .sibling = fleet->requests.items[at].first};
        fleet->requests.items[at].first = member;
    }
    if (rc < 0) {
        run_free(fleet, at);
        return rc;
    }
    if (fleet->options.learn && !fleet->mix_given) {
        fleet->shapes.items[shape].weight += wanted->members;
        fleet->mix_total += wanted->members;
    }
    *ret = at;
    return SYN_OK;
}

void
run_free(struct syn_fleet *fleet, uint32_t at)
{
    struct request *request = &fleet->requests.items[at];

    fleet->gain += request->placed > 0;
    for (uint32_t i = request->first, next; i != NONE; i = next) {
        struct instance *instance = &fleet->instances.items[i];

        next = instance->sibling;
        if (instance->node != NONE)
            detach(fleet, i);
        instance->sibling = fleet->instance_free;
        fleet->instance_free = i;
    }
    table_remove(&fleet->keys, request->key);
    fleet->shapes.items[request->shape].refs--;
    request->state = STATE_FREE;
    request->next = fleet->request_free;
    fleet->request_free = at;
}

void
run_slots(const struct syn_fleet *fleet, uint32_t request, struct syn_fleet_slot *slots)
{
    for (uint32_t i = fleet->requests.items[request].first; i != NONE;
         i = fleet->instances.items[i].sibling) {
        const struct instance *instance = &fleet->instances.items[i];

        slots[instance->member] = tell_slot(fleet, instance);
    }
}
