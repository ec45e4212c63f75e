/* Sleeping and waking: a worker's own word to sleep on, and the set of sleepers.
 *
 * Publishing work and then looking for sleepers, against going to sleep and then looking for work,
 * is Dekker's pattern: both sides store, then load what the other stored, and at least one must see
 * the other. That takes a full fence on both sides, and the publisher's would be the dearest part
 * of a submission. So the fence is one-sided: the sleeper calls membarrier(2), which makes every
 * running thread of the process pass a fence, and the publisher only keeps the compiler from
 * reordering. Where the kernel has no membarrier, both sides fence.
 *
 *     publisher                          sleeper
 *     store work                         set its bit in `idle`
 *     syn_fence_light()                  syn_fence_heavy()
 *     load `spinning`, `idle`            load work
 */
#ifndef SYNOR_COMPUTE_PARK_PRIV_H
#define SYNOR_COMPUTE_PARK_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <synor/base/core.h>

#include "perturb_priv.h"

#define SYN_IDLE_WORDS 8 /* of 64 seats */

/* A word to sleep on (futex). */
struct syn_waitword {
    _Atomic uint32_t value;
};

struct syn_parker {
    struct syn_waitword word; /* counts wakes */
};

/* Who sleeps, and whether somebody watches. */
struct syn_idle {
    _Atomic uint32_t spinning; /* a worker is looking for work: no need to wake another */
    _Atomic uint32_t sleepers; /* bits set in `bits` */
    _Atomic uint64_t bits[SYN_IDLE_WORDS];
};

/* Set once, before any runtime exists: fences of publishers are left to membarrier. */
extern bool syn_fence_one_sided;
/* Register with the kernel; repeatable. */
void syn_fence_init(void);
void syn_fence_heavy(void);

/* ThreadSanitizer follows neither fences nor membarrier, but it does follow this. */
#if defined(__SANITIZE_THREAD__)
extern _Atomic uint32_t syn_fence_word;
#define SYN_FENCE_FULL() ((void)atomic_fetch_add(&syn_fence_word, 1))
#else
#define SYN_FENCE_FULL() atomic_thread_fence(memory_order_seq_cst)
#endif

static inline void
syn_fence_light(void)
{
    SYN_PERTURB();
    if (__builtin_expect(syn_fence_one_sided, 1))
        atomic_signal_fence(memory_order_seq_cst);
    else
        SYN_FENCE_FULL();
}

/* Sleep while `word` is `seen`; may return early. */
void syn_waitword_sleep(_Atomic uint32_t *word, uint32_t seen);
void syn_waitword_wake(struct syn_waitword *word, bool all);
/* Wake whoever sleeps on the word at this address, which need not be ours any more. */
void syn_waitword_kick(_Atomic uint32_t *word);

/* Put seat `index` among the sleepers, or take it out again: false when a waker already did. */
void syn_idle_enter(struct syn_idle *idle, unsigned index);
bool syn_idle_leave(struct syn_idle *idle, unsigned index);
/* Does it sleep, or is about to, and has nobody woken it? */
static inline bool
syn_idle_has(const struct syn_idle *idle, unsigned index)
{
    return (atomic_load_explicit(&idle->bits[index / 64], memory_order_relaxed) >> index % 64 &
            1) != 0;
}
static inline bool
syn_idle_any(const struct syn_idle *idle)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < SYN_IDLE_WORDS; i++)
        bits |= atomic_load_explicit(&idle->bits[i], memory_order_relaxed);
    return bits != 0;
}
/* Take one sleeper out; -1 when there is none. */
int syn_idle_pick(struct syn_idle *idle);

#endif
