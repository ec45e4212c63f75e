/* One group commit: requests applied to the database in one transaction. Used by the writer's
 * thread only. */
#ifndef SYN_INFRA_STORE_GROUP_PRIV_H
#define SYN_INFRA_STORE_GROUP_PRIV_H

#include <semaphore.h>

#include "store_writer_priv.h"

enum syn_store_request_kind {
    SYN_REQUEST_TXN,
    SYN_REQUEST_LEASE_GRANT,     /* number: ttl_ms -> result.revision: the lease */
    SYN_REQUEST_LEASE_KEEPALIVE, /* number: lease */
    SYN_REQUEST_LEASE_REVOKE,    /* number: lease */
    SYN_REQUEST_COMPACT,         /* number: revision */
};

struct syn_store_step {
    enum syn_store_op_kind kind;
    struct syn_store_doc *doc; /* PUT: what to write; else only its key counts */
    int64_t mod_revision;
    struct syn_store_row row;        /* what the key has now */
    const struct syn_store_doc *was; /* the same as a document, when at hand */
};

struct syn_store_request {
    struct syn_store_request *next;
    enum syn_store_request_kind kind;
    int64_t number;
    size_t bytes;
    int rc;
    struct syn_store_result result;
    struct syn_err err;
    syn_store_done_fn done; /* NULL: somebody waits for `ready` */
    void *arg;
    sem_t ready;
    size_t count;
    struct syn_store_step steps[];
};

struct syn_store_group {
    struct syn_store_writer_parts parts;
    int64_t base_wall_ms; /* the leases' clock: wall time at the start, then monotonic */
    int64_t base_mono_ms;
    int64_t lease_next_ms; /* when the first lease ends; INT64_MAX: there is none */
    /* Of the transaction under way: */
    int64_t revision;
    int64_t compacted;
    bool leases_changed;
    bool wanted; /* somebody watches: collect prev documents */
    struct syn_store_event *events;
    size_t count;
    size_t cap;
};

SYN_MUST int syn_store_group_init(struct syn_store_group *group,
                                  const struct syn_store_writer_parts *parts, struct syn_err *err);
void syn_store_group_fini(struct syn_store_group *group);
/** The leases' clock. */
int64_t syn_store_group_now_ms(const struct syn_store_group *group);
/** Apply and commit; sets rc and result of each. < 0: nothing of it happened. */
SYN_MUST int syn_store_group_commit(struct syn_store_group *group,
                                    struct syn_store_request *const *requests, size_t count,
                                    struct syn_err *err);
/** End what is due. Sets lease_next_ms; after a failure a little ahead. */
void syn_store_group_expire(struct syn_store_group *group);

#endif
