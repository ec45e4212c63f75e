/* Which node is best for a shape, without a look at every node.
 *
 * Nodes of one class (equal in all that does not change), with equal cards and about as much CPU
 * left are one bucket, and a policy's score is a function of bucket and shape alone. Each shape
 * keeps a heap of the best buckets that it knows. A log tells what has changed: a bucket that had
 * no node and gets one, or gets one with more room than any before. A decision reads what was
 * logged since the shape was last asked for, scores those buckets, and takes the best that still
 * has a node which fits:
 *
 *     log    ... b7 b9 b2 b9 b4          heap of shape s: (score, bucket), best first
 *                     ^ s has read up to here
 *
 * The heap holds HEAP_KEEP to HEAP_CAP entries. What falls out is remembered by the best score
 * among it; when the heap has nothing better than that, all live buckets are scored anew. That
 * happens once in hundreds of decisions, and so does a log that has run on too far.
 *
 * Room is exact: a bucket's bounds of what is free say "all nodes fit", "none fits" or "look"; a
 * look that finds none makes the bounds exact and marks the bucket, so that every node that enters
 * it later is logged. So a shape that is refused fits on no node, and while nothing was given back
 * since, it is refused again at once.
 *
 * Refused: a heap for every shape over all buckets (memory), scores by node (most nodes are equal),
 * samples of nodes (they miss the best when it matters, as the cluster gets full). */
#include "fleet_priv.h"

#include <synor/base/mem.h>

#define LEVEL_STEP 16 /* millicores of the finest level */

uint32_t
level_of(int64_t cpu)
{
    uint64_t units = cpu <= 0 ? 0 : (uint64_t)cpu / LEVEL_STEP;
    uint32_t octave, level;

    if (units < 16)
        return (uint32_t)units;
    octave = 59 - (uint32_t)__builtin_clzll(units); /* of units / 16 */
    level = 16 * octave + (uint32_t)(units >> octave);
    return SYN_MIN(level, LEVELS - 1);
}

int64_t
level_floor(uint32_t level)
{
    uint32_t octave = level < 32 ? 0 : level / 16 - 1;

    return (int64_t)(level - 16 * octave) * LEVEL_STEP << octave;
}

int
index_class(struct syn_fleet *fleet, const struct class_key *key, uint32_t *ret,
            struct syn_err *err)
{
    uint64_t hash = hash_bytes(key, sizeof(*key), 0) >> 1;
    uint32_t head = table_get(&fleet->class_hashes, hash);
    int rc;

    for (uint32_t at = head; at != NONE; at = fleet->classes.items[at].next) {
        if (memcmp(&fleet->classes.items[at].key, key, sizeof(*key)) != 0)
            continue;
        *ret = at;
        return SYN_OK;
    }
    if (!syn_grow(&fleet->classes.items, &fleet->classes.cap, fleet->classes.count + 1,
                  sizeof(struct class)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding a kind of node: out of memory");
    rc = table_put(&fleet->class_hashes, hash, (uint32_t)fleet->classes.count, err);
    if (rc < 0)
        return rc;
    fleet->classes.items[fleet->classes.count] = (struct class){*key, head};
    *ret = (uint32_t)fleet->classes.count++;
    return SYN_OK;
}

/* The bucket's key of a node, and which of its cards stands where in it: by model, the emptiest
 * first. */
static void
key_of(struct node *node, struct bucket_key *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->class = node->held ? node->class_held : node->class_open;
    ret->level = (uint16_t)level_of(node->free[SYN_FLEET_CPU]);
    ret->idle = node->running == 0;
    for (uint32_t i = 0; i < node->cards_count; i++) {
        uint32_t at = i;

        for (; at > 0; at--) {
            uint8_t other = node->order[at - 1];

            if (node->models[other] < node->models[i] ||
                (node->models[other] == node->models[i] && ret->cards[at - 1] >= node->cards[i]))
                break;
            node->order[at] = other;
            ret->cards[at] = ret->cards[at - 1];
        }
        node->order[at] = (uint8_t)i;
        ret->cards[at] = node->cards[i];
    }
}

static size_t
slot_of(const struct syn_fleet *fleet, const struct bucket_key *key, uint64_t hash)
{
    size_t at = (size_t)hash & (fleet->slots_cap - 1);

    for (; fleet->slots[at] != NONE; at = (at + 1) & (fleet->slots_cap - 1)) {
        const struct bucket *bucket = &fleet->buckets.items[fleet->slots[at]];

        if (bucket->hash == hash && memcmp(&bucket->key, key, sizeof(*key)) == 0)
            break;
    }
    return at;
}

/* Forget buckets without nodes when they are the most; their numbers change, so the heaps go too.
 */
static void
compact(struct syn_fleet *fleet)
{
    size_t kept = 0;

    for (size_t i = 0; i < fleet->buckets.count; i++) {
        struct bucket *bucket = &fleet->buckets.items[i];

        if (bucket->count == 0)
            continue;
        for (uint32_t n = bucket->head; n != NONE; n = fleet->nodes.items[n].next)
            fleet->nodes.items[n].bucket = (uint32_t)kept;
        fleet->live.items[bucket->live] = (uint32_t)kept;
        fleet->buckets.items[kept++] = *bucket;
    }
    fleet->buckets.count = kept;
    memset(fleet->slots, 0xff, fleet->slots_cap * sizeof(*fleet->slots));
    for (size_t i = 0; i < kept; i++) {
        const struct bucket *bucket = &fleet->buckets.items[i];

        fleet->slots[slot_of(fleet, &bucket->key, bucket->hash)] = (uint32_t)i;
    }
    fleet->epoch++;
}

static bool
grow(struct syn_fleet *fleet, size_t need)
{
    size_t cap = SYN_MAX(fleet->slots_cap, (size_t)1024);
    uint32_t *slots;

    if (!syn_grow(&fleet->buckets.items, &fleet->buckets.cap, need, sizeof(struct bucket)) ||
        !syn_grow(&fleet->live.items, &fleet->live.cap, need, sizeof(uint32_t)))
        return false;
    while (fleet->buckets.cap * 2 > cap)
        cap *= 2;
    if (cap == fleet->slots_cap)
        return true;
    slots = syn_alloc(cap * sizeof(*slots));
    if (!slots)
        return false;
    memset(slots, 0xff, cap * sizeof(*slots));
    syn_free(fleet->slots);
    fleet->slots = slots;
    fleet->slots_cap = cap;
    for (size_t i = 0; i < fleet->buckets.count; i++) {
        const struct bucket *bucket = &fleet->buckets.items[i];

        fleet->slots[slot_of(fleet, &bucket->key, bucket->hash)] = (uint32_t)i;
    }
    return true;
}

/* As many buckets as nodes always have room: empty ones can be forgotten. */
int
index_reserve(struct syn_fleet *fleet, size_t nodes, struct syn_err *err)
{
    if (fleet->buckets.cap >= nodes && fleet->slots_cap >= 2 * fleet->buckets.cap)
        return SYN_OK;
    if (!grow(fleet, nodes))
        return SYN_FAIL(err, SYN_E_NOMEM, "growing the index of nodes: out of memory");
    return SYN_OK;
}

static void
make_room(struct syn_fleet *fleet)
{
    size_t need = fleet->buckets.count + 1;

    if (fleet->buckets.count > 4 * fleet->live.count + 4096) {
        compact(fleet);
        return;
    }
    if (need > fleet->buckets.cap || need > fleet->live.cap || need * 2 > fleet->slots_cap)
        if (!grow(fleet, need))
            compact(fleet);
}

static uint32_t
bucket_of(struct syn_fleet *fleet, const struct bucket_key *key)
{
    uint32_t cards = fleet->classes.items[key->class].key.cards;
    uint64_t hash = hash_bytes(key, offsetof(struct bucket_key, cards) + cards * sizeof(card_t), 0);
    struct bucket *bucket;
    size_t at = slot_of(fleet, key, hash);

    if (fleet->slots[at] != NONE)
        return fleet->slots[at];
    assert(fleet->buckets.count < fleet->buckets.cap);
    bucket = &fleet->buckets.items[fleet->buckets.count];
    *bucket = (struct bucket){
        .key = *key, .hash = hash, .worth_epoch = UINT64_MAX, .head = NONE, .live = NONE};
    for (uint32_t i = 0; i < cards; i++) {
        bucket->whole = (uint16_t)(bucket->whole + (key->cards[i] == CARD_NEW));
        bucket->most = (uint16_t)SYN_MAX(bucket->most, card_time(key->cards[i]));
    }
    fleet->slots[at] = (uint32_t)fleet->buckets.count;
    return (uint32_t)fleet->buckets.count++;
}

static void
log_event(struct syn_fleet *fleet, uint32_t at)
{
    fleet->log[fleet->logged & (LOG_CAP - 1)] = at;
    fleet->buckets.items[at].told = fleet->logged++;
}

static void
bucket_enter(struct syn_fleet *fleet, uint32_t at, const struct node *node)
{
    struct bucket *bucket = &fleet->buckets.items[at];
    bool news = bucket->count == 0 || bucket->mixed;

    if (bucket->count == 0) {
        memcpy(bucket->min, node->free, sizeof(bucket->min));
        memcpy(bucket->max, node->free, sizeof(bucket->max));
        bucket->mixed = false;
        bucket->live = (uint32_t)fleet->live.count;
        fleet->live.items[fleet->live.count++] = at;
    }
    for (unsigned d = 0; d < DIMS; d++) {
        news = news || node->free[d] > bucket->max[d];
        bucket->max[d] = SYN_MAX(bucket->max[d], node->free[d]);
        bucket->min[d] = SYN_MIN(bucket->min[d], node->free[d]);
    }
    bucket->count++;
    if (news)
        log_event(fleet, at);
}

/* In front, or second: so the seed decides which of equal nodes is taken first. */
static void
bucket_insert(struct syn_fleet *fleet, struct bucket *bucket, uint32_t number)
{
    struct node *node = &fleet->nodes.items[number];
    uint32_t front = bucket->head;

    node->prev = NONE;
    node->next = front;
    if (front == NONE || (hash_mix(fleet->options.seed ^ number) & 1)) {
        bucket->head = number;
    } else {
        node->prev = front;
        node->next = fleet->nodes.items[front].next;
        fleet->nodes.items[front].next = number;
    }
    if (node->next != NONE)
        fleet->nodes.items[node->next].prev = number;
}

void
index_link(struct syn_fleet *fleet, uint32_t number)
{
    struct node *node = &fleet->nodes.items[number];
    struct bucket_key key;
    struct bucket *bucket;

    assert(node->bucket == NONE);
    make_room(fleet);
    key_of(node, &key);
    node->bucket = bucket_of(fleet, &key);
    bucket = &fleet->buckets.items[node->bucket];
    bucket_insert(fleet, bucket, number);
    bucket_enter(fleet, node->bucket, node);
}

void
index_unlink(struct syn_fleet *fleet, uint32_t number)
{
    struct node *node = &fleet->nodes.items[number];
    struct bucket *bucket;

    if (node->bucket == NONE)
        return;
    bucket = &fleet->buckets.items[node->bucket];
    if (node->prev == NONE)
        bucket->head = node->next;
    else
        fleet->nodes.items[node->prev].next = node->next;
    if (node->next != NONE)
        fleet->nodes.items[node->next].prev = node->prev;
    node->bucket = NONE;
    if (--bucket->count == 0) {
        uint32_t last = fleet->live.items[--fleet->live.count];

        fleet->live.items[bucket->live] = last;
        fleet->buckets.items[last].live = bucket->live;
        bucket->live = NONE;
    }
}

static bool
before(const struct entry *a, const struct entry *b)
{
    if (a->rank.first != b->rank.first)
        return a->rank.first > b->rank.first;
    if (a->rank.second != b->rank.second)
        return a->rank.second > b->rank.second;
    return a->tie < b->tie;
}

static void
swap(struct entry *a, struct entry *b)
{
    struct entry t = *a;

    *a = *b;
    *b = t;
}

static void
sift_down(struct cache *cache, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= cache->count)
            return;
        if (child + 1 < cache->count && before(&cache->heap[child + 1], &cache->heap[child]))
            child++;
        if (!before(&cache->heap[child], &cache->heap[at]))
            return;
        swap(&cache->heap[child], &cache->heap[at]);
        at = child;
    }
}

/* Keep the best HEAP_KEEP of a full heap: quickselect, then a heap again. */
static void
trim(struct cache *cache)
{
    uint32_t low = 0, high = cache->count - 1;

    while (low < high) {
        struct entry pivot = cache->heap[low + (high - low) / 2];
        uint32_t i = low, j = high;

        for (;;) {
            while (before(&cache->heap[i], &pivot))
                i++;
            while (before(&pivot, &cache->heap[j]))
                j--;
            if (i >= j)
                break;
            swap(&cache->heap[i++], &cache->heap[j--]);
        }
        if (HEAP_KEEP <= j)
            high = j;
        else
            low = j + 1;
    }
    for (uint32_t i = HEAP_KEEP; i < cache->count; i++)
        if (!cache->dropped || before(&cache->heap[i], &cache->floor)) {
            cache->floor = cache->heap[i];
            cache->dropped = true;
        }
    cache->count = HEAP_KEEP;
    for (uint32_t i = HEAP_KEEP / 2; i-- > 0;)
        sift_down(cache, i);
}

static void
push(struct cache *cache, const struct entry *entry)
{
    uint32_t at;

    if (cache->dropped && before(&cache->floor, entry))
        return;
    if (cache->count == HEAP_CAP)
        trim(cache);
    for (at = cache->count++; at > 0; at = (at - 1) / 2) {
        if (!before(entry, &cache->heap[(at - 1) / 2]))
            break;
        cache->heap[at] = cache->heap[(at - 1) / 2];
    }
    cache->heap[at] = *entry;
}

static void
pop(struct cache *cache)
{
    cache->heap[0] = cache->heap[--cache->count];
    sift_down(cache, 0);
}

uint32_t
index_fit(struct syn_fleet *fleet, struct cache *cache, uint32_t class)
{
    const struct class_key *key = &fleet->classes.items[class].key;
    const struct syn_fleet_ask *ask = &fleet->shapes.items[cache->shape].ask;
    uint32_t fit = FIT_KNOWN;

    if (class < cache->fits_count && cache->fits[class])
        return cache->fits[class];
    if (seek_class_lacks(fleet, ask, key) == 0)
        fit |= FIT_OK;
    for (uint32_t i = 0; i < key->cards; i++)
        if (seek_card_suits(fleet, ask, key, i))
            fit |= SYN_BIT(i);
    if (class < cache->fits_count)
        cache->fits[class] = fit;
    return fit;
}

static bool
within(const struct syn_fleet_ask *ask, const int64_t *free)
{
    for (unsigned d = 0; d < DIMS; d++)
        if (ask->need[d] > free[d])
            return false;
    return true;
}

static bool
rank_of(struct syn_fleet *fleet, struct cache *cache, struct bucket *bucket,
        const struct syn_fleet_ask *ask, struct entry *entry)
{
    struct pick pick;
    uint32_t fit;

    if (bucket->count == 0 || !within(ask, bucket->max) || ask->share > bucket->most ||
        (ask->mode == SYN_FLEET_CARDS && ask->cards > bucket->whole))
        return false;
    fit = index_fit(fleet, cache, bucket->key.class);
    if (!(fit & FIT_OK) || !score(fleet, ask, bucket, fit, &entry->rank, &pick))
        return false;
    entry->tie = (uint32_t)hash_mix(bucket->hash ^ fleet->options.seed);
    return true;
}

static void
weigh(struct syn_fleet *fleet, struct cache *cache, uint32_t at)
{
    struct bucket *bucket = &fleet->buckets.items[at];
    const struct syn_fleet_ask *ask = &fleet->shapes.items[cache->shape].ask;
    struct entry entry = {.bucket = at};

    if (rank_of(fleet, cache, bucket, ask, &entry))
        push(cache, &entry);
}

static void
weigh_all(struct syn_fleet *fleet, struct cache *cache)
{
    cache->count = 0;
    cache->dropped = false;
    if (cache->epoch != fleet->epoch && cache->fits_count > 0)
        memset(cache->fits, 0, cache->fits_count * sizeof(*cache->fits));
    cache->epoch = fleet->epoch;
    cache->seen = fleet->logged;
    for (size_t i = 0; i < fleet->live.count; i++)
        weigh(fleet, cache, fleet->live.items[i]);
}

static void
catch_up(struct syn_fleet *fleet, struct cache *cache)
{
    uint64_t behind = fleet->logged - cache->seen;

    if (cache->epoch != fleet->epoch || behind > LOG_CAP || behind > fleet->live.count + 64) {
        weigh_all(fleet, cache);
        return;
    }
    for (; cache->seen < fleet->logged; cache->seen++) {
        uint32_t at = fleet->log[cache->seen & (LOG_CAP - 1)];

        if (fleet->buckets.items[at].told == cache->seen)
            weigh(fleet, cache, at);
    }
}

/* The first node of the bucket that fits. Where there is none, learn the bounds. */
static uint32_t
look(struct syn_fleet *fleet, struct bucket *bucket, const struct syn_fleet_ask *ask)
{
    int64_t min[DIMS], max[DIMS];

    if (bucket->count == 0 || !within(ask, bucket->max))
        return NONE;
    if (within(ask, bucket->min))
        return bucket->head;
    for (uint32_t at = bucket->head; at != NONE; at = fleet->nodes.items[at].next) {
        const struct node *node = &fleet->nodes.items[at];

        if (within(ask, node->free))
            return at;
        for (unsigned d = 0; d < DIMS; d++) {
            min[d] = at == bucket->head ? node->free[d] : SYN_MIN(min[d], node->free[d]);
            max[d] = at == bucket->head ? node->free[d] : SYN_MAX(max[d], node->free[d]);
        }
    }
    memcpy(bucket->min, min, sizeof(min));
    memcpy(bucket->max, max, sizeof(max));
    bucket->mixed = true;
    return NONE;
}

static struct cache *
cache_evict(struct syn_fleet *fleet)
{
    struct cache *oldest = fleet->caches[0];

    for (uint32_t i = 1; i < fleet->caches_count; i++)
        if (fleet->caches[i]->used < oldest->used)
            oldest = fleet->caches[i];
    return oldest;
}

int
index_cache(struct syn_fleet *fleet, uint32_t shape, struct cache **ret, struct syn_err *err)
{
    struct shape *known = &fleet->shapes.items[shape];
    struct cache *cache;
    size_t had;

    if (known->cache == NONE) {
        if (fleet->caches_count < CACHES_MAX) {
            cache = syn_calloc(1, sizeof(*cache));
            if (!cache)
                return SYN_FAIL(err, SYN_E_NOMEM, "indexing a shape: out of memory");
            known->cache = fleet->caches_count;
            fleet->caches[fleet->caches_count++] = cache;
            cache->slot = known->cache;
        } else {
            cache = cache_evict(fleet);
            if (cache->shape != NONE)
                index_drop_cache(fleet, cache->shape);
            known->cache = cache->slot;
        }
        cache->shape = shape;
        cache->epoch = UINT64_MAX;
        cache->full = 0;
    }
    cache = fleet->caches[known->cache];
    had = cache->fits_count;
    if (had < fleet->classes.count) {
        if (!syn_grow(&cache->fits, &cache->fits_cap, fleet->classes.count, sizeof(uint32_t)))
            return SYN_FAIL(err, SYN_E_NOMEM, "indexing a shape: out of memory");
        memset(cache->fits + had, 0, (fleet->classes.count - had) * sizeof(uint32_t));
        cache->fits_count = fleet->classes.count;
    }
    cache->used = fleet->decisions;
    *ret = cache;
    return SYN_OK;
}

/* The cache no longer is this shape's; it is another's as soon as one needs it. */
void
index_drop_cache(struct syn_fleet *fleet, uint32_t shape)
{
    struct shape *known = &fleet->shapes.items[shape];

    if (known->cache == NONE)
        return;
    fleet->caches[known->cache]->fits_count = 0;
    fleet->caches[known->cache]->shape = NONE;
    fleet->caches[known->cache]->used = 0;
    known->cache = NONE;
}

/* Every bucket, for when hundreds of the best turn out to have no room. */
static uint32_t
look_all(struct syn_fleet *fleet, struct cache *cache, const struct syn_fleet_ask *ask)
{
    struct entry best = {0};
    uint32_t found = NONE;

    for (size_t i = 0; i < fleet->live.count; i++) {
        struct entry entry = {.bucket = fleet->live.items[i]};
        struct bucket *bucket = &fleet->buckets.items[entry.bucket];
        uint32_t node;

        if (!rank_of(fleet, cache, bucket, ask, &entry) ||
            (found != NONE && !before(&entry, &best)))
            continue;
        node = look(fleet, bucket, ask);
        if (node == NONE)
            continue;
        best = entry;
        found = node;
    }
    return found;
}

static uint32_t
best_known(struct syn_fleet *fleet, struct cache *cache, const struct syn_fleet_ask *ask)
{
    uint32_t node = NONE;

    while (node == NONE && cache->count > 0) {
        node = look(fleet, &fleet->buckets.items[cache->heap[0].bucket], ask);
        if (node == NONE)
            pop(cache);
    }
    return node;
}

int
index_best(struct syn_fleet *fleet, uint32_t shape, uint32_t *ret_node, struct syn_err *err)
{
    const struct syn_fleet_ask *ask = &fleet->shapes.items[shape].ask;
    struct cache *cache;
    int rc = index_cache(fleet, shape, &cache, err);

    if (rc < 0)
        return rc;
    *ret_node = NONE;
    if (fleet->options.scan) {
        *ret_node = look_all(fleet, cache, ask);
        return SYN_OK;
    }
    if (cache->epoch == fleet->epoch && cache->full == fleet->gain + 1)
        return SYN_OK;
    catch_up(fleet, cache);
    *ret_node = best_known(fleet, cache, ask);
    if (*ret_node == NONE && cache->dropped) {
        weigh_all(fleet, cache);
        *ret_node = best_known(fleet, cache, ask);
        if (*ret_node == NONE && cache->dropped)
            *ret_node = look_all(fleet, cache, ask);
    }
    if (*ret_node == NONE)
        cache->full = fleet->gain + 1;
    return SYN_OK;
}

void
index_fini(struct syn_fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->caches_count; i++) {
        syn_free(fleet->caches[i]->fits);
        syn_free(fleet->caches[i]);
    }
    syn_free(fleet->classes.items);
    syn_free(fleet->buckets.items);
    syn_free(fleet->slots);
    syn_free(fleet->live.items);
    table_fini(&fleet->class_hashes);
}
