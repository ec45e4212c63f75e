/* Work in parallel, results in order: a ring of jobs that a pool works on and one thread feeds and
 * collects. The feeder does the collecting when the ring is full, so memory is bounded. */
#ifndef SYNOR_INFRA_PIPE_PRIV_H
#define SYNOR_INFRA_PIPE_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/pool.h>

struct syn_pipe;

struct syn_pipe_ops {
    size_t job_size; /* zeroed at first, then reused as left */
    /** On a worker. */
    int (*work)(void *arg, void *job, struct syn_err *err);
    /** In the feeding thread, in the order of submission, only after `work` gave 0. */
    int (*collect)(void *arg, void *job, struct syn_err *err);
    /** What jobs hold, at the end. May be NULL. */
    void (*fini)(void *job);
};

/** `pool` NULL works in the feeding thread. All are kept until the pipe is freed. */
SYN_MUST int syn_pipe_new(struct syn_pool *pool, unsigned jobs, const struct syn_pipe_ops *ops,
                          void *arg, struct syn_pipe **ret_pipe, struct syn_err *err);
/** Waits for running jobs; nothing is collected. */
struct syn_pipe *syn_pipe_free(struct syn_pipe *pipe);
/** A job to fill in, after collecting the oldest when all are busy. Filling the same one again
 * before submitting is fine. < 0: an earlier job failed; it stays failed. */
SYN_MUST int syn_pipe_next(struct syn_pipe *pipe, void **ret_job, struct syn_err *err);
/** Hand over the job of the last syn_pipe_next(). */
void syn_pipe_submit(struct syn_pipe *pipe);
/** Collect everything submitted. */
SYN_MUST int syn_pipe_drain(struct syn_pipe *pipe, struct syn_err *err);

#endif
