/* That a stress which hangs or dies says where and with what seed: this program runs itself. */
#include "stress_suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 65536

static const char *self;

/* ---- how it may end ---- */

static void *
sleep_for_ever(void *unused)
{
    for (;;)
        (void)pause();
    return unused;
}

static void *
crash(void *unused)
{
    (void)raise(SIGSEGV);
    return unused;
}

static void
start(void *(*run)(void *unused))
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    assert_int_equal(pthread_detach(thread), 0);
}

static void
round_hang(uint64_t seed)
{
    (void)seed;
    for (unsigned i = 0; i < 3; i++)
        start(sleep_for_ever);
    (void)sleep_for_ever(NULL);
}

static void
round_crash(uint64_t seed)
{
    (void)seed;
    start(crash);
    (void)sleep_for_ever(NULL);
}

static void
round_abort(uint64_t seed)
{
    assert(seed == 0);
}

static void
round_end(uint64_t seed)
{
    assert_int_not_equal(seed, 0);
}

static const struct syn_stress_case endings[] = {
    {"hang", round_hang}, {"crash", round_crash}, {"abort", round_abort}, {"end", round_end}};

/* ---- what it says then ---- */

/* Standard error of this program when it ends so; how it was waited for. */
static int
run_ending(const char *ending, char *ret_output)
{
    char *const argv[] = {(char *)(uintptr_t)self, (char *)(uintptr_t)ending, NULL};
    posix_spawn_file_actions_t actions;
    size_t length = 0;
    ssize_t got = 0;
    int ends[2], status = 0;
    pid_t pid = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    while (length < OUTPUT_MAX - 1 &&
           (got = read(ends[0], ret_output + length, OUTPUT_MAX - 1 - length)) > 0)
        length += (size_t)got;
    ret_output[length] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
check_says(const char *output, const char *what)
{
    if (strstr(output, what) == NULL)
        fail_msg("it does not say \"%s\": %s", what, output);
}

static void
test_last_words(void **unused)
{
    static char output[OUTPUT_MAX];
    int status;

    (void)unused;
    status = run_ending("hang", output);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    check_says(output, "# it hangs\n");
    check_says(output, "# hang, round 0: SYNOR_TEST_SEED=");
#if !defined(__SANITIZE_THREAD__) /* which keeps signals back from a thread that sleeps */
    check_says(output, "# 3 threads:");
    check_says(output, "# 1 thread:");
    check_says(output, " stress_suite_test+0x");
#endif
    status = run_ending("abort", output);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    check_says(output, "# 1 thread:");
    check_says(output, "# abort, round 0: SYNOR_TEST_SEED=");
    status = run_ending("end", output);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    status = run_ending("crash", output);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    check_says(output, "# 1 thread:");
    check_says(output, "# crash, round 0: SYNOR_TEST_SEED=");
#endif
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_last_words)};

    self = argv[0];
    for (size_t i = 0; argc > 1 && i < SYN_LEN(endings); i++) {
        if (strcmp(argv[1], endings[i].name) == 0) {
            (void)setenv("SYNOR_STRESS_ROUND_SECONDS", "1", 1);
            (void)setenv("SYNOR_STRESS_SECONDS", "0", 1);
            return syn_stress_run("endings", &endings[i], 1);
        }
    }
    return cmocka_run_group_tests_name("stress-suite", tests, NULL, NULL);
}
