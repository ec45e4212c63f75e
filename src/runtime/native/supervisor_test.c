#include "supervisor_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/test.h>

#include "file_priv.h"

/* A shell in the supervisor's place: its "instance folder" is a script. */
static const char *
make_script(void)
{
    static char path[SYN_PATH_MAX];
    static const char script[] = "echo \"$0 ${1-} is on its own\" >&3\n";
    struct syn_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/script", syn_test_dir());
    assert_done(syn_file_write(AT_FDCWD, path, script, sizeof(script) - 1, &err), &err);
    return path;
}

/* What a supervisor that is started like this says. */
static void
assert_says(const struct syn_supervisor *supervisor, const char *want)
{
    char word[SYN_PATH_MAX + 64] = "";
    struct syn_err err = {0};
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_done(syn_supervisor_spawn(supervisor, make_script(), fds[1], &err), &err);
    (void)close(fds[1]);
    assert_true(read(fds[0], word, sizeof(word) - 1) > 0);
    (void)close(fds[0]);
    assert_string_equal(word, want);
}

static void
image_is_executed_from_memory(void **state)
{
    static const char *const never[] = {"/no/such/command", NULL};
    struct syn_supervisor supervisor;
    struct syn_err err = {0};
    char want[SYN_PATH_MAX + 64];
    SYN_BUF(shell);

    (void)state;
    assert_done(syn_file_read(AT_FDCWD, "/bin/sh", (size_t)16 << 20, &shell, &err), &err);
    assert_done(syn_supervisor_init(&supervisor, shell.data, shell.len, never, &err), &err);
    if (supervisor.image < 0) {
        print_message("skipped: this kernel executes nothing from memory\n");
        syn_supervisor_fini(&supervisor);
        skip();
    }
    (void)snprintf(want, sizeof(want), "%s  is on its own\n", make_script());
    assert_says(&supervisor, want);
    assert_says(&supervisor, want); /* as often as one likes */
    assert_true(supervisor.image >= 10);
    assert_true(fcntl(supervisor.image, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(supervisor.image, "x", 1), -1); /* nobody changes it any more */
    assert_int_equal(ftruncate(supervisor.image, 0), -1);
    syn_supervisor_fini(&supervisor);
}

static void
command_stands_in(void **state)
{
    static const char *const command[] = {"/bin/sh", "-e", NULL};
    static const char garbage[] = "this is no program";
    const char *const images[] = {NULL, garbage};
    char want[SYN_PATH_MAX + 64];

    (void)state;
    (void)snprintf(want, sizeof(want), "%s  is on its own\n", make_script());
    for (size_t i = 0; i < SYN_LEN(images); i++) {
        struct syn_supervisor supervisor;
        struct syn_err err = {0};

        assert_done(syn_supervisor_init(&supervisor, images[i], images[i] ? sizeof(garbage) : 0,
                                        command, &err),
                    &err);
        assert_says(&supervisor, want);
        syn_supervisor_fini(&supervisor);
    }
}

static void
commands_are_bounded(void **state)
{
    static const char *const none[] = {"/no/such/command", NULL};
    static const char *const many[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", NULL};
    struct syn_supervisor supervisor;
    struct syn_err err = {0};

    (void)state;
    assert_code(syn_supervisor_init(&supervisor, NULL, 0, many, &err), SYN_E_INVALID, &err);
    syn_supervisor_fini(&supervisor);
    assert_done(syn_supervisor_init(&supervisor, NULL, 0, none, &err), &err);
    assert_true(syn_supervisor_spawn(&supervisor, "/", 0, &err) < 0);
    assert_non_null(strstr(err.msg, "/no/such/command"));
    syn_supervisor_fini(&supervisor);
}

static int
init_scenario(void *arg, struct syn_err *err)
{
    struct syn_supervisor supervisor;
    int rc = syn_supervisor_init(&supervisor, "image", 5, arg, err);

    syn_supervisor_fini(&supervisor);
    return rc;
}

static void
init_survives_short_memory(void **state)
{
    static const char *const command[] = {"/bin/sh", "-e", NULL};

    (void)state;
    assert_true(syn_test_sweep_alloc(init_scenario, (void *)(uintptr_t)command) >= 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_is_executed_from_memory),
        cmocka_unit_test(command_stands_in),
        cmocka_unit_test(commands_are_bounded),
        cmocka_unit_test(init_survives_short_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
