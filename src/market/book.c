/* Matching. An event first makes sure of all the memory that it could need (book_pool.c), then
 * checks, then acts; from then on nothing fails.
 *
 *     id --table--> order --place--> level --leaf--> book
 *                     |  next, prev    head, tail, sum
 *
 * An order is 32 bytes and a freed one is used again first, so that a busy book keeps to few lines;
 * what trading does not need (the first quantity, the end) lies elsewhere. */
#include "book_priv.h"

#include <synor/base/mem.h>

/* An incoming order, or one that waited, while it trades. */
struct take {
    uint64_t id;
    int64_t limit;
    int64_t left;
    uint32_t book;
    uint32_t owner;
    uint8_t side;
    uint8_t stp;
    bool stopped; /* met its owner's own and gives way */
};

static const char *const side_names[] = {"buy", "sell"};

/* ---- effects ---- */

static uint32_t
aon_row(const struct syn_books *books, uint32_t slot)
{
    const struct book_order *order = &books->orders[slot];
    const struct book_aon *aon = books->aons[order->next];
    uint32_t side = order->place & PLACE_SELL, row = 0;

    while (aon->rows[side][row].slot != slot)
        row++;
    assert(row < aon->count[side]);
    return row;
}

static int64_t
order_price(const struct syn_books *books, uint32_t slot)
{
    const struct book_order *order = &books->orders[slot];

    if ((order->place & PLACE_AON) != 0)
        return books->aons[order->next]
            ->rows[order->place & PLACE_SELL][aon_row(books, slot)]
            .price;
    return book_price(books, order->place >> PLACE_SHIFT);
}

/* The next effect, whose every field the caller sets. */
static struct syn_book_effect *
tell(struct syn_books *books)
{
    assert(books->effect_count < books->effect_cap);
    return &books->effects[books->effect_count++];
}

static inline void
tell_order(struct syn_books *books, uint32_t slot, enum syn_book_what what, enum syn_book_why why,
           int64_t qty)
{
    const struct book_order *order = &books->orders[slot];
    struct syn_book_effect *effect = tell(books);

    effect->taker = 0;
    effect->maker = order->id;
    effect->price = order_price(books, slot);
    effect->qty = qty;
    effect->book = book_of(books, order);
    effect->taker_owner = 0;
    effect->maker_owner = order->owner;
    effect->what = (uint8_t)what;
    effect->why = (uint8_t)why;
    effect->maker_side = order->place & PLACE_SELL;
    effect->maker_done = what == SYN_BOOK_ENDED;
}

/* ---- orders in and out ---- */

static inline void
free_order(struct syn_books *books, uint32_t slot)
{
    struct book_order *order = &books->orders[slot];

    if ((order->place & PLACE_TIMED) != 0)
        books->timed--;
    order->id = 0;
    order->next = books->order_free;
    books->order_free = slot;
    books->order_spare++;
}

/* Nothing rests at `level` any more. */
static void
level_emptied(struct syn_books *books, struct book *book, uint32_t level, uint32_t side)
{
    struct book_leaf *leaf = &books->leaves[level >> LEAF_BITS];

    if (book->level[side] == level) {
        uint32_t next = syn_book_level_next(books, level, side == SYN_SELL);

        book->level[side] = next;
        if (next != NONE)
            book->best[side] = book_price(books, next);
        else
            book->best[side] = side == SYN_SELL ? INT64_MAX : -1;
    }
    leaf->bits &= ~(UINT32_C(1) << (level & LEAF_MASK));
    if (leaf->bits == 0)
        syn_book_leaf_drop(books, level >> LEAF_BITS);
}

/* Take a resting order out of its queue. */
static inline void
unlink_order(struct syn_books *books, uint32_t slot, uint32_t book_index)
{
    struct book_order *orders = books->orders, *order = &orders[slot];
    uint32_t at = order->place >> PLACE_SHIFT, side = order->place & PLACE_SELL;
    struct book_level *level = &books->levels[at];
    struct book *book = &books->books[book_index];

    if (order->prev != NONE)
        orders[order->prev].next = order->next;
    else
        level->head = order->next;
    if (order->next != NONE)
        orders[order->next].prev = order->prev;
    else
        level->tail = order->prev;
    level->qty -= order->qty;
    book->resting[side] -= order->qty;
    book->live--;
    books->live--;
    if (level->head == NONE)
        level_emptied(books, book, at, side);
}

static uint32_t
level_at(struct syn_books *books, uint32_t book, int64_t price)
{
    uint64_t page = (uint64_t)price >> LEAF_BITS;
    uint32_t leaf = books->hints[(size_t)book * HINTS + page % HINTS];

    if (books->leaves[leaf].book != book || books->leaves[leaf].page != page)
        leaf = syn_book_leaf(books, book, page);
    return leaf << LEAF_BITS | ((uint32_t)price & LEAF_MASK);
}

/* Put an order at the end of the queue of its price. */
static void
link_order(struct syn_books *books, uint32_t book_index, uint32_t slot, int64_t price)
{
    struct book_order *order = &books->orders[slot];
    struct book *book = &books->books[book_index];
    uint32_t side = order->place & PLACE_SELL, at = level_at(books, book_index, price);
    struct book_level *level = &books->levels[at];

    order->place = at << PLACE_SHIFT | (order->place & (PLACE_SELL | PLACE_TIMED));
    order->next = NONE;
    order->prev = level->tail;
    level->qty += order->qty;
    book->resting[side] += order->qty;
    book->live++;
    books->live++;
    if (level->tail != NONE) {
        books->orders[level->tail].next = slot;
        level->tail = slot;
        return;
    }
    level->head = level->tail = slot;
    books->leaves[at >> LEAF_BITS].bits |= UINT32_C(1) << (at & LEAF_MASK);
    if (side == SYN_SELL ? price < book->best[SYN_SELL] : price > book->best[SYN_BUY]) {
        book->best[side] = price;
        book->level[side] = at;
    }
}

/* ---- AON orders that wait ---- */

static void
aon_remove(struct syn_books *books, uint32_t slot)
{
    const struct book_order *order = &books->orders[slot];
    struct book *book = &books->books[order->next];
    struct book_aon *aon = books->aons[order->next];
    uint32_t side = order->place & PLACE_SELL, row = aon_row(books, slot);

    aon->count[side]--;
    memmove(&aon->rows[side][row], &aon->rows[side][row + 1],
            (aon->count[side] - row) * sizeof(aon->rows[side][0]));
    book->aons--;
    book->live--;
    books->live--;
}

static void
aon_insert(struct syn_books *books, uint32_t book_index, uint32_t slot, int64_t price)
{
    struct book_order *order = &books->orders[slot];
    struct book *book = &books->books[book_index];
    struct book_aon *aon = books->aons[book_index];
    uint32_t side = order->place & PLACE_SELL, row = aon->count[side];

    assert(row < SYN_BOOK_AON_MAX);
    while (row > 0 && (side == SYN_SELL ? aon->rows[side][row - 1].price > price
                                        : aon->rows[side][row - 1].price < price)) {
        aon->rows[side][row] = aon->rows[side][row - 1];
        row--;
    }
    aon->rows[side][row].price = price;
    aon->rows[side][row].slot = slot;
    aon->count[side]++;
    order->place = PLACE_AON | (order->place & (PLACE_SELL | PLACE_TIMED));
    order->next = book_index;
    book->aons++;
    book->live++;
    books->live++;
}

static inline void
detach(struct syn_books *books, uint32_t slot)
{
    if ((books->orders[slot].place & PLACE_AON) != 0)
        aon_remove(books, slot);
    else
        unlink_order(books, slot, book_of(books, &books->orders[slot]));
}

/* The end of the order at `slot`, whose id is in `span`. */
static inline void
end_known(struct syn_books *books, uint32_t slot, struct book_span *span, enum syn_book_why why)
{
    struct book_order *order = &books->orders[slot];
    uint64_t id = order->id;

    tell_order(books, slot, SYN_BOOK_ENDED, why, order->qty);
    detach(books, slot);
    free_order(books, slot);
    book_drop(books, span, id);
}

static void
end_order(struct syn_books *books, uint32_t slot, enum syn_book_why why)
{
    end_known(books, slot, book_span(books, books->orders[slot].id >> PAGE_BITS), why);
}

/* ---- trading ---- */

static bool
crosses(const struct book *book, uint32_t side, int64_t limit)
{
    return side == SYN_BUY ? limit >= book->best[SYN_SELL] : limit <= book->best[SYN_BUY];
}

/* The next order in the way is of the same owner: somebody gives way. */
static void
meet_own(struct syn_books *books, struct take *take, uint32_t slot)
{
    struct book_order *maker = &books->orders[slot];
    int64_t qty;

    if (take->stp == SYN_STP_TAKER || take->stp == SYN_STP_BOTH)
        take->stopped = true;
    if (take->stp == SYN_STP_MAKER || take->stp == SYN_STP_BOTH)
        end_order(books, slot, SYN_BOOK_OWN);
    if (take->stp != SYN_STP_LESS)
        return;
    qty = take->left < maker->qty ? take->left : maker->qty;
    take->left -= qty;
    if (qty == maker->qty) {
        end_order(books, slot, SYN_BOOK_OWN);
        return;
    }
    tell_order(books, slot, SYN_BOOK_REDUCED, SYN_BOOK_OWN, qty);
    maker->qty -= qty;
    books->levels[maker->place >> PLACE_SHIFT].qty -= qty;
    books->books[take->book].resting[maker->place & PLACE_SELL] -= qty;
}

static void
tell_trade(struct syn_books *books, const struct take *take, const struct book_order *maker,
           int64_t price, int64_t qty)
{
    struct syn_book_effect *effect = tell(books);

    effect->taker = take->id;
    effect->maker = maker->id;
    effect->price = price;
    effect->qty = qty;
    effect->book = take->book;
    effect->taker_owner = take->owner;
    effect->maker_owner = maker->owner;
    effect->what = SYN_BOOK_TRADE;
    effect->why = SYN_BOOK_ASKED;
    effect->maker_side = take->side ^ 1;
    effect->maker_done = qty == maker->qty;
}

/* Trade with the orders of the best price until one is too large, or of the same owner, or the
 * level is empty. Returns that order or NONE. */
static uint32_t
take_level(struct syn_books *books, struct book *book, struct take *take)
{
    uint32_t other = take->side ^ 1U, at = book->level[other];
    struct book_level *level = &books->levels[at];
    struct book_order *orders = books->orders;
    uint32_t slot = level->head;
    int64_t before = take->left, price = book->best[other];

    do {
        struct book_order *maker = &orders[slot];
        int64_t qty = take->left < maker->qty ? take->left : maker->qty;
        uint32_t next = maker->next;

        if (maker->owner == take->owner && take->owner != 0)
            break;
        tell_trade(books, take, maker, price, qty);
        take->left -= qty;
        if (qty < maker->qty) {
            maker->qty -= qty;
            break;
        }
        __builtin_prefetch(&orders[next]);
        book_drop(books, book_span(books, maker->id >> PAGE_BITS), maker->id);
        free_order(books, slot);
        book->live--;
        books->live--;
        slot = next;
    } while (slot != NONE && take->left > 0);
    level->head = slot;
    level->qty -= before - take->left;
    book->resting[other] -= before - take->left;
    if (slot != NONE) {
        orders[slot].prev = NONE;
        return slot;
    }
    level->tail = NONE;
    level_emptied(books, book, at, other);
    return NONE;
}

static int64_t
trade(struct syn_books *books, struct take *take)
{
    struct book *book = &books->books[take->book];
    int64_t lost = 0; /* to SYN_STP_LESS */
    int64_t qty = take->left;

    while (take->left > 0 && !take->stopped && crosses(book, take->side, take->limit)) {
        uint32_t slot = take_level(books, book, take);
        int64_t left = take->left;

        if (slot == NONE || left == 0)
            continue;
        meet_own(books, take, slot);
        lost += left - take->left;
    }
    return qty - take->left - lost;
}

/* Would `take` trade whole? */
static bool
covered(const struct syn_books *books, const struct take *take)
{
    const struct book *book = &books->books[take->book];
    uint32_t other = take->side ^ 1U;
    int64_t need = take->left;

    if (book->resting[other] < need)
        return false;
    for (uint32_t at = book->level[other]; at != NONE;
         at = syn_book_level_next(books, at, other == SYN_SELL)) {
        int64_t price = book_price(books, at);

        if (take->side == SYN_BUY ? price > take->limit : price < take->limit)
            return false;
        for (uint32_t slot = books->levels[at].head; slot != NONE;
             slot = books->orders[slot].next) {
            const struct book_order *maker = &books->orders[slot];
            bool own = maker->owner == take->owner && take->owner != 0;

            if (own && take->stp != SYN_STP_MAKER)
                return false;
            need -= own ? 0 : maker->qty;
            if (need <= 0)
                return true;
        }
    }
    return false;
}

/* Something came to rest on the other side, or less is asked for: fill what waited for that. */
static void
wake_aons(struct syn_books *books, uint32_t book_index, uint32_t side)
{
    const struct book_aon *aon = books->aons[book_index];

    for (uint32_t row = 0; row < aon->count[side];) {
        uint32_t slot = aon->rows[side][row].slot;
        const struct book_order *order = &books->orders[slot];
        struct take take = {.id = order->id,
                            .limit = aon->rows[side][row].price,
                            .left = order->qty,
                            .book = book_index,
                            .owner = order->owner,
                            .side = (uint8_t)side,
                            .stp = SYN_STP_MAKER};

        if (!crosses(&books->books[book_index], side, take.limit))
            return; /* nor does any after it */
        if (!covered(books, &take)) {
            row++;
            continue;
        }
        end_order(books, slot, SYN_BOOK_FILLS);
        (void)trade(books, &take);
        assert(take.left == 0);
    }
}

/* ---- events ---- */

static int
check_quantity(int64_t price, int64_t qty, struct syn_err *err)
{
    if (price < 0 || price > SYN_PRICE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "price: expected 0..%lld, got %lld",
                        (long long)SYN_PRICE_MAX, (long long)price);
    if (qty <= 0 || qty > SYN_ORDER_QTY_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "qty: expected 1..%lld, got %lld",
                        (long long)SYN_ORDER_QTY_MAX, (long long)qty);
    return SYN_OK;
}

static int
check_kind(const struct syn_books *books, const struct syn_order *order, struct syn_err *err)
{
    bool rests = order->kind == SYN_ORDER_LIMIT || order->kind == SYN_ORDER_AON;

    if (order->book >= books->book_count)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "book: there is no book %u", order->book);
    if (order->id == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "id: must not be 0");
    if (order->side > SYN_SELL)
        return SYN_FAIL(err, SYN_E_INVALID, "side: %d is none", order->side);
    if (order->kind >= SYN_ORDER_KINDS)
        return SYN_FAIL(err, SYN_E_INVALID, "kind: %d is none", order->kind);
    if (order->stp >= SYN_STPS)
        return SYN_FAIL(err, SYN_E_INVALID, "stp: %d is none", order->stp);
    if (order->until_ms != 0 && (!rests || order->until_ms <= books->now_ms))
        return SYN_FAIL(err, SYN_E_INVALID, "until_ms: %lld %s", (long long)order->until_ms,
                        rests ? "is over" : "has no meaning for an order that cannot rest");
    return SYN_OK;
}

static int
check_room(const struct syn_books *books, uint32_t book_index, enum syn_side side, int64_t qty,
           struct syn_err *err)
{
    if (books->books[book_index].resting[side] > SYN_BOOK_RESTING_MAX - qty)
        return SYN_FAIL(err, SYN_E_LIMIT, "book %u: too much rests on the %s side", book_index,
                        side_names[side]);
    return SYN_OK;
}

static int
aon_room(struct syn_books *books, uint32_t book, enum syn_side side, struct syn_err *err)
{
    if (books->aons[book] == NULL) {
        books->aons[book] = syn_calloc(1, sizeof(*books->aons[book]));
        if (books->aons[book] == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the orders that wait in book %u",
                            book);
    }
    if (books->aons[book]->count[side] >= SYN_BOOK_AON_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "book %u: %d all-or-nothing orders wait to %s", book,
                        SYN_BOOK_AON_MAX, side_names[side]);
    return SYN_OK;
}

/* Room for one more arrival. */
static int
admit_one(struct syn_books *books, struct syn_err *err)
{
    int rc = books->credit > 0 ? SYN_OK : syn_book_reserve(books, err);

    if (rc == 0)
        books->credit--;
    return rc;
}

/* Is there nothing to refuse, and nothing special? Says true of nearly every order. */
static bool
plain(const struct syn_books *books, const struct syn_order *order)
{
    return (order->kind == SYN_ORDER_LIMIT || order->kind == SYN_ORDER_IOC) &&
           order->book < books->book_count && order->until_ms == 0 && order->id != 0 &&
           order->side <= SYN_SELL && order->stp < SYN_STPS &&
           (uint64_t)order->price <= SYN_PRICE_MAX &&
           (uint64_t)order->qty - 1 < (uint64_t)SYN_ORDER_QTY_MAX &&
           books->books[order->book].resting[order->side] <= SYN_BOOK_RESTING_MAX - order->qty;
}

/* Everything that may refuse `order`; then room for all that it may do. */
static int
admit(struct syn_books *books, const struct syn_order *order, struct syn_err *err)
{
    int rc = SYN_OK;

    if (!plain(books, order)) {
        rc = check_kind(books, order, err);
        if (rc == 0)
            rc =
                check_quantity(order->kind == SYN_ORDER_MARKET ? 0 : order->price, order->qty, err);
        if (rc == 0)
            rc = check_room(books, order->book, order->side, order->qty, err);
        if (rc == 0 && order->kind == SYN_ORDER_AON)
            rc = aon_room(books, order->book, order->side, err);
    }
    if (rc == 0 && book_known(books, order->id))
        rc = SYN_FAIL(err, SYN_E_EXISTS, "id: order %llu rests", (unsigned long long)order->id);
    return rc < 0 ? rc : admit_one(books, err);
}

/* Trade, as the kind of order allows. */
static int64_t
arrive(struct syn_books *books, struct take *take, enum syn_order_kind kind)
{
    if (kind == SYN_ORDER_AON)
        take->stp = SYN_STP_MAKER;
    if (!crosses(&books->books[take->book], take->side, take->limit))
        return 0;
    if ((kind == SYN_ORDER_FOK || kind == SYN_ORDER_AON) && !covered(books, take))
        return 0;
    return trade(books, take);
}

/* `qty` of an arrival rests in `slot`. */
static void
rest(struct syn_books *books, uint32_t book, uint32_t slot, int64_t price, int64_t qty)
{
    uint32_t side = books->orders[slot].place & PLACE_SELL;

    books->orders[slot].qty = qty;
    link_order(books, book, slot, price);
    if (books->books[book].aons > 0)
        wake_aons(books, book, side ^ 1U);
}

static void
rest_aon(struct syn_books *books, uint32_t book, uint32_t slot, int64_t price, int64_t qty)
{
    books->orders[slot].qty = qty;
    aon_insert(books, book, slot, price);
}

static uint32_t
take_slot(struct syn_books *books, const struct syn_order *order)
{
    uint32_t slot = books->order_free;
    struct book_order *fresh = &books->orders[slot];

    assert(slot != NONE);
    books->order_free = fresh->next;
    if (--books->order_spare == 0)
        books->credit = 0;
    fresh->id = order->id;
    fresh->owner = order->owner;
    fresh->place = order->side;
    book_put(books, order->id, slot);
    if (order->until_ms != 0) {
        fresh->place |= PLACE_TIMED;
        books->until_ms[slot] = order->until_ms;
        books->timed++;
        syn_book_timer_put(books, (struct book_timer){order->until_ms, order->id, slot});
    }
    return slot;
}

/* An admitted order that may trade, or wait to. */
static void
take_order(struct syn_books *books, const struct syn_order *order, struct syn_order_result *result)
{
    struct take take = {.id = order->id,
                        .limit = order->price,
                        .left = order->qty,
                        .book = order->book,
                        .owner = order->owner,
                        .side = order->side,
                        .stp = order->stp};

    if (order->kind == SYN_ORDER_MARKET)
        take.limit = order->side == SYN_BUY ? SYN_PRICE_MAX : 0;
    result->traded = arrive(books, &take, order->kind);
    result->rested = 0;
    if (take.left > 0 && !take.stopped && order->kind == SYN_ORDER_LIMIT) {
        result->rested = take.left;
        rest(books, order->book, take_slot(books, order), take.limit, take.left);
    } else if (take.left > 0 && order->kind == SYN_ORDER_AON) {
        result->rested = take.left;
        rest_aon(books, order->book, take_slot(books, order), take.limit, take.left);
    }
    result->dropped = order->qty - result->traded - result->rested;
}

int
syn_books_add(struct syn_books *books, const struct syn_order *order,
              struct syn_order_result *ret_result, struct syn_err *err)
{
    int rc;

    books->effect_count = 0;
    rc = admit(books, order, err);
    if (rc < 0)
        return rc;
    if (order->kind != SYN_ORDER_LIMIT ||
        crosses(&books->books[order->book], order->side, order->price)) {
        take_order(books, order, ret_result);
        return SYN_OK;
    }
    rest(books, order->book, take_slot(books, order), order->price, order->qty);
    ret_result->traded = 0;
    ret_result->rested = order->qty;
    ret_result->dropped = 0;
    return SYN_OK;
}

static int
find_order(struct syn_books *books, uint64_t id, uint32_t *ret_slot, struct syn_err *err)
{
    uint32_t slot = book_find(books, id);

    books->effect_count = 0;
    if (slot == NONE || id == 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "order %llu does not rest here: it ended, or never was",
                        (unsigned long long)id);
    *ret_slot = slot;
    return SYN_OK;
}

int
syn_books_cancel(struct syn_books *books, uint64_t id, struct syn_err *err)
{
    struct book_span *span = book_span(books, id >> PAGE_BITS);
    uint32_t slot = *book_word(books, span, id);

    if (slot == NONE)
        return find_order(books, id, &slot, err);
    books->effect_count = 0;
    end_known(books, slot, span, SYN_BOOK_ASKED);
    return SYN_OK;
}

void
syn_book_cancel(struct syn_books *books, uint32_t slot)
{
    books->effect_count = 0;
    end_order(books, slot, SYN_BOOK_ASKED);
}

int
syn_books_reduce(struct syn_books *books, uint64_t id, int64_t by, struct syn_err *err)
{
    uint32_t slot = NONE;
    int rc = find_order(books, id, &slot, err);
    struct book_order *order;

    if (rc < 0)
        return rc;
    if (by <= 0)
        return SYN_FAIL(err, SYN_E_INVALID, "order %llu: cannot be reduced by %lld",
                        (unsigned long long)id, (long long)by);
    order = &books->orders[slot];
    if (by >= order->qty) {
        end_order(books, slot, SYN_BOOK_ASKED);
        return SYN_OK;
    }
    tell_order(books, slot, SYN_BOOK_REDUCED, SYN_BOOK_ASKED, by);
    order->qty -= by;
    if ((order->place & PLACE_AON) != 0) {
        wake_aons(books, order->next, order->place & PLACE_SELL);
        return SYN_OK;
    }
    books->levels[order->place >> PLACE_SHIFT].qty -= by;
    books->books[book_of(books, order)].resting[order->place & PLACE_SELL] -= by;
    return SYN_OK;
}

int
syn_books_replace(struct syn_books *books, uint64_t id, int64_t price, int64_t qty,
                  enum syn_stp stp, struct syn_order_result *ret_result, struct syn_err *err)
{
    struct syn_order_result result = {0};
    struct take take = {.id = id, .limit = price, .left = qty, .stp = (uint8_t)stp};
    struct book_order *order;
    uint32_t slot = NONE;
    bool aon;
    int rc = find_order(books, id, &slot, err);

    if (rc == 0)
        rc = check_quantity(price, qty, err);
    if (rc < 0)
        return rc;
    order = &books->orders[slot];
    aon = (order->place & PLACE_AON) != 0;
    take.book = book_of(books, order);
    take.owner = order->owner;
    take.side = order->place & PLACE_SELL;
    if (stp >= SYN_STPS)
        return SYN_FAIL(err, SYN_E_INVALID, "stp: %d is none", (int)stp);
    rc = check_room(books, take.book, take.side, qty, err);
    if (rc == 0)
        rc = admit_one(books, err);
    if (rc < 0)
        return rc;
    order = &books->orders[slot]; /* may have moved */
    tell_order(books, slot, SYN_BOOK_ENDED, SYN_BOOK_ASKED, order->qty);
    detach(books, slot);
    result.traded = arrive(books, &take, aon ? SYN_ORDER_AON : SYN_ORDER_LIMIT);
    if (take.left > 0 && !take.stopped) {
        result.rested = take.left;
        (aon ? rest_aon : rest)(books, take.book, slot, price, take.left);
    } else {
        book_drop(books, book_span(books, id >> PAGE_BITS), id);
        free_order(books, slot);
    }
    result.dropped = qty - result.traded - result.rested;
    *ret_result = result;
    return SYN_OK;
}

int
syn_books_advance(struct syn_books *books, int64_t now_ms, struct syn_err *err)
{
    struct book_timer timer;

    books->effect_count = 0;
    if (now_ms < books->now_ms)
        return SYN_FAIL(err, SYN_E_INVALID, "now_ms: %lld is before %lld", (long long)now_ms,
                        (long long)books->now_ms);
    books->now_ms = now_ms;
    while (syn_book_timer_due(books, now_ms, &timer)) {
        if (syn_book_timer_live(books, &timer))
            end_order(books, timer.slot, SYN_BOOK_EXPIRED);
    }
    return SYN_OK;
}

const struct syn_book_effect *
syn_books_effects(const struct syn_books *books, size_t *ret_count)
{
    *ret_count = books->effect_count;
    return books->effects;
}

void
syn_book_view(const struct syn_books *books, uint32_t slot, struct syn_order_view *ret_view)
{
    const struct book_order *order = &books->orders[slot];
    bool timed = (order->place & PLACE_TIMED) != 0;

    *ret_view = (struct syn_order_view){.id = order->id,
                                        .price = order_price(books, slot),
                                        .qty = order->qty,
                                        .until_ms = timed ? books->until_ms[slot] : 0,
                                        .book = book_of(books, order),
                                        .owner = order->owner,
                                        .side = order->place & PLACE_SELL,
                                        .aon = (order->place & PLACE_AON) != 0};
}
