/* A node as placement sees it: how much it has, how much of that is given away, what it can isolate
 * with. Values only, so that a view can be copied and tried out. */
#ifndef SYNOR_ORCHESTRATION_NODE_VIEW_H
#define SYNOR_ORCHESTRATION_NODE_VIEW_H

#include <synor/base/json.h>
#include <synor/base/world.h>
#include <synor/orchestration/fleet.h>
#include <synor/orchestration/label.h>

/** Market's; whoever prices hands it through. */
struct syn_pricebook;

#define SYN_NODE_REGION_MAX     64
#define SYN_NODE_GPU_GROUPS_MAX 8
#define SYN_NODE_GPU_MODEL_MAX  32
#define SYN_NODE_FRAMEWORKS_MAX 8
#define SYN_NODE_FRAMEWORK_MAX  16
#define SYN_NODE_LANGUAGES_MAX  16
#define SYN_NODE_VERSION_MAX    33
#define SYN_NODE_CORES_MAX      64
#define SYN_NODE_PROFILE_MAX    32
#define SYN_NODE_LABELS_MAX     16
#define SYN_NODE_CUTS_MAX       8
#define SYN_NODE_CUT_MAX        13
/** No single quantity of a node or a request is larger: sums and products of gangs stay exact. */
#define SYN_NODE_QUANTITY_MAX (INT64_C(1) << 52)

/** Of who does not say. */
#define SYN_PRIORITY_NORMAL 500

enum syn_isolation {
    SYN_ISOLATION_AUTO, /* whatever the node prefers */
    SYN_ISOLATION_GVISOR,
    SYN_ISOLATION_RUNC,
    SYN_ISOLATION_KATA,      /* a machine of its own; by a container runtime */
    SYN_ISOLATION_NAMESPACE, /* forked from a zygote; who does not say never gets it */
    SYN_ISOLATION_COUNT,
};

enum syn_node_state {
    SYN_NODE_READY,
    SYN_NODE_SILENT, /* has not reported lately; what runs there may go on */
    SYN_NODE_LEFT,   /* gone for good */
};

/** A price that the provider does not name: the price book's counts. */
#define SYN_NODE_PRICE_BOOK INT64_C(-1)

/** A partition (MIG) of each card of a group: its administrator has cut them alike. */
struct syn_gpu_cut {
    char name[SYN_NODE_CUT_MAX]; /* the driver's: "1g.10gb" */
    uint8_t profile;             /* enum syn_fleet_profile */
    uint8_t start;               /* first eighth of the memory */
};

/** Cards of one model and memory size, cut and shared alike. */
struct syn_gpu_group {
    char model[SYN_NODE_GPU_MODEL_MAX];
    int64_t vram_bytes;
    int64_t count;
    int64_t used;
    int64_t price_hour;                 /* of one card, base units, or SYN_NODE_PRICE_BOOK */
    int64_t spot_hour;                  /* the same for who gives way when it must */
    char profile[SYN_NODE_PROFILE_MAX]; /* the capability profile that they match; "" not told */
    uint32_t capability;                /* 80 means compute capability 8.0; 0: not told */
    uint32_t first; /* what its node calls the first of them; the others follow */
    uint32_t modes; /* SYN_BIT(enum syn_fleet_mode) of the ways in which its node shares them */
    struct syn_gpu_cut cuts[SYN_NODE_CUTS_MAX]; /* in the order of their places */
    unsigned cuts_count;                        /* > 0: nobody gets one whole */
};

/** What instances that name it have of a card, in thousandths; and slices of its memory. */
struct syn_card_use {
    uint16_t time, vram, holders;
    uint8_t slices;
    uint8_t mode; /* enum syn_fleet_mode */
};

/** What the node's own Python can import. */
struct syn_framework {
    char name[SYN_NODE_FRAMEWORK_MAX];
    char version[SYN_NODE_VERSION_MAX]; /* "" when it does not tell */
};

struct syn_label {
    char key[SYN_LABEL_KEY_MAX];
    char value[SYN_LABEL_VALUE_MAX];
};

/** The quantities that every instance takes from its node. */
struct syn_amounts {
    int64_t cpu_millicores;
    int64_t memory_bytes;
    int64_t scratch_bytes;
};

/** What the provider asks for an hour, in base units, or SYN_NODE_PRICE_BOOK: the node's offer. */
struct syn_node_prices {
    int64_t cpu_core;
    int64_t memory_gib;
    int64_t scratch_gib;
};

/** A good of the spot market: processors of one model in one region, "gpu/h100/eu-west". */
#define SYN_GOOD_MAX 192
/** What says nothing of its region is here. */
#define SYN_NODE_REGION_LOCAL "local"

struct syn_node_view {
    char id[SYN_ID_MAX];
    char provider[SYN_ID_MAX]; /* the account that owns it; "" when the document does not say */
    char region[SYN_NODE_REGION_MAX];
    char cores[SYN_NODE_CORES_MAX]; /* what its cores are, as a good; "" while it has not told */
    enum syn_node_state state;
    bool unschedulable;   /* drained: takes nothing new */
    bool evacuate;        /* and what it has moves to others, as they have room */
    int64_t last_seen_ms; /* SYN_DOCUMENT_NONE when it never reported */
    struct syn_amounts capacity;
    struct syn_amounts used;
    int64_t bandwidth_bps; /* of its way out, both ways; 0: it does not tell */
    int64_t bandwidth_used_bps;
    struct syn_label labels[SYN_NODE_LABELS_MAX];
    unsigned labels_count;
    int64_t rtt_us;  /* measured to the server; 0: not yet */
    uint32_t ties;   /* place's: what where others run means here for a request; and the round */
    int64_t near_us; /* trip to the region that it names, -1: not known. See syn_place_look() */
    struct syn_node_prices prices;
    struct syn_node_prices spot; /* what spot work pays */
    int64_t spot_floor_percent;  /* of the node's prices of processors: spot work pays no less */
    struct syn_gpu_group gpus[SYN_NODE_GPU_GROUPS_MAX];
    unsigned gpus_count;
    struct syn_card_use cards[SYN_FLEET_CARDS_MAX]; /* group by group; later ones are not counted */
    uint32_t sandboxes;     /* SYN_BIT(enum syn_isolation) of each ready one */
    uint32_t gpu_sandboxes; /* of those, the ones that can pass GPUs on */
    bool netless;           /* it told that instances have no account networks there */
    enum syn_isolation default_isolation;
    struct syn_framework frameworks[SYN_NODE_FRAMEWORKS_MAX];
    unsigned frameworks_count;
    bool frameworks_told; /* an agent that does not tell is taken to have them all */
    struct syn_framework languages[SYN_NODE_LANGUAGES_MAX]; /* that its own /usr has */
    unsigned languages_count;
    bool languages_told; /* likewise */
};

/** What one instance takes. */
struct syn_instance_view {
    char id[SYN_ID_MAX];
    char node[SYN_ID_MAX];
    char account[SYN_ID_MAX]; /* who asked for it; "" when the document does not say */
    char job[SYN_ID_MAX];     /* likewise */
    char place[SYN_ID_MAX];   /* what its room was asked for as: its job, or itself */
    int32_t priority;         /* of its job */
    bool holds;               /* false once it has ended: it takes nothing any more */
    struct syn_amounts amounts;
    int64_t bandwidth_bps;
    char group[SYN_ID_MAX]; /* of its account, in which it counts; "" none */
    int64_t gpus;
    char gpu_model[SYN_NODE_GPU_MODEL_MAX];
    int64_t gpu_vram_bytes; /* 0: any group of that model */
    uint32_t gpu_cards;     /* bits of its cards, as its node calls them; 0: it does not say */
    uint32_t gpu_mode;      /* enum syn_fleet_mode */
    uint32_t gpu_share;     /* thousandths of the card's time, when it has a share */
    uint32_t gpu_share_mib; /* of its memory; 0: as much as of its time */
    char gpu_mig[SYN_NODE_CUT_MAX]; /* the partition that it has, and where that begins */
    uint32_t gpu_part;
    int64_t gpu_permille; /* what is charged of the card; 0: whole ones */
};

/** "8.0" is 80, as fleet.h counts them. Returns 0; SYN_E_INVALID. */
SYN_MUST int syn_capability_parse(const char *text, uint32_t *ret, struct syn_err *err);
/** Read a node document. INVALID names the key that is missing or out of range. `used` is zero. */
SYN_MUST int syn_node_view_read(const json_t *doc, struct syn_node_view *ret, struct syn_err *err);
/** Put the book's price wherever the node's offer is silent. What the book does not price by the
 * hour stays SYN_NODE_PRICE_BOOK. */
void syn_node_view_price(struct syn_node_view *node, const struct syn_pricebook *book);
/** The good that the node's cores are (`model` NULL), or its cards of `model`, into
 *  out[SYN_GOOD_MAX]. False, and "", for what has no name. */
bool syn_node_view_good(const struct syn_node_view *node, const char *model, char *out);
/** Spot work pays for processors what the node's floor says: the market knows of no price. */
void syn_node_view_unspot(struct syn_node_view *node);
/** Spot work pays `hour` for the good, but no less than the floor and no more than everybody. */
void syn_node_view_spot(struct syn_node_view *node, const char *good, int64_t hour);
/** The value of a label, its own or one that every node has (SYN_LABEL_REGION, SYN_LABEL_NODE);
 *  NULL where it has none. Borrowed from the view. */
const char *syn_node_view_label(const struct syn_node_view *node, const char *key);
/** Read an instance document of any workload kind. */
SYN_MUST int syn_instance_view_read(const json_t *doc, struct syn_instance_view *ret,
                                    struct syn_err *err);
/** Give what `instance` takes away from the node, or back to it. No-op when it holds nothing. */
void syn_node_view_add(struct syn_node_view *node, const struct syn_instance_view *instance);
void syn_node_view_sub(struct syn_node_view *node, const struct syn_instance_view *instance);
/** May new work be placed there at all? */
bool syn_node_view_open(const struct syn_node_view *node);
/** The sandbox that `wanted` means on this node, for an instance with or without GPUs;
 *  SYN_ISOLATION_AUTO when it has none that fits. */
enum syn_isolation syn_node_view_sandbox(const struct syn_node_view *node,
                                         enum syn_isolation wanted, bool gpus);
/** Is it a language, of which a node has interpreters, and no framework of its Python? */
bool syn_node_is_language(const char *name);
/** Has the node this framework, or language, in this version? "1.13" means every 1.13.x; "" and
 * NULL any. */
bool syn_node_view_framework(const struct syn_node_view *node, const char *name,
                             const char *version);
/** How long the node has been silent; 0 when it is not. Silence counts from `observing_since_ms`
 * on: a server that was away itself cannot tell before. */
int64_t syn_node_view_silent_ms(const struct syn_node_view *node, int64_t observing_since_ms,
                                int64_t now_ms);

/** The number of a group's first card, of those of the node. */
uint32_t syn_node_view_first(const struct syn_node_view *node, unsigned group);
/** Bits of `cards` of those that the node calls so; 0 when it has not all of them. */
uint32_t syn_node_view_cards(const struct syn_node_view *node, uint32_t named);
/** What the node calls these of `cards`, as bits. */
uint32_t syn_node_view_named(const struct syn_node_view *node, uint32_t cards);
/** The group's partition of this name that begins there; NULL: it has none. Borrowed from it. */
const struct syn_gpu_cut *syn_gpu_cut_find(const struct syn_gpu_group *group, const char *name,
                                           uint32_t start);
/** Are they cards of one kind, cut and shared alike? */
bool syn_gpu_group_same(const struct syn_gpu_group *a, const struct syn_gpu_group *b);

const char *syn_isolation_name(enum syn_isolation isolation);
/** "auto", "gvisor", "runc", "kata"; -1 for other words. */
int syn_isolation_find(const char *name);
const char *syn_node_state_name(enum syn_node_state state);

#endif
