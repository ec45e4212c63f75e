#include "stage_testing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

struct syn_instance {
    int number;
};

struct stage stage = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = -1};

static void
note(const char *call)
{
    size_t len = strlen(stage.calls), word = strlen(call);

    if (len > word && memcmp(stage.calls + len - word - 1, call, word) == 0)
        return;
    assert(len + word + 2 < sizeof(stage.calls));
    (void)snprintf(stage.calls + len, sizeof(stage.calls) - len, "%s ", call);
}

static int
suffer(struct stage_trouble *trouble, const char *what, struct syn_err *err)
{
    if (trouble->times <= 0)
        return SYN_OK;
    trouble->times--;
    return SYN_FAIL(err, trouble->rc, "%s failed as told", what);
}

static void
become(const struct syn_instance_status *status)
{
    stage.status = *status;
    if (status->state == SYN_INSTANCE_EXITED)
        (void)!eventfd_write(stage.ended, 1);
}

void
stage_end(void)
{
    (void)pthread_mutex_lock(&stage.lock);
    become(&stage.end);
    (void)pthread_mutex_unlock(&stage.lock);
}

static struct syn_instance *
new_handle(void)
{
    static struct syn_instance only;

    stage.handles++;
    return &only;
}

static int
stage_prepare(void *self, const struct syn_instance_spec *spec, struct syn_instance **ret,
              struct syn_err *err)
{
    int rc;

    (void)self;
    (void)pthread_mutex_lock(&stage.lock);
    note("prepare");
    rc = suffer(&stage.prepare, "prepare", err);
    if (rc == SYN_OK && mkdir(spec->dir, 0700) < 0)
        rc = SYN_FAIL_SYS(err, errno, "making %s", spec->dir);
    if (rc == SYN_OK) {
        stage.status = (struct syn_instance_status){.state = SYN_INSTANCE_PREPARED};
        *ret = new_handle();
    }
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static int
stage_start(void *self, struct syn_instance *instance, struct syn_err *err)
{
    static const struct syn_instance_status running = {.state = SYN_INSTANCE_RUNNING,
                                                       .started_at_ms = 1000};
    int rc;

    (void)self, (void)instance;
    (void)pthread_mutex_lock(&stage.lock);
    note("start");
    rc = suffer(&stage.start, "start", err);
    if (rc == SYN_OK)
        become(stage.ends_at_once ? &stage.end : &running);
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static void
stage_warm(void *self)
{
    (void)self;
}

static int
stage_stop(void *self, struct syn_instance *instance, int64_t grace_ms, struct syn_err *err)
{
    int rc;

    (void)self, (void)instance;
    (void)pthread_mutex_lock(&stage.lock);
    note("stop");
    rc = suffer(&stage.stop, "stop", err);
    if (rc == SYN_OK)
        stage.grace_ms = grace_ms;
    if (rc == SYN_OK && stage.ends_if_asked)
        become(&stage.end);
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static int
stage_poll(void *self, struct syn_instance *instance, struct syn_instance_status *ret,
           struct syn_err *err)
{
    int rc;

    (void)self, (void)instance;
    (void)pthread_mutex_lock(&stage.lock);
    rc = suffer(&stage.poll, "poll", err);
    if (rc == SYN_OK)
        *ret = stage.status;
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static int
stage_exit_fd(void *self, struct syn_instance *instance, int *ret, struct syn_err *err)
{
    int rc;

    (void)self, (void)instance;
    (void)pthread_mutex_lock(&stage.lock);
    rc = suffer(&stage.exit_fd, "exit_fd", err);
    if (rc == SYN_OK)
        *ret = fcntl(stage.ended, F_DUPFD_CLOEXEC, 3);
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static const struct syn_instance_paths *
stage_paths(const struct syn_instance *instance)
{
    (void)instance;
    return stage.paths;
}

static const char *
stage_isolation(const struct syn_instance *instance)
{
    (void)instance;
    return "runc";
}

static int
stage_adopt(void *self, const char *dir, struct syn_instance **ret,
            struct syn_instance_status *ret_status, struct syn_err *err)
{
    int rc;

    (void)self, (void)dir;
    (void)pthread_mutex_lock(&stage.lock);
    note("adopt");
    rc = suffer(&stage.adopt, "adopt", err);
    if (rc == SYN_OK) {
        *ret_status = stage.status;
        *ret = new_handle();
    }
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static int
stage_destroy(void *self, const char *dir, struct syn_err *err)
{
    int rc;

    (void)self;
    (void)pthread_mutex_lock(&stage.lock);
    note("destroy");
    rc = suffer(&stage.destroy, "destroy", err);
    if (rc == SYN_OK && rmdir(dir) < 0 && errno != ENOENT)
        rc = SYN_FAIL_SYS(err, errno, "removing %s", dir);
    (void)pthread_mutex_unlock(&stage.lock);
    return rc;
}

static struct syn_instance *
close_handle(struct syn_instance *instance)
{
    if (instance != NULL) {
        (void)pthread_mutex_lock(&stage.lock);
        stage.handles--;
        (void)pthread_mutex_unlock(&stage.lock);
    }
    return NULL;
}

const struct syn_runtime_ops stage_ops = {
    .version = SYN_RUNTIME_VERSION,
    .prepare = stage_prepare,
    .start = stage_start,
    .warm = stage_warm,
    .stop = stage_stop,
    .poll = stage_poll,
    .exit_fd = stage_exit_fd,
    .paths = stage_paths,
    .isolation = stage_isolation,
    .adopt = stage_adopt,
    .destroy = stage_destroy,
    .close = close_handle,
};

/* --- for the tests ---------------------------------------------------------------------------- */

void
stage_open(const struct syn_instance_paths *paths)
{
    stage = (struct stage){.paths = paths,
                           .ended = eventfd(0, EFD_CLOEXEC),
                           .end = {.state = SYN_INSTANCE_EXITED,
                                   .reason = SYN_EXIT_COMPLETED,
                                   .started_at_ms = 1000,
                                   .ended_at_ms = 2000,
                                   .message = "exited with status 0"}};
    assert_int_equal(pthread_mutex_init(&stage.lock, NULL), 0);
    assert_true(stage.ended >= 0);
}

void
stage_close(void)
{
    (void)close(stage.ended);
    (void)pthread_mutex_destroy(&stage.lock);
}

bool
stage_was_asked(const char *calls)
{
    bool found;

    (void)pthread_mutex_lock(&stage.lock);
    found = strstr(stage.calls, calls) != NULL;
    (void)pthread_mutex_unlock(&stage.lock);
    return found;
}

void
stage_suffer(const char *troubles)
{
    const struct {
        const char *name;
        struct stage_trouble *trouble;
    } kinds[] = {{"prepare", &stage.prepare}, {"start", &stage.start},     {"adopt", &stage.adopt},
                 {"poll", &stage.poll},       {"exit_fd", &stage.exit_fd}, {"stop", &stage.stop},
                 {"destroy", &stage.destroy}};
    char name[16], times[12], code[32];
    int len;

    for (; sscanf(troubles, " %15[a-z_]:%11[0-9]:%31[a-z-]%n", name, times, code, &len) == 3;
         troubles += len) {
        const struct syn_err_info *info = syn_err_info_by_wire(code);
        struct syn_err err;
        bool found = false;
        uint64_t count = 0;

        assert_non_null(info);
        assert_done(syn_parse_u64(times, 0, INT_MAX, "times", &count, &err), &err);
        for (size_t i = 0; i < SYN_LEN(kinds); i++) {
            if (syn_str_eq(kinds[i].name, name)) {
                *kinds[i].trouble = (struct stage_trouble){(int)count, info->code};
                found = true;
            }
        }
        assert_true(found);
    }
    assert_int_equal(troubles[0], 0);
}
