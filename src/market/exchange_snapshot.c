/* An exchange as bytes, and back.
 *
 *     "SYNX" | version | counters | accounts | classes, each with its history | positions |
 *     orders, by book, side and rank | checksum
 *
 * Holds are not written, since the orders say them, and orders need no more than their rank: put
 * back in that order they have it again. A snapshot is written by ourselves, yet read as if by
 * somebody else. */
#include "exchange_priv.h"

#include <synor/base/mem.h>
#include <synor/base/units.h>
#include <synor/base/varint.h>

#define VERSION   1
#define SUM_BYTES 8 /* little-endian */

static const char magic[4] = {'S', 'Y', 'N', 'X'};

static void
put(struct syn_buf *out, uint64_t value)
{
    char *begin = syn_buf_reserve(out, SYN_VARINT_MAX);

    if (begin != NULL)
        out->len += syn_varint_encode(value, begin);
}

static void
put_name(struct syn_buf *out, const char *name)
{
    size_t len = strlen(name);

    put(out, len);
    syn_buf_add(out, name, len);
}

static void
put_class(const struct market_class *class, struct syn_buf *out)
{
    uint64_t first =
        class->trades < SYN_EXCHANGE_HISTORY ? 1 : class->trades - SYN_EXCHANGE_HISTORY + 1;

    put_name(out, class->name);
    put(out, class->trades);
    for (uint64_t n = first; n <= class->trades; n++) {
        const struct syn_market_trade *trade = &class->history[n % SYN_EXCHANGE_HISTORY];

        put(out, trade->taker);
        put(out, trade->maker);
        put(out, (uint64_t)trade->at_ms);
        put(out, (uint64_t)trade->price);
        put(out, (uint64_t)trade->qty);
        put(out, trade->buyer);
        put(out, trade->seller);
        put(out, trade->taker_side);
    }
}

static void
put_orders(const struct syn_exchange *exchange, uint32_t class, enum syn_side side,
           struct syn_buf *out)
{
    struct syn_order_view view;
    uint64_t cursor = 0;

    while (syn_books_next(exchange->books, class, side, &cursor, &view)) {
        put(out, view.id);
        put(out, view.owner);
        put(out, view.aon);
        put(out, (uint64_t)view.price);
        put(out, (uint64_t)view.qty);
        put(out, (uint64_t)view.until_ms);
    }
    put(out, 0);
}

int
syn_exchange_snapshot(const struct syn_exchange *exchange, struct syn_buf *out, struct syn_err *err)
{
    size_t begin = out->len;
    uint64_t sum;
    int rc;

    syn_buf_add(out, magic, sizeof(magic));
    put(out, VERSION);
    put(out, exchange->events);
    put(out, exchange->last_id);
    put(out, (uint64_t)exchange->books->now_ms);
    put(out, exchange->account_count);
    for (size_t i = 0; i < exchange->account_count; i++) {
        put_name(out, exchange->account_names[i]);
        put(out, (uint64_t)exchange->accounts[i].free);
    }
    put(out, exchange->class_count);
    for (size_t i = 0; i < exchange->class_count; i++)
        put_class(&exchange->classes[i], out);
    put(out, exchange->position_count - 1);
    for (size_t i = 1; i < exchange->position_count; i++) {
        put(out, exchange->positions[i].account);
        put(out, exchange->positions[i].class);
        put(out, (uint64_t)exchange->positions[i].free);
    }
    for (uint32_t i = 0; i < exchange->class_count; i++) {
        put_orders(exchange, i, SYN_BUY, out);
        put_orders(exchange, i, SYN_SELL, out);
    }
    rc = syn_buf_ok(out, err);
    if (rc < 0)
        return rc;
    sum = syn_market_checksum(out->data + begin, out->len - begin);
    for (unsigned i = 0; i < SUM_BYTES; i++)
        syn_buf_addc(out, (char)(unsigned char)(sum >> (8 * i)));
    return syn_buf_ok(out, err);
}

/* ---- reading ---- */

struct reader {
    const unsigned char *data;
    size_t len, at;
    struct syn_exchange *exchange;
    struct syn_err *err;
};

static int
corrupt(struct reader *in, const char *what)
{
    return SYN_FAIL(in->err, SYN_E_CORRUPT, "snapshot: %s, at byte %zu", what, in->at);
}

static int
get(struct reader *in, uint64_t max, const char *what, uint64_t *ret)
{
    size_t used = syn_varint_decode(in->data + in->at, in->len - in->at, ret);

    if (used == 0 || *ret > max)
        return corrupt(in, what);
    in->at += used;
    return SYN_OK;
}

static int
get_i64(struct reader *in, int64_t max, const char *what, int64_t *ret)
{
    uint64_t value = 0;
    int rc = get(in, (uint64_t)max, what, &value);

    *ret = (int64_t)value;
    return rc;
}

static int
get_u32(struct reader *in, size_t below, const char *what, uint32_t *ret)
{
    uint64_t value = 0;
    int rc = get(in, UINT32_MAX, what, &value);

    if (rc == 0 && value >= below)
        rc = corrupt(in, what);
    *ret = (uint32_t)value;
    return rc;
}

/* What another module refused of it is a fault of the bytes, unless memory is short. */
static int
refused(struct reader *in, int rc, const char *what)
{
    if (rc == 0 || rc == SYN_E_NOMEM)
        return rc;
    return corrupt(in, what);
}

static int
get_name(struct reader *in, const char **ret_name, size_t *ret_len)
{
    uint64_t len = 0;
    int rc = get(in, SYN_MARKET_NAME_MAX, "the length of a name", &len);

    if (rc < 0)
        return rc;
    if (len > in->len - in->at)
        return corrupt(in, "a name is cut off");
    *ret_name = (const char *)in->data + in->at;
    *ret_len = len;
    in->at += len;
    return SYN_OK;
}

static int
add_money(struct reader *in, int64_t amount)
{
    if (amount > SYN_AMOUNT_MAX - in->exchange->money)
        return corrupt(in, "more money than there is");
    in->exchange->money += amount;
    return SYN_OK;
}

static int
get_account(struct reader *in)
{
    const char *name = NULL;
    size_t len = 0;
    uint32_t index = 0;
    int64_t free_money = 0;
    int rc = get_name(in, &name, &len);

    if (rc == 0)
        rc = get_i64(in, SYN_AMOUNT_MAX, "money", &free_money);
    if (rc == 0)
        rc = add_money(in, free_money);
    if (rc == 0)
        rc = refused(in, syn_exchange_open_account(in->exchange, name, len, &index, in->err),
                     "an account's name");
    if (rc == 0)
        in->exchange->accounts[index].free = free_money;
    return rc;
}

static int
get_trade(struct reader *in, struct syn_market_trade *trade)
{
    size_t accounts = in->exchange->account_count;
    uint32_t side = 0;
    int rc = get(in, UINT64_MAX, "a taker", &trade->taker);

    if (rc == 0)
        rc = get(in, UINT64_MAX, "a maker", &trade->maker);
    if (rc == 0)
        rc = get_i64(in, in->exchange->books->now_ms, "a trade's time", &trade->at_ms);
    if (rc == 0)
        rc = get_i64(in, SYN_PRICE_MAX, "a trade's price", &trade->price);
    if (rc == 0)
        rc = get_i64(in, SYN_ORDER_QTY_MAX, "a trade's quantity", &trade->qty);
    if (rc == 0)
        rc = get_u32(in, accounts, "a buyer", &trade->buyer);
    if (rc == 0)
        rc = get_u32(in, accounts, "a seller", &trade->seller);
    if (rc == 0)
        rc = get_u32(in, 2, "a side", &side);
    if (rc == 0 && trade->buyer == trade->seller)
        rc = corrupt(in, "a trade of one account with itself");
    trade->taker_side = (uint8_t)side;
    return rc;
}

static int
get_class(struct reader *in)
{
    struct market_class *class;
    const char *name = NULL;
    size_t len = 0;
    uint64_t trades = 0;
    uint32_t index = 0;
    int rc = get_name(in, &name, &len);

    if (rc == 0)
        rc = refused(in, syn_exchange_open_class(in->exchange, name, len, &index, in->err),
                     "a class's name");
    if (rc == 0)
        rc = get(in, UINT64_MAX - 1, "the count of trades", &trades);
    if (rc < 0)
        return rc;
    class = &in->exchange->classes[index];
    class->trades = trades;
    for (uint64_t n = trades < SYN_EXCHANGE_HISTORY ? 1 : trades - SYN_EXCHANGE_HISTORY + 1;
         n <= trades && rc == 0; n++) {
        class->history[n % SYN_EXCHANGE_HISTORY].number = n;
        rc = get_trade(in, &class->history[n % SYN_EXCHANGE_HISTORY]);
    }
    return rc;
}

static int
add_capacity(struct reader *in, uint32_t class, int64_t qty)
{
    struct market_class *into = &in->exchange->classes[class];

    if (qty > SYN_EXCHANGE_CAPACITY_MAX - into->capacity)
        return corrupt(in, "too much capacity");
    into->capacity += qty;
    return SYN_OK;
}

static int
get_position(struct reader *in)
{
    uint32_t account = 0, class = 0, at = 0;
    size_t before = in->exchange->position_count;
    int64_t qty = 0;
    int rc = get_u32(in, in->exchange->account_count, "a position's account", &account);

    if (rc == 0)
        rc = get_u32(in, in->exchange->class_count, "a position's class", &class);
    if (rc == 0)
        rc = get_i64(in, SYN_EXCHANGE_CAPACITY_MAX, "capacity", &qty);
    if (rc == 0)
        rc = add_capacity(in, class, qty);
    if (rc == 0)
        rc = refused(in, syn_exchange_position(in->exchange, account, class, &at, in->err),
                     "a position");
    if (rc == 0 && at != before)
        rc = corrupt(in, "a position stands there twice");
    if (rc == 0)
        in->exchange->positions[at].free = qty;
    return rc;
}

/* Money and capacity that an order holds are on top of what the account has free. */
static int
hold_order(struct reader *in, const struct syn_order *order)
{
    struct position *position = &in->exchange->positions[order->owner];
    int64_t cost;
    int rc;

    if (order->side == SYN_SELL) {
        rc = add_capacity(in, order->book, order->qty);
        if (rc == 0)
            position->held += order->qty;
        return rc;
    }
    if (__builtin_mul_overflow(order->price, order->qty, &cost))
        return corrupt(in, "an order holds more money than there is");
    rc = add_money(in, cost);
    if (rc == 0)
        in->exchange->accounts[position->account].held += cost;
    return rc;
}

/* Sets *ret_more to whether there was one. */
static int
get_order(struct reader *in, uint32_t class, enum syn_side side, bool *ret_more)
{
    struct syn_order order = {.book = class, .side = (uint8_t)side};
    struct syn_order_result result;
    uint32_t aon = 0;
    int rc = get(in, in->exchange->last_id, "an order's id", &order.id);

    *ret_more = order.id != 0;
    if (rc < 0 || order.id == 0)
        return rc;
    rc = get_u32(in, in->exchange->position_count, "an order's owner", &order.owner);
    if (rc == 0 && in->exchange->positions[order.owner].class != class)
        rc = corrupt(in, "an order's owner");
    if (rc == 0)
        rc = get_u32(in, 2, "an order's kind", &aon);
    if (rc == 0)
        rc = get_i64(in, SYN_PRICE_MAX, "an order's price", &order.price);
    if (rc == 0 && order.price == 0)
        rc = corrupt(in, "an order's price");
    if (rc == 0)
        rc = get_i64(in, SYN_ORDER_QTY_MAX, "an order's quantity", &order.qty);
    if (rc == 0)
        rc = get_i64(in, INT64_MAX, "an order's end", &order.until_ms);
    if (rc == 0)
        rc = hold_order(in, &order);
    if (rc < 0)
        return rc;
    order.kind = aon != 0 ? SYN_ORDER_AON : SYN_ORDER_LIMIT;
    rc = refused(in, syn_books_add(in->exchange->books, &order, &result, in->err), "an order");
    if (rc == 0 && (result.rested != order.qty || in->exchange->books->effect_count != 0))
        rc = corrupt(in, "an order that would have traded");
    return rc;
}

static int
get_all(struct reader *in)
{
    struct syn_exchange *exchange = in->exchange;
    uint64_t count = 0;
    bool more = true;
    int rc = get(in, UINT64_MAX, "the count of events", &exchange->events);

    if (rc == 0)
        rc = get(in, UINT64_MAX, "the last id", &exchange->last_id);
    if (rc == 0)
        rc = get_i64(in, INT64_MAX, "the time", &exchange->books->now_ms);
    if (rc == 0)
        rc = get(in, SYN_EXCHANGE_ACCOUNTS_MAX, "the count of accounts", &count);
    for (uint64_t i = 0; i < count && rc == 0; i++)
        rc = get_account(in);
    if (rc == 0)
        rc = get(in, SYN_EXCHANGE_CLASSES_MAX, "the count of classes", &count);
    for (uint64_t i = 0; i < count && rc == 0; i++)
        rc = get_class(in);
    if (rc == 0)
        rc = get(in, SYN_EXCHANGE_POSITIONS_MAX, "the count of positions", &count);
    for (uint64_t i = 0; i < count && rc == 0; i++)
        rc = get_position(in);
    for (uint32_t i = 0; i < 2 * exchange->class_count && rc == 0; i++) {
        for (more = true; more && rc == 0;)
            rc = get_order(in, i / 2, i % 2 == 0 ? SYN_BUY : SYN_SELL, &more);
    }
    if (rc == 0 && in->at != in->len)
        rc = corrupt(in, "something follows the end");
    return rc;
}

int
syn_exchange_restore(const void *data, size_t len, struct syn_exchange **ret_exchange,
                     struct syn_err *err)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = NULL;
    struct reader in = {.data = data, .at = sizeof(magic), .err = err};
    uint64_t sum = 0, version = 0;
    int rc;

    if (len < sizeof(magic) + SUM_BYTES || memcmp(data, magic, sizeof(magic)) != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "snapshot: it is none");
    in.len = len - SUM_BYTES;
    for (unsigned i = 0; i < SUM_BYTES; i++)
        sum |= (uint64_t)in.data[in.len + i] << (8 * i);
    if (sum != syn_market_checksum(data, in.len))
        return SYN_FAIL(err, SYN_E_CORRUPT, "snapshot: the checksum is another");
    rc = get(&in, UINT64_MAX, "the version", &version);
    if (rc == 0 && version != VERSION)
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "snapshot: version %llu, not %d",
                      (unsigned long long)version, VERSION);
    if (rc == 0)
        rc = syn_exchange_new(&exchange, err);
    if (rc < 0)
        return rc;
    in.exchange = exchange;
    rc = get_all(&in);
    if (rc < 0)
        return rc;
    exchange->books->effect_count = 0;
    *ret_exchange = SYN_TAKE(exchange);
    return SYN_OK;
}
