#include "pipe_priv.h"

#include <pthread.h>

#include <synor/base/mem.h>

struct slot {
    struct syn_pipe *pipe;
    void *job;
    int rc;
    bool done;
    struct syn_err err;
};

struct syn_pipe {
    const struct syn_pipe_ops *ops;
    void *arg;
    struct syn_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct slot *slots;
    unsigned count;
    unsigned first; /* oldest submitted */
    unsigned busy;
    int failed;
    struct syn_err why;
};

int
syn_pipe_new(struct syn_pool *pool, unsigned jobs, const struct syn_pipe_ops *ops, void *arg,
             struct syn_pipe **ret_pipe, struct syn_err *err)
{
    struct syn_pipe *pipe = syn_calloc(1, sizeof(*pipe));

    assert(jobs > 0);
    if (pipe == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a pipeline");
    pipe->ops = ops;
    pipe->arg = arg;
    pipe->pool = pool;
    (void)pthread_mutex_init(&pipe->lock, NULL);
    (void)pthread_cond_init(&pipe->done, NULL);
    pipe->slots = syn_calloc(jobs, sizeof(*pipe->slots));
    for (unsigned i = 0; pipe->slots != NULL && i < jobs; i++) {
        pipe->slots[i].pipe = pipe;
        pipe->slots[i].job = syn_calloc(1, ops->job_size);
        if (pipe->slots[i].job == NULL)
            break;
        pipe->count++;
    }
    if (pipe->count < jobs) {
        syn_pipe_free(pipe);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a pipeline");
    }
    *ret_pipe = pipe;
    return SYN_OK;
}

static void
wait_for(struct syn_pipe *pipe, const struct slot *slot)
{
    (void)pthread_mutex_lock(&pipe->lock);
    while (!slot->done)
        (void)pthread_cond_wait(&pipe->done, &pipe->lock);
    (void)pthread_mutex_unlock(&pipe->lock);
}

struct syn_pipe *
syn_pipe_free(struct syn_pipe *pipe)
{
    if (pipe == NULL)
        return NULL;
    for (; pipe->busy > 0; pipe->busy--) {
        wait_for(pipe, &pipe->slots[pipe->first]);
        pipe->first = (pipe->first + 1) % pipe->count;
    }
    for (unsigned i = 0; pipe->slots != NULL && i < pipe->count; i++) {
        if (pipe->ops->fini != NULL)
            pipe->ops->fini(pipe->slots[i].job);
        syn_free(pipe->slots[i].job);
    }
    syn_free(pipe->slots);
    (void)pthread_cond_destroy(&pipe->done);
    (void)pthread_mutex_destroy(&pipe->lock);
    syn_free(pipe);
    return NULL;
}

static void
run_slot(void *arg)
{
    struct slot *slot = arg;
    struct syn_pipe *pipe = slot->pipe;
    int rc = pipe->ops->work(pipe->arg, slot->job, &slot->err);

    (void)pthread_mutex_lock(&pipe->lock);
    slot->rc = rc;
    slot->done = true;
    (void)pthread_cond_signal(&pipe->done);
    (void)pthread_mutex_unlock(&pipe->lock);
}

static SYN_MUST int
fail_pipe(struct syn_pipe *pipe, int rc, const struct syn_err *why, struct syn_err *err)
{
    pipe->failed = rc;
    pipe->why = *why;
    if (err != NULL)
        *err = *why;
    return rc;
}

static SYN_MUST int
collect_oldest(struct syn_pipe *pipe, struct syn_err *err)
{
    struct slot *slot = &pipe->slots[pipe->first];
    struct syn_err why = {0};
    int rc;

    wait_for(pipe, slot);
    pipe->first = (pipe->first + 1) % pipe->count;
    pipe->busy--;
    if (slot->rc != 0)
        return fail_pipe(pipe, slot->rc, &slot->err, err);
    rc = pipe->ops->collect(pipe->arg, slot->job, &why);
    return rc == 0 ? SYN_OK : fail_pipe(pipe, rc, &why, err);
}

static SYN_MUST int
check_failed(const struct syn_pipe *pipe, struct syn_err *err)
{
    if (pipe->failed != 0 && err != NULL)
        *err = pipe->why;
    return pipe->failed;
}

int
syn_pipe_next(struct syn_pipe *pipe, void **ret_job, struct syn_err *err)
{
    int rc = check_failed(pipe, err);

    if (rc == 0 && pipe->busy == pipe->count)
        rc = collect_oldest(pipe, err);
    if (rc == 0)
        *ret_job = pipe->slots[(pipe->first + pipe->busy) % pipe->count].job;
    return rc;
}

void
syn_pipe_submit(struct syn_pipe *pipe)
{
    struct slot *slot = &pipe->slots[(pipe->first + pipe->busy) % pipe->count];

    assert(pipe->busy < pipe->count);
    pipe->busy++;
    slot->done = false;
    slot->rc = 0;
    slot->err = (struct syn_err){0};
    /* A pool that is full is no failure: the feeder lends a hand. */
    if (pipe->pool == NULL || syn_pool_run(pipe->pool, run_slot, slot, NULL) < 0)
        run_slot(slot);
}

int
syn_pipe_drain(struct syn_pipe *pipe, struct syn_err *err)
{
    int rc = check_failed(pipe, err);

    while (rc == 0 && pipe->busy > 0)
        rc = collect_oldest(pipe, err);
    return rc;
}
