/* A lock for a handful of instructions. It yields when its holder lost the processor. */
#ifndef SYNOR_COMPUTE_SPIN_PRIV_H
#define SYNOR_COMPUTE_SPIN_PRIV_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define SYN_HAS_SINGLE_THREADED 1
#endif
#endif

#include "perturb_priv.h"

#define SYN_SPIN_TRIES 100

/** Has the process this thread only? Then nobody can see the halves of what would be one atomic
 *  operation: another thread begins only by this one's doing. That the runtime has one seat does
 * not say so, for other threads may submit to it. */
static inline bool
syn_single_threaded(void)
{
#if defined(SYN_HAS_SINGLE_THREADED)
    return __libc_single_threaded != 0;
#else
    return false;
#endif
}

struct syn_spin {
    _Atomic uint32_t held;
};

/** Tell the processor that this loop waits for another one. */
static inline void
syn_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile(".4byte 0x0100000f" ::: "memory"); /* pause */
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static inline void
syn_spin_lock(struct syn_spin *lock)
{
    SYN_PERTURB();
    if (syn_single_threaded()) {
        atomic_store_explicit(&lock->held, 1, memory_order_relaxed);
        return;
    }
    while (atomic_exchange_explicit(&lock->held, 1, memory_order_acquire) != 0) {
        for (unsigned i = 0; atomic_load_explicit(&lock->held, memory_order_relaxed) != 0; i++) {
            if (i < SYN_SPIN_TRIES)
                syn_relax();
            else
                (void)sched_yield();
        }
    }
}

static inline void
syn_spin_unlock(struct syn_spin *lock)
{
    atomic_store_explicit(&lock->held, 0, memory_order_release);
    SYN_PERTURB();
}

#endif
