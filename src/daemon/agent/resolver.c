/* Doors, and who comes to them. A door is bound in the thread of the instance that needs it, so
 * that its program can ask at once; all else is the loop's. One that nobody needs any more is shut
 * by the loop's tick, and may be entered again until then. */
#include "resolver_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define DATAGRAMS_A_TURN 64
#define BACKLOG          64
#define FRAME            2 /* bytes of length before a message over TCP */

/* A connection: one question at a time. */
struct agt_conn {
    struct agt_resolver *resolver;
    struct agt_door *door;
    struct agt_conn *next;
    struct syn_watch *watch;
    int fd;
    bool waits; /* for an answer */
    int64_t due_ms;
    size_t in_len, out_len;
    uint8_t in[FRAME + AGT_DNS_QUERY_MAX];
    uint8_t *out; /* what the client has not taken yet */
};

/* ---- answers ---- */

static void
conn_free(struct agt_conn *conn)
{
    struct agt_conn **slot = &conn->resolver->conns;

    agt_forward_drop(conn->resolver, conn->door, conn);
    while (*slot != conn)
        slot = &(*slot)->next;
    *slot = conn->next;
    conn->resolver->conns_count--;
    conn->door->conns_count--;
    conn->watch = syn_watch_drop(conn->watch);
    (void)close(conn->fd);
    syn_free(conn->out);
    syn_free(conn);
}

/* Write what is left; false when the connection is of no more use. */
static bool
conn_write(struct agt_conn *conn)
{
    ssize_t sent = 0;

    if (conn->out_len > 0)
        sent = send(conn->fd, conn->out, conn->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    if (sent > 0) {
        conn->out_len -= (size_t)sent;
        memmove(conn->out, conn->out + sent, conn->out_len);
    }
    if (conn->out_len == 0) {
        syn_free(conn->out);
        conn->out = NULL;
    }
    return syn_watch_events(conn->watch, conn->out_len > 0 ? EPOLLOUT : EPOLLIN, NULL) == SYN_OK;
}

/* The answer that the connection waits for. It is written, and the next question asked, when the
 * connection is ready for it; and freed by its own events and the tick alone. */
static void
conn_answer(struct agt_conn *conn, const uint8_t *data, size_t len)
{
    assert(conn->waits && conn->out == NULL && len <= UINT16_MAX);
    conn->waits = false;
    conn->due_ms = syn_loop_now_ms(conn->resolver->loop) + AGT_DNS_IDLE_MS;
    conn->out = syn_alloc(FRAME + len);
    if (conn->out == NULL) {
        conn->due_ms = 0;
        return;
    }
    conn->out[0] = (uint8_t)(len >> 8);
    conn->out[1] = (uint8_t)len;
    memcpy(conn->out + FRAME, data, len);
    conn->out_len = FRAME + len;
    if (syn_watch_events(conn->watch, EPOLLOUT, NULL) < 0)
        conn->due_ms = 0;
}

void
agt_resolver_send(const struct agt_dns_client *client, const uint8_t *data, size_t len)
{
    if (client->conn != NULL)
        conn_answer(client->conn, data, len);
    else
        (void)sendto(client->door->udp, data, len, MSG_DONTWAIT | MSG_NOSIGNAL,
                     (const struct sockaddr *)&client->addr, client->len);
}

void
agt_resolver_say(const struct agt_dns_client *client, const struct syn_dns_query *query,
                 enum syn_dns_code code)
{
    uint8_t data[SYN_DNS_PLAIN_MAX];
    struct syn_dns_answer answer;

    syn_dns_answer_begin(&answer, query, data, sizeof(data));
    agt_resolver_send(client, data, syn_dns_answer_end(&answer, code, false));
}

/* Whose door it is, and whether all is known that can be asked there. */
static bool
read_door(const struct agt_door *door, struct agt_asker *ret)
{
    struct agt_resolver *resolver = door->resolver;
    bool known;

    (void)pthread_mutex_lock(&resolver->lock);
    *ret = door->asker;
    known = resolver->known >= door->since;
    (void)pthread_mutex_unlock(&resolver->lock);
    return known;
}

static void
answer_own(const struct agt_dns_client *client, const struct syn_dns_query *query)
{
    const struct agt_resolver *resolver = client->door->resolver;
    size_t limit = client->conn != NULL ? SYN_DNS_MESSAGE_MAX : query->limit;
    uint8_t data[SYN_DNS_MESSAGE_MAX];
    struct syn_dns_answer answer;
    struct agt_asker asker;
    enum syn_dns_code code;

    if (!read_door(client->door, &asker)) { /* what is not known may be there */
        agt_resolver_say(client, query, SYN_DNS_SERVFAIL);
        return;
    }
    syn_dns_answer_begin(&answer, query, data, limit);
    code = agt_names_answer(resolver->names, &asker, query, &answer);
    agt_resolver_send(client, data, syn_dns_answer_end(&answer, code, true));
}

/* False when it must not be answered. */
static bool
take_question(const struct agt_dns_client *client, const uint8_t *data, size_t len)
{
    struct syn_dns_query query;

    if (syn_dns_query_parse(data, len, &query) != SYN_OK)
        return false;
    if (query.code != SYN_DNS_NOERROR)
        agt_resolver_say(client, &query, query.code);
    else if (query.internet && agt_names_own(query.name))
        answer_own(client, &query);
    else if (client->door->resolver->others == AGT_DNS_REFUSE)
        agt_resolver_say(client, &query, SYN_DNS_REFUSED);
    else
        agt_forward(client, &query, data, len);
    return true;
}

/* ---- by UDP ---- */

static void
on_datagrams(void *arg, int fd, uint32_t events)
{
    struct agt_dns_client client = {.door = arg};
    uint8_t data[AGT_DNS_QUERY_MAX];

    (void)events;
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        ssize_t got;

        client.len = sizeof(client.addr);
        got = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&client.addr,
                       &client.len);
        if (got < 0 && errno != EINTR)
            return;
        if (got > 0)
            (void)take_question(&client, data, (size_t)got);
    }
}

/* ---- by TCP ---- */

/* The question that has come whole, if there is one and none is under way. False: no more use. */
static bool
conn_ask(struct agt_conn *conn)
{
    const struct agt_dns_client client = {.door = conn->door, .conn = conn};
    uint8_t data[AGT_DNS_QUERY_MAX];
    size_t len;

    if (conn->waits || conn->out != NULL || conn->in_len < FRAME)
        return true;
    len = (size_t)conn->in[0] << 8 | conn->in[1];
    if (len > AGT_DNS_QUERY_MAX)
        return false;
    if (conn->in_len < FRAME + len)
        return true;
    memcpy(data, conn->in + FRAME, len);
    conn->in_len -= FRAME + len;
    memmove(conn->in, conn->in + FRAME + len, conn->in_len);
    conn->waits = true;
    return take_question(&client, data, len);
}

static bool
conn_read(struct agt_conn *conn)
{
    ssize_t got =
        recv(conn->fd, conn->in + conn->in_len, sizeof(conn->in) - conn->in_len, MSG_DONTWAIT);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        return false;
    if (got > 0)
        conn->in_len += (size_t)got;
    return true;
}

static void
on_conn(void *arg, int fd, uint32_t events)
{
    struct agt_conn *conn = arg;
    bool good = (events & EPOLLERR) == 0;

    (void)fd;
    if (good && (events & EPOLLOUT) != 0)
        good = conn_write(conn);
    /* With a question under way and the next one here there is nothing to read for. */
    if (good && (events & (EPOLLIN | EPOLLHUP)) != 0 && conn->in_len < sizeof(conn->in))
        good = conn_read(conn);
    if (good)
        good = conn_ask(conn);
    if (good && conn->waits) /* nobody is heard until it is answered, lest the loop spin */
        good = syn_watch_events(conn->watch, 0, NULL) == SYN_OK;
    if (!good || conn->due_ms == 0)
        conn_free(conn);
}

static void
on_connect(void *arg, int fd, uint32_t events)
{
    struct agt_door *door = arg;
    struct agt_resolver *resolver = door->resolver;
    int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct agt_conn *conn = NULL;

    (void)events;
    if (got < 0)
        return;
    if (resolver->conns_count < AGT_DNS_CONNS_MAX && door->conns_count < AGT_DNS_CONNS_OF_DOOR)
        conn = syn_calloc(1, sizeof(*conn));
    if (conn == NULL ||
        syn_loop_fd(resolver->loop, got, EPOLLIN, on_conn, conn, &conn->watch, NULL) < 0) {
        syn_free(conn);
        (void)close(got);
        return;
    }
    conn->resolver = resolver;
    conn->door = door;
    conn->fd = got;
    conn->due_ms = syn_loop_now_ms(resolver->loop) + AGT_DNS_IDLE_MS;
    conn->next = resolver->conns;
    resolver->conns = conn;
    resolver->conns_count++;
    door->conns_count++;
}

/* ---- doors ---- */

static void
door_free(struct agt_door *door)
{
    struct agt_resolver *resolver = door->resolver;
    struct agt_conn *next;

    for (struct agt_conn *conn = resolver->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->door == door)
            conn_free(conn);
    }
    agt_forward_drop(resolver, door, NULL);
    door->udp_watch = syn_watch_drop(door->udp_watch);
    door->tcp_watch = syn_watch_drop(door->tcp_watch);
    if (door->udp >= 0)
        (void)close(door->udp);
    if (door->tcp >= 0)
        (void)close(door->tcp);
    syn_free(door);
}

/* Another set of accounts is to be followed. Under the lock. */
static void
doors_changed(struct agt_resolver *resolver)
{
    resolver->generation++;
    if (resolver->client != NULL)
        syn_client_cancel(resolver->client);
    (void)pthread_cond_broadcast(&resolver->wake);
}

/* One that nobody needs, taken out of the list. */
static struct agt_door *
take_unused(struct agt_resolver *resolver)
{
    struct agt_door **slot = &resolver->doors, *found = NULL;

    (void)pthread_mutex_lock(&resolver->lock);
    while (*slot != NULL && ((*slot)->users > 0 || !(*slot)->heard))
        slot = &(*slot)->next;
    if (*slot != NULL) {
        found = *slot;
        *slot = found->next;
        doors_changed(resolver);
    }
    (void)pthread_mutex_unlock(&resolver->lock);
    return found;
}

static void
on_tick(void *arg)
{
    struct agt_resolver *resolver = arg;
    int64_t now_ms = syn_loop_now_ms(resolver->loop);
    struct agt_conn *next;
    struct agt_door *unused;

    while ((unused = take_unused(resolver)) != NULL)
        door_free(unused);
    for (struct agt_conn *conn = resolver->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (now_ms >= conn->due_ms)
            conn_free(conn);
    }
    agt_forward_tick(resolver);
}

static int
door_bind(struct agt_door *door, int type, int *ret_fd, struct syn_err *err)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(door->resolver->port)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "a socket for names");
    if (inet_pton(AF_INET, door->gateway, &addr.sin_addr) != 1) {
        (void)close(fd);
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" is no gateway", door->gateway);
    }
    /* Someone who has the port of every address need not keep us from this one. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) < 0)) {
        int why = errno;

        (void)close(fd);
        if (why == EADDRINUSE)
            return SYN_FAIL(err, SYN_E_CONFLICT,
                            "another program has port %u of %s, where instances ask for names",
                            door->resolver->port, door->gateway);
        return SYN_FAIL_SYS(err, why, "binding port %u of %s", door->resolver->port, door->gateway);
    }
    *ret_fd = fd;
    return SYN_OK;
}

/* Begin to hear. What came since it was bound waits there. */
static void
on_door(void *arg)
{
    struct agt_door *door = arg;
    struct syn_loop *loop = door->resolver->loop;
    struct syn_err err = {0};

    door->heard = true;
    if (syn_loop_fd(loop, door->udp, EPOLLIN, on_datagrams, door, &door->udp_watch, &err) < 0 ||
        syn_loop_fd(loop, door->tcp, EPOLLIN, on_connect, door, &door->tcp_watch, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.names-unheard", &err);
}

static struct agt_door *
find_door(const struct agt_resolver *resolver, const char *gateway)
{
    struct agt_door *door = resolver->doors;

    while (door != NULL && !syn_str_eq(door->gateway, gateway))
        door = door->next;
    return door;
}

/* Under the lock. */
static int
add_door(struct agt_resolver *resolver, const char *gateway, const struct agt_asker *asker,
         struct syn_err *err)
{
    struct agt_door *door = syn_calloc(1, sizeof(*door));
    int rc;

    if (door == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for names");
    *door = (struct agt_door){.resolver = resolver, .asker = *asker, .udp = -1, .tcp = -1};
    (void)syn_str_copy(door->gateway, sizeof(door->gateway), gateway);
    rc = door_bind(door, SOCK_DGRAM, &door->udp, err);
    if (rc == SYN_OK)
        rc = door_bind(door, SOCK_STREAM, &door->tcp, err);
    if (rc == SYN_OK)
        rc = syn_loop_post(resolver->loop, on_door, door, NULL, err);
    if (rc < 0) {
        if (door->udp >= 0)
            (void)close(door->udp);
        if (door->tcp >= 0)
            (void)close(door->tcp);
        syn_free(door);
        return rc;
    }
    door->users = 1;
    door->next = resolver->doors;
    resolver->doors = door;
    doors_changed(resolver);
    door->since = resolver->generation;
    return SYN_OK;
}

int
agt_resolver_enter(struct agt_resolver *resolver, const char *gateway,
                   const struct agt_asker *asker, struct syn_err *err)
{
    struct agt_door *door;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&resolver->lock);
    door = find_door(resolver, gateway);
    if (door == NULL) {
        rc = add_door(resolver, gateway, asker, err);
    } else {
        if (!syn_str_eq(door->asker.account, asker->account)) {
            doors_changed(resolver);
            door->since = resolver->generation;
        }
        door->asker = *asker;
        door->users++;
    }
    (void)pthread_mutex_unlock(&resolver->lock);
    return rc;
}

void
agt_resolver_leave(struct agt_resolver *resolver, const char *gateway)
{
    struct agt_door *door;

    (void)pthread_mutex_lock(&resolver->lock);
    door = find_door(resolver, gateway);
    assert(door != NULL && door->users > 0);
    door->users--;
    (void)pthread_mutex_unlock(&resolver->lock);
}

void
agt_resolver_known(struct agt_resolver *resolver, uint64_t generation)
{
    (void)pthread_mutex_lock(&resolver->lock);
    resolver->known = generation;
    (void)pthread_cond_broadcast(&resolver->wake);
    (void)pthread_mutex_unlock(&resolver->lock);
}

bool
agt_resolver_await(struct agt_resolver *resolver, const char *gateway, int64_t ms)
{
    int64_t until_ns = syn_clock_ns() + ms * 1000000;
    const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                   .tv_nsec = until_ns % 1000000000};
    const struct agt_door *door;
    bool known;

    (void)pthread_mutex_lock(&resolver->lock);
    door = find_door(resolver, gateway);
    assert(door != NULL);
    while (resolver->known < door->since && !resolver->stop &&
           pthread_cond_timedwait(&resolver->wake, &resolver->lock, &until) == 0)
        continue;
    known = resolver->known >= door->since;
    (void)pthread_mutex_unlock(&resolver->lock);
    return known;
}

/* ---- beginning and end ---- */

static void *
resolver_main(void *arg)
{
    struct agt_resolver *resolver = arg;
    struct syn_err err = {0};

    if (syn_loop_run(resolver->loop, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "agent.names-ended", &err);
    return NULL;
}

static void
on_stop(void *arg)
{
    const struct agt_resolver *resolver = arg;

    syn_loop_stop(resolver->loop);
}

int
agt_resolver_new(const struct agt_resolver_options *options, struct agt_resolver **ret,
                 struct syn_err *err)
{
    struct agt_resolver *resolver = syn_calloc(1, sizeof(*resolver));
    int64_t tick_ms = options->tick_ms > 0 ? options->tick_ms : AGT_DNS_TICK_MS;
    pthread_condattr_t attributes;
    int rc;

    if (resolver == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for names");
    resolver->names = options->names;
    resolver->others = options->others;
    resolver->resolv_conf = options->resolv_conf;
    resolver->port = options->port > 0 ? options->port : SYN_DNS_PORT;
    resolver->upstream_port = options->upstream_port > 0 ? options->upstream_port : SYN_DNS_PORT;
    resolver->flight_ms = options->flight_ms > 0 ? options->flight_ms : AGT_DNS_FLIGHT_MS;
    resolver->upstreams_stamp = -1;
    (void)pthread_mutex_init(&resolver->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&resolver->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    rc = syn_loop_new(&resolver->loop, err);
    if (rc == SYN_OK)
        rc = syn_loop_timer(resolver->loop, tick_ms, tick_ms, on_tick, resolver, &resolver->tick,
                            err);
    if (rc == SYN_OK) {
        resolver->started = pthread_create(&resolver->thread, NULL, resolver_main, resolver) == 0;
        if (!resolver->started)
            rc = SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for names");
    }
    if (rc < 0)
        (void)agt_resolver_free(resolver);
    else
        *ret = resolver;
    return rc;
}

struct agt_resolver *
agt_resolver_free(struct agt_resolver *resolver)
{
    struct agt_door *next;

    if (resolver == NULL)
        return NULL;
    (void)pthread_mutex_lock(&resolver->lock);
    resolver->stop = true;
    (void)pthread_cond_broadcast(&resolver->wake);
    (void)pthread_mutex_unlock(&resolver->lock);
    while (resolver->started && syn_loop_post(resolver->loop, on_stop, resolver, NULL, NULL) < 0)
        (void)usleep(1000); /* its mailbox is full: it is being emptied */
    if (resolver->started)
        (void)pthread_join(resolver->thread, NULL);
    for (struct agt_door *door = resolver->doors; door != NULL; door = next) {
        next = door->next;
        door_free(door);
    }
    resolver->tick = syn_watch_drop(resolver->tick);
    resolver->loop = syn_loop_free(resolver->loop);
    (void)pthread_cond_destroy(&resolver->wake);
    (void)pthread_mutex_destroy(&resolver->lock);
    syn_free(resolver);
    return NULL;
}
