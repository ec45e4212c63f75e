/* A service's document as the balancer's words. What the spec may hold was checked when it was
 * deployed (spec.c), and is checked again by the balancer. */
#include "gateway_priv.h"

#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_spec.h>

#define COOKIE       "synor-replica"
#define CHECK_MIN_MS 1000
#define CHECK_MAX_MS 10000
#define CONNECT_MS   2000
/* An agent looks at how its replicas are; this sees that they cannot be reached from here, when a
 * node or its agent died. Twice within the service's own interval. */
#define CHECKS 2

/* It ends what it has: it is to go, or stands by. */
static bool
is_off(const json_t *row)
{
    const char *state = syn_json_str(row, "state", "");

    return syn_str_eq(state, "draining") || syn_str_eq(state, "standby");
}

/* Where a version is tried, what its share makes of it; else the weight of the one algorithm that
 * minds the size of replicas, which may differ in an update. */
static unsigned
weight_of(const struct syn_service_lb *lb, const json_t *row, int64_t most)
{
    int64_t cpu = syn_json_i64(row, "cpu_millicores", 0);
    int64_t weight = syn_json_i64(row, "weight", 0);

    if (weight > 0)
        return (unsigned)SYN_MIN(weight, (int64_t)SYN_BALANCER_WEIGHT_MAX);
    if (lb->algorithm != SYN_SERVICE_WEIGHTED || most <= 0 || cpu <= 0)
        return 100;
    return (unsigned)SYN_MAX(cpu * SYN_BALANCER_WEIGHT_MAX / most, 1);
}

static int
read_servers(struct gtw_service *service, const struct syn_service_lb *lb, struct syn_err *err)
{
    const json_t *rows = json_object_get(syn_document_status(service->doc), "endpoints");
    const json_t *row;
    size_t i, count = 0;
    int64_t most = 0;

    service->addresses = syn_calloc(json_array_size(rows) + 1, sizeof(*service->addresses));
    service->servers = syn_calloc(json_array_size(rows) + 1, sizeof(*service->servers));
    if (service->addresses == NULL || service->servers == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the replicas of a service");
    json_array_foreach (rows, i, row)
        most = SYN_MAX(most, syn_json_i64(row, "cpu_millicores", 0));
    json_array_foreach (rows, i, row) {
        if ((!syn_json_bool(row, "ready", false) && !is_off(row)) ||
            !gtw_address_join(syn_json_str(row, "address", ""),
                              (unsigned)SYN_MAX(syn_json_i64(row, "port", 0), 0),
                              service->addresses[count]))
            continue;
        service->servers[count] = (struct syn_balancer_server){
            .id = syn_json_str(row, "instance", ""),
            .address = service->addresses[count],
            .weight = weight_of(lb, row, most),
            .state = is_off(row) ? SYN_BALANCER_OFF : SYN_BALANCER_READY,
        };
        service->ready += !is_off(row);
        count++;
    }
    service->backend.server_count = count;
    return SYN_OK;
}

/* Does somebody mind that requests wait? A service that is to have no replica has nobody. */
static bool
may_come(const struct syn_service_spec *spec)
{
    return spec->autoscale != NULL
               ? json_array_size(json_object_get(spec->autoscale, "metrics")) > 0
               : spec->replicas > 0;
}

static void
read_backend(struct gtw_service *service, const struct syn_service_spec *spec)
{
    static const enum syn_balancer_algorithm algorithms[] = {
        [SYN_SERVICE_ROUND_ROBIN] = SYN_BALANCER_ROUND_ROBIN,
        [SYN_SERVICE_LEAST_CONNECTIONS] = SYN_BALANCER_LEAST_CONNECTIONS,
        [SYN_SERVICE_WEIGHTED] = SYN_BALANCER_ROUND_ROBIN,
        [SYN_SERVICE_IP_HASH] = SYN_BALANCER_IP_HASH,
        [SYN_SERVICE_RANDOM] = SYN_BALANCER_RANDOM,
    };
    const struct syn_service_lb *lb = &spec->lb;
    struct syn_balancer_backend *backend = &service->backend;
    int64_t interval_ms = spec->check_interval_ms / CHECKS;

    backend->id = service->name;
    backend->servers = service->servers;
    backend->mode = lb->protocol == SYN_SERVICE_TCP ? SYN_BALANCER_TCP : SYN_BALANCER_HTTP;
    backend->algorithm = algorithms[lb->algorithm];
    backend->protocol = lb->protocol == SYN_SERVICE_H2 || lb->protocol == SYN_SERVICE_GRPC
                            ? SYN_BALANCER_H2
                            : SYN_BALANCER_HTTP1;
    backend->hold_ms = may_come(spec) ? (unsigned)lb->hold_ms : 0;
    backend->slow_start_ms = (unsigned)lb->slow_start_ms;
    backend->cookie = lb->sticky ? COOKIE : NULL;
    backend->health = (struct syn_balancer_health){
        .check = SYN_BALANCER_CHECK_TCP,
        .interval_ms = (unsigned)SYN_MIN(SYN_MAX(interval_ms, CHECK_MIN_MS), CHECK_MAX_MS),
        .timeout_ms = CONNECT_MS,
        .rise = 1,
        .fall = CHECKS,
        .errors_max = lb->errors_max,
    };
}

static void
read_front(struct gtw_service *service, const struct syn_service_lb *lb)
{
    service->tls = lb->tls;
    service->challenged = syn_str_eq(lb->certificate, SYN_SERVICE_ACME);
    service->routed = lb->host[0] != '\0' || lb->path[0] != '\0';
    service->redirected = lb->redirect_http;
    service->route = (struct syn_balancer_route){
        .host = lb->host[0] != '\0' ? lb->host : NULL,
        .path = lb->path[0] != '\0' ? lb->path : NULL,
        .backend = service->name,
    };
    service->cert = service->id;
    service->front = (struct syn_balancer_frontend){
        .id = service->name,
        .address = service->address,
        .mode = service->backend.mode,
        .backend = service->name,
        .certs = &service->cert,
        .cert_count = lb->tls ? 1 : 0,
    };
}

int
gtw_service_new_take(json_t *doc, const char *host, struct gtw_service **ret, struct syn_err *err)
{
    struct gtw_service *service = syn_calloc(1, sizeof(*service));
    struct syn_service_spec spec;
    const char *address;
    int rc;

    if (service == NULL) {
        json_decref(doc);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a service");
    }
    service->doc = doc;
    if (!json_is_object(json_object_get(doc, "spec")) ||
        !json_is_object(json_object_get(doc, "status")) ||
        snprintf(service->name, sizeof(service->name), "%s/%s", syn_json_str(doc, "account", "?"),
                 syn_json_str(doc, "name", "?")) >= (int)sizeof(service->name)) {
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "\"%s\" is no service", syn_json_str(doc, "id", ""));
        (void)gtw_service_free(service);
        return rc;
    }
    syn_service_spec_read(syn_document_spec(doc), &spec);
    service->id = syn_document_id(doc);
    address = syn_json_str(syn_document_status(doc), "address", "");
    service->open = spec.port > 0 && spec.lb.publish &&
                    !syn_str_eq(syn_document_state(doc), "stopped") &&
                    gtw_address_join(host, gtw_address_port(address), service->address);
    rc = read_servers(service, &spec.lb, err);
    if (rc < 0) {
        (void)gtw_service_free(service);
        return rc;
    }
    read_backend(service, &spec);
    read_front(service, &spec.lb);
    *ret = service;
    return SYN_OK;
}

struct gtw_service *
gtw_service_free(struct gtw_service *service)
{
    if (service == NULL)
        return NULL;
    syn_free(service->addresses);
    syn_free(service->servers);
    syn_free(service->pem);
    json_decref(service->doc);
    syn_free(service);
    return NULL;
}
