/* Parts. A part is a tensor whose slots refer to its whole's blocks as long as the whole has one on
 * that node, and to packed blocks of its own elsewhere. Dividing hands the whole's replicas to the
 * parts; the whole keeps its blocks, for parts that come back: so gathering costs copies only for
 * what was written elsewhere. */
#include "memory_priv.h"

#include <synor/base/mem.h>

/* ---- dividing ---- */

static uint64_t
part_size(uint64_t size, uint64_t count, uint64_t index)
{
    return size / count + (index < size % count ? 1 : 0);
}

static int
check_division(const struct syn_tensor *tensor, unsigned dim, size_t count, struct syn_err *err)
{
    const struct syn_shape *shape = &tensor->shape;
    uint64_t bits = syn_shape_bits(shape);

    if (syn_tensor_divided(tensor))
        return SYN_FAIL(err, SYN_E_CONFLICT, "tensor %llu is divided already",
                        (unsigned long long)tensor->number);
    if (dim >= shape->dims)
        return SYN_FAIL(err, SYN_E_INVALID, "dim: the tensor has %u, no number %u", shape->dims,
                        dim);
    if (count == 0 || count > SYN_PARTS_MAX || count > shape->sizes[dim])
        return SYN_FAIL(err, SYN_E_INVALID, "count: %llu elements make no %zu parts",
                        (unsigned long long)shape->sizes[dim], count);
    if (tensor->kin && tensor->kin->depth == SYN_DIVIDE_DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "tensor %llu was divided %d times",
                        (unsigned long long)tensor->number, SYN_DIVIDE_DEPTH_MAX);
    for (unsigned d = 0; bits < 8 && d < shape->dims; d++) {
        uint64_t size = shape->sizes[d];
        bool cut = d == dim && count > 1;

        /* Rows begin and end with whole bytes, in all parts. */
        if ((shape->strides[d] == 1 && size > 1 && (size * bits) % 8 != 0) ||
            (cut && shape->strides[d] == 1 &&
             (part_size(size, count, 0) * bits % 8 != 0 || size / count * bits % 8 != 0)))
            return SYN_FAIL(err, SYN_E_INVALID, "count: a part would end within a byte");
    }
    return SYN_OK;
}

/* What a whole needs besides: repeatable. */
static int
make_kin(struct syn_tensor *tensor, size_t count, struct syn_tensor ***ret_parts,
         struct syn_err *err)
{
    struct syn_tensor **parts = syn_calloc(count, sizeof(struct syn_tensor *));
    struct syn_kin *kin = tensor->kin;

    if (parts && !kin)
        kin = syn_calloc(1, sizeof(*kin) + sizeof(struct syn_shape));
    if (!parts || !kin) {
        syn_free(parts);
        return SYN_FAIL(err, SYN_E_NOMEM, "parts of a tensor");
    }
    if (!tensor->kin) {
        syn_shape_pack(&tensor->shape, &kin->packed[0]);
        (void)pthread_mutex_lock(&tensor->memory->lock); /* eviction looks at whole families */
        tensor->kin = kin;
        (void)pthread_mutex_unlock(&tensor->memory->lock);
    }
    *ret_parts = parts;
    return SYN_OK;
}

static int
make_part(struct syn_tensor *whole, unsigned dim, size_t count, size_t index,
          struct syn_tensor **ret_part, struct syn_err *err)
{
    const struct syn_kin *kin = whole->kin;
    struct syn_shape shape = whole->shape;
    uint64_t size = shape.sizes[dim];
    struct syn_tensor *part = NULL;
    int rc;

    shape.sizes[dim] = part_size(size, count, index);
    syn_shape_label(&shape);
    rc = syn_tensor_make(whole->memory, &shape, kin->depth + 2, &part, err);
    if (rc < 0)
        return rc;
    part->kin->whole = whole;
    part->kin->index = index;
    part->kin->dim = dim;
    part->kin->depth = kin->depth + 1;
    part->kin->start = size / count * index + SYN_MIN((uint64_t)index, size % count);
    /* As it lies in blocks of those above it, and in its own. */
    for (unsigned k = 0; k <= kin->depth; k++) {
        part->kin->packed[k] = kin->packed[k];
        part->kin->packed[k].sizes[dim] = shape.sizes[dim];
        syn_shape_label(&part->kin->packed[k]);
    }
    syn_shape_pack(&shape, &part->kin->packed[part->kin->depth]);
    syn_kind_give(part);
    *ret_part = part;
    return SYN_OK;
}

static bool
in_use(const struct syn_tensor *tensor)
{
    for (unsigned node = 0; node < tensor->memory->nodes_count; node++) {
        if (atomic_load(&tensor->slots[node].word) & SYN_SLOT_HOLDS)
            return true;
    }
    return false;
}

/* The whole's replicas become the parts'. */
static void
hand_down(struct syn_tensor *whole, struct syn_tensor *part)
{
    for (uint64_t valid = whole->replicas.valid; valid != 0; valid &= valid - 1) {
        unsigned node = (unsigned)__builtin_ctzll(valid);

        part->slots[node].block = whole->slots[node].block;
        part->slots[node].block->views++;
        atomic_store(&part->slots[node].word, SYN_SLOT_VALID | SYN_SLOT_TOUCHED);
    }
    syn_tensor_set_valid(part, whole->replicas.valid);
    part->content = whole->content;
    syn_tensor_settle(part);
}

static int
divide(struct syn_tensor *tensor, struct syn_tensor **parts, size_t count, struct syn_err *err)
{
    struct syn_memory *memory = tensor->memory;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&memory->lock);
    syn_tensor_quiet(tensor);
    if (in_use(tensor))
        rc = SYN_FAIL(err, SYN_E_CONFLICT, "tensor %llu is in use",
                      (unsigned long long)tensor->number);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        hand_down(tensor, parts[i]);
    if (rc == SYN_OK) {
        for (unsigned node = 0; node < memory->nodes_count; node++)
            atomic_store(&tensor->slots[node].word, 0);
        syn_tensor_set_valid(tensor, 0);
        tensor->kin->parts = parts;
        tensor->kin->parts_count = count;
    }
    (void)pthread_mutex_unlock(&memory->lock);
    return rc;
}

int
syn_tensor_divide(struct syn_tensor *tensor, unsigned dim, size_t count,
                  struct syn_tensor **ret_parts, struct syn_err *err)
{
    struct syn_tensor **parts = NULL;
    int rc = check_division(tensor, dim, count, err);

    rc = rc < 0 ? rc : make_kin(tensor, count, &parts, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = make_part(tensor, dim, count, i, &parts[i], err);
    rc = rc < 0 ? rc : divide(tensor, parts, count, err);
    if (rc < 0) {
        (void)pthread_mutex_lock(&tensor->memory->lock);
        for (size_t i = 0; i < count && parts[i]; i++)
            syn_tensor_end(parts[i]);
        (void)pthread_mutex_unlock(&tensor->memory->lock);
        syn_free(parts);
        return rc;
    }
    for (size_t i = 0; i < count; i++)
        ret_parts[i] = parts[i];
    return SYN_OK;
}

/* ---- gathering ---- */

struct gathering {
    struct syn_tensor *whole;
    unsigned node;
    bool on; /* go on where a part cannot be had */
};

/* Is the part's replica on `node` a piece of the whole's? */
static bool
in_place(const struct syn_tensor *whole, const struct syn_tensor *part, unsigned node)
{
    const struct syn_block *block = part->slots[node].block;

    return part->replicas.valid & syn_node_bit(node) && block == whole->slots[node].block;
}

/* Nobody uses the parts, none is divided, none is lost. Locked. */
static int
check_parts(struct syn_tensor *whole, bool on, struct syn_err *err)
{
    for (size_t i = 0; i < whole->kin->parts_count; i++) {
        struct syn_tensor *part = whole->kin->parts[i];

        syn_tensor_quiet(part);
        if (syn_tensor_divided(part))
            return SYN_FAIL(err, SYN_E_CONFLICT, "part %zu of tensor %llu is divided", i,
                            (unsigned long long)whole->number);
        if (in_use(part))
            return SYN_FAIL(err, SYN_E_CONFLICT, "part %zu of tensor %llu is in use", i,
                            (unsigned long long)whole->number);
    }
    for (size_t i = 0; !on && i < whole->kin->parts_count; i++) {
        if (whole->kin->parts[i]->content == SYN_CONTENT_LOST)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                            "part %zu of tensor %llu was lost with its device", i,
                            (unsigned long long)whole->number);
    }
    return SYN_OK;
}

/* The node with most of it in place; of equals, with most of it at all. Locked. */
static unsigned
best_node(struct syn_tensor *whole)
{
    unsigned best = SYN_NODE_HOST;
    uint64_t best_in_place = 0, best_valid = 0;

    for (unsigned node = 0; node < whole->memory->nodes_count; node++) {
        const struct syn_dev *dev = whole->memory->nodes[node].dev;
        uint64_t there = 0, valid = 0;

        if (dev && atomic_load(&dev->lost))
            continue;
        (void)syn_block_share(whole, node);
        for (size_t i = 0; i < whole->kin->parts_count; i++) {
            const struct syn_tensor *part = whole->kin->parts[i];

            if (part->replicas.valid & syn_node_bit(node))
                valid += part->replicas.bytes;
            if (in_place(whole, part, node))
                there += part->replicas.bytes;
        }
        if (there > best_in_place || (there == best_in_place && valid > best_valid)) {
            best = node;
            best_in_place = there;
            best_valid = valid;
        }
    }
    return best;
}

/* Memory for the whole on `node`, and a hold on it. SYN_MEMORY_ROOM on a device: nobody waits for
 * that here. Who gathers may be the device's own thread, and what lies there may be held by a call
 * that only this thread ends. Waits for the host's. Locked. */
static int
hold_whole(struct syn_tensor *whole, unsigned node, struct syn_err *err)
{
    struct syn_memory *memory = whole->memory;
    int rc = syn_block_for(whole, node, SYN_ROOM_HOME, NULL, err);

    if (rc == SYN_MEMORY_ROOM && node == SYN_NODE_HOST) {
        /* As a claim does: be seen waiting, then look again. */
        (void)atomic_fetch_add(&memory->hungry, 1);
        while ((rc = syn_block_for(whole, node, SYN_ROOM_HOME, NULL, err)) == SYN_MEMORY_ROOM)
            (void)pthread_cond_wait(&memory->settled, &memory->lock);
        (void)atomic_fetch_sub(&memory->hungry, 1);
    }
    if (rc == SYN_OK)
        (void)atomic_fetch_add(&whole->slots[node].word, SYN_SLOT_HOLD);
    return rc;
}

/* Bring the part into its place and hold it there. */
static int
bring_part(const struct gathering *g, struct syn_tensor *part, struct syn_err *err)
{
    const struct syn_memory_use use = {part, SYN_READ};
    struct syn_block *whole = g->whole->slots[g->node].block, *block = NULL;
    int rc = syn_tensor_await(part, g->node, SYN_READ, err);

    if (rc < 0)
        return rc;
    block = part->slots[g->node].block;
    /* It may have come here before the whole had a block. */
    if (block != whole)
        rc = syn_move_within(part, g->node, whole, block, err);
    if (rc < 0)
        syn_memory_release(part->memory, g->node, &use, 1, true);
    return rc;
}

/* All parts, and holds on those up to *ret_held that have content. */
static int
bring_parts(const struct gathering *g, size_t *ret_held, struct syn_err *err)
{
    struct syn_memory *memory = g->whole->memory;
    const struct syn_kin *kin = g->whole->kin;
    struct syn_err why = {0};
    int rc = SYN_OK;
    size_t i = 0;

    for (i = 0; i < kin->parts_count; i++)
        syn_memory_prefetch(memory, g->node, kin->parts[i]);
    for (i = 0; i < kin->parts_count; i++) {
        int one = SYN_OK;

        if (kin->parts[i]->content != SYN_CONTENT_NONE)
            one = bring_part(g, kin->parts[i], &why);
        if (one < 0 && rc == SYN_OK) {
            rc = one;
            if (err)
                *err = why;
        }
        if (one < 0 && !g->on)
            break;
        if (one < 0) {
            (void)pthread_mutex_lock(&memory->lock);
            kin->parts[i]->content = SYN_CONTENT_NONE; /* and not held */
            (void)pthread_mutex_unlock(&memory->lock);
        }
    }
    *ret_held = i;
    return rc;
}

/* While one is waited for, another may be written back. Locked. */
static void
quiet_parts(struct syn_tensor *whole)
{
    for (size_t i = 0; i < whole->kin->parts_count;) {
        bool moved = whole->kin->parts[i]->moves;

        syn_tensor_quiet(whole->kin->parts[i]);
        i = moved ? 0 : i + 1;
    }
}

/* The whole takes over what its parts have in place on `node`, or on all nodes when that is all of
 * it. Locked. */
static void
take_over(struct syn_tensor *whole, unsigned gathered)
{
    struct syn_memory *memory = whole->memory;
    uint64_t valid = 0;
    bool good = false;

    for (size_t i = 0; i < whole->kin->parts_count; i++)
        good |= whole->kin->parts[i]->content == SYN_CONTENT_GOOD;
    for (unsigned node = 0; good && node < memory->nodes_count; node++) {
        bool all = whole->slots[node].block != NULL;

        for (size_t i = 0; all && node != gathered && i < whole->kin->parts_count; i++)
            all = in_place(whole, whole->kin->parts[i], node) ||
                  whole->kin->parts[i]->content == SYN_CONTENT_NONE;
        if (all && !whole->slots[node].block->spoilt)
            valid |= syn_node_bit(node);
    }
    whole->content = good ? SYN_CONTENT_GOOD : SYN_CONTENT_NONE;
    syn_tensor_set_valid(whole, valid);
}

/* End the parts; the whole is what `valid` of it says. Locked. */
static void
end_parts(struct syn_tensor *whole)
{
    struct syn_kin *kin = whole->kin;
    size_t count = kin->parts_count;

    kin->parts_count = 0;
    for (size_t i = 0; i < count; i++)
        syn_tensor_end(kin->parts[i]);
    syn_free(kin->parts);
    kin->parts = NULL;
    for (unsigned node = 0; node < whole->memory->nodes_count; node++) {
        struct syn_slot *slot = &whole->slots[node];

        if (whole->replicas.valid & syn_node_bit(node))
            (void)atomic_fetch_or(&slot->word, SYN_SLOT_VALID | SYN_SLOT_TOUCHED);
        else if (slot->block && !slot->block->fixed)
            syn_block_leave(whole, node);
    }
    syn_tensor_settle(whole);
}

/* A gathering holds the whole and some parts while it waits for others, as a privileged claim does.
 * Where the host has no limit nobody waits for the host's room, and no order is needed. Locked. */
static void
enter(struct syn_tensor *tensor)
{
    struct syn_memory *memory = tensor->memory;

    if (memory->nodes[SYN_NODE_HOST].limit == 0)
        return;
    (void)atomic_fetch_add(&memory->hungry, 1);
    while (memory->privileged)
        (void)pthread_cond_wait(&memory->settled, &memory->lock);
    (void)atomic_fetch_sub(&memory->hungry, 1);
    memory->privileged = tensor;
}

static void
leave(struct syn_tensor *tensor)
{
    if (tensor->memory->privileged == tensor)
        tensor->memory->privileged = NULL;
    if (atomic_load(&tensor->memory->hungry) > 0)
        syn_mover_kick(tensor->memory);
}

/* Make the tensor whole. What cannot be had keeps it divided, or, with `on`, is left out.
 */
static int
gather(struct syn_tensor *tensor, bool home, bool on, struct syn_err *err)
{
    struct syn_memory *memory = tensor->memory;
    struct gathering g = {.whole = tensor, .on = on};
    size_t held = 0;
    int rc;

    (void)pthread_mutex_lock(&memory->lock);
    enter(tensor);
    rc = check_parts(tensor, on, err);
    if (rc == SYN_OK) {
        g.node = home ? SYN_NODE_HOST : best_node(tensor);
        rc = hold_whole(tensor, g.node, err);
        if (rc == SYN_MEMORY_ROOM || (rc == SYN_E_NOSPACE && g.node != SYN_NODE_HOST)) {
            g.node = SYN_NODE_HOST;
            rc = hold_whole(tensor, g.node, err);
        }
    }
    if (rc < 0)
        leave(tensor);
    (void)pthread_mutex_unlock(&memory->lock);
    if (rc < 0)
        return rc;
    SYN_PERTURB();
    rc = bring_parts(&g, &held, err);
    SYN_PERTURB();
    (void)pthread_mutex_lock(&memory->lock);
    /* While it is held: that waits without the lock, and what nobody holds can be thrown out. */
    if (rc == SYN_OK || on)
        quiet_parts(tensor);
    for (size_t i = 0; i < held; i++) {
        struct syn_tensor *part = tensor->kin->parts[i];

        if (part->content != SYN_CONTENT_NONE)
            (void)atomic_fetch_sub(&part->slots[g.node].word, SYN_SLOT_HOLD);
    }
    (void)atomic_fetch_sub(&tensor->slots[g.node].word, SYN_SLOT_HOLD);
    if (rc == SYN_OK || on) {
        take_over(tensor, g.node);
        end_parts(tensor);
    }
    leave(tensor);
    (void)pthread_mutex_unlock(&memory->lock);
    return rc;
}

int
syn_tensor_gather(struct syn_tensor *tensor, struct syn_err *err)
{
    if (!syn_tensor_divided(tensor))
        return SYN_FAIL(err, SYN_E_INVALID, "tensor %llu is not divided",
                        (unsigned long long)tensor->number);
    return gather(tensor, false, false, err);
}

void
syn_tensor_abandon(struct syn_tensor *tensor)
{
    (void)pthread_mutex_lock(&tensor->memory->lock);
    quiet_parts(tensor);
    tensor->content = SYN_CONTENT_NONE;
    for (size_t i = 0; i < tensor->kin->parts_count; i++) {
        if (tensor->kin->parts[i]->content == SYN_CONTENT_LOST)
            tensor->content = SYN_CONTENT_LOST;
    }
    end_parts(tensor);
    (void)pthread_mutex_unlock(&tensor->memory->lock);
}

int
syn_tensor_join(struct syn_tensor *tensor, bool home, struct syn_err *err)
{
    struct syn_tensor *at = tensor;
    size_t next = 0;
    int rc = SYN_OK;

    /* Those below first. */
    while (syn_tensor_divided(tensor)) {
        const struct syn_kin *kin = at->kin;
        int one = SYN_OK;

        while (next < kin->parts_count && !syn_tensor_divided(kin->parts[next]))
            next++;
        if (next < kin->parts_count) {
            at = kin->parts[next];
            next = 0;
            continue;
        }
        if (home)
            one = gather(at, true, true, rc == SYN_OK ? err : NULL);
        rc = rc == SYN_OK ? one : rc;
        if (syn_tensor_divided(at))
            syn_tensor_abandon(at);
        next = kin->index + 1;
        at = kin->whole;
    }
    return rc;
}
