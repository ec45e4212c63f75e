/* Published addresses: which service has which, and the gateway that serves them.
 *
 *     "published/PORT"      the id of the service whose port it is
 *     "published-route/H"   {service, account, name, host, path}: H is the digest of host and path
 *
 * An address is given when a service is deployed and lasts until it is deleted. It is written in
 * the same transaction as the service, so that no two have the same. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/infra/tls_cert.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_spec.h>

#include "../gateway/gateway_priv.h"
#include "loads_priv.h"
#include "server_priv.h"

#define DEFAULT_HOST    "127.0.0.1"
#define DEFAULT_FIRST   30000
#define DEFAULT_LAST    32767
#define CERT_NAMES      4
#define CERT_BYTES_MAX  ((size_t)16 << 10)
#define CERT_DAYS       397 /* browsers take no longer ones */
#define CERT_RENEW_DAYS 180
#define CA_DAYS         3650
#define GATEWAY         "gateway" /* its authority */
#define PROBES_MAX      64 /* addresses that others have, before it is said that there is none */

struct srv_gateway {
    struct syn_server *server;
    struct gtw *gtw;
    struct syn_store_watch *watch; /* its thread's */
    char host[GTW_ADDRESS_SIZE];
    unsigned first, last; /* ports to be given */
    unsigned http, https; /* of the shared fronts */
};

/* --- certificates ----------------------------------------------------------------------------- */

int
srv_authority(struct syn_server *server, const char *which, char *ret_path, struct syn_err *err)
{
    char name[SYN_ID_MAX + 32];
    int rc;

    (void)snprintf(ret_path, SRV_PATH_MAX, "%s/server/tls/%s-ca.pem", server->data_dir, which);
    if (access(ret_path, F_OK) == 0)
        return SYN_OK;
    (void)snprintf(name, sizeof(name), "Synor %s %s", which, server->cluster);
    rc = syn_tls_ca_create(ret_path, name, CA_DAYS, err);
    return rc == SYN_E_EXISTS ? SYN_OK : rc;
}

static int
read_file(const char *path, char **ret, struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    SYN_BUF(text);
    ssize_t got = -1;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    if (syn_buf_reserve(&text, CERT_BYTES_MAX) != NULL)
        got = read(fd, text.data, CERT_BYTES_MAX);
    (void)close(fd);
    if (got < 0)
        return SYN_FAIL(err, SYN_E_IO, "cannot read %s", path);
    text.len = (size_t)got;
    return syn_buf_take(&text, ret, NULL, err);
}

/* The names that a service is reached by. Returns how many. */
static size_t
names_of(const struct srv_gateway *gateway, const json_t *service, const char *names[CERT_NAMES])
{
    const json_t *lb = json_object_get(syn_document_spec(service), "lb");
    const char *host = syn_json_str(lb, "host", "");
    size_t count = 0;

    if (host[0] != '\0')
        names[count++] = host;
    names[count++] = gateway->host;
    if (syn_str_starts(gateway->host, "127.") || syn_str_eq(gateway->host, "::1"))
        names[count++] = "localhost";
    return count;
}

static bool
from_directory(const json_t *service)
{
    const json_t *lb = json_object_get(syn_document_spec(service), "lb");

    return syn_str_eq(syn_json_str(lb, "certificate", ""), SYN_SERVICE_ACME);
}

/* Made for its names, kept, and made anew long before it ends. */
int
srv_own_certificate(struct syn_server *server, const char *whose, const char *const *names,
                    size_t count, char tag[SRV_CERT_TAG], char **ret_pem, struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    char ca[SRV_PATH_MAX], path[SRV_PATH_MAX + 128];
    struct stat seen;
    SYN_BUF(all);
    int rc = srv_authority(server, GATEWAY, ca, err);

    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&all, "%s,", names[i]);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&all, err);
    if (rc < 0)
        return rc;
    syn_sha256(syn_buf_text(&all), all.len, digest);
    syn_hex_encode(digest, (SRV_CERT_TAG - 1) / 2, tag);
    (void)snprintf(path, sizeof(path), "%s/server/tls/%s-%s.pem", server->data_dir, whose, tag);
    if (stat(path, &seen) == 0 &&
        syn_wall_ms(server->world) / 1000 - seen.st_mtime > (int64_t)CERT_RENEW_DAYS * 24 * 3600)
        (void)unlink(path);
    rc = syn_tls_cert_issue(ca, path, names, count, CERT_DAYS, err);
    return rc < 0 && rc != SYN_E_EXISTS ? rc : read_file(path, ret_pem, err);
}

/* The certificate of a service. */
static int
certificate(void *arg, const json_t *service, char **ret_pem, struct syn_err *err)
{
    struct srv_gateway *gateway = arg;
    const char *given = srv_certificate_of(json_object_get(syn_document_spec(service), "lb"));
    const char *names[CERT_NAMES] = {NULL};
    size_t count = names_of(gateway, service, names);
    char tag[SRV_CERT_TAG];
    int rc;

    if (given[0] != '\0') {
        rc = srv_certificate_pem(gateway->server, syn_json_str(service, "account", ""), given,
                                 ret_pem, err);
        if (rc != SYN_E_NOTFOUND || !from_directory(service))
            return rc;
        /* Until the directory has given one, the platform's own serves. */
    }
    return srv_own_certificate(gateway->server, syn_document_id(service), names, count, tag,
                               ret_pem, err);
}

/* What a service had goes with it. */
static void
forget_certificates(const struct syn_server *server, const char *id)
{
    char dir[SRV_PATH_MAX];
    DIR *all;
    const struct dirent *entry;

    (void)snprintf(dir, sizeof(dir), "%s/server/tls", server->data_dir);
    all = opendir(dir);
    while (all != NULL && (entry = readdir(all)) != NULL) /* NOLINT(concurrency-mt-unsafe) */
        if (syn_str_starts(entry->d_name, id) && entry->d_name[strlen(id)] == '-')
            (void)unlinkat(dirfd(all), entry->d_name, 0);
    if (all != NULL)
        (void)closedir(all);
}

int
srv_gateway_ca(struct syn_server *server, struct syn_buf *out, struct syn_err *err)
{
    char path[SRV_PATH_MAX];
    int rc = srv_authority(server, GATEWAY, path, err);

    return rc < 0 ? rc : syn_tls_cert_text(path, out, err);
}

/* --- addresses -------------------------------------------------------------------------------- */

static const char *
port_key(char *out, unsigned port)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%u", port);
    return srv_key(out, "published", text, NULL);
}

/* Those that are taken, a bit each. */
struct taken {
    const struct srv_gateway *gateway;
    bool *ports; /* from `first` */
};

static int
note_port(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct taken *taken = arg;
    uint64_t port;

    (void)doc;
    (void)revision;
    (void)err;
    if (syn_parse_u64(strrchr(key, '/') + 1, taken->gateway->first, taken->gateway->last, "", &port,
                      NULL) == SYN_OK)
        taken->ports[port - taken->gateway->first] = true;
    return SYN_OK;
}

/* Where this platform begins to look: two on one machine with the same range shall not run into
 * each other at every address. */
static unsigned
begin_at(const struct srv_gateway *gateway, unsigned count)
{
    uint8_t digest[SYN_SHA256_LEN];

    syn_sha256(gateway->server->cluster, strlen(gateway->server->cluster), digest);
    return ((unsigned)digest[0] << 8 | digest[1]) % count;
}

/* A port of the range that is nobody's here, nor any other program's on this machine. */
static int
choose_port(const struct srv_gateway *gateway, unsigned *ret, struct syn_err *err)
{
    unsigned count = gateway->last - gateway->first + 1, probes = 0;
    SYN_SCOPED(syn_free_scope) bool *ports = syn_calloc(count, sizeof(*ports));
    struct taken taken = {gateway, ports};
    unsigned from = begin_at(gateway, count);
    int rc;

    if (ports == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the published addresses");
    rc = srv_each(gateway->server, "published/", note_port, &taken, err);
    for (unsigned i = 0; rc == SYN_OK && i < count && probes < PROBES_MAX; i++) {
        unsigned port = gateway->first + (from + i) % count;
        char address[GTW_ADDRESS_SIZE];

        if (ports[port - gateway->first] || port == gateway->http || port == gateway->https)
            continue;
        probes++;
        if (!gtw_address_join(gateway->host, port, address) || gtw_address_taken(address))
            continue;
        *ret = port;
        return SYN_OK;
    }
    return rc < 0 ? rc
                  : SYN_FAIL(err, SYN_E_LIMIT,
                             "no address is left to publish it at: %s has ports %u to %u (synor up "
                             "--publish); --internal needs none",
                             gateway->host, gateway->first, gateway->last);
}

static int
give_address(const struct srv_gateway *gateway, struct srv_txn *txn, json_t *service,
             struct syn_err *err)
{
    char key[SRV_KEY_MAX], address[GTW_ADDRESS_SIZE];
    unsigned port = 0;
    int rc = choose_port(gateway, &port, err);

    if (rc == SYN_OK)
        rc = srv_txn_check(txn, port_key(key, port), 0, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, key, syn_document_id(service), err);
    if (rc < 0)
        return rc;
    (void)gtw_address_join(gateway->host, port, address);
    return syn_json_set_str(syn_document_status(service), "address", address, err);
}

static int
take_address(struct srv_txn *txn, json_t *service, struct syn_err *err)
{
    json_t *status = syn_document_status(service);
    unsigned port = gtw_address_port(syn_json_str(status, "address", ""));
    char key[SRV_KEY_MAX];

    if (port == 0)
        return SYN_OK;
    (void)json_object_del(status, "address");
    return srv_txn_delete(txn, port_key(key, port), err);
}

/* --- routes ----------------------------------------------------------------------------------- */

/* "api.example/v1" without a slash at its end; "" for none. */
static void
route_text(const struct syn_service_lb *lb, char *out, size_t size)
{
    int len = snprintf(out, size, "%s%s", lb->host, lb->path);

    while (len > 0 && out[len - 1] == '/')
        out[--len] = '\0';
    if (len == 0 && (lb->host[0] != '\0' || lb->path[0] != '\0'))
        (void)syn_str_copy(out, size, "/");
}

static const char *
route_key(char *out, const char *route)
{
    uint8_t digest[SYN_SHA256_LEN];
    char hex[2 * SYN_SHA256_LEN + 1];

    syn_sha256(route, strlen(route), digest);
    syn_hex_encode(digest, sizeof(digest), hex);
    return srv_key(out, "published-route", hex, NULL);
}

static int
claim_route(struct syn_server *server, struct srv_txn *txn, const json_t *service,
            const char *route, struct syn_err *err)
{
    const char *account = syn_json_str(service, "account", "");
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(owner);
    SYN_JSON(claim);
    int rc = srv_load(server, route_key(key, route), &owner, &revision, err);

    if (rc < 0)
        return rc;
    if (rc == SYN_OK && !syn_str_eq(syn_json_str(owner, "service", ""), syn_document_id(service))) {
        if (syn_str_eq(syn_json_str(owner, "account", ""), account))
            return SYN_FAIL(err, SYN_E_CONFLICT, "%s belongs to the service %s", route,
                            syn_json_str(owner, "name", "?"));
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s belongs to a service of another account", route);
    }
    rc = syn_json_pack(&claim, err, "{s:s, s:s, s:s, s:s}", "service", syn_document_id(service),
                       "account", account, "name", syn_json_str(service, "name", ""), "route",
                       route);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, claim, err);
}

/* The service's place on the shared fronts is this from now on; "": none. */
static int
set_route(struct syn_server *server, struct srv_txn *txn, json_t *service, const char *route,
          struct syn_err *err)
{
    json_t *status = syn_document_status(service);
    const char *before = syn_json_str(status, "route", "");
    char key[SRV_KEY_MAX];
    int rc = SYN_OK;

    if (syn_str_eq(before, route))
        return SYN_OK;
    if (before[0] != '\0')
        rc = srv_txn_delete(txn, route_key(key, before), err);
    if (rc == SYN_OK && route[0] != '\0')
        rc = claim_route(server, txn, service, route, err);
    if (rc < 0)
        return rc;
    if (route[0] != '\0')
        return syn_json_set_str(status, "route", route, err);
    (void)json_object_del(status, "route");
    return SYN_OK;
}

int
srv_publish(struct syn_server *server, struct srv_txn *txn, json_t *service, struct syn_err *err)
{
    char route[SYN_SERVICE_HOST_MAX + SYN_SERVICE_PREFIX_MAX + 2];
    struct syn_service_spec spec;
    bool has = syn_json_str(syn_document_status(service), "address", "")[0] != '\0';
    int rc = SYN_OK;

    if (server->gateway == NULL)
        return SYN_OK;
    syn_service_spec_read(syn_document_spec(service), &spec);
    route_text(&spec.lb, route, sizeof(route));
    if (!spec.lb.publish)
        rc = take_address(txn, service, err);
    else if (spec.port > 0 && !has)
        rc = give_address(server->gateway, txn, service, err);
    has = syn_json_str(syn_document_status(service), "address", "")[0] != '\0';
    if (rc == SYN_OK) /* charged while it has one; a stopped service's run ends that by itself */
        rc = srv_network_set(server, txn, syn_document_id(service), "lb", has, err);
    return rc < 0 ? rc : set_route(server, txn, service, route, err);
}

int
srv_unpublish(struct syn_server *server, struct srv_txn *txn, const json_t *service,
              struct syn_err *err)
{
    SYN_JSON(copy);
    int rc;

    copy = syn_json_deep_copy(service);
    if (copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a service");
    forget_certificates(server, syn_document_id(service));
    rc = take_address(txn, copy, err);
    return rc < 0 ? rc : set_route(server, txn, copy, "", err);
}

/* --- seeing ----------------------------------------------------------------------------------- */

static const char *const states[] = {[GTW_CLOSED] = "closed",
                                     [GTW_WAITING] = "waiting",
                                     [GTW_OPEN] = "open",
                                     [GTW_FAILED] = "failed",
                                     [GTW_MISSING] = "missing"};

/* What the balancer has counted of it; zeros when it has nothing. */
struct counted {
    struct syn_balancer_counts counts;
    bool tcp;
};

static struct counted
count(const struct srv_gateway *gateway, const json_t *service)
{
    struct counted counted = {.tcp = false};
    char backend[GTW_BACKEND_SIZE];
    struct syn_service_spec spec;

    syn_service_spec_read(syn_document_spec(service), &spec);
    counted.tcp = spec.lb.protocol == SYN_SERVICE_TCP;
    (void)snprintf(backend, sizeof(backend), "%s/%s", syn_json_str(service, "account", "?"),
                   syn_json_str(service, "name", "?"));
    if (gtw_counts(gateway->gtw, backend, &counted.counts, NULL) < 0)
        counted.counts = (struct syn_balancer_counts){.backend = ""};
    return counted;
}

bool
srv_gateway_counts(struct syn_server *server, const json_t *service, uint64_t *ret_requests,
                   uint64_t *ret_open)
{
    struct counted counted;

    if (server->gateway == NULL)
        return false;
    counted = count(server->gateway, service);
    *ret_requests = counted.counts.requests;
    *ret_open = counted.counts.open + counted.counts.queued;
    return counted.counts.backend[0] != '\0';
}

int
srv_gateway_servers(struct syn_server *server, const json_t *service,
                    struct syn_balancer_server_counts **ret, size_t *ret_count, struct syn_err *err)
{
    char backend[GTW_BACKEND_SIZE];

    if (server->gateway == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no balancer");
    (void)snprintf(backend, sizeof(backend), "%s/%s", syn_json_str(service, "account", "?"),
                   syn_json_str(service, "name", "?"));
    return gtw_servers(server->gateway->gtw, backend, ret, ret_count, err);
}

/* Requests that failed on our side of the door; of TCP, connections that reached nobody. */
static json_int_t
errors_of(const struct counted *counted)
{
    const struct syn_balancer_counts *counts = &counted->counts;

    return (json_int_t)(counted->tcp ? counts->connect_errors : counts->answers[5]);
}

/* The state of its address, in a word and a sentence. */
static const char *
look(struct syn_server *server, const json_t *service, char message[SRV_GATEWAY_MESSAGE_MAX])
{
    enum gtw_state state = GTW_CLOSED;

    message[0] = '\0';
    if (server->gateway != NULL)
        state = gtw_state(server->gateway->gtw, syn_document_id(service), message,
                          SRV_GATEWAY_MESSAGE_MAX);
    return states[state];
}

int
srv_gateway_complete(struct syn_server *server, json_t *service, struct syn_err *err)
{
    char message[SRV_GATEWAY_MESSAGE_MAX];
    const char *state = look(server, service, message);
    struct counted counted = {.tcp = false};
    json_t *gateway = NULL;
    int rc;

    if (syn_str_eq(state, states[GTW_OPEN]))
        counted = count(server->gateway, service);
    rc = syn_json_pack(&gateway, err, "{s:s, s:s, s:I, s:I, s:I}", "state", state, "message",
                       message, "requests", (json_int_t)counted.counts.requests, "errors",
                       errors_of(&counted), "held",
                       server->gateway == NULL
                           ? (json_int_t)0
                           : (json_int_t)gtw_held(server->gateway->gtw, syn_document_id(service)));
    return rc < 0 ? rc : syn_json_set_take(syn_document_status(service), "gateway", gateway, err);
}

int
srv_gateway_explain(struct syn_server *server, const json_t *service, json_t *answer,
                    struct syn_err *err)
{
    char message[SRV_GATEWAY_MESSAGE_MAX], text[SRV_GATEWAY_MESSAGE_MAX + 160];
    const char *state = look(server, service, message);
    json_t *row = NULL;
    int rc = srv_acme_explain(server, service, answer, err);

    if (rc < 0 || message[0] == '\0')
        return rc;
    (void)snprintf(text, sizeof(text),
                   "its address %s is not served: %s; its replicas' own "
                   "addresses are",
                   syn_json_str(syn_document_status(service), "address", "?"), message);
    rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s, s:s}", "dimension", "gateway", "node", "",
                       "need", "open", "have", state, "message", text);
    return rc < 0 ? rc : syn_json_append_take(json_object_get(answer, "why"), row, err);
}

int
srv_gateway_stats(struct syn_server *server, const json_t *service, json_t **ret,
                  struct syn_err *err)
{
    char message[SRV_GATEWAY_MESSAGE_MAX];
    const char *state = look(server, service, message);
    struct counted counted = {.tcp = false};
    const struct syn_balancer_counts *counts = &counted.counts;

    if (syn_str_eq(state, states[GTW_OPEN]))
        counted = count(server->gateway, service);
    return syn_json_pack(
        ret, err,
        "{s:s, s:s, s:s, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I,"
        " s:I, s:I, s:I, s:I, s:I}",
        "address", syn_json_str(syn_document_status(service), "address", ""), "state", state,
        "message", message, "requests", (json_int_t)counts->requests, "errors", errors_of(&counted),
        "answers", "1xx", (json_int_t)counts->answers[1], "2xx", (json_int_t)counts->answers[2],
        "3xx", (json_int_t)counts->answers[3], "4xx", (json_int_t)counts->answers[4], "5xx",
        (json_int_t)counts->answers[5], "other", (json_int_t)counts->answers[0], "connect_errors",
        (json_int_t)counts->connect_errors, "response_errors", (json_int_t)counts->response_errors,
        "retries", (json_int_t)counts->retries, "received_bytes", (json_int_t)counts->bytes_in,
        "sent_bytes", (json_int_t)counts->bytes_out, "open", (json_int_t)counts->open, "queued",
        (json_int_t)counts->queued, "replicas_up", (json_int_t)counts->servers_up, "connect_ms",
        (json_int_t)counts->connect_ms, "response_ms", (json_int_t)counts->response_ms, "total_ms",
        (json_int_t)counts->total_ms);
}

bool
srv_gateway_challenged(struct syn_server *server, const char *host)
{
    return server->gateway != NULL && gtw_challenged(server->gateway->gtw, host);
}

void
srv_gateway_look_again(struct syn_server *server)
{
    if (server->gateway != NULL)
        gtw_lost(server->gateway->gtw);
}

void
srv_gateway_metrics(struct syn_server *server, struct syn_buf *out)
{
    if (server->gateway != NULL)
        gtw_metrics(server->gateway->gtw, out);
}

int
srv_gateway_balanced(struct syn_server *server, const json_t *service, const json_t *instances,
                     json_t **ret, struct syn_err *err)
{
    static const char *const words[] = {[GTW_BUSY] = "busy", [GTW_SERVING] = "serving"};
    const json_t *instance;
    SYN_JSON(balanced);
    size_t i;
    int rc = SYN_OK;

    *ret = NULL;
    if (server->gateway == NULL || !gtw_works(server->gateway->gtw) ||
        !syn_json_bool(syn_json_at(service, "spec.lb"), "publish", true))
        return SYN_OK;
    balanced = json_object();
    if (balanced == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what is balanced");
    json_array_foreach (instances, i, instance) {
        const char *id = syn_document_id(instance);
        enum gtw_has has = gtw_has(server->gateway->gtw, id);

        if (rc == SYN_OK && has != GTW_NOTHING)
            rc = syn_json_set_str(balanced, id, words[has], err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(balanced);
    return rc;
}

/* --- news ------------------------------------------------------------------------------------- */

static void
on_event(void *arg, const struct syn_store_event *event)
{
    struct srv_gateway *gateway = arg;
    struct syn_err err = {0};
    json_t *doc = NULL;

    if (event->doc == NULL || (event->kind == SYN_STORE_EVENT_PUT &&
                               syn_json_parse(event->doc->value, event->doc->len, &doc, &err) < 0))
        gtw_lost(gateway->gtw);
    else
        gtw_tell_take(gateway->gtw, strrchr(event->doc->key, '/') + 1, doc);
}

/* A service of a platform that published nothing yet, or elsewhere. */
static int
publish_again(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const char *id = arg;
    char key[SRV_KEY_MAX], address[GTW_ADDRESS_SIZE];
    int64_t revision = 0;
    SYN_JSON(service);
    unsigned port;
    int rc = srv_load(server, srv_key(key, "service", id, NULL), &service, &revision, err);

    if (rc != SYN_OK)
        return rc;
    port = gtw_address_port(syn_json_str(syn_document_status(service), "address", ""));
    if (gtw_address_join(server->gateway->host, port, address))
        rc = syn_json_set_str(syn_document_status(service), "address", address, err);
    if (rc == SYN_OK)
        rc = srv_publish(server, txn, service, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, service, err);
}

static int
see_service(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct srv_gateway *gateway = arg;
    const char *address = syn_json_str(syn_document_status(doc), "address", "");
    char now[GTW_ADDRESS_SIZE] = "";
    struct syn_service_spec spec;
    struct syn_err why = {0};
    char id[SYN_ID_MAX];

    (void)revision;
    (void)err;
    syn_service_spec_read(syn_document_spec(doc), &spec);
    (void)syn_str_copy(id, sizeof(id), strrchr(key, '/') + 1);
    if (address[0] != '\0')
        (void)gtw_address_join(gateway->host, gtw_address_port(address), now);
    gtw_tell_take(gateway->gtw, id, json_incref(doc));
    /* What that changes is heard of as an event. */
    if (spec.port > 0 && spec.lb.publish && (now[0] == '\0' || !syn_str_eq(now, address)) &&
        srv_change(gateway->server, "the service", publish_again, id, NULL, &why) < 0)
        syn_log_err(SYN_LOG_WARN, "gateway.publish", &why);
    return SYN_OK;
}

static int
refresh(void *arg, struct syn_err *err)
{
    struct srv_gateway *gateway = arg;
    struct syn_store *store = gateway->server->store;
    struct syn_err why = {0};
    int64_t revision;
    int rc = syn_store_revision(store, &revision, err);

    if (rc < 0)
        return rc;
    gateway->watch = syn_store_unwatch(store, gateway->watch);
    gtw_again(gateway->gtw);
    if (srv_certificates_warn(gateway->server, &why) < 0)
        syn_log_err(SYN_LOG_WARN, "gateway.certificates", &why);
    rc = srv_each(gateway->server, "service/", see_service, gateway, err);
    if (rc == SYN_OK)
        rc = syn_store_watch(store, "service/", revision, on_event, gateway, &gateway->watch, err);
    return rc == SYN_STORE_COMPACTED
               ? SYN_FAIL(err, SYN_E_UNAVAILABLE, "the store moved on too fast")
               : rc;
}

static void
changed(void *arg, const char *service)
{
    struct srv_gateway *gateway = arg;

    srv_controller_poke(gateway->server->controller, service);
}

/* Somebody waits at the door of a service without replicas: scaling hears of it. */
static void
held(void *arg, const char *service, uint64_t count)
{
    struct srv_gateway *gateway = arg;
    struct syn_err err = {0};

    if (srv_loads_tell(gateway->server->loads, service, "held",
                       (int64_t)SYN_MIN(count, 1000000U) * 1000,
                       syn_wall_ms(gateway->server->world), &err) < 0)
        syn_log_err(SYN_LOG_WARN, "gateway.held", &err);
    srv_controller_poke(gateway->server->controller, service);
}

static void
challenged(void *arg)
{
    const struct srv_gateway *gateway = arg;

    if (gateway->server->acme != NULL)
        srv_acme_poke(gateway->server->acme);
}

/* --- beginning and end ------------------------------------------------------------------------ */

/* "ADDR", "[ADDR]", "ADDR:FIRST-LAST", "[ADDR]:FIRST-LAST". */
static int
parse_publish(const char *text, struct srv_gateway *gateway, struct syn_err *err)
{
    char copy[128], address[GTW_ADDRESS_SIZE];
    char *host = copy, *colon, *dash = NULL;
    uint64_t first = DEFAULT_FIRST, last = DEFAULT_LAST;
    bool good = syn_str_copy(copy, sizeof(copy), text);

    colon = good && copy[0] == '[' ? strchr(copy, ']') : strrchr(copy, ':');
    if (good && copy[0] == '[' && colon != NULL) {
        host = copy + 1;
        *colon++ = '\0';
        good = *colon == ':' || *colon == '\0';
        colon = *colon == ':' ? colon : NULL;
    } else if (good && strchr(copy, ':') != colon) {
        colon = NULL; /* an address of IPv6 alone */
    }
    if (good && colon != NULL) {
        *colon++ = '\0';
        dash = strchr(colon, '-');
        good = dash != NULL;
    }
    if (good && dash != NULL) {
        *dash++ = '\0';
        good = syn_parse_u64(colon, 1, 65535, "", &first, NULL) == SYN_OK &&
               syn_parse_u64(dash, 1, 65535, "", &last, NULL) == SYN_OK;
    }
    if (!good || last < first + 2 || !gtw_address_join(host, (unsigned)first, address))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--publish: expected ADDRESS or ADDRESS:FIRST-LAST with three ports or "
                        "more, such as 127.0.0.1:30000-30999 or [::]:30000-30999; got \"%s\"",
                        text);
    (void)syn_str_copy(gateway->host, sizeof(gateway->host), host);
    gateway->first = (unsigned)first;
    gateway->last = (unsigned)last;
    return SYN_OK;
}

static int
make(struct srv_gateway *gateway, const struct syn_server_options *options, struct syn_err *err)
{
    char dir[SRV_PATH_MAX];
    struct gtw_options given = {.dir = dir,
                                .host = gateway->host,
                                .refresh = refresh,
                                .changed = changed,
                                .held = held,
                                .challenged = challenged,
                                .challenge_key = gateway->server->acme != NULL
                                                     ? srv_acme_thumbprint(gateway->server->acme)
                                                     : NULL,
                                .cert = certificate,
                                .arg = gateway};
    int rc =
        parse_publish(options->publish != NULL ? options->publish : DEFAULT_HOST, gateway, err);

    if (rc < 0)
        return rc;
    gateway->http = options->http_port != 0 ? options->http_port : gateway->first;
    gateway->https = options->https_port != 0 ? options->https_port : gateway->first + 1;
    if (gateway->http == gateway->https)
        return SYN_FAIL(err, SYN_E_INVALID, "--http-port and --https-port are the same: %u",
                        gateway->http);
    given.http_port = (uint16_t)gateway->http;
    given.https_port = (uint16_t)gateway->https;
    (void)snprintf(dir, sizeof(dir), "%s/server/gateway", gateway->server->data_dir);
    return gtw_new(&given, &gateway->gtw, err);
}

int
srv_gateway_new(struct syn_server *server, const struct syn_server_options *options,
                struct srv_gateway **ret, struct syn_err *err)
{
    struct srv_gateway *gateway = syn_calloc(1, sizeof(*gateway));
    int rc;

    if (gateway == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the gateway");
    gateway->server = server;
    rc = make(gateway, options, err);
    if (rc < 0)
        (void)srv_gateway_free(gateway);
    else
        *ret = gateway;
    return rc;
}

int
srv_gateway_start(struct srv_gateway *gateway, struct syn_err *err)
{
    return gtw_start(gateway->gtw, err);
}

void
srv_gateway_stop(struct srv_gateway *gateway)
{
    if (gateway == NULL)
        return;
    gtw_stop(gateway->gtw);
    gateway->watch = syn_store_unwatch(gateway->server->store, gateway->watch);
}

struct srv_gateway *
srv_gateway_free(struct srv_gateway *gateway)
{
    if (gateway == NULL)
        return NULL;
    srv_gateway_stop(gateway);
    (void)gtw_free(gateway->gtw);
    syn_free(gateway);
    return NULL;
}
