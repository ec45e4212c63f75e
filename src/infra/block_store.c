/* Blocks, whole and verified, and batches of them.
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
 * shared side of `sweep`; gc reads all claims and deletes under the exclusive side.
 *
 * Locks, in order: sweep, blocks.lock, batch.lock, index. */
#include "block_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/world.h>

#define PACK_BYTES_MAX ((uint64_t)256 << 20)
#define CODERS_KEPT    4
#define BUFFERED_MAX   ((size_t)64 << 10) /* larger records are written on their own */
#define BUFFER_BYTES   ((size_t)1 << 20)
#define READ_TRIES     3
#define TOUCH_SLACK_MS (INT64_C(10) * 60 * 1000)
#define SCAN_BYTES     ((size_t)1 << 16)

struct syn_blocks {
    pthread_mutex_t lock; /* batches, coders */
    pthread_rwlock_t sweep;
    struct syn_block_keys keys;
    struct syn_index *index;
    struct syn_packs *packs;
    struct syn_batch *batches;
    struct syn_coder *coders[CODERS_KEPT];
    unsigned coders_count;
    int lock_fd;
};

enum item_state {
    ITEM_CLAIMED, /* being looked up or written */
    ITEM_STORED,  /* was there before */
    ITEM_BUFFERED,
    ITEM_WRITTEN,
    ITEM_COMMITTED,
};

/* What the batch knows of one digest in its set. */
struct item {
    enum item_state state;
    struct syn_index_row row; /* of a buffered one, `offset` counts from the buffer's start */
};

struct touched_pack {
    uint32_t id;
    uint64_t end;
};

struct syn_batch {
    struct syn_batch *next;
    struct syn_blocks *blocks;
    pthread_mutex_t lock;
    struct syn_digest_set set;
    struct item *items; /* one for each of the set's */
    size_t items_cap;
    size_t committed; /* items before this one are done */
    uint8_t *buffer;
    size_t buffered;
    size_t *waiting; /* items in the buffer */
    size_t waiting_count;
    size_t waiting_cap;
    struct touched_pack *packs; /* written since the last commit */
    size_t packs_count;
    size_t packs_cap;
    uint32_t first_pack; /* it has written to none before */
    uint64_t put_bytes;
    bool failed;
};

/* ---- opening --------------------------------------------------------------------------------- */

static SYN_MUST int
make_dir(const char *path, struct syn_err *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    return SYN_OK;
}

static SYN_MUST int
take_lock(struct syn_blocks *blocks, const char *dir, struct syn_err *err)
{
    SYN_BUF(path);
    int rc;

    syn_buf_addf(&path, "%s/lock", dir);
    rc = syn_buf_ok(&path, err);
    if (rc != 0)
        return rc;
    blocks->lock_fd = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (blocks->lock_fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path.data);
    if (flock(blocks->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the content store %s is open in another process",
                        dir);
    return SYN_OK;
}

static SYN_MUST int
add_keys(struct syn_blocks *blocks, const struct syn_content_opts *opts, struct syn_err *err)
{
    int rc = SYN_OK;

    if (opts->key_file != NULL)
        rc = syn_block_keys_add(&blocks->keys, opts->key_file, true, err);
    for (size_t i = 0; rc == 0 && opts->old_key_files != NULL && opts->old_key_files[i] != NULL;
         i++)
        rc = syn_block_keys_add(&blocks->keys, opts->old_key_files[i], false, err);
    return rc;
}

/* A pack after a crash: what was not committed goes. */
static SYN_MUST int
recover_pack(void *arg, uint32_t pack, uint64_t size, struct syn_err *err)
{
    struct syn_blocks *blocks = arg;
    uint64_t committed = 0;
    int rc = syn_index_pack_size(blocks->index, pack, &committed, err);

    if (rc != 0)
        return rc;
    if (size < committed)
        syn_log(SYN_LOG_DEBUG, "content.pack-short", "pack=%08x", pack);
    return syn_packs_cut(blocks->packs, pack, committed, err);
}

static SYN_MUST int
note_pack(void *arg, uint32_t pack, uint64_t size, struct syn_err *err)
{
    struct syn_blocks *blocks = arg;

    (void)size;
    (void)err;
    syn_packs_reserve_ids(blocks->packs, pack);
    return SYN_OK;
}

/* Find the records of one pack by their headers. Between two there may be a gap that an abandoned
 * batch left, so after anything that is no header the search goes on at the next possible place. */
static SYN_MUST int
rebuild_pack(void *arg, uint32_t pack, uint64_t size, struct syn_err *err)
{
    struct syn_blocks *blocks = arg;
    int64_t now = syn_wall_ms(syn_world_system());
    uint64_t at = 0;
    uint64_t end = 0;
    int rc = SYN_OK;

    while (rc == 0 && at + SYN_RECORD_HEAD <= size) {
        uint8_t head[SYN_RECORD_HEAD];
        struct syn_record record;
        struct syn_index_row row = {.place = {pack, at}, .born_ms = now};

        rc = syn_packs_read(blocks->packs, row.place, head, sizeof(head), err);
        if (rc != 0)
            break;
        if (!syn_record_head_decode(head, &record) ||
            syn_record_size(record.stored_len) > size - at) {
            at += SYN_RECORD_ALIGN;
            continue;
        }
        row.cid = record.cid;
        row.stored = (uint32_t)syn_record_size(record.stored_len);
        row.size = record.raw_len;
        row.flags = record.flags;
        rc = syn_index_add(blocks->index, &row, err);
        at += row.stored;
        end = at;
    }
    return rc == 0 && end > 0 ? syn_index_pack(blocks->index, pack, end, err) : rc;
}

static SYN_MUST int
rebuild_index(struct syn_blocks *blocks, struct syn_err *err)
{
    int rc = syn_index_begin(blocks->index, err);

    if (rc != 0)
        return rc;
    rc = syn_packs_each(blocks->packs, rebuild_pack, blocks, err);
    rc = syn_index_end(blocks->index, rc, err);
    return rc == 0 ? syn_index_ready(blocks->index, err) : rc;
}

static SYN_MUST int
open_files(struct syn_blocks *blocks, const struct syn_content_opts *opts, struct syn_err *err)
{
    uint64_t pack_max = opts->pack_bytes_max == 0 ? PACK_BYTES_MAX : opts->pack_bytes_max;
    bool is_new = false;
    SYN_BUF(packs);
    SYN_BUF(index);
    int rc;

    syn_buf_addf(&packs, "%s/packs", opts->dir);
    syn_buf_addf(&index, "%s/index.db", opts->dir);
    rc = syn_buf_ok(&packs, err);
    if (rc == 0)
        rc = syn_buf_ok(&index, err);
    if (rc == 0)
        rc = make_dir(packs.data, err);
    if (rc == 0)
        rc = syn_packs_open(packs.data, pack_max, opts->io, &blocks->packs, err);
    if (rc == 0)
        rc = syn_index_open(index.data, &blocks->index, &is_new, err);
    if (rc == 0 && is_new)
        rc = rebuild_index(blocks, err);
    if (rc == 0)
        rc = syn_packs_each(blocks->packs, note_pack, blocks, err);
    if (rc == 0)
        rc = syn_packs_each(blocks->packs, recover_pack, blocks, err);
    return rc;
}

int
syn_blocks_open(const struct syn_content_opts *opts, struct syn_blocks **ret_blocks,
                struct syn_err *err)
{
    struct syn_blocks *blocks = syn_calloc(1, sizeof(*blocks));
    int rc;

    if (blocks == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the content store");
    (void)pthread_mutex_init(&blocks->lock, NULL);
    (void)pthread_rwlock_init(&blocks->sweep, NULL);
    blocks->lock_fd = -1;
    rc = make_dir(opts->dir, err);
    if (rc == 0)
        rc = take_lock(blocks, opts->dir, err);
    if (rc == 0)
        rc = add_keys(blocks, opts, err);
    if (rc == 0)
        rc = open_files(blocks, opts, err);
    if (rc < 0) {
        syn_blocks_close(blocks);
        return syn_err_wrap(err, rc, "opening the content store %s", opts->dir);
    }
    *ret_blocks = blocks;
    return SYN_OK;
}

struct syn_blocks *
syn_blocks_close(struct syn_blocks *blocks)
{
    if (blocks == NULL)
        return NULL;
    assert(blocks->batches == NULL);
    while (blocks->coders_count > 0)
        syn_coder_free(blocks->coders[--blocks->coders_count]);
    syn_index_close(blocks->index);
    syn_packs_close(blocks->packs);
    syn_block_keys_fini(&blocks->keys);
    if (blocks->lock_fd >= 0)
        (void)close(blocks->lock_fd);
    (void)pthread_rwlock_destroy(&blocks->sweep);
    (void)pthread_mutex_destroy(&blocks->lock);
    syn_free(blocks);
    return NULL;
}

struct syn_index *
syn_blocks_index(struct syn_blocks *blocks)
{
    return blocks->index;
}

struct syn_packs *
syn_blocks_packs(struct syn_blocks *blocks)
{
    return blocks->packs;
}

/* ---- coders ---------------------------------------------------------------------------------- */

static SYN_MUST int
take_coder(struct syn_blocks *blocks, struct syn_coder **ret_coder, struct syn_err *err)
{
    struct syn_coder *coder = NULL;

    (void)pthread_mutex_lock(&blocks->lock);
    if (blocks->coders_count > 0)
        coder = blocks->coders[--blocks->coders_count];
    (void)pthread_mutex_unlock(&blocks->lock);
    if (coder == NULL)
        return syn_coder_new(&blocks->keys, ret_coder, err);
    *ret_coder = coder;
    return SYN_OK;
}

static void
give_coder(struct syn_blocks *blocks, struct syn_coder *coder)
{
    (void)pthread_mutex_lock(&blocks->lock);
    if (blocks->coders_count < CODERS_KEPT) {
        blocks->coders[blocks->coders_count++] = coder;
        coder = NULL;
    }
    (void)pthread_mutex_unlock(&blocks->lock);
    syn_coder_free(coder);
}

/* ---- reading --------------------------------------------------------------------------------- */

static SYN_MUST int
make_record_room(struct syn_block *block, size_t len, struct syn_err *err)
{
    if (block->record_cap < len) {
        syn_free(block->record);
        block->record_cap = 0;
        block->record = syn_alloc(len);
        if (block->record == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a block");
        block->record_cap = len;
    }
    return SYN_OK;
}

/* Find and read the record. gc may move a block and remove the old pack in between: look again. */
static SYN_MUST int
read_record(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_block *block,
            size_t *ret_len, struct syn_err *err)
{
    struct syn_index_row row;
    int rc = SYN_OK;

    for (int i = 0; i < READ_TRIES; i++) {
        rc = syn_index_find(blocks->index, cid->digest, &row, err);
        if (rc == SYN_INDEX_NONE)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "not in the content store");
        if (rc == 0)
            rc = make_record_room(block, row.stored, err);
        if (rc == 0)
            rc = syn_packs_read(blocks->packs, row.place, block->record, row.stored, err);
        if (rc != SYN_E_NOTFOUND)
            break;
    }
    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, SYN_E_CORRUPT, "pack %08x is missing", row.place.pack);
    *ret_len = row.stored;
    return rc;
}

int
syn_blocks_get(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_block *block,
               struct syn_err *err)
{
    struct syn_coder *coder = NULL;
    char text[SYN_CID_TEXT_MAX];
    size_t len = 0;
    int rc = read_record(blocks, cid, block, &len, err);

    if (rc == 0)
        rc = take_coder(blocks, &coder, err);
    if (rc == 0) {
        rc = syn_record_decode(coder, cid, len, block, err);
        give_coder(blocks, coder);
    }
    if (rc != 0)
        return syn_err_wrap(err, rc, "block %s", syn_cid_format(cid, text));
    return SYN_OK;
}

int
syn_blocks_has(struct syn_blocks *blocks, const struct syn_cid *cid, bool *ret_has,
               struct syn_err *err)
{
    struct syn_index_row row;
    int rc = syn_index_find(blocks->index, cid->digest, &row, err);

    if (rc < 0)
        return rc;
    *ret_has = rc == 0;
    return SYN_OK;
}

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
        batch->items[*ret_item] = (struct item){.state = ITEM_CLAIMED};
    return rc;
}

/* Claim the digest and look whether it is stored; `*ret_todo` when the caller must write it. */
static SYN_MUST int
claim(struct syn_batch *batch, const uint8_t *digest, size_t *ret_item, bool *ret_todo,
      struct syn_err *err)
{
    struct syn_blocks *blocks = batch->blocks;
    int rc;

    (void)pthread_rwlock_rdlock(&blocks->sweep);
    (void)pthread_mutex_lock(&batch->lock);
    rc = claim_locked(batch, digest, ret_item, ret_todo, err);
    if (rc == 0 && *ret_todo) {
        struct syn_index_row row;

        rc = syn_index_find(blocks->index, digest, &row, err);
        *ret_todo = rc == SYN_INDEX_NONE;
        if (rc == 0) {
            batch->items[*ret_item].state = ITEM_STORED;
            batch->items[*ret_item].row = row;
        }
        rc = SYN_MIN(rc, 0);
    }
    if (rc < 0)
        batch->failed = true;
    (void)pthread_mutex_unlock(&batch->lock);
    (void)pthread_rwlock_unlock(&blocks->sweep);
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
        batch->packs[i - 1] = (struct touched_pack){.id = place.pack};
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
        struct item *item = &batch->items[batch->waiting[i]];

        assert(item->state == ITEM_BUFFERED);
        item->row.place.pack = place.pack;
        item->row.place.offset += place.offset;
        item->state = ITEM_WRITTEN;
    }
    batch->waiting_count = 0;
    batch->buffered = 0;
    return SYN_OK;
}

static SYN_MUST int
buffer_locked(struct syn_batch *batch, size_t number, const struct syn_record_out *out,
              struct syn_err *err)
{
    struct item *item = &batch->items[number];
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
    item->state = ITEM_BUFFERED;
    batch->buffered += item->row.stored;
    batch->waiting[batch->waiting_count++] = number;
    return SYN_OK;
}

static SYN_MUST int
append_record(struct syn_packs *packs, struct syn_record_out *out, struct syn_place *ret_place,
              struct syn_err *err)
{
    struct iovec iov[3] = {
        {out->head, SYN_RECORD_HEAD},
        {(void *)(uintptr_t)out->payload, out->payload_len},
        {out->tail, out->tail_len},
    };

    return syn_packs_append(packs, iov, 3, syn_record_out_size(out), ret_place, err);
}

static SYN_MUST int
write_block(struct syn_batch *batch, size_t number, const struct syn_cid *cid,
            struct syn_record_out *out, size_t len, struct syn_err *err)
{
    struct syn_index_row row = {
        .cid = *cid,
        .stored = (uint32_t)syn_record_out_size(out),
        .size = (uint32_t)len,
        .flags = out->flags,
    };
    bool buffered = row.stored <= BUFFERED_MAX;
    int rc = SYN_OK;

    if (!buffered)
        rc = append_record(batch->blocks->packs, out, &row.place, err);
    (void)pthread_mutex_lock(&batch->lock);
    batch->items[number].row = row;
    if (buffered)
        rc = buffer_locked(batch, number, out, err);
    else
        rc = note_written(batch, row.place, row.stored, rc, err);
    if (rc == 0 && !buffered)
        batch->items[number].state = ITEM_WRITTEN;
    (void)pthread_mutex_unlock(&batch->lock);
    return rc;
}

int
syn_batch_put(struct syn_batch *batch, const struct syn_cid *cid, const void *data, size_t len,
              struct syn_err *err)
{
    struct syn_record_out out;
    struct syn_coder *coder = NULL;
    size_t number = 0;
    bool todo = false;
    int rc = claim(batch, cid->digest, &number, &todo, err);

    if (rc == 0 && todo) {
        rc = take_coder(batch->blocks, &coder, err);
        if (rc == 0)
            rc = syn_record_encode(coder, cid, data, len, &out, err);
        if (rc == 0)
            rc = write_block(batch, number, cid, &out, len, err);
        if (coder != NULL)
            give_coder(batch->blocks, coder);
    }
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
    int rc = claim(batch, cid->digest, &number, &missing, err);

    if (rc == 0 && missing) {
        (void)pthread_mutex_lock(&batch->lock);
        batch->failed = true; /* the claim stands for a block that nobody writes */
        (void)pthread_mutex_unlock(&batch->lock);
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "block %s: not in the content store",
                      syn_cid_format(cid, text));
    }
    return rc;
}

static SYN_MUST int
commit_rows(struct syn_batch *batch, struct syn_err *err)
{
    struct syn_index *index = batch->blocks->index;
    int64_t now = syn_wall_ms(syn_world_system());
    int rc = SYN_OK;

    for (size_t i = batch->committed; rc == 0 && i < batch->set.count; i++) {
        struct item *item = &batch->items[i];

        if (item->state == ITEM_WRITTEN) {
            item->row.born_ms = now;
            rc = syn_index_add(index, &item->row, err);
        } else if (item->row.born_ms < now - TOUCH_SLACK_MS) {
            rc = syn_index_touch(index, batch->set.items[i], now, err);
        }
    }
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
    for (; batch->committed < batch->set.count; batch->committed++)
        batch->items[batch->committed].state = ITEM_COMMITTED;
    batch->packs_count = 0;
    batch->put_bytes = 0;
    return SYN_OK;
}

int
syn_batch_commit(struct syn_batch *batch, struct syn_err *err)
{
    int rc;

    (void)pthread_mutex_lock(&batch->lock);
    rc = commit_locked(batch, err);
    batch->failed = batch->failed || rc < 0;
    (void)pthread_mutex_unlock(&batch->lock);
    return rc;
}

/* With blocks.lock held and no batch left, nobody appends: take back what was not committed. A
 * failure only costs space until the store is opened again. */
static void
cut_back(struct syn_batch *batch)
{
    struct syn_blocks *blocks = batch->blocks;

    for (size_t i = 0; i < batch->packs_count; i++) {
        uint64_t size = 0;

        if (syn_index_pack_size(blocks->index, batch->packs[i].id, &size, NULL) == 0)
            (void)!syn_packs_cut(blocks->packs, batch->packs[i].id, size, NULL);
    }
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
    if (blocks->batches == NULL)
        cut_back(batch);
    (void)pthread_mutex_unlock(&blocks->lock);
    syn_digest_set_fini(&batch->set);
    syn_free(batch->items);
    syn_free(batch->buffer);
    syn_free(batch->waiting);
    syn_free(batch->packs);
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
    for (const struct syn_batch *batch = blocks->batches; batch != NULL; batch = batch->next)
        *ret_limit = SYN_MIN(*ret_limit, batch->first_pack);
    (void)pthread_mutex_unlock(&blocks->lock);
    return SYN_OK;
}

int
syn_blocks_copy(struct syn_blocks *blocks, struct syn_index_row *row, struct syn_err *err)
{
    SYN_SCOPED(syn_block_fini) struct syn_block block = {0};
    struct syn_record_out out;
    struct syn_coder *coder = NULL;
    int rc = syn_blocks_get(blocks, &row->cid, &block, err);

    if (rc == 0)
        rc = take_coder(blocks, &coder, err);
    if (rc != 0)
        return rc;
    rc = syn_record_encode(coder, &row->cid, block.data, block.len, &out, err);
    if (rc == 0)
        rc = append_record(blocks->packs, &out, &row->place, err);
    row->stored = (uint32_t)syn_record_out_size(&out);
    row->flags = out.flags;
    give_coder(blocks, coder);
    return rc;
}
