/* From a call to a record: checked, its dependencies inferred, its costs estimated. */
#include <math.h>
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#include "engine_priv.h"

#define SLAB_RECORDS 64
#define RECORD_ALIGN 64
#define RETURN_BATCH 16   /* records that a thread gives back at a time */
#define WAYS_MAX     4096 /* in which the tensors of a call may lie, that are looked through */
#define HASH_MUL     UINT64_C(0x9e3779b97f4a7c15)

struct syn_engine_slab {
    struct syn_engine_slab *next;
};

/* ---- records ---- */

static const struct {
    unsigned uses, params;
} rooms[SYN_ENGINE_ROOMS] = {{4, 4}, {SYN_OPERANDS_MAX, SYN_KERNEL_PARAMS_MAX}};

static size_t
room_bytes(unsigned room)
{
    const struct syn_engine_task *call = NULL;
    size_t bytes = offsetof(struct syn_engine_task, uses) +
                   rooms[room].uses * sizeof(call->uses[0]) +
                   rooms[room].params * sizeof(call->params[0]);

    return (bytes + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

/* With the stock's lock. */
static SYN_MUST int
more_records(struct syn_engine *engine, unsigned room, struct syn_err *err)
{
    size_t bytes = room_bytes(room);
    char *slab = syn_alloc_aligned(RECORD_ALIGN, RECORD_ALIGN + SLAB_RECORDS * bytes);

    if (slab == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a call");
    memset(slab, 0, RECORD_ALIGN + SLAB_RECORDS * bytes);
    ((struct syn_engine_slab *)(void *)slab)->next = engine->slabs;
    engine->slabs = (struct syn_engine_slab *)(void *)slab;
    for (size_t i = SLAB_RECORDS; i-- > 0;) {
        struct syn_engine_task *call = (void *)(slab + RECORD_ALIGN + i * bytes);

        call->engine = engine;
        call->room = (uint8_t)room;
        call->params = (double *)(void *)&call->uses[rooms[room].uses];
        call->request = (struct syn_memory_request){syn_engine_on_ready, call};
        call->next = engine->stock[room];
        engine->stock[room] = call;
    }
    return SYN_OK;
}

/* The next one, which was last used long ago, and by another thread. */
static void
prefetch_record(const struct syn_engine_task *call)
{
    if (call == NULL)
        return;
    __builtin_prefetch(call, 1);
    __builtin_prefetch(&call->kernel, 1);
    __builtin_prefetch(call->access, 1);
}

/* With the stock's lock. */
static void
count_submitted(struct syn_engine *engine, uint64_t more)
{
    atomic_store_explicit(&engine->submitted,
                          atomic_load_explicit(&engine->submitted, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

void
syn_engine_count_submitted(struct syn_engine *engine, int64_t more)
{
    syn_spin_lock(&engine->stock_lock);
    count_submitted(engine, (uint64_t)more);
    syn_spin_unlock(&engine->stock_lock);
}

/* `submits`: 1 where it counts as submitted, else 0. */
static inline SYN_MUST int
record_new(struct syn_engine *engine, const struct syn_kernel *kernel, unsigned submits,
           struct syn_engine_task **ret_call, struct syn_err *err)
{
    unsigned room =
        kernel->operands_count > rooms[0].uses || kernel->params_count > rooms[0].params;
    struct syn_engine_task *call;
    int rc = SYN_OK;

    syn_spin_lock(&engine->stock_lock);
    if (engine->stock[room] == NULL)
        engine->stock[room] =
            atomic_exchange_explicit(&engine->returned[room], NULL, memory_order_acquire);
    if (engine->stock[room] == NULL)
        rc = more_records(engine, room, err);
    if (rc < 0) {
        syn_spin_unlock(&engine->stock_lock);
        return rc;
    }
    call = engine->stock[room];
    engine->stock[room] = call->next;
    prefetch_record(call->next);
    count_submitted(engine, submits);
    syn_spin_unlock(&engine->stock_lock);
    call->kernel = kernel;
    call->operands_count = (uint8_t)kernel->operands_count;
    call->task = NULL;
    call->seat = NULL;
    call->split = NULL;
    call->tries = 0;
    *ret_call = call;
    return SYN_OK;
}

int
syn_engine_record_new(struct syn_engine *engine, const struct syn_kernel *kernel,
                      struct syn_engine_task **ret_call, struct syn_err *err)
{
    return record_new(engine, kernel, 0, ret_call, err);
}

/* A chain of records of one room. */
static void
return_records(struct syn_engine_task *first, struct syn_engine_task *last)
{
    _Atomic(struct syn_engine_task *) *returned = &first->engine->returned[first->room];
    struct syn_engine_task *top = atomic_load_explicit(returned, memory_order_relaxed);

    do {
        last->next = top;
    } while (!atomic_compare_exchange_weak_explicit(returned, &top, first, memory_order_release,
                                                    memory_order_relaxed));
}

/* The runtime's threads return them by the dozen. */
void
syn_engine_record_free(struct syn_engine_task *call)
{
    const struct syn_worker *self = syn_self;
    struct syn_engine *engine = call->engine;
    struct syn_engine_seat *seat;
    unsigned room = call->room;

    if (!call->plain || (call->seat != NULL && call->seat->dev != NULL)) { /* it looked there */
        assert(call->event == NULL && call->scratch == NULL && call->why == NULL);
        call->request.user = call; /* see reduce.c */
    }
    if (self == NULL || self->runtime != engine->runtime || self->index >= engine->cpus) {
        return_records(call, call);
        return;
    }
    seat = &engine->seats[self->index];
    if (seat->spent_count[room]++ == 0)
        seat->spent_last[room] = call;
    call->next = seat->spent[room];
    seat->spent[room] = call;
    if (seat->spent_count[room] < RETURN_BATCH)
        return;
    return_records(call, seat->spent_last[room]);
    seat->spent[room] = NULL;
    seat->spent_count[room] = 0;
}

void
syn_engine_records_free(struct syn_engine *engine)
{
    for (struct syn_engine_slab *slab = engine->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        syn_free(slab);
    }
    syn_engine_recipes_free(engine);
    for (unsigned i = 0; i < SYN_ENGINE_MEMOS; i++) {
        struct syn_engine_memo *memo = engine->memos[i];

        for (struct syn_engine_memo *next; memo != NULL; memo = next) {
            next = memo->next;
            syn_free(memo);
        }
    }
}

/* So few, mostly none, that a loop is sooner than memcpy(). */
static void
copy_params(double *to, const double *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        to[i] = from[i];
}

void
syn_engine_call_of(const struct syn_engine_task *call, struct syn_tensor_place *places,
                   struct syn_kernel_call *ret_call)
{
    ret_call->kernel = call->kernel;
    for (unsigned i = 0; i < call->operands_count; i++) {
        struct syn_operand *operand = &ret_call->operands[i];
        const struct syn_tensor *tensor = syn_engine_tensor(call, i);
        uint64_t offset = 0;

        operand->data = NULL;
        if (places != NULL) {
            syn_tensor_at(tensor, call->seat->node, &places[i]);
            operand->shape = places[i].shape;
        } else {
            operand->shape = syn_tensor_shape(tensor);
        }
        if (call->split != NULL)
            operand->shape = syn_engine_piece_shape(call, i, operand->shape, &offset);
        if (places == NULL)
            continue;
        places[i].shape = operand->shape;
        places[i].offset += offset;
        if (places[i].host != NULL) {
            places[i].host = (char *)places[i].host + offset;
            operand->data = places[i].host;
        }
    }
    copy_params(ret_call->params, call->params, call->kernel->params_count);
}

/* ---- estimates ---- */

static uint64_t
mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * HASH_MUL;
    return hash ^ hash >> 29;
}

/* Tells apart calls that take differently long. */
static uint64_t
footprint_of(const struct syn_kernel_call *call)
{
    uint64_t hash = HASH_MUL;

    for (unsigned i = 0; i < call->kernel->operands_count; i++) {
        const struct syn_shape *shape = call->operands[i].shape;

        assert(shape != NULL);
        hash = mix(hash, (uint64_t)shape->dtype << 8 | shape->dims);
        for (unsigned j = 0; j < shape->dims; j++)
            hash = mix(hash, shape->sizes[j] ^ shape->strides[j] << 32);
    }
    for (unsigned i = 0; i < call->kernel->params_count; i++) {
        uint64_t bits;

        if (!call->kernel->params[i].whole)
            continue; /* factors do not change the time */
        memcpy(&bits, &call->params[i], sizeof(bits));
        hash = mix(hash, bits);
    }
    return hash;
}

/* What has gaps may lie in other ways where the call runs: calls whose tensors may are told apart
 * by that too. */
static uint64_t
mix_ways(uint64_t hash, const struct syn_engine_task *call)
{
    for (unsigned i = 0; i < call->uses_count; i++) {
        const struct syn_shape *ways[SYN_TENSOR_WAYS_MAX];
        unsigned count = syn_tensor_ways(syn_tensor_of(call->uses[i].data), ways);

        for (unsigned k = 1; k < count; k++) {
            hash = mix(hash, i);
            for (unsigned j = 0; j < ways[k]->dims; j++)
                hash = mix(hash, ways[k]->strides[j]);
        }
    }
    return hash;
}

/* Is there an implementation for the call however its tensors lie there? More ways than WAYS_MAX
 * nobody looks through. */
static bool
fits_all_ways(const struct syn_engine_task *call, const struct syn_kernel_call *seen,
              const struct syn_device_info *device)
{
    const struct syn_shape *ways[SYN_OPERANDS_MAX][SYN_TENSOR_WAYS_MAX];
    unsigned counts[SYN_OPERANDS_MAX], at[SYN_OPERANDS_MAX] = {0};
    struct syn_shape shapes[SYN_OPERANDS_MAX];
    struct syn_kernel_call way = *seen;

    for (unsigned i = 0; i < call->operands_count; i++)
        counts[i] = syn_tensor_ways(syn_engine_tensor(call, i), ways[i]);
    for (unsigned tries = 0; tries < WAYS_MAX; tries++) {
        unsigned i;

        for (i = 0; i < call->operands_count; i++) {
            uint64_t offset;

            shapes[i] = *ways[i][at[i]];
            if (call->split != NULL)
                syn_engine_piece_cut(call, i, &shapes[i], &offset);
            way.operands[i].shape = &shapes[i];
        }
        if (syn_kernel_pick(call->kernel, &way, device) == NULL)
            return false;
        for (i = 0; i < call->operands_count && ++at[i] == counts[i]; i++)
            at[i] = 0;
        if (i == call->operands_count)
            return true;
    }
    return false;
}

/* What is fitted for any layout needs no second look. */
static bool
can_run(const struct syn_engine_task *call, const struct syn_kernel_call *seen,
        const struct syn_device_info *device)
{
    const struct syn_kernel_impl *impl = syn_kernel_pick(call->kernel, seen, device);

    return impl != NULL && (impl->fits == NULL || fits_all_ways(call, seen, device));
}

static void
set_priors(const struct syn_engine_task *task, struct syn_model_entry *entry,
           const struct syn_kernel_call *call, const struct syn_work *work)
{
    const struct syn_engine *engine = task->engine;

    for (unsigned i = 0; i < engine->seats_count; i++) {
        const struct syn_engine_seat *seat = &engine->seats[i];
        bool can = !(engine->without_cpu && i < engine->cpus) && can_run(task, call, seat->info);
        int64_t ns = can ? syn_profile_work_ns(&seat->rates, work) : 0;

        /* A device of which no rate is known can all the same. */
        if (ns == INT64_MAX)
            ns = SYN_UNKNOWN_NS;
        syn_model_prior(entry, seat->class_id, can ? (uint64_t)ns : SYN_NEVER);
    }
}

static struct syn_engine_memo *
find_memo(_Atomic(struct syn_engine_memo *) *head, const struct syn_kernel *kernel,
          uint64_t footprint)
{
    struct syn_engine_memo *memo = atomic_load_explicit(head, memory_order_acquire);

    while (memo != NULL && (memo->kernel != kernel || memo->footprint != footprint))
        memo = memo->next;
    return memo;
}

/* Under the lock. */
static SYN_MUST int
make_memo(const struct syn_engine_task *task, const struct syn_kernel_call *call,
          _Atomic(struct syn_engine_memo *) *head, uint64_t footprint,
          struct syn_engine_memo **ret_memo, struct syn_err *err)
{
    struct syn_engine_memo *memo = find_memo(head, call->kernel, footprint);
    struct syn_work work = {0};
    int rc;

    if (memo != NULL) { /* meanwhile */
        *ret_memo = memo;
        return SYN_OK;
    }
    memo = syn_alloc(sizeof(*memo));
    if (memo == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for what %s takes", call->kernel->name);
    call->kernel->work(call, &work);
    *memo = (struct syn_engine_memo){.kernel = call->kernel, .footprint = footprint};
    rc = syn_model_entry(task->engine->model, call->kernel->name,
                         work.flops > 0 ? work.flops : work.read_bytes + work.written_bytes,
                         footprint, &memo->entry, err);
    if (rc < 0) {
        syn_free(memo);
        return rc;
    }
    set_priors(task, memo->entry, call, &work);
    memo->next = atomic_load_explicit(head, memory_order_relaxed);
    atomic_store_explicit(head, memo, memory_order_release);
    *ret_memo = memo;
    return SYN_OK;
}

static SYN_MUST int
find_entry(const struct syn_engine_task *task, const struct syn_kernel_call *call, bool gaps,
           struct syn_model_entry **ret_entry, struct syn_err *err)
{
    uint64_t footprint = gaps ? mix_ways(footprint_of(call), task) : footprint_of(call);
    struct syn_engine *engine = task->engine;
    _Atomic(struct syn_engine_memo *) *head =
        &engine->memos[mix(footprint, (uintptr_t)call->kernel) % SYN_ENGINE_MEMOS];
    struct syn_engine_memo *memo = find_memo(head, call->kernel, footprint);
    int rc = SYN_OK;

    if (__builtin_expect(memo == NULL, 0)) {
        syn_spin_lock(&engine->lock);
        rc = make_memo(task, call, head, footprint, &memo, err);
        syn_spin_unlock(&engine->lock);
    }
    if (memo != NULL)
        *ret_entry = memo->entry;
    return rc;
}

static void
fill_uses(struct syn_engine_task *call, struct syn_tensor *const *tensors)
{
    unsigned count = 0, reduces = 0;

    for (unsigned i = 0; i < call->operands_count; i++) {
        const struct syn_replicas *data = syn_tensor_replicas(tensors[i]);
        enum syn_access access = (enum syn_access)call->access[i];
        bool alone;
        unsigned at = 0;

        while (at < count && call->uses[at].data != data)
            at++;
        /* What it does something else with as well it just updates. */
        alone = at == count && access == SYN_REDUCE && call->kernel->reductions[i] != NULL;
        reduces = alone ? reduces | SYN_BIT(at) : reduces & ~SYN_BIT(at);
        access &= SYN_UPDATE; /* to memory, commuting and reducing are updates */
        if (at == count)
            call->uses[count++] = (struct syn_data_use){
                .data = data, .handle = (uint32_t)syn_tensor_number(tensors[i])};
        call->use_of[i] = (uint8_t)at;
        call->uses[at].mode |= access;
    }
    call->uses_count = (uint8_t)count;
    call->reduces = (uint8_t)reduces;
    call->plain = false;
    call->ready.accesses = call->uses;
    call->ready.access_count = (uint16_t)count;
    call->ready.access_stride = sizeof(call->uses[0]);
}

/* The same for what the recipe says only reads and writes. False: some tensor is there twice. */
static bool
fill_plain_uses(struct syn_engine_task *call, struct syn_tensor *const *tensors)
{
    unsigned count = call->operands_count;

    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (tensors[j] == tensors[i])
                return false;
        }
        call->uses[i] = (struct syn_data_use){.data = syn_tensor_replicas(tensors[i]),
                                              .handle = (uint32_t)syn_tensor_number(tensors[i]),
                                              .mode = call->access[i]};
        call->use_of[i] = (uint8_t)i;
    }
    call->uses_count = (uint8_t)count;
    call->reduces = 0;
    call->plain = true;
    call->ready.accesses = call->uses;
    call->ready.access_count = (uint16_t)count;
    call->ready.access_stride = sizeof(call->uses[0]);
    return true;
}

/* Find it all out. */
static __attribute__((noinline)) SYN_MUST int
check(struct syn_engine_task *call, struct syn_tensor *const *tensors, struct syn_err *err)
{
    const struct syn_kernel *kernel = call->kernel;
    struct syn_kernel_call seen; /* as much of it as the kernel takes */
    bool gaps = false;
    uint64_t offset;
    int rc;

    seen.kernel = kernel;
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        const struct syn_shape *shape = syn_tensor_shape(tensors[i]);

        gaps = gaps || shape->layout == SYN_LAYOUT_STRIDED;
        if (call->split != NULL)
            shape = syn_engine_piece_shape(call, i, shape, &offset);
        seen.operands[i] = (struct syn_operand){.shape = shape};
    }
    copy_params(seen.params, call->params, kernel->params_count);
    rc = syn_kernel_check_call(&seen, err);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < kernel->operands_count; i++)
        call->access[i] = (uint8_t)syn_kernel_access(&seen, i);
    fill_uses(call, tensors);
    rc = find_entry(call, &seen, gaps, &call->entry, err);
    if (rc == SYN_OK)
        syn_engine_recipe_remember(call, tensors);
    return rc;
}

int
syn_engine_record_fill(struct syn_engine_task *call, struct syn_tensor *const *tensors,
                       struct syn_err *err)
{
    bool plain = false;
    int rc = SYN_OK;

    if (!syn_engine_recipe_find(call, tensors, &plain))
        rc = check(call, tensors, err);
    else if (!plain || !fill_plain_uses(call, tensors))
        fill_uses(call, tensors);
    if (rc == SYN_OK)
        call->ready.cost = syn_model_estimate(call->entry);
    return rc;
}

/* ---- submitting ---- */

static SYN_MUST int
fill_params(struct syn_engine_task *call, const struct syn_task_call *wish, struct syn_err *err)
{
    const struct syn_kernel *kernel = call->kernel;

    if (wish->params_count > kernel->params_count)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %u parameters, it takes %u", kernel->name,
                        wish->params_count, kernel->params_count);
    for (unsigned i = 0; i < kernel->params_count; i++) {
        const struct syn_kernel_param *param = &kernel->params[i];

        call->params[i] = i < wish->params_count ? wish->params[i] : param->value;
        if (isnan(call->params[i]) && isnan(param->value))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: parameter %s must be given", kernel->name,
                            param->name);
    }
    return SYN_OK;
}

static SYN_MUST int
seat_named(const struct syn_engine *engine, const char *device, int16_t *ret_seat,
           struct syn_err *err)
{
    for (unsigned i = 0; i < engine->seats_count; i++) {
        if (strcmp(engine->seats[i].info->id, device) == 0) {
            *ret_seat = (int16_t)i;
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_INVALID, "the engine has no device %s", device);
}

static SYN_MUST int
fill(struct syn_engine_task *call, const struct syn_task_call *wish, struct syn_err *err)
{
    const struct syn_kernel *kernel = call->kernel;
    int rc;

    call->pieces = (uint8_t)SYN_MIN(wish->pieces, UINT8_MAX);
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        if (wish->tensors[i] == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: no tensor for %s", kernel->name,
                            kernel->operands[i].name);
    }
    rc = fill_params(call, wish, err);
    if (rc < 0)
        return rc;
    rc = syn_engine_record_fill(call, wish->tensors, err);
    if (rc < 0)
        return rc;
    call->ready.priority = wish->priority;
    call->ready.deadline_ns =
        wish->deadline_ns > 0 ? (uint64_t)(syn_clock_ns() + wish->deadline_ns) : 0;
    call->ready.index = SYN_NO_INDEX;
    call->ready.origin = SYN_NO_WORKER;
    call->ready.affinity = SYN_NO_WORKER;
    return wish->device != NULL ? seat_named(call->engine, wish->device, &call->ready.affinity, err)
                                : SYN_OK;
}

bool
syn_engine_possible(const struct syn_engine_task *call)
{
    if (call->ready.affinity != SYN_NO_WORKER) {
        const struct syn_engine_seat *seat = &call->engine->seats[call->ready.affinity];

        return syn_engine_cost(call, seat->class_id) != SYN_NEVER;
    }
    for (unsigned i = 0; i < call->engine->platform.class_count; i++) {
        if (syn_engine_cost(call, i) != SYN_NEVER)
            return true;
    }
    return false;
}

/* It has been made a while ago, by another thread: fetch at once what is looked at now. */
static void
foresee(const struct syn_engine_task *call)
{
    __builtin_prefetch(&call->kernel, 1);
    __builtin_prefetch(call->access);
}

/* Everything it waited for is there. */
static int
dispatch(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_engine_task *call = arg;
    int code = worker->current_code;

    (void)at;
    foresee(call);
    if (code < 0) {
        syn_engine_drop(call, code);
        syn_engine_record_free(call);
        return code;
    }
    call->task = syn_task_later(worker);
    if (worker->index < call->engine->cpus)
        call->ready.origin = (int16_t)worker->index;
    if (call->pieces != SYN_PIECES_ONE && call->kernel->splits_count > 0 && syn_engine_divide(call))
        return SYN_OK;
    syn_engine_push(call);
    return SYN_OK;
}

/* What the order of tasks follows from: commuting calls go in any order, one at a time, and so does
 * what cannot reduce side by side; whoever does more than one thing with a tensor updates it. True:
 * there is nothing in it but reading and writing. */
static bool
fill_order(const struct syn_engine_task *call, struct syn_use *uses)
{
    bool plain = call->reduces == 0;

    for (unsigned i = 0; i < call->operands_count; i++) {
        struct syn_use *use = &uses[call->use_of[i]];
        enum syn_access access = (enum syn_access)call->access[i];

        plain = plain && access <= SYN_UPDATE;
        if ((call->reduces & SYN_BIT(call->use_of[i])) != 0)
            continue; /* it says so already */
        if (access == SYN_REDUCE)
            access = SYN_COMMUTE;
        use->access = use->access == 0 || use->access == access ? access : SYN_UPDATE;
    }
    return plain;
}

static SYN_MUST int
submit(struct syn_engine_task *call, const struct syn_task_call *wish, struct syn_task **ret_task,
       struct syn_err *err)
{
    struct syn_engine *engine = call->engine;
    struct syn_use uses[SYN_OPERANDS_MAX];
    struct syn_task_spec spec = {.run = dispatch,
                                 .arg = call,
                                 .uses = uses,
                                 .uses_count = call->uses_count,
                                 .after = wish->after,
                                 .after_count = wish->after_count,
                                 .priority = wish->priority,
                                 .done = wish->done,
                                 .done_arg = wish->done_arg};
    uint8_t flags = SYN_TASK_ALWAYS;
    int rc = SYN_OK;

    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_engine_handle *handle;

        rc = syn_engine_handle(engine, syn_tensor_of(call->uses[i].data), &handle, err);
        if (rc < 0)
            return rc;
        uses[i].data = handle->data;
        uses[i].access = call->plain ? (enum syn_access)call->access[i] : (enum syn_access)0;
    }
    for (unsigned i = 0; __builtin_expect(call->reduces != 0, 0) && i < call->uses_count; i++) {
        if ((call->reduces & SYN_BIT(i)) != 0)
            rc = syn_engine_reduces(call, i, &uses[i].access, err);
        if (rc < 0)
            return rc;
    }
    /* Each tensor once, checked here: the core need not look. */
    if ((call->plain || fill_order(call, uses)) && wish->after_count == 0)
        flags |= SYN_TASK_DISTINCT;
    if (syn_trace_on(engine->trace))
        syn_engine_trace_order(call);
    return syn_task_submit_flagged(engine->runtime, &spec, flags, ret_task, err);
}

static inline SYN_MUST int
record_for(struct syn_engine *engine, const struct syn_task_call *wish, unsigned submits,
           struct syn_engine_task **ret_call, struct syn_err *err)
{
    struct syn_engine_task *call = NULL;
    int rc = record_new(engine, wish->kernel, submits, &call, err);

    if (rc < 0)
        return rc;
    rc = fill(call, wish, err);
    if (rc == SYN_OK && !syn_engine_possible(call))
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: no device here has an implementation for it",
                      wish->kernel->name);
    if (rc >= 0) {
        *ret_call = call;
        return SYN_OK;
    }
    syn_engine_record_free(call);
    if (submits != 0)
        syn_engine_count_submitted(engine, -1);
    return rc;
}

int
syn_engine_record_for(struct syn_engine *engine, const struct syn_task_call *wish,
                      struct syn_engine_task **ret_call, struct syn_err *err)
{
    return record_for(engine, wish, 0, ret_call, err);
}

int
syn_engine_submit(struct syn_engine *engine, const struct syn_task_call *wish,
                  struct syn_task **ret_task, struct syn_err *err)
{
    struct syn_engine_task *call = NULL;
    int rc = record_for(engine, wish, 1, &call, err);

    if (rc < 0)
        return rc;
    rc = submit(call, wish, ret_task, err);
    if (rc < 0) {
        syn_engine_record_free(call);
        syn_engine_count_submitted(engine, -1);
    }
    return rc;
}
