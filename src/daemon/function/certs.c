/* The certificates that the TLS listener serves: the server is asked for those of all hosts that
 * routes have, again and again, and answers when something is new. Nobody is served by TLS before
 * the first answer; a failure leaves what there is. */
#include "function_priv.h"

#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define ASK_MS    5000
#define DIGEST    65
#define PEMS_MAX  (FGW_HOSTS_MAX + 64)
#define WORKERS   2
#define QUEUE_MAX 4096

struct fgw_certs {
    struct fgw *gateway;
    struct syn_tls_hosts *hosts;
    struct syn_pool *handshakes;
    char digest[DIGEST]; /* of what is served; "" */
    int64_t asked_ms;
    bool out, due;
};

struct job {
    struct fgw_certs *certs;
    json_t *question;
    char digest[DIGEST];
    int rc;
    struct syn_err err;
};

/* --- on a thread ------------------------------------------------------------------------------ */

static int
take_pems(struct syn_tls_hosts *hosts, const json_t *answer, struct syn_err *err)
{
    const json_t *rows = json_object_get(answer, "certificates"), *row;
    size_t count = json_array_size(rows), i;
    SYN_SCOPED(syn_free_scope) struct syn_tls_pem *pems = NULL;

    if (count == 0 || count > PEMS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "the server told %zu certificates", count);
    pems = syn_calloc(count, sizeof(*pems));
    if (pems == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    json_array_foreach (rows, i, row) {
        const char *host = syn_json_str(row, "host", "");

        pems[i].data = syn_json_str(row, "pem", "");
        pems[i].len = strlen(pems[i].data);
        pems[i].host = host[0] != '\0' ? host : NULL;
    }
    return syn_tls_hosts_set(hosts, pems, count, err);
}

static int
ask(struct job *job, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    const struct syn_call call = {
        .method = "POST", .path = "/v1/function-gateway/certificates", .body = job->question};
    SYN_JSON(answer);
    int rc = fgw_client(job->certs->gateway, 0, &client, err);

    if (rc == SYN_OK)
        rc = syn_client_call(client, &call, &answer, err);
    if (rc < 0 || json_object_get(answer, "certificates") == NULL)
        return rc;
    (void)syn_str_copy(job->digest, sizeof(job->digest), syn_json_str(answer, "digest", ""));
    return take_pems(job->certs->hosts, answer, err);
}

static void answered(void *arg);

static void
run(void *arg)
{
    struct job *job = arg;
    struct syn_err err;

    job->rc = atomic_load(&job->certs->gateway->hurry)
                  ? SYN_FAIL(&job->err, SYN_E_CANCELED, "the gateway is stopping")
                  : ask(job, &job->err);
    while (syn_loop_post(job->certs->gateway->loop, answered, job, NULL, &err) == SYN_E_LIMIT)
        (void)usleep(1000);
}

/* --- on the loop ------------------------------------------------------------------------------ */

static void
listen_now(struct fgw *gateway)
{
    const struct syn_http_tls tls = {.hosts = gateway->certs->hosts};
    struct syn_err err;
    int fd = gateway->tls_fd;

    gateway->tls_fd = -1;
    if (syn_http_listen_fd_take(gateway->http, fd, &tls, &err) == SYN_OK) {
        syn_log(SYN_LOG_INFO, "gateway.tls-ready", "listen=%s", gateway->tls_listen);
        return;
    }
    syn_log_err(SYN_LOG_ERROR, "gateway.tls-listen", &err);
    syn_loop_stop(gateway->loop);
}

static void
answered(void *arg)
{
    struct job *job = arg;
    struct fgw_certs *certs = job->certs;
    struct fgw *gateway = certs->gateway;

    gateway->loads_out--;
    certs->out = false;
    if (job->rc < 0 && job->rc != SYN_E_CANCELED)
        syn_log_err(SYN_LOG_WARN, "gateway.certificates", &job->err);
    if (job->rc == SYN_OK && job->digest[0] != '\0') {
        (void)syn_str_copy(certs->digest, sizeof(certs->digest), job->digest);
        syn_log(SYN_LOG_INFO, "gateway.certificates", "digest=%.16s", job->digest);
    }
    if (gateway->tls_fd >= 0 && !gateway->stopping && !gateway->closing &&
        syn_tls_hosts_ready(certs->hosts))
        listen_now(gateway);
    json_decref(job->question);
    syn_free(job);
}

/* {host: account}, and "" for hosts of several: they get nothing that one of them gave. */
static int
add_hosts(const struct fgw_function *function, json_t *hosts, struct syn_err *err)
{
    const json_t *route;
    size_t i;

    json_array_foreach (function->route_docs, i, route) {
        const char *host = syn_json_str(route, "host", "");
        const char *known = syn_json_str(hosts, host, function->account);
        int rc;

        if (host[0] == '\0' || json_object_size(hosts) >= FGW_HOSTS_MAX)
            continue;
        rc = syn_json_set_str(hosts, host,
                              strcmp(known, function->account) == 0 ? function->account : "", err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
make_question(struct fgw_certs *certs, json_t **ret, struct syn_err *err)
{
    json_t *hosts = json_object();
    size_t cursor = 0;
    void *value;
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:s, s:o}", "digest", certs->digest, "hosts", hosts);

    while (rc == SYN_OK && syn_map_next(certs->gateway->functions, &cursor, NULL, &value))
        rc = add_hosts(value, hosts, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
start(struct fgw_certs *certs, struct syn_err *err)
{
    struct job *job = syn_calloc(1, sizeof(*job));
    int rc = SYN_OK;

    if (job == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    job->certs = certs;
    rc = make_question(certs, &job->question, err);
    if (rc == SYN_OK)
        rc = syn_pool_run(certs->gateway->fetchers, run, job, err);
    if (rc < 0) {
        json_decref(job->question);
        syn_free(job);
        return rc;
    }
    certs->gateway->loads_out++;
    certs->out = true;
    return SYN_OK;
}

void
fgw_certs_tick(struct fgw *gateway)
{
    struct fgw_certs *certs = gateway->certs;
    const int64_t now_ms = syn_loop_now_ms(gateway->loop);
    struct syn_err err;

    if (certs == NULL || certs->out || !gateway->synced || gateway->closing ||
        (!certs->due && certs->asked_ms != 0 && now_ms - certs->asked_ms < ASK_MS))
        return;
    certs->asked_ms = now_ms;
    certs->due = false;
    if (start(certs, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "gateway.certificates", &err);
}

void
fgw_certs_want(struct fgw *gateway)
{
    if (gateway->certs != NULL)
        gateway->certs->due = true;
}

/* --- life ------------------------------------------------------------------------------------- */

int
fgw_certs_new(struct fgw *gateway, struct fgw_certs **ret, struct syn_err *err)
{
    struct fgw_certs *certs = syn_calloc(1, sizeof(*certs));
    int rc;

    if (certs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    certs->gateway = gateway;
    rc = syn_tls_hosts_new(&certs->hosts, err);
    if (rc == SYN_OK)
        rc = syn_pool_new(WORKERS, QUEUE_MAX, &certs->handshakes, err);
    if (rc < 0)
        (void)fgw_certs_free(certs);
    else
        *ret = certs;
    return rc;
}

struct syn_pool *
fgw_certs_handshakes(const struct fgw_certs *certs)
{
    return certs != NULL ? certs->handshakes : NULL;
}

struct fgw_certs *
fgw_certs_free(struct fgw_certs *certs)
{
    if (certs == NULL)
        return NULL;
    if (certs->handshakes != NULL)
        certs->handshakes = syn_pool_free(certs->handshakes);
    certs->hosts = syn_tls_hosts_free(certs->hosts);
    syn_free(certs);
    return NULL;
}
