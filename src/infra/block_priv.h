/* The block layer under the content store: records in pack files, an index, batches.
 *
 *   content.h   files, folders, CAR        (content*.c)
 *   ---------   ----------------------------------------
 *   batches     dedup, commits             (block_batch.c)
 *   blocks      recovery, verified reads   (block_store.c)
 *   recipes     blocks as slices of others (block_anchor.c, block_match.c, block_recipe.c)
 *   index       where a block is           (block_index.c, SQLite)
 *   packs       files of <= 256 MiB        (block_packs.c)
 *   record      header, zstd, AES-GCM      (block_record.c)
 */
#ifndef SYNOR_INFRA_BLOCK_PRIV_H
#define SYNOR_INFRA_BLOCK_PRIV_H

#include <pthread.h>

#include <synor/infra/content.h>

/* ---- keys ------------------------------------------------------------------------------------ */

#define SYN_KEY_BYTES    32
#define SYN_KEY_ID_BYTES 8
#define SYN_KEYS_MAX     16

struct syn_block_key {
    uint32_t number; /* in this store's index */
    uint8_t id[SYN_KEY_ID_BYTES];
    uint8_t bytes[SYN_KEY_BYTES];
};

struct syn_block_keys {
    struct syn_block_key keys[SYN_KEYS_MAX];
    unsigned count;
    bool encrypt; /* new records use keys[0] */
};

/** Read a key file; the first one added is the current key when `current`. */
SYN_MUST int syn_block_keys_add(struct syn_block_keys *keys, const char *path, bool current,
                                struct syn_err *err);
/** NULL when no key of this id is given. */
const struct syn_block_key *syn_block_keys_find(const struct syn_block_keys *keys,
                                                const uint8_t *id);
/** Wipe. */
void syn_block_keys_fini(struct syn_block_keys *keys);

/* ---- records --------------------------------------------------------------------------------- */

#define SYN_RECORD_HEAD  72
#define SYN_RECORD_TAG   16
#define SYN_RECORD_ALIGN 8

enum syn_record_flags {
    SYN_RECORD_ZSTD = 1,
    SYN_RECORD_AES = 2,
    SYN_RECORD_RECIPE = 4, /* it says what the block is made of */
};

/** A record's header, decoded. */
struct syn_record {
    struct syn_cid cid;
    unsigned flags;
    uint32_t stored_len; /* payload and tag */
    uint32_t raw_len;
    uint8_t key_id[SYN_KEY_ID_BYTES];
    uint8_t nonce[12];
};

/** What one thread needs to encode and decode: contexts and a scratch buffer, reused. */
struct syn_coder;

SYN_MUST int syn_coder_new(const struct syn_block_keys *keys, struct syn_coder **ret_coder,
                           struct syn_err *err);
struct syn_coder *syn_coder_free(struct syn_coder *coder);

/** An encoded record as pieces to write: header, payload, tag, padding. Borrows `data` and the
 * coder. */
struct syn_record_out {
    uint8_t head[SYN_RECORD_HEAD];
    const void *payload;
    size_t payload_len;
    uint8_t tail[SYN_RECORD_TAG + SYN_RECORD_ALIGN];
    size_t tail_len;
    unsigned flags;
};

/** `kind`: 0 when `data` is the block, SYN_RECORD_RECIPE when it is its recipe. */
SYN_MUST int syn_record_encode(struct syn_coder *coder, const struct syn_cid *cid, unsigned kind,
                               const void *data, size_t len, struct syn_record_out *ret_out,
                               struct syn_err *err);
size_t syn_record_out_size(const struct syn_record_out *out);
/** Bytes on disk of a record with this payload and tag. */
size_t syn_record_size(uint32_t stored_len);
/** False when the header is not one (magic, check sum, limits). */
bool syn_record_head_decode(const uint8_t head[static SYN_RECORD_HEAD], struct syn_record *ret);

/** A block that was read. Reuse it for the next read; free with syn_block_fini(). */
struct syn_block {
    const uint8_t *data;
    size_t len;
    unsigned flags; /* enum syn_record_flags of the record it came from */
    bool old_key;
    uint8_t *record;
    size_t record_cap;
    uint8_t *plain;
    size_t plain_cap;
    uint8_t *whole; /* made from a recipe */
    size_t whole_cap;
    struct syn_block *base; /* last read for it */
};

void syn_block_fini(struct syn_block *block);
/** Let one of its buffers have room for `need` bytes; what it held is not kept. */
SYN_MUST int syn_block_room(uint8_t **buffer, size_t *cap, size_t need, struct syn_err *err);
/** Decrypt and unpack block->record; sets data, len and flags: the block, or its recipe. The digest
 * is compared with that in the header only. */
SYN_MUST int syn_record_open(struct syn_coder *coder, const struct syn_cid *cid, size_t record_len,
                             struct syn_block *block, struct syn_err *err);
/** Are data and len what the digest says? CORRUPT. */
SYN_MUST int syn_block_check(const struct syn_cid *cid, const struct syn_block *block,
                             struct syn_err *err);

/* ---- anchors --------------------------------------------------------------------------------- */

/** Smaller blocks have none: there is little to win, and a block's edges cost a slice each. */
#define SYN_ANCHOR_BLOCK_MIN ((size_t)128 << 10)
#define SYN_ANCHOR_BYTES     ((size_t)4 << 10) /* behind the cut point, hashed */
#define SYN_ANCHORS_MAX      128               /* of one block; a mebibyte has 14 on average */

struct syn_anchor {
    uint64_t hash;
    uint32_t at; /* the cut point in its block */
};

/** What chooses cut points and salts hashes: anchors of different seeds never meet. */
struct syn_anchor_seed {
    uint64_t gear[256];
    uint64_t gear_doubled[256];
    uint8_t salt[SYN_DIGEST_BYTES];
};

/** `key`: SYN_KEY_BYTES, or NULL where content is plain. */
void syn_anchor_seed_init(struct syn_anchor_seed *seed, const uint8_t *key);
/** In the order of their places. Returns how many there are. */
size_t syn_anchors_find(const struct syn_anchor_seed *seed, const uint8_t *data, size_t len,
                        struct syn_anchor out[static SYN_ANCHORS_MAX]);

/** Anchors and whose they are; of two with one hash the first stays. Zero-initialise. */
struct syn_anchor_note {
    struct syn_anchor anchor;
    uint32_t item;
};
struct syn_anchor_table {
    struct syn_anchor_note *notes;
    size_t count;
    size_t cap;
    uint32_t *slots; /* note + 1 */
    size_t slots_count;
};

#define SYN_ANCHOR_TABLE_MAX ((size_t)1 << 16)

void syn_anchor_table_fini(struct syn_anchor_table *table);
void syn_anchor_table_clear(struct syn_anchor_table *table);
/** Not when it holds SYN_ANCHOR_TABLE_MAX. */
SYN_MUST int syn_anchor_table_add(struct syn_anchor_table *table, const struct syn_anchor *anchor,
                                  size_t item, struct syn_err *err);
/** NULL, or valid until the next change. */
const struct syn_anchor_note *syn_anchor_table_find(const struct syn_anchor_table *table,
                                                    uint64_t hash);

/* ---- recipes --------------------------------------------------------------------------------- */

#define SYN_RECIPE_BASES_MAX 4
#define SYN_RECIPE_PARTS_MAX 64
#define SYN_RECIPE_LITERAL   UINT32_MAX
/** A shorter slice is not worth a base that must be kept and read for it. */
#define SYN_RECIPE_SLICE_MIN     ((size_t)32 << 10)
#define SYN_RECIPE_LITERAL_SHARE 2 /* new bytes are at most one in so many */

struct syn_recipe_part {
    uint32_t base;   /* number, or SYN_RECIPE_LITERAL */
    uint32_t offset; /* in the base */
    uint32_t len;
};

struct syn_recipe {
    uint32_t size; /* of the block */
    unsigned bases_count;
    uint8_t bases[SYN_RECIPE_BASES_MAX][SYN_DIGEST_BYTES]; /* raw blocks that are no recipes */
    size_t parts_count;
    struct syn_recipe_part parts[SYN_RECIPE_PARTS_MAX];
    const uint8_t *literal; /* borrowed: bytes of all literal parts */
    size_t literal_len;
};

/** Append the form that a record holds. */
SYN_MUST int syn_recipe_encode(const struct syn_recipe *recipe, struct syn_buf *out,
                               struct syn_err *err);
/** `ret->literal` points into `data`. CORRUPT for anything but what encode writes. */
SYN_MUST int syn_recipe_decode(const void *data, size_t len, struct syn_recipe *ret,
                               struct syn_err *err);
/** Write the literal parts, or the slices of one base, to their places in out[recipe->size].
 * CORRUPT when the base is shorter than its slices say. */
void syn_recipe_fill_literals(const struct syn_recipe *recipe, uint8_t *out);
SYN_MUST int syn_recipe_fill_base(const struct syn_recipe *recipe, unsigned base,
                                  const uint8_t *data, size_t len, uint8_t *out,
                                  struct syn_err *err);

/** A block that has an anchor, and where. */
struct syn_recipe_base {
    const uint8_t *digest;
    const uint8_t *data;
    size_t len;
    size_t offset;
};

#define SYN_RECIPE_NO_BASE 1
/** A block's anchors, and who knows the blocks that share one. What `find` gives stays valid until
 * the search ends. */
struct syn_recipe_source {
    const struct syn_anchor *anchors;
    size_t count;
    int (*find)(void *arg, uint64_t hash, struct syn_recipe_base *ret_base, struct syn_err *err);
    void *arg;
};

/** It is not worth it; the recipe is not to be used. */
#define SYN_RECIPE_NONE 1
/** Say the block as slices of others. Every byte of a slice was compared. `literal` gets the bytes
 * that the recipe borrows. */
SYN_MUST int syn_recipe_find(const struct syn_recipe_source *source, const void *data, size_t len,
                             struct syn_recipe *recipe, struct syn_buf *literal,
                             struct syn_err *err);

/* ---- packs ----------------------------------------------------------------------------------- */

struct syn_packs;

struct syn_place {
    uint32_t pack; /* from 1 */
    uint64_t offset;
};

SYN_MUST int syn_packs_open(const char *dir, uint64_t bytes_max, const struct syn_content_io *io,
                            struct syn_packs **ret_packs, struct syn_err *err);
struct syn_packs *syn_packs_close(struct syn_packs *packs);
/** Write `iov` (of `len` bytes in all) at the end of the current pack or of a new one. */
SYN_MUST int syn_packs_append(struct syn_packs *packs, struct iovec *iov, int count, size_t len,
                              struct syn_place *ret_place, struct syn_err *err);
/** NOTFOUND when the pack file is gone, CORRUPT when it is too short. */
SYN_MUST int syn_packs_read(struct syn_packs *packs, struct syn_place place, void *out, size_t len,
                            struct syn_err *err);
/** Make a pack's content, and its name, durable. */
SYN_MUST int syn_packs_sync(struct syn_packs *packs, uint32_t pack, struct syn_err *err);
/** Only while nobody appends: cut a pack back to `size`; 0 removes the file. Smaller ones are left
 * and never appended to again. */
SYN_MUST int syn_packs_cut(struct syn_packs *packs, uint32_t pack, uint64_t size,
                           struct syn_err *err);
/** The lowest pack that the next append may go to. */
uint32_t syn_packs_next(struct syn_packs *packs);
/** Begin the next append in a new pack. */
void syn_packs_seal(struct syn_packs *packs);
/** Call for each pack file with its size. A result other than 0 ends the walk and is returned. */
SYN_MUST int syn_packs_each(struct syn_packs *packs,
                            int (*each)(void *arg, uint32_t pack, uint64_t size,
                                        struct syn_err *err),
                            void *arg, struct syn_err *err);
/** Packs never get a number up to this one again. */
void syn_packs_reserve_ids(struct syn_packs *packs, uint32_t used);

/* ---- index ----------------------------------------------------------------------------------- */

struct syn_index;

struct syn_index_row {
    struct syn_cid cid; /* the codec it was put with */
    struct syn_place place;
    uint32_t stored; /* bytes of the whole record */
    uint32_t size;   /* of the block */
    unsigned flags;  /* enum syn_record_flags */
    int64_t born_ms; /* last put */
    bool bad;        /* the last read found it damaged */
    uint32_t key;    /* it is sealed under; 0: none */
};

enum syn_index_state {
    SYN_INDEX_READY,
    SYN_INDEX_NEW,     /* there was none */
    SYN_INDEX_UNKEYED, /* of an older version: it does not say which key seals a block */
};

/** What is not READY stays so until syn_index_ready(), also over a crash. */
SYN_MUST int syn_index_open(const char *path, struct syn_index **ret_index,
                            enum syn_index_state *ret_state, struct syn_err *err);
SYN_MUST int syn_index_ready(struct syn_index *index, struct syn_err *err);
struct syn_index *syn_index_close(struct syn_index *index);
/** 1 when there is no such block. */
#define SYN_INDEX_NONE 1
SYN_MUST int syn_index_find(struct syn_index *index, const uint8_t *digest,
                            struct syn_index_row *ret_row, struct syn_err *err);
/** The committed size of a pack, 0 when it has none. */
SYN_MUST int syn_index_pack_size(struct syn_index *index, uint32_t pack, uint64_t *ret_size,
                                 struct syn_err *err);
/** syn_index_find() between begin and end: sees what was written since begin. */
SYN_MUST int syn_index_get(struct syn_index *index, const uint8_t *digest,
                           struct syn_index_row *ret_row, struct syn_err *err);
/* One writer at a time: begin takes the writer's lock, end gives it back, durable or undone. */
SYN_MUST int syn_index_begin(struct syn_index *index, struct syn_err *err);
/** Commit when `rc` is 0, undo otherwise. Returns rc, or why the commit failed. */
SYN_MUST int syn_index_end(struct syn_index *index, int rc, struct syn_err *err);
/** Between begin and end. An existing row keeps its place. */
SYN_MUST int syn_index_add(struct syn_index *index, const struct syn_index_row *row,
                           struct syn_err *err);
SYN_MUST int syn_index_touch(struct syn_index *index, const uint8_t *digest, int64_t born_ms,
                             struct syn_err *err);
SYN_MUST int syn_index_remove(struct syn_index *index, const uint8_t *digest, struct syn_err *err);
/** Say anew what a recipe is made of; 0: the block is no recipe. */
SYN_MUST int syn_index_bases(struct syn_index *index, const uint8_t *digest,
                             const uint8_t (*bases)[SYN_DIGEST_BYTES], unsigned count,
                             struct syn_err *err);
/** Take out recipes whose bases are not all there, as whole blocks: records that nothing named
 * before the index was lost. */
SYN_MUST int syn_index_prune_recipes(struct syn_index *index, struct syn_err *err);
SYN_MUST int syn_index_anchor(struct syn_index *index, const struct syn_anchor *anchor,
                              const uint8_t *digest, struct syn_err *err);
/** SYN_INDEX_NONE, or whose anchor it is and where; the block may be gone. Any time. */
SYN_MUST int syn_index_anchor_find(struct syn_index *index, uint64_t hash,
                                   uint8_t ret_digest[static SYN_DIGEST_BYTES], uint32_t *ret_at,
                                   struct syn_err *err);
/** Outside of begin and end: forget the anchors of blocks that are gone. */
SYN_MUST int syn_index_prune_anchors(struct syn_index *index, struct syn_err *err);
/** Every recipe with every block that it is made of. */
SYN_MUST int syn_index_each_base(struct syn_index *index,
                                 int (*each)(void *arg, const uint8_t *digest, const uint8_t *base,
                                             struct syn_err *err),
                                 void *arg, struct syn_err *err);
/** Give a row a new place, where it is whole; it must still be at `from`. */
SYN_MUST int syn_index_move(struct syn_index *index, const struct syn_index_row *row,
                            struct syn_place from, struct syn_err *err);
/** Outside of begin and end: remember what a read of the row's record found. A record that is
 * elsewhere by now is left alone. */
SYN_MUST int syn_index_mark(struct syn_index *index, const struct syn_index_row *row, bool bad,
                            struct syn_err *err);
/** Between begin and end. The number of a key, which is entered when it is new. */
SYN_MUST int syn_index_key(struct syn_index *index, const uint8_t *id, uint32_t *ret_number,
                           struct syn_err *err);
SYN_MUST int syn_index_key_of(struct syn_index *index, const uint8_t *digest, uint32_t number,
                              struct syn_err *err);
SYN_MUST int syn_index_key_forget(struct syn_index *index, uint32_t number, struct syn_err *err);
/** The keys that were ever entered and not forgotten. */
SYN_MUST int syn_index_keys(struct syn_index *index,
                            int (*each)(void *arg, uint32_t number, const uint8_t *id,
                                        struct syn_err *err),
                            void *arg, struct syn_err *err);
/** Does it seal any block? May read the whole index. */
SYN_MUST int syn_index_key_used(struct syn_index *index, uint32_t number, bool *ret_used,
                                struct syn_err *err);
/** The pack is committed up to `size` at least; 0 forgets it. */
SYN_MUST int syn_index_pack(struct syn_index *index, uint32_t pack, uint64_t size,
                            struct syn_err *err);
SYN_MUST int syn_index_count_put(struct syn_index *index, uint64_t bytes, struct syn_err *err);

enum syn_index_order { SYN_INDEX_BY_DIGEST, SYN_INDEX_BY_PLACE };
/** Rows with born_ms >= `since_ms`. `each` must not touch the index. */
SYN_MUST int syn_index_each(struct syn_index *index, enum syn_index_order order, int64_t since_ms,
                            int (*each)(void *arg, const struct syn_index_row *row,
                                        struct syn_err *err),
                            void *arg, struct syn_err *err);
/** Committed packs with the bytes of live records in each. */
SYN_MUST int syn_index_packs(struct syn_index *index,
                             int (*each)(void *arg, uint32_t pack, uint64_t size, uint64_t live,
                                         struct syn_err *err),
                             void *arg, struct syn_err *err);
SYN_MUST int syn_index_usage(struct syn_index *index, struct syn_content_usage *ret_usage,
                             struct syn_err *err);

/* ---- a set of digests ------------------------------------------------------------------------ */

struct syn_digest_set {
    uint8_t (*items)[SYN_DIGEST_BYTES]; /* in the order they came */
    size_t count;
    size_t cap;
    uint32_t *slots; /* item + 1 */
    size_t slots_count;
};

void syn_digest_set_fini(struct syn_digest_set *set);
/** 0 with *ret_item the item's number and *ret_new; NOMEM, LIMIT. */
SYN_MUST int syn_digest_set_add(struct syn_digest_set *set, const uint8_t *digest, size_t *ret_item,
                                bool *ret_new, struct syn_err *err);
/** The item's number, or SIZE_MAX. */
size_t syn_digest_set_find(const struct syn_digest_set *set, const uint8_t *digest);

/* ---- blocks ---------------------------------------------------------------------------------- */

struct syn_blocks;
struct syn_batch;

SYN_MUST int syn_blocks_open(const struct syn_content_opts *opts, struct syn_blocks **ret_blocks,
                             struct syn_err *err);
struct syn_blocks *syn_blocks_close(struct syn_blocks *blocks);
struct syn_index *syn_blocks_index(struct syn_blocks *blocks);
struct syn_packs *syn_blocks_packs(struct syn_blocks *blocks);
/** Can what a key with this number in the index seals be read? */
bool syn_blocks_key_given(const struct syn_blocks *blocks, uint32_t number);

/** Read and verify one block into `block`, from its own record or as its recipe says. NOTFOUND,
 * CORRUPT (both name the CID), UNAVAILABLE (the key is not given), IO, NOMEM. The index remembers
 * which blocks were found damaged; the next put of one writes it anew. */
SYN_MUST int syn_blocks_get(struct syn_blocks *blocks, const struct syn_cid *cid,
                            struct syn_block *block, struct syn_err *err);
/** `*ret_has`: the block is there and can be read, as far as is known. */
SYN_MUST int syn_blocks_has(struct syn_blocks *blocks, const struct syn_cid *cid, bool *ret_has,
                            struct syn_err *err);

/** Blocks that become visible and durable together. */
SYN_MUST int syn_batch_new(struct syn_blocks *blocks, struct syn_batch **ret_batch,
                           struct syn_err *err);
/** A batch that only keeps gc away: from what it holds, and from all that other batches commit or
 * hold and end with while it is open. */
SYN_MUST int syn_batch_new_guard(struct syn_blocks *blocks, struct syn_batch **ret_guard,
                                 struct syn_err *err);
/** Store a block whose CID was computed from `data`. Any thread. */
SYN_MUST int syn_batch_put(struct syn_batch *batch, const struct syn_cid *cid, const void *data,
                           size_t len, struct syn_err *err);
/** Keep gc away from a block, which the batch or the store has, and from all below it until the
 *  batch ends. NOTFOUND. */
SYN_MUST int syn_batch_hold(struct syn_batch *batch, const struct syn_cid *cid,
                            struct syn_err *err);
/** No put may be running. May be called again after more puts. */
SYN_MUST int syn_batch_commit(struct syn_batch *batch, struct syn_err *err);
/** What was not committed is dropped. NULL is fine. Returns NULL. */
struct syn_batch *syn_batch_free(struct syn_batch *batch);

/* For gc: with the sweep held nobody can begin to rely on a block. */
void syn_blocks_sweep_begin(struct syn_blocks *blocks);
void syn_blocks_sweep_end(struct syn_blocks *blocks);
/** Between these: every block that an open batch wrote or relies on. */
SYN_MUST int syn_blocks_each_claim(struct syn_blocks *blocks,
                                   int (*each)(void *arg, const uint8_t *digest,
                                               struct syn_err *err),
                                   void *arg, struct syn_err *err);
/** Let all appends go to new packs and open a batch (free it as usual). Open batches have written
 *  nothing that is not committed into packs before `*ret_limit`. */
SYN_MUST int syn_blocks_seal(struct syn_blocks *blocks, struct syn_batch **ret_holder,
                             uint32_t *ret_limit, struct syn_err *err);
/** Copy a row's record, verified, to the end of the packs; `row` gets its new place. */
SYN_MUST int syn_blocks_copy(struct syn_blocks *blocks, struct syn_index_row *row,
                             struct syn_err *err);

#endif
