/* A certificate as it was given, taken apart and written anew: what HAProxy reads is ours, in one
 * order (certificate, chain, key), without comments, and the key is the certificate's. */
#include "balancer_priv.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <synor/base/mem.h>

#define CHAIN_MAX 10

struct parts {
    X509 *certs[CHAIN_MAX];
    size_t count;
    EVP_PKEY *key;
};

static void
parts_scope(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        X509_free(parts->certs[i]);
    EVP_PKEY_free(parts->key);
    ERR_clear_error();
}

static void
bio_scope(BIO **slot)
{
    BIO_free_all(*slot);
}

/* No question on the terminal. */
static int
no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

static int
read_certs(const char *pem, size_t len, struct parts *parts, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    X509 *cert;

    if (bio == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");
    while ((cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL) {
        if (parts->count == CHAIN_MAX) {
            X509_free(cert);
            return SYN_FAIL(err, SYN_E_INVALID, "more than %d certificates", CHAIN_MAX);
        }
        parts->certs[parts->count++] = cert;
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return SYN_FAIL(err, SYN_E_INVALID, "a certificate cannot be read");
    if (parts->count == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "there is no certificate in it");
    return SYN_OK;
}

static int
read_key(const char *pem, size_t len, struct parts *parts, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *bio = BIO_new_mem_buf(pem, (int)len);

    if (bio == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
    parts->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (parts->key == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "there is no key in it that can be read");
    return SYN_OK;
}

/* The one whose key it is goes first. */
static int
put_first(struct parts *parts, struct syn_err *err)
{
    for (size_t i = 0; i < parts->count; i++) {
        X509 *cert = parts->certs[i];

        if (X509_check_private_key(cert, parts->key) != 1)
            continue;
        parts->certs[i] = parts->certs[0];
        parts->certs[0] = cert;
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_INVALID, "the key is not the certificate's");
}

static int
write_parts(const struct parts *parts, char **ret_pem, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *bio = BIO_new(BIO_s_secmem());
    char *data = NULL;
    bool good = bio != NULL;
    long len;

    for (size_t i = 0; good && i < parts->count; i++)
        good = PEM_write_bio_X509(bio, parts->certs[i]) == 1;
    good = good && PEM_write_bio_PrivateKey(bio, parts->key, NULL, NULL, 0, NULL, NULL) == 1;
    if (!good)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");
    len = BIO_get_mem_data(bio, &data);
    *ret_pem = syn_strndup(data, (size_t)len);
    return *ret_pem == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate") : SYN_OK;
}

int
syn_balancer_pem(const char *pem, size_t len, char **ret_pem, struct syn_err *err)
{
    SYN_SCOPED(parts_scope) struct parts parts = {.count = 0};
    int rc;

    if (len > LB_PEM_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "larger than %zu bytes", LB_PEM_BYTES_MAX);
    ERR_clear_error();
    rc = read_certs(pem, len, &parts, err);
    if (rc == SYN_OK)
        rc = read_key(pem, len, &parts, err);
    if (rc == SYN_OK)
        rc = put_first(&parts, err);
    return rc < 0 ? rc : write_parts(&parts, ret_pem, err);
}
