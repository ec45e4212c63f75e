/* Bringing up one forked instance: its door, its files, and the fork. */
#include "forked_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "bundle_priv.h"

#define BACKLOG    1024
#define SAMPLE_MS  1000
#define PIPE_BYTES 262144

int64_t
forked_mono_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

int64_t
forked_wall_ms(const struct forked_row *row)
{
    return row->wall_base_ms + (forked_mono_ms() - row->mono_base_ms);
}

/* --- the door --------------------------------------------------------------------------------- */

/* A thread of its own goes into the namespace and ends there: no way back has to work. */
struct visit {
    const char *netns;
    uint16_t port;
    int fd, rc;
    struct syn_err err;
};

static int
visit(struct visit *visit, struct syn_err *err)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(visit->port), .sin_addr = {htonl(INADDR_ANY)}};
    const int yes = 1;
    SYN_FD(netns);
    SYN_FD(door);

    netns = open(visit->netns, O_RDONLY | O_CLOEXEC);
    if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
        return SYN_FAIL_SYS(err, errno, "entering %.200s", visit->netns);
    door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (door < 0 || setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
        bind(door, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(door, BACKLOG) < 0)
        return SYN_FAIL_SYS(err, errno, "listening at port %d", (int)visit->port);
    visit->fd = syn_fd_take(&door);
    return SYN_OK;
}

static void *
visit_main(void *arg)
{
    struct visit *self = arg;

    self->rc = visit(self, &self->err);
    return NULL;
}

int
forked_door(const char *netns, uint16_t port, int *ret_fd, struct syn_err *err)
{
    struct visit visit = {.netns = netns, .port = port, .fd = -1};
    pthread_t thread;
    int sys = pthread_create(&thread, NULL, visit_main, &visit);

    if (sys != 0)
        return SYN_FAIL_SYS(err, sys, "starting a thread");
    (void)pthread_join(thread, NULL);
    if (visit.rc < 0) {
        if (err)
            *err = visit.err;
        return visit.rc;
    }
    *ret_fd = visit.fd;
    return SYN_OK;
}

/* --- files ------------------------------------------------------------------------------------ */

static int
open_files(struct forked_row *row, struct syn_err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;

    row->dirfd = open(row->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (row->dirfd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", row->dir);
    row->log_fd = openat(row->dirfd, SYN_FILE_LOG, flags, 0644);
    row->usage_fd = openat(row->dirfd, SYN_FILE_USAGE, flags, 0644);
    row->ended = eventfd(0, EFD_CLOEXEC);
    if (row->log_fd < 0 || row->usage_fd < 0 || row->ended < 0)
        return SYN_FAIL_SYS(err, errno, "opening files of %s", row->dir);
    syn_logger_init(&row->logger, row->log_fd, 0, row->plan.log_bytes_max);
    return SYN_OK;
}

/* Its output comes to `row->pipes`; the other ends, which the caller closes, are for the fork. */
static int
open_pipes(struct forked_row *row, int ends[SYN_LOGGER_STREAMS], struct syn_err *err)
{
    for (unsigned i = 0; i < SYN_LOGGER_STREAMS; i++) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
            return SYN_FAIL_SYS(err, errno, "making a pipe");
        row->pipes[i] = fds[0];
        ends[i] = fds[1];
        (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
        (void)fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES); /* where it may not, it is smaller */
    }
    return SYN_OK;
}

/* For whoever opens the folder after us: it ran. */
static int
write_state(const struct forked_row *row, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc =
        syn_json_pack(&doc, err, "{s:I, s:i, s:s}", "started_at_ms", (json_int_t)row->started_ms,
                      "pid", (int)row->pid, "cgroup", row->plan.cgroup);

    return rc < 0 ? rc : syn_file_write_json(row->dirfd, SYN_FILE_STATE, doc, false, err);
}

/* --- the fork --------------------------------------------------------------------------------- */

static int
fork_by(struct forked_zygote *zygote, struct forked_row *row, int door, const int *ends,
        struct syn_err *err)
{
    const struct syn_zygote_spec spec = {.id = row->id,
                                         .code = row->code,
                                         .layer = row->layer[0] != '\0' ? row->layer : NULL,
                                         .env = (const char *const *)row->env,
                                         .host_uid =
                                             syn_bundle_host_id(&row->plan, SYN_UID_DEFAULT),
                                         .memory_bytes = row->plan.memory_bytes,
                                         .pids_max = row->plan.pids_max,
                                         .cpu_millicores = row->plan.cpu_millicores,
                                         .scratch_bytes = row->plan.scratch_bytes,
                                         .door = door,
                                         .log = ends[SYN_LOGGER_STDOUT],
                                         .errors = ends[SYN_LOGGER_STDERR]};

    return syn_zygote_fork(zygote->zygote, &spec, &row->pid, err);
}

/* One that has ended since it was last used is told by the attempt, and another one started. */
static int
fork_it(struct syn_forked *forked, struct forked_row *row, int door, const int *ends,
        struct syn_err *err)
{
    int rc = SYN_E_IO;

    for (int i = 0; i < 2 && rc == SYN_E_IO; i++) {
        struct forked_zygote *zygote;

        rc = forked_keep_take(&forked->keep, row->account, row->python, row->program, &zygote, err);
        if (rc < 0)
            return rc;
        rc = fork_by(zygote, row, door, ends, err);
        if (rc == SYN_OK)
            row->zygote = zygote;
        else
            forked_keep_give(&forked->keep, zygote, rc == SYN_E_IO || rc == SYN_E_TIMEOUT);
    }
    return rc;
}

static void
begin_clock(struct forked_row *row)
{
    int64_t now_ms = forked_mono_ms();

    row->mono_base_ms = now_ms;
    row->wall_base_ms = syn_wall_ms(syn_world_system());
    row->started_ms = row->wall_base_ms;
    row->sample_at_ms = now_ms + SAMPLE_MS;
    row->kill_at_ms = row->gone_at_ms = FORKED_NEVER;
    row->limit_at_ms = row->plan.wall_ms > 0 ? now_ms + row->plan.wall_ms : FORKED_NEVER;
    row->hold_at_ms = row->plan.eager_ms > 0 ? now_ms + row->plan.eager_ms : FORKED_NEVER;
}

static int
bring_up(struct syn_forked *forked, struct forked_row *row, int *ends, struct syn_err *err)
{
    SYN_FD(door);
    int rc = open_files(row, err);

    if (rc == SYN_OK)
        rc = open_pipes(row, ends, err);
    if (rc == SYN_OK)
        rc = forked_door(row->plan.place.netns, row->port, &door, err);
    if (rc == SYN_OK)
        rc = fork_it(forked, row, door, ends, err);
    if (rc < 0)
        return rc;
    begin_clock(row);
    if (row->plan.eager_ms == 0)
        (void)!syn_zygote_settle(row->zygote->zygote, row->pid, NULL);
    row->pidfd = (int)syscall(SYS_pidfd_open, row->pid, 0);
    row->gone = row->pidfd < 0; /* already; what came of it is told by the zygote */
    return write_state(row, err);
}

/* What it was given is the instance's, and nobody else's to remember. */
static void
forget_env(struct forked_row *row)
{
    for (size_t i = 0; row->env && row->env[i]; i++) {
        explicit_bzero(row->env[i], strlen(row->env[i]));
        syn_free(row->env[i]);
    }
    syn_free((void *)row->env);
    row->env = NULL;
}

int
forked_start(struct syn_forked *forked, struct forked_row *row, struct syn_err *err)
{
    int ends[SYN_LOGGER_STREAMS] = {-1, -1};
    int rc = bring_up(forked, row, ends, err);

    for (unsigned i = 0; i < SYN_LOGGER_STREAMS; i++)
        syn_fd_scope(&ends[i]);
    forget_env(row);
    if (rc < 0 && row->zygote) {
        (void)!syn_zygote_destroy(row->zygote->zygote, row->pid, NULL);
        forked_keep_give(&forked->keep, row->zygote, false);
        row->zygote = NULL;
    }
    return rc;
}

struct forked_row *
forked_row_free(struct forked_row *row)
{
    if (!row)
        return NULL;
    forget_env(row);
    syn_fd_scope(&row->dirfd);
    syn_fd_scope(&row->pidfd);
    syn_fd_scope(&row->ended);
    syn_fd_scope(&row->log_fd);
    syn_fd_scope(&row->usage_fd);
    for (unsigned i = 0; i < SYN_LOGGER_STREAMS; i++)
        syn_fd_scope(&row->pipes[i]);
    syn_free(row);
    return NULL;
}
