/* The gateway: HAProxy's table is kept equal to the ready replicas of all services.
 *
 *   news of a service --> inbox --> the gateway's thread: one record a service (service.c)
 *                                     |  all records -> one table (table.c)
 *                                     v
 *                                   syn_balancer_set()      what is in rotation is noted: who has
 *                                     |                     what may be asked at any time
 *                                     v
 *                                   replicas that drain are asked for what they have left
 *
 * Nothing here is kept over a restart: documents and HAProxy are, and the latter goes on meanwhile.
 * docs/gateway.md is for operators, docs/adr/0023-gateway.md says why it is so. */
#ifndef SYN_GATEWAY_PRIV_H
#define SYN_GATEWAY_PRIV_H

#include <synor/base/json.h>
#include <synor/base/map.h>
#include <synor/base/world.h>
#include <synor/infra/balancer.h>

#define GTW_ADDRESS_SIZE 64
#define GTW_BACKEND_SIZE (SYN_BALANCER_ID_MAX + 1)

/* --- one service (service.c) ------------------------------------------------------------------ */

/** What the balancer makes of a service's document. Immutable; all text is its own. */
struct gtw_service {
    json_t *doc; /* what text is borrowed from */
    const char *id;
    size_t ready;                   /* servers that get requests */
    bool open;                      /* it is to be reached: not stopped, with port and address */
    char name[GTW_BACKEND_SIZE];    /* of its backend: "ACCOUNT/NAME" */
    char address[GTW_ADDRESS_SIZE]; /* published */
    char (*addresses)[GTW_ADDRESS_SIZE]; /* of its servers */
    struct syn_balancer_server *servers;
    struct syn_balancer_backend backend;
    struct syn_balancer_frontend front;
    const char *cert;                /* with its own front; "" without TLS */
    struct syn_balancer_route route; /* on the shared fronts */
    bool routed, tls, redirected;
    bool challenged; /* its host proves itself to an ACME directory */
    char *pem;       /* or NULL */
};

/** Takes `doc` from the call on. CORRUPT for what is no service. `host`: where addresses are
 *  published now, whatever the document says. */
SYN_MUST int gtw_service_new_take(json_t *doc, const char *host, struct gtw_service **ret,
                                  struct syn_err *err);
struct gtw_service *gtw_service_free(struct gtw_service *service);

/* --- all of them (table.c) -------------------------------------------------------------------- */

struct gtw_fronts {
    char http[GTW_ADDRESS_SIZE], https[GTW_ADDRESS_SIZE]; /* the shared ones */
    uint16_t https_port;
    const char *challenge_key; /* NULL: there is no ACME directory */
};

struct gtw_table {
    struct syn_balancer_table table;
    struct syn_balancer_frontend *fronts;
    struct syn_balancer_backend *backends;
    struct syn_balancer_route *routes; /* of the plain front, then of the other */
    struct syn_balancer_cert *certs;
    const char **cert_ids;
};

/** The backend that answers an ACME directory. */
#define GTW_CHALLENGES "acme"

/** The table of all that are open, which must outlive it. `refused`: addresses that others have,
 *  whose fronts are left out. */
SYN_MUST int gtw_table_make(const struct syn_map *services, const struct gtw_fronts *fronts,
                            const struct syn_map *refused, struct gtw_table *ret,
                            struct syn_err *err);
void gtw_table_fini(struct gtw_table *table);

/* --- addresses (address.c) -------------------------------------------------------------------- */

/** "HOST" and a port as one, with brackets where they belong. False: it is no address. */
bool gtw_address_join(const char *host, unsigned port, char ret[GTW_ADDRESS_SIZE]);
/** The port of "HOST:PORT"; 0: there is none. */
unsigned gtw_address_port(const char *address);
/** The port of "HOST:PORT", whose host goes into `host`; 0: it is not an address and a port as
 *  gtw_address_join() writes them. */
unsigned gtw_address_split(const char *address, char host[GTW_ADDRESS_SIZE]);
/** Does anybody listen there, or have it bound? What cannot be found out counts as free. */
bool gtw_address_taken(const char *address);

/* --- the gateway (gateway.c) ------------------------------------------------------------------ */

struct gtw_options {
    const char *dir;     /* of the balancer */
    const char *program; /* HAProxy; NULL: the machine's */
    const char *host;    /* an address: "127.0.0.1", "::1" */
    uint16_t http_port, https_port;
    const char *challenge_key; /* of the ACME account; NULL: there is none */
    /** Everything is to be told again, with gtw_tell(): news were lost. On the gateway's thread. */
    int (*refresh)(void *arg, struct syn_err *err);
    /** What the balancer has of the service's replicas has changed. Likewise. */
    void (*changed)(void *arg, const char *service);
    /** So many requests wait for a first replica of the service; 0: none any more. Likewise. */
    void (*held)(void *arg, const char *service, uint64_t count);
    /** Challenges of other hosts than before are answered from now on; or NULL. Likewise. */
    void (*challenged)(void *arg);
    /** The certificate of a service that wants TLS. Likewise. Owner of *ret_pem: the caller. */
    int (*cert)(void *arg, const json_t *service, char **ret_pem, struct syn_err *err);
    void *arg;
};

enum gtw_has {
    GTW_NOTHING,
    GTW_BUSY,    /* it is out of rotation, and ends what it has */
    GTW_SERVING, /* it gets requests, or may */
};

enum gtw_state {
    GTW_CLOSED,  /* it has no address, or is stopped */
    GTW_WAITING, /* its address comes */
    GTW_OPEN,
    GTW_FAILED,  /* the message says why */
    GTW_MISSING, /* there is no HAProxy; the message says how to get it */
};

struct gtw;

SYN_MUST int gtw_new(const struct gtw_options *options, struct gtw **ret, struct syn_err *err);
/** Begin. That there is no HAProxy is no failure: it is looked for again and again. */
SYN_MUST int gtw_start(struct gtw *gateway, struct syn_err *err);
/** No function of the options is called after this, and nothing changes any more. */
void gtw_stop(struct gtw *gateway);
/** End. While there are services to be reached, HAProxy goes on. */
struct gtw *gtw_free(struct gtw *gateway);

/** The service's document is this now; NULL: it is gone. Takes it from the call on. Any thread;
 *  does not block. */
void gtw_tell_take(struct gtw *gateway, const char *id, json_t *doc);
/** News were lost. Any thread. */
void gtw_lost(struct gtw *gateway);
/** Forget all; what follows is told by gtw_tell_take(). For `refresh`. */
void gtw_again(struct gtw *gateway);

/** Is there a balancer that could have something of a replica? Any thread, as the rest. */
bool gtw_works(struct gtw *gateway);
enum gtw_has gtw_has(struct gtw *gateway, const char *instance);
/** How the service's address is, and a sentence when there is something to say. */
enum gtw_state gtw_state(struct gtw *gateway, const char *service, char *message, size_t size);
/** Is an ACME directory answered that asks for a challenge of this host? */
bool gtw_challenged(struct gtw *gateway, const char *host);
/** How many requests wait for a first replica of it. */
uint64_t gtw_held(struct gtw *gateway, const char *service);
/** NOTFOUND: it has no backend. Blocks: milliseconds. */
SYN_MUST int gtw_counts(struct gtw *gateway, const char *backend, struct syn_balancer_counts *ret,
                        struct syn_err *err);
/** What each of its servers has answered, as syn_balancer_read_servers(). */
SYN_MUST int gtw_servers(struct gtw *gateway, const char *backend,
                         struct syn_balancer_server_counts **ret, size_t *ret_count,
                         struct syn_err *err);
/** Append the balancer's metrics; nothing without one. */
void gtw_metrics(struct gtw *gateway, struct syn_buf *out);

#endif
