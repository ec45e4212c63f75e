/* compute service exec, compute train exec: a program within an instance, as if it ran here. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "service_priv.h"
#include "session_priv.h"
#include "train_priv.h"

#define BROKEN_OFF 1

struct conversation {
    struct syn_cli *cli;
    const char *instance;
    struct syn_session *link;
    int signals;
    bool input; /* ours is read */
    bool terminal;
    bool said; /* something came from there */
    int exit_code;
    char message[512];
};

/* --- our terminal ----------------------------------------------------------------------------- */

static struct termios before;

static bool
make_raw(void)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return false;
    raw = before;
    cfmakeraw(&raw);
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static struct winsize
size_of_ours(void)
{
    struct winsize size = {.ws_row = 0};

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    return size;
}

static void
tell_size(const struct conversation *talk)
{
    struct winsize size = size_of_ours();
    const unsigned char bytes[] = {
        (unsigned char)(size.ws_row >> 8), (unsigned char)(size.ws_row & 0xff),
        (unsigned char)(size.ws_col >> 8), (unsigned char)(size.ws_col & 0xff)};

    syn_session_send(talk->link, SYN_FRAME_SIZE, bytes, sizeof(bytes));
}

/* --- moving bytes ----------------------------------------------------------------------------- */

static bool
write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void
take_input(struct conversation *talk)
{
    char chunk[32768];
    size_t room = SYN_MIN(syn_session_room(talk->link), sizeof(chunk));
    ssize_t got;

    if (room == 0)
        return;
    got = read(STDIN_FILENO, chunk, room);
    if (got > 0) {
        syn_session_send(talk->link, SYN_FRAME_IN, chunk, (size_t)got);
    } else if (got == 0 || errno != EINTR) {
        syn_session_send(talk->link, SYN_FRAME_IN_END, "", 0);
        talk->input = false;
    }
}

static void
take_signal(struct conversation *talk)
{
    struct signalfd_siginfo info;
    unsigned char number;

    if (read(talk->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH) {
        if (talk->terminal)
            tell_size(talk);
        return;
    }
    number = (unsigned char)info.ssi_signo;
    syn_session_send(talk->link, SYN_FRAME_SIGNAL, &number, 1);
}

#define TALK_OVER 1

/* Returns TALK_OVER with the last frame; 0 when no more has come. */
static int
take_frames(struct conversation *talk, struct syn_err *err)
{
    struct syn_frame frame;
    int rc;

    while ((rc = syn_session_next(talk->link, &frame, err)) == SYN_SESSION_FRAME) {
        bool heard = true;

        talk->said = talk->said || frame.kind == SYN_FRAME_OUT || frame.kind == SYN_FRAME_ERR;
        if (frame.kind == SYN_FRAME_OUT)
            heard = write_all(STDOUT_FILENO, frame.data, frame.len);
        else if (frame.kind == SYN_FRAME_ERR)
            heard = write_all(STDERR_FILENO, frame.data, frame.len);
        else if (frame.kind == SYN_FRAME_EXIT) {
            syn_cli_session_exit(&frame, &talk->exit_code, talk->message, sizeof(talk->message));
            return TALK_OVER;
        }
        if (!heard) { /* as a program's own output that nobody reads */
            talk->exit_code = 128 + SIGPIPE;
            return TALK_OVER;
        }
    }
    if (rc == SYN_SESSION_ENDED)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                        "the connection to %s broke off; how the program ended is not known",
                        talk->instance);
    return rc;
}

static int
converse(struct conversation *talk, struct syn_err *err)
{
    for (;;) {
        struct pollfd fds[3] = {
            {.fd = talk->signals, .events = POLLIN},
            {.fd = syn_session_fd(talk->link)},
            {.fd = talk->input && syn_session_room(talk->link) > 0 ? STDIN_FILENO : -1,
             .events = POLLIN}};
        bool sent = syn_session_flush(talk->link);
        int rc = take_frames(talk, err);

        if (rc == TALK_OVER)
            return SYN_OK;
        if (rc < 0)
            return rc;
        if (!sent)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the connection to %s broke off",
                            talk->instance);
        fds[1].events = syn_session_events(talk->link, true);
        if (poll(fds, SYN_LEN(fds), -1) < 0)
            continue;
        if (fds[0].revents != 0)
            take_signal(talk);
        if (fds[2].revents != 0)
            take_input(talk);
    }
}

/* --- the command ------------------------------------------------------------------------------ */

static int
make_ask(const struct syn_cli *cli, bool terminal, json_t **ret, struct syn_err *err)
{
    struct winsize size = size_of_ours();
    const struct syn_cli_value *pair;
    size_t cursor = 0;
    SYN_JSON(ask);
    json_t *env = json_array();
    int rc = syn_cli_session_ask(&cli->line.operands[1], cli->line.operand_count - 1, &ask, err);

    if (rc == SYN_OK)
        rc = syn_json_set_take(ask, "env", env, err);
    else
        json_decref(env);
    while (rc == SYN_OK && (pair = syn_cli_next(cli, "env", &cursor)) != NULL)
        rc = syn_json_append_take(env, json_string(pair->text), err);
    if (rc == SYN_OK && terminal)
        rc = syn_json_append_take(
            env, json_pack("s+", "TERM=", getenv("TERM") ? getenv("TERM") : "xterm"), err);
    if (rc == SYN_OK && syn_cli_has(cli, "workdir"))
        rc = syn_json_set_str(ask, "cwd", syn_cli_text(cli, "workdir", ""), err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(ask, "terminal", terminal, err);
    if (rc == SYN_OK && terminal)
        rc = syn_json_set_i64(ask, "rows", size.ws_row, err);
    if (rc == SYN_OK && terminal)
        rc = syn_json_set_i64(ask, "columns", size.ws_col, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(ask);
    return rc;
}

static int
open_signals(void)
{
    sigset_t mask;

    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGHUP);
    (void)sigaddset(&mask, SIGQUIT);
    (void)sigaddset(&mask, SIGWINCH);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int
run_talk(struct conversation *talk, struct syn_err *err)
{
    bool raw = talk->terminal && make_raw();
    int rc;

    talk->signals = open_signals();
    if (!talk->input)
        syn_session_send(talk->link, SYN_FRAME_IN_END, "", 0);
    rc = converse(talk, err);
    if (raw)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
    (void)close(talk->signals);
    return rc;
}

static int
run_exec(struct syn_cli *cli)
{
    bool terminal = syn_cli_has(cli, "tty");
    struct conversation talk = {
        .cli = cli, .input = syn_cli_has(cli, "interactive"), .terminal = terminal};
    struct syn_cli_session session = {NULL, NULL};
    char instance[SYN_ID_MAX];
    SYN_JSON(ask);
    struct syn_err err = {0};
    int rc = SYN_OK;

    if (terminal && talk.input && isatty(STDIN_FILENO) == 0)
        rc = SYN_FAIL(&err, SYN_E_INVALID, "--tty: standard input is no terminal; leave it out");
    if (rc == SYN_OK)
        rc = syn_cli_instance_find(cli, cli->line.command->workload, syn_cli_operand(cli, 0),
                                   syn_cli_number(cli, "replica", -1), instance, &err);
    if (rc == SYN_OK)
        rc = make_ask(cli, terminal, &ask, &err);
    if (rc == SYN_OK)
        rc = syn_cli_session_open(cli, instance, ask, &session, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    talk.instance = instance;
    talk.link = session.link;
    rc = run_talk(&talk, &err);
    syn_cli_session_close(&session);
    if (rc < 0) {
        (void)syn_cli_fail(cli, &err);
        return BROKEN_OFF;
    }
    /* Why it never ran: what its sandbox has said of that itself is not said twice. */
    if (talk.message[0] != '\0' && !talk.said)
        syn_cli_note(cli, "%s", talk.message);
    return talk.exit_code;
}

/* clang-format off */
#define EXEC_OPTIONS(which, help)                                                                                    \
    {which, 0, "N", SYN_CLI_INT, 0, 100000, false, false, NULL, NULL, help},                                         \
    {"interactive", 'i', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Standard input is the program's input"}, \
    {"tty", 't', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Give it a terminal"},                          \
    {"env", 0, "NAME=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Over the environment of the instance"},   \
    {"workdir", 0, "PATH", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Its folder"}
static const struct syn_cli_option service_options[] = {
    EXEC_OPTIONS("replica", "Which replica: compute service get shows them"),
};
static const struct syn_cli_option train_options[] = {
    EXEC_OPTIONS("replica", "Which rank of the job"),
};
/* clang-format on */

static const struct syn_cli_operand service_operands[] = {
    {"SERVICE", SYN_CLI_TEXT, true, false, "Its name or id, or an instance's id"},
    {"COMMAND", SYN_CLI_TEXT, true, true, "What to run, behind --"},
};
static const struct syn_cli_operand train_operands[] = {
    {"JOB", SYN_CLI_TEXT, true, false, "Its id, or an instance's id"},
    {"COMMAND", SYN_CLI_TEXT, true, true, "What to run, behind --"},
};

#define EXEC_DETAIL                                                                                \
    "The program has the user, the limits and the rights of the instance. The exit status is the " \
    "program's; 125 when it could not be run, 126 and 127 as a shell has them, 1 when the "        \
    "connection broke off. Signals that come here are delivered there. A program whose "           \
    "connection ends is hung up on, and killed two seconds later. That it was run is an event of " \
    "the workload."

const struct syn_cli_command syn_cli_service_exec = {
    .path = "compute service exec",
    .summary = "Run a program within a replica",
    .detail = EXEC_DETAIL,
    .examples = "  synor compute service exec my-api -it -- sh\n"
                "  synor compute service exec my-api --replica 1 -- cat /etc/hosts\n",
    .options = service_options,
    .option_count = SYN_LEN(service_options),
    .operands = service_operands,
    .operand_count = SYN_LEN(service_operands),
    .workload = &syn_cli_service_workload,
    .run = run_exec};

const struct syn_cli_command syn_cli_train_exec = {
    .path = "compute train exec",
    .summary = "Run a program within a rank of a job",
    .detail = EXEC_DETAIL,
    .examples = "  synor compute train exec job-1 -it -- sh\n",
    .options = train_options,
    .option_count = SYN_LEN(train_options),
    .operands = train_operands,
    .operand_count = SYN_LEN(train_operands),
    .workload = &syn_cli_train_workload,
    .run = run_exec};
