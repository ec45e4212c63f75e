/* From ready to over: the strategy's queue, tensors brought, the kernel run, the result told. */
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#include "engine_priv.h"

/* ---- waking ---- */

/* Either it sees the new value of the word before it sleeps, or we see that it sleeps. */
static void
wake_device(struct syn_engine_seat *seat)
{
    (void)atomic_fetch_add(&seat->word.value, 1);
    if (atomic_load(&seat->asleep))
        syn_waitword_kick(&seat->word.value);
}

void
syn_engine_wake(struct syn_engine_seat *seat)
{
    atomic_store_explicit(&seat->hint, 1, memory_order_release);
    SYN_PERTURB();
    if (seat->dev == NULL)
        syn_worker_wake_one(seat->engine->runtime, seat->index);
    else
        wake_device(seat);
}

/* Whoever could run it, where the strategy has not decided. */
static void
wake_able(struct syn_engine *engine, const struct syn_estimate *cost)
{
    for (unsigned i = 0; i < engine->seats_count; i++) {
        struct syn_engine_seat *seat = &engine->seats[i];

        if (__atomic_load_n(&cost->ns[seat->class_id], __ATOMIC_RELAXED) != SYN_NEVER &&
            atomic_load_explicit(&seat->hint, memory_order_relaxed) == 0)
            syn_engine_wake(seat);
    }
}

/* Things have changed: seats that were refused what waits may ask again. */
static void
wake_refused(struct syn_engine *engine)
{
    uint64_t seats;

    if (atomic_load_explicit(&engine->refused, memory_order_relaxed) == 0)
        return;
    seats = atomic_exchange_explicit(&engine->refused, 0, memory_order_acq_rel);
    for (; seats != 0; seats &= seats - 1)
        syn_engine_wake(&engine->seats[__builtin_ctzll(seats)]);
}

/* ---- the strategy ---- */

/* Under the lock, as all that changes it. */
static void
count_queued(struct syn_engine *engine, uint32_t more)
{
    atomic_store_explicit(&engine->queued,
                          atomic_load_explicit(&engine->queued, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static void
hold(struct syn_engine *engine, struct syn_engine_task *call)
{
    count_queued(engine, 1);
    call->prev = NULL;
    call->next = engine->waiting;
    if (call->next != NULL)
        call->next->prev = call;
    engine->waiting = call;
}

void
syn_engine_pushed_out(struct syn_engine_task *call)
{
    struct syn_engine *engine = call->engine;

    count_queued(engine, UINT32_MAX);
    if (call->next != NULL)
        call->next->prev = call->prev;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        engine->waiting = call->next;
}

/* ---- time ----
 *
 * A look at the clock costs as much as the rest of a push. While a worker has done nothing since it
 * last looked but pass on what became ready, it need not look again for a strategy's sake: it is
 * still looking for work in the same turn, and every call that it has counted since was such a one.
 * What is measured is always between two looks of its own.
 *
 * Of calls that are known to be over before one could look twice, most are not measured: they count
 * for what the model says, which one of BRIEF_TIMES of them goes on to learn. A call that is brief
 * no more is one of those soon, or else the clock is looked at again after CLOCK_CALLS. */

#define CLOCK_CALLS 32 /* a power of two; passed on between two looks, at most */
#define BRIEF_NS    1000
#define BRIEF_TIMES 8

static uint64_t
calls_of(const struct syn_worker *worker)
{
    return atomic_load_explicit(&worker->executed, memory_order_relaxed);
}

/* The worker has looked; its next call is counted by `more` calls from now on. */
static void
looked(struct syn_engine_seat *seat, const struct syn_worker *worker, int64_t now_ns, unsigned more)
{
    seat->clock_ns = now_ns;
    seat->clock_at = calls_of(worker) + more;
    seat->clock_turn = worker->turns;
}

/* Does it know what time it is, about? */
static bool
knows_time(const struct syn_engine_seat *seat, const struct syn_worker *worker)
{
    return seat->clock_at == calls_of(worker) && seat->clock_turn == worker->turns &&
           seat->clock_at % CLOCK_CALLS != 0;
}

/* A graph's calls and pieces are not counted, so they leave the time as they find it. */
static uint64_t
push_ns(const struct syn_engine *engine, const struct syn_engine_task *call)
{
    const struct syn_worker *self = syn_self;
    struct syn_engine_seat *seat;

    if (self == NULL || self->runtime != engine->runtime || self->index >= engine->cpus)
        return (uint64_t)syn_clock_ns();
    seat = &engine->seats[self->index];
    if (!knows_time(seat, self))
        looked(seat, self, syn_clock_ns(), call->task != NULL);
    else if (call->task != NULL)
        seat->clock_at++;
    return (uint64_t)seat->clock_ns;
}

/* For a strategy. *ret_looked: it is that exactly. */
static int64_t
pop_ns(const struct syn_engine_seat *seat, bool *ret_looked)
{
    *ret_looked =
        seat->dev != NULL || syn_trace_on(seat->engine->trace) || !knows_time(seat, syn_self);
    return *ret_looked ? syn_clock_ns() : seat->clock_ns;
}

/* Is it so brief that it need not be measured? */
static bool
is_brief(struct syn_engine_seat *seat, const struct syn_engine_task *call)
{
    return call->begun_ns == 0 && syn_engine_cost(call, seat->class_id) < BRIEF_NS &&
           ++seat->briefs % BRIEF_TIMES != 0 && syn_model_is_settled(call->entry, seat->class_id);
}

/* ---- pushing and popping ---- */

void
syn_engine_push(struct syn_engine_task *call)
{
    struct syn_engine *engine = call->engine;
    const struct syn_estimate *cost = call->ready.cost;
    struct syn_place place = {SYN_NO_WORKER, SYN_NO_NODE};
    uint64_t now_ns = push_ns(engine, call);
    struct syn_err err;
    int rc;

    syn_spin_lock(&engine->lock);
    hold(engine, call);
    rc = engine->ops->push(engine->strategy, &call->ready, now_ns, &place, &err);
    if (rc < 0)
        syn_engine_pushed_out(call);
    syn_spin_unlock(&engine->lock);
    if (rc < 0) {
        struct syn_engine_outcome outcome = {.code = rc};

        syn_engine_end(call, NULL, &outcome, &err);
        return;
    }
    SYN_PERTURB();
    /* From here on it may be over. */
    if (place.worker != SYN_NO_WORKER)
        syn_engine_wake(&engine->seats[place.worker]);
    else
        wake_able(engine, cost);
}

/* `hint` is cleared under the lock, and set by who pushes after he has held it: so of a push that
 * this does not see, the hint stays. */
struct syn_engine_task *
syn_engine_pop(struct syn_engine_seat *seat)
{
    struct syn_engine *engine = seat->engine;
    struct syn_engine_task *call;
    struct syn_pop pop = {0};
    bool exact;
    int64_t now;

    SYN_PERTURB();
    if (atomic_load_explicit(&seat->lost, memory_order_relaxed) ||
        (atomic_load_explicit(&seat->hint, memory_order_relaxed) == 0 &&
         atomic_load_explicit(&engine->queued, memory_order_relaxed) == 0))
        return NULL;
    now = pop_ns(seat, &exact);
    syn_spin_lock(&engine->lock);
    engine->ops->pop(engine->strategy, seat->index, (uint64_t)now, &pop);
    call = (struct syn_engine_task *)(void *)pop.ready;
    atomic_store_explicit(&seat->hint, call != NULL, memory_order_relaxed);
    if (call != NULL)
        syn_engine_pushed_out(call);
    else if (pop.why != SYN_POP_EMPTY)
        (void)atomic_fetch_or_explicit(&engine->refused, UINT64_C(1) << seat->index,
                                       memory_order_relaxed);
    syn_spin_unlock(&engine->lock);
    if (call == NULL)
        return NULL;
    call->seat = seat;
    call->begun_ns = exact ? now : 0;
    if (syn_trace_on(engine->trace))
        call->popped_ns = now;
    return call;
}

bool
syn_engine_only(const struct syn_engine_task *call, const struct syn_engine_seat *seat)
{
    const struct syn_engine *engine = call->engine;

    if (call->ready.affinity == (int16_t)seat->index)
        return true;
    for (unsigned i = 0; i < engine->seats_count; i++) {
        const struct syn_engine_seat *other = &engine->seats[i];

        if (other != seat && !atomic_load_explicit(&other->lost, memory_order_relaxed) &&
            syn_engine_cost(call, other->class_id) != SYN_NEVER)
            return false;
    }
    return true;
}

/* ---- tensors ---- */

void
syn_engine_grant(struct syn_engine_seat *seat, struct syn_engine_task *call)
{
    call->next = NULL;
    syn_spin_lock(&seat->lock);
    if (seat->granted == NULL)
        seat->granted = call;
    else
        seat->granted_last->next = call;
    seat->granted_last = call;
    syn_spin_unlock(&seat->lock);
    syn_engine_wake(seat);
}

struct syn_engine_task *
syn_engine_granted(struct syn_engine_seat *seat)
{
    struct syn_engine_task *call;

    if (seat->granted == NULL)
        return NULL;
    syn_spin_lock(&seat->lock);
    call = seat->granted;
    if (call != NULL)
        seat->granted = call->next;
    syn_spin_unlock(&seat->lock);
    return call;
}

void
syn_engine_on_ready(struct syn_memory_request *request, int code, const struct syn_err *why)
{
    struct syn_engine_task *call = request->user;

    call->granted_code = code;
    if (code < 0) {
        call->why = syn_alloc(sizeof(*call->why));
        if (call->why != NULL)
            *call->why = *why;
    }
    syn_engine_grant(call->seat, call);
}

void
syn_engine_refusal(struct syn_engine_task *call, struct syn_err *ret_err)
{
    struct syn_err *why = SYN_TAKE(call->why);

    if (why != NULL)
        *ret_err = *why;
    else
        (void)SYN_FAIL(ret_err, call->granted_code, "%s", syn_err_info(call->granted_code)->wire);
    syn_free(why);
}

static void
memory_uses(const struct syn_engine_task *call, struct syn_memory_use *ret_uses)
{
    for (unsigned i = 0; i < call->uses_count; i++) {
        ret_uses[i].tensor = syn_tensor_of(call->uses[i].data);
        ret_uses[i].access = (enum syn_access)call->uses[i].mode;
    }
}

static SYN_MUST int
acquire(struct syn_engine_task *call, struct syn_err *err)
{
    struct syn_memory_use uses[SYN_OPERANDS_MAX];

    memory_uses(call, uses);
    for (unsigned i = 0; __builtin_expect(call->shared != 0, 0) && i < call->uses_count; i++) {
        if (syn_engine_is_fresh(call, i))
            uses[i].access = SYN_WRITE;
    }
    SYN_PERTURB();
    return syn_memory_acquire(call->engine->memory, call->seat->node, uses, call->uses_count,
                              &call->request, err);
}

/* Once more where there was no memory for a copy: each time with fewer. */
static __attribute__((noinline)) SYN_MUST int
acquire_shares(struct syn_engine_task *call, struct syn_err *err)
{
    for (;;) {
        int rc = SYN_MEMORY_PENDING;

        if (syn_engine_take_shares(call)) {
            call->request.user = call;
            rc = acquire(call, err);
        }
        if (rc >= 0 || !syn_engine_does_without(call, rc))
            return rc;
    }
}

int
syn_engine_acquire(struct syn_engine_task *call, struct syn_err *err)
{
    return __builtin_expect(call->reduces != 0, 0) ? acquire_shares(call, err) : acquire(call, err);
}

void
syn_engine_release(struct syn_engine_task *call, int code)
{
    struct syn_memory_use uses[SYN_OPERANDS_MAX];

    memory_uses(call, uses);
    syn_memory_release(call->engine->memory, call->seat->node, uses, call->uses_count, code == 0);
    if (__builtin_expect(call->shared != 0, 0))
        syn_engine_return_shares(call, code);
}

/* ---- the end ---- */

static void
remember_failure(struct syn_engine *engine, const struct syn_engine_task *call, int code,
                 const struct syn_err *err)
{
    engine->stats.failed++;
    if (engine->failure.code != 0)
        return;
    if (err != NULL && err->code == code)
        engine->failure = *err;
    else
        (void)SYN_FAIL(&engine->failure, code, "%s", syn_err_info(code)->wire);
    (void)syn_err_wrap(&engine->failure, code, "%s", call->kernel->name);
}

static void
report(struct syn_engine *engine, struct syn_engine_task *call,
       const struct syn_engine_outcome *outcome, const struct syn_err *err)
{
    struct syn_engine_seat *seat = call->seat;
    int64_t now = outcome->ended_ns != 0 ? outcome->ended_ns : syn_clock_ns();

    syn_spin_lock(&engine->lock);
    if (seat != NULL) {
        engine->ops->done(engine->strategy, seat->index, &call->ready, outcome->busy_ns,
                          (uint64_t)now);
        if (outcome->ran && !outcome->assumed)
            syn_model_record(call->entry, seat->class_id, SYN_MAX(outcome->busy_ns, 1));
        seat->report.tasks += outcome->ran;
        seat->report.failed += outcome->code < 0;
        seat->report.busy_ns += outcome->busy_ns;
        seat->report.energy_uj += outcome->energy_uj;
        seat->report.energy_source = outcome->energy_source;
    }
    engine->stats.ended += call->task != NULL || (call->split == NULL && call->sum == NULL);
    engine->stats.merged += call->task == NULL && call->sum != NULL && outcome->code == 0;
    if (outcome->code < 0)
        remember_failure(engine, call, outcome->code, err);
    syn_spin_unlock(&engine->lock);
}

/* What puts copies together has changed nothing yet, and nobody else can be told. */
static bool
tries_again(const struct syn_engine_task *call, const struct syn_engine_outcome *outcome)
{
    return call->sum != NULL && outcome->code < 0 && !outcome->held && call->seat != NULL &&
           call->tries < SYN_ENGINE_TRIES;
}

void
syn_engine_end(struct syn_engine_task *call, struct syn_worker *worker,
               const struct syn_engine_outcome *outcome, const struct syn_err *err)
{
    struct syn_engine *engine = call->engine;
    struct syn_task *task = call->task;

    if (task == NULL && tries_again(call, outcome)) {
        syn_engine_again(call, false, err);
        return;
    }
    if (outcome->held)
        syn_engine_release(call, outcome->code);
    else if (__builtin_expect(call->shared != 0, 0))
        syn_engine_return_shares(call, SYN_ENGINE_TURN);
    SYN_PERTURB();
    report(engine, call, outcome, err);
    if (syn_trace_on(engine->trace))
        syn_engine_trace_end(call, outcome);
    wake_refused(engine);
    if (call->split != NULL) {
        syn_engine_piece_end(call, worker, outcome->code);
        return;
    }
    if (task == NULL && call->sum != NULL) {
        syn_engine_merge_end(call, worker, outcome->code);
        return;
    }
    if (task == NULL) {
        syn_engine_captured_end(call, outcome->code, err);
        return;
    }
    syn_engine_record_free(call);
    syn_task_finish(engine->runtime, worker, task, outcome->code);
}

void
syn_engine_drop(struct syn_engine_task *call, int code)
{
    struct syn_engine *engine = call->engine;

    syn_spin_lock(&engine->lock);
    engine->stats.ended++;
    remember_failure(engine, call, code, NULL); /* the first one, if it was cancelled */
    syn_spin_unlock(&engine->lock);
}

void
syn_engine_again(struct syn_engine_task *call, bool held, const struct syn_err *err)
{
    struct syn_engine *engine = call->engine;
    struct syn_engine_outcome outcome = {.code = err->code, .held = held};

    if (++call->tries >= SYN_ENGINE_TRIES) {
        syn_engine_end(call, NULL, &outcome, err);
        return;
    }
    if (held)
        syn_engine_release(call, err->code);
    else if (call->shared != 0)
        syn_engine_return_shares(call, SYN_ENGINE_TURN);
    syn_spin_lock(&engine->lock);
    engine->ops->done(engine->strategy, call->seat->index, &call->ready, 0,
                      (uint64_t)syn_clock_ns());
    engine->stats.again++;
    syn_spin_unlock(&engine->lock);
    wake_refused(engine);
    call->seat = NULL;
    SYN_PERTURB();
    syn_engine_push(call);
}

/* ---- the runtime's threads ---- */

/* Its shares begin with the neutral element. */
static __attribute__((noinline)) int
init_shares(struct syn_worker *worker, struct syn_fork *at, struct syn_engine_task *call,
            struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned i = 0; rc >= 0 && i < call->uses_count; i++) {
        const struct syn_kernel_impl *impl;
        struct syn_tensor_place place;
        struct syn_kernel_call init;

        if (!syn_engine_is_fresh(call, i))
            continue;
        impl = syn_engine_init_call(call, i, &place, &init);
        assert(impl != NULL); /* or it would have no copy */
        rc = impl->run(&init, worker, at, err);
    }
    return rc;
}

static void
begin_timing(struct syn_engine_task *call, bool waited, struct syn_engine_outcome *outcome)
{
    struct syn_engine_seat *seat = call->seat;

    outcome->assumed = !waited && is_brief(seat, call);
    if (outcome->assumed)
        call->begun_ns = seat->clock_ns;
    else if (waited || call->begun_ns == 0)
        call->begun_ns = syn_clock_ns();
    /* Else nothing had to be brought, so little has happened since it was popped. */
}

static void
end_timing(struct syn_engine_task *call, const struct syn_worker *worker,
           struct syn_engine_outcome *outcome)
{
    struct syn_engine_seat *seat = call->seat;

    if (outcome->assumed) {
        outcome->busy_ns = syn_engine_cost(call, seat->class_id);
        outcome->ended_ns = call->begun_ns + (int64_t)outcome->busy_ns;
        seat->clock_ns = outcome->ended_ns;
        seat->clock_at += call->task != NULL;
    } else {
        outcome->ended_ns = syn_clock_ns();
        outcome->busy_ns = (uint64_t)(outcome->ended_ns - call->begun_ns);
        looked(seat, worker, outcome->ended_ns, call->task != NULL);
    }
}

static void
run_native(struct syn_worker *worker, struct syn_engine_task *call, bool waited)
{
    struct syn_fork *at = worker->deque.head;
    struct syn_engine_outcome outcome = {.held = true, .ran = true};
    struct syn_tensor_place places[SYN_OPERANDS_MAX];
    struct syn_engine_seat *seat = call->seat;
    const struct syn_kernel_impl *impl;
    struct syn_kernel_call seen;
    struct syn_err err;

    syn_engine_call_of(call, places, &seen);
    impl = syn_kernel_pick(call->kernel, &seen, seat->info);
    assert(impl != NULL); /* or the estimate would have been NEVER */
    if (__builtin_expect(call->shared != 0, 0)) {
        outcome.code = init_shares(worker, at, call, &err);
        waited = true;
    }
    begin_timing(call, waited, &outcome);
    if (outcome.code >= 0)
        outcome.code = impl->run(&seen, worker, at, &err);
    end_timing(call, worker, &outcome);
    worker->deque.head = at;
    outcome.ran = outcome.code >= 0;
    outcome.code = SYN_MIN(outcome.code, 0);
    outcome.energy_uj = outcome.busy_ns * seat->busy_mw / 1000000;
    outcome.energy_source = SYN_POWER_MODELLED;
    syn_engine_end(call, worker, &outcome, &err);
}

/* `waited`: for its turn to have tensors. */
static void
start_native(struct syn_worker *worker, struct syn_engine_task *call, bool waited)
{
    struct syn_engine_outcome outcome = {0};
    struct syn_err err;
    int rc = waited ? SYN_OK : syn_engine_begin(call);

    if (call->task != NULL)
        syn_task_foresee_end(call->task);
    if (rc == SYN_OK)
        rc = syn_engine_acquire(call, &err);
    else
        (void)SYN_FAIL(&err, rc, "%s", syn_err_info(rc)->wire);
    if (rc == SYN_OK) {
        run_native(worker, call, waited);
    } else if (rc < 0) {
        outcome.code = rc;
        syn_engine_end(call, worker, &outcome, &err);
    }
}

static void
refuse(struct syn_worker *worker, struct syn_engine_task *call)
{
    struct syn_engine_outcome outcome = {.code = call->granted_code};
    struct syn_err err;

    syn_engine_refusal(call, &err);
    if (call->shared != 0 && syn_engine_does_without(call, outcome.code))
        start_native(worker, call, true);
    else
        syn_engine_end(call, worker, &outcome, &err);
}

bool
syn_engine_take(void *self, struct syn_worker *worker)
{
    struct syn_engine *engine = self;
    struct syn_engine_seat *seat = &engine->seats[worker->index];
    struct syn_engine_task *call = syn_engine_granted(seat);

    if (call != NULL) {
        syn_worker_stop_watching(worker);
        if (call->granted_code == SYN_ENGINE_TURN)
            start_native(worker, call, true);
        else if (call->granted_code < 0)
            refuse(worker, call);
        else
            run_native(worker, call, true);
        return true;
    }
    call = syn_engine_pop(seat);
    if (call == NULL)
        return false;
    syn_worker_stop_watching(worker);
    start_native(worker, call, false);
    return true;
}

bool
syn_engine_any(const void *self, unsigned index)
{
    const struct syn_engine *engine = self;

    const struct syn_engine_seat *seat = &engine->seats[index];

    /* Also what was granted just before a pop cleared the hint of it. */
    return atomic_load_explicit(&seat->hint, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&seat->granted, memory_order_relaxed) != NULL;
}
