/* Applying events. Each refuses first, acts then; matching makes sure of its memory itself
 * (book.c), and what follows from it, the moving of money and capacity, cannot fail:
 *
 * - A buyer's limit times quantity is free before the order goes to the book, whatever its kind,
 * and a trade is never dearer. A market order is priced by what is there for it.
 * - All money together is at most SYN_AMOUNT_MAX, and all capacity of a class at most
 *   SYN_EXCHANGE_CAPACITY_MAX, so that no sum overflows. */
#include "exchange_priv.h"

#include <synor/base/units.h>

/* ---- holds ---- */

/* What resting takes from an owner; `qty` below zero gives it back. */
static void
hold(struct syn_exchange *exchange, uint32_t owner, uint32_t side, int64_t price, int64_t qty)
{
    struct position *position = &exchange->positions[owner];

    if (side == SYN_BUY) {
        struct account *account = &exchange->accounts[position->account];

        account->free -= price * qty;
        account->held += price * qty;
        assert(account->held >= 0);
    } else {
        position->free -= qty;
        position->held += qty;
        assert(position->held >= 0);
    }
}

static void
remember(struct syn_exchange *exchange, const struct syn_book_effect *effect, uint32_t buyer,
         uint32_t seller)
{
    struct market_class *class = &exchange->classes[effect->book];
    struct syn_market_trade *trade = &class->history[++class->trades % SYN_EXCHANGE_HISTORY];

    trade->number = class->trades;
    trade->taker = effect->taker;
    trade->maker = effect->maker;
    trade->at_ms = exchange->books->now_ms;
    trade->price = effect->price;
    trade->qty = effect->qty;
    trade->buyer = buyer;
    trade->seller = seller;
    trade->taker_side = effect->maker_side ^ 1;
}

/* The maker pays or delivers out of its hold, the taker out of what is free. */
static void
settle(struct syn_exchange *exchange, const struct syn_book_effect *effect)
{
    struct position *maker = &exchange->positions[effect->maker_owner];
    struct position *taker = &exchange->positions[effect->taker_owner];
    struct account *maker_account = &exchange->accounts[maker->account];
    struct account *taker_account = &exchange->accounts[taker->account];
    int64_t cost = effect->price * effect->qty;

    if (effect->maker_side == SYN_SELL) {
        maker->held -= effect->qty;
        taker->free += effect->qty;
        taker_account->free -= cost;
        maker_account->free += cost;
        assert(maker->held >= 0 && taker_account->free >= 0);
        remember(exchange, effect, taker->account, maker->account);
    } else {
        taker->free -= effect->qty;
        maker->free += effect->qty;
        maker_account->held -= cost;
        taker_account->free += cost;
        assert(maker_account->held >= 0 && taker->free >= 0);
        remember(exchange, effect, maker->account, taker->account);
    }
}

static void
follow(struct syn_exchange *exchange, size_t from)
{
    const struct syn_book_effect *effects = exchange->books->effects;

    for (size_t i = from; i < exchange->books->effect_count; i++) {
        if (effects[i].what == SYN_BOOK_TRADE)
            settle(exchange, &effects[i]);
        else
            hold(exchange, effects[i].maker_owner, effects[i].maker_side, effects[i].price,
                 -effects[i].qty);
    }
}

/* ---- checks ---- */

static int
check_account(const struct syn_exchange *exchange, uint32_t account, struct syn_err *err)
{
    if (account >= exchange->account_count)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "account: there is no account %u", account);
    return SYN_OK;
}

static int
check_class(const struct syn_exchange *exchange, uint32_t class, struct syn_err *err)
{
    if (class >= exchange->class_count)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "class: there is no class %u", class);
    return SYN_OK;
}

static int
check_amount(int64_t qty, int64_t max, struct syn_err *err)
{
    if (qty <= 0 || qty > max)
        return SYN_FAIL(err, SYN_E_INVALID, "qty: expected 1..%lld, got %lld", (long long)max,
                        (long long)qty);
    return SYN_OK;
}

static int
check_price(int64_t price, struct syn_err *err)
{
    if (price <= 0 || price > SYN_PRICE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "price: expected 1..%lld, got %lld",
                        (long long)SYN_PRICE_MAX, (long long)price);
    return SYN_OK;
}

static int
too_dear(const struct syn_exchange *exchange, uint32_t account, syn_u128 need, struct syn_err *err)
{
    char has[SYN_FORMAT_MAX], wants[SYN_FORMAT_MAX];

    if (need > SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_FUNDS, "%s has %s SYNOR free, and this takes more than there is",
                        exchange->account_names[account],
                        syn_format_amount(exchange->accounts[account].free, has));
    return SYN_FAIL(err, SYN_E_FUNDS, "%s has %s SYNOR free, this takes %s",
                    exchange->account_names[account],
                    syn_format_amount(exchange->accounts[account].free, has),
                    syn_format_amount((int64_t)need, wants));
}

static int
too_little(const struct syn_exchange *exchange, uint32_t account, uint32_t class, int64_t have,
           int64_t qty, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_FUNDS, "%s has %lld units of %s free, not %lld",
                    exchange->account_names[account], (long long)have,
                    exchange->classes[class].name, (long long)qty);
}

/* ---- money and capacity in and out ---- */

static int
apply_money(struct syn_exchange *exchange, const struct syn_market_event *event,
            struct syn_err *err)
{
    bool in = event->kind == SYN_EVENT_DEPOSIT;
    int rc = check_account(exchange, event->account, err);
    struct account *account;

    if (rc == 0)
        rc = check_amount(event->qty, SYN_AMOUNT_MAX, err);
    if (rc < 0)
        return rc;
    account = &exchange->accounts[event->account];
    if (!in && account->free < event->qty)
        return too_dear(exchange, event->account, (syn_u128)event->qty, err);
    if (in && exchange->money > SYN_AMOUNT_MAX - event->qty)
        return SYN_FAIL(err, SYN_E_LIMIT, "qty: the exchange would hold more money than there is");
    account->free += in ? event->qty : -event->qty;
    exchange->money += in ? event->qty : -event->qty;
    return SYN_OK;
}

static int
apply_capacity(struct syn_exchange *exchange, const struct syn_market_event *event,
               struct syn_err *err)
{
    bool in = event->kind == SYN_EVENT_GRANT;
    struct market_class *class;
    uint32_t at = 0;
    int rc = check_account(exchange, event->account, err);

    if (rc == 0)
        rc = check_class(exchange, event->class, err);
    if (rc == 0)
        rc = check_amount(event->qty, SYN_EXCHANGE_CAPACITY_MAX, err);
    if (rc < 0)
        return rc;
    class = &exchange->classes[event->class];
    if (in && class->capacity > SYN_EXCHANGE_CAPACITY_MAX - event->qty)
        return SYN_FAIL(err, SYN_E_LIMIT, "qty: class %s would have too much capacity",
                        class->name);
    if (in)
        rc = syn_exchange_position(exchange, event->account, event->class, &at, err);
    else
        at = position_find(class, event->account);
    if (rc < 0)
        return rc;
    if (!in && exchange->positions[at].free < event->qty)
        return too_little(exchange, event->account, event->class, exchange->positions[at].free,
                          event->qty, err);
    exchange->positions[at].free += in ? event->qty : -event->qty;
    class->capacity += in ? event->qty : -event->qty;
    return SYN_OK;
}

/* ---- orders ---- */

/* Does `owner` have what `order` may take? `released` is what a replaced order gives back. */
static int
check_means(const struct syn_exchange *exchange, const struct syn_order *order, uint32_t account,
            int64_t released, struct syn_err *err)
{
    const struct account *money = &exchange->accounts[account];
    syn_u128 cost = (syn_u128)order->price * (syn_u128)order->qty;
    int64_t have;

    if (order->side == SYN_SELL) {
        have = exchange->positions[order->owner].free + released;
        if (have < order->qty)
            return too_little(exchange, account, order->book, have, order->qty, err);
        return SYN_OK;
    }
    if (order->kind == SYN_ORDER_MARKET)
        (void)syn_books_quote(exchange->books, order, &cost);
    have = money->free + released;
    if (cost > (syn_u128)have)
        return too_dear(exchange, account, cost, err);
    return SYN_OK;
}

static int
check_order(const struct syn_exchange *exchange, const struct syn_market_event *event,
            struct syn_err *err)
{
    int rc = check_account(exchange, event->account, err);

    if (rc == 0)
        rc = check_class(exchange, event->class, err);
    if (rc == 0)
        rc = check_amount(event->qty, SYN_ORDER_QTY_MAX, err);
    if (rc == 0 && event->order == SYN_ORDER_MARKET && event->price != 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "price: a market order has none, got %lld",
                      (long long)event->price);
    else if (rc == 0 && event->order != SYN_ORDER_MARKET)
        rc = check_price(event->price, err);
    if (rc == 0 && event->side > SYN_SELL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "side: %d is none", event->side);
    if (rc == 0 && event->id != 0 && event->id <= exchange->last_id)
        rc = SYN_FAIL(err, SYN_E_INVALID, "id: %llu is not above the last one, %llu",
                      (unsigned long long)event->id, (unsigned long long)exchange->last_id);
    if (rc == 0 && event->id == 0 && exchange->last_id == UINT64_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "id: there is none above the last one");
    return rc;
}

/* Is there nothing that check_order() would refuse? Says true of nearly every order. */
static bool
plain_order(const struct syn_exchange *exchange, const struct syn_market_event *event)
{
    return event->account < exchange->account_count && event->class < exchange->class_count &&
           (uint64_t)event->qty - 1 < (uint64_t)SYN_ORDER_QTY_MAX &&
           (uint64_t)event->price - 1 < (uint64_t)SYN_PRICE_MAX && event->side <= SYN_SELL &&
           event->id > exchange->last_id;
}

/* Field by field, not through a copy: this is on the way of every event. */
static void
set_outcome(struct syn_market_outcome *outcome, uint64_t id, uint32_t index)
{
    outcome->id = id;
    outcome->index = index;
}

static int
apply_order(struct syn_exchange *exchange, const struct syn_market_event *event,
            struct syn_market_outcome *outcome, struct syn_err *err)
{
    struct syn_order_result result = {0};
    struct syn_order order;
    size_t before = exchange->position_count;
    int rc = plain_order(exchange, event) ? SYN_OK : check_order(exchange, event, err);

    if (rc < 0)
        return rc;
    order.id = event->id != 0 ? event->id : exchange->last_id + 1;
    order.price = event->order == SYN_ORDER_MARKET ? 0 : event->price;
    order.qty = event->qty;
    order.until_ms = event->at_ms;
    order.book = event->class;
    order.side = event->side;
    order.kind = event->order;
    order.stp = event->stp;
    order.owner = position_find(&exchange->classes[event->class], event->account);
    rc = check_means(exchange, &order, event->account, 0, err);
    if (rc == 0 && order.owner == 0)
        rc = syn_exchange_position(exchange, event->account, event->class, &order.owner, err);
    if (rc == 0)
        rc = syn_books_add(exchange->books, &order, &result, err);
    if (rc < 0) {
        if (exchange->position_count > before)
            syn_exchange_position_undo(exchange, order.owner);
        return rc;
    }
    if (result.rested > 0)
        hold(exchange, order.owner, order.side, order.price, result.rested);
    follow(exchange, 0);
    exchange->last_id = order.id;
    set_outcome(outcome, order.id, SYN_NO_INDEX);
    outcome->order.traded = result.traded;
    outcome->order.rested = result.rested;
    outcome->order.dropped = result.dropped;
    return SYN_OK;
}

/* The slot of an order of the event's account. */
static int
find_order(const struct syn_exchange *exchange, const struct syn_market_event *event,
           uint32_t *ret_slot, struct syn_err *err)
{
    uint32_t slot = event->id == 0 ? NONE : book_find(exchange->books, event->id);
    const struct book_order *order = &exchange->books->orders[slot];
    int rc = check_account(exchange, event->account, err);

    if (rc < 0)
        return rc;
    if (slot == NONE)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "id: order %llu does not rest here: it ended, or never was",
                        (unsigned long long)event->id);
    if (exchange->positions[order->owner].account != event->account)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "id: order %llu is another account's",
                        (unsigned long long)event->id);
    *ret_slot = slot;
    return SYN_OK;
}

static int
apply_cancel(struct syn_exchange *exchange, const struct syn_market_event *event,
             struct syn_market_outcome *outcome, struct syn_err *err)
{
    uint32_t slot = NONE;
    int rc = find_order(exchange, event, &slot, err);

    if (rc == 0 && event->kind == SYN_EVENT_CANCEL)
        syn_book_cancel(exchange->books, slot);
    else if (rc == 0)
        rc = syn_books_reduce(exchange->books, event->id, event->qty, err);
    if (rc < 0)
        return rc;
    follow(exchange, 0);
    set_outcome(outcome, event->id, SYN_NO_INDEX);
    outcome->order.traded = outcome->order.rested = outcome->order.dropped = 0;
    return SYN_OK;
}

static int
apply_replace(struct syn_exchange *exchange, const struct syn_market_event *event,
              struct syn_market_outcome *outcome, struct syn_err *err)
{
    struct syn_order order = {.price = event->price, .qty = event->qty};
    struct syn_order_result result = {0};
    struct syn_order_view view;
    uint32_t slot = NONE;
    int rc = find_order(exchange, event, &slot, err);

    if (rc == 0 && (event->side > SYN_SELL || event->order >= SYN_ORDER_KINDS))
        rc = SYN_FAIL(err, SYN_E_INVALID, "side %d or kind %d: none of that number", event->side,
                      event->order);
    if (rc == 0)
        rc = check_price(event->price, err);
    if (rc == 0)
        rc = check_amount(event->qty, SYN_ORDER_QTY_MAX, err);
    if (rc < 0)
        return rc;
    syn_book_view(exchange->books, slot, &view);
    order.book = view.book;
    order.owner = view.owner;
    order.side = view.side;
    rc = check_means(exchange, &order, event->account,
                     view.side == SYN_BUY ? view.price * view.qty : view.qty, err);
    if (rc == 0)
        rc = syn_books_replace(exchange->books, event->id, event->price, event->qty, event->stp,
                               &result, err);
    if (rc < 0)
        return rc;
    /* The old order's end comes first, and is released before the new one is held. */
    hold(exchange, view.owner, view.side, view.price, -view.qty);
    if (result.rested > 0)
        hold(exchange, view.owner, view.side, event->price, result.rested);
    follow(exchange, 1);
    *outcome = (struct syn_market_outcome){event->id, SYN_NO_INDEX, result};
    return SYN_OK;
}

/* ---- events ---- */

static int
apply_rare(struct syn_exchange *exchange, const struct syn_market_event *event,
           struct syn_market_outcome *outcome, struct syn_err *err)
{
    uint32_t index = SYN_NO_INDEX;
    int rc;

    exchange->books->effect_count = 0;
    switch (event->kind) {
    case SYN_EVENT_CLASS:
        rc = syn_exchange_open_class(exchange, event->name, event->name_len, &index, err);
        break;
    case SYN_EVENT_ACCOUNT:
        rc = syn_exchange_open_account(exchange, event->name, event->name_len, &index, err);
        break;
    case SYN_EVENT_DEPOSIT:
    case SYN_EVENT_WITHDRAW:
        rc = apply_money(exchange, event, err);
        break;
    case SYN_EVENT_GRANT:
    case SYN_EVENT_RETIRE:
        rc = apply_capacity(exchange, event, err);
        break;
    case SYN_EVENT_TIME:
        rc = syn_books_advance(exchange->books, event->at_ms, err);
        if (rc == 0)
            follow(exchange, 0);
        break;
    default:
        rc = SYN_FAIL(err, SYN_E_INVALID, "event: kind %d is none", event->kind);
    }
    if (rc == 0)
        *outcome = (struct syn_market_outcome){.index = index};
    return rc;
}

int
syn_exchange_apply(struct syn_exchange *exchange, const struct syn_market_event *event,
                   struct syn_market_outcome *ret_outcome, struct syn_err *err)
{
    int rc;

    switch (event->kind) {
    case SYN_EVENT_ORDER:
        rc = apply_order(exchange, event, ret_outcome, err);
        break;
    case SYN_EVENT_CANCEL:
    case SYN_EVENT_REDUCE:
        rc = apply_cancel(exchange, event, ret_outcome, err);
        break;
    case SYN_EVENT_REPLACE:
        rc = apply_replace(exchange, event, ret_outcome, err);
        break;
    default:
        rc = apply_rare(exchange, event, ret_outcome, err);
    }
    if (rc < 0) {
        exchange->books->effect_count = 0;
        return rc;
    }
    exchange->events++;
    return SYN_OK;
}

int
syn_exchange_replay(struct syn_exchange *exchange, const struct syn_market_batch *batch,
                    struct syn_err *err)
{
    size_t at = 0;

    if (batch->first != exchange->events)
        return SYN_FAIL(err, SYN_E_CORRUPT, "log: event %llu where %llu is expected",
                        (unsigned long long)batch->first, (unsigned long long)exchange->events);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct syn_market_event event;
        struct syn_market_outcome outcome;
        int rc = syn_market_event_decode(batch->events, batch->len, &at, &event, err);

        if (rc == 0)
            rc = syn_exchange_apply(exchange, &event, &outcome, err);
        if (rc < 0 && rc != SYN_E_NOMEM)
            rc = syn_err_wrap(err, SYN_E_CORRUPT, "log: event %llu",
                              (unsigned long long)exchange->events);
        if (rc < 0)
            return rc;
    }
    if (at != batch->len)
        return SYN_FAIL(err, SYN_E_CORRUPT, "log: %zu bytes after the last event of a batch",
                        batch->len - at);
    return SYN_OK;
}

uint64_t
syn_exchange_events(const struct syn_exchange *exchange)
{
    return exchange->events;
}

const struct syn_book_effect *
syn_exchange_effects(const struct syn_exchange *exchange, size_t *ret_count)
{
    return syn_books_effects(exchange->books, ret_count);
}

static void
prefetch_position(const struct syn_exchange *exchange, const struct syn_market_event *event,
                  unsigned stage)
{
    const struct market_class *class = &exchange->classes[event->class];

    if (stage == 2)
        __builtin_prefetch(&class->table[class_home(class, event->account)]);
    else if (stage == 1)
        __builtin_prefetch(&exchange->positions[position_find(class, event->account)], 1);
}

void
syn_exchange_prefetch(const struct syn_exchange *exchange,
                      const struct syn_market_event *const ahead[3])
{
    for (unsigned stage = 0; stage < 3; stage++) {
        const struct syn_market_event *event = ahead[stage];
        bool arrives = event->kind == SYN_EVENT_ORDER;
        struct syn_order order = {.id = event->id};

        if (arrives && event->class >= exchange->class_count)
            continue;
        if (arrives) {
            prefetch_position(exchange, event, stage);
            order.qty = 1;
            order.book = event->class;
            order.price = event->price;
        } else if (stage == 0) {
            uint32_t slot = book_find(exchange->books, event->id);

            __builtin_prefetch(&exchange->positions[exchange->books->orders[slot].owner], 1);
        }
        syn_book_prefetch(exchange->books, &order, stage);
    }
}
