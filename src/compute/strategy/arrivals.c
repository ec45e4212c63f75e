/* What of a graph's data is on its way where.
 *
 * Whoever looks only at where data are valid counts a tile that ten waiting tasks read ten times:
 * it is valid there only when it has come. A link then seems to be busy for seconds when it is for
 * milliseconds, and work is kept from the devices behind it. So a transfer is counted when it is
 * first asked for, and who asks again has only to wait until it comes. */
#include <string.h>

#include "arrivals_priv.h"

#define PLACES_MAX (1U << 21) /* handles x nodes */
#define OVERDUE    8U         /* times its transfer: what is later came, and was evicted since */

void
arrivals_init(struct arrivals *arrivals, const struct topology *topology, uint32_t handles)
{
    uint32_t nodes = topology->platform->node_count;

    *arrivals = (struct arrivals){.topology = topology, .handles = handles};
    if (handles <= PLACES_MAX / nodes)
        arrivals->at_ns = syn_calloc((size_t)handles * nodes + 1, sizeof(uint64_t));
}

void
arrivals_fini(struct arrivals *arrivals)
{
    syn_free(arrivals->at_ns);
    arrivals->at_ns = NULL;
}

static uint64_t *
arrival(const struct arrivals *arrivals, uint32_t handle, uint32_t node)
{
    return &arrivals->at_ns[(size_t)handle * arrivals->topology->platform->node_count + node];
}

static uint32_t
lane(const struct arrivals *arrivals, uint32_t node)
{
    return arrivals->topology->lane_of[node];
}

static bool
coming(uint64_t at_ns, uint64_t move_ns, uint64_t now_ns)
{
    return at_ns != 0 && at_ns + OVERDUE * move_ns > now_ns;
}

void
arrivals_look(const struct arrivals *arrivals, const struct syn_ready *ready, uint64_t now_ns,
              uint64_t *ret_moves_ns, uint64_t *ret_theres_ns)
{
    const struct topology *topology = arrivals->topology;

    memset(ret_moves_ns, 0, topology->group_count * sizeof(ret_moves_ns[0]));
    for (uint32_t g = 0; g < topology->group_count; g++)
        ret_theres_ns[g] = now_ns;
    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);
        uint64_t valid = replicas_valid(access->data);

        if ((access->mode & SYN_READ) == 0 || valid == 0)
            continue;
        for (uint32_t g = 0; g < topology->group_count; g++) {
            uint32_t node = topology->groups[g].node;
            uint64_t ns = topology_move_ns(topology, valid, access->data->bytes, node);
            uint64_t at_ns =
                access->handle < arrivals->handles ? *arrival(arrivals, access->handle, node) : 0;

            if (ns != 0 && coming(at_ns, ns, now_ns))
                ret_theres_ns[g] = SYN_MAX(ret_theres_ns[g], at_ns);
            else
                ret_moves_ns[g] += ns;
        }
    }
    for (uint32_t g = 0; g < topology->group_count; g++)
        if (ret_moves_ns[g] != 0)
            ret_theres_ns[g] = SYN_MAX(
                ret_theres_ns[g],
                SYN_MAX(now_ns, arrivals->link_ns[lane(arrivals, topology->groups[g].node)]) +
                    ret_moves_ns[g]);
}

void
arrivals_note(struct arrivals *arrivals, const struct syn_ready *ready, uint32_t node,
              uint64_t now_ns)
{
    uint64_t *link_ns = &arrivals->link_ns[lane(arrivals, node)];

    for (uint32_t i = 0; i < ready->access_count; i++) {
        const struct syn_data_use *access = ready_access(ready, i);
        uint64_t *at_ns, ns;

        if (access->handle >= arrivals->handles)
            continue;
        at_ns = arrival(arrivals, access->handle, node);
        ns = topology_move_ns(arrivals->topology, replicas_valid(access->data), access->data->bytes,
                              node);
        if ((access->mode & SYN_READ) != 0 && ns != 0 && !coming(*at_ns, ns, now_ns)) {
            *link_ns = SYN_MAX(*link_ns, now_ns) + ns;
            *at_ns = *link_ns;
        }
        if ((access->mode & SYN_WRITE) != 0)
            memset(arrival(arrivals, access->handle, 0), 0,
                   arrivals->topology->platform->node_count * sizeof(*at_ns));
    }
}
