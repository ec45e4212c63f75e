/* One card. A share takes thousandths of its time and of its VRAM (rounded up, so that shares never
 * add up to more than there is); a partition takes memory slices at a place where the vendor's
 * driver lets one of its size begin:
 *
 *     eighths   0 1 2 3 4 5 6 7        quarters  0 1 2 3
 *     1g        1 1 1 1 1 1 1                    1 1 1 1
 *     1g+       2   2   2   2
 *     2g        2   2   2                        2   2
 *     3g        4       4
 *     4g        4                                4
 *     7g        8
 *
 * With these places the compute slices never run out before the memory slices, so the map of
 * memory slices is all that must be kept. */
#include "fleet_priv.h"

struct profile {
    uint8_t slices; /* of memory; 0: there is no such profile */
    uint8_t starts; /* bit of each place */
};

static const struct profile profiles[SYN_FLEET_GEOMETRIES][SYN_FLEET_PROFILES] = {
    [SYN_FLEET_EIGHTHS] = {[SYN_FLEET_1G] = {1, 0x7f},
                           [SYN_FLEET_1G_PLUS] = {2, 0x55},
                           [SYN_FLEET_2G] = {2, 0x15},
                           [SYN_FLEET_3G] = {4, 0x11},
                           [SYN_FLEET_4G] = {4, 0x01},
                           [SYN_FLEET_7G] = {8, 0x01}},
    [SYN_FLEET_QUARTERS] =
        {[SYN_FLEET_1G] = {1, 0x0f}, [SYN_FLEET_2G] = {2, 0x05}, [SYN_FLEET_4G] = {4, 0x01}},
};

bool
card_cut(const struct syn_fleet_model *model)
{
    for (unsigned p = 0; p < SYN_FLEET_PROFILES; p++)
        if (model->places[p])
            return true;
    return false;
}

bool
card_profile_starts(enum syn_fleet_geometry geometry, uint32_t profile, uint32_t start)
{
    return profile < SYN_FLEET_PROFILES && start < 8 &&
           (profiles[geometry][profile].starts & SYN_BIT(start));
}

/* Where partitions of the profile may begin on this model. */
static uint32_t
starts_of(const struct syn_fleet_model *model, uint32_t profile)
{
    uint32_t starts = profiles[model->geometry][profile].starts;

    return card_cut(model) ? starts & model->places[profile] : starts;
}

static uint32_t
slices_of(enum syn_fleet_geometry geometry)
{
    return geometry == SYN_FLEET_QUARTERS ? 4 : 8;
}

uint32_t
card_profile_slices(enum syn_fleet_geometry geometry, uint32_t profile)
{
    return profiles[geometry][profile].slices;
}

uint32_t
card_vram_share(const struct syn_fleet_ask *ask, const struct syn_fleet_model *model)
{
    if (ask->mode == SYN_FLEET_CARDS || ask->mode == SYN_FLEET_MIG)
        return WHOLE;
    if (ask->vram_mib == 0)
        return ask->share;
    if (model->vram_mib == 0 || ask->vram_mib > model->vram_mib)
        return WHOLE + 1;
    return (uint32_t)(((uint64_t)ask->vram_mib * WHOLE + model->vram_mib - 1) / model->vram_mib);
}

uint32_t
card_charge(const struct syn_fleet_ask *ask, const struct syn_fleet_model *model)
{
    uint32_t milli = ask_milli(ask), vram;

    if (ask->vram_mib == 0 || ask->share == 0) /* no share, or one of both alike */
        return milli;
    vram = card_vram_share(ask, model);
    return SYN_MAX(milli, SYN_MIN(vram, SYN_FLEET_WHOLE));
}

bool
card_suits(const struct syn_fleet_ask *ask, const struct syn_fleet_model *model)
{
    uint32_t modes = model->modes;

    if ((ask->kind != 0 && ask->kind != model->kind) || ask->capability > model->capability)
        return false;
    if (ask->mode != SYN_FLEET_MIG && card_cut(model))
        return false;
    if (ask->mode == SYN_FLEET_CARDS)
        return ask->vram_mib <= model->vram_mib;
    if (ask->mode == SYN_FLEET_MIG) {
        uint32_t slices = card_profile_slices(model->geometry, ask->profile);

        return slices != 0 && starts_of(model, ask->profile) != 0 &&
               (uint64_t)ask->vram_mib * slices_of(model->geometry) <=
                   (uint64_t)model->vram_mib * slices;
    }
    if (ask->mode == SYN_FLEET_SHARED)
        modes &= SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE);
    else
        modes &= SYN_BIT(ask->mode);
    return modes != 0 && card_vram_share(ask, model) <= WHOLE;
}

static uint32_t
slices_at(uint32_t slices, uint32_t start)
{
    return ((UINT32_C(1) << slices) - 1) << start;
}

/* How much could still be put beside `held`: every profile's places, by size. */
static uint32_t
room_beside(enum syn_fleet_geometry geometry, uint32_t held)
{
    uint32_t room = 0;

    for (unsigned p = 0; p < SYN_FLEET_PROFILES; p++) {
        const struct profile *profile = &profiles[geometry][p];

        for (uint32_t at = 0; at < 8; at++)
            if ((profile->starts & SYN_BIT(at)) && !(held & slices_at(profile->slices, at)))
                room += (uint32_t)profile->slices * profile->slices;
    }
    return room;
}

static card_t
with_slices(const struct syn_fleet_model *model, uint32_t held)
{
    uint32_t all = slices_of(model->geometry);
    uint32_t left = WHOLE * (all - (uint32_t)__builtin_popcount(held)) / all;

    return held ? card_pack(left, left, CARD_PARTED, held) : CARD_NEW;
}

static card_t
part_take(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
          uint32_t *ret_part)
{
    const struct profile *profile = &profiles[model->geometry][ask->profile];
    uint32_t starts = starts_of(model, ask->profile);
    uint32_t held = card_slices(card), best = NONE, most = 0;

    if (card != CARD_NEW && card_mode(card) != CARD_PARTED)
        return CARD_NONE;
    for (uint32_t at = 0; at < 8; at++) {
        uint32_t with, room;

        if (!(starts & SYN_BIT(at)) || (held & slices_at(profile->slices, at)))
            continue;
        with = held | slices_at(profile->slices, at);
        room = room_beside(model->geometry, with);
        if (best == NONE || room > most) {
            best = at;
            most = room;
        }
    }
    if (best == NONE)
        return CARD_NONE;
    *ret_part = best;
    return with_slices(model, held | slices_at(profile->slices, best));
}

static uint32_t
mode_for(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model)
{
    uint32_t mode = card_mode(card);
    bool mps = ask->mode != SYN_FLEET_TIME_SLICE && (model->modes & SYN_BIT(SYN_FLEET_MPS));
    bool sliced = ask->mode != SYN_FLEET_MPS && (model->modes & SYN_BIT(SYN_FLEET_TIME_SLICE));

    if (mode == CARD_MPS)
        return mps ? CARD_MPS : CARD_NONE;
    if (mode == CARD_SLICED)
        return sliced ? CARD_SLICED : CARD_NONE;
    if (mode == CARD_PARTED || (!mps && !sliced))
        return CARD_NONE;
    return mps ? CARD_MPS : CARD_SLICED;
}

card_t
card_take(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
          uint32_t *ret_part)
{
    uint32_t vram, mode;

    *ret_part = 0;
    if (ask->mode == SYN_FLEET_CARDS)
        return card == CARD_NEW ? 0 : CARD_NONE;
    if (ask->mode == SYN_FLEET_MIG)
        return part_take(card, ask, model, ret_part);
    vram = card_vram_share(ask, model);
    if (card_time(card) < ask->share || card_vram(card) < vram)
        return CARD_NONE;
    mode = mode_for(card, ask, model);
    if (mode == CARD_NONE)
        return CARD_NONE;
    return card_pack(card_time(card) - ask->share, card_vram(card) - vram, mode, 0);
}

card_t
card_give(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
          uint32_t part, uint32_t vram)
{
    uint32_t time;

    if (ask->mode == SYN_FLEET_CARDS)
        return CARD_NEW;
    if (ask->mode == SYN_FLEET_MIG) {
        uint32_t slices = card_profile_slices(model->geometry, ask->profile);

        assert((card_slices(card) & slices_at(slices, part)) == slices_at(slices, part));
        return with_slices(model, card_slices(card) & ~slices_at(slices, part));
    }
    time = card_time(card) + ask->share;
    vram += card_vram(card);
    assert(time <= WHOLE && vram <= WHOLE);
    return time == WHOLE ? CARD_NEW : card_pack(time, vram, card_mode(card), 0);
}

card_t
card_parted(const struct syn_fleet_model *model, uint32_t held, uint32_t profile, uint32_t part)
{
    uint32_t slices = slices_at(card_profile_slices(model->geometry, profile), part);

    return held & slices ? CARD_NONE : with_slices(model, held | slices);
}
