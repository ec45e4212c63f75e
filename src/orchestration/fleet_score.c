/* Policies: how good a bucket of nodes is for an ask. What is a limit (room, price ceiling, latency
 * bound, isolation) was decided before; a score only chooses among what fits.
 *
 * All but `fragmentation` use its measure to decide between equals, and to choose the card: what is
 * expected never to be used of the node, after against before (fleet_mix.c). On top of it, a
 * thousandth of a card for every core that is free, so that nearly full nodes are filled. */
#include "fleet_priv.h"

#define LOAD_ONE    INT64_C(65536)
#define CORE_WEIGHT (MIX_ONE / 1000) /* of a millicore, in thousandths of a card times MIX_ONE */
#define RTT_FAR_US  200000           /* counts as a thousand thousandths */
#define LOST_MW     300              /* for a thousandth of a card that will lie idle */
#define GIB         (INT64_C(1) << 30)

/* Weights of `balanced`, for thousandths each. */
enum { WEIGH_FRAGMENTS = 4, WEIGH_PRICE = 2, WEIGH_LATENCY = 2, WEIGH_POWER = 1 };

uint32_t
ask_cards(const struct syn_fleet_ask *ask)
{
    return ask->mode == SYN_FLEET_CARDS ? ask->cards : 1;
}

uint32_t
ask_milli(const struct syn_fleet_ask *ask)
{
    static const uint16_t parts[SYN_FLEET_PROFILES] = {
        [SYN_FLEET_1G] = 125, [SYN_FLEET_1G_PLUS] = 250, [SYN_FLEET_2G] = 250,
        [SYN_FLEET_3G] = 500, [SYN_FLEET_4G] = 500,      [SYN_FLEET_7G] = 1000};

    if (ask->mode == SYN_FLEET_CARDS)
        return ask->cards > 0 ? WHOLE : 0;
    return ask->mode == SYN_FLEET_MIG ? parts[ask->profile] : ask->share;
}

/* `milli`: card_charge() of the ask. Everything over the one denominator, 1000 GiB, so that it is
 * exact; and since that is 125 shifted by 33, most of the division is a shift. */
int64_t
score_price(const struct syn_fleet_price *price, const struct syn_fleet_ask *ask, uint32_t milli,
            uint32_t card)
{
    syn_u128 memory = (syn_u128)price->gib * (uint64_t)ask->need[SYN_FLEET_MEMORY];
    syn_u128 disk = (syn_u128)price->disk * (uint64_t)ask->need[SYN_FLEET_DISK];
    syn_u128 sum = (syn_u128)price->cards[card] * ask_cards(ask) * milli;

    sum = (sum + (syn_u128)price->core * (uint64_t)ask->need[SYN_FLEET_CPU]) * GIB;
    sum += (memory + disk) * 1000;
    sum = (sum + (UINT64_C(1) << 33) - 1) >> 33;
    sum = sum <= UINT64_MAX - 124 ? ((uint64_t)sum + 124) / 125 : (sum + 124) / 125;
    return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

int64_t
score_price_least(const struct syn_fleet *fleet, const struct class_key *class,
                  const struct syn_fleet_ask *ask)
{
    const struct syn_fleet_price *price = &class->price[ask->spot];
    int64_t least = INT64_MAX;

    if (ask_milli(ask) == 0)
        return score_price(price, ask, 0, 0);
    for (uint32_t i = 0; i < class->cards; i++)
        if (seek_model_suits(fleet, ask, class->models[i])) {
            int64_t one = score_price(price, ask,
                                      card_charge(ask, &fleet->models[class->models[i]].facts), i);

            least = SYN_MIN(least, one);
        }
    return least;
}

uint32_t
score_rtt(const struct syn_fleet *fleet, uint32_t region, uint32_t other)
{
    if (region == other)
        return 0;
    return table_get(&fleet->rtts, (uint64_t)SYN_MIN(region, other) << 32 |
                                       SYN_MAX(region, other)); /* NONE: never measured */
}

/* Whole cards of one model: of the models that do, the one with fewest left. */
static bool
pick_whole(const struct syn_fleet_ask *ask, const struct bucket *bucket,
           const struct class_key *class, uint32_t fit, struct pick *ret)
{
    uint32_t best = NONE, best_free = 0, left = ask->cards;

    for (uint32_t i = 0, end; i < class->cards; i = end) {
        uint32_t free = 0;

        for (end = i; end < class->cards && class->models[end] == class->models[i]; end++)
            free += (fit & SYN_BIT(end)) && bucket->key.cards[end] == CARD_NEW;
        if (free < ask->cards || (best != NONE && free >= best_free))
            continue;
        best = i;
        best_free = free;
    }
    if (best == NONE)
        return false;
    for (uint32_t i = best; left > 0; i++)
        if (bucket->key.cards[i] == CARD_NEW) {
            ret->cards[i] = 0;
            ret->taken |= SYN_BIT(i);
            left--;
        }
    return true;
}

/* What a card is worth leaving as it would be, against as it is. */
static int64_t
hole_cost(const struct syn_fleet_ask *ask, const struct mix *mix, uint32_t level, card_t was,
          card_t is)
{
    if (ask->policy == SYN_FLEET_SPREAD)
        return -(int64_t)card_time(was);
    if (!mix)
        return card_time(was);
    return (int64_t)mix->hole[level][card_time(is) / 10] - mix->hole[level][card_time(was) / 10];
}

static bool
pick_part(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct bucket *bucket,
          uint32_t fit, struct pick *ret)
{
    const struct class_key *class = &fleet->classes.items[bucket->key.class].key;
    const struct mix *mix = mix_of(fleet, class);
    uint32_t level = level_of(bucket->min[SYN_FLEET_CPU] - ask->need[SYN_FLEET_CPU]);
    uint32_t best = NONE;
    card_t best_card = 0;
    int64_t least = 0;

    for (uint32_t i = 0; i < class->cards; i++) {
        card_t was = bucket->key.cards[i], is;
        uint32_t part;
        int64_t cost;

        if (!(fit & SYN_BIT(i)) ||
            (i > 0 && was == bucket->key.cards[i - 1] && class->models[i] == class->models[i - 1]))
            continue;
        is = card_take(was, ask, &fleet->models[class->models[i]].facts, &part);
        if (is == CARD_NONE)
            continue;
        cost = hole_cost(ask, mix, level, was, is);
        if (best != NONE && cost >= least)
            continue;
        best = i;
        best_card = is;
        least = cost;
        ret->part = part;
    }
    if (best == NONE)
        return false;
    ret->cards[best] = best_card;
    ret->taken = SYN_BIT(best);
    return true;
}

static int64_t
worth_of(const struct syn_fleet *fleet, struct bucket *bucket)
{
    const struct class_key *class = &fleet->classes.items[bucket->key.class].key;

    if (bucket->worth_epoch != fleet->epoch) {
        bucket->worth = mix_worth(fleet, class, bucket->key.level, level_floor(bucket->key.level),
                                  bucket->key.cards);
        bucket->worth_epoch = fleet->epoch;
    }
    return bucket->worth;
}

/* What more is expected to be lost of the node's cards, and a little for what CPU is free. */
static int64_t
loss(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, struct bucket *bucket,
     const struct pick *pick)
{
    const struct class_key *class = &fleet->classes.items[bucket->key.class].key;
    int64_t cpu = bucket->min[SYN_FLEET_CPU];
    int64_t lost = cpu * CORE_WEIGHT;
    uint32_t level;

    if (class->cards == 0)
        return lost;
    level = level_of(cpu - ask->need[SYN_FLEET_CPU]);
    return lost + mix_worth(fleet, class, level, level_floor(level), pick->cards) -
           worth_of(fleet, bucket);
}

static int64_t
part_of(int64_t used, int64_t capacity)
{
    return capacity > 0 ? (int64_t)((syn_i128)used * LOAD_ONE / capacity) : 0;
}

/* How full the scarcest amount of the node would be. A machine whose cards would lie idle beside an
 * ask without cards counts as one more, for either policy. */
static int64_t
load_after(const struct syn_fleet_ask *ask, const struct class_key *class,
           const struct bucket *bucket, const struct pick *pick)
{
    int64_t load = 0, used = 0;

    for (unsigned d = 0; d < DIMS; d++) {
        int64_t part =
            part_of(class->capacity[d] - bucket->min[d] + ask->need[d], class->capacity[d]);

        load = SYN_MAX(load, part);
    }
    for (uint32_t i = 0; i < class->cards; i++)
        used += WHOLE - card_time(pick->cards[i]);
    used = part_of(used, (int64_t) class->cards * WHOLE);
    return SYN_MAX(load, used);
}

static bool
wastes_cards(const struct syn_fleet_ask *ask, const struct class_key *class)
{
    return ask_milli(ask) == 0 && class->cards > 0;
}

/* The part of the node that the ask takes, by what it takes most of: cards or CPU. */
static int64_t
part_taken(const struct syn_fleet_ask *ask, const struct class_key *class)
{
    int64_t cards =
        part_of((int64_t)ask_milli(ask) * ask_cards(ask), (int64_t) class->cards * WHOLE);
    int64_t cpu = part_of(ask->need[SYN_FLEET_CPU], class->capacity[SYN_FLEET_CPU]);

    return SYN_MAX(cards, cpu);
}

/* Milliwatts that the choice costs, over the speed of its cards: what its cards draw more; its part
 * of what the powered node draws idle, half as much as the node if it has to be powered first (the
 * other half is for those who will join it); and power for what is expected to lie idle later. */
static int64_t
power(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct bucket *bucket,
      const struct pick *pick, int64_t lost)
{
    const struct class_key *class = &fleet->classes.items[bucket->key.class].key;
    int64_t idle = class->idle_mw, sum = 0;
    uint32_t speed = 0;

    for (uint32_t i = 0; i < class->cards; i++) {
        const struct syn_fleet_model *model = &fleet->models[class->models[i]].facts;

        idle += model->idle_mw;
        if (!(pick->taken & SYN_BIT(i)))
            continue;
        speed = model->speed;
        if (bucket->key.cards[i] == CARD_NEW)
            sum += (int64_t)model->context_mw - model->idle_mw;
        sum += ((int64_t)model->busy_mw - model->context_mw) * ask_milli(ask) / WHOLE;
    }
    sum += idle * part_taken(ask, class) / LOAD_ONE;
    if (bucket->key.idle)
        sum += idle / 2;
    return sum * 1000 / (speed ? speed : 1000) + lost * LOST_MW / MIX_ONE;
}

static int64_t
price_thousandths(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, int64_t price)
{
    int64_t most = score_price(&fleet->dearest[ask->spot], ask, ask_milli(ask), 0);

    return most > 0 ? (int64_t)((syn_i128)price * 1000 / most) : 0;
}

/* On the cards that were picked: all of one price. */
static int64_t
price_of(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
         const struct class_key *class, const struct pick *pick)
{
    uint32_t card = pick->taken ? (uint32_t)__builtin_ctz(pick->taken) : 0;
    uint32_t milli = pick->taken ? card_charge(ask, &fleet->models[class->models[card]].facts) : 0;

    return score_price(&class->price[ask->spot], ask, milli, card);
}

static int64_t
rtt_for(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
        const struct class_key *class)
{
    return ask->near == 0 ? 0 : score_rtt(fleet, class->region, ask->near);
}

static int64_t
balance(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct bucket *bucket,
        const struct pick *pick, int64_t lost)
{
    const struct class_key *class = &fleet->classes.items[bucket->key.class].key;
    int64_t rtt = SYN_MIN(rtt_for(fleet, ask, class), RTT_FAR_US);
    int64_t sum = lost / 16 * WEIGH_FRAGMENTS;
    int64_t rest = WEIGH_PRICE * price_thousandths(fleet, ask, price_of(fleet, ask, class, pick)) +
                   WEIGH_LATENCY * (rtt * 1000 / RTT_FAR_US);

    if (fleet->power_max_mw > 0)
        rest += WEIGH_POWER * (power(fleet, ask, bucket, pick, 0) * 1000 / fleet->power_max_mw);
    return sum + rest * (MIX_ONE / 16);
}

bool
score(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, struct bucket *bucket, uint32_t fit,
      struct rank *ret_rank, struct pick *ret)
{
    const struct class_key *class = &fleet->classes.items[bucket->key.class].key;
    int64_t lost, first = 0;

    ret->taken = 0;
    ret->part = 0;
    memcpy(ret->cards, bucket->key.cards, class->cards * sizeof(card_t));
    if (ask->mode == SYN_FLEET_CARDS) {
        if (ask->cards > 0 && !pick_whole(ask, bucket, class, fit, ret))
            return false;
    } else if (!pick_part(fleet, ask, bucket, fit, ret)) {
        return false;
    }
    lost = loss(fleet, ask, bucket, ret);
    switch ((enum syn_fleet_policy)ask->policy) {
    case SYN_FLEET_BINPACK:
        first = load_after(ask, class, bucket, ret) - LOAD_ONE * 4 * wastes_cards(ask, class);
        break;
    case SYN_FLEET_SPREAD:
        first = -load_after(ask, class, bucket, ret) - LOAD_ONE * 4 * wastes_cards(ask, class);
        break;
    case SYN_FLEET_LATENCY:
        first = -rtt_for(fleet, ask, class);
        break;
    case SYN_FLEET_ENERGY:
        first = -power(fleet, ask, bucket, ret, lost);
        break;
    case SYN_FLEET_PRICE:
        first = -price_of(fleet, ask, class, ret);
        break;
    case SYN_FLEET_BALANCED:
        first = -balance(fleet, ask, bucket, ret, lost);
        break;
    case SYN_FLEET_FRAGMENTATION:
    case SYN_FLEET_POLICIES:
    default:
        break;
    }
    *ret_rank = (struct rank){first, -lost};
    return true;
}
