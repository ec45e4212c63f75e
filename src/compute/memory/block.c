/* Memory on nodes: blocks in use, free blocks kept by size, and who has to go when there is no
 * more.
 *
 * Eviction is second chance: blocks stand in a ring in the order in which they came or were looked
 * at, a use only sets a bit in the slot's word (the same atomic operation that takes the hold), and
 * a block whose bit is set when eviction comes past goes to the back. A true order of use would put
 * a list under every acquisition. Of the first few that were not used, whatever needs no copy
 * goes first: no content, or content that is elsewhere too; then what must be written back. */
#include "memory_priv.h"

#include <string.h>

#include <synor/base/mem.h>

#define SIZE_MIN   256 /* of a block */
#define STEPS_LOG  3   /* eight sizes to each doubling: at most an eighth is wasted */
#define TAKE_STEPS 2   /* a free block may be so many sizes larger than asked for */

enum verdict { EMPTY, CLEAN, MODIFIED, OURS, HELD };

/* ---- sizes ---- */

/* The class whose blocks have at least its size, and no more than the next one's. */
static unsigned
class_under(uint64_t bytes)
{
    unsigned log = 63 - (unsigned)__builtin_clzll(bytes);

    return (log << STEPS_LOG) | (unsigned)((bytes >> (log - STEPS_LOG)) & 7);
}

static uint64_t
round_up(uint64_t bytes)
{
    uint64_t step;

    if (bytes <= SIZE_MIN)
        return SIZE_MIN;
    step = UINT64_C(1) << (63 - (unsigned)__builtin_clzll(bytes) - STEPS_LOG);
    return (bytes + step - 1) & ~(step - 1);
}

/* ---- rings and pools ---- */

static void
ring_remove(struct syn_block *block)
{
    block->prev->next = block->next;
    block->next->prev = block->prev;
}

static void
ring_append(struct syn_node *node, struct syn_block *block)
{
    block->prev = node->list.prev;
    block->next = &node->list;
    node->list.prev->next = block;
    node->list.prev = block;
}

void
syn_node_init(struct syn_node *node, unsigned id)
{
    node->id = id;
    node->list.prev = node->list.next = &node->list;
}

static void
block_free(struct syn_memory *memory, struct syn_block *block)
{
    for (uint64_t bits = block->registered; bits != 0; bits &= bits - 1)
        syn_dev_host_unregister(memory->devs[__builtin_ctzll(bits)], block->host);
    if (block->buf)
        block->buf = syn_dev_free(block->buf);
    else if (block->pinned)
        syn_dev_host_free(block->pinned, block->host);
    else if (!block->fixed)
        syn_free(block->host);
    syn_free(block);
}

static struct syn_block *
pool_take(struct syn_node *node, uint64_t bytes)
{
    unsigned first = class_under(round_up(bytes));

    for (unsigned c = first; c <= first + TAKE_STEPS && c < SYN_BLOCK_CLASSES; c++) {
        struct syn_block *block = node->free[c];

        if (block) {
            node->free[c] = block->next;
            node->cached -= block->bytes;
            return block;
        }
    }
    return NULL;
}

/* Give free blocks back, the largest first, until `bytes` more fit under the limit; all of them
 * when `bytes` is UINT64_MAX. */
static void
pool_shrink(struct syn_memory *memory, struct syn_node *node, uint64_t bytes)
{
    for (unsigned c = SYN_BLOCK_CLASSES; c-- > 0 && node->cached > 0;) {
        while (node->free[c]) {
            struct syn_block *block = node->free[c];

            if (bytes != UINT64_MAX && node->used + node->cached + bytes <= node->limit)
                return;
            node->free[c] = block->next;
            node->cached -= block->bytes;
            block_free(memory, block);
        }
    }
}

void
syn_block_flush(struct syn_memory *memory, struct syn_node *node)
{
    pool_shrink(memory, node, UINT64_MAX);
}

/* The host's memory is everybody's: without a limit no more is kept free than is in use. */
static bool
worth_keeping(const struct syn_node *node, const struct syn_block *block)
{
    if (block->spoilt || (node->dev && atomic_load(&node->dev->lost)))
        return false;
    return node->dev || node->limit > 0 ||
           node->cached + block->bytes <= SYN_MAX(SYN_CACHE_MIN_BYTES, node->used);
}

void
syn_block_leave(struct syn_tensor *tensor, unsigned node)
{
    struct syn_memory *memory = tensor->memory;
    struct syn_node *at = syn_node_of(memory, node);
    struct syn_block *block = SYN_TAKE(tensor->slots[node].block);

    assert(block->views > 0);
    if (--block->views > 0)
        return;
    if (block->fixed) {
        block_free(memory, block);
        return;
    }
    ring_remove(block);
    at->blocks--;
    at->used -= block->bytes;
    block->owner = NULL;
    if (!worth_keeping(at, block)) {
        block_free(memory, block);
        return;
    }
    block->next = at->free[class_under(block->bytes)];
    at->free[class_under(block->bytes)] = block;
    at->cached += block->bytes;
}

/* ---- eviction ---- */

/* Holds on the tensor's replica that the claim itself has. */
static uint64_t
own_holds(const struct syn_claim *claim, const struct syn_tensor *tensor, unsigned node)
{
    uint64_t count = 0;

    for (size_t i = 0; claim && claim->node == node && i < claim->count; i++)
        count += claim->uses[i].tensor == tensor && claim->held & SYN_BIT(i) ? 1 : 0;
    return count;
}

/* Of those who write it while others may be valid, the claim's own. */
static uint64_t
own_writers(const struct syn_claim *claim, const struct syn_tensor *tensor)
{
    uint64_t count = 0;

    for (size_t i = 0; claim && i < claim->count; i++)
        count += claim->uses[i].tensor == tensor && claim->slow & SYN_BIT(i) ? 1 : 0;
    return count;
}

/* Did the claim bring it to the host on its way elsewhere, or will it go on from there? */
static bool
on_its_way(const struct syn_claim *claim, const struct syn_tensor *tensor, unsigned node)
{
    if (!claim || node != SYN_NODE_HOST || claim->node == SYN_NODE_HOST)
        return false;
    for (size_t i = 0; i < claim->count; i++) {
        if (claim->uses[i].tensor == tensor && !(claim->held & SYN_BIT(i)))
            return true;
    }
    return false;
}

static enum verdict
judge_view(const struct syn_tensor *tensor, unsigned node, const struct syn_claim *claim)
{
    uint64_t word = atomic_load(&tensor->slots[node].word), holds = word & SYN_SLOT_HOLDS;

    if (holds > 0)
        return holds > own_holds(claim, tensor, node) ? HELD : OURS;
    if (!(word & SYN_SLOT_VALID))
        return EMPTY;
    if (tensor->writers > 0)
        /* What is left if the writer elsewhere fails. */
        return tensor->writers > own_writers(claim, tensor) ? HELD : OURS;
    if (on_its_way(claim, tensor, node))
        return OURS;
    if (syn_tensor_live(tensor) & ~syn_node_bit(node))
        return CLEAN;
    /* What is on its way to the host from a node that was lost decides what this one is. */
    return syn_move_find(tensor, SYN_NODE_HOST) ? HELD : MODIFIED;
}

static enum verdict
judge(struct syn_block *block, const struct syn_claim *claim)
{
    enum verdict worst = EMPTY;

    for (struct syn_tensor *t = block->owner; t; t = syn_tensor_next_view(t, block)) {
        enum verdict verdict = judge_view(t, block->node, claim);

        worst = SYN_MAX(worst, verdict);
    }
    return worst;
}

/* Was it used, or brought for a use to come? Says so once. */
static bool
touched(struct syn_block *block, enum syn_room room)
{
    uint64_t marks = SYN_SLOT_TOUCHED | (room == SYN_ROOM_AHEAD ? SYN_SLOT_AHEAD : 0);
    bool was = false;

    for (struct syn_tensor *t = block->owner; t; t = syn_tensor_next_view(t, block))
        was |= atomic_fetch_and(&t->slots[block->node].word, ~SYN_SLOT_TOUCHED) & marks;
    return was;
}

/* Take the replica away, unless somebody just took a hold on it. */
static bool
take_view(struct syn_tensor *tensor, unsigned node)
{
    struct syn_slot *slot = &tensor->slots[node];
    uint64_t word = atomic_load(&slot->word);

    do {
        if (word & SYN_SLOT_HOLDS)
            return false;
        SYN_PERTURB();
    } while (!atomic_compare_exchange_weak(&slot->word, &word, 0));
    syn_tensor_set_valid(tensor, tensor->replicas.valid & ~syn_node_bit(node));
    syn_block_leave(tensor, node);
    syn_tensor_settle(tensor);
    return true;
}

/* Everybody leaves the block, its owner last. */
static bool
take_block(struct syn_memory *memory, struct syn_block *block)
{
    struct syn_tensor *owner = block->owner, *tensor = syn_tensor_next_view(owner, block);
    uint64_t number = owner->number, bytes = block->bytes;
    unsigned node = block->node;
    bool all = true;

    while (tensor) {
        struct syn_tensor *next = syn_tensor_next_view(tensor, block);

        all &= take_view(tensor, node);
        tensor = next;
    }
    all = all && take_view(owner, node);
    if (all)
        syn_move_note_eviction(memory, number, node, bytes);
    return all;
}

/* Begin to write the block's content back. 0; SYN_MEMORY_ROOM; errors. */
static int
send_home(struct syn_block *block, const struct syn_claim *claim, struct syn_err *err)
{
    struct syn_tensor *tensor = block->owner;
    unsigned node = block->node;
    int rc = SYN_OK;

    while (tensor && rc == SYN_OK) {
        struct syn_tensor *next = syn_tensor_next_view(tensor, block);

        if (judge_view(tensor, node, NULL) == MODIFIED)
            rc = syn_move_begin(tensor, node, SYN_NODE_HOST, SYN_ROOM_HOME, claim, err);
        tensor = next;
    }
    return rc;
}

struct search {
    enum syn_room room;
    const struct syn_claim *claim;
    bool later; /* somebody holds what could go one day */
    unsigned count;
    struct syn_block *modified[SYN_EVICT_WINDOW_MAX];
};

/* The first block that can go at once has gone: true. */
static bool
search_clean(struct syn_memory *memory, struct syn_node *node, struct search *search)
{
    size_t looks = node->blocks * 2;
    struct syn_block *block = node->list.next, *next = NULL;

    for (; looks > 0 && search->count < SYN_EVICT_WINDOW_MAX; looks--, block = next) {
        enum verdict verdict;

        if (block == &node->list)
            break;
        next = block->next;
        verdict = judge(block, search->claim);
        search->later |= verdict == HELD;
        if (verdict >= OURS || (verdict != EMPTY && touched(block, search->room))) {
            ring_remove(block);
            ring_append(node, block);
            next = next == &node->list ? block : next;
            continue;
        }
        if (verdict == MODIFIED && node->id != SYN_NODE_HOST)
            search->modified[search->count++] = block;
        else if (verdict != MODIFIED && take_block(memory, block))
            return true;
    }
    return false;
}

/* Make room for `bytes`. 0: some block went; SYN_MEMORY_ROOM; NOSPACE and other errors. */
static int
evict(struct syn_memory *memory, struct syn_node *node, uint64_t bytes, struct search *search,
      struct syn_err *err)
{
    uint64_t would = node->used + node->cached + bytes, want = 1;
    int rc = SYN_OK;

    if (node->limit > 0 && would > node->limit)
        want = would - node->limit; /* else it is the driver that has no more */

    if (search_clean(memory, node, search))
        return SYN_OK;
    if (search->room == SYN_ROOM_AHEAD)
        return SYN_FAIL(err, SYN_E_NOSPACE, "no room without taking it from others");
    for (unsigned i = 0; i < search->count && node->leaving < want && rc == SYN_OK; i++) {
        rc = send_home(search->modified[i], search->claim, err);
        if (rc == SYN_E_CONFLICT)
            rc = SYN_MEMORY_ROOM; /* somebody writes it, since just now */
        if (rc == SYN_E_NOSPACE)
            rc = SYN_OK; /* at home; a smaller one may fit */
    }
    if (node->leaving > 0 || search->later || rc == SYN_MEMORY_ROOM)
        return SYN_MEMORY_ROOM;
    if (rc < 0)
        return rc;
    return SYN_FAIL(err, SYN_E_NOSPACE, "node %u has no room for %llu bytes: %llu of %llu in use",
                    node->id, (unsigned long long)bytes, (unsigned long long)node->used,
                    (unsigned long long)node->limit);
}

/* ---- getting a block ---- */

/* The host's: pinned where a device profits from it and has some left, else ordinary. */
static int
alloc_host(struct syn_memory *memory, struct syn_block *block, struct syn_err *err)
{
    struct syn_dev *pins = memory->pins;

    if (pins && !atomic_load(&pins->lost) &&
        syn_dev_host_alloc(pins, block->bytes, &block->host, NULL) == SYN_OK) {
        block->pinned = pins;
        return SYN_OK;
    }
    if (block->bytes <= SIZE_MAX - 64)
        block->host = syn_alloc_aligned(64, (size_t)((block->bytes + 63) & ~UINT64_C(63)));
    if (!block->host)
        return SYN_FAIL(err, SYN_E_NOMEM, "%llu bytes of the host's memory",
                        (unsigned long long)block->bytes);
    return SYN_OK;
}

/* 0, SYN_DRV_FULL, errors. */
static int
block_new(struct syn_memory *memory, struct syn_node *node, uint64_t bytes,
          struct syn_block **ret_block, struct syn_err *err)
{
    struct syn_block *block = syn_calloc(1, sizeof(*block));
    int rc;

    if (!block)
        return SYN_FAIL(err, SYN_E_NOMEM, "a block");
    block->bytes = bytes;
    block->node = (uint8_t)node->id;
    if (!node->dev) {
        rc = alloc_host(memory, block, err);
    } else {
        rc = syn_dev_alloc(node->dev, bytes, &block->buf, err);
        if (rc == SYN_OK)
            block->host = block->buf->host;
    }
    if (rc == SYN_OK)
        *ret_block = block;
    else
        syn_free(block);
    return rc;
}

/* See syn_claim_retry(). */
static bool
may_evict(const struct syn_memory *memory, const struct search *search)
{
    return memory->nodes[SYN_NODE_HOST].limit == 0 || !memory->privileged || !search->claim ||
           syn_claim_privileged(search->claim);
}

static int
block_get(struct syn_memory *memory, struct syn_node *node, uint64_t bytes, struct search *search,
          struct syn_block **ret_block, struct syn_err *err)
{
    uint64_t size = round_up(bytes);
    int rc = SYN_OK;

    if (node->limit > 0 && bytes > node->limit)
        return SYN_FAIL(err, SYN_E_NOSPACE, "node %u has %llu bytes, and %llu are asked for",
                        node->id, (unsigned long long)node->limit, (unsigned long long)bytes);
    if (node->limit > 0 && size > node->limit)
        size = SYN_MAX(bytes, (uint64_t)SIZE_MIN);
    for (;;) {
        *ret_block = pool_take(node, bytes);
        if (*ret_block)
            return SYN_OK;
        if (node->limit == 0 || node->used + node->cached + size <= node->limit) {
            rc = block_new(memory, node, size, ret_block, err);
            if (rc == SYN_OK || (rc != SYN_DRV_FULL && (rc != SYN_E_NOMEM || node->cached == 0)))
                return rc;
            if (node->cached > 0) {
                syn_block_flush(memory, node);
                continue;
            }
        } else if (node->cached > 0) {
            pool_shrink(memory, node, size);
            continue;
        }
        if (!may_evict(memory, search))
            return SYN_MEMORY_ROOM;
        search->count = 0;
        rc = evict(memory, node, size, search, err);
        if (rc != SYN_OK)
            return rc;
    }
}

bool
syn_block_share(struct syn_tensor *tensor, unsigned node)
{
    struct syn_tensor *whole = syn_tensor_parent(tensor);

    if (tensor->slots[node].block)
        return true;
    for (; whole; whole = syn_tensor_parent(whole)) {
        struct syn_block *block = whole->slots[node].block;

        if (block && !block->spoilt) {
            tensor->slots[node].block = block;
            block->views++;
            return true;
        }
    }
    return false;
}

int
syn_block_for(struct syn_tensor *tensor, unsigned node, enum syn_room room,
              const struct syn_claim *claim, struct syn_err *err)
{
    struct syn_memory *memory = tensor->memory;
    struct syn_node *at = syn_node_of(memory, node);
    struct syn_slot *slot = &tensor->slots[node];
    struct search search = {.room = room, .claim = claim};
    struct syn_block *block = NULL;
    uint64_t bytes;
    bool packed;
    int rc;

    if (slot->block && slot->block->spoilt && (atomic_load(&slot->word) & SYN_SLOT_HOLDS) == 0)
        syn_block_leave(tensor, node);
    if (slot->block && slot->block->spoilt)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "node %u was lost, and tensor %llu is held there",
                        node, (unsigned long long)tensor->number);
    if (syn_block_share(tensor, node))
        return SYN_OK;
    if (room == SYN_ROOM_CLAIM && at->queue && at->queue != claim && !syn_claim_privileged(claim))
        return SYN_MEMORY_ROOM; /* others were here before */
    if (room == SYN_ROOM_AHEAD && at->queue)
        return SYN_FAIL(err, SYN_E_NOSPACE, "others wait for room");
    bytes = syn_tensor_need(tensor, &packed);
    rc = block_get(memory, at, bytes, &search, &block, err);
    if (rc != SYN_OK)
        return rc;
    block->owner = tensor;
    block->packed = packed;
    block->views = 1;
    ring_append(at, block);
    at->blocks++;
    at->used += block->bytes;
    at->peak = SYN_MAX(at->peak, at->used);
    slot->block = block;
    return SYN_OK;
}

/* Pin the caller's memory for one device of each driver that has a use for it. That a driver does
 * not want to (the range is pinned already, or shares a page) costs speed only. */
static void
block_register(struct syn_memory *memory, struct syn_block *block)
{
    for (size_t i = 0; i < memory->devs_count; i++) {
        struct syn_dev *dev = memory->devs[i];
        bool first = true;

        for (size_t j = 0; j < i; j++)
            first &= memory->devs[j]->ops != dev->ops;
        if (first && dev->info.caps & SYN_CAP_HOST_REGISTER &&
            syn_dev_host_register(dev, block->host, block->bytes, NULL) == SYN_OK)
            block->registered |= UINT64_C(1) << i;
    }
}

int
syn_block_wrap(struct syn_tensor *tensor, void *address, struct syn_err *err)
{
    struct syn_block *block = syn_calloc(1, sizeof(*block));
    struct syn_slot *slot = &tensor->slots[SYN_NODE_HOST];

    if (!block)
        return SYN_FAIL(err, SYN_E_NOMEM, "a block");
    block->host = address;
    block->bytes = syn_shape_span(&tensor->shape);
    block->owner = tensor;
    block->fixed = true;
    block->views = 1;
    block_register(tensor->memory, block);
    slot->block = block;
    syn_tensor_set_valid(tensor, syn_node_bit(SYN_NODE_HOST));
    tensor->content = SYN_CONTENT_GOOD;
    atomic_store(&slot->word, SYN_SLOT_VALID | SYN_SLOT_SOLE);
    return SYN_OK;
}
