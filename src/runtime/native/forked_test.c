/* The driver of forked instances, with real ones on a real network: their program does what it is
 * sent. Needs root and what holds instances; else the tests say that they did not run. */
#include "forked_priv.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/runtime/net.h>

#define PYTHON  "/usr/bin/python3"
#define MIB     ((int64_t)1 << 20)
#define WAIT_MS 20000
#define PORT    8080

static const char program[] = "import os, sys, time\n"
                              "def main(begun, door):\n"
                              "    print('begins', flush=True)\n"
                              "    while True:\n"
                              "        link, _ = door.accept()\n"
                              "        text = b''\n"
                              "        while piece := link.recv(65536):\n"
                              "            text += piece\n"
                              "        link.sendall(str(eval(text)).encode())\n"
                              "        link.close()\n";

static struct syn_net *net;
static struct syn_forked *forked;
static struct syn_runtime runtime;
static char program_file[512], code[512];

static void
open_forked(int64_t idle_ms)
{
    static char root[512];
    const struct syn_forked_options options = {.root = root, .net = net, .idle_ms = idle_ms};
    struct syn_err err = {0};

    (void)snprintf(root, sizeof(root), "%s/forked", syn_test_dir());
    assert_done(syn_forked_new(&options, &forked, &err), &err);
    runtime = syn_forked_runtime(forked);
}

static int
set_up_all(void **state)
{
    static char dir[512];
    const struct syn_net_options options = {.dir = dir};
    struct syn_runtime_info info;
    struct syn_err err = {0};

    (void)state;
    if (geteuid() != 0 || access(PYTHON, X_OK) < 0 || unshare(CLONE_NEWNET) < 0)
        return 0;
    (void)chmod(syn_test_dir(), 0755);
    (void)snprintf(dir, sizeof(dir), "%s/net", syn_test_dir());
    (void)snprintf(code, sizeof(code), "%s/code", syn_test_dir());
    (void)snprintf(program_file, sizeof(program_file), "%s/host.py", syn_test_dir());
    assert_int_equal(mkdir(code, 0755), 0);
    assert_done(syn_file_write(AT_FDCWD, program_file, program, sizeof(program) - 1, &err), &err);
    if (syn_net_open(&options, &net, &err) == SYN_OK)
        open_forked(0);
    if (forked && runtime.ops->probe(runtime.self, &info, &err) < 0)
        forked = syn_forked_free(forked);
    if (!forked)
        print_message("# %s\n", err.msg);
    return 0;
}

static int
tear_down_all(void **state)
{
    (void)state;
    forked = syn_forked_free(forked);
    net = syn_net_close(net);
    return 0;
}

static void
need_forks(void)
{
    if (!forked) {
        print_message("skipped: needs root, python3, libseccomp and networks\n");
        skip();
    }
}

/* --- an instance ------------------------------------------------------------------------------ */

struct made {
    char id[32], dir[600];
    struct syn_instance *instance;
};

struct wish {
    const char *account;
    int64_t memory_bytes, wall_ms, eager_ms;
};

static int
prepare(struct made *made, const struct wish *wish, struct syn_err *err)
{
    static const char *const argv[] = {"python3", "-B", "/synor/host.py", NULL};
    static const char *const env[] = {"PORT=8080", "SECRET=of it", NULL};
    static unsigned number;
    const struct syn_bind binds[] = {{.host = program_file, .container = "/synor/host.py"},
                                     {.host = code, .container = "/synor/code"}};
    struct syn_instance_spec spec = {.id = made->id,
                                     .dir = made->dir,
                                     .isolation = "namespace",
                                     .argv = argv,
                                     .env = env,
                                     .binds = binds,
                                     .binds_count = SYN_LEN(binds),
                                     .scratch_bytes = 8 * MIB,
                                     .memory_bytes = wish->memory_bytes,
                                     .cpu_millicores = 1000,
                                     .pids_max = 16,
                                     .wall_ms = wish->wall_ms,
                                     .eager_ms = wish->eager_ms,
                                     .grace_ms = 5000,
                                     .network = SYN_NETWORK_ACCOUNT,
                                     .net = {.account = wish->account}};

    (void)snprintf(made->id, sizeof(made->id), "f%d-%u", (int)getpid(), ++number);
    (void)snprintf(made->dir, sizeof(made->dir), "%s/%s", syn_test_dir(), made->id);
    return runtime.ops->prepare(runtime.self, &spec, &made->instance, err);
}

static struct made
make(const struct wish *wish)
{
    struct made made = {.instance = NULL};
    struct syn_err err = {0};

    need_forks();
    assert_done(prepare(&made, wish, &err), &err);
    assert_done(runtime.ops->start(runtime.self, made.instance, &err), &err);
    return made;
}

static struct made
make_of(const char *account)
{
    return make(&(struct wish){.account = account, .memory_bytes = 128 * MIB});
}

static void
unmake(struct made *made)
{
    struct syn_err err = {0};

    made->instance = runtime.ops->close(made->instance);
    assert_done(runtime.ops->destroy(runtime.self, made->dir, &err), &err);
    assert_int_not_equal(access(made->dir, F_OK), 0);
}

/* What it answers at its address; "": it ended over it. Until the next call. */
static const char *
say(const struct made *made, const char *text)
{
    static char said[4096];
    const struct syn_net_place *place = runtime.ops->place(made->instance);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = 0;
    ssize_t n;

    assert_int_equal(inet_pton(AF_INET, place->address4, &address.sin_addr), 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    while ((n = read(fd, said + len, sizeof(said) - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    (void)close(fd);
    return said;
}

static struct syn_instance_status
status_of(const struct made *made)
{
    struct syn_instance_status status = {0};
    struct syn_err err = {0};

    assert_done(runtime.ops->poll(runtime.self, made->instance, &status, &err), &err);
    return status;
}

static struct syn_instance_status
await_end(const struct made *made)
{
    struct pollfd over = {.events = POLLIN};
    struct syn_err err = {0};

    assert_done(runtime.ops->exit_fd(runtime.self, made->instance, &over.fd, &err), &err);
    assert_int_equal(poll(&over, 1, WAIT_MS), 1);
    (void)close(over.fd);
    assert_int_equal(status_of(made).state, SYN_INSTANCE_EXITED);
    return status_of(made);
}

static void
assert_ended(const struct made *made, enum syn_exit_reason reason, int code_wanted,
             const char *message)
{
    struct syn_instance_status status = await_end(made);

    if (status.reason != reason || status.exit_code != code_wanted ||
        !strstr(status.message, message))
        fail_msg("ended as %d, %d: %s", (int)status.reason, status.exit_code, status.message);
}

static struct syn_forked_state
look(void)
{
    struct syn_forked_state state;

    syn_forked_look(forked, &state);
    return state;
}

static void
assert_no_group(const struct made *made)
{
    struct syn_cgroup_usage usage = {0};

    assert_non_null(strstr(made->instance->plan.cgroup, made->id));
    syn_cgroup_usage_read(&forked->layout, made->instance->plan.cgroup, &usage);
    assert_int_equal(usage.memory_bytes, 0);
}

/* --- cases ------------------------------------------------------------------------------------ */

static void
it_runs_and_is_stopped(void **state)
{
    struct made made = make_of("acme");
    struct syn_usage_sample usage = {0};
    struct syn_err err = {0};
    char text[256] = "";
    int fd;

    (void)state;
    assert_int_equal(status_of(&made).state, SYN_INSTANCE_RUNNING);
    assert_string_equal(runtime.ops->isolation(made.instance), "namespace");
    assert_string_equal(say(&made, "os.environ['SECRET'], os.getpid()"), "('of it', 1)");
    assert_code(runtime.ops->start(runtime.self, made.instance, &err), SYN_E_CONFLICT, &err);
    assert_done(runtime.ops->stop(runtime.self, made.instance, -1, &err), &err);
    assert_ended(&made, SYN_EXIT_STOPPED, 143, "stopped as asked");
    fd = open(runtime.ops->paths(made.instance)->log, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    (void)close(fd);
    assert_non_null(strstr(text, "begins"));
    assert_done(runtime.ops->stats(runtime.self, made.instance, &usage, &err), &err);
    assert_true(usage.memory_peak_bytes > 0 && usage.received_bytes > 0);
    assert_no_group(&made);
    unmake(&made);
    assert_int_equal(look().instances, 0);
}

static void
how_it_ended_is_told(void **state)
{
    struct made made = make_of("acme");

    (void)state;
    assert_string_equal(say(&made, "os._exit(3)"), "");
    assert_ended(&made, SYN_EXIT_FAILED, 3, "exited with status 3");
    unmake(&made);
    made = make_of("acme");
    assert_string_equal(say(&made, "bytearray(os.urandom(1)) * (256 << 20)"), "");
    assert_ended(&made, SYN_EXIT_OOM, 137, "out of memory");
    unmake(&made);
    made = make(
        &(struct wish){.account = "acme", .memory_bytes = 128 * MIB, .wall_ms = 1, .eager_ms = 1});
    assert_ended(&made, SYN_EXIT_TIME, 143, "wall time limit");
    unmake(&made);
}

static void
what_does_not_heed_is_killed(void **state)
{
    struct made made = make_of("acme");
    struct syn_err err = {0};

    (void)state;
    assert_string_equal(say(&made, "__import__('signal').signal(15, 1) and 1"), "1");
    assert_done(runtime.ops->stop(runtime.self, made.instance, 1, &err), &err);
    assert_ended(&made, SYN_EXIT_STOPPED, 137, "was killed");
    unmake(&made);
    made = make_of("acme"); /* one that runs is ended by that */
    unmake(&made);
}

static void
accounts_share_no_zygote(void **state)
{
    struct made one = make_of("acme"), two = make_of("acme"), three = make_of("bolt");

    (void)state;
    assert_int_equal(look().zygotes, 2);
    assert_int_equal(look().instances, 3);
    assert_true(look().zygote_bytes > 2 * MIB);
    unmake(&one);
    unmake(&two);
    unmake(&three);
    assert_int_equal(look().zygotes, 2);
}

static void
kill_zygotes(const char *account)
{
    for (size_t i = 0; i < SYN_FORKED_ZYGOTES_MAX; i++)
        if (syn_str_eq(forked->keep.rows[i].account, account))
            (void)kill(syn_zygote_pid(forked->keep.rows[i].zygote), SIGKILL);
}

/* What a zygote forked ends with it, however far it is, and whoever starts next has another one. */
static void
a_zygote_ends(void **state)
{
    struct made one, two, three;

    (void)state;
    for (int i = 0; i < 3; i++) {
        one = make_of("acme");
        two = make_of("acme");
        kill_zygotes("acme");
        assert_ended(&one, SYN_EXIT_LOST, 255, "its zygote ended");
        assert_ended(&two, SYN_EXIT_LOST, 255, "its zygote ended");
        unmake(&one);
        unmake(&two);
    }
    three = make_of("acme");
    assert_string_equal(say(&three, "1 + 1"), "2");
    unmake(&three);
}

static void
idle_ones_end(void **state)
{
    struct made made;

    (void)state;
    need_forks();
    forked = syn_forked_free(forked);
    open_forked(1);
    made = make_of("acme");
    unmake(&made);
    for (int i = 0; i < WAIT_MS && look().zygotes > 0; i++)
        (void)poll(NULL, 0, 1);
    assert_int_equal(look().zygotes, 0);
}

/* The driver ends, and its instances: the next one says so, also where nobody wrote it down. */
static void
the_next_driver_finds_the_end(void **state)
{
    struct made one = make_of("acme"), two = make_of("acme");
    struct syn_instance_status status = {0};
    struct syn_err err = {0};
    char path[700];

    (void)state;
    one.instance = runtime.ops->close(one.instance);
    two.instance = runtime.ops->close(two.instance);
    forked = syn_forked_free(forked);
    (void)snprintf(path, sizeof(path), "%s/exit.json", two.dir);
    assert_int_equal(unlink(path), 0);
    open_forked(0);
    assert_done(runtime.ops->adopt(runtime.self, one.dir, &one.instance, &status, &err), &err);
    assert_int_equal(status.reason, SYN_EXIT_LOST);
    assert_done(runtime.ops->adopt(runtime.self, two.dir, &two.instance, &status, &err), &err);
    assert_int_equal(status.reason, SYN_EXIT_LOST);
    assert_non_null(strstr(status.message, "agent ended"));
    assert_ended(&two, SYN_EXIT_LOST, 255, "agent ended");
    unmake(&one);
    unmake(&two);
}

static void
what_it_cannot_do_is_refused(void **state)
{
    static const char *const argv[] = {"python3", "-B", "/synor/host.py", NULL};
    static const char *const shell[] = {"sh", "-c", "true", NULL};
    static const char *const env[] = {"PORT=8080", NULL};
    const struct syn_bind binds[] = {{.host = program_file, .container = "/synor/host.py"},
                                     {.host = code, .container = "/synor/code"}};
    const struct syn_tmpfs tmpfs = {.container = "/var/x", .bytes = MIB};
    char dir[600];
    const struct syn_instance_spec good = {.id = "x",
                                           .dir = dir,
                                           .argv = argv,
                                           .env = env,
                                           .binds = binds,
                                           .binds_count = SYN_LEN(binds),
                                           .memory_bytes = 64 * MIB,
                                           .network = SYN_NETWORK_ACCOUNT,
                                           .net = {.account = "acme"}};
    struct syn_instance_spec bad[] = {good, good, good, good, good};
    struct syn_instance *made = NULL;
    struct syn_err err = {0};

    (void)state;
    need_forks();
    (void)snprintf(dir, sizeof(dir), "%s/x", syn_test_dir());
    bad[0].isolation = "gvisor";
    bad[1].argv = shell;
    bad[2].binds_count = 1;
    bad[3].network = SYN_NETWORK_NONE;
    bad[4].tmpfs = &tmpfs;
    bad[4].tmpfs_count = 1;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        assert_code(runtime.ops->prepare(runtime.self, &bad[i], &made, &err), SYN_E_UNSUPPORTED,
                    &err);
        assert_null(made);
    }
    bad[0] = good;
    bad[0].env = (const char *const[]){NULL};
    assert_code(runtime.ops->prepare(runtime.self, &bad[0], &made, &err), SYN_E_INVALID, &err);
    bad[0] = good;
    bad[0].memory_bytes = 0;
    assert_code(runtime.ops->prepare(runtime.self, &bad[0], &made, &err), SYN_E_INVALID, &err);
    assert_int_equal(look().instances, 0);
    assert_int_not_equal(access(dir, F_OK), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_runs_and_is_stopped),
        cmocka_unit_test(how_it_ended_is_told),
        cmocka_unit_test(what_does_not_heed_is_killed),
        cmocka_unit_test(accounts_share_no_zygote),
        cmocka_unit_test(a_zygote_ends),
        cmocka_unit_test(what_it_cannot_do_is_refused),
        cmocka_unit_test(idle_ones_end),
        cmocka_unit_test(the_next_driver_finds_the_end),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("forked", tests, set_up_all, tear_down_all);
}
