/* The placement core: machines, what is asked of them, and who runs where.
 *
 * Events go in (a node joins, changes, drains or is lost; a request comes or ends; prices, round
 * trips and time change), effects come out (placed, evicted, reserved, pending). There is no clock,
 * no input or output and no thread in here; the same events with the same seed give the same
 * effects. docs/placement.md explains the model, the index and the policies.
 *
 * All of it belongs to one thread. Nodes are known by a small number that the fleet gives, requests
 * by a key that the caller gives; text (regions, zones, racks, groups, accounts, labels) is turned
 * into numbers once, by syn_fleet_word() and syn_fleet_label().
 */
#ifndef SYNOR_ORCHESTRATION_FLEET_H
#define SYNOR_ORCHESTRATION_FLEET_H

#include <synor/base/json.h>

#define SYN_FLEET_NAME_MAX     64
#define SYN_FLEET_TEXT_MAX     256 /* of a word */
#define SYN_FLEET_NODES_MAX    (UINT32_C(1) << 20)
#define SYN_FLEET_CARDS_MAX    16 /* of one node */
#define SYN_FLEET_MODELS_MAX   64
#define SYN_FLEET_LABELS_MAX   64
#define SYN_FLEET_WORDS_MAX    (UINT32_C(1) << 20)
#define SYN_FLEET_GANG_MAX     (UINT32_C(1) << 16)
#define SYN_FLEET_PENDING_MAX  (UINT32_C(1) << 20)
#define SYN_FLEET_SHAPES_MAX   (UINT32_C(1) << 14)
#define SYN_FLEET_QUANTITY_MAX (INT64_C(1) << 46)
#define SYN_FLEET_PRICE_MAX    (INT64_C(1) << 44) /* of a node's one price */
#define SYN_FLEET_CEILING_MAX  (INT64_C(1) << 60) /* of what an ask would pay in all */
#define SYN_FLEET_WHOLE        1000               /* a share of a card is counted in thousandths */

/** Nothing that this names: no node, no word. */
#define SYN_FLEET_NONE UINT32_MAX

/** The request does not fit now; nothing was changed. */
#define SYN_FLEET_FULL 1

/** Amounts that every node has: symbol, word, unit. */
#define SYN_FLEET_DIM_TABLE(X)   \
    X(CPU, "cpu", "millicores")  \
    X(MEMORY, "memory", "bytes") \
    X(DISK, "disk", "bytes")     \
    X(BANDWIDTH, "bandwidth", "bit/s")

enum syn_fleet_dim {
#define SYN_FLEET_ROW(symbol, word, unit) SYN_FLEET_##symbol,
    SYN_FLEET_DIM_TABLE(SYN_FLEET_ROW)
#undef SYN_FLEET_ROW
        SYN_FLEET_DIMS
};

/** Policies: symbol, name. */
#define SYN_FLEET_POLICY_TABLE(X)     \
    X(BALANCED, "balanced")           \
    X(BINPACK, "binpack")             \
    X(SPREAD, "spread")               \
    X(FRAGMENTATION, "fragmentation") \
    X(LATENCY, "latency")             \
    X(ENERGY, "energy")               \
    X(PRICE, "price")

enum syn_fleet_policy {
#define SYN_FLEET_ROW(symbol, name) SYN_FLEET_##symbol,
    SYN_FLEET_POLICY_TABLE(SYN_FLEET_ROW)
#undef SYN_FLEET_ROW
        SYN_FLEET_POLICIES
};

/** How a part of a card is had. */
enum syn_fleet_mode {
    SYN_FLEET_CARDS,      /* whole cards, nobody else on them */
    SYN_FLEET_SHARED,     /* a share, by MPS or by time slices */
    SYN_FLEET_MPS,        /* a share, by MPS */
    SYN_FLEET_TIME_SLICE, /* a share, by time slices */
    SYN_FLEET_MIG,        /* a hardware partition */
    SYN_FLEET_MODES
};

/** Partition profiles, by compute slices. 1G_PLUS is the one slice with two slices' memory. */
enum syn_fleet_profile {
    SYN_FLEET_1G,
    SYN_FLEET_1G_PLUS,
    SYN_FLEET_2G,
    SYN_FLEET_3G,
    SYN_FLEET_4G,
    SYN_FLEET_7G,
    SYN_FLEET_PROFILES
};

/** Where a card's partitions may begin: what the vendor's driver allows. */
enum syn_fleet_geometry {
    SYN_FLEET_UNDIVIDED,
    SYN_FLEET_EIGHTHS,  /* A100, H100, H200, B200: seven compute slices, eight of memory */
    SYN_FLEET_QUARTERS, /* A30 */
    SYN_FLEET_GEOMETRIES
};

/** Domains that nodes lie in. */
enum syn_fleet_scope {
    SYN_FLEET_NODE,
    SYN_FLEET_RACK,
    SYN_FLEET_ZONE,
    SYN_FLEET_REGION,
    SYN_FLEET_SCOPES
};

/** A model of processor. Text is borrowed for the call. */
struct syn_fleet_model {
    const char *name;
    uint32_t kind;       /* a word: gpu, npu, ... */
    uint32_t vram_mib;   /* 0: not known, takes any share and no minimum */
    uint32_t capability; /* 80 means 8.0 */
    uint32_t modes;      /* SYN_BIT(enum syn_fleet_mode) of the ways to share it */
    enum syn_fleet_geometry geometry;
    /** Of a card that its administrator has cut: bits of the first slices of its partitions of each
     *  profile. All zero: partitions are made as they are asked for. */
    uint8_t places[SYN_FLEET_PROFILES];
    uint32_t idle_mw;    /* milliwatts: powered, unused */
    uint32_t context_mw; /* with a context on it, not computing */
    uint32_t busy_mw;
    uint32_t speed; /* work a second, in any unit common to all models; 0 counts as 1000 */
};

/** Base units an hour. */
struct syn_fleet_price {
    int64_t core;
    int64_t gib;                        /* of memory */
    int64_t disk;                       /* a GiB of it */
    int64_t cards[SYN_FLEET_CARDS_MAX]; /* each; equal ones cost the same */
};

/** A machine. Capacity is what may be given away, declared over-commit included. */
struct syn_fleet_node {
    const char *name; /* borrowed for the call */
    int64_t capacity[SYN_FLEET_DIMS];
    uint32_t overcommit_permille[SYN_FLEET_DIMS]; /* 0 and 1000: none */
    uint32_t cards;
    uint8_t models[SYN_FLEET_CARDS_MAX]; /* of each card, as given by syn_fleet_model_add() */
    uint32_t region;                     /* words; 0: none */
    uint32_t zone;
    uint32_t rack;
    uint64_t labels;
    uint32_t isolation; /* SYN_BIT() of each class that it offers */
    uint32_t idle_mw;   /* the machine without its cards */
    struct syn_fleet_price price;
    struct syn_fleet_price spot; /* for who gives way when it must */
    uint32_t closed;             /* 1: what runs there stays, nothing new comes */
    uint32_t spare;              /* zero */
};

/** What one member asks for. Zero the struct first: every zero means "any" or "none". Asks of equal
 * bytes are one shape, and what the index keeps is kept by shape. */
struct syn_fleet_ask {
    int64_t need[SYN_FLEET_DIMS];
    int64_t price_max; /* base units an hour */
    uint64_t models;   /* bit of each model that will do */
    uint64_t labels;   /* all of these */
    uint32_t mode;     /* enum syn_fleet_mode */
    uint32_t cards;    /* with SYN_FLEET_CARDS; 1 otherwise */
    uint32_t share;    /* thousandths of the card's time; shares only */
    uint32_t
        vram_mib;     /* at least, per card or part; a share without it has its share of the VRAM */
    uint32_t profile; /* enum syn_fleet_profile; SYN_FLEET_MIG only */
    uint32_t kind;
    uint32_t capability;
    uint32_t isolation; /* SYN_BIT() of the classes of which one will do */
    uint32_t region;
    uint32_t near; /* region that the answer must be near to */
    uint32_t rtt_max_us;
    uint32_t group;      /* the group that it counts in */
    uint32_t with;       /* in a domain that has one of this group */
    uint32_t with_scope; /* enum syn_fleet_scope */
    uint32_t apart;      /* in a domain that has none of this group */
    uint32_t apart_scope;
    uint32_t even; /* skew allowed between domains of its own group; 0: do not care */
    uint32_t even_scope;
    uint32_t policy; /* enum syn_fleet_policy */
    uint32_t spot;   /* 1: at the node's spot prices */
};

/** A request: `members` equal asks, all placed or none. */
struct syn_fleet_request {
    uint64_t key; /* the caller's, not in use, below UINT64_MAX */
    uint32_t account;
    int32_t priority; /* higher first */
    uint32_t members; /* 1..SYN_FLEET_GANG_MAX */
    int64_t runs_ms;  /* how long it will run, 0: not known */
    struct syn_fleet_ask ask;
};

/** Where one member is. */
struct syn_fleet_slot {
    uint32_t node;
    uint32_t cards; /* bit of each card */
    uint32_t part;  /* first memory slice of the partition; SYN_FLEET_MIG only */
    uint32_t mode;  /* enum syn_fleet_mode: how its cards are had, for a share MPS or time slices */
};

enum syn_fleet_effect_type {
    SYN_FLEET_PLACED,
    SYN_FLEET_EVICTED,  /* give it up there; its request waits again, or is placed anew */
    SYN_FLEET_RESERVED, /* the node is kept for this request */
    SYN_FLEET_RELEASED, /* the node is no longer kept for it */
    SYN_FLEET_PENDING,  /* does not fit now */
};

/** Why, for EVICTED and PENDING. */
enum syn_fleet_cause {
    SYN_FLEET_CAUSE_NONE,
    SYN_FLEET_CAUSE_ROOM,
    SYN_FLEET_CAUSE_QUOTA,
    SYN_FLEET_CAUSE_PREEMPTED,
    SYN_FLEET_CAUSE_DRAINED,
    SYN_FLEET_CAUSE_LOST,
    SYN_FLEET_CAUSE_GANG, /* another member of its gang had to go */
};

struct syn_fleet_effect {
    enum syn_fleet_effect_type type;
    enum syn_fleet_cause cause;
    uint64_t key;
    uint32_t member;
    struct syn_fleet_slot slot;
};

struct syn_fleet;

struct syn_fleet_options {
    uint64_t seed; /* decides between equals */
    bool learn; /* learn the mix of requests from what is submitted; else see syn_fleet_expect() */
    bool scan;  /* tests and benchmarks: weigh every node each time instead of using the index */
};

/** Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_fleet_new(const struct syn_fleet_options *options, struct syn_fleet **ret,
                           struct syn_err *err);
struct syn_fleet *syn_fleet_free(struct syn_fleet *fleet);
void syn_fleet_free_scope(struct syn_fleet **slot);

/** The number of a text; the same text, the same number, from 1. Returns 0; SYN_E_LIMIT,
 * SYN_E_INVALID for a text that is empty or too long, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_word(struct syn_fleet *fleet, const char *text, uint32_t *ret,
                            struct syn_err *err);
/** The bit of a label. Returns as syn_fleet_word(). */
SYN_MUST int syn_fleet_label(struct syn_fleet *fleet, const char *text, uint64_t *ret,
                             struct syn_err *err);
/** Make a model known, or give the number of the one of this name. Returns as syn_fleet_word(). */
SYN_MUST int syn_fleet_model_add(struct syn_fleet *fleet, const struct syn_fleet_model *model,
                                 uint32_t *ret, struct syn_err *err);
/** The text of a word. Borrowed for the fleet's life. */
const char *syn_fleet_text(const struct syn_fleet *fleet, uint32_t word);

/** Say how often an ask will come, relative to the others, before any comes. Ends learning.
 * Returns 0; SYN_E_INVALID, SYN_E_LIMIT, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_expect(struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                              uint32_t weight, struct syn_err *err);
/** The measured round trip between two regions, both ways. Returns 0; SYN_E_INVALID where one of
 *  them is no word, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_set_rtt(struct syn_fleet *fleet, uint32_t region, uint32_t other,
                               uint32_t rtt_us, struct syn_err *err);
/** What an account may hold at once (negative: no limit; cards_max up to SYN_FLEET_QUANTITY_MAX)
 * and its weight in fair shares (1..1000000). Returns 0; SYN_E_INVALID, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_set_account(struct syn_fleet *fleet, uint32_t account, uint32_t weight,
                                   const int64_t limits[SYN_FLEET_DIMS], int64_t cards_max,
                                   struct syn_err *err);
/** Time goes on; it never goes back. */
void syn_fleet_set_time(struct syn_fleet *fleet, int64_t now_ms);

/**
 * A node joins, comes back, or changes (by name). A change that what runs there would not fit is
 * refused; of a node that runs something, cards and their models cannot change.
 *
 * Returns 0; SYN_E_INVALID names the field; SYN_E_CONFLICT, SYN_E_LIMIT, SYN_E_NOMEM.
 */
SYN_MUST int syn_fleet_put_node(struct syn_fleet *fleet, const struct syn_fleet_node *node,
                                uint32_t *ret, struct syn_err *err);
/** The node of this name, or SYN_FLEET_NONE. */
uint32_t syn_fleet_find_node(const struct syn_fleet *fleet, const char *name);
/** Its name. Borrowed for the fleet's life. */
const char *syn_fleet_node_name(const struct syn_fleet *fleet, uint32_t node);
/** What is left of an amount of it. */
int64_t syn_fleet_node_free(const struct syn_fleet *fleet, uint32_t node, enum syn_fleet_dim dim);
/** Whole cards of these models that nobody uses; what is cut is none. */
uint32_t syn_fleet_node_cards(const struct syn_fleet *fleet, uint32_t node, uint64_t models);
/** Nothing new goes there, and what runs there is placed elsewhere as room allows. Undone by
 *  syn_fleet_put_node(). Returns 0; SYN_E_NOTFOUND, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_drain(struct syn_fleet *fleet, uint32_t node, struct syn_err *err);
/** It is gone, with all that ran there, which is placed elsewhere or waits. Returns 0;
 *  SYN_E_NOTFOUND, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_lose(struct syn_fleet *fleet, uint32_t node, struct syn_err *err);

/** Place a request now or not at all: no queue, no preemption. `slots` gets one a member.
 *  Returns 0; SYN_FLEET_FULL; SYN_E_INVALID, SYN_E_CONFLICT, SYN_E_LIMIT, SYN_E_NOMEM. */
SYN_MUST int syn_fleet_try(struct syn_fleet *fleet, const struct syn_fleet_request *request,
                           struct syn_fleet_slot *slots, struct syn_err *err);
/** Place a request, evicting what is of lower priority where it must, or let it wait in the queue.
 *  Effects tell. Returns as syn_fleet_try(), SYN_FLEET_FULL when it waits. */
SYN_MUST int syn_fleet_submit(struct syn_fleet *fleet, const struct syn_fleet_request *request,
                              struct syn_err *err);
/** Where a request would go now. Nothing changes, and the mix does not learn from it. Returns as
 *  syn_fleet_try(). */
SYN_MUST int syn_fleet_probe(struct syn_fleet *fleet, const struct syn_fleet_request *request,
                             struct syn_fleet_slot *slots, struct syn_err *err);
/** Take over a request that runs already: member i on nodes[i], on cards that are chosen here and
 *  told in slots[i]; where that names cards already, it has these, and this part of them. Room must
 * be there; what only chooses (region, labels, price, whether the node is closed) is not asked
 * again. Returns 0; SYN_E_CONFLICT: a node has not that much; SYN_E_NOTFOUND: no such node; as
 * syn_fleet_try(). On failure nothing changed. */
SYN_MUST int syn_fleet_adopt(struct syn_fleet *fleet, const struct syn_fleet_request *request,
                             const uint32_t *nodes, struct syn_fleet_slot *slots,
                             struct syn_err *err);
/** As syn_fleet_adopt(), in the place of `count` requests that run, whose room it has then. Nobody
 *  else gets any of it in between. On failure these have ended. */
SYN_MUST int syn_fleet_merge(struct syn_fleet *fleet, const uint64_t *keys, size_t count,
                             const struct syn_fleet_request *request, const uint32_t *nodes,
                             struct syn_fleet_slot *slots, struct syn_err *err);
/** A request ended or is withdrawn; what waits is looked at again. Returns 0; SYN_E_NOTFOUND,
 *  SYN_E_NOMEM (it has ended all the same). */
SYN_MUST int syn_fleet_end(struct syn_fleet *fleet, uint64_t key, struct syn_err *err);
/** Look at what waits once more. All events that can make room for it do so by themselves, but
 *  syn_fleet_try(), which may place what another waits to be with. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_fleet_settle(struct syn_fleet *fleet, struct syn_err *err);

/** Take the oldest effect out; false when there is none. */
bool syn_fleet_next(struct syn_fleet *fleet, struct syn_fleet_effect *ret);

/**
 * Say why a request waits: {"why": [{dimension, node, need, have, count, message}], "fix": [...],
 * "position", "queue", "expected_start_ms"}. Rows with node null are of the whole: over all nodes,
 * `count` of which fail for that reason; "members" of a gang that fit at once; and each "quota"
 * that would be passed, instead of the others. expected_start_ms is null where the end of what runs
 * is not known.
 *
 * Owner: *ret is the caller's. Returns 0; SYN_E_NOTFOUND (no such request waits), SYN_E_NOMEM.
 */
SYN_MUST int syn_fleet_explain(struct syn_fleet *fleet, uint64_t key, json_t **ret,
                               struct syn_err *err);

/** The policy of this name; -1 when there is none. */
int syn_fleet_policy_find(const char *name);
const char *syn_fleet_policy_name(enum syn_fleet_policy policy);

/** Cards that nobody uses, and thousandths of cards given away, in all nodes that are there. */
struct syn_fleet_totals {
    uint32_t nodes;
    uint32_t nodes_used;
    int64_t cards;
    int64_t cards_powered; /* of nodes that run something */
    int64_t milli_used;
    uint32_t pending;
    uint32_t running;
    uint32_t buckets; /* of the index */
};
void syn_fleet_total(const struct syn_fleet *fleet, struct syn_fleet_totals *ret);
/** Kinds of node that it has ever known: every price and label makes one, none is forgotten. */
size_t syn_fleet_kinds(const struct syn_fleet *fleet);

#endif
