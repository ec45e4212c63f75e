#include "park_priv.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool syn_fence_one_sided;
#if defined(__SANITIZE_THREAD__)
_Atomic uint32_t syn_fence_word;
#endif

void
syn_fence_init(void)
{
#if !defined(__SANITIZE_THREAD__)
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
        syn_fence_one_sided = true;
#endif
}

void
syn_fence_heavy(void)
{
    SYN_PERTURB();
    SYN_FENCE_FULL();
    if (syn_fence_one_sided)
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void
syn_waitword_sleep(_Atomic uint32_t *word, uint32_t seen)
{
    SYN_PERTURB();
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void
syn_waitword_wake(struct syn_waitword *word, bool all)
{
    atomic_fetch_add_explicit(&word->value, 1, memory_order_release);
    SYN_PERTURB();
    (void)syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, all ? INT_MAX : 1, NULL, NULL, 0);
}

void
syn_waitword_kick(_Atomic uint32_t *word)
{
    SYN_PERTURB();
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The count is raised before the bit is set and lowered after it was cleared: were it ever less
 * than the bits, a publisher that reads 0 would leave somebody else asleep. */
void
syn_idle_enter(struct syn_idle *idle, unsigned index)
{
    (void)atomic_fetch_add(&idle->sleepers, 1);
    SYN_PERTURB();
    (void)atomic_fetch_or(&idle->bits[index / 64], UINT64_C(1) << (index % 64));
}

bool
syn_idle_leave(struct syn_idle *idle, unsigned index)
{
    uint64_t bit = UINT64_C(1) << (index % 64);

    if ((atomic_fetch_and(&idle->bits[index / 64], ~bit) & bit) == 0)
        return false;
    SYN_PERTURB();
    (void)atomic_fetch_sub(&idle->sleepers, 1);
    return true;
}

int
syn_idle_pick(struct syn_idle *idle)
{
    for (unsigned i = 0; i < SYN_IDLE_WORDS; i++) {
        uint64_t bits = atomic_load_explicit(&idle->bits[i], memory_order_relaxed);

        while (bits != 0) {
            unsigned at = (unsigned)__builtin_ctzll(bits);

            if (syn_idle_leave(idle, i * 64 + at))
                return (int)(i * 64 + at);
            bits = atomic_load_explicit(&idle->bits[i], memory_order_relaxed);
        }
    }
    return -1;
}
