/* A device's thread. It keeps up to SYN_ENGINE_DEPTH calls on the device's queue, so that one's
 * kernel runs while the next one's tensors come, and sleeps when there is nothing to see to: who
 * grants tensors, pushes a call, or ends a command wakes it. A driver that cannot call back is
 * asked instead, ASK_NS apart while something flies.
 *
 *     strategy --pop--> acquiring --granted--> flying --event done--> ended
 *                            \________ failure: again, elsewhere _______/
 *
 * A device is lost when its driver says so or when a call takes longer than the engine's limit. It
 * then gets no more calls; those it had go back to the strategy, and the memory manager forgets its
 * replicas. What a queue does not run because a call before it failed is launched again. A device
 * that timed out is never touched again, not even to be closed: whatever it
 * still writes to goes with it. */
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>

#include "engine_priv.h"

#define ASK_NS 200000

static bool
can_notify(const struct syn_engine_seat *seat)
{
    return (seat->info->caps & SYN_CAP_NOTIFY) != 0;
}

static void
on_event(void *arg)
{
    syn_engine_wake(arg);
}

/* A call has no more to do with the device. */
static void
give_back(struct syn_engine_seat *seat, struct syn_engine_task *call)
{
    call->scratch = syn_dev_free(call->scratch);
    if (call->event != NULL)
        seat->events[seat->events_count++] = call->event;
    call->event = NULL;
}

/* ---- loss ---- */

/* What the strategy holds was given out with this seat in mind: it is given out again. Calls that
 * nobody else can run end. */
static void
give_out_again(struct syn_engine_seat *seat, const struct syn_err *err)
{
    struct syn_engine *engine = seat->engine;
    struct syn_engine_task *calls = NULL, *next;

    syn_spin_lock(&engine->lock);
    for (struct syn_engine_task *call = engine->waiting; call != NULL; call = next) {
        next = call->next;
        if (!engine->ops->cancel(engine->strategy, &call->ready))
            continue;
        syn_engine_pushed_out(call);
        call->next = calls;
        calls = call;
    }
    syn_spin_unlock(&engine->lock);
    for (; calls != NULL; calls = next) {
        struct syn_engine_outcome outcome = {.code = SYN_E_UNAVAILABLE};

        next = calls->next;
        if (syn_engine_only(calls, seat))
            syn_engine_end(calls, NULL, &outcome, err);
        else
            syn_engine_push(calls);
    }
}

/* The only good copy was there. Who reads it will be refused; who waits is told of it in any case.
 */
static void
on_gone(void *arg, struct syn_tensor *tensor)
{
    const struct syn_engine_seat *seat = arg;
    struct syn_engine *engine = seat->engine;

    syn_spin_lock(&engine->lock);
    if (engine->failure.code == 0)
        (void)SYN_FAIL(&engine->failure, SYN_E_UNAVAILABLE, "tensor %llu was lost with %s",
                       (unsigned long long)syn_tensor_number(syn_engine_copied(tensor)),
                       seat->info->id);
    syn_spin_unlock(&engine->lock);
}

static void
lose(struct syn_engine_seat *seat, const struct syn_err *why)
{
    struct syn_engine *engine = seat->engine;
    struct syn_err err;

    if (atomic_exchange(&seat->lost, true))
        return;
    (void)SYN_FAIL(&err, SYN_E_UNAVAILABLE, "%s is lost: %s", seat->info->id, why->msg);
    SYN_PERTURB();
    syn_spin_lock(&engine->lock);
    seat->report.lost = true;
    (void)syn_str_copy(seat->report.reason, sizeof(seat->report.reason), why->msg);
    if (engine->ops->lost != NULL)
        engine->ops->lost(engine->strategy, seat->index, true);
    syn_spin_unlock(&engine->lock);
    seat->queue = syn_dev_queue_destroy(seat->queue); /* what still runs there comes to its end */
    /* Before what flew lets go: what it wrote was lost, not spoilt by a failure of its own. */
    if (seat->node != SYN_NODE_HOST)
        syn_memory_lost(engine->memory, seat->node, on_gone, seat);
    for (unsigned i = 0; i < seat->flying_count; i++) {
        struct syn_engine_task *call = seat->flying[i];

        give_back(seat, call);
        syn_engine_release(call, SYN_E_UNAVAILABLE);
    }
    for (unsigned i = 0; i < seat->flying_count; i++)
        syn_engine_again(seat->flying[i], false, &err);
    seat->flying_count = 0;
    SYN_PERTURB();
    give_out_again(seat, &err);
    for (unsigned i = 0; i < engine->seats_count; i++)
        syn_engine_wake(&engine->seats[i]);
}

/* ---- launching ---- */

/* What writes the neutral element to its shares before it needs some too; one after the other. */
static uint64_t
init_scratch(const struct syn_engine_task *call)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < call->uses_count; i++) {
        const struct syn_kernel_impl *impl;
        struct syn_tensor_place place;
        struct syn_kernel_call init;
        uint64_t one;

        if (!syn_engine_is_fresh(call, i))
            continue;
        impl = syn_engine_init_call(call, i, &place, &init);
        assert(impl != NULL); /* or it would have no copy */
        one = syn_program_scratch(call->seat->programs, impl, &init);
        bytes = SYN_MAX(bytes, one);
    }
    return bytes;
}

static SYN_MUST int
launch_inits(struct syn_engine_task *call, struct syn_err *err)
{
    const struct syn_engine_seat *seat = call->seat;
    const struct syn_dev_cmd cmd = {.queue = seat->queue};
    int rc = SYN_OK;

    for (unsigned i = 0; rc == SYN_OK && i < call->uses_count; i++) {
        const struct syn_kernel_impl *impl;
        struct syn_tensor_place place;
        struct syn_kernel_call init;

        if (!syn_engine_is_fresh(call, i))
            continue;
        impl = syn_engine_init_call(call, i, &place, &init);
        assert(impl != NULL);
        rc = syn_program_launch(seat->programs, impl, &init, &place, call->scratch, &cmd, err);
    }
    return rc;
}

static SYN_MUST int
make_scratch(struct syn_engine_task *call, const struct syn_kernel_impl *impl,
             const struct syn_kernel_call *seen, struct syn_err *err)
{
    const struct syn_engine_seat *seat = call->seat;
    uint64_t before = call->shared != 0 ? init_scratch(call) : 0;
    uint64_t own = syn_program_scratch(seat->programs, impl, seen);
    uint64_t bytes = SYN_MAX(own, before);
    int rc = bytes == 0 ? SYN_OK : syn_dev_alloc(seat->dev, bytes, &call->scratch, err);

    if (rc == SYN_DRV_FULL)
        return SYN_FAIL(err, SYN_E_NOSPACE, "%s has no room for %llu bytes of scratch memory",
                        seat->info->id, (unsigned long long)bytes);
    return rc;
}

static SYN_MUST int
launch(struct syn_engine_task *call, struct syn_err *err)
{
    struct syn_engine_seat *seat = call->seat;
    struct syn_tensor_place places[SYN_OPERANDS_MAX];
    struct syn_dev_cmd cmd = {0};
    const struct syn_kernel_impl *impl;
    struct syn_kernel_call seen;
    int rc = SYN_OK;

    syn_engine_call_of(call, places, &seen);
    impl = syn_kernel_pick(call->kernel, &seen, seat->info);
    if (impl == NULL)
        return SYN_FAIL(err, SYN_E_INTERNAL, "%s: none for how its tensors lie on %s",
                        call->kernel->name, seat->info->id);
    if (seat->queue == NULL)
        rc = syn_dev_queue_create(seat->dev, 0, &seat->queue, err);
    if (rc == SYN_OK)
        rc = make_scratch(call, impl, &seen, err);
    if (rc < 0)
        return rc;
    assert(seat->events_count > 0); /* one for each that flies */
    cmd.queue = seat->queue;
    call->failures = seat->failures;
    call->event = cmd.signal = seat->events[--seat->events_count];
    call->begun_ns = syn_clock_ns();
    if (call->shared != 0)
        rc = launch_inits(call, err);
    if (rc == SYN_OK)
        rc = syn_program_launch(seat->programs, impl, &seen, places, call->scratch, &cmd, err);
    if (rc < 0) /* of several commands the first ones may run: they come to their end */
        seat->queue = syn_dev_queue_destroy(seat->queue);
    call->told = rc == SYN_OK && can_notify(seat) &&
                 syn_dev_event_notify(call->event, on_event, seat, NULL) == SYN_OK;
    return rc;
}

/* What failed before it flew: with the device, or by itself. */
static void
fail(struct syn_engine_seat *seat, struct syn_engine_task *call, bool held, struct syn_err *err)
{
    give_back(seat, call);
    if (err->code == SYN_E_UNAVAILABLE && seat->dev->lost) {
        lose(seat, err);
        syn_engine_again(call, held, err);
    } else {
        struct syn_engine_outcome outcome = {.code = err->code, .held = held};

        syn_engine_end(call, NULL, &outcome, err);
    }
}

static void
start(struct syn_engine_seat *seat, struct syn_engine_task *call)
{
    struct syn_err err;

    if (atomic_load_explicit(&seat->lost, memory_order_relaxed)) {
        (void)SYN_FAIL(&err, SYN_E_UNAVAILABLE, "%s is lost", seat->info->id);
        syn_engine_again(call, true, &err);
    } else if (launch(call, &err) < 0) {
        fail(seat, call, true, &err);
    } else {
        seat->flying[seat->flying_count++] = call;
    }
}

/* ---- what has ended ---- */

static void
measure(struct syn_engine_seat *seat, const struct syn_engine_task *call,
        struct syn_engine_outcome *outcome)
{
    int64_t now = syn_clock_ns();
    struct syn_dev_span span = {.energy_uj = -1};
    struct syn_err err;

    outcome->busy_ns =
        (uint64_t)(now - (call->begun_ns > seat->idle_ns ? call->begun_ns : seat->idle_ns));
    if ((seat->info->caps & SYN_CAP_TIMES) != 0 &&
        syn_dev_event_span(call->event, &span, &err) == SYN_OK)
        outcome->busy_ns = (uint64_t)(span.end_ns - span.start_ns);
    outcome->energy_source = SYN_POWER_MODELLED;
    outcome->energy_uj = outcome->busy_ns * seat->busy_mw / 1000000;
    if (span.energy_uj >= 0) {
        outcome->energy_uj = (uint64_t)span.energy_uj;
        outcome->energy_source = span.modelled ? SYN_POWER_MODELLED : SYN_POWER_MEASURED;
    }
    seat->idle_ns = outcome->ended_ns = now;
}

/* How the call went. An answer that is an error may be the question's own: asked again, and again
 * when nothing runs there any more, the event tells the truth. */
static int
ask(struct syn_engine_seat *seat, const struct syn_engine_task *call, struct syn_err *err)
{
    int rc = syn_dev_event_poll(call->event, err);

    if (rc < 0 && !seat->dev->lost)
        rc = syn_dev_event_poll(call->event, err);
    if (rc < 0 && !seat->dev->lost) {
        seat->queue = syn_dev_queue_destroy(seat->queue);
        rc = syn_dev_event_poll(call->event, err);
    }
    return rc;
}

/* It did not run, because one before it on the queue failed. */
static bool
was_taken_along(const struct syn_engine_seat *seat, const struct syn_engine_task *call, int rc)
{
    return rc == SYN_E_CANCELED && seat->failures != call->failures;
}

/* Look at the oldest call in flight. False: it still flies. */
static bool
land(struct syn_engine_seat *seat)
{
    struct syn_engine_task *call = seat->flying[0];
    struct syn_engine_outcome outcome = {.held = true};
    struct syn_err err;
    int rc = ask(seat, call, &err);

    if (rc == SYN_DRV_PENDING) {
        int64_t limit = seat->engine->timeout_ns;

        if (limit == 0 || syn_clock_ns() - call->begun_ns < limit)
            return false;
        syn_dev_abandon(seat->dev);
        (void)SYN_FAIL(&err, SYN_E_TIMEOUT, "%s did not end within %lld ms", call->kernel->name,
                       (long long)(limit / 1000000));
        lose(seat, &err);
        return true;
    }
    if (rc < 0 && seat->dev->lost) {
        lose(seat, &err);
        return true;
    }
    seat->flying_count--;
    memmove(seat->flying, seat->flying + 1, seat->flying_count * sizeof(struct syn_engine_task *));
    if (rc == SYN_OK)
        measure(seat, call, &outcome);
    give_back(seat, call);
    if (was_taken_along(seat, call, rc)) {
        start(seat, call);
        return true;
    }
    outcome.code = SYN_MIN(rc, 0);
    outcome.ran = rc == SYN_OK;
    seat->failures += rc < 0;
    syn_engine_end(call, NULL, &outcome, &err);
    return true;
}

/* ---- the thread ---- */

static void
acquire(struct syn_engine_seat *seat, struct syn_engine_task *call)
{
    struct syn_err err;
    int rc = syn_engine_acquire(call, &err);

    if (rc == SYN_MEMORY_PENDING)
        seat->acquiring++;
    else if (rc < 0)
        fail(seat, call, false, &err);
    else
        start(seat, call);
}

static bool
take_granted(struct syn_engine_seat *seat)
{
    struct syn_engine_task *call = syn_engine_granted(seat);
    struct syn_err err;

    if (call == NULL)
        return false;
    seat->acquiring--;
    if (call->granted_code == SYN_ENGINE_TURN) {
        acquire(seat, call);
    } else if (call->granted_code == SYN_OK) {
        start(seat, call);
    } else {
        syn_engine_refusal(call, &err);
        if (call->shared != 0 && syn_engine_does_without(call, err.code))
            acquire(seat, call);
        else
            fail(seat, call, false, &err);
    }
    return true;
}

static bool
take_next(struct syn_engine_seat *seat)
{
    struct syn_engine_task *call;
    struct syn_err err;
    int rc;

    if (seat->acquiring + seat->flying_count >= SYN_ENGINE_DEPTH)
        return false;
    call = syn_engine_pop(seat);
    if (call == NULL)
        return false;
    rc = syn_engine_begin(call);
    if (rc < 0) {
        (void)SYN_FAIL(&err, rc, "%s", syn_err_info(rc)->wire);
        fail(seat, call, false, &err);
        return true;
    }
    acquire(seat, call);
    return true;
}

static void
doze(struct syn_engine_seat *seat, uint32_t seen)
{
    atomic_store(&seat->asleep, true);
    syn_waitword_sleep(&seat->word.value, seen);
    atomic_store(&seat->asleep, false);
}

static void
park(struct syn_engine_seat *seat, uint32_t seen)
{
    syn_engine_trace_park(seat, true);
    doze(seat, seen);
    syn_engine_trace_park(seat, false);
}

static void
rest(struct syn_engine_seat *seat, uint32_t seen)
{
    struct syn_err err;
    int rc = SYN_OK;

    if (seat->flying_count > 0 && (!seat->flying[0]->told || seat->engine->timeout_ns > 0))
        rc = syn_dev_event_wait(seat->flying[0]->event, ASK_NS, &err);
    else if (seat->flying_count > 0)
        doze(seat, seen);
    else
        park(seat, seen);
    (void)rc; /* land() asks again */
}

void *
syn_engine_device_main(void *arg)
{
    struct syn_engine_seat *seat = arg;

    for (;;) {
        uint32_t seen = atomic_load_explicit(&seat->word.value, memory_order_acquire);
        bool moved = seat->flying_count > 0 && land(seat);

        while (take_granted(seat))
            moved = true;
        while (take_next(seat))
            moved = true;
        SYN_PERTURB();
        if (moved)
            continue;
        if (atomic_load_explicit(&seat->engine->closing, memory_order_acquire))
            return NULL;
        rest(seat, seen);
    }
}
