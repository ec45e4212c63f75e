/* Which of our children are ours.
 *
 *   spawn        spawning++ | posix_spawn | spawning--, write the pid down
 *   reap         nobody is spawning?  peek at who has ended;  not written down: reap it, peek again
 *
 * The pid of a child is not known before it exists, and it may end before it is written down: so
 * nobody reaps while somebody spawns, and who is the last to spawn makes up for that. Spawners do
 * not wait for each other, since a start of a program takes a millisecond. The peek (WNOWAIT) shows
 * one ended child at a time; when that one is written down, the thread that waits for it takes it
 * in a moment and goes on from there.
 *
 * Refused: telling orphans by their session or process group (a child of ours may change both, an
 * orphan may keep ours); by the signal of their end (exec resets it); by reading /proc (a pid may
 * change hands between the look and the deed). */
#include <synor/base/child.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/world.h>

#define PASSED_FD   3
#define POLL_MAX_MS 60000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t known[SYN_CHILDREN_MAX];
static unsigned known_count;
static unsigned spawning;
static bool missed; /* somebody wanted to reap and could not, or not all */

/* --- who is ours ------------------------------------------------------------------------------ */

static unsigned
find(pid_t pid)
{
    unsigned i = 0;

    while (i < known_count && known[i] != pid)
        i++;
    return i;
}

static unsigned
reap_locked(void)
{
    unsigned count = 0;

    missed = spawning > 0;
    while (!missed) {
        siginfo_t ended = {.si_pid = 0};

        if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid == 0)
            break;
        missed = find(ended.si_pid) < known_count;
        if (!missed && waitpid(ended.si_pid, NULL, WNOHANG) == ended.si_pid)
            count++;
    }
    return count;
}

unsigned
syn_child_reap_orphans(void)
{
    unsigned count;

    (void)pthread_mutex_lock(&lock);
    count = reap_locked();
    (void)pthread_mutex_unlock(&lock);
    return count;
}

void
syn_child_forget(pid_t pid)
{
    unsigned at;

    (void)pthread_mutex_lock(&lock);
    at = find(pid);
    if (at < known_count)
        known[at] = known[--known_count];
    if (missed)
        (void)reap_locked();
    (void)pthread_mutex_unlock(&lock);
}

/* A place for one more; false when there is none. */
static bool
spawn_begins(void)
{
    bool room;

    (void)pthread_mutex_lock(&lock);
    room = known_count + spawning < SYN_CHILDREN_MAX;
    spawning += room;
    (void)pthread_mutex_unlock(&lock);
    return room;
}

static void
spawn_ends(pid_t pid)
{
    (void)pthread_mutex_lock(&lock);
    assert(spawning > 0 && known_count < SYN_CHILDREN_MAX);
    spawning--;
    if (pid > 0)
        known[known_count++] = pid;
    if (missed)
        (void)reap_locked();
    (void)pthread_mutex_unlock(&lock);
}

/* --- starting --------------------------------------------------------------------------------- */

/* Returns 0 or an errno. Lower descriptors are made first: what is moved to them lies above. */
static int
fill_actions(posix_spawn_file_actions_t *actions, const struct syn_child_options *options)
{
    const int given[] = {options->in, options->out, options->err};
    int rc = 0;

    /* A new session is begun before any of this: it is opened as its controlling terminal. */
    if (options->terminal)
        rc = posix_spawn_file_actions_addopen(actions, 0, options->terminal, O_RDWR, 0);
    for (int i = 1; rc == 0 && options->terminal && i < PASSED_FD; i++)
        rc = posix_spawn_file_actions_adddup2(actions, 0, i);
    for (int i = 0; rc == 0 && !options->terminal && i < PASSED_FD; i++) {
        rc = given[i] == SYN_CHILD_NULL
                 ? posix_spawn_file_actions_addopen(actions, i, "/dev/null", O_RDWR, 0)
                 : posix_spawn_file_actions_adddup2(actions, given[i], i);
    }
    if (rc == 0 && options->passed != SYN_CHILD_NULL)
        rc = posix_spawn_file_actions_adddup2(actions, options->passed, PASSED_FD);
    /* Everything of ours is close-on-exec; a library's descriptors may not be. */
    if (rc == 0 && !options->by_descriptor)
        rc = posix_spawn_file_actions_addclosefrom_np(
            actions, options->passed != SYN_CHILD_NULL ? PASSED_FD + 1 : PASSED_FD);
    return rc;
}

static int
fill_signals(posix_spawnattr_t *attr, bool session)
{
    const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, all;
    int rc;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attr, (short)(session ? flags | POSIX_SPAWN_SETSID : flags));
    return rc;
}

/* Returns 0 or an errno. */
static int
spawn(const char *program, const struct syn_child_options *options, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = fill_actions(&actions, options);
        if (rc == 0)
            rc = fill_signals(&attr, options->terminal != NULL);
        if (rc == 0)
            rc = posix_spawn(ret_pid, program, &actions, &attr,
                             (char *const *)(uintptr_t)options->argv,
                             (char *const *)(uintptr_t)options->env);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int
syn_child_spawn(const char *program, const struct syn_child_options *options, pid_t *ret_pid,
                struct syn_err *err)
{
    pid_t pid = 0;
    int rc;

    if (!spawn_begins())
        return SYN_FAIL(err, SYN_E_LIMIT, "starting %s: this process has %d children", program,
                        SYN_CHILDREN_MAX);
    rc = spawn(program, options, &pid);
    spawn_ends(rc == 0 ? pid : 0);
    if (rc != 0)
        return SYN_FAIL_SYS(err, rc, "starting %s", program);
    *ret_pid = pid;
    return SYN_OK;
}

int
syn_child_wait(pid_t pid)
{
    int status = SYN_CHILD_UNKNOWN;
    pid_t got;

    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    syn_child_forget(pid);
    return got == pid ? status : SYN_CHILD_UNKNOWN;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Wait until there is something to read, at most until `deadline_ms`. */
static bool
readable(int fd, int64_t deadline_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int64_t left;

    while ((left = deadline_ms - syn_mono_ms(syn_world_system())) > 0) {
        if (poll(&ready, 1, (int)SYN_MIN(left, POLL_MAX_MS)) > 0)
            return true;
    }
    return false;
}

/* All that comes out of `fd` until its other side is closed. */
static int
read_all(int fd, int64_t deadline_ms, size_t max, struct syn_buf *out, struct syn_err *err)
{
    size_t end = out->len + max;

    while (readable(fd, deadline_ms)) {
        char chunk[4096];
        ssize_t got = read(fd, chunk, sizeof(chunk));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "reading what it prints");
        if (got == 0)
            return syn_buf_ok(out, err);
        if ((size_t)got > end - out->len)
            return SYN_FAIL(err, SYN_E_TOOBIG, "it prints more than %zu bytes", max);
        syn_buf_add(out, chunk, (size_t)got);
    }
    return SYN_FAIL(err, SYN_E_TIMEOUT, "it prints for too long");
}

/* Wait for the end as well: who closed its output may go on. */
static int
await_end(pid_t pid, int64_t deadline_ms, struct syn_err *err)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool ended;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening a descriptor of it");
    ended = readable(fd, deadline_ms);
    (void)close(fd);
    return ended ? SYN_OK : SYN_FAIL(err, SYN_E_TIMEOUT, "it does not end");
}

/* Something to read that holds `text` and then ends. */
static int
make_input(const char *text, int *ret_fd, struct syn_err *err)
{
    size_t len = strlen(text);
    ssize_t put;
    int fds[2];

    if (len > SYN_CHILD_INPUT_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the input has more than %d bytes", SYN_CHILD_INPUT_MAX);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making a pipe");
    put = write(fds[1], text, len);
    (void)close(fds[1]);
    if (put != (ssize_t)len) {
        (void)close(fds[0]);
        return SYN_FAIL(err, SYN_E_IO, "a pipe does not take the input");
    }
    *ret_fd = fds[0];
    return SYN_OK;
}

int
syn_child_ask(const struct syn_child_question *question, struct syn_buf *out, int *ret_status,
              struct syn_err *err)
{
    int64_t deadline_ms = syn_mono_ms(syn_world_system()) + question->limit_ms;
    struct syn_child_options options = {.argv = question->argv,
                                        .env = question->env,
                                        .in = SYN_CHILD_NULL,
                                        .err = SYN_CHILD_NULL,
                                        .passed = SYN_CHILD_NULL};
    int fds[2], rc = SYN_OK, status;
    pid_t pid = 0;

    if (question->input != NULL)
        rc = make_input(question->input, &options.in, err);
    if (rc < 0)
        return rc;
    if (pipe2(fds, O_CLOEXEC) < 0) {
        rc = SYN_FAIL_SYS(err, errno, "making a pipe");
        if (options.in >= 0)
            (void)close(options.in);
        return rc;
    }
    options.out = fds[1];
    if (question->errors_too)
        options.err = fds[1];
    rc = syn_child_spawn(question->program, &options, &pid, err);
    (void)close(fds[1]);
    if (options.in >= 0)
        (void)close(options.in);
    if (rc == SYN_OK) {
        rc = read_all(fds[0], deadline_ms, question->bytes_max, out, err);
        if (rc == SYN_OK)
            rc = await_end(pid, deadline_ms, err);
        (void)kill(pid, SIGKILL); /* nothing happens to one that has ended: it is not reaped yet */
        status = syn_child_wait(pid);
        if (rc == SYN_OK)
            *ret_status = status;
        else
            (void)syn_err_wrap(err, rc, "asking %s", question->program);
    }
    (void)close(fds[0]);
    return rc;
}
