/* The store: every resource of the platform is a document in it, under a key like
 * "training/train-abc". Documents are bytes. One revision counter, growing by one with every
 * transaction that changed something, orders all of history; a watch replays that order.
 *
 * Every call may be made from any thread and blocks for as long as the engine needs, except
 * syn_store_txn_async(). A write that was answered with 0 survives kill -9 of the process.
 * Engines: SQLite (store_sqlite.h); an engine is an ops table (store_ops.h) and must pass
 * store_suite.c. */
#ifndef SYNOR_INFRA_STORE_H
#define SYNOR_INFRA_STORE_H

#include <synor/base/core.h>
#include <synor/base/err.h>

/** Keys: 1 to this many bytes of UTF-8 without control characters. */
#define SYN_STORE_KEY_MAX   512
#define SYN_STORE_VALUE_MAX ((size_t)4 << 20)
/** Operations in one transaction, and the sum of its values. */
#define SYN_STORE_OPS_MAX       1024
#define SYN_STORE_TXN_BYTES_MAX ((size_t)8 << 20)
/** Documents that one revision changes. A transaction that changes more takes several revisions, in
 *  the order of its operations; it is still done as a whole or not at all. */
#define SYN_STORE_ROWS_MAX 256
/** Documents in one page of a list; a page also ends once its values exceed the bytes. */
#define SYN_STORE_LIST_MAX       1000
#define SYN_STORE_LIST_BYTES_MAX ((size_t)16 << 20)
/** Transactions waiting to be written. */
#define SYN_STORE_QUEUE_MAX 4096
/** Leases at one time, and how long one may last without a keepalive. */
#define SYN_STORE_LEASES_MAX 65536
#define SYN_STORE_TTL_MAX_MS (INT64_C(30) * 24 * 3600 * 1000)
/** Watches at one time. */
#define SYN_STORE_WATCHES_MAX 4096
/** An event's `prev` is given only up to this size. */
#define SYN_STORE_PREV_MAX ((size_t)64 << 10)
/** Revisions of history an engine keeps at least, unless syn_store_compact() is called. */
#define SYN_STORE_HISTORY 10000

/** Conditions (> 0), for the caller to handle. */
enum syn_store_condition {
    SYN_STORE_CONFLICT = 1,   /* a check failed: nothing was changed */
    SYN_STORE_ABSENT = 2,     /* no document has that key */
    SYN_STORE_COMPACTED = 3,  /* history from that revision on is gone: list, then watch anew */
    SYN_STORE_LEASE_OVER = 4, /* the lease ended or never was */
};

struct syn_store;
struct syn_store_watch;

/** One version of one document. Immutable and shared: drop it with syn_store_doc_unref(). */
struct syn_store_doc {
    const char *key;
    const char *value; /* `len` bytes and a zero byte behind them */
    size_t len;
    int64_t create_revision; /* when the key last came into being */
    int64_t mod_revision;    /* when this version was written */
    int64_t lease;           /* 0, or the lease whose end deletes the key */
};

const struct syn_store_doc *syn_store_doc_ref(const struct syn_store_doc *doc);
/** NULL is fine. Returns NULL. */
const struct syn_store_doc *syn_store_doc_unref(const struct syn_store_doc *doc);
/** For SYN_SCOPED. */
void syn_store_doc_scope(const struct syn_store_doc **slot);

/** Finish what was submitted, end all watches, close. No other call may run or follow. Returns
 * NULL. */
struct syn_store *syn_store_close(struct syn_store *store);

/**
 * Read the document at `key`.
 *
 * Owner: the caller unrefs *ret_doc.
 * Returns 0; SYN_STORE_ABSENT; SYN_E_INVALID, NOMEM, IO, CORRUPT.
 */
SYN_MUST int syn_store_get(struct syn_store *store, const char *key,
                           const struct syn_store_doc **ret_doc, struct syn_err *err);

/** Which keys to list: those that start with `prefix` ("" is all), in byte order. */
struct syn_store_range {
    const char *prefix;
    const char *after; /* NULL, or go on behind this key (before it when `reverse`) */
    uint32_t limit;    /* 0 means SYN_STORE_LIST_MAX */
    bool reverse;
};

/** One consistent reading. To go on: `after` = the last document's key while `more`. */
struct syn_store_page {
    const struct syn_store_doc **docs;
    size_t count;
    bool more;
    int64_t revision; /* the store's when this was read: watch after it to miss nothing */
};

/** Returns 0; SYN_E_INVALID, LIMIT (limit over SYN_STORE_LIST_MAX), NOMEM, IO, CORRUPT. */
SYN_MUST int syn_store_list(struct syn_store *store, const struct syn_store_range *range,
                            struct syn_store_page *ret_page, struct syn_err *err);
void syn_store_page_fini(struct syn_store_page *page);
SYN_MUST int syn_store_count(struct syn_store *store, const char *prefix, int64_t *ret_count,
                             struct syn_err *err);

enum syn_store_op_kind { SYN_STORE_CHECK, SYN_STORE_PUT, SYN_STORE_DELETE };

/** A step of a transaction. Fields a kind does not name are ignored. */
struct syn_store_op {
    enum syn_store_op_kind kind;
    const char *key;
    int64_t mod_revision; /* CHECK: the key's document has this one; 0: there is none */
    const void *value;    /* PUT */
    size_t len;
    int64_t lease; /* PUT: bind the key to this lease; 0: to none */
};

struct syn_store_result {
    int64_t revision; /* the transaction's (last); when it changed nothing, the store's */
    size_t failed;    /* CONFLICT: index of the first check that failed */
    int64_t actual;   /* CONFLICT: the key's mod_revision, 0 when absent */
};

/**
 * Do all of `ops` at once or nothing. Checks look at the state before the transaction, wherever
 * they stand; deleting an absent key does nothing; a key may be written once.
 *
 * Returns 0; SYN_STORE_CONFLICT; SYN_STORE_LEASE_OVER (*ret_result set in all three);
 * SYN_E_INVALID, LIMIT, TOOBIG, NOMEM; NOSPACE, IO, CORRUPT: not written, the store stays usable.
 * After IO, and after a crash, a write without an answer may turn out to be there, whole.
 */
SYN_MUST int syn_store_txn(struct syn_store *store, const struct syn_store_op *ops, size_t count,
                           struct syn_store_result *ret_result, struct syn_err *err);

/** `rc` as syn_store_txn() returns it; `result` and `err` are borrowed for the call. */
typedef void (*syn_store_done_fn)(void *arg, int rc, const struct syn_store_result *result,
                                  const struct syn_err *err);

/**
 * Submit a transaction; `done` is called exactly once when this returned 0, else never.
 *
 * Owner: ops, keys and values are copied before this returns.
 * Thread: `done` runs on the store's thread: it must not block, nor call anything of the store but
 * syn_store_txn_async(), get, list, count and doc_*. Blocks: no.
 * Returns 0; SYN_E_LIMIT when SYN_STORE_QUEUE_MAX wait already; INVALID, TOOBIG, NOMEM.
 */
SYN_MUST int syn_store_txn_async(struct syn_store *store, const struct syn_store_op *ops,
                                 size_t count, syn_store_done_fn done, void *arg,
                                 struct syn_err *err);

/** What the one-key helpers write. */
struct syn_store_value {
    const void *data;
    size_t len;
    int64_t lease;
};

/* One-key transactions. *ret_revision (may be NULL) is set with 0. Returns as syn_store_txn(). */
/** Write whatever is there now. */
SYN_MUST int syn_store_put(struct syn_store *store, const char *key, struct syn_store_value value,
                           int64_t *ret_revision, struct syn_err *err);
/** Write a key that must be absent. */
SYN_MUST int syn_store_create(struct syn_store *store, const char *key,
                              struct syn_store_value value, int64_t *ret_revision,
                              struct syn_err *err);
/** Write over exactly this version. */
SYN_MUST int syn_store_put_if(struct syn_store *store, const char *key, int64_t mod_revision,
                              struct syn_store_value value, int64_t *ret_revision,
                              struct syn_err *err);
/** Delete exactly this version. */
SYN_MUST int syn_store_delete_if(struct syn_store *store, const char *key, int64_t mod_revision,
                                 int64_t *ret_revision, struct syn_err *err);
/** Delete whatever is there; an absent key is fine. */
SYN_MUST int syn_store_delete(struct syn_store *store, const char *key, int64_t *ret_revision,
                              struct syn_err *err);

enum syn_store_event_kind {
    SYN_STORE_EVENT_PUT,
    SYN_STORE_EVENT_DELETE,
    SYN_STORE_EVENT_LOST, /* the last event: history ran away or cannot be read; list, watch anew */
};

/** What happened to one key. Everything in it is borrowed for the call; ref documents to keep them.
 */
struct syn_store_event {
    enum syn_store_event_kind kind;
    bool more;             /* the next event has the same revision: resume only after the last */
    int64_t revision;      /* LOST: the last one that was delivered whole */
    int64_t prev_revision; /* mod_revision of the document before; 0: the key was absent */
    const struct syn_store_doc *doc;  /* DELETE: an empty one of that key; LOST: NULL */
    const struct syn_store_doc *prev; /* the document before; NULL when there was none, when it is
                                         compacted or over SYN_STORE_PREV_MAX */
};

/** Must not block, nor call anything of the store that waits for a write; unwatch is allowed. */
typedef void (*syn_store_watch_fn)(void *arg, const struct syn_store_event *event);

/**
 * Deliver every change of a key under `prefix` with a revision greater than `after`, in order,
 * each once: first those of history, then new ones as they are committed. `after` may lie ahead.
 *
 * Owner: *ret_watch is the caller's, ended by syn_store_unwatch() before the store is closed.
 * Thread: `fn` runs on the store's notifier thread, never two at a time.
 * Returns 0; SYN_STORE_COMPACTED; SYN_E_INVALID, LIMIT, NOMEM, IO.
 */
SYN_MUST int syn_store_watch(struct syn_store *store, const char *prefix, int64_t after,
                             syn_store_watch_fn fn, void *arg, struct syn_store_watch **ret_watch,
                             struct syn_err *err);
/** After this `fn` neither runs nor will; called inside `fn` it ends after that call. NULL is fine.
 */
struct syn_store_watch *syn_store_unwatch(struct syn_store *store, struct syn_store_watch *watch);

/**
 * Grant a lease. It ends `ttl_ms` after the last keepalive (engines may round up to a second), and
 * the keys bound to it then are deleted with events. Time in which the store is closed counts.
 *
 * Returns 0; SYN_E_INVALID (ttl), LIMIT, NOMEM, NOSPACE, IO.
 */
SYN_MUST int syn_store_lease_grant(struct syn_store *store, int64_t ttl_ms, int64_t *ret_lease,
                                   struct syn_err *err);
/** Begin the ttl anew. Returns 0; SYN_STORE_LEASE_OVER; errors as grant. */
SYN_MUST int syn_store_lease_keepalive(struct syn_store *store, int64_t lease, struct syn_err *err);
/** End it now. Returns 0; SYN_STORE_LEASE_OVER; errors as grant. */
SYN_MUST int syn_store_lease_revoke(struct syn_store *store, int64_t lease, struct syn_err *err);

/** Forget events up to and including `revision`; documents stay. INVALID when it lies ahead. */
SYN_MUST int syn_store_compact(struct syn_store *store, int64_t revision, struct syn_err *err);
/** The revision of the newest change that any reading has seen; 0 in a new store. */
SYN_MUST int syn_store_revision(struct syn_store *store, int64_t *ret_revision,
                                struct syn_err *err);
/**
 * Write a consistent copy to `path` while the store is in use. It appears whole or not at all.
 *
 * Returns 0; SYN_E_EXISTS when `path` is there; NOSPACE, IO, CORRUPT, NOMEM.
 */
SYN_MUST int syn_store_backup(struct syn_store *store, const char *path, struct syn_err *err);
/** Read everything and check it. Takes a second a few hundred MB. Returns 0; SYN_E_CORRUPT, IO. */
SYN_MUST int syn_store_verify(struct syn_store *store, struct syn_err *err);

#endif
