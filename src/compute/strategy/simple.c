/* eager, round-robin and steal: strategies that know nothing of time.
 *
 * eager: one pool, highest priority first, first come first served.
 * round-robin: each task to the next worker that can run it; nobody helps anybody.
 * steal: each task to where most of its data are, there to the worker that made it ready; a worker
 * takes its own newest, or of another, near ones first, the oldest that is to be had cheaply.
 *
 * eager keeps one queue a set of classes that can run a task (few: a kernel has implementations for
 * some kinds), so that a pop looks at as many heads and never at tasks that it cannot run. */
#include <string.h>

#include "strategy_priv.h"

#define SETS_MAX 64 /* queues by set of classes; the last takes what comes beyond */

struct pool {
    struct topology topology;
    struct queues queues;
    uint32_t sets[SETS_MAX]; /* bit c: class c can */
    uint32_t set_count;
    uint32_t next;      /* round-robin: the worker to begin with */
    uint32_t *owned;    /* steal: tasks on the worker's own queue, running one included */
    uint16_t *victims;  /* steal: by worker, all others, near ones first */
    int64_t descending; /* steal: newest first */
};

static void
pool_close(void *self)
{
    struct pool *pool = self;

    queues_fini(&pool->queues);
    topology_fini(&pool->topology);
    syn_free(pool->owned);
    syn_free(pool->victims);
    syn_free(pool);
}

static int
pool_open(const struct syn_platform *platform, uint32_t queues, struct pool **ret_pool,
          struct syn_err *err)
{
    struct pool *pool = syn_calloc(1, sizeof(*pool));
    int rc;

    if (pool == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    rc = topology_init(&pool->topology, platform, err);
    if (rc == 0)
        rc = queues_init(&pool->queues, queues, err);
    if (rc < 0) {
        pool_close(pool);
        return rc;
    }
    *ret_pool = pool;
    return SYN_OK;
}

static bool
pool_cancel(void *self, struct syn_ready *ready)
{
    struct pool *pool = self;

    return queues_remove(&pool->queues, ready);
}

static void
pool_lost(void *self, uint32_t worker, bool lost)
{
    struct pool *pool = self;
    uint64_t bit = UINT64_C(1) << (worker % 64);

    if (lost)
        pool->topology.lost[worker / 64] |= bit;
    else
        pool->topology.lost[worker / 64] &= ~bit;
}

static void
pool_done(void *self, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
          uint64_t now_ns)
{
    (void)self;
    (void)worker;
    (void)ready;
    (void)measured_ns;
    (void)now_ns;
}

static int
eager_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
           void **ret_self, struct syn_err *err)
{
    struct pool *pool = NULL;
    int rc = pool_open(platform, SETS_MAX + platform->worker_count, &pool, err);

    (void)opts;
    if (rc == 0)
        *ret_self = pool;
    return rc;
}

static uint32_t
set_of(struct pool *pool, const struct syn_ready *ready)
{
    uint32_t mask = 0, i = 0;

    for (uint32_t c = 0; c < pool->topology.platform->class_count; c++)
        mask |= (uint32_t)(ready_ns(ready, c) != SYN_NEVER) << c;
    while (i < pool->set_count && pool->sets[i] != mask)
        i++;
    if (i == pool->set_count && i < SETS_MAX - 1)
        pool->sets[pool->set_count++] = mask;
    return i;
}

static int
eager_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
           struct syn_err *err)
{
    struct pool *pool = self;
    int rc = topology_can(&pool->topology, ready, err);

    (void)now_ns;
    if (rc == 0)
        rc = queues_put(&pool->queues,
                        ready->affinity >= 0 ? SETS_MAX + (uint32_t)ready->affinity
                                             : set_of(pool, ready),
                        key_of(ready->priority), ready, err);
    if (rc == 0)
        *ret_place = (struct syn_place){ready->affinity, SYN_NO_NODE};
    return rc;
}

/* Is the item at the head of queue `a` to go before that of `b`? */
static bool
head_before(const struct queues *queues, uint32_t a, uint32_t b)
{
    const struct queue_item *x = &queues->queues[a].items[0], *y = &queues->queues[b].items[0];

    return x->key != y->key ? x->key > y->key : (int32_t)(x->seq - y->seq) < 0;
}

/* The last set is mixed: search it. */
static struct syn_ready *
take_mixed(struct pool *pool, uint32_t worker)
{
    const struct queue *queue = &pool->queues.queues[SETS_MAX - 1];
    size_t best = queue->count;

    for (size_t i = 0; i < queue->count; i++)
        if (worker_can(&pool->topology, queues_entry(&pool->queues, SETS_MAX - 1, i)->ready,
                       worker) &&
            (best == queue->count || queue->items[i].key > queue->items[best].key))
            best = i;
    return best == queue->count ? NULL : queues_take(&pool->queues, SETS_MAX - 1, best);
}

static void
eager_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct pool *pool = self;
    uint32_t class_id = pool->topology.platform->workers[worker].class_id;
    uint32_t best = SYN_NO_INDEX;

    (void)now_ns;
    *ret_pop = (struct syn_pop){.why = SYN_POP_EMPTY};
    if (worker_lost(&pool->topology, worker))
        return;
    if (pool->queues.queues[SETS_MAX + worker].count > 0)
        best = SETS_MAX + worker;
    for (uint32_t i = 0; i < pool->set_count; i++)
        if ((pool->sets[i] >> class_id & 1) != 0 && pool->queues.queues[i].count > 0 &&
            (best == SYN_NO_INDEX || head_before(&pool->queues, i, best)))
            best = i;
    ret_pop->ready =
        best == SYN_NO_INDEX ? take_mixed(pool, worker) : queues_take(&pool->queues, best, 0);
    if (ret_pop->ready != NULL)
        ret_pop->why = SYN_POP_TASK;
}

static int
turn_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
          void **ret_self, struct syn_err *err)
{
    struct pool *pool = NULL;
    int rc = pool_open(platform, platform->worker_count, &pool, err);

    (void)opts;
    if (rc == 0)
        *ret_self = pool;
    return rc;
}

static int
turn_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
          struct syn_err *err)
{
    struct pool *pool = self;
    uint32_t workers = pool->topology.platform->worker_count;
    uint32_t worker = pool->next;
    int rc = topology_can(&pool->topology, ready, err);

    (void)now_ns;
    if (rc < 0)
        return rc;
    while (!worker_can(&pool->topology, ready, worker) || worker_lost(&pool->topology, worker))
        worker = (worker + 1) % workers;
    rc = queues_put(&pool->queues, worker, key_of(ready->priority), ready, err);
    if (rc < 0)
        return rc;
    pool->next = (worker + 1) % workers;
    *ret_place = (struct syn_place){(int32_t)worker, pool->topology.platform->workers[worker].node};
    return SYN_OK;
}

static void
turn_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct pool *pool = self;

    (void)now_ns;
    *ret_pop = (struct syn_pop){.why = SYN_POP_ELSEWHERE};
    if (pool->queues.waiting == 0)
        ret_pop->why = SYN_POP_EMPTY;
    if (worker_lost(&pool->topology, worker) || pool->queues.queues[worker].count == 0)
        return;
    ret_pop->ready = queues_take(&pool->queues, worker, 0);
    ret_pop->why = SYN_POP_TASK;
}

/* Near: same domain, then same node, then the rest; among equals the next ones round. */
static unsigned
distance(const struct syn_platform *platform, uint32_t a, uint32_t b)
{
    if (platform->workers[a].node != platform->workers[b].node)
        return 2;
    return platform->workers[a].domain != platform->workers[b].domain;
}

static int
steal_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
           void **ret_self, struct syn_err *err)
{
    struct pool *pool = NULL;
    uint32_t workers = platform->worker_count;
    int rc = pool_open(platform, workers, &pool, err);

    if (rc < 0)
        return rc;
    assert(pool != NULL);
    pool->owned = syn_calloc(workers, sizeof(uint32_t));
    pool->victims = syn_calloc((size_t)workers * workers, sizeof(uint16_t));
    if (pool->owned == NULL || pool->victims == NULL) {
        pool_close(pool);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    }
    for (uint32_t w = 0; w < workers; w++) {
        uint16_t *next = pool->victims + (size_t)w * workers;

        for (unsigned far = 0; far <= 2; far++)
            for (uint32_t i = 1; i < workers; i++) {
                uint32_t victim = (w + i + (uint32_t)(opts->seed % workers)) % workers;

                if (victim != w && distance(platform, w, victim) == far)
                    *next++ = (uint16_t)victim;
            }
        *next = (uint16_t)w; /* ends the row */
    }
    *ret_self = pool;
    return SYN_OK;
}

/* Bytes of its data that are on this node already. */
static uint64_t
bytes_on(const struct syn_ready *ready, uint32_t node)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);

        if ((replicas_valid(access->data) >> node & 1) != 0)
            bytes += access->data->bytes;
    }
    return bytes;
}

/* Among the workers that can: most data, then the one that made it ready, then the least laden. */
static uint32_t
steal_choose(const struct pool *pool, const struct syn_ready *ready)
{
    const struct topology *topology = &pool->topology;
    uint32_t best = SYN_NO_INDEX;
    uint64_t most = 0;

    for (uint32_t g = 0; g < topology->group_count; g++) {
        const struct strategy_group *group = &topology->groups[g];
        uint64_t bytes;

        if (ready_ns(ready, group->class_id) == SYN_NEVER)
            continue;
        bytes = bytes_on(ready, group->node);
        for (uint32_t i = 0; i < group->count; i++) {
            uint32_t worker = topology->members[group->first + i];
            bool better = best == SYN_NO_INDEX || bytes > most ||
                          (bytes == most && pool->owned[worker] < pool->owned[best] &&
                           (int32_t)best != ready->origin) ||
                          (bytes == most && (int32_t)worker == ready->origin);

            if (better && worker_can(topology, ready, worker) && !worker_lost(topology, worker)) {
                best = worker;
                most = bytes;
            }
        }
    }
    return best;
}

static int
steal_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
           struct syn_err *err)
{
    struct pool *pool = self;
    uint32_t worker;
    int rc = topology_can(&pool->topology, ready, err);

    (void)now_ns;
    if (rc < 0)
        return rc;
    worker = steal_choose(pool, ready);
    assert(worker != SYN_NO_INDEX);
    /* The key's low half makes the newest come first. */
    rc = queues_put(&pool->queues, worker,
                    key_of(ready->priority) << 32 | (uint32_t)pool->descending, ready, err);
    if (rc < 0)
        return rc;
    pool->descending++;
    pool->owned[worker]++;
    *ret_place = (struct syn_place){(int32_t)worker, pool->topology.platform->workers[worker].node};
    return SYN_OK;
}

/* What a thief takes: the last leaf, which came early, unless more urgent work waits. */
static struct syn_ready *
rob(struct pool *pool, uint32_t victim, uint32_t thief)
{
    const struct queue *queue = &pool->queues.queues[victim];
    size_t at;

    if (queue->count == 0)
        return NULL;
    if (queue->items[queue->count - 1].key >> 32 == queue->items[0].key >> 32)
        at = queue->count - 1;
    else
        at = 0;
    if (!worker_can(&pool->topology, queues_entry(&pool->queues, victim, at)->ready, thief))
        for (at = 0; at < queue->count; at++)
            if (worker_can(&pool->topology, queues_entry(&pool->queues, victim, at)->ready, thief))
                break;
    if (at == queue->count)
        return NULL;
    pool->owned[victim]--;
    return queues_take(&pool->queues, victim, at);
}

static void
steal_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct pool *pool = self;
    const uint16_t *victim = pool->victims + (size_t)worker * pool->topology.platform->worker_count;

    (void)now_ns;
    *ret_pop = (struct syn_pop){.why = SYN_POP_EMPTY};
    if (pool->queues.waiting == 0 || worker_lost(&pool->topology, worker))
        return;
    if (pool->queues.queues[worker].count > 0) {
        ret_pop->ready = queues_take(&pool->queues, worker, 0);
        pool->owned[worker]--;
    }
    for (; ret_pop->ready == NULL && *victim != worker; victim++)
        ret_pop->ready = rob(pool, *victim, worker);
    if (ret_pop->ready != NULL)
        ret_pop->why = SYN_POP_TASK;
}

static bool
steal_cancel(void *self, struct syn_ready *ready)
{
    struct pool *pool = self;
    const struct queue_entry *entry = queues_find(&pool->queues, ready);

    if (entry == NULL)
        return false;
    pool->owned[entry->queue]--;
    return queues_remove(&pool->queues, ready);
}

const struct syn_strategy_ops strategy_eager = {
    .version = SYN_STRATEGY_VERSION,
    .name = "eager",
    .summary = "one pool, by priority, to whoever asks first",
    .open = eager_open,
    .close = pool_close,
    .push = eager_push,
    .pop = eager_pop,
    .done = pool_done,
    .cancel = pool_cancel,
    .lost = pool_lost,
};

const struct syn_strategy_ops strategy_round_robin = {
    .version = SYN_STRATEGY_VERSION,
    .name = "round-robin",
    .summary = "to each worker in turn",
    .open = turn_open,
    .close = pool_close,
    .push = turn_push,
    .pop = turn_pop,
    .done = pool_done,
    .cancel = pool_cancel,
    .lost = pool_lost,
};

const struct syn_strategy_ops strategy_steal = {
    .version = SYN_STRATEGY_VERSION,
    .name = "steal",
    .summary = "where the data are; idle workers steal, near ones first",
    .open = steal_open,
    .close = pool_close,
    .push = steal_push,
    .pop = steal_pop,
    .done = pool_done,
    .cancel = steal_cancel,
    .lost = pool_lost,
};
