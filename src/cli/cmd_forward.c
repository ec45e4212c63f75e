/* compute service port-forward: a port of a replica, as if it listened here. Each connection is a
 * session and a thread of its own, so none waits for another. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "commands_priv.h"
#include "service_priv.h"
#include "session_priv.h"

#define CONNECTIONS_MAX 60
#define PENDING_MAX     ((size_t)256 << 10)
#define STACK_BYTES     ((size_t)512 << 10)
#define LOOK_MS         200

struct connection {
    struct syn_cli *cli;
    char instance[SYN_ID_MAX];
    int port;
    int fd;
    atomic_uint *open; /* how many there are */
    struct syn_cli_session session;
    struct syn_buf pending; /* for our side */
    bool sends, ends;       /* our side may send more; theirs has sent all */
    bool full;              /* so much is pending that no frame was taken */
};

/* --- one connection --------------------------------------------------------------------------- */

static void
take_ours(struct connection *connection)
{
    struct syn_session *link = connection->session.link;
    char chunk[32768];
    size_t room = SYN_MIN(syn_session_room(link), sizeof(chunk));
    ssize_t got;

    if (!connection->sends || room == 0)
        return;
    got = recv(connection->fd, chunk, room, 0);
    if (got > 0) {
        syn_session_send(link, SYN_FRAME_IN, chunk, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        syn_session_send(link, SYN_FRAME_IN_END, "", 0);
        connection->sends = false;
    }
}

/* What waits for our side. False when it is gone. */
static bool
give_ours(struct connection *connection)
{
    size_t at = 0;

    while (at < connection->pending.len) {
        ssize_t n = send(connection->fd, connection->pending.data + at,
                         connection->pending.len - at, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    syn_buf_consume(&connection->pending, at);
    if (connection->ends && connection->pending.len == 0)
        (void)shutdown(connection->fd, SHUT_WR);
    return true;
}

/* False at the end. */
static bool
take_theirs(struct connection *connection)
{
    char message[256];
    struct syn_frame frame;
    int code, rc = SYN_OK;

    while (connection->pending.len < PENDING_MAX &&
           (rc = syn_session_next(connection->session.link, &frame, NULL)) == SYN_SESSION_FRAME) {
        if (frame.kind == SYN_FRAME_OUT)
            syn_buf_add(&connection->pending, frame.data, frame.len);
        else if (frame.kind == SYN_FRAME_OUT_END)
            connection->ends = true;
        else if (frame.kind == SYN_FRAME_EXIT) {
            syn_cli_session_exit(&frame, &code, message, sizeof(message));
            if (message[0] != '\0')
                syn_cli_note(connection->cli, "%s", message);
            (void)give_ours(connection);
            return false;
        }
    }
    connection->full = connection->pending.len >= PENDING_MAX;
    return (rc == SYN_OK || rc == SYN_SESSION_FRAME) &&
           syn_buf_ok(&connection->pending, NULL) == SYN_OK;
}

static void
converse(struct connection *connection)
{
    struct syn_session *link = connection->session.link;

    for (;;) {
        struct pollfd fds[2] = {{.fd = connection->fd}, {.fd = syn_session_fd(link)}};
        bool hungry;

        take_ours(connection);
        if (!syn_session_flush(link) || !take_theirs(connection) || !give_ours(connection))
            return;
        hungry = connection->pending.len < PENDING_MAX;
        if (connection->full && hungry)
            continue; /* frames may have come already that nobody would wake us for */
        fds[0].events = (short)((connection->sends && syn_session_room(link) > 0 ? POLLIN : 0) |
                                (connection->pending.len > 0 ? POLLOUT : 0));
        if (fds[0].events == 0)
            fds[0].fd = -1; /* or its hang-up would be told again and again */
        fds[1].events = syn_session_events(link, hungry);
        (void)poll(fds, SYN_LEN(fds), -1);
        if ((fds[1].revents & POLLRDHUP) != 0)
            return;
    }
}

static void *
connection_main(void *arg)
{
    struct connection *connection = arg;
    SYN_JSON(ask);
    struct syn_err err = {0};
    int rc = syn_json_pack(&ask, &err, "{s:s, s:i}", "kind", "forward", "port", connection->port);

    if (rc == SYN_OK)
        rc = syn_cli_session_open(connection->cli, connection->instance, ask, &connection->session,
                                  &err);
    if (rc == SYN_OK)
        converse(connection);
    else
        syn_cli_note(connection->cli, "%s", err.msg);
    syn_cli_session_close(&connection->session);
    (void)close(connection->fd);
    syn_buf_fini(&connection->pending);
    atomic_fetch_sub(connection->open, 1);
    syn_free(connection);
    return NULL;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* A detached thread: whoever ends the command ends them all. */
static bool
connection_start(struct connection *connection)
{
    pthread_attr_t attributes;
    pthread_t thread;
    bool started;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    started = pthread_create(&thread, &attributes, connection_main, connection) == 0;
    (void)pthread_attr_destroy(&attributes);
    return started;
}

/* Which replica is asked each time: one may have been replaced since. */
static void
accept_one(struct syn_cli *cli, int fd, int port, atomic_uint *open)
{
    struct connection *connection = syn_calloc(1, sizeof(*connection));
    struct syn_err err = {0};
    int rc = SYN_OK;

    if (connection == NULL || atomic_load(open) >= CONNECTIONS_MAX) {
        syn_cli_note(cli, "A connection is refused: there are %u already", atomic_load(open));
        syn_free(connection);
        (void)close(fd);
        return;
    }
    *connection =
        (struct connection){.cli = cli, .port = port, .fd = fd, .open = open, .sends = true};
    rc = syn_cli_instance_find(cli, &syn_cli_service_workload, syn_cli_operand(cli, 0),
                               syn_cli_number(cli, "replica", -1), connection->instance, &err);
    atomic_fetch_add(open, 1);
    if (rc == SYN_OK && connection_start(connection))
        return;
    atomic_fetch_sub(open, 1);
    syn_cli_note(cli, "A connection is refused: %s", rc < 0 ? err.msg : "no thread for it");
    (void)close(fd);
    syn_free(connection);
}

static int
listen_on(int port, int *ret_fd, int *ret_port, struct syn_err *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    const int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening a socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, CONNECTIONS_MAX) < 0 || getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        int error = errno;

        (void)close(fd);
        return SYN_FAIL_SYS(err, error, "listening on 127.0.0.1:%d", port);
    }
    *ret_fd = fd;
    *ret_port = ntohs(address.sin_port);
    return SYN_OK;
}

/* "8080:80", "80" (the same here), ":80" (any here). */
static int
parse_ports(const char *text, int *ret_local, int *ret_remote, struct syn_err *err)
{
    const char *colon = strchr(text, ':');
    char local[16] = "0";
    int64_t here = 0, there = 0;
    int rc = syn_parse_i64(colon != NULL ? colon + 1 : text, 1, 65535, "PORTS", &there, err);

    if (rc == SYN_OK && colon == NULL)
        here = there;
    else if (rc == SYN_OK && colon > text) {
        (void)snprintf(local, sizeof(local), "%.*s", (int)(colon - text), text);
        rc = syn_parse_i64(local, 0, 65535, "PORTS", &here, err);
    }
    *ret_local = (int)here;
    *ret_remote = (int)there;
    return rc;
}

static int
run_forward(struct syn_cli *cli)
{
    static atomic_uint open; /* threads may outlive us by a moment */
    char instance[SYN_ID_MAX];
    struct syn_err err = {0};
    int local = 0, remote = 0, fd = -1;
    int rc = parse_ports(syn_cli_operand(cli, 1), &local, &remote, &err);

    if (rc == SYN_OK)
        rc = syn_cli_instance_find(cli, &syn_cli_service_workload, syn_cli_operand(cli, 0),
                                   syn_cli_number(cli, "replica", -1), instance, &err);
    if (rc == SYN_OK)
        rc = listen_on(local, &fd, &local, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)printf("127.0.0.1:%d leads to port %d of %s; Ctrl-C ends it\n", local, remote,
                 syn_cli_operand(cli, 0));
    (void)fflush(stdout);
    while (!syn_cli_interrupted()) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int accepted;

        if (poll(&ready, 1, LOOK_MS) <= 0)
            continue;
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted >= 0)
            accept_one(cli, accepted, remote, &open);
    }
    (void)close(fd);
    return 0;
}

/* clang-format off */
static const struct syn_cli_option options[] = {
    {"replica", 0, "N", SYN_CLI_INT, 0, 100000, false, false, NULL, NULL, "Which replica: compute service get shows them"},
};
/* clang-format on */
static const struct syn_cli_operand operands[] = {
    {"SERVICE", SYN_CLI_TEXT, true, false, "Its name or id, or an instance's id"},
    {"PORTS", SYN_CLI_TEXT, true, false,
     "LOCAL:REMOTE; REMOTE alone is the same port here, :REMOTE any"},
};

const struct syn_cli_command syn_cli_service_forward = {
    .path = "compute service port-forward",
    .summary = "Reach a port of a replica through a port of this machine",
    .detail =
        "It listens on 127.0.0.1 until it is interrupted. Each connection is made to a replica "
        "that runs just then, whether or not the service has published that port. That one "
        "was made is an event of the service.",
    .examples = "  synor compute service port-forward my-api 8080:80\n",
    .options = options,
    .option_count = SYN_LEN(options),
    .operands = operands,
    .operand_count = SYN_LEN(operands),
    .workload = &syn_cli_service_workload,
    .run = run_forward};
