/* The one connection that changes the database, the queue before it and the thread behind it.
 *
 *     callers -> queue -> [ up to 64 requests in one SQLite transaction ] -> fsync -> answers
 *
 * A transaction that finds the connection free is written by its caller at once, without a switch
 * of threads; those that come while the disk is busy with it form a group for the thread. Each is
 * judged by itself: a conflict is an answer, not a failure. When a group fails as a whole (disk
 * full, no memory), its members are tried again one by one, so that nobody pays for a neighbour.
 *
 * The thread also checkpoints the WAL (by the same connection: SQLite before 3.51.3 can corrupt a
 * database when two race there), ends leases by a timed wait on the nearest, and trims history. */
#ifndef SYN_INFRA_STORE_WRITER_PRIV_H
#define SYN_INFRA_STORE_WRITER_PRIV_H

#include <stdatomic.h>

#include <synor/base/world.h>

#include "store_cache_priv.h"
#include "store_db_priv.h"

#define SYN_STORE_GROUP_MAX       64
#define SYN_STORE_QUEUE_BYTES_MAX ((size_t)64 << 20)

/** What the writer works on; all outlive it. */
struct syn_store_writer_parts {
    struct syn_store_db *db; /* the writer's own from here on */
    struct syn_store_cache *cache;
    struct syn_store_hub *hub;
    const struct syn_world *world;
    atomic_int_least64_t *revision;  /* newest committed */
    atomic_int_least64_t *compacted; /* history up to here is gone */
    int64_t history_max;
    int64_t lease_grace_ms;
    int64_t wal_bytes_max;
};

struct syn_store_writer;

SYN_MUST int syn_store_writer_new(const struct syn_store_writer_parts *parts,
                                  struct syn_store_writer **ret_writer, struct syn_err *err);
/** Write what is queued, then end the thread. */
struct syn_store_writer *syn_store_writer_free(struct syn_store_writer *writer);

SYN_MUST int syn_store_writer_txn(struct syn_store_writer *writer, const struct syn_store_op *ops,
                                  size_t count, struct syn_store_result *ret_result,
                                  struct syn_err *err);
SYN_MUST int syn_store_writer_txn_async(struct syn_store_writer *writer,
                                        const struct syn_store_op *ops, size_t count,
                                        syn_store_done_fn done, void *arg, struct syn_err *err);
SYN_MUST int syn_store_writer_lease_grant(struct syn_store_writer *writer, int64_t ttl_ms,
                                          int64_t *ret_lease, struct syn_err *err);
SYN_MUST int syn_store_writer_lease_keepalive(struct syn_store_writer *writer, int64_t lease,
                                              struct syn_err *err);
SYN_MUST int syn_store_writer_lease_revoke(struct syn_store_writer *writer, int64_t lease,
                                           struct syn_err *err);
SYN_MUST int syn_store_writer_compact(struct syn_store_writer *writer, int64_t revision,
                                      struct syn_err *err);

#endif
