/* The arithmetic of fitting, shared by placing and explaining. */
#ifndef SYN_ORCHESTRATION_PLACE_PRIV_H
#define SYN_ORCHESTRATION_PLACE_PRIV_H

#include <synor/orchestration/place.h>

/* In the order in which a person wants to hear of them; the first that no node passes is the
 * reason. */
enum dim {
    DIM_NODE,
    DIM_REGION,
    DIM_LATENCY,
    DIM_LABELS,
    DIM_ISOLATION,
    DIM_NAMESPACE,
    DIM_NETWORKS,
    DIM_FRAMEWORK,
    DIM_RUNTIME,
    DIM_PRICE,
    DIM_GPUS,
    DIM_CPU,
    DIM_MEMORY,
    DIM_SCRATCH,
    DIM_BANDWIDTH,
    DIM_WITH,
    DIM_APART,
    DIM_EVEN,
    DIMS
};

/* Which nodes count, and how full they are taken to be. */
struct fit_view {
    bool empty; /* as if nothing ran anywhere */
    bool open;  /* as if every known node were ready and not drained */
    bool loose; /* as if nobody else's place mattered */
};

static const struct fit_view fit_now = {false, false, false};

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
/* What keeps the request off a node for good, whatever ends there. */
uint32_t fit_class(const struct syn_node_view *node, const struct syn_place_request *request,
                   struct fit_view view);
/* Does it ask for a part of a card? */
bool fit_part(const struct syn_place_request *request);
/* What of a card of the group a member is charged for, in thousandths; 0: whole ones. */
int64_t fit_charge(const struct syn_gpu_group *group, const struct syn_place_request *request);
/* What one card of the group has left for a share, and how many partitions of the name are left,
 * and are there. */
struct fit_left {
    int64_t time, vram; /* thousandths, of the card with the most time */
    int64_t parts, parts_all;
};
struct fit_left fit_left(const struct syn_node_view *node, unsigned g, const char *mig);
/* Have these very cards the room, as the documents say it? */
bool fit_slot(const struct syn_node_view *node, const struct syn_place_request *request,
              const struct syn_place_slot *slot);
/* Is there a text, and does it say anything? */
bool fit_text(const char *text);

struct tie_text {
    char need[160], have[160], message[640];
};

/* place_tie.c: asks tied to where others run, and to distances. */
int tie_check(const struct syn_place_request *request, struct syn_err *err);
/* The ties of the node that the request asks about. */
uint32_t tie_lacks(const struct syn_node_view *node, const struct syn_place_request *request,
                   struct fit_view view);
/* What one of these dimensions, or labels, needs and a node has, and a sentence of it. */
void tie_say(const struct syn_node_view *node, const struct syn_place_request *request,
             enum dim dim, struct tie_text *ret);
/* Is it tied to anything? */
bool tie_any(const struct syn_place_request *request);
/* Do its members' places depend on each other? */
bool tie_own(const struct syn_place_request *request);
/* How many of them fit then. */
uint32_t tie_most(const struct syn_cluster *cluster, const struct syn_place_request *request,
                  struct fit_view view);
/* As syn_place_look(); the notes are no part of what a cluster is. */
void tie_look(const struct syn_cluster *cluster, const struct syn_place_request *request);
/* Is what it says of labels more than the core can tell apart now, beside what others say? */
bool place_labels_full(const struct syn_cluster *cluster, const struct syn_place_request *request);
/* Append the rows of a request that does not fit. */
int place_rows(const struct syn_cluster *cluster, const struct syn_place_request *request,
               json_t *why, struct syn_err *err);

#endif
