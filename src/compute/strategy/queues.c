#include <string.h>

#include "strategy_priv.h"

int
queues_init(struct queues *queues, uint32_t count, struct syn_err *err)
{
    *queues = (struct queues){.count = count, .free_entry = SYN_NO_INDEX};
    queues->queues = syn_calloc(count, sizeof(queues->queues[0]));
    if (queues->queues == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %u queues", count);
    return SYN_OK;
}

void
queues_fini(struct queues *queues)
{
    for (uint32_t i = 0; i < queues->count && queues->queues != NULL; i++)
        syn_free(queues->queues[i].items);
    syn_free(queues->queues);
    syn_free(queues->entries);
    *queues = (struct queues){.free_entry = SYN_NO_INDEX};
}

/* Sequence numbers wrap; tasks that wait together are never 2^31 pushes apart. */
static inline bool
before(const struct queue_item *a, const struct queue_item *b)
{
    return a->key != b->key ? a->key > b->key : (int32_t)(a->seq - b->seq) < 0;
}

static inline void
place(struct queues *queues, struct queue *queue, size_t at, struct queue_item item)
{
    queue->items[at] = item;
    queues->entries[item.entry].at = (uint32_t)at;
}

static void
sift(struct queues *queues, struct queue *queue, size_t at, struct queue_item item)
{
    while (at > 0 && before(&item, &queue->items[(at - 1) / 2])) {
        place(queues, queue, at, queue->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child = 2 * at + 1; child < queue->count; child = 2 * at + 1) {
        if (child + 1 < queue->count && before(&queue->items[child + 1], &queue->items[child]))
            child++;
        if (!before(&queue->items[child], &item))
            break;
        place(queues, queue, at, queue->items[child]);
        at = child;
    }
    place(queues, queue, at, item);
}

int
queues_put(struct queues *queues, uint32_t index, uint64_t key, struct syn_ready *ready,
           struct syn_err *err)
{
    struct queue *queue = &queues->queues[index];
    uint32_t id = queues->free_entry;

    if (!syn_grow(&queue->items, &queue->cap, queue->count + 1, sizeof(queue->items[0])) ||
        (id == SYN_NO_INDEX && !syn_grow(&queues->entries, &queues->entry_cap,
                                         queues->entry_count + 1, sizeof(queues->entries[0]))))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a waiting task");
    if (id == SYN_NO_INDEX)
        id = (uint32_t)queues->entry_count++;
    else
        queues->free_entry = queues->entries[id].at;
    queues->entries[id] = (struct queue_entry){.ready = ready, .queue = index};
    ready->slot = id;
    queue->count++;
    queues->waiting++;
    sift(queues, queue, queue->count - 1, (struct queue_item){key, queues->seq++, id});
    return SYN_OK;
}

struct syn_ready *
queues_take(struct queues *queues, uint32_t index, size_t at)
{
    struct queue *queue = &queues->queues[index];
    uint32_t id = queue->items[at].entry;
    struct syn_ready *ready = queues->entries[id].ready;
    struct queue_item last = queue->items[--queue->count];

    if (at < queue->count)
        sift(queues, queue, at, last);
    queues->entries[id].queue = SYN_NO_INDEX;
    queues->entries[id].ready = NULL;
    queues->entries[id].at = queues->free_entry;
    queues->free_entry = id;
    queues->waiting--;
    ready->slot = SYN_NO_INDEX;
    return ready;
}

void
queues_sort(struct queues *queues, uint32_t index)
{
    struct queue *queue = &queues->queues[index];
    size_t count = queue->count;

    /* One more item at a time, each sifted up among those before it. */
    for (queue->count = 1; queue->count <= count && count > 0; queue->count++)
        sift(queues, queue, queue->count - 1, queue->items[queue->count - 1]);
    queue->count = count;
}

struct queue_entry *
queues_find(struct queues *queues, const struct syn_ready *ready)
{
    if (ready->slot >= queues->entry_count || queues->entries[ready->slot].ready != ready)
        return NULL;
    return &queues->entries[ready->slot];
}

bool
queues_remove(struct queues *queues, const struct syn_ready *ready)
{
    const struct queue_entry *entry = queues_find(queues, ready);

    if (entry == NULL)
        return false;
    (void)queues_take(queues, entry->queue, entry->at);
    return true;
}
