/* The spot market: market/exchange.h joined to the ledger, the nodes and the disk.
 *
 * One exchange in memory, under one lock. Whoever changes it (market_work.c) holds the lock until
 * the change is in the store, so that nobody ever sees, or is told of, what could still be undone.
 *
 * Money is in the exchange only while an order rests, capacity only while it is offered or somebody
 * else's: what an order needs comes in with it and what is free goes out, in the same transaction.
 * The ledger's account `system:market` has what is in the exchange, to the base unit; the start
 * checks it, and that nobody issued more or less than there is.
 *
 * The log is documents of the store, one a batch, so that a batch and the ledger's transaction are
 * written together or not at all. A snapshot is a file, since it may be large:
 *
 *     server/market.snapshot       the newest
 *     server/market.snapshot.old   the one before; the log reaches back to it
 *
 * so that a file that the disk has spoilt costs nothing but reading more of the log. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/loop.h>
#include <synor/base/mem.h>
#include <synor/base/pool.h>
#include <synor/base/str.h>

#include "market_priv.h"

#define MARK_KEY       "market-mark"
#define LOG_PREFIX     "market-log/"
#define ISSUED_PREFIX  "market-issued/"
#define SNAPSHOT_BYTES ((size_t)1 << 32)
#define TRIM_BATCH     200 /* log batches forgotten in one transaction */
#define FIT_MAX        10000

/* --- files ------------------------------------------------------------------------------------ */

static const char *
path_of(const struct syn_server *server, const char *suffix, char *out)
{
    (void)snprintf(out, SRV_PATH_MAX, "%s/server/market.snapshot%s", server->data_dir, suffix);
    return out;
}

static int
read_all(int fd, size_t size, struct syn_buf *out, struct syn_err *err)
{
    while (out->len < size) {
        char *room = syn_buf_reserve(out, size - out->len + 1);
        ssize_t got = room != NULL ? read(fd, room, size - out->len) : 0;

        if (room == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %zu bytes", size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "reading it");
        if (got == 0)
            break;
        out->len += (size_t)got;
    }
    return SYN_OK;
}

/* Returns 0; SRV_ABSENT. */
static int
read_file(const char *path, struct syn_buf *out, struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int rc;

    if (fd < 0 && errno == ENOENT)
        return SRV_ABSENT;
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening it");
    if (fstat(fd, &st) != 0)
        rc = SYN_FAIL_SYS(err, errno, "reading it");
    else if (st.st_size < 0 || (size_t)st.st_size > SNAPSHOT_BYTES)
        rc = SYN_FAIL(err, SYN_E_TOOBIG, "it is larger than any snapshot");
    else
        rc = read_all(fd, (size_t)st.st_size, out, err);
    (void)close(fd);
    return rc;
}

static int
write_all(int fd, const char *data, size_t len, struct syn_err *err)
{
    while (len > 0) {
        ssize_t put = write(fd, data, len);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return SYN_FAIL_SYS(err, errno, "writing it");
        data += put;
        len -= (size_t)put;
    }
    return fsync(fd) == 0 ? SYN_OK : SYN_FAIL_SYS(err, errno, "syncing it");
}

static int
sync_folder(const struct syn_server *server, struct syn_err *err)
{
    char path[SRV_PATH_MAX];
    int rc = SYN_OK;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/server", server->data_dir);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        rc = SYN_FAIL_SYS(err, errno, "syncing %s", path);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* The newest takes the place of the one before; a crash anywhere leaves at least one whole. */
static int
write_snapshot(const struct syn_server *server, const struct syn_buf *data, struct syn_err *err)
{
    char fresh[SRV_PATH_MAX], now[SRV_PATH_MAX], old[SRV_PATH_MAX];
    int fd = open(path_of(server, ".new", fresh), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", fresh);
    rc = write_all(fd, data->data, data->len, err);
    (void)close(fd);
    if (rc == SYN_OK && rename(path_of(server, "", now), path_of(server, ".old", old)) != 0 &&
        errno != ENOENT)
        rc = SYN_FAIL_SYS(err, errno, "renaming it");
    if (rc == SYN_OK && rename(fresh, now) != 0)
        rc = SYN_FAIL_SYS(err, errno, "renaming it");
    if (rc == SYN_OK)
        rc = sync_folder(server, err);
    if (rc < 0)
        (void)unlink(fresh);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", now) : SYN_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* What the start of a server, or of a change that failed, reads. */
struct reading {
    struct syn_server *server;
    struct srv_market *market;
    struct market_work work; /* of the batch that was not through; its exchange is the one read */
    uint64_t marked;         /* first event of that batch */
    size_t done;             /* its chunks that are written; 0: there is none */
};

/* The snapshot of this suffix. Returns 0; SRV_ABSENT. */
static int
restore(struct reading *reading, const char *suffix, struct syn_err *err)
{
    char path[SRV_PATH_MAX];
    SYN_BUF(data);
    int rc = read_file(path_of(reading->server, suffix, path), &data, err);

    if (rc == SYN_OK)
        rc = syn_exchange_restore(data.data, data.len, &reading->work.exchange, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", path) : rc;
}

static int
restore_any(struct reading *reading, struct syn_err *err)
{
    struct syn_err why = {0};
    int newest = restore(reading, "", &why);
    int rc;

    if (newest == SYN_OK || newest == SYN_E_NOMEM) {
        if (newest < 0 && err != NULL)
            *err = why;
        return newest;
    }
    rc = restore(reading, ".old", err);
    if (rc == SYN_OK && newest < 0)
        syn_log_err(SYN_LOG_WARN, "market.snapshot-spoilt", &why);
    if (rc == SRV_ABSENT && newest == SRV_ABSENT)
        return syn_exchange_new(&reading->work.exchange, err);
    if (rc == SRV_ABSENT) {
        if (err != NULL)
            *err = why;
        return newest;
    }
    return rc;
}

/* As syn_exchange_replay(), and of the batch that was not through note what it did. */
static int
replay(struct reading *reading, const struct syn_market_batch *batch, struct syn_err *err)
{
    size_t at = 0;
    int rc = SYN_OK;

    if (reading->done == 0 || batch->first != reading->marked)
        return syn_exchange_replay(reading->work.exchange, batch, err);
    for (uint32_t i = 0; rc == SYN_OK && i < batch->count; i++) {
        struct syn_market_event event;
        struct syn_market_outcome outcome;

        rc = syn_market_event_decode(batch->events, batch->len, &at, &event, err);
        if (rc == SYN_OK)
            rc = syn_exchange_apply(reading->work.exchange, &event, &outcome, err);
        if (rc == SYN_OK)
            rc = srv_market_note(&reading->work, &event, &outcome, err);
    }
    return rc;
}

static int
replay_doc(struct reading *reading, const struct syn_store_doc *doc, struct syn_err *err)
{
    struct syn_market_batch batch;
    size_t at = 0;
    int rc = syn_market_log_next(doc->value, doc->len, &at,
                                 syn_exchange_events(reading->work.exchange), &batch, err);

    if (rc == SYN_OK && at != doc->len)
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "more than one batch");
    if (rc > 0)
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "no whole batch");
    if (rc == SYN_OK)
        rc = replay(reading, &batch, err);
    return rc < 0 ? syn_err_wrap(err, rc, "document %s", doc->key) : SYN_OK;
}

static int
replay_log(struct reading *reading, struct syn_err *err)
{
    uint64_t events = syn_exchange_events(reading->work.exchange);
    struct syn_store_range range = {.prefix = LOG_PREFIX};
    char after[SRV_KEY_MAX];
    bool more = true;
    int rc = SYN_OK;

    if (events > 0)
        range.after = srv_key_seq(after, "market-log", NULL, (int64_t)events - 1);
    while (rc == SYN_OK && more) {
        struct syn_store_page page = {0};

        rc = syn_store_list(reading->server->store, &range, &page, err);
        for (size_t i = 0; rc == SYN_OK && i < page.count; i++) {
            rc = replay_doc(reading, page.docs[i], err);
            (void)syn_str_copy(after, sizeof(after), page.docs[i]->key);
        }
        more = page.more;
        range.after = after;
        syn_store_page_fini(&page);
    }
    return rc;
}

static int
add_issued(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_map *map = arg;
    struct market_issued *issued = syn_calloc(1, sizeof(*issued));

    (void)revision;
    if (issued == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what providers issued");
    issued->count = syn_json_i64(doc, "issued", 0);
    return syn_map_put_take(map, key + sizeof(ISSUED_PREFIX) - 1, issued, err);
}

/* Units of each class, as providers issued them. */
static int
check_issued(const struct srv_market *market, const struct syn_exchange *exchange,
             struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) int64_t *sums = NULL;
    size_t cursor = 0;
    const char *key;
    void *issued;

    sums = syn_calloc((size_t)syn_exchange_classes(exchange) + 1, sizeof(*sums));
    if (sums == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what providers issued");
    while (syn_map_next(market->issued, &cursor, &key, &issued)) {
        uint32_t class = syn_exchange_find_class(exchange, strchr(key, '/') + 1);

        if (class == SYN_NO_INDEX)
            return SYN_FAIL(err, SYN_E_CORRUPT, "%s was issued, and is no class", key);
        sums[class] += ((const struct market_issued *)issued)->count;
    }
    for (uint32_t class = 0; class < syn_exchange_classes(exchange); class ++) {
        int64_t units = syn_exchange_capacity_total(exchange, class);

        if (units != sums[class])
            return SYN_FAIL(err, SYN_E_CORRUPT,
                            "of %s there are %" PRId64 " units, and %" PRId64 " were issued",
                            syn_exchange_class_name(exchange, class), units, sums[class]);
    }
    return SYN_OK;
}

/* The exchange must be what ledger and documents say. */
static int
check_read(const struct reading *reading, struct syn_err *err)
{
    const struct syn_exchange *exchange = reading->work.exchange;
    char in[SYN_FORMAT_MAX], told[SYN_FORMAT_MAX];
    int64_t money = syn_exchange_money_total(exchange), balance = 0;
    int rc = srv_balance(reading->server, SYN_LEDGER_MARKET, &balance, err);

    if (rc == SYN_OK && money != balance)
        return SYN_FAIL(err, SYN_E_CORRUPT,
                        "orders hold %s SYNOR and the ledger's " SYN_LEDGER_MARKET " has %s",
                        syn_format_amount(money, in), syn_format_amount(balance, told));
    return rc < 0 ? rc : check_issued(reading->market, exchange, err);
}

static int
read_mark(struct reading *reading, struct syn_err *err)
{
    SYN_JSON(mark);
    int rc = srv_load(reading->server, MARK_KEY, &mark, NULL, err);

    if (rc < 0)
        return rc;
    reading->marked = (uint64_t)syn_json_i64(mark, "first", 0);
    reading->done = (size_t)syn_json_i64(mark, "done", 0);
    return SYN_OK;
}

static int
read_market(struct reading *reading, struct syn_err *err)
{
    struct srv_market *market = reading->market;
    int rc = read_mark(reading, err);

    (void)syn_map_free(market->issued);
    market->issued = NULL;
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &market->issued, err);
    if (rc == SYN_OK)
        rc = srv_each(reading->server, ISSUED_PREFIX, add_issued, market->issued, err);
    if (rc == SYN_OK)
        rc = srv_market_uses_read(market, err);
    if (rc == SYN_OK)
        rc = restore_any(reading, err);
    if (rc < 0)
        return rc;
    market->saved = syn_exchange_events(reading->work.exchange);
    rc = replay_log(reading, err);
    if (rc == SYN_OK)
        rc = check_read(reading, err);
    return rc < 0 ? rc : srv_market_debts_read(market, reading->work.exchange, err);
}

/* Go on with a batch whose traces were not through. */
static int
finish_batch(struct reading *reading, struct syn_err *err)
{
    struct market_work *work = &reading->work;

    if (reading->done == 0)
        return SYN_OK;
    work->first = reading->marked;
    work->begin = syn_market_batch_begin(&work->batch);
    return srv_market_resume(work, reading->done, err);
}

void
srv_market_reread(struct srv_market *market)
{
    struct reading reading = {.server = market->server, .market = market};
    struct syn_err err = {0};
    int rc;

    reading.work = (struct market_work){
        .server = market->server, .market = market, .status = 200, .payer = MARKET_NONE};
    (void)snprintf(reading.work.memo, sizeof(reading.work.memo), "spot market");
    market->exchange = syn_exchange_free(market->exchange);
    market->tried_ms = syn_mono_ms(market->server->world);
    rc = read_market(&reading, &err);
    if (rc == SYN_OK)
        rc = finish_batch(&reading, &err);
    if (rc == SYN_OK)
        market->exchange = SYN_TAKE(reading.work.exchange);
    (void)syn_exchange_free(reading.work.exchange);
    srv_market_work_fini(&reading.work);
    if (rc < 0) {
        market->why = err;
        syn_log_err(SYN_LOG_ERROR, "market.closed", &err);
    }
}

/* --- the lock --------------------------------------------------------------------------------- */

int
srv_market_enter(struct srv_market *market, struct syn_err *err)
{
    (void)pthread_mutex_lock(&market->lock);
    if (market->exchange != NULL)
        return SYN_OK;
    (void)SYN_FAIL(err, SYN_E_UNAVAILABLE, "the market is closed: %s", market->why.msg);
    (void)pthread_mutex_unlock(&market->lock);
    return SYN_E_UNAVAILABLE;
}

void
srv_market_leave(struct srv_market *market)
{
    (void)pthread_mutex_unlock(&market->lock);
}

/* --- snapshots -------------------------------------------------------------------------------- */

/* Forget the batches before this event. */
static int
trim_log(struct syn_server *server, uint64_t events, struct syn_err *err)
{
    char end[SRV_KEY_MAX];
    const struct syn_store_range range = {.prefix = LOG_PREFIX, .limit = TRIM_BATCH};
    bool more = true;
    int rc = SYN_OK;

    (void)srv_key_seq(end, "market-log", NULL, (int64_t)events);
    while (rc == SYN_OK && more) {
        struct syn_store_page page = {0};
        SRV_TXN(txn);

        rc = syn_store_list(server->store, &range, &page, err);
        for (size_t i = 0; rc == SYN_OK && i < page.count; i++) {
            if (strcmp(page.docs[i]->key, end) < 0)
                rc = srv_txn_delete(&txn, page.docs[i]->key, err);
        }
        more = page.more && txn.count == page.count;
        if (rc == SYN_OK && txn.count > 0)
            rc = srv_txn_commit(server, &txn, NULL, err);
        syn_store_page_fini(&page);
    }
    return rc < 0 ? rc : SYN_OK;
}

int
srv_market_save(struct syn_server *server, struct syn_err *err)
{
    struct srv_market *market = server->market;
    uint64_t events, before;
    SYN_BUF(data);
    int rc = srv_market_enter(market, err);

    if (rc < 0)
        return rc;
    events = syn_exchange_events(market->exchange);
    before = market->saved;
    rc = syn_exchange_snapshot(market->exchange, &data, err);
    srv_market_leave(market);
    if (rc == SYN_OK)
        rc = write_snapshot(server, &data, err);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&market->lock);
    market->saved = events;
    (void)pthread_mutex_unlock(&market->lock);
    return trim_log(server, before, err);
}

/* --- what nodes have, again and again --------------------------------------------------------- */

/* The newest sell order of a provider that has issued more than its nodes have. */
struct excess {
    uint64_t id; /* 0: there is none */
    uint32_t account;
    uint32_t class;
};

/* One row of what was issued, "ACCOUNT/CLASS". */
static void
look_at(const struct srv_market *market, const struct market_supply *supply, const char *key,
        struct excess *excess)
{
    const char *class_text = strchr(key, '/') + 1;
    struct market_class_name name;
    struct syn_order_view view;
    char provider[SYN_ID_MAX];
    uint32_t account, class;
    uint64_t cursor = 0;

    (void)snprintf(provider, sizeof(provider), "%.*s", (int)(class_text - 1 - key), key);
    if (srv_market_class_parse(class_text, &name, NULL) < 0 ||
        srv_market_committed(market, provider, name.triple) <=
            srv_market_supply_of(supply, provider, name.triple))
        return;
    account = syn_exchange_find_account(market->exchange, provider);
    class = syn_exchange_find_class(market->exchange, class_text);
    if (syn_exchange_capacity(market->exchange, account, class).held == 0)
        return;
    while (syn_books_next(syn_exchange_books(market->exchange), class, SYN_SELL, &cursor, &view)) {
        if (syn_exchange_owner(market->exchange, view.owner) == account && view.id > excess->id)
            *excess = (struct excess){view.id, account, class};
    }
}

static int
find_excess(struct srv_market *market, const struct market_supply *supply, struct excess *ret,
            struct syn_err *err)
{
    int rc = srv_market_enter(market, err);
    size_t cursor = 0;
    const char *key;

    *ret = (struct excess){.id = 0};
    if (rc < 0)
        return rc;
    while (syn_map_next(market->issued, &cursor, &key, NULL))
        look_at(market, supply, key, ret);
    srv_market_leave(market);
    return SYN_OK;
}

static int
cancel_excess(struct market_work *work, void *arg, struct syn_err *err)
{
    const struct excess *excess = arg;
    struct syn_market_event event = {
        .kind = SYN_EVENT_CANCEL, .account = excess->account, .id = excess->id};
    struct syn_market_outcome outcome;
    struct syn_order_view view;

    if (!syn_books_find(syn_exchange_books(work->exchange), excess->id, &view))
        return SYN_OK; /* it has gone meanwhile */
    work->why = MARKET_WHY_CAPACITY;
    syn_log(SYN_LOG_WARN, "market.offer-without-capacity", "order=%" PRIu64 " class=%s provider=%s",
            event.id, syn_exchange_class_name(work->exchange, excess->class),
            syn_exchange_account_name(work->exchange, excess->account));
    return srv_market_apply(work, &event, &outcome, err);
}

int
srv_market_fit(struct syn_server *server, struct syn_err *err)
{
    MARKET_SUPPLY(supply);
    struct excess excess;
    int rc = srv_market_supply_read(server, &supply, err);

    for (int i = 0; rc == SYN_OK && i < FIT_MAX; i++) {
        rc = find_excess(server->market, &supply, &excess, err);
        if (rc < 0 || excess.id == 0)
            break;
        rc = srv_market_run(server, NULL, cancel_excess, &excess, NULL, err);
    }
    return rc < 0 ? rc : srv_market_gone(server, &supply, err);
}

/* --- the timer -------------------------------------------------------------------------------- */

/* What there is to do. */
struct chores {
    bool reread, pass, save, fit;
};

static struct chores
chores_of(struct srv_market *market)
{
    const struct syn_exchange *exchange;
    int64_t now_ms = syn_mono_ms(market->server->world);
    struct chores chores = {0};

    (void)pthread_mutex_lock(&market->lock);
    exchange = market->exchange;
    if (exchange == NULL) {
        chores.reread = market->tried_ms + MARKET_LOOK_MS <= now_ms;
    } else {
        chores.pass = syn_books_next_end_ms(syn_exchange_books(exchange)) <=
                      syn_wall_ms(market->server->world);
        chores.save = syn_exchange_events(exchange) - market->saved >= MARKET_SAVE_EVERY;
        chores.fit = syn_map_count(market->issued) + syn_map_count(market->uses) > 0 &&
                     market->looked_ms + MARKET_LOOK_MS <= now_ms;
    }
    if (chores.fit)
        market->looked_ms = now_ms;
    if (chores.reread)
        srv_market_reread(market);
    (void)pthread_mutex_unlock(&market->lock);
    return chores;
}

int
srv_market_tick(struct syn_server *server, struct syn_err *err)
{
    struct chores chores = chores_of(server->market);
    int rc = SYN_OK;

    if (chores.pass)
        rc = srv_market_run(server, NULL, NULL, NULL, NULL, err);
    if (rc == SYN_OK && chores.fit)
        rc = srv_market_fit(server, err);
    if (rc == SYN_OK && chores.fit)
        rc = srv_market_uses_sweep(server, err);
    if (rc == SYN_OK && !chores.reread)
        rc = srv_market_debts_write(server, err);
    if (rc == SYN_OK && chores.save)
        rc = srv_market_save(server, err);
    return rc;
}

static void
tick_now(void *arg)
{
    struct srv_market *market = arg;
    struct syn_err err = {0};

    if (srv_market_tick(market->server, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "market.tick-failed", &err);
    atomic_store(&market->ticking, false);
}

static void
on_timer(void *arg)
{
    struct srv_market *market = arg;
    struct syn_err err = {0};

    if (atomic_exchange(&market->ticking, true))
        return;
    if (syn_pool_run(market->server->pool, tick_now, market, &err) < 0) {
        atomic_store(&market->ticking, false);
        syn_log_err(SYN_LOG_WARN, "market.tick-not-run", &err);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

int
srv_market_new(struct syn_server *server, struct srv_market **ret, struct syn_err *err)
{
    struct srv_market *market = syn_calloc(1, sizeof(*market));
    int rc;

    if (market == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the market");
    market->server = server;
    atomic_init(&market->ticking, false);
    (void)pthread_mutex_init(&market->lock, NULL);
    (void)pthread_mutex_init(&market->capacity, NULL);
    srv_market_reread(market);
    rc = syn_loop_timer(server->loop, MARKET_TICK_MS, MARKET_TICK_MS, on_timer, market,
                        &market->timer, err);
    if (rc < 0) {
        (void)srv_market_free(market);
        return rc;
    }
    *ret = market;
    return SYN_OK;
}

void
srv_market_quiet(struct srv_market *market)
{
    market->timer = syn_watch_drop(market->timer);
}

struct srv_market *
srv_market_free(struct srv_market *market)
{
    if (market == NULL)
        return NULL;
    srv_market_quiet(market);
    market->exchange = syn_exchange_free(market->exchange);
    market->issued = syn_map_free(market->issued);
    market->uses = syn_map_free(market->uses);
    market->debts = syn_debts_free(market->debts);
    (void)pthread_mutex_destroy(&market->lock);
    (void)pthread_mutex_destroy(&market->capacity);
    syn_free(market);
    return NULL;
}
