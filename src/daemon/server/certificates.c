/* Certificates of an account, given with their keys: services with TLS are served with them.
 *
 *     "certificate/ACCOUNT/NAME"   what may be seen of it, and all of it sealed as secrets are
 *
 * One that is set anew is in use at once, without a new connection or a reload anywhere. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/balancer.h>
#include <synor/infra/crypto.h>
#include <synor/infra/tls_cert.h>
#include <synor/orchestration/document.h>

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
    return syn_name_ok(*ret) ? SYN_OK
                             : SYN_FAIL(err, SYN_E_INVALID,
                                        "\"%.60s\": a certificate's name is of a-z 0-9 -", *ret);
}

/* --- what is seen ----------------------------------------------------------------------------- */

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
            (json_int_t)SYN_MAX(until_ms - now_ms, (int64_t)0), "state",
            until_ms <= now_ms             ? "expired"
            : until_ms - now_ms <= WARN_MS ? "ends-soon"
                                           : "valid",
            "services", names);
    json_decref(names);
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
    char *pem;
    struct syn_tls_look look;
    json_t *doc;
};

static int
count_key(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)doc;
    (void)revision;
    (void)err;
    ++*(size_t *)arg;
    return SYN_OK;
}

static int
check_room(struct syn_server *server, const char *account, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    size_t count = 0;
    int rc = srv_each(server, srv_key(prefix, "certificate", account, ""), count_key, &count, err);

    return rc == SYN_OK && count >= CERTIFICATES_MAX
               ? SYN_FAIL(err, SYN_E_LIMIT, "an account has at most %d certificates",
                          CERTIFICATES_MAX)
               : rc;
}

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
        rc = syn_json_pack(ret, err, "{s:s, s:s, s:I, s:s, s:O, s:s, s:s, s:s, s:I, s:s}", "name",
                           giving->name, "account", giving->account, "version", (json_int_t)version,
                           "updated_at", syn_format_time(syn_wall_ms(server->world), at), "hosts",
                           hosts, "issuer", giving->look.issuer, "from",
                           syn_format_time(giving->look.from_ms, from), "until",
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
        rc = check_room(server, giving->account, err);
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
    SYN_SCOPED(giving_fini) struct giving giving = {.account = srv_identity(req)->account};
    SYN_JSON(seen);
    int rc = need_name(req, &giving.name, err);

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

/* --- for the gateway -------------------------------------------------------------------------- */

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
    const json_t *service;
    int64_t revision = 0;
    SYN_JSON(doc);
    SYN_JSON(users);
    size_t i;
    int rc = srv_load(server, key, &doc, &revision, err);

    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    rc = srv_services_with_certificate(server, syn_json_str(doc, "account", ""),
                                       syn_json_str(doc, "name", ""), &users, err);
    if (rc < 0 || json_array_size(users) == 0)
        return rc; /* nobody to tell */
    (void)snprintf(message, sizeof(message),
                   "Its certificate %.63s ends at %.40s: give a new one (synor compute certificate "
                   "add).",
                   syn_json_str(doc, "name", "?"), syn_json_str(doc, "until", "?"));
    json_array_foreach (users, i, service)
        if (rc == SYN_OK)
            rc = srv_event_say(server, txn, syn_document_id(service), "certificate-ends", message,
                               err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(doc, "warned", true, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, doc, err);
}

static int
warn_one(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_server *server = arg;
    char copy[SRV_KEY_MAX];

    (void)revision;
    if (syn_json_bool(doc, "warned", false) || !syn_str_copy(copy, sizeof(copy), key) ||
        syn_json_i64(doc, "until_ms", 0) - syn_wall_ms(server->world) > WARN_MS)
        return SYN_OK;
    return srv_change(server, "the certificate", warn_attempt, copy, NULL, err);
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
    if (!gauge->any)
        syn_buf_adds(gauge->out,
                     "# HELP synor_certificate_left_seconds Until a given certificate ends.\n"
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
    {.method = "DELETE",
     .pattern = "/v1/certificates/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_certificate,
     .name = "certificates.delete",
     .summary = "Forget a certificate that no service uses"},
};

const struct srv_routes srv_certificate_routes = {rows, SYN_LEN(rows)};
