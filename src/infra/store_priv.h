/* What the modules of the store share among themselves. */
#ifndef SYN_INFRA_STORE_PRIV_H
#define SYN_INFRA_STORE_PRIV_H

#include <stdatomic.h>

#include <synor/infra/store_ops.h>

/** The memory of one document: the public part, key and value in one block. */
struct syn_store_box {
    atomic_uint refs;
    uint64_t hash;               /* of the key */
    int64_t row;                 /* the engine's own name of this version */
    struct syn_store_box *next;  /* cache: same bucket; under the shard's lock */
    struct syn_store_box *newer; /* cache: order of use */
    struct syn_store_box *older;
    struct syn_store_doc doc;
    char bytes[];
};

static inline struct syn_store_box *
syn_store_box_of(const struct syn_store_doc *doc)
{
    return (struct syn_store_box *)((uintptr_t)doc - offsetof(struct syn_store_box, doc));
}

#endif
