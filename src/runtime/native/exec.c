/* The tool (runc or runsc) joins the instance's namespaces, cgroup, filter and user, which it alone
 * knows in full, and stays in the foreground: its end is the program's, with the program's status.
 *
 *   us --spawn--> runc exec --+-- the program, in the instance
 *      <--pidfd---            `-- its input and output, passed through
 *
 * What is to be run is a copy of the instance's own `process`, with other arguments: so user,
 * capabilities (none), limits and "no new privileges" are the same by construction. The copy is
 * handed over in memory, for its environment may hold secrets. The pid that the tool writes says
 * that the program began, and reaches it when it must be killed.
 *
 * Refused: entering the namespaces ourselves (the filter, the cgroup and the traps of /proc would
 * be ours to get right, and gVisor has no namespaces to enter); the container runtime's ExecSync
 * (no input, no terminal, sixteen megabytes of output in one answer). */
#include "exec_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "file_priv.h"
#include "tool_priv.h"

#define ENTER         "/usr/bin/nsenter" /* of util-linux, which no Debian lacks */
#define CONFIG_MAX    ((size_t)4 << 20)
#define TOOL_KILL_MS  10000
#define TOOL_BYTES    65536
#define BEGIN_MS      10000 /* of a program, on a machine with much else to do */
#define BEGIN_END_MS  60000 /* the same of one that is to be ended: after that it may be left */
#define BEGIN_LOOK_MS 10
#define KILL_TRIES    200
#define KILL_PAUSE_MS 50
#define NOT_FOUND     127
#define NOT_RUN       126

struct syn_exec {
    pid_t tool;
    int fd;  /* of the tool */
    int dir; /* of the instance */
    bool gvisor, waited;
    struct syn_exec_result result;
    char pid_file[64], log_file[64];
    char tool_path[SYN_INSTANCE_PATH_MAX], root[SYN_PATH_MAX], name[SYN_PLAN_NAME_MAX];
};

static const char *const tool_env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};

/* --- what is run ------------------------------------------------------------------------------ */

int
syn_exec_check(struct syn_instance *instance, const struct syn_exec_spec *spec, struct syn_err *err)
{
    struct syn_instance_status status;
    size_t bytes = 0, count = 0;
    int rc;

    if (!spec->argv || !spec->argv[0] || spec->argv[0][0] == '\0')
        return SYN_FAIL(err, SYN_E_INVALID, "exec: no program is named");
    for (; spec->argv[count]; count++)
        bytes += strlen(spec->argv[count]);
    for (size_t i = 0; spec->env && spec->env[i]; i++, count++) {
        const char *equals = strchr(spec->env[i], '=');

        if (!equals || equals == spec->env[i])
            return SYN_FAIL(err, SYN_E_INVALID, "exec: %.64s: expected NAME=value", spec->env[i]);
        bytes += strlen(spec->env[i]);
    }
    if (count > SYN_INSTANCE_ARGS_MAX + SYN_INSTANCE_ENV_MAX || bytes > SYN_EXEC_ARGS_BYTES)
        return SYN_FAIL(err, SYN_E_TOOBIG, "exec: too many arguments");
    if (spec->cwd && spec->cwd[0] != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "exec: the folder must be absolute, got %s", spec->cwd);
    rc = syn_instance_poll(instance, &status, err);
    if (rc < 0)
        return rc;
    if (status.state != SYN_INSTANCE_RUNNING)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s does not run", instance->plan.id);
    return SYN_OK;
}

/* NAME=value in place of what the environment says of NAME. */
static int
set_env(json_t *env, const char *pair, struct syn_err *err)
{
    size_t len = strcspn(pair, "=") + 1;
    json_t *text = json_string(pair);

    for (size_t i = 0; text && i < json_array_size(env); i++) {
        const char *have = json_string_value(json_array_get(env, i));

        if (!have || strncmp(have, pair, len) != 0)
            continue;
        if (json_array_set_new(env, i, text) == 0)
            return SYN_OK;
        return SYN_FAIL(err, SYN_E_NOMEM, "exec");
    }
    return syn_json_append_take(env, text, err);
}

static int
set_args(json_t *process, const struct syn_exec_spec *spec, struct syn_err *err)
{
    SYN_JSON(args);
    int rc = SYN_OK;

    args = json_array();
    if (!args)
        return SYN_FAIL(err, SYN_E_NOMEM, "exec");
    for (size_t i = 0; rc == SYN_OK && spec->argv[i]; i++)
        rc = syn_json_append_take(args, json_string(spec->argv[i]), err);
    return rc < 0 ? rc : syn_json_set_take(process, "args", SYN_TAKE(args), err);
}

/* The instance's own process, doing something else. */
static int
make_process(const char *bundle, const struct syn_exec_spec *spec, struct syn_buf *out,
             struct syn_err *err)
{
    SYN_BUF(text);
    SYN_JSON(config);
    char path[SYN_PATH_MAX];
    json_t *process, *user, *env;
    int rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_FILE_CONFIG, bundle);

    if (rc == SYN_OK)
        rc = syn_file_read(AT_FDCWD, path, CONFIG_MAX, &text, err);
    if (rc == SYN_OK)
        rc = syn_json_parse_object(text.data, text.len, &config, err);
    if (rc < 0)
        return rc;
    process = json_object_get(config, "process");
    user = json_object_get(process, "user");
    env = json_object_get(process, "env");
    if (!json_is_object(user) || !json_is_array(env))
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s says nothing of a process", path);
    rc = set_args(process, spec, err);
    for (size_t i = 0; rc == SYN_OK && spec->env && spec->env[i]; i++)
        rc = set_env(env, spec->env[i], err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(process, "terminal", json_boolean(spec->terminal != NULL), err);
    if (rc == SYN_OK && spec->cwd)
        rc = syn_json_set_str(process, "cwd", spec->cwd, err);
    if (rc == SYN_OK && spec->uid != 0)
        rc = syn_json_set_take(user, "uid", json_integer(spec->uid), err);
    if (rc == SYN_OK && spec->gid != 0)
        rc = syn_json_set_take(user, "gid", json_integer(spec->gid), err);
    if (rc == SYN_OK && json_integer_value(json_object_get(user, "uid")) == 0)
        rc = SYN_FAIL(err, SYN_E_FORBIDDEN, "exec: programs do not run as root");
    return rc < 0 ? rc : syn_json_write(process, out, err);
}

/* It was told to join the network of who starts it, "/proc/self/ns/net". Now that would be the
 * network of who runs `exec`, and comes after its user namespace, which may not join what it does
 * not own. So runc is run in that network, and shown a state that names none: what it starts stays
 * where it is. */
int
syn_exec_joined(struct syn_instance *instance, char *root, struct syn_err *err)
{
    const char *name = instance->plan.name;
    char path[SYN_PATH_MAX];
    json_t *spaces;
    SYN_JSON(state);
    int rc = syn_path_format(path, sizeof(path), err, SYN_DIR_TOOL "/%s/state.json", name);

    if (rc == SYN_OK)
        rc = syn_file_read_json(instance->dir, path, &state, err);
    if (rc < 0)
        return rc;
    spaces = json_object_get(json_object_get(state, "config"), "namespaces");
    if (!json_is_array(spaces))
        return SYN_FAIL(err, SYN_E_CORRUPT, "runc's state of %s names no namespaces", name);
    for (size_t i = json_array_size(spaces); i-- > 0;) {
        if (syn_str_eq(syn_json_str(json_array_get(spaces, i), "type", ""), "NEWNET"))
            (void)json_array_remove(spaces, i);
    }
    rc = syn_dir_make(instance->dir, SYN_DIR_JOINED, 0700, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, SYN_DIR_JOINED "/%s", name);
    if (rc == SYN_OK)
        rc = syn_dir_make(instance->dir, path, 0700, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, SYN_DIR_JOINED "/%s/state.json", name);
    if (rc == SYN_OK)
        rc = syn_file_write_json(instance->dir, path, state, false, err);
    return rc < 0
               ? rc
               : syn_path_format(root, SYN_PATH_MAX, err, "%s/" SYN_DIR_JOINED, instance->dir_path);
}

/* --- the start -------------------------------------------------------------------------------- */

static int
in_memory(const struct syn_buf *text, int *ret_fd, struct syn_err *err)
{
    int fd = memfd_create("process.json", MFD_CLOEXEC);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a file in memory");
    rc = syn_fd_write_all(fd, text->data, text->len, err);
    if (rc == SYN_OK)
        *ret_fd = fd;
    else
        (void)close(fd);
    return rc;
}

static int
spawn_tool(struct syn_exec *exec, const struct syn_instance *instance, pid_t beside,
           const struct syn_exec_spec *spec, int process, struct syn_err *err)
{
    char enter[64], net[64], root[SYN_PATH_MAX + 16], log[SYN_PATH_MAX + 96],
        pid[SYN_PATH_MAX + 96], platform[48];
    const char *argv[16];
    size_t count = 0;
    const struct syn_child_options options = {.argv = argv,
                                              .env = tool_env,
                                              .in = spec->in,
                                              .out = spec->out,
                                              .err = spec->err,
                                              .passed = process,
                                              .terminal = spec->terminal};

    (void)snprintf(enter, sizeof(enter), "--mount=/proc/%d/ns/mnt", (int)beside);
    (void)snprintf(net, sizeof(net), "--net=/proc/%d/ns/net", (int)beside);
    (void)snprintf(root, sizeof(root), "--root=%s", exec->root);
    (void)snprintf(log, sizeof(log), "--log=%s/%s", instance->dir_path, exec->log_file);
    (void)snprintf(pid, sizeof(pid), "--%spid-file=%s/%s", exec->gvisor ? "internal-" : "",
                   instance->dir_path, exec->pid_file);
    (void)snprintf(platform, sizeof(platform), "--platform=%s", instance->plan.platform);
    if (beside > 0) {
        argv[count++] = ENTER;
        argv[count++] = enter;
        argv[count++] = net;
        argv[count++] = "--";
    }
    argv[count++] = exec->tool_path;
    argv[count++] = root;
    argv[count++] = log;
    argv[count++] = "--log-format=json";
    if (exec->gvisor && instance->plan.platform[0] != '\0')
        argv[count++] = platform;
    argv[count++] = "exec";
    argv[count++] = "--process=/proc/self/fd/3";
    argv[count++] = pid;
    argv[count++] = exec->name;
    argv[count] = NULL;
    assert(count < SYN_LEN(argv));
    return syn_child_spawn(argv[0], &options, &exec->tool, err);
}

static int
name_files(struct syn_exec *exec, const struct syn_exec_place *place, struct syn_err *err)
{
    static atomic_uint serial;
    unsigned number = atomic_fetch_add(&serial, 1);

    (void)snprintf(exec->pid_file, sizeof(exec->pid_file), "exec-%d-%u.pid", (int)getpid(), number);
    (void)snprintf(exec->log_file, sizeof(exec->log_file), "exec-%d-%u.log", (int)getpid(), number);
    exec->gvisor = place->gvisor;
    if (!syn_str_copy(exec->tool_path, sizeof(exec->tool_path), place->tool) ||
        !syn_str_copy(exec->root, sizeof(exec->root), place->root) ||
        !syn_str_copy(exec->name, sizeof(exec->name), place->name))
        return SYN_FAIL(err, SYN_E_INVALID, "exec: a path is too long");
    return SYN_OK;
}

int
syn_exec_start(struct syn_instance *instance, const struct syn_exec_place *place,
               const struct syn_exec_spec *spec, struct syn_exec **ret_exec, struct syn_err *err)
{
    SYN_SCOPED(syn_exec_free_scope) struct syn_exec *exec = syn_calloc(1, sizeof(*exec));
    SYN_BUF(text);
    SYN_FD(process);
    int rc;

    if (!exec)
        return SYN_FAIL(err, SYN_E_NOMEM, "exec");
    exec->fd = -1;
    exec->waited = true; /* there is nothing to wait for yet */
    exec->dir = fcntl(instance->dir, F_DUPFD_CLOEXEC, 3);
    if (exec->dir < 0)
        return SYN_FAIL_SYS(err, errno, "exec");
    rc = name_files(exec, place, err);
    if (rc == SYN_OK)
        rc = make_process(place->bundle, spec, &text, err);
    if (rc == SYN_OK)
        rc = in_memory(&text, &process, err);
    if (rc == SYN_OK)
        rc = spawn_tool(exec, instance, place->beside, spec, process, err);
    if (rc < 0)
        return rc;
    exec->waited = false;
    exec->fd = (int)syscall(SYS_pidfd_open, exec->tool, 0);
    if (exec->fd < 0)
        return SYN_FAIL_SYS(err, errno, "exec: opening a descriptor of %s", place->tool);
    *ret_exec = SYN_TAKE(exec);
    return SYN_OK;
}

/* --- signals ---------------------------------------------------------------------------------- */

int
syn_exec_fd(const struct syn_exec *exec)
{
    return exec->fd;
}

static bool
tool_ended(const struct syn_exec *exec)
{
    struct pollfd ended = {.fd = exec->fd, .events = POLLIN};

    return exec->waited || poll(&ended, 1, 0) == 1;
}

/* The program's pid: on this machine, or within the sandbox for gVisor. 0 before it began. */
static pid_t
program_pid(const struct syn_exec *exec)
{
    SYN_BUF(text);
    uint64_t pid;

    if (syn_file_read(exec->dir, exec->pid_file, 64, &text, NULL) < 0 ||
        !syn_scan_u64(syn_buf_text(&text), 10, &pid, NULL) || pid > INT32_MAX)
        return 0;
    return (pid_t)pid;
}

/* Until the tool has told the program's pid. False: it has not, or has ended. */
static bool
await_begin(const struct syn_exec *exec, int limit_ms)
{
    struct pollfd ended = {.fd = exec->fd, .events = POLLIN};

    for (int ms = 0; program_pid(exec) <= 0; ms += BEGIN_LOOK_MS) {
        if (exec->waited || ms >= limit_ms || poll(&ended, 1, BEGIN_LOOK_MS) == 1)
            return false;
    }
    return true;
}

/* Is the process the tool's child? Then its pid is nobody else's. */
static bool
is_program(const struct syn_exec *exec, pid_t pid)
{
    SYN_BUF(text);
    char path[64], want[32];

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    (void)snprintf(want, sizeof(want), "\nPPid:\t%d\n", (int)exec->tool);
    return syn_file_read(AT_FDCWD, path, 16384, &text, NULL) == SYN_OK &&
           strstr(syn_buf_text(&text), want) != NULL;
}

/* A signal within gVisor, which only its own tool can deliver. */
static int
kill_inside(const struct syn_exec *exec, pid_t pid, int signo, struct syn_err *err)
{
    char root[SYN_PATH_MAX + 16], which[32], number[16];
    const char *const argv[] = {exec->tool_path, root, "kill", which, exec->name, number, NULL};
    const struct syn_child_question question = {.program = exec->tool_path,
                                                .argv = argv,
                                                .env = tool_env,
                                                .limit_ms = TOOL_KILL_MS,
                                                .bytes_max = TOOL_BYTES,
                                                .errors_too = true};
    SYN_BUF(words);
    int status = 0, rc;

    (void)snprintf(root, sizeof(root), "--root=%s", exec->root);
    (void)snprintf(which, sizeof(which), "--pid=%d", (int)pid);
    (void)snprintf(number, sizeof(number), "%d", signo);
    rc = syn_child_ask(&question, &words, &status, err);
    if (rc < 0)
        return rc;
    if (status != 0 && !tool_ended(exec))
        return SYN_FAIL(err, SYN_E_IO, "exec: signal %d: %.*s", signo,
                        (int)SYN_MIN(words.len, (size_t)128), syn_buf_text(&words));
    return SYN_OK;
}

int
syn_exec_signal(struct syn_exec *exec, int signo, struct syn_err *err)
{
    pid_t pid;

    if (signo < 1 || signo > 64)
        return SYN_FAIL(err, SYN_E_INVALID, "signal: expected 1..64, got %d", signo);
    if (tool_ended(exec))
        return SYN_OK;
    pid = program_pid(exec);
    if (pid <= 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "exec: the program has not begun");
    if (exec->gvisor)
        return kill_inside(exec, pid, signo, err);
    if (is_program(exec, pid) && kill(pid, signo) < 0 && errno != ESRCH)
        return SYN_FAIL_SYS(err, errno, "exec: signal %d", signo);
    return SYN_OK;
}

void
syn_exec_resized(struct syn_exec *exec)
{
    if (tool_ended(exec))
        return;
    /* runc tells the program of the size itself as soon as it has begun. runsc passes signals on,
     * from when the program has been running for a moment, and not those that came before. */
    if (exec->gvisor)
        (void)await_begin(exec, BEGIN_MS);
    (void)syscall(SYS_pidfd_send_signal, exec->fd, SIGWINCH, NULL, 0);
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The tool's words when it could not start the program. */
static void
explain_unstarted(const struct syn_exec *exec, struct syn_exec_result *result)
{
    syn_tool_words(exec->dir, exec->log_file, result->message, sizeof(result->message));
    if (result->message[0] == '\0')
        (void)syn_str_copy(result->message, sizeof(result->message), "the program did not start");
    result->exit_code = strstr(result->message, "not found") ||
                                strstr(result->message, "no such file") ||
                                strstr(result->message, "no such program")
                            ? NOT_FOUND
                            : NOT_RUN;
}

static void
await_tool(struct syn_exec *exec)
{
    int status = syn_child_wait(exec->tool);

    exec->waited = true;
    exec->result.started = program_pid(exec) > 0;
    if (WIFEXITED(status))
        exec->result.exit_code = WEXITSTATUS(status);
    else
        exec->result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 255;
    if (!exec->result.started)
        explain_unstarted(exec, &exec->result);
}

void
syn_exec_result(struct syn_exec *exec, struct syn_exec_result *ret)
{
    if (!exec->waited)
        await_tool(exec);
    *ret = exec->result;
}

/* The program first, whose end is the tool's; the tool itself where that does not help. A tool that
 * is killed before it has told the pid leaves a program that runs, or will, and nobody can find. */
static void
end_tool(struct syn_exec *exec)
{
    struct pollfd ended = {.fd = exec->fd, .events = POLLIN};

    (void)await_begin(exec, BEGIN_END_MS);
    for (int i = 0; i < KILL_TRIES && !tool_ended(exec); i++) {
        (void)!syn_exec_signal(exec, SIGKILL, NULL);
        (void)poll(&ended, 1, KILL_PAUSE_MS);
    }
    (void)syscall(SYS_pidfd_send_signal, exec->fd, SIGKILL, NULL, 0);
}

struct syn_exec *
syn_exec_free(struct syn_exec *exec)
{
    if (!exec)
        return NULL;
    if (!exec->waited) {
        if (exec->fd >= 0)
            end_tool(exec);
        else
            (void)kill(exec->tool, SIGKILL); /* not reaped: still ours */
        (void)syn_child_wait(exec->tool);
    }
    if (exec->dir >= 0) {
        (void)unlinkat(exec->dir, exec->pid_file, 0);
        (void)unlinkat(exec->dir, exec->log_file, 0);
        (void)close(exec->dir);
    }
    if (exec->fd >= 0)
        (void)close(exec->fd);
    syn_free(exec);
    return NULL;
}

void
syn_exec_free_scope(struct syn_exec **slot)
{
    *slot = syn_exec_free(*slot);
}

/* --- what a killed process left -----------------------------------------------------------------
 */

/* A process of the instance? Its pid may mean another one by now. */
static bool
is_inside(const struct syn_instance *instance, pid_t pid)
{
    SYN_BUF(text);
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    return syn_file_read(AT_FDCWD, path, 16384, &text, NULL) == SYN_OK &&
           strstr(syn_buf_text(&text), instance->plan.cgroup) != NULL;
}

static void
end_left(const struct syn_instance *instance, const char *pid_file)
{
    struct syn_exec left = {.dir = instance->dir, .waited = true};
    pid_t pid;

    (void)syn_str_copy(left.pid_file, sizeof(left.pid_file), pid_file);
    pid = program_pid(&left);
    if (pid <= 0)
        return;
    if (instance->plan.gvisor) {
        (void)syn_str_copy(left.tool_path, sizeof(left.tool_path), instance->plan.tool);
        (void)syn_str_copy(left.name, sizeof(left.name), instance->plan.name);
        if (syn_path_format(left.root, sizeof(left.root), NULL, "%s/" SYN_DIR_TOOL,
                            instance->dir_path) == SYN_OK)
            (void)!kill_inside(&left, pid, SIGKILL, NULL);
    } else if (is_inside(instance, pid)) {
        (void)kill(pid, SIGKILL);
    }
}

void
syn_exec_sweep(struct syn_instance *instance)
{
    char ours[32];
    const struct dirent *entry;
    DIR *dir;
    int fd = openat(instance->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    (void)snprintf(ours, sizeof(ours), "exec-%d-", (int)getpid());
    while ((entry = readdir(dir)) != NULL) {
        if (!syn_str_starts(entry->d_name, "exec-") || syn_str_starts(entry->d_name, ours))
            continue;
        if (syn_str_ends(entry->d_name, ".pid"))
            end_left(instance, entry->d_name);
        (void)unlinkat(instance->dir, entry->d_name, 0);
    }
    (void)closedir(dir);
}

/* --- questions -------------------------------------------------------------------------------- */

/* What there is to read, kept as far as there is room. False at the end. */
static bool
take_words(int fd, size_t room, struct syn_buf *out)
{
    char chunk[16384];
    ssize_t got = read(fd, chunk, sizeof(chunk));

    if (got > 0)
        syn_buf_add(out, chunk, SYN_MIN((size_t)got, room > out->len ? room - out->len : 0));
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Until the program has ended. Who it left behind may hold its output open: nobody waits for that.
 */
static int
listen(struct syn_exec *exec, int fd, int64_t deadline_ms, size_t room, struct syn_buf *out)
{
    struct pollfd fds[] = {{.fd = syn_exec_fd(exec), .events = POLLIN},
                           {.fd = fd, .events = POLLIN}};
    int64_t left;

    while ((left = deadline_ms - syn_mono_ms(syn_world_system())) > 0) {
        if (poll(fds, SYN_LEN(fds), (int)SYN_MIN(left, (int64_t)60000)) <= 0)
            continue;
        if (fds[1].revents != 0 && take_words(fd, room, out))
            continue;
        if (fds[1].revents != 0)
            fds[1].fd = -1;
        if (fds[0].revents != 0)
            return SYN_OK;
    }
    return SYN_E_TIMEOUT;
}

int
syn_exec_ask(const struct syn_runtime *runtime, struct syn_instance *instance,
             const struct syn_exec_question *question, struct syn_buf *out,
             struct syn_exec_result *ret, struct syn_err *err)
{
    SYN_SCOPED(syn_exec_free_scope) struct syn_exec *exec = NULL;
    struct syn_exec_spec spec = question->spec;
    int64_t deadline_ms = syn_mono_ms(syn_world_system()) + question->limit_ms;
    SYN_FD(ours);
    int fds[2], rc;

    if (!runtime->ops->exec)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this runtime runs no programs within instances");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making a pipe");
    ours = fds[0];
    (void)fcntl(ours, F_SETFL, O_NONBLOCK);
    spec.terminal = NULL;
    spec.in = SYN_EXEC_NULL;
    spec.out = spec.err = fds[1];
    rc = runtime->ops->exec(runtime->self, instance, &spec, &exec, err);
    (void)close(fds[1]);
    if (rc < 0)
        return rc;
    if (listen(exec, ours, deadline_ms, out->len + question->bytes_max, out) < 0)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "%s did not end within %lld ms", spec.argv[0],
                        (long long)question->limit_ms);
    syn_exec_result(exec, ret);
    return syn_buf_ok(out, err);
}
