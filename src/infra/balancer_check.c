/* What a table may hold. Everything in it may come from a tenant, and some of it (hosts, paths, a
 * cookie's name, addresses) ends in HAProxy's configuration or on its command line: so each text
 * has an alphabet without blanks, quotes, line ends, ';', '\', '#' and '<'. Ids end in neither. */
#include "balancer_priv.h"

#include <arpa/inet.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/infra/acme.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS  "0123456789"
#define FEW     16

int
lb_check_text(const char *what, const char *text, size_t max, const char *alphabet,
              struct syn_err *err)
{
    size_t len = text == NULL ? 0 : strnlen(text, max + 1);

    if (len == 0 || len > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s takes 1 to %zu bytes", what, max);
    if (strspn(text, alphabet) != len)
        return SYN_FAIL(err, SYN_E_INVALID, "%s holds a character that it must not", what);
    return SYN_OK;
}

static int
check_id(const char *what, const char *id, struct syn_err *err)
{
    int rc = lb_check_text(what, id, SYN_BALANCER_ID_MAX, LETTERS DIGITS "-._:/", err);

    if (rc == SYN_OK && strchr("-._:/", id[0]) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s begins with a letter or digit", what);
    return rc;
}

static int
check_range(const char *what, int64_t value, int64_t max, struct syn_err *err)
{
    if (value < 0 || value > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is over %lld", what, (long long)max);
    return SYN_OK;
}

int
lb_address(const char *text, char ret[LB_ADDRESS_SIZE], struct syn_err *err)
{
    char host[INET6_ADDRSTRLEN + 2];
    char canonical[INET6_ADDRSTRLEN];
    uint8_t bin[16];
    const char *colon = text == NULL ? NULL : strrchr(text, ':');
    uint64_t port;
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    bool six = len > 2 && text[0] == '[' && text[len - 1] == ']';
    size_t edge = six ? 1 : 0;

    if (len == 0 || len >= sizeof(host) || strlen(colon + 1) > 5 || colon[1] == '0' ||
        syn_parse_u64(colon + 1, 1, 65535, "the port", &port, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "not an address with a port");
    memcpy(host, text + edge, len - 2 * edge);
    host[len - 2 * edge] = '\0';
    if (inet_pton(six ? AF_INET6 : AF_INET, host, bin) != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "not an address with a port");
    if (!six) /* which has one form only */
        memcpy(ret, text, len + 1 + strlen(colon + 1) + 1);
    else if (inet_ntop(AF_INET6, bin, canonical, sizeof(canonical)) != NULL)
        (void)snprintf(ret, LB_ADDRESS_SIZE, "[%s]:%u", canonical, (unsigned)port);
    else
        return SYN_FAIL(err, SYN_E_INVALID, "not an address with a port");
    return SYN_OK;
}

/* --- routes ----------------------------------------------------------------------------------- */

int
lb_check_host(const char *host, struct syn_err *err)
{
    const char *rest = syn_str_starts(host, "*.") ? host + 2 : host;
    int rc = lb_check_text("a host", rest, SYN_BALANCER_HOST_MAX - 2, LETTERS DIGITS "-._", err);

    if (rc == SYN_OK &&
        (rest[0] == '.' || rest[strlen(rest) - 1] == '.' || strstr(rest, "..") != NULL))
        return SYN_FAIL(err, SYN_E_INVALID, "a host has an empty part");
    return rc;
}

static int
check_path(const char *what, const char *path, const char *alphabet, struct syn_err *err)
{
    int rc = lb_check_text(what, path, SYN_BALANCER_PATH_MAX, alphabet, err);

    if (rc == SYN_OK && path[0] != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "%s begins with a slash", what);
    return rc;
}

int
lb_check_path(const char *path, struct syn_err *err)
{
    int rc = check_path("a path", path, LETTERS DIGITS "/-._~%!$&*+,=:@", err);

    if (rc == SYN_OK && strstr(path, "//") != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "a path has an empty part");
    return rc;
}

int
lb_route_key(unsigned door, const struct syn_balancer_route *route, char ret[LB_KEY_SIZE],
             struct syn_err *err)
{
    const char *path = route->path == NULL ? "/" : route->path;
    const char *host = route->host;
    size_t len;
    int rc = host == NULL ? SYN_OK : lb_check_host(host, err);

    if (rc == SYN_OK)
        rc = lb_check_path(path, err);
    if (rc < 0)
        return rc;
    /* A wildcard is looked up as "*.rest", what has no host as "". */
    len = (size_t)snprintf(ret, LB_KEY_SIZE, "f%u|%s%s", door, host == NULL ? "" : host, path);
    for (char *c = ret; *c != '\0' && *c != '/'; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    if (ret[len - 1] != '/')
        (void)syn_str_copy(ret + len, LB_KEY_SIZE - len, "/");
    return SYN_OK;
}

static int
check_routes(const struct syn_balancer_frontend *frontend, const struct syn_map *backends,
             struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *seen = NULL;
    char key[LB_KEY_SIZE];
    int rc = syn_map_new(NULL, &seen, err);

    for (size_t i = 0; rc == SYN_OK && i < frontend->route_count; i++) {
        const struct syn_balancer_route *route = &frontend->routes[i];
        const struct syn_balancer_backend *to =
            route->backend == NULL ? NULL : syn_map_find(backends, route->backend);

        rc = lb_route_key(0, route, key, err);
        if (rc < 0)
            break;
        if (to == NULL || to->mode != SYN_BALANCER_HTTP)
            return SYN_FAIL(err, SYN_E_INVALID, "route %s leads to no backend of mode HTTP",
                            key + 3);
        if (syn_map_find(seen, key) != NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "route %s is there twice", key + 3);
        rc = syn_map_put_take(seen, key, (void *)(uintptr_t)1, err);
    }
    return rc;
}

/* --- backends --------------------------------------------------------------------------------- */

static int
check_server(const struct syn_balancer_server *server, struct syn_err *err)
{
    char address[LB_ADDRESS_SIZE];
    int rc = check_id("a server's id", server->id, err);

    if (rc == SYN_OK)
        rc = lb_address(server->address, address, err);
    if (rc == SYN_OK)
        rc = check_range("a weight", server->weight, SYN_BALANCER_WEIGHT_MAX, err);
    if (rc == SYN_OK)
        rc = check_range("a server's state", server->state, SYN_BALANCER_OFF, err);
    return rc;
}

static int
check_servers(const struct syn_balancer_backend *backend, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *seen = NULL;
    bool few = backend->server_count <= FEW; /* most have few: a map costs more */
    int rc = few ? SYN_OK : syn_map_new(NULL, &seen, err);

    for (size_t i = 0; rc == SYN_OK && i < backend->server_count; i++) {
        const char *id = backend->servers[i].id;
        bool twice = false;

        rc = check_server(&backend->servers[i], err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "server %zu", i);
        for (size_t k = 0; few && !twice && k < i; k++)
            twice = strcmp(backend->servers[k].id, id) == 0;
        if (twice || (!few && syn_map_find(seen, id) != NULL))
            return SYN_FAIL(err, SYN_E_INVALID, "server %s is there twice", id);
        if (!few)
            rc = syn_map_put_take(seen, id, (void *)(uintptr_t)1, err);
    }
    return rc;
}

static int
check_health(const struct syn_balancer_backend *backend, struct syn_err *err)
{
    const struct syn_balancer_health *health = &backend->health;
    int rc = check_range("the kind of check", health->check, SYN_BALANCER_CHECK_HTTP, err);

    if (rc == SYN_OK && health->path != NULL)
        rc = check_path("the check's path", health->path, LETTERS DIGITS "/-._~%!$&*+,=:@?", err);
    if (rc == SYN_OK && health->host != NULL)
        rc = lb_check_host(health->host, err);
    if (rc == SYN_OK)
        rc =
            check_range("the check's interval", health->interval_ms, SYN_BALANCER_WAIT_MAX_MS, err);
    if (rc == SYN_OK)
        rc = check_range("the check's time-out", health->timeout_ms, SYN_BALANCER_WAIT_MAX_MS, err);
    if (rc == SYN_OK)
        rc = check_range("rise", health->rise, 100, err);
    if (rc == SYN_OK)
        rc = check_range("fall", health->fall, 100, err);
    if (rc == SYN_OK)
        rc = check_range("errors_max", health->errors_max, 10000, err);
    if (rc < 0)
        return rc;
    if (health->interval_ms > 0 && health->interval_ms < 100)
        return SYN_FAIL(err, SYN_E_INVALID, "the check's interval is under 100 ms");
    if (health->errors_max > 0 && health->check == SYN_BALANCER_UNCHECKED)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "what errors take out comes back by a check: there is none");
    return SYN_OK;
}

static int
check_peer_names(const struct syn_balancer_backend *backend, struct syn_err *err)
{
    static const char alphabet[] = LETTERS DIGITS "-._";
    int rc =
        lb_check_text("a peer's name", backend->peer_name, SYN_BALANCER_HOST_MAX, alphabet, err);

    for (size_t i = 0; rc == SYN_OK && i < backend->server_count; i++) {
        const struct syn_balancer_server *server = &backend->servers[i];

        if (server->peer_name != NULL)
            rc = lb_check_text("a peer's name", server->peer_name, SYN_BALANCER_HOST_MAX, alphabet,
                               err);
        if (rc == SYN_OK && server->peer_sni != NULL)
            rc = lb_check_text("what a peer is asked for", server->peer_sni, SYN_BALANCER_HOST_MAX,
                               alphabet, err);
    }
    return rc;
}

/* What its peers are shown and must show. */
static int
check_peers(const struct syn_balancer_backend *backend, const struct syn_balancer_table *table,
            const struct syn_map *certs, struct syn_err *err)
{
    bool any = false;

    for (size_t i = 0; i < backend->server_count; i++)
        any = any || backend->servers[i].peer;
    if (!any)
        return SYN_OK;
    if (backend->cert == NULL || syn_map_find(certs, backend->cert) == NULL ||
        backend->peer_name == NULL || table->authority == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "peers need a certificate, a name to check and an authority");
    return check_peer_names(backend, err);
}

static int
check_backend(const struct syn_balancer_backend *backend, struct syn_err *err)
{
    bool tcp = backend->mode == SYN_BALANCER_TCP;
    const struct {
        const char *what;
        int64_t value, max;
    } ranges[] = {
        {"the mode", backend->mode, SYN_BALANCER_TCP},
        {"the algorithm", backend->algorithm, SYN_BALANCER_RANDOM},
        {"the protocol", backend->protocol, SYN_BALANCER_H2},
        {"what servers learn of a client", backend->client, SYN_BALANCER_CLIENT_PROXY},
        {"slow_start_ms", backend->slow_start_ms, SYN_BALANCER_WAIT_MAX_MS},
        {"connect_ms", backend->connect_ms, SYN_BALANCER_WAIT_MAX_MS},
        {"response_ms", backend->response_ms, SYN_BALANCER_WAIT_MAX_MS},
        {"tunnel_ms", backend->tunnel_ms, SYN_BALANCER_WAIT_MAX_MS},
        {"queue_ms", backend->queue_ms, SYN_BALANCER_WAIT_MAX_MS},
        {"hold_ms", backend->hold_ms, SYN_BALANCER_WAIT_MAX_MS},
        {"rate_max", backend->rate_max, SYN_BALANCER_RATE_MAX},
        {"retries (from -1)", (int64_t)backend->retries + 1, 11},
        {"retry_percent (from -1)", (int64_t)backend->retry_percent + 1, 101},
        {"mirror_percent", backend->mirror_percent, 100},
    };
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(ranges); i++)
        rc = check_range(ranges[i].what, ranges[i].value, ranges[i].max, err);
    if (rc == SYN_OK)
        rc = check_range("https_port", backend->https_port, 65535, err);
    if (rc == SYN_OK && backend->challenge_key != NULL)
        rc = lb_check_text("a key's thumbprint", backend->challenge_key,
                           SYN_ACME_THUMBPRINT_SIZE - 1, LETTERS DIGITS "-_", err);
    if (rc == SYN_OK && backend->cookie != NULL)
        rc = lb_check_text("a cookie's name", backend->cookie, 64, LETTERS DIGITS "-_", err);
    if (rc == SYN_OK)
        rc = check_health(backend, err);
    if (rc < 0)
        return rc;
    if (tcp && (backend->cookie != NULL || backend->protocol != SYN_BALANCER_HTTP1 ||
                backend->https_port > 0 || backend->rate_max > 0 || backend->retry_percent != 0 ||
                backend->challenge_key != NULL))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "mode TCP knows no cookie, protocol, redirect, rate of requests, share of "
                        "retries and challenges");
    return check_servers(backend, err);
}

static int
check_mirror(const struct syn_balancer_backend *backend, const struct syn_map *backends,
             struct syn_err *err)
{
    const struct syn_balancer_backend *to;

    if (backend->mirror == NULL)
        return SYN_OK;
    to = syn_map_find(backends, backend->mirror);
    if (to == NULL || to->mode != SYN_BALANCER_HTTP || backend->mode != SYN_BALANCER_HTTP ||
        backend->mirror_percent == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "backend %s: what is sent as well is a part of requests (HTTP), to another "
                        "backend of the table",
                        backend->id);
    return SYN_OK;
}

/* --- frontends -------------------------------------------------------------------------------- */

static int
check_frontend(const struct syn_balancer_frontend *frontend, const struct syn_map *backends,
               const struct syn_map *certs, bool authority, struct syn_err *err)
{
    const struct syn_balancer_backend *to =
        frontend->backend == NULL ? NULL : syn_map_find(backends, frontend->backend);
    char address[LB_ADDRESS_SIZE];
    int rc = check_range("the mode", frontend->mode, SYN_BALANCER_TCP, err);

    if (rc == SYN_OK)
        rc = check_range("the end of a mesh", frontend->mesh, SYN_BALANCER_MESH_IN, err);
    if (rc == SYN_OK)
        rc = lb_address(frontend->address, address, err);
    if (rc == SYN_OK)
        rc = check_range("https_port", frontend->https_port, 65535, err);
    if (rc == SYN_OK)
        rc = check_range("client_idle_ms", frontend->client_idle_ms, SYN_BALANCER_WAIT_MAX_MS, err);
    if (rc < 0)
        return rc;
    rc = lb_check_matches(frontend, err);
    if (rc < 0)
        return rc;
    if (frontend->mesh != SYN_BALANCER_NO_MESH)
        rc = lb_check_mesh(frontend, backends, authority, err);
    else if (frontend->pair_count > 0 || frontend->caller_count > 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "callers and pairs are a mesh's");
    if (rc < 0)
        return rc;
    if (frontend->mode == SYN_BALANCER_TCP &&
        (frontend->route_count > 0 || frontend->https_port > 0))
        return SYN_FAIL(err, SYN_E_INVALID, "mode TCP knows no routes and no redirect");
    if (frontend->backend != NULL && (to == NULL || to->mode != frontend->mode))
        return SYN_FAIL(err, SYN_E_INVALID, "there is no backend %s of its mode",
                        frontend->backend);
    for (size_t i = 0; i < frontend->cert_count; i++)
        if (frontend->certs[i] == NULL || syn_map_find(certs, frontend->certs[i]) == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "there is no such certificate");
    return check_routes(frontend, backends, err);
}

/* --- the table -------------------------------------------------------------------------------- */

static int
check_counts(const struct syn_balancer_table *table, struct syn_err *err)
{
    size_t servers = 0, routes = 0, callers = 0;

    for (size_t i = 0; i < table->backend_count; i++)
        servers += table->backends[i].server_count;
    for (size_t i = 0; i < table->frontend_count; i++) {
        routes += table->frontends[i].route_count + table->frontends[i].pair_count;
        callers = SYN_MAX(callers, table->frontends[i].caller_count);
    }
    if (table->frontend_count > SYN_BALANCER_FRONTENDS_MAX ||
        table->backend_count > SYN_BALANCER_BACKENDS_MAX || servers > SYN_BALANCER_SERVERS_MAX ||
        routes > SYN_BALANCER_ROUTES_MAX || callers > SYN_BALANCER_CALLERS_MAX ||
        table->cert_count > SYN_BALANCER_CERTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "at most %d frontends, %d backends, %d servers, %d routes, %d certificates",
                        SYN_BALANCER_FRONTENDS_MAX, SYN_BALANCER_BACKENDS_MAX,
                        SYN_BALANCER_SERVERS_MAX, SYN_BALANCER_ROUTES_MAX, SYN_BALANCER_CERTS_MAX);
    return SYN_OK;
}

/* Take an id in; twice is once too often. */
static int
note(struct syn_map *map, const char *what, const char *id, const void *row, struct syn_err *err)
{
    int rc = check_id(what, id, err);

    if (rc == SYN_OK && syn_map_find(map, id) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s %s is there twice", what, id);
    if (rc == SYN_OK)
        rc = syn_map_put_take(map, id, (void *)(uintptr_t)row, err);
    return rc;
}

static int
check_certs(const struct syn_balancer_table *table, struct syn_map *certs, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < table->cert_count; i++) {
        const struct syn_balancer_cert *cert = &table->certs[i];

        rc = note(certs, "certificate", cert->id, cert, err);
        if (rc == SYN_OK && (cert->pem == NULL || cert->pem_len > LB_PEM_BYTES_MAX))
            return SYN_FAIL(err, SYN_E_INVALID, "certificate %s is none or too large", cert->id);
    }
    return rc;
}

static int
check_frontends(const struct syn_balancer_table *table, const struct syn_map *backends,
                const struct syn_map *certs, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *seen = NULL;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *addresses = NULL;
    int rc = syn_map_new(NULL, &seen, err);

    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &addresses, err);
    for (size_t i = 0; rc == SYN_OK && i < table->frontend_count; i++) {
        const struct syn_balancer_frontend *frontend = &table->frontends[i];
        char address[LB_ADDRESS_SIZE];

        rc = note(seen, "frontend", frontend->id, frontend, err);
        if (rc < 0)
            return rc;
        rc = check_frontend(frontend, backends, certs, table->authority != NULL, err);
        if (rc == SYN_OK)
            rc = lb_address(frontend->address, address, err);
        if (rc == SYN_OK && syn_map_find(addresses, address) != NULL)
            rc = SYN_FAIL(err, SYN_E_INVALID, "another frontend has %s", address);
        if (rc < 0)
            return syn_err_wrap(err, rc, "frontend %s", frontend->id);
        rc = syn_map_put_take(addresses, address, (void *)(uintptr_t)frontend, err);
    }
    return rc;
}

int
syn_balancer_check(const struct syn_balancer_table *table, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *backends = NULL;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *certs = NULL;
    int rc = check_counts(table, err);

    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &backends, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &certs, err);
    if (rc == SYN_OK)
        rc = check_certs(table, certs, err);
    for (size_t i = 0; rc == SYN_OK && i < table->backend_count; i++) {
        const struct syn_balancer_backend *backend = &table->backends[i];

        rc = note(backends, "backend", backend->id, backend, err);
        if (rc < 0)
            return rc;
        rc = check_backend(backend, err);
        if (rc == SYN_OK)
            rc = check_peers(backend, table, certs, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "backend %s", backend->id);
    }
    for (size_t i = 0; rc == SYN_OK && i < table->backend_count; i++)
        rc = check_mirror(&table->backends[i], backends, err);
    if (rc == SYN_OK)
        rc = check_frontends(table, backends, certs, err);
    return rc;
}
