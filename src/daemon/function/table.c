/* What the server says there is: functions, their routes, versions and instances; and keys, whose
 * ids have a slash, for key.c.
 *
 * A document replaces what was known of its function, and leaves alone what it does not change: a
 * version that is the same keeps its module, its queue and what runs; an instance that is the same
 * keeps its connections. Routes are put together again at the first request after a change. */
#include "function_priv.h"

#include <arpa/inet.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

static const char *const methods[] = {"GET",    "HEAD",    "POST",  "PUT",    "PATCH",
                                      "DELETE", "OPTIONS", "TRACE", "CONNECT"};

uint32_t
fgw_method_bit(const char *method)
{
    for (unsigned i = 0; i < SYN_LEN(methods); i++) {
        if (strcmp(methods[i], method) == 0)
            return SYN_BIT(i);
    }
    return 0;
}

const char *
fgw_method_name(unsigned bit)
{
    return bit < SYN_LEN(methods) ? methods[bit] : NULL;
}

/* --- instances -------------------------------------------------------------------------------- */

/* "10.1.2.3:80", "[fd00::1]:80" */
static int
read_address(struct fgw_instance *instance, struct syn_err *err)
{
    const char *text = instance->text;
    const char *colon = strrchr(text, ':');
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&instance->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&instance->address;
    size_t size = colon == NULL ? 0 : (size_t)(colon - text);
    char host[sizeof(instance->text)];
    uint64_t port = 0;

    if (colon == NULL || syn_parse_u64(colon + 1, 1, 65535, "port", &port, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no ADDRESS:PORT", text);
    if (size > 2 && text[0] == '[' && text[size - 1] == ']') {
        memcpy(host, text + 1, size - 2);
        host[size - 2] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        instance->address_size = sizeof(*v6);
        if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1)
            return SYN_OK;
    } else {
        memcpy(host, text, size);
        host[size] = '\0';
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        instance->address_size = sizeof(*v4);
        if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
            return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no ADDRESS:PORT", text);
}

static struct fgw_instance *
find_instance(const struct fgw_version *version, const char *id, const char *address)
{
    for (struct fgw_instance *at = version->instances; at != NULL; at = at->next) {
        if (!at->gone && syn_str_eq(at->id, id) && syn_str_eq(at->text, address))
            return at;
    }
    return NULL;
}

static int
put_instance(struct fgw_version *version, const json_t *doc, struct syn_err *err)
{
    const char *id = syn_json_str(doc, "instance", "");
    const char *address = syn_json_str(doc, "address", "");
    struct fgw_instance *instance = find_instance(version, id, address);
    int rc;

    if (instance != NULL) {
        instance->seen = true;
        return SYN_OK;
    }
    instance = syn_calloc(1, sizeof(*instance));
    if (instance == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an instance");
    instance->version = version;
    instance->seen = true;
    rc = syn_str_copy(instance->id, sizeof(instance->id), id) &&
                 syn_str_copy(instance->node, sizeof(instance->node),
                              syn_json_str(doc, "node", "")) &&
                 syn_str_copy(instance->text, sizeof(instance->text), address)
             ? read_address(instance, err)
             : SYN_FAIL(err, SYN_E_INVALID, "endpoint %.60s: texts are too long", id);
    if (rc < 0) {
        syn_free(instance);
        return rc;
    }
    fgw_start_read(instance, json_object_get(doc, "start"));
    instance->next = version->instances;
    version->instances = instance;
    return SYN_OK;
}

void
fgw_instance_check(struct fgw_instance *instance)
{
    struct fgw_instance **at = &instance->version->instances;

    if (!instance->gone || instance->running > 0 || instance->links != NULL)
        return;
    while (*at != instance)
        at = &(*at)->next;
    *at = instance->next;
    fgw_report_left(instance);
    syn_free(instance);
}

static void
lose_instance(struct fgw_instance *instance)
{
    instance->gone = true;
    fgw_instance_tidy(instance, true);
    fgw_instance_check(instance);
}

static void
lose_unseen(struct fgw_version *version)
{
    struct fgw_instance *next;

    for (struct fgw_instance *at = version->instances; at != NULL; at = next) {
        next = at->next;
        if (!at->seen && !at->gone)
            lose_instance(at);
    }
}

/* --- versions --------------------------------------------------------------------------------- */

struct fgw_version *
fgw_version_ref(struct fgw_version *version)
{
    version->refs++;
    return version;
}

static void
environment_free(char **environment)
{
    for (char **at = environment; at != NULL && *at != NULL; at++)
        syn_free(*at);
    syn_free(environment);
}

void
fgw_version_unref(struct fgw_version *version)
{
    assert(version->refs > 0);
    if (--version->refs > 0)
        return;
    assert(version->active == NULL);
    for (struct fgw_instance *at = version->instances, *next; at != NULL; at = next) {
        next = at->next;
        at->gone = true;
        fgw_instance_tidy(at, true);
        fgw_instance_check(at);
    }
    while (version->usage != NULL) {
        struct fgw_usage *usage = version->usage;

        version->usage = usage->next;
        syn_free(usage);
    }
    if (version->module != NULL)
        (void)syn_wasm_module_close(version->module);
    environment_free(version->environment);
    syn_free(version->tail);
    json_decref(version->config);
    syn_free(version);
}

static enum fgw_state
state_of(const char *name)
{
    if (syn_str_eq(name, "ready"))
        return FGW_READY;
    return syn_str_eq(name, "failed") ? FGW_FAILED : FGW_PREPARING;
}

/* What of a version's document stays what it is. */
static int
config_of(const json_t *doc, json_t **ret, struct syn_err *err)
{
    static const char *const moving[] = {"state", "weight", "endpoints", "service"};
    SYN_JSON(config);

    config = syn_json_copy(doc);
    if (config == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a version");
    for (size_t i = 0; i < SYN_LEN(moving); i++)
        (void)json_object_del(config, moving[i]);
    *ret = SYN_TAKE(config);
    return SYN_OK;
}

static void
read_config(struct fgw_version *version)
{
    const json_t *config = version->config;

    version->number = syn_json_i64(config, "version", 0);
    version->wasm = syn_str_eq(syn_json_str(config, "runtime", ""), "wasm");
    version->code = syn_json_str(config, "code", "");
    version->path = syn_json_str(config, "path", "");
    version->memory_bytes = syn_json_i64(config, "memory_bytes", INT64_C(128) << 20);
    version->timeout_ms = syn_json_i64(config, "timeout_ms", 30000);
    version->concurrency = SYN_MAX(syn_json_i64(config, "concurrency", 1), 1);
    version->max_waiting = syn_json_i64(config, "max_waiting", 1000);
    version->request_bytes_max = syn_json_i64(config, "request_bytes_max", 6 << 20);
    version->response_bytes_max = syn_json_i64(config, "response_bytes_max", 6 << 20);
    version->fuel = syn_json_i64(config, "fuel", 0);
}

/* Owns `config` from the call on. */
static int
new_version_take(struct fgw *gateway, const char *function, json_t *config,
                 struct fgw_version **ret, struct syn_err *err)
{
    struct fgw_version *version = syn_calloc(1, sizeof(*version));

    if (version == NULL) {
        json_decref(config);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a version");
    }
    version->refs = 1;
    version->gateway = gateway;
    version->config = config;
    (void)syn_str_copy(version->function, sizeof(version->function), function);
    read_config(version);
    *ret = version;
    return SYN_OK;
}

static int
add_version_take(struct fgw *gateway, struct fgw_function *function, json_t *config,
                 struct fgw_version **ret, struct syn_err *err)
{
    if (!syn_grow(&function->versions, &function->version_cap, function->version_count + 1,
                  sizeof(struct fgw_version *))) {
        json_decref(config);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a version");
    }

    int rc = new_version_take(gateway, function->id, config, ret, err);

    if (rc == SYN_OK)
        function->versions[function->version_count++] = *ret;
    return rc;
}

static int
put_endpoints(struct fgw_version *version, const json_t *endpoints, struct syn_err *err)
{
    size_t index;
    json_t *endpoint;
    int rc = SYN_OK;

    for (struct fgw_instance *at = version->instances; at != NULL; at = at->next)
        at->seen = false;
    json_array_foreach (endpoints, index, endpoint) {
        rc = put_instance(version, endpoint, err);
        if (rc == SYN_E_INVALID) { /* the others are of use */
            syn_log_err(SYN_LOG_WARN, "gateway.endpoint", err);
            rc = SYN_OK;
        }
        if (rc < 0)
            break;
    }
    if (rc == SYN_OK)
        lose_unseen(version);
    return rc;
}

static int
put_version(struct fgw *gateway, struct fgw_function *function, const json_t *doc,
            struct syn_err *err)
{
    struct fgw_version *version = fgw_function_version(function, syn_json_i64(doc, "version", 0));
    json_t *config = NULL;
    int rc = config_of(doc, &config, err);

    if (rc < 0)
        return rc;
    if (version != NULL && version->seen == false && json_equal(version->config, config))
        json_decref(config);
    else
        rc = add_version_take(gateway, function, config, &version, err);
    if (rc < 0)
        return rc;
    version->seen = true;
    version->state = state_of(syn_json_str(doc, "state", ""));
    version->weight = (int)SYN_MAX(0, SYN_MIN(syn_json_i64(doc, "weight", 0), 1000));
    rc = put_endpoints(version, json_object_get(doc, "endpoints"), err);
    if (rc == SYN_OK && version->state == FGW_FAILED)
        fgw_version_fail(version, "the function's version has failed");
    if (rc == SYN_OK && version->wasm && version->state != FGW_FAILED)
        fgw_module_want(version);
    return rc;
}

static void
lose_version(struct fgw_function *function, size_t index)
{
    struct fgw_version *version = function->versions[index];

    function->version_count--;
    memmove(function->versions + index, function->versions + index + 1,
            (function->version_count - index) * sizeof(struct fgw_version *));
    version->retired = true;
    fgw_version_leave(version, function);
    fgw_version_unref(version);
}

struct fgw_version *
fgw_function_version(const struct fgw_function *function, int64_t number)
{
    for (size_t i = function->version_count; i-- > 0;) {
        if (function->versions[i]->number == number)
            return function->versions[i];
    }
    return NULL;
}

/* Of a function that is being deployed, and has nothing yet: the one that is got ready. Its calls
 * wait for it, as those of one that sleeps do. */
static struct fgw_version *
first_to_be(const struct fgw_function *function)
{
    struct fgw_version *newest = NULL;

    if (!syn_str_eq(function->state, "deploying"))
        return NULL;
    for (size_t i = 0; i < function->version_count; i++)
        if (function->versions[i]->state != FGW_FAILED &&
            (newest == NULL || function->versions[i]->number > newest->number))
            newest = function->versions[i];
    return newest;
}

/* Weights come true exactly over as many draws as they sum up to, and well before. */
struct fgw_version *
fgw_function_pick(struct fgw_function *function)
{
    int total = 0;
    int drawn;

    for (size_t i = 0; i < function->version_count; i++)
        total += function->versions[i]->weight;
    if (total == 0)
        return first_to_be(function);
    function->draw = (function->draw + 61) % 100;
    drawn = (int)function->draw * total / 100;
    for (size_t i = 0; i < function->version_count; i++) {
        drawn -= function->versions[i]->weight;
        if (drawn < 0)
            return function->versions[i];
    }
    return NULL;
}

/* --- functions -------------------------------------------------------------------------------- */

void
fgw_function_drop(void *value)
{
    struct fgw_function *function = value;

    while (function->version_count > 0)
        lose_version(function, function->version_count - 1);
    syn_free(function->versions);
    syn_free(function->routes);
    json_decref(function->route_docs);
    json_decref(function->trust);
    syn_free(function);
}

static uint32_t
read_methods(const json_t *list)
{
    uint32_t mask = 0;
    size_t index;
    json_t *method;

    json_array_foreach (list, index, method) {
        const char *name = json_string_value(method);

        if (name != NULL)
            mask |= strcmp(name, "ANY") == 0 || strcmp(name, "*") == 0 ? UINT32_MAX
                                                                       : fgw_method_bit(name);
    }
    return mask == 0 ? UINT32_MAX : mask;
}

/* Owns nothing of it: texts stay in `docs`. */
static int
put_routes(struct fgw *gateway, struct fgw_function *function, json_t *docs, struct syn_err *err)
{
    const size_t count = json_array_size(docs);
    struct fgw_route *routes;

    if (function->route_docs != NULL && json_equal(function->route_docs, docs))
        return SYN_OK;
    routes = syn_calloc(SYN_MAX(count, 1), sizeof(*routes));
    if (routes == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for routes");
    for (size_t i = 0; i < count; i++) {
        const json_t *doc = json_array_get(docs, i);
        const json_t *cors = json_object_get(doc, "cors");

        routes[i].function = function;
        routes[i].methods = read_methods(json_object_get(doc, "methods"));
        routes[i].needs_token = syn_str_eq(syn_json_str(doc, "auth", "none"), "token");
        routes[i].needs_key =
            !routes[i].needs_token && !syn_str_eq(syn_json_str(doc, "auth", "none"), "none");
        routes[i].hmac = json_object_get(doc, "hmac");
        routes[i].has_cors = json_is_object(cors);
        routes[i].cors.origins = json_object_get(cors, "origins");
        routes[i].cors.headers = json_object_get(cors, "headers");
        routes[i].cors.credentials = syn_json_bool(cors, "credentials", false);
        routes[i].cors.max_age_s = syn_json_i64(cors, "max_age_s", 600);
    }
    gateway->routes_old = true;
    fgw_certs_want(gateway);
    json_decref(function->route_docs);
    function->route_docs = json_incref(docs);
    syn_free(function->routes);
    function->routes = routes;
    function->route_count = count;
    return SYN_OK;
}

static int
put_versions(struct fgw *gateway, struct fgw_function *function, const json_t *list,
             struct syn_err *err)
{
    size_t index;
    json_t *doc;
    int rc = SYN_OK;

    for (size_t i = 0; i < function->version_count; i++)
        function->versions[i]->seen = false;
    json_array_foreach (list, index, doc) {
        rc = put_version(gateway, function, doc, err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = function->version_count; i-- > 0;) {
        if (!function->versions[i]->seen)
            lose_version(function, i);
    }
    for (size_t i = 0; i < function->version_count; i++)
        fgw_version_turn(function->versions[i]);
    return SYN_OK;
}

/* NULL: no memory. */
static struct fgw_function *
find_function(struct fgw *gateway, const char *id, struct syn_err *err)
{
    struct fgw_function *function = syn_map_find(gateway->functions, id);

    if (function != NULL)
        return function;
    function = syn_calloc(1, sizeof(*function));
    if (function == NULL) {
        (void)SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a function");
        return NULL;
    }
    (void)syn_str_copy(function->id, sizeof(function->id), id);
    return syn_map_put_take(gateway->functions, id, function, err) < 0 ? NULL : function;
}

int
fgw_table_put(struct fgw *gateway, const json_t *doc, struct syn_err *err)
{
    struct fgw_function *function;
    const char *id = syn_json_str(doc, "id", "");
    json_t *routes = json_object_get(doc, "routes");
    int rc;

    if (strchr(id, '/') != NULL)
        return fgw_keys_put(gateway->keys, doc, err);
    if (id[0] == '\0' || strlen(id) >= SYN_ID_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a function's document without its id");
    function = find_function(gateway, id, err);
    if (function == NULL)
        return SYN_E_NOMEM;
    function->seen = true;
    (void)syn_str_copy(function->name, sizeof(function->name), syn_json_str(doc, "name", ""));
    (void)syn_str_copy(function->account, sizeof(function->account),
                       syn_json_str(doc, "account", ""));
    (void)syn_str_copy(function->state, sizeof(function->state), syn_json_str(doc, "state", ""));
    (void)syn_str_copy(function->reason, sizeof(function->reason), syn_json_str(doc, "reason", ""));
    json_decref(function->trust);
    function->trust = json_incref(json_object_get(doc, "trust"));
    rc = put_routes(gateway, function, routes, err);
    if (rc == SYN_OK)
        rc = put_versions(gateway, function, json_object_get(doc, "versions"), err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", id) : SYN_OK;
}

void
fgw_table_remove(struct fgw *gateway, const char *id)
{
    if (strchr(id, '/') != NULL)
        fgw_keys_remove(gateway->keys, id);
    else
        fgw_keys_forget(gateway->keys, id);
    if (syn_map_remove(gateway->functions, id)) {
        gateway->routes_old = true;
        fgw_certs_want(gateway);
    }
}

void
fgw_table_snapshot(struct fgw *gateway)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(gateway->functions, &cursor, NULL, &value))
        ((struct fgw_function *)value)->seen = false;
    fgw_keys_snapshot(gateway->keys);
}

void
fgw_table_synced(struct fgw *gateway)
{
    size_t cursor = 0;
    const char *key;
    void *value;

    while (syn_map_next(gateway->functions, &cursor, &key, &value)) {
        if (!((struct fgw_function *)value)->seen)
            fgw_table_remove(gateway, key);
    }
    fgw_keys_synced(gateway->keys);
    fgw_known(gateway);
}

/* --- routes ----------------------------------------------------------------------------------- */

static int
add_routes(struct syn_function_routes *routes, struct fgw_function *function, struct syn_err *err)
{
    for (size_t i = 0; i < function->route_count; i++) {
        const json_t *doc = json_array_get(function->route_docs, i);
        const char *path = syn_json_str(doc, "path", "");
        int rc = syn_function_pattern_check(path, err);

        if (rc == SYN_OK)
            rc = syn_function_routes_add(routes, syn_json_str(doc, "host", ""), path,
                                         function->routes[i].methods, &function->routes[i], err);
        if (rc == SYN_E_NOMEM)
            return rc;
        if (rc < 0) { /* the server keeps them apart: the first has it */
            (void)syn_err_wrap(err, rc, "%s", function->id);
            syn_log_err(SYN_LOG_WARN, "gateway.route", err);
        }
    }
    return SYN_OK;
}

const struct syn_function_routes *
fgw_table_routes(struct fgw *gateway)
{
    struct syn_function_routes *routes = NULL;
    struct syn_err err;
    size_t cursor = 0;
    void *value;
    int rc;

    if (!gateway->routes_old && gateway->routes != NULL)
        return gateway->routes;
    gateway->routes = syn_function_routes_free(gateway->routes); /* its targets may be gone */
    rc = syn_function_routes_new(&routes, &err);
    while (rc == SYN_OK && syn_map_next(gateway->functions, &cursor, NULL, &value))
        rc = add_routes(routes, value, &err);
    if (rc < 0) {
        (void)syn_function_routes_free(routes);
        syn_log_err(SYN_LOG_ERROR, "gateway.routes", &err);
        return NULL;
    }
    gateway->routes = routes;
    gateway->routes_old = false;
    return routes;
}
