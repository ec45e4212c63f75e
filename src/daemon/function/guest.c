/* Guests of WebAssembly: the first tick on the loop, so that a quick one costs no hop; what is not
 * done then goes on, a tick at a time, on a few threads that take turns among all that run.
 *
 *     loop: begin, step --done--> answer
 *                 |                  ^
 *                 | pending          | posted
 *                 v                  |
 *     ready list --> thread: step --done
 *         ^                |
 *         '--- pending ----'   (asleep until its time, where it waits for that)
 *
 * A version whose guests were not quick lately goes to the threads at once: its ticks would add up
 * on the loop. A guest whose time is up is taken first, so that it is stopped in time whatever
 * else is there. */
#include "function_priv.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define SLOW_MAX    64
#define SLOW_FROM   8  /* above: not on the loop */
#define NICE        10 /* of the threads: the loop goes first */
#define THREADS_MAX 64
#define KEEP_BYTES  65536 /* of buffers, between two calls */

struct fgw_guest {
    struct fgw_guest *next; /* of the free, the ready or the sleeping */
    struct fgw_call *call;
    struct syn_wasm_run *run;
    struct syn_wasm_request request;
    struct syn_wasm_header headers[SYN_WASM_HEADERS_MAX];
    int64_t deadline_ns, wake_ns;
    atomic_bool canceled;
    unsigned steps; /* on threads */
    int rc;         /* of the last step */
    struct syn_err err;

    int status;
    struct syn_buf head; /* header lines as "name\0value\0" */
    struct syn_buf body;
    struct syn_buf logs; /* level, line, NUL */
};

struct fgw_guests {
    struct fgw *gateway;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct fgw_guest *ready, **ready_last; /* under `lock` */
    struct fgw_guest *asleep;              /* under `lock` */
    bool stop;                             /* under `lock` */
    pthread_t threads[THREADS_MAX];
    unsigned count;
};

/* --- what a guest says ------------------------------------------------------------------------ */

static int
take_head(void *ctx, int status, const struct syn_wasm_header *headers, size_t count,
          struct syn_err *err)
{
    struct fgw_guest *guest = ctx;

    guest->status = status;
    for (size_t i = 0; i < count; i++) {
        syn_buf_add(&guest->head, headers[i].name.at, headers[i].name.size);
        syn_buf_addc(&guest->head, '\0');
        syn_buf_add(&guest->head, headers[i].value.at, headers[i].value.size);
        syn_buf_addc(&guest->head, '\0');
    }
    return syn_buf_ok(&guest->head, err);
}

static int
take_body(void *ctx, const void *bytes, size_t size, struct syn_err *err)
{
    struct fgw_guest *guest = ctx;

    syn_buf_add(&guest->body, bytes, size);
    return syn_buf_ok(&guest->body, err);
}

static void
take_log(void *ctx, enum syn_wasm_level level, const char *line, size_t size)
{
    struct fgw_guest *guest = ctx;

    syn_buf_addc(&guest->logs, (char)('0' + (int)level));
    for (size_t i = 0; i < size; i++)
        syn_buf_addc(&guest->logs, (char)(line[i] != '\0' ? line[i] : ' '));
    syn_buf_addc(&guest->logs, '\0');
}

static const struct syn_wasm_sink sink = {.head = take_head, .body = take_body, .log = take_log};

/* --- making one ------------------------------------------------------------------------------- */

static void
guest_clear(struct fgw_guest *guest)
{
    struct syn_buf *const bufs[] = {&guest->head, &guest->body, &guest->logs};

    for (size_t i = 0; i < SYN_LEN(bufs); i++) {
        if (bufs[i]->cap > KEEP_BYTES)
            syn_buf_fini(bufs[i]);
        syn_buf_clear(bufs[i]);
    }
}

static struct fgw_guest *
guest_new(struct fgw_call *call)
{
    struct fgw *gateway = call->gateway;
    struct fgw_guest *guest = gateway->free_guests;

    if (guest != NULL)
        gateway->free_guests = guest->next;
    else
        guest = syn_calloc(1, sizeof(*guest));
    if (guest == NULL)
        return NULL;
    guest->call = call;
    guest->run = NULL;
    guest->status = 200;
    guest->deadline_ns = call->deadline_ns;
    guest->wake_ns = 0;
    guest->steps = 0;
    atomic_store_explicit(&guest->canceled, false, memory_order_relaxed);
    return guest;
}

static void
guest_release(struct fgw *gateway, struct fgw_guest *guest)
{
    if (guest->run != NULL)
        guest->run = syn_wasm_run_free(guest->run);
    guest_clear(guest);
    guest->call = NULL;
    guest->next = gateway->free_guests;
    gateway->free_guests = guest;
}

static struct syn_wasm_text
text_of(const char *text)
{
    return (struct syn_wasm_text){text, strlen(text)};
}

/* False: there are as many as there may be. */
static bool
give_header(struct fgw_guest *guest, const char *name, const char *value, size_t *bytes)
{
    struct syn_wasm_request *ask = &guest->request;
    struct syn_wasm_header *header = &guest->headers[ask->header_count];

    if (ask->header_count == SYN_WASM_HEADERS_MAX)
        return false;
    *header = (struct syn_wasm_header){text_of(name), text_of(value)};
    *bytes += header->name.size + header->value.size;
    ask->header_count++;
    return true;
}

/* As the client sent it, less what belongs to connections and to us. */
static int
fill_request(struct fgw_guest *guest, struct syn_err *err)
{
    struct fgw_call *call = guest->call;
    struct syn_http_req *req = call->req;
    struct syn_wasm_request *ask = &guest->request;
    const char *name;
    const char *value;
    size_t path = 0;
    const char *target = fgw_call_target(call, &path);
    size_t bytes = 0;
    bool fits = true;

    ask->id = text_of(fgw_call_id(call));
    ask->method = text_of(syn_http_req_verb(req));
    ask->path = path > 0 ? (struct syn_wasm_text){target, path} : text_of("/");
    ask->query = target[path] == '?' ? text_of(target + path + 1) : text_of("");
    ask->body.at = syn_http_req_body(req, &ask->body.size);
    ask->environment = (const char *const *)call->version->environment;
    ask->headers = guest->headers;
    ask->header_count = 0;
    for (unsigned i = 0; fits && syn_http_req_header_at(req, i, &name, &value); i++)
        fits = !fgw_call_passes(call, name) || give_header(guest, name, value, &bytes);
    if (fits && call->key[0] != '\0')
        fits = give_header(guest, "x-synor-key", call->key, &bytes);
    if (fits && call->subject != NULL)
        fits = give_header(guest, "x-synor-subject", call->subject, &bytes);
    if (!fits)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d headers", SYN_WASM_HEADERS_MAX);
    if (bytes > SYN_WASM_HEADER_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "headers of more than %d bytes",
                        SYN_WASM_HEADER_BYTES_MAX);
    return SYN_OK;
}

/* --- the answer ------------------------------------------------------------------------------- */

static void
tell_logs(struct fgw_guest *guest)
{
    const char *at = guest->logs.data;
    const char *end = at + guest->logs.len;
    const struct syn_wasm_outcome *outcome = syn_wasm_outcome(guest->run);

    while (guest->logs.len > 0 && at < end) {
        size_t size = strlen(at + 1);

        fgw_report_log(guest->call, (enum syn_wasm_level)(*at - '0'), at + 1, size);
        at += 1 + size + 1;
    }
    if (outcome->log_dropped_bytes > 0) {
        char text[80];
        int size = snprintf(text, sizeof(text), "%lld bytes more were logged, and dropped",
                            (long long)outcome->log_dropped_bytes);

        fgw_report_log(guest->call, SYN_WASM_WARNING, text, (size_t)size);
    }
}

static bool
name_lower(char *name)
{
    if (name[0] == '\0')
        return false;
    for (char *at = name; *at != '\0'; at++) {
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at + ('a' - 'A'));
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
              strchr("!#$%&'*+-.^_`|~", *at) != NULL))
            return false;
    }
    return true;
}

static int
reply(struct fgw_guest *guest, struct syn_err *err)
{
    struct fgw_call *call = guest->call;
    char *at = guest->head.data;
    const char *end = at != NULL ? at + guest->head.len : NULL;
    bool bodyless = guest->status == 204 || guest->status == 304;
    int rc = SYN_OK;

    if (call->gateway->answer_bytes + (int64_t)guest->body.len > FGW_ANSWERS_MAX)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "too many large answers at a time");
    call->answer_counted = (int64_t)guest->body.len;
    call->gateway->answer_bytes += call->answer_counted;
    fgw_call_pass(call, guest->status, (int64_t)guest->body.len);
    while (rc == SYN_OK && guest->head.len > 0 && at < end) {
        char *name = at;
        const char *value = name + strlen(name) + 1;

        at = name + strlen(name) + 1 + strlen(value) + 1;
        if (!name_lower(name) || fgw_header_is_ours(name) ||
            (call->cors && strncmp(name, "access-control-", 15) == 0))
            continue;
        rc = syn_http_reply_header(call->req, name, value, err);
    }
    if (rc == SYN_OK && guest->body.len > 0 && !bodyless)
        rc = syn_http_pass_body(call->req, guest->body.data, guest->body.len, err);
    return rc;
}

static const struct {
    enum fgw_status status;
    int rc, http;
    const char *message;
} ends[] = {
    [SYN_WASM_DONE] = {FGW_OK, SYN_OK, 0, ""},
    [SYN_WASM_FAILED] = {FGW_ERROR, SYN_E_INTERNAL, 0, "the function failed"},
    [SYN_WASM_TRAPPED] = {FGW_ERROR, SYN_E_INTERNAL, 0, "the function was ended: it trapped"},
    [SYN_WASM_DEADLINE] = {FGW_TIMEOUT, SYN_E_TIMEOUT, 0, "the function was not done in time"},
    [SYN_WASM_FUEL] = {FGW_ERROR, SYN_E_INTERNAL, 0, "the function used up its fuel"},
    [SYN_WASM_MEMORY] = {FGW_MEMORY, SYN_E_INTERNAL, 0, "the function has too little memory"},
    [SYN_WASM_TOO_MUCH] = {FGW_ERROR, SYN_E_INTERNAL, 502, "the function's answer is too large"},
};

/* It has ended: note it and make the answer. Returns as a handler does. */
static int
conclude(struct fgw_guest *guest, struct syn_err *err)
{
    struct fgw_call *call = guest->call;
    const struct syn_wasm_outcome *outcome;
    enum fgw_status status;
    int rc;

    if (guest->rc < 0) {
        fgw_call_end(call, call->gone ? FGW_DISCONNECTED : FGW_ERROR, 500, guest->err.msg);
        *err = guest->err;
        return guest->rc;
    }
    outcome = syn_wasm_outcome(guest->run);
    call->create_us = outcome->create_ns / 1000;
    call->fuel = outcome->fuel_used;
    call->memory_bytes = outcome->memory_bytes;
    call->response_bytes = (int64_t)guest->body.len;
    tell_logs(guest);
    status = ends[outcome->end].status;
    rc = ends[outcome->end].rc;
    if (call->gone)
        status = FGW_DISCONNECTED;
    if (rc < 0) {
        int http = ends[outcome->end].http;

        if (outcome->why[0] != '\0')
            fgw_report_log(call, SYN_WASM_ERROR, outcome->why, strlen(outcome->why));
        fgw_call_end(call, status, http != 0 ? http : syn_err_info(rc)->http,
                     outcome->why[0] != '\0' ? outcome->why : ends[outcome->end].message);
        syn_http_error_status(call->req, http);
        return SYN_FAIL(err, rc, "%s", ends[outcome->end].message);
    }
    rc = reply(guest, err);
    if (rc < 0) {
        fgw_call_end(call, FGW_ERROR, 502, err->msg);
        syn_http_error_status(call->req, 502);
        return syn_err_wrap(err, rc, "the function's answer");
    }
    fgw_call_end(call, status, guest->status, "");
    return SYN_OK;
}

/* The same for a request whose handler has returned. */
static void
answer(struct fgw_guest *guest)
{
    struct fgw_call *call = guest->call;
    struct fgw *gateway = call->gateway;
    struct syn_http_req *req = call->req;
    bool gone = call->gone;
    struct syn_err err;
    int rc = conclude(guest, &err);

    guest_release(gateway, guest);
    if (gone)
        syn_http_push_cut(req);
    else
        syn_http_finish(req, rc, &err);
    fgw_guests_turn(gateway);
}

/* --- the threads ------------------------------------------------------------------------------ */

static void
returned(void *arg)
{
    struct fgw_guest *guest = arg;
    struct fgw_version *version = guest->call->version;

    guest->call->gateway->guests_out--;
    if (guest->steps == 1 && version->slow > 0)
        version->slow--;
    answer(guest);
}

static void
push_ready(struct fgw_guests *guests, struct fgw_guest *guest)
{
    guest->next = NULL;
    *guests->ready_last = guest;
    guests->ready_last = &guest->next;
}

/* Those whose time has come. Returns when the next one's does; 0: none sleeps. */
static int64_t
wake_sleepers(struct fgw_guests *guests, int64_t now_ns)
{
    struct fgw_guest **at = &guests->asleep;
    int64_t next_ns = 0;

    while (*at != NULL) {
        struct fgw_guest *guest = *at;

        if (guests->stop || guest->wake_ns <= now_ns || guest->deadline_ns <= now_ns ||
            atomic_load_explicit(&guest->canceled, memory_order_relaxed)) {
            *at = guest->next;
            push_ready(guests, guest);
            continue;
        }
        if (next_ns == 0 || SYN_MIN(guest->wake_ns, guest->deadline_ns) < next_ns)
            next_ns = SYN_MIN(guest->wake_ns, guest->deadline_ns);
        at = &guest->next;
    }
    return next_ns;
}

/* The first whose time is up, else the first. */
static struct fgw_guest *
pop_ready(struct fgw_guests *guests, int64_t now_ns)
{
    struct fgw_guest **at = &guests->ready;
    struct fgw_guest *guest;

    while (*at != NULL && (*at)->deadline_ns > now_ns &&
           !atomic_load_explicit(&(*at)->canceled, memory_order_relaxed))
        at = &(*at)->next;
    if (*at == NULL)
        at = &guests->ready;
    guest = *at;
    if (guest == NULL)
        return NULL;
    *at = guest->next;
    if (guests->ready_last == &guest->next)
        guests->ready_last = at;
    return guest;
}

/* Wait for one. NULL: the end. */
static struct fgw_guest *
next_guest(struct fgw_guests *guests)
{
    struct fgw_guest *guest;

    (void)pthread_mutex_lock(&guests->lock);
    for (;;) {
        int64_t now_ns = syn_clock_ns();
        int64_t next_ns = wake_sleepers(guests, now_ns);

        guest = pop_ready(guests, now_ns);
        if (guest != NULL || guests->stop)
            break;
        if (next_ns == 0) {
            (void)pthread_cond_wait(&guests->wake, &guests->lock);
        } else {
            struct timespec until = {.tv_sec = next_ns / 1000000000,
                                     .tv_nsec = next_ns % 1000000000};

            (void)pthread_cond_timedwait(&guests->wake, &guests->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&guests->lock);
    return guest;
}

static void
park(struct fgw_guests *guests, struct fgw_guest *guest)
{
    (void)pthread_mutex_lock(&guests->lock);
    guest->wake_ns = syn_wasm_wake_ns(guest->run);
    if (guest->wake_ns > syn_clock_ns()) {
        guest->next = guests->asleep;
        guests->asleep = guest;
    } else {
        push_ready(guests, guest);
    }
    (void)pthread_cond_signal(&guests->wake);
    (void)pthread_mutex_unlock(&guests->lock);
}

/* The loop's mailbox has room for more letters than there are guests. */
static void
give_back(struct fgw_guests *guests, struct fgw_guest *guest)
{
    struct syn_err err;

    if (syn_loop_post(guests->gateway->loop, returned, guest, NULL, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "gateway.guest-lost", &err);
}

static void *
guests_main(void *arg)
{
    struct fgw_guests *guests = arg;
    struct fgw_guest *guest;

    bool stop;

    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    while ((guest = next_guest(guests)) != NULL) {
        (void)pthread_mutex_lock(&guests->lock);
        stop = guests->stop;
        (void)pthread_mutex_unlock(&guests->lock);
        guest->steps++;
        if (stop || atomic_load_explicit(&guest->canceled, memory_order_relaxed))
            guest->rc = SYN_FAIL(&guest->err, SYN_E_CANCELED, "the client went away");
        else
            guest->rc = syn_wasm_step(guest->run, &guest->err);
        if (guest->rc == SYN_WASM_PENDING)
            park(guests, guest);
        else
            give_back(guests, guest);
    }
    return NULL;
}

void
fgw_guest_cancel(struct fgw_guest *guest)
{
    struct fgw_guests *guests = guest->call->gateway->guests;

    atomic_store_explicit(&guest->canceled, true, memory_order_relaxed);
    (void)pthread_mutex_lock(&guests->lock);
    (void)pthread_cond_signal(&guests->wake);
    (void)pthread_mutex_unlock(&guests->lock);
}

/* --- calling ---------------------------------------------------------------------------------- */

static int
begin_run(struct fgw_guest *guest, struct syn_err *err)
{
    struct fgw_call *call = guest->call;
    const struct fgw_version *version = call->version;
    const struct syn_wasm_limits limits = {
        .memory_bytes = version->memory_bytes,
        .table_elements = FGW_TABLE_ELEMENTS,
        .fuel = version->fuel > 0 ? (uint64_t)version->fuel : UINT64_MAX / 2,
        .deadline_ns = call->deadline_ns,
        .response_bytes = version->response_bytes_max,
        .log_bytes = FGW_LOG_BYTES,
    };
    int rc = fill_request(guest, err);

    if (rc == SYN_E_LIMIT) {
        syn_http_error_status(call->req, 431);
        return rc;
    }
    rc = syn_wasm_begin(version->module, &guest->request, &limits, &sink, guest, &guest->run, err);
    return rc == SYN_E_LIMIT ? FGW_BUSY : rc;
}

int
fgw_guest_start(struct fgw_call *call, struct syn_err *err)
{
    struct fgw *gateway = call->gateway;
    struct fgw_version *version = call->version;
    struct fgw_guest *guest;
    int rc;

    if (version->running >= FGW_GUESTS_A_VERSION)
        return FGW_BUSY;
    guest = guest_new(call);
    if (guest == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a guest");
    rc = begin_run(guest, err);
    if (rc != SYN_OK) {
        guest_release(gateway, guest);
        return rc;
    }
    fgw_call_placed(call, FGW_GUEST, NULL);
    call->guest = guest;
    guest->rc = SYN_WASM_PENDING;
    if (version->slow <= SLOW_FROM) {
        guest->rc = syn_wasm_step(guest->run, &guest->err);
        if (guest->rc == SYN_WASM_PENDING)
            version->slow = SYN_MIN(version->slow + 4, SLOW_MAX);
    }
    if (guest->rc == SYN_WASM_PENDING) {
        fgw_report_dirty(version);
        gateway->guests_out++;
        park(gateway->guests, guest);
        return SYN_HTTP_LATER;
    }
    version->slow -= version->slow > 0 ? 1 : 0;
    if (call->later) {
        answer(guest);
        return SYN_OK;
    }
    rc = conclude(guest, err);
    guest_release(gateway, guest);
    if (gateway->active != NULL)
        fgw_guests_turn(gateway);
    return rc;
}

/* --- life ------------------------------------------------------------------------------------- */

int
fgw_guests_new(struct fgw *gateway, unsigned threads, struct fgw_guests **ret, struct syn_err *err)
{
    struct fgw_guests *guests = syn_calloc(1, sizeof(*guests));
    pthread_condattr_t attr;

    if (guests == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for guests");
    guests->gateway = gateway;
    guests->ready_last = &guests->ready;
    (void)pthread_mutex_init(&guests->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&guests->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    threads = threads == 0 ? FGW_GUEST_THREADS : SYN_MIN(threads, THREADS_MAX);
    while (guests->count < threads) {
        if (pthread_create(&guests->threads[guests->count], NULL, guests_main, guests) != 0) {
            (void)fgw_guests_free(guests);
            return SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for guests");
        }
        guests->count++;
    }
    *ret = guests;
    return SYN_OK;
}

struct fgw_guests *
fgw_guests_free(struct fgw_guests *guests)
{
    struct fgw *gateway;

    if (guests == NULL)
        return NULL;
    gateway = guests->gateway;
    (void)pthread_mutex_lock(&guests->lock);
    guests->stop = true;
    (void)pthread_cond_broadcast(&guests->wake);
    (void)pthread_mutex_unlock(&guests->lock);
    for (unsigned i = 0; i < guests->count; i++)
        (void)pthread_join(guests->threads[i], NULL);
    while (gateway->guests_out > 0 && syn_loop_turn(gateway->loop, 0, NULL) == SYN_OK)
        continue;
    (void)pthread_cond_destroy(&guests->wake);
    (void)pthread_mutex_destroy(&guests->lock);
    syn_free(guests);
    while (gateway->free_guests != NULL) {
        struct fgw_guest *guest = gateway->free_guests;

        gateway->free_guests = guest->next;
        syn_buf_fini(&guest->head);
        syn_buf_fini(&guest->body);
        syn_buf_fini(&guest->logs);
        syn_free(guest);
    }
    return NULL;
}
