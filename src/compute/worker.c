/* Workers: where they look for work, and how they stop looking.
 *
 * In this order, before every call: what is urgent; the worker's own ready tasks, newest first; its
 * share of a submitter's lane; its own pile; other workers' piles and forks; what is in the
 * background. A worker that finds nothing watches for a while if no other does, then sleeps.
 *
 * A worker's ready tasks are its own, without a lock. While other workers exist it keeps a part of
 * them on its pile, from where others take: half where calls are short, all but the next one where
 * they are long, so that nothing is stuck behind a long call. How long calls are it knows from a
 * look at the clock every PACE_CALLS calls, or every call when they are long. */
#include "lane_priv.h"
#include "worker_priv.h"

#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#include "task_priv.h"

#define PACE_NS     2000 /* what a worker keeps to itself lasts about this long */
#define PACE_CALLS  64
#define SOURCE_ROW  8  /* times in a row that the source is asked first, while calls are short */
#define SHARE_MAX   32 /* short tasks moved between worker and pile at a time */
#define SPIN_PAUSES 4
#define ABOVE_PLAIN (~((UINT32_C(2) << SYN_LEVEL_PLAIN) - 1))

_Thread_local struct syn_worker *syn_self SYN_TLS_FAST;

/* ---- the pace ---- */

static bool
are_short(const struct syn_worker *worker)
{
    return worker->chunk > 1;
}

static void
pace_start(struct syn_worker *worker)
{
    worker->turns++;
    worker->pace_ns = syn_clock_ns();
    worker->pace_left = worker->pace_count = worker->chunk;
}

static void
pace_look(struct syn_worker *worker)
{
    int64_t now = syn_clock_ns();
    int64_t each = (now - worker->pace_ns) / worker->pace_count;
    int64_t fit = each > 0 ? PACE_NS / each : PACE_CALLS;

    /* Carefully up, at once down. */
    fit = SYN_MIN(fit, (int64_t)worker->chunk * 2);
    worker->chunk = (uint32_t)SYN_MAX(1, SYN_MIN(fit, SYN_CHUNK_MAX));
    worker->pace_ns = now;
    worker->pace_left = worker->pace_count = SYN_MIN(worker->chunk, PACE_CALLS);
}

void
syn_worker_count(struct syn_worker *worker, uint32_t count)
{
    uint64_t executed = atomic_load_explicit(&worker->executed, memory_order_relaxed);

    SYN_PERTURB();
    atomic_store_explicit(&worker->executed, executed + count, memory_order_release);
    /* Calls that ran inside of these may have looked, and begun anew. */
    if (worker->pace_left <= count)
        pace_look(worker);
    else
        worker->pace_left -= count;
}

/* ---- piles ---- */

void
syn_level_push(struct syn_runtime *runtime, struct syn_task *task)
{
    struct syn_pile *pile = &runtime->levels[task->level];

    task->next = NULL;
    syn_spin_lock(&pile->lock);
    if (pile->head == NULL)
        pile->head = task;
    else
        pile->tail->next = task;
    pile->tail = task;
    (void)atomic_fetch_or_explicit(&runtime->urgent, SYN_BIT(task->level), memory_order_release);
    syn_spin_unlock(&pile->lock);
}

static struct syn_task *
level_pop(struct syn_runtime *runtime, unsigned level)
{
    struct syn_pile *pile = &runtime->levels[level];
    struct syn_task *task;

    syn_spin_lock(&pile->lock);
    task = pile->head;
    if (task != NULL)
        pile->head = task->next;
    if (pile->head == NULL)
        (void)atomic_fetch_and_explicit(&runtime->urgent, ~SYN_BIT(level), memory_order_relaxed);
    syn_spin_unlock(&pile->lock);
    return task;
}

/* Cut the first `count` tasks off the chain at *head; returns the last of them. */
static struct syn_task *
cut(struct syn_task **head, uint32_t count)
{
    struct syn_task *last = *head;

    for (uint32_t i = 1; i < count; i++)
        last = last->next;
    *head = last->next;
    return last;
}

/* Move tasks from the worker to its pile, from where others take them. */
static void
share(struct syn_worker *worker)
{
    struct syn_pile *pile = &worker->pile;
    uint32_t count = worker->ready_count;
    struct syn_task *first = worker->ready, *last;

    if (are_short(worker))
        count = SYN_MIN((count + 1) / 2, SHARE_MAX);
    last = cut(&worker->ready, count);
    worker->ready_count -= count;
    syn_count(&worker->shares);
    syn_spin_lock(&pile->lock);
    last->next = pile->head;
    pile->head = first;
    atomic_store_explicit(&pile->count,
                          atomic_load_explicit(&pile->count, memory_order_relaxed) + count,
                          memory_order_relaxed);
    syn_spin_unlock(&pile->lock);
    syn_worker_wake(worker->runtime);
}

/* Take part of a pile: half of another's, SHARE_MAX of one's own; one where calls are long. */
static bool
take_pile(struct syn_worker *worker, struct syn_pile *pile)
{
    struct syn_task *first, *last;
    uint32_t count, part;

    if (atomic_load_explicit(&pile->count, memory_order_relaxed) == 0)
        return false;
    syn_spin_lock(&pile->lock);
    count = atomic_load_explicit(&pile->count, memory_order_relaxed);
    if (count == 0) {
        syn_spin_unlock(&pile->lock);
        return false;
    }
    part = pile == &worker->pile ? count : (count + 1) / 2;
    part = are_short(worker) ? SYN_MIN(part, SHARE_MAX) : 1;
    first = pile->head;
    last = cut(&pile->head, part);
    atomic_store_explicit(&pile->count, count - part, memory_order_relaxed);
    syn_spin_unlock(&pile->lock);
    last->next = worker->ready;
    worker->ready = first;
    worker->ready_count += part;
    return true;
}

/* ---- finding work ---- */

static void
run_task(struct syn_worker *worker, struct syn_task *task)
{
    if (task->graph != NULL)
        syn_graph_run_tasks(worker, task);
    else
        syn_task_run_row(worker, task);
}

/* Who puts a task into a level while it works wakes nobody, since it looks there next. Before it
 * does something else that may last, or leaves, it wakes somebody for what is still there. */
static void
wake_for(struct syn_runtime *runtime, uint32_t levels)
{
    if (__builtin_expect(levels != 0, 0))
        syn_worker_wake(runtime);
}

static void
wake_for_levels(struct syn_runtime *runtime)
{
    wake_for(runtime, atomic_load_explicit(&runtime->urgent, memory_order_relaxed));
}

static bool
run_level(struct syn_worker *worker, uint32_t levels)
{
    struct syn_task *task;

    if (levels == 0)
        return false;
    task = level_pop(worker->runtime, 31 - (unsigned)__builtin_clz(levels));
    if (task == NULL)
        return false;
    syn_worker_stop_watching(worker);
    wake_for_levels(worker->runtime);
    run_task(worker, task);
    return true;
}

static bool
refill_batch(struct syn_worker *worker)
{
    struct syn_runtime *runtime = worker->runtime;
    uint32_t lanes = atomic_load_explicit(&runtime->lanes_count, memory_order_acquire);

    uint32_t takers = atomic_load_explicit(&runtime->active, memory_order_relaxed);

    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t at = (worker->scan + i) % lanes;
        uint32_t count = syn_lane_take(runtime->lanes[at], worker->batch, worker->chunk, takers);

        if (count > 0) {
            worker->scan = at;
            worker->batch_next = 0;
            worker->batch_end = count;
            return true;
        }
    }
    return false;
}

static bool
steal(struct syn_worker *worker)
{
    struct syn_runtime *runtime = worker->runtime;

    for (unsigned i = 1; i < runtime->seats_count; i++) {
        struct syn_worker *victim = runtime->workers[(worker->index + i) % runtime->seats_count];

        if (take_pile(worker, &victim->pile)) {
            syn_count(&worker->shares);
            return true;
        }
        if (syn_fork_steal(worker, victim))
            return true;
    }
    return false;
}

static const struct syn_source *
source_of(const struct syn_worker *worker)
{
    const struct syn_runtime *runtime = worker->runtime;

    if (worker->index >= runtime->workers_count)
        return NULL; /* guests */
    return atomic_load_explicit(&runtime->source, memory_order_acquire);
}

static bool
take_source(struct syn_worker *worker)
{
    const struct syn_source *source = source_of(worker);

    return source != NULL && source->take(source->self, worker);
}

/* Run one call, or find that there is none. */
static bool
run_one(struct syn_worker *worker)
{
    struct syn_runtime *runtime = worker->runtime;
    uint32_t urgent = atomic_load_explicit(&runtime->urgent, memory_order_acquire);
    struct syn_task *task;

    if (__builtin_expect((urgent & ABOVE_PLAIN) != 0, 0) && run_level(worker, urgent & ABOVE_PLAIN))
        return true;
    task = worker->ready;
    if (task != NULL) {
        worker->ready = task->next;
        worker->ready_count--;
        SYN_PERTURB();
        if (syn_worker_should_share(worker))
            share(worker);
        wake_for(runtime, urgent);
        run_task(worker, task);
        return true;
    }
    if (worker->batch_next < worker->batch_end) {
        struct syn_call_item item = worker->batch[worker->batch_next++];

        wake_for(runtime, urgent);
        item.run(item.arg);
        syn_worker_count(worker, 1);
        return true;
    }
    if (worker->source_row > 0) {
        worker->source_row--;
        if (take_source(worker))
            return true;
        worker->source_row = 0;
    }
    if (take_pile(worker, &worker->pile) || refill_batch(worker) || steal(worker)) {
        syn_worker_stop_watching(worker);
        return true;
    }
    if (run_level(worker, urgent))
        return true;
    if (!take_source(worker))
        return false;
    /* Where it had something it will have more, and looking everywhere else takes as long as a
     * short call. */
    worker->source_row = SYN_MIN(worker->chunk - 1, (uint32_t)SOURCE_ROW);
    return true;
}

/* Is there anything that run_one() would find? Looks only. */
static bool
work_visible(const struct syn_worker *worker)
{
    const struct syn_runtime *runtime = worker->runtime;
    const struct syn_source *source = source_of(worker);
    uint32_t lanes = atomic_load_explicit(&runtime->lanes_count, memory_order_acquire);

    if (atomic_load_explicit(&runtime->urgent, memory_order_relaxed) != 0)
        return true;
    for (uint32_t i = 0; i < lanes; i++) {
        if (!syn_lane_empty(runtime->lanes[i]))
            return true;
    }
    for (unsigned i = 0; i < runtime->seats_count; i++) {
        if (atomic_load_explicit(&runtime->workers[i]->pile.count, memory_order_relaxed) != 0)
            return true;
    }
    return syn_fork_any(worker) || (source != NULL && source->any(source->self, worker->index));
}

/* ---- waking ---- */

void
syn_worker_wake_slow(struct syn_runtime *runtime)
{
    uint32_t none = 0;
    int index;

    if (atomic_load_explicit(&runtime->idle.spinning, memory_order_relaxed) != 0) {
        /* One watches, unless it is just ceasing to: then it must see what we published. */
        SYN_FENCE_FULL();
        if (atomic_load_explicit(&runtime->idle.spinning, memory_order_relaxed) != 0)
            return;
    }
    for (;;) {
        /* The woken one watches from now on, so that the next publisher need not wake another. */
        if (!atomic_compare_exchange_strong(&runtime->idle.spinning, &none, 1))
            return;
        index = syn_idle_pick(&runtime->idle);
        if (index >= 0)
            break;
        SYN_PERTURB();
        atomic_store(&runtime->idle.spinning, 0);
        /* Nobody watched after all: who published meanwhile relied on it, and who fell asleep
         * meanwhile did not see that. */
        SYN_FENCE_FULL();
        if (!syn_idle_any(&runtime->idle))
            return;
    }
    atomic_fetch_add_explicit(&runtime->wakes, 1, memory_order_relaxed);
    syn_waitword_wake(&runtime->workers[index]->parker.word, false);
}

void
syn_worker_stop_watching(struct syn_worker *worker)
{
    struct syn_runtime *runtime = worker->runtime;

    if (!worker->spinner)
        return;
    worker->spinner = false;
    atomic_store_explicit(&runtime->idle.spinning, 0, memory_order_relaxed);
    SYN_FENCE_FULL();
    if (atomic_load_explicit(&runtime->idle.sleepers, memory_order_relaxed) != 0) {
        __atomic_store_n(&worker->deque.limit, NULL, __ATOMIC_RELAXED);
        if (work_visible(worker))
            syn_worker_wake_slow(runtime);
    }
}

/* ---- being idle ---- */

static bool
is_quiet(const struct syn_runtime *runtime)
{
    uint32_t lanes;
    uint64_t executed = 0, submitted = 0;

    /* In this order: what is seen executed was submitted before that. */
    for (unsigned i = 0; i < runtime->seats_count; i++)
        executed += atomic_load_explicit(&runtime->workers[i]->executed, memory_order_acquire);
    SYN_PERTURB();
    lanes = atomic_load_explicit(&runtime->lanes_count, memory_order_acquire);
    for (uint32_t i = 0; i < lanes; i++)
        submitted += syn_lane_submitted(runtime->lanes[i]);
    for (unsigned i = 0; i < runtime->seats_count; i++)
        submitted += atomic_load_explicit(&runtime->workers[i]->deferred, memory_order_acquire);
    return executed == submitted;
}

/* What a thread that works waits for, besides work. */
struct goal {
    struct syn_task_more *task;                          /* this task is over, or */
    bool quiet;                                          /* nothing is left, or */
    bool stop;                                           /* the runtime ends */
    void (*start)(struct syn_worker *worker, void *arg); /* called first, or NULL */
    void *arg;
};

static bool
is_reached(const struct syn_runtime *runtime, const struct goal *goal)
{
    if (goal->task != NULL)
        return atomic_load_explicit(&goal->task->done, memory_order_acquire) != 0;
    if (goal->quiet)
        return is_quiet(runtime);
    return goal->stop && atomic_load_explicit(&runtime->stopping, memory_order_acquire) != 0;
}

void
syn_worker_wake_one(struct syn_runtime *runtime, unsigned index)
{
    struct syn_worker *worker = runtime->workers[index];

    if (worker == syn_self)
        return; /* it looks before it sleeps */
    syn_fence_light();
    if (syn_idle_has(&runtime->idle, index))
        syn_waitword_wake(&worker->parker.word, false);
}

void
syn_runtime_set_source(struct syn_runtime *runtime, const struct syn_source *source)
{
    atomic_store_explicit(&runtime->source, source, memory_order_release);
}

void
syn_worker_wake_seats(struct syn_runtime *runtime, unsigned from)
{
    for (unsigned i = from; i < runtime->seats_count; i++)
        syn_waitword_wake(&runtime->workers[i]->parker.word, false);
}

/* A worker has nothing left: perhaps that is what somebody waits for. Of two that come to their end
 * at the same moment each might take the other for busy, and nobody would tell: so what each has
 * executed must be seen before it looks at the others. */
static void
tell_waiters(struct syn_worker *worker)
{
    struct syn_runtime *runtime = worker->runtime;

    syn_fence_light();
    if (atomic_load_explicit(&runtime->waiters, memory_order_relaxed) == 0)
        return;
    SYN_FENCE_FULL();
    if (!is_quiet(runtime))
        return;
    syn_waitword_wake(&runtime->quiet, true);
    syn_worker_wake_seats(runtime, runtime->workers_count);
}

/* It has work again, at `now_ns`: how long is it to watch the next time that it has none? */
static void
learn_patience(struct syn_worker *worker, int64_t now_ns)
{
    const struct syn_runtime *runtime = worker->runtime;

    if (!runtime->adapts || worker->idle_ns == 0)
        return;
    worker->patience_ns =
        syn_worker_patience(worker->patience_ns, runtime->spin_ns, now_ns - worker->idle_ns);
    worker->idle_ns = 0;
}

/* Watch for work for a while, if nobody else does. True: there is some. */
static bool
watch(struct syn_worker *worker, const struct goal *goal)
{
    struct syn_runtime *runtime = worker->runtime;
    uint32_t none = 0;
    int64_t until;

    if (!worker->spinner) {
        if (runtime->spin_ns <= 0 ||
            !atomic_compare_exchange_strong(&runtime->idle.spinning, &none, 1))
            return false;
        worker->spinner = true;
    }
    worker->idle_ns = syn_clock_ns();
    until = worker->idle_ns + SYN_MAX(worker->patience_ns, 0);
    do {
        for (unsigned i = 0; i < 16; i++) {
            if (work_visible(worker))
                return true;
            syn_fork_want(worker);
            syn_relax();
        }
        if (is_reached(runtime, goal))
            return true;
    } while (syn_clock_ns() < until);
    worker->spinner = false;
    SYN_PERTURB();
    atomic_store(&runtime->idle.spinning, 0);
    return false;
}

static void
park(struct syn_worker *worker, uint32_t seen)
{
    const struct syn_source *source = source_of(worker);

    syn_count(&worker->parks);
    if (source != NULL)
        source->parks(source->self, worker->index, true);
    syn_waitword_sleep(&worker->parker.word.value, seen);
    if (source != NULL)
        source->parks(source->self, worker->index, false);
}

static void
sleep_idle(struct syn_worker *worker, const struct goal *goal)
{
    struct syn_runtime *runtime = worker->runtime;
    uint32_t seen = atomic_load_explicit(&worker->parker.word.value, memory_order_acquire);

    SYN_PERTURB();
    syn_idle_enter(&runtime->idle, worker->index);
    syn_fence_heavy();
    /* Not before: who answered a request of somebody not among the sleepers yet would wake nobody,
     * and might have taken back what it published when that one looks. */
    syn_fork_want(worker);
    if (!work_visible(worker) && !is_reached(runtime, goal))
        park(worker, seen);
    if (!syn_idle_leave(&runtime->idle, worker->index))
        worker->spinner = true; /* woken to watch */
}

/* Work until the goal is reached. */
static void
work(struct syn_worker *worker, const struct goal *goal)
{
    pace_start(worker);
    if (goal->start != NULL)
        goal->start(worker, goal->arg);
    for (;;) {
        if (goal->task != NULL && is_reached(worker->runtime, goal))
            break;
        if (run_one(worker))
            continue;
        tell_waiters(worker);
        if (is_reached(worker->runtime, goal))
            break;
        if (!watch(worker, goal))
            sleep_idle(worker, goal);
        pace_start(worker);
        learn_patience(worker, worker->pace_ns);
    }
    syn_worker_stop_watching(worker);
    wake_for_levels(worker->runtime);
}

void *
syn_worker_main(void *arg)
{
    struct syn_worker *worker = arg;
    const struct goal goal = {.stop = true};

    syn_self = worker;
    work(worker, &goal);
    return NULL;
}

/* ---- seats ---- */

static struct syn_worker *
sit(struct syn_runtime *runtime)
{
    struct syn_worker *found = NULL;

    (void)pthread_mutex_lock(&runtime->seats);
    for (unsigned i = runtime->workers_count; i < runtime->seats_count && found == NULL; i++) {
        if (!runtime->workers[i]->seated)
            found = runtime->workers[i];
    }
    if (found != NULL) {
        found->seated = true;
        (void)atomic_fetch_add_explicit(&runtime->active, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&runtime->seats);
    return found;
}

/* Whoever stands up leaves nothing behind that only it could reach, or that only it knows of: that
 * everything is over (unless it has `told` that), or that something became ready. */
static void
stand(struct syn_worker *worker, bool told)
{
    struct syn_runtime *runtime = worker->runtime;

    while (worker->batch_next < worker->batch_end || worker->ready != NULL) {
        (void)run_one(worker);
        told = false;
    }
    if (!told)
        tell_waiters(worker);
    wake_for_levels(runtime);
    (void)pthread_mutex_lock(&runtime->seats);
    worker->seated = false;
    (void)atomic_fetch_sub_explicit(&runtime->active, 1, memory_order_relaxed);
    (void)pthread_mutex_unlock(&runtime->seats);
}

/* Work on this thread until the goal is reached, with a seat of its own. False: there is none. */
static bool
work_as_guest(struct syn_runtime *runtime, const struct goal *goal)
{
    struct syn_worker *outer = syn_self;
    struct syn_worker *seat = sit(runtime);

    if (seat == NULL)
        return false;
    syn_self = seat;
    work(seat, goal);
    stand(seat, goal->quiet);
    syn_self = outer;
    return true;
}

void
syn_runtime_wait(struct syn_runtime *runtime)
{
    const struct goal goal = {.quiet = true};

    (void)atomic_fetch_add(&runtime->waiters, 1);
    if (!work_as_guest(runtime, &goal)) {
        for (;;) {
            uint32_t seen = atomic_load_explicit(&runtime->quiet.value, memory_order_acquire);

            syn_fence_heavy();
            if (is_quiet(runtime))
                break;
            syn_waitword_sleep(&runtime->quiet.value, seen);
        }
    }
    (void)atomic_fetch_sub(&runtime->waiters, 1);
    syn_tasks_forget_failures(runtime);
}

void
syn_worker_help(struct syn_runtime *runtime, struct syn_task_more *task,
                void (*start)(struct syn_worker *worker, void *arg), void *arg)
{
    const struct goal goal = {.task = task, .start = start, .arg = arg};

    if (start == NULL && atomic_load_explicit(&task->done, memory_order_acquire) != 0)
        return;
    (void)atomic_fetch_add(&task->sleepers, 1);
    if (syn_self != NULL && syn_self->runtime == runtime) {
        work(syn_self, &goal);
    } else if (!work_as_guest(runtime, &goal)) {
        if (start != NULL) {
            start(NULL, arg);
            syn_worker_wake(runtime);
        }
        syn_fence_heavy();
        while (!is_reached(runtime, &goal))
            syn_waitword_sleep(&task->done, 0);
    }
    (void)atomic_fetch_sub(&task->sleepers, 1);
}

int
syn_runtime_run(struct syn_runtime *runtime,
                void (*run)(struct syn_worker *worker, struct syn_fork *at, void *arg), void *arg,
                struct syn_err *err)
{
    struct syn_worker *outer = syn_self;
    bool inside = outer != NULL && outer->runtime == runtime;
    struct syn_worker *seat = inside ? outer : sit(runtime);
    struct syn_fork *at;

    if (seat == NULL)
        return SYN_FAIL(err, SYN_E_LIMIT, "all %u seats for guests are taken",
                        runtime->seats_count - runtime->workers_count);
    at = seat->deque.head;
    if (!inside)
        pace_start(seat);
    syn_self = seat;
    run(seat, at, arg);
    seat->deque.head = at;
    syn_self = outer;
    if (!inside)
        stand(seat, true);
    return SYN_OK;
}
