/* Calls that reduce side by side (docs/adr/0014): each seat has a share of the sum.
 *
 *     calls of seat 0 --> the tensor itself -----------.
 *     calls of seat 1 --> a copy, from the neutral ----+--> merge, a call a copy, in a chain:
 *     calls of seat 2 --> a copy, from the neutral ----'    the task that the core puts between
 * groups
 *
 * To the core they are what tasks that reduce are (data.c): a group whose members do not wait for
 * each other; calls that reduce in another way are another group. Which share a call works on is
 * seen when its seat is about to acquire its tensors: the first seat since the last merging takes
 * the tensor itself, any other a copy, made then; the record names the share until the call lets go
 * of its tensors. A share is one call's at a time. So a call that fails takes what others had added
 * only where the memory manager says that it is gone, and what is written the neutral element
 * first, and acquired without content, is what has none.
 *
 * A seat that can have no copy (no memory for it, nothing there writes the neutral element) waits
 * for the tensor itself, as calls that commute do.
 *
 * When all are over the merging begins: records without a task of their own, made with the copies,
 * so that nothing can be wanting then. Where a share was lost with what it held, so is the sum.
 *
 * Locks: a sum's own, for who has which share; the engine's `maps_lock` for the list of sums. */
#include <string.h>

#include <synor/base/mem.h>

#include "engine_priv.h"

struct syn_engine_share {
    struct syn_engine_share *next; /* of the engine's `left` */
    struct syn_engine_sum *sum;
    struct syn_tensor *tensor;     /* a copy, or the tensor itself */
    struct syn_engine_task *merge; /* of a copy: puts it to the rest */
    bool taken;                    /* by a call */
    bool full;                     /* it holds what is nowhere else */
    bool closed;                   /* there is no memory for it: nobody takes it any more */
    struct syn_engine_task *waiting, *waiting_last;
};

struct syn_engine_sum {
    struct syn_engine_sum *next, *prev; /* of the engine's; under `maps_lock` */
    struct syn_engine *engine;
    struct syn_tensor *tensor;
    struct syn_data *data;
    struct syn_spin lock;                   /* for all that follows */
    const struct syn_kernel_reduction *how; /* of the group that runs */
    bool dirty;                             /* something has to be put together, or given up */
    _Atomic int code;                       /* why a share, and so the sum, is lost; or 0 */
    int32_t priority;                       /* of the most urgent member */
    const struct syn_engine_seat *home; /* whose share is the tensor itself; NULL: nobody's yet */
    struct syn_engine_share own;        /* that */
    /* The merging. */
    struct syn_task *task;
    int ends_with;
    struct syn_engine_share *copies[]; /* by seat; NULL: it has none */
};

static bool
has_content(const struct syn_tensor *tensor)
{
    return __atomic_load_n(&syn_tensor_replicas(tensor)->valid, __ATOMIC_RELAXED) != 0;
}

static struct syn_tensor *
tensor_of(const struct syn_engine_task *call, unsigned use)
{
    return syn_tensor_of(call->uses[use].data);
}

static const struct syn_kernel_reduction *
reduction_of(const struct syn_engine_task *call, unsigned use)
{
    unsigned operand = 0;

    while (call->use_of[operand] != use)
        operand++;
    return call->kernel->reductions[operand];
}

/* Of a use that names the tensor itself. */
static struct syn_engine_sum *
sum_of(const struct syn_engine_task *call, unsigned use)
{
    struct syn_engine_handle *handle = syn_tensor_user(tensor_of(call, use));

    return atomic_load_explicit(&handle->sum, memory_order_acquire);
}

static struct syn_engine_share *
share_at(const void *word)
{
    return (struct syn_engine_share *)((uintptr_t)word & ~(uintptr_t)1);
}

/* What the call has. */
static struct syn_engine_share *
share_of(const struct syn_engine_task *call, unsigned use)
{
    const void *word = syn_tensor_user(tensor_of(call, use));

    return syn_engine_is_copy(word) ? share_at(word) : &sum_of(call, use)->own;
}

const struct syn_tensor *
syn_engine_copied(const struct syn_tensor *tensor)
{
    const void *word = syn_tensor_user(tensor);

    return syn_engine_is_copy(word) ? share_at(word)->sum->tensor : tensor;
}

/* ---- copies ---- */

static void
set_params(struct syn_kernel_call *call, const struct syn_kernel_reduction *how)
{
    for (unsigned i = 0; i < how->params_count; i++)
        call->params[i] = how->params[i];
}

/* What is wrapped with gaps, or a part, may lie packed where calls run, so they have to do with
 * that as well. */
static const struct syn_shape *
shape_of_copy(const struct syn_tensor *tensor)
{
    const struct syn_shape *ways[SYN_TENSOR_WAYS_MAX];

    return ways[syn_tensor_ways(tensor, ways) - 1];
}

static bool
can_init(const struct syn_engine_sum *sum, const struct syn_engine_seat *seat)
{
    struct syn_kernel_call call;

    syn_kernel_call_init(&call, sum->how->init);
    set_params(&call, sum->how);
    call.operands[0].shape = shape_of_copy(sum->tensor);
    return syn_kernel_check_call(&call, NULL) == SYN_OK &&
           syn_kernel_pick(sum->how->init, &call, seat->info) != NULL;
}

/* It belongs to nothing any more. */
static void
end_share(struct syn_engine_share *share)
{
    struct syn_err err;
    int rc = SYN_OK;

    if (share->merge != NULL) {
        share->merge->sum = NULL;
        syn_engine_record_free(share->merge);
    }
    if (share->tensor != NULL) {
        syn_tensor_set_user(share->tensor, NULL);
        rc = syn_tensor_free(share->tensor, &err);
    }
    assert(rc == SYN_OK); /* only what is the caller's can fail to come home */
    syn_free(share);
}

static SYN_MUST int
fill_copy(struct syn_engine_share *share, struct syn_err *err)
{
    struct syn_engine_sum *sum = share->sum;
    struct syn_engine *engine = sum->engine;
    struct syn_task_call wish = {.kernel = sum->how->merge,
                                 .params = sum->how->params,
                                 .params_count = sum->how->params_count,
                                 .pieces = SYN_PIECES_ONE};
    struct syn_shape shape = *shape_of_copy(sum->tensor);
    int rc = syn_tensor_new(engine->memory, &shape, &share->tensor, err);

    if (rc < 0)
        return rc;
    syn_tensor_set_user(share->tensor, (char *)share + 1);
    wish.tensors[0] = share->tensor;
    wish.tensors[1] = sum->tensor;
    rc = syn_engine_record_for(engine, &wish, &share->merge, err);
    if (rc == SYN_OK)
        share->merge->sum = sum;
    return rc;
}

/* NULL: the seat has to do without. */
static struct syn_engine_share *
copy_new(struct syn_engine_sum *sum, const struct syn_engine_seat *seat)
{
    struct syn_engine_share *share;
    struct syn_err err;

    if (!can_init(sum, seat))
        return NULL;
    share = syn_calloc(1, sizeof(*share));
    if (share == NULL)
        return NULL;
    share->sum = sum;
    if (fill_copy(share, &err) == SYN_OK)
        return share;
    end_share(share);
    return NULL;
}

/* ---- sums ---- */

static int settle(struct syn_worker *worker, struct syn_fork *at, void *arg);

/* With `maps_lock`. */
static SYN_MUST int
sum_new(struct syn_engine *engine, struct syn_engine_handle *handle, struct syn_tensor *tensor,
        struct syn_err *err)
{
    struct syn_engine_sum *sum =
        syn_calloc(1, sizeof(*sum) + engine->seats_count * sizeof(struct syn_engine_share *));
    int rc;

    if (sum == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a reduction");
    sum->engine = engine;
    sum->tensor = tensor;
    sum->data = handle->data;
    sum->priority = SYN_PRIORITY_MIN;
    sum->own = (struct syn_engine_share){.sum = sum, .tensor = tensor, .full = true};
    rc = syn_data_reduction_elsewhere(handle->data, settle, sum, err);
    if (rc < 0) {
        syn_free(sum);
        return rc;
    }
    sum->next = engine->sums;
    if (sum->next != NULL)
        sum->next->prev = sum;
    engine->sums = sum;
    atomic_store_explicit(&handle->sum, sum, memory_order_release);
    return SYN_OK;
}

/* The number of a way to reduce; SYN_REDUCE_WAYS: there are too many. */
static unsigned
way_of(struct syn_engine *engine, const struct syn_kernel_reduction *how)
{
    unsigned count = atomic_load_explicit(&engine->ways_count, memory_order_acquire), i = 0;

    while (i < count && engine->ways[i] != how)
        i++;
    if (i < count)
        return i;
    (void)pthread_mutex_lock(&engine->maps_lock);
    count = atomic_load_explicit(&engine->ways_count, memory_order_relaxed);
    while (i < count && engine->ways[i] != how)
        i++;
    if (i == count && i < SYN_REDUCE_WAYS) {
        engine->ways[i] = how;
        atomic_store_explicit(&engine->ways_count, i + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&engine->maps_lock);
    return i;
}

int
syn_engine_reduces(struct syn_engine_task *call, unsigned use, enum syn_access *ret_access,
                   struct syn_err *err)
{
    struct syn_tensor *tensor = tensor_of(call, use);
    struct syn_engine_handle *handle = syn_tensor_user(tensor);
    struct syn_engine *engine = call->engine;
    unsigned way = way_of(engine, reduction_of(call, use));
    int rc = SYN_OK;

    if (way == SYN_REDUCE_WAYS) {
        call->reduces &= (uint8_t)~SYN_BIT(use);
        *ret_access = SYN_COMMUTE;
        return SYN_OK;
    }
    if (atomic_load_explicit(&handle->sum, memory_order_acquire) == NULL) {
        (void)pthread_mutex_lock(&engine->maps_lock);
        if (atomic_load_explicit(&handle->sum, memory_order_relaxed) == NULL)
            rc = sum_new(engine, handle, tensor, err);
        (void)pthread_mutex_unlock(&engine->maps_lock);
    }
    if (rc == SYN_OK)
        *ret_access = SYN_REDUCE_AS(way);
    return rc;
}

/* ---- shares ---- */

/* Which one the seat has, with the lock. NULL: a copy that is still to be made. A tensor without
 * content, which is an error, is everybody's: so all members hear of it. */
static struct syn_engine_share *
find_share(struct syn_engine_sum *sum, const struct syn_engine_seat *seat)
{
    struct syn_engine_share *copy = sum->copies[seat->index];

    if (copy != NULL)
        return copy->closed ? &sum->own : copy;
    if (sum->home == NULL)
        sum->home = seat;
    if (sum->home == seat || (sum->code == 0 && !sum->dirty && !has_content(sum->tensor)))
        return &sum->own;
    return NULL;
}

static struct syn_engine_share *
share_for(struct syn_engine_task *call, unsigned use)
{
    struct syn_engine_sum *sum = sum_of(call, use);
    const struct syn_kernel_reduction *how = reduction_of(call, use);
    const struct syn_engine_seat *seat = call->seat;
    struct syn_engine_share *share;

    syn_spin_lock(&sum->lock);
    if (sum->how != how) /* the first of a group: all reduce in the same way */
        sum->how = how;
    share = find_share(sum, seat);
    syn_spin_unlock(&sum->lock);
    if (share != NULL)
        return share;
    share = copy_new(sum, seat);
    if (share == NULL)
        return &sum->own;
    syn_spin_lock(&sum->lock);
    sum->copies[seat->index] = share;
    syn_spin_unlock(&sum->lock);
    return share;
}

/* The first who waits for it is given its turn. With the lock; wake() without. */
static struct syn_engine_task *
first_waiting(struct syn_engine_share *share)
{
    struct syn_engine_task *call = share->taken ? NULL : share->waiting;

    if (call != NULL)
        share->waiting = call->next;
    return call;
}

static void
wake(struct syn_engine_task *call)
{
    if (call == NULL)
        return;
    call->granted_code = SYN_ENGINE_TURN;
    syn_engine_grant(call->seat, call);
}

/* A call that had its turn may have found another share meanwhile, or that this one is closed: then
 * it is the next one's. */
static void
pass_on(struct syn_engine_share *share)
{
    struct syn_engine_task *next;

    syn_spin_lock(&share->sum->lock);
    next = first_waiting(share);
    syn_spin_unlock(&share->sum->lock);
    wake(next);
}

static bool
take(struct syn_engine_share *share, struct syn_engine_task *call)
{
    struct syn_engine_sum *sum = share->sum;
    bool mine;

    call->next = NULL;
    call->request.user = share; /* whose turn it is to have */
    syn_spin_lock(&sum->lock);
    mine = !share->taken;
    share->taken = true;
    sum->priority = SYN_MAX(sum->priority, call->ready.priority);
    if (mine) {
        /* A copy lost what it held while nobody had it. */
        if (share != &sum->own && share->full && !has_content(share->tensor)) {
            share->full = false;
            sum->code = SYN_E_UNAVAILABLE;
        }
    } else if (share->waiting == NULL) {
        share->waiting = share->waiting_last = call;
    } else {
        share->waiting_last->next = call;
        share->waiting_last = call;
    }
    syn_spin_unlock(&sum->lock);
    return mine;
}

/* Meanwhile what else it reads may come. */
static void
bring_others(struct syn_engine_task *call)
{
    for (unsigned i = 0; call->seat->node != SYN_NODE_HOST && i < call->uses_count; i++) {
        if (call->uses[i].mode == SYN_READ)
            syn_memory_prefetch(call->engine->memory, call->seat->node, tensor_of(call, i));
    }
}

static bool
take_all(struct syn_engine_task *call)
{
    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_engine_share *share;

        if ((call->reduces & SYN_BIT(i)) == 0)
            continue;
        share = share_for(call, i);
        SYN_PERTURB();
        if (!take(share, call)) {
            syn_engine_return_shares(call, SYN_ENGINE_TURN);
            bring_others(call);
            return false;
        }
        call->shared |= (uint8_t)SYN_BIT(i);
        call->uses[i].data = syn_tensor_replicas(share->tensor);
    }
    return true;
}

bool
syn_engine_take_shares(struct syn_engine_task *call)
{
    struct syn_engine_share *turn = NULL;
    bool all;

    if (call->granted_code == SYN_ENGINE_TURN)
        turn = call->request.user;
    call->granted_code = SYN_OK;
    all = take_all(call);
    if (turn != NULL)
        pass_on(turn);
    return all;
}

/* Of a call that had it, and ended with `code`. */
static void
note_end(struct syn_engine_share *share, int code)
{
    struct syn_engine_sum *sum = share->sum;

    if (code == SYN_OK) {
        share->full = true;
        sum->dirty |= share != &sum->own;
    } else if (code < 0 && share->full && !has_content(share->tensor)) {
        share->full = false;
        if (sum->code == 0)
            sum->code = code;
        sum->dirty = true;
    }
}

void
syn_engine_return_shares(struct syn_engine_task *call, int code)
{
    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_engine_share *share;
        struct syn_engine_task *next;
        struct syn_engine_sum *sum;

        if ((call->shared & SYN_BIT(i)) == 0)
            continue;
        share = share_of(call, i);
        sum = share->sum;
        call->uses[i].data = syn_tensor_replicas(sum->tensor);
        call->shared &= (uint8_t)~SYN_BIT(i);
        SYN_PERTURB();
        syn_spin_lock(&sum->lock);
        note_end(share, code);
        share->taken = false;
        next = first_waiting(share);
        syn_spin_unlock(&sum->lock);
        wake(next);
    }
}

void
syn_engine_spoil_sums(const struct syn_engine_task *call, int code)
{
    for (unsigned i = 0; i < call->uses_count; i++) {
        struct syn_engine_sum *sum;

        if ((call->reduces & SYN_BIT(i)) == 0)
            continue;
        sum = sum_of(call, i);
        syn_spin_lock(&sum->lock);
        if (sum->code == 0)
            sum->code = code;
        sum->dirty = true;
        syn_spin_unlock(&sum->lock);
    }
}

bool
syn_engine_does_without(struct syn_engine_task *call, int code)
{
    bool any = false;

    if (code != SYN_E_NOMEM && code != SYN_E_NOSPACE)
        return false;
    for (unsigned i = 0; i < call->uses_count; i++) {
        if ((call->shared & SYN_BIT(i)) == 0 ||
            !syn_engine_is_copy(syn_tensor_user(tensor_of(call, i))) ||
            has_content(tensor_of(call, i)))
            continue;
        share_of(call, i)->closed = true; /* it is ours */
        any = true;
    }
    if (any)
        syn_engine_return_shares(call, SYN_ENGINE_TURN);
    return any;
}

bool
syn_engine_is_fresh(const struct syn_engine_task *call, unsigned use)
{
    const struct syn_engine_share *share;

    if ((call->shared & SYN_BIT(use)) == 0 || has_content(tensor_of(call, use)))
        return false;
    share = share_of(call, use);
    return share != &share->sum->own || share->sum->code != 0;
}

const struct syn_kernel_impl *
syn_engine_init_call(const struct syn_engine_task *call, unsigned use,
                     struct syn_tensor_place *ret_place, struct syn_kernel_call *ret_call)
{
    const struct syn_kernel_reduction *how = share_of(call, use)->sum->how;

    syn_tensor_at(tensor_of(call, use), call->seat->node, ret_place);
    syn_kernel_call_init(ret_call, how->init);
    set_params(ret_call, how);
    ret_call->operands[0] = (struct syn_operand){ret_place->shape, ret_place->host};
    return syn_kernel_pick(how->init, ret_call, call->seat->info);
}

/* ---- putting together ---- */

/* It is all in the tensor, or lost. Returns what the merging ends with. */
static int
over(struct syn_engine_sum *sum, int code)
{
    int lost = sum->code;

    for (unsigned i = 0; i < sum->engine->seats_count; i++) {
        if (sum->copies[i] != NULL)
            end_share(sum->copies[i]);
        sum->copies[i] = NULL;
    }
    if (lost < 0)
        syn_tensor_spoil(sum->tensor, lost == SYN_E_UNAVAILABLE);
    syn_spin_lock(&sum->lock);
    sum->own.full = true;
    sum->home = NULL;
    sum->code = 0;
    sum->dirty = false;
    sum->priority = SYN_PRIORITY_MIN;
    syn_spin_unlock(&sum->lock);
    return code < 0 ? code : lost;
}

/* The next copy that has something, or NULL. */
static struct syn_engine_share *
next_copy(const struct syn_engine_sum *sum)
{
    for (unsigned i = 0; i < sum->engine->seats_count; i++) {
        if (sum->copies[i] != NULL && sum->copies[i]->full)
            return sum->copies[i];
    }
    return NULL;
}

static void
push_merge(struct syn_engine_share *share)
{
    struct syn_engine_task *call = share->merge;

    call->ready.priority = share->sum->priority;
    if (syn_trace_on(call->engine->trace))
        syn_engine_trace_number(call);
    syn_engine_push(call);
}

static int
settle(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_engine_sum *sum = arg;
    struct syn_engine_share *first = next_copy(sum);

    (void)at;
    if (sum->code < 0 || first == NULL)
        return over(sum, worker->current_code);
    sum->ends_with = worker->current_code;
    sum->task = syn_task_later(worker);
    push_merge(first);
    return SYN_OK;
}

/* Which copy the call is of, by its seat. */
static void
end_copy(struct syn_engine_sum *sum, const struct syn_engine_task *call)
{
    unsigned i = 0;

    while (sum->copies[i] == NULL || sum->copies[i]->merge != call)
        i++;
    end_share(sum->copies[i]);
    sum->copies[i] = NULL;
}

void
syn_engine_merge_end(struct syn_engine_task *call, struct syn_worker *worker, int code)
{
    struct syn_engine_sum *sum = call->sum;
    struct syn_runtime *runtime = sum->engine->runtime;
    struct syn_engine_share *next;
    struct syn_task *task = sum->task;

    end_copy(sum, call);
    if (code < 0)
        sum->code = code;
    next = sum->code < 0 ? NULL : next_copy(sum);
    SYN_PERTURB();
    if (next != NULL)
        push_merge(next);
    else
        syn_task_finish(runtime, worker, task, over(sum, sum->ends_with));
}

int
syn_engine_settle_sums(struct syn_engine *engine, bool *ret_any, struct syn_err *err)
{
    int rc = SYN_OK;

    *ret_any = false;
    (void)pthread_mutex_lock(&engine->maps_lock);
    for (struct syn_engine_sum *sum = engine->sums; rc == SYN_OK && sum != NULL; sum = sum->next) {
        bool dirty;

        syn_spin_lock(&sum->lock);
        dirty = sum->dirty;
        syn_spin_unlock(&sum->lock);
        if (!dirty)
            continue;
        rc = syn_data_settle(sum->data, err);
        *ret_any = true;
    }
    (void)pthread_mutex_unlock(&engine->maps_lock);
    return rc;
}

/* ---- the end ---- */

/* The memory manager's lock is held, so copies are only put aside. */
void
syn_engine_sum_free(struct syn_engine_sum *sum)
{
    struct syn_engine *engine = sum->engine;

    (void)pthread_mutex_lock(&engine->maps_lock);
    if (sum->next != NULL)
        sum->next->prev = sum->prev;
    if (sum->prev != NULL)
        sum->prev->next = sum->next;
    else
        engine->sums = sum->next;
    for (unsigned i = 0; i < engine->seats_count; i++) {
        struct syn_engine_share *copy = sum->copies[i];

        if (copy == NULL)
            continue;
        syn_tensor_set_user(copy->tensor, NULL);
        copy->next = engine->left;
        engine->left = copy;
    }
    (void)pthread_mutex_unlock(&engine->maps_lock);
    syn_free(sum);
}

void
syn_engine_drop_left(struct syn_engine *engine)
{
    struct syn_engine_share *left, *next;

    (void)pthread_mutex_lock(&engine->maps_lock);
    left = SYN_TAKE(engine->left);
    (void)pthread_mutex_unlock(&engine->maps_lock);
    for (; left != NULL; left = next) {
        next = left->next;
        end_share(left);
    }
}
