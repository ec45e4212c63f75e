/* A server's own TLS identity: an ECDSA P-256 key and its certificate, both in one PEM file, so
 * that they can never be a mismatched pair. A self-signed one's fingerprint is pinned by clients;
 * those that an authority of ours signed are trusted by who trusts the authority. */
#ifndef SYNOR_INFRA_TLS_CERT_H
#define SYNOR_INFRA_TLS_CERT_H

#include <synor/base/buf.h>
#include <synor/base/err.h>

/** 64 hexadecimal digits and a zero. */
#define SYN_TLS_FINGERPRINT_SIZE 65
#define SYN_TLS_NAMES_MAX        32

/** Make key and certificate at `path`, mode 0600, valid from an hour ago for `days` days. `names`
 * are host names and IP addresses, 1 .. SYN_TLS_NAMES_MAX of them. Blocks: yes. Returns 0; EXISTS
 * when there is a file; INVALID for a bad name. */
SYN_MUST int syn_tls_cert_create(const char *path, const char *const *names, size_t count,
                                 unsigned days, struct syn_err *err);
/** Make an authority's key and certificate at `path`, mode 0600: it signs servers' and no
 *  authorities. Blocks: yes. Returns as syn_tls_cert_create(). */
SYN_MUST int syn_tls_ca_create(const char *path, const char *name, unsigned days,
                               struct syn_err *err);
/** As syn_tls_cert_create(), signed by the authority in the file `ca`, whose certificate comes
 *  behind. Also CORRUPT: `ca` is none. */
SYN_MUST int syn_tls_cert_issue(const char *ca, const char *path, const char *const *names,
                                size_t count, unsigned days, struct syn_err *err);
/** Make a key, and a request (PKCS #10) for a certificate of it with these names, which may be
 * none; PEM is appended to both. The caller wipes the key. Returns 0; INVALID for a bad name;
 * NOMEM. */
SYN_MUST int syn_tls_request_create(const char *const *names, size_t count, struct syn_buf *key,
                                    struct syn_buf *request, struct syn_err *err);
/** What a certificate says of who has it. */
struct syn_tls_identity {
    const char *name; /* a host name; also the subject's user id (UID) and, if short, common name */
    const char *uri;  /* or NULL */
    bool below;       /* also for what has one more label in front of the name */
    int64_t from_ms, until_ms;
};
/** Append a certificate of the request's key, signed by the authority in the file `ca`, for servers
 *  and clients. Nothing that the request says of names is believed. Blocks: yes.
 *  Returns 0; INVALID: it is no request, not signed with its own key, or that is not of P-256;
 *  CORRUPT: `ca` is no authority. */
SYN_MUST int syn_tls_request_sign(const char *ca, const char *pem, size_t len,
                                  const struct syn_tls_identity *identity, struct syn_buf *out,
                                  struct syn_err *err);
/** Append the first certificate of `path`, and nothing of its key. Blocks: yes. Returns 0;
 * NOTFOUND; CORRUPT. */
SYN_MUST int syn_tls_cert_text(const char *path, struct syn_buf *out, struct syn_err *err);
/** SHA-256 over the public key (SubjectPublicKeyInfo, DER) of the first certificate in `path`: it
 *  survives a renewal with the same key, and is what `openssl x509 -pubkey` and curl's pins digest.
 *  Blocks: yes. Returns 0; NOTFOUND; CORRUPT. */
SYN_MUST int syn_tls_cert_fingerprint(const char *path, char ret_hex[SYN_TLS_FINGERPRINT_SIZE],
                                      struct syn_err *err);

/** What the first certificate of a PEM says of itself. */
struct syn_tls_look {
    int64_t from_ms, until_ms;
    char issuer[256];                   /* "CN=...,O=..." */
    char names[SYN_TLS_NAMES_MAX][254]; /* host names and addresses; more are left out */
    size_t count;
};
/** CORRUPT: there is no certificate in it. */
SYN_MUST int syn_tls_cert_look(const char *pem, size_t len, struct syn_tls_look *ret,
                               struct syn_err *err);

#endif
