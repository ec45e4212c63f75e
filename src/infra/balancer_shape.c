/* Backends and frontends in HAProxy's words. What two of them have in common word for word, their
 * shape, makes one a stand-in for the other. */
#include "balancer_priv.h"

#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/acme.h>

#define OR(value, otherwise) ((value) == 0 ? (unsigned)(otherwise) : (unsigned)(value))

/* --- backends --------------------------------------------------------------------------------- */

static void
redirect_line(unsigned https_port, struct syn_buf *out)
{
    if (https_port == 443)
        syn_buf_adds(out, "  http-request redirect code 308 location"
                          " https://%[req.hdr(host),host_only]%[pathq]\n");
    else if (https_port > 0)
        syn_buf_addf(out,
                     "  http-request redirect code 308 location"
                     " https://%%[req.hdr(host),host_only]:%u%%[pathq]\n",
                     https_port);
}

/* What is let through counts, and what is tried again. The section has one limit for all, so one
 * key. */
static void
counter_lines(const struct syn_balancer_backend *backend, struct syn_buf *out)
{
    bool again = backend->retries >= 0 && backend->retry_percent != 0;

    if (backend->rate_max == 0 && !again)
        return;
    syn_buf_adds(out, "  stick-table type integer size 8 expire 20s store ");
    if (backend->rate_max > 0)
        syn_buf_addf(out, "gpc0_rate(1s)%s", again ? "," : "");
    syn_buf_addf(out, "%s\n  http-request track-sc0 int(1)\n",
                 again ? "gpc1_rate(10s),http_req_rate(10s)" : "");
}

/* Only what is let through counts: who asks for twice the rate gets it, and not nothing. */
static void
rate_lines(const struct syn_balancer_backend *backend, struct syn_buf *out)
{
    if (backend->rate_max == 0)
        return;
    syn_buf_addf(out,
                 "  http-request return status 429 content-type text/plain hdr Retry-After 1"
                 " string \"too many requests a second\" if { sc_gpc0_rate(0) ge %u }\n"
                 "  http-request sc-inc-gpc0(0)\n",
                 backend->rate_max);
}

/* A directory wants to read the token that it asks for, a dot, and whose account it is: what it
 * sent need not be known. */
static void
challenge_lines(const char *key, struct syn_buf *out)
{
    syn_buf_addf(out,
                 "  http-request return status 200 content-type application/octet-stream"
                 " lf-string \"%%[path,field(4,/)].%s\""
                 " if { path -m reg ^" SYN_ACME_PATH "/[-_A-Za-z0-9]{1,128}$ }\n"
                 "  http-request return status 404 content-type text/plain"
                 " string \"no challenge\"\n",
                 key);
}

static void
http_lines(const struct syn_balancer_backend *backend, const struct lb_setup *setup,
           struct syn_buf *out)
{
    redirect_line(backend->https_port, out);
    counter_lines(backend, out);
    rate_lines(backend, out);
    if (backend->challenge_key != NULL)
        challenge_lines(backend->challenge_key, out);
    if (setup->lua && backend->https_port == 0)
        syn_buf_adds(out, "  http-request lua.hold-http if { nbsrv eq 0 } !{ stopping }\n");
    /* What a server may have begun to answer is asked again only if that changes nothing. */
    if (backend->retries >= 0)
        syn_buf_adds(out, "  retry-on conn-failure empty-response\n"
                          "  http-request disable-l7-retry unless"
                          " { method GET HEAD OPTIONS PUT DELETE TRACE }\n");
    lb_retry_lines(backend, out);
    if (backend->client == SYN_BALANCER_CLIENT_HEADERS)
        syn_buf_adds(out, "  http-request del-header X-Forwarded-For\n"
                          "  option forwardfor\n"
                          "  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n"
                          "  http-request del-header Forwarded\n");
    if (backend->client == SYN_BALANCER_CLIENT_HEADERS && backend->peer_name == NULL)
        syn_buf_adds(out, "  http-request del-header " SYN_BALANCER_CALLER "\n");
    if (backend->peer_name != NULL) /* handshakes are dear */
        syn_buf_adds(out, "  http-reuse aggressive\n");
    if (backend->mirror != NULL && setup->lua)
        lb_mirror_lines(out);
    if (backend->cookie != NULL)
        syn_buf_addf(out,
                     "  cookie %s insert indirect nocache httponly dynamic attr SameSite=Lax\n"
                     "  dynamic-cookie-key %s\n",
                     backend->cookie, setup->cookie_key);
}

static void
check_lines(const struct syn_balancer_backend *backend, struct syn_buf *out)
{
    const struct syn_balancer_health *health = &backend->health;
    unsigned interval = OR(health->interval_ms, 2000);
    unsigned limit = OR(health->timeout_ms, SYN_MIN(interval, 5000));

    if (health->check == SYN_BALANCER_UNCHECKED)
        return;
    syn_buf_addf(out, "  timeout check %ums\n", limit);
    if (health->check == SYN_BALANCER_CHECK_TCP)
        return;
    syn_buf_addf(out, "  option httpchk\n  http-check send meth GET uri '%s'",
                 health->path == NULL ? "/" : health->path);
    if (health->host != NULL)
        syn_buf_addf(out, " hdr Host '%s'", health->host);
    syn_buf_adds(out, "\n  http-check expect status 200-399\n");
}

void
lb_check_words(const struct lb_setup *setup, const struct syn_balancer_backend *backend,
               unsigned port, struct syn_buf *out)
{
    const struct syn_balancer_health *health = &backend->health;

    if (health->check == SYN_BALANCER_UNCHECKED)
        return;
    syn_buf_adds(out, " check");
    if (port > 0)
        syn_buf_addf(out, " port %u", port);
    syn_buf_addf(out, " inter %ums rise %u fall %u", OR(health->interval_ms, 2000),
                 OR(health->rise, 2), OR(health->fall, 3));
    /* Retries go to other servers at once: when several died together and it is not known yet, they
     * would be used up in a millisecond. One that cannot be connected to is out until a check of it
     * is well; who comes when none is left waits. */
    if (health->errors_max == 0 && setup->lua)
        syn_buf_adds(out, " observe layer4 error-limit 1 on-error mark-down");
    if (health->errors_max > 0)
        syn_buf_addf(out, " observe %s error-limit %u on-error mark-down",
                     backend->mode == SYN_BALANCER_HTTP ? "layer7" : "layer4", health->errors_max);
}

static void
server_options(const struct lb_setup *setup, const struct syn_balancer_backend *backend,
               struct syn_buf *out)
{
    const struct syn_balancer_health *health = &backend->health;

    if (!health->peers_only)
        lb_check_words(setup, backend, 0, out);
    if (backend->slow_start_ms > 0)
        syn_buf_addf(out, " slowstart %ums", backend->slow_start_ms);
    if (backend->protocol == SYN_BALANCER_H2)
        syn_buf_adds(out, " proto h2");
    if (backend->client == SYN_BALANCER_CLIENT_PROXY) {
        syn_buf_adds(out, " send-proxy-v2");
        if (health->check != SYN_BALANCER_UNCHECKED)
            syn_buf_adds(out, " check-send-proxy");
    }
}

/* The delay bounds how long a rule may take, and delays nobody. It is one of a few, so that another
 * time to wait is seldom another shape. */
static void
hold_lines(const struct syn_balancer_backend *backend, struct syn_buf *out)
{
    unsigned limit = backend->hold_ms <= 10000   ? 11000
                     : backend->hold_ms <= 60000 ? 61000
                                                 : SYN_BALANCER_WAIT_MAX_MS;

    syn_buf_addf(out,
                 "  tcp-request inspect-delay %ums\n"
                 "  tcp-request content lua.hold-tcp if { nbsrv eq 0 } !{ stopping }\n",
                 limit);
}

int
lb_slot_shape(const struct lb_setup *setup, const struct syn_balancer_backend *backend,
              struct lb_slot *slot, struct syn_err *err)
{
    static const char *const algorithms[] = {
        [SYN_BALANCER_ROUND_ROBIN] = "roundrobin",
        [SYN_BALANCER_LEAST_CONNECTIONS] = "leastconn",
        [SYN_BALANCER_IP_HASH] = "source\n  hash-type consistent",
        [SYN_BALANCER_RANDOM] = "random(2)",
    };
    SYN_BUF(shape);
    SYN_BUF(options);
    unsigned tunnel = OR(backend->tunnel_ms, 3600000);
    bool tcp = backend->mode == SYN_BALANCER_TCP;
    int rc;

    syn_buf_addf(&shape,
                 "  mode %s\n  balance %s\n  timeout connect %ums\n  timeout server %ums\n"
                 "  timeout tunnel %ums\n  timeout queue %ums\n  retries %d\n",
                 tcp ? "tcp" : "http", algorithms[backend->algorithm],
                 OR(backend->connect_ms, 2000), tcp ? tunnel : OR(backend->response_ms, 60000),
                 tunnel, OR(backend->queue_ms, 5000),
                 backend->retries < 0 ? 0 : (int)OR(backend->retries, 3));
    if (backend->retries >= 0)
        syn_buf_adds(&shape, "  option redispatch 1\n");
    if (!tcp)
        http_lines(backend, setup, &shape);
    else if (setup->lua)
        hold_lines(backend, &shape);
    check_lines(backend, &shape);
    server_options(setup, backend, &options);
    slot->sticky = backend->cookie != NULL;
    slot->checked = backend->health.check != SYN_BALANCER_UNCHECKED && !backend->health.peers_only;
    syn_buf_adds(&options, "");
    rc = syn_buf_take(&shape, &slot->shape, NULL, err);
    if (rc == SYN_OK)
        rc = syn_buf_take(&options, &slot->options, NULL, err);
    return rc;
}

void
lb_server_words(const struct lb_slot *slot, const struct lb_server *server, struct syn_buf *out)
{
    syn_buf_addf(out, "%s%s%s weight %u id %u", server->address, slot->options,
                 server->peer == NULL ? "" : server->peer, server->weight, server->number);
}

size_t
lb_server_commands(const struct lb_setup *setup, const struct lb_slot *slot,
                   const struct lb_server *server, struct syn_buf *out)
{
    size_t count = 1;

    syn_buf_addf(out, "add server b%u/s%u ", slot->number, server->number);
    lb_server_words(slot, server, out);
    syn_buf_adds(out, "\n");
    if (slot->sticky) { /* or else it has an empty cookie */
        syn_buf_addf(out, "set dynamic-cookie-key backend b%u %s\n", slot->number,
                     setup->cookie_key);
        count++;
    }
    if (slot->checked || (server->peer != NULL && strstr(server->peer, " check ") != NULL)) {
        syn_buf_addf(out, "enable health b%u/s%u\n", slot->number, server->number);
        count++;
    }
    if (!server->off) {
        syn_buf_addf(out, "set server b%u/s%u state ready\n", slot->number, server->number);
        count++;
    }
    return count;
}

/* --- frontends -------------------------------------------------------------------------------- */

static void
route_lines(unsigned number, bool hosts, struct syn_buf *out)
{
    static const char again[] = "  http-request set-var(txn.to) var(txn.key),map_beg(routes.map)"
                                " if !{ var(txn.to) -m found }\n";

    if (hosts) {
        syn_buf_addf(out,
                     "  http-request set-var-fmt(txn.key)"
                     " \"f%u|%%[req.hdr(host),host_only,lower]%%[path]/\"\n"
                     "  http-request set-var(txn.to) var(txn.key),map_beg(routes.map)\n"
                     "  http-request set-var-fmt(txn.key)"
                     " \"f%u|*%%[req.hdr(host),host_only,lower,regsub(^[^.]*,)]%%[path]/\""
                     " if !{ var(txn.to) -m found }\n",
                     number, number);
        syn_buf_adds(out, again);
    }
    syn_buf_addf(out, "  http-request set-var-fmt(txn.key) \"f%u|%%[path]/\"%s\n", number,
                 hosts ? " if !{ var(txn.to) -m found }" : "");
    syn_buf_adds(out, again);
}

static void
http_door(const struct syn_balancer_frontend *frontend, unsigned number, struct syn_buf *out)
{
    bool hosts = false, paths = false;

    syn_buf_addf(out,
                 "  option idle-close-on-response\n  timeout http-request 10000ms\n"
                 "  timeout http-keep-alive %ums\n",
                 OR(frontend->client_idle_ms, 60000));
    redirect_line(frontend->https_port, out);
    if (frontend->https_port > 0)
        return;
    if (frontend->mesh != SYN_BALANCER_NO_MESH) {
        lb_mesh_lines(frontend, number, out);
        return;
    }
    for (size_t i = 0; i < frontend->route_count; i++) {
        hosts = hosts || frontend->routes[i].host != NULL;
        paths = true;
    }
    /* Only what is needed is looked up: most frontends serve one backend. Without a rule and a
     * variable for what is not found a request costs a tenth less of HAProxy's own time. */
    if (paths) {
        route_lines(number, hosts, out);
        syn_buf_adds(out, "  use_backend %[var(txn.to)]\n");
    } else {
        syn_buf_addf(out, "  use_backend %%[str(f%u|/),map_str(routes.map)]\n", number);
    }
    syn_buf_adds(out, "  default_backend " LB_NOWHERE "\n");
}

static int
bind_line(const struct lb_model *model, const struct syn_balancer_frontend *frontend,
          struct lb_door *door, struct syn_buf *out, struct syn_err *err)
{
    bool mesh = frontend->mesh != SYN_BALANCER_NO_MESH;
    int rc = SYN_OK;

    /* Every address of IPv6 is every one of IPv4 as well, but in a mesh, where each has a front: in
     * two sockets, whatever the kernel's default is, so that clients of IPv4 look like that. */
    if (!syn_str_starts(door->address, LB_ANY6))
        syn_buf_addf(out, "  bind %s", door->address);
    else if (mesh)
        syn_buf_addf(out, "  bind %s v6only", door->address);
    else
        syn_buf_addf(out, "  bind 0.0.0.0%s,%s v6only", strrchr(door->address, ':'), door->address);
    if (frontend->accept_proxy)
        syn_buf_adds(out, " accept-proxy");
    if (mesh)
        rc = lb_mesh_bind(model, frontend, door, out, err);
    else if (frontend->cert_count > 0)
        syn_buf_adds(out, " ssl");
    for (size_t i = 0; rc == SYN_OK && !mesh && i < frontend->cert_count; i++) {
        unsigned number = 0;

        rc = lb_cert_number(model, frontend->certs[i], &number, err);
        syn_buf_addf(out, " crt c%u.pem", number);
    }
    if (frontend->mode == SYN_BALANCER_HTTP &&
        (mesh ? frontend->mesh == SYN_BALANCER_MESH_IN : frontend->cert_count > 0))
        syn_buf_adds(out, " alpn h2,http/1.1");
    syn_buf_adds(out, "\n");
    return rc;
}

/* Whether it is one of the early ones, but for its shape. */
static bool
is_early(const struct lb_setup *setup, const char *address)
{
    size_t host = strlen(setup->spare_host);
    uint64_t port;

    return host > 0 && strncmp(address, setup->spare_host, host) == 0 && address[host] == ':' &&
           syn_parse_u64(address + host + 1, setup->spare_port,
                         (uint64_t)setup->spare_port + setup->spare_count - 1, "", &port,
                         NULL) == 0;
}

static bool
is_plain(const struct syn_balancer_frontend *frontend)
{
    return frontend->mode == SYN_BALANCER_HTTP && !frontend->accept_proxy &&
           frontend->mesh == SYN_BALANCER_NO_MESH && frontend->https_port == 0 &&
           frontend->cert_count == 0 && frontend->route_count == 0 &&
           (frontend->client_idle_ms == 0 || frontend->client_idle_ms == 60000);
}

int
lb_door_shape(const struct lb_setup *setup, const struct lb_model *model,
              const struct syn_balancer_frontend *frontend, struct lb_door *door,
              struct syn_err *err)
{
    SYN_BUF(out);
    bool tcp = frontend->mode == SYN_BALANCER_TCP;
    int rc = lb_address(frontend->address, door->address, err);

    if (rc < 0)
        return rc;
    syn_buf_addf(&out, "  mode %s\n  timeout client %ums\n", tcp ? "tcp" : "http",
                 tcp ? OR(frontend->client_idle_ms, 3600000) : OR(frontend->client_idle_ms, 60000));
    rc = bind_line(model, frontend, door, &out, err);
    if (rc < 0)
        return rc;
    if (tcp && frontend->mesh != SYN_BALANCER_NO_MESH)
        lb_mesh_lines(frontend, door->number, &out);
    else if (tcp)
        syn_buf_addf(
            &out,
            "  tcp-request connection reject unless { str(f%u|/),map_str(routes.map) -m found }\n"
            "  use_backend %%[str(f%u|/),map_str(routes.map)]\n",
            door->number, door->number);
    else
        http_door(frontend, door->number, &out);
    door->spare = is_plain(frontend) && is_early(setup, door->address);
    return syn_buf_take(&out, &door->shape, NULL, err);
}
