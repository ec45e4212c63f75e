/* All services as one table. Each has a front of its own address; those with a host or path also
 * stand on the shared fronts, one for plain text and one for TLS. */
#include "gateway_priv.h"

#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/acme.h>

#define SHARED_FRONTS 2
#define TO_HTTPS      "to-https" /* the backend that sends to the front with TLS */

struct sums {
    size_t open, routed, challenged, certs;
};

static struct sums
count(const struct syn_map *services)
{
    struct sums sums = {0};
    size_t cursor = 0;
    void *value;

    while (syn_map_next(services, &cursor, NULL, &value)) {
        const struct gtw_service *service = value;

        if (!service->open)
            continue;
        sums.open++;
        sums.routed += service->routed;
        sums.challenged += service->challenged;
        sums.certs += service->pem != NULL;
    }
    return sums;
}

static int
reserve(struct gtw_table *table, const struct sums *sums, struct syn_err *err)
{
    table->fronts = syn_calloc(sums->open + SHARED_FRONTS, sizeof(*table->fronts));
    table->backends = syn_calloc(sums->open + 2, sizeof(*table->backends));
    table->routes =
        syn_calloc(SHARED_FRONTS * sums->routed + sums->challenged + 1, sizeof(*table->routes));
    table->certs = syn_calloc(sums->certs + 1, sizeof(*table->certs));
    table->cert_ids = syn_calloc(sums->certs + 1, sizeof(*table->cert_ids));
    if (table->fronts == NULL || table->backends == NULL || table->routes == NULL ||
        table->certs == NULL || table->cert_ids == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the gateway's table");
    return SYN_OK;
}

/* What a service adds: its backend, its front, its certificate. */
static void
add(struct gtw_table *table, const struct gtw_service *service, const struct syn_map *refused)
{
    struct syn_balancer_table *out = &table->table;

    table->backends[out->backend_count++] = service->backend;
    if (service->pem != NULL)
        table->certs[out->cert_count++] =
            (struct syn_balancer_cert){service->id, service->pem, strlen(service->pem)};
    if ((service->tls && service->pem == NULL) || syn_map_find(refused, service->address) != NULL)
        return;
    table->fronts[out->frontend_count++] = service->front;
}

/* Does a service of its own stand where challenges of this host would be answered? Then it answers
 * them, or not. */
static bool
is_challenge_place(const struct gtw_service *service)
{
    const char *path = service->route.path;
    size_t len = strlen(SYN_ACME_PATH);

    return path != NULL && strncmp(path, SYN_ACME_PATH, len) == 0 &&
           path[len + strspn(path + len, "/")] == '\0';
}

/* Hosts that prove themselves to an ACME directory do so on the front in plain text. */
static int
add_challenges(const struct syn_map *services, struct syn_balancer_frontend *front,
               struct syn_balancer_route *routes, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *hosts = NULL;
    size_t cursor = 0;
    void *value;
    int rc = syn_map_new(NULL, &hosts, err);

    for (size_t i = 0; rc == SYN_OK && i < 2; i++, cursor = 0)
        while (rc == SYN_OK && syn_map_next(services, &cursor, NULL, &value)) {
            struct gtw_service *service = value;
            const char *host = service->route.host;
            bool wanted = i == 0 ? is_challenge_place(service) : service->challenged;

            if (!service->open || !service->routed || host == NULL || !wanted ||
                syn_map_find(hosts, host) != NULL)
                continue;
            rc = syn_map_put_take(hosts, host, service, err);
            if (i == 1)
                routes[front->route_count++] = (struct syn_balancer_route){
                    .host = host, .path = SYN_ACME_PATH, .backend = GTW_CHALLENGES};
        }
    return rc;
}

/* One shared front, with what stands on it. */
static int
add_shared(struct gtw_table *table, const struct syn_map *services, const struct gtw_fronts *fronts,
           bool tls, struct syn_balancer_route *routes, struct syn_err *err)
{
    struct syn_balancer_frontend front = {.id = tls ? "https" : "http",
                                          .address = tls ? fronts->https : fronts->http,
                                          .routes = routes};
    size_t cursor = 0, certs = 0;
    void *value;
    int rc = SYN_OK;

    while (syn_map_next(services, &cursor, NULL, &value)) {
        const struct gtw_service *service = value;

        if (!service->open || !service->routed || (tls && service->pem == NULL))
            continue;
        routes[front.route_count] = service->route;
        if (!tls && service->redirected)
            routes[front.route_count].backend = TO_HTTPS;
        front.route_count++;
        if (tls)
            table->cert_ids[certs++] = service->id;
    }
    if (front.route_count == 0)
        return SYN_OK;
    if (!tls && fronts->challenge_key != NULL)
        rc = add_challenges(services, &front, routes, err);
    front.certs = table->cert_ids;
    front.cert_count = certs;
    table->fronts[table->table.frontend_count++] = front;
    return rc;
}

static bool
any_redirected(const struct syn_map *services)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(services, &cursor, NULL, &value))
        if (((const struct gtw_service *)value)->open &&
            ((const struct gtw_service *)value)->redirected)
            return true;
    return false;
}

int
gtw_table_make(const struct syn_map *services, const struct gtw_fronts *fronts,
               const struct syn_map *refused, struct gtw_table *ret, struct syn_err *err)
{
    struct gtw_table table = {.fronts = NULL};
    struct sums sums = count(services);
    size_t cursor = 0;
    void *value;
    int rc = reserve(&table, &sums, err);

    if (rc < 0) {
        gtw_table_fini(&table);
        return rc;
    }
    while (syn_map_next(services, &cursor, NULL, &value))
        if (((const struct gtw_service *)value)->open)
            add(&table, value, refused);
    if (any_redirected(services))
        table.backends[table.table.backend_count++] =
            (struct syn_balancer_backend){.id = TO_HTTPS, .https_port = fronts->https_port};
    if (fronts->challenge_key != NULL)
        table.backends[table.table.backend_count++] = (struct syn_balancer_backend){
            .id = GTW_CHALLENGES, .challenge_key = fronts->challenge_key};
    if (syn_map_find(refused, fronts->http) == NULL)
        rc = add_shared(&table, services, fronts, false, table.routes, err);
    if (rc == SYN_OK && syn_map_find(refused, fronts->https) == NULL)
        rc = add_shared(&table, services, fronts, true,
                        table.routes + sums.routed + sums.challenged, err);
    if (rc < 0) {
        gtw_table_fini(&table);
        return rc;
    }
    table.table.frontends = table.fronts;
    table.table.backends = table.backends;
    table.table.certs = table.certs;
    *ret = table;
    return SYN_OK;
}

void
gtw_table_fini(struct gtw_table *table)
{
    syn_free(table->fronts);
    syn_free(table->backends);
    syn_free(table->routes);
    syn_free(table->certs);
    syn_free(table->cert_ids);
    *table = (struct gtw_table){.fronts = NULL};
}
