/* The native engine: runc or runsc with --detach, whose first process becomes our child. */
#include "shim_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "../net/netlink_priv.h"
#include "file_priv.h"
#include "group_priv.h"
#include "rootfs_priv.h"
#include "tool_priv.h"

#define DRAIN_MS         2000 /* for output still in the pipes after the end */
#define TOOL_DELETE_MS   15000
#define GVISOR_PIDS_SELF 64 /* the sandbox's own threads count against the host's limit too */

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

/* Of a group that is made, or of one that is there. */
static int
set_limits(const struct shim *shim, struct syn_err *err)
{
    const struct syn_plan *plan = &shim->plan;
    struct syn_cgroup_limits limits = {plan->cpu_millicores, plan->memory_bytes, plan->pids_max};

    if (plan->gvisor && limits.pids_max > 0)
        limits.pids_max += GVISOR_PIDS_SELF;
    return syn_cgroup_create(&shim->layout, plan->cgroup, &limits, err);
}

/* Namespaces and mounts of our own, in the order their effects need. */
static int
enter_world(struct shim *shim, struct syn_err *err)
{
    const struct syn_plan *plan = &shim->plan;
    int rc = syn_cgroup_layout_read(&shim->layout, err);

    if (rc == SYN_OK)
        rc = set_limits(shim, err);
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

/* The input of a program that waits until that ends: with us, if nobody says anything. */
static int
hang_bell(struct shim *shim, int *ret_in, struct syn_err *err)
{
    int in[2];

    if (shim->plan.ahead != SYN_AHEAD_PROGRAM)
        return SYN_OK;
    if (pipe2(in, O_CLOEXEC) < 0)
        return SYN_FAIL_SYS(err, errno, "making pipes");
    *ret_in = in[0];
    shim->bell = in[1];
    return SYN_OK;
}

static int
run_tool(struct shim *shim, struct syn_err *err)
{
    bool restores = shim->plan.restore[0] != '\0';
    struct syn_tool_args args;
    int out[2], log[2];
    SYN_FD(in);
    int rc = hang_bell(shim, &in, err);

    if (rc < 0)
        return rc;
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
    args.in = in;
    if (shim->plan.ahead == SYN_AHEAD_SANDBOX) {
        syn_tool_add(&args, "create");
    } else {
        syn_tool_add(&args, restores ? "restore" : "run");
        syn_tool_add(&args, "--detach");
    }
    if (restores && shim->plan.ahead == 0) {
        syn_tool_add(&args, "--image-path");
        syn_tool_add(&args, shim->plan.restore);
    }
    syn_tool_add_path(&args, "--pid-file=", shim->dir_path, SYN_FILE_PID);
    syn_tool_add(&args, "--bundle");
    syn_tool_add(&args, shim->dir_path);
    syn_tool_add(&args, shim->plan.name);
    rc = syn_tool_spawn(&args, out[1], log[1], &shim->runner, err);
    (void)close(out[1]);
    (void)close(log[1]);
    return rc;
}

static void
tool_signal(struct shim *shim, int signo)
{
    struct syn_tool_args args;
    char number[16];
    pid_t pid;

    (void)snprintf(number, sizeof(number), "%d", signo);
    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    args.commands = shim->plan.gvisor;
    syn_tool_add(&args, "kill");
    syn_tool_add(&args, shim->plan.name);
    syn_tool_add(&args, number);
    (void)!syn_tool_spawn(&args, -1, -1, &pid, NULL);
}

/* The program that waits has found its owner, who has said what it may take. */
static bool
ring(struct shim *shim)
{
    struct syn_plan plan;

    if (syn_plan_read(shim->dir, &plan, NULL) < 0)
        return false;
    shim->plan = plan;
    shim->logger.max_bytes = plan.log_bytes_max;
    if (set_limits(shim, NULL) < 0)
        return false;
    shim->goes_on = true;
    syn_fd_scope(&shim->bell);
    return true;
}

/* Fill the sandbox that waits. Its output is that of the sandbox, which was given at its making. */
static bool
tool_go_on(struct shim *shim)
{
    struct syn_tool_args args;

    if (shim->plan.ahead == SYN_AHEAD_PROGRAM)
        return ring(shim);
    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    args.commands = shim->plan.gvisor;
    syn_tool_add(&args, "restore");
    syn_tool_add(&args, "--detach");
    syn_tool_add(&args, "--bundle");
    syn_tool_add(&args, shim->dir_path);
    syn_tool_add(&args, "--image-path");
    syn_tool_add(&args, shim->plan.restore);
    syn_tool_add(&args, shim->plan.name);
    if (syn_tool_spawn(&args, -1, -1, &shim->runner, NULL) < 0)
        return false;
    shim->runner_done = false;
    shim->goes_on = true;
    return true;
}

/* As it is, in one piece that is mapped when it is restored; it ends with that. */
static bool
tool_save(struct shim *shim)
{
    struct syn_tool_args args;

    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    args.commands = shim->plan.gvisor;
    syn_tool_add(&args, "checkpoint");
    syn_tool_add(&args, "--compression=none");
    syn_tool_add_path(&args, "--image-path=", shim->dir_path, SYN_DIR_SAVING);
    syn_tool_add(&args, shim->plan.name);
    return shim->plan.gvisor && syn_tool_spawn(&args, -1, -1, &shim->saver, NULL) == SYN_OK;
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

/* True once the instance has ended, or will never begin. */
static bool
over(struct shim *shim)
{
    if (!shim->runner_done)
        return false;
    if (!WIFEXITED(shim->runner_status) || WEXITSTATUS(shim->runner_status) != 0)
        return true;
    if (shim->plan.ahead != SYN_AHEAD_SANDBOX || shim->goes_on)
        learn_init(shim);
    if (shim->plan.ahead != 0 && !shim->goes_on) {
        if (shim->plan.ahead == SYN_AHEAD_PROGRAM && (shim->init <= 0 || shim->init_done))
            return true;
        if (!shim->created)
            syn_shim_created(shim);
        return shim->stop != SYN_SHIM_STOP_NONE;
    }
    if (shim->started_ms == 0) {
        if (shim->init <= 0)
            return true;
        syn_shim_started(shim);
    }
    return shim->init_done && shim->saver == 0;
}

static void
read_output(struct shim *shim, enum syn_logger_stream stream)
{
    char data[32768];
    ssize_t got = read(shim->pipes[stream], data, sizeof(data));

    if (got > 0) {
        syn_logger_feed(&shim->logger, stream, data, (size_t)got, syn_shim_wall_ms(shim));
        syn_full_hear(&shim->full, &shim->logger, shim->scratch_path,
                      shim->plan.gvisor || shim->init_done ? 0 : (int)shim->init,
                      syn_shim_mono_ms());
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        (void)close(shim->pipes[stream]);
        shim->pipes[stream] = -1;
    }
}

static void
drain(struct shim *shim)
{
    int64_t deadline = syn_shim_mono_ms() + DRAIN_MS;

    while ((shim->pipes[0] >= 0 || shim->pipes[1] >= 0) && syn_shim_mono_ms() < deadline)
        syn_shim_turn(shim, deadline);
}

/* Remove what only a running instance needs. What fails here is left for destroy(). */
static void
delete_container(struct shim *shim)
{
    struct syn_tool_args args;
    int64_t deadline = syn_shim_mono_ms() + TOOL_DELETE_MS;

    syn_tool_begin(&args, shim->dir_path, &shim->plan);
    args.commands = shim->plan.gvisor;
    syn_tool_add(&args, "delete");
    syn_tool_add(&args, "--force");
    syn_tool_add(&args, shim->plan.name);
    shim->sample_at_ms = SYN_SHIM_NEVER;
    shim->runner_done = false;
    if (syn_tool_spawn(&args, -1, -1, &shim->runner, NULL) == SYN_OK) {
        while (!shim->runner_done && syn_shim_mono_ms() < deadline)
            syn_shim_turn(shim, deadline);
        if (!shim->runner_done)
            (void)kill(shim->runner, SIGKILL);
    }
    syn_shim_reap(shim);
}

static int
begin(struct shim *shim, struct syn_err *err)
{
    int rc = enter_world(shim, err);

    return rc < 0 ? rc : run_tool(shim, err);
}

static void
words(struct shim *shim, char *out, size_t cap)
{
    syn_tool_message(shim->dir, out, cap);
}

const struct syn_shim_engine syn_shim_native = {
    .begin = begin,
    .over = over,
    .read = read_output,
    .signal = tool_signal,
    .go_on = tool_go_on,
    .save = tool_save,
    .drain = drain,
    .words = words,
    .clear = delete_container,
};
