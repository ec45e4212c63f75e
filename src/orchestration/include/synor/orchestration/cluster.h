/* All nodes and what is placed on them, kept up to date one document at a time. The placement core
 * (fleet.h) stands behind these calls: place.h asks it. */
#ifndef SYNOR_ORCHESTRATION_CLUSTER_H
#define SYNOR_ORCHESTRATION_CLUSTER_H

#include <synor/orchestration/node_view.h>
#include <synor/orchestration/quota.h>

struct syn_cluster;

/** Owner: *ret is the caller's. Thread: one. `seed` decides between nodes that are equally good.
 *  Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_cluster_new(uint64_t seed, struct syn_cluster **ret, struct syn_err *err);
struct syn_cluster *syn_cluster_free(struct syn_cluster *cluster);
void syn_cluster_free_scope(struct syn_cluster **slot);

/** Price nodes by `book` wherever their offers are silent, from the next syn_cluster_put_node() on.
 *  The book must outlive the cluster. */
void syn_cluster_prices_watch(struct syn_cluster *cluster, const struct syn_pricebook *book);
/**
 * What the market asks for an hour of one processor of the good ("gpu/h100/eu-west"): spot work
 * pays that where it is less than the node asks. Negative: the market has no price.
 *
 * True when it changed. Returns 0 with *ret_changed; SYN_E_NOMEM.
 */
SYN_MUST int syn_cluster_set_spot(struct syn_cluster *cluster, const char *good, int64_t hour,
                                  bool *ret_changed, struct syn_err *err);
/** Processors of a good that a provider keeps for the market: offered there, or sold and not begun.
 */
struct syn_keep {
    char provider[SYN_ID_MAX];
    char good[SYN_GOOD_MAX];
    int64_t units;
};
/**
 * Tell all that is kept, anew. The cluster chooses on which of the provider's nodes, and places
 * nothing else there but what holds units (syn_place_request.sellers) and, until somebody who does
 * comes, spot work. What finds no room is kept as soon as there is some.
 *
 * True when it changed. Returns 0 with *ret_changed; SYN_E_NOMEM, and nothing changed.
 */
SYN_MUST int syn_cluster_set_keeps(struct syn_cluster *cluster, const struct syn_keep *keeps,
                                   size_t count, bool *ret_changed, struct syn_err *err);
/** Processors of the good that the node keeps now, lent ones included. */
int64_t syn_cluster_kept(const struct syn_cluster *cluster, const char *node, const char *good);
/**
 * Say the round trip between two regions, both ways; the last word counts. Negative: nobody says,
 * and what is measured counts.
 *
 * *ret_changed, unless NULL, tells whether that was news. Returns 0; SYN_E_INVALID for a region
 * without a name or with too long a one; SYN_E_NOMEM.
 */
SYN_MUST int syn_cluster_set_rtt(struct syn_cluster *cluster, const char *region, const char *other,
                                 int64_t rtt_us, bool *ret_changed, struct syn_err *err);
/** 0 within a region; -1 where it is not known. */
int64_t syn_cluster_rtt(const struct syn_cluster *cluster, const char *region, const char *other);
/** The region to which nodes measure their round trips (status.rtt_us); "" takes that back. Of each
 *  region the median of its nodes counts where nobody said anything. Returns 0; SYN_E_INVALID. */
SYN_MUST int syn_cluster_home(struct syn_cluster *cluster, const char *region, struct syn_err *err);
/** Take in what was measured since; asking for a place does. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_cluster_measure(struct syn_cluster *cluster, struct syn_err *err);
/** A known round trip. Text is borrowed until the cluster changes. */
struct syn_trip {
    const char *from, *to;
    int64_t rtt_us;
    bool measured; /* else somebody said so */
};
/** The one at `index`, in no order; false when there are no more. */
bool syn_cluster_trip_at(const struct syn_cluster *cluster, size_t index, struct syn_trip *ret);
/** Add or replace a node from its document. What instances hold there stays counted. On failure
 *  nothing changed. */
SYN_MUST int syn_cluster_put_node(struct syn_cluster *cluster, const json_t *doc,
                                  struct syn_err *err);
/** Forget the node; false when it was not there. Its instances stay known. */
bool syn_cluster_remove_node(struct syn_cluster *cluster, const char *id);
/** Add or replace an instance: what it holds is taken from its node (also one that joins later); an
 *  ended one gives it back. On failure nothing changed. */
SYN_MUST int syn_cluster_put_instance(struct syn_cluster *cluster, const json_t *doc,
                                      struct syn_err *err);
/** Forget the instance; false when it was not there. */
bool syn_cluster_remove_instance(struct syn_cluster *cluster, const char *id);

/** Sum up what an account's live instances hold; its storage is not known here, and 0.
 *  Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_cluster_holding(const struct syn_cluster *cluster, const char *account,
                                 struct syn_holding *ret, struct syn_err *err);

size_t syn_cluster_count(const struct syn_cluster *cluster);
/** The node at `index` in id order. Borrowed until the cluster changes. */
const struct syn_node_view *syn_cluster_at(const struct syn_cluster *cluster, size_t index);
/** The node, or NULL. Borrowed until the cluster changes. */
const struct syn_node_view *syn_cluster_find(const struct syn_cluster *cluster, const char *id);

#endif
