/* The inside of a cluster:
 *
 *     cluster.c        nodes and instances, as their documents say
 *     cluster_fleet.c  the same for the placement core: nodes, models, labels, what runs
 *     cluster_keep.c   what nodes keep for who bought units on the market
 *     place.c          requests: asking the core, and what became of it
 *     place_fit.c      the arithmetic of fitting, for explanations
 *
 * The fleet is made at the first question, and kept in step from then on. It can be made again at
 * any time from what the documents say; when there is no memory to keep it in step it is dropped.
 */
#ifndef SYN_ORCHESTRATION_CLUSTER_PRIV_H
#define SYN_ORCHESTRATION_CLUSTER_PRIV_H

#include <synor/base/map.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/fleet.h>
#include <synor/orchestration/place.h>

#define KEEPERS_MAX (1 + SYN_NODE_GPU_GROUPS_MAX)

/* Processors of one kind that a node keeps: a request of its own, and of the view what is used. */
struct cluster_keeper {
    uint64_t key; /* 0: none, and no units */
    int64_t units;
};

struct cluster_node {
    struct syn_node_view view;
    struct cluster_keeper keepers[KEEPERS_MAX]; /* of cores, then of each group of cards */
    struct syn_fleet_node told; /* as the fleet knows it; its name is the view's id */
    uint32_t number;            /* the fleet's; SYN_FLEET_NONE: not there */
    bool over;                  /* more runs there than it has: nothing new comes */
    bool emptied;               /* the fleet has been told to move what runs there */
    uint32_t kin[3];            /* place_tie.c's: instances here of the groups a request names */
    uint32_t tried;             /* and members of the request that were put here in thought */
};

/* What of an instance the fleet knows it by. */
enum hold {
    HOLD_NONE,  /* not at all: its node is not there, or has not the room */
    HOLD_JOB,   /* it is part of what its job was placed for */
    HOLD_ALONE, /* its own request: it ran before anybody asked for its job here */
};

struct cluster_instance {
    struct syn_instance_view view;
    enum hold hold;
    uint64_t key; /* HOLD_ALONE: its own; HOLD_JOB: its job's */
};

/* A job that was asked for. */
struct cluster_job {
    char id[SYN_ID_MAX];
    uint64_t key; /* of its request; 0: it has none */
    struct syn_fleet_request request;
    struct syn_fleet_slot slots[SYN_PLACE_GANG_MAX];
    int64_t gpus; /* cards that each of its instances gets */
    bool placed;
    uint32_t live;       /* instances seen of what was placed */
    bool begun;          /* there was one */
    const char *evicted; /* why it must give up what it has, static; NULL: it need not */
    bool news;           /* for syn_place_next() */

    /* In what a node keeps: of a holder's, or lent. */
    int64_t kept_units; /* 0: no */
    unsigned keeper;    /* which of the node's */
    char kept_node[SYN_ID_MAX];
    bool lent;
    int32_t priority; /* of its own, when it was lent */
};

/* What a node can be or not be, for which a label of the core stands: one that somebody asked for
 * and some node is. A framework, maybe in a version; or something about a label. */
struct cluster_label {
    char framework[SYN_NODE_FRAMEWORK_MAX]; /* "": it is the selector that counts */
    char version[SYN_NODE_VERSION_MAX];
    struct syn_selector selector;
};

/* The round trip between two regions, the lesser name first. */
struct cluster_trip {
    char regions[2][SYN_NODE_REGION_MAX];
    int64_t rtt_us;
    bool measured;
};

/* Cards of one model, size and build, cut and shared alike: a model of the fleet, by its number. */
struct cluster_model {
    struct syn_gpu_group like; /* count, use and prices mean nothing */
};

struct syn_cluster {
    struct cluster_node **nodes; /* in id order */
    size_t count;
    size_t cap;
    struct syn_map *instances; /* id -> struct cluster_instance */
    struct syn_map *jobs;      /* id -> struct cluster_job */

    struct syn_fleet *fleet; /* NULL: not made yet */
    struct syn_map *owners;  /* key, as text -> char id[SYN_ID_MAX] of a job, or "+" and instance */
    struct syn_map *spot;    /* good -> int64_t, what the market asks for an hour */
    const struct syn_pricebook *book; /* for what offers do not name; NULL: offers alone */
    struct syn_keep *keeps;           /* that there should be */
    size_t keeps_count;
    bool keeps_short;     /* for some of it there was no room */
    bool keeping;         /* they are being seen to */
    uint32_t kept_region; /* that no node is in: the core moves nothing of this by itself */
    struct {
        struct cluster_trip *items;
        size_t count, cap;
    } trips;
    char home[SYN_NODE_REGION_MAX]; /* to which nodes measure; "": to nowhere known */
    bool unmeasured;                /* nodes have measured something since it was taken in */
    uint64_t last_key;
    uint64_t seed;
    struct cluster_label labels[SYN_FLEET_LABELS_MAX];
    uint32_t labels_count;
    struct cluster_model models[SYN_FLEET_MODELS_MAX];
    uint32_t models_count;
};

/* cluster.c */
struct cluster_node *cluster_node_find(const struct syn_cluster *cluster, const char *id);

/* cluster_trip.c */
void trips_free(struct syn_cluster *cluster);

/* cluster_fleet.c */
/* The fleet is there. */
SYN_MUST int fleet_ensure(struct syn_cluster *cluster, struct syn_err *err);
void fleet_drop(struct syn_cluster *cluster);
/* Keep it in step, if there is one. */
void fleet_note_node(struct syn_cluster *cluster, struct cluster_node *node);
void fleet_note_gone(struct syn_cluster *cluster, struct cluster_node *node);
void fleet_note_instance(struct syn_cluster *cluster, struct cluster_instance *instance);
/* It ended, is forgotten, or changes. */
void fleet_note_end(struct syn_cluster *cluster, struct cluster_instance *instance);
/* Its job is no longer asked for, or placed. Returns 0; SYN_E_NOMEM. */
SYN_MUST int fleet_forget(struct syn_cluster *cluster, struct cluster_job *job,
                          struct syn_err *err);
/* Take in what the fleet decided. */
SYN_MUST int fleet_hear(struct syn_cluster *cluster, struct syn_err *err);
/* A new key for the job `id`, or the instance behind a "+". */
SYN_MUST int fleet_key(struct syn_cluster *cluster, const char *prefix, const char *id,
                       uint64_t *ret, struct syn_err *err);
void fleet_key_free(struct syn_cluster *cluster, uint64_t key);

/* The node as it is now, should that have changed. */
SYN_MUST int fleet_put_node(struct syn_cluster *cluster, struct cluster_node *node,
                            struct syn_err *err);
/* Is the node what the label says? */
bool label_holds(const struct cluster_label *label, const struct syn_node_view *view);
/* Tell the fleet of a round trip. */
SYN_MUST int fleet_trip(struct syn_cluster *cluster, const struct cluster_trip *trip,
                        struct syn_err *err);
/* The words of the domains that the node lies in. */
SYN_MUST int fleet_domains(struct syn_cluster *cluster, const struct syn_node_view *view,
                           struct syn_fleet_node *ret, struct syn_err *err);
/* The word of a group of an account. */
SYN_MUST int fleet_group(struct syn_cluster *cluster, const char *account, const char *group,
                         uint32_t *ret, struct syn_err *err);
/* The job, which is made when there is none. */
SYN_MUST int cluster_job_need(struct syn_cluster *cluster, const char *id, struct cluster_job **ret,
                              struct syn_err *err);

/* cluster_keep.c */
/* Keep what should be kept, as far as there is room. */
SYN_MUST int keep_all(struct syn_cluster *cluster, struct syn_err *err);
/* The node's cards change their groups, or it leaves: its keepers end. */
SYN_MUST int keep_forget(struct syn_cluster *cluster, struct cluster_node *node,
                         struct syn_err *err);
/* All keepers are without requests: the fleet is gone. */
void keep_drop(struct cluster_node *node);
/* The core took this keeper's room away. */
SYN_MUST int keep_evicted(struct syn_cluster *cluster, const char *node, uint64_t key,
                          struct syn_err *err);
/* What was lent to the job is kept again: in the place of its request, which ends. */
SYN_MUST int keep_regain(struct syn_cluster *cluster, struct cluster_job *job, struct syn_err *err);
/* Room for a holder in what its sellers keep, where spot work goes when it must; or for spot work
 * in what anybody keeps. The job is placed then. Returns 0; SYN_PLACE_NONE; SYN_E_NOMEM. */
SYN_MUST int keep_place(struct syn_cluster *cluster, const struct syn_place_who *who,
                        const struct syn_place_request *request, struct cluster_job *job,
                        struct syn_err *err);
/* Where that would be, changing nothing: *ret has the node, and all cards of the model. */
bool keep_probe(struct syn_cluster *cluster, const struct syn_place_request *request,
                struct syn_fleet_slot *ret);
/* Why a holder waits. */
void keep_why(const struct syn_cluster *cluster, const struct syn_place_request *request,
              char *message, size_t cap);
/* The same as a row of an explanation; none when it would have room. */
SYN_MUST int keep_row(const struct syn_cluster *cluster, const struct syn_place_request *request,
                      json_t *why, struct syn_err *err);

/* What of a card the request asks for, as the core counts it; the profile of a partition is that of
 * the group. False: the group has no such partition. */
bool part_ask(const struct syn_gpu_group *group, const struct syn_place_request *request,
              struct syn_fleet_ask *ret);
/* The group's cards, as the core counts them. */
struct syn_fleet_model part_model(const struct syn_gpu_group *group);

/* place.c */
/* In the core's terms. Returns 0; SYN_PLACE_NONE: no node that was ever here would do; < 0. */
SYN_MUST int place_ask_make(struct syn_cluster *cluster, const struct syn_place_request *request,
                            int64_t gpus, struct syn_fleet_request *ret, struct syn_err *err);

#define FLEET_CLASS_GPUS 8  /* isolation classes that pass cards on stand so much higher */
#define FLEET_CLASS_NETS 16 /* and those of nodes with account networks */

#endif
