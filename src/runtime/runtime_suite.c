#include "suite_run_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/world.h>

#define LOG_LINES 100000

/* ---- programs and their results ---- */

static void
exit_status_is_told(void **state)
{
    static const struct {
        const char *script;
        int exit_code, signal;
        enum syn_exit_reason reason;
    } rows[] = {
        {"exit 0", 0, 0, SYN_EXIT_COMPLETED},
        {"exit 7", 7, 0, SYN_EXIT_FAILED},
        {"sh -c 'kill -9 $$'; exit $?", 137, 0, SYN_EXIT_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_run run;

        syn_run_shell(&run, rows[i].script);
        syn_suite_assert_reason(&run, rows[i].reason);
        assert_int_equal(run.status.exit_code, rows[i].exit_code);
        assert_true(run.status.started_at_ms > 0);
        assert_true(run.status.ended_at_ms >= run.status.started_at_ms);
        syn_run_end(&run);
    }
}

static void
failed_start_is_told(void **state)
{
    const char *const argv[] = {"/no/such/program", NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_prepare(&run, &spec);
    assert_code(CALL(start, run.instance, &err), SYN_E_INVALID, &err);
    syn_suite_assert_has(err.msg, "/no/such/program");
    assert_done(CALL(poll, run.instance, &run.status, &err), &err);
    assert_int_equal(run.status.state, SYN_INSTANCE_EXITED);
    syn_suite_assert_reason(&run, SYN_EXIT_START);
    assert_int_equal(run.status.exit_code, 127);
    assert_code(CALL(start, run.instance, &err), SYN_E_CONFLICT, &err);
    syn_run_end(&run);
}

static void
environment_is_as_specified(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "echo $FOO $HOME $TMPDIR; pwd; id -u; id -g; hostname; "
                                "cat /etc/hostname; echo to-stderr >&2; getent passwd 1234",
                                NULL};
    const char *const env[] = {"FOO=b\xc3\xa4r baz", NULL};
    struct syn_instance_spec spec = {
        .argv = argv, .env = env, .cwd = "/synor/output", .uid = 1234, .gid = 4321};
    char want[512];
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    (void)snprintf(want, sizeof(want),
                   "b\xc3\xa4r baz /synor/scratch /tmp\n/synor/output\n1234\n4321\n%s\n%s\n"
                   "synor:x:1234:4321:synor:/synor/scratch:/bin/sh\n",
                   run.id, run.id);
    assert_string_equal(syn_buf_text(&run.out), want);
    assert_string_equal(syn_buf_text(&run.err), "to-stderr\n");
    syn_run_end(&run);
}

static void
root_is_read_only(void **state)
{
    char path[SYN_INSTANCE_PATH_MAX + 64];
    struct stat st;
    struct syn_run run;

    (void)state;
    syn_run_shell(&run,
                  "for f in /x /usr/x /etc/x /usr/bin/x /etc/hosts /sys/x /proc/x /synor/x; do "
                  "  if touch $f 2>/dev/null; then echo WROTE $f; fi; "
                  "done; "
                  "for d in /synor/checkpoints /synor/output /synor/scratch /tmp /dev/shm; do "
                  "  echo yes > $d/x || echo CANNOT $d; "
                  "done; echo x >> /synor/scratch/file; echo done");
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out), "done\n");
    (void)snprintf(path, sizeof(path), "%s/x",
                   syn_suite->runtime.ops->paths(run.instance)->checkpoints);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    (void)snprintf(path, sizeof(path), "%s/file",
                   syn_suite->runtime.ops->paths(run.instance)->scratch);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 2);
    syn_run_end(&run);
}

/* ---- limits ---- */

static void
scratch_is_limited(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "head -c 33554432 /dev/zero > /synor/output/fits && echo fits; "
                                "head -c 33554432 /dev/zero > /synor/scratch/more; rc=$?; exit $rc",
                                NULL};
    struct syn_instance_spec spec = {.argv = argv, .scratch_bytes = 33 * MIB};
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_FAILED);
    assert_string_equal(syn_buf_text(&run.out), "fits\n");
    syn_suite_assert_has(syn_buf_text(&run.err), "No space left on device");
    assert_true(run.status.scratch_full);
    syn_suite_assert_has(run.status.message, "scratch");
    syn_run_end(&run);
}

/* However a program meets the limit, and whatever it removes before it ends: the end is named. */
static void
full_scratch_is_named(void **state)
{
    static const struct {
        const char *script;
        bool full;
        const char *message;
    } rows[] = {
        {"head -c 33554432 /dev/zero >/synor/output/f", true, "scratch"},
        {"head -c 33554432 /dev/zero >/tmp/f || { rm /tmp/f; exit 3; }", true, "scratch"},
        {"fallocate -l 1G /synor/output/f || exit 4", true, "scratch"},
        {"i=0; while :>/synor/scratch/$i; do i=$((i+1)); done", true, "one more file"},
        {"echo no space left; exit 5", false, "exited with status 5"},
        {"head -c 134217728 /dev/zero >/dev/shm/f; sleep 3; exit 6", false, "/dev/shm"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_run run;

        if (!syn_suite->kernel_shared && syn_str_eq(rows[i].message, "/dev/shm"))
            continue; /* its memory is out of everybody's sight */
        syn_run_shell(&run, rows[i].script);
        syn_suite_assert_reason(&run, SYN_EXIT_FAILED);
        if (run.status.scratch_full != rows[i].full)
            fail_msg("%s: %s\n%s", rows[i].script, run.status.message, syn_buf_text(&run.err));
        syn_suite_assert_has(run.status.message, rows[i].message);
        syn_run_end(&run);
    }
}

/* What was made ahead is as good as what is made on the way. */
static void
warm_start_is_a_start(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct syn_run run;

        syn_suite->runtime.ops->warm(syn_suite->runtime.self);
        syn_run_shell(&run, "cd /synor; echo * */* */.[!.]* /tmp/*; echo x >output/x && "
                            "! head -c 33554432 /dev/zero 2>&1 >scratch/much");
        syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
        syn_suite_assert_has(syn_buf_text(&run.out),
                             "checkpoints output scratch tmp */* */.[!.]* /tmp/*\n");
        syn_suite_assert_has(syn_buf_text(&run.out), "No space left on device");
        syn_run_end(&run);
    }
}

static void
memory_is_limited(void **state)
{
    const char *const argv[] = {"/bin/dd", "if=/dev/zero", "of=/dev/null",
                                "bs=400M", "count=1",      NULL};
    struct syn_instance_spec spec = {.argv = argv, .memory_bytes = 128 * MIB};
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_OOM);
    assert_true(run.status.oom_kills > 0);
    assert_int_equal(run.status.exit_code, 137);
    syn_suite_assert_has(run.status.message, "memory");
    syn_run_end(&run);
}

static void
fork_bomb_is_contained(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c", "bomb() { bomb | bomb & sleep 2; }; bomb; sleep 3",
                                NULL};
    struct syn_instance_spec spec = {
        .argv = argv, .pids_max = 48, .wall_ms = 6000, .grace_ms = 500};
    struct syn_usage_sample usage;
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    if (!syn_suite->loose_end || run.status.pids_limit_hits > 0) {
        assert_true(run.status.pids_limit_hits > 0);
        syn_suite_assert_has(run.status.message, "limit of 48 processes");
    }
    if (CALL(stats, run.instance, &usage, &err) == 0 && syn_suite->kernel_shared)
        assert_true(usage.pids <= 48);
    syn_run_end(&run);
}

static void
cpu_is_limited(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "end=$(( $(date +%s) + 3 )); "
                                "while [ $(date +%s) -lt $end ]; do i=0; "
                                "while [ $i -lt 2000 ]; do i=$((i+1)); done; done",
                                NULL};
    struct syn_instance_spec spec = {.argv = argv, .cpu_millicores = 200};
    struct syn_usage_sample usage;
    int64_t wall_ms;
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    usage = syn_run_usage(&run);
    wall_ms = run.status.ended_at_ms - run.status.started_at_ms;
    assert_true(usage.cpu_ms > wall_ms / 20);
    assert_true(usage.cpu_ms < wall_ms * 3 / 10);
    /* On a machine that has much to do it never comes to its limit. */
    assert_true(usage.throttled_ms > 0 || usage.cpu_ms < wall_ms / 6);
    syn_run_end(&run);
}

/* What starts it is in its group: with the program's fiftieth of a core it would take a second. A
 * sandbox's own kernel goes on beginning on the program's time. */
static void
start_has_a_core(void **state)
{
    const char *const argv[] = {"/bin/sleep", "1", NULL};
    struct syn_instance_spec spec = {.argv = argv, .cpu_millicores = 20};
    struct syn_run run;

    (void)state;
    if (!syn_suite->kernel_shared)
        skip();
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_true(syn_run_usage(&run).throttled_ms < 800);
    syn_run_end(&run);
}

static void
wall_time_is_limited(void **state)
{
    const char *const argv[] = {"/bin/sleep", "60", NULL};
    struct syn_instance_spec spec = {.argv = argv, .wall_ms = 1000, .grace_ms = 2000};
    int64_t lasted;
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_TIME);
    lasted = run.status.ended_at_ms - run.status.started_at_ms;
    assert_true(lasted >= 1000 && lasted < 3000);
    syn_run_end(&run);
}

/* ---- stopping ---- */

/* Wait until the program printed `word`. */
static void
await_word(struct syn_run *run, const char *word)
{
    for (int i = 0; i < SYN_SUITE_END_MS / 10; i++) {
        SYN_BUF(text);

        syn_suite_read_text(syn_suite->runtime.ops->paths(run->instance)->log, &text);
        if (strstr(syn_buf_text(&text), word))
            return;
        (void)poll(NULL, 0, 10);
    }
    fail_msg("%s never printed %s", run->id, word);
}

static void
stop_and_end(const char *script, int64_t grace_ms, int64_t lasts_max_ms, int want_code)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    struct syn_instance_spec spec = {.argv = argv, .grace_ms = 20000};
    struct syn_err err = {0};
    int64_t begin, lasted;
    struct syn_run run;

    syn_run_start(&run, &spec);
    await_word(&run, "ready");
    begin = syn_mono_ms(syn_world_system());
    assert_done(CALL(stop, run.instance, grace_ms, &err), &err);
    syn_run_await(&run);
    lasted = syn_mono_ms(syn_world_system()) - begin;
    syn_run_read_log(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_STOPPED);
    assert_int_equal(run.status.exit_code, want_code);
    if (lasted > lasts_max_ms)
        fail_msg("stop took %lld ms, want at most %lld", (long long)lasted,
                 (long long)lasts_max_ms);
    assert_done(CALL(stop, run.instance, grace_ms, &err), &err);
    assert_code(CALL(signal, run.instance, SIGUSR1, &err), SYN_E_CONFLICT, &err);
    syn_run_end(&run);
}

static void
stop_runs_the_handler(void **state)
{
    (void)state;
    stop_and_end("trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.1; done", 15000,
                 10000, 5);
}

static void
stop_kills_who_ignores_it(void **state)
{
    (void)state;
    stop_and_end("trap '' TERM; echo ready; while :; do sleep 0.1; done", 700, 10000, 137);
}

static void
stop_ends_who_does_not_care(void **state)
{
    (void)state;
    stop_and_end("echo ready; exec sleep 60", 15000, 10000, syn_suite->kernel_shared ? 137 : 143);
}

static void
signals_are_delivered(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "trap 'echo usr1; exit 3' USR1; echo ready; "
                                "while :; do sleep 0.1; done",
                                NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_prepare(&run, &spec);
    assert_code(CALL(signal, run.instance, SIGUSR1, &err), SYN_E_CONFLICT, &err);
    assert_code(CALL(stop, run.instance, 0, &err), SYN_E_CONFLICT, &err);
    assert_done(CALL(start, run.instance, &err), &err);
    await_word(&run, "ready");
    assert_done(CALL(signal, run.instance, SIGUSR1, &err), &err);
    syn_run_await(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_FAILED);
    assert_int_equal(run.status.exit_code, 3);
    syn_run_end(&run);
}

/* ---- isolation ---- */

static bool
leading_number(const char *text, uint64_t *ret)
{
    char digits[24] = "";
    size_t len = strspn(text, "0123456789");

    if (len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    return syn_parse_u64(digits, 0, UINT64_MAX, "number", ret, NULL) == SYN_OK;
}

static void
host_is_out_of_sight(void **state)
{
    char secret[SYN_INSTANCE_PATH_MAX], script[4096];
    struct syn_run run;
    uint64_t processes = 0;
    int fd;

    (void)state;
    (void)snprintf(secret, sizeof(secret), "%s/secret", syn_suite->dir);
    fd = open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(script, sizeof(script),
                   "set -- /proc/[0-9]*; echo $#; echo /* %s/* /root/* /home/* /var/lib/*; "
                   "for f in /etc/shadow /etc/ssh/* /etc/machine-id /proc/kcore /dev/mem /dev/kvm "
                   "/dev/loop0 /dev/vda /dev/fuse /proc/1/root/home /proc/1/root/root/*; do "
                   "if head -c 1 $f >/dev/null 2>&1; then echo READ $f; fi; done; "
                   "find / -xdev -name secret; echo end",
                   syn_suite->dir);
    syn_run_shell(&run, script);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    syn_suite_assert_has_not(syn_buf_text(&run.out), "secret");
    syn_suite_assert_has_not(syn_buf_text(&run.out), "READ");
    syn_suite_assert_has_not(syn_buf_text(&run.out), " /root ");
    syn_suite_assert_has_not(syn_buf_text(&run.out), " /home ");
    syn_suite_assert_has_not(syn_buf_text(&run.out), " /work ");
    syn_suite_assert_has(syn_buf_text(&run.out), " /usr ");
    /* Itself and nothing of the host. */
    assert_true(leading_number(syn_buf_text(&run.out), &processes));
    if (processes < 1 || processes > 3)
        fail_msg("it sees %llu processes: %s%s", (unsigned long long)processes,
                 syn_buf_text(&run.out), syn_buf_text(&run.err));
    syn_run_end(&run);
}

static void
instances_do_not_see_each_other(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "echo mine > /tmp/mine; echo mine > /dev/shm/mine; "
                                "echo ready; exec sleep 30",
                                NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_run first, second;

    (void)state;
    syn_run_start(&first, &spec);
    await_word(&first, "ready");
    syn_run_shell(&second,
                  "echo /tmp/* /dev/shm/* /synor/scratch/*; "
                  "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sl[e]ep 30'; echo end");
    syn_suite_assert_reason(&second, SYN_EXIT_COMPLETED);
    syn_suite_assert_has_not(syn_buf_text(&second.out), "mine");
    syn_suite_assert_has(syn_buf_text(&second.out), "\n0\nend");
    syn_run_end(&second);
    syn_run_end(&first);
}

static void
there_is_no_network(void **state)
{
    struct syn_run run;

    (void)state;
    syn_run_shell(&run, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; "
                        "/usr/bin/python3 -c 'import socket\n"
                        "s = socket.socket()\n"
                        "s.settimeout(3)\n"
                        "try:\n"
                        "    s.connect((\"192.0.2.1\", 80)); print(\"CONNECTED\")\n"
                        "except OSError as e:\n"
                        "    print(\"refused\")'");
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out), "lo\nrefused\n");
    syn_run_end(&run);
}

static void
group_is_a_private_network(void **state)
{
    const char *const serve[] = {"/usr/bin/python3", "-c",
                                 "import socket\n"
                                 "s = socket.create_server((\"0.0.0.0\", 7000))\n"
                                 "print(\"ready\", flush=True)\n"
                                 "c, a = s.accept(); c.sendall(b\"hello \" + a[0].encode())\n"
                                 "c.close()",
                                 NULL};
    const char *const ask[] = {"/usr/bin/python3", "-c",
                               "import socket, sys\n"
                               "try:\n"
                               "    s = socket.create_connection((\"server\", 7000), 4)\n"
                               "    print(s.recv(100).decode())\n"
                               "except OSError as e:\n"
                               "    print(\"unreachable\")\n"
                               "    print(e, open(\"/proc/net/dev\").read(), file=sys.stderr)\n",
                               NULL};
    const struct syn_host_entry hosts[] = {{"server", "10.77.0.1"}};
    struct syn_instance_spec server = {
        .argv = serve, .network = SYN_NETWORK_GROUP, .group = "gang", .address = "10.77.0.1/24"};
    struct syn_instance_spec client = {.argv = ask,
                                       .network = SYN_NETWORK_GROUP,
                                       .group = "gang",
                                       .address = "10.77.0.2/24",
                                       .hosts = hosts,
                                       .hosts_count = 1};
    struct syn_instance_spec stranger = client;
    struct syn_run first, second, third;

    (void)state;
    stranger.group = "others";
    stranger.address = "10.77.0.3/24";
    syn_run_start(&first, &server);
    await_word(&first, "ready");
    syn_run_all(&third, &stranger);
    assert_string_equal(syn_buf_text(&third.out), "unreachable\n");
    syn_run_all(&second, &client);
    syn_run_read_log(&first);
    if (!syn_str_eq(syn_buf_text(&second.out), "hello 10.77.0.2\n"))
        fail_msg("client: %s%s\nserver: %s%s", syn_buf_text(&second.out), syn_buf_text(&second.err),
                 syn_buf_text(&first.out), syn_buf_text(&first.err));
    syn_run_await(&first);
    syn_suite_assert_reason(&first, SYN_EXIT_COMPLETED);
    syn_run_end(&first);
    syn_run_end(&second);
    syn_run_end(&third);
}

static void
group_shares_what_is_bound(void **state)
{
    const char *const write_argv[] = {"/bin/sh", "-c",
                                      "echo 1 > /synor/checkpoints/a; echo ready; sleep 60", NULL};
    const char *const read_argv[] = {
        "/bin/sh", "-c", "cat /synor/checkpoints/a; echo 2 > /synor/checkpoints/b && echo wrote",
        NULL};
    struct syn_bind bind = {NULL, "/synor/checkpoints", false};
    struct syn_instance_spec owner = {.argv = write_argv,
                                      .network = SYN_NETWORK_GROUP,
                                      .group = "gang",
                                      .address = "10.7.0.1/24"};
    struct syn_instance_spec guest = {.argv = read_argv,
                                      .network = SYN_NETWORK_GROUP,
                                      .group = "gang",
                                      .address = "10.7.0.2/24",
                                      .binds = &bind,
                                      .binds_count = 1};
    char path[SYN_INSTANCE_PATH_MAX + 64];
    struct syn_run first, second;

    (void)state;
    syn_run_start(&first, &owner);
    await_word(&first, "ready");
    bind.host = syn_suite->runtime.ops->paths(first.instance)->checkpoints;
    syn_run_all(&second, &guest);
    if (!syn_str_eq(syn_buf_text(&second.out), "1\nwrote\n"))
        fail_msg("%s%s", syn_buf_text(&second.out), syn_buf_text(&second.err));
    (void)snprintf(path, sizeof(path), "%s/b", bind.host);
    assert_int_equal(access(path, F_OK), 0);
    syn_run_end(&second);
    syn_run_end(&first);
}

static void
privileges_are_dropped(void **state)
{
    struct syn_run run;

    (void)state;
    syn_run_shell(&run, "grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | "
                        "tr -d '\\t'");
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    syn_suite_assert_has(syn_buf_text(&run.out), "CapPrm:0000000000000000");
    syn_suite_assert_has(syn_buf_text(&run.out), "CapEff:0000000000000000");
    syn_suite_assert_has(syn_buf_text(&run.out), "CapBnd:0000000000000000");
    if (syn_suite->kernel_shared) {
        syn_suite_assert_has(syn_buf_text(&run.out), "NoNewPrivs:1");
        syn_suite_assert_has(syn_buf_text(&run.out), "Seccomp:2");
    }
    syn_run_end(&run);
}

static void
dangerous_calls_are_refused(void **state)
{
    /* number, arguments; each must fail with EPERM (1), clone3 with ENOSYS (38). */
    static const char script[] =
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "P = os.getppid()\n"
        "for name, args in dict(\n"
        "    mount=(165, b'none', b'/tmp', b'tmpfs', 0, 0), umount=(166, b'/tmp', 0),\n"
        "    ptrace=(101, 16, 1, 0, 0), keyctl=(250, 0, -3, 0), add_key=(248, b'user', b'a', b'b', "
        "1, "
        "-3),\n"
        "    bpf=(321, 0, 0, 0), unshare_user=(272, 0x10000000), unshare_net=(272, 0x40000000),\n"
        "    setns=(308, 0, 0), perf=(298, 0, 0, -1, -1, 0), io_uring=(425, 8, 0),\n"
        "    userfaultfd=(323, 0), vm_read=(310, 1, 0, 0, 0, 0, 0), init_module=(175, 0, 0, b''),\n"
        "    reboot=(169, 0, 0, 0, 0), settimeofday=(164, 0, 0), syslog=(103, 3, 0, 0),\n"
        "    pivot_root=(155, b'/', b'/'), chroot=(161, b'/tmp'), open_by_handle=(304, 0, 0, 0),\n"
        "    clone_user=(56, 0x10000011, 0, 0, 0, 0), clone3=(435, 0, 0),\n"
        "    vsock=(41, 40, 1, 0), alg=(41, 38, 5, 0), packet=(41, 17, 3, 0),\n"
        "    quotactl=(179, 0, 0, 0, 0), swapon=(167, b'/x', 0), kexec=(246, 0, 0, 0, 0),\n"
        "    personality=(135, 0x0400000), fsopen=(430, b'ext4', 0), memfd_secret=(447, 0),\n"
        ").items():\n"
        "    ctypes.set_errno(0)\n"
        "    rc = libc.syscall(*args)\n"
        "    want = 38 if name == 'clone3' else 1\n"
        "    if rc != -1 or ctypes.get_errno() != want:\n"
        "        print('ALLOWED', name, rc, ctypes.get_errno(), flush=True)\n"
        "print('end')\n";
    const char *const argv[] = {"/usr/bin/python3", "-c", script, NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_run run;

    (void)state;
    if (!syn_suite->kernel_shared) {
        print_message("the sandbox has a kernel of its own: no call reaches the host's filter\n");
        skip();
    }
#if defined(__x86_64__)
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out), "end\n");
    syn_run_end(&run);
#else
    (void)spec;
    (void)run;
    print_message("system call numbers here are x86-64's\n");
    skip();
#endif
}

/* ---- records ---- */

static void
log_is_complete(void **state)
{
    const char *const argv[] = {"/usr/bin/seq", "-f", "line %.0f of the log", "100000", NULL};
    const char *const stay_argv[] = {"/bin/sh", "-c",
                                     "trap 'exit 0' USR1; seq -f 'line %.0f of the log' 100000; "
                                     "echo ready >&2; while :; do sleep 0.1; done",
                                     NULL};
    struct syn_instance_spec spec = {.argv = syn_suite->loose_end ? stay_argv : argv};
    struct syn_err err = {0};
    const char *line;
    char want[64];
    struct syn_run run;

    (void)state;
    syn_run_start(&run, &spec);
    if (syn_suite->loose_end) {
        await_word(&run, "stderr F ready");
        await_word(&run, "line 100000 of the log");
        assert_done(CALL(signal, run.instance, SIGUSR1, &err), &err);
    }
    syn_run_await(&run);
    syn_run_read_log(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    line = syn_buf_text(&run.out);
    for (int i = 1; i <= LOG_LINES; i++) {
        int len = snprintf(want, sizeof(want), "line %d of the log\n", i);

        if (strncmp(line, want, (size_t)len) != 0)
            fail_msg("line %d is missing: %.40s", i, line);
        line += len;
    }
    assert_string_equal(line, "");
    syn_run_end(&run);
}

static void
log_is_limited(void **state)
{
    const char *const argv[] = {"/usr/bin/seq", "100000", NULL};
    struct syn_instance_spec spec = {.argv = argv, .log_bytes_max = 65536};
    struct stat st;
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    syn_suite_assert_has(syn_buf_text(&run.remarks), "truncated");
    assert_int_equal(stat(syn_suite->runtime.ops->paths(run.instance)->log, &st), 0);
    assert_true(st.st_size <= 65536 + 256);
    assert_true(syn_str_starts(syn_buf_text(&run.out), "1\n2\n3\n"));
    syn_run_end(&run);
}

static void
assert_gapless(const struct syn_run *run)
{
    SYN_BUF(text);
    int64_t at = run->status.started_at_ms, seq = 0, cpu_ms = 0;

    syn_suite_read_text(syn_suite->runtime.ops->paths(run->instance)->usage, &text);
    for (const char *line = syn_buf_text(&text); *line != '\0'; line += strcspn(line, "\n") + 1) {
        struct syn_usage_sample usage;
        struct syn_err err = {0};

        assert_done(syn_usage_parse(line, strcspn(line, "\n"), &usage, &err), &err);
        assert_int_equal(usage.seq, ++seq);
        assert_int_equal(usage.from_ms, at);
        assert_true(usage.to_ms > usage.from_ms);
        at = usage.to_ms;
        cpu_ms += usage.cpu_ms;
    }
    assert_int_equal(at, run->status.ended_at_ms);
    assert_true(seq >= 3);
    assert_true(cpu_ms > 100);
}

static void
usage_has_no_gap(void **state)
{
    struct syn_run run;

    (void)state;
    syn_run_shell(&run, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 2.3");
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_gapless(&run);
    syn_run_end(&run);
    for (int i = 0; i < 5; i++) { /* however short it was */
        syn_run_shell(&run, "exit 0");
        (void)syn_run_usage(&run);
        syn_run_end(&run);
    }
}

/* ---- crashes ---- */

static void
instance_outlives_its_starter(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "echo ready; sleep 2.5; "
                                "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo bye",
                                NULL};
    struct syn_instance_spec spec = {.argv = argv, .scratch_bytes = 16 * MIB};
    struct syn_err err = {0};
    struct syn_runtime again;
    struct syn_run run;
    int status;
    pid_t pid;

    (void)state;
    syn_run_name(&run);
    spec.id = run.id;
    spec.dir = run.dir;
    pid = fork();
    if (pid == 0) {
        struct syn_instance *instance;
        bool ok = CALL(prepare, &spec, &instance, NULL) == 0 && CALL(start, instance, NULL) == 0;

        (void)kill(getpid(), ok ? SIGKILL : SIGABRT);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    again = syn_suite->reopen(syn_suite->arg);
    assert_done(again.ops->adopt(again.self, run.dir, &run.instance, &run.status, &err), &err);
    assert_int_equal(run.status.state, SYN_INSTANCE_RUNNING);
    assert_true(run.status.started_at_ms > 0);
    syn_run_await(&run);
    syn_run_read_log(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out), "ready\nbye\n");
    assert_gapless(&run);
    syn_run_end(&run);
}

static void
lost_supervisor_is_told(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "echo kept > /synor/output/f; echo ready; sleep 60", NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_instance *adopted = NULL;
    struct syn_err err = {0};
    char path[SYN_INSTANCE_PATH_MAX + 64], left[1024] = "";
    struct syn_run run;

    (void)state;
    syn_run_start(&run, &spec);
    await_word(&run, "ready");
    if (!syn_suite->kill_supervisor(run.dir)) {
        print_message("this driver has no supervisor process\n");
        syn_run_end(&run);
        skip();
    }
    assert_done(CALL(adopt, run.dir, &adopted, &run.status, &err), &err);
    assert_int_equal(run.status.state, SYN_INSTANCE_EXITED);
    syn_suite_assert_reason(&run, SYN_EXIT_LOST);
    assert_true(run.status.ended_at_ms >= run.status.started_at_ms);
    (void)snprintf(path, sizeof(path), "%s/f", syn_suite->runtime.ops->paths(adopted)->output);
    assert_int_equal(access(path, F_OK), 0);
    adopted = syn_suite->runtime.ops->close(adopted);
    /* Nothing runs any more, and what was said once is said again. */
    syn_suite->leftovers(run.dir, left, sizeof(left));
    syn_suite_assert_has_not(left, "process");
    syn_suite_assert_has_not(left, "cgroup");
    assert_done(CALL(poll, run.instance, &run.status, &err), &err);
    syn_suite_assert_reason(&run, SYN_EXIT_LOST);
    syn_run_end(&run);
}

/* What a program left running and forgot dies with it, and syn_run_end() finds no zombie of it: not
 * when it ends, and not when its supervisor is killed and all of them come to this process. */
static void
orphans_end_with_their_instance(void **state)
{
    static const char *const endings[] = {"exit 0", "sleep 60"};
    char script[256];
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(endings); i++) {
        struct syn_instance_spec spec = {.argv = argv};
        struct syn_err err = {0};
        struct syn_run run;

        (void)snprintf(script, sizeof(script),
                       "for i in 1 2 3 4; do (sleep 60 & true); (setsid sleep 60 &); done; "
                       "(true &); echo ready; %s",
                       endings[i]);
        syn_run_start(&run, &spec);
        await_word(&run, "ready");
        if (i == 0 || !syn_suite->kill_supervisor(run.dir))
            assert_done(CALL(stop, run.instance, 0, &err), &err);
        syn_run_await(&run);
        syn_run_end(&run);
    }
}

static void
start_cut_short_has_lost_nothing(void **state)
{
    const char *const argv[] = {"/bin/true", NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_instance *adopted = NULL;
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_prepare(&run, &spec);
    if (!syn_suite->cut_start(run.dir)) {
        print_message("this driver has no supervisor process\n");
        syn_run_end(&run);
        skip();
    }
    assert_done(CALL(adopt, run.dir, &adopted, &run.status, &err), &err);
    assert_int_equal(run.status.state, SYN_INSTANCE_PREPARED);
    adopted = syn_suite->runtime.ops->close(adopted);
    syn_run_end(&run);
}

static void
adopting_knows_every_state(void **state)
{
    const char *const argv[] = {"/bin/true", NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_instance *adopted = NULL;
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    assert_code(CALL(adopt, "/no/such/folder", &adopted, &run.status, &err), SYN_E_NOTFOUND, &err);
    syn_run_prepare(&run, &spec);
    assert_done(CALL(adopt, run.dir, &adopted, &run.status, &err), &err);
    assert_int_equal(run.status.state, SYN_INSTANCE_PREPARED);
    assert_done(CALL(start, adopted, &err), &err);
    syn_run_await(&run);
    adopted = syn_suite->runtime.ops->close(adopted);
    assert_done(CALL(adopt, run.dir, &adopted, &run.status, &err), &err);
    assert_int_equal(run.status.state, SYN_INSTANCE_EXITED);
    assert_int_equal(run.status.reason, SYN_EXIT_COMPLETED);
    adopted = syn_suite->runtime.ops->close(adopted);
    syn_run_end(&run);
}

static void
destroy_ends_everything(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "trap '' TERM; (setsid sleep 60 &) ; echo ready; sleep 60", NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_start(&run, &spec);
    await_word(&run, "ready");
    syn_run_end(&run);
    assert_done(CALL(destroy, run.dir, &err), &err);
    /* A folder that was never completed. */
    syn_run_name(&run);
    assert_int_equal(mkdir(run.dir, 0700), 0);
    assert_done(CALL(destroy, run.dir, &err), &err);
    assert_int_equal(access(run.dir, F_OK), -1);
}

static void
names_are_not_reused(void **state)
{
    const char *const argv[] = {"/bin/true", NULL};
    struct syn_instance_spec spec = {.argv = argv};
    struct syn_instance *second = NULL;
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_prepare(&run, &spec);
    assert_code(CALL(prepare, &spec, &second, &err), SYN_E_EXISTS, &err);
    /* The refused second one has not harmed the first. */
    assert_done(CALL(start, run.instance, &err), &err);
    syn_run_await(&run);
    assert_int_equal(run.status.reason, SYN_EXIT_COMPLETED);
    syn_run_end(&run);
}

/* A test that failed half-way leaves its instances: clear them before the next one. */
static int
clear_up(void **state)
{
    DIR *dir = opendir(syn_suite->dir);
    const struct dirent *entry;

    (void)state;
    while (dir && (entry = readdir(dir)) != NULL) {
        char path[SYN_INSTANCE_PATH_MAX];

        if (!syn_str_starts(entry->d_name, "test-") ||
            snprintf(path, sizeof(path), "%s/%s", syn_suite->dir, entry->d_name) >=
                (int)sizeof(path))
            continue;
        (void)CALL(destroy, path, NULL);
    }
    if (dir)
        (void)closedir(dir);
    return 0;
}

int
syn_runtime_suite_run(const char *name, const struct syn_runtime_suite *given)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(exit_status_is_told, clear_up),
        cmocka_unit_test_teardown(failed_start_is_told, clear_up),
        cmocka_unit_test_teardown(environment_is_as_specified, clear_up),
        cmocka_unit_test_teardown(root_is_read_only, clear_up),
        cmocka_unit_test_teardown(syn_suite_binds_are_shown, clear_up),
        cmocka_unit_test_teardown(syn_suite_volumes_outlive_instances, clear_up),
        cmocka_unit_test_teardown(syn_suite_image_replaces_the_host, clear_up),
        cmocka_unit_test_teardown(syn_suite_devices_are_passed_on, clear_up),
        cmocka_unit_test_teardown(syn_suite_memory_is_mounted, clear_up),
        cmocka_unit_test_teardown(syn_suite_secrets_are_files, clear_up),
        cmocka_unit_test_teardown(syn_suite_names_and_signals_are_chosen, clear_up),
        cmocka_unit_test_teardown(syn_suite_saved_goes_on_as_others, clear_up),
        cmocka_unit_test_teardown(syn_suite_what_waits_is_given, clear_up),
        cmocka_unit_test_teardown(syn_suite_damaged_does_not_start, clear_up),
        cmocka_unit_test_teardown(syn_suite_exec_is_within, clear_up),
        cmocka_unit_test_teardown(syn_suite_exec_keeps_streams_apart, clear_up),
        cmocka_unit_test_teardown(syn_suite_exec_has_a_terminal, clear_up),
        cmocka_unit_test_teardown(syn_suite_exec_is_ended, clear_up),
        cmocka_unit_test_teardown(scratch_is_limited, clear_up),
        cmocka_unit_test_teardown(full_scratch_is_named, clear_up),
        cmocka_unit_test_teardown(warm_start_is_a_start, clear_up),
        cmocka_unit_test_teardown(memory_is_limited, clear_up),
        cmocka_unit_test_teardown(fork_bomb_is_contained, clear_up),
        cmocka_unit_test_teardown(cpu_is_limited, clear_up),
        cmocka_unit_test_teardown(start_has_a_core, clear_up),
        cmocka_unit_test_teardown(wall_time_is_limited, clear_up),
        cmocka_unit_test_teardown(stop_runs_the_handler, clear_up),
        cmocka_unit_test_teardown(stop_kills_who_ignores_it, clear_up),
        cmocka_unit_test_teardown(stop_ends_who_does_not_care, clear_up),
        cmocka_unit_test_teardown(signals_are_delivered, clear_up),
        cmocka_unit_test_teardown(host_is_out_of_sight, clear_up),
        cmocka_unit_test_teardown(instances_do_not_see_each_other, clear_up),
        cmocka_unit_test_teardown(there_is_no_network, clear_up),
        cmocka_unit_test_teardown(group_is_a_private_network, clear_up),
        cmocka_unit_test_teardown(group_shares_what_is_bound, clear_up),
        cmocka_unit_test_teardown(syn_suite_account_is_a_network, clear_up),
        cmocka_unit_test_teardown(syn_suite_eager_until_it_settles, clear_up),
        cmocka_unit_test_teardown(privileges_are_dropped, clear_up),
        cmocka_unit_test_teardown(dangerous_calls_are_refused, clear_up),
        cmocka_unit_test_teardown(log_is_complete, clear_up),
        cmocka_unit_test_teardown(log_is_limited, clear_up),
        cmocka_unit_test_teardown(usage_has_no_gap, clear_up),
        cmocka_unit_test_teardown(instance_outlives_its_starter, clear_up),
        cmocka_unit_test_teardown(lost_supervisor_is_told, clear_up),
        cmocka_unit_test_teardown(orphans_end_with_their_instance, clear_up),
        cmocka_unit_test_teardown(start_cut_short_has_lost_nothing, clear_up),
        cmocka_unit_test_teardown(adopting_knows_every_state, clear_up),
        cmocka_unit_test_teardown(destroy_ends_everything, clear_up),
        cmocka_unit_test_teardown(names_are_not_reused, clear_up),
    };

    /* As a daemon may be: then every orphan of an instance becomes a child of this process. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    syn_suite = given;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
