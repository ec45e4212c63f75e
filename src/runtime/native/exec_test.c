/* Programs within instances, by a shell script in runsc's place: one that takes as long as it is
 * told to before it has begun, as runsc does on a busy machine. */
#include "exec_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "file_priv.h"

#define LOOK_MS  10
#define LOOK_MAX 2000
#define LATE_MS  200

/* Signals that come before the pid is written are lost. */
static const char script[] = "#!/bin/sh\n"
                             "cd \"${0%/*}\"\n"
                             "case \" $* \" in\n"
                             "*\" kill --pid=7 one 9 \"*)\n"
                             "  echo > killed; kill -KILL \"$(cat tool)\"; exit ;;\n"
                             "esac\n"
                             "for word; do\n"
                             "  case $word in --internal-pid-file=*) file=${word#*=} ;; esac\n"
                             "done\n"
                             "echo $$ > tool\n"
                             "while [ ! -e go ]; do sleep 0.02; done\n"
                             "trap 'echo > resized' WINCH\n"
                             "echo 7 > \"$file\"\n"
                             "while :; do sleep 0.02; done\n";

static struct syn_instance instance = {.dir = -1};

static void
put(const char *name, const char *text)
{
    struct syn_err err = {0};

    assert_done(syn_file_write(instance.dir, name, text, strlen(text), &err), &err);
}

static bool
is_there(const char *name)
{
    return faccessat(instance.dir, name, F_OK, 0) == 0;
}

static struct syn_exec *
start(void)
{
    static const char *const argv[] = {"/bin/true", NULL};
    const struct syn_exec_spec spec = {
        .argv = argv, .in = SYN_EXEC_NULL, .out = SYN_EXEC_NULL, .err = SYN_EXEC_NULL};
    char tool[SYN_PATH_MAX];
    const struct syn_exec_place place = {.tool = tool,
                                         .root = "/nonexistent",
                                         .name = "one",
                                         .bundle = instance.dir_path,
                                         .gvisor = true};
    struct syn_exec *exec = NULL;
    struct syn_err err = {0};

    (void)snprintf(tool, sizeof(tool), "%s/tool.sh", instance.dir_path);
    assert_int_equal(fchmodat(instance.dir, "tool.sh", 0700, 0), 0);
    assert_done(syn_exec_start(&instance, &place, &spec, &exec, &err), &err);
    return exec;
}

static void *
let_it_begin(void *arg)
{
    int fd;

    (void)poll(NULL, 0, LATE_MS);
    fd = openat(instance.dir, "go", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return arg;
}

static int
set_up(void **state)
{
    static unsigned number;

    (void)state;
    (void)snprintf(instance.dir_path, sizeof(instance.dir_path), "%s/%u", syn_test_dir(), number++);
    assert_int_equal(mkdir(instance.dir_path, 0700), 0);
    instance.dir = open(instance.dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(instance.dir >= 0);
    put(SYN_FILE_CONFIG, "{\"process\":{\"user\":{\"uid\":1,\"gid\":1},\"env\":[]}}");
    put("tool.sh", script);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    (void)close(instance.dir);
    return 0;
}

/* What is told of too early is told of once somebody hears it. */
static void
size_waits_for_the_program(void **state)
{
    struct syn_exec *exec = start();
    struct syn_err err = {0};
    pthread_t thread;

    (void)state;
    assert_code(syn_exec_signal(exec, SIGTERM, &err), SYN_E_CONFLICT, &err);
    assert_int_equal(pthread_create(&thread, NULL, let_it_begin, NULL), 0);
    syn_exec_resized(exec);
    for (int i = 0; i < LOOK_MAX && !is_there("resized"); i++)
        (void)poll(NULL, 0, LOOK_MS);
    assert_true(is_there("resized"));
    assert_int_equal(pthread_join(thread, NULL), 0);
    exec = syn_exec_free(exec);
    assert_true(is_there("killed"));
}

/* It is not the tool that is killed, which would leave the program. */
static void
end_waits_for_the_program(void **state)
{
    struct syn_exec *exec = start();
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, let_it_begin, NULL), 0);
    exec = syn_exec_free(exec);
    assert_true(is_there("killed"));
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* A tool that ends by itself is waited for no longer. */
static void
nobody_waits_for_what_has_ended(void **state)
{
    struct syn_exec_result result = {0};
    struct syn_exec *exec;

    (void)state;
    put("tool.sh", "#!/bin/sh\nexit 3\n");
    exec = start();
    syn_exec_resized(exec);
    syn_exec_result(exec, &result);
    assert_false(result.started);
    exec = syn_exec_free(exec);
    assert_false(is_there("killed"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(size_waits_for_the_program, set_up, tear_down),
        cmocka_unit_test_setup_teardown(end_waits_for_the_program, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_what_has_ended, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("runtime/exec", tests, NULL, NULL);
}
