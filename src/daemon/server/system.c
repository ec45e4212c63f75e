/* Routes of the platform itself: health, version, status, metrics, prices, the OpenAPI document. */
#include <inttypes.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "mesh_priv.h"

static int
get_health(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    (void)ctx;
    (void)err;
    syn_http_reply_static(req, 200, "text/plain", "ok\n", 3);
    return SYN_OK;
}

static int
get_version(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(answer);
    int rc = syn_json_pack(&answer, err, "{s:s, s:s}", "version", SYN_VERSION, "api", "v1");

    (void)ctx;
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

struct tally {
    int64_t ready;
    int64_t total;
};

static int
tally_node(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct tally *tally = arg;

    (void)key;
    (void)revision;
    (void)err;
    tally->total++;
    tally->ready += syn_str_eq(syn_document_state(doc), "ready");
    return SYN_OK;
}

static int
get_status(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct tally nodes = {0};
    SYN_JSON(answer);
    int rc = srv_each(server, "node/", tally_node, &nodes, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(
            &answer, err, "{s:I, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:I, s:{s:I, s:I}}",
            "pid", (json_int_t)getpid(), "ready", 1, "version", SYN_VERSION, "listen",
            server->listen[0] != '\0' ? server->listen : server->socket, "socket", server->socket,
            "data_dir", server->data_dir, "network", server->network, "cluster", server->cluster,
            "fingerprint", server->fingerprint[0] != '\0' ? server->fingerprint : NULL, "uptime_ms",
            (json_int_t)(syn_mono_ms(server->world) - server->started_ms), "nodes", "ready",
            (json_int_t)nodes.ready, "total", (json_int_t)nodes.total);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
get_metrics(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_BUF(out);
    int rc = syn_metrics_write(server->metrics, &out, err);

    if (rc == SYN_OK) {
        srv_gateway_metrics(server, &out);
        srv_certificate_metrics(server, &out);
        srv_mesh_metrics(server, &out);
        srv_node_metrics(server, &out);
        rc = syn_buf_ok(&out, err);
    }
    return rc < 0 ? rc
                  : syn_http_reply_bytes(req, 200, SYN_METRICS_CONTENT_TYPE, syn_buf_text(&out),
                                         out.len, err);
}

static int
get_prices(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;

    (void)err;
    syn_http_reply_static(req, 200, "application/json", server->price_text, server->price_len);
    return SYN_OK;
}

static int
get_openapi(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;

    return syn_http_reply_json(req, 200, server->openapi, err);
}

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/healthz",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_PUBLIC,
     .handler = get_health,
     .name = "healthz",
     .summary = "Is it there"},
    {.method = "GET",
     .pattern = "/metrics",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_metrics,
     .name = "metrics",
     .summary = "Prometheus metrics"},
    {.method = "GET",
     .pattern = "/v1/version",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_PUBLIC,
     .handler = get_version,
     .name = "version",
     .summary = "Version of server and API"},
    {.method = "GET",
     .pattern = "/v1/status",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ | SYN_SCOPE_NODE,
     .handler = get_status,
     .name = "status",
     .summary = "What this server is"},
    {.method = "GET",
     .pattern = "/v1/openapi.json",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_PUBLIC,
     .handler = get_openapi,
     .name = "openapi",
     .summary = "This description"},
    {.method = "GET",
     .pattern = "/v1/prices",
     .kind = SYN_HTTP_LOOP,
     .scopes = SYN_SCOPE_READ,
     .handler = get_prices,
     .name = "prices",
     .summary = "The price book"},
};

const struct srv_routes srv_system_routes = {rows, SYN_LEN(rows)};
