/* Requests of jobs, put to the placement core.
 *
 *     ask      the job's request goes into the core's queue, once; the answer is where it was
 *              placed, or that it waits; asking again tells what became of it
 *     next     jobs for which the core decided something: placed at last, or to give way
 *     probe    where a request would go now, changing nothing: plans
 *
 * The core takes room away from a job the moment it decides to; the job then saves and stops, which
 * takes a while. So whoever was given that room has it only when the documents say that it is free:
 * SYN_PLACE_SOON until then. */
#include "cluster_priv.h"
#include "place_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

/* ---- what is asked for ---- */

/* Does a job that is asked for, or runs, go by this label of the core? */
static bool
label_used(const struct syn_cluster *cluster, uint64_t bit)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        const struct cluster_job *job = value;

        if (job->key && (job->request.ask.labels & bit))
            return true;
    }
    return false;
}

/* A label that means nothing to anybody, but to those of `kept`. SYN_PLACE_NONE: all do. */
static int
label_free(const struct syn_cluster *cluster, uint64_t kept, uint32_t *ret)
{
    *ret = cluster->labels_count;
    if (*ret < SYN_FLEET_LABELS_MAX)
        return SYN_OK;
    for (*ret = 0; *ret < SYN_FLEET_LABELS_MAX; (*ret)++) {
        uint64_t bit = UINT64_C(1) << *ret;

        if (!(kept & bit) && !label_used(cluster, bit))
            return SYN_OK;
    }
    return SYN_PLACE_NONE;
}

/* Have a label of the core mean that, and tell it of the nodes. */
static int
label_make(struct syn_cluster *cluster, const struct cluster_label *wanted, uint64_t kept,
           uint64_t *ret, struct syn_err *err)
{
    char text[32];
    uint64_t bit;
    uint32_t at;
    int rc = label_free(cluster, kept, &at);

    if (rc != SYN_OK)
        return rc;
    (void)snprintf(text, sizeof(text), "label %u", at);
    rc = syn_fleet_label(cluster->fleet, text, &bit, err);
    if (rc < 0)
        return rc;
    assert(bit == UINT64_C(1) << at);
    cluster->labels[at] = *wanted;
    cluster->labels_count = SYN_MAX(cluster->labels_count, at + 1);
    for (size_t i = 0; i < cluster->count && rc == SYN_OK; i++)
        rc = fleet_put_node(cluster, cluster->nodes[i], err);
    *ret |= bit;
    return rc;
}

static bool
label_same(const struct cluster_label *a, const struct cluster_label *b)
{
    return syn_str_eq(a->framework, b->framework) && syn_str_eq(a->version, b->version) &&
           syn_str_eq(a->selector.key, b->selector.key) &&
           syn_str_eq(a->selector.value, b->selector.value) && a->selector.op == b->selector.op;
}

/* Add the bit of the label that stands for it; SYN_PLACE_NONE when no node is so. */
static int
ask_label(struct syn_cluster *cluster, const struct cluster_label *wanted, uint64_t *ret,
          struct syn_err *err)
{
    bool any = false;

    for (size_t i = 0; i < cluster->count && !any; i++)
        any = label_holds(wanted, &cluster->nodes[i]->view);
    if (!any)
        return SYN_PLACE_NONE;
    for (uint32_t i = 0; i < cluster->labels_count; i++)
        if (label_same(&cluster->labels[i], wanted)) {
            *ret |= UINT64_C(1) << i;
            return SYN_OK;
        }
    return label_make(cluster, wanted, *ret, ret, err);
}

bool
place_labels_full(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    uint32_t unknown = 0, room = SYN_FLEET_LABELS_MAX - cluster->labels_count;

    for (size_t i = 0; request->labels[i]; i++) {
        struct cluster_label wanted = {.framework = ""};
        bool known = syn_selector_parse(request->labels[i], &wanted.selector, NULL) < 0;

        for (uint32_t k = 0; k < cluster->labels_count && !known; k++)
            known = label_same(&cluster->labels[k], &wanted);
        unknown += !known;
    }
    for (uint32_t k = 0; k < cluster->labels_count; k++)
        room += !label_used(cluster, UINT64_C(1) << k);
    return unknown > room;
}

/* Bits of all labels of the core that it takes. */
static int
ask_labels(struct syn_cluster *cluster, const struct syn_place_request *request, uint64_t *ret,
           struct syn_err *err)
{
    struct cluster_label wanted;
    int rc = SYN_OK;

    *ret = 0;
    memset(&wanted, 0, sizeof(wanted));
    if (fit_text(request->framework)) {
        const char *version = request->framework_version ? request->framework_version : "";

        if (!syn_str_copy(wanted.framework, sizeof(wanted.framework), request->framework) ||
            !syn_str_copy(wanted.version, sizeof(wanted.version), version))
            return SYN_PLACE_NONE;
        rc = ask_label(cluster, &wanted, ret, err);
    }
    for (size_t i = 0; request->labels[i] && rc == SYN_OK; i++) {
        memset(&wanted, 0, sizeof(wanted));
        rc = syn_selector_parse(request->labels[i], &wanted.selector, err);
        if (rc == SYN_OK)
            rc = ask_label(cluster, &wanted, ret, err);
    }
    return rc;
}

/* Distances and groups. */
static int
ask_ties(struct syn_cluster *cluster, const struct syn_place_request *request,
         struct syn_fleet_ask *ask, struct syn_err *err)
{
    const char *account = request->account;
    int rc = fleet_group(cluster, account, request->group, &ask->group, err);

    if (rc == SYN_OK)
        rc = fleet_group(cluster, account, request->with.group, &ask->with, err);
    if (rc == SYN_OK)
        rc = fleet_group(cluster, account, request->apart.group, &ask->apart, err);
    if (rc == SYN_OK && fit_text(request->near))
        rc = syn_fleet_word(cluster->fleet, request->near, &ask->near, err);
    if (rc < 0)
        return rc;
    ask->with_scope = ask->with ? (uint32_t)request->with.scope : 0;
    ask->apart_scope = ask->apart ? (uint32_t)request->apart.scope : 0;
    ask->even = request->even;
    ask->even_scope = ask->even ? (uint32_t)request->even_scope : 0;
    ask->rtt_max_us = (uint32_t)SYN_MIN(request->rtt_max_us, (int64_t)UINT32_MAX - 1);
    return SYN_OK;
}

/* Bits of the models that will do, and what is asked of them; SYN_PLACE_NONE: none of those that
 * were ever here. */
static int
ask_models(const struct syn_cluster *cluster, const struct syn_place_request *request,
           struct syn_fleet_ask *ask, uint64_t *ret)
{
    bool any = !fit_text(request->gpu_model) && request->vram_min_bytes == 0 &&
               request->capability == 0 && !fit_part(request);

    *ret = 0;
    for (uint32_t i = 0; i < cluster->models_count && !any; i++) {
        const struct syn_gpu_group *group = &cluster->models[i].like;
        struct syn_fleet_ask own = {.cards = 0};

        if (!fit_card(group, request) || (fit_part(request) && !part_ask(group, request, &own)))
            continue;
        if (*ret == 0 && fit_part(request))
            (void)part_ask(group, request, ask);
        /* The same name may be of other slices on another card. */
        if (own.profile == ask->profile)
            *ret |= UINT64_C(1) << i;
    }
    return any || *ret ? SYN_OK : SYN_PLACE_NONE;
}

static int
ask_region(struct syn_cluster *cluster, const struct syn_place_request *request, uint32_t *ret,
           struct syn_err *err)
{
    if (!request->region || !*request->region)
        return SYN_OK;
    for (size_t i = 0; i < cluster->count; i++)
        if (syn_str_eq(cluster->nodes[i]->view.region, request->region))
            return syn_fleet_word(cluster->fleet, request->region, ret, err);
    return SYN_PLACE_NONE;
}

static uint32_t
ask_isolation(const struct syn_place_request *request)
{
    uint32_t classes =
        SYN_BIT(SYN_ISOLATION_GVISOR) | SYN_BIT(SYN_ISOLATION_RUNC) | SYN_BIT(SYN_ISOLATION_KATA);

    if (request->isolation != SYN_ISOLATION_AUTO)
        classes = SYN_BIT(request->isolation);
    if (request->gpus > 0)
        classes <<= FLEET_CLASS_GPUS;
    return request->networks ? classes << FLEET_CLASS_NETS : classes;
}

/* In the core's terms: one member for each of the gang, or one in all where they share a node.
 * SYN_PLACE_NONE: no node that was ever here would do. */
int
place_ask_make(struct syn_cluster *cluster, const struct syn_place_request *request, int64_t gpus,
               struct syn_fleet_request *ret, struct syn_err *err)
{
    struct syn_fleet_ask *ask = &ret->ask;
    int64_t each = request->one_node ? request->count : 1;
    int rc;

    memset(ret, 0, sizeof(*ret));
    ret->members = request->one_node ? 1 : request->count;
    if (request->amounts.cpu_millicores > SYN_FLEET_QUANTITY_MAX / each ||
        request->amounts.memory_bytes > SYN_FLEET_QUANTITY_MAX / each ||
        request->amounts.scratch_bytes > SYN_FLEET_QUANTITY_MAX / each ||
        request->bandwidth_bps > SYN_FLEET_QUANTITY_MAX / each || gpus > SYN_FLEET_CARDS_MAX / each)
        return SYN_PLACE_NONE;
    ask->need[SYN_FLEET_CPU] = request->amounts.cpu_millicores * each;
    ask->need[SYN_FLEET_MEMORY] = request->amounts.memory_bytes * each;
    ask->need[SYN_FLEET_DISK] = request->amounts.scratch_bytes * each;
    ask->need[SYN_FLEET_BANDWIDTH] = request->bandwidth_bps * each;
    ask->cards = (uint32_t)(gpus * each);
    ask->price_max = SYN_MIN(request->price_max, SYN_FLEET_CEILING_MAX / each) * each;
    ask->spot = request->spot;
    ask->policy = request->policy;
    ask->isolation = ask_isolation(request);
    rc = ask_region(cluster, request, &ask->region, err);
    if (rc == SYN_OK && gpus > 0)
        rc = ask_models(cluster, request, ask, &ask->models);
    if (rc == SYN_OK)
        rc = ask_ties(cluster, request, ask, err);
    return rc != SYN_OK ? rc : ask_labels(cluster, request, &ask->labels, err);
}

/* ---- where it was placed ---- */

static const struct cluster_node *
node_of(const struct syn_cluster *cluster, uint32_t number)
{
    return cluster_node_find(cluster, syn_fleet_node_name(cluster->fleet, number));
}

/* Slots come in the order of their nodes, so that members of one node stand together. */
static int
by_node(const void *a, const void *b)
{
    const struct syn_fleet_slot *x = a, *y = b;

    return (x->node > y->node) - (x->node < y->node);
}

/* Which cards those of the members are; a member that shares its node with others has its part of
 * the cards of all. */
static void
slot_cards(const struct syn_cluster *cluster, const struct syn_place_request *request,
           const struct cluster_node *node, const struct syn_fleet_slot *slot, uint32_t member,
           struct syn_place_slot *out)
{
    uint32_t all = (uint32_t)__builtin_popcount(slot->cards), seen = 0;
    uint32_t each = request->one_node ? all / request->count : all;
    uint32_t skip = request->one_node ? each * member : 0;

    for (uint32_t card = 0; card < node->told.cards; card++) {
        const struct syn_gpu_group *group = &cluster->models[node->told.models[card]].like;

        if (!(slot->cards & SYN_BIT(card)) || seen++ < skip || seen > skip + each)
            continue;
        (void)syn_str_copy(out->gpu_model, sizeof(out->gpu_model), group->model);
        out->gpu_vram_bytes = group->vram_bytes;
        out->gpu_cards |= SYN_BIT(card);
        out->gpu_permille = fit_charge(group, request);
    }
    out->gpu_named = syn_node_view_named(&node->view, out->gpu_cards);
    out->gpu_mode = slot->mode;
    out->gpu_part = slot->part;
    out->gpu_share_mib = (request->gpu_share_bytes + (1 << 20) - 1) >> 20;
}

int
syn_place_resources(const struct syn_place_request *request, const struct syn_place_slot *slot,
                    int64_t gpus, json_t *resources, struct syn_err *err)
{
    json_t *cards = json_array();
    int rc = SYN_OK;

    for (uint32_t i = 0; cards && rc == SYN_OK && i < 32; i++)
        if (slot->gpu_named & SYN_BIT(i))
            rc = syn_json_append_take(cards, json_integer(i), err);
    if (rc < 0 || gpus == 0 || slot->gpu_named == 0) {
        json_decref(cards);
        return rc;
    }
    rc = syn_json_set_take(resources, "gpu_cards", cards, err);
    if (rc < 0 || !fit_part(request))
        return rc;
    rc = syn_json_set_i64(resources, "gpu_permille", slot->gpu_permille, err);
    if (rc == SYN_OK && fit_text(request->mig)) {
        rc = syn_json_set_str(resources, "gpu_mig", request->mig, err);
        return rc < 0 ? rc : syn_json_set_i64(resources, "gpu_part", slot->gpu_part, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_set_i64(resources, "gpu_share", request->gpu_share, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(resources, "gpu_share_mib", slot->gpu_share_mib, err);
    return rc < 0 ? rc
                  : syn_json_set_str(resources, "gpu_sharing",
                                     slot->gpu_mode == SYN_FLEET_MPS ? "mps" : "time-slice", err);
}

static void
placement_make(const struct syn_cluster *cluster, const struct syn_place_request *request,
               const struct syn_fleet_slot *given, int64_t gpus, struct syn_placement *ret)
{
    uint32_t members = request->one_node ? 1 : request->count;
    struct syn_fleet_slot slots[SYN_PLACE_GANG_MAX];

    memcpy(slots, given, members * sizeof(*slots));
    qsort(slots, members, sizeof(*slots), by_node);
    *ret = (struct syn_placement){.count = request->count, .gpus = gpus};
    for (uint32_t i = 0; i < request->count; i++) {
        const struct syn_fleet_slot *slot = &slots[request->one_node ? 0 : i];
        const struct cluster_node *node = node_of(cluster, slot->node);
        struct syn_place_slot *out = &ret->slots[i];

        assert(node); /* whatever leaves takes its placements with it */
        (void)syn_str_copy(out->node, sizeof(out->node), node->view.id);
        out->isolation = syn_node_view_sandbox(&node->view, request->isolation, gpus > 0);
        slot_cards(cluster, request, node, slot, i, out);
    }
}

int
syn_place(struct syn_cluster *cluster, const struct syn_place_request *request,
          struct syn_placement *ret, struct syn_err *err)
{
    struct syn_fleet_slot slots[SYN_PLACE_GANG_MAX];
    int rc = place_check(request, err);

    if (rc == SYN_OK)
        rc = fleet_ensure(cluster, err);
    if (rc < 0)
        return rc;
    for (int64_t gpus = request->gpus_max; gpus >= request->gpus && !request->good; gpus--) {
        struct syn_fleet_request wanted;

        rc = place_ask_make(cluster, request, gpus, &wanted, err);
        wanted.key = UINT64_MAX - 1;
        if (rc == SYN_OK)
            rc = syn_fleet_probe(cluster->fleet, &wanted, slots, err);
        if (rc < 0)
            return rc;
        if (rc != SYN_OK)
            continue;
        placement_make(cluster, request, slots, gpus, ret);
        return SYN_OK;
    }
    if ((!request->good && !request->spot) || !keep_probe(cluster, request, &slots[0]))
        return SYN_PLACE_NONE;
    for (uint32_t i = 1; i < request->count; i++)
        slots[i] = slots[0];
    placement_make(cluster, request, slots, request->gpus, ret);
    return SYN_OK;
}

/* ---- asking for a job ---- */

/* Do the documents say that its room is free, and of those gone that it is to be apart from? */
static bool
free_now(const struct syn_cluster *cluster, const struct syn_place_request *request,
         const struct syn_placement *placement)
{
    const struct fit_view view = {.loose = true};
    struct syn_place_request wanted = *request;

    if (fit_text(request->apart.group))
        tie_look(cluster, request);
    wanted.gpus = wanted.gpus_max = placement->gpus;
    for (uint32_t i = 0; i < placement->count;) {
        const struct syn_node_view *node = syn_cluster_find(cluster, placement->slots[i].node);
        uint32_t same = i;

        while (same < placement->count && syn_str_eq(placement->slots[same].node, node->id))
            same++;
        wanted.gpu_model = placement->slots[i].gpu_model;
        wanted.count = same - i;
        for (uint32_t k = i; k < same; k++)
            if (!fit_slot(node, &wanted, &placement->slots[k]))
                return false;
        if (fit_units(node, &wanted, view) < wanted.count ||
            (fit_text(request->apart.group) && (node->ties & SYN_BIT(DIM_APART))))
            return false;
        i = same;
    }
    return true;
}

/* With as many cards as there are now; else it waits for those that it must have. SYN_PLACE_NONE:
 * nothing that was ever here would do, and it is not in the queue. */
static int
submit(struct syn_cluster *cluster, const struct syn_place_who *who,
       const struct syn_place_request *request, struct cluster_job *job, struct syn_err *err)
{
    int rc = SYN_PLACE_NONE;

    for (int64_t gpus = request->gpus_max; gpus >= request->gpus && rc == SYN_PLACE_NONE; gpus--) {
        rc = place_ask_make(cluster, request, gpus, &job->request, err);
        if (rc != SYN_OK)
            continue;
        job->request.key = job->key;
        job->request.priority = (int32_t)who->priority;
        job->request.runs_ms = who->runs_ms;
        job->gpus = gpus;
        rc = syn_fleet_word(cluster->fleet, who->account, &job->request.account, err);
        if (rc == SYN_OK && gpus > request->gpus)
            rc = syn_fleet_try(cluster->fleet, &job->request, job->slots, err);
        else if (rc == SYN_OK)
            rc = syn_fleet_submit(cluster->fleet, &job->request, err);
        if (rc == SYN_FLEET_FULL && gpus == request->gpus)
            return SYN_OK;                                  /* it waits in the core's queue */
        job->placed = rc == SYN_OK && gpus > request->gpus; /* else the core tells */
    }
    return rc;
}

/* Is it still what was asked for? Models that came later may do as well. */
static bool
asked_so(struct syn_cluster *cluster, const struct syn_place_request *request,
         const struct cluster_job *job)
{
    struct syn_fleet_request now;

    return place_ask_make(cluster, request, job->gpus, &now, NULL) == SYN_OK &&
           now.members == job->request.members &&
           memcmp(&now.ask, &job->request.ask, sizeof(now.ask)) == 0;
}

/* Would its nodes still do, were they empty? One may have gone silent or become too dear since. */
static bool
placed_well(const struct syn_cluster *cluster, const struct syn_place_request *request,
            const struct cluster_job *job)
{
    const struct fit_view empty = {.empty = true, .loose = true};
    struct syn_placement placement;
    struct syn_place_request wanted = *request;

    placement_make(cluster, request, job->slots, job->gpus, &placement);
    wanted.gpus = wanted.gpus_max = job->gpus;
    for (uint32_t i = 0; i < placement.count; i++) {
        wanted.gpu_model = placement.slots[i].gpu_model;
        if (fit_lacks(syn_cluster_find(cluster, placement.slots[i].node), &wanted, 1, empty))
            return false;
    }
    return true;
}

static int
ask_core(struct syn_cluster *cluster, const struct syn_place_who *who,
         const struct syn_place_request *request, struct cluster_job *job, struct syn_err *err)
{
    int rc = SYN_OK;

    syn_fleet_set_time(cluster->fleet, who->now_ms);
    if (job->key && (job->begun || (job->placed ? !placed_well(cluster, request, job)
                                                : !asked_so(cluster, request, job))))
        rc = fleet_forget(cluster, job, err);
    if (rc == SYN_OK && job->key == 0) {
        rc = fleet_key(cluster, "", job->id, &job->key, err);
        if (rc == SYN_OK)
            rc = submit(cluster, who, request, job, err);
        if (rc == SYN_PLACE_NONE || (rc < 0 && job->key)) {
            fleet_key_free(cluster, job->key);
            job->key = 0;
        }
    }
    return rc < 0 ? rc : fleet_hear(cluster, err);
}

/* For who holds units, which is never in the core's queue. */
static int
ask_kept(struct syn_cluster *cluster, const struct syn_place_who *who,
         const struct syn_place_request *request, struct cluster_job *job, struct syn_err *err)
{
    bool stands = job->placed && !job->begun && job->kept_units > 0 && !job->lent &&
                  placed_well(cluster, request, job);
    int rc = SYN_OK;

    syn_fleet_set_time(cluster->fleet, who->now_ms);
    if (job->key && !stands)
        rc = fleet_forget(cluster, job, err);
    if (rc == SYN_OK && job->key == 0)
        rc = keep_place(cluster, who, request, job, err);
    return rc < 0 ? rc : fleet_hear(cluster, err);
}

int
syn_place_ask(struct syn_cluster *cluster, const struct syn_place_who *who,
              const struct syn_place_request *request, struct syn_placement *ret,
              struct syn_err *err)
{
    struct syn_place_request paid = *request;
    struct cluster_job *job = NULL;
    int rc = place_check(request, err);

    if (rc == SYN_OK)
        rc = fleet_ensure(cluster, err);
    if (rc == SYN_OK)
        rc = cluster_job_need(cluster, who->job, &job, err);
    if (rc < 0)
        return rc;
    assert(job);
    if (request->good) {
        paid.price_max = 0; /* its processors are paid for */
        request = &paid;
        rc = ask_kept(cluster, who, request, job, err);
    } else {
        rc = ask_core(cluster, who, request, job, err);
        if (rc == SYN_OK && !job->placed && request->spot)
            rc = keep_place(cluster, who, request, job, err);
    }
    if (rc < 0)
        return rc;
    job->evicted = NULL; /* who asks has given up what it had */
    job->news = false;
    if (!job->placed)
        return SYN_PLACE_NONE;
    placement_make(cluster, request, job->slots, job->gpus, ret);
    return free_now(cluster, request, ret) ? SYN_OK : SYN_PLACE_SOON;
}

void
syn_place_withdraw(struct syn_cluster *cluster, const char *id)
{
    struct cluster_job *job = syn_map_find(cluster->jobs, id);

    if (!job)
        return;
    if (fleet_forget(cluster, job, NULL) < 0)
        fleet_drop(cluster);
    (void)syn_map_remove(cluster->jobs, id);
}

bool
syn_place_next(struct syn_cluster *cluster, char ret[SYN_ID_MAX])
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;

        if (!job->news)
            continue;
        job->news = false;
        (void)syn_str_copy(ret, SYN_ID_MAX, job->id);
        return true;
    }
    return false;
}

const char *
syn_place_evicted(const struct syn_cluster *cluster, const char *id)
{
    const struct cluster_job *job = syn_map_find(cluster->jobs, id);

    return job ? job->evicted : NULL;
}

/* ---- what ran before ---- */

/* The instances of a job, each a request of its own. */
struct claim {
    struct cluster_instance *instances[SYN_PLACE_GANG_MAX];
    uint64_t keys[SYN_PLACE_GANG_MAX];
    uint32_t nodes[SYN_PLACE_GANG_MAX];
    uint32_t count;
};

/* Are they all there, and all by themselves? */
static bool
claim_read(const struct syn_cluster *cluster, const char *job, uint32_t wanted, struct claim *ret)
{
    size_t cursor = 0;
    void *value;

    ret->count = 0;
    while (syn_map_next(cluster->instances, &cursor, NULL, &value)) {
        struct cluster_instance *instance = value;
        const struct cluster_node *node;

        if (!instance->view.holds || !syn_str_eq(instance->view.place, job))
            continue;
        node = cluster_node_find(cluster, instance->view.node);
        if (instance->hold != HOLD_ALONE || !node || ret->count == wanted)
            return false;
        ret->instances[ret->count] = instance;
        ret->keys[ret->count] = instance->key;
        ret->nodes[ret->count++] = node->number;
    }
    return ret->count == wanted;
}

/* The cards that the instances have; where one does not say it of its own, the core chooses. */
static void
claim_slots(const struct syn_cluster *cluster, const struct claim *claim, struct cluster_job *job)
{
    bool named = true;

    memset(job->slots, 0, sizeof(job->slots));
    for (uint32_t i = 0; i < claim->count; i++) {
        const struct syn_instance_view *view = &claim->instances[i]->view;
        struct syn_fleet_slot *slot = &job->slots[job->request.members == 1 ? 0 : i];

        const struct cluster_node *node = cluster_node_find(cluster, view->node);
        uint32_t cards = node ? syn_node_view_cards(&node->view, view->gpu_cards) : 0;

        named = named && (view->gpus == 0 || cards != 0);
        slot->cards |= cards;
        slot->part = view->gpu_part;
        slot->mode = view->gpu_mode;
    }
    for (uint32_t i = 0; i < job->request.members && !named; i++)
        job->slots[i].cards = 0;
}

static int
claim_make(struct syn_cluster *cluster, const struct claim *claim, struct cluster_job *job,
           struct syn_err *err)
{
    int rc = fleet_key(cluster, "", job->id, &job->key, err);

    if (rc < 0)
        return rc;
    job->request.key = job->key;
    claim_slots(cluster, claim, job);
    rc = syn_fleet_merge(cluster->fleet, claim->keys, claim->count, &job->request, claim->nodes,
                         job->slots, err);
    if (rc < 0) {
        fleet_drop(cluster); /* it is out of step */
        return rc == SYN_E_NOMEM ? rc : SYN_OK;
    }
    for (uint32_t i = 0; i < claim->count; i++) {
        fleet_key_free(cluster, claim->keys[i]);
        claim->instances[i]->hold = HOLD_JOB;
        claim->instances[i]->key = job->key;
    }
    job->placed = job->begun = true;
    job->live = claim->count;
    return SYN_OK;
}

int
syn_place_claim(struct syn_cluster *cluster, const struct syn_place_who *who,
                const struct syn_place_request *request, int64_t gpus, struct syn_err *err)
{
    struct cluster_job *job = NULL;
    struct claim claim;
    int rc = place_check(request, err);

    if (rc == SYN_OK)
        rc = fleet_ensure(cluster, err);
    if (rc == SYN_OK)
        rc = cluster_job_need(cluster, who->job, &job, err);
    if (rc < 0)
        return rc;
    assert(job);
    if (job->key || job->evicted || !claim_read(cluster, who->job, request->count, &claim))
        return SYN_OK;
    rc = place_ask_make(cluster, request, gpus, &job->request, err);
    if (rc != SYN_OK) /* nothing that is here now would do: it stays where it is */
        return rc < 0 ? rc : SYN_OK;
    for (uint32_t i = 1; i < claim.count && request->one_node; i++)
        if (claim.nodes[i] != claim.nodes[0])
            return SYN_OK;
    job->gpus = gpus;
    job->request.priority = (int32_t)who->priority;
    job->request.runs_ms = who->runs_ms;
    syn_fleet_set_time(cluster->fleet, who->now_ms);
    rc = syn_fleet_word(cluster->fleet, who->account, &job->request.account, err);
    if (who->priority == SYN_PLACE_PRIORITY_HELD)
        job->request.ask.region = cluster->kept_region; /* it is moved by who owes it, or not */
    if (rc == SYN_OK)
        rc = claim_make(cluster, &claim, job, err);
    if (rc == SYN_OK && cluster->fleet && cluster->keeps_short && request->spot)
        rc = keep_all(cluster, err); /* it may stand in for what is kept */
    return rc < 0 ? rc : fleet_hear(cluster, err);
}

int
syn_place_empty(struct syn_cluster *cluster, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < cluster->count && rc == SYN_OK; i++) {
        struct cluster_node *node = cluster->nodes[i];

        if (!node->view.evacuate || node->emptied)
            continue;
        rc = fleet_ensure(cluster, err);
        node->emptied = rc == SYN_OK;
        if (rc == SYN_OK && node->number != SYN_FLEET_NONE)
            rc = syn_fleet_drain(cluster->fleet, node->number, err);
        if (rc == SYN_OK)
            rc = fleet_hear(cluster, err);
    }
    return rc;
}

int
syn_place_turn(struct syn_cluster *cluster, const char *id, struct syn_place_turn *ret,
               struct syn_err *err)
{
    const struct cluster_job *job = syn_map_find(cluster->jobs, id);
    SYN_JSON(answer);
    int rc;

    if (!job || job->key == 0 || job->placed || !cluster->fleet)
        return SYN_PLACE_NONE;
    rc = syn_fleet_explain(cluster->fleet, job->key, &answer, err);
    if (rc < 0)
        return rc;
    *ret = (struct syn_place_turn){
        .position = syn_json_i64(answer, "position", 0),
        .queue = syn_json_i64(answer, "queue", 0),
        .start_ms = syn_json_i64(answer, "expected_start_ms", -1),
    };
    return SYN_OK;
}
