/* Calls of functions that the server makes, by way of the gateway's own socket: what people ask for
 * over the API here, what events ask for in function_events.c. A call may take minutes, so it has
 * a thread that is nobody else's. */
#include <pthread.h>
#include <string.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/client.h>
#include <synor/infra/http_pass.h>
#include <synor/orchestration/document.h>

#include "function_calls_priv.h"

#define THREADS      16
#define WAITING_MAX  1000
#define ANSWER_MS    (SYN_FUNCTION_TIMEOUT_MAX_MS + 10000)
#define CONNECT_MS   2000
#define BODY_MAX     ((size_t)6 << 20)
#define STATUS_NAME  "x-synor-function-status"
#define ID_NAME      "x-synor-invocation"
#define WAY_NAME     "x-synor-way"
#define RANDOM_CHARS 10

/* A client that is in use: the end has it return. */
struct busy {
    struct busy *next, **before;
    struct syn_client *client;
};

struct srv_calling {
    struct syn_server *server;
    struct syn_pool *pool;
    pthread_mutex_t lock;
    struct busy *busy; /* under `lock` */
    bool quiet;
};

int
srv_calling_new(struct syn_server *server, struct srv_calling **ret, struct syn_err *err)
{
    struct srv_calling *calling = syn_calloc(1, sizeof(*calling));
    int rc;

    if (calling == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for calls");
    calling->server = server;
    rc = syn_pool_new(THREADS, WAITING_MAX, &calling->pool, err);
    if (rc < 0) {
        syn_free(calling);
        return rc;
    }
    (void)pthread_mutex_init(&calling->lock, NULL);
    *ret = calling;
    return SYN_OK;
}

void
srv_calling_quiet(struct srv_calling *calling)
{
    if (calling == NULL)
        return;
    (void)pthread_mutex_lock(&calling->lock);
    calling->quiet = true;
    for (struct busy *busy = calling->busy; busy != NULL; busy = busy->next)
        syn_client_cancel(busy->client);
    (void)pthread_mutex_unlock(&calling->lock);
}

struct srv_calling *
srv_calling_free(struct srv_calling *calling)
{
    if (calling == NULL)
        return NULL;
    calling->pool = syn_pool_free(calling->pool);
    (void)pthread_mutex_destroy(&calling->lock);
    syn_free(calling);
    return NULL;
}

int
srv_calling_run(struct srv_calling *calling, void (*fn)(void *arg), void *arg, struct syn_err *err)
{
    return syn_pool_run(calling->pool, fn, arg, err);
}

/* From now until end_call() it returns soon when everything ends. */
static int
begin_call(struct srv_calling *calling, struct busy *busy, struct syn_err *err)
{
    bool quiet;

    (void)pthread_mutex_lock(&calling->lock);
    quiet = calling->quiet;
    if (!quiet) {
        busy->next = calling->busy;
        busy->before = &calling->busy;
        if (busy->next != NULL)
            busy->next->before = &busy->next;
        calling->busy = busy;
    }
    (void)pthread_mutex_unlock(&calling->lock);
    return quiet ? SYN_FAIL(err, SYN_E_CANCELED, "the server is stopping") : SYN_OK;
}

static void
end_call(struct srv_calling *calling, struct busy *busy)
{
    (void)pthread_mutex_lock(&calling->lock);
    assert(busy->before != NULL); /* it was begun */
    *busy->before = busy->next;
    if (busy->next != NULL)
        busy->next->before = busy->before;
    (void)pthread_mutex_unlock(&calling->lock);
}

void
srv_call_id(const struct syn_server *server, char out[SRV_CALL_ID_SIZE])
{
    char id[SYN_ID_MAX];

    (void)syn_make_id(server->world, "x", id);
    (void)snprintf(out, SRV_CALL_ID_SIZE, "%012llx%.*s",
                   (unsigned long long)syn_wall_ms(server->world), RANDOM_CHARS, id + strlen("x-"));
}

/* --- one call --------------------------------------------------------------------------------- */

void
srv_called_fini(struct srv_called *called)
{
    syn_buf_fini(&called->body);
}

static void
on_header(void *arg, const char *name, const char *value)
{
    struct srv_called *called = arg;

    if (syn_str_eq(name, "content-type"))
        (void)syn_str_copy(called->type, sizeof(called->type), value);
    if (syn_str_eq(name, "x-synor-error"))
        (void)syn_str_copy(called->error, sizeof(called->error), value);
    if (syn_str_eq(name, WAY_NAME))
        (void)syn_str_copy(called->way, sizeof(called->way), value);
}

static int
on_body(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct srv_called *called = arg;

    if (called->body.len + len > (size_t)SYN_FUNCTION_BODY_MAX_BYTES)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the answer is longer than %lld bytes",
                        (long long)SYN_FUNCTION_BODY_MAX_BYTES);
    syn_buf_add(&called->body, data, len);
    return syn_buf_ok(&called->body, err);
}

int
srv_call(struct syn_server *server, const struct srv_call *call, struct srv_called *ret,
         struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    char socket[SRV_PATH_MAX + 64], path[SYN_CLIENT_PATH_MAX], version[24] = "";
    const char *headers[2 * (2 + SRV_CALL_HEADERS_MAX) + 1] = {
        "x-synor-invocation", call->invocation, "x-synor-trigger", call->trigger, NULL};
    const struct syn_raw_call raw = {.method = call->method,
                                     .path = path,
                                     .headers = headers,
                                     .content_type = call->type,
                                     .body = call->body,
                                     .body_len = call->body_len,
                                     .passed = "x-request-id",
                                     .on_header = on_header,
                                     .sink = on_body,
                                     .arg = ret};
    struct busy busy = {.client = NULL};
    int rc;

    for (size_t i = 0; call->headers != NULL && call->headers[i] != NULL; i++)
        headers[4 + i] = call->headers[i];
    *ret = (struct srv_called){.status = 0};
    (void)snprintf(socket, sizeof(socket), "%s/" SRV_GATEWAY_SOCK, server->data_dir);
    if (call->version > 0)
        (void)snprintf(version, sizeof(version), "@%lld", (long long)call->version);
    if (snprintf(path, sizeof(path), "/%s%s%s", call->function, version, call->path) >=
        (int)sizeof(path))
        return SYN_FAIL(err, SYN_E_TOOBIG, "path: longer than %d bytes", SYN_CLIENT_PATH_MAX);
    rc = syn_client_new(&(struct syn_client_options){.target = socket,
                                                     .connect_ms = CONNECT_MS,
                                                     .answer_ms = ANSWER_MS},
                        &client, err);
    busy.client = client;
    if (rc == SYN_OK)
        rc = begin_call(server->calling, &busy, err);
    if (rc < 0)
        return rc;
    rc = syn_client_raw(client, &raw, &ret->status, err);
    end_call(server->calling, &busy);
    return rc;
}

int
srv_call_own(struct syn_server *server, const char *account, const char *path, const json_t *body,
             json_t **ret, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    struct busy busy = {.client = NULL};
    int rc = syn_client_new(
        &(struct syn_client_options){.target = server->socket, .account = account}, &client, err);

    busy.client = client;
    if (rc == SYN_OK)
        rc = begin_call(server->calling, &busy, err);
    if (rc < 0)
        return rc;
    rc = syn_client_call(client, &(struct syn_call){.method = "POST", .path = path, .body = body},
                         ret, err);
    end_call(server->calling, &busy);
    return rc;
}

/* --- over the API ----------------------------------------------------------------------------- */

/* One that is waited for: the request is ours until it is finished on the loop. */
struct invocation {
    struct syn_server *server;
    struct syn_http_req *req;
    char id[SRV_CALL_ID_SIZE];
    char path[SYN_FUNCTION_PATH_MAX + 2];
    struct srv_called called;
    struct syn_err err;
    int rc;
    bool later; /* it was only kept */
};

static int
reply_called(struct invocation *invocation, struct syn_err *err)
{
    const struct srv_called *called = &invocation->called;
    char status[16];
    int rc = SYN_OK;

    (void)snprintf(status, sizeof(status), "%d", called->status);
    if (called->body.len > 0)
        rc = syn_http_reply_bytes(invocation->req, called->status,
                                  called->type[0] != '\0' ? called->type
                                                          : "application/octet-stream",
                                  called->body.data, called->body.len, err);
    else
        syn_http_reply(invocation->req, called->status);
    if (rc == SYN_OK)
        rc = syn_http_reply_header(invocation->req, ID_NAME, invocation->id, err);
    /* What no function answered is the gateway's word, and no function's. */
    if (rc == SYN_OK && called->way[0] != '\0')
        rc = syn_http_reply_header(invocation->req, STATUS_NAME, status, err);
    if (rc == SYN_OK && called->way[0] != '\0')
        rc = syn_http_reply_header(invocation->req, WAY_NAME, called->way, err);
    if (rc == SYN_OK && called->error[0] != '\0')
        rc = syn_http_reply_header(invocation->req, "x-synor-error", called->error, err);
    return rc;
}

static int
reply_kept(struct invocation *invocation, struct syn_err *err)
{
    json_t *answer = NULL;
    int rc =
        syn_json_pack(&answer, err, "{s:s, s:s}", "invocation", invocation->id, "state", "queued");

    return rc < 0 ? rc : syn_http_reply_json_take(invocation->req, 202, answer, err);
}

static void
invocation_free(void *arg)
{
    struct invocation *invocation = arg;

    srv_called_fini(&invocation->called);
    syn_free(invocation);
}

static void
finish(void *arg)
{
    struct invocation *invocation = arg;
    int rc = invocation->rc;

    if (rc == SYN_OK)
        rc = invocation->later ? reply_kept(invocation, &invocation->err)
                               : reply_called(invocation, &invocation->err);
    syn_http_finish(invocation->req, rc, &invocation->err);
    invocation_free(invocation);
}

struct keeping {
    struct invocation *invocation;
    const json_t *function;
};

static int
keep_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct keeping *keeping = arg;
    struct syn_http_req *req = keeping->invocation->req;
    const json_t *query = syn_http_req_query_json(req);
    struct srv_event_call event = {
        .function = syn_document_id(keeping->function),
        .account = syn_json_str(keeping->function, "account", ""),
        .version = syn_json_i64(query, "version", 0),
        .trigger = "invoke",
        .invocation = keeping->invocation->id,
        .type = syn_http_req_header(req, "content-type"),
    };

    event.body = syn_http_req_body(req, &event.body_len);
    return srv_event_call_put(server, txn, &event, err);
}

/* Headers that are of the way to us, or said anew on the way on. */
static bool
is_passed(const char *name)
{
    static const char *const kept[] = {
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "expect",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "authorization",
        "idempotency-key",
        "if-match",
    };

    for (size_t i = 0; i < SYN_LEN(kept); i++)
        if (syn_str_eq(kept[i], name))
            return false;
    return !syn_str_starts(name, "x-synor-");
}

/* What the handler sees of the request's headers. */
static void
headers_of(const struct syn_http_req *req, const char *ret[2 * SRV_CALL_HEADERS_MAX + 1])
{
    const char *name, *value;
    size_t count = 0;

    for (unsigned i = 0; syn_http_req_header_at(req, i, &name, &value); i++) {
        if (count == (size_t)2 * SRV_CALL_HEADERS_MAX || !is_passed(name))
            continue;
        ret[count++] = name;
        ret[count++] = value;
    }
    ret[count] = NULL;
}

static int
invoke(struct invocation *invocation, struct syn_err *err)
{
    const json_t *query = syn_http_req_query_json(invocation->req);
    struct srv_call call = {.version = syn_json_i64(query, "version", 0),
                            .method = syn_json_str(query, "method", "POST"),
                            .path = invocation->path,
                            .trigger = "invoke",
                            .invocation = invocation->id,
                            .type = syn_http_req_header(invocation->req, "content-type")};
    const char *headers[2 * SRV_CALL_HEADERS_MAX + 1];
    int64_t revision = 0;
    SYN_JSON(function);
    int rc = srv_work_load(invocation->server, &srv_function, invocation->req, &function, &revision,
                           err);

    if (rc < 0)
        return rc;
    if (invocation->later) {
        struct keeping keeping = {invocation, function};

        rc = srv_change(invocation->server, "the calls", keep_attempt, &keeping, NULL, err);
        srv_events_poke(invocation->server->events);
        return rc;
    }
    headers_of(invocation->req, headers);
    call.headers = headers;
    call.function = syn_document_id(function);
    call.body = syn_http_req_body(invocation->req, &call.body_len);
    return srv_call(invocation->server, &call, &invocation->called, err);
}

static void
run_invocation(void *arg)
{
    struct invocation *invocation = arg;

    invocation->rc = invoke(invocation, &invocation->err);
    /* The loop takes letters until the last request has been answered. */
    if (syn_loop_post(invocation->server->loop, finish, invocation, NULL, NULL) < 0)
        syn_log(SYN_LOG_ERROR, "functions.answer-lost", "invocation=%s", invocation->id);
}

static int
invoke_function(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *query = syn_http_req_query_json(req);
    const char *path = syn_json_str(query, "path", "/");
    struct syn_server *server = ctx;
    struct invocation *invocation;
    size_t body_len;
    int rc;

    if (path[0] != '/' || path[strcspn(path, " \r\n\t#")] != '\0')
        return SYN_FAIL(err, SYN_E_INVALID, "path: \"%.60s\": expected one such as /a?b=c", path);
    (void)syn_http_req_body(req, &body_len);
    if (syn_json_bool(query, "async", false) && body_len > SRV_CALL_PAYLOAD_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%zu bytes: a call that is kept takes at most %d",
                        body_len, SRV_CALL_PAYLOAD_MAX);
    invocation = syn_calloc(1, sizeof(*invocation));
    if (invocation == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a call");
    invocation->server = server;
    invocation->req = req;
    invocation->later = syn_json_bool(query, "async", false);
    srv_call_id(server, invocation->id);
    (void)syn_str_copy(invocation->path, sizeof(invocation->path), path);
    rc = srv_calling_run(server->calling, run_invocation, invocation, err);
    if (rc < 0) {
        invocation_free(invocation);
        return rc;
    }
    return SYN_HTTP_LATER;
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field invoke_fields[] = {
    {.name = "async",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "Keep it and answer at once; what came of it is in its invocation for a day"},
    {.name = "version",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = INT64_MAX,
     .help = "Of this version, whatever its part of what comes is"},
    {.name = "method",
     .kind = SYN_FIELD_STR,
     .choices = "GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS",
     .fallback = "\"POST\"",
     .help = "What the handler sees as the method"},
    {.name = "path",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_FUNCTION_PATH_MAX,
     .fallback = "\"/\"",
     .help = "What it sees as path and query"},
};
static const struct syn_schema invoke_schema = SYN_SCHEMA("FunctionInvokeQuery", invoke_fields);

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/functions/{id}/invoke",
     .kind = SYN_HTTP_LOOP,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = BODY_MAX,
     .handler = invoke_function,
     .query = &invoke_schema,
     .name = "functions.invoke",
     .summary = "Call it with this body; its status, type and body are the answer's"},
};

const struct srv_routes srv_invoke_routes = {rows, SYN_LEN(rows)};
