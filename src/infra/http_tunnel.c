/* Tunnels: a request answered with "101 Switching Protocols", from then on two streams of bytes
 * that mean nothing to us. Two tunnels are joined, and what comes out of one goes into the other:
 *
 *      client A <--> conn A [ data ] --> conn B <--> client B
 *                           <-- [ data ] conn B
 *
 * Each holds one block that it has read and the other has not taken; nothing more is read before
 * that has gone, so a slow reader slows the writer down through TCP, and a pair costs two blocks of
 * memory whatever it carries. When one client ends, what it sent is delivered and the other is told
 * by the end of its stream. */
#include "http_priv.h"

#include <synor/base/log.h>
#include <synor/base/mem.h>

#define ROUNDS_MAX 8 /* of one turn: other connections wait */

int
syn_http_tunnel_open(struct syn_http_req *req, const char *protocol, void (*on_close)(void *arg),
                     void *arg, struct syn_http_tunnel **ret_tunnel, struct syn_err *err)
{
    struct http_conn *conn = req->conn;
    struct syn_http_tunnel *tunnel;
    int rc;

    assert(conn->stream == NULL && conn->tunnel == NULL && conn->job == HTTP_JOB_NONE);
    if (conn->server->stopping || conn->state == HTTP_CLOSED ||
        atomic_load_explicit(&conn->gone, memory_order_relaxed))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the server is stopping, or the client has gone");
    tunnel = syn_calloc(1, sizeof(*tunnel));
    if (tunnel == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a tunnel");
    http_reply_clear(&req->reply);
    req->reply.status = 101;
    rc = syn_http_reply_header(req, "upgrade", protocol, err);
    if (rc < 0) {
        syn_free(tunnel);
        return rc;
    }
    tunnel->conn = conn;
    tunnel->on_close = on_close;
    tunnel->arg = arg;
    conn->tunnel = tunnel;
    *ret_tunnel = tunnel;
    return SYN_OK;
}

/* --- moving bytes ----------------------------------------------------------------------------- */

/* The next block: what came behind the request's head first. */
static ptrdiff_t
next_block(struct syn_http_tunnel *from)
{
    struct http_conn *conn = from->conn;
    size_t early = conn->in_len - conn->in_used;
    ptrdiff_t got;

    from->at = from->len = 0;
    if (early > 0) {
        from->len = SYN_MIN(early, sizeof(from->data));
        memcpy(from->data, conn->in + conn->in_used, from->len);
        conn->in_used += from->len;
        return (ptrdiff_t)from->len;
    }
    got = http_io_recv(conn, from->data, sizeof(from->data));
    if (got > 0)
        from->len = (size_t)got;
    return got;
}

/* What `from` has read goes to the other; returns 0, HTTP_IO_AGAIN (one of them must wait) or
 * HTTP_IO_GONE: one has ended. */
static int
pump(struct syn_http_tunnel *from)
{
    struct syn_http_tunnel *to = from->peer;

    for (int round = 0; round < ROUNDS_MAX; round++) {
        ptrdiff_t n;

        if (to->deaf)
            return HTTP_IO_AGAIN;
        if (from->at == from->len) {
            n = next_block(from);
            if (n == HTTP_IO_AGAIN)
                return HTTP_IO_AGAIN;
            if (n <= 0)
                return HTTP_IO_GONE;
            from->moved = to->moved = true;
        }
        n = http_io_send(to->conn, from->data + from->at, from->len - from->at, false);
        if (n == HTTP_IO_AGAIN)
            return HTTP_IO_AGAIN;
        /* Its last words may still be on their way: its end is where they end. */
        to->deaf = n < 0;
        from->at = to->deaf ? from->len : from->at + (size_t)n;
    }
    return 0;
}

/* Wait for room where something waits to be sent, and for more where nothing does. A socket that
 * was left with more to read is looked at again at once: it can be written to. */
static bool
arm(struct syn_http_tunnel *tunnel, bool more)
{
    uint32_t events = tunnel->at == tunnel->len && !tunnel->peer->deaf ? EPOLLIN : 0;

    if (tunnel->peer->at < tunnel->peer->len || more)
        events |= EPOLLOUT;
    return http_io_arm(tunnel->conn, events);
}

static bool
flows(const struct syn_http_tunnel *tunnel)
{
    return tunnel->peer != NULL && tunnel->conn->state == HTTP_TUNNEL &&
           tunnel->peer->conn->state == HTTP_TUNNEL;
}

void
http_tunnel_turn(struct http_conn *conn)
{
    struct syn_http_tunnel *tunnel = conn->tunnel;
    int there, back;

    if (tunnel->widowed) {
        http_conn_close(conn);
        return;
    }
    if (!flows(tunnel)) {
        /* Nothing is read before somebody takes it; only the end is heard. */
        if (!http_io_arm(conn, 0))
            http_conn_close(conn);
        return;
    }
    there = pump(tunnel);
    back = there == HTTP_IO_GONE ? HTTP_IO_GONE : pump(tunnel->peer);
    if (back == HTTP_IO_GONE || !arm(tunnel, there == 0) || !arm(tunnel->peer, back == 0))
        http_conn_close(conn); /* and with it the other */
}

void
syn_http_tunnel_join(struct syn_http_tunnel *a, struct syn_http_tunnel *b)
{
    assert(a != b && a->peer == NULL && b->peer == NULL);
    a->peer = b;
    b->peer = a;
    if (flows(a)) /* what has arrived is moved when the loop comes to it */
        (void)http_io_arm(a->conn, EPOLLIN | EPOLLOUT);
}

/* --- the end ---------------------------------------------------------------------------------- */

void
syn_http_tunnel_close(struct syn_http_tunnel *tunnel)
{
    http_conn_close(tunnel->conn);
}

void
http_tunnel_recheck(struct syn_http_server *server, bool (*may)(void *arg, const void *identity),
                    void *arg)
{
    struct http_conn *conn = server->conns;

    while (conn != NULL) {
        if (conn->tunnel == NULL || may(arg, conn->req.identity)) {
            conn = conn->next;
            continue;
        }
        http_conn_close(conn);
        conn = server->conns;
    }
}

void
http_tunnel_expired(struct http_conn *conn)
{
    struct syn_http_tunnel *tunnel = conn->tunnel;

    if (!tunnel->moved) {
        syn_log(SYN_LOG_DEBUG, "http.tunnel-idle", "peer=%s", conn->peer.address);
        http_conn_close(conn);
        return;
    }
    tunnel->moved = false;
    http_clock_set(conn, HTTP_CLOCK_TUNNEL);
}

/* The other one has got what was sent, and learns that there is no more. It may be sending just
 * now, and would lose our last words if its bytes met a closed socket. */
static void
part(struct syn_http_tunnel *tunnel)
{
    struct http_conn *conn = tunnel->conn;

    if (conn->state != HTTP_TUNNEL) { /* the answer's head is still going out */
        tunnel->widowed = true;
        return;
    }
    conn->tunnel = NULL;
    tunnel->on_close(tunnel->arg);
    syn_free(tunnel);
    http_io_shutdown(conn);
    conn->state = HTTP_LINGER;
    conn->lingered = 0;
    conn->readable = true;
    http_clock_set(conn, HTTP_CLOCK_LINGER);
    (void)http_io_arm(conn, EPOLLIN);
}

void
http_tunnel_ended(struct http_conn *conn)
{
    struct syn_http_tunnel *tunnel = SYN_TAKE(conn->tunnel);
    struct syn_http_tunnel *peer = tunnel->peer;

    if (peer != NULL)
        peer->peer = NULL;
    tunnel->on_close(tunnel->arg);
    syn_free(tunnel);
    if (peer != NULL)
        part(peer);
}
