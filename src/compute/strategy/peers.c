/* Published rules, to measure ours against in the same simulator. Nothing here is ours but the C.
 *
 * dmda, dmdas: StarPU's "deque model data aware" policies (Augonnet, Thibault, Namyst, Wacrenier,
 * "StarPU: a unified platform for task scheduling on heterogeneous multicore architectures", CCPE
 * 2011; sched_policies/deque_modeling_policy_data_aware.c of StarPU 1.4). Each task goes, when it
 * becomes ready, to the worker with the least
 *
 *     fitness = alpha (exp_end - least exp_end) + beta penalty + gamma energy
 *               + gamma idle_power max(0, exp_end - latest exp_end)
 *
 * with exp_end = max(now, exp_start) + exp_len + length, penalty the transfer time of what is not
 * there, alpha = beta = 1. Its queue's length grows by the length and by that part of the transfer
 * which does not fit before it. dmda's queues are FIFO, dmdas's are sorted by priority. Gamma is
 * opts.gamma_permille: 1000 is StarPU's default of 1000 us a joule, 0 (ours) leaves energy out.
 *
 * heteroprio: Agullo, Bramas, Coulaud, Darve, Messner, Takahashi, "Task-based FMM for heterogeneous
 * architectures", CCPE 2016; Beaumont, Cojean, Eyraud-Dubois, Guermouche, Kumar, "Scheduling of
 * linear algebra kernels on multiple heterogeneous resources", HiPC 2016. One bucket a kernel; a
 * worker takes from the bucket on which its class is best compared with the others, and a slower
 * class takes only what would keep the fastest one's workers busy for longer than it needs. */
#include <string.h>

#include "strategy_priv.h"

struct fifo {
    uint64_t start_ns; /* when what it runs is expected to end */
    uint64_t len_ns;   /* of what waits */
};

struct dmda {
    struct topology topology;
    struct queues queues; /* one a worker */
    struct fifo *fifos;
    uint64_t gamma_permille;
    bool sorted;
};

static void
dmda_close(void *self)
{
    struct dmda *dmda = self;

    queues_fini(&dmda->queues);
    topology_fini(&dmda->topology);
    syn_free(dmda->fifos);
    syn_free(dmda);
}

static int
dmda_make(const struct syn_platform *platform, const struct syn_strategy_opts *opts, bool sorted,
          void **ret_self, struct syn_err *err)
{
    struct dmda *dmda = syn_calloc(1, sizeof(*dmda));
    int rc;

    if (dmda == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    rc = topology_init(&dmda->topology, platform, err);
    if (rc == 0)
        rc = queues_init(&dmda->queues, platform->worker_count, err);
    if (rc == 0) {
        dmda->fifos = syn_calloc(platform->worker_count, sizeof(dmda->fifos[0]));
        if (dmda->fifos == NULL)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    }
    if (rc < 0) {
        dmda_close(dmda);
        return rc;
    }
    dmda->gamma_permille = opts->gamma_permille;
    dmda->sorted = sorted;
    *ret_self = dmda;
    return SYN_OK;
}

static int
dmda_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
          void **ret_self, struct syn_err *err)
{
    return dmda_make(platform, opts, false, ret_self, err);
}

static int
dmdas_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
           void **ret_self, struct syn_err *err)
{
    return dmda_make(platform, opts, true, ret_self, err);
}

struct forecast {
    uint64_t end_ns[SYN_PLATFORM_WORKERS_MAX]; /* SYN_NEVER: cannot */
    uint64_t least_ns, latest_ns;
};

static void
dmda_forecast(const struct dmda *dmda, const struct syn_ready *ready, uint64_t now_ns,
              struct forecast *forecast)
{
    const struct syn_platform *platform = dmda->topology.platform;

    forecast->least_ns = UINT64_MAX;
    forecast->latest_ns = 0;
    for (uint32_t w = 0; w < platform->worker_count; w++) {
        uint64_t begin = SYN_MAX(now_ns, dmda->fifos[w].start_ns) + dmda->fifos[w].len_ns;

        forecast->latest_ns = SYN_MAX(forecast->latest_ns, begin);
        forecast->end_ns[w] = SYN_NEVER;
        if (!worker_can(&dmda->topology, ready, w) || worker_lost(&dmda->topology, w))
            continue;
        forecast->end_ns[w] = begin + ready_ns(ready, platform->workers[w].class_id);
        forecast->least_ns = SYN_MIN(forecast->least_ns, forecast->end_ns[w]);
    }
}

static uint64_t
fitness(const struct dmda *dmda, const struct syn_ready *ready, uint32_t worker,
        const struct forecast *forecast)
{
    uint32_t class_id = dmda->topology.platform->workers[worker].class_id;
    const struct syn_worker_class *class = &dmda->topology.platform->classes[class_id];
    uint64_t busy_mw = class->state_count > 0 ? class->states[0].busy_mw : 0;
    uint64_t end_ns = forecast->end_ns[worker];
    syn_u128 energy_pj = (syn_u128)busy_mw * ready_ns(ready, class_id);

    if (end_ns > forecast->latest_ns)
        energy_pj += (syn_u128) class->idle_mw * (end_ns - forecast->latest_ns);
    return end_ns - forecast->least_ns +
           topology_moves_ns(&dmda->topology, ready,
                             dmda->topology.platform->workers[worker].node) +
           (uint64_t)(energy_pj * dmda->gamma_permille / 1000000000U);
}

static int
dmda_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
          struct syn_err *err)
{
    struct dmda *dmda = self;
    const struct syn_platform *platform = dmda->topology.platform;
    struct forecast forecast;
    uint32_t best = SYN_NO_INDEX;
    uint64_t least = UINT64_MAX, move_ns, free_ns, length_ns;
    int rc = topology_can(&dmda->topology, ready, err);

    if (rc < 0)
        return rc;
    dmda_forecast(dmda, ready, now_ns, &forecast);
    for (uint32_t w = 0; w < platform->worker_count; w++) {
        uint64_t value;

        if (forecast.end_ns[w] == SYN_NEVER)
            continue;
        value = fitness(dmda, ready, w, &forecast);
        if (value < least) {
            least = value;
            best = w;
        }
    }
    assert(best != SYN_NO_INDEX);
    rc = queues_put(&dmda->queues, best, dmda->sorted ? key_of(ready->priority) : 0, ready, err);
    if (rc < 0)
        return rc;
    move_ns = topology_moves_ns(&dmda->topology, ready, platform->workers[best].node);
    free_ns = SYN_MAX(now_ns, dmda->fifos[best].start_ns) + dmda->fifos[best].len_ns;
    length_ns = ready_ns(ready, platform->workers[best].class_id);
    if (now_ns + move_ns > free_ns)
        length_ns += now_ns + move_ns - free_ns;
    queues_find(&dmda->queues, ready)->ns = length_ns;
    dmda->fifos[best].len_ns += length_ns;
    *ret_place = (struct syn_place){(int32_t)best, platform->workers[best].node};
    return SYN_OK;
}

static void
dmda_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct dmda *dmda = self;
    struct fifo *fifo = &dmda->fifos[worker];
    uint64_t ns;

    *ret_pop = (struct syn_pop){.why = SYN_POP_ELSEWHERE};
    if (dmda->queues.waiting == 0)
        ret_pop->why = SYN_POP_EMPTY;
    if (dmda->queues.queues[worker].count == 0 || worker_lost(&dmda->topology, worker))
        return;
    ns = queues_entry(&dmda->queues, worker, 0)->ns;
    fifo->len_ns -= SYN_MIN(fifo->len_ns, ns);
    ret_pop->ready = queues_take(&dmda->queues, worker, 0);
    ret_pop->why = SYN_POP_TASK;
    fifo->start_ns = now_ns +
                     ready_ns(ret_pop->ready, dmda->topology.platform->workers[worker].class_id) +
                     topology_moves_ns(&dmda->topology, ret_pop->ready,
                                       dmda->topology.platform->workers[worker].node);
}

static void
dmda_done(void *self, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
          uint64_t now_ns)
{
    struct dmda *dmda = self;

    (void)ready;
    (void)measured_ns;
    dmda->fifos[worker].start_ns = now_ns;
}

static bool
dmda_cancel(void *self, struct syn_ready *ready)
{
    struct dmda *dmda = self;
    const struct queue_entry *entry = queues_find(&dmda->queues, ready);

    if (entry == NULL)
        return false;
    dmda->fifos[entry->queue].len_ns -= SYN_MIN(dmda->fifos[entry->queue].len_ns, entry->ns);
    return queues_remove(&dmda->queues, ready);
}

static void
dmda_lost(void *self, uint32_t worker, bool lost)
{
    struct dmda *dmda = self;
    uint64_t bit = UINT64_C(1) << (worker % 64);

    dmda->topology.lost[worker / 64] = (dmda->topology.lost[worker / 64] & ~bit) | (lost ? bit : 0);
}

#define BUCKETS_MAX 256 /* kernels at one size; those beyond share the last */

struct heteroprio {
    struct topology topology;
    struct queues queues; /* one a bucket, then one a worker for tasks bound to it */
    const struct syn_estimate *costs[BUCKETS_MAX];
    uint32_t bucket_count;
    uint32_t workers_of[SYN_CLASSES_MAX];
};

static void
prio_close(void *self)
{
    struct heteroprio *prio = self;

    queues_fini(&prio->queues);
    topology_fini(&prio->topology);
    syn_free(prio);
}

static int
prio_open(const struct syn_platform *platform, const struct syn_strategy_opts *opts,
          void **ret_self, struct syn_err *err)
{
    struct heteroprio *prio = syn_calloc(1, sizeof(*prio));
    int rc;

    (void)opts;
    if (prio == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a strategy");
    rc = topology_init(&prio->topology, platform, err);
    if (rc == 0)
        rc = queues_init(&prio->queues, BUCKETS_MAX + platform->worker_count, err);
    if (rc < 0) {
        prio_close(prio);
        return rc;
    }
    for (uint32_t w = 0; w < platform->worker_count; w++)
        prio->workers_of[platform->workers[w].class_id]++;
    *ret_self = prio;
    return SYN_OK;
}

static int
prio_push(void *self, struct syn_ready *ready, uint64_t now_ns, struct syn_place *ret_place,
          struct syn_err *err)
{
    struct heteroprio *prio = self;
    uint32_t bucket = 0;
    int rc = topology_can(&prio->topology, ready, err);

    (void)now_ns;
    if (rc < 0)
        return rc;
    while (bucket < prio->bucket_count && prio->costs[bucket] != ready->cost)
        bucket++;
    if (bucket == prio->bucket_count && bucket < BUCKETS_MAX)
        prio->costs[prio->bucket_count++] = ready->cost;
    bucket = SYN_MIN(bucket, BUCKETS_MAX - 1);
    if (ready->affinity >= 0)
        bucket = BUCKETS_MAX + (uint32_t)ready->affinity;
    *ret_place = (struct syn_place){ready->affinity, SYN_NO_NODE};
    return queues_put(&prio->queues, bucket, key_of(ready->priority), ready, err);
}

/* The class on which it is fastest, and, for `class_id`, the ratio to the best of the others. */
static uint32_t
prio_fastest(const struct heteroprio *prio, const struct syn_ready *ready, uint32_t class_id,
             double *ret_ratio)
{
    uint64_t own = ready_ns(ready, class_id), other = SYN_NEVER;
    uint32_t best = class_id;

    for (uint32_t c = 0; c < prio->topology.platform->class_count; c++) {
        uint64_t ns = ready_ns(ready, c);

        if (c == class_id || prio->workers_of[c] == 0)
            continue;
        if (ns < other)
            other = ns;
        if (ns < ready_ns(ready, best))
            best = c;
    }
    *ret_ratio = other == SYN_NEVER ? 0 : (double)own / (double)SYN_MAX(other, 1);
    return best;
}

static void
prio_pop(void *self, uint32_t worker, uint64_t now_ns, struct syn_pop *ret_pop)
{
    struct heteroprio *prio = self;
    uint32_t class_id = prio->topology.platform->workers[worker].class_id;
    uint32_t bucket = SYN_NO_INDEX;
    double least = 0;

    (void)now_ns;
    *ret_pop =
        (struct syn_pop){.why = prio->queues.waiting == 0 ? SYN_POP_EMPTY : SYN_POP_ELSEWHERE};
    if (worker_lost(&prio->topology, worker))
        return;
    for (uint32_t i = 0; i < prio->bucket_count; i++) {
        const struct syn_ready *ready;
        uint32_t fastest;
        double ratio;

        if (prio->queues.queues[i].count == 0)
            continue;
        ready = queues_entry(&prio->queues, i, 0)->ready;
        if (!worker_can(&prio->topology, ready, worker))
            continue;
        fastest = prio_fastest(prio, ready, class_id, &ratio);
        if (fastest != class_id &&
            (double)prio->queues.queues[i].count / prio->workers_of[fastest] < ratio)
            continue;
        if (bucket == SYN_NO_INDEX || ratio < least) {
            bucket = i;
            least = ratio;
        }
    }
    if (prio->queues.queues[BUCKETS_MAX + worker].count > 0)
        bucket = BUCKETS_MAX + worker;
    if (bucket == SYN_NO_INDEX)
        return;
    ret_pop->ready = queues_take(&prio->queues, bucket, 0);
    ret_pop->why = SYN_POP_TASK;
}

static void
prio_done(void *self, uint32_t worker, const struct syn_ready *ready, uint64_t measured_ns,
          uint64_t now_ns)
{
    (void)self;
    (void)worker;
    (void)ready;
    (void)measured_ns;
    (void)now_ns;
}

static bool
prio_cancel(void *self, struct syn_ready *ready)
{
    struct heteroprio *prio = self;

    return queues_remove(&prio->queues, ready);
}

static void
prio_lost(void *self, uint32_t worker, bool lost)
{
    struct heteroprio *prio = self;
    uint64_t bit = UINT64_C(1) << (worker % 64);
    uint32_t class_id = prio->topology.platform->workers[worker].class_id;

    if (worker_lost(&prio->topology, worker) != lost)
        prio->workers_of[class_id] += lost ? UINT32_MAX : 1;
    prio->topology.lost[worker / 64] = (prio->topology.lost[worker / 64] & ~bit) | (lost ? bit : 0);
}

const struct syn_strategy_ops strategy_dmda = {
    .version = SYN_STRATEGY_VERSION,
    .name = "dmda",
    .summary = "StarPU's rule: least expected end plus transfer (to measure against)",
    .open = dmda_open,
    .close = dmda_close,
    .push = dmda_push,
    .pop = dmda_pop,
    .done = dmda_done,
    .cancel = dmda_cancel,
    .lost = dmda_lost,
};

const struct syn_strategy_ops strategy_dmdas = {
    .version = SYN_STRATEGY_VERSION,
    .name = "dmdas",
    .summary = "dmda with queues sorted by priority (to measure against)",
    .open = dmdas_open,
    .close = dmda_close,
    .push = dmda_push,
    .pop = dmda_pop,
    .done = dmda_done,
    .cancel = dmda_cancel,
    .lost = dmda_lost,
};

const struct syn_strategy_ops strategy_heteroprio = {
    .version = SYN_STRATEGY_VERSION,
    .name = "heteroprio",
    .summary = "each class takes what it is best at (to measure against)",
    .open = prio_open,
    .close = prio_close,
    .push = prio_push,
    .pop = prio_pop,
    .done = prio_done,
    .cancel = prio_cancel,
    .lost = prio_lost,
};
