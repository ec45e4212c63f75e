#include "fleet_priv.h"

#include <synor/base/mem.h>

uint64_t
hash_mix(uint64_t value)
{
    value ^= value >> 32;
    value *= UINT64_C(0xd6e8feb86659fd93);
    value ^= value >> 32;
    value *= UINT64_C(0xd6e8feb86659fd93);
    value ^= value >> 32;
    return value;
}

uint64_t
hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const unsigned char *at = data;
    uint64_t hash = seed ^ (len * UINT64_C(0x9e3779b97f4a7c15));

    for (; len >= 8; len -= 8, at += 8) {
        uint64_t word;

        memcpy(&word, at, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
        hash ^= hash >> 29;
    }
    for (; len > 0; len--, at++)
        hash = (hash ^ *at) * UINT64_C(0x100000001b3);
    return hash_mix(hash);
}

static size_t
table_slot(const struct table *table, uint64_t key)
{
    size_t at = (size_t)hash_mix(key) & (table->cap - 1);

    while (table->keys[at] != key && table->keys[at] != UINT64_MAX)
        at = (at + 1) & (table->cap - 1);
    return at;
}

uint32_t
table_get(const struct table *table, uint64_t key)
{
    size_t at;

    if (table->cap == 0)
        return NONE;
    at = table_slot(table, key);
    return table->keys[at] == key ? table->values[at] : NONE;
}

static int
table_resize(struct table *table, size_t cap, struct syn_err *err)
{
    struct table next = {.cap = cap, .count = table->count};

    next.keys = syn_alloc(cap * sizeof(*next.keys));
    next.values = syn_alloc(cap * sizeof(*next.values));
    if (!next.keys || !next.values) {
        syn_free(next.keys);
        syn_free(next.values);
        return SYN_FAIL(err, SYN_E_NOMEM, "growing a table of the fleet: out of memory");
    }
    memset(next.keys, 0xff, cap * sizeof(*next.keys));
    for (size_t i = 0; i < table->cap; i++) {
        size_t at;

        if (table->keys[i] == UINT64_MAX)
            continue;
        at = table_slot(&next, table->keys[i]);
        next.keys[at] = table->keys[i];
        next.values[at] = table->values[i];
    }
    syn_free(table->keys);
    syn_free(table->values);
    *table = next;
    return SYN_OK;
}

int
table_reserve(struct table *table, size_t more, struct syn_err *err)
{
    size_t cap = SYN_MAX(table->cap, (size_t)64);

    while ((table->count + more) * 3 > cap * 2)
        cap *= 2;
    return cap == table->cap ? SYN_OK : table_resize(table, cap, err);
}

int
table_put(struct table *table, uint64_t key, uint32_t value, struct syn_err *err)
{
    size_t at;
    int rc;

    assert(key != UINT64_MAX);
    if (table->cap > 0 && table->keys[table_slot(table, key)] == key) {
        table->values[table_slot(table, key)] = value;
        return SYN_OK;
    }
    rc = table_reserve(table, 1, err);
    if (rc < 0)
        return rc;
    at = table_slot(table, key);
    table->count++;
    table->keys[at] = key;
    table->values[at] = value;
    return SYN_OK;
}

/* Without tombstones: what stands behind moves up. */
void
table_remove(struct table *table, uint64_t key)
{
    size_t mask = table->cap - 1;
    size_t hole, at;

    if (table->cap == 0)
        return;
    hole = table_slot(table, key);
    if (table->keys[hole] != key)
        return;
    for (at = (hole + 1) & mask; table->keys[at] != UINT64_MAX; at = (at + 1) & mask) {
        size_t home = (size_t)hash_mix(table->keys[at]) & mask;

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        table->keys[hole] = table->keys[at];
        table->values[hole] = table->values[at];
        hole = at;
    }
    table->keys[hole] = UINT64_MAX;
    table->count--;
}

void
table_clear(struct table *table)
{
    if (table->cap > 0)
        memset(table->keys, 0xff, table->cap * sizeof(*table->keys));
    table->count = 0;
}

void
table_fini(struct table *table)
{
    syn_free(table->keys);
    syn_free(table->values);
    *table = (struct table){0};
}
