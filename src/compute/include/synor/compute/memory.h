/* The memory manager as the engine uses it: open it on devices, have tensors brought to a node and
 * held there while a task uses them, say what the task did. The public half is synor/tensor.h.
 *
 *     acquire(node, uses)  ->  0: all there, held
 *                              PENDING: request->ready() will be called, once
 *     ... the task runs on syn_tensor_at(tensor, node) ...
 *     release(node, uses, ok)
 *
 * The caller orders tasks: of two acquisitions of one tensor at the same time, neither writes, or
 * both commute and exclude each other. What the manager sees to is where the good content is.
 *
 * `ready` is called by the manager's own thread, the mover, one after the other.
 *
 * Thread: every function from any thread, also from inside `ready`; of synor/tensor.h's, only
 * syn_tensor_gather() and the freeing of what was wrapped or is divided wait for transfers, and may
 * not be called there. */
#ifndef SYNOR_COMPUTE_MEMORY_H
#define SYNOR_COMPUTE_MEMORY_H

#include <synor/compute/driver.h>
#include <synor/strategy.h>
#include <synor/task.h>
#include <synor/tensor.h>
#include <synor/trace.h>

#define SYN_MEMORY_PENDING  1 /* of syn_memory_acquire() */
#define SYN_MEMORY_USES_MAX SYN_USES_MAX

/** Everything but `devs` may be left 0. */
struct syn_memory_options {
    struct syn_dev *const *devs; /* open; borrowed until the manager is closed */
    size_t devs_count;
    struct syn_registry *registry; /* its links choose paths, and learn what copies took; NULL:
                                      direct before peer before staged */
    const uint64_t *node_bytes;    /* by node: how much may be used; 0: what the device has, and
                                      no limit for the host */
    size_t node_bytes_count;
    void (*drop)(void *user); /* called with a tensor's word, unless it is NULL, when the tensor
                                 ends; may be NULL */
    struct syn_trace *trace;  /* records transfers that were done, and evictions; may be NULL;
                                 outlives the manager */
};

/** INVALID, NOMEM, what the drivers say. */
SYN_MUST int syn_memory_open(const struct syn_memory_options *options,
                             struct syn_memory **ret_memory, struct syn_err *err);
/** Waits for transfers. Every tensor is freed by then. NULL is fine. */
struct syn_memory *syn_memory_close(struct syn_memory *memory);

struct syn_memory_use {
    struct syn_tensor *tensor;
    enum syn_access access; /* WRITE: the old content is not brought */
};

/** The caller's, until `ready` is called; not touched where acquire() did not say PENDING. */
struct syn_memory_request {
    /** On some thread; short, and allowed to acquire and release. `code` < 0: nothing is held, and
     * `why` says why, for the time of the call; else `why` is NULL. */
    void (*ready)(struct syn_memory_request *request, int code, const struct syn_err *why);
    void *user;
};

/** Bring the tensors of `uses` to `node` and hold them there: not evicted, not moved. A tensor may
 * be used several times. Where others hold the room that is
 * needed, it waits for them to let go, in order of arrival: who holds something for as long as he
 * likes (a map) should not wait for tasks meanwhile where memory is limited. Who writes waits for
 * transfers of the tensor that are on their way. Returns 0; SYN_MEMORY_PENDING. NOSPACE: they do
 * not fit on the node even when all others have left; INVALID: read, and never written, or divided;
 * UNAVAILABLE: the only good copy was on a lost device (the tensor is named by its number), or the
 * node's is lost; IO: a copy failed; CONFLICT: the caller lets somebody write it meanwhile; NOMEM.
 * On failure nothing is held. */
SYN_MUST int syn_memory_acquire(struct syn_memory *memory, unsigned node,
                                const struct syn_memory_use *uses, size_t count,
                                struct syn_memory_request *request, struct syn_err *err);
/** Let go, with the uses that were acquired. `ok`: what was acquired for writing is now the only
 * good copy; else its content is gone from this node and what else was good before stays so. */
void syn_memory_release(struct syn_memory *memory, unsigned node, const struct syn_memory_use *uses,
                        size_t count, bool ok);
/** Begin to bring a tensor there, if there is room without throwing out what is in use; a hint. */
void syn_memory_prefetch(struct syn_memory *memory, unsigned node, struct syn_tensor *tensor);

/** Where a held tensor is on `node`: the buffer (NULL on the host), the byte at which its first
 * element is, the host's pointer to that (NULL where the host does not reach it), and how it lies
 * there. A part lies as its whole does where they share memory and packed where they do not, and so
 * does what was wrapped with gaps; of all others `shape` is syn_tensor_shape() everywhere. */
struct syn_tensor_place {
    struct syn_dev_buf *buf;
    uint64_t offset;
    void *host;
    const struct syn_shape *shape; /* what kernels are given; borrowed from the tensor */
};
void syn_tensor_at(const struct syn_tensor *tensor, unsigned node,
                   struct syn_tensor_place *ret_place);

/** Every way in which the tensor may lie on some node as long as neither it nor a whole of its is
 * divided or gathered: its own first. Borrowed from the tensor. Only what has gaps (its layout is
 * STRIDED) has more than one. Returns how many. */
#define SYN_DIVIDE_DEPTH_MAX 16 /* divisions of parts of parts */
#define SYN_TENSOR_WAYS_MAX  (SYN_DIVIDE_DEPTH_MAX + 2)
unsigned syn_tensor_ways(const struct syn_tensor *tensor,
                         const struct syn_shape *ret_ways[SYN_TENSOR_WAYS_MAX]);

/** End the division, and the content with it: the tensor is as if never written, or as lost if a
 * part was. Nobody uses its parts, and none is divided. */
void syn_tensor_abandon(struct syn_tensor *tensor);

/** What the tensor holds is no good: it is as if never written, or, `lost`, as if lost with a
 * device. Nobody uses it. Blocks: for transfers. */
void syn_tensor_spoil(struct syn_tensor *tensor, bool lost);

/** Does every element of two shapes of the same sizes lie at the same place? */
bool syn_shape_same_places(const struct syn_shape *a, const struct syn_shape *b);
/** Copy the elements of one array on the host to another one that lies differently. */
void syn_shape_copy(const struct syn_shape *dst_shape, void *dst, const struct syn_shape *src_shape,
                    const void *src);

/** A number for messages and traces, counted from 0 in order of making. */
uint64_t syn_tensor_number(const struct syn_tensor *tensor);
/** Tensors of one kind have one shape and lie in the same ways; 0: it has none. */
uint32_t syn_tensor_kind(const struct syn_tensor *tensor);
/** What strategies look at, which is the head of a tensor; and the tensor whose that is. */
static inline const struct syn_replicas *
syn_tensor_replicas(const struct syn_tensor *tensor)
{
    return (const struct syn_replicas *)(const void *)tensor;
}

static inline struct syn_tensor *
syn_tensor_of(const struct syn_replicas *replicas)
{
    return (struct syn_tensor *)(uintptr_t)replicas;
}
/** A word of the engine's in every tensor: its handle for dependencies. */
void *syn_tensor_user(const struct syn_tensor *tensor);
void syn_tensor_set_user(struct syn_tensor *tensor, void *user);
/** The whole that a part was divided from, or NULL. */
struct syn_tensor *syn_tensor_whole(const struct syn_tensor *tensor);

/** The device of `node` is lost: its replicas are no good any more. Calls `gone(arg, tensor)`, from
 * this thread, for every tensor whose only good copy that was and that nobody has freed (each is
 * then as if never written, but for the code that says so); it is short and calls nothing of the
 * manager's but what looks at the tensor. Before a reset of the device. Blocks: for what it still
 * does. */
void syn_memory_lost(struct syn_memory *memory, unsigned node,
                     void (*gone)(void *arg, struct syn_tensor *tensor), void *arg);

#endif
