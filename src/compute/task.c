/* Tasks on data.
 *
 * The one idea is that lines of memory flow one way, from who submits to who runs. What a piece of
 * data was last written by, and who reads it since, is the submitters' own knowledge: it stands in
 * the handle, under the submission lock, and no worker ever touches it. A worker that ends a task
 * touches the task's own record, the records of those that wait for it, and nothing else.
 *
 *     handle a: writer -> T1, readers -> T2 T3      known to submitters, maybe out of date:
 *                                                   a reference carries a generation
 *     T1.successors -> [T2.edge0] -> [T3.edge0]     known to T1's worker
 *     T2.awaited = 1                                counted down by T1's worker
 *
 * An edge is a word inside the waiting task's record, so a dependency costs no allocation; only a
 * write that waits for several readers takes extra ones. A list of successors is taken, and closed
 * for latecomers, by a single exchange, which also advances the generation: a handle that still
 * refers to the ended task (and perhaps to another task in the same record) sees a generation that
 * is not its own and knows that there is nothing to wait for. A generation that has come round
 * after 32,768 uses of a record makes a task wait for one that it need not wait for; since that one
 * was submitted earlier, no circle can come of it. A record that is not in use has a generation
 * that no reference has: who waited for it would wait for a task to come.
 *
 * While a task is being linked it holds a large bias in `awaited`, so that predecessors that end
 * meanwhile cannot start it; taking the bias off is the only atomic operation of a submission
 * besides one exchange an edge.
 *
 * Refused: a queue of accesses in each handle (OmpSs, StarPU): submitter and workers write the same
 * lines all the time; a list of tasks in each task (needs allocation or a bound). */
#include "task_priv.h"

#include <string.h>

#include <synor/base/mem.h>

#include "data_priv.h"
#include "lane_priv.h"
#include "park_priv.h"
#include "task_records_priv.h"
#include "worker_priv.h"

#define LINK_BIAS     ((int32_t)1 << 30)
#define ERROR_RUNNING 1 /* in syn_task.error: too late to cancel */

/* ---- references and edges ---- */

static inline struct syn_task *
ref_task(syn_task_ref ref)
{
    return (struct syn_task *)(uintptr_t)(ref & SYN_REF_MASK);
}

static syn_task_ref
ref_to(struct syn_task *task)
{
    uint64_t head = atomic_load_explicit(&task->successors, memory_order_relaxed);

    return (head & ~SYN_REF_MASK) | (uintptr_t)task;
}

static bool
ref_alive(syn_task_ref ref)
{
    uint64_t head;

    if (ref == 0)
        return false;
    head = atomic_load_explicit(&ref_task(ref)->successors, memory_order_acquire);
    return ((head ^ ref) & ~SYN_REF_MASK) == 0;
}

/* The code of a task that is over, if it failed and nobody has been told. Its record is not used
 * again before that, so it is still that of this generation. Under the submission lock. */
static int
ref_failed(syn_task_ref ref)
{
    const struct syn_task *task = ref_task(ref);

    if (__builtin_expect(__atomic_load_n(&task->name, __ATOMIC_RELAXED) != ref >> SYN_REF_SHIFT, 1))
        return SYN_OK;
    return atomic_load_explicit(&task->error, memory_order_relaxed);
}

/* Put the edge at `next` into the list of who waits for `ref`. False: that is over already.
 * `single`: see syn_single_threaded(). */
static inline __attribute__((always_inline)) bool
link_edge(syn_task_ref ref, syn_edge *next, uint64_t edge, bool single)
{
    struct syn_task *before = ref_task(ref);
    uint64_t address = ref & SYN_REF_MASK, linked = (ref ^ address) | edge;
    uint64_t head = atomic_load_explicit(&before->successors, memory_order_acquire);

    do {
        if ((head ^ ref) >> SYN_REF_SHIFT != 0)
            return false;
        *next = head ^ ref ^ address; /* the generation is the same */
        SYN_PERTURB();
        if (single) {
            atomic_store_explicit(&before->successors, linked, memory_order_relaxed);
            return true;
        }
    } while (!atomic_compare_exchange_weak_explicit(&before->successors, &head, linked,
                                                    memory_order_acq_rel, memory_order_acquire));
    return true;
}

/* Whose record an edge that is no extra one lies in. */
static inline struct syn_task *
edge_task(syn_edge edge)
{
    return (struct syn_task *)(uintptr_t)(edge & ~(uint64_t)(SYN_TASK_BYTES - 1));
}

/* Task being linked, and how many edges it has so far: the first few lie in its record. */
struct linking {
    struct syn_tasks *tasks;
    struct syn_task *task;
    unsigned count;
    int code; /* of something that it needs and that failed, or 0 */
};

/* What it waits for is over. */
static inline void
note_failure(struct linking *linking, syn_task_ref ref, uint64_t kind)
{
    int code;

    if (kind == SYN_EDGE_ORDER)
        return;
    code = ref_failed(ref);
    if (__builtin_expect(code != 0, 0))
        linking->code = code;
}

/* The edge lies in the task's record no more: in an extra one. */
static __attribute__((noinline)) void
wait_by_extra(struct linking *linking, syn_task_ref ref, uint64_t kind)
{
    struct syn_extra_edge *extra = linking->tasks->edges;

    assert(extra != NULL); /* syn_tasks_reserve_edges() */
    linking->tasks->edges = (struct syn_extra_edge *)(uintptr_t)extra->next;
    if (linking->tasks->edges != NULL)
        __builtin_prefetch(linking->tasks->edges, 1);
    extra->to = linking->task;
    if (link_edge(ref, &extra->next, (uintptr_t)extra | SYN_EDGE_EXTRA | kind,
                  syn_single_threaded())) {
        linking->tasks->edges_count--;
        linking->count++;
    } else {
        note_failure(linking, ref, kind);
        extra->next = (uintptr_t)linking->tasks->edges;
        linking->tasks->edges = extra;
    }
}

/* `kind`: SYN_EDGE_ORDER, or 0 where it needs the result. */
static void
wait_for(struct linking *linking, syn_task_ref ref, uint64_t kind)
{
    syn_edge *edge;

    if (ref == 0 || ref_task(ref) == linking->task)
        return;
    if (linking->count >= SYN_USES_INLINE) {
        wait_by_extra(linking, ref, kind);
        return;
    }
    edge = &linking->task->uses[linking->count].edge;
    if (link_edge(ref, edge, (uintptr_t)edge | kind, syn_single_threaded()))
        linking->count++;
    else
        note_failure(linking, ref, kind);
}

/* ---- data ---- */

/* Nobody will ask for it any more: it is over, and if it wrote, it did not fail. */
static bool
is_forgotten(const struct syn_data *data, syn_task_ref ref)
{
    return !ref_alive(ref) && (data->group == SYN_GROUP_READ || ref_failed(ref) == 0);
}

/* Make room for `more` readers: drop those that are over, else grow. */
static SYN_MUST int
reserve_readers(struct syn_data *data, uint32_t more, struct syn_err *err)
{
    uint32_t kept = 0, cap = data->readers_cap * (syn_data_has_many(data) ? 2 : 8) + more;
    syn_task_ref *readers = syn_data_readers(data), *grown;

    if (data->readers_count + more <= data->readers_cap)
        return SYN_OK;
    for (uint32_t i = 0; i < data->readers_count; i++) {
        if (!is_forgotten(data, readers[i]))
            readers[kept++] = readers[i];
    }
    data->readers_count = kept;
    if (kept <= data->readers_cap / 2 && kept + more <= data->readers_cap)
        return SYN_OK;
    grown = syn_alloc(cap * sizeof(*grown));
    if (grown == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the readers of a data handle");
    memcpy(grown, readers, kept * sizeof(*grown));
    if (syn_data_has_many(data))
        syn_free(readers);
    data->readers.many = grown;
    data->readers_cap = cap;
    return SYN_OK;
}

/* It commutes or reduces: the data must be there when it runs. */
static void
hold(struct syn_task *task, struct syn_data *data, enum syn_access access)
{
    uint64_t held = (uintptr_t)data | (access == SYN_COMMUTE ? SYN_HELD_TAKEN : 0);
    unsigned at = task->uses_count++;

    for (; at > 0 && (task->uses[at - 1].data | SYN_HELD_TAKEN) > (held | SYN_HELD_TAKEN); at--)
        task->uses[at].data = task->uses[at - 1].data;
    task->uses[at].data = held;
    task->flags |= access == SYN_COMMUTE ? SYN_TASK_HOLDS | SYN_TASK_TAKES : SYN_TASK_HOLDS;
    (void)atomic_fetch_add_explicit(&data->refs, 1, memory_order_relaxed);
    data->shared = true;
    data->unsettled |= syn_access_reduces(access);
}

/* A task that only writes needs nothing of those before it, unless another of its uses reads the
 * same. */
static inline uint64_t
kind_of_write(const struct syn_task *task, const struct syn_task_spec *spec,
              const struct syn_use *use)
{
    if ((use->access & SYN_READ) != 0)
        return 0;
    if ((task->flags & SYN_TASK_DISTINCT) != 0)
        return SYN_EDGE_ORDER;
    for (unsigned i = 0; i < spec->uses_count; i++) {
        if (spec->uses[i].data == use->data && (spec->uses[i].access & SYN_READ) != 0)
            return 0;
    }
    return SYN_EDGE_ORDER;
}

/* Who reads needs the writer, who writes comes after the readers. An update after readers needs the
 * writer as well: that one of them failed says nothing of what it updates. */
static void
use_data(struct linking *linking, const struct syn_task_spec *spec, const struct syn_use *use)
{
    struct syn_data *data = use->data;
    const syn_task_ref *readers = syn_data_readers(data);
    uint64_t kind;
    syn_task_ref self;

    if (syn_access_joins(use->access)) {
        wait_for(linking, data->writer, 0);
        syn_data_readers(data)[data->readers_count++] = ref_to(linking->task);
        data->group = (uint8_t)syn_group_of(use->access);
        if (use->access > SYN_UPDATE)
            hold(linking->task, data, use->access);
        return;
    }
    if ((linking->task->flags & SYN_TASK_SETTLES) != 0)
        hold(linking->task, data, SYN_REDUCE); /* only so that it stays there */
    data->unsettled = false;
    self = ref_to(linking->task);
    kind = kind_of_write(linking->task, spec, use);
    if (data->readers_count == 0 || (kind == 0 && data->group == SYN_GROUP_READ))
        wait_for(linking, data->writer, kind);
    if (data->group == SYN_GROUP_READ)
        kind = SYN_EDGE_ORDER;
    for (uint32_t i = 0; i < data->readers_count; i++)
        wait_for(linking, readers[i], kind);
    data->readers_count = 0;
    data->writer = self;
}

/* ---- submission ---- */

static SYN_MUST int
check_uses(const struct syn_task_spec *spec, struct syn_err *err)
{
    unsigned held = 0;

    for (unsigned i = 0; i < spec->uses_count; i++) {
        const struct syn_use *use = &spec->uses[i];

        if (use->data == NULL ||
            (use->access != SYN_READ && use->access != SYN_WRITE && use->access != SYN_UPDATE &&
             use->access != SYN_COMMUTE && !syn_access_reduces(use->access)))
            return SYN_FAIL(err, SYN_E_INVALID, "use %u names no data or no access", i);
        if (syn_access_reduces(use->access) && syn_data_reduction_of(use->data) == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "use %u reduces data that has no reduction", i);
        held += use->access > SYN_UPDATE;
    }
    if (held > SYN_USES_INLINE)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "a task commutes or reduces on %u pieces of data, at "
                        "most %d",
                        held, SYN_USES_INLINE);
    return SYN_OK;
}

int
syn_task_spec_check(const struct syn_task_spec *spec, struct syn_err *err)
{
    if (spec->run == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "a task without a function");
    if (spec->uses_count > SYN_USES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a task on %u pieces of data, at most %d",
                        spec->uses_count, SYN_USES_MAX);
    if (spec->after_count > SYN_AFTER_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a task after %u others, at most %d", spec->after_count,
                        SYN_AFTER_MAX);
    return check_uses(spec, err);
}

/* Put tasks between groups where that is needed. The lock is held, and given up meanwhile: what was
 * looked at before is looked at again. */
static SYN_MUST int
settle_uses(struct syn_tasks *tasks, const struct syn_task_spec *spec, struct syn_err *err)
{
    for (unsigned i = 0; i < spec->uses_count;) {
        const struct syn_use *use = &spec->uses[i];
        int rc;

        if (__builtin_expect(!use->data->shared && use->access <= SYN_UPDATE, 1) ||
            !syn_data_must_settle(use->data, use->access)) {
            i++;
            continue;
        }
        syn_spin_unlock(&tasks->order);
        rc = syn_data_settle(use->data, err);
        syn_spin_lock(&tasks->order);
        if (rc < 0)
            return rc;
        i = 0;
    }
    return SYN_OK;
}

/* Everything else that can fail, before anything is linked. */
static __attribute__((noinline)) SYN_MUST int
reserve(struct syn_tasks *tasks, const struct syn_task_spec *spec, uint8_t flags,
        struct syn_err *err)
{
    uint32_t most = (flags & SYN_TASK_DISTINCT) != 0 ? 1 : spec->uses_count; /* of one handle */
    size_t edges = spec->after_count;
    int rc = (flags & SYN_TASK_DISTINCT) != 0 ? SYN_OK : syn_task_spec_check(spec, err);

    if (rc == SYN_OK && (flags & SYN_TASK_SETTLES) == 0)
        rc = settle_uses(tasks, spec, err);
    for (unsigned i = 0; rc == SYN_OK && i < spec->uses_count; i++) {
        const struct syn_use *use = &spec->uses[i];

        if (syn_access_joins(use->access))
            rc = reserve_readers(use->data, most, err);
        else
            edges += use->data->readers_count;
        edges++;
    }
    if (rc == SYN_OK && edges > SYN_USES_INLINE)
        rc = syn_tasks_reserve_edges(tasks, edges, err);
    return rc;
}

static SYN_MUST int
make_more(struct syn_runtime *runtime, const struct syn_task_spec *spec, bool handle,
          struct syn_task_more **ret_more, struct syn_err *err)
{
    struct syn_task_more *more = syn_calloc(1, sizeof(*more));

    if (more == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a task's handle");
    atomic_init(&more->refs, handle ? 2 : 1);
    more->runtime = runtime;
    more->callback = spec->done;
    more->callback_arg = spec->done_arg;
    *ret_more = more;
    return SYN_OK;
}

static inline void
fill(struct syn_task *task, const struct syn_task_spec *spec, uint8_t flags,
     struct syn_task_more *more)
{
    int level = spec->priority - SYN_PRIORITY_MIN;

    if (__builtin_expect(level < 0 || level >= SYN_LEVELS, 0))
        level = level < 0 ? 0 : SYN_LEVELS - 1;
    task->level = (uint8_t)level;
    task->uses_count = 0;
    task->flags = flags;
    task->run = spec->run;
    task->arg = spec->arg;
    task->more = more;
    task->graph = NULL;
    atomic_store_explicit(&task->error, 0, memory_order_relaxed);
}

void
syn_task_note_error(struct syn_task *task, int code)
{
    int32_t none = 0;

    (void)atomic_compare_exchange_strong(&task->error, &none, code);
}

static void
run_from_lane(void *arg)
{
    syn_task_run(syn_self, arg);
}

/* It waits for nothing any more: to the workers. */
static void
hand_over(struct syn_runtime *runtime, struct syn_lane *lane, struct syn_task *task, bool waited)
{
    struct syn_worker *self = syn_self;

    /* A call from a lane counts as submitted by lying there, everything else by this count, which
     * must stand before the task can run. */
    if (!waited && task->level == SYN_LEVEL_PLAIN && (self == NULL || self->runtime != runtime) &&
        syn_lane_put(lane, run_from_lane, task, NULL) == SYN_OK) {
        syn_worker_wake(runtime);
        return;
    }
    if (!waited)
        syn_lane_count_tasks(lane, 1);
    if (task->level == SYN_LEVEL_PLAIN && self != NULL && self->runtime == runtime)
        syn_worker_push(self, task);
    else
        syn_level_push(runtime, task);
    syn_worker_wake(runtime);
}

/* Take a record and link it, whatever it uses. Returns how many edges there are. */
static SYN_MUST int
link_any(struct linking *linking, const struct syn_task_spec *spec, uint8_t flags,
         struct syn_task_more *more, struct syn_err *err)
{
    int rc = reserve(linking->tasks, spec, flags, err);
    struct syn_task *task;

    if (rc >= 0)
        rc = syn_tasks_take(linking->tasks, &linking->task, err);
    if (rc < 0)
        return rc;
    task = linking->task;
    fill(task, spec, flags, more);
    if (more != NULL)
        more->self = ref_to(task);
    atomic_store_explicit(&task->awaited, LINK_BIAS, memory_order_relaxed);
    for (unsigned i = 0; i < spec->uses_count; i++)
        use_data(linking, spec, &spec->uses[i]);
    for (unsigned i = 0; i < spec->after_count; i++)
        wait_for(linking, spec->after[i]->more->self, 0);
    return (int)linking->count;
}

/* It is linked: it runs when everything that it waits for is over, perhaps at once. */
static inline void
let_loose(struct syn_runtime *runtime, struct syn_lane *lane, struct syn_task *task, int count)
{
    int32_t bias = LINK_BIAS - count;

    if (count == 0) {
        hand_over(runtime, lane, task, false);
        return;
    }
    SYN_PERTURB();
    syn_lane_count_tasks(lane, 1);
    if (atomic_fetch_sub_explicit(&task->awaited, bias, memory_order_acq_rel) == bias)
        hand_over(runtime, lane, task, true);
}

static __attribute__((noinline)) SYN_MUST int
submit_any(struct syn_runtime *runtime, const struct syn_task_spec *spec, uint8_t flags,
           struct syn_task **ret_task, struct syn_err *err)
{
    struct linking linking = {.tasks = runtime->tasks};
    struct syn_task_more *more = NULL;
    struct syn_lane *lane = NULL;
    int count = 0;
    int rc = syn_lane_of_thread(runtime, &lane, err);

    if (rc == SYN_OK && (ret_task != NULL || spec->done != NULL))
        rc = make_more(runtime, spec, ret_task != NULL, &more, err);
    if (rc < 0)
        return rc;
    syn_spin_lock(&linking.tasks->order);
    count = link_any(&linking, spec, flags, more, err);
    syn_spin_unlock(&linking.tasks->order);
    if (count < 0) {
        syn_free(more);
        return count;
    }
    if (__builtin_expect(linking.code < 0, 0))
        syn_task_note_error(linking.task, linking.code);
    if (ret_task != NULL)
        *ret_task = linking.task;
    let_loose(runtime, lane, linking.task, count);
    return SYN_OK;
}

/* ---- plain submissions ----
 *
 * Nearly all tasks read and write a few pieces of data on which nobody commutes or reduces, and
 * nobody asks for a handle. All that the above does for them is done here once more, in a fourth of
 * the instructions: one look at each use tells whether it can be, before anything is changed. */

enum plainness { NOT_PLAIN, PLAIN, PLAIN_AFTER_READERS };

/* Is there nothing else to it, and room? Under the submission lock. */
static inline __attribute__((always_inline)) enum plainness
look_at_uses(const struct syn_tasks *tasks, const struct syn_task_spec *spec, bool single)
{
    const struct syn_use *end = spec->uses + spec->uses_count;
    size_t edges = 0;

    for (const struct syn_use *use = spec->uses; use < end; use++) {
        struct syn_data *data = use->data;

        if (__builtin_expect(data == NULL || data->shared, 0))
            return NOT_PLAIN;
        if (!single) /* a worker may have had it */
            __builtin_prefetch(ref_task(data->writer), 1);
        if (use->access == SYN_READ) {
            if (__builtin_expect(data->readers_cap - data->readers_count < spec->uses_count, 0) &&
                reserve_readers(data, spec->uses_count, NULL) < 0)
                return NOT_PLAIN;
        } else if (use->access == SYN_UPDATE || use->access == SYN_WRITE) {
            edges += data->readers_count;
        } else {
            return NOT_PLAIN;
        }
    }
    if (__builtin_expect(edges == 0, 1))
        return PLAIN;
    return edges + spec->uses_count <= tasks->edges_count ? PLAIN_AFTER_READERS : NOT_PLAIN;
}

/* Wait for it in the next place of the record, which is returned, or else by an extra edge. */
static inline __attribute__((always_inline)) struct syn_task_use *
wait_at(struct linking *linking, struct syn_task_use *slot, syn_task_ref ref, uint64_t kind,
        bool single)
{
    if (linking != NULL && slot == &linking->task->uses[SYN_USES_INLINE])
        wait_by_extra(linking, ref, kind);
    else if (link_edge(ref, &slot->edge, (uintptr_t)&slot->edge | kind, single))
        return slot + 1;
    else if (kind == 0 && __builtin_expect(ref_failed(ref) != 0, 0))
        syn_task_note_error(edge_task((uintptr_t)slot), ref_failed(ref));
    return slot;
}

/* `linking` NULL: nobody reads what it writes, so each use is at most one edge, and all of these
 * have their place in the record. Returns how many have. */
static inline __attribute__((always_inline)) int
link_plain(struct linking *linking, struct syn_task *task, const struct syn_task_spec *spec,
           bool single)
{
    const struct syn_use *end = spec->uses + spec->uses_count;
    struct syn_task_use *slot = task->uses;
    syn_task_ref self = ref_to(task);

    for (const struct syn_use *use = spec->uses; use < end; use++) {
        struct syn_data *data = use->data;
        syn_task_ref writer = data->writer;

        if (writer != 0 && writer != self) {
            uint64_t kind = use->access == SYN_WRITE ? kind_of_write(task, spec, use) : 0;

            if (linking == NULL || kind == 0 || data->readers_count == 0)
                slot = wait_at(linking, slot, writer, kind, single);
        }
        if (use->access == SYN_READ) {
            syn_data_readers(data)[data->readers_count++] = self;
            continue;
        }
        for (uint32_t k = 0; linking != NULL && k < data->readers_count; k++) {
            syn_task_ref reader = syn_data_readers(data)[k];

            if (reader != self)
                slot = wait_at(linking, slot, reader, SYN_EDGE_ORDER, single);
        }
        if (linking != NULL)
            data->readers_count = 0;
        data->writer = self;
    }
    return (int)(slot - task->uses);
}

static __attribute__((noinline)) int
link_after_readers(struct syn_tasks *tasks, struct syn_task *task, const struct syn_task_spec *spec)
{
    struct linking linking = {.tasks = tasks, .task = task};
    int count = syn_single_threaded() ? link_plain(&linking, task, spec, true)
                                      : link_plain(&linking, task, spec, false);

    if (__builtin_expect(linking.code < 0, 0))
        syn_task_note_error(task, linking.code);
    return count + (int)linking.count;
}

/* False: it is not that plain, and nothing is changed. */
static inline __attribute__((always_inline)) bool
submit_plain(struct syn_runtime *runtime, struct syn_lane *lane, const struct syn_task_spec *spec,
             uint8_t flags, bool single)
{
    struct syn_tasks *tasks = runtime->tasks;
    struct syn_task *task;
    enum plainness plainness;
    int count;

    syn_spin_lock(&tasks->order);
    plainness = NOT_PLAIN;
    task = tasks->stock;
    if (__builtin_expect(task == NULL, 0) && syn_tasks_refill(tasks, NULL) == SYN_OK)
        task = tasks->stock;
    if (__builtin_expect(task != NULL, 1))
        plainness = look_at_uses(tasks, spec, single);
    if (plainness == NOT_PLAIN) {
        syn_spin_unlock(&tasks->order);
        return false;
    }
    syn_tasks_pop(tasks, task);
    fill(task, spec, flags, NULL);
    if (!single)
        atomic_store_explicit(&task->awaited, LINK_BIAS, memory_order_relaxed);
    if (__builtin_expect(plainness == PLAIN, 1))
        count = link_plain(NULL, task, spec, single);
    else
        count = link_after_readers(tasks, task, spec);
    syn_spin_unlock(&tasks->order);
    if (single && count > 0) { /* none of them has ended meanwhile */
        syn_lane_count_tasks(lane, 1);
        atomic_store_explicit(&task->awaited, count, memory_order_relaxed);
    } else {
        let_loose(runtime, lane, task, count);
    }
    return true;
}

int
syn_task_submit_flagged(struct syn_runtime *runtime, const struct syn_task_spec *spec,
                        uint8_t flags, struct syn_task **ret_task, struct syn_err *err)
{
    struct syn_lane *lane = syn_lane_at_hand(runtime);

    if (__builtin_expect(spec->run != NULL && spec->uses_count <= SYN_USES_INLINE &&
                             spec->after_count == 0 && spec->done == NULL && ret_task == NULL &&
                             lane != NULL,
                         1)) {
        if (syn_single_threaded() ? submit_plain(runtime, lane, spec, flags, true)
                                  : submit_plain(runtime, lane, spec, flags, false))
            return SYN_OK;
    }
    return submit_any(runtime, spec, flags, ret_task, err);
}

int
syn_task_submit(struct syn_runtime *runtime, const struct syn_task_spec *spec,
                struct syn_task **ret_task, struct syn_err *err)
{
    return syn_task_submit_flagged(runtime, spec, 0, ret_task, err);
}

/* ---- the end of a task ---- */

void
syn_task_ready(struct syn_runtime *runtime, struct syn_worker *worker, struct syn_task *task)
{
    __builtin_prefetch(task->arg, 1); /* whatever it is; mostly what the task looks at first */
    if (worker != NULL && task->level == SYN_LEVEL_PLAIN)
        syn_worker_push(worker, task);
    else
        syn_level_push(runtime, task);
}

/* One edge fewer to wait for; `code` < 0: of a task that failed. */
static inline void
release_one(struct syn_worker *worker, struct syn_task *task, int code, bool single)
{
    SYN_PERTURB();
    if (code < 0)
        syn_task_note_error(task, code);
    if (single) {
        int32_t left = atomic_load_explicit(&task->awaited, memory_order_relaxed) - 1;

        atomic_store_explicit(&task->awaited, left, memory_order_relaxed);
        if (left != 0)
            return;
    } else if (atomic_fetch_sub_explicit(&task->awaited, 1, memory_order_acq_rel) != 1) {
        return;
    }
    syn_task_ready(worker->runtime, worker, task);
}

static inline __attribute__((always_inline)) void
release_all(struct syn_worker *worker, syn_edge edge, int code, bool single)
{
    while (edge != 0) {
        struct syn_task *task;
        syn_edge next;

        /* The edge lies in the record that it leads to, which is free to end once released. */
        if ((edge & SYN_EDGE_EXTRA) != 0) {
            struct syn_extra_edge *extra =
                (struct syn_extra_edge *)(uintptr_t)(edge & ~SYN_EDGE_FLAGS);

            next = extra->next;
            task = extra->to;
            syn_tasks_put_back_edge(worker, extra, single);
        } else {
            next = *(const syn_edge *)(uintptr_t)(edge & ~SYN_EDGE_FLAGS);
            task = edge_task(edge);
        }
        if (next != 0) {
            __builtin_prefetch((const void *)(uintptr_t)(next & ~SYN_EDGE_FLAGS), 1);
            __builtin_prefetch(edge_task(next), 1); /* if it is no extra one: what is counted */
        }
        release_one(worker, task, (edge & SYN_EDGE_ORDER) != 0 ? 0 : code, single);
        edge = next;
    }
}

/* Close the list of those who wait, and take it. */
static inline syn_edge
close_successors(struct syn_task *task, bool single)
{
    uint64_t head = atomic_load_explicit(&task->successors, memory_order_relaxed);
    uint64_t closed = (head & ~SYN_REF_MASK) + ((uint64_t)1 << SYN_REF_SHIFT);

    SYN_PERTURB();
    if (single)
        atomic_store_explicit(&task->successors, closed, memory_order_relaxed);
    else
        head = atomic_exchange_explicit(&task->successors, closed, memory_order_acq_rel);
    return head & SYN_REF_MASK;
}

/* Tell who asked. The user's handle outlives the record; the record is not used again before the
 * handle is given back. */
bool
syn_task_announce(struct syn_task_more *more, int code)
{
    more->code = code;
    if (more->callback != NULL)
        more->callback(more->callback_arg, code);
    SYN_PERTURB();
    atomic_store_explicit(&more->done, 1, memory_order_release);
    syn_fence_light();
    if (atomic_load_explicit(&more->sleepers, memory_order_relaxed) != 0) {
        syn_waitword_kick(&more->done);
        syn_worker_wake_seats(more->runtime, 0);
    }
    return atomic_fetch_sub_explicit(&more->refs, 1, memory_order_acq_rel) == 1;
}

int
syn_task_begin(struct syn_task *task)
{
    int32_t error = 0;

    if (task->more == NULL)
        return atomic_load_explicit(&task->error, memory_order_relaxed);
    (void)atomic_compare_exchange_strong(&task->error, &error, ERROR_RUNNING);
    return error == ERROR_RUNNING ? SYN_OK : error; /* it has begun before */
}

/* ---- failures ----
 *
 * Who is submitted after a failed task has ended must hear of it as those do who waited for it, or
 * what a program gets would depend on who was faster. References in handles, to the last writer or
 * to those who commute, outlive the task; so the record of one that failed is not used again, and
 * says with what, until a wait has told of the failures. That costs nobody anything who does not
 * fail: who finds that a reference is to a task that is over looks at one more word of a line that
 * it has looked at anyway. */

/* Before its list of successors is closed: who then finds it over finds this too. */
static void
mark_failed(struct syn_task *task, int code)
{
    uint64_t head = atomic_load_explicit(&task->successors, memory_order_relaxed);

    if (task->more != NULL)
        (void)atomic_fetch_add_explicit(&task->more->refs, 1, memory_order_relaxed);
    atomic_store_explicit(&task->error, code, memory_order_relaxed);
    __atomic_store_n(&task->name, (uint32_t)(head >> SYN_REF_SHIFT), __ATOMIC_RELAXED);
}

/* ---- running ---- */

void
syn_task_init_captured(struct syn_task *task, const struct syn_task_spec *spec,
                       struct syn_graph *graph)
{
    memset(task, 0, sizeof(*task));
    fill(task, spec, 0, NULL);
    task->graph = graph;
}

/* The call that is being made does not end the task: another one will. Said before anybody else can
 * make that one. */
static void
defer(struct syn_worker *worker)
{
    atomic_store_explicit(&worker->deferred,
                          atomic_load_explicit(&worker->deferred, memory_order_relaxed) + 1,
                          memory_order_release);
}

static void
undefer(struct syn_worker *worker)
{
    atomic_store_explicit(&worker->deferred,
                          atomic_load_explicit(&worker->deferred, memory_order_relaxed) - 1,
                          memory_order_release);
}

static __attribute__((noinline, cold)) void
end_failed(struct syn_worker *worker, struct syn_task *task, int code)
{
    mark_failed(task, code);
    release_all(worker, close_successors(task, false), code, false);
    if (task->more != NULL)
        (void)syn_task_announce(task->more, code); /* not the last: it is kept */
    syn_tasks_keep_failed(worker->runtime->tasks, task);
}

static inline __attribute__((always_inline)) void
end_well(struct syn_worker *worker, struct syn_task *task, bool single)
{
    struct syn_task_more *more = task->more;

    release_all(worker, close_successors(task, single), SYN_OK, single);
    if (__builtin_expect(more != NULL, 0)) {
        if (!syn_task_announce(more, SYN_OK))
            return;
        syn_free(more);
    }
    syn_tasks_recycle(worker, task, single);
}

static inline void
end(struct syn_worker *worker, struct syn_task *task, int code)
{
    if (__builtin_expect((task->flags & SYN_TASK_HOLDS) != 0, 0))
        syn_data_let_go(worker, task);
    if (__builtin_expect(code < 0, 0))
        end_failed(worker, task, code);
    else if (syn_single_threaded())
        end_well(worker, task, true);
    else
        end_well(worker, task, false);
}

void
syn_task_run(struct syn_worker *worker, struct syn_task *task)
{
    struct syn_fork *at = worker->deque.head;
    struct syn_task *outer = worker->current;
    bool over = true;
    int code;

    if (__builtin_expect(task->run == NULL, 0)) { /* it ran, see syn_task_finish() */
        end(worker, task, (int)(intptr_t)task->arg);
        return;
    }
    if (__builtin_expect((task->flags & SYN_TASK_TAKES) != 0, 0)) {
        defer(worker);
        if (!syn_data_take(task))
            return; /* it will be ready again */
        undefer(worker);
    }
    code = syn_task_begin(task);
    if (__builtin_expect(code == 0 || (task->flags & SYN_TASK_ALWAYS) != 0, 1)) {
        worker->current = task;
        worker->current_code = code;
        code = task->run(worker, at, task->arg);
        over = worker->current != NULL;
        worker->current = outer;
        worker->deque.head = at;
    }
    if (over)
        end(worker, task, SYN_MIN(code, 0));
}

void
syn_task_run_row(struct syn_worker *worker, struct syn_task *task)
{
    /* No longer than it may be before the worker looks whether it is done waiting. */
    uint32_t most = SYN_MIN(worker->chunk, worker->pace_left), count = 0;

    do {
        syn_task_run(worker, task);
        task = ++count < most ? syn_worker_next(worker) : NULL;
    } while (task != NULL && task->graph == NULL);
    syn_worker_count(worker, count);
    if (task != NULL)
        syn_worker_push(worker, task);
}

/* ---- tasks that end later ---- */

struct syn_task *
syn_task_later(struct syn_worker *worker)
{
    struct syn_task *task = worker->current;
    int32_t running = ERROR_RUNNING;

    assert(task != NULL);
    worker->current = NULL;
    defer(worker);
    SYN_PERTURB();
    if (task->more != NULL) /* else nobody can cancel it, see syn_task_begin() */
        (void)atomic_compare_exchange_strong(&task->error, &running, 0);
    return task;
}

void
syn_task_finish(struct syn_runtime *runtime, struct syn_worker *worker, struct syn_task *task,
                int code)
{
    if (worker != NULL) {
        end(worker, task, code);
        syn_worker_count(worker, 1);
        return;
    }
    task->run = NULL;
    task->arg = (void *)(intptr_t)code;
    syn_level_push(runtime, task);
    syn_worker_wake(runtime);
}

/* ---- handles ---- */

int
syn_task_wait(struct syn_runtime *runtime, struct syn_task *task, struct syn_err *err)
{
    struct syn_task_more *more = task->more;

    syn_worker_help(runtime, more, NULL, NULL);
    if (more->code < 0)
        return SYN_FAIL(err, more->code, "the task ended with %s", syn_err_info(more->code)->wire);
    return SYN_OK;
}

bool
syn_task_cancel(struct syn_task *task)
{
    int32_t none = 0;

    return atomic_compare_exchange_strong(&task->error, &none, SYN_E_CANCELED);
}

struct syn_task *
syn_task_release(struct syn_task *task)
{
    struct syn_task_more *more;

    if (task == NULL)
        return NULL;
    more = task->more;
    if (atomic_fetch_sub_explicit(&more->refs, 1, memory_order_acq_rel) == 1) {
        struct syn_tasks *tasks = more->runtime->tasks;

        syn_free(more);
        syn_tasks_return(tasks, task, task);
    }
    return NULL;
}
