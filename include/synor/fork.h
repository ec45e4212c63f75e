/* Fork-join inside a worker: the cheapest parallelism there is, a few stores to offer a call to
 * others and one comparison to take it back.
 *
 *     struct fib {
 *         struct syn_fork fork;           // first or anywhere; lives in the caller's frame
 *         long n, value;
 *     };
 *
 *     static long fib(struct syn_worker *worker, long n);
 *
 *     static void fib_stolen(struct syn_worker *worker, struct syn_fork *fork)
 *     {
 *         struct fib *half = (struct fib *)fork;
 *         half->value = fib(worker, half->n);
 *     }
 *
 *     static long fib(struct syn_worker *worker, long n)
 *     {
 *         struct fib half = {.n = n - 1};
 *         long other;
 *
 *         if (n < 2)
 *             return n;
 *         syn_fork(worker, &half.fork, fib_stolen);    // others may run it from here on ...
 *         other = fib(worker, n - 2);
 *         if (syn_join(worker, &half.fork))            // ... nobody did: it is ours again
 *             half.value = fib(worker, half.n);
 *         return other + half.value;
 *     }
 *
 * Rules: every syn_fork() is followed by its syn_join() in the same function, in reverse order, on
 * the same worker; the frame stays where it is until then. A frame that came back from syn_join()
 * with false was run by another worker, and everything that it wrote is visible.
 *
 * How it works is told in src/compute/fork.c. The struct below is the inline functions' business
 * only; its layout is part of the ABI. */
#ifndef SYNOR_FORK_H
#define SYNOR_FORK_H

#include <stdbool.h>
#include <stdint.h>

#include <synor/base/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A thread's seat in the runtime. Handed to every function that the runtime calls; never kept. */
struct syn_worker;
struct syn_fork;

/** What another worker does with an offered call. */
typedef void syn_fork_fn(struct syn_worker *worker, struct syn_fork *fork);

/** An offered call; embed it in a struct with the call's arguments and results. */
struct syn_fork {
    syn_fork_fn *run;
    uint32_t state; /* set when the offer becomes visible to others */
    uint32_t reserved;
};

struct syn_fork_deque {
    struct syn_fork **head;  /* next free slot */
    struct syn_fork **split; /* slots from here on are the owner's alone */
    struct syn_fork **base;
    struct syn_fork **end;
    uint64_t overflow; /* offers that found no slot and ran at once */
    uint64_t padding[11];
    struct syn_fork **limit; /* atomic: a push at or above it goes the slow way; `end`, or NULL while
                                somebody asks for work */
};

SYN_API void syn_fork_slow(struct syn_worker *worker);
SYN_API bool syn_join_slow(struct syn_worker *worker, struct syn_fork *fork);

/** Offer a call to the other workers. */
static inline void
syn_fork(struct syn_worker *worker, struct syn_fork *fork, syn_fork_fn *run)
{
    struct syn_fork_deque *deque = (struct syn_fork_deque *)(void *)worker;
    struct syn_fork **head = deque->head;

    fork->run = run;
    *head = fork;
    deque->head = head + 1;
    if (__builtin_expect(head >= __atomic_load_n(&deque->limit, __ATOMIC_RELAXED), 0))
        syn_fork_slow(worker);
}

/** Take the last offer back. True: nobody ran it, the caller has to. False: it is done; while
 *  another worker was still at it, this one helped that worker. */
static inline bool
syn_join(struct syn_worker *worker, struct syn_fork *fork)
{
    struct syn_fork_deque *deque = (struct syn_fork_deque *)(void *)worker;
    struct syn_fork **head = deque->head - 1;

    deque->head = head;
    if (__builtin_expect(head >= deque->split, 1))
        return true;
    return syn_join_slow(worker, fork);
}

/** The same as functions, for callers that cannot inline: plugins, other languages. The join runs
 *  the call itself when nobody else did. */
SYN_API void syn_fork_call(struct syn_worker *worker, struct syn_fork *fork, syn_fork_fn *run);
SYN_API void syn_join_call(struct syn_worker *worker, struct syn_fork *fork);

#ifdef __cplusplus
}
#endif
#endif
