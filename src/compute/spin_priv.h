/* A lock for a handful of instructions. It yields when its holder lost the processor. */
#ifndef SYNOR_COMPUTE_SPIN_PRIV_H
#define SYNOR_COMPUTE_SPIN_PRIV_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "perturb_priv.h"

#define SYN_SPIN_TRIES 100

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
