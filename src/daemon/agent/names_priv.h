/* The names that a node's agent answers, as the server told it:
 *
 *     NAME.ACCOUNT.synor               the service: its virtual address where the node has a mesh,
 *                                      else its ready replicas on this node
 *     N.NAME.ACCOUNT.synor             one of these
 *     _PORT._tcp.NAME.ACCOUNT.synor    where it is served (SRV)
 *
 * Who asks sees the names of its own account, and through the mesh of others' services that its
 * account may call. Others it is told do not exist. */
#ifndef SYN_AGENT_NAMES_PRIV_H
#define SYN_AGENT_NAMES_PRIV_H

#include <synor/base/json.h>
#include <synor/base/map.h>
#include <synor/infra/dns.h>
#include <synor/runtime/net.h>

#define AGT_NAMES_ZONE     "synor"
#define AGT_NAMES_TTL_S    1
#define AGT_NAMES_MAX      16384 /* services */
#define AGT_NAMES_REPLICAS 1024  /* of one service, on this node */

struct agt_names;

/** Owner: the caller. `net` (may be NULL) knows where instances are, and outlives the names; `node`
 *  is this one's id. Thread: any, of all of these. */
SYN_MUST int agt_names_new(struct syn_net *net, const char *node, struct agt_names **ret,
                           struct syn_err *err);
struct agt_names *agt_names_free(struct agt_names *names);
/** A service as GET /v1/nodes/{id}/services tells it, new or changed.
 *  Returns 0; CORRUPT: it is none; LIMIT; NOMEM: say all of it again. */
SYN_MUST int agt_names_put(struct agt_names *names, const json_t *doc, struct syn_err *err);
void agt_names_remove(struct agt_names *names, const char *id);
/** Forget all whose ids `named` has not. */
void agt_names_keep(struct agt_names *names, struct syn_map *named);

/** The services, by id, whose virtual addresses lead to them from here: these and no others. Takes
 *  the map from the call on; NULL: none, as in the beginning. `six`: their addresses of IPv6
 *  do, too. */
void agt_names_serve_take(struct agt_names *names, struct syn_map *ids, bool six);

/** Is it "synor", or below it? */
bool agt_names_own(const char *name);
/** Whose instance asks: the account's id, and what it is called. */
struct agt_asker {
    char account[SYN_NET_ACCOUNT_MAX + 1];
    char label[SYN_NET_ACCOUNT_MAX + 1];
};
/** Put into `answer` what there is. The question is for a name of ours. */
enum syn_dns_code agt_names_answer(struct agt_names *names, const struct agt_asker *asker,
                                   const struct syn_dns_query *query,
                                   struct syn_dns_answer *answer);

#endif
