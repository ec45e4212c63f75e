#include <synor/base/test.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <synor/base/str.h>
#include <synor/infra/tls_cert.h>

static void
test_cert_create(void **state)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1", "node1.example"};
    char path[512];
    char fingerprint[SYN_TLS_FINGERPRINT_SIZE] = "";
    char again[SYN_TLS_FINGERPRINT_SIZE] = "";
    struct stat st;
    struct syn_err err;
    FILE *file;
    X509 *cert;
    EVP_PKEY *key;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/tls.pem", syn_test_dir());
    assert_code(syn_tls_cert_fingerprint(path, fingerprint, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_tls_cert_create(path, names, SYN_LEN(names), 365, &err), &err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_code(syn_tls_cert_create(path, names, SYN_LEN(names), 365, &err), SYN_E_EXISTS, &err);
    assert_done(syn_tls_cert_fingerprint(path, fingerprint, &err), &err);
    assert_done(syn_tls_cert_fingerprint(path, again, &err), &err);
    assert_int_equal(strlen(fingerprint), 64);
    assert_string_equal(fingerprint, again);

    file = fopen(path, "re");
    assert_non_null(file);
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    cert = PEM_read_X509(file, NULL, NULL, NULL);
    (void)fclose(file);
    assert_non_null(key);
    assert_non_null(cert);
    assert_int_equal(X509_check_private_key(cert, key), 1);
    assert_int_equal(X509_check_host(cert, "node1.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "node2.example", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    assert_int_equal(X509_verify(cert, key), 1);
    assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(cert)), -1);
    assert_int_equal(X509_cmp_current_time(X509_get0_notAfter(cert)), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void
test_cert_refuses(void **state)
{
    static const char *const bad[] = {"", "a b", "a,DNS:evil", "a..b", ".a", "x\ny", "a/b"};
    const char *good = "a.example";
    char path[512];
    char fingerprint[SYN_TLS_FINGERPRINT_SIZE];
    struct syn_err err;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/bad.pem", syn_test_dir());
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_code(syn_tls_cert_create(path, &bad[i], 1, 10, &err), SYN_E_INVALID, &err);
    assert_code(syn_tls_cert_create(path, &good, 0, 10, &err), SYN_E_INVALID, &err);
    assert_code(syn_tls_cert_create(path, &good, 1, 0, &err), SYN_E_INVALID, &err);
    assert_code(syn_tls_cert_fingerprint("/dev/null", fingerprint, &err), SYN_E_CORRUPT, &err);
}

/* What a certificate says of itself is what it was made with. */
static void
test_cert_look(void **state)
{
    static const char *const names[] = {"a.example", "*.b.example", "127.0.0.1", "::1"};
    char path[256];
    struct syn_tls_look look;
    struct syn_err err;
    SYN_BUF(pem);

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/look.pem", syn_test_dir());
    assert_done(syn_tls_cert_create(path, names, SYN_LEN(names), 3, &err), &err);
    assert_done(syn_tls_cert_text(path, &pem, &err), &err);
    assert_done(syn_tls_cert_look(pem.data, pem.len, &look, &err), &err);
    assert_int_equal(look.count, SYN_LEN(names));
    for (size_t i = 0; i < look.count; i++)
        assert_string_equal(look.names[i], names[i]);
    assert_true(look.until_ms - look.from_ms >= INT64_C(3) * 24 * 3600 * 1000);
    assert_non_null(strstr(look.issuer, "a.example"));
    assert_code(syn_tls_cert_look("nothing", 7, &look, &err), SYN_E_CORRUPT, &err);
}

/* --- requests --------------------------------------------------------------------------------- */

static X509 *
parse_cert(const struct syn_buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free_all(bio);
    assert_non_null(cert);
    return cert;
}

static bool
has_uri(X509 *cert, const char *uri)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int kind;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &kind);

        found = found ||
                (kind == GEN_URI && syn_str_eq((const char *)ASN1_STRING_get0_data(value), uri));
    }
    GENERAL_NAMES_free(names);
    return found;
}

static void
assert_subject(X509 *cert, int nid, const char *expected)
{
    char text[256] = "";

    assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(cert), nid, text, sizeof(text)) >
                0);
    assert_string_equal(text, expected);
}

static const struct syn_tls_identity web = {.name = "web.acme.mesh",
                                            .uri = "spiffe://c1/account/acme/service/web",
                                            .from_ms = 1700000000000,
                                            .until_ms = 1700003600000};

/* The names are the signer's, whatever the request asks for. */
static void
test_request_sign(void **state)
{
    static const char *const asked[] = {"bank.acme.mesh"};
    static const char lengthy[] =
        "a23456789-123456789-123456789-123456789.a23456789-123456789-12345.mesh";
    char ca[256];
    struct syn_tls_look look;
    struct syn_err err;
    SYN_BUF(key);
    SYN_BUF(request);
    SYN_BUF(pem);
    SYN_BUF(authority);
    X509 *cert, *issuer;

    (void)state;
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", syn_test_dir());
    assert_done(syn_tls_ca_create(ca, "authority", 10, &err), &err);
    assert_done(syn_tls_request_create(asked, 1, &key, &request, &err), &err);
    assert_done(syn_tls_request_sign(ca, request.data, request.len, &web, &pem, &err), &err);
    assert_done(syn_tls_cert_look(pem.data, pem.len, &look, &err), &err);
    assert_int_equal(look.from_ms, web.from_ms);
    assert_int_equal(look.until_ms, web.until_ms);
    assert_int_equal(look.count, 1);
    assert_string_equal(look.names[0], "web.acme.mesh");
    assert_done(syn_tls_cert_text(ca, &authority, &err), &err);
    issuer = parse_cert(&authority);
    cert = parse_cert(&pem);
    assert_true(has_uri(cert, web.uri));
    assert_subject(cert, NID_commonName, "web.acme.mesh");
    assert_subject(cert, NID_userId, "web.acme.mesh");
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(issuer)), 1);
    assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0), 1);
    assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), 1);
    assert_int_equal(X509_check_ca(cert), 0);
    X509_free(cert);

    /* One that no common name holds is whole in the others. */
    pem.len = 0;
    assert_true(sizeof(lengthy) > 65);
    assert_done(syn_tls_request_sign(ca, request.data, request.len,
                                     &(struct syn_tls_identity){.name = lengthy, .until_ms = 1000},
                                     &pem, &err),
                &err);
    cert = parse_cert(&pem);
    assert_subject(cert, NID_userId, lengthy);
    assert_int_equal(X509_check_host(cert, lengthy, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL),
                     1);
    X509_free(cert);
    X509_free(issuer);
}

/* A request that was changed under way, of another kind of key, or none at all. */
static void
test_request_refuses(void **state)
{
    char ca[256];
    struct syn_tls_identity evil = web;
    struct syn_err err;
    SYN_BUF(key);
    SYN_BUF(request);
    SYN_BUF(out);
    EVP_PKEY *other = EVP_EC_gen("P-384");
    X509_REQ *req = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    (void)state;
    (void)snprintf(ca, sizeof(ca), "%s/ca2.pem", syn_test_dir());
    assert_done(syn_tls_ca_create(ca, "authority", 10, &err), &err);
    assert_done(syn_tls_request_create(NULL, 0, &key, &request, &err), &err);
    assert_code(syn_tls_request_sign(ca, "x", 1, &web, &out, &err), SYN_E_INVALID, &err);
    assert_code(syn_tls_request_sign(ca, key.data, key.len, &web, &out, &err), SYN_E_INVALID, &err);
    evil.uri = "spiffe://c1/a,DNS:b";
    assert_code(syn_tls_request_sign(ca, request.data, request.len, &evil, &out, &err),
                SYN_E_INVALID, &err);
    assert_code(syn_tls_request_sign("/dev/null", request.data, request.len, &web, &out, &err),
                SYN_E_CORRUPT, &err);

    assert_int_equal(X509_REQ_set_pubkey(req, other), 1);
    assert_true(X509_REQ_sign(req, other, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
    len = BIO_get_mem_data(bio, &text);
    assert_code(syn_tls_request_sign(ca, text, (size_t)len, &web, &out, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "P-256"));

    /* Another's key under this one's signature: nobody gets a certificate for what is not his. */
    {
        EVP_PKEY *stolen = EVP_EC_gen("P-256"), *own = EVP_EC_gen("P-256");

        assert_int_equal(X509_REQ_set_pubkey(req, stolen), 1);
        assert_true(X509_REQ_sign(req, own, EVP_sha256()) > 0);
        assert_int_equal(BIO_reset(bio), 1);
        assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
        len = BIO_get_mem_data(bio, &text);
        assert_code(syn_tls_request_sign(ca, text, (size_t)len, &web, &out, &err), SYN_E_INVALID,
                    &err);
        assert_non_null(strstr(err.msg, "not signed"));
        EVP_PKEY_free(stolen);
        EVP_PKEY_free(own);
    }
    assert_int_equal(out.len, 0);
    BIO_free_all(bio);
    X509_REQ_free(req);
    EVP_PKEY_free(other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cert_create),     cmocka_unit_test(test_cert_refuses),
        cmocka_unit_test(test_cert_look),       cmocka_unit_test(test_request_sign),
        cmocka_unit_test(test_request_refuses),
    };

    return cmocka_run_group_tests_name("tls_cert", tests, NULL, NULL);
}
