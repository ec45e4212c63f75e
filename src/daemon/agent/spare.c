/* Sandboxes made ahead. Most of the time that an instance takes to go on from its snapshot goes
 * into its sandbox, which can be there before anybody asks: DATA/agent/spares/ID, with a network of
 * the account. Whoever takes one writes down whose it is (jobs/INSTANCE/run) before it is filled,
 * so that the next agent finds it; those that nobody took end with the agent, or are swept by the
 * next. They are the platform's risk, so they are few, and go when nobody comes. */
#include "spare_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#define PREFIX      "spare"
#define RUN_FILE    "run"
#define EACH        2 /* for one snapshot */
#define WAIT_MAX_MS (INT64_C(10) * 60 * 1000)
#define YIELD_MS    (INT64_C(60) * 1000) /* then it goes for one of another snapshot */

static const char *
spare_dir(const struct syn_agent *agent, const char *id, char *out)
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/spares/%s", agent->data_dir, id);
    return out;
}

/* Nobody else has it any more. */
void
agt_spare_destroy(const struct syn_agent *agent, struct agt_spare *spare)
{
    char dir[AGT_PATH_MAX];
    struct syn_err err = {0};

    spare->handle = spare->runtime.ops->close(spare->handle);
    if (spare->runtime.ops->destroy(spare->runtime.self, spare_dir(agent, spare->id, dir), &err) <
        0)
        syn_log_err(SYN_LOG_WARN, "spare.not-destroyed", &err);
}

/* --- taking ----------------------------------------------------------------------------------- */

/* Under the lock. */
static void
drop_row(struct agt_saved *saved, size_t index)
{
    saved->spares[index] = saved->spares[--saved->spares_count];
}

/* The one of `key` that waits longest. */
static bool
pick(struct syn_agent *agent, const char *key, struct agt_spare *ret)
{
    struct agt_saved *saved = &agent->saved;
    size_t best = AGT_SPARES_MAX;

    (void)pthread_mutex_lock(&agent->lock);
    for (size_t i = 0; i < saved->spares_count; i++)
        if (syn_str_eq(saved->spares[i].key, key) &&
            (best == AGT_SPARES_MAX || saved->spares[i].made_ms < saved->spares[best].made_ms))
            best = i;
    if (best < AGT_SPARES_MAX) {
        *ret = saved->spares[best];
        drop_row(saved, best);
    }
    (void)pthread_mutex_unlock(&agent->lock);
    return best < AGT_SPARES_MAX;
}

bool
agt_spare_give(struct agt_instance *instance, const struct agt_spare *spare)
{
    struct agt_spare given = *spare;
    struct syn_err err = {0};

    if (agt_keep_file(instance, RUN_FILE, given.id, strlen(given.id), &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "spare.not-taken", &err);
        agt_spare_destroy(instance->agent, &given);
        return false;
    }
    (void)pthread_mutex_lock(&instance->agent->lock);
    (void)syn_str_copy(instance->run, sizeof(instance->run), given.id);
    (void)pthread_mutex_unlock(&instance->agent->lock);
    instance->handle = given.handle;
    return true;
}

bool
agt_spare_take(struct agt_instance *instance, const char *key)
{
    struct agt_spare spare;

    return pick(instance->agent, key, &spare) && agt_spare_give(instance, &spare);
}

void
agt_spare_forget(struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];

    (void)unlink(agt_job_path(instance->agent, instance->id, RUN_FILE, path));
    (void)unlink(agt_job_path(instance->agent, instance->id, RUN_FILE ".tmp", path));
    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->run[0] = '\0';
    (void)pthread_mutex_unlock(&instance->agent->lock);
}

void
agt_spare_recall(struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(kept);

    if (syn_secret_file_read(agt_job_path(instance->agent, instance->id, RUN_FILE, path), &kept,
                             NULL) == SYN_OK &&
        syn_name_ok(syn_buf_text(&kept)) && syn_str_starts(syn_buf_text(&kept), PREFIX "-"))
        (void)syn_str_copy(instance->run, sizeof(instance->run), syn_buf_text(&kept));
}

/* --- making ----------------------------------------------------------------------------------- */

/* Is there room for one more of `key`? One of another that has waited long makes it. */
static bool
may_make(struct syn_agent *agent, const char *key)
{
    struct agt_saved *saved = &agent->saved;
    struct agt_spare gone = {.made_ms = 0};
    size_t same = 0, oldest = AGT_SPARES_MAX;
    bool room;

    if (agent->nothing_ahead)
        return false;
    (void)pthread_mutex_lock(&agent->lock);
    for (size_t i = 0; i < saved->spares_count; i++) {
        if (syn_str_eq(saved->spares[i].key, key))
            same++;
        else if (oldest == AGT_SPARES_MAX ||
                 saved->spares[i].made_ms < saved->spares[oldest].made_ms)
            oldest = i;
    }
    room = saved->spares_count < AGT_SPARES_MAX;
    if (!room && oldest < AGT_SPARES_MAX &&
        syn_mono_ms(agent->world) - saved->spares[oldest].made_ms > YIELD_MS) {
        gone = saved->spares[oldest];
        drop_row(saved, oldest);
        room = true;
    }
    (void)pthread_mutex_unlock(&agent->lock);
    if (gone.handle != NULL)
        agt_spare_destroy(agent, &gone);
    return room && same < EACH && !atomic_load(&agent->stop);
}

void
agt_spare_name(const struct syn_agent *agent, struct agt_spare *spare, char *dir,
               struct syn_instance_spec *spec)
{
    (void)syn_make_id(agent->world, PREFIX, spare->id);
    spec->id = spare->id;
    spec->dir = spare_dir(agent, spare->id, dir);
    spec->hostname = AGT_SAVED_HOST;
}

void
agt_spare_freeze(struct agt_spare *spare)
{
    const struct syn_runtime_ops *ops = spare->runtime.ops;
    struct syn_err err = {0};

    if (ops->freeze != NULL && ops->freeze(spare->runtime.self, spare->handle, &err) < 0 &&
        err.code != SYN_E_UNSUPPORTED)
        syn_log_err(SYN_LOG_WARN, "spare.not-frozen", &err);
}

static int
make_one(struct agt_saving *saving, const char *image, struct syn_err *err)
{
    struct syn_agent *agent = saving->agent;
    struct syn_instance_spec spec = saving->wish.spec;
    struct agt_spare spare = {.runtime = saving->runtime};
    char dir[AGT_PATH_MAX];
    bool kept = false;
    int rc;

    (void)syn_str_copy(spare.key, sizeof(spare.key), saving->key);
    agt_spare_name(agent, &spare, dir, &spec);
    spec.isolation = saving->made_by->sandbox;
    spec.restore = image;
    spec.ahead = true;
    rc = spare.runtime.ops->prepare(spare.runtime.self, &spec, &spare.handle, err);
    if (rc < 0)
        return rc;
    rc = spare.runtime.ops->create(spare.runtime.self, spare.handle, err);
    if (rc == SYN_OK)
        agt_spare_freeze(&spare);
    spare.made_ms = syn_mono_ms(agent->world);
    (void)pthread_mutex_lock(&agent->lock);
    if (rc == SYN_OK && !atomic_load(&agent->stop) && agent->saved.spares_count < AGT_SPARES_MAX) {
        agent->saved.spares[agent->saved.spares_count++] = spare;
        kept = true;
    }
    (void)pthread_mutex_unlock(&agent->lock);
    if (!kept)
        agt_spare_destroy(agent, &spare);
    return rc;
}

void
agt_spares_fill(struct agt_saving *saving, const char *image)
{
    struct syn_err err = {0};

    while (saving->runtime.ops->create != NULL && may_make(saving->agent, saving->key))
        if (make_one(saving, image, &err) < 0) {
            syn_log_err(SYN_LOG_WARN, "spare.not-made", &err);
            return;
        }
}

/* --- the end ---------------------------------------------------------------------------------- */

void
agt_spares_rest(struct syn_agent *agent, bool all)
{
    struct agt_saved *saved = &agent->saved;

    for (;;) {
        int64_t now_ms = syn_mono_ms(agent->world);
        struct agt_spare gone = {.made_ms = 0};

        (void)pthread_mutex_lock(&agent->lock);
        for (size_t i = 0; i < saved->spares_count && gone.handle == NULL; i++)
            if (all || now_ms - saved->spares[i].made_ms > WAIT_MAX_MS) {
                gone = saved->spares[i];
                drop_row(saved, i);
            }
        (void)pthread_mutex_unlock(&agent->lock);
        if (gone.handle == NULL)
            return;
        agt_spare_destroy(agent, &gone);
    }
}

void
agt_spares_drop(struct syn_agent *agent, const char *key)
{
    struct agt_spare gone;

    while (pick(agent, key, &gone))
        agt_spare_destroy(agent, &gone);
}

/* Has an instance taken it? */
static bool
is_taken(struct syn_agent *agent, const char *id)
{
    bool taken = false;
    size_t cursor = 0;
    void *value;

    (void)pthread_mutex_lock(&agent->lock);
    while (!taken && syn_map_next(agent->instances, &cursor, NULL, &value))
        taken = syn_str_eq(((const struct agt_instance *)value)->run, id);
    (void)pthread_mutex_unlock(&agent->lock);
    return taken;
}

bool
agt_spare_is_ours(struct syn_agent *agent, const char *id)
{
    return syn_str_starts(id, PREFIX "-") && is_taken(agent, id);
}

void
agt_spares_sweep(struct syn_agent *agent)
{
    char path[AGT_PATH_MAX];
    const struct dirent *entry;
    DIR *dir;

    if (agent->natives[0] == NULL)
        return;
    (void)snprintf(path, sizeof(path), "%s/spares", agent->data_dir);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct agt_spare spare = {.runtime = syn_native_runtime(agent->natives[0])};

        if (!syn_name_ok(entry->d_name) || is_taken(agent, entry->d_name) ||
            !syn_str_copy(spare.id, sizeof(spare.id), entry->d_name))
            continue;
        agt_spare_destroy(agent, &spare);
    }
    if (dir != NULL)
        (void)closedir(dir);
}
