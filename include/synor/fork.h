/* Fork-join inside a worker: the cheapest parallelism there is, a few stores to offer a call to
 * others and one comparison to take it back.
 *
 *     struct half {
 *         long n, value;                   // arguments and results, SYN_FORK_FRAME_MAX bytes
 *     };
 *
 *     static long fib(struct syn_worker *worker, struct syn_fork *at, long n);
 *
 *     static void fib_stolen(struct syn_worker *worker, struct syn_fork *at, void *frame)
 *     {
 *         struct half *half = frame;
 *         half->value = fib(worker, at, half->n);
 *     }
 *
 *     static long fib(struct syn_worker *worker, struct syn_fork *at, long n)
 *     {
 *         struct half *half = syn_fork_frame(at);
 *         struct syn_fork *next;
 *         long other;
 *
 *         if (n < 2)
 *             return n;
 *         half->n = n - 1;
 *         next = syn_fork(worker, at, fib_stolen);     // others may run it from here on ...
 *         other = fib(worker, next, n - 2);
 *         if (syn_join(worker, at))                    // ... nobody did: it is ours again
 *             return other + fib(worker, at, half->n);
 *         return other + half->value;
 *     }
 *
 * `at` is the place where a call may fork: a slot of the worker's deque. Rules: fill the frame
 * before the fork; what is called between a fork and its join is given the place that syn_fork()
 * returned; every fork is joined in the same function, in reverse order, at the place that it was
 * made at. After syn_join() the frame holds what was put there, or what another worker made of it,
 * until the next fork at that place. Larger arguments lie elsewhere, with a pointer in the frame.
 *
 * How it works is told in src/compute/fork.c. `struct syn_fork_deque` is the inline functions'
 * business only; its layout is part of the ABI. */
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

#define SYN_FORK_FRAME_MAX 48

/** What another worker does with an offered call: `at` is its own place to fork, `frame` the
 *  offer's arguments and results. */
typedef void syn_fork_fn(struct syn_worker *worker, struct syn_fork *at, void *frame);

/** One slot: a call that is offered, or a place for one. */
struct syn_fork {
    syn_fork_fn *run;
    uint32_t state; /* set when the offer becomes visible to others */
    uint32_t reserved;
    uint64_t frame[SYN_FORK_FRAME_MAX / 8];
};

struct syn_fork_deque {
    struct syn_fork *head;  /* no open fork lies here or above */
    struct syn_fork *split; /* slots from here on are the owner's alone */
    struct syn_fork *base;
    struct syn_fork *end;
    uint64_t padding[12];
    struct syn_fork *volatile limit; /* a fork at or above it goes the slow way; `end`, or NULL
                               while somebody asks for work */
};

/* Others write the limit. An atomic load would do, but compilers keep its address in a register of
 * its own, which costs a fork of a few instructions a tenth of its time. */
#if defined(__SANITIZE_THREAD__)
#define SYN_FORK_LIMIT(deque) __atomic_load_n(&(deque)->limit, __ATOMIC_RELAXED)
#else
#define SYN_FORK_LIMIT(deque) ((deque)->limit)
#endif

SYN_API __attribute__((cold)) struct syn_fork *syn_fork_slow(struct syn_worker *worker,
                                                             struct syn_fork *at);
SYN_API __attribute__((cold)) bool syn_join_slow(struct syn_worker *worker, struct syn_fork *at);

/** The arguments and results of the offer made, or to be made, at this place. */
static inline void *
syn_fork_frame(struct syn_fork *at)
{
    return at->frame;
}

/** Offer a call to the other workers. Returns the place for what is called until the join. */
static inline struct syn_fork *
syn_fork(struct syn_worker *worker, struct syn_fork *at, syn_fork_fn *run)
{
    struct syn_fork_deque *deque = (struct syn_fork_deque *)(void *)worker;

    at->run = run;
    deque->head = at + 1;
    if (__builtin_expect(at >= SYN_FORK_LIMIT(deque), 0))
        return syn_fork_slow(worker, at);
    return at + 1;
}

/** Take the last offer back. True: nobody ran it, the caller has to. False: it is done; while
 *  another worker was still at it, this one helped that worker. */
static inline bool
syn_join(struct syn_worker *worker, struct syn_fork *at)
{
    const struct syn_fork_deque *deque = (const struct syn_fork_deque *)(const void *)worker;

    if (__builtin_expect(at >= deque->split, 1))
        return true;
    return syn_join_slow(worker, at);
}

/** The same as functions, for callers that cannot inline: plugins, other languages. The join runs
 *  the call itself when nobody else did. */
SYN_API struct syn_fork *syn_fork_call(struct syn_worker *worker, struct syn_fork *at,
                                       syn_fork_fn *run);
SYN_API void syn_join_call(struct syn_worker *worker, struct syn_fork *at);

#ifdef __cplusplus
}
#endif
#endif
