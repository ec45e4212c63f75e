/* One scratch space made ahead. */
#ifndef SYNOR_RUNTIME_SPARE_PRIV_H
#define SYNOR_RUNTIME_SPARE_PRIV_H

#include <pthread.h>

#include <synor/base/core.h>
#include <synor/base/err.h>

/* Copying an image, binding a loop device and mounting it wait for the kernel more than they work:
 * 7 ms on a quiet machine, 20 and more on a busy one, all on the way to a job's first instruction.
 * Jobs come in the sizes of jobs before them, so one space of the size last asked for is kept
 * ready. Its file has no name and its mount no place until it is taken: whatever becomes of this
 * process, nothing is left behind. */
struct syn_spare {
    pthread_mutex_t lock; /* guards what follows */
    int64_t wanted_bytes; /* the size last asked for; 0: none yet */
    int64_t bytes;        /* of the one at hand; 0: none */
    int image, mounted;
};

/** Returns 0; NOMEM. */
SYN_MUST int syn_spare_init(struct syn_spare *spare, struct syn_err *err);
void syn_spare_fini(struct syn_spare *spare);
/** Give the spare the name `image` and the place `at`. False when there is none of that size, or it
 *  did not go: then nothing was done, and the caller makes one. */
SYN_MUST bool syn_spare_take(struct syn_spare *spare, int64_t bytes, const char *image,
                             const char *at);
/** Make one of the size last asked for, unless there is one. Trouble means there is none. Blocks:
 *  as long as a start would have. */
void syn_spare_refill(struct syn_spare *spare, const char *cache);

#endif
