#include <synor/infra/tls_cert.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/infra/secret_file.h>

#define DNS_NAME_MAX 253
#define COMMON_MAX   64

static void
pkey_scope(EVP_PKEY **slot)
{
    EVP_PKEY_free(*slot);
}

static void
x509_scope(X509 **slot)
{
    X509_free(*slot);
}

static void
bio_scope(BIO **slot)
{
    BIO_free_all(*slot);
}

static bool
is_address(const char *name)
{
    uint8_t bin[16];

    return inet_pton(AF_INET, name, bin) == 1 || inet_pton(AF_INET6, name, bin) == 1;
}

static bool
is_host(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > DNS_NAME_MAX || name[0] == '.' || name[len - 1] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.' || (c == '*' && i == 0)))
            return false;
    }
    return strstr(name, "..") == NULL;
}

/* What a certificate is to be. */
struct plan {
    const char *common; /* its name */
    const char *const *names;
    size_t count;
    const char *uri; /* one more name; NULL: none */
    int64_t from_s, until_s;
    bool authority; /* it signs others */
    bool client;    /* who has it may say so to servers, too */
    X509 *issuer;   /* NULL: itself */
    EVP_PKEY *issuer_key;
};

static int
add_extension(X509 *cert, int nid, const char *value, struct syn_err *err)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int ok;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    ERR_clear_error();
    return ok ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "certificate extension %s", value);
}

static bool
is_uri(const char *text)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789-./:";

    return text[0] != '\0' && text[strspn(text, good)] == '\0';
}

/* As OpenSSL's configuration has alternative names: what stands in it is checked. */
static int
write_names(const struct plan *plan, struct syn_buf *out, struct syn_err *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        const char *name = plan->names[i];

        if (!is_address(name) && !is_host(name))
            return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no host name or IP address", name);
        syn_buf_addf(out, "%s%s:%s", i > 0 ? "," : "", is_address(name) ? "IP" : "DNS", name);
    }
    if (plan->uri != NULL && !is_uri(plan->uri))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no URI for a certificate", plan->uri);
    if (plan->uri != NULL)
        syn_buf_addf(out, "%sURI:%s", plan->count > 0 ? "," : "", plan->uri);
    return syn_buf_ok(out, err);
}

static int
add_names(X509 *cert, const struct plan *plan, struct syn_err *err)
{
    SYN_BUF(san);
    int rc = write_names(plan, &san, err);

    return rc < 0 ? rc : add_extension(cert, NID_subject_alt_name, syn_buf_text(&san), err);
}

/* RFC 5280 wants a positive serial of at most 20 bytes. */
static bool
set_serial(X509 *cert)
{
    uint8_t random[16];
    BIGNUM *number;
    bool ok;

    syn_secret_random(random, sizeof(random));
    random[0] = (uint8_t)((random[0] & 0x7F) | 0x40);
    number = BN_bin2bn(random, sizeof(random), NULL);
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static int
add_uses(X509 *cert, const struct plan *plan, struct syn_err *err)
{
    int rc =
        add_extension(cert, NID_basic_constraints,
                      plan->authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE", err);

    if (rc == SYN_OK)
        rc = add_extension(cert, NID_key_usage,
                           plan->authority ? "critical,keyCertSign" : "critical,digitalSignature",
                           err);
    if (rc == SYN_OK && plan->authority)
        rc = add_extension(cert, NID_subject_key_identifier, "hash", err);
    if (rc == SYN_OK && !plan->authority)
        rc = add_extension(cert, NID_ext_key_usage,
                           plan->client ? "serverAuth,clientAuth" : "serverAuth", err);
    return rc;
}

static bool
add_word(X509_NAME *subject, int nid, const char *text)
{
    return X509_NAME_add_entry_by_NID(subject, nid, MBSTRING_UTF8, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

/* A common name holds 64 bytes at most: verifiers read the alternative names anyway. Who reads the
 * subject alone, as HAProxy does of its clients, finds a whole name as its user id, which may be
 * longer. */
static bool
set_subject(X509_NAME *subject, const struct plan *plan)
{
    const char *common = strlen(plan->common) > COMMON_MAX ? "synor" : plan->common;

    return add_word(subject, NID_commonName, common) &&
           (!plan->client || add_word(subject, NID_userId, plan->common));
}

static int
fill_cert(X509 *cert, EVP_PKEY *key, const struct plan *plan, struct syn_err *err)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int rc = SYN_OK;

    if (X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
        ASN1_TIME_set(X509_getm_notBefore(cert), plan->from_s) == NULL ||
        ASN1_TIME_set(X509_getm_notAfter(cert), plan->until_s) == NULL ||
        X509_set_pubkey(cert, key) != 1)
        return SYN_FAIL(err, SYN_E_NOMEM, "filling a certificate");
    if (plan->count > 0)
        rc = add_names(cert, plan, err);
    if (rc < 0)
        return rc;
    if (!set_subject(subject, plan) ||
        X509_set_issuer_name(cert, plan->issuer != NULL ? X509_get_subject_name(plan->issuer)
                                                        : subject) != 1)
        return SYN_FAIL(err, SYN_E_NOMEM, "naming a certificate");
    rc = add_uses(cert, plan, err);
    if (rc < 0)
        return rc;
    if (X509_sign(cert, plan->issuer != NULL ? plan->issuer_key : key, EVP_sha256()) == 0)
        return SYN_FAIL(err, SYN_E_INTERNAL, "signing a certificate");
    return SYN_OK;
}

/* Key and certificate as one file: also the issuer's certificate, where that is another. */
static int
create(const char *path, const struct plan *plan, struct syn_err *err)
{
    SYN_SCOPED(pkey_scope) EVP_PKEY *key = NULL;
    SYN_SCOPED(x509_scope) X509 *cert = NULL;
    SYN_SCOPED(bio_scope) BIO *out = NULL;
    char *pem = NULL;
    long len;
    int rc;

    key = EVP_EC_gen("P-256");
    cert = X509_new();
    out = BIO_new(BIO_s_secmem());
    if (key == NULL || cert == NULL || out == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a key for %s", path);
    rc = fill_cert(cert, key, plan, err);
    if (rc < 0)
        return rc;
    if (PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(out, cert) != 1 ||
        (plan->issuer != NULL && PEM_write_bio_X509(out, plan->issuer) != 1))
        return SYN_FAIL(err, SYN_E_NOMEM, "writing key and certificate for %s", path);
    len = BIO_get_mem_data(out, &pem);
    return syn_secret_file_create(path, pem, (size_t)len, err);
}

/* From an hour ago, for clocks that are behind. */
static int
set_days(struct plan *plan, unsigned days, struct syn_err *err)
{
    int64_t now_s = (int64_t)time(NULL);

    if (days < 1 || days > 3650)
        return SYN_FAIL(err, SYN_E_INVALID, "a certificate is valid 1..3650 days, got %u", days);
    plan->from_s = now_s - 3600;
    plan->until_s = now_s + (int64_t)days * 24 * 3600;
    return SYN_OK;
}

static int
check_count(size_t count, struct syn_err *err)
{
    if (count < 1 || count > SYN_TLS_NAMES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a certificate takes 1..%d names, got %zu",
                        SYN_TLS_NAMES_MAX, count);
    return SYN_OK;
}

int
syn_tls_cert_create(const char *path, const char *const *names, size_t count, unsigned days,
                    struct syn_err *err)
{
    struct plan plan = {.names = names, .count = count};
    int rc = check_count(count, err);

    if (rc == SYN_OK)
        rc = set_days(&plan, days, err);
    if (rc < 0)
        return rc;
    plan.common = names[0];
    return create(path, &plan, err);
}

int
syn_tls_ca_create(const char *path, const char *name, unsigned days, struct syn_err *err)
{
    struct plan plan = {.common = name, .authority = true};
    int rc = set_days(&plan, days, err);

    return rc < 0 ? rc : create(path, &plan, err);
}

static int
open_pem(const char *path, BIO **ret, struct syn_err *err)
{
    errno = 0;
    *ret = BIO_new_file(path, "re");
    if (*ret != NULL)
        return SYN_OK;
    ERR_clear_error();
    return SYN_FAIL_SYS(err, errno != 0 ? errno : ENOMEM, "opening %s", path);
}

/* Into the plan; both are the caller's. */
static int
read_authority(const char *ca, struct plan *plan, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *in = NULL;
    int rc = open_pem(ca, &in, err);

    if (rc < 0)
        return rc;
    plan->issuer_key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    plan->issuer = PEM_read_bio_X509(in, NULL, NULL, NULL);
    ERR_clear_error();
    return plan->issuer_key != NULL && plan->issuer != NULL
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_CORRUPT, "%s is no authority's key and certificate", ca);
}

static void
plan_fini(struct plan *plan)
{
    X509_free(plan->issuer);
    EVP_PKEY_free(plan->issuer_key);
}

int
syn_tls_cert_issue(const char *ca, const char *path, const char *const *names, size_t count,
                   unsigned days, struct syn_err *err)
{
    SYN_SCOPED(plan_fini) struct plan plan = {.names = names, .count = count};
    int rc = check_count(count, err);

    if (rc == SYN_OK)
        rc = set_days(&plan, days, err);
    if (rc == SYN_OK)
        rc = read_authority(ca, &plan, err);
    if (rc < 0)
        return rc;
    plan.common = names[0];
    return create(path, &plan, err);
}

/* --- requests --------------------------------------------------------------------------------- */

static void
request_scope(X509_REQ **slot)
{
    X509_REQ_free(*slot);
}

static void
extensions_scope(STACK_OF(X509_EXTENSION) * *slot)
{
    sk_X509_EXTENSION_pop_free(*slot, X509_EXTENSION_free);
}

/* The names that are asked for. */
static int
ask_names(X509_REQ *request, const struct plan *plan, struct syn_err *err)
{
    SYN_SCOPED(extensions_scope) STACK_OF(X509_EXTENSION) *all = sk_X509_EXTENSION_new_null();
    SYN_BUF(san);
    X509_EXTENSION *ext;
    int rc = write_names(plan, &san, err);

    if (rc < 0)
        return rc;
    ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, syn_buf_text(&san));
    if (all == NULL || ext == NULL || sk_X509_EXTENSION_push(all, ext) <= 0) {
        X509_EXTENSION_free(ext);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate's request");
    }
    return X509_REQ_add_extensions(request, all) == 1
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate's request");
}

static int
add_pem(BIO *bio, struct syn_buf *out, struct syn_err *err)
{
    char *pem = NULL;
    long len = BIO_get_mem_data(bio, &pem);

    syn_buf_add(out, pem, (size_t)len);
    return syn_buf_ok(out, err);
}

int
syn_tls_request_create(const char *const *names, size_t count, struct syn_buf *key,
                       struct syn_buf *request, struct syn_err *err)
{
    SYN_SCOPED(pkey_scope) EVP_PKEY *pkey = EVP_EC_gen("P-256");
    SYN_SCOPED(request_scope) X509_REQ *req = X509_REQ_new();
    SYN_SCOPED(bio_scope) BIO *key_out = BIO_new(BIO_s_secmem());
    SYN_SCOPED(bio_scope) BIO *out = BIO_new(BIO_s_mem());
    const struct plan plan = {.names = names, .count = count};
    int rc = SYN_OK;

    if (pkey == NULL || req == NULL || key_out == NULL || out == NULL ||
        X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, pkey) != 1)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate's request");
    if (count > 0)
        rc = ask_names(req, &plan, err);
    if (rc < 0)
        return rc;
    if (X509_REQ_sign(req, pkey, EVP_sha256()) == 0 ||
        PEM_write_bio_PKCS8PrivateKey(key_out, pkey, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509_REQ(out, req) != 1)
        return SYN_FAIL(err, SYN_E_NOMEM, "writing a certificate's request");
    rc = add_pem(key_out, key, err);
    return rc < 0 ? rc : add_pem(out, request, err);
}

/* The key of a request that is signed with it. Borrowed from the request. */
static int
check_request(X509_REQ *request, EVP_PKEY **ret, struct syn_err *err)
{
    EVP_PKEY *key = request != NULL ? X509_REQ_get0_pubkey(request) : NULL;
    char group[32] = "";

    if (key == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "there is no request for a certificate in it");
    if (EVP_PKEY_is_a(key, "EC") != 1 ||
        EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        !syn_str_eq(group, SN_X9_62_prime256v1))
        return SYN_FAIL(err, SYN_E_INVALID, "a request for a certificate needs a key of P-256");
    if (X509_REQ_verify(request, key) != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "the request is not signed with the key in it");
    *ret = key;
    return SYN_OK;
}

int
syn_tls_request_sign(const char *ca, const char *pem, size_t len,
                     const struct syn_tls_identity *identity, struct syn_buf *out,
                     struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *in = BIO_new_mem_buf(pem, (int)SYN_MIN(len, (size_t)INT_MAX));
    SYN_SCOPED(bio_scope) BIO *text = BIO_new(BIO_s_mem());
    SYN_SCOPED(x509_scope) X509 *cert = X509_new();
    SYN_SCOPED(request_scope) X509_REQ *request = NULL;
    char below[DNS_NAME_MAX + 1];
    const char *const names[] = {identity->name, below};
    SYN_SCOPED(plan_fini)
    struct plan plan = {.common = identity->name,
                        .names = names,
                        .count = identity->below ? 2 : 1,
                        .uri = identity->uri,
                        .from_s = identity->from_ms / 1000,
                        .until_s = identity->until_ms / 1000,
                        .client = true};
    EVP_PKEY *key = NULL;
    int rc;

    if (in == NULL || text == NULL || cert == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");
    (void)snprintf(below, sizeof(below), "*.%s", identity->name);
    request = PEM_read_bio_X509_REQ(in, NULL, NULL, NULL);
    rc = check_request(request, &key, err);
    ERR_clear_error();
    if (rc == SYN_OK)
        rc = read_authority(ca, &plan, err);
    if (rc == SYN_OK)
        rc = fill_cert(cert, key, &plan, err);
    if (rc == SYN_OK && PEM_write_bio_X509(text, cert) != 1)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "writing a certificate");
    return rc < 0 ? rc : add_pem(text, out, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The first certificate of a file. */
static int
read_cert(const char *path, X509 **ret, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *in = NULL;
    int rc = open_pem(path, &in, err);

    if (rc < 0)
        return rc;
    *ret = PEM_read_bio_X509(in, NULL, NULL, NULL);
    ERR_clear_error();
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_CORRUPT, "%s holds no certificate", path);
}

int
syn_tls_cert_text(const char *path, struct syn_buf *out, struct syn_err *err)
{
    SYN_SCOPED(x509_scope) X509 *cert = NULL;
    SYN_SCOPED(bio_scope) BIO *text = NULL;
    int rc = read_cert(path, &cert, err);

    if (rc < 0)
        return rc;
    text = BIO_new(BIO_s_mem());
    if (text == NULL || PEM_write_bio_X509(text, cert) != 1)
        return SYN_FAIL(err, SYN_E_NOMEM, "writing a certificate");
    return add_pem(text, out, err);
}

int
syn_tls_cert_fingerprint(const char *path, char ret_hex[SYN_TLS_FINGERPRINT_SIZE],
                         struct syn_err *err)
{
    SYN_SCOPED(x509_scope) X509 *cert = NULL;
    uint8_t digest[SYN_SHA256_LEN];
    unsigned char *der = NULL;
    int len;
    int rc = read_cert(path, &cert, err);

    if (rc < 0)
        return rc;
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    if (len <= 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s holds a certificate without public key", path);
    syn_sha256(der, (size_t)len, digest);
    OPENSSL_free(der);
    syn_hex_encode(digest, sizeof(digest), ret_hex);
    return SYN_OK;
}

static void
names_scope(GENERAL_NAMES **slot)
{
    GENERAL_NAMES_free(*slot);
}

/* A name of a certificate as text; false: it is of another kind, or too long. */
static bool
name_text(const GENERAL_NAME *name, char *out, size_t size)
{
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &kind);
    const unsigned char *data;
    size_t len;

    if (kind != GEN_DNS && kind != GEN_IPADD)
        return false;
    data = ASN1_STRING_get0_data(value);
    len = (size_t)ASN1_STRING_length(value);
    if (kind == GEN_IPADD)
        return (len == 4 || len == 16) &&
               inet_ntop(len == 4 ? AF_INET : AF_INET6, data, out, (socklen_t)size) != NULL;
    if (len >= size || memchr(data, '\0', len) != NULL)
        return false;
    memcpy(out, data, len);
    out[len] = '\0';
    return is_host(out);
}

static int
read_times(const X509 *cert, struct syn_tls_look *ret)
{
    const ASN1_TIME *times[] = {X509_get0_notBefore(cert), X509_get0_notAfter(cert)};
    int64_t ms[2];

    for (size_t i = 0; i < SYN_LEN(times); i++) {
        struct tm tm;

        if (ASN1_TIME_to_tm(times[i], &tm) != 1)
            return -1;
        ms[i] = (int64_t)timegm(&tm) * 1000;
    }
    ret->from_ms = ms[0];
    ret->until_ms = ms[1];
    return 0;
}

int
syn_tls_cert_look(const char *pem, size_t len, struct syn_tls_look *ret, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *in = BIO_new_mem_buf(pem, (int)len);
    SYN_SCOPED(x509_scope) X509 *cert = NULL;
    SYN_SCOPED(names_scope) GENERAL_NAMES *names = NULL;
    SYN_SCOPED(bio_scope) BIO *issuer = BIO_new(BIO_s_mem());
    struct syn_tls_look look = {.count = 0};
    int got;

    if (in == NULL || issuer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");
    cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
    ERR_clear_error();
    if (cert == NULL || read_times(cert, &look) < 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "there is no certificate in it");
    names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && look.count < SYN_TLS_NAMES_MAX; i++)
        look.count += name_text(sk_GENERAL_NAME_value(names, i), look.names[look.count],
                                sizeof(look.names[0]));
    if (X509_NAME_print_ex(issuer, X509_get_issuer_name(cert), 0,
                           XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        got = BIO_read(issuer, look.issuer, sizeof(look.issuer) - 1);
        look.issuer[got > 0 ? got : 0] = '\0';
    }
    ERR_clear_error();
    *ret = look;
    return SYN_OK;
}
