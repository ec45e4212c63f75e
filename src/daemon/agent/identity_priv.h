/* Who the services and accounts of this node are in the mesh: a key of its own and a certificate of
 * the server's authority for each, renewed long before it ends.
 *
 *     DIR/ID.pem    certificate and key of a service or account; replaced as one
 *     DIR/ca.pem    whom to believe: the authority's certificate
 *
 * Two clocks: a certificate's life is by the wall's, which may jump and stand wrong; how long ago
 * it came, and how soon to ask again, by the one that only goes on. So after a jump it is renewed
 * at once, and where it cannot help (our clock is wrong, the server's is not) not more often than
 * AGT_IDENTITY_RETRY_MAX_MS.
 *
 * It has no thread: who makes the mesh's table calls it. Thread: one at a time, of all of these. */
#ifndef SYN_AGENT_IDENTITY_PRIV_H
#define SYN_AGENT_IDENTITY_PRIV_H

#include <synor/base/json.h>
#include <synor/base/world.h>

#define AGT_IDENTITY_RETRY_MIN_MS 1000
#define AGT_IDENTITY_RETRY_MAX_MS 60000
#define AGT_IDENTITY_LOOK_MS      10000 /* so often the wall's clock is looked at */

struct agt_identities;
struct syn_agent;
struct syn_client;

/** Borrowed for the call, but for `world`, which outlives them. */
struct agt_identities_options {
    const char *dir; /* absolute; made when absent */
    const struct syn_world *world;
    /** Have the request signed for the service or account `id`: {"certificate", "ca"}. Blocks. */
    int (*sign)(void *arg, const char *id, const char *csr, json_t **ret, struct syn_err *err);
    /** The file of `id` is new; NULL: the authority's is. Within ensure() and turn(). NULL: nobody
     *  wants to know. */
    void (*renewed)(void *arg, const char *id);
    void *arg;
};

/** Owner: the caller. Returns 0; IO, NOMEM. */
SYN_MUST int agt_identities_open(const struct agt_identities_options *options,
                                 struct agt_identities **ret, struct syn_err *err);
/** The files stay, for the next one. Returns NULL. */
struct agt_identities *agt_identities_close(struct agt_identities *identities);
/** See that there is a file for `id`, and renew it from now on. One that is there is as good as a
 *  new one. Blocks: a call. Returns 0; UNAVAILABLE and what else `sign` returns: there is none. */
SYN_MUST int agt_identities_ensure(struct agt_identities *identities, const char *id,
                                   struct syn_err *err);
/** It is needed for a new reason: what the last trouble was counts no more, and one that is not
 * there is asked for at the next ensure(). */
void agt_identities_urge(struct agt_identities *identities, const char *id);
/** It is not needed any more: its file goes. */
void agt_identities_drop(struct agt_identities *identities, const char *id);
/** All are dropped that `wanted` does not want, also those that could not be had. */
void agt_identities_keep(struct agt_identities *identities,
                         bool (*wanted)(void *arg, const char *id), void *arg);
/** Files of whom nobody has ensured go, too. */
void agt_identities_sweep(struct agt_identities *identities);
/** Renew what is due; trouble is logged once, and tried again. Returns for how many ms nothing is.
 * Blocks: a call for each. */
int64_t agt_identities_turn(struct agt_identities *identities);
/** Paths, into out[AGT_PATH_MAX]; return out. */
const char *agt_identities_pem(const struct agt_identities *identities, const char *id, char *out);
const char *agt_identities_ca(const struct agt_identities *identities, char *out);

/** What signs for a node: its agent, and a client with the node's token. */
struct agt_identity_signer {
    struct syn_agent *agent;
    struct syn_client *client;
};
/** `sign` of the options, with a signer as `arg`: one call, not tried again. */
SYN_MUST int agt_identity_sign(void *signer, const char *id, const char *csr, json_t **ret,
                               struct syn_err *err);

#endif
