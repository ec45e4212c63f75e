/* Placement of a gang: N equal requests, all or nothing, on the nodes of a cluster. */
#ifndef SYNOR_ORCHESTRATION_PLACE_H
#define SYNOR_ORCHESTRATION_PLACE_H

#include <synor/orchestration/cluster.h>
#include <synor/orchestration/fleet.h>

#define SYN_PLACE_GANG_MAX   64
#define SYN_PLACE_GPUS_MAX   64
#define SYN_PLACE_LABELS_MAX 16
/** An explanation names at most so many (node, dimension) pairs; the totals count all of them. */
#define SYN_PLACE_ROWS_MAX 256

/** Not enough room: nothing was placed, syn_place_why() says why. */
#define SYN_PLACE_NONE 1

/** It was placed, and what has that room now is giving it up: ask again. */
#define SYN_PLACE_SOON 2

/** Being with others or apart from them. Text is borrowed for the call. */
struct syn_place_tie {
    const char *group; /* NULL or "": nobody */
    enum syn_fleet_scope scope;
};

/** What one member of the gang needs, and how many there are. Text is borrowed for the call. */
struct syn_place_request {
    uint32_t count; /* 1..SYN_PLACE_GANG_MAX */
    struct syn_amounts amounts;
    int64_t gpus;            /* at least so many cards, all of one model */
    int64_t gpus_max;        /* and up to so many where they are free; >= gpus */
    const char *gpu_model;   /* NULL or "": any */
    int64_t vram_min_bytes;  /* per card */
    uint32_t gpu_share;      /* instead of a whole card, thousandths of one's time */
    int64_t gpu_share_bytes; /* and so much of its memory; 0: as much as of its time */
    const char *mig; /* or a partition of this name, as 1g.10gb; NULL or "": whole cards, a share */
    const char *region; /* NULL or "": any */
    enum syn_isolation isolation;
    bool networks;                 /* where instances have account networks */
    const char *framework;         /* that the node itself must have; NULL or "": none */
    const char *framework_version; /* NULL or "": any */
    bool one_node;                 /* every member on the same node, with cards of one kind */
    int64_t price_max;             /* base units an hour, one member, all in; 0: any price */
    bool spot;                     /* at spot prices: price_max is what it bids */
    enum syn_fleet_policy policy;
    const char *good;           /* in what these providers keep of it; NULL: in what is nobody's */
    const char *const *sellers; /* accounts that owe who asks units of the good */
    size_t sellers_count;

    int64_t bandwidth_bps; /* of each member, of its node's way out */
    uint32_t capability;   /* cards of at least this compute capability; 80 means 8.0 */
    const char *labels[SYN_PLACE_LABELS_MAX + 1]; /* selectors (label.h), all of them; NULL ends */
    const char *near;           /* a region; what the policy `latency` measures from */
    int64_t rtt_max_us;         /* no further from it than that; 0: any distance */
    const char *account;        /* whose groups the following are; NULL or "": nobody's */
    const char *group;          /* its members count in this one; NULL or "": in none */
    struct syn_place_tie with;  /* in a domain that has one of this group */
    struct syn_place_tie apart; /* in a domain that has none of it */
    uint32_t even;              /* domains of `even_scope` differ in members of its own group by no
                                 * more; 0: they may. What shares a node counts as one member. */
    enum syn_fleet_scope even_scope;
};

/** What holds units gives way to nobody, and is given the room of no other work than spot. */
#define SYN_PLACE_PRIORITY_HELD 2000000000
/** Units of its good that a request takes. */
int64_t syn_place_units(const struct syn_place_request *request);

/** Whose request it is. Text is borrowed for the call. */
struct syn_place_who {
    const char *job;
    const char *account;
    int64_t priority; /* higher first; what is lower gives way to it */
    int64_t runs_ms;  /* how long at most, 0: not known */
    int64_t now_ms;
};

struct syn_place_slot {
    char node[SYN_ID_MAX];
    enum syn_isolation isolation;
    char gpu_model[SYN_NODE_GPU_MODEL_MAX]; /* "" without GPUs */
    int64_t gpu_vram_bytes;
    uint32_t gpu_cards;    /* bits of the view's cards that it has */
    uint32_t gpu_named;    /* the same, as the node calls them; 0: the node chooses */
    uint32_t gpu_mode;     /* enum syn_fleet_mode */
    uint32_t gpu_part;     /* where its partition begins */
    int64_t gpu_share_mib; /* as asked for */
    int64_t gpu_permille;  /* what is charged of the card; 0: whole ones */
};

/** Slot i is member i's; members on the same node stand next to each other. */
struct syn_placement {
    uint32_t count;
    int64_t gpus; /* cards each member gets */
    struct syn_place_slot slots[SYN_PLACE_GANG_MAX];
};

/** The resources of an instance in that place, as its document has them: what it has of its cards.
 *  Adds to `resources`. */
SYN_MUST int syn_place_resources(const struct syn_place_request *request,
                                 const struct syn_place_slot *slot, int64_t gpus, json_t *resources,
                                 struct syn_err *err);

/**
 * Where a request would go now, by itself. Nothing changes. The same cluster and request always
 * give the same answer.
 *
 * Returns 0; SYN_PLACE_NONE; SYN_E_INVALID for a request out of range; SYN_E_NOMEM.
 */
SYN_MUST int syn_place(struct syn_cluster *cluster, const struct syn_place_request *request,
                       struct syn_placement *ret, struct syn_err *err);

/**
 * Ask for a job: it is placed, maybe where work of lower priority must stop first, or waits in the
 * queue until it is withdrawn. Asking again tells what became of it. What it was given stays its
 * own until the instances made of it have all ended (syn_cluster_put_instance()).
 *
 * Returns 0; SYN_PLACE_SOON, with where it will be; SYN_PLACE_NONE, it waits; as syn_place().
 */
SYN_MUST int syn_place_ask(struct syn_cluster *cluster, const struct syn_place_who *who,
                           const struct syn_place_request *request, struct syn_placement *ret,
                           struct syn_err *err);
/** The job no longer asks for anything; what it was given is given back. */
void syn_place_withdraw(struct syn_cluster *cluster, const char *job);
/** A job for which something was decided since it last asked: it was placed, or must give way.
 *  False when there is none. */
bool syn_place_next(struct syn_cluster *cluster, char ret_job[SYN_ID_MAX]);
/** Why it must give up what it has: "preempted", "drained", static; NULL when it need not. Until it
 *  asks again. */
const char *syn_place_evicted(const struct syn_cluster *cluster, const char *job);
/**
 * Tell what a job that runs had asked for, so that it is moved and weighed as that and not as so
 * many instances of their own: a server that comes back knows of these alone. `gpus`: what each
 * has.
 *
 * No-op when that is known, or not all of its instances are seen. Returns 0; SYN_E_NOMEM.
 */
SYN_MUST int syn_place_claim(struct syn_cluster *cluster, const struct syn_place_who *who,
                             const struct syn_place_request *request, int64_t gpus,
                             struct syn_err *err);
/** Have what runs on nodes that are to be emptied moved, as far as there is room elsewhere: see
 *  syn_place_next(). After the jobs that run were claimed. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_place_empty(struct syn_cluster *cluster, struct syn_err *err);

/** A waiting job's place in the queue. */
struct syn_place_turn {
    int64_t position; /* from 1 */
    int64_t queue;    /* so many wait */
    int64_t start_ms; /* when it can start, at the latest; -1: nobody knows */
};
/** Returns 0; SYN_PLACE_NONE: it does not wait; SYN_E_NOMEM. */
SYN_MUST int syn_place_turn(struct syn_cluster *cluster, const char *job,
                            struct syn_place_turn *ret, struct syn_err *err);

/** "node", "rack", "zone", "region"; -1 when there is none of this name. Nodes that do not say
 * their zone lie in one, their region's; those that do not say their rack in one, their zone's. */
int syn_place_scope_find(const char *name);
const char *syn_place_scope_name(enum syn_fleet_scope scope);

/** Note on all nodes what distances, and where others run, mean for the request: syn_place_fits()
 *  goes by it. */
void syn_place_look(struct syn_cluster *cluster, const struct syn_place_request *request);
/** How many members of the gang would fit on this node now, each by itself where they are to be
 *  apart; at most request->count. */
uint32_t syn_place_fits(const struct syn_node_view *node, const struct syn_place_request *request);

/** What a member takes at least of cards, in thousandths of one: of a part what it is charged for
 * on the card, of those here that will do, of which it is least. */
int64_t syn_place_gpu_least(const struct syn_cluster *cluster,
                            const struct syn_place_request *request);

/**
 * Say in one word and one sentence why the request does not fit now.
 *
 * *ret_reason is static, a reason of SYN_JOB_PENDING; `message` gets the sentence, at most `cap`
 * bytes.
 */
void syn_place_why(const struct syn_cluster *cluster, const struct syn_place_request *request,
                   const char **ret_reason, char *message, size_t cap);

/** Sentences of what the request's policy goes by that nobody has said or measured: power of cards
 *  without a profile, round trips that are not known. Owner: *ret is the caller's. Returns 0;
 *  SYN_E_NOMEM. */
SYN_MUST int syn_place_assumed(const struct syn_cluster *cluster,
                               const struct syn_place_request *request, json_t **ret,
                               struct syn_err *err);

/**
 * Explain a request that does not fit: `why` rows {dimension, node, need, have, message}, first the
 * totals (node null), then each node's; `fix` sentences, each the smallest change of one kind that
 * would place it. A request that fits gets empty lists.
 *
 * Owner: both lists are the caller's. Returns 0; SYN_E_INVALID, SYN_E_NOMEM.
 */
SYN_MUST int syn_place_explain(const struct syn_cluster *cluster,
                               const struct syn_place_request *request, json_t **ret_why,
                               json_t **ret_fix, struct syn_err *err);

#endif
