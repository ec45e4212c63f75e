/* Questions for others' names: sent on as they came, under a number and from a port that cannot be
 * guessed, to each of the node's resolvers in turn until one answers. What came by TCP is asked by
 * TCP: it did not fit otherwise. */
#include "resolver_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define FRAME       2
#define RESOLV_LINE 512

/* One question under way. */
struct agt_flight {
    struct agt_resolver *resolver;
    struct agt_flight *next;
    struct agt_dns_client client;
    struct syn_dns_query query;
    size_t asked; /* resolvers so far */
    int fd;
    struct syn_watch *watch;
    int64_t due_ms;
    size_t len, got;
    uint8_t *answer; /* by TCP: what came of it, with its length before */
    uint8_t question[FRAME + AGT_DNS_QUERY_MAX];
};

static const uint8_t *
message(const struct agt_flight *flight)
{
    return flight->question + FRAME;
}

static void
land(struct agt_flight *flight)
{
    flight->watch = syn_watch_drop(flight->watch);
    if (flight->fd >= 0)
        (void)close(flight->fd);
    flight->fd = -1;
    syn_free(flight->answer);
    flight->answer = NULL;
    flight->got = 0;
}

static void
flight_free(struct agt_flight *flight)
{
    struct agt_flight **slot = &flight->resolver->flights;

    while (*slot != flight)
        slot = &(*slot)->next;
    *slot = flight->next;
    flight->resolver->flights_count--;
    flight->client.door->flights_count--;
    land(flight);
    syn_free(flight);
}

/* ---- whom to ask ---- */

static void
read_upstream(struct agt_resolver *resolver, const char *line)
{
    struct agt_upstream *to = &resolver->upstreams[resolver->upstreams_count];
    struct sockaddr_in *in = (struct sockaddr_in *)&to->addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to->addr;
    uint16_t port = htons(resolver->upstream_port);
    char text[AGT_DNS_ADDRESS_MAX];

    if (resolver->upstreams_count == AGT_DNS_UPSTREAMS_MAX ||
        sscanf(line, "nameserver %47s", text) != 1)
        return;
    memset(to, 0, sizeof(*to));
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = port;
        to->len = sizeof(*in);
    } else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = port;
        to->len = sizeof(*in6);
    } else {
        return;
    }
    resolver->upstreams_count++;
}

/* The node's resolvers, read again when their file has changed. */
static void
read_upstreams(struct agt_resolver *resolver)
{
    char line[RESOLV_LINE];
    struct stat seen;
    int64_t stamp;
    FILE *file;

    if (resolver->resolv_conf == NULL || stat(resolver->resolv_conf, &seen) < 0)
        return;
    stamp = (int64_t)seen.st_mtim.tv_sec * 1000000000 + seen.st_mtim.tv_nsec;
    if (stamp == resolver->upstreams_stamp)
        return;
    file = fopen(resolver->resolv_conf, "re");
    if (file == NULL)
        return;
    resolver->upstreams_stamp = stamp;
    resolver->upstreams_count = 0;
    while (fgets(line, sizeof(line), file) != NULL)
        read_upstream(resolver, line);
    (void)fclose(file);
}

/* ---- what comes back ---- */

static void
deliver(struct agt_flight *flight, uint8_t *data, size_t len)
{
    data[0] = (uint8_t)(flight->query.id >> 8);
    data[1] = (uint8_t)flight->query.id;
    agt_resolver_send(&flight->client, data, len);
    flight_free(flight);
}

static void ask_next(struct agt_flight *flight);

static void
on_datagram(void *arg, int fd, uint32_t events)
{
    struct agt_flight *flight = arg;
    uint8_t data[SYN_DNS_MESSAGE_MAX];
    ssize_t got = recv(fd, data, sizeof(data), MSG_DONTWAIT);

    (void)events;
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        ask_next(flight); /* nobody is there */
    else if (got > 0 && syn_dns_answers(data, (size_t)got, message(flight), flight->len))
        deliver(flight, data, (size_t)got);
}

/* False when nothing more is to be hoped for. */
static bool
read_answer(struct agt_flight *flight)
{
    size_t whole = FRAME + UINT16_MAX;
    ssize_t got;

    if (flight->answer == NULL)
        flight->answer = syn_alloc(whole);
    if (flight->answer == NULL)
        return false;
    if (flight->got >= FRAME)
        whole = FRAME + ((size_t)flight->answer[0] << 8 | flight->answer[1]);
    else
        whole = FRAME;
    got = recv(flight->fd, flight->answer + flight->got, whole - flight->got, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        return false;
    if (got > 0)
        flight->got += (size_t)got;
    return true;
}

static bool
is_whole(const struct agt_flight *flight)
{
    return flight->got > FRAME &&
           flight->got == FRAME + ((size_t)flight->answer[0] << 8 | flight->answer[1]);
}

static void
on_stream(void *arg, int fd, uint32_t events)
{
    struct agt_flight *flight = arg;
    size_t len = FRAME + flight->len;
    bool good = (events & EPOLLERR) == 0;

    if (good && (events & EPOLLOUT) != 0)
        good = send(fd, flight->question, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len &&
               syn_watch_events(flight->watch, EPOLLIN, NULL) == SYN_OK;
    else if (good)
        good = read_answer(flight);
    if (good && is_whole(flight)) {
        uint8_t *data = flight->answer + FRAME;

        good = syn_dns_answers(data, flight->got - FRAME, message(flight), flight->len);
        if (good) {
            deliver(flight, data, flight->got - FRAME);
            return;
        }
    }
    if (!good)
        ask_next(flight);
}

/* ---- asking ---- */

static bool
ask(struct agt_flight *flight, const struct agt_upstream *to)
{
    struct syn_loop *loop = flight->resolver->loop;
    bool stream = flight->client.conn != NULL;
    uint16_t id;
    int rc;

    if (getrandom(&id, sizeof(id), 0) != sizeof(id))
        return false;
    memcpy(flight->question + FRAME, &id, sizeof(id));
    flight->fd = socket(to->addr.ss_family,
                        (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (flight->fd < 0)
        return false;
    if (connect(flight->fd, (const struct sockaddr *)&to->addr, to->len) < 0 &&
        errno != EINPROGRESS)
        return false;
    if (!stream && send(flight->fd, message(flight), flight->len, MSG_DONTWAIT) < 0)
        return false;
    rc = syn_loop_fd(loop, flight->fd, stream ? EPOLLOUT : EPOLLIN,
                     stream ? on_stream : on_datagram, flight, &flight->watch, NULL);
    flight->due_ms = syn_loop_now_ms(loop) + flight->resolver->flight_ms;
    return rc == SYN_OK;
}

/* Ask the next one that can be asked; when there is none, say so. */
static void
ask_next(struct agt_flight *flight)
{
    const struct agt_resolver *resolver = flight->resolver;

    land(flight);
    while (flight->asked < resolver->upstreams_count) {
        if (ask(flight, &resolver->upstreams[flight->asked++]))
            return;
        land(flight);
    }
    agt_resolver_say(&flight->client, &flight->query, SYN_DNS_SERVFAIL);
    flight_free(flight);
}

void
agt_forward(const struct agt_dns_client *client, const struct syn_dns_query *query,
            const uint8_t *data, size_t len)
{
    struct agt_resolver *resolver = client->door->resolver;
    struct agt_flight *flight = NULL;

    assert(len <= AGT_DNS_QUERY_MAX);
    if (resolver->flights_count < AGT_DNS_FLIGHTS_MAX &&
        client->door->flights_count < AGT_DNS_FLIGHTS_OF_DOOR)
        flight = syn_calloc(1, sizeof(*flight));
    if (flight == NULL) {
        agt_resolver_say(client, query, SYN_DNS_SERVFAIL);
        return;
    }
    flight->resolver = resolver;
    flight->client = *client;
    flight->query = *query;
    flight->fd = -1;
    flight->len = len;
    flight->question[0] = (uint8_t)(len >> 8);
    flight->question[1] = (uint8_t)len;
    memcpy(flight->question + FRAME, data, len);
    flight->next = resolver->flights;
    resolver->flights = flight;
    resolver->flights_count++;
    client->door->flights_count++;
    read_upstreams(resolver);
    ask_next(flight);
}

void
agt_forward_tick(struct agt_resolver *resolver)
{
    int64_t now_ms = syn_loop_now_ms(resolver->loop);
    struct agt_flight *next;

    for (struct agt_flight *flight = resolver->flights; flight != NULL; flight = next) {
        next = flight->next;
        if (now_ms >= flight->due_ms)
            ask_next(flight);
    }
}

void
agt_forward_drop(struct agt_resolver *resolver, const struct agt_door *door,
                 const struct agt_conn *conn)
{
    struct agt_flight *next;

    for (struct agt_flight *flight = resolver->flights; flight != NULL; flight = next) {
        next = flight->next;
        if (flight->client.door == door && (conn == NULL || flight->client.conn == conn))
            flight_free(flight);
    }
}
