/* The name server over real sockets, on loopback addresses of this process's own: what is ours,
 * what is passed on, and what becomes of clients and resolvers that behave badly. */
#include "resolver_priv.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define PORT     5353
#define UPSTREAM 5354
#define WAIT_MS  60000
#define TICK_MS  10
#define SHORT_MS 100 /* for a resolver to answer; where it may be too short, it is asked again */

static const struct agt_asker acme = {.account = "acct-a", .label = "acme"};
static const struct agt_asker bolt = {.account = "acct-b", .label = "bolt"};

struct world {
    char gateway[32], second[32], resolvers[2][32]; /* addresses */
    char path[512];                                 /* of the node's resolv.conf */
    struct agt_names *names;
    struct agt_resolver *resolver;
};

static struct sockaddr_in
at(const char *address, uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

    assert_int_equal(inet_pton(AF_INET, address, &addr.sin_addr), 1);
    return addr;
}

static void
put_web(struct agt_names *names)
{
    static const char text[] =
        "{\"id\":\"svc-1\",\"account\":\"acct-a\",\"account_name\":\"acme\",\"name\":\"web\","
        "\"port\":8080,\"endpoints\":[{\"instance\":\"i-0\",\"replica\":0,\"node\":\"node-1\","
        "\"address\":\"10.128.0.2\",\"ready\":true}]}";
    struct syn_err err = {0};
    SYN_JSON(doc);

    assert_done(syn_json_parse_object(text, strlen(text), &doc, &err), &err);
    assert_done(agt_names_put(names, doc, &err), &err);
}

static void
open_world(struct world *world, enum agt_dns_others others, int64_t flight_ms)
{
    struct agt_resolver_options options = {.others = others,
                                           .port = PORT,
                                           .upstream_port = UPSTREAM,
                                           .resolv_conf = world->path,
                                           .tick_ms = TICK_MS,
                                           .flight_ms = flight_ms};
    unsigned own = (unsigned)getpid();
    char *const addresses[] = {world->gateway, world->second, world->resolvers[0],
                               world->resolvers[1]};
    struct syn_err err = {0};
    FILE *file;

    for (size_t i = 0; i < SYN_LEN(addresses); i++)
        (void)snprintf(addresses[i], 32, "127.%u.%u.%zu", 64 + (own >> 8) % 128, own & 0xff, i + 1);
    (void)snprintf(world->path, sizeof(world->path), "%s/resolv.conf", syn_test_dir());
    file = fopen(world->path, "we");
    assert_non_null(file);
    (void)fprintf(file, "search example.org\nnameserver %s\nnameserver %s\nnameserver nonsense\n",
                  world->resolvers[0], world->resolvers[1]);
    assert_int_equal(fclose(file), 0);
    assert_done(agt_names_new(NULL, "node-1", &world->names, &err), &err);
    put_web(world->names);
    options.names = world->names;
    assert_done(agt_resolver_new(&options, &world->resolver, &err), &err);
    assert_done(agt_resolver_enter(world->resolver, world->gateway, &acme, &err), &err);
}

static void
close_world(struct world *world)
{
    world->resolver = agt_resolver_free(world->resolver);
    world->names = agt_names_free(world->names);
}

static void
all_is_known(struct world *world)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&world->resolver->lock);
    generation = world->resolver->generation;
    (void)pthread_mutex_unlock(&world->resolver->lock);
    agt_resolver_known(world->resolver, generation);
}

/* A question of type A; its number is its first two bytes. */
static size_t
question(const char *name, uint8_t number, uint8_t *out)
{
    size_t used = 12;

    memset(out, 0, used);
    out[1] = number;
    out[2] = 1;
    out[5] = 1;
    while (*name != '\0') {
        size_t len = strcspn(name, ".");

        out[used++] = (uint8_t)len;
        memcpy(out + used, name, len);
        used += len;
        name += len + (name[len] == '.');
    }
    memset(out + used, 0, 5);
    out[used + 2] = SYN_DNS_A;
    out[used + 4] = 1;
    return used + 5;
}

static void
await(int fd, short events)
{
    struct pollfd ready = {.fd = fd, .events = events};

    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
}

static int
dial(int type, const char *address, uint16_t port)
{
    struct sockaddr_in addr = at(address, port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static int
serve(int type, const char *address)
{
    struct sockaddr_in addr = at(address, UPSTREAM);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 4), 0);
    return fd;
}

/* The answer's length, by UDP. */
static size_t
receive(int fd, uint8_t *out, size_t cap)
{
    ssize_t got;

    await(fd, POLLIN);
    got = recv(fd, out, cap, 0);
    assert_true(got >= 12);
    return (size_t)got;
}

static void
read_all(int fd, uint8_t *out, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t one;

        await(fd, POLLIN);
        one = recv(fd, out + got, len - got, 0);
        assert_true(one > 0);
        got += (size_t)one;
    }
}

/* One message by TCP. */
static size_t
receive_framed(int fd, uint8_t *out, size_t cap)
{
    uint8_t frame[2];
    size_t len;

    read_all(fd, frame, sizeof(frame));
    len = (size_t)frame[0] << 8 | frame[1];
    assert_true(len >= 12 && len <= cap);
    read_all(fd, out, len);
    return len;
}

static unsigned
code_of(const uint8_t *data)
{
    return data[3] & 0xf;
}

/* Ask by UDP; the code. */
static unsigned
ask(const char *gateway, const char *name)
{
    uint8_t data[1500];
    size_t len = question(name, 7, data);
    int fd = dial(SOCK_DGRAM, gateway, PORT);

    assert_int_equal(send(fd, data, len, 0), len);
    (void)receive(fd, data, sizeof(data));
    assert_int_equal(data[1], 7);
    (void)close(fd);
    return code_of(data);
}

static void
test_own_names(void **state)
{
    struct world world;
    uint8_t data[1500];
    struct syn_err err = {0};
    size_t len;
    int fd;

    (void)state;
    open_world(&world, AGT_DNS_REFUSE, 0);
    assert_int_equal(ask(world.gateway, "web.acme.synor"), SYN_DNS_SERVFAIL); /* not known yet */
    assert_false(agt_resolver_await(world.resolver, world.gateway, 1));
    all_is_known(&world);
    assert_true(agt_resolver_await(world.resolver, world.gateway, WAIT_MS));
    fd = dial(SOCK_DGRAM, world.gateway, PORT);
    len = question("web.acme.synor", 9, data);
    assert_int_equal(send(fd, data, len, 0), len);
    len = receive(fd, data, sizeof(data));
    assert_int_equal(code_of(data), SYN_DNS_NOERROR);
    assert_memory_equal(data + len - 4, "\x0a\x80\0\2", 4);
    assert_int_equal(data[2] & 4, 4); /* with authority */
    (void)close(fd);
    assert_int_equal(ask(world.gateway, "api.acme.synor"), SYN_DNS_NXDOMAIN);
    assert_int_equal(ask(world.gateway, "deb.debian.org"), SYN_DNS_REFUSED);
    /* Another account, another door. */
    assert_done(agt_resolver_enter(world.resolver, world.second, &bolt, &err), &err);
    all_is_known(&world);
    assert_int_equal(ask(world.second, "web.acme.synor"), SYN_DNS_NXDOMAIN);
    assert_int_equal(ask(world.second, "bolt.synor"), SYN_DNS_NOERROR);
    close_world(&world);
}

/* Two questions in one piece, one byte at a time, and what is no question at all. */
static void
test_connections(void **state)
{
    struct world world;
    uint8_t data[1500], both[600];
    size_t len, first;
    int fd;

    (void)state;
    open_world(&world, AGT_DNS_REFUSE, 0);
    all_is_known(&world);
    fd = dial(SOCK_STREAM, world.gateway, PORT);
    first = question("web.acme.synor", 1, both + 2);
    both[0] = 0;
    both[1] = (uint8_t)first;
    len = question("api.acme.synor", 2, both + 2 + first + 2);
    both[2 + first] = 0;
    both[2 + first + 1] = (uint8_t)len;
    len += 2 + first + 2;
    assert_int_equal(send(fd, both, len, 0), len);
    (void)receive_framed(fd, data, sizeof(data));
    assert_int_equal(data[1], 1);
    assert_int_equal(code_of(data), SYN_DNS_NOERROR);
    (void)receive_framed(fd, data, sizeof(data));
    assert_int_equal(data[1], 2);
    assert_int_equal(code_of(data), SYN_DNS_NXDOMAIN);
    for (size_t i = 0; i < 2 + first; i++)
        assert_int_equal(send(fd, both + i, 1, 0), 1);
    (void)receive_framed(fd, data, sizeof(data));
    assert_int_equal(data[1], 1);
    (void)close(fd);
    fd = dial(SOCK_STREAM, world.gateway, PORT);
    assert_int_equal(send(fd, "\xff\xff", 2, 0), 2); /* longer than any question */
    await(fd, POLLIN);
    assert_true(recv(fd, data, 1, 0) <= 0);
    (void)close(fd);
    fd = dial(SOCK_STREAM, world.gateway, PORT);
    assert_int_equal(send(fd, "\0\3abc", 5, 0), 5); /* none that could be answered */
    await(fd, POLLIN);
    assert_true(recv(fd, data, 1, 0) <= 0);
    (void)close(fd);
    close_world(&world);
}

/* Send what was asked back as an answer with this code. */
static void
answer(int fd, unsigned code, bool wrong_first)
{
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    uint8_t data[1500];
    ssize_t got;

    await(fd, POLLIN);
    got = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_len);
    assert_true(got > 12);
    data[2] |= 0x80;
    data[3] = (uint8_t)code;
    if (wrong_first) { /* somebody guesses */
        data[0] ^= 0xff;
        assert_int_equal(sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&from, from_len), got);
        data[0] ^= 0xff;
        data[13] ^= 1; /* or answers something else */
        assert_int_equal(sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&from, from_len), got);
        data[13] ^= 1;
    }
    assert_int_equal(sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&from, from_len), got);
}

/* Ask for others' names until the second resolver's answer comes through: it may take longer than
 * it is waited for. */
static void
ask_second(const struct world *world, int second, unsigned code)
{
    uint8_t data[1500], asked[1500];
    size_t len = question("deb.debian.org", 3, asked);
    struct pollfd ready[2] = {{.fd = dial(SOCK_DGRAM, world->gateway, PORT), .events = POLLIN},
                              {.fd = second, .events = POLLIN}};

    do {
        assert_int_equal(send(ready[0].fd, asked, len, 0), len);
        do {
            assert_true(poll(ready, 2, WAIT_MS) > 0);
            if (ready[1].revents != 0)
                answer(second, code, true);
        } while (ready[0].revents == 0);
        assert_int_equal(receive(ready[0].fd, data, sizeof(data)), len);
        assert_int_equal(data[1], 3);
    } while (code_of(data) == SYN_DNS_SERVFAIL);
    assert_int_equal(code_of(data), code);
    (void)close(ready[0].fd);
}

static void
test_others_names(void **state)
{
    struct world world;
    int first, second;

    (void)state;
    open_world(&world, AGT_DNS_FORWARD, SHORT_MS);
    /* Nobody is there. */
    assert_int_equal(ask(world.gateway, "deb.debian.org"), SYN_DNS_SERVFAIL);
    /* The first one is not there, then it says nothing: the second one is asked. */
    second = serve(SOCK_DGRAM, world.resolvers[1]);
    ask_second(&world, second, SYN_DNS_NXDOMAIN);
    first = serve(SOCK_DGRAM, world.resolvers[0]);
    ask_second(&world, second, SYN_DNS_NOERROR);
    await(first, POLLIN);
    (void)close(first);
    (void)close(second);
    close_world(&world);
}

static void
test_others_by_connection(void **state)
{
    static uint8_t big[2 + 9000];
    struct world world;
    uint8_t asked[600];
    size_t len;
    int upstream, fd, taken;

    (void)state;
    open_world(&world, AGT_DNS_FORWARD, WAIT_MS);
    upstream = serve(SOCK_STREAM, world.resolvers[1]);
    fd = dial(SOCK_STREAM, world.gateway, PORT);
    len = question("deb.debian.org", 4, asked + 2);
    asked[0] = 0;
    asked[1] = (uint8_t)len;
    assert_int_equal(send(fd, asked, 2 + len, 0), 2 + len);
    await(upstream, POLLIN);
    taken = accept4(upstream, NULL, NULL, SOCK_CLOEXEC);
    assert_true(taken >= 0);
    assert_int_equal(receive_framed(taken, big + 2, sizeof(big) - 2), len);
    big[0] = (uint8_t)(9000 >> 8);
    big[1] = (uint8_t)(9000 & 0xff);
    big[4] |= 0x80;
    assert_int_equal(send(taken, big, 700, 0), 700);
    assert_int_equal(send(taken, big + 700, sizeof(big) - 700, 0), sizeof(big) - 700);
    assert_int_equal(receive_framed(fd, big + 2, sizeof(big) - 2), 9000);
    assert_int_equal(big[3], 4);
    (void)close(taken);
    /* A client that goes away while its question is under way, and one that stays. */
    assert_int_equal(send(fd, asked, 2 + len, 0), 2 + len);
    await(upstream, POLLIN);
    taken = accept4(upstream, NULL, NULL, SOCK_CLOEXEC);
    (void)close(fd);
    (void)close(taken);
    fd = dial(SOCK_STREAM, world.gateway, PORT);
    assert_int_equal(send(fd, asked, 2 + len, 0), 2 + len);
    await(upstream, POLLIN);
    close_world(&world); /* in the middle of it */
    (void)close(fd);
    (void)close(upstream);
}

/* More questions under way than one door may have: the rest is told so at once. */
static void
test_flood(void **state)
{
    struct world world;
    uint8_t data[1500];
    size_t len = question("deb.debian.org", 5, data);
    int upstream, fd;

    (void)state;
    open_world(&world, AGT_DNS_FORWARD, WAIT_MS);
    upstream = serve(SOCK_DGRAM, world.resolvers[0]);
    fd = dial(SOCK_DGRAM, world.gateway, PORT);
    for (int i = 0; i < AGT_DNS_FLIGHTS_OF_DOOR + 1; i++)
        assert_int_equal(send(fd, data, len, 0), len);
    (void)receive(fd, data, sizeof(data));
    assert_int_equal(code_of(data), SYN_DNS_SERVFAIL);
    all_is_known(&world); /* what is ours is answered all the same */
    assert_int_equal(ask(world.gateway, "web.acme.synor"), SYN_DNS_NOERROR);
    (void)close(fd);
    (void)close(upstream);
    close_world(&world);
}

/* A door is shut when the last one behind it has left, and not before. */
static void
test_doors(void **state)
{
    struct world world;
    struct syn_err err = {0};
    struct sockaddr_in addr;
    bool is_shut = false;
    int other, waited_ms = 0;

    (void)state;
    open_world(&world, AGT_DNS_REFUSE, 0);
    all_is_known(&world);
    assert_done(agt_resolver_enter(world.resolver, world.gateway, &acme, &err), &err);
    agt_resolver_leave(world.resolver, world.gateway);
    assert_int_equal(ask(world.gateway, "web.acme.synor"), SYN_DNS_NOERROR);
    agt_resolver_leave(world.resolver, world.gateway);
    while (!is_shut && waited_ms++ < WAIT_MS) {
        (void)poll(NULL, 0, 1);
        (void)pthread_mutex_lock(&world.resolver->lock);
        is_shut = world.resolver->doors == NULL;
        (void)pthread_mutex_unlock(&world.resolver->lock);
    }
    assert_true(is_shut);
    /* Another account may get the network. */
    for (waited_ms = 0; waited_ms < WAIT_MS; waited_ms++) {
        if (agt_resolver_enter(world.resolver, world.gateway, &bolt, &err) == SYN_OK)
            break; /* the tick that shut it may not be through */
        (void)poll(NULL, 0, 1);
    }
    all_is_known(&world);
    assert_int_equal(ask(world.gateway, "web.acme.synor"), SYN_DNS_NXDOMAIN);
    /* A port that somebody else has. */
    other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    addr = at(world.second, PORT);
    assert_int_equal(bind(other, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_code(agt_resolver_enter(world.resolver, world.second, &acme, &err), SYN_E_CONFLICT,
                &err);
    assert_non_null(strstr(err.msg, world.second));
    (void)close(other);
    close_world(&world);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_names),    cmocka_unit_test(test_connections),
        cmocka_unit_test(test_others_names), cmocka_unit_test(test_others_by_connection),
        cmocka_unit_test(test_flood),        cmocka_unit_test(test_doors),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
