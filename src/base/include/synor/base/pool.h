/* A bounded pool of threads for work that blocks. */
#ifndef SYNOR_BASE_POOL_H
#define SYNOR_BASE_POOL_H

#include <synor/base/core.h>
#include <synor/base/err.h>

struct syn_pool;

/** `threads` workers (started lazily, stack 512 KiB), at most `queue_max` waiting jobs. */
SYN_MUST int syn_pool_new(unsigned threads, unsigned queue_max, struct syn_pool **ret_pool,
                          struct syn_err *err);
/** Finish what is queued, then join. */
struct syn_pool *syn_pool_free(struct syn_pool *pool);
/** Run fn(arg) on some worker. LIMIT when the queue is full, CANCELED when closing. */
SYN_MUST int syn_pool_run(struct syn_pool *pool, void (*fn)(void *), void *arg,
                          struct syn_err *err);
/** Wait until nothing is queued or running. */
void syn_pool_drain(struct syn_pool *pool);

#endif
