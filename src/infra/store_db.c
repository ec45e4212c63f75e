#include "store_db_priv.h"

#include <errno.h>

#include <synor/base/mem.h>

#include "store_priv.h"

#define BUSY_MS 5000

static const char *const sql_texts[SYN_SQL_COUNT_] = {
#define SQL_TEXT(symbol, text) text,
    SYN_STORE_DB_SQL(SQL_TEXT)
#undef SQL_TEXT
};

static const char schema_text[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE history(id INTEGER PRIMARY KEY, prev INTEGER NOT NULL,"
    " create_revision INTEGER NOT NULL, lease INTEGER NOT NULL, hash INTEGER NOT NULL,"
    " key TEXT NOT NULL, value BLOB);" /* the value last: nothing has to be read across it */
    "CREATE TABLE current(key TEXT PRIMARY KEY, id INTEGER NOT NULL,"
    " create_revision INTEGER NOT NULL, lease INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX current_lease ON current(lease) WHERE lease != 0;"
    "CREATE TABLE lease(id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_ms INTEGER NOT NULL,"
    " ends_ms INTEGER NOT NULL);"
    "CREATE INDEX lease_ends ON lease(ends_ms);"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('compacted', 0);"
    "PRAGMA application_id = 1398361715;"
    "PRAGMA user_version = 1;"
    "COMMIT;";

_Static_assert(SYN_STORE_APPLICATION == 1398361715, "the schema text carries the same number");
_Static_assert(SYN_STORE_SCHEMA == 1, "the schema text carries the same number");
_Static_assert(SYN_STORE_ROWS_MAX <= 256, "a row id has eight bits for the place");

/* Errors */

static int
code_of(const struct syn_store_db *db, int code)
{
    int sys = db->sql ? sqlite3_system_errno(db->sql) : 0;

    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return SYN_E_NOMEM;
    case SQLITE_FULL:
        return SYN_E_NOSPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SYN_E_CORRUPT;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM)
            return SYN_E_NOMEM;
        return sys == ENOSPC || sys == EDQUOT ? SYN_E_NOSPACE : SYN_E_IO;
    case SQLITE_CANTOPEN:
        return sys == ENOENT ? SYN_E_NOTFOUND : sys == ENOSPC ? SYN_E_NOSPACE : SYN_E_IO;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return SYN_E_FORBIDDEN;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return SYN_E_UNAVAILABLE;
    case SQLITE_TOOBIG:
        return SYN_E_TOOBIG;
    default:
        return SYN_E_INTERNAL;
    }
}

static const char *
way_out(int rc)
{
    switch (rc) {
    case SYN_E_CORRUPT:
        return ": stop synor, move the file away and put a backup in its place";
    case SYN_E_NOSPACE:
        return ": free space on its disk; nothing was lost";
    case SYN_E_FORBIDDEN:
        return ": the file or its folder is read-only";
    case SYN_E_UNAVAILABLE:
        return ": another program has the file open; close it";
    default:
        return "";
    }
}

int
syn_store_db_fail(const struct syn_store_db *db, int code, const char *doing, struct syn_err *err)
{
    int rc = code_of(db, code);
    int sys = rc == SYN_E_IO && db->sql ? sqlite3_system_errno(db->sql) : 0;

    return syn_err_set(err, rc, sys, __FILE__, __LINE__, "%s store %s: %s (%d)%s", doing, db->path,
                       sqlite3_errstr(code), code, way_out(rc));
}

static int
fail(struct syn_store_db *db, const char *doing, struct syn_err *err)
{
    return syn_store_db_fail(db, sqlite3_extended_errcode(db->sql), doing, err);
}

static int
damaged(const struct syn_store_db *db, const char *key, const char *what, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_CORRUPT, "store %s: %s of %.60s%s", db->path, what, key,
                    way_out(SYN_E_CORRUPT));
}

/* Statements */

static void
done_scope(sqlite3_stmt **slot)
{
    if (*slot)
        sqlite3_reset(*slot);
}
#define STATEMENT(name) SYN_SCOPED(done_scope) sqlite3_stmt *name = NULL

static int
use(struct syn_store_db *db, enum syn_store_sql which, sqlite3_stmt **ret, struct syn_err *err)
{
    if (!db->statements[which] &&
        sqlite3_prepare_v3(db->sql, sql_texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                           &db->statements[which], NULL) != SQLITE_OK)
        return fail(db, "preparing a statement for", err);
    *ret = db->statements[which];
    return SYN_OK;
}

/* Text and blobs are bound without a copy: they outlive the step. */
static void
bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
    sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

int
syn_store_db_run(struct syn_store_db *db, enum syn_store_sql which, int64_t a, int64_t b,
                 struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, which, &stmt, err);

    if (rc < 0)
        return rc;
    int wanted = sqlite3_bind_parameter_count(stmt);
    if (wanted > 0)
        sqlite3_bind_int64(stmt, 1, a);
    if (wanted > 1)
        sqlite3_bind_int64(stmt, 2, b);
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return fail(db, "writing", err);
    return SYN_OK;
}

int
syn_store_db_number(struct syn_store_db *db, enum syn_store_sql which, int64_t a, int64_t b,
                    int64_t *ret, struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, which, &stmt, err);

    if (rc < 0)
        return rc;
    int wanted = sqlite3_bind_parameter_count(stmt);
    if (wanted > 0)
        sqlite3_bind_int64(stmt, 1, a);
    if (wanted > 1)
        sqlite3_bind_int64(stmt, 2, b);
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        *ret = sqlite3_column_int64(stmt, 0);
        return SYN_OK;
    case SQLITE_DONE:
        return SYN_STORE_ABSENT;
    default:
        return fail(db, "reading", err);
    }
}

void
syn_store_db_rollback(struct syn_store_db *db)
{
    struct syn_err err;

    if (!sqlite3_get_autocommit(db->sql) &&
        syn_store_db_run(db, SYN_SQL_ROLLBACK, 0, 0, &err) < 0) /* no memory to prepare it */
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
}

/* Reading */

static uint64_t
row_hash(const char *key, const void *value, size_t len)
{
    return syn_store_hash(value, len, syn_store_hash(key, strlen(key), value != NULL));
}

/* A row of GET, LIST, VERSION or EVENTS (its first six columns) as a document. */
static int
read_doc(struct syn_store_db *db, sqlite3_stmt *stmt, struct syn_store_doc **ret_doc,
         struct syn_err *err)
{
    const char *key = (const char *)sqlite3_column_text(stmt, 1);
    const void *value = sqlite3_column_blob(stmt, 2);
    size_t len = (size_t)sqlite3_column_bytes(stmt, 2);
    bool dead = sqlite3_column_type(stmt, 2) == SQLITE_NULL;

    *ret_doc = NULL;
    if (!key || (!dead && len > 0 && !value))
        return fail(db, "reading", err); /* no memory for the column */
    if (!value && !dead)
        value = "";
    if (row_hash(key, value, len) != (uint64_t)sqlite3_column_int64(stmt, 5))
        return damaged(db, key, "the check sum does not match the document", err);
    int rc = syn_store_doc_new(key, value, len, ret_doc, err);
    if (rc != SYN_OK)
        return rc;
    struct syn_store_doc *doc = *ret_doc;
    syn_store_box_of(doc)->row = sqlite3_column_int64(stmt, 0);
    doc->mod_revision = syn_store_row_revision(syn_store_box_of(doc)->row);
    doc->create_revision = sqlite3_column_int64(stmt, 3);
    doc->lease = sqlite3_column_int64(stmt, 4);
    return SYN_OK;
}

/* The same for a current row, whose value must be there. */
static int
read_current(struct syn_store_db *db, sqlite3_stmt *stmt, const struct syn_store_doc **ret_doc,
             struct syn_err *err)
{
    struct syn_store_doc *doc;

    if (sqlite3_column_type(stmt, 2) == SQLITE_NULL)
        return damaged(db, (const char *)sqlite3_column_text(stmt, 1), "the document is missing",
                       err);
    int rc = read_doc(db, stmt, &doc, err);
    if (rc == SYN_OK)
        *ret_doc = doc;
    return rc;
}

int
syn_store_db_find(struct syn_store_db *db, const char *key, struct syn_store_row *ret,
                  struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_FIND, &stmt, err);

    if (rc < 0)
        return rc;
    bind_text(stmt, 1, key);
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        ret->id = sqlite3_column_int64(stmt, 0);
        ret->create_revision = sqlite3_column_int64(stmt, 1);
        ret->lease = sqlite3_column_int64(stmt, 2);
        return SYN_OK;
    case SQLITE_DONE:
        *ret = (struct syn_store_row){0};
        return SYN_OK;
    default:
        return fail(db, "reading", err);
    }
}

int
syn_store_db_get(struct syn_store_db *db, const char *key, const struct syn_store_doc **ret_doc,
                 struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_GET, &stmt, err);

    if (rc < 0)
        return rc;
    bind_text(stmt, 1, key);
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return read_current(db, stmt, ret_doc, err);
    case SQLITE_DONE:
        return SYN_STORE_ABSENT;
    default:
        return fail(db, "reading", err);
    }
}

int
syn_store_db_list(struct syn_store_db *db, const struct syn_store_range *range,
                  struct syn_store_page *page, struct syn_err *err)
{
    struct syn_store_bounds bounds;
    STATEMENT(stmt);
    int rc = use(db, range->reverse ? SYN_SQL_LIST_REVERSE : SYN_SQL_LIST, &stmt, err);
    int step;
    size_t bytes = 0;

    if (rc < 0)
        return rc;
    syn_store_bounds_init(&bounds, range->prefix, range->after, range->reverse);
    bind_text(stmt, 1, bounds.lo);
    bind_text(stmt, 2, bounds.hi);
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
        const struct syn_store_doc *doc = NULL;
        if (page->count == range->limit || bytes > SYN_STORE_LIST_BYTES_MAX) {
            page->more = true;
            return SYN_OK;
        }
        rc = read_current(db, stmt, &doc, err);
        if (rc != SYN_OK)
            return rc;
        assert(doc);
        bytes += doc->len;
        rc = syn_store_page_add_take(page, doc, err);
        if (rc < 0)
            return rc;
    }
    return step == SQLITE_DONE ? SYN_OK : fail(db, "reading", err);
}

int
syn_store_db_count(struct syn_store_db *db, const char *prefix, int64_t *ret, struct syn_err *err)
{
    struct syn_store_bounds bounds;
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_COUNT, &stmt, err);

    if (rc < 0)
        return rc;
    syn_store_bounds_init(&bounds, prefix, NULL, false);
    bind_text(stmt, 1, bounds.lo);
    bind_text(stmt, 2, bounds.hi);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        return fail(db, "reading", err);
    *ret = sqlite3_column_int64(stmt, 0);
    return SYN_OK;
}

int
syn_store_db_version(struct syn_store_db *db, int64_t id, size_t len_max,
                     const struct syn_store_doc **ret_doc, struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_VERSION, &stmt, err);

    if (rc < 0)
        return rc;
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_int64(stmt, 2, (int64_t)len_max);
    int step = sqlite3_step(stmt);
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return fail(db, "reading", err);
    if (step == SQLITE_DONE || sqlite3_column_type(stmt, 2) == SQLITE_NULL) {
        *ret_doc = NULL;
        return SYN_OK;
    }
    return read_current(db, stmt, ret_doc, err);
}

/* Append the row's event to the batch; its `prev` is read by a second statement. */
static int
read_event(struct syn_store_db *db, sqlite3_stmt *stmt, struct syn_store_batch *batch,
           struct syn_err *err)
{
    struct syn_store_event *event = &batch->events[batch->count];
    struct syn_store_doc *doc;
    int64_t prev = sqlite3_column_int64(stmt, 6);
    int rc = read_doc(db, stmt, &doc, err);

    if (rc != SYN_OK)
        return rc;
    assert(doc);
    *event = (struct syn_store_event){.kind = sqlite3_column_type(stmt, 2) == SQLITE_NULL
                                                  ? SYN_STORE_EVENT_DELETE
                                                  : SYN_STORE_EVENT_PUT,
                                      .revision = doc->mod_revision,
                                      .prev_revision = syn_store_row_revision(prev),
                                      .doc = doc};
    batch->count++;
    return prev ? syn_store_db_version(db, prev, SYN_STORE_PREV_MAX, &event->prev, err) : SYN_OK;
}

/* The last revision in the batch may be cut short: give back its events. */
static void
drop_partial(struct syn_store_batch *batch)
{
    int64_t revision = batch->events[batch->count - 1].revision;

    while (batch->count > 0 && batch->events[batch->count - 1].revision == revision) {
        struct syn_store_event *event = &batch->events[--batch->count];
        event->doc = syn_store_doc_unref(event->doc);
        event->prev = syn_store_doc_unref(event->prev);
    }
    assert(batch->count > 0); /* a batch has room for more than one whole revision */
    batch->upto = batch->events[batch->count - 1].revision;
}

int
syn_store_db_events(struct syn_store_db *db, const char *prefix, int64_t after,
                    struct syn_store_batch *batch, struct syn_err *err)
{
    struct syn_store_bounds bounds;
    STATEMENT(stmt);
    int64_t newest = 0;
    int64_t compacted = 0;
    size_t bytes = 0;
    int step;
    int rc = syn_store_db_number(db, SYN_SQL_REVISION, 0, 0, &newest, err);

    if (rc >= 0)
        rc = syn_store_db_number(db, SYN_SQL_COMPACTED, 0, 0, &compacted, err);
    if (rc >= 0)
        rc = use(db, SYN_SQL_EVENTS, &stmt, err);
    if (rc < 0)
        return rc;
    if (after < compacted)
        return SYN_STORE_COMPACTED;
    syn_store_bounds_init(&bounds, prefix, NULL, false);
    sqlite3_bind_int64(stmt, 1, syn_store_row_id(after + 1, 0));
    bind_text(stmt, 2, bounds.lo);
    bind_text(stmt, 3, bounds.hi);
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
        int64_t revision = syn_store_row_revision(sqlite3_column_int64(stmt, 0));
        bool fresh = batch->count > 0 && batch->events[batch->count - 1].revision != revision;
        if (fresh && bytes > SYN_STORE_BATCH_BYTES_MAX) {
            batch->upto = batch->events[batch->count - 1].revision;
            return SYN_OK;
        }
        if (batch->count == SYN_STORE_BATCH_MAX) {
            drop_partial(batch);
            return SYN_OK;
        }
        rc = read_event(db, stmt, batch, err);
        if (rc < 0)
            return rc;
        bytes += batch->events[batch->count - 1].doc->len + 256;
    }
    batch->upto = syn_store_row_revision(newest);
    return step == SQLITE_DONE ? SYN_OK : fail(db, "reading", err);
}

/* Writing */

static int
log_row(struct syn_store_db *db, const struct syn_store_doc *doc, int64_t id, int64_t prev,
        bool dead, struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_LOG, &stmt, err);

    if (rc < 0)
        return rc;
    sqlite3_bind_int64(stmt, 1, id);
    bind_text(stmt, 2, doc->key);
    if (dead)
        sqlite3_bind_null(stmt, 3);
    else
        sqlite3_bind_blob64(stmt, 3, doc->value, doc->len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, doc->create_revision);
    sqlite3_bind_int64(stmt, 5, doc->lease);
    sqlite3_bind_int64(stmt, 6, prev);
    sqlite3_bind_int64(stmt, 7, (int64_t)row_hash(doc->key, dead ? NULL : doc->value, doc->len));
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return fail(db, "writing", err);
    return SYN_OK;
}

/* The key is there and stays as it is, but for the row it points to. Most puts are such. */
static int
move_key(struct syn_store_db *db, const char *key, int64_t id, struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_MOVE, &stmt, err);

    if (rc < 0)
        return rc;
    bind_text(stmt, 1, key);
    sqlite3_bind_int64(stmt, 2, id);
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return fail(db, "writing", err);
    if (sqlite3_changes(db->sql) != 1)
        return damaged(db, key, "the entry is missing", err);
    return SYN_OK;
}

static int
set_key(struct syn_store_db *db, const struct syn_store_doc *doc, int64_t id, struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_PUT, &stmt, err);

    if (rc < 0)
        return rc;
    bind_text(stmt, 1, doc->key);
    sqlite3_bind_int64(stmt, 2, id);
    sqlite3_bind_int64(stmt, 3, doc->create_revision);
    sqlite3_bind_int64(stmt, 4, doc->lease);
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return fail(db, "writing", err);
    return SYN_OK;
}

int
syn_store_db_put(struct syn_store_db *db, const struct syn_store_doc *doc, int64_t id,
                 const struct syn_store_row *prev, struct syn_err *err)
{
    int rc = log_row(db, doc, id, prev->id, false, err);

    if (rc < 0)
        return rc;
    assert(!prev->id || prev->create_revision == doc->create_revision);
    return prev->id && prev->lease == doc->lease ? move_key(db, doc->key, id, err)
                                                 : set_key(db, doc, id, err);
}

int
syn_store_db_delete(struct syn_store_db *db, const struct syn_store_doc *doc, int64_t id,
                    int64_t prev, struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = log_row(db, doc, id, prev, true, err);

    if (rc == SYN_OK)
        rc = use(db, SYN_SQL_DELETE, &stmt, err);
    if (rc < 0)
        return rc;
    bind_text(stmt, 1, doc->key);
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return fail(db, "writing", err);
    return SYN_OK;
}

/* What stays of the old rows is exactly the documents as they were at `to`: a version goes when
 * the event that replaced it goes, a tombstone when its own does. The newest row of all stays,
 * because it carries the revision; a tombstone that is spared for this goes the next time. */
int
syn_store_db_compact(struct syn_store_db *db, int64_t from, int64_t to, struct syn_err *err)
{
    int64_t end = syn_store_row_id(to + 1, 0);
    int rc = syn_store_db_run(db, SYN_SQL_TRIM_OLD, syn_store_row_id(from + 1, 0), end, err);

    if (rc == SYN_OK)
        rc = syn_store_db_run(db, SYN_SQL_TRIM_DELETED, syn_store_row_id(from, 0), end, err);
    if (rc == SYN_OK)
        rc = syn_store_db_run(db, SYN_SQL_SET_COMPACTED, to, 0, err);
    return rc;
}

int
syn_store_db_lease_key(struct syn_store_db *db, int64_t lease, struct syn_store_doc **ret_tombstone,
                       struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_LEASE_KEYS, &stmt, err);

    if (rc < 0)
        return rc;
    sqlite3_bind_int64(stmt, 1, lease);
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        break;
    case SQLITE_DONE:
        return SYN_STORE_ABSENT;
    default:
        return fail(db, "reading", err);
    }
    const char *key = (const char *)sqlite3_column_text(stmt, 0);
    if (!key)
        return fail(db, "reading", err);
    return syn_store_doc_new(key, NULL, 0, ret_tombstone, err);
}

int
syn_store_db_first_lease(struct syn_store_db *db, int64_t *ret_lease, int64_t *ret_ends_ms,
                         struct syn_err *err)
{
    STATEMENT(stmt);
    int rc = use(db, SYN_SQL_LEASE_FIRST, &stmt, err);

    if (rc < 0)
        return rc;
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        *ret_lease = sqlite3_column_int64(stmt, 0);
        *ret_ends_ms = sqlite3_column_int64(stmt, 1);
        return SYN_OK;
    case SQLITE_DONE:
        return SYN_STORE_ABSENT;
    default:
        return fail(db, "reading", err);
    }
}

/* Opening */

static int
on_commit(void *arg, sqlite3 *sql, const char *name, int pages)
{
    struct syn_store_db *db = arg;

    (void)sql;
    (void)name;
    db->wal_bytes = pages * db->page_bytes;
    return SQLITE_OK;
}

static int
exec(struct syn_store_db *db, const char *text, const char *doing, struct syn_err *err)
{
    if (sqlite3_exec(db->sql, text, NULL, NULL, NULL) != SQLITE_OK)
        return fail(db, doing, err);
    return SYN_OK;
}

/* The first column of a statement that is needed once. */
static int
ask(struct syn_store_db *db, const char *text, int64_t *ret_number, char *ret_word,
    struct syn_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = SYN_OK;

    if (sqlite3_prepare_v2(db->sql, text, -1, &stmt, NULL) != SQLITE_OK)
        return fail(db, "opening", err);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        rc = fail(db, "opening", err);
    if (rc == SYN_OK && ret_number)
        *ret_number = sqlite3_column_int64(stmt, 0);
    if (rc == SYN_OK && ret_word) {
        const char *word = (const char *)sqlite3_column_text(stmt, 0);
        snprintf(ret_word, 64, "%s", word ? word : "");
    }
    sqlite3_finalize(stmt);
    return rc;
}

int
syn_store_db_open(struct syn_store_db *db, const char *path, const char *vfs, struct syn_err *err)
{
    *db = (struct syn_store_db){.path = path};
    int code = sqlite3_open_v2(path, &db->sql,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_EXRESCODE,
                               vfs);
    if (code != SQLITE_OK)
        return syn_store_db_fail(db, code, "opening", err);
    sqlite3_busy_timeout(db->sql, BUSY_MS);
    sqlite3_wal_autocheckpoint(db->sql, 0);
    sqlite3_wal_hook(db->sql, on_commit, db);
    return exec(db,
                "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;"
                "PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;"
                "PRAGMA cache_size = -1024;",
                "opening", err);
}

void
syn_store_db_close(struct syn_store_db *db)
{
    for (size_t i = 0; i < SYN_LEN(db->statements); i++)
        sqlite3_finalize(db->statements[i]);
    int code = sqlite3_close(db->sql);
    assert(code == SQLITE_OK); /* no statement is left */
    (void)code;
    *db = (struct syn_store_db){0};
}

/* Everything is looked at before the first byte is changed. */
static int
check_schema(struct syn_store_db *db, bool *ret_fresh, struct syn_err *err)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    int rc = ask(db, "PRAGMA application_id", &application, NULL, err);

    if (rc == SYN_OK)
        rc = ask(db, "PRAGMA user_version", &version, NULL, err);
    if (rc == SYN_OK)
        rc = ask(db, "SELECT count(*) FROM sqlite_schema", &tables, NULL, err);
    if (rc < 0)
        return rc;
    *ret_fresh = application == 0 && version == 0 && tables == 0;
    if (*ret_fresh)
        return SYN_OK;
    if (application != SYN_STORE_APPLICATION)
        return SYN_FAIL(err, SYN_E_CORRUPT,
                        "%s is the SQLite file of another program, not a store: "
                        "choose another data folder",
                        db->path);
    if (version > SYN_STORE_SCHEMA)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "store %s was written by a newer version (schema %lld, this one knows "
                        "%d): upgrade synor",
                        db->path, (long long)version, SYN_STORE_SCHEMA);
    if (version < SYN_STORE_SCHEMA)
        return SYN_FAIL(err, SYN_E_CORRUPT, "store %s has the impossible schema %lld%s", db->path,
                        (long long)version, way_out(SYN_E_CORRUPT));
    return SYN_OK;
}

int
syn_store_db_prepare(struct syn_store_db *db, struct syn_err *err)
{
    bool fresh;
    char mode[64];
    int rc = check_schema(db, &fresh, err);

    if (rc == SYN_OK && fresh) /* an older store keeps its 4096 */
        rc = exec(db, "PRAGMA page_size = 16384", "opening", err);
    if (rc == SYN_OK)
        rc = ask(db, "PRAGMA journal_mode = WAL", NULL, mode, err);
    if (rc == SYN_OK)
        rc = ask(db, "PRAGMA page_size", &db->page_bytes, NULL, err);
    if (rc < 0)
        return rc;
    if (strcmp(mode, "wal") != 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "store %s: the file system has no shared memory for a WAL (journal mode "
                        "%s): put the data folder on a local disk",
                        db->path, mode);
    rc = exec(db, "PRAGMA journal_size_limit = 33554432; PRAGMA cache_size = -4096;", "opening",
              err);
    if (rc == SYN_OK && fresh) {
        rc = exec(db, schema_text, "creating", err);
        if (rc < 0)
            syn_store_db_rollback(db);
    }
    return rc;
}

int
syn_store_db_verify(struct syn_store_db *db, struct syn_err *err)
{
    char word[64];
    int64_t lost = 0;
    STATEMENT(stmt);
    int step;
    int rc = ask(db, "PRAGMA integrity_check(1)", NULL, word, err);

    if (rc == SYN_OK && strcmp(word, "ok") != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "store %s: %s%s", db->path, word,
                        way_out(SYN_E_CORRUPT));
    if (rc == SYN_OK)
        rc = syn_store_db_number(db, SYN_SQL_LOST_ROWS, 0, 0, &lost, err);
    if (rc == SYN_OK)
        rc = use(db, SYN_SQL_EVENTS, &stmt, err);
    if (rc != SYN_OK)
        return rc;
    if (lost != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "store %s: %lld documents are missing%s", db->path,
                        (long long)lost, way_out(SYN_E_CORRUPT));
    sqlite3_bind_int64(stmt, 1, 0);
    bind_text(stmt, 2, "");
    bind_text(stmt, 3, "\xff");
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct syn_store_doc *doc = NULL;
        rc = read_doc(db, stmt, &doc, err);
        if (rc != SYN_OK)
            return rc;
        syn_store_doc_unref(doc);
    }
    return step == SQLITE_DONE ? SYN_OK : fail(db, "reading", err);
}
