/* The node's volumes: DATA/agent/volumes/ID, made when an instance wants one, mounted while one has
 * it, removed when the server says so.
 *
 * Two flags of an instance say what it does with those that its document names: it *writes*, from
 * before its program starts until that has ended; it *has* them, until its folder, in which they
 * are mounted, is gone. Who writes decides whether another one may; who has them, whether they stay
 * mounted: a file system must not be mounted anew while an old mount of it lives on. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/runtime/volume.h>

#include "agent_priv.h"

#define GROW_WAIT_MS   20
#define GROW_WAITS_MAX 500
#define FREE_WAITS_MAX 100

static void
volume_dir(const struct syn_agent *agent, const char *id, char out[AGT_PATH_MAX])
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/volumes/%s", agent->data_dir, id);
}

/* The mount of this volume in an instance's document, or NULL. Under the agent's lock. */
static const json_t *
mount_of(const struct agt_instance *instance, const char *id)
{
    const json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(json_object_get(instance->doc->json, "spec"), "mounts"), i,
                        mount)
        if (syn_str_eq(syn_json_str(mount, "volume", ""), id))
            return mount;
    return NULL;
}

static bool
writes_alone(const json_t *mount)
{
    return !syn_json_bool(mount, "read_only", false) && !syn_json_bool(mount, "shared", false);
}

/* Who else writes to it? Under the agent's lock. */
static const char *
writer_of(const struct agt_instance *self, const char *id)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(self->agent->instances, &cursor, NULL, &value)) {
        const struct agt_instance *other = value;
        const json_t *mount = other != self && other->volumes_written ? mount_of(other, id) : NULL;

        if (mount != NULL && writes_alone(mount))
            return other->id;
    }
    return NULL;
}

static bool
is_had(struct syn_agent *agent, const char *id)
{
    size_t cursor = 0;
    bool had = false;
    void *value;

    (void)pthread_mutex_lock(&agent->lock);
    while (!had && syn_map_next(agent->instances, &cursor, NULL, &value)) {
        const struct agt_instance *instance = value;

        had = instance->volumes_had && mount_of(instance, id) != NULL;
    }
    (void)pthread_mutex_unlock(&agent->lock);
    return had;
}

/* From here on the instance has it, and maybe writes to it. */
static int
claim(struct agt_instance *instance, const json_t *mount, const char *id, struct syn_err *err)
{
    const char *writer;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&instance->agent->lock);
    writer = writes_alone(mount) ? writer_of(instance, id) : NULL;
    if (writer != NULL)
        rc = SYN_FAIL(err, SYN_E_CONFLICT, "instance %s still writes to the volume %s", writer,
                      syn_json_str(mount, "source", id));
    else
        instance->volumes_had = instance->volumes_written = true;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return rc;
}

/* --- growing ---------------------------------------------------------------------------------- */

/* How many others have it; *ret_running: programs of some of them run. */
static unsigned
others_with(const struct agt_instance *self, const char *id, bool *ret_running)
{
    struct syn_agent *agent = self->agent;
    size_t cursor = 0;
    unsigned count = 0;
    void *value;

    *ret_running = false;
    (void)pthread_mutex_lock(&agent->lock);
    while (syn_map_next(agent->instances, &cursor, NULL, &value)) {
        const struct agt_instance *other = value;

        if (other == self || !other->volumes_had || mount_of(other, id) == NULL)
            continue;
        count++;
        *ret_running = *ret_running || other->volumes_written;
    }
    (void)pthread_mutex_unlock(&agent->lock);
    return count;
}

/* Those that have ended are waited for, those that run are not. */
static bool
await_alone(const struct agt_instance *instance, const char *id)
{
    bool running = false;

    for (int i = 0; i < GROW_WAITS_MAX; i++) {
        if (others_with(instance, id, &running) == 0)
            return true;
        if (running || !agt_sleep(instance->agent, NULL, GROW_WAIT_MS))
            return false;
    }
    return false;
}

/* The kernel gives a loop device up a moment after its last user is gone: who had the volume before
 * may seem to have it still. */
static bool
is_tried_again(const struct agt_instance *instance, int rc, unsigned *tries)
{
    return rc == SYN_E_CONFLICT && (*tries)++ < FREE_WAITS_MAX &&
           agt_sleep(instance->agent, NULL, GROW_WAIT_MS);
}

static int
grow_free(const struct agt_instance *instance, const char *dir, int64_t bytes, struct syn_err *err)
{
    unsigned tries = 0;
    int rc;

    do
        rc = syn_volume_grow(dir, bytes, err);
    while (is_tried_again(instance, rc, &tries));
    return rc;
}

/* Make it as large as the mount says, where that is more than it holds. That can only be while
 * nobody else has it, and where the disk has room; else this instance has it as it is, and the next
 * one tries again. */
static void
grow(struct agt_instance *instance, const char *id, const char *dir, int64_t bytes)
{
    struct syn_volume_usage usage;
    struct syn_err err = {0};
    int rc;

    if (syn_volume_usage(dir, &usage, NULL) < 0)
        return;
    if (usage.size_bytes < syn_volume_disk_bytes(bytes) &&
        syn_volume_disk_bytes(bytes) - usage.size_bytes > agt_disk_free(instance->agent)) {
        syn_log(SYN_LOG_WARN, "volume.not-grown", "volume=%s because=\"the disk is full\"", id);
        bytes = SYN_VOLUME_BYTES_MIN;
    }
    rc = grow_free(instance, dir, bytes, &err);
    if (rc == SYN_VOLUME_MOUNTED && await_alone(instance, id)) {
        rc = syn_volume_close(dir, &err);
        if (rc == SYN_OK)
            rc = grow_free(instance, dir, bytes, &err);
    }
    if (rc == SYN_VOLUME_MOUNTED)
        syn_log(SYN_LOG_INFO, "volume.not-grown", "volume=%s because=\"others use it\"", id);
    if (rc < 0)
        syn_log_err(SYN_LOG_WARN, "volume.not-grown", &err);
}

/* --- having ----------------------------------------------------------------------------------- */

int
agt_volume_take(struct agt_instance *instance, const json_t *mount, char *out, struct syn_err *err)
{
    struct syn_agent *agent = instance->agent;
    const char *id = syn_json_str(mount, "volume", "");
    int64_t bytes = syn_json_i64(mount, "size_bytes", 0);
    char dir[AGT_PATH_MAX];
    unsigned tries = 0;
    int rc;

    if (!syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server named a volume \"%.60s\"", id);
    rc = claim(instance, mount, id, err);
    if (rc < 0)
        return rc;
    volume_dir(agent, id, dir);
    (void)pthread_mutex_lock(&agent->volumes_turn);
    grow(instance, id, dir, bytes);
    do {
        (void)pthread_mutex_lock(&agent->volumes_lock);
        rc = syn_volume_open(dir, bytes, out, AGT_PATH_MAX, err);
        (void)pthread_mutex_unlock(&agent->volumes_lock);
    } while (is_tried_again(instance, rc, &tries));
    (void)pthread_mutex_unlock(&agent->volumes_turn);
    return rc < 0 ? syn_err_wrap(err, rc, "volume %s", syn_json_str(mount, "source", id)) : SYN_OK;
}

void
agt_volumes_recall(struct agt_instance *instance, bool runs)
{
    instance->volumes_had = true;
    instance->volumes_written = runs;
}

void
agt_volumes_release(struct agt_instance *instance)
{
    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->volumes_written = false;
    (void)pthread_mutex_unlock(&instance->agent->lock);
}

void
agt_volumes_leave(struct agt_instance *instance)
{
    bool had;

    (void)pthread_mutex_lock(&instance->agent->lock);
    had = instance->volumes_had;
    instance->volumes_had = instance->volumes_written = false;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    if (had)
        agt_volumes_rest(instance->agent);
}

/* Call fn for every volume here. Under `volumes_lock`. */
static void
each_volume(struct syn_agent *agent,
            void (*fn)(struct syn_agent *agent, const char *id, const char *dir, void *arg),
            void *arg)
{
    char path[AGT_PATH_MAX];
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/volumes", agent->data_dir);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char own[AGT_PATH_MAX];

        if (!syn_name_ok(entry->d_name))
            continue;
        volume_dir(agent, entry->d_name, own);
        fn(agent, entry->d_name, own, arg);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static void
rest_one(struct syn_agent *agent, const char *id, const char *dir, void *arg)
{
    struct syn_err err = {0};

    (void)arg;
    if (!is_had(agent, id) && syn_volume_close(dir, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "volume.not-unmounted", &err);
}

void
agt_volumes_rest(struct syn_agent *agent)
{
    (void)pthread_mutex_lock(&agent->volumes_lock);
    each_volume(agent, rest_one, NULL);
    (void)pthread_mutex_unlock(&agent->volumes_lock);
}

static void
report_one(struct syn_agent *agent, const char *id, const char *dir, void *arg)
{
    struct syn_volume_usage usage;

    (void)agent;
    if (syn_volume_usage(dir, &usage, NULL) == SYN_OK)
        (void)json_array_append_new(
            arg,
            json_pack("{s:s, s:I, s:I}", "id", id, "used_bytes",
                      (json_int_t)(usage.used_bytes >= 0 ? usage.used_bytes : usage.disk_bytes),
                      "file_bytes", (json_int_t)usage.size_bytes));
}

int
agt_volumes_report(struct syn_agent *agent, json_t *report, struct syn_err *err)
{
    json_t *list = json_array();

    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a report");
    (void)pthread_mutex_lock(&agent->volumes_lock);
    each_volume(agent, report_one, list);
    (void)pthread_mutex_unlock(&agent->volumes_lock);
    return syn_json_set_take(report, "volumes", list, err);
}

static void
promised_one(struct syn_agent *agent, const char *id, const char *dir, void *arg)
{
    struct syn_volume_usage usage;
    int64_t *sum = arg;

    (void)agent;
    (void)id;
    if (syn_volume_usage(dir, &usage, NULL) == SYN_OK)
        *sum += SYN_MAX(usage.size_bytes - usage.disk_bytes, 0);
}

int64_t
agt_volumes_promised(struct syn_agent *agent)
{
    int64_t sum = 0;

    (void)pthread_mutex_lock(&agent->volumes_lock);
    each_volume(agent, promised_one, &sum);
    (void)pthread_mutex_unlock(&agent->volumes_lock);
    return sum;
}

/* Remove one, unless somebody has it still, and tell the server. */
static int
remove_one(struct syn_agent *agent, const char *id, struct syn_err *err)
{
    char dir[AGT_PATH_MAX], path[AGT_PATH_MAX];
    bool had;
    int rc;

    if (!syn_name_ok(id))
        return SYN_OK;
    volume_dir(agent, id, dir);
    (void)pthread_mutex_lock(&agent->volumes_lock);
    had = is_had(agent, id);
    rc = had ? SYN_OK : syn_volume_destroy(dir, err);
    (void)pthread_mutex_unlock(&agent->volumes_lock);
    if (had)
        return SYN_OK;
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/volumes/%s", agent->node_id, id);
    return rc < 0 ? rc : agt_call(agent, agent->beat_client, "DELETE", path, NULL, NULL, err);
}

int
agt_volumes_sweep(struct syn_agent *agent, struct syn_err *err)
{
    char path[128];
    const json_t *id;
    SYN_JSON(answer);
    size_t i;
    int rc;

    agt_volumes_rest(agent);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/volumes", agent->node_id);
    rc = agt_call(agent, agent->beat_client, "GET", path, NULL, &answer, err);
    json_array_foreach (json_object_get(answer, "gone"), i, id)
        if (rc == SYN_OK)
            rc = remove_one(agent, json_string_value(id), err);
    return rc;
}
