/* A connection to the server that was turned into a stream of bytes both ways, which the server
 * passes on to another such stream. */
#ifndef SYNOR_CLIENT_TUNNEL_H
#define SYNOR_CLIENT_TUNNEL_H

#include <stddef.h>

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/client.h>

#define SYN_TUNNEL_PROTOCOL "synor-session"

struct syn_tunnel;

#define SYN_TUNNEL_AGAIN (-1) /* poll syn_tunnel_fd() */
#define SYN_TUNNEL_GONE  (-2)

/**
 * POST `body` to `path` and have the answer be a tunnel. The client makes no other call while there
 * is the tunnel, and outlives it.
 *
 * Blocks: until the server has found the other side, up to the client's answer_ms.
 * Returns 0; what syn_client_call() returns.
 */
SYN_MUST int syn_tunnel_open(struct syn_client *client, const char *path, const json_t *body,
                             struct syn_tunnel **ret_tunnel, struct syn_err *err);
/** Ends it. NULL is fine. Returns NULL. */
struct syn_tunnel *syn_tunnel_close(struct syn_tunnel *tunnel);
/** For poll(2), once recv or send has said AGAIN. Borrowed. */
int syn_tunnel_fd(const struct syn_tunnel *tunnel);
/** Bytes read, 0 at the end, AGAIN or GONE. */
ptrdiff_t syn_tunnel_recv(struct syn_tunnel *tunnel, void *buf, size_t cap);
/** Bytes sent, AGAIN or GONE. */
ptrdiff_t syn_tunnel_send(struct syn_tunnel *tunnel, const void *data, size_t len);

#endif
