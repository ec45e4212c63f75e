/* What is expected to come, as tables.
 *
 * A node's cards lose value in four ways, each the share of the mix that is hit by it times what it
 * loses (all in thousandths of a card times MIX_ONE):
 *
 *     worth(node) =  left * P(ask cannot use the node: model, or more CPU than is free)
 *                 +  left * P(ask needs more whole cards than are free)
 *                 +  sum over cards of waste(hole) * P(ask that needs more than the hole)
 *                 +  strand(left, cpu)
 *
 * The first three are fragmentation gradient descent (Weng et al., ATC'23) but for waste(): there a
 * hole counts as lost for whoever does not fit, here only as much of it as will be lost in the end,
 * after MIX_OFFERS more asks had the choice to fill it. So half a card is no loss where the other
 * half is likely to come, and 0.19 of one is, where nothing that small does.
 *
 *     waste_0(r)   = r
 *     waste_k+1(r) = waste_k(r) - sum over shares s of p(s) * max(0, waste_k(r) - waste_k(r - s))
 *
 * strand() is what one step cannot see: six free cards beside CPU for four. With `rho` the CPU that
 * the mix takes for a card, x = left - cpu / rho cards will lack CPU; as the mix varies, its
 * positive part is smoothed, (x + sqrt(x^2 + (0.3 sqrt(left))^2)) / 2.
 *
 * The mix is counted from what was submitted, and the tables are made anew at each half more of it
 * (at each eighth once it is large), so that they cost nothing in the mean. Everything is integers;
 * so is the root. */
#include "fleet_priv.h"

#include <math.h>

#include <synor/base/mem.h>

#define MIX_OFFERS 64
#define MIX_FIRST  16
#define MIX_LARGE  8192

/* The largest integer not above the root. The root of a double is rounded right by IEEE 754, and
 * below 2^52 that cannot reach the next integer. */
static int64_t
root(int64_t value)
{
    return (int64_t)sqrt((double)value);
}

static void
count_demand(struct syn_fleet *fleet)
{
    syn_i128 cpu = 0, cards = 0;

    for (size_t i = 0; i < fleet->shapes.count; i++) {
        const struct shape *shape = &fleet->shapes.items[i];
        int64_t milli = (int64_t)ask_milli(&shape->ask) * ask_cards(&shape->ask);

        if (!shape->used || milli == 0)
            continue;
        cpu += (syn_i128)shape->ask.need[SYN_FLEET_CPU] * (int64_t)shape->weight;
        cards += (syn_i128)milli * (int64_t)shape->weight;
    }
    /* At most a card for a millicore; where no CPU is asked for, none is short. */
    fleet->mix_ratio =
        cpu > 0 ? (int64_t)SYN_MIN(cards * RATIO_ONE / cpu, (syn_i128)1000 * RATIO_ONE) : 0;
}

/* What is lost of each hole in the end. */
static void
count_waste(struct syn_fleet *fleet)
{
    int64_t odds[HOLES] = {0}, waste[HOLES], next[HOLES];
    int64_t asks = 0;

    for (size_t i = 0; i < fleet->shapes.count; i++) {
        const struct shape *shape = &fleet->shapes.items[i];
        uint32_t milli = ask_milli(&shape->ask);

        if (!shape->used || milli == 0)
            continue;
        odds[(milli + 9) / 10] += (int64_t)shape->weight * ask_cards(&shape->ask);
        asks += (int64_t)shape->weight;
    }
    for (int r = 0; r < HOLES; r++) {
        waste[r] = (int64_t)r * 10 * MIX_ONE;
        odds[r] = asks > 0 ? odds[r] * MIX_ONE / asks : 0;
    }
    for (int k = 0; k < MIX_OFFERS; k++) {
        for (int r = 0; r < HOLES; r++) {
            next[r] = waste[r];
            for (int s = 1; s <= r; s++)
                if (odds[s] > 0 && waste[r - s] < waste[r])
                    next[r] -= (waste[r] - waste[r - s]) / MIX_ONE * odds[s];
        }
        memcpy(waste, next, sizeof(waste));
    }
    for (int r = 0; r < HOLES; r++)
        fleet->waste[r] = (int32_t)(SYN_MAX(waste[r], 0) / MIX_ONE);
}

static bool
usable(const struct syn_fleet_ask *ask, const struct syn_fleet_model *facts, unsigned model)
{
    return ask_milli(ask) > 0 && (ask->models == 0 || (ask->models >> model & 1)) &&
           card_suits(ask, facts);
}

/* By how much CPU an ask needs at least: level_of() of it, or the next where that is less. */
static uint32_t
level_needed(int64_t cpu)
{
    uint32_t level = level_of(cpu);

    return level_floor(level) < cpu && level < LEVELS - 1 ? level + 1 : level;
}

/* Count each ask at the level from which on it can use the node; sums over levels follow. */
static void
fill(struct syn_fleet *fleet, unsigned number)
{
    struct mix *mix = fleet->models[number].mix;
    int32_t holes[HOLES] = {0};
    int32_t none = MIX_ONE, many[MANY] = {0};
    uint64_t total = SYN_MAX(fleet->mix_total, 1);

    memset(mix, 0, sizeof(*mix));
    for (size_t i = 0; i < fleet->shapes.count; i++) {
        const struct shape *shape = &fleet->shapes.items[i];
        const struct syn_fleet_ask *ask = &shape->ask;
        uint32_t level;
        int32_t odds;

        if (!shape->used || !usable(ask, &fleet->models[number].facts, number))
            continue;
        level = level_needed(ask->need[SYN_FLEET_CPU]);
        odds = (int32_t)(shape->weight * MIX_ONE / total);
        mix->hole[level][(ask_milli(ask) + 9) / 10] += odds;
        mix->none[level] += odds;
        if (ask_cards(ask) > 1)
            mix->many[level][SYN_MIN(ask_cards(ask), MANY) - 1] += odds;
    }
    for (unsigned l = 0; l < LEVELS; l++) {
        int32_t above = 0;

        none -= mix->none[l];
        mix->none[l] = fleet->mix_total ? none : 0;
        for (int r = HOLES - 1; r >= 0; r--) {
            holes[r] += mix->hole[l][r];
            mix->hole[l][r] = above * fleet->waste[r];
            above += holes[r];
        }
        above = 0;
        for (int k = MANY - 1; k >= 0; k--) {
            many[k] += mix->many[l][k];
            above += many[k];
            mix->many[l][k] = above;
        }
    }
}

int
mix_refresh(struct syn_fleet *fleet, struct syn_err *err)
{
    bool due = fleet->mix_total >= fleet->mix_due;

    for (unsigned m = 0; m < fleet->models_count; m++) {
        if (fleet->models[m].mix)
            continue;
        fleet->models[m].mix = syn_calloc(1, sizeof(struct mix));
        if (!fleet->models[m].mix)
            return SYN_FAIL(err, SYN_E_NOMEM, "learning the mix: out of memory");
        due = true;
    }
    if (!due)
        return SYN_OK;
    fleet->mix_due = SYN_MAX(
        MIX_FIRST, fleet->mix_total + fleet->mix_total / (fleet->mix_total < MIX_LARGE ? 2 : 8));
    if (fleet->mix_given)
        fleet->mix_due = UINT64_MAX;
    count_demand(fleet);
    count_waste(fleet);
    for (unsigned m = 0; m < fleet->models_count; m++)
        fill(fleet, m);
    fleet->epoch++;
    return SYN_OK;
}

void
mix_fini(struct syn_fleet *fleet)
{
    for (unsigned m = 0; m < fleet->models_count; m++)
        syn_free(fleet->models[m].mix);
}

const struct mix *
mix_of(const struct syn_fleet *fleet, const struct class_key *class)
{
    return class->cards > 0 ? fleet->models[class->models[0]].mix : NULL;
}

int64_t
mix_worth(const struct syn_fleet *fleet, const struct class_key *class, uint32_t level, int64_t cpu,
          const card_t *cards)
{
    const struct mix *mix = mix_of(fleet, class);
    int64_t left = 0, worth = 0, over;
    unsigned whole = 0;

    if (!mix)
        return 0;
    for (uint32_t i = 0; i < class->cards; i++) {
        uint32_t time = card_time(cards[i]);

        left += time;
        whole += time == WHOLE;
        worth += mix->hole[level][time / 10];
    }
    worth += left * (mix->none[level] + mix->many[level][SYN_MIN(whole, MANY - 1)]);
    if (fleet->mix_ratio == 0)
        return worth;
    over = left - cpu * fleet->mix_ratio / RATIO_ONE;
    over = SYN_MAX(over, -INT64_C(64) * CARDS * WHOLE);
    return worth + (over + root(over * over + 90 * left)) * (MIX_ONE / 2);
}
