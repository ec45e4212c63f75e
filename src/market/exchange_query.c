/* Questions to the exchange, the price index among them, and the check of what must hold. */
#include "exchange_priv.h"

#include <stdlib.h>

#include <synor/base/mem.h>
#include <synor/base/units.h>

const struct syn_books *
syn_exchange_books(const struct syn_exchange *exchange)
{
    return exchange->books;
}

bool
syn_exchange_next_order(const struct syn_exchange *exchange, uint32_t account,
                        struct syn_orders_cursor *cursor, struct syn_order_view *ret_view)
{
    while (cursor->class < exchange->class_count) {
        uint32_t owner = position_find(&exchange->classes[cursor->class], account);

        while (owner != 0 && syn_books_next(exchange->books, cursor->class,
                                            (enum syn_side)cursor->side, &cursor->at, ret_view)) {
            if (ret_view->owner == owner)
                return true;
        }
        cursor->at = 0;
        cursor->class += cursor->side;
        cursor->side ^= 1;
    }
    return false;
}

size_t
syn_exchange_history(const struct syn_exchange *exchange, uint32_t class_index,
                     struct syn_market_trade *trades, size_t max)
{
    const struct market_class *class;
    size_t count = 0;

    if (class_index >= exchange->class_count)
        return 0;
    class = &exchange->classes[class_index];
    while (count < max && count < SYN_EXCHANGE_HISTORY && count < class->trades) {
        trades[count] = class->history[(class->trades - count) % SYN_EXCHANGE_HISTORY];
        count++;
    }
    return count;
}

struct syn_market_quote
syn_exchange_quote(const struct syn_exchange *exchange, uint32_t account, uint32_t class,
                   enum syn_side side, struct syn_market_ask ask)
{
    struct syn_market_quote quote = {0};
    struct syn_order_view view;
    enum syn_side other = side == SYN_BUY ? SYN_SELL : SYN_BUY;
    uint64_t cursor = 0;
    uint32_t owner = 0;

    if (class >= exchange->class_count)
        return quote;
    if (account != SYN_NO_INDEX)
        owner = position_find(&exchange->classes[class], account);
    while (quote.qty < ask.qty && syn_books_next(exchange->books, class, other, &cursor, &view)) {
        int64_t take = SYN_MIN(view.qty, ask.qty - quote.qty);

        if (view.aon ||
            (ask.limit != 0 && (side == SYN_BUY ? view.price > ask.limit : view.price < ask.limit)))
            break;
        if (owner != 0 && view.owner == owner)
            continue;
        quote.qty += take;
        quote.cost += (syn_u128)view.price * (syn_u128)take;
        quote.worst = view.price;
    }
    return quote;
}

/* ---- the index ---- */

/* Trades of the history that are young enough, oldest first. */
static size_t
recent(const struct syn_exchange *exchange, uint32_t class, int64_t window_ms,
       struct syn_market_trade *trades)
{
    size_t count = syn_exchange_history(exchange, class, trades, SYN_EXCHANGE_HISTORY), kept = 0;
    int64_t now_ms = syn_books_now_ms(exchange->books);

    while (kept < count && now_ms - trades[kept].at_ms <= window_ms)
        kept++;
    return kept;
}

/* By the two accounts, whoever sold, then newest first. */
static int
by_pair(const void *left, const void *right)
{
    const struct syn_market_trade *a = left, *b = right;
    uint32_t a_low = a->buyer < a->seller ? a->buyer : a->seller;
    uint32_t b_low = b->buyer < b->seller ? b->buyer : b->seller;
    uint32_t a_high = a->buyer ^ a->seller ^ a_low, b_high = b->buyer ^ b->seller ^ b_low;

    if (a_low != b_low)
        return a_low < b_low ? -1 : 1;
    if (a_high != b_high)
        return a_high < b_high ? -1 : 1;
    return (a->number < b->number) - (a->number > b->number);
}

/* Count of the `count` trades of one pair what is left after what went back and forth, the newest
 * first. Returns the sum of price times quantity. */
static syn_u128
count_pair(const struct syn_market_trade *trades, size_t count, struct syn_market_index *index)
{
    syn_u128 sum = 0;
    syn_i128 net = 0; /* sold by the first trade's seller to its buyer */
    bool forth;

    for (size_t i = 0; i < count; i++)
        net += trades[i].seller == trades[0].seller ? trades[i].qty : -(syn_i128)trades[i].qty;
    forth = net > 0;
    net = forth ? net : -net;
    for (size_t i = 0; i < count; i++) {
        bool counts = net > 0 && (trades[i].seller == trades[0].seller) == forth;
        int64_t qty = counts && trades[i].qty > net ? (int64_t)net : trades[i].qty;

        if (!counts) {
            index->ignored++;
            continue;
        }
        sum = sum + (syn_u128)trades[i].price * (syn_u128)qty;
        net -= qty;
        index->qty += qty;
        index->count++;
    }
    return sum;
}

static bool
same_pair(const struct syn_market_trade *a, const struct syn_market_trade *b)
{
    return (a->buyer == b->buyer && a->seller == b->seller) ||
           (a->buyer == b->seller && a->seller == b->buyer);
}

static struct syn_market_index
index_trades(const struct syn_exchange *exchange, uint32_t class, int64_t window_ms)
{
    struct syn_market_trade trades[SYN_EXCHANGE_HISTORY];
    size_t count = recent(exchange, class, window_ms, trades), end;
    struct syn_market_index index = {0};
    syn_u128 sum = 0;

    static_assert(SYN_ORDER_QTY_MAX <= INT64_MAX / SYN_EXCHANGE_HISTORY, "quantities add up");
    qsort(trades, count, sizeof(trades[0]), by_pair);
    for (size_t i = 0; i < count; i = end) {
        end = i + 1;
        while (end < count && same_pair(&trades[i], &trades[end]))
            end++;
        sum += count_pair(&trades[i], end - i, &index);
    }
    if (index.qty > 0) {
        index.basis = SYN_INDEX_TRADES;
        index.price = (int64_t)(sum / (uint64_t)index.qty);
    }
    return index;
}

/* The best price of each account on a side, of the first SYN_EXCHANGE_QUOTES accounts. */
static size_t
best_quotes(const struct syn_exchange *exchange, uint32_t class, enum syn_side side,
            int64_t *prices)
{
    uint32_t owners[SYN_EXCHANGE_QUOTES];
    struct syn_order_view view;
    uint64_t cursor = 0;
    size_t count = 0;

    for (unsigned walked = 0; walked < SYN_EXCHANGE_QUOTE_WALK && count < SYN_EXCHANGE_QUOTES;
         walked++) {
        size_t known = 0;

        if (!syn_books_next(exchange->books, class, side, &cursor, &view) || view.aon)
            break;
        while (known < count && owners[known] != view.owner)
            known++;
        if (known < count)
            continue;
        owners[count] = view.owner;
        prices[count++] = view.price;
    }
    return count;
}

static int
by_price(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    return (a > b) - (a < b);
}

static struct syn_market_index
index_quotes(const struct syn_exchange *exchange, uint32_t class)
{
    int64_t prices[2 * SYN_EXCHANGE_QUOTES];
    size_t count = best_quotes(exchange, class, SYN_BUY, prices), trim;
    struct syn_market_index index = {0};
    syn_u128 sum = 0;

    count += best_quotes(exchange, class, SYN_SELL, prices + count);
    if (count == 0)
        return index;
    qsort(prices, count, sizeof(prices[0]), by_price);
    trim = count / 4;
    for (size_t i = trim; i < count - trim; i++)
        sum += (uint64_t)prices[i];
    index.basis = SYN_INDEX_QUOTES;
    index.count = (uint32_t)(count - 2 * trim);
    index.ignored = (uint32_t)(2 * trim);
    index.price = (int64_t)(sum / index.count);
    return index;
}

struct syn_market_index
syn_exchange_index(const struct syn_exchange *exchange, uint32_t class, int64_t window_ms)
{
    struct syn_market_index index = {0}, quotes;

    if (class >= exchange->class_count)
        return index;
    index = index_trades(exchange, class, window_ms);
    if (index.basis == SYN_INDEX_TRADES)
        return index;
    quotes = index_quotes(exchange, class);
    quotes.ignored += index.ignored;
    return quotes;
}

/* ---- what must hold ---- */

/* Take the holds of a side's orders off `held` (money by account, capacity by position). */
static void
check_holds(const struct syn_exchange *exchange, uint32_t class, enum syn_side side, int64_t *money,
            int64_t *capacity)
{
    struct syn_order_view view;
    uint64_t cursor = 0;

    while (syn_books_next(exchange->books, class, side, &cursor, &view)) {
        const struct position *position = &exchange->positions[view.owner];

        assert(view.owner != 0 && position->class == class);
        assert(view.id <= exchange->last_id);
        if (side == SYN_BUY)
            money[position->account] -= view.price * view.qty;
        else
            capacity[view.owner] -= view.qty;
    }
}

static void
check_sums(const struct syn_exchange *exchange, const int64_t *money, const int64_t *capacity)
{
    syn_i128 all_money = 0, all = 0, classes = 0;

    for (size_t i = 0; i < exchange->account_count; i++) {
        assert(money[i] == 0 && exchange->accounts[i].free >= 0 && exchange->accounts[i].held >= 0);
        all_money += exchange->accounts[i].free + exchange->accounts[i].held;
    }
    assert(all_money == exchange->money);
    for (size_t i = 0; i < exchange->position_count; i++) {
        const struct position *position = &exchange->positions[i];

        assert(capacity[i] == 0 && position->free >= 0 && position->held >= 0);
        assert(i == 0 ||
               position_find(&exchange->classes[position->class], position->account) == i);
        all += position->free + position->held;
    }
    for (size_t i = 0; i < exchange->class_count; i++)
        classes += exchange->classes[i].capacity;
    assert(all == classes);
}

void
syn_exchange_check(const struct syn_exchange *exchange)
{
    int64_t *money = syn_calloc(exchange->account_count, sizeof(*money));
    int64_t *capacity = syn_calloc(exchange->position_count, sizeof(*capacity));

    assert(money != NULL && capacity != NULL);
    syn_books_check(exchange->books);
    for (size_t i = 0; i < exchange->account_count; i++)
        money[i] = exchange->accounts[i].held;
    for (size_t i = 0; i < exchange->position_count; i++)
        capacity[i] = exchange->positions[i].held;
    for (uint32_t i = 0; i < exchange->class_count; i++) {
        check_holds(exchange, i, SYN_BUY, money, capacity);
        check_holds(exchange, i, SYN_SELL, money, capacity);
    }
    check_sums(exchange, money, capacity);
    syn_free(money);
    syn_free(capacity);
}
