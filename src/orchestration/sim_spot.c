/* Spot cards on the exchange: each model is a class, a thousandth of a card for an hour its unit.
 *
 * The cluster sells what nobody has at one price a model, which it sets anew every hour by the
 * demand: a quarter of the list price when nothing is asked for, the list price at 87 % of the
 * cards, five quarters at all of them, at most twice. A run bids once, from 0.3 to 1.5 of the list
 * price, and buys an hour at a time, all or nothing; when the hour is over its card goes back on
 * sale before it bids again. Who finds the price above the bid is given notice: it goes on, and
 * pays on by the price of its last hour, and its card is not for sale; when the notice is over it
 * bids once more, and else stops with what it has done in a checkpoint, and waits for a lower
 * price. */
#include <synor/base/mem.h>

#include "sim_priv.h"

static int
apply(struct syn_sim *sim, const struct syn_market_event *event,
      struct syn_market_outcome *ret_outcome, struct syn_err *err)
{
    struct syn_market_outcome unused;

    return syn_exchange_apply(sim->spot.exchange, event, ret_outcome ? ret_outcome : &unused, err);
}

static int
named(struct syn_sim *sim, uint8_t kind, const char *name, uint32_t *ret, struct syn_err *err)
{
    const struct syn_market_event event = {
        .kind = kind, .name = name, .name_len = (uint32_t)strlen(name)};
    struct syn_market_outcome outcome;
    int rc = apply(sim, &event, &outcome, err);

    if (rc == SYN_OK)
        *ret = outcome.index;
    return rc;
}

static int
move(struct syn_sim *sim, uint8_t kind, uint32_t account, uint32_t class, int64_t qty,
     struct syn_err *err)
{
    const struct syn_market_event event = {
        .kind = kind, .account = account, .class = class, .qty = qty};

    return apply(sim, &event, NULL, err);
}

static int
offer(struct syn_sim *sim, const struct sim_good *good, int64_t qty, struct syn_err *err)
{
    const struct syn_market_event event = {.kind = SYN_EVENT_ORDER,
                                           .account = sim->spot.seller,
                                           .class = good->class,
                                           .side = SYN_SELL,
                                           .order = SYN_ORDER_LIMIT,
                                           .price = good->ask,
                                           .qty = qty};

    return apply(sim, &event, NULL, err);
}

/* Nothing is given away on an exchange. */
static int64_t
at_least_one(int64_t price)
{
    return SYN_MAX(price, 1);
}

static int64_t
price_at(const struct sim_good *good)
{
    int64_t all = (int64_t)good->cards * SYN_FLEET_WHOLE;
    int64_t demand = (good->leased + good->wanted) * 1000 / all;
    int64_t permille = 250 + demand * demand / 1000;

    return at_least_one(good->list * SYN_MIN(permille, 2000) / 1000);
}

int
sim_spot_open(struct syn_sim *sim, struct syn_err *err)
{
    struct sim_spot *spot = &sim->spot;
    int rc = syn_exchange_new(&spot->exchange, err);

    rc = rc < 0 ? rc : named(sim, SYN_EVENT_ACCOUNT, "cluster", &spot->seller, err);
    rc = rc < 0 ? rc : named(sim, SYN_EVENT_ACCOUNT, "tenants", &spot->buyer, err);
    for (uint32_t i = 0; i < sim->nodes_count; i++)
        if (sim->nodes[i].spec.cards > 0)
            spot->goods[sim->nodes[i].spec.models[0]].cards += sim->nodes[i].spec.cards;
    for (uint32_t i = 0; rc == SYN_OK && i < sim->models_count; i++) {
        struct sim_good *good = &spot->goods[i];
        int64_t all = (int64_t)good->cards * SYN_FLEET_WHOLE;
        char name[SYN_MARKET_NAME_MAX];

        if (good->cards == 0)
            continue;
        (void)snprintf(name, sizeof(name), "gpu/%s/sim/hour", sim->model_names[i]);
        good->list = at_least_one(sim_list_price(sim, i) / SYN_FLEET_WHOLE);
        good->ask = good->lowest = good->highest = price_at(good);
        good->changed = true;
        rc = named(sim, SYN_EVENT_CLASS, name, &good->class, err);
        rc = rc < 0 ? rc : move(sim, SYN_EVENT_GRANT, spot->seller, good->class, all, err);
        rc = rc < 0 ? rc : offer(sim, good, all, err);
    }
    return rc;
}

void
sim_spot_close(struct syn_sim *sim)
{
    sim->spot.exchange = syn_exchange_free(sim->spot.exchange);
}

static int64_t
bid(const struct sim_good *good, const struct sim_run *run)
{
    return at_least_one(good->list * (int64_t)run->bid / 1000);
}

uint64_t
sim_spot_models(const struct syn_sim *sim, const struct sim_run *run)
{
    uint64_t taken = sim->pods[run->pod].ask.models, found = 0;

    for (uint32_t i = 0; i < sim->models_count; i++) {
        const struct sim_good *good = &sim->spot.goods[i];
        uint64_t bit = UINT64_C(1) << i;

        if (good->cards > 0 && (taken == 0 || (taken & bit) != 0) && good->ask <= bid(good, run))
            found |= bit;
    }
    return found;
}

/* What waits for a lower price wants the cheapest model that it takes. */
static void
count_wanted(struct syn_sim *sim)
{
    uint32_t waiting = sim->priced_out;

    for (uint32_t i = 0; i < sim->models_count; i++)
        sim->spot.goods[i].wanted = 0;
    for (uint32_t i = 0; waiting > 0 && i < sim->arrived; i++) {
        const struct syn_fleet_ask *ask = &sim->pods[sim->runs[i].pod].ask;
        struct sim_good *best = NULL;

        if (sim->runs[i].state != SIM_PRICED_OUT)
            continue;
        waiting--;
        for (uint32_t m = 0; m < sim->models_count; m++) {
            struct sim_good *good = &sim->spot.goods[m];
            bool taken = ask->models == 0 || (ask->models >> m & 1) != 0;

            if (good->cards > 0 && taken && (best == NULL || good->ask < best->ask))
                best = good;
        }
        if (best != NULL)
            best->wanted += sim_milli(ask);
    }
}

static int
withdraw(struct syn_sim *sim, const struct sim_good *good, struct syn_err *err)
{
    struct syn_order_view order;
    int rc = SYN_OK;

    while (rc == SYN_OK) {
        struct syn_orders_cursor cursor = {.class = good->class, .side = SYN_SELL};
        struct syn_market_event event = {.kind = SYN_EVENT_CANCEL, .account = sim->spot.seller};

        if (!syn_exchange_next_order(sim->spot.exchange, sim->spot.seller, &cursor, &order) ||
            order.book != good->class)
            break;
        event.id = order.id;
        rc = apply(sim, &event, NULL, err);
    }
    return rc;
}

int
sim_spot_reprice(struct syn_sim *sim, struct syn_err *err)
{
    const struct syn_market_event now = {.kind = SYN_EVENT_TIME, .at_ms = sim->now_ms};
    int rc = apply(sim, &now, NULL, err);

    count_wanted(sim);
    for (uint32_t i = 0; rc == SYN_OK && i < sim->models_count; i++) {
        struct sim_good *good = &sim->spot.goods[i];
        int64_t price = good->cards > 0 ? price_at(good) : good->ask, rest;

        good->changed = price != good->ask;
        if (!good->changed)
            continue;
        rc = withdraw(sim, good, err);
        good->ask = price;
        good->lowest = SYN_MIN(good->lowest, price);
        good->highest = SYN_MAX(good->highest, price);
        rest = syn_exchange_capacity(sim->spot.exchange, sim->spot.seller, good->class).free;
        if (rc == SYN_OK && rest > 0)
            rc = offer(sim, good, rest, err);
    }
    return rc;
}

int
sim_spot_buy(struct syn_sim *sim, struct sim_run *run, bool *ret_bought, struct syn_err *err)
{
    struct sim_spot *spot = &sim->spot;
    struct sim_good *good = &spot->goods[sim->nodes[run->slot.node].spec.models[0]];
    int64_t qty = sim_milli(&sim->pods[run->pod].ask);
    const struct syn_market_event order = {.kind = SYN_EVENT_ORDER,
                                           .account = spot->buyer,
                                           .class = good->class,
                                           .side = SYN_BUY,
                                           .order = SYN_ORDER_FOK,
                                           .price = bid(good, run),
                                           .qty = qty};
    int64_t missing = order.price * qty - syn_exchange_money(spot->exchange, spot->buyer).free;
    const struct syn_book_effect *effects;
    struct syn_market_outcome outcome;
    size_t count;
    int rc = SYN_OK;

    assert(run->leased == 0 && qty > 0);
    if (missing > 0)
        rc = move(sim, SYN_EVENT_DEPOSIT, spot->buyer, 0, missing, err);
    rc = rc < 0 ? rc : apply(sim, &order, &outcome, err);
    if (rc < 0)
        return rc;
    effects = syn_exchange_effects(spot->exchange, &count);
    for (size_t i = 0; i < count; i++)
        if (effects[i].what == SYN_BOOK_TRADE)
            spot->paid += (syn_i128)effects[i].price * effects[i].qty;
    assert(outcome.order.traded == 0 || outcome.order.traded == qty);
    *ret_bought = outcome.order.traded == qty;
    if (!*ret_bought) {
        spot->refused++;
        return SYN_OK;
    }
    spot->leases++;
    run->leased = (uint32_t)qty;
    run->price = good->ask;
    good->leased += qty;
    return SYN_OK;
}

bool
sim_spot_outbid(const struct syn_sim *sim, const struct sim_run *run)
{
    const struct sim_good *good = &sim->spot.goods[sim->nodes[run->slot.node].spec.models[0]];

    return good->ask > bid(good, run);
}

void
sim_spot_noticed(struct syn_sim *sim, struct sim_run *run)
{
    if (run->noticed_ms < 0)
        return;
    sim->spot.noticed_hour += (syn_i128)run->price * run->leased * (sim->now_ms - run->noticed_ms);
    run->noticed_ms = -1;
}

int
sim_spot_return(struct syn_sim *sim, struct sim_run *run, struct syn_err *err)
{
    struct sim_spot *spot = &sim->spot;
    struct sim_good *good = &spot->goods[sim->nodes[run->slot.node].spec.models[0]];
    int64_t qty = run->leased;
    int rc = move(sim, SYN_EVENT_RETIRE, spot->buyer, good->class, qty, err);

    rc = rc < 0 ? rc : move(sim, SYN_EVENT_GRANT, spot->seller, good->class, qty, err);
    rc = rc < 0 ? rc : offer(sim, good, qty, err);
    good->leased -= qty;
    run->leased = 0;
    return rc;
}
