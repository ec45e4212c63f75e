/* Virtual addresses: what the name of a service stands for on every node, wherever its replicas
 * are.
 *
 *     "service-address/10.127.3.4"      the id of the service whose it is
 *
 * A service with a port has one until it is deleted, written in the same transaction as the
 * service, so that no two have the same. Where the search begins is the service's own, by its id:
 * an address that was let go is not the next one's at once, whose clients may still remember it. */
#include <arpa/inet.h>

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_mesh.h>

#include "mesh_priv.h"

#define DEFAULT_NETWORK "10.127.0.0/16"
#define PREFIX_MIN      8
#define PREFIX_MAX      30
#define OFFSET          1 /* the first address is the network's, the last one everybody's */

static const char *
text_of(uint32_t address, char out[INET_ADDRSTRLEN])
{
    const struct in_addr in = {htonl(address)};

    (void)inet_ntop(AF_INET, &in, out, INET_ADDRSTRLEN);
    return out;
}

/* Does it touch any of what means something else to a node? */
static bool
is_taken(uint32_t base, unsigned prefix)
{
    static const struct {
        uint32_t base;
        unsigned prefix;
    } others[] = {
        {0x00000000, 8},  /* this network */
        {0x7F000000, 8},  /* loopback */
        {0xA9FE0000, 16}, /* link-local: clouds keep their machines' secrets there */
        {0x0A800000, 9},  /* instances have their own from here */
        {0xE0000000, 3},  /* multicast, and what is left */
    };

    for (size_t i = 0; i < SYN_LEN(others); i++) {
        unsigned shift = 32 - SYN_MIN(prefix, others[i].prefix);

        if (base >> shift == others[i].base >> shift)
            return true;
    }
    return false;
}

int
srv_network_parse(const char *text, struct srv_network *ret, struct syn_err *err)
{
    const char *slash = strchr(text, '/');
    char address[INET_ADDRSTRLEN];
    struct in_addr in;
    uint64_t prefix;
    uint32_t base;

    (void)snprintf(address, sizeof(address), "%.*s", slash != NULL ? (int)(slash - text) : 0, text);
    if (slash == NULL || inet_pton(AF_INET, address, &in) != 1 ||
        syn_parse_u64(slash + 1, PREFIX_MIN, PREFIX_MAX, "", &prefix, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--service-network: \"%.40s\": expected a network of IPv4 of /%d to /%d "
                        "such as " DEFAULT_NETWORK,
                        text, PREFIX_MIN, PREFIX_MAX);
    base = ntohl(in.s_addr);
    if ((base & (UINT32_MAX >> prefix)) != 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--service-network: %.40s is an address within a network: the bits behind "
                        "its prefix must be 0",
                        text);
    if (is_taken(base, (unsigned)prefix))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--service-network: %.40s holds addresses that have another meaning on "
                        "nodes: loopback, link-local, multicast, or instances' 10.128.0.0/9",
                        text);
    *ret = (struct srv_network){base, (unsigned)prefix};
    return SYN_OK;
}

static uint32_t
count_of(const struct srv_network *network)
{
    return (UINT32_MAX >> network->prefix) + 1 - 2 * OFFSET;
}

static bool
is_within(const struct srv_network *network, const char *text)
{
    struct in_addr in;

    return inet_pton(AF_INET, text, &in) == 1 &&
           ntohl(in.s_addr) - network->base - OFFSET < count_of(network);
}

static uint32_t
begin_at(const char *id, uint32_t count)
{
    uint8_t digest[SYN_SHA256_LEN];

    syn_sha256(id, strlen(id), digest);
    return ((uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 |
            digest[3]) %
           count;
}

static const char *
address_of(const json_t *service)
{
    return syn_json_str(syn_document_status(service), SRV_VIRTUAL, "");
}

static const char *
address_key(char *out, const char *address)
{
    return srv_key(out, "service-address", address, NULL);
}

/* The address of IPv6 beside the one that it has. */
static int
tell_six(json_t *service, struct syn_err *err)
{
    char address[SYN_MESH_SIZE6];

    return syn_mesh_address6(address_of(service), address)
               ? syn_json_set_str(syn_document_status(service), SRV_VIRTUAL6, address, err)
               : SYN_OK;
}

static bool
has_all(const struct syn_server *server, const json_t *service)
{
    return is_within(&server->services, address_of(service)) &&
           json_object_get(syn_document_status(service), SRV_VIRTUAL6) != NULL;
}

/* An address that is nobody's into the service. */
static int
give(struct syn_server *server, struct srv_txn *txn, json_t *service, struct syn_err *err)
{
    const struct srv_network *network = &server->services;
    uint32_t count = count_of(network), from = begin_at(syn_document_id(service), count);
    char address[INET_ADDRSTRLEN], key[SRV_KEY_MAX];

    for (uint32_t i = 0; i < count; i++) {
        SYN_JSON(owner);
        int rc = srv_load(server,
                          address_key(key, text_of(network->base + OFFSET +
                                                       (uint32_t)(((uint64_t)from + i) % count),
                                                   address)),
                          &owner, NULL, err);

        if (rc == SYN_OK)
            continue;
        if (rc == SRV_ABSENT)
            rc = srv_txn_check(txn, key, 0, err);
        if (rc == SYN_OK)
            rc = srv_txn_put_text(txn, key, syn_document_id(service), err);
        return rc < 0 ? rc
                      : syn_json_set_str(syn_document_status(service), SRV_VIRTUAL, address, err);
    }
    return SYN_FAIL(err, SYN_E_LIMIT,
                    "no address is left for another service: %s/%u has %u (synor up "
                    "--service-network); delete a service, or give none a port",
                    text_of(network->base, address), network->prefix, count);
}

int
srv_virtual_take(struct srv_txn *txn, const json_t *service, struct syn_err *err)
{
    char key[SRV_KEY_MAX];

    if (address_of(service)[0] == '\0')
        return SYN_OK;
    return srv_txn_delete(txn, address_key(key, address_of(service)), err);
}

int
srv_virtual_give(struct syn_server *server, struct srv_txn *txn, json_t *service,
                 struct syn_err *err)
{
    bool wants = syn_json_i64(syn_document_spec(service), "port", 0) > 0;
    int rc = SYN_OK;

    if (wants && is_within(&server->services, address_of(service)))
        return tell_six(service, err);
    rc = srv_virtual_take(txn, service, err);
    (void)json_object_del(syn_document_status(service), SRV_VIRTUAL);
    (void)json_object_del(syn_document_status(service), SRV_VIRTUAL6);
    if (rc == SYN_OK && wants)
        rc = give(server, txn, service, err);
    return rc < 0 ? rc : tell_six(service, err);
}

/* --- at the start ----------------------------------------------------------------------------- */

static int
give_one(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(service);
    int rc = srv_load(server, srv_key(key, "service", arg, NULL), &service, &revision, err);

    if (rc != SYN_OK)
        return rc;
    rc = srv_virtual_give(server, txn, service, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, service, err);
}

/* A service of before there were such addresses, or when they were of another network. */
static int
see_service(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_server *server = arg;
    char id[SYN_ID_MAX];
    struct syn_err why = {0};

    (void)revision;
    (void)err;
    if (syn_json_i64(syn_document_spec(doc), "port", 0) == 0 || has_all(server, doc))
        return SYN_OK;
    (void)syn_str_copy(id, sizeof(id), strrchr(key, '/') + 1);
    if (srv_change(server, "the service", give_one, id, NULL, &why) < 0)
        syn_log_err(SYN_LOG_WARN, "server.no-service-address", &why);
    return SYN_OK;
}

int
srv_virtual_open(struct syn_server *server, const char *network, struct syn_err *err)
{
    int rc = srv_network_parse(network != NULL ? network : DEFAULT_NETWORK, &server->services, err);

    return rc < 0 ? rc : srv_each(server, "service/", see_service, server, err);
}
