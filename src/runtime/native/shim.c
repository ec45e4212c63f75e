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
#include <signal.h>
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
#include "file_priv.h"
#include "record_priv.h"
#include "scratch_priv.h"
#include "shim_priv.h"

#define READY_FD     3
#define SAMPLE_MS    1000
#define CHILDREN_MAX 256
#define FDS_FIXED    6

int64_t
syn_shim_mono_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

/* Wall time that never jumps: the wall clock at our start plus what the monotonic clock says since.
 */
int64_t
syn_shim_wall_ms(const struct shim *shim)
{
    return shim->wall_base_ms + (syn_shim_mono_ms() - shim->mono_base_ms);
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
        listen(shim->listener, SYN_SHIM_CLIENTS_MAX) < 0)
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

/* Tell the starter how it went, once. */
static void
report_ready(struct shim *shim, const char *message)
{
    if (shim->starter >= 0) /* it closes the connection when it has read that */
        (void)send(shim->clients[shim->starter], message, strlen(message),
                   MSG_NOSIGNAL | MSG_DONTWAIT);
    shim->starter = -1;
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

void
syn_shim_count_limits(struct shim *shim)
{
    struct syn_cgroup_usage own = {0}, program = {0};

    syn_cgroup_usage_read(&shim->layout, shim->plan.cgroup, &own);
    if (!syn_str_eq(shim->program_cgroup, shim->plan.cgroup))
        syn_cgroup_usage_read(&shim->layout, shim->program_cgroup, &program);
    shim->oom_kills_seen = SYN_MAX(shim->oom_kills_seen, SYN_MAX(own.oom_kills, program.oom_kills));
    shim->pids_hits_seen =
        SYN_MAX(shim->pids_hits_seen, SYN_MAX(own.pids_limit_hits, program.pids_limit_hits));
    shim->throttled_us_seen =
        SYN_MAX(shim->throttled_us_seen, SYN_MAX(own.throttled_us, program.throttled_us));
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
    syn_shim_count_limits(shim);
    (void)!syn_scratch_usage_read(shim->scratch_path, &scratch, NULL);
    syn_full_look(&shim->full, shim->scratch_path, syn_shim_mono_ms());
    cpu_ms = SYN_MAX((now.cpu_us - shim->cpu_us_base) / 1000, shim->cpu_ms_total);
    throttled_ms = SYN_MAX(shim->throttled_us_seen / 1000, shim->throttled_ms_total);
    traffic = network_traffic(shim);
    shim->usage = (struct syn_usage_sample){
        .seq = shim->usage.seq + 1,
        .from_ms = shim->usage.seq == 0 ? shim->started_ms : shim->usage.to_ms,
        .to_ms = to_ms,
        .cpu_ms = cpu_ms - shim->cpu_ms_total,
        .memory_bytes = now.memory_bytes,
        .memory_peak_bytes = now.memory_peak_bytes,
        .scratch_bytes = scratch.used_bytes,
        .pids = SYN_MAX(now.pids - shim->own_pids, 0),
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
    shim->kill_at_ms = SYN_SHIM_NEVER;
    if (shim->init > 0 && !shim->init_done)
        (void)kill(shim->init, SIGKILL);
}

/* The kernel drops signals that the first process of a pid namespace leaves at their default.
 * Outside a container SIGTERM would end such a program, so do what it would have meant: a plain
 * program ends at once; a shell's foreground children, if they handle the signal, get it in its
 * place. */
static void
terminate_default(struct shim *shim, int signo)
{
    int pids[CHILDREN_MAX];
    size_t count = syn_cgroup_pids(&shim->layout, shim->program_cgroup, pids, CHILDREN_MAX);
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
    if (shim->plan.gvisor && shim->engine->signal) {
        shim->engine->signal(shim, signo);
        return;
    }
    if (ends && read_disposition(shim->init, signo, &init) && !init.caught && !init.ignored)
        terminate_default(shim, signo);
    else
        (void)kill(shim->init, signo);
}

static int
stop_signal(const struct shim *shim)
{
    return shim->plan.stop_signal > 0 ? (int)shim->plan.stop_signal : SIGTERM;
}

static void
ask_stop(struct shim *shim, enum syn_shim_stop cause, int64_t grace_ms)
{
    int64_t at = syn_shim_mono_ms() + SYN_MIN(grace_ms, SYN_SHIM_NEVER / 2);

    if (shim->stop != SYN_SHIM_STOP_NONE) {
        shim->kill_at_ms = shim->killed ? SYN_SHIM_NEVER : SYN_MIN(shim->kill_at_ms, at);
        return;
    }
    shim->stop = cause;
    shim->stop_grace_ms = grace_ms;
    if (shim->init <= 0)
        return; /* still starting: syn_shim_started() goes on */
    shim->kill_at_ms = at;
    deliver(shim, stop_signal(shim));
}

/* ---- children ---- */

/* It had a core at least until now; from here on it has what it asked for. Not every runtime has a
 * group of the program's own. */
static void
hold_cpu(struct shim *shim)
{
    const struct syn_plan *plan = &shim->plan;
    int rc;

    shim->hold_at_ms = SYN_SHIM_NEVER;
    if (plan->cpu_millicores == 0)
        return;
    if (!syn_str_eq(shim->program_cgroup, plan->cgroup))
        (void)!syn_cgroup_limit_cpu(&shim->layout, shim->program_cgroup, plan->cpu_millicores,
                                    NULL);
    rc = syn_cgroup_limit_cpu(&shim->layout, plan->cgroup, plan->cpu_millicores, NULL);
    if (rc < 0 && rc != SYN_E_NOTFOUND)
        kill_now(shim);
}

void
syn_shim_created(struct shim *shim)
{
    shim->created = true;
    report_ready(shim, "ok");
}

void
syn_shim_started(struct shim *shim)
{
    struct syn_cgroup_usage usage;
    SYN_JSON(doc);
    int64_t now = syn_shim_mono_ms();

    shim->started_ms = syn_shim_wall_ms(shim);
    shim->sample_at_ms = now + SAMPLE_MS;
    if (shim->plan.eager_ms > 0)
        shim->hold_at_ms = now + shim->plan.eager_ms;
    else
        hold_cpu(shim);
    if (shim->plan.wall_ms > 0)
        shim->limit_at_ms = now + shim->plan.wall_ms;
    /* Setting up the sandbox is not the program's time, unless the program is over already. */
    if (!shim->init_done) {
        syn_cgroup_usage_read(&shim->layout, shim->plan.cgroup, &usage);
        shim->cpu_us_base = usage.cpu_us;
    }
    if (syn_json_pack(&doc, NULL, "{s:I, s:i, s:s}", "started_at_ms", (json_int_t)shim->started_ms,
                      "pid", (int)shim->init, "cgroup", shim->program_cgroup) == SYN_OK)
        (void)!syn_file_write_json(shim->dir, SYN_FILE_STATE, doc, false, NULL);
    report_ready(shim, "ok");
    /* Made durable here, off the way to the first instruction. */
    syn_file_sync(shim->dir, SYN_FILE_PLAN);
    syn_file_sync(shim->dir, SYN_FILE_STATE);
    syn_file_sync(shim->dir, ".");
    syn_scratch_harden(shim->scratch_path);
    if (shim->stop != SYN_SHIM_STOP_NONE) {
        shim->kill_at_ms = now + shim->stop_grace_ms;
        deliver(shim, stop_signal(shim));
    }
}

void
syn_shim_reap(struct shim *shim)
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
        } else if (pid == shim->saver) {
            shim->saver = 0;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                (void)renameat(shim->dir, SYN_DIR_SAVING, shim->dir, SYN_DIR_SAVED);
        } else if (shim->init <= 0 && shim->reaped_count < SYN_SHIM_REAPED_MAX) {
            shim->reaped[shim->reaped_count].pid = pid;
            shim->reaped[shim->reaped_count++].status = status;
        }
    }
    if (shim->init_done && shim->ended_ms == 0)
        shim->ended_ms = syn_shim_wall_ms(shim);
}

/* ---- the loop ---- */

static void
on_signal(struct shim *shim)
{
    struct signalfd_siginfo info;

    while (read(shim->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            shim->node_shutdown = true;
            ask_stop(shim, SYN_SHIM_STOP_ASKED, shim->plan.grace_ms);
        }
    }
    syn_shim_reap(shim);
}

/* NULL: the answer comes when it runs, or does not. */
static const char *
answer(struct shim *shim, size_t client, const char *request)
{
    uint64_t number = 0;

    if (syn_str_eq(request, "go on")) {
        if (!shim->created || shim->goes_on || !shim->engine->go_on || !shim->engine->go_on(shim))
            return "is not to be started";
        shim->starter = (int)client;
        return NULL;
    }

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
        ask_stop(shim, SYN_SHIM_STOP_ASKED,
                 request[4] == '\0' ? shim->plan.grace_ms : (int64_t)number);
        return "ok";
    }
    if (syn_str_eq(request, "save")) {
        if (shim->started_ms == 0 || shim->init_done || shim->saver > 0)
            return "not running";
        return shim->engine->save && shim->engine->save(shim) ? "ok" : "cannot be saved";
    }
    if (syn_str_eq(request, "settle")) {
        if (shim->hold_at_ms != SYN_SHIM_NEVER)
            hold_cpu(shim);
        return "ok";
    }
    if (syn_str_eq(request, "status"))
        return shim->started_ms == 0 ? "starting" : shim->init_done ? "exited" : "running";
    return "unknown request";
}

static void
on_client(struct shim *shim, size_t index)
{
    int *client = &shim->clients[index];
    char request[64];
    ssize_t got = recv(*client, request, sizeof(request) - 1, MSG_DONTWAIT);
    const char *reply;

    if (got > 0) {
        request[got] = '\0';
        reply = answer(shim, index, request);
        if (!reply || send(*client, reply, strlen(reply), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return;
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (shim->starter == (int)index)
        shim->starter = -1;
    (void)close(*client);
    *client = -1;
}

/* A limit was met, or the group is gone, which poll(2) tells in the same way. */
static void
on_limit(struct shim *shim)
{
    char now[64];

    if (pread(shim->limits, now, sizeof(now), 0) > 0)
        syn_shim_count_limits(shim);
    else
        syn_fd_scope(&shim->limits);
}

/* Whose child it is takes its status; what it went over is looked at while it can be. */
static void
on_ended(struct shim *shim)
{
    shim->ended_ms = syn_shim_wall_ms(shim);
    shim->sample_at_ms = SYN_SHIM_NEVER; /* the last one ends here */
    syn_shim_count_limits(shim);
    syn_fd_scope(&shim->ended);
    shim->look_at_ms = 0;
}

static void
on_listener(struct shim *shim)
{
    int fd = accept4(shim->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && i < SYN_SHIM_CLIENTS_MAX; i++) {
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
    int64_t now = syn_shim_mono_ms();

    if (now >= shim->sample_at_ms) {
        sample(shim, syn_shim_wall_ms(shim));
        shim->sample_at_ms += SAMPLE_MS * SYN_MAX((now - shim->sample_at_ms) / SAMPLE_MS + 1, 1);
    }
    if (now >= shim->limit_at_ms) {
        shim->limit_at_ms = SYN_SHIM_NEVER;
        ask_stop(shim, SYN_SHIM_STOP_TIME, shim->plan.grace_ms);
    }
    if (now >= shim->hold_at_ms)
        hold_cpu(shim);
    if (now >= shim->kill_at_ms)
        kill_now(shim);
}

/* One turn: wait for something, at most until `deadline_ms`, and handle it. */
void
syn_shim_turn(struct shim *shim, int64_t deadline_ms)
{
    struct pollfd fds[FDS_FIXED + SYN_SHIM_CLIENTS_MAX];
    int64_t wake = SYN_MIN(SYN_MIN(SYN_MIN(shim->sample_at_ms, shim->kill_at_ms), shim->look_at_ms),
                           SYN_MIN(SYN_MIN(shim->limit_at_ms, shim->hold_at_ms), deadline_ms));
    int64_t wait = wake == SYN_SHIM_NEVER ? -1 : SYN_MAX(wake - syn_shim_mono_ms(), 0);

    fds[0] = (struct pollfd){.fd = shim->signals, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = shim->listener, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = shim->pipes[0], .events = POLLIN};
    fds[3] = (struct pollfd){.fd = shim->pipes[1], .events = POLLIN};
    fds[4] = (struct pollfd){.fd = shim->ended, .events = POLLIN};
    fds[5] = (struct pollfd){.fd = shim->limits, .events = POLLPRI};
    for (size_t i = 0; i < SYN_SHIM_CLIENTS_MAX; i++)
        fds[FDS_FIXED + i] = (struct pollfd){.fd = shim->clients[i], .events = POLLIN};
    if (poll(fds, SYN_LEN(fds), (int)SYN_MIN(wait, 60000)) < 0)
        return;
    if (fds[0].revents)
        on_signal(shim);
    if (fds[2].revents)
        shim->engine->read(shim, SYN_LOGGER_STDOUT);
    if (fds[3].revents)
        shim->engine->read(shim, SYN_LOGGER_STDERR);
    if (fds[5].revents)
        on_limit(shim);
    if (fds[4].revents)
        on_ended(shim);
    for (size_t i = 0; i < SYN_SHIM_CLIENTS_MAX; i++) {
        if (fds[FDS_FIXED + i].revents)
            on_client(shim, i);
    }
    if (fds[1].revents)
        on_listener(shim);
    on_timers(shim);
}

/* ---- the end ---- */

/* Remove what only a running instance needs. What fails here is left for destroy(). */
static void
clear_up(struct shim *shim)
{
    (void)!syn_cgroup_kill(&shim->layout, shim->plan.cgroup, NULL);
    shim->engine->clear(shim);
    (void)!syn_cgroup_destroy(&shim->layout, shim->plan.cgroup, NULL);
    (void)unlinkat(shim->dir, SYN_FILE_CONTROL, 0);
}

/* There is a result: whoever waits at the control socket for that need not wait until all is
 * cleared up. */
static void
hang_up(struct shim *shim)
{
    for (size_t i = 0; i < SYN_SHIM_CLIENTS_MAX; i++)
        syn_fd_scope(&shim->clients[i]);
    syn_fd_scope(&shim->listener);
}

static void
finish(struct shim *shim, const struct syn_err *cause)
{
    struct syn_instance_status exit = {.state = SYN_INSTANCE_EXITED};
    char time[SYN_FORMAT_MAX];
    struct syn_err err;

    shim->limit_at_ms = shim->kill_at_ms = shim->sample_at_ms = SYN_SHIM_NEVER;
    shim->look_at_ms = shim->hold_at_ms = SYN_SHIM_NEVER;
    (void)!syn_cgroup_kill(&shim->layout, shim->plan.cgroup, NULL);
    shim->engine->drain(shim);
    syn_logger_finish(&shim->logger, syn_shim_wall_ms(shim));
    if (shim->ended_ms == 0)
        shim->ended_ms = syn_shim_wall_ms(shim);
    if (shim->started_ms > 0) { /* a millisecond at least: less is no interval to anybody */
        int64_t from_ms = SYN_MAX(shim->started_ms, shim->usage.to_ms);

        sample(shim, SYN_MAX(shim->ended_ms, from_ms + 1));
    }
    syn_shim_count_limits(shim);
    syn_full_look(&shim->full, shim->scratch_path, syn_shim_mono_ms());
    exit.started_at_ms = shim->started_ms;
    exit.ended_at_ms = SYN_MAX(shim->ended_ms, shim->usage.to_ms);
    exit.oom_kills = shim->oom_kills_seen;
    exit.pids_limit_hits = shim->pids_hits_seen;
    if (shim->started_ms > 0)
        syn_shim_explain(shim, &exit);
    else
        syn_shim_explain_start(shim, cause, &exit);
    (void)fdatasync(shim->log_fd);
    (void)fdatasync(shim->usage_fd);
    if (syn_exit_write(shim->dir, &exit, &err) < 0)
        (void)dprintf(shim->log_fd, "%s synor F the result could not be written: %s\n",
                      syn_format_time(syn_shim_wall_ms(shim), time), err.msg);
    report_ready(shim, exit.message);
    hang_up(shim);
    clear_up(shim);
}

/* ---- process ---- */

static int
shim_open(struct shim *shim, const char *dir, struct syn_err *err)
{
    int rc;

    shim->lock = shim->signals = shim->listener = shim->usage_fd = shim->log_fd = shim->filter = -1;
    shim->pipes[0] = shim->pipes[1] = shim->ended = shim->limits = shim->bell = -1;
    for (size_t i = 0; i < SYN_SHIM_CLIENTS_MAX; i++)
        shim->clients[i] = -1;
    shim->starter = -1;
    syn_full_init(&shim->full);
    shim->sample_at_ms = shim->kill_at_ms = shim->limit_at_ms = SYN_SHIM_NEVER;
    shim->look_at_ms = shim->hold_at_ms = SYN_SHIM_NEVER;
    shim->mono_base_ms = syn_shim_mono_ms();
    shim->wall_base_ms = syn_wall_ms(syn_world_system());
    if (!syn_str_copy(shim->dir_path, sizeof(shim->dir_path), dir))
        return SYN_FAIL(err, SYN_E_INVALID, "instance folder's path is too long");
    (void)snprintf(shim->scratch_path, sizeof(shim->scratch_path), "%s/" SYN_DIR_SCRATCH, dir);
    shim->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shim->dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", dir);
    rc = syn_plan_read(shim->dir, &shim->plan, err);
    (void)syn_str_copy(shim->program_cgroup, sizeof(shim->program_cgroup), shim->plan.cgroup);
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
syn_shim_run(int argc, char **argv, const struct syn_shim_engine *engine)
{
    static struct shim shim; /* 170 kB: not for the stack */
    struct syn_err err = {0};
    int rc;

    if (argc < 2 || argv[argc - 1][0] != '/') {
        (void)dprintf(STDERR_FILENO, "usage: shim DIR (started by the agent)\n");
        return 2;
    }
    shim.engine = engine;
    shim.ready = fcntl(READY_FD, F_GETFD) >= 0 ? READY_FD : -1;
    if (leave_starter() < 0)
        return 1;
    rc = shim_open(&shim, argv[argc - 1], &err);
    if (rc < 0) {
        /* Nothing of this instance is ours: say it to the starter, touch nothing. */
        report_ready(&shim, err.msg);
        return 1;
    }
    rc = engine->begin(&shim, &err);
    if (rc == SYN_OK) {
        while (!engine->over(&shim))
            syn_shim_turn(&shim, SYN_SHIM_NEVER);
    }
    finish(&shim, rc < 0 ? &err : NULL);
    return 0;
}

int
syn_shim_main(int argc, char **argv)
{
    return syn_shim_run(argc, argv, &syn_shim_native);
}
