/* The SQLite engine put together: one writing connection behind the writer's thread, a few reading
 * connections, the cache in front of them and the hub behind the writer.
 *
 * Why a reading is never older than what anybody saw before: a commit becomes visible to all
 * connections at one moment, after its fsync. The cache drops a key before that moment and is
 * filled again only from readings after it; the revision is raised by whoever sees it first. */
#include <synor/infra/store_sqlite.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>

#include "store_writer_priv.h"

#define READERS_MAX   4
#define WAL_BYTES_MAX (INT64_C(8) << 20)

struct engine {
    char *path;
    char *vfs;
    int lock_fd;
    struct syn_store_db db; /* the writer's */
    struct syn_store_cache *cache;
    struct syn_store_hub *hub;
    struct syn_store_writer *writer;
    atomic_int_least64_t revision;
    atomic_int_least64_t compacted;
    pthread_mutex_t lock; /* of the readers */
    pthread_cond_t free_again;
    unsigned open;  /* connections made */
    unsigned spare; /* of them now in `spares` */
    struct syn_store_db readers[READERS_MAX];
    struct syn_store_db *spares[READERS_MAX];
};

/* Reading connections: opened as needed, used last in first out so that caches stay warm. */

static int
reader_take(struct engine *engine, struct syn_store_db **ret_db, struct syn_err *err)
{
    int rc = SYN_OK;

    pthread_mutex_lock(&engine->lock);
    while (engine->spare == 0 && engine->open == READERS_MAX)
        pthread_cond_wait(&engine->free_again, &engine->lock);
    if (engine->spare > 0) {
        *ret_db = engine->spares[--engine->spare];
    } else {
        struct syn_store_db *db = &engine->readers[engine->open];
        rc = syn_store_db_open(db, engine->path, engine->vfs, err);
        if (rc < 0)
            syn_store_db_close(db);
        else
            engine->open++;
        *ret_db = rc < 0 ? NULL : db;
    }
    pthread_mutex_unlock(&engine->lock);
    return rc;
}

static void
reader_give(struct engine *engine, struct syn_store_db *db)
{
    syn_store_db_rollback(db); /* ends a read transaction, if there is one */
    pthread_mutex_lock(&engine->lock);
    engine->spares[engine->spare++] = db;
    pthread_cond_signal(&engine->free_again);
    pthread_mutex_unlock(&engine->lock);
}

static void
saw_revision(struct engine *engine, int64_t revision)
{
    int64_t seen = atomic_load(&engine->revision);

    while (seen < revision && !atomic_compare_exchange_weak(&engine->revision, &seen, revision))
        ;
}

static int
engine_get(void *self, const char *key, const struct syn_store_doc **ret_doc, struct syn_err *err)
{
    struct engine *engine = self;
    struct syn_store_db *db;
    uint64_t ticket = 0;
    const struct syn_store_doc *doc = syn_store_cache_get(engine->cache, key, &ticket);

    if (doc) {
        *ret_doc = doc;
        return SYN_OK;
    }
    int rc = reader_take(engine, &db, err);
    if (rc < 0)
        return rc;
    rc = syn_store_db_get(db, key, &doc, err);
    reader_give(engine, db);
    if (rc != SYN_OK)
        return rc;
    saw_revision(engine, doc->mod_revision);
    syn_store_cache_fill(engine->cache, doc, ticket);
    *ret_doc = doc;
    return SYN_OK;
}

static int
engine_list(void *self, const struct syn_store_range *range, struct syn_store_page *ret_page,
            struct syn_err *err)
{
    struct engine *engine = self;
    struct syn_store_db *db;
    struct syn_store_page page = {0};
    int64_t newest = 0;
    int rc = reader_take(engine, &db, err);

    if (rc < 0)
        return rc;
    rc = syn_store_db_run(db, SYN_SQL_BEGIN, 0, 0, err);
    if (rc == SYN_OK)
        rc = syn_store_db_number(db, SYN_SQL_REVISION, 0, 0, &newest, err);
    if (rc == SYN_OK)
        rc = syn_store_db_list(db, range, &page, err);
    reader_give(engine, db);
    if (rc < 0) {
        syn_store_page_fini(&page);
        return rc;
    }
    page.revision = syn_store_row_revision(newest);
    saw_revision(engine, page.revision);
    *ret_page = page;
    return SYN_OK;
}

static int
engine_count(void *self, const char *prefix, int64_t *ret_count, struct syn_err *err)
{
    struct engine *engine = self;
    struct syn_store_db *db;
    int rc = reader_take(engine, &db, err);

    if (rc < 0)
        return rc;
    rc = syn_store_db_count(db, prefix, ret_count, err);
    reader_give(engine, db);
    return rc;
}

static int
engine_replay(void *self, const char *prefix, int64_t after, struct syn_store_batch *batch,
              struct syn_err *err)
{
    struct engine *engine = self;
    struct syn_store_db *db;
    int rc = reader_take(engine, &db, err);

    if (rc < 0)
        return rc;
    rc = syn_store_db_run(db, SYN_SQL_BEGIN, 0, 0, err);
    if (rc == SYN_OK)
        rc = syn_store_db_events(db, prefix, after, batch, err);
    reader_give(engine, db);
    return rc;
}

static int
engine_txn(void *self, const struct syn_store_op *ops, size_t count,
           struct syn_store_result *ret_result, struct syn_err *err)
{
    return syn_store_writer_txn(((struct engine *)self)->writer, ops, count, ret_result, err);
}

static int
engine_txn_async(void *self, const struct syn_store_op *ops, size_t count, syn_store_done_fn done,
                 void *arg, struct syn_err *err)
{
    return syn_store_writer_txn_async(((struct engine *)self)->writer, ops, count, done, arg, err);
}

static int
engine_watch(void *self, const char *prefix, int64_t after, syn_store_watch_fn fn, void *arg,
             struct syn_store_watch **ret_watch, struct syn_err *err)
{
    struct engine *engine = self;

    if (after < atomic_load(&engine->compacted))
        return SYN_STORE_COMPACTED;
    return syn_store_hub_watch(engine->hub, prefix, after, fn, arg, ret_watch, err);
}

static void
engine_unwatch(void *self, struct syn_store_watch *watch)
{
    syn_store_hub_unwatch(((struct engine *)self)->hub, watch);
}

static int
engine_lease_grant(void *self, int64_t ttl_ms, int64_t *ret_lease, struct syn_err *err)
{
    return syn_store_writer_lease_grant(((struct engine *)self)->writer, ttl_ms, ret_lease, err);
}

static int
engine_lease_keepalive(void *self, int64_t lease, struct syn_err *err)
{
    return syn_store_writer_lease_keepalive(((struct engine *)self)->writer, lease, err);
}

static int
engine_lease_revoke(void *self, int64_t lease, struct syn_err *err)
{
    return syn_store_writer_lease_revoke(((struct engine *)self)->writer, lease, err);
}

static int
engine_compact(void *self, int64_t revision, struct syn_err *err)
{
    return syn_store_writer_compact(((struct engine *)self)->writer, revision, err);
}

static int
engine_revision(void *self, int64_t *ret_revision, struct syn_err *err)
{
    (void)err;
    *ret_revision = atomic_load(&((struct engine *)self)->revision);
    return SYN_OK;
}

static int
engine_verify(void *self, struct syn_err *err)
{
    struct engine *engine = self;
    struct syn_store_db *db;
    int rc = reader_take(engine, &db, err);

    if (rc < 0)
        return rc;
    rc = syn_store_db_run(db, SYN_SQL_BEGIN, 0, 0, err);
    if (rc == SYN_OK)
        rc = syn_store_db_verify(db, err);
    reader_give(engine, db);
    return rc;
}

/* Backup */

static int
sync_path(const char *path, int flags, struct syn_err *err)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    int sys = fd < 0 || fsync(fd) != 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    return sys ? SYN_FAIL_SYS(err, sys, "syncing %s", path) : SYN_OK;
}

static int
sync_folder_of(const char *path, struct syn_err *err)
{
    char *copy = syn_strdup(path);

    if (!copy)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the folder of %s", path);
    int rc = sync_path(dirname(copy), O_DIRECTORY, err);
    syn_free(copy);
    return rc;
}

/* All pages in one step: one read transaction, so one moment of the store. */
static int
copy_database(struct syn_store_db *from, const char *path, struct syn_err *err)
{
    struct syn_store_db to = {.path = path};
    int code = sqlite3_open_v2(path, &to.sql,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_EXRESCODE,
                               NULL);
    if (code == SQLITE_OK) {
        sqlite3_backup *backup = sqlite3_backup_init(to.sql, "main", from->sql, "main");
        if (backup) {
            sqlite3_backup_step(backup, -1);
            code = sqlite3_backup_finish(backup);
        } else {
            code = sqlite3_extended_errcode(to.sql);
        }
    }
    int rc = code == SQLITE_OK ? SYN_OK : syn_store_db_fail(&to, code, "writing the backup", err);
    sqlite3_close(to.sql);
    return rc;
}

static int
publish_backup(const char *part, const char *path, struct syn_err *err)
{
    int rc = sync_path(part, 0, err);

    if (rc < 0)
        return rc;
    if (link(part, path) != 0)
        return errno == EEXIST ? SYN_FAIL(err, SYN_E_EXISTS, "%s exists already", path)
                               : SYN_FAIL_SYS(err, errno, "creating the backup %s", path);
    return sync_folder_of(path, err);
}

static int
engine_backup(void *self, const char *path, struct syn_err *err)
{
    struct engine *engine = self;
    struct syn_store_db *db;
    size_t cap = strlen(path) + 32;
    SYN_SCOPED(syn_free_scope) char *part = syn_alloc(cap);

    if (!part)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the name of a backup");
    if (access(path, F_OK) == 0)
        return SYN_FAIL(err, SYN_E_EXISTS, "%s exists already", path);
    snprintf(part, cap, "%s.part-%d", path, (int)getpid());
    unlink(part);
    int rc = reader_take(engine, &db, err);
    if (rc < 0)
        return rc;
    rc = copy_database(db, part, err);
    reader_give(engine, db);
    if (rc == SYN_OK)
        rc = publish_backup(part, path, err);
    unlink(part);
    return rc;
}

/* Opening and closing */

/* The lock lives as long as the descriptor, so a killed owner leaves none. The pid inside is only
 * for the message. */
static int
lock_file(struct engine *engine, struct syn_err *err)
{
    char name[4096];
    char text[32] = "";

    if ((size_t)snprintf(name, sizeof(name), "%s.lock", engine->path) >= sizeof(name))
        return SYN_FAIL(err, SYN_E_INVALID, "the store's path is too long");
    engine->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (engine->lock_fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening the lock %s", name);
    if (flock(engine->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return SYN_FAIL_SYS(err, errno, "locking %s", name);
        if (pread(engine->lock_fd, text, sizeof(text) - 1, 0) < 0)
            text[0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "store %s is in use by process %s: stop it, or choose another data folder",
                        engine->path, text[0] ? text : "(unknown)");
    }
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(engine->lock_fd, 0) != 0 || pwrite(engine->lock_fd, text, (size_t)len, 0) != len)
        return SYN_FAIL_SYS(err, errno, "writing %s", name);
    return SYN_OK;
}

/* SQLite takes an empty file for a new database and deletes the WAL beside it, which may hold
 * everything: refuse that. Otherwise make the file, private and known to its folder. */
static int
check_files(struct engine *engine, struct syn_err *err)
{
    char wal[4096];
    struct stat file = {0};
    struct stat log = {0};

    if ((size_t)snprintf(wal, sizeof(wal), "%s-wal", engine->path) >= sizeof(wal))
        return SYN_FAIL(err, SYN_E_INVALID, "the store's path is too long");
    bool there = stat(engine->path, &file) == 0;
    if (there && file.st_size > 0)
        return SYN_OK;
    if (stat(wal, &log) == 0 && log.st_size > 0)
        return SYN_FAIL(err, SYN_E_CORRUPT,
                        "store %s is %s, but %s is not: put the file back, or a backup, or move "
                        "both away",
                        engine->path, there ? "empty" : "gone", wal);
    int fd = open(engine->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "creating store %s", engine->path);
    close(fd);
    return sync_folder_of(engine->path, err);
}

static int
read_state(struct engine *engine, struct syn_err *err)
{
    int64_t newest = 0;
    int64_t compacted = 0;
    int rc = syn_store_db_number(&engine->db, SYN_SQL_REVISION, 0, 0, &newest, err);

    if (rc == SYN_OK)
        rc = syn_store_db_number(&engine->db, SYN_SQL_COMPACTED, 0, 0, &compacted, err);
    if (rc < 0)
        return rc;
    if (rc == SYN_STORE_ABSENT || compacted > syn_store_row_revision(newest))
        return SYN_FAIL(err, SYN_E_CORRUPT,
                        "store %s contradicts itself: stop synor, move the file away and put a "
                        "backup in its place",
                        engine->path);
    atomic_store(&engine->revision, syn_store_row_revision(newest));
    atomic_store(&engine->compacted, compacted);
    return SYN_OK;
}

static int
open_parts(struct engine *engine, const struct syn_store_sqlite_options *options,
           struct syn_err *err)
{
    int rc = lock_file(engine, err);

    if (rc == SYN_OK)
        rc = check_files(engine, err);
    if (rc == SYN_OK)
        rc = syn_store_db_open(&engine->db, engine->path, engine->vfs, err);
    if (rc == SYN_OK)
        rc = syn_store_db_prepare(&engine->db, err);
    if (rc == SYN_OK)
        rc = read_state(engine, err);
    if (rc == SYN_OK)
        rc = syn_store_cache_new(&engine->cache, err);
    if (rc == SYN_OK)
        rc = syn_store_hub_new(atomic_load(&engine->revision), engine_replay, engine, &engine->hub,
                               err);
    if (rc < 0)
        return rc;
    struct syn_store_writer_parts parts = {
        .db = &engine->db,
        .cache = engine->cache,
        .hub = engine->hub,
        .world = options->world ? options->world : syn_world_system(),
        .revision = &engine->revision,
        .compacted = &engine->compacted,
        .history_max = options->history_max ? options->history_max : SYN_STORE_HISTORY,
        .lease_grace_ms = options->lease_grace_ms,
        .wal_bytes_max = options->wal_bytes_max ? options->wal_bytes_max : WAL_BYTES_MAX,
    };
    return syn_store_writer_new(&parts, &engine->writer, err);
}

/* The writing connection goes last: SQLite checkpoints when the last one closes. */
static void
engine_close(void *self)
{
    struct engine *engine = self;

    syn_store_writer_free(engine->writer);
    syn_store_hub_free(engine->hub);
    syn_store_cache_free(engine->cache);
    for (unsigned i = 0; i < engine->open; i++)
        syn_store_db_close(&engine->readers[i]);
    syn_store_db_close(&engine->db);
    pthread_cond_destroy(&engine->free_again);
    pthread_mutex_destroy(&engine->lock);
    if (engine->lock_fd >= 0)
        close(engine->lock_fd);
    syn_free(engine->vfs);
    syn_free(engine->path);
    syn_free(engine);
}

static const struct syn_store_ops sqlite_ops = {
    .version = SYN_STORE_OPS_VERSION,
    .name = "sqlite",
    .close = engine_close,
    .get = engine_get,
    .list = engine_list,
    .count = engine_count,
    .txn = engine_txn,
    .txn_async = engine_txn_async,
    .watch = engine_watch,
    .unwatch = engine_unwatch,
    .lease_grant = engine_lease_grant,
    .lease_keepalive = engine_lease_keepalive,
    .lease_revoke = engine_lease_revoke,
    .compact = engine_compact,
    .revision = engine_revision,
    .backup = engine_backup,
    .verify = engine_verify,
};

int
syn_store_sqlite_open(const struct syn_store_sqlite_options *options, struct syn_store **ret_store,
                      struct syn_err *err)
{
    if (options->history_max < 0 || options->lease_grace_ms < 0 || options->wal_bytes_max < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "store options are not negative");
    struct engine *engine = syn_calloc(1, sizeof(*engine));
    if (!engine)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for store %s", options->path);
    engine->lock_fd = -1;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->free_again, NULL);
    engine->path = syn_strdup(options->path);
    engine->vfs = options->vfs ? syn_strdup(options->vfs) : NULL;
    int rc = engine->path && (engine->vfs || !options->vfs)
                 ? open_parts(engine, options, err)
                 : SYN_FAIL(err, SYN_E_NOMEM, "no memory for store %s", options->path);
    if (rc == SYN_OK)
        rc = syn_store_new(&sqlite_ops, engine, ret_store, err);
    if (rc < 0)
        engine_close(engine);
    return rc;
}
