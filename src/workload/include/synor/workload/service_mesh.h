/* Who may call a service, and as whom its replicas and others are known to it: rules and names that
 * the server, which signs, and the nodes, which ask and refuse, must read alike. Pure. */
#ifndef SYNOR_WORKLOAD_SERVICE_MESH_H
#define SYNOR_WORKLOAD_SERVICE_MESH_H

#include <synor/base/json.h>

#define SYN_MESH_ALLOW_MAX     64   /* entries of one service */
#define SYN_MESH_ENTRY_MAX     127  /* bytes of one: two names and a slash */
#define SYN_MESH_ROUTES_MAX    16   /* of one service */
#define SYN_MESH_TARGETS_MAX   8    /* of one route */
#define SYN_MESH_MATCH_MAX     8    /* methods of one route, and headers */
#define SYN_MESH_WEIGHT_MAX    1000 /* of one target */
#define SYN_MESH_RETRY_PERCENT 20   /* of requests, where nothing is said */
#define SYN_MESH_NAME_SIZE     136  /* "NAME.ACCOUNT.mesh", with the NUL */
#define SYN_MESH_URI_SIZE      256
#define SYN_MESH_NETWORK6      "fd53:796e:6f72::/96" /* of services' addresses of IPv6 */
#define SYN_MESH_SIZE6         40                    /* bytes of one, with the NUL */

/** Who calls, or is called. */
struct syn_mesh_party {
    const char *account; /* its name */
    const char *service; /* its name; NULL: what else the account runs, its jobs */
};

/** "NAME.ACCOUNT.mesh", of jobs "ACCOUNT.mesh", into out: the name of a party in its certificate,
 *  and of a service in the TLS that asks for it. */
const char *syn_mesh_name(const struct syn_mesh_party *party, char out[SYN_MESH_NAME_SIZE]);
/** "spiffe://CLUSTER/account/ACCOUNT/service/NAME", of jobs without the service, into out. */
const char *syn_mesh_uri(const char *cluster, const struct syn_mesh_party *party,
                         char out[SYN_MESH_URI_SIZE]);

/** The address of IPv6 that a service has beside `address`, of IPv4, into out: the same bits behind
 *  the network's, so that whoever knows the one knows the other. False when it is none. */
bool syn_mesh_address6(const char *address, char out[SYN_MESH_SIZE6]);

/** Of a checked spec, who may call it: a list of entries; NULL: its own account. */
const json_t *syn_mesh_allow(const json_t *spec);
/**
 * May `caller` call a service of `account` that allows `allow`?
 *
 *     own             whatever the service's own account runs
 *     NAME            a service of its own account
 *     ACCOUNT/NAME    a service of another
 *     ACCOUNT/\*      whatever that account runs
 *     *               everybody
 */
bool syn_mesh_allows(const json_t *allow, const char *account, const struct syn_mesh_party *caller);
/** May anything that the account `caller` runs? Then its nodes hear of the service. */
bool syn_mesh_allows_account(const json_t *allow, const char *account, const char *caller);
/** May anybody but its own account? */
bool syn_mesh_is_open(const json_t *allow, const char *account);

#endif
