/* A binary heap of 24-byte items, least key first, then least seq. Inline: the engine lives in it.
 */
#ifndef SYNOR_COMPUTE_HEAP_PRIV_H
#define SYNOR_COMPUTE_HEAP_PRIV_H

#include <synor/base/mem.h>

struct heap_item {
    uint64_t key;
    uint64_t seq;
    uint32_t what;
    uint32_t id;
};

struct heap {
    struct heap_item *items;
    size_t count, cap;
};

static inline bool
heap_less(const struct heap_item *a, const struct heap_item *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

/** False: out of memory. */
static inline bool
heap_push(struct heap *heap, struct heap_item item)
{
    size_t at = heap->count;

    if (!syn_grow(&heap->items, &heap->cap, heap->count + 1, sizeof(item)))
        return false;
    heap->count++;
    for (; at > 0 && heap_less(&item, &heap->items[(at - 1) / 2]); at = (at - 1) / 2)
        heap->items[at] = heap->items[(at - 1) / 2];
    heap->items[at] = item;
    return true;
}

/** Take the least. The heap must not be empty. */
static inline struct heap_item
heap_pop(struct heap *heap)
{
    struct heap_item least = heap->items[0];
    struct heap_item last = heap->items[--heap->count];
    size_t at = 0;

    for (size_t child = 1; child < heap->count; child = 2 * at + 1) {
        if (child + 1 < heap->count && heap_less(&heap->items[child + 1], &heap->items[child]))
            child++;
        if (!heap_less(&heap->items[child], &last))
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = last;
    return least;
}

#endif
