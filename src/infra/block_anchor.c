/* Where blocks that hold the same bytes at different places meet.
 *
 * A cut point is a place that the 64 bytes before it choose: a rolling hash of them (a gear hash,
 * as in FastCDC) has sixteen leading zeros. Bytes inserted or removed elsewhere move cut points
 * along with what is around them. An anchor is a cut point with the hash of the 4 KiB behind it;
 * two blocks with one anchor in common very likely have in common what lies around it.
 *
 *     one block    [......................|aaaa............|bbbb.....]
 *     another      [..........|aaaa............|bbbb..................]
 *
 * Both the choice of cut points and the hashes depend on a secret where content is sealed, so that
 * the index tells nobody without the key what a block contains. */
#include "block_priv.h"

#include <endian.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <synor/base/mem.h>

#define WINDOW     64                           /* bytes that choose a cut point */
#define CUT_MASK   UINT64_C(0x7fff800000000000) /* 16 bits: one place in 64 KiB */
#define SPACING    ((size_t)8 << 10)
#define SEED_LABEL "synor content anchors"
#define SLOTS_MIN  256

void
syn_anchor_seed_init(struct syn_anchor_seed *seed, const uint8_t *key)
{
    uint8_t input[sizeof(SEED_LABEL) + SYN_KEY_BYTES + 1] = SEED_LABEL;
    uint8_t *counter = &input[sizeof(input) - 1];
    uint8_t digest[SYN_DIGEST_BYTES];
    size_t at = 0;

    if (key != NULL)
        memcpy(input + sizeof(SEED_LABEL), key, SYN_KEY_BYTES);
    SHA256(input, sizeof(input), seed->salt);
    while (at < SYN_LEN(seed->gear)) {
        ++*counter;
        SHA256(input, sizeof(input), digest);
        for (size_t i = 0; i < SYN_DIGEST_BYTES; i += sizeof(uint64_t))
            memcpy(&seed->gear[at++], digest + i, sizeof(uint64_t));
    }
    for (size_t i = 0; i < SYN_LEN(seed->gear); i++)
        seed->gear_doubled[i] = seed->gear[i] << 1;
    OPENSSL_cleanse(input, sizeof(input));
}

static uint64_t
hash_behind(const struct syn_anchor_seed *seed, const uint8_t *data)
{
    uint8_t input[SYN_DIGEST_BYTES + SYN_ANCHOR_BYTES];
    uint8_t digest[SYN_DIGEST_BYTES];
    uint64_t hash;

    memcpy(input, seed->salt, SYN_DIGEST_BYTES);
    memcpy(input + SYN_DIGEST_BYTES, data, SYN_ANCHOR_BYTES);
    SHA256(input, sizeof(input), digest);
    memcpy(&hash, digest, sizeof(hash));
    return le64toh(hash);
}

/* The next cut point at or after `at`, or `end`. The hash begins WINDOW bytes before, so that where
 * the search begins does not show in what it finds. Two bytes a turn, because each waits for the
 * one before: after the first, the hash is doubled already, and so is the mask. */
static size_t
next_cut(const struct syn_anchor_seed *seed, const uint8_t *data, size_t at, size_t end)
{
    uint64_t hash = 0;

    for (size_t i = at - WINDOW; i < at; i++)
        hash = (hash << 1) + seed->gear[data[i]];
    while (at < end) {
        if ((hash & CUT_MASK) == 0)
            return at;
        hash = (hash << 2) + seed->gear_doubled[data[at]];
        if ((hash & CUT_MASK << 1) == 0)
            return SYN_MIN(at + 1, end);
        hash += seed->gear[data[at + 1]];
        at += 2;
    }
    return end;
}

size_t
syn_anchors_find(const struct syn_anchor_seed *seed, const uint8_t *data, size_t len,
                 struct syn_anchor out[static SYN_ANCHORS_MAX])
{
    size_t count = 0;
    size_t end;

    if (len < SYN_ANCHOR_BLOCK_MIN)
        return 0;
    end = len - SYN_ANCHOR_BYTES + 1;
    for (size_t at = WINDOW; count < SYN_ANCHORS_MAX && at < end; at += SPACING) {
        at = next_cut(seed, data, at, end);
        if (at < end)
            out[count++] = (struct syn_anchor){hash_behind(seed, data + at), (uint32_t)at};
    }
    return count;
}

/* ---- a table of anchors ---------------------------------------------------------------------- */

void
syn_anchor_table_fini(struct syn_anchor_table *table)
{
    syn_free(table->notes);
    syn_free(table->slots);
    *table = (struct syn_anchor_table){0};
}

void
syn_anchor_table_clear(struct syn_anchor_table *table)
{
    table->count = 0;
    if (table->slots != NULL)
        memset(table->slots, 0, table->slots_count * sizeof(*table->slots));
}

/* Hashes are uniform already. */
static size_t
slot_of(const struct syn_anchor_table *table, uint64_t hash)
{
    size_t mask = table->slots_count - 1;
    size_t slot = (size_t)hash & mask;

    while (table->slots[slot] != 0 && table->notes[table->slots[slot] - 1].anchor.hash != hash)
        slot = (slot + 1) & mask;
    return slot;
}

static SYN_MUST int
rehash(struct syn_anchor_table *table, struct syn_err *err)
{
    size_t count = table->slots_count == 0 ? SLOTS_MIN : 2 * table->slots_count;
    uint32_t *slots = syn_calloc(count, sizeof(*slots));

    if (slots == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu anchors", table->count);
    syn_free(table->slots);
    table->slots = slots;
    table->slots_count = count;
    for (size_t i = 0; i < table->count; i++)
        table->slots[slot_of(table, table->notes[i].anchor.hash)] = (uint32_t)i + 1;
    return SYN_OK;
}

int
syn_anchor_table_add(struct syn_anchor_table *table, const struct syn_anchor *anchor, size_t item,
                     struct syn_err *err)
{
    size_t slot;
    int rc = SYN_OK;

    assert(table->count < SYN_ANCHOR_TABLE_MAX && item < UINT32_MAX);
    if (2 * table->count >= table->slots_count)
        rc = rehash(table, err);
    if (rc < 0)
        return rc;
    slot = slot_of(table, anchor->hash);
    if (table->slots[slot] != 0)
        return SYN_OK;
    if (!syn_grow(&table->notes, &table->cap, table->count + 1, sizeof(*table->notes)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu anchors", table->count);
    table->notes[table->count++] = (struct syn_anchor_note){*anchor, (uint32_t)item};
    table->slots[slot] = (uint32_t)table->count;
    return SYN_OK;
}

const struct syn_anchor_note *
syn_anchor_table_find(const struct syn_anchor_table *table, uint64_t hash)
{
    uint32_t note = table->count == 0 ? 0 : table->slots[slot_of(table, hash)];

    return note == 0 ? NULL : &table->notes[note - 1];
}
