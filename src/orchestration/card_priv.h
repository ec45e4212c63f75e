/* One card's arithmetic: of the placement core, and of who counts on documents what it decides. */
#ifndef SYN_ORCHESTRATION_CARD_PRIV_H
#define SYN_ORCHESTRATION_CARD_PRIV_H

#include <synor/orchestration/fleet.h>

/* A card: what is free of it, packed so that equal cards are equal numbers.
 *     bits 0-9 thousandths of time, 10-19 of VRAM, 20-21 how it is shared now, 22-29 memory slices
 *     that partitions hold */
typedef uint32_t card_t;

enum { CARD_PLAIN, CARD_MPS, CARD_SLICED, CARD_PARTED };

#define CARD_NEW (SYN_FLEET_WHOLE | (SYN_FLEET_WHOLE << 10))

static inline uint32_t
card_time(card_t card)
{
    return card & 1023;
}

static inline uint32_t
card_vram(card_t card)
{
    return (card >> 10) & 1023;
}

static inline uint32_t
card_mode(card_t card)
{
    return (card >> 20) & 3;
}

static inline uint32_t
card_slices(card_t card)
{
    return (card >> 22) & 255;
}

static inline card_t
card_pack(uint32_t time, uint32_t vram, uint32_t mode, uint32_t slices)
{
    return time | (vram << 10) | (mode << 20) | (slices << 22);
}

/* fleet_card.c */
/* What a share of `ask` takes of the VRAM of a card of this model, in thousandths; > WHOLE: more
 * than it has. */
uint32_t card_vram_share(const struct syn_fleet_ask *ask, const struct syn_fleet_model *model);
/* Thousandths of a whole card's price that the ask costs on a card of this model: of its time, or
 * of its memory where a share takes more of that. */
uint32_t card_charge(const struct syn_fleet_ask *ask, const struct syn_fleet_model *model);
/* Is it cut into partitions that somebody has made? Then it is nobody's whole. */
bool card_cut(const struct syn_fleet_model *model);
/* Is the card, were it unused, one that will do? */
bool card_suits(const struct syn_fleet_ask *ask, const struct syn_fleet_model *model);
/* Take the ask's part of a card; CARD_NONE where it does not fit. *ret_part: the first slice. */
#define CARD_NONE UINT32_MAX
card_t card_take(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
                 uint32_t *ret_part);
card_t card_give(card_t card, const struct syn_fleet_ask *ask, const struct syn_fleet_model *model,
                 uint32_t part, uint32_t vram);
/* A card with these slices held, and a partition more that begins at `part`. */
card_t card_parted(const struct syn_fleet_model *model, uint32_t held, uint32_t profile,
                   uint32_t part);
/* May a partition of this profile begin there? */
bool card_profile_starts(enum syn_fleet_geometry geometry, uint32_t profile, uint32_t start);
/* The slices that the profile holds when it begins at 0; 0: this geometry has no such profile. */
uint32_t card_profile_slices(enum syn_fleet_geometry geometry, uint32_t profile);

#endif
