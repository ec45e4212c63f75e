/* The OpenAPI 3.1 document, made from the tables that route and validate: it cannot drift from
 * them. */
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "server_priv.h"

static int
add_parameter(json_t *list, const char *name, const char *in, bool required, json_t *schema_take,
              struct syn_err *err)
{
    json_t *parameter = NULL;
    int rc = syn_json_pack(&parameter, err, "{s:s, s:s, s:b, s:o}", "name", name, "in", in,
                           "required", required ? 1 : 0, "schema", schema_take);

    return rc < 0 ? rc : syn_json_append_take(list, parameter, err);
}

/* "/v1/training/{id}" -> its path parameters. */
static int
path_parameters(const char *pattern, json_t *list, struct syn_err *err)
{
    int rc = SYN_OK;

    for (const char *open = strchr(pattern, '{'); open != NULL && rc == SYN_OK;
         open = strchr(open + 1, '{')) {
        size_t len = strcspn(open + 1, "*}");
        char name[64];

        (void)snprintf(name, sizeof(name), "%.*s", (int)len, open + 1);
        rc = add_parameter(list, name, "path", true, json_pack("{s:s}", "type", "string"), err);
    }
    return rc;
}

static int
query_parameters(const struct syn_schema *query, json_t *list, struct syn_err *err)
{
    SYN_JSON(schema);
    const char *name;
    json_t *property;
    int rc = syn_schema_openapi(query, &schema, err);

    if (rc < 0)
        return rc;
    json_object_foreach (json_object_get(schema, "properties"), name, property) {
        bool required = false;

        for (size_t i = 0; i < query->count; i++)
            required =
                required || (query->fields[i].required && syn_str_eq(query->fields[i].name, name));
        rc = add_parameter(list, name, "query", required, json_incref(property), err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
request_body(const struct syn_http_route *route, json_t *operation, struct syn_err *err)
{
    json_t *schema = NULL;
    json_t *body = NULL;
    int rc = SYN_OK;

    if (route->kind == SYN_HTTP_UPLOAD) {
        rc = syn_json_pack(&body, err, "{s:b, s:{s:{s:{s:s, s:s}}}}", "required", 1, "content",
                           "application/octet-stream", "schema", "type", "string", "format",
                           "binary");
    } else if (route->body != NULL) {
        rc = syn_schema_openapi(route->body, &schema, err);
        if (rc == SYN_OK)
            rc = syn_json_pack(&body, err, "{s:b, s:{s:{s:o}}}", "required", 1, "content",
                               "application/json", "schema", schema);
    }
    if (rc == SYN_OK && body != NULL)
        rc = syn_json_set_take(operation, "requestBody", body, err);
    return rc;
}

/* Success, and one row an HTTP status that some error of the table may give. */
static int
responses(const struct syn_http_route *route, json_t *operation, struct syn_err *err)
{
    json_t *all = json_object();
    size_t count;
    const struct syn_err_info *table = syn_err_table(&count);
    int rc = syn_json_set_take(
        all, "2XX",
        json_pack("{s:s}", "description",
                  route->flags & SYN_HTTP_EVENTS ? "A stream of server-sent events" : "Done"),
        err);

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        char status[8];
        SYN_BUF(text);
        const json_t *old;

        (void)snprintf(status, sizeof(status), "%d", table[i].http);
        old = json_object_get(all, status);
        syn_buf_addf(&text, "%s%s%s: %s", syn_json_str(old, "description", ""),
                     old != NULL ? "; " : "", table[i].wire, table[i].text);
        rc = syn_json_set_take(all, status,
                               json_pack("{s:s, s:{s:{s:{s:s}}}}", "description",
                                         syn_buf_text(&text), "content", "application/json",
                                         "schema", "$ref", "#/components/schemas/Error"),
                               err);
    }
    if (rc < 0) {
        json_decref(all);
        return rc;
    }
    return syn_json_set_take(operation, "responses", all, err);
}

static int
add_route(const struct syn_http_route *route, json_t *paths, struct syn_err *err)
{
    json_t *path = json_object_get(paths, route->pattern);
    json_t *parameters = json_array();
    json_t *operation = NULL;
    char method[8];
    int rc = SYN_OK;

    for (size_t i = 0; i <= strlen(route->method) && i < sizeof(method); i++)
        method[i] =
            (char)(route->method[i] >= 'A' && route->method[i] <= 'Z' ? route->method[i] + 32
                                                                      : route->method[i]);
    if (path == NULL) {
        path = json_object();
        rc = syn_json_set_take(paths, route->pattern, path, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&operation, err, "{s:s, s:s}", "operationId", route->name, "summary",
                           route->summary);
    if (rc == SYN_OK)
        rc = path_parameters(route->pattern, parameters, err);
    if (rc == SYN_OK && route->query != NULL)
        rc = query_parameters(route->query, parameters, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(operation, "parameters", json_incref(parameters), err);
    if (rc == SYN_OK)
        rc = request_body(route, operation, err);
    if (rc == SYN_OK)
        rc = responses(route, operation, err);
    if (rc == SYN_OK && (route->flags & SYN_HTTP_PUBLIC))
        rc = syn_json_set_take(operation, "security", json_array(), err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(path, method, json_incref(operation), err);
    json_decref(operation);
    json_decref(parameters);
    return rc;
}

int
srv_openapi_build(struct syn_server *server, json_t **ret_doc, struct syn_err *err)
{
    json_t *paths = json_object();
    const struct syn_http_route *route;
    SYN_JSON(doc);
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && (route = syn_http_routes(server->http, i)) != NULL; i++)
        rc = add_route(route, paths, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(
            &doc, err,
            "{s:s, s:{s:s, s:s, s:s}, s:O, s:[{s:[]}],"
            " s:{s:{s:{s:s, s:s}}, s:{s:{s:s, s:[s,s], s:{s:{s:s}, s:{s:s}, s:{s:s}, s:{}}}}}}",
            "openapi", "3.1.0", "info", "title", "Synor Compute", "version", SYN_VERSION,
            "description", "One scheduler, one market, one ledger for compute.", "paths", paths,
            "security", "token", "components", "securitySchemes", "token", "type", "http", "scheme",
            "bearer", "schemas", "Error", "type", "object", "required", "code", "message",
            "properties", "code", "type", "string", "message", "type", "string", "hint", "type",
            "string", "details");
    json_decref(paths);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}
