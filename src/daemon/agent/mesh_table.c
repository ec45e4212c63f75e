/* The table of a node's mesh: a backend for each pair of a caller that runs here and a service that
 * it may call, so that HAProxy's own counters are those of the pair; and one for each service that
 * runs here, for calls of other nodes, where both ends ask again who may call.
 *
 * What a service allows is written for the incoming front as names with a wildcard: callers of
 * other nodes need not be known here. */
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/workload/service_mesh.h>
#include <synor/workload/service_spec.h>

#include "mesh_make_priv.h"

#define CHECK_MS     2000
#define IN_HOLD_MS   5000
#define ERRORS_MAX   1000
#define VERSIONS_MAX 16 /* of one service that run at once */

static void
push_route(struct make *make, struct list *list, const struct syn_balancer_pair *what)
{
    struct syn_balancer_pair *pair = agt_make_push(make, list, sizeof(*pair));

    if (pair != NULL)
        *pair = *what;
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
        ret->address = agt_make_text(make, "%s:%u", address, (unsigned)port);
    return ret->peer[0] != '\0';
}

static void
divert(struct make *make, const struct service *service, const char *address)
{
    const struct agt_mesh_fronts *fronts = &make->world->fronts;
    struct syn_net_divert *row = agt_make_push(make, &make->diverts, sizeof(*row));
    const char **id = agt_make_push(make, &make->ids, sizeof(*id));

    if (id != NULL)
        *id = service->id;
    if (row != NULL)
        *row = (struct syn_net_divert){.address = address,
                                       .port = (uint16_t)syn_json_i64(service->doc, "port", 0),
                                       .to = service->tcp ? fronts->out_tcp : fronts->out_http};
}

/* Its address of IPv6, as a caller's connection comes to the front. */
static void
add_address6(struct make *make, struct service *service)
{
    const struct agt_mesh_fronts *fronts = &make->world->fronts;
    char address[SYN_MESH_SIZE6];

    if (!fronts->six || !syn_mesh_address6(syn_json_str(service->doc, "address", ""), address))
        return;
    service->address6 = agt_make_text(
        make, "[%s]:%u", address, (unsigned)(service->tcp ? fronts->out_tcp : fronts->out_http));
    divert(make, service, agt_make_text(make, "%s", address));
}

static void
read_services(struct make *make)
{
    const struct agt_mesh_world *world = make->world;
    size_t cursor = 0;
    void *value;

    make->services =
        agt_make_room(make, (syn_map_count(world->services) + 1) * sizeof(*make->services));
    while (make->rc == SYN_OK && syn_map_next(world->services, &cursor, NULL, &value)) {
        struct service *service = &make->services[make->service_count];

        if (!read_service(make, value, service))
            continue;
        make->service_count++;
        if (service->address == NULL)
            continue;
        divert(make, service, syn_json_str(value, "address", ""));
        add_address6(make, service);
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
    party = agt_make_push(make, &make->parties, sizeof(*party));
    if (party == NULL)
        return NULL;
    *party = (struct party){.subject = subject,
                            .label = replica ? service->label : caller->label,
                            .service = replica ? service->name : NULL,
                            .shown = make->world->authority != NULL &&
                                     syn_map_find(make->world->identities, subject) != NULL};
    words = (struct syn_mesh_party){.account = party->label, .service = party->service};
    party->name = agt_make_text(make, "%s", syn_mesh_name(&words, name));
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
        row = agt_make_push(make, &make->callers, sizeof(*row));
        if (row != NULL)
            *row = (struct syn_balancer_caller){caller->address, party->name};
        if (!make->world->fronts.six || caller->address6[0] == '\0')
            continue;
        row = agt_make_push(make, &make->callers6, sizeof(*row));
        if (row != NULL)
            *row = (struct syn_balancer_caller){caller->address6, party->name};
    }
}

/* --- who calls whom --------------------------------------------------------------------------- */

static struct syn_balancer_backend *
push_backend(struct make *make, const struct service *service, const char *id)
{
    struct syn_balancer_backend *backend = agt_make_push(make, &make->backends, sizeof(*backend));
    const char *protocol = syn_json_str(json_object_get(service->doc, "mesh"), "protocol", "");

    if (backend == NULL)
        return NULL;
    backend->id = id;
    backend->mode = service->tcp ? SYN_BALANCER_TCP : SYN_BALANCER_HTTP;
    if (!service->tcp && !syn_str_eq(protocol, syn_service_protocol_name(SYN_SERVICE_HTTP)))
        backend->protocol = SYN_BALANCER_H2;
    return backend;
}

static void
set_retries(int64_t retries, struct syn_balancer_backend *backend)
{
    if (retries == 0)
        backend->retries = -1;
    else if (retries > 0 && retries <= 10)
        backend->retries = (int)retries;
}

/* How often it is tried again, and how much of all may be. */
static void
set_budget(const struct service *service, struct syn_balancer_backend *backend)
{
    const json_t *mesh = json_object_get(service->doc, "mesh");
    int64_t percent = syn_json_i64(mesh, "retry_budget", SYN_MESH_RETRY_PERCENT);

    set_retries(syn_json_i64(mesh, "retries", -1), backend);
    if (!service->tcp && percent >= 0 && percent < 100)
        backend->retry_percent = percent == 0 ? -1 : (int)percent;
}

/* What the service asks for those who call it. */
static void
set_policy(const struct service *service, struct syn_balancer_backend *backend)
{
    const json_t *mesh = json_object_get(service->doc, "mesh");
    int64_t timeout_ms = syn_json_i64(mesh, "timeout_ms", 0), rate = syn_json_i64(mesh, "rate", 0);
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
    set_budget(service, backend);
}

static int64_t
hold_of(const struct service *service)
{
    return syn_json_i64(json_object_get(service->doc, "mesh"), "hold_ms", 0);
}

/* A backend of a pair, without servers; NULL: there are too many, or no memory. */
static struct syn_balancer_backend *
push_out(struct make *make, const struct party *party, const struct service *service,
         const char *id, unsigned route, struct agt_mesh_pair **ret)
{
    int64_t percent = syn_json_i64(json_object_get(service->doc, "mesh"), "break_at", 0);
    unsigned break_percent = service->tcp || percent < 1 || percent > 100 ? 0 : (unsigned)percent;
    struct syn_balancer_backend *backend;
    struct syn_balancer_pair pair;

    if (make->pairs.count >= AGT_MESH_PAIRS_MAX) {
        make->out->left_out++;
        return NULL;
    }
    backend = push_backend(make, service, id);
    *ret = agt_make_push(make, &make->pairs, sizeof(**ret));
    if (backend == NULL || *ret == NULL)
        return NULL;
    backend->cert = party->subject;
    backend->peer_name = service->peer;
    backend->health = (struct syn_balancer_health){
        .check = SYN_BALANCER_CHECK_TCP, .interval_ms = CHECK_MS, .rise = 1, .peers_only = true};
    set_policy(service, backend);
    **ret = (struct agt_mesh_pair){.backend = id,
                                   .caller = party->name,
                                   .callee = agt_make_text(make, "%s", service->peer),
                                   .route = route,
                                   .break_percent = break_percent};
    pair = (struct syn_balancer_pair){
        .caller = party->name, .callee = service->address, .backend = id, .route = route};
    push_route(make, service->tcp ? &make->out_tcp : &make->out_http, &pair);
    pair.callee = service->address6;
    if (pair.callee != NULL)
        push_route(make, service->tcp ? &make->out_tcp6 : &make->out_http6, &pair);
    return backend;
}

/* Who is to be woken, and how long that may take. */
static void
set_hold(struct make *make, const struct target *targets, size_t count,
         struct syn_balancer_backend *backend, struct agt_mesh_pair *pair)
{
    const char **wakes = agt_make_room(make, (count + 1) * sizeof(*wakes));
    int64_t hold_ms = 0;

    for (size_t i = 0; wakes != NULL && i < count; i++) {
        int64_t own_ms = hold_of(targets[i].service);

        hold_ms = SYN_MAX(hold_ms, own_ms);
        if (own_ms > 0)
            wakes[pair->wake_count++] = agt_make_text(make, "%s", targets[i].service->id);
    }
    pair->wakes = wakes;
    pair->servers = backend->server_count;
    backend->hold_ms = hold_ms > 0 ? (unsigned)SYN_MIN(hold_ms, (int64_t)SYN_BALANCER_WAIT_MAX_MS)
                                   : AGT_MESH_HOLD_MS;
    make->out->asleep += pair->wake_count > 0 && backend->server_count == 0;
}

static void
add_out(struct make *make, const struct party *party, const struct service *service)
{
    const struct target target = {.service = service};
    struct agt_mesh_pair *pair = NULL;
    struct syn_balancer_backend *backend = push_out(
        make, party, service, agt_make_text(make, "%s/%s", party->subject, service->id), 0, &pair);

    if (backend == NULL)
        return;
    agt_make_servers(make, &target, party->shown, backend);
    set_hold(make, &target, 1, backend, pair);
}

/* --- routes ----------------------------------------------------------------------------------- */

static const json_t *
routes_of(const struct service *service)
{
    return service->tcp ? NULL : json_object_get(json_object_get(service->doc, "mesh"), "routes");
}

static bool
may_call(const struct party *party, const struct service *service)
{
    const struct syn_mesh_party caller = {.account = party->label, .service = party->service};

    return syn_mesh_allows(json_object_get(json_object_get(service->doc, "mesh"), "allow"),
                           service->label, &caller);
}

static bool
speaks_h2(const struct service *service)
{
    const char *protocol = syn_json_str(json_object_get(service->doc, "mesh"), "protocol", "");

    return !syn_str_eq(protocol, syn_service_protocol_name(SYN_SERVICE_HTTP));
}

/* A service of the same account that requests to `service` could as well go to; NULL: none. */
static const struct service *
stand_in(const struct make *make, const struct service *service, const char *name)
{
    for (size_t i = 0; i < make->service_count; i++) {
        const struct service *other = &make->services[i];

        if (syn_str_eq(other->name, name) && syn_str_eq(other->label, service->label))
            return other->address == NULL || other->tcp || speaks_h2(other) != speaks_h2(service)
                       ? NULL
                       : other;
    }
    return NULL;
}

/* Where a route leads this caller: what it may not call, or is not there, is left out. */
static size_t
read_targets(struct make *make, const struct party *party, const struct service *service,
             const json_t *route, struct target targets[SYN_MESH_TARGETS_MAX])
{
    const json_t *to = json_object_get(route, "to"), *row;
    size_t i, count = 0;

    json_array_foreach (to, i, row) {
        const char *name = syn_json_str(row, "service", NULL);
        int64_t weight = syn_json_i64(row, "weight", 1);
        const struct service *other = name == NULL ? service : stand_in(make, service, name);

        if (count == SYN_MESH_TARGETS_MAX || other == NULL || weight <= 0 ||
            weight > SYN_MESH_WEIGHT_MAX || !may_call(party, other))
            continue;
        targets[count] =
            (struct target){.service = other,
                            .version = name == NULL ? syn_json_i64(row, "version", 0) : 0,
                            .weight = (unsigned)weight,
                            .mark = other->id};
        if (name == NULL)
            targets[count].mark =
                agt_make_text(make, "%s/v%lld", other->id, (long long)targets[count].version);
        count++;
    }
    if (json_array_size(to) == 0)
        targets[count++] = (struct target){.service = service, .weight = 1};
    return count;
}

static void
set_mirror(struct make *make, const struct party *party, const struct service *service,
           const json_t *route, struct syn_balancer_backend *backend)
{
    const json_t *mirror = json_object_get(route, "mirror");
    const struct service *other = stand_in(make, service, syn_json_str(mirror, "service", ""));
    int64_t percent = syn_json_i64(mirror, "percent", 100);

    if (mirror == NULL || other == NULL || !may_call(party, other) || percent < 1 || percent > 100)
        return;
    backend->mirror = agt_make_text(make, "%s/%s", party->subject, other->id);
    backend->mirror_percent = (unsigned)percent;
}

static void
add_route(struct make *make, const struct party *party, const struct service *service,
          unsigned number, const json_t *route)
{
    struct target targets[SYN_MESH_TARGETS_MAX];
    size_t count = read_targets(make, party, service, route, targets);
    int64_t timeout_ms = syn_json_i64(route, "timeout_ms", 0);
    struct agt_mesh_pair *pair = NULL;
    struct syn_balancer_backend *backend;

    if (count == 0) /* refused */
        return;
    backend = push_out(make, party, service,
                       agt_make_text(make, "%s/%s/r%u", party->subject, service->id, number),
                       number, &pair);
    if (backend == NULL)
        return;
    agt_make_shared(make, targets, count, party->shown, backend);
    set_hold(make, targets, count, backend, pair);
    if (timeout_ms > 0 && timeout_ms <= SYN_BALANCER_WAIT_MAX_MS)
        backend->response_ms = (unsigned)timeout_ms;
    set_retries(syn_json_i64(route, "retries", -1), backend);
    set_mirror(make, party, service, route, backend);
}

static void
add_routes(struct make *make, const struct party *party, const struct service *service)
{
    const json_t *route;
    size_t i;

    json_array_foreach (routes_of(service), i, route)
        if (i < SYN_MESH_ROUTES_MAX)
            add_route(make, party, service, (unsigned)i + 1, route);
}

static void
read_headers(struct make *make, const json_t *list, struct syn_balancer_match *match)
{
    struct syn_balancer_header *headers =
        agt_make_room(make, SYN_MESH_MATCH_MAX * sizeof(*headers));
    const json_t *row;
    size_t i;

    json_array_foreach (list, i, row) {
        const char *exact = syn_json_str(row, "exact", NULL);
        const char *prefix = syn_json_str(row, "prefix", NULL);

        if (headers == NULL || i == SYN_MESH_MATCH_MAX)
            break;
        headers[match->header_count++] =
            (struct syn_balancer_header){syn_json_str(row, "name", ""),
                                         exact != NULL    ? SYN_BALANCER_EXACT
                                         : prefix != NULL ? SYN_BALANCER_PREFIX
                                                          : SYN_BALANCER_PRESENT,
                                         exact != NULL ? exact : prefix};
    }
    match->headers = headers;
}

/* Which requests a route takes; the same for all callers. */
static void
add_match(struct make *make, const struct service *service, unsigned number, const json_t *route)
{
    const json_t *said = json_object_get(route, "match"), *row;
    struct syn_balancer_match *match, *six;
    const char **methods;
    size_t i;

    if (make->matches.count >= SYN_BALANCER_MATCHES_MAX) {
        make->out->left_out++;
        return;
    }
    match = agt_make_push(make, &make->matches, sizeof(*match));
    methods = agt_make_room(make, SYN_MESH_MATCH_MAX * sizeof(*methods));
    if (match == NULL || methods == NULL)
        return;
    *match = (struct syn_balancer_match){.callee = service->address,
                                         .route = number,
                                         .path = syn_json_str(said, "path_prefix", NULL),
                                         .methods = methods};
    json_array_foreach (json_object_get(said, "methods"), i, row)
        if (i < SYN_MESH_MATCH_MAX)
            methods[match->method_count++] = json_string_value(row);
    read_headers(make, json_object_get(said, "headers"), match);
    six = service->address6 == NULL ? NULL : agt_make_push(make, &make->matches6, sizeof(*six));
    if (six == NULL)
        return;
    *six = *match;
    six->callee = service->address6;
}

static void
add_matches(struct make *make, const struct service *service)
{
    const json_t *route;
    size_t i;

    json_array_foreach (routes_of(service), i, route)
        if (i < SYN_MESH_ROUTES_MAX)
            add_match(make, service, (unsigned)i + 1, route);
}

/* What is sent as well goes to a pair, which may have been one too many. */
static void
drop_lost_mirrors(struct make *make)
{
    struct syn_balancer_backend *backends = make->backends.items;

    for (size_t i = 0; make->out->left_out > 0 && i < make->backends.count; i++) {
        bool found = false;

        for (size_t k = 0; backends[i].mirror != NULL && !found && k < make->backends.count; k++)
            found = syn_str_eq(backends[k].id, backends[i].mirror);
        if (!found)
            backends[i].mirror = NULL;
    }
}

/* --- calls of other nodes --------------------------------------------------------------------- */

static void
push_caller(struct make *make, struct list *list, const struct syn_balancer_pair *to,
            const char *caller)
{
    struct syn_balancer_pair pair = *to;

    pair.caller = caller;
    push_route(make, list, &pair);
}

/* One entry of what a service allows, as names of certificates. */
static void
allow_entry(struct make *make, struct list *list, const struct service *service, const char *entry,
            const struct syn_balancer_pair *to)
{
    const char *slash = strchr(entry, '/');
    const char *name = slash != NULL ? slash + 1 : entry;
    int len = slash != NULL ? (int)(slash - entry) : (int)strlen(service->label);
    const char *account = slash != NULL ? entry : service->label;

    if (syn_str_eq(entry, "*")) {
        push_caller(make, list, to, "*");
    } else if (syn_str_eq(name, slash != NULL ? "*" : "own")) {
        push_caller(make, list, to, agt_make_text(make, "*.%.*s.mesh", len, account));
        push_caller(make, list, to, agt_make_text(make, "%.*s.mesh", len, account));
    } else {
        push_caller(make, list, to, agt_make_text(make, "%s.%.*s.mesh", name, len, account));
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

/* Calls of other nodes to a service that runs here and has its certificate; with a version, to
 * those replicas of it. */
static void
add_in(struct make *make, const struct service *service, int64_t version)
{
    const json_t *allow = json_object_get(json_object_get(service->doc, "mesh"), "allow"), *entry;
    const struct target target = {.service = service, .version = version};
    struct list *list = service->tcp ? &make->in_tcp : &make->in_http;
    const char *id = agt_make_text(make, "in/%s", service->id), *callee = service->peer;
    struct syn_balancer_backend *backend;
    size_t i, from = list->count;

    if (version > 0) {
        id = agt_make_text(make, "%s/v%lld", id, (long long)version);
        callee = agt_make_text(make, "v%lld.%s", (long long)version, callee);
    }
    backend = push_backend(make, service, id);
    if (backend == NULL)
        return;
    backend->client = SYN_BALANCER_CLIENT_NONE; /* the caller's node has told it */
    backend->hold_ms = IN_HOLD_MS;
    set_budget(service, backend);
    agt_make_servers(make, &target, false, backend);
    json_array_foreach (allow, i, entry)
        if (json_is_string(entry))
            allow_entry(make, list, service, json_string_value(entry),
                        &(struct syn_balancer_pair){.callee = callee, .backend = id});
    drop_doubles(list, from);
}

/* Is a version of it asked for by any of its routes? */
static bool
routes_to_versions(const struct service *service)
{
    const json_t *route, *target;
    size_t i, k;

    json_array_foreach (routes_of(service), i, route)
        json_array_foreach (json_object_get(route, "to"), k, target)
            if (json_object_get(target, "version") != NULL)
                return true;
    return false;
}

/* Each version that runs here, before it is asked for: the caller's node may hear first. */
static void
add_in_versions(struct make *make, const struct service *service)
{
    const json_t *rows = json_object_get(service->doc, "endpoints"), *row;
    int64_t done[VERSIONS_MAX];
    size_t i, count = 0;

    json_array_foreach (rows, i, row) {
        int64_t version = syn_json_i64(row, "version", 0);
        bool known = version <= 0 || count == VERSIONS_MAX ||
                     !syn_str_eq(syn_json_str(row, "node", ""), make->world->node);

        for (size_t k = 0; k < count && !known; k++)
            known = done[k] == version;
        if (known)
            continue;
        done[count++] = version;
        add_in(make, service, version);
    }
}

static void
add_pairs(struct make *make)
{
    for (size_t i = 0; make->rc == SYN_OK && i < make->service_count; i++) {
        const struct service *service = &make->services[i];
        const struct party *party = make->parties.items;
        bool called = false;

        if (service->address == NULL)
            continue;
        for (size_t k = 0; make->rc == SYN_OK && k < make->parties.count; k++, party++) {
            if (!may_call(party, service))
                continue;
            add_out(make, party, service);
            add_routes(make, party, service);
            called = true;
        }
        if (called)
            add_matches(make, service);
        if (make->world->authority == NULL ||
            syn_map_find(make->world->identities, service->id) == NULL)
            continue;
        add_in(make, service, 0);
        if (routes_to_versions(service))
            add_in_versions(make, service);
    }
    drop_lost_mirrors(make);
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
        struct syn_balancer_cert *cert = agt_make_push(make, &make->certs, sizeof(*cert));
        const char **name = agt_make_push(make, &make->cert_ids, sizeof(*name));

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
    void *items = agt_make_room(make, (list->count + 1) * size);

    if (items != NULL && list->count > 0)
        memcpy(items, list->items, list->count * size);
    return items;
}

static void
add_fronts(struct make *make)
{
    const struct agt_mesh_fronts *at = &make->world->fronts;
    struct syn_balancer_table *table = &make->out->table;
    struct syn_balancer_frontend *fronts = agt_make_room(make, 6 * sizeof(*fronts));
    const struct syn_balancer_caller *callers =
        settle(make, &make->callers, sizeof(struct syn_balancer_caller));
    const struct syn_balancer_caller *callers6 =
        settle(make, &make->callers6, sizeof(struct syn_balancer_caller));
    const char *const *ids = settle(make, &make->cert_ids, sizeof(const char *));
    const struct syn_balancer_match *matches =
        settle(make, &make->matches, sizeof(struct syn_balancer_match));
    const struct syn_balancer_match *matches6 =
        settle(make, &make->matches6, sizeof(struct syn_balancer_match));
    const struct {
        const char *id, *address;
        enum syn_balancer_mesh mesh;
        enum syn_balancer_mode mode;
        const struct list *pairs;
        bool six;
    } rows[] = {
        {"out-http", agt_make_text(make, "0.0.0.0:%u", at->out_http), SYN_BALANCER_MESH_OUT,
         SYN_BALANCER_HTTP, &make->out_http, false},
        {"out-tcp", agt_make_text(make, "0.0.0.0:%u", at->out_tcp), SYN_BALANCER_MESH_OUT,
         SYN_BALANCER_TCP, &make->out_tcp, false},
        {"out-http6", agt_make_text(make, "[::]:%u", at->out_http), SYN_BALANCER_MESH_OUT,
         SYN_BALANCER_HTTP, &make->out_http6, true},
        {"out-tcp6", agt_make_text(make, "[::]:%u", at->out_tcp), SYN_BALANCER_MESH_OUT,
         SYN_BALANCER_TCP, &make->out_tcp6, true},
        {"in-http", at->in_http, SYN_BALANCER_MESH_IN, SYN_BALANCER_HTTP, &make->in_http, false},
        {"in-tcp", at->in_tcp, SYN_BALANCER_MESH_IN, SYN_BALANCER_TCP, &make->in_tcp, false},
    };

    for (size_t i = 0; fronts != NULL && i < SYN_LEN(rows); i++) {
        bool in = rows[i].mesh == SYN_BALANCER_MESH_IN;
        bool tcp = rows[i].mode == SYN_BALANCER_TCP;

        if ((in && make->world->authority == NULL) || (rows[i].six && !at->six))
            continue;
        fronts[table->frontend_count++] = (struct syn_balancer_frontend){
            .id = rows[i].id,
            .address = rows[i].address,
            .mesh = rows[i].mesh,
            .mode = rows[i].mode,
            .pairs = settle(make, rows[i].pairs, sizeof(struct syn_balancer_pair)),
            .pair_count = rows[i].pairs->count,
            .callers = in            ? NULL
                       : rows[i].six ? callers6
                                     : callers,
            .caller_count = in            ? 0
                            : rows[i].six ? make->callers6.count
                                          : make->callers.count,
            .certs = in ? ids : NULL,
            .cert_count = in ? make->cert_ids.count : 0,
            .matches = in || tcp     ? NULL
                       : rows[i].six ? matches6
                                     : matches,
            .match_count = in || tcp     ? 0
                           : rows[i].six ? make->matches6.count
                                         : make->matches.count,
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
                                  &make.in_http, &make.in_tcp,   &make.cert_ids, &make.ids,
                                  &make.matches, &make.matches6, &make.callers6, &make.out_http6,
                                  &make.out_tcp6};

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
