/* The drivers' suite: programs run within a running instance. */
#include "suite_run_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/runtime/exec.h>

#define LIMIT_MS    30000
#define WORDS_MAX   ((size_t)65536)
#define STREAM_SIZE ((size_t)2 << 20)

/* An instance that waits to be asked. */
static void
begin(struct syn_run *run)
{
    static const char *const argv[] = {"/bin/sleep", "600", NULL};
    static const char *const env[] = {"FOO=ours", "BAR=kept", NULL};
    struct syn_instance_spec spec = {
        .argv = argv, .env = env, .cwd = "/synor/output", .uid = 1234, .gid = 4321};

    syn_run_start(run, &spec);
}

static void
finish(struct syn_run *run)
{
    struct syn_err err = {0};

    assert_done(CALL(stop, run->instance, 0, &err), &err);
    syn_run_await(run);
    syn_run_end(run);
}

static int
ask(struct syn_run *run, const char *script, int64_t limit_ms, struct syn_buf *out,
    struct syn_exec_result *result, struct syn_err *err)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const env[] = {"FOO=theirs", NULL};
    const struct syn_exec_question question = {
        .spec = {.argv = argv, .env = env}, .limit_ms = limit_ms, .bytes_max = WORDS_MAX};

    return syn_exec_ask(&syn_suite->runtime, run->instance, &question, out, result, err);
}

/* What it has is what the instance has. */
void
syn_suite_exec_is_within(void **state)
{
    static const char *const none[] = {"/no/such/program", NULL};
    const struct syn_exec_question missing = {
        .spec = {.argv = none}, .limit_ms = LIMIT_MS, .bytes_max = WORDS_MAX};
    struct syn_exec_result result = {0};
    struct syn_err err = {0};
    SYN_BUF(out);
    SYN_BUF(words);
    struct syn_run run;

    (void)state;
    begin(&run);
    assert_done(
        ask(&run,
            "id -u; id -g; echo $FOO $BAR; pwd; hostname; "
            "grep -E '^(CapEff|CapBnd|CapPrm)' /proc/self/status | "
            "grep -v 0000000000000000; "
            "touch /usr/x /etc/x 2>/dev/null && echo WROTE; "
            "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | grep -w 0 | grep -v gvisor;"
            "grep -F .. /proc/self/cgroup; echo err >&2; exit 7",
            LIMIT_MS, &out, &result, &err),
        &err);
    if (!result.started || result.exit_code != 7)
        fail_msg("%d: %s\n%s", result.exit_code, result.message, syn_buf_text(&out));
    syn_buf_adds(&words, "1234\n4321\ntheirs kept\n/synor/output\n");
    syn_buf_adds(&words, run.id);
    syn_buf_adds(&words, "\n");
    if (syn_suite->kernel_shared) /* gVisor's own kernel enforces both and tells of neither */
        assert_int_equal(strncmp(syn_buf_text(&out), syn_buf_text(&words), words.len), 0);
    syn_buf_adds(&words, "err\n");
    if (syn_suite->kernel_shared)
        assert_string_equal(syn_buf_text(&out), syn_buf_text(&words));
    syn_suite_assert_has(syn_buf_text(&out), "1234\n4321\ntheirs kept\n/synor/output\n");
    syn_suite_assert_has_not(syn_buf_text(&out), "WROTE");

    assert_done(syn_exec_ask(&syn_suite->runtime, run.instance, &missing, &out, &result, &err),
                &err);
    assert_false(result.started);
    assert_int_equal(result.exit_code, 127);
    syn_suite_assert_has(result.message, "/no/such/program");
    finish(&run);
}

struct feeder {
    int fd;
    const char *data;
};

static void *
feed(void *arg)
{
    const struct feeder *feeder = arg;
    size_t sent = 0;

    while (sent < STREAM_SIZE) {
        ssize_t n = write(feeder->fd, feeder->data + sent, STREAM_SIZE - sent);

        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    (void)close(feeder->fd);
    return NULL;
}

static void
read_all(int fd, struct syn_buf *out)
{
    ssize_t got;

    do {
        char *room = syn_buf_reserve(out, 65536);

        assert_non_null(room);
        got = read(fd, room, 65536);
        out->len += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    (void)close(fd);
}

void
syn_suite_exec_keeps_streams_apart(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c", "cat; echo done >&2; exit 3", NULL};
    int in[2], out[2], errors[2];
    struct syn_exec_spec spec = {.argv = argv};
    struct syn_exec_result result = {0};
    struct syn_exec *exec = NULL;
    struct feeder feeder;
    struct syn_err err = {0};
    pthread_t thread;
    char *data = syn_alloc(STREAM_SIZE);
    SYN_BUF(got);
    SYN_BUF(told);
    struct syn_run run;

    (void)state;
    assert_non_null(data);
    (void)signal(SIGPIPE, SIG_IGN); /* of a program that dies early */
    for (size_t i = 0; i < STREAM_SIZE; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    begin(&run);
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(errors, O_CLOEXEC), 0);
    spec.in = in[0];
    spec.out = out[1];
    spec.err = errors[1];
    assert_done(CALL(exec, run.instance, &spec, &exec, &err), &err);
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(errors[1]);
    feeder = (struct feeder){in[1], data};
    assert_int_equal(pthread_create(&thread, NULL, feed, &feeder), 0);
    read_all(out[0], &got);
    read_all(errors[0], &told);
    assert_int_equal(pthread_join(thread, NULL), 0);
    syn_exec_result(exec, &result);
    assert_true(result.started);
    assert_int_equal(result.exit_code, 3);
    assert_int_equal(got.len, STREAM_SIZE);
    assert_memory_equal(got.data, data, STREAM_SIZE);
    syn_buf_adds(&told, "");
    assert_string_equal(syn_buf_text(&told), "done\n");
    exec = syn_exec_free(exec);
    syn_free(data);
    finish(&run);
}

/* Read from the terminal until `part` has come. */
static void
expect(int fd, struct syn_buf *seen, const char *part)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    while (!strstr(syn_buf_text(seen), part)) {
        char chunk[4096];
        ssize_t got;

        if (poll(&ready, 1, LIMIT_MS) != 1 || (got = read(fd, chunk, sizeof(chunk))) <= 0)
            fail_msg("\"%s\" did not come: \"%s\"", part, syn_buf_text(seen));
        else
            syn_buf_add(seen, chunk, (size_t)got);
        syn_buf_adds(seen, "");
    }
}

static int
open_terminal(char *path, size_t cap)
{
    const struct winsize size = {.ws_row = 33, .ws_col = 77};
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(grantpt(fd) | unlockpt(fd) | ptsname_r(fd, path, cap), 0);
    assert_int_equal(ioctl(fd, TIOCSWINSZ, &size), 0);
    return fd;
}

static void
await_exec(struct syn_exec *exec)
{
    struct pollfd ended = {.fd = syn_exec_fd(exec), .events = POLLIN};

    if (poll(&ended, 1, LIMIT_MS) != 1)
        fail_msg("the program goes on");
}

void
syn_suite_exec_has_a_terminal(void **state)
{
    static const char *const argv[] = {
        "/bin/sh", "-c",
        "test -t 0 && test -t 1 && test -t 2 && echo terminal; "
        /* A tool tells the size once it has started the program, which may be there first. A trap
         * that is sprung ends a `read`. */
        "while [ \"$(stty size)\" = '0 0' ]; do sleep 0.1; done; stty size; read x; echo got-$x; "
        "trap 'stty size' WINCH; trap 'echo INTERRUPTED' INT; "
        "echo trapped; while :; do sleep 0.1; done",
        NULL};
    const struct winsize wider = {.ws_row = 44, .ws_col = 99};
    char path[64];
    struct syn_exec_spec spec = {.argv = argv, .terminal = path};
    struct syn_exec *exec = NULL;
    struct syn_err err = {0};
    SYN_BUF(seen);
    struct syn_run run;
    int fd;

    (void)state;
    begin(&run);
    fd = open_terminal(path, sizeof(path));
    assert_done(CALL(exec, run.instance, &spec, &exec, &err), &err);
    expect(fd, &seen, "terminal");
    expect(fd, &seen, "33 77");
    assert_int_equal(write(fd, "word\n", 5), 5);
    expect(fd, &seen, "got-word");
    expect(fd, &seen, "trapped");
    assert_int_equal(ioctl(fd, TIOCSWINSZ, &wider), 0);
    syn_exec_resized(exec);
    expect(fd, &seen, "44 99");
    assert_int_equal(write(fd, "\003", 1), 1);
    expect(fd, &seen, "INTERRUPTED");
    (void)close(fd); /* hangs up */
    await_exec(exec);
    exec = syn_exec_free(exec);
    finish(&run);
}

/* By its time-out, by who started it, and with its instance. */
void
syn_suite_exec_is_ended(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c", "trap '' TERM HUP INT; exec sleep 600",
                                       NULL};
    struct syn_exec_spec spec = {
        .argv = argv, .in = SYN_EXEC_NULL, .out = SYN_EXEC_NULL, .err = SYN_EXEC_NULL};
    struct syn_exec_result result = {0};
    struct syn_exec *exec = NULL;
    struct syn_err err = {0};
    SYN_BUF(out);
    struct syn_run run;

    (void)state;
    begin(&run);
    assert_code(ask(&run, "echo begun; exec sleep 601", 1000, &out, &result, &err), SYN_E_TIMEOUT,
                &err);
    assert_done(CALL(exec, run.instance, &spec, &exec, &err), &err);
    exec = syn_exec_free(exec);
    out.len = 0;
    assert_done(ask(&run, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", LIMIT_MS, &out, &result, &err),
                &err);
    syn_suite_assert_has_not(syn_buf_text(&out), "sleep 601");
    syn_suite_assert_has_not(syn_buf_text(&out), "trap");

    assert_done(CALL(exec, run.instance, &spec, &exec, &err), &err);
    assert_done(CALL(stop, run.instance, 0, &err), &err);
    syn_run_await(&run);
    await_exec(exec);
    exec = syn_exec_free(exec);
    assert_code(CALL(exec, run.instance, &spec, &exec, &err), SYN_E_CONFLICT, &err);
    syn_run_end(&run);
}
