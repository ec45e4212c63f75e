/* Each submission puts a ticket into the pool. Whoever comes first does the work: a worker with the
 * ticket, or the feeding thread that would have to wait for it; a ticket that comes late finds
 * nothing to do. So a pool that is busy, or a machine that is, never leaves the feeder idle. */
#include "pipe_priv.h"

#include <pthread.h>

#include <synor/base/mem.h>

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_RUNNING, SLOT_DONE };

struct slot {
    struct syn_pipe *pipe;
    void *job;
    enum slot_state state;
    int rc;
    struct syn_err err;
};

struct syn_pipe {
    const struct syn_pipe_ops *ops;
    void *arg;
    struct syn_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a slot is done, or the last ticket has come in */
    unsigned tickets;
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
    (void)pthread_cond_init(&pipe->changed, NULL);
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

/* Do the slot's work unless somebody else does. */
static void
work_on(struct syn_pipe *pipe, struct slot *slot)
{
    int rc;

    (void)pthread_mutex_lock(&pipe->lock);
    if (slot->state != SLOT_WAITING) {
        (void)pthread_mutex_unlock(&pipe->lock);
        return;
    }
    slot->state = SLOT_RUNNING;
    (void)pthread_mutex_unlock(&pipe->lock);
    rc = pipe->ops->work(pipe->arg, slot->job, &slot->err);
    (void)pthread_mutex_lock(&pipe->lock);
    slot->rc = rc;
    slot->state = SLOT_DONE;
    (void)pthread_cond_broadcast(&pipe->changed);
    (void)pthread_mutex_unlock(&pipe->lock);
}

static void
use_ticket(void *arg)
{
    struct slot *slot = arg;
    struct syn_pipe *pipe = slot->pipe;

    work_on(pipe, slot);
    (void)pthread_mutex_lock(&pipe->lock);
    if (--pipe->tickets == 0)
        (void)pthread_cond_broadcast(&pipe->changed);
    (void)pthread_mutex_unlock(&pipe->lock);
}

static void
wait_for(struct syn_pipe *pipe, struct slot *slot)
{
    work_on(pipe, slot);
    (void)pthread_mutex_lock(&pipe->lock);
    while (slot->state != SLOT_DONE)
        (void)pthread_cond_wait(&pipe->changed, &pipe->lock);
    slot->state = SLOT_FREE;
    (void)pthread_mutex_unlock(&pipe->lock);
}

/* Before the slots go, or what the work relies on: no ticket may be left in the pool. */
static void
wait_for_tickets(struct syn_pipe *pipe)
{
    (void)pthread_mutex_lock(&pipe->lock);
    while (pipe->tickets > 0)
        (void)pthread_cond_wait(&pipe->changed, &pipe->lock);
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
    wait_for_tickets(pipe);
    for (unsigned i = 0; pipe->slots != NULL && i < pipe->count; i++) {
        if (pipe->ops->fini != NULL)
            pipe->ops->fini(pipe->slots[i].job);
        syn_free(pipe->slots[i].job);
    }
    syn_free(pipe->slots);
    (void)pthread_cond_destroy(&pipe->changed);
    (void)pthread_mutex_destroy(&pipe->lock);
    syn_free(pipe);
    return NULL;
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
    bool ticket;

    assert(pipe->busy < pipe->count && slot->state == SLOT_FREE);
    pipe->busy++;
    slot->rc = 0;
    slot->err = (struct syn_err){0};
    (void)pthread_mutex_lock(&pipe->lock);
    slot->state = SLOT_WAITING;
    ticket = pipe->pool != NULL;
    pipe->tickets += ticket;
    (void)pthread_mutex_unlock(&pipe->lock);
    /* A pool that is full is no failure: the feeder does it when it would wait. */
    if (ticket && syn_pool_run(pipe->pool, use_ticket, slot, NULL) < 0) {
        (void)pthread_mutex_lock(&pipe->lock);
        pipe->tickets--;
        (void)pthread_mutex_unlock(&pipe->lock);
    }
}

int
syn_pipe_drain(struct syn_pipe *pipe, struct syn_err *err)
{
    int rc = check_failed(pipe, err);

    while (rc == 0 && pipe->busy > 0)
        rc = collect_oldest(pipe, err);
    return rc;
}
