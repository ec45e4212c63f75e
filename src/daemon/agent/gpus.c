/* Which cards this node has, and whose they are.
 *
 * The server places by model and number; which cards these are, only the node decides. A card
 * belongs to one instance from its preparation until its program has ended. The table of instances
 * says who has which; jobs/ID/gpus.json says it to an agent that starts while they run. */
#include <fcntl.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>
#include <synor/profile.h>

#include "agent_priv.h"

#define GPUS_FILE  "gpus.json"
#define GROUPS_MAX 8 /* models and memory sizes that a node may report */

void
agt_gpus_open(struct syn_agent *agent)
{
    struct syn_gpu_list *list = &agent->gpus;
    struct syn_err err = {0};
    size_t kept = 0;
    int rc = syn_gpu_list_read(NULL, list, &err);

    if (rc < 0) {
        *list = (struct syn_gpu_list){0};
        if (rc != SYN_E_NOTFOUND)
            syn_log_err(SYN_LOG_WARN, "agent.gpus-unusable", &err);
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (syn_gpu_reachable(&list->gpus[i], ""))
            list->gpus[kept++] = list->gpus[i];
        else
            syn_log_kv(SYN_LOG_WARN, "agent.gpu-without-device", "gpu", list->gpus[i].uuid, "name",
                       list->gpus[i].name, NULL);
    }
    list->count = kept;
}

/* ---- reporting ---- */

/* The capability profile that the card matches, or NULL. */
static const char *
profile_of(const struct syn_gpu *gpu)
{
    const struct syn_profiles *profiles = syn_profiles_builtin();
    const struct syn_profile *profile =
        profiles != NULL ? syn_profiles_match(profiles, SYN_KIND_GPU, gpu->name) : NULL;

    return profile != NULL ? profile->name : NULL;
}

int
agt_gpus_report(const struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    SYN_JSON(groups);
    int rc = SYN_OK;

    groups = json_array();
    if (groups == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the inventory");
    for (size_t i = 0; rc == SYN_OK && i < agent->gpus.count; i++) {
        const struct syn_gpu *gpu = &agent->gpus.gpus[i];
        char model[SYN_GPU_WORD_MAX];
        json_t *group = NULL, *known;
        size_t at;

        syn_gpu_model(gpu, model);
        json_array_foreach (groups, at, known) {
            if (syn_str_eq(syn_json_str(known, "model", ""), model) &&
                syn_json_i64(known, "vram_bytes", 0) == gpu->vram_bytes)
                group = known;
        }
        if (group != NULL) {
            rc = syn_json_set_i64(group, "count", syn_json_i64(group, "count", 0) + 1, err);
        } else if (json_array_size(groups) < GROUPS_MAX) {
            char capability[16];

            (void)snprintf(capability, sizeof(capability), "%d.%d", gpu->capability / 10,
                           gpu->capability % 10);
            rc = syn_json_pack(&group, err, "{s:s, s:i, s:I, s:s*, s:s*}", "model", model, "count",
                               1, "vram_bytes", (json_int_t)gpu->vram_bytes, "profile",
                               profile_of(gpu), "capability",
                               gpu->capability > 0 ? capability : NULL);
            if (rc == SYN_OK)
                rc = syn_json_append_take(groups, group, err);
        }
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(groups);
    return rc;
}

/* ---- whose they are ---- */

void
agt_gpus_recall(struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(text);
    SYN_JSON(doc);
    size_t i;
    json_t *uuid;

    if (syn_secret_file_read(agt_job_path(instance->agent, instance->id, GPUS_FILE, path), &text,
                             NULL) < 0 ||
        syn_json_parse_object(text.data, text.len, &doc, NULL) < 0)
        return;
    json_array_foreach (json_object_get(doc, "gpus"), i, uuid) {
        if (instance->gpus_count < SYN_GPUS_MAX && json_is_string(uuid) &&
            syn_str_copy(instance->gpus[instance->gpus_count],
                         sizeof(instance->gpus[instance->gpus_count]), json_string_value(uuid)))
            instance->gpus_count++;
    }
}

static bool
has_gpu(const struct agt_instance *instance, const char *uuid)
{
    for (size_t i = 0; i < instance->gpus_count; i++) {
        if (syn_str_eq(instance->gpus[i], uuid))
            return true;
    }
    return false;
}

/* Under the agent's lock. */
static bool
is_taken(const struct agt_instance *instance, const char *uuid)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(instance->agent->instances, &cursor, NULL, &value)) {
        if (value != instance && has_gpu(value, uuid))
            return true;
    }
    return false;
}

static bool
fits(const struct syn_gpu *gpu, const json_t *resources)
{
    const char *wanted = syn_json_str(resources, "gpu_model", "");
    int64_t vram_bytes = syn_json_i64(resources, "gpu_vram_bytes", 0);
    char model[SYN_GPU_WORD_MAX];

    syn_gpu_model(gpu, model);
    return (wanted[0] == '\0' || syn_str_eq(wanted, model)) &&
           (vram_bytes == 0 || vram_bytes == gpu->vram_bytes);
}

/* Under the agent's lock: those that it has already, then free ones. */
static size_t
choose(const struct agt_instance *instance, const json_t *resources, size_t wanted,
       struct syn_gpu *out)
{
    const struct syn_gpu_list *list = &instance->agent->gpus;
    size_t count = 0;

    for (int own = 1; own >= 0; own--) {
        for (size_t i = 0; i < list->count && count < wanted; i++) {
            const struct syn_gpu *gpu = &list->gpus[i];

            if (has_gpu(instance, gpu->uuid) == (own == 1) && fits(gpu, resources) &&
                !is_taken(instance, gpu->uuid))
                out[count++] = *gpu;
        }
    }
    return count;
}

static int
write_down(const struct agt_instance *instance, const struct syn_gpu *gpus, size_t count,
           struct syn_err *err)
{
    SYN_JSON(list);
    SYN_JSON(doc);
    SYN_BUF(text);
    int rc = SYN_OK;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of GPUs");
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = syn_json_append_take(list, json_string(gpus[i].uuid), err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:O}", "gpus", list);
    if (rc == SYN_OK)
        rc = syn_json_write(doc, &text, err);
    return rc < 0 ? rc : agt_keep_file(instance, GPUS_FILE, text.data, text.len, err);
}

int
agt_gpus_claim(struct agt_instance *instance, const json_t *doc, struct syn_gpu *out,
               size_t *ret_count, struct syn_err *err)
{
    const json_t *resources = syn_json_at(doc, "spec.resources");
    int64_t wanted = syn_json_i64(resources, "gpus", 0);
    struct syn_agent *agent = instance->agent;
    size_t count;

    *ret_count = 0;
    if (wanted <= 0)
        return SYN_OK;
    if (wanted > SYN_GPUS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "more than %d GPUs are asked for", SYN_GPUS_MAX);
    /* While an agent takes over what runs, which holds this lock, not all claims are known. */
    (void)pthread_mutex_lock(&agent->fetch_lock);
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    (void)pthread_mutex_lock(&agent->lock);
    count = choose(instance, resources, (size_t)wanted, out);
    instance->gpus_count = 0;
    for (size_t i = 0; count == (size_t)wanted && i < count; i++)
        (void)syn_str_copy(instance->gpus[instance->gpus_count++], sizeof(instance->gpus[0]),
                           out[i].uuid);
    (void)pthread_mutex_unlock(&agent->lock);
    if (count < (size_t)wanted)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%lld GPUs of model \"%.31s\" are asked for; of this node's %zu, %zu are "
                        "such and free",
                        (long long)wanted, syn_json_str(resources, "gpu_model", ""),
                        agent->gpus.count, count);
    *ret_count = count;
    return write_down(instance, out, count, err);
}

void
agt_gpus_release(struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];

    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->gpus_count = 0;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    (void)unlink(agt_job_path(instance->agent, instance->id, GPUS_FILE, path));
}
