/* The memory manager: which node has the good content of which tensor, and how it gets to where it
 * is wanted.
 *
 *     tensor --- slot of node 0 --- block (the host's, or the caller's)
 *            \-- slot of node 1 --- block (the device's) --- slots of parts
 *            \-- slot of node 2
 *
 * A slot is one word and one pointer. The word says whether the content is good (VALID), whether it
 * is good nowhere else and nothing is copying it (SOLE), and how many hold it. Everything that
 * happens all the time is one atomic operation on that word:
 *
 *     read           VALID         -> one more hold
 *     write          VALID, SOLE   -> one more hold, one more writer
 *     release        (reader)      -> one hold less
 *     release, ok    SOLE          -> one hold and one writer less
 *
 * Everything else takes the manager's lock: copies, first writes, writes to what others have too,
 * eviction. Who holds the lock changes words by atomic operations as well, and takes nothing away
 * that is held, so the two never wait for each other. The protocol is MSI, seen from a word:
 * modified is VALID and SOLE, shared is VALID, invalid is neither. A clean replica that happens to
 * be the only one is SOLE too; writing it needs no word to anybody, as with MESI's E.
 *
 * What a transfer reads and writes it holds like a task, so nothing on its way is evicted. A writer
 * waits for all transfers of his tensor and none starts while he is at it: no copy is ever torn,
 * and the old content that others have stays good until he is done, in case he fails.
 *
 * Refused:
 * - A lock a tensor. Three uses would be six lock operations, and eviction would take them in an
 *   order of its own.
 * - Versions that make a transfer void when somebody wrote meanwhile. Copies then race with tasks,
 *   and what is left good after a failed task is hard to tell.
 * - Keeping invalid replicas' memory for the next time. The pool gives a block of that size back
 *   just as well, and to whoever comes first.
 * - Completing transfers in the drivers' call backs: they may call no driver, not even to ask
 *   whether the copy went well. See move.c.
 *
 * Files: shape.c (strides), tensor.c (handles), kind.c (those that are alike), claim.c (acquire,
 * release), block.c (pools, eviction), move.c (transfers), divide.c (parts). */
#include "memory_priv.h"

#include <string.h>

#include <synor/base/mem.h>

static int
check_options(const struct syn_memory_options *options, unsigned *ret_nodes, struct syn_err *err)
{
    unsigned nodes = 1;

    if (options->devs_count > SYN_NODES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "devs: at most %u", SYN_NODES_MAX);
    if (options->node_bytes_count > SYN_NODES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "node_bytes: at most %u", SYN_NODES_MAX);
    for (size_t i = 0; i < options->devs_count; i++) {
        const struct syn_dev *dev = options->devs[i];
        bool shared = dev->info.caps & SYN_CAP_HOST_SHARED;

        if (dev->node >= SYN_NODES_MAX || shared != (dev->node == SYN_NODE_HOST))
            return SYN_FAIL(err, SYN_E_INVALID, "devs: %s cannot be on memory node %u",
                            dev->info.id, dev->node);
        nodes = SYN_MAX(nodes, dev->node + 1);
    }
    if (options->registry && nodes > syn_registry_nodes_count(options->registry))
        return SYN_FAIL(err, SYN_E_INVALID, "devs: the registry has %zu memory nodes, not %u",
                        syn_registry_nodes_count(options->registry), nodes);
    *ret_nodes = nodes;
    return SYN_OK;
}

static void
fill_nodes(struct syn_memory *memory, const struct syn_memory_options *options)
{
    for (unsigned n = 0; n < memory->nodes_count; n++)
        syn_node_init(&memory->nodes[n], n);
    for (size_t i = 0; i < options->devs_count; i++) {
        struct syn_dev *dev = options->devs[i];
        struct syn_node *node = &memory->nodes[dev->node];

        memory->devs[memory->devs_count++] = dev;
        if (!memory->pins && dev->info.caps & SYN_CAP_HOST_PINNED)
            memory->pins = dev;
        if (dev->node == SYN_NODE_HOST || node->dev)
            continue;
        node->dev = node->in.dev = node->out.dev = dev;
        node->limit = dev->info.memory_bytes;
    }
    for (unsigned n = 0; n < memory->nodes_count && n < options->node_bytes_count; n++) {
        if (options->node_bytes[n] > 0)
            memory->nodes[n].limit = options->node_bytes[n];
    }
    for (unsigned from = 0; from < memory->nodes_count; from++) {
        for (unsigned to = 0; to < memory->nodes_count; to++)
            syn_move_learn(memory, from, to);
    }
}

static void
memory_free(struct syn_memory *memory)
{
    (void)pthread_mutex_destroy(&memory->lock);
    (void)pthread_mutex_destroy(&memory->bell);
    (void)pthread_cond_destroy(&memory->settled);
    (void)pthread_cond_destroy(&memory->ring);
    syn_kinds_free(memory);
    syn_free(memory->nodes);
    syn_free(memory->costs);
    syn_free(memory->devs);
    syn_free(memory);
}

static struct syn_memory *
memory_alloc(unsigned nodes, size_t devs)
{
    struct syn_memory *memory = syn_calloc(1, sizeof(*memory));
    pthread_condattr_t attr;

    if (!memory)
        return NULL;
    memory->nodes_count = nodes;
    (void)pthread_mutex_init(&memory->lock, NULL);
    (void)pthread_mutex_init(&memory->bell, NULL);
    (void)pthread_cond_init(&memory->settled, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&memory->ring, &attr);
    (void)pthread_condattr_destroy(&attr);
    memory->nodes = syn_calloc(nodes, sizeof(*memory->nodes));
    memory->costs = syn_calloc((size_t)nodes * nodes, sizeof(*memory->costs));
    memory->devs = syn_calloc(devs + 1, sizeof(struct syn_dev *));
    if (memory->nodes && memory->costs && memory->devs)
        return memory;
    memory_free(memory);
    return NULL;
}

int
syn_memory_open(const struct syn_memory_options *options, struct syn_memory **ret_memory,
                struct syn_err *err)
{
    struct syn_memory *memory = NULL;
    unsigned nodes = 0;
    int sys, rc = check_options(options, &nodes, err);

    if (rc < 0)
        return rc;
    memory = memory_alloc(nodes, options->devs_count);
    if (!memory)
        return SYN_FAIL(err, SYN_E_NOMEM, "a memory manager");
    memory->registry = options->registry;
    memory->drop = options->drop;
    memory->trace = options->trace;
    fill_nodes(memory, options);
    sys = pthread_create(&memory->mover, NULL, syn_mover_run, memory);
    if (sys != 0) {
        memory_free(memory);
        return SYN_FAIL_SYS(err, sys, "starting the thread that completes transfers");
    }
    *ret_memory = memory;
    return SYN_OK;
}

struct syn_memory *
syn_memory_close(struct syn_memory *memory)
{
    if (!memory)
        return NULL;
    (void)pthread_mutex_lock(&memory->lock);
    while (memory->moves > 0)
        (void)pthread_cond_wait(&memory->settled, &memory->lock);
    assert(memory->stats.tensors == 0);
    (void)pthread_mutex_unlock(&memory->lock);
    (void)pthread_mutex_lock(&memory->bell);
    memory->closing = true;
    (void)pthread_cond_signal(&memory->ring);
    (void)pthread_mutex_unlock(&memory->bell);
    (void)pthread_join(memory->mover, NULL);
    for (unsigned n = 0; n < memory->nodes_count; n++) {
        struct syn_node *node = &memory->nodes[n];

        syn_channel_fini(&node->in);
        syn_channel_fini(&node->out);
        syn_block_flush(memory, node);
        assert(node->used == 0 && node->cached == 0);
    }
    while (memory->free_claims) {
        struct syn_claim *claim = memory->free_claims;

        memory->free_claims = claim->next;
        syn_free(claim);
    }
    memory_free(memory);
    return NULL;
}

void
syn_memory_stats(struct syn_memory *memory, struct syn_memory_stats *ret_stats)
{
    (void)pthread_mutex_lock(&memory->lock);
    *ret_stats = memory->stats;
    for (unsigned n = 0; n < memory->nodes_count; n++) {
        ret_stats->node_bytes[n] = memory->nodes[n].used;
        ret_stats->node_peak_bytes[n] = memory->nodes[n].peak;
    }
    (void)pthread_mutex_unlock(&memory->lock);
}

/* ---- loss ---- */

/* The tensor's replica there is no good any more. */
static bool
lose_view(struct syn_tensor *tensor, unsigned node)
{
    uint64_t word = atomic_fetch_and(&tensor->slots[node].word,
                                     SYN_SLOT_HOLDS | SYN_SLOT_WRITERS | SYN_SLOT_TOUCHED);
    uint64_t left = tensor->replicas.valid & ~syn_node_bit(node);

    if (!(word & SYN_SLOT_SOLE))
        tensor->writers -= (uint16_t)((word & SYN_SLOT_WRITERS) / SYN_SLOT_WRITER);
    syn_tensor_set_valid(tensor, left);
    if (word & SYN_SLOT_VALID && left == 0)
        tensor->content = SYN_CONTENT_LOST;
    syn_tensor_settle(tensor);
    return word & SYN_SLOT_VALID && left == 0;
}

void
syn_memory_lost(struct syn_memory *memory, unsigned node,
                void (*gone)(void *arg, struct syn_tensor *tensor), void *arg)
{
    struct syn_node *at = syn_node_of(memory, node);

    assert(node != SYN_NODE_HOST);
    SYN_PERTURB();
    (void)pthread_mutex_lock(&memory->lock);
    at->epoch++;
    for (struct syn_block *block = at->list.next, *next; block != &at->list; block = next) {
        struct syn_tensor *tensor = block->owner, *after = NULL;

        next = block->next; /* leaving it may free the block */
        block->spoilt = true;
        for (; tensor; tensor = after) {
            after = syn_tensor_next_view(tensor, block);
            /* Under the lock: without it somebody may end the tensor. Who has ended it, though its
             * last transfer is still under way, is told nothing: what he kept of it is gone. */
            if (lose_view(tensor, node) && gone && !tensor->dying)
                gone(arg, tensor);
        }
    }
    syn_block_flush(memory, at);
    syn_channel_reset(&at->in);
    syn_channel_reset(&at->out);
    (void)pthread_mutex_unlock(&memory->lock);
    syn_mover_kick(memory);
}
