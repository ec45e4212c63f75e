/* From a call to a record: checked, its dependencies inferred, its costs estimated. */
#include <math.h>
#include <string.h>

#include <synor/base/mem.h>

#include "engine_priv.h"

#define SLAB_RECORDS 64
#define HASH_MUL     UINT64_C(0x9e3779b97f4a7c15)

struct syn_engine_slab {
    struct syn_engine_slab *next;
    struct syn_engine_task records[SLAB_RECORDS];
};

/* ---- records ---- */

int
syn_engine_record_new(struct syn_engine *engine, struct syn_engine_task **ret_call,
                      struct syn_err *err)
{
    struct syn_engine_task *call;

    syn_spin_lock(&engine->spare_lock);
    if (engine->spare == NULL) {
        struct syn_engine_slab *slab = syn_alloc(sizeof(*slab));

        if (slab == NULL) {
            syn_spin_unlock(&engine->spare_lock);
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a call");
        }
        slab->next = engine->slabs;
        engine->slabs = slab;
        for (unsigned i = 0; i < SLAB_RECORDS; i++) {
            slab->records[i].next = engine->spare;
            engine->spare = &slab->records[i];
        }
    }
    call = engine->spare;
    engine->spare = call->next;
    syn_spin_unlock(&engine->spare_lock);
    call->engine = engine;
    call->task = NULL;
    call->seat = NULL;
    call->impl = NULL;
    call->tries = 0;
    call->event = NULL;
    call->scratch = NULL;
    call->split = NULL;
    *ret_call = call;
    return SYN_OK;
}

void
syn_engine_record_free(struct syn_engine_task *call)
{
    struct syn_engine *engine = call->engine;

    syn_spin_lock(&engine->spare_lock);
    call->next = engine->spare;
    engine->spare = call;
    syn_spin_unlock(&engine->spare_lock);
}

void
syn_engine_records_free(struct syn_engine *engine)
{
    for (struct syn_engine_slab *slab = engine->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        syn_free(slab);
    }
}

void
syn_engine_call_of(const struct syn_engine_task *call, struct syn_tensor_place *places,
                   struct syn_kernel_call *ret_call)
{
    ret_call->kernel = call->kernel;
    for (unsigned i = 0; i < call->operands_count; i++) {
        struct syn_operand *operand = &ret_call->operands[i];
        uint64_t offset = 0;

        operand->data = NULL;
        operand->shape = syn_tensor_shape(call->tensors[i]);
        if (places != NULL) {
            syn_tensor_at(call->tensors[i], call->seat->node, &places[i]);
            operand->shape = places[i].shape;
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
    memcpy(ret_call->params, call->params, call->kernel->params_count * sizeof(call->params[0]));
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

static void
set_priors(struct syn_engine *engine, struct syn_model_entry *entry,
           const struct syn_kernel_call *call, const struct syn_work *work)
{
    for (unsigned i = 0; i < engine->seats_count; i++) {
        const struct syn_engine_seat *seat = &engine->seats[i];
        bool can = syn_kernel_pick(call->kernel, call, seat->info) != NULL &&
                   !(engine->without_cpu && i < engine->cpus);
        int64_t ns = can ? syn_profile_work_ns(&seat->rates, work) : 0;

        /* A device of which no rate is known can all the same. */
        if (ns == INT64_MAX)
            ns = SYN_UNKNOWN_NS;
        syn_model_prior(entry, seat->class_id, can ? (uint64_t)ns : SYN_NEVER);
    }
}

/* Under the lock. */
static SYN_MUST int
find_entry(struct syn_engine *engine, const struct syn_kernel_call *call,
           struct syn_model_entry **ret_entry, struct syn_err *err)
{
    uint64_t footprint = footprint_of(call);
    struct syn_engine_memo *memo =
        &engine->memos[mix(footprint, (uintptr_t)call->kernel) % SYN_ENGINE_MEMOS];
    struct syn_work work = {0};
    int rc;

    if (memo->kernel == call->kernel && memo->footprint == footprint) {
        *ret_entry = memo->entry;
        return SYN_OK;
    }
    call->kernel->work(call, &work);
    memo->kernel = NULL;
    rc = syn_model_entry(engine->model, call->kernel->name,
                         work.flops > 0 ? work.flops : work.read_bytes + work.written_bytes,
                         footprint, &memo->entry, err);
    if (rc < 0)
        return rc;
    set_priors(engine, memo->entry, call, &work);
    memo->kernel = call->kernel;
    memo->footprint = footprint;
    *ret_entry = memo->entry;
    return SYN_OK;
}

static void
fill_uses(struct syn_engine_task *call, const struct syn_kernel_call *seen)
{
    call->uses_count = 0;
    for (unsigned i = 0; i < call->operands_count; i++) {
        struct syn_tensor *tensor = call->tensors[i];
        enum syn_access access = syn_kernel_access(seen, i);
        unsigned at = 0;

        call->access[i] = (uint8_t)access;
        access &= SYN_UPDATE; /* to memory, commuting and reducing are updates */
        while (at < call->uses_count && call->uses[at].tensor != tensor)
            at++;
        if (at == call->uses_count) {
            call->uses[call->uses_count++] = (struct syn_memory_use){.tensor = tensor};
            call->seen[at] = (struct syn_data_use){.data = syn_tensor_replicas(tensor),
                                                   .handle = (uint32_t)syn_tensor_number(tensor)};
        }
        call->uses[at].access |= access;
        call->seen[at].mode = call->uses[at].access;
    }
    call->ready.accesses = call->seen;
    call->ready.access_count = call->uses_count;
    call->ready.access_stride = sizeof(call->seen[0]);
}

int
syn_engine_record_fill(struct syn_engine_task *call, struct syn_err *err)
{
    struct syn_engine *engine = call->engine;
    struct syn_kernel_call seen = {0};
    int rc;

    syn_engine_call_of(call, NULL, &seen);
    rc = syn_kernel_check_call(&seen, err);
    if (rc < 0)
        return rc;
    fill_uses(call, &seen);
    syn_spin_lock(&engine->lock);
    rc = find_entry(engine, &seen, &call->entry, err);
    if (rc == SYN_OK)
        call->ready.cost = syn_model_estimate(call->entry);
    syn_spin_unlock(&engine->lock);
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
    const struct syn_kernel *kernel = wish->kernel;
    int rc;

    call->kernel = kernel;
    call->operands_count = (uint8_t)kernel->operands_count;
    call->pieces = (uint8_t)SYN_MIN(wish->pieces, UINT8_MAX);
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        call->tensors[i] = wish->tensors[i];
        if (wish->tensors[i] == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: no tensor for %s", kernel->name,
                            kernel->operands[i].name);
    }
    rc = fill_params(call, wish, err);
    if (rc < 0)
        return rc;
    rc = syn_engine_record_fill(call, err);
    if (rc < 0)
        return rc;
    call->ready.priority = wish->priority;
    call->ready.deadline_ns =
        wish->deadline_ns > 0 ? (uint64_t)(syn_engine_now() + wish->deadline_ns) : 0;
    call->ready.index = SYN_NO_INDEX;
    call->ready.origin = SYN_NO_WORKER;
    call->ready.affinity = SYN_NO_WORKER;
    return wish->device != NULL ? seat_named(call->engine, wish->device, &call->ready.affinity, err)
                                : SYN_OK;
}

static bool
is_possible(const struct syn_engine_task *call)
{
    for (unsigned i = 0; i < call->engine->platform.class_count; i++) {
        if (syn_engine_cost(call, i) != SYN_NEVER)
            return true;
    }
    return false;
}

/* Everything it waited for is there. */
static int
dispatch(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_engine_task *call = arg;
    int code = worker->current_code;

    (void)at;
    for (unsigned i = 0; code == 0 && i < call->uses_count; i++) {
        if ((call->uses[i].access & SYN_READ) != 0)
            code = syn_engine_failed(call->engine, call->uses[i].tensor);
    }
    if (code < 0) {
        syn_engine_drop(call, code);
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

/* What the order of tasks follows from: commuting and reducing calls go in any order, one at a
 * time; whoever does more than one thing with a tensor updates it. */
static enum syn_access
order_of(const struct syn_engine_task *call, const struct syn_tensor *tensor)
{
    enum syn_access access = 0;

    for (unsigned i = 0; i < call->operands_count; i++) {
        if (call->tensors[i] != tensor)
            continue;
        if (access == 0)
            access = call->access[i] == SYN_REDUCE ? SYN_COMMUTE : call->access[i];
        else if (access != call->access[i])
            access = SYN_UPDATE;
    }
    return access;
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

    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_engine_handle *handle;
        int rc = syn_engine_handle(engine, call->uses[i].tensor, &handle, err);

        if (rc < 0)
            return rc;
        uses[i].data = handle->data;
        uses[i].access = order_of(call, call->uses[i].tensor);
    }
    if (syn_trace_on(engine->trace))
        syn_engine_trace_order(call);
    return syn_task_submit_flagged(engine->runtime, &spec, SYN_TASK_ALWAYS, ret_task, err);
}

int
syn_engine_record_for(struct syn_engine *engine, const struct syn_task_call *wish,
                      struct syn_engine_task **ret_call, struct syn_err *err)
{
    struct syn_engine_task *call = NULL;
    int rc = syn_engine_record_new(engine, &call, err);

    if (rc < 0)
        return rc;
    rc = fill(call, wish, err);
    if (rc == SYN_OK && !is_possible(call))
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: no device here has an implementation for it",
                      wish->kernel->name);
    if (rc < 0)
        syn_engine_record_free(call);
    else
        *ret_call = call;
    return rc;
}

int
syn_engine_submit(struct syn_engine *engine, const struct syn_task_call *wish,
                  struct syn_task **ret_task, struct syn_err *err)
{
    struct syn_engine_task *call = NULL;
    int rc = syn_engine_record_for(engine, wish, &call, err);

    if (rc < 0)
        return rc;
    (void)atomic_fetch_add_explicit(&engine->submitted, 1, memory_order_relaxed);
    rc = submit(call, wish, ret_task, err);
    if (rc < 0) {
        syn_engine_record_free(call);
        (void)atomic_fetch_sub_explicit(&engine->submitted, 1, memory_order_relaxed);
    }
    return rc;
}
