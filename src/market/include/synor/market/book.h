/* Order books: continuous double auctions, price then time priority.
 *
 * A `struct syn_books` holds any number of books over one pool of orders. It knows prices,
 * quantities and owners, and nothing of money: the exchange (exchange.h) puts accounts and holds on
 * top. Every call is one event; what it did to orders that rested before is told as effects, in
 * order, until the next call. A call that fails changes nothing, and its effects are none.
 *
 * The rules:
 * - A trade happens at the resting order's price. At one price the order that came first is first.
 * - LIMIT rests with what it could not trade. IOC drops that. FOK trades all or nothing, now.
 *   MARKET is an IOC without a limit.
 * - AON (all or nothing) trades whole or waits. One that waits is no part of the depth, and takes
 *   as soon as the orders resting on the other side, at its limit or better, cover it. It stands
 *   behind those: they meet incoming orders first, and two that wait never meet each other.
 * - `until_ms` ends what rests at that time, of which syn_books_advance() tells.
 * - Orders of one owner (not 0) never trade with each other. When an incoming order would, its
 *   `stp` says what gives way. For an AON that is always the resting order.
 * - Reducing keeps an order's place; replacing (more, or another price) is a new arrival.
 *
 * Prices are any integers from 0 to SYN_PRICE_MAX. Pure; one thread. */
#ifndef SYNOR_MARKET_BOOK_H
#define SYNOR_MARKET_BOOK_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_PRICE_MAX        (INT64_MAX - 1)
#define SYN_ORDER_QTY_MAX    (INT64_C(1) << 48)
#define SYN_BOOK_RESTING_MAX (INT64_C(1) << 62) /* sum of what rests on one side of a book */
#define SYN_BOOKS_MAX        (UINT32_C(1) << 20)
#define SYN_BOOKS_ORDERS_MAX (UINT32_C(1) << 26) /* resting at once, in all books */
#define SYN_BOOKS_LEAVES_MAX (UINT32_C(1) << 24) /* aligned ranges of 16 prices in use at once */
#define SYN_BOOK_AON_MAX     64                  /* waiting on one side of a book */

enum syn_side { SYN_BUY, SYN_SELL };

enum syn_order_kind {
    SYN_ORDER_LIMIT,
    SYN_ORDER_IOC,
    SYN_ORDER_FOK,
    SYN_ORDER_AON,
    SYN_ORDER_MARKET,
    SYN_ORDER_KINDS
};

/** Who gives way when an order would trade with its owner's own. */
enum syn_stp {
    SYN_STP_TAKER, /* the rest of the incoming order is dropped */
    SYN_STP_MAKER, /* the resting order is cancelled */
    SYN_STP_BOTH,
    SYN_STP_LESS, /* both lose the smaller quantity of the two */
    SYN_STPS
};

struct syn_order {
    uint64_t id; /* not 0, and of no order that rests */
    int64_t price;
    int64_t qty;
    int64_t until_ms; /* 0: until cancelled */
    uint32_t book;
    uint32_t owner; /* 0: nobody in particular */
    uint8_t side;   /* enum syn_side, and so on */
    uint8_t kind;
    uint8_t stp;
};

/** traded + rested + dropped is the order's quantity. */
struct syn_order_result {
    int64_t traded;
    int64_t rested;
    int64_t dropped;
};

enum syn_book_what {
    SYN_BOOK_TRADE,   /* `qty` at `price` between taker and maker */
    SYN_BOOK_REDUCED, /* the maker lost `qty` */
    SYN_BOOK_ENDED,   /* the maker left, with `qty` untraded */
};

enum syn_book_why {
    SYN_BOOK_ASKED,   /* cancelled, reduced, replaced */
    SYN_BOOK_OWN,     /* met an order of its owner */
    SYN_BOOK_EXPIRED, /* its time was up */
    SYN_BOOK_FILLS,   /* an AON that waited: the trades that fill it follow, it is their taker */
};

struct syn_book_effect {
    uint64_t taker; /* of trades */
    uint64_t maker;
    int64_t price; /* of the trade, or of the maker */
    int64_t qty;
    uint32_t book;
    uint32_t taker_owner;
    uint32_t maker_owner;
    uint8_t what;
    uint8_t why;
    uint8_t maker_side;
    bool maker_done; /* nothing of the maker rests any more */
};

/** An order that rests or waits. */
struct syn_order_view {
    uint64_t id;
    int64_t price;
    int64_t qty; /* left */
    int64_t until_ms;
    uint32_t book;
    uint32_t owner;
    uint8_t side;
    bool aon;
};

struct syn_book_level {
    int64_t price;
    int64_t qty;
    uint32_t orders;
};

struct syn_books;

SYN_MUST int syn_books_new(struct syn_books **ret_books, struct syn_err *err);
struct syn_books *syn_books_free(struct syn_books *books);
void syn_books_free_scope(struct syn_books **slot);

/** Add an empty book; books are numbered from 0. LIMIT, NOMEM. */
SYN_MUST int syn_books_open(struct syn_books *books, uint32_t *ret_book, struct syn_err *err);

/* ---- events ---- */

/** INVALID names the field; NOTFOUND: no such book; EXISTS: the id rests; LIMIT; NOMEM. */
SYN_MUST int syn_books_add(struct syn_books *books, const struct syn_order *order,
                           struct syn_order_result *ret_result, struct syn_err *err);
/** NOTFOUND. */
SYN_MUST int syn_books_cancel(struct syn_books *books, uint64_t id, struct syn_err *err);
/** Take `by` > 0 off an order, which keeps its place; all that is left ends it. NOTFOUND, INVALID.
 */
SYN_MUST int syn_books_reduce(struct syn_books *books, uint64_t id, int64_t by,
                              struct syn_err *err);
/** As cancel and a new arrival of the same id, owner, kind and end. The first effect is the end of
 *  the old one. Errors as of syn_books_add, and NOTFOUND. */
SYN_MUST int syn_books_replace(struct syn_books *books, uint64_t id, int64_t price, int64_t qty,
                               enum syn_stp stp, struct syn_order_result *ret_result,
                               struct syn_err *err);
/** Time passes: orders with until_ms <= now_ms end. INVALID when time goes back. */
SYN_MUST int syn_books_advance(struct syn_books *books, int64_t now_ms, struct syn_err *err);

/** What the last call did. Borrowed until the next. */
const struct syn_book_effect *syn_books_effects(const struct syn_books *books, size_t *ret_count);

/** Is there so much that asking for memory ahead is worth its while? */
bool syn_books_large(const struct syn_books *books);
/** For callers that have the next events at hand: fetch what they will touch into the caches.
 *  `ahead` are events some way ahead, the soonest first, each about as far behind the one before:
 *  orders to come, or with qty 0 the ids of orders that will be cancelled or changed. Changes
 *  nothing. */
void syn_books_prefetch(const struct syn_books *books, const struct syn_order *const ahead[3]);

/* ---- questions ---- */

int64_t syn_books_now_ms(const struct syn_books *books);
/** No order ends before this time; INT64_MAX when none has an end. */
int64_t syn_books_next_end_ms(const struct syn_books *books);
/** False when it does not rest. */
bool syn_books_find(const struct syn_books *books, uint64_t id, struct syn_order_view *ret_view);
/** Orders resting or waiting in a book. */
uint32_t syn_books_resting(const struct syn_books *books, uint32_t book);
/** The best price of a side; false when nothing rests there. */
bool syn_books_best(const struct syn_books *books, uint32_t book, enum syn_side side,
                    int64_t *ret_price);
/** Up to `max` levels, best first. Returns how many. */
size_t syn_books_depth(const struct syn_books *books, uint32_t book, enum syn_side side,
                       struct syn_book_level *levels, size_t max);
/** Walk a side in the order in which it would trade, then the AON orders that wait. Start with
 *  *cursor = 0; false at the end. Nothing may change meanwhile. */
bool syn_books_next(const struct syn_books *books, uint32_t book, enum syn_side side,
                    uint64_t *cursor, struct syn_order_view *ret_view);
/** What an order would trade now at `limit` or better, those of `owner` (0: nobody) left out: its
 *  quantity, at most `qty`, and the sum of price times quantity. */
int64_t syn_books_quote(const struct syn_books *books, const struct syn_order *order,
                        syn_u128 *ret_cost);
/** Everything that must hold, for tests: walks all there is and asserts. */
void syn_books_check(const struct syn_books *books);

#endif
