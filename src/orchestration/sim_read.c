/* What a simulation is read into: models, nodes, pods. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/trace.h>

#include "sim_priv.h"

int
sim_model_add(struct syn_sim *sim, const char *name, bool must_be_known, uint32_t *ret,
              struct syn_err *err)
{
    struct syn_fleet_model model;
    bool known = syn_sim_model(name, &model);
    uint32_t number;
    int rc;

    for (uint32_t i = 0; i < sim->models_count; i++)
        if (syn_str_eq(sim->model_names[i], name)) {
            *ret = i;
            return SYN_OK;
        }
    if (!known && must_be_known)
        return SYN_FAIL(err, SYN_E_INVALID, "unknown model '%.40s'", name);
    rc = syn_fleet_model_add(sim->fleet, &model, &number, err);
    if (rc < 0)
        return rc;
    assert(number == sim->models_count && number < SYN_FLEET_MODELS_MAX);
    (void)syn_str_copy(sim->model_names[number], sizeof(sim->model_names[0]), name);
    sim->models[number] = model;
    sim->models[number].name = sim->model_names[number];
    sim->models_count++;
    *ret = number;
    return SYN_OK;
}

int64_t
sim_list_price(const struct syn_sim *sim, uint32_t model)
{
    return sim->options.price_card * (int64_t)sim->models[model].speed / SIM_CARD_SPEED;
}

int
sim_add_node(struct syn_sim *sim, struct syn_fleet_node *node, struct syn_err *err)
{
    uint32_t number;
    int rc;

    if (syn_fleet_find_node(sim->fleet, node->name) != SYN_FLEET_NONE)
        return SYN_FAIL(err, SYN_E_INVALID, "node '%.60s' is there already", node->name);
    if (sim->nodes_count == SYN_SIM_NODES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %u nodes", SYN_SIM_NODES_MAX);
    if (!syn_grow((void *)&sim->nodes, &sim->nodes_cap, (size_t)sim->nodes_count + 1,
                  sizeof(*sim->nodes)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for nodes");
    node->idle_mw = SIM_NODE_MW;
    node->price.core = sim->options.price_core;
    node->price.gib = sim->options.price_gib;
    for (uint32_t card = 0; card < node->cards; card++)
        node->price.cards[card] = sim_list_price(sim, node->models[card]);
    rc = syn_fleet_put_node(sim->fleet, node, &number, err);
    if (rc < 0)
        return rc;
    assert(number == sim->nodes_count);
    sim->nodes[number] = (struct sim_node){.spec = *node};
    sim->nodes[number].spec.name = NULL;
    (void)syn_str_copy(sim->nodes[number].name, sizeof(sim->nodes[number].name), node->name);
    sim->nodes_count++;
    sim->cards += node->cards;
    return SYN_OK;
}

int
sim_add_pod(struct syn_sim *sim, const struct sim_pod *pod, struct syn_err *err)
{
    if (sim->pods_count == SYN_SIM_PODS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %u pods", SYN_SIM_PODS_MAX);
    if (!syn_grow((void *)&sim->pods, &sim->pods_cap, (size_t)sim->pods_count + 1,
                  sizeof(*sim->pods)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for pods");
    sim->pods[sim->pods_count] = *pod;
    sim->pods[sim->pods_count].order = sim->pods_count;
    sim->pods_count++;
    return SYN_OK;
}

/* --- files ----------------------------------------------------------------------------------- */

static int
on_model(void *arg, const char *name, bool asked, uint32_t *ret, struct syn_err *err)
{
    return sim_model_add(arg, name, asked, ret, err);
}

static int
on_node(void *arg, struct syn_fleet_node *node, struct syn_err *err)
{
    return sim_add_node(arg, node, err);
}

static int
on_pod(void *arg, const struct syn_trace_pod *given, struct syn_err *err)
{
    struct syn_sim *sim = arg;
    struct sim_pod pod = {
        .ask = given->ask, .arrives_ms = given->arrives_ms, .runs_ms = given->runs_ms};

    pod.ask.policy = (uint32_t)sim->options.policy;
    return sim_add_pod(sim, &pod, err);
}

int
syn_sim_read_nodes(struct syn_sim *sim, const char *name, const char *text, size_t len,
                   struct syn_err *err)
{
    const struct syn_trace_sink sink = {sim, on_model, on_node, on_pod};

    assert(sim->nodes_count == 0);
    return syn_trace_read_nodes(&sink, name, text, len, err);
}

/* By times: in their order; of equal ones the first in the file is the first. */
static int
by_arrival(const void *a, const void *b)
{
    const struct sim_pod *x = a, *y = b;

    if (x->arrives_ms != y->arrives_ms)
        return x->arrives_ms < y->arrives_ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

int
syn_sim_read_workload(struct syn_sim *sim, const char *name, const char *text, size_t len,
                      struct syn_err *err)
{
    const struct syn_trace_sink sink = {sim, on_model, on_node, on_pod};
    bool sorted = true;
    int rc;

    assert(sim->nodes_count > 0 && sim->pods_count == 0);
    rc = syn_trace_read_pods(&sink, sim->options.arrivals_percent == 0, name, text, len, err);
    for (uint32_t i = 1; i < sim->pods_count; i++)
        sorted &= sim->pods[i - 1].arrives_ms <= sim->pods[i].arrives_ms;
    if (rc == SYN_OK && !sorted)
        qsort(sim->pods, sim->pods_count, sizeof(*sim->pods), by_arrival);
    return rc;
}
