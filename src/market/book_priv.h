/* The insides of the order books, shared by book*.c and, for its speed, by the exchange. */
#ifndef SYN_MARKET_BOOK_PRIV_H
#define SYN_MARKET_BOOK_PRIV_H

#include <string.h>

#include <synor/market/book.h>

#define NONE         UINT32_C(0)
#define LEAF_BITS    4
#define LEAF_PRICES  (1U << LEAF_BITS)
#define LEAF_MASK    (LEAF_PRICES - 1)
#define FAN_BITS     6
#define FAN          (1U << FAN_BITS)
#define HEIGHT_MAX   10                   /* LEAF_BITS + 10 * FAN_BITS: all 63 bits of a price */
#define NODES_SPARE  (2 * HEIGHT_MAX + 1) /* the most that one new price takes */
#define HINTS        128                  /* leaves that a book finds without walking */
#define LINE         64
#define PAGE_BITS    7
#define PAGE_MASK    ((1U << PAGE_BITS) - 1)
#define PREFETCH_MIN 4096 /* orders; fewer are in the caches anyway */

static_assert(LEAF_BITS + HEIGHT_MAX * FAN_BITS >= 63, "every price has a leaf");

/* Two share a cache line. `place` is level << PLACE_SHIFT and flags; an AON that waits has no level
 * and its book in `next`. While free, `id` is 0 and `next` the next free one. */
struct book_order {
    uint64_t id;
    int64_t qty;
    uint32_t next, prev; /* in the queue of its price */
    uint32_t place;
    uint32_t owner;
};

enum {
    PLACE_SELL = 1,
    PLACE_TIMED = 2,
    PLACE_AON = 4,
    PLACE_SHIFT = 3,
};

static_assert(sizeof(struct book_order) == 32, "two to a cache line");
static_assert((uint64_t)SYN_BOOKS_LEAVES_MAX << (LEAF_BITS + PLACE_SHIFT) <= UINT64_C(1) << 32,
              "a level and the flags fit into a place");

struct book_level {
    uint32_t head, tail;
    int64_t qty;
};

/* 16 consecutive prices; its levels are levels[leaf * 16 ...]. While free, `book` is UINT32_MAX and
 * `parent` the next free one. */
struct book_leaf {
    uint64_t page; /* price >> LEAF_BITS */
    uint32_t book;
    uint32_t parent;
    uint32_t bits; /* levels in use */
};

struct book_node {
    uint64_t bits;   /* children in use */
    uint32_t parent; /* or next free */
    uint32_t child[FAN];
};

/* AON orders that wait, best first. */
struct book_aon {
    uint32_t count[2];
    struct {
        int64_t price;
        uint32_t slot;
    } rows[2][SYN_BOOK_AON_MAX];
};

struct book {
    _Alignas(LINE) int64_t best[2]; /* prices; -1 and INT64_MAX where nothing rests */
    uint32_t level[2];              /* their levels, or NONE */
    int64_t resting[2];
    uint32_t live; /* orders, the waiting ones too */
    uint32_t aons;
    uint32_t root;
    uint32_t height;
};

static_assert(sizeof(struct book) == LINE, "one cache line");

/* A page of ids in use. */
struct book_span {
    uint64_t number; /* id >> PAGE_BITS */
    uint32_t page;   /* NONE: this place is free */
    uint32_t live;
};

struct book_timer {
    int64_t until_ms;
    uint64_t id;
    uint32_t slot;
};

struct syn_books {
    struct book_order *orders;
    int64_t *until_ms; /* beside orders; of those that are PLACE_TIMED */
    struct book_leaf *leaves;
    struct book_level *levels; /* 16 beside each leaf */
    struct book_node *nodes;
    struct book *books;
    struct book_aon **aons;
    uint32_t *hints;         /* HINTS a book: page % HINTS -> a leaf that may be it */
    struct book_span *spans; /* pages in use, by open addressing */
    uint32_t *words;         /* of pages: slots; a free page's first is the next free one */
    struct syn_book_effect *effects;
    struct book_timer *timers;                 /* a heap, soonest first; may hold some that ended */
    uint32_t order_free, leaf_free, node_free; /* lists */
    uint32_t order_spare, leaf_spare, node_spare; /* how many are on them */
    uint32_t order_cap, leaf_cap, node_cap;
    uint32_t live;      /* orders in all books */
    uint32_t credit;    /* arrivals that there is room for, unless a pool runs out */
    uint32_t last_span; /* where the last id was put */
    uint32_t span_bits, span_count, span_limit;
    uint32_t page_free, page_spare, page_cap;
    uint32_t book_count, book_cap;
    size_t effect_count, effect_cap;
    size_t timer_count, timer_cap;
    size_t timed; /* orders with an end */
    int64_t now_ms;
};

/* ---- ids (book_table.c) ---- */

static inline uint32_t
book_home(const struct syn_books *books, uint64_t number)
{
    return (uint32_t)(number * UINT64_C(0x9E3779B97F4A7C15) >> (64 - books->span_bits));
}

/* The page of `number`, or the free place where it would be. */
static inline struct book_span *
book_span(const struct syn_books *books, uint64_t number)
{
    uint32_t mask = (UINT32_C(1) << books->span_bits) - 1, at = book_home(books, number);

    while (books->spans[at].page != NONE && books->spans[at].number != number)
        at = (at + 1) & mask;
    return &books->spans[at];
}

/* The slot of an order that rests or waits, or NONE. */
static inline uint32_t
book_find(const struct syn_books *books, uint64_t id)
{
    /* Page 0 is never used and all NONE. */
    return books
        ->words[(size_t)book_span(books, id >> PAGE_BITS)->page << PAGE_BITS | (id & PAGE_MASK)];
}

/* The page of `id` when it is the one last put to: mostly so, as ids come in sequence. */
static inline struct book_span *
book_last_span(const struct syn_books *books, uint64_t id)
{
    struct book_span *span = &books->spans[books->last_span];

    return span->number == id >> PAGE_BITS && span->page != NONE ? span : NULL;
}

static inline uint32_t *
book_word(const struct syn_books *books, const struct book_span *span, uint64_t id)
{
    return &books->words[(size_t)span->page << PAGE_BITS | (id & PAGE_MASK)];
}

static inline bool
book_known(const struct syn_books *books, uint64_t id)
{
    const struct book_span *span = book_last_span(books, id);

    return (span != NULL ? *book_word(books, span, id) : book_find(books, id)) != NONE;
}

/* The page of `id`, made where there is none. Room was reserved. */
struct book_span *syn_book_span_make(struct syn_books *books, uint64_t id);
/* A page without orders goes; others may move. */
void syn_book_span_drop(struct syn_books *books, struct book_span *span);

static inline void
book_put(struct syn_books *books, uint64_t id, uint32_t slot)
{
    struct book_span *span = book_last_span(books, id);

    if (span == NULL)
        span = syn_book_span_make(books, id);
    *book_word(books, span, id) = slot;
    span->live++;
}

/* Forget `id`, whose page is `span`. */
static inline void
book_drop(struct syn_books *books, struct book_span *span, uint64_t id)
{
    assert(span->page != NONE && span->live > 0);
    *book_word(books, span, id) = NONE;
    span->live--;
    if (span->live == 0)
        syn_book_span_drop(books, span);
}

/* ---- memory (book_pool.c) ---- */

/* Make room for `credit` arrivals, at least one, and everything that each may do. */
SYN_MUST int syn_book_reserve(struct syn_books *books, struct syn_err *err);
/* Something was taken from a pool: is there still enough for another arrival? */
void syn_book_spent(struct syn_books *books);

/* The most effects of one event: every order that rests ends, and every AON takes part of one. */
static inline size_t
book_effects_need(const struct syn_books *books)
{
    return (size_t)books->live + books->timed + 5 * (size_t)SYN_BOOK_AON_MAX;
}

/* ---- prices (book_index.c) ---- */

static inline int64_t
book_price(const struct syn_books *books, uint32_t level)
{
    return (int64_t)(books->leaves[level >> LEAF_BITS].page << LEAF_BITS | (level & LEAF_MASK));
}

/* The leaf of `page`, made where there is none. Room was reserved. */
uint32_t syn_book_leaf(struct syn_books *books, uint32_t book, uint64_t page);
/* A leaf without levels goes. */
void syn_book_leaf_drop(struct syn_books *books, uint32_t leaf);
/* The next level in use above or below, or NONE. */
uint32_t syn_book_level_next(const struct syn_books *books, uint32_t level, bool up);

/* ---- time (book_timer.c) ---- */

void syn_book_timer_put(struct syn_books *books, struct book_timer timer);
/* Take the soonest one off; false when none is due. It may have ended. */
bool syn_book_timer_due(struct syn_books *books, int64_t now_ms, struct book_timer *ret_timer);
bool syn_book_timer_live(const struct syn_books *books, const struct book_timer *timer);

/* ---- for the exchange ---- */

void syn_book_prefetch(const struct syn_books *books, const struct syn_order *order,
                       unsigned stage);
/* As syn_books_cancel(), of the order at `slot`. */
void syn_book_cancel(struct syn_books *books, uint32_t slot);
void syn_book_view(const struct syn_books *books, uint32_t slot, struct syn_order_view *ret_view);
/* The book of an order that rests or waits. */
static inline uint32_t
book_of(const struct syn_books *books, const struct book_order *order)
{
    if ((order->place & PLACE_AON) != 0)
        return order->next;
    return books->leaves[order->place >> (PLACE_SHIFT + LEAF_BITS)].book;
}

#endif
