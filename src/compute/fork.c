/* Fork-join: a deque of pointers to the callers' frames, in two parts.
 *
 *        base          tail            split             head       end
 *          | stolen ...  | for thieves   | the owner's     | free     |
 *          +-------------+---------------+-----------------+----------+
 *                         ^ oldest first                   ^ newest first
 *
 * The owner pushes and pops at `head` with plain stores and one comparison each: while it stays at
 * or above `split` no thief can be there, so it needs neither a fence nor an atomic. Thieves take
 * at `tail` by a compare-and-swap of `shared`, which holds tail and split together. Only when a
 * thief finds nothing between them it asks: it sets the owner's `limit` to NULL, which makes the
 * next push take the slow way and publish the older half of the private part. So the cost of being
 * stolen from is paid once a steal, not once a fork; the idea is that of the split deque (van Dijk
 * and van de Pol, "Lace: Non-blocking Split Deque for Work-Stealing", Euro-Par 2014). What differs:
 *
 *  - a slot is a pointer into the caller's frame, so arguments and results need no copy, no limit of
 *    size, and a deque of a million offers is 8 MiB of address space;
 *  - one comparison on push serves both "a thief asks" and "the deque is full", like the stack
 *    limit of a language runtime;
 *  - the owner takes published offers back by compare-and-swap, half of them at a time, instead of
 *    by a store and a fence.
 *
 * A join that finds its offer stolen helps the thief: it steals from that worker's deque
 * (leapfrogging, Wagner and Calder 1993), which keeps the stack within that of the serial program
 * for each worker. When there is nothing to help with it watches for a while, then sleeps on the
 * frame's state.
 *
 * Refused: Chase-Lev (a full fence, 9 ns here, in every pop); the same with membarrier on the
 * thief's side (an interrupt to every core of the process for each steal). */
#include "worker_priv.h"

#include <errno.h>
#include <sys/mman.h>

#include <synor/base/mem.h>

/* A frame's state, a 32-bit futex word. */
#define FRAME_OPEN   0u
#define FRAME_DONE   1u
#define FRAME_SLEEPS 2u /* with a thief: the owner sleeps */
#define FRAME_TAKEN  4u /* times (index of the thief + 1) */

#define JOIN_SPINS 400 /* about 10 us of watching before a join sleeps */

#define SHARED(tail, split) ((uint64_t)(split) << 32 | (tail))

static uint32_t
tail_of(uint64_t shared)
{
    return (uint32_t)shared;
}

static uint32_t
split_of(uint64_t shared)
{
    return (uint32_t)(shared >> 32);
}

static _Atomic uint32_t *
state_of(struct syn_fork *fork)
{
    return (_Atomic uint32_t *)(void *)&fork->state;
}

static void
set_limit(struct syn_worker *worker, struct syn_fork **limit)
{
    __atomic_store_n(&worker->deque.limit, limit, __ATOMIC_RELAXED);
}

int
syn_fork_init(struct syn_worker *worker, unsigned depth, struct syn_err *err)
{
    struct syn_fork_deque *deque = &worker->deque;
    size_t bytes = ((size_t)depth + 1) * sizeof(struct syn_fork *);
    void *slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (slots == MAP_FAILED)
        return SYN_FAIL_SYS(err, errno, "reserving a deque of %u forks", depth);
    deque->base = slots;
    deque->head = deque->base;
    deque->split = deque->base;
    deque->end = deque->base + depth;
    set_limit(worker, deque->end);
    return SYN_OK;
}

void
syn_fork_fini(struct syn_worker *worker)
{
    struct syn_fork_deque *deque = &worker->deque;

    if (deque->base != NULL)
        (void)munmap((void *)deque->base,
                     (size_t)(deque->end - deque->base + 1) * sizeof(*deque->base));
    deque->base = NULL;
}

/* ---- the owner ---- */

/* Make the older half of the private offers stealable. */
static void
publish(struct syn_worker *worker)
{
    struct syn_fork_deque *deque = &worker->deque;
    size_t count = (size_t)(deque->head - deque->split + 1) / 2;

    for (size_t i = 0; i < count; i++)
        atomic_store_explicit(state_of(deque->split[i]), FRAME_OPEN, memory_order_relaxed);
    deque->split += count;
    (void)atomic_fetch_add_explicit(&worker->shared, (uint64_t)count << 32, memory_order_release);
}

/* The slot that was just written is the spare one behind the end: run the offer now. Meanwhile
 * `split` lies beyond all slots, so that joins take the slow way, which counts these back. */
static void
run_overflow(struct syn_worker *worker)
{
    struct syn_fork_deque *deque = &worker->deque;
    struct syn_fork *fork = *--deque->head;

    deque->overflow++;
    deque->split = deque->end + 1;
    fork->run(worker, fork);
}

static void
join_overflow(struct syn_worker *worker)
{
    struct syn_fork_deque *deque = &worker->deque;

    deque->head++;
    deque->overflow--;
    if (deque->overflow == 0)
        deque->split = deque->base + split_of(atomic_load_explicit(&worker->shared,
                                                                   memory_order_relaxed));
}

void
syn_fork_slow(struct syn_worker *worker)
{
    struct syn_fork_deque *deque = &worker->deque;

    if (deque->head > deque->end) {
        run_overflow(worker);
        return;
    }
    set_limit(worker, deque->end);
    publish(worker);
    syn_worker_wake(worker->runtime);
}

/* Sleep until the thief is done, unless it is. */
static void
sleep_on(struct syn_fork *fork)
{
    _Atomic uint32_t *state = state_of(fork);
    uint32_t seen = atomic_load_explicit(state, memory_order_acquire);

    if (seen != FRAME_DONE && (seen & FRAME_SLEEPS) == 0 &&
        !atomic_compare_exchange_strong(state, &seen, seen | FRAME_SLEEPS))
        return; /* it just changed: look again */
    if (seen != FRAME_DONE)
        syn_waitword_sleep((struct syn_waitword *)(void *)&fork->state, seen | FRAME_SLEEPS);
}

/* The offer was stolen: help the thief until it is done. */
static void
await_thief(struct syn_worker *worker, struct syn_fork *fork)
{
    struct syn_runtime *runtime = worker->runtime;
    unsigned spins = 0;
    uint32_t state;

    while ((state = atomic_load_explicit(state_of(fork), memory_order_acquire)) != FRAME_DONE) {
        unsigned thief = state / FRAME_TAKEN;

        if (thief > 0 && syn_fork_steal(worker, runtime->workers[thief - 1])) {
            spins = 0;
        } else if (thief > 0 && spins >= JOIN_SPINS) {
            sleep_on(fork);
            spins = 0;
        } else {
            syn_relax();
            spins++;
        }
    }
}

bool
syn_join_slow(struct syn_worker *worker, struct syn_fork *fork)
{
    struct syn_fork_deque *deque = &worker->deque;
    uint32_t at = (uint32_t)(deque->head - deque->base);
    uint64_t shared = atomic_load_explicit(&worker->shared, memory_order_relaxed);

    if (deque->overflow > 0) {
        join_overflow(worker);
        return false;
    }
    assert(at + 1 == split_of(shared) && deque->base[at] == fork);
    while (tail_of(shared) <= at) {
        /* Not stolen: leave the older half to thieves and take the rest back. */
        uint32_t split = tail_of(shared) + (at - tail_of(shared)) / 2;

        if (atomic_compare_exchange_weak_explicit(&worker->shared, &shared,
                                                  SHARED(tail_of(shared), split),
                                                  memory_order_acquire, memory_order_relaxed)) {
            deque->split = deque->base + split;
            return true;
        }
    }
    /* The slot stays in place while we wait: its thief may not have read it yet. */
    deque->head++;
    await_thief(worker, fork);
    deque->head--;
    atomic_store_explicit(&worker->shared, SHARED(at, at), memory_order_relaxed);
    deque->split = deque->head;
    return false;
}

void
syn_fork_call(struct syn_worker *worker, struct syn_fork *fork, syn_fork_fn *run)
{
    syn_fork(worker, fork, run);
}

void
syn_join_call(struct syn_worker *worker, struct syn_fork *fork)
{
    if (syn_join(worker, fork))
        fork->run(worker, fork);
}

/* ---- thieves ---- */

static void
run_stolen(struct syn_worker *thief, struct syn_fork *fork)
{
    _Atomic uint32_t *state = state_of(fork);

    atomic_store_explicit(state, FRAME_TAKEN * (thief->index + 1), memory_order_relaxed);
    thief->steals++;
    fork->run(thief, fork);
    /* The frame is the owner's again with this exchange; only its address is used after it. */
    if ((atomic_exchange_explicit(state, FRAME_DONE, memory_order_acq_rel) & FRAME_SLEEPS) != 0)
        syn_waitword_kick(state);
}

/* While others sleep: wake one for what is left, or have the victim publish more for them. */
static void
pass_on(const struct syn_worker *thief, struct syn_worker *victim, bool left)
{
    if (atomic_load_explicit(&thief->runtime->idle.sleepers, memory_order_relaxed) == 0)
        return;
    if (left)
        syn_worker_wake_slow(thief->runtime);
    else
        set_limit(victim, NULL);
}

bool
syn_fork_steal(struct syn_worker *thief, struct syn_worker *victim)
{
    uint64_t shared = atomic_load_explicit(&victim->shared, memory_order_acquire);

    while (tail_of(shared) < split_of(shared)) {
        if (atomic_compare_exchange_weak_explicit(&victim->shared, &shared, shared + 1,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            pass_on(thief, victim, tail_of(shared) + 1 < split_of(shared));
            run_stolen(thief, victim->deque.base[tail_of(shared)]);
            return true;
        }
    }
    if (__atomic_load_n(&victim->deque.limit, __ATOMIC_RELAXED) != NULL)
        set_limit(victim, NULL);
    return false;
}

void
syn_fork_want(struct syn_worker *thief)
{
    const struct syn_runtime *runtime = thief->runtime;

    for (unsigned i = 0; i < runtime->seats_count; i++) {
        struct syn_worker *victim = runtime->workers[i];

        if (i != thief->index && __atomic_load_n(&victim->deque.limit, __ATOMIC_RELAXED) != NULL)
            set_limit(victim, NULL);
    }
}

bool
syn_fork_any(const struct syn_worker *worker)
{
    const struct syn_runtime *runtime = worker->runtime;

    for (unsigned i = 0; i < runtime->seats_count; i++) {
        uint64_t shared =
            atomic_load_explicit(&runtime->workers[i]->shared, memory_order_relaxed);

        if (i != worker->index && tail_of(shared) < split_of(shared))
            return true;
    }
    return false;
}
