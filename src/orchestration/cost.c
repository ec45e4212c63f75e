#include <synor/orchestration/cost.h>

#include <synor/base/str.h>
#include <synor/market/budget.h>
#include <synor/orchestration/document.h>

#include "place_priv.h"

static int
capacity_make(const struct syn_amounts *amounts, int64_t gpus, int64_t gpu_permille,
              const char *gpu_model, struct syn_capacity *ret, struct syn_err *err)
{
    *ret = (struct syn_capacity){
        .cpu_millicores = amounts->cpu_millicores,
        .memory_bytes = amounts->memory_bytes,
        .scratch_bytes = amounts->scratch_bytes,
        .gpus = gpus,
        .gpu_permille = gpu_permille,
    };
    if (gpus > 0 && !syn_str_copy(ret->gpu_model, sizeof(ret->gpu_model), gpu_model))
        return SYN_FAIL(err, SYN_E_INVALID, "GPU model \"%s\" is too long", gpu_model);
    return SYN_OK;
}

/* ---- leases ---- */

static int64_t
card_price(const struct syn_node_view *node, const char *model, bool spot)
{
    for (unsigned i = 0; i < node->gpus_count; i++)
        if (syn_str_eq(node->gpus[i].model, model))
            return spot ? node->gpus[i].spot_hour : node->gpus[i].price_hour;
    return SYN_NODE_PRICE_BOOK;
}

/* What holds on `node`, as far as it is known there. */
static int
prices_make(const struct syn_node_view *node, const char *gpu_model, bool spot, bool reserved,
            struct syn_lease *lease, struct syn_err *err)
{
    const struct syn_node_prices *prices = spot ? &node->spot : &node->prices;
    int64_t card = *gpu_model ? card_price(node, gpu_model, spot) : SYN_NODE_PRICE_BOOK;
    char item[SYN_ITEM_MAX];
    const struct {
        const char *item, *unit;
        int64_t price;
    } rows[] = {
        {"cpu", "core-hour", reserved && !*gpu_model ? 0 : prices->cpu_core},
        {"memory", "gb-hour", prices->memory_gib},
        {"scratch", "gb-hour", prices->scratch_gib},
        {item, "gpu-hour", reserved && *gpu_model ? 0 : card},
    };
    int rc = SYN_OK;

    (void)snprintf(item, sizeof(item), "gpu:%s", gpu_model);
    for (size_t i = 0; i < SYN_LEN(rows) && rc == SYN_OK; i++)
        if (rows[i].price != SYN_NODE_PRICE_BOOK)
            rc = syn_lease_set(lease, rows[i].item, rows[i].unit, rows[i].price, err);
    return rc;
}

int
syn_cost_lease(const struct syn_node_view *node, const struct syn_lease_ask *ask, json_t **ret,
               struct syn_err *err)
{
    struct syn_lease lease = {
        .notice_ms = ask->notice_ms,
        .max_price = ask->max_price > 0 ? ask->max_price : SYN_LEASE_NO_MAX,
        .since_ms = ask->now_ms,
    };
    int rc = prices_make(node, ask->gpu_model, ask->spot, ask->reserved, &lease, err);

    if (rc < 0)
        return rc;
    if (!syn_str_copy(lease.provider, sizeof(lease.provider), node->provider) ||
        !syn_str_copy(lease.kind, sizeof(lease.kind),
                      ask->spot       ? "spot"
                      : ask->reserved ? "reserved"
                                      : "on-demand"))
        return SYN_FAIL(err, SYN_E_INVALID, "a lease on %s: a name is too long", node->id);
    return syn_lease_encode(&lease, ret, err);
}

/* ---- what it costs ---- */

/* What of `rate` and `budget` people are told. */
static struct syn_cost
cost_make(const struct syn_rate *rate, int64_t budget)
{
    return (struct syn_cost){syn_rate_cost(rate, SYN_HOUR_MS), syn_rate_lasts_ms(rate, budget)};
}

/* Add an ask at the prices of a lease (NULL: the book's). Returns as syn_cost_of(). */
static int
rate_ask(struct syn_rate *rate, const struct syn_lease *lease, const struct syn_pricebook *book,
         const struct syn_cost_ask *ask, struct syn_err *err)
{
    struct syn_capacity capacity;
    int rc;

    if (ask->gpus > 0 && !*ask->gpu_model)
        return SYN_COST_UNPRICED; /* any model will do: the price is known once it is placed */
    rc = capacity_make(&ask->amounts, ask->gpus, ask->gpu_permille, ask->gpu_model, &capacity, err);
    if (rc == SYN_OK)
        rc = syn_rate_add(rate, &capacity, ask->count, lease, book, err);
    return rc == SYN_E_NOTFOUND ? SYN_COST_UNPRICED : rc;
}

int
syn_cost_of(const struct syn_pricebook *book, const struct syn_cost_ask *ask,
            struct syn_cost *ret_cost, struct syn_err *err)
{
    struct syn_rate rate = SYN_RATE_ZERO;
    int rc = rate_ask(&rate, NULL, book, ask, err);

    if (rc == SYN_OK)
        *ret_cost = cost_make(&rate, ask->budget);
    return rc;
}

static int
rate_on(struct syn_rate *rate, const struct syn_node_view *node, const struct syn_pricebook *book,
        const struct syn_cost_ask *ask, struct syn_err *err)
{
    struct syn_lease lease = {.count = 0};
    int rc = prices_make(node, ask->gpus > 0 ? ask->gpu_model : "", ask->spot, ask->reserved,
                         &lease, err);

    return rc < 0 ? rc : rate_ask(rate, &lease, book, ask, err);
}

int
syn_cost_on(const struct syn_node_view *node, const struct syn_pricebook *book,
            const struct syn_cost_ask *ask, struct syn_cost *ret_cost, struct syn_err *err)
{
    struct syn_rate rate = SYN_RATE_ZERO;
    int rc = rate_on(&rate, node, book, ask, err);

    if (rc == SYN_OK)
        *ret_cost = cost_make(&rate, ask->budget);
    return rc;
}

int
syn_cost_member(const struct syn_node_view *node, const struct syn_pricebook *book,
                const struct syn_place_request *request, struct syn_cost *ret_cost,
                struct syn_err *err)
{
    struct syn_cost_ask ask = {.amounts = request->amounts,
                               .gpus = request->gpus,
                               .gpu_model = "",
                               .count = 1,
                               .spot = request->spot,
                               .reserved = request->good != NULL};
    bool priced = false;

    if (request->gpus == 0)
        return syn_cost_on(node, book, &ask, ret_cost, err);
    for (unsigned i = 0; i < node->gpus_count; i++) {
        struct syn_cost cost;
        int rc;

        if (!fit_card(&node->gpus[i], request))
            continue;
        ask.gpu_model = node->gpus[i].model;
        ask.gpu_permille = fit_charge(&node->gpus[i], request);
        rc = syn_cost_on(node, book, &ask, &cost, err);
        if (rc < 0)
            return rc;
        if (rc == SYN_OK && (!priced || cost.rate_hour < ret_cost->rate_hour)) {
            *ret_cost = cost;
            priced = true;
        }
    }
    return priced ? SYN_OK : SYN_COST_UNPRICED;
}

int
syn_cost_placed(const struct syn_cluster *cluster, const struct syn_pricebook *book,
                const struct syn_placement *placement, const struct syn_cost_ask *member,
                struct syn_cost *ret_cost, struct syn_err *err)
{
    struct syn_rate rate = SYN_RATE_ZERO;
    int rc = SYN_OK;

    for (uint32_t i = 0; i < placement->count && rc == SYN_OK; i++) {
        const struct syn_place_slot *slot = &placement->slots[i];
        const struct syn_node_view *node = syn_cluster_find(cluster, slot->node);
        const struct syn_cost_ask ask = {.amounts = member->amounts,
                                         .gpus = placement->gpus,
                                         .gpu_permille = slot->gpu_permille,
                                         .gpu_model = slot->gpu_model,
                                         .count = 1,
                                         .spot = member->spot,
                                         .reserved = member->reserved};

        rc = node ? rate_on(&rate, node, book, &ask, err) : SYN_COST_UNPRICED;
    }
    if (rc == SYN_OK)
        *ret_cost = cost_make(&rate, member->budget);
    return rc;
}

static int
rate_live(struct syn_rate *rate, const struct syn_pricebook *book, const json_t *doc,
          struct syn_err *err)
{
    const json_t *agreed = json_object_get(syn_document_spec(doc), "lease");
    struct syn_instance_view view;
    struct syn_capacity capacity;
    struct syn_lease lease;
    int rc = syn_instance_view_read(doc, &view, err);

    if (rc < 0 || !view.holds)
        return rc;
    rc = capacity_make(&view.amounts, view.gpus, view.gpu_permille, view.gpu_model, &capacity, err);
    if (rc == SYN_OK && agreed)
        rc = syn_lease_decode(agreed, &lease, err);
    if (rc == SYN_OK)
        rc = syn_rate_add(rate, &capacity, 1, agreed ? &lease : NULL, book, err);
    return rc == SYN_E_NOTFOUND ? SYN_OK : rc;
}

int
syn_cost_live(const struct syn_pricebook *book, const json_t *instances, int64_t *ret_rate_hour,
              struct syn_err *err)
{
    struct syn_rate rate = SYN_RATE_ZERO;
    const json_t *doc;
    size_t i;

    json_array_foreach (instances, i, doc) {
        int rc = rate_live(&rate, book, doc, err);

        if (rc < 0)
            return rc;
    }
    *ret_rate_hour = syn_rate_cost(&rate, SYN_HOUR_MS);
    return SYN_OK;
}
