/* Blocks, whole and verified: the store's parts, its recovery, and reading. Writing is in
 * block_batch.c. */
#include "block_store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#define PACK_BYTES_MAX ((uint64_t)256 << 20)
#define READ_TRIES     3

/* ---- coders ---------------------------------------------------------------------------------- */

int
syn_blocks_take_coder(struct syn_blocks *blocks, struct syn_coder **ret_coder, struct syn_err *err)
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

void
syn_blocks_give_coder(struct syn_blocks *blocks, struct syn_coder *coder)
{
    (void)pthread_mutex_lock(&blocks->lock);
    if (blocks->coders_count < SYN_CODERS_KEPT) {
        blocks->coders[blocks->coders_count++] = coder;
        coder = NULL;
    }
    (void)pthread_mutex_unlock(&blocks->lock);
    syn_coder_free(coder);
}

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

/* ---- keys and the index ---------------------------------------------------------------------- */

/* Enter the keys that are given, so that rows can say which one seals them. */
static SYN_MUST int
number_keys(struct syn_blocks *blocks, struct syn_err *err)
{
    struct syn_block_keys *keys = &blocks->keys;
    int rc;

    if (keys->count == 0)
        return SYN_OK;
    rc = syn_index_begin(blocks->index, err);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < keys->count; i++)
        rc = syn_index_key(blocks->index, keys->keys[i].id, &keys->keys[i].number, err);
    return syn_index_end(blocks->index, rc, err);
}

uint32_t
syn_blocks_key(const struct syn_blocks *blocks, unsigned flags)
{
    return (flags & SYN_RECORD_AES) != 0 ? blocks->keys.keys[0].number : 0;
}

bool
syn_blocks_key_given(const struct syn_blocks *blocks, uint32_t number)
{
    for (unsigned i = 0; i < blocks->keys.count; i++) {
        if (blocks->keys.keys[i].number == number)
            return true;
    }
    return number == 0;
}

/* An index of an older version: the records' headers say which key it is. */
static SYN_MUST int
learn_key(void *arg, const struct syn_index_row *row, struct syn_err *err)
{
    struct syn_blocks *blocks = arg;
    uint8_t head[SYN_RECORD_HEAD];
    struct syn_record record;
    uint32_t number = 0;
    int rc;

    if ((row->flags & SYN_RECORD_AES) == 0)
        return SYN_OK;
    rc = syn_packs_read(blocks->packs, row->place, head, sizeof(head), err);
    if (rc == SYN_E_NOTFOUND || rc == SYN_E_CORRUPT)
        return SYN_OK; /* the next read will tell */
    if (rc == 0 && syn_record_head_decode(head, &record)) {
        rc = syn_index_key(blocks->index, record.key_id, &number, err);
        if (rc == 0)
            rc = syn_index_key_of(blocks->index, row->cid.digest, number, err);
    }
    return rc;
}

static SYN_MUST int
learn_keys(struct syn_blocks *blocks, struct syn_err *err)
{
    int rc = syn_index_begin(blocks->index, err);

    if (rc != 0)
        return rc;
    rc = syn_index_each(blocks->index, SYN_INDEX_BY_PLACE, INT64_MIN, learn_key, blocks, err);
    rc = syn_index_end(blocks->index, rc, err);
    return rc == 0 ? syn_index_ready(blocks->index, err) : rc;
}

static SYN_MUST int
forget_key(struct syn_blocks *blocks, uint32_t number, struct syn_err *err)
{
    int rc = syn_index_begin(blocks->index, err);

    if (rc != 0)
        return rc;
    return syn_index_end(blocks->index, syn_index_key_forget(blocks->index, number, err), err);
}

/* A key that is not given may only be one that seals nothing any more. */
static SYN_MUST int
check_key(void *arg, uint32_t number, const uint8_t *id, struct syn_err *err)
{
    struct syn_blocks *blocks = arg;
    char text[2 * SYN_KEY_ID_BYTES + 1];
    bool used = false;
    int rc;

    if (syn_blocks_key_given(blocks, number))
        return SYN_OK;
    rc = syn_index_key_used(blocks->index, number, &used, err);
    if (rc == 0 && used) {
        syn_hex_encode(id, SYN_KEY_ID_BYTES, text);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                        "content is sealed under key %s, whose file is not given", text);
    }
    return rc == 0 ? forget_key(blocks, number, err) : rc;
}

/* ---- recovery -------------------------------------------------------------------------------- */

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

/* Read and check a record that was found: the size of the block that a recipe gives, and its bases.
 * Whether these are there shows when all is found. */
static SYN_MUST int
look_into(struct syn_blocks *blocks, struct syn_index_row *row, struct syn_recipe *ret_recipe,
          struct syn_err *err)
{
    SYN_SCOPED(syn_block_fini) struct syn_block block = {0};
    int rc = syn_blocks_read_at(blocks, row, &block, err);

    if (rc == 0 && (block.flags & SYN_RECORD_RECIPE) != 0) {
        rc = syn_recipe_decode(block.data, block.len, ret_recipe, err);
        row->size = rc == 0 ? ret_recipe->size : 0;
    }
    return rc;
}

/* Enter a found record. Of two of one block the later one counts, because that is the one that was
 * written in place of a damaged one, or copied out of another pack; unless it is damaged itself. A
 * recipe under a lost key is left out: what it needs could not be kept. */
static SYN_MUST int
rebuild_row(struct syn_blocks *blocks, struct syn_index_row *row, struct syn_err *err)
{
    struct syn_recipe recipe = {0};
    struct syn_index_row before;
    bool is_recipe = (row->flags & SYN_RECORD_RECIPE) != 0;
    int found = syn_index_get(blocks->index, row->cid.digest, &before, err);
    int rc = SYN_OK;

    if (found < 0)
        return found;
    if (is_recipe || found != SYN_INDEX_NONE)
        rc = look_into(blocks, row, &recipe, err);
    if (rc == SYN_E_CORRUPT || (is_recipe && rc == SYN_E_UNAVAILABLE && blocks->without_key))
        return SYN_OK;
    if (rc < 0 && (is_recipe || rc != SYN_E_UNAVAILABLE))
        return rc;
    rc = found == SYN_INDEX_NONE ? syn_index_add(blocks->index, row, err)
                                 : syn_index_move(blocks->index, row, before.place, err);
    return rc == 0 ? syn_index_bases(blocks->index, row->cid.digest,
                                     (const uint8_t(*)[SYN_DIGEST_BYTES])recipe.bases,
                                     recipe.bases_count, err)
                   : rc;
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
        if ((record.flags & SYN_RECORD_AES) != 0)
            rc = syn_index_key(blocks->index, record.key_id, &row.key, err);
        if (rc == 0)
            rc = rebuild_row(blocks, &row, err);
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
    if (rc == 0)
        rc = syn_index_prune_recipes(blocks->index, err);
    rc = syn_index_end(blocks->index, rc, err);
    return rc == 0 ? syn_index_ready(blocks->index, err) : rc;
}

static SYN_MUST int
open_files(struct syn_blocks *blocks, const struct syn_content_opts *opts, struct syn_err *err)
{
    uint64_t pack_max = opts->pack_bytes_max == 0 ? PACK_BYTES_MAX : opts->pack_bytes_max;
    enum syn_index_state state = SYN_INDEX_READY;
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
        rc = syn_index_open(index.data, &blocks->index, &state, err);
    if (rc == 0 && state == SYN_INDEX_NEW)
        rc = rebuild_index(blocks, err);
    if (rc == 0 && state == SYN_INDEX_UNKEYED)
        rc = learn_keys(blocks, err);
    if (rc == 0)
        rc = number_keys(blocks, err);
    if (rc == 0 && !opts->without_key)
        rc = syn_index_keys(blocks->index, check_key, blocks, err);
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
    blocks->without_key = opts->without_key;
    rc = make_dir(opts->dir, err);
    if (rc == 0)
        rc = take_lock(blocks, opts->dir, err);
    if (rc == 0)
        rc = add_keys(blocks, opts, err);
    if (rc == 0)
        syn_anchor_seed_init(&blocks->seed,
                             blocks->keys.encrypt ? blocks->keys.keys[0].bytes : NULL);
    if (rc == 0)
        rc = open_files(blocks, opts, err);
    if (rc < 0) {
        syn_blocks_close(blocks);
        /* A missing key's message goes to people as it is. */
        return rc == SYN_E_UNAVAILABLE
                   ? rc
                   : syn_err_wrap(err, rc, "opening the content store %s", opts->dir);
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
    syn_free(blocks->left);
    syn_index_close(blocks->index);
    syn_packs_close(blocks->packs);
    syn_block_keys_fini(&blocks->keys);
    OPENSSL_cleanse(&blocks->seed, sizeof(blocks->seed));
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

/* ---- reading --------------------------------------------------------------------------------- */

/* Find and read the record. gc may move a block and remove the old pack in between: look again. */
static SYN_MUST int
read_record(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_block *block,
            struct syn_index_row *ret_row, struct syn_err *err)
{
    int rc = SYN_OK;

    for (int i = 0; i < READ_TRIES; i++) {
        rc = syn_index_find(blocks->index, cid->digest, ret_row, err);
        if (rc == SYN_INDEX_NONE)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "not in the content store");
        if (rc == 0)
            rc = syn_block_room(&block->record, &block->record_cap, ret_row->stored, err);
        if (rc == 0)
            rc = syn_packs_read(blocks->packs, ret_row->place, block->record, ret_row->stored, err);
        if (rc != SYN_E_NOTFOUND)
            break;
    }
    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, SYN_E_CORRUPT, "pack %08x is missing", ret_row->place.pack);
    return rc;
}

/* Read the record that says, or is, the block; unverified. */
static SYN_MUST int
open_record(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_block *block,
            struct syn_index_row *ret_row, struct syn_err *err)
{
    struct syn_coder *coder = NULL;
    int rc = read_record(blocks, cid, block, ret_row, err);

    if (rc == 0)
        rc = syn_blocks_take_coder(blocks, &coder, err);
    if (rc == 0) {
        rc = syn_record_open(coder, cid, ret_row->stored, block, err);
        syn_blocks_give_coder(blocks, coder);
    }
    return rc;
}

/* Copy a base's slices. It is not verified by itself: what comes out of the recipe is. */
static SYN_MUST int
fill_base(struct syn_blocks *blocks, struct syn_block *block, const struct syn_recipe *recipe,
          unsigned number, struct syn_err *err)
{
    struct syn_cid cid = {.codec = SYN_CODEC_RAW};
    struct syn_index_row row;
    char text[SYN_CID_TEXT_MAX];
    int rc;

    memcpy(cid.digest, recipe->bases[number], SYN_DIGEST_BYTES);
    rc = open_record(blocks, &cid, block->base, &row, err);
    if (rc == 0 && (block->base->flags & SYN_RECORD_RECIPE) != 0)
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "it is no whole block");
    if (rc == 0)
        rc = syn_recipe_fill_base(recipe, number, block->base->data, block->base->len, block->whole,
                                  err);
    block->old_key = block->old_key || block->base->old_key;
    return rc == 0 ? SYN_OK : syn_err_wrap(err, rc, "its base %s", syn_cid_format(&cid, text));
}

/* Make the block from its recipe, which `block` holds. */
static SYN_MUST int
follow_recipe(struct syn_blocks *blocks, struct syn_block *block, struct syn_err *err)
{
    struct syn_recipe recipe;
    int rc = syn_recipe_decode(block->data, block->len, &recipe, err);

    if (rc == 0 && block->base == NULL) {
        block->base = syn_calloc(1, sizeof(*block->base));
        if (block->base == NULL)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a block");
    }
    if (rc == 0)
        rc = syn_block_room(&block->whole, &block->whole_cap, recipe.size, err);
    if (rc != 0)
        return rc;
    syn_recipe_fill_literals(&recipe, block->whole);
    for (unsigned i = 0; rc == 0 && i < recipe.bases_count; i++)
        rc = fill_base(blocks, block, &recipe, i, err);
    block->data = block->whole;
    block->len = recipe.size;
    return rc;
}

/* A base is only ever missing because its recipe went with it, or because something is broken. */
static SYN_MUST int
missing_base(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_err *err)
{
    struct syn_index_row row;
    int rc = syn_index_find(blocks->index, cid->digest, &row, err);

    if (rc < 0)
        return rc;
    return rc == SYN_INDEX_NONE
               ? SYN_FAIL(err, SYN_E_NOTFOUND, "not in the content store")
               : SYN_FAIL(err, SYN_E_CORRUPT, "a block that it is made of is gone");
}

/* A mark that cannot be written (a full disk) is made by the next read. */
static void
note_state(struct syn_blocks *blocks, const struct syn_index_row *row, int rc)
{
    bool bad = rc == SYN_E_CORRUPT;

    if ((bad || rc == 0) && row->bad != bad)
        (void)!syn_index_mark(blocks->index, row, bad, NULL);
}

/* What came out of a recipe is wrong: find the bases that are, so that they are known, too. */
static void
look_at_bases(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_block *block)
{
    SYN_SCOPED(syn_block_fini) struct syn_block other = {0};
    struct syn_index_row row = {0};
    struct syn_recipe recipe;
    int rc;

    if (open_record(blocks, cid, block, &row, NULL) < 0 ||
        (block->flags & SYN_RECORD_RECIPE) == 0 ||
        syn_recipe_decode(block->data, block->len, &recipe, NULL) < 0)
        return;
    for (unsigned i = 0; i < recipe.bases_count; i++) {
        struct syn_cid base = {.codec = SYN_CODEC_RAW};

        memcpy(base.digest, recipe.bases[i], SYN_DIGEST_BYTES);
        rc = open_record(blocks, &base, &other, &row, NULL);
        if (rc == 0 && (other.flags & SYN_RECORD_RECIPE) == 0)
            rc = syn_block_check(&base, &other, NULL);
        note_state(blocks, &row, rc);
    }
}

int
syn_blocks_get(struct syn_blocks *blocks, const struct syn_cid *cid, struct syn_block *block,
               struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    struct syn_index_row row = {0};
    int rc = open_record(blocks, cid, block, &row, err);
    bool recipe = rc == 0 && (block->flags & SYN_RECORD_RECIPE) != 0;

    if (recipe) {
        rc = follow_recipe(blocks, block, err);
        if (rc == SYN_E_NOTFOUND)
            rc = missing_base(blocks, cid, err);
    }
    if (rc == 0)
        rc = syn_block_check(cid, block, err);
    note_state(blocks, &row, rc);
    if (recipe && rc == SYN_E_CORRUPT)
        look_at_bases(blocks, cid, block);
    if (rc != 0)
        return syn_err_wrap(err, rc, "block %s", syn_cid_format(cid, text));
    return SYN_OK;
}

int
syn_blocks_read_at(struct syn_blocks *blocks, const struct syn_index_row *row,
                   struct syn_block *block, struct syn_err *err)
{
    struct syn_coder *coder = NULL;
    int rc = syn_block_room(&block->record, &block->record_cap, row->stored, err);

    if (rc == 0)
        rc = syn_packs_read(blocks->packs, row->place, block->record, row->stored, err);
    if (rc == 0)
        rc = syn_blocks_take_coder(blocks, &coder, err);
    if (rc != 0)
        return rc;
    rc = syn_record_open(coder, &row->cid, row->stored, block, err);
    syn_blocks_give_coder(blocks, coder);
    if (rc == 0 && (block->flags & SYN_RECORD_RECIPE) == 0)
        rc = syn_block_check(&row->cid, block, err);
    return rc;
}

int
syn_blocks_has(struct syn_blocks *blocks, const struct syn_cid *cid, bool *ret_has,
               struct syn_err *err)
{
    struct syn_index_row row;
    int rc = syn_index_find(blocks->index, cid->digest, &row, err);

    if (rc < 0)
        return rc;
    *ret_has = rc == 0 && !row.bad && syn_blocks_key_given(blocks, row.key);
    return SYN_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

int
syn_blocks_append(struct syn_blocks *blocks, struct syn_record_out *out,
                  struct syn_place *ret_place, struct syn_err *err)
{
    struct iovec iov[3] = {
        {out->head, SYN_RECORD_HEAD},
        {(void *)(uintptr_t)out->payload, out->payload_len},
        {out->tail, out->tail_len},
    };

    return syn_packs_append(blocks->packs, iov, 3, syn_record_out_size(out), ret_place, err);
}

int
syn_blocks_copy(struct syn_blocks *blocks, struct syn_index_row *row, struct syn_err *err)
{
    SYN_SCOPED(syn_block_fini) struct syn_block block = {0};
    struct syn_record_out out;
    struct syn_coder *coder = NULL;
    struct syn_index_row again;
    unsigned kind = row->flags & SYN_RECORD_RECIPE;
    int rc = syn_blocks_get(blocks, &row->cid, &block, err);

    if (rc == 0 && kind != 0) /* a recipe stays one */
        rc = open_record(blocks, &row->cid, &block, &again, err);
    if (rc == 0)
        rc = syn_blocks_take_coder(blocks, &coder, err);
    if (rc != 0)
        return rc;
    rc = syn_record_encode(coder, &row->cid, kind, block.data, block.len, &out, err);
    if (rc == 0)
        rc = syn_blocks_append(blocks, &out, &row->place, err);
    row->stored = (uint32_t)syn_record_out_size(&out);
    row->flags = out.flags;
    row->key = syn_blocks_key(blocks, out.flags);
    syn_blocks_give_coder(blocks, coder);
    return rc;
}
