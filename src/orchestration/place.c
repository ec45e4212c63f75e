/* Members are equal and nodes independent, so the gang fits exactly when the nodes' counts of
 * members sum up to its size (or one node's count reaches it): no search is needed to decide
 * *whether*, and the policy is free to choose *where*.
 *
 *     fit_units(node)  = min over cpu, memory, scratch of free / need, and over cards of
 *                        sum over groups of free / need        (a member's cards are of one group)
 *
 * Choosing takes one member at a time and asks each node how full it would be afterwards (the share
 * of its scarcest resource, in millionths, exact integers). Packing takes the fullest that fits,
 * spreading the emptiest. A request without GPUs goes to nodes without GPUs first: cards are what
 * runs out.
 *
 * Refused: fractional weights of many dimensions summed up (a hard limit must never be outvoted,
 * and a sum hides which resource is short), and random tie-breaks (a decision must be repeatable).
 */
#include <synor/orchestration/place.h>

#include "place_priv.h"

#include <synor/orchestration/cost.h>

#include <synor/base/str.h>

#define SHARE_ONE 1000000

static bool
text_set(const char *text)
{
    return text && *text;
}

int
place_check(const struct syn_place_request *request, struct syn_err *err)
{
    const struct syn_amounts *need = &request->amounts;

    if (request->count < 1 || request->count > SYN_PLACE_GANG_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "workers: expected 1..%d, got %u", SYN_PLACE_GANG_MAX,
                        request->count);
    if (need->cpu_millicores < 0 || need->cpu_millicores > SYN_NODE_QUANTITY_MAX ||
        need->memory_bytes < 0 || need->memory_bytes > SYN_NODE_QUANTITY_MAX ||
        need->scratch_bytes < 0 || need->scratch_bytes > SYN_NODE_QUANTITY_MAX ||
        request->vram_min_bytes < 0 || request->price_max < 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "cpu, memory, scratch, VRAM or price asked for is out of range");
    if (request->gpus < 0 || request->gpus_max < request->gpus ||
        request->gpus_max > SYN_PLACE_GPUS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "gpus: expected 0 <= gpus <= gpus_max <= %d",
                        SYN_PLACE_GPUS_MAX);
    return SYN_OK;
}

bool
fit_card(const struct syn_gpu_group *group, const struct syn_place_request *request)
{
    return group->vram_bytes >= request->vram_min_bytes &&
           (!text_set(request->gpu_model) || syn_str_eq(group->model, request->gpu_model));
}

/* What a member costs an hour there with cards of `model`. */
static int64_t
price_with(const struct syn_node_view *node, const char *model,
           const struct syn_place_request *request)
{
    const struct syn_cost_ask ask = {request->amounts, request->gpus, model, 1, 0};
    struct syn_cost cost;

    return syn_cost_on(node, NULL, &ask, &cost, NULL) == SYN_OK ? cost.rate_hour : INT64_MAX;
}

int64_t
fit_price(const struct syn_node_view *node, const struct syn_place_request *request)
{
    struct syn_cost cost;

    return syn_cost_member(node, NULL, request, &cost, NULL) == SYN_OK ? cost.rate_hour : INT64_MAX;
}

/* Does the price alone keep members off? Where there is no card of the kind, that is the reason. */
static bool
too_dear(const struct syn_node_view *node, const struct syn_place_request *request)
{
    bool card = request->gpus == 0;

    if (request->price_max == 0)
        return false;
    for (unsigned i = 0; i < node->gpus_count && !card; i++)
        card = fit_card(&node->gpus[i], request);
    return card && fit_price(node, request) > request->price_max;
}

/* A card of the wanted kind that the price ceiling allows. Where it allows none, that is what is
 * missing, not the cards. */
static bool
takes_card(const struct syn_node_view *node, const struct syn_gpu_group *group,
           const struct syn_place_request *request)
{
    return fit_card(group, request) &&
           (request->price_max == 0 || too_dear(node, request) ||
            price_with(node, group->model, request) <= request->price_max);
}

int64_t
fit_cards(const struct syn_node_view *node, const struct syn_place_request *request,
          struct fit_view view)
{
    int64_t cards = 0;

    for (unsigned i = 0; i < node->gpus_count; i++) {
        const struct syn_gpu_group *group = &node->gpus[i];

        if (takes_card(node, group, request))
            cards += SYN_MAX(0, group->count - (view.empty ? 0 : group->used));
    }
    return cards;
}

static int64_t
ratio(int64_t capacity, int64_t used, int64_t need, struct fit_view view)
{
    int64_t room = SYN_MAX(0, capacity - (view.empty ? 0 : used));

    return need > 0 ? room / need : SYN_PLACE_GANG_MAX;
}

static int64_t
gpu_units(const struct syn_node_view *node, const struct syn_place_request *request,
          struct fit_view view)
{
    int64_t units = 0;

    if (request->gpus == 0)
        return SYN_PLACE_GANG_MAX;
    for (unsigned i = 0; i < node->gpus_count; i++)
        if (takes_card(node, &node->gpus[i], request))
            units += ratio(node->gpus[i].count, node->gpus[i].used, request->gpus, view);
    return units;
}

uint32_t
fit_lacks(const struct syn_node_view *node, const struct syn_place_request *request, uint32_t units,
          struct fit_view view)
{
    const struct syn_amounts *has = &node->capacity, *used = &node->used;
    const struct syn_amounts *need = &request->amounts;
    uint32_t lacks = 0;

    if (view.open ? node->state == SYN_NODE_LEFT : !syn_node_view_open(node))
        lacks |= SYN_BIT(DIM_NODE);
    if (text_set(request->region) && !syn_str_eq(request->region, node->region))
        lacks |= SYN_BIT(DIM_REGION);
    if (syn_node_view_sandbox(node, request->isolation, request->gpus > 0) == SYN_ISOLATION_AUTO)
        lacks |= SYN_BIT(DIM_ISOLATION);
    if (!syn_node_view_framework(node, request->framework, request->framework_version))
        lacks |= SYN_BIT(DIM_FRAMEWORK);
    if (too_dear(node, request))
        lacks |= SYN_BIT(DIM_PRICE);
    if (gpu_units(node, request, view) < units)
        lacks |= SYN_BIT(DIM_GPUS);
    if (ratio(has->cpu_millicores, used->cpu_millicores, need->cpu_millicores, view) < units)
        lacks |= SYN_BIT(DIM_CPU);
    if (ratio(has->memory_bytes, used->memory_bytes, need->memory_bytes, view) < units)
        lacks |= SYN_BIT(DIM_MEMORY);
    if (ratio(has->scratch_bytes, used->scratch_bytes, need->scratch_bytes, view) < units)
        lacks |= SYN_BIT(DIM_SCRATCH);
    return lacks;
}

uint32_t
fit_units(const struct syn_node_view *node, const struct syn_place_request *request,
          struct fit_view view)
{
    const struct syn_amounts *has = &node->capacity, *used = &node->used;
    const struct syn_amounts *need = &request->amounts;
    int64_t units = request->count;

    if (fit_lacks(node, request, 1, view))
        return 0;
    units = SYN_MIN(units, gpu_units(node, request, view));
    units = SYN_MIN(units,
                    ratio(has->cpu_millicores, used->cpu_millicores, need->cpu_millicores, view));
    units = SYN_MIN(units, ratio(has->memory_bytes, used->memory_bytes, need->memory_bytes, view));
    units =
        SYN_MIN(units, ratio(has->scratch_bytes, used->scratch_bytes, need->scratch_bytes, view));
    return (uint32_t)units;
}

uint32_t
syn_place_fits(const struct syn_node_view *node, const struct syn_place_request *request)
{
    return fit_units(node, request, fit_now);
}

uint32_t
fit_most(const struct syn_cluster *cluster, const struct syn_place_request *request,
         struct fit_view view)
{
    uint32_t total = 0, most = 0;

    for (size_t i = 0; i < syn_cluster_count(cluster); i++) {
        uint32_t units = fit_units(syn_cluster_at(cluster, i), request, view);

        most = SYN_MAX(most, units);
        total = SYN_MIN(total + units, request->count);
    }
    return request->one_node ? most : total;
}

bool
fit_gang(const struct syn_cluster *cluster, const struct syn_place_request *request,
         struct fit_view view)
{
    return fit_most(cluster, request, view) >= request->count;
}

static int64_t
share(int64_t capacity, int64_t used, int64_t need)
{
    if (capacity <= 0)
        return 0;
    return (int64_t)((syn_i128)(used + need) * SHARE_ONE / capacity);
}

/* How full the node's scarcest resource would be with `units` members more. */
static int64_t
load_after(const struct syn_node_view *node, const struct syn_place_request *request,
           uint32_t units)
{
    const struct syn_amounts *has = &node->capacity, *used = &node->used;
    const struct syn_amounts *need = &request->amounts;
    int64_t load = share(has->cpu_millicores, used->cpu_millicores, need->cpu_millicores * units);
    int64_t cards = 0, cards_used = 0;

    load = SYN_MAX(load, share(has->memory_bytes, used->memory_bytes, need->memory_bytes * units));
    load =
        SYN_MAX(load, share(has->scratch_bytes, used->scratch_bytes, need->scratch_bytes * units));
    for (unsigned i = 0; i < node->gpus_count; i++) {
        cards += node->gpus[i].count;
        cards_used += node->gpus[i].used;
    }
    return SYN_MAX(load, share(cards, cards_used, request->gpus * units));
}

/* FNV-1a over the seed and the id: equal nodes take turns over seeds, never over runs. */
static uint64_t
tie_hash(uint64_t seed, const char *id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (unsigned i = 0; i < sizeof(seed); i++)
        hash = (hash ^ ((seed >> (8 * i)) & 0xff)) * UINT64_C(0x100000001b3);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(0x100000001b3);
    return hash;
}

static bool
has_cards(const struct syn_node_view *node)
{
    for (unsigned i = 0; i < node->gpus_count; i++)
        if (node->gpus[i].count > 0)
            return true;
    return false;
}

struct candidate {
    const struct syn_node_view *node;
    bool wastes_cards;
    int64_t load;
    uint64_t tie;
};

/* Is `a` the better choice? Nodes come in id order, so equals keep the first. */
static bool
better(const struct candidate *a, const struct candidate *b, enum syn_place_policy policy)
{
    if (a->wastes_cards != b->wastes_cards)
        return !a->wastes_cards;
    if (a->load != b->load)
        return policy == SYN_PLACE_PACK ? a->load > b->load : a->load < b->load;
    return a->tie < b->tie;
}

/* What the gang has taken so far: the trial copies of the nodes it touched. */
struct trial {
    uint32_t count;
    struct syn_node_view nodes[SYN_PLACE_GANG_MAX];
    uint32_t members[SYN_PLACE_GANG_MAX];
};

static const struct syn_node_view *
trial_view(const struct trial *trial, const struct syn_node_view *node)
{
    for (uint32_t i = 0; i < trial->count; i++)
        if (syn_str_eq(trial->nodes[i].id, node->id))
            return &trial->nodes[i];
    return node;
}

static uint32_t
trial_touch(struct trial *trial, const struct syn_node_view *node)
{
    for (uint32_t i = 0; i < trial->count; i++)
        if (syn_str_eq(trial->nodes[i].id, node->id))
            return i;
    assert(trial->count < SYN_PLACE_GANG_MAX);
    trial->nodes[trial->count] = *node;
    trial->members[trial->count] = 0;
    return trial->count++;
}

static const struct syn_node_view *
choose(const struct syn_cluster *cluster, const struct syn_place_request *request,
       const struct trial *trial, uint32_t units)
{
    struct candidate best = {0};

    for (size_t i = 0; i < syn_cluster_count(cluster); i++) {
        struct candidate one = {.node = trial_view(trial, syn_cluster_at(cluster, i))};

        if (fit_units(one.node, request, fit_now) < units)
            continue;
        one.wastes_cards = request->gpus == 0 && has_cards(one.node);
        one.load = load_after(one.node, request, units);
        one.tie = tie_hash(request->seed, one.node->id);
        if (!best.node || better(&one, &best, request->policy))
            best = one;
    }
    return best.node;
}

/* The cards for one member: the smallest that do, then the group with fewest left. */
static struct syn_gpu_group *
group_choose(struct syn_node_view *node, const struct syn_place_request *request)
{
    struct syn_gpu_group *best = NULL;

    for (unsigned i = 0; i < node->gpus_count; i++) {
        struct syn_gpu_group *group = &node->gpus[i];
        int64_t left = group->count - group->used;

        if (!takes_card(node, group, request) || left < request->gpus)
            continue;
        if (!best || group->vram_bytes < best->vram_bytes ||
            (group->vram_bytes == best->vram_bytes && left < best->count - best->used))
            best = group;
    }
    return best;
}

static void
take_member(struct syn_node_view *node, const struct syn_place_request *request,
            struct syn_place_slot *slot)
{
    struct syn_gpu_group *group = request->gpus > 0 ? group_choose(node, request) : NULL;

    *slot = (struct syn_place_slot){
        .isolation = syn_node_view_sandbox(node, request->isolation, request->gpus > 0)};
    (void)syn_str_copy(slot->node, sizeof(slot->node), node->id);
    node->used.cpu_millicores += request->amounts.cpu_millicores;
    node->used.memory_bytes += request->amounts.memory_bytes;
    node->used.scratch_bytes += request->amounts.scratch_bytes;
    if (!group)
        return;
    group->used += request->gpus;
    (void)syn_str_copy(slot->gpu_model, sizeof(slot->gpu_model), group->model);
    slot->gpu_vram_bytes = group->vram_bytes;
}

/* Place a gang that fits, and write the members down node by node. */
static void
place_gang(const struct syn_cluster *cluster, const struct syn_place_request *request,
           struct trial *trial, struct syn_placement *ret)
{
    struct syn_place_slot slots[SYN_PLACE_GANG_MAX];
    uint32_t homes[SYN_PLACE_GANG_MAX];
    uint32_t home = 0;

    trial->count = 0;
    for (uint32_t i = 0; i < request->count; i++) {
        if (i == 0 || !request->one_node) {
            const struct syn_node_view *node =
                choose(cluster, request, trial, request->one_node ? request->count : 1);

            assert(node); /* fit_gang() said so */
            home = trial_touch(trial, node);
        }
        homes[i] = home;
        take_member(&trial->nodes[home], request, &slots[i]);
    }
    ret->count = 0;
    ret->gpus = request->gpus;
    for (uint32_t at = 0; at < trial->count; at++)
        for (uint32_t i = 0; i < request->count; i++)
            if (homes[i] == at)
                ret->slots[ret->count++] = slots[i];
    assert(ret->count == request->count);
}

int
syn_place(const struct syn_cluster *cluster, const struct syn_place_request *request,
          struct syn_placement *ret, struct syn_err *err)
{
    struct syn_place_request wanted = *request;
    struct trial trial;
    int rc = place_check(request, err);

    if (rc < 0)
        return rc;
    for (int64_t gpus = request->gpus_max; gpus >= request->gpus; gpus--) {
        wanted.gpus = gpus;
        if (!fit_gang(cluster, &wanted, fit_now))
            continue;
        place_gang(cluster, &wanted, &trial, ret);
        return SYN_OK;
    }
    return SYN_PLACE_NONE;
}
