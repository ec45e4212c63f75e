/* Strategies: which worker runs which ready task, when, and in which power state.
 *
 * A strategy is an ops table. The runtime calls it when a task becomes ready and when a worker
 * wants work; the planner (synor/plan.h) calls the very same code on modelled devices. It reads no
 * clock, starts no thread, does no I/O: time comes in as values, estimates as tables.
 *
 * Concurrency: every call on one instance is serialised by the caller (a lock, or a combining
 * thread). What may change under a strategy without its lock are the values it reads through
 * pointers: `syn_estimate.ns[]` and `syn_replicas.valid` are written by others with relaxed atomic
 * stores and read with relaxed atomic loads; a stale value costs quality, never correctness.
 *
 * Cost: push, pop and done allocate nothing once the instance has seen as many tasks waiting at
 * once as it will see. Candidates are "groups": workers of one class on one memory node, which are
 * interchangeable, so a host with 64 cores and 8 GPUs has 9 of them, not 72. */
#ifndef SYNOR_STRATEGY_H
#define SYNOR_STRATEGY_H

#include <synor/access.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_STRATEGY_VERSION 1

#define SYN_CLASSES_MAX          16U  /* models of processor in one platform */
#define SYN_NODES_MAX            64U  /* memory nodes: one bit each in a mask */
#define SYN_PLATFORM_WORKERS_MAX 256U /* threads that run tasks */
#define SYN_STATES_MAX           8U   /* power states of a class */
#define SYN_LINKS_MAX            4096U

#define SYN_NEVER      UINT64_MAX /* an estimate: this class cannot run the task */
#define SYN_UNKNOWN_NS 0          /* an estimate: it can, nobody knows how long it takes */
#define SYN_NO_INDEX   UINT32_MAX
#define SYN_NO_WORKER  (-1)
#define SYN_NO_NODE    (-1)

/** Speed and power while a task runs. The first state of a class is its fastest: 1000. */
struct syn_power_state {
    uint32_t speed_permille; /* a task takes 1000 / speed_permille of its estimate */
    uint32_t busy_mw;
};

/** A model of processor: workers of one class take equally long for a task. */
struct syn_worker_class {
    char name[48];       /* the key of learnt models, as a profile's name */
    uint8_t kind;        /* enum syn_kind */
    uint8_t state_count; /* 0: one state, no power known */
    uint32_t idle_mw;
    uint32_t switch_ns; /* to change the power state */
    uint64_t price_ns;  /* price of a device-second in 10^-9 units; 0: free */
    struct syn_power_state states[SYN_STATES_MAX];
};

struct syn_worker_desc {
    uint16_t class_id;
    uint16_t node;   /* the memory that its tasks read and write */
    uint16_t domain; /* workers of one domain share a cache */
    uint16_t device; /* which processor; several workers may feed one */
};

/** One direction between two memory nodes. Links of one `bus` (not 0) take turns. */
struct syn_link_desc {
    uint16_t from;
    uint16_t to;
    uint16_t bus;
    uint32_t latency_ns;
    uint64_t bytes_per_s;
};

/** What a strategy is opened on. Nodes that no link joins are reached through node 0. */
struct syn_platform {
    uint32_t class_count;
    uint32_t worker_count;
    uint32_t node_count;
    uint32_t link_count;
    const struct syn_worker_class *classes;
    const struct syn_worker_desc *workers;
    const struct syn_link_desc *links;
    const uint64_t *node_bytes; /* capacity of each node; NULL, or 0: not limited */
};

/** How long a task takes on each class, in the fastest state: SYN_NEVER, SYN_UNKNOWN_NS, or ns. */
struct syn_estimate {
    uint64_t ns[SYN_CLASSES_MAX];
};

/** What a strategy needs to know of a tensor; the head of the memory manager's handle. */
struct syn_replicas {
    uint64_t valid; /* bit n: node n has a valid copy. 0: not written yet */
    uint64_t bytes;
};

/** One use of a tensor by a task; the head of the runtime's record of it. */
struct syn_data_use {
    const struct syn_replicas *data;
    uint32_t handle; /* dense numbers, from 0, within one graph; else any */
    uint32_t mode;   /* enum syn_access */
};

/** A task as strategies see it. The caller's memory, unchanged but for `slot` from push until pop
 * returns it or cancel takes it out; pop, done and cancel name it by its address. */
struct syn_ready {
    const struct syn_estimate *cost;
    const void *accesses; /* access_count records that begin with a struct syn_data_use */
    uint64_t deadline_ns; /* on the clock of `now_ns`; 0: none */
    int32_t priority;     /* higher first */
    uint32_t index;       /* in the graph given to graph(), or SYN_NO_INDEX */
    uint32_t slot;        /* the strategy's while it holds the task */
    uint16_t access_count;
    uint16_t access_stride; /* bytes from one record to the next */
    int16_t affinity;       /* the only worker that may run it, or SYN_NO_WORKER */
    int16_t origin;         /* the worker that made it ready, or SYN_NO_WORKER */
};

/** What push() decided, for the runtime to act upon. */
struct syn_place {
    int32_t worker; /* wake this one; SYN_NO_WORKER: any that is idle and can run it */
    int32_t node;   /* bring the task's data here meanwhile; SYN_NO_NODE: not decided yet */
};

/** Why a worker got nothing. */
enum syn_pop_why {
    SYN_POP_TASK,      /* it got something */
    SYN_POP_EMPTY,     /* nothing waits that it can run */
    SYN_POP_ELSEWHERE, /* what waits ends sooner where it is queued */
    SYN_POP_SAVING,    /* running it here would cost more energy or money than it is worth */
};

struct syn_pop {
    struct syn_ready *ready; /* NULL: nothing */
    uint8_t state;           /* power state to run it in */
    uint8_t why;             /* enum syn_pop_why */
};

/** A captured graph before it runs: what list schedulers rank by. Borrowed until the next graph()
 * or close(). */
struct syn_graph_view {
    uint32_t task_count;
    uint32_t handle_count;
    const struct syn_ready *tasks; /* by index; only cost, accesses, priority are looked at */
    const uint32_t *succ_first;    /* task_count + 1 offsets into succ */
    const uint32_t *succ;          /* topological: a successor's number is higher */
    const uint8_t *ended;          /* by index: not 0 if it has run before; NULL: none has */
    uint64_t patience_ns;          /* planning that takes longer does not pay; 0: however long */
};

/** Dials. Zeroed: the defaults. */
struct syn_strategy_opts {
    uint32_t slowdown_permille; /* energy, cost: how much longer than the fastest; 0: 30 */
    uint64_t deadline_ns;       /* energy, cost: a graph may take so long; 0: as slowdown says */
    uint32_t gamma_permille;    /* dmda, dmdas: weight of energy, ns a uJ in thousandths */
    uint64_t seed;              /* steal: where thieves begin */
    const void *extra;          /* for a strategy of your own: handed to open */
};

/** A strategy. `version` first; the ops marked optional may be NULL. */
struct syn_strategy_ops {
    uint32_t version; /* SYN_STRATEGY_VERSION */
    const char *name;
    const char *summary; /* one line for --help */

    /** The platform is borrowed until close. Returns 0; INVALID (a platform that cannot be), NOMEM.
     */
    int (*open)(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
                void **ret_self, struct syn_err *err);
    void (*close)(void *self);
    /** A task became ready. Returns 0; UNAVAILABLE (no class can run it), NOMEM; on failure the
     * strategy does not hold it. */
    int (*push)(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
                struct syn_err *err);
    /** Worker `worker` can begin a task. Never fails. */
    void (*pop)(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop);
    /** A popped task ended after `measured_ns`, its transfers not counted. */
    void (*done)(void *self, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
                 uint64_t now_ns);
    /** Let go of a task that was pushed and not popped. False: it is not here. */
    bool (*cancel)(void *self, struct syn_ready *ready);
    /** Optional. A captured graph will run next; its tasks carry their index. A strategy that plans
     * does it here. A graph of no tasks: the one before is over, and what was borrowed of it ends;
     * the strategy decides as it did before any. Returns 0; NOMEM, which leaves the strategy usable
     * without the plan. */
    int (*graph)(void *self, const struct syn_graph_view *graph, uint64_t now_ns,
                 struct syn_err *err);
    /** Optional. The worker is lost (true) or back. Its queued tasks stay; the caller cancels and
     * pushes again those that only it could run. */
    void (*lost)(void *self, uint32_t worker, bool lost);
};

/** Is this platform one that a strategy can be opened on? INVALID names the field. */
SYN_MUST SYN_API int syn_platform_check(const struct syn_platform *platform, struct syn_err *err);

/** The built-in strategy of that name, or NULL. "steal eager heft latency energy cost round-robin";
 * and, to measure against, the published rules "dmda dmdas heteroprio". */
SYN_API const struct syn_strategy_ops *syn_strategy_find(const char *name);
/** All of them, the first being the default. */
SYN_API const struct syn_strategy_ops *const *syn_strategies(size_t *ret_count);

#ifdef __cplusplus
}
#endif
#endif
