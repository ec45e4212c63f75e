/* A request's way: route, version, place, or the queue until there is one, and the end.
 *
 *     ARRIVES --+--> GUEST, PASSED --> ENDED
 *               |        ^   |
 *               `--> WAITS <-'  (an instance that did not take it)
 *
 * Nothing that has been accepted is dropped before its deadline: a call whose version leaves the
 * table goes to another one, one whose instance refuses it waits for the next. Only the queue's
 * length and the deadline refuse. */
#include "function_priv.h"

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

/* By enum fgw_trigger. */
static const char *const trigger_names[FGW_TRIGGERS] = {"http",    "invoke", "schedule", "queue",
                                                        "storage", "ledger", "webhook"};

const char *
fgw_trigger_name(enum fgw_trigger trigger)
{
    return trigger_names[trigger];
}

bool
fgw_header_is_ours(const char *name)
{
    static const char *const names[] = {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "proxy-connection",
        "proxy-authorization",
        "trailer",
        "upgrade",
        "transfer-encoding",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
    };

    if (strchr("cehktpux", name[0]) == NULL)
        return false;
    if (strncmp(name, "x-synor-", 8) == 0)
        return true;
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        if (names[i][0] == name[0] && strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

const char *
fgw_call_id(struct fgw_call *call)
{
    return call->invocation[0] != '\0' ? call->invocation : syn_http_req_id(call->req);
}

const char *
fgw_call_target(const struct fgw_call *call, size_t *ret_path)
{
    size_t path = 0;
    const char *target = syn_http_req_target(call->req, &path);

    *ret_path = path - call->skip;
    return target + call->skip;
}

/* --- lists ------------------------------------------------------------------------------------ */

static void
wait_link(struct fgw_call *call, bool first)
{
    struct fgw_version *version = call->version;

    call->place = FGW_WAITS;
    call->wait_prev = first ? NULL : version->waiting_last;
    call->wait_next = first ? version->waiting : NULL;
    *(call->wait_prev != NULL ? &call->wait_prev->wait_next : &version->waiting) = call;
    *(call->wait_next != NULL ? &call->wait_next->wait_prev : &version->waiting_last) = call;
    version->waiting_count++;
    if (version->waiting_count == 1 && version->instances == NULL && !version->wasm)
        fgw_report_lack(version);
    else
        fgw_report_dirty(version);
}

static void
wait_unlink(struct fgw_call *call)
{
    struct fgw_version *version = call->version;

    assert(call->place == FGW_WAITS);
    *(call->wait_prev != NULL ? &call->wait_prev->wait_next : &version->waiting) = call->wait_next;
    *(call->wait_next != NULL ? &call->wait_next->wait_prev : &version->waiting_last) =
        call->wait_prev;
    version->waiting_count--;
    call->place = FGW_ARRIVES;
    fgw_report_dirty(version);
}

const char *
fgw_call_way(const struct fgw_call *call)
{
    if (call->version->wasm)
        return "wasm";
    return fgw_start_way(call);
}

void
fgw_call_pass(struct fgw_call *call, int status, int64_t len)
{
    struct syn_err err;

    syn_http_pass(call->req, status, len);
    if (call->internal &&
        syn_http_reply_header(call->req, "x-synor-way", fgw_call_way(call), &err) < 0)
        syn_log_err(SYN_LOG_DEBUG, "gateway.way-not-told", &err);
}

/* By deadline: almost always the last. The version stays in the gateway's list, with a reference,
 * until the sweep finds it without calls. */
static void
active_link(struct fgw_call *call)
{
    struct fgw_version *version = call->version;
    struct fgw *gateway = version->gateway;
    struct fgw_call *after = version->active_last;

    while (after != NULL && after->deadline_ns > call->deadline_ns)
        after = after->active_prev;
    call->active_prev = after;
    call->active_next = after != NULL ? after->active_next : version->active;
    *(after != NULL ? &after->active_next : &version->active) = call;
    *(call->active_next != NULL ? &call->active_next->active_prev : &version->active_last) = call;
    if (version->is_active)
        return;
    version->is_active = true;
    version->active_prev = NULL;
    version->active_next = gateway->active;
    if (gateway->active != NULL)
        gateway->active->active_prev = version;
    gateway->active = fgw_version_ref(version);
    fgw_want_sweep(gateway);
}

static void
active_unlink(struct fgw_call *call)
{
    struct fgw_version *version = call->version;

    *(call->active_prev != NULL ? &call->active_prev->active_next : &version->active) =
        call->active_next;
    *(call->active_next != NULL ? &call->active_next->active_prev : &version->active_last) =
        call->active_prev;
    call->active_prev = call->active_next = NULL;
}

/* --- begin and end ---------------------------------------------------------------------------- */

static void
call_drop(void *arg)
{
    struct fgw_call *call = arg;
    struct fgw *gateway = call->gateway;

    assert(call->place == FGW_ARRIVES || call->place == FGW_ENDED);
    gateway->answer_bytes -= call->answer_counted;
    if (call->version != NULL)
        fgw_version_unref(call->version);
    fgw_door_leave(call);
    call->next = gateway->free_calls;
    gateway->free_calls = call;
}

static struct fgw_call *
call_new(struct fgw *gateway, struct syn_http_req *req)
{
    struct fgw_call *call = gateway->free_calls;

    if (call != NULL)
        gateway->free_calls = call->next;
    else
        call = syn_alloc(sizeof(*call));
    if (call == NULL)
        return NULL;
    *call = (struct fgw_call){.gateway = gateway, .req = req, .arrived_ns = syn_clock_ns()};
    syn_http_req_set_identity(req, call, call_drop);
    return call;
}

void
fgw_calls_free(struct fgw *gateway)
{
    while (gateway->free_calls != NULL) {
        struct fgw_call *call = gateway->free_calls;

        gateway->free_calls = call->next;
        syn_free(call);
    }
}

void
fgw_call_placed(struct fgw_call *call, enum fgw_place place, struct fgw_instance *instance)
{
    if (call->place == FGW_WAITS)
        wait_unlink(call);
    call->place = place;
    call->placed_ns = syn_clock_ns();
    call->first_ns = 0;
    call->version->running++;
    call->instance = instance;
    if (instance != NULL)
        instance->running++;
    if (place == FGW_PASSED) {
        fgw_start_placed(call);
        fgw_report_dirty(call->version);
    }
}

static void
leave_place(struct fgw_call *call)
{
    struct fgw_instance *instance = SYN_TAKE(call->instance);

    if (call->place == FGW_WAITS)
        wait_unlink(call);
    if (call->place != FGW_GUEST && call->place != FGW_PASSED)
        return;
    call->version->running--;
    if (call->place == FGW_PASSED)
        fgw_report_dirty(call->version);
    if (instance != NULL) {
        instance->running--;
        fgw_instance_check(instance);
    }
}

/* Guests of all versions share the engine's places. */
void
fgw_guests_turn(struct fgw *gateway)
{
    if (gateway->turning)
        return;
    gateway->turning = true;
    for (struct fgw_version *at = gateway->active; at != NULL; at = at->active_next) {
        if (at->wasm && at->waiting != NULL)
            fgw_version_turn(at);
    }
    gateway->turning = false;
}

void
fgw_call_end(struct fgw_call *call, enum fgw_status status, int http_status, const char *message)
{
    call->ended_ns = syn_clock_ns();
    fgw_report_call(call, status, http_status, message);
    leave_place(call);
    if (call->later) {
        active_unlink(call);
        syn_http_on_gone(call->req, NULL, NULL);
    }
    call->place = FGW_ENDED;
    if (!call->version->wasm && call->version->waiting != NULL)
        fgw_version_turn(call->version);
}

void
fgw_call_fail(struct fgw_call *call, enum fgw_status status, int rc, int http, const char *message)
{
    struct syn_http_req *req = call->req;
    struct syn_err err;

    assert(call->later);
    fgw_call_end(call, status, http != 0 ? http : syn_err_info(rc)->http, message);
    if (call->gone) {
        syn_http_push_cut(req);
        return;
    }
    if (http != 0)
        syn_http_error_status(req, http);
    syn_http_finish(req, SYN_FAIL(&err, rc, "%s", message), &err);
}

static void
call_gone(void *arg)
{
    struct fgw_call *call = arg;
    struct syn_http_req *req = call->req;

    call->gone = true;
    if (call->place == FGW_GUEST) { /* it is ended where it runs, and comes back */
        fgw_guest_cancel(call->guest);
        return;
    }
    if (call->place == FGW_PASSED)
        fgw_link_cut(SYN_TAKE(call->link));
    fgw_call_end(call, FGW_DISCONNECTED, 499, "the client went away");
    syn_http_push_cut(req);
}

/* --- places ----------------------------------------------------------------------------------- */

static int
start_passed(struct fgw_call *call, struct syn_err *err)
{
    struct fgw_instance *instance;

    while ((instance = fgw_instance_pick(call->version)) != NULL) {
        int rc = fgw_link_start(call, instance, err);

        if (rc == SYN_OK)
            return SYN_HTTP_LATER;
        if (rc == SYN_E_NOMEM)
            return rc;
        instance->rests_until_ms = syn_loop_now_ms(call->gateway->loop) + FGW_REST_MS;
    }
    return FGW_BUSY;
}

/* 0: answered; SYN_HTTP_LATER; FGW_BUSY: there is no place; < 0. */
static int
start(struct fgw_call *call, struct syn_err *err)
{
    struct fgw_version *version = call->version;

    if (!version->wasm)
        return start_passed(call, err);
    if (version->module != NULL)
        return fgw_guest_start(call, err);
    if (version->outcome == FGW_FAILED && version->told)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "version %lld cannot run: %s",
                        (long long)version->number, version->message);
    fgw_module_want(version);
    return FGW_BUSY;
}

static int
begin(struct fgw_call *call, struct syn_err *err)
{
    struct fgw_version *version = call->version;
    int rc = version->waiting != NULL ? FGW_BUSY : start(call, err);

    if (rc == FGW_BUSY && version->waiting_count >= (uint64_t)version->max_waiting)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "%lld requests of %s wait already",
                      (long long)version->max_waiting, version->function);
    if (rc == FGW_BUSY) {
        wait_link(call, false);
        rc = SYN_HTTP_LATER;
    }
    if (rc == SYN_HTTP_LATER) {
        call->later = true;
        active_link(call);
        syn_http_on_gone(call->req, call_gone, call);
    } else if (rc < 0 && call->place == FGW_ARRIVES) {
        call->placed_ns = call->ended_ns = syn_clock_ns();
        fgw_report_call(call, rc == SYN_E_LIMIT ? FGW_REJECTED : FGW_UNAVAILABLE,
                        syn_err_info(rc)->http, err->msg);
    }
    return rc;
}

void
fgw_version_fail(struct fgw_version *version, const char *why)
{
    while (version->waiting != NULL)
        fgw_call_fail(version->waiting, FGW_UNAVAILABLE, SYN_E_UNAVAILABLE, 0, why);
}

void
fgw_version_turn(struct fgw_version *version)
{
    struct syn_err err;

    if (version->turning || version->gateway->closing) /* the turn under way goes on */
        return;
    version->turning = true;
    (void)fgw_version_ref(version);
    while (version->waiting != NULL) {
        struct fgw_call *call = version->waiting;
        int rc = start(call, &err);

        if (rc == FGW_BUSY)
            break;
        if (rc < 0)
            fgw_call_fail(call, FGW_UNAVAILABLE, rc, 0, err.msg);
    }
    version->turning = false;
    fgw_version_unref(version);
}

static void
move(struct fgw_call *call, struct fgw_version *to)
{
    struct fgw_version *from = call->version;

    wait_unlink(call);
    active_unlink(call);
    call->version = fgw_version_ref(to);
    active_link(call);
    wait_link(call, false);
    fgw_version_unref(from);
}

/* Its calls go to the function's other versions, if there are any. */
static void
move_all(struct fgw_version *version, struct fgw_function *function)
{
    (void)fgw_version_ref(version);
    while (version->waiting != NULL) {
        struct fgw_version *other = function != NULL ? fgw_function_pick(function) : NULL;

        if (other != NULL && other->state == FGW_READY)
            move(version->waiting, other);
        else
            fgw_call_fail(version->waiting, FGW_UNAVAILABLE, SYN_E_UNAVAILABLE, 0,
                          "the function's version is gone");
    }
    for (size_t i = 0; function != NULL && i < function->version_count; i++)
        fgw_version_turn(function->versions[i]);
    fgw_version_unref(version);
}

void
fgw_version_leave(struct fgw_version *version, struct fgw_function *function)
{
    move_all(version, function);
    for (struct fgw_instance *at = version->instances, *next; at != NULL; at = next) {
        next = at->next;
        at->gone = true;
        fgw_instance_tidy(at, true);
        fgw_instance_check(at);
    }
}

void
fgw_call_back(struct fgw_call *call)
{
    struct fgw_version *version = call->version;

    fgw_start_back(call);
    leave_place(call);
    wait_link(call, true);
    if (version->retired)
        move_all(version, syn_map_find(version->gateway->functions, version->function));
    else
        fgw_version_turn(version);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static void
expire(struct fgw_call *call)
{
    struct syn_http_req *req = call->req;
    bool begun = call->place == FGW_PASSED && call->first_ns != 0;
    char text[96];

    if (call->place == FGW_PASSED)
        fgw_link_cut(SYN_TAKE(call->link));
    /* Where one request at a time is served, this one still is. */
    if (call->instance != NULL && call->version->concurrency == 1)
        call->instance->rests_until_ms = syn_loop_now_ms(call->gateway->loop) + FGW_BUSY_REST_MS;
    (void)snprintf(text, sizeof(text), "not done within %lld ms",
                   (long long)call->version->timeout_ms);
    if (!begun) {
        fgw_call_fail(call, FGW_TIMEOUT, SYN_E_TIMEOUT, 0, text);
        return;
    }
    fgw_call_end(call, FGW_TIMEOUT, 504, text); /* the client sees that it is incomplete */
    syn_http_push_cut(req);
}

static void
sweep_version(struct fgw_version *version, int64_t now_ns, bool all)
{
    struct fgw_call *next;

    for (struct fgw_call *call = version->active; call != NULL; call = next) {
        next = call->active_next;
        if (call->deadline_ns > now_ns)
            break;
        if (call->place != FGW_GUEST) { /* those are ended by their own clock */
            expire(call);
            next = version->active; /* others may have ended with it */
            while (next != NULL && next->place == FGW_GUEST)
                next = next->active_next;
        }
    }
    for (struct fgw_call *call = version->active; all && call != NULL; call = next) {
        next = call->active_next;
        if (call->place == FGW_PASSED)
            fgw_link_overdue(call);
    }
    if (version->waiting != NULL)
        fgw_version_turn(version);
}

void
fgw_calls_sweep(void *arg)
{
    struct fgw *gateway = arg;
    const int64_t now_ns = syn_clock_ns();
    const int64_t now_ms = syn_loop_now_ms(gateway->loop);
    bool all = now_ms - gateway->swept_ms >= 100;
    struct fgw_version *next;

    if (all)
        gateway->swept_ms = now_ms;
    for (struct fgw_version *at = gateway->active; at != NULL; at = at->active_next)
        sweep_version(at, now_ns, all);
    for (struct fgw_version *at = gateway->active; at != NULL; at = next) {
        next = at->active_next;
        if (at->active != NULL)
            continue;
        *(at->active_prev != NULL ? &at->active_prev->active_next : &gateway->active) = next;
        if (next != NULL)
            next->active_prev = at->active_prev;
        at->is_active = false;
        fgw_version_unref(at);
    }
    if (gateway->active == NULL)
        gateway->sweep = syn_watch_drop(gateway->sweep);
}

/* --- the head of a request -------------------------------------------------------------------- */

static bool
origin_may(const json_t *origins, const char *origin, bool *ret_any)
{
    size_t index;
    json_t *allowed;

    *ret_any = false;
    json_array_foreach (origins, index, allowed) {
        const char *text = json_string_value(allowed);

        if (text == NULL)
            continue;
        *ret_any = strcmp(text, "*") == 0;
        if (*ret_any || strcmp(text, origin) == 0)
            return true;
    }
    return false;
}

static void
join_methods(uint32_t mask, char *out, size_t cap)
{
    size_t len = 0;
    const char *name;

    out[0] = '\0';
    if ((mask & fgw_method_bit("GET")) != 0)
        mask |= fgw_method_bit("HEAD");
    for (unsigned bit = 0; (name = fgw_method_name(bit)) != NULL && len < cap; bit++) {
        if ((mask & SYN_BIT(bit)) != 0)
            len += (size_t)snprintf(out + len, cap - len, "%s%s", len > 0 ? ", " : "", name);
    }
}

static int
preflight(struct fgw_call *call, const struct fgw_route *route, struct syn_err *err)
{
    const char *asked = syn_http_req_header(call->req, "access-control-request-headers");
    SYN_BUF(headers);
    char text[96];
    size_t index;
    json_t *name;
    int rc;

    json_array_foreach (route->cors.headers, index, name)
        syn_buf_addf(&headers, "%s%s", index > 0 ? ", " : "", json_string_value(name));
    if (headers.len > 0)
        asked = syn_buf_text(&headers);
    join_methods(route->methods, text, sizeof(text));
    rc = syn_buf_ok(&headers, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_header(call->req, "access-control-allow-methods", text, err);
    if (rc == SYN_OK && asked != NULL)
        rc = syn_http_reply_header(call->req, "access-control-allow-headers", asked, err);
    (void)snprintf(text, sizeof(text), "%lld", (long long)route->cors.max_age_s);
    if (rc == SYN_OK)
        rc = syn_http_reply_header(call->req, "access-control-max-age", text, err);
    return rc;
}

/* What a browser of another site is told. */
static int
apply_cors(struct fgw_call *call, const struct fgw_route *route, struct syn_err *err)
{
    const char *origin = syn_http_req_header(call->req, "origin");
    bool any = false;
    int rc;

    if (!route->has_cors)
        return SYN_OK;
    call->cors = true;
    if (origin == NULL || !origin_may(route->cors.origins, origin, &any))
        return SYN_OK;
    rc = syn_http_reply_header(call->req, "access-control-allow-origin", any ? "*" : origin, err);
    if (rc == SYN_OK && !any)
        rc = syn_http_reply_header(call->req, "vary", "origin", err);
    if (rc == SYN_OK && !any && route->cors.credentials)
        rc = syn_http_reply_header(call->req, "access-control-allow-credentials", "true", err);
    if (rc == SYN_OK && call->preflight)
        rc = preflight(call, route, err);
    return rc;
}

/* What serves the path for this method; HEAD also by what serves GET. */
static int
find_route(const struct syn_function_routes *routes, const struct syn_http_req *req,
           const char *verb, const struct fgw_route **ret, uint32_t *ret_others)
{
    const char *host = syn_http_req_header(req, "host");
    const char *colon;
    struct syn_function_match match;
    size_t size, path = 0;
    const char *target = syn_http_req_target(req, &path);
    int rc;

    host = host != NULL ? host : "";
    colon = host[0] != '[' ? strchr(host, ':') : NULL;
    size = colon != NULL ? (size_t)(colon - host) : strlen(host);
    rc = syn_function_routes_find(routes, host, size, target, path, fgw_method_bit(verb), &match);
    if (rc == SYN_E_UNSUPPORTED && strcmp(verb, "HEAD") == 0)
        rc = syn_function_routes_find(routes, host, size, target, path, fgw_method_bit("GET"),
                                      &match);
    if (rc == SYN_OK)
        *ret = match.target;
    else if (rc == SYN_E_UNSUPPORTED)
        *ret_others = match.methods;
    return rc;
}

static int
find_routed(struct fgw_call *call, struct syn_err *err)
{
    const struct syn_function_routes *routes = fgw_table_routes(call->gateway);
    const char *verb = syn_http_req_verb(call->req);
    const char *asked = syn_http_req_header(call->req, "access-control-request-method");
    const struct fgw_route *route = NULL;
    uint32_t others = 0;
    char allow[96];
    int rc = SYN_E_NOTFOUND;

    if (routes == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for routes");
    if (asked != NULL && strcmp(verb, "OPTIONS") == 0 &&
        syn_http_req_header(call->req, "origin") != NULL) {
        rc = find_route(routes, call->req, asked, &route, &others);
        call->preflight = rc == SYN_OK && route->has_cors;
    }
    if (!call->preflight)
        rc = find_route(routes, call->req, verb, &route, &others);
    if (rc == SYN_E_UNSUPPORTED) {
        join_methods(others, allow, sizeof(allow));
        rc = syn_http_reply_header(call->req, "allow", allow, err);
        return rc < 0 ? rc
                      : SYN_FAIL(err, SYN_E_METHOD, "%s is not served here; %s are", verb, allow);
    }
    if (rc < 0 || route == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no function is served at this path");
    call->function = route->function;
    rc = apply_cors(call, route, err);
    return rc == SYN_OK && !call->preflight ? fgw_door_head(call, route, err) : rc;
}

static int
read_trigger(struct fgw_call *call, struct syn_err *err)
{
    const char *trigger = syn_http_req_header(call->req, "x-synor-trigger");
    const char *invocation = syn_http_req_header(call->req, "x-synor-invocation");

    call->trigger = FGW_INVOKE;
    if (invocation != NULL &&
        (!syn_name_ok(invocation) ||
         !syn_str_copy(call->invocation, sizeof(call->invocation), invocation)))
        return SYN_FAIL(err, SYN_E_INVALID, "x-synor-invocation is no id");
    if (trigger == NULL)
        return SYN_OK;
    for (unsigned i = 0; i < FGW_TRIGGERS; i++) {
        if (strcmp(trigger_names[i], trigger) == 0) {
            call->trigger = (enum fgw_trigger)i;
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_INVALID, "x-synor-trigger: \"%.40s\" is none", trigger);
}

/* "/fn-ID[@VERSION]/PATH" */
static int
find_internal(struct fgw_call *call, struct syn_err *err)
{
    size_t path = 0;
    const char *target = syn_http_req_target(call->req, &path);
    const char *slash = memchr(target + 1, '/', path - 1);
    size_t size = slash != NULL ? (size_t)(slash - target) : path;
    char id[SYN_ID_MAX + 24];
    char *at;
    uint64_t number = 0;

    if (size - 1 >= sizeof(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no such function");
    memcpy(id, target + 1, size - 1);
    id[size - 1] = '\0';
    at = strchr(id, '@');
    if (at != NULL) {
        *at = '\0';
        if (syn_parse_u64(at + 1, 1, INT64_MAX, "version", &number, err) < 0)
            return SYN_E_INVALID;
    }
    call->skip = size;
    call->function = syn_map_find(call->gateway->functions, id);
    if (call->function == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no such function");
    if (number > 0) {
        struct fgw_version *version = fgw_function_version(call->function, (int64_t)number);

        if (version == NULL)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no version %llu", id,
                            (unsigned long long)number);
        call->version = fgw_version_ref(version);
    }
    return read_trigger(call, err);
}

static int
admit(struct fgw_call *call, struct syn_err *err)
{
    struct fgw_function *function = SYN_TAKE(call->function);
    const char *reason = function->reason;

    if (syn_str_eq(function->state, "deleting"))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no function is served at this path");
    if (syn_str_eq(function->state, "suspended") &&
        (strstr(reason, "fund") != NULL || strstr(reason, "budget") != NULL))
        return SYN_FAIL(err, SYN_E_FUNDS, "the function is suspended: %s", reason);
    if (syn_str_eq(function->state, "suspended"))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the function is suspended%s%s",
                        reason[0] != '\0' ? ": " : "", reason);
    if (call->version == NULL) {
        struct fgw_version *version = fgw_function_pick(function);

        if (version == NULL)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "no version of the function is ready%s%s",
                            reason[0] != '\0' ? ": " : "", reason);
        call->version = fgw_version_ref(version);
    }
    if (call->version->state != FGW_READY &&
        (call->version->state == FGW_FAILED || !syn_str_eq(function->state, "deploying")))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "version %lld of the function is %s",
                        (long long)call->version->number,
                        call->version->state == FGW_FAILED ? "of no use" : "not ready yet");
    call->deadline_ns = call->arrived_ns + call->version->timeout_ms * 1000000;
    return SYN_OK;
}

int
fgw_call_head(struct syn_http_req *req, void *ctx, int64_t *ret_body_max, struct syn_err *err)
{
    struct fgw_call *call = call_new(ctx, req);
    int rc;

    if (call == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a call");
    if (call->gateway->closing)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the gateway is stopping");
    call->internal = syn_http_req_peer(req)->is_unix;
    rc = call->internal ? find_internal(call, err) : find_routed(call, err);
    if (rc == SYN_OK && !call->preflight)
        rc = admit(call, err);
    if (rc == SYN_OK && !call->preflight)
        *ret_body_max = call->version->request_bytes_max;
    return rc;
}

int
fgw_call_serve(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct fgw_call *call = syn_http_req_identity(req);
    size_t size = 0;
    int rc;

    (void)ctx;
    if (call->preflight) {
        syn_http_pass(req, 204, 0);
        return SYN_OK;
    }
    (void)syn_http_req_body(req, &size);
    if (size > 0 && syn_clock_ns() >= call->deadline_ns)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "the request took more than %lld ms to arrive",
                        (long long)call->version->timeout_ms);
    rc = fgw_door_body(call, err);
    return rc < 0 ? rc : begin(call, err);
}
