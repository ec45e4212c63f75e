/* The memory manager's inside, shared by the files of its room. memory.c opens with how it works.
 *
 * Everything here but what is atomic is guarded by the manager's lock, unless it says otherwise. */
#ifndef SYN_COMPUTE_MEMORY_ROOM_PRIV_H
#define SYN_COMPUTE_MEMORY_ROOM_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include <synor/compute/memory.h>

#include "../perturb_priv.h"

#define SYN_BLOCK_CLASSES    (64 * 8) /* sizes of blocks: eight steps to each doubling */
#define SYN_EVICT_WINDOW_MAX 32       /* candidates looked at before a modified one has to go */
#define SYN_MOVE_TRIES_MAX   4        /* of a copy that others' failures took with them */
#define SYN_KIND_CHAINS      256      /* lists of kinds, by hash */
#define SYN_CACHE_MIN_BYTES  (UINT64_C(64) << 20) /* of free host blocks kept in any case */

/* A slot's word: who holds the replica, and how good it is. Changed with and without the lock;
 * without it only by who takes or gives back a hold. */
#define SYN_SLOT_HOLD    UINT64_C(1)
#define SYN_SLOT_HOLDS   UINT64_C(0xffffffff)
#define SYN_SLOT_WRITER  (UINT64_C(1) << 32) /* of the holds, who writes */
#define SYN_SLOT_WRITERS (UINT64_C(0xffff) << 32)
#define SYN_SLOT_VALID   (UINT64_C(1) << 48)
#define SYN_SLOT_SOLE    (UINT64_C(1) << 49) /* no other is valid, and no transfer is on its way */
#define SYN_SLOT_TOUCHED (UINT64_C(1) << 50) /* used since eviction looked last */
#define SYN_SLOT_AHEAD   (UINT64_C(1) << 51) /* prefetched, not used yet */

struct syn_move;
struct syn_claim;
struct syn_tensor_kind;

/* Memory on a node: a replica's own, shared by the parts of what it is a replica of, or free. */
struct syn_block {
    struct syn_dev_buf *buf;       /* NULL on the host */
    void *host;                    /* NULL where the host does not reach it */
    struct syn_dev *pinned;        /* whose host_alloc made it; NULL: nobody's */
    struct syn_tensor *owner;      /* whose layout it has; NULL: free */
    struct syn_block *prev, *next; /* in the node's list of used ones, or a list of free ones */
    uint64_t bytes;
    uint64_t registered; /* bit n: pinned for device n of the manager */
    uint32_t views;      /* slots that refer to it */
    uint8_t node;
    bool packed; /* elements lie packed; else as the owner's shape says */
    bool fixed;  /* the caller's */
    bool spoilt; /* of a device that was lost: only good for being freed */
};

/* A tensor's replica on one node. `block` is set before, and taken away after, anybody can hold
 * it. */
struct syn_slot {
    _Atomic uint64_t word;
    struct syn_block *block;
};

enum syn_content {
    SYN_CONTENT_NONE, /* never written, or spoilt by a task that failed */
    SYN_CONTENT_GOOD,
    SYN_CONTENT_LOST, /* with a device */
};

/* What submitters read comes first, what workers write last, so that they share no lines. */
struct syn_tensor {
    struct syn_replicas replicas; /* first: strategies look at it, see syn_tensor_of() */
    struct syn_memory *memory;
    _Atomic(void *) user; /* the engine's word */
    uint64_t number;
    uint32_t kind; /* 0: none; see kind.c */
    struct syn_shape shape;
    /* Of what is divided, part of something, or wrapped with gaps. A whole gets it when it is first
     * divided, while others may ask how it lies in memory: set once, whole by then. */
    _Atomic(struct syn_kin *) kin;
    struct syn_move *moves; /* transfers on their way */
    uint16_t writers;       /* who hold it for writing while others may be valid */
    uint8_t content;        /* enum syn_content */
    bool wrapped;
    bool dying; /* freed when its last transfer is over */
    struct syn_slot slots[];
};

static_assert(offsetof(struct syn_tensor, replicas) == 0,
              "a tensor begins with what strategies see");

/* Layouts: a block of the owner at depth d is `shape` or, packed, `packed[d]`, with this tensor's
 * sizes. */
struct syn_kin {
    struct syn_tensor *whole; /* NULL: not a part */
    struct syn_tensor **parts;
    size_t parts_count; /* 0: not divided */
    size_t index;       /* among the whole's parts */
    uint64_t start;     /* of the whole's elements along `dim` */
    unsigned dim;
    unsigned depth;
    struct syn_shape packed[]; /* depth + 1 */
};

/* A box of bytes as one or more copies. */
struct syn_box {
    uint64_t row_bytes;
    unsigned dims;                    /* beyond the row */
    uint64_t counts[SYN_DIMS_MAX];    /* the finest first */
    uint64_t dst_pitch[SYN_DIMS_MAX]; /* bytes */
    uint64_t src_pitch[SYN_DIMS_MAX];
};

/* Whoever waits for a transfer. */
struct syn_join {
    struct syn_claim *claim;
    struct syn_move *move; /* NULL: not linked */
    struct syn_join *next;
};

/* A transfer, and the event it signals; made once and used again by its channel. */
struct syn_move {
    struct syn_memory *memory;
    struct syn_channel *channel;
    struct syn_dev_event *event;
    struct syn_move *next; /* of the tensor's, or idle ones */
    struct syn_move *rung; /* list of what is done, or has to be asked */
    struct syn_join *links;
    struct syn_tensor *tensor;
    uint64_t bytes;
    int64_t started_ns;
    uint32_t from_epoch, to_epoch;
    uint8_t from, to;
    uint8_t tries;
    bool leaving; /* the source goes when it is done */
    bool ahead;
    bool alone; /* one command, nothing before it: its time says something of the link */
};

/* Copies of one device in one direction. */
struct syn_channel {
    struct syn_dev *dev;
    struct syn_dev_queue *queue; /* NULL: made when needed */
    struct syn_move *idle;
    unsigned busy;
};

struct syn_node {
    struct syn_dev *dev; /* NULL: the host, or nobody's */
    unsigned id;
    uint32_t epoch;        /* counts losses */
    uint64_t limit;        /* 0: none */
    uint64_t used, peak;   /* of blocks that tensors have */
    uint64_t cached;       /* of free blocks */
    uint64_t leaving;      /* of blocks being written back to be freed */
    unsigned busy;         /* transfers from or to it */
    size_t blocks;         /* in `list` */
    struct syn_block list; /* ring, the least recently used first */
    struct syn_block *free[SYN_BLOCK_CLASSES];
    struct syn_channel in, out;
    struct syn_claim *queue, *queue_last; /* who wait for room */
};

struct syn_cost {
    uint64_t latency_ns, mb_s;
    bool direct; /* one copy does it */
};

/* An acquisition that did not succeed at once. */
struct syn_claim {
    struct syn_memory *memory;
    struct syn_memory_request *request; /* NULL: a prefetch */
    struct syn_claim *next;             /* in a node's queue, finished ones, or free ones */
    size_t count;
    unsigned node;
    int queued;          /* the node for whose room it waits, or -1 */
    uint32_t held, slow; /* bits of uses: held; counted in the tensor's `writers` */
    unsigned tries;
    int code;
    struct syn_err err;
    struct syn_memory_use uses[SYN_MEMORY_USES_MAX];
    struct syn_join links[SYN_MEMORY_USES_MAX];
};

struct syn_memory {
    _Atomic uint32_t hungry; /* claims that wait for room; read by every release */
    unsigned nodes_count;
    pthread_mutex_t lock;
    pthread_cond_t settled; /* some transfer ended */
    struct syn_node *nodes;
    struct syn_cost *costs; /* from * nodes_count + to */
    struct syn_registry *registry;
    struct syn_dev **devs;
    size_t devs_count;
    struct syn_dev *pins; /* makes pinned host memory, or NULL */
    struct syn_claim *free_claims, *finished;
    const void *privileged; /* the claim, or the whole being gathered, that holds something while it
                               waits for room */
    uint64_t next_number;
    struct syn_tensor_kind *kinds[SYN_KIND_CHAINS];
    uint32_t kinds_count;
    void (*drop)(void *user);
    struct syn_trace *trace; /* or NULL */
    struct syn_memory_stats stats;
    size_t moves; /* on their way */
    /* The mover: the thread that completes transfers. */
    pthread_t mover;
    pthread_mutex_t bell; /* innermost; held for no call */
    pthread_cond_t ring;
    struct syn_move *rung;  /* guarded by `bell` */
    bool kicked, closing;   /* guarded by `bell` */
    struct syn_move *asked; /* without a call back: the mover asks their events */
};

/* What a block is wanted for. */
enum syn_room {
    SYN_ROOM_CLAIM, /* evict, and wait for that */
    SYN_ROOM_AHEAD, /* evict only what was not used lately and is elsewhere too */
    SYN_ROOM_HOME,  /* to write something back */
};

/* Conditions of what follows. */
#define SYN_MEMORY_ROOM  1 /* there will be room, later */
#define SYN_MEMORY_WAITS 2

static inline struct syn_node *
syn_node_of(struct syn_memory *memory, unsigned node)
{
    assert(node < memory->nodes_count);
    return &memory->nodes[node];
}

static inline uint64_t
syn_node_bit(unsigned node)
{
    return UINT64_C(1) << node;
}

static inline bool
syn_tensor_divided(const struct syn_tensor *tensor)
{
    return tensor->kin && tensor->kin->parts_count > 0;
}

static inline struct syn_tensor *
syn_tensor_parent(const struct syn_tensor *tensor)
{
    return tensor->kin ? tensor->kin->whole : NULL;
}

/* shape.c */

/* The same elements without gaps, dimensions nested as in `shape`. */
void syn_shape_pack(const struct syn_shape *shape, struct syn_shape *ret_packed);
/* Name the layout after the strides. */
void syn_shape_label(struct syn_shape *shape);
uint64_t syn_shape_bits(const struct syn_shape *shape);
/* Copies of `sizes` elements from strides to strides. */
void syn_box_plan(const struct syn_shape *dst, const struct syn_shape *src,
                  struct syn_box *ret_box);
/* The same box on the host. */
void syn_box_copy(const struct syn_box *box, char *dst, const char *src);

/* tensor.c */

/* How the tensor lies in a block: its shape there, and where it begins. */
const struct syn_shape *syn_tensor_lies(const struct syn_tensor *tensor,
                                        const struct syn_block *block);
uint64_t syn_tensor_offset(const struct syn_tensor *tensor, const struct syn_block *block);
/* Bytes of a block for it. */
uint64_t syn_tensor_need(const struct syn_tensor *tensor, bool *ret_packed);
int syn_tensor_make(struct syn_memory *memory, const struct syn_shape *shape, size_t packed,
                    struct syn_tensor **ret_tensor, struct syn_err *err);
void syn_tensor_end(struct syn_tensor *tensor);
void syn_tensor_set_valid(struct syn_tensor *tensor, uint64_t valid);
/* Mark the only valid replica as such, when it is. */
void syn_tensor_settle(struct syn_tensor *tensor);
/* Valid on nodes whose devices are there. */
uint64_t syn_tensor_live(const struct syn_tensor *tensor);
/* The next tensor of the family with a slot on `block`: the owner first, NULL at the end. */
struct syn_tensor *syn_tensor_next_view(struct syn_tensor *tensor, const struct syn_block *block);
/* Content on `node` is no good any more. The memory goes unless it is held or the caller's. */
void syn_tensor_drop(struct syn_tensor *tensor, unsigned node);
/* Wait until no transfer of it is on its way. */
void syn_tensor_quiet(struct syn_tensor *tensor);
/* Acquire one tensor and wait for it; not from a request's `ready`. */
int syn_tensor_await(struct syn_tensor *tensor, unsigned node, enum syn_access access,
                     struct syn_err *err);

/* kind.c */

/* Find out of what kind a new tensor is, or a part whose place is known. Nobody else has it yet. */
void syn_kind_give(struct syn_tensor *tensor);
void syn_kinds_free(struct syn_memory *memory);

/* divide.c */

/* End the division, of parts of parts too; `home`: have the content on the host. The division ends
 * also when that fails. */
int syn_tensor_join(struct syn_tensor *tensor, bool home, struct syn_err *err);

/* block.c */

void syn_node_init(struct syn_node *node, unsigned id);
/* Give the tensor memory on `node`, if it has none there: a view of its whole's, or its own. 0;
 * SYN_MEMORY_ROOM; NOSPACE, NOMEM, what the driver says. */
int syn_block_for(struct syn_tensor *tensor, unsigned node, enum syn_room room,
                  const struct syn_claim *claim, struct syn_err *err);
/* Does it have a block there, or can it share one of what it is a part of? */
bool syn_block_share(struct syn_tensor *tensor, unsigned node);
/* The host's, from the caller. */
int syn_block_wrap(struct syn_tensor *tensor, void *address, struct syn_err *err);
/* A slot lets go of its block. */
void syn_block_leave(struct syn_tensor *tensor, unsigned node);
/* Free what is cached. */
void syn_block_flush(struct syn_memory *memory, struct syn_node *node);

/* move.c */

/* Start a transfer. 0, SYN_MEMORY_ROOM, CONFLICT (somebody writes the source), errors. */
int syn_move_begin(struct syn_tensor *tensor, unsigned from, unsigned to, enum syn_room room,
                   const struct syn_claim *claim, struct syn_err *err);
/* What was thrown out of `node`, counted and recorded. */
void syn_move_note_eviction(struct syn_memory *memory, uint64_t number, unsigned node,
                            uint64_t bytes);
/* The transfer to `node` that is on its way, or NULL. */
struct syn_move *syn_move_find(const struct syn_tensor *tensor, unsigned node);
/* Where to copy from, over which node: false when no live node has it. */
bool syn_move_route(const struct syn_tensor *tensor, unsigned to, unsigned *ret_from,
                    unsigned *ret_hop);
/* A copy within `node`, waited for. Without the lock. */
int syn_move_within(struct syn_tensor *tensor, unsigned node, struct syn_block *dst,
                    struct syn_block *src, struct syn_err *err);
void syn_move_learn(struct syn_memory *memory, unsigned from, unsigned to);
void syn_channel_reset(struct syn_channel *channel);
void syn_channel_fini(struct syn_channel *channel);
void *syn_mover_run(void *memory);
/* Wake the mover to look at who waits for room. */
void syn_mover_kick(struct syn_memory *memory);

/* claim.c */

/* A transfer that the link waited for ended. */
void syn_claim_told(struct syn_join *link, int code, const struct syn_err *why);
/* Is it the one that keeps what it holds while it waits for room? */
bool syn_claim_privileged(const struct syn_claim *claim);
/* Who waits for room tries again. */
void syn_claim_retry(struct syn_memory *memory);
/* Call those that are finished; takes the lock itself. */
void syn_claim_deliver(struct syn_memory *memory);

#endif
