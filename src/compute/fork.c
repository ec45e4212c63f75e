/* Fork-join: a deque of offered calls, in two parts.
 *
 *        base          tail            split             head       end
 *          | stolen ...  | for thieves   | the owner's     | free     |
 *          +-------------+---------------+-----------------+----------+
 *                         ^ oldest first                   ^ newest first
 *
 * The owner pushes and pops at `head`, which travels in a register (the place `at`), with plain
 * stores and one comparison each: while it stays at or above `split` no thief can be there, so it
 * needs neither a fence nor an atomic. Thieves take at `tail` by a compare-and-swap of `shared`,
 * which holds tail and split together. Only when a thief finds nothing between them it asks: it
 * sets the owner's `limit` to NULL, which makes the next push take the slow way and publish the
 * older half of the private part. So the cost of being stolen from is paid once a steal, not once a
 * fork; the idea is that of the split deque (van Dijk and van de Pol, "Lace: Non-blocking Split
 * Deque for Work-Stealing", Euro-Par 2014). What differs:
 *
 *  - one comparison on push serves both "a thief asks" and "the deque is full", like the stack
 *    limit of a language runtime;
 *  - a full deque is no error: the call runs at once, and its frame is kept aside for the join;
 *  - the owner takes published offers back by compare-and-swap, half of them at a time, instead of
 *    by a store and a fence;
 *  - idle workers sleep; their request stays behind in `limit`, and whoever serves it wakes one.
 *
 * A join that finds its offer stolen helps the thief: it steals from that worker's deque
 * (leapfrogging, Wagner and Calder 1993), which keeps the stack within that of the serial program
 * for each worker. When there is nothing to help with it watches for a while, then sleeps on the
 * offer's state.
 *
 * Refused: Chase-Lev (a full fence, 9 ns here, in every pop); the same with membarrier on the
 * thief's side (an interrupt to every core of the process for each steal); arguments in the
 * caller's own frame with pointers in the deque (the compiler can no longer turn the second call of
 * a binary recursion into a loop: 2.5 ns instead of 1.6). */
#include "worker_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <synor/base/mem.h>

/* An offer's state, a 32-bit futex word. */
#define OFFER_OPEN   0u
#define OFFER_DONE   1u
#define OFFER_SLEEPS 2u /* with a thief: the owner sleeps */
#define OFFER_TAKEN  4u /* times (index of the thief + 1) */

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
set_limit(struct syn_worker *worker, struct syn_fork *limit)
{
    __atomic_store_n(&worker->deque.limit, limit, __ATOMIC_RELAXED);
}

int
syn_fork_init(struct syn_worker *worker, unsigned depth, struct syn_err *err)
{
    struct syn_fork_deque *deque = &worker->deque;
    size_t bytes = ((size_t)depth + 1) * sizeof(struct syn_fork);
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
        (void)munmap(deque->base, (size_t)(deque->end - deque->base + 1) * sizeof(*deque->base));
    deque->base = NULL;
    syn_free(worker->overflow);
}

/* ---- the owner ---- */

/* Runs that found the deque full, see run_overflow(), moved `split` out of the way: put it back. */
static void
restore_split(struct syn_worker *worker)
{
    struct syn_fork_deque *deque = &worker->deque;

    if (deque->split > deque->end)
        deque->split =
            deque->base + split_of(atomic_load_explicit(&worker->shared, memory_order_relaxed));
}

/* Make the older half of the private offers, those below `top`, stealable. */
static void
publish(struct syn_worker *worker, const struct syn_fork *top)
{
    struct syn_fork_deque *deque = &worker->deque;
    size_t count = (size_t)(top - deque->split + 1) / 2;

    for (size_t i = 0; i < count; i++)
        atomic_store_explicit(state_of(&deque->split[i]), OFFER_OPEN, memory_order_relaxed);
    deque->split += count;
    SYN_PERTURB();
    (void)atomic_fetch_add_explicit(&worker->shared, (uint64_t)count << 32, memory_order_release);
}

/* The deque is full and the slot at `at`, the spare one behind its end, holds one more offer: run
 * it now and keep its frame for the join. From then on `split` lies beyond all slots, so that joins
 * take the slow way. Joins come in reverse order, so the frames kept are a stack. */
static struct syn_fork *
run_overflow(struct syn_worker *worker, struct syn_fork *at)
{
    struct syn_fork offer = *at;

    worker->deque.head = at;
    worker->deque.split = worker->deque.end + 1;
    offer.run(worker, at, offer.frame);
    if (!syn_grow(&worker->overflow, &worker->overflow_cap, worker->overflow_count + 1,
                  sizeof(*worker->overflow))) {
        (void)fprintf(stderr, "synor: out of memory for forks beyond fork_depth\n");
        abort(); /* as where a stack cannot grow */
    }
    worker->overflow[worker->overflow_count++] = offer;
    return at;
}

struct syn_fork *
syn_fork_slow(struct syn_worker *worker, struct syn_fork *at)
{
    struct syn_fork_deque *deque = &worker->deque;

    if (at >= deque->end)
        return run_overflow(worker, at);
    restore_split(worker);
    set_limit(worker, deque->end);
    publish(worker, at + 1);
    syn_worker_wake(worker->runtime);
    return at + 1;
}

/* Sleep until the thief is done, unless it is. */
static void
sleep_on(struct syn_fork *fork)
{
    _Atomic uint32_t *state = state_of(fork);
    uint32_t seen = atomic_load_explicit(state, memory_order_acquire);

    SYN_PERTURB();
    if (seen != OFFER_DONE && (seen & OFFER_SLEEPS) == 0 &&
        !atomic_compare_exchange_strong(state, &seen, seen | OFFER_SLEEPS))
        return; /* it just changed: look again */
    if (seen != OFFER_DONE)
        syn_waitword_sleep(state, seen | OFFER_SLEEPS);
}

/* The offer was stolen: help the thief until it is done. */
static void
await_thief(struct syn_worker *worker, struct syn_fork *fork)
{
    struct syn_runtime *runtime = worker->runtime;
    unsigned spins = 0;
    uint32_t state;

    while ((state = atomic_load_explicit(state_of(fork), memory_order_acquire)) != OFFER_DONE) {
        unsigned thief = state / OFFER_TAKEN;

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

/* Take back what was published and not stolen, the newer half of it. False: the offer at `at` was
 * stolen. */
static bool
reclaim(struct syn_worker *worker, uint32_t at)
{
    uint64_t shared = atomic_load_explicit(&worker->shared, memory_order_relaxed);

    assert(at + 1 == split_of(shared));
    SYN_PERTURB();
    while (tail_of(shared) <= at) {
        uint32_t split = tail_of(shared) + (at - tail_of(shared)) / 2;

        if (atomic_compare_exchange_weak_explicit(&worker->shared, &shared,
                                                  SHARED(tail_of(shared), split),
                                                  memory_order_acquire, memory_order_relaxed)) {
            worker->deque.split = worker->deque.base + split;
            return true;
        }
    }
    return false;
}

bool
syn_join_slow(struct syn_worker *worker, struct syn_fork *at)
{
    struct syn_fork_deque *deque = &worker->deque;
    uint32_t index = (uint32_t)(at - deque->base);

    if (at >= deque->end) {
        *at = worker->overflow[--worker->overflow_count];
        return false;
    }
    restore_split(worker);
    if (at >= deque->split || reclaim(worker, index))
        return true;
    /* The slot stays in place while we wait: its thief works on it. */
    deque->head = at + 1;
    await_thief(worker, at);
    SYN_PERTURB();
    atomic_store_explicit(&worker->shared, SHARED(index, index), memory_order_relaxed);
    deque->split = at;
    return false;
}

struct syn_fork *
syn_fork_call(struct syn_worker *worker, struct syn_fork *at, syn_fork_fn *run)
{
    return syn_fork(worker, at, run);
}

void
syn_join_call(struct syn_worker *worker, struct syn_fork *at)
{
    if (syn_join(worker, at))
        at->run(worker, at, at->frame);
}

/* ---- thieves ---- */

static void
run_stolen(struct syn_worker *thief, struct syn_fork *fork)
{
    struct syn_fork *at = thief->deque.head;
    _Atomic uint32_t *state = state_of(fork);

    SYN_PERTURB();
    atomic_store_explicit(state, OFFER_TAKEN * (thief->index + 1), memory_order_relaxed);
    syn_count(&thief->steals);
    fork->run(thief, at, fork->frame);
    thief->deque.head = at;
    SYN_PERTURB();
    /* The slot is the owner's again with this exchange; only its address is used after it. */
    if ((atomic_exchange_explicit(state, OFFER_DONE, memory_order_acq_rel) & OFFER_SLEEPS) != 0)
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

    SYN_PERTURB();
    while (tail_of(shared) < split_of(shared)) {
        if (atomic_compare_exchange_weak_explicit(&victim->shared, &shared, shared + 1,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            syn_worker_stop_watching(thief);
            pass_on(thief, victim, tail_of(shared) + 1 < split_of(shared));
            run_stolen(thief, &victim->deque.base[tail_of(shared)]);
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
        uint64_t shared = atomic_load_explicit(&runtime->workers[i]->shared, memory_order_relaxed);

        if (i != worker->index && tail_of(shared) < split_of(shared))
            return true;
    }
    return false;
}
