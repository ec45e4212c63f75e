#include "store_cache_priv.h"

#include <pthread.h>

#include <synor/base/mem.h>

#include "store_priv.h"

#define SHARDS        16
#define BUCKETS       512
#define MARKS         256
#define SHARD_BYTES   (SYN_STORE_CACHE_BYTES / SHARDS)
#define DOC_BYTES_MAX (SHARD_BYTES / 8)

/* What the writer does to the keys that share this mark. Many marks, so that a busy writer does
 * not keep the readers of other keys from filling the cache. */
struct mark {
    uint32_t held;
    uint32_t changes; /* releases so far: a ticket is good while it stands */
};

struct shard {
    pthread_mutex_t lock;
    struct mark marks[MARKS];
    size_t bytes;
    struct syn_store_box *newest;
    struct syn_store_box *oldest;
    struct syn_store_box *buckets[BUCKETS];
} __attribute__((aligned(64)));

struct syn_store_cache {
    struct shard shards[SHARDS];
};

/* Never a valid ticket: given out while something is held. */
#define TICKET_NONE UINT64_MAX

int
syn_store_cache_new(struct syn_store_cache **ret_cache, struct syn_err *err)
{
    struct syn_store_cache *cache = syn_calloc(1, sizeof(*cache));

    if (!cache)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the document cache");
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&cache->shards[i].lock, NULL);
    *ret_cache = cache;
    return SYN_OK;
}

struct syn_store_cache *
syn_store_cache_free(struct syn_store_cache *cache)
{
    if (!cache)
        return NULL;
    for (size_t i = 0; i < SHARDS; i++) {
        struct syn_store_box *box = cache->shards[i].newest;
        while (box) {
            struct syn_store_box *older = box->older;
            syn_store_doc_unref(&box->doc);
            box = older;
        }
        pthread_mutex_destroy(&cache->shards[i].lock);
    }
    syn_free(cache);
    return NULL;
}

static struct shard *
shard_of(struct syn_store_cache *cache, uint64_t hash)
{
    return &cache->shards[(hash >> 32) % SHARDS];
}

static struct mark *
mark_of(struct shard *shard, uint64_t hash)
{
    return &shard->marks[(hash >> 40) % MARKS];
}

static uint64_t
hash_key(const char *key)
{
    return syn_store_hash(key, strlen(key), 0);
}

static size_t
cost(const struct syn_store_box *box)
{
    return sizeof(*box) + strlen(box->doc.key) + box->doc.len + 32; /* 32: the allocator's own */
}

static struct syn_store_box **
find_slot(struct shard *shard, const char *key, uint64_t hash)
{
    struct syn_store_box **slot = &shard->buckets[hash % BUCKETS];

    while (*slot && ((*slot)->hash != hash || strcmp((*slot)->doc.key, key) != 0))
        slot = &(*slot)->next;
    return slot;
}

static void
unlink_use(struct shard *shard, struct syn_store_box *box)
{
    if (box->newer)
        box->newer->older = box->older;
    else
        shard->newest = box->older;
    if (box->older)
        box->older->newer = box->newer;
    else
        shard->oldest = box->newer;
    box->newer = box->older = NULL;
}

static void
link_newest(struct shard *shard, struct syn_store_box *box)
{
    box->newer = NULL;
    box->older = shard->newest;
    if (shard->newest)
        shard->newest->newer = box;
    else
        shard->oldest = box;
    shard->newest = box;
}

static void
drop(struct shard *shard, struct syn_store_box **slot)
{
    struct syn_store_box *box = *slot;

    assert(box);
    *slot = box->next;
    box->next = NULL;
    unlink_use(shard, box);
    assert(shard->bytes >= cost(box));
    shard->bytes -= cost(box);
    syn_store_doc_unref(&box->doc);
}

/* Take a reference to a document, if its key is not there and it is not too large. */
static void
add(struct shard *shard, struct syn_store_box *box, uint64_t hash)
{
    struct syn_store_box **slot = find_slot(shard, box->doc.key, hash);

    if (*slot || cost(box) > DOC_BYTES_MAX)
        return;
    syn_store_doc_ref(&box->doc);
    box->hash = hash;
    *slot = box;
    link_newest(shard, box);
    shard->bytes += cost(box);
    while (shard->bytes > SHARD_BYTES) {
        const struct syn_store_box *oldest = shard->oldest;
        assert(oldest); /* something is what fills it */
        drop(shard, find_slot(shard, oldest->doc.key, oldest->hash));
    }
}

const struct syn_store_doc *
syn_store_cache_get(struct syn_store_cache *cache, const char *key, uint64_t *ret_ticket)
{
    uint64_t hash = hash_key(key);
    struct shard *shard = shard_of(cache, hash);
    const struct syn_store_doc *doc = NULL;

    pthread_mutex_lock(&shard->lock);
    struct syn_store_box *box = *find_slot(shard, key, hash);
    if (box) {
        if (box != shard->newest) {
            unlink_use(shard, box);
            link_newest(shard, box);
        }
        doc = syn_store_doc_ref(&box->doc);
    } else if (ret_ticket) {
        const struct mark *mark = mark_of(shard, hash);
        *ret_ticket = mark->held ? TICKET_NONE : mark->changes;
    }
    pthread_mutex_unlock(&shard->lock);
    return doc;
}

void
syn_store_cache_fill(struct syn_store_cache *cache, const struct syn_store_doc *doc,
                     uint64_t ticket)
{
    struct syn_store_box *box = syn_store_box_of(doc);
    uint64_t hash = hash_key(doc->key);
    struct shard *shard = shard_of(cache, hash);

    if (ticket == TICKET_NONE)
        return;
    pthread_mutex_lock(&shard->lock);
    const struct mark *mark = mark_of(shard, hash);
    if (!mark->held && mark->changes == ticket)
        add(shard, box, hash);
    pthread_mutex_unlock(&shard->lock);
}

void
syn_store_cache_hold(struct syn_store_cache *cache, const char *key)
{
    uint64_t hash = hash_key(key);
    struct shard *shard = shard_of(cache, hash);

    pthread_mutex_lock(&shard->lock);
    struct syn_store_box **slot = find_slot(shard, key, hash);
    if (*slot)
        drop(shard, slot);
    mark_of(shard, hash)->held++;
    pthread_mutex_unlock(&shard->lock);
}

void
syn_store_cache_release(struct syn_store_cache *cache, const char *key,
                        const struct syn_store_doc *doc)
{
    uint64_t hash = hash_key(key);
    struct shard *shard = shard_of(cache, hash);

    pthread_mutex_lock(&shard->lock);
    struct mark *mark = mark_of(shard, hash);
    assert(mark->held > 0);
    mark->held--;
    mark->changes++;
    if (!mark->held && doc) /* an earlier release may be of an older version of the key */
        add(shard, syn_store_box_of(doc), hash);
    pthread_mutex_unlock(&shard->lock);
}
