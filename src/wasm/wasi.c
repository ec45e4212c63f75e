/* WASI preview 1 for a command: the request is its standard input and, as CGI has it, its
 * environment; its standard output is the answer, its standard error the log. There are no other
 * files, no sockets and no signals: what needs them is refused with an error number, as a system
 * would that does not have them. While a command sleeps, others run. */
#include "call_priv.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <synor/base/clock.h>

#include "cgi_priv.h"

/* errno of WASI */
enum { OK = 0, BADF = 8, INVAL = 28, IO = 29, NOENT = 44, NOSYS = 52, SPIPE = 70, NOTCAPABLE = 76 };

enum { STDIN, STDOUT, STDERR, FDS };

#define RIGHT_READ     (UINT64_C(1) << 1)
#define RIGHT_WRITE    (UINT64_C(1) << 6)
#define VECTORS_MAX    1024
#define RANDOM_MAX     65536
#define SUBSCRIPTION   48
#define EVENT          32
#define SUBSCRIPTIONS  64
#define ABSOLUTE       1
#define HEADER_ENV_MAX 256

static void
put(uint8_t *at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t
get(const uint8_t *at, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* What most functions begin with. */
#define WASI(name)                                                              \
    static struct wt_trap *name(void *env, struct wt_caller *caller SYN_UNUSED, \
                                union wt_raw *values, size_t count SYN_UNUSED)

static struct wt_trap *
result(union wt_raw *values, int error)
{
    values[0].i32 = error;
    return NULL;
}

/* Write `value` where the guest wants it. */
static struct wt_trap *
put_guest(struct wasm_call *call, struct wt_caller *caller, uint32_t at, uint64_t value,
          uint32_t size)
{
    uint8_t *to = wasm_guest(call, caller, at, size);

    if (!to)
        return wasm_bad_memory(call);
    put(to, value, size);
    return NULL;
}

/* HTTP_ACCEPT_LANGUAGE of Accept-Language, as RFC 3875 has it */
static void
add_header(struct syn_buf *to, const struct syn_wasm_header *header)
{
    bool plain = wasm_text_is(header->name, "Content-Type");

    if (header->name.size > HEADER_ENV_MAX || wasm_text_is(header->name, "Content-Length") ||
        wasm_text_is(header->name, "Authorization") || wasm_text_is(header->name, "Proxy") ||
        memchr(header->value.at, 0, header->value.size))
        return;
    syn_buf_adds(to, plain ? "" : "HTTP_");
    for (size_t i = 0; i < header->name.size; i++) {
        char c = header->name.at[i];

        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (c == '-')
            c = '_';
        syn_buf_addc(to, c);
    }
    syn_buf_addc(to, '=');
    syn_buf_add(to, header->value.at, header->value.size);
    syn_buf_addc(to, 0);
}

static void
add_text(struct wasm_call *call, const char *name, struct syn_wasm_text text)
{
    if (text.size && memchr(text.at, 0, text.size))
        return;
    syn_buf_adds(&call->environment, name);
    syn_buf_addc(&call->environment, '=');
    if (text.size)
        syn_buf_add(&call->environment, text.at, text.size);
    syn_buf_addc(&call->environment, 0);
}

/* All variables, each with its NUL, made when they are asked for. */
static bool
environment(struct wasm_call *call)
{
    const struct syn_wasm_request *request = call->request;
    struct syn_buf *to = &call->environment;

    if (to->len)
        return true;
    for (const char *const *item = request->environment; item && *item; item++)
        syn_buf_add(to, *item, strlen(*item) + 1);
    add_text(call, "GATEWAY_INTERFACE", (struct syn_wasm_text){"CGI/1.1", 7});
    add_text(call, "REQUEST_METHOD", request->method);
    add_text(call, "PATH_INFO", request->path);
    add_text(call, "QUERY_STRING", request->query);
    add_text(call, "SYNOR_REQUEST_ID", request->id);
    syn_buf_addf(to, "CONTENT_LENGTH=%zu", request->body.size);
    syn_buf_addc(to, 0);
    syn_buf_addf(to, "SYNOR_DEADLINE_MS=%lld",
                 (long long)(SYN_MAX(call->limits->deadline_ns - syn_clock_ns(), 0) / 1000000));
    syn_buf_addc(to, 0);
    for (size_t i = 0; i < request->header_count; i++)
        add_header(to, &request->headers[i]);
    if (syn_buf_ok(to, NULL) < 0)
        return false;
    for (size_t i = 0; i < to->len; i++)
        call->environment_count += to->data[i] == 0;
    return true;
}

static const char program[] = "function";

/* Strings one behind the other, and an array of where they are. */
static struct wt_trap *
strings(struct wasm_call *call, struct wt_caller *caller, union wt_raw *values, const char *from,
        size_t size, size_t number)
{
    uint8_t *pointers = wasm_guest(call, caller, values[0].u32, (uint32_t)(number * 4));
    uint8_t *to = wasm_guest(call, caller, values[1].u32, (uint32_t)size);
    uint32_t at = values[1].u32;

    if (!pointers || !to)
        return wasm_bad_memory(call);
    memcpy(to, from, size);
    for (size_t i = 0, begin = 0; i < number; i++) {
        put(pointers + i * 4, at + begin, 4);
        begin += strlen(from + begin) + 1;
    }
    return result(values, OK);
}

static struct wt_trap *
sizes(struct wasm_call *call, struct wt_caller *caller, union wt_raw *values, size_t number,
      size_t size)
{
    struct wt_trap *trap = put_guest(call, caller, values[0].u32, number, 4);

    if (!trap)
        trap = put_guest(call, caller, values[1].u32, size, 4);
    return trap ? trap : result(values, OK);
}

WASI(args_get)
{
    return strings(wasm_call_of(env, caller), caller, values, program, sizeof(program), 1);
}

WASI(args_sizes_get)
{
    return sizes(wasm_call_of(env, caller), caller, values, 1, sizeof(program));
}

WASI(environ_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);

    if (!environment(call))
        return wasm_end(call, SYN_WASM_MEMORY);
    return strings(call, caller, values, call->environment.data, call->environment.len,
                   call->environment_count);
}

WASI(environ_sizes_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);

    if (!environment(call))
        return wasm_end(call, SYN_WASM_MEMORY);
    return sizes(call, caller, values, call->environment_count, call->environment.len);
}

/* The clock of WASI's number: realtime, monotonic, and this thread's for the process's. */
static bool
clock_of(uint32_t number, clockid_t *ret_clock)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID,
                                       CLOCK_THREAD_CPUTIME_ID};

    if (number >= SYN_LEN(clocks))
        return false;
    *ret_clock = clocks[number];
    return true;
}

static int64_t
read_clock(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

WASI(clock_res_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    struct wt_trap *trap;
    clockid_t clock;

    if (!clock_of(values[0].u32, &clock))
        return result(values, INVAL);
    trap = put_guest(call, caller, values[1].u32, 1, 8);
    return trap ? trap : result(values, OK);
}

WASI(clock_time_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    struct wt_trap *trap;
    clockid_t clock;

    if (!clock_of(values[0].u32, &clock))
        return result(values, INVAL);
    trap = put_guest(call, caller, values[2].u32, (uint64_t)read_clock(clock), 8);
    return trap ? trap : result(values, OK);
}

WASI(fd_close)
{
    (void)env;
    return result(values, values[0].u32 < FDS ? OK : BADF);
}

/* type (of no file that there is), flags, what may be done */
WASI(fd_fdstat_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    uint8_t *to = wasm_guest(call, caller, values[1].u32, 24);

    if (!to)
        return wasm_bad_memory(call);
    if (values[0].u32 >= FDS)
        return result(values, BADF);
    memset(to, 0, 24);
    put(to + 8, values[0].u32 == STDIN ? RIGHT_READ : RIGHT_WRITE, 8);
    return result(values, OK);
}

WASI(fd_filestat_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    uint8_t *to = wasm_guest(call, caller, values[1].u32, 64);

    if (!to)
        return wasm_bad_memory(call);
    if (values[0].u32 >= FDS)
        return result(values, BADF);
    memset(to, 0, 64);
    return result(values, OK);
}

/* The vector `index` of those at `at`: where its bytes are. NULL: not in the guest's memory. */
static void *
vector(struct wasm_call *call, struct wt_caller *caller, uint32_t at, uint32_t index,
       uint32_t *ret_size)
{
    const uint8_t *pair = wasm_guest(call, caller, at + index * 8, 8);

    if (!pair)
        return NULL;
    *ret_size = (uint32_t)get(pair + 4, 4);
    return wasm_guest(call, caller, (uint32_t)get(pair, 4), *ret_size);
}

WASI(fd_read)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    struct syn_wasm_text body = call->request->body;
    struct wt_trap *trap;
    uint64_t total = 0;

    if (values[0].u32 != STDIN)
        return result(values, BADF);
    if (values[2].u32 > VECTORS_MAX)
        return result(values, INVAL);
    for (uint32_t i = 0; i < values[2].u32; i++) {
        uint32_t size = 0;
        void *to = vector(call, caller, values[1].u32, i, &size);
        size_t part = SYN_MIN(size, body.size - call->asked);

        if (!to)
            return wasm_bad_memory(call);
        if (part)
            memcpy(to, body.at + call->asked, part);
        call->asked += part;
        total += part;
    }
    trap = put_guest(call, caller, values[3].u32, total, 4);
    return trap ? trap : result(values, OK);
}

static struct wt_trap *
no_memory(struct wasm_call *call)
{
    call->rc = SYN_FAIL(call->err, SYN_E_NOMEM, "out of memory");
    return wasm_end(call, SYN_WASM_FAILED);
}

static void
take_head(struct wasm_call *call, struct syn_wasm_text head)
{
    struct syn_wasm_text name, value;

    while (wasm_cgi_next(&head, &name, &value)) {
        if (!wasm_text_is(name, "Status"))
            (void)wasm_add_header(call, name, value); /* as many and as long as there is room for */
        else if (wasm_cgi_status(value))
            (void)wasm_set_status(call, wasm_cgi_status(value));
        if (wasm_text_is(name, "Location") && call->status == 200)
            (void)wasm_set_status(call, 302);
    }
}

/* What is collected is passed on once it is known what it is. */
static struct wt_trap *
pass_on(struct wasm_call *call, bool ended)
{
    size_t head = 0;
    enum wasm_cgi what;

    if (syn_buf_ok(&call->cgi, NULL) < 0)
        return no_memory(call);
    what = wasm_cgi_look(syn_buf_text(&call->cgi), call->cgi.len, ended, &head);
    if (what == WASM_CGI_MORE)
        return NULL;
    call->cgi_known = true;
    if (what == WASM_CGI_HEAD)
        take_head(call, (struct syn_wasm_text){call->cgi.data, head});
    return call->cgi.len > head ? wasm_write(call, call->cgi.data + head, call->cgi.len - head)
                                : NULL;
}

static struct wt_trap *
output(struct wasm_call *call, const void *bytes, size_t size)
{
    if (call->cgi_known)
        return wasm_write(call, bytes, size);
    if ((int64_t)size > call->limits->response_bytes + SYN_WASM_HEADER_BYTES_MAX)
        return wasm_end(call, SYN_WASM_TOO_MUCH);
    syn_buf_add(&call->cgi, bytes, size);
    return pass_on(call, false);
}

/* Whole lines go to the log, the rest waits for its end. */
static void
errors(struct wasm_call *call, const char *text, size_t size)
{
    while (size) {
        const char *end = memchr(text, '\n', size);
        size_t part =
            SYN_MIN(end ? (size_t)(end - text) : size, SYN_WASM_LOG_LINE_MAX - call->line.len);

        syn_buf_add(&call->line, text, part);
        if (end == text + part || call->line.len == SYN_WASM_LOG_LINE_MAX) {
            wasm_log(call, SYN_WASM_ERROR, syn_buf_text(&call->line), call->line.len);
            syn_buf_clear(&call->line);
            part += end == text + part;
        }
        text += part;
        size -= part;
    }
}

WASI(fd_write)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    struct wt_trap *trap = NULL;
    uint64_t total = 0;

    if (values[0].u32 != STDOUT && values[0].u32 != STDERR)
        return result(values, BADF);
    if (values[2].u32 > VECTORS_MAX)
        return result(values, INVAL);
    for (uint32_t i = 0; i < values[2].u32 && !trap; i++) {
        uint32_t size = 0;
        void *from = vector(call, caller, values[1].u32, i, &size);

        if (!from)
            return wasm_bad_memory(call);
        if (values[0].u32 == STDOUT)
            trap = output(call, from, size);
        else
            errors(call, from, size);
        total += size;
    }
    if (!trap)
        trap = put_guest(call, caller, values[3].u32, SYN_MIN(total, UINT32_MAX), 4);
    return trap ? trap : result(values, OK);
}

/* When the first of the waits is over, in ns from now; -1: there is something that does not wait.
 */
static int64_t
earliest(const uint8_t *in, uint32_t number, uint32_t *ret_which)
{
    int64_t first = INT64_MAX;

    for (uint32_t i = 0; i < number; i++, in += SUBSCRIPTION) {
        uint64_t wait = get(in + 24, 8);
        clockid_t clock;

        *ret_which = first == INT64_MAX ? i : *ret_which;
        if (in[8] != 0 || !clock_of((uint32_t)get(in + 16, 4), &clock)) {
            *ret_which = i;
            return -1;
        }
        if (get(in + 40, 2) & ABSOLUTE)
            wait -= SYN_MIN(wait, (uint64_t)read_clock(clock));
        if (wait < (uint64_t)first) {
            first = (int64_t)wait;
            *ret_which = i;
        }
    }
    return first;
}

static bool
slept(void *env)
{
    struct wasm_call *call = env;

    if (syn_clock_ns() < call->wake_ns)
        return false;
    call->wake_ns = 0;
    return true;
}

/* The event of the first that is ready, written before the wait for it. Files are always ready. */
static struct wt_trap *
tell_first(struct wasm_call *call, struct wt_caller *caller, const struct wt_val *args,
           int64_t *ret_wait)
{
    uint32_t number = (uint32_t)args[2].of.i32, which = 0;
    const uint8_t *in = wasm_guest(call, caller, (uint32_t)args[0].of.i32, number * SUBSCRIPTION);
    uint8_t *out = wasm_guest(call, caller, (uint32_t)args[1].of.i32, EVENT);
    uint8_t event[EVENT] = {0};

    if (!in || !out)
        return wasm_bad_memory(call);
    *ret_wait = earliest(in, number, &which);
    in += (size_t)which * SUBSCRIPTION;
    memcpy(event, in, 8);
    event[10] = in[8];
    put(event + 16, call->request->body.size - call->asked, 8);
    memcpy(out, event, EVENT);
    return put_guest(call, caller, (uint32_t)args[3].of.i32, 1, 4);
}

/* poll_oneoff(in, out, number, ret_number) */
static void
/* NOLINTNEXTLINE(readability-function-size): Wasmtime's parameters */
poll_oneoff(void *env, struct wt_caller *caller, const struct wt_val *args,
            size_t arg_count SYN_UNUSED, struct wt_val *results, size_t result_count SYN_UNUSED,
            struct wt_trap **ret_trap, struct wt_continuation *ret_continuation)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    uint32_t number = (uint32_t)args[2].of.i32;
    bool valid = number > 0 && number <= SUBSCRIPTIONS;
    int64_t wait = 0;

    if (valid)
        *ret_trap = tell_first(call, caller, args, &wait);
    results[0].kind = WT_I32;
    results[0].of.i32 = valid ? OK : INVAL;
    call->wake_ns = wait > 0 ? wait + SYN_MIN(syn_clock_ns(), INT64_MAX - wait) : 0;
    *ret_continuation = (struct wt_continuation){slept, call, NULL};
}

WASI(proc_exit)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    int status = values[0].i32;
    struct wt_trap *trap = wasm_end(call, status == 0 ? SYN_WASM_DONE : SYN_WASM_FAILED);

    call->out->status = status;
    return trap;
}

WASI(sched_yield)
{
    (void)env;
    return result(values, OK);
}

WASI(random_get)
{
    struct wasm_call *call = wasm_call_of(env, caller);
    uint8_t *to = wasm_guest(call, caller, values[0].u32, values[1].u32);

    if (!to)
        return wasm_bad_memory(call);
    for (size_t left = values[1].u32, part; left; left -= part, to += part) {
        part = SYN_MIN(left, RANDOM_MAX);
        if (left > (size_t)RANDOM_MAX * 16 || getrandom(to, part, 0) != (ssize_t)part)
            return result(values, INVAL);
    }
    return result(values, OK);
}

/* The three streams cannot be sought in; there are no other files. */
WASI(no_seek)
{
    (void)env;
    return result(values, values[0].u32 < FDS ? SPIPE : BADF);
}

WASI(no_file)
{
    (void)env;
    return result(values, BADF);
}

WASI(not_there)
{
    (void)env;
    return result(values, NOTCAPABLE);
}

WASI(not_known)
{
    (void)env;
    return result(values, NOSYS);
}

int
wasm_wasi_finish(struct wasm_call *call)
{
    struct wt_trap *trap = NULL;

    if (call->line.len)
        wasm_log(call, SYN_WASM_ERROR, call->line.data, call->line.len);
    if (!call->cgi_known && call->cgi.len)
        trap = pass_on(call, true);
    if (trap)
        call->api->trap_delete(trap);
    return call->rc;
}

const struct wasm_host_row wasm_wasi_rows[] = {
    {"args_get", "ii:i", args_get, NULL},
    {"args_sizes_get", "ii:i", args_sizes_get, NULL},
    {"environ_get", "ii:i", environ_get, NULL},
    {"environ_sizes_get", "ii:i", environ_sizes_get, NULL},
    {"clock_res_get", "ii:i", clock_res_get, NULL},
    {"clock_time_get", "iIi:i", clock_time_get, NULL},
    {"fd_advise", "iIIi:i", no_seek, NULL},
    {"fd_allocate", "iII:i", no_seek, NULL},
    {"fd_close", "i:i", fd_close, NULL},
    {"fd_datasync", "i:i", no_seek, NULL},
    {"fd_fdstat_get", "ii:i", fd_fdstat_get, NULL},
    {"fd_fdstat_set_flags", "ii:i", not_known, NULL},
    {"fd_fdstat_set_rights", "iII:i", not_known, NULL},
    {"fd_filestat_get", "ii:i", fd_filestat_get, NULL},
    {"fd_filestat_set_size", "iI:i", no_seek, NULL},
    {"fd_filestat_set_times", "iIIi:i", no_seek, NULL},
    {"fd_pread", "iiiIi:i", no_seek, NULL},
    {"fd_prestat_get", "ii:i", no_file, NULL},
    {"fd_prestat_dir_name", "iii:i", no_file, NULL},
    {"fd_pwrite", "iiiIi:i", no_seek, NULL},
    {"fd_read", "iiii:i", fd_read, NULL},
    {"fd_readdir", "iiiIi:i", no_file, NULL},
    {"fd_renumber", "ii:i", no_file, NULL},
    {"fd_seek", "iIii:i", no_seek, NULL},
    {"fd_sync", "i:i", no_seek, NULL},
    {"fd_tell", "ii:i", no_seek, NULL},
    {"fd_write", "iiii:i", fd_write, NULL},
    {"path_create_directory", "iii:i", no_file, NULL},
    {"path_filestat_get", "iiiii:i", no_file, NULL},
    {"path_filestat_set_times", "iiiiIIi:i", no_file, NULL},
    {"path_link", "iiiiiii:i", no_file, NULL},
    {"path_open", "iiiiiIIii:i", no_file, NULL},
    {"path_readlink", "iiiiii:i", no_file, NULL},
    {"path_remove_directory", "iii:i", no_file, NULL},
    {"path_rename", "iiiiii:i", no_file, NULL},
    {"path_symlink", "iiiii:i", no_file, NULL},
    {"path_unlink_file", "iii:i", no_file, NULL},
    {"poll_oneoff", "iiii:i", NULL, poll_oneoff},
    {"proc_exit", "i:", proc_exit, NULL},
    {"proc_raise", "i:i", not_known, NULL},
    {"random_get", "ii:i", random_get, NULL},
    {"sched_yield", ":i", sched_yield, NULL},
    {"sock_accept", "iii:i", not_there, NULL},
    {"sock_recv", "iiiiii:i", not_there, NULL},
    {"sock_send", "iiiii:i", not_there, NULL},
    {"sock_shutdown", "ii:i", not_there, NULL},
};
const size_t wasm_wasi_row_count = SYN_LEN(wasm_wasi_rows);
