/* A load balancer: a HAProxy of our own, kept equal to a table.
 *
 *   syn_balancer_set(table):  wanted - running = steps     (a pure comparison)
 *                             steps through the runtime API, or a seamless reload where none exist
 *
 * Changes without a reload: servers (added, removed, drained, weighed), routes, which backend a
 * frontend serves, new content of a certificate, and a new frontend or backend for which a spare of
 * its shape is at hand. Everything else reloads: the new process takes the listening sockets over,
 * the old one ends what it has begun.
 *
 * What is removed loses no request: a server gets no new ones and is taken out when its last one
 * has ended. docs/balancer.md is for operators, docs/adr/0017-balancer.md says why it is so. */
#ifndef SYNOR_INFRA_BALANCER_H
#define SYNOR_INFRA_BALANCER_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_BALANCER_VERSION_MIN   "2.6" /* of HAProxy */
#define SYN_BALANCER_ID_MAX        128   /* bytes: [A-Za-z0-9][-A-Za-z0-9._:/]* */
#define SYN_BALANCER_HOST_MAX      253
#define SYN_BALANCER_PATH_MAX      256
#define SYN_BALANCER_FRONTENDS_MAX 4096
#define SYN_BALANCER_BACKENDS_MAX  4096
#define SYN_BALANCER_SERVERS_MAX   65536 /* of all backends together */
#define SYN_BALANCER_ROUTES_MAX    65536 /* of all frontends together */
#define SYN_BALANCER_CERTS_MAX     1024
#define SYN_BALANCER_WEIGHT_MAX    256
#define SYN_BALANCER_WAIT_MAX_MS   86400000 /* of every time-out and interval */
#define SYN_BALANCER_RATE_MAX      1000000
#define SYN_BALANCER_CALLERS_MAX   4096 /* of one frontend */
#define SYN_BALANCER_MATCHES_MAX   256  /* of one frontend */
#define SYN_BALANCER_METHODS_MAX   8    /* of one match, and headers */
#define SYN_BALANCER_VALUE_MAX     128  /* bytes of a header's name, and of what it must be */

enum syn_balancer_mode { SYN_BALANCER_HTTP, SYN_BALANCER_TCP };

/** Each of them minds weights. */
enum syn_balancer_algorithm {
    SYN_BALANCER_ROUND_ROBIN,
    SYN_BALANCER_LEAST_CONNECTIONS,
    SYN_BALANCER_IP_HASH, /* of the client's address, consistent */
    SYN_BALANCER_RANDOM,  /* the less loaded of two */
};

/** How a backend of mode HTTP is spoken to. WebSocket passes through HTTP1 and H2. */
enum syn_balancer_protocol {
    SYN_BALANCER_HTTP1,
    SYN_BALANCER_H2, /* in plain text, without upgrade: gRPC is this */
};

enum syn_balancer_state {
    SYN_BALANCER_READY,
    SYN_BALANCER_DRAIN, /* ends what it has; a client that sticks to it still comes */
    SYN_BALANCER_OFF,   /* gets nothing new */
};

enum syn_balancer_check { SYN_BALANCER_UNCHECKED, SYN_BALANCER_CHECK_TCP, SYN_BALANCER_CHECK_HTTP };

/** Whether a backend's servers learn the client's address. */
enum syn_balancer_client {
    SYN_BALANCER_CLIENT_HEADERS, /* X-Forwarded-For, -Proto, -Host, of a client's own none is kept;
                                    in mode TCP nothing */
    SYN_BALANCER_CLIENT_NONE,    /* neither told nor touched */
    SYN_BALANCER_CLIENT_PROXY,   /* PROXY protocol, version 2 */
};

struct syn_balancer_server {
    const char *id;      /* unique in its backend */
    const char *address; /* "10.0.0.1:80", "[fd00::1]:80": never a name */
    unsigned weight;     /* 0 (nothing new) .. 256, relative */
    enum syn_balancer_state state;
    bool peer; /* another balancer's front of a mesh: spoken to by TLS, see the backend's `cert` */
    /** Of a peer that is another's than the backend's: its name, and what it is asked for (SNI).
     *  NULL: the backend's peer_name, and the name. */
    const char *peer_name, *peer_sni;
};

/** Zero is a default everywhere. */
struct syn_balancer_health {
    enum syn_balancer_check check;
    const char *path;     /* HTTP: default "/"; 200 .. 399 is well */
    const char *host;     /* HTTP: the Host header, may be NULL */
    unsigned interval_ms; /* 2000; from 100 */
    unsigned timeout_ms;  /* the interval, at most 5000 */
    unsigned rise;        /* 2: checks in a row until it gets requests */
    unsigned fall;        /* 3: checks in a row until it gets none */
    /** Outlier ejection: so many errors (5xx, broken connections) of real requests in a row take
     *  the server out until `rise` checks were well. 0: off. Needs a check. */
    unsigned errors_max;
    bool peers_only; /* others are looked after by somebody else */
};

struct syn_balancer_backend {
    const char *id; /* unique: the service's */
    enum syn_balancer_mode mode;
    enum syn_balancer_algorithm algorithm;
    enum syn_balancer_protocol protocol;
    enum syn_balancer_client client;
    const char *cookie; /* sticky by a cookie of this name; NULL: not. HTTP only */
    struct syn_balancer_health health;
    unsigned slow_start_ms; /* from returned to full weight; 0: at once */
    unsigned connect_ms;    /* 2000 */
    unsigned response_ms;   /* 60000: silence that is borne */
    unsigned tunnel_ms;     /* 3600000: the same of WebSocket and TCP */
    unsigned queue_ms;      /* 5000 */
    /** While no server gets requests, those that come wait so long for one: then, and when 1024
     *  wait already, 503 with Retry-After (TCP: closed). 0: at once. Changes without a reload.
     *  Needs syn_balancer_holds(). */
    unsigned hold_ms;
    unsigned https_port; /* HTTP: redirect every request to https at this port; 0: not */
    /** HTTP: answer an ACME directory's challenges for the account whose key has this thumbprint,
     *  at SYN_ACME_PATH, and nothing else. NULL: it is an ordinary backend. */
    const char *challenge_key;
    int retries; /* 3 when 0, none when -1; 10 at most. What reached a server is tried
                    again for idempotent methods only */
    /** HTTP: no request that a server had is tried again while more than this percentage of the
     *  last ten seconds' requests, and SYN_BALANCER_RETRY_FLOOR a second besides, was: so much
     *  more than it is asked a backend in trouble never gets for long. 0: no limit; -1: the
     *  floor alone. */
    int retry_percent;
    unsigned rate_max; /* HTTP: requests a second; beyond: 429. 0: no limit */
    /** HTTP: this percentage of its requests is sent to another backend as well, whose answer
     *  nobody waits for; NULL: none. A request with a body is only if its length is said and at
     *  most SYN_BALANCER_MIRROR_BODY_MAX. Needs syn_balancer_holds(), else none is. */
    const char *mirror;
    unsigned mirror_percent; /* 1 .. 100 */
    /** Of servers that are peers: the certificate (of the table) that is shown to them, and the
     *  name that theirs must have, by the table's authority, which they are also asked for. */
    const char *cert, *peer_name;
    const struct syn_balancer_server *servers;
    size_t server_count;
};

/** Where a request goes. The longest path of the most exact host wins. */
struct syn_balancer_route {
    const char *host; /* "a.example", "*.example" (one label), NULL: any other */
    const char *path; /* "/api": it and what is below it; NULL: "/" */
    const char *backend;
};

/** How a frontend knows who calls whom: the two ends of a mesh. */
enum syn_balancer_mesh {
    SYN_BALANCER_NO_MESH,
    /** The caller by its address, the callee by the address that it asked for, before the machine's
     *  NAT led it here. */
    SYN_BALANCER_MESH_OUT,
    /** By TLS: the caller by its certificate (UID), which the table's authority has signed, the
     *  callee by the name that is asked for (SNI). */
    SYN_BALANCER_MESH_IN,
};

/** OUT: whose address it is. Others are not heard. */
struct syn_balancer_caller {
    const char *address; /* without a port */
    const char *name;
};

/** Who may call whom, and where that leads; what is no such pair is refused (403; TCP: closed). */
struct syn_balancer_pair {
    const char *caller; /* a name; IN also "*.a.example" (one label) and "*", less exact */
    const char *callee; /* OUT: an address with a port; IN: a name */
    const char *backend;
    unsigned route; /* OUT: of requests that a match with this number takes; 0: of the others */
};

/** What a header of a request must be: there, this, or begin with this. */
enum syn_balancer_how { SYN_BALANCER_PRESENT, SYN_BALANCER_EXACT, SYN_BALANCER_PREFIX };

struct syn_balancer_header {
    const char *name;
    enum syn_balancer_how how;
    const char *value; /* of printable ASCII but quotes and backslashes */
};

/** OUT, HTTP: requests to a callee that go another way than the rest. The first that fits takes
 *  them; a caller who has no pair with its number is refused. */
struct syn_balancer_match {
    const char *callee;
    unsigned route;   /* from 1 */
    const char *path; /* "/api": it and what is below it; NULL: any */
    const char *const *methods;
    size_t method_count;                       /* 0: any */
    const struct syn_balancer_header *headers; /* all of them */
    size_t header_count;
};

struct syn_balancer_frontend {
    const char *id; /* unique */
    /** "127.0.0.1:8080"; unique. "[::]:443": every address of both families, but in a mesh of IPv6
     *  alone, so that there may be a front of IPv4 at the same port. */
    const char *address;
    enum syn_balancer_mode mode;
    bool accept_proxy;       /* PROXY protocol is required of clients */
    unsigned https_port;     /* HTTP: redirect everything to https at this port; 0: not */
    unsigned client_idle_ms; /* 60000 */
    /** TLS with these certificates, chosen by the name that the client asks for; the first serves
     *  who asks for none or another. 0 of them: no TLS. */
    const char *const *certs;
    size_t cert_count;
    const char *backend;                     /* what no route takes; NULL: 404 (TCP: closed) */
    const struct syn_balancer_route *routes; /* HTTP only */
    size_t route_count;
    /** A mesh's: neither `backend` nor routes nor redirect. IN: its certificates come and go
     * without a reload, and who asks for none of them is refused. HTTP servers are told the caller
     * in SYN_BALANCER_CALLER, whatever a client says. */
    enum syn_balancer_mesh mesh;
    const struct syn_balancer_caller *callers; /* OUT */
    size_t caller_count;
    const struct syn_balancer_pair *pairs;
    size_t pair_count;
    /** OUT; other matches need a reload, where they lead to does not. */
    const struct syn_balancer_match *matches;
    size_t match_count;
};

#define SYN_BALANCER_CALLER          "X-Mesh-Caller"
#define SYN_BALANCER_MIRROR          "X-Mesh-Mirror" /* what was sent as well has it, with "1" */
#define SYN_BALANCER_MIRROR_BODY_MAX 12000           /* bytes; HAProxy's buffers are 16 KiB */
#define SYN_BALANCER_RETRY_FLOOR     3               /* retries a second beside retry_percent */

/** A certificate with its key. */
struct syn_balancer_cert {
    const char *id;  /* unique */
    const char *pem; /* certificate, chain, key: in any order */
    size_t pem_len;
};

/** All that is to run. Borrowed for the call. */
struct syn_balancer_table {
    const struct syn_balancer_frontend *frontends;
    size_t frontend_count;
    const struct syn_balancer_backend *backends;
    size_t backend_count;
    const struct syn_balancer_cert *certs;
    size_t cert_count;
    /** Certificates (PEM) that sign those of a mesh; NULL: there is none. A table with peers has a
     *  front MESH_IN too: what is spoken to and what is heard know the same authority. */
    const char *authority;
};

/** A certificate, its chain and its key, in any order, as the balancer writes them: certificate,
 *  chain, key, nothing else. INVALID: it is none, or the key is not the certificate's. */
SYN_MUST int syn_balancer_pem(const char *pem, size_t len, char **ret_pem, struct syn_err *err);

struct syn_balancer_options {
    const char *dir;          /* private, made when absent: configuration, sockets, certificates */
    const char *program;      /* a path; NULL: as syn_balancer_find() finds it */
    unsigned threads;         /* 0: as many as processors, 8 at most */
    unsigned connections_max; /* 0: 20000; less where the limit on open files says so */
    /** Addresses that are bound early, so that a frontend on one of them (mode HTTP, no TLS, no
     *  PROXY protocol, defaults) comes and goes without a reload. They refuse until used. */
    const char *spare_host; /* "127.0.0.1"; NULL: none */
    uint16_t spare_port;    /* the first */
    unsigned spare_count;   /* at most 4096 */
};

struct syn_balancer;

/** Path and version of the HAProxy on this machine. Blocks: until it has told its version.
 *  Returns 0; NOTFOUND; UNSUPPORTED (older than SYN_BALANCER_VERSION_MIN, *ret_version is set). */
SYN_MUST int syn_balancer_find(char *ret_path, size_t path_size, char *ret_version,
                               size_t version_size, struct syn_err *err);

/** INVALID, naming what and why: also what syn_balancer_set() would say of the table itself. */
SYN_MUST int syn_balancer_check(const struct syn_balancer_table *table, struct syn_err *err);

/**
 * Open the balancer in options->dir. One that an earlier process of ours left running there goes
 * on serving its table until the first syn_balancer_set(), and is then taken over seamlessly.
 *
 * Blocks: yes. Returns 0; NOTFOUND, UNSUPPORTED (the program); CONFLICT (another process has this
 * folder open); INVALID; IO; NOMEM.
 */
SYN_MUST int syn_balancer_open(const struct syn_balancer_options *options,
                               struct syn_balancer **ret_balancer, struct syn_err *err);
/** End it: what serves is left running (`leave`) for who opens the folder next, or ended. */
struct syn_balancer *syn_balancer_close(struct syn_balancer *balancer, bool leave);

/**
 * Make this table what runs; on return new servers are in rotation. Nothing has changed when it
 * fails with INVALID; with anything else the balancer itself goes on trying to reach the table.
 *
 * Thread: any, one at a time (others wait). Blocks: milliseconds; a reload up to seconds.
 * Returns 0; INVALID; UNAVAILABLE, TIMEOUT (HAProxy does not start or answer); IO; NOMEM.
 */
SYN_MUST int syn_balancer_set(struct syn_balancer *balancer, const struct syn_balancer_table *table,
                              struct syn_err *err);

/**
 * How many requests (TCP: connections) a server of the table has now, in processes that a change
 * replaced as well: when it is off and this is 0, it can be ended and nothing is lost.
 *
 * Thread: any. Blocks: milliseconds. Returns 0; NOTFOUND: the table has no such server;
 * UNAVAILABLE: nobody can tell (HAProxy is being started, or a process that an earlier owner left
 * still ends what it has); TIMEOUT, CORRUPT, NOMEM.
 */
SYN_MUST int syn_balancer_open_at(struct syn_balancer *balancer, const char *backend,
                                  const char *server, uint64_t *ret_open, struct syn_err *err);

/** Can requests wait for a first server? (It needs a HAProxy with Lua; without one they never do.)
 */
bool syn_balancer_holds(const struct syn_balancer *balancer);
/**
 * Tell of each backend without a server that gets requests how many wait for one, in processes that
 * a change replaced as well. Of those where nobody waits nothing is told.
 *
 * Thread: any; `each` may not call the balancer. Blocks: milliseconds. Returns 0; UNAVAILABLE,
 * TIMEOUT, CORRUPT, NOMEM.
 */
SYN_MUST int syn_balancer_held(struct syn_balancer *balancer,
                               void (*each)(void *arg, const char *backend, uint64_t count),
                               void *arg, struct syn_err *err);

/** What one backend has done. Counters go on over reloads and restarts of HAProxy while the table
 *  has the backend; of a process that died, what the last reading did not see is lost. */
struct syn_balancer_counts {
    const char *backend; /* borrowed from the stats */
    uint64_t requests;   /* HTTP requests; TCP: connections */
    uint64_t answers[6]; /* [1] .. [5]: 1xx .. 5xx, [0]: others */
    uint64_t connect_errors, response_errors, retries, redispatches;
    uint64_t bytes_in, bytes_out; /* from clients, to clients */
    uint64_t open, queued;        /* now */
    uint64_t servers_up;          /* now */
    /** Means of the last 1024, ms. */
    uint64_t queue_ms, connect_ms, response_ms, total_ms;
};

struct syn_balancer_stats {
    struct syn_balancer_counts *backends; /* in the order of their ids */
    size_t count;
    uint64_t connections;                /* open with clients, of all */
    uint64_t reloads, restarts, changes; /* since it was opened; changes: runtime API commands */
    char *names;
};

/** Thread: any. Blocks: milliseconds. Returns 0 (*ret_stats is the caller's, to be given to
 *  syn_balancer_stats_fini()); UNAVAILABLE, TIMEOUT, CORRUPT; NOMEM. */
SYN_MUST int syn_balancer_read(struct syn_balancer *balancer, struct syn_balancer_stats *ret_stats,
                               struct syn_err *err);
void syn_balancer_stats_fini(struct syn_balancer_stats *stats);
/** What one server has answered since HAProxy was started or reloaded last, or it was added. */
struct syn_balancer_server_counts {
    char server[SYN_BALANCER_ID_MAX + 1];
    uint64_t answers; /* TCP: connections */
    uint64_t errors;  /* of them: 5xx, and what broke off; TCP: what could not be connected */
};

/** Each server of one backend, in any order; those that leave are left out. Thread: any. Blocks:
 *  milliseconds. Returns 0 (*ret is the caller's, to be freed with syn_free()); NOTFOUND;
 *  UNAVAILABLE, TIMEOUT, CORRUPT; NOMEM. */
SYN_MUST int syn_balancer_read_servers(struct syn_balancer *balancer, const char *backend,
                                       struct syn_balancer_server_counts **ret, size_t *ret_count,
                                       struct syn_err *err);
/** Append them as Prometheus' text, for /metrics: label `service` is the backend's id. */
void syn_balancer_stats_write(const struct syn_balancer_stats *stats, struct syn_buf *out);

/** Are the addresses of the last table still bound, whether or not a process serves? Connections
 *  wait while one that died is started again. Thread: any. Blocks: as syn_balancer_set(). */
bool syn_balancer_listens(struct syn_balancer *balancer);
/** The process that serves now; 0: none. */
int syn_balancer_pid(const struct syn_balancer *balancer);

#endif
