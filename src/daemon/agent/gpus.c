/* Which cards this node has, and whose they are.
 *
 * Cards of one kind (model, memory, and how they are cut) stand together and are numbered; the
 * server names them by these numbers. It places, and this looks once more: a card, a partition of
 * it, or thousandths of its time and memory, belong to one instance from its preparation until its
 * program has ended, and what is somebody's is nobody else's, whatever was asked for. The table of
 * instances says who has what; jobs/ID/gpus.json says it to an agent that starts while they run.
 *
 * Partitions are those that the machine's administrator has made: cutting a card anew resets it,
 * and everybody who is on it. */
#include <fcntl.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>
#include <synor/profile.h>

#include "agent_priv.h"

#define GPUS_FILE  "gpus.json"
#define GROUPS_MAX 8 /* kinds of card that a node may report */
#define WHOLE      1000

static const struct agt_gpu_hold whole = {WHOLE, WHOLE, 0};

void
agt_gpus_options(struct syn_agent *agent, const struct syn_agent_options *options)
{
    const char *sharing = options->gpu_sharing != NULL ? options->gpu_sharing : "off";

    if (syn_str_eq(sharing, "mps"))
        agent->sharing = AGT_SHARING_MPS;
    else if (syn_str_eq(sharing, "time-slice"))
        agent->sharing = AGT_SHARING_TIME_SLICE;
    (void)syn_str_copy(agent->mps_pipes, sizeof(agent->mps_pipes),
                       options->mps_pipes != NULL ? options->mps_pipes : "/tmp/nvidia-mps");
}

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

/* Cut alike? */
static bool
same_parts(const struct syn_gpu *a, const struct syn_gpu *b)
{
    if (a->parts_count != b->parts_count)
        return false;
    for (size_t i = 0; i < a->parts_count; i++)
        if (!syn_str_eq(a->parts[i].name, b->parts[i].name) ||
            a->parts[i].start != b->parts[i].start)
            return false;
    return true;
}

static bool
same_kind(const struct syn_gpu *a, const struct syn_gpu *b)
{
    char one[SYN_GPU_WORD_MAX], two[SYN_GPU_WORD_MAX];

    syn_gpu_model(a, one);
    syn_gpu_model(b, two);
    return syn_str_eq(one, two) && a->vram_bytes == b->vram_bytes && same_parts(a, b);
}

/* The cards in the order of their numbers: each kind's together, as its first one comes. */
static void
number_cards(const struct syn_gpu_list *list, const struct syn_gpu *ret[SYN_GPUS_MAX])
{
    bool done[SYN_GPUS_MAX] = {false};
    size_t count = 0;

    for (size_t i = 0; i < list->count; i++) {
        for (size_t k = i; !done[i] && k < list->count; k++) {
            if (k > i && (done[k] || !same_kind(&list->gpus[i], &list->gpus[k])))
                continue;
            ret[count++] = &list->gpus[k];
            done[k] = k > i;
        }
        done[i] = true;
    }
    assert(count == list->count);
}

static int
report_parts(const struct syn_gpu *gpu, json_t *group, struct syn_err *err)
{
    json_t *parts = gpu->parts_count > 0 ? json_array() : NULL;
    int rc = gpu->parts_count > 0 ? syn_json_set_take(group, "parts", parts, err) : SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < gpu->parts_count; i++) {
        const struct syn_gpu_part *part = &gpu->parts[i];
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:i, s:i, s:i}", "name", part->name, "start",
                           part->start, "eighths", part->eighths, "slices", part->slices);
        if (rc == SYN_OK)
            rc = syn_json_append_take(parts, row, err);
    }
    return rc;
}

/* MPS' limits are there from compute capability 7.0 on; a cut card is not shared as well. */
static const char *
sharing_of(const struct syn_agent *agent, const struct syn_gpu *gpu)
{
    if (agent->sharing == AGT_SHARING_OFF || gpu->parts_count > 0)
        return NULL;
    if (agent->sharing == AGT_SHARING_MPS)
        return gpu->capability >= 70 ? "mps" : NULL;
    return "time-slice";
}

static int
report_group(const struct syn_agent *agent, const struct syn_gpu *gpu, size_t first, json_t **ret,
             struct syn_err *err)
{
    char model[SYN_GPU_WORD_MAX], capability[16];
    int rc;

    syn_gpu_model(gpu, model);
    (void)snprintf(capability, sizeof(capability), "%d.%d", gpu->capability / 10,
                   gpu->capability % 10);
    rc = syn_json_pack(ret, err, "{s:s, s:i, s:I, s:i, s:s*, s:s*, s:s*}", "model", model, "count",
                       1, "vram_bytes", (json_int_t)gpu->vram_bytes, "first", (int)first, "profile",
                       profile_of(gpu), "capability", gpu->capability > 0 ? capability : NULL,
                       "sharing", sharing_of(agent, gpu));
    return rc < 0 ? rc : report_parts(gpu, *ret, err);
}

int
agt_gpus_report(const struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    const struct syn_gpu *cards[SYN_GPUS_MAX];
    json_t *group = NULL;
    SYN_JSON(groups);
    int rc = SYN_OK;

    groups = json_array();
    if (groups == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the inventory");
    number_cards(&agent->gpus, cards);
    for (size_t i = 0; rc == SYN_OK && i < agent->gpus.count; i++) {
        if (i > 0 && same_kind(cards[i - 1], cards[i])) {
            rc = group == NULL
                     ? SYN_OK
                     : syn_json_set_i64(group, "count", syn_json_i64(group, "count", 0) + 1, err);
            continue;
        }
        group = NULL;
        if (json_array_size(groups) == GROUPS_MAX)
            continue;
        rc = report_group(agent, cards[i], i, &group, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(groups, group, err);
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
    instance->gpus_hold =
        (struct agt_gpu_hold){.time = syn_json_i64(doc, "time", WHOLE),
                              .vram = syn_json_i64(doc, "vram", WHOLE),
                              .eighths = (unsigned)syn_json_i64(doc, "eighths", 0)};
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

/* Under the agent's lock: is what the instance wants of the card anybody's? */
static bool
is_taken(const struct agt_instance *instance, const char *uuid, const struct agt_gpu_hold *want)
{
    struct agt_gpu_hold sum = *want;
    size_t cursor = 0;
    void *value;

    while (syn_map_next(instance->agent->instances, &cursor, NULL, &value)) {
        const struct agt_instance *other = value;

        if (other == instance || !has_gpu(other, uuid))
            continue;
        sum.time += other->gpus_hold.time;
        sum.vram += other->gpus_hold.vram;
        if (sum.eighths & other->gpus_hold.eighths || (sum.eighths != 0 && sum.time > 0))
            return true;
        sum.eighths |= other->gpus_hold.eighths;
    }
    return sum.time > WHOLE || sum.vram > WHOLE;
}

static bool
fits(const struct syn_gpu *gpu, const json_t *resources)
{
    const char *wanted = syn_json_str(resources, "gpu_model", "");
    int64_t vram_bytes = syn_json_i64(resources, "gpu_vram_bytes", 0);
    bool part = syn_json_str(resources, "gpu_mig", "")[0] != '\0';
    char model[SYN_GPU_WORD_MAX];

    syn_gpu_model(gpu, model);
    return (wanted[0] == '\0' || syn_str_eq(wanted, model)) && part == (gpu->parts_count > 0) &&
           (vram_bytes == 0 || vram_bytes == gpu->vram_bytes);
}

/* Under the agent's lock: the cards that the server names, or of who names none those that it has
 * already, then free ones. */
static size_t
choose(const struct agt_instance *instance, const json_t *resources, size_t wanted,
       const struct agt_gpu_hold *hold, struct syn_gpu *out)
{
    const struct syn_gpu_list *list = &instance->agent->gpus;
    const json_t *named = json_object_get(resources, "gpu_cards"), *number;
    const struct syn_gpu *cards[SYN_GPUS_MAX];
    size_t count = 0, k;

    number_cards(list, cards);
    json_array_foreach (named, k, number) {
        size_t at = (size_t)json_integer_value(number);

        if (count < wanted && json_is_integer(number) && at < list->count &&
            fits(cards[at], resources) && !is_taken(instance, cards[at]->uuid, hold))
            out[count++] = *cards[at];
    }
    for (int own = 1; own >= 0 && named == NULL; own--) {
        for (size_t i = 0; i < list->count && count < wanted; i++) {
            const struct syn_gpu *gpu = &list->gpus[i];

            if (has_gpu(instance, gpu->uuid) == (own == 1) && fits(gpu, resources) &&
                !is_taken(instance, gpu->uuid, hold))
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
        rc = syn_json_pack(&doc, err, "{s:O, s:I, s:I, s:i}", "gpus", list, "time",
                           (json_int_t)instance->gpus_hold.time, "vram",
                           (json_int_t)instance->gpus_hold.vram, "eighths",
                           (int)instance->gpus_hold.eighths);
    if (rc == SYN_OK)
        rc = syn_json_write(doc, &text, err);
    return rc < 0 ? rc : agt_keep_file(instance, GPUS_FILE, text.data, text.len, err);
}

/* The partition of that name that begins there, on the card that the server names. */
static int
want_part(const struct syn_agent *agent, const json_t *resources, struct agt_gpu_hold *ret,
          struct syn_gpu_use *ret_use, struct syn_err *err)
{
    const char *name = syn_json_str(resources, "gpu_mig", "");
    const json_t *number = json_array_get(json_object_get(resources, "gpu_cards"), 0);
    const struct syn_gpu *cards[SYN_GPUS_MAX];
    size_t at = (size_t)json_integer_value(number);

    number_cards(&agent->gpus, cards);
    for (size_t i = 0; at < agent->gpus.count && i < cards[at]->parts_count; i++) {
        const struct syn_gpu_part *part = &cards[at]->parts[i];

        if (!syn_str_eq(part->name, name) || part->start != syn_json_i64(resources, "gpu_part", -1))
            continue;
        *ret = (struct agt_gpu_hold){.eighths = ((1U << part->eighths) - 1) << part->start};
        ret_use->part = part;
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_CONFLICT, "GPU %zu of this node has no partition %.20s there", at,
                    name);
}

static int
want_share(const struct syn_agent *agent, const json_t *resources, struct agt_gpu_hold *ret,
           struct syn_gpu_use *ret_use, struct syn_err *err)
{
    static const char *const words[] = {[AGT_SHARING_OFF] = "not at all",
                                        [AGT_SHARING_TIME_SLICE] = "time-slice",
                                        [AGT_SHARING_MPS] = "mps"};
    const char *sharing = syn_json_str(resources, "gpu_sharing", "");
    int64_t vram_mib = SYN_MAX(syn_json_i64(resources, "gpu_vram_bytes", 0) >> 20, 1);
    int64_t mib = syn_json_i64(resources, "gpu_share_mib", 0);

    if (!syn_str_eq(sharing, words[agent->sharing]))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "a share by %.20s is asked for; this node shares GPUs: %s", sharing,
                        words[agent->sharing]);
    ret->time = syn_json_i64(resources, "gpu_share", 0);
    ret->vram = mib > 0 ? (mib * WHOLE + vram_mib - 1) / vram_mib : ret->time;
    if (ret->time < 1 || ret->time > WHOLE || ret->vram > WHOLE)
        return SYN_FAIL(err, SYN_E_INVALID, "a share of %lld thousandths is none",
                        (long long)ret->time);
    ret_use->permille = ret->time;
    ret_use->vram_bytes = mib > 0 ? mib << 20 : (vram_mib * ret->time / WHOLE) << 20;
    ret_use->mps = agent->sharing == AGT_SHARING_MPS ? agent->mps_pipes : NULL;
    return SYN_OK;
}

/* What of each card the document asks for. */
static int
want(const struct syn_agent *agent, const json_t *resources, struct agt_gpu_hold *ret,
     struct syn_gpu_use *ret_use, struct syn_err *err)
{
    bool part = syn_json_str(resources, "gpu_mig", "")[0] != '\0';
    bool share = json_object_get(resources, "gpu_share") != NULL;

    *ret = whole;
    *ret_use = (struct syn_gpu_use){.part = NULL};
    if (!part && !share)
        return SYN_OK;
    if (json_array_size(json_object_get(resources, "gpu_cards")) != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "a part of a GPU is asked for, and not of which");
    *ret = (struct agt_gpu_hold){.time = 0};
    return part ? want_part(agent, resources, ret, ret_use, err)
                : want_share(agent, resources, ret, ret_use, err);
}

int
agt_gpus_claim(struct agt_instance *instance, const json_t *doc, struct syn_gpu *out,
               size_t *ret_count, struct syn_gpu_use *ret_use, struct syn_err *err)
{
    const json_t *resources = syn_json_at(doc, "spec.resources");
    int64_t wanted = syn_json_i64(resources, "gpus", 0);
    struct syn_agent *agent = instance->agent;
    struct agt_gpu_hold hold;
    size_t count;
    int rc;

    *ret_count = 0;
    *ret_use = (struct syn_gpu_use){.part = NULL};
    if (wanted <= 0)
        return SYN_OK;
    if (wanted > SYN_GPUS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "more than %d GPUs are asked for", SYN_GPUS_MAX);
    rc = want(agent, resources, &hold, ret_use, err);
    if (rc < 0)
        return rc;
    /* While an agent takes over what runs, which holds this lock, not all claims are known. */
    (void)pthread_mutex_lock(&agent->fetch_lock);
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    (void)pthread_mutex_lock(&agent->lock);
    count = choose(instance, resources, (size_t)wanted, &hold, out);
    instance->gpus_count = 0;
    instance->gpus_hold = hold;
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
