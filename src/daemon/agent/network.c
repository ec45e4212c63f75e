/* The node's instance networks: opened with the agent, swept when it is known what runs. */
#include <stdio.h>
#include <string.h>

#include <synor/base/log.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define RESOLV_LINE_MAX 512

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
    const struct syn_net_options options = {.dir = dir};
    struct syn_err err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/net", agent->data_dir);
    if (syn_net_open(&options, &agent->net, &err) < 0)
        syn_log_err(SYN_LOG_INFO, "agent.networks-missing", &err);
    /* Where systemd resolves, the first names only itself. */
    if (read_resolvers(agent, "/etc/resolv.conf") == 0)
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
    return ours;
}

void
agt_network_sweep(struct syn_agent *agent, bool starting)
{
    struct syn_err err = {0};

    if (agent->net != NULL && syn_net_sweep(agent->net, starting ? is_ours : NULL, agent, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.network-sweep-failed", &err);
}
