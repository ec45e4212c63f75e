/* Forked instances as a runtime driver: from a spec to what a zygote is told, and the states. An
 * instance is a row here until it has ended, and a folder as all others have for whoever reads it
 * then. */
#include "forked_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "bundle_priv.h"
#include "record_priv.h"

#define PYTHON          "/usr/bin/python3"
#define IDLE_DEFAULT_MS 900000
#define PIDS_DEFAULT    4096
#define GRACE_DEFAULT   10000
#define LOG_DEFAULT     ((int64_t)64 << 20)
#define SCRATCH_DEFAULT ((int64_t)64 << 20)
#define CPU_DEFAULT     1000
#define DESTROY_S       15
#define CODE            "/synor/code"
#define LAYER           "/synor/layer"
#define TRIAL_MS        10000

static const char *const env_defaults[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "TMPDIR=/tmp",
    "LANG=C.UTF-8"};

/* --- rows ------------------------------------------------------------------------------------- */

struct forked_row *
forked_row_find(const struct syn_forked *forked, const char *dir)
{
    for (size_t i = 0; i < forked->count; i++)
        if (syn_str_eq(forked->rows[i]->dir, dir))
            return forked->rows[i];
    return NULL;
}

void
forked_row_remove(struct syn_forked *forked, const struct forked_row *row)
{
    for (size_t i = 0; i < forked->count; i++) {
        if (forked->rows[i] == row) {
            forked->rows[i] = forked->rows[--forked->count];
            return;
        }
    }
}

static int
row_add(struct syn_forked *forked, struct forked_row *row, struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&forked->lock);
    if (forked->count == SYN_FORKED_INSTANCES_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "this node has %d forked instances",
                      SYN_FORKED_INSTANCES_MAX);
    else if (forked_row_find(forked, row->dir))
        rc = SYN_FAIL(err, SYN_E_EXISTS, "%s is prepared already", row->dir);
    if (rc == SYN_OK) {
        row->serial = ++forked->serial;
        forked->rows[forked->count++] = row;
    }
    (void)pthread_mutex_unlock(&forked->lock);
    return rc;
}

/* --- from a spec ------------------------------------------------------------------------------ */

/* The host's path of what is shown there; NULL: nothing is. */
static const char *
shown_at(const struct syn_instance_spec *spec, const char *container)
{
    for (size_t i = 0; i < spec->binds_count; i++)
        if (syn_str_eq(spec->binds[i].container, container))
            return spec->binds[i].host;
    return NULL;
}

/* What a fork cannot have, which functions do not ask for. */
static int
check_kind(const struct syn_instance_spec *spec, struct syn_err *err)
{
    const char *const *argv = spec->argv;
    bool program = argv && argv[0] && argv[1] && argv[2] && !argv[3] && syn_str_eq(argv[1], "-B");

    if (spec->isolation && !syn_str_eq(spec->isolation, "namespace"))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "isolation %s: a fork has namespace",
                        spec->isolation);
    if (spec->rootfs || (spec->devices && spec->devices[0]) || spec->volumes_count > 0 ||
        spec->drivers_count > 0 || spec->tmpfs_count > 0 || spec->empties_count > 0 ||
        spec->secrets_count > 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "isolation namespace: it has code and a layer, and no images, devices, "
                        "volumes or mounts");
    if (!program || !shown_at(spec, argv[2]) || !shown_at(spec, CODE))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "isolation namespace is for Python functions");
    if (spec->network != SYN_NETWORK_ACCOUNT)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "isolation namespace: it is reached on its account's network alone");
    return SYN_OK;
}

/* "python3.11" is a program of the node's /usr, which all that a zygote forks sees. */
static int
find_python(const char *name, char *out, struct syn_err *err)
{
    static const char *const folders[] = {"/usr/local/bin", "/usr/bin"};
    struct stat st;

    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        int rc = name[0] == '/'
                     ? syn_path_format(out, SYN_INSTANCE_PATH_MAX, err, "%s", name)
                     : syn_path_format(out, SYN_INSTANCE_PATH_MAX, err, "%s/%s", folders[i], name);

        if (rc < 0)
            return rc;
        if (stat(out, &st) == 0 && S_ISREG(st.st_mode) && access(out, X_OK) == 0)
            return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_NOTFOUND, "this node has no %s", name);
}

static bool
env_has(const char *const *env, const char *pair)
{
    size_t len = strcspn(pair, "=") + 1;

    for (size_t i = 0; env && env[i]; i++)
        if (strncmp(env[i], pair, len) == 0)
            return true;
    return false;
}

static int
copy_env(const struct syn_instance_spec *spec, struct forked_row *row, struct syn_err *err)
{
    size_t count = 0, given = 0;

    while (spec->env && spec->env[given])
        given++;
    row->env = syn_calloc(given + SYN_LEN(env_defaults) + 1, sizeof(*row->env));
    if (!row->env)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    for (size_t i = 0; i < given + SYN_LEN(env_defaults); i++) {
        const char *pair = i < given ? spec->env[i] : env_defaults[i - given];

        if (i >= given && env_has(spec->env, pair))
            continue;
        row->env[count] = syn_strdup(pair);
        if (!row->env[count++])
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    }
    return SYN_OK;
}

static int
take_port(struct forked_row *row, struct syn_err *err)
{
    uint64_t port = 0;

    for (size_t i = 0; row->env[i]; i++)
        if (syn_str_starts(row->env[i], "PORT=") &&
            syn_parse_u64(row->env[i] + 5, 1, UINT16_MAX, "PORT", &port, err) < 0)
            return SYN_E_INVALID;
    row->port = (uint16_t)port;
    return port > 0 ? SYN_OK : SYN_FAIL(err, SYN_E_INVALID, "isolation namespace: no PORT is set");
}

static void
make_plan(const struct syn_instance_spec *spec, struct forked_row *row)
{
    struct syn_plan *plan = &row->plan;
    uint32_t hash = 2166136261u;

    /* Two platforms on one machine may both have a "job-1": the folder tells them apart. */
    for (const char *at = spec->dir; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    *plan = (struct syn_plan){
        .platform = SYN_PLATFORM_ZYGOTE,
        .cpu_millicores = spec->cpu_millicores > 0 ? spec->cpu_millicores : CPU_DEFAULT,
        .memory_bytes = spec->memory_bytes,
        .pids_max = spec->pids_max > 0 ? spec->pids_max : PIDS_DEFAULT,
        .scratch_bytes = spec->scratch_bytes > 0 ? spec->scratch_bytes : SCRATCH_DEFAULT,
        .wall_ms = spec->wall_ms,
        .grace_ms = spec->grace_ms > 0 ? spec->grace_ms : GRACE_DEFAULT,
        .eager_ms = spec->eager_ms,
        .log_bytes_max = spec->log_bytes_max > 0 ? spec->log_bytes_max : LOG_DEFAULT,
    };
    (void)snprintf(row->id, sizeof(row->id), "%.50s-%08x", spec->id, hash);
    (void)snprintf(plan->id, sizeof(plan->id), "%s", spec->id);
    (void)snprintf(plan->name, sizeof(plan->name), "%s", row->id);
    (void)snprintf(plan->cgroup, sizeof(plan->cgroup), SYN_ZYGOTE_GROUP, row->id);
    plan->id_base = syn_bundle_id_base(row->id);
}

static int
fill_row(const struct syn_instance_spec *spec, struct forked_row *row, struct syn_err *err)
{
    const char *layer = shown_at(spec, LAYER);
    int rc = syn_path_format(row->dir, sizeof(row->dir), err, "%s", spec->dir);

    row->dirfd = row->pidfd = row->ended = row->log_fd = row->usage_fd = -1;
    row->pipes[0] = row->pipes[1] = -1;
    if (rc == SYN_OK)
        rc = find_python(spec->argv[0], row->python, err);
    if (rc == SYN_OK)
        rc = syn_path_format(row->program, sizeof(row->program), err, "%s",
                             shown_at(spec, spec->argv[2]));
    if (rc == SYN_OK)
        rc = syn_path_format(row->code, sizeof(row->code), err, "%s", shown_at(spec, CODE));
    if (rc == SYN_OK && layer)
        rc = syn_path_format(row->layer, sizeof(row->layer), err, "%s", layer);
    if (rc == SYN_OK && !syn_str_copy(row->account, sizeof(row->account), spec->net.account))
        rc = SYN_FAIL(err, SYN_E_INVALID, "the account's name is too long");
    if (rc == SYN_OK)
        rc = copy_env(spec, row, err);
    if (rc == SYN_OK)
        rc = take_port(row, err);
    if (rc == SYN_OK && spec->memory_bytes <= 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "isolation namespace: an instance has a memory limit");
    make_plan(spec, row);
    return rc;
}

/* --- prepare ---------------------------------------------------------------------------------- */

static int
make_folder(const struct syn_forked *forked, const struct syn_instance_spec *spec,
            struct forked_row *row, struct syn_err *err)
{
    struct syn_net_spec wanted = spec->net;
    SYN_FD(dir);
    int rc;

    if (!forked->net)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this node has no instance networks");
    if (mkdir(row->dir, 0700) < 0)
        return SYN_FAIL_SYS(err, errno, "creating instance folder %s", row->dir);
    wanted.id = spec->id;
    rc = syn_net_attach(forked->net, &wanted, &row->plan.place, err);
    if (rc < 0)
        return rc;
    dir = open(row->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", row->dir);
    return syn_plan_write(dir, &row->plan, err);
}

static int
prepare_row(struct syn_forked *forked, const struct syn_instance_spec *spec, struct forked_row *row,
            struct syn_instance **ret, struct syn_err *err)
{
    struct syn_instance *made = NULL;
    int rc = fill_row(spec, row, err);

    if (rc == SYN_OK)
        rc = make_folder(forked, spec, row, err);
    if (rc == SYN_OK)
        rc = syn_instance_open(row->dir, &made, err);
    if (rc == SYN_OK)
        rc = row_add(forked, row, err);
    if (rc < 0) {
        (void)syn_instance_close(made);
        if (row->plan.place.netns[0] != '\0')
            (void)!syn_net_detach(forked->net, spec->id, NULL, NULL);
        if (rc != SYN_E_EXISTS && row->dir[0] != '\0')
            (void)!syn_dir_remove(AT_FDCWD, row->dir, NULL);
        return rc;
    }
    *ret = made;
    return SYN_OK;
}

static int
forked_prepare(void *self, const struct syn_instance_spec *spec, struct syn_instance **ret_instance,
               struct syn_err *err)
{
    struct syn_forked *forked = self;
    struct forked_row *row;
    int rc = syn_bundle_check(spec, err);

    if (rc == SYN_OK)
        rc = check_kind(spec, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "preparing %s", spec->id ? spec->id : "(no id)");
    row = syn_calloc(1, sizeof(*row));
    if (!row)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an instance");
    rc = prepare_row(forked, spec, row, ret_instance, err);
    if (rc < 0) {
        (void)forked_row_free(row);
        return syn_err_wrap(err, rc, "preparing %s", spec->id);
    }
    return SYN_OK;
}

/* --- running ---------------------------------------------------------------------------------- */

/* Its row, in that phase, on to the next one. */
static struct forked_row *
move(struct syn_forked *forked, const char *dir, enum forked_phase from, enum forked_phase to)
{
    struct forked_row *row;

    (void)pthread_mutex_lock(&forked->lock);
    row = forked_row_find(forked, dir);
    if (row && row->phase == from)
        row->phase = to;
    else
        row = NULL;
    (void)pthread_mutex_unlock(&forked->lock);
    return row;
}

static int
forked_start_op(void *self, struct syn_instance *instance, struct syn_err *err)
{
    struct syn_instance_status exit = {
        .state = SYN_INSTANCE_EXITED, .reason = SYN_EXIT_START, .exit_code = 125};
    struct syn_forked *forked = self;
    struct forked_row *row = move(forked, instance->dir_path, FORKED_PREPARED, FORKED_STARTS);
    struct syn_err why = {0};
    int rc;

    if (!row)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s was started before", instance->plan.id);
    rc = forked_start(forked, row, &why);
    if (rc == SYN_OK) {
        (void)move(forked, instance->dir_path, FORKED_STARTS, FORKED_RUNS);
        forked_wake(forked);
        return SYN_OK;
    }
    (void)syn_str_copy(exit.message, sizeof(exit.message), why.msg);
    (void)!syn_exit_write(instance->dir, &exit, NULL);
    (void)pthread_mutex_lock(&forked->lock);
    forked_row_remove(forked, row);
    (void)pthread_cond_broadcast(&forked->changed);
    (void)pthread_mutex_unlock(&forked->lock);
    (void)forked_row_free(row);
    return SYN_FAIL(err, SYN_E_INVALID, "starting %s: %.180s", instance->plan.id, why.msg);
}

/* Its row, which runs, with the lock held; NULL, without it: it does not. */
static struct forked_row *
enter(struct syn_forked *forked, const struct syn_instance *instance, struct syn_err *err)
{
    struct forked_row *row;

    (void)pthread_mutex_lock(&forked->lock);
    row = forked_row_find(forked, instance->dir_path);
    if (row && row->phase == FORKED_RUNS)
        return row;
    (void)pthread_mutex_unlock(&forked->lock);
    (void)SYN_FAIL(err, SYN_E_CONFLICT, "instance %s does not run", instance->plan.id);
    return NULL;
}

static int
forked_signal(void *self, struct syn_instance *instance, int signo, struct syn_err *err)
{
    struct syn_forked *forked = self;
    const struct forked_row *row;

    if (signo < 1 || signo > 64)
        return SYN_FAIL(err, SYN_E_INVALID, "signal: expected 1..64, got %d", signo);
    row = enter(forked, instance, err);
    if (!row)
        return SYN_E_CONFLICT;
    if (!row->gone)
        (void)kill(row->pid, signo);
    (void)pthread_mutex_unlock(&forked->lock);
    return SYN_OK;
}

static int
forked_settle(void *self, struct syn_instance *instance, struct syn_err *err)
{
    struct syn_forked *forked = self;
    struct forked_row *row = enter(forked, instance, err);

    if (!row)
        return SYN_E_CONFLICT;
    row->hold_at_ms = forked_mono_ms();
    (void)pthread_mutex_unlock(&forked->lock);
    forked_wake(forked);
    return SYN_OK;
}

/* Is its end being written down? */
static bool
ends_now(struct syn_forked *forked, const struct syn_instance *instance)
{
    const struct forked_row *row;
    bool ends;

    (void)pthread_mutex_lock(&forked->lock);
    row = forked_row_find(forked, instance->dir_path);
    ends = row && row->phase == FORKED_CONCLUDES;
    (void)pthread_mutex_unlock(&forked->lock);
    return ends;
}

/* Has it a result? */
static bool
has_ended(const struct syn_instance *instance)
{
    return faccessat(instance->dir, SYN_FILE_EXIT, F_OK, 0) == 0;
}

static int
forked_stop(void *self, struct syn_instance *instance, int64_t grace_ms, struct syn_err *err)
{
    struct syn_forked *forked = self;
    struct forked_row *row = enter(forked, instance, err);
    int64_t at_ms;

    if (!row)
        return ends_now(forked, instance) || has_ended(instance) ? SYN_OK : SYN_E_CONFLICT;
    if (grace_ms < 0)
        grace_ms = row->plan.grace_ms;
    at_ms = forked_mono_ms() + SYN_MIN(grace_ms, INT64_MAX / 8);
    if (row->stopped || row->over_time) {
        row->kill_at_ms = row->killed ? FORKED_NEVER : SYN_MIN(row->kill_at_ms, at_ms);
    } else {
        row->stopped = true;
        row->kill_at_ms = at_ms;
        (void)!syn_zygote_stop(row->zygote->zygote, row->pid, NULL);
    }
    (void)pthread_mutex_unlock(&forked->lock);
    forked_wake(forked);
    return SYN_OK;
}

/* --- state ------------------------------------------------------------------------------------ */

/* What ran under a process that is gone: it ended with that. */
static int
conclude_lost(const struct syn_forked *forked, const struct syn_instance *instance,
              int64_t started_ms, struct syn_instance_status *ret_status, struct syn_err *err)
{
    struct syn_instance_status status = {.state = SYN_INSTANCE_EXITED,
                                         .reason = SYN_EXIT_LOST,
                                         .exit_code = 255,
                                         .started_at_ms = started_ms};
    struct syn_usage_sample usage = {0};
    int rc = syn_cgroup_destroy(&forked->layout, instance->plan.cgroup, err);

    if (rc < 0)
        return rc;
    (void)!syn_usage_last(instance->dir, &usage, NULL);
    /* What ran after the last sample was not measured and does not count. */
    status.ended_at_ms = SYN_MAX(usage.to_ms, started_ms);
    (void)syn_str_copy(status.message, sizeof(status.message),
                       "the node's agent ended, and with it its zygote");
    rc = syn_exit_write(instance->dir, &status, err);
    if (rc == SYN_OK)
        *ret_status = status;
    return rc;
}

static int
forked_poll(void *self, struct syn_instance *instance, struct syn_instance_status *ret_status,
            struct syn_err *err)
{
    struct syn_instance_status status = {0};
    struct syn_forked *forked = self;
    const struct forked_row *row;
    struct syn_err local = {0};
    SYN_JSON(state);
    bool here;
    int rc;

    (void)pthread_mutex_lock(&forked->lock);
    row = forked_row_find(forked, instance->dir_path);
    here = row != NULL;
    if (row && (row->phase == FORKED_RUNS || row->phase == FORKED_CONCLUDES)) {
        status.state = SYN_INSTANCE_RUNNING;
        status.started_at_ms = row->started_ms;
        status.pid = (int)row->pid;
    }
    (void)pthread_mutex_unlock(&forked->lock);
    if (here) {
        *ret_status = status;
        return SYN_OK;
    }
    rc = syn_exit_read(instance->dir, ret_status, &local);
    if (rc == SYN_E_NOTFOUND &&
        syn_file_read_json(instance->dir, SYN_FILE_STATE, &state, NULL) == SYN_OK)
        return conclude_lost(forked, instance, syn_json_i64(state, "started_at_ms", 0), ret_status,
                             err);
    if (rc == SYN_E_NOTFOUND) {
        *ret_status = status;
        return SYN_OK;
    }
    if (rc < 0 && err)
        *err = local;
    return rc;
}

static int
forked_exit_fd(void *self, struct syn_instance *instance, int *ret_fd, struct syn_err *err)
{
    struct syn_forked *forked = self;
    const struct forked_row *row;
    int fd = -1;

    (void)pthread_mutex_lock(&forked->lock);
    row = forked_row_find(forked, instance->dir_path);
    if (row && row->ended >= 0)
        fd = fcntl(row->ended, F_DUPFD_CLOEXEC, 0);
    (void)pthread_mutex_unlock(&forked->lock);
    if (fd < 0 && has_ended(instance))
        fd = eventfd(1, EFD_CLOEXEC); /* readable from the start */
    if (fd < 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s does not run", instance->plan.id);
    *ret_fd = fd;
    return SYN_OK;
}

static int
forked_stats(void *self, struct syn_instance *instance, struct syn_usage_sample *ret_usage,
             struct syn_err *err)
{
    (void)self;
    return syn_usage_last(instance->dir, ret_usage, err);
}

static const struct syn_instance_paths *
forked_paths(const struct syn_instance *instance)
{
    return &instance->paths;
}

static const char *
forked_isolation(const struct syn_instance *instance)
{
    (void)instance;
    return "namespace";
}

static const struct syn_net_place *
forked_place(const struct syn_instance *instance)
{
    return &instance->plan.place;
}

static int
forked_adopt(void *self, const char *dir, struct syn_instance **ret_instance,
             struct syn_instance_status *ret_status, struct syn_err *err)
{
    struct syn_instance *instance = NULL;
    int rc = syn_instance_open(dir, &instance, err);

    if (rc == SYN_OK)
        rc = forked_poll(self, instance, ret_status, err);
    if (rc < 0) {
        (void)syn_instance_close(instance);
        return syn_err_wrap(err, rc, "adopting %s", dir);
    }
    *ret_instance = instance;
    return SYN_OK;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Under the lock: have it end, and wait for that; one that never ran goes at once. False: it takes
 * longer. */
static bool
await_end(struct syn_forked *forked, const char *dir)
{
    struct forked_row *row = forked_row_find(forked, dir);
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DESTROY_S;
    while (row) {
        if (row->phase == FORKED_PREPARED) {
            forked_row_remove(forked, row);
            (void)forked_row_free(row);
            return true;
        }
        if (row->phase == FORKED_RUNS && !row->killed) {
            row->stopped = true;
            row->kill_at_ms = forked_mono_ms();
            forked_wake(forked);
        }
        if (pthread_cond_timedwait(&forked->changed, &forked->lock, &until) == ETIMEDOUT)
            return false;
        row = forked_row_find(forked, dir);
    }
    return true;
}

static int
forked_destroy(void *self, const char *dir, struct syn_err *err)
{
    struct syn_forked *forked = self;
    struct syn_plan plan = {0};
    SYN_FD(fd);
    bool over;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&forked->lock);
    over = await_end(forked, dir);
    (void)pthread_mutex_unlock(&forked->lock);
    if (!over)
        return SYN_FAIL(err, SYN_E_IO, "instance %s does not end", dir);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? SYN_OK : SYN_FAIL_SYS(err, errno, "opening instance %s", dir);
    if (syn_plan_read(fd, &plan, NULL) == SYN_OK) {
        rc = syn_cgroup_destroy(&forked->layout, plan.cgroup, err);
        if (rc == SYN_OK && plan.place.netns[0] != '\0' && forked->net)
            rc = syn_net_detach(forked->net, plan.id, NULL, err);
    }
    return rc < 0 ? rc : syn_dir_remove(AT_FDCWD, dir, err);
}

/* --- the trial -------------------------------------------------------------------------------- */

static const char trial_program[] = "def main(begun, door):\n    door.close()\n";

/* Why it ended so: the last line of what it said. */
static int
tell_trial(int said, int status, struct syn_err *err)
{
    char text[1024];
    ssize_t len = pread(said, text, sizeof(text) - 1, 0);
    char *last;

    while (len > 0 && text[len - 1] == '\n')
        len--;
    text[SYN_MAX(len, 0)] = '\0';
    last = strrchr(text, '\n');
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "a forked instance ended with status %d: %.120s",
                    status, last ? last + 1 : text);
}

/* Fork one that ends at once. */
static int
try_fork(const struct syn_forked *forked, struct syn_zygote *zygote, struct syn_err *err)
{
    static const char *const env[] = {NULL};
    struct syn_zygote_spec spec = {.code = forked->root,
                                   .env = env,
                                   .host_uid = syn_bundle_id_base(forked->root) + SYN_UID_DEFAULT,
                                   .memory_bytes = INT64_C(256) << 20,
                                   .pids_max = 16,
                                   .cpu_millicores = 1000,
                                   .scratch_bytes = INT64_C(1) << 20};
    char id[FORKED_ID_MAX];
    SYN_FD(door);
    SYN_FD(said);
    int64_t until_ms = forked_mono_ms() + TRIAL_MS;
    int status = 0, rc;
    pid_t pid;

    door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    said = memfd_create("trial", MFD_CLOEXEC);
    if (door < 0 || said < 0)
        return SYN_FAIL_SYS(err, errno, "trying a fork");
    (void)snprintf(id, sizeof(id), "trial-%08x", syn_bundle_id_base(forked->root));
    spec.id = id;
    spec.door = door;
    spec.log = said;
    rc = syn_zygote_fork(zygote, &spec, &pid, err);
    if (rc < 0)
        return rc;
    do {
        rc = syn_zygote_poll(zygote, pid, &status, err);
        if (rc == SYN_ZYGOTE_RUNS)
            (void)usleep(1000);
    } while (rc == SYN_ZYGOTE_RUNS && forked_mono_ms() < until_ms);
    (void)!syn_zygote_destroy(zygote, pid, NULL);
    if (rc == SYN_OK && status != 0)
        rc = tell_trial(said, status, err);
    return rc == SYN_ZYGOTE_RUNS ? SYN_FAIL(err, SYN_E_UNSUPPORTED, "a forked instance hangs") : rc;
}

static int
forked_probe(void *self, struct syn_runtime_info *ret_info, struct syn_err *err)
{
    struct syn_forked *forked = self;
    const struct syn_zygote_options options = {.root = forked->root,
                                               .python = forked->python,
                                               .program = trial_program,
                                               .program_len = sizeof(trial_program) - 1};
    struct syn_zygote *zygote = NULL;
    int rc = syn_zygote_open(&options, &zygote, err);

    if (rc == SYN_OK)
        rc = try_fork(forked, zygote, err);
    (void)syn_zygote_close(zygote);
    if (rc < 0) {
        (void)syn_err_wrap(err, rc, "namespace sandbox");
        return SYN_E_UNSUPPORTED;
    }
    *ret_info = (struct syn_runtime_info){.driver = "zygote",
                                          .sandbox = "namespace",
                                          .version = "1",
                                          .platform = "",
                                          .detail = "Python functions are forked from zygotes"};
    return SYN_OK;
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct syn_runtime_ops forked_ops = {
    .version = SYN_RUNTIME_VERSION,
    .probe = forked_probe,
    .prepare = forked_prepare,
    .start = forked_start_op,
    .signal = forked_signal,
    .settle = forked_settle,
    .stop = forked_stop,
    .poll = forked_poll,
    .exit_fd = forked_exit_fd,
    .stats = forked_stats,
    .paths = forked_paths,
    .isolation = forked_isolation,
    .place = forked_place,
    .adopt = forked_adopt,
    .destroy = forked_destroy,
    .close = syn_instance_close,
};

struct syn_runtime
syn_forked_runtime(struct syn_forked *forked)
{
    return (struct syn_runtime){&forked_ops, forked};
}

/* Empty folders of zygotes whose process was killed. */
static void
sweep(const char *root)
{
    const struct dirent *entry;
    DIR *dir = opendir(root);

    while (dir && (entry = readdir(dir)) != NULL)
        if (syn_str_starts(entry->d_name, "zygote."))
            (void)unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    if (dir)
        (void)closedir(dir);
}

static int
open_all(const struct syn_forked_options *options, struct syn_forked *forked, struct syn_err *err)
{
    const char *python = options->python ? options->python : PYTHON;
    int rc = syn_path_format(forked->root, sizeof(forked->root), err, "%s", options->root);

    if (rc == SYN_OK)
        rc =
            syn_path_format(forked->keep.root, sizeof(forked->keep.root), err, "%s", options->root);
    if (rc == SYN_OK)
        rc = syn_path_format(forked->python, sizeof(forked->python), err, "%s", python);
    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, forked->root, 0755, err);
    if (rc == SYN_OK)
        rc = syn_cgroup_layout_read(&forked->layout, err);
    if (rc < 0)
        return rc;
    sweep(forked->root);
    forked->net = options->net;
    forked->keep.idle_ms = options->idle_ms > 0 ? options->idle_ms : IDLE_DEFAULT_MS;
    forked->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (forked->news < 0)
        return SYN_FAIL_SYS(err, errno, "opening an event descriptor");
    if (pthread_create(&forked->thread, NULL, forked_watch_main, forked) != 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start the thread that sees to instances");
    forked->started = true;
    return SYN_OK;
}

int
syn_forked_new(const struct syn_forked_options *options, struct syn_forked **ret,
               struct syn_err *err)
{
    struct syn_forked *forked = syn_calloc(1, sizeof(*forked));
    int rc;

    if (!forked)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a driver");
    forked->news = -1;
    (void)pthread_mutex_init(&forked->lock, NULL);
    (void)pthread_cond_init(&forked->changed, NULL);
    (void)pthread_mutex_init(&forked->keep.lock, NULL);
    (void)pthread_cond_init(&forked->keep.changed, NULL);
    rc = open_all(options, forked, err);
    if (rc < 0)
        (void)syn_forked_free(forked);
    else
        *ret = forked;
    return rc;
}

struct syn_forked *
syn_forked_free(struct syn_forked *forked)
{
    if (!forked)
        return NULL;
    (void)pthread_mutex_lock(&forked->lock);
    forked->stop = true;
    (void)pthread_mutex_unlock(&forked->lock);
    if (forked->started) {
        forked_wake(forked);
        (void)pthread_join(forked->thread, NULL);
    }
    (void)forked_keep_rest(&forked->keep, true);
    syn_fd_scope(&forked->news);
    (void)pthread_cond_destroy(&forked->keep.changed);
    (void)pthread_mutex_destroy(&forked->keep.lock);
    (void)pthread_cond_destroy(&forked->changed);
    (void)pthread_mutex_destroy(&forked->lock);
    syn_free(forked);
    return NULL;
}

void
syn_forked_look(struct syn_forked *forked, struct syn_forked_state *ret)
{
    *ret = (struct syn_forked_state){.zygotes = 0};
    (void)pthread_mutex_lock(&forked->lock);
    ret->instances = (int)forked->count;
    (void)pthread_mutex_unlock(&forked->lock);
    forked_keep_look(&forked->keep, ret);
}
