/* The engine: tasks on tensors, run wherever in the machine they are done soonest.
 *
 *     struct syn_engine *engine;
 *
 *     syn_engine_open(NULL, &engine, &err);                // every real device, strategy "heft"
 *     syn_tensor_wrap(syn_engine_memory(engine), &shape, values, &x, &err);
 *     ...
 *     syn_engine_submit(engine, &(struct syn_task_call){
 *         .kernel = syn_kernel_find("axpy"), .tensors = {x, y}, .params = two}, NULL, &err);
 *     syn_engine_wait(engine, &err);
 *
 * It puts together what the other headers describe: dependencies are inferred as in task.h, from
 * the order of submission and what each call does with its tensors; a ready call is given to a
 * strategy (strategy.h), which picks a worker by learnt times (model.h); tensors are brought to the
 * worker's memory node (tensor.h); the kernel's implementation for that worker runs (kernel.h).
 *
 * Workers are the runtime's threads, one a processor, and one for each device. A modelled device
 * (device.h) computes on the CPU and answers with modelled times and energy: what is said of it is
 * marked so everywhere.
 *
 * Calls that reduce on a tensor run side by side, each worker's on a copy of its own (kernel.h).
 * The copies are put together before anybody else uses the tensor, and before syn_engine_wait()
 * returns: until then it is not freed or divided.
 *
 * With a trace (trace.h) it records every call and what it waited for, every transfer and eviction,
 * and when its threads slept. Times in it are when things happened here, also on a modelled device,
 * whose modelled times are in its report.
 *
 * A device that fails or does not answer is taken out. What it was doing is done again elsewhere if
 * the data survive; a call whose data do not ends with UNAVAILABLE, and so do those that need its
 * results.
 *
 * Thread: every function from any thread, unless it says otherwise. */
#ifndef SYNOR_ENGINE_H
#define SYNOR_ENGINE_H

#include <synor/base/buf.h>
#include <synor/device.h>
#include <synor/kernel.h>
#include <synor/model.h>
#include <synor/plan.h>
#include <synor/runtime.h>
#include <synor/strategy.h>
#include <synor/task.h>
#include <synor/tensor.h>
#include <synor/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct syn_engine;

#define SYN_ENGINE_WORKERS_MAX 64

/** Everything may be left 0. */
struct syn_engine_options {
    const char *devices;  /* "cpu0,opencl0": these and no others; "cpu0" is the runtime's threads.
                             NULL: all that are real and not the host's cores once more */
    const char *modelled; /* profiles to add modelled devices of: "h100-sxm,h100-sxm" */
    const char *strategy; /* by name; NULL: "heft" */
    const struct syn_strategy_ops *strategy_ops; /* one of your own, instead of a name */
    struct syn_strategy_opts strategy_opts;
    struct syn_runtime_options runtime; /* workers: threads of the CPU; at least 1 */
    const char *models;                 /* what an earlier engine learnt: syn_engine_models() */
    size_t models_len;
    const uint64_t *node_bytes; /* by memory node: how much may be used; 0: all */
    size_t node_bytes_count;
    struct syn_trace *trace;   /* records what runs where, what waits for what, what is moved;
                                  may be NULL. Outlives the engine, which says who is who in it */
    int64_t device_timeout_ms; /* a call that takes a device longer loses it; 0: never */
    const struct syn_registry_options *registry; /* NULL: all drivers; `modelled` above is added */
};

/** INVALID names the option; UNAVAILABLE: a device that was asked for cannot be opened; NOMEM. */
SYN_MUST SYN_API int syn_engine_open(const struct syn_engine_options *options,
                                     struct syn_engine **ret_engine, struct syn_err *err);
/** Wait for everything, then end. All tensors are freed by then. NULL is fine. Not from a task. */
SYN_API struct syn_engine *syn_engine_close(struct syn_engine *engine);

/* Parts; they live as long as the engine. */
SYN_API struct syn_memory *syn_engine_memory(struct syn_engine *engine);
SYN_API struct syn_runtime *syn_engine_runtime(struct syn_engine *engine);
SYN_API const struct syn_registry *syn_engine_registry(const struct syn_engine *engine);

/** How many pieces a call is divided into, by the kernel's splits. */
#define SYN_PIECES_AUTO 0 /* as many as pay by the estimated times */
#define SYN_PIECES_ONE  1

/** One call. Everything but `kernel` and `tensors` may be left 0. Read during the call only, but
 * the kernel, which stays. */
struct syn_task_call {
    const struct syn_kernel *kernel;
    struct syn_tensor *tensors[SYN_OPERANDS_MAX];
    const double *params;  /* by the kernel's table; NULL: the defaults */
    unsigned params_count; /* those behind have their defaults */
    int priority;          /* SYN_PRIORITY_MIN..MAX */
    unsigned pieces;
    int64_t deadline_ns; /* from now; 0: none */
    const char *device;  /* only there: a device's id; NULL: anywhere */
    struct syn_task *const *after;
    uint16_t after_count;
    void (*done)(void *arg, int code); /* short; on some thread of the runtime */
    void *done_arg;
};

/** Submit. *ret_task as in syn_task_submit(): syn_task_wait(), _cancel(), _release() are for it
 * too. INVALID: the kernel's check refuses; UNAVAILABLE: nothing here, or not `device`, can run it
 * however its tensors may come to lie there; NOMEM, LIMIT. */
SYN_MUST SYN_API int syn_engine_submit(struct syn_engine *engine, const struct syn_task_call *call,
                                       struct syn_task **ret_task, struct syn_err *err);
/** Return when everything submitted so far is over, helping meanwhile. Until then, whoever needs
 * what a failed call was to write ends with that call's code, however much later it is submitted,
 * as said in task.h; afterwards tensors are what they are: as before, or without content. Calls
 * that commute on a tensor do not need each other: one behind another that failed runs if the
 * tensor is as before, and ends with INVALID if it is without content. Nor do those that reduce on
 * it: it then holds what all that ended well have added, or, where a failure or a lost device took
 * some of that along, nothing. The first failure since the last wait, with its cause in words; the
 * others' codes are their own. Not from a task. */
SYN_MUST SYN_API int syn_engine_wait(struct syn_engine *engine, struct syn_err *err);

/** Wait for the tasks before, bring the tensor to the host and hold it there: the caller reads or
 * writes it at *ret_data, in the tensor's own strides, until the unmap. Tasks submitted meanwhile
 * on the same tensor wait. What the tasks before ended with; UNAVAILABLE, IO, NOSPACE. */
SYN_MUST SYN_API int syn_engine_map(struct syn_engine *engine, struct syn_tensor *tensor,
                                    enum syn_access access, void **ret_data, struct syn_err *err);
SYN_API void syn_engine_unmap(struct syn_engine *engine, struct syn_tensor *tensor);

/** One call of a plan, or of a graph. */
struct syn_engine_step {
    struct syn_task_call call; /* without `after`. In a plan also without `done`, `device` and
                                  `pieces`: it stays whole and goes anywhere */
    const uint32_t *after;     /* steps before it, by their index, besides what its tensors say */
    uint32_t after_count;
};

/** What would happen to these calls, submitted in this order: the engine's strategy decides, on a
 * model of its machine, by the estimates of now; nothing runs, nothing moves. What the first step
 * that uses a tensor reads lies on the host. `ret_events` (may be NULL) has room for one a step, in
 * the order of their ends; workers are those of syn_engine_worker(). INVALID, UNAVAILABLE: as
 * syn_engine_submit(), and the step is named; NOSPACE, CONFLICT (more than SYN_PLAN_KERNELS_MAX
 * different ones), NOMEM. */
SYN_MUST SYN_API int syn_engine_plan(struct syn_engine *engine, const struct syn_engine_step *steps,
                                     uint32_t count, struct syn_plan_event *ret_events,
                                     struct syn_plan_result *ret_result, struct syn_err *err);
/** What a call is estimated to take on each worker, SYN_NEVER where it cannot run, SYN_UNKNOWN_NS
 * where nobody knows: `ret_ns` has room for syn_engine_workers(). INVALID, UNAVAILABLE, NOMEM. */
SYN_MUST SYN_API int syn_engine_estimate(struct syn_engine *engine,
                                         const struct syn_task_call *call, uint64_t *ret_ns,
                                         struct syn_err *err);

/* Graphs: a sequence of calls, checked once and run as often as wanted. A run costs no check, no
 * inference of dependencies and no allocation (but for calls that are divided, traces, and what a
 * strategy's plan takes), and the strategy is shown the whole before it begins.
 *
 *     syn_engine_graph_new(engine, &graph, &err);
 *     for (...)
 *         syn_engine_graph_add(graph, &(struct syn_engine_step){.call = {...}}, &err);
 *     for (...)
 *         syn_engine_graph_run(graph, &err);
 *     syn_engine_graph_free(graph);
 *
 * A run gives what submitting the calls one after another would, with these differences. To what is
 * submitted around it, it is one task that uses all of its tensors: none of its calls runs when
 * something has failed that it needs, and when one of them fails whoever reads what any of them was
 * to write ends with that code, until syn_engine_wait() returns. And calls that commute or reduce
 * go in the order of capture. A graph's tensors stay, and are not divided, until it is
 * freed or they are rebound; it is freed before its engine is closed.
 *
 * Thread: one at a time for each graph, but for the cancelling. */
struct syn_engine_graph;

#define SYN_ENGINE_GRAPH_CALLS_MAX   (1U << 26)
#define SYN_ENGINE_GRAPH_TENSORS_MAX 65535U /* that one graph uses */

SYN_MUST SYN_API int syn_engine_graph_new(struct syn_engine *engine,
                                          struct syn_engine_graph **ret_graph, struct syn_err *err);
/** Waits for a run that is under way. NULL is fine. */
SYN_API struct syn_engine_graph *syn_engine_graph_free(struct syn_engine_graph *graph);
/** Add a call behind the others. Its deadline counts from the start of each run; `done` is told of
 * each. After a failure the graph is as before. INVALID, UNAVAILABLE: as syn_engine_submit();
 * CONFLICT: it runs; LIMIT, NOMEM. */
SYN_MUST SYN_API int syn_engine_graph_add(struct syn_engine_graph *graph,
                                          const struct syn_engine_step *step, struct syn_err *err);
/** Calls added. They are numbered from 0. */
SYN_API uint32_t syn_engine_graph_count(const struct syn_engine_graph *graph);
/** From the next run on, this call has these parameters. On failure nothing has changed: INVALID,
 * also when it would read or write other tensors than before; UNAVAILABLE, CONFLICT, NOMEM. */
SYN_MUST SYN_API int syn_engine_graph_set_params(struct syn_engine_graph *graph, uint32_t index,
                                                 const double *params, unsigned count,
                                                 struct syn_err *err);
/** From the next run on, `instead` is used wherever `tensor` was. On failure nothing has changed:
 * INVALID: their shapes differ, no call uses the one, or some call uses the other already;
 * CONFLICT, NOMEM. */
SYN_MUST SYN_API int syn_engine_graph_rebind(struct syn_engine_graph *graph,
                                             const struct syn_tensor *tensor,
                                             struct syn_tensor *instead, struct syn_err *err);
/** Have every call run once, in an order that the dependencies allow. CONFLICT: the run before is
 * not over; NOMEM, LIMIT: nothing runs. */
SYN_MUST SYN_API int syn_engine_graph_start(struct syn_engine_graph *graph, struct syn_err *err);
/** Return when the last run that was started is over, helping meanwhile: 0, or the first failure,
 * with the call's number. syn_engine_wait() tells of it too; a run before that, of this graph too,
 * ends with the code if it needs what this one was to write. Not from a task. */
SYN_MUST SYN_API int syn_engine_graph_wait(struct syn_engine_graph *graph, struct syn_err *err);
/** Both. */
SYN_MUST SYN_API int syn_engine_graph_run(struct syn_engine_graph *graph, struct syn_err *err);
/** Calls of the run under way that have not begun end with CANCELED. Any thread. */
SYN_API void syn_engine_graph_cancel(struct syn_engine_graph *graph);

/** Append what was learnt, for `models` of another engine. */
SYN_API void syn_engine_models(struct syn_engine *engine, struct syn_buf *out);

/** What one worker did. */
struct syn_engine_worker {
    char device[SYN_DEVICE_ID_MAX]; /* "cpu0", "opencl0" */
    char model[SYN_DEVICE_TEXT_MAX];
    bool modelled;
    bool lost;
    char reason[SYN_DEVICE_TEXT_MAX]; /* why it was lost */
    uint64_t tasks;
    uint64_t failed;
    uint64_t busy_ns;   /* of a modelled device: modelled; of the briefest calls: mostly learnt */
    uint64_t energy_uj; /* of busy time; see energy_source */
    enum syn_power_source energy_source;
};
SYN_API unsigned syn_engine_workers(const struct syn_engine *engine);
/** `index` < workers; counts are of some moment while it works. */
SYN_API void syn_engine_worker(struct syn_engine *engine, unsigned index,
                               struct syn_engine_worker *ret_worker);

struct syn_engine_stats {
    uint64_t submitted, ended, failed, divided, again; /* again: after the loss of a device */
    uint64_t elapsed_ns;                               /* since the engine was opened */
    uint64_t merged; /* copies that calls reduced on, put to the rest */
};
SYN_API void syn_engine_stats(struct syn_engine *engine, struct syn_engine_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
