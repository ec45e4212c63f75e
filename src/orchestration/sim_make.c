/* Clusters and workloads that nobody recorded: machines and asks in the shares that the openb trace
 * has them in, drawn from the seed. */
#include <inttypes.h>
#include <math.h>

#include "sim_priv.h"

#define MEAN_RUN_MS INT64_C(7200000)
#define LOAD        0.9 /* of the scarcer of cards and CPU that is asked for at a time */

static const struct {
    uint32_t weight;
    uint32_t cpu;    /* millicores */
    uint32_t memory; /* MiB */
    uint32_t cards;
    const char *model;
} machines[] = {{549, 96000, 393216, 8, "G2"},     {387, 104000, 524288, 2, "T4"},
                {107, 16000, 122880, 2, "P100"},   {39, 128000, 786432, 8, "G3"},
                {28, 32000, 131072, 4, "V100M16"}, {22, 64000, 262144, 2, "P100"},
                {21, 96000, 786432, 8, "V100M32"}, {17, 96000, 393216, 4, "T4"}};

static const struct {
    uint32_t weight;
    uint32_t cpu;
    uint32_t memory;
    uint32_t cards;
    uint32_t milli;
} asks[] = {
    {1047, 3152, 5600, 1, 810},   {1100, 11300, 49152, 1, 1000}, {534, 11400, 48128, 1, 1000},
    {470, 3152, 5600, 1, 1000},   {388, 11908, 47104, 1, 470},   {364, 12500, 57344, 0, 0},
    {360, 8000, 30517, 1, 470},   {284, 32000, 49152, 0, 0},     {255, 18708, 64512, 1, 1000},
    {237, 11908, 47104, 1, 650},  {500, 9810, 41560, 1, 1000},   {163, 8000, 30517, 0, 0},
    {316, 12000, 24576, 1, 1000}, {111, 4000, 22888, 1, 320},    {84, 4000, 30517, 1, 230},
    {16, 16000, 65536, 2, 1000},  {15, 32000, 131072, 4, 1000},  {44, 64000, 262144, 8, 1000}};

static size_t
draw_machine(uint64_t *random, uint32_t total)
{
    uint32_t at = (uint32_t)(sim_random(random) % total);
    size_t i = 0;

    while (at >= machines[i].weight)
        at -= machines[i++].weight;
    return i;
}

int
syn_sim_make_nodes(struct syn_sim *sim, uint64_t count, struct syn_err *err)
{
    uint32_t total = 0;
    int rc = SYN_OK;

    assert(sim->nodes_count == 0);
    if (count == 0 || count > SYN_SIM_NODES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "gen:%" PRIu64 ": expected 1 to %u nodes", count,
                        SYN_SIM_NODES_MAX);
    for (size_t i = 0; i < SYN_LEN(machines); i++)
        total += machines[i].weight;
    for (uint64_t n = 0; rc == SYN_OK && n < count; n++) {
        size_t i = draw_machine(&sim->random, total);
        struct syn_fleet_node node = {.cards = machines[i].cards};
        char name[32];
        uint32_t model;

        rc = sim_model_add(sim, machines[i].model, true, &model, err);
        if (rc < 0)
            break;
        (void)snprintf(name, sizeof(name), "node-%06" PRIu64, n);
        node.name = name;
        node.capacity[SYN_FLEET_CPU] = machines[i].cpu;
        node.capacity[SYN_FLEET_MEMORY] = (int64_t)machines[i].memory << 20;
        memset(node.models, (int)model, sizeof(node.models));
        rc = sim_add_node(sim, &node, err);
    }
    return rc;
}

/* Milliseconds between arrivals so that LOAD of the cluster is in use, if all could run at once. */
static double
mean_gap_ms(const struct syn_sim *sim, uint32_t total)
{
    double milli = 0, cpu = 0, milli_there = (double)sim->cards * SYN_FLEET_WHOLE, cpu_there = 0;
    double by_cards, by_cpu;

    for (size_t i = 0; i < SYN_LEN(asks); i++) {
        milli += (double)asks[i].weight * asks[i].cards * asks[i].milli / total;
        cpu += (double)asks[i].weight * asks[i].cpu / total;
    }
    for (uint32_t i = 0; i < sim->nodes_count; i++)
        cpu_there += (double)sim->nodes[i].spec.capacity[SYN_FLEET_CPU];
    by_cards = milli * (double)MEAN_RUN_MS / (LOAD * fmax(milli_there, 1));
    by_cpu = cpu * (double)MEAN_RUN_MS / (LOAD * fmax(cpu_there, 1));
    return sim->cards > 0 ? fmax(by_cards, by_cpu) : by_cpu;
}

int
syn_sim_make_workload(struct syn_sim *sim, uint64_t count, struct syn_err *err)
{
    uint32_t total = 0;
    double gap_ms, at_ms = 0;
    int rc = SYN_OK;

    assert(sim->nodes_count > 0 && sim->pods_count == 0);
    if (count == 0 || count > SYN_SIM_PODS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "gen:%" PRIu64 ": expected 1 to %u pods", count,
                        SYN_SIM_PODS_MAX);
    for (size_t i = 0; i < SYN_LEN(asks); i++)
        total += asks[i].weight;
    gap_ms = mean_gap_ms(sim, total);
    for (uint64_t n = 0; rc == SYN_OK && n < count; n++) {
        struct sim_pod pod = {.ask = {.policy = (uint32_t)sim->options.policy}};
        uint32_t at = (uint32_t)(sim_random(&sim->random) % total);
        size_t i = 0;

        while (at >= asks[i].weight)
            at -= asks[i++].weight;
        pod.ask.need[SYN_FLEET_CPU] = asks[i].cpu;
        pod.ask.need[SYN_FLEET_MEMORY] = (int64_t)asks[i].memory << 20;
        pod.ask.cards = asks[i].cards;
        if (asks[i].cards == 1 && asks[i].milli < SYN_FLEET_WHOLE) {
            pod.ask.mode = SYN_FLEET_SHARED;
            pod.ask.share = asks[i].milli;
        }
        at_ms += -log(1.0 - sim_fraction(&sim->random)) * gap_ms;
        pod.arrives_ms = (int64_t)at_ms;
        pod.runs_ms = 1 + (int64_t)(-log(1.0 - sim_fraction(&sim->random)) * (double)MEAN_RUN_MS);
        rc = sim_add_pod(sim, &pod, err);
    }
    return rc;
}
