/* The server over real sockets: it runs on a thread with its own loop, the tests speak raw bytes.
 */
#include "http_testing.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/str.h>

static void
test_keep_alive_and_pipeline(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];
    int fd = site_dial(site);
    const char one[] = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    const char more[] = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
                        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
                        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "5\r\nchunk\r\n0\r\n\r\n"
                        "GET /hello" END;
    const char *at;

    (void)state;
    for (int i = 0; i < 3; i++) {
        site_say(fd, one, sizeof(one) - 1);
        site_hear_until(fd, answer, sizeof(answer), "\r\n\r\nhello");
    }
    site_say(fd, more, sizeof(more) - 1);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    at = strstr(answer, "hello");
    assert_non_null(at);
    at = strstr(at, "\r\n\r\nbody");
    assert_non_null(at);
    at = strstr(at, "\r\n\r\nchunk");
    assert_non_null(at);
    assert_non_null(strstr(at, "\r\n\r\nhello"));
    site_end(site);
}

static void
test_large_answers(void **state)
{
    static const struct {
        const char *target;
        size_t len;
        bool chunked;
    } rows[] = {
        {"/big", SITE_BIG_BYTES, false},          {"/file", SITE_FILE_BYTES, false},
        {"/pull/known", SITE_FILE_BYTES, false},  {"/pool-pull/known", SITE_FILE_BYTES, false},
        {"/pull/unknown", SITE_FILE_BYTES, true}, {"/pool-pull/unknown", SITE_FILE_BYTES, true},
    };
    struct site *site = site_start(false, NULL);
    static char answer[SITE_BIG_BYTES + SITE_ANSWER_SIZE];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char request[256];
        char *body;
        size_t len;
        int fd = site_dial(site);

        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.%d\r\nHost: x\r\n\r\n",
                       rows[i].target, 0);
        site_say(fd, request, strlen(request));
        len = site_hear_all(fd, answer, sizeof(answer));
        body = strstr(answer, "\r\n\r\n");
        assert_non_null(body);
        assert_int_equal(len - (size_t)(body + 4 - answer), rows[i].len);
        assert_memory_equal(body + 4, site_big, rows[i].len);
        (void)close(fd);
        if (!rows[i].chunked)
            continue;
        fd = site_dial(site);
        (void)snprintf(request, sizeof(request), "GET %s" END, rows[i].target);
        site_say(fd, request, strlen(request));
        len = site_hear_all(fd, answer, sizeof(answer));
        site_assert_holds(answer, "transfer-encoding: chunked");
        assert_memory_equal(answer + len - 5, "0\r\n\r\n", 5);
        (void)close(fd);
    }
    /* A source that fails in the middle: no proper end. */
    for (int i = 0; i < 2; i++) {
        const char *request = i == 0 ? "GET /pull/broken" END : "GET /pool-pull/broken" END;
        int fd = site_dial(site);
        size_t len;

        site_say(fd, request, strlen(request));
        len = site_hear_all(fd, answer, sizeof(answer));
        assert_true(len > 1000);
        assert_memory_not_equal(answer + len - 5, "0\r\n\r\n", 5);
        (void)close(fd);
    }
    site_end(site);
}

static void
test_upload(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];
    static char stored[SITE_BIG_BYTES];
    char head[256];
    int fd = site_dial(site);
    int file;

    (void)state;
    (void)snprintf(head, sizeof(head),
                   "PUT /upload" HEAD "Expect: 100-continue\r\nContent-Length: %d\r\n\r\n",
                   SITE_BIG_BYTES);
    site_say(fd, head, strlen(head));
    site_hear_until(fd, answer, sizeof(answer), "HTTP/1.1 100 Continue\r\n\r\n");
    site_say(fd, site_big, SITE_BIG_BYTES);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_assert_holds(answer, "{\"received_bytes\":3145728}");
    file = open(site->upload_path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(file, stored, SITE_BIG_BYTES), SITE_BIG_BYTES);
    assert_memory_equal(stored, site_big, SITE_BIG_BYTES);

    /* Chunked, at an offset. */
    fd = site_dial(site);
    (void)snprintf(head, sizeof(head),
                   "PUT /upload?offset=2" HEAD
                   "Transfer-Encoding: chunked\r\n\r\n3\r\nXYZ\r\n0\r\n\r\n");
    site_say(fd, head, strlen(head));
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_assert_holds(answer, "{\"received_bytes\":3}");
    assert_int_equal(pread(file, stored, 6, 0), 6);
    assert_memory_equal(stored + 2, "XYZ", 3);
    assert_memory_equal(stored, site_big, 2);

    /* The client goes away in the middle: what was accepted is told to drop(). */
    (void)pthread_mutex_lock(&site->lock);
    site->upload_dropped = -1;
    (void)pthread_mutex_unlock(&site->lock);
    fd = site_dial(site);
    (void)snprintf(head, sizeof(head), "PUT /upload" HEAD "Content-Length: %d\r\n\r\n",
                   SITE_BIG_BYTES);
    site_say(fd, head, strlen(head));
    site_say(fd, site_big, 1000000);
    (void)shutdown(fd, SHUT_WR);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    (void)pthread_mutex_lock(&site->lock);
    while (site->upload_dropped < 0)
        (void)pthread_cond_wait(&site->changed, &site->lock);
    assert_true(site->upload_dropped <= 1000000);
    assert_true(site->upload_dropped >= 700000);
    (void)pthread_mutex_unlock(&site->lock);
    (void)close(file);
    site_end(site);
}

static void
test_huge_heads(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];
    static char request[40000];
    size_t len;
    int fd;

    (void)state;
    len = (size_t)snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    memset(request + len, 'a', 20000);
    fd = site_dial(site);
    site_say(fd, request, len + 20000);
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "HTTP/1.1 431");
    (void)close(fd);

    len = (size_t)snprintf(request, sizeof(request), "GET /hello" HEAD);
    for (int i = 0; i < 80; i++)
        len += (size_t)snprintf(request + len, sizeof(request) - len, "h%d: x\r\n", i);
    len += (size_t)snprintf(request + len, sizeof(request) - len, "\r\n");
    fd = site_dial(site);
    site_say(fd, request, len);
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "HTTP/1.1 431");
    (void)close(fd);

    len = (size_t)snprintf(request, sizeof(request), "GET /");
    memset(request + len, 'a', 5000);
    len += 5000;
    len += (size_t)snprintf(request + len, sizeof(request) - len, END);
    fd = site_dial(site);
    site_say(fd, request, len);
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "HTTP/1.1 414");
    (void)close(fd);
    site_end(site);
}

/* A client that sends a byte now and then must not hold a connection for ever. */
static void
test_slow_loris(void **state)
{
    const struct syn_http_limits limits = {.head_ms = 300, .idle_ms = 300, .pace_ms = 300};
    struct site *site = site_start(false, &limits);
    static char answer[SITE_ANSWER_SIZE];
    static const char *const starts[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\nA: ",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"};
    int fd;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(starts); i++) {
        const struct timespec pause = {0, 50000000};
        int sent = 0;

        fd = site_dial(site);
        site_say(fd, starts[i], strlen(starts[i]));
        while (sent < 100 && send(fd, "a", 1, MSG_NOSIGNAL) == 1) {
            struct pollfd ready = {fd, POLLIN, 0};

            sent++;
            if (poll(&ready, 1, 0) > 0)
                break;
            (void)nanosleep(&pause, NULL);
        }
        assert_true(sent < 60);
        (void)site_hear_all(fd, answer, sizeof(answer));
        site_assert_holds(answer, "HTTP/1.1 408");
        (void)close(fd);
    }
    /* Silence, before and between requests, ends without a word. */
    fd = site_dial(site);
    assert_int_equal(site_hear_all(fd, answer, sizeof(answer)), 0);
    (void)close(fd);
    fd = site_dial(site);
    site_ask(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "hello");
    (void)close(fd);
    /* A reader that does not read is cut. */
    fd = site_dial(site);
    site_ask(fd, "GET /pull/endless" END);
    site_wait(site, &site->pulls_dropped, 1);
    (void)close(fd);
    site_end(site);
}

static void
test_sse(void **state)
{
    const struct syn_http_limits limits = {.sse_keepalive_ms = 100, .sse_backlog_max = 200000};
    struct site *site = site_start(false, &limits);
    static char answer[SITE_ANSWER_SIZE];
    int fd = site_dial(site);

    (void)state;
    site_ask(fd, "GET /events?mode=quiet HTTP/1.1\r\nHost: x\r\n\r\n");
    site_hear_until(fd, answer, sizeof(answer), ": keep-alive\n\n");
    site_wait(site, &site->streams_closed, 0);
    (void)close(fd);
    site_wait(site, &site->streams_closed, 1);

    fd = site_dial(site);
    site_ask(fd, "GET /events?mode=flood HTTP/1.1\r\nHost: x\r\n\r\n");
    site_wait(site, &site->streams_closed, 2);
    site_wait(site, &site->send_rc, SYN_E_LIMIT);
    (void)close(fd);
    site_end(site);
}

static void
test_later(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];
    int fd = site_dial(site);
    int other;

    (void)state;
    site_ask(fd, "GET /park" END);
    do {
        other = site_dial(site);
        site_ask(other, "GET /unpark" END);
        (void)site_hear_all(other, answer, sizeof(answer));
        (void)close(other);
    } while (strstr(answer, "409") != NULL);
    (void)site_hear_all(fd, answer, sizeof(answer));
    site_assert_holds(answer, "\r\n\r\nlate");
    (void)close(fd);

    /* The client is gone before the answer. */
    fd = site_dial(site);
    site_ask(fd, "GET /park" END);
    (void)close(fd);
    do {
        other = site_dial(site);
        site_ask(other, "GET /unpark" END);
        (void)site_hear_all(other, answer, sizeof(answer));
        (void)close(other);
    } while (strstr(answer, "409") != NULL);
    site_end(site);
}

static void
test_unix_socket(void **state)
{
    struct site *site = site_start(false, NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static char answer[SITE_ANSWER_SIZE];
    char want[64];
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(stat(site->socket_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(syn_str_copy(address.sun_path, sizeof(address.sun_path), site->socket_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    site_ask(fd, "GET /whoami" END);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    (void)snprintf(want, sizeof(want), "unix=1 uid=%d pid=%d", (int)getuid(), (int)getpid());
    site_assert_holds(answer, want);
    site_end(site);
}

static void
test_listen_refuses(void **state)
{
    struct syn_loop *loop = NULL;
    struct syn_http_server *server = NULL;
    struct syn_http_server *second = NULL;
    struct syn_http_options options = {0};
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    char path[100];
    char address[64];
    uint16_t port = 0;
    struct syn_err err;
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/refuse.sock", syn_test_dir());
    assert_done(syn_loop_new(&loop, &err), &err);
    options.loop = loop;
    assert_done(syn_http_server_new(&options, &server, &err), &err);
    assert_done(syn_http_server_new(&options, &second, &err), &err);
    assert_code(syn_http_listen_tcp(server, "0.0.0.0:0", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_code(syn_http_listen_tcp(server, "127.0.0.1", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_code(syn_http_listen_tcp(server, "127.0.0.1:70000", NULL, NULL, &err), SYN_E_INVALID,
                &err);
    assert_code(syn_http_listen_tcp(server, "localhost:0", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_code(syn_http_listen_tcp(server, "::1:0", NULL, NULL, &err), SYN_E_INVALID, &err);
    assert_done(syn_http_listen_tcp(server, "127.0.0.1:0", NULL, &port, &err), &err);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)port);
    assert_code(syn_http_listen_tcp(second, address, NULL, NULL, &err), SYN_E_EXISTS, &err);
    /* A dead socket file is replaced, a live one is not, another file neither. */
    assert_true(syn_str_copy(stale.sun_path, sizeof(stale.sun_path), path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof(stale)), 0);
    (void)close(fd);
    assert_done(syn_http_listen_unix(server, path, 0660, &err), &err);
    assert_code(syn_http_listen_unix(second, path, 0660, &err), SYN_E_EXISTS, &err);
    assert_code(syn_http_listen_unix(second, "/dev/null", 0660, &err), SYN_E_EXISTS, &err);
    assert_code(syn_http_server_add(server, site_routes, 1, NULL, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_http_server_add(second, site_routes, 2, NULL, &err), &err);
    assert_code(syn_http_server_add(second, site_routes, 1, NULL, &err), SYN_E_EXISTS, &err);
    assert_ptr_equal(syn_http_routes(second, 1), &site_routes[1]);
    assert_null(syn_http_routes(second, 2));
    assert_null(syn_http_server_free(server));
    assert_null(syn_http_server_free(second));
    assert_null(syn_loop_free(loop));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void
stopped(void *arg)
{
    struct site *site = arg;

    site_note(site, &site->send_rc);
}

static void
begin_stop(void *arg)
{
    struct site *site = arg;
    struct syn_err err;

    assert_done(syn_http_server_stop(site->server, 5000, stopped, site, &err), &err);
}

static void
test_graceful_stop(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];
    struct syn_err err;
    int idle = site_dial(site);
    int busy = site_dial(site);
    int stream = site_dial(site);

    (void)state;
    site_ask(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    site_hear_until(idle, answer, sizeof(answer), "hello");
    site_ask(stream, "GET /events?mode=quiet HTTP/1.1\r\nHost: x\r\n\r\n");
    site_wait(site, &site->streams_open, 1);
    site_ask(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    site_wait(site, &site->slow_begun, 1);
    assert_done(syn_loop_post(site->loop, begin_stop, site, NULL, &err), &err);
    assert_int_equal(site_hear_all(idle, answer, sizeof(answer)), 0);
    (void)site_hear_all(busy, answer, sizeof(answer));
    site_assert_holds(answer, "connection: close\r\n");
    site_assert_holds(answer, "\r\n\r\nhello");
    (void)site_hear_all(stream, answer, sizeof(answer));
    site_wait(site, &site->send_rc, 1);
    (void)close(idle);
    (void)close(busy);
    (void)close(stream);
    site_end(site);
}

/* More than all buffers on the way hold, while the other side does not read. */
static void *
say_much(void *arg)
{
    int fd = *(const int *)arg;

    for (int i = 0; i < 4; i++)
        site_say(fd, site_big, SITE_BIG_BYTES);
    (void)shutdown(fd, SHUT_WR);
    return NULL;
}

/* Both ways at once, what came before the answer included; the end of one is the other's. */
static void
test_tunnel(void **state)
{
    static char answer[SITE_ANSWER_SIZE], block[65536];
    struct site *site = site_start(false, NULL);
    const struct timespec pause = {0, 20000000};
    int one = site_dial(site), two = site_dial(site);
    size_t got = 0;
    pthread_t thread;

    (void)state;
    site_ask(one, "GET /tunnel HTTP/1.1\r\nHost: x\r\nUpgrade: bytes\r\n\r\nfrom one");
    site_ask(two, "GET /tunnel HTTP/1.1\r\nHost: x\r\nUpgrade: bytes\r\n\r\nfrom two");
    site_hear_until(one, answer, sizeof(answer), "from two");
    site_assert_holds(answer, "HTTP/1.1 101 Switching Protocols\r\n");
    site_assert_holds(answer, "upgrade: bytes\r\n");
    site_assert_holds(answer, "connection: upgrade\r\n");
    site_hear_until(two, answer, sizeof(answer), "from one");
    assert_int_equal(pthread_create(&thread, NULL, say_much, &one), 0);
    (void)nanosleep(&pause, NULL);
    site_say(two, "still heard", 11);
    site_hear_until(one, answer, sizeof(answer), "still heard");
    while (got < 4 * (size_t)SITE_BIG_BYTES) {
        ssize_t n = recv(two, block, sizeof(block), 0);

        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(block[i], site_big[(got + (size_t)i) % SITE_BIG_BYTES]);
        got += (size_t)n;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(recv(two, block, sizeof(block), 0), 0);
    site_wait(site, &site->tunnels_closed, 2);
    (void)close(one);
    (void)close(two);
    site_end(site);
}

/* One that nothing goes through ends, and so does one whose other side dies without a word. */
static void
test_tunnel_ends(void **state)
{
    const struct syn_http_limits limits = {.tunnel_idle_ms = 100};
    const struct linger reset = {1, 0};
    static char answer[SITE_ANSWER_SIZE];
    struct site *site = site_start(false, &limits);
    int one = site_dial(site), two = site_dial(site);

    (void)state;
    site_ask(one, "GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n");
    site_ask(two, "GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)site_hear_all(one, answer, sizeof(answer));
    site_wait(site, &site->tunnels_closed, 2);
    (void)close(one);
    (void)close(two);
    site_end(site);

    site = site_start(false, NULL);
    one = site_dial(site);
    two = site_dial(site);
    site_ask(one, "GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n1");
    site_ask(two, "GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n2");
    site_hear_until(two, answer, sizeof(answer), "\r\n\r\n1");
    assert_int_equal(setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    (void)close(one);
    assert_int_equal(site_hear_all(two, answer, sizeof(answer)), 0);
    site_wait(site, &site->tunnels_closed, 2);
    (void)close(two);
    site_end(site);
}

static void
test_thousand_connections(void **state)
{
    const struct syn_http_limits limits = {
        .conns_max = 1000, .head_ms = 120000, .idle_ms = 120000}; /* a busy machine */
    struct site *site;
    static int fds[1001];
    static char answer[SITE_ANSWER_SIZE];
    struct rlimit files;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = SYN_MIN(files.rlim_max, (rlim_t)4096);
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2100) {
        print_message("# needs 2100 file descriptors: ulimit -n\n");
        skip();
    }
    site = site_start(false, &limits);
    for (int i = 0; i < 1000; i++)
        fds[i] = site_dial(site);
    for (int i = 0; i < 1000; i++)
        site_say(fds[i], "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 33);
    for (int i = 0; i < 1000; i++)
        site_hear_until(fds[i], answer, sizeof(answer), "\r\n\r\nhello");
    /* One more is closed at once. */
    fds[1000] = site_dial(site);
    assert_int_equal(site_hear_all(fds[1000], answer, sizeof(answer)), 0);
    for (int i = 0; i <= 1000; i++)
        (void)close(fds[i]);
    site_end(site);
}

static SSL *
dial_tls(const struct site *site, int version, int *ret_fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);

    assert_int_equal(SSL_set_max_proto_version(ssl, version), 1);
    *ret_fd = site_dial(site);
    assert_int_equal(SSL_set_fd(ssl, *ret_fd), 1);
    SSL_CTX_free(ctx);
    return ssl;
}

static void
test_tls(void **state)
{
    static const struct {
        const char *target;
        size_t len;
    } rows[] = {{"/hello", 5},
                {"/big", SITE_BIG_BYTES},
                {"/file", SITE_FILE_BYTES},
                {"/pool-pull/known", SITE_FILE_BYTES}};
    struct site *site = site_start(true, NULL);
    static char answer[SITE_BIG_BYTES + SITE_ANSWER_SIZE];
    int fd;
    SSL *ssl = dial_tls(site, TLS1_2_VERSION, &fd);

    (void)state;
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    (void)close(fd);
    ssl = dial_tls(site, TLS1_3_VERSION, &fd);
    assert_int_equal(SSL_connect(ssl), 1);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char request[256];
        char *body = NULL;
        size_t len = 0;

        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n",
                       rows[i].target);
        assert_int_equal(SSL_write(ssl, request, (int)strlen(request)), (int)strlen(request));
        while (body == NULL || len - (size_t)(body - answer) < rows[i].len) {
            int n = SSL_read(ssl, answer + len, (int)(sizeof(answer) - 1 - len));

            assert_true(n > 0);
            len += (size_t)n;
            answer[len] = '\0';
            if (body == NULL && (body = strstr(answer, "\r\n\r\n")) != NULL)
                body += 4;
        }
        assert_memory_equal(body, rows[i].len == 5 ? "hello" : site_big, rows[i].len);
    }
    SSL_free(ssl);
    (void)close(fd);
    /* Plain bytes at a TLS port: no answer, no harm. */
    fd = site_dial(site);
    site_ask(fd, "GET /hello" END);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_end(site);
}

static void
write_metrics(void *arg)
{
    struct site *site = arg;
    SYN_BUF(out);
    struct syn_err err;

    assert_done(syn_metrics_write(site->metrics, &out, &err), &err);
    assert_non_null(
        strstr(syn_buf_text(&out),
               "synor_http_requests_total{method=\"GET\",route=\"/hello\",class=\"2xx\"} 3\n"));
    assert_non_null(
        strstr(syn_buf_text(&out),
               "synor_http_request_seconds_count{method=\"GET\",route=\"/hello\"} 3\n"));
    site_note(site, &site->send_rc);
}

static void
test_metrics(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];
    struct syn_err err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        int fd = site_dial(site);

        site_ask(fd, "GET /hello" END);
        (void)site_hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
    }
    assert_done(syn_loop_post(site->loop, write_metrics, site, NULL, &err), &err);
    site_wait(site, &site->send_rc, 1);
    site_end(site);
}

/* Ending the server while clients are in every state: nothing leaks, nothing hangs. */
static void
test_abrupt_end(void **state)
{
    static const char *const requests[] = {
        "",
        "GET /he",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
        ("GET /slow" END),
        "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /events?mode=quiet HTTP/1.1\r\nHost: x\r\n\r\n",
        "PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\nab"};
    struct site *site = site_start(false, NULL);
    int fds[SYN_LEN(requests)];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(requests); i++) {
        fds[i] = site_dial(site);
        site_say(fds[i], requests[i], strlen(requests[i]));
    }
    site_wait(site, &site->streams_open, 1);
    site_end(site);
    for (size_t i = 0; i < SYN_LEN(requests); i++)
        (void)close(fds[i]);
}

static int
sweep_server(void *arg, struct syn_err *err)
{
    struct syn_loop *loop = NULL;
    struct syn_metrics *metrics = NULL;
    struct syn_http_server *server = NULL;
    struct syn_http_options options = {0};
    int rc;

    rc = syn_loop_new(&loop, err);
    if (rc == SYN_OK)
        rc = syn_metrics_new(&metrics, err);
    options.loop = loop;
    options.metrics = metrics;
    if (rc == SYN_OK)
        rc = syn_http_server_new(&options, &server, err);
    if (rc == SYN_OK)
        rc = syn_http_server_add(server, site_routes, 4, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_tcp(server, "127.0.0.1:0", NULL, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_unix(server, arg, 0600, err);
    (void)syn_http_server_free(server);
    (void)syn_metrics_free(metrics);
    (void)syn_loop_free(loop);
    return rc;
}

static void
test_sweep(void **state)
{
    char path[108];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/sweep.sock", syn_test_dir());
    assert_true(syn_test_sweep_alloc(sweep_server, path) > 20);
}

/* One request on one thread, turn by turn. 0 for a proper answer; a refusal or a closed connection
 * is what a server without memory may do, and is told as NOMEM. */
static int
sweep_request(void *arg, struct syn_err *err)
{
    const char *request = arg;
    struct syn_loop *loop = NULL;
    struct syn_http_server *server = NULL;
    struct syn_http_options options = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    char answer[4096] = "";
    uint16_t port = 0;
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = syn_loop_new(&loop, err);

    options.loop = loop;
    if (rc == SYN_OK)
        rc = syn_http_server_new(&options, &server, err);
    if (rc == SYN_OK)
        rc = syn_http_server_add(server, site_routes, site_route_count, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_listen_tcp(server, "127.0.0.1:0", NULL, &port, err);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (rc == SYN_OK) {
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        site_ask(fd, request);
    }
    for (ssize_t got = -1; rc == SYN_OK && got != 0 && len < sizeof(answer) - 1;) {
        rc = syn_loop_turn(loop, 20, err);
        got = recv(fd, answer + len, sizeof(answer) - 1 - len, MSG_DONTWAIT);
        len += got > 0 ? (size_t)got : 0;
        got = got < 0 && errno != EAGAIN ? 0 : got;
    }
    if (rc == SYN_OK && strncmp(answer, "HTTP/1.1 2", 10) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "refused: %.60s", answer);
    (void)close(fd);
    (void)syn_http_server_free(server);
    (void)syn_loop_free(loop);
    return rc;
}

static void
test_sweep_requests(void **state)
{
    static char simple[] = "GET /hello" END;
    static char posted[] = "POST /items/a?limit=7" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}";
    static char joined[] = "GET /files/a/b" END;

    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_request, simple) > 20);
    assert_true(syn_test_sweep_alloc(sweep_request, posted) > 20);
    assert_true(syn_test_sweep_alloc(sweep_request, joined) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive_and_pipeline),
        cmocka_unit_test(test_large_answers),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_huge_heads),
        cmocka_unit_test(test_slow_loris),
        cmocka_unit_test(test_sse),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_listen_refuses),
        cmocka_unit_test(test_graceful_stop),
        cmocka_unit_test(test_tunnel),
        cmocka_unit_test(test_tunnel_ends),
        cmocka_unit_test(test_thousand_connections),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_abrupt_end),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_sweep_requests),
    };

    return cmocka_run_group_tests_name("http_server", tests, NULL, NULL);
}
