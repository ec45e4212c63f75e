/* Our contract with guests: the rows at the end of this file. Every function returns at once; what
 * it is given is looked at before it is used, and is copied while the guest stands still. */
#include "call_priv.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <synor/base/clock.h>

#include "cgi_priv.h"

enum { PART_ID, PART_METHOD, PART_PATH, PART_QUERY, PART_BODY };

#define RANDOM_MAX 65536

struct wasm_call *
wasm_call_of(void *env, struct wt_caller *caller)
{
    const struct wt_api *api = env;

    return api->get_data(api->caller_context(caller));
}

void *
wasm_guest(struct wasm_call *call, struct wt_caller *caller, uint32_t at, uint32_t size)
{
    const struct wt_api *api = call->api;
    struct wt_context *context = api->caller_context(caller);
    struct wt_extern memory;
    uint64_t end = (uint64_t)at + size;

    if (!call->memory_known) {
        if (!api->caller_export(caller, "memory", strlen("memory"), &memory) ||
            memory.kind != WT_EXTERN_MEMORY)
            return NULL;
        call->memory = memory.of.memory;
        call->memory_known = true;
    }
    if (end > api->memory_size(context, &call->memory))
        return NULL;
    return api->memory_data(context, &call->memory) + at;
}

struct wt_trap *
wasm_bad_memory(struct wasm_call *call)
{
    static const char text[] = "a host function was given memory that the guest does not have";

    return call->api->trap_new(text, sizeof(text) - 1);
}

struct wt_trap *
wasm_end(struct wasm_call *call, enum syn_wasm_end end)
{
    static const char text[] = "ended by the host";

    call->ended = true;
    call->out->end = end;
    return call->api->trap_new(text, sizeof(text) - 1);
}

bool
wasm_set_status(struct wasm_call *call, int status)
{
    if (call->out->head_sent || status < 200 || status > 599)
        return false;
    call->status = status;
    return true;
}

bool
wasm_add_header(struct wasm_call *call, struct syn_wasm_text name, struct syn_wasm_text value)
{
    struct syn_wasm_header *header = &call->headers[call->header_count];
    char *at = call->header_text + call->header_bytes;

    if (call->out->head_sent || call->header_count == SYN_LEN(call->headers) ||
        name.size > sizeof(call->header_text) - call->header_bytes ||
        value.size > sizeof(call->header_text) - call->header_bytes - name.size ||
        !wasm_header_name_ok(name) || !wasm_header_value_ok(value))
        return false;
    memcpy(at, name.at, name.size);
    if (value.size)
        memcpy(at + name.size, value.at, value.size);
    *header = (struct syn_wasm_header){{at, name.size}, {at + name.size, value.size}};
    call->header_bytes += name.size + value.size;
    call->header_count++;
    return true;
}

int
wasm_send_head(struct wasm_call *call)
{
    if (call->out->head_sent)
        return SYN_OK;
    call->out->head_sent = true;
    return call->sink->head(call->ctx, call->status, call->headers, call->header_count, call->err);
}

static struct wt_trap *
refused(struct wasm_call *call, int rc)
{
    call->rc = rc;
    return wasm_end(call, SYN_WASM_FAILED);
}

struct wt_trap *
wasm_write(struct wasm_call *call, const void *bytes, size_t size)
{
    int rc = wasm_send_head(call);

    if (rc < 0)
        return refused(call, rc);
    if ((int64_t)size > call->limits->response_bytes - call->wrote)
        return wasm_end(call, SYN_WASM_TOO_MUCH);
    call->wrote += (int64_t)size;
    rc = size ? call->sink->body(call->ctx, bytes, size, call->err) : SYN_OK;
    return rc < 0 ? refused(call, rc) : NULL;
}

void
wasm_log(struct wasm_call *call, enum syn_wasm_level level, const char *text, size_t size)
{
    while (size) {
        const char *end = memchr(text, '\n', SYN_MIN(size, SYN_WASM_LOG_LINE_MAX));
        size_t line = end ? (size_t)(end - text) : SYN_MIN(size, SYN_WASM_LOG_LINE_MAX);

        if ((int64_t)line > call->limits->log_bytes - call->logged) {
            call->out->log_dropped_bytes += (int64_t)size;
            return;
        }
        call->logged += (int64_t)line;
        call->sink->log(call->ctx, level, text, line);
        line += end != NULL;
        text += line;
        size -= line;
    }
}

/* Copy what fits of `from`, and tell how much there is. */
static struct wt_trap *
give(struct wasm_call *call, struct wt_caller *caller, struct syn_wasm_text from, uint32_t at,
     uint32_t cap, union wt_raw *ret)
{
    void *to = wasm_guest(call, caller, at, cap);
    size_t size = SYN_MIN(from.size, cap);

    if (!to)
        return wasm_bad_memory(call);
    if (size)
        memcpy(to, from.at, size);
    ret->u32 = (uint32_t)SYN_MIN(from.size, INT32_MAX);
    return NULL;
}

/* request_get(part, from, at, cap) */
static struct wt_trap *
request_get(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const struct syn_wasm_request *request = call->request;
    const struct syn_wasm_text parts[] = {
        [PART_ID] = request->id,       [PART_METHOD] = request->method, [PART_PATH] = request->path,
        [PART_QUERY] = request->query, [PART_BODY] = request->body,
    };
    uint32_t part = values[0].u32, from = values[1].u32, cap = values[3].u32;
    struct wt_trap *trap;
    uint32_t size;

    if (part >= SYN_LEN(parts)) {
        values[0].i32 = -1;
        return NULL;
    }
    size = (uint32_t)SYN_MIN(parts[part].size, INT32_MAX);
    from = SYN_MIN(from, size);
    trap = give(call, caller, (struct syn_wasm_text){parts[part].at + from, size - from},
                values[2].u32, cap, &values[0]);
    values[0].u32 = size;
    return trap;
}

/* request_header(index, at, cap): "name: value" */
static struct wt_trap *
request_header(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const struct syn_wasm_request *request = call->request;
    SYN_BUF(text);

    if (values[0].u32 >= request->header_count) {
        values[0].i32 = -1;
        return NULL;
    }
    syn_buf_add(&text, request->headers[values[0].u32].name.at,
                request->headers[values[0].u32].name.size);
    syn_buf_adds(&text, ": ");
    syn_buf_add(&text, request->headers[values[0].u32].value.at,
                request->headers[values[0].u32].value.size);
    if (syn_buf_ok(&text, NULL) < 0)
        return wasm_end(call, SYN_WASM_MEMORY);
    return give(call, caller, (struct syn_wasm_text){text.data, text.len}, values[1].u32,
                values[2].u32, &values[0]);
}

/* request_header_named(name, name_size, at, cap) */
static struct wt_trap *
request_header_named(void *env, struct wt_caller *caller, union wt_raw *values,
                     size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const struct syn_wasm_request *request = call->request;
    const char *name = wasm_guest(call, caller, values[0].u32, values[1].u32);

    if (!name)
        return wasm_bad_memory(call);
    for (size_t i = 0; i < request->header_count; i++) {
        struct syn_wasm_text other = request->headers[i].name;

        if (other.size == values[1].u32 && strncasecmp(other.at, name, other.size) == 0)
            return give(call, caller, request->headers[i].value, values[2].u32, values[3].u32,
                        &values[0]);
    }
    values[0].i32 = -1;
    return NULL;
}

/* environment(name, name_size, at, cap) */
static struct wt_trap *
environment(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const char *name = wasm_guest(call, caller, values[0].u32, values[1].u32);
    const char *const *item = call->request->environment;
    size_t size = values[1].u32;

    if (!name)
        return wasm_bad_memory(call);
    for (; item && *item; item++) {
        if (strncmp(*item, name, size) == 0 && (*item)[size] == '=')
            return give(call, caller,
                        (struct syn_wasm_text){*item + size + 1, strlen(*item + size + 1)},
                        values[2].u32, values[3].u32, &values[0]);
    }
    values[0].i32 = -1;
    return NULL;
}

static struct wt_trap *
response_status(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    values[0].i32 = wasm_set_status(wasm_call_of(env, caller), values[0].i32) ? 0 : -1;
    return NULL;
}

/* response_header(name, name_size, value, value_size) */
static struct wt_trap *
response_header(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const char *name = wasm_guest(call, caller, values[0].u32, values[1].u32);
    const char *value = wasm_guest(call, caller, values[2].u32, values[3].u32);

    if (!name || !value)
        return wasm_bad_memory(call);
    values[0].i32 = wasm_add_header(call, (struct syn_wasm_text){name, values[1].u32},
                                    (struct syn_wasm_text){value, values[3].u32})
                        ? 0
                        : -1;
    return NULL;
}

/* response_write(at, size) */
static struct wt_trap *
response_write(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const void *bytes = wasm_guest(call, caller, values[0].u32, values[1].u32);

    return bytes ? wasm_write(call, bytes, values[1].u32) : wasm_bad_memory(call);
}

/* log(level, at, size) */
static struct wt_trap *
log_text(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    const char *text = wasm_guest(call, caller, values[1].u32, values[2].u32);

    if (!text)
        return wasm_bad_memory(call);
    wasm_log(call, (enum syn_wasm_level)SYN_MIN(values[0].u32, (uint32_t)SYN_WASM_ERROR), text,
             values[2].u32);
    return NULL;
}

static struct wt_trap *
time_ms(void *env SYN_UNUSED, struct wt_caller *caller SYN_UNUSED, union wt_raw *values,
        size_t SYN_UNUSED count)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    values[0].i64 = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return NULL;
}

static struct wt_trap *
remaining_ms(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    int64_t left = wasm_call_of(env, caller)->limits->deadline_ns - syn_clock_ns();

    values[0].i64 = SYN_MAX(left, 0) / 1000000;
    return NULL;
}

/* random(at, size): 0, or -1 if more than RANDOM_MAX are asked for */
static struct wt_trap *
random_bytes(void *env, struct wt_caller *caller, union wt_raw *values, size_t SYN_UNUSED count)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    void *to = wasm_guest(call, caller, values[0].u32, values[1].u32);
    size_t size = values[1].u32;

    if (!to)
        return wasm_bad_memory(call);
    values[0].i32 = size <= RANDOM_MAX && getrandom(to, size, 0) == (ssize_t)size ? 0 : -1;
    return NULL;
}

const struct wasm_host_row wasm_own_rows[] = {
    {"request_get", "iiii:i", request_get, NULL},
    {"request_header", "iii:i", request_header, NULL},
    {"request_header_named", "iiii:i", request_header_named, NULL},
    {"environment", "iiii:i", environment, NULL},
    {"response_status", "i:i", response_status, NULL},
    {"response_header", "iiii:i", response_header, NULL},
    {"response_write", "ii:", response_write, NULL},
    {"log", "iii:", log_text, NULL},
    {"time_ms", ":I", time_ms, NULL},
    {"remaining_ms", ":I", remaining_ms, NULL},
    {"random", "ii:i", random_bytes, NULL},
};
const size_t wasm_own_row_count = SYN_LEN(wasm_own_rows);
