/* One SQLite connection with the store's schema: every SQL statement of the engine is in
 * store_db.c. A connection is used by one thread at a time.
 *
 * Documents live in a log, one row a version (`history`, its id is revision * 256 + place in the
 * transaction), and `current` says which row is the newest of each key. So a value is written
 * once, at the end of a B-tree, and history needs no second copy. Refused: values in `current` and
 * copies in `history` (measured: half the speed, twice the bytes), values only in `current` and no
 * history (a watch could not resume). */
#ifndef SYN_INFRA_STORE_DB_PRIV_H
#define SYN_INFRA_STORE_DB_PRIV_H

#include <sqlite3.h>

#include <synor/infra/store_ops.h>

#include "store_hub_priv.h"

#define SYN_STORE_SCHEMA 1
/** "SYNs" in the file's header. */
#define SYN_STORE_APPLICATION 0x53594e73

/** Every statement: symbol, SQL. Prepared at first use and kept. */
#define SYN_STORE_DB_SQL(X)                                                                        \
    X(BEGIN, "BEGIN")                                                                              \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                                              \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(REVISION, "SELECT max(id) FROM history")                                                     \
    X(COMPACTED, "SELECT value FROM meta WHERE name = 'compacted'")                                \
    X(FIND, "SELECT id, create_revision, lease FROM current WHERE key = ?1")                       \
    X(GET, "SELECT c.id, c.key, h.value, c.create_revision, c.lease, h.hash FROM current c"        \
           " LEFT JOIN history h ON h.id = c.id WHERE c.key = ?1")                                 \
    X(LIST, "SELECT c.id, c.key, h.value, c.create_revision, c.lease, h.hash FROM current c"       \
            " LEFT JOIN history h ON h.id = c.id WHERE c.key >= ?1 AND c.key < ?2 ORDER BY c.key") \
    X(LIST_REVERSE,                                                                                \
      "SELECT c.id, c.key, h.value, c.create_revision, c.lease, h.hash FROM current c"             \
      " LEFT JOIN history h ON h.id = c.id WHERE c.key >= ?1 AND c.key < ?2"                       \
      " ORDER BY c.key DESC")                                                                      \
    X(COUNT, "SELECT count(*) FROM current WHERE key >= ?1 AND key < ?2")                          \
    X(VERSION, "SELECT id, key, CASE WHEN length(value) <= ?2 THEN value END, create_revision,"    \
               " lease, hash FROM history WHERE id = ?1")                                          \
    X(EVENTS, "SELECT id, key, value, create_revision, lease, hash, prev FROM history"             \
              " WHERE id >= ?1 AND key >= ?2 AND key < ?3 ORDER BY id")                            \
    X(LOG, "INSERT INTO history(id, key, value, create_revision, lease, prev, hash)"               \
           " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                                  \
    X(PUT, "INSERT INTO current(key, id, create_revision, lease) VALUES(?1, ?2, ?3, ?4)"           \
           " ON CONFLICT(key) DO UPDATE SET id = excluded.id,"                                     \
           " create_revision = excluded.create_revision, lease = excluded.lease")                  \
    X(MOVE, "UPDATE current SET id = ?2 WHERE key = ?1")                                           \
    X(DELETE, "DELETE FROM current WHERE key = ?1")                                                \
    X(TRIM_OLD, "DELETE FROM history WHERE id IN"                                                  \
                " (SELECT prev FROM history WHERE id >= ?1 AND id < ?2 AND prev != 0)")            \
    X(TRIM_DELETED, "DELETE FROM history WHERE id >= ?1 AND id < ?2 AND value IS NULL"             \
                    " AND id < (SELECT max(id) FROM history)")                                     \
    X(SET_COMPACTED, "UPDATE meta SET value = ?1 WHERE name = 'compacted'")                        \
    X(LEASE_GRANT, "INSERT INTO lease(ttl_ms, ends_ms) VALUES(?1, ?2)")                            \
    X(LEASE_RENEW, "UPDATE lease SET ends_ms = ?2 + ttl_ms WHERE id = ?1 AND ends_ms > ?2")        \
    X(LEASE_LIVES, "SELECT 1 FROM lease WHERE id = ?1 AND ends_ms > ?2")                           \
    X(LEASE_COUNT, "SELECT count(*) FROM lease")                                                   \
    X(LEASE_DROP, "DELETE FROM lease WHERE id = ?1")                                               \
    X(LEASE_KEYS, "SELECT key FROM current WHERE lease = ?1 AND lease != 0 LIMIT 1")               \
    X(LEASE_FIRST, "SELECT id, ends_ms FROM lease ORDER BY ends_ms LIMIT 1")                       \
    X(LEASE_CLAMP, "UPDATE lease SET ends_ms = min(max(ends_ms, ?1 + min(?2, ttl_ms)),"            \
                   " ?1 + ttl_ms)")                                                                \
    X(LOST_ROWS, "SELECT count(*) FROM current c LEFT JOIN history h"                              \
                 " ON h.id = c.id AND h.key = c.key AND h.value IS NOT NULL WHERE h.id IS NULL")

enum syn_store_sql {
#define SYN_STORE_SQL_ENUM(symbol, text) SYN_SQL_##symbol,
    SYN_STORE_DB_SQL(SYN_STORE_SQL_ENUM)
#undef SYN_STORE_SQL_ENUM
        SYN_SQL_COUNT_
};

struct syn_store_db {
    sqlite3 *sql;
    const char *path; /* for messages; borrowed */
    int64_t page_bytes;
    int64_t wal_bytes; /* length of the WAL after the last commit here */
    sqlite3_stmt *statements[SYN_SQL_COUNT_];
};

/** The newest version of a key, without its value. */
struct syn_store_row {
    int64_t id; /* 0: absent */
    int64_t create_revision;
    int64_t lease;
};

static inline int64_t
syn_store_row_id(int64_t revision, int64_t place)
{
    return revision * 256 + place;
}

static inline int64_t
syn_store_row_revision(int64_t id)
{
    return id / 256;
}

/** Open a connection; nothing is read yet. `db` is ready for close also after a failure. */
SYN_MUST int syn_store_db_open(struct syn_store_db *db, const char *path, const char *vfs,
                               struct syn_err *err);
void syn_store_db_close(struct syn_store_db *db);
/** Make this the writing connection: check or create the schema, switch to WAL. */
SYN_MUST int syn_store_db_prepare(struct syn_store_db *db, struct syn_err *err);
/** Fill `err` for an SQLite result; says what to do about it. Returns the SYN_E_*. */
int syn_store_db_fail(const struct syn_store_db *db, int code, const char *doing,
                      struct syn_err *err);

/** Run a statement without rows, with up to two numbers bound. */
SYN_MUST int syn_store_db_run(struct syn_store_db *db, enum syn_store_sql which, int64_t a,
                              int64_t b, struct syn_err *err);
/** The first column of the first row; SYN_STORE_ABSENT when there is no row. */
SYN_MUST int syn_store_db_number(struct syn_store_db *db, enum syn_store_sql which, int64_t a,
                                 int64_t b, int64_t *ret, struct syn_err *err);
/** Undo; never fails: SQLite forgets the transaction even where it cannot say so. */
void syn_store_db_rollback(struct syn_store_db *db);

SYN_MUST int syn_store_db_find(struct syn_store_db *db, const char *key, struct syn_store_row *ret,
                               struct syn_err *err);
SYN_MUST int syn_store_db_get(struct syn_store_db *db, const char *key,
                              const struct syn_store_doc **ret_doc, struct syn_err *err);
SYN_MUST int syn_store_db_list(struct syn_store_db *db, const struct syn_store_range *range,
                               struct syn_store_page *page, struct syn_err *err);
SYN_MUST int syn_store_db_count(struct syn_store_db *db, const char *prefix, int64_t *ret,
                                struct syn_err *err);
/** The version in row `id` when it is there and no larger than `len_max`, else NULL. */
SYN_MUST int syn_store_db_version(struct syn_store_db *db, int64_t id, size_t len_max,
                                  const struct syn_store_doc **ret_doc, struct syn_err *err);
/** As syn_store_replay_fn, inside a read transaction. */
SYN_MUST int syn_store_db_events(struct syn_store_db *db, const char *prefix, int64_t after,
                                 struct syn_store_batch *batch, struct syn_err *err);
/** Append a version and make it current; `prev` is what it replaces, with id 0 nothing. */
SYN_MUST int syn_store_db_put(struct syn_store_db *db, const struct syn_store_doc *doc, int64_t id,
                              const struct syn_store_row *prev, struct syn_err *err);
/** Append a tombstone and remove the key. */
SYN_MUST int syn_store_db_delete(struct syn_store_db *db, const struct syn_store_doc *doc,
                                 int64_t id, int64_t prev, struct syn_err *err);
/** Forget the events in (from, to]. */
SYN_MUST int syn_store_db_compact(struct syn_store_db *db, int64_t from, int64_t to,
                                  struct syn_err *err);
/** A tombstone for some key bound to `lease`; SYN_STORE_ABSENT when there is none. */
SYN_MUST int syn_store_db_lease_key(struct syn_store_db *db, int64_t lease,
                                    struct syn_store_doc **ret_tombstone, struct syn_err *err);
/** The lease that ends first; SYN_STORE_ABSENT when there is none. */
SYN_MUST int syn_store_db_first_lease(struct syn_store_db *db, int64_t *ret_lease,
                                      int64_t *ret_ends_ms, struct syn_err *err);
/** Look at every page and every document. */
SYN_MUST int syn_store_db_verify(struct syn_store_db *db, struct syn_err *err);

#endif
