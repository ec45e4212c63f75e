#ifndef SYNOR_INFRA_CONTENT_PRIV_H
#define SYNOR_INFRA_CONTENT_PRIV_H

#include <synor/base/pool.h>
#include <synor/infra/content.h>

#include "block_priv.h"

/** Folders deeper than this are refused; a path of the system's longest has no more. */
#define SYN_CONTENT_DEPTH_MAX   256
#define SYN_CONTENT_ENTRIES_MAX ((size_t)4 << 20)

struct syn_content {
    struct syn_blocks *blocks;
    struct syn_pool *pool;
    unsigned threads;
    const struct syn_content_io *io;
    pthread_mutex_t gc_lock; /* one gc at a time */
};

/** Jobs of a pipe over the store's pool. */
unsigned syn_content_jobs(const struct syn_content *store);

/** A block and what it decodes to. */
struct syn_dag_node {
    struct syn_block block;
    struct syn_unixfs_node node;
};

void syn_dag_node_fini(struct syn_dag_node *node);
/** Read and decode into a fresh or finished node. INVALID blocks become CORRUPT with their CID. */
SYN_MUST int syn_dag_node_get(struct syn_content *store, const struct syn_cid *cid,
                              struct syn_dag_node *ret_node, struct syn_err *err);

/** Visit a file's leaves that overlap [from, to), in order: `leaf` gets the CID and where it
 * begins. A node's inline data comes by `inline_data` instead. */
struct syn_dag_visit {
    int (*leaf)(void *arg, const struct syn_cid *cid, uint64_t at, uint64_t size,
                struct syn_err *err);
    int (*inline_data)(void *arg, const void *data, size_t len, uint64_t at, struct syn_err *err);
    void *arg;
    uint64_t from;
    uint64_t to;
};

SYN_MUST int syn_dag_visit_file(struct syn_content *store, const struct syn_cid *cid,
                                const struct syn_dag_visit *visit, struct syn_err *err);

/** Visit the entries of a folder, plain or sharded; the link's name has no prefix. A result other
 * than 0 ends it. */
typedef int syn_dag_entry_fn(void *arg, const struct syn_unixfs_link *entry, struct syn_err *err);
SYN_MUST int syn_dag_visit_dir(struct syn_content *store, const struct syn_dag_node *dir,
                               syn_dag_entry_fn *entry, void *arg, struct syn_err *err);

#endif
