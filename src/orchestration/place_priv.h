/* The arithmetic of fitting, shared by placing and explaining. */
#ifndef SYN_ORCHESTRATION_PLACE_PRIV_H
#define SYN_ORCHESTRATION_PLACE_PRIV_H

#include <synor/orchestration/place.h>

/* In the order in which a person wants to hear of them; the first that no node passes is the
 * reason. */
enum dim {
    DIM_NODE,
    DIM_REGION,
    DIM_ISOLATION,
    DIM_FRAMEWORK,
    DIM_PRICE,
    DIM_GPUS,
    DIM_CPU,
    DIM_MEMORY,
    DIM_SCRATCH,
    DIMS
};

/* Which nodes count, and how full they are taken to be. */
struct fit_view {
    bool empty; /* as if nothing ran anywhere */
    bool open;  /* as if every known node were ready and not drained */
};

static const struct fit_view fit_now = {false, false};

int place_check(const struct syn_place_request *request, struct syn_err *err);
/* SYN_BIT(enum dim) of everything that keeps `units` members with `request->gpus` cards off `node`.
 */
uint32_t fit_lacks(const struct syn_node_view *node, const struct syn_place_request *request,
                   uint32_t units, struct fit_view view);
/* How many members fit on `node`, at most request->count. */
uint32_t fit_units(const struct syn_node_view *node, const struct syn_place_request *request,
                   struct fit_view view);
/* Would the whole gang fit? */
bool fit_gang(const struct syn_cluster *cluster, const struct syn_place_request *request,
              struct fit_view view);
/* The most members that fit: on one node when they must share it, else in all. */
uint32_t fit_most(const struct syn_cluster *cluster, const struct syn_place_request *request,
                  struct fit_view view);
/* Is this kind of card what the request takes? */
bool fit_card(const struct syn_gpu_group *group, const struct syn_place_request *request);
/* What the cheapest member would cost an hour on `node`, base units; INT64_MAX without a price. */
int64_t fit_price(const struct syn_node_view *node, const struct syn_place_request *request);
/* Cards of the wanted kind that are free (or there at all). */
int64_t fit_cards(const struct syn_node_view *node, const struct syn_place_request *request,
                  struct fit_view view);
/* Append the rows of a request that does not fit. */
int place_rows(const struct syn_cluster *cluster, const struct syn_place_request *request,
               json_t *why, struct syn_err *err);

#endif
