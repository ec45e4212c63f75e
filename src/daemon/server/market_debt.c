/* Of whom units are, and what becomes of them when their seller has gone.
 *
 *     "market-debt/ACCOUNT/CLASS"       {"of": [[SELLER, UNITS, AGE], ...]}; less is older
 *     "market-gone/PROVIDER/TRIPLE"     since when no node of the provider takes work on these
 *                                       processors, though it owes units of them
 *
 * market/debts.h keeps the account in memory, told after every change. It is written down by the
 * clock, up to a second later: it follows from who issued and who holds what, which each change
 * writes itself, so a server that comes back brings what was written to what holds now. Documents
 * from before there were any are none, and all units get a seller then.
 *
 * A seller whose nodes have taken no work for a day has gone. What it owes and nobody has begun is
 * paid back at what its holder gave for it, as far as the seller has money: so many units go as can
 * be paid for, and the rest is tried again while it is owed. Should the seller come back meanwhile,
 * they are what they were. */
#include <inttypes.h>
#include <stdlib.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "market_priv.h"

#define DEBT_PREFIX "market-debt/"
#define GONE_PREFIX "market-gone/"
#define WRITE_BATCH 100 /* holders in one transaction */
#define PAID_MAX    100000

/* --- keeping ---------------------------------------------------------------------------------- */

/* What the account owes of the class, or (< 0) holds. */
static int64_t
net_of(const struct srv_market *market, const struct syn_exchange *exchange, uint32_t account,
       uint32_t class)
{
    struct syn_balance units = syn_exchange_capacity(exchange, account, class);

    return srv_market_issued(market, syn_exchange_account_name(exchange, account),
                             syn_exchange_class_name(exchange, class)) -
           units.free - units.held;
}

/* A debt as it was written. */
struct written {
    uint32_t class;
    struct syn_debt debt;
};

struct reading {
    const struct syn_exchange *exchange;
    struct written *rows;
    size_t count, cap;
};

static void
reading_fini(struct reading *reading)
{
    syn_free(reading->rows);
}

static int
by_age(const void *a, const void *b)
{
    const struct written *left = a, *right = b;

    return (left->debt.age > right->debt.age) - (left->debt.age < right->debt.age);
}

/* One document; a row that names nobody, or a document that is none, is left out: what it said is
 * made good by what is told afterwards. */
static int
read_debts(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct reading *reading = arg;
    const char *holder = key + sizeof(DEBT_PREFIX) - 1, *class = strchr(holder, '/');
    struct written row = {.class = SYN_NO_INDEX};
    char name[SYN_ID_MAX];
    size_t i;
    json_t *given;

    (void)revision;
    (void)snprintf(name, sizeof(name), "%.*s", class != NULL ? (int)(class - holder) : 0, holder);
    row.debt.holder = syn_exchange_find_account(reading->exchange, name);
    if (class != NULL)
        row.class = syn_exchange_find_class(reading->exchange, class + 1);
    json_array_foreach (json_object_get(doc, "of"), i, given) {
        const char *seller = json_string_value(json_array_get(given, 0));

        row.debt.seller =
            seller != NULL ? syn_exchange_find_account(reading->exchange, seller) : SYN_NO_INDEX;
        row.debt.units = json_integer_value(json_array_get(given, 1));
        row.debt.age = json_integer_value(json_array_get(given, 2));
        if (row.debt.holder == SYN_NO_INDEX || row.debt.seller == SYN_NO_INDEX ||
            row.class == SYN_NO_INDEX)
            continue;
        if (!syn_grow((void *)&reading->rows, &reading->cap, reading->count + 1,
                      sizeof(*reading->rows)))
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for whose units are whose");
        reading->rows[reading->count++] = row;
    }
    return SYN_OK;
}

static int
restore(struct reading *reading, struct syn_debts *debts, struct syn_err *err)
{
    int rc = SYN_OK;

    if (reading->count > 0)
        qsort(reading->rows, reading->count, sizeof(*reading->rows), by_age);
    for (size_t i = 0; rc == SYN_OK && i < reading->count; i++) {
        rc = syn_debts_restore(debts, reading->rows[i].class, &reading->rows[i].debt, err);
        if (rc == SYN_E_INVALID)
            rc = SYN_OK;
    }
    return rc;
}

int
srv_market_debts_read(struct srv_market *market, const struct syn_exchange *exchange,
                      struct syn_err *err)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;
    SYN_SCOPED(reading_fini) struct reading reading = {.exchange = exchange};
    int rc = syn_debts_new(&debts, err);

    market->debts = syn_debts_free(market->debts);
    if (rc == SYN_OK)
        rc = srv_each(market->server, DEBT_PREFIX, read_debts, &reading, err);
    if (rc == SYN_OK)
        rc = restore(&reading, debts, err);
    for (uint32_t class = 0; rc == SYN_OK && class < syn_exchange_classes(exchange); class ++) {
        for (uint32_t i = 0; rc == SYN_OK && i < syn_exchange_accounts(exchange); i++)
            rc = syn_debts_tell(debts, class, i, net_of(market, exchange, i, class), err);
        if (rc == SYN_OK)
            rc = syn_debts_settle(debts, class, err);
    }
    if (rc == SYN_OK)
        market->debts = SYN_TAKE(debts);
    return rc;
}

static int
note(struct market_work *work, struct syn_err *err)
{
    struct syn_debts *debts = work->market->debts;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < work->touch_count; i++) {
        const struct market_touch *touch = &work->touches[i];

        if (touch->class != MARKET_NONE && touch->account != SYN_NO_INDEX)
            rc = syn_debts_tell(debts, touch->class, touch->account,
                                net_of(work->market, work->exchange, touch->account, touch->class),
                                err);
    }
    for (size_t i = 0; rc == SYN_OK && i < work->touch_count; i++) {
        bool first = work->touches[i].class != MARKET_NONE;

        for (size_t j = i; j > 0 && first && i - j < 4; j--) /* most are of one class */
            first = work->touches[j - 1].class != work->touches[i].class;
        if (first)
            rc = syn_debts_settle(debts, work->touches[i].class, err);
    }
    return rc;
}

void
srv_market_debts_note(struct market_work *work)
{
    struct syn_err err = {0};

    if (work->market->debts != NULL && note(work, &err) < 0) /* the clock reads it again */
        work->market->debts = syn_debts_free(work->market->debts);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Which document, and the rows of it. */
static int
debt_document(const struct srv_market *market, uint32_t class, uint32_t holder, json_t **ret,
              struct syn_err *err)
{
    size_t cursor = 0;
    struct syn_debt debt;
    SYN_JSON(rows);
    int rc = SYN_OK;

    rows = json_array();
    if (rows == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for whose units are whose");
    while (rc == SYN_OK && syn_debts_next(market->debts, class, &cursor, &debt)) {
        json_t *row = NULL;

        if (debt.holder != holder)
            continue;
        rc = syn_json_pack(&row, err, "[s, I, I]",
                           syn_exchange_account_name(market->exchange, debt.seller),
                           (json_int_t)debt.units, (json_int_t)debt.age);
        if (rc == SYN_OK)
            rc = syn_json_append_take(rows, row, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(rows);
    return rc;
}

static int
put_debt(const struct srv_market *market, struct srv_txn *txn, uint32_t class, uint32_t holder,
         struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(rows);
    SYN_JSON(doc);
    int rc = debt_document(market, class, holder, &rows, err);

    (void)srv_key(key, "market-debt", syn_exchange_account_name(market->exchange, holder),
                  syn_exchange_class_name(market->exchange, class));
    if (rc == SYN_OK && json_array_size(rows) == 0)
        return srv_txn_delete(txn, key, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:O}", "of", rows);
    return rc < 0 ? rc : srv_txn_put(txn, key, doc, err);
}

/* Up to a transaction full of them. Under the lock, so that the next one finds what this wrote. */
static int
write_some(struct srv_market *market, bool *ret_more, struct syn_err *err)
{
    SRV_TXN(txn);
    uint32_t class = 0, holder = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK && txn.count < WRITE_BATCH &&
           syn_debts_changed(market->debts, &class, &holder))
        rc = put_debt(market, &txn, class, holder, err);
    *ret_more = txn.count == WRITE_BATCH;
    if (rc == SYN_OK && txn.count > 0)
        rc = srv_txn_commit(market->server, &txn, NULL, err);
    if (rc != SYN_OK) /* the next round reads what is written, and begins again */
        market->debts = syn_debts_free(market->debts);
    return rc < 0 ? rc : SYN_OK;
}

int
srv_market_debts_write(struct syn_server *server, struct syn_err *err)
{
    struct srv_market *market = server->market;
    bool more = true;
    int rc = SYN_OK;

    while (rc == SYN_OK && more) {
        rc = srv_market_enter(market, err);
        if (rc < 0)
            return rc;
        if (market->debts == NULL)
            rc = srv_market_debts_read(market, market->exchange, err);
        if (rc == SYN_OK)
            rc = write_some(market, &more, err);
        srv_market_leave(market);
    }
    return rc;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Since when no node of the seller's takes work on these processors; SYN_DOCUMENT_NONE: it does. */
static int
gone_since(struct syn_server *server, const char *seller, const char *triple, int64_t *ret,
           struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "market-gone", seller, triple), &doc, NULL, err);

    *ret = rc == SYN_OK ? syn_json_i64(doc, "since_ms", SYN_DOCUMENT_NONE) : SYN_DOCUMENT_NONE;
    return rc < 0 ? rc : SYN_OK;
}

int
srv_market_sellers(struct syn_server *server, uint32_t account, uint32_t class, json_t **ret,
                   struct syn_err *err)
{
    const struct srv_market *market = server->market;
    struct market_class_name name;
    size_t cursor = 0;
    struct syn_debt debt;
    SYN_JSON(rows);
    int rc = srv_market_class_parse(syn_exchange_class_name(market->exchange, class), &name, err);

    rows = json_array();
    if (rc == SYN_OK && rows == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for sellers");
    while (rc == SYN_OK && market->debts != NULL &&
           syn_debts_next(market->debts, class, &cursor, &debt)) {
        const char *seller = syn_exchange_account_name(market->exchange, debt.seller);
        int64_t since_ms;
        json_t *row = NULL;

        if (debt.holder != account)
            continue;
        rc = gone_since(server, seller, name.triple, &since_ms, err);
        if (rc == SYN_OK)
            rc = syn_json_pack(&row, err, "{s:s, s:I}", "provider", seller, "units",
                               (json_int_t)debt.units);
        if (rc == SYN_OK)
            rc = syn_document_set_time(row, "gone_since", since_ms, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(rows, SYN_TAKE(row), err);
        json_decref(row);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(rows);
    return rc;
}

/* --- paying back ------------------------------------------------------------------------------ */

/* What is owed by one seller of one class, holder by holder. */
struct paying {
    const char *seller;
    const char *class;
    size_t cursor; /* debts before it have been seen to */
    bool done;
    char holder[SYN_ID_MAX];
    struct market_paid left; /* what the holder's other units cost */
};

static int
write_paid(struct market_work *work, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct paying *paying = arg;

    (void)work;
    return srv_market_paid_put(txn, paying->holder, paying->class, &paying->left, err);
}

/* The next debt of this seller that can be paid back, and how many units of it; 0 for the last. */
static int
next_debt(struct market_work *work, struct paying *paying, struct syn_debt *ret, int64_t *ret_units,
          struct syn_err *err)
{
    const struct syn_exchange *exchange = work->exchange;
    uint32_t seller = syn_exchange_find_account(exchange, paying->seller);
    uint32_t class = syn_exchange_find_class(exchange, paying->class);
    int64_t balance = 0;
    int rc = srv_balance(work->server, paying->seller, &balance, err);

    *ret_units = 0;
    while (rc == SYN_OK && *ret_units == 0 && work->market->debts != NULL &&
           syn_debts_next(work->market->debts, class, &paying->cursor, ret)) {
        struct market_paid *paid = &paying->left;
        int64_t units;

        if (ret->seller != seller)
            continue;
        (void)syn_str_copy(paying->holder, sizeof(paying->holder),
                           syn_exchange_account_name(exchange, ret->holder));
        rc = srv_market_paid_load(work->server, paying->holder, paying->class, paid, err);
        units = SYN_MIN(ret->units, paid->units);
        if (rc < 0 || units <= 0 || paid->amount <= 0)
            continue;
        if ((syn_i128)paid->amount * units / paid->units > balance)
            units = (int64_t)((syn_i128)balance * paid->units / paid->amount);
        *ret_units = SYN_MIN(units, ret->units);
    }
    return rc;
}

/* Units that the holder offers are free again, as many as it takes: the newest offers go first. */
static int
free_units(struct market_work *work, uint32_t holder, uint32_t class, int64_t units,
           struct syn_err *err)
{
    int rc = SYN_OK;

    while (rc == SYN_OK && syn_exchange_capacity(work->exchange, holder, class).free < units) {
        struct syn_market_event event = {.kind = SYN_EVENT_CANCEL, .account = holder};
        struct syn_market_outcome outcome;
        struct syn_order_view view;
        uint64_t cursor = 0;

        while (syn_books_next(syn_exchange_books(work->exchange), class, SYN_SELL, &cursor, &view))
            if (syn_exchange_owner(work->exchange, view.owner) == holder && view.id > event.id)
                event.id = view.id;
        assert(event.id != 0); /* what it holds is free, or in an order */
        work->why = MARKET_WHY_CAPACITY;
        rc = srv_market_apply(work, &event, &outcome, err);
    }
    return rc;
}

static int
pay_back(struct market_work *work, void *arg, struct syn_err *err)
{
    struct paying *paying = arg;
    struct syn_market_event event = {.kind = SYN_EVENT_RETIRE};
    struct syn_market_outcome outcome;
    struct syn_debt debt;
    int rc = next_debt(work, paying, &debt, &event.qty, err);

    paying->done = event.qty == 0;
    if (rc < 0 || paying->done)
        return rc;
    paying->cursor = 0; /* debts move when this one goes */
    event.account = debt.holder;
    event.class = syn_exchange_find_class(work->exchange, paying->class);
    rc = free_units(work, debt.holder, event.class, event.qty, err);
    if (rc == SYN_OK)
        rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK)
        rc = srv_market_look_at(work, debt.holder, event.class, err);
    if (rc == SYN_OK)
        rc = srv_market_reissue(work, debt.seller, event.class, -event.qty, err);
    if (rc < 0) {
        work->batch.failed = true; /* applied in part: it must not be written */
        return rc;
    }
    work->refund.amount = srv_market_paid_take(&paying->left, event.qty);
    (void)syn_str_copy(work->refund.from, sizeof(work->refund.from), paying->seller);
    (void)syn_str_copy(work->refund.to, sizeof(work->refund.to), paying->holder);
    (void)snprintf(work->memo, sizeof(work->memo),
                   "refund: the seller of %" PRId64 " of %.70s left", event.qty, paying->class);
    work->also = write_paid;
    work->also_arg = paying;
    syn_log(SYN_LOG_WARN, "market.seller-left",
            "seller=%s holder=%s class=%s units=%" PRId64 " refund=%" PRId64, paying->seller,
            paying->holder, paying->class, event.qty, work->refund.amount);
    return SYN_OK;
}

static int
pay_all(struct syn_server *server, const char *seller, const char *triple, struct syn_err *err)
{
    const char *duration;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && (duration = srv_market_duration(i)) != NULL; i++) {
        char class[MARKET_TRIPLE_MAX + MARKET_WORD_MAX];
        struct paying paying = {.seller = seller, .class = class};

        (void)snprintf(class, sizeof(class), "%s/%s", triple, duration);
        for (int n = 0; rc == SYN_OK && !paying.done && n < PAID_MAX; n++)
            rc = srv_market_run(server, NULL, pay_back, &paying, NULL, err);
    }
    return rc;
}

/* --- who has gone ----------------------------------------------------------------------------- */

/* "SELLER/TRIPLE" of all that owe units, in a map of nothing. */
static int
owing(struct srv_market *market, struct syn_map *ret, struct syn_err *err)
{
    size_t cursor = 0;
    const char *key;
    int rc = srv_market_enter(market, err);

    if (rc < 0)
        return rc;
    while (rc == SYN_OK && syn_map_next(market->issued, &cursor, &key, NULL)) {
        char seller[SYN_ID_MAX], row[SRV_KEY_MAX];
        const char *class = strchr(key, '/') + 1;
        char *mark;

        (void)snprintf(seller, sizeof(seller), "%.*s", (int)(class - 1 - key), key);
        (void)snprintf(row, sizeof(row), "%.*s", (int)(strrchr(key, '/') - key), key);
        if (srv_market_owed(market, seller, class) <= 0 || syn_map_find(ret, row) != NULL)
            continue;
        mark = syn_strdup(row);
        rc = mark != NULL ? syn_map_put_take(ret, row, mark, err)
                          : SYN_FAIL(err, SYN_E_NOMEM, "no memory for who owes units");
    }
    srv_market_leave(market);
    return rc;
}

struct looking {
    struct syn_server *server;
    const struct market_supply *supply;
    struct syn_map *owing;
    struct srv_txn *txn;
};

/* A mark of who does not owe any more, or is back. */
static int
look_at_mark(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct looking *looking = arg;
    const char *row = key + sizeof(GONE_PREFIX) - 1;

    (void)doc;
    (void)revision;
    if (syn_map_find(looking->owing, row) != NULL &&
        syn_map_find(looking->supply->there, row) == NULL)
        return SYN_OK;
    return looking->txn->count < WRITE_BATCH ? srv_txn_delete(looking->txn, key, err) : SYN_OK;
}

/* One that owes and takes no work: is it time? */
static int
look_at_absent(const struct looking *looking, const char *row, bool *ret_gone, struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(looking->server->world), since_ms;
    const char *triple = strchr(row, '/') + 1;
    char seller[SYN_ID_MAX], key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    (void)snprintf(seller, sizeof(seller), "%.*s", (int)(triple - 1 - row), row);
    rc = gone_since(looking->server, seller, triple, &since_ms, err);
    *ret_gone =
        rc == SYN_OK && since_ms != SYN_DOCUMENT_NONE && now_ms - since_ms >= MARKET_GONE_MS;
    if (rc < 0 || since_ms != SYN_DOCUMENT_NONE || looking->txn->count >= WRITE_BATCH)
        return rc;
    rc = syn_json_pack(&doc, err, "{s:I}", "since_ms", (json_int_t)now_ms);
    return rc < 0 ? rc
                  : srv_txn_put(looking->txn, srv_key(key, "market-gone", row, NULL), doc, err);
}

int
srv_market_gone(struct syn_server *server, const struct market_supply *supply, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *owed = NULL;
    SRV_TXN(txn);
    struct looking looking = {.server = server, .supply = supply, .txn = &txn};
    size_t cursor = 0;
    const char *row;
    int rc = syn_map_new(syn_free, &owed, err);

    if (rc == SYN_OK)
        rc = owing(server->market, owed, err);
    looking.owing = owed;
    if (rc == SYN_OK)
        rc = srv_each(server, GONE_PREFIX, look_at_mark, &looking, err);
    while (rc == SYN_OK && syn_map_next(owed, &cursor, &row, NULL)) {
        bool gone = false;

        if (syn_map_find(supply->there, row) == NULL)
            rc = look_at_absent(&looking, row, &gone, err);
        if (rc == SYN_OK && gone) {
            const char *triple = strchr(row, '/') + 1;
            char seller[SYN_ID_MAX];

            (void)snprintf(seller, sizeof(seller), "%.*s", (int)(triple - 1 - row), row);
            rc = pay_all(server, seller, triple, err);
        }
    }
    if (rc == SYN_OK && txn.count > 0)
        rc = srv_txn_commit(server, &txn, NULL, err);
    return rc < 0 ? rc : SYN_OK;
}
