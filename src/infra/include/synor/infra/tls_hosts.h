/* Certificates by the name that a client asks for (SNI). They are replaced as a whole while
 * connections come and go: who has begun goes on with what it began with. */
#ifndef SYNOR_INFRA_TLS_HOSTS_H
#define SYNOR_INFRA_TLS_HOSTS_H

#include <stddef.h>

#include <synor/base/err.h>

struct syn_tls_hosts;

/** Certificate, chain and key in one text, as syn_balancer_pem() makes them. Borrowed. */
struct syn_tls_pem {
    const char *data;
    size_t len;
    const char *host; /* the one name that it is for; NULL: all that it has */
};

/** None yet: every handshake fails. */
SYN_MUST int syn_tls_hosts_new(struct syn_tls_hosts **ret, struct syn_err *err);
/** Not before what serves with it is gone. NULL is fine. Returns NULL. */
struct syn_tls_hosts *syn_tls_hosts_free(struct syn_tls_hosts *hosts);

/**
 * Have these, and no others, from now on. A certificate is for the host names that it has
 * ("*.a.example" is one label), or for one; of two with the same the first one is taken. The first
 * is also for names that none has, and for clients that name none.
 *
 * Thread: any. Returns 0; INVALID: one of them is none or has another key, and all is as it was;
 * NOMEM.
 */
SYN_MUST int syn_tls_hosts_set(struct syn_tls_hosts *hosts, const struct syn_tls_pem *pems,
                               size_t count, struct syn_err *err);
/** Are there any? Thread: any. */
bool syn_tls_hosts_ready(struct syn_tls_hosts *hosts);

#endif
