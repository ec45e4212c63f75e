#include <synor/base/test.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/infra/tls_cert.h>

#include "tls_hosts_priv.h"

#define STEPS_MAX 20

/* A certificate for these names, with its key. */
static char *
make(const char *const *names, size_t count, size_t *ret_len)
{
    char path[300];
    FILE *file;
    struct syn_err err;
    char *text = calloc(1, 16384);

    assert_non_null(text);
    (void)snprintf(path, sizeof(path), "%s/one.pem", syn_test_dir());
    assert_done(syn_tls_cert_create(path, names, count, 10, &err), &err);
    file = fopen(path, "re");
    assert_non_null(file);
    *ret_len = fread(text, 1, 16383, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(unlink(path), 0);
    return text;
}

/* Append the parts of this kind. */
static void
add_part(const char *text, const char *kind, char *out, size_t cap)
{
    char first[64], last[64];
    const char *from, *to;

    (void)snprintf(first, sizeof(first), "-----BEGIN %s-----", kind);
    (void)snprintf(last, sizeof(last), "-----END %s-----\n", kind);
    from = strstr(text, first);
    assert_non_null(from);
    to = strstr(from, last);
    assert_non_null(to);
    (void)snprintf(out + strlen(out), cap - strlen(out), "%.*s",
                   (int)(to - from + (ptrdiff_t)strlen(last)), from);
}

static void
set(struct syn_tls_hosts *hosts, char *const *texts, size_t count)
{
    struct syn_tls_pem pems[8];
    struct syn_err err;

    for (size_t i = 0; i < count; i++)
        pems[i] = (struct syn_tls_pem){.data = texts[i], .len = strlen(texts[i])};
    assert_done(syn_tls_hosts_set(hosts, pems, count, &err), &err);
}

static int
choose(SSL *ssl, void *arg)
{
    return tls_hosts_apply(arg, ssl) ? 1 : 0;
}

/* Is the certificate that a client who asks for `name` gets one for `host`? */
static bool
serves(struct syn_tls_hosts *hosts, const char *name, const char *host)
{
    SSL_CTX *server_ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX *client_ctx = SSL_CTX_new(TLS_client_method());
    SSL *server, *client;
    BIO *left, *right;
    X509 *seen;
    bool done = false, fits;

    assert_true(server_ctx != NULL && client_ctx != NULL);
    SSL_CTX_set_cert_cb(server_ctx, choose, hosts);
    server = SSL_new(server_ctx);
    client = SSL_new(client_ctx);
    assert_true(server != NULL && client != NULL);
    assert_int_equal(BIO_new_bio_pair(&left, 0, &right, 0), 1);
    SSL_set_bio(server, left, left);
    SSL_set_bio(client, right, right);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    if (name != NULL) /* SSL_set_tlsext_host_name(), whose cast clang warns of */
        assert_int_equal(SSL_ctrl(client, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                                  (void *)(uintptr_t)name),
                         1);
    for (int i = 0; i < STEPS_MAX && !done; i++) {
        done = SSL_do_handshake(client) == 1;
        (void)SSL_do_handshake(server);
    }
    seen = SSL_get1_peer_certificate(client);
    fits = done && seen != NULL && X509_check_host(seen, host, 0, 0, NULL) == 1;
    X509_free(seen);
    SSL_free(server);
    SSL_free(client);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    return fits;
}

static void
names_choose(void **state)
{
    static const char *const any[] = {"localhost"}, *const shop[] = {"shop.example"},
                             *const wild[] = {"*.shop.example"},
                             *const more[] = {"api.shop.example", "shop.example"};
    struct syn_tls_hosts *hosts = NULL;
    struct syn_tls_pem pems[2];
    struct syn_err err;
    size_t len;
    char *texts[] = {make(any, 1, &len), make(shop, 1, &len), make(wild, 1, &len),
                     make(more, 2, &len)};

    (void)state;
    assert_done(syn_tls_hosts_new(&hosts, &err), &err);
    assert_false(syn_tls_hosts_ready(hosts));
    assert_false(serves(hosts, "shop.example", "shop.example"));
    set(hosts, texts, 4);
    assert_true(syn_tls_hosts_ready(hosts));
    assert_true(serves(hosts, "shop.example", "shop.example"));
    assert_true(serves(hosts, "SHOP.example", "shop.example"));
    assert_false(serves(hosts, "shop.example", "api.shop.example")); /* the first has it */
    assert_true(serves(hosts, "api.shop.example", "shop.example"));  /* exact before any */
    assert_true(serves(hosts, "www.shop.example", "other.shop.example"));
    assert_true(serves(hosts, "a.www.shop.example", "localhost"));
    assert_true(serves(hosts, "other.example", "localhost"));
    assert_true(serves(hosts, NULL, "localhost"));
    set(hosts, texts + 1, 1);
    assert_true(serves(hosts, "other.example", "shop.example"));
    /* One that is for one host only, whatever else it has. */
    pems[0] = (struct syn_tls_pem){.data = texts[0], .len = strlen(texts[0])};
    pems[1] =
        (struct syn_tls_pem){.data = texts[3], .len = strlen(texts[3]), .host = "api.shop.example"};
    assert_done(syn_tls_hosts_set(hosts, pems, 2, &err), &err);
    assert_true(serves(hosts, "api.shop.example", "shop.example"));
    assert_true(serves(hosts, "shop.example", "localhost"));
    hosts = syn_tls_hosts_free(hosts);
    for (size_t i = 0; i < SYN_LEN(texts); i++)
        free(texts[i]);
}

static void
what_is_none_changes_nothing(void **state)
{
    static const char *const shop[] = {"shop.example"};
    struct syn_tls_hosts *hosts = NULL;
    struct syn_err err;
    size_t len, other_len;
    char *good = make(shop, 1, &len), *other = make(shop, 1, &other_len);
    char mixed[32768] = "";
    struct syn_tls_pem pems[] = {{.data = good, .len = len}, {.data = "no certificate", .len = 14}};

    (void)state;
    assert_done(syn_tls_hosts_new(&hosts, &err), &err);
    set(hosts, &good, 1);
    assert_code(syn_tls_hosts_set(hosts, pems, 2, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "certificate 2"));
    add_part(good, "CERTIFICATE", mixed, sizeof(mixed));
    add_part(other, "PRIVATE KEY", mixed, sizeof(mixed));
    pems[1] = (struct syn_tls_pem){.data = mixed, .len = strlen(mixed)};
    assert_code(syn_tls_hosts_set(hosts, pems, 2, &err), SYN_E_INVALID, &err);
    assert_true(serves(hosts, "shop.example", "shop.example"));
    hosts = syn_tls_hosts_free(hosts);
    free(good);
    free(other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_choose),
        cmocka_unit_test(what_is_none_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
