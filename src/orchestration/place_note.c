/* What a choice goes by that nobody has said or measured. */
#include <synor/orchestration/place.h>

#include "place_priv.h"

#include <stdio.h>

#include <synor/base/str.h>
#include <synor/orchestration/power.h>

static int
note(json_t *notes, const char *text, struct syn_err *err)
{
    const json_t *known;
    size_t i;

    json_array_foreach (notes, i, known)
        if (syn_str_eq(json_string_value(known), text))
            return SYN_OK;
    if (json_array_size(notes) >= SYN_PLACE_ROWS_MAX)
        return SYN_OK;
    return syn_json_append_take(notes, json_string(text), err);
}

static int
note_power(const struct syn_node_view *node, const struct syn_place_request *request, json_t *notes,
           struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned i = 0; i < node->gpus_count && rc == SYN_OK; i++) {
        const struct syn_gpu_group *group = &node->gpus[i];
        struct syn_fleet_model model = {0};
        char text[192];

        if (group->count == 0 || !fit_card(group, request))
            continue;
        rc = syn_power_card(group->profile, group->model, &model, err);
        if (rc != SYN_POWER_UNKNOWN)
            continue;
        (void)snprintf(text, sizeof(text),
                       "no profile says what GPUs of model %s draw: they count as slow, at %u W",
                       group->model, model.busy_mw / 1000);
        rc = note(notes, text, err);
    }
    return rc;
}

static int
note_distance(const struct syn_cluster *cluster, const struct syn_node_view *node,
              const struct syn_place_request *request, json_t *notes, struct syn_err *err)
{
    char text[2 * SYN_NODE_REGION_MAX + 160];

    if (syn_cluster_rtt(cluster, node->region, request->near) >= 0)
        return SYN_OK;
    (void)snprintf(text, sizeof(text),
                   "the round trip from region \"%s\" to \"%.63s\" is not known: it counts as "
                   "longer than any other; synor region latency set says it",
                   node->region, request->near);
    return note(notes, text, err);
}

int
syn_place_assumed(const struct syn_cluster *cluster, const struct syn_place_request *request,
                  json_t **ret, struct syn_err *err)
{
    SYN_JSON(notes);
    int rc = SYN_OK;

    notes = json_array();
    if (!notes)
        return SYN_FAIL(err, SYN_E_NOMEM, "what is assumed: out of memory");
    for (size_t i = 0; i < syn_cluster_count(cluster) && rc == SYN_OK; i++) {
        const struct syn_node_view *node = syn_cluster_at(cluster, i);

        if (fit_class(node, request, fit_now))
            continue;
        if (request->policy == SYN_FLEET_ENERGY && request->gpus > 0)
            rc = note_power(node, request, notes, err);
        if (rc == SYN_OK && fit_text(request->near))
            rc = note_distance(cluster, node, request, notes, err);
    }
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(notes);
    return SYN_OK;
}
