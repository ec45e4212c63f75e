/* What block_store.c and block_batch.c share: the store's parts. */
#ifndef SYNOR_INFRA_BLOCK_STORE_PRIV_H
#define SYNOR_INFRA_BLOCK_STORE_PRIV_H

#include "block_priv.h"

#define SYN_CODERS_KEPT 4

struct syn_blocks {
    pthread_mutex_t lock; /* batches, coders */
    pthread_rwlock_t sweep;
    struct syn_block_keys keys;
    bool without_key;
    struct syn_anchor_seed seed;
    struct syn_index *index;
    struct syn_packs *packs;
    struct syn_batch *batches;
    uint32_t *left; /* packs with something to take back when no batch is open */
    size_t left_count;
    size_t left_cap;
    struct syn_coder *coders[SYN_CODERS_KEPT];
    unsigned coders_count;
    int lock_fd;
};

/* ---- batches --------------------------------------------------------------------------------- */

enum syn_item_state {
    SYN_ITEM_CLAIMED, /* being looked up or written */
    SYN_ITEM_ABSENT,  /* wanted, and not there */
    SYN_ITEM_STORED,  /* was there before */
    SYN_ITEM_BUFFERED,
    SYN_ITEM_WRITTEN,
    SYN_ITEM_COMMITTED,
};

/** What a batch knows of one digest in its set. */
struct syn_item {
    enum syn_item_state state;
    struct syn_index_row row; /* of a buffered one, `offset` counts from the buffer's start */
    bool replaces;            /* it is stored, at `from`, but cannot be read there */
    struct syn_place from;
    bool from_recipe;
};

/** A recipe that the batch wrote, and what it is made of, as items. */
struct syn_made {
    size_t item;
    size_t bases[SYN_RECIPE_BASES_MAX];
    unsigned count;
};

struct syn_touched_pack {
    uint32_t id;
    uint64_t end;
};

struct syn_batch {
    struct syn_batch *next;
    struct syn_blocks *blocks;
    pthread_mutex_t lock;
    struct syn_digest_set set;
    struct syn_item *items; /* one for each of the set's */
    size_t items_cap;
    size_t committed; /* items before this one are done */
    uint8_t *buffer;
    size_t buffered;
    size_t *waiting; /* items in the buffer */
    size_t waiting_count;
    size_t waiting_cap;
    struct syn_touched_pack *packs; /* written since the last commit */
    size_t packs_count;
    size_t packs_cap;
    uint32_t first_pack;             /* it has written to none before */
    struct syn_anchor_table anchors; /* of whole blocks, not in the index yet */
    struct syn_made *made;           /* since the last commit */
    size_t made_count;
    size_t made_cap;
    uint64_t put_bytes;
    bool guard; /* writes nothing, and takes over what others end with */
    bool failed;
};

/** Enter a digest into the batch, so that gc spares it, and look whether it is stored. `*ret_todo`:
 * when the caller would `write` it, that it must, because nobody has it or is about to, or because
 * what is stored cannot be read; otherwise, that it is not there. */
SYN_MUST int syn_batch_claim(struct syn_batch *batch, const uint8_t *digest, bool write,
                             size_t *ret_item, bool *ret_todo, struct syn_err *err);

/* ---- matching (block_match.c) ---------------------------------------------------------------- */

/** What a block that is being put has in common with others. */
struct syn_match {
    struct syn_batch *batch;
    const struct syn_anchor *anchors;
    size_t count;
};

#define SYN_BATCH_NO_MATCH 1
/** Say the block as slices of blocks that are stored, or of the batch, and claim these. 0 with the
 * recipe's record in `recipe` and its bases in `made`; SYN_BATCH_NO_MATCH. */
SYN_MUST int syn_match_block(const struct syn_match *match, const void *data, size_t len,
                             struct syn_made *made, struct syn_buf *recipe, struct syn_err *err);

/* ---- the store's parts ----------------------------------------------------------------------- */

/** A coder for the calling thread until it is given back. */
SYN_MUST int syn_blocks_take_coder(struct syn_blocks *blocks, struct syn_coder **ret_coder,
                                   struct syn_err *err);
void syn_blocks_give_coder(struct syn_blocks *blocks, struct syn_coder *coder);

/** Read and verify the record at a place that the index does not name yet. */
SYN_MUST int syn_blocks_read_at(struct syn_blocks *blocks, const struct syn_index_row *row,
                                struct syn_block *block, struct syn_err *err);
/** The number of the key under which new records with these flags are; 0: none. */
uint32_t syn_blocks_key(const struct syn_blocks *blocks, unsigned flags);

/** Write a record at the end of the packs. `*ret_place` also tells where a failed write went. */
SYN_MUST int syn_blocks_append(struct syn_blocks *blocks, struct syn_record_out *out,
                               struct syn_place *ret_place, struct syn_err *err);

#endif
