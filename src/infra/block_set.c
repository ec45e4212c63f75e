#include "block_priv.h"

#include <synor/base/mem.h>

#define SLOTS_MIN 64

void
syn_digest_set_fini(struct syn_digest_set *set)
{
    syn_free(set->items);
    syn_free(set->slots);
    *set = (struct syn_digest_set){0};
}

/* Digests are uniform already: their first bytes are the hash. */
static size_t
slot_of(const struct syn_digest_set *set, const uint8_t *digest)
{
    size_t hash;
    size_t mask = set->slots_count - 1;

    memcpy(&hash, digest, sizeof(hash));
    hash &= mask;
    while (set->slots[hash] != 0 &&
           memcmp(set->items[set->slots[hash] - 1], digest, SYN_DIGEST_BYTES) != 0)
        hash = (hash + 1) & mask;
    return hash;
}

size_t
syn_digest_set_find(const struct syn_digest_set *set, const uint8_t *digest)
{
    uint32_t item = set->slots_count == 0 ? 0 : set->slots[slot_of(set, digest)];

    return item == 0 ? SIZE_MAX : item - 1;
}

static SYN_MUST int
rehash(struct syn_digest_set *set, struct syn_err *err)
{
    size_t count = set->slots_count == 0 ? SLOTS_MIN : 2 * set->slots_count;
    uint32_t *slots = syn_calloc(count, sizeof(*slots));

    if (slots == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu blocks", set->count);
    syn_free(set->slots);
    set->slots = slots;
    set->slots_count = count;
    for (size_t i = 0; i < set->count; i++)
        set->slots[slot_of(set, set->items[i])] = (uint32_t)i + 1;
    return SYN_OK;
}

int
syn_digest_set_add(struct syn_digest_set *set, const uint8_t *digest, size_t *ret_item,
                   bool *ret_new, struct syn_err *err)
{
    size_t slot;

    if (set->count + set->count / 2 >= set->slots_count) {
        int rc = rehash(set, err);

        if (rc < 0)
            return rc;
    }
    slot = slot_of(set, digest);
    *ret_new = set->slots[slot] == 0;
    if (*ret_new) {
        if (set->count >= UINT32_MAX - 1)
            return SYN_FAIL(err, SYN_E_LIMIT, "more than %zu blocks at once", set->count);
        if (!syn_grow(&set->items, &set->cap, set->count + 1, sizeof(*set->items)))
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu blocks", set->count);
        memcpy(set->items[set->count++], digest, SYN_DIGEST_BYTES);
        set->slots[slot] = (uint32_t)set->count;
    }
    *ret_item = set->slots[slot] - 1;
    return SYN_OK;
}
