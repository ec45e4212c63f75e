/* From --mesh-route to spec.mesh.routes: words between commas, each KEY=VALUE. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "service_priv.h"

#define ROUTE_MAX 1024
#define OPTION    "--mesh-route: "

static int
wrong(const char *word, const char *expected, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_INVALID, OPTION "\"%.80s\": expected %s", word, expected);
}

/* obj[key], which is made when it is not there: a list or an object. */
static int
part(json_t *obj, const char *key, bool list, json_t **ret, struct syn_err *err)
{
    *ret = json_object_get(obj, key);
    if (*ret != NULL)
        return SYN_OK;
    *ret = list ? json_array() : json_object();
    return syn_json_set_take(obj, key, *ret, err);
}

/* Cut ":N" off; without it *ret stays. */
static int
cut_number(char *value, const char *what, int64_t *ret, struct syn_err *err)
{
    char *colon = strrchr(value, ':');

    if (colon == NULL)
        return SYN_OK;
    *colon = '\0';
    return syn_parse_i64(colon + 1, 0, SYN_CLI_ROUTE_NUMBER_MAX, what, ret, err);
}

/* NAME, NAME=VALUE or NAME=START* */
static int
add_header(json_t *match, char *value, struct syn_err *err)
{
    char *equals = strchr(value, '=');
    json_t *list, *header = NULL;
    const char *kind = "exact";
    int rc = part(match, "headers", true, &list, err);

    if (rc < 0)
        return rc;
    if (equals != NULL) {
        *equals++ = '\0';
        if (syn_str_ends(equals, "*")) {
            equals[strlen(equals) - 1] = '\0';
            kind = "prefix";
        }
        rc = syn_json_pack(&header, err, "{s:s, s:s}", "name", value, kind, equals);
    } else {
        rc = syn_json_pack(&header, err, "{s:s, s:b}", "name", value, "present", 1);
    }
    return rc < 0 ? rc : syn_json_append_take(list, header, err);
}

/* NAME[:WEIGHT], or with `version` N[:WEIGHT] */
static int
add_target(json_t *route, char *value, bool version, struct syn_err *err)
{
    json_t *list, *target = NULL;
    int64_t weight = 1, number = 0;
    int rc = part(route, "to", true, &list, err);

    if (rc == SYN_OK)
        rc = cut_number(value, OPTION "the weight", &weight, err);
    if (rc == SYN_OK && version)
        rc = syn_parse_i64(value, 1, INT64_MAX, OPTION "the version", &number, err);
    if (rc == SYN_OK)
        rc = version ? syn_json_pack(&target, err, "{s:I, s:I}", "version", (json_int_t)number,
                                     "weight", (json_int_t)weight)
                     : syn_json_pack(&target, err, "{s:s, s:I}", "service", value, "weight",
                                     (json_int_t)weight);
    return rc < 0 ? rc : syn_json_append_take(list, target, err);
}

/* NAME[:PERCENT] */
static int
set_mirror(json_t *route, char *value, struct syn_err *err)
{
    json_t *mirror = NULL;
    int64_t percent = 100;
    int rc = cut_number(value, OPTION "the mirror's percentage", &percent, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&mirror, err, "{s:s, s:I}", "service", value, "percent",
                           (json_int_t)percent);
    return rc < 0 ? rc : syn_json_set_take(route, "mirror", mirror, err);
}

static int
set_retries(json_t *route, const char *value, struct syn_err *err)
{
    int64_t retries = 0;
    int rc = syn_parse_i64(value, 0, SYN_CLI_ROUTE_NUMBER_MAX, OPTION "retries", &retries, err);

    return rc < 0 ? rc : syn_json_set_i64(route, "retries", retries, err);
}

static int
take_word(json_t *route, char *word, struct syn_err *err)
{
    char *value = strchr(word, '=');
    json_t *match, *list;
    int rc = part(route, "match", false, &match, err);

    if (value == NULL || value[1] == '\0')
        return wrong(word, "KEY=VALUE such as path=/v2 or to=api-v2:10", err);
    *value++ = '\0';
    if (rc < 0)
        return rc;
    if (syn_str_eq(word, "path"))
        return syn_json_set_str(match, "path_prefix", value, err);
    if (syn_str_eq(word, "method")) {
        rc = part(match, "methods", true, &list, err);
        return rc < 0 ? rc : syn_json_append_take(list, json_string(value), err);
    }
    if (syn_str_eq(word, "header"))
        return add_header(match, value, err);
    if (syn_str_eq(word, "to") || syn_str_eq(word, "version"))
        return add_target(route, value, syn_str_eq(word, "version"), err);
    if (syn_str_eq(word, "mirror"))
        return set_mirror(route, value, err);
    if (syn_str_eq(word, "timeout"))
        return syn_json_set_str(route, "timeout_ms", value, err);
    if (syn_str_eq(word, "retries"))
        return set_retries(route, value, err);
    return wrong(word, "path, method, header, to, version, mirror, timeout or retries", err);
}

static int
take_route(const char *text, json_t *routes, struct syn_err *err)
{
    char copy[ROUTE_MAX];
    SYN_JSON(route);
    char *word = copy;
    int rc = syn_json_pack(&route, err, "{}");

    if (!syn_str_copy(copy, sizeof(copy), text))
        return SYN_FAIL(err, SYN_E_INVALID, OPTION "longer than %d bytes", ROUTE_MAX - 1);
    while (rc == SYN_OK && word != NULL) {
        char *comma = strchr(word, ',');

        if (comma != NULL)
            *comma++ = '\0';
        rc = take_word(route, word, err);
        word = comma;
    }
    return rc < 0 ? rc : syn_json_append_take(routes, SYN_TAKE(route), err);
}

int
syn_cli_service_routes(const struct syn_cli *cli, json_t *mesh, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *routes = json_array();
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, "mesh-route")) {
        json_decref(routes);
        return SYN_OK;
    }
    rc = syn_json_set_take(mesh, "routes", routes, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "mesh-route", &cursor)) != NULL)
        if (!syn_str_eq(value->text, "none"))
            rc = take_route(value->text, routes, err);
    return rc;
}

/* --- for people ------------------------------------------------------------------------------ */

static void
say_match(const json_t *match, struct syn_buf *out)
{
    const json_t *row;
    size_t i;

    if (json_object_get(match, "path_prefix") != NULL)
        syn_buf_addf(out, ",path=%s", syn_json_str(match, "path_prefix", ""));
    json_array_foreach (json_object_get(match, "methods"), i, row)
        syn_buf_addf(out, ",method=%s", json_string_value(row));
    json_array_foreach (json_object_get(match, "headers"), i, row) {
        const char *exact = syn_json_str(row, "exact", NULL);
        const char *prefix = syn_json_str(row, "prefix", NULL);

        syn_buf_addf(out, ",header=%s", syn_json_str(row, "name", ""));
        if (exact != NULL || prefix != NULL)
            syn_buf_addf(out, "=%s%s", exact != NULL ? exact : prefix, exact != NULL ? "" : "*");
    }
}

void
syn_cli_service_route_say(const json_t *route, struct syn_buf *out)
{
    const json_t *mirror = json_object_get(route, "mirror"), *row;
    char time[SYN_FORMAT_MAX];
    size_t i, from = out->len;

    say_match(json_object_get(route, "match"), out);
    json_array_foreach (json_object_get(route, "to"), i, row) {
        if (json_object_get(row, "service") != NULL)
            syn_buf_addf(out, ",to=%s", syn_json_str(row, "service", ""));
        else
            syn_buf_addf(out, ",version=%lld", (long long)syn_json_i64(row, "version", 0));
        syn_buf_addf(out, ":%lld", (long long)syn_json_i64(row, "weight", 1));
    }
    if (mirror != NULL)
        syn_buf_addf(out, ",mirror=%s:%lld", syn_json_str(mirror, "service", ""),
                     (long long)syn_json_i64(mirror, "percent", 100));
    if (json_object_get(route, "timeout_ms") != NULL)
        syn_buf_addf(out, ",timeout=%s",
                     syn_format_duration(syn_json_i64(route, "timeout_ms", 0), time));
    if (json_object_get(route, "retries") != NULL)
        syn_buf_addf(out, ",retries=%lld", (long long)syn_json_i64(route, "retries", 0));
    if (out->len == from)
        syn_buf_adds(out, ",path=/");
}
