/* What the gateway of functions is told, and what it tells.
 *
 *     GET  /v1/function-gateway          the table: for each function where requests go
 *     GET  .../secrets                   a version's, when it is got ready
 *     POST /v1/function-gateway/report   what was called, what waits, what was got ready
 *
 * A report has a number of its gateway's start, and is counted once: the gateway sends it again
 * until it is answered. What it says becomes documents in one transaction; what is only of the
 * moment (what runs and waits) goes to those who scale. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/function_gateway.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>

#include "function_prewarm_priv.h"
#include "function_starts_priv.h"
#include "loads_priv.h"

#define STATE_KEY     "function-gateway"
#define LISTEN_KEY    "function-listen"
#define PORT_FIRST    9080
#define PORT_LAST     9179
#define STOP_MS       3000
#define REPORT_BYTES  ((size_t)16 << 20)
#define LISTEN_MAX    128
#define BUCKETS       21
#define COUNT_MAX     INT64_C(1000000000000)
#define LOG_LINES_MAX 100000

struct srv_functions {
    struct syn_function_keeper *keeper; /* the loop's; NULL: nobody serves functions */
    struct srv_function_certs *certs;   /* set before the keeper starts, and not changed */
    atomic_bool heard;                  /* there is a gateway: it has reported */
    pthread_mutex_t lock;
    char listen[LISTEN_MAX], tls_listen[LISTEN_MAX]; /* under `lock` */
};

int
srv_functions_new(struct srv_functions **ret, struct syn_err *err)
{
    struct srv_functions *functions = syn_calloc(1, sizeof(*functions));

    if (functions == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the gateway of functions");
    (void)pthread_mutex_init(&functions->lock, NULL);
    *ret = functions;
    return SYN_OK;
}

struct srv_functions *
srv_functions_free(struct srv_functions *functions)
{
    if (functions == NULL)
        return NULL;
    functions->keeper = syn_function_keeper_free(functions->keeper);
    functions->certs = srv_function_certs_free(functions->certs);
    (void)pthread_mutex_destroy(&functions->lock);
    syn_free(functions);
    return NULL;
}

static bool
port_free(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    bool is_free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                   bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        (void)close(fd);
    return is_free;
}

/* The port that was taken at the first start stays: people have its addresses. */
static int
own_address(struct syn_server *server, char *out, struct syn_err *err)
{
    int port = PORT_FIRST;
    SYN_JSON(kept);
    SRV_TXN(txn);
    int rc = srv_load(server, LISTEN_KEY, &kept, NULL, err);

    if (rc == SYN_OK)
        return syn_str_copy(out, LISTEN_MAX, json_string_value(kept))
                   ? SYN_OK
                   : SYN_FAIL(err, SYN_E_CORRUPT, LISTEN_KEY ": no address");
    while (rc == SRV_ABSENT && port < PORT_LAST && !port_free(port))
        port++;
    (void)snprintf(out, LISTEN_MAX, "127.0.0.1:%d", port);
    rc = rc < 0 ? rc : srv_txn_put_text(&txn, LISTEN_KEY, out, err);
    return rc < 0 ? rc : srv_txn_commit(server, &txn, NULL, err);
}

int
srv_functions_start(struct syn_server *server, const struct syn_server_options *options,
                    struct syn_err *err)
{
    char dir[SRV_PATH_MAX + 16], listen[LISTEN_MAX] = "";
    const char *given = options->function_listen;
    struct syn_function_keeper_options keeper = {.loop = server->loop,
                                                 .program = options->function_program,
                                                 .data_dir = dir,
                                                 .server = server->socket,
                                                 .listen = listen,
                                                 .access_log = options->function_access_log,
                                                 .log_level = options->log_level,
                                                 .log_json = options->log_json};
    int rc = SYN_OK;

    if (options->function_program == NULL)
        return SYN_OK;
    (void)snprintf(dir, sizeof(dir), "%s/function", server->data_dir);
    if (given == NULL)
        rc = own_address(server, listen, err);
    else if (syn_str_eq(given, "none"))
        keeper.listen = NULL;
    else if (strrchr(given, ':') == NULL || !syn_str_copy(listen, sizeof(listen), given))
        rc = SYN_FAIL(err, SYN_E_INVALID,
                      "--function-listen: \"%.60s\": expected ADDRESS:PORT or none", given);
    if (rc == SYN_OK && options->function_tls_listen != NULL) {
        keeper.tls_listen = options->function_tls_listen;
        if (strrchr(keeper.tls_listen, ':') == NULL || strlen(keeper.tls_listen) >= LISTEN_MAX)
            rc = SYN_FAIL(err, SYN_E_INVALID,
                          "--function-tls-listen: \"%.60s\": expected ADDRESS:PORT",
                          keeper.tls_listen);
    }
    if (rc == SYN_OK)
        rc = srv_function_certs_new(server, options, &server->functions->certs, err);
    return rc < 0 ? rc : syn_function_keeper_new(&keeper, &server->functions->keeper, err);
}

static void
stopped(void *arg)
{
    *(bool *)arg = true;
}

void
srv_functions_stop(struct syn_server *server)
{
    int64_t until = syn_mono_ms(server->world) + STOP_MS;
    bool done = false;

    if (server->functions == NULL || server->functions->keeper == NULL)
        return;
    syn_function_keeper_stop(server->functions->keeper, stopped, &done);
    while (!done && syn_mono_ms(server->world) < until &&
           syn_loop_turn(server->loop, 100, NULL) == SYN_OK)
        continue;
    server->functions->keeper = syn_function_keeper_free(server->functions->keeper);
}

void
srv_function_address(const struct syn_server *server, bool tls, char *out, size_t cap)
{
    struct srv_functions *functions = server->functions;

    (void)pthread_mutex_lock(&functions->lock);
    (void)syn_str_copy(out, cap, tls ? functions->tls_listen : functions->listen);
    (void)pthread_mutex_unlock(&functions->lock);
}

/* --- the table -------------------------------------------------------------------------------- */

static int
add_endpoints(struct syn_server *server, const char *service, json_t *out, struct syn_err *err)
{
    const json_t *row;
    char key[SRV_KEY_MAX];
    json_t *list = json_array();
    size_t i;
    SYN_JSON(doc);
    int rc = syn_json_set_take(out, "endpoints", list, err);

    if (rc == SYN_OK && service[0] != '\0')
        rc = srv_load(server, srv_key(key, "service", service, NULL), &doc, NULL, err);
    json_array_foreach (syn_json_at(doc, "status.endpoints"), i, row) {
        json_t *start = json_object_get(row, "start");
        char address[128];
        SYN_JSON(endpoint);

        if (rc != SYN_OK || !syn_json_bool(row, "ready", false))
            continue;
        (void)snprintf(address, sizeof(address), "%s:%lld", syn_json_str(row, "address", ""),
                       (long long)syn_json_i64(row, "port", 0));
        rc = syn_json_pack(&endpoint, err, "{s:s, s:s, s:s}", "instance",
                           syn_json_str(row, "instance", ""), "node", syn_json_str(row, "node", ""),
                           "address", address);
        if (rc == SYN_OK && start != NULL)
            rc = syn_json_set_take(endpoint, "start", json_incref(start), err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, SYN_TAKE(endpoint), err);
    }
    return rc < 0 ? rc : SYN_OK;
}

static int64_t
weight_of(const json_t *function, int64_t number)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(syn_document_status(function), "traffic"), i, row)
        if (syn_json_i64(row, "version", 0) == number)
            return syn_json_i64(row, "weight", 0);
    return 0;
}

static int
make_version(struct syn_server *server, const json_t *function, const json_t *version, json_t **ret,
             struct syn_err *err)
{
    static const char *const copied[] = {
        "memory_bytes",      "timeout_ms",         "concurrency",   "max_waiting", "fuel",
        "request_bytes_max", "response_bytes_max", "max_instances", "env",         "secrets"};
    const json_t *spec = json_object_get(version, "spec");
    const char *service = syn_json_str(version, "service", "");
    int64_t number = syn_json_i64(version, "version", 0);
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "version",
                           (json_int_t)number, "weight", (json_int_t)weight_of(function, number),
                           "state", syn_json_str(version, "state", ""), "runtime",
                           syn_json_str(spec, "runtime", ""), "code",
                           syn_json_str(version, "code_cid", ""), "path", "", "service", service);

    for (size_t i = 0; i < SYN_LEN(copied) && rc == SYN_OK; i++)
        if (json_object_get(spec, copied[i]) != NULL)
            rc = syn_json_set_take(doc, copied[i], json_incref(json_object_get(spec, copied[i])),
                                   err);
    if (rc == SYN_OK)
        rc = add_endpoints(server, service, doc, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
add_versions(struct syn_server *server, const json_t *function, json_t *out, struct syn_err *err)
{
    const json_t *version;
    json_t *list = json_array();
    size_t i;
    SYN_JSON(versions);
    int rc = syn_json_set_take(out, "versions", list, err);

    if (rc == SYN_OK)
        rc = srv_function_versions(server, syn_document_id(function), &versions, err);
    json_array_foreach (versions, i, version) {
        json_t *row = NULL;

        if (rc == SYN_OK)
            rc = make_version(server, function, version, &row, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, row, err);
    }
    return rc;
}

static int
add_routes(const json_t *function, json_t *out, struct syn_err *err)
{
    const json_t *trigger;
    json_t *list = json_array();
    size_t i;
    int rc = syn_json_set_take(out, "routes", list, err);

    json_array_foreach (json_object_get(syn_document_spec(function), "triggers"), i, trigger)
        if (rc == SYN_OK && syn_str_eq(syn_json_str(trigger, "type", ""), "http"))
            rc = syn_json_append_take(list, syn_json_deep_copy(trigger), err);
    return rc;
}

/* Of a function's document, what the gateway needs. */
static int
abridge(struct syn_server *server, json_t *function, struct syn_err *err)
{
    const json_t *status = syn_document_status(function);
    SYN_JSON(brief);
    int rc = syn_json_pack(
        &brief, err, "{s:s, s:s, s:s, s:s, s:s}", "id", syn_document_id(function), "name",
        syn_json_str(function, "name", ""), "account", syn_json_str(function, "account", ""),
        "state", syn_document_state(function), "reason", syn_json_str(status, "reason", ""));

    if (rc == SYN_OK)
        rc = srv_account_name(server, syn_json_str(function, "account", ""), brief, err);
    if (rc == SYN_OK)
        rc = add_routes(function, brief, err);
    if (rc == SYN_OK)
        rc = srv_function_trust_add(server, syn_json_str(function, "account", ""), brief, err);
    if (rc == SYN_OK)
        rc = add_versions(server, function, brief, err);
    if (rc < 0)
        return rc;
    (void)json_object_clear(function);
    return json_object_update(function, brief) == 0
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a function's routes");
}

/* A version, and a derived service, are told as their function. */
static void
subject(const char *key, char *out)
{
    const char *id = strchr(key, '/') + 1;
    char function[SYN_ID_MAX];
    int64_t version;

    if (syn_str_starts(key, "function/"))
        (void)snprintf(out, SRV_KEY_MAX, "%s", key);
    else if (syn_str_starts(key, "function-version/"))
        (void)snprintf(out, SRV_KEY_MAX, "function/%.*s", (int)strcspn(id, "/"), id);
    else if (syn_function_of_service(id, function, &version))
        (void)snprintf(out, SRV_KEY_MAX, "function/%s", function);
    else
        out[0] = '\0'; /* somebody's service */
}

static int
stream_table(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct srv_stream_plan plan = {.prefixes = {"function/", "function-version/", "service/"},
                                         .beside = SRV_FUNCTION_KEYS,
                                         .put_event = "put",
                                         .delete_event = "delete",
                                         .snapshot = true,
                                         .parts = true,
                                         .subject = subject,
                                         .complete = abridge};

    return srv_stream(ctx, req, &plan, err);
}

/* --- secrets ---------------------------------------------------------------------------------- */

static int
version_secrets(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    const char *variable;
    char key[SRV_KEY_MAX];
    uint64_t number = 0;
    json_t *name;
    SYN_JSON(function);
    SYN_JSON(version);
    SYN_JSON(answer);
    int rc =
        syn_parse_u64(syn_http_req_param(req, "version"), 1, INT64_MAX, "version", &number, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "there is no function %.60s", id);
    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "function", id, NULL), "function", &function, NULL, err);
    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key_seq(key, "function-version", id, (int64_t)number), "version",
                      &version, NULL, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:{}}", "environment");
    json_object_foreach (syn_json_at(version, "spec.secrets"), variable, name) {
        json_t *value = NULL;

        if (rc == SYN_OK)
            rc = srv_secret_read(ctx, syn_json_str(function, "account", ""),
                                 json_string_value(name), &value, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(json_object_get(answer, "environment"), variable, value, err);
    }
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- the report ------------------------------------------------------------------------------- */

/* One on its way into a transaction. */
struct report {
    struct syn_http_req *req;
    const json_t *body;
    json_t *ready; /* {function: true} of those whose versions have changed */
};

/* Is it of a function that there is? What was deleted meanwhile is nobody's any more. */
static int
find_function(struct syn_server *server, const json_t *row, bool *ret, struct syn_err *err)
{
    const char *id = syn_json_str(row, "function", "");
    char key[SRV_KEY_MAX];
    SYN_JSON(function);
    int rc;

    *ret = false;
    if (!syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_INVALID, "function: \"%.60s\" is no function", id);
    rc = srv_load(server, srv_key(key, "function", id, NULL), &function, NULL, err);
    *ret = rc == SYN_OK;
    return rc < 0 ? rc : SYN_OK;
}

static int
read_calls(const json_t *row, struct srv_calls *ret, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t *value;
    } numbers[] = {{"version", &ret->version}, {"count", &ret->count},
                   {"errors", &ret->errors},   {"throttled", &ret->throttled},
                   {"cold", &ret->cold},       {"duration_us_sum", &ret->duration_us}};
    struct syn_usage_sum sum = {0};
    SYN_JSON(item);
    int rc;

    *ret = (struct srv_calls){.function = syn_json_str(row, "function", ""),
                              .node = syn_json_str(row, "node", ""),
                              .trigger = syn_json_str(row, "trigger", ""),
                              .histogram = json_object_get(row, "duration_histogram")};
    for (size_t i = 0; i < SYN_LEN(numbers); i++) {
        rc = syn_json_get_i64(row, "usage[]", numbers[i].name, 0, INT64_MAX / 2, numbers[i].value,
                              err);
        if (rc < 0)
            return rc;
    }
    if (ret->count > COUNT_MAX || json_array_size(ret->histogram) != BUCKETS)
        return SYN_FAIL(err, SYN_E_INVALID, "usage[]: too many calls, or no histogram");
    if (syn_str_eq(syn_json_str(row, "byte_ms", ""), "0"))
        return SYN_OK;
    rc = syn_json_pack(&item, err, "[{s:s, s:s, s:s}]", "item", SYN_FUNCTION_ITEM_COMPUTE,
                       "measure", syn_measure_name(SYN_MEASURE_BYTE_MS), "quantity",
                       syn_json_str(row, "byte_ms", ""));
    if (rc == SYN_OK)
        rc = syn_usage_decode(item, &sum, err);
    if (rc == SYN_OK)
        ret->byte_ms = sum.items[0].quantity;
    return rc;
}

static int
take_usage(struct syn_server *server, struct srv_txn *txn, const struct report *report,
           struct syn_err *err)
{
    SYN_SCOPED(srv_calls_batch_free_scope) struct srv_calls_batch *batch = NULL;
    const json_t *row;
    size_t i;
    int rc = srv_calls_batch_new(server, &batch, err);

    json_array_foreach (json_object_get(report->body, "usage"), i, row) {
        struct srv_calls calls;
        bool found = false;

        if (rc == SYN_OK)
            rc = find_function(server, row, &found, err);
        if (rc == SYN_OK && found)
            rc = read_calls(row, &calls, err);
        if (rc == SYN_OK && found)
            rc = srv_calls_batch_add(batch, &calls, err);
    }
    json_array_foreach (json_object_get(report->body, "starts"), i, row) {
        bool found = false;

        if (rc == SYN_OK)
            rc = find_function(server, row, &found, err);
        if (rc == SYN_OK && found)
            rc = srv_calls_batch_start(batch, row, err);
    }
    return rc < 0 ? rc : srv_calls_batch_write(batch, txn, err);
}

static int
take_version(struct syn_server *server, struct srv_txn *txn, const json_t *row, json_t *ready,
             struct syn_err *err)
{
    const char *function = syn_json_str(row, "function", ""),
               *state = syn_json_str(row, "state", "");
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(version);
    int rc = srv_load(
        server, srv_key_seq(key, "function-version", function, syn_json_i64(row, "version", 0)),
        &version, &revision, err);

    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    /* A version with a pool is ready when that says so. */
    if (!syn_str_eq(syn_json_str(version, "state", ""), "preparing") ||
        syn_json_str(version, "service", "")[0] != '\0')
        return SYN_OK;
    if (!syn_str_eq(state, "ready") && !syn_str_eq(state, "failed"))
        return SYN_FAIL(err, SYN_E_INVALID, "versions[].state: \"%.20s\"", state);
    rc = syn_json_set_str(version, "state", state, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(version, "message", syn_json_str(row, "message", ""), err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(ready, function, true, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, version, err);
}

static int
take_versions(struct syn_server *server, struct srv_txn *txn, struct report *report,
              struct syn_err *err)
{
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report->body, "versions"), i, row) {
        bool found = false;

        if (rc == SYN_OK)
            rc = find_function(server, row, &found, err);
        if (rc == SYN_OK && found)
            rc = take_version(server, txn, row, report->ready, err);
    }
    return rc;
}

/* One that an event asked for has a record already, of how it goes with the event. */
static int
take_invocation(struct syn_server *server, struct srv_txn *txn, const char *key, const json_t *row,
                struct syn_err *err)
{
    int64_t revision = 0;
    SYN_JSON(known);
    int rc = srv_load(server, key, &known, &revision, err);

    if (rc == SRV_ABSENT)
        return srv_txn_put(txn, key, row, err);
    if (rc == SYN_OK)
        rc = syn_json_set_missing(known, row, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, known, err);
}

static int
take_invocations(struct syn_server *server, struct srv_txn *txn, const struct report *report,
                 struct syn_err *err)
{
    json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report->body, "invocations"), i, row) {
        const char *id = syn_json_str(row, "id", "");
        char key[SRV_KEY_MAX];
        bool found = false;

        if (rc == SYN_OK && !syn_name_ok(id))
            rc = SYN_FAIL(err, SYN_E_INVALID, "invocations[].id: \"%.60s\"", id);
        if (rc == SYN_OK)
            rc = find_function(server, row, &found, err);
        if (rc < 0 || !found)
            continue;
        (void)srv_key(key, "invocation", syn_json_str(row, "function", ""), id);
        rc = take_invocation(server, txn, key, row, err);
    }
    return rc;
}

static int
attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct report *report = arg;
    const char *boot = syn_json_str(report->body, "boot", "");
    int64_t seq = syn_json_i64(report->body, "seq", 0), revision = 0;
    SYN_JSON(state);
    SYN_JSON(next);
    int rc = srv_load(server, STATE_KEY, &state, &revision, err);

    if (rc < 0)
        return rc;
    if (rc == SYN_OK && syn_str_eq(syn_json_str(state, "boot", ""), boot) &&
        seq <= syn_json_i64(state, "seq", 0))
        return SRV_REPLAYED;
    (void)json_object_clear(report->ready);
    rc = syn_json_pack(&next, err, "{s:s, s:I}", "boot", boot, "seq", (json_int_t)seq);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, STATE_KEY, state != NULL ? revision : 0, next, err);
    if (rc == SYN_OK)
        rc = take_usage(server, txn, report, err);
    if (rc == SYN_OK)
        rc = take_versions(server, txn, report, err);
    if (rc == SYN_OK)
        rc = srv_prewarm_learn(server, txn, report->body, err);
    return rc < 0 ? rc : take_invocations(server, txn, report, err);
}

/* What runs and waits: pools are scaled by it. */
static int
take_loads(struct syn_server *server, const struct report *report, struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(server->world);
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report->body, "loads"), i, row) {
        const char *function = syn_json_str(row, "function", "");
        int64_t running = syn_json_i64(row, "running", 0),
                waiting = syn_json_i64(row, "waiting", 0);
        char key[SRV_KEY_MAX];
        const char *service;
        SYN_JSON(version);

        if (rc < 0 || !syn_name_ok(function))
            continue;
        rc = srv_load(
            server, srv_key_seq(key, "function-version", function, syn_json_i64(row, "version", 0)),
            &version, NULL, err);
        service = syn_json_str(version, "service", "");
        /* One that is not ready yet counts as a call: see hold_first() of its controller. */
        if (rc != SYN_OK || service[0] == '\0' ||
            !syn_str_eq(syn_json_str(version, "state", ""), "ready")) {
            rc = rc < 0 ? rc : SYN_OK;
            continue;
        }
        /* What waits is added by the rule. */
        rc = srv_loads_tell(server->loads, service, "inflight", SYN_MIN(running, COUNT_MAX) * 1000,
                            now_ms, err);
        if (rc == SYN_OK)
            rc = srv_loads_tell(server->loads, service, "held", SYN_MIN(waiting, COUNT_MAX) * 1000,
                                now_ms, err);
        srv_controller_poke(server->controller, service);
    }
    return rc;
}

/* Instances that are not in its table any more, and have ended what they had: they may be ended. */
static int
take_left(struct syn_server *server, const struct report *report, struct syn_err *err)
{
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report->body, "left"), i, row) {
        const char *id = json_string_value(row);
        char key[SRV_KEY_MAX];
        SYN_JSON(instance);
        int state;

        if (rc < 0 || id == NULL || !syn_name_ok(id))
            continue;
        rc = srv_load(server, srv_key(key, "instance", id, NULL), &instance, NULL, err);
        if (rc != SYN_OK) {
            rc = rc < 0 ? rc : SYN_OK;
            continue;
        }
        state = syn_instance_state_find(syn_document_state(instance));
        if (state < 0 || syn_instance_ended((unsigned)state))
            continue;
        srv_loads_left(server->loads, id, syn_wall_ms(server->world));
        srv_controller_poke(server->controller,
                            syn_json_str(syn_document_spec(instance), "job", ""));
    }
    return rc;
}

int
srv_functions_balanced(struct syn_server *server, const json_t *instances, json_t **ret,
                       struct syn_err *err)
{
    const json_t *instance;
    size_t i;
    SYN_JSON(balanced);
    int rc = SYN_OK;

    *ret = NULL;
    if (server->functions == NULL || !atomic_load(&server->functions->heard))
        return SYN_OK;
    balanced = json_object();
    if (balanced == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what is balanced");
    json_array_foreach (instances, i, instance) {
        const char *id = syn_document_id(instance);
        int64_t since_ms = syn_document_time(syn_document_spec(instance), "draining_at");

        if (rc == SYN_OK &&
            (since_ms == SYN_DOCUMENT_NONE || !srv_loads_has_left(server->loads, id, since_ms)))
            rc = syn_json_set_str(balanced, id, "serving", err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(balanced);
    return rc;
}

/* What guests wrote. Lines that came twice stand twice: nothing rests on them. */
static int
take_logs(struct syn_server *server, const struct report *report, struct syn_err *err)
{
    const json_t *row, *rows = json_object_get(report->body, "logs");
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (rows, i, row) {
        bool found = false;

        if (rc == SYN_OK)
            rc = find_function(server, row, &found, err);
        if (rc == SYN_OK && found)
            rc = srv_log_line(server, syn_json_str(row, "function", ""), syn_json_i64(row, "at", 0),
                              syn_json_str(row, "line", ""), err);
    }
    if (json_array_size(rows) > 0)
        srv_follow_poke(server);
    return rc;
}

/* After the report is counted: counters cannot be taken back. */
static int
count_starts(struct syn_server *server, const struct report *report, struct syn_err *err)
{
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report->body, "starts"), i, row) {
        char key[SRV_KEY_MAX];
        SYN_JSON(function);

        if (rc < 0)
            break;
        rc = srv_load(server, srv_key(key, "function", syn_json_str(row, "function", ""), NULL),
                      &function, NULL, err);
        if (rc == SYN_OK)
            srv_starts_metrics_add(server, function, row);
        rc = rc == SRV_ABSENT ? SYN_OK : rc;
    }
    return rc;
}

static int
count_metrics(struct syn_server *server, const struct report *report, struct syn_err *err)
{
    const json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(report->body, "usage"), i, row) {
        struct srv_calls calls;
        char key[SRV_KEY_MAX];
        SYN_JSON(function);

        if (rc < 0)
            break;
        rc = srv_load(server, srv_key(key, "function", syn_json_str(row, "function", ""), NULL),
                      &function, NULL, err);
        if (rc == SYN_OK)
            rc = read_calls(row, &calls, err);
        if (rc == SYN_OK)
            srv_function_metrics_add(server, function, &calls);
        rc = rc == SRV_ABSENT ? SYN_OK : rc;
    }
    return rc;
}

static int
post_report(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct report report = {.req = req, .body = syn_http_req_json(req)};
    const char *function;
    json_t *changed;
    SYN_JSON(ready);
    int rc;

    report.ready = ready = json_object();
    if (ready == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a report");
    (void)pthread_mutex_lock(&server->functions->lock);
    (void)syn_str_copy(server->functions->listen, LISTEN_MAX,
                       syn_json_str(report.body, "listen", ""));
    (void)syn_str_copy(server->functions->tls_listen, LISTEN_MAX,
                       syn_json_str(report.body, "tls_listen", ""));
    (void)pthread_mutex_unlock(&server->functions->lock);
    atomic_store(&server->functions->heard, true);
    rc = take_loads(server, &report, err);
    if (rc == SYN_OK)
        rc = take_left(server, &report, err);
    if (rc == SYN_OK)
        rc = srv_change(server, "the functions' report", attempt, &report, NULL, err);
    if (rc == SYN_OK)
        rc = count_metrics(server, &report, err);
    if (rc == SYN_OK)
        rc = count_starts(server, &report, err);
    if (rc == SYN_OK)
        rc = take_logs(server, &report, err);
    if (rc < 0)
        return rc;
    json_object_foreach (ready, function, changed)
        srv_controller_poke(server->controller, function);
    syn_http_reply(req, 204);
    return SYN_OK;
}

static int
post_certificates(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const struct syn_http_peer *peer = syn_http_req_peer(req);
    SYN_JSON(answer);
    int rc;

    /* Keys leave the server for its own processes alone. */
    if (!peer->is_unix || peer->uid != geteuid())
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "certificates and keys are told to the gateway");
    rc = srv_function_certs_answer(server, server->functions->certs, syn_http_req_json(req),
                                   &answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table of routes -------------------------------------------------------------------------- */

static const struct syn_field report_fields[] = {
    {.name = "boot",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 64,
     .required = true,
     .help = "Drawn when the gateway starts"},
    {.name = "seq",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = INT64_MAX,
     .required = true,
     .help = "Of this report; one that was counted counts no more"},
    {.name = "listen",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = LISTEN_MAX - 1,
     .fallback = "\"\"",
     .help = "Where it answers clients"},
    {.name = "tls_listen",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = LISTEN_MAX - 1,
     .fallback = "\"\"",
     .help = "The same by TLS"},
    {.name = "versions", .kind = SYN_FIELD_ANY, .help = "[{function, version, state, message}]"},
    {.name = "loads", .kind = SYN_FIELD_ANY, .help = "[{function, version, running, waiting}]"},
    {.name = "left",
     .kind = SYN_FIELD_ANY,
     .help = "[instance]: it left the table, and what it was passed has ended"},
    {.name = "usage", .kind = SYN_FIELD_ANY, .help = "Sums of calls, see ADR 44"},
    {.name = "starts", .kind = SYN_FIELD_ANY, .help = "Sums of how instances came, see ADR 55"},
    {.name = "invocations", .kind = SYN_FIELD_ANY, .help = "Calls that are to be remembered"},
    {.name = "logs", .kind = SYN_FIELD_ANY, .help = "[{function, version, at, line}]"},
};
static const struct syn_schema report_schema = SYN_SCHEMA("FunctionReport", report_fields);

static const struct syn_field certificates_fields[] = {
    {.name = "digest",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 64,
     .fallback = "\"\"",
     .help = "Of the last answer: what is as it was is not told again"},
    {.name = "hosts", .kind = SYN_FIELD_ANY, .help = "{host: account} of routes"},
};
static const struct syn_schema certificates_schema =
    SYN_SCHEMA("FunctionHosts", certificates_fields);

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/function-gateway/certificates",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = (size_t)1 << 20,
     .handler = post_certificates,
     .body = &certificates_schema,
     .name = "functions.certificates",
     .summary = "Certificates, with their keys, that the gateway of functions serves"},
    {.method = "GET",
     .pattern = "/v1/function-gateway",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_OPERATOR,
     .handler = stream_table,
     .name = "functions.gateway",
     .summary = "Stream of what the gateway of functions serves"},
    {.method = "GET",
     .pattern = "/v1/function-gateway/functions/{id}/versions/{version}/secrets",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .handler = version_secrets,
     .name = "functions.secrets",
     .summary = "What a version is given, for the gateway"},
    {.method = "POST",
     .pattern = "/v1/function-gateway/report",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = REPORT_BYTES,
     .handler = post_report,
     .body = &report_schema,
     .name = "functions.report",
     .summary = "What the gateway of functions saw"},
};

const struct srv_routes srv_function_gateway_routes = {rows, SYN_LEN(rows)};
