/* Why a request does not fit: the one reason, the rows. What would make it fit is place_fix.c. */
#include <synor/orchestration/place.h>

#include "cluster_priv.h"
#include "place_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>

/* One text for a quantity in a sentence. */
struct text {
    char s[192];
};

struct dim_row {
    const char *name;   /* the key of the request it is about */
    const char *one;    /* in a sentence about a node */
    const char *many;   /* and about several */
    const char *reason; /* of SYN_JOB_PENDING */
};

static const struct dim_row dim_rows[DIMS] = {
    [DIM_NODE] = {"node", "is not ready", "are not ready", "no-node"},
    [DIM_REGION] = {"region", "is in another region", "are in another region", "no-region"},
    [DIM_LATENCY] = {"latency", "is too far away", "are too far away", "too-far"},
    [DIM_LABELS] = {"labels", "lacks the labels", "lack the labels", "no-label"},
    [DIM_ISOLATION] = {"isolation", "lacks the isolation asked for", "lack the isolation asked for",
                       "no-sandbox"},
    [DIM_NAMESPACE] = {"isolation", "does not allow the namespace sandbox",
                       "do not allow the namespace sandbox", "namespace-not-allowed"},
    [DIM_NETWORKS] = {"networks", "has no networks for instances", "have no networks for instances",
                      "no-network"},
    [DIM_FRAMEWORK] = {"framework", "lacks the framework", "lack the framework", "no-framework"},
    [DIM_RUNTIME] = {"runtime", "lacks the language", "lack the language", "no-runtime"},
    [DIM_PRICE] = {"price", "costs more than the price ceiling", "cost more than the price ceiling",
                   "too-dear"},
    [DIM_GPUS] = {"gpus", "lacks the GPUs", "lack the GPUs", "no-gpu"},
    [DIM_CPU] = {"cpu_millicores", "lacks the CPUs", "lack the CPUs", "insufficient-cpu"},
    [DIM_MEMORY] = {"memory_bytes", "lacks the memory", "lack the memory", "insufficient-memory"},
    [DIM_SCRATCH] = {"scratch_bytes", "lacks the scratch space", "lack the scratch space",
                     "insufficient-scratch"},
    [DIM_BANDWIDTH] = {"bandwidth_bps", "lacks the bandwidth", "lack the bandwidth",
                       "insufficient-bandwidth"},
    [DIM_WITH] = {"affinity", "is not where the group is", "are not where the group is",
                  "affinity"},
    [DIM_APART] = {"anti_affinity", "is where the group is", "are where the group is",
                   "anti-affinity"},
    [DIM_EVEN] = {"spread", "would have more of the group than others",
                  "would have more of the group than others", "spread"},
};

/* "the only node lacks the GPUs", "2 of 3 nodes are not ready" */
static struct text
share_text(enum dim dim, size_t some, size_t all)
{
    struct text text;

    if (all == 1)
        (void)snprintf(text.s, sizeof(text.s), "the only node %s", dim_rows[dim].one);
    else
        (void)snprintf(text.s, sizeof(text.s), "%zu of %zu nodes %s", some, all,
                       some == 1 ? dim_rows[dim].one : dim_rows[dim].many);
    return text;
}

static const char *
quantity_text(enum dim dim, int64_t value, char *out)
{
    if (dim == DIM_CPU)
        return syn_format_cpus(value, out);
    if (dim == DIM_BANDWIDTH)
        return syn_format_rate(value, out);
    return syn_format_bytes(value, out);
}

static const char *
quantity_noun(enum dim dim)
{
    if (dim == DIM_CPU)
        return "CPUs";
    if (dim == DIM_BANDWIDTH)
        return "of bandwidth";
    return dim == DIM_MEMORY ? "of memory" : "of scratch space";
}

/* Of four amounts the one that the dimension is about. */
static int64_t
amount_of(const struct syn_amounts *amounts, int64_t bandwidth_bps, enum dim dim)
{
    if (dim == DIM_CPU)
        return amounts->cpu_millicores;
    if (dim == DIM_BANDWIDTH)
        return bandwidth_bps;
    return dim == DIM_MEMORY ? amounts->memory_bytes : amounts->scratch_bytes;
}

static int64_t
need_of(const struct syn_place_request *request, enum dim dim)
{
    return amount_of(&request->amounts, request->bandwidth_bps, dim);
}

static int64_t
all_of(const struct syn_node_view *node, enum dim dim)
{
    return amount_of(&node->capacity, node->bandwidth_bps, dim);
}

static bool
is_quantity(enum dim dim)
{
    return dim == DIM_CPU || dim == DIM_MEMORY || dim == DIM_SCRATCH || dim == DIM_BANDWIDTH;
}

static int64_t
free_of(const struct syn_node_view *node, enum dim dim)
{
    int64_t used = amount_of(&node->used, node->bandwidth_used_bps, dim);

    return SYN_MAX(0, all_of(node, dim) - used);
}

/* "0.250 of an h100 with 10 GiB", "1g.10gb of an h100" */
static struct text
part_text(const struct syn_place_request *request)
{
    const char *model = fit_text(request->gpu_model) ? request->gpu_model : "GPU";
    char memory[SYN_FORMAT_MAX];
    struct text text;

    if (fit_text(request->mig))
        (void)snprintf(text.s, sizeof(text.s), "the partition %s of one %s", request->mig, model);
    else
        (void)snprintf(text.s, sizeof(text.s), "0.%03u of one %s%s%s", request->gpu_share, model,
                       request->gpu_share_bytes ? " and of its memory " : "",
                       request->gpu_share_bytes ? syn_format_bytes(request->gpu_share_bytes, memory)
                                                : "");
    return text;
}

/* "8 x h100 with 40 GiB", "2 GPUs" */
static struct text
cards_text(const struct syn_place_request *request, uint32_t units)
{
    struct text text;
    char vram[SYN_FORMAT_MAX];
    bool model = request->gpu_model && *request->gpu_model;
    int64_t cards = request->gpus * units;
    char capability[40] = "";

    if (fit_part(request))
        return part_text(request);
    if (request->capability)
        (void)snprintf(capability, sizeof(capability), " of compute capability %u.%u",
                       request->capability / 10, request->capability % 10);
    (void)snprintf(text.s, sizeof(text.s), "%lld %s%s%s%s%s", (long long)cards,
                   model ? "x " : (cards == 1 ? "GPU" : "GPUs"), model ? request->gpu_model : "",
                   request->vram_min_bytes ? " with " : "",
                   request->vram_min_bytes ? syn_format_bytes(request->vram_min_bytes, vram) : "",
                   capability);
    return text;
}

/* " of 8.0", where that matters */
static struct text
capability_text(const struct syn_gpu_group *group, bool matters)
{
    struct text text = {""};

    if (matters && group->capability == 0)
        (void)syn_str_copy(text.s, sizeof(text.s), " of no known capability");
    else if (matters)
        (void)snprintf(text.s, sizeof(text.s), " of %u.%u", group->capability / 10,
                       group->capability % 10);
    return text;
}

/* Of one group, what there is of the part that is asked for. */
static struct text
group_part_text(const struct syn_node_view *node, unsigned g,
                const struct syn_place_request *request)
{
    const struct syn_gpu_group *group = &node->gpus[g];
    struct fit_left left = fit_left(node, g, request->mig);
    struct text text;

    if (fit_text(request->mig) && left.parts_all > 0)
        (void)snprintf(text.s, sizeof(text.s), "%lld x %s of %s (%lld free)",
                       (long long)left.parts_all, request->mig, group->model,
                       (long long)left.parts);
    else if (fit_text(request->mig))
        (void)snprintf(text.s, sizeof(text.s), "%lld x %s, %s", (long long)group->count,
                       group->model, group->cuts_count ? "cut otherwise" : "not cut");
    else if (group->cuts_count > 0 || group->modes == 0)
        (void)snprintf(text.s, sizeof(text.s), "%lld x %s, %s", (long long)group->count,
                       group->model, group->cuts_count ? "cut" : "not shared");
    else
        (void)snprintf(text.s, sizeof(text.s),
                       "%lld x %s (of one %lld.%03lld free, and %lld.%03lld"
                       " of its memory)",
                       (long long)group->count, group->model, (long long)left.time / 1000,
                       (long long)left.time % 1000, (long long)left.vram / 1000,
                       (long long)left.vram % 1000);
    return text;
}

/* The same of all of a node's groups; a long list ends early. */
static struct text
node_parts_text(const struct syn_node_view *node, const struct syn_place_request *request)
{
    struct text text = {"no GPU"};
    size_t len = 0;

    for (unsigned i = 0; i < node->gpus_count && len + 96 < sizeof(text.s); i++) {
        (void)snprintf(text.s + len, sizeof(text.s) - len, "%s%.90s", len ? ", " : "",
                       group_part_text(node, i, request).s);
        len = strlen(text.s);
    }
    return text;
}

/* "no GPU", "2 x a100", "8 x h100 (1 free)"; a long list ends in "..." */
static struct text
node_cards_text(const struct syn_node_view *node, bool capability)
{
    struct text text = {"no GPU"};
    size_t len = 0;

    for (unsigned i = 0; i < node->gpus_count && len + 72 < sizeof(text.s); i++) {
        const struct syn_gpu_group *group = &node->gpus[i];
        int n = snprintf(text.s + len, sizeof(text.s) - len, "%s%lld x %s%s (%lld free)",
                         len ? ", " : "", (long long)group->count, group->model,
                         capability_text(group, capability).s,
                         (long long)SYN_MAX(0, group->count - group->used));

        assert(n > 0);
        len = SYN_MIN(len + (size_t)n, sizeof(text.s) - 1);
    }
    return text;
}

/* "pytorch", "tensorflow 2.15" */
static struct text
framework_text(const char *name, const char *version)
{
    struct text text;

    (void)snprintf(text.s, sizeof(text.s), "%s%s%s", name, version && *version ? " " : "",
                   version ? version : "");
    return text;
}

/* "none", "pytorch 1.13.1, onnx", "python 3.11.2" */
static struct text
node_frameworks_text(const struct syn_node_view *node, enum dim dim)
{
    bool language = dim == DIM_RUNTIME;
    const struct syn_framework *has = language ? node->languages : node->frameworks;
    unsigned count = language ? node->languages_count : node->frameworks_count;
    struct text text = {"none"};
    size_t len = 0;

    for (unsigned i = 0; i < count && len + 56 < sizeof(text.s); i++) {
        const struct syn_framework *one = &has[i];

        (void)snprintf(text.s + len, sizeof(text.s) - len, "%s%s%s%s", len ? ", " : "", one->name,
                       one->version[0] ? " " : "", one->version);
        len = strlen(text.s);
    }
    return text;
}

static struct text
node_sandboxes_text(const struct syn_node_view *node)
{
    struct text text = {"none"};
    size_t len = 0;

    for (unsigned i = 1; i < SYN_ISOLATION_COUNT; i++) {
        if (!(node->sandboxes & SYN_BIT(i)))
            continue;
        (void)snprintf(text.s + len, sizeof(text.s) - len, "%s%s", len ? ", " : "",
                       syn_isolation_name((enum syn_isolation)i));
        len = strlen(text.s);
    }
    return text;
}

static struct text
node_state_text(const struct syn_node_view *node)
{
    struct text text;

    (void)syn_str_copy(text.s, sizeof(text.s),
                       node->unschedulable && node->state == SYN_NODE_READY
                           ? "drained"
                           : syn_node_state_name(node->state));
    return text;
}

/* Adds {dimension, node, need, have, message}; owns need and have from the call on. */
static int
row_add_take(json_t *why, enum dim dim, const char *node, json_t *need, json_t *have,
             const char *message, struct syn_err *err)
{
    SYN_JSON(row);
    SYN_JSON(owned_need);
    SYN_JSON(owned_have);
    int rc;

    owned_need = need;
    owned_have = have;
    if (!need || !have)
        return SYN_FAIL(err, SYN_E_NOMEM, "explaining a placement: out of memory");
    rc = syn_json_pack(&row, err, "{s:s, s:s?, s:O, s:O, s:s}", "dimension", dim_rows[dim].name,
                       "node", node, "need", owned_need, "have", owned_have, "message", message);
    if (rc < 0)
        return rc;
    return syn_json_append_take(why, SYN_TAKE(row), err);
}

static int
row_add_text(json_t *why, enum dim dim, const char *node, const char *need, const char *have,
             const char *message, struct syn_err *err)
{
    return row_add_take(why, dim, node, json_string(need), json_string(have), message, err);
}

static int
row_add_quantity(json_t *why, const struct syn_node_view *node,
                 const struct syn_place_request *request, uint32_t units, enum dim dim,
                 struct syn_err *err)
{
    int64_t need = need_of(request, dim) * units, have = free_of(node, dim);
    char need_text[SYN_FORMAT_MAX], have_text[SYN_FORMAT_MAX], all_text[SYN_FORMAT_MAX];
    char message[256], who[32] = "";

    if (units > 1)
        (void)snprintf(who, sizeof(who), "%u workers need ", units);
    (void)snprintf(message, sizeof(message), "%s: %s%s %s %s; %s free of %s", node->id,
                   units > 1 ? who : "", quantity_text(dim, need, need_text), quantity_noun(dim),
                   units > 1 ? "together" : "needed", quantity_text(dim, have, have_text),
                   quantity_text(dim, all_of(node, dim), all_text));
    return row_add_take(why, dim, node->id, json_integer(need), json_integer(have), message, err);
}

/* Is it about what a node is, or where others run? */
static bool
is_tie(enum dim dim)
{
    return dim == DIM_LATENCY || dim == DIM_LABELS || dim == DIM_WITH || dim == DIM_APART ||
           dim == DIM_EVEN;
}

static int
row_add_tie(json_t *why, const struct syn_node_view *node, const struct syn_place_request *request,
            enum dim dim, struct syn_err *err)
{
    struct tie_text text;

    tie_say(node, request, dim, &text);
    return row_add_text(why, dim, node->id, text.need, text.have, text.message, err);
}

static int
row_add_node(json_t *why, const struct syn_node_view *node, const struct syn_place_request *request,
             uint32_t units, enum dim dim, struct syn_err *err)
{
    struct text need = {"ready"}, have = {""};
    char message[512];

    if (is_quantity(dim))
        return row_add_quantity(why, node, request, units, dim, err);
    if (is_tie(dim))
        return row_add_tie(why, node, request, dim, err);
    if (dim == DIM_NODE) {
        have = node_state_text(node);
        (void)snprintf(message, sizeof(message), "%s is %s and takes no new work", node->id,
                       have.s);
    } else if (dim == DIM_REGION) {
        (void)syn_str_copy(need.s, sizeof(need.s), request->region);
        (void)syn_str_copy(have.s, sizeof(have.s), node->region);
        (void)snprintf(message, sizeof(message), "%s is in region \"%s\", not \"%s\"", node->id,
                       have.s, need.s);
    } else if (dim == DIM_ISOLATION || dim == DIM_NAMESPACE) {
        (void)syn_str_copy(need.s, sizeof(need.s), syn_isolation_name(request->isolation));
        have = node_sandboxes_text(node);
        (void)snprintf(message, sizeof(message), "%s has no %s sandbox ready%s (it has: %s)",
                       node->id, request->isolation == SYN_ISOLATION_AUTO ? "usable" : need.s,
                       request->gpus > 0 ? " that passes GPUs on" : "", have.s);
    } else if (dim == DIM_NETWORKS) {
        (void)syn_str_copy(have.s, sizeof(have.s), "missing");
        (void)snprintf(message, sizeof(message),
                       "%s has no networks for instances; synor node get %s says why", node->id,
                       node->id);
    } else if (dim == DIM_FRAMEWORK || dim == DIM_RUNTIME) {
        need = framework_text(request->framework, request->framework_version);
        have = node_frameworks_text(node, dim);
        (void)snprintf(message, sizeof(message), "%s has no %s (it has: %s)", node->id, need.s,
                       have.s);
    } else if (dim == DIM_PRICE) {
        (void)syn_format_amount(request->price_max, need.s);
        if (fit_price(node, request) == INT64_MAX)
            (void)syn_str_copy(have.s, sizeof(have.s), "an unknown number of");
        else
            (void)syn_format_amount(fit_price(node, request), have.s);
        (void)snprintf(message, sizeof(message),
                       "a worker on %s costs %s SYNOR an hour; the ceiling is %s", node->id, have.s,
                       need.s);
    } else {
        need = cards_text(request, units);
        have = fit_part(request) ? node_parts_text(node, request)
                                 : node_cards_text(node, request->capability > 0);
        (void)snprintf(message, sizeof(message), "%s: %s needed; it has %s", node->id, need.s,
                       have.s);
    }
    return row_add_text(why, dim, node->id, need.s, have.s, message, err);
}

/* For how many members a node is asked when it is explained: one more than it can hold. */
static uint32_t
units_asked(const struct syn_node_view *node, const struct syn_place_request *request)
{
    if (request->one_node)
        return request->count;
    return SYN_MIN(fit_units(node, request, fit_now) + 1, request->count);
}

/* How many nodes lack each dimension. */
struct totals {
    size_t nodes;
    size_t lacks[DIMS];
    int64_t most[DIMS]; /* the most that any node has free; quantities only */
};

static struct totals
totals_count(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    struct totals totals = {.nodes = syn_cluster_count(cluster)};

    for (size_t i = 0; i < totals.nodes; i++) {
        const struct syn_node_view *node = syn_cluster_at(cluster, i);
        uint32_t lacks = fit_lacks(node, request, units_asked(node, request), fit_now);

        for (unsigned dim = 0; dim < DIMS; dim++) {
            if (lacks & SYN_BIT(dim))
                totals.lacks[dim]++;
            if (is_quantity(dim) && !(lacks & SYN_BIT(DIM_NODE)))
                totals.most[dim] = SYN_MAX(totals.most[dim], free_of(node, dim));
        }
    }
    return totals;
}

/* Walk the dimensions in order and keep the nodes that pass; the one that leaves none is the
 * reason. When every dimension leaves some, the members that fit are too few: what most nodes lack
 * is the reason. */
static enum dim
main_dim(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    struct totals totals = totals_count(cluster, request);
    enum dim worst = DIM_CPU;

    for (unsigned dim = 0; dim < DIMS; dim++) {
        uint32_t so_far = (SYN_BIT(dim + 1)) - 1;
        bool any = false;

        for (size_t i = 0; i < totals.nodes && !any; i++) {
            const struct syn_node_view *node = syn_cluster_at(cluster, i);
            uint32_t units = request->one_node ? request->count : 1;

            any = !(fit_lacks(node, request, units, fit_now) & so_far);
        }
        if (!any)
            return (enum dim)dim;
    }
    for (unsigned dim = DIM_GPUS; dim < DIMS; dim++)
        if (totals.lacks[dim] > totals.lacks[worst])
            worst = (enum dim)dim;
    if (totals.lacks[worst] > 0 || !tie_own(request))
        return worst;
    return request->even > 0 ? DIM_EVEN : fit_text(request->apart.group) ? DIM_APART : DIM_WITH;
}

/* "4.5 CPUs (1.5 for each of 3 workers)": what must be free in one place. */
static struct text
together_text(const struct syn_place_request *request, enum dim dim)
{
    int64_t each = need_of(request, dim);
    uint32_t units = request->one_node ? request->count : 1;
    char all_text[SYN_FORMAT_MAX], each_text[SYN_FORMAT_MAX];
    struct text text;

    quantity_text(dim, each * units, all_text);
    if (units == 1)
        (void)snprintf(text.s, sizeof(text.s), "%s %s", all_text, quantity_noun(dim));
    else
        (void)snprintf(text.s, sizeof(text.s), "%s %s (%s for each of %u workers)", all_text,
                       quantity_noun(dim), quantity_text(dim, each, each_text), units);
    return text;
}

static void
why_message(const struct syn_cluster *cluster, const struct syn_place_request *request,
            enum dim dim, char *message, size_t cap)
{
    struct totals totals = totals_count(cluster, request);
    uint32_t together = request->one_node ? request->count : 1;
    uint32_t most = fit_most(cluster, request, fit_now);
    char text[SYN_FORMAT_MAX];

    if (totals.nodes == 0)
        (void)snprintf(message, cap, "no node has joined yet");
    else if (dim == DIM_NODE)
        (void)snprintf(message, cap, "no node is ready for new work: %s",
                       share_text(dim, totals.nodes, totals.nodes).s);
    else if (dim == DIM_REGION)
        (void)snprintf(message, cap, "no ready node is in region \"%s\"", request->region);
    else if (dim == DIM_NAMESPACE)
        (void)snprintf(message, cap,
                       "no ready node's provider allows the namespace sandbox, or it does not "
                       "work there");
    else if (dim == DIM_ISOLATION)
        (void)snprintf(message, cap, "no ready node has a %s sandbox",
                       request->isolation == SYN_ISOLATION_AUTO
                           ? "usable"
                           : syn_isolation_name(request->isolation));
    else if (dim == DIM_NETWORKS)
        (void)snprintf(message, cap, "no ready node has networks for instances");
    else if (dim == DIM_FRAMEWORK || dim == DIM_RUNTIME)
        (void)snprintf(message, cap, "no ready node has %s",
                       framework_text(request->framework, request->framework_version).s);
    else if (dim == DIM_PRICE)
        (void)snprintf(message, cap, "no node that could take it costs %s SYNOR an hour or less",
                       syn_format_amount(request->price_max, text));
    else if (dim == DIM_LATENCY)
        (void)snprintf(message, cap, "no ready node is known to be within %lld ms of region \"%s\"",
                       (long long)(request->rtt_max_us / 1000), request->near);
    else if (dim == DIM_LABELS)
        (void)snprintf(message, cap, "no ready node has the labels asked for");
    else if (most > 0 && !request->one_node && totals.lacks[dim] == 0)
        (void)snprintf(message, cap, "only %u of %u workers fit where they are to be %s", most,
                       request->count, dim == DIM_WITH ? "together" : "apart");
    else if (dim == DIM_WITH)
        (void)snprintf(message, cap, "no node that could take it is in the %s of group %s",
                       syn_place_scope_name(request->with.scope), request->with.group);
    else if (dim == DIM_APART)
        (void)snprintf(message, cap, "every node that could take it is in a %s with group %s",
                       syn_place_scope_name(request->apart.scope), request->apart.group);
    else if (dim == DIM_EVEN)
        (void)snprintf(message, cap,
                       "every %s that has room has more of group %s than one that has none",
                       syn_place_scope_name(request->even_scope), request->group);
    else if (most > 0 && !request->one_node)
        (void)snprintf(message, cap, "only %u of %u workers fit; %s", most, request->count,
                       share_text(dim, totals.lacks[dim], totals.nodes).s);
    else if (dim == DIM_GPUS)
        (void)snprintf(message, cap, "no node has %s free", cards_text(request, together).s);
    else
        (void)snprintf(message, cap, "no node has %s free; the most is %s",
                       together_text(request, dim).s, quantity_text(dim, totals.most[dim], text));
}

void
syn_place_why(const struct syn_cluster *cluster, const struct syn_place_request *request,
              const char **ret_reason, char *message, size_t cap)
{
    enum dim dim;

    if (request->good) {
        keep_why(cluster, request, message, cap);
        *ret_reason = "not-kept";
        return;
    }
    tie_look(cluster, request);
    dim = main_dim(cluster, request);
    if (fit_gang(cluster, request, fit_now) && place_labels_full(cluster, request)) {
        (void)snprintf(message, cap,
                       "work that waits or runs says %d different things of labels, "
                       "as many as can be told apart",
                       SYN_FLEET_LABELS_MAX);
        *ret_reason = "labels-full";
        return;
    }
    if (fit_gang(cluster, request, fit_now)) {
        (void)snprintf(message, cap, "there is room, which goes to work that comes before it");
        *ret_reason = "turn";
        return;
    }
    why_message(cluster, request, dim, message, cap);
    *ret_reason = dim_rows[dim].reason;
}

static int
totals_add(const struct syn_cluster *cluster, const struct syn_place_request *request, json_t *why,
           struct syn_err *err)
{
    struct totals totals = totals_count(cluster, request);
    char message[224];
    int rc = SYN_OK;

    if (totals.nodes == 0)
        return row_add_text(why, DIM_NODE, NULL, "ready", "none", "no node has joined yet", err);
    for (unsigned dim = 0; dim < DIMS && rc == SYN_OK; dim++) {
        if (totals.lacks[dim] == 0)
            continue;
        (void)snprintf(message, sizeof(message), "%s",
                       share_text((enum dim)dim, totals.lacks[dim], totals.nodes).s);
        rc = row_add_take(why, (enum dim)dim, NULL, json_integer((json_int_t)totals.nodes),
                          json_integer((json_int_t)(totals.nodes - totals.lacks[dim])), message,
                          err);
    }
    return rc;
}

static int
workers_add(const struct syn_cluster *cluster, const struct syn_place_request *request, json_t *why,
            struct syn_err *err)
{
    uint32_t most = fit_most(cluster, request, fit_now);
    char message[160];
    SYN_JSON(row);
    int rc;

    if (request->count == 1)
        return SYN_OK;
    (void)snprintf(message, sizeof(message), "%u workers start together or not at all; %u fit%s",
                   request->count, most, request->one_node ? " on one node" : "");
    rc = syn_json_pack(&row, err, "{s:s, s:n, s:I, s:I, s:s}", "dimension", "workers", "node",
                       "need", (json_int_t)request->count, "have", (json_int_t)most, "message",
                       message);
    if (rc < 0)
        return rc;
    return syn_json_append_take(why, SYN_TAKE(row), err);
}

static int
nodes_add(const struct syn_cluster *cluster, const struct syn_place_request *request, json_t *why,
          struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < syn_cluster_count(cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(cluster, i);
        uint32_t units = units_asked(node, request);
        uint32_t lacks = fit_lacks(node, request, units, fit_now);

        for (unsigned dim = 0; dim < DIMS && rc == SYN_OK; dim++)
            if ((lacks & SYN_BIT(dim)) && json_array_size(why) < SYN_PLACE_ROWS_MAX)
                rc = row_add_node(why, node, request, units, (enum dim)dim, err);
    }
    return rc;
}

int
place_rows(const struct syn_cluster *cluster, const struct syn_place_request *request, json_t *why,
           struct syn_err *err)
{
    int rc = totals_add(cluster, request, why, err);

    if (rc == SYN_OK)
        rc = workers_add(cluster, request, why, err);
    if (rc == SYN_OK)
        rc = nodes_add(cluster, request, why, err);
    return rc;
}
