#include "http_priv.h"
#include "tls_hosts_priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

bool
http_io_arm(struct http_conn *conn, uint32_t events)
{
    if (conn->armed == events)
        return true;
    if (syn_watch_events(conn->watch, events, NULL) < 0)
        return false;
    conn->armed = events;
    return true;
}

/* OpenSSL keeps a queue of errors a thread: one connection's must not be read as the next one's. */
static ptrdiff_t
tls_result(struct http_conn *conn, int rc)
{
    int why = SSL_get_error(conn->ssl, rc);

    ERR_clear_error();
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (why == SSL_ERROR_WANT_READ)
        return http_io_arm(conn, EPOLLIN) ? HTTP_IO_AGAIN : HTTP_IO_GONE;
    if (why == SSL_ERROR_WANT_WRITE)
        return http_io_arm(conn, EPOLLOUT) ? HTTP_IO_AGAIN : HTTP_IO_GONE;
    return HTTP_IO_GONE;
}

ptrdiff_t
http_io_recv(struct http_conn *conn, void *buf, size_t cap)
{
    ssize_t got;

    if (conn->ssl != NULL) {
        size_t n = 0;
        int rc = SSL_read_ex(conn->ssl, buf, cap, &n);

        return rc == 1 ? (ptrdiff_t)n : tls_result(conn, rc);
    }
    do
        got = recv(conn->fd, buf, cap, 0);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    if (errno != EAGAIN)
        return HTTP_IO_GONE;
    return http_io_arm(conn, EPOLLIN) ? HTTP_IO_AGAIN : HTTP_IO_GONE;
}

ptrdiff_t
http_io_send(struct http_conn *conn, const void *data, size_t len, bool more)
{
    ssize_t sent;

    if (conn->ssl != NULL) {
        size_t n = 0;
        int rc = SSL_write_ex(conn->ssl, data, len, &n);
        ptrdiff_t result = rc == 1 ? (ptrdiff_t)n : tls_result(conn, rc);

        return result == 0 ? HTTP_IO_GONE : result;
    }
    do
        sent = send(conn->fd, data, len, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    if (errno != EAGAIN)
        return HTTP_IO_GONE;
    return http_io_arm(conn, EPOLLOUT) ? HTTP_IO_AGAIN : HTTP_IO_GONE;
}

ptrdiff_t
http_io_send_file(struct http_conn *conn, int fd, int64_t *offset, size_t len)
{
    off_t at = (off_t)*offset;
    ssize_t sent;

    if (conn->ssl != NULL) {
        /* SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER: after WANT_WRITE the same bytes come again from
         * here. */
        char block[16384];
        ssize_t got = pread(fd, block, SYN_MIN(len, sizeof(block)), at);
        ptrdiff_t n = got > 0 ? http_io_send(conn, block, (size_t)got, false) : HTTP_IO_GONE;

        if (n > 0)
            *offset += n;
        return n;
    }
    do
        sent = sendfile(conn->fd, fd, &at, SYN_MIN(len, (size_t)1 << 20));
    while (sent < 0 && errno == EINTR);
    if (sent > 0) {
        *offset = at;
        return sent;
    }
    if (sent == 0 || errno != EAGAIN) /* 0: the file is shorter than promised */
        return HTTP_IO_GONE;
    return http_io_arm(conn, EPOLLOUT) ? HTTP_IO_AGAIN : HTTP_IO_GONE;
}

int
http_io_handshake(struct http_conn *conn, uint32_t *ret_events)
{
    int rc = SSL_accept(conn->ssl);
    int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, rc);

    ERR_clear_error();
    if (rc == 1)
        return 0;
    *ret_events = why == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? HTTP_IO_AGAIN : HTTP_IO_GONE;
}

void
http_io_close(struct http_conn *conn)
{
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    if (conn->fd >= 0)
        (void)close(conn->fd);
    conn->fd = -1;
}

void
http_io_shutdown(struct http_conn *conn)
{
    if (conn->ssl != NULL) {
        (void)SSL_shutdown(conn->ssl);
        ERR_clear_error();
    }
    (void)shutdown(conn->fd, SHUT_WR);
}

static int
tls_fail(const char *what, struct syn_err *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    int rc = SYN_FAIL(err, SYN_E_INVALID, "TLS: %s: %s", what, reason != NULL ? reason : "failed");

    ERR_clear_error();
    return rc;
}

static int
use_files(const struct syn_http_tls *tls, SSL_CTX *ctx, struct syn_err *err)
{
    const char *key = tls->key_path != NULL ? tls->key_path : tls->cert_path;

    if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert_path) != 1)
        return tls_fail(tls->cert_path, err);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return tls_fail(key, err);
    return SYN_OK;
}

static int
choose_cert(SSL *ssl, void *arg)
{
    return tls_hosts_apply(arg, ssl) ? 1 : 0;
}

int
http_io_tls_new(const struct syn_http_tls *tls, SSL_CTX **ret, struct syn_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int rc = SYN_OK;

    if (ctx == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for TLS");
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
        rc = tls_fail("TLS 1.3", err);
    else if (tls->hosts == NULL)
        rc = use_files(tls, ctx, err);
    else
        SSL_CTX_set_cert_cb(ctx, choose_cert, tls->hosts);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    *ret = ctx;
    return SYN_OK;
}

/* A client that speaks neither is refused: what it says is meant for somebody else. */
static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char names[] = "\x02h2\x08http/1.1";
    const struct syn_http_server *server = arg;
    const size_t skip = server->options.http2 ? 0 : 3;
    unsigned char *chosen;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_len, names + skip, (unsigned)(sizeof(names) - 1 - skip),
                              in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

bool
http_io_is_http2(const struct http_conn *conn)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    if (conn->ssl != NULL)
        SSL_get0_alpn_selected(conn->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

void
http_io_tls_protocols(struct syn_http_server *server, SSL_CTX *tls)
{
    SSL_CTX_set_alpn_select_cb(tls, choose_protocol, server);
}

int
http_io_tls_attach(struct http_conn *conn, SSL_CTX *tls, struct syn_err *err)
{
    conn->ssl = SSL_new(tls);
    if (conn->ssl == NULL || SSL_set_fd(conn->ssl, conn->fd) != 1) {
        ERR_clear_error();
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a TLS connection");
    }
    SSL_set_accept_state(conn->ssl);
    return SYN_OK;
}
