/* Finding out whether a new block is mostly made of blocks that are there: content that was shifted
 * by an edit before it has other blocks, but the same bytes.
 *
 * An anchor that a known block has, too, names that block; it is read and compared, and the slice
 * grows from the anchor in both directions for as long as the bytes agree. So one anchor in common
 * is enough, nothing rests on hashes being unequal, and what an edit costs is little more than what
 * it changed. Slices are only of blocks that are stored whole: a recipe never needs another. */
#include "block_store_priv.h"

#include <synor/base/mem.h>

/* A block that was read to compare with. */
struct known {
    uint8_t digest[SYN_DIGEST_BYTES];
    struct syn_block block;
    bool usable;
};

struct search {
    struct syn_batch *batch;
    struct known known[SYN_RECIPE_BASES_MAX];
    unsigned count;
};

static void
search_fini(struct search *search)
{
    for (unsigned i = 0; i < search->count; i++)
        syn_block_fini(&search->known[i].block);
}

/* Whose anchor is it? Of this batch, or of the index. */
static SYN_MUST int
find_anchor(struct syn_batch *batch, uint64_t hash, uint8_t digest[static SYN_DIGEST_BYTES],
            uint32_t *ret_at, struct syn_err *err)
{
    const struct syn_anchor_note *note;

    (void)pthread_mutex_lock(&batch->lock);
    note = syn_anchor_table_find(&batch->anchors, hash);
    if (note != NULL) {
        memcpy(digest, batch->set.items[note->item], SYN_DIGEST_BYTES);
        *ret_at = note->anchor.at;
    }
    (void)pthread_mutex_unlock(&batch->lock);
    return note != NULL ? SYN_OK
                        : syn_index_anchor_find(batch->blocks->index, hash, digest, ret_at, err);
}

/* The record of a block that the batch wrote and has not committed. */
static bool
find_written(struct syn_batch *batch, const uint8_t *digest, struct syn_index_row *ret_row)
{
    size_t item;
    bool written;

    (void)pthread_mutex_lock(&batch->lock);
    item = syn_digest_set_find(&batch->set, digest);
    written = item != SIZE_MAX && batch->items[item].state == SYN_ITEM_WRITTEN;
    if (written)
        *ret_row = batch->items[item].row;
    (void)pthread_mutex_unlock(&batch->lock);
    return written;
}

/* A block that cannot be read, for whatever reason, is nothing to rely on; that is no failure of
 * what is being put. */
static SYN_MUST int
read_known(struct search *search, struct known *known, struct syn_err *err)
{
    struct syn_cid cid = {.codec = SYN_CODEC_RAW};
    struct syn_index_row row;
    int rc;

    memcpy(cid.digest, known->digest, SYN_DIGEST_BYTES);
    rc = find_written(search->batch, known->digest, &row)
             ? syn_blocks_read_at(search->batch->blocks, &row, &known->block, err)
             : syn_blocks_get(search->batch->blocks, &cid, &known->block, err);
    known->usable = rc == 0 && (known->block.flags & SYN_RECORD_RECIPE) == 0;
    return rc == SYN_E_NOMEM ? rc : SYN_OK;
}

static int
find_base(void *arg, uint64_t hash, struct syn_recipe_base *ret_base, struct syn_err *err)
{
    struct search *search = arg;
    uint8_t digest[SYN_DIGEST_BYTES];
    struct known *known = NULL;
    uint32_t at = 0;
    int rc = find_anchor(search->batch, hash, digest, &at, err);

    if (rc != 0)
        return rc == SYN_INDEX_NONE ? SYN_RECIPE_NO_BASE : rc;
    for (unsigned i = 0; known == NULL && i < search->count; i++) {
        if (memcmp(search->known[i].digest, digest, SYN_DIGEST_BYTES) == 0)
            known = &search->known[i];
    }
    if (known == NULL && search->count == SYN_LEN(search->known))
        return SYN_RECIPE_NO_BASE;
    if (known == NULL) {
        known = &search->known[search->count++];
        memcpy(known->digest, digest, SYN_DIGEST_BYTES);
        rc = read_known(search, known, err);
        if (rc != 0)
            return rc;
    }
    if (!known->usable || at > known->block.len)
        return SYN_RECIPE_NO_BASE;
    *ret_base = (struct syn_recipe_base){known->digest, known->block.data, known->block.len, at};
    return SYN_OK;
}

/* Keep a base for the recipe. It may have gone since it was read, or have come back as something
 * else. */
static SYN_MUST int
claim_base(struct syn_batch *batch, const uint8_t *digest, struct syn_made *made,
           struct syn_err *err)
{
    const struct syn_item *item;
    size_t number = 0;
    bool missing = false;
    bool usable;
    int rc = syn_batch_claim(batch, digest, false, &number, &missing, err);

    if (rc != 0)
        return rc;
    (void)pthread_mutex_lock(&batch->lock);
    item = &batch->items[number];
    usable = !missing && item->state != SYN_ITEM_CLAIMED && !item->row.bad &&
             item->row.cid.codec == SYN_CODEC_RAW && (item->row.flags & SYN_RECORD_RECIPE) == 0;
    (void)pthread_mutex_unlock(&batch->lock);
    if (!usable)
        return SYN_BATCH_NO_MATCH;
    made->bases[made->count++] = number;
    return SYN_OK;
}

int
syn_match_block(const struct syn_match *match, const void *data, size_t len, struct syn_made *made,
                struct syn_buf *recipe, struct syn_err *err)
{
    SYN_SCOPED(search_fini) struct search search = {.batch = match->batch};
    struct syn_recipe_source source = {
        .anchors = match->anchors, .count = match->count, .find = find_base, .arg = &search};
    struct syn_recipe found;
    SYN_BUF(literal);
    int rc = syn_recipe_find(&source, data, len, &found, &literal, err);

    made->count = 0;
    for (unsigned i = 0; rc == 0 && i < found.bases_count; i++)
        rc = claim_base(match->batch, found.bases[i], made, err);
    if (rc != 0)
        return rc < 0 ? rc : SYN_BATCH_NO_MATCH;
    return syn_recipe_encode(&found, recipe, err);
}
