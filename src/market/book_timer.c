/* When orders end: a binary heap, soonest first, of those that have an end. An order that ends
 * otherwise leaves its entry behind; entries are swept out when more than half are such, so each
 * costs amortised constant time and the heap is at most twice the orders. */
#include "book_priv.h"

static bool
sooner(const struct book_timer *a, const struct book_timer *b)
{
    return a->until_ms != b->until_ms ? a->until_ms < b->until_ms : a->id < b->id;
}

static void
swap(struct book_timer *a, struct book_timer *b)
{
    struct book_timer kept = *a;

    *a = *b;
    *b = kept;
}

static void
sink(struct book_timer *heap, size_t count, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= count)
            return;
        if (child + 1 < count && sooner(&heap[child + 1], &heap[child]))
            child++;
        if (!sooner(&heap[child], &heap[at]))
            return;
        swap(&heap[child], &heap[at]);
        at = child;
    }
}

bool
syn_book_timer_live(const struct syn_books *books, const struct book_timer *timer)
{
    const struct book_order *order = &books->orders[timer->slot];

    return order->id == timer->id && (order->place & PLACE_TIMED) != 0 &&
           books->until_ms[timer->slot] == timer->until_ms;
}

static void
sweep(struct syn_books *books)
{
    size_t kept = 0;

    for (size_t i = 0; i < books->timer_count; i++) {
        if (syn_book_timer_live(books, &books->timers[i]))
            books->timers[kept++] = books->timers[i];
    }
    books->timer_count = kept;
    for (size_t i = kept / 2; i-- > 0;)
        sink(books->timers, kept, i);
}

void
syn_book_timer_put(struct syn_books *books, struct book_timer timer)
{
    size_t at;

    if (books->timer_count > 2 * books->timed + LINE)
        sweep(books);
    assert(books->timer_count < books->timer_cap);
    at = books->timer_count++;
    books->timers[at] = timer;
    syn_book_spent(books);
    while (at > 0 && sooner(&books->timers[at], &books->timers[(at - 1) / 2])) {
        swap(&books->timers[at], &books->timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

bool
syn_book_timer_due(struct syn_books *books, int64_t now_ms, struct book_timer *ret_timer)
{
    if (books->timer_count == 0 || books->timers[0].until_ms > now_ms)
        return false;
    *ret_timer = books->timers[0];
    books->timers[0] = books->timers[--books->timer_count];
    sink(books->timers, books->timer_count, 0);
    return true;
}

/* What ended otherwise may still stand on top: then this is too early, never too late. */
int64_t
syn_books_next_end_ms(const struct syn_books *books)
{
    return books->timer_count == 0 ? INT64_MAX : books->timers[0].until_ms;
}
