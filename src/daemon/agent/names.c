/* Names and what stands behind them. Where the node has a mesh, a service's name stands for its
 * virtual address, which leads to its replicas wherever they are. Without one it stands for those
 * of this node: bridges of two nodes are not joined, so that the others' addresses lead nowhere
 * from here (or, worse, to an instance of this node that has the same). */
#include "names_priv.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>
#include <synor/workload/service_mesh.h>

#define KEY_MAX     128 /* "NAME.ACCOUNT", with the NUL */
#define PORT_LABEL  "_tcp"
#define DIGITS_MAX  9
#define TARGET_SIZE (KEY_MAX + 32)

struct replica {
    int64_t number;
    bool has4, has6;
    uint8_t address4[4], address6[16];
};

struct service {
    char id[SYN_ID_MAX];
    char account[SYN_NET_ACCOUNT_MAX + 1];
    char label[SYN_NET_ACCOUNT_MAX + 1]; /* what the account is called */
    char key[KEY_MAX];
    uint16_t port;
    bool has_virtual, has_virtual6;
    uint8_t virtual4[4], virtual6[16];
    json_t *allow; /* who may call it; NULL: its own account */
    unsigned turn; /* who stands first next time */
    size_t count;
    struct replica replicas[]; /* by number */
};

struct agt_names {
    struct syn_net *net;
    char node[SYN_ID_MAX];
    pthread_mutex_t lock;     /* guards what follows */
    struct syn_map *served;   /* ids of those whose virtual addresses lead to them; or NULL */
    bool six;                 /* those of IPv6 do, too */
    struct syn_map *services; /* id: struct service, owned */
    struct syn_map *by_key;   /* key: the same */
};

/* ---- what is told ---- */

static void
read_address(const char *text, struct replica *replica)
{
    replica->has4 = replica->has4 || inet_pton(AF_INET, text, replica->address4) == 1;
    replica->has6 = replica->has6 || inet_pton(AF_INET6, text, replica->address6) == 1;
}

/* Is it a replica that can be reached from here? */
static bool
read_replica(const struct agt_names *names, const json_t *endpoint, struct replica *ret)
{
    struct syn_net_place place;

    *ret = (struct replica){.number = syn_json_i64(endpoint, "replica", -1)};
    if (!syn_json_bool(endpoint, "ready", false) || ret->number < 0 ||
        !syn_str_eq(syn_json_str(endpoint, "node", ""), names->node))
        return false;
    read_address(syn_json_str(endpoint, "address", ""), ret);
    if (names->net != NULL &&
        syn_net_find(names->net, syn_json_str(endpoint, "instance", ""), &place, NULL) == SYN_OK) {
        read_address(place.address4, ret);
        read_address(place.address6, ret);
    }
    return ret->has4 || ret->has6;
}

static void
service_free(void *arg)
{
    struct service *service = arg;

    if (service != NULL)
        json_decref(service->allow);
    syn_free(service);
}

static void
insert(struct service *service, const struct replica *replica)
{
    size_t at = service->count++;

    for (; at > 0 && service->replicas[at - 1].number > replica->number; at--)
        service->replicas[at] = service->replicas[at - 1];
    service->replicas[at] = *replica;
}

static int
read_service(const struct agt_names *names, const json_t *doc, struct service **ret,
             struct syn_err *err)
{
    const json_t *endpoints = json_object_get(doc, "endpoints");
    const char *name = syn_json_str(doc, "name", ""), *id = syn_json_str(doc, "id", "");
    const char *account = syn_json_str(doc, "account", "");
    const char *label = syn_json_str(doc, "account_name", "");
    int64_t port = syn_json_i64(doc, "port", 0);
    size_t room = SYN_MIN(json_array_size(endpoints), (size_t)AGT_NAMES_REPLICAS);
    char address6[SYN_MESH_SIZE6];
    struct service *service;
    const json_t *endpoint;
    size_t i;

    if (!syn_name_ok(name) || !syn_name_ok(id) || !syn_name_ok(account) || !syn_name_ok(label))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server named a service \"%.60s\" of \"%.60s\"",
                        name, label);
    service = syn_calloc(1, sizeof(*service) + room * sizeof(service->replicas[0]));
    if (service == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the names of %s", id);
    (void)syn_str_copy(service->id, sizeof(service->id), id);
    (void)syn_str_copy(service->account, sizeof(service->account), account);
    (void)syn_str_copy(service->label, sizeof(service->label), label);
    (void)snprintf(service->key, sizeof(service->key), "%s.%s", name, label);
    service->has_virtual =
        inet_pton(AF_INET, syn_json_str(doc, "address", ""), service->virtual4) == 1;
    service->has_virtual6 = syn_mesh_address6(syn_json_str(doc, "address", ""), address6) &&
                            inet_pton(AF_INET6, address6, service->virtual6) == 1;
    service->allow = syn_json_deep_copy(json_object_get(json_object_get(doc, "mesh"), "allow"));
    service->port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
    json_array_foreach (endpoints, i, endpoint) {
        struct replica replica;

        if (service->count < room && read_replica(names, endpoint, &replica))
            insert(service, &replica);
    }
    *ret = service;
    return SYN_OK;
}

/* Under the lock. One that is called the same may have come since. */
static void
drop(struct agt_names *names, const char *id)
{
    const struct service *service = syn_map_find(names->services, id);

    if (service == NULL)
        return;
    if (syn_map_find(names->by_key, service->key) == service)
        (void)syn_map_remove(names->by_key, service->key);
    (void)syn_map_remove(names->services, id);
}

int
agt_names_put(struct agt_names *names, const json_t *doc, struct syn_err *err)
{
    struct service *service = NULL;
    const struct service *before;
    int rc = read_service(names, doc, &service, err);

    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&names->lock);
    before = syn_map_find(names->services, service->id);
    if (before != NULL)
        service->turn = before->turn;
    drop(names, service->id);
    if (syn_map_count(names->services) >= AGT_NAMES_MAX) {
        rc =
            SYN_FAIL(err, SYN_E_LIMIT, "%s: this node knows %d names", service->key, AGT_NAMES_MAX);
        service_free(service);
    } else {
        rc = syn_map_put_take(names->services, service->id, service, err);
        if (rc == SYN_OK)
            rc = syn_map_put_take(names->by_key, service->key, service, err);
    }
    (void)pthread_mutex_unlock(&names->lock);
    return rc;
}

void
agt_names_remove(struct agt_names *names, const char *id)
{
    (void)pthread_mutex_lock(&names->lock);
    drop(names, id);
    (void)pthread_mutex_unlock(&names->lock);
}

void
agt_names_keep(struct agt_names *names, struct syn_map *named)
{
    size_t cursor = 0;
    const char *id;

    (void)pthread_mutex_lock(&names->lock);
    while (syn_map_next(names->services, &cursor, &id, NULL)) {
        if (syn_map_find(named, id) == NULL)
            drop(names, id);
    }
    (void)pthread_mutex_unlock(&names->lock);
}

void
agt_names_serve_take(struct agt_names *names, struct syn_map *ids, bool six)
{
    struct syn_map *before;

    (void)pthread_mutex_lock(&names->lock);
    before = names->served;
    names->served = ids;
    names->six = six;
    (void)pthread_mutex_unlock(&names->lock);
    (void)syn_map_free(before);
}

/* ---- what is asked ---- */

bool
agt_names_own(const char *name)
{
    size_t len = strlen(name), zone = strlen(AGT_NAMES_ZONE);

    return len >= zone && syn_str_eq(name + len - zone, AGT_NAMES_ZONE) &&
           (len == zone || name[len - zone - 1] == '.');
}

/* What a name stands for. */
struct found {
    enum { NOTHING, EMPTY, SERVICE, REPLICA, PORT } kind; /* EMPTY: there are names below it */
    struct service *service;
    size_t index; /* of the replica */
};

/* "_8080._tcp" for its port, or "_tcp". */
static void
find_port(const char *text, struct found *found)
{
    char own[32];

    if (found->service->port == 0)
        return;
    (void)snprintf(own, sizeof(own), "_%u." PORT_LABEL, found->service->port);
    if (syn_str_eq(text, own))
        found->kind = PORT;
    else if (syn_str_eq(text, PORT_LABEL))
        found->kind = EMPTY;
}

/* "3": one way to write each number. */
static void
find_replica(const char *text, struct found *found)
{
    size_t len = strspn(text, "0123456789");
    int64_t number = 0;

    if (len == 0 || text[len] != '\0' || len > DIGITS_MAX || (text[0] == '0' && len > 1))
        return;
    for (; *text != '\0'; text++)
        number = number * 10 + (*text - '0');
    for (size_t i = 0; i < found->service->count; i++) {
        if (found->service->replicas[i].number == number) {
            found->kind = REPLICA;
            found->index = i;
        }
    }
}

/* Does its name stand for its virtual address? */
static bool
is_virtual(const struct agt_names *names, const struct service *service)
{
    return service->has_virtual && names->served != NULL &&
           syn_map_find(names->served, service->id) != NULL;
}

/* Who may not call a service need not know of it. What is not of the asker's account is reached
 * through the mesh alone. */
static bool
may_see(const struct agt_names *names, const struct agt_asker *asker, const struct service *service)
{
    if (!is_virtual(names, service))
        return syn_str_eq(service->account, asker->account);
    return syn_mesh_allows_account(service->allow, service->label, asker->label);
}

/* Under the lock. `text` is what stands before ".synor": "web.acme", "3.web.acme". */
static void
find_below(const struct agt_names *names, const struct agt_asker *asker, const char *text,
           struct found *found)
{
    const char *key = strrchr(text, '.');
    char before[SYN_DNS_NAME_MAX + 1];

    while (key > text && key[-1] != '.')
        key--;
    found->service = syn_map_find(names->by_key, key);
    if (found->service == NULL || !may_see(names, asker, found->service))
        return;
    if (key == text) {
        found->kind = SERVICE;
        return;
    }
    (void)snprintf(before, sizeof(before), "%.*s", (int)(key - text) - 1, text);
    find_port(before, found);
    if (syn_str_eq(found->service->account, asker->account))
        find_replica(before, found);
}

/* Is there anything in the account of this name? Nobody asks that often. */
static bool
is_account(const struct agt_names *names, const struct agt_asker *asker, const char *label)
{
    size_t cursor = 0;
    void *service;

    if (syn_str_eq(label, asker->label))
        return true;
    while (syn_map_next(names->services, &cursor, NULL, &service)) {
        if (syn_str_eq(((const struct service *)service)->label, label) &&
            may_see(names, asker, service))
            return true;
    }
    return false;
}

static void
find(const struct agt_names *names, const struct agt_asker *asker, const char *name,
     struct found *found)
{
    char text[SYN_DNS_NAME_MAX + 1];

    *found = (struct found){.kind = NOTHING};
    (void)syn_str_copy(text, sizeof(text), name);
    text[strlen(text) - strlen(AGT_NAMES_ZONE)] = '\0';
    if (text[0] == '\0') {
        found->kind = EMPTY;
        return;
    }
    text[strlen(text) - 1] = '\0';
    if (strchr(text, '.') != NULL)
        find_below(names, asker, text, found);
    else if (is_account(names, asker, text))
        found->kind = EMPTY;
}

static bool
asks(const struct syn_dns_query *query, enum syn_dns_type type)
{
    return query->type == type || query->type == SYN_DNS_ANY;
}

static void
add_addresses(const struct syn_dns_query *query, const struct replica *replica,
              struct syn_dns_answer *answer)
{
    if (replica->has4 && asks(query, SYN_DNS_A))
        syn_dns_answer_address(answer, replica->address4, sizeof(replica->address4),
                               AGT_NAMES_TTL_S);
    if (replica->has6 && asks(query, SYN_DNS_AAAA))
        syn_dns_answer_address(answer, replica->address6, sizeof(replica->address6),
                               AGT_NAMES_TTL_S);
}

static const char *
target(const struct service *service, const struct replica *replica, char out[TARGET_SIZE])
{
    (void)snprintf(out, TARGET_SIZE, "%lld.%s." AGT_NAMES_ZONE, (long long)replica->number,
                   service->key);
    return out;
}

static void
add_places(const struct service *service, unsigned first, struct syn_dns_answer *answer)
{
    char name[TARGET_SIZE];

    for (size_t i = 0; i < service->count; i++) {
        const struct replica *replica = &service->replicas[(first + i) % service->count];

        syn_dns_answer_srv(answer, target(service, replica, name), service->port, AGT_NAMES_TTL_S);
    }
    for (size_t i = 0; i < service->count; i++) {
        const struct replica *replica = &service->replicas[(first + i) % service->count];

        (void)target(service, replica, name);
        if (replica->has4)
            syn_dns_answer_extra(answer, name, replica->address4, sizeof(replica->address4),
                                 AGT_NAMES_TTL_S);
        if (replica->has6)
            syn_dns_answer_extra(answer, name, replica->address6, sizeof(replica->address6),
                                 AGT_NAMES_TTL_S);
    }
}

/* One address of each family, and one place to be served. */
static void
add_virtual(const struct found *found, bool six, const struct syn_dns_query *query,
            struct syn_dns_answer *answer)
{
    const struct service *service = found->service;
    bool has6 = six && service->has_virtual6;
    char name[TARGET_SIZE];

    if (found->kind == SERVICE && asks(query, SYN_DNS_A))
        syn_dns_answer_address(answer, service->virtual4, sizeof(service->virtual4),
                               AGT_NAMES_TTL_S);
    if (found->kind == SERVICE && has6 && asks(query, SYN_DNS_AAAA))
        syn_dns_answer_address(answer, service->virtual6, sizeof(service->virtual6),
                               AGT_NAMES_TTL_S);
    if (found->kind != PORT || !asks(query, SYN_DNS_SRV))
        return;
    (void)snprintf(name, sizeof(name), "%s." AGT_NAMES_ZONE, service->key);
    syn_dns_answer_srv(answer, name, service->port, AGT_NAMES_TTL_S);
    syn_dns_answer_extra(answer, name, service->virtual4, sizeof(service->virtual4),
                         AGT_NAMES_TTL_S);
    if (has6)
        syn_dns_answer_extra(answer, name, service->virtual6, sizeof(service->virtual6),
                             AGT_NAMES_TTL_S);
}

static void
add_found(const struct agt_names *names, const struct found *found,
          const struct syn_dns_query *query, struct syn_dns_answer *answer)
{
    struct service *service = found->service;
    unsigned first = 0;

    if (found->kind == REPLICA)
        add_addresses(query, &service->replicas[found->index], answer);
    if (found->kind != SERVICE && found->kind != PORT)
        return;
    if (is_virtual(names, service)) {
        add_virtual(found, names->six, query, answer);
        return;
    }
    if (service->count == 0)
        return;
    /* By number, and each time another one first: for who always takes that. */
    first = service->turn++ % (unsigned)service->count;
    for (size_t i = 0; found->kind == SERVICE && i < service->count; i++)
        add_addresses(query, &service->replicas[(first + i) % service->count], answer);
    if (found->kind == PORT && asks(query, SYN_DNS_SRV))
        add_places(service, first, answer);
}

enum syn_dns_code
agt_names_answer(struct agt_names *names, const struct agt_asker *asker,
                 const struct syn_dns_query *query, struct syn_dns_answer *answer)
{
    struct found found;

    assert(agt_names_own(query->name));
    (void)pthread_mutex_lock(&names->lock);
    find(names, asker, query->name, &found);
    add_found(names, &found, query, answer);
    (void)pthread_mutex_unlock(&names->lock);
    if (answer->answers == 0)
        syn_dns_answer_authority(answer, AGT_NAMES_ZONE, AGT_NAMES_TTL_S);
    return found.kind == NOTHING ? SYN_DNS_NXDOMAIN : SYN_DNS_NOERROR;
}

/* ---- beginning and end ---- */

int
agt_names_new(struct syn_net *net, const char *node, struct agt_names **ret, struct syn_err *err)
{
    struct agt_names *names = syn_calloc(1, sizeof(*names));
    int rc;

    if (names == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for names");
    names->net = net;
    (void)syn_str_copy(names->node, sizeof(names->node), node);
    (void)pthread_mutex_init(&names->lock, NULL);
    rc = syn_map_new(service_free, &names->services, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &names->by_key, err);
    if (rc < 0)
        (void)agt_names_free(names);
    else
        *ret = names;
    return rc;
}

struct agt_names *
agt_names_free(struct agt_names *names)
{
    if (names == NULL)
        return NULL;
    names->by_key = syn_map_free(names->by_key);
    names->services = syn_map_free(names->services);
    names->served = syn_map_free(names->served);
    (void)pthread_mutex_destroy(&names->lock);
    syn_free(names);
    return NULL;
}
