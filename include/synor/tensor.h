/* Tensors: arrays of numbers that the library keeps coherent wherever processors want them.
 *
 * A tensor has a shape, and a replica on every memory node that needed it lately. Replicas follow
 * the protocol of caches: one node writes (modified), several read (shared), others have none that
 * is good (invalid). Who uses a tensor names the node and what he means to do; the manager brings
 * the content there by the cheapest path, while the processors compute, and throws old replicas out
 * where memory is short, writing back what nobody else has.
 *
 * Tasks on tensors are submitted through synor/engine.h, which orders them. What is here makes,
 * divides and ends tensors; content is read and written by tasks, or by engine.h's map.
 *
 * Thread: every function from any thread; one tensor is divided, gathered or freed by one thread,
 * when no task uses it. */
#ifndef SYNOR_TENSOR_H
#define SYNOR_TENSOR_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/device.h>
#include <synor/kind.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_DIMS_MAX         8
#define SYN_PARTS_MAX        65536
#define SYN_TENSOR_BYTES_MAX ((uint64_t)1 << 62)

struct syn_memory;
struct syn_tensor;

enum syn_layout {
    SYN_LAYOUT_ROWS,    /* packed, the last dimension contiguous, as C's arrays */
    SYN_LAYOUT_COLUMNS, /* packed, the first dimension contiguous, as Fortran's */
    SYN_LAYOUT_STRIDED, /* `strides` says */
};

/** What the elements are and where each lies. */
struct syn_shape {
    enum syn_dtype dtype;
    enum syn_layout layout;
    unsigned dims;                  /* 0: one element */
    uint64_t sizes[SYN_DIMS_MAX];   /* elements; each at least 1 */
    uint64_t strides[SYN_DIMS_MAX]; /* elements from one to the next along a dimension; filled in by
                                       the library unless the layout is STRIDED. No two elements
                                       may share a place, and dimensions nest: each stride is beyond
                                       the end of the finer dimensions. Rows of half bytes begin
                                       with whole ones */
};

/** Elements of the whole. */
SYN_API uint64_t syn_shape_count(const struct syn_shape *shape);
/** Bytes from the first element to the end of the last. */
SYN_API uint64_t syn_shape_span(const struct syn_shape *shape);
/** Fill in `strides` where the layout says what they are, and check: INVALID names the field. */
SYN_MUST SYN_API int syn_shape_complete(struct syn_shape *shape, struct syn_err *err);

/** A tensor without content: the first who uses it must write it. Its memory is the manager's,
 * taken where and when it is needed. NOMEM, INVALID. */
SYN_MUST SYN_API int syn_tensor_new(struct syn_memory *memory, const struct syn_shape *shape,
                                    struct syn_tensor **ret_tensor, struct syn_err *err);
/** A tensor whose host replica is the caller's memory, syn_shape_span() bytes at `address`, with
 * content, pinned for devices where that helps. It is the caller's again, with the last content,
 * after syn_tensor_free(); until then he looks only through a map. */
SYN_MUST SYN_API int syn_tensor_wrap(struct syn_memory *memory, const struct syn_shape *shape,
                                     void *address, struct syn_tensor **ret_tensor,
                                     struct syn_err *err);
/** Of a wrapped tensor it first brings the content home, which waits: IO, UNAVAILABLE when that
 * fails for some of it (it is freed all the same). While it is divided, its parts end with it. Not
 * of a part. NULL is fine. */
SYN_API int syn_tensor_free(struct syn_tensor *tensor, struct syn_err *err);

/** Borrowed; strides are filled in. */
SYN_API const struct syn_shape *syn_tensor_shape(const struct syn_tensor *tensor);

/** Divide along dimension `dim` into `count` parts of nearly equal size (the first ones larger),
 * each a tensor of its own that shares memory with the whole where both are: nothing is copied.
 * Until the gathering the whole is used by nobody and the parts by anybody; parts can be divided
 * further. `ret_parts` has room for `count`; they are the whole's and end with syn_tensor_gather().
 * INVALID (fewer elements than parts, a part of half a byte, or 16 divisions above it), CONFLICT
 * (divided already, or in use), NOMEM.
 */
SYN_MUST SYN_API int syn_tensor_divide(struct syn_tensor *tensor, unsigned dim, size_t count,
                                       struct syn_tensor **ret_parts, struct syn_err *err);
/** Make it whole again, on the node that has most of it; parts elsewhere are copied there, which
 * waits. Where a part was never written the whole has anything, as long as another part was.
 * INVALID (not divided), CONFLICT (a part is divided or in use), UNAVAILABLE (a part was lost with
 * its device), IO, NOSPACE, NOMEM: it stays divided, and parts are as they were. */
SYN_MUST SYN_API int syn_tensor_gather(struct syn_tensor *tensor, struct syn_err *err);

/** What the manager has done since it was opened. */
struct syn_memory_stats {
    uint64_t copies, copied_bytes; /* transfers between nodes, staged ones counted once a hop */
    uint64_t prefetches;           /* of them, ahead of need */
    uint64_t evictions, written_back_bytes;
    uint64_t waits;   /* acquisitions that waited for a transfer or for room */
    uint64_t tensors; /* that there are now, parts counted too */
    uint64_t node_bytes[SYN_MEMORY_NODES_MAX]; /* in use now */
    uint64_t node_peak_bytes[SYN_MEMORY_NODES_MAX];
};
SYN_API void syn_memory_stats(struct syn_memory *memory, struct syn_memory_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
