/* HAProxy's runtime API: commands over a Unix socket. In "prompt" mode each reply, however many
 * lines and blank lines it has, ends with "\n> ": so commands are sent in a stream and the replies
 * counted. The socket is reached through the folder's descriptor: its path has no limit then. */
#include "balancer_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define ANSWER_MAX_MS 15000
#define PROMPT        "\n> "

struct lb_wire {
    int fd;
};

struct lb_wire *
lb_wire_close(struct lb_wire *wire)
{
    if (wire == NULL)
        return NULL;
    (void)close(wire->fd);
    syn_free(wire);
    return NULL;
}

void
lb_wire_close_scope(struct lb_wire **slot)
{
    *slot = lb_wire_close(*slot);
}

int
lb_wire_open(int dir, const char *control, struct lb_wire **ret_wire, struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = syn_calloc(1, sizeof(*wire));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    SYN_BUF(greeting);
    int rc;

    if (wire == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a connection");
    wire->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (wire->fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir, control);
    if (connect(wire->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy's socket %s: errno %d", control, errno);
    rc = lb_wire_ask(wire, "prompt\n", 1, &greeting, err);
    if (rc == SYN_OK)
        *ret_wire = SYN_TAKE(wire);
    return rc;
}

/* Move what has come into `replies`, its prompts made zero bytes. 1: the other end is closed. */
static int
take_in(struct lb_wire *wire, struct syn_buf *replies, size_t *scanned, size_t *left,
        struct syn_err *err)
{
    char *room = syn_buf_reserve(replies, 65536);
    ssize_t got;

    if (room == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for HAProxy's reply");
    got = recv(wire->fd, room, 65536, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? SYN_OK
                                                 : SYN_FAIL_SYS(err, errno, "reading from HAProxy");
    if (got == 0)
        return 1;
    replies->len += (size_t)got;
    if (replies->len > LB_REPLY_MAX)
        return SYN_FAIL(err, SYN_E_CORRUPT, "HAProxy's reply is too long");
    while (*left > 0) {
        char *from = replies->data + *scanned;
        char *prompt = memmem(from, replies->len - *scanned, PROMPT, strlen(PROMPT));

        if (prompt == NULL) {
            /* A prompt may have come in part. */
            *scanned = SYN_MAX(*scanned, replies->len < 2 ? 0 : replies->len - 2);
            break;
        }
        memset(prompt, 0, strlen(PROMPT));
        *scanned = (size_t)(prompt - replies->data) + strlen(PROMPT);
        --*left;
    }
    return SYN_OK;
}

/* Wait and do what can be done. 1: the other end is closed. */
static int
step(struct lb_wire *wire, const char **commands, struct syn_buf *replies, size_t *scanned,
     size_t *left, struct syn_err *err)
{
    size_t len = strlen(*commands);
    struct pollfd poller = {.fd = wire->fd, .events = (short)(len > 0 ? POLLIN | POLLOUT : POLLIN)};
    int rc = poll(&poller, 1, ANSWER_MAX_MS);

    if (rc < 0)
        return errno == EINTR ? SYN_OK : SYN_FAIL_SYS(err, errno, "waiting for HAProxy");
    if (rc == 0)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "HAProxy did not answer in %d s", ANSWER_MAX_MS / 1000);
    if ((poller.revents & POLLOUT) != 0) {
        ssize_t sent = send(wire->fd, *commands, len, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not read: errno %d", errno);
        *commands += sent > 0 ? sent : 0;
    }
    if ((poller.revents & ~POLLOUT) != 0)
        return take_in(wire, replies, scanned, left, err);
    return SYN_OK;
}

int
lb_wire_ask(struct lb_wire *wire, const char *commands, size_t count, struct syn_buf *replies,
            struct syn_err *err)
{
    size_t left = count, scanned = replies->len;
    int rc = SYN_OK;

    while (rc == SYN_OK && left > 0)
        rc = step(wire, &commands, replies, &scanned, &left, err);
    if (rc > 0)
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy closed the connection");
    return rc;
}

/* Commands that change something say nothing, or one of these. */
static bool
is_success(const char *reply)
{
    static const char *const good[] = {
        "New server registered", "Server deleted",        "Success!",
        "Transaction created",   "Transaction updated",   "Committing",
        "New empty certificate", "Inserting certificate", "Entry '"};

    reply += strspn(reply, "\n+ >");
    for (size_t i = 0; i < SYN_LEN(good); i++)
        if (strncmp(reply, good[i], strlen(good[i])) == 0)
            return true;
    return reply[0] == '\0';
}

int
lb_wire_do(struct lb_wire *wire, const char *commands, size_t count, struct syn_err *err)
{
    SYN_BUF(replies);
    int rc = count == 0 ? SYN_OK : lb_wire_ask(wire, commands, count, &replies, err);
    const char *at = replies.data;

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        if (!is_success(at))
            return SYN_FAIL(err, SYN_E_CONFLICT, "HAProxy: %.120s", at + strspn(at, "\n"));
        at += strlen(at) + strlen(PROMPT);
    }
    return rc;
}
