/* Questions to the books, and the check of everything that must hold in them. */
#include "book_priv.h"

int64_t
syn_books_now_ms(const struct syn_books *books)
{
    return books->now_ms;
}

bool
syn_books_find(const struct syn_books *books, uint64_t id, struct syn_order_view *ret_view)
{
    uint32_t slot = id == 0 ? NONE : book_find(books, id);

    if (slot == NONE)
        return false;
    syn_book_view(books, slot, ret_view);
    return true;
}

uint32_t
syn_books_resting(const struct syn_books *books, uint32_t book)
{
    return book < books->book_count ? books->books[book].live : 0;
}

bool
syn_books_best(const struct syn_books *books, uint32_t book, enum syn_side side, int64_t *ret_price)
{
    if (book >= books->book_count || books->books[book].level[side] == NONE)
        return false;
    *ret_price = books->books[book].best[side];
    return true;
}

size_t
syn_books_depth(const struct syn_books *books, uint32_t book, enum syn_side side,
                struct syn_book_level *levels, size_t max)
{
    size_t count = 0;
    uint32_t at = book < books->book_count ? books->books[book].level[side] : NONE;

    for (; at != NONE && count < max; at = syn_book_level_next(books, at, side == SYN_SELL)) {
        uint32_t orders = 0;

        for (uint32_t slot = books->levels[at].head; slot != NONE; slot = books->orders[slot].next)
            orders++;
        levels[count++] =
            (struct syn_book_level){book_price(books, at), books->levels[at].qty, orders};
    }
    return count;
}

/* A cursor is the slot last given, and once those are through, 1 << 32 and the next AON's row. */
bool
syn_books_next(const struct syn_books *books, uint32_t book, enum syn_side side, uint64_t *cursor,
               struct syn_order_view *ret_view)
{
    const uint64_t aons = UINT64_C(1) << 32;
    uint32_t slot = (uint32_t)*cursor, at;

    if (book >= books->book_count)
        return false;
    if (*cursor < aons) {
        at = slot == NONE ? books->books[book].level[side]
                          : books->orders[slot].place >> PLACE_SHIFT;
        slot = slot == NONE ? NONE : books->orders[slot].next;
        if (*cursor != 0 && slot == NONE)
            at = syn_book_level_next(books, at, side == SYN_SELL);
        if (slot == NONE && at != NONE)
            slot = books->levels[at].head;
        if (slot != NONE) {
            *cursor = slot;
            syn_book_view(books, slot, ret_view);
            return true;
        }
        *cursor = aons;
    }
    slot = (uint32_t)*cursor; /* now a row */
    if (books->aons[book] == NULL || slot >= books->aons[book]->count[side])
        return false;
    syn_book_view(books, books->aons[book]->rows[side][slot].slot, ret_view);
    (*cursor)++;
    return true;
}

int64_t
syn_books_quote(const struct syn_books *books, const struct syn_order *order, syn_u128 *ret_cost)
{
    enum syn_side other = order->side == SYN_BUY ? SYN_SELL : SYN_BUY;
    uint32_t at = order->book < books->book_count ? books->books[order->book].level[other] : NONE;
    bool market = order->kind == SYN_ORDER_MARKET;
    int64_t left = order->qty;
    syn_u128 cost = 0;

    for (; at != NONE && left > 0; at = syn_book_level_next(books, at, other == SYN_SELL)) {
        int64_t price = book_price(books, at);

        if (!market && (other == SYN_SELL ? price > order->price : price < order->price))
            break;
        for (uint32_t slot = books->levels[at].head; slot != NONE && left > 0;
             slot = books->orders[slot].next) {
            const struct book_order *maker = &books->orders[slot];
            int64_t qty = left < maker->qty ? left : maker->qty;

            if (order->owner != 0 && maker->owner == order->owner)
                continue;
            cost += (syn_u128)price * (syn_u128)qty;
            left -= qty;
        }
    }
    *ret_cost = cost;
    return order->qty - left;
}

/* ---- what must hold ---- */

static void
check_level(const struct syn_books *books, uint32_t book, uint32_t side, uint32_t at)
{
    const struct book_level *level = &books->levels[at];
    uint32_t last = NONE;
    int64_t sum = 0;

    assert(level->head != NONE);
    for (uint32_t slot = level->head; slot != NONE; slot = books->orders[slot].next) {
        const struct book_order *order = &books->orders[slot];

        assert(order->place >> PLACE_SHIFT == at && (order->place & PLACE_SELL) == side);
        assert((order->place & PLACE_AON) == 0 && order->prev == last && order->qty > 0);
        assert(book_find(books, order->id) == slot && book_of(books, order) == book);
        sum += order->qty;
        last = slot;
    }
    assert(level->tail == last && level->qty == sum);
}

static uint32_t
check_side(const struct syn_books *books, uint32_t book_index, enum syn_side side)
{
    const struct book *book = &books->books[book_index];
    struct syn_order_view view;
    uint64_t cursor = 0;
    uint32_t count = 0;
    int64_t sum = 0, last = side == SYN_SELL ? -1 : INT64_MAX;

    for (uint32_t at = book->level[side]; at != NONE;
         at = syn_book_level_next(books, at, side == SYN_SELL)) {
        int64_t price = book_price(books, at);

        assert(at != book->level[side] || price == book->best[side]);
        assert(side == SYN_SELL ? price > last : price < last);
        check_level(books, book_index, side, at);
        last = price;
    }
    while (syn_books_next(books, book_index, side, &cursor, &view)) {
        assert(view.side == side && view.book == book_index && view.qty > 0);
        sum += view.aon ? 0 : view.qty;
        count++;
    }
    assert(sum == book->resting[side]);
    return count;
}

void
syn_books_check(const struct syn_books *books)
{
    uint32_t live = 0;
    size_t timed = 0;

    for (uint32_t i = 0; i < books->book_count; i++) {
        const struct book *book = &books->books[i];
        uint32_t count = check_side(books, i, SYN_BUY) + check_side(books, i, SYN_SELL);

        assert(count == book->live && book->best[SYN_BUY] < book->best[SYN_SELL]);
        assert((book->root == NONE) ==
               (book->level[SYN_BUY] == NONE && book->level[SYN_SELL] == NONE));
        live += count;
    }
    for (uint32_t i = 1; i < books->order_cap; i++) {
        if (books->orders[i].id != 0 && (books->orders[i].place & PLACE_TIMED) != 0)
            timed++;
    }
    assert(timed == books->timed && books->timer_count >= timed);
    assert(live == books->live && live + books->order_spare + 1 == books->order_cap);
    assert(books->effect_cap >= book_effects_need(books));
}
