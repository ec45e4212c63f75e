/* Certificates of an account: services with TLS are served with them. They are given with their
 * keys, or the platform gets them from its ACME directory (acme.c); those are called as their host
 * is, with a dot, which no name that is given has.
 *
 *     "certificate/ACCOUNT/NAME"   what may be seen of it, and all of it sealed as secrets are
 *
 * One that is set anew is in use at once, without a new connection or a reload anywhere. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/acme.h>
#include <synor/infra/balancer.h>
#include <synor/infra/crypto.h>
#include <synor/infra/tls_cert.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_spec.h>

#include "server_priv.h"

#define PEM_BYTES_MAX    ((size_t)48 << 10) /* certificate and key together */
#define CERTIFICATES_MAX 256                /* of one account */
#define WARN_MS          (INT64_C(21) * 24 * 3600 * 1000)

static void
label_of(const char *account, const char *name, int64_t version, char out[SRV_KEY_MAX])
{
    (void)snprintf(out, SRV_KEY_MAX, "certificate/%s/%s/%" PRId64, account, name, version);
}

static int
need_name(struct syn_http_req *req, const char **ret, struct syn_err *err)
{
    *ret = syn_http_req_param(req, "name");
    return syn_name_ok(*ret) || syn_acme_host_ok(*ret)
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_INVALID, "\"%.60s\": a certificate's name is of a-z 0-9 -",
                          *ret);
}

static bool
from_directory(const json_t *doc)
{
    return syn_str_eq(syn_json_str(doc, "source", ""), SYN_SERVICE_ACME);
}

static void
history_of(const json_t *doc, struct syn_acme_history *ret)
{
    *ret = (struct syn_acme_history){
        .from_ms = syn_json_i64(doc, "from_ms", 0),
        .until_ms = syn_json_i64(doc, "until_ms", 0),
        .failures = (unsigned)SYN_MAX(syn_json_i64(doc, "failures", 0), 0),
        .failed_ms = syn_json_i64(doc, "failed_ms", 0),
    };
}

/* --- what is seen ----------------------------------------------------------------------------- */

/* One that renews itself says so later: what is left of a third of its life, halved. */
static const char *
state_of(const json_t *doc, int64_t now_ms)
{
    int64_t from_ms = syn_json_i64(doc, "from_ms", 0), until_ms = syn_json_i64(doc, "until_ms", 0);
    int64_t warn_ms = WARN_MS, sixth_ms = (until_ms - from_ms) / 6;

    if (from_directory(doc) && until_ms == 0)
        return "failed";
    if (from_directory(doc))
        warn_ms = SYN_MIN(warn_ms, sixth_ms);
    return until_ms <= now_ms ? "expired" : until_ms - now_ms <= warn_ms ? "ends-soon" : "valid";
}

/* Whence it is, and when the next comes from there. */
static int
add_source(const json_t *doc, int64_t now_ms, json_t *seen, struct syn_err *err)
{
    struct syn_acme_history history;
    char at[SYN_FORMAT_MAX] = "";
    int rc =
        syn_json_set_str(seen, "source", from_directory(doc) ? SYN_SERVICE_ACME : "given", err);

    history_of(doc, &history);
    if (from_directory(doc))
        (void)syn_format_time(SYN_MAX(syn_acme_due_ms(&history, now_ms), now_ms), at);
    if (rc == SYN_OK)
        rc = syn_json_set_str(seen, "renews", at, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(seen, "failures", history.failures, err);
    return rc < 0 ? rc : syn_json_set_str(seen, "message", syn_json_str(doc, "message", ""), err);
}

/* All but the key and what was sealed; `used`: by whom. */
static int
seen_of(struct syn_server *server, const char *account, const json_t *doc, json_t **ret,
        struct syn_err *err)
{
    int64_t until_ms = syn_json_i64(doc, "until_ms", 0), now_ms = syn_wall_ms(server->world);
    const json_t *service;
    SYN_JSON(seen);
    SYN_JSON(users);
    json_t *names = json_array();
    size_t i;
    int rc =
        srv_services_with_certificate(server, account, syn_json_str(doc, "name", ""), &users, err);

    json_array_foreach (users, i, service)
        if (rc == SYN_OK)
            rc = syn_json_append_take(names, json_string(syn_json_str(service, "name", "?")), err);
    if (rc == SYN_OK)
        rc = syn_json_pack(
            &seen, err, "{s:s, s:I, s:s, s:O, s:s, s:s, s:s, s:I, s:s, s:O}", "name",
            syn_json_str(doc, "name", ""), "version", (json_int_t)syn_json_i64(doc, "version", 0),
            "updated_at", syn_json_str(doc, "updated_at", ""), "hosts",
            json_object_get(doc, "hosts"), "issuer", syn_json_str(doc, "issuer", ""), "from",
            syn_json_str(doc, "from", ""), "until", syn_json_str(doc, "until", ""), "left_ms",
            (json_int_t)SYN_MAX(until_ms - now_ms, (int64_t)0), "state", state_of(doc, now_ms),
            "services", names);
    json_decref(names);
    if (rc == SYN_OK)
        rc = add_source(doc, now_ms, seen, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(seen);
    return rc;
}

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    json_t *seen = NULL;
    int rc = seen_of(arg, syn_json_str(doc, "account", ""), doc, &seen, err);

    (void)key;
    return rc < 0 ? rc : syn_json_append_take(items, seen, err);
}

static int
list_certificates(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "certificate", srv_identity(req)->account, ""),
                          false, list_item, ctx, err);
}

static int
get_certificate(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *account = srv_identity(req)->account, *name;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(seen);
    int rc = need_name(req, &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "certificate", account, name), "certificate", &doc, NULL,
                      err);
    if (rc == SYN_OK)
        rc = seen_of(ctx, account, doc, &seen, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, seen, err);
}

/* --- giving ----------------------------------------------------------------------------------- */

struct giving {
    const char *account, *name;
    const char *source; /* "given", or SYN_SERVICE_ACME */
    char *pem;
    struct syn_tls_look look;
    json_t *doc;
};

static int
make_doc(struct syn_server *server, struct giving *giving, int64_t version, json_t **ret,
         struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *sealed = NULL;
    char label[SRV_KEY_MAX], at[SYN_FORMAT_MAX], from[SYN_FORMAT_MAX], until[SYN_FORMAT_MAX];
    json_t *hosts = json_array();
    int rc = hosts != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");

    label_of(giving->account, giving->name, version, label);
    for (size_t i = 0; rc == SYN_OK && i < giving->look.count; i++)
        rc = syn_json_append_take(hosts, json_string(giving->look.names[i]), err);
    if (rc == SYN_OK)
        rc = srv_seal(server, label, giving->pem, &sealed, err);
    if (rc == SYN_OK)
        rc =
            syn_json_pack(ret, err, "{s:s, s:s, s:s, s:I, s:s, s:O, s:s, s:s, s:I, s:s, s:I, s:s}",
                          "name", giving->name, "account", giving->account, "source",
                          giving->source, "version", (json_int_t)version, "updated_at",
                          syn_format_time(syn_wall_ms(server->world), at), "hosts", hosts, "issuer",
                          giving->look.issuer, "from", syn_format_time(giving->look.from_ms, from),
                          "from_ms", (json_int_t)giving->look.from_ms, "until",
                          syn_format_time(giving->look.until_ms, until), "until_ms",
                          (json_int_t)giving->look.until_ms, "sealed", sealed);
    json_decref(hosts);
    return rc;
}

static int
give_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct giving *giving = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(before);
    int rc = srv_load(server, srv_key(key, "certificate", giving->account, giving->name), &before,
                      &revision, err);

    if (rc == SRV_ABSENT) {
        revision = 0;
        rc = srv_need_room(server, "certificate", giving->account, CERTIFICATES_MAX, "certificates",
                           err);
    }
    if (rc == SYN_OK)
        rc = make_doc(server, giving, syn_json_i64(before, "version", 0) + 1,
                      srv_again(&giving->doc), err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, giving->doc, err);
}

/* Certificate and key as one text, as the balancer takes them. */
static int
read_given(const json_t *body, struct giving *giving, struct syn_err *err)
{
    SYN_BUF(both);
    int rc;

    syn_buf_addf(&both, "%s\n%s\n", syn_json_str(body, "cert", ""), syn_json_str(body, "key", ""));
    rc = syn_buf_ok(&both, err);
    if (rc == SYN_OK && both.len > PEM_BYTES_MAX)
        rc = SYN_FAIL(err, SYN_E_INVALID, "certificate and key have more than %zu bytes",
                      PEM_BYTES_MAX);
    if (rc == SYN_OK)
        rc = syn_balancer_pem(both.data, both.len, &giving->pem, err);
    if (rc == SYN_OK)
        rc = syn_tls_cert_look(giving->pem, strlen(giving->pem), &giving->look, err);
    if (both.len > 0)
        syn_secret_wipe(both.data, both.len);
    return rc;
}

static void
giving_fini(struct giving *giving)
{
    if (giving->pem != NULL)
        syn_secret_wipe(giving->pem, strlen(giving->pem));
    syn_free(giving->pem);
    json_decref(giving->doc);
}

static int
put_certificate(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(giving_fini)
    struct giving giving = {.account = srv_identity(req)->account, .source = "given"};
    SYN_JSON(seen);
    int rc = need_name(req, &giving.name, err);

    if (rc == SYN_OK && (!syn_name_ok(giving.name) || syn_str_eq(giving.name, SYN_SERVICE_ACME)))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.60s\" is what the platform calls certificates of its ACME directory",
                        giving.name);

    if (rc == SYN_OK)
        rc = read_given(syn_http_req_json(req), &giving, err);
    if (rc == SYN_OK && giving.look.until_ms <= syn_wall_ms(server->world))
        rc = SYN_FAIL(err, SYN_E_INVALID, "cert: it has expired");
    if (rc == SYN_OK)
        rc = srv_change(server, "the certificate", give_attempt, &giving, NULL, err);
    if (rc == SYN_OK)
        rc = seen_of(server, giving.account, giving.doc, &seen, err);
    if (rc < 0)
        return rc;
    srv_gateway_look_again(server);
    return syn_http_reply_json(req, 200, seen, err);
}

static int
delete_certificate(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *account = srv_identity(req)->account, *name;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(doc);
    SYN_JSON(users);
    SRV_TXN(txn);
    int rc = need_name(req, &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "certificate", account, name), "certificate", &doc,
                      &revision, err);
    if (rc == SYN_OK)
        rc = srv_services_with_certificate(ctx, account, name, &users, err);
    if (rc == SYN_OK && json_array_size(users) > 0)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "service %s uses the certificate %s: update it to another, or delete it, "
                        "first",
                        syn_json_str(json_array_get(users, 0), "name", "?"), name);
    if (rc == SYN_OK)
        rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(ctx, &txn, NULL, err);
    return rc == SYN_STORE_CONFLICT
               ? SYN_FAIL(err, SYN_E_CONFLICT, "the certificate %s changed meanwhile", name)
               : rc;
}

/* --- from the directory ----------------------------------------------------------------------- */

/* Tell those who use it. */
static int
tell_users(struct syn_server *server, struct srv_txn *txn, const json_t *doc, const char *type,
           const char *message, struct syn_err *err)
{
    const json_t *service;
    SYN_JSON(users);
    size_t i;
    int rc = srv_services_with_certificate(server, syn_json_str(doc, "account", ""),
                                           syn_json_str(doc, "name", ""), &users, err);

    json_array_foreach (users, i, service)
        if (rc == SYN_OK)
            rc = srv_event_say(server, txn, syn_document_id(service), type, message, err);
    return rc;
}

static int
keep_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct giving *giving = arg;
    char message[512], until[SYN_FORMAT_MAX];
    int rc = give_attempt(server, txn, giving, err);

    if (rc < 0)
        return rc;
    (void)snprintf(message, sizeof(message),
                   "%.253s has a certificate of %.120s until %s, which renews itself.",
                   giving->name, giving->look.issuer,
                   syn_format_time(giving->look.until_ms, until));
    return tell_users(server, txn, giving->doc, "certificate-issued", message, err);
}

int
srv_certificate_keep(struct syn_server *server, const char *account, const char *host,
                     const char *pem, struct syn_err *err)
{
    SYN_SCOPED(giving_fini)
    struct giving giving = {
        .account = account, .name = host, .source = SYN_SERVICE_ACME, .pem = syn_strdup(pem)};
    int rc = giving.pem != NULL ? syn_tls_cert_look(pem, strlen(pem), &giving.look, err)
                                : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");

    return rc < 0 ? rc : srv_change(server, "the certificate", keep_attempt, &giving, NULL, err);
}

struct failing {
    const char *account, *host, *message;
};

static int
fail_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct failing *failing = arg;
    int64_t now_ms = syn_wall_ms(server->world), revision = 0;
    char key[SRV_KEY_MAX], message[512], at[SYN_FORMAT_MAX];
    struct syn_acme_history history;
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "certificate", failing->account, failing->host), &doc,
                      &revision, err);

    if (rc == SRV_ABSENT) {
        revision = 0;
        rc = srv_need_room(server, "certificate", failing->account, CERTIFICATES_MAX,
                           "certificates", err);
        if (rc == SYN_OK)
            rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:I, s:[s]}", "name", failing->host,
                               "account", failing->account, "source", SYN_SERVICE_ACME, "version",
                               (json_int_t)0, "hosts", failing->host);
    }
    if (rc < 0)
        return rc;
    history_of(doc, &history);
    history.failures++;
    history.failed_ms = now_ms;
    (void)snprintf(message, sizeof(message), "%.253s has no new certificate: %.200s; next try %s",
                   failing->host, failing->message,
                   syn_format_time(syn_acme_due_ms(&history, now_ms), at));
    (void)json_object_del(doc, "asked");
    rc = syn_json_set_i64(doc, "failures", history.failures, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(doc, "failed_ms", now_ms, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(doc, "message", failing->message, err);
    if (rc == SYN_OK)
        rc = tell_users(server, txn, doc, "certificate-failed", message, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, doc, err);
}

int
srv_certificate_fail(struct syn_server *server, const char *account, const char *host,
                     const char *message, struct syn_err *err)
{
    struct failing failing = {account, host, message};

    return srv_change(server, "the certificate", fail_attempt, &failing, NULL, err);
}

int
srv_certificate_history(struct syn_server *server, const char *account, const char *host,
                        struct syn_acme_history *ret_history, bool *ret_asked, char *ret_message,
                        struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "certificate", account, host), &doc, NULL, err);

    if (rc < 0)
        return rc;
    history_of(doc, ret_history);
    *ret_asked = syn_json_bool(doc, "asked", false);
    if (ret_message != NULL)
        (void)syn_str_copy(ret_message, SYN_ACME_REASON_MAX, syn_json_str(doc, "message", ""));
    return SYN_OK;
}

static int
renew_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct giving *giving = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(users);
    int rc = srv_need(server, srv_key(key, "certificate", giving->account, giving->name),
                      "certificate", srv_again(&giving->doc), &revision, err);

    if (rc < 0)
        return rc;
    if (!from_directory(giving->doc))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "the certificate %s was given: give a new one (synor compute certificate "
                        "add)",
                        giving->name);
    rc = srv_services_with_certificate(server, giving->account, giving->name, &users, err);
    if (rc == SYN_OK && json_array_size(users) == 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "no service uses the certificate %s", giving->name);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(giving->doc, "asked", true, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, giving->doc, err);
}

static int
renew_certificate(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(giving_fini) struct giving giving = {.account = srv_identity(req)->account};
    SYN_JSON(seen);
    int rc = need_name(req, &giving.name, err);

    if (rc == SYN_OK)
        rc = srv_change(server, "the certificate", renew_attempt, &giving, NULL, err);
    if (rc == SYN_OK && server->acme == NULL)
        rc = SYN_FAIL(err, SYN_E_CONFLICT,
                      "the platform has no ACME directory (synor up --acme-directory)");
    if (rc == SYN_OK)
        rc = seen_of(server, giving.account, giving.doc, &seen, err);
    if (rc < 0)
        return rc;
    srv_acme_poke(server->acme);
    return syn_http_reply_json(req, 202, seen, err);
}

/* --- for the gateway -------------------------------------------------------------------------- */

const char *
srv_certificate_of(const json_t *lb)
{
    const char *name = syn_json_str(lb, "certificate", "");

    return syn_str_eq(name, SYN_SERVICE_ACME) ? syn_json_str(lb, "host", "") : name;
}

/* Could the directory give one for the spec's host? */
static int
check_host(const struct syn_server *server, const char *host, struct syn_err *err)
{
    if (server->acme == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.lb.certificate: acme needs a platform with an ACME directory (synor "
                        "up --acme-directory)");
    return syn_acme_host_ok(host)
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_INVALID,
                          "spec.lb.certificate: acme is for one host with a dot and without a "
                          "wildcard (--host shop.example); got \"%.100s\"",
                          host);
}

int
srv_certificate_check(struct syn_server *server, const char *account, const json_t *spec,
                      struct syn_err *err)
{
    const char *name = syn_json_str(json_object_get(spec, "lb"), "certificate", "");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    if (name[0] == '\0')
        return SYN_OK;
    if (syn_str_eq(name, SYN_SERVICE_ACME))
        return check_host(server, syn_json_str(json_object_get(spec, "lb"), "host", ""), err);
    if (!syn_name_ok(name))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.lb.certificate: \"%.60s\" is no name", name);
    rc = srv_load(server, srv_key(key, "certificate", account, name), &doc, NULL, err);
    return rc == SRV_ABSENT ? SYN_FAIL(err, SYN_E_NOTFOUND,
                                       "spec.lb.certificate: there is no certificate %.63s; synor "
                                       "compute certificate add makes it",
                                       name)
                            : rc;
}

int
srv_certificate_pem(struct syn_server *server, const char *account, const char *name,
                    char **ret_pem, struct syn_err *err)
{
    char key[SRV_KEY_MAX], label[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(pem);
    int rc = srv_need(server, srv_key(key, "certificate", account, name), "certificate", &doc, NULL,
                      err);

    if (rc < 0)
        return rc;
    if (syn_json_str(doc, "sealed", "")[0] == '\0')
        return SYN_FAIL(err, SYN_E_NOTFOUND, "the directory has given no certificate for %s yet",
                        name);
    label_of(account, name, syn_json_i64(doc, "version", 0), label);
    rc = srv_unseal(server, label, syn_json_str(doc, "sealed", ""), &pem, err);
    if (rc < 0)
        return rc;
    *ret_pem = syn_strdup(json_string_value(pem));
    return *ret_pem != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");
}

/* --- what ends -------------------------------------------------------------------------------- */

static int
warn_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const char *key = arg;
    char message[256];
    int64_t revision = 0;
    SYN_JSON(doc);
    SYN_JSON(users);
    int rc = srv_load(server, key, &doc, &revision, err);

    if (rc != SYN_OK)
        return rc;
    rc = srv_services_with_certificate(server, syn_json_str(doc, "account", ""),
                                       syn_json_str(doc, "name", ""), &users, err);
    if (rc < 0 || json_array_size(users) == 0)
        return rc < 0 ? rc : SRV_ABSENT; /* nobody to tell */
    (void)snprintf(message, sizeof(message),
                   "Its certificate %.63s ends at %.40s: give a new one (synor compute certificate "
                   "add).",
                   syn_json_str(doc, "name", "?"), syn_json_str(doc, "until", "?"));
    rc = tell_users(server, txn, doc, "certificate-ends", message, err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(doc, "warned", true, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, doc, err);
}

static int
warn_one(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_server *server = arg;
    char copy[SRV_KEY_MAX];
    int rc;

    (void)revision;
    if (from_directory(doc) || syn_json_bool(doc, "warned", false) ||
        !syn_str_copy(copy, sizeof(copy), key) ||
        syn_json_i64(doc, "until_ms", 0) - syn_wall_ms(server->world) > WARN_MS)
        return SYN_OK;
    rc = srv_change(server, "the certificate", warn_attempt, copy, NULL, err);
    return rc < 0 ? rc : SYN_OK;
}

int
srv_certificates_warn(struct syn_server *server, struct syn_err *err)
{
    return srv_each(server, "certificate/", warn_one, server, err);
}

struct gauge {
    struct syn_buf *out;
    int64_t now_ms;
    bool any;
};

static int
write_gauge(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct gauge *gauge = arg;

    (void)key;
    (void)revision;
    (void)err;
    if (syn_json_i64(doc, "until_ms", 0) == 0)
        return SYN_OK; /* none yet */
    if (!gauge->any)
        syn_buf_adds(gauge->out, "# HELP synor_certificate_left_seconds Until a certificate ends.\n"
                                 "# TYPE synor_certificate_left_seconds gauge\n");
    gauge->any = true;
    syn_buf_addf(gauge->out, "synor_certificate_left_seconds{certificate=\"%s/%s\"} %lld\n",
                 syn_json_str(doc, "account", ""), syn_json_str(doc, "name", ""),
                 (long long)((syn_json_i64(doc, "until_ms", 0) - gauge->now_ms) / 1000));
    return SYN_OK;
}

void
srv_certificate_metrics(struct syn_server *server, struct syn_buf *out)
{
    struct gauge gauge = {out, syn_wall_ms(server->world), false};

    (void)!srv_each(server, "certificate/", write_gauge, &gauge, NULL);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field put_fields[] = {
    {.name = "cert",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = PEM_BYTES_MAX,
     .required = true,
     .help = "The certificate and its chain, PEM"},
    {.name = "key",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = PEM_BYTES_MAX,
     .required = true,
     .help = "Its key, PEM, without a password; no answer ever has it"},
};
static const struct syn_schema put_schema = SYN_SCHEMA("CertificatePut", put_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/certificates", list_certificates, &srv_list_query, "certificates.list",
             "The account's certificates, and until when"),
    SRV_READ("/v1/certificates/{name}", get_certificate, NULL, "certificates.get",
             "One certificate, without its key"),
    SRV_WRITE("PUT", "/v1/certificates/{name}", put_certificate, &put_schema, "certificates.set",
              "Give a certificate with its key, new or anew; services use it at once"),
    SRV_WRITE("POST", "/v1/certificates/{name}/renew", renew_certificate, NULL,
              "certificates.renew", "Get a new one from the ACME directory now"),
    {.method = "DELETE",
     .pattern = "/v1/certificates/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_certificate,
     .name = "certificates.delete",
     .summary = "Forget a certificate that no service uses"},
};

const struct srv_routes srv_certificate_routes = {rows, SYN_LEN(rows)};
