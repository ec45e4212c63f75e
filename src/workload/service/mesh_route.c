/* Requests that do not go where the rest of a service's goes: spec.mesh.routes. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/workload/service_mesh.h>

#include "mesh_priv.h"

#define VALUE_MAX      128
#define PATH_MAX_BYTES 256
#define TIMEOUT_MAX_MS (INT64_C(24) * 3600 * 1000)
#define RETRIES_MAX    10
#define PATH_CHARS                                                     \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-" \
    "._~%!$&*+,=:@"
#define TOKEN_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/* clang-format off */
static const struct syn_field header_fields[] = {
    {.name = "name", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = VALUE_MAX,
     .help = "of the header; without one of the others it need only be there"},
    {.name = "exact", .kind = SYN_FIELD_STR, .min = 1, .max = VALUE_MAX, .help = "what it must be"},
    {.name = "prefix", .kind = SYN_FIELD_STR, .min = 1, .max = VALUE_MAX, .help = "what it must begin with"},
    {.name = "present", .kind = SYN_FIELD_BOOL, .help = "true: it must be there"},
};
static const struct syn_schema header_schema = SYN_SCHEMA("ServiceRouteHeader", header_fields);

static const struct syn_field match_fields[] = {
    {.name = "path_prefix", .kind = SYN_FIELD_STR, .min = 1, .max = PATH_MAX_BYTES,
     .help = "such as /v2: it and what is below it; default any"},
    {.name = "methods", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_MESH_MATCH_MAX,
     .help = "one of these; default any"},
    {.name = "headers", .kind = SYN_FIELD_LIST, .sub = &header_schema, .min = 0, .max = SYN_MESH_MATCH_MAX,
     .help = "all of these"},
};
static const struct syn_schema match_schema = SYN_SCHEMA("ServiceRouteMatch", match_fields);

static const struct syn_field target_fields[] = {
    {.name = "service", .kind = SYN_FIELD_NAME, .help = "a service of the same account"},
    {.name = "version", .kind = SYN_FIELD_I64, .min = 1, .max = INT64_MAX,
     .help = "or the replicas of this version of the service itself"},
    {.name = "weight", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_MESH_WEIGHT_MAX, .fallback = "1",
     .help = "its part of the sum of all; 0 nothing"},
};
static const struct syn_schema target_schema = SYN_SCHEMA("ServiceRouteTarget", target_fields);

static const struct syn_field mirror_fields[] = {
    {.name = "service", .kind = SYN_FIELD_NAME, .required = true,
     .help = "a service of the same account, whose answers nobody waits for"},
    {.name = "percent", .kind = SYN_FIELD_I64, .min = 1, .max = 100, .fallback = "100",
     .help = "how many of the requests it gets as well"},
};
static const struct syn_schema mirror_schema = SYN_SCHEMA("ServiceRouteMirror", mirror_fields);

static const struct syn_field route_fields[] = {
    {.name = "match", .kind = SYN_FIELD_OBJ, .sub = &match_schema, .fallback = "{}",
     .help = "which requests; the first route that fits takes them"},
    {.name = "to", .kind = SYN_FIELD_LIST, .sub = &target_schema, .min = 0, .max = SYN_MESH_TARGETS_MAX, .fallback = "[]",
     .help = "where they go; default to the service itself"},
    {.name = "mirror", .kind = SYN_FIELD_OBJ, .sub = &mirror_schema, .help = "who gets them as well"},
    {.name = "timeout_ms", .kind = SYN_FIELD_MS, .min = 1, .max = TIMEOUT_MAX_MS,
     .help = "instead of the service's"},
    {.name = "retries", .kind = SYN_FIELD_I64, .min = 0, .max = RETRIES_MAX, .help = "instead of the service's"},
};
/* clang-format on */
const struct syn_schema service_route_schema = SYN_SCHEMA("ServiceRoute", route_fields);

/* ---- checking ---- */

static bool
holds_only(const char *text, const char *chars)
{
    return text[strspn(text, chars)] == '\0';
}

/* A value stands in a proxy's configuration, between quotes. */
static bool
is_value(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~' || strchr("'\"\\", *text) != NULL)
            return false;
    return true;
}

static int
check_header(const char *at, const json_t *header, struct syn_err *err)
{
    const char *name = syn_json_str(header, "name", "");
    const char *exact = syn_json_str(header, "exact", NULL);
    const char *prefix = syn_json_str(header, "prefix", NULL);
    const json_t *present = json_object_get(header, "present");
    const char *value = exact != NULL ? exact : prefix;

    if (!holds_only(name, TOKEN_CHARS))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.name: \"%.80s\": expected letters, digits, - and _",
                        at, name);
    if ((exact != NULL) + (prefix != NULL) + (present != NULL) > 1 ||
        (present != NULL && !json_is_true(present)))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected one of exact, prefix, present: true", at);
    if (value != NULL && !is_value(value))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.%s: expected printable ASCII without quotes and backslashes", at,
                        exact != NULL ? "exact" : "prefix");
    return SYN_OK;
}

static int
check_match(const char *at, const json_t *match, struct syn_err *err)
{
    const char *path = syn_json_str(match, "path_prefix", NULL);
    const json_t *row;
    char where[96];
    size_t i;
    int rc = SYN_OK;

    if (path != NULL && (path[0] != '/' || !holds_only(path, PATH_CHARS) || strstr(path, "//")))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.match.path_prefix: \"%.80s\": expected a path such as /v2", at, path);
    json_array_foreach (json_object_get(match, "methods"), i, row) {
        const char *method = json_string_value(row);

        if (method[0] == '\0' || strlen(method) > 16 || !holds_only(method, TOKEN_CHARS))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s.match.methods[%zu]: \"%.40s\": expected a method such as GET", at,
                            i, method);
    }
    json_array_foreach (json_object_get(match, "headers"), i, row) {
        (void)snprintf(where, sizeof(where), "%s.match.headers[%zu]", at, i);
        rc = rc == SYN_OK ? check_header(where, row, err) : rc;
    }
    return rc;
}

static bool
same_target(const json_t *a, const json_t *b)
{
    return syn_str_eq(syn_json_str(a, "service", ""), syn_json_str(b, "service", "")) &&
           syn_json_i64(a, "version", 0) == syn_json_i64(b, "version", 0);
}

static int
check_targets(const char *at, const json_t *to, struct syn_err *err)
{
    const json_t *target;
    int64_t sum = 0;
    size_t i;

    json_array_foreach (to, i, target) {
        bool service = json_object_get(target, "service") != NULL;

        if (service == (json_object_get(target, "version") != NULL))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s.to[%zu]: expected service or version, one of both", at, i);
        for (size_t k = 0; k < i; k++)
            if (same_target(target, json_array_get(to, k)))
                return SYN_FAIL(err, SYN_E_INVALID, "%s.to[%zu]: the same as to[%zu]", at, i, k);
        sum += syn_json_i64(target, "weight", 0);
    }
    if (json_array_size(to) > 0 && sum == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.to: all weights are 0", at);
    return SYN_OK;
}

/* Does it take every request? */
static bool
takes_all(const json_t *route)
{
    const json_t *match = json_object_get(route, "match");
    const char *path = syn_json_str(match, "path_prefix", "/");

    return syn_str_eq(path, "/") && json_array_size(json_object_get(match, "methods")) == 0 &&
           json_array_size(json_object_get(match, "headers")) == 0;
}

int
service_routes_check(const json_t *routes, bool tcp, struct syn_err *err)
{
    const json_t *route;
    char at[40];
    size_t i;
    int rc = SYN_OK;

    if (json_array_size(routes) > 0 && tcp)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.mesh.routes: tcp knows no requests; set lb.protocol to http, h2 or "
                        "grpc (or a health check by http)");
    json_array_foreach (routes, i, route) {
        (void)snprintf(at, sizeof(at), "spec.mesh.routes[%zu]", i);
        rc = check_match(at, json_object_get(route, "match"), err);
        if (rc == SYN_OK)
            rc = check_targets(at, json_object_get(route, "to"), err);
        if (rc == SYN_OK && takes_all(route) && i + 1 < json_array_size(routes))
            rc = SYN_FAIL(err, SYN_E_INVALID, "%s: takes all requests, and no route after it any",
                          at);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}
