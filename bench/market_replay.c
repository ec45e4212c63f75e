/* Plays a file of order records into the market and says which trades came out, and how fast.
 *
 *     market-replay FILE                  the order books alone
 *     market-replay --accounts FILE       the exchange: accounts, holds, classes
 *     market-replay --journal DIR FILE    the exchange, and every event is on disk before it
 * counts; goes on where a log in DIR ends market-replay --recover DIR         the exchange from the
 * log in DIR alone
 *
 * A record is 24 bytes: op ('A' limit, 'I' immediate or cancel, 'C' cancel, 'R' reduce), side (0
 * buy, 1 sell), book (16 bits), quantity (32), order id (64), price (64), little-endian. The
 * checksum is over taker, maker, price and quantity of every trade, in order. `mops` is millions of
 * records a second: of the processor's time, with a journal of the clock.
 *
 * Records know no accounts: ACCOUNTS buyers and as many sellers, chosen by order id, get more money
 * and capacity than they can use; they are checked and moved all the same. Buyers never sell, so
 * self-trade prevention, which is on, changes no trade.
 *
 * The journal is group commit: one thread writes and syncs a batch while the next one gathers. The
 * time of the exchange counts the records, so that the log itself says how far it goes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/units.h>
#include <synor/market/exchange.h>

#define ACCOUNTS    500
#define RECORD_SIZE 24
#define AHEAD       8    /* records between the stages of prefetching */
#define RING        32   /* events made ready ahead; more than three times that */
#define GATHER      256  /* records before it is looked whether the disk is idle */
#define LOOK        4096 /* records before it is looked whether prefetching is worth it */
#define PENDING_MAX ((size_t)8 << 20)
#define CAPACITY    (INT64_C(1) << 48)

struct record {
    uint8_t op;
    uint8_t side;
    uint16_t book;
    uint32_t qty;
    uint64_t id;
    int64_t price;
};

static_assert(sizeof(struct record) == RECORD_SIZE, "records are read as they are");

/* A batch gathers in one buffer while the thread writes the other. */
struct journal {
    int fd;
    struct syn_buf buffers[2];
    size_t begin; /* of the batch in the gathering buffer */
    uint64_t first;
    unsigned gathering;
    unsigned commits;
    bool busy;
    bool ending;
    int error; /* errno of the thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

struct replay {
    struct record *records;
    size_t count;
    uint32_t books;
    struct syn_books *core; /* one of the two */
    struct syn_exchange *exchange;
    struct journal *journal;
    struct syn_order orders[RING];        /* what record i asks of the books is at i % RING; */
    struct syn_market_event events[RING]; /* and of the exchange */
    uint64_t checksum;
    uint64_t trades;
    uint64_t ignored; /* cancels and reductions of what rests no more */
};

static void
die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "market-replay: %s: %s\n", what,
                  err != NULL ? err->msg : strerror(errno));
    exit(1);
}

static double
seconds(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* All of a file; *ret_size bytes. */
static char *
read_file(const char *path, size_t *ret_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    size_t at = 0;
    char *data;

    if (fd < 0 || fstat(fd, &stat) < 0)
        die(path, NULL);
    data = syn_alloc((size_t)stat.st_size + 1);
    if (data == NULL)
        die(path, NULL);
    while (at < (size_t)stat.st_size) {
        ssize_t got = read(fd, data + at, (size_t)stat.st_size - at);

        if (got <= 0)
            die(path, NULL);
        at += (size_t)got;
    }
    (void)close(fd);
    *ret_size = at;
    return data;
}

static void
load(struct replay *replay, const char *path)
{
    struct syn_err err = {0};
    size_t size;

    replay->records = (struct record *)(void *)read_file(path, &size);
    replay->count = size / RECORD_SIZE;
    if (size % RECORD_SIZE != 0)
        (void)syn_err_set(&err, SYN_E_INVALID, 0, __FILE__, __LINE__,
                          "record %zu is cut off after %zu bytes", replay->count,
                          size % RECORD_SIZE);
    for (size_t i = 0; i < replay->count && err.code == 0; i++) {
        const struct record *record = &replay->records[i];

        if (strchr("AICR", record->op) == NULL || record->op == '\0')
            (void)syn_err_set(&err, SYN_E_INVALID, 0, __FILE__, __LINE__,
                              "record %zu: op: %d is none", i, record->op);
        if (record->side > 1)
            (void)syn_err_set(&err, SYN_E_INVALID, 0, __FILE__, __LINE__,
                              "record %zu: side: %d is none", i, record->side);
        if (record->book >= replay->books)
            replay->books = record->book + 1U;
    }
    if (err.code != 0)
        die(path, &err);
}

static void
mix(struct replay *replay, uint64_t value)
{
    replay->checksum = (replay->checksum ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    replay->checksum ^= replay->checksum >> 29;
}

static void
count_trades(struct replay *replay, const struct syn_book_effect *effects, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (effects[i].what != SYN_BOOK_TRADE)
            continue;
        replay->trades++;
        mix(replay, effects[i].taker);
        mix(replay, effects[i].maker);
        mix(replay, (uint64_t)effects[i].price);
        mix(replay, (uint64_t)effects[i].qty);
    }
}

/* ---- the books alone ---- */

/* Without a quantity it names the order to cancel or reduce. */
static void
order_of(const struct record *record, struct syn_order *order)
{
    bool arrives = record->op == 'A' || record->op == 'I';

    order->id = record->id;
    order->price = record->price;
    order->qty = arrives ? record->qty : 0;
    order->book = record->book;
    order->side = record->side;
    order->kind = record->op == 'I' ? SYN_ORDER_IOC : SYN_ORDER_LIMIT;
}

static int
core_record(struct replay *replay, size_t i, struct syn_err *err)
{
    const struct record *record = &replay->records[i];
    struct syn_order_result result;

    if (record->op == 'C')
        return syn_books_cancel(replay->core, record->id, err);
    if (record->op == 'R')
        return syn_books_reduce(replay->core, record->id, record->qty, err);
    return syn_books_add(replay->core, &replay->orders[i % RING], &result, err);
}

static void
core_open(struct replay *replay)
{
    struct syn_err err = {0};
    uint32_t book;
    int rc = syn_books_new(&replay->core, &err);

    for (uint32_t i = 0; i < replay->books && rc == 0; i++)
        rc = syn_books_open(replay->core, &book, &err);
    if (rc < 0)
        die("opening the books", &err);
}

/* ---- the exchange ---- */

static uint32_t
account_of(const struct record *record)
{
    uint32_t spread = (uint32_t)(record->id * UINT64_C(0x9E3779B97F4A7C15) >> 32);

    return (uint32_t)((uint64_t)spread * ACCOUNTS >> 32) +
           (record->side == SYN_SELL ? ACCOUNTS : 0);
}

static void
event_of(const struct record *record, struct syn_market_event *event)
{
    event->account = account_of(record);
    event->class = record->book;
    event->id = record->id;
    event->qty = record->qty;
    if (record->op == 'C') {
        event->kind = SYN_EVENT_CANCEL;
    } else if (record->op == 'R') {
        event->kind = SYN_EVENT_REDUCE;
    } else {
        event->kind = SYN_EVENT_ORDER;
        event->order = record->op == 'I' ? SYN_ORDER_IOC : SYN_ORDER_LIMIT;
        event->side = record->side;
        event->price = record->price;
    }
}

static void journal_event(struct replay *replay, const struct syn_market_event *event);

static int
exchange_record(struct replay *replay, size_t i, struct syn_err *err)
{
    const struct syn_market_event *event = &replay->events[i % RING];
    struct syn_market_outcome outcome;
    int rc = syn_exchange_apply(replay->exchange, event, &outcome, err);

    if (rc == 0 && replay->journal != NULL)
        journal_event(replay, event);
    return rc;
}

static void
set_up(struct replay *replay, struct syn_market_event event)
{
    struct syn_market_outcome outcome;
    struct syn_err err = {0};

    if (syn_exchange_apply(replay->exchange, &event, &outcome, &err) < 0)
        die("setting up the exchange", &err);
    if (replay->journal != NULL)
        journal_event(replay, &event);
}

static void
set_up_name(struct replay *replay, enum syn_market_event_kind kind, const char *form, uint32_t n)
{
    char name[64];
    int len =
        snprintf(name, sizeof(name), kind == SYN_EVENT_CLASS ? "%s%u/any/hour" : "%s%u", form, n);

    set_up(replay, (struct syn_market_event){
                       .kind = (uint8_t)kind, .name = name, .name_len = (uint32_t)len});
}

static void
exchange_open(struct replay *replay)
{
    for (uint32_t i = 0; i < replay->books; i++)
        set_up_name(replay, SYN_EVENT_CLASS, "gpu/model-", i);
    for (uint32_t i = 0; i < 2 * ACCOUNTS; i++)
        set_up_name(replay, SYN_EVENT_ACCOUNT, i < ACCOUNTS ? "buyer-" : "seller-", i);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        set_up(replay, (struct syn_market_event){.kind = SYN_EVENT_DEPOSIT,
                                                 .account = i,
                                                 .qty = SYN_AMOUNT_MAX / ACCOUNTS});
    for (uint32_t class = 0; class < replay->books; class ++) {
        for (uint32_t i = 0; i < ACCOUNTS; i++)
            set_up(replay, (struct syn_market_event){.kind = SYN_EVENT_GRANT,
                                                     .account = ACCOUNTS + i,
                                                     .class = class,
                                                     .qty = CAPACITY});
    }
}

/* ---- the journal ---- */

static int
write_all(int fd, const struct syn_buf *buf)
{
    size_t at = 0;

    while (at < buf->len) {
        ssize_t wrote = write(fd, buf->data + at, buf->len - at);

        if (wrote < 0 && errno != EINTR)
            return errno;
        at += wrote < 0 ? 0 : (size_t)wrote;
    }
    return fdatasync(fd) < 0 ? errno : 0;
}

static void *
journal_thread(void *arg)
{
    struct journal *journal = arg;

    (void)pthread_mutex_lock(&journal->lock);
    for (;;) {
        struct syn_buf *full = &journal->buffers[journal->gathering ^ 1];
        int error;

        if (!journal->busy && journal->ending)
            break;
        if (!journal->busy) {
            (void)pthread_cond_wait(&journal->changed, &journal->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&journal->lock);
        error = write_all(journal->fd, full);
        (void)pthread_mutex_lock(&journal->lock);
        journal->error = error;
        journal->busy = false;
        (void)pthread_cond_broadcast(&journal->changed);
    }
    (void)pthread_mutex_unlock(&journal->lock);
    return NULL;
}

/* Seal what was gathered and hand it to the thread, which is idle. The lock is held. */
static void
hand_over(struct replay *replay)
{
    struct journal *journal = replay->journal;
    struct syn_buf *gathered = &journal->buffers[journal->gathering], *next;
    uint64_t events = syn_exchange_events(replay->exchange);
    struct syn_err err = {0};

    if (syn_market_batch_seal(gathered, journal->begin, journal->first,
                              (uint32_t)(events - journal->first), &err) < 0)
        die("journal", &err);
    journal->gathering ^= 1;
    next = &journal->buffers[journal->gathering];
    syn_buf_clear(next);
    journal->begin = syn_market_batch_begin(next);
    journal->first = events;
    journal->commits++;
    journal->busy = true;
    (void)pthread_cond_broadcast(&journal->changed);
}

static void
wait_idle(struct journal *journal)
{
    while (journal->busy)
        (void)pthread_cond_wait(&journal->changed, &journal->lock);
    if (journal->error != 0) {
        errno = journal->error;
        die("writing the journal", NULL);
    }
}

static void
journal_event(struct replay *replay, const struct syn_market_event *event)
{
    struct journal *journal = replay->journal;

    syn_market_event_encode(event, &journal->buffers[journal->gathering]);
}

/* So many records are in the log now; write it if the disk has nothing to do, enough has come
 * together, or `all` must go. Every batch ends with that number: there a resumed run goes on. */
static void
journal_commit(struct replay *replay, size_t records, bool all)
{
    struct journal *journal = replay->journal;

    (void)pthread_mutex_lock(&journal->lock);
    if (all || journal->buffers[journal->gathering].len > PENDING_MAX)
        wait_idle(journal);
    if (!journal->busy) {
        set_up(replay,
               (struct syn_market_event){.kind = SYN_EVENT_TIME, .at_ms = (int64_t)records});
        hand_over(replay);
    }
    if (all)
        wait_idle(journal);
    (void)pthread_mutex_unlock(&journal->lock);
}

static void
journal_open(struct replay *replay, struct journal *journal, int fd)
{
    replay->journal = journal;
    journal->fd = fd;
    journal->first = syn_exchange_events(replay->exchange);
    journal->begin = syn_market_batch_begin(&journal->buffers[0]);
    (void)pthread_mutex_init(&journal->lock, NULL);
    (void)pthread_cond_init(&journal->changed, NULL);
    errno = pthread_create(&journal->thread, NULL, journal_thread, journal);
    if (errno != 0)
        die("starting the journal's thread", NULL);
}

static void
journal_close(struct journal *journal)
{
    (void)pthread_mutex_lock(&journal->lock);
    journal->ending = true;
    (void)pthread_cond_broadcast(&journal->changed);
    (void)pthread_mutex_unlock(&journal->lock);
    (void)pthread_join(journal->thread, NULL);
    (void)pthread_mutex_destroy(&journal->lock);
    (void)pthread_cond_destroy(&journal->changed);
    (void)close(journal->fd);
    syn_buf_fini(&journal->buffers[0]);
    syn_buf_fini(&journal->buffers[1]);
}

/* ---- recovery ---- */

/* syn_exchange_replay(), but the trades are counted on the way. */
static void
recover_batch(struct replay *replay, const struct syn_market_batch *batch)
{
    struct syn_err err = {0};
    size_t at = 0;

    for (uint32_t i = 0; i < batch->count; i++) {
        struct syn_market_event event;
        struct syn_market_outcome outcome;
        const struct syn_book_effect *effects;
        size_t count;
        int rc = syn_market_event_decode(batch->events, batch->len, &at, &event, &err);

        if (rc == 0)
            rc = syn_exchange_apply(replay->exchange, &event, &outcome, &err);
        if (rc < 0)
            die("the log", &err);
        effects = syn_exchange_effects(replay->exchange, &count);
        count_trades(replay, effects, count);
    }
    if (at != batch->len) {
        (void)SYN_FAIL(&err, SYN_E_CORRUPT, "a batch of %u events has %zu bytes behind them",
                       batch->count, batch->len - at);
        die("the log", &err);
    }
}

/* Play what whole batches there are. Returns how many bytes they take. */
static size_t
recover(struct replay *replay, const char *path)
{
    struct syn_market_batch batch;
    struct syn_err err = {0};
    size_t size, at = 0;
    char *data = read_file(path, &size);
    int rc;

    while ((rc = syn_market_log_next(data, size, &at, syn_exchange_events(replay->exchange), &batch,
                                     &err)) == 0)
        recover_batch(replay, &batch);
    if (rc < 0)
        die(path, &err);
    if (at < size)
        (void)fprintf(stderr, "market-replay: %zu bytes at the end are no whole batch\n",
                      size - at);
    syn_free(data);
    return at;
}

/* Open the log in `dir`, play what is there, and cut off what is no whole batch. Returns how many
 * records it has. */
static size_t
resume(struct replay *replay, struct journal *journal, const char *dir)
{
    char path[4096];
    size_t keep;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/market.log", dir);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        die(dir, NULL);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path, NULL);
    keep = recover(replay, path);
    if (ftruncate(fd, (off_t)keep) < 0)
        die(path, NULL);
    journal_open(replay, journal, fd);
    if (keep == 0)
        exchange_open(replay);
    journal_commit(replay, (size_t)syn_books_now_ms(syn_exchange_books(replay->exchange)), true);
    return (size_t)syn_books_now_ms(syn_exchange_books(replay->exchange));
}

/* ---- playing ---- */

/* Make record `i` ready. */
static void
prepare(struct replay *replay, size_t i)
{
    if (i >= replay->count)
        return;
    if (replay->core != NULL)
        order_of(&replay->records[i], &replay->orders[i % RING]);
    else
        event_of(&replay->records[i], &replay->events[i % RING]);
}

static void
prefetch(struct replay *replay, size_t i)
{
    const size_t at[3] = {(i + AHEAD) % RING, (i + 2 * (size_t)AHEAD) % RING,
                          (i + 3 * (size_t)AHEAD) % RING};
    const struct syn_order *orders = replay->orders;
    const struct syn_market_event *events = replay->events;

    prepare(replay, i + 3 * (size_t)AHEAD);
    if (replay->core != NULL)
        syn_books_prefetch(replay->core, (const struct syn_order *const[]){
                                             &orders[at[0]], &orders[at[1]], &orders[at[2]]});
    else
        syn_exchange_prefetch(replay->exchange,
                              (const struct syn_market_event *const[]){
                                  &events[at[0]], &events[at[1]], &events[at[2]]});
}

static const struct syn_books *
books_of(const struct replay *replay)
{
    return replay->core != NULL ? replay->core : syn_exchange_books(replay->exchange);
}

static int
play_record(struct replay *replay, size_t i, bool ahead, struct syn_err *err)
{
    if (ahead)
        prefetch(replay, i);
    else if (replay->core == NULL || replay->records[i].op == 'A' || replay->records[i].op == 'I')
        prepare(replay, i); /* the books need nothing for a cancel */
    return replay->core != NULL ? core_record(replay, i, err) : exchange_record(replay, i, err);
}

static void
play(struct replay *replay, size_t from)
{
    const struct syn_books *books = books_of(replay);
    bool ahead = false;

    for (size_t i = from; i < replay->count; i++) {
        const struct syn_book_effect *effects;
        struct syn_err err;
        size_t count;
        int rc;

        if (i % LOOK == 0) {
            ahead = syn_books_large(books);
            for (size_t j = i; j < i + 3 * (size_t)AHEAD; j++)
                prepare(replay, j);
        }
        rc = play_record(replay, i, ahead, &err);
        if (rc == SYN_E_NOTFOUND && strchr("CR", replay->records[i].op) != NULL) {
            replay->ignored++;
            continue;
        }
        if (rc < 0) {
            (void)fprintf(stderr, "market-replay: record %zu: %s\n", i, err.msg);
            exit(1);
        }
        effects = syn_books_effects(books, &count);
        count_trades(replay, effects, count);
        if (replay->journal != NULL && i % GATHER == 0)
            journal_commit(replay, i + 1, false);
    }
    if (replay->journal != NULL)
        journal_commit(replay, replay->count, true);
}

static void
report(const struct replay *replay, size_t records, double taken)
{
    (void)printf("records %zu\ntrades %" PRIu64 "\nignored %" PRIu64 "\n", records, replay->trades,
                 replay->ignored);
    if (replay->journal != NULL)
        (void)printf("commits %u\n", replay->journal->commits);
    (void)printf("checksum %016" PRIx64 "\nmops %.2f\n", replay->checksum,
                 taken > 0 ? (double)records / taken / 1e6 : 0);
}

static void
replay_log(struct replay *replay, const char *dir)
{
    double begun = seconds(CLOCK_PROCESS_CPUTIME_ID), taken;
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/market.log", dir);
    (void)recover(replay, path);
    taken = seconds(CLOCK_PROCESS_CPUTIME_ID) - begun;
    syn_exchange_check(replay->exchange);
    report(replay, (size_t)syn_books_now_ms(syn_exchange_books(replay->exchange)), taken);
}

static void
replay_file(struct replay *replay, const char *path, bool accounts, const char *dir)
{
    clockid_t clock = dir != NULL ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
    struct journal journal = {0};
    size_t from = 0;
    double begun;

    load(replay, path);
    if (dir != NULL)
        from = resume(replay, &journal, dir);
    else if (accounts)
        exchange_open(replay);
    else
        core_open(replay);
    begun = seconds(clock);
    play(replay, from);
    report(replay, replay->count - from, seconds(clock) - begun);
    if (dir != NULL)
        journal_close(&journal);
}

int
main(int argc, char **argv)
{
    struct replay replay = {.checksum = UINT64_C(1469598103934665603)};
    const char *journal = NULL, *recovered = NULL, *file = NULL;
    struct syn_err err = {0};
    bool accounts = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--accounts") == 0)
            accounts = true;
        else if (strcmp(argv[i], "--journal") == 0 && i + 1 < argc)
            journal = argv[++i];
        else if (strcmp(argv[i], "--recover") == 0 && i + 1 < argc)
            recovered = argv[++i];
        else if (argv[i][0] != '-' && file == NULL)
            file = argv[i];
        else
            file = recovered = NULL, i = argc;
    }
    if ((file == NULL) == (recovered == NULL)) {
        (void)fprintf(stderr, "usage: market-replay [--accounts] [--journal DIR] FILE\n"
                              "       market-replay --recover DIR\n");
        return 2;
    }
    if ((accounts || journal != NULL || recovered != NULL) &&
        syn_exchange_new(&replay.exchange, &err) < 0)
        die("opening the exchange", &err);
    if (recovered != NULL)
        replay_log(&replay, recovered);
    else
        replay_file(&replay, file, accounts, journal);
    syn_exchange_free(replay.exchange);
    syn_books_free(replay.core);
    syn_free(replay.records);
    return 0;
}
