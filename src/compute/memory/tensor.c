#include "memory_priv.h"

#include <string.h>

#include <synor/base/mem.h>

/* ---- how a tensor lies in a block ---- */

const struct syn_shape *
syn_tensor_lies(const struct syn_tensor *tensor, const struct syn_block *block)
{
    if (!block->packed)
        return &tensor->shape;
    return &tensor->kin->packed[block->owner->kin->depth];
}

uint64_t
syn_tensor_offset(const struct syn_tensor *tensor, const struct syn_block *block)
{
    uint64_t elements = 0;

    for (; tensor != block->owner; tensor = tensor->kin->whole)
        elements += tensor->kin->start * syn_tensor_lies(tensor, block)->strides[tensor->kin->dim];
    return elements * syn_shape_bits(&tensor->shape) / 8;
}

/* What the caller has with gaps, or shares with its whole's neighbours, lies packed elsewhere. */
uint64_t
syn_tensor_need(const struct syn_tensor *tensor, bool *ret_packed)
{
    const struct syn_shape *shape = &tensor->shape;

    *ret_packed =
        syn_tensor_parent(tensor) || (tensor->wrapped && shape->layout == SYN_LAYOUT_STRIDED);
    return *ret_packed ? syn_dtype_bytes(shape->dtype, syn_shape_count(shape))
                       : syn_shape_span(shape);
}

void
syn_tensor_at(const struct syn_tensor *tensor, unsigned node, struct syn_tensor_place *ret_place)
{
    const struct syn_block *block = tensor->slots[node].block;

    assert(block);
    ret_place->buf = block->buf;
    ret_place->offset = block->owner == tensor ? 0 : syn_tensor_offset(tensor, block);
    ret_place->host = block->host ? (char *)block->host + ret_place->offset : NULL;
    ret_place->shape = syn_tensor_lies(tensor, block);
}

unsigned
syn_tensor_ways(const struct syn_tensor *tensor,
                const struct syn_shape *ret_ways[SYN_TENSOR_WAYS_MAX])
{
    unsigned count = 0;

    ret_ways[count++] = &tensor->shape;
    for (const struct syn_tensor *owner = tensor; owner; owner = syn_tensor_parent(owner)) {
        const struct syn_shape *way;
        bool packed, known = false;

        (void)syn_tensor_need(owner, &packed);
        if (!packed)
            continue;
        way = &tensor->kin->packed[owner->kin->depth];
        for (unsigned i = 0; i < count; i++)
            known = known || syn_shape_same_places(ret_ways[i], way);
        if (!known)
            ret_ways[count++] = way;
    }
    return count;
}

/* ---- where it is valid ---- */

void
syn_tensor_set_valid(struct syn_tensor *tensor, uint64_t valid)
{
    /* Strategies read it as they please. */
    __atomic_store_n(&tensor->replicas.valid, valid, __ATOMIC_RELAXED);
}

void
syn_tensor_settle(struct syn_tensor *tensor)
{
    uint64_t valid = tensor->replicas.valid;
    bool sole = valid != 0 && (valid & (valid - 1)) == 0 && !tensor->moves && tensor->writers == 0;

    for (; valid != 0; valid &= valid - 1) {
        struct syn_slot *slot = &tensor->slots[__builtin_ctzll(valid)];

        if (sole)
            (void)atomic_fetch_or(&slot->word, SYN_SLOT_SOLE);
        else
            (void)atomic_fetch_and(&slot->word, ~SYN_SLOT_SOLE);
    }
}

static bool
node_is_lost(const struct syn_memory *memory, unsigned node)
{
    const struct syn_dev *dev = memory->nodes[node].dev;

    return dev && atomic_load_explicit(&dev->lost, memory_order_relaxed);
}

uint64_t
syn_tensor_live(const struct syn_tensor *tensor)
{
    uint64_t live = 0;

    for (uint64_t valid = tensor->replicas.valid; valid != 0; valid &= valid - 1) {
        if (!node_is_lost(tensor->memory, (unsigned)__builtin_ctzll(valid)))
            live |= valid & -valid;
    }
    return live;
}

static struct syn_tensor *
next_of_family(struct syn_tensor *tensor, const struct syn_tensor *root)
{
    if (syn_tensor_divided(tensor))
        return tensor->kin->parts[0];
    while (tensor != root) {
        struct syn_tensor *whole = tensor->kin->whole;

        if (tensor->kin->index + 1 < whole->kin->parts_count)
            return whole->kin->parts[tensor->kin->index + 1];
        tensor = whole;
    }
    return NULL;
}

struct syn_tensor *
syn_tensor_next_view(struct syn_tensor *tensor, const struct syn_block *block)
{
    do
        tensor = next_of_family(tensor, block->owner);
    while (tensor && tensor->slots[block->node].block != block);
    return tensor;
}

void
syn_tensor_drop(struct syn_tensor *tensor, unsigned node)
{
    struct syn_slot *slot = &tensor->slots[node];
    uint64_t word = atomic_fetch_and(&slot->word, SYN_SLOT_HOLDS | SYN_SLOT_WRITERS);

    syn_tensor_set_valid(tensor, tensor->replicas.valid & ~syn_node_bit(node));
    if (tensor->replicas.valid == 0 && tensor->content == SYN_CONTENT_GOOD)
        tensor->content = node_is_lost(tensor->memory, node) ? SYN_CONTENT_LOST : SYN_CONTENT_NONE;
    if (slot->block && (word & SYN_SLOT_HOLDS) == 0 && !slot->block->fixed &&
        !syn_tensor_divided(tensor))
        syn_block_leave(tensor, node);
}

void
syn_tensor_quiet(struct syn_tensor *tensor)
{
    while (tensor->moves)
        (void)pthread_cond_wait(&tensor->memory->settled, &tensor->memory->lock);
}

void
syn_tensor_spoil(struct syn_tensor *tensor, bool lost)
{
    (void)pthread_mutex_lock(&tensor->memory->lock);
    assert(!syn_tensor_divided(tensor) && tensor->writers == 0);
    syn_tensor_quiet(tensor);
    for (uint64_t valid = tensor->replicas.valid; valid != 0; valid &= valid - 1)
        syn_tensor_drop(tensor, (unsigned)__builtin_ctzll(valid));
    tensor->content = lost ? SYN_CONTENT_LOST : SYN_CONTENT_NONE;
    (void)pthread_mutex_unlock(&tensor->memory->lock);
}

/* ---- life ---- */

int
syn_tensor_make(struct syn_memory *memory, const struct syn_shape *shape, size_t packed,
                struct syn_tensor **ret_tensor, struct syn_err *err)
{
    size_t slots = memory->nodes_count * sizeof(struct syn_slot);
    struct syn_tensor *tensor = syn_calloc(1, sizeof(*tensor) + slots);

    if (tensor && packed > 0) {
        tensor->kin = syn_calloc(1, sizeof(*tensor->kin) + packed * sizeof(*shape));
        if (!tensor->kin) {
            syn_free(tensor);
            tensor = NULL;
        }
    }
    if (!tensor)
        return SYN_FAIL(err, SYN_E_NOMEM, "a tensor's handle");
    tensor->memory = memory;
    tensor->shape = *shape;
    tensor->replicas.bytes = syn_dtype_bytes(shape->dtype, syn_shape_count(shape));
    (void)pthread_mutex_lock(&memory->lock);
    tensor->number = memory->next_number++;
    memory->stats.tensors++;
    (void)pthread_mutex_unlock(&memory->lock);
    *ret_tensor = tensor;
    return SYN_OK;
}

void
syn_tensor_end(struct syn_tensor *tensor)
{
    struct syn_memory *memory = tensor->memory;

    assert(!tensor->moves && !syn_tensor_divided(tensor));
    for (unsigned node = 0; node < memory->nodes_count; node++) {
        assert((atomic_load(&tensor->slots[node].word) & SYN_SLOT_HOLDS) == 0);
        if (tensor->slots[node].block)
            syn_block_leave(tensor, node);
    }
    memory->stats.tensors--;
    if (memory->drop != NULL && syn_tensor_user(tensor) != NULL)
        memory->drop(syn_tensor_user(tensor));
    if (tensor->kin)
        syn_free(tensor->kin->parts);
    syn_free(tensor->kin);
    syn_free(tensor);
}

int
syn_tensor_new(struct syn_memory *memory, const struct syn_shape *shape,
               struct syn_tensor **ret_tensor, struct syn_err *err)
{
    struct syn_shape whole = *shape;
    int rc = syn_shape_complete(&whole, err);

    rc = rc < 0 ? rc : syn_tensor_make(memory, &whole, 0, ret_tensor, err);
    if (rc == SYN_OK)
        syn_kind_give(*ret_tensor);
    return rc;
}

/* A box of rows that end within a byte cannot be copied without its neighbours. */
static int
check_rows(const struct syn_shape *shape, struct syn_err *err)
{
    for (unsigned d = 0; d < shape->dims; d++) {
        if (shape->sizes[d] > 1 && shape->strides[d] == 1 &&
            shape->sizes[d] * syn_shape_bits(shape) % 8 != 0)
            return SYN_FAIL(err, SYN_E_INVALID, "sizes[%u]: rows end within a byte", d);
    }
    return SYN_OK;
}

int
syn_tensor_wrap(struct syn_memory *memory, const struct syn_shape *shape, void *address,
                struct syn_tensor **ret_tensor, struct syn_err *err)
{
    struct syn_shape whole = *shape;
    struct syn_tensor *tensor = NULL;
    bool gaps;
    int rc = syn_shape_complete(&whole, err);

    if (rc == SYN_OK && !address)
        rc = SYN_FAIL(err, SYN_E_INVALID, "there is nothing at address NULL");
    if (rc < 0)
        return rc;
    if (whole.layout == SYN_LAYOUT_STRIDED)
        syn_shape_label(&whole);
    gaps = whole.layout == SYN_LAYOUT_STRIDED;
    if (gaps)
        rc = check_rows(&whole, err);
    rc = rc < 0 ? rc : syn_tensor_make(memory, &whole, gaps ? 1 : 0, &tensor, err);
    if (rc < 0)
        return rc;
    tensor->wrapped = true;
    if (gaps)
        syn_shape_pack(&whole, &tensor->kin->packed[0]);
    syn_kind_give(tensor);
    (void)pthread_mutex_lock(&memory->lock);
    rc = syn_block_wrap(tensor, address, err);
    if (rc < 0)
        syn_tensor_end(tensor);
    (void)pthread_mutex_unlock(&memory->lock);
    if (rc == SYN_OK)
        *ret_tensor = tensor;
    return rc;
}

/* ---- waiting for an acquisition ---- */

struct waiting {
    struct syn_memory_request request; /* first */
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool over;
    int code;
    struct syn_err *err; /* or NULL */
};

static void
waiting_ready(struct syn_memory_request *request, int code, const struct syn_err *why)
{
    struct waiting *waiting = SYN_CONTAINER(request, struct waiting, request);

    (void)pthread_mutex_lock(&waiting->lock);
    waiting->code = code;
    if (code < 0 && waiting->err)
        *waiting->err = *why;
    waiting->over = true;
    (void)pthread_cond_signal(&waiting->done);
    (void)pthread_mutex_unlock(&waiting->lock);
}

int
syn_tensor_await(struct syn_tensor *tensor, unsigned node, enum syn_access access,
                 struct syn_err *err)
{
    const struct syn_memory_use use = {tensor, access};
    struct waiting waiting = {.request.ready = waiting_ready, .err = err};
    int rc;

    (void)pthread_mutex_init(&waiting.lock, NULL);
    (void)pthread_cond_init(&waiting.done, NULL);
    rc = syn_memory_acquire(tensor->memory, node, &use, 1, &waiting.request, err);
    if (rc == SYN_MEMORY_PENDING) {
        (void)pthread_mutex_lock(&waiting.lock);
        while (!waiting.over)
            (void)pthread_cond_wait(&waiting.done, &waiting.lock);
        (void)pthread_mutex_unlock(&waiting.lock);
        rc = waiting.code;
    }
    (void)pthread_cond_destroy(&waiting.done);
    (void)pthread_mutex_destroy(&waiting.lock);
    return rc;
}

/* The last content of what was wrapped to where it belongs. */
static int
bring_home(struct syn_tensor *tensor, struct syn_err *err)
{
    const struct syn_memory_use use = {tensor, SYN_READ};
    int rc = SYN_OK;

    if (tensor->content == SYN_CONTENT_NONE)
        return SYN_OK; /* whatever is there */
    rc = syn_tensor_await(tensor, SYN_NODE_HOST, SYN_READ, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "bringing tensor %llu home",
                            (unsigned long long)tensor->number);
    syn_memory_release(tensor->memory, SYN_NODE_HOST, &use, 1, true);
    return SYN_OK;
}

int
syn_tensor_free(struct syn_tensor *tensor, struct syn_err *err)
{
    struct syn_memory *memory = tensor ? tensor->memory : NULL;
    int rc = SYN_OK;

    if (!tensor)
        return SYN_OK;
    assert(!syn_tensor_parent(tensor)); /* parts end with their whole's division */
    if (syn_tensor_divided(tensor))
        rc = syn_tensor_join(tensor, tensor->wrapped, err);
    if (rc == SYN_OK && tensor->wrapped)
        rc = bring_home(tensor, err);
    (void)pthread_mutex_lock(&memory->lock);
    if (tensor->wrapped)
        syn_tensor_quiet(tensor);
    /* Memory of ours can wait for its last transfer; nobody else has to. */
    if (tensor->moves)
        tensor->dying = true;
    else
        syn_tensor_end(tensor);
    (void)pthread_mutex_unlock(&memory->lock);
    return rc;
}

const struct syn_shape *
syn_tensor_shape(const struct syn_tensor *tensor)
{
    return &tensor->shape;
}

uint64_t
syn_tensor_number(const struct syn_tensor *tensor)
{
    return tensor->number;
}

void *
syn_tensor_user(const struct syn_tensor *tensor)
{
    return atomic_load_explicit(&tensor->user, memory_order_acquire);
}

void
syn_tensor_set_user(struct syn_tensor *tensor, void *user)
{
    atomic_store_explicit(&tensor->user, user, memory_order_release);
}

struct syn_tensor *
syn_tensor_whole(const struct syn_tensor *tensor)
{
    return syn_tensor_parent(tensor);
}
