/* Memory of the books: pools that only grow, and grow before an event touches anything, so that
 * nothing can fail in the middle of one. */
#include "book_priv.h"

#include <synor/base/mem.h>

/* A block of `size` bytes at a cache line with the old block's first `used` bytes, the rest zero;
 * NULL leaves the old one. */
static void *
moved(const void *old, size_t used, size_t size)
{
    char *block = syn_alloc_aligned(LINE, size);

    if (block == NULL)
        return NULL;
    if (used > 0)
        memcpy(block, old, used);
    memset(block + used, 0, size - used);
    return block;
}

/* Twice as many, from `first` on, up to `max`; 0 when that is reached. */
static uint32_t
next_cap(uint32_t cap, uint32_t first, uint32_t max)
{
    if (cap >= max)
        return 0;
    return cap == 0 ? first : SYN_MIN(cap * 2, max);
}

static int
no_memory(struct syn_err *err, const char *what)
{
    return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s of the market", what);
}

static int
more_orders(struct syn_books *books, struct syn_err *err)
{
    uint32_t from = books->order_cap, cap = next_cap(from, 64, SYN_BOOKS_ORDERS_MAX);
    struct book_order *orders;
    int64_t *until_ms;

    if (cap == 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "the market is full: %u orders rest",
                        SYN_BOOKS_ORDERS_MAX - 1);
    orders = moved(books->orders, from * sizeof(*orders), cap * sizeof(*orders));
    until_ms = moved(books->until_ms, from * sizeof(*until_ms), cap * sizeof(*until_ms));
    if (orders == NULL || until_ms == NULL) {
        syn_free(orders);
        syn_free(until_ms);
        return no_memory(err, "orders");
    }
    syn_free(books->orders);
    syn_free(books->until_ms);
    books->orders = orders;
    books->until_ms = until_ms;
    for (uint32_t i = cap; i-- > SYN_MAX(from, 1);) {
        orders[i].next = books->order_free;
        books->order_free = i;
        books->order_spare++;
    }
    books->order_cap = cap;
    return SYN_OK;
}

static int
more_leaves(struct syn_books *books, struct syn_err *err)
{
    uint32_t from = books->leaf_cap, cap = next_cap(from, 16, SYN_BOOKS_LEAVES_MAX);
    struct book_leaf *leaves;
    struct book_level *levels;

    if (cap == 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "the market is full: too many prices in use");
    leaves = moved(books->leaves, from * sizeof(*leaves), cap * sizeof(*leaves));
    levels = moved(books->levels, from * sizeof(*levels) * LEAF_PRICES,
                   cap * sizeof(*levels) * LEAF_PRICES);
    if (leaves == NULL || levels == NULL) {
        syn_free(leaves);
        syn_free(levels);
        return no_memory(err, "prices");
    }
    syn_free(books->leaves);
    syn_free(books->levels);
    books->leaves = leaves;
    books->levels = levels;
    leaves[0].book = UINT32_MAX; /* never used: it is NONE */
    for (uint32_t i = cap; i-- > SYN_MAX(from, 1);) {
        leaves[i].book = UINT32_MAX;
        leaves[i].parent = books->leaf_free;
        books->leaf_free = i;
        books->leaf_spare++;
    }
    books->leaf_cap = cap;
    return SYN_OK;
}

static int
more_nodes(struct syn_books *books, struct syn_err *err)
{
    uint32_t from = books->node_cap;
    uint32_t cap = next_cap(from, 2 * NODES_SPARE, SYN_BOOKS_LEAVES_MAX * 2);
    struct book_node *nodes;

    if (cap == 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "the market is full: too many prices in use");
    nodes = moved(books->nodes, from * sizeof(*nodes), cap * sizeof(*nodes));
    if (nodes == NULL)
        return no_memory(err, "prices");
    syn_free(books->nodes);
    books->nodes = nodes;
    for (uint32_t i = cap; i-- > SYN_MAX(from, 1);) {
        nodes[i].parent = books->node_free;
        books->node_free = i;
        books->node_spare++;
    }
    books->node_cap = cap;
    return SYN_OK;
}

static int
more_pages(struct syn_books *books, struct syn_err *err)
{
    uint32_t from = books->page_cap, cap = next_cap(from, 8, SYN_BOOKS_ORDERS_MAX);
    const size_t page = sizeof(*books->words) << PAGE_BITS;
    uint32_t *words;

    if (cap == 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "the market is full: too many order ids in use");
    words = moved(books->words, from * page, cap * page);
    if (words == NULL)
        return no_memory(err, "order ids");
    syn_free(books->words);
    books->words = words;
    for (uint32_t i = cap; i-- > SYN_MAX(from, 1);) {
        words[(size_t)i << PAGE_BITS] = books->page_free;
        books->page_free = i;
        books->page_spare++;
    }
    books->page_cap = cap;
    return SYN_OK;
}

static int
more_spans(struct syn_books *books, struct syn_err *err)
{
    uint32_t size = books->spans == NULL ? 0 : UINT32_C(1) << books->span_bits;
    uint32_t bits = books->spans == NULL ? 4 : books->span_bits + 1;
    struct book_span *old = books->spans;
    struct book_span *spans = moved(NULL, 0, sizeof(*spans) << bits);

    if (spans == NULL)
        return no_memory(err, "order ids");
    books->spans = spans;
    books->span_bits = bits;
    books->last_span = 0;
    books->span_limit = UINT32_C(1) << (bits - 1);
    for (uint32_t i = 0; i < size; i++) {
        if (old[i].page != NONE)
            *book_span(books, old[i].number) = old[i];
    }
    syn_free(old);
    return SYN_OK;
}

/* An arrival takes at most an order, a leaf, NODES_SPARE nodes, a page, a span and a timer. Who
 * takes the last that may be taken ends the credit (syn_book_spent()), so that nobody else has to
 * look. */
static bool
enough(const struct syn_books *books)
{
    return books->order_spare > 0 && books->leaf_spare > 0 && books->node_spare >= NODES_SPARE &&
           books->page_spare > 0 && books->span_count < books->span_limit &&
           books->timer_count < books->timer_cap;
}

void
syn_book_spent(struct syn_books *books)
{
    if (!enough(books))
        books->credit = 0;
}

static int
grow_pools(struct syn_books *books, struct syn_err *err)
{
    int rc = SYN_OK;

    if (books->order_spare == 0)
        rc = more_orders(books, err);
    if (rc == 0 && books->leaf_spare == 0)
        rc = more_leaves(books, err);
    if (rc == 0 && books->node_spare < NODES_SPARE)
        rc = more_nodes(books, err);
    if (rc == 0 && books->page_spare == 0)
        rc = more_pages(books, err);
    if (rc == 0 && books->span_count >= books->span_limit)
        rc = more_spans(books, err);
    if (rc == 0 && books->timer_count >= books->timer_cap &&
        !syn_grow(&books->timers, &books->timer_cap, books->timer_count + LINE,
                  sizeof(*books->timers)))
        rc = no_memory(err, "timers");
    return rc;
}

int
syn_book_reserve(struct syn_books *books, struct syn_err *err)
{
    size_t need = book_effects_need(books), want = need + need / 8 + LINE, credit;
    int rc = grow_pools(books, err);

    if (rc == 0 && books->effect_cap < want &&
        !syn_grow(&books->effects, &books->effect_cap, want, sizeof(*books->effects)))
        rc = no_memory(err, "effects");
    if (rc < 0)
        return rc;
    assert(enough(books));
    credit = (books->effect_cap - need) / 2; /* an order that rests may be one with an end */
    books->credit = (uint32_t)SYN_MIN(credit, UINT32_MAX);
    return SYN_OK;
}

/* ---- life ---- */

int
syn_books_new(struct syn_books **ret_books, struct syn_err *err)
{
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = syn_calloc(1, sizeof(*books));
    int rc;

    if (books == NULL)
        return no_memory(err, "books");
    rc = syn_book_reserve(books, err);
    if (rc == 0)
        *ret_books = SYN_TAKE(books);
    return rc;
}

struct syn_books *
syn_books_free(struct syn_books *books)
{
    if (books == NULL)
        return NULL;
    for (uint32_t i = 0; i < books->book_count; i++)
        syn_free(books->aons[i]);
    syn_free(books->orders);
    syn_free(books->until_ms);
    syn_free(books->leaves);
    syn_free(books->levels);
    syn_free(books->nodes);
    syn_free(books->books);
    syn_free((void *)books->aons);
    syn_free(books->hints);
    syn_free(books->spans);
    syn_free(books->words);
    syn_free(books->effects);
    syn_free(books->timers);
    syn_free(books);
    return NULL;
}

void
syn_books_free_scope(struct syn_books **slot)
{
    *slot = syn_books_free(*slot);
}

static int
more_books(struct syn_books *books, struct syn_err *err)
{
    uint32_t from = books->book_cap, cap = next_cap(from, 4, SYN_BOOKS_MAX);
    struct book *list;
    struct book_aon **aons;
    uint32_t *hints;

    if (cap == 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "the market has %u books, which is the most it can",
                        SYN_BOOKS_MAX);
    list = moved(books->books, from * sizeof(*list), cap * sizeof(*list));
    aons = moved((const void *)books->aons, from * sizeof(struct book_aon *),
                 cap * sizeof(struct book_aon *));
    hints = moved(books->hints, (size_t)from * HINTS * sizeof(*hints),
                  (size_t)cap * HINTS * sizeof(*hints));
    if (list == NULL || aons == NULL || hints == NULL) {
        syn_free(list);
        syn_free((void *)aons);
        syn_free(hints);
        return no_memory(err, "books");
    }
    syn_free(books->books);
    syn_free((void *)books->aons);
    syn_free(books->hints);
    books->books = list;
    books->aons = aons;
    books->hints = hints;
    books->book_cap = cap;
    return SYN_OK;
}

int
syn_books_open(struct syn_books *books, uint32_t *ret_book, struct syn_err *err)
{
    int rc = books->book_count < books->book_cap ? SYN_OK : more_books(books, err);

    if (rc < 0)
        return rc;
    books->effect_count = 0;
    books->books[books->book_count] = (struct book){.best = {-1, INT64_MAX}};
    *ret_book = books->book_count++;
    return SYN_OK;
}
