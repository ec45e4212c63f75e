#include <synor/workload/function_spec.h>

#include <string.h>

#include <synor/base/cron.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>

#include "../work_priv.h"

#define MIB              (INT64_C(1) << 20)
#define CPU_MIN          10
#define IDLE_MAX_MS      (INT64_C(24) * 3600 * 1000)
#define BILLING_MIN_MS   1000
#define BILLING_MAX_MS   (INT64_C(31) * 24 * 3600 * 1000)
#define HOST_MAX         253
#define BATCH_MAX        100
#define DEPENDENCIES_MAX 255
#define NAME_PREFIX_MAX  200 /* of names of content */
#define EVENTS_MAX       8
#define WARMUP_MAX_MS    (INT64_C(24) * 3600 * 1000)
#define DESTINATION_MAX  512
#define HEADER_MAX       64 /* of a signature */
#define PREFIX_MAX       32
#define TOLERANCE_S      300
#define TOLERANCE_MAX_S  86400

static const char *const reserved_env[] = {"PORT"};
static const char *const methods[] = {"GET",   "HEAD",    "POST",    "PUT",  "DELETE",
                                      "PATCH", "OPTIONS", "CONNECT", "TRACE"};
#define METHODS_SERVED 7 /* the first of them */

/* clang-format off */
static const struct syn_field cors_fields[] = {
    {.name = "origins", .kind = SYN_FIELD_LIST, .min = 1, .max = 64, .fallback = "[\"*\"]",
     .help = "pages of these may call it: https://app.example, or * for all"},
    {.name = "headers", .kind = SYN_FIELD_LIST, .min = 0, .max = 64, .fallback = "[\"content-type\"]",
     .help = "headers that they may send"},
    {.name = "credentials", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "cookies are sent along; not with the origin *"},
    {.name = "max_age_s", .kind = SYN_FIELD_I64, .min = 0, .max = 86400, .fallback = "600",
     .help = "how long a browser remembers it"},
};
static const struct syn_schema cors_schema = SYN_SCHEMA("FunctionCors", cors_fields);

static const struct syn_field hmac_fields[] = {
    {.name = "secret", .kind = SYN_FIELD_NAME, .required = true,
     .help = "of the account: what who calls signs with"},
    {.name = "scheme", .kind = SYN_FIELD_STR, .choices = "body|stripe|standard", .fallback = "\"body\"",
     .help = "what is signed: the body; time and body as Stripe has it; id, time and body as Standard Webhooks"},
    {.name = "header", .kind = SYN_FIELD_STR, .min = 1, .max = HEADER_MAX,
     .help = "body, stripe: where the signature is; default x-hub-signature-256, stripe-signature"},
    {.name = "prefix", .kind = SYN_FIELD_STR, .min = 0, .max = PREFIX_MAX,
     .help = "body: what stands before the digits; default sha256= without a header of its own, else nothing"},
    {.name = "tolerance_s", .kind = SYN_FIELD_I64, .min = 1, .max = TOLERANCE_MAX_S,
     .help = "stripe, standard: how far its time may be from ours; default 300"},
};
static const struct syn_schema hmac_schema = SYN_SCHEMA("FunctionHmac", hmac_fields);

static const struct syn_field trigger_fields[] = {
    {.name = "type", .kind = SYN_FIELD_STR, .required = true, .choices = "http|schedule|queue|storage|ledger",
     .help = "what calls it"},
    {.name = "host", .kind = SYN_FIELD_STR, .min = 0, .max = HOST_MAX,
     .help = "http: requests for this host alone; without it any"},
    {.name = "path", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_FUNCTION_PATH_MAX,
     .help = "http: a pattern such as /api/{id} or /files/{rest*}"},
    {.name = "methods", .kind = SYN_FIELD_LIST, .min = 1, .max = SYN_FUNCTION_METHODS_MAX,
     .help = "http: without them all"},
    {.name = "cors", .kind = SYN_FIELD_OBJ, .sub = &cors_schema,
     .help = "http: pages of other origins may call it"},
    {.name = "auth", .kind = SYN_FIELD_STR, .choices = "none|key|token",
     .help = "http: who may call it: anybody (none, the default), who has a key of the account, or a signed token"},
    {.name = "hmac", .kind = SYN_FIELD_OBJ, .sub = &hmac_schema,
     .help = "http: only requests that are signed with a secret: webhooks"},
    {.name = "cron", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_CRON_TEXT_MAX - 1,
     .help = "schedule: when, as cron has it, with seconds first where there are six fields"},
    {.name = "zone", .kind = SYN_FIELD_STR, .min = 1, .max = 63,
     .help = "schedule: the time zone; default UTC"},
    {.name = "missed", .kind = SYN_FIELD_STR, .choices = "skip|once",
     .help = "schedule: runs that were missed while the platform was down; default once for all of them"},
    {.name = "payload", .kind = SYN_FIELD_ANY, .help = "schedule: what the handler gets"},
    {.name = "queue", .kind = SYN_FIELD_NAME, .help = "queue: of the account; its messages are the events"},
    {.name = "batch", .kind = SYN_FIELD_I64, .min = 1, .max = BATCH_MAX,
     .help = "queue: so many messages at most in one call; default 1"},
    {.name = "prefix", .kind = SYN_FIELD_STR, .min = 0, .max = NAME_PREFIX_MAX,
     .help = "storage: the account's names that begin so; \"\" all of them"},
    {.name = "events", .kind = SYN_FIELD_LIST, .min = 1, .max = EVENTS_MAX,
     .help = "storage: put, delete; ledger: mint, transfer, escrow, settle, refund; without it all"},
};
static const struct syn_schema trigger_schema = SYN_SCHEMA("FunctionTrigger", trigger_fields);

static const struct syn_field destination_fields[] = {
    {.name = "success", .kind = SYN_FIELD_STR, .min = 1, .max = DESTINATION_MAX,
     .help = "queue:NAME or a URL: what came of calls that went well"},
    {.name = "failure", .kind = SYN_FIELD_STR, .min = 1, .max = DESTINATION_MAX,
     .help = "queue:NAME or a URL: of calls that were given up"},
    {.name = "secret", .kind = SYN_FIELD_NAME,
     .help = "of the account: what URLs are told is signed with it, as Standard Webhooks has it"},
};
static const struct syn_schema destination_schema =
    SYN_SCHEMA("FunctionDestinations", destination_fields);

static const struct syn_field warmup_fields[] = {
    {.name = "cron", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = SYN_CRON_TEXT_MAX - 1,
     .help = "from when on, as of schedules that call it"},
    {.name = "zone", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_ZONE_NAME_MAX - 1, .fallback = "\"UTC\"",
     .help = "time zone of it, such as Europe/Berlin"},
    {.name = "for_ms", .kind = SYN_FIELD_MS, .min = 1000, .max = WARMUP_MAX_MS, .fallback = "600000",
     .help = "for so long each time"},
    {.name = "instances", .kind = SYN_FIELD_I64, .min = 1, .max = SYN_FUNCTION_INSTANCES_MAX, .fallback = "1",
     .help = "so many are ready, and paid for"},
};
static const struct syn_schema warmup_schema = SYN_SCHEMA("FunctionWarmup", warmup_fields);

static const struct syn_field spec_fields[] = {
    {.name = "runtime", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = SYN_FUNCTION_REF_MAX,
     .help = "wasm, python3, python311, node, node20, c, rust, go, ... or custom:IMAGE"},
    {.name = "handler", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_FUNCTION_HANDLER_MAX, .fallback = "\"\"",
     .help = "FILE.FUNCTION of the code; default main.handler, of a compiled program its file, main"},
    {.name = "code", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_FUNCTION_REF_MAX, .fallback = "\"\"",
     .help = "synor://NAME or synor://CID of a folder or a file; what a name stands for is kept at deployment"},
    {.name = "layer", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_FUNCTION_REF_MAX, .fallback = "\"\"",
     .help = "synor://NAME or synor://CID of a folder with what the code depends on"},
    {.name = "memory_bytes", .kind = SYN_FIELD_BYTES, .min = 128 * MIB, .max = 8192 * MIB,
     .fallback = "134217728", .help = "memory of an instance"},
    {.name = "cpu_millicores", .kind = SYN_FIELD_CPUS, .min = CPU_MIN, .max = 64000,
     .help = "CPU of an instance; default in proportion to its memory, a core for 2 GiB"},
    {.name = "gpus", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_PLACE_GPUS_MAX,
     .help = "GPUs of an instance, all of one model, paid for as long as it is ready"},
    {.name = "gpu_model", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_GPU_MODEL_MAX - 1,
     .help = "model of the GPUs, as h100"},
    {.name = "scratch_bytes", .kind = SYN_FIELD_BYTES, .min = MIB, .max = INT64_C(64) << 30,
     .fallback = "536870912", .help = "what an instance may write to /tmp and the like"},
    {.name = "timeout_ms", .kind = SYN_FIELD_MS, .min = 1, .max = SYN_FUNCTION_TIMEOUT_MAX_MS,
     .fallback = "30000", .help = "a call takes no longer, waiting included"},
    {.name = "concurrency", .kind = SYN_FIELD_I64, .min = 1, .max = SYN_FUNCTION_CONCURRENCY_MAX,
     .fallback = "1", .help = "calls of one instance at a time"},
    {.name = "min_instances", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_FUNCTION_INSTANCES_MAX,
     .fallback = "0", .help = "instances that are ready though nobody calls, and are paid for"},
    {.name = "max_instances", .kind = SYN_FIELD_I64, .min = 1, .max = SYN_FUNCTION_INSTANCES_MAX,
     .fallback = "10", .help = "instances at most; wasm: calls at a time, times concurrency"},
    {.name = "warmup", .kind = SYN_FIELD_LIST, .sub = &warmup_schema, .min = 0, .max = SYN_FUNCTION_WARMUPS_MAX,
     .fallback = "[]", .help = "times when instances are ready though nobody calls, and are paid for"},
    {.name = "prewarm", .kind = SYN_FIELD_STR, .choices = "auto|off", .fallback = "\"auto\"",
     .help = "auto: by when it was called, instances are kept longer or shorter than idle_ms, and started ahead"},
    {.name = "max_waiting", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_FUNCTION_WAITING_MAX,
     .fallback = "2000", .help = "calls that wait for an instance; more are refused with 429"},
    {.name = "idle_ms", .kind = SYN_FIELD_MS, .min = 1000, .max = IDLE_MAX_MS, .fallback = "300000",
     .help = "an instance that had nothing to do for so long ends"},
    {.name = "request_bytes_max", .kind = SYN_FIELD_BYTES, .min = 0, .max = SYN_FUNCTION_BODY_MAX_BYTES,
     .fallback = "6291456", .help = "of a request's body"},
    {.name = "response_bytes_max", .kind = SYN_FIELD_BYTES, .min = 0, .max = SYN_FUNCTION_BODY_MAX_BYTES,
     .fallback = "6291456", .help = "of an answer's body"},
    {.name = "fuel", .kind = SYN_FIELD_I64, .min = 0, .max = INT64_MAX, .fallback = "0",
     .help = "wasm: instructions of a call, about; 0: as many as the time allows"},
    {.name = "env", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_FUNCTION_ENV_MAX, .fallback = "{}",
     .help = "environment of the handler"},
    {.name = "secrets", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_FUNCTION_SECRETS_MAX, .fallback = "{}",
     .help = "variables of the environment that are set to secrets of the account: {VARIABLE: NAME}"},
    {.name = "triggers", .kind = SYN_FIELD_LIST, .sub = &trigger_schema, .min = 0,
     .max = SYN_FUNCTION_TRIGGERS_MAX, .fallback = "[]", .help = "what calls it, besides functions.invoke"},
    {.name = "destinations", .kind = SYN_FIELD_OBJ, .sub = &destination_schema,
     .help = "where it is told what came of calls that nobody waits for"},
    {.name = "region", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_REGION_MAX - 1, .fallback = "\"\"",
     .help = "where instances may run; \"\" anywhere"},
    {.name = "isolation", .kind = SYN_FIELD_STR, .choices = "auto|gvisor|runc|kata|namespace", .fallback = "\"auto\"",
     .help = "the sandbox of instances; wasm has its own; namespace: of python, forked on nodes that allow it"},
    {.name = "snapstart", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "python and node in gVisor: instances go on from a snapshot of a loaded one"},
    {.name = "max_budget", .kind = SYN_FIELD_AMOUNT, .min = 1, .max = SYN_AMOUNT_MAX,
     .help = "SYNOR that a billing period may cost before it is suspended; without it, what the account has"},
    {.name = "billing_period_ms", .kind = SYN_FIELD_MS, .min = BILLING_MIN_MS, .max = BILLING_MAX_MS,
     .fallback = "86400000", .help = "so often a bill is written"},
    {.name = "suspended", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "it answers nobody until it is resumed"},
};
/* clang-format on */

const struct syn_schema syn_function_spec_schema = SYN_SCHEMA("FunctionSpec", spec_fields);

/* What versions are not made of. */
static const char *const kept[] = {"triggers",   "destinations",      "warmup",   "prewarm",
                                   "max_budget", "billing_period_ms", "suspended"};

bool
syn_function_spec_same(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < SYN_LEN(spec_fields); i++) {
        const char *name = spec_fields[i].name;
        const json_t *x = json_object_get(a, name), *y = json_object_get(b, name);
        bool is_kept = false;

        for (size_t k = 0; k < SYN_LEN(kept); k++)
            is_kept = is_kept || syn_str_eq(kept[k], name);
        if (!is_kept && !(x == y || (x && y && json_equal(x, y))))
            return false;
    }
    return true;
}

int
syn_function_spec_keep(json_t *spec, const json_t *function, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(kept); i++) {
        const json_t *value = json_object_get(function, kept[i]);

        if (value != NULL)
            rc = syn_json_set_take(spec, kept[i], syn_json_deep_copy(value), err);
        else
            (void)json_object_del(spec, kept[i]);
    }
    return rc;
}

/* --- triggers --------------------------------------------------------------------------------- */

/* Each kind has keys of its own, and the others' mean nothing to it. */
static const struct {
    const char *type;
    const char *needs; /* or NULL */
    const char *keys[6];
    const char *events[EVENTS_MAX];
} kinds[] = {
    {"http", "path", {"path", "host", "methods", "cors", "auth", "hmac"}, {NULL}},
    {"schedule", "cron", {"cron", "zone", "missed", "payload"}, {NULL}},
    {"queue", "queue", {"queue", "batch"}, {NULL}},
    {"storage", "prefix", {"prefix", "events"}, {"put", "delete"}},
    {"ledger", NULL, {"events"}, {"mint", "transfer", "escrow", "settle", "refund"}},
};

/* The schema has the same types. */
static size_t
kind_of(const json_t *trigger)
{
    const char *type = syn_json_str(trigger, "type", "");
    size_t kind = 0;

    while (!syn_str_eq(kinds[kind].type, type))
        kind++;
    return kind;
}

static bool
has_key(size_t kind, const char *key)
{
    for (size_t i = 0; i < SYN_LEN(kinds[kind].keys) && kinds[kind].keys[i]; i++)
        if (syn_str_eq(kinds[kind].keys[i], key))
            return true;
    return false;
}

static int
check_keys(json_t *trigger, const char *path, struct syn_err *err)
{
    const char *type = syn_json_str(trigger, "type", ""), *key;
    json_t *value;
    size_t kind = kind_of(trigger);

    json_object_foreach (trigger, key, value)
        if (!syn_str_eq(key, "type") && !has_key(kind, key))
            return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: is of no use to a trigger of type %s", path,
                            key, type);
    if (kinds[kind].needs != NULL && !json_object_get(trigger, kinds[kind].needs))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: a trigger of type %s needs it", path,
                        kinds[kind].needs, type);
    return SYN_OK;
}

static int
check_methods(const json_t *given, const char *path, struct syn_err *err)
{
    const json_t *method;
    size_t i;

    json_array_foreach (given, i, method) {
        bool found = false;

        for (size_t m = 0; m < METHODS_SERVED; m++)
            found = found || syn_str_eq(methods[m], json_string_value(method));
        if (!found)
            return SYN_FAIL(
                err, SYN_E_INVALID,
                "%s.methods[%zu]: \"%.20s\" is not one of GET, HEAD, POST, PUT, DELETE, "
                "PATCH, OPTIONS",
                path, i, json_string_value(method));
    }
    return SYN_OK;
}

/* Letters, digits, hyphens and dots, as requests have it. */
static bool
host_ok(const char *host)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";

    return host[0] != '\0' && host[strspn(host, good)] == '\0' && host[0] != '.' &&
           !strstr(host, "..");
}

static int
check_cors(const json_t *cors, const char *path, struct syn_err *err)
{
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(cors, "origins"), i, item) {
        const char *origin = json_string_value(item);
        bool all = syn_str_eq(origin, "*");

        if (!all && (!strstr(origin, "://") || strpbrk(origin, "\r\n \t\"")))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s.cors.origins[%zu]: \"%.100s\": expected * or an origin such as "
                            "https://app.example",
                            path, i, origin);
        if (all && syn_json_bool(cors, "credentials", false))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s.cors.credentials: browsers refuse them with the origin *; name the "
                            "origins",
                            path);
    }
    json_array_foreach (json_object_get(cors, "headers"), i, item) {
        const char *name = json_string_value(item);

        if (name[0] == '\0' || strpbrk(name, "\r\n \t:,\""))
            return SYN_FAIL(err, SYN_E_INVALID, "%s.cors.headers[%zu]: \"%.63s\" is no header",
                            path, i, name);
    }
    return SYN_OK;
}

/* What of it means nothing to its scheme, or is no header. */
static int
check_hmac(const json_t *hmac, const char *path, struct syn_err *err)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *scheme = syn_json_str(hmac, "scheme", ""), *odd = NULL;
    const char *header = syn_json_str(hmac, "header", "x");
    bool body = syn_str_eq(scheme, "body");

    if (!body && json_object_get(hmac, "prefix"))
        odd = "prefix";
    if (body && json_object_get(hmac, "tolerance_s"))
        odd = "tolerance_s";
    if (syn_str_eq(scheme, "standard") && json_object_get(hmac, "header") &&
        !syn_str_eq(header, "webhook-signature"))
        odd = "header";
    if (odd != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.hmac.%s: is of no use to the scheme %s", path, odd,
                        scheme);
    if (header[strspn(header, good)] != '\0' || syn_str_starts(header, "x-synor-"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.hmac.header: \"%.64s\": expected a header in small letters such as "
                        "x-signature",
                        path, header);
    for (const char *at = syn_json_str(hmac, "prefix", ""); *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || *at == ',')
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s.hmac.prefix: blanks, commas and what is not ASCII are in no "
                            "signature",
                            path);
    return SYN_OK;
}

static int
check_http(const json_t *trigger, const char *path, struct syn_err *err)
{
    const char *host = syn_json_str(trigger, "host", "");
    int rc = syn_function_pattern_check(syn_json_str(trigger, "path", ""), err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "%s.path", path);
    if (*host && !host_ok(host))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.host: \"%.100s\": expected a host in small letters such as api.example",
                        path, host);
    rc = check_methods(json_object_get(trigger, "methods"), path, err);
    if (rc == SYN_OK && json_object_get(trigger, "hmac"))
        rc = check_hmac(json_object_get(trigger, "hmac"), path, err);
    return rc < 0 ? rc : check_cors(json_object_get(trigger, "cors"), path, err);
}

static int
check_schedule(json_t *trigger, const char *path, const struct syn_zone_source *zones,
               struct syn_err *err)
{
    const char *name = syn_json_str(trigger, "zone", "UTC");
    struct syn_cron cron;
    SYN_BUF(payload);
    int rc = syn_cron_parse(syn_json_str(trigger, "cron", ""), &cron, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "%s.cron", path);
    if (zones != NULL && zones->find(zones->self, name) == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.zone: there is no time zone \"%.63s\" here", path,
                        name);
    if (!json_object_get(trigger, "payload"))
        return SYN_OK;
    rc = syn_json_write(json_object_get(trigger, "payload"), &payload, err);
    if (rc == SYN_OK && payload.len > SYN_FUNCTION_PAYLOAD_MAX_BYTES)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.payload: %zu bytes; at most %d", path, payload.len,
                      SYN_FUNCTION_PAYLOAD_MAX_BYTES);
    return rc;
}

static int
check_events(const json_t *trigger, const char *path, struct syn_err *err)
{
    const char *const *known = kinds[kind_of(trigger)].events;
    const json_t *event;
    SYN_BUF(all);
    size_t i;

    for (size_t k = 0; k < EVENTS_MAX && known[k] != NULL; k++)
        syn_buf_addf(&all, "%s%s", k > 0 ? ", " : "", known[k]);
    json_array_foreach (json_object_get(trigger, "events"), i, event) {
        bool found = false;

        for (size_t k = 0; k < EVENTS_MAX && known[k] != NULL; k++)
            found = found || syn_str_eq(known[k], json_string_value(event));
        if (!found)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.events[%zu]: \"%.20s\" is not one of %s", path,
                            i, json_string_value(event), syn_buf_text(&all));
    }
    return SYN_OK;
}

/* It begins a name of content, or is empty. */
static int
check_prefix(const char *prefix, const char *path, struct syn_err *err)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789._-/";

    if (prefix[strspn(prefix, good)] != '\0' || prefix[0] == '/')
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.prefix: \"%.60s\" begins no name: a-z 0-9 . _ - /, such as photos/",
                        path, prefix);
    return SYN_OK;
}

static int
fill_in(json_t *trigger, const char *key, json_t *value, struct syn_err *err)
{
    if (json_object_get(trigger, key)) {
        json_decref(value);
        return SYN_OK;
    }
    return syn_json_set_take(trigger, key, value, err);
}

/* All that there are of its kind. */
static int
fill_in_events(json_t *trigger, const char *const known[EVENTS_MAX], struct syn_err *err)
{
    json_t *events = json_object_get(trigger, "events");
    int rc = SYN_OK;

    if (events != NULL)
        return SYN_OK;
    events = json_array();
    rc = syn_json_set_take(trigger, "events", events, err);
    for (size_t i = 0; rc == SYN_OK && i < EVENTS_MAX && known[i] != NULL; i++)
        rc = syn_json_append_take(events, json_string(known[i]), err);
    return rc;
}

static int
fill_in_hmac(json_t *hmac, struct syn_err *err)
{
    const char *scheme = syn_json_str(hmac, "scheme", "");
    int rc;

    if (syn_str_eq(scheme, "body")) {
        rc = fill_in(hmac, "prefix", json_string(json_object_get(hmac, "header") ? "" : "sha256="),
                     err);
        return rc < 0 ? rc : fill_in(hmac, "header", json_string("x-hub-signature-256"), err);
    }
    rc = fill_in(hmac, "tolerance_s", json_integer(TOLERANCE_S), err);
    return rc < 0 ? rc
                  : fill_in(hmac, "header",
                            json_string(syn_str_eq(scheme, "stripe") ? "stripe-signature"
                                                                     : "webhook-signature"),
                            err);
}

static int
derive_http(json_t *trigger, struct syn_err *err)
{
    json_t *hmac = json_object_get(trigger, "hmac");
    int rc = hmac != NULL ? fill_in_hmac(hmac, err) : SYN_OK;

    return rc < 0 ? rc : fill_in(trigger, "host", json_string(""), err);
}

static int
derive_trigger(json_t *trigger, struct syn_err *err)
{
    const char *type = syn_json_str(trigger, "type", "");
    size_t kind = kind_of(trigger);
    int rc = SYN_OK;

    if (kinds[kind].events[0] != NULL)
        return fill_in_events(trigger, kinds[kind].events, err);
    if (syn_str_eq(type, "http"))
        return derive_http(trigger, err);
    if (syn_str_eq(type, "queue"))
        return fill_in(trigger, "batch", json_integer(1), err);
    rc = fill_in(trigger, "zone", json_string("UTC"), err);
    return rc < 0 ? rc : fill_in(trigger, "missed", json_string("once"), err);
}

static bool
routes_meet(const json_t *a, const json_t *b)
{
    const json_t *in_a = json_object_get(a, "methods"), *in_b = json_object_get(b, "methods");
    const json_t *x, *y;
    size_t i, k;

    if (!syn_str_eq(syn_json_str(a, "type", ""), "http") ||
        !syn_str_eq(syn_json_str(b, "type", ""), "http") ||
        !syn_str_eq(syn_json_str(a, "host", ""), syn_json_str(b, "host", "")) ||
        !syn_function_pattern_same(syn_json_str(a, "path", "/"), syn_json_str(b, "path", "/")))
        return false;
    if (!in_a || !in_b)
        return true;
    json_array_foreach (in_a, i, x)
        json_array_foreach (in_b, k, y)
            if (json_equal(x, y))
                return true;
    return false;
}

/* One trigger has all events of a queue, of names that begin so, or of the ledger. */
static bool
same_source(const json_t *a, const json_t *b)
{
    const char *type = syn_json_str(a, "type", "");

    if (!syn_str_eq(type, syn_json_str(b, "type", "")))
        return false;
    if (syn_str_eq(type, "queue"))
        return syn_str_eq(syn_json_str(a, "queue", ""), syn_json_str(b, "queue", ""));
    if (syn_str_eq(type, "storage"))
        return syn_str_eq(syn_json_str(a, "prefix", ""), syn_json_str(b, "prefix", ""));
    return syn_str_eq(type, "ledger");
}

static int
check_triggers(json_t *triggers, const struct syn_zone_source *zones, struct syn_err *err)
{
    size_t count = json_array_size(triggers);

    for (size_t i = 0; i < count; i++) {
        json_t *trigger = json_array_get(triggers, i);
        char path[40];
        int rc;

        (void)snprintf(path, sizeof(path), "spec.triggers[%zu]", i);
        rc = check_keys(trigger, path, err);
        if (rc == SYN_OK && json_object_get(trigger, "path"))
            rc = check_http(trigger, path, err);
        if (rc == SYN_OK && json_object_get(trigger, "cron"))
            rc = check_schedule(trigger, path, zones, err);
        if (rc == SYN_OK && json_object_get(trigger, "prefix"))
            rc = check_prefix(syn_json_str(trigger, "prefix", ""), path, err);
        if (rc == SYN_OK)
            rc = check_events(trigger, path, err);
        if (rc == SYN_OK)
            rc = derive_trigger(trigger, err);
        for (size_t k = 0; k < i && rc == SYN_OK; k++)
            if (routes_meet(trigger, json_array_get(triggers, k)) ||
                same_source(trigger, json_array_get(triggers, k)))
                rc = SYN_FAIL(err, SYN_E_INVALID, "%s: is what spec.triggers[%zu] is already", path,
                              k);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static bool
is_url(const char *text)
{
    if (!syn_str_starts(text, "https://") && !syn_str_starts(text, "http://"))
        return false;
    for (const char *at = text; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return false;
    return true;
}

static int
check_destinations(const json_t *destinations, struct syn_err *err)
{
    static const char *const ends[] = {"success", "failure"};
    static const char queue[] = "queue:";
    bool urls = false;

    for (size_t i = 0; i < SYN_LEN(ends); i++) {
        const char *text = syn_json_str(destinations, ends[i], NULL);

        if (text == NULL)
            continue;
        urls = urls || is_url(text);
        if (!is_url(text) &&
            (!syn_str_starts(text, queue) || !syn_name_ok(text + sizeof(queue) - 1)))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.destinations.%s: \"%.80s\": expected queue:NAME, a queue of the "
                            "account, or a URL such as https://hooks.example/done",
                            ends[i], text);
    }
    if (json_object_get(destinations, "secret") && !urls)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.destinations.secret: only what URLs are told is signed; a queue is "
                        "the account's own");
    return SYN_OK;
}

/* --- warm-up schedules ------------------------------------------------------------------------ */

static int
check_warmups(const json_t *spec, const struct syn_function_spec *read,
              const struct syn_zone_source *zones, struct syn_err *err)
{
    const json_t *row, *list = json_object_get(spec, "warmup");
    size_t i;

    if (json_array_size(list) > 0 && read->language.runtime == SYN_FUNCTION_WASM)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.warmup: a module has a fresh instance for each call and is always "
                        "ready; leave it out");
    json_array_foreach (list, i, row) {
        const char *zone = syn_json_str(row, "zone", "UTC");
        struct syn_cron cron;
        int rc = syn_cron_parse(syn_json_str(row, "cron", ""), &cron, err);

        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.warmup[%zu].cron", i);
        if (zones != NULL && zones->find(zones->self, zone) == NULL)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.warmup[%zu].zone: there is no time zone \"%.63s\" here", i, zone);
        if (syn_json_i64(row, "instances", 1) > read->max_instances)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.warmup[%zu].instances: %lld is more than max_instances, %lld", i,
                            (long long)syn_json_i64(row, "instances", 1),
                            (long long)read->max_instances);
    }
    return SYN_OK;
}

/* --- rules between keys ----------------------------------------------------------------------- */

/* FILE.FUNCTION: a file of the code without its end, which may be in folders, and a name. */
static bool
handler_ok(const char *handler)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./";
    const char *dot = strrchr(handler, '.');

    return dot != NULL && dot > handler && dot[1] != '\0' && !strchr(dot, '/') &&
           handler[strspn(handler, good)] == '\0' && handler[0] != '/' && !strstr(handler, "..") &&
           !strstr(handler, "//");
}

static bool
program_ok(const char *path)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./";

    return path[strspn(path, good)] == '\0' && path[0] != '/' && !strstr(path, "..");
}

static int
check_handler(json_t *spec, const struct syn_function_spec *read, struct syn_err *err)
{
    bool script = syn_function_is_script(read->language.runtime);
    bool java = read->language.runtime == SYN_FUNCTION_JAVA;
    bool program = read->language.runtime == SYN_FUNCTION_COMMAND || java;

    if (*read->handler == '\0' && (script || program))
        return syn_json_set_str(spec, "handler", script ? "main.handler" : (java ? "Main" : "main"),
                                err);
    if (*read->handler && !script && !program)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.handler: %s has none; leave it out",
                        read->language.runtime == SYN_FUNCTION_WASM ? "a module" : "an image");
    if (script && !handler_ok(read->handler))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.handler: \"%s\": expected FILE.FUNCTION such as main.handler",
                        read->handler);
    if (program && !program_ok(read->handler))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.handler: \"%s\": expected %s", read->handler,
                        java ? "a class such as com.example.Main, or the path of a .jar within "
                               "the code"
                             : "the program's path within the code");
    return SYN_OK;
}

static int
check_parts(const struct syn_function_spec *read, struct syn_err *err)
{
    bool image = read->language.runtime == SYN_FUNCTION_CUSTOM;
    bool script = syn_function_is_script(read->language.runtime);

    if (image && *read->code)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.code: an image has its own; leave it out");
    if (!image && !syn_str_starts(read->code, "synor://"))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.code: \"%.100s\": expected synor://NAME or a CID",
                        read->code);
    if (read->isolation == SYN_ISOLATION_NAMESPACE && read->language.runtime != SYN_FUNCTION_PYTHON)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.isolation: namespace is for runtimes of python alone");
    if (*read->layer && !script)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.layer: is of use to python, node and ruby alone");
    if (*read->layer && !syn_str_starts(read->layer, "synor://"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.layer: \"%.100s\": expected synor://NAME or a CID", read->layer);
    if (read->fuel > 0 && read->language.runtime != SYN_FUNCTION_WASM)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.fuel: only modules of WebAssembly count it");
    if (read->min_instances > 0 && read->language.runtime == SYN_FUNCTION_WASM)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.min_instances: a module has a fresh instance for each call and is "
                        "always ready; leave it out");
    if (read->snapstart && read->language.runtime != SYN_FUNCTION_PYTHON &&
        read->language.runtime != SYN_FUNCTION_NODE)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.snapstart: snapshots are of python3 and node alone: of %s the state "
                        "of random generators cannot be renewed, or nothing is gained",
                        read->runtime);
    if (read->snapstart && read->gpus > 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.snapstart: what has GPUs cannot be saved");
    if (read->snapstart && read->isolation != SYN_ISOLATION_AUTO &&
        read->isolation != SYN_ISOLATION_GVISOR)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.snapstart: needs isolation gvisor, or auto, and not %s",
                        syn_isolation_name(read->isolation));
    if (read->min_instances > read->max_instances)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.min_instances: %lld is more than max_instances, %lld",
                        (long long)read->min_instances, (long long)read->max_instances);
    return SYN_OK;
}

static int
check_cards(const struct syn_function_spec *read, struct syn_err *err)
{
    if (read->gpus > 0 && read->language.runtime == SYN_FUNCTION_WASM)
        return SYN_FAIL(
            err, SYN_E_INVALID,
            "spec.gpus: a module of WebAssembly runs within the gateway, which has none");
    if (read->gpus == 0 && *read->gpu_model)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpu_model: no GPU is asked for; set gpus");
    if (read->gpus > 0 && !*read->gpu_model)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.gpu_model: expected a model, as h100: the price goes by it");
    return SYN_OK;
}

int
syn_function_spec_check(json_t *spec, const struct syn_zone_source *zones, struct syn_err *err)
{
    struct syn_function_spec read;
    int rc = syn_schema_apply(&syn_function_spec_schema, spec, "spec", err);

    if (rc == SYN_OK)
        rc = syn_function_language(syn_json_str(spec, "runtime", ""), &read.language, err);
    if (rc < 0)
        return rc;
    if (!json_object_get(spec, "cpu_millicores")) {
        int64_t memory = syn_json_i64(spec, "memory_bytes", 0);

        rc = syn_json_set_i64(spec, "cpu_millicores", memory * 1000 / SYN_FUNCTION_CORE_BYTES, err);
    }
    syn_function_spec_read(spec, &read);
    if (rc == SYN_OK)
        rc = check_handler(spec, &read, err);
    if (rc == SYN_OK)
        rc = check_parts(&read, err);
    if (rc == SYN_OK)
        rc = check_cards(&read, err);
    if (rc == SYN_OK)
        rc = check_warmups(spec, &read, zones, err);
    if (rc == SYN_OK)
        rc = work_check_env(json_object_get(spec, "env"), reserved_env, SYN_LEN(reserved_env),
                            SYN_FUNCTION_ENV_BYTES_MAX, err);
    if (rc == SYN_OK)
        rc = work_check_secrets(json_object_get(spec, "secrets"), json_object_get(spec, "env"),
                                reserved_env, SYN_LEN(reserved_env), SYN_FUNCTION_ENV_BYTES_MAX,
                                err);
    if (rc == SYN_OK)
        rc = check_destinations(json_object_get(spec, "destinations"), err);
    return rc < 0 ? rc : check_triggers(json_object_get(spec, "triggers"), zones, err);
}

void
syn_function_spec_read(const json_t *spec, struct syn_function_spec *ret)
{
    int isolation = syn_isolation_find(syn_json_str(spec, "isolation", "auto"));
    const char *runtime = syn_json_str(spec, "runtime", "");

    assert(isolation >= 0);
    *ret = (struct syn_function_spec){
        .runtime = runtime,
        .image = "",
        .handler = syn_json_str(spec, "handler", ""),
        .code = syn_json_str(spec, "code", ""),
        .layer = syn_json_str(spec, "layer", ""),
        .memory_bytes = syn_json_i64(spec, "memory_bytes", 0),
        .cpu_millicores = syn_json_i64(spec, "cpu_millicores", 0),
        .gpus = syn_json_i64(spec, "gpus", 0),
        .gpu_model = syn_json_str(spec, "gpu_model", ""),
        .scratch_bytes = syn_json_i64(spec, "scratch_bytes", 0),
        .timeout_ms = syn_json_i64(spec, "timeout_ms", 0),
        .idle_ms = syn_json_i64(spec, "idle_ms", 0),
        .concurrency = syn_json_i64(spec, "concurrency", 1),
        .min_instances = syn_json_i64(spec, "min_instances", 0),
        .max_instances = syn_json_i64(spec, "max_instances", 1),
        .max_waiting = syn_json_i64(spec, "max_waiting", 0),
        .request_bytes_max = syn_json_i64(spec, "request_bytes_max", 0),
        .response_bytes_max = syn_json_i64(spec, "response_bytes_max", 0),
        .fuel = syn_json_i64(spec, "fuel", 0),
        .env = json_object_get(spec, "env"),
        .secrets = json_object_get(spec, "secrets"),
        .triggers = json_object_get(spec, "triggers"),
        .region = syn_json_str(spec, "region", ""),
        .isolation = (enum syn_isolation)isolation,
        .max_budget = SYN_MAX(syn_document_amount(spec, "max_budget"), 0),
        .billing_ms = syn_json_i64(spec, "billing_period_ms", 0),
        .snapstart = syn_json_bool(spec, "snapstart", false),
        .suspended = syn_json_bool(spec, "suspended", false),
        .prewarm = !syn_str_eq(syn_json_str(spec, "prewarm", "auto"), "off"),
    };
    if (syn_function_language(runtime, &ret->language, NULL) == SYN_OK &&
        ret->language.runtime == SYN_FUNCTION_CUSTOM)
        ret->image = strchr(runtime, ':') + 1;
}
