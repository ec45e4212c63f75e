/* What the strategies share: the platform as groups of like workers, transfer estimates, queues.
 *
 * A group is the workers of one class on one memory node: a task is as long on each and its data
 * are as near, so a decision looks at groups and not at workers.
 *
 * A queue set holds waiting tasks in binary heaps, entries in one pool; an entry knows its place,
 * so that cancel need not search. The order: higher key first, then first come. */
#ifndef SYNOR_COMPUTE_STRATEGY_PRIV_H
#define SYNOR_COMPUTE_STRATEGY_PRIV_H

#include <synor/base/mem.h>
#include <synor/strategy.h>

/* What a task of unknown length is taken to last, until one has run. */
#define STRATEGY_UNKNOWN_NS UINT64_C(10000)

struct strategy_group {
    uint16_t class_id;
    uint16_t node;
    uint32_t first; /* its workers: members[first] to members[first + count - 1] */
    uint32_t count;
};

struct strategy_route {
    uint64_t latency_ns;
    uint64_t mib_ns; /* per 2^20 bytes; UINT64_MAX: no way */
};

#define TOPOLOGY_ROWS_LOG2 6 /* of transfer times that are remembered */

struct strategy_row {
    uint64_t valid, bytes; /* valid 0: an empty row */
};

struct topology {
    const struct syn_platform *platform;
    struct strategy_group *groups;
    uint32_t group_count;
    uint16_t *members;
    uint16_t *group_of;              /* by worker */
    struct strategy_route *routes;   /* from x to */
    struct strategy_row *rows;       /* by hash; and by hash and group, */
    uint64_t *row_ns;                /* what that takes; see topology.c */
    uint64_t direct[SYN_NODES_MAX];  /* nodes that a link joins with it, this way */
    uint16_t lane_of[SYN_NODES_MAX]; /* nodes whose link from the host is on one bus: the first */
    uint64_t lost[SYN_PLATFORM_WORKERS_MAX / 64];
};

SYN_MUST int topology_init(struct topology *topology, const struct syn_platform *platform,
                           struct syn_err *err);
void topology_fini(struct topology *topology);

static inline uint64_t
route_ns(const struct strategy_route *route, uint64_t bytes)
{
    return route->latency_ns + ((bytes >> 10) * route->mib_ns >> 10);
}

/* Time to bring `bytes` to `node` from the nearest of the nodes in `valid`; 0 if it is there or
 * nowhere. Where the host has a copy, whoever would send his over the host need not be asked. */
static inline uint64_t
topology_move_ns(const struct topology *topology, uint64_t valid, uint64_t bytes, uint32_t node)
{
    const struct strategy_route *routes = topology->routes + node;
    uint64_t least = UINT64_MAX;

    if (valid == 0 || (valid >> node & 1) != 0)
        return 0;
    if ((valid & topology->direct[node] & 1) != 0)
        valid &= topology->direct[node];
    for (; valid != 0; valid &= valid - 1) {
        const struct strategy_route *route =
            &routes[(size_t)__builtin_ctzll(valid) * topology->platform->node_count];
        uint64_t ns = route->mib_ns == UINT64_MAX ? UINT64_MAX : route_ns(route, bytes);

        least = ns < least ? ns : least;
    }
    return least;
}

static inline uint64_t
replicas_valid(const struct syn_replicas *data)
{
    return __atomic_load_n(&data->valid, __ATOMIC_RELAXED);
}

static inline const struct syn_data_use *
ready_access(const struct syn_ready *ready, uint32_t i)
{
    return (const struct syn_data_use *)(const void *)((const char *)ready->accesses +
                                                       (size_t)i * ready->access_stride);
}

/* Time to bring all that a task reads to `node`. */
uint64_t topology_moves_ns(const struct topology *topology, const struct syn_ready *ready,
                           uint32_t node);
/* Of that, what it also writes, which leaves where it was. */
uint64_t topology_drag_ns(const struct topology *topology, const struct syn_ready *ready,
                          uint32_t node);
/* The same as the first for each group; remembers rows of that. */
void topology_moves(struct topology *topology, const struct syn_ready *ready, uint64_t *ret_ns);
/* Nodes where all is that it reads. */
uint64_t topology_here(const struct syn_ready *ready);

/* Estimate on a class; SYN_NEVER stays, unknown becomes STRATEGY_UNKNOWN_NS. */
static inline uint64_t
ready_ns(const struct syn_ready *ready, uint32_t class_id)
{
    uint64_t ns = __atomic_load_n(&ready->cost->ns[class_id], __ATOMIC_RELAXED);

    return ns == SYN_UNKNOWN_NS ? STRATEGY_UNKNOWN_NS : ns;
}

/* Copy what a policy says of each task, or NULL, which stays NULL. False: out of memory. */
bool column_copy(const void *from, uint32_t count, size_t size, void *ret_copy);

/* Copies of tables of estimates, and whether one is off by more than a part of what it was. */
void estimates_note(struct syn_estimate *believed, const struct syn_estimate *const *costs,
                    uint32_t count);
bool estimates_drifted(const struct syn_estimate *believed, const struct syn_estimate *const *costs,
                       uint32_t count, uint32_t part);

static inline bool
worker_lost(const struct topology *topology, uint32_t worker)
{
    return (topology->lost[worker / 64] >> (worker % 64) & 1) != 0;
}

/* May this worker run it at all? */
static inline bool
worker_can(const struct topology *topology, const struct syn_ready *ready, uint32_t worker)
{
    return (ready->affinity < 0 || (uint32_t)ready->affinity == worker) &&
           ready_ns(ready, topology->platform->workers[worker].class_id) != SYN_NEVER;
}

/* Is there a worker, not lost, that can? UNAVAILABLE. */
SYN_MUST int topology_can(const struct topology *topology, const struct syn_ready *ready,
                          struct syn_err *err);

struct queue_item {
    uint64_t key;
    uint32_t seq;
    uint32_t entry;
};

struct queue_entry {
    struct syn_ready *ready;
    uint64_t ns;    /* the strategy's: what it counted for this task */
    uint64_t aux;   /* the strategy's */
    uint32_t queue; /* SYN_NO_INDEX: free */
    uint32_t at;    /* place in the queue's heap; of a free entry the next free one */
};

struct queue {
    struct queue_item *items;
    size_t count, cap;
};

struct queues {
    struct queue *queues;
    uint32_t count;
    struct queue_entry *entries;
    size_t entry_count, entry_cap;
    uint32_t free_entry;
    uint32_t seq;
    size_t waiting;
};

SYN_MUST int queues_init(struct queues *queues, uint32_t count, struct syn_err *err);
void queues_fini(struct queues *queues);
SYN_MUST int queues_put(struct queues *queues, uint32_t queue, uint64_t key,
                        struct syn_ready *ready, struct syn_err *err);
/* Let go of the item at this place of the heap. */
struct syn_ready *queues_take(struct queues *queues, uint32_t queue, size_t at);
/* Make it a heap again after its keys were changed in place. */
void queues_sort(struct queues *queues, uint32_t queue);
/* The entry of a task that waits here, or NULL. */
struct queue_entry *queues_find(struct queues *queues, const struct syn_ready *ready);
bool queues_remove(struct queues *queues, const struct syn_ready *ready);

static inline struct queue_entry *
queues_entry(const struct queues *queues, uint32_t queue, size_t at)
{
    return &queues->entries[queues->queues[queue].items[at].entry];
}

/* A signed priority as a key. */
static inline uint64_t
key_of(int32_t priority)
{
    return (uint64_t)((int64_t)priority - INT32_MIN);
}

/* The tables of the strategies, one file each or a family. */
extern const struct syn_strategy_ops strategy_steal, strategy_eager, strategy_round_robin;
extern const struct syn_strategy_ops strategy_heft, strategy_latency, strategy_energy,
    strategy_cost;
extern const struct syn_strategy_ops strategy_dmda, strategy_dmdas, strategy_heteroprio;

#endif
