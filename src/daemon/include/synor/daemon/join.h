/* What a node signs to join: the proof that it holds the key whose name its usage is paid under.
 *
 *     agent                                    server
 *       | POST /v1/challenges  (join token)      |
 *       |--------------------------------------->| challenge: good once, for this token, a minute
 *       |   {challenge, cluster}                 |
 *       |<---------------------------------------|
 *       | POST /v1/nodes  {..., challenge, signature}
 *       |--------------------------------------->| node and its token, one transaction with the
 *       |   {node, token}                        | note that the challenge is spent
 *       |<---------------------------------------|
 *
 * The signature covers the challenge (so it is fresh, and of no use twice), the cluster (so one
 * platform cannot pass it on to another), the join token's digest (so a server in the middle cannot
 * use it under a token of its own), and the whole request (so nobody changes the name or the
 * capacity on the way). A signed clock was refused: nodes' clocks are wrong in the field, and a
 * memory of what was seen within the slack would be needed all the same. */
#ifndef SYNOR_DAEMON_JOIN_H
#define SYNOR_DAEMON_JOIN_H

#include <synor/base/buf.h>
#include <synor/base/json.h>

/** Who asks whom. Borrowed text. */
struct syn_join {
    const char *cluster;   /* "cluster-..." */
    const char *challenge; /* as the server gave it */
    const char *token;     /* hexadecimal SHA-256 of the join token; "" without one */
};

/** Append to `out` the bytes that are signed: canonical JSON of `join` and of `request` without its
 *  `signature`. Returns 0; NOMEM. */
SYN_MUST int syn_join_payload(const struct syn_join *join, const json_t *request,
                              struct syn_buf *out, struct syn_err *err);

#endif
