/* HAProxy as a process. It is a daemon of its own (-D), not our child: so it outlives us, and one
 * that we started is not told from one that we found. Its start returns when it has bound
 * everything and has told its predecessor to end, or says why not.
 *
 * A reload is a start with -x (the predecessor hands over its listening sockets, so that none is
 * closed with connections in its queue) and -sf (which then ends what it has). A master process,
 * HAProxy's other way, would answer "reload" before it knows whether it works, and is one more
 * process to lose. */
#include "balancer_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#define START_MAX_MS   60000
#define END_MAX_MS     5000
#define OUTPUT_MAX     ((size_t)64 << 10)
#define RUNNING_MAX    ((size_t)4 << 10)
#define VERSION_PREFIX "HAProxy version "

static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};

/* --- the program ------------------------------------------------------------------------------ */

static int
ask_about(const char *program, const char *flag, struct syn_buf *out, struct syn_err *err)
{
    const char *const argv[] = {"haproxy", flag, NULL};
    struct syn_child_question question = {
        .program = program, .argv = argv, .env = env, .limit_ms = 10000, .bytes_max = OUTPUT_MAX};
    int status = 0;

    return syn_child_ask(&question, out, &status, err);
}

static int
ask_version(const char *program, char *ret, size_t size, struct syn_err *err)
{
    SYN_BUF(out);
    const char *at;
    size_t len;
    int rc = ask_about(program, "-v", &out, err);

    if (rc < 0)
        return rc;
    at = strstr(syn_buf_text(&out), VERSION_PREFIX);
    if (at == NULL)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s is no HAProxy", program);
    at += strlen(VERSION_PREFIX);
    len = strcspn(at, " -\n");
    if (len >= size)
        len = size - 1;
    memcpy(ret, at, len);
    ret[len] = '\0';
    return SYN_OK;
}

bool
lb_program_has_lua(const char *program)
{
    SYN_BUF(out);

    return ask_about(program, "-vv", &out, NULL) == SYN_OK &&
           strstr(syn_buf_text(&out), "+LUA") != NULL;
}

/* Two numbers of a version, or 0. */
static unsigned
rank(const char *version)
{
    char copy[32];
    char *dot;
    uint64_t major = 0, minor = 0;

    if (!syn_str_copy(copy, sizeof(copy), version) || (dot = strchr(copy, '.')) == NULL)
        return 0;
    *dot++ = '\0';
    dot[strspn(dot, "0123456789")] = '\0';
    if (syn_parse_u64(copy, 0, 999, "", &major, NULL) < 0 ||
        syn_parse_u64(dot, 0, 999, "", &minor, NULL) < 0)
        return 0;
    return (unsigned)(major * 1000 + minor);
}

int
syn_balancer_find(char *ret_path, size_t path_size, char *ret_version, size_t version_size,
                  struct syn_err *err)
{
    static const char *const paths[] = {"/usr/local/sbin/haproxy", "/usr/sbin/haproxy",
                                        "/usr/local/bin/haproxy", "/usr/bin/haproxy"};
    const char *found = NULL;
    int rc;

    for (size_t i = 0; found == NULL && i < SYN_LEN(paths); i++)
        found = access(paths[i], X_OK) == 0 ? paths[i] : NULL;
    if (found == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no HAProxy on this machine");
    rc = ask_version(found, ret_version, version_size, err);
    if (rc < 0)
        return rc;
    if (rank(ret_version) < rank(SYN_BALANCER_VERSION_MIN))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "HAProxy %s is older than %s", ret_version,
                        SYN_BALANCER_VERSION_MIN);
    if (!syn_str_copy(ret_path, path_size, found))
        return SYN_FAIL(err, SYN_E_TOOBIG, "HAProxy's path is too long");
    return SYN_OK;
}

/* --- one process ------------------------------------------------------------------------------ */

void
lb_control(unsigned generation, char ret[LB_CONTROL_SIZE])
{
    (void)snprintf(ret, LB_CONTROL_SIZE, "control-%u.sock", generation);
}

static int
open_pid(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* When it was started, in ticks since the machine's start; 0 when there is no such process. */
static uint64_t
started_at(pid_t pid)
{
    char path[32], text[1024];
    const char *at;
    ssize_t len;
    int fd;
    uint64_t ticks = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    len = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    at = strrchr(text, ')');
    /* Fields 3 to 21 come before it. */
    for (unsigned i = 0; at != NULL && i < 20; i++) {
        at = strchr(at, ' ');
        at = at == NULL ? NULL : at + 1;
    }
    if (at == NULL)
        return 0;
    text[(size_t)(at - text) + strcspn(at, " ")] = '\0';
    return syn_parse_u64(at, 1, UINT64_MAX, "", &ticks, NULL) < 0 ? 0 : ticks;
}

bool
lb_process_alive(const struct lb_process *process)
{
    struct pollfd poller = {.fd = process->fd, .events = POLLIN};

    return process->pid > 0 && poll(&poller, 1, 0) == 0;
}

void
lb_process_forget(struct lb_process *process)
{
    if (process->fd >= 0)
        (void)close(process->fd);
    (void)syn_map_free(process->marks);
    *process = LB_PROCESS_NONE;
}

static void
send_signal(const struct lb_process *process, int signo)
{
    (void)syscall(SYS_pidfd_send_signal, process->fd, signo, NULL, 0);
}

void
lb_process_retire(struct lb_process *process)
{
    if (process->pid > 0)
        send_signal(process, SIGUSR1);
    process->lingers = false;
}

void
lb_process_end(struct lb_process *process)
{
    struct pollfd poller = {.fd = process->fd, .events = POLLIN};

    if (process->pid > 0) {
        send_signal(process, SIGTERM);
        if (poll(&poller, 1, END_MAX_MS) == 0) {
            send_signal(process, SIGKILL);
            (void)poll(&poller, 1, END_MAX_MS);
        }
    }
    lb_process_forget(process);
}

/* --- start ------------------------------------------------------------------------------------ */

/* The last thing that it complained of, without the line's beginning. */
static const char *
complaint(char *text)
{
    char *at = strstr(text, "[ALERT]");
    char *colon = at == NULL ? NULL : strstr(at, " : ");

    at = colon == NULL ? text : colon + 3;
    at[strcspn(at, "\n")] = '\0';
    return at[0] == '\0' ? "it said nothing" : at;
}

static int
read_pid(const char *dir, const char *name, pid_t *ret, struct syn_err *err)
{
    char path[4096];
    SYN_BUF(text);
    uint64_t pid;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)chmod(path, 0600);
    rc = syn_secret_file_read(path, &text, err);
    if (rc < 0)
        return rc;
    text.data[strcspn(text.data, "\n")] = '\0';
    rc = syn_parse_u64(text.data, 1, INT32_MAX, "HAProxy's pid", &pid, err);
    if (rc == SYN_OK)
        *ret = (pid_t)pid;
    return rc;
}

static int
look_at(pid_t pid, unsigned generation, struct lb_process *ret, struct syn_err *err)
{
    struct lb_process process = {.pid = pid, .generation = generation, .fd = open_pid(pid)};

    process.started = started_at(pid);
    if (process.fd < 0 || process.started == 0) {
        lb_process_forget(&process);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy ended at once");
    }
    *ret = process;
    return SYN_OK;
}

int
lb_process_start(const char *program, const char *dir, unsigned generation, enum lb_start how,
                 const struct lb_process *old, struct lb_process *ret, struct syn_err *err)
{
    char config[LB_CONTROL_SIZE], control[LB_CONTROL_SIZE], pid_text[16];
    const char *argv[16] = {"haproxy", "-D", "-C", dir, "-f", config, "-p", LB_PID_FILE};
    struct syn_child_question question = {.program = program,
                                          .argv = argv,
                                          .env = env,
                                          .limit_ms = START_MAX_MS,
                                          .bytes_max = OUTPUT_MAX,
                                          .errors_too = true};
    SYN_BUF(out);
    size_t argc = 8;
    pid_t pid = 0;
    int status = 0;
    int rc;

    (void)snprintf(config, sizeof(config), "haproxy-%u.cfg", generation);
    if (how >= LB_START_BESIDE) {
        lb_control(old->generation, control);
        (void)snprintf(pid_text, sizeof(pid_text), "%d", (int)old->pid);
        argv[argc++] = "-x";
        argv[argc++] = control;
    } else if (how == LB_START_OFFERED) {
        argv[argc++] = "-x";
        argv[argc++] = LB_SOCKETS_NAME;
    }
    if (how == LB_START_INSTEAD) {
        argv[argc++] = "-sf";
        argv[argc++] = pid_text;
    }
    rc = syn_child_ask(&question, &out, &status, err);
    if (rc < 0)
        return rc;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not start: %s",
                        out.data == NULL ? "it said nothing" : complaint(out.data));
    rc = read_pid(dir, LB_PID_FILE, &pid, err);
    return rc < 0 ? rc : look_at(pid, generation, ret, err);
}

/* --- what runs, for who comes after us -------------------------------------------------------- */

int
lb_file_write(int dir, const char *name, const char *data, size_t len, struct syn_err *err)
{
    char fresh[64];
    int fd;
    int rc = SYN_OK;

    (void)snprintf(fresh, sizeof(fresh), "%s.new", name);
    fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", fresh);
    for (size_t done = 0; rc == SYN_OK && done < len;) {
        ssize_t n = write(fd, data + done, len - done);

        if (n < 0 && errno != EINTR)
            rc = SYN_FAIL_SYS(err, errno, "writing %s", fresh);
        done += n > 0 ? (size_t)n : 0;
    }
    if (close(fd) < 0 && rc == SYN_OK)
        rc = SYN_FAIL_SYS(err, errno, "writing %s", fresh);
    if (rc == SYN_OK && renameat(dir, fresh, dir, name) < 0)
        rc = SYN_FAIL_SYS(err, errno, "renaming %s", fresh);
    if (rc < 0)
        (void)unlinkat(dir, fresh, 0);
    return rc;
}

int
lb_process_write(int dir, const struct lb_process *processes, size_t count, struct syn_err *err)
{
    SYN_BUF(out);
    int rc;

    for (size_t i = 0; i < count; i++)
        if (processes[i].pid > 0)
            syn_buf_addf(&out, "%d %" PRIu64 " %u\n", (int)processes[i].pid, processes[i].started,
                         processes[i].generation);
    rc = syn_buf_ok(&out, err);
    return rc < 0 ? rc : lb_file_write(dir, "running", syn_buf_text(&out), out.len, err);
}

static bool
adopt_line(char *line, struct lb_process *ret)
{
    char *fields[3] = {line};
    uint64_t pid, started, generation;

    for (size_t i = 1; i < SYN_LEN(fields); i++) {
        fields[i] = strchr(fields[i - 1], ' ');
        if (fields[i] == NULL)
            return false;
        *fields[i]++ = '\0';
    }
    if (syn_parse_u64(fields[0], 1, INT32_MAX, "", &pid, NULL) < 0 ||
        syn_parse_u64(fields[1], 1, UINT64_MAX, "", &started, NULL) < 0 ||
        syn_parse_u64(fields[2], 0, UINT32_MAX, "", &generation, NULL) < 0 ||
        look_at((pid_t)pid, (unsigned)generation, ret, NULL) < 0)
        return false;
    if (ret->started == started && lb_process_alive(ret))
        return true;
    lb_process_forget(ret);
    return false;
}

/* The generation of a process by its arguments; 0: it is none of this folder. */
static unsigned
generation_of(pid_t pid, const char *dir)
{
    char path[32], text[8192];
    const char *arg = text;
    uint64_t generation = 0;
    bool ours = false;
    ssize_t len;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        (void)close(fd);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    for (; arg < text + len; arg += strlen(arg) + 1) {
        char number[16];

        ours = ours || strcmp(arg, dir) == 0;
        if (!syn_str_starts(arg, "haproxy-") || !syn_str_ends(arg, ".cfg"))
            continue;
        (void)snprintf(number, sizeof(number), "%.*s", (int)(strlen(arg) - strlen("haproxy-.cfg")),
                       arg + strlen("haproxy-"));
        if (syn_parse_u64(number, 1, UINT32_MAX, "", &generation, NULL) < 0)
            generation = 0;
    }
    return ours ? (unsigned)generation : 0;
}

bool
lb_process_stray(const char *dir, struct lb_process *ret)
{
    unsigned generation;
    pid_t pid = 0;

    if (read_pid(dir, LB_PID_FILE, &pid, NULL) < 0)
        return false;
    generation = generation_of(pid, dir);
    return generation > 0 && look_at(pid, generation, ret, NULL) == SYN_OK;
}

size_t
lb_process_adopt(int dir, struct lb_process *ret, size_t max)
{
    char text[4096];
    char *line = text;
    size_t count = 0;
    ssize_t len;
    int fd = openat(dir, "running", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return 0;
    len = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[len < 0 ? 0 : len] = '\0';
    while (count < max && *line != '\0') {
        char *end = strchr(line, '\n');

        if (end == NULL)
            break;
        *end = '\0';
        if (adopt_line(line, &ret[count]))
            count++;
        line = end + 1;
    }
    return count;
}
