#include "book_model.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE SIZE_MAX

static void
need(bool holds)
{
    if (!holds)
        abort();
}

static void
drop_row(struct book_model *model, size_t at)
{
    model->count--;
    memmove(&model->orders[at], &model->orders[at + 1],
            (model->count - at) * sizeof(model->orders[0]));
}

static void
tell(struct book_model *model, size_t at, enum syn_book_what what, enum syn_book_why why,
     int64_t qty)
{
    const struct syn_order *order = &model->orders[at];

    need(model->effect_count < MODEL_EFFECTS_MAX);
    model->effects[model->effect_count++] =
        (struct syn_book_effect){.maker = order->id,
                                 .price = order->price,
                                 .qty = qty,
                                 .book = order->book,
                                 .maker_owner = order->owner,
                                 .what = (uint8_t)what,
                                 .why = (uint8_t)why,
                                 .maker_side = order->side,
                                 .maker_done = what == SYN_BOOK_ENDED};
}

static void
end_row(struct book_model *model, size_t at, enum syn_book_why why)
{
    tell(model, at, SYN_BOOK_ENDED, why, model->orders[at].qty);
    drop_row(model, at);
}

static size_t
find(const struct book_model *model, uint64_t id)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->orders[i].id == id)
            return i;
    }
    return NOWHERE;
}

static bool
reaches(const struct syn_order *taker, int64_t price)
{
    if (taker->kind == SYN_ORDER_MARKET)
        return true;
    return taker->side == SYN_BUY ? price <= taker->price : price >= taker->price;
}

static bool
own(const struct syn_order *a, const struct syn_order *b)
{
    return a->owner != 0 && a->owner == b->owner;
}

/* Whom `taker` would trade with after those in `passed`, of which there are `count`. */
static size_t
best_for(const struct book_model *model, const struct syn_order *taker, const bool *passed)
{
    size_t best = NOWHERE;

    for (size_t i = 0; i < model->count; i++) {
        const struct syn_order *maker = &model->orders[i];

        if (maker->book != taker->book || maker->side == taker->side ||
            maker->kind == SYN_ORDER_AON || !reaches(taker, maker->price) || passed[i])
            continue;
        if (best == NOWHERE || (taker->side == SYN_BUY ? maker->price < model->orders[best].price
                                                       : maker->price > model->orders[best].price))
            best = i;
    }
    return best;
}

static bool
covered(const struct book_model *model, const struct syn_order *taker)
{
    bool passed[MODEL_ORDERS_MAX] = {false};
    int64_t left = taker->qty;
    size_t at;

    while (left > 0 && (at = best_for(model, taker, passed)) != NOWHERE) {
        bool mine = own(taker, &model->orders[at]);

        if (mine && taker->stp != SYN_STP_MAKER)
            return false;
        left -= mine ? 0 : model->orders[at].qty;
        passed[at] = true;
    }
    return left <= 0;
}

/* One step of `taker` with its best counterpart. False: the rest of it is dropped. */
static bool
meet(struct book_model *model, struct syn_order *taker, size_t at, int64_t *traded)
{
    struct syn_order *maker = &model->orders[at];
    int64_t qty = taker->qty < maker->qty ? taker->qty : maker->qty;

    if (!own(taker, maker)) {
        tell(model, at, SYN_BOOK_TRADE, SYN_BOOK_ASKED, qty);
        model->effects[model->effect_count - 1].taker = taker->id;
        model->effects[model->effect_count - 1].taker_owner = taker->owner;
        model->effects[model->effect_count - 1].maker_done = qty == maker->qty;
        *traded += qty;
    } else if (taker->stp == SYN_STP_LESS) {
        if (qty == maker->qty)
            tell(model, at, SYN_BOOK_ENDED, SYN_BOOK_OWN, qty);
        else
            tell(model, at, SYN_BOOK_REDUCED, SYN_BOOK_OWN, qty);
    } else {
        if (taker->stp != SYN_STP_TAKER)
            end_row(model, at, SYN_BOOK_OWN);
        return taker->stp == SYN_STP_MAKER;
    }
    taker->qty -= qty;
    maker->qty -= qty;
    if (maker->qty == 0)
        drop_row(model, at);
    return true;
}

static bool
trade(struct book_model *model, struct syn_order *taker, int64_t *traded)
{
    static const bool none[MODEL_ORDERS_MAX];
    size_t at;

    while (taker->qty > 0 && (at = best_for(model, taker, none)) != NOWHERE) {
        if (!meet(model, taker, at, traded))
            return false;
    }
    return true;
}

/* The AON of a side that comes after `last` by price and arrival, or NOWHERE. */
static size_t
next_aon(const struct book_model *model, uint32_t book, uint32_t side, const struct syn_order *last)
{
    size_t best = NOWHERE, last_at = last == NULL ? 0 : find(model, last->id);

    for (size_t i = 0; i < model->count; i++) {
        const struct syn_order *order = &model->orders[i];
        bool worse = last == NULL ||
                     (side == SYN_BUY ? order->price < last->price : order->price > last->price);

        if (order->book != book || order->side != side || order->kind != SYN_ORDER_AON)
            continue;
        if (!worse && (order->price != last->price || i <= last_at))
            continue;
        if (best == NOWHERE || (side == SYN_BUY ? order->price > model->orders[best].price
                                                : order->price < model->orders[best].price))
            best = i;
    }
    return best;
}

static void
wake(struct book_model *model, uint32_t book, uint32_t side)
{
    struct syn_order last, taker;
    bool any = false;
    int64_t traded = 0;
    size_t at;

    while ((at = next_aon(model, book, side, any ? &last : NULL)) != NOWHERE) {
        taker = model->orders[at];
        taker.stp = SYN_STP_MAKER;
        if (covered(model, &taker)) {
            end_row(model, at, SYN_BOOK_FILLS);
            need(trade(model, &taker, &traded) && taker.qty == 0);
            continue;
        }
        last = model->orders[at];
        any = true;
    }
}

static void
arrive(struct book_model *model, struct syn_order order, struct syn_order_result *result)
{
    bool whole = order.kind == SYN_ORDER_FOK || order.kind == SYN_ORDER_AON, keeps = true;
    int64_t qty = order.qty;

    if (order.kind == SYN_ORDER_AON)
        order.stp = SYN_STP_MAKER;
    if (!whole || covered(model, &order))
        keeps = trade(model, &order, &result->traded);
    if (keeps && order.qty > 0 && (order.kind == SYN_ORDER_LIMIT || order.kind == SYN_ORDER_AON)) {
        need(model->count < MODEL_ORDERS_MAX);
        model->orders[model->count++] = order;
        result->rested = order.qty;
        if (order.kind == SYN_ORDER_LIMIT)
            wake(model, order.book, order.side ^ 1U);
    }
    result->dropped = qty - result->traded - result->rested;
}

static size_t
aons_of(const struct book_model *model, uint32_t book, uint32_t side)
{
    size_t count = 0;

    for (size_t i = 0; i < model->count; i++)
        count += model->orders[i].book == book && model->orders[i].side == side &&
                 model->orders[i].kind == SYN_ORDER_AON;
    return count;
}

int
book_model_add(struct book_model *model, const struct syn_order *order,
               struct syn_order_result *ret_result)
{
    bool rests = order->kind == SYN_ORDER_LIMIT || order->kind == SYN_ORDER_AON;

    model->effect_count = 0;
    if (order->book >= model->books)
        return SYN_E_NOTFOUND;
    if (order->id == 0 || order->side > SYN_SELL || order->kind >= SYN_ORDER_KINDS ||
        order->stp >= SYN_STPS || order->qty <= 0 || order->qty > SYN_ORDER_QTY_MAX)
        return SYN_E_INVALID;
    if (order->kind != SYN_ORDER_MARKET && (order->price < 0 || order->price > SYN_PRICE_MAX))
        return SYN_E_INVALID;
    if (order->until_ms != 0 && (!rests || order->until_ms <= model->now_ms))
        return SYN_E_INVALID;
    if (order->kind == SYN_ORDER_AON &&
        aons_of(model, order->book, order->side) >= SYN_BOOK_AON_MAX)
        return SYN_E_LIMIT;
    if (find(model, order->id) != NOWHERE)
        return SYN_E_EXISTS;
    *ret_result = (struct syn_order_result){0};
    arrive(model, *order, ret_result);
    return SYN_OK;
}

int
book_model_cancel(struct book_model *model, uint64_t id)
{
    size_t at = find(model, id);

    model->effect_count = 0;
    if (at == NOWHERE)
        return SYN_E_NOTFOUND;
    end_row(model, at, SYN_BOOK_ASKED);
    return SYN_OK;
}

int
book_model_reduce(struct book_model *model, uint64_t id, int64_t by)
{
    size_t at = find(model, id);

    model->effect_count = 0;
    if (at == NOWHERE)
        return SYN_E_NOTFOUND;
    if (by <= 0)
        return SYN_E_INVALID;
    if (by >= model->orders[at].qty) {
        end_row(model, at, SYN_BOOK_ASKED);
        return SYN_OK;
    }
    tell(model, at, SYN_BOOK_REDUCED, SYN_BOOK_ASKED, by);
    model->orders[at].qty -= by;
    if (model->orders[at].kind == SYN_ORDER_AON)
        wake(model, model->orders[at].book, model->orders[at].side);
    return SYN_OK;
}

int
book_model_replace(struct book_model *model, uint64_t id, int64_t price, int64_t qty,
                   enum syn_stp stp, struct syn_order_result *ret_result)
{
    size_t at = find(model, id);
    struct syn_order order;

    model->effect_count = 0;
    if (at == NOWHERE)
        return SYN_E_NOTFOUND;
    if (price < 0 || price > SYN_PRICE_MAX || qty <= 0 || qty > SYN_ORDER_QTY_MAX ||
        stp >= SYN_STPS)
        return SYN_E_INVALID;
    order = model->orders[at];
    end_row(model, at, SYN_BOOK_ASKED);
    order.price = price;
    order.qty = qty;
    order.stp = (uint8_t)stp;
    *ret_result = (struct syn_order_result){0};
    arrive(model, order, ret_result);
    return SYN_OK;
}

int
book_model_advance(struct book_model *model, int64_t now_ms)
{
    model->effect_count = 0;
    if (now_ms < model->now_ms)
        return SYN_E_INVALID;
    model->now_ms = now_ms;
    for (;;) {
        size_t first = NOWHERE;

        for (size_t i = 0; i < model->count; i++) {
            const struct syn_order *order = &model->orders[i];
            const struct syn_order *best = &model->orders[first == NOWHERE ? 0 : first];

            if (order->until_ms == 0 || order->until_ms > now_ms)
                continue;
            if (first == NOWHERE || order->until_ms < best->until_ms ||
                (order->until_ms == best->until_ms && order->id < best->id))
                first = i;
        }
        if (first == NOWHERE)
            return SYN_OK;
        end_row(model, first, SYN_BOOK_EXPIRED);
    }
}

/* ---- comparison ---- */

static bool
same_effect(const struct syn_book_effect *a, const struct syn_book_effect *b)
{
    return a->taker == b->taker && a->maker == b->maker && a->price == b->price &&
           a->qty == b->qty && a->book == b->book && a->taker_owner == b->taker_owner &&
           a->maker_owner == b->maker_owner && a->what == b->what && a->why == b->why &&
           a->maker_side == b->maker_side && a->maker_done == b->maker_done;
}

/* The regular orders of a side in the order in which they would trade, then those that wait. */
static void
same_side(const struct book_model *model, const struct syn_books *books, uint32_t book,
          enum syn_side side)
{
    struct syn_order taker = {.book = book, .side = (uint8_t)(side ^ 1U), .kind = SYN_ORDER_MARKET};
    struct syn_order_view view;
    struct syn_order aon;
    bool passed[MODEL_ORDERS_MAX] = {false}, any = false;
    uint64_t cursor = 0;

    while (syn_books_next(books, book, side, &cursor, &view)) {
        size_t at = best_for(model, &taker, passed);
        const struct syn_order *order;

        if (at == NOWHERE) {
            at = next_aon(model, book, side, any ? &aon : NULL);
            need(at != NOWHERE && view.aon);
            aon = model->orders[at];
            any = true;
        }
        order = &model->orders[at];
        passed[at] = true;
        need(view.id == order->id && view.price == order->price && view.qty == order->qty &&
             view.owner == order->owner && view.until_ms == order->until_ms && view.side == side &&
             view.book == book);
    }
    need(best_for(model, &taker, passed) == NOWHERE);
    need(next_aon(model, book, side, any ? &aon : NULL) == NOWHERE);
}

void
book_model_same(const struct book_model *model, const struct syn_books *books)
{
    size_t count, resting = 0;
    const struct syn_book_effect *effects = syn_books_effects(books, &count);

    need(count == model->effect_count);
    for (size_t i = 0; i < count; i++)
        need(same_effect(&effects[i], &model->effects[i]));
    for (uint32_t book = 0; book < model->books; book++) {
        same_side(model, books, book, SYN_BUY);
        same_side(model, books, book, SYN_SELL);
        resting += syn_books_resting(books, book);
    }
    need(resting == model->count);
    syn_books_check(books);
}
