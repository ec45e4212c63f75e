/* Sessions: a person's bytes to and from a program within an instance, or a connection to one of
 * its ports.
 *
 *      server --event "session"--> agent: a thread for each
 *      server <==== tunnel ======= the thread dials out, so a node needs no open port
 *                                    |
 *            exec: a terminal, or three pipes, of a program run by the runtime's operation
 *            forward: a socket to the instance's address
 *
 * Neither side is read faster than the other takes it: what is read from the program goes into the
 * session's queue only while there is room, and no frame is taken while its bytes wait for the
 * program. The session ends with the program (its last frame says how), when the tunnel ends (the
 * program is hung up on, then killed), and with the agent.
 *
 * The handle on the instance is one of its own, opened as a restarted agent would: so nothing is
 * shared with the instance's thread. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/client/session.h>
#include <synor/runtime/exec.h>

#include "agent_priv.h"

#define STACK_BYTES  ((size_t)512 << 10)
#define ARGS_MAX     SYN_INSTANCE_ARGS_MAX
#define PENDING_MAX  SYN_FRAME_MAX /* for the program; a frame more at most */
#define HANGUP_MS    2000          /* from the hang-up to the kill */
#define FAREWELL_MS  5000          /* for the last frame to arrive, once it is sent */
#define CONNECT_MS   10000
#define NOT_POSSIBLE 125 /* exit code where there was no program, as of `docker exec` */

struct agt_session {
    struct agt_session *next;
    struct syn_agent *agent;
    json_t *ask;
    pthread_t thread;
    bool over; /* under the agent's lock */

    /* The thread's: */
    struct syn_session *link;
    struct syn_exec *exec;
    int terminal;         /* our side of it, or -1 */
    int socket;           /* to the port, or -1 */
    int in, out, err;     /* ours; -1: closed. A terminal or a socket is both `in` and `out` */
    struct syn_buf input; /* for `in` */
    bool input_ends;      /* behind that */
    bool full;            /* so much waits for `in` that no frame is taken */
};

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* --- the door --------------------------------------------------------------------------------- */

void
agt_door(struct agt_instance *instance, bool open)
{
    const struct syn_runtime_ops *ops = instance->runtime.ops;
    const struct syn_net_place *place =
        ops->place != NULL && instance->handle != NULL ? ops->place(instance->handle) : NULL;

    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->door = open;
    instance->door_runtime = instance->runtime;
    if (place != NULL)
        (void)syn_str_copy(instance->door_address, sizeof(instance->door_address),
                           place->address4[0] != '\0' ? place->address4 : place->address6);
    (void)pthread_mutex_unlock(&instance->agent->lock);
}

struct room {
    struct syn_runtime runtime;
    char path[AGT_PATH_MAX];
    char address[AGT_RESOLVER_MAX];
};

static int
find_room(const struct agt_session *session, struct room *ret, struct syn_err *err)
{
    const char *id = syn_json_str(session->ask, "instance", "");
    struct agt_instance *instance;
    bool open;

    (void)pthread_mutex_lock(&session->agent->lock);
    instance = syn_map_find(session->agent->instances, id);
    open = instance != NULL && instance->door;
    if (open) {
        ret->runtime = instance->door_runtime;
        (void)agt_run_path(instance, ret->path);
        (void)syn_str_copy(ret->address, sizeof(ret->address), instance->door_address);
    }
    (void)pthread_mutex_unlock(&session->agent->lock);
    return open ? SYN_OK : SYN_FAIL(err, SYN_E_CONFLICT, "%.60s does not run now", id);
}

/* --- beginning: a program --------------------------------------------------------------------- */

static int
copy_words(const json_t *list, const char **out, struct syn_err *err)
{
    size_t count = json_array_size(list);

    if (count > ARGS_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "more than %d words", ARGS_MAX);
    for (size_t i = 0; i < count; i++) {
        out[i] = json_string_value(json_array_get(list, i));
        if (out[i] == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "a word that is no text");
    }
    out[count] = NULL;
    return SYN_OK;
}

static void
set_size(int terminal, unsigned rows, unsigned columns)
{
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

    (void)ioctl(terminal, TIOCSWINSZ, &size);
}

static int
open_terminal(struct agt_session *session, char *path, size_t cap, struct syn_err *err)
{
    session->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (session->terminal < 0 || grantpt(session->terminal) < 0 ||
        unlockpt(session->terminal) < 0 || ptsname_r(session->terminal, path, cap) != 0)
        return SYN_FAIL_SYS(err, errno, "opening a terminal");
    set_size(session->terminal, (unsigned)syn_json_i64(session->ask, "rows", 24),
             (unsigned)syn_json_i64(session->ask, "columns", 80));
    (void)fcntl(session->terminal, F_SETFL, O_NONBLOCK);
    session->in = session->out = session->terminal;
    return SYN_OK;
}

struct pipes {
    int in, out, err; /* the program's */
};

static void
pipes_close(struct pipes *pipes)
{
    close_fd(&pipes->in);
    close_fd(&pipes->out);
    close_fd(&pipes->err);
}

/* Ours never block. */
static int
open_pipe(int *ret_ours, int *ret_theirs, bool to_program, struct syn_err *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making a pipe");
    *ret_ours = fds[to_program];
    *ret_theirs = fds[!to_program];
    (void)fcntl(*ret_ours, F_SETFL, O_NONBLOCK);
    return SYN_OK;
}

static int
open_pipes(struct agt_session *session, struct pipes *pipes, struct syn_err *err)
{
    int rc = open_pipe(&session->in, &pipes->in, true, err);

    if (rc == SYN_OK)
        rc = open_pipe(&session->out, &pipes->out, false, err);
    if (rc == SYN_OK)
        rc = open_pipe(&session->err, &pipes->err, false, err);
    return rc;
}

static int
begin_exec(struct agt_session *session, const struct room *room, struct syn_err *err)
{
    const struct syn_runtime_ops *ops = room->runtime.ops;
    const char *argv[ARGS_MAX + 1], *env[ARGS_MAX + 1];
    const char *cwd = syn_json_str(session->ask, "cwd", "");
    struct pipes pipes = {-1, -1, -1};
    struct syn_instance_status status;
    struct syn_instance *handle = NULL;
    char terminal[64];
    struct syn_exec_spec spec = {.argv = argv, .env = env, .cwd = cwd[0] != '\0' ? cwd : NULL};
    int rc;

    if (ops->exec == NULL)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this node runs no programs within instances");
    rc = copy_words(json_object_get(session->ask, "argv"), argv, err);
    if (rc == SYN_OK)
        rc = copy_words(json_object_get(session->ask, "env"), env, err);
    if (rc == SYN_OK && syn_json_bool(session->ask, "terminal", false)) {
        rc = open_terminal(session, terminal, sizeof(terminal), err);
        spec.terminal = terminal;
    } else if (rc == SYN_OK) {
        rc = open_pipes(session, &pipes, err);
    }
    if (rc == SYN_OK)
        rc = ops->adopt(room->runtime.self, room->path, &handle, &status, err);
    if (rc == SYN_OK) {
        spec.in = pipes.in;
        spec.out = pipes.out;
        spec.err = pipes.err;
        rc = ops->exec(room->runtime.self, handle, &spec, &session->exec, err);
    }
    handle = ops->close(handle);
    pipes_close(&pipes);
    return rc;
}

/* --- beginning: a port ------------------------------------------------------------------------ */

static int
await_connection(const struct agt_session *session, int fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLOUT},
                           {.fd = session->agent->sessions_end, .events = POLLIN}};
    socklen_t len = sizeof(int);
    int error = ETIMEDOUT;

    if (poll(fds, SYN_LEN(fds), CONNECT_MS) > 0 && fds[0].revents != 0 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    return error;
}

static int
begin_forward(struct agt_session *session, const struct room *room, struct syn_err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int64_t port = syn_json_i64(session->ask, "port", 0);
    struct addrinfo *found = NULL;
    char service[8];
    int error;

    if (room->address[0] == '\0')
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "it has no network of its own");
    (void)snprintf(service, sizeof(service), "%u", (unsigned)port & 0xffff);
    if (getaddrinfo(room->address, service, &hints, &found) != 0)
        return SYN_FAIL(err, SYN_E_INTERNAL, "its address is %s", room->address);
    session->socket = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    session->in = session->out = session->socket;
    error = session->socket < 0 ? errno : 0;
    if (error == 0 && connect(session->socket, found->ai_addr, found->ai_addrlen) < 0)
        error = errno == EINPROGRESS ? await_connection(session, session->socket) : errno;
    freeaddrinfo(found);
    if (error != 0)
        return SYN_FAIL_SYS(err, error, "connecting to port %s of it", service);
    return SYN_OK;
}

/* --- moving bytes ----------------------------------------------------------------------------- */

static void
close_in(struct agt_session *session)
{
    if (session->in < 0)
        return;
    if (session->socket >= 0)
        (void)shutdown(session->socket, SHUT_WR);
    else if (session->terminal < 0)
        (void)close(session->in);
    session->in = -1;
    syn_buf_clear(&session->input);
}

static void
close_out(struct agt_session *session, int *fd)
{
    if (session->socket >= 0)
        syn_session_send(session->link, SYN_FRAME_OUT_END, "", 0);
    else if (session->terminal < 0)
        (void)close(*fd);
    *fd = -1;
}

/* What waits for the program, as far as it takes it. */
static void
give_input(struct agt_session *session)
{
    size_t at = 0;

    while (session->in >= 0 && at < session->input.len) {
        ssize_t n = write(session->in, session->input.data + at, session->input.len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            close_in(session); /* it does not want to hear more, or has ended */
            return;
        }
        at += (size_t)n;
    }
    syn_buf_consume(&session->input, at);
    if (session->input_ends && session->input.len == 0)
        close_in(session);
}

/* What it says, as far as there is room. True when more may be there. */
static bool
take_output(struct agt_session *session, int *fd, enum syn_frame_kind kind)
{
    char chunk[32768];
    size_t room = SYN_MIN(syn_session_room(session->link), sizeof(chunk));
    ssize_t got;

    if (*fd < 0 || room == 0)
        return false;
    do {
        got = read(*fd, chunk, room);
    } while (got < 0 && errno == EINTR);
    if (got > 0)
        syn_session_send(session->link, kind, chunk, (size_t)got);
    else if (got == 0 || errno != EAGAIN) /* EIO: nobody has the terminal */
        close_out(session, fd);
    return got > 0;
}

static void
take_frame(struct agt_session *session, const struct syn_frame *frame)
{
    const unsigned char *bytes = (const unsigned char *)frame->data;

    if (frame->kind == SYN_FRAME_IN && session->in >= 0) {
        syn_buf_add(&session->input, frame->data, frame->len);
    } else if (frame->kind == SYN_FRAME_IN_END && session->terminal < 0) {
        session->input_ends = true;
    } else if (frame->kind == SYN_FRAME_SIZE && frame->len == 4 && session->terminal >= 0) {
        set_size(session->terminal, (unsigned)bytes[0] << 8 | bytes[1],
                 (unsigned)bytes[2] << 8 | bytes[3]);
        syn_exec_resized(session->exec);
    } else if (frame->kind == SYN_FRAME_SIGNAL && frame->len == 1 && session->exec != NULL) {
        (void)!syn_exec_signal(session->exec, bytes[0], NULL);
    }
}

/* False when the other side is gone. */
static bool
take_frames(struct agt_session *session)
{
    for (;;) {
        struct syn_frame frame;
        int rc;

        session->full = session->input.len >= PENDING_MAX;
        if (session->full)
            return true;
        rc = syn_session_next(session->link, &frame, NULL);

        if (rc == SYN_OK)
            return true;
        if (rc != SYN_SESSION_FRAME || syn_buf_ok(&session->input, NULL) < 0)
            return false;
        take_frame(session, &frame);
    }
}

/* No frame was taken for want of room, and now there is some. */
static bool
was_full(struct agt_session *session)
{
    bool full = session->full;

    session->full = session->input.len >= PENDING_MAX;
    return full && !session->full;
}

static bool
program_ended(const struct agt_session *session)
{
    struct pollfd ended = {.fd = session->exec != NULL ? syn_exec_fd(session->exec) : -1,
                           .events = POLLIN};

    return session->exec != NULL && poll(&ended, 1, 0) == 1;
}

/* All that it said is under way: there was room for it. */
static bool
is_over(const struct agt_session *session, bool ended, bool room)
{
    if (!room)
        return false;
    if (session->socket >= 0)
        return session->in < 0 && session->out < 0;
    return ended; /* what it left behind may hold its output open */
}

/* Wait for something to do. False when the agent stops. */
static bool
await(const struct agt_session *session)
{
    bool hungry = session->input.len < PENDING_MAX;
    bool room = syn_session_room(session->link) > 0;
    struct pollfd fds[] = {
        {.fd = session->agent->sessions_end, .events = POLLIN},
        {.fd = syn_session_fd(session->link), .events = syn_session_events(session->link, hungry)},
        {.fd = session->input.len > 0 ? session->in : -1, .events = POLLOUT},
        {.fd = room ? session->out : -1, .events = POLLIN},
        {.fd = room ? session->err : -1, .events = POLLIN},
        {.fd = session->exec != NULL && room ? syn_exec_fd(session->exec) : -1, .events = POLLIN},
    };

    (void)poll(fds, SYN_LEN(fds), -1);
    return fds[0].revents == 0 && (fds[1].revents & POLLRDHUP) == 0;
}

/* Until the program, the person or the agent ends it. True when it is told how the program ended.
 */
static bool
converse(struct agt_session *session)
{
    for (;;) {
        bool ended = program_ended(session); /* before its last words are read */
        bool more, room;

        if (!take_frames(session))
            return false;
        give_input(session);
        if (was_full(session))
            continue; /* frames may have come already that nobody would wake us for */
        do {
            more = take_output(session, &session->out, SYN_FRAME_OUT);
            more = take_output(session, &session->err, SYN_FRAME_ERR) || more;
        } while (more);
        room = syn_session_room(session->link) > 0; /* or more is there than was read */
        if (!syn_session_flush(session->link))
            return false;
        if (is_over(session, ended, room))
            return true;
        if (!await(session))
            return false;
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The last frame must arrive before the tunnel goes: until the other side has ended it. Who takes
 * long over what was said before it is waited for, as while the program ran. */
static void
farewell(struct agt_session *session)
{
    int64_t until_ms = INT64_MAX;
    struct syn_frame frame;
    int rc = SYN_OK;

    while (syn_session_flush(session->link) && (rc == SYN_SESSION_FRAME || rc == SYN_OK)) {
        struct pollfd fds[] = {{.fd = syn_session_fd(session->link),
                                .events = syn_session_events(session->link, true)},
                               {.fd = session->agent->sessions_end, .events = POLLIN}};
        int64_t now_ms = syn_mono_ms(session->agent->world);
        int wait_ms = -1;

        if (syn_session_flushed(session->link)) {
            until_ms = SYN_MIN(until_ms, now_ms + FAREWELL_MS);
            if (now_ms >= until_ms)
                return;
            wait_ms = (int)(until_ms - now_ms);
        }
        rc = syn_session_next(session->link, &frame, NULL);
        if (rc == SYN_OK && (poll(fds, SYN_LEN(fds), wait_ms) <= 0 || fds[1].revents != 0))
            return;
    }
}

static void
say_result(struct agt_session *session)
{
    struct syn_exec_result result = {0};

    if (session->exec != NULL)
        syn_exec_result(session->exec, &result);
    syn_session_send_exit(session->link, result.exit_code, result.message);
}

/* Nobody is there any more: a hang-up, as of a terminal, and time to heed it. */
static void
hang_up(struct agt_session *session)
{
    struct pollfd ended = {.fd = session->exec != NULL ? syn_exec_fd(session->exec) : -1,
                           .events = POLLIN};

    close_in(session);
    if (session->terminal >= 0) {
        close_fd(&session->terminal);
        session->out = -1;
    }
    if (session->exec == NULL)
        return;
    (void)!syn_exec_signal(session->exec, SIGHUP, NULL);
    (void)poll(&ended, 1, HANGUP_MS);
}

static void
session_close(struct agt_session *session)
{
    session->exec = syn_exec_free(session->exec);
    if (session->terminal < 0 && session->socket < 0) {
        close_fd(&session->in);
        close_fd(&session->out);
    }
    close_fd(&session->err);
    close_fd(&session->terminal);
    close_fd(&session->socket);
    session->link = syn_session_free(session->link);
    syn_buf_fini(&session->input);
}

static int
dial(struct agt_session *session, struct syn_client *client, struct syn_err *err)
{
    char path[SYN_CLIENT_PATH_MAX];
    struct syn_tunnel *tunnel = NULL;
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{}");

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/sessions/%.60s", session->agent->node_id,
                   syn_json_str(session->ask, "session", ""));
    if (rc == SYN_OK)
        rc = syn_tunnel_open(client, path, body, &tunnel, err);
    return rc < 0 ? rc : syn_session_new_take(tunnel, &session->link, err);
}

static void
run(struct agt_session *session)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    struct room room = {0};
    struct syn_err err = {0};
    int rc = agt_client_new(session->agent, session->agent->node_token, &client, &err);

    if (rc == SYN_OK)
        rc = dial(session, client, &err);
    if (rc < 0) {
        syn_log_err(SYN_LOG_INFO, "session.lost", &err);
        return;
    }
    rc = find_room(session, &room, &err);
    if (rc == SYN_OK && syn_str_eq(syn_json_str(session->ask, "kind", ""), "forward"))
        rc = begin_forward(session, &room, &err);
    else if (rc == SYN_OK)
        rc = begin_exec(session, &room, &err);
    if (rc < 0) {
        syn_session_send_exit(session->link, NOT_POSSIBLE, err.msg);
        farewell(session);
    } else if (converse(session)) {
        say_result(session);
        farewell(session);
    } else {
        hang_up(session);
    }
    session_close(session);
}

/* --- the table -------------------------------------------------------------------------------- */

static void *
session_main(void *arg)
{
    struct agt_session *session = arg;
    struct syn_agent *agent = session->agent;

    run(session);
    (void)pthread_mutex_lock(&agent->lock);
    session->over = true;
    (void)pthread_mutex_unlock(&agent->lock);
    return NULL;
}

static struct agt_session *
session_free(struct agt_session *session)
{
    if (session == NULL)
        return NULL;
    json_decref(session->ask);
    syn_free(session);
    return NULL;
}

/* Under the lock. */
static void
begin(struct syn_agent *agent, struct agt_session *session)
{
    pthread_attr_t attributes;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (pthread_create(&session->thread, &attributes, session_main, session) == 0) {
        session->next = agent->sessions;
        agent->sessions = session;
        agent->sessions_count++;
    } else {
        (void)session_free(session);
    }
    (void)pthread_attr_destroy(&attributes);
}

void
agt_session_take(struct syn_agent *agent, const json_t *ask)
{
    struct agt_session *session = syn_calloc(1, sizeof(*session));

    agt_sessions_reap(agent);
    if (session != NULL)
        session->ask = syn_json_deep_copy(ask);
    if (session == NULL || session->ask == NULL) {
        (void)session_free(session);
        return; /* the server tells that nobody came */
    }
    session->agent = agent;
    session->terminal = session->socket = session->in = session->out = session->err = -1;
    (void)pthread_mutex_lock(&agent->lock);
    if (agent->sessions_count < AGT_SESSIONS_MAX && !atomic_load(&agent->stop))
        begin(agent, session);
    else
        (void)session_free(session);
    (void)pthread_mutex_unlock(&agent->lock);
}

/* One that has ended (or, `all`, any), out of the table. */
static struct agt_session *
steal(struct syn_agent *agent, bool all)
{
    struct agt_session **slot = &agent->sessions, *found;

    (void)pthread_mutex_lock(&agent->lock);
    while (*slot != NULL && !(*slot)->over && !all)
        slot = &(*slot)->next;
    found = *slot;
    if (found != NULL) {
        *slot = found->next;
        agent->sessions_count--;
    }
    (void)pthread_mutex_unlock(&agent->lock);
    return found;
}

static void
join_some(struct syn_agent *agent, bool all)
{
    struct agt_session *session;

    while ((session = steal(agent, all)) != NULL) {
        (void)pthread_join(session->thread, NULL);
        (void)session_free(session);
    }
}

void
agt_sessions_reap(struct syn_agent *agent)
{
    join_some(agent, false);
}

int
agt_sessions_open(struct syn_agent *agent, struct syn_err *err)
{
    agent->sessions_end = eventfd(0, EFD_CLOEXEC);
    return agent->sessions_end < 0 ? SYN_FAIL_SYS(err, errno, "making an event descriptor")
                                   : SYN_OK;
}

void
agt_sessions_close(struct syn_agent *agent)
{
    const uint64_t one = 1;

    if (agent->sessions_end < 0)
        return;
    (void)!write(agent->sessions_end, &one, sizeof(one));
    join_some(agent, true);
    close_fd(&agent->sessions_end);
}
