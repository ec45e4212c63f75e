/* The keeper with programs that are none: what counts is how often they are started, and how they
 * are ended. And what a process that was confined can do no more. */
#include <synor/base/test.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/clock.h>

#include "../privilege_priv.h"
#include "function_priv.h"

static char program[300], mark[300], data_dir[300];

static void
write_program(const char *body)
{
    FILE *file = fopen(program, "we");

    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\necho \"$@\" >> %s\n%s\n", mark, body) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(program, 0700), 0);
    (void)unlink(mark);
}

static int
starts(void)
{
    FILE *file = fopen(mark, "re");
    int count = 0;
    int c;

    while (file != NULL && (c = fgetc(file)) != EOF)
        count += c == '\n';
    if (file != NULL)
        (void)fclose(file);
    return count;
}

static struct syn_function_keeper *
keep(struct syn_loop *loop)
{
    const struct syn_function_keeper_options options = {.loop = loop,
                                                        .program = program,
                                                        .data_dir = data_dir,
                                                        .server = "/server.sock",
                                                        .listen = "127.0.0.1:0"};
    struct syn_function_keeper *keeper = NULL;
    struct syn_err err;

    assert_done(syn_function_keeper_new(&options, &keeper, &err), &err);
    return keeper;
}

static void
set(void *arg)
{
    *(bool *)arg = true;
}

static void
test_again(void **state)
{
    struct syn_loop *loop = NULL;
    struct syn_function_keeper *keeper;
    char line[600], parent[100];
    struct syn_err err;
    FILE *file;

    (void)state;
    write_program("exit 3");
    assert_done(syn_loop_new(&loop, &err), &err);
    keeper = keep(loop);
    while (starts() < 3)
        assert_done(syn_loop_turn(loop, 1000, &err), &err);
    assert_null(syn_function_keeper_free(keeper));
    (void)syn_loop_free(loop);
    file = fopen(mark, "re");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    (void)fclose(file);
    assert_non_null(strstr(line, "function-gateway --data-dir "));
    (void)snprintf(parent, sizeof(parent),
                   "--server /server.sock --parent %d --listen 127.0.0.1:0\n", (int)getpid());
    assert_non_null(strstr(line, parent));
}

static void
test_stop(void **state)
{
    struct syn_loop *loop = NULL;
    struct syn_function_keeper *keeper;
    struct syn_err err;
    bool done = false;
    pid_t pid;

    (void)state;
    write_program("exec sleep 60");
    assert_done(syn_loop_new(&loop, &err), &err);
    keeper = keep(loop);
    pid = syn_function_keeper_pid(keeper);
    assert_true(pid > 0);
    while (starts() < 1)
        (void)usleep(1000);
    syn_function_keeper_stop(keeper, set, &done);
    while (!done)
        assert_done(syn_loop_turn(loop, 1000, &err), &err);
    assert_int_equal(syn_function_keeper_pid(keeper), 0);
    assert_int_equal(kill(pid, 0), -1);
    assert_null(syn_function_keeper_free(keeper));

    keeper = keep(loop); /* one that nobody asked to stop */
    pid = syn_function_keeper_pid(keeper);
    assert_null(syn_function_keeper_free(keeper));
    assert_int_equal(kill(pid, 0), -1);
    assert_null(syn_function_keeper_free(NULL));
    (void)syn_loop_free(loop);
}

/* Who started it was killed before it could ask to be told: it does not stay. */
static void
test_orphan(void **state)
{
    char parent[24], socket[320];
    char *argv[] = {(char[]){"synor"},
                    (char[]){"function-gateway"},
                    (char[]){"--data-dir"},
                    data_dir,
                    (char[]){"--server"},
                    (char[]){"/server.sock"},
                    (char[]){"--parent"},
                    parent,
                    NULL};
    int status = 0;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        (void)snprintf(parent, sizeof(parent), "%d", (int)getpid()); /* nobody is his own parent */
        _exit(syn_function_gateway_main(SYN_LEN(argv) - 1, argv));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)snprintf(socket, sizeof(socket), "%s/gateway.sock", data_dir);
    assert_int_equal(access(socket, F_OK), -1);
}

static void *
nothing(void *arg)
{
    return arg;
}

/* In a child: the number of the first check that failed. */
static int
confined(void)
{
    char *const argv[] = {NULL};
    pthread_t thread;
    struct syn_err err;

    if (syn_privilege_reduce(SYN_PRIVILEGE_NOTHING, &err) < 0)
        return 1;
    if (fgw_confine(&err) < 0)
        return 2;
    if (execve("/bin/true", argv, argv) == 0 || errno != EPERM)
        return 3;
    if (unshare(CLONE_NEWUSER) == 0 || errno != EPERM)
        return 4;
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) >= 0 || errno != EPERM)
        return 5;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 6;
    return 0;
}

static void
test_confined(void **state)
{
    int status = 0;
    pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(confined());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_orphan),
        cmocka_unit_test(test_confined),
    };

    (void)snprintf(program, sizeof(program), "%s/program", syn_test_dir());
    (void)snprintf(mark, sizeof(mark), "%s/mark", syn_test_dir());
    (void)snprintf(data_dir, sizeof(data_dir), "%s/function", syn_test_dir());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
