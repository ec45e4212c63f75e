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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cert_create),
        cmocka_unit_test(test_cert_refuses),
        cmocka_unit_test(test_cert_look),
    };

    return cmocka_run_group_tests_name("tls_cert", tests, NULL, NULL);
}
