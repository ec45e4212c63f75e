/* Round trips between regions: those that somebody said, and for the rest what nodes measured to
 * the region of the server, of each region the median. */
#include "cluster_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

void
trips_free(struct syn_cluster *cluster)
{
    syn_free(cluster->trips.items);
}

static struct cluster_trip *
trip_find(const struct syn_cluster *cluster, const char *region, const char *other)
{
    bool turned = strcmp(region, other) > 0;

    for (size_t i = 0; i < cluster->trips.count; i++) {
        struct cluster_trip *trip = &cluster->trips.items[i];

        if (syn_str_eq(trip->regions[turned], region) && syn_str_eq(trip->regions[!turned], other))
            return trip;
    }
    return NULL;
}

int64_t
syn_cluster_rtt(const struct syn_cluster *cluster, const char *region, const char *other)
{
    const struct cluster_trip *trip;

    if (syn_str_eq(region, other))
        return 0;
    trip = trip_find(cluster, region, other);
    return trip ? trip->rtt_us : -1;
}

bool
syn_cluster_trip_at(const struct syn_cluster *cluster, size_t index, struct syn_trip *ret)
{
    const struct cluster_trip *trip;

    if (index >= cluster->trips.count)
        return false;
    trip = &cluster->trips.items[index];
    *ret = (struct syn_trip){trip->regions[0], trip->regions[1], trip->rtt_us, trip->measured};
    return true;
}

static int
trip_add(struct syn_cluster *cluster, const char *region, const char *other,
         struct cluster_trip **ret, struct syn_err *err)
{
    bool turned = strcmp(region, other) > 0;
    struct cluster_trip trip = {.rtt_us = -1};

    if (!*region || !*other ||
        !syn_str_copy(trip.regions[turned], sizeof(trip.regions[0]), region) ||
        !syn_str_copy(trip.regions[!turned], sizeof(trip.regions[0]), other))
        return SYN_FAIL(err, SYN_E_INVALID, "a region's name has 1..%d bytes",
                        SYN_NODE_REGION_MAX - 1);
    if (!syn_grow(&cluster->trips.items, &cluster->trips.cap, cluster->trips.count + 1,
                  sizeof(trip)))
        return SYN_FAIL(err, SYN_E_NOMEM, "the round trip from %s to %s: out of memory", region,
                        other);
    *ret = &cluster->trips.items[cluster->trips.count++];
    **ret = trip;
    return SYN_OK;
}

static int
trip_put(struct syn_cluster *cluster, const char *region, const char *other, int64_t rtt_us,
         bool measured, struct syn_err *err)
{
    struct cluster_trip *trip = trip_find(cluster, region, other);
    int rc = trip ? SYN_OK : trip_add(cluster, region, other, &trip, err);

    if (rc < 0)
        return rc;
    assert(trip);
    trip->measured = measured;
    if (trip->rtt_us == rtt_us)
        return SYN_OK;
    trip->rtt_us = rtt_us;
    if (cluster->fleet && fleet_trip(cluster, trip, NULL) < 0)
        fleet_drop(cluster);
    return SYN_OK;
}

/* The fleet forgets nothing: it is made anew. */
static void
trip_drop(struct syn_cluster *cluster, struct cluster_trip *trip)
{
    *trip = cluster->trips.items[--cluster->trips.count];
    fleet_drop(cluster);
}

int
syn_cluster_set_rtt(struct syn_cluster *cluster, const char *region, const char *other,
                    int64_t rtt_us, bool *ret_changed, struct syn_err *err)
{
    struct cluster_trip *trip = trip_find(cluster, region, other);
    bool said = trip && !trip->measured;
    bool same = syn_str_eq(region, other) || (said ? trip->rtt_us == rtt_us : rtt_us < 0);

    if (ret_changed)
        *ret_changed = !same;
    if (same)
        return SYN_OK;
    if (rtt_us >= 0)
        return trip_put(cluster, region, other, rtt_us, false, err);
    cluster->unmeasured = true;
    trip_drop(cluster, trip);
    return SYN_OK;
}

int
syn_cluster_home(struct syn_cluster *cluster, const char *region, struct syn_err *err)
{
    if (!syn_str_copy(cluster->home, sizeof(cluster->home), region))
        return SYN_FAIL(err, SYN_E_INVALID, "a region's name has 1..%d bytes",
                        SYN_NODE_REGION_MAX - 1);
    cluster->unmeasured = true;
    return SYN_OK;
}

static int
by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* What the ready nodes of the region measured: the median; -1 when none did. `room` is for all. */
static int64_t
median_of(const struct syn_cluster *cluster, const char *region, int64_t *room)
{
    size_t count = 0;

    for (size_t i = 0; i < cluster->count; i++) {
        const struct syn_node_view *node = &cluster->nodes[i]->view;

        if (node->rtt_us > 0 && syn_str_eq(node->region, region))
            room[count++] = node->rtt_us;
    }
    if (count == 0)
        return -1;
    qsort(room, count, sizeof(*room), by_value);
    return room[(count - 1) / 2];
}

int
syn_cluster_measure(struct syn_cluster *cluster, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) int64_t *room = NULL;
    int rc = SYN_OK;

    if (!cluster->unmeasured || !*cluster->home || cluster->count == 0)
        return SYN_OK;
    room = syn_calloc(cluster->count, sizeof(*room));
    if (!room)
        return SYN_FAIL(err, SYN_E_NOMEM, "measured round trips: out of memory");
    for (size_t i = 0; i < cluster->count && rc == SYN_OK; i++) {
        const char *region = cluster->nodes[i]->view.region;
        const struct cluster_trip *trip = trip_find(cluster, region, cluster->home);
        int64_t rtt_us;

        /* Each region once, at its first node that measured. */
        if (!*region || syn_str_eq(region, cluster->home) || (trip && !trip->measured) ||
            cluster->nodes[i]->view.rtt_us == 0)
            continue;
        rtt_us = median_of(cluster, region, room);
        if (rtt_us >= 0)
            rc = trip_put(cluster, region, cluster->home, rtt_us, true, err);
    }
    if (rc == SYN_OK)
        cluster->unmeasured = false;
    return rc;
}
