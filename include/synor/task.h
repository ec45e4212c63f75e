/* Tasks on data: what waits for what follows from what they read and write.
 *
 *     struct syn_data *a, *b;                 // handles, one a piece of data
 *
 *     syn_task_submit(runtime, &(struct syn_task_spec){
 *         .run = factor, .arg = tile, .uses = {{a, SYN_WRITE}}, .uses_count = 1}, NULL, &err);
 *     syn_task_submit(runtime, &(struct syn_task_spec){
 *         .run = update, .arg = other, .uses = {{a, SYN_READ}, {b, SYN_UPDATE}}, ...
 *
 * A run of the program in the order of submission is what every result equals: a task waits for the
 * last one before it that writes what it reads, and for everybody before it that reads or writes
 * what it writes. Nothing else waits for anything. Submissions from several threads are put in one
 * order too, some order.
 *
 * Tasks that commute (SYN_COMMUTE) on the same data run one at a time, in whatever order they are
 * ready; tasks that reduce (SYN_REDUCE) run at the same time, each on a part. In a
 * captured graph commuting is an update, and reducing is refused.
 *
 * A task that fails (returns < 0) or is cancelled takes those with it that need its results: who
 * reads or updates what it was to write, and who is to come `after` it. They do not run and end
 * with its code, however much later they are submitted, until syn_runtime_wait() returns: then
 * handles are what they are. (Of more than 65,536 failures between two waits the oldest are
 * forgotten.) Who only writes what others have read or written needs nothing of them. Tasks that
 * commute or reduce on the same data do not need each other; who comes after them needs them all.
 */
#ifndef SYNOR_TASK_H
#define SYNOR_TASK_H

#include <synor/access.h>
#include <synor/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct syn_data;
struct syn_task;

struct syn_use {
    struct syn_data *data;
    enum syn_access access;
};

/** 0, or < 0: a SYN_E_* code, which those who depend on this task end with. */
typedef int syn_task_fn(struct syn_worker *worker, struct syn_fork *at, void *arg);

#define SYN_USES_MAX  16
#define SYN_AFTER_MAX 64

/** Everything but `run` may be left 0. Read during the call only. */
struct syn_task_spec {
    syn_task_fn *run;
    void *arg;
    const struct syn_use *uses;
    struct syn_task *const *after; /* handles of tasks to wait for besides */
    uint16_t uses_count;
    uint16_t after_count;
    int priority;                      /* SYN_PRIORITY_MIN..MAX */
    void (*done)(void *arg, int code); /* called by the worker when it is over, however it ended */
    void *done_arg;
};

/** A handle on `bytes` bytes at `address`, which stay the caller's. */
SYN_MUST SYN_API int syn_data_new(struct syn_runtime *runtime, void *address, size_t bytes,
                                  struct syn_data **ret_data, struct syn_err *err);
/** Give the handle back. Tasks that use it go on; nothing may be submitted on it any more. */
SYN_API struct syn_data *syn_data_free(struct syn_data *data);
/** Give the data a reduction, so that tasks use it with SYN_REDUCE. Each adds to a part of its
 *  worker's own (syn_data_part), which `init` has made neutral; before the next task that does
 *  anything else with the data, `merge` adds the parts to it, in no particular order. NOMEM,
 * EXISTS.
 */
SYN_MUST SYN_API int syn_data_reduction(struct syn_data *data,
                                        void (*init)(void *part, size_t bytes),
                                        void (*merge)(void *into, const void *part, size_t bytes),
                                        struct syn_err *err);
/** Inside a task that reduces on `data`: its worker's part, syn_data_bytes() long; NULL when memory
 *  is short. Others that the same worker runs add to it as well, also while this one waits. */
SYN_API void *syn_data_part(struct syn_worker *worker, struct syn_data *data);
SYN_API void *syn_data_address(const struct syn_data *data);
SYN_API size_t syn_data_bytes(const struct syn_data *data);

/** Submit. *ret_task (may be NULL: nobody asks) is a handle to wait for, cancel or depend on; give
 *  it back with syn_task_release(). NOMEM, LIMIT, INVALID. */
SYN_MUST SYN_API int syn_task_submit(struct syn_runtime *runtime, const struct syn_task_spec *spec,
                                     struct syn_task **ret_task, struct syn_err *err);
/** Return when the task is over; its code. Helps meanwhile. */
SYN_MUST SYN_API int syn_task_wait(struct syn_runtime *runtime, struct syn_task *task,
                                   struct syn_err *err);
/** Keep a task that has not begun from running: it ends with CANCELED, and so do those that need
 *  it. True when that was in time. */
SYN_API bool syn_task_cancel(struct syn_task *task);
SYN_API struct syn_task *syn_task_release(struct syn_task *task);

#ifdef __cplusplus
}
#endif
#endif
