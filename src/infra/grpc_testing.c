#include <synor/infra/grpc_testing.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define CONNS_MAX     8
#define CANNED_MAX    8
#define STREAMS_MAX   64
#define REQUEST_MAX   ((size_t)1 << 20)
#define HEAD          ((size_t)5)
#define PARTS_MANY    100
#define PARTS_FOREVER UINT64_MAX

struct stream {
    struct peer *peer;
    int32_t id; /* 0: free */
    char path[64], word[64];
    uint8_t *request; /* framed */
    size_t len;
    uint64_t parts; /* how often `request` is sent */
    uint64_t at;    /* bytes of the answer sent */
    uint64_t limit; /* of them in all */
    int status;     /* -1: none is sent */
    bool stays;     /* open for ever */
};

struct peer {
    struct grpc_server *server;
    int fd; /* -1: free */
    nghttp2_session *session;
    struct stream streams[STREAMS_MAX];
    bool hang_up;
};

struct canned {
    char path[64]; /* "": none */
    struct syn_buf answer, asked;
};

struct grpc_server {
    int listener, wake;
    char address[256];
    char path[128];
    pthread_t thread;
    atomic_bool stop, drop, refused;
    atomic_uint connections;
    _Atomic uint64_t sent;
    struct peer peers[CONNS_MAX];
    pthread_mutex_t lock; /* of what is canned */
    struct canned canned[CANNED_MAX];
};

/* --- answers ---------------------------------------------------------------------------------- */

static nghttp2_nv
pair(const char *name, const char *value)
{
    union {
        const char *text;
        uint8_t *bytes;
    } key = {.text = name}, word = {.text = value};

    return (nghttp2_nv){key.bytes, word.bytes, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void
submit_status(struct stream *stream)
{
    char status[8];
    nghttp2_nv trailer;

    (void)snprintf(status, sizeof(status), "%d", stream->status);
    trailer = pair("grpc-status", status);
    assert_int_equal(nghttp2_submit_trailer(stream->peer->session, stream->id, &trailer, 1), 0);
}

static ssize_t
read_answer(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap, uint32_t *flags,
            nghttp2_data_source *source, void *arg)
{
    struct stream *stream = source->ptr;
    size_t n = 0;

    (void)session;
    (void)id;
    (void)arg;
    while (n < cap && stream->at < stream->limit && stream->len > 0)
        out[n++] = stream->request[stream->at++ % stream->len];
    atomic_fetch_add(&stream->peer->server->sent, n);
    if (stream->at < stream->limit && stream->len > 0)
        return (ssize_t)n;
    if (stream->stays)
        return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->status >= 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_status(stream);
    }
    return (ssize_t)n;
}

static void
answer(struct stream *stream, const char *http, const char *content)
{
    const nghttp2_nv head[] = {pair(":status", http), pair("content-type", content)};
    const nghttp2_data_provider body = {.source.ptr = stream, .read_callback = read_answer};

    stream->limit = stream->limit > 0                ? stream->limit
                    : stream->parts == PARTS_FOREVER ? UINT64_MAX
                                                     : stream->parts * stream->len;
    assert_int_equal(
        nghttp2_submit_response(stream->peer->session, stream->id, head, SYN_LEN(head), &body), 0);
}

static void
answer_fail(struct stream *stream, const char *status)
{
    const nghttp2_nv head[] = {pair(":status", "200"), pair("content-type", "application/grpc"),
                               pair("grpc-status", status),
                               pair("grpc-message", "no such thing: %C3%A4%zz")};

    assert_int_equal(
        nghttp2_submit_response(stream->peer->session, stream->id, head, SYN_LEN(head), NULL), 0);
}

static void
set_answer(struct stream *stream, const void *data, size_t len)
{
    assert_true(len <= REQUEST_MAX);
    memcpy(stream->request, data, len);
    stream->len = len;
}

static void
answer_word(struct stream *stream)
{
    char text[HEAD + sizeof(stream->word)] = {0};
    size_t len = strlen(stream->word);

    text[4] = (char)len;
    memcpy(text + HEAD, stream->word, len);
    set_answer(stream, text, HEAD + len);
}

static void
misbehave(struct stream *stream)
{
    struct peer *peer = stream->peer;
    const char *how = stream->path + strlen("/t/");

    if (syn_str_eq(how, "Reset"))
        (void)nghttp2_submit_rst_stream(peer->session, 0, stream->id, NGHTTP2_INTERNAL_ERROR);
    else if (syn_str_eq(how, "HangUp"))
        peer->hang_up = true;
    else if (syn_str_eq(how, "Garbage"))
        (void)!send(peer->fd, "\xff\xff\xff\x01\x01\x01\x01\x01\x01garbage", 16, MSG_NOSIGNAL);
    else if (!syn_str_eq(how, "Stall"))
        fail_msg("the test's server has no %s", stream->path);
}

static bool
plain_answer(struct stream *stream, const char *how)
{
    static const char big[] = "\0\x40\0\0\0x", packed[] = "\x01\0\0\0\x01x";

    if (syn_str_eq(how, "Echo") || syn_str_eq(how, "Leave") || syn_str_eq(how, "RefuseOnce"))
        return true;
    if (syn_str_eq(how, "Word"))
        answer_word(stream);
    else if (syn_str_eq(how, "Many"))
        stream->parts = PARTS_MANY;
    else if (syn_str_eq(how, "Flood"))
        stream->parts = PARTS_FOREVER;
    else if (syn_str_eq(how, "Two"))
        stream->parts = 2;
    else if (syn_str_eq(how, "None"))
        stream->parts = 0;
    else if (syn_str_eq(how, "Silent"))
        stream->status = -1;
    else if (syn_str_eq(how, "Big"))
        set_answer(stream, big, sizeof(big) - 1);
    else if (syn_str_eq(how, "Packed"))
        set_answer(stream, packed, sizeof(packed) - 1);
    else if (syn_str_eq(how, "Cut") || syn_str_eq(how, "Half"))
        stream->limit = stream->len / 2;
    else
        return false;
    stream->stays = syn_str_eq(how, "Half") || syn_str_eq(how, "Big");
    return true;
}

/* What is asked about stands after a key and a length. */
static void
answer_health(struct stream *stream)
{
    static const char serving[] = "\0\0\0\0\x02\x08\x01", down[] = "\0\0\0\0\x02\x08\x02";
    char name[64] = "";

    if (stream->len > HEAD + 2 && stream->len - HEAD - 2 < sizeof(name))
        memcpy(name, stream->request + HEAD + 2, stream->len - HEAD - 2);
    if (syn_str_eq(name, "stall"))
        return;
    if (name[0] != '\0' && !syn_str_eq(name, "down")) {
        answer_fail(stream, "5");
        return;
    }
    set_answer(stream, name[0] == '\0' ? serving : down, sizeof(serving) - 1);
    answer(stream, "200", "application/grpc");
}

/* False: nothing is canned under its path. */
static bool
answer_canned(struct stream *stream)
{
    struct grpc_server *server = stream->peer->server;
    struct canned *canned = NULL;

    (void)pthread_mutex_lock(&server->lock);
    for (size_t i = 0; !canned && i < CANNED_MAX; i++) {
        if (syn_str_eq(server->canned[i].path, stream->path))
            canned = &server->canned[i];
    }
    if (canned) {
        syn_buf_add(&canned->asked, stream->request + HEAD, stream->len - HEAD);
        set_answer(stream, canned->answer.data, canned->answer.len);
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (canned)
        answer(stream, "200", "application/grpc");
    return canned != NULL;
}

static void
serve(struct stream *stream)
{
    nghttp2_session *session = stream->peer->session;
    const char *how = stream->path + strlen("/t/");

    stream->parts = 1;
    if (answer_canned(stream))
        return;
    if (!syn_str_starts(stream->path, "/t/") && !syn_str_starts(stream->path, "/grpc.health.")) {
        answer_fail(stream, "12");
        return;
    }
    if (syn_str_eq(stream->path, "/grpc.health.v1.Health/Check")) {
        answer_health(stream);
        return;
    }
    if (syn_str_eq(how, "RefuseOnce") && !atomic_exchange(&stream->peer->server->refused, true)) {
        (void)nghttp2_submit_rst_stream(session, 0, stream->id, NGHTTP2_REFUSED_STREAM);
        return;
    }
    if (syn_str_eq(how, "Fail")) {
        answer_fail(stream, "5");
    } else if (syn_str_eq(how, "Page") || syn_str_eq(how, "Missing")) {
        stream->status = -1;
        answer(stream, how[0] == 'P' ? "200" : "404", "text/html");
    } else if (plain_answer(stream, how)) {
        answer(stream, "200", "application/grpc+proto");
    } else {
        misbehave(stream);
    }
    if (syn_str_eq(how, "Leave"))
        (void)nghttp2_submit_goaway(session, 0, stream->id, NGHTTP2_NO_ERROR, NULL, 0);
}

/* --- nghttp2's callbacks ---------------------------------------------------------------------- */

static struct stream *
find(struct peer *peer, int32_t id)
{
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        if (peer->streams[i].id == id)
            return &peer->streams[i];
    }
    return NULL;
}

static void
release(struct stream *stream)
{
    free(stream->request);
    *stream = (struct stream){0};
}

/* The stream of this id, begun if it is new; NULL: there are too many. */
static struct stream *
find_or_begin(struct peer *peer, int32_t id)
{
    struct stream *stream = find(peer, id);

    if (stream != NULL)
        return stream;
    stream = find(peer, 0);
    if (stream == NULL)
        return NULL;
    *stream = (struct stream){.peer = peer, .id = id};
    stream->request = malloc(REQUEST_MAX);
    assert_non_null(stream->request);
    return stream;
}

static int /* nghttp2's signature: NOLINTNEXTLINE(readability-function-size) */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t namelen,
          const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
    struct stream *stream = find_or_begin(arg, frame->hd.stream_id);

    (void)session;
    (void)flags;
    if (stream == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (namelen == 5 && memcmp(name, ":path", 5) == 0 && valuelen < sizeof(stream->path))
        memcpy(stream->path, value, valuelen);
    if (namelen == 6 && memcmp(name, "x-word", 6) == 0 && valuelen < sizeof(stream->word))
        memcpy(stream->word, value, valuelen);
    return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
        void *arg)
{
    struct stream *stream = find(arg, id);

    (void)session;
    (void)flags;
    if (stream != NULL && stream->len + len <= REQUEST_MAX) {
        memcpy(stream->request + stream->len, data, len);
        stream->len += len;
    }
    return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct stream *stream = find(arg, frame->hd.stream_id);

    (void)session;
    if (frame->hd.stream_id != 0 && stream != NULL && frame->hd.type == NGHTTP2_DATA &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        serve(stream);
    return 0;
}

static int
on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct stream *stream = find(arg, id);

    (void)session;
    (void)code;
    if (stream != NULL)
        release(stream);
    return 0;
}

/* --- the thread ------------------------------------------------------------------------------- */

static void
peer_close(struct peer *peer)
{
    nghttp2_session_del(peer->session);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        release(&peer->streams[i]);
    (void)close(peer->fd);
    *peer = (struct peer){.fd = -1};
}

static void
peer_open(struct grpc_server *server, int fd)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX - 1}};
    nghttp2_session_callbacks *callbacks = NULL;
    struct peer *peer = NULL;

    for (size_t i = 0; peer == NULL && i < CONNS_MAX; i++)
        peer = server->peers[i].fd < 0 ? &server->peers[i] : NULL;
    if (peer == NULL) {
        (void)close(fd);
        return;
    }
    *peer = (struct peer){.server = server, .fd = fd};
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_session_server_new(&peer->session, callbacks, peer), 0);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(peer->session, 0, settings, 1), 0);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    atomic_fetch_add(&server->connections, 1);
}

/* Write what there is; a slow reader is waited for. */
static bool
peer_push(struct peer *peer)
{
    for (;;) {
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(peer->session, &data);

        if (len <= 0)
            return len == 0;
        while (len > 0) {
            ssize_t n = send(peer->fd, data, (size_t)len, MSG_NOSIGNAL);
            struct pollfd room = {.fd = peer->fd, .events = POLLOUT};

            if (n < 0 && poll(&room, 1, 10000) != 1)
                return false;
            if (n < 0 && (room.revents & (POLLHUP | POLLERR)))
                return false;
            data += n > 0 ? n : 0;
            len -= n > 0 ? n : 0;
        }
    }
}

static bool
peer_turn(struct peer *peer)
{
    uint8_t data[16384];
    ssize_t n = recv(peer->fd, data, sizeof(data), 0);

    if (n <= 0 || nghttp2_session_mem_recv(peer->session, data, (size_t)n) < 0)
        return false;
    return !peer->hang_up && peer_push(peer);
}

static void *
run(void *arg)
{
    struct grpc_server *server = arg;

    while (!atomic_load(&server->stop)) {
        struct pollfd fds[2 + CONNS_MAX] = {{.fd = server->listener, .events = POLLIN},
                                            {.fd = server->wake, .events = POLLIN}};
        uint64_t count;
        bool drop;

        for (size_t i = 0; i < CONNS_MAX; i++)
            fds[2 + i] = (struct pollfd){.fd = server->peers[i].fd, .events = POLLIN};
        (void)poll(fds, SYN_LEN(fds), -1);
        if (fds[1].revents)
            (void)!read(server->wake, &count, sizeof(count));
        drop = atomic_load(&server->drop);
        for (size_t i = 0; i < CONNS_MAX; i++) {
            if (server->peers[i].fd >= 0 &&
                (drop || (fds[2 + i].revents && !peer_turn(&server->peers[i]))))
                peer_close(&server->peers[i]);
        }
        if (drop)
            atomic_store(&server->drop, false);
        if (fds[0].revents) {
            int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0)
                peer_open(server, fd);
        }
    }
    return NULL;
}

struct grpc_server *
grpc_server_start(const char *dir)
{
    struct grpc_server *server = calloc(1, sizeof(*server));
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(loopback);

    assert_non_null(server);
    for (size_t i = 0; i < CONNS_MAX; i++)
        server->peers[i].fd = -1;
    assert_int_equal(pthread_mutex_init(&server->lock, NULL), 0);
    server->wake = eventfd(0, EFD_CLOEXEC);
    server->listener = socket(dir ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (dir) {
        (void)snprintf(server->path, sizeof(server->path), "%s/grpc.sock", dir);
        assert_true(syn_str_copy(where.sun_path, sizeof(where.sun_path), server->path));
        assert_int_equal(bind(server->listener, (const struct sockaddr *)&where, sizeof(where)), 0);
        (void)snprintf(server->address, sizeof(server->address), "unix:%s", server->path);
    } else {
        assert_int_equal(bind(server->listener, (const struct sockaddr *)&loopback, len), 0);
        assert_int_equal(getsockname(server->listener, (struct sockaddr *)&loopback, &len), 0);
        (void)snprintf(server->address, sizeof(server->address), "tcp:127.0.0.1:%u",
                       ntohs(loopback.sin_port));
    }
    assert_int_equal(listen(server->listener, 16), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, run, server), 0);
    return server;
}

const char *
grpc_server_address(const struct grpc_server *server)
{
    return server->address;
}

void
grpc_server_can(struct grpc_server *server, const char *path, const void *message, size_t len)
{
    const uint8_t head[HEAD] = {0, 0, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
    struct canned *canned = server->canned;

    (void)pthread_mutex_lock(&server->lock);
    while (canned->path[0] != '\0' && !syn_str_eq(canned->path, path))
        canned++;
    assert_true(canned < server->canned + CANNED_MAX);
    assert_true(syn_str_copy(canned->path, sizeof(canned->path), path));
    syn_buf_clear(&canned->answer);
    syn_buf_clear(&canned->asked);
    syn_buf_add(&canned->answer, head, sizeof(head));
    syn_buf_add(&canned->answer, message, len);
    (void)pthread_mutex_unlock(&server->lock);
}

void
grpc_server_asked(struct grpc_server *server, const char *path, struct syn_buf *ret)
{
    syn_buf_clear(ret);
    (void)pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < CANNED_MAX; i++) {
        const struct canned *canned = &server->canned[i];

        if (syn_str_eq(canned->path, path))
            syn_buf_add(ret, syn_buf_text(&canned->asked), canned->asked.len);
    }
    (void)pthread_mutex_unlock(&server->lock);
}

unsigned
grpc_server_connections(const struct grpc_server *server)
{
    return atomic_load(&server->connections);
}

uint64_t
grpc_server_sent(const struct grpc_server *server)
{
    return atomic_load(&server->sent);
}

static void
wake(struct grpc_server *server)
{
    const uint64_t one = 1;

    assert_int_equal(write(server->wake, &one, sizeof(one)), sizeof(one));
}

void
grpc_server_drop(struct grpc_server *server)
{
    atomic_store(&server->drop, true);
    wake(server);
    while (atomic_load(&server->drop))
        (void)poll(NULL, 0, 1);
}

void
grpc_server_stop(struct grpc_server *server)
{
    atomic_store(&server->stop, true);
    wake(server);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    for (size_t i = 0; i < CONNS_MAX; i++) {
        if (server->peers[i].fd >= 0)
            peer_close(&server->peers[i]);
    }
    for (size_t i = 0; i < CANNED_MAX; i++) {
        syn_buf_fini(&server->canned[i].answer);
        syn_buf_fini(&server->canned[i].asked);
    }
    (void)pthread_mutex_destroy(&server->lock);
    (void)close(server->listener);
    (void)close(server->wake);
    if (server->path[0] != '\0')
        (void)unlink(server->path);
    free(server);
}
