/* The mesh's authorities: the one that signs, and about a rotation another that is believed, too.
 *
 *     DIR/mesh-ca.pem         the first
 *     DIR/mesh-ca-WHEN.pem    later ones, made so many ms after 1970
 *
 * What each of them is now follows from when it was made, and nothing is kept beside the files:
 *
 *     new one made --a spread--> it signs --a spread--> the one before is removed
 *
 * A spread is as long as a certificate can hold anywhere. After the first of them, whoever has a
 * certificate that holds got it with both authorities; after the second, nobody has one that the
 * old authority signed. */
#ifndef SRV_AUTHORITIES_PRIV_H
#define SRV_AUTHORITIES_PRIV_H

#include "server_priv.h"

#define SRV_AUTHORITIES_MAX     4
#define SRV_IDENTITY_LIFE_MS    (INT64_C(3600) * 1000)
#define SRV_IDENTITY_BEHIND_MS  (INT64_C(300) * 1000) /* a node's clock may be so much off ours */
#define SRV_AUTHORITY_SPREAD_MS (SRV_IDENTITY_LIFE_MS + SRV_IDENTITY_BEHIND_MS)

struct srv_authorities {
    struct srv_authority {
        int64_t made_ms; /* 0: the first */
        char path[SRV_PATH_MAX];
    } rows[SRV_AUTHORITIES_MAX]; /* the oldest first */
    size_t count, signer;
};

/** Those that are believed now. One is made for the cluster when there is none, and those that are
 *  over are removed. Blocks: disk. Returns 0; IO, CORRUPT: there are too many. */
SYN_MUST int srv_authorities_read(const char *dir, const char *cluster, int64_t now_ms,
                                  struct srv_authorities *ret, struct syn_err *err);
/** Begin with another one. Also CONFLICT: another rotation is not over. */
SYN_MUST int srv_authorities_rotate(const char *dir, const char *cluster, int64_t now_ms,
                                    struct srv_authorities *ret, struct syn_err *err);
/** Append the certificates of all, in an order that stays. Blocks: disk. */
SYN_MUST int srv_authorities_text(const struct srv_authorities *all, struct syn_buf *out,
                                  struct syn_err *err);

/** The server's. */
SYN_MUST int srv_mesh_authorities(struct syn_server *server, struct srv_authorities *ret,
                                  struct syn_err *err);
SYN_MUST int srv_authorities_get(struct syn_http_req *req, void *ctx, struct syn_err *err);
SYN_MUST int srv_authorities_post(struct syn_http_req *req, void *ctx, struct syn_err *err);

#endif
