#include "probe_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/infra/grpc_health.h>

#define STATUS_LINE_LEN 12 /* "HTTP/1.1 200" */

void
agt_probe_end(struct agt_probe *probe)
{
    probe->call = syn_grpc_end(probe->call);
    if (probe->exec != NULL)
        probe->exec = syn_exec_free(probe->exec);
    else if (probe->grpc != NULL)
        probe->grpc = syn_grpc_free(probe->grpc);
    else if (probe->fd >= 0)
        (void)close(probe->fd);
    if (probe->words_fd >= 0)
        (void)close(probe->words_fd);
    probe->fd = probe->words_fd = -1;
}

static enum agt_probe_state over(struct agt_probe *probe, enum agt_probe_state state,
                                 const char *format, ...) SYN_PRINTF(3, 4);

static enum agt_probe_state
over(struct agt_probe *probe, enum agt_probe_state state, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(probe->message, sizeof(probe->message), format, args);
    va_end(args);
    agt_probe_end(probe);
    return state;
}

int
agt_probe_status(const char *answer, size_t len)
{
    static const char version[] = "HTTP/1.";
    int status = 0;

    for (size_t i = 0; i < len && i < sizeof(version) - 1; i++)
        if (answer[i] != version[i])
            return -1;
    if (len < STATUS_LINE_LEN)
        return 0;
    if ((answer[7] != '0' && answer[7] != '1') || answer[8] != ' ')
        return -1;
    for (size_t i = 9; i < STATUS_LINE_LEN; i++) {
        if (answer[i] < '0' || answer[i] > '9')
            return -1;
        status = status * 10 + (answer[i] - '0');
    }
    return status >= 100 ? status : -1;
}

static enum agt_probe_state
judge_whole(struct agt_probe *probe)
{
    int status = agt_probe_status(probe->whole->data, probe->whole->len);

    if (probe->whole->failed)
        return over(probe, AGT_PROBE_FAILED, "there is no memory for its answer");
    if (status == 200)
        return over(probe, AGT_PROBE_PASSED, "it answers 200");
    if (status > 0)
        return over(probe, AGT_PROBE_FAILED, "it answers %d", status);
    return over(probe, AGT_PROBE_FAILED, "it answers with something else than HTTP/1");
}

/* Read until the other side has said everything. */
static enum agt_probe_state
read_whole(struct agt_probe *probe)
{
    char chunk[4096];

    for (;;) {
        ssize_t got = recv(probe->fd, chunk, sizeof(chunk), 0);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return AGT_PROBE_RUNS;
        if (got < 0)
            return over(probe, AGT_PROBE_FAILED, "waiting for the answer: %s", strerror(errno));
        if (got == 0)
            return judge_whole(probe);
        if (probe->whole->len + (size_t)got > AGT_PROBE_WHOLE_MAX)
            return over(probe, AGT_PROBE_FAILED, "it answers with more than %zu bytes",
                        AGT_PROBE_WHOLE_MAX);
        syn_buf_add(probe->whole, chunk, (size_t)got);
    }
}

/* Write and read as far as it goes. */
static enum agt_probe_state
exchange(struct agt_probe *probe)
{
    while (probe->sent < probe->request_len) {
        ssize_t put = send(probe->fd, probe->request + probe->sent,
                           probe->request_len - probe->sent, MSG_NOSIGNAL);

        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            return AGT_PROBE_RUNS;
        if (put < 0)
            return over(probe, AGT_PROBE_FAILED, "sending the check: %s", strerror(errno));
        probe->sent += (size_t)put;
    }
    probe->events = POLLIN;
    if (probe->whole != NULL)
        return read_whole(probe);
    for (;;) {
        ssize_t got = recv(probe->fd, probe->answer + probe->answer_len,
                           sizeof(probe->answer) - probe->answer_len, 0);
        int status;

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return AGT_PROBE_RUNS;
        if (got < 0)
            return over(probe, AGT_PROBE_FAILED, "waiting for the answer: %s", strerror(errno));
        probe->answer_len += (size_t)got;
        status = agt_probe_status(probe->answer, probe->answer_len);
        if (status >= 200 && status < 400)
            return over(probe, AGT_PROBE_PASSED, "it answers %d", status);
        if (status > 0)
            return over(probe, AGT_PROBE_FAILED, "it answers %d", status);
        if (status < 0)
            return over(probe, AGT_PROBE_FAILED, "it answers with something else than HTTP/1");
        if (got == 0)
            return over(probe, AGT_PROBE_FAILED, "it closes the connection without an answer");
    }
}

/* --- gRPC ------------------------------------------------------------------------------------- */

static enum agt_probe_state
ask_grpc(struct agt_probe *probe)
{
    enum syn_grpc_health health = SYN_GRPC_HEALTH_UNKNOWN;
    struct syn_err err = {0};
    SYN_BUF(reply);
    int rc = syn_grpc_next(probe->call, 0, &reply, &err);

    if (rc == SYN_E_TIMEOUT)
        return AGT_PROBE_RUNS;
    if (rc == SYN_GRPC_END)
        return over(probe, AGT_PROBE_FAILED, "it answers nothing about its health");
    if (rc == SYN_OK)
        rc = syn_grpc_health_read(reply.data, reply.len, &health, &err);
    if (rc < 0)
        return over(probe, AGT_PROBE_FAILED, "%.190s", err.msg);
    return over(probe, health == SYN_GRPC_HEALTH_SERVING ? AGT_PROBE_PASSED : AGT_PROBE_FAILED,
                "it answers %s", syn_grpc_health_name(health));
}

/* The connection is made: ask over it. */
static enum agt_probe_state
begin_grpc(struct agt_probe *probe)
{
    const struct syn_grpc_options options = {.address = "tcp:127.0.0.1:1"}; /* it has one already */
    struct syn_grpc *grpc = NULL;
    struct syn_err err = {0};
    SYN_BUF(request);
    int fd = probe->fd, rc = syn_grpc_new(&options, &grpc, &err);

    if (rc == SYN_OK) {
        probe->grpc = grpc; /* and with it the socket, from here on */
        rc = syn_grpc_adopt_take(grpc, fd, &err);
    }
    syn_buf_add(&request, probe->request, probe->request_len);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&request, &err);
    if (rc == SYN_OK)
        rc = syn_grpc_begin(grpc, SYN_GRPC_HEALTH_METHOD, &request, -1, &probe->call, &err);
    if (rc < 0)
        return over(probe, AGT_PROBE_FAILED, "%.190s", err.msg);
    probe->events = POLLIN;
    return AGT_PROBE_RUNS;
}

static enum agt_probe_state
go_on(struct agt_probe *probe)
{
    struct pollfd ready = {.fd = probe->fd, .events = probe->events};
    socklen_t len = sizeof(int);
    int error = 0;

    if (probe->call != NULL)
        return ask_grpc(probe);
    if (poll(&ready, 1, 0) <= 0)
        return AGT_PROBE_RUNS;
    if (probe->sent == 0) { /* the connection is made, or not */
        if (getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
        if (error != 0)
            return over(probe, AGT_PROBE_FAILED, "connecting: %s", strerror(error));
        if (probe->by_grpc)
            return begin_grpc(probe);
        if (probe->request_len == 0)
            return over(probe, AGT_PROBE_PASSED, "it takes connections");
    }
    return exchange(probe);
}

/* --- programs --------------------------------------------------------------------------------- */

/* Take what it has printed, so that it is never held up; the beginning is kept, as one line. */
static void
hear(struct agt_probe *probe)
{
    char chunk[4096];
    ssize_t got;

    while ((got = read(probe->words_fd, chunk, sizeof(chunk))) > 0)
        for (ssize_t i = 0; i < got && probe->words_len + 1 < sizeof(probe->words); i++) {
            bool control = (unsigned char)chunk[i] < 0x20 || chunk[i] == 0x7f;

            probe->words[probe->words_len++] = (char)(control ? ' ' : chunk[i]);
        }
    while (probe->words_len > 0 && probe->words[probe->words_len - 1] == ' ')
        probe->words_len--;
    probe->words[probe->words_len] = '\0';
}

static enum agt_probe_state
ask_program(struct agt_probe *probe)
{
    struct pollfd ready = {.fd = probe->fd, .events = probe->events};
    struct syn_exec_result result;

    hear(probe);
    if (poll(&ready, 1, 0) <= 0)
        return AGT_PROBE_RUNS;
    hear(probe);
    syn_exec_result(probe->exec, &result);
    if (!result.started)
        return over(probe, AGT_PROBE_FAILED, "it could not be run: %.150s", result.message);
    return over(probe, result.exit_code == 0 ? AGT_PROBE_PASSED : AGT_PROBE_FAILED,
                "it exits with %d%s%s", result.exit_code, probe->words_len > 0 ? ": " : "",
                probe->words);
}

static enum agt_probe_state
begin_program(struct agt_probe *probe, const struct agt_probe_target *target)
{
    struct syn_exec_spec spec = {.argv = target->argv, .in = SYN_EXEC_NULL};
    const struct syn_runtime_ops *ops = target->runtime->ops;
    struct syn_err err = {0};
    int fds[2], rc;

    if (ops->exec == NULL)
        return over(probe, AGT_PROBE_FAILED, "this node runs no programs within replicas");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return over(probe, AGT_PROBE_FAILED, "making a pipe: %s", strerror(errno));
    probe->words_fd = fds[0];
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    spec.out = spec.err = fds[1];
    rc = ops->exec(target->runtime->self, target->instance, &spec, &probe->exec, &err);
    (void)close(fds[1]);
    if (rc < 0)
        return over(probe, AGT_PROBE_FAILED, "it could not be run: %.150s", err.msg);
    probe->fd = syn_exec_fd(probe->exec);
    probe->events = POLLIN;
    return AGT_PROBE_RUNS;
}

enum agt_probe_state
agt_probe_turn(struct agt_probe *probe, int64_t now_ms)
{
    enum agt_probe_state state;

    if (probe->fd < 0)
        return AGT_PROBE_NONE;
    state = probe->exec != NULL ? ask_program(probe) : go_on(probe);
    if (state == AGT_PROBE_RUNS && now_ms >= probe->deadline_ms)
        return over(probe, AGT_PROBE_FAILED, "no answer within its time");
    return state;
}

/* The address in the kernel's words; 0 when it is none. */
static socklen_t
address_of(const struct agt_probe_target *target, struct sockaddr_storage *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(target->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(target->port)};

    if (inet_pton(AF_INET, target->address, &in.sin_addr) == 1) {
        memcpy(ret, &in, sizeof(in));
        return sizeof(in);
    }
    if (inet_pton(AF_INET6, target->address, &in6.sin6_addr) == 1) {
        memcpy(ret, &in6, sizeof(in6));
        return sizeof(in6);
    }
    return 0;
}

static int
write_request(struct agt_probe *probe, const struct agt_probe_target *target)
{
    bool v6 = strchr(target->address, ':') != NULL;
    char host[300];

    if (target->host != NULL)
        (void)snprintf(host, sizeof(host), "%s", target->host);
    else
        (void)snprintf(host, sizeof(host), "%s%s%s:%u", v6 ? "[" : "", target->address,
                       v6 ? "]" : "", (unsigned)target->port);
    return snprintf(probe->request, sizeof(probe->request),
                    "GET %s HTTP/1.%c\r\nHost: %s\r\nUser-Agent: synor-health\r\n%s"
                    "Connection: close\r\n\r\n",
                    target->path, target->whole != NULL ? '0' : '1', host,
                    target->headers != NULL ? target->headers : "");
}

/* The message that asks, into `request`. */
static int
write_question(struct agt_probe *probe, const char *service)
{
    SYN_BUF(question);

    syn_grpc_health_ask(service, &question);
    if (question.failed || question.len > sizeof(probe->request))
        return -1;
    memcpy(probe->request, syn_buf_text(&question), question.len);
    return (int)question.len;
}

enum agt_probe_state
agt_probe_begin(struct agt_probe *probe, const struct agt_probe_target *target, int64_t now_ms,
                int64_t timeout_ms)
{
    struct sockaddr_storage address = {0};
    socklen_t len = address_of(target, &address);
    int n = 0;

    *probe = (struct agt_probe){.fd = -1,
                                .words_fd = -1,
                                .events = POLLOUT,
                                .deadline_ms = now_ms + timeout_ms,
                                .whole = target->whole};
    if (target->argv != NULL)
        return begin_program(probe, target);
    if (len == 0)
        return over(probe, AGT_PROBE_FAILED, "it has no address yet");
    probe->by_grpc = target->grpc_service != NULL;
    if (probe->by_grpc)
        n = write_question(probe, target->grpc_service);
    else if (target->path != NULL)
        n = write_request(probe, target);
    if (n < 0)
        return over(probe, AGT_PROBE_FAILED, "there is no memory for its question");
    assert((size_t)n < sizeof(probe->request)); /* all parts are shorter */
    probe->request_len = (size_t)n;
    probe->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->fd < 0)
        return over(probe, AGT_PROBE_FAILED, "opening a socket: %s", strerror(errno));
    if (connect(probe->fd, (const struct sockaddr *)&address, len) != 0 && errno != EINPROGRESS)
        return over(probe, AGT_PROBE_FAILED, "connecting: %s", strerror(errno));
    return AGT_PROBE_RUNS;
}
