/* Life of a fleet, its words and models, and the events of nodes. */
#include "fleet_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

static const char *const policy_names[SYN_FLEET_POLICIES] = {
#define SYN_FLEET_ROW(symbol, name) [SYN_FLEET_##symbol] = name,
    SYN_FLEET_POLICY_TABLE(SYN_FLEET_ROW)
#undef SYN_FLEET_ROW
};

int
syn_fleet_policy_find(const char *name)
{
    for (int i = 0; i < SYN_FLEET_POLICIES; i++)
        if (syn_str_eq(policy_names[i], name))
            return i;
    return -1;
}

const char *
syn_fleet_policy_name(enum syn_fleet_policy policy)
{
    assert(policy < SYN_FLEET_POLICIES);
    return policy_names[policy];
}

int
syn_fleet_new(const struct syn_fleet_options *options, struct syn_fleet **ret, struct syn_err *err)
{
    SYN_SCOPED(syn_fleet_free_scope) struct syn_fleet *fleet = syn_calloc(1, sizeof(*fleet));
    int rc;

    if (!fleet)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a fleet: out of memory");
    fleet->options = *options;
    fleet->shape_free = NONE;
    fleet->instance_free = NONE;
    fleet->request_free = NONE;
    fleet->line_free = NONE;
    fleet->holder = NONE;
    fleet->hold_start_ms = -1;
    rc = syn_map_new(NULL, &fleet->words, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &fleet->label_names, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &fleet->node_names, err);
    if (rc == SYN_OK)
        rc = account_ensure(fleet, 0, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(fleet);
    return SYN_OK;
}

struct syn_fleet *
syn_fleet_free(struct syn_fleet *fleet)
{
    if (!fleet)
        return NULL;
    for (size_t i = 0; i < fleet->texts.count; i++)
        syn_free(fleet->texts.items[i]);
    if (fleet->words)
        syn_map_free(fleet->words);
    if (fleet->label_names)
        syn_map_free(fleet->label_names);
    if (fleet->node_names)
        syn_map_free(fleet->node_names);
    index_fini(fleet);
    mix_fini(fleet);
    table_fini(&fleet->rtts);
    table_fini(&fleet->shape_hashes);
    table_fini(&fleet->keys);
    table_fini(&fleet->line_hashes);
    table_fini(&fleet->groups);
    syn_free(fleet->texts.items);
    syn_free(fleet->nodes.items);
    syn_free(fleet->shapes.items);
    syn_free(fleet->instances.items);
    syn_free(fleet->requests.items);
    syn_free(fleet->accounts.items);
    syn_free(fleet->lines.items);
    syn_free(fleet->standing.items);
    syn_free(fleet->held.items);
    syn_free(fleet->effects.items);
    syn_free(fleet);
    return NULL;
}

void
syn_fleet_free_scope(struct syn_fleet **slot)
{
    *slot = syn_fleet_free(*slot);
}

/* Maps hold numbers in their values, from 1. */
static void *
number_value(size_t number)
{
    return (void *)(uintptr_t)number;
}

static size_t
number_find(const struct syn_map *map, const char *text)
{
    return (size_t)(uintptr_t)syn_map_find(map, text);
}

static int
text_check(const char *what, const char *text, size_t cap, struct syn_err *err)
{
    size_t len = text ? strlen(text) : 0;

    if (len == 0 || len >= cap)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected 1..%zu characters, got %zu", what,
                        cap - 1, len);
    return SYN_OK;
}

int
syn_fleet_word(struct syn_fleet *fleet, const char *text, uint32_t *ret, struct syn_err *err)
{
    int rc = text_check("a word", text, SYN_FLEET_TEXT_MAX, err);
    size_t number;
    char *copy;

    if (rc < 0)
        return rc;
    number = number_find(fleet->words, text);
    if (number == 0) {
        if (fleet->texts.count == SYN_FLEET_WORDS_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "words: there are %u already", SYN_FLEET_WORDS_MAX);
        if (!syn_grow(&fleet->texts.items, &fleet->texts.cap, fleet->texts.count + 1,
                      sizeof(char *)))
            return SYN_FAIL(err, SYN_E_NOMEM, "adding the word %s: out of memory", text);
        copy = syn_strdup(text);
        if (!copy)
            return SYN_FAIL(err, SYN_E_NOMEM, "adding the word %s: out of memory", text);
        rc = syn_map_put_take(fleet->words, text, number_value(fleet->texts.count + 1), err);
        if (rc < 0) {
            syn_free(copy);
            return rc;
        }
        fleet->texts.items[fleet->texts.count++] = copy;
        number = fleet->texts.count;
    }
    *ret = (uint32_t)number;
    return SYN_OK;
}

const char *
syn_fleet_text(const struct syn_fleet *fleet, uint32_t word)
{
    return word > 0 && word <= fleet->texts.count ? fleet->texts.items[word - 1] : "";
}

int
syn_fleet_label(struct syn_fleet *fleet, const char *text, uint64_t *ret, struct syn_err *err)
{
    int rc = text_check("a label", text, SYN_FLEET_NAME_MAX, err);
    size_t number;

    if (rc < 0)
        return rc;
    number = number_find(fleet->label_names, text);
    if (number == 0) {
        if (fleet->labels == SYN_FLEET_LABELS_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "labels: there are %d already", SYN_FLEET_LABELS_MAX);
        rc = syn_map_put_take(fleet->label_names, text, number_value(fleet->labels + 1), err);
        if (rc < 0)
            return rc;
        number = ++fleet->labels;
    }
    *ret = UINT64_C(1) << (number - 1);
    return SYN_OK;
}

static const char *
model_fault(const struct syn_fleet *fleet, const struct syn_fleet_model *model)
{
    if (model->kind > fleet->texts.count)
        return "kind: no such word";
    if (model->geometry >= SYN_FLEET_GEOMETRIES)
        return "geometry: not one of the geometries";
    for (uint32_t p = 0; p < SYN_FLEET_PROFILES; p++)
        for (uint32_t start = 0; start < 8; start++)
            if ((model->places[p] & SYN_BIT(start)) &&
                !card_profile_starts(model->geometry, p, start))
                return "places: no partition of its geometry begins there";
    if (model->modes >> SYN_FLEET_MODES)
        return "modes: not of the modes";
    if (model->vram_mib > UINT32_C(1) << 24)
        return "vram_mib: too large";
    if (model->idle_mw > model->context_mw || model->context_mw > model->busy_mw ||
        model->busy_mw > 100000000)
        return "power: expected idle <= context <= busy <= 100 kW";
    return NULL;
}

int
syn_fleet_model_add(struct syn_fleet *fleet, const struct syn_fleet_model *model, uint32_t *ret,
                    struct syn_err *err)
{
    int rc = text_check("a model's name", model->name, SYN_FLEET_NAME_MAX, err);
    const char *fault = model_fault(fleet, model);
    struct model *added;

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < fleet->models_count; i++)
        if (syn_str_eq(fleet->models[i].name, model->name)) {
            *ret = i;
            return SYN_OK;
        }
    if (fault)
        return SYN_FAIL(err, SYN_E_INVALID, "model %s: %s", model->name, fault);
    if (fleet->models_count == SYN_FLEET_MODELS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "models: there are %d already", SYN_FLEET_MODELS_MAX);
    added = &fleet->models[fleet->models_count];
    added->facts = *model;
    (void)syn_str_copy(added->name, sizeof(added->name), model->name);
    added->facts.name = added->name;
    *ret = fleet->models_count++;
    return SYN_OK;
}

int
syn_fleet_expect(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t weight,
                 struct syn_err *err)
{
    uint32_t shape = NONE;
    int rc = ask_check(fleet, ask, err);

    if (rc == SYN_OK)
        rc = shape_of(fleet, ask, &shape, err);
    if (rc < 0)
        return rc;
    if (!fleet->mix_given)
        for (size_t i = 0; i < fleet->shapes.count; i++)
            fleet->shapes.items[i].weight = 0;
    if (!fleet->mix_given)
        fleet->mix_total = 0;
    fleet->mix_given = true;
    fleet->shapes.items[shape].weight += weight;
    fleet->mix_total += weight;
    fleet->mix_due = 0;
    return SYN_OK;
}

int
syn_fleet_set_rtt(struct syn_fleet *fleet, uint32_t region, uint32_t other, uint32_t rtt_us,
                  struct syn_err *err)
{
    uint64_t key = (uint64_t)SYN_MIN(region, other) << 32 | SYN_MAX(region, other);
    int rc;

    if (region == 0 || other == 0 || region > fleet->texts.count || other > fleet->texts.count)
        return SYN_FAIL(err, SYN_E_INVALID, "round trip between regions %u and %u: no such word",
                        region, other);
    rc = table_put(&fleet->rtts, key, SYN_MIN(rtt_us, NONE - 1), err);
    if (rc < 0)
        return rc;
    fleet->epoch++;
    fleet->gain++;
    fleet->grown++;
    return queue_settle(fleet, err);
}

int
syn_fleet_set_account(struct syn_fleet *fleet, uint32_t account, uint32_t weight,
                      const int64_t limits[SYN_FLEET_DIMS], int64_t cards_max, struct syn_err *err)
{
    struct account *known;
    int rc;

    if (weight < 1 || weight > 1000000)
        return SYN_FAIL(err, SYN_E_INVALID, "weight: expected 1..1000000, got %u", weight);
    if (cards_max > SYN_FLEET_QUANTITY_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "cards_max: too large");
    rc = account_ensure(fleet, account, err);
    if (rc < 0)
        return rc;
    known = &fleet->accounts.items[account];
    memcpy(known->limits, limits, sizeof(known->limits));
    known->cards_max = cards_max;
    known->weight = weight;
    known->sized = 0;
    fleet->gain++;
    return queue_settle(fleet, err);
}

void
syn_fleet_set_time(struct syn_fleet *fleet, int64_t now_ms)
{
    fleet->now_ms = SYN_MAX(fleet->now_ms, now_ms);
}

static bool
price_ok(const struct syn_fleet_price *price, const struct syn_fleet_node *node)
{
    bool ok = price->core >= 0 && price->core <= SYN_FLEET_PRICE_MAX && price->gib >= 0 &&
              price->gib <= SYN_FLEET_PRICE_MAX && price->disk >= 0 &&
              price->disk <= SYN_FLEET_PRICE_MAX;

    for (uint32_t i = 0; i < CARDS; i++)
        ok = ok && price->cards[i] >= 0 && price->cards[i] <= SYN_FLEET_PRICE_MAX;
    for (uint32_t i = 1; i < node->cards; i++)
        for (uint32_t j = 0; j < i; j++)
            ok = ok && (node->models[i] != node->models[j] || price->cards[i] == price->cards[j]);
    return ok;
}

static int
node_check(const struct syn_fleet *fleet, const struct syn_fleet_node *node, struct syn_err *err)
{
    int rc = text_check("a node's name", node->name, SYN_FLEET_NAME_MAX, err);

    if (rc < 0)
        return rc;
    for (unsigned d = 0; d < DIMS; d++)
        if (node->capacity[d] < 0 || node->capacity[d] > SYN_FLEET_QUANTITY_MAX ||
            node->overcommit_permille[d] > 100000)
            return SYN_FAIL(err, SYN_E_INVALID, "node %s: a capacity is out of range", node->name);
    if (node->cards > CARDS)
        return SYN_FAIL(err, SYN_E_INVALID, "node %s: cards: at most %d, got %u", node->name, CARDS,
                        node->cards);
    if (!price_ok(&node->price, node) || !price_ok(&node->spot, node))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "node %s: a price is out of range, or equal cards differ in it",
                        node->name);
    for (uint32_t i = 0; i < node->cards; i++)
        if (node->models[i] >= fleet->models_count)
            return SYN_FAIL(err, SYN_E_INVALID, "node %s: models: card %u has no known model",
                            node->name, i);
    if (node->region > fleet->texts.count || node->zone > fleet->texts.count ||
        node->rack > fleet->texts.count)
        return SYN_FAIL(err, SYN_E_INVALID, "node %s: region, zone or rack: no such word",
                        node->name);
    return SYN_OK;
}

/* Without its cards, which come in the class's order. */
static struct syn_fleet_price
price_class(const struct syn_fleet_price *price)
{
    return (struct syn_fleet_price){price->core, price->gib, price->disk, {0}};
}

static void
class_key_of(const struct syn_fleet_node *node, struct class_key *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (unsigned d = 0; d < DIMS; d++) {
        int64_t permille = node->overcommit_permille[d] ? node->overcommit_permille[d] : 1000;

        ret->capacity[d] = (int64_t)((syn_i128)node->capacity[d] * permille / 1000);
    }
    ret->price[0] = price_class(&node->price);
    ret->price[1] = price_class(&node->spot);
    ret->labels = node->labels;
    ret->region = node->region;
    ret->isolation = node->isolation;
    ret->idle_mw = node->idle_mw;
    ret->cards = node->cards;
    for (uint32_t i = 0; i < node->cards; i++) {
        uint32_t at = i;

        for (; at > 0 && ret->models[at - 1] > node->models[i]; at--) {
            ret->models[at] = ret->models[at - 1];
            ret->price[0].cards[at] = ret->price[0].cards[at - 1];
            ret->price[1].cards[at] = ret->price[1].cards[at - 1];
        }
        ret->models[at] = node->models[i];
        ret->price[0].cards[at] = node->price.cards[i];
        ret->price[1].cards[at] = node->spot.cards[i];
    }
}

/* Has `price` something dearer than all that was seen? It has been seen then. */
static bool
note_dearest(struct syn_fleet_price *dearest, const struct syn_fleet_price *price, uint32_t cards)
{
    struct syn_fleet_price was = *dearest;

    dearest->core = SYN_MAX(dearest->core, price->core);
    dearest->gib = SYN_MAX(dearest->gib, price->gib);
    dearest->disk = SYN_MAX(dearest->disk, price->disk);
    for (uint32_t i = 0; i < cards; i++)
        dearest->cards[0] = SYN_MAX(dearest->cards[0], price->cards[i]);
    return memcmp(&was, dearest, sizeof(was)) != 0;
}

static void
note_extremes(struct syn_fleet *fleet, const struct class_key *key)
{
    int64_t power = key->idle_mw;
    bool more = false;

    for (uint32_t i = 0; i < key->cards; i++)
        power += fleet->models[key->models[i]].facts.busy_mw;
    for (unsigned i = 0; i < PRICES; i++)
        more = note_dearest(&fleet->dearest[i], &key->price[i], key->cards) || more;
    if (more || power > fleet->power_max_mw)
        fleet->epoch++;
    fleet->power_max_mw = SYN_MAX(fleet->power_max_mw, power);
}

static int
node_slot(struct syn_fleet *fleet, const char *name, uint32_t *ret, struct syn_err *err)
{
    size_t number = number_find(fleet->node_names, name);
    struct node *node;
    int rc;

    if (number > 0) {
        *ret = (uint32_t)number - 1;
        return SYN_OK;
    }
    if (fleet->nodes.count == SYN_FLEET_NODES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "nodes: there are %u already", SYN_FLEET_NODES_MAX);
    if (!syn_grow(&fleet->nodes.items, &fleet->nodes.cap, fleet->nodes.count + 1,
                  sizeof(struct node)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding node %s: out of memory", name);
    rc = syn_map_put_take(fleet->node_names, name, number_value(fleet->nodes.count + 1), err);
    if (rc < 0)
        return rc;
    *ret = (uint32_t)fleet->nodes.count++;
    node = &fleet->nodes.items[*ret];
    *node = (struct node){.bucket = NONE, .first = NONE};
    (void)syn_str_copy(node->name, sizeof(node->name), name);
    return SYN_OK;
}

static void
count_capacity(struct syn_fleet *fleet, const struct node *node, int sign)
{
    for (unsigned d = 0; d < DIMS; d++)
        fleet->capacity[d] += sign * node->capacity[d];
    fleet->cards_total += sign * (int64_t)node->cards_count;
    fleet->sized++;
}

/* Would what runs there still fit? Its domains and its cards stay as they are. */
static int
change_check(const struct node *node, const struct syn_fleet_node *wanted,
             const struct class_key *key, uint32_t number, struct syn_err *err)
{
    const uint32_t domains[] = {number, wanted->rack, wanted->zone, wanted->region};

    if (node->running == 0)
        return SYN_OK;
    if (node->cards_count != wanted->cards ||
        memcmp(node->models, wanted->models, wanted->cards) != 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "node %s: cards cannot change while it runs something",
                        node->name);
    if (memcmp(node->domains, domains, sizeof(domains)) != 0)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "node %s: region, zone and rack cannot change while it runs something",
                        node->name);
    for (unsigned d = 0; d < DIMS; d++)
        if (key->capacity[d] < node->capacity[d] - node->free[d])
            return SYN_FAIL(err, SYN_E_CONFLICT, "node %s: more is in use than would be left",
                            node->name);
    return SYN_OK;
}

static void
node_set(struct syn_fleet *fleet, uint32_t number, const struct syn_fleet_node *wanted,
         const struct class_key *key)
{
    struct node *node = &fleet->nodes.items[number];

    index_unlink(fleet, number);
    if (node->here)
        count_capacity(fleet, node, -1);
    for (unsigned d = 0; d < DIMS; d++) {
        node->free[d] += key->capacity[d] - node->capacity[d];
        node->capacity[d] = key->capacity[d];
    }
    if (node->running == 0) {
        memcpy(node->models, wanted->models, sizeof(node->models));
        node->cards_count = wanted->cards;
        for (uint32_t i = 0; i < CARDS; i++)
            node->cards[i] = i < wanted->cards ? CARD_NEW : 0;
        node->domains[SYN_FLEET_NODE] = number;
        node->domains[SYN_FLEET_RACK] = wanted->rack;
        node->domains[SYN_FLEET_ZONE] = wanted->zone;
        node->domains[SYN_FLEET_REGION] = wanted->region;
    }
    fleet->drains -= node->drained && node->running > 0;
    node->here = true;
    node->drained = false;
    node->closed = wanted->closed;
    count_capacity(fleet, node, 1);
    if (!node->closed)
        index_link(fleet, number);
    fleet->gain++;
    fleet->grown++;
}

int
syn_fleet_put_node(struct syn_fleet *fleet, const struct syn_fleet_node *node, uint32_t *ret,
                   struct syn_err *err)
{
    struct class_key key;
    uint32_t number = NONE, open = 0, held = 0;
    int rc = node_check(fleet, node, err);

    if (rc < 0)
        return rc;
    class_key_of(node, &key);
    rc = index_reserve(fleet, fleet->nodes.count + 1, err);
    if (rc == SYN_OK)
        rc = index_class(fleet, &key, &open, err);
    key.held = 1;
    if (rc == SYN_OK)
        rc = index_class(fleet, &key, &held, err);
    if (rc == SYN_OK)
        rc = node_slot(fleet, node->name, &number, err);
    if (rc == SYN_OK)
        rc = change_check(&fleet->nodes.items[number], node, &key, number, err);
    if (rc < 0)
        return rc;
    note_extremes(fleet, &key);
    if (fleet->nodes.items[number].held &&
        (node->closed || fleet->nodes.items[number].class_open != open))
        hold_end(fleet); /* what was chosen may no longer do */
    index_unlink(fleet, number);
    fleet->nodes.items[number].class_open = open;
    fleet->nodes.items[number].class_held = held;
    node_set(fleet, number, node, &key);
    *ret = number;
    return queue_settle(fleet, err);
}

uint32_t
syn_fleet_find_node(const struct syn_fleet *fleet, const char *name)
{
    size_t number = number_find(fleet->node_names, name);

    return number > 0 ? (uint32_t)number - 1 : NONE;
}

const char *
syn_fleet_node_name(const struct syn_fleet *fleet, uint32_t node)
{
    assert(node < fleet->nodes.count);
    return fleet->nodes.items[node].name;
}

int64_t
syn_fleet_node_free(const struct syn_fleet *fleet, uint32_t node, enum syn_fleet_dim dim)
{
    assert(node < fleet->nodes.count && dim < SYN_FLEET_DIMS);
    return fleet->nodes.items[node].free[dim];
}

uint32_t
syn_fleet_node_cards(const struct syn_fleet *fleet, uint32_t number, uint64_t models)
{
    const struct node *node = &fleet->nodes.items[number];
    uint32_t count = 0;

    assert(number < fleet->nodes.count);
    for (uint32_t i = 0; i < node->cards_count; i++)
        count += node->cards[i] == CARD_NEW && (models >> node->models[i] & 1) != 0 &&
                 !card_cut(&fleet->models[node->models[i]].facts);
    return count;
}

static int
node_known(const struct syn_fleet *fleet, uint32_t node, struct syn_err *err)
{
    if (node >= fleet->nodes.count ||
        (!fleet->nodes.items[node].here && fleet->nodes.items[node].running == 0))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "node %u: not there", node);
    return SYN_OK;
}

int
syn_fleet_drain(struct syn_fleet *fleet, uint32_t number, struct syn_err *err)
{
    struct node *node;
    int rc = node_known(fleet, number, err);

    if (rc < 0)
        return rc;
    node = &fleet->nodes.items[number];
    index_unlink(fleet, number);
    fleet->drains += !node->drained && node->running > 0;
    node->drained = true;
    if (node->held)
        hold_end(fleet);
    rc = evict_drain(fleet, number, err);
    return rc < 0 ? rc : queue_settle(fleet, err);
}

int
syn_fleet_lose(struct syn_fleet *fleet, uint32_t number, struct syn_err *err)
{
    struct node *node;
    int rc = node_known(fleet, number, err);

    if (rc < 0)
        return rc;
    node = &fleet->nodes.items[number];
    index_unlink(fleet, number);
    if (node->held)
        hold_end(fleet);
    fleet->drains -= node->drained && node->running > 0;
    node->drained = false;
    if (node->here)
        count_capacity(fleet, node, -1);
    node->here = false;
    rc = evict_lost(fleet, number, err);
    return rc < 0 ? rc : queue_settle(fleet, err);
}

int
syn_fleet_try(struct syn_fleet *fleet, const struct syn_fleet_request *wanted,
              struct syn_fleet_slot *slots, struct syn_err *err)
{
    uint32_t request = NONE;
    int rc = run_new(fleet, wanted, &request, err);

    if (rc < 0)
        return rc;
    rc = queue_within_quota(fleet, &fleet->requests.items[request]) ? run_place(fleet, request, err)
                                                                    : SYN_FLEET_FULL;
    if (rc != SYN_OK) {
        run_free(fleet, request);
        return rc;
    }
    run_started(fleet, &fleet->requests.items[request]);
    fleet->moves += wanted->ask.group != 0;
    run_slots(fleet, request, slots);
    return SYN_OK;
}

int
syn_fleet_submit(struct syn_fleet *fleet, const struct syn_fleet_request *wanted,
                 struct syn_err *err)
{
    uint32_t request = NONE;
    int rc = run_new(fleet, wanted, &request, err);

    if (rc < 0)
        return rc;
    rc = queue_offer(fleet, request, err);
    if (rc < 0 && fleet->requests.items[request].state == STATE_TRYING)
        run_free(fleet, request);
    return rc;
}

int
syn_fleet_end(struct syn_fleet *fleet, uint64_t key, struct syn_err *err)
{
    uint32_t request = key == UINT64_MAX ? NONE : table_get(&fleet->keys, key);

    if (request == NONE)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "request %llu: not known", (unsigned long long)key);
    if (fleet->requests.items[request].state == STATE_RUNNING)
        run_stopped(fleet, &fleet->requests.items[request]);
    queue_forget(fleet, request);
    run_free(fleet, request);
    return queue_settle(fleet, err);
}

int
syn_fleet_settle(struct syn_fleet *fleet, struct syn_err *err)
{
    return queue_settle(fleet, err);
}

void
syn_fleet_total(const struct syn_fleet *fleet, struct syn_fleet_totals *ret)
{
    *ret = (struct syn_fleet_totals){.cards = fleet->cards_total,
                                     .milli_used = fleet->milli_used,
                                     .pending = fleet->waiting,
                                     .running = fleet->running,
                                     .buckets = (uint32_t)fleet->live.count};
    for (size_t i = 0; i < fleet->nodes.count; i++) {
        const struct node *node = &fleet->nodes.items[i];

        ret->nodes += node->here;
        ret->nodes_used += node->here && node->running > 0;
        ret->cards_powered += node->here && node->running > 0 ? node->cards_count : 0;
    }
}

size_t
syn_fleet_kinds(const struct syn_fleet *fleet)
{
    return fleet->classes.count;
}
