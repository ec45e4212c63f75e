/* The listening sockets of HAProxy, held beside it, so that connections wait in their queues while
 * there is no process.
 *
 * A process hands its sockets over to its successor when that asks for them over the runtime API
 * ("_getsocks", which -x does). We ask for them as a successor would, and keep what comes, bytes
 * and descriptors alike, without a look at what it means: it is HAProxy's own affair and may differ
 * by version. When the process has died, its successor is told to ask us, and is sent the same
 * again.
 *
 *   us: "_getsocks\n"                    how many there are (an int)
 *   us: an int after each message        messages with some bytes and up to 253 descriptors
 *
 * Sockets of the file system are replaced by others that lead nowhere: who connects to a dead
 * process' runtime API shall be refused and not wait. */
#include "balancer_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define MESSAGE_FDS_MAX   253 /* of Linux */
#define MESSAGE_BYTES_MAX 65536
#define MESSAGES_MAX      64
#define WAIT_MAX_MS       10000
#define ASKED             "_getsocks\n"

struct message {
    char *bytes;
    size_t len, count;
    int fds[MESSAGE_FDS_MAX];
};

struct lb_sockets {
    int total; /* as HAProxy says it */
    struct message *messages[MESSAGES_MAX];
    size_t count;

    /* While they are offered: */
    pthread_t thread;
    int listener, stop;
};

/* Room for the most descriptors of a message. */
union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX)];
};

static void
message_free(struct message *message)
{
    for (size_t i = 0; i < message->count; i++)
        (void)close(message->fds[i]);
    syn_free(message->bytes);
    syn_free(message);
}

struct lb_sockets *
lb_sockets_free(struct lb_sockets *sockets)
{
    if (sockets == NULL)
        return NULL;
    for (size_t i = 0; i < sockets->count; i++)
        message_free(sockets->messages[i]);
    syn_free(sockets);
    return NULL;
}

static void
sockets_scope(struct lb_sockets **slot)
{
    *slot = lb_sockets_free(*slot);
}

static void
close_scope(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static bool
is_ready(int fd, short events)
{
    struct pollfd poller = {.fd = fd, .events = events};
    int got;

    do {
        got = poll(&poller, 1, WAIT_MAX_MS);
    } while (got < 0 && errno == EINTR);
    return got == 1 && (poller.revents & events) != 0;
}

static void
address_of(int dir, const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, name);
}

/* --- taking ----------------------------------------------------------------------------------- */

/* Nobody comes to it. */
static bool
lead_nowhere(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);
    int nowhere;
    bool good;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain != AF_UNIX)
        return true;
    nowhere = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    good = nowhere >= 0 && dup3(nowhere, fd, O_CLOEXEC) == fd;
    if (nowhere >= 0)
        (void)close(nowhere);
    return good;
}

/* One message with what lies in it, whether it is good or not. */
static bool
take_message(int fd, struct message *message)
{
    union control control;
    struct iovec part = {message->bytes, MESSAGE_BYTES_MAX};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.room,
                            .msg_controllen = sizeof(control.room)};
    ssize_t got = is_ready(fd, POLLIN) ? recvmsg(fd, &header, MSG_CMSG_CLOEXEC) : -1;
    bool good = got > 0 && (header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0;

    if (got < 0)
        return false;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at != NULL; at = CMSG_NXTHDR(&header, at)) {
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS ||
            message->count + count > MESSAGE_FDS_MAX)
            continue;
        memcpy(&message->fds[message->count], CMSG_DATA(at), count * sizeof(int));
        message->count += count;
    }
    for (size_t i = 0; i < message->count; i++)
        good = lead_nowhere(message->fds[i]) && good;
    message->len = got > 0 ? (size_t)got : 0;
    return good;
}

static int
take_all(int fd, struct lb_sockets *sockets, struct syn_err *err)
{
    const int thanks = 0;
    size_t got = 0;

    while (got < (size_t)sockets->total) {
        struct message *message = syn_calloc(1, sizeof(*message));

        if (message == NULL || (message->bytes = syn_alloc(MESSAGE_BYTES_MAX)) == NULL ||
            sockets->count == MESSAGES_MAX) {
            if (message != NULL)
                message_free(message);
            return SYN_FAIL(err, SYN_E_LIMIT, "no room for HAProxy's sockets");
        }
        sockets->messages[sockets->count++] = message;
        if (!take_message(fd, message) || message->count == 0)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not hand its sockets over");
        got += message->count;
        /* After the last one it may be gone already. */
        if (send(fd, &thanks, sizeof(thanks), MSG_NOSIGNAL) < 0 && got < (size_t)sockets->total)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy hands over a part of its sockets");
    }
    return SYN_OK;
}

int
lb_sockets_take(int dir, const char *control, struct lb_sockets **ret, struct syn_err *err)
{
    SYN_SCOPED(sockets_scope) struct lb_sockets *sockets = syn_calloc(1, sizeof(*sockets));
    SYN_SCOPED(close_scope) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    int rc;

    if (sockets == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for HAProxy's sockets");
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    address_of(dir, control, &address);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        send(fd, ASKED, strlen(ASKED), MSG_NOSIGNAL) != (ssize_t)strlen(ASKED) ||
        !is_ready(fd, POLLIN) ||
        recv(fd, &sockets->total, sizeof(sockets->total), MSG_WAITALL) != sizeof(sockets->total) ||
        sockets->total <= 0 || sockets->total > MESSAGES_MAX * MESSAGE_FDS_MAX)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not hand its sockets over");
    rc = take_all(fd, sockets, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(sockets);
    return rc;
}

/* --- giving ----------------------------------------------------------------------------------- */

static bool
give_message(int fd, struct message *message)
{
    union control control;
    struct iovec part = {message->bytes, message->len};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.room,
                            .msg_controllen = CMSG_SPACE(sizeof(int) * message->count)};
    struct cmsghdr *rights = &control.header; /* the one there is */
    int thanks;

    memset(&control, 0, sizeof(control));
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * message->count);
    memcpy(CMSG_DATA(rights), message->fds, sizeof(int) * message->count);
    return sendmsg(fd, &header, MSG_NOSIGNAL) == (ssize_t)message->len && is_ready(fd, POLLIN) &&
           recv(fd, &thanks, sizeof(thanks), 0) > 0;
}

/* To the process that is being started, which asks once. */
static void *
give(void *arg)
{
    struct lb_sockets *sockets = arg;
    struct pollfd pollers[] = {{.fd = sockets->listener, .events = POLLIN},
                               {.fd = sockets->stop, .events = POLLIN}};
    char asked[sizeof(ASKED)];
    SYN_SCOPED(close_scope) int fd = -1;

    while (poll(pollers, SYN_LEN(pollers), -1) < 0)
        if (errno != EINTR)
            return NULL;
    if (pollers[0].revents != 0)
        fd = accept4(sockets->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || !is_ready(fd, POLLIN) || recv(fd, asked, sizeof(asked), 0) <= 0 ||
        send(fd, &sockets->total, sizeof(sockets->total), MSG_NOSIGNAL) < 0)
        return NULL;
    for (size_t i = 0; i < sockets->count; i++)
        if (!give_message(fd, sockets->messages[i]))
            break;
    return NULL;
}

int
lb_sockets_offer(struct lb_sockets *sockets, int dir, struct syn_err *err)
{
    struct sockaddr_un address;
    int rc = 0;

    address_of(dir, LB_SOCKETS_NAME, &address);
    (void)unlinkat(dir, LB_SOCKETS_NAME, 0);
    sockets->stop = eventfd(0, EFD_CLOEXEC);
    sockets->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sockets->stop < 0 || sockets->listener < 0 ||
        bind(sockets->listener, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(sockets->listener, 1) < 0)
        rc = errno;
    if (rc == 0)
        rc = pthread_create(&sockets->thread, NULL, give, sockets);
    if (rc == 0)
        return SYN_OK;
    if (sockets->stop >= 0)
        (void)close(sockets->stop);
    if (sockets->listener >= 0)
        (void)close(sockets->listener);
    return SYN_FAIL_SYS(err, rc, "offering HAProxy its sockets");
}

void
lb_sockets_withdraw(struct lb_sockets *sockets, int dir)
{
    uint64_t one = 1;

    (void)!write(sockets->stop, &one, sizeof(one));
    (void)pthread_join(sockets->thread, NULL);
    (void)close(sockets->stop);
    (void)close(sockets->listener);
    (void)unlinkat(dir, LB_SOCKETS_NAME, 0);
}
