/* The node's instance networks: opened with the agent, swept when it is known what runs. */
#include <stdio.h>
#include <string.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include <synor/workload/service_control.h>
#include <synor/workload/service_mesh.h>

#include "agent_priv.h"
#include "mesh_priv.h"
#include "resolver_priv.h"

#define RESOLV_LINE_MAX 512
#define RESOLV_CONF     "/etc/resolv.conf"

/* Those of a resolv.conf that an instance reaches as well: loopback is another one's inside. */
static size_t
read_resolvers(struct syn_agent *agent, const char *path)
{
    FILE *file = fopen(path, "re");
    char line[RESOLV_LINE_MAX];
    size_t count = 0;

    while (file != NULL && count < SYN_INSTANCE_DNS_MAX &&
           fgets(line, sizeof(line), file) != NULL) {
        char address[AGT_RESOLVER_MAX] = "";

        if (sscanf(line, "nameserver %45s", address) != 1 || syn_str_starts(address, "127.") ||
            syn_str_eq(address, "::1") || strchr(address, '%') != NULL)
            continue;
        (void)syn_str_copy(agent->resolvers[count], AGT_RESOLVER_MAX, address);
        agent->dns[count] = agent->resolvers[count];
        count++;
    }
    if (file != NULL)
        (void)fclose(file);
    agent->dns[count] = NULL;
    return count;
}

void
agt_network_open(struct syn_agent *agent)
{
    char dir[AGT_PATH_MAX + 8];
    const struct syn_net_options options = {
        .dir = dir, .services6 = SYN_MESH_NETWORK6, .dns = !syn_str_eq(agent->names_mode, "off")};
    struct syn_err err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/net", agent->data_dir);
    if (syn_net_open(&options, &agent->net, &err) < 0) {
        (void)syn_str_copy(agent->net_missing, sizeof(agent->net_missing), err.msg);
        syn_log_err(SYN_LOG_INFO, "agent.networks-missing", &err);
    }
    /* Where systemd resolves, the first names only itself. */
    if (read_resolvers(agent, RESOLV_CONF) == 0)
        (void)read_resolvers(agent, "/run/systemd/resolve/resolv.conf");
}

void
agt_network_close(struct syn_agent *agent)
{
    agent->net = syn_net_close(agent->net);
}

static bool
is_ours(void *arg, const char *id)
{
    struct syn_agent *agent = arg;
    bool ours;

    (void)pthread_mutex_lock(&agent->lock);
    ours = syn_map_find(agent->instances, id) != NULL;
    (void)pthread_mutex_unlock(&agent->lock);
    return ours || agt_spare_is_ours(agent, id);
}

void
agt_network_sweep(struct syn_agent *agent, bool starting)
{
    struct syn_err err = {0};

    if (agent->net != NULL && syn_net_sweep(agent->net, starting ? is_ours : NULL, agent, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.network-sweep-failed", &err);
}

/* --- names ------------------------------------------------------------------------------------ */

/* Names do without: they stand for this node's replicas then. */
static void
open_mesh(struct syn_agent *agent)
{
    struct syn_err err = {0};
    bool wanted = !syn_str_eq(agent->mesh_listen, "none");

    if (wanted && agt_mesh_new(agent, &agent->mesh, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.mesh-missing", &err);
    if (agent->mesh == NULL && syn_net_divert(agent->net, NULL, 0, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.mesh-left", &err);
}

static int
open_names(struct syn_agent *agent, struct syn_err *err)
{
    struct agt_resolver_options options = {
        .others = syn_str_eq(agent->names_mode, "own") ? AGT_DNS_REFUSE : AGT_DNS_FORWARD,
        .resolv_conf = RESOLV_CONF};
    int rc = syn_net_probe_dns(err);

    if (rc < 0)
        return rc;
    rc = agt_names_new(agent->net, agent->node_id, &agent->names, err);
    options.names = agent->names;
    if (rc == SYN_OK)
        rc = agt_resolver_new(&options, &agent->resolver, err);
    if (rc == SYN_OK)
        open_mesh(agent);
    return rc < 0 ? rc : agt_follower_new(agent, agent->resolver, &agent->follower, err);
}

void
agt_names_open(struct syn_agent *agent)
{
    struct syn_err err = {0};

    if (agent->net == NULL || syn_str_eq(agent->names_mode, "off"))
        return;
    if (open_names(agent, &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "agent.names-missing", &err);
        agt_names_close(agent);
    }
}

void
agt_names_close(struct syn_agent *agent)
{
    agent->follower = agt_follower_free(agent->follower);
    agent->mesh = agt_mesh_free(agent->mesh);
    agent->resolver = agt_resolver_free(agent->resolver);
    agent->names = agt_names_free(agent->names);
}

static void
enter_mesh(struct syn_agent *agent, const char *id, const struct syn_net_place *place,
           const json_t *doc)
{
    const char *workload = syn_json_str(json_object_get(doc, "spec"), "workload", "");
    struct agt_mesh_caller caller = {.service = ""};
    struct syn_err err = {0};

    (void)syn_str_copy(caller.instance, sizeof(caller.instance), id);
    (void)syn_str_copy(caller.address, sizeof(caller.address), place->address4);
    (void)syn_str_copy(caller.address6, sizeof(caller.address6), place->address6);
    (void)syn_str_copy(caller.account, sizeof(caller.account), syn_json_str(doc, "account", ""));
    (void)syn_str_copy(caller.label, sizeof(caller.label), syn_json_str(doc, "account_name", ""));
    if (syn_str_eq(workload, "service"))
        (void)syn_service_of_instance(id, caller.service);
    if (agt_mesh_enter(agent->mesh, &caller, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.no-mesh", &err);
}

static void
adopt_one(struct syn_agent *agent, const char *id)
{
    const struct agt_instance *instance;
    struct syn_net_place place;

    /* Not under the agent's lock, which the network's sweep takes under its own. */
    if (syn_net_find(agent->net, id, &place, NULL) != SYN_OK || place.address4[0] == '\0')
        return;
    (void)pthread_mutex_lock(&agent->lock);
    instance = syn_map_find(agent->instances, id);
    if (instance != NULL)
        enter_mesh(agent, id, &place, instance->doc->json);
    (void)pthread_mutex_unlock(&agent->lock);
}

void
agt_mesh_adopt(struct syn_agent *agent)
{
    SYN_SCOPED(syn_free_scope) char(*ids)[SYN_ID_MAX] = NULL;
    struct syn_err err = {0};
    size_t cursor = 0, count = 0;
    const char *id;

    if (agent->mesh == NULL)
        return;
    (void)pthread_mutex_lock(&agent->lock);
    ids = syn_calloc(syn_map_count(agent->instances) + 1, sizeof(*ids));
    while (ids != NULL && syn_map_next(agent->instances, &cursor, &id, NULL))
        (void)syn_str_copy(ids[count++], SYN_ID_MAX, id);
    (void)pthread_mutex_unlock(&agent->lock);
    for (size_t i = 0; i < count; i++)
        adopt_one(agent, ids[i]);
    if (agt_mesh_begin(agent->mesh, &err) < 0)
        syn_log_err(SYN_LOG_ERROR, "agent.no-mesh", &err);
}

void
agt_names_enter(struct agt_instance *instance, const json_t *doc)
{
    const struct syn_runtime_ops *ops = instance->runtime.ops;
    const struct syn_net_place *place = ops->place != NULL ? ops->place(instance->handle) : NULL;
    const json_t *spec = json_object_get(doc, "spec");
    struct agt_asker asker = {.account = ""};
    struct syn_err err = {0};

    if (instance->agent->resolver == NULL || place == NULL || place->gateway4[0] == '\0' ||
        instance->gateway[0] != '\0')
        return;
    (void)syn_str_copy(asker.account, sizeof(asker.account), syn_json_str(doc, "account", ""));
    (void)syn_str_copy(asker.label, sizeof(asker.label), syn_json_str(doc, "account_name", ""));
    if (agt_resolver_enter(instance->agent->resolver, place->gateway4, &asker, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.no-names", &err);
    else
        (void)syn_str_copy(instance->gateway, sizeof(instance->gateway), place->gateway4);
    if (instance->agent->mesh == NULL || place->address4[0] == '\0')
        return;
    enter_mesh(instance->agent, instance->id, place, doc);
    /* Calls to a function come by its gateway, which needs no mesh. */
    instance->enters_mesh = syn_str_eq(syn_json_str(spec, "workload", ""), "service") &&
                            agt_start_wanted(doc)[0] == '\0';
}

void
agt_names_leave(struct agt_instance *instance)
{
    if (instance->gateway[0] != '\0')
        agt_resolver_leave(instance->agent->resolver, instance->gateway);
    if (instance->agent->mesh != NULL)
        agt_mesh_leave(instance->agent->mesh, instance->id);
    instance->gateway[0] = '\0';
}

void
agt_names_await(const struct agt_instance *instance)
{
    if (instance->gateway[0] != '\0' &&
        !agt_resolver_await(instance->agent->resolver, instance->gateway, AGT_DNS_KNOWN_MS))
        syn_log_kv(SYN_LOG_WARN, "instance.names-unknown", "instance", instance->id, NULL);
}
