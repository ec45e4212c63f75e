/* The servers of a mesh's table: replicas of this node, and other nodes that have some. */
#include <math.h>
#include <stdalign.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "mesh_make_priv.h"

#define WEIGHT   8 /* of a replica, where no share is said */
#define TEXT_MAX 512
#define SAME     1e-9 /* of two parts */

struct agt_mesh_chunk {
    struct agt_mesh_chunk *next;
    alignas(max_align_t) char data[];
};

void *
agt_make_room(struct make *make, size_t size)
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

const char *
agt_make_text(struct make *make, const char *format, ...)
{
    char line[TEXT_MAX];
    va_list args;
    char *copy;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    copy = agt_make_room(make, strlen(line) + 1);
    if (copy != NULL)
        memcpy(copy, line, strlen(line) + 1);
    return copy == NULL ? "" : copy;
}

void *
agt_make_push(struct make *make, struct list *list, size_t size)
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

/* --- servers ---------------------------------------------------------------------------------- */

/* Of a version that is asked for, those that stand by do too. */
static bool
gets_requests(const json_t *row, int64_t version)
{
    const char *state = syn_json_str(row, "state", "");

    if (version > 0)
        return syn_json_i64(row, "version", 0) == version && !syn_str_eq(state, "draining") &&
               (syn_json_bool(row, "ready", false) || syn_str_eq(state, "standby"));
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
    return agt_make_text(make, "%.*s:%u", (int)(colon - front), front, (unsigned)port + 1);
}

struct pool {
    struct syn_balancer_server *servers;
    size_t count;
};

/* One more replica behind a peer. `from`: where the target's begin. */
static bool
join_peer(struct pool *pool, size_t from, const char *id, unsigned weight)
{
    for (size_t i = from; i < pool->count; i++) {
        if (!pool->servers[i].peer || !syn_str_eq(pool->servers[i].id, id))
            continue;
        pool->servers[i].weight += weight;
        return true;
    }
    return false;
}

static struct syn_balancer_server
replica_of(struct make *make, const json_t *row)
{
    const char *address = syn_json_str(row, "address", "");

    return (struct syn_balancer_server){
        .id = syn_json_str(row, "instance", ""),
        .address = agt_make_text(make, strchr(address, ':') == NULL ? "%s:%lld" : "[%s]:%lld",
                                 address, (long long)syn_json_i64(row, "port", 0)),
        .weight = weight_of(row)};
}

/* A node with replicas, as its mesh is asked for them. */
static struct syn_balancer_server
peer_of(struct make *make, const struct target *target, const json_t *row, const char *id)
{
    const char *name = target->service->peer;

    return (struct syn_balancer_server){
        .id = id,
        .address = peer_address(make, target->service, syn_json_str(row, "mesh", "")),
        .weight = weight_of(row),
        .peer = true,
        .peer_name = target->mark != NULL ? name : NULL,
        .peer_sni = target->version > 0
                        ? agt_make_text(make, "v%lld.%s", (long long)target->version, name)
                        : NULL};
}

/* Those of the target that get requests: replicas here, and with `peers` the nodes that have
 * others. */
static void
gather(struct make *make, const struct target *target, bool peers, struct pool *pool)
{
    const json_t *rows = json_object_get(target->service->doc, "endpoints"), *row;
    size_t i, from = pool->count;

    json_array_foreach (rows, i, row) {
        const char *node = syn_json_str(row, "node", ""), *id = node;

        if (!gets_requests(row, target->version))
            continue;
        if (syn_str_eq(node, make->world->node)) {
            pool->servers[pool->count++] = replica_of(make, row);
            continue;
        }
        if (!peers || syn_json_str(row, "mesh", "")[0] == '\0')
            continue;
        if (target->mark != NULL)
            id = agt_make_text(make, "%s/%s", node, target->mark);
        if (!join_peer(pool, from, id, weight_of(row)))
            pool->servers[pool->count++] = peer_of(make, target, row, id);
    }
}

/* From parts to the weights of a proxy, which are small whole numbers. */
static unsigned
weight_at(double share, double scale)
{
    double weight = round(share * scale);

    return weight < 1 ? 1 : (unsigned)SYN_MIN(weight, (double)SYN_BALANCER_WEIGHT_MAX);
}

/* By how much the parts miss, in all, when the largest has the weight `top`. */
static double
missed(const double *shares, size_t count, double sum, double scale)
{
    double all = 0, off = 0;

    for (size_t i = 0; i < count; i++)
        all += weight_at(shares[i], scale);
    for (size_t i = 0; i < count; i++)
        off += fabs(weight_at(shares[i], scale) / all - shares[i] / sum);
    return off;
}

void
agt_mesh_weigh(struct syn_balancer_server *servers, const double *shares, size_t count)
{
    double sum = 0, largest = 0, best = INFINITY, scale = 1;

    for (size_t i = 0; i < count; i++) {
        sum += shares[i];
        largest = fmax(largest, shares[i]);
    }
    for (unsigned top = 1; top <= SYN_BALANCER_WEIGHT_MAX && best > SAME; top++) {
        double off = missed(shares, count, sum, top / largest);

        if (off < best - SAME) {
            best = off;
            scale = top / largest;
        }
    }
    for (size_t i = 0; i < count; i++)
        servers[i].weight = weight_at(shares[i], scale);
}

static void
take_pool(const struct make *make, const struct pool *pool, struct syn_balancer_backend *backend)
{
    for (size_t i = 0; i < pool->count; i++)
        pool->servers[i].weight =
            SYN_MIN(pool->servers[i].weight, (unsigned)SYN_BALANCER_WEIGHT_MAX);
    agt_breakers_lay(make->world->breakers, backend->id, pool->servers, pool->count);
    backend->servers = pool->servers;
    backend->server_count = pool->count;
}

static size_t
rows_of(const struct target *target)
{
    return json_array_size(json_object_get(target->service->doc, "endpoints"));
}

void
agt_make_servers(struct make *make, const struct target *target, bool peers,
                 struct syn_balancer_backend *backend)
{
    struct pool pool = {.servers =
                            agt_make_room(make, (rows_of(target) + 1) * sizeof(*pool.servers))};

    if (pool.servers != NULL)
        gather(make, target, peers, &pool);
    take_pool(make, &pool, backend);
}

void
agt_make_shared(struct make *make, const struct target *targets, size_t count, bool peers,
                struct syn_balancer_backend *backend)
{
    struct pool pool = {.count = 0};
    double *shares;
    size_t most = 1;

    for (size_t i = 0; i < count; i++)
        most += rows_of(&targets[i]);
    pool.servers = agt_make_room(make, most * sizeof(*pool.servers));
    shares = agt_make_room(make, most * sizeof(*shares));
    if (pool.servers == NULL || shares == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        size_t from = pool.count;
        double sum = 0;

        gather(make, &targets[i], peers, &pool);
        for (size_t k = from; k < pool.count; k++)
            sum += pool.servers[k].weight;
        for (size_t k = from; k < pool.count; k++)
            shares[k] = targets[i].weight * (pool.servers[k].weight / sum);
    }
    if (count > 1 && pool.count > 0)
        agt_mesh_weigh(pool.servers, shares, pool.count);
    take_pool(make, &pool, backend);
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
