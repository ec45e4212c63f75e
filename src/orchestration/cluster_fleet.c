/* The cluster in the placement core's terms, and kept in step with it.
 *
 *     node         a node, its cards by model and memory, its sandboxes as isolation classes
 *     framework    a label, made when one is asked for that some node has
 *     label        the same: what a request says of one is a label of the core
 *     region       a word; a zone is one within its region, a rack within its zone
 *     instance     a request of its own, adopted; or part of the request of its job
 *
 * A node whose instances need more than it has (it shrank, or an agent was told other numbers) is
 * closed, and what did not fit is adopted when something there has ended. */
#include "cluster_priv.h"

#include <inttypes.h>
#include <stdio.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/power.h>

#define KEY_TEXT 24
#define KINDS_MAX                                                                  \
    8192 /* of nodes, and eight a node: prices that came and went; then begin anew \
          */

/* ---- keys ---- */

static const char *
key_text(uint64_t key, char out[KEY_TEXT])
{
    (void)snprintf(out, KEY_TEXT, "%" PRIu64, key);
    return out;
}

int
fleet_key(struct syn_cluster *cluster, const char *prefix, const char *id, uint64_t *ret,
          struct syn_err *err)
{
    char text[KEY_TEXT], *owner = syn_alloc(SYN_ID_MAX + 1);
    int rc;

    if (!owner)
        return SYN_FAIL(err, SYN_E_NOMEM, "asking for %s: out of memory", id);
    (void)snprintf(owner, SYN_ID_MAX + 1, "%s%s", prefix, id);
    rc = syn_map_put_take(cluster->owners, key_text(cluster->last_key + 1, text), owner, err);
    if (rc == SYN_OK)
        *ret = ++cluster->last_key;
    return rc;
}

void
fleet_key_free(struct syn_cluster *cluster, uint64_t key)
{
    char text[KEY_TEXT];

    (void)syn_map_remove(cluster->owners, key_text(key, text));
}

/* ---- nodes ---- */

/* The number of the group's model. Two builds of one name are two models: they draw differently. */
static int
model_of(struct syn_cluster *cluster, const struct syn_gpu_group *group, uint32_t *ret,
         struct syn_err *err)
{
    char text[SYN_FLEET_NAME_MAX];
    struct syn_fleet_model model = part_model(group);
    const enum syn_fleet_geometry geometry = model.geometry;
    const struct syn_gpu_group *known;
    int rc;

    for (*ret = 0; *ret < cluster->models_count; (*ret)++) {
        known = &cluster->models[*ret].like;
        if (syn_gpu_group_same(known, group) && known->modes == group->modes &&
            syn_str_eq(known->profile, group->profile) && known->capability == group->capability)
            return SYN_OK;
    }
    model.name = text;
    rc = syn_power_card(group->profile, group->model, &model, err);
    model.geometry = geometry; /* it is cut as its node says, or not at all */
    (void)snprintf(text, sizeof(text), "%s/%u", group->model, cluster->models_count);
    if (rc >= 0)
        rc = syn_fleet_model_add(cluster->fleet, &model, ret, err);
    if (rc < 0)
        return rc;
    assert(*ret == cluster->models_count);
    cluster->models[cluster->models_count++].like = *group;
    return SYN_OK;
}

/* What has no price is as dear as it can be: no ceiling lets it through, and no policy prefers it.
 */
static int64_t
price_of(int64_t hour)
{
    return hour == SYN_NODE_PRICE_BOOK ? SYN_FLEET_PRICE_MAX : SYN_MIN(hour, SYN_FLEET_PRICE_MAX);
}

static struct syn_fleet_price
prices_of(const struct syn_node_prices *prices)
{
    return (struct syn_fleet_price){.core = price_of(prices->cpu_core),
                                    .gib = price_of(prices->memory_gib),
                                    .disk = price_of(prices->scratch_gib)};
}

/* Cards beyond what the core counts on one node, or from the first on whose model is beyond those
 * that it knows, are not used: the others have the numbers that they have on their node. */
static int
cards_of(struct syn_cluster *cluster, const struct syn_node_view *view, struct syn_fleet_node *ret,
         struct syn_err *err)
{
    for (unsigned g = 0; g < view->gpus_count; g++) {
        const struct syn_gpu_group *group = &view->gpus[g];
        uint32_t model;
        int rc;

        if (group->count == 0)
            continue;
        rc = model_of(cluster, group, &model, err);
        if (rc == SYN_E_LIMIT)
            break;
        if (rc < 0)
            return rc;
        for (int64_t i = 0; i < group->count && ret->cards < SYN_FLEET_CARDS_MAX; i++) {
            ret->price.cards[ret->cards] = price_of(group->price_hour);
            ret->spot.cards[ret->cards] = price_of(group->spot_hour);
            ret->models[ret->cards++] = (uint8_t)model;
        }
    }
    return SYN_OK;
}

bool
label_holds(const struct cluster_label *label, const struct syn_node_view *view)
{
    if (*label->framework)
        return syn_node_view_framework(view, label->framework, label->version);
    return syn_selector_match(&label->selector, syn_node_view_label(view, label->selector.key));
}

static uint64_t
labels_of(const struct syn_cluster *cluster, const struct syn_node_view *view)
{
    uint64_t labels = 0;

    for (uint32_t i = 0; i < cluster->labels_count; i++)
        if (label_holds(&cluster->labels[i], view))
            labels |= UINT64_C(1) << i;
    return labels;
}

int
fleet_domains(struct syn_cluster *cluster, const struct syn_node_view *view,
              struct syn_fleet_node *ret, struct syn_err *err)
{
    const char *zone = syn_node_view_label(view, SYN_LABEL_ZONE);
    const char *rack = syn_node_view_label(view, SYN_LABEL_RACK);
    char text[SYN_FLEET_TEXT_MAX];
    int rc = SYN_OK;

    if (*view->region)
        rc = syn_fleet_word(cluster->fleet, view->region, &ret->region, err);
    (void)snprintf(text, sizeof(text), "zone %s/%s", view->region, zone ? zone : "");
    if (rc == SYN_OK)
        rc = syn_fleet_word(cluster->fleet, text, &ret->zone, err);
    (void)snprintf(text, sizeof(text), "rack %s/%s/%s", view->region, zone ? zone : "",
                   rack ? rack : "");
    return rc < 0 ? rc : syn_fleet_word(cluster->fleet, text, &ret->rack, err);
}

int
fleet_group(struct syn_cluster *cluster, const char *account, const char *group, uint32_t *ret,
            struct syn_err *err)
{
    char text[SYN_FLEET_TEXT_MAX];

    if (!group || !*group)
        return SYN_OK;
    (void)snprintf(text, sizeof(text), "group %s/%s", account ? account : "", group);
    return syn_fleet_word(cluster->fleet, text, ret, err);
}

static int
node_told(struct syn_cluster *cluster, const struct cluster_node *node, struct syn_fleet_node *ret,
          struct syn_err *err)
{
    const struct syn_node_view *view = &node->view;
    int rc;

    memset(ret, 0, sizeof(*ret));
    ret->capacity[SYN_FLEET_CPU] = SYN_MIN(view->capacity.cpu_millicores, SYN_FLEET_QUANTITY_MAX);
    ret->capacity[SYN_FLEET_MEMORY] = SYN_MIN(view->capacity.memory_bytes, SYN_FLEET_QUANTITY_MAX);
    ret->capacity[SYN_FLEET_DISK] = SYN_MIN(view->capacity.scratch_bytes, SYN_FLEET_QUANTITY_MAX);
    ret->capacity[SYN_FLEET_BANDWIDTH] = SYN_MIN(view->bandwidth_bps, SYN_FLEET_QUANTITY_MAX);
    ret->price = prices_of(&view->prices);
    ret->spot = prices_of(&view->spot);
    ret->isolation = view->sandboxes;
    ret->isolation |= (view->gpus_count > 0 ? view->gpu_sandboxes : view->sandboxes)
                      << FLEET_CLASS_GPUS;
    if (!view->netless)
        ret->isolation |= ret->isolation << FLEET_CLASS_NETS;
    ret->labels = labels_of(cluster, view);
    ret->idle_mw = syn_power_cores(view->capacity.cpu_millicores);
    ret->closed = node->over || !syn_node_view_open(view);
    rc = fleet_domains(cluster, view, ret, err);
    return rc < 0 ? rc : cards_of(cluster, view, ret, err);
}

/* A change that what runs there forbids waits until that has ended. */
int
fleet_put_node(struct syn_cluster *cluster, struct cluster_node *node, struct syn_err *err)
{
    struct syn_fleet_node told, named;
    int rc = node_told(cluster, node, &told, err);

    if (rc < 0 || (node->number != SYN_FLEET_NONE && !memcmp(&told, &node->told, sizeof(told))))
        return rc;
    named = told;
    named.name = node->view.id;
    node->emptied = false;
    rc = syn_fleet_put_node(cluster->fleet, &named, &node->number, err);
    if (rc == SYN_E_CONFLICT) { /* what it keeps is not what runs there */
        rc = keep_forget(cluster, node, err);
        if (rc == SYN_OK)
            rc = syn_fleet_put_node(cluster->fleet, &named, &node->number, err);
    }
    if (rc == SYN_OK)
        node->told = told;
    if (rc != SYN_E_CONFLICT)
        return rc;
    named = node->told;
    named.name = node->view.id;
    named.closed = true;
    node->told.name = ""; /* is none: it is tried again with the next change */
    return syn_fleet_put_node(cluster->fleet, &named, &node->number, err);
}

/* ---- instances ---- */

/* What it has of a card; its partition's profile is what its node has there. */
static void
alone_part(const struct syn_node_view *node, const struct syn_instance_view *view,
           struct syn_fleet_ask *ask)
{
    ask->mode = view->gpu_mode;
    ask->share = view->gpu_share;
    ask->vram_mib = view->gpu_share_mib;
    for (unsigned g = 0; g < node->gpus_count && view->gpu_mode == SYN_FLEET_MIG; g++) {
        const struct syn_gpu_cut *cut =
            syn_gpu_cut_find(&node->gpus[g], view->gpu_mig, view->gpu_part);

        if (cut && syn_str_eq(node->gpus[g].model, view->gpu_model))
            ask->profile = cut->profile;
    }
}

static int
alone_ask(struct syn_cluster *cluster, const struct syn_node_view *node,
          const struct syn_instance_view *view, struct syn_fleet_request *ret, struct syn_err *err)
{
    int rc;

    *ret = (struct syn_fleet_request){.members = 1, .priority = view->priority};
    ret->ask.need[SYN_FLEET_CPU] = view->amounts.cpu_millicores;
    ret->ask.need[SYN_FLEET_MEMORY] = view->amounts.memory_bytes;
    ret->ask.need[SYN_FLEET_DISK] = view->amounts.scratch_bytes;
    ret->ask.need[SYN_FLEET_BANDWIDTH] = view->bandwidth_bps;
    ret->ask.cards = (uint32_t)SYN_MIN(view->gpus, (int64_t)SYN_FLEET_CARDS_MAX + 1);
    for (uint32_t i = 0; i < cluster->models_count && view->gpus > 0; i++)
        if (syn_str_eq(cluster->models[i].like.model, view->gpu_model) &&
            (view->gpu_vram_bytes == 0 ||
             cluster->models[i].like.vram_bytes == view->gpu_vram_bytes))
            ret->ask.models |= UINT64_C(1) << i;
    if (view->gpus > 0)
        alone_part(node, view, &ret->ask);
    rc = fleet_group(cluster, view->account, view->group, &ret->ask.group, err);
    if (rc < 0 || *view->account == '\0')
        return rc;
    return syn_fleet_word(cluster->fleet, view->account, &ret->account, err);
}

/* Its own request, where its node has the room. */
static int
adopt(struct syn_cluster *cluster, struct cluster_instance *instance, struct cluster_node *node,
      struct syn_err *err)
{
    struct syn_fleet_request request;
    struct syn_fleet_slot slot = {.cards =
                                      syn_node_view_cards(&node->view, instance->view.gpu_cards),
                                  .part = instance->view.gpu_part,
                                  .mode = instance->view.gpu_mode};
    int rc = alone_ask(cluster, &node->view, &instance->view, &request, err);

    if (rc == SYN_OK)
        rc = fleet_key(cluster, "+", instance->view.id, &request.key, err);
    if (rc < 0)
        return rc;
    rc = syn_fleet_adopt(cluster->fleet, &request, &node->number, &slot, err);
    if (rc == SYN_OK) {
        instance->hold = HOLD_ALONE;
        instance->key = request.key;
        return SYN_OK;
    }
    fleet_key_free(cluster, request.key);
    if (rc == SYN_E_NOMEM)
        return rc;
    node->over = true;
    return fleet_put_node(cluster, node, err);
}

/* Is it one of those that its job was placed for? */
static bool
joins_job(struct syn_cluster *cluster, struct cluster_instance *instance)
{
    struct cluster_job *job = syn_map_find(cluster->jobs, instance->view.place);
    const struct cluster_node *node = cluster_node_find(cluster, instance->view.node);

    if (!job || !job->placed || !node)
        return false;
    for (uint32_t i = 0; i < job->request.members; i++)
        if (job->slots[i].node == node->number) {
            instance->hold = HOLD_JOB;
            instance->key = job->key;
            job->live++;
            job->begun = true;
            return true;
        }
    return false;
}

static int
instance_put(struct syn_cluster *cluster, struct cluster_instance *instance, struct syn_err *err)
{
    struct cluster_node *node = cluster_node_find(cluster, instance->view.node);

    if (instance->hold != HOLD_NONE || !node || node->number == SYN_FLEET_NONE ||
        !instance->view.holds || joins_job(cluster, instance))
        return SYN_OK;
    return adopt(cluster, instance, node, err);
}

/* Those on the node that the fleet does not know: now they may fit. */
static int
adopt_rest(struct syn_cluster *cluster, struct cluster_node *node, struct syn_err *err)
{
    size_t cursor = 0;
    void *value;
    int rc = node->number == SYN_FLEET_NONE ? fleet_put_node(cluster, node, err) : SYN_OK;

    node->over = false;
    while (rc == SYN_OK && syn_map_next(cluster->instances, &cursor, NULL, &value)) {
        struct cluster_instance *instance = value;

        if (instance->hold == HOLD_NONE && instance->view.holds &&
            syn_str_eq(instance->view.node, node->view.id))
            rc = adopt(cluster, instance, node, err);
    }
    return rc < 0 ? rc : fleet_put_node(cluster, node, err);
}

/* ---- what the fleet decided ---- */

static const char *
way_of(const struct syn_fleet_effect *effect)
{
    return effect->cause == SYN_FLEET_CAUSE_DRAINED ? "drained" : "preempted";
}

/* It has to give up what it has; or has been given something. */
static void
job_effect(struct cluster_job *job, const struct syn_fleet_effect *effect)
{
    job->news = true;
    if (effect->type == SYN_FLEET_PLACED) {
        job->slots[effect->member] = effect->slot;
        job->placed = true;
        return;
    }
    if (job->begun && !job->evicted)
        job->evicted = way_of(effect);
    job->placed = false;
    job->begun = false;
    job->live = 0;
    job->lent = false;
    job->kept_units = 0;
}

int
cluster_job_need(struct syn_cluster *cluster, const char *id, struct cluster_job **ret,
                 struct syn_err *err)
{
    *ret = syn_map_find(cluster->jobs, id);
    if (*ret)
        return SYN_OK;
    *ret = syn_calloc(1, sizeof(**ret));
    if (!*ret)
        return SYN_FAIL(err, SYN_E_NOMEM, "asking for %s: out of memory", id);
    (void)syn_str_copy((*ret)->id, sizeof((*ret)->id), id);
    return syn_map_put_take(cluster->jobs, id, *ret, err);
}

/* An instance that ran alone must go, and its job with it, which is asked for again then. */
static int
alone_effect(struct syn_cluster *cluster, const char *id, const struct syn_fleet_effect *effect,
             struct syn_err *err)
{
    struct cluster_instance *instance = syn_map_find(cluster->instances, id);
    struct cluster_job *job;
    int rc = SYN_OK;

    if (effect->type != SYN_FLEET_EVICTED || !instance || instance->key != effect->key)
        return SYN_OK;
    instance->hold = HOLD_NONE;
    fleet_key_free(cluster, effect->key);
    if (*instance->view.place)
        rc = cluster_job_need(cluster, instance->view.place, &job, err);
    if (rc == SYN_OK && *instance->view.place) {
        job->evicted = way_of(effect);
        job->news = true;
    }
    return rc < 0 ? rc : syn_fleet_end(cluster->fleet, effect->key, err);
}

int
fleet_hear(struct syn_cluster *cluster, struct syn_err *err)
{
    struct syn_fleet_effect effect;
    int rc = SYN_OK;

    while (rc == SYN_OK && cluster->fleet && syn_fleet_next(cluster->fleet, &effect)) {
        char text[KEY_TEXT], id[SYN_ID_MAX + 1] = "";
        const char *owner = syn_map_find(cluster->owners, key_text(effect.key, text));

        if (!owner || (effect.type != SYN_FLEET_PLACED && effect.type != SYN_FLEET_EVICTED))
            continue;
        (void)syn_str_copy(id, sizeof(id), owner);
        if (id[0] == '=') {
            if (effect.type == SYN_FLEET_EVICTED)
                rc = keep_evicted(cluster, id + 1, effect.key, err);
        } else if (id[0] == '+') {
            rc = alone_effect(cluster, id + 1, &effect, err);
        } else {
            struct cluster_job *job = syn_map_find(cluster->jobs, id);

            if (job && job->key == effect.key)
                job_effect(job, &effect);
        }
    }
    return rc;
}

int
fleet_forget(struct syn_cluster *cluster, struct cluster_job *job, struct syn_err *err)
{
    uint64_t key = job->key;
    /* What a holder has begun is used up. */
    bool kept = job->placed && job->kept_units > 0 && (job->lent || !job->begun);
    int rc;

    if (kept && key != 0 && cluster->fleet) {
        rc = keep_regain(cluster, job, err);
        if (rc == SYN_OK)
            rc = keep_all(cluster, err);
    } else if (key != 0 && cluster->fleet) {
        fleet_key_free(cluster, key);
        rc = syn_fleet_end(cluster->fleet, key, err);
    } else {
        rc = SYN_OK;
    }
    job->key = 0;
    job->placed = job->begun = job->lent = false;
    job->live = 0;
    job->kept_units = 0;
    return rc < 0 ? rc : fleet_hear(cluster, err);
}

/* ---- life ---- */

void
fleet_drop(struct syn_cluster *cluster)
{
    size_t cursor = 0;
    void *value;

    cluster->fleet = syn_fleet_free(cluster->fleet);
    cluster->labels_count = 0;
    cluster->models_count = 0;
    if (cluster->owners)
        cluster->owners = syn_map_free(cluster->owners);
    for (size_t i = 0; i < cluster->count; i++) {
        cluster->nodes[i]->number = SYN_FLEET_NONE;
        cluster->nodes[i]->over = false;
        cluster->nodes[i]->emptied = false;
        keep_drop(cluster->nodes[i]);
    }
    cluster->keeping = false;
    while (syn_map_next(cluster->instances, &cursor, NULL, &value))
        ((struct cluster_instance *)value)->hold = HOLD_NONE;
    cursor = 0;
    while (syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;

        job->news = job->news || (job->key != 0 && !job->begun); /* it asks again */
        job->key = 0;
        job->placed = job->begun = job->lent = false;
        job->live = 0;
        job->kept_units = 0;
    }
}

int
fleet_trip(struct syn_cluster *cluster, const struct cluster_trip *trip, struct syn_err *err)
{
    uint32_t words[2];
    int rc = syn_fleet_word(cluster->fleet, trip->regions[0], &words[0], err);

    if (rc == SYN_OK)
        rc = syn_fleet_word(cluster->fleet, trip->regions[1], &words[1], err);
    return rc < 0 ? rc
                  : syn_fleet_set_rtt(cluster->fleet, words[0], words[1],
                                      (uint32_t)SYN_MIN(trip->rtt_us, INT64_C(3600000000)), err);
}

static int
fleet_make(struct syn_cluster *cluster, struct syn_err *err)
{
    const struct syn_fleet_options options = {.seed = cluster->seed, .learn = true};
    void *value;
    int rc = syn_map_new(syn_free, &cluster->owners, err);

    if (rc == SYN_OK)
        rc = syn_fleet_new(&options, &cluster->fleet, err);
    if (rc == SYN_OK)
        rc = syn_fleet_word(cluster->fleet, "(kept for the market)", &cluster->kept_region, err);
    for (size_t i = 0; rc == SYN_OK && i < cluster->trips.count; i++)
        rc = fleet_trip(cluster, &cluster->trips.items[i], err);
    for (size_t i = 0; rc == SYN_OK && i < cluster->count; i++)
        rc = fleet_put_node(cluster, cluster->nodes[i], err);
    /* Who names its cards has them; who does not gets what is left. */
    for (int named = 1; named >= 0; named--) {
        size_t cursor = 0;

        while (rc == SYN_OK && syn_map_next(cluster->instances, &cursor, NULL, &value)) {
            struct cluster_instance *instance = value;

            if ((instance->view.gpu_cards != 0) == (named == 1))
                rc = instance_put(cluster, instance, err);
        }
    }
    return rc < 0 ? rc : keep_all(cluster, err);
}

int
fleet_ensure(struct syn_cluster *cluster, struct syn_err *err)
{
    int rc = syn_cluster_measure(cluster, err);

    if (rc < 0 || cluster->fleet)
        return rc;
    rc = fleet_make(cluster, err);
    if (rc < 0)
        fleet_drop(cluster);
    return rc;
}

/* Out of step it is worth nothing. */
static void
settle(struct syn_cluster *cluster, int rc)
{
    if (rc == SYN_OK)
        rc = fleet_hear(cluster, NULL);
    if (rc < 0)
        fleet_drop(cluster);
}

void
fleet_note_node(struct syn_cluster *cluster, struct cluster_node *node)
{
    if (cluster->fleet && syn_fleet_kinds(cluster->fleet) > KINDS_MAX + 8 * cluster->count)
        fleet_drop(cluster);
    if (cluster->fleet)
        settle(cluster, adopt_rest(cluster, node, NULL));
    if (cluster->fleet && cluster->keeps_short)
        settle(cluster, keep_all(cluster, NULL));
}

void
fleet_note_gone(struct syn_cluster *cluster, struct cluster_node *node)
{
    int rc = SYN_OK;

    if (!cluster->fleet || node->number == SYN_FLEET_NONE)
        return;
    rc = keep_forget(cluster, node, NULL);
    if (rc == SYN_OK)
        rc = syn_fleet_lose(cluster->fleet, node->number, NULL);
    settle(cluster, rc);
}

void
fleet_note_instance(struct syn_cluster *cluster, struct cluster_instance *instance)
{
    if (cluster->fleet)
        settle(cluster, instance_put(cluster, instance, NULL));
    if (cluster->fleet && cluster->keeps_short)
        settle(cluster, keep_all(cluster, NULL));
}

void
fleet_note_end(struct syn_cluster *cluster, struct cluster_instance *instance)
{
    struct cluster_node *node = cluster_node_find(cluster, instance->view.node);
    struct cluster_job *job = syn_map_find(cluster->jobs, instance->view.place);
    enum hold hold = instance->hold;
    int rc = SYN_OK;

    instance->hold = HOLD_NONE;
    instance->view.holds = false;
    if (!cluster->fleet)
        return;
    if (hold == HOLD_ALONE) {
        fleet_key_free(cluster, instance->key);
        rc = syn_fleet_end(cluster->fleet, instance->key, NULL);
    } else if (hold == HOLD_JOB && job && job->key == instance->key && job->begun &&
               --job->live == 0) {
        rc = fleet_forget(cluster, job, NULL);
    }
    settle(cluster, rc);
    if (cluster->fleet && node && node->over)
        settle(cluster, adopt_rest(cluster, node, NULL));
    if (cluster->fleet && cluster->keeps_short)
        settle(cluster, keep_all(cluster, NULL));
}
