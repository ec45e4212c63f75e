/* Asking for memory before it is needed. Matching follows pointers that only the event itself
 * names: id, page, order, its neighbours; class, account, position. Taken one by one they are a
 * cache miss each, and with hundreds of thousands of orders that is most of the time. Whoever has
 * the next events at hand can overlap them, in three steps: what the event names, what that leads
 * to, and what that leads to. Nothing here can change a result. */
#include "book_priv.h"

static void
order_by_id(const struct syn_books *books, uint64_t id, unsigned stage)
{
    const struct book_order *order;
    const struct book_span *span;

    if (stage == 2) {
        span = book_span(books, id >> PAGE_BITS);
        __builtin_prefetch(&books->words[(size_t)span->page << PAGE_BITS | (id & PAGE_MASK)]);
        return;
    }
    order = &books->orders[book_find(books, id)];
    if (stage == 1) {
        __builtin_prefetch(order);
        return;
    }
    __builtin_prefetch(&books->orders[order->next], 1);
    __builtin_prefetch(&books->orders[order->prev], 1);
    __builtin_prefetch(&books->levels[order->place >> PLACE_SHIFT], 1);
}

static void
level_by_price(const struct syn_books *books, uint32_t book, int64_t price, unsigned stage)
{
    uint64_t page = (uint64_t)price >> LEAF_BITS;
    const uint32_t *hint = &books->hints[(size_t)book * HINTS + page % HINTS];
    uint32_t at;

    if (stage == 2) {
        __builtin_prefetch(&books->books[book], 1);
        __builtin_prefetch(hint);
        return;
    }
    at = *hint << LEAF_BITS | ((uint32_t)price & LEAF_MASK);
    if (stage == 1) {
        __builtin_prefetch(&books->leaves[*hint]);
        __builtin_prefetch(&books->levels[at], 1);
        return;
    }
    __builtin_prefetch(&books->orders[books->levels[at].tail], 1);
}

void
syn_book_prefetch(const struct syn_books *books, const struct syn_order *order, unsigned stage)
{
    if (order->qty == 0)
        order_by_id(books, order->id, stage);
    else if (order->book < books->book_count)
        level_by_price(books, order->book, order->price, stage);
}

bool
syn_books_large(const struct syn_books *books)
{
    return books->order_cap > PREFETCH_MIN;
}

void
syn_books_prefetch(const struct syn_books *books, const struct syn_order *const ahead[3])
{
    for (unsigned stage = 0; stage < 3; stage++)
        syn_book_prefetch(books, ahead[stage], stage);
}
