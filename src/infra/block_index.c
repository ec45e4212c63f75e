/* Where each block is: SQLite in WAL mode. A batch is one transaction, and a commit that returned
 * is on disk. One connection writes and checkpoints (two that race a checkpoint can corrupt the
 * file in versions before 3.51.3); a second one looks up, so that reads never wait for a sync. */
#include "block_priv.h"

#include <unistd.h>

#include <sqlite3.h>

#include <synor/base/mem.h>

#define BUSY_MS            10000
#define CHECKPOINT_COMMITS 64
#define PRUNE_ROWS         (INT64_C(1) << 18)
#define SCHEMA_VERSION     ((int)SYN_LEN(steps))

#define COLUMNS "codec, pack, offset, stored, size, flags, born, bad, key"

enum statement {
    STMT_FIND,
    STMT_ADD,
    STMT_TOUCH,
    STMT_REMOVE,
    STMT_BASE,
    STMT_BASES_FORGET,
    STMT_ANCHOR,
    STMT_ANCHORS_PRUNE,
    STMT_MOVE,
    STMT_MARK,
    STMT_KEY_ADD,
    STMT_KEY_FIND,
    STMT_KEY_FORGET,
    STMT_KEY_OF,
    STMT_PACK,
    STMT_PACK_FORGET,
    STMT_COUNT_PUT,
    STMT_COUNT,
};

static const char *const statements[] = {
    [STMT_FIND] = "SELECT " COLUMNS " FROM block WHERE digest = ?1",
    [STMT_ADD] = "INSERT INTO block(digest, codec, pack, offset, stored, size, flags, born, key)"
                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                 " ON CONFLICT(digest) DO UPDATE SET born = max(born, excluded.born)",
    [STMT_TOUCH] = "UPDATE block SET born = max(born, ?2) WHERE digest = ?1",
    [STMT_REMOVE] = "DELETE FROM block WHERE digest = ?1",
    [STMT_BASE] = "INSERT OR IGNORE INTO base(digest, base) VALUES(?1, ?2)",
    [STMT_BASES_FORGET] = "DELETE FROM base WHERE digest = ?1",
    [STMT_ANCHOR] = "INSERT OR REPLACE INTO anchor(hash, digest, at) VALUES(?1, ?2, ?3)",
    [STMT_ANCHORS_PRUNE] = "DELETE FROM anchor WHERE hash BETWEEN ?1 AND ?2"
                           " AND digest NOT IN (SELECT digest FROM block)",
    [STMT_MOVE] = "UPDATE block SET pack = ?2, offset = ?3, stored = ?4, flags = ?5, bad = 0,"
                  " key = ?8 WHERE digest = ?1 AND pack = ?6 AND offset = ?7",
    [STMT_MARK] = "UPDATE block SET bad = ?4 WHERE digest = ?1 AND pack = ?2 AND offset = ?3",
    [STMT_KEY_ADD] = "INSERT OR IGNORE INTO key(id) VALUES(?1)",
    [STMT_KEY_FIND] = "SELECT number FROM key WHERE id = ?1",
    [STMT_KEY_FORGET] = "DELETE FROM key WHERE number = ?1",
    [STMT_KEY_OF] = "UPDATE block SET key = ?2 WHERE digest = ?1",
    [STMT_PACK] = "INSERT INTO pack(id, size) VALUES(?1, ?2)"
                  " ON CONFLICT(id) DO UPDATE SET size = max(size, excluded.size)",
    [STMT_PACK_FORGET] = "DELETE FROM pack WHERE id = ?1",
    [STMT_COUNT_PUT] = "UPDATE meta SET value = value + ?1 WHERE key = 'put_bytes'",
};

/* What a first start makes, then what each later version of the format added: a store of version N
 * takes the steps from N on. */
static const char *const steps[] = {
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE pack(id INTEGER PRIMARY KEY, size INTEGER NOT NULL);"
    "CREATE TABLE block(digest BLOB PRIMARY KEY, codec INTEGER NOT NULL, pack INTEGER NOT NULL,"
    " offset INTEGER NOT NULL, stored INTEGER NOT NULL, size INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, born INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('put_bytes', 0);",
    /* 2: what the last read of a block found */
    "ALTER TABLE block ADD COLUMN bad INTEGER NOT NULL DEFAULT 0;",
    /* 3: which key a block is sealed under, 0 for none; of blocks from before that is to be found
     * out */
    "ALTER TABLE block ADD COLUMN key INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE key(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);"
    "INSERT INTO meta VALUES('unkeyed', 1);",
    /* 4: blocks that are slices of others, and how to find others */
    "CREATE TABLE base(digest BLOB NOT NULL, base BLOB NOT NULL, PRIMARY KEY(digest, base))"
    " WITHOUT ROWID;"
    "CREATE TABLE anchor(hash INTEGER PRIMARY KEY, digest BLOB NOT NULL, at INTEGER NOT NULL);",
};

/* An index that was begun and never ready: it is made anew. */
static const char forget_all[] = "DROP TABLE IF EXISTS meta; DROP TABLE IF EXISTS pack;"
                                 "DROP TABLE IF EXISTS block; DROP TABLE IF EXISTS key;"
                                 "DROP TABLE IF EXISTS base; DROP TABLE IF EXISTS anchor;";

struct syn_index {
    sqlite3 *writer;
    sqlite3_stmt *stmts[STMT_COUNT];
    pthread_mutex_t write_lock;
    unsigned commits;
    sqlite3 *reader;
    sqlite3_stmt *find;
    sqlite3_stmt *pack_size;
    sqlite3_stmt *anchor;
    pthread_mutex_t read_lock;
};

static int
fail_sql(struct syn_err *err, sqlite3 *db, int result, const char *what)
{
    int code = SYN_E_IO;

    switch (result & 0xff) {
    case SQLITE_NOMEM:
        code = SYN_E_NOMEM;
        break;
    case SQLITE_FULL:
        code = SYN_E_NOSPACE;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SYN_FAIL(err, SYN_E_CORRUPT,
                        "%s: the content store's index is damaged; remove its index.db* files and "
                        "it is rebuilt from the blocks",
                        what);
    case SQLITE_IOERR:
        if (db != NULL && sqlite3_system_errno(db) != 0)
            return SYN_FAIL_SYS(err, sqlite3_system_errno(db), "%s", what);
        break;
    default:
        break;
    }
    return SYN_FAIL(err, code, "%s: %s", what,
                    db == NULL ? sqlite3_errstr(result) : sqlite3_errmsg(db));
}

static SYN_MUST int
run_sql(sqlite3 *db, const char *sql, const char *what, struct syn_err *err)
{
    int result = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return result == SQLITE_OK ? SYN_OK : fail_sql(err, db, result, what);
}

static SYN_MUST int
connect_db(const char *path, sqlite3 **ret_db, struct syn_err *err)
{
    sqlite3 *db = NULL;
    int result = sqlite3_open_v2(
        path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    int rc = SYN_OK;

    if (result != SQLITE_OK)
        rc = fail_sql(err, db, result, path);
    if (rc == 0) {
        (void)sqlite3_busy_timeout(db, BUSY_MS);
        rc = run_sql(db,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096;",
                     path, err);
    }
    if (rc < 0)
        (void)sqlite3_close(db);
    else
        *ret_db = db;
    return rc;
}

static SYN_MUST int
prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret_stmt, struct syn_err *err)
{
    int result = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL);

    return result == SQLITE_OK ? SYN_OK : fail_sql(err, db, result, "content index");
}

static SYN_MUST int
read_number(sqlite3 *db, const char *sql, int64_t *ret_value, struct syn_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = prepare(db, sql, &stmt, err);

    if (rc < 0)
        return rc;
    if (sqlite3_step(stmt) == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(stmt, 0);
    else
        rc = fail_sql(err, db, sqlite3_extended_errcode(db), "content index");
    (void)sqlite3_finalize(stmt);
    return rc;
}

int
syn_index_begin(struct syn_index *index, struct syn_err *err)
{
    int rc;

    (void)pthread_mutex_lock(&index->write_lock);
    rc = run_sql(index->writer, "BEGIN IMMEDIATE", "content index", err);
    if (rc < 0)
        (void)pthread_mutex_unlock(&index->write_lock);
    return rc;
}

int
syn_index_end(struct syn_index *index, int rc, struct syn_err *err)
{
    if (rc == 0)
        rc = run_sql(index->writer, "COMMIT", "committing blocks", err);
    if (rc != 0)
        (void)sqlite3_exec(index->writer, "ROLLBACK", NULL, NULL, NULL);
    /* A checkpoint that fails leaves the log as it is; the next one tries again. */
    if (rc == 0 && ++index->commits % CHECKPOINT_COMMITS == 0)
        (void)sqlite3_wal_checkpoint_v2(index->writer, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    (void)pthread_mutex_unlock(&index->write_lock);
    return rc;
}

static SYN_MUST int
set_version(struct syn_index *index, int version, struct syn_err *err)
{
    char sql[48];

    (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
    return run_sql(index->writer, sql, "content index", err);
}

/* A new index gets its version only when it is ready; until then it has version 0. */
static SYN_MUST int
bring_up(struct syn_index *index, int version, struct syn_err *err)
{
    int rc = version == 0 ? run_sql(index->writer, forget_all, "content index", err) : SYN_OK;

    for (int step = version; rc == 0 && step < SCHEMA_VERSION; step++)
        rc = run_sql(index->writer, steps[step], "content index", err);
    if (rc == 0 && version != 0)
        rc = set_version(index, SCHEMA_VERSION, err);
    return rc;
}

static SYN_MUST int
make_schema(struct syn_index *index, enum syn_index_state *ret_state, struct syn_err *err)
{
    int64_t version = 0;
    int64_t unkeyed = 0;
    int rc = read_number(index->writer, "PRAGMA user_version", &version, err);

    if (rc == 0 && version > SCHEMA_VERSION)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "the content store was made by a newer version (format %d)", (int)version);
    if (rc == 0 && version < SCHEMA_VERSION) {
        rc = syn_index_begin(index, err);
        if (rc == 0)
            rc = syn_index_end(index, bring_up(index, (int)version, err), err);
    }
    if (rc == 0)
        rc = read_number(index->writer, "SELECT count(*) FROM meta WHERE key = 'unkeyed'", &unkeyed,
                         err);
    if (rc == 0)
        *ret_state = version == 0   ? SYN_INDEX_NEW
                     : unkeyed != 0 ? SYN_INDEX_UNKEYED
                                    : SYN_INDEX_READY;
    return rc;
}

int
syn_index_ready(struct syn_index *index, struct syn_err *err)
{
    int rc = syn_index_begin(index, err);

    if (rc != 0)
        return rc;
    rc = run_sql(index->writer, "DELETE FROM meta WHERE key = 'unkeyed'", "content index", err);
    if (rc == 0)
        rc = set_version(index, SCHEMA_VERSION, err);
    return syn_index_end(index, rc, err);
}

int
syn_index_open(const char *path, struct syn_index **ret_index, enum syn_index_state *ret_state,
               struct syn_err *err)
{
    struct syn_index *index = syn_calloc(1, sizeof(*index));
    int rc;

    if (index == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the content index");
    (void)pthread_mutex_init(&index->write_lock, NULL);
    (void)pthread_mutex_init(&index->read_lock, NULL);
    rc = connect_db(path, &index->writer, err);
    if (rc == 0)
        rc = make_schema(index, ret_state, err);
    for (size_t i = 0; rc == 0 && i < STMT_COUNT; i++)
        rc = prepare(index->writer, statements[i], &index->stmts[i], err);
    if (rc == 0)
        rc = connect_db(path, &index->reader, err);
    if (rc == 0)
        rc = prepare(index->reader, statements[STMT_FIND], &index->find, err);
    if (rc == 0)
        rc = prepare(index->reader, "SELECT size FROM pack WHERE id = ?1", &index->pack_size, err);
    if (rc == 0)
        rc = prepare(index->reader, "SELECT digest, at FROM anchor WHERE hash = ?1", &index->anchor,
                     err);
    if (rc < 0) {
        syn_index_close(index);
        return rc;
    }
    *ret_index = index;
    return SYN_OK;
}

struct syn_index *
syn_index_close(struct syn_index *index)
{
    if (index == NULL)
        return NULL;
    (void)sqlite3_finalize(index->find);
    (void)sqlite3_finalize(index->pack_size);
    (void)sqlite3_finalize(index->anchor);
    (void)sqlite3_close(index->reader);
    for (size_t i = 0; i < STMT_COUNT; i++)
        (void)sqlite3_finalize(index->stmts[i]);
    (void)sqlite3_close(index->writer);
    (void)pthread_mutex_destroy(&index->write_lock);
    (void)pthread_mutex_destroy(&index->read_lock);
    syn_free(index);
    return NULL;
}

/* COLUMNS from `at` on. */
static void
read_row(sqlite3_stmt *stmt, int at, struct syn_index_row *row)
{
    row->cid.codec =
        sqlite3_column_int(stmt, at) == SYN_CODEC_RAW ? SYN_CODEC_RAW : SYN_CODEC_DAG_PB;
    row->place.pack = (uint32_t)sqlite3_column_int64(stmt, at + 1);
    row->place.offset = (uint64_t)sqlite3_column_int64(stmt, at + 2);
    row->stored = (uint32_t)sqlite3_column_int64(stmt, at + 3);
    row->size = (uint32_t)sqlite3_column_int64(stmt, at + 4);
    row->flags = (unsigned)sqlite3_column_int(stmt, at + 5);
    row->born_ms = sqlite3_column_int64(stmt, at + 6);
    row->bad = sqlite3_column_int(stmt, at + 7) != 0;
    row->key = (uint32_t)sqlite3_column_int64(stmt, at + 8);
}

static SYN_MUST int
find_row(sqlite3 *db, sqlite3_stmt *stmt, const uint8_t *digest, struct syn_index_row *ret_row,
         struct syn_err *err)
{
    int result;
    int rc = SYN_OK;

    (void)sqlite3_bind_blob(stmt, 1, digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    result = sqlite3_step(stmt);
    if (result == SQLITE_ROW) {
        read_row(stmt, 0, ret_row);
        memcpy(ret_row->cid.digest, digest, SYN_DIGEST_BYTES);
    } else if (result == SQLITE_DONE) {
        rc = SYN_INDEX_NONE;
    } else {
        rc = fail_sql(err, db, result, "looking up a block");
    }
    (void)sqlite3_reset(stmt);
    return rc;
}

int
syn_index_find(struct syn_index *index, const uint8_t *digest, struct syn_index_row *ret_row,
               struct syn_err *err)
{
    int rc;

    (void)pthread_mutex_lock(&index->read_lock);
    rc = find_row(index->reader, index->find, digest, ret_row, err);
    (void)pthread_mutex_unlock(&index->read_lock);
    return rc;
}

int
syn_index_get(struct syn_index *index, const uint8_t *digest, struct syn_index_row *ret_row,
              struct syn_err *err)
{
    return find_row(index->writer, index->stmts[STMT_FIND], digest, ret_row, err);
}

int
syn_index_pack_size(struct syn_index *index, uint32_t pack, uint64_t *ret_size, struct syn_err *err)
{
    int result;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&index->read_lock);
    (void)sqlite3_bind_int64(index->pack_size, 1, pack);
    result = sqlite3_step(index->pack_size);
    if (result == SQLITE_ROW)
        *ret_size = (uint64_t)sqlite3_column_int64(index->pack_size, 0);
    else if (result == SQLITE_DONE)
        *ret_size = 0;
    else
        rc = fail_sql(err, index->reader, result, "looking up a pack");
    (void)sqlite3_reset(index->pack_size);
    (void)pthread_mutex_unlock(&index->read_lock);
    return rc;
}

static SYN_MUST int
step(struct syn_index *index, enum statement which, struct syn_err *err)
{
    int result = sqlite3_step(index->stmts[which]);
    int rc =
        result == SQLITE_DONE ? SYN_OK : fail_sql(err, index->writer, result, "writing the index");

    (void)sqlite3_reset(index->stmts[which]);
    return rc;
}

static void
bind_place(sqlite3_stmt *stmt, int at, struct syn_place place)
{
    (void)sqlite3_bind_int64(stmt, at, place.pack);
    (void)sqlite3_bind_int64(stmt, at + 1, (sqlite3_int64)place.offset);
}

int
syn_index_add(struct syn_index *index, const struct syn_index_row *row, struct syn_err *err)
{
    sqlite3_stmt *stmt = index->stmts[STMT_ADD];

    (void)sqlite3_bind_blob(stmt, 1, row->cid.digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_int(stmt, 2, (int)row->cid.codec);
    bind_place(stmt, 3, row->place);
    (void)sqlite3_bind_int64(stmt, 5, row->stored);
    (void)sqlite3_bind_int64(stmt, 6, row->size);
    (void)sqlite3_bind_int(stmt, 7, (int)row->flags);
    (void)sqlite3_bind_int64(stmt, 8, row->born_ms);
    (void)sqlite3_bind_int64(stmt, 9, row->key);
    return step(index, STMT_ADD, err);
}

int
syn_index_touch(struct syn_index *index, const uint8_t *digest, int64_t born_ms,
                struct syn_err *err)
{
    (void)sqlite3_bind_blob(index->stmts[STMT_TOUCH], 1, digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_int64(index->stmts[STMT_TOUCH], 2, born_ms);
    return step(index, STMT_TOUCH, err);
}

static SYN_MUST int
forget_bases(struct syn_index *index, const uint8_t *digest, struct syn_err *err)
{
    (void)sqlite3_bind_blob(index->stmts[STMT_BASES_FORGET], 1, digest, SYN_DIGEST_BYTES,
                            SQLITE_STATIC);
    return step(index, STMT_BASES_FORGET, err);
}

int
syn_index_remove(struct syn_index *index, const uint8_t *digest, struct syn_err *err)
{
    int rc;

    (void)sqlite3_bind_blob(index->stmts[STMT_REMOVE], 1, digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    rc = step(index, STMT_REMOVE, err);
    return rc == 0 ? forget_bases(index, digest, err) : rc;
}

int
syn_index_bases(struct syn_index *index, const uint8_t *digest,
                const uint8_t (*bases)[SYN_DIGEST_BYTES], unsigned count, struct syn_err *err)
{
    sqlite3_stmt *stmt = index->stmts[STMT_BASE];
    int rc = forget_bases(index, digest, err);

    for (unsigned i = 0; rc == 0 && i < count; i++) {
        (void)sqlite3_bind_blob(stmt, 1, digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
        (void)sqlite3_bind_blob(stmt, 2, bases[i], SYN_DIGEST_BYTES, SQLITE_STATIC);
        rc = step(index, STMT_BASE, err);
    }
    return rc;
}

int
syn_index_prune_recipes(struct syn_index *index, struct syn_err *err)
{
    return run_sql(index->writer,
                   "DELETE FROM block WHERE flags & 4 AND digest IN (SELECT digest FROM base"
                   " WHERE base NOT IN (SELECT digest FROM block WHERE NOT flags & 4));"
                   "DELETE FROM base WHERE digest NOT IN"
                   " (SELECT digest FROM block WHERE flags & 4);",
                   "pruning the content index", err);
}

int
syn_index_anchor(struct syn_index *index, const struct syn_anchor *anchor, const uint8_t *digest,
                 struct syn_err *err)
{
    sqlite3_stmt *stmt = index->stmts[STMT_ANCHOR];

    (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)anchor->hash);
    (void)sqlite3_bind_blob(stmt, 2, digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 3, anchor->at);
    return step(index, STMT_ANCHOR, err);
}

int
syn_index_anchor_find(struct syn_index *index, uint64_t hash,
                      uint8_t ret_digest[static SYN_DIGEST_BYTES], uint32_t *ret_at,
                      struct syn_err *err)
{
    int result;
    int rc = SYN_INDEX_NONE;

    (void)pthread_mutex_lock(&index->read_lock);
    (void)sqlite3_bind_int64(index->anchor, 1, (sqlite3_int64)hash);
    result = sqlite3_step(index->anchor);
    if (result == SQLITE_ROW && sqlite3_column_bytes(index->anchor, 0) == SYN_DIGEST_BYTES) {
        memcpy(ret_digest, sqlite3_column_blob(index->anchor, 0), SYN_DIGEST_BYTES);
        *ret_at = (uint32_t)sqlite3_column_int64(index->anchor, 1);
        rc = SYN_OK;
    } else if (result != SQLITE_ROW && result != SQLITE_DONE) {
        rc = fail_sql(err, index->reader, result, "looking up an anchor");
    }
    (void)sqlite3_reset(index->anchor);
    (void)pthread_mutex_unlock(&index->read_lock);
    return rc;
}

int
syn_index_move(struct syn_index *index, const struct syn_index_row *row, struct syn_place from,
               struct syn_err *err)
{
    sqlite3_stmt *stmt = index->stmts[STMT_MOVE];

    (void)sqlite3_bind_blob(stmt, 1, row->cid.digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    bind_place(stmt, 2, row->place);
    (void)sqlite3_bind_int64(stmt, 4, row->stored);
    (void)sqlite3_bind_int(stmt, 5, (int)row->flags);
    bind_place(stmt, 6, from);
    (void)sqlite3_bind_int64(stmt, 8, row->key);
    return step(index, STMT_MOVE, err);
}

int
syn_index_mark(struct syn_index *index, const struct syn_index_row *row, bool bad,
               struct syn_err *err)
{
    sqlite3_stmt *stmt = index->stmts[STMT_MARK];
    int rc = syn_index_begin(index, err);

    if (rc != 0)
        return rc;
    (void)sqlite3_bind_blob(stmt, 1, row->cid.digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    bind_place(stmt, 2, row->place);
    (void)sqlite3_bind_int(stmt, 4, bad);
    return syn_index_end(index, step(index, STMT_MARK, err), err);
}

int
syn_index_key(struct syn_index *index, const uint8_t *id, uint32_t *ret_number, struct syn_err *err)
{
    sqlite3_stmt *find = index->stmts[STMT_KEY_FIND];
    int result;
    int rc;

    (void)sqlite3_bind_blob(index->stmts[STMT_KEY_ADD], 1, id, SYN_KEY_ID_BYTES, SQLITE_STATIC);
    rc = step(index, STMT_KEY_ADD, err);
    if (rc != 0)
        return rc;
    (void)sqlite3_bind_blob(find, 1, id, SYN_KEY_ID_BYTES, SQLITE_STATIC);
    result = sqlite3_step(find);
    if (result == SQLITE_ROW)
        *ret_number = (uint32_t)sqlite3_column_int64(find, 0);
    else
        rc = fail_sql(err, index->writer, result, "looking up a key");
    (void)sqlite3_reset(find);
    return rc;
}

int
syn_index_key_of(struct syn_index *index, const uint8_t *digest, uint32_t number,
                 struct syn_err *err)
{
    (void)sqlite3_bind_blob(index->stmts[STMT_KEY_OF], 1, digest, SYN_DIGEST_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_int64(index->stmts[STMT_KEY_OF], 2, number);
    return step(index, STMT_KEY_OF, err);
}

int
syn_index_key_forget(struct syn_index *index, uint32_t number, struct syn_err *err)
{
    (void)sqlite3_bind_int64(index->stmts[STMT_KEY_FORGET], 1, number);
    return step(index, STMT_KEY_FORGET, err);
}

int
syn_index_pack(struct syn_index *index, uint32_t pack, uint64_t size, struct syn_err *err)
{
    enum statement which = size == 0 ? STMT_PACK_FORGET : STMT_PACK;

    (void)sqlite3_bind_int64(index->stmts[which], 1, pack);
    if (size != 0)
        (void)sqlite3_bind_int64(index->stmts[which], 2, (sqlite3_int64)size);
    return step(index, which, err);
}

int
syn_index_count_put(struct syn_index *index, uint64_t bytes, struct syn_err *err)
{
    (void)sqlite3_bind_int64(index->stmts[STMT_COUNT_PUT], 1, (sqlite3_int64)bytes);
    return step(index, STMT_COUNT_PUT, err);
}

/* Walks use a connection of their own, so that a long one holds up neither lookups nor commits. */
static SYN_MUST int
walk_open(struct syn_index *index, const char *sql, sqlite3 **ret_db, sqlite3_stmt **ret_stmt,
          struct syn_err *err)
{
    const char *path = sqlite3_db_filename(index->writer, "main");
    sqlite3 *db = NULL;
    int result = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    int rc = SYN_OK;

    if (result != SQLITE_OK)
        rc = fail_sql(err, db, result, "opening the content index");
    if (rc == 0) {
        (void)sqlite3_busy_timeout(db, BUSY_MS);
        rc = run_sql(db, "PRAGMA wal_autocheckpoint = 0; PRAGMA query_only = 1;", "content index",
                     err);
    }
    if (rc == 0)
        rc = prepare(db, sql, ret_stmt, err);
    if (rc < 0)
        (void)sqlite3_close(db);
    else
        *ret_db = db;
    return rc;
}

/* Closing the last-but-writer connection must not checkpoint: SQLite only does so for the very
 * last. */
static int
walk_close(sqlite3 *db, sqlite3_stmt *stmt, int result, int rc, struct syn_err *err)
{
    if (rc == 0 && result != SQLITE_DONE)
        rc = fail_sql(err, db, result, "reading the content index");
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return rc;
}

int
syn_index_each(struct syn_index *index, enum syn_index_order order, int64_t since_ms,
               int (*each)(void *arg, const struct syn_index_row *row, struct syn_err *err),
               void *arg, struct syn_err *err)
{
    const char *sql =
        order == SYN_INDEX_BY_PLACE
            ? "SELECT digest, " COLUMNS " FROM block WHERE born >= ?1 ORDER BY pack, offset"
            : "SELECT digest, " COLUMNS " FROM block WHERE born >= ?1 ORDER BY digest";
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int result = SQLITE_ROW;
    int rc = walk_open(index, sql, &db, &stmt, err);

    if (rc < 0)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, since_ms);
    while (rc == 0 && (result = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct syn_index_row row;

        if (sqlite3_column_bytes(stmt, 0) != SYN_DIGEST_BYTES) {
            rc = SYN_FAIL(err, SYN_E_CORRUPT, "the content index holds a malformed digest");
            break;
        }
        memcpy(row.cid.digest, sqlite3_column_blob(stmt, 0), SYN_DIGEST_BYTES);
        read_row(stmt, 1, &row);
        rc = each(arg, &row, err);
    }
    return walk_close(db, stmt, result, rc, err);
}

int
syn_index_keys(struct syn_index *index,
               int (*each)(void *arg, uint32_t number, const uint8_t *id, struct syn_err *err),
               void *arg, struct syn_err *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int result = SQLITE_ROW;
    int rc = walk_open(index, "SELECT number, id FROM key ORDER BY number", &db, &stmt, err);

    if (rc < 0)
        return rc;
    while (rc == 0 && (result = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (sqlite3_column_bytes(stmt, 1) == SYN_KEY_ID_BYTES)
            rc = each(arg, (uint32_t)sqlite3_column_int64(stmt, 0), sqlite3_column_blob(stmt, 1),
                      err);
        else
            rc = SYN_FAIL(err, SYN_E_CORRUPT, "the content index holds a malformed key");
    }
    return walk_close(db, stmt, result, rc, err);
}

/* One number from a statement with one parameter. */
static SYN_MUST int
ask_number(struct syn_index *index, const char *sql, int64_t arg, int64_t *ret_value,
           struct syn_err *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int result;
    int rc = walk_open(index, sql, &db, &stmt, err);

    if (rc < 0)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, arg);
    result = sqlite3_step(stmt);
    if (result == SQLITE_ROW) {
        *ret_value = sqlite3_column_int64(stmt, 0);
        result = SQLITE_DONE;
    }
    return walk_close(db, stmt, result, rc, err);
}

int
syn_index_key_used(struct syn_index *index, uint32_t number, bool *ret_used, struct syn_err *err)
{
    int64_t used = 0;
    int rc =
        ask_number(index, "SELECT EXISTS(SELECT 1 FROM block WHERE key = ?1)", number, &used, err);

    if (rc == 0)
        *ret_used = used != 0;
    return rc;
}

/* In ranges of hashes, each in a transaction of its own, so that puts wait for none of them long.
 */
int
syn_index_prune_anchors(struct syn_index *index, struct syn_err *err)
{
    sqlite3_stmt *stmt = index->stmts[STMT_ANCHORS_PRUNE];
    uint64_t span = UINT64_MAX;
    uint64_t from = (uint64_t)INT64_MIN;
    int64_t count = 0;
    int rc =
        ask_number(index, "SELECT count(*) FROM anchor WHERE hash >= ?1", INT64_MIN, &count, err);

    for (; count > PRUNE_ROWS; count /= 2)
        span /= 2;
    for (bool last = false; rc == 0 && !last; from += span + 1) {
        uint64_t to = from + span;

        last = to == INT64_MAX;
        rc = syn_index_begin(index, err);
        if (rc != 0)
            break;
        (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)from);
        (void)sqlite3_bind_int64(stmt, 2, (sqlite3_int64)to);
        rc = syn_index_end(index, step(index, STMT_ANCHORS_PRUNE, err), err);
    }
    return rc;
}

int
syn_index_each_base(struct syn_index *index,
                    int (*each)(void *arg, const uint8_t *digest, const uint8_t *base,
                                struct syn_err *err),
                    void *arg, struct syn_err *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int result = SQLITE_ROW;
    int rc = walk_open(index, "SELECT digest, base FROM base", &db, &stmt, err);

    if (rc < 0)
        return rc;
    while (rc == 0 && (result = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (sqlite3_column_bytes(stmt, 0) != SYN_DIGEST_BYTES ||
            sqlite3_column_bytes(stmt, 1) != SYN_DIGEST_BYTES)
            rc = SYN_FAIL(err, SYN_E_CORRUPT, "the content index holds a malformed digest");
        else
            rc = each(arg, sqlite3_column_blob(stmt, 0), sqlite3_column_blob(stmt, 1), err);
    }
    return walk_close(db, stmt, result, rc, err);
}

int
syn_index_packs(struct syn_index *index,
                int (*each)(void *arg, uint32_t pack, uint64_t size, uint64_t live,
                            struct syn_err *err),
                void *arg, struct syn_err *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int result = SQLITE_ROW;
    int rc = walk_open(index,
                       "SELECT pack.id, pack.size, coalesce(live.bytes, 0) FROM pack LEFT JOIN"
                       " (SELECT pack, sum(stored) AS bytes FROM block GROUP BY pack) AS live"
                       " ON live.pack = pack.id ORDER BY pack.id",
                       &db, &stmt, err);

    if (rc < 0)
        return rc;
    while (rc == 0 && (result = sqlite3_step(stmt)) == SQLITE_ROW)
        rc = each(arg, (uint32_t)sqlite3_column_int64(stmt, 0),
                  (uint64_t)sqlite3_column_int64(stmt, 1), (uint64_t)sqlite3_column_int64(stmt, 2),
                  err);
    return walk_close(db, stmt, result, rc, err);
}

int
syn_index_usage(struct syn_index *index, struct syn_content_usage *ret_usage, struct syn_err *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int result;
    int rc = walk_open(index,
                       "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(stored), 0),"
                       " (SELECT coalesce(sum(size), 0) FROM pack),"
                       " (SELECT value FROM meta WHERE key = 'put_bytes') FROM block",
                       &db, &stmt, err);

    if (rc < 0)
        return rc;
    result = sqlite3_step(stmt);
    if (result == SQLITE_ROW) {
        ret_usage->blocks = (uint64_t)sqlite3_column_int64(stmt, 0);
        ret_usage->bytes = (uint64_t)sqlite3_column_int64(stmt, 1);
        ret_usage->stored_bytes = (uint64_t)sqlite3_column_int64(stmt, 2);
        ret_usage->disk_bytes = (uint64_t)sqlite3_column_int64(stmt, 3);
        ret_usage->put_bytes = (uint64_t)sqlite3_column_int64(stmt, 4);
        result = SQLITE_DONE;
    }
    return walk_close(db, stmt, result, rc, err);
}
