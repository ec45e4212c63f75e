/* A webhook on its way out: one POST to an address that a tenant has named, with the bounds that a
 * stranger's server needs. Redirections are not followed, no proxy of the environment is asked, and
 * where a name leads is looked at when the connection is made: not before, when it may lead
 * elsewhere. */
#ifndef SYNOR_INFRA_WEBHOOK_POST_H
#define SYNOR_INFRA_WEBHOOK_POST_H

#include <stdatomic.h>

#include <sys/socket.h>

#include <synor/infra/webhook.h>

#define SYN_WEBHOOK_URL_MAX 512

/** Is it https://HOST[:PORT][/PATH][?QUERY], or with `private_ok` http://? INVALID says what it
 * should be: a name and password within it, and a fragment, are refused. */
SYN_MUST int syn_webhook_url_check(const char *url, bool private_ok, struct syn_err *err);

/** May `address` be called? The internet's; with `private_ok` private networks and this machine.
 * Never link-local ones, where clouds keep their machines' credentials. */
bool syn_webhook_address_ok(const struct sockaddr *address, bool private_ok);

/** Borrowed for the call. */
struct syn_webhook_post {
    const char *url, *id;
    const char *secret; /* what it is signed with; NULL: nothing */
    const void *body;   /* JSON */
    size_t body_len;
    int64_t at_s;     /* of the signature */
    int64_t total_ms; /* for all of it; 0: 10 s */
    bool private_ok;
    const atomic_bool *cancel; /* any thread may set it; NULL: nobody does */
};

/** What was answered: its status, and after how many ms it wants to be asked again (0: not said).
 */
struct syn_webhook_answer {
    int status;
    int64_t after_ms;
};

/**
 * Send it and wait for the answer, of which the body is read up to a bound and dropped.
 *
 * Blocks: yes. Returns 0 whatever was answered; FORBIDDEN: the address may not be called;
 * UNAVAILABLE, also where its certificate is not trusted; TIMEOUT, CANCELED, INVALID (the URL),
 * NOMEM.
 */
SYN_MUST int syn_webhook_send(const struct syn_webhook_post *post, struct syn_webhook_answer *ret,
                              struct syn_err *err);

#endif
