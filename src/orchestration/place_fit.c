/* The arithmetic of fitting, by node and dimension: what explanations are made of, and the last
 * look before a placement is acted on. Where something goes is the placement core's to say.
 *
 * Members are equal and nodes independent, so a gang fits exactly when the nodes' counts of members
 * sum up to its size (or one node's count reaches it):
 *
 *     fit_units(node)  = min over cpu, memory, scratch of free / need, and over cards of
 *                        sum over groups of free / need        (a member's cards are of one group)
 *
 * Members that must share a node have cards of one group together. Parts of cards are counted card
 * by card, with the core's own arithmetic (fleet_card.c). */
#include "card_priv.h"
#include "cluster_priv.h"
#include "place_priv.h"

#include <synor/orchestration/cost.h>

#include <synor/base/str.h>

bool
fit_text(const char *text)
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
    if (request->gpu_share > SYN_FLEET_WHOLE || request->gpu_share_bytes < 0 ||
        request->gpu_share_bytes > SYN_NODE_QUANTITY_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "the share of a GPU is out of range");
    if (fit_part(request) && (request->gpus != 1 || request->gpus_max != 1 || request->one_node ||
                              (request->gpu_share > 0) == fit_text(request->mig)))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "a part is a share or a partition of one GPU, and "
                        "a member's own");
    return tie_check(request, err);
}

/* ---- cards ---- */

bool
fit_part(const struct syn_place_request *request)
{
    return request->gpu_share > 0 || request->gpu_share_bytes > 0 || fit_text(request->mig);
}

struct syn_fleet_model
part_model(const struct syn_gpu_group *group)
{
    struct syn_fleet_model model = {
        .vram_mib = (uint32_t)SYN_MIN(group->vram_bytes >> 20, INT64_C(1) << 24),
        .modes = group->modes,
        .geometry = group->cuts_count > 0 ? SYN_FLEET_EIGHTHS : SYN_FLEET_UNDIVIDED,
    };

    for (unsigned i = 0; i < group->cuts_count; i++)
        model.places[group->cuts[i].profile] |= (uint8_t)SYN_BIT(group->cuts[i].start);
    return model;
}

bool
part_ask(const struct syn_gpu_group *group, const struct syn_place_request *request,
         struct syn_fleet_ask *ret)
{
    const int64_t mib = (request->gpu_share_bytes + (1 << 20) - 1) >> 20;

    ret->cards = 1;
    if (!fit_text(request->mig)) {
        ret->mode = SYN_FLEET_SHARED;
        ret->share = request->gpu_share;
        ret->vram_mib = (uint32_t)SYN_MIN(mib, INT64_C(1) << 30);
        return true;
    }
    ret->mode = SYN_FLEET_MIG;
    for (unsigned i = 0; i < group->cuts_count; i++)
        if (syn_str_eq(group->cuts[i].name, request->mig)) {
            ret->profile = group->cuts[i].profile;
            return true;
        }
    return false;
}

/* Were it unused, would a card of the group do for the part that is asked for? */
static bool
part_suits(const struct syn_gpu_group *group, const struct syn_place_request *request)
{
    const struct syn_fleet_model model = part_model(group);
    struct syn_fleet_ask ask = {.cards = 1};

    return (!fit_part(request) || part_ask(group, request, &ask)) && card_suits(&ask, &model);
}

int64_t
fit_charge(const struct syn_gpu_group *group, const struct syn_place_request *request)
{
    const struct syn_fleet_model model = part_model(group);
    struct syn_fleet_ask ask = {.cards = 1};

    return fit_part(request) && part_ask(group, request, &ask) ? card_charge(&ask, &model) : 0;
}

/* What the documents say is free of it. */
static card_t
card_of(const struct syn_card_use *use)
{
    static const uint32_t modes[SYN_FLEET_MODES] = {[SYN_FLEET_MPS] = CARD_MPS,
                                                    [SYN_FLEET_TIME_SLICE] = CARD_SLICED,
                                                    [SYN_FLEET_MIG] = CARD_PARTED};

    if (use->holders == 0)
        return CARD_NEW;
    if (use->mode == SYN_FLEET_CARDS)
        return 0;
    return card_pack(SYN_FLEET_WHOLE - SYN_MIN(use->time, SYN_FLEET_WHOLE),
                     SYN_FLEET_WHOLE - SYN_MIN(use->vram, SYN_FLEET_WHOLE), modes[use->mode],
                     use->slices);
}

/* How many such parts a group's cards have room for, up to `most`. */
static int64_t
part_units(const struct syn_node_view *node, unsigned g, const struct syn_place_request *request,
           struct fit_view view)
{
    const struct syn_gpu_group *group = &node->gpus[g];
    const struct syn_fleet_model model = part_model(group);
    uint32_t first = syn_node_view_first(node, g), part;
    int64_t whole = SYN_MAX(group->count - (view.empty ? 0 : group->used), 0), units = 0;
    struct syn_fleet_ask ask = {.cards = 1};

    if (!part_ask(group, request, &ask) || !card_suits(&ask, &model))
        return 0;
    for (int64_t i = first; i < first + group->count && i < SYN_FLEET_CARDS_MAX; i++) {
        const struct syn_card_use *use = &node->cards[i];
        card_t card = view.empty ? CARD_NEW : card_of(use);

        if (card == CARD_NEW && whole-- <= 0)
            continue; /* somebody has it who does not say which */
        while (units < request->count) {
            card = card_take(card, &ask, &model, &part);
            if (card == CARD_NONE)
                break;
            units++;
        }
    }
    return units;
}

struct fit_left
fit_left(const struct syn_node_view *node, unsigned g, const char *mig)
{
    const struct syn_gpu_group *group = &node->gpus[g];
    const struct syn_fleet_model model = part_model(group);
    uint32_t first = syn_node_view_first(node, g);
    int64_t whole = SYN_MAX(group->count - group->used, 0);
    struct fit_left left = {0};

    for (int64_t i = first; i < first + group->count && i < SYN_FLEET_CARDS_MAX; i++) {
        const struct syn_card_use *use = &node->cards[i];
        card_t card = card_of(use);

        for (unsigned c = 0; mig && c < group->cuts_count; c++) {
            if (!syn_str_eq(group->cuts[c].name, mig))
                continue;
            left.parts_all++;
            left.parts += card_parted(&model, use->slices, group->cuts[c].profile,
                                      group->cuts[c].start) != CARD_NONE;
        }
        if ((card == CARD_NEW && whole-- <= 0) || (int64_t)card_time(card) <= left.time)
            continue;
        left.time = card_time(card);
        left.vram = card_vram(card);
    }
    return left;
}

static bool
slot_card(const struct syn_card_use *use, const struct syn_gpu_group *group,
          const struct syn_place_request *request, const struct syn_place_slot *slot)
{
    const struct syn_fleet_model model = part_model(group);
    struct syn_fleet_ask ask = {.cards = 1};
    uint32_t part;

    if (!fit_part(request))
        return use->holders == 0;
    if (!part_ask(group, request, &ask))
        return false;
    if (ask.mode == SYN_FLEET_MIG)
        return card_parted(&model, use->slices, ask.profile, slot->gpu_part) != CARD_NONE;
    return card_take(card_of(use), &ask, &model, &part) != CARD_NONE;
}

bool
fit_slot(const struct syn_node_view *node, const struct syn_place_request *request,
         const struct syn_place_slot *slot)
{
    for (unsigned g = 0; g < node->gpus_count; g++) {
        uint32_t first = syn_node_view_first(node, g);

        for (int64_t i = first; i < first + node->gpus[g].count && i < SYN_FLEET_CARDS_MAX; i++)
            if ((slot->gpu_cards >> i & 1) &&
                !slot_card(&node->cards[i], &node->gpus[g], request, slot))
                return false;
    }
    return true;
}

bool
fit_card(const struct syn_gpu_group *group, const struct syn_place_request *request)
{
    return group->vram_bytes >= request->vram_min_bytes &&
           group->capability >= request->capability &&
           (!fit_text(request->gpu_model) || syn_str_eq(group->model, request->gpu_model)) &&
           part_suits(group, request);
}

/* What a member costs an hour there with cards of the group. */
static int64_t
price_with(const struct syn_node_view *node, const struct syn_gpu_group *group,
           const struct syn_place_request *request)
{
    const struct syn_cost_ask ask = {.amounts = request->amounts,
                                     .gpus = request->gpus,
                                     .gpu_permille = fit_charge(group, request),
                                     .gpu_model = group->model,
                                     .count = 1,
                                     .spot = request->spot};
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
    return fit_card(group, request) && (request->price_max == 0 || too_dear(node, request) ||
                                        price_with(node, group, request) <= request->price_max);
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
    for (unsigned i = 0; i < node->gpus_count; i++) {
        int64_t one;

        if (!takes_card(node, &node->gpus[i], request))
            continue;
        one = fit_part(request)
                  ? part_units(node, i, request, view)
                  : ratio(node->gpus[i].count, node->gpus[i].used, request->gpus, view);
        units = request->one_node ? SYN_MAX(units, one) : units + one;
    }
    return units;
}

/* All that it says of labels. */
static bool
labels_do(const struct syn_node_view *node, const struct syn_place_request *request)
{
    for (size_t i = 0; request->labels[i]; i++) {
        struct syn_selector selector;

        if (syn_selector_parse(request->labels[i], &selector, NULL) < 0 ||
            !syn_selector_match(&selector, syn_node_view_label(node, selector.key)))
            return false;
    }
    return true;
}

uint32_t
fit_class(const struct syn_node_view *node, const struct syn_place_request *request,
          struct fit_view view)
{
    uint32_t lacks = 0;

    if (view.open ? node->state == SYN_NODE_LEFT : !syn_node_view_open(node))
        lacks |= SYN_BIT(DIM_NODE);
    if (fit_text(request->region) && !syn_str_eq(request->region, node->region))
        lacks |= SYN_BIT(DIM_REGION);
    if (!labels_do(node, request))
        lacks |= SYN_BIT(DIM_LABELS);
    if (syn_node_view_sandbox(node, request->isolation, request->gpus > 0) == SYN_ISOLATION_AUTO)
        lacks |=
            SYN_BIT(request->isolation == SYN_ISOLATION_NAMESPACE ? DIM_NAMESPACE : DIM_ISOLATION);
    if (request->networks && node->netless)
        lacks |= SYN_BIT(DIM_NETWORKS);
    if (!syn_node_view_framework(node, request->framework, request->framework_version))
        lacks |= SYN_BIT(syn_node_is_language(request->framework) ? DIM_RUNTIME : DIM_FRAMEWORK);
    if (too_dear(node, request))
        lacks |= SYN_BIT(DIM_PRICE);
    return lacks;
}

uint32_t
fit_lacks(const struct syn_node_view *node, const struct syn_place_request *request, uint32_t units,
          struct fit_view view)
{
    const struct syn_amounts *has = &node->capacity, *used = &node->used;
    const struct syn_amounts *need = &request->amounts;
    uint32_t lacks = fit_class(node, request, view);

    if (!view.loose)
        lacks |= tie_lacks(node, request, view);
    if (gpu_units(node, request, view) < units)
        lacks |= SYN_BIT(DIM_GPUS);
    if (ratio(has->cpu_millicores, used->cpu_millicores, need->cpu_millicores, view) < units)
        lacks |= SYN_BIT(DIM_CPU);
    if (ratio(has->memory_bytes, used->memory_bytes, need->memory_bytes, view) < units)
        lacks |= SYN_BIT(DIM_MEMORY);
    if (ratio(has->scratch_bytes, used->scratch_bytes, need->scratch_bytes, view) < units)
        lacks |= SYN_BIT(DIM_SCRATCH);
    if (ratio(node->bandwidth_bps, node->bandwidth_used_bps, request->bandwidth_bps, view) < units)
        lacks |= SYN_BIT(DIM_BANDWIDTH);
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
    units = SYN_MIN(
        units, ratio(node->bandwidth_bps, node->bandwidth_used_bps, request->bandwidth_bps, view));
    return (uint32_t)units;
}

int64_t
syn_place_gpu_least(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    int64_t least = INT64_MAX;

    if (!fit_part(request))
        return request->gpus * SYN_FLEET_WHOLE;
    for (size_t i = 0; i < syn_cluster_count(cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(cluster, i);

        for (unsigned g = 0; g < node->gpus_count; g++)
            if (node->state != SYN_NODE_LEFT && fit_card(&node->gpus[g], request))
                least = SYN_MIN(least, fit_charge(&node->gpus[g], request));
    }
    return least < INT64_MAX ? least : SYN_MAX((int64_t)request->gpu_share, 1);
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

    if (tie_own(request) && !view.loose)
        return tie_most(cluster, request, view);
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
