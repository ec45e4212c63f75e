/* A platform checked, and digested into groups of like workers and a table of routes. */
#include <string.h>

#include "strategy_priv.h"

#define ROWS     (1U << TOPOLOGY_ROWS_LOG2)
#define HASH_MUL UINT64_C(0x9e3779b97f4a7c15)

static int
check_classes(const struct syn_platform *platform, struct syn_err *err)
{
    for (uint32_t i = 0; i < platform->class_count; i++) {
        const struct syn_worker_class *class = &platform->classes[i];

        if (class->state_count > SYN_STATES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "class %u: %u power states, at most %u", i,
                            class->state_count, SYN_STATES_MAX);
        for (uint32_t j = 0; j < class->state_count; j++) {
            uint32_t before = j == 0 ? 1000 : class->states[j - 1].speed_permille;

            if (class->states[j].speed_permille == 0 || class->states[j].speed_permille > before ||
                (j == 0 && class->states[j].speed_permille != 1000))
                return SYN_FAIL(err, SYN_E_INVALID,
                                "class %u: power states go from 1000 thousandths down", i);
        }
    }
    return SYN_OK;
}

int
syn_platform_check(const struct syn_platform *platform, struct syn_err *err)
{
    if (platform->class_count == 0 || platform->class_count > SYN_CLASSES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%u classes: 1 to %u", platform->class_count,
                        SYN_CLASSES_MAX);
    if (platform->worker_count == 0 || platform->worker_count > SYN_PLATFORM_WORKERS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%u workers: 1 to %u", platform->worker_count,
                        SYN_PLATFORM_WORKERS_MAX);
    if (platform->node_count == 0 || platform->node_count > SYN_NODES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%u memory nodes: 1 to %u", platform->node_count,
                        SYN_NODES_MAX);
    if (platform->link_count > SYN_LINKS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%u links: at most %u", platform->link_count,
                        SYN_LINKS_MAX);
    for (uint32_t i = 0; i < platform->worker_count; i++)
        if (platform->workers[i].class_id >= platform->class_count ||
            platform->workers[i].node >= platform->node_count)
            return SYN_FAIL(err, SYN_E_INVALID, "worker %u: class %u on node %u", i,
                            platform->workers[i].class_id, platform->workers[i].node);
    for (uint32_t i = 0; i < platform->link_count; i++) {
        const struct syn_link_desc *link = &platform->links[i];

        if (link->from >= platform->node_count || link->to >= platform->node_count ||
            link->from == link->to || link->bytes_per_s == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "link %u: from %u to %u at %llu bytes a second", i,
                            link->from, link->to, (unsigned long long)link->bytes_per_s);
    }
    return check_classes(platform, err);
}

#define MIB_NS_MAX (UINT64_C(1) << 40) /* a link of one byte a second, about */

static void
fill_routes(struct topology *topology)
{
    const struct syn_platform *platform = topology->platform;
    uint32_t nodes = platform->node_count;

    for (uint32_t i = 0; i < nodes * nodes; i++)
        topology->routes[i].mib_ns = i / nodes == i % nodes ? 0 : UINT64_MAX;
    for (uint32_t i = 0; i < platform->link_count; i++) {
        const struct syn_link_desc *link = &platform->links[i];
        syn_u128 mib_ns = ((syn_u128)1000000000U << 20) / link->bytes_per_s;

        topology->direct[link->to] |= UINT64_C(1) << link->from;
        topology->routes[link->from * nodes + link->to] =
            (struct strategy_route){link->latency_ns, (uint64_t)SYN_MIN(mib_ns, MIB_NS_MAX)};
    }
    /* The others go over the host. */
    for (uint32_t i = 0; i < nodes * nodes; i++) {
        const struct strategy_route *up = &topology->routes[(size_t)(i / nodes) * nodes];
        const struct strategy_route *down = &topology->routes[i % nodes];

        if (topology->routes[i].mib_ns == UINT64_MAX && up->mib_ns != UINT64_MAX &&
            down->mib_ns != UINT64_MAX)
            topology->routes[i] = (struct strategy_route){up->latency_ns + down->latency_ns,
                                                          up->mib_ns + down->mib_ns};
    }
}

static void
fill_lanes(struct topology *topology)
{
    const struct syn_platform *platform = topology->platform;
    uint16_t bus[SYN_NODES_MAX] = {0};

    for (uint32_t i = 0; i < platform->link_count; i++)
        if (platform->links[i].from == 0)
            bus[platform->links[i].to] = platform->links[i].bus;
    for (uint32_t n = 0; n < platform->node_count; n++) {
        topology->lane_of[n] = (uint16_t)n;
        for (uint32_t m = 0; m < n && bus[n] != 0; m++)
            if (bus[m] == bus[n]) {
                topology->lane_of[n] = (uint16_t)m;
                break;
            }
    }
}

/* A node whose workers' data could neither come nor go would never be fed. */
static int
check_routes(const struct topology *topology, struct syn_err *err)
{
    const struct syn_platform *platform = topology->platform;

    for (uint32_t i = 0; i < platform->worker_count; i++) {
        uint32_t node = platform->workers[i].node;

        if (topology->routes[node].mib_ns == UINT64_MAX ||
            topology->routes[(size_t)node * platform->node_count].mib_ns == UINT64_MAX)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "worker %u: no link joins node %u with the host in both directions", i,
                            node);
    }
    return SYN_OK;
}

static void
fill_groups(struct topology *topology)
{
    const struct syn_platform *platform = topology->platform;
    uint32_t next = 0;

    for (uint32_t i = 0; i < platform->worker_count; i++) {
        const struct syn_worker_desc *worker = &platform->workers[i];
        uint32_t g = 0;

        while (g < topology->group_count && (topology->groups[g].class_id != worker->class_id ||
                                             topology->groups[g].node != worker->node))
            g++;
        if (g == topology->group_count)
            topology->groups[topology->group_count++] =
                (struct strategy_group){.class_id = worker->class_id, .node = worker->node};
        topology->groups[g].count++;
        topology->group_of[i] = (uint16_t)g;
    }
    for (uint32_t g = 0; g < topology->group_count; g++) {
        topology->groups[g].first = next;
        for (uint32_t i = 0; i < platform->worker_count; i++)
            if (topology->group_of[i] == g)
                topology->members[next++] = (uint16_t)i;
    }
}

int
topology_init(struct topology *topology, const struct syn_platform *platform, struct syn_err *err)
{
    int rc = syn_platform_check(platform, err);

    *topology = (struct topology){.platform = platform};
    if (rc < 0)
        return rc;
    topology->groups = syn_calloc(platform->worker_count, sizeof(topology->groups[0]));
    topology->members = syn_calloc(platform->worker_count, sizeof(uint16_t));
    topology->group_of = syn_calloc(platform->worker_count, sizeof(uint16_t));
    topology->routes = syn_calloc((size_t)platform->node_count * platform->node_count,
                                  sizeof(topology->routes[0]));
    topology->rows = syn_calloc(ROWS, sizeof(topology->rows[0]));
    topology->row_ns = syn_calloc((size_t)ROWS * platform->worker_count, sizeof(uint64_t));
    if (topology->groups == NULL || topology->members == NULL || topology->group_of == NULL ||
        topology->routes == NULL || topology->rows == NULL || topology->row_ns == NULL) {
        topology_fini(topology);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a platform");
    }
    fill_groups(topology);
    fill_routes(topology);
    fill_lanes(topology);
    rc = check_routes(topology, err);
    if (rc < 0)
        topology_fini(topology);
    return rc;
}

void
topology_fini(struct topology *topology)
{
    syn_free(topology->groups);
    syn_free(topology->members);
    syn_free(topology->group_of);
    syn_free(topology->routes);
    syn_free(topology->rows);
    syn_free(topology->row_ns);
    *topology = (struct topology){0};
}

int
topology_can(const struct topology *topology, const struct syn_ready *ready, struct syn_err *err)
{
    for (uint32_t g = 0; g < topology->group_count; g++) {
        const struct strategy_group *group = &topology->groups[g];

        if (ready_ns(ready, group->class_id) == SYN_NEVER)
            continue;
        for (uint32_t i = 0; i < group->count; i++) {
            uint32_t worker = topology->members[group->first + i];

            if (!worker_lost(topology, worker) &&
                (ready->affinity < 0 || (uint32_t)ready->affinity == worker))
                return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "no worker here can run the task");
}

/* ---- transfers ----
 *
 * Tasks use data of few sizes that are in few places, and routes do not change: what a size takes
 * from where it is to every group is a row, and rows are remembered by hash. */

static const uint64_t *
row_of(struct topology *topology, uint64_t valid, uint64_t bytes)
{
    uint64_t at = (valid ^ bytes << 1) * HASH_MUL >> (64 - TOPOLOGY_ROWS_LOG2);
    struct strategy_row *row = &topology->rows[at];
    uint64_t *ns = &topology->row_ns[at * topology->group_count];

    if (row->valid == valid && row->bytes == bytes)
        return ns;
    *row = (struct strategy_row){valid, bytes};
    for (uint32_t g = 0; g < topology->group_count; g++)
        ns[g] = topology_move_ns(topology, valid, bytes, topology->groups[g].node);
    return ns;
}

void
topology_moves(struct topology *topology, const struct syn_ready *ready, uint64_t *ret_ns)
{
    memset(ret_ns, 0, topology->group_count * sizeof(ret_ns[0]));
    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);
        uint64_t valid = replicas_valid(access->data);
        const uint64_t *ns;

        if ((access->mode & SYN_READ) == 0 || valid == 0)
            continue;
        ns = row_of(topology, valid, access->data->bytes);
        for (uint32_t g = 0; g < topology->group_count; g++)
            ret_ns[g] += ns[g];
    }
}

uint64_t
topology_drag_ns(const struct topology *topology, const struct syn_ready *ready, uint32_t node)
{
    uint64_t ns = 0;

    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);

        if ((access->mode & SYN_UPDATE) == SYN_UPDATE)
            ns +=
                topology_move_ns(topology, replicas_valid(access->data), access->data->bytes, node);
    }
    return ns;
}

uint64_t
topology_moves_ns(const struct topology *topology, const struct syn_ready *ready, uint32_t node)
{
    uint64_t ns = 0;

    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);
        uint64_t valid = replicas_valid(access->data);

        if ((access->mode & SYN_READ) != 0 && valid != 0 && (valid >> node & 1) == 0)
            ns += topology_move_ns(topology, valid, access->data->bytes, node);
    }
    return ns;
}

uint64_t
topology_here(const struct syn_ready *ready)
{
    uint64_t nodes = UINT64_MAX;

    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);
        uint64_t valid = replicas_valid(access->data);

        if ((access->mode & SYN_READ) != 0 && valid != 0)
            nodes &= valid;
    }
    return nodes;
}

bool
column_copy(const void *from, uint32_t count, size_t size, void *ret_copy)
{
    void *copied = from == NULL ? NULL : syn_calloc((size_t)count + 1, size);

    if (copied != NULL)
        memcpy(copied, from, count * size);
    memcpy(ret_copy, &copied, sizeof(copied));
    return from == NULL || copied != NULL;
}

void
estimates_note(struct syn_estimate *believed, const struct syn_estimate *const *costs,
               uint32_t count)
{
    for (uint32_t k = 0; k < count; k++)
        for (uint32_t c = 0; c < SYN_CLASSES_MAX; c++)
            believed[k].ns[c] = __atomic_load_n(&costs[k]->ns[c], __ATOMIC_RELAXED);
}

bool
estimates_drifted(const struct syn_estimate *believed, const struct syn_estimate *const *costs,
                  uint32_t count, uint32_t part)
{
    for (uint32_t k = 0; k < count; k++)
        for (uint32_t c = 0; c < SYN_CLASSES_MAX; c++) {
            uint64_t old = believed[k].ns[c];
            uint64_t new = __atomic_load_n(&costs[k]->ns[c], __ATOMIC_RELAXED);

            if ((new > old ? new - old : old - new) > old / part)
                return true;
        }
    return false;
}
