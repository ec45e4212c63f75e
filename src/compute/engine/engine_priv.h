/* The engine from inside. */
#ifndef SYNOR_COMPUTE_ENGINE_PRIV_H
#define SYNOR_COMPUTE_ENGINE_PRIV_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <synor/compute/driver.h>
#include <synor/compute/memory.h>
#include <synor/compute/program.h>
#include <synor/engine.h>
#include <synor/trace.h>

#include "../data_priv.h"
#include "../model_priv.h"
#include "../spin_priv.h"
#include "../task_priv.h"
#include "../worker_priv.h"

#define SYN_ENGINE_DEPTH 2 /* calls that one device has at a time */
#define SYN_ENGINE_TRIES 3 /* of one call, as devices get lost under it */

struct syn_engine_seat;
struct syn_engine_node;
struct syn_engine_sum;
struct syn_engine_share;

/* One call under way. What every call needs is in the first 128 bytes and from `access` on: a
 * program that is far ahead of its workers has many records, each of which is looked at again after
 * the caches have forgotten it, and what costs then is lines. `why`, `event`, `scratch` and `sum`
 * of a record that is not used are NULL, and `request` is what it was made with. */
struct syn_engine_task {
    struct syn_ready ready; /* first: what the strategy hands back is this */
    struct syn_engine *engine;
    struct syn_task *task; /* the core's record; NULL: a piece, or a graph's */

    const struct syn_kernel *kernel;
    struct syn_model_entry *entry;
    struct syn_engine_seat *seat;        /* whose it is since it was popped */
    struct syn_engine_task *next, *prev; /* in the list that it is in */
    int64_t begun_ns;                    /* since it was popped: then, or 0 where nobody looked */
    struct syn_engine_split *split;      /* of a piece; see split.c */
    uint8_t operands_count, uses_count;
    uint8_t tries;
    uint8_t pieces;          /* wanted; SYN_PIECES_AUTO */
    uint8_t room;            /* which size of record it is */
    uint8_t reduces, shared; /* bits of uses: that reduce; whose share of the sum it has */
    bool plain; /* each operand is a tensor of its own, and they are only read and written */

    /* What few calls need: tensors that come later, a device, a trace, pieces. */
    struct syn_memory_request request;
    struct syn_err *why; /* not granted; NULL also where there was no memory for it */
    struct syn_dev_event *event;
    struct syn_dev_buf *scratch;
    uint64_t failures; /* of the seat's, when it was launched */
    int64_t popped_ns; /* for traces */
    uint64_t number;   /* in traces */
    bool told;         /* the driver will say when it is over */
    int granted_code;  /* the request's answer */
    unsigned piece;
    struct syn_engine_node *node; /* of a graph's; see replay.c */
    struct syn_engine_sum *sum;   /* of one that puts copies together; see reduce.c */
    double *params;               /* behind `uses` */

    _Alignas(64) uint8_t access[SYN_OPERANDS_MAX]; /* what the call does with each */
    uint8_t use_of[SYN_OPERANDS_MAX];              /* which use each belongs to */
    struct syn_data_use uses[];                    /* each tensor once; strategies look at them */
};

_Static_assert(offsetof(struct syn_engine_task, request) == 128,
               "what calls need takes more lines");

#define SYN_ENGINE_ROOMS \
    2 /* sizes of records: for up to 4 operands and 4 parameters, and for all */

/* Where calls run: one of the runtime's threads, or a device with a thread of its own. */
struct syn_engine_seat {
    struct syn_engine *engine;
    unsigned index; /* the strategy's number of it */
    unsigned node;
    unsigned class_id;
    size_t device; /* of the registry */
    const struct syn_device_info *info;
    struct syn_dev *dev;           /* NULL: the runtime's thread of that index */
    struct syn_profile rates;      /* without holes, for priors and energy */
    uint64_t busy_mw;              /* while one call runs there */
    struct syn_dev_queue *queue;   /* NULL: made when the next call is launched */
    struct syn_programs *programs; /* compiled for it */
    pthread_t thread;
    bool started;
    _Atomic uint32_t hint; /* something may be for it */
    _Atomic bool lost;
    struct syn_waitword word; /* the device's thread sleeps here */
    uint64_t parked_ns;       /* its thread's own: since when, in a trace; 0: it is not noted */
    _Atomic bool asleep;      /* or is about to */
    /* Calls whose tensors are there now; under `lock`. */
    struct syn_spin lock;
    _Atomic(struct syn_engine_task *) granted;
    struct syn_engine_task *granted_last;
    /* The device's thread's own: launched, the oldest first. */
    struct syn_engine_task *flying[SYN_ENGINE_DEPTH];
    unsigned flying_count;
    uint64_t failures;                              /* calls that failed there */
    unsigned acquiring;                             /* popped, and not granted yet */
    int64_t idle_ns;                                /* when the last call ended there */
    struct syn_dev_event *events[SYN_ENGINE_DEPTH]; /* spare ones */
    unsigned events_count;
    /* The runtime's thread's own. */
    uint32_t briefs; /* calls that were too brief to measure all of them */
    /* What time it was, about, when it had ended so many calls in that turn, see run.c. */
    uint32_t clock_turn;
    uint64_t clock_at;
    int64_t clock_ns;
    /* Records that it has used, and their last. */
    struct syn_engine_task *spent[SYN_ENGINE_ROOMS], *spent_last[SYN_ENGINE_ROOMS];
    unsigned spent_count[SYN_ENGINE_ROOMS];
    struct syn_engine_worker report; /* under the engine's lock */
};

/* A kernel's calls of one footprint, found without a lock. There until the engine ends. */
struct syn_engine_memo {
    struct syn_engine_memo *next; /* of the same hash; never changed */
    const struct syn_kernel *kernel;
    uint64_t footprint;
    struct syn_model_entry *entry;
};
#define SYN_ENGINE_MEMOS 1024

struct syn_engine_recipe;
struct syn_engine_slab;

/* Padded on purpose: submitters, workers, and whoever only looks have lines of their own.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct syn_engine {
    /* Read by everybody. */
    struct syn_runtime *runtime;
    struct syn_registry *registry;
    struct syn_memory *memory;
    struct syn_trace *trace;    /* or NULL */
    unsigned cpus, seats_count; /* the runtime's threads come first */
    struct syn_engine_seat *seats;
    int64_t opened_ns;
    int64_t timeout_ns;
    bool without_cpu; /* the runtime's threads run no calls */
    _Atomic bool closing;
    struct syn_source source;
    _Atomic(struct syn_engine_memo *) memos[SYN_ENGINE_MEMOS];     /* added to under `lock` */
    _Atomic(struct syn_engine_recipe *) recipes[SYN_ENGINE_MEMOS]; /* as well */
    _Atomic uint32_t recipes_count;
    struct syn_worker_class classes[SYN_CLASSES_MAX];
    struct syn_worker_desc descs[SYN_ENGINE_WORKERS_MAX];
    struct syn_link_desc *links;
    uint64_t node_bytes[SYN_NODES_MAX];
    struct syn_platform platform;
    /* The submitters': records to use. */
    _Alignas(SYN_LINE) struct syn_spin stock_lock;
    struct syn_engine_task *stock[SYN_ENGINE_ROOMS];
    struct syn_engine_slab *slabs;
    _Atomic uint64_t submitted; /* under the lock; others look */
    /* Records that were used, on their way back. */
    _Alignas(SYN_LINE) _Atomic(struct syn_engine_task *) returned[SYN_ENGINE_ROOMS];
    /* The strategy, the model and the reports, under `lock`. */
    _Alignas(SYN_LINE) struct syn_spin lock;
    _Atomic uint32_t queued;  /* calls that the strategy holds; others look */
    _Atomic uint64_t refused; /* seats that found something, but not for them now; others look */
    const struct syn_strategy_ops *ops;
    void *strategy;
    struct syn_strategy_opts strategy_opts;
    const struct syn_engine_graph *shown; /* to the strategy, while it runs */
    struct syn_model *model;
    struct syn_engine_task *waiting; /* list of the calls that the strategy holds */
    struct syn_engine_stats stats;
    struct syn_err failure; /* the first one since the last wait; code 0: none */
    /* Maps, and tensors' handles. */
    _Alignas(SYN_LINE) pthread_mutex_t maps_lock;
    struct syn_engine_map *maps;
    struct syn_engine_sum *sums;                              /* all that there are */
    const struct syn_kernel_reduction *ways[SYN_REDUCE_WAYS]; /* added to under the lock */
    _Atomic unsigned ways_count;
    struct syn_engine_share *left; /* copies whose tensor ended before they were put together */
    uint64_t numbers;              /* of calls, in traces */
};

/* What a call is estimated to take on a class; refined meanwhile. */
static inline uint64_t
syn_engine_cost(const struct syn_engine_task *call, unsigned class_id)
{
    return __atomic_load_n(&call->ready.cost->ns[class_id], __ATOMIC_RELAXED);
}

/* ---- platform.c: devices to seats, classes and links ---- */

SYN_MUST int syn_engine_seats_open(struct syn_engine *engine,
                                   const struct syn_engine_options *options, struct syn_err *err);
/* True: something of a device still hangs, so its driver must stay. */
bool syn_engine_seats_close(struct syn_engine *engine);

/* ---- submit.c ---- */

/* What the call looks like to checks and implementations. `places` (NULL: nowhere yet) has room for
 * its operands, which are held on the seat's node: where they are, and in what shape, which is not
 * the tensor's own where the memory manager has packed it. */
void syn_engine_call_of(const struct syn_engine_task *call, struct syn_tensor_place *places,
                        struct syn_kernel_call *ret_call);
/* A record for a call of the kernel; its parameters are to be set. */
SYN_MUST int syn_engine_record_new(struct syn_engine *engine, const struct syn_kernel *kernel,
                                   struct syn_engine_task **ret_call, struct syn_err *err);
void syn_engine_record_free(struct syn_engine_task *call);
/* So many more calls, or fewer, count as submitted. */
void syn_engine_count_submitted(struct syn_engine *engine, int64_t more);
/* Check a call on these tensors and fill in the rest: what it does with them, what strategies see,
 * what it is estimated to take. */
SYN_MUST int syn_engine_record_fill(struct syn_engine_task *call, struct syn_tensor *const *tensors,
                                    struct syn_err *err);
/* The tensor of an operand. */
static inline struct syn_tensor *
syn_engine_tensor(const struct syn_engine_task *call, unsigned operand)
{
    return syn_tensor_of(call->uses[call->use_of[operand]].data);
}

/* A record for a call as somebody wants it, checked and estimated. */
SYN_MUST int syn_engine_record_for(struct syn_engine *engine, const struct syn_task_call *wish,
                                   struct syn_engine_task **ret_call, struct syn_err *err);

/* Can anybody here, or who it is for, run it? */
bool syn_engine_possible(const struct syn_engine_task *call);

void syn_engine_records_free(struct syn_engine *engine);

/* ---- recipe.c ---- */

/* Has a call like this one been checked before? Then its `entry` and `access` are set. *ret_plain:
 * it only reads and writes. */
bool syn_engine_recipe_find(struct syn_engine_task *call, struct syn_tensor *const *tensors,
                            bool *ret_plain);
/* It has been checked, and those are set. */
void syn_engine_recipe_remember(const struct syn_engine_task *call,
                                struct syn_tensor *const *tensors);
void syn_engine_recipes_free(struct syn_engine *engine);

/* ---- run.c ---- */

/* A call that will not run: what it depended on failed, or it was cancelled. The record stays. */
void syn_engine_drop(struct syn_engine_task *call, int code);

/* A ready call: to the strategy, and whoever should run it is woken. */
void syn_engine_push(struct syn_engine_task *call);
/* The strategy holds it no more. Under the lock. */
void syn_engine_pushed_out(struct syn_engine_task *call);
/* Next call for a seat, or NULL. */
struct syn_engine_task *syn_engine_pop(struct syn_engine_seat *seat);
/* Have its tensors brought; SYN_MEMORY_PENDING: it comes back through the seat's granted ones. */
SYN_MUST int syn_engine_acquire(struct syn_engine_task *call, struct syn_err *err);
struct syn_engine_task *syn_engine_granted(struct syn_engine_seat *seat);
/* The memory manager's answer to a call's request. */
void syn_engine_on_ready(struct syn_memory_request *request, int code, const struct syn_err *why);
/* Why it was not granted. */
void syn_engine_refusal(struct syn_engine_task *call, struct syn_err *ret_err);
/* Let go of its tensors; `code` as it ended. */
void syn_engine_release(struct syn_engine_task *call, int code);
/* Its tensors are there, or will not be, or it may try again to have them (SYN_ENGINE_TURN): its
 * seat is told. */
#define SYN_ENGINE_TURN 1
void syn_engine_grant(struct syn_engine_seat *seat, struct syn_engine_task *call);
/* It ran (code 0) or failed; `worker` as in syn_task_finish(). Lets go of its tensors if `held`. */
struct syn_engine_outcome {
    int code;
    bool held;
    bool ran;         /* `busy_ns` is a measurement, or */
    bool assumed;     /* what the model says: it is brief, see run.c */
    int64_t ended_ns; /* 0: now */
    uint64_t busy_ns;
    uint64_t energy_uj;
    enum syn_power_source energy_source;
};
void syn_engine_end(struct syn_engine_task *call, struct syn_worker *worker,
                    const struct syn_engine_outcome *outcome, const struct syn_err *err);
/* Give a call back to the strategy because its seat cannot run it after all; after SYN_ENGINE_TRIES
 * it ends with `err`. */
void syn_engine_again(struct syn_engine_task *call, bool held, const struct syn_err *err);
void syn_engine_wake(struct syn_engine_seat *seat);
/* Can no other seat, of those that are there, run this call? Under the lock. */
bool syn_engine_only(const struct syn_engine_task *call, const struct syn_engine_seat *seat);
bool syn_engine_take(void *self, struct syn_worker *worker);
bool syn_engine_any(const void *self, unsigned index);

/* ---- device.c ---- */

void *syn_engine_device_main(void *seat);

/* ---- replay.c ---- */

/* A graph's call begins, or begins again: 0, or the code that it has to end with. */
SYN_MUST int syn_engine_captured_begin(const struct syn_engine_task *call);
/* It is over: who waited for it is ready. */
void syn_engine_captured_end(struct syn_engine_task *call, int code, const struct syn_err *err);
/* As syn_task_begin(), for calls of any kind. */
static inline SYN_MUST int
syn_engine_begin(struct syn_engine_task *call)
{
    if (call->task != NULL)
        return syn_task_begin(call->task);
    return call->split != NULL || call->sum != NULL ? SYN_OK : syn_engine_captured_begin(call);
}

/* ---- trace.c ---- */

/* Say who is who. */
SYN_MUST int syn_engine_trace_open(struct syn_engine *engine, struct syn_err *err);
/* A call was submitted: what it waits for. */
void syn_engine_trace_order(struct syn_engine_task *call);
/* `whole` needs its piece. */
void syn_engine_trace_piece(const struct syn_engine_task *whole, struct syn_engine_task *piece);
/* A call that nobody submitted, and nobody waits for by number. */
void syn_engine_trace_number(struct syn_engine_task *call);
/* A thread has nothing to do and goes to sleep, or woke up. */
void syn_engine_trace_park(struct syn_engine_seat *seat, bool begins);
/* It is over. */
struct syn_engine_outcome;
void syn_engine_trace_end(const struct syn_engine_task *call,
                          const struct syn_engine_outcome *outcome);

/* ---- map.c ---- */

/* What the engine keeps of a tensor: its word there. */
struct syn_engine_handle {
    struct syn_data *data;                /* dependencies are inferred by it */
    _Atomic(struct syn_engine_sum *) sum; /* once a call has reduced on it; else NULL */
    /* For traces, under `maps_lock`: numbers of calls. */
    uint64_t writer;            /* 0: none */
    uint64_t *readers, *adders; /* since then; who reduce come after who read */
    size_t readers_count, readers_cap;
    size_t adders_count, adders_cap;
};

/* A tensor's handle, made when it is first used. */
SYN_MUST int syn_engine_handle_new(struct syn_engine *engine, struct syn_tensor *tensor,
                                   struct syn_engine_handle **ret_handle, struct syn_err *err);
static inline SYN_MUST int
syn_engine_handle(struct syn_engine *engine, struct syn_tensor *tensor,
                  struct syn_engine_handle **ret_handle, struct syn_err *err)
{
    struct syn_engine_handle *handle = syn_tensor_user(tensor);

    if (__builtin_expect(handle == NULL, 0))
        return syn_engine_handle_new(engine, tensor, ret_handle, err);
    *ret_handle = handle;
    return SYN_OK;
}
/* The memory manager ends a tensor: its handle goes too. */
void syn_engine_forget(void *handle);

/* ---- reduce.c ---- */

/* Before a call is submitted: what the core is told of a use that reduces. */
SYN_MUST int syn_engine_reduces(struct syn_engine_task *call, unsigned use,
                                enum syn_access *ret_access, struct syn_err *err);
/* Give a call that its seat is about to acquire tensors for its share of each sum. False: it waits
 * for one, and will be granted (SYN_ENGINE_TURN). */
bool syn_engine_take_shares(struct syn_engine_task *call);
/* Where it has no tensors any more; `code` as it ended, 0 also where it never had them. */
void syn_engine_return_shares(struct syn_engine_task *call, int code);
/* It was refused its tensors: true, if for want of memory for a copy that it can do without; it may
 * try again. */
bool syn_engine_does_without(struct syn_engine_task *call, int code);
/* Is the share of that use still to be written the neutral element to? Its seat's thread asks. */
bool syn_engine_is_fresh(const struct syn_engine_task *call, unsigned use);
/* What writes that, on the seat: `ret_call`, with `ret_shape` for its operand, and its place. */
const struct syn_kernel_impl *syn_engine_init_call(const struct syn_engine_task *call, unsigned use,
                                                   struct syn_tensor_place *ret_place,
                                                   struct syn_kernel_call *ret_call);
/* Only some of what the call was to add has been added: that is no sum. */
void syn_engine_spoil_sums(const struct syn_engine_task *call, int code);
/* A call that puts a copy to the rest is over. */
void syn_engine_merge_end(struct syn_engine_task *call, struct syn_worker *worker, int code);
/* Have put together what waits for it. Everything submitted before is over. *ret_any: there was
 * something. */
SYN_MUST int syn_engine_settle_sums(struct syn_engine *engine, bool *ret_any, struct syn_err *err);
/* The tensor ends. */
void syn_engine_sum_free(struct syn_engine_sum *sum);
/* End copies that nobody wants. */
void syn_engine_drop_left(struct syn_engine *engine);
/* What the engine keeps of a copy stands in its word like a handle, but for the lowest bit. */
static inline bool
syn_engine_is_copy(const void *word)
{
    return ((uintptr_t)word & 1) != 0;
}
/* The tensor that a copy is of; any other is its own. */
const struct syn_tensor *syn_engine_copied(const struct syn_tensor *tensor);

/* ---- split.c ---- */

/* Divide a ready call into pieces and push them. False: it stays whole. */
bool syn_engine_divide(struct syn_engine_task *call);
/* A piece has ended. */
void syn_engine_piece_end(struct syn_engine_task *piece, struct syn_worker *worker, int code);
/* What a piece is given of an operand that lies as `base` says, and how many bytes on from there it
 * begins. */
const struct syn_shape *syn_engine_piece_shape(const struct syn_engine_task *piece,
                                               unsigned operand, const struct syn_shape *base,
                                               uint64_t *ret_offset);
/* The same in place. */
void syn_engine_piece_cut(const struct syn_engine_task *piece, unsigned operand,
                          struct syn_shape *shape, uint64_t *ret_offset);

#endif
