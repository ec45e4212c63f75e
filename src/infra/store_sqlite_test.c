#include <synor/infra/store_sqlite.h>

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/test.h>

#include "store_suite.h"

static char path[512];
static struct syn_err err;

static const char *
beside(const char *end)
{
    static char name[600];

    (void)snprintf(name, sizeof(name), "%s%s", path, end);
    return name;
}

static void
wipe(void *self)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock", ".copy"};

    (void)self;
    (void)snprintf(path, sizeof(path), "%s/store.db", syn_test_dir());
    for (size_t i = 0; i < SYN_LEN(ends); i++)
        (void)unlink(beside(ends[i]));
}

static int
open_plain(void *self, struct syn_store **ret_store, struct syn_err *ret_err)
{
    struct syn_store_sqlite_options options = {.path = path};

    (void)self;
    return syn_store_sqlite_open(&options, ret_store, ret_err);
}

static int
fresh(void **state)
{
    (void)state;
    wipe(NULL);
    return 0;
}

static struct syn_store *
opened(void)
{
    struct syn_store *store = NULL;

    assert_done(open_plain(NULL, &store, &err), &err);
    return store;
}

static int64_t
put(struct syn_store *store, const char *key, const char *text)
{
    int64_t revision = 0;
    struct syn_store_value value = {.data = text, .len = strlen(text)};

    assert_done(syn_store_put(store, key, value, &revision, &err), &err);
    return revision;
}

/* Files that are no store of ours */

static size_t
slurp(const char *name, char *out, size_t cap)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, out, cap);

    if (fd >= 0)
        close(fd);
    assert_true(len >= 0);
    return (size_t)len;
}

static void
spit(const char *name, const char *data, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* Opening gives `code` and changes not a byte. */
static void
expect_refusal(int code, const char *says)
{
    enum { CAP = 1 << 18 };
    static char before[CAP];
    static char after[CAP];
    struct syn_store *store = NULL;
    size_t len = slurp(path, before, CAP);

    err = (struct syn_err){0};
    assert_code(open_plain(NULL, &store, &err), code, &err);
    assert_null(store);
    if (!strstr(err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
    assert_int_equal(slurp(path, after, CAP), len);
    assert_memory_equal(before, after, len);
}

static void
raw_sql(const char *text)
{
    sqlite3 *sql = NULL;

    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
}

static void
refuses_files_it_did_not_write(void **state)
{
    char junk[8192];
    uint64_t random = 3;

    (void)state;
    raw_sql("CREATE TABLE notes(text)");
    expect_refusal(SYN_E_CORRUPT, "another program");
    wipe(NULL);
    for (size_t i = 0; i < sizeof(junk); i++)
        junk[i] = (char)syn_test_random(&random);
    spit(path, junk, sizeof(junk));
    expect_refusal(SYN_E_CORRUPT, "backup");
    wipe(NULL);
    syn_store_close(opened());
    raw_sql("PRAGMA user_version = 2");
    expect_refusal(SYN_E_UNSUPPORTED, "upgrade");
}

static void
refuses_a_missing_folder(void **state)
{
    struct syn_store *store = NULL;
    struct syn_store_sqlite_options options = {.path = beside("/nowhere/store.db")};

    (void)state;
    syn_store_close(opened());
    assert_true(syn_store_sqlite_open(&options, &store, &err) < 0);
    assert_true(err.msg[0]);
}

/* What a crash leaves: the files as they are while the store is open. */
static void
steal_files(char *file, size_t *file_len, char *wal, size_t *wal_len, size_t cap)
{
    struct syn_store *store = opened();

    put(store, "precious", "document");
    *file_len = slurp(path, file, cap);
    *wal_len = slurp(beside("-wal"), wal, cap);
    assert_true(*wal_len > 0);
    syn_store_close(store);
}

static void
keeps_the_wal_of_a_lost_file(void **state)
{
    enum { CAP = 1 << 18 };
    static char file[CAP];
    static char wal[CAP];
    static char again[CAP];
    size_t file_len;
    size_t wal_len;
    const struct syn_store_doc *doc;

    (void)state;
    steal_files(file, &file_len, wal, &wal_len, CAP);
    wipe(NULL);
    spit(path, "", 0);
    spit(beside("-wal"), wal, wal_len);
    expect_refusal(SYN_E_CORRUPT, "put the file back");
    (void)unlink(path);
    expect_refusal(SYN_E_CORRUPT, "put the file back");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(slurp(beside("-wal"), again, CAP), wal_len);
    assert_memory_equal(again, wal, wal_len);
    spit(path, file, file_len); /* as told */
    struct syn_store *store = opened();
    assert_done(syn_store_get(store, "precious", &doc, &err), &err);
    assert_string_equal(doc->value, "document");
    syn_store_doc_unref(doc);
    syn_store_close(store);
}

static void
notices_flipped_bits(void **state)
{
    enum { CAP = 1 << 18 };
    static char file[CAP];
    struct syn_store *store = opened();
    struct syn_store_range range = {.prefix = ""};
    struct syn_store_page page;
    const struct syn_store_doc *doc;

    (void)state;
    put(store, "good", "sound");
    put(store, "victim", "MARKER-MARKER-MARKER");
    syn_store_close(store);
    size_t len = slurp(path, file, CAP);
    char *at = memmem(file, len, "MARKER-", 7);
    assert_non_null(at);
    *at ^= 4;
    spit(path, file, len);
    store = opened();
    assert_code(syn_store_get(store, "victim", &doc, &err), SYN_E_CORRUPT, &err);
    assert_non_null(strstr(err.msg, "victim"));
    assert_code(syn_store_list(store, &range, &page, &err), SYN_E_CORRUPT, &err);
    assert_code(syn_store_verify(store, &err), SYN_E_CORRUPT, &err);
    assert_done(syn_store_get(store, "good", &doc, &err), &err);
    syn_store_doc_unref(doc);
    syn_store_close(store);
}

static int64_t
raw_number(const char *text)
{
    sqlite3 *sql = NULL;
    sqlite3_stmt *stmt = NULL;

    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(sql, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(sql);
    return number;
}

/* Pages of 16 KiB are for new stores; those from before keep theirs, and work. */
static void
keeps_the_pages_of_an_older_store(void **state)
{
    struct syn_store_sqlite_options options = {.path = path, .wal_bytes_max = 1 << 14};
    struct syn_store *store = NULL;
    const struct syn_store_doc *doc;

    (void)state;
    syn_store_close(opened());
    assert_int_equal(raw_number("PRAGMA page_size"), 16384);
    raw_sql("PRAGMA journal_mode = DELETE; PRAGMA page_size = 4096; VACUUM");
    assert_int_equal(raw_number("PRAGMA page_size"), 4096);
    assert_done(syn_store_sqlite_open(&options, &store, &err), &err);
    for (int i = 0; i < 50; i++)
        put(store, "key", i % 2 ? "odd" : "even");
    assert_done(syn_store_verify(store, &err), &err);
    syn_store_close(store);
    assert_int_equal(raw_number("PRAGMA page_size"), 4096);
    store = opened();
    assert_done(syn_store_get(store, "key", &doc, &err), &err);
    assert_string_equal(doc->value, "odd");
    syn_store_doc_unref(doc);
    syn_store_close(store);
}

/* The writer goes by what it remembers of a key; that it is gone must not pass for a write. */
static void
notices_a_lost_entry(void **state)
{
    struct syn_store *store = opened();
    struct syn_store_value value = {.data = "new", .len = 3};

    (void)state;
    put(store, "victim", "old");
    raw_sql("DELETE FROM current WHERE key = 'victim'");
    assert_code(syn_store_put(store, "victim", value, NULL, &err), SYN_E_CORRUPT, &err);
    assert_non_null(strstr(err.msg, "victim"));
    put(store, "other", "works");
    syn_store_close(store);
}

static void
keeps_a_second_opener_out(void **state)
{
    struct syn_store *store = opened();
    struct syn_store *second = NULL;
    char pid[32];
    struct stat st;

    (void)state;
    (void)snprintf(pid, sizeof(pid), "process %d:", (int)getpid());
    assert_code(open_plain(NULL, &second, &err), SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, pid));
    put(store, "a", "still works");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    syn_store_close(store);
    syn_store_close(opened());
}

/* Reading */

static void
answers_hot_keys_from_memory(void **state)
{
    struct syn_store *store = opened();
    const struct syn_store_doc *docs[3];

    (void)state;
    put(store, "hot", "1");
    raw_sql("UPDATE history SET value = 'damaged'"); /* what was written needs no reading */
    for (size_t i = 0; i < 2; i++)
        assert_done(syn_store_get(store, "hot", &docs[i], &err), &err);
    assert_ptr_equal(docs[0], docs[1]);
    put(store, "hot", "2");
    assert_done(syn_store_get(store, "hot", &docs[2], &err), &err);
    assert_string_equal(docs[2]->value, "2");
    for (size_t i = 0; i < 3; i++)
        syn_store_doc_unref(docs[i]);
    syn_store_close(store);
}

struct burst {
    struct syn_store *store;
    atomic_int older;
    atomic_int done;
};

static void
burst_done(void *arg, int rc, const struct syn_store_result *result, const struct syn_err *why)
{
    struct burst *burst = arg;
    const struct syn_store_doc *doc;
    struct syn_err ignored;

    (void)why;
    bool there = rc == SYN_OK && syn_store_get(burst->store, "k", &doc, &ignored) == SYN_OK;
    if (!there || doc->mod_revision < result->revision)
        atomic_fetch_add(&burst->older, 1);
    if (there)
        syn_store_doc_unref(doc);
    atomic_fetch_add(&burst->done, 1);
}

/* A group writes one key many times over; whoever was answered finds his own or a newer one. */
static void
remembers_the_newest_of_a_group(void **state)
{
    enum { PUTS = 640 };
    struct burst burst = {.store = opened()};
    const struct syn_store_doc *doc;
    char text[PUTS][16];

    (void)state;
    for (int i = 0; i < PUTS; i++) {
        (void)snprintf(text[i], sizeof(text[i]), "%d", i);
        struct syn_store_op op = {
            .kind = SYN_STORE_PUT, .key = "k", .value = text[i], .len = strlen(text[i])};
        assert_done(syn_store_txn_async(burst.store, &op, 1, burst_done, &burst, &err), &err);
    }
    while (atomic_load(&burst.done) < PUTS)
        (void)usleep(1000);
    assert_int_equal(atomic_load(&burst.older), 0);
    assert_done(syn_store_get(burst.store, "k", &doc, &err), &err);
    assert_string_equal(doc->value, "639");
    syn_store_doc_unref(doc);
    syn_store_close(burst.store);
}

enum { DOC_LEN = 60000 };

static void
expect_filled(struct syn_store *store, const char *key, const char *want)
{
    const struct syn_store_doc *doc;

    assert_done(syn_store_get(store, key, &doc, &err), &err);
    assert_int_equal(doc->len, DOC_LEN);
    assert_memory_equal(doc->value, want, DOC_LEN);
    syn_store_doc_unref(doc);
}

/* More than the cache holds; live memory must stay bounded and every answer right. */
static void
bounds_its_cache(void **state)
{
    enum { DOCS = 400 };
    struct syn_store *store = opened();
    static char bytes[DOC_LEN];
    struct syn_store_value value = {.data = bytes, .len = DOC_LEN};
    char key[16];

    (void)state;
    for (int i = 0; i < DOCS * 2; i++) {
        memset(bytes, 'a' + i % DOCS % 26, DOC_LEN);
        (void)snprintf(key, sizeof(key), "k%d", i % DOCS);
        if (i < DOCS)
            assert_done(syn_store_put(store, key, value, NULL, &err), &err);
        expect_filled(store, key, bytes);
        assert_in_range(syn_mem_live(), 0, (8 << 20) / DOC_LEN + 64);
    }
    syn_store_close(store);
}

/* History and watches */

static void
trims_history_by_itself(void **state)
{
    struct syn_store_sqlite_options options = {.path = path, .history_max = 100};
    struct syn_store *store = NULL;
    struct syn_store_recorder *recorder = syn_store_recorder_new();
    struct syn_store_watch *watch;
    char key[16];
    int64_t last = 0;

    (void)state;
    assert_done(syn_store_sqlite_open(&options, &store, &err), &err);
    put(store, "oldest", "stays");
    for (int i = 0; i < 1500; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i % 30);
        last = put(store, key, "x");
    }
    assert_code(
        syn_store_watch(store, "", last - 1000, syn_store_recorder_event, recorder, &watch, &err),
        SYN_STORE_COMPACTED, &err);
    assert_done(
        syn_store_watch(store, "", last - 100, syn_store_recorder_event, recorder, &watch, &err),
        &err);
    assert_int_equal(syn_store_recorder_wait(recorder, 100), 100);
    syn_store_unwatch(store, watch);
    assert_done(syn_store_verify(store, &err), &err);
    syn_store_close(store);
    syn_store_recorder_free(recorder);
    assert_in_range(raw_number("SELECT count(*) FROM history"), 131, 1 + 30 + 100 + 4 * 100 + 64);
}

struct slow {
    pthread_mutex_t gate;
    atomic_int events;
    atomic_int lost;
    _Atomic int64_t last;
    atomic_int gaps;
};

static void
slow_event(void *arg, const struct syn_store_event *event)
{
    struct slow *slow = arg;

    pthread_mutex_lock(&slow->gate);
    pthread_mutex_unlock(&slow->gate);
    if (event->kind == SYN_STORE_EVENT_LOST) {
        atomic_fetch_add(&slow->lost, 1);
        return;
    }
    int64_t before = atomic_exchange(&slow->last, event->revision);
    atomic_fetch_add(&slow->gaps, before && event->revision != before + 1);
    atomic_fetch_add(&slow->events, 1);
}

static void
ignore_done(void *arg, int rc, const struct syn_store_result *result, const struct syn_err *why)
{
    (void)arg;
    (void)rc;
    (void)result;
    (void)why;
}

static void
write_many(struct syn_store *store, int count)
{
    struct syn_store_op op = {.kind = SYN_STORE_PUT, .key = "k", .value = "x", .len = 1};

    for (int i = 1; i <= count; i++) {
        if (i % 100 == 0)
            put(store, "k", "x");
        else
            assert_done(syn_store_txn_async(store, &op, 1, ignore_done, NULL, &err), &err);
    }
}

/* A watch that falls behind the ring is served from history; behind history it is told so. */
static void
carries_slow_watches(void **state)
{
    struct syn_store_sqlite_options options = {.path = path, .history_max = 4000};
    struct syn_store *store = NULL;
    struct syn_store_watch *watch;
    struct slow slow = {.gate = PTHREAD_MUTEX_INITIALIZER};

    (void)state;
    assert_done(syn_store_sqlite_open(&options, &store, &err), &err);
    assert_done(syn_store_watch(store, "", 0, slow_event, &slow, &watch, &err), &err);
    pthread_mutex_lock(&slow.gate);
    write_many(store, 3000);
    pthread_mutex_unlock(&slow.gate);
    for (int i = 0; i < 1000 && atomic_load(&slow.events) < 3000; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&slow.events), 3000);
    pthread_mutex_lock(&slow.gate);
    write_many(store, 16000);
    pthread_mutex_unlock(&slow.gate);
    for (int i = 0; i < 1000 && !atomic_load(&slow.lost); i++)
        usleep(10000);
    assert_int_equal(atomic_load(&slow.lost), 1);
    assert_int_equal(atomic_load(&slow.gaps), 0);
    put(store, "k", "after");
    syn_store_unwatch(store, watch);
    syn_store_close(store);
    assert_int_equal(atomic_load(&slow.lost), 1);
}

/* Leases over a restart, with a clock of our own */

static int64_t wall_ms;

static int64_t
fake_wall_ms(void *self)
{
    (void)self;
    return wall_ms;
}

static int64_t
real_mono_ns(void *self)
{
    const struct syn_world *world = syn_world_system();

    (void)self;
    return world->ops->mono_ns(world->self);
}

static void
no_random(void *self, void *out, size_t len)
{
    (void)self;
    memset(out, 0, len);
}

static const struct syn_world_ops fake_ops = {.version = SYN_WORLD_VERSION,
                                              .wall_ms = fake_wall_ms,
                                              .mono_ns = real_mono_ns,
                                              .random = no_random};

static void
counts_closed_time_for_leases(void **state)
{
    static const struct {
        int64_t away_ms; /* how far the clock moves while the store is closed */
        int64_t grace_ms;
        bool lives;
    } cases[] = {
        {0, 0, true},          {50000, 0, true},   {61000, 0, false},
        {61000, 100000, true}, {-999999, 0, true},
    };
    struct syn_world world = {&fake_ops, NULL};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_store_sqlite_options options = {.path = path, .world = &world};
        struct syn_store *store = NULL;
        struct syn_store_value value = {.data = "x", .len = 1};
        const struct syn_store_doc *doc = NULL;
        int64_t revision = 0;
        wipe(NULL);
        wall_ms = INT64_C(1700000000000);
        assert_done(syn_store_sqlite_open(&options, &store, &err), &err);
        assert_done(syn_store_lease_grant(store, 60000, &value.lease, &err), &err);
        assert_done(syn_store_put(store, "k", value, &revision, &err), &err);
        syn_store_close(store);
        wall_ms += cases[i].away_ms;
        options.lease_grace_ms = cases[i].grace_ms;
        assert_done(syn_store_sqlite_open(&options, &store, &err), &err);
        struct syn_store_recorder *recorder = syn_store_recorder_new();
        struct syn_store_watch *watch;
        assert_done(
            syn_store_watch(store, "", revision, syn_store_recorder_event, recorder, &watch, &err),
            &err);
        if (!cases[i].lives)
            assert_int_equal(syn_store_recorder_wait(recorder, 1), 1);
        assert_code(syn_store_lease_keepalive(store, value.lease, &err),
                    cases[i].lives ? SYN_OK : SYN_STORE_LEASE_OVER, &err);
        assert_int_equal(syn_store_get(store, "k", &doc, &err),
                         cases[i].lives ? SYN_OK : SYN_STORE_ABSENT);
        syn_store_doc_unref(doc);
        syn_store_unwatch(store, watch);
        syn_store_recorder_free(recorder);
        syn_store_close(store);
    }
}

static void
ends_a_lease_with_many_keys(void **state)
{
    enum { KEYS = 300 }; /* more than one revision holds */
    struct syn_store *store = opened();
    struct syn_store_value value = {.data = "x", .len = 1};
    char key[16];
    int64_t count = -1;

    (void)state;
    assert_done(syn_store_lease_grant(store, 60000, &value.lease, &err), &err);
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_done(syn_store_put(store, key, value, NULL, &err), &err);
    }
    int64_t before = 0;
    int64_t after = 0;
    assert_done(syn_store_revision(store, &before, &err), &err);
    assert_done(syn_store_lease_revoke(store, value.lease, &err), &err);
    assert_done(syn_store_count(store, "", &count, &err), &err);
    assert_done(syn_store_revision(store, &after, &err), &err);
    assert_int_equal(count, 0);
    assert_int_equal(after, before + (KEYS + SYN_STORE_ROWS_MAX - 1) / SYN_STORE_ROWS_MAX);
    assert_done(syn_store_verify(store, &err), &err);
    syn_store_close(store);
}

/* Backup */

static void
copies_itself_while_in_use(void **state)
{
    struct syn_store *store = opened();
    char copy[600];
    int64_t revision;
    int64_t copied;
    int64_t count;

    (void)state;
    (void)snprintf(copy, sizeof(copy), "%s", beside(".copy"));
    write_many(store, 500);
    put(store, "marker", "in the copy");
    write_many(store, 100);
    assert_done(syn_store_revision(store, &revision, &err), &err);
    assert_done(syn_store_backup(store, copy, &err), &err);
    put(store, "later", "not in the copy");
    assert_code(syn_store_backup(store, copy, &err), SYN_E_EXISTS, &err);
    assert_true(syn_store_backup(store, "/nowhere/at/all", &err) < 0);
    syn_store_close(store);
    assert_int_equal(rename(copy, path), 0);
    (void)unlink(beside("-wal"));
    store = opened();
    assert_done(syn_store_revision(store, &copied, &err), &err);
    assert_int_equal(copied, revision);
    assert_done(syn_store_count(store, "", &count, &err), &err);
    assert_int_equal(count, 2);
    assert_done(syn_store_verify(store, &err), &err);
    syn_store_close(store);
}

/* Rest */

static int64_t
cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
costs_nothing_when_idle(void **state)
{
    struct syn_store *store = opened();
    struct syn_store_recorder *recorder = syn_store_recorder_new();
    struct syn_store_watch *watch;
    int64_t lease, spent_us = INT64_MAX;

    (void)state;
    assert_done(syn_store_watch(store, "", 0, syn_store_recorder_event, recorder, &watch, &err),
                &err);
    assert_done(syn_store_lease_grant(store, 60000, &lease, &err), &err);
    /* What the threads still had to do may come late on a busy machine; then it ends. */
    for (int i = 0; i < 20 && spent_us > 2000; i++) {
        int64_t before = cpu_us();

        usleep(500000);
        spent_us = cpu_us() - before;
    }
    assert_in_range(spent_us, 0, 2000);
    syn_store_unwatch(store, watch);
    syn_store_recorder_free(recorder);
    syn_store_close(store);
}

struct selfish {
    struct syn_store *store;
    atomic_int rc;
};

static void
wait_inside(void *arg, int rc, const struct syn_store_result *result, const struct syn_err *why)
{
    struct selfish *selfish = arg;
    struct syn_store_value value = {.data = "x", .len = 1};
    struct syn_err inner;

    (void)rc;
    (void)result;
    (void)why;
    atomic_store(&selfish->rc, syn_store_put(selfish->store, "b", value, NULL, &inner));
}

static void
refuses_to_wait_for_itself(void **state)
{
    struct selfish selfish = {.store = opened()};
    struct syn_store_op op = {.kind = SYN_STORE_PUT, .key = "a", .value = "x", .len = 1};

    (void)state;
    assert_done(syn_store_txn_async(selfish.store, &op, 1, wait_inside, &selfish, &err), &err);
    syn_store_close(selfish.store);
    assert_int_equal(atomic_load(&selfish.rc), SYN_E_INTERNAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(refuses_files_it_did_not_write, fresh),
        cmocka_unit_test_setup(refuses_a_missing_folder, fresh),
        cmocka_unit_test_setup(keeps_the_wal_of_a_lost_file, fresh),
        cmocka_unit_test_setup(notices_flipped_bits, fresh),
        cmocka_unit_test_setup(keeps_the_pages_of_an_older_store, fresh),
        cmocka_unit_test_setup(notices_a_lost_entry, fresh),
        cmocka_unit_test_setup(keeps_a_second_opener_out, fresh),
        cmocka_unit_test_setup(answers_hot_keys_from_memory, fresh),
        cmocka_unit_test_setup(remembers_the_newest_of_a_group, fresh),
        cmocka_unit_test_setup(bounds_its_cache, fresh),
        cmocka_unit_test_setup(trims_history_by_itself, fresh),
        cmocka_unit_test_setup(carries_slow_watches, fresh),
        cmocka_unit_test_setup(counts_closed_time_for_leases, fresh),
        cmocka_unit_test_setup(ends_a_lease_with_many_keys, fresh),
        cmocka_unit_test_setup(copies_itself_while_in_use, fresh),
        cmocka_unit_test_setup(costs_nothing_when_idle, fresh),
        cmocka_unit_test_setup(refuses_to_wait_for_itself, fresh),
    };
    return cmocka_run_group_tests_name("store/sqlite", tests, NULL, NULL);
}
