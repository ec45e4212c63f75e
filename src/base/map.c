/* Open addressing over an index; entries stand in insertion order in one array, removed ones leave
 * a hole that the next growth closes. Walking is walking the array, so it is ordered and cheap. */
#include <synor/base/map.h>

#include <string.h>

#include <synor/base/mem.h>

#define HOLE UINT32_MAX /* slot of a removed entry: searching goes on past it */

struct entry {
    char *key; /* NULL: removed */
    void *value;
    uint64_t hash;
};

struct syn_map {
    void (*free_value)(void *);
    struct entry *entries;
    size_t used; /* entries, removed ones included */
    size_t cap;
    size_t count;      /* entries that are there */
    uint32_t *slots;   /* 0 empty, HOLE, else entry index + 1 */
    size_t slot_count; /* a power of two, or 0 */
};

/* FNV-1a, 64 bits, with a final mix so that low bits depend on all. */
static uint64_t
hash_key(const char *key)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *key != '\0'; key++)
        hash = (hash ^ (unsigned char)*key) * 0x100000001b3U;
    hash ^= hash >> 32;
    return hash * 0x9e3779b97f4a7c15U;
}

int
syn_map_new(void (*free_value)(void *), struct syn_map **ret_map, struct syn_err *err)
{
    struct syn_map *map = syn_calloc(1, sizeof(*map));

    if (map == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a map");
    map->free_value = free_value;
    *ret_map = map;
    return SYN_OK;
}

static void
drop_value(const struct syn_map *map, void *value)
{
    if (map->free_value != NULL && value != NULL)
        map->free_value(value);
}

struct syn_map *
syn_map_free(struct syn_map *map)
{
    if (map == NULL)
        return NULL;
    for (size_t i = 0; i < map->used; i++) {
        if (map->entries[i].key != NULL)
            drop_value(map, map->entries[i].value);
        syn_free(map->entries[i].key);
    }
    syn_free(map->entries);
    syn_free(map->slots);
    syn_free(map);
    return NULL;
}

void
syn_map_free_scope(struct syn_map **slot)
{
    *slot = syn_map_free(*slot);
}

size_t
syn_map_count(const struct syn_map *map)
{
    return map->count;
}

/* The slot of `key`, or NULL. */
static uint32_t *
find_slot(const struct syn_map *map, const char *key, uint64_t hash)
{
    if (map->slot_count == 0)
        return NULL;
    for (size_t i = hash & (map->slot_count - 1);; i = (i + 1) & (map->slot_count - 1)) {
        uint32_t slot = map->slots[i];

        if (slot == 0)
            return NULL;
        if (slot != HOLE && map->entries[slot - 1].hash == hash &&
            strcmp(map->entries[slot - 1].key, key) == 0)
            return &map->slots[i];
    }
}

void *
syn_map_find(const struct syn_map *map, const char *key)
{
    const uint32_t *slot = find_slot(map, key, hash_key(key));

    return slot == NULL ? NULL : map->entries[*slot - 1].value;
}

/* Close the holes and index everything anew with room for `want` entries. */
static bool
reindex(struct syn_map *map, size_t want)
{
    size_t slot_count = 16;
    uint32_t *slots;
    size_t kept = 0;

    while (slot_count < want * 2)
        slot_count *= 2;
    if (want >= HOLE - 1)
        return false;
    slots = syn_calloc(slot_count, sizeof(*slots));
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < map->used; i++) {
        size_t at;

        if (map->entries[i].key == NULL)
            continue;
        map->entries[kept] = map->entries[i];
        at = map->entries[kept].hash & (slot_count - 1);
        while (slots[at] != 0)
            at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)++kept;
    }
    map->used = kept;
    syn_free(map->slots);
    map->slots = slots;
    map->slot_count = slot_count;
    return true;
}

static bool
insert(struct syn_map *map, const char *key, uint64_t hash, void *value)
{
    size_t at;
    char *copy;

    if ((map->used + 1) * 2 > map->slot_count && !reindex(map, (map->count + 1) * 2))
        return false;
    if (!syn_grow((void *)&map->entries, &map->cap, map->used + 1, sizeof(*map->entries)))
        return false;
    copy = syn_strdup(key);
    if (copy == NULL)
        return false;
    at = hash & (map->slot_count - 1);
    while (map->slots[at] != 0 && map->slots[at] != HOLE)
        at = (at + 1) & (map->slot_count - 1);
    map->entries[map->used] = (struct entry){copy, value, hash};
    map->slots[at] = (uint32_t)++map->used;
    map->count++;
    return true;
}

int
syn_map_put_take(struct syn_map *map, const char *key, void *value, struct syn_err *err)
{
    uint64_t hash = hash_key(key);
    const uint32_t *slot = find_slot(map, key, hash);

    if (slot != NULL) {
        struct entry *entry = &map->entries[*slot - 1];

        if (entry->value != value)
            drop_value(map, entry->value);
        entry->value = value;
        return SYN_OK;
    }
    if (!insert(map, key, hash, value)) {
        drop_value(map, value);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for map entry %zu", map->count + 1);
    }
    return SYN_OK;
}

void *
syn_map_steal(struct syn_map *map, const char *key)
{
    uint32_t *slot = find_slot(map, key, hash_key(key));
    struct entry *entry;

    if (slot == NULL)
        return NULL;
    entry = &map->entries[*slot - 1];
    *slot = HOLE;
    syn_free(entry->key);
    entry->key = NULL;
    map->count--;
    return SYN_TAKE(entry->value);
}

bool
syn_map_remove(struct syn_map *map, const char *key)
{
    bool there = find_slot(map, key, hash_key(key)) != NULL;

    if (there)
        drop_value(map, syn_map_steal(map, key));
    return there;
}

bool
syn_map_next(const struct syn_map *map, size_t *cursor, const char **ret_key, void **ret_value)
{
    while (*cursor < map->used) {
        const struct entry *entry = &map->entries[(*cursor)++];

        if (entry->key == NULL)
            continue;
        if (ret_key != NULL)
            *ret_key = entry->key;
        if (ret_value != NULL)
            *ret_value = entry->value;
        return true;
    }
    return false;
}
