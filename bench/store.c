/* The store beside raw SQLite with the same settings (WAL, synchronous FULL, checkpoints by the
 * writer at 8 MiB): durable puts one by one and 64 at a time, and gets of hot keys. Raw SQLite
 * writes a key into one table and keeps no history; the store's figures include its history and
 * the trimming of it. Rounds of both are interleaved; figures are medians.
 * 64 at a time means 64 submissions under way, as the daemon's loops have them; 64 blocking threads
 * are measured too, on standard error.
 *
 *     store [FOLDER]       FOLDER must be on a disk; default /var/tmp */
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <unistd.h>

#include <synor/base/tree.h>
#include <synor/infra/store_sqlite.h>

enum {
    ROUNDS = 7,
    KEYS = 1000,
    VALUE = 1024,
    GROUP = 64,
    WARM_UP = 12000, /* puts until history is full and every round pays for its trimming */
    CHECKPOINT_PAGES = 2048,
};

struct sqlite {
    sqlite3 *sql;
    sqlite3_stmt *begin;
    sqlite3_stmt *put;
    sqlite3_stmt *commit;
    sqlite3_stmt *get;
    int wal_pages;
};

/* How long each figure is measured in each round. */
static const double PUT_S = 0.5;
static const double GET_S = 0.2;

static char folder[256];
static struct syn_store *store;
static struct sqlite raw;
static char value[VALUE];

static void
die(const char *what, const char *why)
{
    fprintf(stderr, "bench store: %s: %s\n", what, why);
    exit(1);
}

static double
now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int
key_of(uint64_t number, char *out)
{
    return snprintf(out, 32, "training/train-%06u", (unsigned)number);
}

/* Raw SQLite */

static void
must(int code, int want, const char *what)
{
    if (code != want)
        die(what, sqlite3_errmsg(raw.sql));
}

static int
on_commit(void *arg, sqlite3 *sql, const char *name, int pages)
{
    (void)arg;
    (void)sql;
    (void)name;
    raw.wal_pages = pages;
    return SQLITE_OK;
}

static sqlite3_stmt *
prepare(const char *text)
{
    sqlite3_stmt *stmt = NULL;

    must(sqlite3_prepare_v3(raw.sql, text, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL), SQLITE_OK,
         text);
    return stmt;
}

static void
raw_open(void)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/raw.db", folder);
    must(sqlite3_open_v2(path, &raw.sql,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL),
         SQLITE_OK, path);
    must(sqlite3_exec(raw.sql,
                      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                      "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096;"
                      "CREATE TABLE kv(key TEXT PRIMARY KEY, value BLOB, revision INTEGER)",
                      NULL, NULL, NULL),
         SQLITE_OK, "creating a table");
    sqlite3_wal_hook(raw.sql, on_commit, NULL);
    raw.begin = prepare("BEGIN IMMEDIATE");
    raw.commit = prepare("COMMIT");
    raw.put = prepare("INSERT INTO kv VALUES(?1, ?2, ?3) ON CONFLICT(key) DO UPDATE"
                      " SET value = excluded.value, revision = excluded.revision");
    raw.get = prepare("SELECT value FROM kv WHERE key = ?1");
}

static void
step(sqlite3_stmt *stmt)
{
    must(sqlite3_step(stmt), SQLITE_DONE, "a step");
    sqlite3_reset(stmt);
}

static void
raw_put_group(uint64_t first, bool random, int count)
{
    static uint64_t state = 88172645463325252U;
    static int64_t revision;
    char key[32];

    step(raw.begin);
    for (int i = 0; i < count; i++) {
        uint64_t number = random ? next_random(&state) % KEYS : first + (uint64_t)i;
        sqlite3_bind_text(raw.put, 1, key, key_of(number, key), SQLITE_STATIC);
        sqlite3_bind_blob(raw.put, 2, value, VALUE, SQLITE_STATIC);
        sqlite3_bind_int64(raw.put, 3, ++revision);
        step(raw.put);
    }
    step(raw.commit);
    if (raw.wal_pages >= CHECKPOINT_PAGES) {
        must(sqlite3_wal_checkpoint_v2(raw.sql, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL),
             SQLITE_OK, "a checkpoint");
        raw.wal_pages = 0;
    }
}

static double
raw_put_single(void)
{
    double start = now_s();
    int puts = 0;

    for (; now_s() < start + PUT_S; puts++)
        raw_put_group(0, true, 1);
    return puts / (now_s() - start);
}

static double
raw_put_groups(void)
{
    double start = now_s();
    int puts = 0;

    for (; now_s() < start + PUT_S; puts += GROUP)
        raw_put_group(0, true, GROUP);
    return puts / (now_s() - start);
}

static double
raw_get(void)
{
    char copy[VALUE];
    char key[32];
    double start = now_s();
    uint64_t i = 0;

    for (; i % 256 || now_s() < start + GET_S; i++) {
        sqlite3_bind_text(raw.get, 1, key, key_of(i * 7 % KEYS, key), SQLITE_STATIC);
        must(sqlite3_step(raw.get), SQLITE_ROW, "a get");
        memcpy(copy, sqlite3_column_blob(raw.get, 0), VALUE);
        sqlite3_reset(raw.get);
    }
    return (double)i / (now_s() - start);
}

/* The store */

static void
our_put(uint64_t number)
{
    struct syn_err err;
    char key[32];

    key_of(number, key);
    if (syn_store_put(store, key, (struct syn_store_value){.data = value, .len = VALUE}, NULL,
                      &err) != SYN_OK)
        die("put", err.msg);
}

static double
our_put_single(void)
{
    static uint64_t state = 88172645463325252U;
    double start = now_s();
    int puts = 0;

    for (; now_s() < start + PUT_S; puts++)
        our_put(next_random(&state) % KEYS);
    return puts / (now_s() - start);
}

struct submitter {
    uint64_t state;
    double until_s;
    int puts;
};

static void *
submitter_main(void *arg)
{
    struct submitter *submitter = arg;

    for (; now_s() < submitter->until_s; submitter->puts++)
        our_put(next_random(&submitter->state) % KEYS);
    return NULL;
}

/* GROUP threads, each of which waits for its put before it makes the next. */
static double
our_put_threads(void)
{
    static unsigned round;
    pthread_t threads[GROUP];
    struct submitter submitters[GROUP];
    double start = now_s();
    int puts = 0;

    round++;
    for (unsigned i = 0; i < GROUP; i++) {
        submitters[i] = (struct submitter){.state = 1 + i + round * UINT64_C(7919) * 65537,
                                           .until_s = start + PUT_S};
        if (pthread_create(&threads[i], NULL, submitter_main, &submitters[i]) != 0)
            die("threads", "cannot start them");
    }
    for (int i = 0; i < GROUP; i++) {
        pthread_join(threads[i], NULL);
        puts += submitters[i].puts;
    }
    return puts / (now_s() - start);
}

/* The same as an event loop does it: GROUP puts under way, each answer submits the next. */
struct flight {
    double until_s;
    atomic_uint_fast64_t submitted;
    atomic_int puts;
    atomic_int under_way; /* and one for who waits */
    sem_t over;
};

static void submit_one(struct flight *flight);

static void
flight_done(void *arg, int rc, const struct syn_store_result *result, const struct syn_err *err)
{
    struct flight *flight = arg;

    (void)result;
    if (rc != SYN_OK)
        die("asynchronous put", err->msg);
    atomic_fetch_add(&flight->puts, 1);
    if (now_s() < flight->until_s)
        submit_one(flight);
    if (atomic_fetch_sub(&flight->under_way, 1) == 1)
        sem_post(&flight->over);
}

static void
submit_one(struct flight *flight)
{
    struct syn_err err;
    char key[32];

    uint64_t state = (atomic_fetch_add(&flight->submitted, 1) + 1) * 0x9e3779b97f4a7c15U;
    key_of(next_random(&state) % KEYS, key);
    struct syn_store_op op = {.kind = SYN_STORE_PUT, .key = key, .value = value, .len = VALUE};
    atomic_fetch_add(&flight->under_way, 1);
    if (syn_store_txn_async(store, &op, 1, flight_done, flight, &err) != SYN_OK)
        die("submitting", err.msg);
}

static double
our_put_async(void)
{
    double start = now_s();
    struct flight flight = {.until_s = start + PUT_S, .under_way = 1};

    sem_init(&flight.over, 0, 0);
    for (int i = 0; i < GROUP; i++)
        submit_one(&flight);
    if (atomic_fetch_sub(&flight.under_way, 1) > 1)
        while (sem_wait(&flight.over) != 0)
            ;
    double rate = atomic_load(&flight.puts) / (now_s() - start);
    sem_destroy(&flight.over);
    return rate;
}

static double
our_get(void)
{
    char copy[VALUE];
    char key[32];
    double start = now_s();
    uint64_t i = 0;

    for (; i % 256 || now_s() < start + GET_S; i++) {
        const struct syn_store_doc *doc;
        struct syn_err err;
        key_of(i * 7 % KEYS, key);
        if (syn_store_get(store, key, &doc, &err) != SYN_OK)
            die("get", "failed");
        memcpy(copy, doc->value, VALUE);
        syn_store_doc_unref(doc);
    }
    return (double)i / (now_s() - start);
}

/* Both */

static void
fill(void)
{
    struct syn_err err;
    struct syn_store_sqlite_options options = {0};
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/store.db", folder);
    options.path = path;
    if (syn_store_sqlite_open(&options, &store, &err) != SYN_OK)
        die("open", err.msg);
    raw_open();
    memset(value, 'v', sizeof(value));
    for (uint64_t i = 0; i < KEYS; i += 100)
        raw_put_group(i, false, 100);
    for (uint64_t first = 0; first < KEYS; first += 100) {
        struct syn_store_op ops[100];
        char keys[100][32];
        struct syn_store_result result;
        for (uint64_t i = 0; i < 100; i++) {
            key_of(first + i, keys[i]);
            ops[i] = (struct syn_store_op){
                .kind = SYN_STORE_PUT, .key = keys[i], .value = value, .len = VALUE};
        }
        if (syn_store_txn(store, ops, 100, &result, &err) != SYN_OK)
            die("filling", err.msg);
    }
    for (int64_t revision = 0; revision < WARM_UP;) {
        (void)our_put_async();
        if (syn_store_revision(store, &revision, &err) != SYN_OK)
            die("revision", err.msg);
    }
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), by_size);
    return values[ROUNDS / 2];
}

static void
print_figure(const char *name, double *ours, double *theirs, const char *unit, double goal)
{
    double mine = median(ours);
    double peer = median(theirs);
    double ratio = mine / peer;

    printf("%s\t%.0f\t%s\tsqlite\t%.0f\t%.2f\t%.2f\t%s\n", name, mine, unit, peer, ratio, goal,
           ratio >= goal ? "ok" : "short");
}

static void
remove_folder(void)
{
    syn_tree_remove(folder);
}

int
main(int argc, char **argv)
{
    double ours[3][ROUNDS];
    double theirs[3][ROUNDS];
    double threads[ROUNDS];

    (void)snprintf(folder, sizeof(folder), "%s/synor-bench-XXXXXX",
                   argc > 1 ? argv[1] : "/var/tmp");
    if (!mkdtemp(folder))
        die(folder, "cannot make it");
    atexit(remove_folder);
    fill();
    for (int round = 0; round < ROUNDS; round++) {
        ours[0][round] = our_put_single();
        theirs[0][round] = raw_put_single();
        ours[1][round] = our_put_async();
        theirs[1][round] = raw_put_groups();
        threads[round] = our_put_threads();
        ours[2][round] = our_get();
        theirs[2][round] = raw_get();
        fprintf(stderr,
                "round %d: single %.0f / %.0f, 64 at once %.0f / %.0f, from 64 threads %.0f,"
                " get %.0f / %.0f\n",
                round + 1, ours[0][round], theirs[0][round], ours[1][round], theirs[1][round],
                threads[round], ours[2][round], theirs[2][round]);
    }
    print_figure("store_put_single", ours[0], theirs[0], "puts/s", 0.7);
    print_figure("store_put_group", ours[1], theirs[1], "puts/s", 0.7);
    print_figure("store_get", ours[2], theirs[2], "gets/s", 1.0);
    fprintf(stderr, "64 blocking threads: median %.0f puts/s\n", median(threads));
    syn_store_close(store);
    sqlite3_finalize(raw.begin);
    sqlite3_finalize(raw.put);
    sqlite3_finalize(raw.commit);
    sqlite3_finalize(raw.get);
    sqlite3_close(raw.sql);
    return 0;
}
