/* For those who write an engine of the store: the ops table and the pieces every engine shares.
 * store.c has checked every argument against the limits of store.h before an op is called. */
#ifndef SYNOR_INFRA_STORE_OPS_H
#define SYNOR_INFRA_STORE_OPS_H

#include <synor/infra/store.h>

#define SYN_STORE_OPS_VERSION 1

/** Contracts are those of the syn_store_* calls of the same name. All are required. */
struct syn_store_ops {
    uint32_t version; /* SYN_STORE_OPS_VERSION */
    const char *name; /* "sqlite" */
    void (*close)(void *self);
    int (*get)(void *self, const char *key, const struct syn_store_doc **ret_doc,
               struct syn_err *err);
    int (*list)(void *self, const struct syn_store_range *range, struct syn_store_page *ret_page,
                struct syn_err *err);
    int (*count)(void *self, const char *prefix, int64_t *ret_count, struct syn_err *err);
    int (*txn)(void *self, const struct syn_store_op *ops, size_t count,
               struct syn_store_result *ret_result, struct syn_err *err);
    int (*txn_async)(void *self, const struct syn_store_op *ops, size_t count,
                     syn_store_done_fn done, void *arg, struct syn_err *err);
    int (*watch)(void *self, const char *prefix, int64_t after, syn_store_watch_fn fn, void *arg,
                 struct syn_store_watch **ret_watch, struct syn_err *err);
    void (*unwatch)(void *self, struct syn_store_watch *watch);
    int (*lease_grant)(void *self, int64_t ttl_ms, int64_t *ret_lease, struct syn_err *err);
    int (*lease_keepalive)(void *self, int64_t lease, struct syn_err *err);
    int (*lease_revoke)(void *self, int64_t lease, struct syn_err *err);
    int (*compact)(void *self, int64_t revision, struct syn_err *err);
    int (*revision)(void *self, int64_t *ret_revision, struct syn_err *err);
    int (*backup)(void *self, const char *path, struct syn_err *err);
    int (*verify)(void *self, struct syn_err *err);
};

/** Make the handle. `ops` is static; `self` goes to ops->close() at syn_store_close(). */
SYN_MUST int syn_store_new(const struct syn_store_ops *ops, void *self,
                           struct syn_store **ret_store, struct syn_err *err);

/** A document with one reference, copied; the engine sets revisions and lease before sharing it. */
SYN_MUST int syn_store_doc_new(const char *key, const void *value, size_t len,
                               struct syn_store_doc **ret_doc, struct syn_err *err);
/** Append to a page under construction (zeroed at first). Owns `doc` from the call on. */
SYN_MUST int syn_store_page_add_take(struct syn_store_page *page, const struct syn_store_doc *doc,
                                     struct syn_err *err);

/** A range as bounds: every key with lo <= key < hi in byte order. */
struct syn_store_bounds {
    char lo[SYN_STORE_KEY_MAX + 2];
    char hi[SYN_STORE_KEY_MAX + 2];
};
void syn_store_bounds_init(struct syn_store_bounds *bounds, const char *prefix, const char *after,
                           bool reverse);

/** 64 bits over `len` bytes, the same on every machine: for tables and against flipped bits. */
uint64_t syn_store_hash(const void *data, size_t len, uint64_t seed);

#endif
