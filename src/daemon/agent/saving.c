/* How a snapshot is made: an instance like the one that has become ready, without a network, which
 * loads the code and waits. Its folder is among the trials of sandboxes, where the next agent
 * sweeps up what a kill leaves. */
#include "saving_priv.h"
#include "spare_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>

#define FIRST_CALLS_MS 250           /* what is ready now has the processor to itself for so long */
#define TRIAL_NAME     "probe-saved" /* swept as trials are */
#define LOAD_MS        120000        /* as long as an instance may take to be ready */
#define LOOK_MS        20
#define UNUSED_MS      (INT64_C(24) * 3600 * 1000)
#define SNAPSHOT_ENV   "SYNOR_SNAPSHOT=1"

struct agt_saving *
agt_saving_free(struct agt_saving *saving)
{
    if (saving == NULL)
        return NULL;
    agt_wish_fini(&saving->wish);
    json_decref(saving->doc);
    syn_free(saving);
    return NULL;
}

static void
saving_scope(struct agt_saving **slot)
{
    *slot = agt_saving_free(*slot);
}

int
agt_saving_new(struct agt_instance *instance, const json_t *doc, const char *key,
               struct agt_saving **ret, struct syn_err *err)
{
    SYN_SCOPED(saving_scope) struct agt_saving *saving = syn_calloc(1, sizeof(*saving));
    int rc;

    if (saving == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a snapshot");
    saving->agent = instance->agent;
    saving->runtime = instance->runtime;
    saving->made_by = instance->made_by;
    (void)syn_str_copy(saving->key, sizeof(saving->key), key);
    saving->doc = syn_json_deep_copy(doc);
    if (saving->doc == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a snapshot");
    rc = agt_wish_make(instance, saving->doc, &saving->wish, err);
    if (rc < 0)
        return rc;
    *ret = agt_saving_free(*ret);
    *ret = SYN_TAKE(saving);
    return SYN_OK;
}

/* --- what it loads in ------------------------------------------------------------------------- */

/* The pairs of the wish and one more. Owner: the array is the caller's, its words are not. */
static int
make_env(const struct agt_wish *wish, const char ***ret, struct syn_err *err)
{
    const char **env;
    size_t count = 0;

    while (wish->spec.env[count] != NULL)
        count++;
    env = syn_calloc(count + 2, sizeof(*env));
    if (env == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    memcpy(env, wish->spec.env, count * sizeof(*env));
    env[count] = SNAPSHOT_ENV;
    *ret = env;
    return SYN_OK;
}

static void
free_env(const char ***env)
{
    syn_free((void *)*env);
}

/* Does it wait to be saved? What it says instead, if anything, into why[AGT_SAVED_WORD_MAX]: it is
 * a program of the tenant's. */
bool
agt_saved_waits(const struct syn_instance_paths *paths, char *why)
{
    char path[AGT_PATH_MAX];
    ssize_t got;
    int fd;

    (void)snprintf(path, sizeof(path), "%.900s/" SYN_SNAPSHOT_WAITS_FILE, paths->scratch);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, why, AGT_SAVED_WORD_MAX - 1);
    (void)close(fd);
    why[SYN_MAX(got, 0)] = '\0';
    for (char *c = why; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return true;
}

/* Until it waits to be saved. */
static int
await_word(const struct agt_saving *saving, struct syn_instance *handle,
           const struct syn_instance_paths *paths, struct syn_err *err)
{
    int64_t until_ms = syn_mono_ms(saving->agent->world) + LOAD_MS;
    char why[AGT_SAVED_WORD_MAX] = "";

    while (!agt_saved_waits(paths, why)) {
        struct syn_instance_status status;
        int rc = saving->runtime.ops->poll(saving->runtime.self, handle, &status, err);

        if (rc < 0)
            return rc;
        if (status.state == SYN_INSTANCE_EXITED)
            return SYN_FAIL(err, SYN_E_INVALID, "without a network it does not load: %.100s",
                            status.message);
        if (syn_mono_ms(saving->agent->world) > until_ms)
            return SYN_FAIL(err, SYN_E_TIMEOUT, "it did not load within %d s", LOAD_MS / 1000);
        if (!agt_sleep(saving->agent, NULL, LOOK_MS))
            return SYN_FAIL(err, SYN_E_CANCELED, "the agent stops");
    }
    return why[0] == '\0' ? SYN_OK : SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s", why);
}

/* Nothing of its disk is saved: has it written to it? */
static int
check_written(const char *dir, struct syn_err *err)
{
    static const char *const folders[] = {"scratch", "tmp", "output", "checkpoints"};

    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        char path[AGT_PATH_MAX];
        const struct dirent *entry;
        DIR *open_dir;
        int rc = SYN_OK;

        (void)snprintf(path, sizeof(path), "%.900s/scratch/%s", dir, folders[i]);
        open_dir = opendir(path);
        while (open_dir != NULL && rc == SYN_OK && (entry = readdir(open_dir)) != NULL)
            if (!syn_str_eq(entry->d_name, ".") && !syn_str_eq(entry->d_name, "..") &&
                !syn_str_eq(entry->d_name, SYN_SNAPSHOT_WAITS_FILE))
                rc = SYN_FAIL(err, SYN_E_UNSUPPORTED,
                              "it writes files while it is loaded (%.60s), which a snapshot "
                              "does not hold",
                              entry->d_name);
        if (open_dir != NULL)
            (void)closedir(open_dir);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* Load it in the folder `dir`, and save it as the new folder `image`. */
static int
load_and_save(struct agt_saving *saving, const char *id, const char *dir, const char *image,
              struct syn_err *err)
{
    const struct syn_runtime *runtime = &saving->runtime;
    SYN_SCOPED(free_env) const char **env = NULL;
    struct syn_instance_spec spec = saving->wish.spec;
    struct syn_instance *handle = NULL;
    int rc = make_env(&saving->wish, &env, err);

    if (rc < 0)
        return rc;
    spec.id = id;
    spec.dir = dir;
    spec.env = env;
    spec.hostname = AGT_SAVED_HOST;
    spec.isolation = saving->made_by->sandbox;
    spec.network = SYN_NETWORK_NONE;
    spec.dns = NULL;
    spec.dns_gateway = false;
    spec.saved = true;
    spec.wall_ms = LOAD_MS + LOAD_MS / 2;
    rc = runtime->ops->prepare(runtime->self, &spec, &handle, err);
    if (rc == SYN_OK)
        rc = runtime->ops->start(runtime->self, handle, err);
    if (rc == SYN_OK)
        rc = await_word(saving, handle, runtime->ops->paths(handle), err);
    if (rc == SYN_OK)
        rc = check_written(dir, err);
    if (rc == SYN_OK)
        rc = runtime->ops->checkpoint(runtime->self, handle, image, err);
    (void)runtime->ops->close(handle);
    return rc;
}

/* --- where it is kept ------------------------------------------------------------------------- */

static const char *
service_of(const struct agt_saving *saving)
{
    return syn_json_str(json_object_get(saving->doc, "spec"), "job", "");
}

/* Into its place, with its manifest; room for it is made there. */
static int
keep(const struct agt_saving *saving, const char *half, struct syn_err *err)
{
    struct syn_agent *agent = saving->agent;
    char place[AGT_PATH_MAX];
    int rc = agt_saved_seal(half, saving->made_by->snapshots, service_of(saving), err);

    (void)pthread_mutex_lock(&agent->fetch_lock);
    agt_cache_expire(&agent->cache, AGT_CACHE_SNAPSHOTS, UNUSED_MS, syn_wall_ms(agent->world));
    if (rc == SYN_OK)
        rc = agt_cache_room(&agent->cache, syn_tree_bytes(half), "a snapshot", err);
    if (rc == SYN_OK)
        rc = agt_cache_path(&agent->cache, AGT_CACHE_SNAPSHOTS, saving->key, place, sizeof(place),
                            err);
    if (rc == SYN_OK) {
        agt_cache_drop(&agent->cache, AGT_CACHE_SNAPSHOTS, saving->key);
        if (rename(half, place) < 0)
            rc = SYN_FAIL_SYS(err, errno, "keeping %s", place);
    }
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    return rc;
}

/* Its service has this one now. The others of it have a secret in them that was changed, or are of
 * a node as it was before: nobody comes for them. */
static void
drop_outdated(const struct agt_saving *saving)
{
    struct syn_agent *agent = saving->agent;
    const struct dirent *entry;
    char path[AGT_PATH_MAX];
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%.900s/snapshots", agent->data_dir);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || syn_str_eq(entry->d_name, saving->key))
            continue;
        (void)snprintf(path, sizeof(path), "%.700s/snapshots/%.255s", agent->data_dir,
                       entry->d_name);
        if (!agt_saved_is_of(path, service_of(saving)))
            continue;
        (void)pthread_mutex_lock(&agent->fetch_lock);
        agt_cache_drop(&agent->cache, AGT_CACHE_SNAPSHOTS, entry->d_name);
        (void)pthread_mutex_unlock(&agent->fetch_lock);
        agt_spares_drop(agent, entry->d_name);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static int
make(struct agt_saving *saving, struct syn_err *err)
{
    struct syn_agent *agent = saving->agent;
    const struct syn_runtime *runtime = &saving->runtime;
    char id[SYN_ID_MAX], dir[AGT_PATH_MAX], half[AGT_PATH_MAX], image[AGT_PATH_MAX + 8];
    struct syn_err local = {0};
    int rc;

    (void)syn_make_id(agent->world, TRIAL_NAME, id);
    (void)snprintf(dir, sizeof(dir), "%s/runtime/%s", agent->data_dir, id);
    (void)snprintf(half, sizeof(half), "%s/snapshots/.%s", agent->data_dir, id);
    (void)snprintf(image, sizeof(image), "%s/image", half);
    if (mkdir(half, 0700) < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", half);
    rc = load_and_save(saving, id, dir, image, err);
    if (runtime->ops->destroy(runtime->self, dir, &local) < 0)
        syn_log_err(SYN_LOG_WARN, "snapshot.not-cleared", &local);
    if (rc == SYN_OK)
        rc = keep(saving, half, err);
    if (rc == SYN_OK)
        drop_outdated(saving);
    if (rc < 0)
        syn_tree_remove(half);
    return rc;
}

static void
make_and_tell(struct agt_saving *saving)
{
    struct syn_agent *agent = saving->agent;
    int64_t begun_ms = syn_mono_ms(agent->world);
    struct syn_err err = {0};
    int rc = make(saving, &err);

    if (rc == SYN_OK)
        syn_log(SYN_LOG_INFO, "snapshot.made", "snapshot=%s ms=%lld", saving->key,
                (long long)(syn_mono_ms(agent->world) - begun_ms));
    else if (rc != SYN_E_CANCELED)
        agt_saved_refuse(agent, saving->key, err.msg);
}

static void
see_to(struct agt_saving *saving)
{
    struct syn_agent *agent = saving->agent;
    char image[AGT_PATH_MAX];

    if (!agt_sleep(agent, NULL, FIRST_CALLS_MS))
        return;
    (void)snprintf(image, sizeof(image), "%s/snapshots/%s/image", agent->data_dir, saving->key);
    if (access(image, F_OK) != 0)
        make_and_tell(saving);
    if (access(image, F_OK) == 0)
        agt_spares_fill(saving, image);
}

/* The one that has waited longest; NULL: there is none, and the next one begins by itself. */
static struct agt_saving *
next_waiting(struct syn_agent *agent)
{
    struct agt_saved *saved = &agent->saved;
    struct agt_saving *next = NULL;

    (void)pthread_mutex_lock(&agent->lock);
    if (saved->waiting_count > 0) {
        next = saved->waiting[0];
        saved->waiting_count--;
        memmove(saved->waiting, saved->waiting + 1,
                saved->waiting_count * sizeof(struct agt_saving *));
    }
    saved->making = next != NULL;
    (void)pthread_mutex_unlock(&agent->lock);
    return next;
}

static void
saving_main(void *arg)
{
    struct agt_saving *saving = arg;

    while (saving != NULL) {
        struct syn_agent *agent = saving->agent;

        if (!atomic_load(&agent->stop))
            see_to(saving);
        (void)agt_saving_free(saving);
        saving = next_waiting(agent);
    }
}

/* Under the lock. Once for each snapshot, as far as there is room. */
static bool
may_wait(const struct agt_saved *saved, const char *key)
{
    for (size_t i = 0; i < saved->waiting_count; i++)
        if (syn_str_eq(saved->waiting[i]->key, key))
            return false;
    return saved->waiting_count < AGT_SAVINGS_MAX;
}

void
agt_saved_ready(struct agt_instance *instance)
{
    SYN_SCOPED(saving_scope) struct agt_saving *saving = instance->saving;
    struct syn_agent *agent = instance->agent;
    struct syn_err err = {0};

    instance->saving = NULL;
    if (saving == NULL)
        return;
    (void)pthread_mutex_lock(&agent->lock);
    if (atomic_load(&agent->stop)) {
        /* Nothing is begun any more. */
    } else if (agent->saved.making) {
        if (may_wait(&agent->saved, saving->key))
            agent->saved.waiting[agent->saved.waiting_count++] = SYN_TAKE(saving);
    } else {
        if (agt_watch_beside(agent, saving_main, saving, &err) == SYN_OK) {
            agent->saved.making = true;
            saving = NULL;
        }
    }
    (void)pthread_mutex_unlock(&agent->lock);
    if (err.code < 0)
        syn_log_err(SYN_LOG_WARN, "snapshot.not-begun", &err);
}
