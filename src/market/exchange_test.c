#include <synor/market/exchange.h>

#include <synor/base/test.h>
#include <synor/base/units.h>

#include <stdio.h>
#include <string.h>

static struct syn_err err;

static const char *const class_names[] = {"gpu/h100/eu-west/hour", "cpu/zen4/eu-west/day",
                                          "npu/any/us-east/hour"};

static struct syn_market_event
event_of(unsigned kind)
{
    return (struct syn_market_event){.kind = (uint8_t)kind};
}

static struct syn_market_event
named(unsigned kind, const char *name)
{
    struct syn_market_event event = event_of(kind);

    event.name = name;
    event.name_len = (uint32_t)strlen(name);
    return event;
}

static struct syn_market_event
amount(unsigned kind, uint32_t account, uint32_t class, int64_t qty)
{
    struct syn_market_event event = event_of(kind);

    event.account = account;
    event.class = class;
    event.qty = qty;
    return event;
}

static struct syn_market_event
order_of(uint32_t account, enum syn_side side, int64_t qty, int64_t price)
{
    struct syn_market_event event = amount(SYN_EVENT_ORDER, account, 0, qty);

    event.side = (uint8_t)side;
    event.price = price;
    return event;
}

static struct syn_market_outcome
must(struct syn_exchange *exchange, struct syn_market_event event)
{
    struct syn_market_outcome outcome = {0};

    assert_done(syn_exchange_apply(exchange, &event, &outcome, &err), &err);
    return outcome;
}

/* Three accounts, a, b, c, with 1000 each, and 100 units of each class. */
static struct syn_exchange *
fresh(void)
{
    static const char *const names[] = {"a", "b", "c"};
    struct syn_exchange *exchange = NULL;

    assert_done(syn_exchange_new(&exchange, &err), &err);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(must(exchange, named(SYN_EVENT_CLASS, class_names[i])).index, i);
        assert_int_equal(must(exchange, named(SYN_EVENT_ACCOUNT, names[i])).index, i);
        (void)must(exchange, amount(SYN_EVENT_DEPOSIT, i, 0, 1000));
        for (uint32_t class = 0; class <= i; class ++)
            (void)must(exchange, amount(SYN_EVENT_GRANT, i, class, 100));
    }
    return exchange;
}

static void
assert_balance(struct syn_balance balance, int64_t free_part, int64_t held)
{
    assert_int_equal(balance.free, free_part);
    assert_int_equal(balance.held, held);
}

/* ---- holds ---- */

static void
holds(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    struct syn_market_event event;
    uint64_t bid, ask;

    (void)state;
    bid = must(exchange, order_of(0, SYN_BUY, 10, 30)).id;
    assert_balance(syn_exchange_money(exchange, 0), 700, 300);
    ask = must(exchange, order_of(1, SYN_SELL, 40, 50)).id;
    assert_balance(syn_exchange_capacity(exchange, 1, 0), 60, 40);
    /* b sells 4 to a at 30 */
    (void)must(exchange, order_of(1, SYN_SELL, 4, 25));
    assert_balance(syn_exchange_money(exchange, 0), 700, 180);
    assert_balance(syn_exchange_money(exchange, 1), 1120, 0);
    assert_balance(syn_exchange_capacity(exchange, 0, 0), 104, 0);
    assert_balance(syn_exchange_capacity(exchange, 1, 0), 56, 40);
    /* reduce, raise, cancel */
    event = amount(SYN_EVENT_REDUCE, 0, 0, 2);
    event.id = bid;
    (void)must(exchange, event);
    assert_balance(syn_exchange_money(exchange, 0), 760, 120);
    event = amount(SYN_EVENT_REPLACE, 0, 0, 8);
    event.id = bid;
    event.price = 49;
    (void)must(exchange, event);
    assert_balance(syn_exchange_money(exchange, 0), 488, 392);
    event.price = 60; /* meets the ask, and trades at its price */
    assert_int_equal(must(exchange, event).order.traded, 8);
    assert_balance(syn_exchange_money(exchange, 0), 480, 0);
    assert_balance(syn_exchange_money(exchange, 1), 1520, 0);
    event = amount(SYN_EVENT_CANCEL, 1, 0, 0);
    event.id = ask;
    (void)must(exchange, event);
    assert_balance(syn_exchange_capacity(exchange, 1, 0), 88, 0);
    /* what was bought can be sold again */
    (void)must(exchange, order_of(0, SYN_SELL, 112, 20));
    assert_balance(syn_exchange_capacity(exchange, 0, 0), 0, 112);
    event = order_of(2, SYN_BUY, 40, 0);
    event.order = SYN_ORDER_MARKET;
    assert_int_equal(must(exchange, event).order.traded, 40);
    assert_balance(syn_exchange_money(exchange, 2), 200, 0);
    /* time ends what rests */
    event = order_of(2, SYN_BUY, 10, 10);
    event.at_ms = 500;
    (void)must(exchange, event);
    assert_balance(syn_exchange_money(exchange, 2), 100, 100);
    event = event_of(SYN_EVENT_TIME);
    event.at_ms = 500;
    (void)must(exchange, event);
    assert_balance(syn_exchange_money(exchange, 2), 200, 0);
    /* an order that waits to trade whole holds as well, and pays what it costs */
    event = order_of(2, SYN_BUY, 5, 19);
    event.order = SYN_ORDER_AON;
    (void)must(exchange, event);
    assert_balance(syn_exchange_money(exchange, 2), 105, 95);
    (void)must(exchange, order_of(1, SYN_SELL, 6, 18));
    assert_balance(syn_exchange_money(exchange, 2), 110, 0);
    assert_balance(syn_exchange_capacity(exchange, 2, 0), 145, 0);
    syn_exchange_check(exchange);
}

/* `event` is refused so, and `before`, a snapshot, stays true. */
static void
must_refuse(struct syn_exchange *exchange, const struct syn_buf *before,
            const struct syn_market_event *event, int code, const char *says)
{
    struct syn_market_outcome outcome;
    SYN_BUF(after);

    assert_code(syn_exchange_apply(exchange, event, &outcome, &err), code, &err);
    if (strstr(err.msg, says) == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, says);
    assert_done(syn_exchange_snapshot(exchange, &after, &err), &err);
    assert_int_equal(before->len, after.len);
    assert_memory_equal(before->data, after.data, after.len);
}

static void
refusals(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    struct syn_market_event too_high = order_of(0, SYN_BUY, 1, INT64_MAX);
    struct syn_market_event old_id = order_of(0, SYN_BUY, 1, 1), bad_kind = old_id;
    struct syn_market_event foreign = amount(SYN_EVENT_CANCEL, 1, 0, 0), ended = foreign;
    struct syn_market_event grow = amount(SYN_EVENT_REPLACE, 0, 0, 101);
    struct syn_market_event bad_side = old_id, expired = old_id, elsewhere = old_id;
    SYN_BUF(before);

    (void)state;
    old_id.id = foreign.id = grow.id = must(exchange, order_of(0, SYN_BUY, 10, 10)).id;
    grow.price = 10;
    ended.id = 77;
    bad_kind.order = SYN_ORDER_KINDS;
    bad_side.side = 7;
    expired.at_ms = -5;
    elsewhere.class = 9;
    {
        const struct {
            struct syn_market_event event;
            int code;
            const char *says;
        } rows[] = {
            {order_of(0, SYN_BUY, 90, 11), SYN_E_FUNDS, "a has 0.0000009 SYNOR free"},
            {order_of(0, SYN_BUY, SYN_ORDER_QTY_MAX, SYN_PRICE_MAX), SYN_E_FUNDS, "than there is"},
            {order_of(0, SYN_SELL, 101, 1), SYN_E_FUNDS, "100 units of gpu/h100/eu-west/hour"},
            {order_of(9, SYN_BUY, 1, 1), SYN_E_NOTFOUND, "account 9"},
            {elsewhere, SYN_E_NOTFOUND, "class 9"},
            {order_of(0, SYN_BUY, 0, 1), SYN_E_INVALID, "qty"},
            {order_of(0, SYN_BUY, -3, 1), SYN_E_INVALID, "qty"},
            {order_of(0, SYN_BUY, INT64_MAX, 1), SYN_E_INVALID, "qty"},
            {order_of(0, SYN_BUY, 1, 0), SYN_E_INVALID, "price"},
            {order_of(0, SYN_BUY, 1, -1), SYN_E_INVALID, "price"},
            {too_high, SYN_E_INVALID, "price"},
            {bad_kind, SYN_E_INVALID, "kind"},
            {bad_side, SYN_E_INVALID, "side"},
            {expired, SYN_E_INVALID, "until_ms"},
            {old_id, SYN_E_INVALID, "id"},
            {foreign, SYN_E_FORBIDDEN, "another account"},
            {ended, SYN_E_NOTFOUND, "77"},
            {grow, SYN_E_FUNDS, "takes 0.00000101"},
            {amount(SYN_EVENT_WITHDRAW, 0, 0, 901), SYN_E_FUNDS, "free"},
            {amount(SYN_EVENT_WITHDRAW, 0, 0, -1), SYN_E_INVALID, "qty"},
            {amount(SYN_EVENT_DEPOSIT, 0, 0, SYN_AMOUNT_MAX), SYN_E_LIMIT, "money"},
            {amount(SYN_EVENT_DEPOSIT, 0, 0, INT64_MAX), SYN_E_INVALID, "qty"},
            {amount(SYN_EVENT_GRANT, 0, 0, SYN_EXCHANGE_CAPACITY_MAX), SYN_E_LIMIT, "capacity"},
            {amount(SYN_EVENT_GRANT, 0, 3, 1), SYN_E_NOTFOUND, "class"},
            {amount(SYN_EVENT_RETIRE, 0, 1, 1), SYN_E_FUNDS, "0 units"},
            {amount(SYN_EVENT_REDUCE, 0, 0, 1), SYN_E_NOTFOUND, "order 0"},
            {named(SYN_EVENT_ACCOUNT, "a"), SYN_E_EXISTS, "'a'"},
            {named(SYN_EVENT_ACCOUNT, ""), SYN_E_INVALID, "account"},
            {named(SYN_EVENT_ACCOUNT, "a/b"), SYN_E_INVALID, "byte 1"},
            {named(SYN_EVENT_CLASS, class_names[1]), SYN_E_EXISTS, "cpu/zen4"},
            {named(SYN_EVENT_CLASS, "gpu/h100/eu"), SYN_E_INVALID, "3 parts"},
            {named(SYN_EVENT_CLASS, "gpu//eu/hour"), SYN_E_INVALID, "empty"},
            {event_of(0), SYN_E_INVALID, "kind 0"},
            {event_of(SYN_EVENT_KINDS), SYN_E_INVALID, "kind"},
        };

        assert_done(syn_exchange_snapshot(exchange, &before, &err), &err);
        for (size_t i = 0; i < SYN_LEN(rows); i++)
            must_refuse(exchange, &before, &rows[i].event, rows[i].code, rows[i].says);
    }
    syn_exchange_check(exchange);
}

/* What would be written into a log and could not be read again, and what the books refuse when a
 * position was made for it already. */
static void
late_refusals(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    struct syn_market_event priced = order_of(0, SYN_BUY, 1, -1), stranger = priced;
    struct syn_market_event bad_how = amount(SYN_EVENT_REPLACE, 0, 0, 1);
    SYN_BUF(before);

    (void)state;
    bad_how.id = must(exchange, order_of(0, SYN_BUY, 10, 10)).id;
    bad_how.price = 1;
    bad_how.order = SYN_ORDER_KINDS;
    priced.order = SYN_ORDER_MARKET;
    stranger.price = 1;
    stranger.class = 1;
    stranger.order = SYN_ORDER_IOC;
    stranger.at_ms = 5;
    assert_done(syn_exchange_snapshot(exchange, &before, &err), &err);
    must_refuse(exchange, &before, &priced, SYN_E_INVALID, "price");
    must_refuse(exchange, &before, &stranger, SYN_E_INVALID, "until_ms");
    must_refuse(exchange, &before, &bad_how, SYN_E_INVALID, "kind");
    bad_how.order = SYN_ORDER_LIMIT;
    bad_how.side = 2;
    must_refuse(exchange, &before, &bad_how, SYN_E_INVALID, "side");
    syn_exchange_check(exchange);
}

/* ---- any sequence ---- */

/* What each account has in all, by its trades alone: nothing of holds is in here. */
struct ledger {
    int64_t money[6];
    int64_t capacity[6][3];
};

static void
follow(struct ledger *ledger, const struct syn_exchange *exchange)
{
    size_t count;
    const struct syn_book_effect *effects = syn_exchange_effects(exchange, &count);

    for (size_t i = 0; i < count; i++) {
        uint32_t maker = syn_exchange_owner(exchange, effects[i].maker_owner), buyer, seller;
        uint32_t taker = syn_exchange_owner(exchange, effects[i].taker_owner);

        if (effects[i].what != SYN_BOOK_TRADE)
            continue;
        assert_int_not_equal(maker, taker);
        buyer = effects[i].maker_side == SYN_BUY ? maker : taker;
        seller = effects[i].maker_side == SYN_BUY ? taker : maker;
        ledger->money[buyer] -= effects[i].price * effects[i].qty;
        ledger->money[seller] += effects[i].price * effects[i].qty;
        ledger->capacity[buyer][effects[i].book] += effects[i].qty;
        ledger->capacity[seller][effects[i].book] -= effects[i].qty;
    }
}

static struct syn_market_event
random_event(uint64_t *random, const struct syn_exchange *exchange, uint64_t last_id)
{
    uint64_t r = syn_test_random(random), s = syn_test_random(random);
    struct syn_market_event event = {.account = (uint32_t)(r >> 8) % 6,
                                     .class = (uint32_t)(r >> 16) % 3,
                                     .side = (uint8_t)(r >> 20 & 1),
                                     .stp = (uint8_t)(r >> 22 & 3),
                                     .price = 5 + (int64_t)(s % 9),
                                     .qty = 1 + (int64_t)(s >> 8) % 20};
    unsigned pick = (unsigned)(r >> 32) % 100;

    if (pick < 60) {
        event.kind = SYN_EVENT_ORDER;
        event.order = pick < 20 ? (uint8_t)((s >> 16) % SYN_ORDER_KINDS) : SYN_ORDER_LIMIT;
        if (event.order == SYN_ORDER_LIMIT && pick % 8 == 0)
            event.at_ms = syn_books_now_ms(syn_exchange_books(exchange)) + event.qty;
        return event;
    }
    event.id = last_id - (s >> 32) % 64;
    if (pick < 90) {
        struct syn_order_view view;

        event.kind = (uint8_t)(SYN_EVENT_CANCEL + pick % 3);
        if (pick % 7 != 0 && syn_books_find(syn_exchange_books(exchange), event.id, &view))
            event.account = syn_exchange_owner(exchange, view.owner);
        return event;
    }
    event.kind = (uint8_t)(SYN_EVENT_DEPOSIT + pick % 4);
    if (pick >= 97) {
        event.kind = SYN_EVENT_TIME;
        event.at_ms = syn_books_now_ms(syn_exchange_books(exchange)) + event.qty / 4;
    }
    return event;
}

static void
count_in(struct ledger *ledger, const struct syn_market_event *event)
{
    if (event->kind == SYN_EVENT_DEPOSIT)
        ledger->money[event->account] += event->qty;
    if (event->kind == SYN_EVENT_WITHDRAW)
        ledger->money[event->account] -= event->qty;
    if (event->kind == SYN_EVENT_GRANT)
        ledger->capacity[event->account][event->class] += event->qty;
    if (event->kind == SYN_EVENT_RETIRE)
        ledger->capacity[event->account][event->class] -= event->qty;
}

static void
same_sums(const struct ledger *ledger, const struct syn_exchange *exchange)
{
    for (uint32_t account = 0; account < 6; account++) {
        struct syn_balance money = syn_exchange_money(exchange, account);

        assert_int_equal(money.free + money.held, ledger->money[account]);
        for (uint32_t class = 0; class < 3; class ++) {
            struct syn_balance capacity = syn_exchange_capacity(exchange, account, class);

            assert_int_equal(capacity.free + capacity.held, ledger->capacity[account][class]);
        }
    }
    syn_exchange_check(exchange);
}

static void
same_bytes(const struct syn_exchange *a, const struct syn_exchange *b)
{
    SYN_BUF(left);
    SYN_BUF(right);

    assert_done(syn_exchange_snapshot(a, &left, &err), &err);
    assert_done(syn_exchange_snapshot(b, &right, &err), &err);
    assert_int_equal(left.len, right.len);
    assert_memory_equal(left.data, right.data, left.len);
}

/* Through bytes and back it is the same exchange, and goes on as the same. */
static struct syn_exchange *
reborn(struct syn_exchange *exchange)
{
    struct syn_exchange *copy = NULL;
    SYN_BUF(bytes);

    assert_done(syn_exchange_snapshot(exchange, &bytes, &err), &err);
    assert_done(syn_exchange_restore(bytes.data, bytes.len, &copy, &err), &err);
    same_bytes(exchange, copy);
    syn_exchange_check(copy);
    syn_exchange_free(exchange);
    return copy;
}

static void
replay_all(const struct syn_buf *log, const struct syn_exchange *exchange)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *again = NULL;
    struct syn_market_batch batch;
    size_t at = 0;
    int rc;

    assert_done(syn_exchange_new(&again, &err), &err);
    while ((rc = syn_market_log_next(log->data, log->len, &at, syn_exchange_events(again), &batch,
                                     &err)) == 0)
        assert_done(syn_exchange_replay(again, &batch, &err), &err);
    assert_int_equal(rc, SYN_MARKET_LOG_END);
    same_bytes(exchange, again);
}

static void
open_all(struct syn_exchange *exchange, struct ledger *ledger, struct syn_buf *log)
{
    for (unsigned i = 0; i < 9; i++) {
        char name[8] = "acct-0";
        struct syn_market_event event =
            i < 3 ? named(SYN_EVENT_CLASS, class_names[i]) : named(SYN_EVENT_ACCOUNT, name);

        name[5] = (char)('0' + i);
        (void)must(exchange, event);
        syn_market_event_encode(&event, log);
    }
    for (uint32_t i = 0; i < 24; i++) {
        struct syn_market_event event = i < 6 ? amount(SYN_EVENT_DEPOSIT, i, 0, 2000)
                                              : amount(SYN_EVENT_GRANT, i % 6, i / 6 - 1, 90);

        (void)must(exchange, event);
        syn_market_event_encode(&event, log);
        count_in(ledger, &event);
    }
}

/* A log in the making. */
struct writer {
    struct syn_buf log;
    size_t batch;
    uint64_t first;
};

static void
seal(struct writer *writer, const struct syn_exchange *exchange)
{
    uint64_t next = syn_exchange_events(exchange);

    assert_done(syn_market_batch_seal(&writer->log, writer->batch, writer->first,
                                      (uint32_t)(next - writer->first), &err),
                &err);
    writer->first = next;
    writer->batch = syn_market_batch_begin(&writer->log);
}

/* How often something happened. */
struct tally {
    unsigned refused, trades;
    uint64_t last_id;
};

static void
random_step(struct syn_exchange *exchange, uint64_t *random, struct ledger *ledger,
            struct writer *writer, struct tally *tally)
{
    struct syn_market_event event = random_event(random, exchange, tally->last_id);
    struct syn_market_outcome outcome;

    if (syn_exchange_apply(exchange, &event, &outcome, &err) < 0) {
        tally->refused++;
        return;
    }
    if (event.kind == SYN_EVENT_ORDER)
        event.id = tally->last_id = outcome.id;
    tally->trades += outcome.order.traded > 0;
    syn_market_event_encode(&event, &writer->log);
    count_in(ledger, &event);
    follow(ledger, exchange);
}

static void
any_sequence(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct syn_exchange *exchange = NULL;
        struct ledger ledger = {{0}, {{0}}};
        struct writer writer = {.log = SYN_BUF_INIT};
        struct tally tally = {.last_id = 64};
        uint64_t random = 77 + round;

        writer.batch = syn_market_batch_begin(&writer.log);
        assert_done(syn_exchange_new(&exchange, &err), &err);
        open_all(exchange, &ledger, &writer.log);
        for (unsigned i = 0; i < 3000; i++) {
            random_step(exchange, &random, &ledger, &writer, &tally);
            if (i % 64 == 0)
                same_sums(&ledger, exchange);
            if (i % 700 == 699)
                exchange = reborn(exchange);
            if (i % 500 == 499)
                seal(&writer, exchange);
        }
        same_sums(&ledger, exchange);
        seal(&writer, exchange);
        writer.log.len = writer.batch; /* the next one, that nobody writes */
        assert_true(tally.refused > 100 && tally.trades > 200);
        replay_all(&writer.log, exchange);
        syn_exchange_free(exchange);
        syn_buf_fini(&writer.log);
    }
}

/* ---- questions ---- */

static int64_t
capacity_there(const struct syn_exchange *exchange, uint32_t class)
{
    int64_t sum = 0;

    for (uint32_t account = 0; account < syn_exchange_accounts(exchange); account++)
        sum += syn_exchange_capacity(exchange, account, class).free +
               syn_exchange_capacity(exchange, account, class).held;
    return sum;
}

static int64_t
money_there(const struct syn_exchange *exchange)
{
    int64_t sum = 0;

    for (uint32_t account = 0; account < syn_exchange_accounts(exchange); account++)
        sum +=
            syn_exchange_money(exchange, account).free + syn_exchange_money(exchange, account).held;
    return sum;
}

static void
questions(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    struct syn_orders_cursor cursor = {0};
    struct syn_market_quote quote;
    struct syn_market_trade trades[4];
    struct syn_order_view view;

    (void)state;
    (void)must(exchange, order_of(1, SYN_SELL, 5, 10));
    (void)must(exchange, order_of(2, SYN_SELL, 5, 12));
    (void)must(exchange, order_of(1, SYN_BUY, 5, 3));
    quote =
        syn_exchange_quote(exchange, SYN_NO_INDEX, 0, SYN_BUY, (struct syn_market_ask){.qty = 8});
    assert_int_equal(quote.qty, 8);
    assert_int_equal(quote.cost, 50 + 36);
    assert_int_equal(quote.worst, 12);
    quote = syn_exchange_quote(exchange, SYN_NO_INDEX, 0, SYN_BUY, (struct syn_market_ask){8, 11});
    assert_int_equal(quote.qty, 5);
    assert_int_equal(quote.worst, 10);
    quote = syn_exchange_quote(exchange, SYN_NO_INDEX, 0, SYN_SELL, (struct syn_market_ask){5, 4});
    assert_int_equal(quote.qty, 0);
    assert_int_equal(syn_exchange_capacity_total(exchange, 0), capacity_there(exchange, 0));
    assert_int_equal(syn_exchange_capacity_total(exchange, 7), 0);
    assert_int_equal(syn_exchange_money_total(exchange), money_there(exchange));
    quote = syn_exchange_quote(exchange, 1, 0, SYN_BUY, (struct syn_market_ask){.qty = 8});
    assert_int_equal(quote.qty, 5);
    assert_int_equal(quote.cost, 60);
    assert_int_equal(
        syn_exchange_quote(exchange, 0, 7, SYN_BUY, (struct syn_market_ask){.qty = 8}).qty, 0);
    assert_true(syn_exchange_next_order(exchange, 1, &cursor, &view) && view.side == SYN_BUY);
    assert_true(syn_exchange_next_order(exchange, 1, &cursor, &view) && view.price == 10);
    assert_false(syn_exchange_next_order(exchange, 1, &cursor, &view));
    (void)must(exchange, order_of(0, SYN_BUY, 7, 20));
    assert_int_equal(syn_exchange_history(exchange, 0, trades, 4), 2);
    assert_true(trades[0].price == 12 && trades[0].qty == 2 && trades[0].number == 2);
    assert_true(trades[1].buyer == 0 && trades[1].seller == 1 && trades[1].taker_side == SYN_BUY);
    assert_int_equal(syn_exchange_find_account(exchange, "c"), 2);
    assert_int_equal(syn_exchange_find_account(exchange, "d"), SYN_NO_INDEX);
    assert_int_equal(syn_exchange_find_class(exchange, class_names[2]), 2);
    assert_string_equal(syn_exchange_account_name(exchange, 1), "b");
    assert_string_equal(syn_exchange_class_name(exchange, 1), class_names[1]);
    assert_null(syn_exchange_class_name(exchange, 3));
    assert_int_equal(syn_exchange_accounts(exchange), 3);
    assert_int_equal(syn_exchange_classes(exchange), 3);
    assert_balance(syn_exchange_money(exchange, 17), 0, 0);
}

static void
trade_at(struct syn_exchange *exchange, uint32_t seller, uint32_t buyer, int64_t qty, int64_t price)
{
    (void)must(exchange, order_of(seller, SYN_SELL, qty, price));
    assert_int_equal(must(exchange, order_of(buyer, SYN_BUY, qty, price)).order.traded, qty);
}

static void
index_of_trades(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    struct syn_market_event event = event_of(SYN_EVENT_TIME);
    struct syn_market_index index;

    (void)state;
    assert_int_equal(syn_exchange_index(exchange, 0, 1000).basis, SYN_INDEX_NONE);
    trade_at(exchange, 1, 0, 4, 10);
    trade_at(exchange, 2, 0, 1, 20);
    index = syn_exchange_index(exchange, 0, 1000);
    assert_true(index.basis == SYN_INDEX_TRADES && index.price == 12 && index.qty == 5);
    /* back and forth between two at a wild price: nothing is left of it */
    for (unsigned i = 0; i < 5; i++) {
        trade_at(exchange, 1, 2, 1, 900);
        trade_at(exchange, 2, 1, 1, 900);
    }
    index = syn_exchange_index(exchange, 0, 1000);
    assert_true(index.price == 12 && index.qty == 5 && index.ignored == 10);
    /* one account with itself: no trade at all */
    (void)must(exchange, order_of(1, SYN_SELL, 1, 500));
    assert_int_equal(must(exchange, order_of(1, SYN_BUY, 1, 500)).order.traded, 0);
    assert_int_equal(syn_exchange_index(exchange, 0, 1000).price, 12);
    event.at_ms = 1500;
    (void)must(exchange, event);
    trade_at(exchange, 1, 0, 1, 33);
    assert_int_equal(syn_exchange_index(exchange, 0, 1000).price, 33);
    assert_int_equal(syn_exchange_index(exchange, 0, 1500).price,
                     15); /* (40 + 20 + 33) / 6, rounded down: 15 */
    assert_int_equal(syn_exchange_index(exchange, 9, 1500).basis, SYN_INDEX_NONE);
    /* more of it than is remembered: only the quotes are left */
    for (unsigned i = 0; i < SYN_EXCHANGE_HISTORY / 2; i++) {
        trade_at(exchange, 1, 2, 1, 90);
        trade_at(exchange, 2, 1, 1, 90);
    }
    assert_true(syn_exchange_index(exchange, 0, 1500).basis != SYN_INDEX_TRADES);
}

static void
index_of_quotes(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    struct syn_market_index index;

    (void)state;
    (void)must(exchange, order_of(0, SYN_BUY, 1, 10));
    (void)must(exchange, order_of(1, SYN_SELL, 1, 14));
    index = syn_exchange_index(exchange, 0, 1000);
    assert_true(index.basis == SYN_INDEX_QUOTES && index.price == 12 && index.count == 2);
    /* one account's many quotes are one quote a side, and a wild one is trimmed */
    for (int64_t i = 0; i < 20; i++)
        (void)must(exchange, order_of(2, SYN_SELL, 1, 900 + i));
    (void)must(exchange, order_of(1, SYN_BUY, 1, 8));
    index = syn_exchange_index(exchange, 0, 1000);
    assert_true(index.count == 2 && index.ignored == 2 && index.price == 12);
}

/* ---- snapshots and memory ---- */

static void
bad_snapshots(void **state)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = fresh();
    SYN_BUF(bytes);

    (void)state;
    (void)must(exchange, order_of(0, SYN_BUY, 10, 10));
    assert_done(syn_exchange_snapshot(exchange, &bytes, &err), &err);
    for (size_t i = 0; i < bytes.len; i++) {
        struct syn_exchange *copy = NULL;
        char kept = bytes.data[i];

        assert_code(syn_exchange_restore(bytes.data, i, &copy, &err), SYN_E_CORRUPT, &err);
        bytes.data[i] = (char)(kept ^ 0x10);
        assert_code(syn_exchange_restore(bytes.data, bytes.len, &copy, &err), SYN_E_CORRUPT, &err);
        bytes.data[i] = kept;
        assert_null(copy);
    }
}

static int
memory_scenario(void *arg, struct syn_err *failure)
{
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *exchange = NULL;
    SYN_SCOPED(syn_exchange_free_scope) struct syn_exchange *copy = NULL;
    struct syn_market_outcome outcome;
    SYN_BUF(bytes);
    int rc = syn_exchange_new(&exchange, failure);

    (void)arg;
    for (unsigned i = 0; i < 5 && rc == 0; i++) {
        char name[32];
        struct syn_market_event event;

        (void)snprintf(name, sizeof(name), "gpu/m%u/r/hour", i);
        event = named(SYN_EVENT_CLASS, name);
        rc = syn_exchange_apply(exchange, &event, &outcome, failure);
        (void)snprintf(name, sizeof(name), "account-%u", i);
        event = named(SYN_EVENT_ACCOUNT, name);
        if (rc == 0)
            rc = syn_exchange_apply(exchange, &event, &outcome, failure);
    }
    for (uint32_t i = 0; i < 25 && rc == 0; i++) {
        struct syn_market_event event = amount(SYN_EVENT_GRANT, i % 5, i / 5, 7);

        rc = syn_exchange_apply(exchange, &event, &outcome, failure);
        event = order_of(i % 5, SYN_SELL, 5, 1000 * i + 1);
        event.class = i / 5;
        event.order = i % 3 == 0 ? SYN_ORDER_AON : SYN_ORDER_LIMIT;
        if (rc == 0)
            rc = syn_exchange_apply(exchange, &event, &outcome, failure);
    }
    if (rc == 0)
        rc = syn_exchange_snapshot(exchange, &bytes, failure);
    if (rc == 0)
        rc = syn_exchange_restore(bytes.data, bytes.len, &copy, failure);
    if (rc < 0 && exchange != NULL)
        syn_exchange_check(exchange); /* the fault has struck: this may allocate again */
    return rc;
}

static void
memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(memory_scenario, NULL) > 60);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds),           cmocka_unit_test(refusals),
        cmocka_unit_test(any_sequence),    cmocka_unit_test(questions),
        cmocka_unit_test(index_of_trades), cmocka_unit_test(index_of_quotes),
        cmocka_unit_test(late_refusals),   cmocka_unit_test(bad_snapshots),
        cmocka_unit_test(memory),
    };

    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
