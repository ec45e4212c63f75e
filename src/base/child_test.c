#include <synor/base/child.h>
#include <synor/base/loop.h>
#include <synor/base/test.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>

#define LONG_MS 60000
#define BYTES   ((size_t)1 << 16)

static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};

/* A shell with that script; its standard error is ours. */
static pid_t
start(const char *script)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    const struct syn_child_options options = {.argv = argv,
                                              .env = env,
                                              .in = SYN_CHILD_NULL,
                                              .out = SYN_CHILD_NULL,
                                              .err = STDERR_FILENO,
                                              .passed = SYN_CHILD_NULL};
    struct syn_err err = {0};
    pid_t pid = 0;

    assert_done(syn_child_spawn("/bin/sh", &options, &pid, &err), &err);
    assert_true(pid > 0);
    return pid;
}

static int
ask_within(const char *script, int64_t limit_ms, size_t max, struct syn_buf *out, int *ret_status,
           struct syn_err *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    const struct syn_child_question question = {
        .program = "/bin/sh", .argv = argv, .env = env, .limit_ms = limit_ms, .bytes_max = max};

    return syn_child_ask(&question, out, ret_status, err);
}

static void
input_is_read(void **state)
{
    static char large[SYN_CHILD_INPUT_MAX + 2];
    const char *const argv[] = {"cat", NULL};
    struct syn_child_question question = {.program = "/bin/cat",
                                          .argv = argv,
                                          .env = env,
                                          .limit_ms = LONG_MS,
                                          .bytes_max = BYTES,
                                          .input = "a host\n"};
    struct syn_err err = {0};
    int status = -1;
    SYN_BUF(out);

    (void)state;
    assert_done(syn_child_ask(&question, &out, &status, &err), &err);
    assert_int_equal(status, 0);
    assert_string_equal(syn_buf_text(&out), "a host\n");
    /* Who does not read it does not stop us. */
    question.program = "/bin/true";
    assert_done(syn_child_ask(&question, &out, &status, &err), &err);
    memset(large, 'x', sizeof(large) - 1);
    question.input = large;
    assert_code(syn_child_ask(&question, &out, &status, &err), SYN_E_TOOBIG, &err);
}

/* Wait until `pid`, a child or an orphan of ours, has ended, and leave it a zombie. */
static void
await_zombie(pid_t pid)
{
    siginfo_t ended;

    assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT), 0);
}

static bool
has_children(void)
{
    siginfo_t ended;

    return waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void
assert_childless(void)
{
    assert_false(has_children());
}

/* --- starting --------------------------------------------------------------------------------- */

static void
status_is_told(void **state)
{
    int status = syn_child_wait(start("exit 7"));

    (void)state;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = syn_child_wait(start("kill -9 $$"));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(syn_child_wait(getpid()), SYN_CHILD_UNKNOWN);
    assert_childless();
}

static void
bad_programs_are_errors(void **state)
{
    static const struct {
        const char *program;
        int code;
    } rows[] = {{"/no/such/program", SYN_E_NOTFOUND}, {"/etc/passwd", SYN_E_FORBIDDEN}};
    const char *const argv[] = {"x", NULL};
    struct syn_child_options options = {.argv = argv,
                                        .env = env,
                                        .in = SYN_CHILD_NULL,
                                        .out = SYN_CHILD_NULL,
                                        .err = SYN_CHILD_NULL,
                                        .passed = SYN_CHILD_NULL};
    struct syn_err err = {0};
    pid_t pid = 77;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_code(syn_child_spawn(rows[i].program, &options, &pid, &err), rows[i].code, &err);
        assert_non_null(strstr(err.msg, rows[i].program));
    }
    options.out = 9999; /* no descriptor of ours */
    assert_true(syn_child_spawn("/bin/true", &options, &pid, &err) < 0);
    assert_int_equal(pid, 77);
    assert_childless();
}

static void
descriptors_are_those_that_are_given(void **state)
{
    const char *const argv[] = {
        "sh", "-c", "read word; echo out $word; echo err >&2; echo passed >&3; ls /proc/$$/fd",
        NULL};
    struct syn_child_options options = {.argv = argv, .env = env};
    int in[2], out[2], leaked;
    char text[256] = "";
    struct syn_err err = {0};
    pid_t pid;

    (void)state;
    leaked = fcntl(STDERR_FILENO, F_DUPFD, 20); /* as a library's: not close-on-exec */
    assert_true(leaked >= 20);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(write(in[1], "word\n", 5), 5);
    options.in = in[0];
    options.out = options.err = options.passed = out[1];
    assert_done(syn_child_spawn("/bin/sh", &options, &pid, &err), &err);
    assert_int_equal(syn_child_wait(pid), 0);
    assert_true(read(out[0], text, sizeof(text) - 1) > 0);
    assert_string_equal(text, "out word\nerr\npassed\n0\n1\n2\n3\n");
    for (int i = 0; i < 2; i++) {
        (void)close(in[i]);
        (void)close(out[i]);
    }
    (void)close(leaked);
}

static void
signals_are_as_new(void **state)
{
    SYN_BUF(out);
    struct syn_err err = {0};
    sigset_t blocked, before;
    const char *text;
    int status;

    (void)state;
    (void)sigfillset(&blocked);
    (void)pthread_sigmask(SIG_BLOCK, &blocked, &before);
    (void)signal(SIGPIPE, SIG_IGN);
    assert_done(ask_within("grep -E '^Sig(Blk|Ign):' /proc/self/status", LONG_MS, BYTES, &out,
                           &status, &err),
                &err);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    text = syn_buf_text(&out);
    assert_true(syn_str_starts(text, "SigBlk:\t0000000000000000\nSigIgn:\t"));
    /* 32 and 33 are libc's own, which nobody can ask it to change. */
    assert_string_equal(text + strlen(text) - 8, "0000000\n");
}

static void
children_are_limited(void **state)
{
    static pid_t pids[SYN_CHILDREN_MAX];
    const char *const argv[] = {"true", NULL};
    const struct syn_child_options options = {.argv = argv,
                                              .env = env,
                                              .in = SYN_CHILD_NULL,
                                              .out = SYN_CHILD_NULL,
                                              .err = SYN_CHILD_NULL,
                                              .passed = SYN_CHILD_NULL};
    struct syn_err err = {0};
    pid_t more;

    (void)state;
    for (int i = 0; i < SYN_CHILDREN_MAX; i++)
        assert_done(syn_child_spawn("/bin/true", &options, &pids[i], &err), &err);
    assert_code(syn_child_spawn("/bin/true", &options, &more, &err), SYN_E_LIMIT, &err);
    for (int i = 0; i < SYN_CHILDREN_MAX; i++)
        assert_int_equal(syn_child_wait(pids[i]), 0);
    assert_childless();
    assert_int_equal(syn_child_wait(start("exit 0")), 0); /* and there is room again */
}

/* --- asking ----------------------------------------------------------------------------------- */

static void
answers_are_bounded(void **state)
{
    static const struct {
        const char *script;
        int64_t limit_ms;
        size_t max;
        int code;
        int exit;
        const char *out;
    } rows[] = {
        {"echo hello", LONG_MS, 6, SYN_OK, 0, "hello\n"},
        {"echo some; exit 9", LONG_MS, 64, SYN_OK, 9, "some\n"},
        {"exit 0", LONG_MS, 0, SYN_OK, 0, ""},
        {"echo hello!", LONG_MS, 6, SYN_E_TOOBIG, 0, ""},
        {"exec cat /dev/zero", LONG_MS, BYTES, SYN_E_TOOBIG, 0, NULL},
        {"exec sleep 600", 100, BYTES, SYN_E_TIMEOUT, 0, ""},
        {"exec sleep 600 >&-", 100, BYTES, SYN_E_TIMEOUT, 0, ""}, /* said all, does not end */
        {"sleep 1 & exit 0", 100, BYTES, SYN_E_TIMEOUT, 0, ""},   /* a grandchild may still speak */
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        SYN_BUF(out);
        int status = -77;

        assert_code(ask_within(rows[i].script, rows[i].limit_ms, rows[i].max, &out, &status, &err),
                    rows[i].code, &err);
        if (rows[i].code == SYN_OK)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == rows[i].exit);
        else
            assert_int_equal(status, -77);
        if (rows[i].out != NULL)
            assert_string_equal(syn_buf_text(&out), rows[i].out);
    }
    while (waitpid(-1, NULL, 0) > 0) /* the grandchild */
        continue;
}

static int
ask_scenario(void *arg, struct syn_err *err)
{
    SYN_BUF(out);
    int status;

    return ask_within(arg, LONG_MS, BYTES, &out, &status, err);
}

static void
asking_survives_short_memory(void **state)
{
    static char script[] = "seq 1 5000";

    (void)state;
    assert_true(syn_test_sweep_alloc(ask_scenario, script) >= 1);
    assert_childless();
}

/* --- orphans ---------------------------------------------------------------------------------- */

/* Reap until `want` orphans are gone. */
static void
reap_orphans(unsigned want)
{
    unsigned reaped = 0;

    for (int i = 0; i < 12000 && reaped < want; i++) {
        reaped += syn_child_reap_orphans();
        (void)usleep(5000);
    }
    assert_int_equal(reaped, want);
}

static void
orphans_are_reaped(void **state)
{
    (void)state;
    assert_int_equal(syn_child_reap_orphans(), 0);
    assert_int_equal(syn_child_wait(start("(true &); (setsid true &); (true &); exit 0")), 0);
    reap_orphans(3);
    assert_childless();
}

/* A shell that leaves an orphan; the orphan's pid. */
static pid_t
leave_orphan(void)
{
    SYN_BUF(out);
    struct syn_err err = {0};
    uint64_t pid = 0;
    int status;

    assert_done(ask_within("sleep 60 >&- & echo -n $!", LONG_MS, 32, &out, &status, &err), &err);
    assert_done(syn_parse_u64(syn_buf_text(&out), 1, INT32_MAX, "pid", &pid, &err), &err);
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    return (pid_t)pid;
}

/* A child that ended and waits for its owner hides the orphans behind it; nothing more is needed
 * than that the owner comes. */
static void
own_children_are_left_alone(void **state)
{
    pid_t own = start("exit 42");
    int status;

    (void)state;
    await_zombie(own);
    await_zombie(leave_orphan());
    assert_int_equal(syn_child_reap_orphans(), 0);
    status = syn_child_wait(own);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_childless();
}

struct seen {
    int calls, status;
};

static void
on_child(void *arg, pid_t pid, int status)
{
    struct seen *seen = arg;

    (void)pid;
    seen->calls++;
    seen->status = status;
}

static void
loop_waits_for_its_own(void **state)
{
    struct syn_loop *loop = NULL;
    struct seen seen = {0};
    struct syn_err err = {0};
    pid_t pid = start("exit 5");

    (void)state;
    await_zombie(pid);
    assert_done(syn_loop_new(&loop, &err), &err);
    assert_done(syn_loop_child(loop, pid, on_child, &seen, NULL, &err), &err);
    assert_int_equal(syn_child_reap_orphans(), 0);
    while (seen.calls == 0)
        assert_done(syn_loop_turn(loop, LONG_MS, &err), &err);
    assert_int_equal(WEXITSTATUS(seen.status), 5);
    assert_null(syn_loop_free(loop));
}

#define THREADS     4
#define STARTS_EACH 40

static atomic_int running;

/* Starts children that leave an orphan each. Returns how many statuses were wrong. */
static void *
starter(void *arg)
{
    uintptr_t wrong = 0;

    (void)arg;
    for (int i = 0; i < STARTS_EACH; i++) {
        char script[64];
        int status;

        (void)snprintf(script, sizeof(script), "(true &); exit %d", i);
        status = syn_child_wait(start(script));
        wrong += !WIFEXITED(status) || WEXITSTATUS(status) != i;
    }
    atomic_fetch_sub(&running, 1);
    return (void *)wrong;
}

static void
reaping_meets_starting(void **state)
{
    pthread_t threads[THREADS];
    unsigned reaped = 0;
    void *wrong;

    (void)state;
    atomic_store(&running, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, starter, NULL), 0);
    while (atomic_load(&running) > 0)
        reaped += syn_child_reap_orphans();
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    for (int i = 0; i < 12000 && has_children(); i++) {
        reaped += syn_child_reap_orphans();
        (void)usleep(5000);
    }
    assert_childless();
    print_message("%u of %d orphans reaped from here\n", reaped, THREADS * STARTS_EACH);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_is_told),
        cmocka_unit_test(input_is_read),
        cmocka_unit_test(bad_programs_are_errors),
        cmocka_unit_test(descriptors_are_those_that_are_given),
        cmocka_unit_test(signals_are_as_new),
        cmocka_unit_test(children_are_limited),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(asking_survives_short_memory),
        cmocka_unit_test(orphans_are_reaped),
        cmocka_unit_test(own_children_are_left_alone),
        cmocka_unit_test(loop_waits_for_its_own),
        cmocka_unit_test(reaping_meets_starting),
    };

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
