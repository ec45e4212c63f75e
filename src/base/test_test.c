/* The sweep is what other tests trust, so it must find what it looks for. Each wrong scenario runs
 * in a child, because the sweep ends its test when it finds something. */
#include <synor/base/test.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int
good(void *arg, struct syn_err *err)
{
    for (int i = 0; i < *(int *)arg; i++) {
        SYN_SCOPED(syn_free_scope) void *block = syn_alloc(8);

        if (block == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for block %d", i);
    }
    return 0;
}

/* Does without its first block. */
static int
content(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) void *cache = syn_alloc(8);
    int one = 1;

    (void)arg;
    (void)cache;
    return good(&one, err);
}

static int
leaky(void *arg, struct syn_err *err)
{
    void *first = syn_alloc(8);
    void *second = syn_alloc(8);

    (void)arg;
    if (first == NULL || second == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory"); /* forgets the other one */
    syn_free(first);
    syn_free(second);
    return 0;
}

static int
wrong_code(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) void *block = syn_alloc(8);

    (void)arg;
    return block == NULL ? SYN_FAIL(err, SYN_E_IO, "no memory") : 0;
}

static int
silent(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) void *block = syn_alloc(8);

    (void)arg;
    (void)err;
    return block == NULL ? SYN_E_NOMEM : 0;
}

static int
broken(void *arg, struct syn_err *err)
{
    (void)arg;
    return SYN_FAIL(err, SYN_E_CONFLICT, "fails with memory enough");
}

static int (*scenario_now)(void *arg, struct syn_err *err);

static void
sweep_now(void **state)
{
    (void)state;
    (void)syn_test_sweep_alloc(scenario_now, NULL);
}

/* How many of one test failed, in a child that says nothing. */
static int
failures_of(int (*scenario)(void *arg, struct syn_err *err))
{
    int status;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(sweep_now)};
        int nowhere = open("/dev/null", O_WRONLY);

        scenario_now = scenario;
        if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0 || dup2(nowhere, STDERR_FILENO) < 0)
            _exit(99);
        _exit(cmocka_run_group_tests(tests, NULL, NULL));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
test_sweep_counts(void **state)
{
    int blocks = 5;
    int none = 0;

    (void)state;
    assert_int_equal(syn_test_sweep_alloc(good, &blocks), 5);
    assert_int_equal(syn_test_sweep_alloc(good, &none), 0);
    assert_int_equal(syn_test_sweep_alloc(content, NULL), 2);
}

static void
test_sweep_finds_mistakes(void **state)
{
    (void)state;
    assert_int_equal(failures_of(content), 0);
    assert_int_equal(failures_of(leaky), 1);
    assert_int_equal(failures_of(wrong_code), 1);
    assert_int_equal(failures_of(silent), 1);
    assert_int_equal(failures_of(broken), 1);
}

static void
test_random(void **state)
{
    uint64_t a = 7;
    uint64_t b = 7;
    uint64_t zero = 0;
    unsigned ones = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t draw = syn_test_random(&a);

        assert_true(draw == syn_test_random(&b));
        ones += (unsigned)__builtin_popcountll(draw);
    }
    assert_in_range(ones, 31000, 33000);
    assert_true(syn_test_random(&zero) != 0 && zero != 0);
}

static void
test_folder_outlives_children(void **state)
{
    const char *dir = syn_test_dir();
    struct stat st;
    pid_t child;
    int status;

    (void)state;
    assert_ptr_equal(syn_test_dir(), dir);
    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        exit(0); /* runs what is registered for the end, unlike _exit() */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(stat(dir, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep_counts),
        cmocka_unit_test(test_sweep_finds_mistakes),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_folder_outlives_children),
    };

    return cmocka_run_group_tests_name("test", tests, NULL, NULL);
}
