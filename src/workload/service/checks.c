#include "checks_priv.h"

#include <string.h>

#include <synor/base/str.h>
#include <synor/workload/service_spec.h>

#define CHECK_MIN_MS 100
#define CHECK_MAX_MS (INT64_C(3600) * 1000)

/* clang-format off */
#define CHECK_FIELDS \
    {.name = "kind", .kind = SYN_FIELD_STR, .choices = "none|tcp|http|exec|grpc", \
     .help = "how it is found out; default http with a path, exec with a command, tcp with a port, else none"}, \
    {.name = "service", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_GRPC_NAME_MAX, \
     .help = "grpc: which service of the program is asked about (grpc.health.v1); default all of it"}, \
    {.name = "path", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_PATH_MAX, .fallback = "\"\"", \
     .help = "http: what is asked for; an answer of 200 to 399 is well"}, \
    {.name = "host", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_SERVICE_HOST_MAX, \
     .help = "http: the host that is asked for; default the replica's address"}, \
    {.name = "headers", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_SERVICE_CHECK_HEADERS_MAX, \
     .help = "http: more headers of the request: {NAME: VALUE}"}, \
    {.name = "command", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_SERVICE_ARGS_MAX, \
     .help = "exec: run within the replica, as its user; status 0 is well"}, \
    {.name = "port", .kind = SYN_FIELD_I64, .min = 0, .max = 65535, .fallback = "0", .help = "0: the service's own"}, \
    {.name = "interval_ms", .kind = SYN_FIELD_MS, .min = CHECK_MIN_MS, .max = CHECK_MAX_MS, .fallback = "5000", \
     .help = "between two checks; while it starts they come faster"}, \
    {.name = "timeout_ms", .kind = SYN_FIELD_MS, .min = CHECK_MIN_MS, .max = CHECK_MAX_MS, .fallback = "2000", \
     .help = "within which it must answer"}

static const struct syn_field health_fields[] = {
    CHECK_FIELDS,
    {.name = "healthy", .kind = SYN_FIELD_I64, .min = 1, .max = 100, .fallback = "1",
     .help = "so many answers in a row make it ready"},
    {.name = "unhealthy", .kind = SYN_FIELD_I64, .min = 1, .max = 100, .fallback = "3",
     .help = "so many failures in a row take it out of traffic"},
    {.name = "ends", .kind = SYN_FIELD_BOOL,
     .help = "as many failures again end it; default true, with a liveness check false"},
    {.name = "start_ms", .kind = SYN_FIELD_MS, .min = 1000, .max = CHECK_MAX_MS, .fallback = "60000",
     .help = "time to pass the start-up check first; without one, the liveness check or this one"},
};
const struct syn_schema service_health_schema = SYN_SCHEMA("ServiceHealth", health_fields);

static const struct syn_field check_fields[] = {
    CHECK_FIELDS,
    {.name = "unhealthy", .kind = SYN_FIELD_I64, .min = 1, .max = 100, .fallback = "3",
     .help = "liveness: so many failures in a row end it"},
};
const struct syn_schema service_check_schema = SYN_SCHEMA("ServiceCheck", check_fields);

/* What is asked once, before it is asked to stop. */
static const struct syn_field hook_fields[] = {
    {.name = "kind", .kind = SYN_FIELD_STR, .choices = "none|http|exec",
     .help = "default http with a path, exec with a command, else none"},
    {.name = "path", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_PATH_MAX, .fallback = "\"\"",
     .help = "http: what is asked for"},
    {.name = "command", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_SERVICE_ARGS_MAX,
     .help = "exec: run within the replica, as its user"},
    {.name = "port", .kind = SYN_FIELD_I64, .min = 0, .max = 65535, .fallback = "0", .help = "0: the service's own"},
};
const struct syn_schema service_hook_schema = SYN_SCHEMA("ServiceHook", hook_fields);
/* clang-format on */

static const char *const checks[] = {"health", "liveness", "startup", "pre_stop"};

int64_t
service_check_port(const json_t *spec, const json_t *check)
{
    int64_t port = syn_json_i64(check, "port", 0);

    return port != 0 ? port : syn_json_i64(spec, "port", 0);
}

int
service_checks_derive(json_t *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(checks) && rc == SYN_OK; i++) {
        json_t *check = json_object_get(spec, checks[i]);

        if (check && !json_object_get(check, "kind"))
            rc = syn_json_set_str(check, "kind",
                                  syn_json_str(check, "path", "")[0]                       ? "http"
                                  : json_array_size(json_object_get(check, "command")) > 0 ? "exec"
                                  : service_check_port(spec, check) != 0                   ? "tcp"
                                                                                           : "none",
                                  err);
    }
    return rc;
}

/* What is asked for goes into a request line as it is. */
bool
service_check_path_ok(const char *path)
{
    if (*path != '/')
        return false;
    for (; *path; path++)
        if ((unsigned char)*path <= 0x20 || (unsigned char)*path >= 0x7f)
            return false;
    return true;
}

/* A token of HTTP. */
static bool
name_ok(const char *name)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                               "!#$%&'*+-.^_`|~";

    return *name != '\0' && name[strspn(name, good)] == '\0';
}

/* One line of text. */
static bool
value_ok(const char *value)
{
    for (; *value; value++)
        if ((unsigned char)*value < 0x20 || (unsigned char)*value >= 0x7f)
            return false;
    return true;
}

static int
check_headers(const json_t *check, const char *where, struct syn_err *err)
{
    static const char *const ours[] = {"host", "connection", "content-length", "transfer-encoding"};
    const char *name, *host = syn_json_str(check, "host", "a");
    json_t *value;
    size_t bytes = 0;

    if (!value_ok(host) || strchr(host, ' '))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.host: \"%.80s\": expected a host", where,
                        host);
    json_object_foreach (json_object_get(check, "headers"), name, value) {
        bool own = false;

        for (size_t i = 0; i < SYN_LEN(ours); i++)
            own = own || strcasecmp(name, ours[i]) == 0;
        if (own || !name_ok(name) || !value_ok(json_string_value(value)))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.%s.headers: \"%.60s\": expected a header's name and one line; "
                            "the host is said by host",
                            where, name);
        bytes += strlen(name) + json_string_length(value) + 4;
    }
    if (bytes > SYN_SERVICE_CHECK_HEADER_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.headers: %zu bytes in all, at most %d", where,
                        bytes, SYN_SERVICE_CHECK_HEADER_BYTES_MAX);
    return SYN_OK;
}

static int
check_command(const json_t *check, const char *where, bool exec, struct syn_err *err)
{
    const json_t *command = json_object_get(check, "command");
    const json_t *word;
    size_t i;

    if (!exec && json_array_size(command) > 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.command: only a check by exec has one", where);
    if (exec && json_string_length(json_array_get(command, 0)) == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.command: expected a program and its words",
                        where);
    json_array_foreach (command, i, word)
        if (json_string_length(word) > SYN_SERVICE_ARG_BYTES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.command[%zu]: longer than %d bytes", where,
                            i, SYN_SERVICE_ARG_BYTES_MAX);
    return SYN_OK;
}

static int
check_one(const json_t *spec, const json_t *check, const char *where, struct syn_err *err)
{
    const char *kind = syn_json_str(check, "kind", "none"), *path = syn_json_str(check, "path", "");
    bool http = syn_str_eq(kind, "http"), tcp = syn_str_eq(kind, "tcp");
    bool grpc = syn_str_eq(kind, "grpc");
    const char *service = syn_json_str(check, "service", "");
    int rc;

    if (!grpc && *service)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.service: only a check by grpc has one", where);
    if (!value_ok(service) || strchr(service, ' '))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.%s.service: \"%.80s\": expected a name such as pkg.Service", where,
                        service);
    if ((http || tcp || grpc) && service_check_port(spec, check) == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.%s: there is no port to check; set port or %s.port", where, where);
    if (http && !service_check_path_ok(path))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.path: \"%s\": expected a path such as /health",
                        where, path);
    if (!http && *path)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s.path: only a check by http has one", where);
    if (!http &&
        (json_object_get(check, "host") || json_object_size(json_object_get(check, "headers")) > 0))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s: only a check by http has a host and headers",
                        where);
    rc = check_command(check, where, syn_str_eq(kind, "exec"), err);
    return rc < 0 ? rc : check_headers(check, where, err);
}

int
service_checks_check(const json_t *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(checks) && rc == SYN_OK; i++)
        rc = check_one(spec, json_object_get(spec, checks[i]), checks[i], err);
    return rc;
}
