/* One call: a store with its limits, an instance, the guest's function, and how it ended. */
#include "call_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/clock.h>

#include "wasm_priv.h"

#define TABLES_MAX 1

static const char *const end_names[] = {
    [SYN_WASM_DONE] = "done",         [SYN_WASM_FAILED] = "failed", [SYN_WASM_TRAPPED] = "trapped",
    [SYN_WASM_DEADLINE] = "deadline", [SYN_WASM_FUEL] = "fuel",     [SYN_WASM_MEMORY] = "memory",
    [SYN_WASM_TOO_MUCH] = "too-much", [SYN_WASM_BUSY] = "busy",
};

/* What people are told of an end that needs no more words. */
static const char *const end_texts[] = {
    [SYN_WASM_DEADLINE] = "did not answer in the time that it has",
    [SYN_WASM_FUEL] = "used up its fuel",
    [SYN_WASM_MEMORY] = "needs more memory than it may have",
    [SYN_WASM_TOO_MUCH] = "answered more than it may",
    [SYN_WASM_BUSY] = "as many instances run as may at a time",
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

/* False: the guest did not come to its end, and the outcome says why. */
static bool
came_through(struct wasm_call *call, struct wt_error *error, struct wt_trap *trap,
             enum syn_wasm_end otherwise)
{
    if (!call->ended && trap)
        read_trap(call, trap);
    else if (!call->ended && error)
        read_error(call, error, otherwise);
    if (trap)
        call->api->trap_delete(trap);
    if (error)
        call->api->error_delete(error);
    return !trap && !error;
}

static void
run(struct wasm_call *call, const struct syn_wasm_module *module, struct wt_context *context)
{
    const struct wt_api *api = call->api;
    const char *name = module->command ? "_start" : "synor_handle";
    struct wt_instance instance = {0};
    struct wt_trap *trap = NULL;
    struct wt_extern entry;
    union wt_raw result = {.i64 = 0};
    struct wt_error *error;
    int64_t began = syn_clock_ns(), made;
    bool through;

    error = api->pre_instantiate(module->pre, context, &instance, &trap);
    made = syn_clock_ns();
    call->out->create_ns = made - began;
    if (!came_through(call, error, trap, SYN_WASM_MEMORY))
        return;
    trap = NULL;
    through = api->export_get(context, &instance, name, strlen(name), &entry) &&
              entry.kind == WT_EXTERN_FUNC;
    assert(through);
    error = api->func_call(context, &entry.of.func, &result, 1, &trap);
    call->out->run_ns = syn_clock_ns() - made;
    through = came_through(call, error, trap, SYN_WASM_TRAPPED);
    if (through && !module->command && result.i32 != 0) {
        call->out->end = SYN_WASM_FAILED;
        call->out->status = result.i32;
    }
    if (api->export_get(context, &instance, "memory", strlen("memory"), &entry) &&
        entry.kind == WT_EXTERN_MEMORY)
        call->out->memory_bytes = (int64_t)api->memory_size(context, &entry.of.memory);
}

static struct wt_error *
set_limits(const struct wt_api *api, struct wt_store *store, const struct syn_wasm_limits *limits)
{
    int64_t left = SYN_MAX(limits->deadline_ns - syn_clock_ns(), 0);

    api->store_limit(store, limits->memory_bytes, limits->table_elements, 1, TABLES_MAX, 1);
    /* The tick under way counts as none. */
    api->set_ticks(api->store_context(store),
                   (uint64_t)(SYN_MIN(left, INT64_MAX / 2) / SYN_WASM_TICK_NS) + 2);
    return api->set_fuel(api->store_context(store), limits->fuel);
}

static int
call_guest(struct wasm_call *call, const struct syn_wasm_module *module)
{
    const struct wt_api *api = call->api;
    struct wt_store *store = api->store_new(module->wasm->engine, call, NULL);
    struct wt_error *error = set_limits(api, store, call->limits);
    uint64_t fuel = 0;
    int rc;

    if (error) {
        api->store_delete(store);
        return wt_fail_take(api, error, SYN_E_INTERNAL, "limiting a guest", call->err);
    }
    run(call, module, api->store_context(store));
    error = api->get_fuel(api->store_context(store), &fuel);
    if (error)
        api->error_delete(error);
    call->out->fuel_used = call->limits->fuel - fuel;
    api->store_delete(store);
    if (call->rc < 0)
        return call->rc;
    rc = module->command ? wasm_wasi_finish(call) : SYN_OK;
    if (rc == SYN_OK && call->out->end == SYN_WASM_DONE)
        rc = wasm_send_head(call);
    return rc;
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

int
syn_wasm_call(struct syn_wasm_module *module, const struct syn_wasm_request *request,
              const struct syn_wasm_limits *limits, const struct syn_wasm_sink *sink, void *ctx,
              struct syn_wasm_outcome *ret_outcome, struct syn_err *err)
{
    struct syn_wasm_outcome out = {.end = SYN_WASM_DONE};
    struct wasm_call call; /* its long arrays are filled as they are used */
    int rc;

    if (!wasm_enter(module->wasm)) {
        out.end = SYN_WASM_BUSY;
        say_why(&out);
        *ret_outcome = out;
        return SYN_OK;
    }
    memset(&call, 0, offsetof(struct wasm_call, headers));
    call.api = &module->wasm->api;
    call.request = request;
    call.limits = limits;
    call.sink = sink;
    call.ctx = ctx;
    call.err = err;
    call.out = &out;
    call.status = 200;
    rc = call_guest(&call, module);
    wasm_leave(module->wasm);
    syn_buf_fini(&call.cgi);
    syn_buf_fini(&call.line);
    syn_buf_fini(&call.environment);
    if (rc < 0)
        return rc;
    say_why(&out);
    *ret_outcome = out;
    return SYN_OK;
}
