/* What stand-ins of vendors' libraries share (standin.c): memory of two devices, which is watched;
 * counts of objects; calls that fail on demand; the kernels of the driver suite.
 *
 * standin_fail(nth, code) makes the nth call from now answer with `code`; standin_calls() counts.
 * Memory outside of allocations and objects freed twice abort, and whatever is left at the end of
 * the process fails it. */
#ifndef SYN_COMPUTE_STANDIN_PRIV_H
#define SYN_COMPUTE_STANDIN_PRIV_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

#define STANDIN_DEVICES      2
#define STANDIN_DEVICE_BYTES ((size_t)256 << 20)

/* Whose memory a block is, besides devices 0 and 1. */
#define STANDIN_PINNED     (-1)
#define STANDIN_REGISTERED (-2)

/* Of standin_block_make(). */
#define STANDIN_NOTHING (-1) /* no bytes */
#define STANDIN_FULL    (-2)

EXPORT void standin_fail(uint64_t nth, int code);
EXPORT uint64_t standin_calls(void);

_Noreturn void standin_die(const char *what);
/* A call: the lock is held from here to standin_end(), which returns `code`. The answer is the code
 * that this call has to fail with, or 0. */
int standin_begin(void);
int standin_end(int code);
/* Objects that are to be destroyed; the rest needs the lock. */
void standin_count(int by);

/* Memory of the device's at `at`, or it dies. */
char *standin_device_memory(uint64_t at, size_t bytes);
/* Does this lie in a block of a device's, or one of the host's? */
int standin_is_memory(const void *at, size_t bytes, int of_device);
/* 0, STANDIN_NOTHING, STANDIN_FULL. */
int standin_block_make(void **ret, size_t bytes, int device);
void standin_block_watch(void *at, size_t bytes, int device);
void standin_block_drop(void *at, int of_device);
size_t standin_used(int device);

void standin_axpy(float a, uint64_t x, uint64_t y, uint32_t n, uint64_t items);
void standin_iota(uint64_t y, uint32_t n, int32_t first, uint64_t items);

#endif
