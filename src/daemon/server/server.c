/* Putting the server together: state, first start, routes, listeners. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/pool.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>
#include <synor/infra/store_sqlite.h>
#include <synor/infra/tls_cert.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/node_view.h>

#include "function_calls_priv.h"
#include "loads_priv.h"
#include "mesh_priv.h"
#include "server_priv.h"
#include "trials_priv.h"

#define POOL_THREADS     8
#define SOCKET_BYTES     sizeof(((struct sockaddr_un *)NULL)->sun_path)
#define DATA_DIR_MAX     (SOCKET_BYTES - sizeof("/" SRV_GATEWAY_SOCK)) /* the longest there */
#define POOL_QUEUE_MAX   1024
#define STOP_LIMIT_MS    3000
#define PRICES_BYTES_MAX SYN_PRICEBOOK_BYTES_MAX
#define TLS_DAYS         3650
#define GRANT_AT_START   (1000 * SYN_SYNOR)

/* The built-in price book, data/pricebook.json. */
extern const char syn_builtin_pricebook[];
extern const size_t syn_builtin_pricebook_len;

/* --- folders ---------------------------------------------------------------------------------- */

static int
make_dir(const char *path, struct syn_err *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    return SYN_OK;
}

static int
make_dirs(const struct syn_server *server, struct syn_err *err)
{
    static const char *const below[] = {"", "/server", "/server/uploads", "/server/logs",
                                        "/server/tls"};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(below); i++) {
        char path[SRV_PATH_MAX + 32];

        (void)snprintf(path, sizeof(path), "%s%s", server->data_dir, below[i]);
        rc = make_dir(path, err);
    }
    return rc;
}

/* --- state ------------------------------------------------------------------------------------ */

/* Make the key file that was asked for, unless it is there. */
static int
make_key_file(const char *path, bool *ret_made, struct syn_err *err)
{
    uint8_t key[SYN_SEAL_KEY_LEN];
    int rc;

    *ret_made = false;
    if (path == NULL || access(path, F_OK) == 0)
        return SYN_OK;
    syn_secret_random(key, sizeof(key));
    rc = syn_secret_file_create(path, key, sizeof(key), err);
    syn_secret_wipe(key, sizeof(key));
    if (rc < 0)
        return syn_err_wrap(err, rc, "making the key file %s", path);
    *ret_made = true;
    return SYN_OK;
}

static int
open_content(struct syn_server *server, const struct syn_server_options *options,
             struct syn_err *err)
{
    char dir[SRV_PATH_MAX + 32];
    struct syn_content_opts content_opts = {.dir = dir,
                                            .key_file = options->key_file,
                                            .old_key_files = options->old_key_files,
                                            .without_key = options->without_key};
    struct syn_err why = {0};
    bool made;
    int rc = make_key_file(options->key_file, &made, err);

    if (rc < 0)
        return rc;
    (void)snprintf(dir, sizeof(dir), "%s/server/content", server->data_dir);
    rc = syn_content_open(&content_opts, &server->content, &why);
    if (rc == SYN_OK)
        return SYN_OK;
    if (made) /* it seals nothing, and would be taken for the key the next time */
        (void)unlink(options->key_file);
    if (rc != SYN_E_UNAVAILABLE) {
        *err = why;
        return rc;
    }
    return SYN_FAIL(err, rc,
                    "%s: start with --encrypt or --old-key and that file, or with --without-key if "
                    "it is lost",
                    why.msg);
}

static int
open_state(struct syn_server *server, const struct syn_server_options *options, struct syn_err *err)
{
    char path[SRV_PATH_MAX + 32];
    struct syn_store_sqlite_options store_options = {.path = path};
    int rc;

    (void)snprintf(path, sizeof(path), "%s/server/store.db", server->data_dir);
    rc = syn_store_sqlite_open(&store_options, &server->store, err);
    return rc < 0 ? rc : open_content(server, options, err);
}

static int
open_prices(struct syn_server *server, const char *path, struct syn_err *err)
{
    SYN_BUF(text);
    int rc;

    if (path == NULL) {
        syn_buf_add(&text, syn_builtin_pricebook, syn_builtin_pricebook_len);
    } else {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got;

        if (fd < 0)
            return SYN_FAIL_SYS(err, errno, "price book %s", path);
        if (syn_buf_reserve(&text, PRICES_BYTES_MAX) != NULL) {
            got = read(fd, text.data, PRICES_BYTES_MAX);
            text.len = got > 0 ? (size_t)got : 0;
        }
        (void)close(fd);
    }
    rc = syn_pricebook_parse(syn_buf_text(&text), text.len, &server->prices, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "price book %s", path != NULL ? path : "(built in)");
    return syn_buf_take(&text, &server->price_text, &server->price_len, err);
}

/* --- first start ------------------------------------------------------------------------------ */

/* The grant of a development network: a mint that everybody can see. */
static int
grant(struct syn_server *server, struct srv_txn *txn, struct syn_err *err)
{
    struct srv_ledger_place place;
    struct syn_ledger_tx tx;
    int rc = srv_ledger_next(server, &place, err);

    if (rc == SYN_OK) {
        struct syn_ledger_head head = {place.id, place.seq, syn_wall_ms(server->world), NULL,
                                       "first grant of a development network"};

        rc = syn_ledger_build_mint(&head, server->operator_id, GRANT_AT_START, &tx, err);
    }
    return rc < 0 ? rc : srv_ledger_add(server, txn, &place, &tx, err);
}

static int
write_credentials(const struct syn_server *server, const char *token, struct syn_err *err)
{
    char path[SRV_PATH_MAX + 32];
    SYN_BUF(text);
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:s, s:s}", "account", server->operator_id, "token", token);

    (void)snprintf(path, sizeof(path), "%s/credentials.json", server->data_dir);
    if (rc == SYN_OK)
        rc = syn_json_write_pretty(doc, &text, err);
    if (rc == SYN_OK)
        (void)unlink(
            path); /* of a start that died before its transaction: the token in it is nobody's */
    return rc < 0 ? rc : syn_secret_file_create(path, text.data, text.len, err);
}

/* What nodes sign for, and the key that challenges are recognised by. */
static int
name_cluster(struct syn_server *server, json_t *meta, struct syn_err *err)
{
    char hex[2 * sizeof(server->challenge_key) + 1];
    int rc;

    syn_secret_random(server->challenge_key, sizeof(server->challenge_key));
    syn_hex_encode(server->challenge_key, sizeof(server->challenge_key), hex);
    rc = syn_json_set_str(meta, "cluster", syn_make_id(server->world, "cluster", server->cluster),
                          err);
    return rc < 0 ? rc : syn_json_set_str(meta, "challenge_key", hex, err);
}

/* A platform of a version that did not name it is given a name. */
static int
read_cluster(struct syn_server *server, json_t *meta, int64_t revision, struct syn_err *err)
{
    SRV_TXN(txn);
    int rc;

    if (json_object_get(meta, "cluster") != NULL) {
        (void)syn_str_copy(server->cluster, sizeof(server->cluster),
                           syn_json_str(meta, "cluster", ""));
        return syn_hex_decode(syn_json_str(meta, "challenge_key", ""), server->challenge_key,
                              sizeof(server->challenge_key), err);
    }
    rc = name_cluster(server, meta, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(&txn, "cluster/meta", revision, meta, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    return rc == SYN_STORE_CONFLICT
               ? SYN_FAIL(err, SYN_E_CONFLICT, "another server names the same platform")
               : rc;
}

static int
first_start(struct syn_server *server, struct syn_err *err)
{
    struct srv_new_token operator_token;
    struct srv_new_token join_token;
    SYN_JSON(meta);
    SRV_TXN(txn);
    int rc;

    (void)syn_make_id(server->world, "acct", server->operator_id);
    (void)syn_make_id(server->world, "acct", server->provider_id);
    rc = srv_account_make(server, &txn, server->operator_id, "operator", "tenant", NULL, err);
    if (rc == SYN_OK)
        rc = srv_account_make(server, &txn, server->provider_id, "provider", "provider", NULL, err);
    if (rc == SYN_OK)
        rc = grant(server, &txn, err);
    if (rc == SYN_OK)
        rc = srv_token_issue(server, &txn,
                             &(struct srv_token){.account = server->operator_id,
                                                 .scopes = "operator,tenant",
                                                 .name = "operator"},
                             &operator_token, err);
    if (rc == SYN_OK)
        rc = srv_token_issue(server, &txn,
                             &(struct srv_token){.account = server->provider_id,
                                                 .scopes = "join",
                                                 .name = "local agent"},
                             &join_token, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(server->join_token, sizeof(server->join_token), join_token.text);
    rc = syn_json_pack(&meta, err, "{s:s, s:s, s:s, s:s}", "network", server->network, "operator",
                       server->operator_id, "provider", server->provider_id, "join_token",
                       server->join_token);
    if (rc == SYN_OK)
        rc = name_cluster(server, meta, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(&txn, "cluster/meta", 0, meta, err);
    if (rc == SYN_OK)
        rc = write_credentials(server, operator_token.text, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    if (rc == SYN_STORE_CONFLICT)
        return SYN_FAIL(err, SYN_E_CONFLICT, "another server makes the same platform");
    server->fresh = rc == SYN_OK;
    return rc;
}

static int
read_meta(struct syn_server *server, struct syn_err *err)
{
    int64_t revision;
    SYN_JSON(meta);
    int rc = srv_load(server, "cluster/meta", &meta, &revision, err);

    (void)syn_str_copy(server->network, sizeof(server->network), "development");
    if (rc == SRV_ABSENT)
        return first_start(server, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(server->network, sizeof(server->network), syn_json_str(meta, "network", ""));
    (void)syn_str_copy(server->operator_id, sizeof(server->operator_id),
                       syn_json_str(meta, "operator", ""));
    (void)syn_str_copy(server->provider_id, sizeof(server->provider_id),
                       syn_json_str(meta, "provider", ""));
    (void)syn_str_copy(server->join_token, sizeof(server->join_token),
                       syn_json_str(meta, "join_token", ""));
    return read_cluster(server, meta, revision, err);
}

/* --- serving ---------------------------------------------------------------------------------- */

const struct srv_routes *const srv_all_routes[] = {
    &srv_system_routes,         &srv_account_routes,
    &srv_training_routes,       &srv_log_routes,
    &srv_bill_routes,           &srv_content_routes,
    &srv_upload_routes,         &srv_name_routes,
    &srv_node_routes,           &srv_instance_routes,
    &srv_token_routes,          &srv_quota_routes,
    &srv_watch_routes,          &srv_market_order_routes,
    &srv_market_view_routes,    &srv_offer_routes,
    &srv_service_routes,        &srv_place_routes,
    &srv_manifest_routes,       &srv_image_routes,
    &srv_secret_routes,         &srv_volume_routes,
    &srv_function_routes,       &srv_function_gateway_routes,
    &srv_invoke_routes,         &srv_endpoint_routes,
    &srv_identity_routes,       &srv_mesh_routes,
    &srv_certificate_routes,    &srv_session_routes,
    &srv_queue_routes,          &srv_function_key_routes,
    &srv_function_token_routes, NULL,
};

static int
add_routes(struct syn_server *server, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && srv_all_routes[i] != NULL; i++)
        rc = syn_http_server_add(server->http, srv_all_routes[i]->rows, srv_all_routes[i]->count,
                                 server, err);
    return rc;
}

/* The certificate of the first start, or a new one for this host and address. */
static int
tls_ready(struct syn_server *server, const char *cert, const char *address, struct syn_err *err)
{
    char host[256] = "localhost";
    char ip[64];
    const char *names[] = {host, "localhost", ip};
    const char *colon = strrchr(address, ':');
    int rc = SYN_OK;

    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(ip, sizeof(ip), "%.*s", (int)(colon - address), address);
    if (access(cert, F_OK) != 0)
        rc = syn_tls_cert_create(cert, names, SYN_LEN(names), TLS_DAYS, err);
    if (rc == SYN_OK)
        rc = syn_tls_cert_fingerprint(cert, server->fingerprint, err);
    return rc;
}

/* TLS with a certificate of our own; its fingerprint is what clients pin. */
static int
listen_tcp(struct syn_server *server, const char *address, bool insecure, struct syn_err *err)
{
    char cert[SRV_PATH_MAX + 32];
    struct syn_http_tls tls = {.cert_path = cert};
    uint16_t port;
    const char *colon = strrchr(address, ':');
    int rc = SYN_OK;

    if (colon == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "--listen: expected ADDRESS:PORT, got \"%s\"", address);
    (void)snprintf(cert, sizeof(cert), "%s/server/tls/server.pem", server->data_dir);
    if (!insecure)
        rc = tls_ready(server, cert, address, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_tcp(server->http, address, insecure ? NULL : &tls, &port, err);
    if (rc == SYN_OK)
        (void)snprintf(server->listen, sizeof(server->listen), "%s://%.*s:%u",
                       insecure ? "http" : "https", (int)(colon - address), address, port);
    return rc;
}

static int
serve(struct syn_server *server, const struct syn_server_options *options, struct syn_err *err)
{
    struct syn_http_options http = {.loop = server->loop,
                                    .pool = server->pool,
                                    .metrics = server->metrics,
                                    .authenticate = srv_authenticate,
                                    .authenticate_ctx = server};
    int rc = syn_http_server_new(&http, &server->http, err);

    if (rc == SYN_OK)
        rc = add_routes(server, err);
    if (rc == SYN_OK)
        rc = srv_openapi_build(server, &server->openapi, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_unix(server->http, server->socket, 0600, err);
    if (rc == SYN_OK && options->listen != NULL)
        rc = listen_tcp(server, options->listen, options->insecure, err);
    return rc;
}

static int
build(struct syn_server *server, const struct syn_server_options *options, struct syn_err *err)
{
    int rc = make_dirs(server, err);

    if (rc == SYN_OK)
        rc = open_state(server, options, err);
    if (rc == SYN_OK)
        rc = open_prices(server, options->price_book, err);
    if (rc == SYN_OK)
        rc = read_meta(server, err);
    if (rc == SYN_OK)
        rc = srv_virtual_open(server, options->service_network, err);
    if (rc == SYN_OK)
        rc = syn_metrics_new(&server->metrics, err);
    if (rc == SYN_OK)
        rc = srv_gauges_open(server, err);
    if (rc == SYN_OK)
        rc = syn_pool_new(POOL_THREADS, POOL_QUEUE_MAX, &server->pool, err);
    if (rc == SYN_OK)
        rc = srv_tokens_open(server, err);
    if (rc == SYN_OK)
        rc = srv_progress_new(&server->progress, err);
    if (rc == SYN_OK)
        rc = srv_follow_new(server, &server->follow, err);
    if (rc == SYN_OK)
        rc = srv_streams_new(server, &server->streams, err);
    if (rc == SYN_OK)
        rc = srv_sessions_new(server, &server->sessions, err);
    if (rc == SYN_OK)
        rc = srv_sweeper_new(server, &server->sweeper, err);
    if (rc == SYN_OK)
        rc = srv_market_new(server, &server->market, err);
    if (rc == SYN_OK && !syn_str_eq(options->publish != NULL ? options->publish : "", "none"))
        rc = srv_acme_new(server, options, &server->acme, err);
    if (rc == SYN_OK && !syn_str_eq(options->publish != NULL ? options->publish : "", "none"))
        rc = srv_gateway_new(server, options, &server->gateway, err);
    if (rc == SYN_OK)
        rc = srv_loads_new(&server->loads, err);
    if (rc == SYN_OK)
        rc = srv_functions_new(&server->functions, err);
    if (rc == SYN_OK)
        rc = srv_calling_new(server, &server->calling, err);
    if (rc == SYN_OK)
        rc = srv_meshes_new(&server->meshes, err);
    if (rc == SYN_OK)
        rc = srv_trials_new(&server->trials, err);
    if (rc == SYN_OK)
        rc = srv_pulls_new(server, &server->pulls, err);
    if (rc == SYN_OK)
        rc = srv_controller_new(server, &server->controller, err);
    if (rc == SYN_OK && server->gateway != NULL)
        rc = srv_gateway_start(server->gateway, err);
    if (rc == SYN_OK && server->acme != NULL)
        rc = srv_acme_start(server->acme, err);
    if (rc == SYN_OK)
        rc = srv_events_new(server, &server->events, err);
    if (rc == SYN_OK)
        rc = serve(server, options, err);
    return rc < 0 ? rc : srv_functions_start(server, options, err);
}

int
syn_server_new(const struct syn_server_options *options, struct syn_server **ret_server,
               struct syn_err *err)
{
    struct syn_server *server = syn_calloc(1, sizeof(*server));
    int rc;

    if (server == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the server");
    server->world = syn_world_system();
    server->loop = options->loop;
    server->started_ms = syn_mono_ms(server->world);
    server->webhook_private = options->webhook_private;
    if (strlen(options->data_dir) > DATA_DIR_MAX) {
        syn_free(server);
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: too long a data folder (at most %zu bytes): there are Unix sockets in "
                        "it",
                        options->data_dir, DATA_DIR_MAX);
    }
    (void)syn_str_copy(server->data_dir, sizeof(server->data_dir), options->data_dir);
    (void)snprintf(server->socket, sizeof(server->socket), "%s/synor.sock", options->data_dir);
    (void)syn_str_copy(server->region, sizeof(server->region),
                       options->region != NULL ? options->region : SYN_NODE_REGION_LOCAL);
    rc = build(server, options, err);
    if (rc < 0) {
        (void)syn_server_free(server);
        return rc;
    }
    *ret_server = server;
    return SYN_OK;
}

static void
stopped(void *arg)
{
    *(bool *)arg = true;
}

struct syn_server *
syn_server_free(struct syn_server *server)
{
    bool done = false;

    if (server == NULL)
        return NULL;
    srv_pulls_quiet(server->pulls);
    srv_sessions_quiet(server->sessions);
    srv_events_quiet(server->events);
    srv_functions_stop(server);
    srv_calling_quiet(server->calling);
    if (server->http != NULL &&
        syn_http_server_stop(server->http, STOP_LIMIT_MS, stopped, &done, NULL) == SYN_OK) {
        while (!done && syn_loop_turn(server->loop, 100, NULL) == SYN_OK)
            continue;
    }
    server->http = syn_http_server_free(server->http);
    server->calling =
        srv_calling_free(server->calling); /* what runs there has a request, or an event */
    server->events = srv_events_free(server->events);
    server->sweeper = srv_sweeper_free(server->sweeper);
    if (server->market != NULL)
        srv_market_quiet(server->market);
    srv_acme_stop(server->acme);                /* which wakes the gateway */
    server->pool = syn_pool_free(server->pool); /* what runs there wakes the controller */
    srv_gateway_stop(server->gateway);          /* what runs there wakes it, too */
    server->pulls = srv_pulls_free(server->pulls);
    server->sessions = srv_sessions_free(server->sessions); /* of what ran there, letters come */
    server->controller = srv_controller_free(server->controller);
    server->gateway = srv_gateway_free(server->gateway);
    server->acme = srv_acme_free(server->acme);
    server->market = srv_market_free(server->market);
    server->loads = srv_loads_free(server->loads);
    server->functions = srv_functions_free(server->functions);
    server->meshes = srv_meshes_free(server->meshes);
    server->trials = srv_trials_free(server->trials);
    server->streams = srv_streams_free(server->streams);
    server->follow = srv_follow_free(server->follow);
    server->progress = srv_progress_free(server->progress);
    if (server->store != NULL)
        srv_tokens_close(server);
    server->metrics = syn_metrics_free(server->metrics);
    server->content = syn_content_close(server->content);
    server->store = syn_store_close(server->store);
    server->prices = syn_pricebook_free(server->prices);
    json_decref(server->openapi);
    syn_free(server->price_text);
    syn_free(server);
    return NULL;
}

const char *
syn_server_socket(const struct syn_server *server)
{
    return server->socket;
}

const char *
syn_server_listen(const struct syn_server *server)
{
    return server->listen;
}

const char *
syn_server_join_token(const struct syn_server *server)
{
    return server->join_token;
}

bool
syn_server_fresh(const struct syn_server *server)
{
    return server->fresh;
}

const char *
syn_server_operator(const struct syn_server *server)
{
    return server->operator_id;
}

const char *
syn_server_fingerprint(const struct syn_server *server)
{
    return server->fingerprint;
}
