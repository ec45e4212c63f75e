/* Ids of resting orders: pages of 128 consecutive ids, each id's word the slot of its order, and a
 * small table of the pages by open addressing.
 *
 *     id >> 7 --spans--> page --id & 127--> slot
 *
 * Ids are handed out in sequence, mostly, so pages are dense, the table of them is small enough to
 * stay in the caches, and arrivals write one word after the other. Any other ids work too; an order
 * that is alone in its page costs half a KiB. A page goes with its last order.
 *
 * Refused: one table of all orders, which probes and shifts at every arrival and end, by branches
 * that nobody can predict; a plain array by id, which grows for ever. */
#include "book_priv.h"

struct book_span *
syn_book_span_make(struct syn_books *books, uint64_t id)
{
    struct book_span *span = book_span(books, id >> PAGE_BITS);

    books->last_span = (uint32_t)(span - books->spans);
    if (span->page != NONE)
        return span;
    assert(books->page_free != NONE);
    *span = (struct book_span){.number = id >> PAGE_BITS, .page = books->page_free};
    books->page_free = books->words[(size_t)span->page << PAGE_BITS];
    books->words[(size_t)span->page << PAGE_BITS] = NONE;
    books->page_spare--;
    books->span_count++;
    syn_book_spent(books);
    return span;
}

void
syn_book_span_drop(struct syn_books *books, struct book_span *span)
{
    uint32_t mask = (UINT32_C(1) << books->span_bits) - 1;
    uint32_t hole = (uint32_t)(span - books->spans);

    books->words[(size_t)span->page << PAGE_BITS] = books->page_free;
    books->page_free = span->page;
    books->page_spare++;
    books->span_count--;
    /* Move back those that would not be found past the gap. */
    for (uint32_t at = (hole + 1) & mask; books->spans[at].page != NONE; at = (at + 1) & mask) {
        uint32_t home = book_home(books, books->spans[at].number);

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        books->spans[hole] = books->spans[at];
        hole = at;
    }
    books->spans[hole].page = NONE;
}
