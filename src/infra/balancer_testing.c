#include "balancer_testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/mem.h>

#define PATIENCE_MS 30000

/* --- servers ---------------------------------------------------------------------------------- */

struct guest {
    struct guest *next, **place; /* among all */
    int fd, epoll;
    bool echoes;
    size_t len;
    char text[ORIGIN_REQUEST];
};

static void
guest_end(struct guest *guest)
{
    *guest->place = guest->next;
    if (guest->next != NULL)
        guest->next->place = guest->place;
    /* Closing is not enough: a child that is just being started has a copy. */
    (void)epoll_ctl(guest->epoll, EPOLL_CTL_DEL, guest->fd, NULL);
    (void)close(guest->fd);
    syn_free(guest);
}

static void
say(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void
answer(struct origin *origin, struct guest *guest, size_t head)
{
    char out[ORIGIN_REQUEST + 256];
    bool check = strstr(guest->text, " /health ") != NULL;
    int status = atomic_load(check ? &origin->health : &origin->status);
    size_t body = atomic_load(&origin->brief) ? 0 : head;
    int len;

    if (strstr(guest->text, "websocket") != NULL) {
        static const char up[] =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";

        guest->echoes = true;
        say(guest->fd, up, strlen(up));
        return;
    }
    atomic_fetch_add(check ? &origin->checks : &origin->requests, 1);
    if (status == 0)
        return;
    len = snprintf(out, sizeof(out), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s\n%.*s", status,
                   strlen(origin->name) + 1 + body, origin->name, (int)body, guest->text);
    say(guest->fd, out, (size_t)len);
}

/* False: it has gone. */
static bool
serve(struct origin *origin, struct guest *guest)
{
    ssize_t got = recv(guest->fd, guest->text + guest->len, ORIGIN_REQUEST - 1 - guest->len, 0);
    char *end;

    if (got <= 0)
        return false;
    if (guest->echoes) {
        say(guest->fd, guest->text, (size_t)got);
        return true;
    }
    guest->len += (size_t)got;
    guest->text[guest->len] = '\0';
    while (!guest->echoes && (end = strstr(guest->text, "\r\n\r\n")) != NULL) {
        size_t head = (size_t)(end - guest->text) + 4;
        bool last = head == 4 || strcasestr(guest->text, "connection: close") != NULL;

        answer(origin, guest, head);
        if (last || atomic_load(&origin->status) == 0)
            return false;
        guest->len = guest->echoes ? 0 : guest->len - head;
        memmove(guest->text, guest->text + head, guest->len + 1);
    }
    return guest->len < ORIGIN_REQUEST - 1;
}

static void
welcome(struct origin *origin, int epoll, struct guest **all)
{
    struct guest *guest = syn_calloc(1, sizeof(*guest));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};

    assert(guest != NULL);
    guest->epoll = epoll;
    guest->next = *all;
    guest->place = all;
    if (*all != NULL)
        (*all)->place = &guest->next;
    *all = guest;
    guest->fd = accept4(origin->listener, NULL, NULL, SOCK_CLOEXEC);
    if (guest->fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, guest->fd, &event) < 0)
        guest_end(guest);
}

static void *
origin_run(void *arg)
{
    struct origin *origin = arg;
    struct epoll_event events[64];
    struct epoll_event listener = {.events = EPOLLIN, .data.ptr = origin};
    struct epoll_event woken = {.events = EPOLLIN, .data.ptr = NULL};
    struct guest *all = NULL;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, origin->listener, &listener);
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, origin->wake, &woken);
    while (!atomic_load(&origin->stopping)) {
        int count = epoll_wait(epoll, events, 64, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == origin)
                welcome(origin, epoll, &all);
            else if (events[i].data.ptr != NULL && !serve(origin, events[i].data.ptr))
                guest_end(events[i].data.ptr);
        }
    }
    while (all != NULL)
        guest_end(all);
    (void)close(epoll);
    return NULL;
}

void
origin_start(struct origin *origin, const char *name)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int rc;

    memset(origin, 0, sizeof(*origin));
    (void)snprintf(origin->name, sizeof(origin->name), "%s", name);
    atomic_store(&origin->health, 200);
    atomic_store(&origin->status, 200);
    origin->wake = eventfd(0, EFD_CLOEXEC);
    origin->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = bind(origin->listener, (const struct sockaddr *)&address, sizeof(address));
    assert(rc == 0);
    rc = listen(origin->listener, 1024);
    assert(rc == 0);
    rc = getsockname(origin->listener, (struct sockaddr *)&address, &len);
    assert(rc == 0);
    origin->port = ntohs(address.sin_port);
    (void)snprintf(origin->address, sizeof(origin->address), "127.0.0.1:%u", origin->port);
    rc = pthread_create(&origin->thread, NULL, origin_run, origin);
    assert(rc == 0);
    (void)rc;
}

void
origin_stop(struct origin *origin)
{
    uint64_t one = 1;

    atomic_store(&origin->stopping, true);
    (void)!write(origin->wake, &one, sizeof(one));
    (void)pthread_join(origin->thread, NULL);
    (void)close(origin->listener);
    (void)close(origin->wake);
}

/* --- clients ---------------------------------------------------------------------------------- */

/* The loopback of the family of `source`. */
static socklen_t
loopback(const char *source, unsigned port, struct sockaddr_storage *from,
         struct sockaddr_storage *to)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    if (source != NULL && strchr(source, ':') != NULL) {
        memcpy(from, &six, sizeof(six));
        six.sin6_port = htons((uint16_t)port);
        memcpy(to, &six, sizeof(six));
        return sizeof(six);
    }
    four.sin_port = htons((uint16_t)port);
    memcpy(to, &four, sizeof(four));
    four.sin_port = 0;
    if (source != NULL && inet_pton(AF_INET, source, &four.sin_addr) != 1)
        return 0;
    memcpy(from, &four, sizeof(four));
    return sizeof(four);
}

static int
dial(const char *source, unsigned port)
{
    struct sockaddr_storage from, address;
    socklen_t len = loopback(source, port, &from, &address);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = len == 0 ? -1 : socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if ((source == NULL || bind(fd, (const struct sockaddr *)&from, len) == 0) &&
        connect(fd, (const struct sockaddr *)&address, len) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* HAProxy shares addresses (SO_REUSEPORT), so two tests side by side would get each other's
 * answers: a port is ours while we hold a name. */
static bool
reserve(unsigned port)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int len = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "synor-test-port-%u", port);

    if (bind(fd, (const struct sockaddr *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0)
        return true; /* until the process ends */
    (void)close(fd);
    return false;
}

static bool
is_free(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    if (rc == 0) /* one that listens is told only now */
        rc = listen(fd, 1);
    (void)close(fd);
    return rc == 0 && reserve(port);
}

unsigned
free_port(void)
{
    static unsigned next;

    /* Below what the kernel gives to clients. The one behind it is free as well. */
    for (unsigned i = 0; i < 4000; i++) {
        unsigned port = 20000 + ((unsigned)getpid() * 62 + 2 * next++) % 12000;

        if (is_free(port) && is_free(port + 1))
            return port;
    }
    assert(!"no port is free");
    return 0;
}

void
ask(unsigned port, const char *host, const char *path, const char *headers, struct syn_buf *out)
{
    ask_from(NULL, port, host, path, headers, out);
}

void
ask_from(const char *source, unsigned port, const char *host, const char *path, const char *headers,
         struct syn_buf *out)
{
    char request[1024];
    int fd = dial(source, port);
    ssize_t got = 1;

    syn_buf_clear(out);
    if (fd < 0)
        return;
    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", path, host,
                   headers);
    say(fd, request, strlen(request));
    while (got > 0) {
        char *room = syn_buf_reserve(out, 4096);

        assert(room != NULL);
        got = recv(fd, room, 4096, 0);
        out->len += got > 0 ? (size_t)got : 0;
        out->data[out->len] = '\0';
    }
    (void)close(fd);
}

/* One answer with a length. False: none, or not 200. *ret_close: the server closes. */
static bool
read_answer(int fd, char *text, size_t size, bool *ret_close)
{
    size_t len = 0, want = SIZE_MAX;

    text[0] = '\0';
    while (len < want && len < size - 1) {
        ssize_t got = recv(fd, text + len, size - 1 - len, 0);
        const char *end, *length;
        unsigned body;

        if (got <= 0)
            return false;
        len += (size_t)got;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
        length = strcasestr(text, "content-length: ");
        /* NOLINTNEXTLINE(cert-err34-c) */
        if (end != NULL && length != NULL && sscanf(length + 16, "%u", &body) == 1)
            want = (size_t)(end - text) + 4 + body;
    }
    *ret_close = strcasestr(text, "connection: close") != NULL;
    return strncmp(text, "HTTP/1.1 200", 12) == 0;
}

static void
note_failure(struct load *load, const char *text)
{
    atomic_fetch_add(&load->failed, 1);
    (void)pthread_mutex_lock(&load->lock);
    if (load->failure[0] == '\0')
        (void)snprintf(load->failure, sizeof(load->failure), "errno %d: %.200s", errno, text);
    (void)pthread_mutex_unlock(&load->lock);
}

static void *
load_run(void *arg)
{
    struct load *load = arg;
    static const char request[] = "GET /load HTTP/1.1\r\nHost: load.example\r\n\r\n";
    char text[ORIGIN_REQUEST * 2];
    int fd = -1;

    while (!atomic_load(&load->stopping)) {
        bool closes = false, good;

        if (fd < 0)
            fd = dial(load->source, load->port);
        text[0] = '\0';
        if (fd >= 0)
            say(fd, request, strlen(request));
        good = fd >= 0 && read_answer(fd, text, sizeof(text), &closes);
        atomic_fetch_add(&load->done, 1);
        if (!good)
            note_failure(load, text);
        if (fd >= 0 && (closes || !good)) {
            (void)close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

void
load_start(struct load *load, unsigned port, unsigned clients)
{
    load_start_from(load, NULL, port, clients);
}

void
load_start_from(struct load *load, const char *source, unsigned port, unsigned clients)
{
    memset(load, 0, sizeof(*load));
    (void)pthread_mutex_init(&load->lock, NULL);
    load->source = source;
    load->port = port;
    load->count = clients;
    for (unsigned i = 0; i < clients; i++) {
        int rc = pthread_create(&load->threads[i], NULL, load_run, load);

        assert(rc == 0);
        (void)rc;
    }
}

void
load_stop(struct load *load)
{
    atomic_store(&load->stopping, true);
    for (unsigned i = 0; i < load->count; i++)
        (void)pthread_join(load->threads[i], NULL);
    (void)pthread_mutex_destroy(&load->lock);
}
