/* What block_store.c and block_batch.c share: the store's parts. */
#ifndef SYNOR_INFRA_BLOCK_STORE_PRIV_H
#define SYNOR_INFRA_BLOCK_STORE_PRIV_H

#include "block_priv.h"

#define SYN_CODERS_KEPT 4

struct syn_blocks {
    pthread_mutex_t lock; /* batches, coders */
    pthread_rwlock_t sweep;
    struct syn_block_keys keys;
    struct syn_index *index;
    struct syn_packs *packs;
    struct syn_batch *batches;
    struct syn_coder *coders[SYN_CODERS_KEPT];
    unsigned coders_count;
    int lock_fd;
};

/** A coder for the calling thread until it is given back. */
SYN_MUST int syn_blocks_take_coder(struct syn_blocks *blocks, struct syn_coder **ret_coder,
                                   struct syn_err *err);
void syn_blocks_give_coder(struct syn_blocks *blocks, struct syn_coder *coder);

/** The number of the key under which new records with these flags are; 0: none. */
uint32_t syn_blocks_key(const struct syn_blocks *blocks, unsigned flags);

/** Write a record at the end of the packs. `*ret_place` also tells where a failed write went. */
SYN_MUST int syn_blocks_append(struct syn_blocks *blocks, struct syn_record_out *out,
                               struct syn_place *ret_place, struct syn_err *err);

#endif
