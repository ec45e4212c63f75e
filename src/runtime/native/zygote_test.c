/* Real instances, whose program evaluates what it is sent: hostile or curious. Needs root and what
 * holds instances; else the tests say that they did not run. */
#include <synor/runtime/zygote.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

#include "cgroup_priv.h"
#include "file_priv.h"

#define MIB     ((int64_t)1 << 20)
#define WAIT_MS 20000

static const char program[] = "import os, signal, sys\n"
                              "def main(begun, door):\n"
                              "    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
                              "    sys.path.insert(0, '/synor/code')\n"
                              "    names = {}\n"
                              "    print('begins', flush=True)\n"
                              "    while True:\n"
                              "        link, _ = door.accept()\n"
                              "        text = b''\n"
                              "        while piece := link.recv(65536):\n"
                              "            text += piece\n"
                              "        try:\n"
                              "            said = str(eval(text, names))\n"
                              "        except SyntaxError:\n"
                              "            try:\n"
                              "                exec(text, names)\n"
                              "                said = 'done'\n"
                              "            except Exception as error:\n"
                              "                said = f'{type(error).__name__}: {error}'\n"
                              "        except Exception as error:\n"
                              "            said = f'{type(error).__name__}: {error}'\n"
                              "        link.sendall(said.encode())\n"
                              "        link.shutdown(1)\n"
                              "        link.close()\n";

static struct syn_zygote *zygote;
static char code[512];

/* An instance, and the way to it. */
struct made {
    pid_t pid;
    int door, port;
    int log[2];
    char id[32];
};

#define PYTHON "/usr/bin/python3"

static int
open_zygote(struct syn_err *err)
{
    const struct syn_zygote_options options = {.root = syn_test_dir(),
                                               .python = PYTHON,
                                               .program = program,
                                               .program_len = sizeof(program) - 1};

    return syn_zygote_open(&options, &zygote, err);
}

static int
set_up_all(void **state)
{
    char path[600];
    struct syn_err err = {0};
    int rc;

    (void)state;
    if (geteuid() != 0 || access(PYTHON, X_OK) < 0)
        return 0;
    (void)chmod(syn_test_dir(), 0755);
    (void)snprintf(code, sizeof(code), "%s/code", syn_test_dir());
    (void)snprintf(path, sizeof(path), "%s/part.py", code);
    assert_int_equal(mkdir(code, 0755), 0);
    assert_done(syn_file_write(AT_FDCWD, path, "name = 'part'\n", 14, &err), &err);
    assert_int_equal(chmod(path, 0666), 0); /* that it is read-only is the mount's doing */
    assert_int_equal(chmod(code, 0777), 0);
    rc = open_zygote(&err);
    if (rc == SYN_E_UNSUPPORTED) {
        print_message("# %s\n", err.msg);
        return 0;
    }
    assert_done(rc, &err);
    return 0;
}

static int
tear_down_all(void **state)
{
    (void)state;
    zygote = syn_zygote_close(zygote);
    return 0;
}

static void
need_zygote(void)
{
    if (zygote == NULL) {
        print_message("skipped: needs root, /usr/bin/python3 and libseccomp\n");
        skip();
    }
}

static int
listen_at(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static struct made
make_of(const char *secret, int64_t pids, int64_t memory)
{
    static unsigned number;
    const char *const env[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", secret, NULL};
    struct made made = {.pid = 0};
    struct syn_zygote_spec spec = {.code = code,
                                   .env = env,
                                   .memory_bytes = memory,
                                   .pids_max = pids,
                                   .cpu_millicores = 1000,
                                   .scratch_bytes = 8 * MIB};
    struct syn_err err = {0};

    (void)snprintf(made.id, sizeof(made.id), "t%d-%u", (int)getpid(), ++number);
    assert_int_equal(pipe2(made.log, O_CLOEXEC), 0);
    spec.id = made.id;
    spec.host_uid = 700000 + number;
    spec.door = made.door = listen_at(&made.port);
    spec.log = made.log[1];
    assert_done(syn_zygote_fork(zygote, &spec, &made.pid, &err), &err);
    assert_true(made.pid > 1);
    return made;
}

static struct made
make(void)
{
    need_zygote();
    return make_of("A=1", 16, 64 * MIB);
}

static void
unmake(struct made *made)
{
    struct syn_err err = {0};

    assert_done(syn_zygote_destroy(zygote, made->pid, &err), &err);
    (void)close(made->door);
    (void)close(made->log[0]);
    (void)close(made->log[1]);
}

/* What the instance says to the text: "" when it ended over it. Until the next call. */
static const char *
say(const struct made *made, const char *text)
{
    static char said[65536];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)made->port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    size_t len = 0;
    ssize_t n;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

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

#define assert_says(made, text, want) assert_string_equal(say(made, text), want)

static void
assert_refused(const struct made *made, const char *text, const char *error)
{
    const char *said = say(made, text);

    if (strstr(said, error) == NULL)
        fail_msg("%s: \"%s\", expected %s", text, said, error);
}

static int
await_end(const struct made *made)
{
    struct syn_err err = {0};
    int status = 0, rc = SYN_ZYGOTE_RUNS;

    for (int i = 0; i < WAIT_MS && rc == SYN_ZYGOTE_RUNS; i++) {
        rc = syn_zygote_poll(zygote, made->pid, &status, &err);
        if (rc == SYN_ZYGOTE_RUNS)
            (void)poll(NULL, 0, 1);
    }
    assert_done(rc, &err);
    return status;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void
it_has_no_power(void **state)
{
    struct made made = make();

    (void)state;
    assert_says(&made, "import os, socket, ctypes, signal", "done");
    assert_says(&made, "os.getpid(), os.getuid(), os.geteuid(), os.getgid(), os.getgroups()",
                "(1, 1000, 1000, 1000, [])");
    assert_says(&made,
                "[l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', "
                "'CapPrm', 'CapInh', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp:'))]",
                "['0000000000000000', '0000000000000000', '0000000000000000', "
                "'0000000000000000', '0000000000000000', '1', '2']");
    assert_says(&made, "libc = ctypes.CDLL(None, use_errno=True)", "done");
    assert_says(&made, "libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0), ctypes.get_errno()",
                "(-1, 1)");
    assert_says(&made, "libc.unshare(0x10000000), ctypes.get_errno()", "(-1, 1)");
    assert_says(&made, "libc.ptrace(0, 0, 0, 0), ctypes.get_errno()", "(-1, 1)");
    assert_says(&made, "libc.setns(0, 0), ctypes.get_errno()", "(-1, 1)");
    assert_says(&made, "libc.syscall(321, 0, 0, 0), ctypes.get_errno()", "(-1, 1)"); /* bpf */
    assert_refused(&made, "os.setuid(0)", "Error");
    assert_refused(&made, "os.chroot('/tmp')", "PermissionError");
    assert_refused(&made, "os.nice(-5)", "PermissionError");
    assert_refused(&made, "socket.sethostname('x')", "PermissionError");
    unmake(&made);
}

static void
it_sees_nobody_else(void **state)
{
    struct made one = make(), two = make();
    char text[800];

    (void)state;
    assert_says(&one, "import os, socket", "done");
    assert_says(&one, "[p for p in os.listdir('/proc') if p.isdigit()]", "['1']");
    (void)snprintf(text, sizeof(text), "os.kill(%d, 0)", (int)two.pid);
    assert_refused(&one, text, "ProcessLookupError");
    assert_says(&one, "sorted(set(os.listdir('/')) - {'lib32', 'lib64', 'libx32'})",
                "['bin', 'dev', 'etc', 'lib', 'proc', 'sbin', 'synor', 'tmp', 'usr', 'var']");
    (void)snprintf(text, sizeof(text),
                   "os.path.exists('%s'), os.path.exists('/etc/shadow'), "
                   "os.path.exists('/root'), os.path.exists('/sys/fs')",
                   syn_test_dir());
    assert_says(&one, text, "(False, False, False, False)");
    assert_says(&one, "open('/tmp/mine', 'w').write('x')", "1");
    assert_says(&two, "__import__('os').listdir('/tmp')", "[]");
    assert_says(&one, "dict(os.environ)", "{'PATH': '/usr/bin:/bin', 'HOME': '/tmp', 'A': '1'}");
    /* Its standard streams, the door, the link, and what lists them. */
    assert_says(&one, "len(os.listdir('/proc/self/fd'))", "6");
    assert_says(&one, "__import__('pwd').getpwuid(1000).pw_name", "synor");
    unmake(&one);
    unmake(&two);
}

static void
it_changes_nothing(void **state)
{
    struct made made = make();

    (void)state;
    assert_says(&made, "__import__('part').name", "part");
    assert_refused(&made, "open('/usr/new', 'w')", "Read-only file system");
    assert_refused(&made, "open('/synor/code/part.py', 'a')", "Read-only file system");
    assert_refused(&made, "open('/synor/code/new', 'w')", "Read-only file system");
    assert_refused(&made, "open('/new', 'w')", "Read-only file system");
    assert_refused(&made, "open('/etc/passwd', 'a')", "Read-only file system");
    assert_refused(&made, "open('/proc/sys/kernel/hostname', 'w')", "Error");
    assert_refused(&made, "open('/tmp/big', 'wb', buffering=0).write(bytes(16 << 20)) and 1/0",
                   "Error"); /* less than that is written */
    assert_says(&made, "__import__('os').path.getsize('/tmp/big') <= 8 << 20", "True");
    unmake(&made);
}

static void
its_network_is_its_own(void **state)
{
    struct made made = make();
    char text[160];
    int port, door = listen_at(&port);

    (void)state;
    assert_says(&made, "import socket", "done");
    assert_says(&made, "socket.if_nameindex()", "[(1, 'lo')]");
    (void)snprintf(text, sizeof(text), "socket.create_connection(('127.0.0.1', %d), 5)", port);
    assert_refused(&made, text, "ConnectionRefusedError");
    assert_refused(&made, "socket.create_connection(('192.0.2.1', 80), 5)",
                   "Network is unreachable");
    assert_refused(&made, "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "PermissionError");
    assert_says(&made, "s = socket.create_server(('127.0.0.1', 8000))", "done"); /* within */
    assert_says(&made, "socket.create_connection(('127.0.0.1', 8000), 5).close()", "None");
    (void)close(door);
    unmake(&made);
}

/* What one was given is not in the memory that the next begins with. */
static void
secrets_do_not_stay(void **state)
{
    /* What is looked for must not be there because it is looked for: in two parts. */
    static const char scan[] = "def scan(first, second):\n"
                               "    found = 0\n"
                               "    mem = open('/proc/self/mem', 'rb', 0)\n"
                               "    for line in open('/proc/self/maps'):\n"
                               "        at, mode = line.split()[:2]\n"
                               "        if not mode.startswith('rw') or '[v' in line:\n"
                               "            continue\n"
                               "        a, b = (int(x, 16) for x in at.split('-'))\n"
                               "        mem.seek(a)\n"
                               "        try:\n"
                               "            block = mem.read(b - a)\n"
                               "            i = block.find(first)\n"
                               "            while i >= 0:\n"
                               "                found += block.startswith(second, i + len(first))\n"
                               "                i = block.find(first, i + 1)\n"
                               "        except OSError:\n"
                               "            pass\n"
                               "    return found > 0\n";
    struct made one, two;

    (void)state;
    need_zygote();
    one = make_of("SECRET=quite-secret-word-17", 16, 256 * MIB);
    assert_says(&one, scan, "done");
    assert_says(&one, "scan(b'quite-sec', b'ret-word-17')", "True"); /* it would be found */
    two = make_of("B=2", 16, 256 * MIB);
    assert_says(&two, scan, "done");
    assert_says(&two, "scan(b'quite-sec', b'ret-word-17')", "False");
    unmake(&one);
    unmake(&two);
}

static void
a_fork_bomb_is_bounded(void **state)
{
    struct made bomb = make(), other = make();

    (void)state;
    assert_says(&bomb, "import os, time", "done");
    assert_refused(&bomb,
                   "for i in range(10000):\n"
                   "    if os.fork() == 0:\n"
                   "        time.sleep(60)\n"
                   "        os._exit(0)\n",
                   "BlockingIOError");
    assert_says(&bomb, "len([p for p in os.listdir('/proc') if p.isdigit()])", "16");
    assert_says(&other, "1 + 1", "2");
    unmake(&bomb);
    unmake(&other);
}

static void
a_memory_bomb_is_bounded(void **state)
{
    struct made bomb = make(), other = make();
    int status;

    (void)state;
    assert_says(&bomb, "len(bytearray(b'x') * (1 << 30))", "");
    status = await_end(&bomb);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_says(&other, "1 + 1", "2");
    unmake(&bomb);
    unmake(&other);
}

static void
it_ends_when_asked(void **state)
{
    struct made made = make();
    struct syn_err err = {0};
    int status;

    (void)state;
    assert_says(&made, "1", "1");
    assert_int_equal(syn_zygote_poll(zygote, made.pid, &status, &err), SYN_ZYGOTE_RUNS);
    assert_done(syn_zygote_settle(zygote, made.pid, &err), &err);
    assert_done(syn_zygote_stop(zygote, made.pid, &err), &err);
    status = await_end(&made);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    unmake(&made);
    assert_code(syn_zygote_poll(zygote, made.pid, &status, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_zygote_destroy(zygote, made.pid, &err), &err); /* again is fine */
}

static void
nothing_is_left(void **state)
{
    struct made made = make();
    struct syn_cgroup_layout layout;
    struct syn_err err = {0};
    char group[96];
    int pids[4];

    (void)state;
    assert_says(&made, "__import__('subprocess').Popen(['sleep', '60']) and 1", "1");
    assert_done(syn_cgroup_layout_read(&layout, &err), &err);
    (void)snprintf(group, sizeof(group), "/synor/fork-%s", made.id);
    assert_int_equal(syn_cgroup_pids(&layout, group, pids, SYN_LEN(pids)), 2);
    unmake(&made);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < WAIT_MS && kill(pids[i], 0) == 0; k++)
            (void)poll(NULL, 0, 1);
        assert_int_equal(kill(pids[i], 0), -1);
    }
    assert_int_equal(syn_cgroup_pids(&layout, group, pids, SYN_LEN(pids)), 0);
}

static void
bad_specs_are_refused(void **state)
{
    const char *const env[] = {NULL};
    const struct syn_zygote_spec good = {.id = "bad",
                                         .code = code,
                                         .env = env,
                                         .host_uid = 700000,
                                         .memory_bytes = 64 * MIB,
                                         .pids_max = 8,
                                         .cpu_millicores = 100,
                                         .scratch_bytes = MIB};
    struct syn_zygote_spec bad[] = {good, good, good, good};
    struct syn_err err = {0};
    pid_t pid;

    (void)state;
    need_zygote();
    bad[0].id = "../x";
    bad[1].host_uid = 0;
    bad[2].memory_bytes = 0;
    bad[3].code = "/nowhere";
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_code(syn_zygote_fork(zygote, &bad[i], &pid, &err), SYN_E_INVALID, &err);
}

/* The state of the process, 'Z' for one that has ended and is not reaped; 0: there is none. */
static char
state_of(pid_t pid, pid_t *ret_parent)
{
    char path[64];
    SYN_BUF(text);
    const char *end;
    uint64_t parent = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (syn_file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    end = strrchr(syn_buf_text(&text), ')');
    if (end == NULL || end[1] != ' ')
        return 0;
    (void)!syn_scan_u64(end + 4, 10, &parent, NULL);
    *ret_parent = (pid_t)parent;
    return end[2];
}

static void
await_gone(pid_t pid)
{
    pid_t parent;
    char now = 'R';

    for (int i = 0; i < WAIT_MS && now != 0 && now != 'Z'; i++) {
        (void)poll(NULL, 0, 1);
        now = state_of(pid, &parent);
    }
    assert_true(now == 0 || now == 'Z');
}

/* Also where nothing could be said any more. */
static void
a_killed_zygote_takes_them_along(void **state)
{
    struct made made = make();
    struct syn_err err = {0};
    pid_t parent = 0;
    int status, rc = SYN_ZYGOTE_RUNS;

    (void)state;
    assert_says(&made, "1", "1");
    assert_true(state_of(made.pid, &parent) != 0);
    assert_true(parent > 1);
    assert_int_equal(kill(parent, SIGKILL), 0);
    await_gone(made.pid);
    /* Its socket may close a moment after what it forked has ended. */
    for (int i = 0; i < WAIT_MS && rc == SYN_ZYGOTE_RUNS; i++) {
        rc = syn_zygote_poll(zygote, made.pid, &status, &err);
        (void)poll(NULL, 0, 1);
    }
    assert_code(rc, SYN_E_IO, &err);
    unmake(&made);
    zygote = syn_zygote_close(zygote);
    assert_int_equal(open_zygote(&err), SYN_OK);
}

/* Who opened it is gone: so is all that it forked. */
static void
instances_end_with_their_zygote(void **state)
{
    struct made made = make();
    const pid_t pid = made.pid;

    (void)state;
    assert_says(&made, "1", "1");
    zygote = syn_zygote_close(zygote);
    await_gone(pid);
    (void)close(made.door);
    (void)close(made.log[0]);
    (void)close(made.log[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_no_power),
        cmocka_unit_test(it_sees_nobody_else),
        cmocka_unit_test(it_changes_nothing),
        cmocka_unit_test(its_network_is_its_own),
        cmocka_unit_test(secrets_do_not_stay),
        cmocka_unit_test(a_fork_bomb_is_bounded),
        cmocka_unit_test(a_memory_bomb_is_bounded),
        cmocka_unit_test(it_ends_when_asked),
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(a_killed_zygote_takes_them_along),
        cmocka_unit_test(instances_end_with_their_zygote), /* the last */
    };

    syn_json_init();
    return cmocka_run_group_tests_name("zygote", tests, set_up_all, tear_down_all);
}
