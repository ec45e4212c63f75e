/* The cluster as a request sees it: all nodes and what runs on them, read afresh. Plans and
 * explanations are rare; the controller keeps a view of its own. */
#include <synor/base/str.h>
#include <synor/orchestration/cluster.h>

#include "server_priv.h"
#include "units_priv.h"

static int
add_node(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)revision;
    return syn_cluster_put_node(arg, doc, err);
}

static int
add_spot(void *arg, const char *good, int64_t hour, struct syn_err *err)
{
    bool changed;

    return syn_cluster_set_spot(arg, good, hour, &changed, err);
}

/* "instance-on/NODE/ID": those whose run is not settled. All that hold something are among them. */
struct reading {
    struct syn_server *server;
    struct syn_cluster *cluster;
};

static int
add_instance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct reading *reading = arg;
    char instance_key[SRV_KEY_MAX];
    SYN_JSON(instance);
    int rc =
        srv_load(reading->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                 &instance, NULL, err);

    (void)doc;
    (void)revision;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    return syn_cluster_put_instance(reading->cluster, instance, err);
}

int
srv_cluster_read(struct syn_server *server, struct syn_cluster **ret_cluster, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct reading reading = {server, NULL};
    size_t goods;
    bool changed;
    int rc = syn_cluster_new(0, &cluster, err);

    reading.cluster = cluster;
    if (rc == SYN_OK)
        syn_cluster_prices_watch(cluster, server->prices);
    if (rc == SYN_OK)
        rc = srv_market_spot(server, add_spot, cluster, &goods, err);
    if (rc == SYN_E_UNAVAILABLE) /* a closed market has no prices */
        rc = SYN_OK;
    if (rc == SYN_OK)
        rc = srv_trips_read(server, cluster, err);
    if (rc == SYN_OK)
        rc = srv_each(server, "node/", add_node, cluster, err);
    if (rc == SYN_OK)
        rc = srv_each(server, "instance-on/", add_instance, &reading, err);
    if (rc == SYN_OK)
        rc = srv_keeps_tell(server, cluster, &changed, err);
    if (rc == SYN_OK)
        *ret_cluster = SYN_TAKE(cluster);
    return rc;
}
