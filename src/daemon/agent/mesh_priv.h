/* The node's end of the mesh: what instances send to a service's address comes to one HAProxy of
 * the node's, which knows the caller by its address, and leads to a replica here or, by TLS, to the
 * mesh of another node.
 *
 *   names' stream -- services ------+
 *   instances that come and go -----+--> mesh.c: one thread --> mesh_table.c: what is to run (pure)
 *   identity.c: certificates -------+                             |-> syn_balancer_set()
 *                                                                 `-> syn_net_divert()
 *
 * docs/mesh.md is for operators, docs/adr/0036-mesh-proxy.md says why it is so. */
#ifndef SYN_AGENT_MESH_PRIV_H
#define SYN_AGENT_MESH_PRIV_H

#include <synor/base/json.h>
#include <synor/base/map.h>
#include <synor/base/world.h>
#include <synor/infra/balancer.h>
#include <synor/runtime/net.h>

#define AGT_MESH_PAIRS_MAX    2048 /* of a caller here and whom it may call */
#define AGT_MESH_ADDRESS_SIZE 64
#define AGT_MESH_HOLD_MS      5000 /* that a call waits for a first replica */

/* --- circuit breakers (mesh_breaker.c) -------------------------------------------------------- */

struct agt_breakers;
#define AGT_BREAKERS_CHANGED 1 /* other servers are out, or on trial, than before */

SYN_MUST int agt_breakers_new(struct agt_breakers **ret, struct syn_err *err);
struct agt_breakers *agt_breakers_free(struct agt_breakers *breakers);
/** What the servers of a backend have answered until now; who fails with `percent` of its requests
 *  is to be out. To be called every second. Returns 0, AGT_BREAKERS_CHANGED; NOMEM. */
SYN_MUST int agt_breakers_see(struct agt_breakers *breakers, const char *backend, unsigned percent,
                              const struct syn_balancer_server_counts *counts, size_t count,
                              int64_t now_ms, struct syn_err *err);
/** Forget backends that were not seen since the last time. Did any of them have somebody out? */
bool agt_breakers_keep(struct agt_breakers *breakers);
/** Lay what they say over a backend's servers. `breakers` may be NULL. */
void agt_breakers_lay(const struct agt_breakers *breakers, const char *backend,
                      struct syn_balancer_server *servers, size_t count);

/* --- what is to run (mesh_table.c) ------------------------------------------------------------ */

/** An instance of this node that has an address of its account's network. */
struct agt_mesh_caller {
    char instance[SYN_ID_MAX];
    char address[SYN_NET_ADDR_MAX];              /* IPv4 */
    char address6[SYN_NET_ADDR_MAX];             /* "": it has none */
    char account[SYN_ID_MAX], label[SYN_ID_MAX]; /* its id, and what it is called */
    char service[SYN_ID_MAX];                    /* whose replica it is; "": none's */
};

/** Where the node's proxies listen. OUT is for instances, IN for other nodes; HTTP and the next.
 *  `six`: instances have addresses of IPv6, and services therefore. */
struct agt_mesh_fronts {
    uint16_t out_http, out_tcp;
    bool six;
    char in_http[AGT_MESH_ADDRESS_SIZE], in_tcp[AGT_MESH_ADDRESS_SIZE];
};

/** All that the table is made of. Borrowed. */
struct agt_mesh_world {
    const char *node;               /* this one's id */
    const struct syn_map *services; /* id -> const json_t, as GET /v1/nodes/{id}/services tells */
    const struct syn_map *callers;  /* instance -> const struct agt_mesh_caller */
    const struct syn_map
        *identities;       /* of a service or account, by id -> certificate and key, PEM */
    const char *authority; /* PEM; NULL: not known yet, and no other node is reached */
    const struct agt_breakers *breakers; /* NULL: nobody is out */
    struct agt_mesh_fronts fronts;
};

/** Who calls whom, by name; what HAProxy counts of it is under `backend`. */
struct agt_mesh_pair {
    const char *backend, *caller, *callee;
    unsigned route;           /* of the callee's, from 1; 0: what none of them takes */
    unsigned break_percent;   /* of errors; 0: no circuit breaker */
    size_t servers;           /* replicas here and other nodes, in it and out */
    const char *const *wakes; /* services that may sleep, of whose nobody is there */
    size_t wake_count;
};

/** Make whole weights of 1 .. SYN_BALANCER_WEIGHT_MAX that divide as `shares`: exactly if there are
 *  such, else as nearly as can be. Shares are positive. */
void agt_mesh_weigh(struct syn_balancer_server *servers, const double *shares, size_t count);

struct agt_mesh_chunk;

struct agt_mesh_table {
    struct syn_balancer_table table;
    struct syn_net_divert *diverts;
    const char **services; /* their ids, as many; one with IPv6 has two */
    size_t divert_count;
    struct agt_mesh_pair *pairs;   /* with a backend each */
    size_t pair_count, left_out;   /* left_out: beyond AGT_MESH_PAIRS_MAX, and matches beyond
                                      SYN_BALANCER_MATCHES_MAX */
    size_t asleep;                 /* pairs with a service that has no replica, and may be woken */
    struct agt_mesh_chunk *chunks; /* what all of it lies in */
};

/** Owner: the caller. `world` must outlive it. */
SYN_MUST int agt_mesh_table_make(const struct agt_mesh_world *world, struct agt_mesh_table *ret,
                                 struct syn_err *err);
void agt_mesh_table_fini(struct agt_mesh_table *table);

/* --- what is told of it (mesh_report.c) ------------------------------------------------------- */

/** Append a row for each pair that has been used, as heartbeats have them. */
SYN_MUST int agt_mesh_report(const struct agt_mesh_table *table,
                             const struct syn_balancer_stats *stats, json_t *list,
                             struct syn_err *err);

/* --- where it listens (mesh_ports.c) -----------------------------------------------------------
 */

struct syn_agent;

/** What was chosen before, so that the HAProxy of an earlier agent has it already, or else, and
 * when it is to be `anew`, ports that are free. Keeps `six`. Returns 0; LIMIT: none is free; IO. */
SYN_MUST int agt_mesh_ports(const struct syn_agent *agent, bool anew,
                            struct agt_mesh_fronts *fronts, struct syn_err *err);

/* --- the mesh (mesh.c) ------------------------------------------------------------------------ */

struct agt_mesh;

/** Begin. That there is no HAProxy is told in the log and looked for again; names then stand for
 *  the replicas of this node alone. Owner: the caller. Starts a thread. */
SYN_MUST int agt_mesh_new(struct syn_agent *agent, struct agt_mesh **ret, struct syn_err *err);
/** While instances may call, HAProxy goes on, for who comes next. */
struct agt_mesh *agt_mesh_free(struct agt_mesh *mesh);

/** News, as names get them. Thread: any. Blocks: no. Returns 0; NOMEM: say it again. */
SYN_MUST int agt_mesh_put(struct agt_mesh *mesh, const json_t *service, struct syn_err *err);
SYN_MUST int agt_mesh_remove(struct agt_mesh *mesh, const char *service, struct syn_err *err);
/** All services were told, and these ids alone. */
SYN_MUST int agt_mesh_keep(struct agt_mesh *mesh, struct syn_map *named, struct syn_err *err);
/** The instance calls from now on; until it leaves. */
SYN_MUST int agt_mesh_enter(struct agt_mesh *mesh, const struct agt_mesh_caller *caller,
                            struct syn_err *err);
void agt_mesh_leave(struct agt_mesh *mesh, const char *instance);
/** All that called when the agent started have entered. Nothing is set before. */
SYN_MUST int agt_mesh_begin(struct agt_mesh *mesh, struct syn_err *err);
/** Can other nodes call the service of the instance here, as far as the mesh goes? Also yes where
 * there is no HAProxy, and nobody comes. Thread: any. */
bool agt_mesh_shows(struct agt_mesh *mesh, const char *instance);
/** Do services' addresses lead to the proxy? */
bool agt_mesh_serves(struct agt_mesh *mesh);
/** Put into a heartbeat where other nodes reach it, "mesh": "HOST:PORT", and what has been counted
 * of every pair that has been used, "calls". Thread: any. Blocks: milliseconds. */
SYN_MUST int agt_mesh_beat(struct agt_mesh *mesh, json_t *report, struct syn_err *err);

#endif
