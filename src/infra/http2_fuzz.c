/* What a client of HTTP/2 sends: a whole connection, over a pair of sockets. The first byte says
 * how it is cut, and whether it is closed before what waits is answered. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/mem.h>

#include "http_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PARKED_MAX 8

static struct syn_loop *loop;
static struct syn_http_server *server;
static struct syn_http_req *parked[PARKED_MAX];

static void
gone(void *arg)
{
    struct syn_http_req **slot = arg;

    syn_http_push_cut(SYN_TAKE(*slot));
}

static void
finish(struct syn_http_req **slot)
{
    struct syn_http_req *req = SYN_TAKE(*slot);

    syn_http_pass(req, 200, -1);
    if (strcmp(syn_http_req_verb(req), "HEAD") == 0) {
        syn_http_finish(req, 0, NULL);
        return;
    }
    if (syn_http_push_open(req, NULL, NULL, NULL) < 0 ||
        syn_http_push_add(req, "pushed", 6, NULL) < 0)
        syn_http_push_cut(req);
    else
        syn_http_push_end(req);
}

/* As long as there is room, those whose path is not "/" wait. */
static int
serve(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    size_t path = 0, len = 0, slot = 0;
    const char *target = syn_http_req_target(req, &path);
    const char *name, *value;
    const char *body = syn_http_req_body(req, &len);

    (void)ctx;
    assert(target[0] == '/' && syn_http_req_verb(req)[0] != '\0' && !syn_http_req_is_old(req));
    assert(syn_http_req_header(req, "host") != NULL);
    for (unsigned i = 0; syn_http_req_header_at(req, i, &name, &value); i++) {
        assert(name[0] != '\0' && strpbrk(name, ": \r\n") == NULL);
        assert(strpbrk(value, "\r\n") == NULL);
    }
    while (slot < PARKED_MAX && parked[slot] != NULL)
        slot++;
    if (slot < PARKED_MAX && path > 1) {
        parked[slot] = req;
        syn_http_on_gone(req, gone, &parked[slot]);
        return SYN_HTTP_LATER;
    }
    syn_http_pass(req, 200, (int64_t)len);
    return syn_http_pass_body(req, body, len, err);
}

static void
ended(struct syn_http_req *req, const struct syn_http_done *done, void *ctx)
{
    (void)req;
    (void)ctx;
    assert(done->status >= 100 && done->sent_bytes >= 0);
}

static bool
ready(void)
{
    static const struct syn_http_route row = {
        .method = "ANY", .pattern = "*", .body_max = 4096, .handler = serve, .name = "all"};
    struct syn_http_options options = {.http2 = true, .limits = {.head_bytes_max = 2048}};

    if (server != NULL)
        return true;
    if (syn_loop_new(&loop, NULL) < 0)
        return false;
    options.loop = loop;
    if (syn_http_server_new(&options, &server, NULL) < 0 ||
        syn_http_server_catch(server, &row, NULL, NULL, NULL) < 0)
        return false;
    syn_http_server_tell(server, ended, NULL);
    return true;
}

/* Let the server have what there is, and swallow what it says. */
static void
turns(int fd)
{
    char block[8192];

    for (int i = 0; i < 3; i++) {
        assert(syn_loop_turn(loop, 0, NULL) == SYN_OK);
        while (fd >= 0 && recv(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
            continue;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = HTTP2_PREFACE;
    const struct http_listener listener = {.fd = -1};
    const struct syn_http_peer peer = {.address = "127.0.0.1"};
    size_t step = size == 0 || data[0] < 128 ? SIZE_MAX : (size_t)data[0] - 127;
    int fds[2];

    if (size == 0 || !ready() ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return 0;
    http_conn_accept_take(server, &listener, fds[1], &peer);
    if (send(fds[0], preface, sizeof(preface) - 1, MSG_NOSIGNAL) < 0)
        turns(fds[0]);
    for (size_t at = 1; at < size;) {
        size_t len = SYN_MIN(step, size - at);

        if (send(fds[0], data + at, len, MSG_NOSIGNAL) != (ssize_t)len)
            break;
        at += len;
        turns(fds[0]);
    }
    for (size_t i = data[0] & 1; i < PARKED_MAX; i++) {
        if (parked[i] != NULL)
            finish(&parked[i]);
    }
    turns(fds[0]);
    (void)close(fds[0]);
    turns(-1);
    assert(syn_http_server_conns(server) == 0 && server->orphans == NULL);
    for (size_t i = 0; i < PARKED_MAX; i++)
        assert(parked[i] == NULL);
    return 0;
}
