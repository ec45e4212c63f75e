/* Data handles, and the two ways of writing without an order.
 *
 * Tasks that commute change the same data one at a time, whichever is ready first; tasks that
 * reduce change parts of their own, all at the same time, and the parts are put together
 * afterwards. To dependencies both are what readers are: a group whose members do not wait for each
 * other, all of whom the next writer waits for. Where one kind of group follows another, an empty
 * task that writes the data is put between them, so that a handle has one list and one writer, as
 * ever; after a reduction that task puts the parts together.
 *
 * A task that commutes takes its data when it is about to run, in the order of addresses; where one
 * is taken it lets go of the others and waits in that one's list, which costs nobody a thread. */
#include "data_priv.h"

#include <string.h>

#include <synor/base/mem.h>

#include "worker_priv.h"

struct syn_reduction {
    syn_task_fn *settle; /* the task between groups, and its argument */
    void *arg;
    void (*init)(void *part, size_t bytes);
    void (*merge)(void *into, const void *part, size_t bytes);
    unsigned seats;
    void *parts[]; /* one a seat, made when it is first used */
};

/* ---- handles ---- */

int
syn_data_new(struct syn_runtime *runtime, void *address, size_t bytes, struct syn_data **ret_data,
             struct syn_err *err)
{
    struct syn_data *data = syn_calloc(1, sizeof(*data));

    if (data == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a data handle");
    data->runtime = runtime;
    data->address = address;
    data->bytes = bytes;
    data->readers_cap = SYN_READERS_INLINE;
    atomic_init(&data->refs, 1);
    *ret_data = data;
    return SYN_OK;
}

static void
drop_parts(struct syn_reduction *reduction)
{
    for (unsigned i = 0; i < reduction->seats; i++) {
        syn_free(reduction->parts[i]);
        reduction->parts[i] = NULL;
    }
}

void
syn_data_unref(struct syn_data *data)
{
    if (atomic_fetch_sub_explicit(&data->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (data->reduction != NULL)
        drop_parts(data->reduction);
    syn_free(data->reduction);
    if (syn_data_has_many(data))
        syn_free(data->readers.many);
    syn_free(data);
}

struct syn_data *
syn_data_free(struct syn_data *data)
{
    if (data != NULL)
        syn_data_unref(data);
    return NULL;
}

void *
syn_data_address(const struct syn_data *data)
{
    return data->address;
}

size_t
syn_data_bytes(const struct syn_data *data)
{
    return data->bytes;
}

/* ---- between groups ---- */

bool
syn_data_must_settle(struct syn_data *data, enum syn_access access)
{
    if (data->unsettled && !syn_access_reduces(access))
        return true;
    return data->readers_count > 0 && syn_access_joins(access) &&
           data->group != syn_group_of(access);
}

static int
settle(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_data *data = arg;
    struct syn_reduction *reduction = data->reduction;

    (void)at;
    if (worker->current_code < 0)
        return worker->current_code;
    for (unsigned i = 0; i < reduction->seats; i++) {
        if (reduction->parts[i] != NULL)
            reduction->merge(data->address, reduction->parts[i], data->bytes);
    }
    drop_parts(reduction);
    return SYN_OK;
}

/* Nobody had parts when it was submitted. */
static int
settle_nothing(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)at;
    (void)arg;
    return worker->current_code;
}

int
syn_data_settle(struct syn_data *data, struct syn_err *err)
{
    const struct syn_reduction *reduction = syn_data_reduction_of(data);
    const struct syn_use use = {data, SYN_UPDATE};
    const struct syn_task_spec spec = {.run =
                                           reduction != NULL ? reduction->settle : settle_nothing,
                                       .arg = reduction != NULL ? reduction->arg : data,
                                       .uses = &use,
                                       .uses_count = 1};

    return syn_task_submit_flagged(data->runtime, &spec, SYN_TASK_ALWAYS | SYN_TASK_SETTLES, NULL,
                                   err);
}

/* ---- commuting ---- */

static struct syn_data *
held_at(const struct syn_task *task, unsigned index)
{
    return (struct syn_data *)(uintptr_t)(task->uses[index].data & ~SYN_HELD_TAKEN);
}

static bool
is_taken(const struct syn_task *task, unsigned index)
{
    return (task->uses[index].data & SYN_HELD_TAKEN) != 0;
}

static void
release(struct syn_runtime *runtime, struct syn_worker *worker, struct syn_data *data)
{
    struct syn_task *next;

    syn_spin_lock(&data->lock);
    next = data->waiting;
    if (next != NULL)
        data->waiting = next->next;
    data->taken = false;
    syn_spin_unlock(&data->lock);
    if (next != NULL)
        syn_task_ready(runtime, worker, next);
}

/* Take one, or wait for it. */
static bool
take_one(struct syn_data *data, struct syn_task *task)
{
    bool free;

    syn_spin_lock(&data->lock);
    free = !data->taken;
    if (free) {
        data->taken = true;
    } else {
        task->next = data->waiting;
        data->waiting = task;
    }
    syn_spin_unlock(&data->lock);
    return free;
}

bool
syn_data_take(struct syn_task *task)
{
    struct syn_runtime *runtime = held_at(task, 0)->runtime;
    struct syn_worker *self = syn_self;
    unsigned count = task->uses_count;

    for (unsigned i = 0; i < count; i++) {
        struct syn_data *data = held_at(task, i);
        uint64_t had[SYN_USES_INLINE] = {0};

        if (!is_taken(task, i))
            continue; /* it reduces */
        for (unsigned j = 0; j < i; j++)
            had[j] = is_taken(task, j) ? task->uses[j].data & ~SYN_HELD_TAKEN : 0;
        SYN_PERTURB();
        /* Once it waits, another worker may run it. */
        if (take_one(data, task))
            continue;
        for (unsigned j = 0; j < i; j++) {
            if (had[j] != 0)
                release(runtime, self, (struct syn_data *)(uintptr_t)had[j]);
        }
        return false;
    }
    return true;
}

void
syn_data_let_go(struct syn_worker *worker, struct syn_task *task)
{
    for (unsigned i = 0; i < task->uses_count; i++) {
        struct syn_data *data = held_at(task, i);

        if (is_taken(task, i))
            release(worker->runtime, worker, data);
        syn_data_unref(data);
    }
}

/* ---- reductions ---- */

static SYN_MUST int
give(struct syn_data *data, const struct syn_reduction *as, struct syn_err *err)
{
    struct syn_reduction *reduction;

    if (data->reduction != NULL)
        return SYN_FAIL(err, SYN_E_EXISTS, "the data has a reduction already");
    reduction = syn_calloc(1, sizeof(*reduction) + as->seats * sizeof(void *));
    if (reduction == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a reduction");
    *reduction = *as;
    __atomic_store_n(&data->reduction, reduction, __ATOMIC_RELEASE);
    return SYN_OK;
}

int
syn_data_reduction(struct syn_data *data, void (*init)(void *part, size_t bytes),
                   void (*merge)(void *into, const void *part, size_t bytes), struct syn_err *err)
{
    const struct syn_reduction as = {.settle = settle,
                                     .arg = data,
                                     .init = init,
                                     .merge = merge,
                                     .seats = data->runtime->seats_count};

    return give(data, &as, err);
}

int
syn_data_reduction_elsewhere(struct syn_data *data, syn_task_fn *run, void *arg,
                             struct syn_err *err)
{
    const struct syn_reduction as = {.settle = run, .arg = arg};

    return give(data, &as, err);
}

void *
syn_data_part(struct syn_worker *worker, struct syn_data *data)
{
    struct syn_reduction *reduction = data->reduction;
    size_t bytes = (data->bytes + SYN_LINE - 1) & ~(size_t)(SYN_LINE - 1);
    void **part = &reduction->parts[worker->index];

    if (*part == NULL) {
        *part = syn_alloc_aligned(SYN_LINE, bytes);
        if (*part != NULL)
            reduction->init(*part, data->bytes);
    }
    return *part;
}
