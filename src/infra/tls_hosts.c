#include "tls_hosts_priv.h"

#include <ctype.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define NAME_MAX_BYTES 254
#define CHAIN_MAX      16

/* One of them. The map's values are borrowed from the list. */
struct identity {
    struct identity *next;
    X509 *leaf;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

struct set {
    struct identity *first; /* in the order given */
    struct syn_map *names;  /* "a.example", "*.a.example" -> struct identity */
};

struct syn_tls_hosts {
    pthread_mutex_t lock;
    struct set now; /* under `lock` */
};

/* --- reading ---------------------------------------------------------------------------------- */

static void
identity_free(struct identity *identity)
{
    X509_free(identity->leaf);
    EVP_PKEY_free(identity->key);
    sk_X509_pop_free(identity->chain, X509_free);
    syn_free(identity);
}

static void
set_fini(struct set *set)
{
    while (set->first != NULL) {
        struct identity *identity = set->first;

        set->first = identity->next;
        identity_free(identity);
    }
    set->names = syn_map_free(set->names);
}

/* No passphrase is asked for: there is nobody to answer. */
static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

static bool
read_chain(BIO *bio, struct identity *identity)
{
    X509 *next;
    unsigned count = 0;

    identity->leaf = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    identity->chain = sk_X509_new_null();
    if (identity->leaf == NULL || identity->chain == NULL)
        return false;
    while (count++ < CHAIN_MAX &&
           (next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        if (sk_X509_push(identity->chain, next) <= 0) {
            X509_free(next);
            return false;
        }
    }
    return true;
}

static int
read_pem(const struct syn_tls_pem *pem, struct identity **ret, struct syn_err *err)
{
    struct identity *identity = syn_calloc(1, sizeof(*identity));
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    int rc = SYN_OK;

    if (identity == NULL || bio == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate");
    else if (!read_chain(bio, identity))
        rc = SYN_FAIL(err, SYN_E_INVALID, "no certificate");
    BIO_free(bio);
    bio = rc == SYN_OK ? BIO_new_mem_buf(pem->data, (int)pem->len) : NULL;
    if (bio != NULL)
        identity->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (rc == SYN_OK && identity->key == NULL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "no key, or one with a passphrase");
    if (rc == SYN_OK && X509_check_private_key(identity->leaf, identity->key) != 1)
        rc = SYN_FAIL(err, SYN_E_INVALID, "the key is not the certificate's");
    ERR_clear_error();
    if (rc < 0 && identity != NULL)
        identity_free(identity);
    else if (rc == SYN_OK)
        *ret = identity;
    return rc;
}

/* --- names ------------------------------------------------------------------------------------ */

/* In small letters, without the dot at its end. False: it is no name that anybody asks for. */
static bool
name_copy(const char *from, size_t len, char to[NAME_MAX_BYTES])
{
    if (len > 0 && from[len - 1] == '.')
        len--;
    if (len == 0 || len >= NAME_MAX_BYTES || memchr(from, '\0', len) != NULL)
        return false;
    for (size_t i = 0; i < len; i++)
        to[i] = (char)tolower((unsigned char)from[i]);
    to[len] = '\0';
    return true;
}

static int
add_name(struct set *set, const char *text, size_t len, struct identity *identity,
         struct syn_err *err)
{
    char name[NAME_MAX_BYTES];

    if (!name_copy(text, len, name) || syn_map_find(set->names, name) != NULL)
        return SYN_OK;
    return syn_map_put_take(set->names, name, identity, err);
}

static int
add_names(struct set *set, struct identity *identity, struct syn_err *err)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(identity->leaf, NID_subject_alt_name, NULL, NULL);
    int rc = SYN_OK;

    for (int i = 0; rc == SYN_OK && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *at = sk_GENERAL_NAME_value(names, i);
        const ASN1_STRING *text = at->type == GEN_DNS ? at->d.dNSName : NULL;

        if (text != NULL)
            rc = add_name(set, (const char *)ASN1_STRING_get0_data(text),
                          (size_t)ASN1_STRING_length(text), identity, err);
    }
    GENERAL_NAMES_free(names);
    return rc;
}

static const struct identity *
find(const struct set *set, const char *asked)
{
    const struct identity *found = NULL;
    char name[NAME_MAX_BYTES];
    const char *dot;

    if (asked != NULL && name_copy(asked, strlen(asked), name)) {
        found = syn_map_find(set->names, name);
        dot = strchr(name, '.');
        if (found == NULL && dot != NULL && dot > name) {
            name[dot - name - 1] = '*';
            found = syn_map_find(set->names, dot - 1);
        }
    }
    return found != NULL ? found : set->first;
}

/* --- what is called --------------------------------------------------------------------------- */

bool
tls_hosts_apply(struct syn_tls_hosts *hosts, SSL *ssl)
{
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct identity *identity;
    bool done;

    (void)pthread_mutex_lock(&hosts->lock);
    identity = hosts->now.first != NULL ? find(&hosts->now, asked) : NULL;
    done = identity != NULL &&
           SSL_use_cert_and_key(ssl, identity->leaf, identity->key, identity->chain, 1) == 1;
    (void)pthread_mutex_unlock(&hosts->lock);
    return done;
}

int
syn_tls_hosts_set(struct syn_tls_hosts *hosts, const struct syn_tls_pem *pems, size_t count,
                  struct syn_err *err)
{
    struct set next = {.first = NULL};
    struct set last;
    struct identity **end = &next.first;
    int rc = syn_map_new(NULL, &next.names, err);

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        rc = read_pem(&pems[i], end, err);
        if (rc == SYN_OK)
            rc = pems[i].host != NULL
                     ? add_name(&next, pems[i].host, strlen(pems[i].host), *end, err)
                     : add_names(&next, *end, err);
        else
            rc = syn_err_wrap(err, rc, "certificate %zu", i + 1);
        if (rc == SYN_OK)
            end = &(*end)->next;
    }
    if (rc < 0) {
        set_fini(&next);
        return rc;
    }
    (void)pthread_mutex_lock(&hosts->lock);
    last = hosts->now;
    hosts->now = next;
    (void)pthread_mutex_unlock(&hosts->lock);
    set_fini(&last);
    return SYN_OK;
}

bool
syn_tls_hosts_ready(struct syn_tls_hosts *hosts)
{
    bool ready;

    (void)pthread_mutex_lock(&hosts->lock);
    ready = hosts->now.first != NULL;
    (void)pthread_mutex_unlock(&hosts->lock);
    return ready;
}

int
syn_tls_hosts_new(struct syn_tls_hosts **ret, struct syn_err *err)
{
    struct syn_tls_hosts *hosts = syn_calloc(1, sizeof(*hosts));

    if (hosts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    (void)pthread_mutex_init(&hosts->lock, NULL);
    *ret = hosts;
    return SYN_OK;
}

struct syn_tls_hosts *
syn_tls_hosts_free(struct syn_tls_hosts *hosts)
{
    if (hosts == NULL)
        return NULL;
    set_fini(&hosts->now);
    (void)pthread_mutex_destroy(&hosts->lock);
    syn_free(hosts);
    return NULL;
}
