/* Certificates from an ACME directory (RFC 8555), for hosts that prove themselves by HTTP-01.
 *
 * The protocol is spoken by a program, lego; here it is given what it needs in a folder of its own,
 * and what comes of it is read. The account is a key and nothing else: a directory tells the
 * account of a known key. Challenges are answered without knowing them, since what a directory
 * wants to read at /.well-known/acme-challenge/TOKEN is TOKEN, a dot, and the thumbprint of that
 * key. docs/adr/0038-acme.md says why it is so. */
#ifndef SYNOR_INFRA_ACME_H
#define SYNOR_INFRA_ACME_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_ACME_PATH            "/.well-known/acme-challenge"
#define SYN_ACME_THUMBPRINT_SIZE 44 /* SHA-256 in base64url, and a zero */
#define SYN_ACME_URL_MAX         255
#define SYN_ACME_CONTACT_MAX     254
#define SYN_ACME_REASON_MAX      200

/** Who gives certificates, and who asks. Borrowed. */
struct syn_acme_directory {
    const char *url;     /* https */
    const char *contact; /* "ops@example.com", also with "mailto:" before it */
    const char
        *ca_file; /* PEM: who vouches for the directory's own certificate; NULL: the system */
    const char *program; /* NULL: as syn_acme_find() finds it */
};

/** The path of lego on this machine. NOTFOUND. */
SYN_MUST int syn_acme_find(char *ret_path, size_t size, struct syn_err *err);
/** INVALID, naming the option of `synor up` that is wrong. */
SYN_MUST int syn_acme_check(const struct syn_acme_directory *directory, struct syn_err *err);
/** Can a host prove itself by HTTP-01? Small letters, with a dot, no address and no wildcard. */
bool syn_acme_host_ok(const char *host);

/** Draw an account's key, as PEM. Owner: *ret_pem is the caller's, who wipes it. */
SYN_MUST int syn_acme_key_new(char **ret_pem, struct syn_err *err);
/** Its thumbprint (RFC 7638). CORRUPT: it is none of syn_acme_key_new(). */
SYN_MUST int syn_acme_thumbprint(const char *key_pem, char ret[SYN_ACME_THUMBPRINT_SIZE],
                                 struct syn_err *err);

struct syn_acme_order {
    const struct syn_acme_directory *directory;
    const char *account_key; /* PEM */
    const char *host;
    const char *scratch; /* a folder that is made for it, and removed after */
    int stop_fd;         /* as soon as it can be read, the order is given up; -1: never */
};
/**
 * Get a certificate with a key of its own; challenges of the account must be answered.
 *
 * Owner: *ret_pem (certificate, chain, key, as syn_balancer_pem()) is the caller's, who wipes it.
 * Blocks: seconds, minutes at most. Returns 0; NOTFOUND (there is no lego); UNAVAILABLE with what
 * the directory says; TIMEOUT; CANCELED; IO; NOMEM.
 */
SYN_MUST int syn_acme_obtain(const struct syn_acme_order *order, char **ret_pem,
                             struct syn_err *err);
/** What lego says went wrong, in a sentence that holds no control character. */
void syn_acme_reason(const char *said, char ret[SYN_ACME_REASON_MAX]);

/** What has come of a host's certificate so far; all zero: nothing yet. */
struct syn_acme_history {
    int64_t from_ms, until_ms; /* of the certificate that there is */
    unsigned failures;         /* in a row since */
    int64_t failed_ms;         /* the last of them */
};
/**
 * When the next attempt is due: at two thirds of the certificate's life, or at once without one;
 * after failures 2 min later, then 4, 8, to 12 h. A failure in the future (the clock was set back)
 * does not count. Pure.
 */
int64_t syn_acme_due_ms(const struct syn_acme_history *history, int64_t now_ms);

#endif
