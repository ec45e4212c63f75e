/* A ring of jobs under one lock. A worker is started only when a job finds no idle one, so a pool
 * that is never used costs no thread. */
#include <synor/base/pool.h>

#include <pthread.h>
#include <signal.h>

#include <synor/base/mem.h>

#define POOL_STACK_BYTES ((size_t)512 << 10)

struct job {
    void (*fn)(void *);
    void *arg;
};

struct syn_pool {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;  /* a job was queued, or the pool closes */
    pthread_cond_t quiet; /* nothing queued, nothing running */
    struct job *ring;
    unsigned ring_cap, ring_head, queued, running, idle;
    pthread_t *threads;
    unsigned threads_max, started;
    bool closing;
};

static void
lock(struct syn_pool *pool)
{
    int sys = pthread_mutex_lock(&pool->lock);

    assert(sys == 0);
    (void)sys;
}

static void
unlock(struct syn_pool *pool)
{
    int sys = pthread_mutex_unlock(&pool->lock);

    assert(sys == 0);
    (void)sys;
}

static struct job
ring_pop(struct syn_pool *pool)
{
    struct job job = pool->ring[pool->ring_head];

    assert(pool->queued > 0);
    pool->ring_head = (pool->ring_head + 1) % pool->ring_cap;
    pool->queued--;
    return job;
}

static void *
worker_main(void *arg)
{
    struct syn_pool *pool = arg;

    lock(pool);
    for (;;) {
        struct job job;

        while (pool->queued == 0 && !pool->closing) {
            pool->idle++;
            (void)pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
        }
        if (pool->queued == 0)
            break;
        job = ring_pop(pool);
        pool->running++;
        unlock(pool);
        job.fn(job.arg);
        lock(pool);
        pool->running--;
        if (pool->queued == 0 && pool->running == 0)
            (void)pthread_cond_broadcast(&pool->quiet);
    }
    unlock(pool);
    return NULL;
}

/* Returns an errno value. Workers take no signals: those belong to the loops. */
static int
worker_start(struct syn_pool *pool)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int sys = pthread_attr_init(&attr);

    if (sys != 0)
        return sys;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    sys = pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
    if (sys == 0)
        sys = pthread_create(&pool->threads[pool->started], &attr, worker_main, pool);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    if (sys == 0)
        pool->started++;
    return sys;
}

/* With the lock held. */
static SYN_MUST int
push(struct syn_pool *pool, struct job job, struct syn_err *err)
{
    if (pool->closing)
        return SYN_FAIL(err, SYN_E_CANCELED, "the pool is closing");
    if (pool->queued == pool->ring_cap)
        return SYN_FAIL(err, SYN_E_LIMIT, "work queue full (%u jobs)", pool->ring_cap);
    if (pool->queued >= pool->idle && pool->started < pool->threads_max) {
        int sys = worker_start(pool);

        /* Short of threads, the job waits for one of those there are. */
        if (sys != 0 && pool->started == 0)
            return SYN_FAIL_SYS(err, sys, "cannot start a worker thread");
    }
    pool->ring[(pool->ring_head + pool->queued) % pool->ring_cap] = job;
    pool->queued++;
    (void)pthread_cond_signal(&pool->work);
    return SYN_OK;
}

int
syn_pool_run(struct syn_pool *pool, void (*fn)(void *), void *arg, struct syn_err *err)
{
    int rc;

    assert(fn != NULL);
    lock(pool);
    rc = push(pool, (struct job){.fn = fn, .arg = arg}, err);
    unlock(pool);
    return rc;
}

void
syn_pool_drain(struct syn_pool *pool)
{
    lock(pool);
    while (pool->queued > 0 || pool->running > 0)
        (void)pthread_cond_wait(&pool->quiet, &pool->lock);
    unlock(pool);
}

int
syn_pool_new(unsigned threads, unsigned queue_max, struct syn_pool **ret_pool, struct syn_err *err)
{
    struct syn_pool *pool = NULL;

    assert(threads > 0 && queue_max > 0 && queue_max <= UINT32_MAX / 2);
    pool = syn_calloc(1, sizeof(*pool));
    if (pool == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a thread pool");
    pool->ring = syn_calloc(queue_max, sizeof(*pool->ring));
    pool->threads = syn_calloc(threads, sizeof(*pool->threads));
    if (pool->ring == NULL || pool->threads == NULL) {
        syn_free(pool->ring);
        syn_free(pool->threads);
        syn_free(pool);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %u jobs", queue_max);
    }
    pool->ring_cap = queue_max;
    pool->threads_max = threads;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    (void)pthread_cond_init(&pool->quiet, NULL);
    *ret_pool = pool;
    return SYN_OK;
}

struct syn_pool *
syn_pool_free(struct syn_pool *pool)
{
    if (pool == NULL)
        return NULL;
    lock(pool);
    assert(!pool->closing);
    pool->closing = true;
    (void)pthread_cond_broadcast(&pool->work);
    unlock(pool);
    for (unsigned i = 0; i < pool->started; i++)
        (void)pthread_join(pool->threads[i], NULL);
    assert(pool->queued == 0 && pool->running == 0);
    (void)pthread_cond_destroy(&pool->quiet);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    syn_free(pool->threads);
    syn_free(pool->ring);
    syn_free(pool);
    return NULL;
}
