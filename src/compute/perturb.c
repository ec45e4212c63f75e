/* Schedule perturbation, for tests: threads are held up at random where an order that seldom comes
 * would show a mistake. The runtime, the engine, the memory manager and the host's queues are
 * compiled once more with SYN_PERTURB_ON and linked in front of the library.
 *
 * A seed decides three things: which points are hot (one in eight, where a thread is held up every
 * fourth time, the rest only now and then), which threads are slow, and what each thread draws. Few
 * hot points at a time find more than a little noise everywhere: an order that needs one thread to
 * stop just there, and all others to go on, has to be had by stopping there, and for long. What the
 * seed does not decide is the rest of the machine, so a failure comes again after some rounds of
 * its seed, not always with the first.
 *
 * SYNOR_PERTURB_PERCENT makes all of them longer, or shorter.
 *
 * Everything shared here is read and written relaxed: nothing that ThreadSanitizer could take for
 * an order between threads. */
#include "perturb_priv.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include <synor/base/core.h>

#include "spin_priv.h"

#define HOT_SITES   8  /* one in so many points is hot */
#define HOT_TIMES   4  /* and holds a thread up every so many times */
#define COLD_TIMES  96 /* the others */
#define SPINS_MAX   400
#define NAP_MAX_NS  60000
#define LONG_NAP_NS 800000
#define LONG_TIMES  64 /* of those held up, one in so many for long */
#define PERCENT_MAX UINT64_C(100000)

static _Atomic uint64_t seed_now;
static _Atomic uint32_t threads;
static _Atomic uint32_t percent = 100; /* of how long a thread is held up */
static _Thread_local struct {
    uint64_t seed, random;
    uint32_t times; /* it is held up so many times less often */
} mine;

static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t
draw(void)
{
    mine.random += UINT64_C(0x9e3779b97f4a7c15);
    return mix(mine.random);
}

static void
read_percent(void)
{
    const char *text = getenv("SYNOR_PERTURB_PERCENT");
    uint64_t wanted = text != NULL ? strtoull(text, NULL, 10) : 100;

    atomic_store_explicit(&percent, (uint32_t)SYN_MIN(wanted, PERCENT_MAX), memory_order_relaxed);
}

void
syn_perturb_seed(uint64_t seed)
{
    read_percent();
    atomic_store_explicit(&threads, 0, memory_order_relaxed);
    atomic_store_explicit(&seed_now, seed, memory_order_relaxed);
}

static void
nap(int64_t ns)
{
    const struct timespec time = {
        0, ns / 100 * (int64_t)atomic_load_explicit(&percent, memory_order_relaxed)};

    (void)nanosleep(&time, NULL);
}

static void
hold_up(uint64_t random)
{
    unsigned way = (unsigned)(random >> 40) % 16;

    if ((random >> 20) % LONG_TIMES == 0) {
        nap(LONG_NAP_NS);
    } else if (way < 8) {
        (void)sched_yield();
    } else if (way < 13) {
        for (uint64_t i = (random >> 48) % SPINS_MAX *
                          atomic_load_explicit(&percent, memory_order_relaxed) / 100;
             i > 0; i--)
            syn_relax();
    } else {
        nap((int64_t)((random >> 44) % NAP_MAX_NS));
    }
}

void
syn_perturb(uint32_t site)
{
    uint64_t seed = atomic_load_explicit(&seed_now, memory_order_relaxed), random;
    bool hot;

    if (seed == 0)
        return;
    if (mine.seed != seed) {
        uint32_t number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);

        mine.seed = seed;
        mine.random = mix(seed ^ mix(number + 1));
        mine.times = draw() % 3 == 0 ? 1 : 4;
    }
    hot = mix(seed + site) % HOT_SITES == 0;
    random = draw();
    if ((uint32_t)random % ((hot ? HOT_TIMES : COLD_TIMES) * mine.times) == 0)
        hold_up(random);
}
