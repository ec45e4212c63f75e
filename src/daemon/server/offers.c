/* What nodes ask for their capacity, and how much of it there is: PATCH /v1/nodes/{id} changes an
 * offer, GET /v1/capacity adds it all up. A lease is made from the offer when an instance is placed
 * (orchestration/cost.h); a changed offer is for those placed afterwards. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/market/lease.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/document.h>

#include "server_priv.h"

/* --- changing an offer ------------------------------------------------------------------------ */

struct offer_change {
    const struct syn_server *server;
    const struct srv_identity *who;
    const json_t *body;
};

/* The prices that are no GPU's: the key of an offer, the item of the price book, and the unit in
 * which the book must sell it, since that is what the key says. */
static const struct {
    const char *key;
    const char *item;
    const char *unit;
} plain_prices[] = {
    {"cpu_core_hour", "cpu", "core-hour"},
    {"memory_gib_hour", "memory", "gb-hour"},
    {"scratch_gib_hour", "scratch", "gb-hour"},
};

static int
check_priced(const struct syn_server *server, const char *key, const char *item, const char *unit,
             struct syn_err *err)
{
    const struct syn_price *row = syn_pricebook_find(server->prices, item);

    if (row == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "offer.%s: the price book does not sell %s", key, item);
    if (!syn_str_eq(row->unit->name, unit))
        return SYN_FAIL(err, SYN_E_INVALID, "offer.%s: the price book sells %s by the %s", key,
                        item, row->unit->name);
    return SYN_OK;
}

static bool
has_model(const json_t *node, const char *list, const char *model)
{
    const json_t *capacity = json_object_get(syn_document_status(node), "capacity");
    const json_t *group;
    size_t i;

    json_array_foreach (json_object_get(capacity, list), i, group)
        if (syn_str_eq(syn_json_str(group, "model", ""), model))
            return true;
    return false;
}

/* One model's price: `text` as it came. */
static int
set_model(const struct offer_change *change, const json_t *node, json_t *models, const char *model,
          const char *text, struct syn_err *err)
{
    char item[SYN_ITEM_MAX];
    char canonical[SYN_FORMAT_MAX];
    int64_t price;
    int rc = SYN_OK;

    if (has_model(node, "gpus_unpriced", model))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "offer.gpu_hour: the price book has no %.31s, so it is not let", model);
    if (!has_model(node, "gpus", model))
        return SYN_FAIL(err, SYN_E_INVALID, "offer.gpu_hour: node %s has no GPU of model \"%.31s\"",
                        syn_document_id(node), model);
    (void)snprintf(item, sizeof(item), "gpu:%.40s", model);
    rc = check_priced(change->server, "gpu_hour", item, "gpu-hour", err);
    if (rc == SYN_OK)
        rc = syn_parse_amount(text, model, &price, err);
    if (rc == SYN_OK && price > SYN_LEASE_PRICE_MAX)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: expected 0..%lld SYNOR an hour", model,
                      (long long)(SYN_LEASE_PRICE_MAX / SYN_SYNOR));
    if (rc < 0)
        return syn_err_wrap(err, rc, "offer.gpu_hour");
    return syn_json_set_str(models, model, syn_format_amount(price, canonical), err);
}

static int
set_models(const struct offer_change *change, const json_t *node, json_t *offer,
           struct syn_err *err)
{
    json_t *given = json_object_get(json_object_get(change->body, "offer"), "gpu_hour");
    const char *model;
    json_t *text;
    SYN_JSON(models);
    int rc = SYN_OK;

    if (json_object_size(given) == 0)
        return SYN_OK;
    models = json_object_get(offer, "gpu_hour") != NULL
                 ? syn_json_copy(json_object_get(offer, "gpu_hour"))
                 : json_object();
    if (models == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an offer");
    json_object_foreach (given, model, text) {
        if (rc == SYN_OK)
            rc = set_model(change, node, models, model, json_string_value(text), err);
    }
    return rc < 0 ? rc : syn_json_set_take(offer, "gpu_hour", SYN_TAKE(models), err);
}

static int
set_plain(const struct offer_change *change, json_t *offer, struct syn_err *err)
{
    const json_t *given = json_object_get(change->body, "offer");
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(plain_prices) && rc == SYN_OK; i++) {
        const char *text = syn_json_str(given, plain_prices[i].key, NULL);

        if (text == NULL)
            continue;
        rc = check_priced(change->server, plain_prices[i].key, plain_prices[i].item,
                          plain_prices[i].unit, err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(offer, plain_prices[i].key, text, err);
    }
    return rc;
}

static int
set_floor(const struct offer_change *change, json_t *offer, struct syn_err *err)
{
    const json_t *given =
        json_object_get(json_object_get(change->body, "offer"), "spot_floor_percent");

    if (!json_is_integer(given))
        return SYN_OK;
    return syn_json_set_i64(offer, "spot_floor_percent", json_integer_value(given), err);
}

/* The machine's own provider says what it asks. */
static int
check_owner(const struct offer_change *change, const json_t *node, struct syn_err *err)
{
    const char *provider = syn_json_str(syn_document_spec(node), "provider", "");

    if (change->who->is_operator || syn_str_eq(provider, change->who->account))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_FORBIDDEN, "node %s belongs to another provider",
                    syn_document_id(node));
}

static int
apply_offer(void *arg, json_t *node, struct syn_err *err)
{
    const struct offer_change *change = arg;
    json_t *spec = syn_document_spec(node);
    json_t *known = json_object_get(spec, "offer");
    bool reset = syn_json_bool(change->body, "reset_offer", false);
    struct syn_node_view view;
    SYN_JSON(offer);
    int rc = check_owner(change, node, err);

    if (rc < 0)
        return rc;
    offer = known != NULL && !reset ? syn_json_deep_copy(known) : json_object();
    if (offer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an offer");
    rc = set_plain(change, offer, err);
    if (rc == SYN_OK)
        rc = set_floor(change, offer, err);
    if (rc == SYN_OK)
        rc = set_models(change, node, offer, err);
    if (rc < 0)
        return rc;
    if (json_object_size(offer) > 0)
        rc = syn_json_set_take(spec, "offer", SYN_TAKE(offer), err);
    else
        (void)json_object_del(spec, "offer");
    if (rc == SYN_OK)
        rc = syn_document_bump(node, err);
    return rc < 0 ? rc : syn_node_view_read(node, &view, err);
}

int
srv_offer_take(const struct syn_server *server, const struct srv_identity *who, const json_t *body,
               json_t *node, struct syn_err *err)
{
    struct offer_change change = {server, who, body};

    return json_object_size(json_object_get(body, "offer")) == 0 ? SYN_OK
                                                                 : apply_offer(&change, node, err);
}

static int
change_node(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct offer_change change = {ctx, srv_identity(req), syn_http_req_json(req)};

    if (json_object_size(json_object_get(change.body, "offer")) == 0 &&
        !syn_json_bool(change.body, "reset_offer", false))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "nothing to change: give a price in offer, or "
                        "reset_offer");
    return srv_node_change(ctx, req, syn_http_req_param(req, "id"), apply_offer, &change, err);
}

/* --- capacity --------------------------------------------------------------------------------- */

/* What there is and what is free of one thing, and its price where that is one. */
struct room {
    int64_t capacity;
    int64_t used;
    int64_t price; /* SYN_NODE_PRICE_BOOK: none */
};

static int
room_json(const struct room *room, json_t **ret, struct syn_err *err)
{
    char price[SYN_FORMAT_MAX];

    return syn_json_pack(
        ret, err, "{s:I, s:I, s:I, s:s?}", "capacity", (json_int_t)room->capacity, "used",
        (json_int_t)room->used, "free", (json_int_t)SYN_MAX(0, room->capacity - room->used),
        "price_hour",
        room->price == SYN_NODE_PRICE_BOOK ? NULL : syn_format_amount(room->price, price));
}

static int
put_room(json_t *row, const char *key, const struct room *room, struct syn_err *err)
{
    json_t *value = NULL;
    int rc = room_json(room, &value, err);

    return rc < 0 ? rc : syn_json_set_take(row, key, value, err);
}

static int
add_card(json_t *list, const char *model, int64_t vram_bytes, const struct room *room,
         struct syn_err *err)
{
    json_t *value = NULL;
    int rc = room_json(room, &value, err);

    if (rc < 0)
        return rc;
    rc = syn_json_append_take(list, value, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(value, "model", model, err);
    if (rc == SYN_OK && vram_bytes > 0)
        rc = syn_json_set_i64(value, "vram_bytes", vram_bytes, err);
    return rc;
}

static int
put_plain(json_t *row, const struct syn_amounts *capacity, const struct syn_amounts *used,
          const struct syn_node_prices *prices, struct syn_err *err)
{
    const struct {
        const char *key;
        struct room room;
    } rows[] = {
        {"cpu_millicores", {capacity->cpu_millicores, used->cpu_millicores, prices->cpu_core}},
        {"memory_bytes", {capacity->memory_bytes, used->memory_bytes, prices->memory_gib}},
        {"scratch_bytes", {capacity->scratch_bytes, used->scratch_bytes, prices->scratch_gib}},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(rows) && rc == SYN_OK; i++)
        rc = put_room(row, rows[i].key, &rows[i].room, err);
    return rc;
}

/* Sums over the nodes that take work. Cards are summed up by model. */
struct summing {
    const struct syn_cluster *cluster;
    json_t *nodes;
    struct syn_amounts capacity;
    struct syn_amounts used;
    json_t *models; /* model -> {"count", "used"} */
    int64_t ready, drained, away;
};

static void
summing_fini(struct summing *summing)
{
    json_decref(summing->nodes);
    json_decref(summing->models);
}

static int
sum_card(struct summing *summing, const struct syn_gpu_group *group, struct syn_err *err)
{
    const json_t *known = json_object_get(summing->models, group->model);
    json_int_t count = syn_json_i64(known, "count", 0) + group->count;
    json_int_t used = syn_json_i64(known, "used", 0) + group->used;
    json_t *sum = NULL;
    int rc = syn_json_pack(&sum, err, "{s:I, s:I}", "count", count, "used", used);

    return rc < 0 ? rc : syn_json_set_take(summing->models, group->model, sum, err);
}

static int
sum_up(struct summing *summing, const struct syn_node_view *node, struct syn_err *err)
{
    int rc = SYN_OK;

    summing->ready += node->state == SYN_NODE_READY && !node->unschedulable;
    summing->drained += node->state == SYN_NODE_READY && node->unschedulable;
    summing->away += node->state != SYN_NODE_READY;
    if (!syn_node_view_open(node))
        return SYN_OK;
    summing->capacity.cpu_millicores += node->capacity.cpu_millicores;
    summing->capacity.memory_bytes += node->capacity.memory_bytes;
    summing->capacity.scratch_bytes += node->capacity.scratch_bytes;
    summing->used.cpu_millicores += node->used.cpu_millicores;
    summing->used.memory_bytes += node->used.memory_bytes;
    summing->used.scratch_bytes += node->used.scratch_bytes;
    for (unsigned i = 0; i < node->gpus_count && rc == SYN_OK; i++)
        rc = sum_card(summing, &node->gpus[i], err);
    return rc;
}

/* Ids of processors whose times come from a profile: they compute nothing at the speed they say. */
static int
put_modelled(json_t *row, const json_t *doc, struct syn_err *err)
{
    json_t *list = json_array();
    const json_t *device;
    size_t i;
    int rc = syn_json_set_take(row, "modelled", list, err);

    json_array_foreach (json_object_get(syn_document_status(doc), "devices"), i, device) {
        if (rc == SYN_OK && syn_str_eq(syn_json_str(device, "driver", ""), "modelled"))
            rc = syn_json_append_take(list, json_string(syn_json_str(device, "id", "?")), err);
    }
    return rc;
}

static int
node_row(struct summing *summing, const struct syn_node_view *node, const json_t *doc,
         struct syn_err *err)
{
    json_t *row = NULL;
    json_t *gpus = NULL;
    int rc = syn_json_pack(
        &row, err, "{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:[]}", "id", node->id, "name",
        syn_json_str(doc, "name", node->id), "region", node->region, "provider", node->provider,
        "state", syn_node_state_name(node->state), "drained", (int)node->unschedulable, "offer",
        json_object_get(syn_document_spec(doc), "offer") != NULL ? 1 : 0, "gpus");

    if (rc < 0)
        return rc;
    rc = syn_json_append_take(summing->nodes, row, err);
    if (rc < 0)
        return rc;
    gpus = json_object_get(row, "gpus");
    rc = put_plain(row, &node->capacity, &node->used, &node->prices, err);
    for (unsigned i = 0; i < node->gpus_count && rc == SYN_OK; i++) {
        const struct syn_gpu_group *group = &node->gpus[i];
        const struct room room = {group->count, group->used, group->price_hour};

        rc = add_card(gpus, group->model, group->vram_bytes, &room, err);
    }
    if (rc == SYN_OK)
        rc = put_modelled(row, doc, err);
    return rc < 0 ? rc : sum_up(summing, node, err);
}

static int
add_node(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct summing *summing = arg;
    const struct syn_node_view *node =
        syn_cluster_find(summing->cluster, syn_document_id(doc)); /* NULL: joined meanwhile */

    (void)key;
    (void)revision;
    return node == NULL ? SYN_OK : node_row(summing, node, doc, err);
}

static int
total_json(const struct summing *summing, json_t **ret, struct syn_err *err)
{
    static const struct syn_node_prices no_prices = {SYN_NODE_PRICE_BOOK, SYN_NODE_PRICE_BOOK,
                                                     SYN_NODE_PRICE_BOOK};
    SYN_JSON(total);
    const char *model;
    json_t *sum;
    int rc = syn_json_pack(&total, err, "{s:{s:I, s:I, s:I}, s:[]}", "nodes", "ready",
                           (json_int_t)summing->ready, "drained", (json_int_t)summing->drained,
                           "away", (json_int_t)summing->away, "gpus");

    if (rc == SYN_OK)
        rc = put_plain(total, &summing->capacity, &summing->used, &no_prices, err);
    if (rc < 0)
        return rc;
    json_object_foreach (summing->models, model, sum) {
        const struct room room = {syn_json_i64(sum, "count", 0), syn_json_i64(sum, "used", 0),
                                  SYN_NODE_PRICE_BOOK};

        if (rc == SYN_OK)
            rc = add_card(json_object_get(total, "gpus"), model, 0, &room, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(total);
    return rc;
}

static int
get_capacity(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    SYN_SCOPED(summing_fini)
    struct summing summing = {.nodes = json_array(), .models = json_object()};
    json_t *total = NULL;
    SYN_JSON(answer);
    int rc = summing.nodes == NULL || summing.models == NULL
                 ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for the capacity")
                 : srv_cluster_read(ctx, &cluster, err);

    summing.cluster = cluster;
    if (rc == SYN_OK)
        rc = srv_each(ctx, "node/", add_node, &summing, err);
    if (rc == SYN_OK)
        rc = total_json(&summing, &total, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:o}", "nodes", summing.nodes, "total", total);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

#define PRICE(name_, help_)                                                                    \
    {                                                                                          \
        .name = (name_), .kind = SYN_FIELD_AMOUNT, .max = SYN_LEASE_PRICE_MAX, .help = (help_) \
    }

static const struct syn_field offer_fields[] = {
    PRICE("cpu_core_hour", "SYNOR for an hour of a core"),
    PRICE("memory_gib_hour", "SYNOR for an hour of 2^30 bytes of memory"),
    PRICE("scratch_gib_hour", "SYNOR for an hour of 2^30 bytes of scratch space"),
    {.name = "gpu_hour",
     .kind = SYN_FIELD_MAP,
     .max = SYN_NODE_GPU_GROUPS_MAX,
     .help = "SYNOR for an hour of one GPU, by its model; a model that the node has"},
    {.name = "spot_floor_percent",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = 100,
     .help = "Spot work pays for processors no less than so much of their price; default 100"},
};
const struct syn_schema srv_offer_schema = SYN_SCHEMA("NodeOffer", offer_fields);

static const struct syn_field change_fields[] = {
    {.name = "offer",
     .kind = SYN_FIELD_OBJ,
     .sub = &srv_offer_schema,
     .help = "Prices to set; the others stay. What is not offered costs what the price book says"},
    {.name = "reset_offer",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "First take every price back to the price book's"},
};
static const struct syn_schema change_schema = SYN_SCHEMA("NodeChange", change_fields);

static const struct syn_http_route rows[] = {
    {.method = "PATCH",
     .pattern = "/v1/nodes/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = change_node,
     .body = &change_schema,
     .name = "nodes.change",
     .summary = "Say what the node's provider asks; for what is placed from now on"},
    {.method = "GET",
     .pattern = "/v1/capacity",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_capacity,
     .name = "capacity",
     .summary = "What every node has, has free, and asks for it; and in total"},
};

const struct srv_routes srv_offer_routes = {rows, SYN_LEN(rows)};
