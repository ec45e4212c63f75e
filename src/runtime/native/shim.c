/* The shim: one small process per instance that outlives the agent.
 *
 *   agent --spawn--> synor shim DIR --fork--> shim (own session, child subreaper)
 *                                              |-- runc/runsc run --detach   ends when it runs
 *                                              `-- the container's first process, orphaned to us
 *
 * With --detach no tool process stays behind: the container's init (runc) or sandbox (runsc)
 * becomes our child through the subreaper bit, and its exit status is the program's. Nobody but the
 * shim holds the pipes of its output, its limits and its clock, so the agent may come and go.
 *
 * One thread, one poll(2) loop; it wakes once a second to sample usage, else only for events. What
 * others may know is in files, replaced atomically; `shim.json` stays locked while we live, so
 * "is it supervised?" is a question about a lock, not about a pid that may be somebody else's.
 *
 * Refused: the tool in the foreground (a 15 MB Go process per instance); a thread in the agent
 * (dies with it); init(1) as parent (loses the exit status). */
#include <synor/runtime/shim.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/base/world.h>

#include "../net/meter_priv.h"
#include "../net/netlink_priv.h"
#include "cgroup_priv.h"
#include "file_priv.h"
#include "full_priv.h"
#include "group_priv.h"
#include "logger_priv.h"
#include "plan_priv.h"
#include "record_priv.h"
#include "rootfs_priv.h"
#include "scratch_priv.h"
#include "tool_priv.h"

#define READY_FD         3
#define CLIENTS_MAX      8
#define REAPED_MAX       64
#define SAMPLE_MS        1000
#define DRAIN_MS         2000 /* for output still in the pipes after the end */
#define TOOL_DELETE_MS   15000
#define GVISOR_PIDS_SELF 64 /* the sandbox's own threads count against the host's limit too */
#define CHILDREN_MAX     256
#define NEVER            INT64_MAX

enum stop_cause { STOP_NONE, STOP_ASKED, STOP_TIME };

struct shim {
    char dir_path[SYN_INSTANCE_PATH_MAX];
    char scratch_path[SYN_INSTANCE_PATH_MAX + 16];
    int dir, lock, ready, signals, listener, usage_fd, log_fd;
    int filter; /* NETLINK_NETFILTER of the node; -1: it has no network that is counted */
    int pipes[SYN_LOGGER_STREAMS];
    int clients[CLIENTS_MAX];
    struct syn_plan plan;
    struct syn_cgroup_layout layout;
    struct syn_logger logger;
    struct syn_full full;

    pid_t runner, init;
    bool runner_done, init_done;
    int runner_status, init_status;
    struct {
        pid_t pid;
        int status;
    } reaped[REAPED_MAX]; /* ends seen before we knew whose they were */
    size_t reaped_count;

    int64_t mono_base_ms, wall_base_ms;
    int64_t started_ms; /* wall; 0 until it runs */
    int64_t ended_ms;
    int64_t sample_at_ms, kill_at_ms, limit_at_ms; /* monotonic */
    enum stop_cause stop;
    int64_t stop_grace_ms; /* asked for before it ran */
    bool node_shutdown, killed;

    struct syn_usage_sample usage; /* the last sample written */
    int64_t cpu_us_base, cpu_ms_total, throttled_ms_total;
    struct syn_net_usage traffic; /* up to the last sample */
};

static int64_t
mono_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

/* Wall time that never jumps: the wall clock at our start plus what the monotonic clock says since.
 */
static int64_t
wall_ms(const struct shim *shim)
{
    return shim->wall_base_ms + (mono_ms() - shim->mono_base_ms);
}

/* ---- set-up ---- */

static int
take_lock(struct shim *shim, struct syn_err *err)
{
    char boot[40], text[160];
    int len;

    shim->lock = openat(shim->dir, SYN_FILE_SHIM, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (shim->lock < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", SYN_FILE_SHIM);
    if (!syn_lock_take(shim->lock))
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s has a supervisor", shim->plan.id);
    if (faccessat(shim->dir, SYN_FILE_EXIT, F_OK, 0) == 0 ||
        faccessat(shim->dir, SYN_FILE_STATE, F_OK, 0) == 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s was started before", shim->plan.id);
    syn_boot_id(boot);
    len = snprintf(text, sizeof(text), "{\"boot\":\"%s\",\"pid\":%d,\"ticks\":%llu}\n", boot,
                   (int)getpid(), (unsigned long long)syn_proc_start_ticks(getpid()));
    if (ftruncate(shim->lock, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "writing %s", SYN_FILE_SHIM);
    return syn_fd_write_all(shim->lock, text, (size_t)len, err);
}

static int
listen_control(struct shim *shim, struct syn_err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    /* Through the descriptor: a data folder's path may be longer than a socket's may. */
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" SYN_FILE_CONTROL,
                   shim->dir);
    (void)unlinkat(shim->dir, SYN_FILE_CONTROL, 0);
    shim->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (shim->listener < 0 ||
        bind(shim->listener, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(shim->listener, CLIENTS_MAX) < 0)
        return SYN_FAIL_SYS(err, errno, "opening the control socket");
    return SYN_OK;
}

static int
open_files(struct shim *shim, struct syn_err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
    struct stat st;
    sigset_t mask;

    shim->log_fd = openat(shim->dir, SYN_FILE_LOG, flags, 0644);
    shim->usage_fd = openat(shim->dir, SYN_FILE_USAGE, flags, 0644);
    if (shim->log_fd < 0 || shim->usage_fd < 0 || fstat(shim->log_fd, &st) < 0)
        return SYN_FAIL_SYS(err, errno, "opening log and usage files");
    syn_logger_init(&shim->logger, shim->log_fd, st.st_size, shim->plan.log_bytes_max);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGCHLD);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGHUP);
    (void)sigaddset(&mask, SIGPIPE);
    if (sigprocmask(SIG_SETMASK, &mask, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "blocking signals");
    shim->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (shim->signals < 0)
        return SYN_FAIL_SYS(err, errno, "opening a signal descriptor");
    return listen_control(shim, err);
}

/* Into the namespace that was made for the instance. Its counters are the node's: whoever asks for
 * them does so by a socket that stays behind. */
static int
enter_network(struct shim *shim, struct syn_err *err)
{
    const char *netns = shim->plan.place.netns;
    int rc = syn_nl_open(NETLINK_NETFILTER, &shim->filter, err);
    SYN_FD(fd);

    if (rc < 0)
        return rc;
    fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "entering %s", netns);
    return SYN_OK;
}

/* Namespaces and mounts of our own, in the order their effects need. */
static int
enter_world(struct shim *shim, struct syn_err *err)
{
    const struct syn_plan *plan = &shim->plan;
    struct syn_cgroup_limits limits = {plan->cpu_millicores, plan->memory_bytes, plan->pids_max};
    int rc = syn_cgroup_layout_read(&shim->layout, err);

    if (plan->gvisor && limits.pids_max > 0)
        limits.pids_max += GVISOR_PIDS_SELF;
    if (rc == SYN_OK)
        rc = syn_cgroup_create(&shim->layout, plan->cgroup, &limits, err);
    if (rc == SYN_OK && plan->group[0] != '\0')
        rc = syn_group_enter(plan->group, plan->address, err);
    else if (rc == SYN_OK && plan->place.netns[0] != '\0')
        rc = enter_network(shim, err);
    if (rc < 0)
        return rc;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return SYN_FAIL_SYS(err, errno, "making a mount namespace");
    rc = syn_rootfs_mount(shim->dir_path, plan, err);
    if (rc < 0)
        return rc;
    /* runsc refuses to set up its network where it sees /proc/sys/net/core/rmem_default, taking
     * that for the host's own namespace; newer kernels show the file in every one. */
    if (plan->gvisor && syn_plan_networked(plan) &&
        mount("synor", "/proc/sys/net", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,mode=755") < 0)
        return SYN_FAIL_SYS(err, errno, "hiding /proc/sys/net");
    return SYN_OK;
}

static int
run_tool(struct shim *shim, struct syn_err *err)
{
    struct syn_tool_args args;
    int out[2], log[2];
    int rc;

    if (pipe2(out, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making pipes");
    shim->pipes[SYN_LOGGER_STDOUT] = out[0];
    if (pipe2(log, O_CLOEXEC) < 0) {
        (void)close(out[1]);
        return SYN_FAIL_SYS(err, errno, "making pipes");
    }
    shim->pipes[SYN_LOGGER_STDERR] = log[0];
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(log[0], F_SETFL, O_NONBLOCK);
    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    syn_tool_add(&args, "run");
    syn_tool_add(&args, "--detach");
    syn_tool_add_path(&args, "--pid-file=", shim->dir_path, SYN_FILE_PID);
    syn_tool_add(&args, "--bundle");
    syn_tool_add(&args, shim->dir_path);
    syn_tool_add(&args, shim->plan.name);
    rc = syn_tool_spawn(&args, out[1], log[1], &shim->runner, err);
    (void)close(out[1]);
    (void)close(log[1]);
    return rc;
}

/* Tell the starter how it went, once. */
static void
report_ready(struct shim *shim, const char *message)
{
    if (shim->ready < 0)
        return;
    (void)!write(shim->ready, message, strlen(message));
    (void)close(shim->ready);
    shim->ready = -1;
}

/* ---- usage ---- */

/* What went over the network so far. Counters that cannot be read, or that somebody reset, count as
 * if nothing had been sent since. */
static struct syn_net_usage
network_traffic(const struct shim *shim)
{
    struct syn_net_usage now, last = shim->traffic;

    if (shim->filter < 0 ||
        syn_meter_read_port(shim->filter, shim->plan.place.port, &now, NULL) < 0)
        return last;
    now.egress_bytes = SYN_MAX(now.egress_bytes, last.egress_bytes);
    now.node_bytes = SYN_MAX(now.node_bytes, last.node_bytes);
    now.account_bytes = SYN_MAX(now.account_bytes, last.account_bytes);
    now.received_bytes = SYN_MAX(now.received_bytes, last.received_bytes);
    return now;
}

/* Write one sample that begins where the last one ended. The last sample ends at `to_ms`. */
static void
sample(struct shim *shim, int64_t to_ms)
{
    struct syn_cgroup_usage now;
    struct syn_scratch_usage scratch = {0};
    struct syn_net_usage traffic;
    int64_t cpu_ms, throttled_ms;
    SYN_BUF(line);

    syn_cgroup_usage_read(&shim->layout, shim->plan.cgroup, &now);
    (void)!syn_scratch_usage_read(shim->scratch_path, &scratch, NULL);
    syn_full_look(&shim->full, shim->scratch_path, mono_ms());
    cpu_ms = SYN_MAX((now.cpu_us - shim->cpu_us_base) / 1000, shim->cpu_ms_total);
    throttled_ms = SYN_MAX(now.throttled_us / 1000, shim->throttled_ms_total);
    traffic = network_traffic(shim);
    shim->usage = (struct syn_usage_sample){
        .seq = shim->usage.seq + 1,
        .from_ms = shim->usage.seq == 0 ? shim->started_ms : shim->usage.to_ms,
        .to_ms = to_ms,
        .cpu_ms = cpu_ms - shim->cpu_ms_total,
        .memory_bytes = now.memory_bytes,
        .memory_peak_bytes = now.memory_peak_bytes,
        .scratch_bytes = scratch.used_bytes,
        .pids = now.pids,
        .throttled_ms = throttled_ms - shim->throttled_ms_total,
        .egress_bytes = traffic.egress_bytes - shim->traffic.egress_bytes,
        .node_bytes = traffic.node_bytes - shim->traffic.node_bytes,
        .account_bytes = traffic.account_bytes - shim->traffic.account_bytes,
        .received_bytes = traffic.received_bytes - shim->traffic.received_bytes,
    };
    shim->traffic = traffic;
    shim->cpu_ms_total = cpu_ms;
    shim->throttled_ms_total = throttled_ms;
    syn_usage_format(&shim->usage, &line);
    if (syn_buf_ok(&line, NULL) == SYN_OK)
        (void)!syn_fd_write_all(shim->usage_fd, line.data, line.len, NULL);
}

/* ---- signals and stopping ---- */

struct disposition {
    pid_t parent;
    bool caught, ignored;
};

static bool
read_disposition(pid_t pid, int signo, struct disposition *ret)
{
    SYN_BUF(text);
    char path[64];
    const char *parent, *ignored, *caught;
    uint64_t ignored_mask, caught_mask, parent_pid;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (syn_file_read(AT_FDCWD, path, 16384, &text, NULL) < 0)
        return false;
    parent = strstr(syn_buf_text(&text), "\nPPid:");
    ignored = strstr(syn_buf_text(&text), "\nSigIgn:");
    caught = strstr(syn_buf_text(&text), "\nSigCgt:");
    if (!parent || !ignored || !caught ||
        !syn_scan_u64(parent + strlen("\nPPid:"), 10, &parent_pid, NULL) ||
        !syn_scan_u64(ignored + strlen("\nSigIgn:"), 16, &ignored_mask, NULL) ||
        !syn_scan_u64(caught + strlen("\nSigCgt:"), 16, &caught_mask, NULL))
        return false;
    *ret = (struct disposition){.parent = (pid_t)parent_pid,
                                .caught = (caught_mask >> (signo - 1)) & 1,
                                .ignored = (ignored_mask >> (signo - 1)) & 1};
    return true;
}

static void
kill_now(struct shim *shim)
{
    shim->killed = true;
    shim->kill_at_ms = NEVER;
    if (shim->init > 0 && !shim->init_done)
        (void)kill(shim->init, SIGKILL);
}

static void
tool_signal(struct shim *shim, int signo)
{
    struct syn_tool_args args;
    char number[16];
    pid_t pid;

    (void)snprintf(number, sizeof(number), "%d", signo);
    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    syn_tool_add(&args, "kill");
    syn_tool_add(&args, shim->plan.name);
    syn_tool_add(&args, number);
    (void)!syn_tool_spawn(&args, -1, -1, &pid, NULL);
}

/* The kernel drops signals that the first process of a pid namespace leaves at their default.
 * Outside a container SIGTERM would end such a program, so do what it would have meant: a plain
 * program ends at once; a shell's foreground children, if they handle the signal, get it in its
 * place. */
static void
terminate_default(struct shim *shim, int signo)
{
    int pids[CHILDREN_MAX];
    size_t count = syn_cgroup_pids(&shim->layout, shim->plan.cgroup, pids, CHILDREN_MAX);
    bool handled = false;

    for (size_t i = 0; i < count; i++) {
        struct disposition child;

        if (pids[i] == shim->init || !read_disposition(pids[i], signo, &child) ||
            child.parent != shim->init || !(child.caught || child.ignored))
            continue;
        (void)kill(pids[i], signo);
        handled = true;
    }
    if (!handled)
        kill_now(shim);
}

static void
deliver(struct shim *shim, int signo)
{
    struct disposition init;
    bool ends = signo == SIGTERM || signo == SIGINT || signo == SIGHUP || signo == SIGQUIT;

    if (shim->init <= 0 || shim->init_done)
        return;
    if (signo == SIGKILL) {
        kill_now(shim);
        return;
    }
    if (shim->plan.gvisor) {
        tool_signal(shim, signo);
        return;
    }
    if (ends && read_disposition(shim->init, signo, &init) && !init.caught && !init.ignored)
        terminate_default(shim, signo);
    else
        (void)kill(shim->init, signo);
}

static void
ask_stop(struct shim *shim, enum stop_cause cause, int64_t grace_ms)
{
    int64_t at = mono_ms() + SYN_MIN(grace_ms, NEVER / 2);

    if (shim->stop != STOP_NONE) {
        shim->kill_at_ms = shim->killed ? NEVER : SYN_MIN(shim->kill_at_ms, at);
        return;
    }
    shim->stop = cause;
    shim->stop_grace_ms = grace_ms;
    if (shim->init <= 0)
        return; /* still starting: on_started() goes on */
    shim->kill_at_ms = at;
    deliver(shim, SIGTERM);
}

/* ---- children ---- */

static void
on_started(struct shim *shim)
{
    struct syn_cgroup_usage usage;
    SYN_JSON(doc);
    int64_t now = mono_ms();

    shim->started_ms = wall_ms(shim);
    shim->sample_at_ms = now + SAMPLE_MS;
    if (shim->plan.wall_ms > 0)
        shim->limit_at_ms = now + shim->plan.wall_ms;
    /* Setting up the sandbox is not the program's time, unless the program is over already. */
    if (!shim->init_done) {
        syn_cgroup_usage_read(&shim->layout, shim->plan.cgroup, &usage);
        shim->cpu_us_base = usage.cpu_us;
    }
    if (syn_json_pack(&doc, NULL, "{s:I, s:i}", "started_at_ms", (json_int_t)shim->started_ms,
                      "pid", (int)shim->init) == SYN_OK)
        (void)!syn_file_write_json(shim->dir, SYN_FILE_STATE, doc, false, NULL);
    report_ready(shim, "ok");
    /* Made durable here, off the way to the first instruction. */
    syn_file_sync(shim->dir, SYN_FILE_PLAN);
    syn_file_sync(shim->dir, SYN_FILE_STATE);
    syn_file_sync(shim->dir, ".");
    syn_scratch_harden(shim->scratch_path);
    if (shim->stop != STOP_NONE) {
        shim->kill_at_ms = now + shim->stop_grace_ms;
        deliver(shim, SIGTERM);
    }
}

static void
learn_init(struct shim *shim)
{
    SYN_BUF(text);
    uint64_t pid;

    if (shim->init > 0 || syn_file_read(shim->dir, SYN_FILE_PID, 64, &text, NULL) < 0 ||
        !syn_scan_u64(syn_buf_text(&text), 10, &pid, NULL) || pid > INT32_MAX)
        return;
    shim->init = (pid_t)pid;
    for (size_t i = 0; i < shim->reaped_count; i++) {
        if (shim->reaped[i].pid == shim->init) {
            shim->init_done = true;
            shim->init_status = shim->reaped[i].status;
        }
    }
}

static void
reap(struct shim *shim)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == shim->runner) {
            shim->runner_done = true;
            shim->runner_status = status;
        } else if (pid == shim->init) {
            shim->init_done = true;
            shim->init_status = status;
        } else if (shim->init <= 0 && shim->reaped_count < REAPED_MAX) {
            shim->reaped[shim->reaped_count].pid = pid;
            shim->reaped[shim->reaped_count++].status = status;
        }
    }
    if (shim->init_done && shim->ended_ms == 0)
        shim->ended_ms = wall_ms(shim);
}

/* True once the instance has ended, or will never begin. */
static bool
over(struct shim *shim)
{
    if (!shim->runner_done)
        return false;
    if (!WIFEXITED(shim->runner_status) || WEXITSTATUS(shim->runner_status) != 0)
        return true;
    if (shim->started_ms == 0) {
        learn_init(shim);
        if (shim->init <= 0)
            return true;
        on_started(shim);
    }
    return shim->init_done;
}

/* ---- the loop ---- */

static void
read_output(struct shim *shim, enum syn_logger_stream stream)
{
    char data[32768];
    ssize_t got = read(shim->pipes[stream], data, sizeof(data));

    if (got > 0) {
        syn_logger_feed(&shim->logger, stream, data, (size_t)got, wall_ms(shim));
        syn_full_hear(&shim->full, &shim->logger, shim->scratch_path,
                      shim->plan.gvisor || shim->init_done ? 0 : (int)shim->init, mono_ms());
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        (void)close(shim->pipes[stream]);
        shim->pipes[stream] = -1;
    }
}

static void
on_signal(struct shim *shim)
{
    struct signalfd_siginfo info;

    while (read(shim->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            shim->node_shutdown = true;
            ask_stop(shim, STOP_ASKED, shim->plan.grace_ms);
        }
    }
    reap(shim);
}

static const char *
answer(struct shim *shim, const char *request)
{
    uint64_t number = 0;

    if (syn_str_starts(request, "signal ") &&
        syn_parse_u64(request + 7, 1, 64, "signal", &number, NULL) == SYN_OK) {
        if (shim->init <= 0 || shim->init_done)
            return "not running";
        deliver(shim, (int)number);
        return "ok";
    }
    if (syn_str_eq(request, "stop") ||
        (syn_str_starts(request, "stop ") &&
         syn_parse_u64(request + 5, 0, INT64_MAX / 4, "grace", &number, NULL) == SYN_OK)) {
        ask_stop(shim, STOP_ASKED, request[4] == '\0' ? shim->plan.grace_ms : (int64_t)number);
        return "ok";
    }
    if (syn_str_eq(request, "status"))
        return shim->started_ms == 0 ? "starting" : shim->init_done ? "exited" : "running";
    return "unknown request";
}

static void
on_client(struct shim *shim, int *client)
{
    char request[64];
    ssize_t got = recv(*client, request, sizeof(request) - 1, MSG_DONTWAIT);
    const char *reply;

    if (got > 0) {
        request[got] = '\0';
        reply = answer(shim, request);
        if (send(*client, reply, strlen(reply), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return;
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    (void)close(*client);
    *client = -1;
}

static void
on_listener(struct shim *shim)
{
    int fd = accept4(shim->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
        if (shim->clients[i] < 0) {
            shim->clients[i] = fd;
            return;
        }
    }
    if (fd >= 0)
        (void)close(fd);
}

static void
on_timers(struct shim *shim)
{
    int64_t now = mono_ms();

    if (now >= shim->sample_at_ms) {
        sample(shim, wall_ms(shim));
        shim->sample_at_ms += SAMPLE_MS * SYN_MAX((now - shim->sample_at_ms) / SAMPLE_MS + 1, 1);
    }
    if (now >= shim->limit_at_ms) {
        shim->limit_at_ms = NEVER;
        ask_stop(shim, STOP_TIME, shim->plan.grace_ms);
    }
    if (now >= shim->kill_at_ms)
        kill_now(shim);
}

/* One turn: wait for something, at most until `deadline_ms`, and handle it. */
static void
turn(struct shim *shim, int64_t deadline_ms)
{
    struct pollfd fds[4 + CLIENTS_MAX];
    int64_t wake = SYN_MIN(SYN_MIN(shim->sample_at_ms, shim->kill_at_ms),
                           SYN_MIN(shim->limit_at_ms, deadline_ms));
    int64_t wait = wake == NEVER ? -1 : SYN_MAX(wake - mono_ms(), 0);

    fds[0] = (struct pollfd){.fd = shim->signals, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = shim->listener, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = shim->pipes[0], .events = POLLIN};
    fds[3] = (struct pollfd){.fd = shim->pipes[1], .events = POLLIN};
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        fds[4 + i] = (struct pollfd){.fd = shim->clients[i], .events = POLLIN};
    if (poll(fds, SYN_LEN(fds), (int)SYN_MIN(wait, 60000)) < 0)
        return;
    if (fds[0].revents)
        on_signal(shim);
    if (fds[2].revents)
        read_output(shim, SYN_LOGGER_STDOUT);
    if (fds[3].revents)
        read_output(shim, SYN_LOGGER_STDERR);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (fds[4 + i].revents)
            on_client(shim, &shim->clients[i]);
    }
    if (fds[1].revents)
        on_listener(shim);
    on_timers(shim);
}

/* ---- the end ---- */

static void
drain(struct shim *shim)
{
    int64_t deadline = mono_ms() + DRAIN_MS;

    while ((shim->pipes[0] >= 0 || shim->pipes[1] >= 0) && mono_ms() < deadline)
        turn(shim, deadline);
    syn_logger_finish(&shim->logger, wall_ms(shim));
}

static void say(struct syn_instance_status *exit, const char *format, ...) SYN_PRINTF(2, 3);

static void
say(struct syn_instance_status *exit, const char *format, ...)
{
    size_t len = strlen(exit->message);
    va_list args;

    if (len > 0 && len + 2 < sizeof(exit->message)) {
        memcpy(exit->message + len, "; ", 3);
        len += 2;
    }
    va_start(args, format);
    (void)vsnprintf(exit->message + len, sizeof(exit->message) - len, format, args);
    va_end(args);
}

static void
decode_status(const struct shim *shim, struct syn_instance_status *exit)
{
    int status = shim->init_status;

    if (WIFSIGNALED(status)) {
        exit->signal = WTERMSIG(status);
        exit->exit_code = 128 + exit->signal;
    } else {
        exit->exit_code = WEXITSTATUS(status);
        /* gVisor's sandbox exits with what a shell would say. */
        if (shim->plan.gvisor && exit->exit_code > 128 && exit->exit_code <= 128 + 64)
            exit->signal = exit->exit_code - 128;
    }
}

static void
explain_scratch(const struct shim *shim, struct syn_instance_status *exit)
{
    enum syn_full_verdict verdict =
        syn_full_judge(&shim->full, &shim->logger, exit->exit_code != 0, mono_ms());
    long long size = (long long)shim->plan.scratch_bytes;

    exit->scratch_full =
        verdict == SYN_FULL_BYTES || verdict == SYN_FULL_FILES || verdict == SYN_FULL_WORDS;
    if (verdict == SYN_FULL_BYTES)
        say(exit, "its scratch space of %lld bytes is full", size);
    else if (verdict == SYN_FULL_FILES)
        say(exit, "its scratch space of %lld bytes has no room for one more file", size);
    else if (verdict == SYN_FULL_WORDS)
        say(exit,
            "its last words were of no space left: its scratch space has %lld bytes, of which at "
            "least %lld were free when they were looked at",
            size, (long long)SYN_MIN(shim->full.bytes_free_least, (int64_t)size));
    else if (verdict == SYN_FULL_SHM)
        say(exit, "its shared memory, /dev/shm, is full");
}

static void
explain(const struct shim *shim, struct syn_instance_status *exit)
{
    bool failed = exit->exit_code != 0;

    if (shim->stop == STOP_TIME) {
        exit->reason = SYN_EXIT_TIME;
        say(exit, "the wall time limit of %lld ms is over", (long long)shim->plan.wall_ms);
    } else if (shim->stop == STOP_ASKED) {
        exit->reason = SYN_EXIT_STOPPED;
        say(exit, shim->node_shutdown ? "the node is shutting down" : "stopped as asked");
    } else if (failed && exit->oom_kills > 0) {
        exit->reason = SYN_EXIT_OOM;
        say(exit, "out of memory: the limit of %lld bytes was reached and %s was killed",
            (long long)shim->plan.memory_bytes,
            shim->plan.gvisor ? "the gVisor sandbox" : "a process");
    } else if (failed) {
        exit->reason = SYN_EXIT_FAILED;
        if (exit->signal)
            say(exit, "killed by signal %d", exit->signal);
        else
            say(exit, "exited with status %d", exit->exit_code);
    } else {
        exit->reason = SYN_EXIT_COMPLETED;
        say(exit, "exited with status 0");
    }
    if (shim->stop != STOP_NONE && shim->killed)
        say(exit, "it did not end within its grace period and was killed");
    if (exit->oom_kills > 0 && exit->reason != SYN_EXIT_OOM)
        say(exit, "%lld of its processes were killed for memory", (long long)exit->oom_kills);
    if (exit->pids_limit_hits > 0)
        say(exit, "the limit of %lld processes was reached %lld times",
            (long long)shim->plan.pids_max, (long long)exit->pids_limit_hits);
    explain_scratch(shim, exit);
}

/* The tool's words, told as a shell would by number: 127 not found, 126 not executable, 125 other.
 */
static void
explain_start(struct shim *shim, const struct syn_err *cause, struct syn_instance_status *exit)
{
    char words[SYN_EXIT_MESSAGE_MAX];

    exit->reason = SYN_EXIT_START;
    exit->exit_code = 125;
    if (cause) {
        say(exit, "%s", cause->msg);
        return;
    }
    syn_tool_message(shim->dir, words, sizeof(words));
    say(exit, "%s", words[0] ? words : "the sandbox did not start and said nothing");
    if (strstr(words, "no such file") || strstr(words, "not found"))
        exit->exit_code = 127;
    else if (strstr(words, "permission denied"))
        exit->exit_code = 126;
}

/* Remove what only a running instance needs. What fails here is left for destroy(). */
static void
clear_up(struct shim *shim)
{
    struct syn_tool_args args;
    int64_t deadline = mono_ms() + TOOL_DELETE_MS;

    (void)!syn_cgroup_kill(&shim->layout, shim->plan.cgroup, NULL);
    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    syn_tool_add(&args, "delete");
    syn_tool_add(&args, "--force");
    syn_tool_add(&args, shim->plan.name);
    shim->sample_at_ms = NEVER;
    shim->runner_done = false;
    if (syn_tool_spawn(&args, -1, -1, &shim->runner, NULL) == SYN_OK) {
        while (!shim->runner_done && mono_ms() < deadline)
            turn(shim, deadline);
        if (!shim->runner_done)
            (void)kill(shim->runner, SIGKILL);
    }
    reap(shim);
    (void)!syn_cgroup_destroy(&shim->layout, shim->plan.cgroup, NULL);
    (void)unlinkat(shim->dir, SYN_FILE_CONTROL, 0);
}

static void
finish(struct shim *shim, const struct syn_err *cause)
{
    struct syn_instance_status exit = {.state = SYN_INSTANCE_EXITED};
    struct syn_cgroup_usage usage;
    char time[SYN_FORMAT_MAX];
    struct syn_err err;

    shim->limit_at_ms = shim->kill_at_ms = shim->sample_at_ms = NEVER;
    (void)!syn_cgroup_kill(&shim->layout, shim->plan.cgroup, NULL);
    drain(shim);
    if (shim->ended_ms == 0)
        shim->ended_ms = wall_ms(shim);
    if (shim->started_ms > 0)
        sample(shim, SYN_MAX(shim->ended_ms, SYN_MAX(shim->started_ms, shim->usage.to_ms)));
    syn_cgroup_usage_read(&shim->layout, shim->plan.cgroup, &usage);
    syn_full_look(&shim->full, shim->scratch_path, mono_ms());
    exit.started_at_ms = shim->started_ms;
    exit.ended_at_ms = SYN_MAX(shim->ended_ms, shim->usage.to_ms);
    exit.oom_kills = usage.oom_kills;
    exit.pids_limit_hits = usage.pids_limit_hits;
    if (shim->started_ms > 0) {
        decode_status(shim, &exit);
        explain(shim, &exit);
    } else {
        explain_start(shim, cause, &exit);
    }
    (void)fdatasync(shim->log_fd);
    (void)fdatasync(shim->usage_fd);
    if (syn_exit_write(shim->dir, &exit, &err) < 0)
        (void)dprintf(shim->log_fd, "%s synor F the result could not be written: %s\n",
                      syn_format_time(wall_ms(shim), time), err.msg);
    report_ready(shim, exit.message);
    clear_up(shim);
}

/* ---- process ---- */

static int
shim_open(struct shim *shim, const char *dir, struct syn_err *err)
{
    int rc;

    shim->lock = shim->signals = shim->listener = shim->usage_fd = shim->log_fd = shim->filter = -1;
    shim->pipes[0] = shim->pipes[1] = -1;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        shim->clients[i] = -1;
    syn_full_init(&shim->full);
    shim->sample_at_ms = shim->kill_at_ms = shim->limit_at_ms = NEVER;
    shim->mono_base_ms = mono_ms();
    shim->wall_base_ms = syn_wall_ms(syn_world_system());
    if (!syn_str_copy(shim->dir_path, sizeof(shim->dir_path), dir))
        return SYN_FAIL(err, SYN_E_INVALID, "instance folder's path is too long");
    (void)snprintf(shim->scratch_path, sizeof(shim->scratch_path), "%s/" SYN_DIR_SCRATCH, dir);
    shim->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shim->dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", dir);
    rc = syn_plan_read(shim->dir, &shim->plan, err);
    if (rc == SYN_OK)
        rc = take_lock(shim, err);
    return rc < 0 ? rc : open_files(shim, err);
}

/* Leave the starter: own session, no inherited descriptors but the one that takes the result. */
static int
leave_starter(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid;

    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        return -1;
    (void)syscall(SYS_close_range, READY_FD + 1, ~0U, 0);
    if (fcntl(READY_FD, F_GETFD) >= 0)
        (void)fcntl(READY_FD, F_SETFD, FD_CLOEXEC);
    pid = fork();
    if (pid < 0)
        return -1;
    if (pid > 0)
        _exit(0);
    if (setsid() < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return -1;
    (void)prctl(PR_SET_NAME, "synor-shim");
    return chdir("/");
}

int
syn_shim_main(int argc, char **argv)
{
    static struct shim shim; /* 170 kB: not for the stack */
    struct syn_err err = {0};
    int rc;

    if (argc < 2 || argv[argc - 1][0] != '/') {
        (void)dprintf(STDERR_FILENO, "usage: shim DIR (started by the agent)\n");
        return 2;
    }
    shim.ready = fcntl(READY_FD, F_GETFD) >= 0 ? READY_FD : -1;
    if (leave_starter() < 0)
        return 1;
    rc = shim_open(&shim, argv[argc - 1], &err);
    if (rc < 0) {
        /* Nothing of this instance is ours: say it to the starter, touch nothing. */
        report_ready(&shim, err.msg);
        return 1;
    }
    rc = enter_world(&shim, &err);
    if (rc == SYN_OK)
        rc = run_tool(&shim, &err);
    if (rc == SYN_OK) {
        while (!over(&shim))
            turn(&shim, NEVER);
    }
    finish(&shim, rc < 0 ? &err : NULL);
    return 0;
}
