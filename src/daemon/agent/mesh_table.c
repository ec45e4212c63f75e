/* The table of a node's mesh: a backend for each pair of a caller that runs here and a service that
 * it may call, so that HAProxy's own counters are those of the pair; and one for each service that
 * runs here, for calls of other nodes, where both ends ask again who may call.
 *
 * What a service allows is written for the incoming front as names with a wildcard: callers of
 * other nodes need not be known here. */
#include "mesh_priv.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/workload/service_mesh.h>
#include <synor/workload/service_spec.h>

#define CHECK_MS   2000
#define IN_HOLD_MS 2000
#define ERRORS_MAX 1000
#define WEIGHT     8 /* of a replica, where no share is said */
#define TEXT_MAX   512

struct agt_mesh_chunk {
    struct agt_mesh_chunk *next;
    alignas(max_align_t) char data[];
};

/* A service, read. Text is the document's. */
struct service {
    const json_t *doc;
    const char *id, *label, *name, *peer; /* peer: its name in TLS */
    const char *address;                  /* "10.127.0.1:80"; NULL: it has none */
    bool tcp;
};

/* Who calls: a service, or what else an account runs. */
struct party {
    const char *subject; /* the id of the one or the other */
    const char *label, *service, *name;
    bool shown; /* it has a certificate */
};

/* Lists that grow while the table is made. */
struct list {
    void *items;
    size_t count, cap;
};

struct make {
    const struct agt_mesh_world *world;
    struct agt_mesh_table *out;
    struct service *services;
    size_t service_count;
    struct list ids; /* of the services that are diverted */
    struct list parties, backends, pairs, certs, diverts, callers;
    struct list out_http, out_tcp, in_http, in_tcp; /* struct syn_balancer_pair */
    struct list cert_ids;
    struct syn_err *err;
    int rc; /* the first failure */
};

static void *
room(struct make *make, size_t size)
{
    struct agt_mesh_chunk *chunk = syn_calloc(1, sizeof(*chunk) + size);

    if (chunk == NULL) {
        make->rc =
            make->rc < 0 ? make->rc : SYN_FAIL(make->err, SYN_E_NOMEM, "no memory for a mesh");
        return NULL;
    }
    chunk->next = make->out->chunks;
    make->out->chunks = chunk;
    return chunk->data;
}

static const char *SYN_PRINTF(2, 3) text(struct make *make, const char *format, ...)
{
    char line[TEXT_MAX];
    va_list args;
    char *copy;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    copy = room(make, strlen(line) + 1);
    if (copy != NULL)
        memcpy(copy, line, strlen(line) + 1);
    return copy == NULL ? "" : copy;
}

/* A zeroed place behind the others, or NULL. */
static void *
push(struct make *make, struct list *list, size_t size)
{
    char *items;

    if (!syn_grow(&list->items, &list->cap, list->count + 1, size)) {
        make->rc =
            make->rc < 0 ? make->rc : SYN_FAIL(make->err, SYN_E_NOMEM, "no memory for a mesh");
        return NULL;
    }
    items = list->items;
    memset(items + list->count * size, 0, size);
    return items + list->count++ * size;
}

static void
push_pair(struct make *make, struct list *list, const char *caller, const char *callee,
          const char *backend)
{
    struct syn_balancer_pair *pair = push(make, list, sizeof(*pair));

    if (pair != NULL)
        *pair = (struct syn_balancer_pair){.caller = caller, .callee = callee, .backend = backend};
}

/* --- services --------------------------------------------------------------------------------- */

static bool
read_service(struct make *make, const json_t *doc, struct service *ret)
{
    const json_t *mesh = json_object_get(doc, "mesh");
    const char *address = syn_json_str(doc, "address", "");
    int64_t port = syn_json_i64(doc, "port", 0);

    *ret = (struct service){
        .doc = doc,
        .id = syn_json_str(doc, "id", ""),
        .label = syn_json_str(doc, "account_name", ""),
        .name = syn_json_str(doc, "name", ""),
        .peer = syn_json_str(mesh, "name", ""),
        .tcp = syn_str_eq(syn_json_str(mesh, "protocol", ""),
                          syn_service_protocol_name(SYN_SERVICE_TCP)),
    };
    if (address[0] != '\0' && port > 0 && port <= UINT16_MAX)
        ret->address = text(make, "%s:%u", address, (unsigned)port);
    return ret->peer[0] != '\0';
}

static void
read_services(struct make *make)
{
    const struct agt_mesh_world *world = make->world;
    size_t cursor = 0;
    void *value;

    make->services = room(make, (syn_map_count(world->services) + 1) * sizeof(*make->services));
    while (make->rc == SYN_OK && syn_map_next(world->services, &cursor, NULL, &value)) {
        struct service *service = &make->services[make->service_count];
        struct syn_net_divert *divert;
        const char **id;

        if (!read_service(make, value, service))
            continue;
        make->service_count++;
        if (service->address == NULL)
            continue;
        divert = push(make, &make->diverts, sizeof(*divert));
        id = push(make, &make->ids, sizeof(*id));
        if (id != NULL)
            *id = service->id;
        if (divert != NULL)
            *divert = (struct syn_net_divert){.address = syn_json_str(value, "address", ""),
                                              .port = (uint16_t)syn_json_i64(value, "port", 0),
                                              .to = service->tcp ? world->fronts.out_tcp
                                                                 : world->fronts.out_http};
    }
}

static const struct service *
find_service(const struct make *make, const char *id)
{
    for (size_t i = 0; i < make->service_count; i++)
        if (syn_str_eq(make->services[i].id, id))
            return &make->services[i];
    return NULL;
}

/* --- callers ---------------------------------------------------------------------------------- */

/* The party that a caller belongs to, made when it is the first; NULL: its name is not known yet.
 */
static const struct party *
party_of(struct make *make, const struct agt_mesh_caller *caller)
{
    bool replica = caller->service[0] != '\0';
    const char *subject = replica ? caller->service : caller->account;
    const struct service *service = replica ? find_service(make, subject) : NULL;
    char name[SYN_MESH_NAME_SIZE];
    struct syn_mesh_party words;
    struct party *party = make->parties.items;

    for (size_t i = 0; i < make->parties.count; i++, party++)
        if (syn_str_eq(party->subject, subject))
            return party;
    if (replica && service == NULL)
        return NULL;
    party = push(make, &make->parties, sizeof(*party));
    if (party == NULL)
        return NULL;
    *party = (struct party){.subject = subject,
                            .label = replica ? service->label : caller->label,
                            .service = replica ? service->name : NULL,
                            .shown = make->world->authority != NULL &&
                                     syn_map_find(make->world->identities, subject) != NULL};
    words = (struct syn_mesh_party){.account = party->label, .service = party->service};
    party->name = text(make, "%s", syn_mesh_name(&words, name));
    return party;
}

static void
read_callers(struct make *make)
{
    size_t cursor = 0;
    void *value;

    while (make->rc == SYN_OK && syn_map_next(make->world->callers, &cursor, NULL, &value)) {
        const struct agt_mesh_caller *caller = value;
        const struct party *party = party_of(make, caller);
        struct syn_balancer_caller *row;

        if (party == NULL || make->callers.count >= SYN_BALANCER_CALLERS_MAX)
            continue;
        row = push(make, &make->callers, sizeof(*row));
        if (row != NULL)
            *row = (struct syn_balancer_caller){caller->address, party->name};
    }
}

/* --- servers ---------------------------------------------------------------------------------- */

static bool
gets_requests(const json_t *row)
{
    const char *state = syn_json_str(row, "state", "");

    return syn_json_bool(row, "ready", false) && !syn_str_eq(state, "draining") &&
           !syn_str_eq(state, "standby");
}

static unsigned
weight_of(const json_t *row)
{
    int64_t weight = syn_json_i64(row, "weight", 0);

    return weight > 0 ? (unsigned)SYN_MIN(weight, (int64_t)SYN_BALANCER_WEIGHT_MAX) : WEIGHT;
}

/* Where another node hears calls of the service: TCP at the port behind that of HTTP. */
static const char *
peer_address(struct make *make, const struct service *service, const char *front)
{
    const char *colon = strrchr(front, ':');
    uint64_t port;

    if (!service->tcp || colon == NULL ||
        syn_parse_u64(colon + 1, 1, UINT16_MAX - 1, "the port", &port, NULL) < 0)
        return front;
    return text(make, "%.*s:%u", (int)(colon - front), front, (unsigned)port + 1);
}

/* One more replica behind a peer. */
static bool
join_peer(struct syn_balancer_server *servers, size_t count, const char *node, unsigned weight)
{
    for (size_t i = 0; i < count; i++) {
        if (!servers[i].peer || !syn_str_eq(servers[i].id, node))
            continue;
        servers[i].weight =
            (unsigned)SYN_MIN(servers[i].weight + weight, (unsigned)SYN_BALANCER_WEIGHT_MAX);
        return true;
    }
    return false;
}

/* Those that get requests: replicas here, and with `peers` the nodes that have others. */
static void
add_servers(struct make *make, const struct service *service, bool peers,
            struct syn_balancer_backend *backend)
{
    const json_t *rows = json_object_get(service->doc, "endpoints"), *row;
    struct syn_balancer_server *servers =
        room(make, (json_array_size(rows) + 1) * sizeof(*servers));
    size_t i, count = 0;

    json_array_foreach (rows, i, row) {
        const char *node = syn_json_str(row, "node", ""), *front = syn_json_str(row, "mesh", "");
        const char *address = syn_json_str(row, "address", "");
        bool here = syn_str_eq(node, make->world->node);

        if (servers == NULL || !gets_requests(row) || (!here && (!peers || front[0] == '\0')) ||
            (!here && join_peer(servers, count, node, weight_of(row))))
            continue;
        if (here)
            address = text(make, strchr(address, ':') == NULL ? "%s:%lld" : "[%s]:%lld", address,
                           (long long)syn_json_i64(row, "port", 0));
        else
            address = peer_address(make, service, front);
        servers[count++] =
            (struct syn_balancer_server){.id = here ? syn_json_str(row, "instance", "") : node,
                                         .address = address,
                                         .weight = weight_of(row),
                                         .peer = !here};
    }
    backend->servers = servers;
    backend->server_count = count;
}

/* --- who calls whom --------------------------------------------------------------------------- */

static struct syn_balancer_backend *
push_backend(struct make *make, const struct service *service, const char *id)
{
    struct syn_balancer_backend *backend = push(make, &make->backends, sizeof(*backend));
    const char *protocol = syn_json_str(json_object_get(service->doc, "mesh"), "protocol", "");

    if (backend == NULL)
        return NULL;
    backend->id = id;
    backend->mode = service->tcp ? SYN_BALANCER_TCP : SYN_BALANCER_HTTP;
    if (!service->tcp && !syn_str_eq(protocol, syn_service_protocol_name(SYN_SERVICE_HTTP)))
        backend->protocol = SYN_BALANCER_H2;
    return backend;
}

/* What the service asks for those who call it. */
static void
set_policy(const struct service *service, struct syn_balancer_backend *backend)
{
    const json_t *mesh = json_object_get(service->doc, "mesh");
    int64_t timeout_ms = syn_json_i64(mesh, "timeout_ms", 0), rate = syn_json_i64(mesh, "rate", 0);
    int64_t retries = syn_json_i64(mesh, "retries", -1);
    int64_t errors = syn_json_i64(mesh, "errors_max", 0);

    if (timeout_ms > 0 && timeout_ms <= SYN_BALANCER_WAIT_MAX_MS)
        backend->response_ms = (unsigned)timeout_ms;
    if (rate > 0 && rate <= SYN_BALANCER_RATE_MAX && !service->tcp)
        backend->rate_max = (unsigned)rate;
    /* What it takes out comes back by a check, so those here are checked, too. */
    if (errors > 0 && errors <= ERRORS_MAX) {
        backend->health.errors_max = (unsigned)errors;
        backend->health.peers_only = false;
    }
    if (retries == 0)
        backend->retries = -1;
    else if (retries > 0 && retries <= 10)
        backend->retries = (int)retries;
}

static void
add_out(struct make *make, const struct party *party, const struct service *service)
{
    const char *id = text(make, "%s/%s", party->subject, service->id);
    int64_t hold_ms = syn_json_i64(json_object_get(service->doc, "mesh"), "hold_ms", 0);
    struct syn_balancer_backend *backend;
    struct agt_mesh_pair *pair;

    if (make->pairs.count >= AGT_MESH_PAIRS_MAX) {
        make->out->left_out++;
        return;
    }
    backend = push_backend(make, service, id);
    pair = push(make, &make->pairs, sizeof(*pair));
    if (backend == NULL || pair == NULL)
        return;
    add_servers(make, service, party->shown, backend);
    backend->cert = party->subject;
    backend->peer_name = service->peer;
    backend->hold_ms = hold_ms > 0 ? (unsigned)SYN_MIN(hold_ms, (int64_t)SYN_BALANCER_WAIT_MAX_MS)
                                   : AGT_MESH_HOLD_MS;
    make->out->asleep += hold_ms > 0 && backend->server_count == 0;
    backend->health = (struct syn_balancer_health){
        .check = SYN_BALANCER_CHECK_TCP, .interval_ms = CHECK_MS, .rise = 1, .peers_only = true};
    set_policy(service, backend);
    *pair = (struct agt_mesh_pair){id, party->name, text(make, "%s", service->peer)};
    push_pair(make, service->tcp ? &make->out_tcp : &make->out_http, party->name, service->address,
              id);
}

/* One entry of what a service allows, as names of certificates. */
static void
allow_entry(struct make *make, struct list *list, const struct service *service, const char *entry,
            const char *backend)
{
    const char *slash = strchr(entry, '/');
    const char *name = slash != NULL ? slash + 1 : entry;
    int len = slash != NULL ? (int)(slash - entry) : (int)strlen(service->label);
    const char *account = slash != NULL ? entry : service->label;

    if (syn_str_eq(entry, "*")) {
        push_pair(make, list, "*", service->peer, backend);
    } else if (syn_str_eq(name, slash != NULL ? "*" : "own")) {
        push_pair(make, list, text(make, "*.%.*s.mesh", len, account), service->peer, backend);
        push_pair(make, list, text(make, "%.*s.mesh", len, account), service->peer, backend);
    } else {
        push_pair(make, list, text(make, "%s.%.*s.mesh", name, len, account), service->peer,
                  backend);
    }
}

static int
by_caller(const void *a, const void *b)
{
    const struct syn_balancer_pair *left = a, *right = b;

    return strcmp(left->caller, right->caller);
}

/* Two entries may say the same. `from`: where the service's begin. */
static void
drop_doubles(struct list *list, size_t from)
{
    struct syn_balancer_pair *pairs = list->items;
    size_t kept = from;

    if (list->count <= from)
        return;
    qsort(pairs + from, list->count - from, sizeof(*pairs), by_caller);
    for (size_t i = from; i < list->count; i++)
        if (i == from || strcmp(pairs[i].caller, pairs[kept - 1].caller) != 0)
            pairs[kept++] = pairs[i];
    list->count = kept;
}

/* Calls of other nodes to a service that runs here and has its certificate. */
static void
add_in(struct make *make, const struct service *service)
{
    const json_t *allow = json_object_get(json_object_get(service->doc, "mesh"), "allow"), *entry;
    struct list *list = service->tcp ? &make->in_tcp : &make->in_http;
    const char *id = text(make, "in/%s", service->id);
    struct syn_balancer_backend *backend;
    size_t i, from = list->count;

    if (syn_map_find(make->world->identities, service->id) == NULL)
        return;
    backend = push_backend(make, service, id);
    if (backend == NULL)
        return;
    backend->client = SYN_BALANCER_CLIENT_NONE; /* the caller's node has told it */
    backend->hold_ms = IN_HOLD_MS;
    add_servers(make, service, false, backend);
    json_array_foreach (allow, i, entry)
        if (json_is_string(entry))
            allow_entry(make, list, service, json_string_value(entry), id);
    drop_doubles(list, from);
}

static void
add_pairs(struct make *make)
{
    for (size_t i = 0; make->rc == SYN_OK && i < make->service_count; i++) {
        const struct service *service = &make->services[i];
        const json_t *allow = json_object_get(json_object_get(service->doc, "mesh"), "allow");
        const struct party *party = make->parties.items;

        if (service->address == NULL)
            continue;
        for (size_t k = 0; make->rc == SYN_OK && k < make->parties.count; k++, party++) {
            const struct syn_mesh_party caller = {.account = party->label,
                                                  .service = party->service};

            if (syn_mesh_allows(allow, service->label, &caller))
                add_out(make, party, service);
        }
        if (make->world->authority != NULL)
            add_in(make, service);
    }
}

/* --- all of it -------------------------------------------------------------------------------- */

static void
add_certs(struct make *make)
{
    size_t cursor = 0;
    const char *id;
    void *pem;

    while (make->rc == SYN_OK && make->world->authority != NULL &&
           syn_map_next(make->world->identities, &cursor, &id, &pem)) {
        struct syn_balancer_cert *cert = push(make, &make->certs, sizeof(*cert));
        const char **name = push(make, &make->cert_ids, sizeof(*name));

        if (cert == NULL || name == NULL)
            return;
        *cert = (struct syn_balancer_cert){id, pem, strlen(pem)};
        *name = id;
    }
}

/* The array of a list, which moves into the table's memory. */
static void *
settle(struct make *make, const struct list *list, size_t size)
{
    void *items = room(make, (list->count + 1) * size);

    if (items != NULL && list->count > 0)
        memcpy(items, list->items, list->count * size);
    return items;
}

static void
add_fronts(struct make *make)
{
    const struct agt_mesh_fronts *at = &make->world->fronts;
    struct syn_balancer_table *table = &make->out->table;
    struct syn_balancer_frontend *fronts = room(make, 4 * sizeof(*fronts));
    const struct syn_balancer_caller *callers =
        settle(make, &make->callers, sizeof(struct syn_balancer_caller));
    const char *const *ids = settle(make, &make->cert_ids, sizeof(const char *));
    const struct {
        const char *id, *address;
        enum syn_balancer_mesh mesh;
        enum syn_balancer_mode mode;
        const struct list *pairs;
    } rows[] = {
        {"out-http", text(make, "0.0.0.0:%u", at->out_http), SYN_BALANCER_MESH_OUT,
         SYN_BALANCER_HTTP, &make->out_http},
        {"out-tcp", text(make, "0.0.0.0:%u", at->out_tcp), SYN_BALANCER_MESH_OUT, SYN_BALANCER_TCP,
         &make->out_tcp},
        {"in-http", at->in_http, SYN_BALANCER_MESH_IN, SYN_BALANCER_HTTP, &make->in_http},
        {"in-tcp", at->in_tcp, SYN_BALANCER_MESH_IN, SYN_BALANCER_TCP, &make->in_tcp},
    };

    for (size_t i = 0; fronts != NULL && i < SYN_LEN(rows); i++) {
        bool in = rows[i].mesh == SYN_BALANCER_MESH_IN;

        if (in && make->world->authority == NULL)
            continue;
        fronts[table->frontend_count++] = (struct syn_balancer_frontend){
            .id = rows[i].id,
            .address = rows[i].address,
            .mesh = rows[i].mesh,
            .mode = rows[i].mode,
            .pairs = settle(make, rows[i].pairs, sizeof(struct syn_balancer_pair)),
            .pair_count = rows[i].pairs->count,
            .callers = in ? NULL : callers,
            .caller_count = in ? 0 : make->callers.count,
            .certs = in ? ids : NULL,
            .cert_count = in ? make->cert_ids.count : 0,
        };
    }
    table->frontends = fronts;
}

static void
finish(struct make *make)
{
    struct syn_balancer_table *table = &make->out->table;

    table->backends = settle(make, &make->backends, sizeof(struct syn_balancer_backend));
    table->backend_count = make->backends.count;
    table->certs = settle(make, &make->certs, sizeof(struct syn_balancer_cert));
    table->cert_count = make->certs.count;
    table->authority = make->world->authority;
    add_fronts(make);
    make->out->diverts = settle(make, &make->diverts, sizeof(*make->out->diverts));
    make->out->services = settle(make, &make->ids, sizeof(const char *));
    make->out->divert_count = make->diverts.count;
    make->out->pairs = settle(make, &make->pairs, sizeof(*make->out->pairs));
    make->out->pair_count = make->pairs.count;
}

int
agt_mesh_table_make(const struct agt_mesh_world *world, struct agt_mesh_table *ret,
                    struct syn_err *err)
{
    struct agt_mesh_table table = {.diverts = NULL};
    struct make make = {.world = world, .out = &table, .err = err};
    struct list *const lists[] = {&make.parties, &make.backends, &make.pairs,    &make.certs,
                                  &make.diverts, &make.callers,  &make.out_http, &make.out_tcp,
                                  &make.in_http, &make.in_tcp,   &make.cert_ids, &make.ids};

    read_services(&make);
    read_callers(&make);
    add_pairs(&make);
    add_certs(&make);
    if (make.rc == SYN_OK)
        finish(&make);
    for (size_t i = 0; i < SYN_LEN(lists); i++)
        syn_free(lists[i]->items);
    if (make.rc < 0)
        agt_mesh_table_fini(&table);
    else
        *ret = table;
    return make.rc;
}

void
agt_mesh_table_fini(struct agt_mesh_table *table)
{
    struct agt_mesh_chunk *next;

    for (struct agt_mesh_chunk *chunk = table->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        syn_free(chunk);
    }
    *table = (struct agt_mesh_table){.diverts = NULL};
}
