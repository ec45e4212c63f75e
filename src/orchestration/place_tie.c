/* Asks tied to where others run, and to distances: what they mean on each node, for explanations
 * and alternatives. Where something goes is the placement core's to say (fleet_seek.c), whose rules
 * these are.
 *
 * They depend on the whole cluster, fitting is asked node by node. So the cluster is looked at once
 * for a request, and each node's view notes in `ties` what speaks against it:
 *
 *     near     the round trip from its region to the one named
 *     with     nobody of the group in the node's domain
 *     apart    somebody of it is
 *     even     its domain has more of the request's own group than the emptiest that could take it
 *
 * Where members are tied to each other (apart from their own group, evenly spread), how many fit is
 * found by putting them down in thought, one by one, always where fewest are. */
#include <synor/orchestration/place.h>

#include "cluster_priv.h"
#include "place_priv.h"

#include <stdio.h>

#include <synor/base/str.h>

enum { KIN_WITH, KIN_APART, KIN_OWN, KINS };
static_assert(SYN_LEN(((struct cluster_node *)0)->kin) == KINS, "one count for each");

static const char *const scope_names[SYN_FLEET_SCOPES] = {
    [SYN_FLEET_NODE] = "node",
    [SYN_FLEET_RACK] = "rack",
    [SYN_FLEET_ZONE] = "zone",
    [SYN_FLEET_REGION] = "region",
};

int
syn_place_scope_find(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(scope_names); i++)
        if (syn_str_eq(scope_names[i], name))
            return (int)i;
    return -1;
}

const char *
syn_place_scope_name(enum syn_fleet_scope scope)
{
    assert(scope < SYN_FLEET_SCOPES);
    return scope_names[scope];
}

int
tie_check(const struct syn_place_request *request, struct syn_err *err)
{
    struct syn_selector selector;
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_PLACE_LABELS_MAX && request->labels[i] && rc == SYN_OK; i++)
        rc = syn_selector_parse(request->labels[i], &selector, err);
    if (rc < 0)
        return rc;
    if (request->bandwidth_bps < 0 || request->bandwidth_bps > SYN_FLEET_QUANTITY_MAX ||
        request->rtt_max_us < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "bandwidth or round trip asked for is out of range");
    if (request->rtt_max_us > 0 && !fit_text(request->near))
        return SYN_FAIL(err, SYN_E_INVALID, "a longest round trip needs the region it is to");
    if (request->even > 0 && !fit_text(request->group))
        return SYN_FAIL(err, SYN_E_INVALID, "being spread evenly needs a group");
    if (request->with.scope >= SYN_FLEET_SCOPES || request->apart.scope >= SYN_FLEET_SCOPES ||
        request->even_scope >= SYN_FLEET_SCOPES)
        return SYN_FAIL(err, SYN_E_INVALID, "a domain is a node, rack, zone or region");
    return SYN_OK;
}

/* ---- domains ---- */

static bool
same_label(const struct syn_node_view *a, const struct syn_node_view *b, const char *key)
{
    const char *one = syn_node_view_label(a, key), *two = syn_node_view_label(b, key);

    return syn_str_eq(one ? one : "", two ? two : "");
}

static bool
same_domain(const struct syn_node_view *a, const struct syn_node_view *b,
            enum syn_fleet_scope scope)
{
    if (scope == SYN_FLEET_NODE)
        return a == b;
    return syn_str_eq(a->region, b->region) &&
           (scope == SYN_FLEET_REGION || same_label(a, b, SYN_LABEL_ZONE)) &&
           (scope != SYN_FLEET_RACK || same_label(a, b, SYN_LABEL_RACK));
}

static uint32_t
kin_in(const struct syn_cluster *cluster, const struct cluster_node *node, unsigned kin,
       enum syn_fleet_scope scope)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < cluster->count; i++)
        if (cluster->nodes[i]->kin[kin] > 0 &&
            same_domain(&cluster->nodes[i]->view, &node->view, scope))
            sum += cluster->nodes[i]->kin[kin];
    return sum;
}

static bool
is_own(const struct syn_place_request *request, const struct syn_place_tie *tie)
{
    return fit_text(tie->group) && request->group && syn_str_eq(tie->group, request->group);
}

/* ---- looking ---- */

static void
count_kin(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    const char *groups[KINS] = {request->with.group, request->apart.group, request->group};
    const char *account = request->account ? request->account : "";
    size_t cursor = 0;
    void *value;

    for (size_t i = 0; i < cluster->count; i++) {
        memset(cluster->nodes[i]->kin, 0, sizeof(cluster->nodes[i]->kin));
        cluster->nodes[i]->tried = 0;
    }
    while (syn_map_next(cluster->instances, &cursor, NULL, &value)) {
        const struct syn_instance_view *instance = &((struct cluster_instance *)value)->view;
        struct cluster_node *node;

        if (!instance->holds || !*instance->group || !syn_str_eq(instance->account, account))
            continue;
        node = cluster_node_find(cluster, instance->node);
        for (unsigned kin = 0; kin < KINS && node; kin++)
            if (fit_text(groups[kin]) && syn_str_eq(groups[kin], instance->group))
                node->kin[kin]++;
    }
}

/* Is there nobody yet of the group that it is to be with, which is its own? The first may go
 * anywhere. */
static bool
is_first(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    if (!is_own(request, &request->with))
        return false;
    for (size_t i = 0; i < cluster->count; i++)
        if (cluster->nodes[i]->kin[KIN_WITH] > 0)
            return false;
    return true;
}

static bool
too_far(const struct syn_cluster *cluster, const struct syn_place_request *request,
        const struct syn_node_view *node)
{
    int64_t rtt_us;

    if (request->rtt_max_us == 0)
        return false;
    rtt_us = syn_cluster_rtt(cluster, node->region, request->near);
    return rtt_us < 0 || rtt_us > request->rtt_max_us;
}

/* Has it cards that would do, were they free? */
static bool
has_card(const struct syn_node_view *node, const struct syn_place_request *request)
{
    bool any = request->gpus == 0;

    for (unsigned i = 0; i < node->gpus_count && !any; i++)
        any = node->gpus[i].count > 0 && fit_card(&node->gpus[i], request);
    return any;
}

/* The fewest of its own group in any domain that it may be in. */
static uint32_t
floor_of(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    uint32_t floor = UINT32_MAX;

    for (size_t i = 0; i < cluster->count; i++) {
        const struct cluster_node *node = cluster->nodes[i];
        uint32_t own;

        if (fit_class(&node->view, request, fit_now) || !has_card(&node->view, request) ||
            too_far(cluster, request, &node->view))
            continue;
        own = kin_in(cluster, node, KIN_OWN, request->even_scope);
        floor = SYN_MIN(floor, own);
    }
    return floor;
}

static void
note_ties(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    bool first = is_first(cluster, request);
    uint32_t floor = request->even > 0 ? floor_of(cluster, request) : 0;

    for (size_t i = 0; i < cluster->count; i++) {
        struct cluster_node *node = cluster->nodes[i];
        uint32_t ties = 0;

        node->view.near_us = fit_text(request->near)
                                 ? syn_cluster_rtt(cluster, node->view.region, request->near)
                                 : -1;
        if (too_far(cluster, request, &node->view))
            ties |= SYN_BIT(DIM_LATENCY);
        if (fit_text(request->with.group) && !first &&
            kin_in(cluster, node, KIN_WITH, request->with.scope) == 0)
            ties |= SYN_BIT(DIM_WITH);
        if (fit_text(request->apart.group) &&
            kin_in(cluster, node, KIN_APART, request->apart.scope) > 0)
            ties |= SYN_BIT(DIM_APART);
        if (request->even > 0 &&
            kin_in(cluster, node, KIN_OWN, request->even_scope) >= (uint64_t)floor + request->even)
            ties |= SYN_BIT(DIM_EVEN);
        node->view.ties = ties;
    }
}

void
tie_look(const struct syn_cluster *cluster, const struct syn_place_request *request)
{
    if (!tie_any(request))
        return;
    count_kin(cluster, request);
    note_ties(cluster, request);
}

void
syn_place_look(struct syn_cluster *cluster, const struct syn_place_request *request)
{
    tie_look(cluster, request);
}

bool
tie_any(const struct syn_place_request *request)
{
    return request->rtt_max_us > 0 || fit_text(request->with.group) ||
           fit_text(request->apart.group) || request->even > 0;
}

uint32_t
tie_lacks(const struct syn_node_view *node, const struct syn_place_request *request,
          struct fit_view view)
{
    uint32_t asked = 0;

    if (request->rtt_max_us > 0)
        asked |= SYN_BIT(DIM_LATENCY);
    if (fit_text(request->with.group))
        asked |= SYN_BIT(DIM_WITH);
    if (fit_text(request->apart.group) && !view.empty)
        asked |= SYN_BIT(DIM_APART);
    if (request->even > 0 && !view.empty)
        asked |= SYN_BIT(DIM_EVEN);
    return node->ties & asked;
}

/* ---- saying so ---- */

static void
say_ms(int64_t us, char *out, size_t cap)
{
    if (us < 0)
        (void)syn_str_copy(out, cap, "not known");
    else
        (void)snprintf(out, cap, "%lld.%lld ms", (long long)(us / 1000),
                       (long long)(us % 1000 / 100));
}

/* The first that the node does not do. */
static void
say_labels(const struct syn_node_view *node, const struct syn_place_request *request,
           struct tie_text *ret)
{
    for (size_t i = 0; request->labels[i]; i++) {
        struct syn_selector selector;
        const char *value;

        if (syn_selector_parse(request->labels[i], &selector, NULL) < 0)
            continue;
        value = syn_node_view_label(node, selector.key);
        if (syn_selector_match(&selector, value))
            continue;
        (void)snprintf(ret->need, sizeof(ret->need), "%s", request->labels[i]);
        (void)snprintf(ret->have, sizeof(ret->have), "%s%s%s", selector.key, value ? "=" : " unset",
                       value ? value : "");
        break;
    }
    (void)snprintf(ret->message, sizeof(ret->message), "%s is not %s (it has: %s)", node->id,
                   ret->need, ret->have);
}

static void
say_group(const struct syn_node_view *node, const struct syn_place_request *request, enum dim dim,
          struct tie_text *ret)
{
    const struct syn_place_tie own = {request->group, request->even_scope};
    const struct syn_place_tie *tie = dim == DIM_WITH    ? &request->with
                                      : dim == DIM_APART ? &request->apart
                                                         : &own;
    const char *scope = syn_place_scope_name(tie->scope);
    const char *place = tie->scope == SYN_FLEET_NODE ? "on it" : "in its ";
    const char *what = tie->scope == SYN_FLEET_NODE ? "" : scope;

    (void)snprintf(ret->need, sizeof(ret->need), "%s:%s", tie->group, scope);
    if (dim == DIM_WITH) {
        (void)syn_str_copy(ret->have, sizeof(ret->have), "none");
        (void)snprintf(ret->message, sizeof(ret->message), "%s: none of group %s runs %s%s",
                       node->id, tie->group, place, what);
    } else if (dim == DIM_APART) {
        (void)syn_str_copy(ret->have, sizeof(ret->have), "some");
        (void)snprintf(ret->message, sizeof(ret->message), "%s: some of group %s runs %s%s",
                       node->id, tie->group, place, what);
    } else {
        (void)syn_str_copy(ret->have, sizeof(ret->have), "more than others");
        (void)snprintf(ret->message, sizeof(ret->message),
                       "%s: as much of group %s runs %s%s as may, while another %s has less",
                       node->id, tie->group, place, what, scope);
    }
}

void
tie_say(const struct syn_node_view *node, const struct syn_place_request *request, enum dim dim,
        struct tie_text *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (dim == DIM_LABELS) {
        say_labels(node, request, ret);
    } else if (dim != DIM_LATENCY) {
        say_group(node, request, dim, ret);
    } else {
        say_ms(request->rtt_max_us, ret->need, sizeof(ret->need));
        say_ms(node->near_us, ret->have, sizeof(ret->have));
        (void)snprintf(
            ret->message, sizeof(ret->message),
            "%s: the round trip from region \"%s\" to \"%s\" is %s; at most %s asked for", node->id,
            node->region, request->near, ret->have, ret->need);
    }
}

/* ---- members tied to each other ---- */

bool
tie_own(const struct syn_place_request *request)
{
    return request->count > 1 && !request->one_node && fit_text(request->group) &&
           (request->even > 0 || is_own(request, &request->with) ||
            is_own(request, &request->apart));
}

/* The node where a member more fits, and whose domain has fewest. */
static struct cluster_node *
next_node(const struct syn_cluster *cluster, const struct syn_place_request *request,
          struct fit_view view)
{
    struct cluster_node *best = NULL;
    uint32_t fewest = UINT32_MAX;

    for (size_t i = 0; i < cluster->count; i++) {
        struct cluster_node *node = cluster->nodes[i];
        uint32_t own;

        if (fit_lacks(&node->view, request, node->tried + 1, view))
            continue;
        own = kin_in(cluster, node, KIN_OWN, request->even_scope);
        if (best && own >= fewest)
            continue;
        best = node;
        fewest = own;
    }
    return best;
}

uint32_t
tie_most(const struct syn_cluster *cluster, const struct syn_place_request *request,
         struct fit_view view)
{
    uint32_t most = 0;

    tie_look(cluster, request);
    for (; most < request->count; most++) {
        struct cluster_node *node = next_node(cluster, request, view);

        if (!node)
            break;
        node->tried++;
        node->kin[KIN_OWN]++;
        node->kin[KIN_WITH] += is_own(request, &request->with);
        node->kin[KIN_APART] += is_own(request, &request->apart);
        note_ties(cluster, request);
    }
    tie_look(cluster, request);
    return most;
}
