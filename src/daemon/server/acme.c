/* Certificates that the platform gets from an ACME directory, for services that ask for them.
 *
 *   challenges of a host are answered (the gateway), a renewal is asked for, time goes by
 *        --> the thread: each host of a service that is published, when its time has come:
 *            an order (infra/acme.c) --> kept with the account's certificates, or why not
 *
 *     "acme/account"   the key that is the account, sealed as secrets are
 *
 * One order at a time. What came of it, and so when the next one is due, is in the certificate's
 * document: a restart neither forgets a failure nor asks twice. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/acme.h>
#include <synor/infra/crypto.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_spec.h>

#include "server_priv.h"

#define LOOK_MS (INT64_C(3600) * 1000) /* the clock may have been set */
#define LABEL   "acme/account"

struct srv_acme {
    struct syn_server *server;
    struct syn_acme_directory directory; /* text is its own */
    char *url, *contact, *ca, *key;
    char thumbprint[SYN_ACME_THUMBPRINT_SIZE];
    char scratch[SRV_PATH_MAX];
    int stop_fd; /* an order under way is given up */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under `lock`: */
    bool stop, poked;
};

static void
lock(struct srv_acme *acme)
{
    int rc = pthread_mutex_lock(&acme->lock);

    assert(rc == 0);
    (void)rc;
}

static void
unlock(struct srv_acme *acme)
{
    int rc = pthread_mutex_unlock(&acme->lock);

    assert(rc == 0);
    (void)rc;
}

static bool
is_stopping(struct srv_acme *acme)
{
    bool stop;

    lock(acme);
    stop = acme->stop;
    unlock(acme);
    return stop;
}

/* --- who wants one ---------------------------------------------------------------------------- */

/* The host of a service that has a certificate of the directory's; "": it has not. */
static const char *
host_of(const json_t *service)
{
    const json_t *lb = json_object_get(syn_document_spec(service), "lb");

    return syn_str_eq(syn_json_str(lb, "certificate", ""), SYN_SERVICE_ACME)
               ? syn_json_str(lb, "host", "")
               : "";
}

struct wanted {
    struct srv_acme *acme;
    json_t *hosts; /* host -> account: a host belongs to one */
};

static int
see_service(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct wanted *wanted = arg;
    const char *host = host_of(doc);

    (void)key;
    (void)revision;
    /* The gateway knows which are published: of others challenges would not be answered. */
    if (!syn_acme_host_ok(host) || !srv_gateway_challenged(wanted->acme->server, host))
        return SYN_OK;
    return syn_json_set_str(wanted->hosts, host, syn_json_str(doc, "account", ""), err);
}

/* --- one host --------------------------------------------------------------------------------- */

static int
order(struct srv_acme *acme, const char *account, const char *host, struct syn_err *err)
{
    const struct syn_acme_order order = {.directory = &acme->directory,
                                         .account_key = acme->key,
                                         .host = host,
                                         .scratch = acme->scratch,
                                         .stop_fd = acme->stop_fd};
    struct syn_err why = {0};
    char *pem = NULL;
    int rc = syn_acme_obtain(&order, &pem, &why);

    if (rc == SYN_E_CANCELED) {
        if (err != NULL)
            *err = why;
        return rc;
    }
    if (rc < 0) {
        syn_log_kv(SYN_LOG_WARN, "acme.failed", "host", host, "why", why.msg, (const char *)NULL);
        return srv_certificate_fail(acme->server, account, host, why.msg, err);
    }
    rc = srv_certificate_keep(acme->server, account, host, pem, err);
    syn_secret_wipe(pem, strlen(pem));
    syn_free(pem);
    if (rc < 0)
        return rc;
    syn_log_kv(SYN_LOG_INFO, "acme.issued", "host", host, "account", account, (const char *)NULL);
    srv_gateway_look_again(acme->server);
    return SYN_OK;
}

/* Do what is due. When it is to be looked at again; 0: at once. */
static int64_t
tend(struct srv_acme *acme, const char *account, const char *host)
{
    struct syn_acme_history history;
    struct syn_err err = {0};
    int64_t now_ms = syn_wall_ms(acme->server->world), due_ms = now_ms + LOOK_MS;
    bool asked = false;
    int rc = SYN_OK;

    for (unsigned i = 0; i < 2; i++) { /* the second time is after an order */
        history = (struct syn_acme_history){0};
        rc = srv_certificate_history(acme->server, account, host, &history, &asked, NULL, &err);
        now_ms = syn_wall_ms(acme->server->world);
        due_ms = asked ? now_ms : syn_acme_due_ms(&history, now_ms);
        if (rc < 0 || due_ms > now_ms || i == 1 || is_stopping(acme))
            break;
        rc = order(acme, account, host, &err);
        if (rc < 0)
            break;
    }
    if (rc < 0 && rc != SYN_E_CANCELED) {
        syn_log_err(SYN_LOG_ERROR, "acme.host", &err);
        return now_ms + LOOK_MS;
    }
    return due_ms;
}

/* All of them. When to look again. */
static int64_t
round_of(struct srv_acme *acme)
{
    struct wanted wanted = {acme, json_object()};
    int64_t next_ms = syn_wall_ms(acme->server->world) + LOOK_MS;
    struct syn_err err = {0};
    const json_t *account;
    const char *host;
    SYN_JSON(hosts);
    int rc = SYN_FAIL(&err, SYN_E_NOMEM, "no memory for hosts");

    hosts = wanted.hosts;
    if (hosts != NULL)
        rc = srv_each(acme->server, "service/", see_service, &wanted, &err);
    if (rc < 0)
        syn_log_err(SYN_LOG_ERROR, "acme.services", &err);
    json_object_foreach (hosts, host, account) {
        int64_t due_ms = is_stopping(acme) ? next_ms : tend(acme, json_string_value(account), host);

        next_ms = SYN_MIN(next_ms, due_ms);
    }
    return next_ms;
}

static void *
run(void *arg)
{
    struct srv_acme *acme = arg;

    lock(acme);
    while (!acme->stop) {
        int64_t left_ms;
        struct timespec until;

        acme->poked = false;
        unlock(acme);
        left_ms = round_of(acme) - syn_wall_ms(acme->server->world);
        left_ms = SYN_MIN(SYN_MAX(left_ms, 1000), LOOK_MS) + syn_mono_ms(syn_world_system());
        until = (struct timespec){left_ms / 1000, left_ms % 1000 * 1000000};
        lock(acme);
        while (!acme->stop && !acme->poked)
            if (pthread_cond_timedwait(&acme->wake, &acme->lock, &until) != 0)
                break;
    }
    unlock(acme);
    return NULL;
}

void
srv_acme_poke(struct srv_acme *acme)
{
    lock(acme);
    acme->poked = true;
    (void)pthread_cond_signal(&acme->wake);
    unlock(acme);
}

/* --- what it says ----------------------------------------------------------------------------- */

int
srv_acme_explain(struct syn_server *server, const json_t *service, json_t *answer,
                 struct syn_err *err)
{
    const char *host = host_of(service), *have = "waiting";
    char reason[SYN_ACME_REASON_MAX] = "", text[SYN_ACME_REASON_MAX + 512], at[SYN_FORMAT_MAX];
    struct syn_acme_history history = {0};
    int64_t now_ms = syn_wall_ms(server->world);
    json_t *row = NULL;
    bool asked = false;
    int rc;

    if (host[0] == '\0')
        return SYN_OK;
    rc = srv_certificate_history(server, syn_json_str(service, "account", ""), host, &history,
                                 &asked, reason, err);
    if (rc < 0)
        return rc;
    if (history.failures == 0 && history.until_ms > now_ms)
        return SYN_OK;
    if (server->acme == NULL)
        (void)snprintf(text, sizeof(text),
                       "%s gets no new certificate: the platform runs without an ACME directory "
                       "(synor up --acme-directory)",
                       host);
    else if (history.failures == 0)
        (void)snprintf(text, sizeof(text), "a certificate for %s is being asked for", host);
    else {
        have = "failed";
        (void)snprintf(text, sizeof(text),
                       "%s has no new certificate after %u attempts: %s; the next is at %s (synor "
                       "compute certificate renew %s: now)",
                       host, history.failures, reason,
                       syn_format_time(syn_acme_due_ms(&history, now_ms), at), host);
    }
    if (history.until_ms == 0)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
                       "; until then it is served with the platform's own");
    rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s, s:s}", "dimension", "certificate", "node",
                       "", "need", host, "have", have, "message", text);
    return rc < 0 ? rc : syn_json_append_take(json_object_get(answer, "why"), row, err);
}

const char *
srv_acme_thumbprint(const struct srv_acme *acme)
{
    return acme->thumbprint;
}

/* --- beginning and end ------------------------------------------------------------------------ */

/* The account's key, made at the first start with a directory. */
static int
key_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct srv_acme *acme = arg;
    SYN_SCOPED(syn_free_scope) char *sealed = NULL;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(doc);
    SYN_JSON(text);
    int rc = srv_load(server, srv_key(key, "acme", "account", NULL), &doc, &revision, err);

    syn_free(acme->key);
    acme->key = NULL;
    if (rc == SYN_OK) {
        rc = srv_unseal(server, LABEL, syn_json_str(doc, "sealed", ""), &text, err);
        if (rc == SYN_OK)
            acme->key = syn_strdup(json_string_value(text));
        if (rc == SYN_OK && acme->key == NULL)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
        return rc < 0 ? rc : srv_txn_check(txn, key, revision, err);
    }
    if (rc == SRV_ABSENT)
        rc = syn_acme_key_new(&acme->key, err);
    if (rc == SYN_OK)
        rc = srv_seal(server, LABEL, acme->key, &sealed, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:s}", "sealed", sealed);
    return rc < 0 ? rc : srv_txn_replace(txn, key, 0, doc, err);
}

static int
begin(struct srv_acme *acme, const struct syn_server_options *options, struct syn_err *err)
{
    const struct syn_acme_directory given = {.url = options->acme_directory,
                                             .contact = options->acme_contact,
                                             .ca_file = options->acme_ca};
    pthread_condattr_t attributes;
    int rc = syn_acme_check(&given, err);

    if (rc < 0)
        return rc;
    acme->url = syn_strdup(given.url);
    acme->contact = syn_strdup(given.contact);
    acme->ca = given.ca_file != NULL ? syn_strdup(given.ca_file) : NULL;
    if (acme->url == NULL || acme->contact == NULL || (given.ca_file != NULL && acme->ca == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the ACME directory");
    acme->directory = (struct syn_acme_directory){
        .url = acme->url, .contact = acme->contact, .ca_file = acme->ca};
    (void)snprintf(acme->scratch, sizeof(acme->scratch), "%s/server/acme-order",
                   acme->server->data_dir);
    acme->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (acme->stop_fd < 0)
        return SYN_FAIL_SYS(err, errno, "making an eventfd");
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&acme->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    rc = srv_change(acme->server, "the ACME account", key_attempt, acme, NULL, err);
    return rc < 0 ? rc : syn_acme_thumbprint(acme->key, acme->thumbprint, err);
}

int
srv_acme_new(struct syn_server *server, const struct syn_server_options *options,
             struct srv_acme **ret, struct syn_err *err)
{
    struct srv_acme *acme;
    int rc;

    if (options->acme_directory == NULL &&
        (options->acme_contact != NULL || options->acme_ca != NULL))
        return SYN_FAIL(err, SYN_E_INVALID, "--acme-contact and --acme-ca need --acme-directory");
    if (options->acme_directory == NULL)
        return SYN_OK;
    acme = syn_calloc(1, sizeof(*acme));
    if (acme == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the ACME directory");
    acme->server = server;
    acme->stop_fd = -1;
    (void)pthread_mutex_init(&acme->lock, NULL);
    rc = begin(acme, options, err);
    if (rc < 0)
        (void)srv_acme_free(acme);
    else
        *ret = acme;
    return rc;
}

int
srv_acme_start(struct srv_acme *acme, struct syn_err *err)
{
    if (pthread_create(&acme->thread, NULL, run, acme) != 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start the thread for certificates");
    acme->started = true;
    return SYN_OK;
}

void
srv_acme_stop(struct srv_acme *acme)
{
    uint64_t one = 1;

    if (acme == NULL || !acme->started)
        return;
    lock(acme);
    acme->stop = true;
    (void)pthread_cond_signal(&acme->wake);
    unlock(acme);
    (void)!write(acme->stop_fd, &one, sizeof(one));
    (void)pthread_join(acme->thread, NULL);
    acme->started = false;
}

struct srv_acme *
srv_acme_free(struct srv_acme *acme)
{
    if (acme == NULL)
        return NULL;
    srv_acme_stop(acme);
    if (acme->stop_fd >= 0)
        (void)close(acme->stop_fd);
    if (acme->key != NULL)
        syn_secret_wipe(acme->key, strlen(acme->key));
    (void)pthread_mutex_destroy(&acme->lock);
    syn_free(acme->url);
    syn_free(acme->contact);
    syn_free(acme->ca);
    syn_free(acme->key);
    syn_free(acme);
    return NULL;
}
