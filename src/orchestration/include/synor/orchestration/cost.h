/* What instances cost, in the words of placement: by the price book before there is a node, by the
 * node's offer once there is, by their leases once they are placed. */
#ifndef SYNOR_ORCHESTRATION_COST_H
#define SYNOR_ORCHESTRATION_COST_H

#include <synor/orchestration/place.h>

/** There is no price for something asked for: *ret_cost is not set. */
#define SYN_COST_UNPRICED 1

/** So many instances, each of so much. */
struct syn_cost_ask {
    struct syn_amounts amounts;
    int64_t gpus;
    const char *gpu_model; /* "" without GPUs, or when any will do */
    int64_t count;
    int64_t budget;       /* base units */
    bool spot;            /* at spot prices, on a node */
    bool reserved;        /* its cards, or without cards its cores, are paid for */
    int64_t gpu_permille; /* of one card, what is charged; 0: whole ones */
};

struct syn_cost {
    int64_t rate_hour; /* base units, rounded up */
    int64_t lasts_ms;  /* how long the budget covers it; INT64_MAX for ever */
};

/** Price what is asked for by the book. Returns 0; SYN_COST_UNPRICED; SYN_E_INVALID, SYN_E_LIMIT.
 */
SYN_MUST int syn_cost_of(const struct syn_pricebook *book, const struct syn_cost_ask *ask,
                         struct syn_cost *ret_cost, struct syn_err *err);

/** Price it at what `node` asks, and the book where its offer is silent, which may be NULL when the
 *  cluster has put the book's prices there. Returns as syn_cost_of(). */
SYN_MUST int syn_cost_on(const struct syn_node_view *node, const struct syn_pricebook *book,
                         const struct syn_cost_ask *ask, struct syn_cost *ret_cost,
                         struct syn_err *err);

/** Price one member of a gang on `node`, with the cheapest of the cards there that it can take.
 *  Returns as syn_cost_of(). */
SYN_MUST int syn_cost_member(const struct syn_node_view *node, const struct syn_pricebook *book,
                             const struct syn_place_request *request, struct syn_cost *ret_cost,
                             struct syn_err *err);

/** Price a whole placement: `amounts` for each member on its own node. Returns as syn_cost_of(). */
SYN_MUST int syn_cost_placed(const struct syn_cluster *cluster, const struct syn_pricebook *book,
                             const struct syn_placement *placement,
                             const struct syn_cost_ask *member, struct syn_cost *ret_cost,
                             struct syn_err *err);

/** On what terms an instance gets its place. */
struct syn_lease_ask {
    const char *gpu_model; /* "" without GPUs */
    bool spot;             /* at spot prices, and "spot"; else "on-demand" */
    bool reserved;         /* "reserved": its cards, or without cards its cores, cost nothing */
    int64_t notice_ms;
    int64_t max_price; /* base units an hour; 0: no ceiling was given */
    int64_t now_ms;
};

/**
 * Make the lease of an instance that is placed on `node` now, as its document's spec keeps it: the
 * prices that hold there, of what it takes, and the terms.
 *
 * Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM, SYN_E_INVALID.
 */
SYN_MUST int syn_cost_lease(const struct syn_node_view *node, const struct syn_lease_ask *ask,
                            json_t **ret, struct syn_err *err);

/** Sum up, an hour, what the live ones of an array of instance documents cost under their leases.
 * What has no price counts nothing. Returns 0; SYN_E_INVALID, SYN_E_LIMIT. */
SYN_MUST int syn_cost_live(const struct syn_pricebook *book, const json_t *instances,
                           int64_t *ret_rate_hour, struct syn_err *err);

#endif
