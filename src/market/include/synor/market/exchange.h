/* The spot market: order books by class of resources, accounts with money and capacity, and holds.
 *
 * A *class* is what is traded as one good: processor kind, model, region and duration class, as a
 * name of four parts, "gpu/h100/eu-west/hour". One unit of capacity of a class is whatever the
 * market's users agree on; prices are base units of money for one unit.
 *
 * An account has money and, in any class, capacity; both are *free* or *held*. While an order
 * rests, what it could cost is held: a buyer's limit times quantity, a seller's capacity. It is
 * released when the order trades, shrinks or ends, exactly once, because holds are not kept: they
 * are the orders (syn_exchange_check() adds them up). A trade moves money and capacity at once, so
 * what was bought can be sold again at once.
 *
 *     event --apply--> books (book.h) --effects--> money and capacity --> history, index
 *
 * An event is applied whole or refused and changes nothing. The same events make the same exchange:
 * log those that were accepted (event.h), and apply them again, from a snapshot or from nothing.
 *
 * Money and capacity enter by DEPOSIT and GRANT and leave by WITHDRAW and RETIRE; nothing else
 * makes or destroys any, and nobody is ever below zero. Orders of one account never trade with each
 * other.
 *
 * Pure; one thread. */
#ifndef SYNOR_MARKET_EXCHANGE_H
#define SYNOR_MARKET_EXCHANGE_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/market/book.h>
#include <synor/market/event.h>

#define SYN_EXCHANGE_ACCOUNTS_MAX  (UINT32_C(1) << 24)
#define SYN_EXCHANGE_CLASSES_MAX   (UINT32_C(1) << 16)
#define SYN_EXCHANGE_POSITIONS_MAX (UINT32_C(1) << 26)  /* pairs of account and class */
#define SYN_EXCHANGE_CAPACITY_MAX  SYN_BOOK_RESTING_MAX /* of one class, all accounts together */
#define SYN_EXCHANGE_HISTORY       256                  /* trades that a class remembers */
#define SYN_EXCHANGE_QUOTES        64   /* accounts a side that a quote index asks */
#define SYN_EXCHANGE_QUOTE_WALK    1024 /* orders a side that it looks at for them */
#define SYN_NO_INDEX               UINT32_MAX

struct syn_exchange;

struct syn_balance {
    int64_t free;
    int64_t held;
};

/** A trade of a class's history. */
struct syn_market_trade {
    uint64_t number; /* counts the class's trades from 1 */
    uint64_t taker;
    uint64_t maker;
    int64_t at_ms; /* the exchange's time then */
    int64_t price;
    int64_t qty;
    uint32_t buyer; /* accounts */
    uint32_t seller;
    uint8_t taker_side;
};

/** What an event did, beyond its effects. */
struct syn_market_outcome {
    uint64_t id;                   /* of the order */
    uint32_t index;                /* of the class or account that it made */
    struct syn_order_result order; /* of ORDER and REPLACE */
};

SYN_MUST int syn_exchange_new(struct syn_exchange **ret_exchange, struct syn_err *err);
struct syn_exchange *syn_exchange_free(struct syn_exchange *exchange);
void syn_exchange_free_scope(struct syn_exchange **slot);

/**
 * Apply one event.
 *
 * An order's id must be above every earlier one, or 0 for the next; the outcome has it, and so does
 * a log that is to be applied again.
 * Returns 0; INVALID names the field; NOTFOUND: no such account, class or order; FORBIDDEN: the
 * order is another account's; FUNDS: money or capacity do not cover it; EXISTS: the name is taken;
 * LIMIT; NOMEM. What is refused changes nothing.
 */
SYN_MUST int syn_exchange_apply(struct syn_exchange *exchange, const struct syn_market_event *event,
                                struct syn_market_outcome *ret_outcome, struct syn_err *err);
/** Apply `count` events of a log's batch. CORRUPT when one does not parse or is refused; those
 *  before it stay applied. */
SYN_MUST int syn_exchange_replay(struct syn_exchange *exchange,
                                 const struct syn_market_batch *batch, struct syn_err *err);
/** Events accepted so far: the number of the next one in a log. */
uint64_t syn_exchange_events(const struct syn_exchange *exchange);
/** What the last event did to resting orders; owners are for syn_exchange_owner(). Borrowed until
 *  the next. */
const struct syn_book_effect *syn_exchange_effects(const struct syn_exchange *exchange,
                                                   size_t *ret_count);
/** The account that an owner number of an effect or order stands for. */
uint32_t syn_exchange_owner(const struct syn_exchange *exchange, uint32_t owner);
/** As syn_books_prefetch(). */
void syn_exchange_prefetch(const struct syn_exchange *exchange,
                           const struct syn_market_event *const ahead[3]);

/* ---- questions (they answer, or say that there is none; nothing changes) ---- */

/** The books, to ask; never to change. Book n is class n. */
const struct syn_books *syn_exchange_books(const struct syn_exchange *exchange);
/** SYN_NO_INDEX when there is none. */
uint32_t syn_exchange_find_account(const struct syn_exchange *exchange, const char *name);
uint32_t syn_exchange_find_class(const struct syn_exchange *exchange, const char *name);
/** Borrowed until the exchange is freed, or NULL. */
const char *syn_exchange_account_name(const struct syn_exchange *exchange, uint32_t account);
const char *syn_exchange_class_name(const struct syn_exchange *exchange, uint32_t class);
uint32_t syn_exchange_accounts(const struct syn_exchange *exchange);
uint32_t syn_exchange_classes(const struct syn_exchange *exchange);
/** Zero for whom there is none. */
struct syn_balance syn_exchange_money(const struct syn_exchange *exchange, uint32_t account);
struct syn_balance syn_exchange_capacity(const struct syn_exchange *exchange, uint32_t account,
                                         uint32_t class);
/** Money of all accounts together, and capacity of a class. */
int64_t syn_exchange_money_total(const struct syn_exchange *exchange);
int64_t syn_exchange_capacity_total(const struct syn_exchange *exchange, uint32_t class);
/** Walk resting orders of an account in the order of class, side and rank: start with *cursor zero.
 *  False at the end. */
struct syn_orders_cursor {
    uint64_t at;
    uint32_t class;
    uint8_t side;
};
bool syn_exchange_next_order(const struct syn_exchange *exchange, uint32_t account,
                             struct syn_orders_cursor *cursor, struct syn_order_view *ret_view);
/** The last trades of a class, newest first; returns how many. */
size_t syn_exchange_history(const struct syn_exchange *exchange, uint32_t class,
                            struct syn_market_trade *trades, size_t max);

/** What an order of `qty` would cost or bring now. */
struct syn_market_quote {
    int64_t qty;   /* that there is, at most what was asked for */
    int64_t worst; /* price of the last of it */
    syn_u128 cost; /* all of it */
};
/** What it is asked for. */
struct syn_market_ask {
    int64_t qty;
    int64_t limit; /* price; 0: whatever it takes */
};
/** `account` (SYN_NO_INDEX: anybody) does not trade with itself. */
struct syn_market_quote syn_exchange_quote(const struct syn_exchange *exchange, uint32_t account,
                                           uint32_t class, enum syn_side side,
                                           struct syn_market_ask ask);

enum syn_index_basis { SYN_INDEX_NONE, SYN_INDEX_TRADES, SYN_INDEX_QUOTES };

struct syn_market_index {
    enum syn_index_basis basis;
    int64_t price;    /* rounded down */
    int64_t qty;      /* traded that counts */
    uint32_t count;   /* trades or quotes that count */
    uint32_t ignored; /* trades back and forth between the same two, quotes trimmed */
};

/**
 * The price index of a class over the last `window_ms`.
 *
 * From trades: their mean by quantity, of the history's trades in the window. What two accounts
 * sold each other back and forth counts only by what is left of it, and one account cannot trade
 * with itself, so washing adds nothing; but it takes places of the SYN_EXCHANGE_HISTORY trades that
 * are remembered. Without trades: the mean of the quotes, the best of each account and side among
 * the first SYN_EXCHANGE_QUOTE_WALK orders of a side, a quarter trimmed off at either end; so that
 * one account is never more than a quote a side. Without quotes: none.
 */
struct syn_market_index syn_exchange_index(const struct syn_exchange *exchange, uint32_t class,
                                           int64_t window_ms);

/* ---- state ---- */

/** Append everything that there is. The bytes depend on the events alone. */
SYN_MUST int syn_exchange_snapshot(const struct syn_exchange *exchange, struct syn_buf *out,
                                   struct syn_err *err);
/** CORRUPT says where; UNSUPPORTED: another version; NOMEM. */
SYN_MUST int syn_exchange_restore(const void *data, size_t len, struct syn_exchange **ret_exchange,
                                  struct syn_err *err);
/** Everything that must hold, for tests: holds are the orders, and money and capacity add up to
 *  what came in and did not leave. Asserts. */
void syn_exchange_check(const struct syn_exchange *exchange);

#endif
