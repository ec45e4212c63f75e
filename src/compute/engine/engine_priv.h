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

#include "../spin_priv.h"
#include "../task_priv.h"
#include "../worker_priv.h"

#define SYN_ENGINE_DEPTH 2 /* calls that one device has at a time */
#define SYN_ENGINE_TRIES 3 /* of one call, as devices get lost under it */

struct syn_engine_seat;

/* One call under way. */
struct syn_engine_task {
    struct syn_ready ready; /* first: what the strategy hands back is this */
    struct syn_engine *engine;
    struct syn_task *task; /* the core's record; NULL: a piece */
    const struct syn_kernel *kernel;
    struct syn_model_entry *entry;
    struct syn_engine_seat *seat; /* whose it is since it was popped */
    const struct syn_kernel_impl *impl;
    struct syn_engine_task *next, *prev; /* in the list that it is in */
    uint8_t operands_count, uses_count;
    uint8_t tries;
    uint8_t pieces;  /* wanted; SYN_PIECES_AUTO */
    uint64_t number; /* in traces */
    int64_t popped_ns, begun_ns;
    struct syn_data_use seen[SYN_OPERANDS_MAX];
    struct syn_memory_use uses[SYN_OPERANDS_MAX]; /* each tensor once */
    struct syn_tensor *tensors[SYN_OPERANDS_MAX];
    uint8_t access[SYN_OPERANDS_MAX]; /* what the call does with each */
    double params[SYN_KERNEL_PARAMS_MAX];
    struct syn_memory_request request;
    int granted_code; /* the request's answer */
    /* On a device. */
    struct syn_dev_event *event;
    struct syn_dev_buf *scratch;
    uint64_t failures; /* of the seat's, when it was launched */
    bool told;         /* the driver will say when it is over */
    /* Of a piece, and of what is divided; see split.c. */
    struct syn_engine_split *split;
    unsigned piece;
};

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
    struct syn_engine_worker report; /* under the engine's lock */
};

struct syn_engine_memo {
    const struct syn_kernel *kernel;
    uint64_t footprint;
    struct syn_model_entry *entry;
};
#define SYN_ENGINE_MEMOS 1024

struct syn_engine_slab;

struct syn_engine {
    struct syn_runtime *runtime;
    struct syn_registry *registry;
    struct syn_memory *memory;
    struct syn_source source;
    struct syn_trace *trace; /* or NULL */
    int64_t opened_ns;
    int64_t timeout_ns;
    /* Read by everybody. */
    unsigned cpus, seats_count; /* the runtime's threads come first */
    struct syn_engine_seat *seats;
    _Atomic uint32_t queued;  /* calls that the strategy holds */
    _Atomic uint64_t refused; /* seats that found something, but not for them now */
    _Atomic bool closing;
    bool without_cpu; /* the runtime's threads run no calls */
    _Atomic uint64_t submitted;
    _Atomic uint64_t epoch; /* counts waits, from 1 */
    /* The strategy, the model and the reports, under `lock`. */
    struct syn_spin lock;
    const struct syn_strategy_ops *ops;
    void *strategy;
    struct syn_strategy_opts strategy_opts;
    struct syn_platform platform;
    struct syn_worker_class classes[SYN_CLASSES_MAX];
    struct syn_worker_desc descs[SYN_ENGINE_WORKERS_MAX];
    struct syn_link_desc *links;
    uint64_t node_bytes[SYN_NODES_MAX];
    struct syn_model *model;
    struct syn_engine_memo memos[SYN_ENGINE_MEMOS];
    struct syn_engine_task waiting; /* head of the ring of calls that the strategy holds */
    struct syn_engine_stats stats;
    struct syn_err failure; /* the first one since the last wait; code 0: none */
    /* Records to use again. */
    struct syn_spin spare_lock;
    struct syn_engine_task *spare;
    struct syn_engine_slab *slabs;
    /* Maps, and tensors' handles. */
    pthread_mutex_t maps_lock;
    struct syn_engine_map *maps;
    uint64_t numbers; /* of calls, in traces */
};

int64_t syn_engine_now(void);

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
SYN_MUST int syn_engine_record_new(struct syn_engine *engine, struct syn_engine_task **ret_call,
                                   struct syn_err *err);
void syn_engine_record_free(struct syn_engine_task *call);
/* Check a call whose kernel, tensors and parameters stand, and fill in the rest: what it does with
 * its tensors, what strategies see, what it is estimated to take. */
SYN_MUST int syn_engine_record_fill(struct syn_engine_task *call, struct syn_err *err);

/* A record for a call as somebody wants it, checked and estimated. */
SYN_MUST int syn_engine_record_for(struct syn_engine *engine, const struct syn_task_call *wish,
                                   struct syn_engine_task **ret_call, struct syn_err *err);

void syn_engine_records_free(struct syn_engine *engine);

/* ---- run.c ---- */

/* What reading the tensor now ends with: 0, or the code of a failure that nobody has heard of yet.
 */
int syn_engine_failed(const struct syn_engine *engine, struct syn_tensor *tensor);
/* A call that will not run: what it depended on failed, or it was cancelled. */
void syn_engine_drop(struct syn_engine_task *call, int code);

/* A ready call: to the strategy, and whoever should run it is woken. */
void syn_engine_push(struct syn_engine_task *call);
/* Next call for a seat, or NULL. */
struct syn_engine_task *syn_engine_pop(struct syn_engine_seat *seat);
/* Have its tensors brought; SYN_MEMORY_PENDING: it comes back through the seat's granted ones. */
SYN_MUST int syn_engine_acquire(struct syn_engine_task *call, struct syn_err *err);
struct syn_engine_task *syn_engine_granted(struct syn_engine_seat *seat);
/* It ran (code 0) or failed; `worker` as in syn_task_finish(). Lets go of its tensors if `held`. */
struct syn_engine_outcome {
    int code;
    bool held;
    bool ran;         /* `busy_ns` is a measurement */
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

/* ---- trace.c ---- */

/* Say who is who. */
SYN_MUST int syn_engine_trace_open(struct syn_engine *engine, struct syn_err *err);
/* A call was submitted: what it waits for. */
void syn_engine_trace_order(struct syn_engine_task *call);
/* `whole` needs its piece. */
void syn_engine_trace_piece(const struct syn_engine_task *whole, struct syn_engine_task *piece);
/* A thread has nothing to do and goes to sleep, or woke up. */
void syn_engine_trace_park(struct syn_engine_seat *seat, bool begins);
/* It is over. */
struct syn_engine_outcome;
void syn_engine_trace_end(const struct syn_engine_task *call,
                          const struct syn_engine_outcome *outcome);

/* ---- map.c ---- */

/* What the engine keeps of a tensor: its word there. */
struct syn_engine_handle {
    struct syn_data *data; /* dependencies are inferred by it */
    /* What was to write it last failed with `code`, in that epoch of the engine's; see run.c. */
    _Atomic uint64_t failed_epoch;
    _Atomic int code;
    /* For traces, under `maps_lock`: numbers of calls. */
    uint64_t writer; /* 0: none */
    uint64_t *readers;
    size_t readers_count, readers_cap;
};

/* A tensor's handle, made when it is first used. */
SYN_MUST int syn_engine_handle(struct syn_engine *engine, struct syn_tensor *tensor,
                               struct syn_engine_handle **ret_handle, struct syn_err *err);
/* The memory manager ends a tensor: its handle goes too. */
void syn_engine_forget(void *handle);

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

#endif
