/* Starting the platform: in the foreground, or detached from the terminal.
 *
 * Either way one process runs the daemon and another reads the pipe on which the daemon says that
 * it is ready, and greets:
 *
 *     foreground   synor up ---------> the daemon
 *                      \-- greeter     (reads, prints, exits)
 *
 *     --detach     synor up            (reads, prints, exits)
 *                      \-- setsid -- the daemon, output to DATA/log/synor.log
 *
 * All forks happen while there is one thread. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "platform_priv.h"

#define READY_WITHIN_MS 10000
#define LOG_TAIL_BYTES  2048

/* --- greeting -------------------------------------------------------------------------------- */

/* Does a command without --home find this platform? */
static bool
is_default_home(const struct syn_cli *cli)
{
    const char *named = getenv("SYNOR_HOME");
    const char *user = getenv("HOME");
    char path[sizeof(cli->home)];

    if (named != NULL && named[0] != '\0')
        return syn_str_eq(named, cli->home);
    (void)snprintf(path, sizeof(path), "%s/.synor", user != NULL ? user : "/root");
    return syn_str_eq(path, cli->home);
}

static void
greet(const struct syn_cli *cli, const json_t *status, bool fresh)
{
    const char *home = is_default_home(cli) ? "" : cli->home;
    const char *option = home[0] != '\0' ? " --home " : "";

    if (cli->quiet)
        return;
    if (fresh)
        syn_cli_say(cli,
                    "Made a new platform in %s, with an operator's account, keys and a token\n"
                    "(credentials.json).",
                    cli->home);
    syn_cli_say(cli, "synor %s is ready at %s (pid %lld).\n\nNext:",
                syn_json_str(status, "version", SYN_VERSION), syn_json_str(status, "listen", "?"),
                (long long)syn_json_i64(status, "pid", 0));
    syn_cli_say(cli, "  synor doctor%s%s", option, home);
    syn_cli_say(cli, "  synor storage put%s%s FOLDER --name datasets/mine", option, home);
    syn_cli_say(cli, "  synor compute train create%s%s --help", option, home);
    syn_cli_say(cli, "\nStop it: synor down%s%s", option, home);
    (void)fflush(stdout);
}

/* Say what the daemon's line means. Returns the exit status. */
/* "invalid --listen: ..." as an error: its code's word, then its message. */
static void
daemon_error(const char *text, struct syn_err *err)
{
    const struct syn_err_info *info = NULL;
    size_t len = strcspn(text, " ");
    char word[64];

    if (text[len] == ' ' && len < sizeof(word)) {
        memcpy(word, text, len);
        word[len] = '\0';
        info = syn_err_info_by_wire(word);
    }
    (void)SYN_FAIL(err, info != NULL ? info->code : SYN_E_UNAVAILABLE, "%s",
                   info != NULL ? text + len + 1 : text);
}

static int
report_line(const struct syn_cli *cli, const char *line)
{
    SYN_JSON(status);
    struct syn_err err;

    if (syn_str_starts(line, "error: ")) {
        daemon_error(line + strlen("error: "), &err);
        return syn_cli_fail(cli, &err);
    }
    if (syn_cli_probe_home(cli, &status, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(status));
    greet(cli, status, syn_str_ends(line, " fresh"));
    return 0;
}

/* The daemon's line: "ready fresh", "ready again" or "error: CODE ...". False when it closed the
 * pipe without, or is late. */
static bool
read_ready(int fd, int timeout_ms, char *out, size_t cap, bool *ret_late)
{
    int64_t until = syn_mono_ms(syn_world_system()) + timeout_ms;
    size_t len = 0;

    *ret_late = false;
    while (len + 1 < cap) {
        int64_t left = until - syn_mono_ms(syn_world_system());
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (timeout_ms >= 0 && left <= 0) {
            *ret_late = true;
            return false;
        }
        if (poll(&poll_fd, 1, timeout_ms < 0 ? -1 : (int)left) < 0 && errno != EINTR)
            return false;
        if (poll_fd.revents == 0)
            continue;
        got = read(fd, out + len, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        if (out[len] == '\n')
            break;
        len++;
    }
    out[len] = '\0';
    return true;
}

/* --- foreground ------------------------------------------------------------------------------ */

/* The greeter is nobody's child that has to be waited for: it is forked twice. */
static int
start_greeter(const struct syn_cli *cli, int *ret_fd, struct syn_err *err)
{
    char line[512];
    int pipe_fds[2];
    bool late;
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return SYN_FAIL_SYS(err, errno, "making a pipe");
    (void)fflush(stdout);
    pid = fork();
    if (pid < 0) {
        (void)close(pipe_fds[0]);
        (void)close(pipe_fds[1]);
        return SYN_FAIL_SYS(err, errno, "starting a process");
    }
    if (pid == 0) {
        (void)close(pipe_fds[1]);
        if (fork() != 0)
            _exit(0);
        if (read_ready(pipe_fds[0], -1, line, sizeof(line), &late))
            (void)report_line(cli, line);
        _exit(0);
    }
    (void)close(pipe_fds[0]);
    (void)waitpid(pid, NULL, 0);
    *ret_fd = pipe_fds[1];
    return SYN_OK;
}

static int
run_here(const struct syn_cli *cli, struct syn_cli_up *up)
{
    struct syn_err err;

    if (!cli->json && !cli->quiet && start_greeter(cli, &up->ready_fd, &err) < 0)
        return syn_cli_fail(cli, &err);
    syn_cli_signals_reset();
    return cli->host->up(up);
}

/* --- detached -------------------------------------------------------------------------------- */

static int
open_log(const struct syn_cli *cli, int *ret_fd, struct syn_err *err)
{
    char path[sizeof(cli->home) + 32];

    if (mkdir(cli->home, 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", cli->home);
    (void)snprintf(path, sizeof(path), "%s/log", cli->home);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    (void)snprintf(path, sizeof(path), "%s/log/synor.log", cli->home);
    *ret_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (*ret_fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    return SYN_OK;
}

/* In the child: leave the terminal behind and become the daemon. */
static _Noreturn void
become_daemon(const struct syn_cli *cli, const struct syn_cli_up *up, int log_fd)
{
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (setsid() < 0 || fork() != 0) /* the session's leader could get a terminal again */
        _exit(0);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0 || chdir("/") != 0)
        _exit(1);
    syn_cli_signals_reset();
    exit(cli->host->up(up));
}

/* What the log says since the start: the reason why there is no daemon. */
static void
show_log(int log_fd, off_t from)
{
    char text[LOG_TAIL_BYTES + 1];
    off_t end = lseek(log_fd, 0, SEEK_END);
    ssize_t got;

    if (end - from > LOG_TAIL_BYTES)
        from = end - LOG_TAIL_BYTES;
    got = pread(log_fd, text, LOG_TAIL_BYTES, from);
    if (got > 0)
        (void)fwrite(text, 1, (size_t)got, stderr);
}

static int
report(const struct syn_cli *cli, int ready_fd, int log_fd, off_t log_from)
{
    char line[512];
    struct syn_err err;
    bool late;

    if (!read_ready(ready_fd, READY_WITHIN_MS, line, sizeof(line), &late)) {
        show_log(log_fd, log_from);
        if (late)
            (void)SYN_FAIL(&err, SYN_E_TIMEOUT,
                           "not ready within %d s; it may still come: synor status; see "
                           "%s/log/synor.log",
                           READY_WITHIN_MS / 1000, cli->home);
        else
            (void)SYN_FAIL(&err, SYN_E_UNAVAILABLE, "it did not start; see %s/log/synor.log",
                           cli->home);
        return syn_cli_fail(cli, &err);
    }
    return report_line(cli, line);
}

static int
run_detached(const struct syn_cli *cli, struct syn_cli_up *up)
{
    struct syn_err err;
    int pipe_fds[2];
    int log_fd = -1;
    int status;
    off_t log_from;
    pid_t pid;

    if (open_log(cli, &log_fd, &err) < 0)
        return syn_cli_fail(cli, &err);
    log_from = lseek(log_fd, 0, SEEK_END);
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        (void)SYN_FAIL_SYS(&err, errno, "making a pipe");
        (void)close(log_fd);
        return syn_cli_fail(cli, &err);
    }
    (void)fflush(stdout);
    (void)fflush(stderr);
    up->ready_fd = pipe_fds[1];
    pid = fork();
    if (pid == 0) {
        (void)close(pipe_fds[0]);
        become_daemon(cli, up, log_fd);
    }
    (void)close(pipe_fds[1]);
    if (pid < 0) {
        (void)SYN_FAIL_SYS(&err, errno, "starting a process");
        status = syn_cli_fail(cli, &err);
    } else {
        (void)waitpid(pid, NULL, 0);
        status = report(cli, pipe_fds[0], log_fd, log_from);
    }
    (void)close(pipe_fds[0]);
    (void)close(log_fd);
    return status;
}

int
syn_cli_start(struct syn_cli *cli, const struct syn_cli_up *up, bool detach)
{
    struct syn_cli_up options = *up;

    if (cli->host->up == NULL) {
        struct syn_err err;

        (void)SYN_FAIL(&err, SYN_E_UNSUPPORTED, "this program has no daemon in it");
        return syn_cli_fail(cli, &err);
    }
    return detach ? run_detached(cli, &options) : run_here(cli, &options);
}
