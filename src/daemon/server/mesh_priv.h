/* The server's side of the mesh: addresses of services, and what nodes have counted. */
#ifndef SYN_SERVER_MESH_PRIV_H
#define SYN_SERVER_MESH_PRIV_H

#include "server_priv.h"

/* --- virtual addresses (virtual.c) --------------------------------------------------------------
 */

#define SRV_VIRTUAL  "virtual_address"  /* in a service's status */
#define SRV_VIRTUAL6 "virtual_address6" /* the same of IPv6, which follows from it */

/** Read "10.127.0.0/16". INVALID says what is wrong with it. */
SYN_MUST int srv_network_parse(const char *text, struct srv_network *ret, struct syn_err *err);
/** Take the network (NULL: the usual one), and see that every service with a port has an address of
 *  it. Blocks: disk. */
SYN_MUST int srv_virtual_open(struct syn_server *server, const char *network, struct syn_err *err);
/** See within `txn` that the service has a virtual address if and only if it has a port; the one
 *  that it has it keeps. LIMIT: none is left. */
SYN_MUST int srv_virtual_give(struct syn_server *server, struct srv_txn *txn, json_t *service,
                              struct syn_err *err);
/** The service is deleted within `txn`: its address is nobody's. */
SYN_MUST int srv_virtual_take(struct srv_txn *txn, const json_t *service, struct syn_err *err);

/* --- what nodes' meshes have counted (meshes.c) -------------------------------------------------
 */

#define SRV_CALLS_MAX 512 /* pairs that a heartbeat tells of */

SYN_MUST int srv_meshes_new(struct srv_meshes **ret, struct syn_err *err);
struct srv_meshes *srv_meshes_free(struct srv_meshes *meshes);
/** All that the node's mesh has counted until now; INVALID: names that are none. Any thread. */
SYN_MUST int srv_meshes_report(struct syn_server *server, const char *node, const json_t *pairs,
                               struct syn_err *err);
/** What nodes have told of calls to the service in all, and of those that are under way: added to
 *  the numbers. Thread: any. */
SYN_MUST int srv_meshes_count(struct syn_server *server, const json_t *service, uint64_t *requests,
                              uint64_t *open, struct syn_err *err);
/** Append it as metrics. */
void srv_mesh_metrics(struct syn_server *server, struct syn_buf *out);

#endif
