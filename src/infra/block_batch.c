/* Batches: blocks that become visible and durable together.
 *
 * Crash safety rests on one order: records are appended, the packs they are in are synced, then one
 * transaction names them in the index. A block is there exactly when the index names it. What a
 * crash or an abandoned batch leaves behind lies after a pack's committed size, or in a pack that
 * the index does not know, and is cut away: at open, or when the last open batch ends.
 *
 *     batch:  put put put ...  commit = sync packs, index transaction
 *     pack:   [committed ......................][not yet committed]
 *
 * Deduplication meets gc in one place: between finding that a block is stored already and relying
 * on it, it must not be collected. A put claims the digest in its batch and looks it up under the
 * shared side of `sweep`; gc reads all claims and deletes under the exclusive side. A commit takes
 * the shared side, too: gc has looked at what is claimed and not there, and would not know rows
 * that come before it lists what is to go.
 *
 * What a put has found or written must also outlive its batch until something names it. A guard is
 * a batch that takes over what other batches end with while it is open: gc holds one from before it
 * asks for its roots, so that what comes to be named after that is spared, and whoever names
 * content holds one until the name is durable.
 *
 * Locks, in order: sweep, blocks.lock, batch.lock, index. */
#include "block_store_priv.h"

#include <synor/base/mem.h>
#include <synor/base/world.h>

#define BUFFERED_MAX   ((size_t)64 << 10) /* larger records are written on their own */
#define BUFFER_BYTES   ((size_t)1 << 20)
#define TOUCH_SLACK_MS (INT64_C(10) * 60 * 1000)

/* ---- batches --------------------------------------------------------------------------------- */

int
syn_batch_new(struct syn_blocks *blocks, struct syn_batch **ret_batch, struct syn_err *err)
{
    struct syn_batch *batch = syn_calloc(1, sizeof(*batch));

    if (batch == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a batch");
    batch->blocks = blocks;
    (void)pthread_mutex_init(&batch->lock, NULL);
    (void)pthread_mutex_lock(&blocks->lock);
    batch->first_pack = syn_packs_next(blocks->packs);
    batch->next = blocks->batches;
    blocks->batches = batch;
    (void)pthread_mutex_unlock(&blocks->lock);
    *ret_batch = batch;
    return SYN_OK;
}

/* Enter a digest into the batch; with the batch locked. */
static SYN_MUST int
claim_locked(struct syn_batch *batch, const uint8_t *digest, size_t *ret_item, bool *ret_new,
             struct syn_err *err)
{
    int rc;

    if (!syn_grow(&batch->items, &batch->items_cap, batch->set.count + 1, sizeof(*batch->items)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a batch");
    rc = syn_digest_set_add(&batch->set, digest, ret_item, ret_new, err);
    if (rc == 0 && *ret_new)
        batch->items[*ret_item] = (struct syn_item){.state = SYN_ITEM_CLAIMED};
    return rc;
}

/* Look whether a claimed digest is stored; with the batch locked. */
static SYN_MUST int
look_up_locked(struct syn_batch *batch, size_t number, struct syn_err *err)
{
    struct syn_item *item = &batch->items[number];
    struct syn_index_row row;
    int rc = syn_index_find(batch->blocks->index, batch->set.items[number], &row, err);

    if (rc == 0) {
        item->state = SYN_ITEM_STORED;
        item->row = row;
    }
    return SYN_MIN(rc, 0);
}

/* Can what is stored be relied on? Known damage cannot, nor what a lost key seals. */
static bool
is_readable(const struct syn_blocks *blocks, const struct syn_index_row *row)
{
    return !row->bad && syn_blocks_key_given(blocks, row->key);
}

/* Decide who writes a claimed digest; with the batch locked. */
static bool
must_write_locked(struct syn_batch *batch, struct syn_item *item, bool is_new)
{
    bool unreadable = item->state == SYN_ITEM_STORED && !is_readable(batch->blocks, &item->row);

    if (unreadable) {
        item->replaces = true;
        item->from = item->row.place;
        item->from_recipe = (item->row.flags & SYN_RECORD_RECIPE) != 0;
    } else if (!(is_new && item->state == SYN_ITEM_CLAIMED) && item->state != SYN_ITEM_ABSENT) {
        return false;
    }
    item->state = SYN_ITEM_CLAIMED;
    /* An earlier commit has passed it. */
    batch->committed = SYN_MIN(batch->committed, (size_t)(item - batch->items));
    return true;
}

int
syn_batch_claim(struct syn_batch *batch, const uint8_t *digest, bool write, size_t *ret_item,
                bool *ret_todo, struct syn_err *err)
{
    struct syn_blocks *blocks = batch->blocks;
    bool is_new = false;
    int rc;

    (void)pthread_rwlock_rdlock(&blocks->sweep);
    (void)pthread_mutex_lock(&batch->lock);
    rc = claim_locked(batch, digest, ret_item, &is_new, err);
    if (rc == 0 && is_new)
        rc = look_up_locked(batch, *ret_item, err);
    if (rc == 0) {
        struct syn_item *item = &batch->items[*ret_item];

        if (!write && is_new && item->state == SYN_ITEM_CLAIMED)
            item->state = SYN_ITEM_ABSENT;
        *ret_todo = write ? must_write_locked(batch, item, is_new) : item->state == SYN_ITEM_ABSENT;
    } else {
        batch->failed = true;
    }
    (void)pthread_mutex_unlock(&batch->lock);
    (void)pthread_rwlock_unlock(&blocks->sweep);
    return rc;
}

static bool
batch_replaces(struct syn_batch *batch, size_t number)
{
    bool replaces;

    (void)pthread_mutex_lock(&batch->lock);
    replaces = batch->items[number].replaces;
    (void)pthread_mutex_unlock(&batch->lock);
    return replaces;
}

/* Within an index transaction. */
static SYN_MUST int
add_anchors(struct syn_batch *batch, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == 0 && i < batch->anchors.count; i++) {
        const struct syn_anchor_note *note = &batch->anchors.notes[i];

        rc = syn_index_anchor(batch->blocks->index, &note->anchor, batch->set.items[note->item],
                              err);
    }
    return rc;
}

/* Remember where the batch wrote, also in vain (`rc` < 0): that is what it takes back. */
static SYN_MUST int
note_written(struct syn_batch *batch, struct syn_place place, uint64_t len, int rc,
             struct syn_err *err)
{
    size_t i = batch->packs_count;

    if (place.pack == 0)
        return rc;
    while (i > 0 && batch->packs[i - 1].id != place.pack)
        i--;
    if (i == 0) {
        if (!syn_grow(&batch->packs, &batch->packs_cap, batch->packs_count + 1,
                      sizeof(*batch->packs)))
            return rc < 0 ? rc : SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a batch");
        i = ++batch->packs_count;
        batch->packs[i - 1] = (struct syn_touched_pack){.id = place.pack};
    }
    batch->packs[i - 1].end = SYN_MAX(batch->packs[i - 1].end, place.offset + len);
    return rc;
}

/* Write the buffered records in one go; with the batch locked. */
static SYN_MUST int
flush_locked(struct syn_batch *batch, struct syn_err *err)
{
    struct iovec iov = {batch->buffer, batch->buffered};
    struct syn_place place = {0};
    int rc;

    if (batch->buffered == 0)
        return SYN_OK;
    rc = syn_packs_append(batch->blocks->packs, &iov, 1, batch->buffered, &place, err);
    rc = note_written(batch, place, batch->buffered, rc, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < batch->waiting_count; i++) {
        struct syn_item *item = &batch->items[batch->waiting[i]];

        assert(item->state == SYN_ITEM_BUFFERED);
        item->row.place.pack = place.pack;
        item->row.place.offset += place.offset;
        item->state = SYN_ITEM_WRITTEN;
    }
    batch->waiting_count = 0;
    batch->buffered = 0;
    return SYN_OK;
}

static SYN_MUST int
buffer_locked(struct syn_batch *batch, size_t number, const struct syn_record_out *out,
              struct syn_err *err)
{
    struct syn_item *item = &batch->items[number];
    uint8_t *at;
    int rc = SYN_OK;

    if (batch->buffered + item->row.stored > BUFFER_BYTES)
        rc = flush_locked(batch, err);
    if (rc != 0)
        return rc;
    if (batch->buffer == NULL)
        batch->buffer = syn_alloc(BUFFER_BYTES);
    if (batch->buffer == NULL || !syn_grow(&batch->waiting, &batch->waiting_cap,
                                           batch->waiting_count + 1, sizeof(*batch->waiting)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a batch");
    at = batch->buffer + batch->buffered;
    memcpy(at, out->head, SYN_RECORD_HEAD);
    if (out->payload_len > 0)
        memcpy(at + SYN_RECORD_HEAD, out->payload, out->payload_len);
    memcpy(at + SYN_RECORD_HEAD + out->payload_len, out->tail, out->tail_len);
    item->row.place.offset = batch->buffered;
    item->state = SYN_ITEM_BUFFERED;
    batch->buffered += item->row.stored;
    batch->waiting[batch->waiting_count++] = number;
    return SYN_OK;
}

static SYN_MUST int
write_record(struct syn_batch *batch, size_t number, struct syn_record_out *out,
             const struct syn_cid *cid, size_t len, struct syn_err *err)
{
    struct syn_index_row row = {
        .cid = *cid,
        .stored = (uint32_t)syn_record_out_size(out),
        .size = (uint32_t)len,
        .flags = out->flags,
        .key = syn_blocks_key(batch->blocks, out->flags),
    };
    bool buffered = row.stored <= BUFFERED_MAX;
    int rc = SYN_OK;

    if (!buffered)
        rc = syn_blocks_append(batch->blocks, out, &row.place, err);
    (void)pthread_mutex_lock(&batch->lock);
    batch->items[number].row = row;
    if (buffered)
        rc = buffer_locked(batch, number, out, err);
    else
        rc = note_written(batch, row.place, row.stored, rc, err);
    if (rc == 0 && !buffered)
        batch->items[number].state = SYN_ITEM_WRITTEN;
    (void)pthread_mutex_unlock(&batch->lock);
    return rc;
}

static SYN_MUST int
write_whole(struct syn_batch *batch, size_t number, const struct syn_cid *cid, const void *data,
            size_t len, struct syn_err *err)
{
    struct syn_record_out out;
    struct syn_coder *coder = NULL;
    int rc = syn_blocks_take_coder(batch->blocks, &coder, err);

    if (rc != 0)
        return rc;
    rc = syn_record_encode(coder, cid, 0, data, len, &out, err);
    if (rc == 0)
        rc = write_record(batch, number, &out, cid, len, err);
    syn_blocks_give_coder(batch->blocks, coder);
    return rc;
}

/* The recipe counts as written before it is known what it is made of: both are committed together,
 * and a failure in between fails the batch. */
static SYN_MUST int
write_recipe(struct syn_batch *batch, struct syn_made *made, const struct syn_cid *cid,
             const struct syn_buf *recipe, size_t len, struct syn_err *err)
{
    struct syn_record_out out;
    struct syn_coder *coder = NULL;
    int rc = syn_blocks_take_coder(batch->blocks, &coder, err);

    if (rc != 0)
        return rc;
    rc = syn_record_encode(coder, cid, SYN_RECORD_RECIPE, recipe->data, recipe->len, &out, err);
    if (rc == 0)
        rc = write_record(batch, made->item, &out, cid, len, err);
    syn_blocks_give_coder(batch->blocks, coder);
    (void)pthread_mutex_lock(&batch->lock);
    if (rc == 0 &&
        syn_grow(&batch->made, &batch->made_cap, batch->made_count + 1, sizeof(*batch->made)))
        batch->made[batch->made_count++] = *made;
    else if (rc == 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a batch");
    (void)pthread_mutex_unlock(&batch->lock);
    return rc;
}

static SYN_MUST int
flush_anchors_locked(struct syn_batch *batch, struct syn_err *err)
{
    struct syn_index *index = batch->blocks->index;
    int rc = syn_index_begin(index, err);

    if (rc != 0)
        return rc;
    rc = add_anchors(batch, err);
    rc = syn_index_end(index, rc, err);
    if (rc == 0)
        syn_anchor_table_clear(&batch->anchors);
    return rc;
}

/* Let other blocks be said as slices of this one. What is small on disk is not worth it. Anchors
 * are hints, so that many of them may go to the index before their blocks do. */
static SYN_MUST int
note_anchors(struct syn_batch *batch, size_t number, const struct syn_anchor *anchors, size_t count,
             struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&batch->lock);
    if (batch->items[number].row.stored <= BUFFERED_MAX)
        count = 0;
    if (batch->anchors.count + count > SYN_ANCHOR_TABLE_MAX)
        rc = flush_anchors_locked(batch, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = syn_anchor_table_add(&batch->anchors, &anchors[i], number, err);
    (void)pthread_mutex_unlock(&batch->lock);
    return rc;
}

/* Write a claimed block, as a recipe where that says it shorter. One that replaces a damaged record
 * is written whole: others may be made of it. */
static SYN_MUST int
write_block(struct syn_batch *batch, size_t number, const struct syn_cid *cid, const void *data,
            size_t len, struct syn_err *err)
{
    struct syn_anchor anchors[SYN_ANCHORS_MAX];
    struct syn_made made = {.item = number};
    size_t count = 0;
    SYN_BUF(recipe);
    int rc = SYN_BATCH_NO_MATCH;

    if (cid->codec == SYN_CODEC_RAW && len >= SYN_ANCHOR_BLOCK_MIN)
        count = syn_anchors_find(&batch->blocks->seed, data, len, anchors);
    if (count > 0 && !batch_replaces(batch, number)) {
        struct syn_match match = {.batch = batch, .anchors = anchors, .count = count};

        rc = syn_match_block(&match, data, len, &made, &recipe, err);
    }
    if (rc < 0)
        return rc;
    if (rc == 0)
        return write_recipe(batch, &made, cid, &recipe, len, err);
    rc = write_whole(batch, number, cid, data, len, err);
    return rc == 0 && count > 0 ? note_anchors(batch, number, anchors, count, err) : rc;
}

int
syn_batch_put(struct syn_batch *batch, const struct syn_cid *cid, const void *data, size_t len,
              struct syn_err *err)
{
    size_t number = 0;
    bool todo = false;
    int rc = syn_batch_claim(batch, cid->digest, true, &number, &todo, err);

    if (rc == 0 && todo)
        rc = write_block(batch, number, cid, data, len, err);
    (void)pthread_mutex_lock(&batch->lock);
    batch->failed = batch->failed || rc < 0;
    batch->put_bytes += len;
    (void)pthread_mutex_unlock(&batch->lock);
    return rc;
}

int
syn_batch_hold(struct syn_batch *batch, const struct syn_cid *cid, struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    size_t number = 0;
    bool missing = false;
    int rc = syn_batch_claim(batch, cid->digest, false, &number, &missing, err);

    if (rc == 0 && missing) {
        (void)pthread_mutex_lock(&batch->lock);
        batch->failed = !batch->guard; /* what is being put relies on it */
        (void)pthread_mutex_unlock(&batch->lock);
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "block %s: not in the content store",
                      syn_cid_format(cid, text));
    }
    return rc;
}

/* Is the row that of this item, not of another batch that was faster? */
static SYN_MUST int
is_ours(struct syn_index *index, const uint8_t *digest, const struct syn_item *item, bool *ret_ours,
        struct syn_err *err)
{
    struct syn_index_row row;
    int rc = syn_index_get(index, digest, &row, err);

    *ret_ours = rc == 0 && row.place.pack == item->row.place.pack &&
                row.place.offset == item->row.place.offset;
    return SYN_MIN(rc, 0);
}

/* The row takes the new record in place of one that cannot be read, unless somebody else was
 * faster; adding what is there renews its age. */
static SYN_MUST int
commit_item(struct syn_batch *batch, size_t number, int64_t now, struct syn_err *err)
{
    struct syn_index *index = batch->blocks->index;
    struct syn_item *item = &batch->items[number];
    const uint8_t *digest = batch->set.items[number];
    bool ours = false;
    int rc = SYN_OK;

    item->row.born_ms = now;
    if (item->replaces)
        rc = syn_index_move(index, &item->row, item->from, err);
    if (rc == 0)
        rc = syn_index_add(index, &item->row, err);
    if (rc == 0 && item->replaces && item->from_recipe)
        rc = is_ours(index, digest, item, &ours, err);
    return rc == 0 && ours ? syn_index_bases(index, digest, NULL, 0, err) : rc;
}

static SYN_MUST int
commit_made(struct syn_batch *batch, const struct syn_made *made, struct syn_err *err)
{
    struct syn_index *index = batch->blocks->index;
    const uint8_t *digest = batch->set.items[made->item];
    uint8_t bases[SYN_RECIPE_BASES_MAX][SYN_DIGEST_BYTES];
    bool ours = false;
    int rc = is_ours(index, digest, &batch->items[made->item], &ours, err);

    for (unsigned i = 0; i < made->count; i++)
        memcpy(bases[i], batch->set.items[made->bases[i]], SYN_DIGEST_BYTES);
    return rc == 0 && ours
               ? syn_index_bases(index, digest, (const uint8_t(*)[SYN_DIGEST_BYTES])bases,
                                 made->count, err)
               : rc;
}

static SYN_MUST int
commit_rows(struct syn_batch *batch, struct syn_err *err)
{
    struct syn_index *index = batch->blocks->index;
    int64_t now = syn_wall_ms(syn_world_system());
    int rc = SYN_OK;

    for (size_t i = batch->committed; rc == 0 && i < batch->set.count; i++) {
        if (batch->items[i].state == SYN_ITEM_WRITTEN)
            rc = commit_item(batch, i, now, err);
        else if (batch->items[i].row.born_ms < now - TOUCH_SLACK_MS)
            rc = syn_index_touch(index, batch->set.items[i], now, err);
    }
    for (size_t i = 0; rc == 0 && i < batch->made_count; i++)
        rc = commit_made(batch, &batch->made[i], err);
    if (rc == 0)
        rc = add_anchors(batch, err);
    for (size_t i = 0; rc == 0 && i < batch->packs_count; i++)
        rc = syn_index_pack(index, batch->packs[i].id, batch->packs[i].end, err);
    if (rc == 0 && batch->put_bytes > 0)
        rc = syn_index_count_put(index, batch->put_bytes, err);
    return rc;
}

static SYN_MUST int
commit_locked(struct syn_batch *batch, struct syn_err *err)
{
    int rc;

    if (batch->failed)
        return SYN_FAIL(err, SYN_E_CONFLICT, "a block of this upload could not be stored");
    rc = flush_locked(batch, err);
    for (size_t i = 0; rc == 0 && i < batch->packs_count; i++)
        rc = syn_packs_sync(batch->blocks->packs, batch->packs[i].id, err);
    if (rc == 0)
        rc = syn_index_begin(batch->blocks->index, err);
    if (rc != 0)
        return rc;
    rc = commit_rows(batch, err);
    rc = syn_index_end(batch->blocks->index, rc, err);
    if (rc != 0)
        return rc;
    for (; batch->committed < batch->set.count; batch->committed++) {
        struct syn_item *item = &batch->items[batch->committed];

        if (item->state == SYN_ITEM_WRITTEN)
            item->state = SYN_ITEM_COMMITTED;
    }
    syn_anchor_table_clear(&batch->anchors);
    batch->made_count = 0;
    batch->packs_count = 0;
    batch->put_bytes = 0;
    return SYN_OK;
}

int
syn_batch_commit(struct syn_batch *batch, struct syn_err *err)
{
    int rc;

    (void)pthread_rwlock_rdlock(&batch->blocks->sweep);
    (void)pthread_mutex_lock(&batch->lock);
    rc = commit_locked(batch, err);
    batch->failed = batch->failed || rc < 0;
    (void)pthread_mutex_unlock(&batch->lock);
    (void)pthread_rwlock_unlock(&batch->blocks->sweep);
    return rc;
}

/* With blocks.lock held. What the batch wrote and did not commit is to be taken back. A failure
 * only costs space until the store is opened again, here and below. */
static void
leave_packs(struct syn_blocks *blocks, const struct syn_batch *batch)
{
    for (size_t i = 0; i < batch->packs_count; i++) {
        if (syn_grow(&blocks->left, &blocks->left_cap, blocks->left_count + 1,
                     sizeof(*blocks->left)))
            blocks->left[blocks->left_count++] = batch->packs[i].id;
    }
}

/* With blocks.lock held and no batch left, nobody appends. */
static void
cut_back(struct syn_blocks *blocks)
{
    for (; blocks->left_count > 0; blocks->left_count--) {
        uint32_t pack = blocks->left[blocks->left_count - 1];
        uint64_t size = 0;

        if (syn_index_pack_size(blocks->index, pack, &size, NULL) == 0)
            (void)!syn_packs_cut(blocks->packs, pack, size, NULL);
    }
}

/* Is it there, by what the batch knows? Of a guard: what it was given. */
static bool
is_kept(const struct syn_batch *batch, size_t number)
{
    enum syn_item_state state = batch->items[number].state;

    return batch->guard ? state == SYN_ITEM_STORED
                        : number < batch->committed && state != SYN_ITEM_ABSENT;
}

/* With blocks.lock held. */
static void
hand_over(const struct syn_batch *batch, struct syn_batch *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    for (size_t i = 0; !guard->failed && i < batch->set.count; i++) {
        size_t number = 0;
        bool is_new = false;

        if (!is_kept(batch, i))
            continue;
        if (claim_locked(guard, batch->set.items[i], &number, &is_new, NULL) < 0)
            guard->failed = true;
        else
            guard->items[number].state = SYN_ITEM_STORED;
    }
    (void)pthread_mutex_unlock(&guard->lock);
}

int
syn_batch_new_guard(struct syn_blocks *blocks, struct syn_batch **ret_guard, struct syn_err *err)
{
    struct syn_batch *guard = NULL;
    int rc = syn_batch_new(blocks, &guard, err);

    if (rc != 0)
        return rc;
    (void)pthread_mutex_lock(&blocks->lock);
    guard->guard = true;
    (void)pthread_mutex_unlock(&blocks->lock);
    *ret_guard = guard;
    return SYN_OK;
}

struct syn_batch *
syn_batch_free(struct syn_batch *batch)
{
    struct syn_blocks *blocks;
    struct syn_batch **slot;

    if (batch == NULL)
        return NULL;
    blocks = batch->blocks;
    (void)pthread_mutex_lock(&blocks->lock);
    for (slot = &blocks->batches; *slot != batch; slot = &(*slot)->next)
        assert(*slot != NULL);
    *slot = batch->next;
    for (struct syn_batch *guard = blocks->batches; guard != NULL; guard = guard->next) {
        if (guard->guard)
            hand_over(batch, guard);
    }
    leave_packs(blocks, batch);
    if (blocks->batches == NULL)
        cut_back(blocks);
    (void)pthread_mutex_unlock(&blocks->lock);
    syn_digest_set_fini(&batch->set);
    syn_free(batch->items);
    syn_free(batch->buffer);
    syn_free(batch->waiting);
    syn_free(batch->packs);
    syn_free(batch->made);
    syn_anchor_table_fini(&batch->anchors);
    (void)pthread_mutex_destroy(&batch->lock);
    syn_free(batch);
    return NULL;
}

/* ---- for gc ---------------------------------------------------------------------------------- */

void
syn_blocks_sweep_begin(struct syn_blocks *blocks)
{
    (void)pthread_rwlock_wrlock(&blocks->sweep);
}

void
syn_blocks_sweep_end(struct syn_blocks *blocks)
{
    (void)pthread_rwlock_unlock(&blocks->sweep);
}

int
syn_blocks_each_claim(struct syn_blocks *blocks,
                      int (*each)(void *arg, const uint8_t *digest, struct syn_err *err), void *arg,
                      struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&blocks->lock);
    for (struct syn_batch *batch = blocks->batches; rc == 0 && batch != NULL; batch = batch->next) {
        (void)pthread_mutex_lock(&batch->lock);
        if (batch->guard && batch->failed)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for what must be kept meanwhile");
        for (size_t i = 0; rc == 0 && i < batch->set.count; i++)
            rc = each(arg, batch->set.items[i], err);
        (void)pthread_mutex_unlock(&batch->lock);
    }
    (void)pthread_mutex_unlock(&blocks->lock);
    return rc;
}

int
syn_blocks_seal(struct syn_blocks *blocks, struct syn_batch **ret_holder, uint32_t *ret_limit,
                struct syn_err *err)
{
    int rc;

    /* First the batch, so that nothing is cut back any more, then the seal. */
    rc = syn_batch_new(blocks, ret_holder, err);
    if (rc != 0)
        return rc;
    syn_packs_seal(blocks->packs);
    (void)pthread_mutex_lock(&blocks->lock);
    (*ret_holder)->first_pack = syn_packs_next(blocks->packs);
    *ret_limit = (*ret_holder)->first_pack;
    for (const struct syn_batch *batch = blocks->batches; batch != NULL; batch = batch->next) {
        if (!batch->guard) /* these write nothing */
            *ret_limit = SYN_MIN(*ret_limit, batch->first_pack);
    }
    (void)pthread_mutex_unlock(&blocks->lock);
    return SYN_OK;
}
