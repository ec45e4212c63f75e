#include "cluster_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

int
syn_cluster_new(uint64_t seed, struct syn_cluster **ret, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    int rc;

    cluster = syn_calloc(1, sizeof(*cluster));
    if (!cluster)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a cluster: out of memory");
    cluster->seed = seed;
    rc = syn_map_new(syn_free, &cluster->instances, err);
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &cluster->spot, err);
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &cluster->jobs, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(cluster);
    return SYN_OK;
}

struct syn_cluster *
syn_cluster_free(struct syn_cluster *cluster)
{
    if (!cluster)
        return NULL;
    for (size_t i = 0; i < cluster->count; i++)
        syn_free(cluster->nodes[i]);
    syn_free(cluster->nodes);
    if (cluster->owners)
        syn_map_free(cluster->owners);
    if (cluster->jobs)
        syn_map_free(cluster->jobs);
    if (cluster->instances)
        syn_map_free(cluster->instances);
    if (cluster->spot)
        syn_map_free(cluster->spot);
    trips_free(cluster);
    syn_fleet_free(cluster->fleet);
    syn_free(cluster->keeps);
    syn_free(cluster);
    return NULL;
}

void
syn_cluster_free_scope(struct syn_cluster **slot)
{
    *slot = syn_cluster_free(*slot);
}

void
syn_cluster_prices_watch(struct syn_cluster *cluster, const struct syn_pricebook *book)
{
    cluster->book = book;
}

/* The place of `id`: where it stands (*ret_found) or where it would be put. */
static size_t
slot_of(const struct syn_cluster *cluster, const char *id, bool *ret_found)
{
    size_t low = 0, high = cluster->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(cluster->nodes[middle]->view.id, id);

        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

struct cluster_node *
cluster_node_find(const struct syn_cluster *cluster, const char *id)
{
    bool found;
    size_t at = slot_of(cluster, id, &found);

    return found ? cluster->nodes[at] : NULL;
}

static struct syn_node_view *
view_find(const struct syn_cluster *cluster, const char *id)
{
    struct cluster_node *node = cluster_node_find(cluster, id);

    return node ? &node->view : NULL;
}

static void
count_instances(const struct syn_cluster *cluster, struct syn_node_view *node)
{
    size_t cursor = 0;
    const char *id;
    void *value;

    while (syn_map_next(cluster->instances, &cursor, &id, &value)) {
        const struct syn_instance_view *instance = &((struct cluster_instance *)value)->view;

        if (syn_str_eq(instance->node, node->id))
            syn_node_view_add(node, instance);
    }
}

/* Do both have the same kinds of cards in the same order? Then the counts carry over. */
static bool
same_groups(const struct syn_node_view *a, const struct syn_node_view *b)
{
    if (a->gpus_count != b->gpus_count)
        return false;
    for (unsigned i = 0; i < a->gpus_count; i++)
        if (!syn_gpu_group_same(&a->gpus[i], &b->gpus[i]) || a->gpus[i].count != b->gpus[i].count)
            return false;
    return true;
}

/* Put a copy of `view` at `at`; the later ones move up. */
static int
insert(struct syn_cluster *cluster, size_t at, const struct syn_node_view *view,
       struct syn_err *err)
{
    struct cluster_node *node;

    if (!syn_grow(&cluster->nodes, &cluster->cap, cluster->count + 1, sizeof(void *)))
        return SYN_FAIL(err, SYN_E_NOMEM, "adding node %s: out of memory", view->id);
    node = syn_calloc(1, sizeof(*node));
    if (!node)
        return SYN_FAIL(err, SYN_E_NOMEM, "adding node %s: out of memory", view->id);
    node->view = *view;
    node->number = SYN_FLEET_NONE;
    memmove(&cluster->nodes[at + 1], &cluster->nodes[at], (cluster->count - at) * sizeof(void *));
    cluster->nodes[at] = node;
    cluster->count++;
    return SYN_OK;
}

/* What the market asks, for those of its goods that the node has. */
static void
spot_apply(const struct syn_cluster *cluster, struct syn_node_view *view)
{
    char good[SYN_GOOD_MAX];
    const int64_t *hour;

    for (unsigned i = 0; i <= view->gpus_count; i++) {
        const char *model = i < view->gpus_count ? view->gpus[i].model : NULL;

        hour = syn_node_view_good(view, model, good) ? syn_map_find(cluster->spot, good) : NULL;
        if (hour)
            syn_node_view_spot(view, good, *hour);
    }
}

int
syn_cluster_set_spot(struct syn_cluster *cluster, const char *good, int64_t hour, bool *ret_changed,
                     struct syn_err *err)
{
    int64_t *known = syn_map_find(cluster->spot, good);
    int rc = SYN_OK;

    *ret_changed = known ? *known != hour : hour >= 0;
    if (!*ret_changed)
        return SYN_OK;
    if (hour < 0) {
        syn_map_remove(cluster->spot, good);
    } else if (known) {
        *known = hour;
    } else {
        known = syn_alloc(sizeof(*known));
        if (!known)
            return SYN_FAIL(err, SYN_E_NOMEM, "a price of %s: out of memory", good);
        *known = hour;
        rc = syn_map_put_take(cluster->spot, good, known, err);
    }
    for (size_t i = 0; i < cluster->count && rc == SYN_OK; i++) {
        struct cluster_node *node = cluster->nodes[i];

        syn_node_view_unspot(&node->view);
        spot_apply(cluster, &node->view);
        fleet_note_node(cluster, node);
    }
    return rc;
}

int
syn_cluster_put_node(struct syn_cluster *cluster, const json_t *doc, struct syn_err *err)
{
    struct syn_node_view view;
    bool found;
    size_t at;
    int rc = syn_node_view_read(doc, &view, err);

    if (rc < 0)
        return rc;
    if (cluster->book)
        syn_node_view_price(&view, cluster->book);
    spot_apply(cluster, &view);
    at = slot_of(cluster, view.id, &found);
    if (view.rtt_us != (found ? cluster->nodes[at]->view.rtt_us : 0))
        cluster->unmeasured = true;
    if (found && same_groups(&view, &cluster->nodes[at]->view)) {
        view.used = cluster->nodes[at]->view.used;
        view.bandwidth_used_bps = cluster->nodes[at]->view.bandwidth_used_bps;
        memcpy(view.cards, cluster->nodes[at]->view.cards, sizeof(view.cards));
        for (unsigned i = 0; i < view.gpus_count; i++)
            view.gpus[i].used = cluster->nodes[at]->view.gpus[i].used;
    } else {
        if (found && cluster->fleet && keep_forget(cluster, cluster->nodes[at], NULL) < 0)
            fleet_drop(cluster);
        count_instances(cluster, &view);
    }
    if (found)
        cluster->nodes[at]->view = view;
    else
        rc = insert(cluster, at, &view, err);
    if (rc == SYN_OK)
        fleet_note_node(cluster, cluster->nodes[at]);
    return rc;
}

bool
syn_cluster_remove_node(struct syn_cluster *cluster, const char *id)
{
    bool found;
    size_t at = slot_of(cluster, id, &found);

    if (!found)
        return false;
    fleet_note_gone(cluster, cluster->nodes[at]);
    syn_free(cluster->nodes[at]);
    cluster->count--;
    memmove(&cluster->nodes[at], &cluster->nodes[at + 1], (cluster->count - at) * sizeof(void *));
    return true;
}

/* Do both take the same of the same node, for the same job? */
static bool
same_hold(const struct syn_instance_view *a, const struct syn_instance_view *b)
{
    return syn_str_eq(a->node, b->node) && syn_str_eq(a->job, b->job) &&
           syn_str_eq(a->place, b->place) && syn_str_eq(a->account, b->account) &&
           syn_str_eq(a->gpu_model, b->gpu_model) && syn_str_eq(a->group, b->group) &&
           a->bandwidth_bps == b->bandwidth_bps &&
           memcmp(&a->amounts, &b->amounts, sizeof(a->amounts)) == 0 && a->gpus == b->gpus &&
           a->gpu_vram_bytes == b->gpu_vram_bytes && a->priority == b->priority &&
           a->gpu_cards == b->gpu_cards && a->gpu_mode == b->gpu_mode &&
           a->gpu_share == b->gpu_share && a->gpu_share_mib == b->gpu_share_mib &&
           a->gpu_part == b->gpu_part && syn_str_eq(a->gpu_mig, b->gpu_mig);
}

/* What it holds is given back. */
static void
instance_end(struct syn_cluster *cluster, struct cluster_instance *instance)
{
    struct syn_node_view *node = view_find(cluster, instance->view.node);

    if (node)
        syn_node_view_sub(node, &instance->view);
    fleet_note_end(cluster, instance);
}

int
syn_cluster_put_instance(struct syn_cluster *cluster, const json_t *doc, struct syn_err *err)
{
    struct syn_instance_view view;
    struct cluster_instance *known, *kept;
    struct syn_node_view *node;
    int rc = syn_instance_view_read(doc, &view, err);

    if (rc < 0)
        return rc;
    if (!view.holds) {
        syn_cluster_remove_instance(cluster, view.id);
        return SYN_OK;
    }
    known = syn_map_find(cluster->instances, view.id);
    if (known && same_hold(&known->view, &view))
        return SYN_OK;
    if (!known) {
        kept = syn_calloc(1, sizeof(*kept));
        if (!kept)
            return SYN_FAIL(err, SYN_E_NOMEM, "adding instance %s: out of memory", view.id);
        rc = syn_map_put_take(cluster->instances, view.id, kept, err);
        if (rc < 0)
            return rc;
        known = kept;
    } else {
        instance_end(cluster, known);
    }
    known->view = view;
    node = view_find(cluster, view.node);
    if (node)
        syn_node_view_add(node, &view);
    fleet_note_instance(cluster, known);
    return SYN_OK;
}

bool
syn_cluster_remove_instance(struct syn_cluster *cluster, const char *id)
{
    struct cluster_instance *known = syn_map_find(cluster->instances, id);

    if (known)
        instance_end(cluster, known);
    return syn_map_remove(cluster->instances, id);
}

int
syn_cluster_holding(const struct syn_cluster *cluster, const char *account, struct syn_holding *ret,
                    struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *jobs = NULL;
    struct syn_holding sum = {{0}};
    size_t cursor = 0;
    const char *id;
    void *value;
    int rc = syn_map_new(NULL, &jobs, err);

    while (rc == SYN_OK && syn_map_next(cluster->instances, &cursor, &id, &value)) {
        const struct syn_instance_view *instance = &((struct cluster_instance *)value)->view;

        if (!syn_str_eq(instance->account, account))
            continue;
        sum.amounts[SYN_QUOTA_CPU] += instance->amounts.cpu_millicores;
        sum.amounts[SYN_QUOTA_MEMORY] += instance->amounts.memory_bytes;
        sum.amounts[SYN_QUOTA_GPUS] +=
            instance->gpu_permille > 0 ? instance->gpu_permille : instance->gpus * SYN_QUOTA_GPU;
        rc = syn_map_put_take(jobs, instance->job, NULL, err);
    }
    if (rc < 0)
        return rc;
    sum.amounts[SYN_QUOTA_JOBS] = (int64_t)syn_map_count(jobs);
    *ret = sum;
    return SYN_OK;
}

size_t
syn_cluster_count(const struct syn_cluster *cluster)
{
    return cluster->count;
}

const struct syn_node_view *
syn_cluster_at(const struct syn_cluster *cluster, size_t index)
{
    assert(index < cluster->count);
    return &cluster->nodes[index]->view;
}

const struct syn_node_view *
syn_cluster_find(const struct syn_cluster *cluster, const char *id)
{
    return view_find(cluster, id);
}
