/* One run: a store with its limits, an instance, the guest's function, and how it ended. The guest
 * has a stack of its own; at each tick of the engine's clock it gives way, and the step ends. */
#include "call_priv.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#include "wasm_priv.h"

#define TABLES_MAX 1

static const char *const end_names[] = {
    [SYN_WASM_DONE] = "done",         [SYN_WASM_FAILED] = "failed", [SYN_WASM_TRAPPED] = "trapped",
    [SYN_WASM_DEADLINE] = "deadline", [SYN_WASM_FUEL] = "fuel",     [SYN_WASM_MEMORY] = "memory",
    [SYN_WASM_TOO_MUCH] = "too-much",
};

/* What people are told of an end that needs no more words. */
static const char *const end_texts[] = {
    [SYN_WASM_DEADLINE] = "did not answer in the time that it has",
    [SYN_WASM_FUEL] = "used up its fuel",
    [SYN_WASM_MEMORY] = "needs more memory than it may have",
    [SYN_WASM_TOO_MUCH] = "answered more than it may",
};

const char *
syn_wasm_end_name(enum syn_wasm_end end)
{
    assert((size_t)end < SYN_LEN(end_names));
    return end_names[end];
}

static void
set_why(struct wasm_call *call, const struct wt_bytes *text)
{
    int size = (int)SYN_MIN(text->size, sizeof(call->out->why) - 1);

    (void)snprintf(call->out->why, sizeof(call->out->why), "%.*s", size, text->data);
}

/* A trap of the guest's own, not one by which a host function ended it. */
static void
read_trap(struct wasm_call *call, const struct wt_trap *trap)
{
    struct wt_bytes text = {0};
    uint8_t code = 0;

    if (call->api->trap_code(trap, &code)) {
        call->out->end = code == WT_TRAP_INTERRUPT ? SYN_WASM_DEADLINE
                         : code == WT_TRAP_FUEL    ? SYN_WASM_FUEL
                                                   : SYN_WASM_TRAPPED;
    } else {
        call->out->end = SYN_WASM_TRAPPED;
    }
    call->api->trap_message(trap, &text);
    set_why(call, &text);
    call->api->bytes_delete(&text);
}

/* Wasmtime wraps some traps as errors; what the guest cannot be blamed for is none of them. */
static void
read_error(struct wasm_call *call, const struct wt_error *error, enum syn_wasm_end end)
{
    struct wt_bytes text = {0};

    call->out->end = end;
    call->api->error_message(error, &text);
    set_why(call, &text);
    call->api->bytes_delete(&text);
}

/* What is under way, and what Wasmtime writes into. */
enum stage { INSTANTIATING, RUNNING, ENDED };

struct syn_wasm_run {
    struct syn_wasm_module *module;
    struct wt_store *store;
    struct wt_future *future;
    struct wt_instance instance;
    struct wt_trap *trap;
    struct wt_error *error;
    struct wt_val result;
    enum stage stage;
    struct syn_wasm_limits limits;
    struct syn_wasm_outcome out;
    struct wasm_call call; /* last: its end is filled as it is used */
};

/* What Wasmtime left of a stage. False: the guest did not come through, and the outcome says why.
 */
static bool
came_through(struct syn_wasm_run *run, enum syn_wasm_end otherwise)
{
    struct wasm_call *call = &run->call;
    bool through = !run->trap && !run->error;

    if (!call->ended && run->trap)
        read_trap(call, run->trap);
    else if (!call->ended && run->error)
        read_error(call, run->error, otherwise);
    if (run->trap)
        call->api->trap_delete(run->trap);
    if (run->error)
        call->api->error_delete(run->error);
    run->trap = NULL;
    run->error = NULL;
    return through;
}

static struct wt_error *
set_limits(const struct wt_api *api, struct wt_store *store, const struct syn_wasm_limits *limits)
{
    struct wt_context *context = api->store_context(store);

    api->store_limit(store, limits->memory_bytes, limits->table_elements, 1, TABLES_MAX, 1);
    api->set_ticks(context, 1);
    api->yield_after(context, 1);
    return api->set_fuel(context, limits->fuel);
}

int
syn_wasm_begin(struct syn_wasm_module *module, const struct syn_wasm_request *request,
               const struct syn_wasm_limits *limits, const struct syn_wasm_sink *sink, void *ctx,
               struct syn_wasm_run **ret_run, struct syn_err *err)
{
    const struct wt_api *api = &module->wasm->api;
    struct syn_wasm_run *run;
    struct wt_error *error;

    if (!wasm_enter(module->wasm))
        return SYN_FAIL(err, SYN_E_LIMIT, "as many instances run as may at a time");
    run = syn_alloc(sizeof(*run));
    if (!run) {
        wasm_leave(module->wasm);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory");
    }
    memset(run, 0, offsetof(struct syn_wasm_run, call.headers));
    run->module = module;
    run->limits = *limits;
    run->call.api = api;
    run->call.request = request;
    run->call.limits = &run->limits;
    run->call.sink = sink;
    run->call.ctx = ctx;
    run->call.out = &run->out;
    run->call.status = 200;
    run->store = api->store_new(module->wasm->engine, &run->call, NULL);
    error = set_limits(api, run->store, limits);
    if (error) {
        (void)syn_wasm_run_free(run);
        return SYN_FAILED(wt_fail_take(api, error, SYN_E_INTERNAL, "limiting a guest", err));
    }
    *ret_run = run;
    return SYN_OK;
}

struct syn_wasm_run *
syn_wasm_run_free(struct syn_wasm_run *run)
{
    const struct wt_api *api;

    if (!run)
        return NULL;
    api = run->call.api;
    if (run->future)
        api->future_delete(run->future);
    if (run->store)
        api->store_delete(run->store);
    if (run->trap)
        api->trap_delete(run->trap);
    if (run->error)
        api->error_delete(run->error);
    syn_buf_fini(&run->call.cgi);
    syn_buf_fini(&run->call.line);
    syn_buf_fini(&run->call.environment);
    wasm_leave(run->module->wasm);
    syn_free(run);
    return NULL;
}

/* Begin what the stage is about. */
static void
start_stage(struct syn_wasm_run *run)
{
    const struct wt_api *api = run->call.api;
    struct wt_context *context = api->store_context(run->store);
    const char *name = run->module->command ? "_start" : "synor_handle";
    struct wt_extern entry;
    bool found;

    if (run->stage == INSTANTIATING) {
        run->future = api->pre_instantiate(run->module->pre, context, &run->instance, &run->trap,
                                           &run->error);
        return;
    }
    found = api->export_get(context, &run->instance, name, strlen(name), &entry) &&
            entry.kind == WT_EXTERN_FUNC;
    assert(found);
    run->future = api->func_call(context, &entry.of.func, NULL, 0, &run->result,
                                 run->module->command ? 0 : 1, &run->trap, &run->error);
}

/* The stage under way is over, by itself or because its time is. */
static void
end_stage(struct syn_wasm_run *run)
{
    run->call.api->future_delete(run->future);
    run->future = NULL;
    if (run->stage == INSTANTIATING && came_through(run, SYN_WASM_MEMORY)) {
        run->stage = RUNNING;
        return;
    }
    if (run->stage == RUNNING && came_through(run, SYN_WASM_TRAPPED) && !run->module->command &&
        run->out.end == SYN_WASM_DONE && run->result.of.i32 != 0) {
        run->out.end = SYN_WASM_FAILED;
        run->out.status = run->result.of.i32;
    }
    run->stage = ENDED;
}

static void
measure(struct syn_wasm_run *run)
{
    const struct wt_api *api = run->call.api;
    struct wt_context *context = api->store_context(run->store);
    struct wt_error *error;
    struct wt_extern memory;
    uint64_t fuel = 0;

    if (run->instance.store_id &&
        api->export_get(context, &run->instance, "memory", strlen("memory"), &memory) &&
        memory.kind == WT_EXTERN_MEMORY)
        run->out.memory_bytes = (int64_t)api->memory_size(context, &memory.of.memory);
    error = api->get_fuel(context, &fuel);
    if (error)
        api->error_delete(error);
    run->out.fuel_used = run->limits.fuel - fuel;
}

static void
say_why(struct syn_wasm_outcome *out)
{
    const char *text = (size_t)out->end < SYN_LEN(end_texts) ? end_texts[out->end] : NULL;

    if (out->end == SYN_WASM_FAILED)
        (void)snprintf(out->why, sizeof(out->why), "ended with status %d", out->status);
    else if (text)
        (void)snprintf(out->why, sizeof(out->why), "%s", text);
}

static int
finish(struct syn_wasm_run *run)
{
    struct wasm_call *call = &run->call;
    int rc = call->rc;

    measure(run);
    if (rc == SYN_OK && run->module->command)
        rc = wasm_wasi_finish(call);
    if (rc == SYN_OK && run->out.end == SYN_WASM_DONE)
        rc = wasm_send_head(call);
    say_why(&run->out);
    return rc;
}

int
syn_wasm_step(struct syn_wasm_run *run, struct syn_err *err)
{
    int64_t began = syn_clock_ns(), now;

    assert(run->stage != ENDED);
    run->call.err = err;
    while (run->stage != ENDED) {
        int64_t *spent = run->stage == INSTANTIATING ? &run->out.create_ns : &run->out.run_ns;
        bool over;

        if (!run->future)
            start_stage(run);
        over = run->call.api->future_poll(run->future);
        now = syn_clock_ns();
        *spent += now - began;
        began = now;
        if (!over && now < run->limits.deadline_ns)
            return SYN_WASM_PENDING;
        if (!over) {
            run->out.end = SYN_WASM_DEADLINE;
            run->call.ended = true;
            run->stage = RUNNING;
        }
        end_stage(run);
    }
    return finish(run);
}

int64_t
syn_wasm_wake_ns(const struct syn_wasm_run *run)
{
    return SYN_MIN(run->call.wake_ns, run->limits.deadline_ns);
}

const struct syn_wasm_outcome *
syn_wasm_outcome(const struct syn_wasm_run *run)
{
    assert(run->stage == ENDED);
    return &run->out;
}

int
syn_wasm_call(struct syn_wasm_module *module, const struct syn_wasm_request *request,
              const struct syn_wasm_limits *limits, const struct syn_wasm_sink *sink, void *ctx,
              struct syn_wasm_outcome *ret_outcome, struct syn_err *err)
{
    struct syn_wasm_run *run = NULL;
    int rc = syn_wasm_begin(module, request, limits, sink, ctx, &run, err);

    if (rc < 0)
        return rc;
    while ((rc = syn_wasm_step(run, err)) == SYN_WASM_PENDING) {
        int64_t wait = syn_wasm_wake_ns(run) - syn_clock_ns();
        struct timespec span = {wait / 1000000000, wait % 1000000000};

        if (wait > 0)
            (void)nanosleep(&span, NULL);
    }
    if (rc == SYN_OK)
        *ret_outcome = run->out;
    (void)syn_wasm_run_free(run);
    return rc;
}
