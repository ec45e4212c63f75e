/* The server around its connections: listeners, deadlines, workers' answers, the way down.
 *
 * Why not a library. libmicrohttpd was measured first (docs/adr/0006-http.md): fast enough, but its
 * time-out restarts with every byte, it cannot see a suspended client go, answers malformed
 * requests itself and brings a second TLS stack. What is left to do without it is this file and its
 * four neighbours.
 *
 * Threads. Everything lives on the loop's thread. A connection whose request is on a worker is in
 * HTTP_WORK and the loop leaves its request alone; the worker puts the connection on the `done`
 * list and writes the eventfd. A client that goes away meanwhile only sets `gone`: memory is
 * released when the worker has returned. So the lock guards a list head and a counter, and no
 * connection data. */
#include "http_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#define ACCEPTS_A_TURN 64

static const int64_t latency_bounds[] = {100000,    250000,    500000,     1000000,    2500000,
                                         5000000,   10000000,  25000000,   50000000,   100000000,
                                         250000000, 500000000, 1000000000, 5000000000, 30000000000};

static const struct syn_metric http_metrics[] = {
    {.name = "synor_http_requests_total",
     .help = "Requests answered, by route and class of status.",
     .type = SYN_METRIC_COUNTER,
     .labels = {"method", "route", "class"}},
    {.name = "synor_http_request_seconds",
     .help = "Time from the end of a request's head to the last byte of its answer given to the "
             "kernel.",
     .type = SYN_METRIC_HISTOGRAM,
     .labels = {"method", "route"},
     .scale = 1e-9,
     .buckets = latency_bounds,
     .bucket_count = SYN_LEN(latency_bounds)},
    {.name = "synor_http_connections", .help = "Connections open now.", .type = SYN_METRIC_GAUGE},
};

/* --- time ---------------------------------------------------------------------------------------
 */

const char *
http_date(struct syn_http_server *server)
{
    struct timespec now;
    struct tm tm;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != server->date_s && gmtime_r(&now.tv_sec, &tm) != NULL) {
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

        (void)snprintf(server->date, sizeof(server->date),
                       "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                       days + (size_t)3 * (size_t)tm.tm_wday, tm.tm_mday,
                       months + (size_t)3 * (size_t)tm.tm_mon, tm.tm_year + 1900, tm.tm_hour,
                       tm.tm_min, tm.tm_sec);
        server->date_s = now.tv_sec;
    }
    return server->date;
}

static void timer_fired(void *arg);

/* Have the timer fire no later than `at_ms`. A timer that fires too early finds nothing expired and
 * is set anew: cheaper than moving it with every request. */
static void
timer_want(struct syn_http_server *server, int64_t at_ms)
{
    int64_t delay;

    if (server->timer != NULL && server->timer_at_ms <= at_ms)
        return;
    server->timer = syn_watch_drop(server->timer);
    delay = at_ms - syn_loop_now_ms(server->options.loop);
    if (syn_loop_timer(server->options.loop, delay > 0 ? delay : 0, 0, timer_fired, server,
                       &server->timer, NULL) < 0)
        server->timer = NULL; /* out of memory: the next deadline that is set tries again */
    server->timer_at_ms = at_ms;
}

static void
timer_fired(void *arg)
{
    struct syn_http_server *server = arg;
    int64_t now = syn_loop_now_ms(server->options.loop);
    int64_t next = INT64_MAX;

    server->timer = NULL;
    for (int clock = 1; clock < HTTP_CLOCK_COUNT; clock++) {
        struct http_clock_queue *queue = &server->clocks[clock];

        while (queue->first != NULL && queue->first->deadline_ms <= now)
            http_conn_expired(queue->first); /* leaves this queue, or goes to its end */
        if (queue->first != NULL)
            next = SYN_MIN(next, queue->first->deadline_ms);
    }
    if (next != INT64_MAX)
        timer_want(server, next);
}

void
http_clock_set(struct http_conn *conn, enum http_clock clock)
{
    struct syn_http_server *server = conn->server;
    struct http_clock_queue *queue = &server->clocks[conn->clock];

    if (conn->clock != HTTP_CLOCK_NONE) {
        *(conn->clock_prev != NULL ? &conn->clock_prev->clock_next : &queue->first) =
            conn->clock_next;
        *(conn->clock_next != NULL ? &conn->clock_next->clock_prev : &queue->last) =
            conn->clock_prev;
    }
    conn->clock = clock;
    conn->clock_prev = NULL;
    conn->clock_next = NULL;
    if (clock == HTTP_CLOCK_NONE)
        return;
    queue = &server->clocks[clock];
    conn->deadline_ms = syn_loop_now_ms(server->options.loop) + queue->duration_ms;
    conn->clock_prev = queue->last;
    *(queue->last != NULL ? &queue->last->clock_next : &queue->first) = conn;
    queue->last = conn;
    timer_want(server, conn->deadline_ms);
}

/* --- workers ------------------------------------------------------------------------------------
 */

void
http_wake(struct syn_http_server *server)
{
    const uint64_t one = 1;
    ssize_t rc = write(server->wake_fd, &one, sizeof(one));

    assert(rc == (ssize_t)sizeof(one) || errno == EAGAIN);
}

static void
job_main(void *arg)
{
    struct http_conn *conn = arg;
    struct syn_http_server *server = conn->server;
    bool first;

    http_conn_run_job(conn);
    (void)pthread_mutex_lock(&server->lock);
    first = server->done_first == NULL;
    conn->done_next = server->done_first;
    server->done_first = conn;
    /* Inside the lock: behind it the server may be gone as soon as `jobs` is 0. */
    if (first)
        http_wake(server);
    server->jobs--;
    if (server->jobs == 0)
        (void)pthread_cond_signal(&server->idle);
    (void)pthread_mutex_unlock(&server->lock);
}

int
http_job_start(struct http_conn *conn, enum http_job job, struct syn_err *err)
{
    struct syn_http_server *server = conn->server;
    struct syn_pool *pool =
        job == HTTP_JOB_HANDSHAKE ? server->options.handshakes : server->options.pool;
    int rc;

    assert(conn->job == HTTP_JOB_NONE);
    if (pool == NULL)
        return SYN_FAIL(err, SYN_E_INTERNAL, "this server has no pool for blocking handlers");
    conn->job = job;
    (void)pthread_mutex_lock(&server->lock);
    server->jobs++;
    (void)pthread_mutex_unlock(&server->lock);
    rc = syn_pool_run(pool, job_main, conn, err);
    if (rc == SYN_OK)
        return SYN_OK;
    conn->job = HTTP_JOB_NONE;
    (void)pthread_mutex_lock(&server->lock);
    server->jobs--;
    (void)pthread_mutex_unlock(&server->lock);
    return rc == SYN_E_LIMIT
               ? SYN_FAIL(err, SYN_E_UNAVAILABLE, "the server is busy; try again soon")
               : rc;
}

static void
wake_fired(void *arg, int fd, uint32_t events)
{
    struct syn_http_server *server = arg;
    struct http_conn *done;
    struct syn_http_stream *dirty;
    uint64_t count;

    (void)events;
    if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return;
    (void)pthread_mutex_lock(&server->lock);
    done = server->done_first;
    server->done_first = NULL;
    (void)pthread_mutex_unlock(&server->lock);
    while (done != NULL) {
        struct http_conn *conn = done;

        done = conn->done_next;
        conn->done_job = conn->job;
        conn->job = HTTP_JOB_NONE;
        http_conn_job_done(conn);
    }
    http2_due(server);
    dirty = server->dirty;
    server->dirty = NULL;
    while (dirty != NULL) {
        struct syn_http_stream *stream = dirty;

        dirty = stream->dirty_next;
        stream->dirty = false;
        http_sse_flush(stream->conn);
    }
}

/* --- connections --------------------------------------------------------------------------------
 */

static void
stop_check(void *arg)
{
    struct syn_http_server *server = arg;
    void (*done)(void *) = server->stop_done;

    if (!server->stopping || server->conn_count > 0 || server->orphans != NULL || done == NULL)
        return;
    server->stop_timer = syn_watch_drop(server->stop_timer);
    server->stop_done = NULL;
    done(server->stop_arg);
}

/* One connection less: told from a turn of its own, so that done() may free the server. */
static void
stop_check_soon(struct syn_http_server *server)
{
    if (!server->stopping || server->conn_count > 0 || server->orphans != NULL ||
        server->stop_done == NULL)
        return;
    server->stop_timer = syn_watch_drop(server->stop_timer);
    if (syn_loop_timer(server->options.loop, 0, 0, stop_check, server, &server->stop_timer, NULL) <
        0)
        server->stop_timer = NULL;
}

void
http_conn_release(struct http_conn *conn)
{
    struct syn_http_server *server = conn->server;

    assert(conn->state == HTTP_CLOSED && conn->job == HTTP_JOB_NONE);
    http_req_reset(&conn->req);
    http_io_close(conn);
    http_conn_unlink(conn->h2.id != 0 ? &server->orphans : &server->conns, conn);
    if (conn->h2.id == 0)
        server->conn_count--;
    else
        server->stream_count--;
    if (server->conns_gauge != NULL)
        syn_series_set(server->conns_gauge, server->conn_count);
    syn_buf_fini(&conn->out);
    syn_buf_fini(&conn->req.body);
    syn_buf_fini(&conn->req.reply.body);
    syn_buf_fini(&conn->req.reply.extra);
    syn_free(conn->in);
    syn_free(conn);
    stop_check_soon(server);
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void
peer_fill(int fd, const struct http_listener *listener, const union address *from,
          struct syn_http_peer *peer)
{
    memset(peer, 0, sizeof(*peer));
    peer->uid = (uid_t)-1;
    peer->gid = (gid_t)-1;
    peer->secure = listener->tls != NULL;
    if (listener->unix_path != NULL) {
        struct ucred cred;
        socklen_t len = sizeof(cred);

        peer->is_unix = true;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
            peer->pid = cred.pid;
            peer->uid = cred.uid;
            peer->gid = cred.gid;
        }
    } else if (from->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &from->v4.sin_addr, peer->address, sizeof(peer->address));
    } else {
        (void)inet_ntop(AF_INET6, &from->v6.sin6_addr, peer->address, sizeof(peer->address));
    }
}

static void
accept_fired(void *arg, int listen_fd, uint32_t events)
{
    struct http_listener *listener = arg;
    struct syn_http_server *server = listener->server;
    const int on = 1;

    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        union address from = {.v6 = {0}};
        struct syn_http_peer peer;
        socklen_t len = sizeof(from);
        int fd = accept4(listen_fd, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return; /* nobody left, or out of descriptors: level-triggered, we are called again */
        if (server->conn_count >= server->limits.conns_max) {
            (void)close(fd);
            continue;
        }
        peer_fill(fd, listener, &from, &peer);
        if (!peer.is_unix)
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        http_conn_accept_take(server, listener, fd, &peer);
        if (server->conns_gauge != NULL)
            syn_series_set(server->conns_gauge, server->conn_count);
    }
}

/* --- listeners ----------------------------------------------------------------------------------
 */

static int
listener_open(struct syn_http_server *server, int fd, SSL_CTX *tls, const char *unix_path,
              struct syn_err *err)
{
    struct http_listener *listener = &server->listeners[server->listener_count];
    int rc;

    listener->unix_path = NULL;
    if (unix_path != NULL) {
        listener->unix_path = syn_strdup(unix_path);
        if (listener->unix_path == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a listener");
    }
    listener->server = server;
    listener->fd = fd;
    listener->tls = tls;
    if (listen(fd, SOMAXCONN) != 0)
        rc = SYN_FAIL_SYS(err, errno, "listening");
    else
        rc = syn_loop_fd(server->options.loop, fd, EPOLLIN, accept_fired, listener,
                         &listener->watch, err);
    if (rc < 0) {
        syn_free(listener->unix_path);
        listener->unix_path = NULL;
        return rc;
    }
    server->listener_count++;
    return SYN_OK;
}

static void
listener_close(struct http_listener *listener)
{
    listener->watch = syn_watch_drop(listener->watch);
    if (listener->fd >= 0)
        (void)close(listener->fd);
    listener->fd = -1;
    if (listener->unix_path != NULL)
        (void)unlink(listener->unix_path);
    syn_free(listener->unix_path);
    listener->unix_path = NULL;
}

/* A socket file that nobody answers behind is litter of a dead process; one that answers is not
 * ours. */
static int
clear_stale_socket(const struct sockaddr_un *address, struct syn_err *err)
{
    struct stat st;
    int fd;
    int rc;

    if (lstat(address->sun_path, &st) != 0)
        return SYN_OK;
    if (!S_ISSOCK(st.st_mode))
        return SYN_FAIL(err, SYN_E_EXISTS, "%s exists and is no socket", address->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    if (rc != 0)
        rc = errno == ECONNREFUSED ? SYN_OK : SYN_E_EXISTS;
    else
        rc = SYN_E_EXISTS;
    (void)close(fd);
    if (rc < 0)
        return SYN_FAIL(err, rc, "somebody listens at %s already", address->sun_path);
    if (unlink(address->sun_path) != 0)
        return SYN_FAIL_SYS(err, errno, "removing %s", address->sun_path);
    return SYN_OK;
}

static int
listen_ready(const struct syn_http_server *server, struct syn_err *err)
{
    if (server->listener_count == SYN_HTTP_LISTENERS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d listeners", SYN_HTTP_LISTENERS_MAX);
    if (server->stopping)
        return SYN_FAIL(err, SYN_E_CANCELED, "the server is stopping");
    return SYN_OK;
}

int
syn_http_listen_unix(struct syn_http_server *server, const char *path, mode_t mode,
                     struct syn_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int rc = listen_ready(server, err);
    int fd;

    if (rc < 0)
        return rc;
    if (!syn_str_copy(address.sun_path, sizeof(address.sun_path), path))
        return SYN_FAIL(err, SYN_E_INVALID, "socket path longer than %zu bytes: %s",
                        sizeof(address.sun_path) - 1, path);
    rc = clear_stale_socket(&address, err);
    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    /* The mode before bind() is what the file gets, less the umask: it is never too open. chmod
     * then gives what the umask took. */
    if (fchmod(fd, mode) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || chmod(path, mode) != 0)
        rc = SYN_FAIL_SYS(err, errno, "binding %s", path);
    else
        rc = listener_open(server, fd, NULL, path, err);
    if (rc < 0)
        (void)close(fd);
    return rc;
}

static socklen_t
address_len(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* "127.0.0.1:80" or "[::1]:80" */
static int
parse_address(const char *text, union address *ret, bool *ret_loopback, struct syn_err *err)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    uint64_t port = 0;
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    bool bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';

    if (colon == NULL || len >= sizeof(host))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no ADDRESS:PORT", text);
    if (syn_parse_u64(colon + 1, 0, 65535, "port", &port, err) < 0)
        return syn_err_wrap(err, SYN_E_INVALID, "\"%.80s\"", text);
    memcpy(host, text + (bracketed ? 1 : 0), len - (bracketed ? 2 : 0));
    host[len - (bracketed ? 2 : 0)] = '\0';
    memset(ret, 0, sizeof(*ret));
    if (!bracketed && inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons((uint16_t)port);
        *ret_loopback = (ntohl(ret->v4.sin_addr.s_addr) >> 24) == 127;
    } else if (bracketed && inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons((uint16_t)port);
        *ret_loopback = IN6_IS_ADDR_LOOPBACK(&ret->v6.sin6_addr);
    } else {
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no ADDRESS:PORT, as 127.0.0.1:0 or [::1]:0",
                        text);
    }
    return SYN_OK;
}

/* Bind, and put the port that was given into `address`. */
static int
bind_tcp(union address *address, const char *text, bool shared, int *ret_fd, struct syn_err *err)
{
    socklen_t len = address_len(address);
    const int on = 1;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (shared)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (bind(fd, &address->any, len) != 0 || getsockname(fd, &address->any, &len) != 0) {
        rc = errno == EADDRINUSE
                 ? SYN_FAIL(err, SYN_E_EXISTS, "somebody listens at %s already", text)
                 : SYN_FAIL_SYS(err, errno, "binding %s", text);
        (void)close(fd);
        return rc;
    }
    *ret_fd = fd;
    return SYN_OK;
}

int
syn_http_listen_tcp(struct syn_http_server *server, const char *text,
                    const struct syn_http_tls *tls, uint16_t *ret_port, struct syn_err *err)
{
    union address address = {.v6 = {0}};
    bool loopback = false;
    SSL_CTX *ctx = NULL;
    int fd = -1;
    int rc = listen_ready(server, err);

    if (rc == SYN_OK)
        rc = parse_address(text, &address, &loopback, err);
    if (rc < 0)
        return rc;
    if (tls == NULL && !loopback)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s without TLS: plain HTTP is served on loopback addresses only", text);
    if (tls != NULL)
        rc = http_io_tls_new(tls, &ctx, err);
    if (rc == SYN_OK)
        rc = bind_tcp(&address, text, false, &fd, err);
    if (rc == SYN_OK)
        rc = listener_open(server, fd, ctx, NULL, err);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    if (ret_port != NULL)
        *ret_port =
            ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return SYN_OK;
}

int
syn_http_bind(const char *text, int *ret_fd, uint16_t *ret_port, struct syn_err *err)
{
    union address address = {.v6 = {0}};
    bool loopback;
    int rc = parse_address(text, &address, &loopback, err);

    if (rc == SYN_OK)
        rc = bind_tcp(&address, text, true, ret_fd, err);
    if (rc == SYN_OK && ret_port != NULL)
        *ret_port =
            ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return rc;
}

int
syn_http_listen_fd_take(struct syn_http_server *server, int fd, const struct syn_http_tls *tls,
                        struct syn_err *err)
{
    SSL_CTX *ctx = NULL;
    int rc = listen_ready(server, err);

    if (rc == SYN_OK && tls != NULL)
        rc = http_io_tls_new(tls, &ctx, err);
    if (rc == SYN_OK && tls != NULL)
        http_io_tls_protocols(server, ctx);
    if (rc == SYN_OK)
        rc = listener_open(server, fd, ctx, NULL, err);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        (void)close(fd);
    }
    return rc;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void
limits_default(struct syn_http_limits *limits)
{
    static const struct syn_http_limits defaults = {.head_bytes_max = 16384,
                                                    .conns_max = 4096,
                                                    .handshake_ms = 10000,
                                                    .head_ms = 10000,
                                                    .idle_ms = 60000,
                                                    .pace_ms = 20000,
                                                    .sse_keepalive_ms = 15000,
                                                    .tunnel_idle_ms = 3600000,
                                                    .sse_backlog_max = 1 << 20};

#define OR_DEFAULT(field)   \
    if (limits->field == 0) \
    limits->field = defaults.field
    OR_DEFAULT(head_bytes_max);
    OR_DEFAULT(conns_max);
    OR_DEFAULT(handshake_ms);
    OR_DEFAULT(head_ms);
    OR_DEFAULT(idle_ms);
    OR_DEFAULT(pace_ms);
    OR_DEFAULT(sse_keepalive_ms);
    OR_DEFAULT(tunnel_idle_ms);
    OR_DEFAULT(sse_backlog_max);
#undef OR_DEFAULT
}

static int
server_init(struct syn_http_server *server, struct syn_err *err)
{
    uint8_t random[4];
    int rc;

    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->wake_fd < 0)
        return SYN_FAIL_SYS(err, errno, "making an eventfd");
    rc = http_router_new(&server->router, err);
    if (rc == SYN_OK)
        rc = syn_loop_fd(server->options.loop, server->wake_fd, EPOLLIN, wake_fired, server,
                         &server->wake_watch, err);
    if (rc == SYN_OK && server->options.metrics != NULL) {
        rc = syn_metrics_add(server->options.metrics, http_metrics, SYN_LEN(http_metrics), err);
        if (rc == SYN_OK)
            rc = syn_metrics_series(server->options.metrics, &http_metrics[2], NULL,
                                    &server->conns_gauge, err);
    }
    syn_secret_random(random, sizeof(random));
    syn_hex_encode(random, sizeof(random), server->id_prefix);
    return rc;
}

int
syn_http_server_new(const struct syn_http_options *options, struct syn_http_server **ret_server,
                    struct syn_err *err)
{
    struct syn_http_server *server = syn_calloc(1, sizeof(*server));
    int rc;

    if (server == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an HTTP server");
    /* OpenSSL and sendfile() have no MSG_NOSIGNAL. */
    (void)signal(SIGPIPE, SIG_IGN);
    server->options = *options;
    server->limits = options->limits;
    limits_default(&server->limits);
    server->clocks[HTTP_CLOCK_HANDSHAKE].duration_ms = server->limits.handshake_ms;
    server->clocks[HTTP_CLOCK_HEAD].duration_ms = server->limits.head_ms;
    server->clocks[HTTP_CLOCK_IDLE].duration_ms = server->limits.idle_ms;
    server->clocks[HTTP_CLOCK_PACE].duration_ms = server->limits.pace_ms;
    server->clocks[HTTP_CLOCK_SSE].duration_ms = server->limits.sse_keepalive_ms;
    server->clocks[HTTP_CLOCK_LINGER].duration_ms = HTTP_LINGER_MS;
    server->clocks[HTTP_CLOCK_TUNNEL].duration_ms = server->limits.tunnel_idle_ms;
    (void)pthread_mutex_init(&server->lock, NULL);
    (void)pthread_cond_init(&server->idle, NULL);
    rc = server_init(server, err);
    if (rc < 0) {
        (void)syn_http_server_free(server);
        return rc;
    }
    *ret_server = server;
    return SYN_OK;
}

int
syn_http_server_catch(struct syn_http_server *server, const struct syn_http_route *row,
                      syn_http_head_fn head, void *ctx, struct syn_err *err)
{
    if (server->listener_count > 0 || server->all.route != NULL ||
        http_router_at(server->router, 0) != NULL)
        return SYN_FAIL(err, SYN_E_CONFLICT, "a server of other rows cannot serve all alike");
    assert(row->kind == SYN_HTTP_LOOP && row->handler != NULL);
    server->all = (struct http_route_entry){.route = row, .ctx = ctx};
    server->all_head = head;
    return SYN_OK;
}

static void
cut_all(struct syn_http_server *server)
{
    struct http_conn *conn = server->conns;

    while (conn != NULL) {
        if (conn->state == HTTP_CLOSED) {
            conn = conn->next;
            continue;
        }
        http_conn_close(conn); /* others may be answered, and end, with it */
        conn = server->conns;
    }
}

struct syn_http_server *
syn_http_server_free(struct syn_http_server *server)
{
    if (server == NULL)
        return NULL;
    server->stop_done = NULL;
    for (unsigned i = 0; i < server->listener_count; i++) {
        listener_close(&server->listeners[i]);
        SSL_CTX_free(server->listeners[i].tls);
    }
    cut_all(server);
    (void)pthread_mutex_lock(&server->lock);
    while (server->jobs > 0)
        (void)pthread_cond_wait(&server->idle, &server->lock);
    (void)pthread_mutex_unlock(&server->lock);
    while (server->conns != NULL) {
        struct http_conn *conn = server->conns;

        conn->job = HTTP_JOB_NONE;
        http_conn_release(conn);
    }
    while (server->orphans != NULL)
        http_conn_release(server->orphans);
    server->timer = syn_watch_drop(server->timer);
    server->stop_timer = syn_watch_drop(server->stop_timer);
    server->wake_watch = syn_watch_drop(server->wake_watch);
    if (server->wake_fd >= 0)
        (void)close(server->wake_fd);
    server->router = http_router_free(server->router);
    (void)pthread_mutex_destroy(&server->lock);
    (void)pthread_cond_destroy(&server->idle);
    syn_free(server);
    return NULL;
}

static int
entry_series(struct syn_http_server *server, struct http_route_entry *entry, struct syn_err *err)
{
    static const char *const classes[5] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    const char *labels[3] = {entry->route->method, entry->route->pattern, NULL};
    int rc;

    for (size_t i = 0; i < SYN_LEN(classes); i++) {
        labels[2] = classes[i];
        rc = syn_metrics_series(server->options.metrics, &http_metrics[0], labels,
                                &entry->classes[i], err);
        if (rc < 0)
            return rc;
    }
    return syn_metrics_series(server->options.metrics, &http_metrics[1], labels, &entry->latency,
                              err);
}

int
syn_http_server_add(struct syn_http_server *server, const struct syn_http_route *routes,
                    size_t count, void *ctx, struct syn_err *err)
{
    size_t first = 0;
    int rc = SYN_OK;

    if (server->listener_count > 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "routes are added before the first listener");
    while (http_router_at(server->router, first) != NULL)
        first++;
    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        rc = http_router_add(server->router, &routes[i], ctx, err);
    for (; server->options.metrics != NULL && rc == SYN_OK; first++) {
        struct http_route_entry *entry = http_router_at(server->router, first);

        if (entry == NULL)
            break;
        rc = entry_series(server, entry, err);
    }
    return rc;
}

const struct syn_http_route *
syn_http_routes(const struct syn_http_server *server, size_t index)
{
    const struct http_route_entry *entry = http_router_at(server->router, index);

    return entry == NULL ? NULL : entry->route;
}

unsigned
syn_http_server_conns(const struct syn_http_server *server)
{
    return server->conn_count;
}

static void
stop_expired(void *arg)
{
    struct syn_http_server *server = arg;

    server->stop_timer = NULL;
    cut_all(server);
    stop_check_soon(server);
}

int
syn_http_server_stop(struct syn_http_server *server, int64_t limit_ms, void (*done)(void *arg),
                     void *arg, struct syn_err *err)
{
    struct http_conn *next;
    int rc;

    if (server->stopping)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the server is stopping already");
    rc = syn_loop_timer(server->options.loop, limit_ms, 0, stop_expired, server,
                        &server->stop_timer, err);
    if (rc < 0)
        return rc;
    server->stopping = true;
    server->stop_done = done;
    server->stop_arg = arg;
    for (unsigned i = 0; i < server->listener_count; i++)
        listener_close(&server->listeners[i]);
    for (struct http_conn *conn = server->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->state == HTTP_STREAM)
            syn_http_sse_close(conn->stream);
        else if (conn->state == HTTP_SESSION)
            http2_stop(conn);
        else if (conn->state == HTTP_TUNNEL || conn->state == HTTP_HANDSHAKE ||
                 (conn->state == HTTP_HEAD && conn->in_len == 0))
            http_conn_close(conn);
    }
    stop_check_soon(server);
    return SYN_OK;
}
