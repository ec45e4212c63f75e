/* How many started interpreters of a kind (a language, as functions of some memory want it) should
 * wait on a node: a pure function of when it was asked for one lately. Whole numbers only;
 * docs/adr/0062 says why.
 *
 * What waits bridges the time until another one is made, so as many are wanted as were asked for
 * within that time where it was worst, in the last minutes. After that nothing is worth memory, but
 * for what comes by a clock: bursts whose distances agree are expected again, and are waited for
 * shortly before. */
#ifndef SYNOR_ORCHESTRATION_WARM_POOL_H
#define SYNOR_ORCHESTRATION_WARM_POOL_H

#include <stddef.h>
#include <stdint.h>

#define SYN_WARM_POOL_ASKED  32 /* are remembered */
#define SYN_WARM_POOL_BURSTS 4  /* that must agree */
/** So long after the last one was asked for, none waits. */
#define SYN_WARM_POOL_KEPT_MS INT64_C(600000)

/** What is known of a kind. All zero: nothing yet. */
struct syn_warm_pool {
    int64_t asked_ms[SYN_WARM_POOL_ASKED]; /* a ring */
    size_t asked;                          /* so many, ever */
    int64_t make_ms;                       /* what making one takes, averaged; 0: not known */
};

/** One was asked for, whether there was one or not. Times that go back count as the last one. */
void syn_warm_pool_asked(struct syn_warm_pool *pool, int64_t now_ms);
/** One was made. */
void syn_warm_pool_made(struct syn_warm_pool *pool, int64_t took_ms);
/** How many should wait now, at most `max`. */
size_t syn_warm_pool_wanted(const struct syn_warm_pool *pool, int64_t now_ms, size_t max);

#endif
