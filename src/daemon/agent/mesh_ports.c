/* Where a node's mesh listens: ports that are chosen once, and the address of which others hear. */
#include "mesh_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "agent_priv.h"

#define PORTS_FROM 20000
#define PORTS_TO   32000
#define PORT_PAIRS 2 /* out and in, of two ports each */

static bool
is_free(const char *host, unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd, rc;

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return false;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
    if (rc == 0) /* one that listens is told only now */
        rc = listen(fd, 1);
    if (fd >= 0)
        (void)close(fd);
    return rc == 0;
}

/* A port that is free, with the next one; the search begins at another place for every folder. */
static unsigned
free_ports(const char *host, const char *dir, unsigned behind)
{
    unsigned start = 0, span = (PORTS_TO - PORTS_FROM) / 2;

    for (const char *c = dir; *c != '\0'; c++)
        start = start * 31 + (unsigned char)*c;
    for (unsigned i = 0; i < span; i++) {
        unsigned port = PORTS_FROM + 2 * ((start + i) % span);

        if (port > behind + 1 && is_free(host, port) && is_free(host, port + 1))
            return port;
    }
    return 0;
}

static void
ports_path(const struct syn_agent *agent, char out[AGT_PATH_MAX])
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/mesh/ports", agent->data_dir);
}

/* "OUT IN": what was chosen stays, so that the HAProxy of an earlier agent has it already. */
static bool
read_ports(const struct syn_agent *agent, unsigned ret[PORT_PAIRS])
{
    char path[AGT_PATH_MAX];
    FILE *file;
    bool good;

    ports_path(agent, path);
    file = fopen(path, "re");
    /* NOLINTNEXTLINE(cert-err34-c): what is out of range is not taken */
    good = file != NULL && fscanf(file, "%5u %5u", &ret[0], &ret[1]) == 2;
    if (file != NULL)
        (void)fclose(file);
    return good && ret[0] >= PORTS_FROM && ret[0] < PORTS_TO && ret[1] >= PORTS_FROM &&
           ret[1] < PORTS_TO;
}

/* Where other nodes come to: as it was said, or at the address by which the server is reached. */
static void
choose_listen(const struct syn_agent *agent, unsigned port, struct agt_mesh_fronts *fronts)
{
    const char *said = agent->mesh_listen;
    char host[AGT_MESH_ADDRESS_SIZE] = "";
    uint64_t own = port;

    if (said == NULL)
        agt_line_source(agent->server, host);
    else if (syn_parse_u64(strrchr(said, ':') + 1, 1, UINT16_MAX - 1, "", &own, NULL) == SYN_OK)
        (void)snprintf(host, sizeof(host), "%.*s", (int)(strrchr(said, ':') - said), said);
    (void)snprintf(fronts->in_http, sizeof(fronts->in_http), "%.50s:%u", host, (unsigned)own);
    (void)snprintf(fronts->in_tcp, sizeof(fronts->in_tcp), "%.50s:%u", host, (unsigned)own + 1);
}

int
agt_mesh_ports(const struct syn_agent *agent, bool anew, struct agt_mesh_fronts *fronts,
               struct syn_err *err)
{
    unsigned ports[PORT_PAIRS];
    char path[AGT_PATH_MAX], line[32];
    int rc;

    if (anew || !read_ports(agent, ports)) {
        ports[0] = free_ports("0.0.0.0", agent->data_dir, 0);
        ports[1] = free_ports("0.0.0.0", agent->data_dir, ports[0]);
        if (ports[0] == 0 || ports[1] == 0)
            return SYN_FAIL(err, SYN_E_LIMIT, "no port is free for the mesh");
        ports_path(agent, path);
        (void)snprintf(line, sizeof(line), "%u %u\n", ports[0], ports[1]);
        rc = agt_replace_file(path, line, strlen(line), err);
        if (rc < 0)
            return rc;
    }
    *fronts = (struct agt_mesh_fronts){
        .out_http = (uint16_t)ports[0], .out_tcp = (uint16_t)(ports[0] + 1), .six = fronts->six};
    choose_listen(agent, ports[1], fronts);
    return SYN_OK;
}
