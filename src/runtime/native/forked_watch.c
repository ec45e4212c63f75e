/* One thread sees to all forked instances of a node: what they print, what they use each second,
 * their clocks, and their ends. What a shim is to an instance of runc; these need none, for they
 * end with this process. */
#include "forked_priv.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "record_priv.h"

#define SAMPLE_MS    1000
#define TOLD_MS      5000 /* within that a zygote tells how one of its own ended */
#define ASK_AGAIN_MS 5
#define FDS_EACH     (SYN_LOGGER_STREAMS + 1)
#define FDS_MAX      (1 + SYN_FORKED_INSTANCES_MAX * FDS_EACH)
#define PIECE        65536
#define REST_MS      2 /* who prints much is read in large pieces, not line by line */

void
forked_wake(struct syn_forked *forked)
{
    (void)eventfd_write(forked->news, 1);
}

/* --- what it prints and uses ------------------------------------------------------------------ */

/* What has come. `last`: it has ended, and nothing will come any more. */
static void
read_pipe(struct forked_row *row, unsigned stream)
{
    char piece[PIECE];
    ssize_t got;

    if (row->pipes[stream] < 0)
        return;
    row->read_at_ms = forked_mono_ms() + REST_MS;
    got = read(row->pipes[stream], piece, sizeof(piece));
    if (got > 0)
        syn_logger_feed(&row->logger, (enum syn_logger_stream)stream, piece, (size_t)got,
                        forked_wall_ms(row));
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        syn_fd_scope(&row->pipes[stream]);
}

/* The rest of what its pipes have: nobody writes any more. */
static void
drain(struct forked_row *row)
{
    for (unsigned i = 0; i < SYN_LOGGER_STREAMS; i++) {
        struct pollfd ready = {.fd = row->pipes[i], .events = POLLIN};

        while (row->pipes[i] >= 0 && poll(&ready, 1, 0) > 0)
            read_pipe(row, i);
    }
    syn_logger_finish(&row->logger, forked_wall_ms(row));
}

static int64_t
grown(int64_t now, int64_t before)
{
    return SYN_MAX(now - before, (int64_t)0);
}

/* Write one sample that begins where the last one ended. */
static void
sample(const struct syn_forked *forked, struct forked_row *row, const struct syn_cgroup_usage *now,
       int64_t to_ms)
{
    struct syn_net_usage traffic = row->traffic;
    int64_t cpu_ms = SYN_MAX(now->cpu_us / 1000, row->cpu_ms_total);
    int64_t throttled_ms = SYN_MAX(now->throttled_us / 1000, row->throttled_ms_total);
    SYN_BUF(line);

    if (!forked->net || syn_net_usage(forked->net, row->plan.id, &traffic, NULL) < 0)
        traffic = row->traffic;
    row->usage = (struct syn_usage_sample){
        .seq = row->usage.seq + 1,
        .from_ms = row->usage.seq == 0 ? row->started_ms : row->usage.to_ms,
        .to_ms = to_ms,
        .cpu_ms = cpu_ms - row->cpu_ms_total,
        .memory_bytes = now->memory_bytes,
        .memory_peak_bytes = now->memory_peak_bytes,
        .pids = now->pids,
        .throttled_ms = throttled_ms - row->throttled_ms_total,
        .egress_bytes = grown(traffic.egress_bytes, row->traffic.egress_bytes),
        .node_bytes = grown(traffic.node_bytes, row->traffic.node_bytes),
        .account_bytes = grown(traffic.account_bytes, row->traffic.account_bytes),
        .received_bytes = grown(traffic.received_bytes, row->traffic.received_bytes),
    };
    row->traffic = traffic;
    row->cpu_ms_total = cpu_ms;
    row->throttled_ms_total = throttled_ms;
    syn_usage_format(&row->usage, &line);
    if (syn_buf_ok(&line, NULL) == SYN_OK)
        (void)!syn_fd_write_all(row->usage_fd, line.data, line.len, NULL);
}

/* --- how it ended ----------------------------------------------------------------------------- */

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
explain(const struct forked_row *row, struct syn_instance_status *exit)
{
    bool failed;

    exit->signal = WIFSIGNALED(row->status) ? WTERMSIG(row->status) : 0;
    exit->exit_code = exit->signal ? 128 + exit->signal : WEXITSTATUS(row->status);
    failed = exit->exit_code != 0;
    if (row->lost) {
        exit->reason = SYN_EXIT_LOST;
        exit->exit_code = 255;
        say(exit, "its zygote ended, and it with it");
    } else if (row->over_time) {
        exit->reason = SYN_EXIT_TIME;
        say(exit, "the wall time limit of %lld ms is over", (long long)row->plan.wall_ms);
    } else if (row->stopped) {
        exit->reason = SYN_EXIT_STOPPED;
        say(exit, "stopped as asked");
    } else if (failed && exit->oom_kills > 0) {
        exit->reason = SYN_EXIT_OOM;
        say(exit, "out of memory: the limit of %lld bytes was reached and a process was killed",
            (long long)row->plan.memory_bytes);
    } else if (exit->signal) {
        exit->reason = SYN_EXIT_FAILED;
        say(exit, "killed by signal %d", exit->signal);
    } else {
        exit->reason = failed ? SYN_EXIT_FAILED : SYN_EXIT_COMPLETED;
        say(exit, "exited with status %d", exit->exit_code);
    }
    if ((row->stopped || row->over_time) && row->killed)
        say(exit, "it did not end within its grace period and was killed");
    if (exit->oom_kills > 0 && exit->reason != SYN_EXIT_OOM)
        say(exit, "%lld of its processes were killed for memory", (long long)exit->oom_kills);
    if (exit->pids_limit_hits > 0)
        say(exit, "the limit of %lld processes was reached %lld times",
            (long long)row->plan.pids_max, (long long)exit->pids_limit_hits);
}

void
forked_conclude(struct syn_forked *forked, struct forked_row *row)
{
    struct syn_instance_status exit = {.state = SYN_INSTANCE_EXITED};
    struct syn_cgroup_usage usage = {0};
    struct syn_err err = {0};

    assert(row->phase == FORKED_CONCLUDES && row->zygote);
    (void)!syn_cgroup_kill(&forked->layout, row->plan.cgroup, NULL);
    drain(row);
    syn_cgroup_usage_read(&forked->layout, row->plan.cgroup, &usage);
    if (row->ended_ms == 0)
        row->ended_ms = forked_wall_ms(row);
    /* A millisecond at least: less is no interval to anybody. */
    row->ended_ms = SYN_MAX(row->ended_ms, SYN_MAX(row->started_ms, row->usage.to_ms) + 1);
    sample(forked, row, &usage, row->ended_ms);
    exit.started_at_ms = row->started_ms;
    exit.ended_at_ms = row->ended_ms;
    exit.oom_kills = usage.oom_kills;
    exit.pids_limit_hits = usage.pids_limit_hits;
    explain(row, &exit);
    (void)!syn_zygote_destroy(row->zygote->zygote, row->pid, NULL);
    forked_keep_give(&forked->keep, row->zygote, row->lost);
    row->zygote = NULL;
    if (syn_exit_write(row->dirfd, &exit, &err) < 0)
        (void)dprintf(row->log_fd, "the result could not be written: %s\n", err.msg);
}

/* --- clocks ----------------------------------------------------------------------------------- */

static void
kill_now(struct forked_row *row)
{
    row->kill_at_ms = FORKED_NEVER;
    row->killed = true;
    if (!row->gone)
        (void)kill(row->pid, SIGKILL);
}

/* What is due of one that runs. Returns when it is looked at next. */
static int64_t
see_to(const struct syn_forked *forked, struct forked_row *row, int64_t now_ms)
{
    int64_t next_ms;

    if (row->limit_at_ms <= now_ms) {
        row->limit_at_ms = FORKED_NEVER;
        if (!row->stopped) {
            row->over_time = true;
            row->kill_at_ms = now_ms + row->plan.grace_ms;
            (void)!syn_zygote_stop(row->zygote->zygote, row->pid, NULL);
        }
    }
    if (row->kill_at_ms <= now_ms)
        kill_now(row);
    if (row->hold_at_ms <= now_ms) {
        row->hold_at_ms = FORKED_NEVER;
        (void)!syn_zygote_settle(row->zygote->zygote, row->pid, NULL);
    }
    if (row->sample_at_ms <= now_ms) {
        struct syn_cgroup_usage usage = {0};

        syn_cgroup_usage_read(&forked->layout, row->plan.cgroup, &usage);
        sample(forked, row, &usage, forked_wall_ms(row));
        row->sample_at_ms = now_ms + SAMPLE_MS;
    }
    next_ms = SYN_MIN(SYN_MIN(row->limit_at_ms, row->kill_at_ms),
                      SYN_MIN(row->hold_at_ms, row->sample_at_ms));
    return row->gone ? SYN_MIN(next_ms, now_ms + ASK_AGAIN_MS) : next_ms;
}

/* Has it ended, and is it known how? */
static bool
is_over(struct forked_row *row, int64_t now_ms)
{
    int rc;

    if (!row->gone)
        return false;
    if (row->gone_at_ms == FORKED_NEVER) {
        row->gone_at_ms = now_ms;
        row->ended_ms = forked_wall_ms(row);
    }
    rc = syn_zygote_poll(row->zygote->zygote, row->pid, &row->status, NULL);
    row->lost = rc < 0 || (rc == SYN_ZYGOTE_RUNS && now_ms - row->gone_at_ms >= TOLD_MS);
    return rc == SYN_OK || row->lost;
}

/* --- the thread ------------------------------------------------------------------------------- */

/* What is waited for: fds[0] are news; the others' rows by serial. */
struct waiting {
    struct pollfd fds[FDS_MAX];
    uint64_t serials[FDS_MAX];
    size_t count;
};

/* Its pipes where it is their turn. Returns when it is, else never. */
static int64_t
wait_for(struct waiting *waiting, const struct forked_row *row, int64_t now_ms)
{
    bool rests = now_ms < row->read_at_ms;
    const int fds[FDS_EACH] = {rests ? -1 : row->pipes[0], rests ? -1 : row->pipes[1],
                               row->gone ? -1 : row->pidfd};

    for (size_t i = 0; i < FDS_EACH; i++) {
        if (fds[i] < 0)
            continue;
        waiting->serials[waiting->count] = row->serial;
        waiting->fds[waiting->count++] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    }
    return rests ? row->read_at_ms : FORKED_NEVER;
}

/* Under the lock, which is let go: it is nobody else's until it is over. */
static void
conclude(struct syn_forked *forked, struct forked_row *row)
{
    row->phase = FORKED_CONCLUDES;
    (void)pthread_mutex_unlock(&forked->lock);
    forked_conclude(forked, row);
    (void)pthread_mutex_lock(&forked->lock);
    forked_row_remove(forked, row);
    (void)eventfd_write(row->ended, 1);
    (void)forked_row_free(row);
    (void)pthread_cond_broadcast(&forked->changed);
}

/* Under the lock. Returns when somebody is due. */
static int64_t
look(struct syn_forked *forked, struct waiting *waiting)
{
    int64_t next_ms = FORKED_NEVER;
    size_t i = 0;

    waiting->fds[0] = (struct pollfd){.fd = forked->news, .events = POLLIN};
    waiting->count = 1;
    while (i < forked->count) {
        struct forked_row *row = forked->rows[i];
        int64_t now_ms = forked_mono_ms();

        if (row->phase == FORKED_RUNS && is_over(row, now_ms)) {
            conclude(forked, row);
            i = 0; /* others came and went meanwhile */
            waiting->count = 1;
            next_ms = FORKED_NEVER;
            continue;
        }
        if (row->phase == FORKED_RUNS) {
            int64_t due_ms = see_to(forked, row, now_ms);
            int64_t read_ms = wait_for(waiting, row, now_ms);

            due_ms = SYN_MIN(due_ms, read_ms);
            next_ms = SYN_MIN(next_ms, due_ms);
        }
        i++;
    }
    return next_ms;
}

/* Under the lock. */
static void
take_event(struct syn_forked *forked, uint64_t serial, int fd)
{
    for (size_t i = 0; i < forked->count; i++) {
        struct forked_row *row = forked->rows[i];

        if (row->serial != serial || row->phase != FORKED_RUNS)
            continue;
        if (fd == row->pidfd)
            row->gone = true;
        for (unsigned k = 0; k < SYN_LOGGER_STREAMS; k++)
            if (fd == row->pipes[k])
                read_pipe(row, k);
    }
}

/* All that run have to end: their zygotes do. Under the lock. */
static void
end_all(struct syn_forked *forked)
{
    while (forked->count > 0) {
        struct forked_row *row = forked->rows[0];

        if (row->phase == FORKED_RUNS) {
            row->lost = true;
            conclude(forked, row);
        } else {
            forked_row_remove(forked, row);
            (void)forked_row_free(row);
        }
    }
}

void *
forked_watch_main(void *arg)
{
    static const int64_t forever_ms = 60000;
    struct syn_forked *forked = arg;
    struct waiting waiting;
    eventfd_t count;

    (void)pthread_mutex_lock(&forked->lock);
    while (!forked->stop) {
        int64_t next_ms = look(forked, &waiting), rest_ms;

        (void)pthread_mutex_unlock(&forked->lock);
        rest_ms = forked_keep_rest(&forked->keep, false);
        next_ms = SYN_MIN(next_ms, rest_ms) - forked_mono_ms();
        (void)poll(waiting.fds, waiting.count,
                   (int)SYN_MIN(SYN_MAX(next_ms, (int64_t)0), forever_ms));
        if (waiting.fds[0].revents != 0)
            (void)eventfd_read(forked->news, &count);
        (void)pthread_mutex_lock(&forked->lock);
        for (size_t i = 1; i < waiting.count; i++)
            if (waiting.fds[i].revents != 0)
                take_event(forked, waiting.serials[i], waiting.fds[i].fd);
    }
    end_all(forked);
    (void)pthread_mutex_unlock(&forked->lock);
    return NULL;
}
