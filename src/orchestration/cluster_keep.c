/* What providers' nodes keep for the market: processors offered there, and those sold whose units
 * nobody has begun.
 *
 *     keeper    on each node and for each of its goods: a request of its own in the core, which
 *               takes the processors and gives way to nobody
 *     holder    a job with units: its request takes the place of keepers of its sellers
 *     lent      spot work likewise, of anybody's; it counts as what it was lent, so that no other
 *               work can push it out and have the room, and gives it back when it ends, or when a
 *               holder comes: then it is told to go, as spot work is
 *
 *     kept = what keepers have + what is lent + what holders were placed in and have not begun
 *
 * All three ask for a region that no node is in, so that the core never moves them by itself. Where
 * there is no room for what should be kept (a node was lost, or spot work runs there), spot work
 * that runs on the provider's nodes stands in for it; work on demand is never pushed out for units
 * that nobody uses. */
#include "cluster_priv.h"
#include "place_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#define PRIORITY_KEEPER INT32_MAX
#define PRIORITY_LENT   (INT32_MAX - 1)
#define MILLI           1000

/* ---- keepers ---- */

static const char *
model_at(const struct cluster_node *node, unsigned keeper)
{
    return keeper > 0 ? node->view.gpus[keeper - 1].model : NULL;
}

static bool
is_of(const struct cluster_node *node, unsigned keeper, const char *good)
{
    char own[SYN_GOOD_MAX];

    return syn_node_view_good(&node->view, model_at(node, keeper), own) && syn_str_eq(own, good);
}

static unsigned
keepers_of(const struct cluster_node *node)
{
    return 1 + node->view.gpus_count;
}

/* What so many units take of the node, as an instance would. */
static struct syn_instance_view
units_view(const struct cluster_node *node, unsigned keeper, int64_t units)
{
    struct syn_instance_view view = {.holds = true};

    if (keeper == 0) {
        view.amounts.cpu_millicores = units * MILLI;
        return view;
    }
    view.gpus = units;
    view.gpu_vram_bytes = node->view.gpus[keeper - 1].vram_bytes;
    (void)syn_str_copy(view.gpu_model, sizeof(view.gpu_model), model_at(node, keeper));
    return view;
}

static uint64_t
models_of(const struct syn_cluster *cluster, const struct syn_gpu_group *group)
{
    uint64_t models = 0;

    for (uint32_t i = 0; i < cluster->models_count; i++)
        if (syn_gpu_group_same(&cluster->models[i].like, group) &&
            cluster->models[i].like.modes == group->modes)
            models |= UINT64_C(1) << i;
    return models;
}

/* Units that nobody has there, in the core's count, which knows of what is not begun, too. */
static int64_t
room_for(const struct syn_cluster *cluster, const struct cluster_node *node, unsigned keeper)
{
    const struct syn_gpu_group *group = keeper > 0 ? &node->view.gpus[keeper - 1] : NULL;

    if (node->number == SYN_FLEET_NONE || node->over || !syn_node_view_open(&node->view))
        return 0;
    if (!group)
        return syn_fleet_node_free(cluster->fleet, node->number, SYN_FLEET_CPU) / MILLI;
    return SYN_MIN(syn_fleet_node_cards(cluster->fleet, node->number, models_of(cluster, group)),
                   SYN_MAX(group->count - group->used, 0));
}

/* Requests whose room one that is new gets. */
struct takeover {
    uint64_t keys[SYN_PLACE_GANG_MAX];
    size_t count;
};

static void
takeover_add(struct takeover *takeover, uint64_t key)
{
    assert(takeover->count < SYN_LEN(takeover->keys));
    if (key != 0)
        takeover->keys[takeover->count++] = key;
}

/* Adopt `request` in their place, on the slot's cards where it names some. What is not so any more
 * is made again from the documents. */
static int
take_over(struct syn_cluster *cluster, const struct takeover *takeover,
          const struct syn_fleet_request *request, uint32_t node, struct syn_fleet_slot *slot,
          struct syn_err *err)
{
    int rc =
        syn_fleet_merge(cluster->fleet, takeover->keys, takeover->count, request, &node, slot, err);

    for (size_t i = 0; i < takeover->count; i++)
        if (takeover->keys[i] != request->key)
            fleet_key_free(cluster, takeover->keys[i]);
    return rc;
}

/* Its request is for so many units from now on, in the place of what it had and of `more`. The room
 * must be there. */
static int
keeper_set(struct syn_cluster *cluster, struct cluster_node *node, unsigned at, int64_t units,
           struct takeover more, struct syn_err *err)
{
    struct cluster_keeper *keeper = &node->keepers[at];
    const struct syn_instance_view was = units_view(node, at, keeper->units);
    const struct syn_instance_view now = units_view(node, at, units);
    struct syn_fleet_request request = {.members = 1, .priority = PRIORITY_KEEPER};
    struct syn_fleet_slot slot = {.cards = 0};
    int rc = SYN_OK;

    assert(units >= 0);
    takeover_add(&more, keeper->key);
    syn_node_view_sub(&node->view, &was);
    *keeper = (struct cluster_keeper){0};
    if (units == 0) {
        for (size_t i = 0; i < more.count && rc == SYN_OK; i++) {
            fleet_key_free(cluster, more.keys[i]);
            rc = syn_fleet_end(cluster->fleet, more.keys[i], err);
        }
        return rc;
    }
    request.ask.region = cluster->kept_region;
    request.ask.need[SYN_FLEET_CPU] = now.amounts.cpu_millicores;
    request.ask.cards = (uint32_t)now.gpus;
    request.ask.models = at > 0 ? models_of(cluster, &node->view.gpus[at - 1]) : 0;
    rc = fleet_key(cluster, "=", node->view.id, &request.key, err);
    if (rc == SYN_OK)
        rc = take_over(cluster, &more, &request, node->number, &slot, err);
    if (rc < 0)
        return rc;
    *keeper = (struct cluster_keeper){request.key, units};
    syn_node_view_add(&node->view, &now);
    return SYN_OK;
}

void
keep_drop(struct cluster_node *node)
{
    for (unsigned i = 0; i < KEEPERS_MAX; i++) {
        const struct syn_instance_view was = units_view(node, i, node->keepers[i].units);

        if (node->keepers[i].units > 0)
            syn_node_view_sub(&node->view, &was);
        node->keepers[i] = (struct cluster_keeper){0};
    }
}

int
keep_forget(struct syn_cluster *cluster, struct cluster_node *node, struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned i = 0; i < KEEPERS_MAX && rc == SYN_OK; i++)
        if (node->keepers[i].key != 0)
            rc = keeper_set(cluster, node, i, 0, (struct takeover){.count = 0}, err);
    cluster->keeps_short = cluster->keeps_count > 0;
    return rc;
}

int
keep_evicted(struct syn_cluster *cluster, const char *id, uint64_t key, struct syn_err *err)
{
    struct cluster_node *node = cluster_node_find(cluster, id);

    cluster->keeps_short = true;
    for (unsigned i = 0; node && i < KEEPERS_MAX; i++)
        if (node->keepers[i].key == key)
            return keeper_set(cluster, node, i, 0, (struct takeover){.count = 0}, err);
    fleet_key_free(cluster, key);
    return syn_fleet_end(cluster->fleet, key, err);
}

/* ---- what is kept ---- */

static bool
job_on(const struct cluster_job *job, const struct cluster_node *node, unsigned keeper)
{
    return job->kept_units > 0 && job->placed && job->keeper == keeper &&
           syn_str_eq(job->kept_node, node->view.id);
}

/* Lent there, or a holder's that has not begun. */
static int64_t
jobs_units(const struct syn_cluster *cluster, const struct cluster_node *node, unsigned keeper)
{
    int64_t units = 0;
    size_t cursor = 0;
    void *value;

    while (syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        const struct cluster_job *job = value;

        if (job_on(job, node, keeper) && (job->lent || !job->begun))
            units += job->kept_units;
    }
    return units;
}

static int64_t
units_kept(const struct syn_cluster *cluster, const struct syn_keep *keep)
{
    int64_t units = 0;

    for (size_t i = 0; i < cluster->count; i++) {
        const struct cluster_node *node = cluster->nodes[i];

        for (unsigned k = 0; k < keepers_of(node); k++)
            if (syn_str_eq(node->view.provider, keep->provider) && is_of(node, k, keep->good))
                units += node->keepers[k].units + jobs_units(cluster, node, k);
    }
    return units;
}

int64_t
syn_cluster_kept(const struct syn_cluster *cluster, const char *id, const char *good)
{
    const struct cluster_node *node = cluster_node_find(cluster, id);
    int64_t units = 0;

    for (unsigned k = 0; node && k < keepers_of(node); k++)
        if (is_of(node, k, good))
            units += node->keepers[k].units + jobs_units(cluster, node, k);
    return units;
}

/* Keep less, or (`grow`) more where there is room: *units is what is left to do. */
static int
change_on(struct syn_cluster *cluster, struct cluster_node *node, const struct syn_keep *keep,
          bool grow, int64_t *units, struct syn_err *err)
{
    int rc = SYN_OK;

    if (!syn_str_eq(node->view.provider, keep->provider))
        return SYN_OK;
    for (unsigned k = 0; k < keepers_of(node) && *units > 0 && rc == SYN_OK; k++) {
        int64_t have = node->keepers[k].units;
        int64_t step = SYN_MIN(*units, have);

        if (!is_of(node, k, keep->good))
            continue;
        if (grow) {
            int64_t room = room_for(cluster, node, k);

            step = SYN_MIN(*units, room);
        }
        if (step <= 0)
            continue;
        rc = keeper_set(cluster, node, k, grow ? have + step : have - step,
                        (struct takeover){.count = 0}, err);
        *units -= step;
    }
    return rc;
}

/* Spot work that runs there stands in for units that find no room. */
static int
stand_in(struct syn_cluster *cluster, const struct syn_keep *keep, int64_t *units,
         struct syn_err *err)
{
    size_t cursor = 0;
    void *value;
    int rc = SYN_OK;

    while (rc == SYN_OK && *units > 0 && syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;
        const struct syn_fleet_ask *ask = &job->request.ask;
        struct takeover own = {.count = 0};
        struct cluster_node *node = NULL;
        unsigned k = 0;

        if (!job->placed || !job->begun || job->kept_units > 0 || ask->spot == 0 ||
            job->request.members != 1 || ask->mode != SYN_FLEET_CARDS)
            continue;
        for (size_t i = 0; i < cluster->count && !node; i++)
            if (cluster->nodes[i]->number == job->slots[0].node)
                node = cluster->nodes[i];
        if (!node || !syn_str_eq(node->view.provider, keep->provider))
            continue;
        for (; ask->cards > 0 && k < node->view.gpus_count; k++)
            if (ask->models == 0 || (ask->models & models_of(cluster, &node->view.gpus[k])) != 0)
                break;
        k += ask->cards > 0;
        job->kept_units = ask->cards > 0 ? ask->cards : ask->need[SYN_FLEET_CPU] / MILLI;
        if (k >= keepers_of(node) || !is_of(node, k, keep->good) || job->kept_units == 0) {
            job->kept_units = 0;
            continue;
        }
        job->kept_units = SYN_MIN(job->kept_units, *units);
        job->lent = true;
        job->priority = job->request.priority;
        job->keeper = k;
        (void)syn_str_copy(job->kept_node, sizeof(job->kept_node), node->view.id);
        job->request.priority = PRIORITY_LENT;
        job->request.ask.region = cluster->kept_region;
        takeover_add(&own, job->key);
        *units -= job->kept_units;
        rc = take_over(cluster, &own, &job->request, node->number, job->slots, err);
    }
    return rc;
}

/* It is ordinary spot work again, where it is. */
static int
unlend(struct syn_cluster *cluster, struct cluster_job *job, const struct cluster_node *node,
       struct syn_err *err)
{
    struct takeover own = {.count = 0};

    job->lent = false;
    job->kept_units = 0;
    job->request.priority = job->priority;
    takeover_add(&own, job->key);
    return take_over(cluster, &own, &job->request, node->number, job->slots, err);
}

/* Of what nothing is kept any more. */
static int
unlend_all(struct syn_cluster *cluster, const struct cluster_node *node, unsigned keeper,
           struct syn_err *err)
{
    size_t cursor = 0;
    void *value;
    int rc = SYN_OK;

    while (rc == SYN_OK && syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;

        if (job->lent && job_on(job, node, keeper))
            rc = unlend(cluster, job, node, err);
    }
    return rc;
}

/* What is lent is more than is kept: it is ordinary spot work again, where that will do. */
static int
lend_less(struct syn_cluster *cluster, const struct syn_keep *keep, int64_t *units,
          struct syn_err *err)
{
    size_t cursor = 0;
    void *value;
    int rc = SYN_OK;

    while (rc == SYN_OK && *units > 0 && syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;
        const struct cluster_node *node =
            job->lent && job->placed ? cluster_node_find(cluster, job->kept_node) : NULL;

        if (!node || !syn_str_eq(node->view.provider, keep->provider) ||
            !is_of(node, job->keeper, keep->good))
            continue;
        *units -= job->kept_units;
        job->kept_units = SYN_MAX(-*units, 0);
        if (job->kept_units > 0)
            return SYN_OK;
        rc = unlend(cluster, job, node, err);
    }
    return rc;
}

/* Nothing should be kept there of what it is. */
static int
end_strays(struct syn_cluster *cluster, struct cluster_node *node, struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned k = 0; k < keepers_of(node) && rc == SYN_OK; k++) {
        bool wanted = false;

        for (size_t i = 0; i < cluster->keeps_count && !wanted; i++)
            wanted = syn_str_eq(cluster->keeps[i].provider, node->view.provider) &&
                     is_of(node, k, cluster->keeps[i].good);
        if (!wanted && node->keepers[k].units > 0)
            rc = keeper_set(cluster, node, k, 0, (struct takeover){.count = 0}, err);
        if (!wanted && rc == SYN_OK)
            rc = unlend_all(cluster, node, k, err);
    }
    return rc;
}

static int
keep_one(struct syn_cluster *cluster, const struct syn_keep *keep, struct syn_err *err)
{
    int64_t more = keep->units - units_kept(cluster, keep), less = -more;
    int rc = SYN_OK;

    for (size_t i = 0; i < cluster->count && less > 0 && rc == SYN_OK; i++)
        rc = change_on(cluster, cluster->nodes[i], keep, false, &less, err);
    if (rc == SYN_OK && less > 0)
        rc = lend_less(cluster, keep, &less, err);
    for (size_t i = 0; i < cluster->count && more > 0 && rc == SYN_OK; i++)
        rc = change_on(cluster, cluster->nodes[i], keep, true, &more, err);
    if (rc == SYN_OK && more > 0)
        rc = stand_in(cluster, keep, &more, err);
    cluster->keeps_short = cluster->keeps_short || more > 0;
    return rc;
}

int
keep_all(struct syn_cluster *cluster, struct syn_err *err)
{
    int rc = SYN_OK;

    if (!cluster->fleet || cluster->keeping)
        return SYN_OK;
    cluster->keeping = true;
    cluster->keeps_short = false;
    for (size_t i = 0; i < cluster->count && rc == SYN_OK; i++)
        rc = end_strays(cluster, cluster->nodes[i], err);
    for (size_t i = 0; i < cluster->keeps_count && rc == SYN_OK; i++)
        rc = keep_one(cluster, &cluster->keeps[i], err);
    if (rc == SYN_OK)
        rc = syn_fleet_settle(cluster->fleet, err);
    cluster->keeping = false;
    return rc;
}

int
syn_cluster_set_keeps(struct syn_cluster *cluster, const struct syn_keep *keeps, size_t count,
                      bool *ret_changed, struct syn_err *err)
{
    struct syn_keep *copy;
    int rc;

    *ret_changed = count != cluster->keeps_count ||
                   (count > 0 && memcmp(keeps, cluster->keeps, count * sizeof(*keeps)) != 0);
    if (!*ret_changed)
        return SYN_OK;
    copy = syn_calloc(count + 1, sizeof(*copy));
    if (!copy)
        return SYN_FAIL(err, SYN_E_NOMEM, "keeping what was sold: out of memory");
    if (count > 0)
        memcpy(copy, keeps, count * sizeof(*copy));
    syn_free(cluster->keeps);
    cluster->keeps = copy;
    cluster->keeps_count = count;
    cluster->keeps_short = true;
    if (!cluster->fleet)
        return SYN_OK; /* seen to when it is made */
    rc = keep_all(cluster, NULL);
    if (rc == SYN_OK)
        rc = fleet_hear(cluster, NULL);
    if (rc < 0)
        fleet_drop(cluster); /* it is made again, with what is kept */
    return SYN_OK;
}

/* ---- who is placed there ---- */

int64_t
syn_place_units(const struct syn_place_request *request)
{
    int64_t each =
        request->gpus > 0 ? request->gpus : (request->amounts.cpu_millicores + MILLI - 1) / MILLI;

    return each * request->count;
}

/* Where it could be: on one node, in what that keeps, and of whom. */
struct berth {
    struct cluster_node *node;
    unsigned keeper;
    int64_t units; /* that it takes of what is kept there */
    struct cluster_job *victims[SYN_PLACE_GANG_MAX / 2];
    size_t victims_count;
    int64_t left; /* units that stay kept there */
};

static bool
seller(const struct syn_place_request *request, const char *provider)
{
    for (size_t i = 0; i < request->sellers_count; i++)
        if (syn_str_eq(request->sellers[i], provider))
            return true;
    return false;
}

/* Spot work that was lent enough of it, as long as units are missing. */
static int64_t
find_victims(const struct syn_cluster *cluster, struct berth *berth, int64_t missing)
{
    size_t cursor = 0;
    void *value;

    while (missing > 0 && berth->victims_count < SYN_LEN(berth->victims) &&
           syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;

        if (!job->lent || !job_on(job, berth->node, berth->keeper))
            continue;
        berth->victims[berth->victims_count++] = job;
        missing -= job->kept_units;
    }
    return missing;
}

/* The node as it would be without what it makes room with. */
static struct syn_node_view
view_without(const struct syn_cluster *cluster, const struct berth *berth)
{
    struct syn_node_view view = berth->node->view;
    const struct syn_instance_view kept =
        units_view(berth->node, berth->keeper, berth->node->keepers[berth->keeper].units);
    size_t cursor = 0;
    void *value;

    syn_node_view_sub(&view, &kept);
    while (berth->victims_count > 0 && syn_map_next(cluster->instances, &cursor, NULL, &value)) {
        const struct cluster_instance *instance = value;

        for (size_t i = 0; i < berth->victims_count; i++)
            if (instance->hold == HOLD_JOB && instance->key == berth->victims[i]->key)
                syn_node_view_sub(&view, &instance->view);
    }
    return view;
}

/* And the core's count of it: what is placed and has not begun is in no document. */
static bool
core_has(const struct syn_cluster *cluster, const struct berth *berth,
         const struct syn_fleet_ask *ask)
{
    const struct syn_instance_view kept =
        units_view(berth->node, berth->keeper, berth->node->keepers[berth->keeper].units);
    uint64_t models = 0;
    int64_t cards = berth->keeper > 0 ? kept.gpus : 0;

    for (unsigned d = 0; d < SYN_FLEET_DIMS; d++) {
        int64_t has =
            syn_fleet_node_free(cluster->fleet, berth->node->number, (enum syn_fleet_dim)d);

        if (d == SYN_FLEET_CPU)
            has += kept.amounts.cpu_millicores;
        for (size_t i = 0; i < berth->victims_count; i++)
            has += berth->victims[i]->request.ask.need[d];
        if (has < ask->need[d])
            return false;
    }
    if (ask->cards == 0)
        return true;
    models = models_of(cluster, &berth->node->view.gpus[berth->keeper - 1]);
    for (size_t i = 0; i < berth->victims_count; i++)
        cards += berth->victims[i]->request.ask.cards;
    return cards + syn_fleet_node_cards(cluster->fleet, berth->node->number, models) >= ask->cards;
}

/* Could a holder have it there? `empty`: were nothing lent, and nobody else there. */
static bool
berth_for_holder(const struct syn_cluster *cluster, const struct syn_place_request *request,
                 struct berth *berth)
{
    int64_t kept = berth->node->keepers[berth->keeper].units, missing;

    if (!seller(request, berth->node->view.provider) ||
        !is_of(berth->node, berth->keeper, request->good))
        return false;
    berth->units = syn_place_units(request);
    missing = find_victims(cluster, berth, berth->units - kept);
    berth->left = -missing;
    return missing <= 0;
}

/* Spot work takes of it only what is missing beside; and pushes out what was lent to lower bids. */
static bool
berth_for_spot(const struct syn_cluster *cluster, const struct syn_place_request *request,
               int64_t priority, struct berth *berth)
{
    bool cards = berth->keeper > 0;
    int64_t unit = cards ? 1 : MILLI, kept = berth->node->keepers[berth->keeper].units;
    int64_t lack = (cards ? request->gpus : request->amounts.cpu_millicores) * request->count;
    size_t cursor = 0;
    void *value;

    lack -= cards ? room_for(cluster, berth->node, berth->keeper)
                  : syn_fleet_node_free(cluster->fleet, berth->node->number, SYN_FLEET_CPU);
    while (lack > kept * unit && berth->victims_count < SYN_LEN(berth->victims) &&
           syn_map_next(cluster->jobs, &cursor, NULL, &value)) {
        struct cluster_job *job = value;
        const struct syn_fleet_ask *ask = &job->request.ask;

        if (!job->lent || !job_on(job, berth->node, berth->keeper) || job->priority >= priority)
            continue;
        berth->victims[berth->victims_count++] = job;
        kept += job->kept_units;
        lack -= (cards ? ask->cards : ask->need[SYN_FLEET_CPU]) - job->kept_units * unit;
    }
    berth->units = (SYN_MAX(lack, 0) + unit - 1) / unit;
    berth->left = kept - berth->units;
    return kept > 0 && berth->units > 0 && berth->left >= 0;
}

static bool
berth_ok(struct syn_cluster *cluster, const struct syn_place_request *request, int64_t gpus,
         int64_t priority, struct berth *berth)
{
    struct syn_place_request wanted = *request;
    const struct cluster_node *node = berth->node;
    struct syn_fleet_request fleet;
    struct syn_node_view view;

    wanted.gpus = wanted.gpus_max = gpus;
    if (node->number == SYN_FLEET_NONE || node->over || (berth->keeper > 0) != (gpus > 0) ||
        fit_part(request) || /* units are whole cards */
        (berth->keeper > 0 && !fit_card(&node->view.gpus[berth->keeper - 1], request)))
        return false;
    if (berth->keeper > 0) {
        wanted.gpu_model = node->view.gpus[berth->keeper - 1].model;
        wanted.vram_min_bytes = node->view.gpus[berth->keeper - 1].vram_bytes;
    }
    if (request->good ? !berth_for_holder(cluster, &wanted, berth)
                      : !berth_for_spot(cluster, &wanted, priority, berth))
        return false;
    if (request->good)
        wanted.price_max = 0; /* it is paid for */
    view = view_without(cluster, berth);
    return fit_lacks(&view, &wanted, wanted.count, fit_now) == 0 &&
           place_ask_make(cluster, &wanted, gpus, &fleet, NULL) == SYN_OK && fleet.members == 1 &&
           core_has(cluster, berth, &fleet.ask);
}

/* The one with the fewest to push out, then the one that leaves the least, then the first. */
static bool
berth_find(struct syn_cluster *cluster, const struct syn_place_request *request, int64_t gpus,
           int64_t priority, struct berth *ret)
{
    bool found = false;

    for (size_t i = 0; i < cluster->count; i++)
        for (unsigned k = 0; k < keepers_of(cluster->nodes[i]); k++) {
            struct berth berth = {.node = cluster->nodes[i], .keeper = k};

            if (!berth_ok(cluster, request, gpus, priority, &berth))
                continue;
            if (found && (berth.victims_count > ret->victims_count ||
                          (berth.victims_count == ret->victims_count && berth.left >= ret->left)))
                continue;
            *ret = berth;
            found = true;
        }
    return found;
}

/* It must go: its request has just ended in favour of another. */
static void
victim_gone(struct cluster_job *job)
{
    job->evicted = "preempted";
    job->news = true;
    job->placed = job->begun = job->lent = false;
    job->live = 0;
    job->key = 0;
    job->kept_units = 0;
}

/* Take the berth: the keeper's request and the victims' end in favour of the job's, and the keeper
 * goes on with what is left. */
static int
berth_take(struct syn_cluster *cluster, const struct berth *berth, struct cluster_job *job,
           struct syn_err *err)
{
    struct cluster_node *node = berth->node;
    struct cluster_keeper *keeper = &node->keepers[berth->keeper];
    const struct syn_instance_view kept = units_view(node, berth->keeper, keeper->units);
    struct takeover takeover = {.count = 0};
    int rc = fleet_key(cluster, "", job->id, &job->key, err);

    if (rc < 0)
        return rc;
    job->request.key = job->key;
    job->request.ask.region = cluster->kept_region;
    takeover_add(&takeover, keeper->key);
    for (size_t i = 0; i < berth->victims_count; i++)
        takeover_add(&takeover, berth->victims[i]->key);
    syn_node_view_sub(&node->view, &kept);
    *keeper = (struct cluster_keeper){0};
    job->slots[0] = (struct syn_fleet_slot){.cards = 0};
    rc = take_over(cluster, &takeover, &job->request, node->number, job->slots, err);
    for (size_t i = 0; i < berth->victims_count; i++)
        victim_gone(berth->victims[i]);
    if (rc == SYN_OK && berth->left > 0)
        rc = keeper_set(cluster, node, berth->keeper, berth->left, (struct takeover){.count = 0},
                        err);
    return rc < 0 ? rc : syn_fleet_settle(cluster->fleet, err);
}

bool
keep_probe(struct syn_cluster *cluster, const struct syn_place_request *request,
           struct syn_fleet_slot *ret)
{
    struct berth berth;

    if (cluster->keeps_count == 0 ||
        !berth_find(cluster, request, request->gpus, INT32_MIN, &berth))
        return false;
    *ret = (struct syn_fleet_slot){.node = berth.node->number};
    for (uint32_t i = 0; berth.keeper > 0 && i < berth.node->told.cards; i++)
        if (models_of(cluster, &berth.node->view.gpus[berth.keeper - 1]) >>
                berth.node->told.models[i] &
            1)
            ret->cards |= SYN_BIT(i);
    return true;
}

/* The most that one node of the sellers keeps. */
static int64_t
kept_most(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    int64_t most = 0;

    for (size_t i = 0; i < cluster->count; i++) {
        const struct syn_node_view *view = &cluster->nodes[i]->view;
        int64_t kept = syn_cluster_kept(cluster, view->id, request->good);

        if (seller(request, view->provider) && kept > most)
            most = kept;
    }
    return most;
}

void
keep_why(const struct syn_cluster *cluster, const struct syn_place_request *request, char *message,
         size_t cap)
{
    long long need = (long long)syn_place_units(request);
    long long most = (long long)kept_most(cluster, request);

    if (most < need)
        (void)snprintf(message, cap,
                       "it takes %lld %s of %s on one node, and of those who owe them no node "
                       "keeps more than %lld",
                       need, syn_plural(need, "unit", "units"), request->good, most);
    else
        (void)snprintf(message, cap,
                       "a seller's node keeps %lld %s of %s for it, and lacks memory, scratch "
                       "space, its sandbox or its framework",
                       need, syn_plural(need, "unit", "units"), request->good);
}

int
keep_row(const struct syn_cluster *cluster, const struct syn_place_request *request, json_t *why,
         struct syn_err *err)
{
    int64_t need = syn_place_units(request), most = kept_most(cluster, request);
    char message[320];
    json_t *row = NULL;
    int rc;

    if (most >= need)
        return SYN_OK;
    keep_why(cluster, request, message, sizeof(message));
    rc = syn_json_pack(&row, err, "{s:s, s:n, s:I, s:I, s:s}", "dimension", "units", "node", "need",
                       (json_int_t)need, "have", (json_int_t)most, "message", message);
    return rc < 0 ? rc : syn_json_append_take(why, row, err);
}

int
keep_place(struct syn_cluster *cluster, const struct syn_place_who *who,
           const struct syn_place_request *request, struct cluster_job *job, struct syn_err *err)
{
    struct berth berth;
    int64_t gpus = request->gpus;
    int rc;

    if (cluster->keeps_count == 0 || !berth_find(cluster, request, gpus, who->priority, &berth))
        return SYN_PLACE_NONE;
    rc = fleet_forget(cluster, job, err); /* it may wait in the queue */
    if (rc == SYN_OK)
        rc = place_ask_make(cluster, request, gpus, &job->request, err);
    if (rc == SYN_OK)
        rc = syn_fleet_word(cluster->fleet, who->account, &job->request.account, err);
    if (rc != SYN_OK)
        return rc;
    job->gpus = gpus;
    job->request.runs_ms = who->runs_ms;
    job->priority = (int32_t)who->priority;
    job->request.priority = request->good ? SYN_PLACE_PRIORITY_HELD : PRIORITY_LENT;
    rc = berth_take(cluster, &berth, job, err);
    if (rc < 0) {
        fleet_drop(cluster);
        return rc == SYN_E_NOMEM ? rc : SYN_PLACE_NONE;
    }
    job->placed = true;
    job->lent = !request->good;
    job->kept_units = berth.units;
    job->keeper = berth.keeper;
    (void)syn_str_copy(job->kept_node, sizeof(job->kept_node), berth.node->view.id);
    return SYN_OK;
}

int
keep_regain(struct syn_cluster *cluster, struct cluster_job *job, struct syn_err *err)
{
    struct cluster_node *node = cluster_node_find(cluster, job->kept_node);
    int64_t units = job->kept_units;
    struct takeover own = {.count = 0};
    unsigned at = job->keeper;

    job->lent = false;
    job->kept_units = 0;
    if (!node || at >= keepers_of(node) || node->number == SYN_FLEET_NONE) {
        fleet_key_free(cluster, job->key);
        return syn_fleet_end(cluster->fleet, job->key, err);
    }
    takeover_add(&own, job->key);
    return keeper_set(cluster, node, at, node->keepers[at].units + units, own, err);
}
