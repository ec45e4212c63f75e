#include "pretend_testing.h"

#include <synor/base/test.h>

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/map.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/base/world.h>

/* One program; under the lock. Found by its folder, so that another agent finds it again. */
struct program {
    int64_t life_ms; /* INT64_MAX: until it is stopped */
    int64_t started_ms;
    int64_t stop_ms; /* 0: nobody asked */
    int64_t ended_ms;
    int64_t samples;
    int64_t sampled_ms;
};

struct pretend {
    pthread_mutex_t lock;
    struct syn_map *programs; /* folder -> struct program */
    unsigned started;
};

struct syn_instance {
    struct pretend *pretend;
    char dir[SYN_INSTANCE_PATH_MAX];
    char files[5][SYN_INSTANCE_PATH_MAX + 16];
    struct syn_instance_paths paths;
};

static int64_t
now(void)
{
    return syn_wall_ms(syn_world_system());
}

struct pretend *
pretend_new(void)
{
    struct pretend *pretend = syn_calloc(1, sizeof(*pretend));

    assert_non_null(pretend);
    (void)pthread_mutex_init(&pretend->lock, NULL);
    assert_int_equal(syn_map_new(syn_free, &pretend->programs, NULL), SYN_OK);
    return pretend;
}

struct pretend *
pretend_free(struct pretend *pretend)
{
    (void)syn_map_free(pretend->programs);
    (void)pthread_mutex_destroy(&pretend->lock);
    syn_free(pretend);
    return NULL;
}

unsigned
pretend_started(struct pretend *pretend)
{
    unsigned started;

    (void)pthread_mutex_lock(&pretend->lock);
    started = pretend->started;
    (void)pthread_mutex_unlock(&pretend->lock);
    return started;
}

unsigned
pretend_left(struct pretend *pretend)
{
    unsigned left;

    (void)pthread_mutex_lock(&pretend->lock);
    left = (unsigned)syn_map_count(pretend->programs);
    (void)pthread_mutex_unlock(&pretend->lock);
    return left;
}

/* --- handles ---------------------------------------------------------------------------------- */

static struct syn_instance *
open_handle(struct pretend *pretend, const char *dir)
{
    static const char *const names[] = {"log", "usage", "checkpoints", "output", "scratch"};
    struct syn_instance *instance = syn_calloc(1, sizeof(*instance));

    if (instance == NULL)
        return NULL;
    instance->pretend = pretend;
    (void)syn_str_copy(instance->dir, sizeof(instance->dir), dir);
    for (size_t i = 0; i < SYN_LEN(names); i++)
        (void)snprintf(instance->files[i], sizeof(instance->files[i]), "%s/%s", dir, names[i]);
    instance->paths =
        (struct syn_instance_paths){instance->files[0], instance->files[1], instance->files[2],
                                    instance->files[3], instance->files[4]};
    return instance;
}

static struct syn_instance *
close_handle(struct syn_instance *instance)
{
    syn_free(instance);
    return NULL;
}

static const struct syn_instance_paths *
paths(const struct syn_instance *instance)
{
    return &instance->paths;
}

static const char *
isolation(const struct syn_instance *instance)
{
    (void)instance;
    return "runc";
}

/* --- life ------------------------------------------------------------------------------------- */

static int
probe(void *self, struct syn_runtime_info *ret_info, struct syn_err *err)
{
    (void)self;
    (void)err;
    *ret_info = (struct syn_runtime_info){.driver = "pretend",
                                          .sandbox = "runc",
                                          .version = "0",
                                          .platform = "",
                                          .detail = "nothing runs"};
    return SYN_OK;
}

static int
prepare(void *self, const struct syn_instance_spec *spec, struct syn_instance **ret_instance,
        struct syn_err *err)
{
    struct pretend *pretend = self;
    struct program *program = syn_calloc(1, sizeof(*program));
    struct syn_instance *instance = open_handle(pretend, spec->dir);
    int rc = SYN_OK;

    if (program == NULL || instance == NULL || mkdir(spec->dir, 0700) != 0 ||
        mkdir(instance->paths.checkpoints, 0700) != 0 || mkdir(instance->paths.output, 0700) != 0 ||
        mkdir(instance->paths.scratch, 0700) != 0) {
        syn_free(program);
        (void)close_handle(instance);
        return SYN_FAIL_SYS(err, errno, "making %s", spec->dir);
    }
    for (size_t i = 0; spec->argv[i] != NULL; i++) {
        if (syn_parse_i64(spec->argv[i], 0, 60000, "argument", &program->life_ms, NULL) < 0)
            program->life_ms = INT64_MAX;
    }
    (void)pthread_mutex_lock(&pretend->lock);
    if (rc == SYN_OK)
        rc = syn_map_put_take(pretend->programs, spec->dir, program, err);
    else
        syn_free(program);
    (void)pthread_mutex_unlock(&pretend->lock);
    if (rc < 0)
        (void)close_handle(instance);
    else
        *ret_instance = instance;
    return rc;
}

static int
start(void *self, struct syn_instance *instance, struct syn_err *err)
{
    struct pretend *pretend = self;
    struct program *program;

    (void)err;
    (void)pthread_mutex_lock(&pretend->lock);
    program = syn_map_find(pretend->programs, instance->dir);
    program->started_ms = now();
    program->sampled_ms = program->started_ms;
    pretend->started++;
    (void)pthread_mutex_unlock(&pretend->lock);
    return SYN_OK;
}

static void
append(const char *path, const char *text)
{
    FILE *file = fopen(path, "ae");

    if (file != NULL) {
        (void)fputs(text, file);
        (void)fclose(file);
    }
}

/* A sample up to `until_ms`, and a line of log. */
static void
sample(const struct syn_instance *instance, struct program *program, int64_t until_ms)
{
    char at[SYN_FORMAT_MAX];
    char line[512];

    if (until_ms <= program->sampled_ms)
        return;
    (void)snprintf(line, sizeof(line),
                   "{\"seq\":%lld,\"from_ms\":%lld,\"to_ms\":%lld,\"cpu_ms\":0,"
                   "\"memory_bytes\":0,\"memory_peak_bytes\":0,\"scratch_bytes\":0,"
                   "\"pids\":1,\"throttled_ms\":0}\n",
                   (long long)++program->samples, (long long)program->sampled_ms,
                   (long long)until_ms);
    program->sampled_ms = until_ms;
    append(instance->paths.usage, line);
    (void)snprintf(line, sizeof(line), "%s stdout F sample %lld\n", syn_format_time(until_ms, at),
                   (long long)program->samples);
    append(instance->paths.log, line);
}

static void
look(const struct syn_instance *instance, struct program *program, struct syn_instance_status *ret)
{
    int64_t at_ms = now();
    bool over = program->life_ms <= at_ms - program->started_ms;

    *ret = (struct syn_instance_status){.state = SYN_INSTANCE_RUNNING,
                                        .started_at_ms = program->started_ms};
    if (program->ended_ms == 0 && (over || program->stop_ms != 0))
        program->ended_ms = at_ms;
    sample(instance, program, program->ended_ms != 0 ? program->ended_ms : at_ms);
    if (program->ended_ms == 0)
        return;
    ret->state = SYN_INSTANCE_EXITED;
    ret->ended_at_ms = program->ended_ms;
    ret->reason = program->stop_ms != 0 ? SYN_EXIT_STOPPED : SYN_EXIT_COMPLETED;
    ret->exit_code = program->stop_ms != 0 ? 143 : 0;
}

static int
poll_state(void *self, struct syn_instance *instance, struct syn_instance_status *ret_status,
           struct syn_err *err)
{
    struct pretend *pretend = self;
    struct program *program;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&pretend->lock);
    program = syn_map_find(pretend->programs, instance->dir);
    if (program == NULL)
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s is gone", instance->dir);
    else if (program->started_ms == 0)
        *ret_status = (struct syn_instance_status){.state = SYN_INSTANCE_PREPARED};
    else
        look(instance, program, ret_status);
    (void)pthread_mutex_unlock(&pretend->lock);
    return rc;
}

static int
stop(void *self, struct syn_instance *instance, int64_t grace_ms, struct syn_err *err)
{
    struct pretend *pretend = self;
    struct program *program;

    (void)grace_ms;
    (void)err;
    (void)pthread_mutex_lock(&pretend->lock);
    program = syn_map_find(pretend->programs, instance->dir);
    if (program != NULL && program->ended_ms == 0 && program->stop_ms == 0)
        program->stop_ms = now();
    (void)pthread_mutex_unlock(&pretend->lock);
    return SYN_OK;
}

static int
send_signal(void *self, struct syn_instance *instance, int signo, struct syn_err *err)
{
    (void)signo;
    return stop(self, instance, 0, err);
}

static int
exit_fd(void *self, struct syn_instance *instance, int *ret_fd, struct syn_err *err)
{
    (void)self;
    (void)instance;
    (void)ret_fd;
    return SYN_FAIL(err, SYN_E_CONFLICT, "there is no process");
}

static int
stats(void *self, struct syn_instance *instance, struct syn_usage_sample *ret_usage,
      struct syn_err *err)
{
    (void)self;
    (void)instance;
    (void)ret_usage;
    return SYN_FAIL(err, SYN_E_NOTFOUND, "no usage sample yet");
}

static int
adopt(void *self, const char *dir, struct syn_instance **ret_instance,
      struct syn_instance_status *ret_status, struct syn_err *err)
{
    struct syn_instance *instance = open_handle(self, dir);
    int rc;

    if (instance == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s", dir);
    rc = poll_state(self, instance, ret_status, err);
    if (rc < 0)
        (void)close_handle(instance);
    else
        *ret_instance = instance;
    return rc;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int
destroy(void *self, const char *dir, struct syn_err *err)
{
    struct pretend *pretend = self;

    (void)err;
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    (void)pthread_mutex_lock(&pretend->lock);
    (void)syn_map_remove(pretend->programs, dir);
    (void)pthread_mutex_unlock(&pretend->lock);
    return SYN_OK;
}

static const struct syn_runtime_ops ops = {
    .version = SYN_RUNTIME_VERSION,
    .probe = probe,
    .prepare = prepare,
    .start = start,
    .signal = send_signal,
    .stop = stop,
    .poll = poll_state,
    .exit_fd = exit_fd,
    .stats = stats,
    .paths = paths,
    .isolation = isolation,
    .adopt = adopt,
    .destroy = destroy,
    .close = close_handle,
};

struct syn_runtime
pretend_runtime(struct pretend *pretend)
{
    return (struct syn_runtime){&ops, pretend};
}
