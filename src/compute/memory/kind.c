/* Kinds of tensors: those of one kind have the same shape, and may lie in the same ways. What was
 * found out about a call on tensors of some kinds holds for the next one on such, without another
 * look at their shapes. A kind is a number that stays for as long as the manager; there are as many
 * as programs have shapes, and beyond KINDS_MAX tensors have none (0), which only costs time. */
#include "memory_priv.h"

#include <string.h>

#include <synor/base/mem.h>

#define KINDS_MAX 4096
#define HASH_MUL  UINT64_C(0x9e3779b97f4a7c15)

struct syn_tensor_kind {
    struct syn_tensor_kind *next; /* of the same hash */
    uint32_t number, count;
    struct syn_shape ways[];
};

static uint64_t
hash_of(const struct syn_shape *shape)
{
    uint64_t hash = (uint64_t)shape->dtype << 16 | (uint64_t)shape->layout << 8 | shape->dims;

    for (unsigned d = 0; d < shape->dims; d++)
        hash = ((hash ^ shape->sizes[d]) * HASH_MUL ^ shape->strides[d]) * HASH_MUL;
    return hash * HASH_MUL >> 32;
}

static bool
same_shape(const struct syn_shape *a, const struct syn_shape *b)
{
    if (a->dtype != b->dtype || a->layout != b->layout || a->dims != b->dims)
        return false;
    for (unsigned d = 0; d < a->dims; d++) {
        if (a->sizes[d] != b->sizes[d] || a->strides[d] != b->strides[d])
            return false;
    }
    return true;
}

static bool
is_kind(const struct syn_tensor_kind *kind, const struct syn_shape *const *ways, unsigned count)
{
    bool same = kind->count == count;

    for (unsigned i = 0; same && i < count; i++)
        same = same_shape(&kind->ways[i], ways[i]);
    return same;
}

static struct syn_tensor_kind *
new_kind(struct syn_memory *memory, const struct syn_shape *const *ways, unsigned count)
{
    struct syn_tensor_kind *kind = NULL;

    if (memory->kinds_count < KINDS_MAX)
        kind = syn_alloc(sizeof(*kind) + count * sizeof(kind->ways[0]));
    if (!kind)
        return NULL;
    kind->number = ++memory->kinds_count;
    kind->count = count;
    for (unsigned i = 0; i < count; i++)
        kind->ways[i] = *ways[i];
    return kind;
}

void
syn_kind_give(struct syn_tensor *tensor)
{
    struct syn_memory *memory = tensor->memory;
    const struct syn_shape *ways[SYN_TENSOR_WAYS_MAX];
    unsigned count = syn_tensor_ways(tensor, ways);
    struct syn_tensor_kind **head = &memory->kinds[hash_of(ways[0]) % SYN_KIND_CHAINS], *kind;

    (void)pthread_mutex_lock(&memory->lock);
    for (kind = *head; kind && !is_kind(kind, ways, count); kind = kind->next)
        ;
    if (!kind) {
        kind = new_kind(memory, ways, count);
        if (kind) {
            kind->next = *head;
            *head = kind;
        }
    }
    tensor->kind = kind ? kind->number : 0;
    (void)pthread_mutex_unlock(&memory->lock);
}

void
syn_kinds_free(struct syn_memory *memory)
{
    for (unsigned i = 0; i < SYN_KIND_CHAINS; i++) {
        while (memory->kinds[i]) {
            struct syn_tensor_kind *kind = memory->kinds[i];

            memory->kinds[i] = kind->next;
            syn_free(kind);
        }
    }
}

uint32_t
syn_tensor_kind(const struct syn_tensor *tensor)
{
    return tensor->kind;
}
