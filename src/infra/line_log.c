#include <synor/infra/line_log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define LOOK_NS   INT64_C(1000000000) /* between two looks at who the path is */
#define GATHER_NS 5000000             /* lines that come one by one are written together */
#define TELL_NS   INT64_C(10000000000)

struct syn_line_log {
    char *path;
    int64_t rotate_max;
    unsigned kept;
    size_t buffer_max;
    pthread_t thread;
    bool started;

    /* The thread's: */
    int fd;
    dev_t device;
    ino_t inode;
    int64_t size, looked_ns, told_ns;
    uint64_t told;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under `lock`: */
    struct syn_buf waiting;
    uint64_t lost, announced; /* of `lost` the file knows `announced` */
    bool stop, reopen;
};

static void
lock(struct syn_line_log *log)
{
    int rc = pthread_mutex_lock(&log->lock);

    assert(rc == 0);
    (void)rc;
}

static void
unlock(struct syn_line_log *log)
{
    int rc = pthread_mutex_unlock(&log->lock);

    assert(rc == 0);
    (void)rc;
}

/* --- the file --------------------------------------------------------------------------------- */

static bool
is_stdout(const struct syn_line_log *log)
{
    return strcmp(log->path, "-") == 0;
}

static int
open_file(struct syn_line_log *log, struct syn_err *err)
{
    struct stat seen;
    int fd;

    if (is_stdout(log)) {
        log->fd = STDOUT_FILENO;
        return SYN_OK;
    }
    fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0 || fstat(fd, &seen) < 0) {
        int rc = SYN_FAIL_SYS(err, errno, "opening %s", log->path);

        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    if (log->fd >= 0)
        (void)close(log->fd);
    log->fd = fd;
    log->device = seen.st_dev;
    log->inode = seen.st_ino;
    log->size = S_ISREG(seen.st_mode) ? seen.st_size : 0;
    return SYN_OK;
}

/* The old file goes on being written to where a new one cannot be had. */
static void
open_again(struct syn_line_log *log)
{
    struct syn_err err;

    if (open_file(log, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "log.reopen", &err);
}

static void
rotate(struct syn_line_log *log)
{
    SYN_BUF(from);
    SYN_BUF(to);

    for (unsigned i = log->kept; i >= 1; i--) {
        syn_buf_clear(&from);
        syn_buf_clear(&to);
        syn_buf_adds(&from, log->path);
        if (i > 1)
            syn_buf_addf(&from, ".%u", i - 1);
        syn_buf_addf(&to, "%s.%u", log->path, i);
        if (syn_buf_ok(&from, NULL) < 0 || syn_buf_ok(&to, NULL) < 0)
            return;
        (void)rename(syn_buf_text(&from), syn_buf_text(&to));
    }
    open_again(log);
}

static void
look_at_path(struct syn_line_log *log, bool reopen)
{
    const int64_t now_ns = syn_clock_ns();
    struct stat seen;

    if (is_stdout(log))
        return;
    if (!reopen && now_ns - log->looked_ns >= LOOK_NS) {
        log->looked_ns = now_ns;
        reopen =
            stat(log->path, &seen) < 0 || seen.st_dev != log->device || seen.st_ino != log->inode;
    }
    if (reopen)
        open_again(log);
}

/* How much of it was written. */
static size_t
write_all(struct syn_line_log *log, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t got = write(log->fd, data + done, len - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    log->size += (int64_t)done;
    return done;
}

static uint64_t
count_lines(const char *data, size_t len)
{
    uint64_t count = 0;

    for (const char *at = data; at < data + len; at++) {
        at = memchr(at, '\n', (size_t)(data + len - at));
        if (at == NULL)
            break;
        count++;
    }
    return count;
}

/* --- the thread ------------------------------------------------------------------------------- */

/* The file says what it lacks, and so does our own log, now and then. */
static void
announce(struct syn_line_log *log, uint64_t more, uint64_t all)
{
    const int64_t now_ns = syn_clock_ns();
    char text[96];
    int len = snprintf(text, sizeof(text), "{\"dropped\":%" PRIu64 "}\n", more);

    if (more > 0)
        (void)write_all(log, text, (size_t)len);
    if (all == log->told || (log->told_ns != 0 && now_ns - log->told_ns < TELL_NS))
        return;
    log->told_ns = now_ns;
    syn_log(SYN_LOG_WARN, "log.dropped", "path=%s lines=%" PRIu64, log->path, all - log->told);
    log->told = all;
}

static void
write_out(struct syn_line_log *log, const struct syn_buf *lines, bool reopen)
{
    uint64_t more, all, lost = 0;
    size_t done;

    lock(log);
    all = log->lost;
    more = all - log->announced;
    log->announced = all;
    unlock(log);
    look_at_path(log, reopen);
    if (lines->len > 0 && log->rotate_max > 0 && log->size >= log->rotate_max)
        rotate(log);
    announce(log, more, all);
    done = write_all(log, lines->data, lines->len);
    if (done == lines->len)
        return;
    lost = count_lines(lines->data + done, lines->len - done);
    if (done > 0 && lines->data[done - 1] != '\n')
        (void)write_all(log, "\n", 1); /* what comes next is a line again */
    lock(log);
    log->lost += lost;
    unlock(log);
}

static void *
run(void *arg)
{
    const struct timespec gather = {.tv_nsec = GATHER_NS};
    struct syn_line_log *log = arg;
    SYN_BUF(lines);
    bool stop = false;

    while (!stop) {
        bool reopen;
        struct syn_buf empty = lines;

        lock(log);
        while (!log->stop && !log->reopen && log->waiting.len == 0)
            (void)pthread_cond_wait(&log->wake, &log->lock);
        stop = log->stop;
        reopen = log->reopen;
        log->reopen = false;
        unlock(log);
        if (!stop)
            (void)nanosleep(&gather, NULL);
        lock(log);
        lines = log->waiting;
        log->waiting = empty;
        unlock(log);
        write_out(log, &lines, reopen);
        syn_buf_clear(&lines);
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

int
syn_line_log_new(const struct syn_line_log_options *options, struct syn_line_log **ret,
                 struct syn_err *err)
{
    struct syn_line_log *log = syn_calloc(1, sizeof(*log));
    int rc = SYN_OK;

    if (log == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a log");
    log->fd = -1;
    log->rotate_max = options->rotate_max;
    log->kept = options->kept > 0 ? options->kept : 1;
    log->buffer_max = options->buffer > 0 ? options->buffer : SYN_LINE_LOG_BUFFER;
    (void)pthread_mutex_init(&log->lock, NULL);
    (void)pthread_cond_init(&log->wake, NULL);
    log->path = syn_strdup(options->path);
    if (log->path == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a log");
    if (rc == SYN_OK)
        rc = open_file(log, err);
    if (rc == SYN_OK && pthread_create(&log->thread, NULL, run, log) != 0)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "no thread for a log");
    if (rc < 0) {
        (void)syn_line_log_free(log);
        return rc;
    }
    log->started = true;
    *ret = log;
    return SYN_OK;
}

struct syn_line_log *
syn_line_log_free(struct syn_line_log *log)
{
    if (log == NULL)
        return NULL;
    if (log->started) {
        lock(log);
        log->stop = true;
        (void)pthread_cond_signal(&log->wake);
        unlock(log);
        (void)pthread_join(log->thread, NULL);
    }
    if (log->fd >= 0 && log->fd != STDOUT_FILENO)
        (void)close(log->fd);
    syn_buf_fini(&log->waiting);
    (void)pthread_mutex_destroy(&log->lock);
    (void)pthread_cond_destroy(&log->wake);
    syn_free(log->path);
    syn_free(log);
    return NULL;
}

bool
syn_line_log_add(struct syn_line_log *log, const char *line, size_t len)
{
    bool taken, first;

    assert(len > 0 && line[len - 1] == '\n');
    lock(log);
    first = log->waiting.len == 0;
    taken = log->waiting.len + len <= log->buffer_max;
    if (taken) {
        syn_buf_add(&log->waiting, line, len);
        taken = !log->waiting.failed;
        log->waiting.failed = false;
    }
    log->lost += !taken;
    if (taken && first)
        (void)pthread_cond_signal(&log->wake);
    unlock(log);
    return taken;
}

void
syn_line_log_reopen(struct syn_line_log *log)
{
    lock(log);
    log->reopen = true;
    (void)pthread_cond_signal(&log->wake);
    unlock(log);
}

uint64_t
syn_line_log_lost(struct syn_line_log *log)
{
    uint64_t lost;

    lock(log);
    lost = log->lost;
    unlock(log);
    return lost;
}
