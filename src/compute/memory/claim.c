/* Acquisitions. What is there already is held by one atomic operation a use; everything else
 * becomes a claim, which is run again whenever something happened, until it holds all its uses:
 *
 *     of each use not held:  there -> hold;  on its way -> join;  elsewhere -> begin to copy
 *     no room                -> stand in the node's queue
 *
 * Two that each hold what the other one lacks would wait for ever. So of all who wait for room, on
 * whatever node, one is privileged and keeps what it holds; the others hold nothing while they wait
 * and start afresh. The privileged waits for tasks and transfers only, which end by themselves. */
#include "memory_priv.h"

#include <string.h>

#include <synor/base/mem.h>

static_assert(SYN_MEMORY_USES_MAX <= 32, "uses are bits of a word");

/* ---- holds ---- */

static inline bool
writes(enum syn_access access)
{
    return access & SYN_WRITE;
}

/* Hold what is valid; for writing only what is nowhere else. */
static inline bool
try_hold(struct syn_slot *slot, enum syn_access access)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed), held;
    uint64_t need = SYN_SLOT_VALID | (writes(access) ? SYN_SLOT_SOLE : 0);

    do {
        if ((word & need) != need)
            return false;
        SYN_PERTURB();
        held = ((word | SYN_SLOT_TOUCHED) & ~SYN_SLOT_AHEAD) + SYN_SLOT_HOLD +
               (writes(access) ? SYN_SLOT_WRITER : 0);
    } while (!atomic_compare_exchange_weak(&slot->word, &word, held));
    return true;
}

/* Hold what others have too, or what is to be written for the first time. Locked. */
static void
hold_slowly(struct syn_claim *claim, size_t i)
{
    struct syn_tensor *tensor = claim->uses[i].tensor;
    bool writer = writes(claim->uses[i].access);

    (void)atomic_fetch_or(&tensor->slots[claim->node].word, SYN_SLOT_TOUCHED);
    (void)atomic_fetch_add(&tensor->slots[claim->node].word,
                           SYN_SLOT_HOLD + (writer ? SYN_SLOT_WRITER : 0));
    if (!writer)
        return;
    tensor->writers++;
    claim->slow |= SYN_BIT(i);
    syn_tensor_settle(tensor);
}

static void
unhold(struct syn_claim *claim, size_t i)
{
    struct syn_tensor *tensor = claim->uses[i].tensor;
    struct syn_slot *slot = &tensor->slots[claim->node];
    uint64_t hold = SYN_SLOT_HOLD + (writes(claim->uses[i].access) ? SYN_SLOT_WRITER : 0);
    uint64_t word = atomic_fetch_sub(&slot->word, hold) - hold;

    if (claim->slow & SYN_BIT(i) && !slot->block->spoilt)
        tensor->writers--;
    if (!(word & (SYN_SLOT_VALID | SYN_SLOT_HOLDS)))
        syn_tensor_drop(tensor, claim->node);
    syn_tensor_settle(tensor);
}

/* ---- claims ---- */

static struct syn_claim *
claim_take(struct syn_memory *memory)
{
    struct syn_claim *claim = memory->free_claims;

    if (claim)
        memory->free_claims = claim->next;
    else
        claim = syn_alloc(sizeof(*claim));
    if (claim) {
        memset(claim, 0, sizeof(*claim));
        claim->memory = memory;
        claim->queued = -1;
    }
    return claim;
}

static void
claim_put(struct syn_claim *claim)
{
    claim->next = claim->memory->free_claims;
    claim->memory->free_claims = claim;
}

static void
join_move(struct syn_claim *claim, size_t i, struct syn_move *move)
{
    struct syn_join *link = &claim->links[i];

    *link = (struct syn_join){claim, move, move->links};
    move->links = link;
}

static void
leave_move(struct syn_join *link)
{
    struct syn_join **at = &link->move->links;

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    link->move = NULL;
}

/* The claim itself, or the gathering that it is for. */
bool
syn_claim_privileged(const struct syn_claim *claim)
{
    const void *privileged = claim->memory->privileged;
    const struct syn_tensor *whole = syn_tensor_parent(claim->uses[0].tensor);

    return privileged && (privileged == claim || privileged == whole);
}

static void
enqueue(struct syn_claim *claim, unsigned node)
{
    struct syn_node *at = &claim->memory->nodes[node];

    claim->next = NULL;
    claim->queued = (int)node;
    if (!at->queue) {
        at->queue = at->queue_last = claim;
    } else if (syn_claim_privileged(claim)) {
        claim->next = at->queue;
        at->queue = claim;
    } else {
        at->queue_last->next = claim;
        at->queue_last = claim;
    }
    (void)atomic_fetch_add(&claim->memory->hungry, 1);
}

static void
dequeue(struct syn_claim *claim)
{
    struct syn_node *at = NULL;

    if (claim->queued < 0)
        return;
    at = &claim->memory->nodes[claim->queued];
    assert(at->queue == claim); /* only the first is ever run */
    at->queue = claim->next;
    claim->queued = -1;
    (void)atomic_fetch_sub(&claim->memory->hungry, 1);
    if (at->queue)
        syn_mover_kick(claim->memory);
}

/* Let go of everything, as if it had just come. */
static void
unwind(struct syn_claim *claim)
{
    for (size_t i = 0; i < claim->count; i++) {
        if (claim->links[i].move)
            leave_move(&claim->links[i]);
        if (claim->request && claim->held & SYN_BIT(i))
            unhold(claim, i);
    }
    claim->held = claim->slow = 0;
}

/* Others may get now what this one let go, or be privileged. */
static void
step_aside(struct syn_claim *claim)
{
    struct syn_memory *memory = claim->memory;

    dequeue(claim);
    if (memory->privileged == claim)
        memory->privileged = NULL;
    if (atomic_load(&memory->hungry) > 0)
        syn_mover_kick(memory);
}

/* May it keep what it holds while it waits for room? Then it may until it ends. */
static bool
be_privileged(struct syn_claim *claim)
{
    if (!claim->memory->privileged)
        claim->memory->privileged = claim;
    return syn_claim_privileged(claim);
}

/* What the claim as a whole does with the tensor of use `i`. */
static unsigned
all_access(const struct syn_claim *claim, size_t i)
{
    unsigned access = 0;

    for (size_t k = 0; k < claim->count; k++)
        access |= claim->uses[k].tensor == claim->uses[i].tensor ? claim->uses[k].access : 0;
    return access;
}

/* Begin to bring the content. */
static int
fetch(struct syn_claim *claim, size_t i, unsigned *ret_where, struct syn_err *err)
{
    struct syn_tensor *tensor = claim->uses[i].tensor;
    unsigned from = 0, hop = 0;
    struct syn_move *move = NULL;
    int rc;

    if (!syn_move_route(tensor, claim->node, &from, &hop)) {
        if (tensor->content == SYN_CONTENT_NONE)
            return SYN_FAIL(
                err, SYN_E_INVALID,
                "tensor %llu is read and holds nothing: never written, or by a task that failed",
                (unsigned long long)tensor->number);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "tensor %llu was lost with its device",
                        (unsigned long long)tensor->number);
    }
    *ret_where = hop;
    move = syn_move_find(tensor, hop);
    if (!move) {
        rc = syn_move_begin(tensor, from, hop, claim->request ? SYN_ROOM_CLAIM : SYN_ROOM_AHEAD,
                            claim, err);
        if (rc != SYN_OK)
            return rc;
        move = tensor->moves;
    }
    join_move(claim, i, move);
    return SYN_MEMORY_WAITS;
}

/* One use of a claim. 0: held; SYN_MEMORY_WAITS: linked; SYN_MEMORY_ROOM: *ret_where is short. */
static int
run_use(struct syn_claim *claim, size_t i, unsigned *ret_where, struct syn_err *err)
{
    struct syn_tensor *tensor = claim->uses[i].tensor;
    struct syn_slot *slot = &tensor->slots[claim->node];
    bool writer = writes(claim->uses[i].access);
    struct syn_move *move = syn_move_find(tensor, claim->node);
    const struct syn_dev *dev = claim->memory->nodes[claim->node].dev;
    int rc = SYN_OK;

    if (syn_tensor_divided(tensor))
        return SYN_FAIL(err, SYN_E_INVALID, "tensor %llu is divided",
                        (unsigned long long)tensor->number);
    if (claim->request && try_hold(slot, claim->uses[i].access))
        return SYN_OK;
    if (!dev && claim->node != SYN_NODE_HOST)
        return SYN_FAIL(err, SYN_E_INVALID, "there is no device on node %u", claim->node);
    if (dev && atomic_load(&dev->lost))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s is lost", dev->info.id);
    /* Who writes waits for all who read; and what a loss left behind goes with its last transfer.
     */
    if (!move && (writer || (slot->block && slot->block->spoilt)))
        move = tensor->moves;
    if (move) {
        join_move(claim, i, move);
        return SYN_MEMORY_WAITS;
    }
    if (!(atomic_load(&slot->word) & SYN_SLOT_VALID)) {
        if (all_access(claim, i) & SYN_READ)
            return fetch(claim, i, ret_where, err);
        *ret_where = claim->node;
        rc = syn_block_for(tensor, claim->node, SYN_ROOM_CLAIM, claim, err);
    }
    if (rc == SYN_OK && claim->request)
        hold_slowly(claim, i);
    return rc;
}

/* No room on `where`: stand in its queue. True: look again. */
static bool
queue_up(struct syn_claim *claim, unsigned where)
{
    const struct syn_node *node = &claim->memory->nodes[where];
    bool fresh = claim->queued != (int)where, first;

    if (fresh)
        dequeue(claim);
    first = node->queue == NULL || node->queue == claim || syn_claim_privileged(claim);
    /* Who releases looks at `hungry` after that, and we set it before we look again: one of us sees
     * the other. */
    if (fresh)
        enqueue(claim, where);
    if (fresh && first)
        return true;
    if (!first || !be_privileged(claim))
        unwind(claim);
    return false;
}

/* As far as it gets. 0: holds everything; SYN_MEMORY_PENDING; errors. */
static int
claim_run(struct syn_claim *claim, struct syn_err *err)
{
    bool waits = false;
    unsigned where = 0;

    for (size_t i = 0; i < claim->count; i++) {
        int rc;

        waits |= claim->links[i].move != NULL;
        if (claim->links[i].move || claim->held & SYN_BIT(i))
            continue;
        rc = run_use(claim, i, &where, err);
        if (rc < 0)
            return rc;
        if (rc == SYN_OK)
            claim->held |= SYN_BIT(i);
        waits |= rc == SYN_MEMORY_WAITS;
        if (rc != SYN_MEMORY_ROOM)
            continue;
        if (!claim->request)
            return SYN_FAIL(err, SYN_E_NOSPACE, "no room for what is not needed yet");
        if (!queue_up(claim, where))
            return SYN_MEMORY_PENDING;
        i--;
    }
    dequeue(claim);
    return waits ? SYN_MEMORY_PENDING : SYN_OK;
}

/* It is over: 0 or < 0. */
static void
claim_end(struct syn_claim *claim, int code, const struct syn_err *why)
{
    struct syn_memory *memory = claim->memory;

    if (code < 0)
        unwind(claim);
    step_aside(claim);
    if (!claim->request) {
        claim_put(claim);
        return;
    }
    claim->code = code;
    if (code < 0)
        claim->err = *why;
    claim->next = memory->finished;
    memory->finished = claim;
}

static void
claim_again(struct syn_claim *claim)
{
    struct syn_err err = {0};
    int rc = claim_run(claim, &err);

    if (rc != SYN_MEMORY_PENDING)
        claim_end(claim, rc, &err);
}

void
syn_claim_told(struct syn_join *link, int code, const struct syn_err *why)
{
    struct syn_claim *claim = link->claim;

    if (!claim->request && (code < 0 || claim->uses[0].tensor->dying)) {
        claim_put(claim); /* it has one use */
        return;
    }
    /* Where a device was lost there may be another source. */
    if (code < 0 && (code != SYN_E_UNAVAILABLE || ++claim->tries >= SYN_MOVE_TRIES_MAX))
        claim_end(claim, code, why);
    else
        claim_again(claim);
}

/* Where the host is short as well, two that go over it could throw out each other's copies there
 * for ever: then only the privileged one tries. */
void
syn_claim_retry(struct syn_memory *memory)
{
    bool alone = memory->nodes[SYN_NODE_HOST].limit > 0;

    for (unsigned node = 0; node < memory->nodes_count; node++) {
        struct syn_claim *first = NULL;

        while (memory->nodes[node].queue && memory->nodes[node].queue != first) {
            first = memory->nodes[node].queue;
            if (!alone || be_privileged(first))
                claim_again(first);
        }
    }
}

void
syn_claim_deliver(struct syn_memory *memory)
{
    struct syn_claim *list = NULL, *next = NULL;

    (void)pthread_mutex_lock(&memory->lock);
    for (struct syn_claim *claim = SYN_TAKE(memory->finished); claim; claim = next) {
        next = claim->next; /* the first to finish comes first */
        claim->next = list;
        list = claim;
    }
    (void)pthread_mutex_unlock(&memory->lock);
    for (struct syn_claim *claim = list; claim; claim = claim->next) {
        SYN_PERTURB();
        claim->request->ready(claim->request, claim->code, claim->code < 0 ? &claim->err : NULL);
    }
    (void)pthread_mutex_lock(&memory->lock);
    for (; list; list = next) {
        next = list->next;
        claim_put(list);
    }
    (void)pthread_mutex_unlock(&memory->lock);
}

/* ---- the engine's calls ---- */

/* The first `held` uses are. */
static int
acquire_slowly(struct syn_memory *memory, unsigned node, const struct syn_memory_use *uses,
               size_t count, size_t held, struct syn_memory_request *request, struct syn_err *err)
{
    struct syn_claim *claim = NULL, stand_in = {.memory = memory, .queued = -1};
    int rc;

    assert(request);
    (void)pthread_mutex_lock(&memory->lock);
    claim = claim_take(memory);
    rc = claim ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "a claim on %zu tensors", count);
    if (!claim)
        claim = &stand_in;
    claim->request = request;
    memcpy(claim->uses, uses, count * sizeof(*uses));
    claim->count = count;
    claim->node = node;
    claim->held = (uint32_t)((UINT64_C(1) << held) - 1);
    rc = rc < 0 ? rc : claim_run(claim, err);
    if (rc < 0)
        unwind(claim);
    if (rc != SYN_MEMORY_PENDING)
        step_aside(claim);
    else if (atomic_load(&memory->hungry) > 0)
        syn_mover_kick(memory); /* it may have let go of something */
    if (rc == SYN_MEMORY_PENDING) {
        memory->stats.waits++;
    } else if (claim != &stand_in) {
        claim_put(claim);
    }
    (void)pthread_mutex_unlock(&memory->lock);
    return rc;
}

int
syn_memory_acquire(struct syn_memory *memory, unsigned node, const struct syn_memory_use *uses,
                   size_t count, struct syn_memory_request *request, struct syn_err *err)
{
    size_t held = 0;

    assert(count <= SYN_MEMORY_USES_MAX && node < memory->nodes_count);
    while (held < count && try_hold(&uses[held].tensor->slots[node], uses[held].access))
        held++;
    if (__builtin_expect(held == count, 1))
        return SYN_OK;
    SYN_PERTURB();
    return acquire_slowly(memory, node, uses, count, held, request, err);
}

/* A writer that was not alone lets go, or one that failed. Locked. */
static void
release_written(struct syn_tensor *tensor, unsigned node, bool ok)
{
    struct syn_slot *slot = &tensor->slots[node];
    uint64_t word = atomic_fetch_sub(&slot->word, SYN_SLOT_HOLD + SYN_SLOT_WRITER);
    bool spoilt = slot->block->spoilt;

    assert((word & SYN_SLOT_WRITERS) > 0);
    if (!spoilt && !(word & SYN_SLOT_SOLE)) {
        assert(tensor->writers > 0);
        tensor->writers--;
    }
    if (spoilt || !ok) {
        syn_tensor_drop(tensor, node);
    } else {
        uint64_t others = tensor->replicas.valid & ~syn_node_bit(node);

        tensor->content = SYN_CONTENT_GOOD;
        syn_tensor_set_valid(tensor, tensor->replicas.valid | syn_node_bit(node));
        (void)atomic_fetch_or(&slot->word, SYN_SLOT_VALID | SYN_SLOT_TOUCHED);
        for (; others != 0; others &= others - 1)
            syn_tensor_drop(tensor, (unsigned)__builtin_ctzll(others));
    }
    syn_tensor_settle(tensor);
}

static bool
release_one(const struct syn_memory_use *use, unsigned node, bool ok)
{
    struct syn_slot *slot = &use->tensor->slots[node];
    uint64_t word;

    if (!writes(use->access)) {
        word = atomic_fetch_sub(&slot->word, SYN_SLOT_HOLD);
        assert((word & SYN_SLOT_HOLDS) > 0);
        return true;
    }
    word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    do {
        if (!ok || !(word & SYN_SLOT_SOLE))
            return false;
        SYN_PERTURB();
    } while (
        !atomic_compare_exchange_weak(&slot->word, &word, word - SYN_SLOT_HOLD - SYN_SLOT_WRITER));
    return true;
}

void
syn_memory_release(struct syn_memory *memory, unsigned node, const struct syn_memory_use *uses,
                   size_t count, bool ok)
{
    for (size_t i = 0; i < count; i++) {
        if (__builtin_expect(release_one(&uses[i], node, ok), 1))
            continue;
        SYN_PERTURB();
        (void)pthread_mutex_lock(&memory->lock);
        release_written(uses[i].tensor, node, ok);
        (void)pthread_mutex_unlock(&memory->lock);
    }
    SYN_PERTURB();
    if (__builtin_expect(atomic_load(&memory->hungry) > 0, 0))
        syn_mover_kick(memory);
}

void
syn_memory_prefetch(struct syn_memory *memory, unsigned node, struct syn_tensor *tensor)
{
    uint64_t valid = __atomic_load_n(&tensor->replicas.valid, __ATOMIC_RELAXED);
    struct syn_claim *claim = NULL;

    assert(node < memory->nodes_count);
    if (valid == 0 || valid & syn_node_bit(node))
        return;
    (void)pthread_mutex_lock(&memory->lock);
    claim = claim_take(memory);
    if (claim) {
        claim->uses[0] = (struct syn_memory_use){tensor, SYN_READ};
        claim->count = 1;
        claim->node = node;
        if (claim_run(claim, NULL) != SYN_MEMORY_PENDING)
            claim_put(claim);
    }
    (void)pthread_mutex_unlock(&memory->lock);
}
