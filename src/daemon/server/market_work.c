/* Changing the market.
 *
 *     attempt  --events-->  exchange  --effects-->  touches (orders, accounts, capacity)
 *                              |                        |
 *                              v                        v
 *         { log batch, ledger transaction, orders' documents, what was issued, the answer }
 *                             in one transaction of the store
 *
 * Events are applied first, since only the exchange knows what an order will do. What is free
 * afterwards goes out at once: money to the ledger, issued capacity back to its provider. Then all
 * of it is written as one transaction, and only then somebody is answered. When the write fails the
 * exchange is read again from what is written.
 *
 * A transaction has room for MARKET_CHUNK orders. An order that meets more takes several: the first
 * has the batch that did it all, the answer, and a mark that says how far the traces have got; each
 * further one moves the mark. Between them the exchange holds what has not gone out, and the ledger
 * says the same, so that a crash there loses nothing: which traces are left is known from the batch
 * (srv_market_note() is the same for an event that happens and one that is read), and the start
 * goes on with them. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "market_priv.h"

#define MARK_KEY "market-mark"

/* An order's document and lists, what its account holds, what was issued, what was paid, the
 * account's part of the ledger's transaction; and what there is once. */
static_assert(MARKET_CHUNK * (2 + 1 + 1 + 1 + 3) + 16 <= SYN_STORE_OPS_MAX, "a chunk fits");
static_assert(MARKET_CHUNK + 4 <= SYN_LEDGER_ENTRIES_MAX, "so does its money");

void
srv_market_work_init(struct market_work *work, struct srv_market *market)
{
    *work = (struct market_work){.server = market->server,
                                 .market = market,
                                 .exchange = market->exchange,
                                 .status = 200,
                                 .first = syn_exchange_events(market->exchange),
                                 .payer = MARKET_NONE};
    work->begin = syn_market_batch_begin(&work->batch);
    (void)snprintf(work->memo, sizeof(work->memo), "spot market");
}

void
srv_market_work_fini(struct market_work *work)
{
    syn_buf_fini(&work->batch);
    syn_free(work->touches);
    json_decref(work->order);
}

/* --- what an event did ------------------------------------------------------------------------ */

static int
touch_add(struct market_work *work, const struct market_touch *touch, struct syn_err *err)
{
    if (!syn_grow((void *)&work->touches, &work->touch_cap, work->touch_count + 1,
                  sizeof(*work->touches)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what an order did");
    work->touches[work->touch_count++] = *touch;
    return SYN_OK;
}

static uint8_t
why_of(const struct market_work *work, const struct syn_book_effect *effect)
{
    switch ((enum syn_book_why)effect->why) {
    case SYN_BOOK_ASKED:
        return (uint8_t)(work->why != MARKET_WHY_NONE ? work->why : MARKET_WHY_ASKED);
    case SYN_BOOK_OWN:
        return MARKET_WHY_OWN;
    case SYN_BOOK_EXPIRED:
        return MARKET_WHY_EXPIRED;
    case SYN_BOOK_FILLS:
        break;
    }
    return MARKET_WHY_NONE;
}

static int
note_effect(struct market_work *work, const struct syn_book_effect *effect, struct syn_err *err)
{
    struct market_touch maker = {.id = effect->maker,
                                 .account = syn_exchange_owner(work->exchange, effect->maker_owner),
                                 .class = effect->book};
    struct market_touch taker;
    int rc;

    if (effect->what == SYN_BOOK_TRADE) {
        maker.traded = effect->qty;
        maker.paid = effect->price * effect->qty;
    } else if (effect->what == SYN_BOOK_REDUCED) {
        maker.lost = effect->qty;
    } else {
        maker.why = why_of(work, effect);
    }
    rc = touch_add(work, &maker, err);
    if (rc < 0 || effect->what != SYN_BOOK_TRADE)
        return rc;
    taker = maker;
    taker.id = effect->taker;
    taker.account = syn_exchange_owner(work->exchange, effect->taker_owner);
    return touch_add(work, &taker, err);
}

/* Why what an order could not trade does not rest. */
static uint8_t
why_dropped(const struct syn_market_event *event, const struct syn_market_outcome *outcome)
{
    if (outcome->order.dropped == 0)
        return MARKET_WHY_NONE;
    if (event->kind == SYN_EVENT_ORDER && event->order == SYN_ORDER_FOK)
        return MARKET_WHY_WHOLE;
    if (event->kind == SYN_EVENT_ORDER &&
        (event->order == SYN_ORDER_IOC || event->order == SYN_ORDER_MARKET))
        return MARKET_WHY_REST;
    return MARKET_WHY_OWN;
}

int
srv_market_note(struct market_work *work, const struct syn_market_event *event,
                const struct syn_market_outcome *outcome, struct syn_err *err)
{
    struct market_touch actor = {
        .id = outcome->id, .account = event->account, .class = event->class, .actor = true};
    const struct syn_book_effect *effects;
    size_t count;
    int rc = SYN_OK;

    effects = syn_exchange_effects(work->exchange, &count);
    if (event->kind == SYN_EVENT_ORDER || event->kind == SYN_EVENT_REPLACE) {
        actor.why = why_dropped(event, outcome);
        actor.lost = outcome->order.rested > 0 ? outcome->order.dropped : 0;
    }
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = note_effect(work, &effects[i], err);
    switch (event->kind) {
    case SYN_EVENT_ORDER:
        work->placed = *event;
        work->placed.id = outcome->id;
        break;
    case SYN_EVENT_REPLACE: /* the first effect is the end of what it was */
        assert(count > 0);
        actor.class = effects[0].book;
        actor.replaced = true;
        actor.price = event->price;
        actor.qty = event->qty;
        break;
    case SYN_EVENT_CANCEL:
    case SYN_EVENT_REDUCE:
        assert(count > 0);
        actor.class = effects[0].book;
        break;
    case SYN_EVENT_DEPOSIT: /* whatever comes of it, this account is looked at */
        actor = (struct market_touch){.account = event->account, .class = MARKET_NONE};
        break;
    case SYN_EVENT_GRANT:
        actor = (struct market_touch){.account = event->account, .class = event->class};
        break;
    default:
        return rc;
    }
    return rc < 0 ? rc : touch_add(work, &actor, err);
}

int
srv_market_apply(struct market_work *work, struct syn_market_event *event,
                 struct syn_market_outcome *ret_outcome, struct syn_err *err)
{
    int rc = syn_exchange_apply(work->exchange, event, ret_outcome, err);

    if (rc < 0)
        return rc;
    if (event->kind == SYN_EVENT_ORDER)
        event->id = ret_outcome->id; /* the log names it */
    work->count++;
    syn_market_event_encode(event, &work->batch);
    rc = srv_market_note(work, event, ret_outcome, err);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&work->batch, err);
    /* It is applied and cannot be told: the batch must not be written. */
    if (rc < 0)
        work->batch.failed = true;
    return rc;
}

static int
find_or_make(struct market_work *work, enum syn_market_event_kind kind, const char *name,
             uint32_t *ret, struct syn_err *err)
{
    struct syn_market_event event = {
        .kind = (uint8_t)kind, .name = name, .name_len = (uint32_t)strlen(name)};
    struct syn_market_outcome outcome;
    int rc;

    *ret = kind == SYN_EVENT_CLASS ? syn_exchange_find_class(work->exchange, name)
                                   : syn_exchange_find_account(work->exchange, name);
    if (*ret != SYN_NO_INDEX)
        return SYN_OK;
    rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK)
        *ret = outcome.index;
    return rc;
}

int
srv_market_account(struct market_work *work, const char *name, uint32_t *ret, struct syn_err *err)
{
    return find_or_make(work, SYN_EVENT_ACCOUNT, name, ret, err);
}

int
srv_market_class(struct market_work *work, const char *name, uint32_t *ret, struct syn_err *err)
{
    return find_or_make(work, SYN_EVENT_CLASS, name, ret, err);
}

/* --- money and capacity in -------------------------------------------------------------------- */

int
srv_market_afford(struct syn_server *server, const char *account, int64_t amount,
                  struct syn_err *err)
{
    char takes[SYN_FORMAT_MAX], has[SYN_FORMAT_MAX], lacks[SYN_FORMAT_MAX];
    int64_t balance = 0;
    int rc = srv_balance(server, account, &balance, err);

    if (rc == SYN_OK && balance < amount)
        return SYN_FAIL(err, SYN_E_FUNDS,
                        "the order takes up to %s SYNOR and the account has %s: %s are missing",
                        syn_format_amount(amount, takes), syn_format_amount(balance, has),
                        syn_format_amount(amount - balance, lacks));
    return rc;
}

int
srv_market_deposit(struct market_work *work, uint32_t account, int64_t amount, struct syn_err *err)
{
    struct syn_market_event event = {.kind = SYN_EVENT_DEPOSIT, .account = account, .qty = amount};
    struct syn_market_outcome outcome;
    int rc;

    if (amount <= 0)
        return SYN_OK;
    rc = srv_market_afford(work->server, syn_exchange_account_name(work->exchange, account), amount,
                           err);
    if (rc == SYN_OK)
        rc = srv_market_apply(work, &event, &outcome, err);
    if (rc < 0)
        return rc;
    assert(work->payer == MARKET_NONE || work->payer == account);
    work->payer = account;
    work->deposit += amount;
    return SYN_OK;
}

/* The row of a provider and class; made when it is not there. */
static int
issued_row(struct market_work *work, const char *account, const char *class,
           struct market_issued **ret, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = SYN_OK;

    *ret = syn_map_find(work->market->issued, srv_key(key, account, class, NULL));
    if (*ret != NULL)
        return SYN_OK;
    *ret = syn_calloc(1, sizeof(**ret));
    if (*ret == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what a provider issued");
    rc = syn_map_put_take(work->market->issued, key, *ret, err);
    return rc;
}

int
srv_market_grant(struct market_work *work, uint32_t account, uint32_t class, int64_t qty,
                 struct syn_err *err)
{
    struct syn_market_event event = {
        .kind = SYN_EVENT_GRANT, .account = account, .class = class, .qty = qty};
    struct syn_market_outcome outcome;
    struct market_issued *issued;
    int rc;

    if (qty <= 0)
        return SYN_OK;
    rc = issued_row(work, syn_exchange_account_name(work->exchange, account),
                    syn_exchange_class_name(work->exchange, class), &issued, err);
    if (rc == SYN_OK)
        rc = srv_market_apply(work, &event, &outcome, err);
    if (rc < 0)
        return rc;
    issued->count += qty;
    issued->dirty = true;
    return SYN_OK;
}

int
srv_market_look_at(struct market_work *work, uint32_t account, uint32_t class, struct syn_err *err)
{
    const struct market_touch touch = {.account = account, .class = class};
    int rc = touch_add(work, &touch, err);

    if (rc < 0)
        work->batch.failed = true;
    return rc;
}

int
srv_market_reissue(struct market_work *work, uint32_t provider, uint32_t class, int64_t units,
                   struct syn_err *err)
{
    struct market_issued *issued;
    int rc = issued_row(work, syn_exchange_account_name(work->exchange, provider),
                        syn_exchange_class_name(work->exchange, class), &issued, err);

    if (rc < 0)
        return rc;
    issued->count += units;
    issued->dirty = true;
    assert(issued->count >= 0);
    return srv_market_look_at(work, provider, class, err);
}

/* --- money and capacity out ------------------------------------------------------------------- */

/* Some of the touches, and what goes out with them. */
struct chunk {
    const struct market_touch *touches;
    size_t count;
    struct syn_ledger_entry entries[4 + MARKET_CHUNK];
    size_t entry_count;
    json_t *docs; /* of the orders, in the order of the touches */
    size_t done;  /* chunks of this batch, with this one */
    bool last;
};

static void
chunk_fini(struct chunk *chunk)
{
    json_decref(chunk->docs);
}

static void
add_entry(struct chunk *chunk, const char *account, int64_t amount)
{
    struct syn_ledger_entry *entry = &chunk->entries[chunk->entry_count];

    for (size_t i = 0; i < chunk->entry_count; i++) {
        if (syn_str_eq(chunk->entries[i].account, account)) {
            chunk->entries[i].amount += amount;
            return;
        }
    }
    assert(chunk->entry_count < SYN_LEN(chunk->entries));
    (void)syn_str_copy(entry->account, sizeof(entry->account), account);
    entry->amount = amount;
    chunk->entry_count++;
}

static int
withdraw(struct market_work *work, struct chunk *chunk, uint32_t account, struct syn_err *err)
{
    struct syn_market_event event = {.kind = SYN_EVENT_WITHDRAW,
                                     .account = account,
                                     .qty = syn_exchange_money(work->exchange, account).free};
    struct syn_market_outcome outcome;
    int rc;

    if (event.qty == 0)
        return SYN_OK;
    rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK) {
        add_entry(chunk, syn_exchange_account_name(work->exchange, account), event.qty);
        add_entry(chunk, SYN_LEDGER_MARKET, -event.qty);
    }
    return rc;
}

/* A provider that has units of its own class back owes so many fewer. */
static int
retire(struct market_work *work, uint32_t account, uint32_t class, struct syn_err *err)
{
    const char *provider = syn_exchange_account_name(work->exchange, account);
    const char *name = syn_exchange_class_name(work->exchange, class);
    int64_t free_units = syn_exchange_capacity(work->exchange, account, class).free;
    struct syn_market_event event = {.kind = SYN_EVENT_RETIRE, .account = account, .class = class};
    struct syn_market_outcome outcome;
    struct market_issued *issued;
    char key[SRV_KEY_MAX];
    int rc;

    issued = syn_map_find(work->market->issued, srv_key(key, provider, name, NULL));
    if (issued == NULL)
        return SYN_OK;
    event.qty = SYN_MIN(free_units, issued->count);
    if (event.qty == 0)
        return SYN_OK;
    rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK) {
        issued->count -= event.qty;
        issued->dirty = true;
    }
    return rc;
}

static int
let_out(struct market_work *work, struct chunk *chunk, struct syn_err *err)
{
    int rc = SYN_OK;

    chunk->docs = json_array();
    if (chunk->docs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for orders");
    for (size_t i = 0; rc == SYN_OK && i < chunk->count; i++) {
        const struct market_touch *touch = &chunk->touches[i];
        json_t *doc = NULL;

        rc = withdraw(work, chunk, touch->account, err);
        if (rc == SYN_OK && touch->class != MARKET_NONE)
            rc = retire(work, touch->account, touch->class, err);
        if (rc == SYN_OK && touch->id != 0)
            rc = srv_market_doc(work, touch, &doc, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(chunk->docs, doc != NULL ? doc : json_null(), err);
        if (rc == SYN_OK && touch->actor) {
            json_decref(work->order);
            work->order = json_incref(doc);
        }
    }
    return rc;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* What stands in an account's orders counts as held, as what stands in an escrow does. */
static int
put_held(struct market_work *work, struct srv_txn *txn, uint32_t account, struct syn_err *err)
{
    int64_t held = syn_exchange_money(work->exchange, account).held;
    char text[SYN_FORMAT_MAX];
    char key[SRV_KEY_MAX];

    (void)srv_key(key, "escrow-of", syn_exchange_account_name(work->exchange, account), "market");
    return held == 0 ? srv_txn_delete(txn, key, err)
                     : srv_txn_put_text(txn, key, syn_format_amount(held, text), err);
}

static int
put_issued(struct market_work *work, struct srv_txn *txn, const struct market_touch *touch,
           struct syn_err *err)
{
    const char *account = syn_exchange_account_name(work->exchange, touch->account);
    const char *class = syn_exchange_class_name(work->exchange, touch->class);
    char name[SRV_KEY_MAX];
    char key[SRV_KEY_MAX];
    const struct market_issued *issued;
    SYN_JSON(doc);
    int rc;

    issued = syn_map_find(work->market->issued, srv_key(name, account, class, NULL));
    if (issued == NULL || !issued->dirty)
        return SYN_OK;
    (void)srv_key(key, "market-issued", account, class);
    if (issued->count == 0)
        return srv_txn_delete(txn, key, err);
    rc = syn_json_pack(&doc, err, "{s:I}", "issued", (json_int_t)issued->count);
    return rc < 0 ? rc : srv_txn_put(txn, key, doc, err);
}

static bool
first_of(const struct chunk *chunk, size_t i, bool class_too)
{
    const struct market_touch *touch = &chunk->touches[i];

    for (size_t j = 0; j < i; j++) {
        if (chunk->touches[j].account == touch->account &&
            (!class_too || chunk->touches[j].class == touch->class))
            return false;
    }
    return true;
}

/* The document, the account's list of all, and that of those that are open. */
static int
put_order(struct srv_txn *txn, const json_t *doc, struct syn_err *err)
{
    const char *id = syn_document_id(doc), *account = syn_json_str(doc, "account", "");
    bool open = syn_str_eq(syn_document_state(doc), "open");
    bool fresh = syn_json_i64(doc, "revision", 0) == 0;
    char key[SRV_KEY_MAX];
    int rc = srv_txn_put(txn, srv_key(key, "order", id, NULL), doc, err);

    if (rc == SYN_OK && fresh)
        rc = srv_txn_put_text(txn, srv_key(key, "order-of", account, id), id, err);
    (void)srv_key(key, "order-open", account, id);
    if (rc == SYN_OK && open && fresh)
        rc = srv_txn_put_text(txn, key, id, err);
    if (rc == SYN_OK && !open && !fresh)
        rc = srv_txn_delete(txn, key, err);
    return rc;
}

/* The traces of the chunk's touches. */
static int
put_traces(struct market_work *work, struct srv_txn *txn, const struct chunk *chunk,
           struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < chunk->count; i++) {
        const struct market_touch *touch = &chunk->touches[i];
        const json_t *doc = json_array_get(chunk->docs, i);

        if (first_of(chunk, i, false))
            rc = put_held(work, txn, touch->account, err);
        if (rc == SYN_OK && touch->class != MARKET_NONE && first_of(chunk, i, true))
            rc = put_issued(work, txn, touch, err);
        if (rc == SYN_OK && json_is_object(doc))
            rc = put_order(txn, doc, err);
    }
    return rc < 0 ? rc
                  : srv_market_put_paid(work, txn, chunk->touches, chunk->docs, chunk->count, err);
}

/* How far this batch has got, while it is not through. */
static int
put_mark(const struct market_work *work, struct srv_txn *txn, const struct chunk *chunk,
         struct syn_err *err)
{
    SYN_JSON(mark);
    int rc;

    if (chunk->last && chunk->done == 1)
        return SYN_OK;
    if (chunk->last)
        return srv_txn_delete(txn, MARK_KEY, err);
    rc = syn_json_pack(&mark, err, "{s:I, s:I}", "first", (json_int_t)work->first, "done",
                       (json_int_t)chunk->done);
    return rc < 0 ? rc : srv_txn_put(txn, MARK_KEY, mark, err);
}

static int
put_money(struct market_work *work, struct srv_txn *txn, const struct chunk *chunk,
          struct syn_err *err)
{
    struct srv_ledger_place place;
    struct syn_ledger_tx tx;
    bool moves = false;
    int rc;

    for (size_t i = 0; i < chunk->entry_count; i++)
        moves = moves || chunk->entries[i].amount != 0;
    if (!moves)
        return SYN_OK;
    rc = srv_ledger_next(work->server, &place, err);
    if (rc == SYN_OK) {
        struct syn_ledger_head head = {place.id, place.seq, syn_wall_ms(work->server->world),
                                       "market", work->memo};

        rc = syn_ledger_build_transfers(&head, chunk->entries, chunk->entry_count, &tx, err);
    }
    return rc < 0 ? rc : srv_ledger_add(work->server, txn, &place, &tx, err);
}

static int
put_batch(struct market_work *work, struct srv_txn *txn, uint64_t first, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc;

    if (work->count == 0)
        return SYN_OK;
    rc = srv_txn_check(txn, srv_key_seq(key, "market-log", NULL, (int64_t)first), 0, err);
    return rc < 0 ? rc
                  : srv_txn_put_bytes(txn, key, work->batch.data + work->begin,
                                      work->batch.len - work->begin, err);
}

/* One attempt at the transaction; somebody else's may come between, at the ledger's head. */
static int
write_once(struct market_work *work, const struct chunk *chunk, uint64_t first,
           int64_t *ret_revision, struct syn_err *err)
{
    SRV_TXN(txn);
    int rc = put_batch(work, &txn, first, err);

    if (rc == SYN_OK)
        rc = put_traces(work, &txn, chunk, err);
    if (rc == SYN_OK)
        rc = put_mark(work, &txn, chunk, err);
    if (rc == SYN_OK)
        rc = put_money(work, &txn, chunk, err);
    if (rc == SYN_OK && chunk->done == 1 && work->also != NULL)
        rc = work->also(work, &txn, work->also_arg, err);
    if (rc == SYN_OK && chunk->done == 1 && work->req != NULL && work->order != NULL)
        rc = srv_idem_keep(work->server, &work->idem, &txn, work->status, work->order, err);
    if (rc == SYN_OK && txn.count > 0)
        rc = srv_txn_commit(work->server, &txn, ret_revision, err);
    return rc;
}

static int
write_chunk(struct market_work *work, const struct chunk *chunk, struct syn_err *err)
{
    uint64_t first = syn_exchange_events(work->exchange) - work->count;
    int64_t revision = 0;
    int rc = syn_buf_ok(&work->batch, err);

    if (rc == SYN_OK && work->count > 0)
        rc = syn_market_batch_seal(&work->batch, work->begin, first, work->count, err);
    for (int i = 0; rc == SYN_OK && i < SRV_RETRIES_MAX; i++) {
        rc = write_once(work, chunk, first, &revision, err);
        if (rc != SYN_STORE_CONFLICT)
            break;
        rc = SYN_OK;
        if (i + 1 == SRV_RETRIES_MAX)
            rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "others keep changing the ledger; try again");
        else
            srv_step_aside(work->server, i + 1, 0);
    }
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < chunk->count; i++) {
        char key[SRV_KEY_MAX];
        struct market_issued *issued;

        if (chunk->touches[i].class == MARKET_NONE)
            continue;
        issued = syn_map_find(
            work->market->issued,
            srv_key(key, syn_exchange_account_name(work->exchange, chunk->touches[i].account),
                    syn_exchange_class_name(work->exchange, chunk->touches[i].class), NULL));
        if (issued != NULL)
            issued->dirty = false;
    }
    if (chunk->done == 1 && work->order != NULL)
        rc = syn_json_set_i64(work->order, "revision", revision, err);
    return rc;
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* The order that it is all about first, then by number; what is of no order at the end. */
static int
by_order(const void *a, const void *b)
{
    const struct market_touch *left = a, *right = b;

    if (left->id != right->id)
        return left->id != 0 && (right->id == 0 || left->id < right->id) ? -1 : 1;
    if (left->account != right->account)
        return left->account < right->account ? -1 : 1;
    return left->class == right->class ? 0 : left->class < right->class ? -1 : 1;
}

static int
actors_first(const void *a, const void *b)
{
    const struct market_touch *left = a, *right = b;

    return left->actor != right->actor ? (left->actor ? -1 : 1) : by_order(a, b);
}

/* One touch an order. The ends of orders do not hang on the order of their touches, but for the
 * reason: the last that there is stands, and there is one at most. */
static void
merge(struct market_work *work)
{
    size_t kept = 0;

    if (work->touch_count == 0)
        return;
    qsort(work->touches, work->touch_count, sizeof(*work->touches), by_order);
    for (size_t i = 1; i < work->touch_count; i++) {
        struct market_touch *into = &work->touches[kept];
        const struct market_touch *touch = &work->touches[i];

        if (by_order(into, touch) != 0) {
            work->touches[++kept] = *touch;
            continue;
        }
        into->traded += touch->traded;
        into->paid += touch->paid;
        into->lost += touch->lost;
        into->why = SYN_MAX(into->why, touch->why);
        into->actor |= touch->actor;
        if (touch->replaced) {
            into->replaced = true;
            into->price = touch->price;
            into->qty = touch->qty;
        }
    }
    work->touch_count = kept + 1;
    qsort(work->touches, work->touch_count, sizeof(*work->touches), actors_first);
}

/* A fresh batch for what goes out with the next chunk. */
static void
batch_again(struct market_work *work)
{
    syn_buf_clear(&work->batch);
    work->begin = syn_market_batch_begin(&work->batch);
    work->count = 0;
}

int
srv_market_resume(struct market_work *work, size_t done, struct syn_err *err)
{
    struct market_touch *all;
    size_t total, at = done * MARKET_CHUNK;
    int rc = SYN_OK;

    merge(work);
    srv_market_debts_note(work);
    /* What goes out is touched already; what it would add is not wanted twice. */
    all = SYN_TAKE(work->touches);
    total = work->touch_count;
    work->touch_count = work->touch_cap = 0;
    do {
        SYN_SCOPED(chunk_fini) struct chunk chunk = {.touches = all + at, .done = ++done};

        chunk.count = at < total ? SYN_MIN(total - at, (size_t)MARKET_CHUNK) : 0;
        at += chunk.count;
        chunk.last = at >= total;
        if (done == 1 && work->payer != MARKET_NONE) {
            add_entry(&chunk, syn_exchange_account_name(work->exchange, work->payer),
                      -work->deposit);
            add_entry(&chunk, SYN_LEDGER_MARKET, work->deposit);
        }
        if (done == 1 && work->refund.amount > 0) {
            add_entry(&chunk, work->refund.from, -work->refund.amount);
            add_entry(&chunk, work->refund.to, work->refund.amount);
        }
        rc = let_out(work, &chunk, err);
        if (rc == SYN_OK)
            rc = write_chunk(work, &chunk, err);
        batch_again(work);
        work->written = work->written || rc == SYN_OK;
    } while (rc == SYN_OK && at < total);
    syn_free(all);
    return rc;
}

/* --- running ---------------------------------------------------------------------------------- */

static int
pass_time(struct market_work *work, struct syn_err *err)
{
    struct syn_market_event event = {
        .kind = SYN_EVENT_TIME,
        .at_ms = SYN_MAX(syn_wall_ms(work->server->world),
                         syn_books_now_ms(syn_exchange_books(work->exchange)))};
    struct syn_market_outcome outcome;

    return srv_market_apply(work, &event, &outcome, err);
}

/* Under the lock, with an exchange. */
static int
run(struct market_work *work, market_attempt_fn attempt, void *arg, struct syn_err *err)
{
    struct syn_err refused = {0};
    int refusal = SYN_OK;
    int rc = SYN_OK;

    if (work->req != NULL)
        rc = srv_idem_begin(work->server, work->req, &work->idem, err);
    if (rc != SYN_OK)
        return rc;
    rc = pass_time(work, err);
    if (rc == SYN_OK && attempt != NULL)
        refusal = attempt(work, arg, &refused);
    if (rc == SYN_OK && !work->batch.failed)
        rc = srv_market_resume(work, 0, err);
    else if (rc == SYN_OK)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for what an order did");
    if (rc < 0) {
        syn_log_err(SYN_LOG_WARN, "market.not-written", err);
        srv_market_reread(work->market);
        if (work->written) /* what was asked for stands; reading again goes on with the rest */
            rc = SYN_OK;
    }
    if (refusal != SYN_OK && err != NULL)
        *err = refused;
    return refusal != SYN_OK ? refusal : rc;
}

int
srv_market_run(struct syn_server *server, struct syn_http_req *req, market_attempt_fn attempt,
               void *arg, json_t **ret_order, struct syn_err *err)
{
    struct market_work work;
    int rc = srv_market_enter(server->market, err);

    if (rc < 0)
        return rc;
    srv_market_work_init(&work, server->market);
    work.req = req;
    work.status = req != NULL && syn_str_eq(syn_http_req_method(req), "POST") ? 201 : 200;
    rc = run(&work, attempt, arg, err);
    if (rc == SYN_OK && ret_order != NULL)
        *ret_order = SYN_TAKE(work.order);
    srv_market_work_fini(&work);
    srv_market_leave(server->market);
    if (server->controller != NULL)
        srv_controller_market(server->controller);
    return rc;
}
