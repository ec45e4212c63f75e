/* Memory: libc's allocator behind one seam, so that tests can fail allocation N, then N+1, ... */
#ifndef SYNOR_BASE_MEM_H
#define SYNOR_BASE_MEM_H

#include <synor/base/core.h>

/** `size` bytes or NULL; size 0 gives a unique pointer. */
SYN_MUST void *syn_alloc(size_t size);
/** `size` bytes at a multiple of `alignment`, a power of two; syn_free() gives them back. */
SYN_MUST void *syn_alloc_aligned(size_t alignment, size_t size);
/** Zeroed; NULL also when count * size overflows. */
SYN_MUST void *syn_calloc(size_t count, size_t size);
/** As realloc; on failure the old block stays valid. */
SYN_MUST void *syn_realloc(void *block, size_t size);
/** free; NULL is fine. */
void syn_free(void *block);
SYN_MUST char *syn_strdup(const char *text);
/** A zero-terminated copy of `len` bytes. */
SYN_MUST char *syn_strndup(const char *text, size_t len);

/** For SYN_SCOPED: frees `*(void **)slot`. */
void syn_free_scope(void *slot);

/** Make room for `need` elements of `elem` bytes in `*items` (capacity `*cap`, doubled as needed).
 *  Returns false, and changes nothing, when memory is short or the size overflows. */
SYN_MUST bool syn_grow(void *items, size_t *cap, size_t need, size_t elem);

/** Bytes of a line of /proc/meminfo, such as "MemAvailable"; -1: it does not say. */
int64_t syn_mem_of_machine(const char *line);

/** Tests: make the `nth` allocation from now (1 = next) of this process fail, once or from then on.
 * 0 disarms. */
void syn_mem_fault_arm(uint64_t nth, bool sticky);
/** Tests: allocations since the last arm (or start), failed ones included. */
uint64_t syn_mem_fault_count(void);
/** Tests: blocks now allocated through this seam. */
int64_t syn_mem_live(void);

#endif
